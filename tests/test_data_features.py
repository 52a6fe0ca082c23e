"""What a network makes of photos, kept beside them: whose it is, in which view, and what survives a kill."""

import collections
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_data_pipeline import SIZES, photo, record, spec_of

from kfood import schema
from kfood.data import builder, features, images, pipeline
from kfood.data.dataset import MOST_PHOTOS, PhotoRecord, open_dataset

SIDE = 14
VIEWS = features.Views(3, images.Augmentation(crop_area=(0.3, 0.6)))
COUNTS = [min(1 + index % 7, MOST_PHOTOS) for index in range(SIZES["train"])]
"""Photos of each recipe that are stored."""


def colours(pictures):
    """Mean red, green and blue of the left half, and of the right."""
    halves = pictures.reshape(len(pictures), pictures.shape[1], 2, -1, 3).mean((1, 3))
    return {"image_features": halves, "image": pictures[:, ::7, ::7].round()}


NETWORK = features.Network(
    colours, {"image_features": ((2, 3), "float16"), "image": ((2, 2, 3), "uint8")}, SIDE, "colours"
)


def prepared(path, min_word_count=1):
    splits = {split: [record(split, index) for index in range(size)] for split, size in SIZES.items()}
    builder.write_recipes(
        path,
        "counted",
        splits,
        classes=["background", "dish"],
        short_side=16,
        min_word_count=min_word_count,
        min_ingredient_count=1,
        instruction_vectors=3,
    )
    return open_dataset(path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("features") / "data")


@pytest.fixture(scope="module")
def found(dataset):
    return features.computed(dataset, NETWORK, VIEWS, most_bytes=1e6)


def test_they_stay_valid_where_the_vocabulary_changes(dataset, found, tmp_path):
    """The folder of a dataset that was prepared again, from the same photos and texts: nothing is computed anew."""
    again = prepared(tmp_path / "again", min_word_count=9)
    assert again.fingerprint != dataset.fingerprint
    assert len(again.words) < len(dataset.words)
    shutil.copytree(dataset.path / "features", again.path / "features")
    refusing = dataclasses.replace(NETWORK, run=lambda pictures: pytest.fail("computed anew"))
    moved = features.computed(again, refusing, VIEWS, most_bytes=1e6)
    assert moved.folder.name == found.folder.name


def as_evaluated(recipe, number):
    picture = images.evaluation_transform(images.decode_image(photo(recipe, number)), SIDE).numpy()
    return {name: values[0] for name, values in colours(picture[None]).items()}


def stream(dataset, found, split, training, **options):
    spec = spec_of(dataset, image_size=SIDE)
    return pipeline.recipe_batches(dataset, split, spec, 5, training=training, features=found, **options)


def test_evaluation_sees_its_own_crop_of_the_first_photo(dataset, found):
    seen = 0
    for batch in stream(dataset, found, "val", training=False).as_numpy_iterator():
        for id, features_of, picture in zip(batch["id"], batch["image_features"], batch["image"], strict=True):
            expected = as_evaluated(int(id.removeprefix(b"val")), 0)
            np.testing.assert_allclose(features_of, expected["image_features"], atol=0.1)  # float16
            np.testing.assert_array_equal(picture, expected["image"])
            seen += 1
        assert batch["image_features"].dtype == batch["image"].dtype == np.float32
    assert seen == SIZES["val"]


def test_training_draws_every_photo_in_every_view_of_its_own_recipe(dataset, found):
    views = collections.defaultdict(set)
    for batch in stream(dataset, found, "train", training=True).take(400).as_numpy_iterator():
        for id, halves in zip(batch["id"], batch["image_features"], strict=True):
            recipe = int(id.removeprefix(b"train"))
            red, green = halves[:, 0].mean(), halves[:, 1].mean()
            assert red == pytest.approx(8 * recipe + 20, abs=3)
            views[recipe, round((green - 20) / 32)].add(tuple(halves[:, 2]))
    assert set(views) == {(recipe, number) for recipe, count in enumerate(COUNTS) for number in range(count)}
    counts = collections.Counter(len(drawn) for drawn in views.values())
    assert counts[3] > 0.9 * len(views)
    for (recipe, number), drawn in views.items():
        centre = as_evaluated(recipe, number)["image_features"][:, 2]
        if len(drawn) == 3:
            assert min(np.abs(np.array(view) - centre).max() for view in drawn) < 0.1


def test_the_order_is_that_of_photos(dataset, found):
    for epoch in (0, 3):
        ids = []
        for given in (None, found):
            taken = stream(dataset, given, "train", True, first_epoch=epoch).take(6)
            ids.append([batch["id"].tolist() for batch in taken.as_numpy_iterator()])
        assert ids[0] == ids[1]


