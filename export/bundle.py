"""A bundle: one folder with everything that is needed to use a trained model elsewhere.

::

    BUNDLE/
      kfood.json                 what it is, and the sha256 of every other file
      card.md                    results, and snippets to copy
      saved_model/1/             TensorFlow: the endpoints of kfood.export.saved_model
      onnx/<name>_encoder.onnx   onnxruntime: one file an encoder …
      onnx/<name>_decoder.onnx   … and one a decoder
      vocabulary/*.txt           words, ingredients, classes; characters.txt: which characters make a token

It is written under another name beside its place, passes the parity gate there, and is then renamed: a bundle that
exists is whole and computes what the model computes.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kfood
from kfood import distances, folders
from kfood.data import dataset
from kfood.data.text import TOKEN_PATTERN, RecipeTokenizer
from kfood.export import card, onnx, parity, runtime, saved_model

SAVED_MODEL = "saved_model/1"

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


_TEXT = {
    "tokens": f"lower ASCII letters, then every match of RE2 {TOKEN_PATTERN}",
    "characters": "vocabulary/characters.txt",
    "ids": "0 padding, 1 unknown, line index + 2; lines without a token are skipped",
}


def export_bundle(
    model,
    run: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    weights: str = "best",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Write a bundle.

    Args:
        model: has ``name``, ``spec``, ``distance``, ``embedding_size``, ``encoders`` and ``decoders``.
        run: its run folder: ``vocabulary/`` is copied, ``config.json`` names the dataset, and the results of
            ``report.json`` go to the card where there is one.
        out: the folder to make.
        weights: which of the run's weights the model has; a report on others does not go to the card.
        overwrite: replace ``out`` if it is a bundle.
        progress: receives one line when a step is done.

    Returns:
        The content of ``kfood.json``.

    Raises:
        FileExistsError: ``out`` exists.
        ValueError: the model and the vocabulary do not belong together, a network cannot be converted
            (:class:`kfood.export.onnx.ConversionError`), or an exported file computes something else than the model
            (:class:`kfood.export.parity.ParityError`). Nothing is left at ``out``.
    """
    run, out = pathlib.Path(run), pathlib.Path(out)
    _check_model(model)
    reads_recipes = bool(model.spec.recipe_inputs())
    names = dataset.KINDS["recipes" if reads_recipes else "labelled"].vocabularies
    vocabulary = {name: dataset.read_vocabulary(run, name) for name in names}
    tokenizer, recipes = None, []
    if reads_recipes:
        tokenizer = RecipeTokenizer(model.spec, vocabulary["words"], vocabulary["ingredients"])
        recipes = parity.sample_recipes(model.spec, vocabulary["words"], vocabulary["ingredients"])
    with folders.whole_folder(out, kind="bundles", marker=runtime.MANIFEST, overwrite=overwrite) as part:
        dataset.write_vocabulary(part, **vocabulary)
        if reads_recipes:
            characters = "".join(f"{line}\n" for line in token_characters())
            (part / "vocabulary" / "characters.txt").write_bytes(characters.encode())
        manifest = {**_head(model), "weights": weights}
        manifest["dataset"] = {"name": _dataset_name(run), "fingerprint": dataset.vocabulary_fingerprint(run, names)}
        with saved_model.portable(model), tf.device("CPU"):
            endpoints = saved_model.tensor_endpoints(model)
            tried = _cases(model, endpoints)
            _write_onnx(part, model, endpoints, tried, manifest, progress)
            for name, endpoint in saved_model.raw_endpoints(model, tokenizer).items():
                endpoints[name] = endpoint
                tried[name] = parity.cases(endpoint, _raw_batches(endpoint, recipes))
            functions = _write_saved_model(part, endpoints, tried, tokenizer, manifest, progress)
        (part / "card.md").write_text(card.render(manifest, _report(run, weights)), encoding="utf-8")
        _write_manifest(part, manifest)
        _check_runtime(part, endpoints, functions, tokenizer, recipes, manifest, progress)
        _write_manifest(part, manifest)
    return manifest


