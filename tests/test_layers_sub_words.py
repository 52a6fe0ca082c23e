"""Recipes by the text encoder of a preset of keras-hub, against the preset's own preprocessing and embeddings."""

import dataclasses
import json
import shutil
import sys

import keras
import numpy as np
import pytest
from conftest import others_slow, tiny_pairs, tiny_recipes

from kfood.configs import experiment
from kfood.layers import presets, sub_words
from kfood.models import MODELS, load_run
from kfood.training import TrainingRun

pytest.importorskip("keras_hub")
import tiny_presets

KINDS = ("CLIP", "SigLIP")
WORDS = "apple pie bake sugar flour 1 2 cup grüne soße applepie ½ 日本 title".split()
WORDS += [f"word{number}" for number in range(tiny_recipes().word_vocabulary - 2 - len(WORDS))]
NAMES = ["apple pie", "sugar", "grüne soße", "cup", "flour", "bake 1", "2", "title", "pie", "1 2 cup"]
OVERRIDES = ("embedding_size=16", "recipe_encoder.dropout=0", "recipe_encoder.part_dropout=0")


@pytest.fixture(params=KINDS)
def preset(request, tmp_path, rng):
    """(kind, ``hub:`` and the folder, network, its own preprocessing)."""
    folder = tmp_path / "preset"
    return request.param, f"hub:{folder}", *tiny_presets.save(request.param, folder, rng)


def two_tower(name, spec, *overrides, fill=True):
    """Both sides of a preset, with its weights, its sub-words looked up."""
    sides = (f"image_encoder.backbone={name}", "image_encoder.weights=imagenet", f"recipe_encoder.backbone={name}")
    chosen = experiment("two_tower", "small", overrides=(*sides, *OVERRIDES, *overrides))
    model = MODELS["two_tower"].load()(chosen.model, spec)
    if fill:
        for layer in sub_words.tables(model):
            layer.fill(presets.tokenizer(name)({"words": WORDS, "ingredients": NAMES}[layer.vocabulary]))
    return model


def spelled(row, vocabulary=WORDS):
    return " ".join(vocabulary[word - 2] for word in np.ravel(row) if word > 1)


