"""The token rule, vocabularies and the tokenizer, against plain Python."""

import collections
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
import token_cases

from kfood import schema
from kfood.data import text

# Ideographs of Unicode 15.1: Python 3.13 knows them, RE2 may not.
_NEWER_THAN_RE2 = range(0x2EBF0, 0x2EE5E)


def test_rule_agrees_with_unicode_on_every_code_point():
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    tokens = text.tokenize(tf.constant([f"x{character}y" for character in characters]))
    one_token = tokens.row_lengths().numpy() == 1
    expected = np.array([token_cases.is_letter(character) for character in characters])
    assigned = np.array([unicodedata.category(character) != "Cn" for character in characters])
    wrong = [characters[i] for i in np.flatnonzero((one_token != expected) & assigned)]
    assert [character for character in wrong if ord(character) not in _NEWER_THAN_RE2] == []
    assert 100_000 < np.count_nonzero(one_token) < 200_000
    kept = [token.decode() for token in tf.strings.reduce_join(tokens, axis=-1).numpy()]
    amounts = dict(zip(token_cases.DIGITS, token_cases.DIGITS, strict=True)) | token_cases.SIGNS
    for character, whole, joined in zip(characters, one_token, kept, strict=True):
        lowered = character.lower() if character.isascii() else character
        assert joined == f"x{lowered if whole else amounts.get(character, '')}y"
    for character, amount in amounts.items():
        found = tokens[ord(character)]
        assert [token.decode() for token in found.numpy()] == ["x", amount, "y"]


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("1½ cups Crème-Fraîche, (2 oz.)", ["1-1/2", "cups", "crème", "fraîche", "2", "oz"]),
        ("ÀB ǅ İ", ["Àb", "ǅ", "İ"]),  # only ASCII is lowered
        ("salt_and\tpepper\n\u00a0x\u2028y\u0000z", ["salt", "and", "pepper", "x", "y", "z"]),
        ("½ cup, 1/2 cup; 1⁄2cup", ["1/2", "cup"] * 3),
        ("1 1/2 1½ 1 ½ 1-1/2 1–1⁄2", ["1-1/2"] * 5),
        ("1  1/2, 1, 1/2", ["1", "1/2"] * 2),
        ("2-3, 2–3, 2 - 3, 2 to 3", ["2-3", "2-3", "2", "3", "2", "to", "3"]),
        ("1.5 or 1,5 or 1,500", ["1.5", "or", "1.5", "or", "1.500"]),
        ("1/2/3, 1-2-3, 26/11/2026, 2026-11-26", ["1/2", "3", "1-2", "3", "26/11", "2026", "2026-11", "26"]),
        ("1/2-inch, 7-up, 500g, 9x13", ["1/2", "inch", "7", "up", "500", "g", "9", "x", "13"]),
        ("2–2 1/2, 1/2–1, 1.5-2", ["2-2", "1/2", "1/2", "1", "1.5-2"]),
        ("１/２, x², 1R2S3P4", ["１", "２", "x²", "1", "r", "2", "s", "3", "p", "4"]),
        ("  --- ", []),
        ("", []),
    ],
)
def test_tokenize(string, expected):
    tokens = [token.decode() for token in text.tokenize(tf.constant(string)).numpy()]
    assert tokens == expected == token_cases.tokens_of(string)


def test_hard_and_random_strings_are_cut_as_by_hand():
    """By a scan that takes the longest amount, where the expression takes the first that matches."""
    strings = [*token_cases.HARD, *token_cases.random_strings(np.random.default_rng(0), 3000)]
    for string, tokens in zip(strings, text.tokenize(tf.constant(strings)).to_list(), strict=True):
        assert [token.decode() for token in tokens] == token_cases.tokens_of(string), string


def test_invalid_utf8_separates_tokens():
    tokens = text.tokenize(tf.constant([b"a\xffb", b"c\xc3", b"\xe2\x82d", b"\xc3\xa9"]))
    assert tokens.to_list() == [[b"a", b"b"], [b"c"], [b"d"], ["é".encode()]]


