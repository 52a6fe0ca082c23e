"""Losses on embeddings and proxies: one learnt vector, or several, for each class.

Every function takes ``embeddings`` float ``[n, d]``, ``labels`` int ``[n]`` and ``proxies`` float ``[classes, d]`` (row
c stands for label c; :func:`soft_triple`: ``[classes, centres, d]``), normalises both and returns a float scalar, NaN
where a label has no proxy (:class:`kfood.losses.metric_learning.MetricLoss` names it). s is the cosine, x an embedding,
p a proxy, y the label of x.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kfood import distances, miners
from kfood.losses.pairs import log_sum_exp


def normalised_softmax(embeddings, labels, proxies, *, temperature=0.05):
    """Normalised softmax: mean of ``-log(exp(s(x, p_y) / σ) / Σ_z exp(s(x, p_z) / σ))`` (Zhai & Wu 2019, section 3).

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        proxies: float ``[classes, d]``.
        temperature: σ.

    Returns:
        float scalar.
    """
    return _cross_entropy(labels, _cosines(embeddings, proxies) / temperature)


def proxy_nca(embeddings, labels, proxies, *, scale=3.0):
    """ProxyNCA: mean of ``-log(exp(-‖x - p_y‖²) / Σ_{z ≠ y} exp(-‖x - p_z‖²))`` (Movshovitz-Attias et al. 2017, Eq. 4).

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        proxies: float ``[classes, d]``.
        scale: norm that embeddings and proxies are given (public code: 3).

    Returns:
        float scalar.
    """
    squares = 2.0 * scale**2 * (1.0 - _cosines(embeddings, proxies))
    own = _own(labels, proxies)
    to_own = ops.sum(ops.where(own, squares, 0.0), axis=1)
    return ops.mean(to_own + log_sum_exp(-squares, ops.logical_not(own), axis=1)) + _missing(own, squares.dtype)


def proxy_anchor(embeddings, labels, proxies, *, scale=32.0, margin=0.1):
    """Proxy-Anchor (Kim et al. 2020, Eq. 4): each proxy an anchor, pulling its class and pushing the rest.

    ``mean_{p ∈ P⁺} log(1 + Σ_{x of p} exp(-α (s(x, p) - δ))) + mean_{p} log(1 + Σ_{other x} exp(α (s(x, p) + δ)))``,
    P⁺ the proxies of the batch's classes.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        proxies: float ``[classes, d]``.
        scale: α.
        margin: δ, a cosine.

    Returns:
        float scalar.
    """
    similarities, own = _cosines(embeddings, proxies), _own(labels, proxies)
    pull = ops.softplus(log_sum_exp(-scale * (similarities - margin), own, axis=0))
    push = ops.softplus(log_sum_exp(scale * (similarities + margin), ops.logical_not(own), axis=0))
    present = ops.cast(ops.any(own, axis=0), pull.dtype)
    return ops.sum(pull * present) / ops.sum(present) + ops.mean(push) + _missing(own, push.dtype)


def soft_triple(embeddings, labels, centres, *, scale=20.0, gamma=0.1, margin=0.01, merging=0.2):
    """SoftTriple (Qian et al. 2019, section 3): several centres a class, of which near ones count most.

    ``S_c = Σ_k softmax_k(s(x, w_ck) / γ) s(x, w_ck)``; cross-entropy of ``λ (S_c - δ [c = y])``; plus
    ``τ Σ_c Σ_{t<k} √(2 - 2 s(w_ct, w_ck)) / (C K (K - 1))``, which lets centres that are not needed fall together.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        centres: float ``[classes, K, d]``.
        scale: λ.
        gamma: γ.
        margin: δ, a cosine.
        merging: τ.

    Returns:
        float scalar.
    """
    classes, each, size = centres.shape
    similarities = ops.reshape(_cosines(embeddings, ops.reshape(centres, (-1, size))), (-1, classes, each))
    relaxed = ops.sum(ops.softmax(similarities / gamma, axis=2) * similarities, axis=2)
    own = ops.cast(_own(labels, centres), relaxed.dtype)
    loss = _cross_entropy(labels, scale * (relaxed - margin * own))
    if each == 1:
        return loss
    unit = distances.unit_length(centres)
    between = ops.matmul(unit, ops.transpose(unit, (0, 2, 1)))
    apart = ops.sqrt(ops.maximum(2.0 - 2.0 * between, 1e-6))  # its slope stays finite where centres have met
    return loss + merging * ops.sum(ops.triu(apart, 1)) / (classes * each * (each - 1))


def proxy_synthesis(
    embeddings, labels, proxies, *, base="normalised_softmax", temperature=1 / 23, alpha=0.4, seed=None, mixture=None
):
    """Proxy Synthesis (Gu et al. 2021): mixed embeddings and equally mixed proxies play extra classes.

    ``x̃ = λ x_i + (1 - λ) x_j``, ``p̃ = λ p_{y_i} + (1 - λ) p_{y_j}``, ``λ ~ Beta(α, α)``: n synthetic classes of one
    embedding each join the batch's, and ``base`` is taken of them all. j is any item of another class; the released
    code takes the item before i, which is the same in shuffled batches and mixes a class with itself in P × K ones.

    Args:
        embeddings: float ``[n, d]``.
        labels: int ``[n]``.
        proxies: float ``[classes, d]``.
        base: a loss of this file on ``[classes, d]`` proxies: ``"normalised_softmax"``, ``"proxy_nca"`` or
            ``"proxy_anchor"``.
        temperature: of the normalised softmax (released code: 1/23).
        alpha: of the Beta distribution.
        seed: a ``keras.random.SeedGenerator`` or None, Keras' global one.
        mixture: ``(λ, int [n])`` instead of a draw: the share and each item's partner.

    Returns:
        float scalar.

    Raises:
        ValueError: an unknown base.
    """
    options = {"normalised_softmax": {"temperature": temperature}, "proxy_nca": {}, "proxy_anchor": {}}
    if base not in options:
        raise ValueError(f"base: expected one of {sorted(options)}, received {base!r}.")
    if mixture is None:
        share = ops.cast(symmetric_beta((), alpha, seed), embeddings.dtype)
        partner = miners.random(embeddings, labels, seed).negative
        # A batch of one class has no other: its items stay with themselves.
        partner = ops.minimum(partner, ops.shape(labels)[0] - 1)
    else:
        share, partner = mixture
        share = ops.cast(share, embeddings.dtype)
    unit, unit_proxies = distances.unit_length(embeddings), distances.unit_length(proxies)
    of_items = ops.take(unit_proxies, labels, axis=0)
    mixed, mixed_proxies = (share * own + (1.0 - share) * ops.take(own, partner, axis=0) for own in (unit, of_items))
    extra = proxies.shape[0] + ops.arange(ops.shape(labels)[0], dtype="int32")
    return BASES[base](
        ops.concatenate([unit, mixed]),
        ops.concatenate([ops.cast(labels, "int32"), extra]),
        ops.concatenate([unit_proxies, mixed_proxies]),
        **options[base],
    )


BASES: dict[str, Callable[..., Any]] = {
    "normalised_softmax": normalised_softmax,
    "proxy_nca": proxy_nca,
    "proxy_anchor": proxy_anchor,
}
"""What :func:`proxy_synthesis` can be laid over."""


def symmetric_beta(shape, concentration, seed=None):
    """Numbers of Beta(a, a), from normal and uniform ones alone: XLA has no gamma and so no ``keras.random.beta``.

    ``G₁ / (G₁ + G₂)`` of two of Gamma(a), each ``G' U^(1/a)`` with G' of Gamma(a + 1) by Marsaglia & Tsang (2000): of
    16 candidates the first that passes, each with a chance of more than 0.95; in logarithms, for a small a.

    Args:
        shape: of the result, a tuple of ints.
        concentration: a.
        seed: a ``keras.random.SeedGenerator`` or None, Keras' global one.

    Returns:
        float32 of this shape.
    """
    rest = concentration + 1.0 - 1.0 / 3.0
    normal = keras.random.normal((16, 2, *shape), seed=seed, dtype="float32")
    uniform = keras.random.uniform((17, 2, *shape), minval=1e-30, seed=seed, dtype="float32")
    root = 1.0 + normal / math.sqrt(9.0 * rest)
    cubes = ops.log(ops.maximum(root, 1e-10)) * 3.0
    passes = ops.log(uniform[:16]) < 0.5 * ops.square(normal) + rest * (1.0 - ops.exp(cubes) + cubes)
    first = ops.argmax(ops.logical_and(passes, root > 0.0), axis=0)
    chosen = ops.take_along_axis(cubes, first[None], axis=0)[0]
    logs = chosen + ops.log(uniform[16]) / concentration  # but for log(rest), which both have
    return ops.sigmoid(logs[0] - logs[1])


def _cosines(embeddings, proxies):
    return 1.0 - distances.cosine(embeddings, proxies)


def _own(labels, proxies):
    """Which proxy belongs to which item, bool ``[n, classes]``."""
    return miners.matches(labels, ops.arange(ops.shape(proxies)[0], dtype=labels.dtype))


def _missing(own, dtype):
    """0, or NaN where a label has no proxy."""
    return ops.where(ops.all(ops.any(own, axis=1)), ops.cast(0.0, dtype), ops.cast(float("nan"), dtype))


def _cross_entropy(labels, logits):
    return ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
