"""``card.md``: what a bundle holds, how well the model does, and snippets to copy."""

import json
from collections.abc import Mapping
from typing import Any

from kfood.data.drawing import scene_of
from kfood.export import precision, raw_inputs

_SNIPPETS = """\
## Use it

Without TensorFlow, and without kfood (onnxruntime, NumPy, and Pillow for photos), by `runtime.py` and
the three files beside it:

```python
import sys

sys.path.insert(0, "BUNDLE")
from runtime import Bundle

bundle = Bundle.open("BUNDLE")
{runtime}```

`Bundle.open("BUNDLE", threads=4, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])` says how it is run;
the default is the CPU, on as many threads as onnxruntime chooses.

{smaller}

With TensorFlow, and without kfood:

```python
import tensorflow as tf

model = tf.saved_model.load("BUNDLE/saved_model/1")
{tensorflow}```

As a Keras layer:

```python
import keras

{keras}```

With onnxruntime alone:

```python
import numpy as np
import onnxruntime

{onnx}```

The files take these inputs in every language that onnxruntime has a package for; in Node.js, see kfood's examples/node.

## TensorFlow Serving

`serving/` has a `models.config` and a `batching.config` to start from. With batching, ask the signatures whose inputs
have one shape: `_bytes`, `_lines` and the tensors; `_text` requests with different numbers of lines cannot be joined,
and the server refuses them.{photos}{words}

The server was not run: the SavedModel was loaded and asked every signature{replayed}.

```
docker run -p 8500:8500 -p 8501:8501 -v "$PWD/BUNDLE/saved_model:/models/{model}" -v "$PWD/BUNDLE/serving:/serving" \\
  tensorflow/serving --model_config_file=/serving/models.config \\
  --enable_batching --batching_parameters_file=/serving/batching.config
{rest}```

By gRPC (`pip install tensorflow-serving-api`):

```py
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

server = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
{grpc}```
"""


