"""What `kfood site` writes and refuses, and where onnxruntime-web comes from."""

import itertools
import json
import shutil
import tarfile

import numpy as np
import onnx
import pytest
from site_soups import NO_RUNTIME, make_index

from kfood import search
from kfood.export.runtime import Bundle
from kfood.site import build_site, building, from_copy, vendored
from kfood.tools.main import main


@pytest.fixture(scope="module")
def bundle(small_export, tmp_path_factory):
    return Bundle.open(shutil.copytree(small_export / "bundle", tmp_path_factory.mktemp("site") / "bundle"))


@pytest.fixture(scope="module")
def index(bundle):
    return make_index(bundle, bundle.path.parent / "index")


def test_what_is_written(index, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BLOCK", 4)
    monkeypatch.setattr(building, "THUMBNAILS", 5)
    counted = []
    site = build_site(tmp_path / "site", index, bundle, NO_RUNTIME, advance=counted.append)
    assert sum(counted) == 6
    written = json.loads((tmp_path / "site" / "site.json").read_text())
    assert written == json.loads(json.dumps(site))
    assert site["searches"] == ["photo", "recipe", "text"]
    for side in index.sides:
        halves = b"".join((tmp_path / "site" / name).read_bytes() for name in site["blocks"][side])
        received = np.frombuffer(halves, "<f2").reshape(6, -1)
        np.testing.assert_array_equal(received, index.embeddings(side).astype(np.float16))
        assert len(site["blocks"][side]) == 2
    texts = [json.loads((tmp_path / "site" / name).read_text()) for name in site["blocks"]["items"]]
    assert [*itertools.chain(*texts)] == list(index.records())
    thumbnail = tmp_path / "site" / site["thumbnails"] / "1" / "5.jpg"
    assert thumbnail.read_bytes() == index.thumbnail(5)
    assert (tmp_path / "site" / site["encoders"]["image"]["file"]).read_bytes() == bundle.network("image")
    text_encoder = onnx.load(tmp_path / "site" / site["encoders"]["recipe"]["file"])
    cases = {
        attribute.s
        for node in text_encoder.graph.node
        if node.op_type == "StringNormalizer"
        for attribute in node.attribute
        if attribute.name == "case_change_action"
    }
    assert cases == {b"NONE"}  # a browser's would lower É too
    page = (tmp_path / "site" / "index.html").read_text()
    assert "content-security-policy" in page
    assert "http:" not in page.replace("http-equiv", "")
    listed = json.loads((tmp_path / "site" / "files.json").read_text())
    there = {
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*") if path.is_file()
    }
    assert set(listed) == there - {"site.json", "files.json"}


def test_a_folder_in_the_way_or_a_failure_leaves_all_as_it_was(index, bundle, tmp_path, monkeypatch):
    out = tmp_path / "site"
    build_site(out, index, bundle, NO_RUNTIME)
    before = sorted(out.rglob("*"))
    with pytest.raises(FileExistsError, match="--overwrite"):
        build_site(out, index, bundle, NO_RUNTIME)
    monkeypatch.setattr(index, "thumbnail", lambda row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_site(out, index, bundle, NO_RUNTIME, overwrite=True)
    assert sorted(out.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [out]


def test_deleted_items_are_not_in_it(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BLOCK", 2)
    whole = make_index(bundle, tmp_path / "index")
    ids = [record["id"] for record in whole.records()]
    search.delete_items(tmp_path / "index", [ids[1], ids[4]])
    site = build_site(tmp_path / "site", search.Index.open(tmp_path / "index"), bundle, NO_RUNTIME)
    left = [0, 2, 3, 5]
    assert site["items"] == 4
    texts = [json.loads((tmp_path / "site" / name).read_text()) for name in site["blocks"]["items"]]
    assert [text["id"] for text in itertools.chain(*texts)] == [ids[row] for row in left]
    for side in whole.sides:
        halves = b"".join((tmp_path / "site" / name).read_bytes() for name in site["blocks"][side])
        expected = whole.embeddings(side)[left].astype(np.float16)
        np.testing.assert_array_equal(np.frombuffer(halves, "<f2").reshape(4, -1), expected)
    for place, row in enumerate(left):
        stored = (tmp_path / "site" / site["thumbnails"] / "0" / f"{place}.jpg").read_bytes()
        assert stored == whole.thumbnail(row)
    assert not [name for name in site["names"] if "onion" in name]  # only the deleted had any


def test_what_cannot_be_a_site(index, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(index._rows, "embeddings", {"trajectories": None})
    with pytest.raises(ValueError, match="expected an index of recipes or photos, received one of trajectories"):
        build_site(tmp_path / "site", index, bundle, NO_RUNTIME)
    monkeypatch.setattr(index._rows, "embeddings", {"photos": np.full((6, 6), 7e4, np.float32)})
    with pytest.raises(ValueError, match="below 65,504"):
        build_site(tmp_path / "site", index, bundle, NO_RUNTIME)
    monkeypatch.setattr(index._rows, "embeddings", {"photos": np.full((6, 6), 1, np.float32)})
    assert build_site(tmp_path / "site", index, bundle, NO_RUNTIME)["searches"] == ["photo"]


def package(folder, version="9.0.0", without=""):
    """A copy of npm's package that holds little."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": version}))
    for name in set(vendored.FILES) - {without}:
        (folder / "dist" / name).write_text("// little")
    return folder


def test_the_command_and_a_copy_of_onnxruntime_web(index, bundle, tmp_path, capsys, monkeypatch):
    copy = package(tmp_path / "package")
    with tarfile.open(tmp_path / "copy.tgz", "w:gz") as archive:
        archive.add(copy, "package")
    monkeypatch.setattr("kfood.site.MANY", 5)
    for number, given in enumerate((copy, tmp_path / "copy.tgz")):
        out = tmp_path / f"site{number}"
        assert main(["site", str(index.path), "--out", str(out), "--onnxruntime-web", str(given)]) == 0
        said = capsys.readouterr()
        assert "6 items" in said.out
        assert "encoders: image float32, recipe float32; onnxruntime-web 9.0.0" in said.out
        assert "6 items are many for a browser" in said.err
        assert (out / "static" / "ort" / "ort-wasm.wasm").read_text() == "// little"
        assert json.loads((out / "site.json").read_text())["onnxruntime_web"] == "9.0.0"
    assert main(["site", str(index.path), "--out", str(out)]) == 2  # before anything is fetched
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "without", "message"),
    [
        ("9.0.0", "ort.wasm.min.mjs", r"expected a copy of npm's package .* found no dist/ort.wasm.min.mjs in it"),
        (vendored.VERSION, "", r"expected ort.wasm.min.mjs of sha256 219e6a1fc8a9…, received [0-9a-f]{12}…"),
    ],
)
def test_a_copy_that_is_none(tmp_path, version, without, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        from_copy(package(tmp_path / "package", version, without))


def test_without_npm_one_sentence_says_so(index, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["site", str(index.path), "--out", str(tmp_path / "site")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kfood site: expected npm, which fetches onnxruntime-web ")
    assert "--onnxruntime-web FOLDER_OR_TGZ" in said
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    assert main(["site", str(index.path), "--out", str(tmp_path / "site")]) == 2
    assert "received: npm error code ENOTFOUND; try again, or give a copy" in capsys.readouterr().err
    (tmp_path / "damaged.tgz").write_bytes(b"\x1f\x8b no archive")
    command = [
        "site",
        str(index.path),
        "--out",
        str(tmp_path / "site"),
        "--onnxruntime-web",
        str(tmp_path / "damaged.tgz"),
    ]
    assert main(command) == 2
    assert "expected an archive of npm's onnxruntime-web" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
