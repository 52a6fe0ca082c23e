"""How ingredients look in the synthetic kitchen: pieces as stacks of coloured polygons, areas as one colour."""

import dataclasses
import math

import numpy as np

Color = tuple[int, int, int]
Points = np.ndarray
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
    thickness: float = 0.25


# Shapes: float64 [n, 2], radius about 1.


def circle(radius: float = 1.0, x: float = 0.0, y: float = 0.0, points: int = 16) -> Points:
    """A disc."""
    angle = np.arange(points) * (2 * math.pi / points)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def blob(radius: float = 1.0, x: float = 0.0, y: float = 0.0, wobble: float = 0.14, phase: float = 0.0) -> Points:
    """An uneven disc."""
    angle = np.arange(18) * (2 * math.pi / 18)
    distance = radius * (1 + wobble * np.sin(3 * angle + phase) + 0.6 * wobble * np.sin(5 * angle + 2 * phase + 1))
    return np.stack([x + distance * np.cos(angle), y + distance * np.sin(angle)], axis=1)


def box(width: float, height: float, x: float = 0.0, y: float = 0.0) -> Points:
    """A rectangle, given by half its sides."""
    return np.array(
        [(x - width, y - height), (x + width, y - height), (x + width, y + height), (x - width, y + height)]
    )


def arc(outer: float, inner: float, start: float, end: float, x: float = 0.0, y: float = 0.0) -> Points:
    """A part of a ring between two angles, radians."""
    angle = np.linspace(start, end, 14)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.array([x, y]) + np.concatenate([outer * ring, inner * ring[::-1]])


def leaf(width: float = 0.5, jag: float = 0.0) -> Points:
    """A pointed oval along x, its edge plain or jagged."""
    along = np.linspace(-1, 1, 11)
    half = width * np.sqrt(np.maximum(1 - along**2, 0)) * (1 + jag * (np.arange(11) % 2 * 2 - 1))
    return np.concatenate([np.stack([along, half], axis=1), np.stack([along, -half], axis=1)[::-1]])


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


# Families of looks.


def _round(color: Color, radius: float, *inner: tuple[float, Color], **options) -> Look:
    """A slice: concentric discs."""
    return Look(((circle(), color), *((circle(share), tone) for share, tone in inner)), radius, **options)


def _seeded(
    color: Color, flesh: Color, seed: Color, radius: float, *, count: int, at: float, size: float, **options
) -> Look:
    """A slice with a ring of seeds."""
    angles = [2 * math.pi * k / count for k in range(count)]
    seeds = ((circle(size, at * math.cos(a), at * math.sin(a), points=8), seed) for a in angles)
    return Look(((circle(), color), (circle(0.84), flesh), *seeds), radius, **options)


def _citrus(peel: Color, flesh: Color, radius: float) -> Look:
    pith = mix(flesh, (255, 255, 245), 0.75)
    wedges = []
    for k in range(8):
        angle = np.array([0.09, 0.25, 0.45, 0.65, 0.7]) * (2 * math.pi / 8) + k * 2 * math.pi / 8
        rim = 0.74 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        wedges.append((np.concatenate([[rim.mean(axis=0) * 0.15], rim]), flesh))
    return Look(((circle(), peel), (circle(0.87), pith), *wedges), radius)


def _ball(color: Color, radius: float, **options) -> Look:
    light = mix(color, (255, 255, 255), 0.25)
    spark = mix(color, (255, 255, 255), 0.7)
    return Look(
        (
            (circle(), shade(color, 0.8)),
            (circle(0.84, -0.08, -0.1), color),
            (circle(0.5, -0.2, -0.25), light),
            (circle(0.18, -0.32, -0.38, points=8), spark),
        ),
        radius,
        **options,
    )


def _cube(color: Color, radius: float, spots: Color | None = None, thickness: float = 0.55, **options) -> Look:
    layers: list[Layer] = [(box(0.85, 0.8), shade(color, 0.92)), (box(0.75, 0.7, -0.04, -0.05), color)]
    if spots is not None:
        layers += [(blob(0.22, x, y), spots) for x, y in ((-0.35, -0.3), (0.3, 0.1), (-0.1, 0.45))]
    return Look(tuple(layers), radius, thickness, **options)


