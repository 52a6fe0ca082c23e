"""What finds rows near to a query: one small interface, each engine a file.

An index keeps embeddings, texts and thumbnails in its folder, row by row; a row's number never changes its meaning. An
engine holds vectors by these numbers and picks candidates; the index compares those exactly. Rows that an engine does
not hold yet the index compares itself, so that an engine is brought up to date after the fact, and its files need not
change together with the index's.
"""

import abc
import dataclasses
import importlib
import pathlib
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from kfood.evaluation.exact import Distance
from kfood.search.items import Side

EngineName = Literal["exact", "int8", "binary", "faiss-flat", "faiss-hnsw", "faiss-ivfpq", "milvus"]
"""Names of the engines."""

NAMES: tuple[EngineName, ...] = get_args(EngineName)

Finder = Callable[[np.ndarray, int, np.ndarray | None], np.ndarray]
"""(query float32 [dim], rows wanted, rows that may be found bool [rows] or None: all) → int64 rows, in no order, more
than wanted where the engine's own distances are not exact; fewer where it finds no more."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an engine keeps the vectors of one side of an index.

    Attributes:
        folder: for its files.
        side: photos, recipes or trajectories.
        distance: by which rows are near.
        address: of a server that keeps them instead; empty: none does.
        key: tells this index from all others on a server.
    """

    folder: pathlib.Path
    side: Side
    distance: Distance
    address: str = ""
    key: str = ""


class Engine(abc.ABC):
    """One way to find rows. What is written here suits an engine of files that are never written twice.

    Attributes:
        exact: whether what it picks holds the nearest for certain.
        least: rows from which on it is used; fewer the index compares itself.
    """

    exact = False
    least = 1

    def check(self, address: str = "") -> None:
        """Raises ModuleNotFoundError where a package is missing, ValueError where the address is none of its."""
        if address:
            raise ValueError(f"address: expected none, for only milvus has a server, received {address!r}.")

    def lag(self, place: Place) -> int:
        """Rows added or deleted that it may stay behind the index: what is worth an :meth:`extend`."""
        return 0

    def files(self, side: Side, rows: int) -> tuple[str, ...]:
        """Names of its files of a side when it holds so many rows."""
        return ()

    @abc.abstractmethod
    def extend(self, place: Place, gallery: np.ndarray, start: int) -> None:
        """Take the rows of a gallery, float32 [n, dim], of which it holds those before ``start``; 0: it holds none.

        What a killed process left of an earlier attempt is in nobody's way.
        """

    def forget(self, place: Place, rows: np.ndarray) -> None:  # noqa: B027
        """Let go of rows, int64, which nobody will ask for again, where that makes it smaller or quicker."""

    def close(self, place: Place) -> None:  # noqa: B027
        """Let go of what this process holds open in the folder, which is to be moved."""

    def drop(self, place: Place) -> None:  # noqa: B027
        """Let go of everything that it keeps outside the folder."""

    @abc.abstractmethod
    def finder(self, place: Place, gallery: np.ndarray) -> Finder:
        """Open what it keeps of the rows of a gallery, float32 [n, dim].

        Raises:
            ValueError: what it keeps elsewhere is not of this gallery.
        """


def engine(name: str) -> Engine:
    """An engine by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in NAMES:
        raise ValueError(f"engine: expected one of {', '.join(NAMES)}, received {name!r}.")
    family, _, kind = name.partition("-")
    module = importlib.import_module(f"kfood.search.{_MODULES.get(family, family)}")
    return module.ENGINES[kind] if kind else module.ENGINE


_MODULES = {"faiss": "faiss_engines"}
