"""Devices that share each batch: steps as on one, processes that end in the same weights, refusals by name.

Devices are virtual ones of the CPU, in processes of their own: a backend's are fixed once it has begun.
"""

import csv
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from conftest import TINY_TOWERS
from test_models_contract import make

from kfood import replicas
from kfood.data import streams
from kfood.tools.main import main
from kfood.training import TrainingConfig, devices

TESTS = pathlib.Path(__file__).parent
# Of a test's tiny networks most of the time is compiling.
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

SETTINGS = [
    f"--set={setting}"
    for setting in (
        *TINY_TOWERS,
        *(f"recipe_encoder.{kind}=0" for kind in ("dropout", "word_dropout", "part_dropout")),
    )
]
"""A tiny ``two_tower`` without dropout, whose numbers are drawn otherwise for a part of a batch."""


def started(arguments, **environment):
    """Python at work beside this test."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    """What it said."""
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.mark.slow
def test_eight_jax_devices_step_as_one():
    """A symmetric softmax over the batch and a memory: a row on each device, negatives on all."""
    pytest.importorskip("jax")
    name = "two_tower:memory=12,memory_warmup=0"
    assert f"{name} equal" in ended(started(["device_steps.py", 8, name], **JAX))


@pytest.mark.slow
def test_tensorflow_replicas_step_as_one():
    """An adversary and draws; triplets, discriminators and a generator; a memory of all rows."""
    names = ("trajcross", "r2gan", "alpha_gao:memory=12,memory_warmup=0,alpha=0")
    output = ended(started(["device_steps.py", 2, *names], KERAS_BACKEND="tensorflow"))
    assert all(f"{name} equal" in output for name in names)


REPLICAS = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kfood.tools.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_on_replicas_is_the_run_on_one_device(kitchen, tmp_path):
    """An epoch on two replicas, validated, and one more after a resume on one device; and both on one device."""

    def command(folder, epochs, count):
        options = ["--data", kitchen, "--run", tmp_path / folder, f"--set=training.devices={count}"]
        return ["train", "two_tower", "--preset", "small", *SETTINGS, f"--epochs={epochs}", *map(str, options)]

    ended(started(["-c", REPLICAS, *command("shared", 1, 2)], KERAS_BACKEND="tensorflow"))
    assert main([*command("shared", 2, 1), "--resume"]) == 0
    assert main(command("alone", 2, 1)) == 0
    for ours, others in zip(logs(tmp_path / "shared"), logs(tmp_path / "alone"), strict=True):
        for name in ("loss", "val_image_to_recipe_median_rank"):
            assert ours[name] == pytest.approx(others[name], rel=1e-3), name


@pytest.mark.slow
def test_two_processes_train_as_one(kitchen, tmp_path):
    """An epoch of two processes, which meet over loopback, each with half of every batch, and of one alone."""
    pytest.importorskip("jax")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def train(folder, **environment):
        command = ["-m", "kfood.tools.main", "train", "two_tower", "--preset", "small", "--epochs", "1", *SETTINGS]
        return started([*command, "--data", kitchen, "--run", tmp_path / folder], **JAX, **environment)

    together = [
        train(
            "shared",
            KERAS_DISTRIBUTION_JOB_ADDRESSES=f"127.0.0.1:{port}",
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(process),
        )
        for process in range(2)
    ]
    for process, folder in zip(together, ("shared", "shared.process1"), strict=True):
        assert f"{tmp_path / folder}: 1 epochs" in ended(process).replace("\n", "")
    ended(train("alone"))
    first, second = (weights(tmp_path / name) for name in ("shared", "shared.process1"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    (shared,), (alone,) = (logs(tmp_path / name) for name in ("shared", "alone"))
    assert shared.keys() == alone.keys()
    for name in ("loss", "contrastive", "val_image_to_recipe_median_rank"):
        assert shared[name] == pytest.approx(alone[name], rel=1e-3), name


ONE_AFTER_ANOTHER = """
import sys
from kfood.tools.main import main
for arguments in " ".join(sys.argv[1:]).split(" then "):
    assert main(arguments.split()) == 0, arguments
