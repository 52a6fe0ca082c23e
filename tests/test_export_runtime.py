"""The runtime's own preprocessing against the TensorFlow one that models are trained with, and its errors."""

import io
import json
import types
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kfood import recipe_texts, schema
from kfood.data import images, text
from kfood.export import bundle_files, runtime


@pytest.fixture(scope="module")
def bundle(small_export):
    return runtime.Bundle.open(small_export / "bundle")


def png(pixels):
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


# Recipes


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"title": "!", "ingredients": ["-"], "instructions": []},
            "recipe 7: .* one word that the model knows in title or .* received none",
        ),
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
def test_wrong_recipes_are_named(bundle, recipe, message):
    good = {"title": "salt"}
    with pytest.raises(ValueError, match=message):
        bundle.encode_recipes([*[good] * 7, recipe], batch_size=3)


def test_a_recipe_of_unknown_words_alone_is_refused(bundle):
    """All of them share an embedding; read_recipes says so of each, and gives it."""
    unknown = [
        {"title": "親子丼", "ingredients": ["鶏もも肉 200"]},
        {"title": "Zwiebelkuchen", "ingredients": ["Speck, Mehl"]},
    ]
    for recipe in unknown:
        with pytest.raises(
            ValueError,
            match=r"recipe 1: expected at least one word that the model knows.* received 3, all of them unknown to it",
        ):
            bundle.encode_recipes([{"title": "soup"}, recipe], batch_size=1)
    mixed = {"title": "Zwiebel soup", "ingredients": ["2 leeks", "--"], "instructions": ["Boil it."]}
    embeddings, words, known = bundle.read_recipes([*unknown, mixed, {}], batch_size=3)
    assert (words.tolist(), known.tolist()) == ([3, 3, 2 + 2 + 2, 0], [0, 0, 1 + 2 + 1, 0])  # "leeks" is read as "leek"
    np.testing.assert_allclose(embeddings[2:3], bundle.encode_recipes([mixed]), atol=1e-6)
    empty = bundle.read_recipes([])
    assert [array.shape for array in empty] == [(0, 6), (0,), (0,)]
    assert embeddings.dtype == empty[0].dtype == np.float32
    assert words.dtype == known.dtype == empty[1].dtype == empty[2].dtype == np.int64


def test_a_bundle_that_does_not_say_what_it_knows_still_encodes(bundle, monkeypatch):
    """As earlier versions exported it: embedding and words."""
    session = bundle.files.session(bundle.manifest["encoders"]["recipe"]["raw"]["file"])
    older = types.SimpleNamespace(
        run=lambda names, inputs: session.run(["embedding", "words"], inputs),
        get_outputs=lambda: session.get_outputs()[:2],
    )
    recipes = [{"title": "soup"}]
    expected = bundle.encode_recipes(recipes)
    monkeypatch.setattr(bundle.files, "session", lambda file: older)
    np.testing.assert_array_equal(bundle.encode_recipes(recipes), expected)
    assert [values.tolist() for values in bundle.read_recipes(recipes)[1:]] == [[1], [1]]


def test_a_lone_surrogate_and_nul_separate(bundle):
    """JSON can bring both; neither can be given to onnxruntime."""
    odd = [{"title": json.loads('"leek\\ud800soup"')}, {"title": "leek\0soup"}]
    np.testing.assert_array_equal(bundle.encode_recipes(odd), bundle.encode_recipes([{"title": "leek soup"}] * 2))


def test_a_long_line_is_encoded_by_itself(bundle, monkeypatch):
    recipes = [{"title": "salt"}, {"title": "leek", "ingredients": ["onion " * 100]}, {"title": "soup"}]
    expected = bundle.encode_recipes(recipes)
    seen, run = [], bundle.files.session(bundle.manifest["encoders"]["recipe"]["raw"]["file"]).run
    counted = types.SimpleNamespace(
        run=lambda names, inputs: (seen.append(len(inputs["title"])), run(names, inputs))[1],
        get_outputs=bundle.files.session(bundle.manifest["encoders"]["recipe"]["raw"]["file"]).get_outputs,
    )
    monkeypatch.setattr(bundle.files, "session", lambda file: counted)
    monkeypatch.setattr(runtime, "_COST", 1000)
    np.testing.assert_allclose(bundle.encode_recipes(recipes), expected, atol=1e-6)
    assert seen == [1, 1, 1]
    with pytest.raises(ValueError, match="recipe 4: expected at least one word"):
        bundle.encode_recipes([*recipes, {"title": "soup"}, {"title": "?"}])


