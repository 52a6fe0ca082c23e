"""The recipe encoder of JNE, R2GAN and ACME: bi-LSTM over ingredients, hierarchical LSTM over instructions."""

import dataclasses
import math

import keras
from keras import ops

from kfood import schema
from kfood.layers.recurrent import FinalStates, lengths


@dataclasses.dataclass(frozen=True)
class RecipeEncoderConfig:
    """Sizes of the recipe encoder (methods: Salvador et al. 2017, section 4; ACME, section 4.2).

    Attributes:
        word_size: width of a word or ingredient vector (300: word2vec's).
        ingredient_units: states of the bi-LSTM over ingredients, each direction (300).
        word_units: states of the word-level bi-LSTM of a sentence, each direction. 512 gives sentence vectors of
            1,024, half of skip-thought's width; unused with precomputed sentence vectors.
        instruction_units: states of the LSTM over sentences (1,024).
        bag_of_words: also join the mean of the word vectors of each part, past the recurrences: with a thousand recipes
            to learn from, word order is mostly noise. Off in the papers.
        dropout: rate on the joined recipe vector, training only.
        word_dropout: chance of a word to be read as unknown, training only.
    """

    word_size: int = 300
    ingredient_units: int = 300
    word_units: int = 512
    instruction_units: int = 1024
    bag_of_words: bool = False
    dropout: float = 0.0
    word_dropout: float = 0.0


def recipe_tower(spec: schema.RecipeSpec, config: RecipeEncoderConfig, size: int) -> keras.Model:
    """Recipe → vector before any shared layer: ``tanh(Linear([title;] ingredients; instructions))``.

    Args:
        spec: shapes and vocabulary sizes.
        config: layer sizes.
        size: width of the result.

    Returns:
        Functional model: dict of ``spec.recipe_inputs()`` → float ``[batch, size]`` in (-1, 1).
    """
    inputs = {name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in spec.recipe_inputs().items()}
    dropout = WordDropout(config.word_dropout, name="word_dropout")
    tables = {}
    if spec.ingredient_unit == "word" or schema.INSTRUCTIONS in inputs or schema.TITLE in inputs:
        tables["word"] = keras.layers.Embedding(spec.word_vocabulary, config.word_size, name="words")
    if spec.ingredient_unit == "name":
        tables["name"] = keras.layers.Embedding(spec.ingredient_vocabulary, config.word_size, name="ingredient_names")
    table_of = {schema.INGREDIENTS: spec.ingredient_unit, schema.INSTRUCTIONS: "word", schema.TITLE: "word"}

    tokens = dropout(inputs[schema.INGREDIENTS])
    vectors = TokenMean(name="ingredient_mean")(tables[spec.ingredient_unit](tokens), tokens)
    states = FinalStates(config.ingredient_units, name="ingredient_lstm")
    parts = [states(vectors, lengths(ops.max(tokens, axis=-1)))]

    sentence = FinalStates(config.word_units, name="word_lstm")
    if schema.INSTRUCTIONS in inputs:
        tokens = dropout(inputs[schema.INSTRUCTIONS])
        flat = ops.reshape(tokens, (-1, spec.instruction_words))
        vectors = ops.reshape(
            sentence(tables["word"](flat), lengths(flat)), (-1, spec.instructions, 2 * config.word_units)
        )
        count = lengths(ops.max(tokens, axis=-1))
    else:
        vectors = inputs[schema.INSTRUCTION_VECTORS]
        count = lengths(ops.cast(ops.any(ops.not_equal(vectors, 0.0), axis=-1), "int32"))
    parts.append(FinalStates(config.instruction_units, bidirectional=False, name="instruction_lstm")(vectors, count))

    if schema.TITLE in inputs:
        tokens = dropout(inputs[schema.TITLE])
        parts.append(sentence(tables["word"](tokens), lengths(tokens)))

    if config.bag_of_words:
        for name in [name for name in inputs if name in table_of]:
            tokens = ops.reshape(dropout(inputs[name]), (-1, 1, math.prod(inputs[name].shape[1:])))
            parts.append(TokenMean(name=f"{name}_bag")(tables[table_of[name]](tokens), tokens)[:, 0])

    joined = keras.layers.Dropout(config.dropout)(ops.concatenate(parts, axis=-1))
    return keras.Model(
        inputs, keras.layers.Dense(size, activation="tanh", name="recipe_embedding")(joined), name="recipe"
    )


@keras.saving.register_keras_serializable("kfood")
class TokenMean(keras.layers.Layer):
    """Mean of the vectors of a line's tokens, padding left out; a line of padding gives zeros.

    With one token a line (``ingredient_unit="name"``) it is that token's vector.

    Call arguments:
        vectors: float ``[batch, lines, tokens, d]``.
        tokens: int ``[batch, lines, tokens]``.

    Returns:
        float ``[batch, lines, d]``.
    """

    def call(self, vectors, tokens):
        """See the class."""
        present = ops.cast(ops.not_equal(tokens, schema.PADDING_ID), vectors.dtype)
        total = ops.einsum("blt,bltd->bld", present, vectors)
        return total / ops.maximum(ops.sum(present, axis=-1, keepdims=True), 1.0)

    def compute_output_shape(self, vectors_shape, tokens_shape=None):
        """``[batch, lines, d]``."""
        return (*vectors_shape[:2], vectors_shape[3])


@keras.saving.register_keras_serializable("kfood")
class WordDropout(keras.layers.Layer):
    """Reads some words as unknown while training.

    Args:
        rate: chance of a word, in [0, 1).

    Call arguments:
        tokens: int ``[...]``, 0 = padding, which stays.
        training: whether to change anything.

    Returns:
        int ``[...]``.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, tokens, training=False):
        """See the class."""
        if not training or self.rate == 0.0:
            return tokens
        dropped = keras.random.uniform(ops.shape(tokens), seed=self.seed_generator) < self.rate
        is_word = ops.not_equal(tokens, schema.PADDING_ID)
        return ops.where(ops.logical_and(dropped, is_word), schema.UNKNOWN_ID, tokens)

    def compute_output_spec(self, tokens, training=False):
        """The shape and dtype of ``tokens``."""
        return keras.KerasTensor(tokens.shape, tokens.dtype)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"rate": self.rate}