def test_labelled_photos(tmp_path):
    splits = {
        split: [PhotoRecord(f"{split}{n}", n % 2 + 2 * (split == "test"), photo(n, 3)) for n in range(size)]
        for split, size in SIZES.items()
    }
    dataset = builder.write_photos(
        tmp_path / "data", "photos", splits, classes=["a", "b", "c", "d"], train_classes=2, short_side=16
    )
    network = features.Network(
        lambda pictures: {"image_features": pictures.mean((1, 2))}, {"image_features": ((3,), "float32")}, 8, "mean"
    )
    found = features.computed(dataset, network, features.Views(1, VIEWS.augmentation), most_bytes=1e6)
    spec = dataset.fit(schema.PhotoSpec(image_size=8))
    for split, training in (("val", False), ("train", True)):
        plain = pipeline.photo_batches(dataset, split, spec, 4, training=False)
        expected = {}
        for batch in plain.as_numpy_iterator():
            expected |= dict(zip(batch["id"], batch["image"].mean((1, 2)), strict=True))
        given = pipeline.photo_batches(dataset, split, spec, 4, training=training, features=found)
        for batch in given.take(3).as_numpy_iterator():
            assert set(batch) == {"id", "image_features", "class_id"}
            for id, values in zip(batch["id"], batch["image_features"], strict=True):
                np.testing.assert_allclose(values, expected[id], atol=1e-3)


def test_another_network_view_or_photo_has_another_folder(dataset, found, tmp_path):
    other = features.computed(dataset, dataclasses.replace(NETWORK, fingerprint="other"), VIEWS, most_bytes=1e6)
    fewer = features.computed(dataset, NETWORK, dataclasses.replace(VIEWS, count=2), most_bytes=1e6)
    again = features.computed(dataset, NETWORK, VIEWS, most_bytes=1e6)
    assert len({given.folder for given in (found, other, fewer)}) == 3
    assert again.folder == found.folder
    # The first views are the same however many there are.
    np.testing.assert_array_equal(
        np.load(fewer.folder / "train.image.npy"), np.load(found.folder / "train.image.npy")[:, :2]
    )
    copy = prepared(tmp_path / "same")
    assert features.photo_fingerprint(copy) == features.photo_fingerprint(dataset)
    file = pathlib.Path(copy.files("val")[0])
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # of the last example's checksum
    file.write_bytes(content)
    assert features.photo_fingerprint(open_dataset(tmp_path / "same")) != features.photo_fingerprint(dataset)


_KILLED = """
import os, signal, sys
from test_data_features import *

left = [int(sys.argv[2])]
def run(pictures):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return colours(pictures)

features._PICTURES_AT_ONCE = 12
dataset = open_dataset(sys.argv[1])
features.computed(dataset, dataclasses.replace(NETWORK, run=run), VIEWS, most_bytes=1e6)
"""


def test_killed_it_goes_on_where_it_was(dataset, found, tmp_path, monkeypatch):
    copy = prepared(tmp_path / "data")
    arguments = [sys.executable, "-c", _KILLED, str(copy.path), "7"]
    killed = subprocess.run(arguments, cwd=os.path.dirname(__file__), env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    assert killed.returncode == -signal.SIGKILL
    (folder,) = (copy.path / "features").iterdir()
    assert (folder / "train.done").read_text() == "28"  # seven batches of four photos, three views each

    computed = []

    def run(pictures):
        computed.append(len(pictures))
        return colours(pictures)

    said = []
    done = []
    again = features.computed(
        copy,
        dataclasses.replace(NETWORK, run=run),
        VIEWS,
        most_bytes=1e6,
        say=said.append,
        progress=lambda *numbers: done.append(numbers),
    )
    total = 3 * sum(COUNTS) + SIZES["val"]
    assert sum(computed) == total - 3 * 28
    assert done[-1] == (total, total)
    assert f"{total} pictures' features" in said[0]
    for name in ("train.image_features.npy", "train.image.npy", "val.image_features.npy"):
        np.testing.assert_array_equal(np.load(again.folder / name), np.load(found.folder / name))
    features.computed(copy, dataclasses.replace(NETWORK, run=None), VIEWS, most_bytes=0)  # nothing is left to compute


def test_too_much_for_the_disk_is_refused_before_anything_is_computed(dataset, tmp_path):
    network = dataclasses.replace(NETWORK, run=None, fingerprint="large")
    with pytest.raises(ValueError, match=r"at most 1e-06 GB \(training\.feature_gigabytes\), received 241 pictures'"):
        features.computed(dataset, network, VIEWS, most_bytes=1e3)
    huge = dataclasses.replace(network, outputs={"image_features": ((10**12,), "float16")})
    with pytest.raises(ValueError, match="free space of its disk"):
        features.computed(dataset, huge, VIEWS, most_bytes=1e30)
    assert not [path for path in (dataset.path / "features").glob("*/*.npy") if path.stat().st_size > 1e5]


def test_features_that_are_no_numbers_are_refused(dataset):
    network = features.Network(
        lambda pictures: {"image_features": np.full((len(pictures), 1), 1e6)},
        {"image_features": ((1,), "float16")},
        SIDE,
        "infinite in float16",
    )
    with pytest.raises(ValueError, match="expected finite features in float16, received others in rows 0 to"):
        features.computed(dataset, network, VIEWS, most_bytes=1e6)
