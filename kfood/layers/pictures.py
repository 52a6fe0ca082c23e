"""What networks that make or judge pictures have in common: sizes, real photos beside made ones, and layers."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kfood import schema

SLOPE = 0.2
"""Of the leaky ReLU in a discriminator."""


def check_picture_size(size: int) -> None:
    """Raises ValueError unless ``size`` is a power of two of at least 16."""
    if size < 16 or size & (size - 1):
        raise ValueError(f"picture_size: expected a power of two of at least 16, received {size}.")


def reduced(photos, side: int, antialias: bool = True):
    """Photos at a generator's size: float ``[batch, h, h, 3]`` → float ``[batch, side, side, 3]``, values as they are.

    Args:
        photos: square ones.
        side: of a generated picture.
        antialias: for a side that does not divide the photo's; XLA has no antialiased resizing.
    """
    factor, rest = divmod(photos.shape[1], side)
    if rest == 0:
        return ops.average_pool(photos, factor, factor)
    return ops.image.resize(photos, (side, side), antialias=antialias)


def real_pictures(batch: Mapping[str, Any], side: int, antialias: bool):
    """The batch's photos as a generator's: float ``[batch, side, side, 3]`` in [-1, 1].

    Args:
        batch: holds ``image``, in [0, 255].
        side: of a generated picture.
        antialias: see :func:`reduced`.
    """
    return ops.clip(reduced(batch[schema.IMAGE], side, antialias) / 127.5 - 1.0, -1.0, 1.0)


def norm(name):
    """Batch normalisation as both generators and discriminators have it."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


@keras.saving.register_keras_serializable("kfood")
class Enlarge(keras.layers.Layer):
    """Nearest-neighbour upsampling: each cell becomes a square of equal ones.

    A broadcast and a reshape, whose gradient is a sum; ``keras.layers.UpSampling2D`` gathers, several times as slowly.

    Args:
        factor: side of the square.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        """Float ``[batch, h, w, c]`` → float ``[batch, factor * h, factor * w, c]``."""
        height, width, channels = inputs.shape[1:]
        cells = ops.reshape(inputs, (-1, height, 1, width, 1, channels))
        squares = ops.tile(cells, (1, 1, self.factor, 1, self.factor, 1))
        return ops.reshape(squares, (-1, height * self.factor, width * self.factor, channels))

    def compute_output_shape(self, shape):
        """Both sides times the factor."""
        return (shape[0], shape[1] * self.factor, shape[2] * self.factor, shape[3])

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"factor": self.factor}
