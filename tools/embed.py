"""Embed a dataset's pictures, and its recipes or trajectories where it has any, for `kfood index` to build an index of.

`kfood index` does both at once; this is for what takes hours, or many machines. It works in parts: a process that was
killed goes on with the parts that are missing when the same command is given again. With --runner Apache Beam (extra
`beam`) does the parts, here in several processes or on Flink, Spark or Dataflow; its own options follow a bare --.

Examples:
    kfood embed BUNDLE --data DATA --out EMBEDDINGS
    kfood index BUNDLE --embeddings EMBEDDINGS --out INDEX
    kfood embed BUNDLE --data DATA --out EMBEDDINGS --threads 1 --runner FnApiRunner --
        --direct_num_workers 4 --direct_running_mode multi_processing
    kfood embed BUNDLE --data DATA --out EMBEDDINGS --runner FlinkRunner -- --flink_master HOST:8081 --parallelism 32
"""

import dataclasses
import functools
import pathlib
import platform
from collections.abc import Callable
from typing import Annotated, Any, Literal

import tyro

from kfood.tools import bulk
from kfood.tools.dataset_items import WHAT, Source, Split, open_source


@dataclasses.dataclass(frozen=True)
class Embed:
    """Arguments of ``kfood embed``."""

    bundle: tyro.conf.Positional[pathlib.Path]
    """Bundle, made by `kfood export`."""
    data: pathlib.Path
    """Prepared dataset, made by `kfood prepare`."""
    out: pathlib.Path
    """Folder to make."""
    split: Split = "all"
    """Which recipes, or photos."""
    precision: Literal["float32", "int8", "float16"] = "float32"
    """Of the encoders, where the bundle has them in another (`kfood export --data`)."""
    threads: int = 0
    """Threads of onnxruntime in each process; 0 lets it choose: a thread a core."""
    part_size: int = 1024
    """Items of a part, the work that a process does at a time: a multiple of 32."""
    runner: str = ""
    """Runner of Apache Beam: FnApiRunner and DirectRunner on this machine, FlinkRunner, SparkRunner, DataflowRunner, …
    By default the work is done in this process, without Beam."""
    overwrite: bool = False
    """Replace OUT if it holds embeddings, and parts that another command left unfinished."""
    beam_options: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Beam's options: what follows --."""

    def __post_init__(self):
        from kfood.search.building import BATCH

        if self.part_size < BATCH or self.part_size % BATCH:
            raise ValueError(f"--part-size: expected a multiple of {BATCH}, received {self.part_size}.")


class _PartMaker:
    """Makes parts of one command's embeddings, here or where another process of the command runs."""

    def __init__(self, args: Embed, work: pathlib.Path, plan: dict[str, Any]):
        from kfood.search import parts

        self._work, self._ranges = work, {number: (start, end) for number, start, end in parts.ranges(plan)}
        self._source = _opened(args)
        if _plan(self._source, args) != plan:
            raise ValueError(
                f"{args.bundle}, {args.data}: expected the bundle and the dataset that the command was started with, "
                f"received others on {platform.node()}."
            )

    def __call__(self, number: int, advance: Callable[[int], object] = lambda count: None) -> None:
        from kfood.search import building, parts

        bundle, items = self._source.bundle, self._source.part(*self._ranges[number])
        parts.make(
            self._work,
            number,
            bundle.embedding_size,
            lambda writer: building.write_items(writer, bundle, items, advance),
        )


def _opened(args: Embed) -> Source:
    return open_source(args.bundle, args.data, args.split, threads=args.threads, precision=args.precision)


def _plan(source: Source, args: Embed) -> dict[str, Any]:
    from kfood.search import parts

    return parts.plan(
        source.bundle,
        dataset=source.origin,
        splits=source.splits,
        precision=args.precision,
        items=len(source),
        part_size=args.part_size,
    )


def main(arguments: list[str]) -> None:
    """Parses and embeds."""
    own, beam_options = bulk.divided(arguments)
    args = tyro.cli(Embed, args=own, prog="kfood embed", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    run(dataclasses.replace(args, beam_options=beam_options))


def run(args: Embed) -> None:
    """Embeds, and says what was left out."""
    from kfood.search import parts
    from kfood.tools.index import progress, say_left_out

    beam = bulk.beam(args.runner, args.beam_options)
    # Workers may have other working folders.
    args = dataclasses.replace(args, **{name: getattr(args, name).resolve() for name in ("bundle", "data", "out")})
    source = _opened(args)
    plan = _plan(source, args)
    with parts.unfinished(args.out, plan, overwrite=args.overwrite) as work:
        ranges = parts.ranges(plan)
        missing = {number: end - start for number, start, end in ranges if not parts.is_made(work, number)}
        if len(missing) < len(ranges):
            print(f"{args.out}: {len(ranges) - len(missing):,} of {len(ranges):,} parts are there.")
        if missing and beam:
            beam.run(missing, functools.partial(_PartMaker, args, work, plan))
        elif missing:
            make = _PartMaker(args, work, plan)
            with progress(sum(missing.values())) as advance:
                for number in missing:
                    make(number, advance)
        embeddings = parts.finish(work, args.out, plan, overwrite=args.overwrite)
    description = embeddings.description
    print(f"{args.out}: {len(embeddings):,} {WHAT[source.kind]}, in {len(ranges):,} parts.")
    say_left_out([id for part in description["parts"].values() for id in part["without_words"]])
