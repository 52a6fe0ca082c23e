"""Reading Recipe1M's and Recipe1M+'s raw files.

The layout (``SOURCE`` is a folder)::

    layer1.json              [{"id", "title", "ingredients": [{"text"}], "instructions": [{"text"}], "partition"}]
    layer2.json              [{"id", "images": [{"id": "<photo name>"}]}]; or layer2+.json, which is preferred
    det_ingrs.json           [{"id", "valid": [bool], "ingredients": [{"text"}]}]: clean ingredient names
    remove1M.txt             optional; ids of recipes that stand in two splits, as the authors found later; dropped
    classes1M.pkl            optional; two pickles in one file: {recipe id: class}, {class: name}
    [images/][<split>/]a/b/c/d/abcd….jpg    photos, by the first four characters of their names

What cannot be used is dropped, and every drop is counted under its reason, with the first ids
(:class:`kfood.data.drops.Drops`).

The lists that JNE's code ships hold 238,408, 51,119 and 51,304 pairs to train on, to choose by and to test on; the
papers print 238,999 to train on (ACME), 238,399, 51,119 and 51,303 (MCEN), and 340,922 in all (R2GAN).

layer1.json is streamed; what is kept in memory is, for each recipe with photos, its photo names and clean ingredient
names, and one id and one byte for each recipe: about 1 GB for Recipe1M.
"""

import collections
import concurrent.futures
import dataclasses
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ijson
from PIL import Image

from kfood import photo_files, pickles
from kfood.data import json_files
from kfood.data.dataset import MOST_PHOTOS, SPLITS, WITHOUT_PHOTOS, RecipeRecord
from kfood.data.drops import Drops
from kfood.data.names import SAFE_NAME
from kfood.data.vectors import SentenceVectors

JPEG_QUALITY = 92


class PhotoError(Exception):
    """A photo cannot be used; the message is the reason under which it is counted."""


Loaded = tuple[list[bytes], list[tuple[str, str]]]
"""A recipe's photos, as JPEG, and (name, reason) of those that failed before them."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A recipe whose texts are in order, its photos, named, not looked at yet."""

    id: str
    split: str
    title: str
    ingredients: list[str]
    ingredient_names: list[str]
    instructions: list[str]
    photos: list[str]


