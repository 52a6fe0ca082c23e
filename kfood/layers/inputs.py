"""What a network receives, from a spec of a batch."""

from collections.abc import Mapping

import keras


def symbolic_inputs(shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, keras.KerasTensor]:
    """Symbolic inputs by feature name.

    Args:
        shapes: name → (shape without the batch axis, dtype), e.g. ``spec.recipe_inputs()``.
    """
    return {name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in shapes.items()}
