"""The encoders of MCEN up to s: a photo's regions, and a recipe's lines and words, pooled by attention.

Fu et al. 2020, sections 3.2 and 3.3 (Eq. 1 to 3). What :class:`JoinedPooling` pooled stays in the result, so that the
other modality can ask of it again.
"""

import dataclasses

import keras
from keras import ops

from kfood import schema
from kfood.layers.attention import AttentionDecoder, AttentionPooling, JoinedPooling
from kfood.layers.image import ImageEncoderConfig, backbone
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.recipe import PartDropout
from kfood.layers.recurrent import HiddenStates, lengths, present, start

RECIPE_PARTS = ("joint", "instructions", "ingredients")
"""Whose summaries make s^r, in the order of Eq. 3."""


@dataclasses.dataclass(frozen=True)
class AttentionEncoderConfig:
    """Sizes of the recipe encoder (sections 3.3 and 4.1).

    Attributes:
        word_size: width of a word vector (300).
        units: width of every hidden state, attention and trained query of the recipe side (300).
        start_range: its weights start uniform in ± this (0.02); 0: as Keras starts its layers.
        dropout: rate on s^r, training only (supplement: 0.2).
        part_dropout: chance of a recipe's title, ingredients or instructions (each) to be left out, training only: so
            that a title alone, or a list of ingredients, can be a query; never all of them. 0 in the paper.
        word_dropout: chance of a word's vector to be left out whole (the others scaled up), training only. 0 in the
            paper.
    """

    word_size: int = 300
    units: int = 300
    start_range: float = 0.02
    dropout: float = 0.2
    part_dropout: float = 0.0
    word_dropout: float = 0.0


def image_tower(
    spec: schema.RecipeSpec, config: ImageEncoderConfig, units: int, query_size: int, normalise: bool
) -> keras.Model:
    """Photo → its regions and their weighted sum (section 3.2).

    Args:
        spec: shapes of a batch.
        config: backbone and dropout.
        units: width of the attention.
        query_size: width of its trained query.
        normalise: batch normalisation of the summary.

    Returns:
        Functional model: ``{"image"}`` → dict of ``contexts`` (``regions``: H^v float ``[batch, h * w, c]``),
        ``present`` (``regions``: ones), ``summary`` s^v float ``[batch, c]``, ``weights`` (``regions``: α^v
        ``[batch, h * w]``, row by row).
    """
    inputs = symbolic_inputs(spec.image_inputs())
    features = backbone(spec.image_size, config)(inputs[schema.IMAGE])
    regions = keras.layers.Reshape((-1, features.shape[-1]), name="regions")(features)
    contexts, there = {"regions": regions}, {"regions": ops.ones_like(regions[:, :, 0])}
    summary, weights = JoinedPooling(("regions",), units, query_size, name="image_pooling")(contexts, there)
    summary = finished(summary, normalise, config.dropout, "image")
    return keras.Model(
        inputs, {"contexts": contexts, "present": there, "summary": summary, "weights": weights}, name="image_tower"
    )


def recipe_tower(spec: schema.RecipeSpec, config: AttentionEncoderConfig, normalise: bool) -> keras.Model:
    """Recipe → the states of its three sequences and their joined summary (section 3.3).

    Args:
        spec: shapes and vocabulary sizes.
        config: sizes.
        normalise: batch normalisation of the summary.

    Returns:
        Functional model: dict of ``spec.recipe_inputs()`` → dict of ``contexts`` (``joint``, ``instructions``,
        ``ingredients``: float ``[batch, rows, units]``, the title as the first instruction of a recipe that has one),
        ``present`` (the same names: ``[batch, rows]`` of 0 and 1), ``summary`` s^r float ``[batch, 3 * units]``,
        ``weights`` (the same names: ``[batch, rows]``), ``word_weights`` (``instructions``, ``ingredients``:
        ``[batch, rows, words]``).
    """
    inputs = symbolic_inputs(spec.recipe_inputs())
    received = PartDropout(config.part_dropout, name="parts_kept")(inputs)
    tokens = {"ingredients": received[schema.INGREDIENTS], "instructions": _instructions(received)}
    tables = _word_tables(spec, config)
    lines, word_weights = {}, {}
    for name, ids in tokens.items():
        lines[name], word_weights[name] = _lines(ids, tables[name], config, name)
    contexts, there = _contexts(lines, {name: lengths(ops.max(ids, axis=-1)) for name, ids in tokens.items()}, config)
    pooling = JoinedPooling(RECIPE_PARTS, config.units, config.units, config.start_range, name="recipe_pooling")
    summary, weights = pooling(contexts, there)
    outputs = {
        "contexts": contexts,
        "present": there,
        "summary": finished(summary, normalise, config.dropout, "recipe"),
        "weights": weights,
        "word_weights": word_weights,
    }
    return keras.Model(inputs, outputs, name="recipe_tower")


