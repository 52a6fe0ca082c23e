"""Encode photos and recipes with a bundle: onnxruntime and NumPy alone, no TensorFlow and no Keras.

Pillow is imported when a photo file is decoded, and not before. Of kfood only bundle_files.py, photo_files.py and
recipe_texts.py are imported, so the four files also work copied out of the package, and every bundle holds them::

    from kfood.export.runtime import Bundle

    bundle = Bundle.open("BUNDLE")
    photos = bundle.encode_photos(["soup.jpg"])  # float32 [1, bundle.embedding_size]
    recipes = bundle.encode_recipes([{"title": "Soup", "ingredients": ["1 leek"], "instructions": ["Boil it."]}])
    bundle.distances(photos, recipes)  # float32 [1, 1], small = near

The input of an encoder is made as in training: the same tokens of a recipe, id for id, by the text encoder's own graph,
and here the same resized and cropped photo up to rounding (0.005 of 255 at most on real photos of many sizes).
"""

import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

if __name__ == "kfood.export.runtime":
    from kfood import photo_files, recipe_texts
    from kfood.export import bundle_files
else:  # copied out of the package
    import bundle_files  # type: ignore[no-redef]
    import photo_files  # type: ignore[no-redef]
    import recipe_texts  # type: ignore[no-redef]

FORMAT, MANIFEST = bundle_files.FORMAT, bundle_files.MANIFEST

MAX_PIXELS, MAX_BYTES = photo_files.MAX_PIXELS, photo_files.MAX_BYTES
LINES, LINE_BYTES = recipe_texts.LINES, recipe_texts.LINE_BYTES

decode_photo = photo_files.decode
evaluation_transform = photo_files.evaluation_transform

_CLOSE = 1e-6
"""Of the sizes of two embeddings: below it their squared distance is computed from the differences."""

_COST = LINES * LINE_BYTES
"""Memory goes by recipes, times lines of the one with the most, times the longest line: beyond this, one at a time."""