def _chunk(color: Color, radius: float, grain: Color | None = None, **options) -> Look:
    """An uneven piece of meat, cheese or potato."""
    layers: list[Layer] = [(blob(1.0, phase=0.6), shade(color, 0.88)), (blob(0.82, -0.05, -0.08, phase=0.9), color)]
    if grain is not None:
        layers += [(box(0.5, 0.06, 0, y), grain) for y in (-0.32, 0.02, 0.34)]
    return Look(tuple(layers), radius, 0.4, **options)


def _strip(color: Color, radius: float, edge: Color | None = None, width: float = 0.24, **options) -> Look:
    bend = arc(1.6, 1.6 - 2 * width, -2.2, -0.95, 0, 1.35)
    layers: list[Layer] = [(bend, edge or shade(color, 0.8))]
    layers.append((arc(1.6 - 0.35 * width, 1.6 - 1.5 * width, -2.15, -1.0, 0, 1.35), color))
    return Look(tuple(layers), radius, **options)


def _greens(color: Color, radius: float, width: float = 0.5, jag: float = 0.0, **options) -> Look:
    vein = mix(color, (235, 250, 190), 0.45)
    return Look(
        ((leaf(width, jag), shade(color, 0.85)), (leaf(width * 0.8, jag) * 0.92, color), (leaf(0.05), vein)),
        radius,
        thickness=0.12,
        **options,
    )


def _floret(color: Color, stem: Color, radius: float) -> Look:
    crown = [(-0.5, -0.15, 0.42), (0.5, -0.15, 0.42), (0.0, -0.5, 0.5), (-0.25, 0.05, 0.4), (0.28, 0.05, 0.4)]
    layers: list[Layer] = [(np.array([(-0.22, 0.0), (0.22, 0.0), (0.3, 0.95), (-0.3, 0.95)]), stem)]
    layers += [(circle(r, x, y), shade(color, 0.78)) for x, y, r in crown]
    layers += [(circle(r * 0.72, x - 0.05, y - 0.08), color) for x, y, r in crown]
    layers += [(circle(r * 0.25, x - 0.1, y - 0.15, points=6), mix(color, (255, 255, 220), 0.35)) for x, y, r in crown]
    return Look(tuple(layers), radius, 0.3)


def _flecks(color: Color, radius: float, count: int = 4, size: float = 0.3, **options) -> Look:
    """Chopped herbs, seeds, shreds: a few specks that are placed together."""
    layers = []
    for k in range(count):
        angle = 2.4 * k
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        spot = 0.75 * math.sqrt((k + 0.5) / count) * np.array([math.cos(1.9 * k), math.sin(1.9 * k)])
        layers.append((leaf(0.5) * size @ turn.T + spot, shade(color, 0.85 + 0.1 * (k % 4))))
    return Look(tuple(layers), radius, thickness=0.0, **options)


def _shreds(color: Color, radius: float, count: int = 5, **options) -> Look:
    layers = []
    for k in range(count):
        angle = 1.1 * k + 0.3
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        spot = np.array([0.35 * math.cos(2.3 * k), 0.35 * math.sin(2.3 * k)])
        layers.append((box(0.75, 0.13) @ turn.T + spot, shade(color, 0.82 + 0.09 * (k % 3))))
    return Look(tuple(layers), radius, thickness=0.1, **options)


def _shrimp() -> Look:
    body = arc(1.0, 0.36, -0.4, 3.7)
    bands = [(arc(0.98, 0.42, a, a + 0.16), (252, 214, 190)) for a in (0.3, 1.0, 1.7, 2.4, 3.1)]
    tail = np.array([(0.55, -0.3), (1.15, -0.75), (0.95, -0.1)])
    return Look(((body, (240, 128, 92)), *bands, (tail, (214, 74, 50))), 0.19, 0.3)


def _mushroom() -> Look:
    cap = np.concatenate([arc(1.0, 0.0, math.pi, 2 * math.pi)[:14], [(0.9, 0.2), (-0.9, 0.2)]])
    stem = np.array([(-0.28, 0.1), (0.28, 0.1), (0.34, 0.95), (-0.34, 0.95)])
    return Look(
        ((cap, (150, 112, 78)), (stem, (232, 214, 186)), (cap * 0.8, (226, 204, 172)), (box(0.6, 0.1), (128, 92, 62))),
        0.17,
    )


