"""Steps that belong to one kind of dish: how its pieces are put together."""

import math

import numpy as np

from kfood.data.kitchen.looks import BROWN, CHAR, LOOKS, TINTS, tint
from kfood.data.kitchen.painter import SHADOW, Painter
from kfood.data.kitchen.shapes import Color, blob, box, half_disc, leaf, mix, moved, polar, ripple, shade


def burger(p: Painter, radius: float) -> None:
    """Bun, the first piece, patty and sauce, the other pieces, bun."""
    bun, z = tint(p.scene.name("base")), 0.25
    p.cylinder(radius, 0.05, z, bun, mix(bun, (250, 232, 190), 0.6))
    for k, part in enumerate(p.visible("piece")):
        z += _burger_layer(p, part.name, radius, z)
        if k == 0:
            meat = mix(mix(tint(p.scene.name("main")), BROWN, 0.6 * p.heat.brown), CHAR, 0.35 * p.heat.char)
            p.cylinder(radius * 1.06, z, z + 0.2, meat, shade(meat, 1.1))
            z += 0.2
            if sauce := p.scene.name("sauce"):
                _sheet(p, ripple(radius * 1.02, 0.07, 7), tint(sauce), z, 0.04)
                z += 0.04
    for step in range(9):
        share = step / 8
        p.disc(radius * 1.05 * math.sqrt(1 - (share * 0.93) ** 2), shade(bun, 0.8 + 0.28 * share), z + 0.4 * share)
    if p.scene.name("base") == "sesame bun":
        for x, y in p.spread(16, radius * 0.62):
            height = z + 0.4 * math.sqrt(max(0.0, 1 - (x * x + y * y) / radius**2))
            p.patch(leaf(0.6) * 0.045 + (x, y), (252, 240, 206), height)


def _sheet(p: Painter, points: np.ndarray, color: Color, z: float, height: float) -> None:
    for step, tone in ((0.0, 0.7), (0.5, 0.85), (1.0, 1.0)):
        p.patch(points, shade(color, tone), z + height * step)


def _burger_layer(p: Painter, name: str, radius: float, z: float) -> float:
    """One layer between the buns; returns its height."""
    layers = LOOKS[name].layers
    if name in ("lettuce", "arugula"):
        _sheet(p, ripple(radius * 1.14, 0.06, 13), layers[1][1], z, 0.09)
        return 0.08
    if name == "cheddar":
        square = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)]) * radius * 1.28
        p.patch(square, shade(tint(name), 0.8), z)
        p.patch(square, tint(name), z + 0.05)
        return 0.06
    if name in ("bacon", "avocado", "pineapple", "red onion", "egg", "pickle"):
        front = polar(0.93 * radius, math.pi * (np.arange(7) + 0.5) / 7 - p.conditions.angle).tolist()
        for x, y in sorted(p.spread(9, radius * 0.95), key=p.depth) + front:
            p.piece(name, x, y, z + 0.03, cooking="raw")
    else:
        p.cylinder(radius * 1.05, z, z + 0.1, shade(layers[0][1], 1.05), layers[1][1])
    return 0.1


def omelette(p: Painter, color: Color) -> None:
    """A folded omelette: pieces that look out below its lid, the lid and its brown spots."""
    below = [half_disc(0.7956, 0.6324) - (0, 0.204), half_disc(0.78, -0.31)[::-1] - (0, 0.2)]
    p.patch(np.concatenate(below), shade(color, 0.8), 0.02)
    parts = p.visible("piece")
    names = [part.name for part in parts for _ in range(3 + part.level * 2)]
    for k, index in enumerate(p.rng.permutation(len(names)).tolist()):
        x = -0.7 + 1.4 * (k + 0.5) / len(names)
        p.piece(names[index], x, -0.3 - 0.22 * math.sqrt(1 - x * x) * p.rng.random(), 0.05)
    lid = moved(half_disc(0.78, 0.72), 0, -0.22)
    p.patch(lid, shade(color, 0.8), 0.06)
    p.patch(lid * 0.97, color, 0.1)
    p.patch(lid * 0.7 + (0, 0.06), shade(color, 1.06), 0.11)
    count = 5 if p.heat.brown < 0.2 else 12
    for k in range(count):
        x = -0.6 + 1.2 * (k + 0.5) / count
        y = 0.02 + 0.4 * p.rng.random() * math.sqrt(1 - x * x)
        p.patch(moved(blob(0.08, phase=k), x, y), BROWN, 0.11, 70 + int(200 * p.heat.brown))


