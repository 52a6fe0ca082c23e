"""Labelled photos: sources, class-disjoint splits, the prepared folder, and batches of classes × samples."""

import collections
import io
import json
import os
import tarfile
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from kfood import schema
from kfood.data import images, labelled, pipeline
from kfood.data.dataset import open_dataset
from kfood.tools.main import main

SIDE = 24
CLASSES = ["1", "10", "100", "2", "20", "3"]
"""Folder names in string order."""

TRAIN_CLASSES = 4


def photo(class_id, index):
    """A picture that tells its class (red) and its place in the class (green)."""
    array = np.empty((SIDE, SIDE, 3), np.uint8)
    array[..., 0] = 30 * class_id + 20
    array[..., 1] = 8 * index + 20
    array[..., 2] = np.linspace(0, 250, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def size(class_id):
    return 10 + 2 * class_id


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Class folders under images/, with a damaged photo, a text file, a system's file, and a picture elsewhere."""
    folder = tmp_path_factory.mktemp("raw") / "set"
    for class_id, name in enumerate(CLASSES):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(size(class_id)):
            (folder / "images" / name / f"{index}.jpg").write_bytes(photo(class_id, index))
    (folder / "images" / "10" / "broken.jpg").write_bytes(photo(1, 0)[:300])
    (folder / "images" / "10" / "notes.txt").write_text("no picture")
    (folder / "images" / "10" / "._0.jpg").write_bytes(b"of a Mac")
    (folder / "docs" / "figures").mkdir(parents=True)
    (folder / "docs" / "figures" / "logo.png").write_bytes(photo(0, 0))
    return folder


@pytest.fixture(scope="module")
def data(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "data"
    arguments = [
        "--source",
        str(source),
        "--out",
        str(out),
        "--train-classes",
        str(TRAIN_CLASSES),
        "--val-share",
        "0.2",
    ]
    assert main(["prepare", "labelled", *arguments]) == 0
    return out


@pytest.fixture(scope="module")
def dataset(data):
    return open_dataset(data, "labelled")


def everything(dataset, split):
    """id → class id."""
    batches = pipeline.photo_batches(dataset, split, schema.PhotoSpec(16), 7, training=False).as_numpy_iterator()
    rows = [(name.decode(), int(c)) for b in batches for name, c in zip(b["id"], b["class_id"], strict=True)]
    assert len(rows) == len(dict(rows)) == dataset.size(split)
    return dict(rows)


def test_classes_are_split_in_string_order_and_photos_are_held_out(dataset):
    assert dataset.classes == CLASSES
    assert dataset.train_classes == TRAIN_CLASSES
    splits = {split: everything(dataset, split) for split in ("train", "val", "test")}
    assert set(splits["train"].values()) == set(splits["val"].values()) == set(range(TRAIN_CLASSES))
    assert set(splits["test"].values()) == {4, 5}
    together = splits["train"] | splits["val"] | splits["test"]
    assert len(together) == sum(map(len, splits.values())) == sum(map(size, range(6)))
    for name, class_id in together.items():
        assert name.split("/")[0] == CLASSES[class_id]
    counts = collections.Counter(splits["val"].values())
    assert all(abs(counts[c] - 0.2 * size(c)) <= 1 for c in range(TRAIN_CLASSES))


def test_what_is_left_out_is_counted_and_named(data):
    report = json.loads((data / "prepare.json").read_text())
    assert report["dropped"] == {
        "no picture by its name": {"count": 1, "first": ["images/10/notes.txt"]},
        "unreadable photo": {"count": 1, "first": ["10/broken.jpg"]},
    }
    assert json.loads((data / "dataset.json").read_text())["kind"] == "labelled"


def test_labels_lie_in_disk_order(dataset):
    for split in dataset.splits:
        examples = list(tfds.builder_from_directory(dataset.path / "photos" / "1.0.0").as_dataset(split=split))
        assert dataset.labels(split).tolist() == [int(example["class_id"]) for example in examples]
        names = list(everything(dataset, split))
        assert names == [example["id"].numpy().decode() for example in examples]
        class_name, file = names[3].split("/")
        assert dataset.photo(split, 3) == photo(CLASSES.index(class_name), int(file.removesuffix(".jpg")))


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_an_archive_gives_what_the_folder_gives(source, dataset, tmp_path, compression):
    archive = tmp_path / "set.tar"
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(source, "set")
        tar.add(source / "images" / "1" / "0.jpg", "set/images/1/0.jpg")  # again
    files = labelled.Files(archive)
    photos = labelled.LabelledPhotos(files, train_classes=TRAIN_CLASSES, val_share=0.2)
    for split in dataset.splits:
        records = list(photos.records(split))
        assert {record.id: record.class_id for record in records} == everything(dataset, split)
    assert set(photos.dropped.by_reason) == {"no picture by its name", "unreadable photo", "twice in the archive"}


def test_pipes_devices_and_dangling_links_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "set" / "images"
    for name in ("leek", "soup"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.jpg").write_bytes(photo(0, 0))
    os.mkfifo(folder / "leek" / "0.jpg")
    (folder / "soup" / "2.jpg").symlink_to("/dev/zero")
    (folder / "soup" / "3.jpg").symlink_to("nowhere")
    (folder / "soup" / "4.jpg").symlink_to("1.jpg")
    found = labelled.Files(folder.parent)
    assert found.dropped.by_reason["no regular file"]["count"] == 3
    assert list(found.items) == ["leek/1.jpg", "soup/1.jpg", "soup/4.jpg"]
    assert [name for name, _ in found.read(lambda name: True)] == list(found.items)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder.parent, "set")
    packed = labelled.Files(tmp_path / "set.tar")
    assert packed.dropped.by_reason["no regular file"]["count"] == 4
    assert [name for name, _ in packed.read(lambda name: True)] == ["leek/1.jpg", "soup/1.jpg"]


def add(tar, name, content, **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))


def test_a_large_member_of_an_archive_stays_unread(tmp_path, monkeypatch):
    """And so does a large file that is no photo by its name."""
    archive, most = tmp_path / "set.tar.gz", 4_000_000
    monkeypatch.setattr(labelled, "MAX_BYTES", 40_000_000)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for class_id, name in enumerate("ab"):
            add(tar, f"images/{name}/0.jpg", photo(class_id, 0))
        add(tar, "images/a/bomb.jpg", bytes(labelled.MAX_BYTES + 1))
        add(tar, "images/bomb.txt", bytes(labelled.MAX_BYTES))
    tracemalloc.start()
    source = labelled.Files(archive)
    assert [name for name, content in source.read(lambda name: True) if content] == ["a/0.jpg", "b/0.jpg"]
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()
    assert source.dropped.by_reason["file too large"] == {"count": 1, "first": ["images/a/bomb.jpg"]}


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_does_not_describe_a_member_at_any_length(tmp_path, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        add(tar, "images/a/0.jpg", photo(0, 0))
        add(tar, "long", b"x" * 1_000_001, type=kind)
    with pytest.raises(ValueError, match=r"set\.tar: expected .* archive \(a header of 1,000,001 bytes"):
        labelled.Files(tmp_path / "set.tar")


def test_bad_sources_are_refused_in_one_sentence(source, dataset, tmp_path, capsys):
    out = str(tmp_path / "out")
    cut, empty, flat = tmp_path / "cut.tar.gz", tmp_path / "empty", tmp_path / "flat"
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        tar.add(source, "set")
    cut.write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:5000])
    empty.mkdir()
    beside, pipes = tmp_path / "beside", tmp_path / "pipes"
    beside.mkdir()
    (beside / "1.jpg").write_bytes(photo(0, 0))
    (pipes / "images" / "soup").mkdir(parents=True)
    os.mkfifo(pipes / "images" / "soup" / "1.jpg")
    (pipes / "images" / "soup" / "a:b.jpg").write_bytes(photo(0, 0))
    (pipes / "images" / "soup" / os.fsdecode(b"cr\xe8me.jpg")).write_bytes(photo(0, 0))
    for name in ("a/x/1.jpg", "b/y/1.jpg"):
        (flat / name).parent.mkdir(parents=True)
        (flat / name).write_bytes(photo(0, 0))
    for arguments, message in (
        (["--source", str(tmp_path / "none")], "expected a folder or a tar archive"),
        (["--source", str(cut)], "a whole tar archive"),
        (["--source", str(empty)], "received no photo"),
        (["--source", str(flat)], "several folders of class folders"),
        (["--source", str(beside)], "photos beside each other in no class folder, 1.jpg first"),
        (["--source", str(pipes)], "no regular file: 1 (images/soup/1.jpg), unsafe name: 1 (images/soup/a:b.jpg), "),
        (["--source", str(pipes)], "name that is not UTF-8: 1 (images/soup/cr\\udce8me.jpg)"),
        (["--source", str(pipes / "images" / "soup" / "1.jpg")], "which is neither"),
        (["--source", str(source)], "no known data set has 6 classes"),
        (["--source", str(source), "--train-classes", "7"], "expected from 1 to 6"),
        (["--source", str(source), "--tfds", "sop"], "expected one of --source and --tfds"),
        (["--tfds", "vireo-172"], "expected one of food-101, cub-200-2011, cars196, sop"),
    ):
        assert main(["prepare", "labelled", "--out", out, *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_kind_is_not_taken_for_the_other(data, kitchen, tmp_path, capsys):
    for model, folder, message in (
        ("acme", data, "expected a dataset of recipes with photos, received one of labelled photos"),
        ("alpha_gao", kitchen, "expected a dataset of labelled photos, received one of recipes with photos"),
    ):
        assert main(["train", model, "--data", str(folder), "--run", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err


def test_all_classes_may_be_trained_on(source, tmp_path, capsys):
    """Then there is no test split: prepare says so, and what asks for one is refused."""
    out = tmp_path / "out"
    arguments = ["--source", str(source), "--out", str(out), "--train-classes", str(len(CLASSES)), "--val-share", "0.2"]
    assert main(["prepare", "labelled", *arguments]) == 0
    assert "6 classes to train on, none to test on: no test split." in " ".join(capsys.readouterr().out.split())
    dataset = open_dataset(out, "labelled")
    assert list(dataset.splits) == ["train", "val"]
    assert set(everything(dataset, "train").values()) == set(range(6))
    assert sum(dataset.splits.values()) == sum(map(size, range(6)))
    assert main(["bench-losses", "--data", str(out), "--out", str(tmp_path / "losses")]) == 2
    assert "split: expected one of train, val, received 'test'" in capsys.readouterr().err


@pytest.mark.parametrize("train_classes", [(), ("--train-classes", "50")])
def test_a_known_number_of_classes_is_said(tmp_path, capsys, train_classes):
    """A set of one's own that happens to have as many classes as a known one is not split as it in silence."""
    for class_id in range(101):
        (tmp_path / "raw" / f"{class_id:03}").mkdir(parents=True)
        for index in range(6):
            (tmp_path / "raw" / f"{class_id:03}" / f"{index}.jpg").write_bytes(photo(class_id % 7, index))
    arguments = ["--source", str(tmp_path / "raw"), "--out", str(tmp_path / "data"), *train_classes]
    assert main(["prepare", "labelled", *arguments]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "101 classes, as many as food-101 has: taken for it" in printed
    assert ("and split as the paper splits it" in printed) == (not train_classes)
    assert open_dataset(tmp_path / "data", "labelled").train_classes == (50 if train_classes else 70)


class _Builder(tfds.core.GeneratorBasedBuilder):
    """Stands for TFDS's own builders: two splits, encoded pictures, classes of their features."""

    VERSION = tfds.core.Version("1.0.0")
    CLASSES: dict = {}  # noqa: RUF012

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), **self.CLASSES})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 8), "test": self._generate_examples(8, 15)}

    def _generate_examples(self, first, end):
        for index in range(first, end):
            yield index, {"image": io.BytesIO(photo(index % 3, index)), **self._class(index % 3)}


