"""Pairs of recipes and photos, checked for leaks and written, whatever they were read from."""

from typing import TYPE_CHECKING, Any

from kfood.tools.prepare import common

if TYPE_CHECKING:
    from kfood.data import leaks, pairs, recipe1m
    from kfood.data.dataset import RecipeDataset


def write(args: Any, raw: "pairs.Pairs | recipe1m.Recipe1M", name: str, vectors: int = 0) -> "RecipeDataset":
    """Read, check for leaks and write; ends with the table, the leaks and a picture of what was read.

    Args:
        args: the options that both sources have.
        raw: the source.
        name: of the dataset.
        vectors: width of the instructions' sentence vectors; 0: none.
    """
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

    with common.progress() as progress:
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
    common.say(dataset)
    seen.write(args.out / "pairs.png")
    common.show(f"{args.out / 'pairs.png'}: {overview.SHOWN} random pairs, to see whether they were read as meant.")
    return dataset


def _say_leaks(check: "leaks.LeakCheck") -> None:
    for (split, other, what), count in sorted(check.count.items()):
        first = ", ".join(
            f"{leak.id} = {leak.other_id}"
            for leak in check.leaks
            if (leak.split, leak.other_split, leak.what) == (split, other, what)
        )
        first = first if len(first) < 160 else first[:160].rsplit(",", 1)[0] + ", …"
        common.show(f"Leaks: {count:,} of {split} hold the same {what} as {other} ({first}).")
    if check.count:
        told = "left out" if check.summary()["dropped"] else "kept; --drop-leaks leaves them out"
        common.show(f"Leaks were {told}; prepare.json in the folder lists them.")


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
    common.show(table)
    for note in report["notes"]:
        common.show(f"Note: {note}")
