"""Every ``kfood`` command in a block of README and docs is one that its command line takes."""

import importlib
import pathlib
import re
import shlex

import pytest
import tyro

from kfood.tools.main import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
STANDING_FOR = {"SEED": "1", "MODEL": "acme"}


class Parsed(Exception):
    """Raised in place of what the command would do."""


def commands(page: str) -> list[list[str]]:
    """Arguments of each command of a page's blocks and table; lines ending in a backslash joined, comments cut off."""
    text = page.replace("\\\n", " ")
    lines = re.findall(r"^(?:    )?(?:\w+=\S+ +)*(kfood [^\n]*)$", text, re.MULTILINE)
    lines += re.findall(r"^\| [^|]* \| `(kfood [^`]*)` \|", text, re.MULTILINE)  # the table of commands
    words = [shlex.split(re.split(r" +# | +[|&] ", line)[0].strip()) for line in lines if "…" not in line]
    return [[STANDING_FOR.get(word, word) for word in line[1:]] for line in words]


@pytest.fixture
def parse(monkeypatch):
    def only(parser):
        def parsed(*arguments, **options):
            parser(*arguments, **options)
            raise Parsed

        return parsed

    monkeypatch.setattr(tyro, "cli", only(tyro.cli))
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", only(tyro.extras.subcommand_cli_from_dict))

    def parse(arguments):
        tool = importlib.import_module(f"kfood.tools.{arguments[0].replace('-', '_')}")
        with pytest.raises(Parsed):
            tool.main(arguments[1:])

    return parse


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if commands(page.read_text(encoding="utf-8"))])
def test_commands_parse(name, parse, capsys):
    for arguments in commands(PAGES[name].read_text(encoding="utf-8")):
        assert arguments[0] in COMMANDS, arguments
        try:
            parse(arguments)
        except SystemExit:
            pytest.fail(f"kfood {' '.join(arguments)}\n{capsys.readouterr().err}")


def test_a_wrong_command_does_not(parse, capsys):
    with pytest.raises(SystemExit):
        parse(["train", "acme", "--data", "DATA", "--epoch-count", "3"])
    assert "epoch-count" in capsys.readouterr().err
    assert commands("x\n\n    A=1 kfood train acme --data D \\\n      --run R   # why\n") == [
        ["train", "acme", "--data", "D", "--run", "R"]
    ]
