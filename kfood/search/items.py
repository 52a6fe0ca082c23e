"""What is indexed, and what an index needs of the bundle that embeds it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

Side = Literal["photos", "recipes", "trajectories"]
SIDES: tuple[Side, ...] = ("photos", "recipes", "trajectories")


class Encoder(Protocol):
    """What an index needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    path: pathlib.Path
    sha256: str
    model: str
    distance: Any
    embedding_size: int

    def encode_images(self, images: Sequence[np.ndarray], *, location: np.ndarray | None = None) -> np.ndarray:
        """Arrays uint8 [height, width, 3], map pictures with location [n, 4] → float32 [n, embedding_size]."""

    def encode(self, encoder: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Inputs by name, ready for an encoder → float32 [n, embedding_size]."""

    def read_recipes(self, recipes: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Recipes as text → float32 [n, embedding_size]; int64 [n], words read of each, and those that it knows."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One recipe or trajectory with its picture, or a photo alone, to be indexed.

    Attributes:
        id: of the recipe or photo.
        title: of the recipe; of a photo its class.
        ingredients: lines as written, to be shown.
        instructions: sentences, to be shown.
        recipe: what the recipe encoder reads, see ``Bundle.encode_recipes``; None in an index of photos alone.
        photo: uint8 [height, width, 3].
        trajectory: float32 [points, 2], metres, as the encoder reads it; None where there is none.
        location: float32 [4], corners of a map picture: left, top, right, bottom; None of a photo.
    """

    id: str
    title: str
    ingredients: list[str]
    instructions: list[str]
    recipe: Mapping[str, Any] | None
    photo: np.ndarray
    trajectory: np.ndarray | None = None
    location: np.ndarray | None = None
