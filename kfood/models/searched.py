"""A model as search sees it, where that is not as it is trained: its encoders followed by local scaling."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from kfood.layers.local_scaling import LocalScaling


def scaling_layers(model: Any, neighbours: int, bank: int) -> dict[str, LocalScaling]:
    """A layer for each of a model's two encoders, their banks still empty.

    Args:
        model: has two encoders; their embeddings have length 1, so that Euclidean distances order them as cosines do.
        neighbours: see :class:`kfood.layers.local_scaling.LocalScaling`; 0: none, and no layers.
        bank: likewise.

    Raises:
        ValueError: a model of another kind.
    """
    if not neighbours:
        return {}
    if len(model.encoders) != 2:
        raise ValueError(
            f"local_scaling: expected 0 for a model that does not compare two encoders' embeddings, received "
            f"{neighbours} for {model.name}."
        )
    layers = {}
    for side, (name, encoder) in enumerate(model.encoders.items()):
        layers[name] = LocalScaling(bank, neighbours, side, dtype="float32", name=f"{name}_scaling")
        layers[name].build(encoder.output_shape)
    return layers


@dataclasses.dataclass(frozen=True)
class Searched:
    """What evaluation and export take of a model: anything of :class:`kfood.models.base.RetrievalModel` but training.

    Attributes:
        model: as it is trained.
        encoders: as there, each followed by its scaling.
        decoders: as there, for the embeddings that these make.
        distance: between them.
    """

    model: Any
    encoders: Mapping[str, keras.Model]
    decoders: Mapping[str, Any]
    distance: str = "dot"

    def __getattr__(self, name):
        return getattr(self.model, name)

    @property
    def embedding_size(self) -> int:
        """Width of an embedding."""
        return int(next(iter(self.encoders.values())).output_shape[-1])


def searched(model: Any) -> Searched:
    """A model with its scaling."""
    encoders = {
        name: keras.Model(encoder.input, model.scaling[name](encoder.output), name=encoder.name)
        for name, encoder in model.encoders.items()
    }
    size = model.embedding_size

    def narrowed(network):
        embedding = keras.Input((size + 2,), name="embedding")
        return keras.Model(embedding, network(embedding[:, :size]), name=network.name)

    decoders = {
        name: dataclasses.replace(decoder, network=narrowed(decoder.network))
        for name, decoder in model.decoders.items()
    }
    return Searched(model, encoders, decoders)


def fill_banks(model: Any, embeddings: Mapping[str, Any]) -> None:
    """Gives each side's scaling the other side's embeddings.

    Args:
        model: has scaling.
        embeddings: encoder's name → float ``[bank, d]``, of training pairs, as the encoders without scaling have them.
    """
    first, second = model.scaling
    model.scaling[first].bank.assign(embeddings[second])
    model.scaling[second].bank.assign(embeddings[first])
