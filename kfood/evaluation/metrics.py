"""Ranks, median rank and recall at k, in NumPy alone.

A *rank* is the place, from 1, of the true item among all items of a gallery ordered from nearest to farthest. Items
exactly as near as the true one count as nearer: a model that maps everything to one point gets the worst rank, not
the best.

How the ranks are computed
    All three distances order a gallery as one score does, larger = nearer, ``score[i, j] = q[i] · g[j] + r[i] + c[j]``
    (Euclidean: ``-|q - g|² / 2``, whose square norms go into ``r`` and ``c``). One float32 matrix product of a tile of
    queries with a tile of the gallery therefore serves both directions: gallery items are counted along its rows,
    query items along its columns, and the tile is thrown away. Memory grows with ``n``, never with ``n²``.

Why rounding cannot move a rank
    A matrix product rounds one and the same pair differently from place to place, so equal distances differ in the
    last bits and a comparison would be left to chance. Three steps remove it. The means of both sides are taken out
    of the product and enter ``r`` and ``c``: the order stays, the rounding error shrinks. The float32 scores then
    only decide comparisons that are clear by more than a bound on their rounding error (:func:`.exact.rounding`). The
    few others are computed again in float64 from the vectors as given, and what float64 cannot tell apart either (see
    :func:`.exact.tolerance`) is equal, and counts against the query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kfood.evaluation import exact
from kfood.evaluation.exact import Distance

# A product tile (16 MB) is counted in strips whose masks fit a core's own cache. At most 255 rows a strip and 8 * 255
# columns a tile: counts are first added up in single bytes.
_TILE_ROWS = 2048
_TILE_COLUMNS = 2032
_STRIP_ROWS = 64


def ranks(query: ArrayLike, gallery: ArrayLike, *, distance: Distance) -> NDArray[np.int64]:
    """Rank of each query's own item in the gallery.

    Args:
        query: float [n, dim]; row i is the query whose true item is row i of ``gallery``.
        gallery: float [n, dim].
        distance: ``"euclidean"`` (smaller is nearer), ``"cosine"`` or ``"dot"`` (larger is nearer). The cosine of a
            vector of zeros is taken as 0.

    Returns:
        int64 [n]: ``ranks[i]`` is 1 if ``gallery[i]`` is nearer to ``query[i]`` than every other item of the gallery.
        Items at an equal distance count as nearer than the true one. Deterministic.

    Raises:
        ValueError: the arrays are empty, not numbers, not [n, dim] of one shape, hold NaN or infinity, or the
            distance is unknown.

    >>> ranks([[0.0], [1.0], [5.0]], [[0.0], [4.0], [5.0]], distance="euclidean")
    array([1, 2, 1])
    """
    return _ranks(query, gallery, distance, both=False)[0]


def ranks_both(
    first: ArrayLike, second: ArrayLike, *, distance: Distance
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of both directions for the price of one matrix product.

    Args:
        first: float [n, dim].
        second: float [n, dim]; row i belongs to row i of ``first``.
        distance: as for :func:`ranks`.

    Returns:
        ``(ranks(first, second), ranks(second, first))``, each int64 [n].

    Raises:
        ValueError: as for :func:`ranks`.
    """
    forward, backward = _ranks(first, second, distance, both=True)
    return forward, backward


def median_rank(ranks: ArrayLike) -> float:
    """Median of ranks (MedR); of an even number of them, the mean of the middle two.

    Args:
        ranks: int [n], from :func:`ranks`.

    Raises:
        ValueError: no ranks, or not one axis.

    >>> median_rank([1, 10, 2, 4])
    3.0
    """
    return float(np.median(_checked_ranks(ranks)))


def recall_at_k(ranks: ArrayLike, k: int) -> float:
    """Fraction, from 0 to 1, of the queries whose true item is among the ``k`` nearest (R@k).

    Args:
        ranks: int [n], counted from 1, from :func:`ranks`.
        k: number of nearest items looked at, at least 1.

    Raises:
        ValueError: no ranks, not one axis, or ``k`` below 1.

    >>> recall_at_k([1, 10, 2, 4], 2)
    0.5
    """
    if k < 1:
        raise ValueError(f"k: expected an integer of at least 1, received {k!r}.")
    return float(np.mean(_checked_ranks(ranks) <= k))


