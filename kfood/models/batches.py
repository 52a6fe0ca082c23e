"""A batch, and who reads what of it."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kfood import schema
from kfood.layers.features import rest


def reading(batch: Mapping[str, Any], network: keras.Model) -> keras.Model:
    """A network, or what follows its backbone where the batch holds the backbone's features of the photos."""
    if schema.IMAGE in network.input and schema.IMAGE_FEATURES in batch:
        return rest(network)
    return network


def run(network: keras.Model, batch: Mapping[str, Any], training: bool) -> Any:
    """What a network makes of the features of a batch that it takes; see :func:`reading`."""
    network = reading(batch, network)
    return network(select(batch, network), training=training)


def select(batch: Mapping[str, Any], network: keras.Model) -> dict[str, Any]:
    """The features of a batch that a network takes."""
    return {name: batch[name] for name in network.input}


def recipes_of(batch: Mapping[str, Any], embeddings):
    """The number of each item's recipe, int64 ``[batch]``: equal ones are positives, never negatives.

    Args:
        batch: without the feature ``recipe_number``, or ``id`` in what ``fit`` receives, each item is a recipe of its
            own.
        embeddings: ``[batch, ...]``, of these items.
    """
    if schema.RECIPE_NUMBER in batch:
        return ops.cast(batch[schema.RECIPE_NUMBER], "int64")
    return ops.arange(ops.shape(embeddings)[0], dtype="int64")


def batch_of(data):
    """The dict of features, from a dataset of dicts or of (dict,) or (dict, target) tuples.

    Raises:
        ValueError: a tuple with sample weights.
    """
    if not isinstance(data, Mapping) and len(data) > 2 and data[2] is not None:
        raise ValueError("sample_weight: expected none, for losses that compare items have no weights of items.")
    return data if isinstance(data, Mapping) else data[0]
