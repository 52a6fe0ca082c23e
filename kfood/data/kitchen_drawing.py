"""Draws the photos of the synthetic kitchen: a scene (what the recipe says) under conditions that it does not tell.

The picture follows from three random streams that do not touch each other, so that one can be kept while another
changes: the :class:`Scene` decides what is drawn, ``layout`` where the pieces lie, ``nuisance`` the plate, table,
light, camera and clutter. Everything is drawn with Pillow polygons at twice the size and reduced.

Coordinates: the dish lies on the ground plane, ``x`` and ``y`` in plate radii around the plate's centre, ``z`` is
height. The camera is orthographic: it turns the plane, squashes ``y`` and lifts ``z``.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from kfood.data.kitchen_looks import LOOKS, TINTS, Color, Points, blob, box, circle, leaf, mix, shade

_OVERSAMPLING = 2
_BROWN: Color = (116, 66, 28)
_CHAR: Color = (34, 24, 20)
_SHADOW: Color = (16, 12, 10)


@dataclasses.dataclass(frozen=True)
class Part:
    """One visible ingredient of a dish.

    Attributes:
        role: ``"base"`` (dough, noodles, leaves, purée ...), ``"main"`` (patty, filling), ``"sauce"`` (sauce,
            frosting, syrup, wrap ...), ``"piece"``, ``"garnish"`` (on top), or ``"cover"`` (of a pie: ``"open"``,
            ``"lattice"`` or ``"crumble"``).
        name: ingredient name, a key of :data:`~kfood.data.kitchen_looks.LOOKS` for what lies there in pieces; for
            what covers an area :data:`~kfood.data.kitchen_looks.TINTS` comes first.
        level: amount from 1 (little) to 3 (much).
    """

    role: str
    name: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the recipe tells about its picture.

    Attributes:
        dish: kind of dish, a key of :data:`DISHES`.
        parts: visible ingredients; the first of a role is its most important one.
        cooking: a key of ``COOKING``.
    """

    dish: str
    parts: tuple[Part, ...]
    cooking: str

    def of(self, *roles: str) -> list[Part]:
        """The parts that have one of the roles, in order."""
        return [part for part in self.parts if part.role in roles]

    def name(self, role: str) -> str:
        """Name of the first part with this role, empty where there is none."""
        return next((part.name for part in self.parts if part.role == role), "")


@dataclasses.dataclass(frozen=True)
class Heat:
    """What cooking does to colours: ``brown`` towards brown, ``char`` black marks, ``pale`` washed out; each 0 to 1."""

    brown: float = 0.0
    char: float = 0.0
    pale: float = 0.0


COOKING: dict[str, Heat] = {
    "raw": Heat(),
    "boiled": Heat(pale=0.28),
    "simmered": Heat(pale=0.15),
    "steamed": Heat(pale=0.1),
    "baked": Heat(brown=0.16),
    "fried": Heat(brown=0.3),
    "roasted": Heat(brown=0.4),
    "grilled": Heat(brown=0.15, char=0.65),
    "charred": Heat(brown=0.35, char=1.0),
}


@functools.cache
def _cooked(name: str, cooking: str) -> tuple[list[int], Points, list[tuple[Color, int]]]:
    """A piece after cooking: corners of each of its layers, float64 [all corners, 2], colours with their opacity."""
    look, heat = LOOKS[name], COOKING[cooking]
    layers: list[tuple[Points, Color, int]] = []
    for points, color in look.layers:
        grey = sum(color) // 3
        pale = mix(color, mix((grey, grey, grey), (244, 232, 204), 0.6), heat.pale)
        layers.append((points, mix(pale, _BROWN, heat.brown), 255))
    reach = np.abs(look.layers[0][0]).max(axis=0)
    if heat.brown >= 0.3:
        layers += [(blob(0.3, x, y) * reach, shade(_BROWN, 0.7), 110) for x, y in ((-0.35, 0.2), (0.4, -0.2))]
    if heat.char:
        # Small pieces get one mark: more would hide what they are.
        for x in (-0.4, 0.05, 0.48) if look.radius > 0.15 else (0.05,):
            bar = box(0.085, 0.72 - abs(x) * 0.4, x)
            layers.append((bar * reach, _CHAR, int(190 * heat.char)))
    corners = np.concatenate([points for points, _, _ in layers])
    return [len(points) for points, _, _ in layers], corners, [(color, alpha) for _, color, alpha in layers]


@dataclasses.dataclass(frozen=True)
class _Nuisance:
    """What the recipe does not tell: drawn once from its own stream, in a fixed order."""

    squash: float
    angle: float
    zoom: float
    x: float
    y: float
    plate: Color
    rim: Color
    rim_width: float
    square: bool
    deep: bool
    table: Color
    texture: int
    texture_angle: float
    light: tuple[float, float, float]
    light_angle: float
    clutter: int
    clutter_color: Color
    noise: float
    quality: int
    hidden: tuple[float, ...]


_PLATES: tuple[Color, ...] = (
    (248, 247, 243),
    (252, 252, 252),
    (236, 230, 216),
    (214, 222, 226),
    (70, 78, 88),
    (120, 158, 178),
    (226, 206, 176),
    (196, 210, 190),
)
_RIMS: tuple[Color, ...] = ((60, 98, 152), (168, 60, 48), (96, 134, 92), (206, 172, 98), (54, 58, 64), (238, 236, 230))
_TABLES: tuple[Color, ...] = (
    (150, 104, 66),
    (190, 148, 104),
    (98, 66, 46),
    (220, 214, 204),
    (108, 114, 118),
    (66, 70, 76),
    (176, 196, 204),
    (214, 190, 160),
    (150, 168, 146),
    (226, 220, 226),
)


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.random() * len(choices))]


def _draw_nuisance(rng: np.random.Generator) -> _Nuisance:
    warmth = rng.normal(0.0, 0.05)
    brightness = rng.uniform(0.84, 1.1)
    return _Nuisance(
        squash=rng.random(),
        angle=rng.uniform(0, 2 * math.pi),
        zoom=rng.uniform(0.405, 0.49),
        x=rng.uniform(-0.05, 0.05),
        y=rng.uniform(-0.05, 0.05),
        plate=_pick(rng, _PLATES),
        rim=_pick(rng, _RIMS),
        rim_width=float(_pick(rng, (0.0, 0.0, 0.03, 0.06))),
        square=bool(rng.random() < 0.15),
        deep=bool(rng.random() < 0.6),
        table=shade(_pick(rng, _TABLES), rng.uniform(0.85, 1.1)),
        texture=int(rng.random() * 4),
        texture_angle=rng.uniform(0, math.pi),
        light=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
        light_angle=rng.uniform(0, 2 * math.pi),
        clutter=int(rng.random() * 6),
        clutter_color=_pick(rng, _RIMS),
        noise=rng.uniform(1.5, 6.0),
        quality=int(rng.uniform(72, 94)),
        hidden=tuple(rng.random(8).tolist()),
    )


