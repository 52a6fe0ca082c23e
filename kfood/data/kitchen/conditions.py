"""What a recipe does not tell about its photo: plate, table, light, camera, clutter."""

import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from kfood.data.kitchen.shapes import Color, rgb, shade

TABLES: dict = json.loads(pathlib.Path(__file__).with_name("pictures.json").read_text(encoding="utf-8"))
"""``palettes`` of the conditions, and the pictures of ``dishes`` (:mod:`~kfood.data.kitchen.drawing`)."""

_PALETTES = {name: [rgb(color) for color in colors] for name, colors in TABLES["palettes"].items()}


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.random() * len(choices))]


class Conditions:
    """The conditions of one photo, drawn once from their own stream, in this order.

    Attributes:
        light: factors of red, green and blue.
        squash: height of the plate's ellipse, from 0 for the least that its dish allows to 1 for the greatest.
        angle: by which the plate is turned, radians.
        zoom: the plate's radius in sides of the photo.
        x: the plate's place beside the middle, in sides of the photo; ``y`` likewise.
        plate: colour of the plate.
        rim: colour of its rim.
        rim_width: in plate radii.
        square: whether the plate has corners.
        deep: whether what may lie in a bowl or on a plate lies in a bowl.
        table: colour of the table.
        texture: of the table: 1 planks, 2 checks, 3 stripes, else plain.
        texture_angle: radians.
        light_angle: where the light comes from, radians.
        clutter: 1 a fork, 2 a knife, 3 a cloth, 4 a cup, else nothing.
        clutter_color: colour of cloth and cup.
        noise: standard deviation, in steps of 255.
        quality: of the JPEG.
        hidden: eight numbers from 0 to 1; where one is small an ingredient is buried.
    """

    def __init__(self, rng: np.random.Generator):
        warmth, brightness = rng.normal(0.0, 0.05), rng.uniform(0.84, 1.1)
        self.light = (brightness * (1 + warmth), brightness, brightness * (1 - warmth))
        self.squash = rng.random()
        self.angle = rng.uniform(0, 2 * math.pi)
        self.zoom = rng.uniform(0.405, 0.49)
        self.x = rng.uniform(-0.05, 0.05)
        self.y = rng.uniform(-0.05, 0.05)
        self.plate: Color = _pick(rng, _PALETTES["plates"])
        self.rim: Color = _pick(rng, _PALETTES["rims"])
        self.rim_width: float = _pick(rng, (0.0, 0.0, 0.03, 0.06))
        self.square = rng.random() < 0.15
        self.deep = rng.random() < 0.6
        self.table = shade(_pick(rng, _PALETTES["tables"]), rng.uniform(0.85, 1.1))
        self.texture = int(rng.random() * 4)
        self.texture_angle = rng.uniform(0, math.pi)
        self.light_angle = rng.uniform(0, 2 * math.pi)
        self.clutter = int(rng.random() * 6)
        self.clutter_color: Color = _pick(rng, _PALETTES["rims"])
        self.noise = rng.uniform(1.5, 6.0)
        self.quality = int(rng.uniform(72, 94))
        self.hidden: list[float] = rng.random(8).tolist()
