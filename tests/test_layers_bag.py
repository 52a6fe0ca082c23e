"""Bags of words: against loops, what a missing part does, and what does not count."""

import keras
import numpy as np
import pytest
from keras import ops

from kfood import schema
from kfood.layers.bag import WordBag

WORDS = 9
SHARES = {schema.TITLE: 0.5, schema.INGREDIENTS: 2.0}


@pytest.fixture
def recipes():
    """Five recipes; 0, 1 and 9 and above do not count; word 8 is in every part that holds any."""
    title = np.array([[8, 3, 3, 0], [8, 2, 0, 0], [0, 0, 0, 0], [8, 1, 9, 0], [8, 5, 5, 5]], "int32")
    ingredients = np.array(
        [
            [[8, 4, 0], [4, 7, 4]],
            [[1, 0, 0], [12, 0, 0]],
            [[8, 2, 2], [0, 0, 0]],
            [[8, 7, 0], [6, 0, 0]],
            [[8, 3, 0], [3, 3, 0]],
        ],
        "int32",
    )
    return {schema.TITLE: title, schema.INGREDIENTS: ingredients}


def expected(recipes):
    """Of the module's docstring, word by word: vectors [recipes, words], idf [words], means by part."""
    parts = [(name, row) for name in SHARES for row in range(5)]
    kept = {(name, row): [w for w in recipes[name][row].ravel().tolist() if 2 <= w < WORDS] for name, row in parts}
    documents = [set(words) for words in kept.values() if words]
    idf = [np.log((1 + len(documents)) / (1 + sum(w in d for d in documents))) + 1 for w in range(WORDS)]
    units = {}
    for key, words in kept.items():
        bag = np.zeros(WORDS)
        for word in set(words):
            bag[word] = (1 + np.log(words.count(word))) * idf[word]
        units[key] = SHARES[key[0]] * bag / np.linalg.norm(bag) if words else None
    means = {
        name: np.mean([units[name, row] for row in range(5) if units[name, row] is not None], axis=0) for name in SHARES
    }
    vectors = np.zeros((5, WORDS))
    for (name, row), unit in units.items():
        if unit is not None:
            vectors[row] += unit - means[name]
    return vectors, idf, means


@pytest.fixture
def adapted(recipes):
    bag = WordBag(WORDS, SHARES)
    bag.adapt([{name: part[:2] for name, part in recipes.items()}, {name: part[2:] for name, part in recipes.items()}])
    return bag


def test_bags_against_loops(recipes, adapted):
    vectors, idf, means = expected(recipes)
    assert idf[8] == pytest.approx(1 + np.log(9 / 9))  # in each of the eight parts that hold a known word
    np.testing.assert_allclose(ops.convert_to_numpy(adapted.idf), idf, rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(adapted.means), list(means.values()), atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(adapted(recipes)), vectors, atol=1e-6)


def test_a_part_that_is_missing_or_unknown_stands_for_its_mean(recipes, adapted):
    alone = ops.convert_to_numpy(adapted(recipes | {schema.INGREDIENTS: np.zeros((5, 2, 3), "int32")}))
    unknown = ops.convert_to_numpy(adapted(recipes | {schema.INGREDIENTS: np.full((5, 2, 3), WORDS, "int32")}))
    np.testing.assert_array_equal(alone, unknown)
    _, _, means = expected(recipes)
    given = ops.convert_to_numpy(adapted(recipes))
    assert np.abs(given[0] - alone[0]).max() > 0.1
    np.testing.assert_array_equal(given[1], alone[1])  # its ingredients are all unknown
    np.testing.assert_array_equal(alone[2], 0.0)  # nothing is left of it
    # Over all recipes that have both, what a part adds is 0 on average.
    both = given - alone
    np.testing.assert_allclose(both[[0, 2, 3, 4]].mean(axis=0), 0.0, atol=1e-6)
    assert means[schema.TITLE][8] > 0.1


def test_neither_order_nor_padding_counts(recipes, adapted):
    moved = {
        schema.TITLE: np.pad(recipes[schema.TITLE][:, ::-1], [(0, 0), (2, 1)]),
        schema.INGREDIENTS: np.pad(recipes[schema.INGREDIENTS][:, ::-1], [(0, 0), (0, 3), (1, 0)]),
    }
    np.testing.assert_allclose(ops.convert_to_numpy(adapted(moved)), ops.convert_to_numpy(adapted(recipes)), atol=1e-6)


def test_a_saved_bag_knows_what_it_learned(recipes, adapted, tmp_path):
    inputs = {name: keras.Input(part.shape[1:], dtype="int32", name=name) for name, part in recipes.items()}
    model = keras.Model(inputs, adapted(inputs))
    assert model.output_shape == (None, WORDS)
    assert not model.trainable_weights
    model.save(tmp_path / "bag.keras")
    again = keras.models.load_model(tmp_path / "bag.keras")
    np.testing.assert_array_equal(again.predict(recipes, verbose=0), model.predict(recipes, verbose=0))