class _Painter:
    """A canvas at twice the final size, its camera, and the brushes that the dishes share.

    Args:
        size: side of the final picture, pixels.
        scene: what the recipe tells.
        nuisance: what it does not.
        layout: random stream for the places of the pieces.
        squash: least and greatest height of the plate's ellipse in widths, for this kind of dish.
    """

    def __init__(
        self, size: int, scene: Scene, nuisance: _Nuisance, layout: np.random.Generator, squash: tuple[float, float]
    ):
        side = size * _OVERSAMPLING
        self.side = side
        self.scene = scene
        self.nuisance = nuisance
        self.rng = layout
        self.heat = COOKING[scene.cooking]
        self.image = Image.new("RGB", (side, side), nuisance.table)
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.squash = squash[0] + (squash[1] - squash[0]) * nuisance.squash
        self.scale = side * nuisance.zoom
        self.lift = self.scale * math.sqrt(1 - self.squash**2)
        self.center = np.array([side * (0.5 + nuisance.x), side * (0.5 + nuisance.y)])
        cos, sin = math.cos(nuisance.angle), math.sin(nuisance.angle)
        self.ground = self.scale * np.array([[cos, -sin], [self.squash * sin, self.squash * cos]])
        self.shadow = np.array([math.cos(nuisance.light_angle), 0.6 + 0.4 * math.sin(nuisance.light_angle)])

    # Brushes.

    def fill(self, pixels: Points, color: Color, alpha: int = 255) -> None:
        """Fills a polygon given in canvas pixels."""
        self.draw.polygon(pixels.ravel().tolist(), fill=(*color, alpha))

    def point(self, x: float, y: float, z: float = 0.0) -> np.ndarray:
        """Canvas pixel of a place in the scene."""
        return self.ground @ (x, y) + self.center - (0.0, z * self.lift)

    def patch(self, points: Points, color: Color, z: float = 0.0, alpha: int = 255) -> None:
        """Fills a polygon that lies flat at height z."""
        pixels = points @ self.ground.T + self.center
        pixels[:, 1] -= z * self.lift
        self.fill(pixels, color, alpha)

    def disc(
        self, radius: float, color: Color, z: float = 0.0, x: float = 0.0, y: float = 0.0, alpha: int = 255
    ) -> None:
        """A flat disc; seen from any angle of the plate it is an ellipse with level axes."""
        cx, cy = self.point(x, y, z).tolist()
        w, h = radius * self.scale, radius * self.scale * self.squash
        self.draw.ellipse((cx - w, cy - h, cx + w, cy + h), fill=(*color, alpha))

    def dome(self, radius: float, color: Color, z: float = 0.0, x: float = 0.0, y: float = 0.0) -> None:
        """A disc that gets lighter towards the light, as liquid or a soft heap does."""
        for step in range(7):
            share = 1 - 0.13 * step
            drift = -0.05 * radius * step
            pixel = self.point(x, y, z) + drift * self.scale * 0.5 * self.shadow
            w, h = radius * share * self.scale, radius * share * self.scale * self.squash
            tone = shade(color, 0.86 + 0.035 * step)
            self.draw.ellipse((pixel[0] - w, pixel[1] - h, pixel[0] + w, pixel[1] + h), fill=tone)

    def cylinder(
        self, radius: float, low: float, high: float, side: Color, top: Color, x: float = 0.0, y: float = 0.0
    ) -> None:
        """An upright cylinder: shaded side, then its top."""
        angles = np.linspace(0, math.pi, 13)
        center = self.point(x, y, 0.0)
        rim = np.stack([radius * self.scale * np.cos(angles), radius * self.scale * self.squash * np.sin(angles)], 1)
        floor, roof = center + rim - (0, low * self.lift), center + rim - (0, high * self.lift)
        for k in range(12):
            tone = shade(side, 0.74 + 0.3 * math.sin(angles[k] * 0.8 + 0.25))
            self.fill(np.array([floor[k], floor[k + 1], roof[k + 1], roof[k]]), tone)
        self.disc(radius, top, high, x, y)

    def sphere(self, radius: float, color: Color, z: float, x: float, y: float) -> None:
        """A ball, whatever the camera's angle."""
        cx, cy = self.point(x, y, z).tolist()
        for step in range(7):
            r = radius * self.scale * (1 - 0.14 * step)
            dx, dy = (-0.05 * step * radius * self.scale * self.shadow).tolist()
            self.draw.ellipse(
                (cx + dx - r, cy + dy - r, cx + dx + r, cy + dy + r), fill=shade(color, 0.76 + 0.06 * step)
            )

    def piece(
        self, name: str, x: float, y: float, z: float = 0.0, *, scale: float = 1.0, cooking: str | None = None
    ) -> None:
        """One piece of an ingredient that lies flat at a place in the scene."""
        self.stamp(name, self.point(x, y, z), self.ground, scale=scale, cooking=cooking)

    def stamp(
        self, name: str, pixel: Points, plane: np.ndarray, *, scale: float = 1.0, cooking: str | None = None
    ) -> None:
        """One piece of an ingredient, with its shadow and thickness.

        Args:
            name: key of :data:`~kfood.data.kitchen_looks.LOOKS`.
            pixel: float64 [2], its middle on the canvas.
            plane: float64 [2, 2], from plate radii to canvas pixels in the plane in which it lies.
            scale: size in its usual size.
            cooking: replaces the scene's.
        """
        look = LOOKS[name]
        counts, corners, colors = _cooked(name, self.scene.cooking if cooking is None else cooking)
        turn = self.rng.random() * 2 * math.pi
        radius = look.radius * scale * (0.9 + 0.2 * self.rng.random())
        light = 0.92 + 0.16 * self.rng.random()
        cos, sin = radius * math.cos(turn), radius * math.sin(turn)
        pixels = corners @ (plane @ np.array([[cos, -sin], [sin, cos]])).T + pixel
        first = pixels[: counts[0]]
        height = look.thickness * radius * self.scale
        self.fill(first + self.shadow * (0.05 * radius * self.scale + 0.3 * height), _SHADOW, 70)
        if height:
            self.fill(first, shade(colors[0][0], 0.62 * light))
            pixels[:, 1] -= height * 0.7
        flat = pixels.ravel().tolist()
        start = 0
        for count, (color, alpha) in zip(counts, colors, strict=True):
            self.draw.polygon(flat[2 * start : 2 * (start + count)], fill=(*shade(color, light), alpha))
            start += count

    def spread(self, count: int, radius: float) -> list[tuple[float, float]]:
        """Places that cover a disc evenly but not regularly, in random order."""
        phase = self.rng.random() * 2 * math.pi
        k = np.arange(count)
        distance = radius * np.sqrt((k + 0.5) / max(count, 1))
        angle = phase + k * 2.399963 + self.rng.normal(0, 0.25, count)
        distance = distance * self.rng.uniform(0.88, 1.05, count)
        places = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)[self.rng.permutation(count)]
        return [(x, y) for x, y in places.tolist()]

    def visible(self, *roles: str) -> list[Part]:
        """The parts with one of the roles that this photo shows: now and then one that is not the first is buried."""
        parts = self.scene.of(*roles)
        return [
            part
            for k, part in enumerate(parts)
            if k == 0 or len(parts) == 1 or self.nuisance.hidden[(k + 3 * (part.role == "garnish")) % 8] > 0.07
        ]

    def scatter(
        self,
        parts: Iterable[Part],
        radius: float,
        z: float | Callable[[float, float], float] = 0.0,
        *,
        area: float = 0.55,
        scale: float = 1.0,
        x: float = 0.0,
        y: float = 0.0,
        cooking: str | None = None,
    ) -> None:
        """Spreads pieces over a disc, the back ones first.

        Args:
            parts: what to spread; the first gets the greatest share.
            radius: of the disc, in plate radii.
            z: height, or a function of the place.
            area: part of the disc that the pieces cover, roughly.
            scale: size of pieces in their usual size.
            x: centre of the disc.
            y: centre of the disc.
            cooking: replaces the scene's.
        """
        parts = list(parts)
        names: list[str] = []
        weights = [part.level * (1.5 if k == 0 else 1.0) for k, part in enumerate(parts)]
        for part, weight in zip(parts, weights, strict=True):
            covered = (LOOKS[part.name].radius * scale) ** 2
            share = weight / sum(weights) * min(1.0, 0.3 + 0.18 * sum(weights))
            names += [part.name] * max(2 + part.level, round(area * share * radius**2 / covered))
        places = self.spread(len(names), radius)
        # The camera looks along -y of the canvas: what is lower in the picture lies in front.
        order = sorted(range(len(names)), key=lambda k: float(self.ground[1] @ places[k]))
        for k in order:
            px, py = places[k]
            height = z(px, py) if callable(z) else z
            self.piece(names[k], x + px, y + py, height, scale=scale, cooking=cooking)

    def garnish(self, radius: float, z: float, x: float = 0.0) -> None:
        """Spreads the scene's garnishes, which are never cooked, over a disc."""
        for part in self.visible("garnish"):
            self.scatter([part], radius, z, x=x, area=0.1 + 0.06 * part.level, cooking="raw")

    def drizzle(self, color: Color, radius: float, z: float) -> None:
        """A thin zigzag of sauce."""
        phase = self.rng.random() * 2 * math.pi
        cos, sin = math.cos(phase), math.sin(phase)
        turns = 4
        t = np.linspace(-1, 1, turns * 8)
        across = np.sqrt(1 - (0.95 * t) ** 2) * np.sin(t * turns * math.pi) * radius
        points = np.stack([t * radius, across], axis=1) @ np.array([[cos, sin], [-sin, cos]])
        pixels = points @ self.ground.T + self.center - (0, z * self.lift)
        flat = pixels.ravel().tolist()
        line = max(1, round(0.038 * self.scale))
        self.draw.line(flat, fill=shade(color, 0.8), width=line + 2, joint="curve")
        self.draw.line(flat, fill=color, width=line, joint="curve")

    def browned(self, color: Color, strength: float = 1.0) -> Color:
        """A dough or crust colour after the scene's cooking."""
        return mix(mix(color, _BROWN, strength * self.heat.brown), _CHAR, 0.3 * strength * self.heat.char)

    def spots(self, radius: float, z: float, color: Color, count: int, size: float, alpha: int = 120) -> None:
        """Soft patches: browning, char, crumbs."""
        for x, y in self.spread(count, radius):
            self.patch(blob(size * (0.6 + 0.8 * self.rng.random()), x, y, phase=x * 9), color, z, alpha)

    # Surroundings.

    def table(self) -> None:
        """Table top, its texture, and clutter at the border."""
        nuisance, side = self.nuisance, self.side
        cos, sin = math.cos(nuisance.texture_angle), math.sin(nuisance.texture_angle)
        across, along = np.array([cos, sin]), np.array([-sin, cos])
        middle = np.array([side / 2, side / 2])

        def stripe(offset: float, width: float, color: Color, alpha: int, direction=along, normal=across) -> None:
            start = middle + normal * offset * side
            corners = [start - direction * side, start + direction * side]
            corners += [corners[1] + normal * width * side, corners[0] + normal * width * side]
            self.fill(np.array(corners), color, alpha)

        if nuisance.texture == 1:
            for k in range(9):
                stripe(-0.9 + 0.2 * k, 0.2, shade(nuisance.table, 0.9 + 0.045 * ((k * 5) % 4)), 255)
                stripe(-0.9 + 0.2 * k, 0.008, shade(nuisance.table, 0.6), 255)
                stripe(-0.84 + 0.2 * k, 0.006, shade(nuisance.table, 0.8), 140)
        elif nuisance.texture == 2:
            for k in range(10):
                stripe(-0.9 + 0.18 * k, 0.09, nuisance.clutter_color, 60)
                stripe(-0.9 + 0.18 * k, 0.09, nuisance.clutter_color, 60, across, along)
        elif nuisance.texture == 3:
            for k in range(5):
                stripe(-0.7 + 0.31 * k, 0.02, shade(nuisance.table, 1.15), 120)
        if nuisance.clutter in (1, 2):
            self.cutlery(fork=nuisance.clutter == 1)
        elif nuisance.clutter == 3:
            corner = middle + across * side * 0.52
            half = side * 0.27
            cloth = np.array(
                [corner + half * (a * across * 0.7 + b * along) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            )
            self.fill(cloth + 0.012 * side, _SHADOW, 70)
            self.fill(cloth, nuisance.clutter_color)
            self.fill((cloth - corner) * 0.82 + corner, mix(nuisance.clutter_color, (255, 255, 255), 0.25))
        elif nuisance.clutter == 4:
            x, y = (middle + (across if cos * sin > 0 else -across) * side * 0.55).tolist()
            for radius, tone in (
                (0.17, (232, 238, 240)),
                (0.15, nuisance.clutter_color),
                (0.1, shade(nuisance.clutter_color, 1.25)),
            ):
                r = radius * side
                self.draw.ellipse((x - r, y - r, x + r, y + r), fill=tone)

    def cutlery(self, fork: bool) -> None:
        """A fork or a knife beside the plate."""
        side = self.side
        x = side * (0.045 if fork else 0.955)
        steel, dark = (206, 208, 212), (150, 152, 158)
        self.draw.rectangle((x - 0.012 * side, 0.4 * side, x + 0.016 * side, 0.9 * side), fill=dark)
        self.draw.rectangle((x - 0.012 * side, 0.4 * side, x + 0.012 * side, 0.9 * side), fill=steel)
        if fork:
            self.draw.rectangle((x - 0.035 * side, 0.32 * side, x + 0.035 * side, 0.42 * side), fill=steel)
            for k in (-3, -1, 1, 3):
                tine = x + k * 0.0095 * side
                self.draw.rectangle((tine - 0.005 * side, 0.2 * side, tine + 0.005 * side, 0.34 * side), fill=steel)
        else:
            self.draw.ellipse((x - 0.02 * side, 0.14 * side, x + 0.026 * side, 0.5 * side), fill=steel)

    def plate(self) -> None:
        """A plate, round or with rounded corners."""
        nuisance = self.nuisance
        if nuisance.square:
            angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
            ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            ring = np.sign(ring) * np.abs(ring) ** 0.4 * 0.88
        else:
            ring = circle(1.0, points=48)
        self.fill(ring @ self.ground.T + self.center + self.shadow * 0.07 * self.scale, _SHADOW, 80)
        self.patch(ring, shade(nuisance.plate, 0.8), -0.02)
        self.patch(ring, nuisance.plate, 0.02)
        if nuisance.rim_width:
            self.patch(ring * 0.97, nuisance.rim, 0.02)
            self.patch(ring * (0.97 - nuisance.rim_width), nuisance.plate, 0.02)
        self.patch(ring * 0.78, shade(nuisance.plate, 0.88), 0.02)
        self.patch(ring * 0.76, shade(nuisance.plate, 0.97), 0.015)

    def vessel(self) -> float:
        """A bowl or a plate; returns the radius of what it holds."""
        if self.nuisance.deep:
            return self.bowl()
        self.plate()
        return 0.77

    def bowl(self) -> float:
        """A bowl; returns the radius of what it holds."""
        plate, radius = self.nuisance.plate, 0.98
        pixel = self.center + self.shadow * 0.09 * self.scale + (0, 0.1 * self.lift)
        w, h = radius * self.scale, radius * self.scale * self.squash
        self.draw.ellipse((pixel[0] - w, pixel[1] - h, pixel[0] + w, pixel[1] + h), fill=(*_SHADOW, 80))
        for step in range(6):
            self.disc(radius * (0.72 + 0.056 * step), shade(plate, 0.66 + 0.06 * step), -0.3 + 0.06 * step)
        self.disc(radius, plate, 0.02)
        if self.nuisance.rim_width:
            self.disc(radius * 0.985, self.nuisance.rim, 0.02)
        self.disc(radius * 0.93, shade(plate, 0.72), 0.0)
        self.disc(radius * 0.92, shade(plate, 0.86), -0.03)
        return radius * 0.86

    def finish(self, grain: np.random.Generator) -> bytes:
        """Light, noise and JPEG: the photo's bytes."""
        size = self.side // _OVERSAMPLING
        pixels: np.ndarray = np.asarray(self.image.reduce(_OVERSAMPLING), np.float32)
        nuisance = self.nuisance
        axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        slope = axis * math.cos(nuisance.light_angle), axis * math.sin(nuisance.light_angle)
        lit = 1.0 - 0.22 * (slope[0][None, :] + slope[1][:, None])
        pixels = pixels * lit[:, :, None] * np.array(nuisance.light, np.float32)
        coarse = grain.standard_normal((9, 9), dtype=np.float32) * 2.0
        cloud = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        noise = grain.standard_normal((size, size, 1), dtype=np.float32) * nuisance.noise
        pixels += noise + np.asarray(cloud)[:, :, None]
        photo = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=nuisance.quality)
        return stream.getvalue()


