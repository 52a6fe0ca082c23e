"""Making an index: embeddings, texts and thumbnails, and what an engine finds rows with."""

import io
import os
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from kfood import folders
from kfood.search import engines, states
from kfood.search.exact import nearest
from kfood.search.items import Encoder, Item
from kfood.search.parts import Embeddings
from kfood.search.rows import Rows, Writer

THUMBNAIL = 160
"""Longer side of a thumbnail, pixels."""

BATCH = 32
"""Items embedded at once."""

_RECALL_QUERIES = 200
_RECALL_TOP = 10


def build_index(
    out: str | pathlib.Path,
    encoder: Encoder,
    items: Iterable[Item] | Embeddings,
    *,
    dataset: Mapping[str, Any],
    splits: Iterable[str],
    precision: str = "float32",
    engine: engines.EngineName = "exact",
    address: str = "",
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Embed items and write an index.

    Args:
        out: the folder to make.
        encoder: the bundle whose encoders embed them.
        items: what to index, or what was embedded before. An item whose recipe has no word that the model knows is
            left out, and counted; of two with the same id the later counts.
        dataset: ``name`` and ``fingerprint`` of where the items come from.
        splits: which of its splits.
        precision: of the encoders that embed them, as it was asked of the bundle; queries are to be embedded likewise.
        engine: what finds rows; see :mod:`kfood.search.engines`.
        address: of a Milvus server that is to keep the vectors too; empty: everything is in the folder.
        overwrite: replace ``out`` if it is an index.
        advance: called with the number of items done since the last call.

    Returns:
        The content of ``index.json``.

    Raises:
        FileExistsError: ``out`` exists.
        ModuleNotFoundError: the engine needs a package that is missing.
        ValueError: nothing to index, an embedding with NaN or infinity in it, embeddings of another bundle or
            precision, or an unknown engine.
    """
    out = pathlib.Path(out)
    if isinstance(items, Embeddings):
        items.check(encoder, precision)
    engines.engine(engine).check(address)  # or a package is missed after all the embedding
    before = states.read(out) if overwrite and _is_of_this_format(out) else None
    with folders.whole_folder(out, kind="indexes", marker=states.NAME, overwrite=overwrite) as part:
        description: dict[str, Any] = {
            "format": states.FORMAT,
            "model": encoder.model,
            "bundle": {"path": _relative(encoder.path, out), "sha256": encoder.sha256, "precision": precision},
            "distance": encoder.distance,
            "embedding_size": encoder.embedding_size,
            "dataset": {"name": dataset["name"], "fingerprint": dataset["fingerprint"], "splits": list(splits)},
            "generation": 1,
            "engine": {"name": engine, "address": address, "key": uuid.uuid4().hex, "rows": 0, "deleted": 0},
            "files": {},
        }
        folder = states.folder(part, description)
        folder.mkdir()
        with Writer(folder, (), 0, encoder.embedding_size) as writer:
            ids, without_words = write_items(writer, encoder, items, advance)
        if not ids:
            raise ValueError("items: expected at least one with a photo and a recipe, received none.")
        last = {id: row for row, id in enumerate(ids)}
        replaced = [row for row, id in enumerate(ids) if last[id] != row]
        description |= {
            "sides": list(writer.sides),
            "rows": len(ids),
            "items": len(last),
            "deleted": len(replaced),
            "without_words": {"count": len(without_words), "first": without_words[:5]},
        }
        if replaced:
            np.array(replaced, np.int64).tofile(part / states.deleted_name(description))
        try:
            extend(part, description)
            for place in states.places(part, description):
                engines.engine(engine).close(place)  # the folder is about to be renamed
            states.commit(part, description)
        except BaseException:
            drop(part, description)
            raise
    if before is not None:
        drop(out, before)
    return description


def extend(path: pathlib.Path, description: dict[str, Any], measured: bool = True) -> None:
    """Bring an index's engine up to its rows, where these are enough for it, and say so in the description.

    Args:
        path: the index.
        description: content of ``index.json``.
        measured: whether to say, too, how much of the exact answer it finds.
    """
    state, rows = description["engine"], description["rows"]
    engine = engines.engine(state["name"])
    if rows < engine.least:
        return
    sides = states.sides(description)
    galleries = Rows(states.folder(path, description), sides, rows, description["embedding_size"]).embeddings
    for place in states.places(path, description):
        engine.extend(place, galleries[place.side], state["rows"])
        if description["deleted"] > state["deleted"]:
            deleted = np.fromfile(path / states.deleted_name(description), np.int64)
            engine.forget(place, deleted[state["deleted"] :])
    state["rows"], state["deleted"] = rows, description["deleted"]
    if measured and not engine.exact:
        state["recall"] = {"top": _RECALL_TOP}
        for place in states.places(path, description):
            gallery = galleries[place.side]
            state["recall"][place.side] = _recall(engine, place, gallery, _others(galleries, place.side))


def drop(path: pathlib.Path, description: dict[str, Any]) -> None:
    """Let go of what an index's engine keeps outside of its folder."""
    engine = engines.engine(description["engine"]["name"])
    for place in states.places(path, description):
        engine.drop(place)


def _others(galleries, side):
    """What a side is searched with: the other side of the pairs, where there is one."""
    return next((gallery for name, gallery in galleries.items() if name != side), galleries[side])


def _recall(engine, place, gallery, other):
    """How much of the exact nearest an engine finds."""
    find = engine.finder(place, gallery)
    queries = other[:: max(1, len(other) // _RECALL_QUERIES)][:_RECALL_QUERIES]
    top, hits = min(_RECALL_TOP, len(gallery)), 0
    for query in np.asarray(queries):
        best, _ = nearest(query, gallery, distance=place.distance, top=top)
        found, _ = nearest(query, gallery, distance=place.distance, top=top, candidates=find(query, top, None))
        hits += len(np.intersect1d(best, found))
    return hits / (top * len(queries))


def write_items(
    writer: Writer,
    encoder: Encoder,
    items: Iterable[Item] | Embeddings,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[list[str], list[str]]:
    """Embed items, unless they are, and write embeddings, texts and thumbnails.

    Returns:
        The ids of the rows written, and those left out because the model knows no word of theirs.
    """
    if isinstance(items, Embeddings):
        return items.copy(writer, advance)
    ids: list[str] = []
    without_words: list[str] = []
    for batch in _batches(items):
        kept, recipes = _encode_recipes(encoder, batch)
        kept_ids = {item.id for item in kept}
        without_words += [item.id for item in batch if item.id not in kept_ids]
        if kept:
            placed = kept[0].location is not None
            location: Any = np.stack([item.location for item in kept]) if placed else None
            embeddings: Any = {"photos": encoder.encode_images([item.photo for item in kept], location=location)}
            if recipes is not None:
                embeddings["recipes"] = recipes
            if kept[0].trajectory is not None:
                points: Any = np.stack([item.trajectory for item in kept])
                embeddings["trajectories"] = encoder.encode("trajectory", {"trajectory": points})
            records = [
                {key: getattr(item, key) for key in ("id", "title", "ingredients", "instructions")} for item in kept
            ]
            writer.add(list(zip(records, (_thumbnail(item.photo) for item in kept), strict=True)), embeddings)
            ids += [item.id for item in kept]
        advance(len(batch))
    return ids, without_words


def _batches(items):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _encode_recipes(encoder, batch):
    """Items of which the encoder knows a word, and their embeddings; None for photos alone."""
    if all(item.recipe is None for item in batch):
        return batch, None
    embeddings, _, known = encoder.read_recipes([item.recipe for item in batch])
    return [item for item, words in zip(batch, known, strict=True) if words], embeddings[known > 0]


def _thumbnail(photo):
    from PIL import Image

    image = Image.fromarray(photo)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def _is_of_this_format(path):
    try:
        return bool(states.read(path))
    except (OSError, ValueError):
        return False


def _relative(path, start):
    try:
        return pathlib.Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive of Windows
        return str(pathlib.Path(path).resolve())
