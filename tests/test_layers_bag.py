"""Bags of words: against loops, what a missing part does, and what does not count."""

import keras
import numpy as np
import pytest
from keras import ops

from kfood import schema
from kfood.layers.bag import WordBag
from kfood.layers.directions import leading_directions

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


THREE = {schema.TITLE: 0.7, schema.INGREDIENTS: 1.0, schema.INSTRUCTIONS: 1.4}


def three_parts(rng, count):
    """Recipes whose instructions repeat their ingredients' words, and whose titles hint at them; some lack a part."""
    kind = rng.integers(0, 3, count)
    title = np.stack([2 + kind, rng.integers(5, 9, count)], axis=1)
    ingredients = np.stack([9 + kind, 12 + kind, rng.integers(15, 20, count)], axis=1)[:, None, :]
    instructions = np.concatenate([ingredients, rng.integers(15, 24, (count, 1, 3))], axis=1)
    title[::7], ingredients[3::11], instructions[5::13] = 0, 0, 0
    parts = {schema.TITLE: title, schema.INGREDIENTS: ingredients, schema.INSTRUCTIONS: instructions}
    return {name: part.astype("int32") for name, part in parts.items()}


def filled_by_least_squares(bag, seen, asked):
    """Ridge regression of the missing on the present, as rows of a least-squares problem, in the space of words."""

    def added(recipes):
        alone = [{each: part * (each == name) for each, part in recipes.items()} for name in THREE]
        return np.stack([ops.convert_to_numpy(bag(recipe)) for recipe in alone], axis=1).astype("float64")

    learned, received = added(seen), added(asked)
    whole = learned[np.all(np.any(learned != 0, axis=2), axis=1)]
    ridge = 0.5 * np.sum(learned**2) / len(learned) / bag.words * len(whole)
    rows = []
    for recipe in received:
        there = np.any(recipe != 0, axis=1)
        total = recipe.sum(axis=0)
        if there.any() and not there.all():
            x, y = whole[:, there].sum(axis=1), whole[:, ~there].sum(axis=1)
            x = np.concatenate([x, np.sqrt(ridge) * np.eye(bag.words)])
            weights, *_ = np.linalg.lstsq(x, np.concatenate([y, np.zeros((bag.words,) * 2)]), rcond=None)
            total = total + total @ weights
        rows.append(total)
    return np.array(rows)


def test_missing_parts_are_filled_in_by_ridge_regression(rng):
    seen, asked = three_parts(rng, 120), three_parts(rng, 30)
    asked[schema.TITLE][1], asked[schema.INGREDIENTS][1] = 0, 0
    asked[schema.INGREDIENTS][2], asked[schema.INSTRUCTIONS][2] = 0, 0
    for part in asked.values():
        part[4] = 0  # nothing at all
    words = 24
    plain, filling = WordBag(words, THREE), WordBag(words, THREE, filling=words)
    batches = [{name: part[start : start + 50] for name, part in seen.items()} for start in (0, 50, 100)]
    plain.adapt(batches)
    filling.adapt(batches)
    received = ops.convert_to_numpy(filling(asked))
    np.testing.assert_allclose(received, filled_by_least_squares(plain, seen, asked), atol=2e-4)
    whole = np.array([all(part[row].any() for part in asked.values()) for row in range(30)])
    np.testing.assert_array_equal(received[whole], ops.convert_to_numpy(plain(asked))[whole])
    np.testing.assert_array_equal(received[4], 0.0)


def test_a_title_brings_its_ingredients_along(rng):
    recipes = three_parts(rng, 200)
    bag = WordBag(24, THREE, filling=18)
    bag.adapt([recipes])
    alone = {name: part if name == schema.TITLE else np.zeros_like(part) for name, part in recipes.items()}
    given = ops.convert_to_numpy(bag(alone))
    titled = np.flatnonzero(recipes[schema.TITLE][:, 0])
    for kind in range(3):
        own = titled[recipes[schema.TITLE][titled, 0] == 2 + kind]
        assert (given[own][:, [9 + kind, 12 + kind]] > 0.1).all()
        assert (given[own][:, 9 + (kind + 1) % 3] < 0.0).all()


def test_leading_directions_are_eigenvectors(rng):
    points = rng.normal(size=(300, 80)) * np.linspace(3.0, 0.1, 80)
    products = points.T @ points
    values, vectors = np.linalg.eigh(products)
    found = leading_directions(products, 5)
    np.testing.assert_allclose(np.abs(np.sum(found * vectors[:, ::-1][:, :5], axis=0)), 1.0, atol=1e-3)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(np.diag(found.T @ products @ found), values[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(np.abs(leading_directions(products, 80).T @ vectors[:, ::-1]), np.eye(80), atol=1e-6)


def test_a_saved_bag_that_fills_in(rng, tmp_path):
    recipes = three_parts(rng, 40)
    bag = WordBag(24, THREE, filling=100)
    bag.adapt([recipes])
    assert bag.directions.shape == (24, 24)  # no more directions than words
    inputs = {name: keras.Input(part.shape[1:], dtype="int32", name=name) for name, part in recipes.items()}
    model = keras.Model(inputs, bag(inputs))
    model.save(tmp_path / "bag.keras")
    again = keras.models.load_model(tmp_path / "bag.keras")
    np.testing.assert_array_equal(again.predict(recipes, verbose=0), model.predict(recipes, verbose=0))