class Bundle:
    """An exported model, ready to encode; open one with :meth:`Bundle.open`.

    Networks are loaded when first used; each file that is read is checked against its sha256 in ``kfood.json``.

    Attributes:
        path: the folder.
        manifest: content of ``kfood.json``.
        files: what reads its files, and makes the sessions that run its networks.
        sha256: sha256 (hex) of ``kfood.json``, which holds the sha256 of every other file: it identifies the bundle.
        model: name of the model, e.g. ``"acme"``.
        embedding_size: width of every embedding.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``: how embeddings are to be compared.
        spec: shapes and vocabulary sizes, the fields of ``kfood.schema.RecipeSpec``.
        precisions: encoder → the precision that is used: the one asked for, or ``"float32"`` where the bundle did not
            keep that.
    """

    def __init__(self, files: "bundle_files.BundleFiles", precision: str):
        self.files = files
        self.path = files.path
        self.manifest = manifest = files.manifest
        self.sha256 = files.sha256
        self.model: str = manifest["model"]
        self.embedding_size: int = manifest["embedding_size"]
        self.distance: str = manifest["distance"]
        self.spec: dict[str, Any] = manifest["spec"]
        self.precisions: dict[str, str] = {
            name: precision if precision in entry["precisions"] else "float32"
            for name, entry in manifest["encoders"].items()
        }

    @classmethod
    def open(
        cls,
        path: str | pathlib.Path,
        *,
        verify: bool = False,
        providers: Sequence[str | tuple[str, dict]] = ("CPUExecutionProvider",),
        threads: int = 0,
        precision: str = "float32",
    ) -> "Bundle":
        """Open a bundle made by ``kfood export``.

        Args:
            path: the bundle's folder.
            verify: check the sha256 of every file now, the SavedModel's included. Without it a file is checked
                when it is read, and only presence and size of the others.
            providers: onnxruntime's execution providers, most wanted first, e.g.
                ``["CUDAExecutionProvider", "CPUExecutionProvider"]``.
            threads: threads inside an operator; 0 lets onnxruntime choose.
            precision: ``"float32"``, or ``"int8"`` or ``"float16"`` where the bundle has them (`kfood export --data`);
                see :attr:`precisions`.

        Returns:
            The bundle.

        Raises:
            FileNotFoundError: no bundle there, or one of its files is missing.
            ValueError: a damaged or changed file, a bundle of another format, or a wrong argument.
        """
        files = bundle_files.BundleFiles.open(path, providers, threads)
        manifest = files.manifest
        kept = sorted({name for entry in manifest["encoders"].values() for name in entry["precisions"]})
        if precision != "float32" and precision not in kept:
            raise ValueError(
                f"{path}: expected a precision among {', '.join(['float32', *kept])}, received {precision!r}; "
                "card.md says what was tried."
            )
        if verify:
            for name in manifest["files"]:
                files.read(name)
        return cls(files, precision)

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders, e.g. ``("image", "recipe")``."""
        return tuple(self.manifest["encoders"])

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders, e.g. ``("picture", "ingredients")``; may be empty."""
        return tuple(self.manifest["decoders"])

    @property
    def heat_maps(self) -> tuple[str, ...]:
        """Encoders of which :meth:`look` tells where they look; may be empty, and is in bundles of earlier versions."""
        return tuple(self.manifest.get("heat_maps", ()))

    def sources(self, decoder: str) -> tuple[str, ...]:
        """Encoders whose embeddings a decoder takes, the usual one first.

        Raises:
            ValueError: an unknown decoder.
        """
        return tuple(self._check_name("decoders", decoder)["sources"])

    def read(self, name: str) -> bytes:
        """The content of a file of the bundle, checked against its sha256.

        Args:
            name: path inside the bundle, as listed in ``kfood.json``.

        Raises:
            ValueError: it is not the file that was exported.
        """
        return self.files.read(name)

    def network(self, encoder: str) -> bytes:
        """The ONNX file of an encoder that takes texts, or photos of any size, in the precision in use.

        Raises:
            ValueError: an unknown encoder, or one that takes neither.
        """
        if "raw" not in self._check_name("encoders", encoder):
            raise ValueError(f"encoder: expected one that takes photos or texts, received {encoder!r}.")
        return self.files.read(self._file(encoder, raw=True))

    def encode(self, encoder: str, inputs: Mapping[str, np.ndarray], *, batch_size: int = 32) -> np.ndarray:
        """Run an encoder on inputs that are ready for it.

        Args:
            encoder: one of :attr:`encoders`.
            inputs: name → array ``[n, ...]``, exactly the names and shapes that ``kfood.json`` lists for the encoder.
            batch_size: most rows that are computed at once.

        Returns:
            float32 ``[n, embedding_size]``.

        Raises:
            ValueError: an unknown encoder, or inputs of other names, shapes or types.
        """
        return self._run("encoders", encoder, inputs, batch_size)

    def decode(self, decoder: str, embeddings: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Run a decoder on embeddings of one of its :meth:`sources`.

        Args:
            decoder: one of :attr:`decoders`.
            embeddings: float32 ``[n, embedding_size]``.
            batch_size: most rows that are computed at once.

        Returns:
            float32 ``[n, ...]``: ``"picture"``: ``[n, height, width, 3]`` in [0, 255]; ``"ingredients"``:
            ``[n, names]`` probabilities, column ``j`` for line ``j`` (from 0) of ``vocabulary/ingredients.txt``.

        Raises:
            ValueError: an unknown decoder, or embeddings of another shape or type.
        """
        return self._run("decoders", decoder, {"embedding": np.asarray(embeddings)}, batch_size)

    def look(self, encoder: str, inputs: Mapping[str, np.ndarray], *, batch_size: int = 32) -> np.ndarray:
        """Where an encoder looks.

        Args:
            encoder: one of :attr:`heat_maps`.
            inputs: as for :meth:`encode`.
            batch_size: most rows that are computed at once.

        Returns:
            float32 ``[n, rows, columns]``: weights over the picture that the encoder takes, adding up to 1.

        Raises:
            ValueError: an encoder without, or inputs of other names, shapes or types.
        """
        if encoder not in self.heat_maps:
            raise ValueError(f"encoder: expected one with a heat map {list(self.heat_maps)}, received {encoder!r}.")
        return self._run("heat_maps", encoder, inputs, batch_size)

    def encode_images(
        self,
        images: np.ndarray | Iterable[np.ndarray],
        *,
        encoder: str = "image",
        location: np.ndarray | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Encode decoded pictures of any size.

        Args:
            images: array ``[n, height, width, 3]``, or arrays ``[height, width, 3]`` of various sizes; uint8, or
                float in [0, 255]. Each one goes through :func:`kfood.photo_files.evaluation_transform`.
            encoder: name of an encoder that takes images.
            location: float32 ``[n, 4]``, left, top, right and bottom of map pictures in metres, for an encoder that
                takes them; such pictures are square and taken whole.
            batch_size: pictures that are resized and encoded at once.

        Returns:
            float32 ``[n, embedding_size]``.

        Raises:
            ValueError: something that is not such a picture.
        """
        sizes = self._image_sizes(encoder, location)
        return self._encode_in_batches(encoder, images, sizes, location, batch_size)

    def encode_photos(
        self,
        photos: Iterable[str | pathlib.Path | bytes],
        *,
        encoder: str = "image",
        location: np.ndarray | None = None,
        batch_size: int = 32,
        unreadable: Literal["raise", "zeros"] = "raise",
    ) -> np.ndarray:
        """Encode photo files (needs Pillow).

        Args:
            photos: paths, or encoded photos as bytes, of any of ``photo_files.FORMATS``.
            encoder: name of an encoder that takes images.
            location: as for :meth:`encode_images`.
            batch_size: photos that are decoded and encoded at once.
            unreadable: what to do about a photo that cannot be read, or is too large: ``"raise"`` an error that says
                which, or ``"zeros"``: its embedding is zeros, and the others have theirs.

        Returns:
            float32 ``[n, embedding_size]``.

        Raises:
            OSError: a file that is not there or is not a readable photo.
            ValueError: a photo of more than ``MAX_PIXELS`` pixels or ``MAX_BYTES`` bytes, or something that is
                no list of photos.
        """
        sizes = self._image_sizes(encoder, location)
        bundle_files.check_list(photos, "photos", (str, bytes, os.PathLike))
        if unreadable not in ("raise", "zeros"):
            raise ValueError(f"unreadable: expected 'raise' or 'zeros', received {unreadable!r}.")
        blank = []

        def decoded(index, photo):
            try:
                return decode_photo(photo)
            except (OSError, photo_files.LargePhotoError) as error:
                if unreadable == "raise":
                    error.args = (f"photo {index}: {error}",)
                    raise
                blank.append(index)
                return np.zeros((1, 1, 3), np.uint8)

        pictures = itertools.starmap(decoded, enumerate(photos))
        embeddings = self._encode_in_batches(encoder, pictures, sizes, location, batch_size)
        embeddings[blank] = 0
        return embeddings

    def encode_recipes(
        self, recipes: Iterable[Mapping[str, Any]], *, encoder: str = "recipe", batch_size: int = 32
    ) -> np.ndarray:
        """Encode recipes given as text.

        Args:
            recipes: mappings with any of the keys ``title`` (a string), ``ingredients`` and ``instructions`` (lists of
                strings). A model that reads precomputed sentence vectors needs ``instruction_vectors`` too: float
                ``[sentences, width]``, or ``[]``. Ingredients are lines as written, or clean names for a model that
                reads names (``spec["ingredient_unit"]``). What the model does not read is ignored, and so is what of a
                line follows its first ``LINE_BYTES``, and what lines follow the first ``LINES``.
            encoder: name of an encoder that takes recipes.
            batch_size: recipes that are tokenised and encoded at once.

        Returns:
            float32 ``[n, embedding_size]``.

        Raises:
            ValueError: none of the keys, a value of another type, or a recipe without a word that the model knows: all
                of those share an embedding. Keys beside them are not read, which a warning says once.
        """
        embeddings = [np.zeros((0, self.embedding_size), np.float32)]
        for start, embedding, words, known in self._read_recipes(recipes, encoder, batch_size):
            if not known.all():
                row = int(np.argmin(known != 0))
                entry = self.manifest["encoders"][encoder]
                received = f"{words[row]}, all of them unknown to it" if words[row] else "none"
                raise ValueError(
                    f"recipe {start + row}: expected at least one word that the model knows in "
                    f"{' or '.join(entry['inputs'])}, received {received}."
                )
            embeddings.append(embedding)
        return np.concatenate(embeddings)

    def read_recipes(
        self, recipes: Iterable[Mapping[str, Any]], *, encoder: str = "recipe", batch_size: int = 32
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encode recipes as :meth:`encode_recipes` does, and say how much of each was read; none is refused for that.

        Args:
            recipes: as for :meth:`encode_recipes`.
            encoder: likewise.
            batch_size: likewise.

        Returns:
            Embeddings, float32 ``[n, embedding_size]``; how many words the model read of each recipe, int64 ``[n]``,
            none where the embedding says nothing; and how many of these it knows, int64 ``[n]``, the others being all
            the same to it.

        Raises:
            ValueError: none of the keys, or a value of another type.
        """
        parts = list(self._read_recipes(recipes, encoder, batch_size))
        embeddings = [np.zeros((0, self.embedding_size), np.float32), *(embedding for _, embedding, _, _ in parts)]
        words, known = (np.concatenate([np.zeros(0, np.int64), *(part[place] for part in parts)]) for place in (2, 3))
        return np.concatenate(embeddings), words, known

    def _read_recipes(self, recipes, encoder, batch_size):
        """(number of the first recipe, embeddings, words read, words known) of each part of the recipes."""
        entry = self._check_name("encoders", encoder)
        bundle_files.check_list(recipes, "recipes", (str, bytes, Mapping))
        if "title" not in entry.get("raw", {"inputs": ()})["inputs"]:
            raise ValueError(
                f"encoder: expected one that takes a recipe, received {encoder!r}, which takes {list(entry['inputs'])}."
            )
        session = self.files.session(self._file(encoder, raw=True))
        outputs = [output.name for output in session.get_outputs()]
        for start, chunk in _chunks(recipes, batch_size):
            texts = [
                recipe_texts.checked(recipe, self.spec, f"recipe {start + row}") for row, recipe in enumerate(chunk)
            ]
            lines = [recipe_texts.lines(text) for text in texts]
            cost = len(texts) * max(map(len, lines)) * max(len(line) for text in lines for line in text)
            for index, part in enumerate([texts] if cost <= _COST else [[text] for text in texts]):
                values = session.run(None, {name: recipe_texts.column(part, name) for name in entry["raw"]["inputs"]})
                found = dict(zip(outputs, values, strict=True))
                # Bundles exported by earlier versions do not say what is known.
                known = found.get("known_words", found["words"])
                yield start + index, found["embedding"], found["words"], known

    def generate(self, recipes: Iterable[Mapping[str, Any]], *, decoder: str = "picture") -> np.ndarray:
        """Encode recipes and decode their embeddings, e.g. into pictures.

        Args:
            recipes: as for :meth:`encode_recipes`.
            decoder: name of a decoder that takes recipe embeddings.

        Returns:
            As :meth:`decode`.

        Raises:
            ValueError: as :meth:`encode_recipes`, or an unknown decoder, or one that does not take recipe embeddings.
        """
        sources = self.sources(decoder)
        if "recipe" not in sources:
            raise ValueError(
                f"decoder: expected one that decodes recipe embeddings, received {decoder!r}, "
                f"which decodes {' and '.join(sources)} embeddings; use decode()."
            )
        return self.decode(decoder, self.encode_recipes(recipes))

    def distances(self, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Distances by :attr:`distance`; small always means near, and an embedding lies at 0 from itself.

        Args:
            queries: float ``[m, embedding_size]``.
            gallery: float ``[n, embedding_size]``.

        Returns:
            float32 ``[m, n]``: Euclidean distance, one minus the cosine, or minus the dot product, computed in float64.

        Raises:
            ValueError: arrays of another width.
        """
        queries, gallery = (np.asarray(array, np.float64) for array in (queries, gallery))
        for name, array in (("queries", queries), ("gallery", gallery)):
            if array.ndim != 2 or array.shape[1] != self.embedding_size:
                raise ValueError(f"{name}: expected [n, {self.embedding_size}], received {list(array.shape)}.")
        if self.distance == "dot":
            return -(queries @ gallery.T).astype(np.float32)
        if self.distance == "cosine":
            queries, gallery = (
                a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (queries, gallery)
            )
            cosines = 1 - queries @ gallery.T
            _set_close(cosines, np.nonzero(cosines < _CLOSE), queries, gallery, 0.5)  # |a - b|² / 2 of unit vectors
            return cosines.astype(np.float32)
        sizes = (queries**2).sum(1)[:, None] + (gallery**2).sum(1)[None, :]
        squares = sizes - 2 * (queries @ gallery.T)
        _set_close(squares, np.nonzero(squares < _CLOSE * sizes), queries, gallery, 1.0)
        return np.sqrt(squares).astype(np.float32)

    def _check_name(self, kind, name):
        entries = self.manifest[kind]
        if name not in entries:
            raise ValueError(f"{kind[:-1]}: expected one of {sorted(entries)}, received {name!r}.")
        return entries[name]

    def _image_sizes(self, encoder, location):
        inputs = self._check_name("encoders", encoder)["inputs"]
        if set(inputs) not in ({"image"}, {"image", "location"}):
            raise ValueError(
                f"encoder: expected one that takes an image, received {encoder!r}, which takes {list(inputs)}."
            )
        if ("location" in inputs) != (location is not None):
            wanted = "the pictures' location, float32 [n, 4]" if "location" in inputs else "none"
            raise ValueError(f"location: expected {wanted} for encoder {encoder!r}, received otherwise.")
        return inputs["image"]["shape"][1], self.manifest["preprocessing"]["image"]["short_side"]

    def _encode_in_batches(self, encoder, images, sizes, location, batch_size):
        def transformed(index, image):
            sides = np.shape(image)[:2]
            if location is not None and len(set(sides)) > 1:
                raise ValueError(
                    f"image {index}: expected a square map picture, as its corners are, "
                    f"received {' × '.join(map(str, sides))}."
                )
            return evaluation_transform(image, *sizes, f"image {index}")

        embeddings = [np.zeros((0, self.embedding_size), np.float32)]
        for start, chunk in _chunks(itertools.starmap(transformed, enumerate(images)), batch_size):
            inputs = {"image": np.stack(chunk)}
            if location is not None:
                inputs["location"] = np.asarray(location, np.float32)[start : start + len(chunk)]
            embeddings.append(self.encode(encoder, inputs, batch_size=batch_size))
        return np.concatenate(embeddings)

    def _run(self, kind, name, inputs, batch_size):
        entry = self._check_name(kind, name)
        arrays, count = bundle_files.checked_inputs(name, inputs, entry["inputs"])
        if count == 0:
            (output,) = entry["outputs"].values()
            return np.zeros((0, *output["shape"][1:]), np.float32)
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, received {batch_size}.")
        session = self.files.session(self._file(name, raw=False) if kind == "encoders" else entry["file"])
        parts = [
            session.run(None, {key: array[start : start + batch_size] for key, array in arrays.items()})[0]
            for start in range(0, count, batch_size)
        ]
        return np.concatenate(parts)

    def _file(self, encoder, raw):
        entry, precision = self.manifest["encoders"][encoder], self.precisions[encoder]
        if precision != "float32":
            return entry["precisions"][precision]["raw_file" if raw else "file"]
        return (entry["raw"] if raw else entry)["file"]


def _set_close(squares, places, queries, gallery, factor):
    """Squared differences times a factor, where a difference of large sums would be mostly rounding."""
    rows, columns = places
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096], columns[start : start + 4096]
        squares[part] = factor * ((queries[part[0]] - gallery[part[1]]) ** 2).sum(axis=1)


def _chunks(rows, size):
    """(number of the first row, list of at most ``size`` rows) until the rows end."""
    if size < 1:
        raise ValueError(f"batch_size: expected at least 1, received {size}.")
    chunk, start = [], 0
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield start, chunk
            start, chunk = start + size, []
    if chunk:
        yield start, chunk
