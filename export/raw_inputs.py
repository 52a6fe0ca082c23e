"""What stands before an encoder in an ONNX file: strings → tokens, and pixels → the picture that was trained on.

Both are written with operators of stock onnxruntime, and compute what :mod:`kfood.data.text` and
:func:`kfood.data.images.evaluation_transform` compute:

=========================== ============================================== ============================================
file                        inputs                                         outputs
=========================== ============================================== ============================================
``<e>_text_encoder.onnx``   ``title`` string [batch], ``ingredients``      ``embedding``; ``words`` int64 [batch]: how
                            string [batch, n], ``instructions`` string     many tokens were read, 0 where the embedding
                            [batch, m], ``""`` where there are fewer       says nothing; ``known_words`` int64 [batch]:
                                                                           how many of them are in the vocabulary, or
                                                                           are read as a word of it
``<e>_pixels_encoder.onnx`` ``image`` uint8 [batch, height, width, 3]      ``embedding``
=========================== ============================================== ============================================

**Text.** ``StringNormalizer`` lowers ASCII letters, ``Tokenizer`` finds tokens, ``LabelEncoder`` looks them up, an
amount in each of its spellings, for no operator replaces signs. Unknown words are gathered, cut by one and two
characters by a ``Tokenizer`` whose separators are these, and looked up again. The characters of a token are written
into its expression one range after the other: ``\\p{L}`` means the Unicode version of whoever reads it, and
onnxruntime's is not TensorFlow's. ``Tokenizer`` pads to the longest of all lines, so memory goes by lines times words
of the longest: who asks the file bounds the length of what it is given, as the runtime does.

A clean ingredient name is several tokens, and no operator joins strings: the names are a trie, walked with one
``LabelEncoder`` a level, whose keys are ``node * tokens + token``.

**Pixels.** Resizing along one axis is a product with a matrix ``[size, side]`` of triangle weights, computed in the
graph from the sides that it meets, in float64. So it is antialiased as in training (``Resize`` is not, before opset 18)
and computes the crop's pixels only.
"""

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from kfood import schema
from kfood.data import text
from kfood.export.onnx import OPSET
from kfood.export.saved_model import KNOWN_WORDS, WORDS

PICTURE_BOUND = 0.005
"""Most that a pixel differs from the training pipeline's, of 255: 0.0033 was seen on 100 real photos, as they are,
enlarged, reduced and cut, at two sizes."""

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)

_FAR = 1 << 40
"""Put before the lines without a token, so that they come after all others."""


def text_tokens(spec: schema.RecipeSpec, words: Sequence[str], ingredients: Sequence[str]) -> onnx.ModelProto:
    """The graph from strings to what a recipe encoder receives, vocabulary inside.

    Args:
        spec: shapes.
        words: word vocabulary, index ``i`` has id ``i + 2``.
        ingredients: ingredient vocabulary, likewise.

    Returns:
        ``title``, ``ingredients``, ``instructions`` (or ``instruction_vectors`` float32 [batch, m, width]) → the
        spec's recipe inputs, ``words`` and ``known_words``.
    """
    graph = _TextGraph(words, ingredients)
    unknown = graph.constant(schema.UNKNOWN_ID)
    graph.input(schema.TITLE, TensorProto.STRING, ["batch"])
    graph.input(schema.INGREDIENTS, TensorProto.STRING, ["batch", "ingredient_lines"])
    ready: dict[str, str] = {}
    if spec.title_words:
        ready[schema.TITLE] = graph.padded_ids(schema.TITLE, spec.title_words)
    ids_of = graph.name_ids if spec.ingredient_unit == "name" else graph.padded_ids
    ready[schema.INGREDIENTS] = graph.lines(schema.INGREDIENTS, spec.ingredients, spec.ingredient_words, ids_of)
    if spec.instruction_vectors:
        wanted = [spec.instructions, spec.instruction_vectors]
        vectors = graph.input(schema.INSTRUCTION_VECTORS, TensorProto.FLOAT, ["batch", "sentences", wanted[1]])
        missing = graph.expand(np.float32(0), graph.concat(graph.size(vectors, 0), graph.constant(wanted)))
        vectors = graph.slice(graph.concat(vectors, missing, axis=1), 1, 0, spec.instructions)
        ready[schema.INSTRUCTION_VECTORS] = vectors
    else:
        graph.input(schema.INSTRUCTIONS, TensorProto.STRING, ["batch", "instruction_lines"])
        ready[schema.INSTRUCTIONS] = graph.lines(
            schema.INSTRUCTIONS, spec.instructions, spec.instruction_words, graph.padded_ids
        )
    counts, known = [], []
    for name, (shape, dtype) in spec.recipe_inputs().items():
        zero = graph.constant(np.float32(0) if dtype == "float32" else 0)
        read = graph.node("Not", graph.node("Equal", ready[name], zero))
        in_vocabulary = read if dtype == "float32" else graph.node("Greater", ready[name], unknown)
        counts.append(graph.count(read, len(shape)))
        known.append(graph.count(in_vocabulary, len(shape)))
        kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.INT32
        graph.output(f"{name}_tokens", graph.node("Cast", ready[name], to=kind), kind, ["batch", *shape])
    graph.output(WORDS, _total(graph, counts), TensorProto.INT64, ["batch"])
    graph.output(KNOWN_WORDS, _total(graph, known), TensorProto.INT64, ["batch"])
    return graph.model("text")


