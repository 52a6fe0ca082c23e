"""Miners: distances and labels → which tuples count. Nothing here carries a gradient of its own.

A miner receives ``distances`` float ``[m, n]`` from anchors (rows) to a gallery (columns) and ``positives`` bool
``[m, n]``, true where the gallery item matches the anchor; it returns an index into the gallery for each anchor.
"""

import keras
from keras import ops


def matches(anchor_labels, gallery_labels):
    """Which gallery items match which anchors.

    Args:
        anchor_labels: int ``[m]``.
        gallery_labels: int ``[n]``.

    Returns:
        bool ``[m, n]``.
    """
    return ops.equal(anchor_labels[:, None], gallery_labels[None, :])


def farthest_positive(distances, positives):
    """Index ``[m]`` of the most distant matching item of each anchor (ACME, section 3.2)."""
    return ops.argmax(ops.where(positives, distances, -_infinity(distances)), axis=1)


def nearest_negative(distances, positives):
    """Index ``[m]`` of the closest item that does not match, of each anchor (ACME, section 3.2)."""
    return ops.argmin(ops.where(positives, _infinity(distances), distances), axis=1)


def _infinity(like):
    return ops.cast(float("inf"), keras.backend.standardize_dtype(like.dtype))
