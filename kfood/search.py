"""An index of recipes or trajectories and their pictures, or of photos alone, and what is nearest to an embedding.

::

    INDEX/
      index.json        what it is: bundle, model, distance, dataset, number of items
      photos.npy        float32 [items, dim], embeddings of the photos
      recipes.npy       float32 [items, dim], embeddings of the recipes, where there are any
      trajectories.npy  likewise of trajectories; photos are then their map pictures
      items.jsonl       a line an item: id, title, ingredients, instructions
      thumbnails.bin    a small JPEG of each item's photo, one after the other
      offsets.npy       int64 [2, items + 1]: where each line and each thumbnail begins
      photos.faiss, recipes.faiss    on request, a graph to search in
      photos.codes.npy, …        or, on request, embeddings in int8 [items, dim] or in bits, uint8 [items, dim / 8]
      photos.codebook.npy, …     float32 [dim]: what 1 means in each column of int8; above what a bit is 1

Searching needs neither the dataset nor TensorFlow: embeddings are mapped, not loaded, and compared in blocks. The
search is exact by default. For galleries of millions it first picks candidates, and compares those exactly: with
FAISS's HNSW graph, which looks at a part of the gallery only; or by int8 or binary codes, a quarter or a 32nd of the
embeddings, so that a gallery stays in memory that would not fit as it is.
"""

import dataclasses
import io
import json
import os
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import numpy as np

from kfood import folders
from kfood.evaluation import exact, metrics

FORMAT = 2
"""Version of the folder's layout."""

Approximate = Literal["hnsw", "int8", "binary"]
"""Ways to pick candidates."""

Side = Literal["photos", "recipes", "trajectories"]
SIDES: tuple[Side, ...] = ("photos", "recipes", "trajectories")

THUMBNAIL = 160
"""Longer side of a thumbnail, pixels."""

BATCH = 32
"""Items embedded at once."""

_LEGEND = (
    "Under each photo: the picture that the model generates from the embedding alone, so what it has understood. "
    "Embeddings that lie close together give pictures that look alike."
)
_BLOCK = 16_384
_NEIGHBOURS = 32
_EFFORT = 128
_CANDIDATES = {"hnsw": (2, 0), "int8": (4, 50), "binary": (20, 500)}
"""How many are compared exactly: so many times the wanted number, and so many at least."""

_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_RECALL_QUERIES = 200
_RECALL_TOP = 10


class Encoder(Protocol):
    """What an index needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    path: pathlib.Path
    sha256: str
    model: str
    distance: Any
    embedding_size: int

    def encode_images(self, images: list[np.ndarray], *, location: np.ndarray | None = None) -> np.ndarray:
        """Arrays uint8 [height, width, 3], map pictures with location [n, 4] → float32 [n, embedding_size]."""

    def encode(self, encoder: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Inputs by name, ready for an encoder → float32 [n, embedding_size]."""

    def encode_recipes(self, recipes: list[Mapping[str, Any]]) -> np.ndarray:
        """Recipes as text → float32 [n, embedding_size]."""