def _strawberry() -> Look:
    heart = np.array([(0, 1), (0.55, 0.45), (0.85, -0.2), (0.6, -0.7), (0, -0.8), (-0.6, -0.7), (-0.85, -0.2)])
    heart = np.concatenate([heart, [(-0.55, 0.45)]])
    seeds = [(circle(0.08, x, y, points=6), (250, 214, 120)) for x, y in ((-0.35, -0.3), (0.3, -0.25), (0, 0.15))]
    seeds += [(circle(0.08, x, y, points=6), (250, 214, 120)) for x, y in ((-0.2, 0.45), (0.25, 0.4), (0.02, -0.5))]
    crown = np.array(
        [(-0.55, -0.9), (-0.2, -0.65), (0, -1.05), (0.2, -0.65), (0.55, -0.9), (0.25, -0.5), (-0.25, -0.5)]
    )
    return Look(((heart, (196, 22, 36)), (heart * 0.82, (226, 40, 50)), *seeds, (crown, (70, 140, 50))), 0.18)


def _bacon() -> Look:
    x = np.linspace(-1.1, 1.1, 12)
    wave = 0.12 * np.sin(5 * x)

    def band(low: float, high: float) -> Points:
        return np.concatenate([np.stack([x, wave + low], axis=1), np.stack([x, wave + high], axis=1)[::-1]])

    return Look(
        (
            (band(-0.36, 0.36), (150, 44, 34)),
            (band(-0.24, -0.08), (240, 196, 164)),
            (band(0.1, 0.2), (240, 190, 160)),
            (band(0.28, 0.36), (226, 170, 140)),
        ),
        0.24,
    )


def _salmon() -> Look:
    slab = blob(1.0, wobble=0.06) * (1.0, 0.68)
    lines = [(arc(0.9, 0.8, -0.9, 0.9, x, 0) * (0.7, 0.6), (255, 205, 170)) for x in (-1.2, -0.75, -0.3)]
    return Look(((slab, (232, 108, 70)), (slab * 0.85, (246, 132, 90)), *lines), 0.24, 0.3)


def _avocado() -> Look:
    return Look(
        (
            (arc(1.0, 0.3, 0.1, 3.05, 0, -0.45), (62, 92, 40)),
            (arc(0.92, 0.32, 0.14, 3.0, 0, -0.45), (164, 192, 84)),
            (arc(0.62, 0.34, 0.2, 2.94, 0, -0.45), (228, 226, 140)),
        ),
        0.25,
    )


def _apple() -> Look:
    moon = arc(1.0, 0.25, 0.1, 3.05, 0, -0.45)
    flesh = arc(0.86, 0.25, 0.12, 3.03, 0, -0.45)
    return Look(((moon, (190, 40, 40)), (flesh, (250, 238, 196))), 0.24)


def _egg() -> Look:
    return Look(
        (
            (blob(1.0, wobble=0.05), (250, 248, 240)),
            (circle(0.55), (240, 160, 30)),
            (circle(0.42, -0.06, -0.08), (252, 190, 50)),
        ),
        0.22,
    )


def _pineapple() -> Look:
    wedge = np.array([(-0.35, -0.7), (0.35, -0.7), (1.0, 0.55), (0.5, 0.85), (-0.5, 0.85), (-1.0, 0.55)])
    lines = [(box(0.05, 0.5, x, 0.15), (222, 160, 28)) for x in (-0.35, 0, 0.35)]
    return Look(((wedge, (236, 180, 34)), (wedge * 0.85, (254, 216, 66)), *lines), 0.18, 0.35)


def _kiwi() -> Look:
    seeds = [
        (circle(0.07, 0.42 * math.cos(a), 0.42 * math.sin(a), points=6), (24, 30, 12)) for a in np.arange(10) * 0.628
    ]
    return Look(
        ((circle(), (118, 86, 44)), (circle(0.92), (124, 178, 36)), (circle(0.3), (232, 238, 178)), *seeds), 0.2
    )


def _raspberry(color: Color) -> Look:
    drupes = [(0.6 * math.cos(a), 0.6 * math.sin(a)) for a in np.arange(7) * 0.8976] + [(0.0, 0.0)]
    layers: list[Layer] = [(circle(0.98), shade(color, 0.7))]
    layers += [(circle(0.34, x, y, points=10), color) for x, y in drupes]
    layers += [(circle(0.12, x - 0.08, y - 0.1, points=6), mix(color, (255, 255, 255), 0.45)) for x, y in drupes]
    return Look(tuple(layers), 0.13, 0.4)


