"""Pictures of trajectories: where the ink lies, how much of it, and what a window gives away."""

import numpy as np
import pytest
from PIL import Image

from kfood.data import drawing
from kfood.data.drawing import Movement, Style


def test_a_line_is_drawn_where_it_lies(rng):
    """An L: 4 m east along y = 2, then 3 m north; ink by a naive distance to it."""
    points = np.array([[1, 2], [5, 2], [5, 5]], float)
    location = np.array([0, 8, 8, 0], float)
    style = Style(64)
    pixels = drawing.draw(points, location, 2.0, style, rng)
    assert pixels.shape == (64, 64, 3)
    ink = 1 - pixels[..., 0] / 255
    for row in range(64):
        for column in range(64):
            x, y = (column + 0.5) / 8, 8 - (row + 0.5) / 8
            far = min(np.hypot(x - np.clip(x, 1, 5), y - 2), np.hypot(x - 5, y - np.clip(y, 2, 5))) * 8
            if far < 0.4:
                assert ink[row, column] > 0.8, (row, column)
            if far > 1.8:
                assert ink[row, column] == 0, (row, column)
    assert ((ink > 0.05) & (ink < 0.95)).any()  # antialiased


@pytest.mark.parametrize("thickness", [1.0, 2.5, 4.0, 8.0])
def test_thickness_is_in_pixels(rng, thickness):
    points = np.array([[-10, 4], [20, 4]], float)
    pixels = drawing.draw(points, np.array([0, 8, 8, 0]), thickness, Style(64), rng)
    assert (1 - pixels[:, 30, 0] / 255).sum() == pytest.approx(thickness, abs=0.3)


def test_what_stands_still_is_a_dot(rng):
    pixels = drawing.draw(np.full((20, 2), 4.0), np.array([0, 8, 8, 0]), 4.0, Style(64), rng)
    ink = 1 - pixels[..., 0] / 255
    rows, columns = np.nonzero(ink)
    assert ink.sum() == pytest.approx(np.pi * 4, rel=0.25)
    np.testing.assert_allclose([rows.mean(), columns.mean()], 31.5, atol=0.6)


def test_windows_hold_the_line_at_random_places_and_scales(rng):
    points = np.array([[3, 1], [7, 2], [5, 3]], float)
    found = np.array([drawing.place(points, Style(), rng) for _ in range(400)])
    left, top, right, bottom = found.T
    np.testing.assert_allclose(right - left, top - bottom, rtol=1e-5)
    assert (left < 3).all()
    assert (right > 7).all()
    assert (bottom < 1).all()
    assert (top > 3).all()
    sides = right - left
    assert 5.0 <= sides.min() < 5.3
    assert 9.5 < sides.max() <= 10.0
    assert left.std() > 1
    assert bottom.std() > 1
    still = drawing.place(np.zeros((5, 2)), Style(least_extent=3.0), rng)
    assert still[2] - still[0] >= 3.75


def test_a_scene_is_the_same_in_each_picture_and_holds_the_ground(rng):
    """Corners around the ground with a border; the ink lies where the points do."""
    ground = {"frame": "scene", "centre_x": 4.0, "centre_y": -2.0, "extent": 4.6, "geographic": False}
    scene = drawing.scene_of(ground)
    np.testing.assert_allclose(scene, [-1.0, 3.0, 9.0, -7.0])
    assert drawing.scene_of({**ground, "frame": "window"}) is None
    assert drawing.scene_of({"centre_x": 4.0, "centre_y": -2.0, "extent": 4.6}) is None  # prepared before there was one
    style = Style(50, thickness=(2.0, 2.0), scene=scene)
    for x, y in ((0.5, 2.5), (8.1, -6.3)):
        pixels, location = drawing.picture(np.array([[x, y], [x + 0.2, y]]), style, rng)
        np.testing.assert_array_equal(location, np.array(scene, np.float32))
        rows, columns = np.nonzero(pixels[..., 0] < 255)
        assert columns.mean() == pytest.approx((x + 0.1 + 1.0) * 5 - 0.5, abs=0.6)
        assert rows.mean() == pytest.approx((3.0 - y) * 5 - 0.5, abs=0.6)


def test_what_moves_off_the_scene_is_shifted_back():
    """As little as need be, and not at all within."""
    scene = (0.0, 10.0, 10.0, 0.0)  # a border of 0.4
    line = np.array([[2.0, 3.0], [4.0, 3.5]])
    np.testing.assert_array_equal(drawing.kept_inside(line, scene), line)
    np.testing.assert_allclose(drawing.kept_inside(line - np.array([3.0, 0.0]), scene), line - [1.6, 0.0])
    np.testing.assert_allclose(drawing.kept_inside(line + np.array([7.0, 8.0]), scene), line + np.array([5.6, 6.1]))
    np.testing.assert_allclose(drawing.kept_inside(line - [0.0, 9.0], scene), line - [0.0, 2.6])


def test_backgrounds_lie_behind_a_red_line(tmp_path, rng):
    path = tmp_path / "tile.jpg"
    Image.new("RGB", (90, 70), (20, 120, 40)).save(path)
    style = Style(32, backgrounds=(path,))
    pixels = drawing.draw(np.array([[-1.0, 4.0], [9.0, 4.0]]), np.array([0, 8, 8, 0]), 6.0, style, rng)
    np.testing.assert_allclose(pixels[2, 2], [20, 120, 40], atol=4)
    np.testing.assert_array_equal(pixels[16, 16], [255, 0, 0])


def test_movements_keep_the_shape(rng):
    points = rng.normal(size=(20, 2))
    moved = Movement(turn=True, shift=2.0).move(points, rng)
    lengths = [np.linalg.norm(np.diff(p, axis=0), axis=1) for p in (points, moved)]
    np.testing.assert_allclose(*lengths)
    assert np.abs(moved - points).max() > 0.1
    np.testing.assert_allclose(Movement().move(points, rng), points, atol=1e-12)
    runs = [Movement(reverse=True).move(points, rng) for _ in range(40)]
    forward = [np.allclose(run, points) for run in runs]
    assert {*forward} == {True, False}
    assert all(np.allclose(run, points if ahead else points[::-1]) for run, ahead in zip(runs, forward, strict=True))


@pytest.mark.parametrize("wrong", [{"thickness": (0.0, 1.0)}, {"thickness": (3.0, 1.0)}, {"scale": (1.0, 2.0)}])
def test_impossible_styles_are_refused(wrong):
    with pytest.raises(ValueError, match="expected two rising numbers"):
        Style(**wrong)
