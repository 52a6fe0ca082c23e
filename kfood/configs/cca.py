"""Canonical correlation analysis, :mod:`kfood.models.baselines`.

Expected on Recipe1M, 1,000 pairs, with ImageNet and word2vec features (R2GAN's Table 1; not reproduced here): MedR
15.7 / 24.8, R@1 14.0 / 9.0, R@5 32.0 / 24.0, R@10 43.0 / 35.0.
"""

import dataclasses

from kfood.configs import Experiment
from kfood.configs.common import (
    PRETRAINED_IMAGE,
    PRETRAINED_RECIPE,
    PRETRAINED_SPEC,
    PUBLISHED_SPEC,
    SMALL_IMAGE,
    SMALL_SPEC,
)
from kfood.data.images import Augmentation
from kfood.models.baselines import CCAConfig
from kfood.training import TrainingConfig

_ONCE = TrainingConfig(epochs=1, augmentation=Augmentation(flip=False, crop_area=(1.0, 1.0)))
"""One pass over photos as evaluation sees them."""


def published() -> Experiment:
    """ImageNet features of ResNet-50."""
    return Experiment(model=CCAConfig(), spec=PUBLISHED_SPEC, training=_ONCE)


def small() -> Experiment:
    """For a CPU: features of a random small backbone, unless ``image_encoder.weights`` names trained ones."""
    return Experiment(
        model=CCAConfig(image_encoder=SMALL_IMAGE, word_size=128, embedding_size=64, ridge=4.0),
        spec=SMALL_SPEC,
        training=_ONCE,
    )


def pretrained() -> Experiment:
    """For a CPU and real photos: frozen backbones and bags of words."""
    return Experiment(
        model=CCAConfig(
            image_encoder=PRETRAINED_IMAGE,
            bag_words=PRETRAINED_RECIPE.bag_words,
            bag_filling=PRETRAINED_RECIPE.bag_filling,
            embedding_size=256,
            ridge=4.0,
        ),
        spec=PRETRAINED_SPEC,
        training=dataclasses.replace(_ONCE, freeze_image_epochs=-1, views=1, local_scaling=10),
    )


VARIANTS: dict[str, dict] = {}
