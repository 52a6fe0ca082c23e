"""Where each query of a labelled set finds the other items of its class: their ranks, exact, in little memory.

How the ranks are computed
    All that the figures need is, for each positive of a query, how many negatives are nearer: the i-th nearest positive
    with c negatives before it has rank i + c. Queries are taken by blocks: one float32 matrix product a block, from
    which the negatives that can come before a positive of rank ``within`` or better are picked, sorted as whole numbers
    (row, score, column), and counted by binary search. Memory grows with the number of items, never with its square.

Why rounding cannot move a rank
    As in :mod:`~kfood.evaluation.metrics`, whose vectors, bounds and tolerances these are: float32 decides what is
    clear by more than a bound on its rounding error; the rest is compared again in float64.

A key, by example
    The queries of a block are numbered from 0. Negative 7 of query 2 has a score of 0.5, whose float32 bits are
    3F000000; with the sign bit turned they rise with the score: BF000000. The key is (2, BF000000, 7) in one whole
    number of 64 bits: 2 · 2^55 + BF000000 · 2^23 + 7. Keys in order are so the queries in order, each one's negatives
    from far to near. How many of query 2's are nearer than a positive of score 0.25 and slack 0.01? All that lie
    between the keys (2, 0.26, last column) and (3, lowest, 0): two binary searches. Those between (2, 0.24, 0) and
    (2, 0.26, last column) float32 cannot tell; their columns, the keys' last 23 bits, are looked up in float64.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import queue

import numpy as np
import threadpoolctl
from numpy.typing import ArrayLike, NDArray

from kfood.evaluation import exact

_BLOCK_NUMBERS = 2**24
_BLOCK_ROWS = 256
_COLUMN_BITS = 23
_SCORE_BITS = 32
_SAMPLE = 4096
_PAIRS = 2**16
_WORKERS = min(os.cpu_count() or 1, 8)
_NEVER = 2**30


@dataclasses.dataclass(frozen=True)
class PositiveRanks:
    """Ranks of each query's positives, nearest first, up to ``within``.

    Attributes:
        queries: int64 [q], rows of the set: all that have a positive, class by class.
        relevant: int64 [q], number of positives of each.
        starts: int64 [q + 1]: the ranks of query j are ``ranks[starts[j]:starts[j + 1]]``.
        ranks: int32, from 1, rising within a query; those beyond ``within`` are left out.
        within: the largest rank kept.
    """

    queries: NDArray[np.int64]
    relevant: NDArray[np.int64]
    starts: NDArray[np.int64]
    ranks: NDArray[np.int32]
    within: int


def rank_positives(
    embeddings: ArrayLike, labels: ArrayLike, *, distance: exact.Distance = "cosine", within: int | None = None
) -> PositiveRanks:
    """Where each query finds the other items of its class.

    Args:
        embeddings: float [n, dim].
        labels: int [n].
        distance: ``"cosine"`` (the paper's), ``"euclidean"`` or ``"dot"``.
        within: the largest rank that matters; None: every rank.

    Returns:
        The ranks. Deterministic.

    Raises:
        ValueError: not vectors [n, dim] of finite numbers, labels that are not int [n], no class of two items or more,
            or an unknown distance.

    >>> rank_positives([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3]], [0, 1, 0]).ranks
    array([2, 2], dtype=int32)
    """
    vectors, labels = exact.checked_vectors(embeddings, "embeddings"), checked_labels(embeddings, labels)
    if within is not None and within < 1:
        raise ValueError(f"within: expected an integer of at least 1, received {within!r}.")
    order = np.argsort(labels, kind="stable")
    _, class_of, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    stops = np.cumsum(sizes)
    gallery = _Gallery(vectors[order], (stops - sizes)[class_of], sizes[class_of], distance)
    within = len(order) if within is None else within
    rows = np.flatnonzero(sizes[class_of] > 1)
    if not len(rows):
        raise ValueError("labels: expected a class of two items or more, received classes of one.")
    step = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // len(order)))
    buffers: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(_WORKERS):
        buffers.put(np.empty(step * len(order), np.float32))

    def near(start):
        buffer = buffers.get()
        before = np.sort(gallery.negatives_before(rows[start : start + step], within, buffer), axis=1)
        buffers.put(buffer)
        ranks = before + np.arange(1, before.shape[1] + 1, dtype=np.int32)
        kept = (ranks <= within) & (before != _NEVER)
        return kept.sum(axis=1), ranks[kept]

    # A thread a block, products included: NumPy lets go of the interpreter, and BLAS would only share out one product.
    with threadpoolctl.threadpool_limits(1, "blas"), concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
        counts, kept = zip(*pool.map(near, range(0, len(rows), step)), strict=True)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return PositiveRanks(order[rows], sizes[class_of][rows] - 1, starts, np.concatenate(kept), within)


class _Gallery:
    """A set of vectors, class by class, that counts for any of them the negatives before its positives."""

    def __init__(self, vectors: NDArray, first: NDArray, sizes: NDArray, distance: exact.Distance):
        exact.check_distance(distance)
        if len(vectors) >= 2**_COLUMN_BITS:
            raise ValueError(f"embeddings: expected fewer than {2**_COLUMN_BITS:,}, received {len(vectors):,}.")
        largest = np.abs(vectors).max(axis=1).astype(np.float64)
        if not np.isfinite(largest).all():
            raise ValueError("embeddings: expected finite vectors, received NaN or infinity.")
        factors = exact.factors(vectors, largest, float(largest.max()), distance)
        self.first, self.sizes = first, sizes
        self.query, self.gallery = exact.Side(vectors, factors), exact.Side(vectors, factors)
        exact.true_scores(self.query, self.gallery, distance)
        # Twice the rounding error of a float32 score, by metrics._count's bound, for each query.
        products = self.query.norms * self.gallery.norms.max()
        offsets = np.abs(self.query.offsets) + np.abs(self.gallery.offsets).max()
        error = 2.0**-24 * (exact.rounding(vectors.shape[1]) * products + 8 * offsets + 2 * (products + offsets))
        slack = 2 * error + 4 * self.tolerance(slice(None), self.gallery.norms.max())
        self.slack = (slack + np.finfo(np.float32).tiny).astype(np.float32)  # above 0: -0 and 0 are the same score

    def tolerance(self, rows, norms):
        """What a float64 score of these queries with vectors of these norms may be off by."""
        return exact.tolerance(self.query, self.gallery, self.query.norms[rows], norms)

    def negatives_before(self, rows: NDArray, within: int, buffer: NDArray[np.float32]) -> NDArray[np.int32]:
        """How many negatives are nearer to each query than, or as near as, each of its positives.

        Args:
            rows: int [b], the queries, at most ``_BLOCK_ROWS``.
            within: numbers of this and more need not be right, but stay that large.
            buffer: float32, of at least b × n numbers.

        Returns:
            int32 [b, largest class], in no order; ``_NEVER`` where there is no positive.
        """
        count = len(self.first)
        scores = buffer[: len(rows) * count].reshape(len(rows), count)
        np.matmul(self.query.single[rows], self.gallery.single.T, out=scores)
        local = np.arange(len(rows))[:, None]
        columns = self.first[rows, None] + np.arange(self.sizes[rows].max())
        own_class = columns < (self.first + self.sizes)[rows, None]
        columns = np.where(own_class, columns, rows[:, None])
        exists = columns != rows[:, None]
        positive = np.where(exists, scores[local, columns], np.float32(np.inf))
        scores[local, columns] = -np.inf  # what remains are negatives
        slack = self.slack[rows]
        keys, ends = self._candidates(scores, positive.min(axis=1) - slack, slack, within)

        at = np.broadcast_to(local, positive.shape)[exists]
        own = positive[exists]
        certain = np.searchsorted(keys, _keys(at, own + slack[at], 2**_COLUMN_BITS - 1), "right")
        possible = np.searchsorted(keys, _keys(at, own - slack[at], 0), "left")
        before = ends[at] - certain
        unclear = np.where(before < within, certain - possible, 0)
        crowded = np.bincount(at, unclear, minlength=len(rows)) > count // 4  # as of a collapsed model
        by_pair = np.flatnonzero((unclear > 0) & ~crowded[at])
        found = self._nearer(rows[at], columns[exists], by_pair, possible, unclear, keys)
        before[by_pair] += found
        for row in np.flatnonzero(crowded):
            before[at == row] = self._in_double(rows[row], columns[row][exists[row]])
        result = np.full(positive.shape, _NEVER, np.int32)
        result[exists] = before
        return result

    def _candidates(self, scores, lowest, slack, within):
        """Keys, sorted, of the negatives that may come before a positive of rank ``within``; where each row's end."""
        count = scores.shape[1]
        stride = count // _SAMPLE
        floor = np.full(len(scores), -np.inf, np.float32)
        expected = within / max(stride, 1)
        if stride > 1 and expected * 4 < _SAMPLE:
            place = int(expected * 1.1 + 4 * np.sqrt(expected)) + 1
            sample = scores[:, ::stride]
            floor = np.partition(sample, sample.shape[1] - place, axis=1)[:, sample.shape[1] - place]
        while True:
            # A positive below the floor by more than the slack has ``within`` negatives before it already.
            limits = np.maximum(lowest, floor - 2 * slack)
            flat = np.flatnonzero(scores >= limits[:, None])
            # Counted by binary search, not over the mask, which is as large as the block.
            at = np.repeat(np.arange(len(scores)), np.diff(np.searchsorted(flat, np.arange(len(scores) + 1) * count)))
            keys = _keys(at, scores.ravel()[flat], flat - at * count)
            keys.sort()
            ends = np.searchsorted(keys, _keys(np.arange(1, len(scores) + 1), np.float32(-np.inf), 0), "left")
            above = ends - np.searchsorted(keys, _keys(np.arange(len(scores)), floor, 0), "left")
            wrong = (limits > lowest) & (above < within)
            if not wrong.any():
                return keys, ends
            floor[wrong] = -np.inf  # the sample misled

    def _nearer(self, query, positive, chosen, start, number, keys):
        """Of each chosen positive's unclear negatives, how many float64 finds at least as near; int [chosen]."""
        found = np.zeros(len(chosen), np.int64)
        place = np.repeat(np.arange(len(chosen)), number[chosen])
        offsets = np.arange(len(place)) - np.repeat(np.cumsum(number[chosen]) - number[chosen], number[chosen])
        negative = (keys[start[chosen][place] + offsets] & np.uint64(2**_COLUMN_BITS - 1)).astype(np.int64)
        limits = self._exact(query[chosen], positive[chosen], -1)
        for part in range(0, len(place), _PAIRS):
            own = place[part : part + _PAIRS]
            values = self._exact(query[chosen[own]], negative[part : part + _PAIRS], 1)
            found += np.bincount(own, values >= limits[own], minlength=len(chosen)).astype(np.int64)
        return found

    def _exact(self, query, column, sign):
        """Float64 scores of pairs, moved by ``sign`` times their tolerance."""
        values = np.empty(len(query))
        for part in exact.parts(len(query)):
            rows = self.query.rows(query[part]), self.gallery.rows(column[part])
            values[part] = np.einsum("ij,ij->i", *rows) + self.gallery.offsets[column[part]]
        return values + sign * self.tolerance(query, self.gallery.norms[column])

    def _in_double(self, row, positives):
        """Negatives before each positive of one query, all of it in float64."""
        values = np.empty(len(self.first))
        query = self.query.rows(np.array([row]))[0]
        for part in exact.parts(len(values)):
            values[part] = self.gallery.rows(part) @ query
        values += self.gallery.offsets
        tolerance = self.tolerance(np.array([row]), self.gallery.norms)
        limits = (values - tolerance)[positives]
        values += tolerance
        values[self.first[row] : self.first[row] + self.sizes[row]] = -np.inf
        return len(values) - np.searchsorted(np.sort(values), limits, "left")


def _keys(row, score, column) -> NDArray[np.uint64]:
    """Whole numbers that are ordered by row, then score, then column."""
    bits = np.asarray(score, np.float32).view(np.uint32)
    rising = np.where(bits >> 31, bits ^ np.uint32(2**32 - 1), bits | np.uint32(2**31)).astype(np.uint64)
    parts = np.asarray(row, np.uint64), rising << np.uint64(_COLUMN_BITS), np.asarray(column, np.uint64)
    return (parts[0] << np.uint64(_SCORE_BITS + _COLUMN_BITS)) | parts[1] | parts[2]


def checked_labels(embeddings: ArrayLike, labels: ArrayLike) -> NDArray:
    """As an array int ``[n]``, one an embedding; refuses anything else (ValueError)."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (len(embeddings),):  # type: ignore[arg-type]
        raise ValueError(
            f"labels: expected int [{len(embeddings)}], one an embedding, "  # type: ignore[arg-type]
            f"received {labels.dtype} {list(labels.shape)}."
        )
    return labels
