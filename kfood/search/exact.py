"""The rows of a gallery nearest to a query, exactly, in bounded memory."""

import numpy as np

from kfood.evaluation import metrics
from kfood.evaluation.exact import Distance
from kfood.search import engines

BLOCK = 16_384
"""Rows compared at once."""


class Exact(engines.Engine):
    """Compares with every row: what the others are measured by. It keeps nothing."""

    exact = True

    def extend(self, place, gallery, start):
        """Nothing to do."""

    def finder(self, place, gallery):
        """Look at the gallery once, for what does not depend on the query."""
        known = lengths(gallery)
        return lambda query, top, among: possible(query, gallery, place.distance, top, among, known)


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    distance: Distance,
    top: int,
    candidates: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a gallery nearest to a query, exactly, in bounded memory.

    A float32 product finds the rows that can be among the nearest, with room for all its rounding; those are compared
    in float64.

    Args:
        query: float32 [dim].
        gallery: float32 [n, dim]; may be mapped from disk.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
        top: rows wanted; all if there are fewer.
        candidates: rows to choose from; all by default.
        among: bool [n], rows that may be found, where there are no candidates; all by default.

    Returns:
        Rows, int64 [top], nearest first (ties by row), and their distances, float64 [top]; small = near.
    """
    if candidates is None:
        candidates = possible(query, gallery, distance, top, among)
    if not len(candidates):
        return np.zeros(0, np.int64), np.zeros(0)
    candidates = np.sort(candidates)
    kept = np.zeros(0, np.int64)
    for start in range(0, len(candidates), BLOCK):  # candidates are many where the gallery has collapsed to a point
        rows = np.concatenate([kept, candidates[start : start + BLOCK]])
        order, values = metrics.nearest(query, gallery[rows], distance=distance, k=top)
        kept = np.sort(rows[order]) if start + BLOCK < len(candidates) else rows[order]
    return kept, {"euclidean": values, "cosine": 1 - values, "dot": -values}[distance]


def lengths(gallery: np.ndarray) -> tuple[np.ndarray, float]:
    """Squared length of each row, float32 [n], and the largest absolute number of all."""
    squares, largest = np.empty(len(gallery), np.float32), 0.0
    for rows in blocks(gallery):
        block = np.asarray(gallery[rows])
        squares[rows] = np.einsum("nd,nd->n", block, block)
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
    return squares, largest


def scores(query, block, squares, distance):
    """float32 [n] for one block, in the order of the distance: squared Euclidean distance, minus cosine, minus dot."""
    products = block @ query
    if distance == "dot":
        return -products
    if distance == "cosine":
        norms = np.sqrt(squares) * np.linalg.norm(query)
        return -np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return squares - 2 * products + query @ query


def possible(
    query: np.ndarray,
    gallery: np.ndarray,
    distance: Distance,
    top: int,
    among: np.ndarray | None = None,
    known: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """Every row that can be among the ``top`` nearest, whatever float32 has rounded away; see :func:`nearest`.

    Args:
        query: as there, like the next four.
        gallery: see there.
        distance: see there.
        top: see there.
        among: see there.
        known: the gallery's :func:`lengths`, where they are known.

    Returns:
        int64, ascending.
    """
    allowed = np.arange(len(gallery)) if among is None else np.flatnonzero(among)
    if top >= len(allowed):
        return allowed
    squares, largest = lengths(gallery) if known is None else known
    found = np.empty(len(gallery), np.float32)
    for rows in blocks(gallery):
        found[rows] = scores(query, np.asarray(gallery[rows]), squares[rows], distance)
    if among is not None:
        found[~among] = np.inf
    # A sum of dim products is off by at most dim * 2^-24 of the sum of their sizes.
    width = gallery.shape[1]
    scale = 1.0 if distance == "cosine" else width * (largest + float(np.abs(query).max(initial=0.0))) ** 2
    slack = 4 * (width + 4) * 2.0**-24 * scale
    threshold = np.partition(found, top - 1)[top - 1]
    return np.flatnonzero(found <= threshold + 2 * slack)


def blocks(gallery: np.ndarray) -> list[slice]:
    """Slices of the rows that are looked at together."""
    return [slice(start, start + BLOCK) for start in range(0, len(gallery), BLOCK)]


ENGINE = Exact()
