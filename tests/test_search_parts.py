"""Embeddings in parts: whatever dies, nothing half-made is taken for whole, and an index of them is the usual one."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import vector_items
from vector_items import DIM, SOURCE, Wordless

from kfood import folders, search
from kfood.search import parts


@pytest.fixture
def made(tmp_path):
    vector_items.embed(tmp_path / "made")
    return search.Embeddings.open(tmp_path / "made")


def files(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def items():
    vectors = list(vector_items.pairs(np.random.default_rng(6), map(str, range(70))).values())
    return [vector_items.item("40" if number == 3 else str(number), *pair) for number, pair in enumerate(vectors)]


def test_parts_hold_the_items_in_order(made):
    """Beside what NumPy reads of the files, by what the module's docstring says."""
    folder = sorted(path for path in made.path.iterdir() if path.is_dir())
    assert [path.name for path in folder] == ["00000", "00001", "00002"]
    read = {
        side: [np.fromfile(path / f"{side}.f32", np.float32).reshape(-1, DIM) for path in folder]
        for side in ("photos", "recipes")
    }
    assert [len(rows) for rows in read["photos"]] == [31, 32, 6]
    expected = [item for number, item in enumerate(items()) if number != 5]
    photos = [np.frombuffer(item.photo.tobytes(), np.float32) for item in expected]
    np.testing.assert_array_equal(np.concatenate(read["photos"]), photos)
    np.testing.assert_array_equal(np.concatenate(read["recipes"]), [item.recipe["vector"] for item in expected])
    lines = [json.loads(line) for path in folder for line in (path / "items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [item.id for item in expected]
    assert len(made) == 69


def test_an_index_of_embeddings_is_the_usual_one(made, tmp_path):
    done = []
    source = {"dataset": SOURCE["dataset"], "splits": SOURCE["splits"]}
    usual = search.build_index(tmp_path / "usual", Wordless(), items(), **source)
    built = search.build_index(tmp_path / "built", Wordless(), made, advance=done.append, **source)
    assert usual["without_words"] == {"count": 1, "first": ["5"]}
    assert usual["items"] == 68
    for description in (usual, built):
        description["engine"].pop("key")
    assert built == usual
    expected, found = files(tmp_path / "usual"), files(tmp_path / "built")
    expected.pop("index.json"), found.pop("index.json")
    assert found == expected
    assert sum(done) == 69


def test_embeddings_are_added_to_an_index(made, tmp_path):
    first = vector_items.items(vector_items.pairs(np.random.default_rng(1), ["0", "other"]))
    search.build_index(tmp_path / "index", Wordless(), first, **SOURCE)
    change = search.add_items(tmp_path / "index", Wordless(), made, **SOURCE)
    assert (change.added, change.replaced, change.items, change.without_words) == (67, 1, 69, ("5",))
    expected = {item.id: item for item in items()}
    for id, (photo, _) in vector_items.content(tmp_path / "index").items():
        if id != "other":
            np.testing.assert_array_equal(photo, np.frombuffer(expected[id].photo.tobytes(), np.float32))
    with pytest.raises(ValueError, match="expected precision int8, received embeddings in float32"):
        search.add_items(tmp_path / "index", Wordless(), made, **SOURCE, precision="int8")


@pytest.mark.parametrize("step", [71, pytest.param(13, marks=pytest.mark.slow)])
def test_killed_at_any_line(tmp_path, step):
    script = pathlib.Path(__file__).with_name("killed_parts.py")
    (tmp_path / "work").mkdir()
    run = subprocess.run([sys.executable, script, tmp_path / "work", str(step)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    for line in lines:
        assert line["whole"] == 69, line
        if not line["there"]:
            assert sorted(line["left"] + line["made"]) == [0, 1, 2], line
            assert line["names"] == ["out"], line
    assert {len(line["left"]) for line in lines} == {0, 1, 2, 3}
    assert lines[-1]["there"]
    assert len(lines) > 10


def test_other_parts_are_not_mixed_in(tmp_path):
    def fails(writer):
        raise OSError("full")

    plan = parts.plan(Wordless(), **SOURCE, precision="float32", items=40, part_size=32)
    work = tmp_path / ".out.unfinished"

    def broken_off():
        with parts.unfinished(tmp_path / "out", plan, overwrite=False) as folder:
            assert folder == work
            parts.make(folder, 0, DIM, lambda writer: ([], []))
            with pytest.raises(BlockingIOError, match="held by another process"):
                vector_items.embed(tmp_path / "out")
            parts.make(folder, 1, DIM, fails)

    with pytest.raises(OSError, match="full"):
        broken_off()
    assert sorted(path.name for path in work.iterdir()) == [folders.LOCK, "00000", "plan.json"]
    with pytest.raises(ValueError, match="received those of another command, which was broken off"):
        vector_items.embed(tmp_path / "out")
    assert vector_items.embed(tmp_path / "out", overwrite=True) == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileExistsError, match="exists already"):
        vector_items.embed(tmp_path / "out")


def test_a_part_that_another_made_meanwhile_stays(tmp_path):
    def meanwhile(writer):
        parts.make(tmp_path, 0, DIM, lambda writer: ([], ["first"]))
        return [], ["second"]

    parts.make(tmp_path, 0, DIM, meanwhile)
    assert json.loads((tmp_path / "00000" / "part.json").read_text())["without_words"] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]


def test_nothing_to_embed_is_refused(tmp_path):
    plan = parts.plan(Wordless(), **SOURCE, precision="float32", items=1, part_size=32)
    with parts.unfinished(tmp_path / "out", plan, overwrite=False) as work:
        parts.make(work, 0, DIM, lambda writer: ([], ["5"]))
        with pytest.raises(ValueError, match="expected at least one with a photo and a recipe, received none"):
            parts.finish(work, tmp_path / "out", plan, overwrite=False)


def test_wrong_embeddings_are_refused(made, tmp_path):
    other = dataclasses.replace(Wordless(), sha256="00" * 32)
    with pytest.raises(ValueError, match="expected the bundle that made the embeddings"):
        search.build_index(tmp_path / "index", other, made, **SOURCE)
    with pytest.raises(ValueError, match="expected precision int8, received embeddings in float32"):
        search.build_index(tmp_path / "index", Wordless(), made, **SOURCE, precision="int8")
    with pytest.raises(FileNotFoundError, match=r"expected a folder made by `kfood embed`, found no embeddings\.json"):
        search.Embeddings.open(tmp_path)
    photos = made.path / "00001" / "photos.f32"
    content = photos.read_bytes()
    photos.write_bytes(content[:-1] + b"\x00")
    with pytest.raises(ValueError, match="expected sha256"):
        search.build_index(tmp_path / "index", Wordless(), made, **SOURCE)
    photos.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file photos\.f32"):
        search.build_index(tmp_path / "index", Wordless(), made, **SOURCE)
    assert not (tmp_path / "index").exists()
    description = made.path / parts.NAME
    for content, message in (
        ("{", "expected the description of embeddings, received JSONDecodeError"),
        ('{"format": 0}', "expected embeddings of format 1, received format 0"),
        ('{"format": 1}', "received KeyError"),
    ):
        description.write_text(content)
        with pytest.raises(ValueError, match=message):
            search.Embeddings.open(made.path)
