"""Train a model on a prepared dataset.

Examples:
    kfood train two_tower --data DATA --run RUN
    kfood train acme --data DATA --run RUN --preset small
    kfood train acme --data DATA --run RUN --preset small --variant TL+HM --epochs 30 --set margin=0.2
    kfood train acme --data DATA --run RUN --preset small --resume
    kfood train alpha_gao --data LABELLED --run PHOTOS --preset small --variant softmax
    kfood train acme --data DATA --run RUN --preset small --set image_encoder.weights=PHOTOS
    kfood train two_tower --data DATA --run RUN --batch-size 4096 --chunk 64
    kfood train two_tower --data DATA --run RUN --batch-size 4096 --set training.devices=0
    kfood train two_tower --data DATA --run RUN --set training.views=1 --set image_encoder.backbone=efficientnet_lite2
"""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from kfood.models import MODELS


@dataclasses.dataclass(frozen=True)
class Train:
    """Arguments of ``kfood train``."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"Which model: {', '.join(MODELS)}.")]
    data: pathlib.Path
    """Prepared dataset, made by `kfood prepare`."""
    run: pathlib.Path
    """Folder to make: settings, checkpoints, metrics."""
    preset: str = ""
    """`published`: the paper's sizes, for a GPU; `small`: for a CPU, from scratch; `pretrained`: for a CPU, on the
    features of a frozen ImageNet backbone. By default `pretrained` where the extra kfood[pretrained] is installed and
    the model sees real photos, else `small`."""
    variant: str = ""
    """A row of the paper's ablation table, e.g. `TL+HM`; the full model by default."""
    epochs: int | None = None
    """Passes over the training split; the preset's by default. With --resume, as many as the run has, or more."""
    batch_size: int | None = None
    """Pairs, or photos, a step; the preset's by default."""
    chunk: int | None = None
    """So many of a step's pairs pass the encoders at once: a big batch in the memory of a small one, for one more
    forward pass. 0, the default: all."""
    seed: int | None = None
    """Of weights, order, augmentation and noise; the preset's by default."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """field=value of the model's config, or training.field, spec.field; may be given several times."""
    resume: bool = False
    """Go on after the last whole epoch of the run, its settings given again. With more --epochs a cosine schedule is
    from there on that of the longer run: the learning rate rises again."""


def main(arguments: list[str]) -> None:
    """Parses and trains."""
    args = tyro.cli(
        Train, args=arguments, prog="kfood train", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
    )
    run(args)


def run(args: Train) -> None:
    """Trains, and says where the run is and how it did."""
    from kfood.configs import default_preset, experiment
    from kfood.data.dataset import open_dataset
    from kfood.training import TrainingRun

    named = {"epochs": args.epochs, "batch_size": args.batch_size, "chunk": args.chunk, "seed": args.seed}
    overrides = (*(f"training.{name}={value}" for name, value in named.items() if value is not None), *args.set)
    preset = args.preset or default_preset(args.model)
    chosen = experiment(args.model, preset, args.variant, overrides)
    dataset = open_dataset(args.data, MODELS[args.model].data)
    with TrainingRun(args.run, args.model, chosen, dataset, variant=args.variant, resume=args.resume) as training:
        for stage in training.stages():
            training.model.fit(**stage)
    progress = training.progress
    print(  # of several processes each has a folder of its own
        f"{training.folder}: {progress.epoch} epochs in {progress.seconds:.0f} s; "
        "best weights in checkpoints/best.weights.h5."
    )
