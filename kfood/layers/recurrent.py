"""Recurrent encoders that work from lengths: an embedding does not change with the padding around it."""

import keras
from keras import ops


def lengths(tokens):
    """Position after the last token that is not padding, along the last axis.

    Args:
        tokens: int ``[..., n]``, 0 = padding on the right.

    Returns:
        int32 ``[...]``.
    """
    positions = ops.arange(1, tokens.shape[-1] + 1, dtype="int32")
    return ops.max(ops.where(ops.not_equal(tokens, 0), positions, 0), axis=-1)


@keras.saving.register_keras_serializable("kfood")
class FinalStates(keras.layers.Layer):
    """The state of an LSTM at the end of each sequence, in one or both directions.

    Padding is on the right, so the forward state after ``length`` steps has seen no padding; for the backward
    direction each sequence is reversed within its own length first. No step is masked: the recurrence runs as one
    fused operation where the backend has one, and becomes a single ``LSTM`` node in ONNX.

    Args:
        units: size of a state.
        bidirectional: whether to append the state of the backward direction.

    Call arguments:
        inputs: float ``[batch, steps, d]``.
        lengths: int ``[batch]``. A sequence of length 0 gives zeros.

    Returns:
        float ``[batch, units]``, or ``[batch, 2 * units]`` with both directions.
    """

    def __init__(self, units, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bidirectional = bidirectional
        self.forward_cell = keras.layers.LSTM(units, return_sequences=True, name="forward")
        self.backward_cell = keras.layers.LSTM(units, return_sequences=True, name="backward") if bidirectional else None

    def build(self, inputs_shape, lengths_shape=None):
        """Builds the recurrences for inputs of width ``inputs_shape[-1]``."""
        self.forward_cell.build(inputs_shape)
        if self.backward_cell is not None:
            self.backward_cell.build(inputs_shape)
        self.built = True

    def call(self, inputs, lengths):
        """See the class."""
        steps, width = inputs.shape[1], inputs.shape[2]
        # One at the last step, nowhere for length 0. Not one_hot: in ONNX it counts -1 from the end.
        last = ops.equal(ops.arange(steps, dtype="int32")[None, :], lengths[:, None] - 1)
        last = ops.cast(last, inputs.dtype)[:, :, None]
        states = [ops.sum(self.forward_cell(inputs) * last, axis=1)]
        if self.backward_cell is not None:
            rows = ops.cumsum(ops.ones_like(lengths)) - 1
            reversed_steps = ops.maximum(lengths[:, None] - 1 - ops.arange(steps, dtype="int32")[None, :], 0)
            flat = ops.reshape(inputs, (-1, width))
            backward = ops.reshape(
                ops.take(flat, ops.reshape(rows[:, None] * steps + reversed_steps, (-1,)), axis=0), (-1, steps, width)
            )
            states.append(ops.sum(self.backward_cell(backward) * last, axis=1))
        return ops.concatenate(states, axis=-1)

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        """``[batch, units]``, or twice the units with both directions."""
        return (inputs_shape[0], self.units * (2 if self.bidirectional else 1))

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"units": self.units, "bidirectional": self.bidirectional}
