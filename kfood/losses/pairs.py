"""Losses on pairs and tuples of one batch's embeddings.

Symbols: d, Euclidean distance; s, cosine; a, anchor; p, another item of its class; n, an item of another class; P and
N, all of an anchor's; m, margin; β, boundary; γ, scale.

Every function takes ``embeddings`` float ``[n, d]`` and ``labels`` int ``[n]`` first and returns a float scalar, 0
where the batch holds nothing to compare. The *tuple losses* also take ``tuples`` of a miner (:mod:`kfood.miners`),
altered by α-sampling or not; without them they take every pair of the batch. ``mean="active"`` divides the terms of a
hinge by the number of those above 0 instead of by all. With ``others``, items of earlier batches
(:class:`kfood.miners.Others`), anchors are still the batch's, positives and negatives also those. Losses of distances
take the embeddings as they come: normalise them where the paper does. Losses of cosines normalise themselves.

Nothing here is of size ``[n, n, n]``; how: triplets walk over positives (:mod:`kfood.losses.listwise`), the lifted
structure's sum splits into two sums over rows, and histograms add up pairs in their bins. All of it is exact.

Gradient-Adaptive Optimization (GAO; Song, Li, Min and Jiang 2023, "Towards Food Image Retrieval via
Generalization-Oriented Sampling and Loss Function Design", Eq. 4 to 8: "the α-sampling paper") is :func:`gao`, put
around the distance of the positive: ``gao=True`` in every loss that has one, of the distance itself and not of its
square. The released code differs: ``gao="as_released"``, in :func:`contrastive` and :func:`margin`.
"""

import math
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from kfood import distances, miners
from kfood.losses import listwise, ranking

Mean = Literal["all", "active"]


def gao(distance):
    """GAO, Eq. 6 and 8: ``log(1 + d_ap)``, whose slope ``1 / (1 + d_ap)`` falls as the positive is farther (Eq. 4).

    Args:
        distance: float, not negative, of any shape.

    Returns:
        float of the same shape.
    """
    return ops.log1p(distance)


def contrastive(
    embeddings, labels, tuples=None, *, margin=1.0, squared=False, gao=False, mean: Mean = "all", others=None
):
    """Contrastive loss: ``mean d_ap + mean [m - d_an]+`` (α-sampling paper, Eq. 5; with GAO, Eq. 6).

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        tuples: :class:`kfood.miners.Tuples`; None: all pairs, the mean of the positive and that of the negative ones.
        margin: m, a distance.
        squared: ``d_ap²`` and ``([m - d_an]+)²`` (Hadsell et al. 2006, Eq. 4, without its ½); without GAO.
        gao: True: Eq. 6; ``"as_released"``: ``log(1 + mean d_ap)``, the mean inside the logarithm.
        mean: ``"all"`` or ``"active"``, of positive and of negative pairs alike.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar.
    """
    _check_gao(gao, ("as_released",), squared)
    pairs, average = _pairs(embeddings, labels, tuples, others=others), _average(mean)
    power = ops.square if squared else lambda x: x
    positive = average(power(_positive(pairs.positive, gao is True)), pairs.positive_weight)
    if gao == "as_released":
        positive = ops.log1p(positive)
    return positive + average(power(ops.relu(margin - pairs.negative)), pairs.negative_weight)


def first_boundary(gao=False):
    """The margin loss's β to start from: 1.2, a distance (released code), in the units that a positive is compared in.

    Without GAO, and with it as released, those of the distance. Eq. 8 compares ``log(1 + d_ap)`` with β, so that 1.2
    would let go of every positive nearer than ``exp(1.2 - m) - 1``, 1.72 at m = 0.2, where two random unit vectors lie
    1.41 apart: nothing is pulled. ``log(1 + 1.2)``, 0.79, lets go at 0.80.

    Args:
        gao: as in :func:`margin`.
    """
    return math.log1p(1.2) if gao is True else 1.2


def learns_by_eq_8(boundary, margin=0.2):
    """Whether Eq. 8 pulls positives as far apart as two random unit vectors, √2, from this β: ``log(1 + √2) > β - m``.

    Args:
        boundary: β at the start, a number.
        margin: m.
    """
    return math.log1p(math.sqrt(2.0)) > boundary - margin