def test_normalize_joins_tokens_by_one_space():
    names = text.normalize(tf.constant([["Extra-Virgin  olive oil", "!"], ["", "Salt"]]))
    assert names.numpy().tolist() == [[b"extra virgin olive oil", b""], [b"", b"salt"]]


def test_vocabulary_is_ordered_by_count_then_string():
    counts = collections.Counter({"b": 3, "a": 3, "é": 3, "c": 5, "rare": 1})
    assert text.rank_vocabulary(counts, 2, None) == ["c", "a", "b", "é"]
    assert text.rank_vocabulary(counts, 1, 2) == ["c", "a"]
    assert text.rank_vocabulary(counts, 6, None) == []


def test_counts_agree_with_python_over_several_batches(monkeypatch):
    monkeypatch.setattr(text.VocabularyCounter, "_BATCH", 7)
    rng = np.random.default_rng(0)
    alphabet = list("abcDE é½12/-,. ")
    lines = ["".join(rng.choice(alphabet, 12)) for _ in range(60)]
    counter = text.VocabularyCounter()
    for line in lines:
        counter.add([line], [line[:5], ""])
    counter.flush()
    assert counter.words == collections.Counter(token for line in lines for token in token_cases.tokens_of(line))
    names = [" ".join(token_cases.tokens_of(line[:5])) for line in lines]
    assert counter.ingredients == collections.Counter(name for name in names if name)


WORDS = ["salt", "of", "cup", "1", "mix", "well", "é"]
NAMES = ["salt", "olive oil", "egg"]


def make_spec(**limits):
    defaults = {"ingredients": 3, "ingredient_words": 2, "instructions": 2, "instruction_words": 3}
    return schema.RecipeSpec(
        word_vocabulary=len(WORDS) + 2, ingredient_vocabulary=len(NAMES) + 2, **{**defaults, **limits}
    )


def expected_ids(lines, most_lines, most_words):
    ids = np.zeros((most_lines, most_words), np.int32)
    rows = [tokens for tokens in map(token_cases.tokens_of, lines) if tokens][:most_lines]
    for row, tokens in enumerate(rows):
        for column, token in enumerate(tokens[:most_words]):
            ids[row, column] = token_cases.id_of(token, WORDS)
    return ids


RECIPES = [
    ("Salt, SALT and É é", ["1 cup of salt", "---", "salt"], ["Mix well, mix well", "", "salt it", "too late"]),
    ("", ["", "x", "mix", "of", "cut away"], ["Well."]),
    ("!", [], []),
]


def columns(recipes):
    titles, ingredients, instructions = zip(*recipes, strict=True)
    return tf.constant(titles), tf.ragged.constant(ingredients), tf.ragged.constant(instructions)


def test_tokenizer_agrees_with_python_dense_and_ragged():
    spec = make_spec(title_words=4)
    tokenizer = text.RecipeTokenizer(spec, WORDS, NAMES)
    title, ingredients, instructions = columns(RECIPES)
    ragged = tokenizer(title, ingredients, instructions)
    dense = tokenizer(title, ingredients.to_tensor(""), instructions.to_tensor(""))
    assert list(ragged) == list(spec.recipe_inputs())
    for name, (shape, dtype) in spec.recipe_inputs().items():
        assert ragged[name].shape == (3, *shape)
        assert ragged[name].dtype == dtype
        np.testing.assert_array_equal(ragged[name], dense[name])
    for row, (title, ingredients, instructions) in enumerate(RECIPES):
        np.testing.assert_array_equal(ragged["title"][row], expected_ids([title], 1, 4)[0])
        np.testing.assert_array_equal(ragged["ingredients"][row], expected_ids(ingredients, 3, 2))
        np.testing.assert_array_equal(ragged["instructions"][row], expected_ids(instructions, 2, 3))
    # by hand, so that the oracle cannot share a fault: "1 cup of salt" is cut to 2 words, "---" skipped
    assert ragged["ingredients"][0].numpy().tolist() == [[5, 4], [2, 0], [0, 0]]
    assert ragged["title"][0].numpy().tolist() == [2, 2, 1, 1]  # "É" is not lowered: unknown
    assert ragged["instructions"][0].numpy().tolist() == [[6, 7, 6], [2, 1, 0]]


