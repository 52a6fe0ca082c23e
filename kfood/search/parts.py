"""Embeddings of a dataset, computed part by part, perhaps by many processes, of which an index can be built.

::

    EMBEDDINGS/
      embeddings.json   what they are: bundle, model, distance, dataset, splits, parts; size and sha256 of each file
      00000/            the first items in the dataset's order, laid out as the rows of an index (kfood.search)
        photos.f32        float32 [rows, dim], embeddings of the photos
        recipes.f32       likewise of the recipes, or trajectories.f32 of the trajectories, where there are any
        items.jsonl       a line an item: id, title, ingredients, instructions
        thumbnails.bin, offsets.i64
      00001/            and so on

While it is being made it lies beside its place under another name, and each part appears in it whole: a process that is
killed leaves the parts that are done, and the next one that is to make the same goes on from there.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kfood import folders
from kfood.search import descriptions, fingerprints, rows
from kfood.search.items import SIDES, Encoder

FORMAT = 1
"""Version of the folder's layout."""

NAME = "embeddings.json"

_PLAN, _PART = "plan.json", "part.json"


def plan(
    encoder: Encoder,
    *,
    dataset: Mapping[str, Any],
    splits: Iterable[str],
    precision: str,
    items: int,
    part_size: int,
) -> dict[str, Any]:
    """What is to be embedded, by what, in which parts: the first keys of ``embeddings.json``.

    Args:
        encoder: the bundle that embeds.
        dataset: ``name`` and ``fingerprint`` of where the items come from.
        splits: which of its splits.
        precision: of the encoders, as it was asked of the bundle.
        items: that there are.
        part_size: items of a part; the last may have fewer.
    """
    return {
        "format": FORMAT,
        "model": encoder.model,
        "bundle": {"sha256": encoder.sha256, "precision": precision},
        "distance": encoder.distance,
        "embedding_size": encoder.embedding_size,
        "dataset": {"name": dataset["name"], "fingerprint": dataset["fingerprint"], "splits": list(splits)},
        "part_size": part_size,
        "read": items,
    }


