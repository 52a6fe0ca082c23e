"""``index.json``: which rows of an index count, and by what they are searched. Replacing it changes the index."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kfood.search import descriptions, engines, fingerprints, rows
from kfood.search.items import SIDES, Side

FORMAT = 4
"""Version of the folder's layout."""

NAME = "index.json"


def read(path: pathlib.Path) -> dict[str, Any]:
    """What ``index.json`` says; the files are not looked at.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is broken, or of another format.
    """

    def look(description: dict[str, Any]) -> None:
        for name in names(description):
            _ = {key: description["files"][name][key] for key in ("size", "sha256")}
        _ = [description[key] + 0 for key in ("rows", "items", "deleted", "embedding_size")]
        _ = description["bundle"]["path"], description["distance"]

    return descriptions.read(path / NAME, FORMAT, folder="an index", what="an index", command="kfood index", look=look)


def sides(description: Mapping[str, Any]) -> list[Side]:
    """What it holds embeddings of."""
    return [side for side in SIDES if side in description["sides"]]


def folder(path: pathlib.Path, description: Mapping[str, Any]) -> pathlib.Path:
    """Where the rows are."""
    return path / str(description["generation"])


def places(path: pathlib.Path, description: Mapping[str, Any]) -> Iterator[engines.Place]:
    """Where its engine keeps each side."""
    for side in sides(description):
        yield engines.Place(
            folder(path, description),
            side,
            description["distance"],
            description["engine"]["address"],
            description["engine"]["key"],
        )


def engine_names(description: Mapping[str, Any]) -> list[str]:
    """Its engine's files, seen from the index."""
    covered = description["engine"]["rows"]
    engine = engines.engine(description["engine"]["name"])
    found = [name for side in sides(description) for name in engine.files(side, covered)] if covered else []
    return [f"{description['generation']}/{name}" for name in found]


def row_names(description: Mapping[str, Any]) -> list[str]:
    """The files of its rows."""
    return [f"{description['generation']}/{name}" for name in rows.names(sides(description))]


def deleted_name(description: Mapping[str, Any]) -> str:
    """The file of its deleted rows: int64, in the order in which they were deleted."""
    return f"{description['generation']}/deleted-{description['deleted']}.i64"


def names(description: Mapping[str, Any]) -> list[str]:
    """All its files."""
    deleted = [deleted_name(description)] if description["deleted"] else []
    return row_names(description) + deleted + engine_names(description)


def commit(path: pathlib.Path, description: dict[str, Any], changed: Collection[str] = ()) -> None:
    """Make this the state of an index: before this call ends, or the process is killed, it is the old one or this.

    Args:
        path: the index.
        description: content of ``index.json``; of its ``files`` those that are new are filled in.
        changed: files that have grown.
    """
    known = {name: entry for name, entry in description["files"].items() if name not in changed}
    description["files"] = {
        name: known.get(name) or fingerprints.fingerprint(path / name) for name in names(description)
    }
    for name in description["files"]:
        if name not in known:
            _sync(path / name)
    _sync(folder(path, description))
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    temporary = path / f".{NAME}.tmp"
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, path / NAME)
    _sync(path)


def clean(path: pathlib.Path, description: Mapping[str, Any]) -> None:
    """Remove what earlier states, and processes that were killed, have left."""
    current = folder(path, description)
    kept = {path / name for name in names(description)}
    for found in current.iterdir():
        if found.is_file() and found not in kept:
            with contextlib.suppress(PermissionError):  # Windows, while another process has it open: the next time
                found.unlink()
    for found in path.iterdir():
        if found.is_dir() and found.name.isdigit() and found != current:
            shutil.rmtree(found, ignore_errors=True)


def _sync(path):
    """The system writes a file, or a folder's names, to the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
