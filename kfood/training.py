"""A training run on disk: schedules, validation, checkpoints, resume.

::

    RUN/
      .lock                          held while a training runs
      config.json                    model, variant, config, the batch's spec, the training's settings, the dataset
      vocabulary/*.txt               copies of the dataset's
      checkpoints/last.weights.h5    after the last whole epoch: weights, every optimizer, random state, progress
      checkpoints/best.weights.h5    the same after the best epoch on validation
      checkpoints/backbone.weights.h5    that epoch's image backbone alone, for other models to start from
      metrics.csv                    a row an epoch: every named loss, validation scores, seconds
      tensorboard/                   the same for TensorBoard

An epoch is a pure function of the checkpoint before it, the seed and its number, and with the schedule ``"cosine"`` of
how many there are to be: a run that was killed goes on from its last whole epoch to the same weights as one that was
not. So does one that is given more epochs, but that a ``"cosine"`` is from there on the longer run's: the learning
rate, 0 at the old end, rises again.
"""

import dataclasses
import io
import json
import math
import pathlib
import sys
import time
import types
from typing import Any, Literal

import h5py
import keras
import numpy as np

import kfood
from kfood import folders, runs, schema
from kfood.data import pipeline, word_vectors
from kfood.data.dataset import LabelledDataset, PreparedDataset, RecipeDataset
from kfood.data.drawing import Movement
from kfood.data.features import Views
from kfood.data.images import Augmentation
from kfood.evaluation import embedding, metrics, retrieval
from kfood.frozen import embedding_networks, photo_features
from kfood.layers.image import RUN_WEIGHTS
from kfood.models import MODELS
from kfood.models.base import OptimizerConfig, RetrievalModel


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, whichever it is; learning rates are of each phase's optimizer.

    Attributes:
        epochs: passes over the training split.
        batch_size: pairs, or photos, a step.
        seed: of initial weights, order, augmentation, dropout and noise.
        freeze_image_epochs: epochs at the start during which the image backbone does not learn; -1: all.
        views: 0: photos pass the backbone in every epoch. Else, while it does not learn, it sees each training photo
            once in this many views, the evaluation crop and varied ones, and epochs read what it made of them, which is
            kept in the dataset's folder (:mod:`kfood.data.features`).
        feature_gigabytes: that this may take on disk.
        monitor: validation score by which the best epoch is chosen: ``"median_rank"`` or ``"recall_at_1"``, averaged
            over both directions; of labelled photos ``"recall_at_1"``.
        precision: Keras dtype policy: ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.
        jit_compile: compile the step with XLA.
        deterministic: ask TensorFlow for deterministic operations: the same run gives the same weights.
        augmentation: how training photos are varied, or training trajectories moved.
    """

    epochs: int = 50
    batch_size: int = 64
    seed: int = 0
    freeze_image_epochs: int = 0
    views: int = 0
    feature_gigabytes: float = 20.0
    monitor: Literal["median_rank", "recall_at_1"] = "median_rank"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit_compile: bool = False
    deterministic: bool = True
    augmentation: Augmentation | Movement = Augmentation()

    def __post_init__(self):
        for name, valid in {
            "monitor": ("median_rank", "recall_at_1"),
            "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
        }.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"training.{name}: expected one of {list(valid)}, received {getattr(self, name)!r}.")
        for name, least in {"epochs": 1, "batch_size": 2, "freeze_image_epochs": -1, "views": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"training.{name}: expected at least {least}, received {getattr(self, name)}.")
        if self.views and not self.freeze_image_epochs:
            raise ValueError(
                f"training.views: expected 0 without training.freeze_image_epochs, received {self.views}: what a "
                "backbone makes of photos changes as it learns."
            )

    @property
    def frozen_epochs(self) -> int:
        """Epochs during which the image backbone does not learn."""
        return self.epochs if self.freeze_image_epochs < 0 else min(self.freeze_image_epochs, self.epochs)


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


@dataclasses.dataclass
class Progress:
    """What a checkpoint knows beside weights.

    Attributes:
        epoch: whole epochs done.
        best: best validation score so far, lower is better; infinite before the first.
        stale: for each epoch done, how many epochs since the last better one.
        seconds: spent training and validating.
    """

    epoch: int = 0
    best: float = math.inf
    stale: list[int] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


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


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with the name of the loss that is not a number any more."""

    def on_train_batch_end(self, batch, logs=None):
        """Looks at every named loss."""
        for name, value in (logs or {}).items():
            if not np.isfinite(value):
                raise TrainingDivergedError(
                    f"Loss {name!r} became {float(value)} in step {batch + 1}: lower its weight or the learning rate. "
                    "The last checkpoint is from before that epoch."
                )


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
        frozen = epoch < self.config.frozen_epochs
        backbone = _backbone(self.model) if self.config.frozen_epochs else None
        if backbone is not None and backbone.trainable == frozen:
            backbone.trainable = not frozen
            self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch, logs=None):
        """Logs the encoders' learning rate."""
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


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
        self.progress.epoch = epoch + 1
        self.progress.best = min(score, self.progress.best)
        self.progress.stale.append(0 if better or not self.progress.stale else self.progress.stale[-1] + 1)
        logs["seconds"] = self.progress.seconds
        if better:
            save_checkpoint(self.model, self.folder / "best.weights.h5", self.progress)
            backbone = _weights_file(_backbone(self.model))
            folders.write_whole({self.folder / RUN_WEIGHTS.name: backbone.getbuffer()})
        save_checkpoint(self.model, self.folder / "last.weights.h5", self.progress)


