"""Items whose photos and recipes are vectors, and an encoder that reads them back: shared by the tests of engines."""

import dataclasses
import pathlib

import numpy as np

from kfood import search

DIM = 24
SOURCE = {"dataset": {"name": "vectors", "fingerprint": "cd"}, "splits": ["test"]}


@dataclasses.dataclass
class Encoder:
    """A photo's bytes are its embedding; a recipe carries it along."""

    distance: str = "euclidean"
    sha256: str = "ab" * 32
    path: pathlib.Path = pathlib.Path("bundle")
    model: str = "fake"
    embedding_size: int = DIM

    def encode_images(self, images, *, location=None):
        return np.stack([np.frombuffer(image.tobytes(), np.float32) for image in images])

    def read_recipes(self, recipes):
        count = np.full(len(recipes), 3)
        return np.stack([recipe["vector"] for recipe in recipes]), count, count


def item(id, photo, recipe, ingredients=("salt",)):
    """An item of two vectors, float32 [DIM] each."""
    pixels = np.frombuffer(photo.astype(np.float32).tobytes(), np.uint8).reshape(4, -1, 3)
    return search.Item(
        id=id,
        title=f"soup {id}",
        ingredients=list(ingredients),
        instructions=["Boil."],
        recipe={"vector": recipe.astype(np.float32)},
        photo=pixels,
    )


def items(vectors, ingredients=lambda id: ("salt",)):
    """Items of id → (photo, recipe)."""
    return [item(id, *pair, ingredients(id)) for id, pair in vectors.items()]


def pairs(random, ids):
    """id → (photo, recipe): of length 1 to 3, in three clusters, so that every distance has an order of its own."""
    centres = np.random.default_rng(5).normal(size=(3, DIM))
    found = {}
    for id in ids:
        photo = centres[random.integers(3)] + random.normal(size=DIM)
        photo *= random.uniform(1, 3) / np.linalg.norm(photo)
        found[id] = (photo.astype(np.float32), (photo + 0.3 * random.normal(size=DIM)).astype(np.float32))
    return found


def content(path):
    """id → (photo, recipe) of what an index on disk holds, by its records."""
    index = search.Index.open(path)
    photos, recipes = index.embeddings("photos"), index.embeddings("recipes")
    found = {id: (photos[row].copy(), recipes[row].copy()) for id, row in index.rows.items()}
    assert [record["id"] for record in index.records()] == list(index.rows)
    assert len(index) == len(found)
    for id, row in index.rows.items():
        assert index.record(row)["title"] == f"soup {id}"
        assert index.thumbnail(row).startswith(b"\xff\xd8")
    return found
