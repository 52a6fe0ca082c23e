"""Miners: distances and labels → which tuples count. Nothing here carries a gradient of its own.

Two kinds:

* An index for each anchor: :func:`farthest_positive` and its like receive ``distances`` float ``[m, n]`` from anchors
  (rows) to a gallery (columns) and ``positives`` bool ``[m, n]``, true where the gallery item matches the anchor.
* A tuple (anchor, positive, negative) for each item of a batch: ``miner(embeddings, labels, seed) → Tuples``, in
  :data:`MINERS`. :func:`alpha_sampling` changes the tuples of any of them.

With ``others``, items of earlier batches (:class:`Others`), anchors are the batch's alone, positives and negatives also
those; rows of a tuple then count through the batch and the others behind it.

Where chance decides, ``seed`` is a ``keras.random.SeedGenerator``, ``None`` for Keras' global one, or the random
numbers themselves, uniform in [0, 1): whoever passes them knows the draw. All of it is vectorised and runs inside a
graph.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from kfood import distances as _distances

SMALLEST_DISTANCE = 1e-6
"""Distances are taken as no smaller than this where they are divided by."""


class Tuples(NamedTuple):
    """Rows of a batch, tuple by tuple.

    Attributes:
        anchor: int ``[m]``.
        positive: int ``[m]``, of the anchor's class, another item than the anchor.
        negative: int ``[m]``, of another class.
        weight: float ``[m]``: 1, or 0 where the batch has no positive or no negative for the anchor; such a tuple
            does not count.
    """

    anchor: Any
    positive: Any
    negative: Any
    weight: Any


def matches(anchor_labels, gallery_labels):
    """Which gallery items match which anchors.

    Args:
        anchor_labels: int ``[m]``.
        gallery_labels: int ``[n]``.

    Returns:
        bool ``[m, n]``.
    """
    return ops.equal(anchor_labels[:, None], gallery_labels[None, :])


def others_alike(labels):
    """Which items of a batch are of one class, an item and itself left out.

    Args:
        labels: int ``[n]``.

    Returns:
        bool ``[n, n]``.
    """
    return ops.logical_and(matches(labels, labels), ops.logical_not(ops.eye(ops.shape(labels)[0], dtype="bool")))


class Others(NamedTuple):
    """Items beside the batch's, as further positives and negatives of it, e.g. of earlier batches.

    Attributes:
        embeddings: float ``[k, d]``.
        labels: int ``[k]``.
        counted: bool ``[n, k]``, which of them are there for which item of the batch.
    """

    embeddings: Any
    labels: Any
    counted: Any


class Gallery(NamedTuple):
    """What the items of a batch are compared with: all of the batch, and others behind it.

    Attributes:
        embeddings: float ``[n + k, d]``.
        positives: bool ``[n, n + k]``, of an item's class, itself left out.
        negatives: bool ``[n, n + k]``, of another class.
    """

    embeddings: Any
    positives: Any
    negatives: Any


def gallery(embeddings, labels, others=None):
    """A batch's :class:`Gallery`.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        others: :class:`Others`; None: the batch is all.
    """
    alike = matches(labels, labels)
    positives, negatives = others_alike(labels), ops.logical_not(alike)
    if others is None:
        return Gallery(embeddings, positives, negatives)
    alike = matches(labels, ops.cast(others.labels, labels.dtype))
    further = (ops.logical_and(side, others.counted) for side in (alike, ops.logical_not(alike)))
    sides = [ops.concatenate(both, axis=1) for both in zip((positives, negatives), further, strict=True)]
    return Gallery(ops.concatenate([embeddings, ops.cast(others.embeddings, embeddings.dtype)]), *sides)


def farthest_positive(distances, positives):
    """Index ``[m]`` of the most distant matching item of each anchor (ACME, section 3.2)."""
    return ops.argmax(ops.where(positives, distances, -_infinity(distances)), axis=1)


def nearest_negative(distances, positives):
    """Index ``[m]`` of the closest item that does not match, of each anchor (ACME, section 3.2)."""
    return ops.argmin(ops.where(positives, _infinity(distances), distances), axis=1)


def nearest_negative_beyond(distances, negatives, limits):
    """The semi-hard negative of each anchor: the nearest one farther than its limit, or else the farthest one.

    Schroff et al. 2015, section 3.2, with the fallback that tensorflow-addons has.

    Args:
        distances: float ``[m, n]``.
        negatives: bool ``[m, n]``.
        limits: float ``[m, 1]``, the distance of each anchor's positive.

    Returns:
        int ``[m]``.
    """
    beyond = ops.logical_and(negatives, distances > limits)
    nearest = ops.argmin(ops.where(beyond, distances, _infinity(distances)), axis=1)
    return ops.where(ops.any(beyond, axis=1), nearest, farthest_positive(distances, negatives))


def random(embeddings, labels, seed=None, others=None):
    """For each anchor any positive and any negative, all equally likely.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        seed: see the head of this file; as numbers: float ``[2, n]``, for positives and for negatives.
        others: :class:`Others`.

    Returns:
        :class:`Tuples` of ``n``, the anchors in order.
    """
    batch, draw = _batch(embeddings, labels, others), _uniform(seed, labels, 2)
    return _tuples(batch, _choose(batch.positives, draw[0]), _choose(batch.negatives, draw[1]))


def hard(embeddings, labels, seed=None, others=None):
    """The farthest positive and the nearest negative of each anchor (Hermans et al. 2017, Eq. 5).

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        seed: without effect: nothing is left to chance.
        others: :class:`Others`.

    Returns:
        :class:`Tuples` of ``n``, the anchors in order.
    """
    del seed
    batch = _batch(embeddings, labels, others)
    nearest = nearest_negative(batch.distances, ops.logical_not(batch.negatives))
    return _tuples(batch, farthest_positive(batch.distances, batch.positives), nearest)


def semi_hard(embeddings, labels, seed=None, others=None):
    """Any positive, and the nearest negative that is farther than it (Schroff et al. 2015, section 3.2).

    One positive of each anchor, by lot; :func:`kfood.losses.pairs.semi_hard_triplet` takes them all.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        seed: see the head of this file; as numbers: float ``[1, n]``, for positives.
        others: :class:`Others`.

    Returns:
        :class:`Tuples` of ``n``, the anchors in order; without a negative beyond the positive, the farthest one.
    """
    batch = _batch(embeddings, labels, others)
    positive = _choose(batch.positives, _uniform(seed, labels, 1)[0])
    limits = ops.take_along_axis(batch.distances, positive[:, None], axis=1)
    return _tuples(batch, positive, nearest_negative_beyond(batch.distances, batch.negatives, limits))


def soft_hard(embeddings, labels, seed=None, others=None):
    """Any positive farther than the nearest negative, any negative nearer than the farthest positive.

    Roth et al. 2020 (the platform of the α-sampling paper), after Roth & Brattoli 2019: hard, but not the hardest
    alone.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        seed: see the head of this file; as numbers: float ``[2, n]``, for positives and for negatives.
        others: :class:`Others`.

    Returns:
        :class:`Tuples` of ``n``, the anchors in order; where no item is that hard, any positive or negative.
    """
    batch, draw = _batch(embeddings, labels, others), _uniform(seed, labels, 2)
    far, infinity = batch.distances, _infinity(batch.distances)
    farthest = ops.max(ops.where(batch.positives, far, -infinity), axis=1, keepdims=True)
    nearest = ops.min(ops.where(batch.negatives, far, infinity), axis=1, keepdims=True)
    chosen = []
    for wanted, hard_enough, numbers in (
        (batch.positives, far > nearest, draw[0]),
        (batch.negatives, far < farthest, draw[1]),
    ):
        both = ops.logical_and(wanted, hard_enough)
        chosen.append(_choose(ops.where(ops.any(both, axis=1, keepdims=True), both, wanted), numbers))
    return _tuples(batch, *chosen)


def distance_weighted(embeddings, labels, seed=None, cutoff=0.5, others=None):
    """Any positive, and a negative by its distance: near and far ones as likely as the common ones (Wu et al. 2017).

    ``Pr(n | a) ∝ min(λ, 1 / q(d_an))`` (section 4.1), where ``q(d) ∝ d^(D-2) (1 - d²/4)^((D-3)/2)`` is how distances
    spread between points on a sphere (Eq. 2 of the α-sampling paper) and ``λ = 1 / q(cutoff)``. Wu's code and the
    α-sampling release bound the distance from below instead, which is the same up to ``√2``; the bound on the weight
    holds beyond as well, where a negative opposite to its anchor would otherwise take all the probability.

    Args:
        embeddings: float ``[n, d]``, L2-normalised.
        labels: int ``[n]``.
        seed: see the head of this file; as numbers: float ``[2, n]``, for positives and for negatives.
        cutoff: distance in (0, √2) below which negatives are equally likely.
        others: :class:`Others`.

    Returns:
        :class:`Tuples` of ``n``, the anchors in order.
    """
    batch, draw = _batch(embeddings, labels, others), _uniform(seed, labels, 2)
    size = embeddings.shape[1]
    far = ops.clip(batch.distances, cutoff, 2.0 - 1e-4)
    logs = (2.0 - size) * ops.log(far) - 0.5 * (size - 3.0) * ops.log(1.0 - 0.25 * ops.square(far))
    most = (2.0 - size) * math.log(cutoff) - 0.5 * (size - 3.0) * math.log(1.0 - 0.25 * cutoff**2)
    logs = ops.where(batch.negatives, ops.minimum(logs, most), -_infinity(logs))
    peak = ops.max(logs, axis=1, keepdims=True)
    weights = ops.exp(logs - ops.where(ops.isfinite(peak), peak, 0.0))
    return _tuples(batch, _choose(batch.positives, draw[0]), _choose(weights, draw[1]))


MINERS: dict[str, Callable[..., Tuples]] = {
    "random": random,
    "semi_hard": semi_hard,
    "soft_hard": soft_hard,
    "hard": hard,
    "distance_weighted": distance_weighted,
}
"""Names used by configs."""


def by_name(name):
    """The miner called ``name``.

    Raises:
        ValueError: the name is not one of :data:`MINERS`.
    """
    if name not in MINERS:
        raise ValueError(f"miner: expected one of {sorted(MINERS)}, received {name!r}.")
    return MINERS[name]


def alpha_sampling(tuples, embeddings, alpha, *, easy_first=True, seed=None):
    """α-sampling, Eq. 1 and 3: a share of the tuples (a, p, n) becomes (a, a, p), so that p is pushed away from a.

    Which ones: each with a probability proportional to ``1 / d_ap``, of those that count, and ``α`` of them in all.
    Both hold exactly, by systematic sampling (Madow 1949): the probabilities are laid end to end, in random order, and
    cut at every whole number from a random start. A probability may not pass 1: what a tuple cannot take goes to the
    others.

    The order matters: with two items a class a batch holds (a, p) and (p, a) as neighbours, of one distance, and cuts a
    whole number apart never meet both, while a loss that pulls one and pushes the other moves neither.

    Args:
        tuples: of any miner.
        embeddings: float ``[n, d]``, which the tuples' rows belong to.
        alpha: share of the tuples in [0, 1] (paper: 0.2 to 0.3).
        easy_first: Eq. 3; False: each tuple with a probability of ``alpha``, whatever its distance, on its own, as the
            released code does.
        seed: see the head of this file; as numbers: float ``[2, m]``: of Eq. 3 the start (the first number of the first
            row) and the order (the second row, sorted); of the released choice the first row, a number for each tuple.

    Returns:
        :class:`Tuples` of the same ``m``.
    """
    draw = _uniform(seed, tuples.anchor, 2)
    if easy_first:
        apart = _distances.euclidean_of_pairs(
            ops.take(embeddings, tuples.anchor, axis=0), ops.take(embeddings, tuples.positive, axis=0)
        )
        chances = _shares(ops.stop_gradient(tuples.weight / ops.maximum(apart, SMALLEST_DISTANCE)), alpha)
        order = ops.argsort(draw[1])
        first = ops.cast(draw[0, :1], chances.dtype)
        cuts = ops.floor(ops.concatenate([first, first + ops.cumsum(ops.take(chances, order, axis=0))]))
        chosen = ops.take(cuts[1:] > cuts[:-1], ops.argsort(order), axis=0)
    else:
        chosen = ops.logical_and(draw[0] < alpha, tuples.weight > 0.0)
    return Tuples(
        tuples.anchor,
        ops.where(chosen, tuples.anchor, tuples.positive),
        ops.where(chosen, tuples.positive, tuples.negative),
        tuples.weight,
    )


def one_pair_a_class(labels, dtype=None):
    """A pair of each class of a batch: its first item the anchor, its second the positive (Sohn 2016, section 3.2).

    Args:
        labels: int ``[n]``.
        dtype: of the weights; the default float.

    Returns:
        :class:`Tuples` of ``n``, of which one a class with two items or more counts; the negative is the positive of
        another class.
    """
    dtype = dtype or keras.config.floatx()
    alike = matches(labels, labels)
    before = ops.tril(alike, -1)
    first = ops.logical_not(ops.any(before, axis=1))
    second = ops.equal(ops.sum(ops.cast(before, "int32"), axis=1), 1)
    positive = ops.argmax(ops.logical_and(alike, second[None, :]), axis=1)
    rivals = ops.logical_and(ops.logical_not(alike), second[None, :])
    counts = ops.logical_and(first, ops.any(ops.triu(alike, 1), axis=1))
    counts = ops.logical_and(counts, ops.any(rivals, axis=1))
    anchor = ops.arange(ops.shape(labels)[0], dtype="int32")
    negative = ops.cast(ops.argmax(rivals, axis=1), "int32")
    return Tuples(anchor, ops.cast(positive, "int32"), negative, ops.cast(counts, dtype))


def one_at_a_time(labels, positives=None):
    """The positives of each anchor as a walk: k → the k-th other item of its class.

    Args:
        labels: int ``[n]``.
        positives: bool ``[n, m]``, of a gallery beyond the batch; then memory is that of a few such matrices.

    Returns:
        ``(steps, item)``: an int scalar, the most positives that any anchor has, and a function int scalar ``k``, from
        1 → (int ``[n]``, rows; bool ``[n]``, whether the anchor has so many). Memory is ``[n]`` whatever the class
        sizes.
    """
    if positives is not None:
        number = ops.cumsum(ops.cast(positives, "int32"), axis=1)

        def row(k):
            there = ops.logical_and(positives, ops.equal(number, k))
            return ops.cast(ops.argmax(there, axis=1), "int32"), k <= number[:, -1]

        return ops.max(number[:, -1]), row
    alike = matches(labels, labels)
    size = ops.sum(ops.cast(alike, "int32"), axis=1)
    start = ops.sum(ops.cast(labels[None, :] < labels[:, None], "int32"), axis=1)
    within = ops.sum(ops.cast(ops.tril(alike, -1), "int32"), axis=1)
    order = ops.cast(ops.argsort(start + within), "int32")  # of all items, class by class

    def item(k):
        return ops.take(order, start + (within + k) % size), k < size

    return ops.max(size) - 1, item


class _Batch(NamedTuple):
    """What miners look at: ``[n, n + k]`` distances without gradient and which pairs are positive, which negative."""

    distances: Any
    positives: Any
    negatives: Any


def _batch(embeddings, labels, others):
    compared = gallery(embeddings, labels, others)
    distances = ops.stop_gradient(_distances.euclidean(embeddings, compared.embeddings))
    return _Batch(distances, compared.positives, compared.negatives)


def _tuples(batch, positive, negative):
    complete = ops.logical_and(ops.any(batch.positives, axis=1), ops.any(batch.negatives, axis=1))
    anchor = ops.arange(ops.shape(batch.distances)[0], dtype="int32")
    positive, negative = ops.cast(positive, "int32"), ops.cast(negative, "int32")
    return Tuples(anchor, positive, negative, ops.cast(complete, batch.distances.dtype))


def _choose(weights, uniform):
    """An index ``[m]`` into each row of ``weights`` (bool or float ``[m, n]``), as likely as its weight."""
    sums = ops.cumsum(ops.cast(weights, uniform.dtype), axis=1)
    total = sums[:, -1:]
    # The second comparison keeps a product that was rounded up to the total inside the last item of any weight.
    passed = ops.logical_and(sums <= uniform[:, None] * total, sums < total)
    return ops.sum(ops.cast(passed, "int32"), axis=1)


def _shares(weights, share):
    """Probabilities ``min(1, c · weights)`` that add up to ``share`` of the number of weights above 0.

    Weights 6, 1, 1 and a share of 2/3 are to add up to 2: c = 1/4 would give 3/2, 1/4, 1/4. The first may have 1 only;
    the other two share what is left of 2, so c = 1/2: 1, 1/2, 1/2.
    """
    falling = -ops.sort(-weights)
    wanted = share * ops.sum(ops.cast(weights > 0.0, weights.dtype))
    certain = ops.arange(ops.shape(weights)[0], dtype=weights.dtype)  # how many are given 1
    rest = ops.flip(ops.cumsum(ops.flip(falling)))
    # The first place where the largest of the rest would not pass 1; at least one fits, for share is at most 1.
    fits = ops.logical_or(falling * (wanted - certain) <= rest, certain >= wanted)
    place = ops.argmax(fits, axis=0)
    scale = (wanted - ops.take(certain, place)) / ops.maximum(ops.take(rest, place), 1e-12)
    return ops.minimum(ops.maximum(scale, 0.0) * weights, 1.0)


def _uniform(seed, like, rows):
    """Uniform numbers ``[rows, len(like)]`` from a seed, or ``seed`` itself where it already holds them."""
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return keras.random.uniform((rows, ops.shape(like)[0]), seed=seed)
    return ops.convert_to_tensor(seed)


def _infinity(like):
    return ops.cast(float("inf"), keras.backend.standardize_dtype(like.dtype))
