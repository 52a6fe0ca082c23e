"""A bundle: one folder with everything that is needed to use a trained model elsewhere.

::

    BUNDLE/
      kfood.json                 what it is, and the sha256 of every other file
      card.md                    results, and snippets to copy
      runtime.py                 kfood.export.runtime; beside it bundle_files.py, photo_files.py, recipe_texts.py
      saved_model/1/             TensorFlow: the endpoints of kfood.export.saved_model
      onnx/<name>_encoder.onnx   onnxruntime: one file an encoder, from tensors that are ready …
      onnx/<name>_text_encoder.onnx, <name>_pixels_encoder.onnx   … and one from strings, or from photos of any size
      onnx/<name>_decoder.onnx   one a decoder
      onnx/<name>_heat_map.onnx  where an encoder looks in a picture, of models that have this (MCEN)
      vocabulary/*.txt           words, ingredients, classes
      serving/*.config           examples for TensorFlow Serving

With examples of a dataset (``data``) there are also warm-up requests in the SavedModel, and of the encoders whose
retrieval does not suffer ``onnx/*.int8.onnx`` and ``onnx/*.float16.onnx``.

It is written under another name beside its place, passes the parity gate there, and is then renamed: a bundle that
exists is whole and computes what the model computes.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kfood
from kfood import distances, folders, photo_files, recipe_texts, schema
from kfood.data import dataset
from kfood.data.text import AMOUNT_PATTERN, LEAST_BEGINNING, MOST_CUT, WORD_PATTERN, RecipeTokenizer
from kfood.export import (
    bundle_files,
    card,
    examples,
    onnx,
    parity,
    precision,
    raw_inputs,
    replay,
    runtime,
    saved_model,
    serving,
)

SAVED_MODEL = "saved_model/1"

_TEXT = {
    "rule": schema.TOKEN_RULE,
    "tokens": f"lower ASCII letters, then every match of RE2 {AMOUNT_PATTERN}|{WORD_PATTERN}, an amount "
    "spelled as 2, 1.5, 2-3, 1/2 or 1-1/2",
    "ids": "0 padding, 1 unknown, line index + 2; lines without a token are skipped; an unknown word is read as its "
    f"longest known beginning of {LEAST_BEGINNING} characters or more, at most {MOST_CUT} fewer",
}


def export_bundle(
    model,
    run: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    weights: str = "best",
    data: dataset.PreparedDataset | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Write a bundle.

    Args:
        model: has ``name``, ``spec``, ``distance``, ``embedding_size``, ``encoders`` and ``decoders``; of a model of
            kfood, :meth:`kfood.models.base.RetrievalModel.searched`.
        run: its run folder: ``vocabulary/`` is copied, ``config.json`` names the dataset, and the results of
            ``report.json`` go to the card where there is one.
        out: the folder to make.
        weights: which of the run's weights the model has; a report on others does not go to the card.
        data: a dataset with the model's vocabulary: its train split calibrates int8, its test split is measured on and
            gives the warm-up requests.
        overwrite: replace ``out`` if it is a bundle.
        progress: receives one line when a step is done.

    Returns:
        The content of ``kfood.json``.

    Raises:
        FileExistsError: ``out`` exists.
        ValueError: the model and the vocabulary do not belong together, a network cannot be converted
            (:class:`kfood.export.onnx.ConversionError`), or an exported file computes something else than the model
            (:class:`kfood.export.parity.ParityError`). Nothing is left at ``out``.
        ModuleNotFoundError: ``data`` is given, and the extra ``serving`` is not installed.
        NotImplementedError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            "Exporting: expected Keras' TensorFlow backend, received "
            f"{keras.backend.backend()!r}: export with KERAS_BACKEND=tensorflow, which reads the same run."
        )
    run, out, model = pathlib.Path(run), pathlib.Path(out), getattr(model, "searched", lambda: model)()
    _check_model(model)
    if data is not None:
        serving.check_installed()
    if data is not None and data.vocabulary_fingerprint != dataset.vocabulary_fingerprint(run, data.vocabularies):
        raise ValueError(f"{data.path}: expected the dataset that {run} was trained on, received another vocabulary.")
    shown = None if data is None else examples.read(data, model.spec)
    reads_recipes = bool(model.spec.recipe_inputs())
    names = dataset.KINDS["recipes" if reads_recipes else "labelled"].vocabularies
    vocabulary = {name: dataset.read_vocabulary(run, name) for name in names}
    tokenizer, recipes = None, []
    if reads_recipes:
        tokenizer = RecipeTokenizer(model.spec, vocabulary["words"], vocabulary["ingredients"])
        recipes = parity.sample_recipes(model.spec, vocabulary["words"], vocabulary["ingredients"])
    with folders.whole_folder(out, kind="bundles", marker=runtime.MANIFEST, overwrite=overwrite) as part:
        dataset.write_vocabulary(part, **vocabulary)
        manifest = {**_head(model), "weights": weights}
        manifest["dataset"] = {"name": _dataset_name(run), "fingerprint": dataset.vocabulary_fingerprint(run, names)}
        with saved_model.portable(model), tf.device("CPU"):
            endpoints = saved_model.tensor_endpoints(model)
            tried = _cases(model, endpoints)
            raw = saved_model.raw_endpoints(model, tokenizer)
            tried |= {name: parity.cases(endpoint, _raw_batches(endpoint, recipes)) for name, endpoint in raw.items()}
            fronts = _fronts(model.spec, raw, vocabulary)
            if "text" in fronts:
                parity.check_tokens(tokenizer, recipes, raw, fronts["text"])
            encoders = _write_onnx(part, model, endpoints, fronts, tried, manifest, progress)
            _write_heat_maps(part, model, manifest, progress)
            if shown is not None:
                _write_precisions(part, model, encoders, fronts, shown, manifest, progress)
            endpoints |= raw
            functions = _write_saved_model(part, endpoints, tried, tokenizer, manifest, progress)
            serving.write_configs(part, model.name)
            if shown is not None:
                sources = {name: decoder.sources[0] for name, decoder in model.decoders.items()}
                count = serving.write_warmup(part / SAVED_MODEL, model.name, endpoints, shown, sources)
                asked = replay.replay(str(part / SAVED_MODEL))
                progress(f"{SAVED_MODEL}/{serving.WARMUP}: {count} requests, {len(asked)} signatures answer them")
        for module in (runtime, bundle_files, photo_files, recipe_texts):
            shutil.copy(module.__file__, part)
        (part / "card.md").write_text(card.render(manifest, _report(run, weights)), encoding="utf-8")
        _write_manifest(part, manifest)
        _check_runtime(part, endpoints, functions, recipes, manifest, progress)
        _write_manifest(part, manifest)
    return manifest


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
                "short_side": model.spec.short_side,
                "resize": "bilinear, antialiased; each side to "
                + ("floor(side * short_side / shorter + 1/2)" if model.spec.short_side else str(size)),
                "crop": f"{size} x {size} from (resized - {size}) // 2",
                "values": "RGB, 0 to 255",
            },
            **({"text": _TEXT} if model.spec.recipe_inputs() else {}),
        },
        "encoders": {},
        "decoders": {},
        "heat_maps": {},
        "endpoints": {},
        "measured": None,
        "parity": {
            "bound": {"recipes": parity.RECIPE_BOUND, "others": parity.BOUND},
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


_RAW = {"text": "_text", "pixels": "_bytes"}
"""A graph that stands before an encoder → the ending of the SavedModel's endpoint that begins with the same."""