def test_sub_words_are_those_of_the_presets_own_preprocessing(preset):
    kind, name, _, preprocess = preset
    said = presets.described_texts(dataclasses.replace(experiment("jne").model.recipe_encoder, backbone=name), name)
    length = len(preprocess(""))
    layer = sub_words.SubWords(len(WORDS) + 2, "words", length, said["start"], said["end"], said["padding"])
    layer.build()
    assert layer.fill(presets.tokenizer(name)(WORDS)) == 0
    rows = [
        [2, 3, 0, 0, 0, 0],
        [0, 5, 1, 0, 4, 1],  # unknown words and padding, wherever they stand
        [2, 2, 2, 2, 2, 2],
        [12, 11, 6, 10, 14, 3],  # longer than a text may be
        [10, 10, 1, 3, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
    ]
    texts, known = (np.asarray(each) for each in layer(np.array(rows, "int32")))
    assert texts.shape == (7, length)
    assert texts.dtype == "int32"
    np.testing.assert_array_equal(texts, [preprocess(spelled(row)) for row in rows])
    np.testing.assert_array_equal(known[:, 0], [True, True, True, True, True, False, False])
    assert (said["start"] is None) == (kind == "SigLIP")
    wider, _ = layer(np.pad(np.array(rows, "int32"), ((0, 0), (3, 40))))
    np.testing.assert_array_equal(wider, texts)  # whatever the padding
    narrow, _ = layer(np.array([[3]], "int32"))
    np.testing.assert_array_equal(narrow, [preprocess("pie")])


def test_what_a_table_holds():
    layer = sub_words.SubWords(5, "words", 4, None, 1, 0)
    layer.build()
    texts, known = layer(np.array([[2, 3]], "int32"))
    assert not np.any(known)  # nothing has been filled in
    assert np.asarray(texts).tolist() == [[1, 0, 0, 0]]
    assert layer.fill([[7], [], range(10, 40)]) == 1  # one of three was cut
    assert np.asarray(layer.table)[4].tolist() == list(range(10, 26))
    texts, known = layer(np.array([[3, 2, 4], [3, 3, 0]], "int32"))
    assert np.asarray(texts).tolist() == [[7, 10, 11, 1], [1, 0, 0, 0]]  # a word without sub-words is passed over
    assert np.asarray(known).tolist() == [[True], [False]]
    with pytest.raises(ValueError, match="expected those of 3 words, received 2"):
        layer.fill([[1], [2]])
    again = sub_words.SubWords.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("unit", ["word", "name"])
def test_a_recipe_is_its_parts_as_the_preset_has_them(preset, unit, rng):
    """Part by part through the preset's own doors, joined by the linear layer; zeros where a part says nothing."""
    kind, name, network, preprocess = preset
    names = {"ingredient_unit": "name", "ingredient_words": 1} if unit == "name" else {}
    model = two_tower(name, dataclasses.replace(tiny_recipes(), **names))
    batch = {key: value for key, value in tiny_pairs(rng).items() if key in model.spec.recipe_inputs()}
    if names:
        batch["ingredients"] = np.array([[2, 4, 11, 0], [1, 5, 0, 0], [0, 0, 0, 0], *([[3, 0, 0, 0]] * 5)])[..., None]
    batch["title"][3] = 0
    batch["instructions"][4] = 1  # unknown words alone
    width = tiny_presets.WIDTHS[kind]
    head = model.encoders["recipe"].get_layer("recipe_embedding")
    head.kernel.assign(rng.normal(size=(3 * width, 16)))  # not the mean of its parts
    head.bias.assign(rng.normal(size=16))
    expected = []
    for row in range(8):
        parts = []
        for part in ("title", "ingredients", "instructions"):
            text = spelled(batch[part][row], NAMES if names and part == "ingredients" else WORDS)
            vector = np.asarray(network.get_text_embeddings(preprocess(text)[None]))[0] if text else np.zeros(width)
            parts.append(vector)
        hidden = np.tanh(np.concatenate(parts) @ np.asarray(head.kernel) + np.asarray(head.bias))
        expected.append(hidden / np.linalg.norm(hidden))
    np.testing.assert_allclose(model(batch)["recipe"], expected, atol=2e-5)
    assert np.ptp(expected, axis=0).max() > 0.1


def test_cosines_start_as_the_presets_own(preset, rng):
    _, name, network, preprocess = preset
    model = two_tower(name, tiny_recipes())
    batch = tiny_pairs(rng)
    batch["ingredients"] *= 0
    batch["instructions"] *= 0
    for side in ("image", "recipe"):  # so short that the hyperbolic tangent does not bend
        kernel = model.encoders[side].get_layer(f"{side}_embedding").kernel
        kernel.assign(kernel * 1e-3)
    found = model(batch)
    scaled = batch["image"] * np.float32(tiny_presets.SCALE) + np.float32(tiny_presets.OFFSET)
    images = np.asarray(network.get_vision_embeddings(scaled))
    titles = np.array([preprocess(spelled(row)) for row in batch["title"]])
    texts = np.asarray(network.get_text_embeddings(titles))
    images, texts = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (images, texts))
    said = np.array([bool(spelled(row)) for row in batch["title"]])
    assert said.sum() > 4
    cosines = np.asarray(found["image"]) @ np.asarray(found["recipe"]).T
    np.testing.assert_allclose(cosines[:, said], (images @ texts.T)[:, said], atol=1e-3)


def test_trained_saved_and_loaded_without_the_preset(preset, tiny_batch, tmp_path):
    _, name, _, _ = preset
    model = two_tower(name, tiny_recipes(), "loss=sigmoid", "temperature=0.1")
    model.compile("adam", run_eagerly=True)
    losses = [model.train_on_batch(tiny_batch, return_dict=True)["loss"] for _ in range(4)]
    assert losses[-1] < losses[0]
    expected = {side: np.asarray(values) for side, values in model(tiny_batch).items()}
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    shutil.rmtree(tmp_path / "preset")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for side, values in expected.items():
        np.testing.assert_array_equal(loaded(tiny_batch)[side], values)
    # As a run is loaded: from settings as text, without what weights started from.
    anew = MODELS["two_tower"].load()(json.loads(json.dumps(model.get_config()["config"])), tiny_recipes())
    anew.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(anew(tiny_batch)["recipe"], expected["recipe"])
    assert {layer.vocabulary for layer in sub_words.tables(anew)} == {"words"}


@pytest.mark.parametrize("preset", others_slow(KINDS, ["CLIP"]), indirect=True)
def test_both_sides_are_exported(preset, tiny_batch):
    from kfood.export import parity, saved_model
    from kfood.export.onnx import convert

    model = two_tower(preset[1], tiny_recipes())
    expected = model(tiny_batch)
    with saved_model.portable(model):
        endpoints = saved_model.tensor_endpoints(model)
        for side in ("image", "recipe"):
            run = parity.onnx_run(convert(endpoints[f"encode_{side}"]))
            for rows in (1, 3, 8):
                batch = {name: tiny_batch[name][:rows] for name in model.encoders[side].input}
                np.testing.assert_allclose(run(batch), expected[side][:rows], atol=1e-5)


