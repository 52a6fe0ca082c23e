"""The two-tower model with a symmetric softmax, :mod:`kfood.models.baselines`.

No paper trains it on Recipe1M in this form: ``published`` has the sizes of the others beside it.
"""

from kfood.configs import Experiment
from kfood.configs.common import PUBLISHED_SPEC, SMALL_IMAGE, SMALL_RECIPE, SMALL_SPEC, SMALL_TRAINING
from kfood.models.base import OptimizerConfig
from kfood.models.baselines import TwoTowerConfig
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
    return Experiment(
        model=TwoTowerConfig(
            image_encoder=SMALL_IMAGE,
            recipe_encoder=SMALL_RECIPE,
            embedding_size=256,
            optimizer=OptimizerConfig(2e-3, schedule="cosine", warmup_epochs=1),
        ),
        spec=SMALL_SPEC,
        training=SMALL_TRAINING,
    )


VARIANTS: dict[str, dict] = {}
