"""Scores that order a gallery, in float32 for speed with bounds on their error, and in float64 for what is left open.

What :mod:`~kfood.evaluation.metrics` (a query has one true item) and :mod:`~kfood.evaluation.positives` (it has many)
rest on; how the two use it is told there.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Distance = Literal["euclidean", "cosine", "dot"]
"""``euclidean``: smaller is nearer; ``cosine`` and ``dot`` are similarities: larger is nearer."""


def check_distance(distance: str) -> None:
    """Refuses a distance that is unknown (ValueError)."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance: expected one of {', '.join(get_args(Distance))}, received {distance!r}.")


def checked_vectors(vectors: ArrayLike, name: str) -> NDArray:
    """As an array ``[n, dim]`` of real numbers; refuses anything else (ValueError), by this name."""
    array = np.asarray(vectors)
    if array.dtype.kind == "V" and array.dtype.fields is None and np.can_cast(array.dtype, np.float32):
        array = array.astype(np.float32)  # bfloat16 and its like, which NumPy does not count among its numbers
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers, received dtype {array.dtype}.")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected vectors [n, dim], neither of them 0, received shape {list(array.shape)}.")
    return array


class Side:
    """One side of the comparison: its vectors ready for the product, and exact copies of any of its rows.

    Attributes:
        factors: float64 [n], what each row is multiplied by.
        centre: float64 [dim], about the mean of the scaled rows; taken out of all of them.
        norms: float64 [n], Euclidean norms of the centred rows; filled by :func:`true_scores`, as are the next two.
        offsets: float64 [n], the part of a score that depends on this side alone.
        single: float32 [n, dim + 2 or more], the centred rows, two columns that bring both sides' offsets into the
            product, and zeros up to a multiple of 4, which the matrix product likes.
    """

    def __init__(self, vectors: NDArray, factors: NDArray[np.float64]):
        self.vectors = vectors
        self.factors = factors
        self.uniform = bool((factors == factors[0]).all())
        self.centre = np.zeros(vectors.shape[1])
        for part in parts(len(vectors)):
            weights = (factors[part] / len(vectors)).astype(np.result_type(vectors, np.float32))
            self.centre += weights @ vectors[part]
        self.norms = np.empty(len(vectors))
        self.offsets = np.empty(len(vectors))
        self.single = np.zeros((len(vectors), (vectors.shape[1] + 5) // 4 * 4), np.float32)

    def rows(self, index: slice | NDArray) -> NDArray[np.float64]:
        """Rows, scaled and centred, float64 [rows, dim]."""
        rows = self.vectors[index].astype(np.float64)
        if not self.uniform:
            rows *= self.factors[index, None]
        elif self.factors[0] != 1:
            rows *= self.factors[0]
        rows -= self.centre
        return rows


def factors(vectors: NDArray, largest: NDArray[np.float64], top: float, distance: Distance) -> NDArray[np.float64]:
    """What each row is multiplied by: norm 1 for the cosine, else one number that brings ``top`` near 1."""
    if distance != "cosine":
        # A power of two changes no bit of the values and keeps their squares inside float32.
        return np.full(len(vectors), math.ldexp(1.0, min(-math.frexp(top)[1], 1000)))
    factors = np.divide(1.0, largest, out=np.zeros(len(vectors)), where=largest > 0)  # so that no square overflows
    for part in parts(len(vectors)):
        rows = vectors[part].astype(np.float64)
        rows *= factors[part, None]
        factors[part] /= np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), 0.5)  # 1 or more unless all are 0
    return factors


def parts(count: int) -> list[slice]:
    """Slices of 256 rows: what is held in float64 at a time, few enough for the cache."""
    return [slice(start, min(start + 256, count)) for start in range(0, count, 256)]


def rounding(width: int) -> float:
    """Bound on the error of a dot product of ``width`` terms, in units of the roundoff times both norms.

    The certain bound is ``width``, from errors that all point one way. Errors that do not conspire grow as its square
    root (Higham & Mary, 2019), and products are added up in blocks besides. Seen with OpenBLAS at a width of 1,024:
    10 for random vectors, 86 for vectors of one repeated number (which centring removes); the bound there is 136.
    """
    return min(width, 4 * math.sqrt(width)) + 8


def true_scores(query: Side, gallery: Side, distance: Distance) -> NDArray[np.float64]:
    """Fills both sides' offsets, centred norms and float32 rows; returns the scores of the true pairs, float64 [n].

    With ``q = q' + m`` and ``g = g' + o``, where m and o are the means, ``q·g = q'·g' + q'·o + g'·m + constant`` and
    ``-|q - g|²/2 = q'·g' + (q'·(o - m) - |q'|²/2) + (g'·(m - o) - |g'|²/2) + constant``.
    """
    euclidean = distance == "euclidean"
    width = len(query.centre)
    true = np.empty(len(query.vectors))
    for part in parts(len(true)):
        rows = query.rows(part), gallery.rows(part)
        for side, other, own in ((query, gallery, rows[0]), (gallery, query, rows[1])):
            squares = np.einsum("ij,ij->i", own, own)
            side.norms[part] = np.sqrt(squares)
            side.offsets[part] = own @ (other.centre - side.centre if euclidean else other.centre)
            if euclidean:
                side.offsets[part] -= squares / 2
            side.single[part, : own.shape[1]] = own
        true[part] = np.einsum("ij,ij->i", *rows)
    for side, places in ((query, (width, width + 1)), (gallery, (width + 1, width))):
        side.offsets -= np.median(side.offsets)  # a constant changes no order
        side.single[:, places[0]] = side.offsets
        side.single[:, places[1]] = 1.0
        true += side.offsets
    return true


def tolerance(query: Side, gallery: Side, norms: NDArray, other_norms: NDArray | float) -> NDArray[np.float64]:
    """What a float64 score of vectors with these norms (after centring) may be off by."""
    means = np.linalg.norm(query.centre) + np.linalg.norm(gallery.centre)
    sizes = norms + other_norms
    exact = query.uniform and gallery.uniform  # scaled by a power of 2; otherwise each vector is itself rounded
    return 2.0**-53 * rounding(len(query.centre)) * (sizes if exact else sizes + means) * (sizes + means)
