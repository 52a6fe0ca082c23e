"""An index and the bundle that made it → a folder that searches in the browser."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

import kfood
import kfood.serve
from kfood import folders
from kfood.data.ingredient_names import BEFORE, UNITS
from kfood.data.recipe_fields import OF_INGREDIENT, USUAL
from kfood.search import Encoder, Index, Side
from kfood.site.vendored import OnnxruntimeWeb

FORMAT = 1
"""Version of the folder's layout."""

MARKER = "site.json"

MANY = 20_000
"""Items from which on a browser has much to load and to compare: beyond, a service answers better."""

BLOCK = 2_048
"""Items whose embeddings, or texts, are one file: some servers take no file of more than 25 MB."""

THUMBNAILS = 1_000
"""Thumbnails in one folder."""

_STATIC = pathlib.Path(__file__).with_name("static")
_PAGE = pathlib.Path(kfood.serve.__file__).with_name("static")
_CHARSET = '<meta charset="utf-8">'
_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'"
)
"""What the page may load: its own files. The service says as much in a header."""


class Networks(Encoder, Protocol):
    """What a site needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    spec: dict[str, Any]
    manifest: dict[str, Any]
    precisions: dict[str, str]

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders."""

    def network(self, encoder: str) -> bytes:
        """The ONNX file of an encoder that takes texts, or photos of any size."""


_TABLES = {
    "units": sorted(UNITS),
    "before": sorted(BEFORE),
    "fields": {what: USUAL[what] for what in ("title", "ingredients", "instructions", "names")},
    "of_ingredient": OF_INGREDIENT,
}
"""By which the page reads recipes as :mod:`kfood.data.recipe_fields` does."""


def build_site(
    out: pathlib.Path,
    index: Index,
    bundle: Networks,
    runtime: OnnxruntimeWeb,
    *,
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Write a folder that any server of files can show.

    Args:
        out: the folder to make, laid out as :mod:`kfood.site` says.
        index: what is searched.
        bundle: that made it, in the precision of the index.
        runtime: runs its encoders in the browser.
        overwrite: replace ``out`` if it is a site.
        advance: called with the number of items done since the last call.

    Returns:
        The content of ``site.json``.

    Raises:
        FileExistsError: ``out`` exists.
        ValueError: an index of trajectories, of another bundle, or whose embeddings float16 cannot hold.
    """
    if "trajectories" in index.sides:
        raise ValueError(f"{index.path}: expected an index of recipes or photos, received one of trajectories.")
    index.check_bundle(bundle)
    # A model of precomputed sentence vectors reads no text that anybody could type.
    reads = "recipe" in bundle.encoders and "recipes" in index.sides and not bundle.spec["instruction_vectors"]
    with folders.whole_folder(out, kind="sites", marker=MARKER, overwrite=overwrite) as part:
        _write_page(part, runtime)
        data = f"data-{_fingerprint(index)}"
        (part / data).mkdir()
        encoders = {}
        for name in ("image", "recipe") if reads else ("image",):
            content = bundle.network(name) if name == "image" else _as_lowered(bundle.network(name))
            encoders[name] = {"file": f"{data}/{name}.onnx", "precision": bundle.precisions[name]}
            (part / encoders[name]["file"]).write_bytes(content)
        blocks: dict[str, list[str]] = {side: _write_embeddings(part, data, index, side) for side in index.sides}
        blocks["items"] = _write_items(part, data, index, advance)
        names = [name for name, _ in index.ingredients.names]
        files: dict[str, dict[str, Any]] = {
            path.relative_to(part).as_posix(): {
                "size": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(part.rglob("*"))
            if path.is_file()
        }
        thumbnails = f"{data}/thumbnails"
        loaded = [name for name in files if not name.startswith(thumbnails)]
        description = {
            "format": FORMAT,
            "kfood": kfood.__version__,
            "onnxruntime_web": runtime.version,
            "model": bundle.model,
            "bundle": bundle.sha256,
            "distance": index.distance,
            "items": len(index),
            "dataset": index.description["dataset"]["name"],
            "searches": ["photo", "recipe", "text"] if reads else ["photo"],
            "spec": {name: bundle.spec[name] for name in ("title_words", "ingredient_unit")},
            "encoders": encoders,
            "blocks": blocks,
            "thumbnails": thumbnails,
            "bytes": sum(files[name]["size"] for name in loaded),
            "names": names,
            "tables": _TABLES,
        }
        _write_json(part / MARKER, description)
        _write_json(part / "files.json", files)
    return description


def _as_lowered(network: bytes) -> bytes:
    """A text encoder for texts whose ASCII letters are lowered already, as encoders.js hands them to it.

    Within a browser StringNormalizer lowers all letters, whatever the locale it is told, and so finds words that the
    model did not learn: "Борщ" is not "борщ" to it.
    """
    import onnx

    model = onnx.load_from_string(network)
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            for attribute in node.attribute:
                if attribute.name == "case_change_action":
                    attribute.s = b"NONE"
    return model.SerializeToString()


def _write_page(part: pathlib.Path, runtime: OnnxruntimeWeb) -> None:
    """The page of the service, with another source of answers."""
    static = part / "static"
    (static / "ort").mkdir(parents=True)
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    assert page.count(_CHARSET) == 1
    policy = f'{_CHARSET}\n<meta http-equiv="content-security-policy" content="{_POLICY}">'
    (part / "index.html").write_text(page.replace(_CHARSET, policy), encoding="utf-8")
    for name in ("icon.svg", "page.css", "page.js"):
        (static / name).write_bytes((_PAGE / name).read_bytes())
    for path in sorted(_STATIC.glob("*.js")):
        (static / path.name).write_bytes(path.read_bytes())
    for name, content in runtime.files.items():
        (static / "ort" / name).write_bytes(content)


def _write_embeddings(part: pathlib.Path, data: str, index: Index, side: Side) -> list[str]:
    """Writes the embeddings of a side in float16; names of the files."""
    gallery, names = index.embeddings(side), []
    for start in range(0, len(index), BLOCK):
        rows = np.asarray(gallery[index.living[start : start + BLOCK]])
        if not np.abs(rows).max() < np.finfo(np.float16).max:
            raise ValueError(f"{index.path}: expected embeddings below 65,504 each, received larger ones.")
        names.append(f"{data}/{side}-{start // BLOCK}.f16")
        (part / names[-1]).write_bytes(rows.astype("<f2").tobytes())
    return names


def _write_items(part: pathlib.Path, data: str, index: Index, advance: Callable[[int], None]) -> list[str]:
    """Writes texts and thumbnails; names of the files of texts."""
    names = []
    for start in range(0, len(index), BLOCK):
        rows = range(start, min(start + BLOCK, len(index)))
        names.append(f"{data}/items-{start // BLOCK}.json")
        _write_json(part / names[-1], [index.record(row) for row in index.living[rows]])
        for place, row in zip(rows, index.living[rows], strict=True):
            folder = part / data / "thumbnails" / str(place // THUMBNAILS)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{place}.jpg").write_bytes(index.thumbnail(row))
            advance(1)
    return names


def _fingerprint(index: Index) -> str:
    """Of the index: its description holds the sha256 of all that it is made of, the bundle's too."""
    return hashlib.sha256(json.dumps(index.description, sort_keys=True).encode()).hexdigest()[:12]


def _write_json(path: pathlib.Path, content: Mapping[str, Any] | list) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