def test_a_line_is_cut_to_what_is_read(bundle):
    assert (runtime.LINE_BYTES, runtime.LINES) == (text.LINE_BYTES, text.LINES)
    most = runtime.LINE_BYTES
    read, unread = "- " * (most // 2 - 2) + "salt", "- " * (most // 2 - 1) + "é leek"  # the é is cut in two
    assert len(read) == most
    received = bundle.encode_recipes(
        [
            {"title": "soup", "ingredients": [f"{read} soup"]},
            {"title": "soup", "ingredients": [f"-{unread}"]},
            {"title": "soup", "ingredients": ["!"] * runtime.LINES + ["leek"]},
            {"title": "soup", "ingredients": ["!"] * (runtime.LINES - 1) + ["leek"]},
        ]
    )
    expected = bundle.encode_recipes(
        [{"title": "soup", "ingredients": lines} for lines in (["salt"], [], [], ["leek"])]
    )
    np.testing.assert_allclose(received, expected, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    signature = tf.saved_model.load(str(bundle.path / "saved_model/1")).signatures
    lines = tf.constant([[f"{read} soup"], [f"-{unread}"]])
    given = {"title": tf.constant(["soup"] * 2), "instructions": tf.zeros([2, 0], tf.string)}
    saved = signature["encode_recipe_text"](ingredients=lines, **given)["embedding"]
    np.testing.assert_allclose(saved, expected[:2], atol=1e-6)
    lines = tf.constant(["\n".join(["!"] * (runtime.LINES - more) + ["leek"]) for more in (0, 1)])
    given = {"title": tf.constant(["soup"] * 2), "instructions": tf.constant(["", ""])}
    saved = signature["encode_recipe_lines"](ingredients=lines, **given)["embedding"]
    np.testing.assert_allclose(saved, expected[2:], atol=1e-6)


# Photos


def test_a_photo_that_cannot_be_read_is_named_or_has_zeros(bundle):
    good, flat = png(np.full((9, 7, 3), 40, np.uint8)), png(np.full((8, 8, 3), 200, np.uint8))
    with pytest.raises(OSError, match=r"^photo 1: photo of 5 bytes: expected a photo"):
        bundle.encode_photos([good, b"photo", flat])
    with pytest.raises(FileNotFoundError, match=r"^photo 0: none\.jpg"):
        bundle.encode_photos(["none.jpg"])
    received = bundle.encode_photos([good, b"photo", "none.jpg", flat], unreadable="zeros", batch_size=3)
    np.testing.assert_allclose(received[[0, 3]], bundle.encode_photos([good, flat]), atol=1e-6)
    assert not received[1:3].any()
    with pytest.raises(ValueError, match="unreadable: expected 'raise' or 'zeros', received 'skip'"):
        bundle.encode_photos([good], unreadable="skip")
    with pytest.raises(ValueError, match="expected a path, or an encoded photo"):
        bundle.encode_photos([7], unreadable="zeros")


@pytest.mark.parametrize("taken", ["crop", "square", "whole"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(50, 50, 32), (97, 31, 32), (640, 427, 64), (20, 33, 48), (1, 1, 32), (37, 37, 32)]
)
def test_transform_is_the_one_of_training(rng, height, width, size, taken):
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    short_side = {"square": size, "whole": schema.WHOLE_PHOTO}.get(taken, schema.resized_short_side(size))
    expected = images.evaluation_transform(tf.constant(image), size, short_side).numpy()
    received = runtime.evaluation_transform(image, size, short_side)
    assert (received.shape, received.dtype) == ((size, size, 3), np.float32)
    np.testing.assert_allclose(received, expected, atol=0.01)
    np.testing.assert_array_equal(runtime.evaluation_transform(image.astype(np.float32), size, short_side), received)


@pytest.mark.parametrize("size", [96, 224])
def test_real_photos_are_what_they_are_in_training(shared, size):
    """Decoder and resizing together."""
    paths = sorted((shared / "data" / "recipes" / "images" / "test").rglob("*.jpg"))[:20]
    assert paths
    for path in paths:
        encoded = path.read_bytes()
        np.testing.assert_array_equal(runtime.decode_photo(path), images.decode_image(encoded))
        expected = images.evaluation_transform(images.decode_image(encoded), size)
        received = runtime.evaluation_transform(runtime.decode_photo(path), size, schema.resized_short_side(size))
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
        runtime.evaluation_transform(image, 32, 37)


def test_photos_of_every_kind_are_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8)
    alpha = pixels[..., 3:] / 255
    np.testing.assert_allclose(
        runtime.decode_photo(png(pixels)), pixels[..., :3] * alpha + 255 * (1 - alpha), atol=0.501
    )
    grey = tmp_path / "grey.png"
    grey.write_bytes(png(pixels[..., 0]))
    np.testing.assert_array_equal(runtime.decode_photo(grey), np.repeat(pixels[..., :1], 3, axis=2))
    assert runtime.decode_photo(str(grey)).shape == (9, 7, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_sixteen_bits_of_grey_are_eight_as_in_training(orientation):
    pixels = np.array([[0, 255, 256, 513], [32767, 32768, 65279, 65535]], np.uint16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=exif)
    stored = images.decode_image(encoded.getvalue()).numpy()  # which leaves it as it lies
    assert stored[..., 0].tolist() == [[0, 0, 1, 2], [127, 128, 254, 255]]
    received = runtime.decode_photo(encoded.getvalue())
    np.testing.assert_array_equal(received, stored if orientation == 1 else np.rot90(stored, -1))
    assert received.dtype == np.uint8


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda bundle: bundle.encode_photos("x.jpg"), "photos: expected a list, received str; put it in a list"),
        (lambda bundle: bundle.encode_photos(b"\xff\xd8"), "photos: expected a list, received bytes"),
        (lambda bundle: bundle.encode_photos(None), "photos: expected a list, received NoneType"),
        (lambda bundle: bundle.encode_photos([None]), "expected a path, or an encoded photo as bytes, received None"),
        (lambda bundle: bundle.encode_recipes({"title": "soup"}), "recipes: expected a list, received dict; put it in"),
        (lambda bundle: bundle.encode_recipes("soup"), "recipes: expected a list, received str"),
        (lambda bundle: bundle.distances(np.zeros((1, 6)), np.zeros((2, 5))), r"gallery: expected \[n, 6\], received"),
        (lambda bundle: bundle.distances(np.zeros(6), np.zeros((2, 6))), r"queries: expected \[n, 6\], received \[6\]"),
        (
            lambda bundle: runtime.Bundle.open(bundle.path, providers="CPUExecutionProvider"),
            r"providers: expected a list of names, received 'CPU.*'; write \['CPUExecutionProvider'\]",
        ),
        (
            lambda bundle: runtime.Bundle.open(bundle.path, threads=True),
            "threads: expected 0 or a positive integer, received True",
        ),
    ],
)
def test_one_in_place_of_many_is_said(bundle, call, message):
    with pytest.raises(ValueError, match=message):
        call(bundle)


