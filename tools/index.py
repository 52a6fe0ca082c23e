"""Embed a dataset's pictures, and its recipes or trajectories where it has any, with a bundle, for `kfood search`.

An index can be added to, and items be deleted from it, while `kfood serve` answers from it; a process that is killed
meanwhile leaves it as it was or as it was to be. docs/indexes.md says which engine to take for how many items.

Examples:
    kfood index BUNDLE --data DATA --out INDEX
    kfood index BUNDLE --data DATA --out INDEX --split all --engine faiss-hnsw
    kfood index BUNDLE --data DATA --out INDEX --engine milvus --address http://host:19530
    kfood index BUNDLE --data MORE --out INDEX --split all --add
    kfood index --out INDEX --delete 13f1a 8b90c
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import tyro

from kfood.search.engines import EngineName

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset, RecipeDataset, TrajectoryDataset
    from kfood.export.runtime import Bundle
    from kfood.search import Item


@dataclasses.dataclass(frozen=True)
class Index:
    """Arguments of ``kfood index``."""

    bundle: tyro.conf.Positional[pathlib.Path | None] = None
    """Bundle, made by `kfood export`; not needed to delete."""
    data: pathlib.Path | None = None
    """Prepared dataset, made by `kfood prepare`; not needed to delete."""
    out: pathlib.Path = tyro.MISSING
    """Index to make, or to change."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Which recipes, or photos, to index."""
    engine: EngineName = "exact"
    """What finds rows. exact compares with all of them; the others pick candidates, which are compared exactly: int8
    and binary by codes of a quarter or a 32nd of the size; faiss-… (extra `faiss`); milvus (extra `milvus`)."""
    address: str = ""
    """Of a Milvus server that is to keep the vectors too, http://HOST:19530, its token in MILVUS_TOKEN; by default
    Milvus is embedded in the index."""
    precision: Literal["float32", "int8", "float16"] = "float32"
    """Of the encoders, where the bundle has them in another (`kfood export --data`); queries then are too."""
    threads: int = 0
    """Threads of onnxruntime; 0 lets it choose."""
    add: bool = False
    """Add to OUT, by its engine and in its precision; an item whose id is there takes the place of the other."""
    delete: tuple[str, ...] = ()
    """Ids of items to delete from OUT."""
    overwrite: bool = False
    """Replace OUT if it is an index."""

    def __post_init__(self):
        if self.delete and (self.bundle or self.data or self.add or self.overwrite):
            raise ValueError("--delete: expected only --out INDEX with it, received more.")
        if not self.delete and not (self.bundle and self.data):
            raise ValueError("expected BUNDLE and --data DATA, or --delete ID…, received neither.")
        if self.add and (self.overwrite or self.engine != "exact" or self.address or self.precision != "float32"):
            raise ValueError("--add: expected no --overwrite, --engine, --address or --precision, for OUT has its own.")


def main(arguments: list[str]) -> None:
    """Parses and indexes."""
    run(
        tyro.cli(Index, args=arguments, prog="kfood index", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    )


def run(args: Index) -> None:
    """Indexes, adds or deletes, and says what was left out."""
    from kfood import search

    if args.delete:
        change = search.delete_items(args.out, args.delete)
        print(f"{args.out}: {change.deleted:,} deleted, {change.items:,} left.")
        return
    precision = search.Index.open(args.out).precision if args.add else args.precision
    bundle, kind, dataset, splits = _opened(args, precision)
    contents: Any = {
        "recipes": lambda: items(dataset, splits, bundle),
        "labelled": lambda: photo_items(dataset, splits),
        "trajectories": lambda: trajectory_items(dataset, splits, bundle),
    }
    what = {"recipes": "recipes with photos", "labelled": "photos", "trajectories": "trajectories with pictures"}[kind]
    options: Any = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "splits": splits,
        "precision": precision,
    }
    with _progress(sum(dataset.size(split) for split in splits)) as options["advance"]:
        if args.add:
            change = search.add_items(args.out, bundle, contents[kind](), **options)
        else:
            options |= {"engine": args.engine, "address": args.address, "overwrite": args.overwrite}
            description = search.build_index(args.out, bundle, contents[kind](), **options)
    if args.add:
        print(f"{args.out}: {change.added:,} {what} added, {change.replaced:,} replaced, {change.items:,} in all.")
        _say_left_out(len(change.without_words), change.without_words[:5])
        return
    print(f"{args.out}: {description['items']:,} {what}, by {description['distance']} distance.")
    _say_left_out(*description["without_words"].values())
    state = description["engine"]
    if recall := state.get("recall"):
        found = ", ".join(f"{side} {recall[side]:.1%}" for side in description["sides"])
        print(f"{args.engine}: of the exact nearest {recall['top']} it finds: {found}.")
    elif not state["rows"]:
        least = search.engines.engine(args.engine).least
        print(f"{args.engine}: takes over from {least:,} items on; until then the search is exact.")


