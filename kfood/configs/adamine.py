"""AdaMine (Carvalho et al. 2018), :mod:`kfood.models.baselines`.

Expected of ``published`` on Recipe1M, 1,000 pairs (R2GAN's Table 1; not reproduced here): MedR 2.5 / 2.1, R@1
36.4 / 37.4, R@5 66.2 / 66.7, R@10 76.9 / 77.1.
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, pretrained_experiment, small_experiment
from kfood.models.baselines import AdaMineConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """Its section 4: batches of 100, the image backbone frozen for 20 of 100 epochs."""
    return Experiment(
        model=AdaMineConfig(),
        spec=PUBLISHED_SPEC,
        training=TrainingConfig(epochs=100, batch_size=100, freeze_image_epochs=20),
    )


def small() -> Experiment:
    """For a CPU: learning from scratch and from any text."""
    return small_experiment(AdaMineConfig)


def pretrained() -> Experiment:
    """For a CPU and real photos: on frozen backbones and bags of words, from where closed-form CCA ends."""
    return pretrained_experiment(small())


VARIANTS: dict[str, dict] = {}
