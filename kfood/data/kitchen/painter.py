"""The canvas, its camera and the brushes: all that the steps of a picture are drawn with.

Coordinates: the dish lies on the ground plane, ``x`` and ``y`` in plate radii around the plate's centre, ``z`` is
height. The camera is orthographic: it turns the plane, squashes ``y`` and lifts ``z``. Everything is drawn with Pillow
polygons at twice the size and reduced.
"""

import functools
import io
import math

import numpy as np
from PIL import Image, ImageDraw

from kfood.data.kitchen.conditions import Conditions
from kfood.data.kitchen.looks import BROWN, CHAR, COOKING, LOOKS, tint
from kfood.data.kitchen.scene import Part, Scene
from kfood.data.kitchen.shapes import Color, Points, blob, box, evaluate, mix, moved, polar, shade

_OVERSAMPLING = 2
SHADOW: Color = (16, 12, 10)


@functools.cache
def _cooked(name: str, cooking: str) -> tuple[list[int], Points, list[tuple[Color, int]]]:
    """A piece after cooking: corners of each of its layers, float64 [all corners, 2], colours with their opacity."""
    look, heat = LOOKS[name], COOKING[cooking]
    layers: list[tuple[Points, Color, int]] = []
    for points, color in look.layers:
        grey = sum(color) // 3
        pale = mix(color, mix((grey, grey, grey), (244, 232, 204), 0.6), heat.pale)
        layers.append((points, mix(pale, BROWN, heat.brown), 255))
    reach = np.abs(look.layers[0][0]).max(axis=0)
    if heat.brown >= 0.3:
        layers += [(moved(blob(0.3), *spot) * reach, shade(BROWN, 0.7), 110) for spot in ((-0.35, 0.2), (0.4, -0.2))]
    if heat.char:
        # Small pieces get one mark: more would hide what they are.
        for x in (-0.4, 0.05, 0.48) if look.radius > 0.15 else (0.05,):
            layers.append((moved(box(0.085, 0.72 - abs(x) * 0.4), x, 0) * reach, CHAR, int(190 * heat.char)))
    corners = np.concatenate([points for points, _, _ in layers])
    return [len(points) for points, _, _ in layers], corners, [(color, alpha) for _, color, alpha in layers]


