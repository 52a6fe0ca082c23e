"""Measure kfood's speed on this machine against what the machine can do.

Examples:
    kfood bench evaluation
    kfood bench evaluation --n 50000
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


def main(arguments: list[str]) -> None:
    """Parses and measures."""
    run(
        tyro.extras.subcommand_cli_from_dict(
            {"evaluation": Evaluation}, args=arguments, prog="kfood bench", description=__doc__
        )
    )


def run(args: Evaluation) -> dict[str, float]:
    """Measures and prints.

    Args:
        args: what to measure.

    Returns:
        The figures printed: times in seconds, ratios, and memory in GB.
    """
    figures = measure_evaluation(args)
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


def _peak_memory() -> float:
    """Peak resident memory of this process in GB (1e9 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