def omelette_sauce(p: Painter, color: Color) -> None:
    """A wavy line over an omelette."""
    x = np.linspace(-0.55, 0.55, 24)
    p.line(p.pixels(np.stack([x, 0.16 + 0.1 * np.sin(x * 22)], 1), 0.12), color, max(2, round(0.06 * p.scale)))


def omelette_garnish(p: Painter) -> None:
    """Garnish along an omelette's lid."""
    for part in p.visible("garnish"):
        for _ in range(3 + 2 * part.level):
            x = 0.9 * (p.rng.random() - 0.5)
            p.piece(part.name, x, 0.3 * p.rng.random(), 0.12, cooking="raw")


def pie_cover(p: Painter, color: Color) -> None:
    """A lattice, a crumble, or nothing."""
    cover = p.scene.name("cover")
    if cover == "lattice":
        for k, offset in enumerate((-0.54, -0.18, 0.18, 0.54) * 2):
            length = math.sqrt(0.82**2 - offset**2)
            bar = moved(box(0.06, length), offset, 0) if k < 4 else moved(box(length, 0.06), 0, offset)
            p.patch(bar, shade(color, 0.7), 0.05)
            p.patch(bar, shade(color, 1.05), 0.08)
    elif cover == "crumble":
        for place in p.spread(46, 0.78):
            if p.rng.random() < 0.6:
                p.patch(blob(0.07, phase=7 * place[0]) + place, shade(color, 0.8), 0.05)
                p.patch(blob(0.055, phase=7 * place[0]) + place, shade(color, 1.1), 0.08)


def sushi(p: Painter) -> None:
    """Two rows of three rolls that stand upright."""
    for y in (-0.275, 0.275) if p.ground[1, 1] >= 0 else (0.275, -0.275):
        for column in sorted(range(3), key=lambda column: float(p.ground[1, 0]) * column):
            p.move((column - 1) * 0.51 + 0.02 * p.rng.normal(), y)
            _roll(p, column)
    p.move(0.0, 0.0)


def _roll(p: Painter, column: int) -> None:
    wrap, rice, fillings = p.scene.name("sauce"), tint(p.scene.name("base")), p.visible("piece")
    side = TINTS[wrap] if wrap in TINTS else LOOKS[wrap].layers[0][1]
    p.disc(0.27, SHADOW, 0.03, 0.03, 0.02, 80)
    p.cylinder(0.25, 0.03, 0.25, side, side)
    p.disc(0.225, rice, 0.25)
    p.disc(0.205, shade(rice, 0.94), 0.25)
    for place in polar(0.19, np.arange(9) * 0.7 + column):
        p.patch(leaf(0.5) * 0.035 + place, shade(rice, 1.05), 0.25)
    radius, distance = (0.13, 0.0) if len(fillings) == 1 else (0.085, 0.085)
    places = polar(distance, 2 * math.pi * np.arange(len(fillings)) / max(len(fillings), 1) + 0.6)
    for k, (part, place) in enumerate(zip(fillings, places, strict=True)):
        layers = LOOKS[part.name].layers
        p.patch(blob(radius, 0.1, k) + place, layers[0][1], 0.26)
        p.patch(blob(radius * 0.76, 0.1, k) + place, layers[min(1, len(layers) - 1)][1], 0.26)


def pancakes(p: Painter, side: Color, top: Color) -> None:
    """A stack of four."""
    for k in range(4):
        x, y = 0.03 * p.rng.normal(), 0.03 * p.rng.normal()
        p.cylinder(0.62 - 0.01 * k, 0.04 + 0.12 * k, 0.14 + 0.12 * k, side, top, x, y)


def pancake_sauce(p: Painter, color: Color) -> None:
    """A puddle of syrup."""
    p.patch(blob(0.46, 0.12, p.rng.random() * 6), shade(color, 0.9), 0.52)
    p.patch(blob(0.4, 0.12, 1), color, 0.53)


