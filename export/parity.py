"""The parity gate: every exported file against the Keras model that it was made from.

Each network runs on random inputs at several batch sizes and on the inputs at the edge of what it accepts (nothing but
padding, every position filled, a single token; black, white, a ramp). A difference beyond the bound, or a number that
is not finite, is a :class:`ParityError`: there is then no bundle.
"""

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kfood import schema
from kfood.data import images
from kfood.export import runtime
from kfood.export.saved_model import Endpoint

RECIPE_BOUND = 1e-5
"""Largest difference allowed of a recipe's embedding."""

BOUND = 1e-4
"""Largest difference allowed of what else is computed: absolute for embeddings, relative to the range of its output for
a decoder. Convolutions sum more numbers, in another order in every library."""

BATCH_SIZES = (1, 3, 8)

TEXT_BATCH = 24

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Case:
    """One batch to try.

    Attributes:
        what: in words.
        inputs: name → array.
        expected: what the Keras network makes of it.
    """

    what: str
    inputs: dict[str, np.ndarray]
    expected: np.ndarray


class ParityError(ValueError):
    """An exported file does not compute what the model computes."""


def bound(inputs: Iterable[str]) -> float:
    """Largest difference allowed of what a network computes.

    Args:
        inputs: their names.
    """
    return RECIPE_BOUND if schema.INGREDIENTS in inputs else BOUND


def difference(
    expected: np.ndarray, received: np.ndarray, what: str, *, relative: bool = False, most: float = BOUND
) -> float:
    """Largest difference of two arrays, refused beyond a bound.

    Args:
        expected: what Keras computed, float.
        received: what the exported file computed.
        what: names the comparison in the message.
        relative: divide by the range of ``expected`` where that is greater than 1.
        most: the bound, of :func:`bound`.

    Returns:
        The largest absolute (or relative) difference; 0 for empty arrays.

    Raises:
        ParityError: other shapes, a number that is not finite, or a difference beyond the bound.
    """
    expected, received = np.asarray(expected), np.asarray(received)
    if expected.shape != received.shape:
        raise ParityError(f"{what}: expected shape {list(expected.shape)}, received {list(received.shape)}.")
    if not (np.isfinite(expected).all() and np.isfinite(received).all()):
        raise ParityError(f"{what}: expected finite numbers, received NaN or infinity.")
    scale = max(1.0, float(np.ptp(expected))) if relative else 1.0
    error = float(np.abs(expected.astype(np.float64) - received).max()) / scale
    if error > most:
        raise ParityError(f"{what}: expected a difference of at most {most:g}, received {error:.3g}.")
    return error


