"""Embedding a dataset with all encoders of a model."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfood import schema


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings of a split; entry i of everything belongs to pair i.

    Attributes:
        ids: of the pairs, in the order of the batches; empty if the batches carry none.
        arrays: encoder name → float32 [pairs, dim].
        features: feature name → its values [pairs, ...], for the features asked for.
    """

    ids: list[str]
    arrays: dict[str, NDArray[np.float32]]
    features: dict[str, NDArray] = dataclasses.field(default_factory=dict)


def embed(
    encoder: Any, batches: Iterable[Mapping[str, Any]], *, progress: Callable[[int], None] | None = None
) -> NDArray[np.float32]:
    """Embeds batches with one encoder, at inference.

    Args:
        encoder: functional ``keras.Model`` from a dict of features to float [batch, dim].
        batches: dicts of features; those that the encoder does not take are left alone.
        progress: called with the number of rows done so far.

    Returns:
        float32 [rows, dim].

    Raises:
        ValueError: no batch, a feature that the encoder needs is missing, or its output is not finite [batch, dim].
    """
    return _embed({"encoder": encoder}, batches, (), progress).arrays["encoder"]


def embed_dataset(
    model: Any,
    batches: Iterable[Mapping[str, Any]],
    *,
    keep: Collection[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Embeddings:
    """Embeds batches with every encoder of a model, at inference, in one pass over the data.

    Args:
        model: anything with ``encoders``, a dict from names to encoders as for :func:`embed`.
        batches: dicts of features, e.g. of ``kfood.data.pipeline.recipe_batches(..., training=False)``.
        keep: features of the batches that are wanted beside the embeddings.
        progress: called with the number of pairs done so far.

    Returns:
        The embeddings, and the ids where the batches carry them.

    Raises:
        ValueError: as for :func:`embed`.
    """
    return _embed(model.encoders, batches, keep, progress)


def _embed(
    encoders: Mapping[str, Any],
    batches: Iterable[Mapping[str, Any]],
    keep: Collection[str],
    progress: Callable[[int], None] | None,
) -> Embeddings:
    ids: list[str] = []
    parts: dict[str, list[NDArray]] = {name: [] for name in encoders}
    kept: dict[str, list[NDArray]] = {name: [] for name in keep}
    done = 0
    for batch in batches:
        for name, encoder in encoders.items():
            parts[name].append(_encode(name, encoder, batch))
        for name in keep:
            kept[name].append(np.asarray(_feature(name, batch, "a feature to keep")))
        if schema.ID in batch:
            ids += [
                value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(batch[schema.ID])
            ]
        done += len(next(iter(parts.values()))[-1])
        if progress:
            progress(done)
    if not done:
        raise ValueError("Expected at least one batch to embed, received none: is the split empty?")
    return Embeddings(
        ids,
        {name: np.concatenate(arrays) for name, arrays in parts.items()},
        {name: np.concatenate(arrays) for name, arrays in kept.items()},
    )


def _encode(name: str, encoder: Any, batch: Mapping[str, Any]) -> NDArray[np.float32]:
    from kfood import replicas  # imports Keras, which comparing two reports does without

    wanted = encoder.input  # a dict, as the encoder was built
    inputs = {feature: np.asarray(_feature(feature, batch, f"an input of encoder {name!r}")) for feature in wanted}
    output = np.asarray(replicas.predicted(encoder, inputs), np.float32)
    rows = len(next(iter(inputs.values())))
    if output.ndim != 2 or len(output) != rows:
        raise ValueError(f"Encoder {name!r}: expected embeddings [{rows}, dim], received {list(output.shape)}.")
    bad = np.flatnonzero(~np.isfinite(output).all(axis=1))
    if len(bad):
        ids = [
            value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(batch.get(schema.ID, []))
        ]
        where = f" (id {ids[bad[0]]})" if ids else ""
        raise ValueError(
            f"Encoder {name!r}: expected finite embeddings, received NaN or infinity in {len(bad)} of {rows} rows, the "
            f"first of them row {bad[0]}{where}; has the training diverged?"
        )
    return output


def _feature(name: str, batch: Mapping[str, Any], what: str) -> Any:
    if name not in batch:
        raise ValueError(f"Expected feature {name!r}, {what}, in the batches, received {', '.join(sorted(batch))}.")
    return batch[name]
