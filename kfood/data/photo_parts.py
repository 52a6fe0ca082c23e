"""Photos of many recipes, loaded part by part, perhaps by other processes, and read back in order."""

import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kfood import folders
from kfood.data.recipe1m import Entry, Loaded, load_named_photos

RECIPES = 128
"""Recipes of a part."""


class PhotoParts:
    """Loads the photos of recipes for :class:`kfood.data.recipe1m.Recipe1M`, where that is told to take it.

    The photos wait in files in a temporary folder, which is gone at the end; each file goes when it has been read.

    Args:
        beside: path beside which the folder is made; all workers have to see it, and the photos.
        short_side: see :class:`kfood.data.recipe1m.Recipe1M`.
        do: called with the numbers of the parts and what makes, in each worker, the call that does one; returns when
            all are done.
        recipes: of a part.
    """

    def __init__(
        self,
        beside: pathlib.Path,
        short_side: int,
        do: Callable[[Sequence[int], Callable[[], Callable[[int], object]]], None],
        recipes: int = RECIPES,
    ):
        self._beside, self._short_side, self._do, self._recipes = beside.resolve(), short_side, do, recipes

    def __call__(
        self, entries: Callable[[], Iterator[Entry]], roots: Sequence[pathlib.Path]
    ) -> Iterator[tuple[Entry, Loaded]]:
        """Each recipe with its photos, and those that failed.

        Args:
            entries: the recipes; called twice.
            roots: folders in which the photos may be.
        """
        self._beside.parent.mkdir(parents=True, exist_ok=True)
        with folders.temporary_folder(self._beside) as folder:
            names = (entry.photos for entry in entries())
            numbers: list[int] = []
            while part := list(itertools.islice(names, self._recipes)):
                numbers.append(len(numbers))
                _asked(folder, numbers[-1]).write_text(json.dumps(part), encoding="utf-8")
            self._do(numbers, functools.partial(_Loader, folder, [root.resolve() for root in roots], self._short_side))
            loaded = itertools.chain.from_iterable(_read(_answer(folder, number)) for number in numbers)
            yield from zip(entries(), loaded, strict=True)


class _Loader:
    """Loads the photos of a part, whole or not at all."""

    def __init__(self, folder: pathlib.Path, roots: Sequence[pathlib.Path], short_side: int):
        self._folder, self._roots, self._short_side = folder, roots, short_side

    def __call__(self, number: int) -> None:
        recipes = json.loads(_asked(self._folder, number).read_text(encoding="utf-8"))
        found = [load_named_photos(names, self._roots, self._short_side) for names in recipes]
        said: list[Any] = [[[len(photo) for photo in photos], failures] for photos, failures in found]
        content = [json.dumps(said).encode() + b"\n", *(photo for photos, _ in found for photo in photos)]
        folders.write_whole({_answer(self._folder, number): b"".join(content)})


def _read(path: pathlib.Path) -> Iterator[Loaded]:
    """What a part's file holds; it goes afterwards."""
    with open(path, "rb") as file:
        for sizes, failures in json.loads(file.readline()):
            yield [file.read(size) for size in sizes], [(name, reason) for name, reason in failures]
    path.unlink()


def _asked(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number:06d}.json"


def _answer(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number:06d}.photos"