def margin(embeddings, labels, boundaries=None, tuples=None, *, margin=0.2, gao=False, mean=None, others=None):
    """Margin loss: ``Σ [m + d_ap - β]+ + [m + β - d_an]+`` over the number of terms above 0 (Wu et al. 2017, sec. 4.2).

    The α-sampling paper's Eq. 7, whose printed braces are Wu's hinges; with GAO its Eq. 8.

    Eq. 8 sets β against ``log(1 + d_ap)`` and against ``d_an``: positives are let go below ``exp(β - m) - 1``,
    negatives beyond ``β + m``. Above β = 0.98 (at m = 0.2) the first is the larger: a positive may rest farther away
    than a negative, and no gap is left between them. So β starts lower there (:func:`first_boundary`) and should be
    learnt slowly: while positives are the more to be moved, each step lifts it.

    Args:
        embeddings: float ``[n, d]``, L2-normalised.
        labels: int ``[n]``.
        boundaries: β: a number, or float ``[classes]``, of which the anchor's counts: pass a variable and it is learnt;
            None: :func:`first_boundary`.
        tuples: :class:`kfood.miners.Tuples`; None: all pairs.
        margin: m, a distance.
        gao: True: Eq. 8; ``"as_released"``: ``√2 log(1 + [m + d_ap - β]+)``.
        mean: what the sum is divided by: ``"active"``, the number of terms above 0; ``"active_tuples"``, of tuples with
            such a term, as the released code does with and without GAO: up to twice as much. None: ``"active_tuples"``
            with tuples and GAO as released, else ``"active"``.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar.

    Raises:
        ValueError: ``"active_tuples"`` without tuples.
    """
    _check_gao(gao, ("as_released",))
    mean = mean or ("active_tuples" if gao == "as_released" and tuples is not None else "active")
    if mean not in ("active", "active_tuples"):
        raise ValueError(f"mean: expected None, 'active' or 'active_tuples', received {mean!r}.")
    if mean == "active_tuples" and tuples is None:
        raise ValueError("mean: expected 'active' where no tuples are mined, received 'active_tuples'.")
    pairs = _pairs(embeddings, labels, tuples, others=others)
    boundaries = ops.convert_to_tensor(first_boundary(gao) if boundaries is None else boundaries, embeddings.dtype)
    own = ops.take(boundaries, pairs.label, axis=0) if len(boundaries.shape) else boundaries
    positive = ops.relu(margin + _positive(pairs.positive, gao is True) - own)
    if gao == "as_released":
        positive = math.sqrt(2.0) * ops.log1p(positive)
    negative = ops.relu(margin + own - pairs.negative)
    terms = (positive * pairs.positive_weight, negative * pairs.negative_weight)
    if mean == "active_tuples":
        return ranking.mean_of_active(terms[0] + terms[1])
    return ranking.mean_of_active(ops.concatenate([ops.ravel(term) for term in terms]))


def triplet(
    embeddings,
    labels,
    tuples=None,
    *,
    margin=0.2,
    soft=False,
    squared=False,
    gao=False,
    mean: Mean = "all",
    others=None,
):
    """Triplet loss: mean of ``[d_ap - d_an + m]+`` (Schroff et al. 2015, Eq. 3, which has d²: ``squared``).

    Of one set of embeddings and its classes; between two modalities, where a recipe looks for its photo:
    :func:`kfood.losses.ranking.hard_triplet` and :func:`~kfood.losses.ranking.all_triplets`.

    With ``tuples=miners.hard(…)``: Hermans et al. 2017, Eq. 5, and tensorflow-addons' ``triplet_hard_loss``.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        tuples: :class:`kfood.miners.Tuples`; None: every triplet of the batch.
        margin: m, in the units of the distance.
        soft: ``log(1 + exp(d_ap - d_an))`` in place of the hinge, without a margin (Hermans et al. 2017, section 2).
        squared: squared distances; without GAO.
        gao: ``log(1 + d_ap)`` in place of ``d_ap``.
        mean: ``"all"`` or ``"active"``: of ``soft``, whose terms are all above 0, the same.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar.
    """
    _check_gao(gao, squared=squared)
    average = _average(mean)

    def hinge(positive, negative):
        apart = _positive(positive, gao) - negative
        return ops.softplus(apart) if soft else ops.relu(apart + margin)

    if tuples is not None:
        pairs = _pairs(embeddings, labels, tuples, squared, others)
        return average(hinge(pairs.positive, pairs.negative), tuples.weight)
    pairs = _pairs(embeddings, labels, None, squared, others)
    weights, beyond = pairs.negative_weight, _beyond(pairs, others)
    if mean == "active":
        return listwise.mean_of_active_over_positives(
            lambda rows, own: hinge(own, rows) * weights, pairs.negative, labels, beyond
        )
    sums = listwise.over_positives(
        lambda rows, own: ops.sum(hinge(own, rows) * weights, axis=1), pairs.negative, labels, beyond
    )
    number = ops.sum(ops.sum(pairs.positive_weight, axis=1) * ops.sum(weights, axis=1))
    return ops.sum(sums) / ops.maximum(number, 1.0)


