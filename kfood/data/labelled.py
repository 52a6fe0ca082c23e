"""Labelled photos from folders, archives and TFDS, split so that no test class is ever trained on.

Any layout works in which the photos of a class lie in a folder of its name, and these folders beside each other:
``images/<class>/<file>`` as Food-101, ISIA Food-500 and CUB-200-2011 have it, Vireo Food-172's numbered folders; as
files, or in a tar archive, compressed or not, which is read from front to back, a photo at a time. Formats, and how
large a photo may be: :mod:`kfood.photo_files`.

The classes in string order (so 1, 10, 100, 101, … of numbers) are numbered from 0. The first are trained on, the rest
are tested on (:data:`KNOWN`); a share of the training classes' photos is held out for validation.
"""

import bz2
import collections
import dataclasses
import functools
import gzip
import lzma
import os
import pathlib
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from kfood import schema
from kfood.data.dataset import SPLITS, PhotoRecord
from kfood.data.drops import Drops
from kfood.data.names import SAFE_NAME
from kfood.data.recipe1m import PhotoError, load_photo, map_in_order
from kfood.photo_files import MAX_BYTES, SUFFIXES

_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x5d\x00\x00\x80": lzma.open,
}
"""What a compressed archive starts with → what opens it."""

_DESCRIBING = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of members that only describe the next one."""

_MOST_HEADER = 1_000_000
"""Bytes of what an archive says of a member beside its name."""


@dataclasses.dataclass(frozen=True)
class Known:
    """A data set of the α-sampling paper (its sections 4.1 and 4.6).

    Attributes:
        classes: in all.
        train_classes: how many of them are trained on.
        tfds: its builder's name in TFDS; empty where there is none.
        label: the feature of that builder that holds the class.
        named: the feature that holds a name of the class, where ``label`` has numbers only.
    """

    classes: int
    train_classes: int
    tfds: str = ""
    label: str = "label"
    named: str = ""


KNOWN = {
    "food-101": Known(101, 70, "food101"),
    "vireo-172": Known(172, 120),
    "isia-500": Known(500, 350),
    "cub-200-2011": Known(200, 100, "caltech_birds2011", named="label_name"),
    "cars196": Known(196, 98, "cars196"),
    "sop": Known(22_634, 11_318, "stanford_online_products", "class_id", named="super_class_id"),
}
"""The paper's data sets and their splits."""


class Source(Protocol):
    """Where photos come from."""

    classes: list[str]
    """Names; index = class id."""
    items: Mapping[str, int]
    """Photo's id → class id, in the order in which :meth:`read` gives them."""
    dropped: Drops
    """What is no photo of a class."""

    def read(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, bytes | pathlib.Path]]:
        """(id, file or its content) of the photos whose id is wanted, each once."""


