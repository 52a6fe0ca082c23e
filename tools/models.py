"""List every model: what it is trained on, its paper, its presets' sizes and its variants.

Examples:
    kfood models
    kfood models --parameters
"""

import dataclasses
from typing import Any

import tyro

from kfood.models import MODELS


@dataclasses.dataclass(frozen=True)
class Models:
    """Arguments of ``kfood models``."""

    parameters: bool = False
    """Build every model and count its parameters, millions; it takes a minute or two."""


def main(arguments: list[str]) -> None:
    """Parses and prints."""
    args = tyro.cli(
        Models, args=arguments, prog="kfood models", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
    )
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(table(args.parameters))


def table(parameters: bool = False) -> Any:
    """A row a model and preset."""
    from rich.table import Table

    from kfood.configs import PRESETS

    columns = ("model", "trained on", "paper", "preset", "photo, pixels", "embedding", "variants")
    made = Table(*columns[:6], *(["parameters, M"] if parameters else []), columns[6], show_lines=False)
    for name, entry in MODELS.items():
        module = entry.configs()
        for preset in PRESETS:
            if not hasattr(module, preset):
                continue
            chosen = getattr(module, preset)()
            first = preset == PRESETS[0]
            variants = list(module.VARIANTS)
            shown = ", ".join(variants[:6]) + (f", … ({len(variants)})" if len(variants) > 6 else "")
            size = getattr(chosen.model, "embedding_size", None) or chosen.model.encoder.embedding_size
            made.add_row(
                name if first else "",
                entry.data if first else "",
                (module.__doc__ or "").split("\n")[0].split(", :mod:")[0] if first else "",
                preset,
                str(chosen.spec.image_size),
                str(size),
                *([f"{_millions(name, preset):.1f}"] if parameters else []),
                shown if first else "",
            )
    return made


def _millions(name: str, preset: str) -> float:
    from kfood.tools.describe import Describe, describe

    return describe(Describe(name, preset))["parameters"]["total"] / 1e6
