"""Export a trained run as a bundle: SavedModel, ONNX, vocabulary, and a card.

Every exported file is compared with the Keras model at several batch sizes and on edge inputs; a difference beyond the
bound is an error, and then there is no bundle.

Examples:
    kfood export RUN --out BUNDLE
    kfood export RUN --out BUNDLE --data DATA
    kfood export RUN --out BUNDLE --weights last --overwrite
"""

import contextlib
import dataclasses
import pathlib
from typing import Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Export:
    """Arguments of ``kfood export``."""

    run: tyro.conf.Positional[pathlib.Path]
    """Run folder, made by `kfood train`."""
    out: pathlib.Path
    """Bundle to make."""
    weights: Literal["best", "last"] = "best"
    """Of the best epoch on validation, or of the last."""
    data: pathlib.Path | None = None
    """The prepared dataset of RUN: adds int8 and float16 encoders where retrieval does not suffer, calibrated on its
    train split and measured on test, and warm-up requests for TensorFlow Serving (extra `serving`)."""
    overwrite: bool = False
    """Replace OUT if it is a bundle."""


def main(arguments: list[str]) -> None:
    """Parses and exports."""
    run(
        tyro.cli(
            Export, args=arguments, prog="kfood export", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
    )


def run(args: Export) -> None:
    """Exports, and says what was written and how far it is from the model."""
    import tensorflow as tf

    from kfood.data.dataset import open_dataset
    from kfood.export.bundle import export_bundle
    from kfood.models import MODELS, load_run

    with contextlib.suppress(RuntimeError):  # a process that has used its GPU already; the export then leaves it idle
        tf.config.set_visible_devices([], "GPU")
    model = load_run(args.run, args.weights)
    manifest = export_bundle(
        model,
        args.run,
        args.out,
        weights=args.weights,
        data=open_dataset(args.data, MODELS[model.name].data) if args.data else None,
        overwrite=args.overwrite,
        progress=print,
    )
    size = sum(entry["size"] for entry in manifest["files"].values())
    print(f"{args.out}: {len(manifest['files'])} files, {size / 1e6:.1f} MB; card.md says how to use them.")
