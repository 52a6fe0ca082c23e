"""What README shows runs as it stands."""

import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from conftest import TINY_TOWERS

from kfood.tools.main import COMMANDS, main

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_commands_named_in_readme_exist():
    named = set(re.findall(r"kfood ([a-z]+) [A-Z\-]|`kfood ([a-z]+)", README))
    assert {a or b for a, b in named} <= set(COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "prepare"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"kfood {command}" in capsys.readouterr().out


def test_unknown_command(capsys):
    assert main(["trian"]) == 2
    assert "expected a command among prepare, train" in capsys.readouterr().err


def _arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.slow
def test_the_script_is_the_command(kitchen, tmp_path, monkeypatch):
    """After two epochs from the same seed every weight, optimizer slot and random state is equal."""
    script = re.search(r"## In a script\n.*?```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(script.strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(kitchen)
    overrides = (*TINY_TOWERS, "training.epochs=2", "recipe_encoder.dropout=0.3")
    tiny = script.replace('"small")', f'"small", overrides={overrides!r})')
    assert tiny != script
    exec(compile(tiny, "README.md", "exec"), {})
    given = [part for setting in overrides for part in ("--set", setting)]
    command = ["train", "two_tower", "--preset", "small", "--data", str(kitchen), "--run", "COMMAND", *given]
    assert main(command) == 0
    for name in ("last", "best"):
        script_weights, weights = (
            _arrays(tmp_path / run / "checkpoints" / f"{name}.weights.h5") for run in ("RUN", "COMMAND")
        )
        assert script_weights.keys() == weights.keys()
        for key, values in weights.items():
            np.testing.assert_array_equal(script_weights[key], values, err_msg=key)
    fresh = "import kfood, keras, sys; model = keras.models.load_model(sys.argv[1]); print(type(model).__name__)"
    made = subprocess.run(
        [sys.executable, "-c", fresh, str(tmp_path / "two_tower.keras")], capture_output=True, text=True, check=True
    )
    assert made.stdout.split()[-1] == "TwoTower"
