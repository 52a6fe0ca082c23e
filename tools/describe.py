"""Print a model's parameters, embedding size and inputs as JSON; no data is needed.

Examples:
    kfood describe acme --preset published
    kfood describe acme --preset small --variant TL+HM
    kfood describe mcen --variant vanilla
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any

import tyro

from kfood.models import MODELS
from kfood.settings import without_sources


@dataclasses.dataclass(frozen=True)
class Describe:
    """Arguments of ``kfood describe``."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"Which model: {', '.join(MODELS)}.")]
    preset: str = "published"
    """`published` or `small`."""
    variant: str = ""
    """A row of the paper's ablation table."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """field=value, e.g. spec.word_vocabulary=30002; may be given several times."""


def main(arguments: list[str]) -> None:
    """Parses and prints."""
    args = tyro.cli(Describe, args=arguments, prog="kfood describe", description=__doc__)
    print(json.dumps(describe(args), indent=2))


def describe(args: Describe) -> dict[str, Any]:
    """Sizes of a model.

    Returns:
        Parameters in all, trainable, of the encoders (all that inference needs; a part that both share counts once)
        and of what training alone needs, by encoder (a shared part counts in both), and by part (each once); embedding
        size, distance, inputs, and the vocabulary sizes that the figures hold for.
    """
    from kfood.configs import experiment
    from kfood.models import parameters

    chosen = experiment(args.model, args.preset, args.variant, args.set)
    # Weights change no figure, and need not be at hand.
    model = MODELS[args.model].load()(without_sources(dataclasses.asdict(chosen.model)), chosen.spec)
    parts: dict[str, int] = {}
    counted: set[int] = set()
    encoders = list(model.encoders.values())
    for layer in [*(layer for layer in model.layers if layer not in encoders), *encoders]:
        new = [variable for variable in layer.weights if id(variable) not in counted]
        counted |= {id(variable) for variable in new}
        if new:
            parts[layer.name] = _count(new)
    needed = parameters(*encoders)
    return {
        "model": args.model,
        "preset": args.preset,
        "variant": args.variant or None,
        "parameters": sum(parts.values()),
        "trainable_parameters": _count(model.trainable_variables),
        "encoder_parameters": needed,
        "training_only_parameters": sum(parts.values()) - needed,
        "by_encoder": {name: encoder.count_params() for name, encoder in model.encoders.items()},
        "by_part": parts,
        "embedding_size": model.embedding_size,
        "distance": model.distance,
        "inputs": {
            name: {
                feature: {"shape": list(tensor.shape), "dtype": tensor.dtype}
                for feature, tensor in encoder.input.items()
            }
            for name, encoder in model.encoders.items()
        },
        "vocabulary": {
            name: getattr(chosen.spec, field)
            for name, field in (
                ("words", "word_vocabulary"),
                ("ingredients", "ingredient_vocabulary"),
                ("classes", "classes"),
            )
            if hasattr(chosen.spec, field)
        },
    }


def _count(variables: Iterable[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
