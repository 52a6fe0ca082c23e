"""From tracks to search: every command on trajectories, tiny; and a walk in degrees."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from kfood import schema
from kfood.data import pipeline
from kfood.data.dataset import open_dataset
from kfood.data.drawing import Movement, scene_of
from kfood.export.runtime import Bundle
from kfood.tools.main import main

TINY = (
    "image_encoder.widths=4,8",
    "embedding_size=16",
    "point_size=6",
    "filters=6",
    "hidden=16",
    "sketch_size=16",
    "spec.image_size=32",
    "training.batch_size=16",
    "training.epochs=2",
)


def walks(folder, pedestrians=30, steps=12):
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = []
    for p in range(pedestrians):
        track = rng.uniform(0, 20, 2) + np.cumsum(rng.normal(0, 0.5, (steps, 2)), axis=0)
        lines += [f"{10 * t}\t{p}\t{x:.4f}\t{y:.4f}\n" for t, (x, y) in enumerate(track)]
    (folder / "square.txt").write_text("".join(lines))
    (folder / "nothing.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walks")
    arguments = ["--split", "pedestrian", "--length", "8", "--test-share", "0.3", "--val-share", "0.2", "--size", "32"]
    source = walks(folder / "raw")
    assert main(["prepare", "ucy", "--source", str(source), "--out", str(folder / "data"), *arguments]) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "trajcross"
    sets = [part for override in TINY for part in ("--set", override)]
    assert main(["train", "trajcross", "--data", str(data), "--run", str(run), "--preset", "small", *sets]) == 0
    return run


@pytest.fixture(scope="module")
def bundle(run, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("use") / "bundle"
    assert main(["export", str(run), "--out", str(folder), "--data", str(data)]) == 0
    return folder


@pytest.fixture(scope="module")
def index(bundle, data):
    folder = bundle.parent / "index"
    assert main(["index", str(bundle), "--data", str(data), "--out", str(folder)]) == 0
    return folder


def test_prepared_folder(data):
    dataset = open_dataset(data, "trajectories")
    assert sum(dataset.splits.values()) == 30 * 3
    assert dataset.classes == ["nothing", "square"]
    spec = dataset.fit(schema.TrajectorySpec(32, 5))
    assert spec.points == 8
    assert not spec.geographic
    everything = [one for split in dataset.splits for one in dataset.trajectories(split)]
    points = np.stack([one["trajectory"] for one in everything])
    middle, reach = np.array([spec.centre_x, spec.centre_y]), spec.extent
    assert np.abs(points - middle).max() == pytest.approx(reach, rel=1e-5)
    for one in everything:
        left, top, right, bottom = one["location"]
        assert (one["trajectory"] > [left, bottom]).all()
        assert (one["trajectory"] < [right, top]).all()
    walkers = {split: {one["id"].split("@")[0] for one in dataset.trajectories(split)} for split in dataset.splits}
    assert not walkers["train"] & walkers["test"]
    assert not walkers["train"] & walkers["val"]
    report = json.loads((data / "prepare.json").read_text())
    assert report["dropped"]["empty file"]["first"] == ["nothing.txt"]
    with pytest.raises(ValueError, match="expected a dataset of recipes"):
        open_dataset(data)
    with pytest.raises(ValueError, match=r"spec\.image_size: expected 32"):
        dataset.fit(schema.TrajectorySpec(64))


def test_training_batches_are_drawn_anew_and_the_same_again(data):
    dataset = open_dataset(data, "trajectories")
    spec = dataset.fit(schema.TrajectorySpec(32))

    def first(epoch, **options):
        stream = pipeline.batches(
            dataset, "train", spec, 8, training=True, first_epoch=epoch, seed=3, augmentation=Movement(**options)
        )
        return {name: value.numpy() for name, value in next(iter(stream)).items()}

    one, again, later = first(0), first(0), first(1)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    stored = {example["id"]: example for example in dataset.trajectories("train")}
    for row, name in enumerate(one["id"]):
        np.testing.assert_allclose(one["trajectory"][row], stored[name.decode()]["trajectory"], atol=1e-5)
        assert np.abs(one["location"][row] - stored[name.decode()]["location"]).max() > 1e-3
    assert not np.array_equal(one["id"], later["id"])
    turned = first(0, turn=True, shift=1.0)
    assert np.abs(turned["trajectory"] - one["trajectory"]).max() > 0.1
    whole = list(pipeline.batches(dataset, "test", spec, 8, training=False))
    assert sum(len(batch["id"]) for batch in whole) == dataset.size("test")


def test_evaluation_is_over_the_whole_gallery_and_draws_overlays(run, data, tmp_path):
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["directions"]) == {"trajectory_to_image", "image_to_trajectory"}
    assert report["protocol"]["gallery"] == report["data"]["pairs"] == open_dataset(data, "trajectories").size("test")
    page = (tmp_path / "report.html").read_text()
    assert "trajectory → image: queries" in page
    assert "image → trajectory: queries" in page
    assert main(["evaluate", str(run), "--data", str(data), "--thumbnails"]) != 0


@pytest.mark.slow
def test_search_by_track_and_by_picture(index, data, tmp_path, capsys):
    dataset = open_dataset(data, "trajectories")
    example = next(iter(dataset.trajectories("test")))
    track = tmp_path / "track.csv"
    track.write_text("".join(f"{t},{x},{y}\n" for t, (x, y) in enumerate(example["trajectory"])))
    assert main(["search", str(index), "--trajectory", str(track), "--to", "trajectories", "--top", "3"]) == 0
    shown = capsys.readouterr().out
    assert "0.0000" in shown  # the track itself
    out = tmp_path / "found.png"
    assert main(["search", str(index), "--trajectory", str(track), "--gallery-picture", str(out)]) == 0
    assert out.stat().st_size > 1000
    picture = tmp_path / "map.png"
    picture.write_bytes(example["picture"])
    corners = [str(value) for value in example["location"]]
    assert main(["search", str(index), "--image", str(picture), "--location", *corners]) == 0
    assert main(["search", str(index), "--image", str(picture)]) != 0
    Image.open(picture).crop((0, 0, 32, 20)).save(tmp_path / "part.png")
    capsys.readouterr()
    assert main(["search", str(index), "--image", str(tmp_path / "part.png"), "--location", *corners]) != 0
    assert "expected a square map picture" in capsys.readouterr().err
    for wrong, said in (("nan 1 2 0", "left, top, right and bottom"), ("900 901 901 900", "beside it")):
        assert main(["search", str(index), "--image", str(picture), "--location", *wrong.split()]) != 0
        assert said in capsys.readouterr().err
    track.write_text("0,9000,9000\n1,9001,9000\n")
    capsys.readouterr()
    assert main(["search", str(index), "--trajectory", str(track)]) != 0
    assert "on the ground that the model was trained on" in capsys.readouterr().err


@pytest.fixture(scope="module")
def scene(data, tmp_path_factory):
    """The same walks as pictures of the whole scene: (dataset, index of a model trained on them)."""
    folder = tmp_path_factory.mktemp("scene")
    arguments = ["--split", "pedestrian", "--length", "8", "--test-share", "0.3", "--val-share", "0.2", "--size", "32"]
    source = str(data.parent / "raw")
    prepare = ["prepare", "ucy", "--source", source, "--out", str(folder / "data"), "--frame", "scene"]
    assert main([*prepare, *arguments]) == 0
    sets = [part for override in (*TINY, "training.epochs=1") for part in ("--set", override)]
    train = ["train", "trajcross", "--data", str(folder / "data"), "--run", str(folder / "run"), "--variant", "scene"]
    assert main([*train, *sets]) == 0
    assert main(["export", str(folder / "run"), "--out", str(folder / "bundle")]) == 0
    index = ["index", str(folder / "bundle"), "--data", str(folder / "data"), "--out", str(folder / "index")]
    assert main(index) == 0
    return folder


@pytest.mark.slow
def test_the_card_of_a_scene_shows_its_corners(scene):
    spec = Bundle.open(scene / "bundle").spec
    corners = [round(value, 3) for value in scene_of(spec)]
    assert spec["frame"] == "scene"
    assert f"location=[{corners}]" in (scene / "bundle" / "card.md").read_text()


@pytest.mark.slow
def test_pictures_of_the_scene_share_their_corners(scene, data):
    dataset, windows = (open_dataset(path, "trajectories") for path in (scene / "data", data))
    assert dataset.name == f"{windows.name}-scene"
    spec = dataset.fit(schema.TrajectorySpec(32))
    assert spec.frame == "scene"
    assert windows.fit(schema.TrajectorySpec(32)).frame == "window"
    corners = {tuple(one["location"]) for split in dataset.splits for one in dataset.trajectories(split)}
    assert len(corners) == 1
    left, top, right, bottom = corners.pop()
    reach = spec.extent / 0.92
    wanted = [spec.centre_x - reach, spec.centre_y + reach, spec.centre_x + reach, spec.centre_y - reach]
    np.testing.assert_allclose([left, top, right, bottom], wanted, rtol=1e-5)
    movement = Movement(turn=True, shift=8.0)
    stream = pipeline.batches(dataset, "train", spec, 16, training=True, augmentation=movement)
    for _, batch in zip(range(3), stream, strict=False):
        points, image = batch["trajectory"].numpy(), batch["image"].numpy()
        assert (np.abs(points - [spec.centre_x, spec.centre_y]).max(axis=(1, 2)) < reach).all()
        np.testing.assert_allclose(batch["location"].numpy(), np.tile(wanted, (16, 1)), rtol=1e-5)
        for row in range(16):  # moved, and drawn where it is then
            rows, columns = np.nonzero(image[row, ..., 0] < 128)
            middle = np.array(
                [left + (columns.mean() + 0.5) / 32 * (right - left), top - (rows.mean() + 0.5) / 32 * 2 * reach]
            )
            assert (middle > points[row].min(axis=0) - 1.5).all()
            assert (middle < points[row].max(axis=0) + 1.5).all()


@pytest.mark.slow
def test_a_model_of_the_scene_reads_no_windows(scene, data, run, tmp_path, capsys):
    """Each data set with the model of its own kind of pictures, or a sentence."""
    assert main(["evaluate", str(scene / "run"), "--data", str(scene / "data"), "--out", str(tmp_path / "own")]) == 0
    for model, others in ((scene / "run", data), (run, scene / "data")):
        capsys.readouterr()
        assert main(["evaluate", str(model), "--data", str(others), "--out", str(tmp_path / "other")]) != 0
        assert "which the model reads" in capsys.readouterr().err
    index = ["index", str(scene / "bundle"), "--data", str(data), "--out", str(tmp_path / "index")]
    assert main(index) != 0
    assert "expected frame 'scene', which the model reads, received 'window'" in capsys.readouterr().err


@pytest.mark.slow
def test_search_by_a_picture_of_the_scene_needs_no_corners(scene, tmp_path, capsys):
    example = next(iter(open_dataset(scene / "data", "trajectories").trajectories("test")))
    picture = tmp_path / "map.png"
    picture.write_bytes(example["picture"])
    corners = [str(value) for value in example["location"]]
    search = ["search", str(scene / "index"), "--image", str(picture), "--to", "photos"]
    assert main(search) == 0
    first = capsys.readouterr().out
    assert "0.0000" in first  # the picture itself
    assert main([*search, "--location", *corners]) == 0
    assert capsys.readouterr().out == first
    left, top, right, bottom = example["location"]
    part = [str(value) for value in (left, top, (left + right) / 2, (top + bottom) / 2)]
    assert main([*search, "--location", *part]) != 0
    assert "expected a picture of the whole scene" in capsys.readouterr().err
    track = tmp_path / "track.csv"
    track.write_text("".join(f"{t},{x},{y}\n" for t, (x, y) in enumerate(example["trajectory"])))
    out = tmp_path / "found.png"
    assert main(["search", str(scene / "index"), "--trajectory", str(track), "--gallery-picture", str(out)]) == 0
    assert out.stat().st_size > 1000


def test_a_walk_in_degrees_is_prepared_in_metres(tmp_path):
    rng = np.random.default_rng(1)
    lines = [(np.array([8.54, 47.37]) + np.cumsum(rng.normal(0, 2e-5, (12, 2)), axis=0)).tolist() for _ in range(12)]
    features = [{"type": "Feature", "geometry": {"type": "LineString", "coordinates": line}} for line in lines]
    source = tmp_path / "walks.geojson"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    arguments = ["--length", "8", "--test-share", "0.3", "--val-share", "0.2", "--size", "16"]
    assert main(["prepare", "ucy", "--source", str(source), "--out", str(tmp_path / "data"), *arguments]) == 0
    spec = open_dataset(tmp_path / "data", "trajectories").fit(schema.TrajectorySpec(16))
    assert spec.geographic
    assert (spec.origin_longitude, spec.origin_latitude) == tuple(lines[0][0])
    assert 3 < spec.extent < 100


def test_a_timed_walk_has_a_name_for_every_window(tmp_path, capsys):
    points = "".join(
        f'<trkpt lat="{47 + 2e-5 * (k % 7)}" lon="{8.5 + 1e-5 * k}"><time>2024-05-01T10:00:{k:02d}Z</time></trkpt>'
        for k in range(60)
    )
    (tmp_path / "walk.gpx").write_text(f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")
    arguments = ["--length", "8", "--test-share", "0.3", "--val-share", "0.2", "--size", "16"]
    assert (
        main(["prepare", "ucy", "--source", str(tmp_path / "walk.gpx"), "--out", str(tmp_path / "data"), *arguments])
        == 0
    )
    dataset = open_dataset(tmp_path / "data", "trajectories")
    names = [one["id"] for split in dataset.splits for one in dataset.trajectories(split)]
    assert len(set(names)) == len(names) > 20
    (tmp_path / "far.txt").write_text("".join(f"{k} 1 {5.4e6 + k} 0\n" for k in range(60)))
    capsys.readouterr()
    assert (
        main(["prepare", "ucy", "--source", str(tmp_path / "far.txt"), "--out", str(tmp_path / "far"), *arguments]) != 0
    )
    assert "subtract an offset" in capsys.readouterr().err


def test_nothing_usable_is_said(tmp_path, capsys):
    (tmp_path / "raw.txt").write_text("1 1 0 0\n")
    assert main(["prepare", "ucy", "--source", str(tmp_path / "raw.txt"), "--out", str(tmp_path / "data")]) != 0
    assert "expected tracks of 20 points" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_an_export_measures_retrieval_of_trajectories(bundle, data, tmp_path, monkeypatch):
    manifest = Bundle.open(bundle).manifest
    measured = manifest["measured"]["encoders"]
    assert set(measured) == {"image", "trajectory"}
    pixels = measured["image"]["pixels"]
    assert pixels["largest_difference"] < 1e-4  # map pictures are stored at the model's size
    assert pixels["top1_agreement"] == 1
    for figures in measured.values():
        assert set(figures["float32"]["recall"]) == {"image_to_trajectory", "trajectory_to_image"}
        assert figures["int8"]["top1_agreement"] > 0.5
        assert figures["float16"]["top1_agreement"] > 0.9
    card = (bundle / "card.md").read_text()
    snippets = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(snippets) == 4
    (tmp_path / "photo.jpg").write_bytes(next(iter(open_dataset(data, "trajectories").photos("test"))))
    (tmp_path / "BUNDLE").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a snippet adds the bundle to it
    inputs = {name: entry for encoder in manifest["encoders"].values() for name, entry in encoder["inputs"].items()}
    ready = {name: np.zeros([2, *entry["shape"][1:]], entry["dtype"]) for name, entry in inputs.items()}
    ready["points"] = ready["trajectory"]
    for snippet in snippets:
        exec(compile(snippet, "card.md", "exec"), dict(ready))
    assert '"location": [0.0, 8.0, 8.0, 0.0]' in card
    assert 'request.inputs["location"]' in card
