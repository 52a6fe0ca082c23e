"""Evaluation protocols: which galleries, and what is averaged over them.

The recipe papers query subsets of the test split, each side with the other: 10 random subsets of 1,000 pairs, and 10
of 10,000; the figure given is the mean over the subsets (:func:`evaluate`). AdaMine counts ranks from 0 and takes
disjoint subsets: ``Protocol(1_000, 10, rank_origin=0, sampling="disjoint")``.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kfood.evaluation import exact, metrics

RECALLS = (1, 5, 10)
"""The k of the recalls that are measured."""

SMALLEST_GALLERY = 50
"""Where the curve of :func:`scalability` begins, pairs."""

SCALABILITY_SUBSETS = 10
"""Galleries of each size on that curve; the whole split is one."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Which galleries are queried, and how ranks are counted.

    Attributes:
        gallery: pairs in a gallery; None: the whole split, once.
        subsets: number of galleries drawn; with ``gallery=None`` it has to be 1.
        seed: of the draw.
        rank_origin: 1: the nearest item has rank 1, as in most papers; 0: rank 0 (AdaMine). It moves the median rank
            by one; the recalls stay.
        sampling: ``"random"``: each gallery is drawn afresh, so that two of them may share pairs; ``"disjoint"``: no
            pair is in two galleries. Within a gallery no pair is drawn twice.

    Raises:
        ValueError: a field is outside these.
    """

    gallery: int | None = None
    subsets: int = 1
    seed: int = 0
    rank_origin: Literal[0, 1] = 1
    sampling: Literal["random", "disjoint"] = "random"

    def __post_init__(self):
        for name in ("gallery", "subsets"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, received {value}.")
        if self.gallery is None and self.subsets != 1:
            raise ValueError(f"subsets: expected 1 where the gallery is the whole split, received {self.subsets}.")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, received {self.seed}.")
        if self.rank_origin not in (0, 1):
            raise ValueError(f"rank_origin: expected 0 or 1, received {self.rank_origin!r}.")
        if self.sampling not in ("random", "disjoint"):
            raise ValueError(f"sampling: expected 'random' or 'disjoint', received {self.sampling!r}.")

    def draw(self, pairs: int) -> list[NDArray[np.int64]]:
        """The galleries, as indices into a split.

        Args:
            pairs: size of the split.

        Returns:
            ``subsets`` arrays int64 [gallery], each ascending; a function of the protocol and ``pairs`` alone.

        Raises:
            ValueError: the split is too small.
        """
        if pairs < 1:
            raise ValueError("Expected a split with at least 1 pair, received an empty one.")
        if self.gallery is None:
            return [np.arange(pairs)]
        if self.gallery > pairs:
            raise ValueError(f"gallery: expected at most {pairs}, the pairs of the split, received {self.gallery}.")
        generator = np.random.default_rng(self.seed)
        if self.sampling == "random":
            return [np.sort(generator.choice(pairs, self.gallery, replace=False)) for _ in range(self.subsets)]
        needed = self.gallery * self.subsets
        if needed > pairs:
            raise ValueError(
                f"subsets: expected at most {pairs // self.gallery} disjoint ones of {self.gallery} pairs in a split "
                f"of {pairs}, received {self.subsets}."
            )
        parts = generator.permutation(pairs)[:needed].reshape(self.subsets, self.gallery)
        return [np.sort(part) for part in parts]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over the galleries.

    Attributes:
        mean: over the galleries.
        std: standard deviation over the galleries, divided by their number (not by one less); 0 with one gallery.
    """

    mean: float
    std: float


