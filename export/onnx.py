"""Networks as ONNX files that stock onnxruntime reads.

A recurrence traced as it stands becomes a ``Loop``, or two nodes with gathers between them. In its place
:func:`fused_recurrences` puts a stub into the graph, and :func:`convert` turns each stub into one ``LSTM`` or ``GRU``
node, both directions in it, that takes the lengths as ``sequence_lens``. The node runs over the sequences that have
any step: of a recipe's twenty rows of words most are padding, which a batch in TensorFlow computes all the same.
"""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from kfood.export.saved_model import Endpoint
from kfood.layers.attention import AttentionDecoder
from kfood.layers.recurrent import FinalStates, HiddenStates

OPSET = 17
"""The newest that tf2onnx writes without raising is 18; 17 is read by every onnxruntime since 1.12."""


class ConversionError(ValueError):
    """A network holds an operation that cannot be written as ONNX."""


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """What one ``LSTM`` or ``GRU`` node computes.

    Attributes:
        kind: the operator.
        weights: ``W`` float32 ``[directions, gates * units, d]``, ``R`` ``[directions, gates * units, units]``, and
            ``B`` ``[directions, 2 * gates * units]``.
        every_step: whether the result is the state at every step, or that at the end.
    """

    kind: Literal["LSTM", "GRU"]
    weights: dict[str, np.ndarray]
    every_step: bool


@contextlib.contextmanager
def fused_recurrences(networks: Iterable[keras.Model]) -> Iterator[dict[str, Recurrence]]:
    """While it lasts, recurrent layers are traced as stubs for :func:`convert`, and are not to be run.

    A recurrence that attends at every step has no node of its own: it is unrolled.

    Args:
        networks: whose layers are meant.

    Yields:
        Name of a stub in a graph → what it stands for; filled while tracing.
    """
    layers = [layer for network in networks for layer in network._flatten_layers()]
    recurrent = [layer for layer in layers if isinstance(layer, FinalStates | HiddenStates)]
    unrolled = [layer.loop for layer in layers if isinstance(layer, AttentionDecoder) and not layer.loop.unroll]
    stubs: dict[str, Recurrence] = {}

    def stand_in(layer):
        recurrence = _recurrence(layer)

        def stub(inputs, lengths):
            result = tf.numpy_function(_refuse, [inputs, lengths], tf.float32)
            stubs[result.op.get_attr("token").decode()] = recurrence
            # The node puts the directions on an axis of their own; and a set_shape would not outlive the conversion.
            return tf.reshape(result, [-1, *layer.compute_output_shape(inputs.shape)[1:]])

        return stub

    for layer in recurrent:
        layer.stand_in = stand_in(layer)
    for loop in unrolled:
        loop.unroll = True
    try:
        yield stubs
    finally:
        for layer in recurrent:
            layer.stand_in = None
        for loop in unrolled:
            loop.unroll = False


def _refuse(*inputs):
    raise NotImplementedError("a recurrence traced for ONNX was run")


def convert(endpoint: Endpoint, recurrences: Mapping[str, Recurrence] | None = None) -> bytes:
    """Convert an endpoint, weights included.

    Args:
        endpoint: takes and returns numbers; its batch axis is open and stays so.
        recurrences: of :func:`fused_recurrences`, inside which this is called; None: as the layers compute.

    Returns:
        A serialized ONNX model that passed ``onnx.checker``, with the endpoint's names of inputs and output.

    Raises:
        ConversionError: an operation without a counterpart in ONNX; the message names it.
    """
    import onnx
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with _Complaints() as complaints:
        # Frozen here, not by tf2onnx.convert.from_function: that one turns constants which a functional model captured
        # when it was built (positions, a mean) into inputs of the graph.
        frozen = convert_variables_to_constants_v2(endpoint.trace(), lower_control_flow=False, aggressive_inlining=True)
        inputs = {tensor.name: tensor.name.split(":")[0] for tensor in frozen.inputs}
        if sorted(inputs.values()) != sorted(endpoint.inputs):
            raise ConversionError(
                f"{endpoint.name}: expected the inputs {sorted(endpoint.inputs)}, received {sorted(inputs.values())}."
            )
        (output,) = (tensor.name for tensor in frozen.outputs)
        try:
            proto, _ = tf2onnx.convert.from_graph_def(
                frozen.graph.as_graph_def(add_shapes=True),
                name=endpoint.name,
                input_names=list(inputs),
                output_names=[output],
                opset=OPSET,
                custom_op_handlers={"PyFunc": (functools.partial(_fused_node, recurrences or {}), [])},
                tensors_to_rename={**inputs, output: endpoint.output},
            )
        except Exception as error:  # whatever tf2onnx raises, the network could not be converted
            raise ConversionError(f"{endpoint.name}: not convertible to ONNX: {error}") from error
    if complaints.messages:  # tf2onnx only logs an operation that it does not know, and writes a broken model
        raise ConversionError(f"{endpoint.name}: not convertible to ONNX: {'; '.join(complaints.messages)}")
    ordered = [next(value for value in proto.graph.input if value.name == name) for name in endpoint.inputs]
    del proto.graph.input[:]
    proto.graph.input.extend(ordered)  # TensorFlow sorts the names of a dict
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{endpoint.name}: onnx.checker refuses the converted model: {error}") from error
    return proto.SerializeToString()


