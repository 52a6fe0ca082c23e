"""A model's endpoints, and the SavedModel that holds them.

========================= ================================================================ ==========================
endpoint                  inputs                                                           output
========================= ================================================================ ==========================
``encode_<encoder>``      the encoder's own: ``image`` float32 [batch, side, side, 3] in   ``embedding`` float32
                          [0, 255], or a recipe's int32 tokens                             [batch, embedding_size]
``encode_<e>_bytes``      ``image`` string [batch]: encoded JPEG or PNG photos, and        the same, and
                          a map picture's ``location`` float32 [batch, 4]                  ``readable`` int32 [batch]
``encode_<e>_text``       ``title`` string [batch], ``ingredients`` string [batch, n],     the same, and ``words``
                          ``instructions`` string [batch, m], ``""`` where there are       and ``known_words``,
                          fewer                                                            int32 [batch]
``encode_<e>_lines``      ``title``, ``ingredients``, ``instructions`` string [batch],     the same three
                          lines apart by a line feed: of one shape, so that a server can
                          batch them
``decode_<decoder>``      ``embedding`` float32 [batch, embedding_size]                    ``<decoder>`` float32
                                                                                           [batch, …]
========================= ================================================================ ==========================

A ``_bytes`` endpoint exists for each encoder that takes a photo, ``_text`` and ``_lines`` endpoints for each one that
takes a recipe (``_lines`` not where it reads precomputed sentence vectors). ``words`` is how many tokens were read, as
in the ONNX files: 0 where the embedding says nothing, of ``""`` or ``"--"``; ``known_words`` is how many of them are in
the vocabulary, or are read as a word of it: where it is 0, all recipes of as many words share one embedding. The client
has to look. (Precomputed sentence vectors count in both with the numbers that are not 0.)
``_bytes`` reads a photo as :mod:`kfood.export.photo_bytes` says: JPEG and PNG, upright, on white, of at most 64 million
pixels and bytes. ``readable`` is 0 of any other (WebP, GIF, HEIC, too large, damaged), its embedding zeros; the others
of the batch have theirs.
Of a text, ``_text`` and ``_lines`` read the first 500 lines, and of each its first 10,000 bytes
(:data:`kfood.data.text.LINE_BYTES`).
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping

import keras
import tensorflow as tf

from kfood import schema
from kfood.data import text
from kfood.data.text import RecipeTokenizer
from kfood.export import photo_bytes

WORDS = "words"
"""Second output of what takes a recipe as text: how many of its words were read."""

KNOWN_WORDS = "known_words"
"""Third one: how many of those are in the vocabulary, or are read as a word of it."""

READABLE = "readable"
"""Second output of what takes encoded photos: 1 where a photo was read, 0 where not, and its embedding is zeros."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One function of the exported model.

    Attributes:
        name: under which it is exported.
        function: dict of tensors → dict of tensors.
        inputs: name → shape and dtype, the batch axis open.
        output: name of the tensor that the network computes; a text endpoint returns ``words`` and ``known_words``
            besides, one of bytes ``readable``.
    """

    name: str
    function: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]
    output: str

    def trace(self):
        """The function traced now; its one argument is the dict of inputs."""
        function = tf.function(self.function, input_signature=[self.inputs], autograph=False)
        return function.get_concrete_function()


def network_inputs(network: keras.Model) -> dict[str, tf.TensorSpec]:
    """Inputs of a functional model that is called with a dict.

    Raises:
        ValueError: a model of another kind, or an input whose shape is open beyond the batch axis.
    """
    if not isinstance(getattr(network, "input", None), dict):
        raise ValueError(f"{network.name}: expected a functional model called with a dict of its inputs.")
    inputs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in network.input.items()}
    for name, spec in inputs.items():
        if None in spec.shape.as_list()[1:]:
            raise ValueError(
                f"{network.name}: expected every axis of {name} but the first to be fixed, received {spec.shape}."
            )
    return inputs


def takes_photo(inputs: Mapping[str, tf.TensorSpec], spec: schema.RecipeSpec) -> bool:
    """Whether these are the inputs of an encoder of photos: the picture, and what else the spec says of one."""
    return schema.IMAGE in inputs and _shapes(inputs).items() <= spec.image_inputs().items()


def takes_recipe(inputs: Mapping[str, tf.TensorSpec], spec: schema.RecipeSpec) -> bool:
    """Whether these are the inputs of an encoder of recipes."""
    return _shapes(inputs) == spec.recipe_inputs()


def tensor_endpoints(model) -> dict[str, Endpoint]:
    """Endpoints that are networks alone, ``encode_<encoder>`` and ``decode_<decoder>``; each one is an ONNX file too.

    Args:
        model: has ``encoders``, ``decoders`` and ``embedding_size``.
    """
    endpoints = [_encoder_endpoint(name, encoder) for name, encoder in model.encoders.items()]
    endpoints += [_decoder_endpoint(name, model, decoder.network) for name, decoder in model.decoders.items()]
    return {endpoint.name: endpoint for endpoint in endpoints}


def raw_endpoints(model, tokenizer: RecipeTokenizer | None) -> dict[str, Endpoint]:
    """Endpoints that take what a user has: ``encode_<encoder>_bytes`` and ``encode_<encoder>_text``.

    Args:
        model: has ``encoders`` and ``spec``.
        tokenizer: with the model's vocabulary; None for a model that reads no recipes.
    """
    endpoints = {}
    for name, encoder in model.encoders.items():
        inputs = network_inputs(encoder)
        if takes_photo(inputs, model.spec):
            endpoint = _bytes_endpoint(f"encode_{name}_bytes", encoder, model.spec)
        elif tokenizer is not None and takes_recipe(inputs, model.spec):
            endpoint = _text_endpoint(f"encode_{name}_text", encoder, tokenizer)
            if not model.spec.instruction_vectors:
                endpoints[f"encode_{name}_lines"] = _lines_endpoint(f"encode_{name}_lines", endpoint.function)
        else:
            continue
        endpoints[endpoint.name] = endpoint
    return endpoints


def heat_map_endpoints(model) -> dict[str, Endpoint]:
    """Endpoints ``look_<encoder>``, where an encoder looks: its inputs → float ``[batch, rows, columns]``.

    Args:
        model: see :meth:`kfood.models.base.RetrievalModel.heat_maps`; any other object has none.
    """
    return {
        f"look_{name}": _heat_map_endpoint(f"look_{name}", network)
        for name, network in getattr(model, "heat_maps", dict)().items()
    }


def write_saved_model(
    path: str | pathlib.Path, endpoints: Mapping[str, Endpoint], tokenizer: RecipeTokenizer | None
) -> None:
    """Write endpoints as a SavedModel; the first one is also its ``serving_default``.

    Args:
        path: folder to make, ending in a version number for TensorFlow Serving.
        endpoints: what to write.
        tokenizer: whose lookup tables the endpoints use, if any do.
    """
    archive = keras.export.ExportArchive()
    if tokenizer is not None:
        archive.track(tokenizer)
    for endpoint in endpoints.values():
        archive.add_endpoint(endpoint.name, endpoint.function, input_signature=[endpoint.inputs])
    archive.write_out(str(path), verbose=False)


def networks(model) -> list[keras.Model]:
    """Every encoder, and every decoder's network."""
    return [*model.encoders.values(), *(decoder.network for decoder in model.decoders.values())]