def _walnut(color: Color) -> Look:
    dark = shade(color, 0.68)
    return Look(
        (
            (blob(1.0, wobble=0.12) * (1, 0.8), shade(color, 0.85)),
            (blob(0.38, -0.4, 0, phase=1), color),
            (blob(0.38, 0.4, 0, phase=2), color),
            (box(0.05, 0.7), dark),
            (box(0.5, 0.05, 0, 0.25), dark),
        ),
        0.14,
        0.4,
    )


def _bell_pepper(color: Color) -> Look:
    return _strip(color, 0.23, shade(color, 0.72), width=0.22)


def _sprinkles() -> Look:
    colors: list[Color] = [
        (230, 60, 120),
        (60, 140, 230),
        (250, 210, 50),
        (80, 190, 90),
        (240, 130, 40),
        (160, 90, 210),
    ]
    layers = []
    for k, color in enumerate(colors):
        turn = np.array([[math.cos(k), -math.sin(k)], [math.sin(k), math.cos(k)]])
        spot = np.array([0.75 * math.cos(1.05 * k), 0.75 * math.sin(1.05 * k)])
        layers.append((box(0.34, 0.12) @ turn.T + spot, color))
    return Look(tuple(layers), 0.13, 0.0)


LOOKS: dict[str, Look] = {
    # vegetables
    "tomato": _seeded((196, 34, 28), (228, 70, 48), (250, 190, 110), 0.2, count=5, at=0.48, size=0.19),
    "cherry tomato": _ball((214, 36, 30), 0.13),
    "cucumber": _seeded((50, 106, 44), (206, 230, 164), (170, 204, 128), 0.18, count=6, at=0.38, size=0.12),
    "zucchini": _seeded((64, 110, 40), (230, 232, 168), (212, 206, 130), 0.18, count=5, at=0.4, size=0.14),
    "carrot": _round((226, 104, 20), 0.15, (0.84, (244, 132, 36)), (0.4, (250, 164, 74))),
    "beetroot": _round((96, 14, 50), 0.18, (0.86, (138, 22, 70)), (0.55, (120, 16, 60)), (0.35, (150, 30, 84))),
    "radish": _round((206, 30, 84), 0.14, (0.84, (250, 240, 240))),
    "eggplant": _round((58, 24, 70), 0.22, (0.86, (222, 204, 150)), (0.45, (204, 182, 122))),
    "bell pepper": _bell_pepper((208, 32, 30)),
    "yellow pepper": _bell_pepper((246, 196, 30)),
    "green pepper": _bell_pepper((64, 140, 46)),
    "jalapeno": Look(((circle(), (40, 104, 36)), (circle(0.78), (150, 196, 96)), (circle(0.4), (226, 232, 170))), 0.11),
    "broccoli": _floret((58, 128, 44), (150, 184, 100), 0.2),
    "cauliflower": _floret((242, 232, 204), (226, 220, 176), 0.21),
    "mushroom": _mushroom(),
    "red onion": Look(
        (
            (arc(1.0, 0.84, 0, 2 * math.pi), (140, 40, 100)),
            (arc(0.84, 0.68, 0, 2 * math.pi), (240, 220, 236)),
            (arc(0.5, 0.34, 0, 2 * math.pi), (176, 80, 140)),
        ),
        0.18,
        0.05,
    ),
    "corn": Look(
        tuple(
            (circle(0.36, x, y, points=8), c)
            for x, y, c in (
                (-0.5, -0.3, (250, 208, 56)),
                (0.3, -0.5, (244, 190, 36)),
                (0.5, 0.35, (252, 220, 84)),
                (-0.25, 0.5, (240, 186, 40)),
            )
        ),
        0.12,
    ),
    "pea": Look(
        tuple(
            (circle(0.4, x, y, points=10), c)
            for x, y, c in ((-0.5, -0.25, (96, 168, 52)), (0.35, -0.45, (124, 190, 70)), (0.2, 0.45, (88, 156, 44)))
        ),
        0.12,
    ),
    "chickpea": Look(
        tuple(
            (circle(0.45, x, y, points=10), c)
            for x, y, c in ((-0.5, -0.25, (222, 184, 116)), (0.4, -0.4, (234, 200, 138)), (0.1, 0.5, (212, 170, 100)))
        ),
        0.14,
    ),
    "black bean": Look(
        tuple(
            (leaf(0.6) * 0.5 + (x, y), c)
            for x, y, c in ((-0.45, -0.35, (42, 26, 34)), (0.45, -0.2, (56, 36, 46)), (0.0, 0.45, (34, 20, 26)))
        ),
        0.14,
    ),
    "kidney bean": Look(
        tuple(
            (leaf(0.6) * 0.58 + (x, y), c)
            for x, y, c in ((-0.45, -0.35, (130, 30, 34)), (0.45, -0.2, (152, 40, 42)), (0.0, 0.5, (116, 24, 30)))
        ),
        0.15,
    ),
    "potato": _chunk((240, 214, 136), 0.18),
    "sweet potato": _cube((224, 112, 40), 0.16),
    "pumpkin": _cube((236, 146, 30), 0.17),
    "spinach": _greens((38, 92, 36), 0.24, 0.62),
    "lettuce": _greens((140, 192, 66), 0.32, 0.7, 0.16),
    "arugula": _greens((74, 122, 44), 0.27, 0.34, 0.42),
    "kale": _greens((36, 82, 56), 0.28, 0.6, 0.3),
    "red cabbage": _shreds((124, 44, 120), 0.24),
    "olive": Look(((circle(), (34, 28, 36)), (circle(0.42), (120, 96, 84))), 0.11),
    "green olive": Look(((circle(), (124, 132, 46)), (circle(0.42), (206, 52, 36))), 0.11),
    "snap pea": Look(((leaf(0.26), (86, 150, 48)), (leaf(0.14) * 0.85, (142, 196, 84))), 0.24),
    "green bean": _strip((62, 128, 48), 0.24, width=0.09),
    "asparagus": Look(((box(1.0, 0.12), (96, 146, 62)), (leaf(0.5) * 0.4 + (0.9, 0), (66, 104, 52))), 0.28),
    "pickle": _round((92, 112, 32), 0.15, (0.82, (170, 176, 78)), (0.45, (150, 158, 62))),
    "avocado": _avocado(),
    # fruit
    "strawberry": _strawberry(),
    "blueberry": _ball((50, 58, 122), 0.1),
    "raspberry": _raspberry((204, 32, 76)),
    "blackberry": _raspberry((52, 26, 62)),
    "cherry": _ball((136, 10, 34), 0.13),
    "grape": _ball((112, 52, 120), 0.13),
    "banana": _round((232, 206, 106), 0.17, (0.9, (252, 238, 182)), (0.35, (238, 212, 140))),
    "kiwi": _kiwi(),
    "orange": _citrus((240, 138, 20), (252, 166, 48), 0.22),
    "lemon": _citrus((244, 212, 40), (252, 236, 120), 0.2),
    "lime": _citrus((86, 152, 40), (178, 212, 96), 0.18),
    "pineapple": _pineapple(),
    "mango": _cube((252, 176, 40), 0.16),
    "peach": Look(
        ((arc(1.0, 0.2, 0.1, 3.05, 0, -0.45), (222, 92, 50)), (arc(0.84, 0.22, 0.12, 3.0, 0, -0.45), (252, 190, 96))),
        0.24,
    ),
    "apple": _apple(),
    "watermelon": Look(
        (
            (np.array([(-1.0, 0.7), (1.0, 0.7), (0.0, -1.0)]), (232, 62, 74)),
            (np.array([(-1.05, 0.8), (1.05, 0.8), (1.0, 0.55), (-1.0, 0.55)]), (70, 140, 60)),
            *((leaf(0.5) * 0.12 + s, (40, 20, 20)) for s in ((0.0, -0.2), (-0.35, 0.25), (0.35, 0.25))),
        ),
        0.22,
        0.35,
    ),
    "raisin": _ball((70, 38, 34), 0.07),
    "cranberry": _ball((168, 18, 40), 0.075),
    # meat, fish, eggs, cheese, tofu
    "chicken": _chunk((236, 202, 152), 0.21, (206, 164, 112)),
    "beef": _chunk((128, 66, 44), 0.2, (94, 44, 30)),
    "pork": _chunk((226, 158, 134), 0.2, (244, 200, 180)),
    "meatball": _ball((118, 64, 40), 0.17),
    "sausage": _round((136, 48, 34), 0.15, (0.84, (196, 98, 74)), (0.4, (210, 120, 94))),
    "pepperoni": Look(
        (
            (circle(), (146, 22, 22)),
            (circle(0.86), (190, 42, 34)),
            *((circle(0.12, x, y, points=6), (236, 140, 110)) for x, y in ((-0.3, -0.3), (0.35, 0), (-0.1, 0.4))),
        ),
        0.17,
        0.1,
    ),
    "ham": _cube((240, 150, 156), 0.18, (252, 200, 200), thickness=0.2),
    "bacon": _bacon(),
    "shrimp": _shrimp(),
    "salmon": _salmon(),
    "tuna": _cube((176, 38, 60), 0.19, (206, 92, 100), thickness=0.35),
    "egg": _egg(),
    "tofu": _cube((246, 236, 208), 0.18),
    "paneer": _cube((252, 244, 220), 0.17, (232, 196, 130)),
    "halloumi": _cube((248, 236, 196), 0.2, (216, 168, 90), thickness=0.3),
    "feta": _cube((252, 252, 246), 0.13),
    "mozzarella": _round((250, 246, 232), 0.2, (0.8, (255, 253, 246))),
    "cheddar": _shreds((248, 166, 40), 0.19),
    "parmesan": _flecks((250, 236, 180), 0.18, 6, 0.3),
    # nuts, sweets, bread
    "walnut": _walnut((178, 126, 74)),
    "pecan": _walnut((140, 76, 36)),
    "almond": Look(((leaf(0.55), (150, 92, 50)), (leaf(0.4) * 0.85, (190, 132, 82))), 0.12),
    "cashew": Look(((arc(1.0, 0.42, 0.2, 3.0, 0, -0.4), (238, 212, 158)),), 0.14),
    "pistachio": Look(((leaf(0.6), (150, 178, 76)), (leaf(0.35) * 0.7, (190, 206, 110))), 0.09),
    "chocolate chip": Look(((circle(), (54, 28, 18)), (circle(0.45, -0.2, -0.2), (104, 64, 44))), 0.075, 0.3),
    "white chocolate chip": Look(((circle(), (236, 222, 190)), (circle(0.5, -0.2, -0.2), (254, 248, 228))), 0.08, 0.3),
    "marshmallow": Look(((blob(1.0, wobble=0.05), (250, 238, 240)), (circle(0.7, -0.1, -0.1), (255, 252, 252))), 0.12),
    "sprinkle": _sprinkles(),
    "coconut flake": Look(_flecks((252, 250, 242), 0.16, 6, 0.34).layers, 0.17, 0.0),
    "granola": _flecks((190, 130, 62), 0.18, 7, 0.34),
    "crouton": _cube((214, 156, 82), 0.15),
    # herbs and seeds
    "basil": _greens((52, 128, 40), 0.17, 0.6),
    "mint": _greens((70, 166, 92), 0.17, 0.5, 0.12),
    "parsley": _flecks((48, 118, 36), 0.16, 5, 0.34),
    "cilantro": _flecks((84, 156, 48), 0.17, 5, 0.36),
    "scallion": Look(
        tuple(
            (arc(0.36, 0.17, 0, 2 * math.pi, x, y), c)
            for x, y, c in ((-0.5, -0.2, (110, 172, 66)), (0.45, -0.35, (150, 204, 100)), (0.1, 0.5, (86, 150, 50)))
        ),
        0.15,
        0.0,
    ),
    "chili": Look(((arc(1.0, 0.62, 0, 2 * math.pi) * 0.9, (206, 24, 22)), (circle(0.3), (246, 214, 150))), 0.1, 0.1),
    "sesame seed": _flecks((250, 236, 196), 0.16, 7, 0.17),
    "butter": _cube((252, 224, 110), 0.2),
    "whipped cream": Look(
        (
            (blob(1.0, wobble=0.1), (232, 226, 216)),
            (blob(0.8, -0.05, -0.08, wobble=0.1, phase=1), (248, 244, 238)),
            (blob(0.45, -0.08, -0.14, wobble=0.1, phase=2), (255, 254, 252)),
        ),
        0.28,
        0.3,
    ),
    "sour cream": Look(
        ((blob(1.0, wobble=0.1), (238, 232, 222)), (blob(0.7, -0.1, -0.1, 0.1), (254, 252, 248))), 0.2, 0.1
    ),
}
"""Ingredients that appear as pieces."""

