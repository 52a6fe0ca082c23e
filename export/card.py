"""``card.md``: what a bundle holds, how well the model does, and snippets to copy."""

from collections.abc import Mapping
from typing import Any

_SNIPPETS = """\
## Use it

Without TensorFlow (onnxruntime, NumPy, and Pillow for photos):

```python
from kfood.export.runtime import Bundle

bundle = Bundle.open("BUNDLE")
{runtime}```

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
import onnxruntime

{onnx}```
"""


def render(manifest: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        manifest: content of ``kfood.json``, the list of files not needed.
        report: content of the run's ``report.json``, or None where it was not evaluated.
    """
    sections = [_head(manifest), _results(report), _inputs(manifest), _parity(manifest["parity"]), _snippets(manifest)]
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
        f"{parity['bound']:g} is allowed ({parity['differences']}).",
        "",
        "| file | difference |",
        "|---|---|",
    ]
    lines += [f"| ONNX {name} | {error:.1e} |" for name, error in parity["onnx"].items()]
    lines += [f"| SavedModel {name} | {error:.1e} |" for name, error in parity["saved_model"].items()]
    return "\n".join([*lines, ""])


def _snippets(manifest):
    endpoints, decoders = manifest["endpoints"], manifest["decoders"]
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
        if f"encode_{name}_bytes" in endpoints:
            placed = "location" in encoder["inputs"]  # left, top, right, bottom, metres
            array, tensor = (
                f", location={kind}([[0.0, 8.0, 8.0, 0.0]])" if placed else "" for kind in ("np.array", "tf.constant")
            )
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
    return _SNIPPETS.format(
        runtime="".join(runtime), tensorflow="".join(tensorflow), keras="".join(keras), onnx="".join(onnx)
    )


def _runtime_recipe(name, encoder):
    if "instruction_vectors" in encoder["inputs"]:
        recipe = '{"title": "Soup", "ingredients": ["1 leek", "salt"], "instruction_vectors": vectors}'
    else:
        recipe = '{"title": "Soup", "ingredients": ["1 leek", "salt"], "instructions": ["Boil it."]}'
    return f'recipes = bundle.encode_recipes([{recipe}], encoder="{name}")\n'


def _shape(tensor):
    return f"{tensor['dtype']} [{', '.join('n' if side is None else str(side) for side in tensor['shape'])}]"