@contextlib.contextmanager
def portable(model) -> Iterator[None]:
    """While it lasts, recurrent layers are traced without cuDNN, so that the graph runs on any device.

    Raises:
        ValueError: a layer that does not compute in float32.
    """
    layers = [layer for network in networks(model) for layer in network._flatten_layers()]
    for layer in layers:
        if layer.compute_dtype not in ("float32", None):
            raise ValueError(
                f"{layer.name}: expected a layer that computes in float32, received {layer.compute_dtype}; "
                "load the model in float32 to export it, as kfood.models.load_run does."
            )
    before = {id(layer): (layer, layer.use_cudnn) for layer in layers if hasattr(layer, "use_cudnn")}
    for layer, _ in before.values():
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, use_cudnn in before.values():
            layer.use_cudnn = use_cudnn


def _shapes(inputs):
    return {name: (tuple(spec.shape.as_list()[1:]), spec.dtype.name) for name, spec in inputs.items()}


def _encoder_endpoint(name, encoder):
    def encode(inputs):
        return {"embedding": encoder(inputs, training=False)}

    return Endpoint(f"encode_{name}", encode, network_inputs(encoder), "embedding")


def _decoder_endpoint(name, model, network):
    def decode(inputs):
        return {name: network(inputs["embedding"], training=False)}

    inputs = {"embedding": tf.TensorSpec([None, model.embedding_size], tf.float32, "embedding")}
    return Endpoint(f"decode_{name}", decode, inputs, name)


