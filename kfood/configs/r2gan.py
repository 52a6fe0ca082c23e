"""R2GAN (Zhu et al. 2019), :mod:`kfood.models.r2gan`.

Expected of ``published`` on Recipe1M, test split, 10 subsets of 1,000 (its Table 1; not reproduced here, see README):
image → recipe MedR 2.0, R@1/5/10 39.1/71.0/81.7; recipe → image 2.0, 40.6/72.6/83.3::

    kfood prepare recipe1m --source RECIPE1M --out DATA
    kfood train r2gan --data DATA --run RUN --preset published
    kfood evaluate RUN --data DATA --gallery 1000 --subsets 10
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, pretrained_experiment, small_experiment
from kfood.models.phases import OptimizerConfig
from kfood.models.r2gan import R2GANConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """Section 4.1 of the paper."""
    return Experiment(
        model=R2GANConfig(),
        spec=PUBLISHED_SPEC,
        training=TrainingConfig(epochs=100, batch_size=128, freeze_image_epochs=20),
    )


def small() -> Experiment:
    """For a CPU: 96-pixel photos and 32-pixel thumbnails, learning from scratch.

    Beside sizes and rates it differs from the paper in its negatives (each of the batch, not their mean; why:
    :mod:`kfood.models.r2gan`), in G's objective (non-saturating) and in λ, γ, β and δ: pixels before features and
    before the discriminators (why: docs/results/r2gan.md). Table 2's rows were measured with these negatives too.
    """
    return small_experiment(
        R2GANConfig,
        negatives="all",
        semantic_weight=0.05,
        reconstruction_weight=0.0002,
        pixel_weight=1000.0,
        generator_reconstruction_weight=50.0,
        generator_objective="non_saturating",
        picture_size=32,
        generator_width=32,
        discriminator_width=16,
        gan_optimizer=OptimizerConfig(5e-3, beta_1=0.5, schedule="cosine"),
    )


def pretrained() -> Experiment:
    """For a CPU and real photos: on frozen backbones and bags of words, from where closed-form CCA ends."""
    return pretrained_experiment(small())


VARIANTS = {
    "R2GAN": {},
    "GAN*": {"second_discriminator": "real"},
    "GAN": {"second_discriminator": "none"},
    "R2GAN-Semantic": {"semantic": False},
    "Semantic only": {"adversarial": False, "picture_ranking": False},
    "R2GAN-": {"picture_ranking": False},
}
"""The rows of the paper's Table 2, as changes to the full model."""
