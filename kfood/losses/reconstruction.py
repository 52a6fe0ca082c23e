"""Losses of what can be read back from an embedding: classes, ingredients, a distribution near the normal."""

import keras
from keras import ops

from kfood import distances


def classes(logits, labels, background):
    """Cross-entropy over the items whose class is known: the background class has weight 0.

    Args:
        logits: float ``[batch, classes]``.
        labels: int ``[batch]``.
        background: int, the label that carries no weight.

    Returns:
        float scalar: the mean over items of another class; 0 if there is none.
    """
    known = ops.cast(ops.not_equal(labels, background), logits.dtype)
    terms = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return ops.sum(terms * known) / ops.maximum(ops.sum(known), 1.0)


def present(ids, size, first):
    """Which entries of a vocabulary occur in a padded list of ids.

    Args:
        ids: int ``[batch, n]``; ids below ``first`` (padding, unknown) are passed over.
        size: int, number of entries.
        first: int, the id of entry 0.

    Returns:
        float32 ``[batch, size]`` of 0 and 1.
    """
    entries = ops.where(ids >= first, ids - first, size)  # what is passed over goes to a column that is cut off
    return ops.max(ops.one_hot(entries, size + 1, dtype="float32"), axis=1)[:, :size]


def multi_label(logits, targets):
    """Binary cross-entropy of each label on its own, averaged over labels and batch (ACME, section 3.4.2).

    Args:
        logits: float ``[batch, labels]``.
        targets: float ``[batch, labels]`` of 0 and 1.

    Returns:
        float scalar.
    """
    return ops.mean(ops.softplus(logits) - logits * targets)


def multi_label_margin_as_released(probabilities, targets):
    """ACME's released ingredient loss: a multi-label margin loss that reads the 0/1 vector as a list of indices.

    The margin loss expects the indices of the present labels. Given a 0/1 vector it takes labels 0 and 1 for the only
    positives: label 1 once for each present ingredient, label 0 once for each absent one. It is kept so that the
    released behaviour can be reproduced, not because it trains what the paper says.

    Args:
        probabilities: float ``[batch, labels]``.
        targets: float ``[batch, labels]`` of 0 and 1.

    Returns:
        float scalar.
    """
    size = targets.shape[1]
    ones = ops.sum(targets, axis=1, keepdims=True)
    others = probabilities[:, 2:]
    label_0, label_1 = probabilities[:, 0:1], probabilities[:, 1:2]
    as_label_0 = (size - ones) * ops.relu(1.0 - label_0 + others)
    as_label_1 = ones * ops.relu(1.0 - label_1 + others)
    # Without a present ingredient label 1 is no positive, and is one of the others; without an absent one, label 0 is.
    between = ops.where(ones == 0.0, size * ops.relu(1.0 - label_0 + label_1), 0.0)
    between += ops.where(ones == size, size * ops.relu(1.0 - label_1 + label_0), 0.0)
    return ops.mean(ops.sum(as_label_0 + as_label_1, axis=1) + between[:, 0]) / size


def kl_to_standard_normal(mean, log_variance):
    """``KL(N(mean, exp(log_variance)) ‖ N(0, 1))`` averaged over batch and dimensions (StackGAN's conditioning).

    Args:
        mean: float ``[batch, d]``.
        log_variance: float ``[batch, d]``.

    Returns:
        float scalar.
    """
    return -0.5 * ops.mean(1.0 + log_variance - ops.square(mean) - ops.exp(log_variance))


def uncorrelated(made, wanted):
    """One minus Pearson's correlation of each vector with the one it should be (MCEN, Eq. 19, sign turned).

    Args:
        made: float ``[batch, d]``.
        wanted: float ``[batch, d]``.

    Returns:
        float scalar from 0 (each made vector is a rising straight line of the wanted one) to 2 (a falling one): the
        mean over the batch. A constant vector correlates 0 with everything.
    """
    centred = [vectors - ops.mean(vectors, axis=1, keepdims=True) for vectors in (made, wanted)]
    return ops.mean(distances.cosine_of_pairs(*centred))