# The dishes. Each function draws its food on the table that is already there.


def _tint(name: str) -> Color:
    if name in TINTS:
        return TINTS[name]
    return LOOKS[name].layers[-1][1]


def _soup(p: _Painter) -> None:
    inside = p.bowl()
    color = p.browned(_tint(p.scene.name("base")), 0.6)
    p.dome(inside, color, -0.06)
    sauce = p.scene.name("sauce")
    if sauce:
        turn = np.linspace(0.6, 4.4 * math.pi, 60)
        spiral = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (0.05 * turn[:, None])
        pixels = spiral @ p.ground.T + p.center + (0, 0.05 * p.lift)
        p.draw.line(pixels.ravel().tolist(), fill=_tint(sauce), width=max(2, round(0.07 * p.scale)), joint="curve")
    p.scatter(p.visible("piece"), inside * 0.86, -0.04, area=0.62, scale=1.12)
    p.garnish(inside * 0.7, -0.02)


def _leaves(p: _Painter, radius: float, count: int, name: str, mound: float) -> None:
    for x, y in sorted(p.spread(count, radius), key=lambda place: -math.hypot(*place)):
        p.piece(name, x, y, mound * (1 - (x * x + y * y)), scale=1.1, cooking="raw")


def _salad(p: _Painter) -> None:
    inside = p.vessel()
    base = p.scene.name("base")
    if base in LOOKS:
        p.dome(inside * 0.9, shade(LOOKS[base].layers[0][1], 0.75))
        _leaves(p, inside * 0.92, 26 if LOOKS[base].radius > 0.25 else 36, base, 0.12)
    else:
        _grains(p, inside * 0.95, _tint(base))
    p.scatter(p.visible("piece"), inside * 0.86, lambda x, y: 0.14 * (1 - x * x - y * y), area=0.8, scale=1.1)
    sauce = p.scene.name("sauce")
    if sauce:
        p.drizzle(_tint(sauce), inside * 0.75, 0.12)
    p.garnish(inside * 0.8, 0.12)


