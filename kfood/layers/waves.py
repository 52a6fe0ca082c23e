"""An extension of ours to TrajCross's position branches, and the features of its CCA: waves over the ground.

Eq. 7 leaves it to a fully connected layer to multiply the place in a picture by the picture's size on the ground. The
mean of products of waves, along a line or over the ink of its picture, is nearly the same number, whatever the window.
"""

import math

import keras
from keras import ops

_LEAST_LENGTH = 1e-3
_FINEST = 4


def waves(values, octaves):
    """1, and sines and cosines of π, 2π, 4π, … times a coordinate, the finer ones smaller.

    Args:
        values: float ``[...]``, about [-1, 1].
        octaves: how many.

    Returns:
        float ``[..., 1 + 2 · octaves]``.
    """
    found = [ops.ones_like(values)]
    for octave in range(octaves):
        angle = math.pi * 2.0**octave * values
        found += [2.0 ** (-octave / 4) * ops.sin(angle), 2.0 ** (-octave / 4) * ops.cos(angle)]
    return ops.stack(found, axis=-1)


@keras.saving.register_keras_serializable("kfood")
class LineMoments(keras.layers.Layer):
    """Where a line lies: the mean along it of products of :func:`waves` of x and of y.

    Args:
        octaves: the finest wave is ``2 / 2^(octaves-1)`` long.
    """

    def __init__(self, octaves, **kwargs):
        super().__init__(**kwargs)
        self.octaves = octaves

    def call(self, points):
        """Float ``[batch, points, 2]`` of :class:`Ground` → float ``[batch, (1 + 2 · octaves)²]``; y's waves first."""
        start, end = points[:, :-1], points[:, 1:]
        weights = ops.sqrt(ops.sum(ops.square(end - start), axis=-1) + _LEAST_LENGTH**2)
        weights = weights / ops.sum(weights, axis=1, keepdims=True) / _FINEST
        between = ops.concatenate([start + (k + 0.5) / _FINEST * (end - start) for k in range(_FINEST)], axis=1)
        weights = ops.tile(weights, (1, _FINEST))[..., None]
        x, y = waves(between[..., 0], self.octaves), waves(between[..., 1], self.octaves)
        moments = ops.matmul(ops.transpose(y, (0, 2, 1)), weights * x)
        return ops.reshape(moments, (-1, (1 + 2 * self.octaves) ** 2))

    def compute_output_shape(self, shape):
        """``[batch, (1 + 2 · octaves)²]``."""
        return (shape[0], (1 + 2 * self.octaves) ** 2)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"octaves": self.octaves}


@keras.saving.register_keras_serializable("kfood")
class PictureMoments(keras.layers.Layer):
    """The same of the dark pixels of a picture whose corners are known: kernels as wide as it, laid on the ground.

    Args:
        octaves: see :class:`LineMoments`.
    """

    def __init__(self, octaves, **kwargs):
        super().__init__(**kwargs)
        self.octaves = octaves

    def call(self, pictures, location):
        """Pictures float ``[batch, side, side, 3]`` in [0, 255], location float ``[batch, 4]`` of :class:`Ground`."""
        ink = ops.mean(255.0 - pictures, axis=-1) + 1e-3
        ink = ink / ops.sum(ink, axis=(1, 2), keepdims=True)
        steps = (ops.arange(pictures.shape[1], dtype=location.dtype) + 0.5) / pictures.shape[1]
        left, top, right, bottom = (location[:, k : k + 1] for k in range(4))
        x = waves(left + steps[None] * (right - left), self.octaves)
        y = waves(top + steps[None] * (bottom - top), self.octaves)
        moments = ops.matmul(ops.transpose(y, (0, 2, 1)), ops.matmul(ink, x))
        return ops.reshape(moments, (-1, (1 + 2 * self.octaves) ** 2))

    def compute_output_shape(self, pictures_shape, location_shape):
        """``[batch, (1 + 2 · octaves)²]``."""
        return (pictures_shape[0], (1 + 2 * self.octaves) ** 2)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"octaves": self.octaves}
