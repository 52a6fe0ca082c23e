"""Make a prepared dataset out of raw files, or draw the synthetic kitchen.

Examples:
    kfood prepare pairs --recipes recipes.csv --photos photos/ --out data/own
    kfood prepare pairs --recipes cookbook.paprikarecipes --out data/own --classes-of-titles 10
    kfood prepare pairs --recipes dump.jsonl --photos photos/ --out data/own --title dish --ingredients items
    kfood prepare recipe1m --source Recipe1M/ --out data/recipe1m
    kfood prepare recipe1m --source Recipe1M/ --out data/recipe1m --runner FlinkRunner -- --flink_master HOST:8081
    kfood prepare labelled --source food-101.tar.gz --out data/food-101
    kfood prepare labelled --source photos/ --out data/photos --train-classes 20
    kfood prepare labelled --tfds cub-200-2011 --out data/cub
    kfood prepare ucy --source univ/test/ --out data/ucy --split pedestrian
    kfood prepare ucy --source walks/ --out data/walks --length 40 --longest-gap 30
    kfood prepare kitchen --out data/kitchen --pairs 2000 --size 128 --seed 0
"""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import tyro

from kfood.tools import bulk
from kfood.tools.prepare.kitchen import Kitchen
from kfood.tools.prepare.labelled import Labelled
from kfood.tools.prepare.pairs import Pairs
from kfood.tools.prepare.recipe1m import Recipe1M
from kfood.tools.prepare.ucy import Ucy

if TYPE_CHECKING:
    from kfood.data.dataset import PreparedDataset


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
    own, beam_options = bulk.divided(arguments)
    what = tyro.cli(
        Prepare, args=own, prog="kfood prepare", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
    ).what
    if isinstance(what, Recipe1M):
        what = dataclasses.replace(what, beam_options=beam_options)
    elif beam_options:
        raise ValueError(
            f"expected Apache Beam's options, which follow --, with recipe1m alone: {' '.join(beam_options)}."
        )
    run(what)


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
    return (args.what if isinstance(args, Prepare) else args).prepare()
