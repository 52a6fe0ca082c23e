"""H-T (Salvador et al. 2021), :mod:`kfood.models.ht`.

Expected of ``published`` on Recipe1M, 1,000 pairs (not reproduced here): R@1 60.0 / 60.3 with ResNet-50 and 64.2 / 64.5
with ViT-B/16.
"""

import dataclasses

from kfood import schema
from kfood.configs import Experiment
from kfood.configs.common import SMALL_IMAGE, SMALL_SPEC, SMALL_TRAINING, pretrained_experiment
from kfood.layers.hierarchical import HierarchicalConfig
from kfood.layers.image import ImageEncoderConfig
from kfood.models.ht import HTConfig
from kfood.models.phases import OptimizerConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """The paper's sizes; titles and ingredient lines as written."""
    return Experiment(
        model=HTConfig(),
        spec=schema.RecipeSpec(
            image_size=224,
            ingredients=20,
            ingredient_words=15,
            instructions=20,
            instruction_words=15,
            title_words=15,
        ),
        training=TrainingConfig(
            epochs=100,
            batch_size=128,
            without_photos=1.0,
            monitor="recall_at_1",  # released code
        ),
    )


def small() -> Experiment:
    """For a CPU: one layer of 96 for each transformer."""
    return Experiment(
        model=HTConfig(
            image_encoder=SMALL_IMAGE,
            recipe_encoder=HierarchicalConfig(width=96, layers=1, heads=4, feed_forward=192),
            embedding_size=256,
            optimizer=OptimizerConfig(1e-3, schedule="cosine", warmup_epochs=1),
        ),
        spec=SMALL_SPEC,
        training=dataclasses.replace(SMALL_TRAINING, without_photos=1.0),
    )


def pretrained() -> Experiment:
    """For a CPU and real photos: ``small`` on the features of frozen backbones."""
    return pretrained_experiment(small(), epochs=30)


VARIANTS: dict[str, dict] = {
    "without L_rec": {"recipe_weight": 0.0},
    "vit": {"image_encoder": ImageEncoderConfig(backbone="hub:vit_base_patch16_224_imagenet21k", weights="imagenet")},
}