def pixels_picture(size: int, short_side: int) -> onnx.ModelProto:
    """The graph from photos of any size, all of one size in a batch, to what an image encoder receives.

    Args:
        size: side of the picture, pixels.
        short_side: of the resized photo, pixels; 0: both of its sides are ``size``.

    Returns:
        ``image`` uint8 [batch, height, width, 3] → ``image_picture`` float32 [batch, size, size, 3] in [0, 255].
    """
    graph = _Graph()
    pixels = graph.input(schema.IMAGE, TensorProto.UINT8, ["batch", "height", "width", 3])
    batch, height, width = (graph.size(pixels, axis) for axis in range(3))
    short = graph.node("Min", height, width)

    def weights(side):
        """Int64 [1] → float32 [size, side], the rows' sums 1: each row the triangle around its pixel's centre."""
        if short_side:
            doubled = graph.node("Mul", side, graph.constant([2 * short_side]))
            resized = graph.node("Add", doubled, short)
            resized = graph.node("Div", resized, graph.node("Mul", short, graph.constant([2])))
        else:
            resized = graph.constant([size])
        start = graph.node("Div", graph.node("Sub", resized, graph.constant([size])), graph.constant([2]))
        side_, resized, start = (graph.node("Cast", n, to=TensorProto.DOUBLE) for n in (side, resized, start))
        scale = graph.node("Div", side_, resized)
        reach = graph.node("Max", scale, graph.constant([1.0]))
        middles = graph.constant(np.arange(size)[:, None] + 0.5)
        centres = graph.node("Mul", graph.node("Add", middles, start), scale)
        sources = graph.node("Range", graph.constant(0), graph.node("Squeeze", side), graph.constant(1))
        sources = graph.node("Add", graph.node("Cast", sources, to=TensorProto.DOUBLE), graph.constant([0.5]))
        away = graph.node("Div", graph.node("Abs", graph.node("Sub", sources, centres)), reach)
        triangle = graph.node("Max", graph.node("Sub", graph.constant([1.0]), away), graph.constant([0.0]))
        total = graph.node("ReduceSum", triangle, graph.constant([1]), keepdims=1)
        return graph.node("Cast", graph.node("Div", triangle, total), to=TensorProto.FLOAT)

    image = graph.node("Cast", pixels, to=TensorProto.FLOAT)
    rows = graph.node("Reshape", image, graph.concat(batch, height, graph.constant([-1])))
    rows = graph.node("MatMul", weights(height), rows)
    rows = graph.node("Reshape", rows, graph.concat(batch, graph.constant([size]), width, graph.constant([3])))
    columns = graph.node("Transpose", weights(width), perm=[1, 0])
    picture = graph.node("MatMul", graph.node("Transpose", rows, perm=[0, 1, 3, 2]), columns)
    picture = graph.node("Transpose", picture, perm=[0, 1, 3, 2])
    # The weights' sum is 1 up to rounding.
    picture = graph.node("Min", picture, graph.constant(np.float32(255)))
    graph.output(f"{schema.IMAGE}_picture", picture, TensorProto.FLOAT, ["batch", size, size, 3])
    return graph.model("pixels")


