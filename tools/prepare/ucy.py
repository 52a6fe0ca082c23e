"""Trajectories with map pictures."""

import dataclasses
import io
import math
import pathlib
import zlib
from typing import TYPE_CHECKING, Literal

from kfood.tools.prepare import common

if TYPE_CHECKING:
    from kfood.data.dataset import TrajectoryDataset


_FARTHEST = 100_000.0
"""Metres; float32 has steps of 8 mm there."""


@dataclasses.dataclass(frozen=True)
class Ucy:
    """Prepare trajectories with map pictures: pieces of tracks, each drawn as a line.

    Reads text files of rows in metres (frame pedestrian x y, as UCY and ETH have them, ETH's obsmat.txt, time x y,
    x y, or columns that a first row names), or GeoJSON lines or GPX tracks in degrees.
    """

    source: pathlib.Path
    """File, or folder of files."""
    out: pathlib.Path
    """Folder to make."""
    split: Literal["paper", "pedestrian"] = "paper"
    """paper: windows at random, so that near copies lie on both sides; pedestrian: no track on both sides."""
    length: int = 20
    """Points of a trajectory."""
    stride: int = 2
    """Points from the start of one window to the next."""
    longest_gap: float = 10.0
    """Most frames, or seconds, between two points; a longer gap starts a track anew. 0: any."""
    test_share: float = 0.1909
    """Share of the windows for testing; the default leaves 2,359 of UCY univ's 12,359."""
    val_share: float = 0.05
    """Share of the others that is held out for validation."""
    size: int = 64
    """Side of the pictures, pixels."""
    thickness: tuple[float, float] = (1.0, 4.0)
    """Least and most thickness of the line, pixels."""
    frame: Literal["window", "scene"] = "window"
    """What a picture shows. window: the line's surroundings, at a random offset and scale; scene: all of the ground
    that the tracks lie on, the same in each picture."""
    scale: tuple[float, float] = (1.25, 2.5)
    """Of windows: least and most side of a picture, in longer sides of its trajectory's box."""
    least_extent: float = 3.0
    """Of windows: a smaller box counts as this, metres."""
    backgrounds: pathlib.Path | None = None
    """Folder of JPEG map tiles or scene photos, to lie behind the lines. The variant `waves` takes every dark pixel for
    the line: it wants bright ones."""
    seed: int = 0
    """Of the split and the pictures."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        common.at_least_one(self, "stride", "size")
        if self.length < 2:
            raise ValueError(f"--length: expected at least 2, received {self.length}.")
        common.shares(self, "test_share", "val_share")
        if self.longest_gap < 0:
            raise ValueError(f"--longest-gap: expected at least 0, received {self.longest_gap}.")

    def prepare(self) -> "TrajectoryDataset":
        """Reads, checks, writes, and says what was left out; see :func:`kfood.tools.prepare.run`."""
        from kfood.data import builder, drawing, tracks
        from kfood.data.dataset import SPLITS

        builder.check_output(self.out, overwrite=self.overwrite)
        found = tracks.Tracks(self.source)
        origin = found.origin()
        style = drawing.Style(self.size, self.thickness, self.scale, self.least_extent, self._backgrounds())
        with common.progress() as progress:
            split_of, low, high = self._scan(found, origin, progress)
            centre = (low + high) / 2
            ground = {
                "centre_x": float(centre[0]),
                "centre_y": float(centre[1]),
                "extent": max(float((high - low).max()) / 2, 1.0),
                "frame": self.frame,
                "geographic": found.geographic,
                "origin_latitude": origin[1],
                "origin_longitude": origin[0],
            }
            style = dataclasses.replace(style, scene=drawing.scene_of(ground))
            dataset = builder.write_trajectories(
                self.out,
                f"{self.source.resolve().name}-{self.split}" + (f"-{self.frame}" if self.frame != "window" else ""),
                {split: self._records(found, origin, split_of, split, style, progress) for split in SPLITS},
                recordings=found.recordings,
                points=self.length,
                ground=ground,
                style=style,
                overwrite=self.overwrite,
                report=lambda: {"dropped": found.dropped.by_reason},
            )
        common.say_dropped(found.dropped.by_reason)
        sizes = ", ".join(f"{split} {size:,}" for split, size in dataset.splits.items())
        common.show(
            f"{dataset.path}: {sizes} trajectories of {self.length} points with pictures, split {self.split!r}."
        )
        return dataset

    def _backgrounds(self):
        if not self.backgrounds:
            return ()
        found = tuple(sorted(path for path in self.backgrounds.glob("*.jp*g") if path.is_file()))
        if not found:
            raise ValueError(f"--backgrounds: expected a folder of JPEG pictures, received none in {self.backgrounds}.")
        return found

    def _windows(self, found, origin):
        gap = self.longest_gap or math.inf
        return found.windows(self.length, self.stride, origin=origin, longest_gap=gap)

    def _scan(self, found, origin, progress):
        """The split of each window, and the least and the greatest coordinates, float64 [2] each."""
        import numpy as np

        from kfood.data import builder, tracks

        task = progress.add_task("windows", total=None)
        low, high = np.full(2, np.inf), np.full(2, -np.inf)

        def names():
            nonlocal low, high
            for window in self._windows(found, origin):
                low, high = np.minimum(low, window.points.min(axis=0)), np.maximum(high, window.points.max(axis=0))
                progress.advance(task)
                yield window.track

        split_of = tracks.split_windows(
            names(), self.split, test_share=self.test_share, val_share=self.val_share, seed=self.seed
        )
        if not len(split_of):
            progress.stop()
            common.say_dropped(found.dropped.by_reason)
            raise builder.EmptySplitError(f"{self.source}: expected tracks of {self.length} points, received none.")
        if max(np.abs(low).max(), np.abs(high).max()) > _FARTHEST:
            progress.stop()
            raise ValueError(
                f"{self.source}: expected metres within {_FARTHEST:,.0f} of (0, 0), as float32 keeps them apart, "
                f"received x from {low[0]:,.1f} to {high[0]:,.1f} and y from {low[1]:,.1f} to {high[1]:,.1f}; "
                "subtract an offset from the file's coordinates."
            )
        return split_of, low, high

    def _records(self, found, origin, split_of, split, style, progress):
        """The windows of a split, each with its picture."""
        import numpy as np
        from PIL import Image

        from kfood.data import drawing
        from kfood.data.dataset import SPLITS, TrajectoryRecord

        number = SPLITS.index(split)
        recordings = {name: index for index, name in enumerate(found.recordings)}
        task = progress.add_task(split, total=int((split_of == number).sum()))
        for window, own in zip(self._windows(found, origin), split_of, strict=True):
            if own != number:
                continue
            name = f"{window.track}@{window.first:.15g}"
            points = window.points.astype(np.float32)
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            pixels, location = drawing.picture(points, style, random)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            track = window.track
            recording = recordings[track if track in recordings else track.rpartition("/")[0]]
            yield TrajectoryRecord(name, recording, points, file.getvalue(), location)
            progress.advance(task)
