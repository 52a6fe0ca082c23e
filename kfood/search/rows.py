"""Items and embeddings on disk, row by row: rows are added behind the last one and never changed.

How many rows of the files count is said elsewhere; what stands behind them a killed process has left, and nobody reads.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kfood.search import codes
from kfood.search.items import SIDES, Side

ITEMS, THUMBNAILS, OFFSETS = "items.jsonl", "thumbnails.bin", "offsets.i64"

_COPIED = 4096
"""Rows copied at once."""


def names(sides: Sequence[Side]) -> tuple[str, ...]:
    """Of the files of some sides."""
    return (ITEMS, THUMBNAILS, OFFSETS, *(f"{side}.f32" for side in sides))


class Rows:
    """The rows of a folder, mapped.

    Attributes:
        embeddings: of each side float32 [rows, dim].
    """

    def __init__(self, folder: pathlib.Path, sides: Sequence[Side], rows: int, dim: int):
        """Maps the first rows of every file."""
        self.embeddings = {
            side: codes.mapped(folder / f"{side}.f32", (rows, dim), np.float32) for side in SIDES if side in sides
        }
        self._offsets = np.fromfile(folder / OFFSETS, np.int64, 2 * (rows + 1)).reshape(-1, 2)
        sizes = map(int, self._offsets[-1])
        self._contents = [
            codes.mapped(folder / name, (size,), np.uint8)
            for name, size in zip((ITEMS, THUMBNAILS), sizes, strict=True)
        ]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._offsets) - 1

    def line(self, row: int) -> bytes:
        """The item as JSON, its id first, with the end of the line."""
        return self._read(0, row)

    def thumbnail(self, row: int) -> bytes:
        """JPEG bytes."""
        return self._read(1, row)

    def id(self, row: int) -> str:
        """Of the item, without reading the rest of it."""
        return json.JSONDecoder().raw_decode(self.line(row).decode(), len('{"id": '))[0]

    def copy(self, kept: np.ndarray, writer: "Writer", advance: Callable[[int], None] = lambda count: None) -> None:
        """Writes some rows behind those of another folder.

        Args:
            kept: int [n], which.
            writer: of that folder.
            advance: called with the number of rows done since the last call.
        """
        for start in range(0, len(kept), _COPIED):
            part = kept[start : start + _COPIED]
            lines = [(self.line(row), self.thumbnail(row), self.id(row)) for row in part]
            writer.add_lines(lines, {side: values[part] for side, values in self.embeddings.items()})
            advance(len(part))

    def _read(self, file, row):
        start, end = self._offsets[row : row + 2, file]
        return self._contents[file][start:end].tobytes()


class Writer(contextlib.AbstractContextManager):
    """Adds rows to a folder.

    Attributes:
        rows: that there are.
        sides: that there are; those of the first rows.
    """

    def __init__(self, folder: pathlib.Path, sides: Sequence[Side], rows: int, dim: int):
        """Opens the files behind the rows that count; what stands there is cut off.

        Args:
            folder: where they are.
            sides: of the rows; none where there are none yet.
            rows: that count.
            dim: width of the embeddings.
        """
        self.rows, self.sides = rows, tuple(sides)
        ends = [0, 0] if not rows else np.fromfile(folder / OFFSETS, np.int64, 2 * (rows + 1))[-2:].tolist()
        sizes = {ITEMS: ends[0], THUMBNAILS: ends[1], OFFSETS: 16 * (rows + 1)}  # the first are zeros
        sizes |= {f"{side}.f32": 4 * rows * dim for side in SIDES if side in sides or not sides}
        with contextlib.ExitStack() as stack:
            self._files: dict[str, Any] = {}
            for name, size in sizes.items():
                path = folder / name
                file = self._files[name] = stack.enter_context(open(path, "r+b" if path.exists() else "wb"))
                file.truncate(size)
                file.seek(size)
            self._stack = stack.pop_all()

    def add(self, items: Sequence[tuple[Mapping[str, Any], bytes]], embeddings: Mapping[Side, np.ndarray]) -> None:
        """Add items.

        Args:
            items: of each its record, ``id`` first, and its thumbnail, JPEG.
            embeddings: of each side float32 [n, dim].

        Raises:
            ValueError: sides that the rows before have not, or numbers that are none.
        """
        self.add_lines([(_line(record), thumbnail, record["id"]) for record, thumbnail in items], embeddings)

    def add_lines(self, items, embeddings: Mapping[Side, np.ndarray]) -> None:
        """The same, of records as they stand on disk: (line, thumbnail, id)."""
        sides = tuple(side for side in SIDES if side in embeddings)
        if sides != (self.sides or sides):
            raise ValueError(f"items: expected {' and '.join(self.sides)}, received {' and '.join(sides)}.")
        self.sides = sides
        for side, values in embeddings.items():
            wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(wrong):
                raise ValueError(
                    f"{items[wrong[0]][2]}: expected an embedding of finite numbers, received one of its {side} with "
                    "NaN or infinity in it."
                )
            self._files[f"{side}.f32"].write(np.ascontiguousarray(values, np.float32).tobytes())
        offsets = []
        for line, thumbnail, _ in items:
            self._files[ITEMS].write(line)
            self._files[THUMBNAILS].write(thumbnail)
            offsets.append([self._files[ITEMS].tell(), self._files[THUMBNAILS].tell()])
        self._files[OFFSETS].write(np.array(offsets, np.int64).tobytes())
        self.rows += len(items)

    def __exit__(self, *failure):
        """Closes the files; those of sides that no row has go."""
        self._stack.close()
        for name, file in self._files.items():
            if name not in names(self.sides):
                os.unlink(file.name)


def _line(record):
    ordered = {"id": record["id"], **record}
    return json.dumps(ordered, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