def before(front: onnx.ModelProto, encoder: bytes) -> bytes:
    """One model out of a graph made here and an encoder that takes what it gives.

    Args:
        front: of :func:`text_tokens` or :func:`pixels_picture`.
        encoder: of :func:`kfood.export.onnx.convert`, or quantised.

    Returns:
        A serialized model that passed ``onnx.checker``; its inputs are the front's, then what of the encoder's the
        front does not give; its outputs are the encoder's, then what of the front's the encoder does not take.
    """
    model = onnx.load_from_string(encoder)
    wanted = [value.name for value in model.graph.input]
    # By order: both follow the spec, and a picture comes before its location.
    io_map = [(value.name, name) for value, name in zip(front.graph.output, wanted, strict=False)]
    domains = {opset.domain: opset for opset in (*model.opset_import, *front.opset_import)}
    for part in (model, front):
        part.ir_version = max(model.ir_version, front.ir_version)
        del part.opset_import[:]
        part.opset_import.extend(domains.values())
    prefixed = onnx.compose.add_prefix(model, "encoder/", rename_inputs=True, rename_outputs=False)
    front = onnx.compose.add_prefix(front, "before/", rename_inputs=False, rename_outputs=False)
    outputs = [value.name for value in (*model.graph.output, *front.graph.output[len(wanted) :])]
    merged = onnx.compose.merge_models(
        front, prefixed, [(given, f"encoder/{name}") for given, name in io_map], outputs=outputs
    )
    ordered = [next(value for value in merged.graph.output if value.name == name) for name in outputs]
    del merged.graph.output[:]
    merged.graph.output.extend(ordered)
    rest = {f"encoder/{name}": name for name in wanted[len(io_map) :]}
    for value in merged.graph.input:
        if value.name in rest:
            own, value.name = value.name, rest[value.name]
            merged.graph.node.insert(0, onnx.helper.make_node("Identity", [value.name], [own]))
    onnx.checker.check_model(merged)
    return merged.SerializeToString()


@functools.cache
def token_characters() -> list[str]:
    """The characters of tokens that are no amounts, as RE2's ranges ``\\x{first}-\\x{last}``, asked of TensorFlow."""
    points = [point for point in range(_LAST_CODE_POINT + 1) if point not in _SURROGATES]
    matches = tf.strings.regex_full_match(tf.constant([chr(point) for point in points]), text.WORD_PATTERN).numpy()
    letters = np.array(points)[matches]
    ends = np.flatnonzero(np.diff(letters) != 1)
    firsts, lasts = letters[[0, *(ends + 1)]], letters[[*ends, len(letters) - 1]]
    return [f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in zip(firsts, lasts, strict=True)]


def spellings(token: str) -> list[str]:
    """All the ways in which text spells a token: several of an amount, one of any other."""
    if mixed := re.fullmatch(r"(?:([0-9]+)-)?([0-9]+/[0-9]+)", token):
        whole, fraction = mixed.groups()
        signs = [sign for sign, spelled in text.FRACTIONS.items() if spelled == fraction]
        fractions = [fraction, fraction.replace("/", "⁄"), *signs]
        if whole is None:
            return fractions
        return [f"{whole}{between}{spelled}" for between in "- –" for spelled in fractions] + [
            whole + sign for sign in signs
        ]
    if re.match("[0-9]", token):
        return [
            "".join(signs) for signs in itertools.product(*({"-": "-–", ".": ".,"}.get(sign, sign) for sign in token))
        ]
    return [token]


def _spelled(numbers: Mapping[str, int]) -> dict[str, int]:
    """Token → number, with the tokens' other spellings."""
    return {spelled: number for token, number in numbers.items() for spelled in spellings(token)}


def _in_normal_form(ids: Mapping[str, int]) -> dict[str, int]:
    """Without what is in another form, and so is never found, here or in training."""
    forms = text.normalize(tf.constant(list(ids), tf.string)).numpy()
    return {token: id for (token, id), form in zip(ids.items(), forms, strict=True) if token and form.decode() == token}


def _total(graph, counts):
    total = counts[0]
    for count in counts[1:]:
        total = graph.node("Add", total, count)
    return total