def _grains(p: _Painter, radius: float, color: Color, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
    """A bed of rice, couscous or the like."""
    p.dome(radius, shade(color, 0.94), z, x, y)
    count = int(150 * radius * radius)
    places = np.array([x, y]) + p.spread(count, radius * 0.96)
    turns = p.rng.random(count) * math.pi
    tones = p.rng.random(count)
    for (px, py), turn, tone in zip(places.tolist(), turns.tolist(), tones.tolist(), strict=True):
        dx, dy = 0.035 * math.cos(turn), 0.035 * math.sin(turn)
        a, b = p.point(px - dx, py - dy, z + 0.02).tolist(), p.point(px + dx, py + dy, z + 0.02).tolist()
        p.draw.line((*a, *b), fill=shade(color, 0.86 + 0.2 * tone), width=max(1, round(p.scale * 0.025)))


def _pizza(p: _Painter) -> None:
    crust = p.browned((232, 188, 120), 1.3)
    p.fill(circle(0.97, points=48) @ p.ground.T + p.center + p.shadow * 0.07 * p.scale, _SHADOW, 80)
    edge = blob(0.97, wobble=0.012)
    p.patch(circle(0.97, points=48), shade(crust, 0.72), -0.02)
    p.patch(edge, crust, 0.03)
    p.disc(0.9, shade(crust, 1.1), 0.05)
    ring = [(0.915 * math.cos(a), 0.915 * math.sin(a)) for a in np.arange(14) * 0.4488 + p.rng.random()]
    burnt = _CHAR if p.heat.char else shade(crust, 0.7)
    for x, y in ring[:: 1 if p.heat.brown > 0.2 or p.heat.char else 2]:
        p.patch(blob(0.055 + 0.04 * p.heat.char, x, y, phase=x * 7), burnt, 0.04, 130)
    p.disc(0.83, shade(_tint(p.scene.name("base")), 0.9), 0.04)
    p.disc(0.81, _tint(p.scene.name("base")), 0.04)
    cheese = p.scene.name("sauce")
    if cheese:
        color = mix(LOOKS[cheese].layers[-1][1], (250, 226, 150), 0.4)
        for x, y in p.spread(15, 0.74):
            p.patch(blob(0.15 * (0.7 + 0.6 * p.rng.random()), x, y, phase=9 * y), p.browned(color, 0.5), 0.045)
    p.scatter(p.visible("piece"), 0.72, 0.05, area=0.72, scale=1.05)
    if p.heat.brown >= 0.3 or p.heat.char:
        p.spots(0.75, 0.05, _CHAR if p.heat.char else _BROWN, 12, 0.06)
    p.garnish(0.7, 0.06)
    for k in range(3):
        angle = k * math.pi / 3 + 0.2
        p.patch(
            box(0.95, 0.012) @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]),
            (84, 50, 30),
            0.05,
            110,
        )