def render(manifest: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        manifest: content of ``kfood.json``, the list of files not needed.
        report: content of the run's ``report.json``, or None where it was not evaluated.
    """
    sections = [
        _head(manifest),
        _results(report),
        _inputs(manifest),
        _parity(manifest["parity"]),
        _precisions(manifest),
        _snippets(manifest),
    ]
    return "\n".join(sections)


def _head(manifest):
    trained = manifest["dataset"]
    return (
        f"# {manifest['model']}\n\n"
        f"Embeddings of {manifest['embedding_size']} numbers, compared by {_distance(manifest['distance'])}. "
        f"Trained on {trained['name'] or 'a dataset without a name'} (vocabulary {trained['fingerprint'][:12]}…).\n"
    )


def _distance(name):
    return {
        "euclidean": "Euclidean distance",
        "cosine": "cosine distance (1 - cosine)",
        "dot": "dot product (greater is nearer)",
    }[name]


def _results(report):
    if report is None:
        return (
            "## Results\n\nNot evaluated before the export: run `kfood evaluate` on these weights, then export again.\n"
        )
    if "retrieval" in report:
        return _results_by_class(report)
    data, directions = report["data"], report["directions"]
    protocol = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in report["protocol"].items() if key != "recall_unit"
    )
    names = list(next(iter(directions.values())))
    lines = [
        "## Results",
        "",
        f"On the {data['split']} split of {data['name']} ({protocol}); mean ± deviation over the subsets.",
        "",
        "| direction | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for direction, figures in directions.items():
        lines.append(f"| {direction} | " + " | ".join(_figure(name, figures[name]) for name in names) + " |")
    return "\n".join([*lines, ""])


def _results_by_class(report):
    data = report["data"]
    lines = [
        "## Results",
        "",
        f"On the {data['split']} split of {data['name']}: each of {data['photos']:,} photos of {data['classes']:,} "
        "classes queries all others.",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    for name, value in report["retrieval"].items():
        if name != "queries" and value is not None:
            shown = f"{value:.3f}" if name.endswith("distance") else f"{100 * value:.1f} %"
            lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    return "\n".join([*lines, ""])


def _figure(name, spread):
    scale, unit = (100, " %") if name.startswith("R@") else (1, "")  # the report holds recalls as fractions
    return f"{scale * spread['mean']:.1f} ± {scale * spread['std']:.1f}{unit}"


def _inputs(manifest):
    lines = ["## Endpoints", "", "| endpoint | inputs | output |", "|---|---|---|"]
    for name, endpoint in manifest["endpoints"].items():
        lines.append(f"| `{name}` | {_tensors(endpoint['inputs'])} | {_tensors(endpoint['outputs'])} |")
    return "\n".join([*lines, ""])


def _tensors(tensors):
    return ", ".join(
        f"`{name}` {tensor['dtype']} [{', '.join('·' if side is None else str(side) for side in tensor['shape'])}]"
        for name, tensor in tensors.items()
    )


def _parity(parity):
    lines = [
        "## Agreement with the Keras model",
        "",
        f"Largest difference seen at batch sizes {', '.join(map(str, parity['batch_sizes']))} and on edge inputs; "
        f"{parity['bound']['recipes']:g} is allowed of recipes, {parity['bound']['others']:g} of all else "
        f"({parity['differences']}).",
        "",
        "| file | difference |",
        "|---|---|",
    ]
    lines += [f"| ONNX {name} | {error:.1e} |" for name, error in parity["onnx"].items()]
    lines += [f"| SavedModel {name} | {error:.1e} |" for name, error in parity["saved_model"].items()]
    return "\n".join([*lines, ""])


def _precisions(manifest):
    measured = manifest["measured"]
    if measured is None:
        return "## Precisions\n\nfloat32 only: `kfood export --data DATA` also makes and measures int8 and float16.\n"
    directions = list(next(iter(measured["encoders"].values()))["float32"]["recall"])
    columns = [f"{name} R@1, R@10" for name in directions]
    lines = [
        "## Precisions",
        "",
        f"On {measured['items']:,} items of the {measured['split']} split of {measured['dataset']}, all of them the "
        "gallery; one encoder in another precision, the other in float32. Kept where R@10 falls by less than a point "
        f"in every direction. Image encoders in int8 were calibrated on {measured['calibration']:,} training items. "
        "Milliseconds are one item's, items a second those of a batch of 64, on the machine that exported, a CPU: "
        "float16 is for GPUs.",
        "",
        f"| encoder | precision | size | ms | items/s | {' | '.join(columns)} | same first result | |",
        "|---" * (len(directions) + 7) + "|",
    ]
    refused = "R@10 falls too far" if precision.judges(measured["items"]) else "too few items to judge"
    for name, figures in measured["encoders"].items():
        reference = figures["float32"]["recall"]
        for other in ("float32", *precision.PRECISIONS):
            found = figures[other]
            recalls = [
                ", ".join(_recall(found["recall"][way], reference[way], key, other) for key in ("R@1", "R@10"))
                for way in directions
            ]
            agreement = f"{found['top1_agreement']:.1%}" if "top1_agreement" in found else ""
            kept = {True: "kept", False: f"**not kept**: {refused}", None: ""}[found.get("kept")]
            lines.append(
                f"| {name} | {other} | {_size(found['bytes'])} | {found['milliseconds']:.1f} | "
                f"{found['items_per_second']:,.0f} | "
                f"{' | '.join(recalls)} | {agreement} | {kept} |"
            )
    for name, figures in measured["encoders"].items():
        if "pixels" in figures:
            file, found = manifest["encoders"][name]["raw"]["file"], figures["pixels"]
            lines += [
                "",
                f"`{file}` resizes photos itself, within {raw_inputs.PICTURE_BOUND} of 255 of the training pipeline's "
                f"pixels (measured on real photos of many sizes): {found['top1_agreement']:.1%} of the first results "
                "are those of the "
                f"pipeline's pictures (largest difference of an embedding {found['largest_difference']:.1e}).",
            ]
    return "\n".join([*lines, ""])


def _size(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _recall(found, reference, key, other):
    change = "" if other == "float32" else f" ({100 * (found[key] - reference[key]):+.1f})"
    return f"{100 * found[key]:.1f} %{change}"


_PHOTOS = """ `_bytes` takes JPEG and PNG photos, turns them upright (EXIF, XMP) and lays what is transparent on
white, as in training. A photo that it does not read has `readable` 0, and its embedding is zeros, which the client has
to refuse; the others that were sent, or joined by the server, have theirs. It does not read: a damaged photo, one of
more than 64 million pixels or bytes, WebP, GIF, BMP, TIFF, AVIF and HEIC; `runtime.py` reads these formats too (HEIC
with pillow-heif, AVIF with Pillow 11.3 or newer), and `encode_photos(…, unreadable="zeros")` does the same there."""

_WORDS = """
Of a recipe in which nothing was read, `""` or `"--"`, `words` is 0; of one without a word of the vocabulary, in another
language perhaps, `known_words` is 0: the embedding says nothing, and the client has to refuse it. What of a line
follows its first 10,000 bytes is not read, nor lines after the first 500; the ONNX file, asked without `runtime.py`,
reads them, and takes memory by lines times the longest."""

_RECIPE = {"title": "Soup", "ingredients": ["1 leek", "salt"], "instructions": ["Boil it."]}


def _location(spec):
    """Left, top, right and bottom of a map picture, metres: of the scene, or any window's."""
    return [round(corner, 3) for corner in scene_of(spec) or (0.0, 8.0, 8.0, 0.0)]


def _snippets(manifest):
    endpoints, decoders = manifest["endpoints"], manifest["decoders"]
    corners = _location(manifest["spec"])
    runtime, tensorflow, keras, onnx = [], [], [], []
    for name, encoder in manifest["encoders"].items():
        inputs = ", ".join(f'"{key}": {key}' for key in encoder["inputs"])
        tensors = ", ".join(f"{key} {_shape(tensor)}" for key, tensor in encoder["inputs"].items())
        keras.append(
            f'{name}_encoder = keras.layers.TFSMLayer("BUNDLE/saved_model/1", call_endpoint="encode_{name}")\n'
            f'embeddings = {name}_encoder({{{inputs}}})["embedding"]  # {tensors}\n'
        )
        onnx.append(
            f'session = onnxruntime.InferenceSession("BUNDLE/{encoder["file"]}")\n'
            f"(embeddings,) = session.run(None, {{{inputs}}})  # {tensors}\n"
        )
        if "raw" in encoder:
            onnx.append(_raw_onnx(encoder["raw"], corners))
        if f"encode_{name}_bytes" in endpoints:
            placed = "location" in encoder["inputs"]  # left, top, right, bottom, metres
            array = f", location=[{corners}]" if placed else ""
            tensor = f", location=tf.constant([{corners}])" if placed else ""
            runtime.append(f'photos = bundle.encode_photos(["photo.jpg"], encoder="{name}"{array})\n')
            tensorflow.append(
                'photo = tf.constant([open("photo.jpg", "rb").read()])\n'
                f'photos = model.signatures["encode_{name}_bytes"](image=photo{tensor})["embedding"]\n'
            )
        elif "trajectory" in encoder["inputs"]:
            runtime.append(
                f'trajectories = bundle.encode("{name}", {{"trajectory": points}})  '
                f"# {_shape(encoder['inputs']['trajectory'])}\n"
            )
        if f"encode_{name}_text" in endpoints:
            runtime.append(_runtime_recipe(name, encoder))
            arguments = {
                "title": 'tf.constant(["Soup"])',
                "ingredients": 'tf.constant([["1 leek", "salt"]])',
                "instructions": 'tf.constant([["Boil it."]])',
                "instruction_vectors": "vectors",
            }
            call = ", ".join(f"{key}={arguments[key]}" for key in endpoints[f"encode_{name}_text"]["inputs"])
            tensorflow.append(f'recipes = model.signatures["encode_{name}_text"]({call})["embedding"]\n')
    if any(line.startswith("photos") for line in runtime) and any(line.startswith("recipes") for line in runtime):
        runtime.append("bundle.distances(photos, recipes)  # small = near\n")
    for name, decoder in decoders.items():
        variable = {"image": "photos", "recipe": "recipes"}.get(decoder["sources"][0], "embeddings")
        runtime.append(f'{name} = bundle.decode("{name}", {variable})  # {_shape(decoder["outputs"][name])}\n')
    rest, grpc = _requests(manifest)
    return _SNIPPETS.format(
        runtime="".join(runtime),
        tensorflow="".join(tensorflow),
        keras="".join(keras),
        onnx="".join(onnx),
        model=manifest["model"],
        rest="".join(rest),
        grpc="".join(grpc),
        smaller=_smaller(manifest["encoders"]),
        photos=_PHOTOS if any(name.endswith("_bytes") for name in endpoints) else "",
        words=_WORDS if any(name.endswith("_text") for name in endpoints) else "",
        replayed=", from PredictRequest messages too" if manifest["measured"] else "",
    )


def _raw_onnx(raw, corners):
    session = f'session = onnxruntime.InferenceSession("BUNDLE/{raw["file"]}")\n'
    if "location" in raw["inputs"]:
        return (
            f"{session}photo = np.zeros([1, 96, 96, 3], np.uint8)  # RGB, square\n"
            f"location = np.array([{corners}], np.float32)  # left, top, right, bottom, metres\n"
            '(embeddings,) = session.run(None, {"image": photo, "location": location})\n'
        )
    if "image" in raw["inputs"]:
        return (
            f"{session}photo = np.zeros([1, 480, 640, 3], np.uint8)  # upright, RGB, of any size\n"
            '(embeddings,) = session.run(None, {"image": photo})\n'
        )
    values = {
        "title": 'np.array(["Soup"], object)',
        "ingredients": 'np.array([["1 leek", "salt"]], object)',
        "instructions": 'np.array([["Boil it."]], object)',
        "instruction_vectors": "vectors[None]",
    }
    given = ",\n    ".join(f'"{name}": {values[name]}' for name in raw["inputs"])
    return (
        f'{session}recipe = {{\n    {given},\n}}  # "" where a recipe has fewer lines than others\n'
        'wanted = ["embedding", "words", "known_words"]  # how many were read, and how many of these it knows\n'
        "embeddings, words, known_words = session.run(wanted, recipe)\n"
    )


def _requests(manifest):
    """(REST requests for a shell, the lines of gRPC requests)."""
    rest, grpc = [], []
    url = f"http://localhost:8501/v1/models/{manifest['model']}:predict"
    corners = _location(manifest["spec"])
    for name, endpoint in manifest["endpoints"].items():
        if name.endswith("_bytes"):
            placed = "location" in endpoint["inputs"]
            location = f', "location": {corners}' if placed else ""
            rest.append(
                f"""(printf '{{"signature_name": "{name}", "instances": [{{"image": {{"b64": "'\n"""
                f""" base64 < photo.jpg; printf '"}}{location}}}]}}') | tr -d '\\n' | curl -d @- {url}\n"""
            )
            given = {"image": '[open("photo.jpg", "rb").read()]', **({"location": f"[{corners}]"} if placed else {})}
            grpc += _grpc(manifest["model"], name, given)
            grpc.append('readable = tf.make_ndarray(answer.outputs["readable"])  # 0: the photo was not read\n')
        if name.endswith("_lines"):
            recipe = {
                "title": _RECIPE["title"],
                **{key: "\n".join(_RECIPE[key]) for key in ("ingredients", "instructions")},
            }
            body = json.dumps({"signature_name": name, "instances": [recipe]})
            rest.append(f"curl -d '{body}' {url}\n")
            grpc += _grpc(manifest["model"], name, {key: json.dumps([text]) for key, text in recipe.items()})
            grpc.append('known_words = tf.make_ndarray(answer.outputs["known_words"])  # 0: nothing was understood\n')
    return rest, grpc


def _grpc(model, name, inputs):
    return [
        "\nrequest = predict_pb2.PredictRequest()\n",
        f'request.model_spec.name, request.model_spec.signature_name = "{model}", "{name}"\n',
        *(f'request.inputs["{key}"].CopyFrom(tf.make_tensor_proto({value}))\n' for key, value in inputs.items()),
        "answer = server.Predict(request, 10.0)\n",
        'embeddings = tf.make_ndarray(answer.outputs["embedding"])\n',
    ]


def _smaller(encoders):
    """How the other precisions are used."""
    files = [
        f"`{file}`"
        for encoder in encoders.values()
        for kept in encoder["precisions"].values()
        for file in kept.values()
    ]
    if not files:
        return "The encoders are in float32 alone."
    names = dict.fromkeys(name for encoder in encoders.values() for name in encoder["precisions"])
    calls = " or ".join(f'`Bundle.open("BUNDLE", precision="{name}")`' for name in names)
    return (
        f"Smaller or quicker: {calls}; an encoder that was not kept in that precision stays in float32. For "
        f"onnxruntime alone the files take what those in float32 take: {', '.join(files)}."
    )


def _runtime_recipe(name, encoder):
    if "instruction_vectors" in encoder["inputs"]:
        recipe = '{"title": "Soup", "ingredients": ["1 leek", "salt"], "instruction_vectors": vectors}'
    else:
        recipe = '{"title": "Soup", "ingredients": ["1 leek", "salt"], "instructions": ["Boil it."]}'
    return f'recipes = bundle.encode_recipes([{recipe}], encoder="{name}")\n'


def _shape(tensor):
    return f"{tensor['dtype']} [{', '.join('n' if side is None else str(side) for side in tensor['shape'])}]"