class _Graph:
    """Nodes and constants in order, names made up."""

    def __init__(self):
        self._nodes, self._constants, self._inputs, self._outputs = [], [], [], []

    def nodes(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        """Adds a node; returns the names of its outputs."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        names = [f"{name}:{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, name, domain=domain, **attributes))
        return names

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output; returns its name."""
        return self.nodes(operator, *inputs, **attributes)[0]

    def constant(self, value: Any) -> str:
        """Adds a constant: integers as int64, floats as float64, or an array as it is."""
        array = np.asarray(value)
        array = array.astype(object) if array.dtype.kind == "U" else array
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def input(self, name: str, kind: int, shape: list) -> str:
        """Adds an input; returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: int, shape: list) -> None:
        """Makes a value an output under another name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"output_{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def size(self, value: str, axis: int) -> str:
        """Int64 [1]."""
        return self.node("Shape", value, start=axis, end=axis + 1)

    def slice(self, value: str, axis: int, start: int, end: int) -> str:
        """``value[start:end]`` along an axis."""
        return self.node("Slice", value, *(self.constant([number]) for number in (start, end, axis)))

    def concat(self, *values: str, axis: int = 0) -> str:
        """Values one after the other."""
        return self.node("Concat", *values, axis=axis)

    def expand(self, value: Any, shape: str) -> str:
        """A constant repeated to a shape."""
        return self.node("Expand", self.constant(value), shape)

    def lookup(self, values: str, table: dict, default: int) -> str:
        """Strings or int64 → int64."""
        keys = "keys_strings" if isinstance(next(iter(table)), str) else "keys_int64s"
        attributes = {keys: list(table), "values_int64s": list(table.values()), "default_int64": default}
        return self.node("LabelEncoder", values, domain="ai.onnx.ml", **attributes)

    def model(self, name: str) -> onnx.ModelProto:
        """The graph as a model."""
        opsets = {"": OPSET, "ai.onnx.ml": 2, "com.microsoft": 1}
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
            ir_version=8,
            producer_name="kfood",
        )


