"""An index of soups and what stands for onnxruntime-web: shared by the tests of kfood.site."""

import numpy as np

from kfood import search
from kfood.site import OnnxruntimeWeb, vendored

NO_RUNTIME = OnnxruntimeWeb("0", {name: b"export const env = {wasm: {}};" for name in vendored.FILES.values()})
"""For what needs no encoder."""

TITLES = ["Leek soup", "Salt & “onion”", "日本 soup", "Café", "½ onion soup", "Salt"]
LINES = [["2 leeks, sliced", "1 tbsp olive oil"], ["1 red onion", "salt"], ["100 g rice"], ["3 eggs"], ["½ onion"], []]


def make_index(bundle, path):
    """Six dishes; the photos are noise in large squares."""
    pictures = np.random.default_rng(3).integers(0, 255, (6, 4, 5, 3), np.uint8).repeat(20, 1).repeat(20, 2)
    items = [
        search.Item(
            id=f"soup/{row} ½",
            title=TITLES[row],
            ingredients=LINES[row],
            instructions=["Boil <b>it</b>."],
            recipe={"title": TITLES[row], "ingredients": LINES[row], "instructions": ["Boil it."]},
            photo=pictures[row],
        )
        for row in range(6)
    ]
    search.build_index(path, bundle, items, dataset={"name": "soups", "fingerprint": "ab"}, splits=["test"])
    return search.Index.open(path)
