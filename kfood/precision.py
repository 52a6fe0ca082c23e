"""Mixed precision: networks that compute in 16 bits, while variables, losses, distances and normalisation have 32.

It is Keras' own, a dtype policy that a model's layers are made under. What a model adds is in
:mod:`kfood.models.base`: features are cast to float32 before any loss, gradients of float16 are scaled.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import keras
from keras import ops

Precision = Literal["float32", "bfloat16", "float16"]

POLICIES: dict[Precision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Name of a setting → Keras' dtype policy."""


@contextlib.contextmanager
def policy(given: Any) -> Iterator[None]:
    """Within it layers are made under a dtype policy.

    Args:
        given: a ``keras.DTypePolicy``, or the name or config of one.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(keras.dtype_policies.get(given))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def widened(tensors: Any) -> Any:
    """The same structure, what is float16 or bfloat16 in it as float32."""

    def wide(value):
        narrow = keras.backend.standardize_dtype(value.dtype) in ("float16", "bfloat16")
        return ops.cast(value, "float32") if narrow else value

    return keras.tree.map_structure(wide, tensors)


def past_overflow(play: Callable[[], Any], states: list, optimizers: Iterable[Any]) -> Any:
    """Plays a step. Where gradients of it are too large for float16, what moves without any is put back too.

    Args:
        play: a step; each optimizer itself leaves its variables where they are if their gradients are not finite.
        states: variables that it changes without a gradient.
        optimizers: built ``keras.optimizers.LossScaleOptimizer`` ones, all that it applies.

    Returns:
        What ``play`` does.
    """
    optimizers = list(optimizers)
    before = [ops.copy(ops.convert_to_tensor(state)) for state in states]
    scales = [ops.copy(ops.convert_to_tensor(optimizer.dynamic_scale)) for optimizer in optimizers]
    found = play()
    kept = [
        ops.convert_to_tensor(optimizer.dynamic_scale) >= scale
        for optimizer, scale in zip(optimizers, scales, strict=True)
    ]
    whole = ops.all(ops.stack(kept))
    for state, old in zip(states, before, strict=True):
        state.assign(ops.where(whole, ops.convert_to_tensor(state), old))
    return found
