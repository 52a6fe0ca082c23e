"""The two-tower model: a learned temperature and bias, recipes of one title."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
from keras import ops
from test_models_contract import make

from kfood.models.two_tower import Temperature, TwoTowerConfig, title_numbers


def _cosines(a, b):
    return np.array([[1.0 - oracles.cosine_distance(x, y) for y in b] for x in a], "float32")


def test_the_temperature_is_learned_and_bounded(rng):
    layer = Temperature(0.07)
    layer.build()
    similarities = rng.uniform(-1, 1, (3, 3)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(layer(similarities)), similarities / 0.07, rtol=1e-4)
    layer.log_scale.assign(20.0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(similarities)), similarities * 100, rtol=1e-4)
    with pytest.raises(ValueError, match="temperature: expected a positive number"):
        TwoTowerConfig(temperature=0.0)


def test_the_sigmoid_has_a_learned_bias(tiny_spec, tiny_batch, tmp_path):
    model = make("two_tower", tiny_spec, overrides=("loss=sigmoid", "bias=1", "temperature=0.5"))
    image, recipe = (ops.convert_to_numpy(x) for x in model(tiny_batch).values())
    numbers = np.array([0, 1, 2, 3, 4, 5, 1, 7])
    alike = numbers[:, None] == numbers[None, :]
    expected = oracles.pairwise_sigmoid(_cosines(image, recipe) / 0.5 + 1.0, alike)
    batch = tiny_batch | {"recipe_number": numbers}
    assert float(model.compute_losses(batch)["contrastive"]) == pytest.approx(expected, rel=1e-3)
    model.compile(keras.optimizers.Adam(0.003), run_eagerly=True)
    losses = [model.train_on_batch(batch, return_dict=True)["contrastive"] for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    assert float(model.temperature.added.numpy()) < 0.99  # most of a batch is no pair
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.temperature.added.numpy()) == float(model.temperature.added.numpy())
    assert float(loaded.compute_losses(batch)["contrastive"]) == pytest.approx(
        float(model.compute_losses(batch)["contrastive"]), rel=1e-5
    )
    with pytest.raises(ValueError, match="loss: expected one of"):
        TwoTowerConfig(loss="hinge")


TITLES = np.array(
    [
        [5, 9, 0, 0],
        [9, 5, 0, 0],  # other words in other places
        [5, 9, 0, 0],
        [0, 0, 0, 0],  # no title is equal to none
        [0, 0, 0, 0],
        [5, 1, 0, 0],  # an unknown word may be any
        [5, 1, 0, 0],
        [5, 9, 9, 0],
    ],
    "int32",
)
RECIPES = np.array([10, 11, 12, 13, 13, 15, 16, 17])
SAME = {frozenset(pair) for pair in ((0, 2), (3, 4))}
"""Of one title, and of one recipe."""


def _alike():
    return np.array([[i == j or frozenset((i, j)) in SAME for j in range(8)] for i in range(8)])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_recipes_of_one_title_are_no_wrong_answers(loss, tiny_spec, tiny_batch):
    settings = (f"loss={loss}", "temperature=0.5", "bias=1")
    batch = tiny_batch | {"title": TITLES, "recipe_number": RECIPES}
    found = {}
    for value in ("true", "false"):
        model = make("two_tower", tiny_spec, compiled=False, overrides=(*settings, f"equal_titles={value}"))
        found[value] = float(model.compute_losses(batch)["contrastive"])
    image, recipe = (ops.convert_to_numpy(x) for x in model(batch).values())
    logits, total = _cosines(image, recipe) / 0.5 + (loss == "sigmoid"), 0.0
    for i in range(8):
        for j in range(8):
            if loss == "sigmoid" and (i == j or not _alike()[i, j]):
                total += np.log1p(np.exp(-logits[i, j] if i == j else logits[i, j])) / 8
        for side in (logits, logits.T) if loss == "softmax" else ():
            choices = [side[i, j] for j in range(8) if i == j or not _alike()[i, j]]
            total += (np.log(np.sum(np.exp(choices))) - side[i, i]) / 16
    assert found["true"] == pytest.approx(total, rel=1e-4)
    assert abs(found["false"] - found["true"]) > 1e-3


def test_numbers_of_titles():
    numbers = ops.convert_to_numpy(title_numbers(TITLES))
    assert numbers.dtype == "int64"
    assert numbers.tolist()[3:7] == [0, 0, 0, 0]
    assert numbers[0] == numbers[2] == 5 * 1_000_003**3 + 9 * 1_000_003**2
    assert len({*numbers.tolist()}) == 4
    long = np.tile(np.arange(2, 16, dtype="int32"), (3, 1))  # beyond 64 bits
    long[1, 13], long[2, 0] = 16, 3
    first, second, third = (int(number) for number in title_numbers(long))
    assert len({first, second, third}) == 3
    assert second - first == 1


def test_a_memory_knows_titles_again(tiny_spec, tiny_batch):
    """What is remembered of a step of the same recipes under other numbers counts only where the title is another."""
    model = make("two_tower", tiny_spec, overrides=("memory=8", "memory_warmup=0", "equal_titles=true"))
    model.train_on_batch(tiny_batch | {"title": TITLES, "recipe_number": RECIPES})
    features = model.embed(tiny_batch | {"title": TITLES, "recipe_number": RECIPES + 100}, training=True)
    _, counted = model.memory(features["image"], features["recipe"], features["recipes"])
    known = [0, 1, 2, 7]
    expected = [
        [not (i in known and j in known and (TITLES[i] == TITLES[j]).all()) for j in range(8)] for i in range(8)
    ]
    np.testing.assert_array_equal(ops.convert_to_numpy(counted), expected)


def test_titles_that_are_not_read_are_not_compared(tiny_spec):
    with pytest.raises(ValueError, match="equal_titles: expected false for a spec that reads no titles"):
        make("two_tower", dataclasses.replace(tiny_spec, title_words=0), overrides=("equal_titles=true",))