@dataclasses.dataclass(frozen=True)
class Direction:
    """How well one side finds the other.

    Attributes:
        median_rank: of each gallery's median rank, counted from the protocol's rank origin (MedR).
        recall: k → of the fraction, 0 to 1, of the queries whose true item is among the k nearest (R@k).
        ranks: int64 [gallery] per gallery, counted from 1; entry i belongs to query i of the gallery.
    """

    median_rank: Spread
    recall: dict[int, Spread]
    ranks: list[NDArray[np.int64]] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes:
        protocol: as given.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``.
        pairs: pairs in the split.
        galleries: int64 [gallery] each, indices into the split.
        directions: ``"image_to_recipe"``, … → figures, for every ordered pair of encoders.
    """

    protocol: Protocol
    distance: exact.Distance
    pairs: int
    galleries: list[NDArray[np.int64]] = dataclasses.field(repr=False)
    directions: dict[str, Direction]

    def as_json(self) -> dict[str, Any]:
        """The protocol and the figures as plain values; MedR in ranks, recalls as fractions from 0 to 1."""
        return {
            "protocol": {
                "gallery": len(self.galleries[0]),
                "subsets": len(self.galleries),
                "sampling": "whole split" if self.protocol.gallery is None else self.protocol.sampling,
                "seed": self.protocol.seed,
                "distance": self.distance,
                "rank_origin": self.protocol.rank_origin,
                "recall_unit": "fraction",
            },
            "directions": {
                name: {
                    "MedR": dataclasses.asdict(direction.median_rank),
                    **{f"R@{k}": dataclasses.asdict(spread) for k, spread in direction.recall.items()},
                }
                for name, direction in self.directions.items()
            },
        }


def evaluate(
    arrays: Mapping[str, NDArray],
    protocol: Protocol,
    *,
    distance: exact.Distance,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ranks of every ordered pair of encoders under a protocol.

    Args:
        arrays: encoder name → float32 [pairs, dim]; row i of all of them belongs together.
        protocol: which galleries.
        distance: how embeddings are compared.
        progress: called with (galleries done, galleries in all).

    Returns:
        The figures, and the ranks they come from.

    Raises:
        ValueError: fewer than two encoders, arrays that do not fit together (:func:`kfood.evaluation.metrics.ranks`),
            or a split smaller than the protocol needs.
    """
    if len(arrays) < 2:
        raise ValueError(f"Expected embeddings of at least 2 encoders, received {', '.join(arrays) or 'none'}.")
    pairs = len(next(iter(arrays.values())))
    lengths = {name: len(array) for name, array in arrays.items()}
    if set(lengths.values()) != {pairs}:
        raise ValueError(f"Expected as many embeddings from every encoder, received {lengths}.")
    galleries = protocol.draw(pairs)
    found: dict[str, list[NDArray[np.int64]]] = {f"{a}_to_{b}": [] for a, b in itertools.permutations(arrays, 2)}
    for done, gallery in enumerate(galleries, 1):
        for first, second in itertools.combinations(arrays, 2):
            forward, backward = metrics.ranks_both(arrays[first][gallery], arrays[second][gallery], distance=distance)
            found[f"{first}_to_{second}"].append(forward)
            found[f"{second}_to_{first}"].append(backward)
        if progress:
            progress(done, len(galleries))
    directions = {name: _direction(ranks, protocol.rank_origin) for name, ranks in found.items()}
    return Evaluation(protocol, distance, pairs, galleries, directions)


def gallery_sizes(pairs: int) -> list[int]:
    """Sizes at which :func:`scalability` measures: 50, 100, 200, 500, 1,000, … below ``pairs``, and ``pairs``."""
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    below = itertools.takewhile(lambda size: size < pairs, steps)
    return [*(size for size in below if size >= SMALLEST_GALLERY), pairs]


def scalability(
    arrays: Mapping[str, NDArray],
    protocol: Protocol,
    *,
    distance: exact.Distance,
    progress: Callable[[int, int], None] | None = None,
) -> list[Evaluation]:
    """How figures change with the size of the gallery (R2GAN's Figure 3).

    Args:
        arrays: as for :func:`evaluate`.
        protocol: its seed and rank origin are kept; galleries are :data:`SCALABILITY_SUBSETS` random ones of each
            size, and the whole split once.
        distance: how embeddings are compared.
        progress: called with (sizes done, sizes in all).

    Returns:
        An evaluation for each of :func:`gallery_sizes`.

    Raises:
        ValueError: as for :func:`evaluate`.
    """
    pairs = len(next(iter(arrays.values()), ()))
    sizes = gallery_sizes(pairs)
    found = []
    for size in sizes:
        gallery, subsets = (None, 1) if size == pairs else (size, SCALABILITY_SUBSETS)
        at_size = Protocol(gallery, subsets, protocol.seed, protocol.rank_origin)
        found.append(evaluate(arrays, at_size, distance=distance))
        if progress:
            progress(len(found), len(sizes))
    return found


def _direction(ranks: list[NDArray[np.int64]], rank_origin: int) -> Direction:
    medians = [metrics.median_rank(of_gallery) - 1 + rank_origin for of_gallery in ranks]
    recall = {k: _spread([metrics.recall_at_k(of_gallery, k) for of_gallery in ranks]) for k in RECALLS}
    return Direction(_spread(medians), recall, ranks)


def _spread(values: list[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values)))
