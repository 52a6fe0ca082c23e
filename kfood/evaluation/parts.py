"""How well a recipe is found, and finds its photo, where only a part of it is given."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kfood.evaluation import protocols
from kfood.evaluation.embedding import Embeddings, embed


def subsets(parts: Iterable[str]) -> list[tuple[str, ...]]:
    """Parts alone, then two together, and so on up to all but one of them."""
    parts = tuple(parts)
    return [some for count in range(1, len(parts)) for some in itertools.combinations(parts, count)]


def measure(
    model: Any, batches: Iterable[Mapping[str, Any]], embeddings: Embeddings, protocol: protocols.Protocol
) -> dict[str, protocols.Evaluation]:
    """The evaluation of a split anew, for each choice of recipes' parts; the others are left out.

    Args:
        model: has ``encoders``, one of them called ``recipe``, and ``distance``.
        batches: of the split in the order of ``embeddings``, with the recipe encoder's inputs; gone through once for
            each choice.
        embeddings: of the split; those of whole recipes are replaced.
        protocol: of the evaluation; its draws are the same each time.

    Returns:
        The parts' names, joined by " + ", → what :func:`kfood.evaluation.protocols.evaluate` makes of them.
    """
    encoder = model.encoders["recipe"]
    names = list(encoder.input)
    evaluated = {}
    for kept in subsets(names):
        left = (
            {name: np.zeros_like(part) if name in names and name not in kept else part for name, part in batch.items()}
            for batch in batches
        )
        arrays = embeddings.arrays | {"recipe": embed(encoder, left)}
        evaluated[" + ".join(kept)] = protocols.evaluate(arrays, protocol, distance=model.distance)
    return evaluated
