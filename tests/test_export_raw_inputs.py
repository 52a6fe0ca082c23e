"""Strings and photos into ONNX: the same ids and the same picture as in training."""

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import token_cases
from conftest import others_slow
from export_model import INGREDIENTS, WORDS, make_spec
from PIL import Image

from kfood import schema
from kfood.data import images, text
from kfood.export import raw_inputs, runtime


def session(model):
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.cache
def tokenizers(spec, words, ingredient_names):
    """(ONNX, TensorFlow)."""
    tables = list(words), list(ingredient_names)
    return session(raw_inputs.text_tokens(spec, *tables)), text.RecipeTokenizer(spec, *tables)


def both(spec, titles, ingredients, instructions, ingredient_names=INGREDIENTS, words=WORDS):
    """({name: ids} of ONNX, {name: ids} of TensorFlow, numbers of words that ONNX has read and of those it knows)."""
    run, tokenizer = tokenizers(spec, tuple(words), tuple(ingredient_names))
    received = run.run(None, {"title": titles, "ingredients": ingredients, "instructions": instructions})
    expected = tokenizer(tf.constant(list(titles), tf.string), as_tensor(ingredients), as_tensor(instructions))
    assert list(expected) == list(spec.recipe_inputs())
    return dict(zip(expected, received, strict=False)), expected, received[-2:]


def as_tensor(lines):
    return tf.reshape(tf.constant(lines.ravel().tolist(), tf.string), lines.shape)


def check_equal(spec, *texts, **options):
    received, expected, (words, known) = both(spec, *texts, **options)
    for name, ids in expected.items():
        np.testing.assert_array_equal(received[name], ids, err_msg=name)
        assert received[name].dtype == np.int32
    used = sum(np.count_nonzero(ids.numpy().reshape(len(words), -1), axis=1) for ids in expected.values())
    np.testing.assert_array_equal(words, used)
    found = [
        [sum(int(i) >= 2 for ids in expected.values() for i in ids[row].numpy().flat)]
        for row in range(min(9, len(words)))
    ]
    np.testing.assert_array_equal(known[:9, None], found)


def fuzzed_strings(rng, count):
    pools = [
        "abcXYZ019 _-'\"!\t",
        "ÀÉßñøĐİıſKÅ",
        "е́ёЖ",
        "日本語カナ한글",
        "שלוםمرحبا",
        "😀👩‍🍳🇮🇹",
        "½²Ⅷ①٣",
        "012/⁄-–½¼,. ",
        "lek omns",
        "e\u0301\u0308\u200d\u200b\u2028\x01\x1f\x7f\x85",
        "𝒜𐐀𠀀",
        *(f"{word} " for word in WORDS),
    ]
    letters = [list(pool) for pool in pools]
    strings = []
    for _ in range(count):
        chosen = [letters[i] for i in rng.integers(0, len(letters), 3)]
        made = "".join(rng.choice(chosen[i % 3]) for i in range(rng.integers(0, 25)))
        strings.append(f"{made} {rng.choice(WORDS)}" if rng.random() < 0.3 else made)
    return strings


def columns(strings, width):
    return np.array(strings, object).reshape(-1, width)


@pytest.mark.parametrize("unit", ["word", "name"])
def test_ten_thousand_fuzzed_strings_give_the_ids_of_training(rng, unit):
    spec = make_spec(ingredient_unit=unit, ingredient_words=3 if unit == "word" else 1, ingredients=6)
    strings = np.array(fuzzed_strings(rng, 10_000), object)
    lines = [*fuzzed_strings(rng, 3000), *INGREDIENTS * 600, *["Red\tONION!", "red  onion leek", "red", "onion"] * 50]
    for titles in np.split(strings, 20):
        check_equal(spec, titles, rng.choice(np.array(lines, object), (len(titles), 10)), columns([*titles], 1))


@pytest.mark.parametrize(
    "line",
    [
        "A" * 1_000_000,
        "é, " * 300_000,
        "- " * 500_000,
        "salt " * 200_000,
        "1½" * 300_000,
        "1-2/" * 250_000,
        "1" * 1_000_000,
    ],
    ids=lambda line: line[:4],
)
def test_a_line_of_a_megabyte(line):
    texts = np.array([line, "leek"], object)
    check_equal(make_spec(), texts, texts[:, None], texts[:, None])


@pytest.mark.parametrize("counts", [(0, 0), (9, 1), (2, 7)])
@pytest.mark.parametrize("changes", [{}, {"title_words": 0}, {"ingredients": 1, "instructions": 1}])
def test_lines_are_skipped_cut_and_padded_as_in_training(rng, counts, changes):
    strings = [*WORDS * 3, "---", "", "Salt, THE onion and the leek", "½ café?"]
    texts = [np.array([rng.choice(strings) for _ in range(40 * count)], object).reshape(40, count) for count in counts]
    check_equal(make_spec(**changes), np.array([rng.choice(strings) for _ in range(40)], object), *texts)


def test_amounts_have_the_ids_of_training_in_each_of_their_spellings(rng):
    """And the ids of a scan by hand."""
    lines, words, expected = token_cases.numbered(rng, 1000)
    spec = make_spec(title_words=50, word_vocabulary=len(words) + 2)
    titles, empty = np.array(lines, object), np.full((len(lines), 0), "", object)
    check_equal(spec, titles, empty, empty, words=words)
    received, _, _ = both(spec, titles, empty, empty, words=words)
    for line, row, ids in zip(lines, received["title"], expected, strict=True):
        assert row[row > 0].tolist() == ids[:50], line


