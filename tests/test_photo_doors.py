"""One picture through every door: training, the runtime, ONNX, the SavedModel's bytes, and Node.js.

Each door reads a photo or refuses it; those that read it give one embedding.
"""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import photo_cases
import pytest
import tensorflow as tf
from PIL import Image

from kfood import photo_files
from kfood.data import images, recipe1m
from kfood.export import photo_bytes, runtime

BOUND = 1e-4
ROOT = pathlib.Path(__file__).parents[1]
NODE = ROOT / "examples" / "node"
SIZE, SHORT_SIDE = 32, 37

ENCODE_ALL = """
import { readFile } from "node:fs/promises";
import { encodePhoto, openBundle } from "./encode.mjs";
const bundle = await openBundle(process.argv[2]);
const found = {};
for (const [name, file] of Object.entries(JSON.parse(await readFile(process.argv[3], "utf8")))) {
  found[name] = await encodePhoto(bundle, await readFile(file)).then(Array.from, (error) => error.message);
}
console.log(JSON.stringify(found));
"""

READ_EVERYWHERE = {
    "jpeg exif 6",
    "jpeg xmp 6",
    "png eXIf before 6",
    "png eXIf after 6",
    "png xmp 6",
    "png rgba",
    "jpeg",
}
BY_PILLOW_ALONE = {"gif clear", "bmp", "tiff turned", "webp animated"}


@pytest.fixture(scope="module")
def bundle(small_export):
    return runtime.Bundle.open(small_export / "bundle")


@pytest.fixture(scope="module")
def cases():
    return {**photo_cases.turned_photos(), **photo_cases.photos(), **photo_cases.unread()}


