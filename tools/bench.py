"""Measure kfood's speed on this machine against what the machine can do.

Examples:
    kfood bench evaluation
    kfood bench evaluation --n 50000
    kfood bench step --model acme --preset published --batch-size 8
"""

import dataclasses
import time
from typing import Literal

import tyro


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
class Step:
    """One training step of a model on random pairs, weights random, and embedding the same pairs."""

    model: str = "acme"
    """Which model."""
    preset: str = "published"
    """`published` or `small`."""
    variant: str = ""
    """A row of the paper's ablation table."""
    batch_size: int = 8
    """Pairs a step."""
    steps: int = 3
    """Steps after the first, which builds the graph; the best time counts."""

    def __post_init__(self):
        for name, least in {"batch_size": 2, "steps": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected at least {least}, received {getattr(self, name)}."
                )


def main(arguments: list[str]) -> None:
    """Parses and measures."""
    run(
        tyro.extras.subcommand_cli_from_dict(
            {"evaluation": Evaluation, "step": Step}, args=arguments, prog="kfood bench", description=__doc__
        )
    )


def run(args: Evaluation | Step) -> dict[str, float]:
    """Measures and prints.

    Args:
        args: what to measure.

    Returns:
        The figures printed: times in seconds, ratios, and memory in GB.
    """
    figures = measure_step(args) if isinstance(args, Step) else measure_evaluation(args)
    for name, value in figures.items():
        print(f"{name:<34} {value:9.3f}")
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

        # Into one buffer of 2,048 rows: a whole product need not fit the memory, and no time goes into new pages.
        buffer = np.ones((min(2048, args.n), args.n), np.float32)
        start = time.perf_counter()
        for a, b in ((first, second), (second, first)):
            for top in range(0, args.n, len(buffer)):
                rows = a[top : top + len(buffer)]
                np.matmul(rows, b.T, out=buffer[: len(rows)])
        times["products"].append(time.perf_counter() - start)
    best = {name: min(values) for name, values in times.items()}
    return {
        "both products, s": best["products"],
        "ranks_both, s": best["ranks_both"],
        "ranks, once each way, s": best["ranks, twice"],
        "ranks_both / products": best["ranks_both"] / best["products"],
        "ranks, once each way / products": best["ranks, twice"] / best["products"],
        "peak memory, GB": peak,
    }


def measure_step(args: Step) -> dict[str, float]:
    """Times one training step, every phase of it, and the encoders alone.

    Args:
        args: model and batch size.

    Returns:
        Name → seconds, pairs a second, or peak memory of the whole process in GB.
    """
    import numpy as np

    from kfood import schema
    from kfood.configs import experiment
    from kfood.models import MODELS

    chosen = experiment(args.model, args.preset, args.variant, ("image_encoder.weights=",))
    model = MODELS[args.model].load()(chosen.model, chosen.spec)
    model.compile()
    spec, n, generator = chosen.spec, args.batch_size, np.random.default_rng(0)
    batch = {schema.IMAGE: generator.uniform(0, 255, (n, spec.image_size, spec.image_size, 3)).astype("float32")}
    for name, (shape, dtype) in spec.recipe_inputs().items():
        batch[name] = generator.integers(1, spec.ingredient_vocabulary, (n, *shape)).astype(dtype)
    batch[schema.INGREDIENT_IDS] = generator.integers(2, spec.ingredient_vocabulary, (n, spec.ingredients), np.int32)
    batch[schema.CLASS_ID] = generator.integers(1, spec.classes, n, np.int32)

    def timed(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    first = timed(lambda: model.train_on_batch(batch))
    step = min(timed(lambda: model.train_on_batch(batch)) for _ in range(args.steps))
    peak = _peak_memory()
    model.predict_on_batch(batch)
    embed = min(timed(lambda: model.predict_on_batch(batch)) for _ in range(args.steps))
    return {
        "first step, s": first,
        "training step, s": step,
        "training, pairs/s": n / step,
        "embedding, pairs/s": n / embed,
        "peak memory, GB": peak,
    }


def _peak_memory() -> float:
    """Peak resident memory of this process in GB (1e9 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