def test_names_are_looked_up_whole():
    spec = make_spec(ingredient_unit="name", ingredient_words=1)
    tokenizer = text.RecipeTokenizer(spec, WORDS, NAMES)
    names = tf.constant([["Olive-Oil", "", "egg", "oil", "salt"], ["", "", "", "", ""]])
    ids = [[3, 4, 1], [0, 0, 0]]  # the fourth name is cut away
    batch = tokenizer(tf.constant(["", ""]), names, tf.constant([["mix"], [""]]))
    assert batch["ingredients"].numpy().tolist() == [[[i] for i in row] for row in ids]
    assert tokenizer.ingredient_ids(names).numpy().tolist() == ids
    assert tokenizer.ingredient_ids(tf.ragged.constant([["Olive-Oil", "egg", "oil"], []])).numpy().tolist() == ids


def test_an_unknown_word_is_read_as_its_longest_known_beginning():
    words = ["toma", "tomat", "tomato", "wine", "wines", "éclair", "pea", "1500", "1-1/2", "日本料理", "mixed up", "½"]
    lines = {
        "tomato tomatos tomatoes tomatoes3": [4, 4, 4, 4, 1],  # what follows a digit is another token
        "tomatoish toma tomas tomatoish": [1, 2, 2, 1],  # three characters more are too many
        "wined winesap winery WINES'": [5, 6, 5, 6],  # "wines" before "wine"
        "éclairs éclairée ÉCLAIRS peas": [7, 7, 1, 1],  # characters, not bytes; "pea" is too short
        "1500 15001 1 1/2 1-1/25 150": [9, 1, 10, 1, 1],  # amounts are no beginnings
        "日本料理店 日本料理店店 日本料理店店店": [11, 11, 1],
        "mixed mixedup ½ 1/2": [1, 1, 1, 1],  # what is not in a token's form is never found
    }
    spec = schema.RecipeSpec(word_vocabulary=len(words) + 2, ingredient_vocabulary=2, title_words=9)
    ids = text.RecipeTokenizer(spec, words, [])(tf.constant(list(lines)), *[tf.zeros([len(lines), 0], tf.string)] * 2)
    for row, (line, expected) in zip(ids["title"].numpy(), lines.items(), strict=True):
        assert row[row > 0].tolist() == expected, line
        assert [token_cases.id_of(token, words) for token in token_cases.tokens_of(line)] == expected, line


def test_sentence_vectors_leave_instruction_words_out():
    tokenizer = text.RecipeTokenizer(make_spec(instruction_vectors=8), WORDS, NAMES)
    assert list(tokenizer(*columns(RECIPES))) == ["ingredients"]


@pytest.mark.parametrize(
    ("words", "names", "which"), [(WORDS[1:], NAMES, "word"), (WORDS, [*NAMES, "x"], "ingredient")]
)
def test_vocabulary_of_another_dataset_is_refused(words, names, which):
    with pytest.raises(ValueError, match=f"^{which} vocabulary: expected"):
        text.RecipeTokenizer(make_spec(), words, names)


def test_tokenizer_can_be_saved(tmp_path):
    module = tf.Module()
    module.tokenizer = text.RecipeTokenizer(make_spec(), WORDS, NAMES)
    lines = tf.TensorSpec([None, None], tf.string)
    module.encode = tf.function(
        module.tokenizer.__call__, input_signature=[tf.TensorSpec([None], tf.string), lines, lines]
    )
    tf.saved_model.save(module, str(tmp_path))
    title, ingredients, instructions = columns(RECIPES)
    arguments = (title, ingredients.to_tensor(""), instructions.to_tensor(""))
    restored = tf.saved_model.load(str(tmp_path)).encode(*arguments)
    for name, value in module.tokenizer(*arguments).items():
        np.testing.assert_array_equal(restored[name], value)
