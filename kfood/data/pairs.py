"""Recipe–photo pairs of one's own: recipe files of any format and a folder of photos.

A recipe's photos are found by what its file says of them (a path, a file name with or without its ending, the last part
of a URL; nothing is fetched), where it says nothing by its id, and then by its title; in the photo folder first, then
beside the recipe file. Splits are by share and seed, so that a recipe keeps its split when others join, or by a column.
"""

import collections
import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence

from kfood import photo_files
from kfood.data.dataset import SPLITS, WITHOUT_PHOTOS, RecipeRecord
from kfood.data.drops import Drops
from kfood.data.ingredient_names import clean_name
from kfood.data.names import SAFE_NAME
from kfood.data.recipe1m import PhotoError, load_photos, map_in_order
from kfood.data.recipe_fields import USUAL, Recipe
from kfood.data.recipe_formats import Found, read_recipes

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What a split column may hold → the split."""

_COVERS = ("full", "original", "cover", "image")  # Nextcloud's full.jpg, Mealie's images/original.webp
_STOP = frozenset("a and for from how in la le my of on or s style the to with".split())


@dataclasses.dataclass(frozen=True)
class _Entry:
    id: str
    split: str
    recipe: Recipe
    where: str
    folder: pathlib.Path | None


class PhotoFolder:
    """The pictures below a folder, by name.

    Args:
        folder: searched with all its folders; hidden ones are left out.

    Attributes:
        count: how many pictures there are.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: expected a folder of photos, found none.")
        self.count = 0
        self._by_name: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for root, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = pathlib.Path(root, name)
                if path.suffix.lower() in photo_files.SUFFIXES and not name.startswith(".") and path.is_file():
                    self.count += 1
                    inside = path.relative_to(self.folder).as_posix().lower()
                    for key in {inside, inside.removesuffix(path.suffix.lower()), name.lower(), path.stem.lower()}:
                        self._by_name[key].append(path)

    def find(self, name: str) -> pathlib.Path | None:
        """The picture of that path, file name, or file name without its ending, in lower or upper case.

        Raises:
            PhotoError: several pictures have that name.
        """
        asked = name.replace("\\", "/").lower().strip("/")
        asked = asked.removeprefix("./")
        parts = [part for part in asked.split("/") if part]
        for start in range(len(parts)):  # the longest end of the path that is known here
            key = "/".join(parts[start:])
            for candidate in (key, os.path.splitext(key)[0]):
                found = self._by_name.get(candidate, [])
                if len(found) == 1:
                    return found[0]
                if found:
                    raise PhotoError("several photos of that name")
        return None