def _fused_node(recurrences, context, stub, name, _):
    """Replace a stub by the one node that computes what it stands for (a handler of tf2onnx)."""
    import onnx

    what = recurrences[stub.get_attr_str("token")]
    inputs, lengths = stub.input
    steps, (directions, _, units) = context.get_shape(inputs)[1], what.weights["R"].shape
    context.remove_node(name)

    def constant(part, value):
        return context.make_const(f"{name}_{part}", value).output[0]

    def node(kind, operands, **attributes):
        return context.make_node(kind, operands, attr=attributes).output[0]

    lengths = node("Cast", [lengths], to=onnx.TensorProto.INT32)
    # Of sequences without a step the first alone is computed, if it is one: recurrent nodes do not take 0 sequences.
    one = constant("one", np.array([1]))
    others = node("Slice", [lengths, one, constant("end", np.array([np.iinfo(np.int64).max]))])
    some = node("Greater", [others, constant("none", np.int32(0))])
    rows = node("Transpose", [node("NonZero", [node("Concat", [constant("first", np.array([True])), some], axis=0)])])
    index = node("Squeeze", [rows, one])
    steps_first = node("Transpose", [node("Gather", [inputs, index])], perm=[1, 0, 2])
    attributes = {"hidden_size": units, "direction": "bidirectional" if directions == 2 else "forward"}
    if what.kind == "GRU":
        attributes["linear_before_reset"] = 1
    operands = [steps_first, *(constant(*part) for part in what.weights.items()), node("Gather", [lengths, index])]
    every_step, final = context.make_node(what.kind, operands, attr=attributes, output_count=2).output
    result, axes = (every_step, [2, 0, 1, 3]) if what.every_step else (final, [1, 0, 2])  # the batch to the front
    width = [*([steps] if what.every_step else []), directions, units]
    zeros = node(
        "Expand",
        [
            constant("zeros", np.zeros(1, np.float32)),
            node("Concat", [node("Shape", [lengths]), constant("width", np.array(width))], axis=0),
        ],
    )
    context.make_node(
        "ScatterND",
        [zeros, rows, node("Transpose", [result], perm=axes)],
        outputs=stub.output,
        shapes=[[-1, *width]],
        dtypes=[onnx.TensorProto.FLOAT],
    )


def _recurrence(layer) -> Recurrence:
    """A recurrent layer with its weights in ONNX' layout."""
    cells = [cell for cell in (layer.forward_cell, layer.backward_cell) if cell is not None]
    kind: Literal["LSTM", "GRU"] = "LSTM" if isinstance(cells[0], keras.layers.LSTM) else "GRU"
    order = [0, 3, 1, 2] if kind == "LSTM" else [0, 1, 2]  # Keras' gates i f c o → ONNX' i o f c; z r h in both
    weights: dict[str, list[np.ndarray]] = {"W": [], "R": [], "B": []}
    for cell in cells:
        gates = [np.split(part, len(order), axis=-1) for part in cell.get_weights()]
        kernel, recurrent, bias = (np.concatenate([part[gate] for gate in order], axis=-1) for part in gates)
        weights["W"].append(kernel.T)
        weights["R"].append(recurrent.T)
        # Two biases: of the inputs, and of the state, which a Keras LSTM has not.
        weights["B"].append(np.concatenate([bias, np.zeros_like(bias)]) if kind == "LSTM" else bias.reshape(-1))
    stacked = {part: np.stack(arrays).astype(np.float32) for part, arrays in weights.items()}
    return Recurrence(kind, stacked, isinstance(layer, HiddenStates))


def description(model: bytes) -> dict[str, dict]:
    """Inputs and outputs of a serialized model: name → shape, None where it is open, and dtype.

    Args:
        model: of :func:`convert`, or composed of such.
    """
    import onnx

    graph = onnx.load_from_string(model).graph

    def tensors(values):
        return {value.name: _tensor(value.type.tensor_type) for value in values}

    def _tensor(kind):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        return {
            "shape": [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim],
            "dtype": "string" if dtype == "object" else dtype,
        }

    return {"inputs": tensors(graph.input), "outputs": tensors(graph.output)}


class _Complaints(logging.Handler):
    """Collects the errors that tf2onnx logs, and keeps its and TensorFlow's chatter off the screen."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        self._loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]

    def emit(self, record):
        self.messages.append(record.getMessage())

    def __enter__(self):
        self._before = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)
        self._loggers[0].addHandler(self)
        return self

    def __exit__(self, *error):
        self._loggers[0].removeHandler(self)
        for logger, level in zip(self._loggers, self._before, strict=True):
            logger.setLevel(level)
