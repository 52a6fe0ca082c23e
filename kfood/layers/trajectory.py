"""Layers that read trajectories, and pictures whose place on the ground is known."""

import math

import keras
from keras import ops

_LEAST_LENGTH = 1e-3
_FINEST = 4


@keras.saving.register_keras_serializable("kfood")
class Ground(keras.layers.Layer):
    """Metres → about [-1, 1]: minus the middle of the ground, over its extent.

    Args:
        centre: (x, y) in metres.
        extent: metres from there to the farthest side.
    """

    def __init__(self, centre, extent, **kwargs):
        super().__init__(**kwargs)
        self.centre = tuple(centre)
        self.extent = extent

    def call(self, places):
        """Float ``[..., 2 k]``, x and y (k times) in metres → the same shape."""
        centre = ops.convert_to_tensor(self.centre * (places.shape[-1] // 2), places.dtype)
        return (places - centre) / self.extent

    def compute_output_shape(self, shape):
        """The shape of the input."""
        return shape

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"centre": self.centre, "extent": self.extent}


@keras.saving.register_keras_serializable("kfood")
class Sketch(keras.layers.Layer):
    """A trajectory drawn as a picture of its own: scaled to fill it, so that only the shape is left (Eq. 3's IMG).

    A pixel's darkness is how far the line, ``thickness`` pixels wide, covers it, by the distance of its centre.

    Args:
        side: of the picture, pixels.
        thickness: of the line, pixels.
        least: a smaller box is not enlarged any further; in units of the input.
    """

    def __init__(self, side, thickness=2.0, least=0.05, **kwargs):
        super().__init__(**kwargs)
        self.side = side
        self.thickness = thickness
        self.least = least

    def call(self, points):
        """Float ``[batch, points, 2]``, y upwards → float ``[batch, side, side, 3]`` in [0, 255], black on white."""
        low, high = ops.min(points, axis=1, keepdims=True), ops.max(points, axis=1, keepdims=True)
        box = ops.maximum(ops.max(high - low, axis=-1, keepdims=True), self.least)
        border = self.thickness + 1.0
        scale = (self.side - 2.0 * border) / box
        placed = (points - (low + high) / 2.0) * scale * ops.convert_to_tensor([1.0, -1.0], points.dtype)
        placed = placed + self.side / 2.0
        centres = ops.arange(self.side, dtype=points.dtype) + 0.5
        # Segments on axis 1, rows on axis 2, columns on axis 3.
        x, y = centres[None, None, None, :], centres[None, None, :, None]
        ax, ay = (placed[:, :-1, axis, None, None] for axis in (0, 1))
        dx, dy = (placed[:, 1:, axis, None, None] - start for axis, start in ((0, ax), (1, ay)))
        along = ((x - ax) * dx + (y - ay) * dy) / ops.maximum(dx * dx + dy * dy, 1e-9)
        along = ops.clip(along, 0.0, 1.0)
        squares = ops.square(x - ax - along * dx) + ops.square(y - ay - along * dy)
        nearest = ops.sqrt(ops.min(squares, axis=1))
        ink = ops.clip(self.thickness / 2.0 + 0.5 - nearest, 0.0, 1.0)
        return ops.repeat(255.0 * (1.0 - ink)[..., None], 3, axis=-1)

    def compute_output_shape(self, shape):
        """``[batch, side, side, 3]``."""
        return (shape[0], self.side, self.side, 3)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"side": self.side, "thickness": self.thickness, "least": self.least}


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


def text_cnn(sequence, heights, filters, name):
    """Convolutions of several heights as wide as the embedding, the maximum over time of each, joined.

    Args:
        sequence: float ``[batch, points, width]``.
        heights: points under each kernel.
        filters: of each height.
        name: of the layers.

    Returns:
        float ``[batch, len(heights) · filters]``.
    """
    found = [
        keras.layers.Conv1D(filters, height, padding="same", activation="relu", name=f"{name}_{height}")(sequence)
        for height in heights
    ]
    return ops.concatenate([ops.max(one, axis=1) for one in found], axis=-1)


def wide_cnn(pictures, heights, filters, name):
    """WCNN: convolutions as wide as the picture (section III-C), every row's result kept, joined.

    Args:
        pictures: float ``[batch, side, side, channels]``.
        heights: rows under each kernel.
        filters: of each height.
        name: of the layers.

    Returns:
        float ``[batch, …]``.
    """
    side = pictures.shape[1]
    found = [
        keras.layers.Conv2D(filters, (height, side), (2, 1), activation="relu", name=f"{name}_{height}")(pictures)
        for height in heights
    ]
    return ops.concatenate([keras.layers.Flatten()(one) for one in found], axis=-1)
