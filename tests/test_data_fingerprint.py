"""A dataset's fingerprint: the same for the same batches, and no other."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from kfood.data import builder
from kfood.data.dataset import PhotoRecord, TrajectoryRecord, open_dataset
from kfood.data.drawing import Style

GROUND = {"centre_x": 0.0, "centre_y": 0.0, "extent": 10.0}
STYLE = Style(image_size=8)


def _trajectories(folder, name="ucy", style=STYLE, ground=GROUND, **changed):
    record = TrajectoryRecord("a", 0, np.ones((4, 2), np.float32), b"picture", np.zeros(4, np.float32))
    splits = {"train": [record], "val": [dataclasses.replace(record, id="b")]}
    splits["test"] = [dataclasses.replace(record, **({"id": "c"} | changed))]
    return builder.write_trajectories(folder, name, splits, recordings=["r"], points=4, ground=ground, style=style)


def _photos(folder, short_side=8, **changed):
    record = PhotoRecord("a", 0, b"photo")
    splits = {"train": [record, dataclasses.replace(record, **({"id": "d"} | changed))]}
    splits |= {"val": [dataclasses.replace(record, id="b")], "test": [PhotoRecord("c", 2, b"other")]}
    return builder.write_photos(folder, "food", splits, classes=["x", "y", "z"], train_classes=2, short_side=short_side)


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backgrounds")
    for shade in (0, 255):
        Image.new("RGB", (8, 8), (shade,) * 3).save(folder / f"{shade}.jpg")
    return sorted(folder.iterdir())


def test_trajectories_drawn_otherwise_have_another(tmp_path, backgrounds):
    first = _trajectories(tmp_path / "first")
    assert _trajectories(tmp_path / "again", name="renamed").fingerprint == first.fingerprint
    made = {
        "points": _trajectories(tmp_path / "points", points=np.full((4, 2), 1.001, np.float32)),
        "picture": _trajectories(tmp_path / "picture", picture=b"other"),
        "id": _trajectories(tmp_path / "id", id="z"),  # what training draws follows from it
        "style": _trajectories(tmp_path / "style", style=dataclasses.replace(STYLE, thickness=(1.0, 2.0))),
        "ground": _trajectories(tmp_path / "ground", ground=GROUND | {"extent": 11.0}),
        **{
            path.stem: _trajectories(tmp_path / path.stem, style=dataclasses.replace(STYLE, backgrounds=(path,)))
            for path in backgrounds
        },
    }
    assert len({first.fingerprint, *(dataset.fingerprint for dataset in made.values())}) == 1 + len(made)
    assert {dataset.vocabulary_fingerprint for dataset in made.values()} == {first.vocabulary_fingerprint}


def test_photos_of_another_size_class_or_split_have_another(tmp_path):
    first = _photos(tmp_path / "first")
    assert _photos(tmp_path / "again").fingerprint == first.fingerprint
    made = [
        _photos(tmp_path / "side", short_side=9),
        _photos(tmp_path / "photo", photo=b"phot0"),
        _photos(tmp_path / "class", class_id=1),
    ]
    assert len({first.fingerprint, *(dataset.fingerprint for dataset in made)}) == 1 + len(made)


def test_every_file_of_examples_is_told(tmp_path):
    _photos(tmp_path / "data")
    description = json.loads((tmp_path / "data" / "dataset.json").read_text())
    kinds = {path.split("/")[-1].split("-00")[0] for path in description["files"]}
    assert kinds == {
        *(f"photos-{split}.tfrecord" for split in ("train", "val", "test")),
        "train.npy",
        "val.npy",
        "test.npy",
    }
    del description["files"]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="not the description of a prepared dataset"):
        open_dataset(tmp_path / "data", "labelled")
