"""The synthetic kitchen: recipe and photo pairs drawn from nothing but a seed, the embedded default dataset.

A recipe is made first (:mod:`kfood.data.kitchen.recipes`): a kind of dish, its visible ingredients with their amounts,
a way of cooking, and pantry ingredients that no photo shows. Its text names all of them; its photo
(:mod:`kfood.data.kitchen.drawing`) shows the visible ones, cooked that way, under conditions that the text does not
tell. Pairs are learnable, and not trivially so.

Every pair comes from its own random streams, seeded by ``(seed, index, purpose)``: pair 7 is the same whether 10 or
10,000 pairs are asked for, and the same seed gives the same bytes.

Ingredients, dishes, looks and pictures are tables beside the code: ``ingredients.csv``, ``recipes.json``,
``looks.json`` and ``pictures.json``. A new dish is an entry in the two tables of dishes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kfood.data.kitchen import drawing, recipes

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeRecord

SIZES = (64, 512)
"""Least and greatest side of a photo, pixels."""

CLASSES: tuple[str, ...] = ("background", *recipes.DISHES)
"""Food classes by id: 0 is the background, for recipes whose title does not name their dish."""

_BACKGROUND_SHARE = 0.04
_RECIPE, _LAYOUT, _NUISANCE, _GRAIN = range(4)


def split_of(index: int) -> str:
    """The split of a pair: of ten pairs in a row eight are for training, one for validation, one for testing."""
    return {8: "val", 9: "test"}.get(index % 10, "train")


def generate(pairs: int = 2000, size: int = 128, seed: int = 0) -> "Iterator[tuple[str, RecipeRecord]]":
    """Makes recipe and photo pairs.

    Args:
        pairs: how many; 80 % are for training, 10 % for validation and 10 % for testing.
        size: side of the square photos, 64 to 512 pixels.
        seed: the same seed gives the same bytes; pair i does not depend on ``pairs``.

    Yields:
        The split (``"train"``, ``"val"`` or ``"test"``) and the recipe with one JPEG photo, splits interleaved.

    Raises:
        ValueError: an argument is out of its range.
    """
    if pairs < 10:
        raise ValueError(f"pairs: expected at least 10, so that no split is empty, received {pairs}.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size: expected {SIZES[0]} to {SIZES[1]} pixels, received {size}.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or greater, received {seed}.")
    return ((split_of(index), _pair(index, size, seed)) for index in range(pairs))


def _pair(index: int, size: int, seed: int) -> "RecipeRecord":
    from kfood.data.dataset import RecipeRecord

    rng, layout, nuisance, grain = (
        np.random.default_rng((seed, index, purpose)) for purpose in (_RECIPE, _LAYOUT, _NUISANCE, _GRAIN)
    )
    recipe = recipes.compose(rng)
    background = bool(rng.random() < _BACKGROUND_SHARE)
    # Lists do not tell which ingredients are seen: the pantry stands anywhere.
    lines = [recipe.ingredients[k] for k in rng.permutation(len(recipe.ingredients)).tolist()]
    return RecipeRecord(
        id=f"kitchen-{seed}-{index:06d}",
        title=recipes.title(rng, recipe, background),
        ingredients=[recipes.ingredient_line(rng, name, level) for name, level in lines],
        ingredient_names=[name for name, _ in lines],
        instructions=recipes.instructions(rng, recipe),
        class_id=0 if background else CLASSES.index(recipe.dish),
        photos=[drawing.draw(recipe.scene, size, layout=layout, nuisance=nuisance, grain=grain)],
    )
