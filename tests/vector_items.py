"""Items whose photos and recipes are vectors, and an encoder that reads them back: shared by the tests of engines."""

import dataclasses
import pathlib

import numpy as np

from kfood import search
from kfood.search import parts
from kfood.search.building import write_items

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
        recipe={"title": f"soup {id}", "vector": recipe.astype(np.float32)},
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


PART_SIZE = 32


def embed(out, count=70, encoder=None, overwrite=False):
    """Embeds items part by part, of which one has no word, and two the same id.

    Returns:
        The numbers of the parts that were not there yet.
    """
    encoder = encoder or Wordless()
    vectors = list(pairs(np.random.default_rng(6), map(str, range(count))).values())
    found = [item("40" if number == 3 else str(number), *pair) for number, pair in enumerate(vectors)]
    plan = parts.plan(encoder, **SOURCE, precision="float32", items=count, part_size=PART_SIZE)
    with parts.unfinished(out, plan, overwrite=overwrite) as work:
        missing = [number for number, _, _ in parts.ranges(plan) if not parts.is_made(work, number)]
        for number, start, end in parts.ranges(plan):
            items_of_part = found[start:end]
            parts.make(work, number, DIM, lambda writer, own=items_of_part: write_items(writer, encoder, own))
        parts.finish(work, out, plan, overwrite=overwrite)
    return missing


class Wordless(Encoder):
    """Knows no word of item 5."""

    def read_recipes(self, recipes):
        embeddings, read, known = super().read_recipes(recipes)
        return embeddings, read, np.where([recipe["title"] == "soup 5" for recipe in recipes], 0, known)


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