"""


@pytest.mark.slow
def test_jax_goes_on_from_a_checkpoint_on_a_frozen_backbones_features(kitchen, tmp_path):
    """Two epochs on computed features, on two devices, whether or not the training was ended after the first."""
    pytest.importorskip("jax")
    data = shutil.copytree(kitchen, tmp_path / "data")  # the features are kept in it

    def command(folder, epochs):
        frozen = "--set=training.devices=2 --set=training.freeze_image_epochs=-1 --set=training.views=2"
        frozen += " --set=recipe_encoder.dropout=0.2"  # numbers are drawn from where the checkpoint stood
        return (
            f"train two_tower --preset small {' '.join(SETTINGS)} {frozen} --epochs={epochs} --data {data} "
            f"--run {tmp_path / folder}"
        )

    commands = [command("whole", 2), command("ended", 1), f"{command('ended', 2)} --resume"]
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    ended(started(["-c", ONE_AFTER_ANOTHER, " then ".join(commands)], **JAX, **flags))
    assert len(list((data / "features").iterdir())) == 1
    whole, resumed = (weights(tmp_path / name) for name in ("whole", "ended"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def weights(run):
    """Name → array, of everything in a run's last checkpoint."""
    found = {}
    with h5py.File(run / "checkpoints" / "last.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def logs(run):
    """Those of each epoch."""
    with open(run / "metrics.csv") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_part():
    """Rows of a batch, in order, of each process; their union is the batch."""
    import tensorflow as tf

    items = tf.data.Dataset.range(24).map(lambda place: (place, 10 * place))
    parts = [list(streams.part(items, 12, (which, 3)).as_numpy_iterator()) for which in range(3)]
    assert [int(first) for first, _ in parts[1]] == [4, 5, 6, 7, 16, 17, 18, 19]
    assert all(second == 10 * first for own in parts for first, second in own)
    assert sorted(int(first) for own in parts for first, _ in own) == list(range(24))


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match=r"training.devices: expected at most 1, those that there are, received 3"):
        devices.shared(TrainingConfig(devices=3, batch_size=6))


def test_processes_need_jax(monkeypatch):
    monkeypatch.setenv(devices.PROCESSES, "2")
    with pytest.raises(ValueError, match=r"KERAS_BACKEND=jax.*received 2 with 'tensorflow'"):
        devices.join()
    monkeypatch.setenv(devices.PROCESSES, "two")
    with pytest.raises(ValueError, match="expected a number of processes"):
        devices.join()


class TwoReplicas:
    """What :mod:`kfood.replicas` asks of a strategy."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cca", {}, "cca: expected one device .* solved"),
        ("jne", {"chunk": 4}, "chunk: expected none .* received 4"),
        ("jne", {"jit_compile": True}, "jit_compile: expected none .* received True"),
    ],
)
def test_what_replicas_refuse(name, options, message, tiny_spec, monkeypatch):
    model = make(name, tiny_spec, compiled=False)
    monkeypatch.setattr(model, "_distribute_strategy", TwoReplicas())
    with pytest.raises(ValueError, match=message):
        model.compile(**options)


def test_replicas_synchronise_batch_normalisation(tiny_spec, monkeypatch):
    model = make("jne", tiny_spec, compiled=False)
    monkeypatch.setattr(model, "_distribute_strategy", TwoReplicas())
    replicas.prepare(model, 0, False)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert all(layer.synchronized for layer in norms)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_size": 10}, "training.batch_size: expected a multiple of 4 items a batch"),
        ({"batch_size": 8, "without_photos": 0.75}, "training.without_photos: expected a multiple of 4"),
    ],
)
def test_batches_that_devices_cannot_share(config, message):
    with pytest.raises(ValueError, match=message):
        devices._check(4, TrainingConfig(**config))
