"""Trained runs side by side: one table, one chart of their figures, one of how they scale.

What is compared is read from the run folders alone (config.json, metrics.csv, report.json); no model is loaded. Runs
that differ in nothing but the training's seed are one row: the mean over them, ± their standard deviation.
"""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfood import folders
from kfood.evaluation import charts, pages, report
from kfood.models import run_config

FORMAT = 1
"""Version of compare.json's layout."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder tells.

    Attributes:
        folder: as it was given.
        config: content of config.json.
        report: content of report.json.
        epochs: trained.
        seconds: spent training and validating.
    """

    folder: pathlib.Path
    config: dict[str, Any]
    report: dict[str, Any]
    epochs: int
    seconds: float

    @property
    def label(self) -> str:
        """Model and variant."""
        return " ".join(filter(None, (self.config["model"], self.config.get("variant", ""))))

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.config["training"]["seed"]

    @property
    def settings(self) -> str:
        """All that the run is made of, but for its seed: what runs of one row have in common."""
        config = {name: self.config[name] for name in ("model", "config", "spec", "data")}
        training = {name: value for name, value in self.config["training"].items() if name != "seed"}
        return json.dumps([config, self.config.get("variant", ""), training], sort_keys=True)


def read_run(folder: pathlib.Path) -> Run:
    """Reads a run folder.

    Raises:
        FileNotFoundError: no run, or a run that was not trained or not evaluated.
        ValueError: one of its files is not what kfood writes now.
    """
    config = run_config(folder)
    path = folder / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected report.json, found none; run kfood evaluate {folder} first.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        received = content["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected a report by kfood, received {error!r}.") from error
    if received != report.FORMAT:
        raise ValueError(
            f"{path}: expected a report of format {report.FORMAT}, received format {received!r}; "
            f"run kfood evaluate {folder} again."
        )
    if "directions" not in content:
        raise ValueError(f"{path}: expected a report on recipes with photos, received one on labelled photos.")
    log = folder / "metrics.csv"
    if not log.is_file():
        raise FileNotFoundError(f"{folder}: expected metrics.csv, found none; was it trained by kfood train?")
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        seconds = float(rows[-1]["seconds"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{log}: expected a row an epoch with its seconds, received {error!r}.") from error
    return Run(folder, config, content, len(rows), seconds)


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """The content of compare.json.

    Args:
        runs: in the order of the table.

    Returns:
        Plain values: ``format``, ``data``, ``protocol``, ``weights`` (common to all), and ``rows``, each with ``name``,
        ``model``, ``variant``, ``distance``, ``runs``, ``seeds``, ``std_over`` (``"seeds"`` where there are several,
        else ``"galleries"`` where there are several, else None), ``parameters``, ``epochs`` and ``seconds`` (means),
        ``directions`` as in report.json, and ``scalability``: direction → points with ``gallery``, ``mean``, ``std``.

    Raises:
        ValueError: no runs, reports that cannot be compared, or a run given twice; the message names what differs.
    """
    if not runs:
        raise ValueError("Expected at least one run to compare, received none.")
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.settings, []).append(run)
    for group in groups.values():
        _check_seeds(group)
    first = runs[0].report
    labels = [group[0].label for group in groups.values()]
    names = _folder_names(runs)
    return {
        "format": FORMAT,
        "data": first["data"],
        "protocol": {name: value for name, value in first["protocol"].items() if name != "distance"},
        "weights": first["model"]["weights"],
        "rows": [
            _row(group, [names[run.folder] for run in group], labels.count(group[0].label) == 1)
            for group in groups.values()
        ],
    }


def caption(comparison: Mapping[str, Any]) -> str:
    """What the figures of a comparison are: gallery, split, and what ± means."""
    data, protocol = comparison["data"], comparison["protocol"]
    galleries = protocol["subsets"]
    text = f"{data['name']}, {data['split']} split; gallery of {protocol['gallery']:,} pairs"
    if galleries > 1:
        text += f", mean over {galleries} {protocol['sampling']} galleries"
    text += {"best": "; each run's best epoch on validation", "last": "; each run's last epoch"}[comparison["weights"]]
    over = {row["std_over"] for row in comparison["rows"]}
    if over == {"seeds", "galleries"}:
        text += "; ± standard deviation over seeds, or over galleries where there is one seed"
    elif over == {"seeds", None}:
        text += "; ± standard deviation over seeds where there are several"
    elif over != {None}:
        text += f"; ± standard deviation over {over.pop()}"
    return text + "."


def shown(spread: Mapping[str, float], metric: str, std_over: str | None) -> str:
    """A figure as text: ranks as they are, recalls in percent, with its deviation where there is one."""
    scale = 1 if metric == "MedR" else 100
    text = f"{scale * spread['mean']:.1f}"
    return text if std_over is None else f"{text} ± {scale * spread['std']:.1f}"


def write_comparison(folder: str | os.PathLike, comparison: Mapping[str, Any]) -> list[pathlib.Path]:
    """Writes compare.json, compare.html and the charts as PNG, each whole or not at all.

    Args:
        folder: made if it does not exist.
        comparison: from :func:`compare`.

    Returns:
        The paths.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    figures = {"figures": _figures_chart(comparison), "scalability": _scalability_chart(comparison)}
    page = {
        "comparison": comparison,
        "caption": caption(comparison),
        "directions": {name: _arrow(name) for name in comparison["rows"][0]["directions"]},
        "metrics": _metrics(comparison),
        "best": _best(comparison),
        "shown": shown,
        "charts": {name: charts.svg_uri(figure) for name, figure in figures.items()},
    }
    contents: dict[pathlib.Path, str | bytes] = {
        folder / "compare.json": json.dumps(comparison, indent=2, allow_nan=False) + "\n",
        folder / "compare.html": pages.render("compare.html", page),
        **{folder / f"{name}.png": charts.png(figure) for name, figure in figures.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    folders.write_whole(contents)
    return list(contents)


def _check_comparable(first: Run, second: Run) -> None:
    def told(run):
        of = run.report
        protocol = {f"protocol.{name}": value for name, value in of["protocol"].items() if name != "distance"}
        data = {f"data.{name}": of["data"][name] for name in ("fingerprint", "split", "pairs")}
        return {**data, **protocol, "weights": of["model"]["weights"], "directions": list(of["directions"])}

    one, other = told(first), told(second)
    for what in {**one, **other}:
        if one.get(what) != other.get(what):
            raise ValueError(
                f"{first.folder} and {second.folder}: expected reports on the same data by the same protocol, received "
                f"{what} {one.get(what)!r} and {other.get(what)!r}."
            )


def _check_seeds(group: Sequence[Run]) -> None:
    seen: dict[int, Run] = {}
    for run in group:
        if run.seed in seen:
            raise ValueError(
                f"{seen[run.seed].folder} and {run.folder}: expected runs that differ, received the same settings and "
                f"the same seed {run.seed} twice; leave one out."
            )
        seen[run.seed] = run


def _folder_names(runs: Sequence[Run]) -> dict[pathlib.Path, str]:
    """Name of each run's folder, or its path where two folders are called alike."""
    names = [run.folder.resolve().name for run in runs]
    return {
        run.folder: name if names.count(name) == 1 else str(run.folder) for run, name in zip(runs, names, strict=True)
    }


def _row(group: Sequence[Run], names: list[str], label_is_unique: bool) -> dict[str, Any]:
    first = group[0]
    reports = [run.report for run in group]
    std_over = "seeds" if len(group) > 1 else "galleries" if first.report["protocol"]["subsets"] > 1 else None

    def over_runs(spreads):
        if len(group) == 1:
            return dict(spreads[0])
        means = [spread["mean"] for spread in spreads]
        return {"mean": float(np.mean(means)), "std": float(np.std(means))}

    return {
        "name": first.label if label_is_unique else f"{first.label} ({', '.join(names)})",
        "model": first.config["model"],
        "variant": first.config.get("variant", ""),
        "distance": first.report["protocol"]["distance"],
        "runs": names,
        "seeds": [run.seed for run in group],
        "std_over": std_over,
        "parameters": first.report["model"]["parameters"],
        "epochs": float(np.mean([run.epochs for run in group])),
        "seconds": float(np.mean([run.seconds for run in group])),
        "directions": {
            direction: {
                metric: over_runs([one["directions"][direction][metric] for one in reports]) for metric in figures
            }
            for direction, figures in first.report["directions"].items()
        },
        "scalability": {
            direction: [
                {"gallery": points[0]["gallery"], **over_runs([point["MedR"][direction] for point in points])}
                for points in zip(*(one["scalability"] for one in reports), strict=True)
            ]
            for direction in first.report["directions"]
        },
    }


def _metrics(comparison: Mapping[str, Any]) -> list[str]:
    return list(next(iter(comparison["rows"][0]["directions"].values())))


def _best(comparison: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Direction → figure → the best mean of all rows."""
    rows = comparison["rows"]
    return {
        direction: {
            metric: (min if metric == "MedR" else max)(row["directions"][direction][metric]["mean"] for row in rows)
            for metric in _metrics(comparison)
        }
        for direction in rows[0]["directions"]
    }


def _arrow(direction: str) -> str:
    return direction.replace("_to_", " → ")


def _figures_chart(comparison: Mapping[str, Any]) -> Any:
    """Bars of every figure, a group a row, a colour a direction."""
    rows, metrics = comparison["rows"], _metrics(comparison)
    directions = list(rows[0]["directions"])
    figure, axes = charts.figure(len(metrics), width=12, height=1.3 + 0.5 * len(rows), share_y=True)
    thick = 0.8 / len(directions)
    for metric, one in zip(metrics, axes, strict=True):
        scale = 1 if metric == "MedR" else 100
        for place, direction in enumerate(directions):
            spreads = [row["directions"][direction][metric] for row in rows]
            one.barh(
                np.arange(len(rows)) + (place - (len(directions) - 1) / 2) * thick,
                [scale * spread["mean"] for spread in spreads],
                thick,
                xerr=[scale * spread["std"] or np.nan for spread in spreads],
                error_kw={"capsize": 2, "linewidth": 1},
                color=charts.colour(place),
                label=_arrow(direction),
            )
        one.grid(visible=False)
        one.grid(axis="x", color="#e5e0d8")
        one.set(xlim=(0, None), title="MedR (small is good)" if metric == "MedR" else f"{metric}, %")
    axes[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(directions), frameon=False)
    return figure


def _scalability_chart(comparison: Mapping[str, Any]) -> Any:
    """Median rank by size of the gallery, axes a direction, a curve a row."""
    rows = comparison["rows"]
    directions = list(rows[0]["directions"])
    figure, axes = charts.figure(len(directions), width=12, height=4.2 + 0.18 * len(rows), share_y=True)
    for direction, one in zip(directions, axes, strict=True):
        curves = {row["name"]: row["scalability"][direction] for row in rows}
        charts.draw_scalability(one, curves, comparison["protocol"]["rank_origin"])
        one.set_title(_arrow(direction))
        one.label_outer()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
