"""A picture of random pairs of what was prepared, so that a person sees what was read."""

import io
import pathlib
import textwrap
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from kfood.data.dataset import RecipeRecord
from kfood.data.fonts import font as of_size

SHOWN = 24
_COLUMNS, _CELL, _GAP, _CAPTION = 6, 190, 14, 104
_LETTERS = 28


class Overview:
    """Keeps a random sample of the records that pass, and draws it.

    Args:
        shown: how many pairs.
        seed: of the sample.
    """

    def __init__(self, shown: int = SHOWN, seed: int = 0):
        self._shown = shown
        self._random = np.random.default_rng(seed)
        self._seen = 0
        self._kept: list[tuple[str, RecipeRecord]] = []

    def passing(self, split: str, records: Iterator[RecipeRecord]) -> Iterator[RecipeRecord]:
        """The records of a split; those with photos are as likely to be drawn as any others (reservoir sampling)."""
        for record in records:
            if not record.photos:
                yield record
                continue
            self._seen += 1
            if len(self._kept) < self._shown:
                self._kept.append((split, record))
            elif (place := int(self._random.integers(self._seen))) < self._shown:
                self._kept[place] = (split, record)
            yield record

    def draw(self) -> bytes:
        """PNG: photo, split and id, title, first ingredients and first step of each pair of the sample."""
        rows = -(-max(len(self._kept), 1) // _COLUMNS)
        block = _CELL + _CAPTION + _GAP
        canvas = Image.new("RGB", (_GAP + _COLUMNS * (_CELL + _GAP), _GAP + rows * block), "white")
        draw = ImageDraw.Draw(canvas)
        font, bold = of_size(11), of_size(13)
        for number, (split, record) in enumerate(self._kept):
            x, y = _GAP + number % _COLUMNS * (_CELL + _GAP), _GAP + number // _COLUMNS * block
            with Image.open(io.BytesIO(record.photos[0])) as image:
                photo = image.convert("RGB")
            photo.thumbnail((_CELL, _CELL))
            canvas.paste(photo, (x + (_CELL - photo.width) // 2, y + (_CELL - photo.height) // 2))
            draw.text((x, y + _CELL + 4), f"{split}  {record.id}"[:_LETTERS], fill="#2c5d8f", font=font)
            draw.text((x, y + _CELL + 18), _cut(record.title, 1, _LETTERS - 4), fill="black", font=bold)
            ingredients = _cut(", ".join(record.ingredient_names or record.ingredients), 3)
            step = _cut(record.instructions[0] if record.instructions else "", 2)
            draw.multiline_text((x, y + _CELL + 36), ingredients, fill="#444444", font=font, spacing=2)
            draw.multiline_text((x, y + _CELL + 78), step, fill="#888888", font=font, spacing=2)
        encoded = io.BytesIO()
        canvas.save(encoded, "PNG")
        return encoded.getvalue()

    def write(self, path: pathlib.Path) -> None:
        """Draw to a file."""
        path.write_bytes(self.draw())


def _cut(text: str, most: int, width: int = _LETTERS + 4) -> str:
    wrapped = textwrap.wrap(text, width)
    if len(wrapped) > most:
        wrapped = [*wrapped[: most - 1], wrapped[most - 1][: width - 1] + "…"]
    return "\n".join(wrapped)