class _Cars(_Builder):
    """Labels with names, as Food-101 and Cars196 have them."""

    CLASSES = {"label": tfds.features.ClassLabel(names=["b", "a", "c d"])}  # noqa: RUF012

    def _class(self, class_id):
        return {"label": class_id}


class _Birds(_Builder):
    """Names beside labels that are numbers, as CUB-200-2011 has them."""

    CLASSES = {"label": tfds.features.ClassLabel(num_classes=3), "label_name": tfds.features.Text()}  # noqa: RUF012

    def _class(self, class_id):
        return {"label": class_id, "label_name": ["black_tern", "bobolink", "barn_swallow"][class_id]}


class _Products(_Builder):
    """Kinds that many classes share, as SOP has them; its last class has no photo."""

    CLASSES = {  # noqa: RUF012
        "class_id": tfds.features.ClassLabel(num_classes=4),
        "super_class_id/num": tfds.features.ClassLabel(num_classes=2),
        "super_class_id": tfds.features.ClassLabel(names=["sofa", "mug"]),
    }

    def _class(self, class_id):
        kind = int(class_id == 1)
        return {"class_id": class_id, "super_class_id/num": kind, "super_class_id": kind}


@pytest.mark.parametrize(
    ("name", "builder", "classes"),
    [
        ("cars196", _Cars, ["b", "a", "c d"]),
        ("cub-200-2011", _Birds, ["black_tern", "bobolink", "barn_swallow"]),
        ("sop", _Products, ["sofa 0", "mug", "sofa 2", "3"]),
    ],
)
def test_classes_of_a_tfds_builder_have_their_names(tmp_path, name, builder, classes):
    source = labelled.Ready(name, builder(data_dir=str(tmp_path)))
    assert source.classes == classes
    assert list(source.items.values()) == [*(i % 3 for i in range(8, 15)), *(i % 3 for i in range(8))]


