"""The examples of a prepared dataset on disk: TFDS builders whose examples come from iterables of records."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kfood import schema
from kfood.data.dataset import MOST_PHOTOS, PhotoRecord, RecipeRecord, TrajectoryRecord


class _CanonicalWriter(tfds.core.ExampleWriter):
    """Writes the same bytes for the same example: protobuf leaves the order of features to chance otherwise."""

    def write(self, path, examples):
        def canonical():
            for key, serialized in examples:
                yield key, tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)

        return super().write(path, canonical())


class _LocalBuilder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder whose examples come from iterables, one a split, of records with an ``id``."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: Mapping[str, Iterable[Any]], data_dir: str):
        self._records = splits
        super().__init__(data_dir=data_dir)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # everything is local
        return {split: self._generate_examples(records) for split, records in self._records.items()}

    def _generate_examples(self, records: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records:
            yield record.id, self._example(record)

    def _example(self, record: Any) -> dict[str, Any]:
        """What is stored of a record."""
        raise NotImplementedError

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _CanonicalWriter(file_format=self.info.file_format)

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded; TFDS would print that it is."""

    def _log_download_done(self) -> None:
        """TFDS would print the path of the temporary folder."""


class Photos(_LocalBuilder):
    """TFDS builder of labelled photos.

    Args:
        splits: split → its records.
        data_dir: folder that receives ``photos/1.0.0``.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    schema.ID: tfds.features.Text(),
                    schema.CLASS_ID: tfds.features.Scalar(np.int64),
                    schema.IMAGES: tfds.features.Sequence(tfds.features.Text()),  # one, as encoded bytes
                }
            ),
            description="Photos (encoded JPEG) with their classes, prepared by `kfood prepare`.",
        )

    def _example(self, record: PhotoRecord) -> dict[str, Any]:
        return {schema.ID: record.id, schema.CLASS_ID: record.class_id, schema.IMAGES: [record.photo]}


class Trajectories(_LocalBuilder):
    """TFDS builder of trajectories with map pictures.

    Args:
        splits: split → its records.
        points: of each trajectory.
        data_dir: folder that receives ``trajectories/1.0.0``.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: Mapping[str, Iterable[TrajectoryRecord]], points: int, data_dir: str):
        self._points = points
        super().__init__(splits=splits, data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    schema.ID: tfds.features.Text(),
                    schema.CLASS_ID: tfds.features.Scalar(np.int64),
                    schema.TRAJECTORY: tfds.features.Tensor(shape=(self._points, 2), dtype=np.float32),
                    schema.LOCATION: tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    schema.IMAGES: tfds.features.Sequence(tfds.features.Text()),  # one, as encoded bytes
                }
            ),
            description="Trajectories with their map pictures (encoded PNG), prepared by `kfood prepare`.",
        )

    def _example(self, record: TrajectoryRecord) -> dict[str, Any]:
        return {
            schema.ID: record.id,
            schema.CLASS_ID: record.class_id,
            schema.TRAJECTORY: record.points,
            schema.LOCATION: record.location,
            schema.IMAGES: [record.picture],
        }


class Recipes(_LocalBuilder):
    """TFDS builder of recipe–photo pairs; its examples come from the iterables it is given.

    Args:
        splits: split → its records.
        instruction_vectors: width of the records' sentence vectors; 0 = they have none.
        data_dir: folder that receives ``recipes/1.0.0``.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: Mapping[str, Iterable[RecipeRecord]], instruction_vectors: int = 0, data_dir: str):
        self._instruction_vectors = instruction_vectors
        super().__init__(splits=splits, data_dir=data_dir)

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

    def _example(self, record: RecipeRecord) -> dict[str, Any]:
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
        return example