def encoder_batches(
    inputs: Mapping[str, tf.TensorSpec], spec: schema.RecipeSpec
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Inputs to try an encoder on: random ones at every batch size, then the edges.

    Args:
        inputs: names, shapes and dtypes of the encoder's inputs.
        spec: vocabulary sizes.

    Returns:
        (description, name → array) of each batch.
    """
    generator = np.random.default_rng(0)
    batches = [
        (f"{size} random rows", {name: _random(name, size, tensor, spec, generator) for name, tensor in inputs.items()})
        for size in BATCH_SIZES
    ]
    return [*batches, ("edge rows", {name: _edges(name, tensor, spec, generator) for name, tensor in inputs.items()})]


def cases(endpoint: Endpoint, batches: list[tuple[str, dict[str, np.ndarray]]]) -> list[Case]:
    """Run the Keras network, eagerly, on some inputs.

    Args:
        endpoint: its function is the reference.
        batches: (description, name → array), as made by :func:`encoder_batches`.
    """
    return [Case(what, batch, endpoint.function(as_tensors(batch))[endpoint.output].numpy()) for what, batch in batches]


def check_network(run: Run, tried: list[Case], what: str, *, relative: bool) -> float:
    """Compare an exported network with the Keras one.

    Args:
        run: the exported network.
        tried: inputs, and what Keras makes of them.
        what: names the exported network.
        relative: as for :func:`difference`.

    Returns:
        The largest difference.
    """
    return max(
        difference(case.expected, run(case.inputs), f"{what}, {case.what}", relative=relative, most=bound(case.inputs))
        for case in tried
    )


def as_tensors(batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Arrays → tensors, by name."""
    return {name: tf.constant(array) for name, array in batch.items()}


def onnx_run(proto: bytes, outputs: list[str] | None = None) -> Callable[[dict[str, np.ndarray]], Any]:
    """The network of a serialized ONNX model, on the CPU.

    Args:
        proto: the model.
        outputs: names of those that are wanted, as a list; None: the first one by itself.

    Raises:
        ParityError: onnxruntime cannot load or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise ParityError(f"onnxruntime cannot load the converted model: {error}") from error

    def run(batch):
        try:
            return session.run(outputs, batch) if outputs else session.run(None, batch)[0]
        except Exception as error:
            raise ParityError(f"onnxruntime cannot run the converted model: {error}") from error

    return run


def sample_photos() -> list[bytes]:
    """Three encoded photos of other shapes, lossless and not."""
    generator = np.random.default_rng(1)
    photos = []
    for (height, width), kind in zip([(97, 301), (260, 64), (33, 33)], ["PNG", "JPEG", "PNG"], strict=True):
        coarse = generator.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 5 // width
        pixels = tf.constant(coarse[rows][:, columns])
        photos.append((tf.io.encode_png if kind == "PNG" else tf.io.encode_jpeg)(pixels).numpy())
    return photos


def sample_recipes(spec: schema.RecipeSpec, words: list[str], ingredients: list[str]) -> list[dict]:
    """Recipes of the vocabulary's words and of others, in any script, with empty lines, too long and too short."""
    generator = np.random.default_rng(2)
    known = [*words[:2000], "Zzyzx", "ÉCLAIR", "½", "日本", "naïve", "U+1F600 😀", "---", "3.5"]
    known += ["1½", "1 1/2", "2–3", "2,5", "1⁄4-inch", "500g"]
    known += [f"{word}{ending}" for word in words[:50] for ending in ("s", "ed")]
    names = [*ingredients[:2000], "Unknown Thing", " "]

    def text(most):
        return " ".join(generator.choice(known, generator.integers(0, most + 1)))

    recipes = []
    for _ in range(TEXT_BATCH):
        lines = [text(2 * spec.ingredient_words) for _ in range(generator.integers(0, 2 * spec.ingredients))]
        if spec.ingredient_unit == "name":
            lines = list(generator.choice(names, len(lines)))
        recipe = {
            "title": text(2 * spec.title_words + 2),
            "ingredients": [str(line) for line in [*lines, names[0] if names[0].strip() else "salt"]],
        }
        count = int(generator.integers(0, 2 * spec.instructions))
        if spec.instruction_vectors:
            recipe["instruction_vectors"] = generator.normal(size=(count, spec.instruction_vectors)).astype(np.float32)
        else:
            recipe["instructions"] = [text(2 * spec.instruction_words) for _ in range(count)]
        recipes.append(recipe)
    return recipes


def photo_batch(photos: list[bytes], inputs: Iterable[str]) -> dict[str, np.ndarray]:
    """Photos → inputs of a bytes endpoint; a map picture lies somewhere."""
    corners = np.array([[0.0, 4.0, 3.0, 1.0]], np.float32) + np.arange(len(photos), dtype=np.float32)[:, None]
    both = {schema.IMAGE: np.array(photos, object), schema.LOCATION: corners}
    return {name: both[name] for name in inputs}


def text_batch(recipes: list[dict], endpoint: Endpoint) -> dict[str, np.ndarray]:
    """Recipes → inputs of a text endpoint, padded with ``""`` (vectors: with 0), or a string a recipe of ``_lines``."""
    batch: dict[str, np.ndarray] = {}
    for name, tensor in endpoint.inputs.items():
        values = [recipe[name] for recipe in recipes]
        if name != schema.TITLE and tensor.shape.rank == 1:
            batch[name] = np.array(["\n".join(value).encode() for value in values], object)
            continue
        if name == schema.TITLE:
            batch[name] = np.array([value.encode() for value in values], object)
            continue
        most = max(len(value) for value in values)
        if name == schema.INSTRUCTION_VECTORS:
            batch[name] = np.stack([np.pad(value, [(0, most - len(value)), (0, 0)]) for value in values])
            continue
        padded = [[line.encode() for line in value] + [b""] * (most - len(value)) for value in values]
        batch[name] = np.array(padded, object).reshape(len(recipes), most)
    return batch


def check_tokens(tokenizer, recipes: list[dict], raw: Mapping[str, Endpoint], front) -> None:
    """The ids of the ONNX graph against those of the TensorFlow tokenizer, which have to be equal.

    Args:
        tokenizer: :class:`kfood.data.text.RecipeTokenizer`.
        recipes: texts to try.
        raw: the text endpoint is among them.
        front: of :func:`kfood.export.raw_inputs.text_tokens`.

    Raises:
        ParityError: an id differs.
    """
    endpoint = next(endpoint for name, endpoint in raw.items() if name.endswith("_text"))
    batch = text_batch(recipes, endpoint)
    given = as_tensors(batch)
    nothing = tf.zeros((len(recipes), 0), tf.string)
    expected = tokenizer(given[schema.TITLE], given[schema.INGREDIENTS], given.get(schema.INSTRUCTIONS, nothing))
    names = [f"{name}_tokens" for name in expected]
    received = onnx_run(front.SerializeToString(), names)(_as_strings(batch))
    for name, ids, others in zip(expected, expected.values(), received, strict=True):
        wrong = np.argwhere((ids.numpy() != others).reshape(len(recipes), -1).any(axis=1))
        if len(wrong):
            raise ParityError(
                f"{name}: expected the training pipeline's token ids, received others in recipe {wrong[0, 0]}."
            )


def raw_cases(tried: list[Case]) -> list[Case]:
    """Cases of an endpoint that takes bytes as those of an ONNX file: strings, and photos decoded, one at a time."""
    if schema.IMAGE not in tried[0].inputs:
        return [dataclasses.replace(case, inputs=_as_strings(case.inputs)) for case in tried]
    largest = max(tried, key=lambda case: len(case.expected))
    found = []
    for row, expected in enumerate(largest.expected):
        inputs = {name: array[row : row + 1] for name, array in largest.inputs.items()}
        inputs[schema.IMAGE] = images.decode_image(inputs[schema.IMAGE][0]).numpy()[None]
        found.append(Case(f"photo {row}", inputs, expected[None]))
    return found


def _as_strings(batch):
    """ONNX takes str where TensorFlow takes bytes."""
    return {
        name: np.array([value.decode() for value in array.ravel()], object).reshape(array.shape)
        if array.dtype == object
        else array
        for name, array in batch.items()
    }


def check_runtime(bundle: runtime.Bundle, run: Mapping[str, Run], recipes: list[dict], text_inputs) -> dict[str, float]:
    """The runtime on raw photos and texts, against the SavedModel's raw endpoints.

    Photos without loss only (PNG): builds of the JPEG decoder may round differently, which is not the bundle's fault.

    Args:
        bundle: the finished bundle, opened by the runtime.
        run: endpoint name → the SavedModel's function.
        recipes: texts to try.
        text_inputs: the same as inputs of a text endpoint.

    Returns:
        Endpoint name → largest difference.
    """
    errors = {}
    lossless = [photo for photo in sample_photos() if runtime_format(photo) == "PNG"]
    for encoder, entry in bundle.manifest["encoders"].items():
        photos = lossless[-1:] if schema.LOCATION in entry["inputs"] else lossless  # a map picture is square
        shown = photo_batch(photos, [name for name in (schema.IMAGE, schema.LOCATION) if name in entry["inputs"]])
        if (name := f"encode_{encoder}_bytes") in run:
            received = bundle.encode_photos(photos, encoder=encoder, location=shown.get(schema.LOCATION))
            errors[name] = difference(run[name](shown), received, f"runtime, {name}")
        if (name := f"encode_{encoder}_text") in run:
            received, *_ = bundle.read_recipes(recipes, encoder=encoder)
            errors[name] = difference(run[name](text_inputs), received, f"runtime, {name}", most=bound(text_inputs))
    return errors


def runtime_format(photo: bytes) -> str | None:
    """Pillow's name of the format of an encoded photo."""
    from PIL import Image

    with Image.open(io.BytesIO(photo)) as image:
        return image.format


def _random(name, size, tensor, spec, generator):
    shape = (size, *tensor.shape.as_list()[1:])
    if name == schema.IMAGE:
        # Pictures with structure: pure noise looks the same to a network whatever the seed.
        coarse = generator.uniform(0, 255, (size, 1 + shape[1] // 16, 1 + shape[2] // 16, 3))
        fine = np.repeat(np.repeat(coarse, 16, axis=1), 16, axis=2)[:, : shape[1], : shape[2]]
        return np.clip(fine + generator.normal(0, 20, shape), 0, 255).astype(np.float32)
    if tensor.dtype.is_integer:
        tokens = generator.integers(schema.UNKNOWN_ID, _vocabulary(name, spec), shape, dtype=np.int32)
        return np.where(_present(shape, generator), tokens, schema.PADDING_ID).astype(np.int32)
    values = generator.normal(size=shape).astype(np.float32)
    if name == schema.INSTRUCTION_VECTORS:
        values *= _present((*shape[:2], 1), generator)
    return values


def _edges(name, tensor, spec, generator):
    shape = (3, *tensor.shape.as_list()[1:])
    if name == schema.IMAGE:
        edges = np.zeros(shape, np.float32)
        edges[1] = 255
        edges[2] = np.linspace(0, 255, shape[2], dtype=np.float32)[None, :, None]
        return edges
    if tensor.dtype.is_integer:
        edges = generator.integers(schema.UNKNOWN_ID, _vocabulary(name, spec), shape, dtype=np.int32)
    else:
        edges = generator.normal(size=shape).astype(np.float32)
    edges[0] = 0  # nothing at all
    first = edges[2].flat[0]  # and only the first position
    edges[2] = 0
    edges[2].flat[0] = first
    return edges


def _present(shape, generator):
    """Boolean array of ``shape``: on each axis after the first, a random number of leading positions."""
    present = np.ones(shape, bool)
    for axis in range(1, len(shape)):
        lengths = generator.integers(0, shape[axis] + 1, shape[:axis])
        positions = np.arange(shape[axis]).reshape([-1] + [1] * (len(shape) - axis - 1))
        present &= positions < lengths.reshape(*lengths.shape, *[1] * (len(shape) - axis))
    return present


def _vocabulary(name, spec):
    if name == schema.INGREDIENTS and spec.ingredient_unit == "name":
        return spec.ingredient_vocabulary
    return spec.word_vocabulary
