"""How many floating-point operations a step has: those of products and convolutions, gradients included."""

import math
from collections.abc import Callable
from typing import Any


def counted(run: Callable[[], object]) -> int:
    """Of a call that TensorFlow executes operation by operation, so that each turn of a loop is seen.

    Sums, activations and optimizers are left out, as in the usual count: beside a product of matrices they are small.

    Args:
        run: the call; nothing in it may be compiled into a graph.

    Returns:
        Two for each multiplication that is added up.
    """
    # What tf.debugging's own dumps listen by; there is no public way to see the operations of a gradient.
    from tensorflow.python.framework import op_callbacks

    total = 0

    def add(kind, inputs, attributes, outputs, op_name=None, graph=None):
        nonlocal total
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind in _OPERATIONS:
            named = dict(zip(attributes[::2], attributes[1::2], strict=True))
            total += 2 * _OPERATIONS[kind](inputs, named, outputs[0])

    op_callbacks.add_op_callback(add)
    try:
        run()
    finally:
        op_callbacks.remove_op_callback(add)
    return total


def _product(inputs: Any, attributes: dict, output: Any, transposed: str) -> int:
    """Of matrices ``[..., n, k] · [..., k, m]``."""
    inner = inputs[0].shape[-2 if attributes.get(transposed) else -1]
    return math.prod(output.shape) * inner


def _convolution(places: Any, kernel: Any) -> int:
    """Of a kernel ``[height, width, channels, filters]`` at the places of ``[batch, rows, columns, filters]``."""
    height, width, channels, _ = kernel
    return math.prod(places.shape) * height * width * channels


def _channelwise(places: Any, kernel: Any) -> int:
    """Of a kernel ``[height, width, channels, multiplier]``, each channel by itself."""
    return math.prod(places.shape) * kernel[0] * kernel[1]


def _sizes(tensor: Any) -> list[int]:
    return [int(size) for size in tensor.numpy()]


_OPERATIONS: dict[str, Callable[[Any, dict, Any], int]] = {
    "MatMul": lambda inputs, given, output: _product(inputs, given, output, "transpose_a"),
    "BatchMatMulV2": lambda inputs, given, output: _product(inputs, given, output, "adj_x"),
    "Conv2D": lambda inputs, given, output: _convolution(output, inputs[1].shape),
    "Conv2DBackpropInput": lambda inputs, given, output: _convolution(inputs[2], inputs[1].shape),
    "Conv2DBackpropFilter": lambda inputs, given, output: _convolution(inputs[2], _sizes(inputs[1])),
    "DepthwiseConv2dNative": lambda inputs, given, output: _channelwise(output, inputs[1].shape),
    "DepthwiseConv2dNativeBackpropInput": lambda inputs, given, output: _channelwise(inputs[2], inputs[1].shape),
    "DepthwiseConv2dNativeBackpropFilter": lambda inputs, given, output: _channelwise(inputs[2], _sizes(inputs[1])),
}
"""Operation → (inputs, attributes, first output) → multiplications."""
