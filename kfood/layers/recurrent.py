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


def present(lengths, steps, dtype):
    """Which steps of padded sequences are no padding.

    Args:
        lengths: int ``[batch]``.
        steps: int, length of the padded sequences.
        dtype: of the result.

    Returns:
        ``[batch, steps]`` of 0 and 1.
    """
    return ops.cast(ops.less(ops.arange(steps, dtype="int32")[None, :], lengths[:, None]), dtype)


def reverse(inputs, lengths):
    """Sequences turned round within their own lengths: done twice, it changes nothing but the padding.

    Args:
        inputs: float ``[batch, steps, d]``.
        lengths: int ``[batch]``.

    Returns:
        float ``[batch, steps, d]``; what stands after a sequence's length repeats its first step.
    """
    steps, width = inputs.shape[1], inputs.shape[2]
    rows = ops.cumsum(ops.ones_like(lengths)) - 1
    index = ops.maximum(lengths[:, None] - 1 - ops.arange(steps, dtype="int32")[None, :], 0)
    flat = ops.take(ops.reshape(inputs, (-1, width)), ops.reshape(rows[:, None] * steps + index, (-1,)), axis=0)
    return ops.reshape(flat, (-1, steps, width))


@keras.saving.register_keras_serializable("kfood")
class FinalStates(keras.layers.Layer):
    """The state of an LSTM at the end of each sequence, in one or both directions.

    Padding is on the right, so the forward state after ``length`` steps has seen no padding; for the backward
    direction each sequence is reversed within its own length first. No step is masked: the recurrence runs as one
    fused operation where the backend has one.

    Args:
        units: size of a state.
        bidirectional: whether to append the state of the backward direction.

    Attributes:
        stand_in: None, or what computes the same from (inputs, lengths): an export to a format with recurrences of its
            own traces it in place of the cells.

    Call arguments:
        inputs: float ``[batch, steps, d]``.
        lengths: int ``[batch]``. A sequence of length 0 gives zeros.

    Returns:
        float ``[batch, units]``, or ``[batch, 2 * units]`` with both directions.
    """

    def __init__(self, units, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.stand_in = None
        self.bidirectional = bidirectional
        # cuDNN's recurrence as JAX has it knows no 16 bits, which Keras does not ask before it takes it.
        wide = keras.backend.backend() != "jax" or self.compute_dtype == "float32"
        shared = {"return_sequences": True, "use_cudnn": "auto" if wide else False}
        self.forward_cell = keras.layers.LSTM(units, name="forward", **shared)
        self.backward_cell = keras.layers.LSTM(units, name="backward", **shared) if bidirectional else None

    def build(self, inputs_shape, lengths_shape=None):
        """Builds the recurrences for inputs of width ``inputs_shape[-1]``."""
        self.forward_cell.build(inputs_shape)
        if self.backward_cell is not None:
            self.backward_cell.build(inputs_shape)
        self.built = True

    def call(self, inputs, lengths):
        """See the class."""
        if self.stand_in is not None:
            return self.stand_in(inputs, lengths)
        # One at the last step, nowhere for length 0. Not one_hot: in ONNX it counts -1 from the end.
        last = ops.equal(ops.arange(inputs.shape[1], dtype="int32")[None, :], lengths[:, None] - 1)
        last = ops.cast(last, inputs.dtype)[:, :, None]
        states = [ops.sum(self.forward_cell(inputs) * last, axis=1)]
        if self.backward_cell is not None:
            states.append(ops.sum(self.backward_cell(reverse(inputs, lengths)) * last, axis=1))
        return ops.concatenate(states, axis=-1)

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        """``[batch, units]``, or twice the units with both directions."""
        return (inputs_shape[0], self.units * (2 if self.bidirectional else 1))

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"units": self.units, "bidirectional": self.bidirectional}


@keras.saving.register_keras_serializable("kfood")
class HiddenStates(keras.layers.Layer):
    """The states of a bidirectional GRU at every step of each sequence.

    As in :class:`FinalStates` no step is masked and the backward direction runs over sequences reversed within their
    own lengths, so that the recurrences are the backend's fused ones where it has them.

    Args:
        units: size of a state, both directions together; even.
        start_range: kernels start uniform in ± this; 0: as Keras starts a GRU.

    Attributes:
        stand_in: as of :class:`FinalStates`.

    Call arguments:
        inputs: float ``[batch, steps, d]``.
        lengths: int ``[batch]``.

    Returns:
        float ``[batch, steps, units]``, zeros past a sequence's length.
    """

    def __init__(self, units, start_range=0.0, **kwargs):
        super().__init__(**kwargs)
        if units % 2:
            raise ValueError(f"units: expected an even number, half a direction, received {units}.")
        self.units = units
        self.stand_in = None
        self.start_range = start_range
        self.forward_cell, self.backward_cell = (
            keras.layers.GRU(units // 2, return_sequences=True, name=name, **gru_start(start_range))
            for name in ("forward", "backward")
        )

    def build(self, inputs_shape, lengths_shape=None):
        """Builds the recurrences for inputs of width ``inputs_shape[-1]``."""
        self.forward_cell.build(inputs_shape)
        self.backward_cell.build(inputs_shape)
        self.built = True

    def call(self, inputs, lengths):
        """See the class."""
        if self.stand_in is not None:
            return self.stand_in(inputs, lengths)
        backward = reverse(self.backward_cell(reverse(inputs, lengths)), lengths)
        states = ops.concatenate([self.forward_cell(inputs), backward], axis=-1)
        return states * present(lengths, inputs.shape[1], states.dtype)[:, :, None]

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        """``[batch, steps, units]``."""
        return (*inputs_shape[:2], self.units)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"units": self.units, "start_range": self.start_range}


def start(start_range):
    """A fresh initializer of a kernel: uniform in ± ``start_range``, or Keras' usual one where that is 0."""
    return keras.initializers.RandomUniform(-start_range, start_range) if start_range else "glorot_uniform"


def gru_start(start_range):
    """The arguments by which a GRU starts uniform in ± ``start_range``; none where that is 0."""
    if not start_range:
        return {}
    return {"kernel_initializer": start(start_range), "recurrent_initializer": start(start_range)}
