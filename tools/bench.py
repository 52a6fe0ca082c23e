"""Measure kfood's speed on this machine against what the machine can do.

Examples:
    kfood bench evaluation
    kfood bench evaluation --n 50000
    kfood bench retrieval
    kfood bench losses --n 112 4096
    kfood bench export --model acme mcen
    kfood bench export --model acme r2gan mcen --data DATA
    kfood bench export --model --bundle BUNDLE …
    kfood bench step --model acme --preset published --batch-size 8
    kfood bench step --model acme mcen mcen:vanilla --batch-size 32
    kfood bench engines --folder SCRATCH
"""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, Literal

import tyro

from kfood.tools.bench_engines import Engines, measure_engines


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Ranks in both directions against the bare float32 matrix products, one a direction, of the same vectors."""

    n: int = 10_000
    """Pairs."""
    dim: int = 1_024
    """Width of the embeddings."""
    distance: Literal["euclidean", "cosine", "dot"] = "euclidean"
    """How they are compared."""
    vectors: Literal["related", "noise"] = "noise"
    """related: the two of a pair resemble each other, as after training; noise: no pair does, the slowest case."""
    repeats: int = 3
    """Times that everything is run, in turns; the best time of each counts."""

    def __post_init__(self):
        for name in ("n", "dim", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected at least 1, received {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Retrieval of classes, every item a query: R@k, MAP and distances of classes, without NMI, against the bare
    float32 matrix product of the same vectors. The default is the test split of Stanford Online Products."""

    n: int = 60_502
    """Items."""
    classes: int = 11_316
    """Classes of nearly equal size."""
    dim: int = 128
    """Width of the embeddings."""
    vectors: Literal["related", "noise"] = "related"
    """related: items of a class resemble each other, as after training; noise: they do not."""
    repeats: int = 3
    """Times that everything is run, in turns; the best time of each counts."""

    def __post_init__(self):
        for name in ("classes", "dim", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected at least 1, received {getattr(self, name)}.")
        if self.n <= self.classes:
            raise ValueError(f"--n: expected more items than the {self.classes:,} classes, received {self.n:,}.")


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step of a model on random pairs of full length, weights random, and embedding the same pairs.

    Several models take turns, and each is also compared with the first.
    """

    model: tuple[str, ...] = ("acme",)
    """Which models; `NAME:VARIANT` for a row of a paper's ablation table."""
    preset: str = "published"
    """`published` or `small`."""
    batch_size: int = 8
    """Pairs a step."""
    steps: int = 3
    """Steps after the first, which builds the graph; the best time counts."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"--model: expected different models, received {' '.join(self.model) or 'none'}.")
        for name, least in {"batch_size": 2, "steps": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected at least {least}, received {getattr(self, name)}."
                )


@dataclasses.dataclass(frozen=True)
class Losses:
    """Forward and backward of every metric-learning loss, each in a process of its own."""

    n: tuple[int, ...] = (112, 4096)
    """Batch sizes, rising."""
    dim: int = 128
    """Width of the embeddings."""
    per_class: int = 2
    """Items of each class."""
    names: tuple[str, ...] = ()
    """Losses; all by default."""
    repeats: int = 3
    """Times each is run after the first, which builds the graph; the best counts."""

    def __post_init__(self):
        for name in ("dim", "per_class", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, received {getattr(self, name)}.")
        if not self.n or min(self.n) < 2:
            raise ValueError(f"--n: expected batch sizes of at least 2, received {self.n}.")


@dataclasses.dataclass(frozen=True)
class Export:
    """Exported encoders against Keras: the recipe encoder with fused recurrences, with loops, and by Keras' prediction;
    the image encoder by onnxruntime, by Keras, and the limit that matrix products set; and what finished bundles take.
    """

    model: tuple[str, ...] = ("acme", "mcen")
    """Which models, their weights random."""
    preset: str = "published"
    """`published` or `small`."""
    data: pathlib.Path | None = None
    """Prepared recipes whose first test pairs are encoded; by default random ones, every part of full length."""
    bundle: tuple[pathlib.Path, ...] = ()
    """Bundles whose encoders are timed too, in every precision that they kept."""
    batch_sizes: tuple[int, ...] = (1, 64)
    """Recipes, and photos, at once."""
    repeats: int = 5
    """Times that everything is run, in turns, after one to warm up; the best time of each counts."""

    def __post_init__(self):
        if self.repeats < 1 or not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(
                f"--repeats, --batch-sizes: expected at least 1, received {self.repeats}, {self.batch_sizes}."
            )


def main(arguments: list[str]) -> None:
    """Parses and measures."""
    run(
        tyro.extras.subcommand_cli_from_dict(
            {
                "engines": Engines,
                "evaluation": Evaluation,
                "export": Export,
                "losses": Losses,
                "retrieval": Retrieval,
                "step": Step,
            },
            args=arguments,
            prog="kfood bench",
            description=__doc__,
        )
    )


def run(args: Engines | Evaluation | Export | Losses | Retrieval | Step) -> dict[str, float]:
    """Measures and prints.

    Args:
        args: what to measure.

    Returns:
        The figures printed: times in seconds, ratios, and memory in GB.
    """
    if isinstance(args, Engines):
        figures, digits = measure_engines(args), 3
    elif isinstance(args, Losses):
        figures, digits = measure_losses(args), 4
    elif isinstance(args, Export):
        figures, digits = measure_export(args), 3
    elif isinstance(args, Retrieval):
        figures, digits = measure_retrieval(args), 3
    else:
        figures, digits = measure_step(args) if isinstance(args, Step) else measure_evaluation(args), 3
    for name, value in figures.items():
        print(f"{name:<44} {value:9.{digits}f}" if value >= 1e-3 or not value else f"{name:<44} {value:9.1e}")
    return figures


def measure_evaluation(args: Evaluation) -> dict[str, float]:
    """Times :func:`kfood.evaluation.metrics.ranks_both`, ``ranks`` once each way, and the products they rest on.

    Args:
        args: sizes and distance.

    Returns:
        Name → seconds, ratio to the products, or peak memory of the whole process in GB, vectors included, before the
        products are measured.
    """
    import numpy as np

    from kfood.evaluation import metrics

    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal((args.n, args.dim), dtype=np.float32) for _ in range(2))
    if args.vectors == "related":
        second += first
    peak = float("nan")
    times: dict[str, list[float]] = {"products": [], "ranks_both": [], "ranks, twice": []}
    for _ in range(args.repeats):
        start = time.perf_counter()
        metrics.ranks_both(first, second, distance=args.distance)
        times["ranks_both"].append(time.perf_counter() - start)

        start = time.perf_counter()
        metrics.ranks(first, second, distance=args.distance)
        metrics.ranks(second, first, distance=args.distance)
        times["ranks, twice"].append(time.perf_counter() - start)
        if len(times["ranks_both"]) == 1:
            peak = _peak_memory()

        times["products"].append(_product_seconds(first, second) + _product_seconds(second, first))
    best = {name: min(values) for name, values in times.items()}
    return {
        "both products, s": best["products"],
        "ranks_both, s": best["ranks_both"],
        "ranks, once each way, s": best["ranks, twice"],
        "ranks_both / products": best["ranks_both"] / best["products"],
        "ranks, once each way / products": best["ranks, twice"] / best["products"],
        "peak memory, GB": peak,
    }


def _product_seconds(first: Any, second: Any) -> float:
    """Seconds of one matrix product of all rows, float32 [n, dim] each.

    Into one buffer of 2,048 rows: a whole product need not fit the memory, and no time goes into new pages.
    """
    import numpy as np

    buffer = np.ones((min(2048, len(first)), len(second)), np.float32)
    start = time.perf_counter()
    for top in range(0, len(first), len(buffer)):
        rows = first[top : top + len(buffer)]
        np.matmul(rows, second.T, out=buffer[: len(rows)])
    return time.perf_counter() - start


def measure_retrieval(args: Retrieval) -> dict[str, float]:
    """Times :func:`kfood.evaluation.retrieval.retrieval_metrics` without NMI, and the product that it rests on.

    Args:
        args: sizes, and what the vectors are like.

    Returns:
        Name → seconds, ratio to the product, R@1 as a share, or peak memory of the whole process in GB, vectors
        included, before the product is measured.
    """
    import numpy as np

    from kfood.evaluation import retrieval

    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(args.n, dtype=np.int32) % args.classes)
    vectors = generator.standard_normal((args.n, args.dim), dtype=np.float32)
    if args.vectors == "related":
        vectors += generator.standard_normal((args.classes, args.dim), dtype=np.float32)[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    peak = float("nan")
    times: dict[str, list[float]] = {"metrics": [], "product": []}
    for _ in range(args.repeats):
        start = time.perf_counter()
        figures = retrieval.retrieval_metrics(vectors, labels, clusters=False)
        times["metrics"].append(time.perf_counter() - start)
        if len(times["metrics"]) == 1:
            peak = _peak_memory()
        times["product"].append(_product_seconds(vectors, vectors))
    best = {name: min(values) for name, values in times.items()}
    return {
        "product, s": best["product"],
        "metrics, s": best["metrics"],
        "metrics / product": best["metrics"] / best["product"],
        "R@1": figures["recall_at_1"],
        "peak memory, GB": peak,
    }


def measure_export(args: Export) -> dict[str, float]:
    """Times exported encoders, each form in turns with the others.

    Args:
        args: which.

    Returns:
        Name → milliseconds, items a second, ratio, megabytes, or a difference.
    """
    figures: dict[str, float] = {}
    for name in args.model:
        figures |= _measure_encoders(name, args)
    for path in args.bundle:
        figures |= _measure_bundle(path, args)
    return figures


def _measure_encoders(name: str, args: Export) -> dict[str, float]:
    from kfood.export import onnx, parity, saved_model

    model, batch = _random_model(name, args.preset, max(args.batch_sizes), args.data)
    with saved_model.portable(model):
        endpoints = saved_model.tensor_endpoints(model)
        forms: dict[str, dict[str, Callable]] = {}
        for encoder in model.encoders:
            with onnx.fused_recurrences(saved_model.networks(model)) as recurrences:
                fused = onnx.convert(endpoints[f"encode_{encoder}"], recurrences)
            forms[encoder] = {"onnxruntime": parity.onnx_run(fused)}
            if encoder == "recipe":
                with _masked(model.encoders[encoder]):
                    looped = onnx.convert(endpoints["encode_recipe"])
                forms[encoder] |= {"onnxruntime, Loop": parity.onnx_run(looped)}
    figures: dict[str, float] = {}
    for encoder, network in model.encoders.items():
        forms[encoder]["Keras"] = network.predict_on_batch
        for size in args.batch_sizes:
            inputs = {key: batch[key][:size] for key in network.input}
            best = _best({form: functools.partial(run, inputs) for form, run in forms[encoder].items()}, args.repeats)
            what = f"{name} {encoder}, batch {size}"
            figures |= {f"{what}, {form}, ms": 1e3 * seconds for form, seconds in best.items()}
            for form in forms[encoder]:
                if form != "onnxruntime":
                    figures[f"{what}, {form} / onnxruntime"] = best[form] / best["onnxruntime"]
            if encoder == "image":
                operations = 2 * _products(network)
                figures[f"{what}, onnxruntime, images/s"] = size / best["onnxruntime"]
                figures[f"{what}, Keras, images/s"] = size / best["Keras"]
                figures[f"{what}, limit of products, images/s"] = _products_a_second() / operations
    return figures


@contextlib.contextmanager
def _masked(network):
    """While it lasts, recurrences that give their end run on masks, as Keras' own do: in ONNX they become loops."""
    from keras import ops

    from kfood.layers.recurrent import FinalStates, reverse

    layers = [layer for layer in network._flatten_layers() if isinstance(layer, FinalStates)]

    def looped(layer, inputs, lengths):
        mask = ops.arange(inputs.shape[1])[None, :] < lengths[:, None]
        states = [layer.forward_cell(inputs, mask=mask)[:, -1]]
        if layer.backward_cell is not None:
            states.append(layer.backward_cell(reverse(inputs, lengths), mask=mask)[:, -1])
        return ops.concatenate(states, axis=-1)

    for layer in layers:
        layer.stand_in = functools.partial(looped, layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.stand_in = None


def _products(network) -> int:
    """Multiplications of one picture in a network's own convolutions and dense layers; not in those inside of other
    layers, such as attention."""
    import math

    import keras

    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) and layer._inbound_nodes
    )


