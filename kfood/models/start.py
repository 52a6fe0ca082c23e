"""Encoders that start where a closed form ends, in place of at random: CCA, or of classes linear discriminants.

With a frozen backbone and a bag of words, an encoder is ``tanh(W x + b)`` of features x that do not change. Of all
such pairs of encoders the canonical projections are near the best that a few thousand pairs give; from a random start
a loss first has to find them, and overfits on the way. So ``W = s C Aᵀ``, ``b = -W x̄``, with A the canonical directions
of that side, C their correlations, x̄ the features' mean; s keeps the hyperbolic tangent near its straight middle.

An encoder of photos that learns from classes is ``W x + b`` of a frozen backbone's features; ``W`` starts as
probabilistic linear discriminant analysis has it (:mod:`kfood.layers.discriminant`), ``b = -W x̄``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kfood import schema
from kfood.layers.bag import WordBag
from kfood.layers.canonical import Moments, canonical_projections
from kfood.layers.discriminant import discriminant_projection
from kfood.layers.features import frozen_part
from kfood.models.base import RetrievalModel

SCALE = 0.3
"""s: of a component of deviation 1, as canonical ones are, the tangent bends 3 %."""


def start_canonically(model: RetrievalModel, batches: Iterable[Mapping[str, Any]], ridge: float) -> None:
    """Sets the linear layers of a model's encoders to the canonical projections of what they receive.

    Args:
        model: its encoders end in the layers ``image_embedding`` and ``recipe_embedding``, of a pooled backbone and of
            a bag of words that has been adapted; or in the former alone.
        batches: of the training split, gone through once; with ``image_features`` in place of ``image`` if they have
            been computed.
        ridge: as in :class:`kfood.models.baselines.CCAConfig`.

    Raises:
        ValueError: encoders that are not of that form, or embeddings wider than the narrower side's features.
    """
    if set(model.encoders) == {"image"}:
        _start_from_classes(model, batches, ridge)
        return
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


def _start_from_classes(model, batches, ridge):
    """The same for photos of classes."""
    encoder = model.encoders["image"]
    names = [layer.name for layer in encoder.layers]
    if "pool" not in names or "image_embedding" not in names:
        raise ValueError(
            "training.start: expected 'random' for a photo encoder that does not end in one linear layer of a pooled "
            "backbone, received 'canonical'."
        )
    head, pooled = encoder.get_layer("image_embedding"), _pooled(encoder)
    (width, size), classes = head.kernel.shape, model.spec.classes
    if size > width:
        raise ValueError(
            f"embedding_size: expected at most {width}, the number of a photo's features, with "
            f"training.start='canonical', received {size}."
        )
    moments = Moments(width, classes, dtype="float32")
    moments.build()
    for batch in batches:
        moments(ops.cast(pooled(batch), "float32"), ops.one_hot(np.asarray(batch[schema.CLASS_ID]), classes))
    (mean, shares), (xx, _, xy) = moments.means(), moments.covariances()
    kernel = discriminant_projection(xx, shares, xy, size, ridge)
    head.kernel.assign(kernel)
    head.bias.assign(-ops.matmul(mean, kernel))


def _pooled(encoder):
    """Batch → the pooled features of its photos, computed already or not."""
    frozen = frozen_part(encoder)

    def pooled(batch):
        if schema.IMAGE_FEATURES in batch:
            return np.asarray(batch[schema.IMAGE_FEATURES])
        return frozen(np.asarray(batch[schema.IMAGE]), training=False)

    return pooled


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
    words = keras.Model(recipe.input, bags[0].output)
    return {
        "image": _pooled(image),
        "recipe": lambda batch: words({name: np.asarray(batch[name]) for name in words.input}),
    }
