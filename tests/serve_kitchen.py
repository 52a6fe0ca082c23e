"""A service over a gallery of colours, with an encoder made of NumPy: shared by the tests of kfood.serve."""

import dataclasses
import io
import pathlib
import re

import numpy as np
from PIL import Image

from kfood import search

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0)}

RECIPES = {
    "red": ("Red soup", ["2 (14 oz) cans tomatoes", "1 tbsp olive oil", "salt"]),
    "green": ("Green salad", ["1 cup olives", "2 tbsp vegetable oil", "3 eggs, beaten"]),
    "blue": ("Blue jelly", ["1 eggplant", "100 g blueberries"]),
    "white": ("White sauce", ["1 egg", "2 cups milk", "Salt & pepper"]),
    "black": ("Black “bread”", ["500 g flour"]),
}


@dataclasses.dataclass
class Encoder:
    """Photo → the mean of each colour and 1; recipe → the mean of the colours that it names, and 1."""

    sha256: str = "ab" * 32
    path: pathlib.Path = pathlib.Path("bundle")
    model: str = "fake"
    distance: str = "euclidean"
    embedding_size: int = 4
    encoders: tuple = ("image", "recipe")
    decoders: tuple = ()
    heat_maps: tuple = ()
    calls: list = dataclasses.field(default_factory=list)
    manifest = {  # noqa: RUF012
        "encoders": {"image": {"inputs": {"image": {"shape": [None, 8, 8, 3]}}}},
        "preprocessing": {"image": {"short_side": 8}},
    }
    spec = {"title_words": 8, "instruction_vectors": 0, "ingredient_unit": "word"}  # noqa: RUF012

    def encode(self, encoder, inputs):
        self.calls.append(len(inputs["image"]))
        return self.encode_images(inputs["image"])

    def look(self, encoder, inputs):
        weights = np.zeros((len(inputs["image"]), 2, 2), np.float32)
        weights[:, 0, 0] = 1
        return weights

    def encode_images(self, images, *, location=None):
        return np.array([[*np.asarray(image).mean((0, 1)) / 255, 1] for image in images], np.float32)

    def read_recipes(self, recipes):
        words = [
            re.findall(r"\w+", " ".join([each["title"], *each["ingredients"], *each["instructions"]]).lower())
            for each in recipes
        ]
        named = [[COLOURS[word] for word in each if word in COLOURS] for each in words]
        values = [[*(np.mean(each, 0) if each else np.zeros(3)), 1] for each in named]
        return np.array(values, np.float32), *(np.array([*map(len, each)], np.int64) for each in (words, named))

    def sources(self, decoder):
        return ("recipe", "image")

    def decode(self, decoder, embeddings):
        return np.broadcast_to(255 * embeddings[:, None, None, :3], (len(embeddings), 4, 4, 3))


def build(out, names=COLOURS, encoder=None, **options):
    """An index of some colours."""
    items = [
        search.Item(
            id=f"{name}/1 ½",
            title=RECIPES[name][0],
            ingredients=RECIPES[name][1],
            instructions=["Stir."],
            recipe={"title": name, "ingredients": [], "instructions": []},
            photo=np.broadcast_to((255 * np.array(COLOURS[name])).astype(np.uint8), (30, 20, 3)).copy(),
        )
        for name in names
    ]
    options = {"dataset": {"name": "colours", "fingerprint": "cd"}, "splits": ["test"], **options}
    return search.build_index(out, encoder or Encoder(), items, **options)


def photo(colour, size=(20, 30), kind="PNG"):
    """An encoded photo."""
    encoded = io.BytesIO()
    Image.new("RGB", size, tuple(int(230 * x) for x in COLOURS[colour])).save(encoded, kind)
    return encoded.getvalue()
