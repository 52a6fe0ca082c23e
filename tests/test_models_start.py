"""Encoders that start as closed-form CCA has them: against NumPy's, by whitening, of the same features."""

import numpy as np
import pytest
from test_layers_discriminant import expected_map
from test_models_contract import make

from kfood import schema
from kfood.layers.features import frozen_part
from kfood.models.start import start_canonically

START = ("recipe_encoder.bag_words=28", "image_encoder.pooling=roots", "embedding_size=5")


def starting(name, spec, *overrides):
    return make(name, spec, compiled=False, overrides=(*START, *overrides))


def batches_of(rng, batch, steps=6):
    """Other pictures and words for the same shapes, each batch its own."""
    for _ in range(steps):
        order = {name: rng.permutation(8) for name in (schema.IMAGE, schema.TITLE, schema.INGREDIENTS)}
        yield {name: values[order[name]] if name in order else values for name, values in batch.items()}


def whitened(x, ridge):
    covariance = x.T @ x / len(x)
    width = len(covariance)
    values, vectors = np.linalg.eigh(covariance + ridge * np.trace(covariance) / width * np.eye(width))
    return vectors / np.sqrt(values) @ vectors.T


def cosines_by_definition(x, y, x_new, y_new, size, ridge):
    """Of new pairs: components of the whitened covariance, in proportion to their correlations."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    white_x, white_y = whitened(x - mean_x, ridge), whitened(y - mean_y, ridge)
    left, correlations, right = np.linalg.svd(white_x @ ((x - mean_x).T @ (y - mean_y) / len(x)) @ white_y)
    a = (x_new - mean_x) @ white_x @ left[:, :size] * correlations[:size]
    b = (y_new - mean_y) @ white_y @ right.T[:, :size] * correlations[:size]
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    return a @ b.T


@pytest.mark.parametrize("name", ["two_tower", "jne", "adamine", "r2gan", "acme"])
def test_embeddings_are_those_of_cca(name, tiny_spec, tiny_batch, rng):
    model = starting(name, tiny_spec)
    (bag,) = model.bags
    bag.adapt([tiny_batch])
    seen = list(batches_of(rng, tiny_batch))
    start_canonically(model, iter(seen), ridge=0.5)
    frozen = frozen_part(model.encoders["image"])

    def features(batches):
        x = np.concatenate([frozen(batch[schema.IMAGE], training=False) for batch in batches]).astype("float64")
        y = np.concatenate([bag({part: batch[part] for part in bag.shares}) for batch in batches]).astype("float64")
        return x, y

    expected = cosines_by_definition(*features(seen), *features([tiny_batch]), 5, 0.5)
    embeddings = model.predict(tiny_batch, verbose=0)
    received = embeddings["image"] @ embeddings["recipe"].T
    # The hyperbolic tangents bend; ACME's are two, and its normalisation takes a moment for a variance.
    assert np.abs(received - expected).max() < (0.15 if name == "acme" else 0.05)
    assert np.ptp(expected) > 0.8


def test_photos_of_classes_start_as_discriminants(tiny_spec, rng):
    model = make("alpha_gao", tiny_spec, compiled=False, overrides=("image_encoder.pooling=roots", "embedding_size=5"))
    tints = rng.uniform(50, 200, (tiny_spec.classes, 1, 1, 3))
    labels = np.concatenate([rng.permutation(tiny_spec.classes) for _ in range(8)]).astype("int32")
    photos = (tints[labels] + rng.normal(0, 40, (len(labels), 32, 32, 3))).clip(0, 255).astype("float32")
    seen = [{schema.IMAGE: photos[i : i + 10], schema.CLASS_ID: labels[i : i + 10]} for i in range(0, 40, 10)]
    start_canonically(model, iter(seen), ridge=0.5)
    x = np.asarray(frozen_part(model.encoders["image"])(photos, training=False), "float64")
    expected = (x - x.mean(axis=0)) @ expected_map(x, labels, 5, 0.5)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    received = model.predict({schema.IMAGE: photos}, verbose=0)["image"]
    np.testing.assert_allclose(received @ received.T, expected @ expected.T, atol=0.02)


def test_computed_features_stand_for_photos(tiny_spec, tiny_batch):
    models = [starting("two_tower", tiny_spec) for _ in range(2)]
    frozen = frozen_part(models[0].encoders["image"])
    computed = {name: values for name, values in tiny_batch.items() if name != schema.IMAGE}
    computed[schema.IMAGE_FEATURES] = frozen(tiny_batch[schema.IMAGE], training=False)
    for model, batch in zip(models, (tiny_batch, computed), strict=True):
        model.bags[0].adapt([batch])
        start_canonically(model, [batch], ridge=0.5)
    first, second = (model.encoders["image"].get_layer("image_embedding").get_weights() for model in models)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_cannot_start_so_says_why(tiny_spec, tiny_batch):
    for name in ("two_tower", "mcen"):
        with pytest.raises(ValueError, match=r"training\.start: expected 'random' for encoders that do not end"):
            start_canonically(make(name, tiny_spec, compiled=False), [tiny_batch], 1.0)
    with pytest.raises(ValueError, match="embedding_size: expected at most 8, the narrower side's number of features"):
        start_canonically(starting("two_tower", tiny_spec, "embedding_size=9"), [tiny_batch], 1.0)
    with pytest.raises(ValueError, match="embedding_size: expected at most 8, a photo's number of features"):
        start_canonically(make("alpha_gao", tiny_spec, compiled=False, overrides=("embedding_size=9",)), [], 1.0)