def _heat_map_endpoint(name, network):
    def look(inputs):
        return {"weights": network(inputs, training=False)}

    return Endpoint(name, look, network_inputs(network), "weights")


def _bytes_endpoint(name, encoder, spec):
    def encode(inputs):
        photos, readable = photo_bytes.pictures(inputs[schema.IMAGE], spec.image_size, spec.short_side)
        embedding = encoder({**inputs, schema.IMAGE: photos}, training=False)
        # Not a product, for what a network makes of black may not be finite.
        embedding = tf.where(readable[:, tf.newaxis] > 0, embedding, tf.zeros_like(embedding))
        return {"embedding": embedding, READABLE: readable}

    encoded = {**network_inputs(encoder), schema.IMAGE: tf.TensorSpec([None], tf.string, schema.IMAGE)}
    return Endpoint(name, encode, encoded, "embedding")


def _text_endpoint(name, encoder, tokenizer):
    spec = tokenizer.spec
    inputs = {
        schema.TITLE: tf.TensorSpec([None], tf.string, schema.TITLE),
        schema.INGREDIENTS: tf.TensorSpec([None, None], tf.string, schema.INGREDIENTS),
        schema.INSTRUCTIONS: tf.TensorSpec([None, None], tf.string, schema.INSTRUCTIONS),
    }
    if spec.instruction_vectors:
        vectors = tf.TensorSpec([None, None, spec.instruction_vectors], tf.float32, schema.INSTRUCTION_VECTORS)
        inputs[schema.INSTRUCTION_VECTORS] = vectors
        del inputs[schema.INSTRUCTIONS]

    def encode(inputs):
        title, ingredients = inputs[schema.TITLE], inputs[schema.INGREDIENTS]
        no_lines = tf.zeros_like(ingredients[:, :0])
        tokens = tokenizer(title, ingredients, inputs.get(schema.INSTRUCTIONS, no_lines))
        if spec.instruction_vectors:
            vectors = inputs[schema.INSTRUCTION_VECTORS][:, : spec.instructions]
            missing = spec.instructions - tf.shape(vectors)[1]
            vectors = tf.pad(vectors, [[0, 0], [0, missing], [0, 0]])
            tokens[schema.INSTRUCTION_VECTORS] = tf.ensure_shape(
                vectors, [None, spec.instructions, spec.instruction_vectors]
            )
        known = {
            name: ids if name == schema.INSTRUCTION_VECTORS else ids > schema.UNKNOWN_ID for name, ids in tokens.items()
        }
        return {"embedding": encoder(tokens, training=False), WORDS: _count(tokens), KNOWN_WORDS: _count(known)}

    return Endpoint(name, encode, inputs, "embedding")


def _count(tokens):
    """int32 [batch]: how many values are not 0, or true, in all."""
    return tf.add_n(
        [tf.math.count_nonzero(ids, axis=list(range(1, ids.shape.rank)), dtype=tf.int32) for ids in tokens.values()]
    )


def _lines_endpoint(name, encode_text):
    inputs = {
        key: tf.TensorSpec([None], tf.string, key) for key in (schema.TITLE, schema.INGREDIENTS, schema.INSTRUCTIONS)
    }

    def encode(inputs):
        lines = {
            # The table of all recipes is as wide as the one with the most lines.
            key: tf.strings.split(inputs[key], "\n")[:, : text.LINES].to_tensor("")
            for key in (schema.INGREDIENTS, schema.INSTRUCTIONS)
        }
        return encode_text({schema.TITLE: inputs[schema.TITLE], **lines})

    return Endpoint(name, encode, inputs, "embedding")
