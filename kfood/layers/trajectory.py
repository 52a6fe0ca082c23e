"""TrajCross's layers: they read trajectories, and pictures whose place on the ground is known."""

import keras
from keras import ops


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
    """A trajectory drawn as a picture of its own (Eq. 3's IMG).

    A pixel's darkness is how far the line, ``thickness`` pixels wide, covers it, by the distance of its centre.

    Args:
        side: of the picture, pixels.
        frame: what fills it, ``"line"``: the trajectory's own box, so that only the shape is left; ``"scene"``: the
            whole ground, [-1, 1] in x and y.
        thickness: of the line, pixels.
        least: a smaller box of a line is not enlarged any further; in units of the input.
    """

    def __init__(self, side, frame="line", thickness=2.0, least=0.05, **kwargs):
        super().__init__(**kwargs)
        self.side = side
        self.frame = frame
        self.thickness = thickness
        self.least = least

    def call(self, points):
        """Float ``[batch, points, 2]``, y upwards → float ``[batch, side, side, 3]`` in [0, 255], black on white."""
        middle, box = 0.0, 2.0
        if self.frame == "line":
            low, high = ops.min(points, axis=1, keepdims=True), ops.max(points, axis=1, keepdims=True)
            middle = (low + high) / 2.0
            box = ops.maximum(ops.max(high - low, axis=-1, keepdims=True), self.least)
        border = self.thickness + 1.0
        scale = (self.side - 2.0 * border) / box
        placed = (points - middle) * scale * ops.convert_to_tensor([1.0, -1.0], points.dtype)
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
        own = {"side": self.side, "frame": self.frame, "thickness": self.thickness, "least": self.least}
        return super().get_config() | own


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
        keras.layers.Conv1D(filters, height, activation="relu", name=f"{name}_{height}")(sequence) for height in heights
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
        keras.layers.Conv2D(filters, (height, side), activation="relu", name=f"{name}_{height}")(pictures)
        for height in heights
    ]
    return ops.concatenate([keras.layers.Flatten()(one) for one in found], axis=-1)
