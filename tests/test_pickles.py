"""Pickles from outside: plain data and tensors are read, code is refused unrun."""

import pickle
import subprocess

import numpy as np
import pytest
from torch_files import Tensor, write_tensors

from kfood import pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(tmp_path, protocol):
    values = [{"a": 1, "b": (2.5, None, True)}, {3: ["é", 10**30]}]
    path = tmp_path / "plain.pkl"
    path.write_bytes(b"".join(pickle.dumps(value, protocol) for value in values))
    assert pickles.load_plain(path, 2) == values


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return subprocess.call, (["touch", self.path],)


def test_code_is_refused_by_name_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({}) + pickle.dumps({"id": RunsCode(str(marker))}))
    with pytest.raises(ValueError, match=r"evil\.pkl.*refused pickle 2: it names subprocess\.call"):
        pickles.load_plain(path, 2)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps({}), pickle.dumps({}) + pickle.dumps({"a": "b" * 100})[:40]],
    ids=["empty", "text", "one", "cut"],
)
def test_damaged_or_short_file(tmp_path, content):
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pkl: expected 2 pickles of plain data"):
        pickles.load_plain(path, 2)


def test_harmless_classes_are_refused_too(tmp_path):
    path = tmp_path / "numpy.pkl"
    path.write_bytes(pickle.dumps(np.arange(3)))
    with pytest.raises(ValueError, match="it names numpy"):
        pickles.load_plain(path, 1)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        pickles.load_plain(tmp_path / "none.pkl", 1)


TENSORS = {
    "kernel": np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5),
    "bias": np.arange(3, dtype="float32") - 1,
    "steps": np.int64(7) * np.ones((), "int64"),
}


def test_tensors_of_any_order_in_memory(tmp_path):
    write_tensors(tmp_path / "t.pth", TENSORS)
    found = pickles.load_tensors(tmp_path / "t.pth")
    assert list(found) == list(TENSORS)
    for name, expected in TENSORS.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected, strict=True)


def test_a_part_of_a_storage(tmp_path):
    write_tensors(tmp_path / "t.pth", {"a": TENSORS["bias"]}, tensor=lambda storage, *_: Tensor(storage, 1, (2,), (1,)))
    np.testing.assert_array_equal(pickles.load_tensors(tmp_path / "t.pth")["a"], [0, 1])


def test_code_among_tensors_is_refused_by_name_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    write_tensors(tmp_path / "t.pth", TENSORS, evil=RunsCode(str(marker)))
    with pytest.raises(ValueError, match=r"t\.pth.*it names \S*call, and only plain tensors"):
        pickles.load_tensors(tmp_path / "t.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((2, 2), (2, 1), 0), ((3,), (1,), 1), ((2,), (3,), 0), ((2,), (-1,), 0), ((3,), (1,), -1), ((1000,), (0,), 0)],
    ids=["larger", "behind", "wide", "backwards", "before", "one number a thousand times"],
)
def test_a_tensor_beyond_its_storage(tmp_path, shape, strides, offset):
    write_tensors(
        tmp_path / "t.pth", {"a": TENSORS["bias"]}, tensor=lambda storage, *_: Tensor(storage, offset, shape, strides)
    )
    with pytest.raises(ValueError, match=r"t\.pth: expected a state dict of tensors"):
        pickles.load_tensors(tmp_path / "t.pth")


def test_damaged_tensors(tmp_path):
    path = tmp_path / "t.pth"
    write_tensors(path, TENSORS)
    whole = path.read_bytes()
    # Of the last storage, an int64: its count, then 8 bytes.
    for content in (b"", whole[:-1], whole + b"0", whole[:-16] + b"\2" + whole[-15:], whole[:200], b"PK\3\4" + whole):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"t\.pth: expected a state dict of tensors"):
            pickles.load_tensors(path)
