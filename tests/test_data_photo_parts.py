"""Recipe1M's photos loaded part by part, here and by Apache Beam: the same dataset as by threads, byte for byte."""

import pickle

import pytest
from test_data_recipe1m import Raw, jpeg, run

from kfood.data import recipe1m
from kfood.data.photo_parts import PhotoParts
from kfood.tools.main import main
from kfood.tools.prepare import Recipe1M

needs_beam = pytest.mark.skipif("not __import__('importlib').util.find_spec('apache_beam')", reason="needs kfood[beam]")


@pytest.fixture
def raw(tmp_path):
    """Eleven recipes; of some photos are missing or broken, one has more than are stored, one has none."""
    raw = Raw(tmp_path / "raw")
    raw.add("lost", photos={"abcdlost.jpg": None})
    many = {f"abcd{index}many.jpg": jpeg(seed=100 + index) for index in range(7)}
    raw.add("many", "val", {"abcdgone.jpg": None, **many, "abcdtext.jpg": b"no photo"})
    raw.add("broken", "test", {"abcdbroken.jpg": jpeg(200, 200)[:9000], "abcdwhole.jpg": jpeg(90, 70, seed=200)})
    raw.add("alone", photos={})
    raw.add("last", "train")
    raw.write()
    return raw


def files(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def test_records_are_those_that_threads_load(raw, tmp_path):
    """The parts are done last first, and each by a copy that was sent somewhere."""
    asked = []

    def do(numbers, make):
        asked.append(list(numbers))
        for number in reversed(numbers):
            pickle.loads(pickle.dumps(make))()(number)

    load = PhotoParts(tmp_path / "data", 32, do, recipes=2)
    read = []
    for source in (
        recipe1m.Recipe1M(raw.folder, short_side=32, keep_without_photos=True),
        recipe1m.Recipe1M(raw.folder, short_side=32, keep_without_photos=True, load=load),
    ):
        source.scan()
        records = {split: list(source.records(split)) for split in source.candidates}
        read.append((records, source.dropped.by_reason, source.photos_dropped.by_reason, source.photos_kept))
    assert read[1] == read[0]
    found = read[1][0]
    assert {split: [record.id for record in records] for split, records in found.items()} == {
        "train": ["good0", "good2", "good4", "good5", "last"],
        "val": ["good1", "many"],
        "test": ["good3", "broken"],
        "without_photos": ["alone"],
    }
    assert [len(record.photos) for record in found["val"]] == [1, 5]
    assert read[1][1]["photo file missing"]["first"] == ["lost"]
    assert asked == [[0, 1, 2], [0], [0]]  # six to train on, of which one has lost its photo; two; two
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_part_that_fails_leaves_nothing(raw, tmp_path):
    def do(numbers, make):
        make()(0)
        raise OSError("the pipeline failed")

    source = recipe1m.Recipe1M(raw.folder, load=PhotoParts(tmp_path / "data", 32, do, recipes=2))
    source.scan()
    with pytest.raises(OSError, match="the pipeline failed"):
        list(source.records("train"))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@needs_beam
def test_beam_makes_the_same_bytes(raw, tmp_path):
    usual = files(run(raw, keep_without_photos=True).path)
    assert len([name for name in usual if "tfrecord" in name]) == 4
    beam = run(raw, keep_without_photos=True, overwrite=True, runner="FnApiRunner")
    assert files(beam.path) == usual
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "raw"]


@needs_beam
@pytest.mark.slow
def test_beam_in_two_processes_makes_the_same_bytes(raw, monkeypatch):
    monkeypatch.setattr("kfood.data.photo_parts.PhotoParts.__init__.__defaults__", (2,))
    usual = files(run(raw).path)
    options = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    beam = run(raw, overwrite=True, runner="FnApiRunner", beam_options=options)
    assert files(beam.path) == usual


def test_options_for_beam_are_recipe1ms(raw, tmp_path, capsys):
    assert main(["prepare", "kitchen", "--out", str(tmp_path / "data"), "--", "--direct_num_workers", "2"]) == 2
    expected = "expected Apache Beam's options, which follow --, with recipe1m alone: --direct_num_workers 2"
    assert expected in capsys.readouterr().err
    given = ["prepare", "recipe1m", "--source", str(raw.folder), "--out", str(tmp_path / "data")]
    assert main([*given, "--", "--direct_num_workers", "2"]) == 2
    assert "expected --runner with what follows --, Apache Beam's options" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected --runner with what follows --"):
        Recipe1M(source=raw.folder, out=tmp_path / "data", beam_options=("--x",)).prepare()
    assert not (tmp_path / "data").exists()
