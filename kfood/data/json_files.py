"""Reading JSON that others wrote: with or without a byte order mark, and refused where it is nested without end."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson
import numpy as np

MOST_NESTED = 500
"""Levels of lists and objects in each other; the parsers take memory by its square, or overflow the stack."""

_MARK = b"\xef\xbb\xbf"
_OTHERS = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def load(path: str | pathlib.Path) -> Any:
    """The content of a JSON file in UTF-8 (a byte order mark is skipped), UTF-16 or UTF-32.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested more than :data:`MOST_NESTED` times.
    """
    content = pathlib.Path(path).read_bytes()
    _Depth().add(content)
    return json.loads(content)


def items(path: str | pathlib.Path, prefix: str, **options: Any) -> Iterator[Any]:
    """The values at a prefix (as :func:`ijson.items` has it) of a JSON file in UTF-8, one at a time.

    Args:
        path: the file; a byte order mark is skipped.
        prefix: e.g. ``"item"`` or ``"features.item"``.
        **options: of :func:`ijson.items`.

    Raises:
        ijson.JSONError: not JSON from there on.
        ValueError: nested more than :data:`MOST_NESTED` times, or not UTF-8.
    """
    with open(path, "rb") as file:
        if file.read(len(_MARK)) != _MARK:
            file.seek(0)
        yield from ijson.items(_Guarded(file), prefix, **options)


class _Guarded:
    """A file whose nesting is looked at before a parser sees it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._depth = _Depth()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._depth.add(content)
        return content


class _Depth:
    """How deeply JSON is nested, told piece by piece; brackets inside strings do not count."""

    def __init__(self):
        self._depth = 0
        self._inside = False  # a string
        self._rest = b""  # a backslash whose character is in the next piece

    def add(self, piece: bytes) -> None:
        """Raises ValueError where the pieces up to here are nested more than :data:`MOST_NESTED` times."""
        piece = (self._rest + piece).replace(b"\\\\", b"")
        self._rest = b"\\" if piece.endswith(b"\\") else b""
        parts = piece.replace(b'\\"', b"").translate(None, _OTHERS).split(b'"')
        codes = np.frombuffer(b"".join(parts[int(self._inside) :: 2]), np.uint8)
        self._inside ^= len(parts) % 2 == 0
        steps = np.cumsum(np.where((codes == ord("[")) | (codes == ord("{")), 1, -1))
        if self._depth + steps.max(initial=0) > MOST_NESTED:
            raise ValueError(f"lists and objects nested more than {MOST_NESTED} times")
        self._depth += int(steps[-1]) if len(steps) else 0
