"""Raw Recipe1M files → prepared dataset: layouts, and everything that can be wrong with them."""

import io
import json
import os
import pathlib
import pickle
import re
import subprocess

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from kfood.data import builder, examples, recipe1m, vectors
from kfood.data.dataset import SPLITS, open_dataset
from kfood.tools import prepare


def jpeg(height=40, width=50, seed=0, **options):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_header_size(data, width, height):
    """The same JPEG, its header claiming another size."""
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[start + 4 :]


class Raw:
    """Raw files under construction: six good recipes (train 4, val 1, test 1), and what a test adds to them."""

    def __init__(self, folder, photos="images/{split}"):
        self.folder = folder
        self.photos = photos
        self.layer1, self.layer2, self.names = [], [], []
        self.class_of, self.class_names = {}, {0: "background", 1: "soup", 2: "pie"}
        for index, split in enumerate(["train", "val", "train", "test", "train", "train"]):
            self.add(f"good{index}", split)
            self.class_of[f"good{index}"] = index % 3

    def add(self, recipe, split="train", photos=None, **changes):
        """Add a recipe; photos: name → bytes, or None for a file that is not there."""
        entry = {
            "id": recipe,
            "title": f"Title of {recipe}",
            "ingredients": [{"text": "1 cup Salt"}, {"text": f"2 {split} eggs"}],
            "instructions": [{"text": "Mix well."}, {"text": "Serve."}],
            "partition": split,
            "url": "",
        }
        self.layer1.append({name: value for name, value in (entry | changes).items() if value is not ...})
        self.names.append(
            {
                "id": recipe,
                "valid": [True, False, True],
                "ingredients": [{"text": "salt"}, {"text": "junk"}, {"text": f"{split}-eggs"}],
            }
        )
        photos = {f"abcd{recipe}.jpg": jpeg(seed=len(self.layer1))} if photos is None else photos
        self.layer2.append({"id": recipe, "images": [{"id": name, "url": ""} for name in photos]})
        for name, data in photos.items():
            if data is not None:
                path = self.folder.joinpath(self.photos.format(split=split), *name[:4], name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def write(self, layer2="layer2.json"):
        self.folder.mkdir(exist_ok=True)
        for name, content in (("layer1.json", self.layer1), (layer2, self.layer2), ("det_ingrs.json", self.names)):
            (self.folder / name).write_text(json.dumps(content))
        (self.folder / "classes1M.pkl").write_bytes(pickle.dumps(self.class_of, 2) + pickle.dumps(self.class_names, 2))


@pytest.fixture
def raw(tmp_path):
    return Raw(tmp_path / "raw")


def run(raw, **options):
    settings = {"short_side": 32, "min_word_count": 1, "min_ingredient_count": 1} | options
    return prepare.run(prepare.Recipe1M(source=raw.folder, out=raw.folder.parent / "data", **settings))


def report(dataset):
    return json.loads((dataset.path / "prepare.json").read_text())


def test_what_is_written_is_what_was_there(raw):
    raw.write()
    dataset = run(raw)
    assert dataset.splits == {"train": 4, "val": 1, "test": 1}
    assert dataset.name == "recipe1m"
    assert dataset.classes == ["background", "soup", "pie"]
    assert report(dataset) == {
        "kept": dataset.splits,
        "dropped": {},
        "unused": {},
        "photos": {"kept": 6, "dropped": {}},
        "leaks": {"count": [], "dropped": False, "found": []},
        "notes": [],
    }
    rows = {row["id"]: row for split in SPLITS for row in dataset.texts(split)}
    assert rows["good3"] == {
        "id": "good3",
        "title": "Title of good3",
        "ingredients": ["1 cup Salt", "2 test eggs"],
        "ingredient_names": ["salt", "test-eggs"],
        "instructions": ["Mix well.", "Serve."],
        "class_id": 0,
    }
    assert {recipe: row["class_id"] for recipe, row in rows.items()} == {f"good{i}": i % 3 for i in range(6)}


def test_ids_that_the_authors_took_back_are_dropped(raw):
    raw.write()
    (raw.folder / "remove1M.txt").write_text("good0\nnone of these\n")
    dataset = run(raw)
    assert dataset.splits == {"train": 3, "val": 1, "test": 1}
    assert report(dataset)["dropped"] == {"listed in remove1M.txt": {"count": 1, "first": ["good0"]}}


def test_recipes_to_train_on_are_kept_without_photos_on_request(raw):
    raw.add("alone", photos={})
    raw.add("unlisted")
    raw.layer2 = [entry for entry in raw.layer2 if entry["id"] != "unlisted"]
    raw.add("lost", photos={"abcdlost.jpg": None})
    raw.add("tested", "test", photos={})
    raw.add("empty", photos={}, ingredients=[])
    raw.add("same", photos={}, title="Title of good0")  # as one to train on: no leak
    raw.add("copy", photos={}, title="Title of good3", ingredients=raw.layer1[3]["ingredients"])
    raw.write()
    without = {"photo file missing": 1, "no photo listed": 5, "no photo: not in layer2.json": 1}
    dropped = report(run(raw))["dropped"]
    assert {reason: found["count"] for reason, found in dropped.items()} == without
    dataset = run(raw, keep_without_photos=True, overwrite=True)
    assert dataset.splits == {"train": 4, "val": 1, "test": 1, "without_photos": 4}
    rows = {row["id"]: row for row in dataset.texts("without_photos")}
    assert set(rows) == {"alone", "unlisted", "same", "copy"}
    assert rows["unlisted"]["ingredient_names"] == ["salt", "train-eggs"]
    assert "unlisted" in dataset.words
    dropped = {reason: found["first"] for reason, found in report(dataset)["dropped"].items()}
    assert dropped == {"no photo listed": ["tested"], "no ingredients": ["empty"], "photo file missing": ["lost"]}
    (leak,) = report(dataset)["leaks"]["found"]
    assert (leak["split"], leak["id"], leak["other_id"], leak["what"]) == ("without_photos", "copy", "good3", "recipe")


def test_leaks_between_splits_are_dropped_on_request(raw):
    smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((70, 50))
    photos = []
    for quality in (95, 50):
        buffer = io.BytesIO()
        smooth.save(buffer, "JPEG", quality=quality)
        photos.append(buffer.getvalue())
    raw.add("first", "test", {"abcdfirst.jpg": photos[0]})
    raw.add("again", "train", {"abcdagain.jpg": photos[1]})
    raw.write()
    kept = run(raw)
    (leak,) = report(kept)["leaks"]["found"]
    assert leak.pop("bits") <= 4
    assert leak == {"split": "train", "id": "again", "other_split": "test", "other_id": "first", "what": "photo"}
    assert kept.splits["train"] == 5
    assert run(raw, drop_leaks=True, overwrite=True).splits == {"train": 4, "val": 1, "test": 2}


def test_vocabularies_come_from_the_train_split_only(raw):
    raw.write()
    dataset = run(raw)
    # "val" and "test" stand in the ingredient lines of those splits only
    everywhere = ["1", "cup", "eggs", "good", "mix", "of", "salt", "serve", "title", "train", "well"]
    assert dataset.words == ["2", *everywhere, "0", "4", "5"]  # titles are "Title good0", "… good2", …
    assert dataset.ingredients == ["salt", "train eggs"]
    assert (dataset.path / "vocabulary" / "ingredients.txt").read_bytes() == b"salt\ntrain eggs\n"


def test_vocabulary_limits(raw):
    raw.write()
    dataset = run(raw, min_word_count=2, max_words=3, max_ingredients=1)
    assert dataset.words == ["2", "1", "cup"]
    assert dataset.ingredients == ["salt"]


@pytest.mark.parametrize("photos", ["images/{split}", "images", "{split}", ""])
@pytest.mark.parametrize("layer2", ["layer2.json", "layer2+.json"])
def test_photo_folders_and_file_names(tmp_path, photos, layer2):
    raw = Raw(tmp_path / "raw", photos)
    raw.write(layer2)
    if layer2 == "layer2+.json":
        (raw.folder / "layer2.json").write_text("[]")  # not read: the bigger list is preferred
    source = recipe1m.Recipe1M(raw.folder)
    source.scan()
    assert [record.id for record in source.records("train")] == ["good0", "good2", "good4", "good5"]
    assert source.dropped.by_reason == {}


BAD = {
    "no ingredients": lambda raw: raw.add("bad", ingredients=[]),
    "no ingredients ": lambda raw: raw.add("bad", ingredients=[{"text": " --- "}, {"txt": "x"}, "salt"]),
    "no ingredients  ": lambda raw: raw.add("bad", ingredients=...),
    "no instructions": lambda raw: raw.add("bad", instructions=[{"text": ""}]),
    "no instructions ": lambda raw: raw.add("bad", instructions="Mix"),
    "unknown partition": lambda raw: raw.add("bad", partition="dev", photos={}),
    "no photo listed": lambda raw: raw.add("bad", photos={}),
    "photo file missing": lambda raw: raw.add("bad", photos={"gone.jpg": None}),
    "photo file missing ": lambda raw: raw.add("bad", photos={"x" * 300 + ".jpg": None}),
    "unreadable photo": lambda raw: raw.add("bad", photos={"text.jpg": b"This is no photo."}),
    "unreadable photo ": lambda raw: raw.add("bad", photos={"half.jpg": jpeg(200, 200)[:9000]}),
    "unreadable photo  ": lambda raw: raw.add("bad", photos={"empty.jpg": b""}),
    "photo too large": lambda raw: raw.add("bad", photos={"huge.jpg": with_header_size(jpeg(), 20_000, 20_000)}),
    "photo too large ": lambda raw: raw.add("bad", photos={"huge.jpg": with_header_size(jpeg(), 8_001, 8_000)}),
    "no det_ingrs.json entry": lambda raw: (raw.add("bad"), raw.names.pop()),
    "no valid ingredient name": lambda raw: (raw.add("bad"), raw.names[-1].update(valid=[False] * 3)),
    "no photo: not in layer2.json": lambda raw: (raw.add("bad"), raw.layer2.pop()),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_recipe_is_dropped_and_counted(raw, reason, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    BAD[reason](raw)
    raw.write()
    dataset = run(raw)
    assert dataset.splits == {"train": 4, "val": 1, "test": 1}
    assert report(dataset)["dropped"] == {reason.strip(): {"count": 1, "first": ["bad"]}}
    table = capsys.readouterr().out
    assert re.search(rf"dropped: {re.escape(reason.strip())} +│ 1 +│ bad ", table)
    assert "bad" not in dataset.words


@pytest.mark.parametrize(
    "name", ["../../x", "..", "[/red]", ".hidden", "/etc/passwd", "a\\b", "C:x", "a\nb", "a\0b", ""]
)
def test_unsafe_ids(raw, name):
    raw.add("fine")
    for entries in (raw.layer1, raw.layer2, raw.names):
        entries[-1]["id"] = name
    raw.write()
    drops = report(run(raw))["dropped"]
    assert list(drops) == ["unsafe id"]
    assert drops["unsafe id"]["count"] == 1


def test_unsafe_photo_names_are_never_opened(raw):
    outside = raw.folder.parent / "secret.jpg"
    outside.write_bytes(jpeg())
    raw.add("bad", photos={})
    raw.layer2[-1]["images"] = [
        {"id": "../../../../../../../secret.jpg"},
        {"id": str(outside)},
        {"id": 7},
        "x",
        {"id": "a.j"},
    ]
    raw.write()
    content = report(run(raw))
    assert content["dropped"] == {"no photo listed": {"count": 1, "first": ["bad"]}}
    assert content["photos"]["dropped"]["unsafe photo name"]["count"] == 4


def test_duplicate_ids_keep_the_first(raw):
    raw.layer1.append(raw.layer1[0] | {"partition": "test", "title": "second"})
    raw.layer2.append({"id": "good0", "images": []})
    raw.write()
    dataset = run(raw)
    assert dataset.splits == {"train": 4, "val": 1, "test": 1}
    assert report(dataset)["dropped"] == {"duplicate id": {"count": 1, "first": ["good0"]}}
    assert report(dataset)["unused"] == {"duplicate id in layer2.json": {"count": 1, "first": ["good0"]}}


def test_ids_that_layer1_lacks_and_malformed_entries(raw):
    raw.layer2 += [{"id": f"ghost{i}", "images": []} for i in range(7)] + ["x", {"id": [1], "images": []}]
    raw.layer1 += [17, {"id": 5}]
    raw.names += [None, {"id": ["x"]}, {"id": "good0", "valid": [True]}]
    raw.write()
    dataset = run(raw)
    assert dataset.splits == {"train": 4, "val": 1, "test": 1}
    assert report(dataset)["dropped"] == {"malformed entry of layer1.json": {"count": 2, "first": ["None", "5"]}}
    assert report(dataset)["unused"] == {
        "in layer2.json but not in layer1.json": {"count": 7, "first": [f"ghost{i}" for i in range(5)]},
        "malformed entry of layer2.json": {"count": 2, "first": ["None", "[1]"]},
        "malformed entry of det_ingrs.json": {"count": 2, "first": ["None", "['x']"]},
        "duplicate id in det_ingrs.json": {"count": 1, "first": ["good0"]},
    }


def test_a_recipe_is_counted_once_whatever_is_wrong_in_which_file(raw, capsys):
    """Every recipe of layer1.json is kept or dropped for one reason, and so are the table's sums."""
    for change in BAD.values():
        change(raw)
    for index, entries in enumerate([raw.layer1, raw.layer2, raw.names, raw.names, raw.layer2]):
        raw.add(f"wrong{index}")
        entries[-1].update({"ingredients": 7, "images": 7, "valid": "yes"})
    raw.write()
    dataset = run(raw)
    drops = report(dataset)["dropped"]
    assert sum(dataset.splits.values()) + sum(drop["count"] for drop in drops.values()) == len(raw.layer1)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_before_each_file_is_skipped(raw, mark):
    raw.write()
    for path in raw.folder.glob("*.json"):
        path.write_bytes(mark + path.read_bytes())
    assert run(raw).splits == {"train": 4, "val": 1, "test": 1}


@pytest.mark.parametrize("name", ["layer1.json", "layer2.json", "det_ingrs.json"])
def test_json_nested_without_end_is_refused(raw, name):
    raw.write()
    (raw.folder / name).write_bytes(b'[{"id": ' + b"[" * 200_000)
    with pytest.raises(ValueError, match=f"{name}: expected a JSON list of objects; .*nested more than"):
        run(raw)


def test_control_characters_are_escaped_where_names_are_shown_and_kept(raw, capsys):
    raw.class_names[1] = "soup\x1b[2J\x9b"
    raw.add("bad\x1b[31m", ingredients=[])
    raw.write()
    dataset = run(raw)
    assert dataset.classes == ["background", "soup\\x1b[2J\\x9b", "pie"]
    assert report(dataset)["dropped"] == {"unsafe id": {"count": 1, "first": ["bad\\x1b[31m"]}}
    assert "\x1b[31m" not in capsys.readouterr().out


def test_first_five_readable_photos_are_kept(raw):
    photos = {f"many{i}.jpg": jpeg(20, 20, seed=i) for i in range(8)}
    photos["many1.jpg"] = b"no photo"
    raw.add("many", photos=photos)
    raw.write()
    dataset = run(raw)
    examples = tfds.builder_from_directory(dataset.path / "recipes" / "1.0.0").as_dataset(split="train")
    stored = next(e["images"].numpy().tolist() for e in examples if e["id"] == b"many")
    assert stored == [photos[f"many{i}.jpg"] for i in (0, 2, 3, 4, 5)]
    content = report(dataset)
    assert content["dropped"] == {}
    assert content["photos"] == {
        "kept": 11,
        "dropped": {"unreadable photo": {"count": 1, "first": ["many/many1.jpg"]}},
    }


def test_photo_is_reduced_to_the_short_side_and_never_enlarged(tmp_path):
    path = tmp_path / "photo.jpg"
    for shape, size in [((90, 120), (43, 32)), ((120, 90), (32, 43)), ((400, 400), (32, 32)), ((32, 90), (90, 32))]:
        path.write_bytes(jpeg(*shape))
        assert Image.open(io.BytesIO(recipe1m.load_photo(path, 32))).size == size
    small = jpeg(20, 30)
    path.write_bytes(small)
    assert recipe1m.load_photo(path, 32) == small
    path.write_bytes(small + b"appended")
    assert b"appended" not in recipe1m.load_photo(path, 32)


def test_photos_come_out_upright_rgb_jpeg(tmp_path):
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, :15] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise: the white half comes on top
    path = tmp_path / "turned.jpg"
    Image.fromarray(array).save(path, quality=95, exif=exif)
    upright = np.asarray(Image.open(io.BytesIO(recipe1m.load_photo(path, 64))))
    assert upright.shape == (30, 20, 3)
    assert upright[:12].mean() > 240
    assert upright[18:].mean() < 15
    for name, mode, kind in [("a.jpg", "CMYK", "JPEG"), ("b.jpg", "P", "GIF"), ("c.jpg", "RGBA", "PNG")]:
        Image.fromarray(array).convert(mode).save(tmp_path / name, kind)
        decoded = Image.open(io.BytesIO(recipe1m.load_photo(tmp_path / name, 64)))
        assert (decoded.format, decoded.mode, decoded.size) == ("JPEG", "RGB", (30, 20))
        assert np.asarray(decoded)[:, :12].mean() > 240


def test_sixteen_bits_of_grey_become_eight(tmp_path):
    """Cut at 255 instead, all but the darkest 1/256 would be white."""
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((20, 30), 0x8000, np.uint16)).save(path)
    decoded = np.asarray(Image.open(io.BytesIO(recipe1m.load_photo(path, 64))))
    np.testing.assert_allclose(decoded, np.full((20, 30, 3), 128), atol=1)


def test_huge_photo_is_refused_without_decoding(tmp_path, monkeypatch):
    path = tmp_path / "huge.jpg"
    path.write_bytes(with_header_size(jpeg(), 20_000, 20_000))
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: decoded.append(self.size))
    with pytest.raises(recipe1m.PhotoError, match=r"^photo too large$"):
        recipe1m.load_photo(path, 32)
    assert decoded == []