def test_an_unknown_word_has_the_id_of_its_longest_known_beginning():
    words = ["toma", "tomat", "tomato", "wine", "wines", "éclair", "pea", "1500", "1-1/2", "日本料理", "mixed up", "½"]
    line = "tomatos tomatoes TOMATOISH tomas wined winesap winery éclairs éclairée ÉCLAIRS peas 15001 1 1/2 1-1/25 ½"
    line += " 日本料理店 日本料理店店 日本料理店店店 mixed mixedup 2"
    spec = make_spec(title_words=40, word_vocabulary=len(words) + 2)
    lines = np.array([line, "tomatos", "", "pears"], object)
    empty = np.full((len(lines), 0), "", object)
    check_equal(spec, lines, empty, empty, words=words)
    received, _, (read, known) = both(spec, lines, empty, empty, words=words)
    for row, each in zip(received["title"], lines, strict=True):
        assert [i for i in row if i] == [token_cases.id_of(token, words) for token in token_cases.tokens_of(each)]
    assert (read[1:].tolist(), known[1:].tolist()) == ([1, 0, 1], [1, 0, 0])  # a beginning is known


def test_names_are_found_whole_and_in_no_other_form():
    """Names that begin alike, one within another, in the vocabulary in a form that no text has."""
    names = ["red onion", "red", "red onion soup mix", "onion red", "Salt", "leek", "1/2 milk", "½ milk"]
    spec = make_spec(ingredient_unit="name", ingredient_words=1, ingredients=13, ingredient_vocabulary=len(names) + 2)
    asked = ["red onion", "RED", "red onion soup", "red  onion, soup mix", "red onion soup mix mix", "onion", "salt"]
    asked += ["?", "onion red", "½ Milk", "1⁄2-milk", "1 1/2 milk", "leeks"]  # of a name no beginning is taken
    ingredients = np.array([asked], object)
    received, _, _ = both(spec, np.array([""], object), ingredients, ingredients[:, :0], ingredient_names=names)
    assert received["ingredients"][0, :, 0].tolist() == [2, 3, 1, 4, 1, 1, 1, 5, 8, 8, 1, 1, 0]
    check_equal(spec, np.array([""], object), ingredients, ingredients[:, :0], ingredient_names=names)


def test_every_code_point_is_read_as_in_training():
    """One by one between two letters: joined to them, or cutting them apart, lowered or not."""
    points = [chr(point) for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
    lines = [" ".join(f"a{c}b" for c in points[start : start + 500]) for start in range(0, len(points), 500)]
    # A vocabulary of every token: an id tells it from all others.
    tokens = [token.decode() for tokens in text.tokenize(tf.constant(lines)).to_list() for token in tokens]
    words = list(dict.fromkeys(tokens))
    spec = make_spec(title_words=1000, word_vocabulary=len(words) + 2)
    empty = np.full((len(lines), 0), "", object)
    check_equal(spec, np.array(lines, object), empty, empty, words=words)


def test_a_token_is_what_tensorflow_says():
    """Not what onnxruntime's newer Unicode tables say: it was seen to know letters that TensorFlow does not."""
    ranges = raw_inputs.token_characters()
    assert ranges[:4] == ["\\x{41}-\\x{5a}", "\\x{61}-\\x{7a}", "\\x{aa}-\\x{aa}", "\\x{b2}-\\x{b3}"]


@pytest.mark.parametrize("taken", ["crop", "square", "whole"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(50, 50, 32), (97, 31, 32), (640, 427, 64), (20, 33, 48), (1, 1, 32), (37, 37, 32)]
)
def test_picture_is_the_one_of_training(rng, height, width, size, taken):
    pixels = rng.integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    short_side = {"square": size, "whole": schema.WHOLE_PHOTO}.get(taken, schema.resized_short_side(size))
    (received,) = session(raw_inputs.pixels_picture(size, short_side)).run(None, {"image": pixels})
    expected = [images.evaluation_transform(tf.constant(image), size, short_side) for image in pixels]
    assert (received.shape, received.dtype) == ((2, size, size, 3), np.float32)
    np.testing.assert_allclose(received, expected, atol=0.01)


def variants(path, number):
    """A real photo as it is, cut to a strip either way, reduced, and every fourth enlarged up to sevenfold."""
    stored = images.decode_image(path.read_bytes()).numpy()
    yield stored
    yield stored[number % 60 : 2 * number % 60 + 60 + number]
    yield stored[:, number % 50 : number % 50 + 70 + number]
    yield np.asarray(Image.fromarray(stored).resize((40 + number, 33 + 2 * number)))
    if number % 4 == 0:
        times = 2 + number % 5
        sides = [times * side + number for side in (stored.shape[1], stored.shape[0])]
        yield np.asarray(Image.fromarray(stored).resize(sides, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", others_slow([96, 224], [96]))
def test_real_photos_of_many_sizes_are_within_the_stated_bound(shared, size):
    """Of the graph and of the runtime, whose arithmetic is the same."""
    paths = sorted((shared / "data" / "recipes" / "images").rglob("*.jpg"))[::13][:100]
    assert len(paths) == 100
    short_side = schema.resized_short_side(size)
    run = session(raw_inputs.pixels_picture(size, short_side))
    sizes = set()
    for number, path in enumerate(paths):
        for pixels in variants(path, number):
            sizes.add(pixels.shape)
            expected = images.evaluation_transform(pixels, size).numpy()
            (received,) = run.run(None, {"image": pixels[None]})
            np.testing.assert_allclose(received[0], expected, rtol=0, atol=raw_inputs.PICTURE_BOUND)
            received = runtime.evaluation_transform(pixels, size, short_side)
            np.testing.assert_allclose(received, expected, rtol=0, atol=raw_inputs.PICTURE_BOUND)
    assert len(sizes) > 200
