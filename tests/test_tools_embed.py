"""`kfood embed`: in this process, by Apache Beam and after being broken off, the same bytes; and an index of them."""

import json
import pathlib
import sys

import pytest

from kfood.search import building
from kfood.tools import embed as tool
from kfood.tools import index
from kfood.tools.main import main

needs_beam = pytest.mark.skipif("not __import__('importlib').util.find_spec('apache_beam')", reason="needs kfood[beam]")


def files(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


@pytest.fixture
def embed(kitchen, small_export, tmp_path):
    """Runs the command; (exit status, folder)."""

    def run(name, *more):
        given = [str(small_export / "bundle"), "--data", str(kitchen), "--out", str(tmp_path / name)]
        return main(["embed", *given, "--part-size", "32", *more]), tmp_path / name

    return run


def test_an_index_of_embeddings_is_the_usual_one(embed, kitchen, small_export, tmp_path, capsys):
    status, made = embed("made")
    assert status == 0
    assert "made: 80 recipes with photos, in 3 parts." in capsys.readouterr().out
    bundle = str(small_export / "bundle")
    assert main(["index", bundle, "--embeddings", str(made), "--out", str(tmp_path / "built")]) == 0
    assert "built: 80 recipes with photos, by cosine distance." in capsys.readouterr().out
    assert main(["index", bundle, "--data", str(kitchen), "--split", "all", "--out", str(tmp_path / "usual")]) == 0
    found, expected = files(tmp_path / "built"), files(tmp_path / "usual")
    descriptions = [json.loads(each.pop("index.json")) for each in (found, expected)]
    for description in descriptions:
        del description["engine"]["key"]
    assert descriptions[0] == descriptions[1]
    assert found == expected
    assert main(["index", bundle, "--embeddings", str(made), "--out", str(tmp_path / "usual"), "--add"]) == 0
    assert "usual: 0 recipes with photos added, 80 replaced, 80 in all." in capsys.readouterr().out
    with pytest.raises(ValueError, match="--embeddings: expected no --data, --split or --precision"):
        index.Index(bundle=small_export / "bundle", embeddings=made, out=tmp_path / "x", split="val")


def test_it_goes_on_where_it_was_broken_off(embed, monkeypatch, capsys, tmp_path):
    _, made = embed("made")
    whole, calls = building.write_items, []

    def broken(writer, *arguments):
        calls.append(writer)
        found = whole(writer, *arguments)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return found

    monkeypatch.setattr(building, "write_items", broken)
    status, again = embed("again")
    assert status == 2
    assert "kfood embed: the disk is full" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".again.unfinished", "made"]
    assert embed("again", "--split", "val")[0] == 2
    assert "expected parts of the same bundle, dataset, splits" in capsys.readouterr().err
    assert embed("again")[0] == 0
    assert "again: 1 of 3 parts are there." in capsys.readouterr().out
    assert len(calls) == 4
    assert files(again) == files(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "made"]


@needs_beam
def test_beam_makes_the_same_bytes(embed, monkeypatch, capsys, tmp_path):
    _, made = embed("made")
    status, beam = embed("beam", "--runner", "FnApiRunner")
    assert status == 0
    assert "beam: 80 recipes with photos, in 3 parts." in capsys.readouterr().out
    assert files(beam) == files(made)

    def full(*arguments):
        raise RuntimeError("no memory\nleft")

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_items", full)
        assert embed("full", "--runner", "FnApiRunner")[0] == 2
    assert "kfood embed: the pipeline failed: left" in capsys.readouterr().err
    assert not (tmp_path / "full").exists()
    assert embed("full", "--runner", "Flick")[0] == 2
    assert "Flick" in capsys.readouterr().err


@needs_beam
@pytest.mark.slow
def test_beam_in_two_processes_makes_the_same_bytes(embed):
    _, made = embed("made")
    options = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    status, beam = embed("beam", "--runner", "FnApiRunner", "--", *options)
    assert status == 0
    assert files(beam) == files(made)


def test_a_worker_that_sees_another_bundle_is_refused(embed, monkeypatch, capsys):
    usual, opened = tool._opened, []

    def other(args):
        source = usual(args)
        opened.append(source)
        if len(opened) == 2:  # the command's own is the first
            source.bundle.sha256 = "00" * 32
        return source

    monkeypatch.setattr(tool, "_opened", other)
    status, out = embed("out")
    assert status == 2
    assert "expected the bundle and the dataset that the command was started with" in capsys.readouterr().err
    assert not out.exists()


def test_wrong_arguments_are_refused(embed, monkeypatch, capsys):
    with pytest.raises(ValueError, match="--part-size: expected a multiple of 32, received 33"):
        tool.Embed(pathlib.Path("bundle"), pathlib.Path("data"), pathlib.Path("out"), part_size=33)
    assert embed("out", "--", "--direct_num_workers", "2")[0] == 2
    assert "expected --runner with what follows --, Apache Beam's options, received --direct" in capsys.readouterr().err
    for name in [name for name in sys.modules if name.split(".")[0] == "apache_beam"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    status, out = embed("out", "--runner", "DirectRunner")
    assert status == 2
    assert "expected Apache Beam, which is not installed: pip install 'kfood[beam]'" in capsys.readouterr().err
    assert not out.exists()
