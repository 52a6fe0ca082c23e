"""What the engines that look at shorter codes of all rows have in common."""

import pathlib
from collections.abc import Callable

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search import exact


def comparable(embeddings: np.ndarray, distance: Distance) -> np.ndarray:
    """float32 [n, dim], of length 1 for the cosine: between these the Euclidean distance orders as the cosine does."""
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if distance != "cosine":
        return embeddings
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), np.float32(1e-12))


def append(path: pathlib.Path, start: int, parts, width: int, dtype) -> None:
    """Write rows [n, width] from row ``start`` on; what follows there is of a process that was killed."""
    with open(path, "r+b" if start else "wb") as file:
        file.truncate(start * width * np.dtype(dtype).itemsize)
        file.seek(0, 2)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())


def mapped(path: pathlib.Path, shape: tuple[int, ...], dtype) -> np.ndarray:
    """The first rows of a file of rows, mapped."""
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)


def lowest(
    codes: np.ndarray,
    count: int,
    among: np.ndarray | None,
    scores: Callable[[slice], np.ndarray],
) -> np.ndarray:
    """The ``count`` rows with the lowest scores, in no order.

    Args:
        codes: [n, width].
        count: rows wanted; all if there are fewer.
        among: bool [n], rows that may be found; None: all.
        scores: rows → [rows].

    Returns:
        int64.
    """
    found = np.concatenate([np.asarray(scores(rows), np.float32) for rows in exact.blocks(codes)])
    if among is not None:
        found[~among] = np.inf
        count = min(count, int(among.sum()))
    count = min(count, len(codes))
    return np.argpartition(found, count - 1)[:count] if count else np.zeros(0, np.int64)
