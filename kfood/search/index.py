"""An index on disk: opened, checked, searched."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search import codes, descriptions, engines, exact, fingerprints, states
from kfood.search.exact import BLOCK, nearest
from kfood.search.ingredients import Ingredients
from kfood.search.items import Encoder, Side
from kfood.search.rows import Rows


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

    It stays what it was when items are added or deleted, or another index takes its place on disk: every file is
    mapped, and none opened again, but for its engine's, which are opened at the first search, or by :meth:`warm`.

    Attributes:
        path: the folder.
        description: content of ``index.json``.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
        alive: bool [rows], those of items that were not deleted or replaced; None: all.
    """

    def __init__(self, path: pathlib.Path, description: Mapping[str, Any], rows: Rows, alive: np.ndarray | None):
        self.path = path
        self.description = description
        self.distance: Distance = description["distance"]
        self.alive = alive
        self._rows = rows
        self._finders: dict[Side, engines.Finder] = {}

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
        while True:
            description = states.read(path)
            try:
                return cls._of(path, description)
            except (OSError, ValueError):
                if states.read(path) == description:
                    raise  # or it has just been replaced, and the files that it named are gone

    @classmethod
    def _of(cls, path, description):
        files = {name: description["files"][name] for name in states.names(description)}
        for name, expected in files.items():
            fingerprints.check(path, name, expected)
        rows, dim, count = (description[key] for key in ("rows", "embedding_size", "deleted"))
        sides = states.sides(description)
        for side in sides:
            name = f"{description['generation']}/{side}.f32"
            if files[name]["size"] != 4 * rows * dim:
                raise ValueError(
                    f"{path / name}: expected float32 {[rows, dim]}, received {files[name]['size']} bytes."
                )
        alive = None
        if count:
            alive = np.ones(rows, bool)
            alive[codes.mapped(path / states.deleted_name(description), (count,), np.int64)] = False
        if rows - count != description["items"]:
            raise ValueError(f"{path}: expected {rows - count} items, received {description['items']}.")
        return cls(path, description, Rows(states.folder(path, description), sides, rows, dim), alive)

    @property
    def sides(self) -> tuple[Side, ...]:
        """What can be searched: photos, and recipes where there are any."""
        return tuple(self._rows.embeddings)

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
        descriptions.check_bundle(self.path, self.description, bundle, what="the index", again="index again")

    def embeddings(self, side: Side) -> np.ndarray:
        """float32 [rows, dim] of the photos or of the recipes, mapped from disk."""
        if side not in self._rows.embeddings:
            raise ValueError(f"side: expected one of {', '.join(self.sides)}, received {side!r}.")
        return self._rows.embeddings[side]

    def search(self, query: np.ndarray, side: Side, top: int = 5, *, among: np.ndarray | None = None) -> list[Result]:
        """The items whose photos, or whose recipes, are nearest to a query.

        Args:
            query: float [dim], an embedding by the index's bundle.
            side: what to compare it with.
            top: items wanted; all if there are fewer.
            among: bool [rows], those that may be found, of :attr:`ingredients` for one; all by default. Where these
                are few, or the engine finds too few of them, they are compared one by one.

        Returns:
            Nearest first, equal distances in the order of the index. Exact, unless the index's engine is not.

        Raises:
            ValueError: ``top`` below 1, an unknown side, or a query of another width or with NaN or infinity in it.
        """
        gallery = self.embeddings(side)
        query = np.asarray(query, np.float32)
        if query.shape != gallery.shape[1:]:
            raise ValueError(f"query: expected [{gallery.shape[1]}], received {list(query.shape)}.")
        if not np.isfinite(query).all():
            raise ValueError("query: expected finite numbers, received NaN or infinity.")
        if top < 1:
            raise ValueError(f"top: expected at least 1, received {top}.")
        if self.alive is not None:
            among = self.alive if among is None else among & self.alive
        candidates = self._candidates(query, side, top, among)
        found = zip(*nearest(query, gallery, distance=self.distance, top=top, candidates=candidates), strict=True)
        return [self._result(rank, *each) for rank, each in enumerate(found, 1)]

    def warm(self) -> None:
        """Open what rows are found with, so that no search has to."""
        for side in self.sides:
            self._finder(side)

    @functools.cached_property
    def rows(self) -> Mapping[str, int]:
        """The row of each item by its id."""
        return {self._rows.id(int(row)): int(row) for row in self.living}

    @functools.cached_property
    def ingredients(self) -> Ingredients:
        """Of the items, to be asked for the rows that have some and have not others; read at first use."""
        alive = self.alive
        return Ingredients(
            self.record(row)["ingredients"] if alive is None or alive[row] else []
            for row in range(self.description["rows"])
        )

    def having(self, with_names: Sequence[str], without_names: Sequence[str]) -> np.ndarray | None:
        """Items that have all of some ingredients and none of others, for :meth:`search`: bool [rows]; None: all.

        Raises:
            ValueError: a name without a letter.
        """
        mask = self.ingredients.among(with_names, without_names)
        return mask if mask is None or self.alive is None else mask & self.alive

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Of every item in the order of the index: ``id``, ``title``, ``ingredients`` and ``instructions``."""
        return (self.record(int(row)) for row in self.living)

    def record(self, row: int) -> Mapping[str, Any]:
        """Likewise of one item."""
        return json.loads(self._rows.line(row))

    def thumbnail(self, row: int) -> bytes:
        """The small JPEG of an item's photo."""
        return self._rows.thumbnail(row)

    @functools.cached_property
    def living(self) -> np.ndarray:
        """Rows of the items, int64 [len]: not those that were deleted, or replaced."""
        return np.arange(self.description["rows"]) if self.alive is None else np.flatnonzero(self.alive)

    def _candidates(self, query, side, top, among):
        """Rows to compare, int64, of those that may be found."""
        if among is not None:
            allowed = np.flatnonzero(among)
            if len(allowed) <= max(BLOCK, top):
                return allowed
        gallery, covered = self.embeddings(side), self.description["engine"]["rows"]
        first, rest = (None, None) if among is None else (among[:covered], among[covered:])
        found = np.zeros(0, np.int64)
        if covered:
            found = self._finder(side)(query, top, first)
            if len(found) < min(top, covered if first is None else int(first.sum())):
                found = exact.possible(query, gallery[:covered], self.distance, top, first)
        if covered == len(gallery):
            return found
        tail = exact.possible(query, gallery[covered:], self.distance, top, rest)
        return np.concatenate([found, tail + covered])

    def _finder(self, side):
        covered = self.description["engine"]["rows"]
        if side not in self._finders and covered:  # a graph is read whole from disk: once
            place = next(place for place in states.places(self.path, self.description) if place.side == side)
            engine = engines.engine(self.description["engine"]["name"])
            self._finders[side] = engine.finder(place, self.embeddings(side)[:covered])
        return self._finders.get(side)

    def _result(self, rank, row, distance):
        return Result(
            row=int(row), rank=rank, distance=float(distance), **self.record(row), thumbnail=self.thumbnail(row)
        )
