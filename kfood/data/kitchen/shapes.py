"""Shapes and colours, the words in which the kitchen's tables are written.

A shape is float64 [n, 2], the corners of a polygon around the origin, of radius about 1; multiplying scales it.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

Color = tuple[int, int, int]
Points = np.ndarray


def polar(distance: float | np.ndarray, angle: np.ndarray) -> Points:
    """Points at distances and angles, radians."""
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def moved(points: Points, x: float, y: float) -> Points:
    """Points moved along x and y."""
    return points + np.array((x, y))


def turned(points: Points, angle: float) -> Points:
    """Points turned around the origin, radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


@functools.cache
def circle(radius: float = 1.0, points: int = 16) -> Points:
    """A disc."""
    return polar(radius, np.arange(points) * (2 * math.pi / points))


def blob(radius: float = 1.0, wobble: float = 0.14, phase: float = 0.0) -> Points:
    """An uneven disc."""
    angle = np.arange(18) * (2 * math.pi / 18)
    uneven = 1 + wobble * np.sin(3 * angle + phase) + 0.6 * wobble * np.sin(5 * angle + 2 * phase + 1)
    return polar(radius * uneven, angle)


@functools.cache
def box(width: float, height: float) -> Points:
    """A rectangle, given by half its sides."""
    return np.array([(-width, -height), (width, -height), (width, height), (-width, height)])


def arc(outer: float, inner: float, start: float = 0.0, end: float = 2 * math.pi) -> Points:
    """A ring, or the part of it between two angles, radians."""
    ring = polar(1.0, np.linspace(start, end, 14))
    return np.concatenate([outer * ring, inner * ring[::-1]])


@functools.cache
def leaf(width: float = 0.5, jag: float = 0.0) -> Points:
    """A pointed oval along x, its edge plain or jagged."""
    along = np.linspace(-1, 1, 11)
    half = width * np.sqrt(np.maximum(1 - along**2, 0)) * (1 + jag * (np.arange(11) % 2 * 2 - 1))
    return np.concatenate([np.stack([along, half], axis=1), np.stack([along, -half], axis=1)[::-1]])


def wave(low: float, high: float) -> Points:
    """A wavy band along x between two heights."""
    x = np.linspace(-1.1, 1.1, 12)
    y = 0.12 * np.sin(5 * x)
    return np.concatenate([np.stack([x, y + low], axis=1), np.stack([x, y + high], axis=1)[::-1]])


def cap() -> Points:
    """A mushroom's cap, seen from the side."""
    return np.concatenate([polar(1.0, np.linspace(math.pi, 2 * math.pi, 14)), [(0.9, 0.2), (-0.9, 0.2)]])


def ripple(radius: float, depth: float, waves: int, points: int = 60) -> Points:
    """A disc with a rippled edge."""
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return polar(radius * (1 + depth * np.sin(waves * angle)), angle)


def segment(half: float) -> Points:
    """The part of a disc that a straight cut takes off on the left, half as wide as an angle, radians."""
    return polar(1.0, np.linspace(-half, half, 20) + math.pi)


@functools.cache
def half_disc(width: float, height: float) -> Points:
    """The lower half of an ellipse in the picture, its cut along x."""
    return polar(1.0, np.linspace(0, math.pi, 24)) * (width, height)


def wedge() -> Points:
    """An eighth of a slice of citrus, without its peel."""
    rim = polar(0.74, np.array([0.09, 0.25, 0.45, 0.65, 0.7]) * (2 * math.pi / 8))
    return np.concatenate([[rim.mean(axis=0) * 0.15], rim])


def polygon(*corners: tuple[float, float]) -> Points:
    """Any shape, corner by corner."""
    return np.array(corners)


SHAPES: dict[str, Callable[..., Points]] = {
    shape.__name__: shape
    for shape in (circle, blob, box, arc, leaf, wave, cap, ripple, segment, half_disc, wedge, polygon)
}
"""Name → shape, for tables."""


def rgb(text: str) -> Color:
    """A colour written as in ``"#ffa500"``."""
    return (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


def shade(color: Color, factor: float) -> Color:
    """A colour times a factor."""
    red, green, blue = color
    return (min(255, int(red * factor)), min(255, int(green * factor)), min(255, int(blue * factor)))


def mix(color: Color, other: Color, share: float) -> Color:
    """A colour on its way to another one, share 0 to 1."""
    return (
        int(color[0] + (other[0] - color[0]) * share),
        int(color[1] + (other[1] - color[1]) * share),
        int(color[2] + (other[2] - color[2]) * share),
    )


def evaluate(
    written: str | list, named: Callable[[str], Color | None], **changes: Callable[..., Color]
) -> Color | None:
    """A colour as the tables write it; None where one that it is made of is missing.

    Args:
        written: ``"#ffa500"``, a name, or what is done to another colour: ``["shade", color, factor]``,
            ``["mix", color, another, share]``.
        named: what names stand for.
        **changes: what else can be done to colours.
    """
    if isinstance(written, str):
        return rgb(written) if written.startswith("#") else named(written)
    change, *colors, value = written
    made = [evaluate(color, named, **changes) for color in colors]
    known: dict[str, Callable[..., Color]] = {"shade": shade, "mix": mix, **changes}
    return None if None in made else known[change](*made, value)
