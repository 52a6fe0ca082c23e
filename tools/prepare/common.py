"""What the sources share: progress, what is said at the end, and checks of numbers."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset


def say_dropped(by_reason: dict[str, Any]) -> None:
    """Says how many items were left out for which reason."""
    for reason, drop in by_reason.items():
        first = ", ".join(drop["first"])
        show(f"Left out, {reason}: {drop['count']:,} ({first}{', …' if drop['count'] > len(drop['first']) else ''}).")


def shares(args: Any, *names: str) -> None:
    """Refuses options that are no share of 1."""
    for name in names:
        if not 0 < getattr(args, name) < 1:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option}: expected a share between 0 and 1, received {getattr(args, name)}.")


def at_least_one(args: Any, *names: str) -> None:
    """Refuses options below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, received {getattr(args, name)}.")


@contextlib.contextmanager
def progress() -> Iterator[Any]:
    """Bars of a long work."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description:>8}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns) as bar:
        yield bar


def say(dataset: "RecipeDataset") -> None:
    """Says what a recipe dataset holds."""
    from kfood.data.dataset import WITHOUT_PHOTOS

    sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items() if split != WITHOUT_PHOTOS)
    alone = f"; {dataset.splits[WITHOUT_PHOTOS]:,} recipes without photos" if WITHOUT_PHOTOS in dataset.splits else ""
    show(
        f"{dataset.path}: {sizes} pairs{alone}; {len(dataset.words):,} words, "
        f"{len(dataset.ingredients):,} ingredients, {len(dataset.classes):,} classes."
    )


def show(what: Any) -> None:
    """Prints what may hold ids, which may look like markup."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(what)
