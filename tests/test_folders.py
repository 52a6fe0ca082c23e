"""Folders and files that appear whole or not at all, also when the process that writes them is killed."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from kfood import folders

KIND = {"kind": "cakes", "marker": "cake.json"}


def bake(out, text="new", overwrite=False):
    with folders.whole_folder(out, **KIND, overwrite=overwrite) as folder:
        (folder / "cake.json").write_text(text)
        assert not (out / "cake.json").exists() or (out / "cake.json").read_text() != text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "cake"
    bake(out)
    assert (names(out.parent), names(out)) == (["cake"], ["cake.json"])
    bake(out, "newer", overwrite=True)
    assert names(out.parent) == ["cake"]
    assert (out / "cake.json").read_text() == "newer"


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "cake"

    def fail():
        with folders.whole_folder(out, **KIND, overwrite=True) as folder:
            (folder / "cake.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []
    bake(out)
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == ["cake"]
    assert (out / "cake.json").read_text() == "new"


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    out = tmp_path / "cake"
    bake(out)
    replace = os.replace

    def full(source, target):
        if os.path.basename(source) == "new":
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        bake(out, "newer", overwrite=True)
    assert names(tmp_path) == ["cake"]
    assert (out / "cake.json").read_text() == "new"


def test_what_is_in_the_way_is_refused_before_and_after(tmp_path):
    out = tmp_path / "cake"
    out.mkdir()
    bake(out)  # an empty folder is in nobody's way
    with pytest.raises(FileExistsError, match="cake: exists already; choose another folder, or replace it with --over"):
        bake(out)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.jpg").touch()
    with pytest.raises(FileExistsError, match=r"replaces cakes only, and this has no cake\.json"):
        bake(other, overwrite=True)
    late = tmp_path / "late"

    def overtaken():
        with folders.whole_folder(late, **KIND, overwrite=False):
            late.mkdir()
            (late / "theirs").touch()

    with pytest.raises(FileExistsError, match="exists already"):
        overtaken()
    assert names(tmp_path) == ["cake", "late", "photos"]
    assert names(late) == ["theirs"]


_WRITES = """
import pathlib, sys, time
from kfood import folders
with folders.whole_folder(pathlib.Path(sys.argv[1]), kind="cakes", marker="cake.json", overwrite=False) as folder:
    print(folder.parent.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer():
    """Starts processes that write a folder and do not finish; (process, name of its temporary folder)."""
    started = []

    def start(out):
        process = subprocess.Popen([sys.executable, "-c", _WRITES, str(out)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(folders.fcntl is None, reason="without locks leftovers stay")
def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path, writer):
    killed, leftover = writer(tmp_path / "cake")
    _, living = writer(tmp_path / "cake")
    sibling, other = writer(tmp_path / "cake.big")  # another target, whose name begins alike
    for process in (killed, sibling):
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / ".cake.noises.partial").mkdir()  # without a lock: nobody knows whose
    (tmp_path / ".cake.kept").mkdir()
    assert {leftover, living, other} <= set(names(tmp_path))
    bake(tmp_path / "cake")
    assert names(tmp_path) == sorted([living, other, ".cake.kept", ".cake.noises.partial", "cake"])


@pytest.mark.skipif(folders.fcntl is None, reason="without locks leftovers stay")
def test_the_only_copy_of_what_was_to_be_replaced_stays(tmp_path, writer):
    """Killed between the two renames."""
    process, leftover = writer(tmp_path / "cake")
    process.kill()
    process.wait()
    (tmp_path / leftover / "old").mkdir()
    bake(tmp_path / "cake")
    assert leftover in names(tmp_path)
    bake(tmp_path / "cake", "newer", overwrite=True)  # now there is another
    assert names(tmp_path) == ["cake"]


def test_files_are_written_all_or_none(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.bin"
    folders.write_whole({one: "é\n", two: b"\xff"})
    assert (one.read_bytes(), two.read_bytes()) == (b"\xc3\xa9\n", b"\xff")
    with pytest.raises(UnicodeEncodeError):
        folders.write_whole({one: "other", two: "\ud800"})
    with pytest.raises(FileNotFoundError):
        folders.write_whole({one: "other", tmp_path / "none" / "three": ""})
    assert (one.read_bytes(), two.read_bytes()) == (b"\xc3\xa9\n", b"\xff")
    assert names(tmp_path) == ["one.txt", "two.bin"]


def test_a_file_that_does_not_fit_is_named_and_nothing_is_left(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*two.bin'") as caught:
            folders.write_whole({tmp_path / "one.bin": b"1", tmp_path / "two.bin": bytes(2000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == []


_HOLD = """
import pathlib, sys, time
from kfood import folders
with folders.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_and_free_after_it_is_killed(tmp_path):
    assert folders.is_empty(tmp_path / "none")
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert folders.is_empty(tmp_path)
        with pytest.raises(BlockingIOError, match="held by another process"), folders.held(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with folders.held(tmp_path), pytest.raises(BlockingIOError), folders.held(tmp_path):
        pass
    (tmp_path / "file").touch()
    assert not folders.is_empty(tmp_path)
    assert not folders.is_empty(tmp_path / "file")


@pytest.mark.skipif(folders.fcntl is None, reason="no locks here")
def test_a_held_folder_is_waited_for_on_request(tmp_path):
    import threading

    told, order = threading.Event(), []

    def second():
        with folders.held(tmp_path, told.set):
            order.append("second")

    with folders.held(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