class Generator(Protocol):
    """What an explanation needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    model: str

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders."""

    def sources(self, decoder: str) -> tuple[str, ...]:
        """Encoders whose embeddings a decoder takes, the usual one first."""

    def decode(self, decoder: str, embeddings: np.ndarray) -> np.ndarray:
        """float32 [n, embedding_size] → float32 [n, height, width, 3] in [0, 255]."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One recipe or trajectory with its picture, or a photo alone, to be indexed.

    Attributes:
        id: of the recipe or photo.
        title: of the recipe; of a photo its class.
        ingredients: lines as written, to be shown.
        instructions: sentences, to be shown.
        recipe: what the recipe encoder reads, see ``Bundle.encode_recipes``; None in an index of photos alone.
        photo: uint8 [height, width, 3].
        trajectory: float32 [points, 2], metres, as the encoder reads it; None where there is none.
        location: float32 [4], corners of a map picture: left, top, right, bottom; None of a photo.
    """

    id: str
    title: str
    ingredients: list[str]
    instructions: list[str]
    recipe: Mapping[str, Any] | None
    photo: np.ndarray
    trajectory: np.ndarray | None = None
    location: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """One thing found.

    Attributes:
        row: of the index.
        rank: from 1.
        distance: to the query; small = near. Euclidean distance, one minus the cosine, or minus the dot product.
        id: of the recipe.
        title: of the recipe.
        ingredients: lines as written.
        instructions: sentences.
        thumbnail: JPEG bytes of the photo, reduced.
    """

    row: int
    rank: int
    distance: float
    id: str
    title: str
    ingredients: list[str]
    instructions: list[str]
    thumbnail: bytes


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Pictures generated from embeddings: what a model knows of a query and of what it found (R2GAN's Figure 4).

    Attributes:
        query: uint8 [height, width, 3]; None if the model does not generate from the query's kind.
        results: uint8 [found, height, width, 3].
        source: what the pictures of the results are generated from: ``"recipe"`` or ``"photo"``.
    """

    query: np.ndarray | None
    results: np.ndarray
    source: str


def build_index(
    out: str | pathlib.Path,
    encoder: Encoder,
    items: Iterable[Item],
    *,
    dataset: Mapping[str, Any],
    splits: Iterable[str],
    precision: str = "float32",
    approximate: Approximate | None = None,
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Embed items and write an index.

    Args:
        out: the folder to make.
        encoder: the bundle whose encoders embed them.
        items: what to index. An item whose recipe has no word that the model reads is left out, and counted.
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
    if approximate is not None and approximate not in _CANDIDATES:
        raise ValueError(f"approximate: expected one of {', '.join(_CANDIDATES)}, received {approximate!r}.")
    with folders.whole_folder(out, kind="indexes", marker="index.json", overwrite=overwrite) as part:
        if approximate == "hnsw":
            _import_faiss()  # or it is missed after all the embedding
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
            description["approximate"] = _write_approximate(part, approximate, encoder.distance, sides)
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (part / "index.json").write_text(text, encoding="utf-8")
    return description


class Index:
    """An index on disk; open one with :meth:`Index.open`.

    Attributes:
        path: the folder.
        description: content of ``index.json``.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
    """

    def __init__(self, path, description, embeddings, offsets):
        self.path = path
        self.description = description
        self.distance: exact.Distance = description["distance"]
        self._embeddings = embeddings
        self._offsets = offsets
        self._pickers: dict[Side, Callable[[np.ndarray, int], list[np.ndarray]]] = {}

    def __len__(self):
        return self.description["items"]

    @classmethod
    def open(cls, path: str | pathlib.Path) -> "Index":
        """Open an index made by ``kfood index``.

        Raises:
            FileNotFoundError: no index there, or one of its files is missing.
            ValueError: an index of another format, or a damaged one.
        """
        path = pathlib.Path(path)
        file = path / "index.json"
        if not file.is_file():
            raise FileNotFoundError(f"{path}: expected an index made by `kfood index`, found no index.json in it.")
        try:
            description = json.loads(file.read_text(encoding="utf-8"))
            received = description["format"]
            shape = (description["items"], description["embedding_size"])
            sides = [side for side in SIDES if side in description.get("sides", SIDES)]
            needed = [*(f"{side}.npy" for side in sides), "items.jsonl", "thumbnails.bin", "offsets.npy"]
            if description["approximate"]:
                needed += [f"{side}.{end}" for side in sides for end in _ENDINGS[description["approximate"]["method"]]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: expected the description of an index, received {error!r}.") from error
        if received != FORMAT:
            raise ValueError(f"{file}: expected an index of format {FORMAT}, received format {received!r}.")
        for name in needed:
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path}: expected the file {name}, but it is missing.")
        try:
            embeddings = {side: np.load(path / f"{side}.npy", mmap_mode="r") for side in sides}
            offsets = np.load(path / "offsets.npy")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: expected whole .npy files, received a damaged one ({error}).") from error
        for side, array in embeddings.items():
            if array.shape != shape:
                raise ValueError(f"{path / side}.npy: expected shape {list(shape)}, received {list(array.shape)}.")
        sizes = [(path / name).stat().st_size for name in ("items.jsonl", "thumbnails.bin")]
        if offsets.shape != (2, shape[0] + 1) or list(offsets[:, -1]) != sizes:
            raise ValueError(
                f"{path}: expected items.jsonl and thumbnails.bin to end where offsets.npy says; it is damaged."
            )
        return cls(path, description, embeddings, offsets)

    @property
    def sides(self) -> tuple[Side, ...]:
        """What can be searched: photos, and recipes where there are any."""
        return tuple(self._embeddings)

    @property
    def precision(self) -> str:
        """Of the encoders that made it, and that its queries are for."""
        return self.description["bundle"].get("precision", "float32")

    @property
    def bundle(self) -> pathlib.Path:
        """Where the bundle was, seen from the index."""
        return self.path / self.description["bundle"]["path"]

    def check_bundle(self, bundle: Encoder) -> None:
        """Refuse a bundle that did not make this index.

        Raises:
            ValueError: embeddings of different bundles cannot be compared.
        """
        expected = self.description["bundle"]["sha256"]
        if bundle.sha256 != expected:
            raise ValueError(
                f"{self.path}: expected the bundle that made the index ({self.description['model']}, "
                f"sha256 {expected[:12]}…), received {bundle.path} ({bundle.model}, {bundle.sha256[:12]}…); "
                "index again with this bundle."
            )

    def embeddings(self, side: Side) -> np.ndarray:
        """float32 [items, dim] of the photos or of the recipes, mapped from disk."""
        if side not in self._embeddings:
            raise ValueError(f"side: expected one of {', '.join(self._embeddings)}, received {side!r}.")
        return self._embeddings[side]

    def search(self, query: np.ndarray, side: Side, top: int = 5) -> list[Result]:
        """The items whose photos, or whose recipes, are nearest to a query.

        Args:
            query: float [dim], an embedding by the index's bundle.
            side: what to compare it with.
            top: items wanted; all if there are fewer.

        Returns:
            Nearest first, equal distances in the order of the index. Exact, unless the index is approximate.

        Raises:
            ValueError: ``top`` below 1, an unknown side, or a query of another width.
        """
        gallery = self.embeddings(side)
        query = np.asarray(query, np.float32)
        if query.shape != gallery.shape[1:]:
            raise ValueError(f"query: expected [{gallery.shape[1]}], received {list(query.shape)}.")
        if top < 1:
            raise ValueError(f"top: expected at least 1, received {top}.")
        candidates = None
        if self.description["approximate"]:
            if side not in self._pickers:  # a graph is read whole from disk: once
                method = self.description["approximate"]["method"]
                self._pickers[side] = _picker(self.path, side, method, self.distance)
            candidates = self._pickers[side](query[None], top)[0]
        rows, distances = nearest(query, gallery, distance=self.distance, top=top, candidates=candidates)
        return [self._result(rank, *found) for rank, found in enumerate(zip(rows, distances, strict=True), 1)]

    def _result(self, rank, row, distance):
        line, thumbnail = (
            _read(self.path / name, *offsets[row : row + 2])
            for name, offsets in zip(("items.jsonl", "thumbnails.bin"), self._offsets, strict=True)
        )
        return Result(row=int(row), rank=rank, distance=float(distance), **json.loads(line), thumbnail=thumbnail)


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    distance: exact.Distance,
    top: int,
    candidates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a gallery nearest to a query, exactly, in bounded memory.

    A float32 product finds the rows that can be among the nearest, with room for all its rounding; those are compared
    in float64.

    Args:
        query: float32 [dim].
        gallery: float32 [n, dim]; may be mapped from disk.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
        top: rows wanted; all if there are fewer.
        candidates: rows to choose from; all by default.

    Returns:
        Rows, int64 [top], nearest first (ties by row), and their distances, float64 [top]; small = near.
    """
    if candidates is None:
        candidates = _candidates(query, gallery, distance, top)
    candidates = np.sort(candidates)
    kept = np.zeros(0, np.int64)
    for start in range(0, len(candidates), _BLOCK):  # candidates are many where the gallery has collapsed to a point
        rows = np.concatenate([kept, candidates[start : start + _BLOCK]])
        order, values = metrics.nearest(query, gallery[rows], distance=distance, k=top)
        kept = np.sort(rows[order]) if start + _BLOCK < len(candidates) else rows[order]
    return kept, {"euclidean": values, "cosine": 1 - values, "dot": -values}[distance]


def text_as_recipe(text: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Free text as a recipe of which little is known.

    Where the model reads titles the text is the title; a list (with commas, semicolons or several lines) is the
    ingredients besides. A model without titles receives it as ingredients and as the one instruction.

    Args:
        text: e.g. ``"chicken soup"`` or ``"chicken, leek, carrots"``.
        spec: the bundle's, for ``title_words`` and ``instruction_vectors``.

    Returns:
        A recipe for ``Bundle.encode_recipes``.
    """
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    titled = bool(spec["title_words"])
    recipe: dict[str, Any] = {"title": text, "ingredients": parts if len(parts) > 1 or not titled else []}
    if spec["instruction_vectors"]:
        return recipe | {"instruction_vectors": []}
    return recipe | {"instructions": [] if titled else [text]}


def explain(
    generator: Generator, index: Index, query: np.ndarray, encoder: str, results: list[Result], side: Side
) -> Explanation:
    """Pictures generated from the embeddings of a query and of what it found.

    Of the results those embeddings are decoded that the query was compared with, or the recipes' where the model
    generates from nothing else.

    Args:
        generator: the bundle that made the index.
        index: where the results come from.
        query: float32 [dim].
        encoder: which encoder made it: ``"image"`` or ``"recipe"``.
        results: from :meth:`Index.search`.
        side: what the query was compared with.

    Raises:
        ValueError: the bundle has no decoder called ``picture``.
    """
    if "picture" not in generator.decoders:
        raise ValueError(
            f"expected a bundle that generates pictures (of R2GAN, or of ACME with recipe → image), received one of "
            f"{generator.model}, which has {_listed(generator.decoders)}."
        )
    sources = generator.sources("picture")
    compared = {"photos": "image", "recipes": "recipe", "trajectories": "trajectory"}[side]
    source = compared if compared in sources else sources[0]
    embeddings = index.embeddings("photos" if source == "image" else "recipes")[[result.row for result in results]]

    def pictures(of):
        return np.clip(np.rint(generator.decode("picture", np.asarray(of, np.float32))), 0, 255).astype(np.uint8)

    return Explanation(
        pictures(query[None])[0] if encoder in sources else None,
        pictures(embeddings),
        "photo" if source == "image" else source,
    )


def _listed(decoders):
    return f"decoders {', '.join(decoders)}" if decoders else "no decoder"


def draw_results(
    query: bytes | np.ndarray | str, results: list[Result], title: str = "", explanation: Explanation | None = None
) -> bytes:
    """One picture: the query beside what was found, and under each the picture generated from its embedding.

    Args:
        query: a photo, uint8 [height, width, 3] or encoded, or a text.
        results: from :meth:`Index.search`.
        title: above all.
        explanation: of the same results, where generated pictures are wanted.

    Returns:
        PNG bytes.
    """
    from PIL import Image, ImageDraw, ImageFont

    cell, gap, caption, head = 200, 12, 66, 30 if title else 0
    made = 0 if explanation is None else cell + 30  # height of a generated picture with its caption
    columns = min(5, len(results))
    block = cell + caption + made + gap
    width = gap + (columns + 1) * (cell + gap)
    legend = [] if explanation is None else textwrap.wrap(_LEGEND, width // 7)
    note = 18 * len(legend) + gap if legend else 0
    canvas = Image.new("RGB", (width, head + gap + -(-len(results) // columns) * block + note), "white")
    draw = ImageDraw.Draw(canvas)
    font, bold = ImageFont.load_default(13), ImageFont.load_default(15)
    if title:
        draw.text((gap, gap), title, fill="black", font=bold)
    top = head + gap

    def show(photo, x, y):
        image = Image.fromarray(photo) if isinstance(photo, np.ndarray) else Image.open(io.BytesIO(photo))
        image = image.convert("RGB")
        scale = cell / max(image.size)
        image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
        canvas.paste(image, (x + (cell - image.width) // 2, y + (cell - image.height) // 2))

    def write(text, x, y, most, fill="black"):
        wrapped = textwrap.wrap(text, 30)
        if len(wrapped) > most:
            wrapped = [*wrapped[: most - 1], wrapped[most - 1][:29] + "…"]
        draw.multiline_text((x, y), "\n".join(wrapped), fill=fill, font=font, spacing=3)

    def show_made(picture, source, x, y):
        show(picture, x, y)
        write(f"generated from this {source}", x, y + cell + 6, 1, fill="#666666")

    if isinstance(query, str):
        write(query, gap, top, 12)
    else:
        show(query, gap, top)
    draw.rectangle((gap - 4, top - 4, gap + cell + 4, top + cell + 4), outline="#c0392b", width=2)
    draw.text((gap, top + cell + 6), "query", fill="#c0392b", font=bold)
    if explanation is not None and explanation.query is not None:
        show_made(explanation.query, "query", gap, top + cell + caption)
    elif explanation is not None:
        lacking = f"No picture of the query: this model generates pictures from {explanation.source}s only."
        write(lacking, gap, top + cell + caption, 4, fill="#666666")
    for position, result in enumerate(results):
        x = gap + (1 + position % columns) * (cell + gap)
        y = top + position // columns * block
        show(result.thumbnail, x, y)
        draw.text((x, y + cell + 6), f"{result.rank}   {result.distance:.3f}", fill="#2c5d8f", font=bold)
        write(result.title, x, y + cell + 26, 2)
        if explanation is not None:
            show_made(explanation.results[position], explanation.source, x, y + cell + caption)
    draw.multiline_text((gap, canvas.height - note), "\n".join(legend), fill="#666666", font=font, spacing=3)
    encoded = io.BytesIO()
    canvas.save(encoded, "PNG")
    return encoded.getvalue()


def _write_items(part, encoder, items, advance):
    """Write embeddings, texts and thumbnails.

    Returns:
        The number written, ids left out because no word of theirs is read, and the sides that there are.
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
            without_words += [item.id for item in batch if item not in kept]
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
    """Items that the encoder can read, and their embeddings; None for photos alone."""
    if all(item.recipe is None for item in batch):
        return batch, None
    try:
        return batch, encoder.encode_recipes([item.recipe for item in batch])
    except ValueError:
        if len(batch) == 1:
            return [], None
    parts = [_encode_recipes(encoder, [item]) for item in batch]
    kept = [item for items, _ in parts for item in items]
    return kept, np.concatenate([embeddings for items, embeddings in parts if items]) if kept else None


def _thumbnail(photo):
    from PIL import Image

    image = Image.fromarray(photo)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def _scores(query, gallery, distance):
    """float32 [n] for one block, in the order of the distance: squared Euclidean distance, minus cosine, minus dot."""
    products = gallery @ query
    if distance == "dot":
        return -products
    squares = np.einsum("nd,nd->n", gallery, gallery)
    if distance == "cosine":
        norms = np.sqrt(squares) * np.linalg.norm(query)
        return -np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return squares - 2 * products + query @ query


def _candidates(query, gallery, distance, top):
    """Every row that can be among the ``top`` nearest, whatever float32 has rounded away."""
    scores = np.empty(len(gallery), np.float32)
    largest = 0.0
    for start in range(0, len(gallery), _BLOCK):
        block = np.asarray(gallery[start : start + _BLOCK])
        scores[start : start + _BLOCK] = _scores(query, block, distance)
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
    if top >= len(gallery):
        return np.arange(len(gallery))
    # A sum of dim products is off by at most dim * 2^-24 of the sum of their sizes.
    width = gallery.shape[1]
    scale = 1.0 if distance == "cosine" else width * (largest + float(np.abs(query).max(initial=0.0))) ** 2
    slack = 4 * (width + 4) * 2.0**-24 * scale
    threshold = np.partition(scores, top - 1)[top - 1]
    return np.flatnonzero(scores <= threshold + 2 * slack)


_ENDINGS = {"hnsw": ["faiss"], "int8": ["codes.npy", "codebook.npy"], "binary": ["codes.npy", "codebook.npy"]}


def _write_approximate(part, method, distance, sides):
    """Write for each side what candidates are picked with, and measure how much of the exact answer it finds."""
    arrays = {side: np.load(part / f"{side}.npy", mmap_mode="r") for side in sides}
    recall = {}
    for side, gallery in arrays.items():
        if method == "hnsw":
            _write_graph(part / f"{side}.faiss", gallery, distance)
        else:
            _write_codes(part, side, method, gallery, distance)
        other = next((arrays[name] for name in sides if name != side), gallery)
        step = max(1, len(other) // _RECALL_QUERIES)
        queries = np.asarray(other[::step][:_RECALL_QUERIES])
        top = min(_RECALL_TOP, len(gallery))
        found = _picker(part, side, method, distance)(queries, top)
        hits = 0
        for query, candidates in zip(queries, found, strict=True):
            exact, _ = nearest(query, gallery, distance=distance, top=top)
            hits += len(
                np.intersect1d(exact, nearest(query, gallery, distance=distance, top=top, candidates=candidates)[0])
            )
        recall[side] = hits / (top * len(queries))
    return {"method": method, "top": _RECALL_TOP, "queries": len(queries), "recall": recall}


def _write_graph(path, gallery, distance):
    faiss = _import_faiss()
    graph = faiss.IndexHNSWFlat(
        gallery.shape[1], _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT if distance == "dot" else faiss.METRIC_L2
    )
    graph.hnsw.efConstruction = _EFFORT
    for start in range(0, len(gallery), _BLOCK):
        graph.add(_for_faiss(gallery[start : start + _BLOCK], distance))
    graph.hnsw.efSearch = _EFFORT
    faiss.write_index(graph, str(path))


def _write_codes(part, side, method, gallery, distance):
    """Embeddings as int8, the largest of a column at 127, or as bits: above the column's mean."""
    blocks = range(0, len(gallery), _BLOCK)
    if method == "int8":
        largest = [np.abs(_for_faiss(gallery[start : start + _BLOCK], distance)).max(axis=0) for start in blocks]
        book = np.maximum(np.max(largest, axis=0), 1e-12).astype(np.float32) / 127
    else:
        sums = [_for_faiss(gallery[start : start + _BLOCK], distance).sum(axis=0, dtype=np.float64) for start in blocks]
        book = (np.sum(sums, axis=0) / len(gallery)).astype(np.float32)
    np.save(part / f"{side}.codebook.npy", book)
    width, dtype = (gallery.shape[1], np.int8) if method == "int8" else (-(-gallery.shape[1] // 8), np.uint8)
    codes = np.lib.format.open_memmap(part / f"{side}.codes.npy", "w+", dtype, (len(gallery), width))
    for start in blocks:
        codes[start : start + _BLOCK] = _codes(_for_faiss(gallery[start : start + _BLOCK], distance), method, book)
    codes.flush()


def _codes(embeddings, method, book):
    return np.rint(embeddings / book).astype(np.int8) if method == "int8" else np.packbits(embeddings > book, axis=1)


def _picker(path, side, method, distance) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Opens what an index picks candidates with: (queries float32 [m, dim], wanted) → int64 rows of each query."""
    times, least = _CANDIDATES[method]
    if method == "hnsw":
        graph = _import_faiss().read_index(str(path / f"{side}.faiss"))

        def by_graph(queries, top):
            graph.hnsw.efSearch = max(_EFFORT, times * top)
            _, rows = graph.search(_for_faiss(queries, distance), min(times * top, graph.ntotal))
            return [row[row >= 0] for row in rows]

        return by_graph
    codes, book = np.load(path / f"{side}.codes.npy", mmap_mode="r"), np.load(path / f"{side}.codebook.npy")

    def by_codes(queries, top):
        queries, count = _for_faiss(queries, distance), min(max(times * top, least), len(codes))
        scores = np.empty((len(queries), len(codes)), np.float32)
        asked = queries if method == "int8" else _codes(queries, method, book)
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK]
            if method == "int8":
                block = block * book
            for row, query in enumerate(asked):
                part = _scores(query, block, distance) if method == "int8" else _BITS[block ^ query].sum(axis=1)
                scores[row, start : start + _BLOCK] = part
        return [np.argpartition(row, count - 1)[:count] for row in scores]

    return by_codes


def _for_faiss(embeddings, distance):
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if distance != "cosine":
        return embeddings
    # Between unit vectors the Euclidean distance orders as the cosine does.
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32(1e-12))


def _import_faiss():
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "approximate search: expected FAISS, received none; pip install 'kfood[faiss]'."
        ) from error
    return faiss


def _relative(path, start):
    try:
        return pathlib.Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive of Windows
        return str(pathlib.Path(path).resolve())


def _read(path, start, end):
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(end - start)
