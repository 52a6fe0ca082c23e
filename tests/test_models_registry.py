"""Models of other packages, found by their entry points."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import TINY_TOWERS

from kfood.models import ENTRY_POINTS, MODELS
from kfood.tools.main import main

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "their_model"


@pytest.fixture
def installed(tmp_path):
    """The example as pip leaves it: the module, and what its metadata says of entry points."""
    folder = tmp_path / "site"
    described = (EXAMPLE / "pyproject.toml").read_text()
    points = re.search(rf'entry-points\."{re.escape(ENTRY_POINTS)}"\]\n(\w+) = "([^"]+)"', described)
    information = folder / "their_model-0.1.0.dist-info"
    information.mkdir(parents=True)
    shutil.copy(EXAMPLE / "their_model.py", folder)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-model\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\n{points[1]} = {points[2]}\nacme = their_model:Centred\n"
    )
    return folder


def kfood(installed, *arguments):
    code = "import sys; from kfood.tools.main import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(installed)!r}); {code}",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_model_of_kfoods_own_has_presets_by_its_name():
    assert all(entry.presets == f"kfood.configs.{name}" for name, entry in MODELS.items())


@pytest.mark.slow
def test_a_model_of_another_package_trains_and_is_measured(installed, kitchen, tmp_path, capsys):
    settings = [*TINY_TOWERS, "spread=0.5"]
    tiny = ["--preset", "small", "--epochs", "2", *(part for setting in settings for part in ("--set", setting))]
    run = tmp_path / "run"
    trained = kfood(installed, "train", "centred", "--data", kitchen, "--run", run, *tiny)
    assert trained.returncode == 0, trained.stderr
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"pair", "spread"} <= set(header)
    measured = kfood(installed, "evaluate", run, "--data", kitchen, "--split", "test")
    assert measured.returncode == 0, measured.stderr
    assert (run / "report.json").is_file()
    assert main(["evaluate", str(run), "--data", str(kitchen), "--split", "test"]) == 2  # here it is not installed
    assert "expected a run of a model among acme" in " ".join(capsys.readouterr().err.split())


def test_it_is_listed_and_takes_no_name_of_kfoods_own(installed):
    code = "from kfood.models import MODELS; print(MODELS['centred'].module, MODELS['acme'].module)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {code}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["their_model", "kfood.models.acme"]
