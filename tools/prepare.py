"""Make a prepared dataset out of raw files, or draw the synthetic kitchen.

Examples:
    kfood prepare pairs --recipes recipes.csv --photos photos/ --out data/own
    kfood prepare pairs --recipes cookbook.paprikarecipes --out data/own --classes-of-titles 10
    kfood prepare pairs --recipes dump.jsonl --photos photos/ --out data/own --title dish --ingredients items
    kfood prepare recipe1m --source Recipe1M/ --out data/recipe1m
    kfood prepare labelled --source food-101.tar.gz --out data/food-101
    kfood prepare labelled --source photos/ --out data/photos --train-classes 20
    kfood prepare labelled --tfds cub-200-2011 --out data/cub
    kfood prepare ucy --source univ/test/ --out data/ucy --split pedestrian
    kfood prepare ucy --source walks/ --out data/walks --length 40 --longest-gap 30
    kfood prepare kitchen --out data/kitchen --pairs 2000 --size 128 --seed 0
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from kfood.data import leaks, pairs, recipe1m
    from kfood.data.dataset import LabelledDataset, PreparedDataset, RecipeDataset, TrajectoryDataset


@dataclasses.dataclass(frozen=True)
class Recipe1M:
    """Prepare Recipe1M or Recipe1M+, or recipes in the same layout.

    Reads layer1.json, layer2+.json or layer2.json, det_ingrs.json, classes1M.pkl (optional) and the photos; ends with
    a table of what was kept and what was dropped for which reason, also written to OUT/prepare.json.
    """

    source: pathlib.Path
    """Folder with the raw files."""
    out: pathlib.Path
    """Folder to make."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    min_word_count: int = 3
    """Words seen fewer times in the train split are read as unknown."""
    min_ingredient_count: int = 3
    """Ingredient names seen fewer times in the train split are read as unknown."""
    max_words: int = 30_000
    """Most words in the vocabulary."""
    max_ingredients: int = 4_102
    """Most ingredient names in the vocabulary."""
    sentence_vectors: pathlib.Path | None = None
    """HDF5 file of precomputed sentence vectors (kfood/data/vectors.py says how it is laid out)."""
    drop_leaks: bool = False
    """Leave out of the larger split what also stands in another: the same photo, or the same title and ingredients."""
    keep_without_photos: bool = False
    """Keep training recipes that have no photo: models that learn from texts alone can take a share of them."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        _at_least_one(self, "short_side", "min_word_count", "min_ingredient_count", "max_words", "max_ingredients")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Prepare recipes and photos of your own.

    Reads a file or a folder of files: CSV, TSV, JSON, JSON lines, Parquet with a recipe a row; schema.org/Recipe as
    JSON or in saved pages; exports of Nextcloud Cookbook, Mealie, Tandoor and Paprika; Cooklang, MealMaster, RecipeML.
    Fields are found by their usual names. A recipe's photo is found by what its row says, its id or its title. Ends
    with a table of what was kept and dropped, and OUT/pairs.png with 24 random pairs to look at.
    """

    recipes: pathlib.Path
    """File of recipes, or folder of such files."""
    out: pathlib.Path
    """Folder to make."""
    photos: pathlib.Path | None = None
    """Folder of photos; without it they are looked for beside the recipe files and within them."""
    title: str = ""
    """Field or column of the title, where its name is none of the usual ones; so for the following."""
    ingredients: str = ""
    """Of the ingredient lines: a list, a JSON or Python list in a string, or lines."""
    instructions: str = ""
    """Of the instructions, likewise."""
    photo: str = ""
    """Of the photo: a path, a file name with or without its ending, a list of them, or a URL (which is not fetched)."""
    id: str = ""
    """Of a unique id; without one it is made of title and ingredients."""
    names: str = ""
    """Of clean ingredient names; without them amounts and units are stripped from the lines."""
    split: str = ""
    """Of the split: train, val or test; without it recipes are split by --val-share and --test-share."""
    val_share: float = 0.1
    """Share of the recipes for validation."""
    test_share: float = 0.1
    """Share of the recipes for testing."""
    seed: int = 0
    """Of the split."""
    classes_of_titles: int = 0
    """Make food classes of words that so many titles share at least; 0: none."""
    drop_leaks: bool = False
    """Leave out of the larger split what also stands in another: the same photo, or the same title and ingredients."""
    keep_without_photos: bool = False
    """Keep training recipes that have no photo: models that learn from texts alone can take a share of them."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    min_word_count: int = 2
    """Words seen fewer times in the train split are read as unknown."""
    min_ingredient_count: int = 2
    """Ingredient names seen fewer times in the train split are read as unknown."""
    max_words: int = 30_000
    """Most words in the vocabulary."""
    max_ingredients: int = 4_102
    """Most ingredient names in the vocabulary."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        _at_least_one(self, "short_side", "min_word_count", "min_ingredient_count", "max_words", "max_ingredients")
        _shares(self, "val_share", "test_share")
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                "--val-share and --test-share: expected less than 1 together, so that some are left to train."
            )

    @property
    def columns(self) -> dict[str, str]:
        """What a recipe holds → the field that was named for it."""
        named = {what: getattr(self, what) for what in ("title", "ingredients", "instructions", "photo", "id", "names")}
        return {what: name for what, name in {**named, "split": self.split}.items() if name}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Prepare labelled photos, split by class: those of the test split are never trained on.

    Reads a folder or a tar archive of class folders (Food-101, Vireo Food-172, ISIA Food-500, or your own), or a data
    set that TensorFlow Datasets has a builder for. Classes count in string order.
    """

    out: pathlib.Path
    """Folder to make."""
    source: pathlib.Path | None = None
    """Folder or tar archive, compressed or not, with class folders beside each other: images/CLASS/FILE."""
    tfds: str = ""
    """In place of --source: food-101, cub-200-2011, cars196 or sop, which TFDS downloads."""
    train_classes: int | None = None
    """Train on the first so many classes and test on the rest; by default as the paper splits the data set with this
    number of classes: food-101 (101: 70), vireo-172 (172: 120), isia-500 (500: 350), cub-200-2011 (200: 100), cars196
    (196: 98), sop (22,634: 11,318). With all, as for a classifier whose encoder is to
    start others, there is no test split."""
    val_share: float = 0.1
    """Share of the training classes' photos that is held out for validation."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        _at_least_one(self, "short_side")