def test_known_names_are_features_of_tfds_builders():
    """What :data:`KNOWN` names of TFDS's builders is there, in the installed version, without downloading anything."""
    for known in labelled.KNOWN.values():
        if known.tfds:
            features = tfds.builder(known.tfds).info.features
            assert features[known.label].num_classes == known.classes
            assert not known.named or known.named in features


def test_a_tfds_builder_is_read_whole_and_undecoded(tmp_path):
    source = labelled.Ready("cub-200-2011", _Birds(data_dir=str(tmp_path)))
    assert list(source.items.values()) == [*(i % 3 for i in range(8, 15)), *(i % 3 for i in range(8))]
    photos = labelled.LabelledPhotos(source, train_classes=2, val_share=0.4)
    records = [record for split in ("train", "val", "test") for record in photos.records(split)]
    assert len({record.id for record in records}) == len(records) == 15
    for record in records:
        split, index = record.id.split("/")
        place = int(index) + (8 if split == "test" else 0)
        assert record.photo == photo(place % 3, place)
        assert record.class_id == place % 3


def test_held_out_passes_on_what_is_too_little():
    classes = [[f"{c}-{i}" for i in range(5)] for c in range(20)]
    held = labelled.held_out(classes, 0.1)
    assert len(held) == 10
    assert set(collections.Counter(name.split("-")[0] for name in held).values()) == {2}
    assert labelled.held_out([["a"], ["b", "c", "d"], ["e", "f", "g", "h"]], 0.9) == {"f", "h"}


