"""Parts of recipes as queries: which parts are kept, what stays, and the command's report."""

import types

import numpy as np
import pytest

from kfood import schema
from kfood.evaluation import parts
from kfood.evaluation.embedding import Embeddings
from kfood.evaluation.protocols import Protocol, evaluate

PAIRS = 12


class Recipe:
    """Sum of a code of the title and a code of the instructions, which are other ones for each recipe."""

    input = dict.fromkeys([schema.TITLE, schema.INGREDIENTS, schema.INSTRUCTIONS])

    def __init__(self):
        self.given = []

    def predict_on_batch(self, inputs):
        self.given.append({name: bool(part.any()) for name, part in inputs.items()})
        angle = inputs[schema.TITLE][:, 0] * 0.1 + inputs[schema.INSTRUCTIONS][:, 0, 0] * 0.2
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype("float32")


@pytest.fixture
def split():
    number = np.arange(1, PAIRS + 1)
    recipes = {
        schema.ID: np.array([f"r{each}" for each in number]),
        schema.TITLE: np.stack([number, 0 * number], axis=1),
        schema.INGREDIENTS: np.ones((PAIRS, 2, 1), int),
        schema.INSTRUCTIONS: number[::-1, None, None] % 2,
    }
    batches = [{name: part[rows] for name, part in recipes.items()} for rows in (slice(0, 5), slice(5, PAIRS))]
    angle = number * 0.1
    image = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype("float32")
    return batches, Embeddings([], {"image": image, "recipe": np.zeros_like(image)})


def test_all_choices_of_parts_but_the_whole():
    assert parts.subsets("abc") == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    assert parts.subsets(["title"]) == []


def test_each_choice_is_evaluated_without_the_others(split):
    batches, embeddings = split
    encoder = Recipe()
    model = types.SimpleNamespace(encoders={"recipe": encoder, "image": None}, distance="cosine")
    protocol = Protocol(gallery=8, subsets=3, seed=2)
    found = parts.measure(model, batches, embeddings, protocol)
    assert list(found) == [" + ".join(kept) for kept in parts.subsets(encoder.input)]
    for kept, given in zip(parts.subsets(encoder.input), encoder.given[::2], strict=True):
        assert {name for name, there in given.items() if there} == set(kept)
    title, ingredients = found[schema.TITLE], found[schema.INGREDIENTS]
    assert title.directions["recipe_to_image"].recall[1].mean == 1.0  # the photos' codes are the titles'
    assert ingredients.directions["recipe_to_image"].recall[1].mean < 0.3  # one embedding for all
    both = found[f"{schema.TITLE} + {schema.INSTRUCTIONS}"].directions["image_to_recipe"].recall[1].mean
    assert both < 1.0
    whole = evaluate(embeddings.arrays, protocol, distance="cosine")
    for own, expected in zip(title.galleries, whole.galleries, strict=True):
        np.testing.assert_array_equal(own, expected)
    assert batches[0][schema.TITLE].any()  # what was left out was a copy
