"""Trajectories from files: read row by row, projected to metres, cut into windows, split.

========== =============================================================== ========================================
files      a row or point                                                  a track
========== =============================================================== ========================================
.txt .csv  ``frame pedestrian x y`` (UCY/ETH), ``time x y`` or ``x y``,     a pedestrian of a file; with fewer
           metres; more in :mod:`kfood.data.track_rows`                     columns the whole file
.geojson   LineString and MultiLineString, alone or in features, in         a line
.json      longitude, latitude; times as togeojson writes them
.gpx       ``trkpt`` with ``lat`` and ``lon``                               a ``trkseg``
========== =============================================================== ========================================

Degrees become metres by :func:`project`. Files are streamed: what is kept in memory is a window's worth of points for
each track, and of GeoJSON one feature of a collection, so that a file of any length is read. What cannot be used is
dropped and counted by reason. A track has the times of all of its points or none: where some points of a GPX segment or
a line have one, the others are dropped.
"""

import collections
import dataclasses
import datetime
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kfood.data import geojson, gpx
from kfood.data.drops import Drops
from kfood.data.names import printable
from kfood.data.track_rows import ColumnsError, Rows

EARTH_RADIUS = 6_371_008.8
"""Mean radius (IUGG), metres."""

TEXT_SUFFIXES = (".txt", ".csv")
GEOGRAPHIC_SUFFIXES = (".geojson", ".json", ".gpx")

