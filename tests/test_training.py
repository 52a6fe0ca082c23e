"""Runs on disk: what they leave, resume after a kill, schedules, and stopping in time."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from conftest import BAGS, TINY_RUN

from kfood import folders, schema, training
from kfood.configs import experiment
from kfood.data.dataset import open_dataset
from kfood.models import load_run
from kfood.models.phases import OptimizerConfig
from kfood.tools.main import main
from kfood.training import callbacks


def _weights(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def test_a_run_leaves_what_it_says(tiny_run, kitchen):
    stored = json.loads((tiny_run / "config.json").read_text())
    assert (stored["model"], stored["variant"]) == ("acme", "")
    assert stored["data"]["fingerprint"] == open_dataset(kitchen).fingerprint
    assert stored["spec"]["word_vocabulary"] == len(open_dataset(kitchen).words) + 2
    rows = list(csv.DictReader((tiny_run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for name in ("loss", "retrieval", "critic", "val_image_to_recipe_median_rank", "val_recipe_to_image_recall_at_10"):
        assert np.isfinite(float(rows[1][name])), name
    assert list((tiny_run / "tensorboard").rglob("events*"))
    for name in ("words.txt", "ingredients.txt", "classes.txt"):
        assert (tiny_run / "vocabulary" / name).read_bytes() == (kitchen / "vocabulary" / name).read_bytes()


def test_a_run_of_another_token_rule_is_refused(tiny_run, kitchen, tmp_path, capsys):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    stored = json.loads((run / "config.json").read_text())
    assert stored["data"].pop("token_rule") == schema.TOKEN_RULE
    (run / "config.json").write_text(json.dumps(stored))
    message = f"{run}: expected ids by token rule 2, received ids by rule 1, of another version of kfood: prepare its "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_run(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    status = main(["train", "acme", "--data", str(kitchen), "--run", str(run), "--epochs", "3", *arguments, "--resume"])
    assert status == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_best_is_the_best_epoch_on_validation(tiny_run):
    rows = list(csv.DictReader((tiny_run / "metrics.csv").open()))
    scores = [callbacks.selection_score({k: float(v) for k, v in row.items()}, "median_rank") for row in rows]
    with h5py.File(tiny_run / "checkpoints" / "best.weights.h5") as file:
        progress = json.loads(file.attrs["kfood_progress"])
    assert progress["epoch"] == int(np.argmin(scores)) + 1
    assert progress["best"] == min(scores)


def test_load_run_gives_the_trained_model(tiny_run, tiny_spec, rng):
    best, last = load_run(tiny_run), load_run(tiny_run, "last")
    photos = rng.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    path = tiny_run / "checkpoints" / "last.weights.h5"
    again = load_run(tiny_run, "last")
    again.load_weights(path)
    np.testing.assert_array_equal(
        last.encoders["image"].predict_on_batch({"image": photos}),
        again.encoders["image"].predict_on_batch({"image": photos}),
    )
    assert best.embedding_size == 16


_KILLED = """
import os, signal, sys
import keras
from kfood import folders, schema, training
from kfood.tools.main import main

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

fit = keras.Model.fit
keras.Model.fit = lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, Kill()], **k)
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_kill_in_mid_epoch_and_resume_to_the_same_weights(kitchen, tmp_path):
    """SIGKILL in the third epoch of four; resumed, all weights and optimizer slots equal the unbroken run's bitwise."""
    common = ["train", "acme", "--preset", "small", "--data", str(kitchen), "--epochs", "4"]
    common += [part for override in (*TINY_RUN, *BAGS, "recipe_encoder.dropout=0.3") for part in ("--set", override)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    run = [sys.executable, "-m", "kfood.tools.main"]
    subprocess.run([*run, *common, "--run", str(whole)], check=True, env=environment, stdout=subprocess.DEVNULL)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, "10", *common, "--run", str(broken)], env=environment, stdout=subprocess.DEVNULL
    )
    assert killed.returncode == -signal.SIGKILL
    with h5py.File(broken / "checkpoints" / "last.weights.h5") as file:
        assert json.loads(file.attrs["kfood_progress"])["epoch"] == 2  # 4 steps an epoch; killed in the third
    subprocess.run(
        [*run, *common, "--run", str(broken), "--resume"], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    for name in ("last", "best"):
        one, two = (_weights(folder / "checkpoints" / f"{name}.weights.h5") for folder in (whole, broken))
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (whole, broken)]
    assert len(rows[0]) == len(rows[1]) == 4
    assert [row["retrieval"] for row in rows[0]] == [row["retrieval"] for row in rows[1]]