class Painter:
    """A canvas at twice the final size with its camera.

    ``origin`` is where the steps draw, (0, 0) or the place of one of several things on the plate, and ``inside`` the
    radius of what the vessel holds, in which steps measure theirs.

    Args:
        size: side of the final picture, pixels.
        scene: what the recipe tells.
        conditions: what it does not.
        layout: random stream for the places of the pieces.
        squash: least and greatest height of the plate's ellipse in widths, for this kind of dish.
    """

    def __init__(
        self, size: int, scene: Scene, conditions: Conditions, layout: np.random.Generator, squash: tuple[float, float]
    ):
        side = size * _OVERSAMPLING
        self.side = side
        self.scene = scene
        self.conditions = conditions
        self.rng = layout
        self.heat = COOKING[scene.cooking]
        self.image = Image.new("RGB", (side, side), conditions.table)
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.squash = squash[0] + (squash[1] - squash[0]) * conditions.squash
        self.scale = side * conditions.zoom
        self.lift = self.scale * math.sqrt(1 - self.squash**2)
        self.inside = 1.0
        cos, sin = math.cos(conditions.angle), math.sin(conditions.angle)
        self.ground = self.scale * np.array([[cos, -sin], [self.squash * sin, self.squash * cos]])
        self.center = np.array([side * (0.5 + conditions.x), side * (0.5 + conditions.y)])
        self.move(0.0, 0.0)
        self.shadow = np.array([math.cos(conditions.light_angle), 0.6 + 0.4 * math.sin(conditions.light_angle)])

    # What the scene says.

    def visible(self, *roles: str) -> list[Part]:
        """The parts with one of the roles that this photo shows: now and then one that is not the first is buried."""
        parts = self.scene.of(*roles)
        return [
            part
            for k, part in enumerate(parts)
            if k == 0 or len(parts) == 1 or self.conditions.hidden[(k + 3 * (part.role == "garnish")) % 8] > 0.07
        ]

    def color(self, written: str | list) -> Color | None:
        """A colour as the tables write it; None where the scene lacks the ingredient.

        Args:
            written: as :func:`~kfood.data.kitchen.shapes.evaluate` has it, and ``["brown", color, strength]`` for what
                the cooking does. Names are ``"plate"``, ``"shadow"``, a role for the colour of its area, ``"bottom
                ROLE"`` and ``"top ROLE"`` for the first and last layer of its pieces.
        """
        return evaluate(written, self._named, brown=self.browned)

    def _named(self, name: str) -> Color | None:
        if name in ("plate", "shadow"):
            return SHADOW if name == "shadow" else self.conditions.plate
        *layer, role = name.split()
        ingredient = self.scene.name(role)
        if not layer:
            return tint(ingredient) if ingredient else None
        return LOOKS[ingredient].layers[0 if layer == ["bottom"] else -1][1] if ingredient in LOOKS else None

    def browned(self, color: Color, strength: float = 1.0) -> Color:
        """A dough or crust colour after the scene's cooking."""
        return mix(mix(color, BROWN, strength * self.heat.brown), CHAR, 0.3 * strength * self.heat.char)

    # Brushes.

    def move(self, x: float, y: float) -> None:
        """Moves the origin, from which steps measure places on the ground."""
        self.origin = np.array([x, y])
        self._middle = self.ground @ self.origin + self.center

    def pixels(self, points: Points, z: float = 0.0) -> Points:
        """Canvas pixels of places at height z in the scene, float64 [n, 2] or [2]."""
        pixels = points @ self.ground.T
        pixels += self._middle
        pixels[..., 1] -= z * self.lift
        return pixels

    def point(self, x: float, y: float, z: float = 0.0) -> Points:
        """Canvas pixel of a place in the scene."""
        return self.ground @ (x, y) + self._middle - (0.0, z * self.lift)

    def depth(self, place: tuple[float, float]) -> float:
        """How far in front a place lies: the camera looks along -y of the canvas."""
        return float(self.ground[1] @ place)

    def fill(self, pixels: Points, color: Color, alpha: int = 255) -> None:
        """Fills a polygon given in canvas pixels."""
        self.draw.polygon(pixels.ravel().tolist(), fill=(*color, alpha))

    def patch(self, points: Points, color: Color, z: float = 0.0, alpha: int = 255) -> None:
        """Fills a polygon that lies flat at height z."""
        self.fill(self.pixels(points, z), color, alpha)

    def line(self, pixels: Points, color: Color, width: int) -> None:
        """A line through canvas pixels."""
        self.draw.line(pixels.ravel().tolist(), fill=color, width=width, joint="curve")

    def ellipse(self, pixel: Points, width: float, height: float, color: Color, alpha: int = 255) -> None:
        """An upright ellipse around a canvas pixel, given by half its axes."""
        x, y = pixel.tolist()
        self.draw.ellipse((x - width, y - height, x + width, y + height), fill=(*color, alpha))

    def disc(
        self, radius: float, color: Color, z: float = 0.0, x: float = 0.0, y: float = 0.0, alpha: int = 255
    ) -> None:
        """A flat disc; seen from any angle of the plate it is an ellipse with level axes."""
        width = radius * self.scale
        self.ellipse(self.point(x, y, z), width, width * self.squash, color, alpha)

    def drop(self, top: Points, bottom: Points, width: float, color: Color) -> None:
        """A drip between two canvas pixels, its width in plate radii."""
        half = width * self.scale
        corners = (top[0] - half, min(top[1], bottom[1]), top[0] + half, max(top[1], bottom[1]))
        self.draw.rounded_rectangle(corners, half, fill=color)

    def cylinder(
        self, radius: float, low: float, high: float, side: Color, top: Color, x: float = 0.0, y: float = 0.0
    ) -> None:
        """An upright cylinder: shaded side, then its top."""
        angles = np.linspace(0, math.pi, 13)
        rim = self.point(x, y) + polar(radius * self.scale, angles) * (1, self.squash)
        floor, roof = rim - (0, low * self.lift), rim - (0, high * self.lift)
        for k in range(12):
            tone = shade(side, 0.74 + 0.3 * math.sin(angles[k] * 0.8 + 0.25))
            self.fill(np.array([floor[k], floor[k + 1], roof[k + 1], roof[k]]), tone)
        self.disc(radius, top, high, x, y)

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
            name: key of :data:`~kfood.data.kitchen.looks.LOOKS`.
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
        self.fill(first + self.shadow * (0.05 * radius * self.scale + 0.3 * height), SHADOW, 70)
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
        places = polar(distance, angle)[self.rng.permutation(count)]
        return [(x, y) for x, y in places.tolist()]

    def finish(self, grain: np.random.Generator) -> bytes:
        """Light, noise and JPEG: the photo's bytes."""
        size = self.side // _OVERSAMPLING
        pixels: np.ndarray = np.array(self.image.reduce(_OVERSAMPLING), np.float32)
        conditions = self.conditions
        axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        slope = axis * math.cos(conditions.light_angle), axis * math.sin(conditions.light_angle)
        lit = 1.0 - 0.22 * (slope[0][None, :] + slope[1][:, None])
        pixels *= lit[:, :, None]
        pixels *= np.array(conditions.light, np.float32)
        coarse = grain.standard_normal((9, 9), dtype=np.float32) * 2.0
        cloud = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        noise = grain.standard_normal((size, size, 1), dtype=np.float32) * conditions.noise
        pixels += noise + np.asarray(cloud)[:, :, None]
        photo = Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=conditions.quality)
        return stream.getvalue()
