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


def check_canonical(model: RetrievalModel) -> None:
    """Whether :func:`start_canonically` can start a model, before anything is computed.

    Raises:
        ValueError: encoders that are not of its form, or embeddings wider than the narrower side's features.
    """
    _heads(model)


def start_canonically(model: RetrievalModel, batches: Iterable[Mapping[str, Any]], ridge: float) -> None:
    """Sets the linear layers of a model's encoders to the canonical projections of what they receive.

    Args:
        model: its encoders end in the layers ``image_embedding`` and ``recipe_embedding``, of a pooled backbone and of
            a bag of words that has been adapted; or in the former alone.
        batches: of the training split, gone through once; with ``image_features`` in place of ``image`` if they have
            been computed.
        ridge: as in :class:`kfood.models.baselines.CCAConfig`.

    Raises:
        ValueError: as :func:`check_canonical`.
    """
    heads = _heads(model)
    photos, head = _pooled(model.encoders["image"]), heads["image"]
    width, size = head.kernel.shape
    if "recipe" not in heads:
        classes = model.spec.classes
        moments = _moments(batches, (width, classes), photos, lambda batch: ops.one_hot(_classes(batch), classes))
        (mean, shares), (xx, _, xy) = moments.means(), moments.covariances()
        _start(head, mean, discriminant_projection(xx, shares, xy, size, ridge))
        return
    words = _words(model.encoders["recipe"])
    moments = _moments(batches, (width, heads["recipe"].kernel.shape[0]), photos, words)
    xx, yy, xy = moments.covariances()
    *matrices, correlations = canonical_projections(xx, yy, xy, size, ridge)
    for one, mean, matrix in zip(heads.values(), moments.means(), matrices, strict=True):
        _start(one, mean, SCALE * matrix * correlations)
    model.start_from(SCALE * correlations)


def _moments(batches, widths, first, second):
    """Of two functions of each batch."""
    moments = Moments(*widths, dtype="float32")
    moments.build()
    for batch in batches:
        moments(ops.cast(first(batch), "float32"), ops.cast(second(batch), "float32"))
    return moments


def _start(head, mean, kernel):
    head.kernel.assign(kernel)
    head.bias.assign(-ops.matmul(mean, kernel))


def _heads(model):
    """Side → the linear layer in which its encoder ends, the image's first."""
    encoders = getattr(model, "encoders", {})
    names = {side: [layer.name for layer in encoder.layers] for side, encoder in encoders.items()}
    linear = bool(names) and all(f"{side}_embedding" in names[side] for side in names)
    if set(encoders) == {"image"}:
        if not linear or "pool" not in names["image"]:
            raise ValueError(
                "training.start: expected 'random' for a photo encoder that does not end in one linear layer of a "
                "pooled backbone, received 'canonical'."
            )
    elif not linear or "recipe" not in encoders or not _bags(encoders["recipe"]):
        raise ValueError(
            "training.start: expected 'random' for encoders that do not end in one linear layer each, of a pooled "
            "backbone and of a bag of words (recipe_encoder.bag_words), received 'canonical'."
        )
    heads = {side: encoders[side].get_layer(f"{side}_embedding") for side in ("image", "recipe") if side in encoders}
    width, size = min(head.kernel.shape[0] for head in heads.values()), heads["image"].kernel.shape[1]
    if size > width:
        whose = "a photo" if len(heads) == 1 else "the narrower side"
        raise ValueError(
            f"embedding_size: expected at most {width}, {whose}'s number of features, with training.start='canonical', "
            f"received {size}."
        )
    return heads


def _pooled(encoder):
    """Batch → the pooled features of its photos, computed already or not."""
    frozen = frozen_part(encoder)

    def pooled(batch):
        if schema.IMAGE_FEATURES in batch:
            return np.asarray(batch[schema.IMAGE_FEATURES])
        return frozen(np.asarray(batch[schema.IMAGE]), training=False)

    return pooled


def _bags(encoder):
    return [layer for layer in encoder.layers if isinstance(layer, WordBag)]


def _words(encoder):
    """Batch → bags of its recipes' words."""
    words = keras.Model(encoder.input, _bags(encoder)[0].output)
    return lambda batch: words({name: np.asarray(batch[name]) for name in words.input})


def _classes(batch):
    return np.asarray(batch[schema.CLASS_ID])
