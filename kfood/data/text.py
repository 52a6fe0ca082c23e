"""Raw recipe text to token ids, as TensorFlow string operations.

The token rule, stated once for the whole project: lower the ASCII letters, then take from left to right every amount
and every run of other letters and numbers of any script. An amount is one token, in one spelling: a number (``2``,
``1.5``), a range of two (``2-3``), a fraction (``1/2``) or a whole number with one (``1-1/2``), of ASCII digits; the
vulgar fractions, the fraction slash, the en dash and the comma are read as these, and a whole number stands before its
fraction with a space, a dash or nothing between.

============================= ==================== ============================= ====================================
text                          tokens               text                          tokens
============================= ==================== ============================= ====================================
``½``, ``1⁄2``                ``1/2``              ``1/2-inch``, ``½inch``       ``1/2`` ``inch``
``1 1/2``, ``1½``, ``1-1/2``  ``1-1/2``            ``7-up``                      ``7`` ``up``
``2–3``                       ``2-3``              ``500g``, ``9x13``            ``500`` ``g``; ``9`` ``x`` ``13``
``1,5``, ``1,500``            ``1.5``, ``1.500``   ``2026-11-26``                ``2026-11`` ``26``
``1/2/3``, ``1-2-3``          ``1/2`` ``3``;       ``2–2 1/2``                   ``2-2`` ``1/2``
                              ``1-2`` ``3``
``2 to 3``, ``2 - 3``         ``2`` … ``3``        full-width digits, ``x²``     as letters are
============================= ==================== ============================= ====================================

A word that the vocabulary does not hold is read as its longest beginning that the vocabulary holds as a word, of at
least :data:`LEAST_BEGINNING` characters and at most :data:`MOST_CUT` fewer than its own: ``ladles`` as ``ladle``,
``poured`` as ``pour`` (docs/results/words.md counts how often that is right). Amounts and ingredient names are not.

Everything that counts or looks up tokens goes through :func:`tokenize`, vocabulary building included, so that text is
cut the same way on disk, in training and in an exported graph. Where ids come to mean something else,
:data:`kfood.schema.TOKEN_RULE` changes.
"""

import collections
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow as tf

from kfood import schema

FRACTIONS = {
    sign: unicodedata.normalize("NFKC", sign).replace("⁄", "/")
    for sign in map(chr, (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F), 0x2189))
}
"""Unicode's vulgar fractions → as they are spelled in a token, ``"1/2"``."""

_DIGITS = "[0-9]+"
_NUMBER = rf"{_DIGITS}(?:[.,]{_DIGITS})?"
_SIGNS = "".join(FRACTIONS)

AMOUNT_PATTERN = "|".join(
    (
        rf"{_DIGITS}[ \-–]{_DIGITS}[/⁄]{_DIGITS}",
        rf"{_DIGITS}[ \-–]?[{_SIGNS}]",
        rf"{_DIGITS}[/⁄]{_DIGITS}",
        rf"[{_SIGNS}]",
        rf"{_NUMBER}(?:[\-–]{_NUMBER})?",
    )
)
"""RE2 pattern of an amount as text spells it. The first alternative that matches is also the longest that does: an
engine may look for either."""

WORD_PATTERN = rf"(?:\p{{L}}|[^\P{{N}}0-9{_SIGNS}])+"
"""RE2 pattern of any other token: letters, and the numbers that no amount is made of."""

LEAST_BEGINNING = 4
"""Characters of a known word, at least, as which a longer unknown one is read."""

MOST_CUT = 2
"""Characters, at most, by which an unknown word is longer than the known one as which it is read."""

LINE_BYTES = 10_000
"""What of a line, or of a title, a recipe's tokens are taken from: its first bytes. A cook's lines are shorter; a
service may be sent longer ones, and its memory would go by them."""

LINES = 500
"""How many lines of a recipe's ingredients, and of its instructions, are looked at."""