def tacos(p: Painter, color: Color) -> None:
    """Three shells that stand on their folds and face the camera; the plate's angle only tilts them a little."""
    parts = p.visible("main", "piece")
    names = [part.name for k, part in enumerate(parts) for _ in range(3 + part.level * (1 if k else 2))]
    arch = half_disc(0.66, -0.46)
    tilt = 0.25 * math.sin(p.conditions.angle)
    plane = p.scale * np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    for row in (-1, 0, 1):
        foot = p.center + plane @ (0.08 * row, 0.46 * row + 0.24)

        def flat(points: np.ndarray, color: Color, alpha: int = 255, foot=foot) -> None:
            p.fill(points @ plane.T + foot, color, alpha)

        flat(arch * (1.0, -0.14), SHADOW, 90, foot + np.array((0, 0.02 * p.scale)))
        flat(arch * 1.02 + (0.0, -0.07), shade(color, 0.78))
        for k, index in enumerate(p.rng.permutation(len(names)).tolist()):
            t = math.pi * (k + 0.5) / len(names)
            place = np.array([0.6 * math.cos(t), -0.43 * math.sin(t) - 0.02 - 0.1 * p.rng.random()])
            cooking = None if names[index] == parts[0].name else "raw"
            p.stamp(names[index], plane @ place + foot, plane * (1.0, 0.8), scale=0.75, cooking=cooking)
        flat(arch * 0.97, shade(color, 0.88))
        flat(arch * 0.93, color)
        flat(arch * (0.72, 0.6) + (0.0, -0.06), shade(color, 1.05))
        for _ in range(5):
            x = 0.45 * (p.rng.random() * 2 - 1)
            spot = moved(blob(0.035, phase=9 * x), x, -0.08 - 0.2 * p.rng.random())
            flat(spot, BROWN, 60 + int(150 * p.heat.brown))


def sectors(p: Painter) -> None:
    """Each fruit in its own sector, as in a breakfast bowl."""
    parts, inside = p.visible("piece"), p.inside
    start = p.rng.random() * 2 * math.pi
    total = sum(part.level + 1 for part in parts)
    places: list[tuple[float, float, str]] = []
    for part in parts:
        sector = 2 * math.pi * (part.level + 1) / total
        width = sector * 0.86
        count = max(3, int(0.62 * width / 2 * inside**2 / (LOOKS[part.name].radius * 1.05) ** 2 * 0.62))
        for k in range(count):
            distance = inside * 0.9 * math.sqrt((0.2 + k + 0.5 * p.rng.random()) / count)
            angle = start + width * ((k * 0.618 + 0.1 * p.rng.random()) % 1.0)
            places.append((distance * math.cos(angle), distance * math.sin(angle), part.name))
        start += sector
    for x, y, name in sorted(places, key=lambda place: p.depth(place[:2])):
        p.piece(name, x, y, 0.0, cooking="raw", scale=1.05)


def ice_cream(p: Painter) -> None:
    """One to three balls beside each other as the camera sees them, whatever the plate's angle."""
    flavors = p.scene.of("base")
    size, shifts = {
        1: (0.52, [(0.0, 0.24)]),
        2: (0.42, [(-0.32, 0.24), (0.32, 0.24)]),
        3: (0.38, [(-0.38, 0.24), (0.38, 0.24), (0.0, 0.5)]),
    }[len(flavors)]
    tops = [p.center + np.array((shift * p.scale, -high * p.lift)) for shift, high in shifts]
    for part, top in zip(flavors, tops, strict=True):
        for step in range(7):
            radius = size * p.scale * (1 - 0.14 * step)
            middle = top - 0.05 * step * size * p.scale * p.shadow
            p.ellipse(middle, radius, radius, shade(tint(part.name), 0.76 + 0.06 * step))
    ring = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    puddle = polar(size * (0.72 + 0.14 * np.sin(6 * ring + p.conditions.angle)), ring) * (1, 0.6) - (0, 0.3 * size)
    for top in tops:
        if sauce := p.scene.name("sauce"):
            p.fill(puddle * p.scale + top, tint(sauce))
        for part in p.visible("piece", "garnish"):
            for dx, dy in p.spread(2 + part.level, size * 0.6):
                place = top + p.scale * np.array([dx, 0.5 * dy - 0.42 * size])
                scale = min(1.0, 0.15 / LOOKS[part.name].radius)
                p.stamp(part.name, place, p.scale * np.array([[1.0, 0.0], [0.0, 0.7]]), scale=scale, cooking="raw")


def skewer(p: Painter) -> None:
    """Seven pieces in a row, the parts taking turns, the main one twice where there is much of it."""
    parts = p.visible("main", "piece")
    turns = [part.name for k, part in enumerate(parts) for _ in range(2 if k == 0 and part.level == 3 else 1)]
    places = [(-0.66 + 1.32 * k / 6, turns[k % len(turns)]) for k in range(7)]
    for x, name in sorted(places, key=lambda place: float(p.ground[1, 0]) * place[0]):
        p.piece(name, x, 0.015 * p.rng.normal(), 0.1, scale=0.185 / LOOKS[name].radius)


def skewer_sauce(p: Painter, color: Color) -> None:
    """Sauce brushed on the pieces of a skewer."""
    for k in range(6):
        p.patch(moved(blob(0.06, phase=k), -0.6 + 0.24 * k, 0.03), color, 0.16, 190)
