"""Training on a frozen backbone's features, computed once (:mod:`kfood.data.features`)."""

import hashlib
import json
from typing import Any

import keras
import numpy as np

from kfood import replicas, schema
from kfood.data.dataset import PreparedDataset
from kfood.data.features import Network, PhotoFeatures, Views, computed
from kfood.layers import features
from kfood.layers.pictures import reduced
from kfood.models.base import RetrievalModel
from kfood.models.batches import reading

_KEPT = "float16"


def photo_features(
    model: RetrievalModel, dataset: PreparedDataset, views: Views, *, most_gigabytes: float, quiet: bool = False
) -> PhotoFeatures:
    """What a model's image backbone makes of a dataset's photos.

    With them, where the model's losses compare photos with made pictures, the photos at that size, uint8.

    Args:
        model: its backbone is taken as it is now.
        dataset: of recipes, or of labelled photos.
        views: of each training photo.
        most_gigabytes: that they may take on disk.
        quiet: do not say how far they are.

    Returns:
        The features, under ``image_features`` float16, and where wanted ``image`` uint8.

    Raises:
        ValueError: too many for the disk or for ``most_gigabytes``.
        OSError: the dataset's folder cannot be written.
    """
    from rich import console, progress

    columns = (
        *(progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()),
        progress.TimeRemainingColumn(),
    )
    network = frozen_network(model)
    with progress.Progress(*columns, console=console.Console(stderr=True, quiet=quiet)) as bar:
        task = bar.add_task("pictures", total=None)
        return computed(
            dataset,
            network,
            views,
            most_bytes=1e9 * most_gigabytes,
            say=lambda text: bar.console.print(text, soft_wrap=True, highlight=False),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def frozen_network(model: RetrievalModel) -> Network:
    """The part of a model that is computed once."""
    encoder = model.encoders["image"]
    frozen = features.frozen_part(encoder)
    side, (_, picture, _, _) = model.picture_side, frozen.input_shape
    outputs = {schema.IMAGE_FEATURES: (tuple(frozen.output_shape[1:]), _KEPT)}
    if side:
        outputs[schema.IMAGE] = ((side, side, 3), "uint8")

    def run(pictures):
        found = {schema.IMAGE_FEATURES: replicas.predicted(frozen, pictures)}
        if side:
            found[schema.IMAGE] = np.clip(np.rint(keras.ops.convert_to_numpy(reduced(pictures, side))), 0, 255)
        return found

    digest = hashlib.sha256(json.dumps([_described(model), list(frozen.output_shape)]).encode())
    for weight in frozen.weights:
        array = keras.ops.convert_to_numpy(weight)
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return Network(run, outputs, picture, digest.hexdigest(), model.spec.short_side)


def embedding_networks(model: RetrievalModel) -> dict[str, keras.Model]:
    """A model's encoders for batches of computed features."""
    return {name: reading({schema.IMAGE_FEATURES: None}, encoder) for name, encoder in model.encoders.items()}


def _described(model: RetrievalModel) -> list[Any]:
    """What the weights do not tell of a backbone: its kind."""
    config = getattr(model.config, "image_encoder", None)
    return [str(getattr(config, "backbone", "")), model.dtype_policy.name]
