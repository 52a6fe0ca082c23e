"""Ranks in both directions against the bare matrix products."""

import dataclasses
import time
from typing import Literal

from kfood.tools.bench import timing


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


def measure(args: Evaluation) -> dict[str, float]:
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
            peak = timing.peak_memory()

        times["products"].append(timing.product_seconds(first, second) + timing.product_seconds(second, first))
    best = {name: min(values) for name, values in times.items()}
    return {
        "both products, s": best["products"],
        "ranks_both, s": best["ranks_both"],
        "ranks, once each way, s": best["ranks, twice"],
        "ranks_both / products": best["ranks_both"] / best["products"],
        "ranks, once each way / products": best["ranks, twice"] / best["products"],
        "peak memory, GB": peak,
    }
