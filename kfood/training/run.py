"""A run folder that is trained in."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import sys
import types
from collections.abc import Iterator
from typing import Any

import keras

import kfood
from kfood import folders, runs, schema
from kfood.data import pipeline, word_vectors
from kfood.data.dataset import LabelledDataset, PreparedDataset, RecipeDataset
from kfood.data.features import PhotoFeatures, Views
from kfood.data.images import Augmentation
from kfood.evaluation import embedding
from kfood.frozen import embedding_networks, photo_features
from kfood.layers import presets, sub_words
from kfood.models import made
from kfood.models.base import RetrievalModel
from kfood.models.searched import fill_banks
from kfood.models.start import check_canonical, start_canonically
from kfood.precision import POLICIES
from kfood.training import devices
from kfood.training.callbacks import Checkpoints, Schedule, StopOnNaN, Validation
from kfood.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from kfood.training.config import TrainingConfig


class TrainingRun:
    """A model, the folder that it is trained in, and what ``fit`` takes.

    It holds the folder, as an open file is held: until :meth:`close`, or the end of a ``with`` block. Nothing else is
    written before the first stage. Seed, precision and determinism of the process become the run's
    (:func:`~kfood.training.run.prepare_keras`). Of several processes (:func:`kfood.training.devices.join`) each has a
    folder of its own, and the same weights.

    Args:
        folder: to make.
        name: a model of :data:`kfood.models.MODELS`.
        experiment: :class:`kfood.configs.Experiment`; its spec receives the dataset's vocabulary sizes.
        dataset: what :func:`kfood.data.dataset.open_dataset` gives; its train split is trained on, its val split
            chooses the best epoch.
        variant: what the run is called beside its model, e.g. a row of the paper's ablation table.
        resume: go on after the last whole epoch of ``folder``, whose stored settings must be these, but that there may
            be more epochs; a run without a checkpoint starts anew. Reports on its weights so far are removed.
        verbose: as in ``keras.Model.fit``; ``"auto"`` is a bar on a terminal, a line an epoch elsewhere.

    Attributes:
        folder: where; of other processes than the first :func:`kfood.training.devices.own_folder`.
        model: compiled; its weights and optimizers those of the last whole epoch.
        progress: where the run stands; moves with each epoch.
        config: :class:`TrainingConfig`, the experiment's.

    Raises:
        FileExistsError: ``folder`` holds something and ``resume`` is not set.
        BlockingIOError: another training is at work in ``folder``.
        OSError: something cannot be read or written; in a ``with`` block also in training, as on a full disk: the last
            checkpoint stays.
        ValueError: settings that do not fit the data, or, on resuming, the run.
        NotImplementedError: chunks with another backend than TensorFlow.
    """

    model: RetrievalModel
    progress: Progress

    def __init__(
        self,
        folder: str | pathlib.Path,
        name: str,
        experiment: Any,
        dataset: PreparedDataset,
        *,
        variant: str = "",
        resume: bool = False,
        verbose: int | str = "auto",
    ):
        self._process, self._processes = devices.join()
        self.folder = devices.own_folder(pathlib.Path(folder), self._process)
        self.config: TrainingConfig = experiment.training
        self.verbose: int = (1 if sys.stdout.isatty() else 2) if verbose == "auto" else int(verbose)
        if self._process:
            self.verbose = 0
        self._dataset = dataset
        self._in_stage = False
        self._held = contextlib.ExitStack()
        _check(self.config, dataset)
        spec = dataset.fit(experiment.spec)
        experiment = dataclasses.replace(experiment, model=presets.with_presets(experiment.model, spec.image_size))
        self._description = _description(name, variant, experiment, spec, dataset)
        shared = devices.shared(self.config)
        if not resume:
            runs.check_new(self.folder)
        last = self.folder / "checkpoints" / "last.weights.h5"
        vectors = {} if resume and last.is_file() else _word_vectors(experiment.model, dataset)
        new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._held.enter_context(folders.held(self.folder))
        except BlockingIOError as error:
            raise BlockingIOError(
                f"run: expected a folder that nothing else trains in, received {folder}, where another training is at "
                "work: let it end, or choose another folder."
            ) from error
        with contextlib.ExitStack() as unless_made:
            unless_made.callback(self.close)
            if new:
                unless_made.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._description = runs.settled(self.folder, self._description, resume)
            prepare_keras(self.config)
            with shared:
                self.model = made(self._description, experiment.model, spec)
                self.model.compile(jit_compile=self.config.jit_compile, chunk=self.config.chunk)
            if self.config.start == "canonical":
                check_canonical(self.model)
            if vectors and isinstance(dataset, RecipeDataset):
                _start_from(vectors, self.model, experiment.model.recipe_encoder.vectors, dataset)
            self.progress = load_checkpoint(self.model, last) if resume and last.is_file() else Progress()
            if self._processes > 1:
                devices.agree(self.progress.epoch)
            unless_made.pop_all()

    def stages(self) -> Iterator[dict[str, Any]]:
        """What is left of the training, as arguments of ``model.fit``: dicts that may be added to.

        There are up to two stages: on what the frozen backbone makes of the photos, where ``config.views`` says so, and
        on photos. Each has to be trained before the next is asked for, with the ``callbacks`` that it has; further ones
        see in ``logs`` what these have measured. A stage that was ended before its time is the last.

        Yields:
            ``x``, ``steps_per_epoch``, ``initial_epoch``, ``epochs``, ``shuffle``, ``verbose`` and ``callbacks``.

        Raises:
            RuntimeError: a stage was not trained.
            ValueError: features of the photos that take too much space, or on a disk that has too little.
            OSError: something cannot be written.
        """
        if self.progress.epoch >= self.config.epochs:
            self._scale_locally()
            return
        features = self._features() if self.progress.epoch < self.config.frozen_epochs else None
        if not self.progress.epoch:
            self._start(features)
        self._begin()
        on_features = [] if features is None else [(self.config.frozen_epochs, features)]
        for until, source in [*on_features, (self.config.epochs, None)]:
            before = self.progress.epoch
            if before >= until:
                continue
            self._in_stage = True
            yield self._stage(until, source)
            self._in_stage = False
            if self.progress.epoch == before:
                raise RuntimeError(
                    "stages: expected each to be trained, with its callbacks, before the next: 'for stage in "
                    "run.stages(): run.model.fit(**stage)', received one without a new epoch."
                )
            if self.progress.epoch < until:
                break
        self._scale_locally(features)

    def close(self) -> None:
        """Lets go of the folder."""
        self._held.close()

    def __enter__(self) -> "TrainingRun":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.close()
        if self._in_stage and isinstance(error, OSError):
            raise OSError(
                f"{self.folder}: a file could not be written ({error}); the run stands as of its last whole epoch: go "
                "on with --resume."
            ) from error

    def _batches(self, split: str, *, training: bool, **options):
        return pipeline.batches(
            self._dataset, split, self.model.spec, self.config.batch_size, training=training, **options
        )

    def _features(self) -> PhotoFeatures | None:
        """What the frozen backbone makes of the photos, where it is to be kept."""
        config = self.config
        if not config.views:
            return None
        assert isinstance(config.augmentation, Augmentation)  # as _check has seen
        return photo_features(
            self.model,
            self._dataset,
            Views(config.views, config.augmentation),
            most_gigabytes=config.feature_gigabytes,
            quiet=not self.verbose,
        )

    def _start(self, features: PhotoFeatures | None) -> None:
        """What is learned of the training split before the first epoch."""
        for bag in self.model.bags:
            bag.adapt(self._batches("train", training=False, photos=False))
        _cut_words(self.model, self._dataset)
        if self.config.start == "canonical":
            views = max(1, self.config.views)
            steps = views * pipeline.steps_per_epoch(self._dataset, "train", self.config.batch_size)
            start_canonically(self.model, self._training_batches(features).take(steps), self.config.start_ridge)

    def _training_batches(self, features: PhotoFeatures | None, **options):
        return self._batches(
            "train",
            training=True,
            seed=self.config.seed,
            augmentation=self.config.augmentation,
            **options,
            **({} if features is None else {"features": features}),
        )

    def _scale_locally(self, features: PhotoFeatures | None = None) -> None:
        """Fills the banks of local scaling of both checkpoints, the last one's last: it tells that all is done.

        Args:
            features: of the photos, where they have been opened.
        """
        if not self.model.scaling or self.progress.scaled:
            return
        if self.config.frozen_epochs < self.config.epochs:
            features = None  # the backbone has learned since
        elif features is None:
            features = self._features()
        options = {} if features is None else {"features": features}
        encoders = embedding_networks(self.model) if options else self.model.encoders
        _, rows = self.model.local_scaling
        batches = self._batches("train", training=False, **options).take(-(-rows // self.config.batch_size))
        embedded: dict[int, Any] = {}  # by epoch: the last is often the best
        for name in ("best", "last"):
            path = self.folder / "checkpoints" / f"{name}.weights.h5"
            progress = load_checkpoint(self.model, path)
            if progress.epoch not in embedded:
                found = embedding.embed_dataset(types.SimpleNamespace(encoders=encoders), batches).arrays
                embedded[progress.epoch] = {side: array[:rows] for side, array in found.items()}
            fill_banks(self.model, embedded[progress.epoch])
            progress.scaled = True
            save_checkpoint(self.model, path, progress)
        self.progress.scaled = True

    def _begin(self) -> None:
        """Writes what a run says of itself; removes what is no longer true."""
        checkpoints = self.folder / "checkpoints"
        runs.remove_reports(self.folder)
        folders.write_whole({self.folder / "config.json": json.dumps(self._description, indent=2) + "\n"})
        self._dataset.write_vocabulary(self.folder)
        checkpoints.mkdir(exist_ok=True)
        for left in checkpoints.glob(".*.tmp"):  # by a process that was killed
            left.unlink()
        runs.cut_csv(self.folder / "metrics.csv", self.progress.epoch)

    def _stage(self, until: int, features: PhotoFeatures | None) -> dict[str, Any]:
        """Up to an epoch, on photos or on their features."""
        config, progress = self.config, self.progress
        alone = {"without_photos": round(config.without_photos * config.batch_size)} if config.without_photos else {}
        share = (self._process, self._processes)
        batches = self._training_batches(features, first_epoch=progress.epoch, share=share, **alone)
        options = {} if features is None else {"features": features}
        validation = self._batches("val", training=False, **options)
        return {
            "x": batches,
            "steps_per_epoch": pipeline.steps_per_epoch(self._dataset, "train", config.batch_size),
            "initial_epoch": progress.epoch,
            "epochs": until,
            "shuffle": False,
            "verbose": self.verbose,
            "callbacks": [
                StopOnNaN(),
                Schedule(config, progress),
                Validation(validation, embedding_networks(self.model) if options else None),
                Checkpoints(self.folder / "checkpoints", config.monitor, progress),
                keras.callbacks.CSVLogger(str(self.folder / "metrics.csv"), append=True),
                keras.callbacks.TensorBoard(str(self.folder / "tensorboard"), write_graph=False),
            ],
        }


def train(
    name: str,
    experiment: Any,
    dataset: PreparedDataset,
    run: str | pathlib.Path,
    *,
    variant: str = "",
    resume: bool = False,
    verbose: int | str = "auto",
) -> Progress:
    """Trains a model on a dataset's train split, choosing the best epoch on its val split: ``kfood train``.

    Args:
        name: as the others, see :class:`TrainingRun`.
        experiment: see there.
        dataset: see there.
        run: the folder.
        variant: see there.
        resume: see there.
        verbose: see there.

    Returns:
        Where the run stands.

    Raises:
        FileExistsError: as the others, see :class:`TrainingRun`.
        BlockingIOError: see there.
        OSError: see there.
        ValueError: see there.
        TrainingDivergedError: a loss became NaN.
    """
    with TrainingRun(run, name, experiment, dataset, variant=variant, resume=resume, verbose=verbose) as training:
        for stage in training.stages():
            training.model.fit(**stage)
    return training.progress


def prepare_keras(config: TrainingConfig) -> None:
    """Seeds, precision and determinism of this process; call it before a model is made."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(POLICIES[config.precision])
    if config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _check(config: TrainingConfig, dataset: PreparedDataset) -> None:
    """Says now what does not fit."""
    if isinstance(dataset, LabelledDataset) and config.monitor != "recall_at_1":
        raise ValueError(f"training.monitor: expected 'recall_at_1' for labelled photos, received {config.monitor!r}.")
    if config.views and not isinstance(config.augmentation, Augmentation):
        raise ValueError(f"training.views: expected 0 for trajectories, which are drawn anew, received {config.views}.")
    pipeline.steps_per_epoch(dataset, "train", config.batch_size)