class _TextGraph(_Graph):
    """A graph that turns strings into ids of a vocabulary."""

    def __init__(self, words: Sequence[str], ingredients: Sequence[str]):
        super().__init__()
        self._word_ids = {"": schema.PADDING_ID} | _spelled(_in_normal_form(text.ids(words)))
        self._beginnings = {"": schema.UNKNOWN_ID} | text.beginnings(words)
        self._ingredients = ingredients
        self._expression = f"{text.AMOUNT_PATTERN}|[{''.join(token_characters())}]+"

    def _tokens(self, strings: str, most: int) -> str:
        """String [n] → string [n, 0 … most]."""
        lowered = self.node("StringNormalizer", strings, case_change_action="LOWER", locale="C")
        attributes = {"mark": 0, "pad_value": "", "mincharnum": 1, "tokenexp": self._expression}
        return self.slice(self.node("Tokenizer", lowered, domain="com.microsoft", **attributes), 1, 0, most)

    def _padded(self, ids: str, width: int) -> str:
        """Int64 [n, k] → int64 [n, k + width], the further ones 0."""
        missing = self.expand(0, self.concat(self.size(ids, 0), self.constant([width])))
        return self.concat(ids, missing, axis=1)

    def padded_ids(self, strings: str, most: int) -> str:
        """String [n] → int64 [n, most]."""
        tokens = self._tokens(strings, most)
        ids = self._with_beginnings(tokens, self.lookup(tokens, self._word_ids, schema.UNKNOWN_ID))
        return self.slice(self._padded(ids, most), 1, 0, most)

    def _with_beginnings(self, tokens: str, ids: str) -> str:
        """String and int64 [n, k] → int64 [n, k], unknown words by their longest known beginning."""
        unknown = self.constant(schema.UNKNOWN_ID)
        places = self.node("Transpose", self.node("NonZero", self.node("Equal", ids, unknown)), perm=[1, 0])
        # One empty word more: there is then at least one.
        words = self.concat(self.node("GatherND", tokens, places), self.constant([""]))
        found = self.expand(schema.UNKNOWN_ID, self.size(words, 0))
        for cut in range(text.MOST_CUT, 0, -1):  # the longest comes last
            attributes = {"mark": 0, "pad_value": "", "mincharnum": text.LEAST_BEGINNING}
            shorter = self.node("Tokenizer", words, domain="com.microsoft", separators=[f".{{{cut}}}$"], **attributes)
            nothing = self.expand("", self.concat(self.size(words, 0), self.constant([1])))
            shorter = self.concat(shorter, nothing, axis=1)
            known = self.node("Squeeze", self.slice(shorter, 1, 0, 1), self.constant([1]))
            known = self.lookup(known, self._beginnings, schema.UNKNOWN_ID)
            found = self.node("Where", self.node("Equal", known, unknown), found, known)
        return self.node("ScatterND", ids, places, self.slice(found, 0, 0, -1))

    def name_ids(self, strings: str, width: int) -> str:
        """String [n] → int64 [n, 1], names of ingredients; ``width`` is 1."""
        trie = _Trie(self._ingredients)
        depth = len(trie.levels)
        found = self.lookup(self._tokens(strings, depth + 1), {"": 0} | _spelled(trie.tokens), trie.width - 1)
        found = self._padded(found, depth + 1)
        state = self.expand(1, self.concat(self.size(found, 0), self.constant([1])))
        for position in range(depth + 1):
            token = self.slice(found, 1, position, position + 1)
            step = self.node("Add", self.node("Mul", state, self.constant(trie.width)), token)
            # A name longer than all of the vocabulary leaves the trie with its last token.
            level = trie.levels[position] if position < depth else {}
            after = self.lookup(step, level or {-1: 0}, 0)
            state = self.node("Where", self.node("Equal", token, self.constant(0)), state, after)
        ids = self.lookup(state, trie.ends or {-1: 0}, schema.UNKNOWN_ID)
        nothing = self.node("Equal", self.slice(found, 1, 0, 1), self.constant(0))
        return self.node("Where", nothing, self.constant(schema.PADDING_ID), ids)

    def lines(self, strings: str, most: int, width: int, ids_of: Callable[[str, int], str]) -> str:
        """String [batch, n] → int64 [batch, most, width], lines without a token left out."""
        batch = self.size(strings, 0)
        # One empty line more: there is then at least one.
        empty = self.expand("", self.concat(batch, self.constant([1])))
        strings = self.concat(strings, empty, axis=1)
        count = self.size(strings, 1)
        ids = ids_of(self.node("Reshape", strings, self.constant([-1])), width)
        ids = self.node("Reshape", ids, self.concat(batch, count, self.constant([width])))
        ids = self.concat(ids, self.expand(0, self.concat(batch, self.constant([most, width]))), axis=1)
        blank = self.node("Equal", self.node("ReduceMax", ids, axes=[2], keepdims=0), self.constant(0))
        total = self.node("Squeeze", self.size(ids, 1))
        order = self.node("Range", self.constant(0), total, self.constant(1))
        order = self.node("Add", order, self.node("Where", blank, self.constant(_FAR), self.constant(0)))
        _, rows = self.nodes("TopK", order, self.constant([most]), outputs=2, axis=1, largest=0)
        rows = self.node("Unsqueeze", rows, self.constant([2]))
        return self.node("GatherND", ids, rows, batch_dims=1)

    def count(self, true: str, rank: int) -> str:
        """Bool [batch, …] of ``rank`` axes more → int64 [batch]: how many are true."""
        axes = self.constant(list(range(1, rank + 1)))
        return self.node("ReduceSum", self.node("Cast", true, to=TensorProto.INT64), axes, keepdims=0)


class _Trie:
    """Names by their tokens.

    Attributes:
        tokens: token → its number, from 1 on.
        width: by how much a node's number is multiplied before a token's is added; ``width - 1`` is any other token.
        levels: for each token of a name, ``node * width + token`` → next node; 1 is the root.
        ends: the last node of a name → the name's id.
    """

    def __init__(self, ingredients: Sequence[str]):
        names = _in_normal_form(text.ids(ingredients))
        split = [name.split(" ") for name in names]
        distinct = dict.fromkeys(token for name in split for token in name)
        self.tokens = {token: index for index, token in enumerate(distinct, 1)}
        self.width = len(self.tokens) + 2
        self.levels: list[dict[int, int]] = [{} for _ in range(max(map(len, split), default=0))]
        self.ends: dict[int, int] = {}
        nodes = 1
        for id, parts in zip(names.values(), split, strict=True):
            node = 1
            for level, token in zip(self.levels, parts, strict=False):
                key = node * self.width + self.tokens[token]
                if key not in level:
                    nodes += 1
                    level[key] = nodes
                node = level[key]
            self.ends[node] = id