def semi_hard_triplet(embeddings, labels, *, margin=1.0, squared=False, gao=False, mean: Mean = "all", others=None):
    """Triplet loss of every positive pair with its semi-hard negative (Schroff et al. 2015, section 3.2).

    ``mean_ap [d_ap - d_an + m]+`` with n the nearest negative that is farther than p, or else the farthest one:
    tensorflow-addons' ``triplet_semihard_loss``, distances ``"L2"``, whose margin of 1 it has. ``triplet`` with the
    miner ``"semi_hard"`` takes *one* positive of each anchor, by lot, and has a margin of 0.2.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        margin: m, in the units of the distance.
        squared: squared distances; without GAO.
        gao: ``log(1 + d_ap)`` in place of ``d_ap``.
        mean: ``"all"`` or ``"active"``.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar.
    """
    _check_gao(gao, squared=squared)
    _average(mean)
    pairs = _pairs(embeddings, labels, None, squared, others)
    negatives, beyond = pairs.negative_weight > 0.0, _beyond(pairs, others)
    exists = ops.any(negatives, axis=1)

    def term(rows, own):
        index = miners.nearest_negative_beyond(rows, negatives, own)
        negative = ops.take_along_axis(rows, ops.cast(index, "int32")[:, None], axis=1)
        return ops.where(exists, ops.relu(_positive(own, gao) - negative + margin)[:, 0], 0.0)

    if mean == "active":
        return listwise.mean_of_active_over_positives(
            lambda rows, own: term(rows, own)[:, None], pairs.positive, labels, beyond
        )
    sums = listwise.over_positives(term, pairs.positive, labels, beyond)
    return ops.sum(sums) / ops.maximum(ops.sum(pairs.positive_weight), 1.0)


def n_pair(embeddings, labels, tuples=None):
    """Multi-class N-pair loss: mean of ``log(1 + Σ_n exp(f_a·f_n - f_a·f_p))`` (Sohn 2016, section 3.2).

    The negatives of a tuple are the positives of all tuples of another class, and its own negative. The paper's penalty
    on the norm of the embeddings is left to the caller: with normalised ones it is constant.

    Args:
        embeddings: float ``[n, d]``; compared by dot product.
        labels: int ``[n]``.
        tuples: :class:`kfood.miners.Tuples`; None: one pair a class, as in the paper
            (:func:`kfood.miners.one_pair_a_class`).

    Returns:
        float scalar.
    """
    if tuples is None:
        tuples = miners.one_pair_a_class(labels, embeddings.dtype)
    anchors = ops.take(embeddings, tuples.anchor, axis=0)
    dots = ops.matmul(anchors, ops.transpose(embeddings))
    items = ops.arange(ops.shape(labels)[0], dtype="int32")
    counted = ops.where(tuples.weight > 0.0, ops.cast(tuples.positive, "int32"), -1)
    offered = ops.any(ops.equal(counted[:, None], items[None, :]), axis=0)
    rivals = ops.logical_not(miners.matches(ops.take(labels, tuples.anchor), labels))
    rivals = ops.logical_and(rivals, offered[None, :])
    rivals = ops.logical_or(rivals, ops.equal(ops.cast(tuples.negative, "int32")[:, None], items[None, :]))
    own = ops.sum(anchors * ops.take(embeddings, tuples.positive, axis=0), axis=1)
    return _mean(ops.softplus(log_sum_exp(dots, rivals, axis=1) - own), tuples.weight)