def _noodles(p: _Painter, name: str, sauce: Color, radius: float) -> None:
    """A heap of pasta; its shape follows from its name."""
    coated = mix(_tint(name), sauce, 0.32)
    p.dome(radius, shade(coated, 0.82))
    short = name in ("penne", "macaroni")
    count = 46 if short else 44
    width = max(2, round(p.scale * {"fettuccine": 0.085, "penne": 0.1, "macaroni": 0.08}.get(name, 0.045)))
    for x, y in p.spread(count, radius * (0.88 if short else 0.6)):
        z = 0.16 * (1 - (x * x + y * y) / radius**2)
        turn = p.rng.random() * 2 * math.pi
        tone = 0.9 + 0.18 * p.rng.random()
        if name == "penne":
            t = np.array([-0.13, 0.13])
            line = np.stack([x + t * math.cos(turn), y + t * math.sin(turn)], axis=1)
        else:
            bend = 0.08 if short else 0.24 + 0.14 * p.rng.random()
            angle = np.linspace(0, 3.4 if short else 3.0, 7 if short else 9) + turn
            line = np.stack([x + bend * np.cos(angle), y + bend * np.sin(angle)], axis=1)
        flat = (line @ p.ground.T + p.center - (0, z * p.lift)).ravel().tolist()
        p.draw.line(flat, fill=shade(coated, 0.62 * tone), width=width + 2, joint="curve")
        p.draw.line(flat, fill=shade(coated, tone), width=width, joint="curve")
        if name == "penne":
            a = flat[-2:]
            r = width * 0.35
            p.draw.ellipse((a[0] - r, a[1] - r, a[0] + r, a[1] + r), fill=shade(coated, 0.5))


def _pasta(p: _Painter) -> None:
    inside = p.vessel()
    sauce = _tint(p.scene.name("sauce"))
    _noodles(p, p.scene.name("base"), sauce, inside)
    for x, y in p.spread(7, inside * 0.45):
        p.patch(blob(0.17, x, y, phase=5 * x), sauce, 0.12, 235)
    p.scatter(p.visible("piece"), inside * 0.78, lambda x, y: 0.16 * (1 - x * x - y * y), area=0.6, scale=1.1)
    if p.heat.brown:
        p.spots(inside * 0.85, 0.12, _BROWN, 14, 0.1, 150)
    p.garnish(inside * 0.6, 0.15)


def _burger(p: _Painter) -> None:
    p.center += (0, 0.34 * p.lift)  # It is as high as wide: the plate moves down to make room.
    p.plate()
    bun_name, patty = p.scene.name("base"), p.scene.name("main")
    bun, radius, z = _tint(bun_name), 0.62, 0.05
    p.disc(0.68, _SHADOW, 0.03, 0.03, 0.03, 80)
    cream = mix(bun, (250, 232, 190), 0.6)
    p.cylinder(radius, z, z + 0.2, bun, cream)
    z += 0.2

    def sheet(color: Color, wide: float, height: float, waves: int, depth: float) -> None:
        angle = np.linspace(0, 2 * math.pi, 60, endpoint=False)
        ring = radius * wide * (1 + depth * np.sin(waves * angle))
        points = np.stack([ring * np.cos(angle), ring * np.sin(angle)], axis=1)
        for step, tone in ((0.0, 0.7), (0.5, 0.85), (1.0, 1.0)):
            p.patch(points, shade(color, tone), z + height * step)

    for part in p.visible("piece"):
        name = part.name
        if name in ("lettuce", "arugula"):
            sheet(LOOKS[name].layers[1][1], 1.14, 0.09, 13, 0.06)
            z += 0.08
        elif name == "cheddar":
            square = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)]) * radius * 1.28
            p.patch(square, shade(_tint(name), 0.8), z)
            p.patch(square, _tint(name), z + 0.05)
            z += 0.06
        elif name in ("bacon", "avocado", "pineapple", "red onion", "egg", "pickle"):
            for x, y in sorted(p.spread(9, radius * 0.95), key=lambda s: float(p.ground[1] @ s)):
                p.piece(name, x, y, z + 0.03, cooking="raw")
            for k in range(7):
                angle = math.pi * (k + 0.5) / 7 - p.nuisance.angle
                p.piece(name, 0.93 * radius * math.cos(angle), 0.93 * radius * math.sin(angle), z + 0.03, cooking="raw")
            z += 0.1
        else:
            p.cylinder(radius * 1.05, z, z + 0.1, shade(LOOKS[name].layers[0][1], 1.05), LOOKS[name].layers[1][1])
            z += 0.1
        if part is p.scene.of("piece")[0]:
            meat = mix(mix(_tint(patty), _BROWN, 0.6 * p.heat.brown), _CHAR, 0.35 * p.heat.char)
            p.cylinder(radius * 1.06, z, z + 0.2, meat, shade(meat, 1.1))
            z += 0.2
            if sauce := p.scene.name("sauce"):
                sheet(_tint(sauce), 1.02, 0.04, 7, 0.07)
                z += 0.04
    for step in range(9):
        share = step / 8
        p.disc(radius * 1.05 * math.sqrt(1 - (share * 0.93) ** 2), shade(bun, 0.8 + 0.28 * share), z + 0.4 * share)
    if bun_name == "sesame bun":
        for x, y in p.spread(16, radius * 0.62):
            height = z + 0.4 * math.sqrt(max(0.0, 1 - (x * x + y * y) / radius**2))
            p.patch(leaf(0.6) * 0.045 + (x, y), (252, 240, 206), height)


def _cake(p: _Painter) -> None:
    p.plate()
    sponge, frosting = p.browned(_tint(p.scene.name("base")), 0.4), _tint(p.scene.name("sauce"))
    radius, z = 0.66, 0.04
    p.disc(0.72, _SHADOW, 0.03, 0.03, 0.03, 80)
    for _ in range(2):
        p.cylinder(radius, z, z + 0.22, sponge, sponge)
        p.cylinder(radius * 1.015, z + 0.22, z + 0.3, frosting, frosting)
        z += 0.3
    drips = np.linspace(0, math.pi, 9)[1:-1] - p.nuisance.angle
    for k, angle in enumerate(drips.tolist()):
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        length = 0.12 + 0.14 * ((k * 5) % 4) / 4
        a, b = p.point(x, y, z - 0.05), p.point(x, y, z - length - 0.05)
        w = 0.05 * p.scale
        p.draw.rounded_rectangle((a[0] - w, a[1], a[0] + w, b[1]), w, fill=shade(frosting, 0.92))
    p.disc(radius, shade(frosting, 0.93), z)
    p.dome(radius * 0.95, shade(frosting, 1.05), z)
    p.scatter(p.visible("piece"), radius * 0.8, z + 0.03, area=0.75, scale=1.1, cooking="raw")
    p.garnish(radius * 0.8, z + 0.05)