def _opened(args: Index, precision: Any) -> tuple[Any, str, Any, list[str]]:
    """The bundle, what its dataset is of, the dataset, and the splits."""
    from kfood.data.dataset import WITHOUT_PHOTOS, open_dataset
    from kfood.export.runtime import Bundle

    bundle = Bundle.open(args.bundle, threads=args.threads, precision=precision)
    kinds: Any = {"recipe": "recipes", "trajectory": "trajectories"}
    kind: Any = next((kinds[name] for name in bundle.encoders if name in kinds), "labelled")
    dataset: Any = open_dataset(args.data, kind)
    splits = [name for name in dataset.splits if name != WITHOUT_PHOTOS] if args.split == "all" else [args.split]
    return bundle, kind, dataset, splits


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows it; to be called with the number of items done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("items", total=total)
        yield lambda count: bar.advance(task, count)


def _say_left_out(count: int, first: Sequence[str]) -> None:
    if count:
        print(f"Left out, no word that the model knows: {count:,} ({', '.join(first)}).")


def items(dataset: "RecipeDataset", splits: list[str], bundle: "Bundle") -> Iterator["Item"]:
    """The recipes of some splits in disk order, each with its first photo.

    Args:
        dataset: where they come from.
        splits: which.
        bundle: says whether ingredients are read as lines or as names, and whether sentence vectors are.

    Raises:
        ValueError: the bundle reads sentence vectors and the dataset has none, or others.
    """
    import tensorflow as tf

    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    vectors = bundle.spec["instruction_vectors"]
    if vectors and dataset.instruction_vectors != vectors:
        raise ValueError(
            f"{dataset.path}: expected precomputed sentence vectors of width {vectors}, which the model reads, "
            f"received width {dataset.instruction_vectors}."
        )
    names = bundle.spec["ingredient_unit"] == "name"
    for split in splits:
        # One pass for texts, photos and vectors.
        for example in tf.data.TFRecordDataset(dataset.files(split)).map(dataset.parse).prefetch(2):
            texts = {
                name: [line.decode() for line in example[name].numpy()]
                for name in (schema.INGREDIENTS, schema.INGREDIENT_NAMES, schema.INSTRUCTIONS)
            }
            title = example[schema.TITLE].numpy().decode()
            recipe = {
                "title": title,
                "ingredients": texts[schema.INGREDIENT_NAMES if names else schema.INGREDIENTS],
                "instructions": texts[schema.INSTRUCTIONS],
            }
            if vectors:
                recipe["instruction_vectors"] = example[schema.INSTRUCTION_VECTORS].numpy()
            yield Item(
                id=example[schema.ID].numpy().decode(),
                title=title,
                ingredients=texts[schema.INGREDIENTS],
                instructions=texts[schema.INSTRUCTIONS],
                recipe=recipe,
                photo=decode_photo(example[schema.IMAGES].numpy()[0]),
            )


def photo_items(dataset: "LabelledDataset", splits: list[str]) -> Iterator["Item"]:
    """The photos of some splits in disk order, each with its class for a title.

    Args:
        dataset: where they come from.
        splits: which.
    """
    import tensorflow as tf

    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    for split in splits:
        for example in tf.data.TFRecordDataset(dataset.files(split)).map(dataset.parse).prefetch(2):
            yield Item(
                id=example[schema.ID].numpy().decode(),
                title=dataset.classes[int(example[schema.CLASS_ID])].replace("_", " "),
                ingredients=[],
                instructions=[],
                recipe=None,
                photo=decode_photo(example[schema.IMAGES].numpy()[0]),
            )


def trajectory_items(dataset: "TrajectoryDataset", splits: list[str], bundle: "Bundle") -> Iterator["Item"]:
    """The trajectories of some splits in disk order, each with its map picture.

    Args:
        dataset: where they come from.
        splits: which.
        bundle: says how many points it reads, and whether pictures' corners.

    Raises:
        ValueError: the bundle reads trajectories of another number of points, or pictures of another kind.
    """
    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    dataset.check(schema.TrajectorySpec(**bundle.spec))
    placed = schema.LOCATION in bundle.manifest["encoders"]["image"]["inputs"]
    for split in splits:
        for example in dataset.trajectories(split):
            left, top, right, bottom = example[schema.LOCATION]
            place = f"{left:.1f}…{right:.1f} m, {bottom:.1f}…{top:.1f} m"
            yield Item(
                id=example[schema.ID],
                title=f"{dataset.classes[example[schema.CLASS_ID]]}: {place}",
                ingredients=[],
                instructions=[],
                recipe=None,
                photo=decode_photo(example["picture"]),
                trajectory=example[schema.TRAJECTORY],
                location=example[schema.LOCATION] if placed else None,
            )
