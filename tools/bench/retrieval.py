"""Retrieval by class against the bare matrix product."""

import dataclasses
import time
from typing import Literal

from kfood.tools.bench import timing


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


def measure(args: Retrieval) -> dict[str, float]:
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
            peak = timing.peak_memory()
        times["product"].append(timing.product_seconds(vectors, vectors))
    best = {name: min(values) for name, values in times.items()}
    return {
        "product, s": best["product"],
        "metrics, s": best["metrics"],
        "metrics / product": best["metrics"] / best["product"],
        "R@1": figures["recall_at_1"],
        "peak memory, GB": peak,
    }
