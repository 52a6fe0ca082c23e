"""Pickles from outside: plain data is read, code is refused unrun."""

import pickle
import subprocess

import numpy as np
import pytest

from kfood.data import pickles


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