def _products_a_second(side: int = 2048) -> float:
    """Floating point operations a second of a float32 matrix product on this machine, the best of five."""
    import numpy as np

    a = np.ones((side, side), np.float32)
    return 2 * side**3 / min(_seconds(lambda: a @ a) for _ in range(5))


def _measure_bundle(path: pathlib.Path, args: Export) -> dict[str, float]:
    import numpy as np

    from kfood.export.runtime import Bundle

    manifest = Bundle.open(path).manifest
    measured = (manifest["measured"] or {"encoders": {}})["encoders"]
    what, generator = path.name, np.random.default_rng(0)
    figures = {
        f"{what}: bundle, MB": sum(entry["size"] for entry in manifest["files"].values()) / 1e6,
        f"{what}: largest difference, ONNX": max(manifest["parity"]["onnx"].values()),
    }
    for encoder, entry in manifest["encoders"].items():
        inputs = {}
        for key, tensor in entry["inputs"].items():
            shape = (max(args.batch_sizes), *tensor["shape"][1:])
            ids = manifest["spec"].get("ingredient_vocabulary", 2)
            inputs[key] = (
                generator.integers(0, ids, shape) if tensor["dtype"] == "int32" else generator.uniform(0, 255, shape)
            )
        bundles = {
            name: Bundle.open(path, precision=name) for name in ("float32", *entry["precisions"]) if name != "float16"
        }
        for size in args.batch_sizes:
            rows = {key: array[:size].astype(entry["inputs"][key]["dtype"]) for key, array in inputs.items()}
            runs: dict[str, Callable[[], object]] = {
                name: functools.partial(bundle.encode, encoder, rows, batch_size=size)
                for name, bundle in bundles.items()
            }
            for name, seconds in _best(runs, args.repeats).items():
                unit, value = ("ms", 1e3 * seconds) if size == 1 else ("items/s", size / seconds)
                figures[f"{what}: {encoder} {name}, batch {size}, {unit}"] = value
        found = measured.get(encoder, {})
        for name in ("int8", "float16", "pixels"):
            if name in found:
                figures[f"{what}: {encoder} {name}, same first result"] = found[name]["top1_agreement"]
    return figures


