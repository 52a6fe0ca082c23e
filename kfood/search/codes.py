"""What the ways to pick candidates have in common."""

from collections.abc import Callable

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search import exact

Picker = Callable[[np.ndarray, int], list[np.ndarray]]
"""(queries float32 [m, dim], rows wanted) → int64 rows of each query, more than wanted."""


def comparable(embeddings: np.ndarray, distance: Distance) -> np.ndarray:
    """float32 [n, dim], of length 1 for the cosine: between these the Euclidean distance orders as the cosine does."""
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if distance != "cosine":
        return embeddings
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32(1e-12))


def blocks(gallery: np.ndarray):
    """Slices of the rows that are looked at together."""
    return [slice(start, start + exact.BLOCK) for start in range(0, len(gallery), exact.BLOCK)]


def write(path, gallery: np.ndarray, width: int, dtype, encode: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write codes [n, width], a block of embeddings [rows, dim] at a time."""
    codes = np.lib.format.open_memmap(path, "w+", dtype, (len(gallery), width))
    for rows in blocks(gallery):
        codes[rows] = encode(gallery[rows])
    codes.flush()


def lowest(codes: np.ndarray, queries: np.ndarray, count: int, scores) -> list[np.ndarray]:
    """The ``count`` rows of codes with the lowest scores, for each query, in no order.

    Args:
        codes: [n, width].
        queries: [m, …].
        count: rows wanted; all if there are fewer.
        scores: (query, codes [rows, width]) → [rows].
    """
    count = min(count, len(codes))
    found = np.empty((len(queries), len(codes)), np.float32)
    for rows in blocks(codes):
        for index, query in enumerate(queries):
            found[index, rows] = scores(query, codes[rows])
    return [np.argpartition(row, count - 1)[:count] for row in found]