@pytest.mark.parametrize("size", [3, 4, 5])
def test_a_class_keeps_a_pair_to_learn_from(size):
    """Small classes as of Stanford Online Products: of three photos none is held out, or their pair is one photo."""
    classes = [[f"{c}-{i}" for i in range(size)] for c in range(60)]
    held = labelled.held_out(classes, 0.25)
    left = [sum(name not in held for name in names) for names in classes]
    assert min(left) == min(size, 2 if size > 3 else 3)
    assert bool(held) == (size > 3)


def test_known_splits_are_the_papers():
    found = {name: (known.train_classes, known.classes - known.train_classes) for name, known in labelled.KNOWN.items()}
    assert found == {
        "food-101": (70, 31),
        "vireo-172": (120, 52),
        "isia-500": (350, 150),
        "cub-200-2011": (100, 100),
        "cars196": (98, 98),
        "sop": (11_318, 11_316),
    }


def test_a_batch_holds_classes_times_samples(dataset):
    labels = dataset.labels("train")
    rows = pipeline.class_batches(labels, 50, 6, 2, seed=(0, 0)).reshape(50, 6)
    for batch in rows:
        found = labels[batch].reshape(3, 2)
        assert (found[:, 0] == found[:, 1]).all()
        assert len(set(found[:, 0])) == 3
        assert len(set(batch)) == 6
    # Each of four classes is drawn for a batch with probability 3/4: 37.5 times, give or take 5 deviations of 3.1.
    counts = np.bincount(labels[rows[:, ::2]].ravel())
    assert np.abs(counts - 37.5).max() < 15.5
    for class_id in range(TRAIN_CLASSES):  # no photo again before the others of its class
        own = [row for row in rows.ravel() if labels[row] == class_id]
        members = int((labels == class_id).sum())
        assert len(set(own[: members // 2 * 2])) == members // 2 * 2


def test_small_classes_repeat_their_photos():
    rows = pipeline.class_batches(np.array([3, 3, 3, 7], np.int32), 5, 6, 3, seed=(1,)).reshape(5, 6)
    assert all(sorted(batch) == [0, 1, 2, 3, 3, 3] for batch in rows)


def test_classes_and_photos_drawn_with_repetition():
    """As released: each class of a batch and each of its photos is any one, whatever was drawn before."""
    labels = np.array([0] * 4 + [1] * 8, np.int32)
    rows = pipeline.class_batches(labels, 500, 6, 2, seed=(0,), repetition=True).reshape(500, 3, 2)
    classes = labels[rows]
    assert (classes[..., 0] == classes[..., 1]).all()
    # Of 1,500 fair draws of a class, deviation 19.4; a photo twice: 1/4 and 1/8 of them, 11.9 and 9.1.
    assert abs((classes[..., 0] == 0).sum() - 750) < 5 * 19.4
    twice = rows[..., 0] == rows[..., 1]
    for class_id, size in ((0, 4), (1, 8)):
        own = classes[..., 0] == class_id
        assert abs(twice[own].mean() - 1 / size) < 5 * np.sqrt(1 / size / own.sum())
        assert len(np.unique(rows[own])) == size
    assert len(pipeline.class_batches(labels, 1, 30, 2, seed=(0,), repetition=True)) == 30
    with pytest.raises(ValueError, match="expected a multiple of samples_per_class = 2, received 5"):
        pipeline.class_batches(labels, 1, 5, 2, seed=(0,), repetition=True)


def test_a_stream_with_repetition(dataset):
    spec = schema.PhotoSpec(16, samples_per_class=2, repetition=True)
    stream = pipeline.photo_batches(dataset, "train", spec, 10, training=True, seed=3)
    batches = list(stream.take(20).as_numpy_iterator())
    assert any(len(set(batch["class_id"])) < len(batch["class_id"]) / 2 for batch in batches)
    with pytest.raises(ValueError, match="repetition: expected true or false, received 1"):
        schema.PhotoSpec(16, repetition=1)


def test_batches_that_do_not_fit_are_refused(dataset):
    spec = schema.PhotoSpec(16, samples_per_class=2)
    for batch_size in (5, 10):
        with pytest.raises(ValueError, match="expected a multiple of samples_per_class = 2 up to 8"):
            pipeline.photo_batches(dataset, "train", spec, batch_size, training=True)


def test_a_training_stream_follows_from_seed_and_epoch(dataset):
    spec = schema.PhotoSpec(16, samples_per_class=2)

    def take(count, **options):
        stream = pipeline.photo_batches(dataset, "train", spec, 8, training=True, **options)
        return list(stream.take(count).as_numpy_iterator())

    steps = pipeline.steps_per_epoch(dataset, "train", 8)
    first = take(3 * steps, seed=3)
    tf.random.set_seed(5)
    later = take(steps, seed=3, first_epoch=2)
    for one, two in zip(first[2 * steps :], later, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert first[0]["id"].tolist() != first[steps]["id"].tolist() != take(1, seed=4)[0]["id"].tolist()
    seen = collections.defaultdict(set)
    for batch in first:
        for name, picture, class_id in zip(batch["id"], batch["image"], batch["class_id"], strict=True):
            folder, file = name.decode().split("/")
            assert CLASSES[class_id] == folder
            assert abs(picture[..., 0].mean() - (30 * class_id + 20)) < 3
            assert abs(picture[..., 1].mean() - (8 * int(file.removesuffix(".jpg")) + 20)) < 3
            seen[name].add(picture.tobytes())
    assert max(map(len, seen.values())) > 1  # crops and mirror images differ
    whole = take(1, seed=3, augmentation=images.Augmentation(brightness=1.0))[0]
    assert np.abs(whole["image"] - first[0]["image"]).max() > 10
