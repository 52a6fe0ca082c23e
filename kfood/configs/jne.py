"""JNE (Salvador et al. 2017), :mod:`kfood.models.baselines`.

Expected of ``published`` on Recipe1M, 1,000 pairs (R2GAN's Table 1; not reproduced here): MedR 5.2 / 5.1, R@1
24.0 / 25.0, R@5 51.0 / 52.0, R@10 65.0 / 65.0.
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, pretrained_experiment, small_experiment
from kfood.models.baselines import JNEConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """Its sizes and rate; the image backbone is frozen for the first epochs, as its code alternates."""
    return Experiment(
        model=JNEConfig(),
        spec=PUBLISHED_SPEC,
        training=TrainingConfig(epochs=100, batch_size=160, freeze_image_epochs=20),
    )


def small() -> Experiment:
    """For a CPU: learning from scratch and from any text."""
    return small_experiment(JNEConfig)


def pretrained() -> Experiment:
    """For a CPU and real photos: on frozen backbones and bags of words, from where closed-form CCA ends."""
    return pretrained_experiment(small())


VARIANTS: dict[str, dict] = {}