@dataclasses.dataclass(frozen=True)
class Ucy:
    """Prepare trajectories with map pictures: pieces of tracks, each drawn as a line.

    Reads text files of rows in metres (frame pedestrian x y, as UCY and ETH have them, ETH's obsmat.txt, time x y,
    x y, or columns that a first row names), or GeoJSON lines or GPX tracks in degrees.
    """

    source: pathlib.Path
    """File, or folder of files."""
    out: pathlib.Path
    """Folder to make."""
    split: Literal["paper", "pedestrian"] = "paper"
    """paper: windows at random, so that near copies lie on both sides; pedestrian: no track on both sides."""
    length: int = 20
    """Points of a trajectory."""
    stride: int = 2
    """Points from the start of one window to the next."""
    longest_gap: float = 10.0
    """Most frames, or seconds, between two points; a longer gap starts a track anew. 0: any."""
    test_share: float = 0.1909
    """Share of the windows for testing; the default leaves 2,359 of UCY univ's 12,359."""
    val_share: float = 0.05
    """Share of the others that is held out for validation."""
    size: int = 64
    """Side of the pictures, pixels."""
    thickness: tuple[float, float] = (1.0, 4.0)
    """Least and most thickness of the line, pixels."""
    frame: Literal["window", "scene"] = "window"
    """What a picture shows. window: the line's surroundings, at a random offset and scale; scene: all of the ground
    that the tracks lie on, the same in each picture."""
    scale: tuple[float, float] = (1.25, 2.5)
    """Of windows: least and most side of a picture, in longer sides of its trajectory's box."""
    least_extent: float = 3.0
    """Of windows: a smaller box counts as this, metres."""
    backgrounds: pathlib.Path | None = None
    """Folder of JPEG map tiles or scene photos, to lie behind the lines. The variant `waves` takes every dark pixel for
    the line: it wants bright ones."""
    seed: int = 0
    """Of the split and the pictures."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        _at_least_one(self, "stride", "size")
        if self.length < 2:
            raise ValueError(f"--length: expected at least 2, received {self.length}.")
        _shares(self, "test_share", "val_share")
        if self.longest_gap < 0:
            raise ValueError(f"--longest-gap: expected at least 0, received {self.longest_gap}.")


@dataclasses.dataclass(frozen=True)
class Kitchen:
    """Draw the synthetic kitchen: recipes from templates, pictures that follow from them."""

    out: pathlib.Path
    """Folder to make."""
    pairs: int = 2_000
    """Recipe-photo pairs in all; a tenth each goes to the val and the test split."""
    size: int = 128
    """Side of the pictures, pixels."""
    seed: int = 0
    """Same seed, same bytes."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        _at_least_one(self, "pairs", "size")


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Make a prepared dataset: the folder that all other commands read."""

    what: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Pairs, tyro.conf.subcommand("pairs")]
        | Annotated[Recipe1M, tyro.conf.subcommand("recipe1m")]
        | Annotated[Labelled, tyro.conf.subcommand("labelled")]
        | Annotated[Ucy, tyro.conf.subcommand("ucy")]
        | Annotated[Kitchen, tyro.conf.subcommand("kitchen")]
    ]


def main(arguments: list[str]) -> None:
    """Parses and prepares."""
    run(
        tyro.cli(
            Prepare, args=arguments, prog="kfood prepare", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
    )


def run(args: Prepare | Pairs | Recipe1M | Labelled | Ucy | Kitchen) -> "PreparedDataset":
    """Run the command.

    Args:
        args: which dataset to prepare, and how.

    Returns:
        The dataset made.

    Raises:
        OSError: if something cannot be read or written.
        ValueError: if the raw files are not what they should be, or leave a split empty.
    """
    what = args.what if isinstance(args, Prepare) else args
    if isinstance(what, Labelled):
        return _prepare_labelled(what)
    if isinstance(what, Ucy):
        return _prepare_ucy(what)
    if isinstance(what, Pairs):
        return _prepare_pairs(what)
    return _prepare_recipe1m(what) if isinstance(what, Recipe1M) else _prepare_kitchen(what)


def _prepare_pairs(args: Pairs) -> "RecipeDataset":
    from kfood.data import builder, pairs

    builder.check_output(args.out, overwrite=args.overwrite)
    source = pairs.Pairs(
        args.recipes,
        args.photos,
        columns=args.columns,
        short_side=args.short_side,
        val_share=args.val_share,
        test_share=args.test_share,
        seed=args.seed,
        classes_of_titles=args.classes_of_titles,
        keep_without_photos=args.keep_without_photos,
    )
    return _write_pairs(args, source, "pairs")


def _prepare_recipe1m(args: Recipe1M) -> "RecipeDataset":
    from kfood.data import builder, recipe1m, vectors

    builder.check_output(args.out, overwrite=args.overwrite)
    sentence_vectors = None if args.sentence_vectors is None else vectors.SentenceVectors(args.sentence_vectors)
    source = recipe1m.Recipe1M(
        args.source,
        short_side=args.short_side,
        vectors=sentence_vectors,
        keep_without_photos=args.keep_without_photos,
    )
    return _write_pairs(args, source, "recipe1m", 0 if sentence_vectors is None else sentence_vectors.width)


def _write_pairs(
    args: Pairs | Recipe1M, raw: "pairs.Pairs | recipe1m.Recipe1M", name: str, vectors: int = 0
) -> "RecipeDataset":
    """Read, check for leaks and write; ends with the table, the leaks and a picture of what was read."""
    from kfood.data import builder, leaks, overview
    from kfood.data.dataset import WITHOUT_PHOTOS

    kept = dict.fromkeys(raw.candidates, 0)
    check = leaks.LeakCheck(drop=args.drop_leaks, dropped=raw.dropped)
    seen = overview.Overview()

    def report() -> dict[str, Any]:
        return {
            "dropped": raw.dropped.by_reason,
            "unused": raw.unused.by_reason,
            "photos": {"kept": raw.photos_kept, "dropped": raw.photos_dropped.by_reason},
            "leaks": check.summary(),
            "notes": raw.notes,
        }

    with _progress() as progress:
        task = progress.add_task("recipes", total=None)
        raw.scan(lambda: progress.advance(task))
        wanted = {name: count for name, count in raw.candidates.items() if count or name != WITHOUT_PHOTOS}

        def records(split):
            task = progress.add_task(split, total=raw.candidates[split])
            found = raw.records(split, lambda: progress.advance(task))
            for record in seen.passing(split, check.passing(split, found)):
                kept[split] += 1
                yield record

        try:
            dataset = builder.write_recipes(
                args.out,
                name,
                {split: records(split) for split in check.order(wanted)},
                classes=raw.classes,
                short_side=args.short_side,
                min_word_count=args.min_word_count,
                min_ingredient_count=args.min_ingredient_count,
                max_words=args.max_words,
                max_ingredients=args.max_ingredients,
                instruction_vectors=vectors,
                overwrite=args.overwrite,
                report=report,
            )
        except builder.EmptySplitError:
            progress.stop()
            _show(kept, report())  # it says where the pairs went
            raise
    _show(kept, report())
    _say_leaks(check)
    _say(dataset)
    seen.write(args.out / "pairs.png")
    _print(f"{args.out / 'pairs.png'}: {overview.SHOWN} random pairs, to see whether they were read as meant.")
    return dataset


def _say_leaks(check: "leaks.LeakCheck") -> None:
    for (split, other, what), count in sorted(check.count.items()):
        first = ", ".join(
            f"{leak.id} = {leak.other_id}"
            for leak in check.leaks
            if (leak.split, leak.other_split, leak.what) == (split, other, what)
        )
        first = first if len(first) < 160 else first[:160].rsplit(",", 1)[0] + ", …"
        _print(f"Leaks: {count:,} of {split} hold the same {what} as {other} ({first}).")
    if check.count:
        told = "left out" if check.summary()["dropped"] else "kept; --drop-leaks leaves them out"
        _print(f"Leaks were {told}; prepare.json in the folder lists them.")


def _prepare_labelled(args: Labelled) -> "LabelledDataset":
    from kfood.data import builder, labelled

    if (args.source is None) == (not args.tfds):
        raise ValueError("labelled: expected one of --source and --tfds, received both or neither.")
    builder.check_output(args.out, overwrite=args.overwrite)
    source = labelled.Ready(args.tfds) if args.source is None else labelled.Files(args.source)
    count = len(source.classes)
    name = args.tfds or labelled.known_by_classes(count)
    if name and not args.tfds:
        own = (
            ""
            if args.train_classes is not None
            else " and split as the paper splits it; --train-classes N does otherwise"
        )
        _print(f"{count:,} classes, as many as {name} has: taken for it{own}.")
    train_classes = args.train_classes
    if train_classes is None:
        if not name:
            raise ValueError(f"--train-classes: expected a number, for no known data set has {count} classes.")
        train_classes = labelled.KNOWN[name].train_classes
    photos = labelled.LabelledPhotos(
        source, train_classes=train_classes, val_share=args.val_share, short_side=args.short_side
    )
    with _progress() as progress:

        def records(split):
            task = progress.add_task(split, total=photos.candidates[split])
            yield from photos.records(split, lambda: progress.advance(task))

        dataset = builder.write_photos(
            args.out,
            name or "labelled",
            {split: records(split) for split in photos.candidates},
            classes=source.classes,
            train_classes=train_classes,
            short_side=args.short_side,
            overwrite=args.overwrite,
            report=lambda: {"dropped": photos.dropped.by_reason},
        )
    _say_dropped(photos.dropped.by_reason)
    sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items())
    rest = f"{count - train_classes:,} others to test on" if train_classes < count else "none to test on: no test split"
    _print(f"{dataset.path} ({dataset.name}): {sizes} photos; {train_classes:,} classes to train on, {rest}.")
    return dataset


_FARTHEST = 100_000.0
"""Metres; float32 has steps of 8 mm there."""


def _prepare_ucy(args: Ucy) -> "TrajectoryDataset":
    import io
    import math
    import zlib

    import numpy as np
    from PIL import Image

    from kfood.data import builder, drawing, tracks
    from kfood.data.dataset import SPLITS, TrajectoryRecord

    builder.check_output(args.out, overwrite=args.overwrite)
    found = tracks.Tracks(args.source)
    origin = found.origin()
    backgrounds = (
        tuple(sorted(path for path in args.backgrounds.glob("*.jp*g") if path.is_file())) if args.backgrounds else ()
    )
    if args.backgrounds and not backgrounds:
        raise ValueError(f"--backgrounds: expected a folder of JPEG pictures, received none in {args.backgrounds}.")
    style = drawing.Style(args.size, args.thickness, args.scale, args.least_extent, backgrounds)
    recordings = {name: index for index, name in enumerate(found.recordings)}

    def windows():
        gap = args.longest_gap or math.inf
        return found.windows(args.length, args.stride, origin=origin, longest_gap=gap)

    with _progress() as progress:
        task = progress.add_task("windows", total=None)
        low, high = np.full(2, np.inf), np.full(2, -np.inf)

        def names():
            nonlocal low, high
            for window in windows():
                low, high = np.minimum(low, window.points.min(axis=0)), np.maximum(high, window.points.max(axis=0))
                progress.advance(task)
                yield window.track

        split_of = tracks.split_windows(
            names(), args.split, test_share=args.test_share, val_share=args.val_share, seed=args.seed
        )
        if not len(split_of):
            progress.stop()
            _say_dropped(found.dropped.by_reason)
            raise builder.EmptySplitError(f"{args.source}: expected tracks of {args.length} points, received none.")
        dropped = found.dropped.by_reason
        if max(np.abs(low).max(), np.abs(high).max()) > _FARTHEST:
            progress.stop()
            raise ValueError(
                f"{args.source}: expected metres within {_FARTHEST:,.0f} of (0, 0), as float32 keeps them apart, "
                f"received x from {low[0]:,.1f} to {high[0]:,.1f} and y from {low[1]:,.1f} to {high[1]:,.1f}; "
                "subtract an offset from the file's coordinates."
            )
        centre = (low + high) / 2
        ground = {
            "centre_x": float(centre[0]),
            "centre_y": float(centre[1]),
            "extent": max(float((high - low).max()) / 2, 1.0),
            "frame": args.frame,
            "geographic": found.geographic,
            "origin_latitude": origin[1],
            "origin_longitude": origin[0],
        }
        style = dataclasses.replace(style, scene=drawing.scene_of(ground))

        def records(split):
            number = SPLITS.index(split)
            task = progress.add_task(split, total=int((split_of == number).sum()))
            for window, own in zip(windows(), split_of, strict=True):
                if own != number:
                    continue
                name = f"{window.track}@{window.first:.15g}"
                points = window.points.astype(np.float32)
                random = np.random.default_rng([args.seed, zlib.crc32(name.encode())])
                pixels, location = drawing.picture(points, style, random)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                recording = recordings[window.track if window.track in recordings else window.track.rpartition("/")[0]]
                yield TrajectoryRecord(name, recording, points, file.getvalue(), location)
                progress.advance(task)

        dataset = builder.write_trajectories(
            args.out,
            f"{args.source.resolve().name}-{args.split}" + (f"-{args.frame}" if args.frame != "window" else ""),
            {split: records(split) for split in SPLITS},
            recordings=found.recordings,
            points=args.length,
            ground=ground,
            style=style,
            overwrite=args.overwrite,
            report=lambda: {"dropped": dropped},
        )
    _say_dropped(dropped)
    sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items())
    _print(f"{dataset.path}: {sizes} trajectories of {args.length} points with pictures, split {args.split!r}.")
    return dataset


def _say_dropped(by_reason: dict[str, Any]) -> None:
    for reason, drop in by_reason.items():
        first = ", ".join(drop["first"])
        _print(f"Left out, {reason}: {drop['count']:,} ({first}{', …' if drop['count'] > len(drop['first']) else ''}).")


def _prepare_kitchen(args: Kitchen) -> "RecipeDataset":
    from kfood.data import builder, kitchen
    from kfood.data.dataset import SPLITS

    builder.check_output(args.out, overwrite=args.overwrite)
    splits: dict[str, list] = {split: [] for split in SPLITS}
    with _progress() as progress:
        task = progress.add_task("drawing", total=args.pairs)
        for split, record in kitchen.generate(args.pairs, args.size, args.seed):
            splits[split].append(record)
            progress.advance(task)
    dataset = builder.write_recipes(
        args.out,
        "kitchen",
        splits,
        classes=kitchen.CLASSES,
        short_side=args.size,
        min_word_count=1,
        min_ingredient_count=1,
        overwrite=args.overwrite,
        report=lambda: {"dropped": {}},
    )
    _say(dataset)
    return dataset


def _shares(args: Any, *names: str) -> None:
    for name in names:
        if not 0 < getattr(args, name) < 1:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option}: expected a share between 0 and 1, received {getattr(args, name)}.")


def _at_least_one(args: Any, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, received {getattr(args, name)}.")


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description:>8}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns) as bar:
        yield bar


def _show(kept: dict[str, int], report: dict[str, Any]) -> None:
    """Print what was kept and what was dropped."""
    from rich.table import Table

    table = Table("", "count", "first", title="Recipe–photo pairs")
    for split, count in kept.items():
        table.add_row(f"kept: {split}", f"{count:,}", "")
    table.add_section()
    for reason, drop in report["dropped"].items():
        table.add_row(f"dropped: {reason}", f"{drop['count']:,}", ", ".join(drop["first"]))
    table.add_section()
    for reason, drop in report["unused"].items():
        table.add_row(f"entries not used: {reason}", f"{drop['count']:,}", ", ".join(drop["first"]))
    photos = report["photos"]
    table.add_section()
    table.add_row("photos kept", f"{photos['kept']:,}", "")
    for reason, drop in photos["dropped"].items():
        table.add_row(f"photos dropped: {reason}", f"{drop['count']:,}", ", ".join(drop["first"]))
    _print(table)
    for note in report["notes"]:
        _print(f"Note: {note}")


def _say(dataset: "RecipeDataset") -> None:
    from kfood.data.dataset import WITHOUT_PHOTOS

    sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items() if split != WITHOUT_PHOTOS)
    alone = f"; {dataset.splits[WITHOUT_PHOTOS]:,} recipes without photos" if WITHOUT_PHOTOS in dataset.splits else ""
    _print(
        f"{dataset.path}: {sizes} pairs{alone}; {len(dataset.words):,} words, "
        f"{len(dataset.ingredients):,} ingredients, {len(dataset.classes):,} classes."
    )


def _print(what: Any) -> None:
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(what)  # an id may look like markup