def finished(summary, normalise: bool, dropout: float, name: str):
    """A summary float ``[batch, width]`` after batch normalisation, where it is wanted, and dropout."""
    if normalise:
        summary = keras.layers.BatchNormalization(momentum=0.9, dtype="float32", name=f"{name}_norm")(summary)
    return keras.layers.Dropout(dropout, name=f"{name}_dropout")(summary)


def _instructions(received):
    """Instruction tokens ``[batch, rows, words]``, the title as the first row of a recipe that has one."""
    tokens = received[schema.INSTRUCTIONS]
    if schema.TITLE not in received:
        return tokens
    title = received[schema.TITLE][:, None, :]
    width = max(title.shape[2], tokens.shape[2])
    title, tokens = (ops.pad(part, [[0, 0], [0, 0], [0, width - part.shape[2]]]) for part in (title, tokens))
    has_title = ops.any(ops.not_equal(title, schema.PADDING_ID), axis=2, keepdims=True)
    # An empty title goes to the end, where it is padding.
    return ops.where(has_title, ops.concatenate([title, tokens], axis=1), ops.concatenate([tokens, title], axis=1))


def _word_tables(spec, config):
    """The word vectors of ingredients and of instructions: one table, or ingredient names have their own."""
    begin = start(config.start_range) if config.start_range else "uniform"

    def table(size, name):
        return keras.layers.Embedding(size, config.word_size, embeddings_initializer=begin, name=name)

    words = table(spec.word_vocabulary, "words")
    names = table(spec.ingredient_vocabulary, "ingredient_names") if spec.ingredient_unit == "name" else words
    return {"ingredients": names, "instructions": words}


def _lines(tokens, table, config, name):
    """Each line of words → its representation h, all lines of a batch at once (H^ing, H^ins).

    Returns:
        (float ``[batch, lines, units]``, weights of the words float ``[batch, lines, words]``).
    """
    count, width = tokens.shape[1:]
    flat = ops.reshape(tokens, (-1, width))
    vectors = keras.layers.Dropout(config.word_dropout, noise_shape=(None, None, 1))(table(flat))
    states = HiddenStates(config.units, config.start_range, name=f"{name}_words")(vectors, lengths(flat))
    pooling = AttentionPooling(config.units, config.units, config.start_range, name=f"{name}_word_pooling")
    pooled, weights = pooling(states, present(lengths(flat), width, "float32"))
    return ops.reshape(pooled, (-1, count, config.units)), ops.reshape(weights, (-1, count, width))


def _contexts(lines, counts, config):
    """Lines read together by the decoder (H^c), and the sentence-level states of all three sequences.

    Returns:
        (part → float ``[batch, rows, units]``, part → ``[batch, rows]`` of 0 and 1).
    """
    there = {name: present(counts[name], lines[name].shape[1], "float32") for name in lines}
    decoder = AttentionDecoder(config.units, config.start_range, name="decoder")
    parts = {"joint": decoder(lines["instructions"], lines["ingredients"], there["ingredients"]), **lines}
    counts, there = counts | {"joint": counts["instructions"]}, there | {"joint": there["instructions"]}
    contexts = {
        name: HiddenStates(config.units, config.start_range, name=f"{name}_states")(parts[name], counts[name])
        for name in RECIPE_PARTS
    }
    return contexts, {name: there[name] for name in RECIPE_PARTS}
