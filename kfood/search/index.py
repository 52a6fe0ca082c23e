"""An index on disk: opened, checked, searched."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search import candidates, fingerprints
from kfood.search.exact import BLOCK, nearest
from kfood.search.items import SIDES, Encoder, Side

FORMAT = 3
"""Version of the folder's layout."""

DEEPER = 4
"""What may be found can lie further away than the rest does."""

_FILES = ("items.jsonl", "thumbnails.bin", "offsets.npy")


@dataclasses.dataclass(frozen=True)
class Result:
    """One thing found.

    Attributes:
        row: of the index.
        rank: from 1.
        distance: to the query; small = near. Euclidean distance, one minus the cosine, or minus the dot product.
        id: of the recipe.
        title: of the recipe.
        ingredients: lines as written.
        instructions: sentences.
        thumbnail: JPEG bytes of the photo, reduced.
    """

    row: int
    rank: int
    distance: float
    id: str
    title: str
    ingredients: list[str]
    instructions: list[str]
    thumbnail: bytes


class Index:
    """An index on disk; open one with :meth:`Index.open`.

    It stays what it was when another index takes its place on disk: every file is mapped, and none opened again, but
    for what candidates are picked with, which is opened at the first search, or by :meth:`warm`.

    Attributes:
        path: the folder.
        description: content of ``index.json``.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
    """

    def __init__(self, path, description, embeddings, offsets, contents):
        self.path = path
        self.description = description
        self.distance: Distance = description["distance"]
        self._embeddings = embeddings
        self._offsets = offsets
        self._contents = contents
        self._pickers: dict[Side, Callable[[np.ndarray, int], list[np.ndarray]]] = {}

    def __len__(self):
        return self.description["items"]

    @classmethod
    def open(cls, path: str | pathlib.Path) -> "Index":
        """Open an index made by ``kfood index``, each file checked against ``index.json``.

        Raises:
            FileNotFoundError: no index there, or one of its files is missing.
            ValueError: an index of another format, or a damaged one.
        """
        path = pathlib.Path(path)
        file = path / "index.json"
        if not file.is_file():
            raise FileNotFoundError(f"{path}: expected an index made by `kfood index`, found no index.json in it.")
        try:
            description = json.loads(file.read_text(encoding="utf-8"))
            received = description["format"]
            shape = (description["items"], description["embedding_size"])
            if received == FORMAT:
                sides = [side for side in SIDES if side in description["sides"]]
                files = {
                    name: {key: entry[key] for key in ("size", "sha256")}
                    for name, entry in description["files"].items()
                }
                needed = [*(f"{side}.npy" for side in sides), *_FILES]
                if description["approximate"]:
                    engine = candidates.ENGINES[description["approximate"]["method"]]
                    needed += [f"{side}.{end}" for side in sides for end in engine.ENDINGS]
                files = {name: files[name] for name in needed}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file}: expected the description of an index, received {error!r}.") from error
        if received != FORMAT:
            raise ValueError(
                f"{file}: expected an index of format {FORMAT}, received format {received!r}; run `kfood index` again."
            )
        for name, expected in files.items():
            fingerprints.check(path, name, expected)
        embeddings = {side: np.load(path / f"{side}.npy", mmap_mode="r") for side in sides}
        for side, array in embeddings.items():
            if array.shape != shape:
                raise ValueError(f"{path / side}.npy: expected shape {list(shape)}, received {list(array.shape)}.")
        offsets = np.load(path / "offsets.npy")
        if offsets.shape != (2, shape[0] + 1):
            raise ValueError(f"{path}/offsets.npy: expected shape {[2, shape[0] + 1]}, received {list(offsets.shape)}.")
        contents = [np.memmap(path / name, np.uint8, "r") for name in ("items.jsonl", "thumbnails.bin")]
        return cls(path, description, embeddings, offsets, contents)

    @property
    def sides(self) -> tuple[Side, ...]:
        """What can be searched: photos, and recipes where there are any."""
        return tuple(self._embeddings)

    @property
    def precision(self) -> str:
        """Of the encoders that made it, and that its queries are for."""
        return self.description["bundle"].get("precision", "float32")

    @property
    def bundle(self) -> pathlib.Path:
        """Where the bundle was, seen from the index."""
        return self.path / self.description["bundle"]["path"]

    def check_bundle(self, bundle: Encoder) -> None:
        """Refuse a bundle that did not make this index.

        Raises:
            ValueError: embeddings of different bundles cannot be compared.
        """
        expected = self.description["bundle"]["sha256"]
        if bundle.sha256 != expected:
            raise ValueError(
                f"{self.path}: expected the bundle that made the index ({self.description['model']}, "
                f"sha256 {expected[:12]}…), received {bundle.path} ({bundle.model}, {bundle.sha256[:12]}…); "
                "index again with this bundle."
            )

    def embeddings(self, side: Side) -> np.ndarray:
        """float32 [items, dim] of the photos or of the recipes, mapped from disk."""
        if side not in self._embeddings:
            raise ValueError(f"side: expected one of {', '.join(self._embeddings)}, received {side!r}.")
        return self._embeddings[side]

    def search(self, query: np.ndarray, side: Side, top: int = 5, *, among: np.ndarray | None = None) -> list[Result]:
        """The items whose photos, or whose recipes, are nearest to a query.

        Args:
            query: float [dim], an embedding by the index's bundle.
            side: what to compare it with.
            top: items wanted; all if there are fewer.
            among: bool [items], those that may be found; all by default. An approximate index then picks more
                candidates: ``DEEPER`` times as many as there are items for each that may be found, or all of
                these where they are few, or too few were picked.

        Returns:
            Nearest first, equal distances in the order of the index. Exact, unless the index is approximate.

        Raises:
            ValueError: ``top`` below 1, an unknown side, or a query of another width.
        """
        gallery = self.embeddings(side)
        query = np.asarray(query, np.float32)
        if query.shape != gallery.shape[1:]:
            raise ValueError(f"query: expected [{gallery.shape[1]}], received {list(query.shape)}.")
        if top < 1:
            raise ValueError(f"top: expected at least 1, received {top}.")
        rows = None
        if self.description["approximate"]:
            rows = self._picked(query, side, top, among)
        rows, distances = nearest(query, gallery, distance=self.distance, top=top, candidates=rows, among=among)
        return [self._result(rank, *found) for rank, found in enumerate(zip(rows, distances, strict=True), 1)]

    def warm(self) -> None:
        """Open what candidates are picked with, so that no search has to."""
        if self.description["approximate"]:
            for side in self.sides:
                self._picker(side)

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Of every item in the order of the index: ``id``, ``title``, ``ingredients`` and ``instructions``."""
        return (self.record(row) for row in range(len(self)))

    def record(self, row: int) -> Mapping[str, Any]:
        """Likewise of one item."""
        return json.loads(self._read(0, row))

    def thumbnail(self, row: int) -> bytes:
        """The small JPEG of an item's photo."""
        return self._read(1, row)

    def _picked(self, query, side, top, among):
        """Candidates, int64, of those that may be found."""
        picker = self._picker(side)
        if among is None:
            return picker(query[None], top)[0]
        allowed = np.flatnonzero(among)
        if len(allowed) <= max(BLOCK, top):
            return allowed
        rows = picker(query[None], -(-DEEPER * top * len(self) // len(allowed)))[0]
        rows = rows[among[rows]]
        return rows if len(rows) >= top else allowed

    def _picker(self, side):
        if side not in self._pickers:  # a graph is read whole from disk: once
            method = self.description["approximate"]["method"]
            self._pickers[side] = candidates.ENGINES[method].picker(self.path, side, self.distance)
        return self._pickers[side]

    def _result(self, rank, row, distance):
        return Result(
            row=int(row), rank=rank, distance=float(distance), **self.record(row), thumbnail=self.thumbnail(row)
        )

    def _read(self, file, row):
        start, end = self._offsets[file, row : row + 2]
        return self._contents[file][start:end].tobytes()
