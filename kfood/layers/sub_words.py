"""Recipes by the text encoder of CLIP or SigLIP, a preset of keras-hub (:mod:`kfood.layers.presets`).

A batch holds ids of the dataset's words, a text encoder wants ids of the preset's sub-words. Between them stands a
table: for each word of the vocabulary what the preset's own tokenizer cuts it into. So the tokenizer is asked once,
when a training starts (:meth:`SubWords.fill`), and text goes into a trained model as into any other.

Title, ingredients and instructions are encoded each for itself, because 77 sub-words (CLIP) or 64 (SigLIP) hold a part
of a recipe, not a recipe; the lines of a part stand one after the other, and what is longer is cut. A part without a
known word gives zeros.

What differs from a text that the preset's own preprocessing reads: words are those of the vocabulary, others are left
out; punctuation, line breaks and the case of ASCII letters are lost; of a word the first 16 sub-words count.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kfood import schema
from kfood.layers import presets

LONGEST_WORD = 16
"""Sub-words of a word, or of an ingredient's name, that count."""

_NONE = -1
"""In place of a sub-word's id: there is none. 0 is one."""


@keras.saving.register_keras_serializable("kfood")
class SubWords(keras.layers.Layer):
    """Ids of words → ids of sub-words, packed to the left between the ids that begin and end a text.

    Until :meth:`fill` has been called no word has sub-words, and every text is empty.

    Args:
        ids: of words, the two reserved ones included.
        vocabulary: whose words they are: the dataset's ``"words"``, or its names of ``"ingredients"``.
        length: of a text: what is longer is cut, before its end.
        start: id that begins a text; None: nothing does.
        end: id that ends it.
        padding: id that fills it up.

    Call arguments:
        words: int ``[batch, n]``; 0 and 1 have no sub-words, wherever they stand.

    Returns:
        (int32 ``[batch, length]``; whether any word had sub-words, bool ``[batch, 1]``).
    """

    def __init__(
        self,
        ids: int,
        vocabulary: Literal["words", "ingredients"],
        length: int,
        start: int | None,
        end: int,
        padding: int,
        **kwargs,
    ):
        super().__init__(**{"trainable": False} | kwargs)
        self.ids = ids
        self.vocabulary = vocabulary
        self.length = length
        self.start = start
        self.end = end
        self.padding = padding

    def build(self, shape=None):
        """The table, empty; int64 because TensorFlow keeps no int32 variables on a GPU."""
        self.table = self.add_weight(
            shape=(self.ids, LONGEST_WORD),
            initializer=keras.initializers.Constant(_NONE),
            dtype="int64",
            trainable=False,
            name="table",
        )
        self.built = True

    def fill(self, sub_words: Iterable[Sequence[int]]) -> int:
        """Puts into the table what words are cut into.

        Args:
            sub_words: ids of each word, in the order of the words' ids from :data:`kfood.schema.FIRST_TOKEN_ID` on.

        Returns:
            How many words have more than :data:`LONGEST_WORD`, and were cut.

        Raises:
            ValueError: of more or fewer words than the layer knows.
        """
        rows = [list(ids) for ids in sub_words]
        expected = self.ids - schema.FIRST_TOKEN_ID
        if len(rows) != expected:
            raise ValueError(f"sub_words: expected those of {expected} {self.vocabulary}, received {len(rows)}.")
        table = np.full((self.ids, LONGEST_WORD), _NONE)
        for row, ids in enumerate(rows, schema.FIRST_TOKEN_ID):
            table[row, : len(ids)] = ids[:LONGEST_WORD]
        self.table.assign(table)
        return sum(len(ids) > LONGEST_WORD for ids in rows)

    def call(self, words):
        """See the class."""
        room = self.length - 1 - (self.start is not None)
        first = ops.take(self.table[:, 0], words, axis=0)
        words = _packed(words, first != _NONE, room, schema.PADDING_ID)  # first, so that fewer are looked up
        found = ops.cast(ops.take(self.table, words, axis=0), "int32")
        found = ops.reshape(found, (-1, words.shape[1] * LONGEST_WORD))
        found = _packed(found, found != _NONE, room, _NONE)
        counts = ops.sum(ops.cast(found != _NONE, "int32"), axis=1, keepdims=True)
        texts = ops.pad(found, ((0, 0), (0, room + 1 - found.shape[1])), constant_values=_NONE)
        places = ops.arange(room + 1, dtype="int32")[None, :]
        texts = ops.where(places < counts, texts, ops.where(places == counts, self.end, self.padding))
        if self.start is not None:
            texts = ops.concatenate([ops.full_like(texts[:, :1], self.start), texts], axis=1)
        return texts, counts > 0

    def compute_output_spec(self, words):
        """The texts and whether there is anything in them."""
        batch = words.shape[0]
        return keras.KerasTensor((batch, self.length), "int32"), keras.KerasTensor((batch, 1), "bool")

    def get_config(self):
        """Arguments of the constructor."""
        names = ("ids", "vocabulary", "length", "start", "end", "padding")
        return super().get_config() | {name: getattr(self, name) for name in names}