def test_without_classes_everything_is_background(raw):
    raw.write()
    (raw.folder / "classes1M.pkl").unlink()
    dataset = run(raw)
    assert dataset.classes == ["background"]
    assert {row["class_id"] for row in dataset.texts("train")} == {0}
    assert "classes1M.pkl" in report(dataset)["notes"][0]


def test_class_numbers_without_a_name(raw):
    raw.class_of["good5"] = 4
    raw.class_names[1] = "two\nlines"
    raw.write()
    assert run(raw).classes == ["background", "two lines", "pie", "class 3", "class 4"]


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return subprocess.call, (["touch", self.path],)


def test_pickle_with_code_is_refused(raw):
    marker = raw.folder.parent / "ran"
    raw.class_of["good0"] = RunsCode(str(marker))
    raw.write()
    with pytest.raises(ValueError, match=r"classes1M\.pkl.*it names (subprocess|commands)\.call"):
        run(raw)
    assert not marker.exists()


@pytest.mark.parametrize("content", [({}, []), ({"a": "1"}, {}), ({}, {-1: "x"}), ({"a": 10**9}, {})])
def test_pickle_of_something_else_is_refused(raw, content):
    raw.write()
    (raw.folder / "classes1M.pkl").write_bytes(b"".join(map(pickle.dumps, content)))
    with pytest.raises(ValueError, match=r"classes1M\.pkl: expected"):
        run(raw)


