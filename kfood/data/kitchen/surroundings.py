"""What the food stands in: the table with what lies on it, plates and bowls."""

import math

import numpy as np

from kfood.data.kitchen.painter import SHADOW, Painter
from kfood.data.kitchen.shapes import Color, Points, box, circle, mix, polar, shade


def table(p: Painter) -> None:
    """The table's texture, and clutter at the border."""
    angle = p.conditions.texture_angle
    across, along = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    _texture(p, across, along)
    clutter = p.conditions.clutter
    if clutter in (1, 2):
        _cutlery(p, fork=clutter == 1)
    elif clutter == 3:
        _cloth(p, across, along)
    elif clutter == 4:
        _cup(p, across if across[0] * across[1] > 0 else -across)


def _texture(p: Painter, across: Points, along: Points) -> None:
    """Planks, checks or stripes."""
    middle, side = np.array([p.side / 2, p.side / 2]), p.side
    wood, cloth = p.conditions.table, p.conditions.clutter_color

    def stripe(offset: float, width: float, color: Color, alpha: int, direction=along, normal=across) -> None:
        start = middle + normal * offset * side
        corners = [start - direction * side, start + direction * side]
        corners += [corners[1] + normal * width * side, corners[0] + normal * width * side]
        p.fill(np.array(corners), color, alpha)

    if p.conditions.texture == 1:
        for k in range(9):
            stripe(-0.9 + 0.2 * k, 0.2, shade(wood, 0.9 + 0.045 * ((k * 5) % 4)), 255)
            stripe(-0.9 + 0.2 * k, 0.008, shade(wood, 0.6), 255)
            stripe(-0.84 + 0.2 * k, 0.006, shade(wood, 0.8), 140)
    elif p.conditions.texture == 2:
        for k in range(10):
            stripe(-0.9 + 0.18 * k, 0.09, cloth, 60)
            stripe(-0.9 + 0.18 * k, 0.09, cloth, 60, across, along)
    elif p.conditions.texture == 3:
        for k in range(5):
            stripe(-0.7 + 0.31 * k, 0.02, shade(wood, 1.15), 120)


def _cloth(p: Painter, across: Points, along: Points) -> None:
    corner, half = np.array([p.side / 2, p.side / 2]) + across * p.side * 0.52, p.side * 0.27
    cloth = np.array([corner + half * (a * across * 0.7 + b * along) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    color = p.conditions.clutter_color
    p.fill(cloth + 0.012 * p.side, SHADOW, 70)
    p.fill(cloth, color)
    p.fill((cloth - corner) * 0.82 + corner, mix(color, (255, 255, 255), 0.25))


def _cup(p: Painter, direction: Points) -> None:
    color = p.conditions.clutter_color
    place = np.array([p.side / 2, p.side / 2]) + direction * p.side * 0.55
    for radius, tone in ((0.17, (232, 238, 240)), (0.15, color), (0.1, shade(color, 1.25))):
        p.ellipse(place, radius * p.side, radius * p.side, tone)


def _cutlery(p: Painter, fork: bool) -> None:
    """A fork or a knife beside the plate."""
    side = p.side
    x = side * (0.045 if fork else 0.955)
    steel, dark = (206, 208, 212), (150, 152, 158)
    p.draw.rectangle((x - 0.012 * side, 0.4 * side, x + 0.016 * side, 0.9 * side), fill=dark)
    p.draw.rectangle((x - 0.012 * side, 0.4 * side, x + 0.012 * side, 0.9 * side), fill=steel)
    if fork:
        p.draw.rectangle((x - 0.035 * side, 0.32 * side, x + 0.035 * side, 0.42 * side), fill=steel)
        for k in (-3, -1, 1, 3):
            tine = x + k * 0.0095 * side
            p.draw.rectangle((tine - 0.005 * side, 0.2 * side, tine + 0.005 * side, 0.34 * side), fill=steel)
    else:
        p.draw.ellipse((x - 0.02 * side, 0.14 * side, x + 0.026 * side, 0.5 * side), fill=steel)


def cast(p: Painter, points: Points, distance: float) -> None:
    """The shadow that a flat shape casts, at a distance in plate radii."""
    p.fill(p.pixels(points) + p.shadow * distance * p.scale, SHADOW, 80)


def lower(p: Painter, distance: float) -> None:
    """Moves the plate down, to make room for a dish as high as wide."""
    p.center += (0, distance * p.lift)
    p.move(0.0, 0.0)


def plate(p: Painter) -> None:
    """A plate, round or with rounded corners."""
    ring, color = circle(points=48), p.conditions.plate
    if p.conditions.square:
        ring = polar(1.0, np.linspace(0, 2 * math.pi, 40, endpoint=False))
        ring = np.sign(ring) * np.abs(ring) ** 0.4 * 0.88
    cast(p, ring, 0.07)
    p.patch(ring, shade(color, 0.8), -0.02)
    p.patch(ring, color, 0.02)
    if p.conditions.rim_width:
        p.patch(ring * 0.97, p.conditions.rim, 0.02)
        p.patch(ring * (0.97 - p.conditions.rim_width), color, 0.02)
    p.patch(ring * 0.78, shade(color, 0.88), 0.02)
    p.patch(ring * 0.76, shade(color, 0.97), 0.015)


def bowl(p: Painter) -> None:
    """A bowl; what is drawn afterwards lies inside it."""
    color, radius = p.conditions.plate, 0.98
    below = p.center + p.shadow * 0.09 * p.scale + (0, 0.1 * p.lift)
    p.ellipse(below, radius * p.scale, radius * p.scale * p.squash, SHADOW, 80)
    for step in range(6):
        p.disc(radius * (0.72 + 0.056 * step), shade(color, 0.66 + 0.06 * step), -0.3 + 0.06 * step)
    p.disc(radius, color, 0.02)
    if p.conditions.rim_width:
        p.disc(radius * 0.985, p.conditions.rim, 0.02)
    p.disc(radius * 0.93, shade(color, 0.72), 0.0)
    p.disc(radius * 0.92, shade(color, 0.86), -0.03)
    p.inside = radius * 0.86


def vessel(p: Painter) -> None:
    """A bowl or a plate; what is drawn afterwards lies inside it."""
    if p.conditions.deep:
        bowl(p)
    else:
        plate(p)
        p.inside = 0.77


def glass(p: Painter) -> None:
    """A glass for ice cream."""
    color = mix(p.conditions.plate, (225, 235, 240), 0.6)
    p.disc(0.62, SHADOW, -0.3, 0.05, 0.05, 80)
    for step in range(10):
        p.disc(0.42 + 0.034 * step, shade(color, 0.7 + 0.03 * step), -0.36 + 0.05 * step)
    p.disc(0.76, color, 0.12)
    p.disc(0.7, shade(color, 0.8), 0.12)


def board(p: Painter) -> None:
    """A wooden board, or a plate."""
    if not p.conditions.square:
        plate(p)
        return
    wood = box(0.98, 0.7)
    cast(p, wood, 0.07)
    p.patch(wood, (120, 80, 50), 0.0)
    p.patch(wood, (168, 118, 76), 0.04)
