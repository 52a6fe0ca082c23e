"""Steps of tiny models on several virtual devices and on one: a script for the tests.

    KERAS_BACKEND=… python tests/device_steps.py DEVICES MODEL[:setting=value,…] …

ends with an error where losses, weights or optimizers' slots differ.
"""

import os
import sys

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={sys.argv[1]}"

import backend_steps
import keras
import numpy as np
import tensorflow as tf
from conftest import tiny_pairs

from kfood import schema
from kfood.training import TrainingConfig, devices

TOLERANCE = 1e-5


def each_row_alike():
    """What is drawn for the rows of a batch is the same for those of a part of it."""
    for kind in ("normal", "uniform"):
        drawn = getattr(keras.random, kind)

        def alike(shape, *args, drawn=drawn, **kwargs):
            return keras.ops.broadcast_to(drawn((1, *shape[1:])), shape)

        setattr(keras.random, kind, alike)


def trained(name, count):
    """All that two steps have moved, a batch of eight on so many devices."""
    batch = {**tiny_pairs(np.random.default_rng(7)), schema.RECIPE_NUMBER: np.arange(8, dtype="int32") // 2}
    with devices.shared(TrainingConfig(devices=count, batch_size=len(batch["image"]))):
        model = backend_steps.made(name, run_eagerly=keras.backend.backend() == "tensorflow")  # quicker than tracing
    return backend_steps.stepped(model, batch)


def main(count, *names):
    """See the module."""
    cpu = tf.config.list_physical_devices("CPU")[0]  # JAX's come from XLA_FLAGS
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    backend_steps.without_chance()
    each_row_alike()
    for name in names:
        one, several = trained(name, 1), trained(name, count)
        assert one.keys() == several.keys()
        for key, value in one.items():
            scale = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(several[key], value, rtol=0, atol=TOLERANCE * scale, err_msg=f"{name}: {key}")
        print(name, "equal", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