def _curry(p: _Painter) -> None:
    inside = p.vessel()
    sauce = p.browned(_tint(p.scene.name("sauce")), 0.3)
    p.dome(inside, sauce, 0.0)
    angle = np.linspace(-1.2, 1.2, 20) + math.pi
    half = np.stack([inside * np.cos(angle), inside * np.sin(angle)], axis=1)
    rice = _tint(p.scene.name("base"))
    p.patch(half, shade(rice, 0.8), 0.03)
    p.patch(half * 0.98, shade(rice, 0.95), 0.07)
    count = 60
    xs = p.rng.random(count) * 0.5
    ys = p.rng.random(count) * 2 - 1
    for u, v, tone in zip(xs.tolist(), ys.tolist(), p.rng.random(count).tolist(), strict=True):
        x = -inside * (0.42 + u)
        y = v * math.sqrt(max(0.0, (inside * 0.95) ** 2 - x * x))
        p.patch(leaf(0.5) * 0.045 + (x, y), shade(rice, 0.86 + 0.2 * tone), 0.08)
    p.scatter(p.visible("piece"), inside * 0.62, 0.02, area=0.8, scale=1.15, x=inside * 0.28)
    p.garnish(inside * 0.55, 0.06, x=inside * 0.2)


def _omelette(p: _Painter) -> None:
    p.plate()
    yellow = mix((252, 206, 74), (255, 250, 236), 0.75) if p.scene.name("base") == "egg white" else (252, 206, 74)
    color = p.browned(yellow, 0.7)
    turn = np.linspace(0, math.pi, 24)
    half = np.stack([0.78 * np.cos(turn), 0.62 * np.sin(turn) - 0.2], axis=1)
    p.patch(half * (1.0, -1.0) + (0, -0.36), shade(color, 0.75), 0.0)
    p.patch(np.concatenate([half * 1.02, half[::-1] * (1, -0.5) - (0, 0.3)]), shade(color, 0.8), 0.02)
    parts = p.visible("piece")
    names = [part.name for part in parts for _ in range(3 + part.level * 2)]
    for k, index in enumerate(p.rng.permutation(len(names)).tolist()):
        x = -0.7 + 1.4 * (k + 0.5) / len(names)
        p.piece(names[index], x, -0.3 - 0.22 * math.sqrt(1 - x * x) * p.rng.random(), 0.05)
    lid = np.stack([0.78 * np.cos(turn), 0.72 * np.sin(turn) - 0.22], axis=1)
    p.patch(lid, shade(color, 0.8), 0.06)
    p.patch(lid * 0.97, color, 0.1)
    p.patch(lid * 0.7 + (0, 0.06), shade(color, 1.06), 0.11)
    spots = 5 if p.heat.brown < 0.2 else 12
    for k in range(spots):
        x = -0.6 + 1.2 * (k + 0.5) / spots
        y = 0.02 + 0.4 * p.rng.random() * math.sqrt(1 - x * x)
        p.patch(blob(0.08, x, y, phase=k), _BROWN, 0.11, 70 + int(200 * p.heat.brown))
    if sauce := p.scene.name("sauce"):
        wave = np.linspace(-0.55, 0.55, 24)
        pixels = np.stack([wave, 0.16 + 0.1 * np.sin(wave * 22)], axis=1) @ p.ground.T + p.center - (0, 0.12 * p.lift)
        p.draw.line(pixels.ravel().tolist(), fill=_tint(sauce), width=max(2, round(0.06 * p.scale)), joint="curve")
    side = parts[:2]
    for k, part in enumerate(side):
        for step in range(2):
            p.piece(part.name, -0.25 + 0.5 * k + 0.22 * step, -0.68, 0.03, scale=0.9)
    for part in p.visible("garnish"):
        for _ in range(3 + 2 * part.level):
            x = 0.9 * (p.rng.random() - 0.5)
            p.piece(part.name, x, 0.3 * p.rng.random(), 0.12, cooking="raw")


def _pie(p: _Painter) -> None:
    crust = p.browned(_tint(p.scene.name("base")), 0.9)
    p.fill(circle(0.97, points=48) @ p.ground.T + p.center + p.shadow * 0.1 * p.scale, _SHADOW, 80)
    p.cylinder(0.9, -0.2, 0.0, shade(p.nuisance.plate, 0.8), p.nuisance.plate)
    angle = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    ring = 0.94 * (1 + 0.035 * np.sin(22 * angle))
    edge = np.stack([ring * np.cos(angle), ring * np.sin(angle)], axis=1)
    p.patch(edge, shade(crust, 0.75), 0.0)
    p.patch(edge * 0.98, crust, 0.04)
    p.disc(0.8, shade(crust, 0.7), 0.04)
    main = p.scene.of("piece")[0].name
    flat = mix(LOOKS[main].layers[-1][1], LOOKS[main].layers[0][1], 0.5)
    p.dome(0.79, mix(flat, p.browned(flat), 0.5), 0.02)
    p.scatter(p.visible("piece"), 0.76, 0.03, area=1.1, scale=1.05)
    cover = p.scene.name("cover")
    if cover == "lattice":
        for k, side in ((k, side) for side in (0, 1) for k in range(4)):
            offset = -0.54 + 0.36 * k
            length = math.sqrt(0.82**2 - offset**2)
            bar = box(length, 0.06, 0, offset) if side else box(0.06, length, offset, 0)
            p.patch(bar, shade(crust, 0.7), 0.05)
            p.patch(bar, shade(crust, 1.05), 0.08)
    elif cover == "crumble":
        for x, y in p.spread(46, 0.78):
            if p.rng.random() < 0.6:
                p.patch(blob(0.07, x, y, phase=7 * x), shade(crust, 0.8), 0.05)
                p.patch(blob(0.055, x, y, phase=7 * x), shade(crust, 1.1), 0.08)
    p.garnish(0.55, 0.1)


def _sushi(p: _Painter) -> None:
    wood = p.nuisance.square
    if wood:
        board = box(0.98, 0.7)
        p.fill(board @ p.ground.T + p.center + p.shadow * 0.07 * p.scale, _SHADOW, 80)
        p.patch(board, (120, 80, 50), 0.0)
        p.patch(board, (168, 118, 76), 0.04)
    else:
        p.plate()
    wrap, rice = p.scene.name("sauce"), _tint(p.scene.name("base"))
    fillings = p.visible("piece")
    columns, rows, step = 3, 2, 0.5
    for row in range(rows):
        for column in sorted(range(columns), key=lambda c: float(p.ground[1, 0]) * c):
            x, y = (column - 1) * step * 1.02, (row - 0.5) * step * 1.1
            if p.ground[1, 1] < 0:
                y = -y
            x += 0.02 * p.rng.normal()
            side = _tint(wrap) if wrap in TINTS else LOOKS[wrap].layers[0][1]
            p.disc(0.27, _SHADOW, 0.03, x + 0.03, y + 0.02, 80)
            p.cylinder(0.25, 0.03, 0.25, side, side, x, y)
            p.disc(0.225, rice, 0.25, x, y)
            p.disc(0.205, shade(rice, 0.94), 0.25, x, y)
            for k in range(9):
                a = k * 0.7 + column
                p.patch(leaf(0.5) * 0.035 + (x + 0.19 * math.cos(a), y + 0.19 * math.sin(a)), shade(rice, 1.05), 0.25)
            for k, part in enumerate(fillings):
                a = 2 * math.pi * k / max(len(fillings), 1) + 0.6
                spot = 0.0 if len(fillings) == 1 else 0.085
                look = LOOKS[part.name]
                fx, fy = x + spot * math.cos(a), y + spot * math.sin(a)
                color = look.layers[min(1, len(look.layers) - 1)][1]
                edge = look.layers[0][1]
                wide = 0.085 if len(fillings) > 1 else 0.13
                p.patch(blob(wide, fx, fy, 0.1, phase=k), edge, 0.26)
                p.patch(blob(wide * 0.76, fx, fy, 0.1, phase=k), color, 0.26)
    for part in p.visible("garnish"):
        for place in ((0.78, 0.05), (0.8, -0.18)):
            p.piece(part.name, *place, 0.04, cooking="raw")
    if fillings:
        for k, part in enumerate(fillings[:3]):
            p.piece(part.name, -0.3 + 0.32 * k, -0.62, 0.04, scale=0.95)