class Recipe1M:
    """Recipe1M's raw files, scanned once; then read split by split.

    Args:
        source: folder of the raw files.
        short_side: photos are reduced, never enlarged, so that their short side is this many pixels.
        vectors: precomputed sentence vectors; recipes without any are dropped.
        keep_without_photos: recipes of the train partition without a photo are records of the split
            :data:`~kfood.data.dataset.WITHOUT_PHOTOS`, and are not dropped.
        load: what loads photos: from what gives the recipes of a split, and the folders where photos may be, to each
            recipe with what :func:`load_named_photos` returns; by default threads of this process.

    Attributes:
        classes: class names, index = class id, 0 = "background".
        candidates: recipes with usable texts, by split.
        dropped: recipes of layer1.json dropped, by reason, each once; complete once every split has been read.
        unused: entries of the other files that no recipe uses, by reason.
        photos_dropped: photos dropped of recipes that other photos may have kept; likewise.
        photos_kept: photos of the records read so far.
        notes: remarks for the user.

    Raises:
        FileNotFoundError: if a required file is missing.
        ValueError: if a file is not what its name says.
    """

    def __init__(
        self,
        source: str | pathlib.Path,
        *,
        short_side: int = 256,
        vectors: SentenceVectors | None = None,
        keep_without_photos: bool = False,
        load: Callable[[Callable[[], Iterator[Entry]], list[pathlib.Path]], Iterator[tuple[Entry, Loaded]]]
        | None = None,
    ):
        self.source = pathlib.Path(source)
        if not self.source.is_dir():
            raise FileNotFoundError(f"{self.source}: expected a folder with Recipe1M's files, found none.")
        self.short_side = short_side
        self.dropped = Drops()
        self.unused = Drops()
        self.photos_dropped = Drops()
        self.photos_kept = 0
        self.notes: list[str] = []
        self._splits = (*SPLITS, WITHOUT_PHOTOS) if keep_without_photos else SPLITS
        self.candidates = dict.fromkeys(self._splits, 0)
        self._vectors = vectors
        self._load = load
        self._malformed: dict[str, set[str]] = {"photos": set(), "names": set()}  # recipes with such entries
        self._layer1 = self._file("layer1.json")
        self._layer2 = self._file("layer2+.json", "layer2.json")
        self._names_file = self._file("det_ingrs.json")
        self.classes, self._class_of = self._read_classes()
        self._removed = self._read_removed()

    def scan(self, advance: Callable[[], object] = lambda: None) -> None:
        """Read all but the photos: find out which recipes can be used and count those that cannot.

        Args:
            advance: called once for each entry of layer1.json.
        """
        self._photos = self._read_photo_names()
        self._names = self._read_ingredient_names()
        self._fates = bytearray()  # of each entry of layer1.json: 0 = dropped, else 1 + the index of its split
        seen: set[str] = set()
        for raw in _stream(self._layer1):
            entry = self._check(raw, seen)
            self._fates.append(0 if entry is None else 1 + self._splits.index(entry.split))
            if entry is not None:
                self.candidates[entry.split] += 1
            advance()
        for recipe in self._photos:
            if recipe not in seen:
                self.unused.add(f"in {self._layer2.name} but not in layer1.json", recipe)

    def records(self, split: str, advance: Callable[[], object] = lambda: None) -> Iterator[RecipeRecord]:
        """The usable recipes of a split in the order of layer1.json, after :meth:`scan`.

        Args:
            split: "train", "val" or "test", or where they are kept ``WITHOUT_PHOTOS``.
            advance: called once for each candidate of the split.

        Yields:
            Records with at least one photo, or of that split without any.
        """
        roots = self._photo_roots(split)
        wanted = 1 + self._splits.index(split)

        def entries() -> Iterator[Entry]:
            known = zip(_stream(self._layer1), self._fates, strict=True)
            return (self._entry(raw) for raw, fate in known if fate == wanted)

        load = self._load if self._load and split != WITHOUT_PHOTOS else self._load_in_threads
        for entry, (photos, failures) in load(entries, roots):
            advance()
            for name, reason in failures:
                self.photos_dropped.add(reason, f"{entry.id}/{name}")
            if not photos and entry.photos:
                self.dropped.add(failures[0][1], entry.id)
                continue
            self.photos_kept += len(photos)
            yield RecipeRecord(
                id=entry.id,
                title=entry.title,
                ingredients=entry.ingredients,
                ingredient_names=entry.ingredient_names,
                instructions=entry.instructions,
                class_id=self._class_of.get(entry.id, 0),
                photos=photos,
                instruction_vectors=None if self._vectors is None else self._vectors[entry.id],
            )

    def _file(self, *names: str) -> pathlib.Path:
        for name in names:
            if (self.source / name).is_file():
                return self.source / name
        raise FileNotFoundError(f"{self.source}: expected a file {' or '.join(names)} in it, found none.")

    def _read_classes(self) -> tuple[list[str], dict[str, int]]:
        path = self.source / "classes1M.pkl"
        if not path.is_file():
            self.notes.append("no classes1M.pkl: every recipe is of class 0, background.")
            return ["background"], {}
        class_of, names = pickles.load_plain(path, 2)
        if not (
            isinstance(class_of, dict)
            and isinstance(names, dict)
            and all(isinstance(key, int) and key >= 0 for key in (*names, *class_of.values()))
        ):
            raise ValueError(f"{path}: expected two dicts, recipe id → class number and class number → name.")
        size = 1 + max([0, *names, *class_of.values()])
        if size > 1_000_000:
            raise ValueError(f"{path}: expected class numbers below 1,000,000, received {size - 1:,}.")
        classes = [" ".join(str(names.get(index, f"class {index}")).split()) for index in range(size)]
        return ["background", *classes[1:]], class_of

    def _read_removed(self) -> set[str]:
        path = self.source / "remove1M.txt"
        if not path.is_file():
            return set()
        removed = set(path.read_text(encoding="utf-8-sig", errors="replace").split())
        self.notes.append(f"remove1M.txt: {len(removed):,} ids that are dropped.")
        return removed

    def _read_photo_names(self) -> dict[str, str]:
        """Recipe id → its photo names, joined by newlines (Recipe1M+ has 13 million)."""
        photos: dict[str, str] = {}
        malformed = self._malformed["photos"]
        for raw in _stream(self._layer2):
            recipe, images = raw.get("id"), raw.get("images")
            if not isinstance(recipe, str):
                self.unused.add(f"malformed entry of {self._layer2.name}", recipe)
            elif recipe in photos:
                self.unused.add(f"duplicate id in {self._layer2.name}", recipe)
            elif not isinstance(images, list):
                malformed.add(recipe)
            else:
                names = [image.get("id") for image in images if isinstance(image, dict)]
                safe = []
                for name in names:
                    if isinstance(name, str) and len(name) >= 4 and SAFE_NAME.fullmatch(name):
                        safe.append(name)
                    else:
                        self.photos_dropped.add("unsafe photo name", f"{recipe}/{name}")
                photos[recipe] = "\n".join(safe)
        return photos

    def _read_ingredient_names(self) -> dict[str, str]:
        """Id of a recipe that may be used → its valid clean ingredient names, joined by newlines."""
        found: dict[str, str] = {}
        for raw in _stream(self._names_file):
            recipe, valid = raw.get("id"), raw.get("valid")
            if not isinstance(recipe, str):
                self.unused.add("malformed entry of det_ingrs.json", recipe)
                continue
            if recipe in found:
                self.unused.add("duplicate id in det_ingrs.json", recipe)
                continue
            if recipe not in self._photos and WITHOUT_PHOTOS not in self._splits:
                continue
            names = _lines(raw.get("ingredients"), keep_empty=True)
            if isinstance(valid, list) and len(names) == len(valid):
                found[recipe] = "\n".join(name for name, good in zip(names, valid, strict=True) if good and name)
            else:
                self._malformed["names"].add(recipe)
        return found

    def _check(self, raw: dict[str, Any], seen: set[str]) -> Entry | None:
        """The entry if its recipe can be used, or None once the reason is counted; its id joins ``seen``."""
        recipe = raw.get("id")
        reason = None
        if not isinstance(recipe, str):
            reason = "malformed entry of layer1.json"
        elif not SAFE_NAME.fullmatch(recipe):
            reason = "unsafe id"
        elif recipe in seen:
            reason = "duplicate id"
        elif recipe in self._removed:
            reason = "listed in remove1M.txt"
        elif raw.get("partition") not in SPLITS:
            reason = "unknown partition"
        elif recipe not in self._photos and recipe in self._malformed["photos"]:
            reason = f"malformed entry of {self._layer2.name}"
        elif self._is_without_photos(raw):
            pass
        elif recipe not in self._photos:
            reason = f"no photo: not in {self._layer2.name}"
        elif not self._photos[recipe]:
            reason = "no photo listed"
        if reason is not None:
            pass
        elif not _lines(raw.get("ingredients")):
            reason = "no ingredients"
        elif not _lines(raw.get("instructions")):
            reason = "no instructions"
        elif recipe not in self._names and recipe in self._malformed["names"]:
            reason = "malformed entry of det_ingrs.json"
        elif recipe not in self._names:
            reason = "no det_ingrs.json entry"
        elif not self._names[recipe]:
            reason = "no valid ingredient name"
        elif self._vectors is not None and recipe not in self._vectors:
            reason = "no sentence vectors"
        if isinstance(recipe, str):
            seen.add(recipe)
        if reason is not None:
            self.dropped.add(reason, recipe)
            return None
        return self._entry(raw)

    def _is_without_photos(self, raw: dict[str, Any]) -> bool:
        kept = WITHOUT_PHOTOS in self._splits and raw["partition"] == "train"
        return kept and not self._photos.get(raw["id"])

    def _entry(self, raw: dict[str, Any]) -> Entry:
        recipe = raw["id"]
        alone = self._is_without_photos(raw)
        return Entry(
            id=recipe,
            split=WITHOUT_PHOTOS if alone else raw["partition"],
            title=_clean(raw.get("title")),
            ingredients=_lines(raw["ingredients"]),
            ingredient_names=self._names[recipe].split("\n"),
            instructions=_lines(raw["instructions"]),
            photos=[] if alone else self._photos[recipe].split("\n"),
        )

    def _photo_roots(self, split: str) -> list[pathlib.Path]:
        """Folders in which the photos of a split may be, with and without ``images/`` and the split."""
        tried = [self.source / "images" / split, self.source / "images", self.source / split, self.source]
        return [folder for folder in tried if folder.is_dir()]

    def _load_in_threads(self, entries, roots):
        return map_in_order(lambda entry: load_named_photos(entry.photos, roots, self.short_side), entries())


