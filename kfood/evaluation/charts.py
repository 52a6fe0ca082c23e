"""Charts of the reports: one look, and the same bytes for the same figures."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

_COLOURS = (
    *("#b5482e", "#2f6f73", "#8a6d1d", "#5b4b8a", "#3d7a3d", "#7a3d63"),
    *("#d08c60", "#4a90a4", "#6b6b6b", "#a3559b", "#94a33a", "#1f3b57"),
)


def colour(place: int) -> str:
    """Of the curve at a place, from 0, of a chart; after twelve they begin again."""
    return _COLOURS[place % len(_COLOURS)]


def figure(columns: int = 1, *, width: float = 5.6, height: float = 3.8, share_y: bool = False) -> tuple[Any, list]:
    """A figure with axes side by side.

    Args:
        columns: number of axes.
        width: of the figure, inches.
        height: likewise.
        share_y: whether the axes have one vertical scale.

    Returns:
        matplotlib's figure, and its axes from left to right.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = list(made.subplots(1, columns, squeeze=False, sharey=share_y)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e5e0d8")
        one.set_axisbelow(True)
    return made, axes


def draw_scalability(axes: Any, curves: Mapping[str, Sequence[Mapping[str, Any]]], rank_origin: int) -> None:
    """Median rank against the size of the gallery, both logarithmic (R2GAN's Figure 3); chance is dashed.

    Args:
        axes: of matplotlib.
        curves: label → points with ``gallery``, ``mean`` and ``std``, by size.
        rank_origin: rank of the nearest item.
    """
    from matplotlib.ticker import NullLocator, SymmetricalLogLocator

    for place, (label, points) in enumerate(curves.items()):
        axes.errorbar(
            [point["gallery"] for point in points],
            [point["mean"] for point in points],
            [point["std"] or float("nan") for point in points],  # no bar rather than one of no length
            color=colour(place),
            label=label,
            marker="o",
            markersize=4,
            linewidth=1.8,
            capsize=3,
        )
    sizes = sorted({point["gallery"] for points in curves.values() for point in points})
    chance = [(size + 1) / 2 - 1 + rank_origin for size in sizes]
    axes.plot(sizes, chance, color="#999999", linewidth=1, linestyle="--", label="chance")
    axes.set_xscale("log")
    if min(point["mean"] for points in curves.values() for point in points) > 0:
        axes.set_yscale("log")
    else:  # where the nearest item has rank 0
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="pairs in the gallery", ylabel="median rank")


def svg_uri(figure: Any) -> str:
    """A figure as a data URI."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "kfood"}):  # same figures, same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()