def _stir_fry(p: _Painter) -> None:
    inside = p.vessel()
    base, sauce = p.scene.name("base"), _tint(p.scene.name("sauce"))
    if base.endswith("rice"):
        _grains(p, inside, mix(_tint(base), sauce, 0.1))
    else:
        _noodles(p, base, sauce, inside)
    for x, y in p.spread(8, inside * 0.6):
        p.patch(blob(0.16, x, y, phase=5 * x), sauce, 0.06, 150)
    p.scatter(p.visible("piece"), inside * 0.8, lambda x, y: 0.12 * (1 - x * x - y * y), area=1.5, scale=1.08)
    p.garnish(inside * 0.7, 0.14)


def _pancakes(p: _Painter) -> None:
    p.plate()
    dough = _tint(p.scene.name("base"))
    face, edge = p.browned(mix(dough, (196, 122, 50), 0.55), 0.7), mix(dough, (250, 226, 160), 0.35)
    p.disc(0.72, _SHADOW, 0.03, 0.03, 0.03, 80)
    z = 0.04
    for k in range(4):
        x, y = 0.03 * p.rng.normal(), 0.03 * p.rng.normal()
        p.cylinder(0.62 - 0.01 * k, z, z + 0.1, edge, face, x, y)
        p.disc(0.62 - 0.01 * k, face, z + 0.1, x, y)
        z += 0.12
    p.disc(0.55, shade(face, 1.08), z - 0.02)
    if sauce := p.scene.name("sauce"):
        color = _tint(sauce)
        p.patch(blob(0.46, wobble=0.12, phase=float(p.rng.random() * 6)), shade(color, 0.9), z)
        p.patch(blob(0.4, wobble=0.12, phase=1), color, z + 0.01)
        for angle in (np.array([0.5, 1.1, 1.8, 2.5]) - p.nuisance.angle).tolist():
            a = p.point(0.56 * math.cos(angle), 0.56 * math.sin(angle), z)
            b = p.point(0.6 * math.cos(angle), 0.6 * math.sin(angle), z - 0.2 - 0.1 * p.rng.random())
            w = 0.045 * p.scale
            p.draw.rounded_rectangle((a[0] - w, min(a[1], b[1]), a[0] + w, max(a[1], b[1])), w, fill=color)
    p.scatter(p.visible("piece"), 0.44, z + 0.03, area=0.85, scale=1.05, cooking="raw")
    parts = p.visible("piece")
    for k in range(6):
        angle = 2 * math.pi * k / 6 + 0.4
        p.piece(
            parts[k % len(parts)].name, 0.76 * math.cos(angle), 0.76 * math.sin(angle), 0.04, cooking="raw", scale=0.9
        )
    p.garnish(0.35, z + 0.06)


def _tacos(p: _Painter) -> None:
    p.plate()
    shell = p.browned(_tint(p.scene.name("base")), 0.8)
    parts = p.visible("main", "piece")
    main = parts[0].name
    names = [part.name for part in parts for _ in range(3 + part.level * (2 if part is parts[0] else 1))]
    turn = np.linspace(0, math.pi, 24)
    arch = np.stack([0.66 * np.cos(turn), -0.46 * np.sin(turn)], axis=1)
    # The shells stand on their folds and face the camera, whatever the plate's angle; they only tilt a little.
    tilt = 0.25 * math.sin(p.nuisance.angle)
    plane = p.scale * np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    for row in (-1, 0, 1):
        foot = p.center + plane @ (0.08 * row, 0.46 * row + 0.24)
        p.fill(arch * (1.0, -0.14) @ plane.T + foot + (0, 0.02 * p.scale), _SHADOW, 90)
        p.fill((arch * 1.02 + (0.0, -0.07)) @ plane.T + foot, shade(shell, 0.78))
        for k, index in enumerate(p.rng.permutation(len(names)).tolist()):
            t = math.pi * (k + 0.5) / len(names)
            place = np.array([0.6 * math.cos(t), -0.43 * math.sin(t) - 0.02 - 0.1 * p.rng.random()])
            p.stamp(
                names[index],
                plane @ place + foot,
                plane * (1.0, 0.8),
                scale=0.75,
                cooking=p.scene.cooking if names[index] == main else "raw",
            )
        p.fill((arch * 0.97) @ plane.T + foot, shade(shell, 0.88))
        p.fill((arch * 0.93) @ plane.T + foot, shell)
        p.fill((arch * (0.72, 0.6) + (0.0, -0.06)) @ plane.T + foot, shade(shell, 1.05))
        for _ in range(5):
            x = 0.45 * (p.rng.random() * 2 - 1)
            spot = blob(0.035, x, -0.08 - 0.2 * p.rng.random(), phase=9 * x)
            p.fill(spot @ plane.T + foot, _BROWN, 60 + int(150 * p.heat.brown))


def _fruit_bowl(p: _Painter) -> None:
    inside = p.bowl()
    color = _tint(p.scene.name("base"))
    p.dome(inside, color, -0.04)
    parts = p.visible("piece")
    # Each fruit has its own sector, as in a breakfast bowl.
    start = p.rng.random() * 2 * math.pi
    total = sum(part.level + 1 for part in parts)
    places: list[tuple[float, float, str]] = []
    for part in parts:
        width = 2 * math.pi * (part.level + 1) / total * 0.86
        radius = LOOKS[part.name].radius
        count = max(3, int(0.62 * width / 2 * inside**2 / (radius * 1.05) ** 2 * 0.62))
        for k in range(count):
            distance = inside * 0.9 * math.sqrt((0.2 + k + 0.5 * p.rng.random()) / count)
            angle = start + width * ((k * 0.618 + 0.1 * p.rng.random()) % 1.0)
            places.append((distance * math.cos(angle), distance * math.sin(angle), part.name))
        start += width / 0.86
    for x, y, name in sorted(places, key=lambda place: float(p.ground[1] @ place[:2])):
        p.piece(name, x, y, 0.0, cooking="raw", scale=1.05)
    if sauce := p.scene.name("sauce"):
        p.drizzle(_tint(sauce), inside * 0.7, 0.04)
    p.garnish(inside * 0.6, 0.05)


