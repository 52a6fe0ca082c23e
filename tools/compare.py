"""Compare evaluated runs: one table, one chart of their figures, one of the median rank by size of the gallery.

Runs are comparable that `kfood evaluate` measured on the same data by the same protocol. Runs that differ in nothing
but the seed become one row, mean ± standard deviation over the seeds.

Examples:
    kfood compare RUN OTHER_RUN
    kfood compare runs/* --out COMPARISON
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import tyro

_FILE_WIDTH = 160  # a table that goes to a file or a pipe need not fit a terminal


@dataclasses.dataclass(frozen=True)
class Compare:
    """Arguments of ``kfood compare``."""

    runs: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """Run folders, made by `kfood train` and measured by `kfood evaluate`."""
    out: pathlib.Path | None = None
    """Folder for compare.json, compare.html and the charts as PNG."""


def main(arguments: list[str]) -> None:
    """Parses and compares."""
    run(tyro.cli(Compare, args=arguments, prog="kfood compare", description=__doc__))


def run(args: Compare) -> dict[str, Any]:
    """Prints the table, writes the files if a folder is given.

    Returns:
        The content of compare.json.

    Raises:
        ValueError: the runs cannot be compared; the message names two that differ, and in what.
        OSError: something cannot be read or written.
    """
    from rich.console import Console

    from kfood.evaluation import comparison

    found = comparison.compare([comparison.read_run(folder) for folder in args.runs])
    Console(width=None if sys.stdout.isatty() else _FILE_WIDTH).print(_table(found))
    print(f"{comparison.caption(found)} M: million parameters. Seconds: of training.")
    if args.out:
        for path in comparison.write_comparison(args.out, found):
            print(path)
    return found


def _table(found: Mapping[str, Any]) -> Any:
    """A block of lines a row, one a direction; 80 columns hold it, with deviations on a second line."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from kfood.evaluation.comparison import shown

    metrics = list(next(iter(found["rows"][0]["directions"].values())))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    for name in (*metrics, "M in encoders\n(in all)", "seconds", "epochs", "seeds"):
        table.add_column(name, justify="right", vertical="bottom")
    for row in found["rows"]:
        told = (
            f"{row['parameters']['encoders'] / 1e6:.2f} ({row['parameters']['all'] / 1e6:.2f})",
            f"{row['seconds']:,.0f}",
            f"{row['epochs']:g}",
            str(len(row["seeds"])),
        )
        table.add_row(f"[bold]{escape(row['name'])}", *[""] * len(metrics), *told)
        for direction, figures in row["directions"].items():
            cells = (shown(figures[metric], metric, row["std_over"]) for metric in metrics)
            table.add_row("  " + escape(direction.replace("_to_", " → ")), *cells)
    return table