class Pairs:
    """Recipes with photos of one's own, read once; then given out split by split.

    Texts are kept in memory, about 3 kB a recipe; photos are not.

    Args:
        recipes: a file or a folder of files, see :mod:`kfood.data.recipe_formats`.
        photos: folder of photos, or None where they lie beside the recipe files or within them.
        columns: what a recipe holds → the field or column that holds it.
        short_side: photos are reduced, never enlarged, so that their short side is this many pixels.
        val_share: share of the recipes for validation.
        test_share: share for testing.
        seed: of the split.
        classes_of_titles: least number of titles that a class takes; 0 = no classes, all are background.
        keep_without_photos: recipes to train on without a photo are records of the split
            :data:`~kfood.data.dataset.WITHOUT_PHOTOS`, and are not dropped.

    Attributes:
        classes: class names, index = class id, 0 = "background".
        candidates: recipes with usable texts, by split.
        dropped: recipes dropped, by reason; complete once every split has been read.
        unused: entries that are no recipe of their own: there are none here.
        photos_dropped: photos dropped of recipes that other photos may have kept; likewise.
        photos_kept: photos of the records read so far.
        notes: remarks for the user.

    Raises:
        FileNotFoundError: if a file or folder is missing.
        ValueError: if there is no recipe in it.
    """

    def __init__(
        self,
        recipes: str | os.PathLike,
        photos: str | os.PathLike | None,
        *,
        columns: Mapping[str, str] | None = None,
        short_side: int = 256,
        val_share: float = 0.1,
        test_share: float = 0.1,
        seed: int = 0,
        classes_of_titles: int = 0,
        keep_without_photos: bool = False,
    ):
        self.source = pathlib.Path(recipes)
        self.short_side = short_side
        self.dropped = Drops()
        self.unused = Drops()
        self.photos_dropped = Drops()
        self.photos_kept = 0
        self.candidates = dict.fromkeys((*SPLITS, WITHOUT_PHOTOS) if keep_without_photos else SPLITS, 0)
        self.classes = ["background"]
        self._columns = dict(columns or {})
        self._folder = None if photos is None else PhotoFolder(photos)
        self._beside: dict[pathlib.Path, PhotoFolder] = {}
        self._shares = (val_share, test_share)
        self._seed = seed
        self._classes_of_titles = classes_of_titles
        self._entries: list[_Entry] = []
        self._in_folder: collections.Counter[pathlib.Path | None] = collections.Counter()
        self._class_of: dict[str, int] = {}
        looked = f"{self._folder.folder} ({self._folder.count:,} pictures), then " if self._folder else ""
        self.notes = [f"photos were looked for in {looked}beside the recipe files."]

    def scan(self, advance: Callable[[], object] = lambda: None) -> None:
        """Read the recipes and find out which can be used.

        Args:
            advance: called once for each recipe.
        """
        seen: set[str] = set()
        made = 0
        fields: collections.Counter[tuple[str, str]] = collections.Counter()
        unread: collections.Counter[str] = collections.Counter()
        usable: list[tuple[Found, Recipe, str]] = []
        for found in read_recipes(self.source, self._columns):
            advance()
            recipe = found.recipe
            if recipe is None:
                self.dropped.add(found.reason, found.where)
                continue
            fields.update(recipe.read.items())
            unread.update(recipe.unread)
            own = recipe.id or hashlib.sha256(repr((recipe.title, recipe.ingredients)).encode()).hexdigest()[:16]
            made += not recipe.id
            reason = self._against(recipe, own, seen)
            if reason:
                self.dropped.add(reason, recipe.id or found.where)
            else:
                seen.add(own)
                usable.append((found, recipe, own))
        splits = self._split([(recipe, own) for _, recipe, own in usable])
        for (found, recipe, own), split in zip(usable, splits, strict=True):
            self._entries.append(_Entry(own, split, recipe, found.where, found.folder))
            self._in_folder[found.folder] += 1
        for index, entry in enumerate(self._entries):
            if WITHOUT_PHOTOS in self.candidates and entry.split == "train" and not self._has_photo(entry):
                self._entries[index] = entry = dataclasses.replace(entry, split=WITHOUT_PHOTOS)
            self.candidates[entry.split] += 1
        self._say_fields(fields, unread)
        if made:
            self.notes.append(f"{made:,} recipes have no id: theirs is made of title and ingredients.")
        if self._classes_of_titles:
            self.classes, self._class_of = classes_of_titles(
                {entry.id: entry.recipe.title for entry in self._entries}, self._classes_of_titles
            )

    def records(self, split: str, advance: Callable[[], object] = lambda: None) -> Iterator[RecipeRecord]:
        """The usable recipes of a split in the order of the files, after :meth:`scan`.

        Args:
            split: "train", "val" or "test", or where they are kept ``WITHOUT_PHOTOS``.
            advance: called once for each candidate of the split.

        Yields:
            Records with at least one photo, or of that split without any.
        """
        entries = (entry for entry in self._entries if entry.split == split)
        for entry, (photos, failures) in map_in_order(self._load_photos, entries):
            advance()
            for name, reason in failures:
                self.photos_dropped.add(reason, f"{entry.id}: {name}")
            if not photos and split != WITHOUT_PHOTOS:
                self.dropped.add(failures[0][1] if failures else "no photo found", f"{entry.id} ({entry.where})")
                continue
            self.photos_kept += len(photos)
            recipe = entry.recipe
            names = recipe.names or [clean_name(line) for line in recipe.ingredients]
            yield RecipeRecord(
                id=entry.id,
                title=recipe.title,
                ingredients=recipe.ingredients,
                ingredient_names=[name for name in names if name],
                instructions=recipe.instructions,
                class_id=self._class_of.get(entry.id, 0),
                photos=photos,
            )

    def _say_fields(self, fields: collections.Counter, unread: collections.Counter) -> None:
        """Which fields were read as what, for a column of another name is a part of every recipe that is missing."""
        if not fields:
            return  # formats whose parts have no names: Cooklang
        of: dict[str, list[str]] = collections.defaultdict(list)
        for what, name in fields:
            of[what].append(name)
        self.notes.append(
            "; ".join(f"{what} read from {', '.join(of[what][:4])}" for what in USUAL if what in of) + "."
        )
        for what in ("title", "ingredients", "instructions"):
            if what not in of:
                others = ", ".join(name for name, _ in unread.most_common(8)) or "none"
                self.notes.append(
                    f"no recipe has {what}; fields that were not read: {others}; --{what} NAME takes one."
                )

    def _against(self, recipe: Recipe, own: str, seen: set[str]) -> str:
        if own in seen:
            return "duplicate id" if recipe.id else "same title and ingredients as another"
        if not SAFE_NAME.fullmatch(own):
            return "unsafe id"
        if not recipe.ingredients and not recipe.instructions:
            return "neither ingredients nor instructions"
        if "split" in self._columns and recipe.split.lower() not in SPLIT_NAMES:
            return "unknown split"
        return ""

    def _split(self, recipes: Sequence[tuple[Recipe, str]]) -> list[str]:
        """By the files where they name all splits; else by hashes of seed and id, so that the shares are exact."""
        named = [SPLIT_NAMES.get(recipe.split.lower(), "") for recipe, _ in recipes]
        if all(named) and set(named) == set(SPLITS):
            self.notes.append("the splits are those that the files name.")
            return named
        keys = [hashlib.sha256(f"{self._seed}\0{own}".encode()).digest() for _, own in recipes]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        val, test = (round(share * len(keys)) for share in self._shares)
        splits = ["train"] * len(keys)
        for rank, index in enumerate(order):
            if rank < val + test:
                splits[index] = "test" if rank < test else "val"
        return splits

    def _load_photos(self, entry: _Entry) -> tuple[list[bytes], list[tuple[str, str]]]:
        return load_photos(self._photos_of(entry), self.short_side)

    def _has_photo(self, entry: _Entry) -> bool:
        return any(not isinstance(found, PhotoError) for _, found in self._photos_of(entry))

    def _photos_of(self, entry: _Entry) -> Iterator[tuple[str, "pathlib.Path | bytes | PhotoError"]]:
        """What is to be read for a recipe, by the first way that finds anything; else why nothing was found."""
        recipe = entry.recipe
        missing: list[tuple[str, PhotoError]] = []
        anything = False
        for photo in recipe.photos:
            if isinstance(photo, bytes):
                anything = True
                yield "photo within the file", photo
                continue
            url = re.match(r"(?i)[a-z][a-z0-9+.-]*://", photo)
            name = urllib.parse.unquote(urllib.parse.urlsplit(photo).path) if url else photo
            found = self._find(name, entry.folder)
            if found is not None:
                anything = True
                yield photo, found
            else:
                missing.append((photo, PhotoError("photo is a URL, not fetched" if url else "photo file missing")))
        if anything:
            yield from missing
            return
        for name in (recipe.id, recipe.title, recipe.title.replace(" ", "_"), recipe.title.replace(" ", "-")):
            found = self._find(name, entry.folder) if name else None
            if found is not None:
                yield name, found
                return
        cover = self._cover(entry.folder)
        if cover is not None:
            yield cover.name, cover
        yield from missing

    def _find(self, name: str, beside: pathlib.Path | None) -> "pathlib.Path | PhotoError | None":
        folders = [self._folder] if self._folder else []
        if beside is not None:
            if beside not in self._beside:
                self._beside[beside] = PhotoFolder(beside)
            folders.append(self._beside[beside])
        for folder in folders:
            try:
                found = folder.find(name)
            except PhotoError as error:
                return error
            if found is not None:
                return found
        return None

    def _cover(self, folder: pathlib.Path | None) -> pathlib.Path | None:
        """The picture that programs keep beside a recipe file of a folder of its own."""
        if folder is None or folder == self.source or self._in_folder[folder] != 1:
            return None
        for name in _COVERS:
            found = self._find(name, folder)
            if isinstance(found, pathlib.Path):
                return found
        return None