@pytest.mark.parametrize("name", ["layer1.json", "layer2.json", "det_ingrs.json"])
@pytest.mark.parametrize("content", ["[]", "{}", '[{"id": "x"}, {"i', "no json"])
def test_damaged_json_is_named(raw, name, content):
    raw.write()
    (raw.folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}: expected a JSON list of objects"):
        run(raw)
    assert not (raw.folder.parent / "data").exists()


def test_missing_file_is_named(raw):
    raw.write()
    (raw.folder / "layer2.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a file layer2\+\.json or layer2\.json"):
        run(raw)


def test_layer1_is_streamed(tmp_path):
    path = tmp_path / "layer1.json"
    path.write_text("[" + '{"id": "x"},' * 100_000 + "damaged")
    stream = recipe1m._stream(path)
    assert [next(stream) for _ in range(3)] == [{"id": "x"}] * 3  # the end, which fails, has not been read
    with pytest.raises(ValueError, match=r"layer1\.json"):
        list(stream)


@pytest.mark.parametrize("split", SPLITS)
def test_empty_split_is_an_error_and_leaves_nothing(raw, split, capsys):
    for entry in raw.layer1:
        if entry["partition"] == split:
            entry["ingredients"] = []
    raw.write()
    with pytest.raises(builder.EmptySplitError, match=f"^split '{split}': expected at least one usable"):
        run(raw)
    assert "no ingredients" in capsys.readouterr().out
    assert sorted(os.listdir(raw.folder.parent)) == ["raw"]


