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


def counted_in(program: Any) -> int:
    """Of a program that JAX has traced, whatever device it is for.

    Args:
        program: a ``jax.core.ClosedJaxpr`` or ``Jaxpr``, as ``jax.make_jaxpr`` gives; of a condition the larger branch
            counts.

    Returns:
        As :func:`counted`.

    Raises:
        ValueError: a loop with products whose number of turns the program does not say.
    """
    total = 0
    for equation in getattr(program, "jaxpr", program).eqns:
        name, given = equation.primitive.name, equation.params
        if name == "dot_general":
            (left, _), _ = given["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in left)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * inner
        elif name == "conv_general_dilated":
            total += 2 * _any_convolution(equation)
        elif name in ("rnn_fwd", "rnn_bwd"):  # cuDNN's, on a GPU
            inputs = equation.invars[0 if name == "rnn_fwd" else 3].aval
            total += 2 * _recurrence(inputs, given) * (1 if name == "rnn_fwd" else 2)
        else:
            inside = [counted_in(part) for part in _programs(given.values())]
            if name == "while" and any(inside):
                raise ValueError("operations of a loop: expected one of so many turns, received one of any number.")
            total += (max(inside) if name == "cond" else sum(inside)) * (given["length"] if name == "scan" else 1)
    return total


def _programs(values: Any) -> list[Any]:
    """Programs among an equation's parameters."""
    nested = [_programs(value) if isinstance(value, (tuple, list)) else [value] for value in values]
    return [value for part in nested for value in part if hasattr(getattr(value, "jaxpr", value), "eqns")]


def _any_convolution(equation: Any) -> int:
    """Multiplications of a convolution as JAX has it; the gradient with respect to a picture is one of values with
    zeros between them, each of which meets the whole kernel."""
    given = equation.params
    values, kernel = (variable.aval.shape for variable in equation.invars)
    filters, channels, *window = (kernel[axis] for axis in given["dimension_numbers"].rhs_spec)
    if any(dilation > 1 for dilation in given["lhs_dilation"]):
        return math.prod(values) * math.prod(window) * filters // given["feature_group_count"]
    return math.prod(equation.outvars[0].aval.shape) * math.prod(window) * channels


def _recurrence(inputs: Any, given: dict) -> int:
    """Multiplications of LSTMs of ``[batch, steps, width]`` as one operation: four gates of the input and the state."""
    size, directions = given["hidden_size"], 1 + given["bidirectional"]
    widths = inputs.shape[-1] + size + (given["num_layers"] - 1) * (directions + 1) * size
    return math.prod(inputs.shape[:-1]) * directions * 4 * size * widths


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
