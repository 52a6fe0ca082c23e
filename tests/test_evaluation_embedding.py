"""Embedding a dataset: batches in, arrays out, with fakes and with a real functional model."""

import types

import numpy as np
import pytest

from kfood.evaluation.embedding import embed, embed_dataset


class Encoder:
    """Takes ``feature`` [batch, n]; returns [sum, 2 · sum] of each row."""

    def __init__(self, feature, output=None):
        self.input = {feature: None}
        self.output = output

    def predict_on_batch(self, inputs):
        assert list(inputs) == list(self.input)
        (values,) = inputs.values()
        if self.output is not None:
            return self.output
        total = np.asarray(values).sum(axis=1)
        return np.stack([total, 2 * total], axis=1).astype(np.float16)


def batches():
    rows = np.arange(10).reshape(5, 2)
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        yield {
            "id": np.array([f"é{i}".encode() for i in range(5)], object)[part],
            "image": rows[part],
            "recipe": -rows[part],
            "other": rows[part] * 7,
        }


def test_order_ids_last_partial_batch_and_progress():
    model = types.SimpleNamespace(encoders={"image": Encoder("image"), "recipe": Encoder("recipe")})
    done = []
    found = embed_dataset(model, batches(), keep=["other"], progress=done.append)
    assert found.ids == ["é0", "é1", "é2", "é3", "é4"]
    assert done == [2, 4, 5]
    sums = np.array([1, 5, 9, 13, 17])
    assert {name: array.dtype for name, array in found.arrays.items()} == {"image": np.float32, "recipe": np.float32}
    np.testing.assert_array_equal(found.arrays["image"], np.stack([sums, 2 * sums], axis=1))
    np.testing.assert_array_equal(found.arrays["recipe"], -found.arrays["image"])
    np.testing.assert_array_equal(found.features["other"], 7 * np.arange(10).reshape(5, 2))
    np.testing.assert_array_equal(embed(Encoder("image"), batches()), found.arrays["image"])


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="Expected at least one batch to embed, received none"):
        embed(Encoder("image"), [])
    with pytest.raises(
        ValueError, match=r"Expected feature 'title', an input of encoder 'encoder', .* received id, image"
    ):
        embed(Encoder("title"), batches())
    with pytest.raises(ValueError, match="'label', a feature to keep"):
        embed_dataset(types.SimpleNamespace(encoders={"image": Encoder("image")}), batches(), keep=["label"])
    with pytest.raises(ValueError, match=r"expected embeddings \[2, dim\], received \[2, 3, 1\]"):
        embed(Encoder("image", np.zeros((2, 3, 1))), batches())
    with pytest.raises(ValueError, match=r"in 1 of 2 rows, the first of them row 1 \(id é1\)"):
        embed(Encoder("image", np.array([[0.0], [np.nan]])), batches())


def test_a_functional_model_in_inference_mode():
    import keras
    import tensorflow as tf

    tokens = {"title": keras.Input((4,), dtype="int32", name="title"), "lines": keras.Input((3,), name="lines")}
    joined = keras.layers.Concatenate()([keras.ops.cast(tokens["title"], "float32"), tokens["lines"]])
    encoder = keras.Model(tokens, keras.layers.Dense(6)(keras.layers.Dropout(0.9)(joined)))
    generator = np.random.default_rng(0)
    title, lines = generator.integers(0, 9, (7, 4)), generator.standard_normal((7, 3)).astype(np.float32)
    features = {
        "id": [f"r{i}" for i in range(7)],
        "lines": lines,
        "title": title.astype(np.int32),
        "image": np.ones((7, 2)),
    }
    stream = tf.data.Dataset.from_tensor_slices(features).batch(3)
    found = embed_dataset(types.SimpleNamespace(encoders={"recipe": encoder}), stream)
    kernel, bias = encoder.layers[-1].get_weights()
    np.testing.assert_allclose(
        found.arrays["recipe"], np.concatenate([title, lines], axis=1) @ kernel + bias, rtol=1e-4, atol=1e-5
    )
    assert found.ids == [f"r{i}" for i in range(7)]
