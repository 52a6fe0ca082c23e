"""Writing a prepared recipe dataset: the TFDS builder, and the folder around it.

Every source of recipes (raw Recipe1M files, the synthetic kitchen) comes here as one iterable of
:class:`~kfood.data.dataset.RecipeRecord` a split; :func:`write_recipes` makes of them the folder that
:func:`kfood.data.dataset.open_dataset` reads. The folder appears whole or not at all.
"""

import contextlib
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
    MOST_PHOTOS,
    SPLITS,
    RecipeDataset,
    RecipeRecord,
    open_dataset,
    vocabulary_fingerprint,
    write_vocabulary,
)

_KIND = {"kind": "prepared datasets", "marker": "dataset.json"}


class EmptySplitError(ValueError):
    """A split of the dataset would hold no pair."""


class _CanonicalWriter(tfds.core.ExampleWriter):
    """Writes the same bytes for the same example: protobuf leaves the order of features to chance otherwise."""

    def write(self, path, examples):
        def canonical():
            for key, serialized in examples:
                yield key, tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)

        return super().write(path, canonical())


class Recipes(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of recipe–photo pairs; its examples come from the iterables it is given.

    Args:
        splits: split → its records.
        instruction_vectors: width of the records' sentence vectors; 0 = they have none.
        data_dir: folder that receives ``recipes/1.0.0``.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: Mapping[str, Iterable[RecipeRecord]], instruction_vectors: int = 0, data_dir: str):
        self._records = splits
        self._instruction_vectors = instruction_vectors
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        lines = tfds.features.Sequence(tfds.features.Text())
        features = {
            schema.ID: tfds.features.Text(),
            schema.TITLE: tfds.features.Text(),
            schema.INGREDIENTS: lines,
            schema.INGREDIENT_NAMES: lines,
            schema.INSTRUCTIONS: lines,
            schema.CLASS_ID: tfds.features.Scalar(np.int64),
            # Encoded bytes rather than Image features: a recipe's photos differ in size, and do not stack.
            schema.IMAGES: lines,
        }
        if self._instruction_vectors:
            features[schema.INSTRUCTION_VECTORS] = tfds.features.Tensor(
                shape=(None, self._instruction_vectors), dtype=np.float32
            )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            description="Recipes with their photos (encoded JPEG), prepared by `kfood prepare`.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is local
        return {split: self._generate_examples(records) for split, records in self._records.items()}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _CanonicalWriter(file_format=self.info.file_format)

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded; TFDS would print that it is."""

    def _log_download_done(self) -> None:
        """TFDS would print the path of the temporary folder."""

    def _generate_examples(self, records: Iterable[RecipeRecord]) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records:
            example: dict[str, Any] = {
                schema.ID: record.id,
                schema.TITLE: record.title,
                schema.INGREDIENTS: record.ingredients,
                schema.INGREDIENT_NAMES: record.ingredient_names,
                schema.INSTRUCTIONS: record.instructions,
                schema.CLASS_ID: record.class_id,
                schema.IMAGES: record.photos[:MOST_PHOTOS],
            }
            if self._instruction_vectors:
                example[schema.INSTRUCTION_VECTORS] = record.instruction_vectors
            yield record.id, example


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

    The vocabularies are counted on the train split.

    Args:
        out: folder to make; it takes its place only once it is complete.
        name: name of the dataset, kept in dataset.json.
        splits: records of "train", "val" and "test".
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
    out = pathlib.Path(out)
    counter = text.VocabularyCounter()
    kept: dict[str, int] = {}

    def passing(split: str) -> Iterator[RecipeRecord]:
        kept[split] = 0
        for record in splits[split]:
            if split == "train":
                lines = (record.title, *record.ingredients, *record.instructions)
                counter.add(lines, record.ingredient_names)
            kept[split] += 1
            yield record
        if not kept[split]:
            raise EmptySplitError(f"split {split!r}: expected at least one usable recipe–photo pair, received none.")

    with folders.whole_folder(out, **_KIND, overwrite=overwrite) as folder:
        with _writing_errors_as_os_errors(out):
            tfds.disable_progress_bar()
            Recipes(
                splits={split: passing(split) for split in SPLITS},
                instruction_vectors=instruction_vectors,
                data_dir=str(folder),
            ).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        shutil.rmtree(folder / "downloads", ignore_errors=True)
        counter.flush()
        words = text.rank_vocabulary(counter.words, min_word_count, max_words)
        ingredients = text.rank_vocabulary(counter.ingredients, min_ingredient_count, max_ingredients)
        write_vocabulary(folder, words, ingredients, list(classes))
        _write_json(folder / "prepare.json", {"kept": kept, **report()})
        _write_json(
            folder / "dataset.json",
            {
                "format": FORMAT,
                "kind": "recipes",
                "name": name,
                "splits": kept,
                "short_side": short_side,
                "instruction_vectors": instruction_vectors,
                "vocabulary": {
                    "words": len(words),
                    "ingredients": len(ingredients),
                    "classes": len(classes),
                    "min_word_count": min_word_count,
                    "min_ingredient_count": min_ingredient_count,
                    "sha256": vocabulary_fingerprint(folder),
                },
                "versions": {
                    "kfood": kfood.__version__,
                    **{package: metadata.version(package) for package in ("tensorflow-datasets", "pillow")},
                    "tensorflow": tf.__version__,
                },
            },
        )
    return open_dataset(out)


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


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