def _best(runs: "dict[str, Callable[[], object]]", repeats: int) -> dict[str, float]:
    """The quickest of each, in seconds, all in turns, after one run to warm up."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], _seconds(run))
    return best


def measure_losses(args: Losses) -> dict[str, float]:
    """Times each loss of :data:`kfood.losses.metric_learning.LOSSES` at each batch size.

    Args:
        args: sizes.

    Returns:
        Name and size → seconds, and the peak memory in GB above that of the process before the loss was built.
    """
    import multiprocessing

    from kfood.losses import metric_learning
    from kfood.tools import main as main_module

    unknown = sorted(set(args.names) - set(metric_learning.LOSSES))
    if unknown:
        raise ValueError(f"--names: expected some of {', '.join(metric_learning.LOSSES)}, received {unknown[0]!r}.")
    figures: dict[str, float] = {}
    for name in args.names or metric_learning.LOSSES:
        # A new process each: the allocator keeps what it once had, which would hide the next loss's peak.
        with multiprocessing.get_context("spawn").Pool(1, initializer=main_module.import_tensorflow_quietly) as pool:
            figures |= pool.apply(_measure_loss, (name, args))
    return figures


def _measure_loss(name: str, args: Losses) -> dict[str, float]:
    """Its time and peak memory at each batch size."""
    import numpy as np
    import tensorflow as tf

    from kfood.losses import metric_learning

    figures = {}
    generator = np.random.default_rng(0)
    for n in args.n:
        labels = np.repeat(np.arange(-(-n // args.per_class), dtype=np.int32), args.per_class)[:n]
        points = generator.standard_normal((n, args.dim), dtype=np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        classes = int(labels[-1]) + 1
        layers = {"margin": lambda classes=classes: metric_learning.Boundaries(classes)}
        for proxy in ("normalised_softmax", "proxy_nca", "proxy_anchor", "proxy_synthesis"):
            layers[proxy] = lambda classes=classes: metric_learning.Proxies(classes)
        layers["soft_triple"] = lambda classes=classes: metric_learning.Proxies(classes, 10)
        learnt = layers[name]() if name in layers else None
        if learnt is not None:
            learnt.build((None, args.dim))
        loss = metric_learning.MetricLoss(name, learnt)

        @tf.function
        def step(labels, points, loss=loss, learnt=learnt):
            with tf.GradientTape() as tape:
                tape.watch(points)
                value = loss(labels, points)
            sources = [points] + ([] if learnt is None else [learnt.value.value])
            return value, tape.gradient(value, sources)

        inputs = tf.constant(labels), tf.constant(points)
        before = _peak_memory()
        times = []
        for _ in range(args.repeats + 1):
            start = time.perf_counter()
            float(step(*inputs)[0])
            times.append(time.perf_counter() - start)
        figures[f"{name}, n = {n}, s"] = min(times[1:])
        figures[f"{name}, n = {n}, peak GB"] = _peak_memory() - before
    return figures


def measure_step(args: Step) -> dict[str, float]:
    """Times one training step, every phase of it, and the encoders alone, of each model in turns.

    Args:
        args: models and batch size.

    Returns:
        Name → seconds, pairs a second, ratio to the first model's, or peak memory of the whole process in GB.
    """
    runs = {name: _prepared_step(name, args) for name in args.model}
    times: dict[str, dict[str, float]] = {}
    for name, (train, embed) in runs.items():
        times[name] = {"first": _seconds(train), "train": float("inf"), "embed": float("inf")}
        embed()
    for _ in range(args.steps):
        for name, (train, embed) in runs.items():
            times[name]["train"] = min(times[name]["train"], _seconds(train))
            times[name]["embed"] = min(times[name]["embed"], _seconds(embed))
    figures: dict[str, float] = {}
    reference = times[args.model[0]]
    for name, found in times.items():
        prefix = f"{name}: " if len(times) > 1 else ""
        figures[f"{prefix}first step, s"] = found["first"]
        figures[f"{prefix}training step, s"] = found["train"]
        figures[f"{prefix}training, pairs/s"] = args.batch_size / found["train"]
        figures[f"{prefix}embedding, pairs/s"] = args.batch_size / found["embed"]
        if found is not reference:
            figures[f"{prefix}training / {args.model[0]}"] = reference["train"] / found["train"]
            figures[f"{prefix}embedding / {args.model[0]}"] = reference["embed"] / found["embed"]
    return figures | {"peak memory, GB": _peak_memory()}


def _prepared_step(name: str, args: Step) -> tuple[Callable[[], object], Callable[[], object]]:
    """A model on one batch of random pairs: (a training step, embedding the batch)."""
    model, batch = _random_model(name, args.preset, args.batch_size)
    model.compile()
    return lambda: model.train_on_batch(batch), lambda: model.predict_on_batch(batch)


def _random_model(name: str, preset: str, n: int, data: pathlib.Path | None = None) -> tuple[Any, dict[str, Any]]:
    """A model without pretrained weights, and ``n`` pairs: random ones of full length, or a dataset's first of test."""
    import numpy as np

    from kfood import schema
    from kfood.configs import experiment
    from kfood.models import MODELS

    model_name, _, variant = name.partition(":")
    chosen = experiment(model_name, preset, variant, ("image_encoder.weights=",))
    spec: Any = chosen.spec
    if data is not None:
        from kfood.data.dataset import open_dataset
        from kfood.data.pipeline import recipe_batches

        dataset = open_dataset(data)
        if dataset.splits["test"] < n:
            raise ValueError(f"--data: expected at least {n} test pairs, received {dataset.splits['test']} in {data}.")
        spec = dataset.fit(spec)
        batch = next(iter(recipe_batches(dataset, "test", spec, n, training=False).as_numpy_iterator()))
        return MODELS[model_name].load()(chosen.model, spec), batch
    model = MODELS[model_name].load()(chosen.model, spec)
    generator = np.random.default_rng(0)
    batch = {schema.IMAGE: generator.uniform(0, 255, (n, spec.image_size, spec.image_size, 3)).astype("float32")}
    for feature, (shape, dtype) in spec.recipe_inputs().items():
        batch[feature] = generator.integers(1, spec.ingredient_vocabulary, (n, *shape)).astype(dtype)
    if spec.recipe_inputs():
        ids = generator.integers(2, spec.ingredient_vocabulary, (n, spec.ingredients), np.int32)
        batch[schema.INGREDIENT_IDS] = ids
    if MODELS[model_name].data == "trajectories":
        batch[schema.TRAJECTORY] = generator.uniform(-5, 5, (n, spec.points, 2)).astype("float32")
        batch[schema.LOCATION] = np.tile(np.float32([-6, 6, 6, -6]), (n, 1))
    else:
        batch[schema.CLASS_ID] = generator.integers(1, spec.classes, n, np.int32)
    return model, batch


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _peak_memory() -> float:
    """Peak resident memory of this process in GB (1e9 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
