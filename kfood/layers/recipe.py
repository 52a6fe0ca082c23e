"""The recipe encoder of JNE, R2GAN and ACME: bi-LSTM over ingredients, hierarchical LSTM over instructions.

Or, for data too small to learn words from, a linear map of the recipe's words (``bag_words``); or the text encoder of a
preset of keras-hub (``backbone``)."""

import dataclasses
import math

import keras
from keras import ops

from kfood import schema
from kfood.layers import presets
from kfood.layers.bag import word_bag
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.recurrent import FinalStates, lengths
from kfood.layers.sub_words import encoded_parts


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
        bag_words: so many of the most frequent words, weighted by rarity (:mod:`kfood.layers.bag`), are all that is
            read of a recipe, in place of all recurrences and tables; the spec must read words of every part. 0: off, as
            in the papers.
        bag_filling: directions in which parts that a recipe lacks are predicted from those that it has, with
            ``bag_words`` (:mod:`kfood.layers.bag`); 0: off.
        dropout: rate on the joined recipe vector, training only.
        part_dropout: chance of a recipe's title, ingredients or instructions (each) to be left out, training only: so
            that a title alone, or a list of ingredients, can be a query; never all of them. 0 in the papers.
        word_dropout: chance of a word's vector to be left out whole (the others scaled up), training only.
        backbone: ``"hub:"`` and a preset of keras-hub that holds CLIP or SigLIP: its text encoder is all that reads a
            recipe, part by part, in place of all recurrences and tables; ``dropout`` and ``part_dropout`` stay
            (:mod:`kfood.layers.sub_words`). Empty: off.
        weights: of that: ``"preset"``, those that the preset comes with, or empty for random ones.
        preset: what it says of itself (JSON, :mod:`kfood.layers.presets`); a model fills it in.
        vectors: file of word2vec, ``.bin`` or text, that the tables of words and ingredient names start from where
            ``kfood train`` makes the model (:mod:`kfood.data.word_vectors`); empty: all start random.
    """

    word_size: int = 300
    ingredient_units: int = 300
    word_units: int = 512
    instruction_units: int = 1024
    bag_of_words: bool = False
    bag_words: int = 0
    bag_filling: int = 0
    dropout: float = 0.0
    part_dropout: float = 0.0
    word_dropout: float = 0.0
    backbone: str = ""
    weights: str = "preset"
    preset: str = ""
    vectors: str = ""

    def __post_init__(self):
        if self.backbone and not self.backbone.startswith(presets.HUB):
            raise ValueError(
                f"recipe_encoder.backbone: expected nothing or {presets.HUB}PRESET, received {self.backbone!r}."
            )
        if self.weights not in ("", "preset"):
            raise ValueError(f"recipe_encoder.weights: expected 'preset' or nothing, received {self.weights!r}.")

    def with_presets(self, image_size: int) -> "RecipeEncoderConfig":
        """See :func:`kfood.layers.presets.with_presets`."""
        return presets.kept(self, [self.backbone], lambda name: presets.described_texts(self, name))


def recipe_tower(spec: schema.RecipeSpec, config: RecipeEncoderConfig, size: int) -> keras.Model:
    """Recipe → vector before any shared layer: ``tanh(Linear([title;] ingredients; instructions))``.

    Args:
        spec: shapes and vocabulary sizes.
        config: layer sizes.
        size: width of the result.

    Returns:
        Functional model: dict of ``spec.recipe_inputs()`` → float ``[batch, size]`` in (-1, 1).
    """
    inputs = symbolic_inputs(spec.recipe_inputs())
    received = PartDropout(config.part_dropout, name="parts_kept")(inputs)
    if config.backbone or config.bag_words:
        if config.backbone:
            joined = encoded_parts(spec, config, received)
        else:
            joined = word_bag(spec, config.bag_words, config.bag_filling)(received)
        joined = keras.layers.Dropout(config.dropout)(joined)
        return keras.Model(inputs, _embedding(size)(joined), name="recipe")
    tables = {}
    if spec.ingredient_unit == "word" or schema.INSTRUCTIONS in inputs or schema.TITLE in inputs:
        tables["word"] = keras.layers.Embedding(spec.word_vocabulary, config.word_size, name="words")
    if spec.ingredient_unit == "name":
        tables["name"] = keras.layers.Embedding(spec.ingredient_vocabulary, config.word_size, name="ingredient_names")
    table_of = {schema.INGREDIENTS: spec.ingredient_unit, schema.INSTRUCTIONS: "word", schema.TITLE: "word"}

    def vectors_of(name, *shape):
        """Tokens of a part in another shape, and their vectors; in training some words are left out whole."""
        tokens = ops.reshape(received[name], (-1, *shape))
        vectors = tables[table_of[name]](tokens)
        noise_shape = (None,) * len(shape) + (None, 1)
        return tokens, keras.layers.Dropout(config.word_dropout, noise_shape=noise_shape)(vectors)

    tokens, vectors = vectors_of(schema.INGREDIENTS, spec.ingredients, spec.ingredient_words)
    lines = TokenMean(name="ingredient_mean")(vectors, tokens)
    parts = [FinalStates(config.ingredient_units, name="ingredient_lstm")(lines, lengths(ops.max(tokens, axis=-1)))]

    sentence = FinalStates(config.word_units, name="word_lstm")
    if schema.INSTRUCTIONS in inputs:
        tokens, vectors = vectors_of(schema.INSTRUCTIONS, spec.instruction_words)
        sentences = ops.reshape(sentence(vectors, lengths(tokens)), (-1, spec.instructions, 2 * config.word_units))
        count = lengths(ops.max(received[schema.INSTRUCTIONS], axis=-1))
    else:
        sentences = received[schema.INSTRUCTION_VECTORS]
        count = lengths(ops.cast(ops.any(ops.not_equal(sentences, 0.0), axis=-1), "int32"))
    parts.append(FinalStates(config.instruction_units, bidirectional=False, name="instruction_lstm")(sentences, count))

    if schema.TITLE in inputs:
        tokens, vectors = vectors_of(schema.TITLE, spec.title_words)
        parts.append(sentence(vectors, lengths(tokens)))

    if config.bag_of_words:
        for name in [name for name in inputs if name in table_of]:
            tokens, vectors = vectors_of(name, 1, math.prod(inputs[name].shape[1:]))
            parts.append(TokenMean(name=f"{name}_bag")(vectors, tokens)[:, 0])

    joined = keras.layers.Dropout(config.dropout)(ops.concatenate(parts, axis=-1))
    return keras.Model(inputs, _embedding(size)(joined), name="recipe")


def _embedding(size):
    return keras.layers.Dense(size, activation="tanh", name="recipe_embedding")


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
class PartDropout(keras.layers.Layer):
    """Turns parts of some recipes into padding, while training; never all that a recipe has.

    Args:
        rate: chance of each part of a recipe, in [0, 1). Where all of its parts would go, one of them stays.

    Call arguments:
        parts: name → tokens or vectors ``[batch, ...]``, 0 = padding.
        training: whether to change anything.

    Returns:
        Like ``parts``.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, parts, training=False):
        """See the class."""
        if not training or self.rate == 0.0:
            return parts
        there = [ops.any(ops.not_equal(part, 0), axis=tuple(range(1, len(part.shape)))) for part in parts.values()]
        draws = keras.random.uniform((ops.shape(there[0])[0], len(parts)), seed=self.seed_generator)
        of_present = ops.where(ops.stack(there, axis=1), draws, -1.0)
        # The highest draw of a recipe's present parts is kept: it is the only one where none reaches the rate.
        kept = ops.logical_or(draws >= self.rate, of_present >= ops.max(of_present, axis=1, keepdims=True))
        return {
            name: ops.where(ops.reshape(kept[:, i], (-1, *(1 for _ in part.shape[1:]))), part, ops.zeros_like(part))
            for i, (name, part) in enumerate(parts.items())
        }

    def compute_output_spec(self, parts, training=False):
        """The shapes and dtypes of the parts."""
        return {name: keras.KerasTensor(part.shape, part.dtype) for name, part in parts.items()}

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"rate": self.rate}