def token_characters() -> list[str]:
    """The characters that make a token, as ranges ``first-last`` of hexadecimal code points.

    Asked of TensorFlow itself, whose Unicode tables are newer than those of some Python versions: an application that
    reads them cuts text exactly as the model was trained.
    """
    points = [point for point in range(_LAST_CODE_POINT + 1) if point not in _SURROGATES]
    matches = tf.strings.regex_full_match(tf.constant([chr(point) for point in points]), TOKEN_PATTERN).numpy()
    letters = np.array(points)[matches]
    ends = np.flatnonzero(np.diff(letters) != 1)
    firsts, lasts = letters[[0, *(ends + 1)]], letters[[*ends, len(letters) - 1]]
    return [f"{first:04x}-{last:04x}" for first, last in zip(firsts, lasts, strict=True)]


def _check_model(model):
    distances.by_name(model.distance)
    if not model.encoders:
        raise ValueError(f"{model.name}: expected at least one encoder, received none.")
    for name, decoder in model.decoders.items():
        if not decoder.sources or not set(decoder.sources) <= set(model.encoders):
            raise ValueError(
                f"decoder {name}: expected sources among {sorted(model.encoders)}, received {list(decoder.sources)}."
            )


def _head(model) -> dict[str, Any]:
    """What ``kfood.json`` says before anything is exported."""
    size = model.spec.image_size
    return {
        "format": runtime.FORMAT,
        "model": model.name,
        "embedding_size": int(model.embedding_size),
        "distance": model.distance,
        "spec": dataclasses.asdict(model.spec),
        "preprocessing": {
            "image": {
                "short_side": runtime.resized_short_side(size),
                "resize": "bilinear, antialiased; each side to floor(side * short_side / shorter + 1/2)",
                "crop": f"{size} x {size} from (resized - {size}) // 2",
                "values": "RGB, 0 to 255",
            },
            **({"text": _TEXT} if model.spec.recipe_inputs() else {}),
        },
        "encoders": {},
        "decoders": {},
        "endpoints": {},
        "parity": {
            "bound": parity.BOUND,
            "batch_sizes": list(parity.BATCH_SIZES),
            "differences": "largest absolute one of an embedding; of a decoder, relative to the range of its output",
            "onnx": {},
            "saved_model": {},
            "runtime": {},
        },
        "versions": {
            "kfood": kfood.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "onnx": _version("onnx"),
            "tf2onnx": _version("tf2onnx"),
            "onnxruntime": _version("onnxruntime-gpu", "onnxruntime"),
            "onnx_opset": onnx.OPSET,
        },
    }


def _write_onnx(part, model, endpoints, tried, manifest, progress):
    """Write and check one ONNX file for each network."""
    (part / "onnx").mkdir()
    for name, endpoint in endpoints.items():
        verb, network = name.split("_", 1)
        kind = {"encode": "encoder", "decode": "decoder"}[verb]
        file = f"onnx/{network}_{kind}.onnx"
        proto = onnx.convert(endpoint)
        error = parity.check_network(parity.onnx_run(proto), tried[name], file, relative=kind == "decoder")
        (part / file).write_bytes(proto)
        entry = {"file": file, **_description(endpoint)}
        if kind == "decoder":
            entry["sources"] = list(model.decoders[network].sources)
        manifest[f"{kind}s"][network] = entry
        manifest["parity"]["onnx"][f"{network}_{kind}"] = error
        progress(f"{file}: largest difference {error:.1e}")


def _write_saved_model(part, endpoints, tried, tokenizer, manifest, progress):
    """Write and check the SavedModel; returns its functions by endpoint."""
    saved_model.write_saved_model(part / SAVED_MODEL, endpoints, tokenizer)
    functions = _load_functions(part / SAVED_MODEL)
    for name, endpoint in endpoints.items():
        relative = name.startswith("decode_")
        error = parity.check_network(functions[name], tried[name], f"SavedModel {name}", relative=relative)
        manifest["endpoints"][name] = _description(endpoint)
        manifest["parity"]["saved_model"][name] = error
        progress(f"{SAVED_MODEL} {name}: largest difference {error:.1e}")
    return functions


