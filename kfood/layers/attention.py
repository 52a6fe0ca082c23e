"""Additive attention (Bahdanau et al. 2015): pooling by a query, and a decoder that attends at every step."""

import keras
from keras import ops

from kfood.layers.recurrent import gru_start, start

_FAR = 1e9
"""Taken from the score of what is padding, in float32, so that it is never the greatest."""


@keras.saving.register_keras_serializable("kfood")
class AttentionPooling(keras.layers.Layer):
    """A sequence's weighted sum, its weights by how each step answers a query (MCEN, Eq. 1 and 2).

    ``s = Σ α_i h_i``, ``α = softmax_i(v · tanh(W q + U h_i))``; the query ``q`` is trained with the layer, or given.

    Args:
        units: width inside the tanh.
        query_size: width of a trained query; None: the query is given in each call.
        start_range: weights start uniform in ± this; 0: as Keras starts a Dense layer.

    Call arguments:
        context: h, float ``[batch, steps, d]``.
        present: ``[batch, steps]`` of 0 and 1, 0 = padding. Where there is nothing but padding, all weights are 0.
        query: q, float ``[batch, any]``, where it is not trained.

    Returns:
        (s float ``[batch, d]``, α float ``[batch, steps]``).
    """

    def __init__(self, units, query_size=None, start_range=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.query_size = query_size
        self.start_range = start_range
        self.of_query, self.of_context = (
            keras.layers.Dense(units, use_bias=False, kernel_initializer=start(start_range), name=name)
            for name in ("of_query", "of_context")
        )

    def build(self, context_shape, present_shape=None, query_shape=None):
        """Makes W, U, v, and the query if it is trained."""
        if self.query_size is not None:
            self.query = self.add_weight(shape=(1, self.query_size), initializer=start(self.start_range), name="query")
            query_shape = self.query.shape
        self.of_query.build(query_shape)
        self.of_context.build(context_shape)
        self.score = self.add_weight(shape=(self.units, 1), initializer=start(self.start_range), name="score")
        self.built = True

    def call(self, context, present, query=None):
        """See the class."""
        return self.attend(context, self.of_context(context), present, query)

    def attend(self, context, keys, present, query=None):
        """As the call, with ``keys`` = U h, float ``[batch, steps, units]``, at hand from an earlier one."""
        query = ops.cast(self.query, keys.dtype) if self.query_size is not None else query
        hidden = ops.tanh(self.of_query(query)[:, None, :] + keys)
        present = ops.cast(present, "float32")
        scores = ops.cast(ops.matmul(hidden, ops.cast(self.score, hidden.dtype))[:, :, 0], "float32")
        scores = scores - _FAR * (1.0 - present)
        powers = ops.exp(scores - ops.max(scores, axis=1, keepdims=True)) * present
        # Their sum is at least 1, the greatest one's share, or 0 where there is nothing but padding.
        weights = ops.cast(powers / ops.maximum(ops.sum(powers, axis=1, keepdims=True), 1.0), context.dtype)
        return ops.matmul(weights[:, None, :], context)[:, 0], weights

    def compute_output_shape(self, context_shape, present_shape=None, query_shape=None):
        """``[batch, d]`` and ``[batch, steps]``."""
        return (context_shape[0], context_shape[2]), context_shape[:2]

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {
            "units": self.units,
            "query_size": self.query_size,
            "start_range": self.start_range,
        }


@keras.saving.register_keras_serializable("kfood")
class JoinedPooling(keras.layers.Layer):
    """Attention pooling of several sequences, each by its own weights, joined to one vector (MCEN, Eq. 3).

    Args:
        parts: names of the sequences, in the order in which they are joined.
        units: as for :class:`AttentionPooling`, like the other two.
        query_size: see there.
        start_range: see there.

    Call arguments:
        contexts: name → float ``[batch, steps, d]``; further names are passed over.
        present: name → ``[batch, steps]`` of 0 and 1.
        query: float ``[batch, any]``, where it is not trained; all sequences receive the same.

    Returns:
        (float ``[batch, sum of d]``, dict name → weights float ``[batch, steps]``).
    """

    def __init__(self, parts, units, query_size=None, start_range=0.0, **kwargs):
        super().__init__(**kwargs)
        self.parts = tuple(parts)
        self.units = units
        self.query_size = query_size
        self.start_range = start_range
        self.poolings = {part: AttentionPooling(units, query_size, start_range, name=part) for part in self.parts}

    def build(self, contexts_shape, present_shape=None, query_shape=None):
        """Builds each pooling."""
        for part, pooling in self.poolings.items():
            pooling.build(contexts_shape[part], present_shape, query_shape)
        self.built = True

    def call(self, contexts, present, query=None):
        """See the class."""
        pooled = {part: self.poolings[part](contexts[part], present[part], query) for part in self.parts}
        joined = ops.concatenate([pooled[part][0] for part in self.parts], axis=-1)
        return joined, {part: pooled[part][1] for part in self.parts}

    def compute_output_shape(self, contexts_shape, present_shape=None, query_shape=None):
        """``[batch, sum of d]`` and the weights' by name."""
        shapes = {part: contexts_shape[part] for part in self.parts}
        width = sum(shape[2] for shape in shapes.values())
        return (shapes[self.parts[0]][0], width), {part: shape[:2] for part, shape in shapes.items()}

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {
            "parts": list(self.parts),
            "units": self.units,
            "query_size": self.query_size,
            "start_range": self.start_range,
        }


@keras.saving.register_keras_serializable("kfood")
class AttentionDecoder(keras.layers.Layer):
    """A recurrence over one sequence that at each step attends to another (Bahdanau et al. 2015, as in dl4mt).

    With ``x_t`` the sequence and ``H`` the context::

        s'_t = GRU_1(x_t, s_{t-1})        a first GRU on the state before
        c_t  = attention pooling of H with query s'_t
        s_t  = GRU_2(c_t, s'_t)
        s_0  = tanh(W mean(H) + b)

    Args:
        units: size of the state, and width of the attention.
        start_range: kernels start uniform in ± this; 0: as Keras starts them.

    Call arguments:
        inputs: x, float ``[batch, steps, d]``, padding on the right.
        context: H, float ``[batch, items, c]``, zeros where there is padding.
        present: ``[batch, items]`` of 0 and 1.

    Returns:
        s, float ``[batch, steps, units]``.
    """

    def __init__(self, units, start_range=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.start_range = start_range
        self.first = keras.layers.Dense(units, activation="tanh", kernel_initializer=start(start_range), name="first")
        self.cell = AttentionDecoderCell(units, start_range, name="cell")
        self.loop = keras.layers.RNN(self.cell, return_sequences=True, name="loop")

    def build(self, inputs_shape, context_shape, present_shape=None):
        """Builds the cell for inputs and context of these widths."""
        self.first.build((None, context_shape[-1]))
        self.cell.build((None, inputs_shape[-1]), context_shape)
        self.loop.built = True
        self.built = True

    def call(self, inputs, context, present):
        """See the class."""
        present = ops.cast(present, context.dtype)
        mean = ops.sum(context, axis=1) / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        # A cell sees its inputs and its states alone, so the context travels as a state that does not change.
        keys = self.cell.attention.of_context(context)
        return self.loop(inputs, initial_state=[self.first(mean), context, keys, present])

    def compute_output_shape(self, inputs_shape, context_shape, present_shape=None):
        """``[batch, steps, units]``."""
        return (*inputs_shape[:2], self.units)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"units": self.units, "start_range": self.start_range}


@keras.saving.register_keras_serializable("kfood")
class AttentionDecoderCell(keras.layers.Layer):
    """One step of :class:`AttentionDecoder`.

    Args:
        units: see there.
        start_range: see there.

    Call arguments:
        inputs: x_t, float ``[batch, d]``.
        states: s_{t-1} float ``[batch, units]``; H, U H, and which of H is present, which stay as they are.

    Returns:
        (s_t, the states with s_t in the first place).
    """

    def __init__(self, units, start_range=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.start_range = start_range
        self.before, self.after = (
            keras.layers.GRUCell(units, name=name, **gru_start(start_range)) for name in ("before", "after")
        )
        self.attention = AttentionPooling(units, None, start_range, name="attention")

    @property
    def state_size(self):
        """Width of the one state that changes; the others are given with the initial state."""
        return self.units

    def build(self, inputs_shape, context_shape):
        """Builds both GRUs and the attention."""
        self.before.build(inputs_shape)
        self.attention.build(context_shape, None, (None, self.units))
        self.after.build((None, context_shape[-1]))
        self.built = True

    def call(self, inputs, states, training=False):
        """See the class."""
        state, context, keys, present = states
        between, _ = self.before(inputs, [state])
        attended, _ = self.attention.attend(context, keys, present, between)
        state, _ = self.after(attended, [between])
        return state, [state, context, keys, present]

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"units": self.units, "start_range": self.start_range}
