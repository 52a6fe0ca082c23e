"""A model of another package: ``pip install`` it beside kfood, and ``kfood train centred --data DATA --run RUN`` works.

Pairs are pulled together, and all embeddings of a batch pushed away from their mean.
"""

import dataclasses

import keras
from keras import ops

from kfood import distances, schema
from kfood.configs import Experiment
from kfood.configs.common import small_experiment
from kfood.layers.image import ImageEncoderConfig
from kfood.layers.recipe import RecipeEncoderConfig
from kfood.layers.towers import unit_encoders
from kfood.models.base import RetrievalModel
from kfood.models.phases import OptimizerConfig, Phase


@dataclasses.dataclass(frozen=True)
class CentredConfig:
    """Settings, each of which ``--set`` changes."""

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    recipe_encoder: RecipeEncoderConfig = RecipeEncoderConfig()
    embedding_size: int = 256
    spread: float = 1.0
    optimizer: OptimizerConfig = OptimizerConfig(1e-4)


@keras.saving.register_keras_serializable("their_model")
class Centred(RetrievalModel):
    """Two encoders, one phase, two losses."""

    config_class = CentredConfig

    def __init__(self, config=CentredConfig(), spec=schema.RecipeSpec(), name="centred", **kwargs):  # noqa: B008
        super().__init__(config, spec, name=name, **kwargs)
        config = self.config
        self.distance = "cosine"
        self.encoders = unit_encoders(self.spec, config.image_encoder, config.recipe_encoder, config.embedding_size)
        losses = {"pair": 1.0, "spread": config.spread}
        self.phases = (Phase("encoders", losses, tuple(self.encoders.values()), config.optimizer),)
        self.build()

    def embed(self, batch, training):
        """Both embeddings."""
        return self(batch, training=training)

    def losses_of(self, phase, features, batch, training):
        """``pair`` and ``spread``."""
        image, recipe = features["image"], features["recipe"]
        means = [ops.sum(ops.square(ops.mean(side, axis=0))) for side in (image, recipe)]
        return {"pair": ops.mean(ops.diagonal(distances.cosine(image, recipe))), "spread": sum(means)}


def small() -> Experiment:
    """For a CPU."""
    return small_experiment(CentredConfig)


VARIANTS: dict[str, dict] = {"pairs alone": {"spread": 0.0}}