def load_named_photos(names: Iterable[str], roots: Sequence[pathlib.Path], short_side: int) -> Loaded:
    """The first readable photos of a recipe, as many as are stored.

    Args:
        names: of its photos.
        roots: folders that may hold them.
        short_side: see :func:`load_photo`.
    """
    return load_photos(((name, _find_photo(name, roots)) for name in names), short_side)


def load_photos(named: Iterable[tuple[str, "pathlib.Path | bytes | PhotoError"]], short_side: int) -> Loaded:
    """The first readable photos of a recipe, as many as are stored.

    Args:
        named: name, and path or bytes, or why there is none, of each.
        short_side: see :func:`load_photo`.

    Returns:
        The photos, and (name, reason) of those that failed before them.
    """
    photos: list[bytes] = []
    failures: list[tuple[str, str]] = []
    for name, photo in named:
        if len(photos) == MOST_PHOTOS:
            break
        try:
            if isinstance(photo, PhotoError):
                raise photo
            photos.append(load_photo(photo, short_side))
        except PhotoError as error:
            failures.append((name, str(error)))
    return photos, failures


def load_photo(photo: str | os.PathLike | bytes, short_side: int) -> bytes:
    """Read one photo, checked, upright and on white (:mod:`kfood.photo_files`), and reduced.

    Args:
        photo: a picture file of one of :data:`kfood.photo_files.FORMATS`: its path or its bytes.
        short_side: most pixels of the result's short side; smaller photos are not enlarged.

    Returns:
        JPEG bytes, upright RGB or grey; those of the file where it is that already.

    Raises:
        PhotoError: if it has too many pixels or bytes (known before decoding), or cannot be decoded whole.
    """
    try:
        with photo_files.opened(photo) as image:
            width, height = image.size
            as_is = image.format == "JPEG" and image.mode in ("RGB", "L") and min(width, height) <= short_side
            scale = short_side / min(width, height)
            if scale < 0.5:
                # JPEG decodes to 1/2, 1/4, 1/8 for less; twice the wanted size leaves the resampling enough to go by.
                image.draft("RGB", (round(2 * scale * width), round(2 * scale * height)))
            pixels = photo_files.upright(image)
            as_is = as_is and photo_files.orientation(image) == 1
    except FileNotFoundError as error:
        raise PhotoError("photo file missing") from error
    except (photo_files.UnreadablePhotoError, photo_files.LargePhotoError) as error:
        raise PhotoError(error.reason) from error
    if as_is:
        data = photo if isinstance(photo, bytes) else pathlib.Path(photo).read_bytes()
        if data.endswith(b"\xff\xd9"):  # the end marker: nothing foreign is appended
            return data
    upright = Image.fromarray(pixels)
    if scale < 1:
        upright = upright.resize(_reduced(upright.size, short_side), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    upright.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def _reduced(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    width, height = (round(side * short_side / min(size)) for side in size)
    return width, height


def _find_photo(name: str, roots: Iterable[pathlib.Path]) -> "pathlib.Path | PhotoError":
    below = pathlib.PurePath(*name[:4], name)
    for root in roots:
        if os.path.isfile(root / below):  # unlike Path.is_file, it takes a name too long for the system as missing
            return root / below
    return PhotoError("photo file missing")


def _stream(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The entries of a JSON file that is a list of objects, one at a time; others come as empty objects."""
    empty = True
    try:
        for entry in json_files.items(path, "item"):
            empty = False
            yield entry if isinstance(entry, dict) else {}
    except (ijson.JSONError, ValueError) as error:
        raise ValueError(f"{path}: expected a JSON list of objects; {error}".replace("\n", " ").strip()) from error
    if empty:
        raise ValueError(f"{path}: expected a JSON list of objects, received none.")


def _clean(text: object) -> str:
    """One line of valid Unicode, "" for what is no text."""
    if not isinstance(text, str):
        return ""
    # JSON can hold half a surrogate pair, which no UTF-8 encoder takes.
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _lines(items: object, keep_empty: bool = False) -> list[str]:
    """Texts of a list of {"text"}, without those that hold no letter or number."""
    if not isinstance(items, list):
        return []
    lines = (_clean(item.get("text") if isinstance(item, dict) else None) for item in items)
    lines = (line if any(map(str.isalnum, line)) else "" for line in lines)
    return [line for line in lines if line or keep_empty]


def map_in_order(function: Callable, items: Iterable) -> Iterator[tuple]:
    """(item, function(item)) in order, computed by threads a bounded distance ahead.

    Threads are enough: Pillow decodes, resizes and encodes without the interpreter's lock.
    """
    workers = min(8, os.cpu_count() or 1)  # a photo of the largest size admitted takes some 400 MB while it is read
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        ahead: collections.deque = collections.deque()
        try:
            for item in items:
                ahead.append((item, pool.submit(function, item)))
                if len(ahead) >= 4 * workers:
                    done, result = ahead.popleft()
                    yield done, result.result()
            while ahead:
                done, result = ahead.popleft()
                yield done, result.result()
        finally:
            for _, result in ahead:
                result.cancel()
