"""Changing an index: killed at any line it is the old one or the new; who has it open, or serves it, sees no harm."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import vector_items
from vector_items import DIM, SOURCE, Encoder

from kfood import folders, search


@pytest.mark.parametrize(
    ("engine", "step"),
    [
        ("int8", 41),
        pytest.param("int8", 17, marks=pytest.mark.slow),
        pytest.param("faiss-flat", 11, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_line(tmp_path, engine, step):
    """Seven items, then nine, one of them replaced, then three: no death leaves anything else, nor goes back."""
    if engine.startswith("faiss"):
        pytest.importorskip("faiss", reason="needs kfood[faiss]")
    script = pathlib.Path(__file__).with_name("killed.py")
    run = subprocess.run([sys.executable, script, engine, tmp_path, str(step)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    old = vector_items.pairs(np.random.default_rng(6), [f"a{number}" for number in range(7)])
    more = vector_items.pairs(np.random.default_rng(7), ["a1", "b1", "b2"])
    added = old | more
    fewer = {id: added[id] for id in ("a5", "a6", "b2")}
    states = [{id: float(each[0][0]) for id, each in sorted(state.items())} for state in (old, added, fewer)]
    seen = []
    for line in map(json.loads, run.stdout.splitlines()):
        assert line["found"] in states, line["line"]
        seen.append(states.index(line["found"]))
        # Added anew, what was deleted comes back with it, and is deleted again.
        assert line["last"] == states[2], line["line"]
        names = ["photos.f32", "recipes.f32", "items.jsonl", "thumbnails.bin", "offsets.i64"]
        if engine == "int8":
            names += [f"{side}.{end}" for side in ("photos", "recipes") for end in ("codes", "squares", "book.npy")]
        assert len([name for name in line["left"] if "deleted" not in name]) == len(names) * 1 + (
            2 if engine == "faiss-flat" else 0
        ) + len([".lock", "index.json"]), line["left"]
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}
    assert len(seen) > 60


def test_what_a_killed_process_left_behind_the_rows_is_cut_off(tmp_path):
    path, random = tmp_path / "index", np.random.default_rng(0)
    vectors = vector_items.pairs(random, ["a", "b", "c"])
    search.build_index(path, Encoder(), vector_items.items(vectors), engine="int8", **SOURCE)
    for file in (path / "1").iterdir():
        if not file.name.endswith(".npy"):
            with open(file, "ab") as end:
                end.write(b"\x7f" * 1001)
    assert vector_items.content(path).keys() == vectors.keys()
    search.delete_items(path, ["b"])
    assert vector_items.content(path).keys() == {"a", "c"}
    more = vector_items.pairs(random, ["d", "a"])
    search.add_items(path, Encoder(), vector_items.items(more), **SOURCE)
    found = vector_items.content(path)
    expected = {"c": vectors["c"], **more}
    assert found.keys() == expected.keys()
    for id, pair in expected.items():
        np.testing.assert_array_equal(found[id], pair)
    query = more["d"][0]
    assert search.Index.open(path).search(query, "photos", 1)[0].id == "d"


def test_an_open_index_outlives_changes(tmp_path):
    path, random = tmp_path / "index", np.random.default_rng(0)
    vectors = vector_items.pairs(random, ["a", "b", "c"])
    search.build_index(path, Encoder(), vector_items.items(vectors), engine="binary", **SOURCE)
    index = search.Index.open(path)
    query = np.ones(DIM, np.float32)
    before = index.search(query, "recipes", 9)
    search.add_items(path, Encoder(), vector_items.items(vector_items.pairs(random, ["a", "d"])), **SOURCE)
    search.delete_items(path, ["b"])
    assert index.search(query, "recipes", 9) == before
    assert {result.id for result in search.Index.open(path).search(query, "recipes", 9)} == {"a", "c", "d"}


def test_one_process_changes_it_at_a_time(tmp_path):
    path = tmp_path / "index"
    vectors = vector_items.pairs(np.random.default_rng(0), ["a", "b"])
    search.build_index(path, Encoder(), vector_items.items(vectors), **SOURCE)
    with folders.held(path), pytest.raises(BlockingIOError, match="held by another process"):
        search.delete_items(path, ["a"])
    search.delete_items(path, ["a"])
    assert list(vector_items.content(path)) == ["b"]


def test_where_items_come_from_is_noted(tmp_path):
    path, random = tmp_path / "index", np.random.default_rng(0)
    build = {"dataset": {"name": "one", "fingerprint": "1"}, "splits": ["test"]}
    search.build_index(path, Encoder(), vector_items.items(vector_items.pairs(random, ["a"])), **build)
    other = {"dataset": {"name": "two", "fingerprint": "2"}, "splits": ["val"]}
    for source in (build, other, other):
        search.add_items(path, Encoder(), vector_items.items(vector_items.pairs(random, ["b"])), **source)
    description = search.Index.open(path).description
    assert description["dataset"] == {"name": "one", "fingerprint": "1", "splits": ["test"]}
    assert description["added"] == [{"name": "two", "fingerprint": "2", "splits": ["val"]}]


def test_changes_need_an_index(tmp_path):
    for change in (lambda: search.delete_items(tmp_path, ["a"]), lambda: search.delete_items(tmp_path / "x", ["a"])):
        with pytest.raises(FileNotFoundError, match="expected an index made by `kfood index`"):
            change()
    assert list(tmp_path.iterdir()) == []
