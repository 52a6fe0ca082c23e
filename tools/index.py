"""Embed a dataset's pictures, and its recipes or trajectories where it has any, with a bundle, for `kfood search`.

Examples:
    kfood index BUNDLE --data DATA --out INDEX
    kfood index BUNDLE --data DATA --out INDEX --split all --approximate hnsw
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset, RecipeDataset, TrajectoryDataset
    from kfood.export.runtime import Bundle
    from kfood.search import Item


@dataclasses.dataclass(frozen=True)
class Index:
    """Arguments of ``kfood index``."""

    bundle: tyro.conf.Positional[pathlib.Path]
    """Bundle, made by `kfood export`."""
    data: pathlib.Path
    """Prepared dataset, made by `kfood prepare`."""
    out: pathlib.Path
    """Index to make."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Which recipes, or photos, to index."""
    approximate: Literal["hnsw", "int8", "binary"] | None = None
    """For galleries of millions: pick candidates with FAISS's HNSW graph (extra `faiss`), or by codes of a quarter or a
    32nd of the size, and compare those exactly; what it finds of the exact answer is printed."""
    precision: Literal["float32", "int8", "float16"] = "float32"
    """Of the encoders, where the bundle has them in another (`kfood export --data`); queries then are too."""
    threads: int = 0
    """Threads of onnxruntime; 0 lets it choose."""
    overwrite: bool = False
    """Replace OUT if it is an index."""


def main(arguments: list[str]) -> None:
    """Parses and indexes."""
    run(
        tyro.cli(Index, args=arguments, prog="kfood index", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    )


def run(args: Index) -> None:
    """Indexes, and says what was left out."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from kfood.data.dataset import WITHOUT_PHOTOS, open_dataset
    from kfood.export.runtime import Bundle
    from kfood.search import build_index

    bundle = Bundle.open(args.bundle, threads=args.threads, precision=args.precision)
    kinds: Any = {"recipe": "recipes", "trajectory": "trajectories"}
    kind: Any = next((kinds[name] for name in bundle.encoders if name in kinds), "labelled")
    dataset: Any = open_dataset(args.data, kind)
    contents: Any = {
        "recipes": lambda: items(dataset, splits, bundle),
        "labelled": lambda: photo_items(dataset, splits),
        "trajectories": lambda: trajectory_items(dataset, splits, bundle),
    }
    splits: list[str] = (
        [name for name in dataset.splits if name != WITHOUT_PHOTOS] if args.split == "all" else [args.split]
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("items", total=sum(dataset.size(split) for split in splits))
        description = build_index(
            args.out,
            bundle,
            contents[kind](),
            dataset={"name": dataset.name, "fingerprint": dataset.fingerprint},
            splits=splits,
            precision=args.precision,
            approximate=args.approximate,
            overwrite=args.overwrite,
            advance=lambda count: progress.advance(task, count),
        )
    what = {"recipes": "recipes with photos", "labelled": "photos", "trajectories": "trajectories with pictures"}[kind]
    print(f"{args.out}: {description['items']:,} {what}, by {description['distance']} distance.")
    left_out = description["without_words"]
    if left_out["count"]:
        print(f"Left out, no word that the model knows: {left_out['count']:,} ({', '.join(left_out['first'])}).")
    if approximate := description["approximate"]:
        recalls = ", ".join(f"{side} {recall:.1%}" for side, recall in approximate["recall"].items())
        print(f"{approximate['method']}: of the exact nearest {approximate['top']} it finds: {recalls}.")


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
