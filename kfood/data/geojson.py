"""Lines of GeoJSON files, a feature of a collection at a time, with their times where a converter from GPX left any.

GeoJSON has no times; togeojson writes a feature's as its property ``coordTimes``, newer versions as
``coordinateProperties.times``: a list as long as the coordinates, a list of them for a MultiLineString.
"""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ijson

from kfood.data import json_files


class Line(NamedTuple):
    """Coordinates of a line as written, and the time of each, None where it has none; ``times`` None: none has any."""

    coordinates: list
    times: list | None


def lines(path: pathlib.Path, drop: Callable[[str, str], None]) -> Iterator[Line]:
    """Every line of a file.

    Args:
        path: the file.
        drop: is told the reason and the place of each feature that is skipped.

    Raises:
        ValueError: not GeoJSON from there on.
    """
    number = 0
    try:
        for number, feature in enumerate(json_files.items(path, "features.item", use_float=True), 1):
            where = f"{path.name}, feature {number}"
            try:
                found = list(_lines(feature))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                drop(str(error) if isinstance(error, ValueError) else "malformed feature", where)
            else:
                yield from found
        if not number:
            yield from _lines(json_files.load(path))
    except (ijson.JSONError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _lines(content: dict[str, Any], times: Any = None) -> Iterator[Line]:
    """Every line of a GeoJSON object; a ValueError is the reason why it has none that can be read."""
    kind = content["type"]
    if kind == "FeatureCollection":
        for feature in content["features"]:
            yield from _lines(feature)
    elif kind == "Feature":
        if "geometry" not in content:
            raise ValueError("feature without a geometry")
        if content["geometry"]:
            properties = content.get("properties") or {}
            times = properties.get("coordTimes") or (properties.get("coordinateProperties") or {}).get("times")
            yield from _lines(content["geometry"], times)
    elif kind == "GeometryCollection":
        for geometry in content["geometries"]:
            yield from _lines(geometry, times)
    elif kind == "LineString":
        yield _line(content["coordinates"], times)
    elif kind == "MultiLineString":
        several = content["coordinates"]
        _check(several, times)
        yield from map(_line, several, times or [None] * len(several))


def _check(values: list, times: Any) -> None:
    if not isinstance(values, list):
        raise TypeError("coordinates that are no list")
    if times is not None and not (isinstance(times, list) and len(times) == len(values)):
        raise ValueError("not as many times as points")


def _line(coordinates: list, times: Any) -> Line:
    _check(coordinates, times)
    return Line(coordinates, times if times is not None and any(times) else None)
