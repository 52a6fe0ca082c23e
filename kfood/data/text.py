"""Raw recipe text to token ids, as TensorFlow string operations.

The token rule, stated once for the whole project: lower the ASCII letters, then take every match of RE2
``[\\p{L}\\p{N}]+`` (runs of letters and numbers of any script). Everything that counts or looks up tokens goes through
:func:`tokenize`, vocabulary building included, so that text is cut the same way on disk, in training and in an
exported graph.
"""

import collections
from collections.abc import Iterable, Sequence

import tensorflow as tf

from kfood import schema

TOKEN_PATTERN = r"[\p{L}\p{N}]+"
"""RE2 pattern of one token, applied to text whose ASCII letters were lowered."""

LINE_BYTES = 10_000
"""What of a line, or of a title, a recipe's tokens are taken from: its first bytes. A cook's lines are shorter; a
service may be sent longer ones, and its memory would go by them."""

LINES = 500
"""How many lines of a recipe's ingredients, and of its instructions, are looked at."""

_BETWEEN_TOKENS = r"[^\p{L}\p{N}]+"


def tokenize(text: tf.Tensor) -> tf.RaggedTensor:
    """Cut UTF-8 strings into tokens by the token rule.

    Args:
        text: string tensor of any known rank. Bytes that are not valid UTF-8 separate tokens.

    Returns:
        Ragged string tensor with one axis more than ``text``: the tokens of each string, in order.
    """
    # RE2 skips invalid bytes in a negated class as well, so they would stay inside a token: U+FFFD is no letter.
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    text = tf.strings.lower(text)  # without an encoding: ASCII only
    return tf.strings.split(tf.strings.regex_replace(text, _BETWEEN_TOKENS, " "))


def normalize(text: tf.Tensor) -> tf.Tensor:
    """Bring names into the vocabulary's form: the tokens of each string joined by one space.

    Args:
        text: string tensor of any known rank.

    Returns:
        String tensor of the same shape; ``""`` where a string holds no token.
    """
    return tf.strings.reduce_join(tokenize(text), axis=-1, separator=" ")


def rank_vocabulary(counts: collections.Counter[str], min_count: int, max_size: int | None) -> list[str]:
    """Order counted tokens into a vocabulary.

    Args:
        counts: token → number of occurrences.
        min_count: tokens seen fewer times are left out.
        max_size: most tokens kept, or None for all.

    Returns:
        Tokens, most frequent first, equal counts in string order.
    """
    kept = [token for token, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda token: (-counts[token], token))[:max_size]


class VocabularyCounter:
    """Counts words and ingredient names of a stream of recipes, in bounded batches.

    Attributes:
        words: token → occurrences in titles, ingredient lines and instructions.
        ingredients: normalised ingredient name → occurrences.
    """

    _BATCH = 8192

    def __init__(self):
        self.words: collections.Counter[str] = collections.Counter()
        self.ingredients: collections.Counter[str] = collections.Counter()
        self._lines: list[str] = []
        self._names: list[str] = []

    def add(self, lines: Iterable[str], ingredient_names: Iterable[str]) -> None:
        """Count the words of ``lines`` and the names of ``ingredient_names``."""
        self._lines.extend(lines)
        self._names.extend(ingredient_names)
        if len(self._lines) + len(self._names) >= self._BATCH:
            self.flush()

    def flush(self) -> None:
        """Bring the counts up to date with everything added."""
        if self._lines:
            tokens = tokenize(tf.constant(self._lines)).flat_values.numpy()
            self.words.update(token.decode() for token in tokens)
        if self._names:
            names = normalize(tf.constant(self._names)).numpy()
            self.ingredients.update(name.decode() for name in names if name)
        self._lines, self._names = [], []


