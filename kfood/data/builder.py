"""Writing a prepared dataset: the folder around the examples, which :mod:`kfood.data.examples` writes.

Every source of recipes (raw Recipe1M files, the synthetic kitchen) comes here as one iterable of
:class:`~kfood.data.dataset.RecipeRecord` a split, every source of labelled photos as one of
:class:`~kfood.data.dataset.PhotoRecord`; :func:`write_recipes` and :func:`write_photos` make of them the folder that
:func:`kfood.data.dataset.open_dataset` reads. The folder appears whole or not at all.
"""

import contextlib
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import kfood
from kfood import folders, schema
from kfood.data import text
from kfood.data.dataset import (
    FORMAT,
    WITHOUT_PHOTOS,
    LabelledDataset,
    PhotoRecord,
    PreparedDataset,
    RecipeDataset,
    RecipeRecord,
    TrajectoryDataset,
    TrajectoryRecord,
    open_dataset,
    vocabulary_fingerprint,
    write_vocabulary,
)
from kfood.data.drawing import Style
from kfood.data.examples import Photos, Recipes, Trajectories

_KIND = {"kind": "prepared datasets", "marker": "dataset.json"}


class EmptySplitError(ValueError):
    """A split of the dataset would hold nothing."""


def write_recipes(
    out: str | pathlib.Path,
    name: str,
    splits: Mapping[str, Iterable[RecipeRecord]],
    *,
    classes: Sequence[str],
    short_side: int,
    min_word_count: int,
    min_ingredient_count: int,
    max_words: int | None = None,
    max_ingredients: int | None = None,
    instruction_vectors: int = 0,
    overwrite: bool = False,
    report: Callable[[], dict[str, Any]] = dict,
) -> RecipeDataset:
    """Write a prepared dataset folder, reading each split's records once, train first.

    The vocabularies are counted on the train split, and on recipes without photos.

    Args:
        out: folder to make; it takes its place only once it is complete.
        name: name of the dataset, kept in dataset.json.
        splits: records of "train", "val" and "test"; where there are any, of
            :data:`kfood.data.dataset.WITHOUT_PHOTOS`.
        classes: class names, index = class id, 0 = "background".
        short_side: what the photos' short side was reduced to, pixels.
        min_word_count: words with fewer occurrences are left to the unknown id.
        min_ingredient_count: ingredient names with fewer occurrences likewise.
        max_words: most words kept; None = all.
        max_ingredients: most ingredient names kept; None = all.
        instruction_vectors: width of the records' sentence vectors; 0 = they have none.
        overwrite: replace ``out`` if it is a prepared dataset.
        report: called after the last record: what prepare.json holds beside ``kept``, the pairs by split.

    Returns:
        The dataset, opened.

    Raises:
        FileExistsError: if ``out`` exists and is not to be, or cannot safely be, overwritten.
        EmptySplitError: if a split has no record.
        OSError: if the folder cannot be written; nothing is left behind.
    """
    counter = text.VocabularyCounter()
    learned = {"train", WITHOUT_PHOTOS}

    def counting(records: Iterable[RecipeRecord]) -> Iterator[RecipeRecord]:
        for record in records:
            lines = (record.title, *record.ingredients, *record.instructions)
            counter.add(lines, record.ingredient_names)
            yield record

    def make(splits: Mapping[str, Iterable[Any]], folder: str) -> tfds.core.DatasetBuilder:
        return Recipes(splits=splits, instruction_vectors=instruction_vectors, data_dir=folder)

    def describe(folder: pathlib.Path) -> dict[str, Any]:
        counter.flush()
        words = text.rank_vocabulary(counter.words, min_word_count, max_words)
        ingredients = text.rank_vocabulary(counter.ingredients, min_ingredient_count, max_ingredients)
        write_vocabulary(folder, words, ingredients, list(classes))
        return {
            "short_side": short_side,
            "instruction_vectors": instruction_vectors,
            "vocabulary": {
                "words": len(words),
                "ingredients": len(ingredients),
                "classes": len(classes),
                "token_rule": schema.TOKEN_RULE,
                "min_word_count": min_word_count,
                "min_ingredient_count": min_ingredient_count,
            },
        }

    _write(
        RecipeDataset,
        pathlib.Path(out),
        name,
        {split: counting(found) if split in learned else found for split, found in splits.items()},
        make,
        describe,
        "recipe–photo pair",
        overwrite=overwrite,
        report=report,
    )
    return open_dataset(out)


