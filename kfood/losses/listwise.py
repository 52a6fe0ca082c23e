"""Losses on a whole ranking, Smooth-AP and PNP, and the walk over positives that keeps such losses out of [n, n, n].

An average precision compares each positive of an anchor with every other item: ``[n, n, n]`` numbers, 256 GB at
n = 4,096. :func:`over_positives` takes one positive of each anchor at a time, so that memory is that of a few
``[n, n]`` matrices however many positives there are, and time grows with their number: exact, forward and backward.
"""

import keras
from keras import ops

from kfood import backend, distances, miners


def over_positives(term, matrix, labels, positives=None):
    """Sum over each anchor's positives of what ``term`` makes of that positive and the anchor's row.

    The gradient is computed on the way, step by step, and attached to the value: right to the first order, and not for
    differentiating twice. ``term`` must reach what it differentiates through ``matrix`` alone.

    Args:
        term: function (``matrix``, float ``[n, 1]``: its entry for the positive of each anchor) → float ``[n]``, in
            which entry i depends on row i alone. It must be finite for any entry, also where there is no such positive.
        matrix: float ``[n, n]``, anchors × items: distances or similarities.
        labels: int ``[n]``.
        positives: bool, of the matrix's shape, where it has items beyond the batch (:class:`kfood.miners.Gallery`).

    Returns:
        float ``[n]``.
    """
    steps, one = _walk(term, labels, positives)
    still = ops.stop_gradient(matrix)

    def step(k, sums, slopes):
        slope = backend.input_gradient(lambda values: one(k, values), still)
        return k + 1, sums + one(k, still), slopes + slope

    start = (ops.ones((), "int32"), ops.zeros_like(still[:, 0]), ops.zeros_like(still))
    _, sums, slopes = ops.while_loop(lambda k, *_: k <= steps, step, start)
    return sums + ops.sum(ops.stop_gradient(slopes) * (matrix - still), axis=1)


def mean_of_active_over_positives(terms, matrix, labels, positives=None):
    """Sum of terms over each anchor's positives, divided by the number of those above 0.

    Args:
        terms: as ``term`` of :func:`over_positives`, before its sum over the row: → float ``[n, any]``, none negative.
        matrix: float ``[n, n]``.
        labels: int ``[n]``.
        positives: see there.

    Returns:
        float scalar; 0 if all are 0.
    """
    still = ops.stop_gradient(matrix)
    steps, count = _walk(lambda *row: ops.sum(ops.cast(terms(*row) > 0.0, still.dtype), axis=1), labels, positives)
    active = ops.while_loop(
        lambda k, _: k <= steps,
        lambda k, counts: (k + 1, counts + count(k, still)),
        (ops.ones((), "int32"), ops.zeros_like(still[:, 0])),
    )[1]
    sums = over_positives(lambda *row: ops.sum(terms(*row), axis=1), matrix, labels, positives)
    return ops.sum(sums) / ops.maximum(ops.sum(active), 1.0)


def _walk(term, labels, positives):
    """How many steps there are, and what one of them adds: (k, matrix) → float ``[n]``, 0 without a k-th positive."""
    steps, item = miners.one_at_a_time(labels, positives)

    def one(k, values):
        index, exists = item(k)
        return ops.where(exists, term(values, ops.take_along_axis(values, index[:, None], axis=1)), 0.0)

    return steps, one


def smooth_ap(embeddings, labels, temperature=0.01, others=None):
    """Smooth-AP (Brown et al. 2020, section 4): one minus the average precision, its step function a sigmoid.

    ``1 - mean_a mean_p (1 + Σ_{q ∈ P, q ≠ p} G(s_aq - s_ap)) / (1 + Σ_{j ≠ p} G(s_aj - s_ap))``, the anchor left out of
    its own ranking, as it is in a search. The released code counts it among its positives.

    Args:
        embeddings: float ``[n, d]``; compared by cosine.
        labels: int ``[n]``.
        temperature: of the sigmoid ``G(x) = 1 / (1 + exp(-x / τ))``.
        others: :class:`kfood.miners.Others`, which are ranked too.

    Returns:
        float scalar: mean over anchors that have a positive; 0 if none has.
    """
    gallery = miners.gallery(embeddings, labels, others)
    similarities = 1.0 - distances.cosine(embeddings, gallery.embeddings)
    positives, negatives = (ops.cast(side, similarities.dtype) for side in gallery[1:])
    ranked = positives + negatives

    def precision(rows, own):
        before = ops.sigmoid((rows - own) / temperature)
        # The positive itself is among those summed, with G(0) = 1/2.
        return (0.5 + ops.sum(before * positives, axis=1)) / (0.5 + ops.sum(before * ranked, axis=1))

    beyond = None if others is None else gallery.positives
    sums = over_positives(lambda *parts: 1.0 - precision(*parts), similarities, labels, beyond)
    return _mean_over_anchors(sums, positives)


def pnp(embeddings, labels, variant="D_q", temperature=0.01, alpha=1.0, b=2.0, others=None):
    """PNP: the number R of negatives before each positive (Li et al. 2022), here with a sigmoid for a step function.

    ``mean_a mean_p f(R_ap)``, ``R_ap = Σ_{n ∈ N} G(s_an - s_ap)``. ``f`` is R (``O``), ``(1 + R) log(1 + R)``
    (``I_u``), ``(bR - log(1 + bR)) / b²`` (``I_b``), ``log(1 + R)`` (``D_s``), ``1 - (1 + R)^-α`` (``D_q``): the
    gradient grows with R in the I variants and falls in the D ones. The released code counts the anchor among its own
    positives; here it is left out, as it is in a search.

    Args:
        embeddings: float ``[n, d]``; compared by cosine.
        labels: int ``[n]``.
        variant: ``"O"``, ``"I_u"``, ``"I_b"``, ``"D_s"`` or ``"D_q"``.
        temperature: of the sigmoid.
        alpha: of ``D_q``.
        b: of ``I_b``.
        others: :class:`kfood.miners.Others`, which are ranked too.

    Returns:
        float scalar: mean over anchors that have a positive; 0 if none has.

    Raises:
        ValueError: an unknown variant.
    """
    assign = {
        "O": lambda count: count,
        "I_u": lambda count: (1.0 + count) * ops.log1p(count),
        "I_b": lambda count: (b * count - ops.log1p(b * count)) / b**2,
        "D_s": ops.log1p,
        "D_q": lambda count: 1.0 - ops.power(1.0 + count, -alpha),
    }
    if variant not in assign:
        raise ValueError(f"variant: expected one of {sorted(assign)}, received {variant!r}.")
    gallery = miners.gallery(embeddings, labels, others)
    similarities = 1.0 - distances.cosine(embeddings, gallery.embeddings)
    positives, negatives = (ops.cast(side, similarities.dtype) for side in gallery[1:])

    def term(rows, own):
        return assign[variant](ops.sum(ops.sigmoid((rows - own) / temperature) * negatives, axis=1))

    beyond = None if others is None else gallery.positives
    return _mean_over_anchors(over_positives(term, similarities, labels, beyond), positives)


def _mean_over_anchors(sums, positives):
    """Mean over positives, then over the anchors that have any."""
    counts = ops.sum(positives, axis=1)
    some = ops.cast(counts > 0.0, sums.dtype)
    return ops.sum(sums / ops.maximum(counts, 1.0)) / ops.maximum(ops.sum(some), keras.config.epsilon())
