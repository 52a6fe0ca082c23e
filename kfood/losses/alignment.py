"""Losses that bring two distributions together."""

from keras import ops


def gaussian_kl(mean, deviation, other_mean, other_deviation):
    """``KL(N(mean, deviation²) ‖ N(other_mean, other_deviation²))`` of diagonal Gaussians (MCEN, Eq. 15 and 16).

    Of each dimension ``log(σ'/σ) + (σ² + (μ - μ')²) / (2σ'²) - 1/2``.

    Args:
        mean: μ, float ``[batch, d]``.
        deviation: σ, float ``[batch, d]``, positive.
        other_mean: μ', float ``[batch, d]``.
        other_deviation: σ', float ``[batch, d]``, positive.

    Returns:
        float scalar, nats per dimension: averaged over dimensions and batch.
    """
    ratio = ops.square(deviation / other_deviation)
    distance = ops.square((mean - other_mean) / other_deviation)
    return 0.5 * ops.mean(ratio + distance - 1.0 - ops.log(ratio))
