"""Training with Keras' JAX backend: the same steps as TensorFlow's. JAX runs in processes of its own."""

import os
import pathlib
import subprocess
import sys

import backend_steps
import keras
import numpy as np
import pytest
from conftest import tiny_pairs

pytest.importorskip("jax")

TESTS = pathlib.Path(__file__).parent
NAMES = ("acme", "alpha_gao")  # mcen takes minutes to compile
# Of a test's tiny networks most of the time is compiling.
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def with_jax(*arguments):
    """Runs Python with arguments under JAX; its output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | JAX,
        cwd=TESTS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_models_keep_their_contract():
    """Part of it; ``KERAS_BACKEND=jax python -m pytest tests/test_models_contract.py`` is all."""
    tests = "(each_phase or save_load) and trajcross"
    output = with_jax("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "test_models_contract.py", "-k", tests)
    assert "2 passed" in output


@pytest.mark.slow
def test_steps_equal_tensorflows(tmp_path, monkeypatch):
    """Losses, weights and every optimizer's slots after two steps from the same weights on the same batch."""
    for kind in ("normal", "uniform"):
        monkeypatch.setattr(keras.random, kind, getattr(keras.random, kind))  # restored afterwards
    backend_steps.without_chance()
    expected = {}
    for name in NAMES:
        model = backend_steps.made(name)
        model.save_weights(tmp_path / f"{name}.weights.h5")
        expected[name] = backend_steps.stepped(model, tiny_pairs(np.random.default_rng(7)))
    with_jax("backend_steps.py", tmp_path, *NAMES)
    for name in NAMES:
        with np.load(tmp_path / f"{name}.jax.npz") as found:
            assert set(found) == set(expected[name])
            for key, value in expected[name].items():
                tolerance = 1e-4 * max(1e-2, np.abs(value).max())
                np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=tolerance, err_msg=f"{name}: {key}")