def test_checkpoint_holds_optimizers_and_random_states(tiny_run):
    arrays = _weights(tiny_run / "checkpoints" / "last.weights.h5")
    assert any("random_state_" in name for name in arrays)
    model = load_run(tiny_run)
    model.compile()
    progress = training.load_checkpoint(model, tiny_run / "checkpoints" / "last.weights.h5")
    assert progress.epoch == 2
    assert {name: int(o.iterations) for name, o in model.optimizers.items()} == {
        "critic": 8,
        "discriminator": 8,
        "encoders": 8,
    }


def test_resume_of_a_finished_run_changes_nothing(tiny_run, kitchen):
    before = (tiny_run / "checkpoints" / "last.weights.h5").read_bytes()
    (tiny_run / "report.json").write_text("{}")
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    assert (
        main(["train", "acme", "--data", str(kitchen), "--run", str(tiny_run), "--epochs", "2", *arguments, "--resume"])
        == 0
    )
    assert (tiny_run / "checkpoints" / "last.weights.h5").read_bytes() == before
    assert (tiny_run / "report.json").read_text() == "{}"
    (tiny_run / "report.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--epochs", "1"], "epochs: expected at least 2, as .*config.json has, received 1"),
        (["--epochs", "3", "--seed", "1"], "training.*seed is 0 there and 1 here"),
        (["--epochs", "2", "--set", "margin=0.5"], "config.*margin is 0.3 there and 0.5 here"),
    ],
)
def test_resume_with_other_settings_is_refused(tiny_run, kitchen, capsys, change, message):
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    status = main(["train", "acme", "--data", str(kitchen), "--run", str(tiny_run), *arguments, *change, "--resume"])
    assert status == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_resume_with_more_epochs_goes_on(tiny_run, kitchen, tmp_path):
    """Two epochs become three: the first two stay, the third has the learning rate of the third of three."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = list(csv.DictReader((run / "metrics.csv").open()))
    for name in ("report.json", "report.html"):
        (run / name).write_text("of two epochs")
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    command = ["train", "acme", "--data", str(kitchen), "--run", str(run), "--epochs", "3", *arguments, "--resume"]
    assert main(command) == 0
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert rows[:2] == before
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    optimizer = experiment("acme", "small").model.optimizer
    assert optimizer.schedule == "cosine"
    wanted = optimizer.learning_rate * 0.5 * (1 + np.cos(np.pi * 2 / 3))
    assert float(rows[2]["learning_rate"]) == pytest.approx(wanted, rel=1e-5)
    assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 3
    assert not list(run.glob("report.*"))
    assert training.load_checkpoint(load_run(run, "last"), run / "checkpoints" / "last.weights.h5").epoch == 3


def test_a_run_is_trained_by_one_process_at_a_time(tiny_run, kitchen, tmp_path, capsys):
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    for run, more in ((tiny_run, ["--epochs", "2", "--resume"]), (tmp_path / "new", [])):
        run.mkdir(exist_ok=True)
        before = sorted(run.rglob("*"))
        with folders.held(run):
            assert main(["train", "acme", "--data", str(kitchen), "--run", str(run), *arguments, *more]) == 2
        error = capsys.readouterr().err
        assert "another training is at work" in error
        assert error.count("\n") == 1
        assert sorted(run.rglob("*")) in (before, [run / ".lock"])


_LIMITED = """
import resource, sys
from kfood.tools.main import import_tensorflow_quietly, main
import_tensorflow_quietly()
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_one_sentence(kitchen, tmp_path):
    """As on a full disk: no traceback, no crash at exit, no half file."""
    run = tmp_path / "run"
    arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
    command = ["train", "acme", "--variant", "TL", "--data", str(kitchen), "--run", str(run), "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, *command, *arguments],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("kfood train")]
    assert re.search(r"could not be written \(.*File too large: '.*best.weights.h5'\).*--resume", line)
    assert "Traceback" not in done.stderr
    assert "HDF5" not in done.stderr
    assert not list((run / "checkpoints").iterdir())


def test_bad_input_is_refused_in_one_sentence(tiny_run, kitchen, tmp_path, capsys):
    run, data = str(tmp_path / "run"), str(kitchen)
    for arguments, message in (
        (["--data", data, "--run", str(tiny_run)], "expected a new folder"),
        (["--data", data, "--run", run, "--batch-size", "65"], "batch size: expected from 1 to 64"),
        (["--data", data, "--run", run, "--set", "margn=1"], "Unknown setting"),
        (["--data", data, "--run", run, "--variant", "XX"], "variant: expected one of TL"),
        (["--data", str(tmp_path / "none"), "--run", run], "none"),
    ):
        assert main(["train", "acme", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not (tmp_path / "run").exists()  # nothing half-written


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("cca", ["--chunk", "8"], "chunk: expected 0, for cca is solved"),
        ("two_tower", ["--set", "training.start=canonical"], "training.start: expected 'random' for encoders that"),
    ],
)
def test_what_a_model_refuses_leaves_no_folder(kitchen, tmp_path, capsys, model, options, message):
    arguments = ["--data", str(kitchen), "--run", str(tmp_path / "run"), "--preset", "small"]
    assert main(["train", model, *arguments, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_the_monitor_decides_and_recall_breaks_ties():
    both = ("image_to_recipe", "recipe_to_image")

    def score(median_rank, recall, monitor="median_rank", first=0.5):
        logs = {f"val_{side}_median_rank": median_rank for side in both}
        logs |= {f"val_{side}_recall_at_10": recall for side in both}
        logs |= {f"val_{side}_recall_at_1": first for side in both}
        return callbacks.selection_score(logs, monitor)

    assert score(2.0, 0.5) < score(2.25, 0.8)
    assert score(2.0, 0.6) < score(2.0, 0.5)
    assert score(20_000.0, 0.6) < score(20_000.0, 0.59999)
    assert score(2.0, 0.6, "recall_at_1") < score(2.0, 0.5, "recall_at_1")
    one_more = 0.5 + 1 / (2 * 51_119)  # of Recipe1M's validation queries, in one direction
    assert score(2.0, 0.5, "recall_at_1", one_more) < score(2.0, 0.9, "recall_at_1")
    photos = {"val_recall_at_1": 0.5, "val_map_at_r": 0.9}
    better = {"val_recall_at_1": 0.5 + 1 / 60_502, "val_map_at_r": 0.5}  # one more of SOP's test photos
    assert callbacks.selection_score(better, "recall_at_1") < callbacks.selection_score(photos, "recall_at_1")


def test_schedules():
    step = OptimizerConfig(schedule="step", period=30, factor=0.1)
    factors = [callbacks.learning_rate_factor(step, epoch, 50, []) for epoch in (0, 29, 30, 49)]
    np.testing.assert_allclose(factors, [1, 1, 0.1, 0.1])
    cosine = OptimizerConfig(schedule="cosine", warmup_epochs=1)
    factors = [callbacks.learning_rate_factor(cosine, epoch, 10, []) for epoch in (0, 1, 5)]
    np.testing.assert_allclose(factors, [0.5, (1 + np.cos(0.1 * np.pi)) / 2, 0.5])
    plateau = OptimizerConfig(schedule="plateau", period=2, factor=0.5)
    factors = [
        callbacks.learning_rate_factor(plateau, 9, 10, stale) for stale in ([], [0, 1], [0, 1, 2], [0, 1, 2, 3, 4])
    ]
    np.testing.assert_allclose(factors, [1, 1, 0.5, 0.25])
    with pytest.raises(ValueError, match="schedule: expected one of"):
        OptimizerConfig(schedule="linear")
    with pytest.raises(ValueError, match="period: expected at least 1"):
        OptimizerConfig(schedule="step")


@pytest.mark.slow
def test_freeze_and_unfreeze(kitchen, tmp_path):
    """The backbone keeps its weights while frozen and moves afterwards; the rest moves from the start."""
    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            backbone = self.model.encoders["image"].get_layer("backbone")
            seen.setdefault("begin", backbone.layers[2].get_weights()[0])

        def on_epoch_end(self, epoch, logs=None):
            backbone = self.model.encoders["image"].get_layer("backbone")
            seen[epoch] = (
                backbone.layers[2].get_weights()[0],
                self.model.encoders["image"].get_layer("image_embedding").get_weights()[0],
            )

    fit = keras.Model.fit

    def fit_watched(self, *args, callbacks, **kwargs):
        return fit(self, *args, callbacks=[*callbacks, Watch()], **kwargs)

    chosen = experiment(
        "acme",
        "small",
        "TL",
        (*TINY_RUN, *BAGS, "training.epochs=2", "training.freeze_image_epochs=1", "training.deterministic=false"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", fit_watched)
        training.train("acme", chosen, open_dataset(kitchen), tmp_path / "run", verbose=0)
    np.testing.assert_array_equal(seen["begin"], seen[0][0])
    assert np.abs(seen[1][0] - seen[0][0]).max() > 0
    assert np.abs(seen[1][1] - seen[0][1]).max() > 0


def test_nan_stops_with_the_name_of_the_loss(eagerly, kitchen, tmp_path, capsys):
    """A learning rate far too large; the message names a loss and a step, and the run is left without a checkpoint."""
    overrides = (*TINY_RUN, "adversary_optimizer.learning_rate=1e30")
    arguments = ["--preset", "small", *(part for override in overrides for part in ("--set", override))]
    assert main(["train", "acme", "--data", str(kitchen), "--run", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(
        r"Loss '(alignment|critic|critic_penalty|discriminator|picture)' became (nan|-?inf) in step \d+", error
    )
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_unwritable_run_is_one_sentence(kitchen, capsys):
    assert main(["train", "acme", "--data", str(kitchen), "--run", "/proc/kfood_run"]) == 2
    assert "Traceback" not in capsys.readouterr().err
