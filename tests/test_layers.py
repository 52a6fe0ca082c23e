"""Encoders and generators: against loops, and padding that changes nothing."""

import keras
import numpy as np
import oracles
import pytest
from keras import ops

from kfood import precision, schema
from kfood.layers import stackgan
from kfood.layers.image import ImageEncoderConfig, PhotoNormalization, image_tower
from kfood.layers.recipe import PartDropout, RecipeEncoderConfig, TokenMean, recipe_tower
from kfood.layers.recurrent import FinalStates, lengths


def test_lengths():
    tokens = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [2, 0, 5, 0], [1, 1, 1, 1]], "int32")
    assert ops.convert_to_numpy(lengths(tokens)).tolist() == [2, 0, 3, 4]
    assert ops.shape(lengths(tokens[None])) == (1, 4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_final_states_against_a_loop(rng, bidirectional):
    layer = FinalStates(3, bidirectional)
    inputs = rng.normal(size=(5, 6, 4)).astype("float32")
    counts = np.array([6, 1, 0, 4, 3], "int32")
    got = ops.convert_to_numpy(layer(inputs, counts))
    cells = [(layer.forward_cell, False)] + ([(layer.backward_cell, True)] if bidirectional else [])
    for row, count in enumerate(counts):
        expected = [
            oracles.lstm(inputs[row], *(w.numpy() for w in cell.cell.weights), count, backward)
            for cell, backward in cells
        ]
        np.testing.assert_allclose(got[row], np.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "policy", "cudnn"),
    [("jax", "float32", "auto"), ("jax", "mixed_bfloat16", False), ("tensorflow", "mixed_bfloat16", "auto")],
)
def test_a_recurrence_of_16_bits_leaves_the_cudnn_of_jax_alone(backend, policy, cudnn, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with precision.policy(policy):
        layer = FinalStates(3)
    assert layer.forward_cell.use_cudnn == layer.backward_cell.use_cudnn == cudnn


def test_token_mean():
    vectors = np.arange(2 * 1 * 3 * 2, dtype="float32").reshape(2, 1, 3, 2)
    tokens = np.array([[[4, 7, 0]], [[0, 0, 0]]], "int32")
    got = ops.convert_to_numpy(TokenMean()(vectors, tokens))
    np.testing.assert_allclose(got, [[[1.0, 2.0]], [[0.0, 0.0]]])


def test_word_dropout_leaves_whole_words_out_in_training_only(tiny_spec, tiny_batch):
    import dataclasses

    batch = {name: tiny_batch[name] for name in tiny_spec.recipe_inputs()}
    tower = recipe_tower(tiny_spec, dataclasses.replace(CONFIG, word_dropout=0.5), 8)
    np.testing.assert_array_equal(tower(batch, training=False), tower(batch, training=False))
    assert np.abs(tower(batch, training=True) - tower(batch, training=True)).max() > 1e-3
    layers = [layer for layer in tower.layers if isinstance(layer, keras.layers.Dropout) and layer.noise_shape]
    assert len(layers) == 3  # ingredients, instructions, title
    (of_sentences, _) = [layer for layer in layers if len(layer.noise_shape) == 3]  # and of the title
    vectors = of_sentences(np.ones((40, 5, 6), "float32"), training=True).numpy()
    assert set(np.unique(vectors)) == {0.0, 2.0}
    assert np.all(np.ptp(vectors, axis=-1) == 0)  # whole vectors


def test_part_dropout_leaves_out_whole_parts_of_some_recipes_and_never_all():
    recipes, rate = 4000, 0.3
    parts = {name: np.arange(1, recipes * 4 + 1, dtype="int32").reshape(recipes, 2, 2) for name in "abc"}
    parts["c"][: recipes // 2] = 0  # half of them have two parts only
    layer = PartDropout(rate)
    for name, part in layer(parts, training=False).items():
        np.testing.assert_array_equal(part, parts[name])
    dropped = {name: ops.convert_to_numpy(part) for name, part in layer(parts, training=True).items()}
    kept = {name: part != 0 for name, part in dropped.items()}
    for name, part in dropped.items():
        whole, gone = kept[name].all(axis=(1, 2)), ~kept[name].any(axis=(1, 2))
        assert np.all(whole | gone), name
        np.testing.assert_array_equal(part[whole], parts[name][whole])
    left = np.stack([kept[name].any(axis=(1, 2)) for name in parts], axis=1)
    assert left.any(axis=1).all()
    # A part goes by its own draw, but where all would go one of n, each as likely, stays.
    for half, n in ((left[: recipes // 2, :2], 2), (left[recipes // 2 :], 3)):
        expected = rate - rate**n / n
        error = 4 * np.sqrt(expected * (1 - expected) / len(half))
        np.testing.assert_allclose(1 - half.mean(axis=0), expected, atol=error)
    layer = PartDropout(0.9)
    one = layer({"a": parts["a"], "b": 0 * parts["b"]}, training=True)
    np.testing.assert_array_equal(one["a"], parts["a"])  # the only part that is there


CONFIG = RecipeEncoderConfig(word_size=6, ingredient_units=4, word_units=3, instruction_units=5)


def _repadded(batch, wide, narrow):
    """The same recipes in a batch of wider limits."""
    out = {}
    for name, (shape, dtype) in wide.recipe_inputs().items():
        array = np.zeros((len(batch[name]), *shape), dtype)
        array[tuple(slice(0, n) for n in batch[name].shape)] = batch[name]
        out[name] = array
    return out


def test_recipe_embedding_does_not_change_with_padding(rng, tiny_spec, tiny_batch):
    import dataclasses

    wide = dataclasses.replace(
        tiny_spec, ingredients=7, ingredient_words=6, instructions=5, instruction_words=9, title_words=8
    )
    narrow_tower, wide_tower = recipe_tower(tiny_spec, CONFIG, 8), recipe_tower(wide, CONFIG, 8)
    wide_tower.set_weights(narrow_tower.get_weights())
    batch = {name: tiny_batch[name] for name in tiny_spec.recipe_inputs()}
    batch["instructions"][0] = 0  # a recipe without instructions
    batch["title"][1] = 0
    got = narrow_tower.predict_on_batch(batch)
    np.testing.assert_allclose(wide_tower.predict_on_batch(_repadded(batch, wide, tiny_spec)), got, atol=1e-6)
    assert np.ptp(got, axis=0).min() > 1e-4  # and recipes differ


def test_recipe_tower_reads_every_part(tiny_spec, tiny_batch):
    tower = recipe_tower(tiny_spec, CONFIG, 8)
    batch = {name: tiny_batch[name] for name in tiny_spec.recipe_inputs()}
    before = tower.predict_on_batch(batch)
    for name in batch:
        changed = {key: value.copy() for key, value in batch.items()}
        changed[name] = np.where(changed[name] > 0, (changed[name] % 9) + 1, 0).astype("int32")
        assert np.abs(tower.predict_on_batch(changed) - before).max() > 1e-4, name


def test_precomputed_sentence_vectors(rng):
    spec = schema.RecipeSpec(32, 4, 1, "name", 3, 5, instruction_vectors=7, ingredient_vocabulary=12)
    tower = recipe_tower(spec, CONFIG, 8)
    assert list(tower.input) == ["ingredients", "instruction_vectors"]
    vectors = rng.normal(size=(2, 3, 7)).astype("float32")
    vectors[1, 1:] = 0.0
    got = tower.predict_on_batch(
        {"ingredients": np.array([[[3], [4], [0], [0]]] * 2, "int32"), "instruction_vectors": vectors}
    )
    assert got.shape == (2, 8)
    assert np.abs(got[0] - got[1]).max() > 1e-4


def test_photo_normalization_is_what_the_applications_want(rng):
    photos = rng.uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    for mode in ("caffe", "torch", "tf"):
        expected = keras.applications.imagenet_utils.preprocess_input(photos.copy(), mode=mode)
        np.testing.assert_allclose(PhotoNormalization(mode)(photos), expected, atol=1e-4)
    np.testing.assert_array_equal(PhotoNormalization("none")(photos), photos)


def test_image_towers(rng, tiny_spec, tiny_batch):
    small = image_tower(tiny_spec, ImageEncoderConfig("small", "", (4, 8)), 6)
    assert small.predict_on_batch({"image": tiny_batch["image"]}).shape == (8, 6)
    by_name = image_tower(tiny_spec, ImageEncoderConfig("MobileNetV2", ""), 6)
    assert by_name.predict_on_batch({"image": tiny_batch["image"]}).shape == (8, 6)


def test_backbone_errors(tiny_spec, tmp_path):
    with pytest.raises(ValueError, match=r"expected one of .'small'.*ResNet50.*received 'ResNet5'"):
        image_tower(tiny_spec, ImageEncoderConfig("ResNet5", ""), 6)
    with pytest.raises(OSError, match=r"image_encoder\.weights: expected"):
        image_tower(tiny_spec, ImageEncoderConfig("small", str(tmp_path / "none.h5")), 6)


def test_backbone_weights_from_a_file(tiny_spec, tiny_batch, tmp_path):
    config = ImageEncoderConfig("small", "", (4, 8))
    first = image_tower(tiny_spec, config, 6)
    path = str(tmp_path / "backbone.weights.h5")
    first.get_layer("backbone").save_weights(path)
    second = image_tower(tiny_spec, ImageEncoderConfig("small", path, (4, 8)), 6)
    photos = tiny_batch["image"]
    np.testing.assert_allclose(
        first.get_layer("backbone").predict_on_batch(photos), second.get_layer("backbone").predict_on_batch(photos)
    )


def test_stackgan_shapes_and_condition(rng):
    generator = stackgan.generator(6, 3, 32, 4, 1)
    condition = rng.normal(size=(4, 6)).astype("float32")
    noise = rng.normal(size=(4, 3)).astype("float32")
    pictures = generator.predict_on_batch([condition, noise])
    assert pictures.shape == (4, 32, 32, 3)
    assert np.abs(pictures).max() <= 1.0
    assert np.abs(generator.predict_on_batch([condition[::-1], noise]) - pictures).max() > 1e-4
    features, judge = stackgan.discriminator(32, 6, 4)
    assert features.output_shape == (None, 4, 4, 32)
    logits = judge.predict_on_batch([features.predict_on_batch(pictures), condition])
    assert logits.shape == (4, 1)
    assert stackgan.class_head((4, 4, 32), 5).output_shape == (None, 5)


@pytest.mark.slow
def test_stackgan_at_the_published_size_has_the_published_layers():
    """StackGAN-v2 at 128: 4×4×1024 → 64×64×64 → 128×128×32, and 128 → 4×4 in five halvings."""
    generator = stackgan.generator(128, 100, 128, 64, 2)
    assert generator.get_layer("first").units == 4 * 4 * 1024 * 2
    assert generator.get_layer("up3").filters == 2 * 64
    assert generator.get_layer("up_last").filters == 2 * 32
    features, _ = stackgan.discriminator(128, 128, 64)
    assert features.get_layer("down4").filters == 1024
    assert features.output_shape == (None, 4, 4, 512)


def test_picture_size_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="power of two of at least 16, received 96"):
        stackgan.generator(6, 3, 96, 4, 1)


def test_gated_linear_unit(rng):
    x = rng.normal(size=(2, 6)).astype("float32")
    np.testing.assert_allclose(stackgan.GatedLinearUnit()(x), x[:, :3] / (1 + np.exp(-x[:, 3:])), rtol=1e-5)
