"""What the recipe models' presets share, so that their rows of a table differ in the method alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

from kfood import schema
from kfood.configs import Experiment
from kfood.data.images import Augmentation
from kfood.layers.image import ImageEncoderConfig
from kfood.layers.recipe import RecipeEncoderConfig
from kfood.models.phases import OptimizerConfig
from kfood.training import TrainingConfig

PUBLISHED_SPEC = schema.RecipeSpec(
    image_size=224, ingredients=20, ingredient_words=1, ingredient_unit="name", instructions=20
)
"""As JNE, AdaMine, R2GAN and ACME read a recipe: 20 ingredient names and 20 instructions, no title."""

SMALL_IMAGE = ImageEncoderConfig(backbone="small", weights="", widths=(32, 64, 128, 256))
SMALL_RECIPE = RecipeEncoderConfig(
    word_size=64,
    ingredient_units=64,
    word_units=48,
    instruction_units=96,
    bag_of_words=True,
    dropout=0.2,
    part_dropout=0.2,
    word_dropout=0.2,
)
SMALL_SPEC = schema.RecipeSpec(
    image_size=96, ingredients=16, ingredient_words=8, instructions=10, instruction_words=16, title_words=8
)
SMALL_TRAINING = TrainingConfig(
    epochs=14,
    batch_size=64,
    augmentation=Augmentation(crop_area=(0.7, 1.0), crop_aspect=1.33, brightness=0.1, contrast=0.2, saturation=0.2),
)
"""For a CPU, learning from scratch and from any text; ``SMALL_*`` belong together."""


PRETRAINED_IMAGE = ImageEncoderConfig(
    backbone="efficientnet_lite0+efficientnet_lite1+efficientnet_lite2",
    weights="imagenet",
    pooling="regional_roots",
    dropout=0.3,
)
"""Backbones whose ImageNet weights installed packages hold (extra ``pretrained``); what one misses the other sees."""

PRETRAINED_MAP = ImageEncoderConfig(backbone="efficientnet_lite0", weights="imagenet")
"""The smallest of them, for models that look at every place of its map."""

PRETRAINED_RECIPE = RecipeEncoderConfig(bag_words=4096, bag_filling=1024, dropout=0.3, part_dropout=0.1)

PRETRAINED_SPEC = schema.RecipeSpec(
    image_size=448,
    whole_photo=True,
    ingredients=30,
    ingredient_words=16,
    instructions=32,
    instruction_words=96,
    title_words=14,
)
"""Larger pictures than the backbones were trained on, of whole photos: what lies small in a photo is seen too. And
nearly all of a real recipe, for bags of words: a site's step of instructions is a paragraph, of up to 100 words."""


def pretrained_experiment(
    small: Experiment, image: ImageEncoderConfig = PRETRAINED_IMAGE, spec: Any = None, **training: Any
) -> Experiment:
    """A ``small`` experiment on a frozen pretrained backbone, whose features are computed once.

    A model with the papers' common recipe encoder reads bags of words, and starts from closed-form CCA; what is left to
    its loss is the last of the way, at a small rate. Search is corrected for hubs, with as many neighbours as local
    scaling's paper has.

    Args:
        small: whose encoders are replaced.
        image: the image encoder.
        spec: of its pictures; None: as large as :data:`PRETRAINED_SPEC`'s.
        **training: what else differs.
    """
    settings: dict[str, Any] = {
        "epochs": 20,
        "freeze_image_epochs": -1,
        "freeze_statistics": True,  # where the backbone is let learn after all
        "views": 1,
        "local_scaling": 10,
    }
    changes: dict[str, Any] = {"image_encoder": image}
    if spec is None:
        own: Any = small.spec
        spec = dataclasses.replace(own, image_size=PRETRAINED_SPEC.image_size, whole_photo=True)
    if isinstance(getattr(small.model, "recipe_encoder", None), RecipeEncoderConfig):
        changes |= {"recipe_encoder": PRETRAINED_RECIPE, "optimizer": OptimizerConfig(1e-4)}
        settings |= {"start": "canonical", "start_ridge": 4.0}
        spec = PRETRAINED_SPEC
    return Experiment(
        model=dataclasses.replace(small.model, **changes),
        spec=spec,
        training=dataclasses.replace(small.training, **settings | training),
    )


def small_experiment(config_class: Callable[..., Any], **changes: Any) -> Experiment:
    """A recipe model on the small encoders.

    Args:
        config_class: the model's config, with the fields ``image_encoder``, ``recipe_encoder``, ``embedding_size`` and
            ``optimizer``.
        **changes: its other fields that differ from the paper's.
    """
    return Experiment(
        model=config_class(
            image_encoder=SMALL_IMAGE,
            recipe_encoder=SMALL_RECIPE,
            embedding_size=256,
            optimizer=OptimizerConfig(2e-3, schedule="cosine", warmup_epochs=1),
            **changes,
        ),
        spec=SMALL_SPEC,
        training=SMALL_TRAINING,
    )
