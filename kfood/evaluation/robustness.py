"""How well trajectories and pictures still find each other when one of them is disturbed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfood import schema
from kfood.data import drawing, tracks
from kfood.evaluation import charts, metrics
from kfood.evaluation.embedding import embed

if TYPE_CHECKING:
    from kfood.data.dataset import TrajectoryDataset

LEVELS: dict[str, tuple[float, ...]] = {
    "dropped points": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "position noise": (0.0, 0.05, 0.1, 0.2, 0.5, 1.0),
    "line thickness": (1.0, 2.0, 4.0, 6.0, 8.0, 12.0),
}
"""Shares of a trajectory's points, metres of standard deviation, pixels."""

_UNITS = {"dropped points": "share", "position noise": "standard deviation, m", "line thickness": "pixels"}
_BATCH = 128


def measure(model: Any, dataset: "TrajectoryDataset", split: str, seed: int = 0) -> list[dict[str, Any]]:
    """Top-1 of the whole split at each level of each disturbance, one at a time.

    Args:
        model: has ``encoders`` called ``trajectory`` and ``image``, ``spec`` and ``distance``.
        dataset: whose trajectories and pictures.
        split: of the dataset.
        seed: of what is dropped and of the noise.

    Returns:
        Dicts with ``disturbance`` and ``level`` of :data:`LEVELS`, and top-1 (0 to 1) by direction.
    """
    examples = list(dataset.trajectories(split))
    points = np.stack([example[schema.TRAJECTORY] for example in examples])
    location = np.stack([example[schema.LOCATION] for example in examples])
    style, random = dataset.style, np.random.default_rng(seed)

    def of_trajectories(disturbed: NDArray) -> NDArray:
        rows = disturbed.astype(np.float32)
        return embed(
            model.encoders["trajectory"],
            ({schema.TRAJECTORY: rows[start : start + _BATCH]} for start in range(0, len(rows), _BATCH)),
        )

    def of_pictures(drawn: Any) -> NDArray:
        def batches():
            for start in range(0, len(examples), _BATCH):
                rows = range(start, min(start + _BATCH, len(examples)))
                pictures = np.stack([drawn(row) for row in rows]).astype(np.float32)
                yield {schema.IMAGE: pictures, schema.LOCATION: location[start : start + _BATCH]}

        return embed(model.encoders["image"], batches())

    trajectories = of_trajectories(points)
    pictures = of_pictures(lambda row: _decoded(examples[row]["picture"]))
    measured = []
    for disturbance, levels in LEVELS.items():
        for level in levels:
            pair = [trajectories, pictures]
            if disturbance == "dropped points":
                pair[0] = of_trajectories(np.stack([dropped(one, level, random) for one in points]))
            elif disturbance == "position noise":
                pair[0] = of_trajectories(points + random.normal(0.0, 1.0, points.shape) * level)
            else:
                pair[1] = of_pictures(
                    lambda row, level=level: drawing.draw(points[row], location[row], level, style, random)
                )
            ranks = metrics.ranks_both(*pair, distance=model.distance)
            names = ("trajectory_to_image", "image_to_trajectory")
            top = {name: metrics.recall_at_k(own, 1) for name, own in zip(names, ranks, strict=True)}
            measured.append({"disturbance": disturbance, "level": level, **top})
    return measured


def dropped(points: NDArray, share: float, random: np.random.Generator) -> NDArray:
    """A trajectory without a share of its points, brought back to their number by interpolation.

    Args:
        points: float [points, 2], at even times.
        share: of the points, any of them, rounded down; two at least stay.
        random: chooses them.

    Returns:
        float64 [points, 2]. What was before the first point left, or after the last, is lost.
    """
    count = len(points)
    kept = np.sort(random.choice(count, max(count - int(share * count), 2), replace=False))
    return tracks.resample(np.column_stack([kept, points[kept]]), count)


def chart(measured: Sequence[Mapping[str, Any]], trained: tuple[float, float]) -> bytes:
    """The curves as a PNG file.

    Args:
        measured: by :func:`measure`.
        trained: least and most thickness of the lines trained on, which are shaded.
    """
    figure, panels = charts.figure(len(LEVELS), width=11, share_y=True)
    for panel, disturbance in zip(panels, LEVELS, strict=True):
        own = [row for row in measured if row["disturbance"] == disturbance]
        for place, name in enumerate(("trajectory_to_image", "image_to_trajectory")):
            panel.plot(
                [row["level"] for row in own],
                [100 * row[name] for row in own],
                color=charts.colour(place),
                marker="o",
                markersize=4,
                label=name.replace("_to_", " → "),
            )
        panel.set(xlabel=f"{disturbance}, {_UNITS[disturbance]}", ylim=(0, 101))
        if disturbance == "line thickness":
            panel.axvspan(*trained, color="#e5e0d8", zorder=0, label="trained on")
    panels[0].set_ylabel("top-1, %")
    panels[-1].legend(frameon=False)
    return charts.png(figure)


def _decoded(picture: bytes) -> NDArray[np.uint8]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))