def lifted_structure(embeddings, labels, *, margin=1.0, gao=False):
    """Lifted structure loss: ``Σ_ij [J_ij]+² / 2|P|`` over positive pairs (Song et al. 2016, Eq. 4).

    ``J_ij = log(Σ_k exp(m - d_ik) + Σ_l exp(m - d_jl)) + d_ij``, k and l over the negatives of i and of j.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        margin: m, a distance.
        gao: ``log(1 + d_ij)`` in place of ``d_ij``.

    Returns:
        float scalar.
    """
    _check_gao(gao)
    pairs = _pairs(embeddings, labels, None)
    near = log_sum_exp(margin - pairs.negative, pairs.negative_weight > 0.0, axis=1)
    terms = ops.logaddexp(near[:, None], near[None, :]) + _positive(pairs.positive, gao)
    return 0.5 * _mean(ops.square(ops.relu(terms)), pairs.positive_weight)


def histogram(embeddings, labels, *, bins=100, others=None):
    """Histogram loss: the chance that a negative pair is more alike than a positive one (Ustinova & Lempitsky 2016).

    ``Σ_r h⁻_r Σ_{q ≤ r} h⁺_q``, where a pair of cosine s adds to the two nodes around s, by its nearness to each
    (section 3).

    Args:
        embeddings: float ``[n, d]``; compared by cosine.
        labels: int ``[n]``.
        bins: R, nodes from -1 to 1, both included.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar.
    """
    similarities, positives, negatives = _cosines(embeddings, labels, others)
    dtype = similarities.dtype
    place = ops.ravel((ops.clip(similarities, -1.0, 1.0) + 1.0) * ((bins - 1) / 2.0))
    below = ops.minimum(ops.floor(ops.stop_gradient(place)), bins - 2.0)
    upper = place - below
    index = ops.cast(below, "int32")
    spread = []
    for mask in (positives, negatives):
        weights = ops.ravel(ops.cast(mask, dtype))
        weights = weights / ops.maximum(ops.sum(weights), 1.0)
        spread.append(
            ops.segment_sum((1.0 - upper) * weights, index, num_segments=bins)
            + ops.segment_sum(upper * weights, index + 1, num_segments=bins)
        )
    return ops.sum(spread[1] * ops.cumsum(spread[0]))


def circle(embeddings, labels, *, relaxation=0.4, scale=80.0, others=None):
    """Circle loss: ``log(1 + Σ_n exp(γ α_n (s_n - m)) Σ_p exp(-γ α_p (s_p - 1 + m)))`` (Sun et al. 2020, Eq. 6).

    ``α_n = [s_n + m]+`` and ``α_p = [1 + m - s_p]+`` (Eq. 5 and 8) are weights and carry no gradient, as in the
    released code.

    Args:
        embeddings: float ``[n, d]``; compared by cosine.
        labels: int ``[n]``.
        relaxation: m (section 4.1: 0.4 for fine-grained retrieval).
        scale: γ (there: 80).
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar: mean over anchors that have a positive and a negative.
    """
    similarities, positives, negatives = _cosines(embeddings, labels, others)
    still, m = ops.stop_gradient(similarities), relaxation
    far = -scale * ops.relu(1.0 + m - still) * (similarities - (1.0 - m))
    near = scale * ops.relu(still + m) * (similarities - m)
    terms = ops.softplus(log_sum_exp(far, positives, axis=1) + log_sum_exp(near, negatives, axis=1))
    return _mean(terms, _complete(positives, negatives, terms.dtype))


