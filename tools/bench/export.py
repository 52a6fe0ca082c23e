"""Exported encoders against Keras and against the machine's own rate."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable

from kfood.tools.bench import timing


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


def measure(args: Export) -> dict[str, float]:
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

    model, batch = timing.random_model(name, args.preset, max(args.batch_sizes), args.data)
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
            best = timing.best(
                {form: functools.partial(run, inputs) for form, run in forms[encoder].items()}, args.repeats
            )
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
    return 2 * side**3 / min(timing.seconds(lambda: a @ a) for _ in range(5))


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
            for name, seconds in timing.best(runs, args.repeats).items():
                unit, value = ("ms", 1e3 * seconds) if size == 1 else ("items/s", size / seconds)
                figures[f"{what}: {encoder} {name}, batch {size}, {unit}"] = value
        found = measured.get(encoder, {})
        for name in ("int8", "float16", "pixels"):
            if name in found:
                figures[f"{what}: {encoder} {name}, same first result"] = found[name]["top1_agreement"]
    return figures