def tables(model: keras.Model) -> list[SubWords]:
    """The layers of a model that have to be told, before training, what words are cut into."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, SubWords)]


def _packed(values, kept, most, absent):
    """Int ``[batch, n]`` → the kept ones of each row in their order, at most ``most``, then ``absent``."""
    size = values.shape[1]
    places = ops.arange(size, dtype="int32")[None, :]
    order, chosen = ops.top_k(-ops.where(kept, places, places + size), min(most, size))  # the kept ones come first
    return ops.where(-order < size, ops.take_along_axis(values, chosen, axis=1), absent)


def encoded_parts(spec: schema.RecipeSpec, config: Any, parts: Mapping[str, Any]) -> Any:
    """Each part of a recipe as a preset's text encoder has it, one after the other.

    Args:
        spec: shapes and vocabulary sizes.
        config: :class:`kfood.layers.recipe.RecipeEncoderConfig` with a ``backbone``.
        parts: symbolic tensors of ``spec.recipe_inputs()``.

    Returns:
        Symbolic float ``[batch, parts · width]``: what the preset compares with pictures, pooled and projected; zeros
        of a part without a known word.

    Raises:
        ValueError: a preset that cannot be opened or has no texts, a spec with precomputed sentence vectors, or
            settings of another way to read words.
    """
    if spec.instruction_vectors:
        raise ValueError(
            "instruction_vectors: expected 0, for recipe_encoder.backbone reads words, "
            f"received {spec.instruction_vectors}."
        )
    if config.bag_words or config.vectors:
        raise ValueError(
            "recipe_encoder.backbone: expected recipe_encoder.bag_words=0 and no recipe_encoder.vectors, for a "
            f"preset's text encoder reads sub-words alone, received {config.bag_words} and {config.vectors!r}."
        )
    said = presets.described_texts(config, config.backbone)
    network = presets.network("recipe_encoder", config.backbone, said, config.weights)
    length = network.text_encoder.max_sequence_length
    ids: dict[Literal["words", "ingredients"], int] = {"words": spec.word_vocabulary}
    if spec.ingredient_unit == "name":
        ids["ingredients"] = spec.ingredient_vocabulary
    cut = {
        name: SubWords(count, name, length, said["start"], said["end"], said["padding"], name=f"sub_{name}")
        for name, count in ids.items()
    }
    texts, known = [], []
    for name, words in parts.items():
        layer = cut["ingredients" if name == schema.INGREDIENTS and "ingredients" in cut else "words"]
        text, any_known = layer(ops.reshape(words, (-1, math.prod(words.shape[1:]))))
        texts.append(text)
        known.append(any_known)
    tokens = keras.Input((None,), dtype="int32", name="sub_words")
    encoder = keras.Model(tokens, network.get_text_embeddings(tokens), name="text_backbone")
    # All parts in one go: the encoder stands in an exported graph once.
    vectors = encoder(ops.reshape(ops.stack(texts, axis=1), (-1, length)))
    vectors = ops.reshape(vectors, (-1, len(texts), vectors.shape[-1]))
    vectors = ops.where(ops.stack(known, axis=1), vectors, 0.0)
    return ops.reshape(vectors, (-1, len(texts) * vectors.shape[-1]))