def write_photos(
    out: str | pathlib.Path,
    name: str,
    splits: Mapping[str, Iterable[PhotoRecord]],
    *,
    classes: Sequence[str],
    train_classes: int,
    short_side: int,
    overwrite: bool = False,
    report: Callable[[], dict[str, Any]] = dict,
) -> LabelledDataset:
    """Write a prepared dataset folder of labelled photos, reading each split's records once, train first.

    Args:
        out: folder to make; it takes its place only once it is complete.
        name: name of the dataset, kept in dataset.json.
        splits: records of "train", "val" and "test"; without "test" where ``train_classes`` are all.
        classes: class names, index = class id.
        train_classes: how many of them train and val hold; test holds the others.
        short_side: what the photos' short side was reduced to, pixels.
        overwrite: replace ``out`` if it is a prepared dataset.
        report: called after the last record: what prepare.json holds beside ``kept``, the photos by split.

    Returns:
        The dataset, opened.

    Raises:
        FileExistsError: if ``out`` exists and is not to be, or cannot safely be, overwritten.
        EmptySplitError: if a split has no record.
        ValueError: a train or val record of a class beyond ``train_classes``, or a test record of one before it.
        OSError: if the folder cannot be written; nothing is left behind.
    """

    def checked(split: str, records: Iterable[PhotoRecord]) -> Iterator[PhotoRecord]:
        least, end = (train_classes, len(classes)) if split == "test" else (0, train_classes)
        for record in records:
            if not least <= record.class_id < end:
                raise ValueError(
                    f"{record.id}: expected a class from {least} to {end - 1} in split {split!r}, "
                    f"received {record.class_id}."
                )
            yield record

    def make(splits: Mapping[str, Iterable[Any]], folder: str) -> tfds.core.DatasetBuilder:
        return Photos(splits=splits, data_dir=folder)

    def describe(folder: pathlib.Path) -> dict[str, Any]:
        write_vocabulary(folder, classes=list(classes))
        builder = tfds.builder_from_directory(folder / LabelledDataset.folder)
        (folder / "labels").mkdir()
        for split in splits:
            examples = tf.data.TFRecordDataset([str(path) for path in builder.info.splits[split].filepaths])
            # Only the label: a photo is left as the string it is.
            labels = examples.map(lambda serialized: tf.io.parse_single_example(serialized, _LABEL)[schema.CLASS_ID])
            np.save(folder / "labels" / f"{split}.npy", np.array(list(labels.as_numpy_iterator()), np.int32))
        return {
            "short_side": short_side,
            "train_classes": train_classes,
            "vocabulary": {"classes": len(classes)},
        }

    _write(
        LabelledDataset,
        pathlib.Path(out),
        name,
        {split: checked(split, records) for split, records in splits.items()},
        make,
        describe,
        "photo",
        overwrite=overwrite,
        report=report,
    )
    return open_dataset(out, "labelled")


def write_trajectories(
    out: str | pathlib.Path,
    name: str,
    splits: Mapping[str, Iterable[TrajectoryRecord]],
    *,
    recordings: Sequence[str],
    points: int,
    ground: Mapping[str, Any],
    style: Style,
    overwrite: bool = False,
    report: Callable[[], dict[str, Any]] = dict,
) -> TrajectoryDataset:
    """Write a prepared dataset folder of trajectories, reading each split's records once, train first.

    Args:
        out: folder to make; it takes its place only once it is complete.
        name: name of the dataset, kept in dataset.json.
        splits: records of "train", "val" and "test".
        recordings: names of what the trajectories come from, index = class id.
        points: of each trajectory.
        ground: see :class:`~kfood.data.dataset.TrajectoryDataset`.
        style: how the records' pictures were drawn; its backgrounds are copied.
        overwrite: replace ``out`` if it is a prepared dataset.
        report: called after the last record: what prepare.json holds beside ``kept``, the trajectories by split.

    Returns:
        The dataset, opened.

    Raises:
        FileExistsError: if ``out`` exists and is not to be, or cannot safely be, overwritten.
        EmptySplitError: if a split has no record.
        OSError: if the folder cannot be written; nothing is left behind.
    """

    def make(splits: Mapping[str, Iterable[Any]], folder: str) -> tfds.core.DatasetBuilder:
        return Trajectories(splits=splits, points=points, data_dir=folder)

    def describe(folder: pathlib.Path) -> dict[str, Any]:
        write_vocabulary(folder, classes=list(recordings))
        for index, path in enumerate(style.backgrounds):
            (folder / "backgrounds").mkdir(exist_ok=True)
            (folder / "backgrounds" / f"{index:06d}.jpg").write_bytes(path.read_bytes())
        drawing = {"thickness": style.thickness, "scale": style.scale, "least_extent": style.least_extent}
        return {
            "short_side": style.image_size,
            "points": points,
            "ground": dict(ground),
            "drawing": drawing,
            "vocabulary": {"classes": len(recordings)},
        }

    _write(
        TrajectoryDataset,
        pathlib.Path(out),
        name,
        splits,
        make,
        describe,
        "trajectory",
        overwrite=overwrite,
        report=report,
    )
    return open_dataset(out, "trajectories")