def test_refused(tmp_path, rng, monkeypatch):
    import keras_hub

    spec, folder = tiny_recipes(), tmp_path / "clip"
    tiny_presets.save("CLIP", folder, rng)
    for overrides, message in (
        (["recipe_encoder.backbone=clip"], "expected nothing or hub:PRESET, received 'clip'"),
        (["recipe_encoder.backbone=hub:nosuch"], "expected a preset of keras-hub with texts.*received 'nosuch'"),
        (
            [f"recipe_encoder.backbone=hub:{folder}", "recipe_encoder.bag_words=5"],
            "expected recipe_encoder.bag_words=0",
        ),
        ([f"recipe_encoder.backbone=hub:{folder}", "recipe_encoder.weights=x"], "expected 'preset' or nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            MODELS["jne"].load()(experiment("jne", "small", overrides=tuple(overrides)).model, spec)
    reader = experiment("jne", "small", overrides=(f"recipe_encoder.backbone=hub:{folder}",)).model.recipe_encoder
    with pytest.raises(ValueError, match="instruction_vectors: expected 0"):
        sub_words.encoded_parts(dataclasses.replace(spec, instruction_vectors=3), reader, {})
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=6, num_layers=1, num_heads=1, hidden_dim=2, intermediate_dim=2, max_sequence_length=4
    )
    words = keras_hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    for part in (bert, words):
        part.save_to_preset(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"CLIP's or SigLIP's, received .*bert' \(it holds a BertBackbone\)"):
        presets.described_texts(reader, f"hub:{tmp_path / 'bert'}")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"with texts, CLIP's or SigLIP's, received .*clip' \("):
        presets.tokenizer(reader.backbone)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r"recipe_encoder\.backbone: expected the package keras-hub .*kfood\[hub\]"):
        presets.described_texts(reader, reader.backbone)


@pytest.mark.slow
def test_a_run_from_training_to_bundle(kitchen, tmp_path, rng, capsys):
    """Trained on a frozen picture side's features, resumed, exported and asked with text, the preset gone by then."""
    from kfood.data.dataset import open_dataset
    from kfood.data.text import RecipeTokenizer
    from kfood.export.bundle import export_bundle
    from kfood.export.runtime import Bundle
    from kfood.tools.main import main

    data, run, bundle, preset = (tmp_path / name for name in ("data", "run", "bundle", "preset"))
    shutil.copytree(kitchen, data)
    network, preprocess = tiny_presets.save("CLIP", preset, rng)
    frozen = ("training.freeze_image_epochs=-1", "training.views=1", "image_encoder.weights=imagenet")
    small = ("spec.image_size=32", "embedding_size=16", "training.batch_size=16", "training.epochs=1")
    sides = (f"image_encoder.backbone=hub:{preset}", f"recipe_encoder.backbone=hub:{preset}")
    settings = (*sides, *frozen, *small)
    train = ["train", "two_tower", "--preset", "small", "--data", str(data), "--run", str(run)]
    assert main([*train, *(part for setting in settings for part in ("--set", setting))]) == 0
    dataset = open_dataset(data)
    assert f"words: {len(dataset.words)} cut into sub-words" in capsys.readouterr().out
    chosen = experiment("two_tower", "small", overrides=settings)
    with TrainingRun(run, "two_tower", chosen, dataset, resume=True) as resumed:  # of the same settings
        assert resumed.progress.epoch == 1
    trained = load_run(run)
    (layer,) = sub_words.tables(trained)
    word = trained.spec.word_vocabulary // 2
    np.testing.assert_array_equal(layer(np.array([[word]], "int32"))[0][0], preprocess(dataset.words[word - 2]))
    moved = {  # by the first weight of each side
        side: np.abs(np.asarray(trained.encoders[side].get_layer(name).weights[0]) - np.asarray(own.weights[0])).max()
        for side, name, own in (
            ("image", "backbone", network.vision_encoder),
            ("recipe", "text_backbone", network.text_encoder),
        )
    }
    assert moved["image"] == 0 < 1e-4 < moved["recipe"]
    shutil.rmtree(preset)
    again = load_run(run)
    recipe = {"title": "Apple pie", "ingredients": ["2 apples", "sugar"], "instructions": ["Bake it."]}
    tokens = RecipeTokenizer(again.spec, dataset.words, dataset.ingredients)(
        [recipe["title"]], [recipe["ingredients"]], [recipe["instructions"]]
    )
    expected = np.asarray(trained.encoders["recipe"](tokens))
    np.testing.assert_array_equal(again.encoders["recipe"](tokens), expected)
    again.encoders.pop("image")  # exported above
    export_bundle(again, run, bundle)  # compares tokens in and text in with Keras, as SavedModel and as ONNX
    np.testing.assert_allclose(Bundle.open(bundle).encode_recipes([recipe]), expected, atol=1e-5)