def classes_of_titles(titles: Mapping[str, str], least: int) -> tuple[list[str], dict[str, int]]:
    """Food classes out of titles, after im2recipe's: frequent pairs of words, then frequent last words.

    Args:
        titles: recipe id → title.
        least: titles that a class takes at least; rarer ones are background.

    Returns:
        Class names, index = class id, 0 = "background", the most frequent first; and recipe id → class id, without
        those of background.
    """
    words = {own: _keywords(title) for own, title in titles.items()}
    pairs = collections.Counter(pair for row in words.values() for pair in set(itertools.pairwise(row)))
    lasts = collections.Counter(row[-1] for row in words.values() if row)
    chosen: dict[str, str] = {}
    for own, row in words.items():
        frequent = [pair for pair in itertools.pairwise(row) if pairs[pair] >= least]
        if frequent:
            chosen[own] = " ".join(max((pairs[pair], pair) for pair in frequent)[1])
        elif row and lasts[row[-1]] >= least:
            chosen[own] = row[-1]
    sizes = collections.Counter(chosen.values())
    names = sorted((name for name in sizes if sizes[name] >= least), key=lambda name: (-sizes[name], name))
    number = {name: index for index, name in enumerate(names, start=1)}
    return ["background", *names], {own: number[name] for own, name in chosen.items() if name in number}


def _keywords(title: str) -> list[str]:
    """The words of a title up to "with" and its like, lower case."""
    head = re.split(r"\b(?:with|in|on|and|from|for)\b|[(:,]", title.lower(), maxsplit=1)[0] or title.lower()
    return [word for word in re.findall(r"[^\W\d_]+", head) if word not in _STOP]