class Files:
    """Photos in class folders, or in an archive of them.

    Args:
        source: folder, or tar archive.

    Raises:
        FileNotFoundError: there is no such thing.
        ValueError: it is no archive, or it has no class folders, or not all beside each other, or no photo in them
            can be used.
    """

    def __init__(self, source: str | pathlib.Path):
        self.source = pathlib.Path(source)
        self.dropped = Drops()
        if not self.source.exists():
            raise FileNotFoundError(f"--source: expected a folder or a tar archive, received {self.source}.")
        if not (self.source.is_dir() or self.source.is_file()):
            raise ValueError(f"--source: expected a folder or a tar archive, received {self.source}, which is neither.")
        walked = []
        sizes: dict[pathlib.PurePosixPath, int] = {}
        for path, size, content in self._walk():
            walked.append((path, content is not None))
            sizes[path] = max(size, sizes.get(path, 0))
        photos = [path for path, regular in walked if regular and path.suffix.lower() in SUFFIXES]
        root = _class_root(photos, self.source)
        found: dict[pathlib.PurePosixPath, str] = {}
        for path, regular in walked:
            if path.parent.parent != root or path.name.startswith("."):
                continue  # beside the class folders, or a system's own file
            if path.suffix.lower() not in SUFFIXES:
                self.dropped.add("no picture by its name", path)
            elif not regular:
                self.dropped.add("no regular file", path)
            elif _undecodable(path):
                self.dropped.add("name that is not UTF-8", path)
            elif not SAFE_NAME.fullmatch(path.parent.name) or not SAFE_NAME.fullmatch(path.name):
                self.dropped.add("unsafe name", path)
            elif sizes[path] > MAX_BYTES:
                self.dropped.add("file too large", path)
            elif path in found:
                self.dropped.add("twice in the archive", path)
            else:
                found[path] = f"{path.parent.name}/{path.name}"
        if not found:
            reasons = ", ".join(
                f"{reason}: {drop['count']:,} ({drop['first'][0]})" for reason, drop in self.dropped.by_reason.items()
            )
            raise ValueError(
                f"{source}: expected photos in class folders, received none that can be used "
                f"({reasons or 'hidden files'})."
            )
        self.classes = sorted({path.parent.name for path in found})
        numbers = {name: index for index, name in enumerate(self.classes)}
        self.items = {name: numbers[path.parent.name] for path, name in found.items()}
        self._names = found

    def read(self, wanted):
        """See :class:`Source`."""
        left = {path for path, name in self._names.items() if wanted(name)}
        for path, _, content in self._walk():
            if content is not None and path in left:
                left.discard(path)
                yield self._names[path], content()

    def _walk(self) -> Iterator[tuple[pathlib.PurePosixPath, int, Callable[[], bytes | pathlib.Path] | None]]:
        """(path below the source, bytes, what gives the file) of every file, always in the same order.

        The bytes are those of an archive's member; of a file, which is not read here, 0. None gives a pipe, a device or
        a dangling link, in an archive any link too: reading one may never end.
        """
        if self.source.is_dir():
            for folder, folders, files in os.walk(self.source):
                folders.sort()
                for name in sorted(files):
                    path = pathlib.Path(folder, name)
                    yield (
                        pathlib.PurePosixPath(path.relative_to(self.source).as_posix()),
                        0,
                        functools.partial(_same, path) if path.is_file() else None,
                    )
            return
        try:
            with self._unpacked() as file, tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
                for member in archive:
                    if not member.isdir():
                        content = functools.partial(_content, archive, member) if member.isfile() else None
                        yield pathlib.PurePosixPath(member.name), member.size, content
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"{self.source}: expected a folder or a whole tar archive ({error}).") from error

    def _unpacked(self):
        """The archive's file, decompressed: tarfile's own way takes time by the square of what is left unread."""
        with open(self.source, "rb") as file:
            head = file.read(6)
        return next((opens for start, opens in _COMPRESSED.items() if head.startswith(start)), open)(self.source, "rb")


class Ready:
    """Photos of a data set that TFDS has a builder for, which downloads and prepares them where that was not done.

    Args:
        name: of :data:`KNOWN`, one that has a builder.
        builder: a TFDS builder in place of its own.

    Raises:
        ValueError: no such data set, or none with a builder.
    """

    def __init__(self, name: str, builder: Any = None):
        import tensorflow_datasets as tfds

        ready = [known for known in KNOWN if KNOWN[known].tfds]
        if name not in ready:
            raise ValueError(f"--tfds: expected one of {', '.join(ready)}, received {name!r}.")
        self.dropped = Drops()
        self._label, named = KNOWN[name].label, KNOWN[name].named
        self._builder = builder if builder is not None else tfds.builder(KNOWN[name].tfds)
        self._builder.download_and_prepare()
        label = self._builder.info.features[self._label]
        self.items = {}
        names = {} if named else {index: label.int2str(index) for index in range(label.num_classes)}
        for item, example in self._examples({feature: True for feature in (self._label, named) if feature}):
            self.items[item] = int(example[self._label])
            if named:
                names.setdefault(self.items[item], _text(self._builder.info.features[named], example[named]))
        # Named in the order of their ids, which the builders number as the data sets do.
        shared = collections.Counter(names.values())
        self.classes = []
        for index in range(label.num_classes):
            words = names.get(index, "").split()
            self.classes.append(" ".join(words if shared[names.get(index)] == 1 else [*words, str(index)]))

    def read(self, wanted):
        """See :class:`Source`."""
        import tensorflow_datasets as tfds

        for name, example in self._examples(
            {self._label: True, "image": True}, decoders={"image": tfds.decode.SkipDecoding()}
        ):
            if wanted(name):
                yield name, bytes(example["image"])

    def _examples(self, features, decoders=None):
        import tensorflow_datasets as tfds

        partial = tfds.decode.PartialDecoding(features, decoders=decoders or {})
        for split in sorted(self._builder.info.splits):
            examples = self._builder.as_dataset(split=split, decoders=partial, shuffle_files=False)
            for index, example in enumerate(tfds.as_numpy(examples)):
                yield f"{split}/{index}", example


