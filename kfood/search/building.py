"""Writing an index: embeddings, texts and thumbnails, and what candidates are picked with."""

import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from kfood import folders
from kfood.search import candidates, fingerprints
from kfood.search.index import FORMAT
from kfood.search.items import SIDES, Encoder, Item

THUMBNAIL = 160
"""Longer side of a thumbnail, pixels."""

BATCH = 32
"""Items embedded at once."""


def build_index(
    out: str | pathlib.Path,
    encoder: Encoder,
    items: Iterable[Item],
    *,
    dataset: Mapping[str, Any],
    splits: Iterable[str],
    precision: str = "float32",
    approximate: candidates.Approximate | None = None,
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Embed items and write an index.

    Args:
        out: the folder to make.
        encoder: the bundle whose encoders embed them.
        items: what to index. An item whose recipe has no word that the model knows is left out, and counted.
        dataset: ``name`` and ``fingerprint`` of where the items come from.
        splits: which of its splits.
        precision: of the encoders that embed them, as it was asked of the bundle; queries are to be embedded likewise.
        approximate: how to pick candidates, with ``"hnsw"`` by FAISS (extra ``faiss``); None: search exactly.
        overwrite: replace ``out`` if it is an index.
        advance: called with the number of items done since the last call.

    Returns:
        The content of ``index.json``.

    Raises:
        FileExistsError: ``out`` exists.
        ModuleNotFoundError: ``"hnsw"`` without FAISS.
        ValueError: nothing to index, or an unknown way to pick candidates.
    """
    out = pathlib.Path(out)
    if approximate is not None and approximate not in candidates.ENGINES:
        raise ValueError(f"approximate: expected one of {', '.join(candidates.ENGINES)}, received {approximate!r}.")
    with folders.whole_folder(out, kind="indexes", marker="index.json", overwrite=overwrite) as part:
        if approximate is not None:
            candidates.ENGINES[approximate].check()  # or a package is missed after all the embedding
        count, without_words, sides = _write_items(part, encoder, items, advance)
        if not count:
            raise ValueError("items: expected at least one with a photo and a recipe, received none.")
        description: dict[str, Any] = {
            "format": FORMAT,
            "model": encoder.model,
            "bundle": {"path": _relative(encoder.path, out), "sha256": encoder.sha256, "precision": precision},
            "distance": encoder.distance,
            "embedding_size": encoder.embedding_size,
            "dataset": {"name": dataset["name"], "fingerprint": dataset["fingerprint"], "splits": list(splits)},
            "items": count,
            "sides": sides,
            "without_words": {"count": len(without_words), "first": without_words[:5]},
            "approximate": None,
        }
        if approximate is not None:
            description["approximate"] = candidates.write(part, approximate, encoder.distance, sides)
        names = sorted(path.name for path in part.iterdir())
        description["files"] = {name: fingerprints.fingerprint(part / name) for name in names}
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (part / "index.json").write_text(text, encoding="utf-8")
    return description


def _write_items(part, encoder, items, advance):
    """Write embeddings, texts and thumbnails.

    Returns:
        The number written, ids left out because no word of theirs is known, and the sides that there are.
    """
    count, without_words, offsets = 0, [], ([0], [0])
    with (
        open(part / "photos.raw", "wb") as photos,
        open(part / "recipes.raw", "wb") as recipes,
        open(part / "trajectories.raw", "wb") as trajectories,
        open(part / "items.jsonl", "wb") as lines,
        open(part / "thumbnails.bin", "wb") as thumbnails,
    ):
        for batch in _batches(items):
            kept, embeddings = _encode_recipes(encoder, batch)
            kept_ids = {item.id for item in kept}
            without_words += [item.id for item in batch if item.id not in kept_ids]
            if kept:
                location = None if kept[0].location is None else np.stack([item.location for item in kept])
                photos.write(encoder.encode_images([item.photo for item in kept], location=location).tobytes())
                if kept[0].trajectory is not None:
                    points = np.stack([item.trajectory for item in kept])
                    trajectories.write(encoder.encode("trajectory", {"trajectory": points}).tobytes())
                if embeddings is not None:
                    recipes.write(embeddings.tobytes())
            for item in kept:
                record = {key: getattr(item, key) for key in ("id", "title", "ingredients", "instructions")}
                lines.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
                thumbnails.write(_thumbnail(item.photo))
                offsets[0].append(lines.tell())
                offsets[1].append(thumbnails.tell())
            count += len(kept)
            advance(len(batch))
    np.save(part / "offsets.npy", np.array(offsets, np.int64))
    sides = []
    for side in SIDES:
        raw = part / f"{side}.raw"
        if raw.stat().st_size:
            sides.append(side)
            array = np.memmap(raw, np.float32, "r", shape=(count, encoder.embedding_size))
            np.save(part / f"{side}.npy", array)
            del array  # or Windows keeps the file
        raw.unlink()
    return count, without_words, sides


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


def _relative(path, start):
    try:
        return pathlib.Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive of Windows
        return str(pathlib.Path(path).resolve())
