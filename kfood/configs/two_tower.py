"""The two-tower model with a symmetric softmax, :mod:`kfood.models.two_tower`.

No paper trains it on Recipe1M in this form: ``published`` has the sizes of the others beside it.
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, pretrained_experiment, small_experiment
from kfood.models.two_tower import TwoTowerConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """The sizes and the schedule of the recipe papers."""
    return Experiment(
        model=TwoTowerConfig(),
        spec=PUBLISHED_SPEC,
        training=TrainingConfig(epochs=100, batch_size=128, freeze_image_epochs=20),
    )


def small() -> Experiment:
    """For a CPU: learning from scratch and from any text."""
    return small_experiment(TwoTowerConfig)


def pretrained() -> Experiment:
    """For a CPU and real photos: on frozen backbones and bags of words, from where closed-form CCA ends."""
    return pretrained_experiment(small())


VARIANTS: dict[str, dict] = {}
