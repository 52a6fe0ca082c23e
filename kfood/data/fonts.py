"""The font of pictures with text: one that has the letters of recipes."""

import functools
import importlib.util
import pathlib

from PIL import ImageFont

_FILE = "mpl-data/fonts/ttf/DejaVuSans.ttf"


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, as matplotlib carries it: with accents, Greek and Cyrillic, °, ½, which Pillow's own font lacks.

    Args:
        size: of Pillow's own font that it stands for; the letters are as wide.
    """
    found = importlib.util.find_spec("matplotlib")  # importing it takes a while
    assert found is not None  # kfood requires it
    assert found.origin is not None
    return ImageFont.truetype(pathlib.Path(found.origin).parent / _FILE, size - 1)
