"""Ways to pick candidates for an exact comparison, and how much of the exact answer they find."""

from typing import Literal, Protocol

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search import binary, hnsw, int8
from kfood.search.codes import Picker
from kfood.search.exact import nearest

Approximate = Literal["hnsw", "int8", "binary"]
"""Names of the ways."""

_RECALL_QUERIES = 200
_RECALL_TOP = 10


class Engine(Protocol):
    """One way; a module each."""

    @property
    def CANDIDATES(self) -> tuple[int, int]:
        """How many are compared exactly: so many times the wanted number, and so many at least."""

    @property
    def ENDINGS(self) -> tuple[str, ...]:
        """Of its files, after the side's name and a point."""

    def check(self) -> None:
        """Raises ModuleNotFoundError where a package is missing."""

    def write(self, folder, side, gallery, distance) -> None:
        """Writes its files of a side: gallery float32 [n, dim]."""

    def picker(self, folder, side, distance) -> Picker:
        """Opens them."""


ENGINES: dict[str, Engine] = {"hnsw": hnsw, "int8": int8, "binary": binary}


def write(folder, method: Approximate, distance: Distance, sides) -> dict:
    """Write for each side what candidates are picked with, and measure how much of the exact answer it finds."""
    engine = ENGINES[method]
    arrays = {side: np.load(folder / f"{side}.npy", mmap_mode="r") for side in sides}
    recall = {}
    for side, gallery in arrays.items():
        engine.write(folder, side, gallery, distance)
        other = next((arrays[name] for name in sides if name != side), gallery)
        step = max(1, len(other) // _RECALL_QUERIES)
        queries = np.asarray(other[::step][:_RECALL_QUERIES])
        top = min(_RECALL_TOP, len(gallery))
        hits = 0
        for query, rows in zip(queries, engine.picker(folder, side, distance)(queries, top), strict=True):
            best, _ = nearest(query, gallery, distance=distance, top=top)
            found, _ = nearest(query, gallery, distance=distance, top=top, candidates=rows)
            hits += len(np.intersect1d(best, found))
        recall[side] = hits / (top * len(queries))
    return {"method": method, "top": _RECALL_TOP, "queries": len(queries), "recall": recall}
