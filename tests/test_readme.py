"""What README shows runs as it stands."""

import pathlib
import re

import pytest

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


@pytest.mark.slow
def test_the_script_trains(kitchen, tmp_path, monkeypatch):
    script = re.search(r"## In a script\n\n```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(script.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(kitchen)
    exec(compile(script.replace("epochs=14", "epochs=1"), "README.md", "exec"), {})
    assert (tmp_path / "acme.keras").is_file()
