"""Losses that bring two distributions together."""

from keras import ops


def gaussian_kl(mean, deviation, other_mean, other_deviation, dimensions="sum"):
    """``KL(N(mean, deviation²) ‖ N(other_mean, other_deviation²))`` of diagonal Gaussians (MCEN, Eq. 15 and 16).

    Of each dimension ``log(σ'/σ) + (σ² + (μ - μ')²) / (2σ'²) - 1/2``.

    Args:
        mean: μ, float ``[batch, d]``.
        deviation: σ, float ``[batch, d]``, positive.
        other_mean: μ', float ``[batch, d]``.
        other_deviation: σ', float ``[batch, d]``, positive.
        dimensions: ``"sum"``: the divergence itself; ``"mean"``: a d-th of it.

    Returns:
        float scalar, nats: the mean over the batch.
    """
    ratio = ops.square(deviation / other_deviation)
    distance = ops.square((mean - other_mean) / other_deviation)
    terms = 0.5 * (ratio + distance - 1.0 - ops.log(ratio))
    return ops.mean(ops.sum(terms, axis=1)) if dimensions == "sum" else ops.mean(terms)