def nearest(
    query: ArrayLike, gallery: ArrayLike, *, distance: Distance, k: int, true_item: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ``k`` items of a gallery nearest to one query, for showing them.

    Args:
        query: float [dim].
        gallery: float [n, dim].
        distance: as for :func:`ranks`.
        k: items wanted; all ``n`` if there are fewer.
        true_item: row of the gallery that is placed behind all items equal to it, as :func:`ranks` counts it.

    Returns:
        Rows of the gallery, int64 [k], nearest first (ties by row), and their Euclidean distances or their
        similarities, float64 [k].

    Raises:
        ValueError: as for :func:`ranks`, or ``k`` below 1.
    """
    if k < 1:
        raise ValueError(f"k: expected an integer of at least 1, received {k!r}.")
    exact.check_distance(distance)
    items = exact.checked_vectors(gallery, "gallery").astype(np.float64)
    one = exact.checked_vectors(np.asarray(query)[None], "query").astype(np.float64)[0]
    if one.shape != items.shape[1:]:
        raise ValueError(f"Expected a query of width {items.shape[1]} as the gallery has, received {one.shape[0]}.")
    # Sums along the last axis, not a matrix product: equal rows give equal bits.
    if distance == "euclidean":
        values = np.sqrt(np.square(items - one).sum(axis=1))
        keys = values
    else:
        values = (items * one).sum(axis=1)
        if distance == "cosine":
            norms = np.sqrt(np.square(items).sum(axis=1) * np.square(one).sum())
            values = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
        keys = -values
    last = np.zeros(len(items), bool)
    if true_item is not None:
        last[true_item] = True
    order = np.lexsort((last, keys))[:k]
    return order.astype(np.int64), values[order]


def _checked_ranks(ranks: ArrayLike) -> NDArray:
    array = np.asarray(ranks)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"Expected ranks of shape [n] with n of at least 1, received shape {list(array.shape)}.")
    return array


def _ranks(query: ArrayLike, gallery: ArrayLike, distance: Distance, *, both: bool) -> list[NDArray[np.int64]]:
    """Ranks along rows and, if ``both``, along columns."""
    exact.check_distance(distance)
    arrays = [exact.checked_vectors(query, "query"), exact.checked_vectors(gallery, "gallery")]
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(
            f"Expected a query and a gallery of one shape, row i of one belonging to row i of the other, "
            f"received {list(arrays[0].shape)} and {list(arrays[1].shape)}."
        )
    largest = []
    for name, array in zip(("query", "gallery"), arrays, strict=True):
        values = np.concatenate(
            [np.abs(array[part]).max(axis=1).astype(np.float64) for part in exact.parts(len(array))]
        )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"{name}: expected finite vectors, received NaN or infinity in {len(bad)} of {len(values)} rows, "
                f"the first of them row {bad[0]}."
            )
        largest.append(values)

    tops = [float(values.max()) for values in largest]
    if distance == "euclidean":
        tops = [max(tops)] * 2
    first, second = (
        exact.Side(array, exact.factors(array, values, top, distance))
        for array, values, top in zip(arrays, largest, tops, strict=True)
    )
    return _count(first, second, exact.true_scores(first, second, distance), both)


def _count(query: exact.Side, gallery: exact.Side, true: NDArray[np.float64], both: bool) -> list[NDArray[np.int64]]:
    """Counts the nearer items tile by tile; see the head of this file."""
    count, width = len(query.vectors), len(query.centre)

    # For each query the limits outside which a float32 score decides.
    limits = []
    for side, other in ((query, gallery), (gallery, query)):
        products = side.norms * other.norms.max()
        offsets = np.abs(side.offsets) + np.abs(other.offsets).max()
        slack = 2.0**-24 * (exact.rounding(width) * products + 8 * offsets + 2 * np.abs(true))
        slack += 2 * exact.tolerance(query, gallery, side.norms, other.norms.max())
        limits.append(((true - slack).astype(np.float32), (true + slack).astype(np.float32)))
    (row_low, row_high), (column_low, column_high) = limits

    results = [np.ones(count, np.int64) for _ in range(2 if both else 1)]
    tile_buffer = np.empty(_TILE_ROWS * _TILE_COLUMNS, np.float32)
    mask_buffers = np.empty((2, _STRIP_ROWS * _TILE_COLUMNS), bool)
    for top in range(0, count, _TILE_ROWS):
        rows = slice(top, min(top + _TILE_ROWS, count))
        for left in range(0, count, _TILE_COLUMNS):
            columns = slice(left, min(left + _TILE_COLUMNS, count))
            shape = rows.stop - rows.start, columns.stop - columns.start
            tile = tile_buffer[: shape[0] * shape[1]].reshape(shape)
            np.matmul(query.single[rows], gallery.single[columns].T, out=tile)
            diagonal = np.arange(max(top, left), min(rows.stop, columns.stop))
            tile[diagonal - top, diagonal - left] = -np.inf  # the true pair is counted by starting from 1
            unclear: list[list[NDArray]] = [[] for _ in results]
            for start in range(0, shape[0], _STRIP_ROWS):
                strip = tile[start : start + _STRIP_ROWS]
                near, maybe = (buffer[: strip.size].reshape(strip.shape) for buffer in mask_buffers)
                here = slice(top + start, top + start + len(strip))
                np.greater(strip, row_high[here, None], out=near)
                np.greater_equal(strip, row_low[here, None], out=maybe)
                results[0][here] += _count_rows(near)
                np.not_equal(near, maybe, out=maybe)
                unclear[0].append(np.flatnonzero(maybe) + start * shape[1])
                if both:
                    np.greater(strip, column_high[columns], out=near)
                    np.greater_equal(strip, column_low[columns], out=maybe)
                    results[1][columns] += near.view(np.uint8).sum(axis=0, dtype=np.uint8)
                    np.not_equal(near, maybe, out=maybe)
                    unclear[1].append(np.flatnonzero(maybe) + start * shape[1])
            for axis, places in enumerate(unclear):
                flat = np.concatenate(places)
                if len(flat):
                    item_rows, item_columns = np.divmod(flat, shape[1])
                    own = (item_rows + top, item_columns + left)[axis]
                    nearer = _nearer(query, gallery, item_rows + top, item_columns + left, own, true)
                    np.add.at(results[axis], own[nearer], 1)
    return results


def _count_rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of true values in each row; eight bytes at a time, none of which can pass 255, where rows allow it."""
    if mask.shape[1] % 8:
        return np.count_nonzero(mask, axis=1)
    return mask.view(np.uint64).sum(axis=1).view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int64)


def _nearer(
    query: exact.Side, gallery: exact.Side, rows: NDArray, columns: NDArray, own: NDArray, true: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether item (rows[k], columns[k]) of a tile is at least as near as the true pair ``own[k]``, in float64."""
    tile = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    if len(rows) * 32 > (tile[2] - tile[0]) * (tile[3] - tile[1]):  # crowded, as of a collapsed model: one product
        product = query.rows(slice(tile[0], tile[2])) @ gallery.rows(slice(tile[1], tile[3])).T
        scores = product[rows - tile[0], columns - tile[1]]
    else:
        scores = np.empty(len(rows))
        for part in exact.parts(len(rows)):
            scores[part] = np.einsum("ij,ij->i", query.rows(rows[part]), gallery.rows(columns[part]))
    scores += query.offsets[rows] + gallery.offsets[columns]
    limits = true[own] - exact.tolerance(query, gallery, query.norms[own], gallery.norms[own])
    return scores >= limits - exact.tolerance(query, gallery, query.norms[rows], gallery.norms[columns])
