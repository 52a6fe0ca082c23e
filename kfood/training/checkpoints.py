"""A checkpoint: weights, every optimizer, random states, and how far the training is, in one file."""

import dataclasses
import io
import json
import math
import pathlib

import h5py
import keras

from kfood import folders
from kfood.models.base import RetrievalModel


@dataclasses.dataclass
class Progress:
    """What a checkpoint knows beside weights.

    Attributes:
        epoch: whole epochs done.
        best: best validation score so far, lower is better; infinite before the first.
        stale: for each epoch done, how many epochs since the last better one.
        seconds: spent training and validating.
        scaled: whether the banks of local scaling are of these weights (:mod:`kfood.models.searched`).
    """

    epoch: int = 0
    best: float = math.inf
    stale: list[int] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    scaled: bool = False


def save_checkpoint(model: RetrievalModel, path: pathlib.Path, progress: Progress) -> None:
    """Writes weights, optimizers, random states and progress into one file, whole or not at all."""
    content = weights_file(model)
    with h5py.File(content, "a") as file:
        file.attrs["kfood_progress"] = json.dumps(dataclasses.asdict(progress))
    folders.write_whole({path: content.getbuffer()})


class _Memory(io.BytesIO):
    """A file in memory that Keras takes for one by its name."""

    def __str__(self):
        return "memory.weights.h5"


def weights_file(model: keras.Model) -> io.BytesIO:
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
