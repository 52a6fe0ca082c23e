"""Adversarial losses: two-player games over logits (GAN) and over scores (WGAN-GP)."""

from keras import ops

from kfood import backend


def discriminator(real_logits, fake_logits):
    """What a GAN discriminator minimises: ``-E[log D(real)] - E[log(1 - D(fake))]`` (sign turned of ACME's
    Eq. 4, and of R2GAN's 3 and 4).

    Args:
        real_logits: float ``[batch, ...]``, before the sigmoid.
        fake_logits: float ``[batch, ...]``, before the sigmoid.

    Returns:
        float scalar.
    """
    return ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(fake_logits))


def generator(fake_logits, objective):
    """What the generator of a GAN minimises.

    Args:
        fake_logits: float ``[batch, ...]``, the discriminator's logits of generated items.
        objective: ``"minimax"``: ``E[log(1 - D(fake))]``, as printed in ACME's Eq. 4 and R2GAN's Eq. 5;
            ``"non_saturating"``: ``-E[log D(fake)]`` (Goodfellow et al. 2014, section 3; ACME's released code).

    Returns:
        float scalar.

    Raises:
        ValueError: an unknown objective.
    """
    if objective == "minimax":
        return -ops.mean(ops.softplus(fake_logits))
    if objective == "non_saturating":
        return ops.mean(ops.softplus(-fake_logits))
    raise ValueError(f"objective: expected 'minimax' or 'non_saturating', received {objective!r}.")


def wasserstein(real_scores, fake_scores):
    """The critic's estimate ``E[D(real)] - E[D(fake)]``: the critic maximises it, the encoders minimise it.

    Gulrajani et al. 2017, Eq. 3 without the penalty, sign turned; ACME adopts it for its Eq. 3.
    """
    return ops.mean(real_scores) - ops.mean(fake_scores)


def gradient_penalty(critic, real, fake, mixture):
    """WGAN-GP's penalty ``E[(‖∇ D(x)‖₂ - 1)²]`` at ``x = mixture · real + (1 - mixture) · fake``.

    Args:
        critic: function float ``[batch, d]`` → float ``[batch, 1]``.
        real: float ``[batch, d]``.
        fake: float ``[batch, d]``.
        mixture: float ``[batch, 1]`` in [0, 1].

    Returns:
        float scalar, differentiable with respect to the critic's variables.
    """
    gradient = backend.input_gradient(critic, mixture * real + (1.0 - mixture) * fake)
    norm = ops.sqrt(ops.maximum(ops.sum(ops.square(gradient), axis=1), 1e-12))
    return ops.mean(ops.square(norm - 1.0))