def _fronts(spec, raw, vocabulary):
    """What stands before the encoders, by kind."""
    fronts = {}
    if any(name.endswith(_RAW["text"]) for name in raw):
        fronts["text"] = raw_inputs.text_tokens(spec, vocabulary["words"], vocabulary["ingredients"])
    if any(name.endswith(_RAW["pixels"]) for name in raw):
        fronts["pixels"] = raw_inputs.pixels_picture(spec.image_size, spec.short_side)
    return fronts


def _write_onnx(part, model, endpoints, fronts, tried, manifest, progress):
    """Write and check the ONNX files of each network; returns the encoders, without what stands before them."""
    (part / "onnx").mkdir()
    encoders = {}

    def write(name, proto, cases, relative=False):
        file = f"onnx/{name}.onnx"
        error = parity.check_network(parity.onnx_run(proto), cases, file, relative=relative)
        (part / file).write_bytes(proto)
        manifest["parity"]["onnx"][name] = error
        progress(f"{file}: largest difference {error:.1e}")
        return file

    for name, endpoint in endpoints.items():
        verb, network = name.split("_", 1)
        with onnx.fused_recurrences(saved_model.networks(model)) as recurrences:
            proto = onnx.convert(endpoint, recurrences)
        description = _description(endpoint)
        if verb == "decode":
            file = write(f"{network}_decoder", proto, tried[name], relative=True)
            sources = list(model.decoders[network].sources)
            manifest["decoders"][network] = {"file": file, **description, "sources": sources}
            continue
        encoders[network] = proto
        entry = {"file": write(f"{network}_encoder", proto, tried[name]), **description, "precisions": {}}
        for kind, front in fronts.items():
            if name + _RAW[kind] in tried:
                cases = parity.raw_cases(tried[name + _RAW[kind]])
                whole = raw_inputs.before(front, proto)
                file = write(f"{network}_{kind}_encoder", whole, cases)
                entry["raw"] = {"file": file, **onnx.description(whole)}
        manifest["encoders"][network] = entry
    return encoders


