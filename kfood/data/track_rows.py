"""Rows of numbers in text files, as those who record walks write them: which column is what.

=================== ============================================================ ===============================
numbers in a row    columns                                                      who writes them
=================== ============================================================ ===============================
8                   frame, pedestrian, x, z, y, and the velocity's x, z, y       ETH's obsmat.txt
4                   frame, pedestrian, x, y                                      UCY, and ETH as it is passed on
3                   time, x, y
2                   x, y
any                 those that a first row names (:data:`NAMES`), after # or not  spreadsheets
=================== ============================================================ ===============================

Fields are separated by semicolons, else by commas, else by tabs or blanks; where not by commas, a number may have a
decimal comma.
"""

import math
import re
from typing import NamedTuple

NAMES = {
    "time": ("frame", "frame_id", "frame_number", "time", "t", "timestamp", "seconds"),
    "track": ("id", "pedestrian", "pedestrian_id", "ped", "ped_id", "track", "track_id", "agent", "agent_id"),
    "x": ("x", "pos_x"),
    "y": ("y", "pos_y"),
    "": ("z", "pos_z", "v_x", "v_y", "v_z", "vx", "vy", "vz"),
}
"""Column → how a first row may call it, in small or capital letters; what is under "" is not read."""

_BY_WIDTH = {
    2: {"x": 0, "y": 1},
    3: {"time": 0, "x": 1, "y": 2},
    4: {"time": 0, "track": 1, "x": 2, "y": 3},
    8: {"time": 0, "track": 1, "x": 2, "y": 4},
}
_COMMA_SEPARATES = re.compile(r",\s|\s,")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d*([eE][-+]?\d+)?")


class Row(NamedTuple):
    """What a row says; ``time`` and ``track`` are None where its file has no such column."""

    time: float | None
    track: float | None
    x: float
    y: float


class ColumnsError(ValueError):
    """A first row that names columns, but not those of a track; the file cannot be read.

    Attributes:
        column: what it names.
    """

    def __init__(self, reason: str, column: str):
        super().__init__(reason)
        self.column = column


class Rows:
    """Reads the rows of one file; the first of them says how many columns there are, or their names."""

    def __init__(self):
        self._columns: dict[str, int] = {}
        self._width = 0

    def read(self, line: str) -> Row | None:
        """A row that is not blank; None where it names the columns.

        Raises:
            ColumnsError: it is the first one and names other columns.
            ValueError: it cannot be read; the message is the reason.
        """
        fields = _fields(line.strip().lstrip("#").strip())
        try:  # an empty field is how some programs write a missing number
            values = [float(_point(field) or "nan") for field in fields]
        except ValueError:
            if self._width or any(_is_number(field) for field in fields):
                raise ValueError("not a row of numbers") from None
            self._columns, self._width = _named(fields), len(fields)
            return None
        if not self._width:
            if len(values) not in _BY_WIDTH:
                raise ValueError("not a row of 2, 3, 4 or 8 numbers")
            self._columns, self._width = _BY_WIDTH[len(values)], len(values)
        if len(values) != self._width:
            raise ValueError("not as many numbers as the rows before")
        found = {name: values[index] for name, index in self._columns.items()}
        if not math.isfinite(found.get("track", 0)):
            raise ValueError("not finite")
        return Row(found.get("time"), found.get("track"), found["x"], found["y"])


def _fields(line: str) -> list[str]:
    if ";" in line:
        fields = line.split(";")
    elif "," in line and (_COMMA_SEPARATES.search(line) or not re.search(r"\s", line)):
        fields = line.split(",")
    else:
        fields = line.split()
    return [field.strip().strip('"') for field in fields]


def _point(field: str) -> str:
    """A number with a decimal comma as one with a point."""
    return field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field) else field


def _is_number(field: str) -> bool:
    try:
        float(_point(field))
    except ValueError:
        return False
    return True


def _named(fields: list[str]) -> dict[str, int]:
    """Column → its place, of a first row of names."""
    found: dict[str, int] = {}
    for index, field in enumerate(fields):
        name = field.lower().replace(" ", "_")
        column = next((column for column, names in NAMES.items() if name in names), None)
        if column is None or column in found:
            raise ColumnsError("first row names no columns of a track (frame, id, x, y), or one twice", name)
        if column:
            found[column] = index
    if not {"x", "y"} <= set(found):
        raise ColumnsError("first row names no columns x and y", " ".join(fields))
    return found
