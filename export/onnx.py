"""Networks as ONNX files that stock onnxruntime reads."""

import logging

import tensorflow as tf

from kfood.export.saved_model import Endpoint

OPSET = 17
"""The newest that tf2onnx writes without raising is 18; 17 is read by every onnxruntime since 1.12."""


class ConversionError(ValueError):
    """A network holds an operation that cannot be written as ONNX."""


def convert(endpoint: Endpoint) -> bytes:
    """Convert an endpoint, weights included.

    Args:
        endpoint: takes and returns numbers; its batch axis is open and stays so.

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
        frozen = convert_variables_to_constants_v2(
            endpoint.concrete, lower_control_flow=False, aggressive_inlining=True
        )
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
