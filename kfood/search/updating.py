"""Adding items to an index and deleting some: killed at any moment, such a call leaves the old index or the new.

Rows are added behind those that count, or listed as deleted, and ``index.json`` then replaced. The engine follows in a
second step; until then the index compares itself what the engine does not hold. When more rows are deleted than there
are items, those left are written anew, beside the others.
"""

import dataclasses
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from kfood import folders
from kfood.search import building, engines, states
from kfood.search.index import Index
from kfood.search.items import Encoder, Item
from kfood.search.parts import Embeddings
from kfood.search.rows import Rows, Writer

WORTH = 1024
"""Fewer deleted rows are not worth writing the others anew."""


@dataclasses.dataclass(frozen=True)
class Change:
    """What was changed in an index.

    Attributes:
        added: items that are new.
        replaced: items that took the place of others with their ids.
        deleted: items that are gone.
        without_words: ids of items that were left out because the model knows no word of theirs.
        items: that the index holds now.
    """

    added: int
    replaced: int
    deleted: int
    without_words: tuple[str, ...]
    items: int


def add_items(
    path: str | pathlib.Path,
    encoder: Encoder,
    items: Iterable[Item] | Embeddings,
    *,
    dataset: Mapping[str, Any],
    splits: Iterable[str],
    precision: str = "float32",
    advance: Callable[[int], None] = lambda count: None,
) -> Change:
    """Add items to an index; one whose id is there takes the place of the other.

    Args:
        path: the index.
        encoder: the bundle that made it.
        items: as for :func:`kfood.search.build_index`, like the others.
        dataset: see there.
        splits: see there.
        precision: see there.
        advance: see there.

    Raises:
        BlockingIOError: another process is changing the index, or holds its engine's database; in the second case the
            items are there all the same, and the engine follows with the next change.
        FileNotFoundError: no index there.
        ValueError: another bundle or precision, items of other sides, or an embedding with NaN or infinity in it.
    """
    path = pathlib.Path(path)
    states.read(path)
    if isinstance(items, Embeddings):
        items.check(encoder, precision)
    with folders.held(path):
        index = Index.open(path)
        index.check_bundle(encoder)
        if precision != index.precision:
            raise ValueError(f"precision: expected {index.precision}, as of the index, received {precision}.")
        description = dict(index.description)
        engines.engine(description["engine"]["name"]).check(description["engine"]["address"])
        count, before = description["rows"], index.rows
        folder = states.folder(path, description)
        with Writer(folder, index.sides, count, description["embedding_size"]) as writer:
            ids, without_words = building.write_items(writer, encoder, items, advance)
        last = {id: row for row, id in enumerate(ids, count)}
        replaced = [before[id] for id in last if id in before]
        twice = [row for row, id in enumerate(ids, count) if last[id] != row]
        lacking = description["without_words"]
        description |= {
            "rows": count + len(ids),
            "items": len(before) + len(last) - len(replaced),
            "without_words": {
                "count": lacking["count"] + len(without_words),
                "first": [*lacking["first"], *without_words][:5],
            },
        }
        source = {"name": dataset["name"], "fingerprint": dataset["fingerprint"], "splits": list(splits)}
        if source not in (description["dataset"], *description.get("added", [])):
            description["added"] = [*description.get("added", []), source]
        _commit(path, description, [*replaced, *twice], states.row_names(description))
    return Change(len(last) - len(replaced), len(replaced), 0, tuple(without_words), description["items"])


def delete_items(path: str | pathlib.Path, ids: Iterable[str]) -> Change:
    """Delete items from an index.

    Args:
        path: the index.
        ids: of the items; all of them have to be there.

    Raises:
        BlockingIOError: as for :func:`add_items`.
        FileNotFoundError: no index there.
        ValueError: an id that is not of the index; nothing is deleted then.
    """
    path, ids = pathlib.Path(path), list(dict.fromkeys(ids))
    states.read(path)
    with folders.held(path):
        index = Index.open(path)
        unknown = [id for id in ids if id not in index.rows]
        if unknown:
            raise ValueError(
                f"{path}: expected ids of its items, received {len(unknown)} that are not: "
                f"{', '.join(map(repr, unknown[:5]))}{', …' if len(unknown) > 5 else ''}; nothing was deleted."
            )
        description = dict(index.description)
        description["items"] -= len(ids)
        _commit(path, description, [index.rows[id] for id in ids], ())
    return Change(0, 0, len(ids), (), description["items"])


def _commit(path, description, deleted, changed):
    """Make the change, then let the engine follow, or write what is left anew."""
    if deleted:
        before = states.deleted_name(description)
        known = np.fromfile(path / before, np.int64) if description["deleted"] else np.zeros(0, np.int64)
        description["deleted"] += len(deleted)
        np.concatenate([known, np.array(deleted, np.int64)]).tofile(path / states.deleted_name(description))
    states.commit(path, description, changed)
    state = description["engine"] = dict(description["engine"])
    engine = engines.engine(state["name"])
    if description["deleted"] > max(description["items"], WORTH):
        old, description = description, _rewritten(path, description)
        states.commit(path, description)
        building.drop(path, old)
    else:
        behind = max(description["rows"] - state["rows"], description["deleted"] - state["deleted"])
        if behind > max(engine.lag(place) for place in states.places(path, description)):
            try:
                building.extend(path, description, measured=False)
            except (BlockingIOError, ConnectionError) as error:
                raise type(error)(
                    f"{error} The items are changed all the same; until the next change the index compares itself what "
                    "its engine lacks."
                ) from error
            states.commit(path, description, states.engine_names(description))
    states.clean(path, description)


def _rewritten(path, description):
    """The items alone, in a folder of their own: its description."""
    old, dim = states.folder(path, description), description["embedding_size"]
    sides = states.sides(description)
    new = {
        **description,
        "generation": description["generation"] + 1,
        "rows": description["items"],
        "deleted": 0,
        "engine": {**description["engine"], "key": uuid.uuid4().hex, "rows": 0, "deleted": 0},
        "files": {},
    }
    states.clean(path, description)
    states.folder(path, new).mkdir()
    rows = Rows(old, sides, description["rows"], dim)
    alive = np.ones(description["rows"], bool)
    alive[np.fromfile(path / states.deleted_name(description), np.int64)] = False
    kept = np.flatnonzero(alive)
    with Writer(states.folder(path, new), sides, 0, dim) as writer:
        rows.copy(kept, writer)
    if new["rows"]:
        building.extend(path, new)
    return new