def own(folder):
    """{name: encoded} of the photos in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def decoded(data):
    """What the doors through Pillow see, or None."""
    try:
        return photo_files.decode(data)
    except (OSError, ValueError):
        return None


def runtime_door(bundle, cases):
    embeddings = bundle.encode_photos(cases.values(), unreadable="zeros")
    return {name: row if row.any() else None for name, row in zip(cases, embeddings, strict=True)}


def onnx_door(bundle, cases):
    session = bundle.files.session(bundle.manifest["encoders"]["image"]["raw"]["file"])
    pictures = {name: decoded(data) for name, data in cases.items()}
    return {
        name: None if picture is None else session.run(None, {"image": picture[None]})[0][0]
        for name, picture in pictures.items()
    }


def training_door(bundle, cases):
    """The picture that `kfood prepare` stores, before a JPEG is made of it."""
    found = {}
    for name, data in cases.items():
        try:
            with photo_files.opened(data) as image:
                picture = images.evaluation_transform(photo_files.upright(image), SIZE)
        except (OSError, ValueError):
            found[name] = None
        else:
            found[name] = bundle.encode("image", {"image": picture[None]})[0]
    return found


def saved_model_door(bundle, cases):
    ask = tf.saved_model.load(str(bundle.path / "saved_model/1")).signatures["encode_image_bytes"]
    answer = ask(image=tf.constant(list(cases.values())))
    embeddings, readable = answer["embedding"].numpy(), answer["readable"].numpy()
    assert readable.dtype == np.int32
    assert not embeddings[readable == 0].any()
    return {name: row if good else None for name, row, good in zip(cases, embeddings, readable, strict=True)}


def node_door(bundle, cases, folder):
    """Embeddings, or what is said of a photo that is refused."""
    static = pathlib.Path("kfood", "site", "static")  # of which the example takes a file
    shutil.copytree(ROOT / static, folder / static)
    folder = folder / "examples" / "node"
    folder.mkdir(parents=True)
    for number, data in enumerate(cases.values()):
        (folder / str(number)).write_bytes(data)
    files = {name: str(folder / str(number)) for number, name in enumerate(cases)}
    (folder / "files.json").write_text(json.dumps(files))
    for module in ("encode.mjs", "photo.mjs", "package.json"):
        shutil.copy(NODE / module, folder)
    (folder / "all.mjs").write_text(ENCODE_ALL)
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    command = ["node", "all.mjs", str(bundle.path), "files.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: np.array(answer) if isinstance(answer, list) else answer for name, answer in found.items()}


def check_agreement(doors, names):
    """Largest difference of an embedding between doors that read a photo, and how many are read by several."""
    several = 0
    for name in names:
        read = {door: found[name] for door, found in doors.items() if isinstance(found[name], np.ndarray)}
        several += len(read) > 1
        for door, embedding in read.items():
            np.testing.assert_allclose(embedding, read["runtime"], atol=BOUND, rtol=0, err_msg=f"{name}: {door}")
    return several


@pytest.fixture(scope="module")
def doors(bundle, cases):
    ways = {"runtime": runtime_door, "training": training_door, "onnx": onnx_door, "saved_model": saved_model_door}
    return {name: way(bundle, cases) for name, way in ways.items()}


def test_the_doors_of_python_agree(doors, cases):
    assert check_agreement(doors, cases) > 60
    for name in READ_EVERYWHERE:
        assert all(found[name] is not None for found in doors.values()), name
    for name in BY_PILLOW_ALONE:
        assert doors["runtime"][name] is not None
        assert doors["saved_model"][name] is None, name
    for name in photo_cases.unread():
        assert all(found[name] is None for found in doors.values()), name
    refused = {name for name, found in doors["saved_model"].items() if found is None}
    containers = {name for name in cases if name.startswith(("webp", "gif", "bmp", "tiff", "avif"))}
    assert refused == containers | set(photo_cases.unread())


def test_a_picture_that_is_turned_is_another_one(bundle):
    """The bound would not tell otherwise."""
    upright = runtime_door(bundle, {str(mark): photo_cases.turned_photos()[f"png xmp {mark}"] for mark in range(1, 9)})
    for mark in range(2, 9):
        assert np.abs(upright[str(mark)] - upright["1"]).max() > 10 * BOUND, mark


def test_photos_that_failed_agree(bundle, shared, tmp_path):
    cases = own(shared / "cases" / "photos")
    ways = {"runtime": runtime_door, "training": training_door, "onnx": onnx_door, "saved_model": saved_model_door}
    doors = {name: way(bundle, cases) for name, way in ways.items()}
    if (NODE / "node_modules").is_dir() and shutil.which("node"):
        doors["node"] = node_door(bundle, cases, tmp_path)
    assert check_agreement(doors, cases) >= 5
    assert all(not isinstance(found["bomb_400MP.png"], np.ndarray) for found in doors.values())


def test_node_agrees(bundle, cases, doors, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("no Node.js")
    if not (NODE / "node_modules").is_dir():
        pytest.skip(f"no packages: run npm install in {NODE}")
    node = node_door(bundle, cases, tmp_path)
    assert check_agreement({**doors, "node": node}, cases) > 60
    assert READ_EVERYWHERE | {"webp exif 6", "webp xmp 6", "webp alpha", "webp animated"} <= {
        name for name, answer in node.items() if isinstance(answer, np.ndarray)
    }
    for name in photo_cases.unread():
        assert isinstance(node[name], str), name
    assert "received one in CMYK" in node["jpeg cmyk"]
    assert "received gif" in node["gif clear"]
    assert "pixel limit" in node["png of 81 million"]


# The graph, pixel for pixel


@pytest.fixture(scope="module")
def graph():
    return tf.function(photo_bytes.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def test_the_graph_gives_pillows_pixels(graph, cases):
    compared = 0
    for name, data in cases.items():
        if name.startswith(("jpeg", "png")) and name not in photo_cases.unread():
            np.testing.assert_array_equal(graph(data), photo_files.decode(data), err_msg=name)
            compared += 1
    assert compared > 80


def test_the_graph_guesses_nothing(graph):
    rows = [row.tobytes() for row in photo_cases.scene()]
    jpeg = photo_cases.saved(photo_cases.scene(), "JPEG")
    raw = b"Raw profile type exif\0\nexif\n      32\n" + (b"Exif\0\0" + photo_cases.tiff(6)).hex().encode()
    for data in (
        photo_cases.png(rows, 8, 2, before=[photo_cases.text_chunk(photo_cases.xmp(6), packed=True)]),
        photo_cases.png(rows, 8, 2, before=[(b"tEXt", raw)]),
        photo_cases.jpeg_exif(jpeg, photo_cases.tiff(6, kind=5)),
        photo_cases.jpeg_exif(jpeg, photo_cases.tiff(6, count=2)),
        photo_cases.jpeg_exif(jpeg, b"II\0*" + photo_cases.tiff(6)[4:]),
    ):
        assert decoded(data) is not None
        assert graph(data).shape == (0, 0, 3)


def test_a_header_of_too_many_parts_ends(graph):
    jpeg = photo_cases.saved(photo_cases.scene(), "JPEG")
    assert jpeg[20:21] == b"\xff"  # the second segment
    assert graph(jpeg[:20] + b"\0" * 9_000 + jpeg[20:]).shape == (48, 72, 3)
    assert graph(jpeg[:20] + b"\0" * 11_000 + jpeg[20:]).shape == (0, 0, 3)


def test_one_bad_photo_leaves_the_others(bundle):
    ask = tf.saved_model.load(str(bundle.path / "saved_model/1")).signatures["encode_image_bytes"]
    good = photo_cases.photos()["jpeg"]
    alone = ask(image=tf.constant([good]))
    damaged = good[: len(good) * 2 // 3]
    together = ask(image=tf.constant([good, b"", damaged, photo_cases.of_size(9_000, 9_000), good]))
    assert alone["readable"].numpy().tolist() == [1]
    assert together["readable"].numpy().tolist() == [1, 0, 0, 0, 1]
    np.testing.assert_allclose(together["embedding"].numpy()[[0, 4]], np.repeat(alone["embedding"], 2, 0), atol=1e-6)
    assert not together["embedding"].numpy()[1:4].any()


# The rules, and what is stored for training


def on_white(levels, alpha):
    """As integers, a level at a time."""
    return (levels.astype(int) * alpha + 255 * (255 - alpha.astype(int)) + 127) // 255


def test_what_is_transparent_lies_on_white():
    pixels, alpha = photo_cases.scene(), photo_cases.alpha()
    found, expected = photo_cases.photos(), on_white(pixels, alpha[..., None])
    for name in ("png rgba", "png 16 bits rgba", "webp alpha"):
        np.testing.assert_array_equal(photo_files.decode(found[name]), expected, err_msg=name)
    np.testing.assert_array_equal(photo_files.decode(found["png rgba turned"]), np.rot90(expected))
    clear = (pixels == pixels[2, 2]).all(axis=2)
    assert 50 < clear.sum() < clear.size
    np.testing.assert_array_equal(photo_files.decode(found["png rgb clear"]), np.where(clear[..., None], 255, pixels))
    plain, cut = (photo_files.decode(found[name]) for name in ("png 4 bits", "png 4 bits clear"))
    changed = (plain != cut).any(axis=2)
    assert 10 < changed.sum() < changed.size
    assert (cut[changed] == 255).all()
    assert len(np.unique(plain[changed], axis=0)) == 1


def test_a_gif_smaller_than_its_canvas_has_white_around_it():
    frame = Image.new("P", (6, 4), 1)
    frame.putpalette([0, 0, 0, 10, 200, 30])
    data = bytearray(photo_cases.saved(frame, "GIF"))
    data[6:10] = (10).to_bytes(2, "little") + (7).to_bytes(2, "little")  # of the canvas
    where = data.index(b"\x2c", 13 + 6)
    data[where + 1 : where + 5] = (3).to_bytes(2, "little") + (1).to_bytes(2, "little")
    expected = np.full((7, 10, 3), 255)
    expected[1:5, 3:9] = (10, 200, 30)
    np.testing.assert_array_equal(photo_files.decode(bytes(data)), expected)


def test_every_mark_turns_as_exif_says():
    """Of a 2 × 3 picture, where each mark puts its rows and columns (EXIF 2.32, 4.6.4 A, Orientation)."""
    picture = np.arange(6).reshape(2, 3, 1)
    expected = {
        1: [[0, 1, 2], [3, 4, 5]],
        2: [[2, 1, 0], [5, 4, 3]],
        3: [[5, 4, 3], [2, 1, 0]],
        4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]],
        6: [[3, 0], [4, 1], [5, 2]],
        7: [[5, 2], [4, 1], [3, 0]],
        8: [[2, 5], [1, 4], [0, 3]],
    }
    for mark, rows in expected.items():
        assert photo_files.turned(picture, mark)[..., 0].tolist() == rows
        assert photo_bytes._turned(tf.constant(picture), tf.constant(mark, tf.int64)).numpy()[..., 0].tolist() == rows


def test_four_inks_are_adobes():
    found = photo_cases.photos()
    np.testing.assert_allclose(photo_files.decode(found["jpeg cmyk"]), photo_cases.scene(), atol=40)
    np.testing.assert_array_equal(
        photo_files.decode(found["jpeg cmyk"]), photo_files.decode(found["jpeg cmyk unmarked"])
    )


def test_what_is_stored_for_training_is_the_picture(cases):
    """Up to what JPEG loses."""
    for name, data in cases.items():
        picture = decoded(data)
        if picture is None:
            with pytest.raises(recipe1m.PhotoError):
                recipe1m.load_photo(data, 256)
            continue
        stored = images.decode_image(recipe1m.load_photo(data, 256)).numpy()
        assert stored.shape == picture.shape, name
        assert np.abs(stored.astype(int) - picture).mean() < 8, name


def test_formats_that_are_not_read_are_named(monkeypatch):
    heic = photo_cases.unread()["heic"]
    if "HEIF" not in photo_files._formats():
        with pytest.raises(OSError, match=r"received a HEIC photo; pip install 'kfood\[photos\]'"):
            photo_files.decode(heic)
        with pytest.raises(recipe1m.PhotoError, match=r"^HEIC photo: needs pillow-heif$"):
            recipe1m.load_photo(heic, 256)
    avif = photo_cases.photos()["avif"]
    monkeypatch.setattr(photo_files, "_formats", lambda: ["JPEG", "PNG"])
    with pytest.raises(OSError, match=r"received an AVIF photo; Pillow 11\.3"):
        photo_files.decode(avif)


def test_a_large_file_is_not_read(monkeypatch, tmp_path):
    data = photo_cases.photos()["png"]
    monkeypatch.setattr(photo_files, "MAX_BYTES", len(data) - 1)
    (tmp_path / "large.png").write_bytes(data)
    for photo in (data, tmp_path / "large.png"):
        with pytest.raises(ValueError, match=r"expected at most [\d,]+ bytes, received"):
            photo_files.decode(photo)
    with pytest.raises(recipe1m.PhotoError, match=r"^file too large$"):
        recipe1m.load_photo(data, 256)


def test_pillows_warnings_are_kept_from_the_screen(recwarn):
    found = photo_cases.photos()
    for name in ("png palette alpha", "jpeg exif damaged", "jpeg exif cut"):
        photo_files.decode(found[name])
    photo_files.decode(photo_cases.saved(Image.new("L", (10_000, 6_000)), "PNG", compress_level=1))
    assert not recwarn.list