TINTS: dict[str, Color] = {
    # liquids and purées
    "tomato": (206, 62, 32),
    "pumpkin": (226, 136, 34),
    "spinach": (96, 128, 52),
    "beetroot": (156, 26, 74),
    "mushroom": (168, 140, 110),
    "carrot": (238, 142, 52),
    "corn": (240, 206, 96),
    "pea": (138, 172, 70),
    "potato": (234, 218, 170),
    "lentil": (152, 98, 44),
    "black bean": (72, 46, 48),
    "chicken broth": (218, 178, 84),
    "miso": (190, 152, 100),
    "coconut milk": (244, 234, 212),
    "tomato sauce": (196, 46, 26),
    "pesto": (92, 126, 40),
    "cream sauce": (244, 232, 204),
    "cheese sauce": (246, 184, 62),
    "barbecue sauce": (108, 38, 20),
    "teriyaki sauce": (84, 44, 20),
    "soy sauce": (96, 56, 26),
    "sweet chili sauce": (220, 84, 34),
    "yellow curry paste": (226, 168, 34),
    "red curry paste": (198, 76, 32),
    "green curry paste": (134, 162, 78),
    "garam masala": (132, 78, 38),
    "ketchup": (186, 24, 22),
    "mayonnaise": (250, 240, 206),
    "mustard": (230, 176, 28),
    "balsamic glaze": (50, 26, 28),
    "ranch dressing": (248, 244, 230),
    "maple syrup": (160, 78, 16),
    "honey": (232, 160, 34),
    "caramel": (196, 118, 42),
    "chocolate": (72, 40, 26),
    "strawberry": (222, 68, 84),
    "blueberry": (88, 62, 132),
    "raspberry": (198, 30, 84),
    "lemon curd": (248, 216, 70),
    "cream cheese": (250, 244, 232),
    "buttercream": (252, 238, 206),
    "matcha": (142, 170, 82),
    "vanilla": (250, 236, 196),
    "mint": (168, 222, 190),
    "mango": (250, 184, 62),
    "coffee": (164, 122, 86),
    "pistachio": (178, 192, 116),
    "coconut": (250, 248, 240),
    "yogurt": (250, 246, 238),
    "oats": (206, 178, 134),
    "acai": (86, 34, 82),
    "chia seed": (150, 142, 140),
    "avocado": (164, 186, 86),
    "hummus": (222, 190, 136),
    "peanut butter": (188, 128, 62),
    # doughs, breads, grains
    "wheat flour": (222, 176, 108),
    "cocoa powder": (92, 54, 36),
    "red velvet": (150, 32, 36),
    "ginger": (164, 98, 48),
    "white bread": (240, 214, 164),
    "rye bread": (112, 74, 48),
    "sourdough bread": (208, 158, 98),
    "corn tortilla": (240, 196, 90),
    "flour tortilla": (244, 230, 200),
    "blue corn tortilla": (98, 100, 132),
    "sesame bun": (204, 134, 62),
    "brioche bun": (176, 96, 34),
    "pretzel bun": (112, 58, 26),
    "white rice": (250, 248, 240),
    "brown rice": (196, 160, 112),
    "saffron rice": (246, 202, 70),
    "black rice": (66, 46, 66),
    "couscous": (234, 206, 140),
    "quinoa": (216, 190, 146),
    "spaghetti": (240, 212, 136),
    "penne": (240, 206, 124),
    "fettuccine": (246, 224, 160),
    "macaroni": (242, 202, 108),
    "soba": (146, 118, 96),
    "rice noodle": (248, 242, 226),
    "nori": (32, 44, 36),
    "salmon roe": (240, 96, 34),
    "graham cracker": (176, 120, 66),
    # patties
    "beef": (98, 52, 34),
    "chicken": (216, 156, 84),
    "salmon": (238, 132, 94),
    "halloumi": (246, 226, 170),
}
"""Colours of ingredients that appear as an area: liquid, dough, frosting, spread."""