def multi_similarity(embeddings, labels, *, alpha=2.0, beta=50.0, threshold=1.0, tolerance=0.1, others=None):
    """Multi-similarity loss (Wang et al. 2019, Eq. 15) of the pairs its mining keeps (Eq. 11 and 12).

    ``mean_a log(1 + Σ_p exp(-α (s_ap - λ))) / α + log(1 + Σ_n exp(β (s_an - λ))) / β``, over negatives with
    ``s_an > min_p s_ap - ε`` and positives with ``s_ap < max_n s_an + ε``.

    Args:
        embeddings: float ``[n, d]``; compared by cosine.
        labels: int ``[n]``.
        alpha: α.
        beta: β.
        threshold: λ (the released code has 0.5).
        tolerance: ε of the mining.
        others: :class:`kfood.miners.Others`.

    Returns:
        float scalar: mean over anchors that have a positive and a negative.
    """
    similarities, positives, negatives = _cosines(embeddings, labels, others)
    still = ops.stop_gradient(similarities)
    never = _never(still)
    least = ops.min(ops.where(positives, still, -never), axis=1, keepdims=True)
    most = ops.max(ops.where(negatives, still, never), axis=1, keepdims=True)
    hard_positives = ops.logical_and(positives, still < most + tolerance)
    hard_negatives = ops.logical_and(negatives, still > least - tolerance)
    pull = ops.softplus(log_sum_exp(-alpha * (similarities - threshold), hard_positives, axis=1)) / alpha
    push = ops.softplus(log_sum_exp(beta * (similarities - threshold), hard_negatives, axis=1)) / beta
    return _mean(pull + push, _complete(positives, negatives, pull.dtype))


def log_sum_exp(values, mask, axis):
    """``log Σ exp`` along an axis of the values where ``mask`` is true; a large negative number if none is."""
    return ops.logsumexp(ops.where(mask, values, _never(values)), axis=axis)


class _Pairs(NamedTuple):
    """Distances of positive and of negative pairs, 1 or 0 by whether each counts, and the anchor's label.

    Either one pair of both a tuple, all float ``[m]``, or every pair of the batch, or of it with k others: float
    ``[n, n + k]`` and ``[n, 1]``.
    """

    positive: Any
    positive_weight: Any
    negative: Any
    negative_weight: Any
    label: Any


def _pairs(embeddings, labels, tuples, squared=False, others=None):
    gallery = miners.gallery(embeddings, labels, others)
    if tuples is None:
        between = (distances.squared_euclidean if squared else distances.euclidean)(embeddings, gallery.embeddings)
        positives, negatives = (ops.cast(side, between.dtype) for side in gallery[1:])
        return _Pairs(between, positives, between, negatives, labels[:, None])
    anchor, positive, negative = (
        ops.take(gallery.embeddings, rows, axis=0) for rows in (tuples.anchor, tuples.positive, tuples.negative)
    )
    if squared:
        apart = [ops.sum(ops.square(anchor - other), axis=1) for other in (positive, negative)]
    else:
        apart = [distances.euclidean_of_pairs(anchor, other) for other in (positive, negative)]
    return _Pairs(apart[0], tuples.weight, apart[1], tuples.weight, ops.take(labels, tuples.anchor))


def _beyond(pairs, others):
    """Positives where they are not the batch's alone, for a walk over them."""
    return None if others is None else pairs.positive_weight > 0.0


def _cosines(embeddings, labels, others):
    """Cosines float ``[n, n + k]``, which are of positives, and which of negatives."""
    gallery = miners.gallery(embeddings, labels, others)
    return 1.0 - distances.cosine(embeddings, gallery.embeddings), gallery.positives, gallery.negatives


def _positive(distance, adaptive):
    return gao(distance) if adaptive else distance


def _check_gao(value, also=(), squared=False):
    if squared and value is not False:
        raise ValueError(f"gao: expected False with squared distances, received {value!r}.")
    if value is not True and value is not False and value not in also:
        raise ValueError(f"gao: expected {', '.join(map(repr, (False, True, *also)))}, received {value!r}.")


def _never(like):
    """Stands for the logarithm of 0 in sums of exponentials: finite, so that an empty sum has a gradient, 0."""
    return -1e4 if keras.backend.standardize_dtype(like.dtype) == "float16" else -1e30


def _mean(terms, weights):
    return ops.sum(terms * weights) / ops.maximum(ops.sum(weights), 1.0)


def _average(mean):
    """Terms and weights → scalar, by the name of a mean."""
    means = {"all": _mean, "active": lambda terms, weights: ranking.mean_of_active(terms * weights)}
    if mean not in means:
        raise ValueError(f"mean: expected one of {sorted(means)}, received {mean!r}.")
    return means[mean]


def _complete(positives, negatives, dtype):
    return ops.cast(ops.logical_and(ops.any(positives, axis=1), ops.any(negatives, axis=1)), dtype)
