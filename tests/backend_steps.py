"""Two training steps of tiny models without chance, for comparing backends: a script, and functions for the tests.

    KERAS_BACKEND=jax python tests/backend_steps.py FOLDER MODEL …

reads ``FOLDER/MODEL.weights.h5`` and writes ``FOLDER/MODEL.jax.npz``: the losses of each step, then all that has moved.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import math
import pathlib
import sys

import keras
import numpy as np
from conftest import tiny_pairs, tiny_recipes
from test_models_contract import make

STEPS = 2
RATE = 0.01
"""Learning rate of all phases: a step in a wrong direction is far beyond the tolerance."""


def without_chance():
    """Noise, mixtures and draws that are the same on every backend and in every step."""

    def uniform(shape, *args, **kwargs):
        count = math.prod(shape)
        return keras.ops.reshape((keras.ops.arange(1, count + 1, dtype="float32") * 0.618034) % 1.0, shape)

    def normal(shape, *args, **kwargs):
        return 2.0**0.5 * keras.ops.erfinv(1.998 * uniform(shape) - 0.999)

    keras.random.normal, keras.random.uniform = normal, uniform


def made(name, run_eagerly=False):
    """A model, and its optimizers with a step that rounding does not turn around where a gradient is near 0.

    Args:
        name: of the model, and ``:setting=value,…`` where it differs from the tiny one.
        run_eagerly: as in ``compile``.
    """
    name, _, settings = name.partition(":")
    model = make(name, tiny_recipes(), compiled=False, overrides=tuple(filter(None, settings.split(","))))
    model.compile(run_eagerly=run_eagerly)
    for optimizer in model.optimizers.values():
        optimizer.learning_rate = RATE
        optimizer.epsilon = 1e-3
    return model


def stepped(model, batch):
    """Name → array: losses of each step, weights, and optimizers' slots after the last."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors(batch)
    found = {}
    for step in range(STEPS):
        logs = model.fit(data, verbose=0).history
        found |= {f"step {step} {name}": np.float64(value) for name, (value,) in logs.items()}
    for index, weight in enumerate(model.weights):
        found[f"weight {index}"] = keras.ops.convert_to_numpy(weight)
    for phase, optimizer in model.optimizers.items():
        for index, slot in enumerate(optimizer.variables):
            found[f"{phase} {index}"] = keras.ops.convert_to_numpy(slot)
    return found


def main(folder, *names):
    """See the module."""
    without_chance()
    for name in names:
        model = made(name)
        model.load_weights(folder / f"{name}.weights.h5")
        np.savez(
            folder / f"{name}.{keras.backend.backend()}.npz", **stepped(model, tiny_pairs(np.random.default_rng(7)))
        )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
