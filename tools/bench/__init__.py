"""Measure kfood's speed on this machine against what the machine can do.

Examples:
    kfood bench evaluation
    kfood bench evaluation --n 50000
    kfood bench retrieval
    kfood bench losses --n 112 4096
    kfood bench export --model acme mcen
    kfood bench export --model acme r2gan mcen --data DATA
    kfood bench export --model --bundle BUNDLE …
    kfood bench step --model acme --preset published --batch-size 8
    kfood bench step --model acme mcen mcen:vanilla --batch-size 32
    kfood bench step --model two_tower --preset small --batch-size 64 --data DATA
    kfood bench engines --folder SCRATCH
"""

import tyro

from kfood.tools.bench import engines, evaluation, export, losses, retrieval, step

TABLES = {
    "engines": (engines.Engines, engines.measure),
    "evaluation": (evaluation.Evaluation, evaluation.measure),
    "export": (export.Export, export.measure),
    "losses": (losses.Losses, losses.measure),
    "retrieval": (retrieval.Retrieval, retrieval.measure),
    "step": (step.Step, step.measure),
}
"""Subcommand → its options, and what measures: options → figures by name."""


def main(arguments: list[str]) -> None:
    """Parses and measures."""
    run(
        tyro.extras.subcommand_cli_from_dict(
            {name: options for name, (options, _) in TABLES.items()},
            args=arguments,
            prog="kfood bench",
            description=__doc__,
        )
    )


def run(args: object) -> dict[str, float]:
    """Measures and prints.

    Args:
        args: what to measure.

    Returns:
        The figures printed: times in seconds, ratios, and memory in GB.
    """
    figures = next(measure for options, measure in TABLES.values() if isinstance(args, options))(args)
    for name, value in figures.items():
        print(f"{name:<44} {value:9.4f}" if value >= 1e-3 or not value else f"{name:<44} {value:9.1e}")
    return figures
