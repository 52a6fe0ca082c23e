"""Files and folders that appear whole or not at all.

What takes long to write is written under another name beside its place and renamed when it is complete: whoever sees
it can use it, and a process that fails or is killed leaves what was there before.
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


LOCK = ".lock"
"""The file by which :func:`held` holds a folder."""


def check_output(out: pathlib.Path, *, kind: str, marker: str, overwrite: bool) -> None:
    """Refuse an output folder that is in the way; an empty one is not.

    Args:
        out: folder to be made.
        kind: what it is to be, in the plural, e.g. ``"bundles"``.
        marker: the file that every folder of this kind has; only such a folder is overwritten.
        overwrite: whether it may be replaced.

    Raises:
        FileExistsError: ``out`` exists and is not to be, or cannot safely be, overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; choose another folder, or replace it with --overwrite.")
    if not (out / marker).is_file():
        raise FileExistsError(f"{out}: --overwrite replaces {kind} only, and this has no {marker}.")


@contextlib.contextmanager
def whole_folder(out: pathlib.Path, *, kind: str, marker: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """A temporary folder beside ``out`` that becomes ``out`` if the block ends well, and vanishes if not.

    What a killed process left of an earlier attempt at the same ``out`` is removed.

    Args:
        out: as the others for :func:`check_output`, which is asked before and after the block: hours may pass.
        kind: see there.
        marker: see there.
        overwrite: see there.

    Raises:
        FileExistsError: ``out`` is in the way.
        OSError: it cannot be written; what was there stays.
    """
    check_output(out, kind=kind, marker=marker, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    with temporary_folder(out) as temporary:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        check_output(out, kind=kind, marker=marker, overwrite=overwrite)
        if out.exists():
            os.replace(out, old)
        try:
            os.replace(new, out)
        except OSError:
            if old.exists():
                os.replace(old, out)
            raise


@contextlib.contextmanager
def held(folder: pathlib.Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Holds an existing folder for this block alone, by a lock on its file ``.lock``.

    The lock ends with the block or with the process, however that ends; the file stays and means nothing.

    Args:
        folder: to hold.
        waiting: called where another block holds the folder, which is then waited for; None: refuse.

    Raises:
        BlockingIOError: another block holds the folder, here or in another process, and it is not to be waited for.
    """
    with open(folder / LOCK, "ab") if fcntl else contextlib.nullcontext() as lock:
        if lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if waiting is None:
                    raise BlockingIOError(f"{folder}: held by another process.") from error
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                pass  # no locks on this file system
        yield


def is_empty(folder: pathlib.Path) -> bool:
    """Whether there is nothing at a path, or a folder with nothing in it but what :func:`held` leaves."""
    return not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir()))


def write_whole(contents: Mapping[pathlib.Path, str | bytes | memoryview]) -> None:
    """Writes files, each whole or not at all, and none if one of them cannot be written.

    Args:
        contents: path → bytes, or text, which is encoded as UTF-8.

    Raises:
        OSError: a file cannot be written.
        UnicodeEncodeError: a text that UTF-8 has no bytes for.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, content in contents.items():
            try:
                temporary[path].write_bytes(content.encode() if isinstance(content, str) else content)
            except OSError as error:  # of a full disk Python does not say the file
                raise type(error)(error.errno, error.strerror, str(path)) from error
        for path in contents:
            os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder beside ``out``, gone at the end of the block.

    The lock in it lasts as long as this process does, however that ends; what is left then the next
    :func:`whole_folder` for the same ``out`` clears away.
    """
    with (
        tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as temporary,
        open(pathlib.Path(temporary, "lock"), "wb") if fcntl else contextlib.nullcontext() as lock,
    ):
        if lock:
            with contextlib.suppress(OSError):  # no locks on this file system: then nothing is taken for a leftover
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield pathlib.Path(temporary)


def _remove_leftovers(out: pathlib.Path) -> None:
    """Removes temporary folders for ``out`` that no living process holds.

    One without a lock is left alone (it may be about to receive it), and so is one that holds the only copy of what
    was to be replaced: its process was killed between the two renames.
    """
    if fcntl is None:
        return
    name = re.compile(rf"\.{re.escape(out.name)}\.[^.]+\.partial")
    for folder in [path for path in out.parent.iterdir() if name.fullmatch(path.name)]:
        if not out.exists() and (folder / "old").exists():
            continue
        with contextlib.suppress(OSError), open(folder / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
