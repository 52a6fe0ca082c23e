"""The hierarchical transformer of recipes (Salvador et al. 2021, section 3.1): words → lines → a component.

Each component (title, ingredients, instructions) has encoders of its own: one over the words of a line, and for lists
of lines a second one over the lines' vectors. All share one table of words.
"""

import dataclasses

import keras
from keras import ops

from kfood import schema
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.recipe import PartDropout


@dataclasses.dataclass(frozen=True)
class HierarchicalConfig:
    """Sizes of the recipe encoder; the defaults are the paper's and, where it is silent, its code's.

    Attributes:
        width: of word vectors and of every transformer (512).
        layers: of each transformer (2).
        heads: of each (4).
        feed_forward: hidden units of each layer's perceptron (2,048, PyTorch's default).
        dropout: on attention weights, residual branches and the sum of word and place (0.1, likewise).
        part_dropout: chance of a component to be left out whole, training only; not in the paper.
    """

    width: int = 512
    layers: int = 2
    heads: int = 4
    feed_forward: int = 2048
    dropout: float = 0.1
    part_dropout: float = 0.0

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads = {self.heads}, received {self.width}.")


def component_towers(spec: schema.RecipeSpec, config: HierarchicalConfig) -> keras.Model:
    """Recipe → one vector a component.

    Args:
        spec: shapes and vocabulary sizes; words, not precomputed sentence vectors.
        config: layer sizes.

    Returns:
        Functional model: dict of ``spec.recipe_inputs()`` → dict of the same names → float ``[batch, width]``; zeros
        where a component holds no token.

    Raises:
        ValueError: a spec with precomputed sentence vectors.
    """
    if spec.instruction_vectors:
        raise ValueError(
            f"instruction_vectors: expected 0, for the hierarchical transformer reads words, "
            f"received {spec.instruction_vectors}."
        )
    inputs = symbolic_inputs(spec.recipe_inputs())
    words = keras.layers.Embedding(spec.word_vocabulary, config.width, name="words")
    names = words
    if spec.ingredient_unit == "name":
        names = keras.layers.Embedding(spec.ingredient_vocabulary, config.width, name="ingredient_names")
    components = {}
    for name, tokens in PartDropout(config.part_dropout, name="parts_kept")(inputs).items():
        *lines, length = tokens.shape[1:]
        rows = ops.reshape(tokens, (-1, length))
        table = names if name == schema.INGREDIENTS else words
        vectors = encode_sequence(table(rows), ops.not_equal(rows, schema.PADDING_ID), config, f"{name}_words")
        if lines:
            vectors = ops.reshape(vectors, (-1, *lines, config.width))
            vectors = encode_sequence(
                vectors, ops.any(ops.not_equal(tokens, schema.PADDING_ID), axis=-1), config, f"{name}_lines"
            )
        components[name] = vectors
    return keras.Model(inputs, components, name="components")


def encode_sequence(vectors, present, config: HierarchicalConfig, name: str):
    """Places are added, ``layers`` blocks attend, and the present places are averaged.

    A sequence of padding attends to its first place, so that no softmax is over nothing, and gives zeros.

    Args:
        vectors: float ``[batch, n, width]``.
        present: bool ``[batch, n]``; padding is on the right.
        config: layer sizes.
        name: of the layers.

    Returns:
        float ``[batch, width]``.
    """
    first = ops.expand_dims(ops.arange(vectors.shape[1]) == 0, 0)
    attended = ops.expand_dims(ops.logical_or(present, first), 1)  # [batch, 1, n]: the same for every query
    x = keras.layers.Dropout(config.dropout)(Places(name=f"{name}_places")(vectors))
    for index in range(config.layers):
        x = _block(x, attended, config, f"{name}_{index}")
    weight = ops.cast(ops.expand_dims(present, -1), x.dtype)
    return ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)


def _block(x, attended, config, name):
    """One layer of PyTorch's ``TransformerEncoder``: normalised after each sum (post-norm), ReLU."""
    attention = keras.layers.MultiHeadAttention(
        config.heads, config.width // config.heads, dropout=config.dropout, name=f"{name}_attention"
    )(x, x, attention_mask=attended)
    x = keras.layers.Add(name=f"{name}_attention_add")([x, keras.layers.Dropout(config.dropout)(attention)])
    x = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_attention_norm")(x)
    hidden = keras.layers.Dense(config.feed_forward, activation="relu", name=f"{name}_mlp_in")(x)
    hidden = keras.layers.Dense(config.width, name=f"{name}_mlp_out")(keras.layers.Dropout(config.dropout)(hidden))
    x = keras.layers.Add(name=f"{name}_mlp_add")([x, keras.layers.Dropout(config.dropout)(hidden)])
    return keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_mlp_norm")(x)


@keras.saving.register_keras_serializable("kfood")
class Places(keras.layers.Layer):
    """Adds a learnt vector for each place of a sequence: float ``[batch, n, width]`` → the same."""

    def build(self, shape):
        """From Glorot's normal, as the released code."""
        self.places = self.add_weight(shape=shape[1:], initializer="glorot_normal", name="places")

    def call(self, vectors):
        """See the class."""
        return vectors + ops.cast(self.places, vectors.dtype)

    def compute_output_shape(self, shape):
        """The shape of the input."""
        return shape