class LabelledPhotos:
    """A source's photos, split.

    Args:
        source: where they come from.
        train_classes: how many classes are trained on; all: there is no test split.
        val_share: share of these classes' photos that is held out.
        short_side: photos are reduced so that their short side has this many pixels.

    Attributes:
        candidates: photos by split, before any is found unreadable; no test split where all classes are trained on.
        dropped: what was left out, by reason.

    Raises:
        ValueError: more or fewer training classes than there can be, or a share that is none.
    """

    def __init__(self, source: Source, *, train_classes: int, val_share: float = 0.1, short_side: int = 256):
        classes = len(source.classes)
        if not 1 <= train_classes <= classes:
            raise ValueError(
                f"--train-classes: expected from 1 to {classes}, the number of classes, received {train_classes}."
            )
        if not 0 < val_share < 1:
            raise ValueError(f"--val-share: expected a share between 0 and 1, received {val_share}.")
        self.source = source
        self.dropped = source.dropped
        self._short_side = short_side
        by_class: list[list[str]] = [[] for _ in range(classes)]
        for name, class_id in source.items.items():
            by_class[class_id].append(name)
        held = held_out([sorted(names) for names in by_class[:train_classes]], val_share)
        self._split_of = {
            name: "test" if class_id >= train_classes else ("val" if name in held else "train")
            for name, class_id in source.items.items()
        }
        counted = collections.Counter(self._split_of.values())
        self.candidates = {split: counted[split] for split in SPLITS if split != "test" or train_classes < classes}

    def records(self, split: str, advance: Callable[[], object] = lambda: None) -> Iterator[PhotoRecord]:
        """The readable photos of a split.

        Args:
            split: "train", "val" or "test".
            advance: called after each candidate.
        """

        def load(item: tuple[str, bytes | pathlib.Path]) -> bytes | PhotoError:
            try:
                return load_photo(item[1], self._short_side)
            except PhotoError as error:
                return error

        for (name, _), photo in map_in_order(load, self.source.read(lambda name: self._split_of[name] == split)):
            if isinstance(photo, bytes):
                yield PhotoRecord(name, self.source.items[name], photo)
            else:
                self.dropped.add(str(photo), name)
            advance()


def held_out(classes: list[list[str]], share: float) -> set[str]:
    """Photos for validation: a share of each class, evenly from its list, and never one without another of its class.

    Where a class is too small to give two and keep two, a pair to validate on and a pair to learn from, its share is
    passed on to the next ones.

    Args:
        classes: the photos of each class.
        share: between 0 and 1.

    Returns:
        The photos held out; of each class two are not, or all that it has.
    """
    held: set[str] = set()
    owed = 0.0
    for names in classes:
        owed += share * len(names)
        number = min(int(owed + 1e-9), len(names) - 2)
        if number >= 2:
            held |= {names[int((index + 0.5) * len(names) / number)] for index in range(number)}
            owed -= number
    return held


def known_by_classes(number: int) -> str:
    """The name in :data:`KNOWN` of the data set with so many classes; empty if there is none."""
    return next((name for name, known in KNOWN.items() if known.classes == number), "")


def _text(feature: Any, value: Any) -> str:
    """What a feature of names holds: text, or the number of one of its names."""
    return value.decode() if isinstance(value, bytes) else feature.int2str(int(value))


def _undecodable(path: pathlib.PurePosixPath) -> bool:
    """Whether the system's bytes of a name are not UTF-8: Python holds them as half surrogate pairs."""
    return any("\ud800" <= character <= "\udfff" for character in str(path))


def _same(path: pathlib.Path) -> pathlib.Path:
    return path


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


class _Member(tarfile.TarInfo):
    """A member of an archive; of those that only describe the next one, tarfile would read any size at once."""

    def _proc_member(self, tarfile_):
        if self.type in _DESCRIBING and self.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, at most {_MOST_HEADER:,} are read")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _class_root(photos: list[pathlib.PurePosixPath], source: pathlib.Path) -> pathlib.PurePosixPath:
    """The folder that holds the class folders."""
    roots = {path.parent.parent for path in photos if len(path.parts) > 1}
    if photos and not roots:
        raise ValueError(
            f"{source}: expected photos as images/<class>/<file>, received photos beside each other in no class "
            f"folder, {photos[0]} first: the class of a photo is the name of its folder."
        )
    if len(roots) > 1:  # pictures lie elsewhere too: the data sets call the right folder so
        roots = {root for root in roots if root.name == schema.IMAGES}
    if len(roots) != 1:
        raise ValueError(
            f"{source}: expected photos as images/<class>/<file>, all class folders beside each other, received "
            f"{'several folders of class folders' if photos else 'no photo'}."
        )
    return roots.pop()
