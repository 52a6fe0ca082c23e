"""What trajectories and map pictures find, drawn over one another on the ground, in metres."""

from collections.abc import Mapping, Sequence
from typing import Any

from kfood import schema
from kfood.evaluation import charts
from kfood.evaluation.embedding import Embeddings

_COLUMNS = 4
_INK = "#111111"


def overlay(name: str, items: Sequence[Mapping[str, Any]], embeddings: Embeddings) -> dict[str, str]:
    """Queries of one direction, each in a panel with the trajectories of its nearest items.

    Args:
        name: e.g. ``"trajectory_to_image"``.
        items: of each query ``query`` (index into the split), ``rank`` of its own item, and ``items``, nearest first.
        embeddings: with ``trajectory`` and ``location`` kept.

    Returns:
        ``title`` and ``uri`` of the chart. A picture is drawn as its trajectory within its frame, a dotted square.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    points, location = (embeddings.features[feature] for feature in (schema.TRAJECTORY, schema.LOCATION))
    rows = -(-len(items) // _COLUMNS)
    figure = Figure(figsize=(2.6 * _COLUMNS, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, item in zip(panels, items, strict=False):
        panel.set_axis_on()
        panel.set_aspect("equal", "datalim")
        panel.tick_params(labelsize=6)
        own = points[item["query"]]
        panel.plot(own[:, 0], own[:, 1], color=_INK, linewidth=4, alpha=0.35, solid_capstyle="round")
        if name.startswith("image"):
            left, top, right, bottom = location[item["query"]]
            frame = Rectangle((left, bottom), right - left, top - bottom, fill=False, linestyle=":", color=_INK)
            panel.add_patch(frame)
        for place, index in enumerate(item["items"]):
            panel.plot(
                points[index, :, 0],
                points[index, :, 1],
                color=charts.colour(place),
                linewidth=1.2,
                marker="o",
                markersize=1.5,
                label=str(place + 1),
            )
        panel.set_title(f"own item at rank {item['rank']}", fontsize=8)
        panel.legend(frameon=False, fontsize=6)
    title = name.replace("_to_", " → ")
    return {"title": f"{title}: queries (grey) and what they find, by place, metres", "uri": charts.svg_uri(figure)}
