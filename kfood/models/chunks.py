"""Big batches in little memory: the gradient of one batch, its encoders' activations those of a chunk.

Gradient caching (Gao, Zhang, Han, Callan 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
section 3.3), with their four steps:

1. every chunk passes the encoders without a gradient; only its features are kept;
2. the losses of all features give the gradient of each feature, and of the variables that the losses reach themselves;
3. every chunk passes the encoders again, now with a gradient, from which its features' pull theirs back;
4. the chunks' gradients are added up, and one step follows.

The second pass repeats the first: seed generators are set back to where they stood before each chunk. What a pass
changes besides, such as moving statistics, it changes once. Batch normalisation, in training, has the statistics of its
chunk and not the batch's; all else is as in one batch. What the losses compute themselves (discriminators, classifiers,
the distances of all to all) and :meth:`~kfood.models.base.RetrievalModel.from_items` sees the whole batch at once.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kfood import backend, precision, schema


def is_larger(batch: Mapping[str, Any], chunk: int) -> bool:
    """Whether a batch is played in chunks: more than one; 0: never. A batch of unknown size is."""
    rows = _first(batch).shape[0]
    return bool(chunk) and (rows is None or rows > chunk)


def gradients_after(model, batch, between, objectives, variables):
    """As :func:`kfood.backend.gradients_after` of ``model.embed(batch, training=True)``, in chunks of ``model.chunk``.

    Args:
        model: a :class:`~kfood.models.base.RetrievalModel`.
        batch: features, each ``[items, ...]``; those of recipes without photos may be of another number.
        between: see there.
        objectives: see there.
        variables: see there.

    Returns:
        See there.

    Raises:
        ValueError: items that do not fill whole chunks (from a graph whose batch is of unknown size:
            ``tf.errors.InvalidArgumentError``).
    """
    batch = {name: ops.convert_to_tensor(values) for name, values in batch.items()}
    count = _count(batch, model.chunk)
    parts = {name: _divided(name, values, count) for name, values in batch.items()}
    seeds = random_states(model)
    structure: Any = None

    def embedded(index):
        nonlocal structure
        features = model.embed_items({name: values[index] for name, values in parts.items()}, training=True)
        structure = features
        return [ops.convert_to_tensor(feature) for feature in keras.tree.flatten(features)]

    def forward(index, sums):
        before = [ops.copy(state) for state in seeds]
        return sums, [*before, *embedded(index)]

    _, kept = backend.repeated(forward, count, [])
    before, features = kept[: len(seeds)], [_joined(part) for part in kept[len(seeds) :]]
    sources = [index for index, feature in enumerate(features) if keras.backend.is_float_dtype(feature.dtype)]

    def whole():
        return precision.widened(
            model.from_items(keras.tree.pack_sequence_as(structure, features), batch, training=True)
        )

    own = [[*variables_of_loss, *(features[index] for index in sources)] for variables_of_loss in variables]
    passed, extra, gradients = backend.gradients_after(whole, between, objectives, own)
    direct = [found[: len(reached)] for found, reached in zip(gradients, variables, strict=True)]
    upstream = [_upstream(found[-len(sources) :], sources, len(features), count) for found in gradients]
    return passed, extra, _with_chunks(model, embedded, (seeds, before), count, direct, upstream, variables)


def _with_chunks(model, embedded, seeds, count, direct, upstream, variables):
    """``direct``, and what each chunk's features pull back, added up."""
    reached: list[list[bool]] = []

    def backward(index, sums):
        for state, values in zip(*seeds, strict=True):
            state.assign(values[index])
        given = [[None if gradient is None else gradient[index] for gradient in own] for own in upstream]
        found = backend.pulled_back(lambda: embedded(index), given, variables)
        reached[:] = [[gradient is not None for gradient in own] for own in found]
        flat = [gradient for own in found for gradient in own]
        sums = [total if gradient is None else total + gradient for total, gradient in zip(sums, flat, strict=True)]
        return sums, []

    changing = [*seeds[0], *own_states(model)]
    after = [ops.copy(state) for state in changing]
    start = [ops.zeros(variable.shape, variable.dtype) for own in variables for variable in own]
    sums, _ = backend.repeated(backward, count, start)
    for state, value in zip(changing, after, strict=True):
        state.assign(value)
    totals = iter(sums)
    return [
        [_sum(gradient, next(totals), by_chunks) for gradient, by_chunks in zip(*of_loss, strict=True)]
        for of_loss in zip(direct, reached, strict=True)
    ]


def _sum(direct, total, by_chunks):
    if not by_chunks:
        return direct
    return total if direct is None else ops.convert_to_tensor(direct) + total


def _upstream(gradients, sources, features, count):
    """A gradient for each feature, in chunks; None where the loss does not depend on it."""
    found = [None] * features
    for index, gradient in zip(sources, gradients, strict=True):
        if gradient is not None:
            found[index] = _divided("", ops.convert_to_tensor(gradient), count)
    return found


def _count(batch, chunk):
    rows = ops.shape(_first(batch))[0]
    message = f"batch: expected a multiple of chunk = {chunk} items, received"
    if isinstance(rows, int):
        if rows % chunk:
            raise ValueError(f"{message} {rows}.")
        return rows // chunk
    return backend.checked(rows, ops.equal(rows % chunk, 0), message, [rows]) // chunk


def _divided(name, values, count):
    """``[count · n, ...]`` → ``[count, n, ...]``."""
    rows = ops.shape(values)[0]
    if isinstance(rows, int) and isinstance(count, int) and rows % count:
        raise ValueError(f"{name}: expected a multiple of the batch's {count} chunks, received {rows}.")
    return ops.reshape(values, (count, rows // count, *values.shape[1:]))


def _joined(values):
    """``[count, n, ...]`` → ``[count · n, ...]``."""
    return ops.reshape(values, (-1, *values.shape[2:]))


def _first(batch):
    return next(values for name, values in batch.items() if not name.startswith(schema.WITHOUT_PHOTO))


def random_states(model: keras.Model) -> list:
    """State of every seed generator, each once; Keras does not count them among the weights."""
    generators = [generator for layer in model._flatten_layers() for generator in layer._seed_generators]
    return [g.state for g in {id(generator): generator for generator in generators}.values()]


def own_states(model: keras.Model) -> list:
    """Variables that are never trained, such as moving statistics; not those that are frozen."""
    states = [variable for layer in model._flatten_layers() for variable in layer._non_trainable_variables]
    return list({id(state): state for state in states}.values())
