"""The runtime's own preprocessing against the TensorFlow one that models are trained with, and its errors."""

import io
import itertools
import json
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from export_model import INGREDIENTS, WORDS, make_spec
from PIL import Image

from kfood.data import images, text
from kfood.export import runtime
from kfood.export.bundle import token_characters


@pytest.fixture(scope="module")
def characters():
    return token_characters()


def make_tokenizer(spec, characters):
    fields = {name: getattr(spec, name) for name in spec.__dataclass_fields__}
    return runtime.RecipeTokenizer(fields, WORDS, INGREDIENTS, characters)


def tensorflow_tokens(strings):
    return [[token.decode() for token in tokens] for tokens in text.tokenize(tf.constant(strings)).to_list()]


def png(pixels):
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


# Tokens


def test_every_code_point_is_read_as_in_training(characters):
    """One by one between two letters: joined to them, or cutting them apart, lowered or not."""
    tokenizer = make_tokenizer(make_spec(), characters)
    points = [chr(point) for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
    lines = [" ".join(f"a{c}b" for c in points[start : start + 500]) for start in range(0, len(points), 500)]
    for line, expected in zip(lines, tensorflow_tokens(lines), strict=True):
        assert tokenizer.tokens(line) == expected


def test_characters_are_ranges_in_order(characters):
    ranges = [[int(point, 16) for point in line.split("-")] for line in characters]
    assert ranges[:3] == [[0x30, 0x39], [0x41, 0x5A], [0x61, 0x7A]]
    flat = [point for pair in ranges for point in pair]
    assert flat == sorted(flat)
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(ranges))  # none left to join


def fuzzed_strings(rng, count):
    pools = [
        "abcXYZ019 _-'\"!\t",
        "ÀÉßñøĐİıſKÅ",
        "е́ёЖ",
        "日本語カナ한글",
        "שלוםمرحبا",
        "😀👩‍🍳🇮🇹",
        "½²Ⅷ①٣",
        "e\u0301\u0308\u200d\u200b\u2028\x01\x1f\x7f\x85",
        "𝒜𐐀𠀀",
        *WORDS,
    ]
    letters = [list(pool) for pool in pools]
    strings = []
    for _ in range(count):
        chosen = [letters[i] for i in rng.integers(0, len(letters), 3)]
        strings.append("".join(rng.choice(chosen[i % 3]) for i in range(rng.integers(0, 25))))
    return strings


def test_fuzzed_strings_give_the_same_tokens(rng, characters):
    tokenizer = make_tokenizer(make_spec(), characters)
    strings = [*fuzzed_strings(rng, 3000), "", " ", "A" * 1_000_000, "é, " * 300_000]
    received = [tokenizer.tokens(string) for string in strings]
    assert received == tensorflow_tokens(strings)


def test_a_lone_surrogate_separates(characters):
    """It cannot be encoded for TensorFlow; JSON can bring it."""
    assert make_tokenizer(make_spec(), characters).tokens(json.loads('"A\\ud800B"')) == ["a", "b"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"title_words": 0}, {"ingredient_unit": "name", "ingredient_words": 1}, {"ingredients": 1, "instructions": 1}],
)
def test_recipes_give_the_same_ids(rng, characters, changes):
    spec = make_spec(**changes)
    strings = [*fuzzed_strings(rng, 300), *WORDS * 10, *INGREDIENTS * 20, "Red\tONION", "---"]

    def lines(most):
        return [str(line) for line in rng.choice(np.array(strings, object), rng.integers(0, most))]

    recipes = [
        {"title": str(rng.choice(strings)), "ingredients": [*lines(9), "salt"], "instructions": lines(7)}
        for _ in range(100)
    ]
    received = make_tokenizer(spec, characters)(recipes)
    expected = text.RecipeTokenizer(spec, WORDS, INGREDIENTS)(
        tf.constant([recipe["title"] for recipe in recipes]),
        tf.ragged.constant([recipe["ingredients"] for recipe in recipes], dtype=tf.string),
        tf.ragged.constant([recipe["instructions"] for recipe in recipes], dtype=tf.string),
    )
    assert set(received) == set(expected) == set(spec.recipe_inputs())
    for name, ids in expected.items():
        np.testing.assert_array_equal(received[name], ids, err_msg=name)
        assert received[name].dtype == np.int32


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"title": "!", "ingredients": ["-"], "instructions": []}, "recipe 7: expected at least one word in title or"),
        ({}, "recipe 7: expected at least one word"),
        ({"name": "Soup"}, "recipe 7: expected the keys title, ingredients, .* received name"),
        ({"ingredients": "salt"}, "recipe 7: expected ingredients to be a list of strings, received str"),
        (
            {"instructions": [{"text": "boil"}]},
            "recipe 7: expected instructions to be a list of strings, received one with {'text'",
        ),
        ({"title": None}, "recipe 7: expected title to be a string, received NoneType"),
        (["salt"], "recipe 7: expected a mapping with title.* received list"),
    ],
)
def test_wrong_recipes_are_named(characters, recipe, message):
    with pytest.raises(ValueError, match=message):
        make_tokenizer(make_spec(), characters)([recipe], first=7)


