"""Several devices, of one process or of several, that share each batch: losses compare all of its items.

With Keras' JAX backend the batch is one array over the devices of all processes (``keras.distribution.DataParallel``),
and a step computes what one device would. With TensorFlow the devices of one process run a step each
(``tf.distribute.MirroredStrategy``, :mod:`kfood.replicas`).
"""

import contextlib
import functools
import os
import pathlib
from typing import Any

import keras

from kfood.training.config import TrainingConfig

PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
"""Environment variable that says how many processes there are; ``…_JOB_ADDRESSES`` and ``…_PROCESS_ID`` go with it.
Where ``JAX_COORDINATOR_ADDRESS`` is set, JAX asks the cluster (Slurm, MPI and their like) for what these leave out."""


def join() -> tuple[int, int]:
    """Meets the other processes of a training, if there are any: before anything is computed.

    Returns:
        This process' number, from 0, and how many there are.

    Raises:
        ValueError: several, with another backend than JAX, or a number of them that is none.
    """
    given = os.environ.get(PROCESSES) or "1"
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"{PROCESSES}: expected a number of processes, at least 1, received {given!r}.")
    if keras.backend.backend() != "jax":
        if int(given) > 1:
            raise ValueError(
                f"{PROCESSES}: expected none, or Keras' JAX backend (KERAS_BACKEND=jax), whose batches several "
                f"processes can share, received {given} with {keras.backend.backend()!r}."
            )
        return 0, 1
    import jax

    several = int(given) > 1 or "JAX_COORDINATOR_ADDRESS" in os.environ
    if several and not jax.distributed.is_initialized():
        keras.distribution.initialize()
    return jax.process_index(), jax.process_count()


def own_folder(folder: pathlib.Path, process: int) -> pathlib.Path:
    """The run folder of a process: all keep the same weights, the first in ``folder``, others beside it."""
    return folder.with_name(f"{folder.name}.process{process}") if process else folder


def agree(epoch: int) -> None:
    """Sees that all processes go on after the same epoch.

    Raises:
        ValueError: they do not.
    """
    import jax.experimental.multihost_utils
    import numpy as np

    epochs = jax.experimental.multihost_utils.process_allgather(np.asarray(epoch)).tolist()
    if len(set(epochs)) > 1:
        raise ValueError(
            f"--resume: expected the run folders of all processes after the same epoch, received {epochs}: copy "
            "checkpoints, metrics.csv and config.json of one of them into the others'."
        )


def shared(config: TrainingConfig) -> contextlib.AbstractContextManager[Any]:
    """Lets the devices of this process, and of those that have joined it, share each batch.

    With JAX this is so until it is called again.

    Args:
        config: how many of each process, and the batch of all of them together.

    Returns:
        The context that models are to be made and compiled in.

    Raises:
        ValueError: more devices than there are, or a batch that they cannot share equally.
    """
    if keras.backend.backend() == "jax":
        import jax

        local = [jax.local_devices(process_index=process) for process in range(jax.process_count())]
        chosen = [device for own in local for device in _first(own, config.devices)]
        _check(len(chosen), config)
        names = [f"{device.platform}:{device.id}" for device in chosen]
        # Processes read their own rows of a batch: Keras is not to divide them again.
        several = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False) if len(names) > 1 else None
        keras.distribution.set_distribution(several)
        return contextlib.nullcontext()
    if config.devices == 1 or keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    chosen = _first(found, config.devices)
    _check(len(chosen), config)
    if len(chosen) == 1:
        return contextlib.nullcontext()
    return _mirrored(tuple(device.name for device in chosen)).scope()


@functools.cache
def _mirrored(names):
    """One strategy for all trainings of a process: a second would number its exchanges as the first has."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _first(devices, count):
    if count > len(devices):
        raise ValueError(
            f"training.devices: expected at most {len(devices)}, those that there are, received {count}; 0 takes all."
        )
    return devices[: count or None]


def _check(devices, config):
    alone = round(config.without_photos * config.batch_size)
    for name, items in (("batch_size", config.batch_size), ("without_photos", alone)):
        if items % devices:
            raise ValueError(
                f"training.{name}: expected a multiple of {devices} items a batch, one for each of the devices that "
                f"share it, received {items}."
            )
