"""The steps that pictures are composed of in ``pictures.json``: areas, and pieces in their arrangements.

A step is a function of the painter and of the arguments that the table gives it. ``color`` is any colour that
``Painter.color`` reads, ``of`` the roles whose visible parts it lays out, ``z`` a height; radii are in those of
what the vessel holds. A step about something that the scene does not have is left out.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from kfood.data.kitchen.looks import BROWN, CHAR, LOOKS, NOODLES, tint
from kfood.data.kitchen.painter import Painter
from kfood.data.kitchen.scene import Part
from kfood.data.kitchen.shapes import SHAPES, Color, blob, box, leaf, mix, polar, shade, turned
from kfood.data.kitchen.surroundings import cast

# Areas.


def patch(p: Painter, color: Color, shape: Sequence, scale=1.0, at=(0, 0), z: float = 0.0, alpha: int = 255) -> None:
    """A flat shape: its name and arguments."""
    p.patch(SHAPES[shape[0]](*shape[1:]) * scale * p.inside + at, color, z, alpha)


def shadow(p: Painter, shape: Sequence, distance: float) -> None:
    """The shadow of a flat shape."""
    cast(p, SHAPES[shape[0]](*shape[1:]), distance)


def uneven(p: Painter, color: Color, radius: float, wobble: float, z: float, phase=(0, 0)) -> None:
    """An uneven disc; ``phase`` times its place makes each one different."""
    p.patch(blob(radius, wobble, float(p.origin @ phase)), color, z)


def dome(p: Painter, color: Color, radius: float = 1.0, z: float = 0.0) -> None:
    """A disc that gets lighter towards the light, as liquid or a soft heap does."""
    width = radius * p.inside * p.scale
    for step in range(7):
        pixel = p.point(0, 0, z) - 0.025 * step * width * p.shadow
        share = width * (1 - 0.13 * step)
        p.ellipse(pixel, share, share * p.squash, shade(color, 0.86 + 0.035 * step))


def blobs(
    p: Painter,
    color: Color,
    radius: float,
    count: int,
    size: float,
    z: float,
    alpha: int = 255,
    phase=(5, 0),
    vary: Sequence[float] = (),
) -> None:
    """Uneven patches over a disc; ``vary`` is the least of their size and how much chance adds to it."""
    for place in p.spread(count, radius * p.inside):
        part = size * (vary[0] + vary[1] * p.rng.random()) if vary else size
        p.patch(blob(part, phase=place[0] * phase[0] + place[1] * phase[1]) + place, color, z, alpha)


def browning(p: Painter, radius: float, z: float, count: int, size: float, alpha: int = 120) -> None:
    """Soft patches where the cooking browns or chars."""
    if p.heat.brown >= 0.3 or p.heat.char:
        blobs(p, CHAR if p.heat.char else BROWN, radius, count, size, z, alpha, (9, 0), (0.6, 0.8))


def blisters(p: Painter, color: Color) -> None:
    """Dark spots along a crust, more of them the hotter the oven."""
    start = p.rng.random()
    for place in polar(0.915, np.arange(14) * 0.4488 + start)[:: 1 if p.heat.brown > 0.2 or p.heat.char else 2]:
        bubble = blob(0.055 + 0.04 * p.heat.char, phase=place[0] * 7)
        p.patch(bubble + place, CHAR if p.heat.char else color, 0.04, 130)


def slices(p: Painter) -> None:
    """Three cuts through the middle."""
    for k in range(3):
        p.patch(turned(box(0.95, 0.012), k * math.pi / 3 + 0.2), (84, 50, 30), 0.05, 110)


def swirl(p: Painter, color: Color) -> None:
    """A thick spiral of cream."""
    turn = np.linspace(0.6, 4.4 * math.pi, 60)
    p.line(p.pixels(polar(0.05 * turn, turn), -0.05), color, max(2, round(0.07 * p.scale)))


def drizzle(p: Painter, color: Color, radius: float, z: float) -> None:
    """A thin zigzag of sauce."""
    phase = p.rng.random() * 2 * math.pi
    t = np.linspace(-1, 1, 32)
    across = np.sqrt(1 - (0.95 * t) ** 2) * np.sin(t * 4 * math.pi)
    pixels = p.pixels(turned(np.stack([t, across], axis=1) * radius * p.inside, phase), z)
    width = max(1, round(0.038 * p.scale))
    p.line(pixels, shade(color, 0.8), width + 2)
    p.line(pixels, color, width)


def grains(p: Painter, color: Color, radius: float) -> None:
    """A bed of rice, couscous or the like, where the base is one."""
    base = p.scene.name("base")
    if base in LOOKS or base in NOODLES:
        return
    dome(p, shade(color, 0.94), radius)
    radius *= p.inside
    count = int(150 * radius * radius)
    places = p.spread(count, radius * 0.96)
    turns = p.rng.random(count) * math.pi
    for place, step, tone in zip(places, polar(0.035, turns), p.rng.random(count).tolist(), strict=True):
        ends = p.pixels(np.stack([place - step, place + step]), 0.02)
        p.draw.line(ends.ravel().tolist(), fill=shade(color, 0.86 + 0.2 * tone), width=max(1, round(p.scale * 0.025)))


def noodles(p: Painter, color: Color) -> None:
    """A heap of pasta, where the base is pasta, coated with a sauce of a colour."""
    if (name := p.scene.name("base")) not in NOODLES:
        return
    coated, radius = mix(tint(name), color, 0.32), p.inside
    dome(p, shade(coated, 0.82))
    short = name in ("penne", "macaroni")
    width = max(2, round(p.scale * NOODLES[name]))
    for place in p.spread(46 if short else 44, radius * (0.88 if short else 0.6)):
        z = 0.16 * (1 - (place[0] ** 2 + place[1] ** 2) / radius**2)
        turn = p.rng.random() * 2 * math.pi
        tone = 0.9 + 0.18 * p.rng.random()
        if name == "penne":
            strand = turned(np.array([(-0.13, 0), (0.13, 0)]), turn)
        elif short:
            strand = polar(0.08, np.linspace(0, 3.4, 7) + turn)
        else:
            strand = polar(0.24 + 0.14 * p.rng.random(), np.linspace(0, 3.0, 9) + turn)
        pixels = p.pixels(strand + place, z)
        p.line(pixels, shade(coated, 0.62 * tone), width + 2)
        p.line(pixels, shade(coated, tone), width)
        if name == "penne":
            p.ellipse(pixels[-1], width * 0.35, width * 0.35, shade(coated, 0.5))


def beside(p: Painter, color: Color) -> None:
    """Grains of rice on one side of what the vessel holds."""
    xs, ys = p.rng.random(60) * 0.5, p.rng.random(60) * 2 - 1
    for u, v, tone in zip(xs.tolist(), ys.tolist(), p.rng.random(60).tolist(), strict=True):
        x = -p.inside * (0.42 + u)
        y = v * math.sqrt(max(0.0, (p.inside * 0.95) ** 2 - x * x))
        p.patch(leaf(0.5) * 0.045 + (x, y), shade(color, 0.86 + 0.2 * tone), 0.08)


def drips(p: Painter, color: Color, width: float, start: Sequence, end: Sequence, longer: float, angles) -> None:
    """Drips over the front edge.

    Args:
        p: what to draw with.
        color: of the drips.
        width: of half a drip.
        start: radius and height of their upper ends.
        end: radius and height of their lower ends at most.
        longer: how much lower they may end.
        angles: where they are, radians, and chance says how long each is; or how many, evenly, in a regular pattern.
    """
    even = isinstance(angles, int)
    radians = np.linspace(0, math.pi, angles + 2)[1:-1] if even else np.array(angles)
    for k, angle in enumerate((radians - p.conditions.angle).tolist()):
        x, y = math.cos(angle), math.sin(angle)
        low = end[1] - longer * ((k * 5) % 4 / 4 if even else p.rng.random())
        p.drop(p.point(start[0] * x, start[0] * y, start[1]), p.point(end[0] * x, end[0] * y, low), width, color)


# Pieces.


def scatter(p: Painter, of: Sequence[str], **options) -> None:
    """Spreads pieces over a disc, the back ones first; the options are those of ``_scatter``."""
    _scatter(p, p.visible(*of), **options)


def garnish(p: Painter, area: float | None = None, **options) -> None:
    """Spreads the garnishes, which are never cooked, over a disc, as much as there is unless it is said."""
    for part in p.visible("garnish"):
        _scatter(p, [part], area=area or 0.1 + 0.06 * part.level, cooking="raw", **options)


def _scatter(
    p: Painter,
    parts: list[Part],
    *,
    radius: float,
    area: float,
    z=0.0,
    scale=1.0,
    mound=0.0,
    x=0.0,
    y=0.0,
    cooking=None,
) -> None:
    """Spreads parts over a disc.

    Args:
        p: what to draw with.
        parts: the first gets the greatest share.
        radius: of the disc.
        area: part of the disc that the pieces cover, roughly.
        z: height.
        scale: size of pieces in their usual size.
        mound: how much higher the middle is than the edge, where the radius is 1.
        x: centre of the disc.
        y: centre of the disc.
        cooking: replaces the scene's.
    """
    radius, x = radius * p.inside, x * p.inside
    names: list[str] = []
    weights = [part.level * (1.5 if k == 0 else 1.0) for k, part in enumerate(parts)]
    for part, weight in zip(parts, weights, strict=True):
        covered = (LOOKS[part.name].radius * scale) ** 2
        share = weight / sum(weights) * min(1.0, 0.3 + 0.18 * sum(weights))
        names += [part.name] * max(2 + part.level, round(area * share * radius**2 / covered))
    places = p.spread(len(names), radius)
    for k in sorted(range(len(names)), key=lambda k: p.depth(places[k])):
        px, py = places[k]
        height = z + mound * (1 - px * px - py * py)
        p.piece(names[k], x + px, y + py, height, scale=scale, cooking=cooking)


def leaves(p: Painter, radius: float, mound: float, count: Sequence[int]) -> None:
    """A bed of leaves, where the base is leaves: how many large ones, or small ones."""
    if (name := p.scene.name("base")) in LOOKS:
        places = p.spread(count[0] if LOOKS[name].radius > 0.25 else count[1], radius * p.inside)
        for x, y in sorted(places, key=lambda place: -math.hypot(*place)):
            p.piece(name, x, y, mound * (1 - (x * x + y * y)), scale=1.1, cooking="raw")


def sprinkle(p: Painter, of: Sequence[str], radius: float, z: float, size: float) -> None:
    """A few pieces of each part, none larger than a size."""
    for part in p.visible(*of):
        for x, y in p.spread(2 + part.level, radius):
            p.piece(part.name, x, y, z, scale=min(1.0, size / LOOKS[part.name].radius) * 1.05, cooking="raw")


def lay(p: Painter, of: Sequence[str], groups: Iterable, z: float, scale: float = 1.0, cooking=None) -> None:
    """Pieces at given places: a group of them for each part."""
    for part, places in zip(p.visible(*of), groups, strict=False):
        for x, y in places:
            p.piece(part.name, x, y, z, scale=scale, cooking=cooking)


def wreath(p: Painter, of: Sequence[str], count: int, radius: float, z: float, scale: float) -> None:
    """Pieces in a ring, the parts taking turns."""
    parts = p.visible(*of)
    for k, (x, y) in enumerate(polar(radius, 2 * math.pi * np.arange(count) / count + 0.4).tolist()):
        p.piece(parts[k % len(parts)].name, x, y, z, scale=scale, cooking="raw")