def _backbone(model) -> keras.Model:
    return model.encoders["image"].get_layer("backbone")


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


def save_checkpoint(model: RetrievalModel, path: pathlib.Path, progress: Progress) -> None:
    """Writes weights, optimizers, random states and progress into one file, whole or not at all."""
    content = _weights_file(model)
    with h5py.File(content, "a") as file:
        file.attrs["kfood_progress"] = json.dumps(dataclasses.asdict(progress))
    folders.write_whole({path: content.getbuffer()})


class _Memory(io.BytesIO):
    """A file in memory that Keras takes for one by its name."""

    def __str__(self):
        return "memory.weights.h5"


def _weights_file(model: keras.Model) -> io.BytesIO:
    """What ``save_weights`` writes. In memory: HDF5 ends the process where a disk is full, as Python's files do not."""
    content = _Memory()
    model.save_weights(content)
    return content


def load_checkpoint(model: RetrievalModel, path: pathlib.Path) -> Progress:
    """The reverse of :func:`save_checkpoint`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is not a checkpoint of this model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint {path}, received none: has the run finished an epoch?")
    try:
        with h5py.File(path) as file:
            progress = Progress(**json.loads(file.attrs["kfood_progress"]))
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a checkpoint of model {model.name!r} ({error}).") from error
    return progress


def prepare_keras(config: TrainingConfig) -> None:
    """Seeds, precision and determinism of this process; call it before a model is made."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    if config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def train(
    name: str,
    experiment: Any,
    dataset: PreparedDataset,
    run: pathlib.Path,
    *,
    variant: str = "",
    resume: bool = False,
    verbose: int | str = "auto",
) -> Progress:
    """Trains a model on a dataset's train split, choosing the best epoch on its val split.

    Args:
        name: a model of :data:`kfood.models.MODELS`.
        experiment: :class:`kfood.configs.Experiment`; its spec receives the dataset's vocabulary sizes.
        dataset: what :func:`kfood.data.dataset.open_dataset` gives.
        run: folder to make.
        variant: what the run is called beside its model, e.g. a row of the paper's ablation table.
        resume: go on after the last whole epoch of ``run``, whose stored settings must be these, but that there may be
            more epochs; a run without a checkpoint starts anew. Reports on its weights so far are removed.
        verbose: as in ``keras.Model.fit``; a bar on a terminal, a line an epoch elsewhere.

    Returns:
        Where the run stands.

    Raises:
        FileExistsError: ``run`` holds something and ``resume`` is not set.
        BlockingIOError: another training is at work in ``run``.
        OSError: something cannot be written, as on a full disk; the last checkpoint stays.
        ValueError: settings that do not fit the data, or, on resuming, the run.
        TrainingDivergedError: a loss became NaN.
    """
    config: TrainingConfig = experiment.training
    if isinstance(dataset, LabelledDataset) and config.monitor != "recall_at_1":
        raise ValueError(f"training.monitor: expected 'recall_at_1' for labelled photos, received {config.monitor!r}.")
    if config.views and not isinstance(config.augmentation, Augmentation):
        raise ValueError(f"training.views: expected 0 for trajectories, which are drawn anew, received {config.views}.")
    spec = dataset.fit(experiment.spec)
    pipeline.steps_per_epoch(dataset, "train", config.batch_size)  # says now what does not fit
    description = {
        "kfood": kfood.__version__,
        "model": name,
        "variant": variant,
        "config": dataclasses.asdict(experiment.model),
        "spec": dataclasses.asdict(spec),
        "training": dataclasses.asdict(config),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "vocabulary": dataset.vocabulary_fingerprint,
            "splits": dataset.splits,
        },
    }
    if not resume and not folders.is_empty(run):
        raise FileExistsError(f"--run: expected a new folder, received {run}, which holds files; or give --resume.")
    run.mkdir(parents=True, exist_ok=True)
    try:
        with folders.held(run):
            return _train(description, experiment, spec, dataset, run, resume, verbose)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"--run: expected a folder that nothing else trains in, received {run}, where another training is at work: "
            "let it end, or choose another folder."
        ) from error


