"""ACME (Wang et al. 2019), :mod:`kfood.models.acme`.

Expected of ``published`` on Recipe1M, test split, 10 subsets of 1,000 (its Table 1; not reproduced here, see README):
image → recipe MedR 1.0, R@1/5/10 51.8/80.2/87.5; recipe → image 1.0, 52.8/80.2/87.6::

    kfood prepare recipe1m --source RECIPE1M --out DATA
    kfood train acme --data DATA --run RUN --preset published
    kfood evaluate RUN --data DATA --gallery 1000 --subsets 10
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, pretrained_experiment, small_experiment
from kfood.models.acme import ACMEConfig
from kfood.models.phases import OptimizerConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """Section 4.2 of the paper; what it leaves open is the released code's: ÷10 at the end of its epoch index 30."""
    adam = OptimizerConfig(1e-4, beta_1=0.5, schedule="step", period=31, factor=0.1)
    return Experiment(
        model=ACMEConfig(optimizer=adam, adversary_optimizer=adam),
        spec=PUBLISHED_SPEC,
        training=TrainingConfig(epochs=50, batch_size=64),
    )


def small() -> Experiment:
    """For a CPU: every mechanism of the paper on 96-pixel pictures, learning from scratch and from any text.

    Unlike the paper: λ2 0.05, L_Gi2r × 30, the non-saturating generator, mining that hardens over 250 steps.
    """
    return small_experiment(
        ACMEConfig,
        mining_warmup_steps=250,
        translation_weight=0.05,
        ingredient_weight=30.0,
        generator_objective="non_saturating",
        picture_size=32,
        picture_width=16,
        discriminator_width=8,
        residual_blocks=1,
        condition_size=32,
        noise_size=32,
        adversary_optimizer=OptimizerConfig(2e-4, beta_1=0.5),
    )


def pretrained() -> Experiment:
    """For a CPU and real photos: on frozen backbones and bags of words, from where closed-form CCA ends.

    The losses are weighted as :func:`small` does.
    """
    return pretrained_experiment(small())


_NONE = {"hard_mining": False, "alignment": False, "recipe_to_image": False, "image_to_recipe": False}

VARIANTS = {
    "TL": _NONE,
    "TL+HM": _NONE | {"hard_mining": True},
    "TL+HM+MA": _NONE | {"hard_mining": True, "alignment": True},
    "TL+HM+MA+R2I": _NONE | {"hard_mining": True, "alignment": True, "recipe_to_image": True},
    "TL+HM+MA+I2R": _NONE | {"hard_mining": True, "alignment": True, "image_to_recipe": True},
    "TL+HM+R2I+I2R": _NONE | {"hard_mining": True, "recipe_to_image": True, "image_to_recipe": True},
    "All": {},
    "as_released": {
        "negatives": "both",
        "alignment_gradient": "recipe",
        "generator_objective": "non_saturating",
        "ingredient_loss": "margin_as_released",
        "balance_translation": True,
    },
}
"""The rows of the paper's Table 2, as changes to the full model; and every choice in which the released code differs
from the paper, but for its faults and Adam's ε."""
