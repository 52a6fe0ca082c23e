"""The course of a training run, drawn from its metrics.csv: losses and validation scores, epoch by epoch."""

import csv
import pathlib
from typing import Any

from kfood.evaluation import charts


def read_metrics(run: str | pathlib.Path) -> dict[str, list[float]]:
    """Columns of a run's metrics.csv, a value an epoch.

    Raises:
        FileNotFoundError: no metrics.csv: not a run, or none of its epochs is finished.
        ValueError: a file that training did not write.
    """
    path = pathlib.Path(run) / "metrics.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the log of `kfood train`, found none; has an epoch been finished?")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name]) for row in rows] for name in rows[0]}
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a row of numbers an epoch, received {error!r}.") from error


def draw_training(run: str | pathlib.Path) -> bytes:
    """A PNG of every loss over the epochs, KL divergences of latents together, and the validation's recall at 1.

    Args:
        run: folder made by ``kfood train``.

    Returns:
        The file's bytes.

    Raises:
        FileNotFoundError: as for :func:`read_metrics`, and ValueError likewise.
    """
    columns = read_metrics(run)
    epochs = [epoch + 1 for epoch in columns["epoch"]]
    divergences = {name: values for name, values in columns.items() if name.startswith("kl_")}
    recalls = {
        name.removeprefix("val_").removesuffix("_recall_at_1").replace("_to_", " → "): [100 * value for value in values]
        for name, values in columns.items()
        if name.startswith("val_") and name.endswith("_recall_at_1")
    }
    losses = {
        name: values
        for name, values in columns.items()
        if not name.startswith(("val_", "kl_")) and name not in ("epoch", "seconds", "learning_rate")
    }
    panels: list[tuple[str, dict[str, list[float]], str]] = [("loss, each over its first", _relative(losses), "linear")]
    if divergences:
        panels.append(("KL of posterior to prior, nats", divergences, "log"))
    panels.append(("recall at 1 on validation, %", recalls, "linear"))
    figure, axes = charts.figure(len(panels), width=4.8 * len(panels))
    for axis, (label, curves, scale) in zip(axes, panels, strict=True):
        for place, (name, values) in enumerate(curves.items()):
            axis.plot(epochs, values, color=charts.colour(place), label=name, marker="o", markersize=2.5)
        axis.set(xlabel="epoch", ylabel=label, yscale=scale)
        _whole_epochs(axis)
        axis.legend(frameon=False, fontsize=7)
    return charts.png(figure)


def _relative(losses: dict[str, list[float]]) -> dict[str, list[float]]:
    """Losses of different sizes in one chart; one that starts at 0 stays as it is."""
    return {name: [value / (abs(values[0]) or 1.0) for value in values] for name, values in losses.items()}


def _whole_epochs(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