class RecipeTokenizer(tf.Module):
    """Strings of a recipe batch → padded int32 token tensors, ready for a recipe encoder.

    The lookup tables are tracked, so that the tokenizer can be an attribute of what is saved as a SavedModel.

    Args:
        spec: shapes; its vocabulary sizes have to be those of the vocabularies.
        words: word vocabulary, line ``i`` has id ``i + 2``.
        ingredients: ingredient vocabulary, line ``i`` has id ``i + 2``.

    Raises:
        ValueError: if the vocabularies do not have the sizes of ``spec``.
    """

    def __init__(self, spec: schema.RecipeSpec, words: Sequence[str], ingredients: Sequence[str]):
        super().__init__(name="recipe_tokenizer")
        for name, tokens, expected in (
            ("word", words, spec.word_vocabulary),
            ("ingredient", ingredients, spec.ingredient_vocabulary),
        ):
            if len(tokens) + schema.FIRST_TOKEN_ID != expected:
                raise ValueError(
                    f"{name} vocabulary: expected {expected} ids, two of them reserved, received {len(tokens)} tokens, "
                    f"which makes {len(tokens) + schema.FIRST_TOKEN_ID}; is it the vocabulary of another dataset?"
                )
        self.spec = spec
        self._words = _lookup_table(words)
        self._ingredients = _lookup_table(ingredients)

    def __call__(self, title: tf.Tensor, ingredients: tf.Tensor, instructions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokenise a batch of recipes.

        A line without any token ("---") is skipped before the cut to the spec's limits, so that padding rows are
        always on the right. Before that, lines are cut to :data:`LINE_BYTES`, and their number to :data:`LINES`.

        Args:
            title: string [batch].
            ingredients: string [batch, n], ``""`` or ragged where a recipe has fewer; lines as written with
                ``ingredient_unit="word"``, clean names with ``"name"``.
            instructions: string [batch, m], ``""`` or ragged where a recipe has fewer.

        Returns:
            int32 tensors by name, shapes ``[batch, ...]`` as ``spec.recipe_inputs()`` says (which see for the names;
            precomputed instruction vectors are not text and are left out).
        """
        spec = self.spec
        title = tf.strings.substr(title, 0, LINE_BYTES)
        ingredients, instructions = (
            tf.strings.substr(_tensor(lines)[:, :LINES], 0, LINE_BYTES) for lines in (ingredients, instructions)
        )
        outputs: dict[str, tf.Tensor] = {}
        if spec.title_words:
            outputs[schema.TITLE] = _padded_ids(self._words, tokenize(title), [spec.title_words])
        if spec.ingredient_unit == "name":
            outputs[schema.INGREDIENTS] = self.ingredient_ids(ingredients)[..., tf.newaxis]
        else:
            outputs[schema.INGREDIENTS] = self._word_ids(ingredients, spec.ingredients, spec.ingredient_words)
        if not spec.instruction_vectors:
            outputs[schema.INSTRUCTIONS] = self._word_ids(instructions, spec.instructions, spec.instruction_words)
        return outputs

    def ingredient_ids(self, names: tf.Tensor) -> tf.Tensor:
        """Look clean ingredient names up in the ingredient vocabulary.

        Args:
            names: string [batch, n], ``""`` or ragged where a recipe has fewer.

        Returns:
            int32 [batch, spec.ingredients], padded with 0, unknown names 1.
        """
        names = normalize(names)
        if isinstance(names, tf.RaggedTensor):
            names = names.to_tensor("")
        names = tf.ragged.boolean_mask(names, names != "")
        return _padded_ids(self._ingredients, names, [self.spec.ingredients])

    def _word_ids(self, lines: tf.Tensor, most_lines: int, most_words: int) -> tf.Tensor:
        if isinstance(lines, tf.RaggedTensor):
            lines = lines.to_tensor("")
        tokens = tokenize(lines)
        tokens = tf.ragged.boolean_mask(tokens, tokens.row_lengths(axis=2) > 0)
        return _padded_ids(self._words, tokens, [most_lines, most_words])


def _lookup_table(tokens: Sequence[str]) -> tf.lookup.StaticHashTable:
    ids = tf.range(schema.FIRST_TOKEN_ID, len(tokens) + schema.FIRST_TOKEN_ID, dtype=tf.int32)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(list(tokens), tf.string), ids)
    return tf.lookup.StaticHashTable(initializer, default_value=schema.UNKNOWN_ID)


def _tensor(lines):
    return lines if isinstance(lines, tf.RaggedTensor) else tf.convert_to_tensor(lines, tf.string)


def _padded_ids(table: tf.lookup.StaticHashTable, tokens: tf.RaggedTensor, shape: list[int]) -> tf.Tensor:
    """Ragged tokens → int32 ids [batch, *shape], cut or padded with 0 on the right."""
    ids = tf.ragged.map_flat_values(table.lookup, tokens)
    return ids.to_tensor(schema.PADDING_ID, shape=[None, *shape])
