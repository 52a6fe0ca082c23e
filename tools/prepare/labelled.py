"""Labelled photos, split by class."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from kfood.tools.prepare import common

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Prepare labelled photos, split by class: those of the test split are never trained on.

    Reads a folder or a tar archive of class folders (Food-101, Vireo Food-172, ISIA Food-500, or your own), or a data
    set that TensorFlow Datasets has a builder for. Classes count in string order.
    """

    out: pathlib.Path
    """Folder to make."""
    source: pathlib.Path | None = None
    """Folder or tar archive, compressed or not, with class folders beside each other: images/CLASS/FILE."""
    tfds: str = ""
    """In place of --source: food-101, cub-200-2011, cars196 or sop, which TFDS downloads."""
    train_classes: int | None = None
    """Train on the first so many classes and test on the rest; by default as the paper splits the data set with this
    number of classes: food-101 (101: 70), vireo-172 (172: 120), isia-500 (500: 350), cub-200-2011 (200: 100), cars196
    (196: 98), sop (22,634: 11,318). With all, as for a classifier whose encoder is to
    start others, there is no test split."""
    val_share: float = 0.1
    """Share of the training classes' photos that is held out for validation."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        common.at_least_one(self, "short_side")

    def prepare(self) -> "LabelledDataset":
        """Reads, checks, writes, and says what was left out; see :func:`kfood.tools.prepare.run`."""
        from kfood.data import builder, labelled

        if (self.source is None) == (not self.tfds):
            raise ValueError("labelled: expected one of --source and --tfds, received both or neither.")
        builder.check_output(self.out, overwrite=self.overwrite)
        source = labelled.Ready(self.tfds) if self.source is None else labelled.Files(self.source)
        count = len(source.classes)
        name = self.tfds or labelled.known_by_classes(count)
        if name and not self.tfds:
            own = (
                ""
                if self.train_classes is not None
                else " and split as the paper splits it; --train-classes N does otherwise"
            )
            common.show(f"{count:,} classes, as many as {name} has: taken for it{own}.")
        train_classes = self.train_classes
        if train_classes is None:
            if not name:
                raise ValueError(f"--train-classes: expected a number, for no known data set has {count} classes.")
            train_classes = labelled.KNOWN[name].train_classes
        photos = labelled.LabelledPhotos(
            source, train_classes=train_classes, val_share=self.val_share, short_side=self.short_side
        )
        with common.progress() as progress:

            def records(split):
                task = progress.add_task(split, total=photos.candidates[split])
                yield from photos.records(split, lambda: progress.advance(task))

            dataset = builder.write_photos(
                self.out,
                name or "labelled",
                {split: records(split) for split in photos.candidates},
                classes=source.classes,
                train_classes=train_classes,
                short_side=self.short_side,
                overwrite=self.overwrite,
                report=lambda: {"dropped": photos.dropped.by_reason},
            )
        common.say_dropped(photos.dropped.by_reason)
        sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items())
        rest = (
            f"{count - train_classes:,} others to test on"
            if train_classes < count
            else "none to test on: no test split"
        )
        common.show(f"{dataset.path} ({dataset.name}): {sizes} photos; {train_classes:,} classes to train on, {rest}.")
        return dataset
