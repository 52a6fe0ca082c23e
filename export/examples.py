"""Examples of a prepared dataset, for what an export measures, calibrates and warms up with."""

import dataclasses
import itertools
from typing import Any

import numpy as np

from kfood import schema
from kfood.data import dataset as datasets
from kfood.data import pipeline

MOST = 1_000
"""Items that are measured on."""

CALIBRATION = 128
"""Training items whose ranges of values a static quantisation takes."""

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Examples:
    """The first items of a split.

    Attributes:
        dataset: name of the dataset.
        split: which items these are.
        inputs: feature → array ``[items, ...]``, what encoders receive.
        calibration: the same of items of the train split.
        photos: encoded photos, of each item the first; or map pictures.
        recipes: texts, for ``Bundle.encode_recipes``; empty where there are none.
        labels: class ids of photos; None for recipes.
    """

    dataset: str
    split: str
    inputs: dict[str, np.ndarray]
    calibration: dict[str, np.ndarray]
    photos: list[bytes]
    recipes: list[dict[str, Any]]
    labels: np.ndarray | None


def read(dataset: datasets.PreparedDataset, spec: Any, split: str = "test") -> Examples:
    """Read examples.

    Args:
        dataset: a prepared dataset whose vocabulary is the model's.
        spec: the model's.
        split: which items to measure on.
    """
    count = min(MOST, dataset.size(split))
    features = [*spec.image_inputs(), *spec.recipe_inputs()]
    if isinstance(dataset, datasets.TrajectoryDataset):
        features += spec.trajectory_inputs()
    labels = dataset.labels(split)[:count] if isinstance(dataset, datasets.LabelledDataset) else None
    recipes = []
    if isinstance(dataset, datasets.RecipeDataset):
        by_name = spec.ingredient_unit == "name"
        for text, _ in zip(dataset.texts(split), range(count), strict=False):
            lines = text[schema.INGREDIENT_NAMES if by_name else schema.INGREDIENTS]
            recipe = {"title": text[schema.TITLE], "ingredients": lines, "instructions": text[schema.INSTRUCTIONS]}
            recipes.append(recipe)
    inputs = _inputs(dataset, spec, split, count, features)
    for recipe, vectors in zip(recipes, inputs.get(schema.INSTRUCTION_VECTORS, ()), strict=False):
        recipe[schema.INSTRUCTION_VECTORS] = vectors
    return Examples(
        dataset.name,
        split,
        inputs,
        _inputs(dataset, spec, "train", CALIBRATION, features),
        list(itertools.islice(dataset.photos(split), count)),
        recipes,
        labels,
    )


def _inputs(dataset, spec, split, count, features):
    batches = pipeline.batches(dataset, split, spec, _BATCH, training=False)
    parts = [{name: batch[name].numpy() for name in features} for batch in batches.take(-(-count // _BATCH))]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in features}
