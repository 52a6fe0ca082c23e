"""Points of GPX files, streamed."""

import contextlib
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

_POINTS = {"trkpt": "tracks", "rtept": "routes", "wpt": "waypoints"}
_DONE = (*_POINTS, "trkseg", "trk", "rte")


class Found(NamedTuple):
    """A point.

    Attributes:
        kind: ``"tracks"``, ``"routes"`` or ``"waypoints"``: what it is part of.
        segment: number of the track segment in the file, from 1.
        number: of the point in its segment, from 1.
        longitude: as written, "" where there is none.
        latitude: likewise.
        time: likewise.
    """

    kind: str
    segment: int
    number: int
    longitude: str
    latitude: str
    time: str


def points(path: pathlib.Path) -> Iterator[Found]:
    """The points of a file in its order; a point is forgotten once it was given.

    Raises:
        ValueError: broken XML from there on.
    """
    segment, number = 0, 0
    around: list[ElementTree.Element] = []  # what has begun and not ended
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            tag = element.tag.rpartition("}")[2]
            if event == "start":
                around.append(element)
                if tag == "trkseg":
                    segment, number = segment + 1, 0
                continue
            around.pop()
            if tag in _POINTS:
                number += 1
                longitude, latitude = (element.attrib.get(name, "") for name in ("lon", "lat"))
                yield Found(_POINTS[tag], segment, number, longitude, latitude, _time(element))
            if around and tag in _DONE:
                around[-1].remove(element)
    except (ElementTree.ParseError, LookupError) as error:  # the last of an encoding without a name
        raise ValueError(str(error)) from error


def timed_segments(path: pathlib.Path) -> frozenset[int]:
    """Numbers of the track segments in which any point has a time, up to where the file is broken."""
    found: set[int] = set()
    with contextlib.suppress(ValueError):
        found.update(point.segment for point in points(path) if point.kind == "tracks" and point.time)
    return frozenset(found)


def _time(point: ElementTree.Element) -> str:
    texts = [child.text for child in point if child.tag.rpartition("}")[2] == "time"]
    return next((text.strip() for text in texts if text), "")
