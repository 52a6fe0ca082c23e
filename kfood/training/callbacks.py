"""Keras callbacks of a training run; each also serves alone, in a ``model.fit`` of one's own."""

import math
import pathlib
import time
import types

import keras
import numpy as np

from kfood import folders, schema
from kfood.evaluation import embedding, metrics, retrieval
from kfood.layers.image import RUN_WEIGHTS
from kfood.models.phases import OptimizerConfig
from kfood.training.checkpoints import Progress, save_checkpoint, weights_file
from kfood.training.config import TrainingConfig


class TrainingDivergedError(ArithmeticError):
    """A loss became NaN or infinite; the message names it."""


def learning_rate_factor(optimizer: OptimizerConfig, epoch: int, epochs: int, stale: list[int]) -> float:
    """What the learning rate of an epoch is multiplied with.

    Args:
        optimizer: schedule, period, factor, warm-up.
        epoch: from 0.
        epochs: in all.
        stale: for ``"plateau"``: :attr:`Progress.stale`.

    Returns:
        Factor of the base learning rate.
    """
    factor = 1.0
    if optimizer.schedule == "step":
        factor = optimizer.factor ** (epoch // optimizer.period)
    elif optimizer.schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    elif optimizer.schedule == "plateau":
        factor = optimizer.factor ** sum(1 for count in stale if count and count % optimizer.period == 0)
    if epoch < optimizer.warmup_epochs:
        factor *= (epoch + 1) / (optimizer.warmup_epochs + 1)
    return factor


class Validation(keras.callbacks.Callback):
    """Adds the ranks of a whole validation gallery to each epoch's logs.

    Args:
        batches: one pass over the validation split (dicts of features).
        encoders: those that take these batches; by default the model's own.

    With two encoders, each item of one modality looks for its own of the other: the logs gain
    ``val_image_to_recipe_median_rank``, ``…_recall_at_1``, ``…_5``, ``…_10`` and the reverse. With one, each item looks
    for the others of its class: they gain the figures of :func:`kfood.evaluation.retrieval.retrieval_metrics` but NMI.
    """

    def __init__(self, batches, encoders=None):
        super().__init__()
        self.batches = batches
        self.encoders = encoders

    def on_epoch_end(self, epoch, logs=None):
        """Embeds and ranks."""
        embedded = types.SimpleNamespace(encoders=self.encoders) if self.encoders else self.model
        found = embedding.embed_dataset(embedded, self.batches, keep=(schema.CLASS_ID,))
        arrays, names = found.arrays, list(found.arrays)
        if len(names) == 1:
            labels = found.features[schema.CLASS_ID]
            figures = retrieval.retrieval_metrics(
                arrays[names[0]], labels, distance=self.model.distance, clusters=False
            )
            logs.update({f"val_{name}": value for name, value in figures.items()})
        for first, second in [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]:
            both = metrics.ranks_both(arrays[first], arrays[second], distance=self.model.distance)
            for direction, ranks in zip((f"{first}_to_{second}", f"{second}_to_{first}"), both, strict=True):
                logs[f"val_{direction}_median_rank"] = metrics.median_rank(ranks)
                for k in (1, 5, 10):
                    logs[f"val_{direction}_recall_at_{k}"] = metrics.recall_at_k(ranks, k)


_SMALLEST_SCALE = 2.0**-10


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with the name of the loss that is not a number any more, or of the phase that never moves.

    Where gradients of float16 are too large a step is left out, and the scale of its loss halved. Far below 1 that is
    not for the scale: without an end to it, training would go on for nothing.
    """

    def on_train_batch_end(self, batch, logs=None):
        """Looks at every named loss."""
        for name, value in (logs or {}).items():
            if not np.isfinite(value):
                raise TrainingDivergedError(
                    f"Loss {name!r} became {float(value)} in step {batch + 1}: lower its weight or the learning rate. "
                    f"The last checkpoint is from before that epoch.{self._of_float16()}"
                )

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the scale of each phase's loss."""
        for name, optimizer in getattr(self.model, "optimizers", {}).items():
            scale = getattr(optimizer, "dynamic_scale", None)
            if scale is not None and float(keras.ops.convert_to_numpy(scale)) < _SMALLEST_SCALE:
                raise TrainingDivergedError(
                    f"Gradients of phase {name!r} were not finite in most steps up to epoch {epoch + 1}: lower the "
                    f"learning rate. The last checkpoint is from before that epoch.{self._of_float16()}"
                )

    def _of_float16(self):
        if self.model.compute_dtype != "float16":
            return ""
        return " float16 ends at 65504, bfloat16 where float32 does: try training.precision=bfloat16."


class Schedule(keras.callbacks.Callback):
    """Learning rate of each phase by its own schedule, and the image backbone's freeze.

    Args:
        config: epochs and freeze.
        progress: for plateaus.
    """

    def __init__(self, config: TrainingConfig, progress: Progress):
        super().__init__()
        self.config = config
        self.progress = progress

    def on_epoch_begin(self, epoch, logs=None):
        """Sets learning rates; makes the step anew where the frozen part changes."""
        for phase in self.model.phases:
            factor = learning_rate_factor(phase.optimizer, epoch, self.config.epochs, self.progress.stale)
            self.model.optimizers[phase.name].learning_rate = phase.optimizer.learning_rate * factor
        if self.config.frozen_epochs or self.config.freeze_statistics:
            learns = epoch >= self.config.frozen_epochs
            if _set_learning(_backbone(self.model), learns, self.config.freeze_statistics):
                self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch, logs=None):
        """Logs the encoders' learning rate."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class Checkpoints(keras.callbacks.Callback):
    """Writes ``last`` after each epoch and ``best`` after a better one, each whole or not at all.

    Args:
        folder: where.
        monitor: see :class:`TrainingConfig`.
        progress: updated and stored with the weights.
    """

    def __init__(self, folder: pathlib.Path, monitor: str, progress: Progress):
        super().__init__()
        self.folder = folder
        self.monitor = monitor
        self.progress = progress

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self.since = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Compares, then writes."""
        score = selection_score(logs, self.monitor)
        better = score < self.progress.best
        now = time.monotonic()
        self.progress.seconds += now - self.since
        self.since = now
        self.progress.epoch, self.progress.scaled = epoch + 1, False
        self.progress.best = min(score, self.progress.best)
        self.progress.stale.append(0 if better or not self.progress.stale else self.progress.stale[-1] + 1)
        logs["seconds"] = self.progress.seconds
        if better:
            save_checkpoint(self.model, self.folder / "best.weights.h5", self.progress)
            backbone = weights_file(_backbone(self.model))
            folders.write_whole({self.folder / RUN_WEIGHTS.name: backbone.getbuffer()})
        save_checkpoint(self.model, self.folder / "last.weights.h5", self.progress)


def _backbone(model) -> keras.Model:
    return model.encoders["image"].get_layer("backbone")


def _set_learning(backbone: keras.Model, learns: bool, freeze_statistics: bool) -> bool:
    """Freezes a backbone or lets it learn; whether that changed anything."""
    changed = backbone.trainable != learns
    if changed:
        backbone.trainable = learns
    if learns and freeze_statistics:
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                layer.trainable, changed = False, True
    return changed


def selection_score(logs: dict[str, float], monitor: str) -> float:
    """The number by which epochs are compared, lower is better.

    Ties are broken by recall at 10, and of labelled photos by MAP@R: weighed so little that it stays below the step of
    either monitor in any gallery of up to 500,000 items.

    Args:
        logs: of an epoch, see :class:`Validation`.
        monitor: ``"median_rank"`` or ``"recall_at_1"``.

    Returns:
        Mean over directions.
    """

    def mean(suffix):
        return float(
            np.mean([value for name, value in logs.items() if name.startswith("val_") and name.endswith(suffix)])
        )

    score = mean("_median_rank") if monitor == "median_rank" else -mean("_recall_at_1")
    return score - 1e-6 * mean("_map_at_r" if "val_map_at_r" in logs else "_recall_at_10")