_LABEL = {schema.CLASS_ID: tf.io.FixedLenFeature([], tf.int64)}


def _write(
    kind: type[PreparedDataset],
    out: pathlib.Path,
    name: str,
    splits: Mapping[str, Iterable[Any]],
    make: Callable[[Mapping[str, Iterable[Any]], str], tfds.core.DatasetBuilder],
    describe: Callable[[pathlib.Path], dict[str, Any]],
    item: str,
    *,
    overwrite: bool,
    report: Callable[[], dict[str, Any]],
) -> None:
    """Any prepared dataset's folder; ``describe`` writes what is beside the examples, and is told in dataset.json."""
    kept: dict[str, int] = {}

    def passing(split: str) -> Iterator[Any]:
        kept[split] = 0
        for record in splits[split]:
            kept[split] += 1
            yield record
        if not kept[split]:
            raise EmptySplitError(f"split {split!r}: expected at least one usable {item}, received none.")

    with folders.whole_folder(out, **_KIND, overwrite=overwrite) as folder:
        with _writing_errors_as_os_errors(out):
            tfds.disable_progress_bar()
            make({split: passing(split) for split in splits}, str(folder)).download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
        shutil.rmtree(folder / "downloads", ignore_errors=True)
        own = describe(folder)
        own["vocabulary"]["sha256"] = vocabulary_fingerprint(folder, kind.vocabularies)
        own["files"] = {
            path.relative_to(folder).as_posix(): _fingerprint(path)
            for place in (str(kind.folder), "backgrounds", "labels")
            for path in sorted((folder / place).glob("*.*"))
            if path.suffix != ".json"  # TFDS's own descriptions
        }
        _write_json(folder / "prepare.json", {"kept": kept, **report()})
        _write_json(
            folder / "dataset.json",
            {
                "format": FORMAT,
                "kind": kind.kind,
                "name": name,
                "splits": kept,
                **own,
                "versions": {
                    "kfood": kfood.__version__,
                    **{package: metadata.version(package) for package in ("tensorflow-datasets", "pillow")},
                    "tensorflow": tf.__version__,
                },
            },
        )


def check_output(out: pathlib.Path, *, overwrite: bool) -> None:
    """Refuse an output folder that is in the way, before any work is done.

    Raises:
        FileExistsError: if ``out`` exists and is not to be, or cannot safely be, overwritten.
    """
    folders.check_output(out, **_KIND, overwrite=overwrite)


@contextlib.contextmanager
def _writing_errors_as_os_errors(out: pathlib.Path) -> Iterator[None]:
    """A full disk and its like come as TensorFlow errors, which TFDS wraps in RuntimeErrors; make them OSErrors."""
    try:
        yield
    except (RuntimeError, tf.errors.OpError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, tf.errors.OpError | OSError):
            cause = cause.__cause__
        if cause is None:
            raise
        message = cause.message.rsplit("; ", 1)[-1] if isinstance(cause, tf.errors.OpError) else str(cause)
        raise OSError(f"{out}: the dataset could not be written: {message}.") from error


def _fingerprint(path: pathlib.Path) -> str:
    """sha256 (hex) of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
