"""Encoders that start where closed-form CCA ends, in place of at random.

With a frozen backbone and a bag of words, an encoder is ``tanh(W x + b)`` of features x that do not change. Of all
such pairs of encoders the canonical projections are near the best that a few thousand pairs give; from a random start
a loss first has to find them, and overfits on the way. So ``W = s C Aᵀ``, ``b = -W x̄``, with A the canonical directions
of that side, C their correlations, x̄ the features' mean; s keeps the hyperbolic tangent near its straight middle.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kfood import schema
from kfood.layers.bag import WordBag
from kfood.layers.canonical import Moments, canonical_projections
from kfood.layers.features import frozen_part
from kfood.models.base import RetrievalModel

SCALE = 0.3
"""s: of a component of deviation 1, as canonical ones are, the tangent bends 3 %."""


def start_canonically(model: RetrievalModel, batches: Iterable[Mapping[str, Any]], ridge: float) -> None:
    """Sets the linear layers of a model's encoders to the canonical projections of what they receive.

    Args:
        model: its encoders end in the layers ``image_embedding`` and ``recipe_embedding``, of a pooled backbone and of
            a bag of words that has been adapted.
        batches: of the training split, gone through once; with ``image_features`` in place of ``image`` if they have
            been computed.
        ridge: as in :class:`kfood.models.baselines.CCAConfig`.

    Raises:
        ValueError: encoders that are not of that form, or embeddings wider than the narrower side's features.
    """
    features = _feature_networks(model)
    heads = {side: model.encoders[side].get_layer(f"{side}_embedding") for side in features}
    widths = [head.kernel.shape[0] for head in heads.values()]
    size = heads["image"].kernel.shape[1]
    if size > min(widths):
        raise ValueError(
            f"embedding_size: expected at most {min(widths)}, the narrower side's number of features, with "
            f"training.start='canonical', received {size}."
        )
    moments = Moments(*widths, dtype="float32")
    moments.build()
    for batch in batches:
        moments(*(ops.cast(network(batch), "float32") for network in features.values()))
    xx, yy, xy = moments.covariances()
    *matrices, correlations = canonical_projections(xx, yy, xy, size, ridge)
    for head, mean, matrix in zip(heads.values(), moments.means(), matrices, strict=True):
        kernel = SCALE * matrix * correlations
        head.kernel.assign(kernel)
        head.bias.assign(-ops.matmul(mean, kernel))
    model.start_from(SCALE * correlations)


def _feature_networks(model):
    """Batch → what the linear layer of each encoder receives."""
    encoders = getattr(model, "encoders", {})
    names = {side: [layer.name for layer in encoder.layers] for side, encoder in encoders.items()}
    bags = [layer for layer in encoders["recipe"].layers if isinstance(layer, WordBag)] if "recipe" in encoders else []
    if not bags or not all(f"{side}_embedding" in names[side] for side in names):
        raise ValueError(
            "training.start: expected 'random' for encoders that do not end in one linear layer each, of a pooled "
            "backbone and of a bag of words (recipe_encoder.bag_words), received 'canonical'."
        )
    image, recipe = encoders["image"], encoders["recipe"]
    frozen, words = frozen_part(image), keras.Model(recipe.input, bags[0].output)

    def pooled(batch):
        if schema.IMAGE_FEATURES in batch:
            return np.asarray(batch[schema.IMAGE_FEATURES])
        return frozen(np.asarray(batch[schema.IMAGE]), training=False)

    return {"image": pooled, "recipe": lambda batch: words({name: np.asarray(batch[name]) for name in words.input})}