def test_existing_output_is_replaced_only_when_asked(raw):
    raw.write()
    before = run(raw)
    with pytest.raises(FileExistsError, match="exists already"):
        run(raw)
    after = run(raw, overwrite=True, max_words=2)
    assert (len(before.words), len(after.words)) == (15, 2)
    assert sorted(os.listdir(raw.folder.parent)) == ["data", "raw"]


def test_overwrite_spares_other_folders(raw):
    raw.write()
    precious = raw.folder.parent / "data" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(FileExistsError, match="replaces prepared datasets only"):
        run(raw, overwrite=True)
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    "failure",
    [
        tf.errors.ResourceExhaustedError(None, None, "f; No space left on device"),
        OSError(28, "No space left on device"),
    ],
)
def test_full_disk_is_one_sentence_and_leaves_nothing(raw, monkeypatch, failure):
    raw.write()

    def write(self, path, examples):
        pathlib.Path(path).write_bytes(b"half a file")
        raise failure

    monkeypatch.setattr(examples._CanonicalWriter, "write", write)
    with pytest.raises(OSError, match="No space left on device"):
        run(raw)
    assert sorted(os.listdir(raw.folder.parent)) == ["raw"]


def test_unwritable_output(raw):
    raw.write()
    (raw.folder.parent / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        prepare.run(prepare.Recipe1M(source=raw.folder, out=raw.folder.parent / "file" / "data"))


def test_same_input_gives_same_bytes(raw):
    raw.write()

    def contents(dataset):
        return {
            str(path.relative_to(dataset.path)): path.read_bytes() for path in dataset.path.rglob("*") if path.is_file()
        }

    first = contents(run(raw))
    assert contents(run(raw, overwrite=True)) == first
    # Serialization that only happens to agree within a process would not be in protobuf's canonical form.
    records = [name for name in first if "tfrecord" in name]
    assert len(records) == 3
    for name in records:
        for record in tf.data.TFRecordDataset(str(raw.folder.parent / "data" / name)).as_numpy_iterator():
            assert tf.train.Example.FromString(record).SerializeToString(deterministic=True) == record


def write_vectors(path, ids=tuple(f"good{i}" for i in range(5)), lengths=(2, 1, 3, 2, 2), **changes):
    rows = np.random.default_rng(0).normal(size=(sum(lengths), 4)).astype(np.float32)
    with h5py.File(path, "w") as file:
        content = {"ids": ids, "offsets": np.cumsum([0, *lengths]), "vectors": rows} | changes
        for name, value in content.items():
            if value is not None:
                file[name] = list(value) if name == "ids" else value
    return rows


def test_sentence_vectors_are_stored_with_their_recipes(raw):
    raw.write()
    rows = write_vectors(raw.folder / "sentences.h5", lengths=(2, 1, 3, 2, 0))
    dataset = run(raw, sentence_vectors=raw.folder / "sentences.h5")
    assert dataset.instruction_vectors == 4
    assert report(dataset)["dropped"] == {"no sentence vectors": {"count": 2, "first": ["good4", "good5"]}}
    examples = tfds.builder_from_directory(dataset.path / "recipes" / "1.0.0").as_dataset(split="train")
    stored = {e["id"].numpy().decode(): e["instruction_vectors"].numpy() for e in examples}
    assert sorted(stored) == ["good0", "good2"]
    np.testing.assert_array_equal(stored["good0"], rows[0:2])
    np.testing.assert_array_equal(stored["good2"], rows[3:6])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": [0, 1]}, "offsets: expected 6 numbers"),
        ({"offsets": [0, 5, 4, 6, 8, 10]}, "offsets: expected"),
        ({"vectors": np.zeros(10)}, "vectors: expected shape"),
        ({"ids": ["a"] * 5}, "ids: expected each recipe once"),
        ({"ids": None}, "ids is missing"),
        ({"vectors": np.full((10, 4), np.nan, np.float32)}, "recipe good0: expected finite"),
    ],
)
def test_damaged_sentence_vectors_are_refused(tmp_path, changes, message):
    path = tmp_path / "sentences.h5"
    write_vectors(path, **changes)
    with pytest.raises(ValueError, match=message):
        _ = vectors.SentenceVectors(path)["good0"]


