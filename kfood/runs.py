"""What stands in a run folder beside weights, where a training goes on: settings that have to agree, rows, reports."""

import csv
import io
import json
import pathlib

from kfood import folders, schema
from kfood.models import TRAIN_AGAIN, run_config


def check_new(run: pathlib.Path) -> None:
    """Raises FileExistsError where a run's folder holds something already."""
    if not folders.is_empty(run):
        raise FileExistsError(
            f"run: expected a new folder, received {run}, which holds files; choose another, or go on with --resume."
        )


def settled(run: pathlib.Path, description: dict, resume: bool) -> dict:
    """What config.json is to say: on resuming, what it said, with as many epochs, and devices, as are asked for now.

    Raises:
        FileExistsError: a run where there is to be a new one.
        ValueError: other settings than the run's, fewer epochs, or a run of another token rule.
    """
    if folders.is_empty(run):
        return description
    if not resume:
        check_new(run)
    stored, given = run_config(run), json.loads(json.dumps(description))
    if "token_rule" in given["data"]:
        schema.check_token_rule(run, stored["data"], TRAIN_AGAIN)
    anew = {name: given["training"][name] for name in ("epochs", "devices") if name in given["training"]}
    longer = stored | {"training": stored["training"] | anew}
    for key in ("model", "config", "spec", "training", "data"):
        if longer[key] != given[key]:
            raise ValueError(
                f"--resume: expected the settings of {run / 'config.json'}, received others under {key!r}: "
                f"{_difference(longer[key], given[key])}."
            )
    if anew["epochs"] < stored["training"]["epochs"]:
        raise ValueError(
            f"--epochs: expected at least {stored['training']['epochs']}, as {run / 'config.json'} has, "
            f"received {anew['epochs']}."
        )
    return longer


def _difference(stored, given, path="") -> str:
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in {**stored, **given}:
            if stored.get(key) != given.get(key):
                return _difference(stored.get(key), given.get(key), f"{path}.{key}" if path else key)
    return f"{path or 'model'} is {stored!r} there and {given!r} here"


def cut_csv(path: pathlib.Path, epochs: int) -> None:
    """Drops rows of epochs that will be trained again, and what a full disk cut off."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    kept = rows[:1] + [
        row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit() and int(row[0]) < epochs
    ]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(kept)
    folders.write_whole({path: text.getvalue()})


def remove_reports(run: pathlib.Path) -> None:
    """Removes what `kfood evaluate` wrote of weights that may be the best no longer."""
    for report in (*run.glob("report.*"), *run.glob("on-*/report.*")):
        report.unlink()
