"""An index and its encoders, open; another takes its place without a request being dropped."""

import logging
import pathlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kfood import search
from kfood.search import Index, Result, Side

log = logging.getLogger("kfood.serve")


class Encoder(search.Encoder, Protocol):
    """What the service needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders."""

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders."""

    @property
    def heat_maps(self) -> tuple[str, ...]:
        """Encoders that tell where they look."""

    def sources(self, decoder: str) -> tuple[str, ...]:
        """Encoders whose embeddings a decoder takes."""

    def decode(self, decoder: str, embeddings: np.ndarray) -> np.ndarray:
        """float32 [n, embedding_size] → what the decoder makes of each."""

    def look(self, encoder: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Inputs by name → float32 [n, rows, columns], weights over the picture."""


class Gallery:
    """An index with the encoders that made it, ready to answer: nothing is read from disk at the first request.

    Attributes:
        index: the index.
        encoder: the bundle.
        ingredients: of the index's recipes.
        kinds: what it can be searched by: ``"photo"``, and ``"recipe"`` where the model reads recipes.
    """

    def __init__(self, index: Index, encoder: Encoder):
        """Reads the recipes' ingredients and ids, and encodes one of everything, which loads the networks.

        Raises:
            ValueError: an index of trajectories, or one that another bundle made.
        """
        if "trajectories" in index.sides:
            raise ValueError(f"{index.path}: expected an index of recipes or photos, received one of trajectories.")
        index.check_bundle(encoder)
        self.index, self.encoder = index, encoder
        self.kinds = ("photo", "recipe") if "recipe" in encoder.encoders and "recipes" in index.sides else ("photo",)
        self.ingredients = index.ingredients
        self._rows = index.rows
        index.warm()
        self._first_use()

    def _first_use(self):
        size, _ = self.image_sizes
        if self.looks:
            self.encoder.look("image", {"image": np.zeros((1, size, size, 3), np.float32)})
        self.encoder.encode_images([np.zeros((8, 8, 3), np.uint8)])
        if "recipe" in self.kinds:
            self.encoder.read_recipes([self.blank_recipe() | {"title": "salt", "ingredients": ["salt"]}])
        if self.generates:
            self.encoder.decode("picture", np.zeros((1, self.encoder.embedding_size), np.float32))

    def blank_recipe(self) -> dict[str, Any]:
        """A recipe with nothing in it, of all that the model reads."""
        vectors: dict[str, Any] = {"instruction_vectors": []} if self.encoder.spec.get("instruction_vectors") else {}
        return {"title": "", "ingredients": [], "instructions": [], **vectors}

    @property
    def generates(self) -> tuple[str, ...]:
        """Encoders of whose embeddings the model generates pictures; empty where it generates none."""
        return tuple(self.encoder.sources("picture")) if "picture" in self.encoder.decoders else ()

    @property
    def looks(self) -> bool:
        """Whether the model tells where in a photo it looks."""
        return "image" in self.encoder.heat_maps

    @property
    def image_sizes(self) -> tuple[int, int]:
        """Pixels: the side of the picture that the encoder takes, and the short side of what it is cut from."""
        size = self.encoder.manifest["encoders"]["image"]["inputs"]["image"]["shape"][1]
        return size, self.encoder.manifest["preprocessing"]["image"]["short_side"]

    def row(self, id: str) -> int | None:
        """The item of an id, None where there is none."""
        return self._rows.get(id)

    def side(self, kind: str) -> Side:
        """What is searched by default: recipes by a photo where there are any, photos by anything else."""
        return "recipes" if kind == "photo" and "recipes" in self.index.sides else "photos"

    def encode_photos(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Pictures as the encoder takes them, float32 [size, size, 3] each → of each float32 [embedding_size]."""
        return list(self.encoder.encode("image", {"image": np.stack(pictures)}))

    def encode_recipes(self, recipes: Sequence[Mapping[str, Any]]) -> list[tuple[np.ndarray, int, int]]:
        """Recipes → of each its embedding float32 [embedding_size], words read, and words that the model knows."""
        embeddings, words, known = self.encoder.read_recipes(recipes)
        return [(embeddings[row], int(words[row]), int(known[row])) for row in range(len(recipes))]

    def search(self, embedding: np.ndarray, side: Side, top: int, among: np.ndarray | None) -> list[Result]:
        """See :meth:`kfood.search.Index.search`; none where none may be found."""
        return self.index.search(embedding, side, top, among=among)


class Shelf:
    """Holds the gallery that answers, and puts another in its place when the index on disk is another.

    A request takes the gallery once and keeps it to its end; the old one goes when the last request that has it ends.

    Attributes:
        gallery: the one in use.
        problem: why the index on disk is not the one in use; empty where it is.
    """

    def __init__(
        self, index: pathlib.Path, open_encoder: Callable[[str], Encoder], watched: Sequence[pathlib.Path] = ()
    ):
        """Opens the index.

        Args:
            index: the folder.
            open_encoder: precision → the bundle, opened anew.
            watched: files whose change, too, is a reason to look at the index again: the bundle's description.

        Raises:
            OSError: as for :meth:`kfood.search.Index.open`.
            ValueError: likewise, or as for :class:`Gallery`.
        """
        self._path, self._open_encoder = pathlib.Path(index), open_encoder
        self._watched = (self._path / "index.json", *watched)
        self._lock = threading.Lock()
        self.problem = ""
        self._mark = self._seen()
        self.gallery = self._open(None)

    def _open(self, current: Gallery | None) -> Gallery:
        index = Index.open(self._path)
        wanted = (index.description["bundle"]["sha256"], index.precision)
        if current is not None and (current.encoder.sha256, current.index.precision) == wanted:
            return Gallery(index, current.encoder)
        return Gallery(index, self._open_encoder(index.precision))

    def _seen(self) -> list[tuple[int, int, int]] | None:
        """What tells the files on disk from those before."""
        try:
            found = [path.stat() for path in self._watched]
        except OSError:
            return None  # one is just being replaced, or is gone
        return [(status.st_ino, status.st_mtime_ns, status.st_size) for status in found]

    def changed(self) -> bool:
        """Whether the files on disk are others than those last looked at."""
        seen = self._seen()
        return seen is not None and seen != self._mark

    def reload(self) -> bool:
        """Opens the index on disk and puts it in place; where that fails the one in use stays, and is said to.

        Returns:
            Whether it was put in place.
        """
        with self._lock:
            mark = self._seen()
            try:
                gallery = self._open(self.gallery)
            except Exception as error:  # whatever is wrong with it, the service goes on
                self.problem = str(error) or type(error).__name__
                log.error("the index on disk was not taken, the one in use stays: %s", self.problem)
                if mark == self._seen():  # not merely met while it was being replaced
                    self._mark = mark
                return False
            self._mark, self.problem, self.gallery = mark, "", gallery
            log.info("index of %d items in place, made %s", len(gallery.index), gallery.index.description["dataset"])
            return True
