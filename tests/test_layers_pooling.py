"""Feature maps to vectors, by loops; backbones whose maps are joined."""

import dataclasses

import keras
import numpy as np
import pytest

from kfood.layers.image import ImageEncoderConfig, backbone
from kfood.layers.pooling import POOLINGS, RootPooling, pool


def unit(vector):
    length = np.sqrt(np.sum(vector**2))
    return vector / length if length else vector


def by_loops(features, spans):
    """Roots of each region's mean, of length 1; their sum, of length 1."""
    pooled = []
    for image in features.astype("float64"):
        total = np.zeros(image.shape[-1])
        for top, bottom in spans[0]:
            for left, right in spans[1]:
                places = [image[y, x] for y in range(top, bottom) for x in range(left, right)]
                mean = sum(places) / len(places)
                total += unit(np.array([np.sign(value) * np.sqrt(abs(value)) for value in mean]))
        pooled.append(unit(total))
    return np.array(pooled)


@pytest.mark.parametrize(
    ("regions", "share", "spans"),
    [
        (1, 0.7, ([(0, 5)], [(0, 8)])),
        (2, 0.7, ([(0, 4), (1, 5)], [(0, 6), (2, 8)])),
        (3, 0.5, ([(0, 3), (1, 4), (2, 5)], [(0, 4), (2, 6), (4, 8)])),
    ],
)
def test_root_pooling_by_loops(rng, regions, share, spans):
    features = rng.normal(size=(3, 5, 8, 6)).astype("float32")
    features[1, 3:] = 0.0
    received = RootPooling(regions, share)(features)
    np.testing.assert_allclose(received, by_loops(features, spans), atol=1e-6)
    np.testing.assert_array_equal(RootPooling(regions, share)(np.zeros((1, 5, 8, 6), "float32")), 0.0)


def test_gradients_are_finite_where_features_are_zero():
    import tensorflow as tf

    for zeros in (np.zeros((2, 4, 4, 3), "float32"), np.eye(3, dtype="float32")[:, None, None] * np.ones((1, 4, 4, 1))):
        features = tf.Variable(tf.cast(zeros, "float32"))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(RootPooling(2)(features) * tf.constant([1.0, 2.0, 3.0]))
        assert np.isfinite(tape.gradient(loss, features).numpy()).all()


def test_pool_is_one_layer_by_name(rng):
    features = keras.Input((4, 4, 6))
    kinds = {kind: keras.Model(features, pool(features, kind)) for kind in POOLINGS}
    assert all(model.get_layer("pool") for model in kinds.values())
    image = rng.normal(size=(2, 4, 4, 6)).astype("float32")
    np.testing.assert_allclose(kinds["mean"](image), image.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(kinds["roots"](image), RootPooling()(image), atol=1e-6)
    np.testing.assert_allclose(kinds["regional_roots"](image), RootPooling(2)(image), atol=1e-6)
    saved = keras.layers.deserialize(keras.layers.serialize(RootPooling(3, 0.4)))
    assert (saved.regions, saved.share) == (3, 0.4)
    with pytest.raises(ValueError, match=r"image_encoder\.pooling: expected one of"):
        ImageEncoderConfig(pooling="max")


def test_joined_backbones_are_their_maps_side_by_side(rng, tmp_path):
    keras.utils.set_random_seed(0)
    config = ImageEncoderConfig("small+efficientnet_lite0", "", (4, 8, 8, 8))
    joined = backbone(64, config)
    assert joined.name == "backbone"
    pictures = rng.uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    whole = keras.ops.convert_to_numpy(joined(pictures, training=False))
    small, lite = (joined.get_layer(f"backbone_{number}") for number in (0, 1))
    np.testing.assert_allclose(whole[..., :8], small(pictures, training=False), rtol=1e-5)
    np.testing.assert_allclose(whole[..., 8:], lite(pictures, training=False), rtol=1e-5)
    joined.save_weights(tmp_path / "own.weights.h5")
    again = backbone(64, dataclasses.replace(config, weights=str(tmp_path / "own.weights.h5")))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(pictures, training=False)), whole)


def test_joined_backbones_have_to_fit():
    sides = r"feature maps are of one size.*\[\[8, 8\], \[2, 2\]\]"
    with pytest.raises(ValueError, match=sides):
        backbone(64, ImageEncoderConfig("small+efficientnet_lite0", "", (4, 8)))
    with pytest.raises(ValueError, match=r"image_encoder.backbone: expected one of .*received ''"):
        backbone(64, ImageEncoderConfig("efficientnet_lite0+", ""))