def _check_runtime(part, endpoints, functions, tokenizer, recipes, manifest, progress):
    """The bundle as a user gets it: opened by the runtime, on raw photos and texts."""
    bundle = runtime.Bundle.open(part, verify=True)
    text = [endpoint for name, endpoint in endpoints.items() if name.endswith("_text")]
    for endpoint in text:
        parity.check_tokenizer(tokenizer, recipes, endpoint, bundle.tokenizer)
    text_inputs = parity.text_batch(recipes, text[0]) if text else {}
    for name, error in parity.check_runtime(bundle, functions, recipes, text_inputs).items():
        manifest["parity"]["runtime"][name] = error
        progress(f"runtime, {name}: largest difference {error:.1e}")


def _cases(model, endpoints) -> dict[str, list[parity.Case]]:
    """What every network is tried on; a decoder on embeddings of each of its sources, and on zeros."""
    tried = {}
    for name in model.encoders:
        endpoint = endpoints[f"encode_{name}"]
        tried[endpoint.name] = parity.cases(endpoint, parity.encoder_batches(endpoint.inputs, model.spec))
    for name, decoder in model.decoders.items():
        embeddings = [
            (f"{source} embeddings of {case.what}", {"embedding": case.expected})
            for source in decoder.sources
            for case in tried[f"encode_{source}"]
        ]
        nothing = {"embedding": np.zeros((2, model.embedding_size), np.float32)}
        endpoint = endpoints[f"decode_{name}"]
        tried[endpoint.name] = parity.cases(endpoint, [*embeddings, ("embeddings of zeros", nothing)])
    return tried


def _raw_batches(endpoint, recipes):
    if endpoint.name.endswith("_text"):
        return [
            (f"{size} recipes", parity.text_batch(recipes[:size], endpoint))
            for size in (*parity.BATCH_SIZES, len(recipes))
        ]
    photos = parity.sample_photos()
    return [
        (f"{size} photos", parity.photo_batch(photos[:size], endpoint.inputs)) for size in range(1, len(photos) + 1)
    ]


def _load_functions(path) -> dict[str, parity.Run]:
    """Endpoint name → its function in a SavedModel, arrays in and array out."""
    loaded = tf.saved_model.load(str(path))

    def run(signature, batch):
        (output,) = loaded.signatures[signature](**parity.as_tensors(batch)).values()
        return output.numpy()

    return {name: (lambda batch, name=name: run(name, batch)) for name in loaded.signatures}


def _description(endpoint):
    outputs = endpoint.concrete.structured_outputs
    return {
        "inputs": {name: _tensor(tensor) for name, tensor in endpoint.inputs.items()},
        "outputs": {name: _tensor(tensor) for name, tensor in outputs.items()},
    }


def _tensor(tensor):
    return {"shape": [None, *tensor.shape.as_list()[1:]], "dtype": tensor.dtype.name}


def _dataset_name(run):
    file = run / "config.json"
    if not file.is_file():
        return None
    return json.loads(file.read_text(encoding="utf-8")).get("data", {}).get("name")


def _report(run, weights):
    file = run / "report.json"
    if not file.is_file():
        return None
    report = json.loads(file.read_text(encoding="utf-8"))
    return report if report["model"]["weights"] == weights else None


def _version(*names):
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _write_manifest(part, manifest):
    files = sorted(file for file in part.rglob("*") if file.is_file() and file != part / runtime.MANIFEST)
    manifest["files"] = {
        file.relative_to(part).as_posix(): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
        }
        for file in files
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (part / runtime.MANIFEST).write_text(text, encoding="utf-8")