# Distances


def test_distances_by_hand():
    a, b = np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [6.0, 8.0], [-4.0, 3.0]])

    def distances(name):
        manifest = {"model": "m", "embedding_size": 2, "distance": name, "spec": {}, "encoders": {}}
        return runtime.Bundle(bundle_files.BundleFiles(None, manifest, "", (), 0), "float32").distances(a, b)

    np.testing.assert_allclose(distances("euclidean"), [[5, 5, np.sqrt(50)]], rtol=1e-6)
    np.testing.assert_allclose(distances("cosine"), [[1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(distances("dot"), [[0, -50, 0]])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_an_embedding_lies_at_no_distance_from_itself(rng, distance, size):
    """And near ones at their distance, which the difference of large sums rounds away; the oracle sums one by one."""
    a = (size * (rng.normal(size=(40, 6)) + 3)).astype(np.float32)
    b = np.concatenate([a, a * np.float32(1 + 1e-6), a + np.float32(size * 1e-4), a[:5] * 0]).astype(np.float32)
    manifest = {"model": "m", "embedding_size": 6, "distance": distance, "spec": {}, "encoders": {}}
    found = runtime.Bundle(bundle_files.BundleFiles(None, manifest, "", (), 0), "float32").distances(a, b)
    assert found.dtype == np.float32
    assert (found[np.arange(40), np.arange(40)] == 0).all()
    assert (found >= 0).all()
    x, y = a.astype(np.float64), b.astype(np.float64)
    if distance == "cosine":
        x, y = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (x, y))
    for i in range(40):
        for j in range(len(y)):
            square = sum((p - q) ** 2 for p, q in zip(x[i], y[j], strict=True))
            expected = square**0.5 if distance == "euclidean" else square / 2 if y[j].any() else 1.0
            assert found[i, j] == pytest.approx(expected, rel=1e-6, abs=1e-16)


def test_keys_that_are_not_read_are_named_once(monkeypatch):
    import warnings

    monkeypatch.setattr(recipe_texts, "_NAMED", set())
    spec = {"instruction_vectors": 0}
    with pytest.warns(UserWarning, match="recipe 3: read are the keys title, .* not servings, yield; said once"):
        recipe_texts.checked({"title": "Soup", "yield": 4, "servings": 4}, spec, "recipe 3")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert recipe_texts.checked({"title": "Soup", "servings": 4}, spec, "recipe 4")["title"] in ("Soup", b"Soup")
