"""Draws the photos of the synthetic kitchen: a scene (what the recipe says) under conditions that it does not tell.

The picture follows from three random streams that do not touch each other, so that one can be kept while another
changes: the :class:`~kfood.data.kitchen.scene.Scene` decides what is drawn, ``layout`` where the pieces lie and
``nuisance`` the plate, table, light, camera and clutter.

What a dish looks like stands in ``pictures.json``: how flat the camera may see it, and its steps in order, each a
function of :mod:`~kfood.data.kitchen.surroundings`, :mod:`~kfood.data.kitchen.steps` or
:mod:`~kfood.data.kitchen.dishes`, or a disc or cylinder of the painter's, with its arguments.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kfood.data.kitchen import dishes, steps, surroundings
from kfood.data.kitchen.conditions import TABLES, Conditions
from kfood.data.kitchen.painter import Painter
from kfood.data.kitchen.scene import Scene
from kfood.data.kitchen.shapes import polar

PICTURES: dict[str, dict[str, Any]] = TABLES["dishes"]
"""Kind of dish → ``squash``, the least and greatest height of the plate's ellipse in widths, and ``steps``."""

_STEPS: dict[str, Callable[..., None]] = {
    name: function
    for module in (surroundings, steps, dishes)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
} | {"disc": Painter.disc, "cylinder": Painter.cylinder}
_COLORS = ("color", "side", "top")


def _play(p: Painter, written: list[dict[str, Any]]) -> None:
    """Draws steps in order; one with a colour that the scene does not have is left out."""
    for step in written:
        if step["step"] == "each":
            _play_each(p, step)
            continue
        arguments = {key: p.color(value) if key in _COLORS else value for key, value in step.items() if key != "step"}
        if None not in arguments.values():
            _STEPS[step["step"]](p, **arguments)


def _play_each(p: Painter, step: dict[str, Any]) -> None:
    """Draws the steps ``do`` at several places, the back ones first.

    The places stand in ``at``, and ``around`` says how many lie around the middle, at what distance and angle.
    """
    places = list(step["at"])
    if "around" in step:
        count, distance, first = step["around"]
        places += polar(distance, np.arange(count) * (2 * math.pi / count) + first).tolist()
    for place in sorted(places, key=p.depth):
        p.move(*place)
        _play(p, step["do"])
    p.move(0.0, 0.0)


def draw(
    scene: Scene, size: int, *, layout: np.random.Generator, nuisance: np.random.Generator, grain: np.random.Generator
) -> bytes:
    """Draws a photo.

    Args:
        scene: what the recipe tells about the picture.
        size: side of the square photo, pixels.
        layout: random stream for the places of the pieces.
        nuisance: random stream for plate, table, light, camera and clutter.
        grain: random stream for the noise; the only one whose use depends on ``size``.

    Returns:
        The JPEG bytes of an RGB photo of ``size`` × ``size`` pixels.
    """
    picture = PICTURES[scene.dish]
    painter = Painter(size, scene, Conditions(nuisance), layout, picture["squash"])
    surroundings.table(painter)
    _play(painter, picture["steps"])
    return painter.finish(grain)
