"""Decoding and the two transforms, against Pillow and naive NumPy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kfood import schema
from kfood.data import images


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def resize_axis(array, axis, resized):
    """Antialiased triangle filter along one axis, pixel by pixel."""
    side = array.shape[axis]
    scale = side / resized
    reach = max(scale, 1.0)
    moved = np.moveaxis(array.astype(np.float64), axis, 0)
    out = np.empty((resized, *moved.shape[1:]))
    for target in range(resized):
        centre = (target + 0.5) * scale
        weights = np.array([max(0.0, 1 - abs(source + 0.5 - centre) / reach) for source in range(side)])
        out[target] = np.tensordot(weights / weights.sum(), moved, axes=1)
    return np.moveaxis(out, 0, axis)


def naive_evaluation(array, size):
    short = min(array.shape[:2])
    target = round(size * 256 / 224)
    height, width = (int(np.floor(side * target / short + 0.5)) for side in array.shape[:2])
    resized = resize_axis(resize_axis(array, 0, height), 1, width)
    top, left = (height - size) // 2, (width - size) // 2
    return resized[top : top + size, left : left + size]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_decoding_gives_pillows_pixels(kind):
    data = encoded(noise(37, 51), kind)
    decoded = images.decode_image(tf.constant(data))
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(data))))


def test_grey_jpeg_becomes_three_channels():
    decoded = images.decode_image(tf.constant(encoded(noise(9, 8)[..., 0]))).numpy()
    assert decoded.shape == (9, 8, 3)
    assert (decoded == decoded[..., :1]).all()


def test_truncated_jpeg_is_an_error():
    data = encoded(noise(64, 64))
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode_image(tf.constant(data[: len(data) // 2]))


def test_short_side():
    assert [schema.resized_short_side(size) for size in (224, 96, 64)] == [256, 110, 73]


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (100, 33), (9, 12), (23, 23)])
def test_evaluation_agrees_with_numpy(shape):
    array = noise(*shape)
    result = images.evaluation_transform(tf.constant(array), 20)
    assert result.shape == (20, 20, 3)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, naive_evaluation(array, 20), atol=1e-3)


def test_evaluation_keeps_pixels_where_no_resizing_is_needed():
    array = noise(73, 91)
    result = images.evaluation_transform(tf.constant(array), 64)
    np.testing.assert_array_equal(result, array[4:68, 13:77])


def test_a_picture_of_the_right_size_is_taken_whole():
    array = noise(64, 64)
    np.testing.assert_array_equal(images.evaluation_transform(tf.constant(array), 64, 64), array)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (100, 33), (9, 12), (20, 20)])
def test_a_whole_photo_is_squeezed(shape):
    array = noise(*shape)
    result = images.evaluation_transform(tf.constant(array), 20, schema.WHOLE_PHOTO)
    np.testing.assert_allclose(result, resize_axis(resize_axis(array, 0, 20), 1, 20), atol=1e-3)


def test_training_crops_of_a_whole_photo_are_squeezed_as_it_is():
    """Each covers its share of the photo's area: a ramp climbs over a crop by that crop's height and width."""
    ramp = np.zeros((60, 90, 3), np.float32)
    ramp[..., 0] = np.arange(60)[:, None]
    ramp[..., 1] = np.arange(90)[None, :]
    how = images.Augmentation(flip=False, crop_area=(0.25, 0.5), crop_aspect=1.2)
    areas, aspects = [], []
    for seed in range(100):
        crop = images.training_transform(tf.constant(ramp), 10, [0, seed], how, schema.WHOLE_PHOTO).numpy()
        height, width = (crop[7, 5, 0] - crop[2, 5, 0]) * 2, (crop[5, 7, 1] - crop[5, 2, 1]) * 2
        areas.append(height * width / (60 * 90))
        aspects.append(height / 60 / (width / 90))
    assert 0.245 < min(areas) < 0.3
    assert 0.45 < max(areas) < 0.505
    assert 1 / 1.21 < min(aspects) < 0.9
    assert 1.1 < max(aspects) < 1.21


def test_white_stays_within_the_range():
    white = tf.fill([57, 43, 3], tf.constant(255, tf.uint8))
    assert images.evaluation_transform(white, 32).numpy().max() == 255.0


def test_training_crops_and_mirrors_windows_of_the_resized_photo():
    size = 7  # resized_short_side(7) is 8: a photo of 8 × 10 keeps its pixels
    array = noise(8, 10)
    windows = {
        window.tobytes(): (top, left, mirrored)
        for top in range(2)
        for left in range(4)
        for mirrored in (False, True)
        for window in [array[top : top + size, left : left + size][:, :: -1 if mirrored else 1]]
    }
    seen = set()
    for seed in range(200):
        crop = images.training_transform(tf.constant(array), size, tf.constant([3, seed])).numpy()
        assert crop.dtype == np.float32
        seen.add(windows[crop.astype(np.uint8).tobytes()])
    assert seen == set(windows.values())  # every place, mirrored and not


def test_training_is_a_function_of_the_seed():
    array = tf.constant(noise(40, 50))
    how = images.Augmentation(crop_area=(0.2, 1.0), crop_aspect=1.3, brightness=0.2, contrast=0.2, saturation=0.2)
    first, again, other = (images.training_transform(array, 24, tf.constant(s), how) for s in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_crop_area_and_aspect_are_bounded():
    ramp = np.zeros((60, 80, 3), np.float32)
    ramp[..., 0] = np.arange(60)[:, None]
    ramp[..., 1] = np.arange(80)[None, :]
    how = images.Augmentation(flip=False, crop_area=(0.25, 0.5), crop_aspect=1.2)
    areas, aspects, places = [], [], []
    for seed in range(100):
        crop = images.training_transform(tf.constant(ramp), 10, tf.constant([0, seed]), how).numpy()
        height = (crop[7, 5, 0] - crop[2, 5, 0]) * 2  # the ramp climbs by 1 a source pixel
        width = (crop[5, 7, 1] - crop[5, 2, 1]) * 2
        areas.append(height * width / 60**2)
        aspects.append(height / width)
        places.append(crop[5, 5, :2])
    assert 0.245 < min(areas) < 0.3
    assert 0.45 < max(areas) < 0.505
    assert 1 / 1.21 < min(aspects) < 0.9  # a filtered ramp is straight within 1 %
    assert 1.1 < max(aspects) < 1.21
    assert np.ptp(places, axis=0).min() > 15


def test_colour_jitter():
    array = tf.constant(noise(32, 32), tf.float32) / 4 + 96  # far from the ends of the range, where nothing is clipped
    plain = images.training_transform(array, 28, [0, 5]).numpy()

    def jittered(**how):
        return images.training_transform(array, 28, [0, 5], images.Augmentation(**how)).numpy()

    shift = jittered(brightness=0.1) - plain
    np.testing.assert_allclose(shift, shift[0, 0, 0], atol=1e-3)
    assert 0 < abs(shift[0, 0, 0]) <= 25.5
    contrast = jittered(contrast=0.5)
    assert contrast.mean() == pytest.approx(plain.mean(), abs=1e-2)
    factor = contrast.std() / plain.std()
    assert 0.5 <= factor <= 1.5
    assert abs(factor - 1) > 0.01
    grey = tf.fill([32, 32, 3], 100.0)
    saturated = images.training_transform(grey, 28, [0, 5], images.Augmentation(saturation=0.9))
    np.testing.assert_allclose(saturated, 100.0, atol=0.05)
    assert np.abs(jittered(saturation=0.9) - plain).max() > 1
    wild = jittered(brightness=1.0, contrast=1.0)
    assert wild.min() >= 0
    assert wild.max() <= 255


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop_area", (0.0, 1.0)),
        ("crop_area", (0.5, 0.4)),
        ("crop_aspect", 1.2),
        ("brightness", -0.1),
        ("contrast", 2.0),
    ],
)
def test_impossible_augmentation_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        images.Augmentation(**{field: value})