def _cookies(p: _Painter) -> None:
    p.plate()
    dough = p.browned(_tint(p.scene.name("base")), 1.0)
    parts = p.visible("piece")
    sauce = p.scene.name("sauce")
    centers = [(0.0, 0.0)] + [(0.6 * math.cos(a), 0.6 * math.sin(a)) for a in np.arange(6) * math.pi / 3 + 0.2]
    centers.sort(key=lambda place: float(p.ground[1] @ place))
    for cx, cy in centers:
        p.disc(0.31, _SHADOW, 0.03, cx + 0.02, cy + 0.02, 90)
        p.patch(blob(0.31, cx, cy, 0.03, phase=cx * 9), shade(dough, 0.68), 0.02)
        p.patch(blob(0.305, cx, cy, 0.03, phase=cx * 9), shade(dough, 0.92), 0.07)
        p.patch(blob(0.24, cx, cy, 0.05, phase=cx * 5), shade(dough, 1.08), 0.08)
        if sauce:
            p.patch(blob(0.22, cx, cy, 0.08, phase=cy * 5), _tint(sauce), 0.09)
        for part in parts:
            for x, y in p.spread(2 + part.level, 0.2):
                small = min(1.0, 0.085 / LOOKS[part.name].radius) * 1.05
                p.piece(part.name, cx + x, cy + y, 0.08, scale=small, cooking="raw")


def _ice_cream(p: _Painter) -> None:
    glass = mix(p.nuisance.plate, (225, 235, 240), 0.6)
    p.disc(0.62, _SHADOW, -0.3, 0.05, 0.05, 80)
    for step in range(10):
        p.disc(0.42 + 0.034 * step, shade(glass, 0.7 + 0.03 * step), -0.36 + 0.05 * step)
    p.disc(0.76, glass, 0.12)
    p.disc(0.7, shade(glass, 0.8), 0.12)
    flavours = p.scene.of("base")
    shifts = {1: [(0.0, 0.24)], 2: [(-0.32, 0.24), (0.32, 0.24)], 3: [(-0.38, 0.24), (0.38, 0.24), (0.0, 0.5)]}
    size = {1: 0.52, 2: 0.42, 3: 0.38}[len(flavours)]
    upright = p.scale * np.array([[1.0, 0.0], [0.0, 0.7]])
    tops = []
    for part, (shift, high) in zip(flavours, shifts[len(flavours)], strict=True):
        # Beside each other as the camera sees them, whatever the plate's angle.
        x, y = np.linalg.solve(p.ground, (shift * p.scale, 0.0)).tolist()
        p.sphere(size, _tint(part.name), high, x, y)
        tops.append(p.point(x, y, high))
    ring = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    for top in tops:
        if sauce := p.scene.name("sauce"):
            drip = size * (0.72 + 0.14 * np.sin(6 * ring + p.nuisance.angle))
            puddle = np.stack([drip * np.cos(ring), 0.6 * drip * np.sin(ring) - 0.3 * size], axis=1)
            p.fill(puddle * p.scale + top, _tint(sauce))
        for part in p.visible("piece", "garnish"):
            for dx, dy in p.spread(2 + part.level, size * 0.6):
                place = top + p.scale * np.array([dx, 0.5 * dy - 0.42 * size])
                p.stamp(part.name, place, upright, scale=min(1.0, 0.15 / LOOKS[part.name].radius), cooking="raw")


def _skewers(p: _Painter) -> None:
    p.plate()
    base = p.scene.name("base")
    if base in LOOKS:
        _leaves(p, 0.66, 14, base, 0.02)
    elif base:
        _grains(p, 0.74, _tint(base))
    parts = p.visible("main", "piece")
    for row in sorted((-1, 0, 1), key=lambda r: float(p.ground[1, 1]) * r):
        y = 0.4 * row
        p.patch(box(1.0, 0.022, 0, y), (120, 84, 46), 0.06)
        p.patch(box(1.0, 0.012, 0, y), (206, 168, 112), 0.07)
        sequence: list[str] = []
        while len(sequence) < 7:
            for k, part in enumerate(parts):
                sequence += [part.name] * (1 if k or part.level < 3 else 2)
        places = [(-0.66 + 1.32 * k / 6, name) for k, name in enumerate(sequence[:7])]
        for x, name in sorted(places, key=lambda place: float(p.ground[1, 0]) * place[0]):
            p.piece(name, x, y + 0.015 * p.rng.normal(), 0.1, scale=0.185 / LOOKS[name].radius)
    if sauce := p.scene.name("sauce"):
        for row in (-1, 0, 1):
            for k in range(6):
                p.patch(blob(0.06, -0.6 + 0.24 * k, 0.4 * row + 0.03, phase=k), _tint(sauce), 0.16, 190)
    p.garnish(0.7, 0.12)


def _toast(p: _Painter) -> None:
    p.plate()
    bread = _tint(p.scene.name("base"))
    crust = p.browned(shade(mix(bread, _BROWN, 0.45), 0.95), 0.8)
    spread = _tint(p.scene.name("sauce"))
    shape = np.array(
        [
            (-0.36, 0.5),
            (0.36, 0.5),
            (0.38, -0.2),
            (0.44, -0.36),
            (0.34, -0.52),
            (0.0, -0.58),
            (-0.34, -0.52),
            (-0.44, -0.36),
            (-0.38, -0.2),
        ]
    )
    for center in sorted(((-0.42, -0.06), (0.42, 0.08)), key=lambda c: float(p.ground[1] @ c)):
        p.fill((shape + center) @ p.ground.T + p.center + p.shadow * 0.08 * p.scale, _SHADOW, 80)
        p.patch(shape + center, shade(crust, 0.75), 0.02)
        p.patch(shape + center, crust, 0.1)
        p.patch(shape * 0.9 + center, p.browned(bread, 0.6), 0.11)
        p.patch(shape * 0.8 + center, shade(spread, 0.9), 0.12)
        p.patch(shape * 0.76 + center, spread, 0.13)
        p.scatter(p.visible("piece"), 0.36, 0.14, area=1.05, scale=0.85, x=center[0], y=center[1] - 0.02, cooking="raw")
        for part in p.visible("garnish"):
            p.scatter([part], 0.34, 0.17, area=0.2, x=center[0], y=center[1], cooking="raw")


DISHES: dict[str, tuple[Callable[[_Painter], None], tuple[float, float]]] = {
    "soup": (_soup, (0.68, 0.95)),
    "salad": (_salad, (0.68, 0.97)),
    "pizza": (_pizza, (0.75, 1.0)),
    "pasta": (_pasta, (0.68, 0.95)),
    "burger": (_burger, (0.3, 0.42)),
    "cake": (_cake, (0.5, 0.68)),
    "curry": (_curry, (0.7, 0.95)),
    "omelette": (_omelette, (0.7, 0.95)),
    "pie": (_pie, (0.7, 0.97)),
    "sushi": (_sushi, (0.62, 0.9)),
    "stir-fry": (_stir_fry, (0.68, 0.95)),
    "pancakes": (_pancakes, (0.5, 0.68)),
    "tacos": (_tacos, (0.8, 0.97)),
    "fruit bowl": (_fruit_bowl, (0.72, 0.97)),
    "cookies": (_cookies, (0.68, 0.95)),
    "ice cream": (_ice_cream, (0.45, 0.6)),
    "skewers": (_skewers, (0.7, 0.95)),
    "toast": (_toast, (0.72, 0.97)),
}
"""Kind of dish → what draws it, and the least and greatest height of the plate's ellipse in widths."""


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
    paint, squash = DISHES[scene.dish]
    painter = _Painter(size, scene, _draw_nuisance(nuisance), layout, squash)
    painter.table()
    paint(painter)
    return painter.finish(grain)
