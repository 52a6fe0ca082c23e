"""What tells a file of an index from any other, cheap enough to be looked at whenever the index is opened."""

import hashlib
import os
import pathlib
from typing import Any

import numpy as np

_PIECE = 1 << 16
_PIECES = 256


def fingerprint(path: str | pathlib.Path, most: int | None = None) -> dict[str, Any]:
    """Size and sha256 of a file; above 16 MiB, of 256 evenly spaced pieces of 64 KiB, the first and the last included.

    Another file, one cut short or one copied in part is told by it; of a large one a few changed bytes may not be.

    Args:
        path: the file.
        most: bytes of it that count, where what follows does not; all by default.

    Returns:
        ``size`` in bytes, and ``sha256`` (hex).
    """
    size = os.path.getsize(path)
    size = size if most is None else min(size, most)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if size <= _PIECE * _PIECES:
            digest.update(file.read(size))
        else:
            for start in np.linspace(0, size - _PIECE, _PIECES).astype(np.int64):
                file.seek(int(start))
                digest.update(file.read(_PIECE))
    return {"size": size, "sha256": digest.hexdigest()}


def check(folder: pathlib.Path, name: str, expected: Any) -> None:
    """Refuse a file that is missing, or does not begin with the one whose :func:`fingerprint` is expected.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is another one, or damaged.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected the file {name}, but it is missing.")
    received = fingerprint(path, expected["size"])
    for key, show in (("size", lambda value: f"{value} bytes"), ("sha256", lambda value: f"sha256 {str(value)[:12]}…")):
        if received[key] != expected[key]:
            raise ValueError(
                f"{path}: expected {show(expected[key])}, received {show(received[key])}; it is damaged, or of another "
                "index."
            )
