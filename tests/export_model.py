"""A small model with everything that an export reads, and the run folder that it would have."""

import json
import types

import keras
import numpy as np
from keras import ops

from kfood.data.dataset import write_vocabulary
from kfood.schema import RecipeSpec

WORDS = ["salt", "the", "onion", "café", "日本", "1/2", "boil", "soup", "leek", "2"]
INGREDIENTS = ["salt", "red onion", "leek"]
CLASSES = ["background", "soup"]
DIM = 6
REPORT = {
    "model": {"weights": "best"},
    "data": {"name": "kitchen", "split": "test"},
    "protocol": {"gallery": 200},
    "directions": {"image_to_recipe": {"MedR": {"mean": 3.5, "std": 0.5}, "R@1": {"mean": 0.25, "std": 0.125}}},
}
"""What an evaluation said of it."""


def make_spec(**changes) -> RecipeSpec:
    fields = {
        "image_size": 32,
        "ingredients": 4,
        "ingredient_words": 3,
        "instructions": 3,
        "instruction_words": 5,
        "title_words": 2,
        "word_vocabulary": len(WORDS) + 2,
        "ingredient_vocabulary": len(INGREDIENTS) + 2,
        "classes": len(CLASSES),
    }
    return RecipeSpec(**(fields | changes))


def normalized(x):
    return ops.divide(x, ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-12))


def last_state(x, lengths, units, name):
    """State of an unmasked LSTM after ``lengths`` steps; zeros for length 0."""
    states = keras.layers.LSTM(units, return_sequences=True, name=name)(x)
    index = ops.expand_dims(ops.expand_dims(ops.maximum(lengths - 1, 0), -1), -1)
    last = ops.squeeze(ops.take_along_axis(states, index, axis=1), 1)
    return last * ops.cast(ops.expand_dims(lengths > 0, -1), last.dtype)


def last_used(present):
    """Position after the last true one, along axis 1."""
    return ops.max(ops.where(present, ops.arange(1, present.shape[1] + 1), 0), axis=1)


def make_model(spec=None, distance="cosine", seed=0):
    spec = spec or make_spec()
    keras.utils.set_random_seed(seed)
    image = {name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in spec.image_inputs().items()}
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image["image"] / 255.0)
    x = keras.layers.Dense(DIM)(keras.layers.GlobalAveragePooling2D()(x))
    image_encoder = keras.Model(image, normalized(x), name="image")

    recipe = {name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in spec.recipe_inputs().items()}
    parts = []
    for name, tensor in recipe.items():
        if name == "instruction_vectors":
            parts.append(last_state(tensor, last_used(ops.any(ops.not_equal(tensor, 0.0), axis=-1)), 3, "sentences"))
            continue
        tokens = ops.reshape(tensor, (-1, int(np.prod(tensor.shape[1:]))))
        names = spec.ingredient_unit == "name" and name == "ingredients"
        size = spec.ingredient_vocabulary if names else spec.word_vocabulary
        vectors = keras.layers.Embedding(size, 5, name=f"{name}_words")(tokens)
        if name == "instructions":
            parts.append(last_state(vectors, last_used(tokens != 0), 3, "words"))
        else:
            present = ops.expand_dims(ops.cast(tokens != 0, "float32"), -1)
            parts.append(ops.sum(vectors * present, axis=1))
    recipe_encoder = keras.Model(recipe, normalized(keras.layers.Dense(DIM)(ops.concatenate(parts, -1))), name="recipe")

    embedding = keras.Input((DIM,), name="embedding")
    picture = keras.layers.Reshape((4, 4, 3))(keras.layers.Dense(48, activation="sigmoid")(embedding)) * 255.0
    ingredients = keras.layers.Dense(len(INGREDIENTS), activation="sigmoid")(embedding)
    return types.SimpleNamespace(
        name="fake",
        spec=spec,
        distance=distance,
        embedding_size=DIM,
        encoders={"image": image_encoder, "recipe": recipe_encoder},
        decoders={
            "picture": types.SimpleNamespace(sources=("recipe", "image"), network=keras.Model(embedding, picture)),
            "ingredients": types.SimpleNamespace(sources=("image",), network=keras.Model(embedding, ingredients)),
        },
    )


def make_run(folder):
    folder.mkdir(parents=True)
    write_vocabulary(folder, WORDS, INGREDIENTS, CLASSES)
    (folder / "config.json").write_text(json.dumps({"data": {"name": "kitchen"}}))
    return folder
