"""Trajectories as pictures: an antialiased line of random thickness.

Drawn by Pillow at four times the size and averaged. The picture's corners are its location. TrajCross's paper says only
that "we convert each trajectory into an image" and that the thickness is random; what the picture shows is ours:

- ``"window"``: a window around the line at a random offset and scale, which says where the trajectory is only to
  within the window's play;
- ``"scene"``: all of the ground, the same in each picture, so that the corners say nothing and the ink says all.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SUPERSAMPLED = 4
_BORDER = 0.04


@dataclasses.dataclass(frozen=True)
class Style:
    """How pictures are drawn.

    Attributes:
        image_size: side, pixels.
        thickness: least and most thickness of the line, pixels.
        scale: least and most side of the window, in longer sides of the trajectory's box.
        least_extent: a smaller box counts as this, metres.
        backgrounds: pictures of which one, or a piece of one, lies behind each line; none: white.
        scene: left, top, right and bottom in metres of what each picture shows; None: a window around its line.
    """

    image_size: int = 64
    thickness: tuple[float, float] = (1.0, 4.0)
    scale: tuple[float, float] = (1.25, 2.5)
    least_extent: float = 3.0
    backgrounds: tuple[pathlib.Path, ...] = ()
    scene: tuple[float, float, float, float] | None = None

    def __post_init__(self):
        if not 0 < self.thickness[0] <= self.thickness[1]:
            raise ValueError(f"thickness: expected two rising numbers above 0, received {self.thickness}.")
        if not 1 / (1 - 2 * _BORDER) <= self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected two rising numbers of at least 1.1, received {self.scale}.")


@dataclasses.dataclass(frozen=True)
class Movement:
    """How trajectories are moved in training, before they are drawn: a trajectory and its picture move together.

    Attributes:
        turn: whether they are turned by any angle, mirrored or not, around their middle.
        shift: most metres by which they are shifted along each axis.
        stretch: most factor, or its inverse, by which they are stretched around their middle.
        reverse: whether half of them run backwards: a picture does not say in which direction its line ran.
    """

    turn: bool = False
    shift: float = 0.0
    stretch: float = 1.0
    reverse: bool = False

    def move(self, points: NDArray, random: np.random.Generator) -> NDArray:
        """Float [points, 2] → the same, moved."""
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        angle, flip, back = random.uniform(0, 2 * np.pi), random.random() < 0.5, random.random() < 0.5
        shift, stretch = random.uniform(-1, 1, 2) * self.shift, self.stretch ** random.uniform(-1, 1)
        centred = (points - middle) * stretch
        if self.turn:
            cos, sin = np.cos(angle), np.sin(angle)
            centred = centred @ np.array([[cos, sin], [-sin, cos]]) * ([-1.0, 1.0] if flip else [1.0, 1.0])
        moved = centred + middle + shift
        return moved[::-1] if self.reverse and back else moved


def scene_of(ground: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """What a picture of all of the ground shows.

    Args:
        ground: the fields of :class:`kfood.schema.TrajectorySpec` that say where it lies.

    Returns:
        :attr:`Style.scene`: left, top, right and bottom in metres, a border around the ground; None where pictures show
        windows.
    """
    if ground.get("frame", "window") == "window":
        return None
    x, y, reach = ground["centre_x"], ground["centre_y"], ground["extent"] / (1 - 2 * _BORDER)
    return x - reach, y + reach, x + reach, y - reach


def kept_inside(points: NDArray, scene: tuple[float, float, float, float]) -> NDArray:
    """A trajectory shifted to where a scene's picture shows it; one too long for that is shifted to its upper right.

    Args:
        points: float [points, 2], metres.
        scene: see :attr:`Style.scene`.

    Returns:
        float [points, 2].
    """
    left, top, right, bottom = scene
    border = _BORDER * (right - left)
    lacking = np.maximum(np.array([left, bottom]) + border - points.min(axis=0), 0.0)
    over = np.minimum(np.array([right, top]) - border - (points + lacking).max(axis=0), 0.0)
    return points + lacking + over


def place(points: NDArray, style: Style, random: np.random.Generator) -> NDArray[np.float32]:
    """What the picture of a trajectory shows: the style's scene, or a window around the line.

    Args:
        points: float [points, 2], metres.
        style: its scene, or else its scale and least extent.
        random: draws scale and offset.

    Returns:
        float32 [4]: left, top, right, bottom in metres, top above bottom; in a window lie all points.
    """
    if style.scene is not None:
        return np.array(style.scene, np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), style.least_extent) * random.uniform(*style.scale)
    border = _BORDER * side
    left, bottom = random.uniform(high + border - side, low - border)
    return np.array([left, bottom + side, left + side, bottom], np.float32)


def draw(
    points: NDArray, location: NDArray, thickness: float, style: Style, random: np.random.Generator
) -> NDArray[np.uint8]:
    """The picture of a trajectory in a window.

    Args:
        points: float [points, 2], metres.
        location: float [4]: left, top, right, bottom.
        thickness: of the line, pixels.
        style: its size and backgrounds.
        random: draws the background, where there are any.

    Returns:
        uint8 [side, side, 3]: a black line on white, or a red one on a background.
    """
    left, top, right, bottom = (float(value) for value in location)
    large = style.image_size * _SUPERSAMPLED
    # A pixel's coordinates count from its centre.
    x = (points[:, 0] - left) / (right - left) * large - 0.5
    y = (top - points[:, 1]) / (top - bottom) * large - 0.5
    line = Image.new("L", (large, large))
    pen = ImageDraw.Draw(line)
    width = max(1, round(thickness * _SUPERSAMPLED))
    corners = list(zip(x.tolist(), y.tolist(), strict=True))
    pen.line(corners, fill=255, width=width)
    radius = (width - 1) / 2  # an ellipse holds the pixels of both its sides
    for u, v in corners:  # round joints and ends; and what does not move is a dot
        pen.ellipse((u - radius, v - radius, u + radius, v + radius), fill=255)
    found = np.asarray(line.reduce(_SUPERSAMPLED))[..., None]
    if style.backgrounds:
        ink = found.astype(np.float32) / 255.0
        ground = _ground(style.backgrounds[random.integers(len(style.backgrounds))], style.image_size, random)
        return np.rint((1.0 - ink) * ground + ink * np.array([255.0, 0.0, 0.0], np.float32)).astype(np.uint8)
    return np.repeat(255 - found, 3, axis=-1)


def picture(points: NDArray, style: Style, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray]:
    """A picture with everything drawn at random: (uint8 [side, side, 3], location float32 [4])."""
    location = place(points, style, random)
    return draw(points, location, random.uniform(*style.thickness), style, random), location


@functools.lru_cache(maxsize=512)
def _opened(path: pathlib.Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _ground(path: pathlib.Path, side: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A random square of a picture at a picture's size: float32 [side, side, 3]."""
    image = _opened(path)
    crop = int(min(image.size) * random.uniform(0.5, 1.0)) or 1
    x, y = (int(random.integers(length - crop + 1)) for length in image.size)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX, (x, y, x + crop, y + crop)), np.float32)