# Photos


@pytest.mark.parametrize(
    ("height", "width", "size"), [(50, 50, 32), (97, 31, 32), (640, 427, 64), (20, 33, 48), (1, 1, 32), (37, 37, 32)]
)
def test_transform_is_the_one_of_training(rng, height, width, size):
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = images.evaluation_transform(tf.constant(image), size).numpy()
    received = runtime.evaluation_transform(image, size)
    assert (received.shape, received.dtype) == ((size, size, 3), np.float32)
    np.testing.assert_allclose(received, expected, atol=0.01)
    np.testing.assert_array_equal(runtime.evaluation_transform(image.astype(np.float32), size), received)


@pytest.mark.parametrize("size", [96, 224])
def test_real_photos_are_what_they_are_in_training(shared, size):
    """Decoder and resizing together."""
    paths = sorted((shared / "data" / "recipes" / "images" / "test").rglob("*.jpg"))[:20]
    assert paths
    for path in paths:
        encoded = path.read_bytes()
        np.testing.assert_array_equal(runtime.decode_photo(path), images.decode_image(encoded))
        expected = images.evaluation_transform(images.decode_image(encoded), size)
        received = runtime.evaluation_transform(runtime.decode_photo(path), size)
        np.testing.assert_allclose(received, expected, atol=0.01)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"expected \[height, width, 3\], received \[4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"received \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.int64), "expected uint8 or float, received int64"),
        (np.full((4, 4, 3), 256.0), "expected values from 0 to 255, received values from 256"),
        (np.full((4, 4, 3), np.nan), "expected values from 0 to 255"),
    ],
)
def test_wrong_images_are_named(image, message):
    with pytest.raises(ValueError, match=message):
        runtime.evaluation_transform(image, 32)


def test_photos_of_every_kind_are_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8)
    np.testing.assert_array_equal(runtime.decode_photo(png(pixels)), pixels[..., :3])
    grey = tmp_path / "grey.png"
    grey.write_bytes(png(pixels[..., 0]))
    np.testing.assert_array_equal(runtime.decode_photo(grey), np.repeat(pixels[..., :1], 3, axis=2))
    assert runtime.decode_photo(str(grey)).shape == (9, 7, 3)


def test_photos_are_turned_upright():
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left is up
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=exif)
    upright = runtime.decode_photo(encoded.getvalue())
    assert upright.shape == (16, 8, 3)
    assert upright[:8].min() == 255
    assert upright[8:].max() == 0


def test_unreadable_photos_are_named(tmp_path):
    text_file = tmp_path / "notes.jpg"
    text_file.write_text("not a photo")
    with pytest.raises(OSError, match=r"notes\.jpg: expected a photo \(JPEG, PNG, .*received something else"):
        runtime.decode_photo(text_file)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: expected a photo, found no such file"):
        runtime.decode_photo(tmp_path / "none.jpg")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(whole, "JPEG")
    with pytest.raises(OSError, match=r"photo of \d+ bytes: expected a whole JPEG photo"):
        runtime.decode_photo(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(OSError, match="expected a photo"):
        runtime.decode_photo(b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])  # beyond our limit, Pillow's warning, Pillow's error
def test_a_huge_photo_is_refused_from_its_header(tmp_path, side):
    """A PNG of that size in its header and next to nothing behind it: decoding it would fail otherwise."""
    whole = bytearray(png(np.zeros((2, 2, 3), np.uint8)))
    whole[16:24] = side.to_bytes(4, "big") * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    path = tmp_path / "huge.png"
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"huge\.png: expected at most 64,000,000 pixels, received"):
        runtime.decode_photo(path)


# Distances


def test_distances_by_hand():
    a, b = np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [6.0, 8.0], [-4.0, 3.0]])

    def distances(name):
        manifest = {"model": "m", "embedding_size": 2, "distance": name, "spec": {}}
        return runtime.Bundle(None, manifest, "", (), 0).distances(a, b)

    np.testing.assert_allclose(distances("euclidean"), [[5, 5, np.sqrt(50)]], rtol=1e-6)
    np.testing.assert_allclose(distances("cosine"), [[1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(distances("dot"), [[0, -50, 0]])


def test_regular_expression_needs_no_newer_python(characters):
    """Letters newer than this Python's own tables are letters all the same."""
    import unicodedata

    new = [
        chr(first)
        for first, last in ([int(point, 16) for point in line.split("-")] for line in characters)
        for first in range(first, last + 1)
        if unicodedata.category(chr(first)) == "Cn"
    ]
    if not new:
        pytest.skip(f"Python {sys.version_info[:2]} knows every character that TensorFlow does")
    assert make_tokenizer(make_spec(), characters).tokens(f"x{new[0]} {new[-1]}") == [f"x{new[0]}", new[-1]]
