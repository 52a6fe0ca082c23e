"""How ingredients look: pieces as stacks of coloured polygons, areas as one colour. Read from ``looks.json``.

A piece is written as its radius, its thickness and its layers from bottom to top, each a shape of
:mod:`kfood.data.kitchen.shapes` with its arguments, a colour, and where the shape is (``_layers``). Pieces that
differ in a few values name a family, whose layers have names in their place.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator

import numpy as np

from kfood.data.kitchen.shapes import SHAPES, Color, Points, evaluate, polar, rgb, shade, turned

BROWN: Color = (116, 66, 28)
CHAR: Color = (34, 24, 20)

Layer = tuple[Points, Color]


@dataclasses.dataclass(frozen=True)
class Look:
    """How one piece of an ingredient looks from above.

    Attributes:
        layers: polygons from bottom to top, points float64 [n, 2] in units of the piece's radius, with their colour.
        radius: usual radius of a piece, in plate radii.
        thickness: height of a piece, in its radii.
    """

    layers: tuple[Layer, ...]
    radius: float
    thickness: float


@dataclasses.dataclass(frozen=True)
class Heat:
    """What cooking does to colours: ``brown`` towards brown, ``char`` black marks, ``pale`` washed out; each 0 to 1."""

    brown: float = 0.0
    char: float = 0.0
    pale: float = 0.0


def _layers(
    shape: str,
    arguments: list[float],
    color: Color | list[Color],
    *,
    scale: float | tuple[float, float] = 1.0,
    at: tuple[tuple[float, float], ...] = ((0, 0),),
    around: tuple[float, ...] = (1, 0, 0),
    dense: bool = False,
    turn: tuple[float, float] = (0.0, 0.0),
    tones: tuple[float, float, int] = (1.0, 0.0, 1),
) -> Iterator[Layer]:
    """The layers that one entry of a look writes.

    Args:
        shape: a name of :data:`~kfood.data.kitchen.shapes.SHAPES`.
        arguments: its arguments.
        color: one for all of them, or one for each.
        scale: of the shape, or of its width and height.
        at: places, a layer for each.
        around: how many of them lie around each place, their distance, and the angle from one to the next in radians if
            they do not go once round.
        dense: they fill the disc up to that distance.
        turn: by how much the first is turned, and each further one in addition, radians.
        tones: factor of the first one's colour, what each further one adds to it, and after how many it starts again.
    """
    points = SHAPES[shape](*arguments) * scale
    count, distance, step = (*around, 2 * math.pi / around[0])[:3]
    steps = np.arange(count)
    ring = polar(distance * np.sqrt((steps + 0.5) / count) if dense else distance, steps * step)
    for k, place in enumerate(np.concatenate([ring + middle for middle in at])):
        tone = color[k] if isinstance(color, list) else color
        factor = tones[0] + tones[1] * (k % tones[2])
        yield turned(points, turn[0] + turn[1] * k) + place, shade(tone, factor)


def _look(radius: float, thickness: float = 0.25, family: str = "", layers=(), **values) -> Look:
    """A look as the table writes it; ``values`` stand for the names in its family's layers."""

    def named(name: str) -> Color | None:
        return rgb(values[name]) if name in values else None

    made: list[Layer] = []
    for entry in _TABLES["families"][family] if family else layers:
        colors, arguments = entry["color"], entry.get("arguments", [])
        arguments = values[arguments] if isinstance(arguments, str) else arguments
        several = isinstance(colors, list) and colors[0].startswith("#")
        color = [rgb(each) for each in colors] if several else evaluate(colors, named)
        if color is not None:
            made += _layers(**{**entry, "color": color, "arguments": arguments})
    return Look(tuple(made), radius, thickness)


_TABLES = json.loads(pathlib.Path(__file__).with_name("looks.json").read_text(encoding="utf-8"))

LOOKS: dict[str, Look] = {name: _look(**written) for name, written in _TABLES["pieces"].items()}
"""Ingredients that appear as pieces."""

TINTS: dict[str, Color] = {name: rgb(color) for name, color in _TABLES["tints"].items()}
"""Colours of ingredients that appear as an area: liquid, dough, frosting, spread."""

NOODLES: dict[str, float] = _TABLES["noodles"]
"""Kinds of pasta, and how wide they are, in plate radii."""

COOKING: dict[str, Heat] = {name: Heat(**heat) for name, heat in _TABLES["cooking"].items()}
"""Ways of cooking, and what they do to colours."""


def tint(name: str) -> Color:
    """The colour of an area of an ingredient: its own, else that of the top of its pieces."""
    return TINTS[name] if name in TINTS else LOOKS[name].layers[-1][1]
