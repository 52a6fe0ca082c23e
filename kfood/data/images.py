"""Photos: decoding, and the two ways of making a square of a given size out of one.

Both transforms are one resampling operation that computes only the pixels of the crop (bilinear, antialiased): the
photo is resized so that its short side is :func:`kfood.schema.resized_short_side` pixels (256 for a crop of 224), then
cropped. Or it is taken whole: both sides are resized, each in its own proportion.
"""

import dataclasses

import tensorflow as tf

from kfood.schema import WHOLE_PHOTO, resized_short_side


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. The default is the papers': random crop and horizontal flip.

    Attributes:
        flip: mirror half of the pictures.
        crop_area: (least, most) share of the largest square, or of a photo that is taken whole, that a crop covers,
            drawn uniformly, then resized to the wanted size; None: a crop of the wanted size out of the photo resized
            as for evaluation, or a whole one resized to a little more.
        crop_aspect: most that a crop's width and height may differ, as a ratio of at least 1; needs ``crop_area``.
        brightness: largest change, as a share of the full range: pixels are shifted by up to ±brightness × 255.
        contrast: largest change: differences from the mean are scaled by a factor of 1 ± contrast.
        saturation: largest change: differences from grey are scaled by a factor of 1 ± saturation.
    """

    flip: bool = True
    crop_area: tuple[float, float] | None = None
    crop_aspect: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area: expected 0 < least <= most <= 1, received {self.crop_area}.")
        if self.crop_aspect < 1 or (self.crop_aspect != 1 and self.crop_area is None):
            raise ValueError(f"crop_aspect: expected at least 1, with crop_area set, received {self.crop_aspect}.")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, received {getattr(self, name)}.")


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Decode one encoded picture as it is stored; `kfood prepare` stores them upright and opaque.

    Args:
        data: string scalar: JPEG or PNG. Photos of others: :mod:`kfood.photo_files`, in a graph
            :mod:`kfood.export.photo_bytes`.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    # The operation reads PNG as well. The accurate inverse transform gives the very pixels that Pillow gives.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def evaluation_transform(image: tf.Tensor, size: int, short_side: int | None = None) -> tf.Tensor:
    """Resize and take the centre.

    With ``short = min(height, width)`` and ``target = short_side``, the photo is resized to
    ``floor(side * target / short + 1/2)`` along each side; the crop starts at ``(resized - size) // 2``.

    Args:
        image: [height, width, 3], any number type.
        size: side of the result, pixels.
        short_side: of the resized photo, pixels; None: :func:`kfood.schema.resized_short_side` of ``size``;
            :data:`kfood.schema.WHOLE_PHOTO`: both sides are resized to ``size``.

    Returns:
        float32 [size, size, 3] in [0, 255] for pictures in [0, 255].
    """
    sides = tf.shape(image)[:2]
    resized = _resized_sides(sides, resized_short_side(size) if short_side is None else short_side, size)
    return _resample(image, tf.cast(resized / sides, tf.float32), tf.cast((resized - size) // 2, tf.float32), size)


def training_transform(
    image: tf.Tensor,
    size: int,
    seed: tf.Tensor,
    augmentation: Augmentation | None = None,
    short_side: int | None = None,
) -> tf.Tensor:
    """Resize, take a random crop, mirror at random: a pure function of its arguments.

    Args:
        image: [height, width, 3], any number type.
        size: side of the result, pixels.
        seed: int [2], as for TensorFlow's stateless random operations.
        augmentation: what to vary; the default is ``Augmentation()``.
        short_side: :data:`kfood.schema.WHOLE_PHOTO`: crops are of the whole photo, squeezed as it is; else of its
            largest squares.

    Returns:
        float32 [size, size, 3] in [0, 255] for pictures in [0, 255].
    """
    how = augmentation or Augmentation()
    draws = tf.random.stateless_uniform([8], seed, alg="philox")
    sides = tf.shape(image)[:2]
    whole = short_side == WHOLE_PHOTO
    if how.crop_area is None:
        around = resized_short_side(size)
        resized = _resized_sides(sides, WHOLE_PHOTO if whole else around, around)
        # floor(u * (n + 1)) is uniform over 0..n; the minimum guards against rounding up to n + 1.
        room = resized - size
        start = tf.minimum(tf.cast(draws[:2] * tf.cast(room + 1, tf.float32), tf.int32), room)
        image = _resample(image, tf.cast(resized / sides, tf.float32), tf.cast(start, tf.float32), size)
    else:
        least, most = how.crop_area
        sides = tf.cast(sides, tf.float32)
        side = tf.sqrt(least + (most - least) * draws[2]) * (sides if whole else tf.reduce_min(sides))
        ratio = tf.exp((2 * draws[3] - 1) * tf.math.log(how.crop_aspect) / 2)
        crop = tf.minimum(side * tf.stack([ratio, 1 / ratio]), sides)
        scale = size / crop
        image = _resample(image, scale, draws[:2] * (sides - crop) * scale, size)
    if how.flip:
        image = tf.cond(draws[4] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    if how.brightness:
        image += (2 * draws[5] - 1) * how.brightness * 255
    if how.contrast:
        mean = tf.reduce_mean(image)
        image = mean + (image - mean) * (1 + (2 * draws[6] - 1) * how.contrast)
    if how.saturation:
        grey = tf.image.rgb_to_grayscale(image)
        image = grey + (image - grey) * (1 + (2 * draws[7] - 1) * how.saturation)
    if how.brightness or how.contrast or how.saturation:
        image = tf.clip_by_value(image, 0.0, 255.0)
    return image


def _resized_sides(sides: tf.Tensor, short_side: int, size: int) -> tf.Tensor:
    """Sides of the whole photo once resized, in exact integer arithmetic: int32 [2] → int32 [2]."""
    if short_side == WHOLE_PHOTO:
        return tf.fill([2], size)
    short = tf.reduce_min(sides)
    return (2 * sides * short_side + short) // (2 * short)


def _resample(image: tf.Tensor, scale: tf.Tensor, start: tf.Tensor, size: int) -> tf.Tensor:
    """The ``size`` × ``size`` pixels from ``start`` of the photo resized by ``scale``, both float32 (y, x)."""
    image = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis], size=[size, size], scale=scale, translation=-start, kernel_type="triangle"
    )[0]
    # The weights' sum is 1 up to float32's rounding, which would put white at 255.00003.
    return tf.ensure_shape(tf.minimum(image, 255.0), [size, size, 3])
