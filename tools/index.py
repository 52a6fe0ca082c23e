"""Embed a dataset's pictures, and its recipes or trajectories where it has any, with a bundle, for `kfood search`.

An index can be added to, and items be deleted from it, while `kfood serve` answers from it; a process that is killed
meanwhile leaves it as it was or as it was to be. docs/indexes.md says which engine to take for how many items.

Examples:
    kfood index BUNDLE --data DATA --out INDEX
    kfood index BUNDLE --data DATA --out INDEX --split all --engine faiss-hnsw
    kfood index BUNDLE --data DATA --out INDEX --engine milvus --address http://host:19530
    kfood index BUNDLE --embeddings EMBEDDINGS --out INDEX
    kfood index BUNDLE --data MORE --out INDEX --split all --add
    kfood index --out INDEX --delete 13f1a 8b90c
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import tyro

from kfood.search.engines import EngineName
from kfood.tools.dataset_items import WHAT, Split, open_source


@dataclasses.dataclass(frozen=True)
class Index:
    """Arguments of ``kfood index``."""

    bundle: tyro.conf.Positional[pathlib.Path | None] = None
    """Bundle, made by `kfood export`; not needed to delete."""
    data: pathlib.Path | None = None
    """Prepared dataset, made by `kfood prepare`; not needed to delete."""
    embeddings: pathlib.Path | None = None
    """What of a dataset BUNDLE has embedded before, by `kfood embed`, in place of --data."""
    out: pathlib.Path = tyro.MISSING
    """Index to make, or to change."""
    split: Split | None = None
    """Which recipes, or photos, to index; by default test, and of --embeddings all."""
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
        if self.delete and (self.bundle or self.data or self.embeddings or self.add or self.overwrite):
            raise ValueError("--delete: expected only --out INDEX with it, received more.")
        if not self.delete and not (self.bundle and (self.data or self.embeddings)):
            raise ValueError(
                "expected BUNDLE and --data DATA, or --delete ID…, received neither; --embeddings may stand for --data."
            )
        if self.embeddings and (self.data or self.split or self.precision != "float32"):
            raise ValueError("--embeddings: expected no --data, --split or --precision, for they have their own.")
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
    bundle, items, what, options = _opened(args, search.Index.open(args.out).precision if args.add else args.precision)
    with progress(options.pop("total")) as options["advance"]:
        if args.add:
            change = search.add_items(args.out, bundle, items, **options)
        else:
            options |= {"engine": args.engine, "address": args.address, "overwrite": args.overwrite}
            description = search.build_index(args.out, bundle, items, **options)
    if args.add:
        print(f"{args.out}: {change.added:,} {what} added, {change.replaced:,} replaced, {change.items:,} in all.")
        say_left_out(change.without_words)
        return
    print(f"{args.out}: {description['items']:,} {what}, by {description['distance']} distance.")
    say_left_out(description["without_words"]["first"], description["without_words"]["count"])
    state = description["engine"]
    if recall := state.get("recall"):
        found = ", ".join(f"{side} {recall[side]:.1%}" for side in description["sides"])
        print(f"{args.engine}: of the exact nearest {recall['top']} it finds: {found}.")
    elif not state["rows"]:
        least = search.engines.engine(args.engine).least
        print(f"{args.engine}: takes over from {least:,} items on; until then the search is exact.")


def _opened(args: Index, precision: Any) -> tuple[Any, Any, str, dict[str, Any]]:
    """The bundle, the items, what these are, and where they come from, as the search's functions take it."""
    from kfood import search
    from kfood.export.runtime import Bundle

    assert args.bundle
    if args.embeddings:
        embeddings = search.Embeddings.open(args.embeddings)
        made = embeddings.description
        precision = precision if args.add else made["bundle"]["precision"]
        bundle = Bundle.open(args.bundle, threads=args.threads, precision=precision)
        kind = next((side for side in made["sides"] if side != "photos"), "labelled")
        dataset, splits, total = made["dataset"], made["dataset"]["splits"], len(embeddings)
        items: Any = embeddings
    else:
        assert args.data
        source = open_source(args.bundle, args.data, args.split or "test", threads=args.threads, precision=precision)
        bundle, kind, items = source.bundle, source.kind, source.items()
        dataset, splits, total = source.origin, source.splits, len(source)
    return bundle, items, WHAT[kind], {"dataset": dataset, "splits": splits, "precision": precision, "total": total}


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows it; to be called with the number of items done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("items", total=total)
        yield lambda count: bar.advance(task, count)


def say_left_out(ids: Sequence[str], count: int | None = None) -> None:
    """Says which items the model cannot read.

    Args:
        ids: of the items, or of the first of them.
        count: of all, where there are more.
    """
    if ids:
        print(f"Left out, no word that the model knows: {count or len(ids):,} ({', '.join(ids[:5])}).")
