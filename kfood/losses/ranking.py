"""Ranking losses: an anchor nearer to its positives than to its negatives by a margin.

Of two modalities: rows are anchors of one, columns the gallery of the other, and distances come from the caller. Losses
on one set of embeddings and its classes are in :mod:`kfood.losses.pairs`.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from kfood import miners
from kfood.losses import listwise


class Others(NamedTuple):
    """Items beside the batch's, e.g. of earlier batches (:mod:`kfood.layers.memory`), as negatives in both directions.

    Attributes:
        sides: two float ``[n, k]``: of each image with the others' recipes, of each recipe with the others' images.
        counted: bool ``[n, k]``, which of them are negatives of which pair.
    """

    sides: tuple[Any, Any]
    counted: Any


def _beside(sides, others, left_out):
    """Both directions' ``[n, n]``, the others' columns behind: ``[n, n + k]``."""
    if others is None:
        return sides
    further = [ops.where(others.counted, side, left_out) for side in others.sides]
    return [ops.concatenate(both, axis=1) for both in zip(sides, further, strict=True)]


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
    positive = select(distances, miners.farthest_positive(distances, positives))
    negative = select(distances, miners.nearest_negative(distances, positives))
    terms = ops.relu(positive - negative + margin)
    return ops.mean(ops.where(ops.all(positives, axis=1), 0.0, terms))


def all_triplets(distances, positives, margin, adaptive=False):
    """Triplet loss averaged over every anchor and negative of the batch (ACME's row TL; Eq. 2, no mining).

    ``mean_(a, n) [max_p d(a, p) - d(a, n) + margin]+``. With pairs each anchor has one positive, and these are all the
    triplets there are. Of several (photos of one recipe, or the anchor itself beside its pair) the farthest stands for
    all, as in :func:`hard_triplet`: the cost stays with the square of the batch.

    Args:
        distances: float ``[m, n]``, anchors × gallery.
        positives: bool ``[m, n]``; each row holds at least one true.
        margin: float, in the units of ``distances``.
        adaptive: average over those that are not 0 alone (AdaMine, section 3.4).

    Returns:
        float scalar; 0 if nobody has a negative.
    """
    positive = select(distances, miners.farthest_positive(distances, positives))[:, None]
    is_negative = 1.0 - ops.cast(positives, positive.dtype)
    terms = ops.relu(positive - distances + margin) * is_negative
    return mean_of_active(terms) if adaptive else ops.sum(terms) / ops.maximum(ops.sum(is_negative), 1.0)


def instance_triplets(distances, positives, margin, others=None):
    """AdaMine's instance loss (Eq. 3 and 4, normalised as section 3.4): :func:`all_triplets` in both directions.

    Args:
        distances: float ``[n, n]``, images × recipes.
        positives: bool ``[n, n]``, true where an image is of the recipe.
        margin: float.
        others: :class:`Others`, distances: further negatives.

    Returns:
        float scalar.
    """
    sides = _beside((distances, ops.transpose(distances)), others, 1e4)  # so far away that its hinge is 0
    none = ops.shape(sides[0])[1] - ops.shape(positives)[1]
    positives = ops.pad(positives, ((0, 0), (0, none)))
    return sum(all_triplets(side, positives, margin, adaptive=True) for side in sides)


def class_triplets(distances, labels, background, margin):
    """Triplet loss over classes: every item of the anchor's class a positive, every item of another a negative.

    ``Σ [d(a, p) - d(a, n) + margin]+ / number of terms that are not 0`` over anchors ``a`` of a known class, ``p ≠ a``
    of the same one and ``n`` of another known one (AdaMine, section 3.3, with the normalisation of 3.4).

    Args:
        distances: float ``[n, n]``, anchors × gallery, both in the order of ``labels``.
        labels: int ``[n]``.
        background: int, the label of items whose class is not known.
        margin: float, in the units of ``distances``.

    Returns:
        float scalar; 0 if there is no such triplet.
    """
    known = ops.not_equal(labels, background)
    negatives = ops.logical_and(known[None, :], ops.logical_not(miners.matches(labels, labels)))
    negatives = ops.cast(negatives, distances.dtype)
    # An item of no known class is given one of its own: it has no positives.
    alone = ops.min(labels) - 1 - ops.arange(ops.shape(labels)[0], dtype=labels.dtype)
    return listwise.mean_of_active_over_positives(
        lambda rows, own: ops.relu(own - rows + margin) * negatives, distances, ops.where(known, labels, alone)
    )


def mean_of_active(terms):
    """Sum of the terms of a hinge divided by the number of those that are not 0 (AdaMine, section 3.4; R2GAN 2.1).

    While most triplets are already satisfied, a plain mean makes the gradient of the others vanish.

    Args:
        terms: float of any shape, none negative.

    Returns:
        float scalar; 0 if all are 0.
    """
    active = ops.cast(terms > 0.0, terms.dtype)
    return ops.sum(terms) / ops.maximum(ops.sum(active), 1.0)


def mismatched_pairs(cosines, positives, margin, positive_share, others=None):
    """JNE's cosine loss: pairs drawn together, mismatched ones pushed under a margin (Salvador et al. 2017, Eq. 1).

    ``share · (1 - cos)`` for a pair and ``(1 - share) · [cos - margin]+`` for an image with another recipe: the
    expectation, over the batch, of drawing a matching recipe with probability ``share`` and any other one otherwise.

    Args:
        cosines: float ``[n, n]``, images × recipes.
        positives: bool ``[n, n]``, true where an image is of the recipe; the diagonal holds the pairs.
        margin: float.
        positive_share: chance of a matching pair (released code: 0.2).
        others: :class:`Others`, cosines: further pairs, all mismatched.

    Returns:
        float scalar.
    """
    match = ops.cast(positives, cosines.dtype)
    other = 1.0 - match
    positive = ops.sum((1.0 - cosines) * match) / ops.sum(match)
    terms, count = ops.sum(ops.relu(cosines - margin) * other), ops.sum(other)
    if others is not None:
        counted = ops.cast(others.counted, cosines.dtype)
        terms += sum(ops.sum(ops.relu(side - margin) * counted) for side in others.sides)
        count += 2.0 * ops.sum(counted)
    negative = terms / ops.maximum(count, 1.0)
    return positive_share * positive + (1.0 - positive_share) * negative


def symmetric_cross_entropy(logits, positives, others=None):
    """Each image names its recipe among the batch's, and each recipe its image (Radford et al. 2021, Figure 3).

    Args:
        logits: float ``[n, n]``, similarities over a temperature; the pairs stand on the diagonal.
        positives: bool ``[n, n]``, true where an image is of the recipe. All but the pair itself are left out of the
            choice: they are no wrong answers.
        others: :class:`Others`, logits: further wrong answers.

    Returns:
        float scalar: the mean over both directions.
    """
    labels = ops.arange(ops.shape(logits)[0])
    left_out = ops.logical_and(positives, ops.logical_not(ops.eye(ops.shape(logits)[0], dtype="bool")))
    logits = ops.where(left_out, -1e4, logits)  # float16 holds it, and exp of it is 0 beside any logit
    sides = _beside((logits, ops.transpose(logits)), others, -1e4)
    both = [ops.mean(keras.losses.sparse_categorical_crossentropy(labels, side, from_logits=True)) for side in sides]
    return 0.5 * (both[0] + both[1])


def pairwise_sigmoid(logits, positives, others=None):
    """Each image and recipe of the batch, are they a pair or not (Zhai et al. 2023, Eq. 2).

    ``-1/n Σ_i Σ_j log σ(z_ij · logits_ij)``, z_ij 1 for a pair and -1 for others: each is judged by itself, whatever
    else the batch holds.

    Args:
        logits: float ``[n, n]``, similarities over a temperature plus a bias; the pairs stand on the diagonal.
        positives: bool ``[n, n]``, true where an image is of the recipe. All but the pair itself are left out.
        others: :class:`Others`, logits: further images and recipes that are no pair.

    Returns:
        float scalar.
    """
    pairs = ops.eye(ops.shape(logits)[0], dtype=logits.dtype)
    counted = ops.maximum(pairs, 1.0 - ops.cast(positives, logits.dtype))
    total = ops.sum(counted * ops.softplus((1.0 - 2.0 * pairs) * logits))  # -log σ(x) = softplus(-x)
    if others is not None:
        counted = ops.cast(others.counted, logits.dtype)
        total += sum(ops.sum(counted * ops.softplus(side)) for side in others.sides)
    return total / ops.cast(ops.shape(logits)[0], logits.dtype)


def select(distances, index):
    """``distances[i, index[i]]`` as a masked sum: its gradient is dense and the same on every backend."""
    chosen = ops.one_hot(index, distances.shape[1] or ops.shape(distances)[1], dtype=distances.dtype)
    return ops.sum(distances * chosen, axis=1)