_UNTIMED = "no time, on a track that has times"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A point of a track.

    Attributes:
        track: name, unique over all files.
        time: frame number or seconds; where the file has none, the point's number.
        x: metres, or degrees of longitude.
        y: metres, or degrees of latitude.
    """

    track: str
    time: float
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Window:
    """A piece of a track.

    Attributes:
        track: name.
        first: time of its first point.
        last: time of its last one.
        points: float64 [points, 2], x and y in metres.
    """

    track: str
    first: float
    last: float
    points: NDArray[np.float64]


def project(longitude: float, latitude: float, origin: tuple[float, float]) -> tuple[float, float]:
    """Degrees → metres east and north of an origin: the local equirectangular projection.

    Distances within 50 km of the origin are right to 1 % up to latitude 60; a date line in between does no harm.

    Args:
        longitude: degrees.
        latitude: degrees.
        origin: (longitude, latitude) of 0, 0.
    """
    east = (longitude - origin[0] + 180.0) % 360.0 - 180.0
    scale = EARTH_RADIUS * math.pi / 180.0
    return scale * math.cos(math.radians(origin[1])) * east, scale * (latitude - origin[1])


class Tracks:
    """All tracks of a file or of a folder of files.

    Args:
        source: file, or folder whose files of the known kinds are read, in the order of their names.

    Attributes:
        files: what is read.
        geographic: whether it is in degrees.
        dropped: rows, points and files left out, by reason; of the last pass.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no file of a known kind, files in metres beside files in degrees, or a pipe or a device: a file is
            read more than once.
    """

    def __init__(self, source: str | pathlib.Path):
        source = pathlib.Path(source)
        if not source.exists():
            raise FileNotFoundError(f"--source: expected a file or folder of tracks, received {source}.")
        if not (source.is_dir() or source.is_file()):
            raise ValueError(f"--source: expected a file or folder of tracks, received {source}, which is neither.")
        known = (*TEXT_SUFFIXES, *GEOGRAPHIC_SUFFIXES)
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        self.files = [path for path in files if path.suffix.lower() in known]
        if not self.files:
            raise ValueError(f"{source}: expected tracks as {', '.join(known)}, received no such file.")
        kinds = {path.suffix.lower() in GEOGRAPHIC_SUFFIXES for path in self.files}
        if len(kinds) > 1:
            raise ValueError(
                f"{source}: expected files in metres ({', '.join(TEXT_SUFFIXES)}) or in degrees "
                f"({', '.join(GEOGRAPHIC_SUFFIXES)}), received both; prepare them apart."
            )
        self.geographic = kinds.pop()
        self.dropped = Drops()
        self._timed: dict[pathlib.Path, frozenset[int]] = {}  # of each GPX file, the segments that have times
        folder = source if source.is_dir() else source.parent
        stems = collections.Counter(path.stem for path in self.files)
        self.recordings = [
            printable(path.stem if stems[path.stem] == 1 else path.relative_to(folder).as_posix())
            for path in self.files
        ]

    def points(self) -> Iterator[Point]:
        """The usable points of all files, each file as it is ordered; degrees stay degrees."""
        self.dropped = Drops()
        for path, name in zip(self.files, self.recordings, strict=True):
            if not path.stat().st_size:
                self.dropped.add("empty file", path.name)
                continue
            suffix = path.suffix.lower()
            read = self._text if suffix in TEXT_SUFFIXES else self._gpx if suffix == ".gpx" else self._geojson
            for where, point in read(path, name):
                if not (math.isfinite(point.x) and math.isfinite(point.y) and math.isfinite(point.time)):
                    self.dropped.add("not finite", where)
                elif self.geographic and not (abs(point.y) <= 90.0 and abs(point.x) <= 180.0):
                    self.dropped.add("latitude beyond 90 or longitude beyond 180 degrees", where)
                else:
                    yield point

    def origin(self) -> tuple[float, float]:
        """(longitude, latitude) of the first usable point of the files; (0, 0) where they are in metres."""
        if self.geographic:
            for point in self.points():
                return point.x, point.y
        return 0.0, 0.0

    def windows(
        self, length: int, stride: int, *, origin: tuple[float, float], longest_gap: float = math.inf
    ) -> Iterator[Window]:
        """Windows of so many points of each track, in the order in which they end.

        Args:
            length: points in a window.
            stride: points from the start of one to the next.
            origin: see :func:`project`; read where the files are in degrees.
            longest_gap: most frames (seconds) between two points; a longer one starts a track anew.

        Yields:
            The windows. A point whose time is not after the one before it is dropped; a track that is too short is
            dropped at the end.
        """
        open_tracks: dict[str, collections.deque[tuple[float, float, float]]] = {}
        seen: dict[str, int] = {}
        short: set[str] = set()
        for point in self.points():
            track = open_tracks.get(point.track)
            if track is None:
                track = open_tracks[point.track] = collections.deque(maxlen=length)
                seen[point.track] = 0
                short.add(point.track)
            if track and point.time <= track[-1][0]:
                reason = "repeated timestamp" if point.time == track[-1][0] else "timestamp before the last"
                self.dropped.add(reason, f"{point.track} at {point.time:.15g}")
                continue
            if track and point.time - track[-1][0] > longest_gap:
                track.clear()
                seen[point.track] = 0
            x, y = project(point.x, point.y, origin) if self.geographic else (point.x, point.y)
            track.append((point.time, x, y))
            seen[point.track] += 1
            past = seen[point.track] - length
            if past >= 0 and past % stride == 0:
                short.discard(point.track)
                values = np.array(track)
                yield Window(point.track, values[0, 0], values[-1, 0], values[:, 1:])
        for name in sorted(short):
            self.dropped.add(f"fewer than {length} points in a row", name)

    def _text(self, path: pathlib.Path, name: str) -> Iterator[tuple[str, Point]]:
        rows, found = Rows(), False
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path.name}:{number}"
                try:
                    row = rows.read(line)
                except ColumnsError as error:
                    self.dropped.add(str(error), f"{where}: {error.column}")
                    return
                except ValueError as error:
                    self.dropped.add(str(error), where)
                    found = True
                    continue
                if row is not None:
                    found = True
                    track = name if row.track is None else f"{name}/{row.track:.15g}"
                    yield where, Point(track, float(number) if row.time is None else row.time, row.x, row.y)
        if not found:
            self.dropped.add("no row of numbers", path.name)

    def _gpx(self, path: pathlib.Path, name: str) -> Iterator[tuple[str, Point]]:
        kinds: set[str] = set()
        if path not in self._timed:
            self._timed[path] = gpx.timed_segments(path)
        try:
            for found in gpx.points(path):
                kinds.add(found.kind)
                if found.kind != "tracks":
                    continue
                where = f"{path.name}, segment {found.segment}, point {found.number}"
                timed = found.segment in self._timed[path]
                try:
                    x, y = float(found.longitude), float(found.latitude)
                except ValueError:
                    self.dropped.add("no latitude and longitude", where)
                    continue
                if timed and not found.time:
                    self.dropped.add(_UNTIMED, where)
                    continue
                time = _seconds(found.time) if timed else float(found.number)
                yield where, Point(f"{name}/{found.segment}", time, x, y)
        except ValueError as error:
            self.dropped.add("broken XML from here on", f"{path.name}: {error}")
            return
        if "tracks" not in kinds:
            self.dropped.add(f"no track, but {' and '.join(sorted(kinds)) or 'nothing'}", path.name)

    def _geojson(self, path: pathlib.Path, name: str) -> Iterator[tuple[str, Point]]:
        index, skipped = 0, 0

        def drop(reason: str, where: str) -> None:
            nonlocal skipped
            skipped += 1
            self.dropped.add(reason, where)

        try:
            for index, line in enumerate(geojson.lines(path, drop), 1):
                for number, position in enumerate(line.coordinates, 1):
                    where = f"{path.name}, line {index}, point {number}"
                    try:
                        x, y = float(position[0]), float(position[1])
                    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
                        self.dropped.add("no latitude and longitude", where)
                        continue
                    if line.times is not None and not line.times[number - 1]:
                        self.dropped.add(_UNTIMED, where)
                        continue
                    time = float(number) if line.times is None else _seconds(line.times[number - 1])
                    yield where, Point(f"{name}/{index}", time, x, y)
        except ValueError as error:
            self.dropped.add(
                "broken GeoJSON from here on" if index or skipped else "not GeoJSON", f"{path.name}: {error}"
            )
            return
        if not index and not skipped:
            self.dropped.add("no LineString", path.name)


def read_track(path: str | pathlib.Path, origin: tuple[float, float] | None = None) -> NDArray[np.float64]:
    """The one track of a file, to search by.

    Args:
        path: of a kind that :class:`Tracks` reads.
        origin: (longitude, latitude) where the metres wanted are 0; None: they are those of a text file.

    Returns:
        float64 [points, 3]: time, x and y in metres, times rising.

    Raises:
        FileNotFoundError: no such file.
        ValueError: degrees where metres are wanted or the reverse, more than one track, fewer than two points, or a
            row that cannot be used: a query is not repaired.
    """
    tracks = Tracks(path)
    if tracks.geographic != (origin is not None):
        wanted = "latitudes and longitudes (.gpx, .geojson)" if origin is not None else "metres (.csv, .txt)"
        raise ValueError(f"{path}: expected a track in {wanted}, as the model was trained on, received the other.")
    points = list(tracks.points())
    names = {point.track for point in points}
    times = [point.time for point in points]
    if tracks.dropped.by_reason:
        reason, drop = next(iter(tracks.dropped.by_reason.items()))
        raise ValueError(f"{path}: expected usable points alone, received {', '.join(drop['first'])}: {reason}.")
    if len(names) != 1 or len(points) < 2:
        raise ValueError(
            f"{path}: expected one track of at least 2 points, received {len(names)} of {len(points)} in all."
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise ValueError(f"{path}: expected rising times, received one that repeats or goes back.")
    places = [(p.x, p.y) if origin is None else project(p.x, p.y, origin) for p in points]
    return np.column_stack([times, places])


def resample(track: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """A track at so many evenly spaced times, by linear interpolation.

    Args:
        track: float [n, 3]: time, x, y, times rising; n at least 2.
        points: wanted.

    Returns:
        float64 [points, 2].
    """
    times = np.linspace(track[0, 0], track[-1, 0], points)
    return np.stack([np.interp(times, track[:, 0], track[:, axis]) for axis in (1, 2)], axis=1)


def split_windows(
    tracks: Iterable[str],
    by: Literal["paper", "pedestrian"],
    *,
    test_share: float,
    val_share: float,
    seed: int,
) -> NDArray[np.int8]:
    """Which split each window belongs to.

    Args:
        tracks: of each window, its track's name.
        by: ``"paper"``: windows at random, so that near copies lie on both sides; ``"pedestrian"``: whole tracks.
        test_share: share of the windows for testing.
        val_share: share of the other windows for validation.
        seed: of the draw.

    Returns:
        int8 [windows]: 0 train, 1 val, 2 test. By tracks the shares are met as nearly as whole tracks allow.
    """
    numbers: dict[str, int] = {}
    of = np.fromiter((numbers.setdefault(name, len(numbers)) for name in tracks), np.int64)
    units = of if by == "pedestrian" else np.arange(len(of))
    sizes = np.bincount(units, minlength=1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    test = round(test_share * len(of))
    val = round(val_share * (len(of) - test))
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    split_of = np.empty(len(sizes), np.int8)
    split_of[order] = np.where(before < test, 2, np.where(before < test + val, 1, 0))
    return split_of[units]


def _seconds(time: object) -> float:
    """An ISO 8601 time in seconds; not a number where it is none."""
    try:
        return datetime.datetime.fromisoformat(str(time).strip()).timestamp()
    except (ValueError, OverflowError):
        return math.nan