def _write_heat_maps(part, model, manifest, progress):
    """Write and check where encoders look; ONNX alone, for the SavedModel's servers answer no pictures."""
    for name, endpoint in saved_model.heat_map_endpoints(model).items():
        encoder = name.removeprefix("look_")
        cases = parity.cases(endpoint, parity.encoder_batches(endpoint.inputs, model.spec))
        proto, file = onnx.convert(endpoint), f"onnx/{encoder}_heat_map.onnx"
        error = parity.check_network(parity.onnx_run(proto), cases, file, relative=False)
        (part / file).write_bytes(proto)
        manifest["heat_maps"][encoder] = {"file": file, **_description(endpoint)}
        manifest["parity"]["onnx"][f"{encoder}_heat_map"] = error
        progress(f"{file}: largest difference {error:.1e}")


def _write_precisions(part, model, encoders, fronts, shown, manifest, progress):
    """Write the encoders in other precisions, and measure them; and the ones that take photos as they are."""
    manifest["measured"], kept = precision.try_all(encoders, shown, model.distance)
    embedded = {name: precision.embed(encoder, shown.inputs) for name, encoder in encoders.items()}
    for name, found in manifest["measured"]["encoders"].items():
        entry = manifest["encoders"][name]
        for other, encoder in kept[name].items():
            files = {"file": entry["file"].replace(".onnx", f".{other}.onnx")}
            (part / files["file"]).write_bytes(encoder)
            if "raw" in entry:
                files["raw_file"] = entry["raw"]["file"].replace(".onnx", f".{other}.onnx")
                front = fronts["pixels" if "pixels" in files["raw_file"] else "text"]
                (part / files["raw_file"]).write_bytes(raw_inputs.before(front, encoder))
            entry["precisions"][other] = files
            progress(f"{files['file']}: {found[other]['top1_agreement']:.1%} of first results as float32's")
        enough = precision.judges(manifest["measured"]["items"])
        for other in sorted(set(precision.PRECISIONS) - set(kept[name])):
            why = "R@10 falls by a point or more" if enough else "too few items to judge"
            progress(f"{name} encoder in {other}: {why}; not kept")
        if "raw" in entry and "pixels" in entry["raw"]["file"]:
            run = parity.onnx_run((part / entry["raw"]["file"]).read_bytes())
            others = set(entry["inputs"]) - {schema.IMAGE}
            found["pixels"] = precision.photo_agreement(run, embedded, name, shown, model.distance, others)
            progress(f"{entry['raw']['file']}: {found['pixels']['top1_agreement']:.1%} of first results as in training")


def _write_saved_model(part, endpoints, tried, tokenizer, manifest, progress):
    """Write and check the SavedModel; returns its functions by endpoint."""
    saved_model.write_saved_model(part / SAVED_MODEL, endpoints, tokenizer)
    functions = _load_functions(part / SAVED_MODEL, endpoints)
    for name, endpoint in endpoints.items():
        relative = name.startswith("decode_")
        error = parity.check_network(functions[name], tried[name], f"SavedModel {name}", relative=relative)
        manifest["endpoints"][name] = _description(endpoint)
        manifest["parity"]["saved_model"][name] = error
        progress(f"{SAVED_MODEL} {name}: largest difference {error:.1e}")
    return functions


def _check_runtime(part, endpoints, functions, recipes, manifest, progress):
    """The bundle as a user gets it: opened by the runtime, on raw photos and texts."""
    bundle = runtime.Bundle.open(part, verify=True)
    text = [endpoint for name, endpoint in endpoints.items() if name.endswith("_text")]
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
    if endpoint.name.endswith(("_text", "_lines")):
        return [
            (f"{size} recipes", parity.text_batch(recipes[:size], endpoint))
            for size in (*parity.BATCH_SIZES, len(recipes))
        ]
    photos = parity.sample_photos()
    return [
        (f"{size} photos", parity.photo_batch(photos[:size], endpoint.inputs)) for size in range(1, len(photos) + 1)
    ]


def _load_functions(path, endpoints) -> dict[str, parity.Run]:
    """Endpoint name → its function in a SavedModel, arrays in and what the network computes out."""
    loaded = tf.saved_model.load(str(path))

    def run(signature, batch):
        return loaded.signatures[signature](**parity.as_tensors(batch))[endpoints[signature].output].numpy()

    return {name: (lambda batch, name=name: run(name, batch)) for name in endpoints}


def _description(endpoint):
    outputs = endpoint.trace().structured_outputs
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
