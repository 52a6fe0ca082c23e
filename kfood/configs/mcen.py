"""MCEN (Fu et al. 2020), :mod:`kfood.models.mcen`.

Expected of ``published`` on Recipe1M, test split, 10 subsets of 1,000 (its Table 1; not reproduced here:
docs/results/mcen.md):
image → recipe MedR 2.0, R@1/5/10 48.2/75.8/83.6; recipe → image 1.9, 48.4/76.1/83.7::

    kfood prepare recipe1m --source RECIPE1M --out DATA
    kfood train mcen --data DATA --run RUN --preset published
    kfood evaluate RUN --data DATA --gallery 1000 --subsets 10
"""

import dataclasses

from kfood import schema
from kfood.configs import Experiment
from kfood.configs.common import PRETRAINED_MAP, SMALL_IMAGE, SMALL_SPEC, SMALL_TRAINING, pretrained_experiment
from kfood.data.images import Augmentation
from kfood.layers.attention_towers import AttentionEncoderConfig
from kfood.models.mcen import MCENConfig
from kfood.models.phases import OptimizerConfig
from kfood.training import TrainingConfig


def published() -> Experiment:
    """Section 4.1 and the supplement; 30 epochs with ResNet frozen, then 100 of all."""
    return Experiment(
        model=MCENConfig(),
        spec=schema.RecipeSpec(
            image_size=224, ingredients=20, ingredient_words=30, instructions=25, instruction_words=30
        ),
        training=TrainingConfig(
            epochs=130,
            batch_size=32,
            freeze_image_epochs=30,
            monitor="recall_at_1",
            augmentation=Augmentation(flip=False),  # supplement A: random crops of 224 out of 256
        ),
    )


def small() -> Experiment:
    """For a CPU: every mechanism of the paper but dropout of s^v and e, on 96-pixel pictures, from scratch."""
    return Experiment(
        model=MCENConfig(
            image_encoder=SMALL_IMAGE,
            recipe_encoder=AttentionEncoderConfig(word_size=64, units=64, start_range=0.0, word_dropout=0.1),
            embedding_size=256,
            latent_size=128,
            output_dropout=0.0,
            negatives="active",
            kl_dimensions="mean",
            kl_epochs=5,
            settle_epochs=12,
            stage_epochs=1,
            normalise_summaries=True,
            first_deviation=0.1,
            optimizer=OptimizerConfig(2e-3, clip_value=5.0, schedule="cosine", warmup_epochs=1),
        ),
        spec=SMALL_SPEC,
        training=dataclasses.replace(SMALL_TRAINING, epochs=20, monitor="recall_at_1"),
    )


def pretrained() -> Experiment:
    """For a CPU and real photos: ``small`` on a frozen EfficientNet-Lite0, of whose map every place is kept."""
    spec = dataclasses.replace(SMALL_SPEC, image_size=224)
    return pretrained_experiment(small(), PRETRAINED_MAP, spec, epochs=30, views=4)


VARIANTS = {
    "vanilla": {"image_latent": False, "recipe_latent": False},
    "recipe": {"image_latent": False},
    "image": {"recipe_latent": False},
    "no_reconstruction": {"reconstruction": False},
    "full": {},
}
"""The rows of the paper's Table 2, as changes to the full model."""
