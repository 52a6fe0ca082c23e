"""Robustness: what is dropped, and that each disturbance meets its own side."""

import numpy as np
import pytest

from kfood.evaluation import robustness


def test_dropped_points_are_bridged_by_straight_lines(rng):
    line = np.column_stack([np.arange(20.0), -2 * np.arange(20.0)])
    np.testing.assert_array_equal(robustness.dropped(line, 0.0, rng), line)
    found = robustness.dropped(line, 0.5, rng)
    assert found.shape == (20, 2)
    np.testing.assert_allclose(found[:, 1], -2 * found[:, 0])  # still on it
    bent = np.column_stack([np.arange(20.0), np.arange(20.0) % 2])
    kept = np.isin(np.round(robustness.dropped(bent, 0.9, rng)[:, 0], 9), np.arange(20))
    assert 2 <= kept.sum() < 20


def test_the_chart_shows_every_level():
    measured = [
        {"disturbance": name, "level": level, "trajectory_to_image": 0.9, "image_to_trajectory": 0.8}
        for name, levels in robustness.LEVELS.items()
        for level in levels
    ]
    picture = robustness.chart(measured, (1.0, 4.0))
    assert picture.startswith(b"\x89PNG")
    assert picture != robustness.chart([row | {"trajectory_to_image": 0.5} for row in measured], (1.0, 4.0))


class Corner:
    """An encoder whose embedding is where its input begins; ``image`` reads it off the ink."""

    def __init__(self, name):
        self.input = {name: None} if name == "trajectory" else {"image": None, "location": None}

    def predict_on_batch(self, inputs):
        if "trajectory" in inputs:
            return inputs["trajectory"].mean(axis=1)
        ink = 255.0 - inputs["image"].mean(axis=-1)
        side = ink.shape[1]
        rows = (ink.sum(axis=2) * (np.arange(side) + 0.5)).sum(axis=1) / ink.sum(axis=(1, 2)) / side
        columns = (ink.sum(axis=1) * (np.arange(side) + 0.5)).sum(axis=1) / ink.sum(axis=(1, 2)) / side
        left, top, right, bottom = np.asarray(inputs["location"]).T
        return np.stack([left + columns * (right - left), top + rows * (bottom - top)], axis=1)


def test_noise_hurts_more_the_more_of_it(rng):
    from types import SimpleNamespace

    from kfood.data import drawing

    style = drawing.Style(32)
    examples = []
    for _ in range(60):
        points = rng.uniform(0, 10, 2) + np.linspace(0, 1, 20)[:, None] * rng.uniform(-2, 2, 2)
        pixels, location = drawing.picture(points, style, rng)
        examples.append({"trajectory": points.astype("float32"), "location": location, "picture": _png(pixels)})
    dataset = SimpleNamespace(trajectories=lambda split: iter(examples), style=style)
    model = SimpleNamespace(
        encoders={"trajectory": Corner("trajectory"), "image": Corner("image")}, distance="euclidean"
    )
    rows = robustness.measure(model, dataset, "test")
    noise = [row["trajectory_to_image"] for row in rows if row["disturbance"] == "position noise"]
    assert noise[0] > 0.8
    assert noise[-1] < noise[0] - 0.05
    dropped = [row for row in rows if row["disturbance"] == "dropped points"]
    assert dropped[0]["trajectory_to_image"] == pytest.approx(noise[0])
    assert len(rows) == sum(map(len, robustness.LEVELS.values()))


def _png(pixels):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
