"""Thumbnails judged by a classifier of real photos: right for true ones, at chance for ones that ignore the recipe."""

import types

import keras
import numpy as np
import pytest

from kfood import schema
from kfood.configs import experiment
from kfood.data.dataset import open_dataset
from kfood.data.pipeline import recipe_batches
from kfood.evaluation.thumbnails import thumbnail_accuracy
from kfood.models.base import Decoder

SIDE = 16


@pytest.fixture(scope="module")
def dataset(kitchen):
    return open_dataset(kitchen)


def _cheating_model(dataset, spec, honest):
    """Its embedding is the class's mean photo itself (or always the same one), and its decoder hands it out."""
    batches = list(recipe_batches(dataset, "train", spec, 16, training=False))
    photos = np.concatenate([np.asarray(batch[schema.IMAGE]) for batch in batches])
    labels = np.concatenate([np.asarray(batch[schema.CLASS_ID]) for batch in batches])
    small = photos.reshape(len(photos), SIDE, 2, SIDE, 2, 3).mean((2, 4))
    table = np.stack([small[labels == c][0] if (labels == c).any() else small[0] for c in range(spec.classes)])
    if not honest:
        table[:] = table[1]
    label = keras.Input((), dtype="int32", name=schema.CLASS_ID)
    looked_up = keras.layers.Embedding(spec.classes, SIDE * SIDE * 3, weights=[table.reshape(spec.classes, -1)])
    flat = keras.Input((SIDE * SIDE * 3,))
    picture = keras.Model(flat, keras.layers.Reshape((SIDE, SIDE, 3))(flat))
    return types.SimpleNamespace(
        name="cheat",
        spec=spec,
        encoders={"recipe": keras.Model({schema.CLASS_ID: label}, looked_up(label))},
        decoders={"picture": Decoder(("recipe",), picture)},
    )


@pytest.mark.slow
def test_true_thumbnails_are_named_and_one_for_all_is_not(dataset):
    spec = dataset.fit(experiment("r2gan", "small", "", ("spec.image_size=32",)).spec)
    found = {
        honest: thumbnail_accuracy(_cheating_model(dataset, spec, honest), dataset, split="train", epochs=150)
        for honest in (True, False)
    }
    assert set(found[True]) == {"photos", "recipe", "chance", "items"}
    assert found[True]["items"] == sum(text[schema.CLASS_ID] != 0 for text in dataset.texts("train"))
    assert found[True]["photos"] == found[False]["photos"] > 0.5  # the same classifier, on what it was trained on
    assert found[True]["recipe"] > 0.5
    assert found[False]["recipe"] <= found[False]["chance"]


def test_a_model_without_pictures_is_refused(dataset):
    with pytest.raises(ValueError, match="Expected a model with a decoder 'picture', received plain"):
        thumbnail_accuracy(types.SimpleNamespace(name="plain", decoders={}), dataset)
