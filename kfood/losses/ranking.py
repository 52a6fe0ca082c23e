"""Ranking losses: an anchor nearer to its positives than to its negatives by a margin."""

import keras
from keras import ops

from kfood import miners


def hard_triplet(distances, positives, margin):
    """Triplet loss on the farthest positive and the nearest negative of each anchor (ACME, Eq. 2 with hard mining).

    ``mean_a [max_p d(a, p) - min_n d(a, n) + margin]+``. An anchor without a negative counts 0.

    Args:
        distances: float ``[m, n]``, anchors × gallery.
        positives: bool ``[m, n]``; each row holds at least one true.
        margin: float, in the units of ``distances``.

    Returns:
        float scalar.
    """
    positive = _select(distances, miners.farthest_positive(distances, positives))
    negative = _select(distances, miners.nearest_negative(distances, positives))
    terms = ops.relu(positive - negative + margin)
    return ops.mean(ops.where(ops.all(positives, axis=1), 0.0, terms))


def all_triplets(distances, positives, margin):
    """Triplet loss averaged over every (anchor, positive, negative) of the batch (ACME's row TL; Eq. 2, no mining).

    Args:
        distances: float ``[m, n]``, anchors × gallery.
        positives: bool ``[m, n]``, one true a row: with pairs each anchor has exactly one positive.
        margin: float, in the units of ``distances``.

    Returns:
        float scalar.
    """
    dtype = keras.backend.standardize_dtype(distances.dtype)
    is_positive = ops.cast(positives, dtype)
    positive = ops.sum(distances * is_positive, axis=1, keepdims=True) / ops.sum(is_positive, axis=1, keepdims=True)
    is_negative = 1.0 - is_positive
    terms = ops.relu(positive - distances + margin) * is_negative
    return ops.sum(terms) / ops.maximum(ops.sum(is_negative), 1.0)


def _select(distances, index):
    """``distances[i, index[i]]`` as a masked sum: its gradient is dense and the same on every backend."""
    chosen = ops.one_hot(index, distances.shape[1] or ops.shape(distances)[1], dtype=distances.dtype)
    return ops.sum(distances * chosen, axis=1)