def ranges(plan: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """(number, first item, end) of each part."""
    size, items = plan["part_size"], plan["read"]
    return [(number, start, min(start + size, items)) for number, start in enumerate(range(0, items, size))]


@contextlib.contextmanager
def unfinished(out: pathlib.Path, plan: Mapping[str, Any], *, overwrite: bool) -> Iterator[pathlib.Path]:
    """The folder beside ``out`` in which its parts are made; :func:`finish` makes ``out`` of it.

    Args:
        out: folder to be made.
        plan: what is to be in it.
        overwrite: whether it may be replaced, and parts of another plan be removed.

    Yields:
        A folder, with the parts in it that were made before, held for this process.

    Raises:
        BlockingIOError: another process is making the same folder.
        FileExistsError: ``out`` is in the way.
        ValueError: parts of another plan are there.
    """
    folders.check_output(out, kind="embeddings", marker=NAME, overwrite=overwrite)
    work = out.with_name(f".{out.name}.unfinished")
    work.mkdir(parents=True, exist_ok=True)
    with folders.held(work):
        file = work / _PLAN
        left = [path for path in work.iterdir() if path.is_dir()]  # those with a dot are of a process that was killed
        other = not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != plan
        if other and not overwrite and any(path.name[0] != "." for path in left):
            raise ValueError(
                f"{work}: expected parts of the same bundle, dataset, splits, precision and part size, received those "
                "of another command, which was broken off; repeat that one, or remove them with --overwrite."
            )
        for path in left:
            if other or path.name[0] == ".":
                shutil.rmtree(path)
        folders.write_whole({file: json.dumps(plan, ensure_ascii=False)})
        yield work
    if not any(path.is_dir() for path in work.iterdir()):
        shutil.rmtree(work)


def is_made(work: pathlib.Path, number: int) -> bool:
    """Whether a part is there."""
    return (work / _name(number) / _PART).is_file()


def make(
    work: pathlib.Path, number: int, dim: int, write: Callable[[rows.Writer], tuple[list[str], list[str]]]
) -> None:
    """Makes a part, unless it is there; whole or not at all, whoever else is about to make the same.

    Args:
        work: see :func:`unfinished`.
        number: of the part.
        dim: width of the embeddings.
        write: writes its rows; returns the ids of those written, and of items that were left out.
    """
    if is_made(work, number):
        return
    with tempfile.TemporaryDirectory(prefix=f".{_name(number)}.", dir=work) as temporary:
        part = pathlib.Path(temporary, "part")
        part.mkdir()
        with rows.Writer(part, (), 0, dim) as writer:
            ids, without_words = write(writer)
        sides = writer.sides
        content = {
            "rows": len(ids),
            "sides": list(sides),
            "without_words": without_words,
            "files": {name: fingerprints.fingerprint(part / name) for name in rows.names(sides)},
        }
        (part / _PART).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        part.chmod(0o755)
        try:
            os.rename(part, work / _name(number))
        except OSError:
            if not is_made(work, number):  # by another, meanwhile
                raise


def finish(work: pathlib.Path, out: pathlib.Path, plan: Mapping[str, Any], *, overwrite: bool) -> "Embeddings":
    """Makes ``out`` of its parts, which are all there.

    Raises:
        FileExistsError: ``out`` is in the way.
        ValueError: nothing was embedded, or a part is damaged.
    """
    numbers = [number for number, _, _ in ranges(plan)]
    made = [json.loads((work / _name(number) / _PART).read_text(encoding="utf-8")) for number in numbers]
    for number, part in zip(numbers, made, strict=True):
        for name, expected in part["files"].items():
            fingerprints.check(work / _name(number), name, expected)
    items = sum(part["rows"] for part in made)
    if not items:
        raise ValueError("items: expected at least one with a photo and a recipe, received none.")
    sides = {side for part in made for side in part["sides"] if part["rows"]}
    description = {
        **plan,
        "sides": [side for side in SIDES if side in sides],
        "items": items,
        "without_words": sum(len(part["without_words"]) for part in made),
        "parts": {_name(number): part for number, part in zip(numbers, made, strict=True)},
    }
    with folders.whole_folder(out, kind="embeddings", marker=NAME, overwrite=overwrite) as whole:
        for number in numbers:
            os.rename(work / _name(number), whole / _name(number))
            (whole / _name(number) / _PART).unlink()
        (whole / NAME).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Embeddings(out, description)


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embedded items on disk, opened by :meth:`open`.

    Attributes:
        path: the folder.
        description: content of ``embeddings.json``.
    """

    path: pathlib.Path
    description: dict[str, Any]

    @classmethod
    def open(cls, path: str | pathlib.Path) -> "Embeddings":
        """Opens a folder made by `kfood embed`.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is broken, or of another format.
        """
        path = pathlib.Path(path)

        def look(description: dict[str, Any]) -> None:
            _ = [description[key] for key in ("bundle", "dataset", "sides", "items", "embedding_size")]
            for part in description["parts"].values():
                _ = [part[key] for key in ("rows", "sides", "without_words", "files")]

        description = descriptions.read(
            path / NAME, FORMAT, folder="a folder", what="embeddings", command="kfood embed", look=look
        )
        return cls(path, description)

    def __len__(self) -> int:
        """Number of items."""
        return self.description["items"]

    def check(self, encoder: Encoder, precision: str) -> None:
        """Refuses another bundle, or another precision, than made them.

        Raises:
            ValueError: embeddings of different bundles or precisions cannot be compared.
        """
        descriptions.check_bundle(self.path, self.description, encoder, what="the embeddings", again="embed again")
        made = self.description["bundle"]["precision"]
        if precision != made:
            raise ValueError(f"{self.path}: expected precision {precision}, received embeddings in {made}.")

    def parts(self) -> Iterator[rows.Rows]:
        """The parts that have rows, mapped, each checked against its sha256.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: one is damaged.
        """
        for name, part in self.description["parts"].items():
            for file, expected in part["files"].items():
                fingerprints.check(self.path / name, file, expected)
            if part["rows"]:
                yield rows.Rows(self.path / name, part["sides"], part["rows"], self.description["embedding_size"])

    def copy(self, writer: rows.Writer, advance: Callable[[int], None]) -> tuple[list[str], list[str]]:
        """Writes all rows to another place.

        Args:
            writer: where to.
            advance: called with the number of items done since the last call.

        Returns:
            The ids of the rows, and of items that were left out because the model knows no word of theirs.
        """
        ids: list[str] = []
        for part in self.parts():
            part.copy(np.arange(len(part)), writer, advance)
            ids += map(part.id, range(len(part)))
        return ids, [id for part in self.description["parts"].values() for id in part["without_words"]]


def _name(number):
    return f"{number:05d}"