def test_text_file_as_sentence_vectors(tmp_path):
    path = tmp_path / "sentences.h5"
    path.write_text("hello")
    with pytest.raises(OSError, match="expected an HDF5 file"):
        vectors.SentenceVectors(path)


def test_kitchen_is_prepared(tmp_path):
    dataset = prepare.run(prepare.Kitchen(out=tmp_path / "kitchen", pairs=20, size=64))
    assert dataset.splits == {"train": 16, "val": 2, "test": 2}
    assert dataset.name == "kitchen"
    assert dataset.classes[0] == "background"
    assert all(Image.open(io.BytesIO(photo)).size == (64, 64) for photo in dataset.photos("val"))


@pytest.mark.parametrize("arguments", [["recipe1m"], ["kitchen", "--out", "x", "--pairs", "0"], ["soup"]])
def test_wrong_arguments_exit_with_2(arguments):
    with pytest.raises(SystemExit) as error:
        prepare.main(arguments)
    assert error.value.code == 2


def test_real_recipes():
    shared = pathlib.Path(os.environ.get("KFOOD_SHARED", pathlib.Path(__file__).parents[2] / "shared"))
    source = shared / "data" / "recipes"
    if not source.is_dir():
        pytest.skip(f"no real recipes at {source}")
    raw = recipe1m.Recipe1M(source)
    raw.scan()
    assert raw.candidates == {"train": 900, "val": 100, "test": 300}
    records = list(raw.records("val"))
    assert len(records) == 100
    assert all(min(Image.open(io.BytesIO(record.photos[0])).size) == 256 for record in records)
    assert sum(record.class_id != 0 for record in records) > 50
    assert raw.dropped.by_reason == {}


def test_open_dataset_refuses_what_it_did_not_write(raw):
    with pytest.raises(FileNotFoundError, match=r"expected a folder made by `kfood prepare`"):
        open_dataset(raw.folder)