_WITHIN_AMOUNTS = {"R": ("[ –-]", "-"), "S": ("[/⁄]", "/"), "P": ("[.,]", ".")}
"""Capital → the signs in an amount that it stands for, until all signs between tokens are gone; their spelling."""


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
    replace = tf.strings.regex_replace
    # From here on ASCII digits and fractions stand in amounts alone, each on a line of its own; ASCII capitals nowhere.
    text = replace(text, AMOUNT_PATTERN, "\n\\0\n")
    text = replace(text, rf"([0-9])[ –-]?([{_SIGNS}])", r"\1R\2")
    for sign, fraction in FRACTIONS.items():
        text = replace(text, sign, fraction.replace("/", "S"))
    for capital, (signs, _) in _WITHIN_AMOUNTS.items():
        text = replace(text, f"([0-9]){signs}([0-9])", rf"\1{capital}\2")
    text = replace(text, r"[^\p{L}\p{N}]+", " ")
    for capital, (_, spelling) in _WITHIN_AMOUNTS.items():
        text = replace(text, capital, spelling)
    return tf.strings.split(text)


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
        self._words = _lookup_table(ids(words))
        self._beginnings = _lookup_table(beginnings(words))
        self._ingredients = _lookup_table(ids(ingredients))

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
            outputs[schema.TITLE] = _padded_ids(self._ids_of_words, tokenize(title), [spec.title_words])
        if spec.ingredient_unit == "name":
            outputs[schema.INGREDIENTS] = self.ingredient_ids(ingredients)[..., tf.newaxis]
        else:
            outputs[schema.INGREDIENTS] = self._ids_of_lines(ingredients, spec.ingredients, spec.ingredient_words)
        if not spec.instruction_vectors:
            outputs[schema.INSTRUCTIONS] = self._ids_of_lines(instructions, spec.instructions, spec.instruction_words)
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
        return _padded_ids(self._ingredients.lookup, names, [self.spec.ingredients])

    def _ids_of_lines(self, lines: tf.Tensor, most_lines: int, most_words: int) -> tf.Tensor:
        if isinstance(lines, tf.RaggedTensor):
            lines = lines.to_tensor("")
        tokens = tokenize(lines)
        tokens = tf.ragged.boolean_mask(tokens, tokens.row_lengths(axis=2) > 0)
        return _padded_ids(self._ids_of_words, tokens, [most_lines, most_words])

    def _ids_of_words(self, words: tf.Tensor) -> tf.Tensor:
        """String [n] → int32 [n], unknown words by their longest known beginning."""
        ids = self._words.lookup(words)
        places = tf.where(ids == schema.UNKNOWN_ID)
        unknown = tf.gather_nd(words, places)
        length = tf.strings.length(unknown, "UTF8_CHAR")
        found = tf.gather_nd(ids, places)
        for cut in range(MOST_CUT, 0, -1):  # the longest comes last
            beginning = tf.strings.substr(unknown, tf.zeros_like(length), tf.maximum(length - cut, 0), "UTF8_CHAR")
            known = self._beginnings.lookup(beginning)
            found = tf.where(known == schema.UNKNOWN_ID, found, known)
        return tf.tensor_scatter_nd_update(ids, places, found)


def ids(tokens: Sequence[str]) -> dict[str, int]:
    """Token → id of a vocabulary."""
    return {token: index for index, token in enumerate(tokens, schema.FIRST_TOKEN_ID)}


def beginnings(words: Sequence[str]) -> dict[str, int]:
    """Word → id, of those words of a vocabulary as which longer ones are read: no short ones, no amounts."""
    return {word: id for word, id in ids(words).items() if len(word) >= LEAST_BEGINNING and word[0] not in "0123456789"}


def _lookup_table(ids: Mapping[str, int]) -> tf.lookup.StaticHashTable:
    ids = {"": schema.UNKNOWN_ID, **ids}  # TensorFlow makes no empty table
    initializer = tf.lookup.KeyValueTensorInitializer(list(ids), list(ids.values()), tf.string, tf.int32)
    return tf.lookup.StaticHashTable(initializer, default_value=schema.UNKNOWN_ID)


def _tensor(lines):
    return lines if isinstance(lines, tf.RaggedTensor) else tf.convert_to_tensor(lines, tf.string)


def _padded_ids(lookup: Callable[[tf.Tensor], tf.Tensor], tokens: tf.RaggedTensor, shape: list[int]) -> tf.Tensor:
    """Ragged tokens → int32 ids [batch, *shape], cut or padded with 0 on the right."""
    ids = tf.ragged.map_flat_values(lookup, tokens)
    return ids.to_tensor(schema.PADDING_ID, shape=[None, *shape])