def _description(name: str, variant: str, experiment: Any, spec: Any, dataset: PreparedDataset) -> dict[str, Any]:
    """What config.json says."""
    neighbours, bank = experiment.training.local_scaling, min(experiment.training.bank, dataset.size("train"))
    return {
        "kfood": kfood.__version__,
        "model": name,
        "variant": variant,
        **({"local_scaling": [neighbours, bank]} if neighbours else {}),
        "config": dataclasses.asdict(experiment.model),
        "spec": dataclasses.asdict(spec),
        "training": dataclasses.asdict(experiment.training),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "vocabulary": dataset.vocabulary_fingerprint,
            **({"token_rule": schema.TOKEN_RULE} if dataset.kind == "recipes" else {}),
            "splits": dataset.splits,
        },
    }


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


def _start_from(vectors: dict, model: RetrievalModel, path: str, dataset: RecipeDataset) -> None:
    """Puts words' vectors into the recipe encoder's tables, and says how many there are."""
    tables = {"words": dataset.words, "ingredient_names": dataset.ingredients}
    for table, (known, all_words) in word_vectors.start_tables(model.encoders["recipe"], vectors, tables).items():
        print(f"{table}: {known} of {all_words} start from {path}.")


def _cut_words(model: RetrievalModel, dataset: PreparedDataset) -> None:
    """Tells a preset's text encoder what its tokenizer cuts the dataset's words into, and says what it did."""
    for layer in sub_words.tables(model):
        words = getattr(dataset, layer.vocabulary)
        shortened = layer.fill(presets.tokenizer(model.config.recipe_encoder.backbone)(words))
        print(f"{layer.vocabulary}: {len(words)} cut into sub-words, {shortened} of them shortened.")