def _train(
    description: dict,
    experiment: Any,
    spec: Any,
    dataset: PreparedDataset,
    run: pathlib.Path,
    resume: bool,
    verbose: int | str,
) -> Progress:
    """:func:`train` in a folder that is held."""
    config: TrainingConfig = experiment.training
    description = runs.settled(run, description, resume)
    checkpoints = run / "checkpoints"
    resumed = resume and (checkpoints / "last.weights.h5").is_file()
    vectors = {} if resumed else _word_vectors(experiment.model, dataset)
    prepare_keras(config)
    model = MODELS[description["model"]].load()(experiment.model, spec)
    model.compile(jit_compile=config.jit_compile)
    if isinstance(dataset, RecipeDataset) and vectors:
        tables = {"words": dataset.words, "ingredient_names": dataset.ingredients}
        for table, (known, all_words) in word_vectors.start_tables(model.encoders["recipe"], vectors, tables).items():
            print(f"{table}: {known} of {all_words} start from {experiment.model.recipe_encoder.vectors}.")
    progress = Progress()
    if resumed:
        progress = load_checkpoint(model, checkpoints / "last.weights.h5")
    if progress.epoch >= config.epochs:
        return progress

    features = None
    verbose = (1 if sys.stdout.isatty() else 2) if verbose == "auto" else verbose
    if config.views and progress.epoch < config.frozen_epochs and isinstance(config.augmentation, Augmentation):
        features = photo_features(
            model,
            dataset,
            Views(config.views, config.augmentation),
            most_gigabytes=config.feature_gigabytes,
            quiet=not verbose,
        )
    if not progress.epoch:
        for bag in model.bags:
            bag.adapt(pipeline.recipe_batches(dataset, "train", spec, config.batch_size, training=False, photos=False))
    runs.remove_reports(run)
    folders.write_whole({run / "config.json": json.dumps(description, indent=2) + "\n"})
    dataset.write_vocabulary(run)
    checkpoints.mkdir(exist_ok=True)
    for left in checkpoints.glob(".*.tmp"):  # by a process that was killed
        left.unlink()
    runs.cut_csv(run / "metrics.csv", progress.epoch)
    if features is not None:
        _fit(model, dataset, config, run, progress, until=config.frozen_epochs, verbose=verbose, features=features)
    if progress.epoch < config.epochs:
        _fit(model, dataset, config, run, progress, until=config.epochs, verbose=verbose)
    return progress


def _fit(model, dataset, config, run, progress, *, until, verbose, features=None):
    """Trains up to an epoch, on photos or on their features."""
    options = {} if features is None else {"features": features}
    batches = pipeline.batches(
        dataset,
        "train",
        model.spec,
        config.batch_size,
        training=True,
        seed=config.seed,
        first_epoch=progress.epoch,
        augmentation=config.augmentation,
        **options,
    )
    validation = pipeline.batches(dataset, "val", model.spec, config.batch_size, training=False, **options)
    try:
        model.fit(
            batches.map(lambda batch: {key: value for key, value in batch.items() if key != schema.ID}),
            steps_per_epoch=pipeline.steps_per_epoch(dataset, "train", config.batch_size),
            initial_epoch=progress.epoch,
            epochs=until,
            shuffle=False,
            verbose=verbose,
            callbacks=[
                StopOnNaN(),
                Schedule(config, progress),
                Validation(validation, embedding_networks(model) if options else None),
                Checkpoints(run / "checkpoints", config.monitor, progress),
                keras.callbacks.CSVLogger(str(run / "metrics.csv"), append=True),
                keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False),
            ],
        )
    except OSError as error:
        raise OSError(
            f"{run}: a file could not be written ({error}); the run stands as of its last whole epoch: go on with "
            "--resume."
        ) from error


def _word_vectors(config: Any, dataset: PreparedDataset) -> dict:
    """Vectors of the dataset's words that the recipe encoder's tables start from, before anything is written."""
    encoder: Any = getattr(config, "recipe_encoder", None)
    path = getattr(encoder, "vectors", "")
    if not path or not isinstance(dataset, RecipeDataset):
        return {}
    wanted = {spelling for name in (*dataset.words, *dataset.ingredients) for spelling in word_vectors.spellings(name)}
    width, vectors = word_vectors.read(path, wanted)
    if width != encoder.word_size:
        raise ValueError(
            f"recipe_encoder.word_size: expected {width}, the width of {path}, received {encoder.word_size}."
        )
    if not vectors:
        raise ValueError(f"recipe_encoder.vectors: expected words of the dataset in {path}, received none of them.")
    return vectors
