"""Everything once, on the synthetic kitchen: prepare, train, evaluate, export, index, search. Needs no data.

Examples:
    kfood demo
    kfood demo --out demo --epochs 12
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator

import tyro


@dataclasses.dataclass(frozen=True)
class Demo:
    """Arguments of ``kfood demo``."""

    out: pathlib.Path = pathlib.Path("demo")
    """Folder for everything; what is already there is used again."""
    pairs: int = 2_000
    """Recipe-photo pairs of the kitchen."""
    epochs: int | None = None
    """Passes over its 80 % train pairs; the preset's by default."""
    seed: int = 0
    """Of the kitchen and of the training."""


def main(arguments: list[str]) -> None:
    """Parses and runs."""
    run(tyro.cli(Demo, args=arguments, prog="kfood demo", description=__doc__))


def run(args: Demo) -> None:
    """Calls the commands as a user would, and prints each before it runs."""
    out = args.out
    data, run_folder, bundle, index = (str(out / name) for name in ("data", "run", "bundle", "index"))
    start = time.monotonic()
    if not (out / "data" / "dataset.json").is_file():
        _command("prepare", "kitchen", "--out", data, "--pairs", str(args.pairs), "--seed", str(args.seed))
    epochs = () if args.epochs is None else ("--epochs", str(args.epochs))
    resume = ("--resume",) if (out / "run" / "config.json").is_file() else ()
    _command(
        "train",
        "acme",
        "--preset",
        "small",
        "--data",
        data,
        "--run",
        run_folder,
        "--seed",
        str(args.seed),
        *epochs,
        *resume,
    )
    _command("evaluate", run_folder, "--data", data, "--split", "test")
    if not (out / "bundle" / "kfood.json").is_file():
        _command("export", run_folder, "--out", bundle)
    if not (out / "index").is_dir():
        _command("index", bundle, "--data", data, "--out", index, "--split", "test")
    photo = out / "query.jpg"
    photo.write_bytes(_a_test_photo(out / "data"))
    picture = str(out / "search.png")
    _command("search", index, "--image", str(photo), "--gallery-picture", str(out / "search_by_photo.png"))
    _command("search", index, "--text", "pizza with mushrooms and olives", "--gallery-picture", picture)
    report = json.loads((out / "run" / "report.json").read_text())
    print(f"\nDone in {time.monotonic() - start:.0f} s. Look at:")
    for path in (
        out / "run" / "report.html",
        out / "search_by_photo.png",
        out / "search.png",
        out / "bundle" / "card.md",
    ):
        print(f"  {path}")
    for direction, scores in sorted(report["directions"].items()):
        print(f"{direction}: MedR {scores['MedR']['mean']:.1f}")
    print(_NEXT)


_NEXT = """
With recipes and photos of your own (docs/data.md; extras pretrained and serve):
  kfood prepare pairs --recipes recipes.csv --photos photos/ --out DATA
  kfood train two_tower --data DATA --run RUN
  kfood export RUN --out BUNDLE && kfood index BUNDLE --data DATA --out INDEX --split all
  kfood serve BUNDLE --index INDEX"""


def _command(*arguments: str) -> None:
    from kfood.tools import main as kfood

    print(f"\n$ kfood {' '.join(arguments)}", flush=True)
    status = kfood.main(list(arguments))
    if status:
        raise ChildProcessError(f"kfood {arguments[0]} ended with status {status}.")


def _a_test_photo(data: pathlib.Path) -> bytes:
    from kfood.data.dataset import open_dataset

    photos: Iterator[bytes] = open_dataset(data).photos("test")
    return next(photos)
