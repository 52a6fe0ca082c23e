"""Encode photos and recipes with a bundle: onnxruntime and NumPy alone, no TensorFlow and no Keras.

Pillow is imported when a photo file is decoded, and not before. Of kfood only photo_files.py is imported, so the two
files also work copied out of the package, and every bundle holds them::

    from kfood.export.runtime import Bundle

    bundle = Bundle.open("BUNDLE")
    photos = bundle.encode_photos(["soup.jpg"])  # float32 [1, bundle.embedding_size]
    recipes = bundle.encode_recipes([{"title": "Soup", "ingredients": ["1 leek"], "instructions": ["Boil it."]}])
    bundle.distances(photos, recipes)  # float32 [1, 1], small = near

The input of an encoder is made as in training: the same tokens of a recipe, id for id, by the text encoder's own graph,
and here the same resized and cropped photo up to rounding (0.005 of 255 at most on real photos of many sizes).
"""

import hashlib
import itertools
import json
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

if __name__ == "kfood.export.runtime":
    from kfood import photo_files
else:  # copied out of the package
    import photo_files  # type: ignore[no-redef]

FORMAT = 3
"""Version of the bundle's layout that this file reads."""

MANIFEST = "kfood.json"

MAX_PIXELS, MAX_BYTES = photo_files.MAX_PIXELS, photo_files.MAX_BYTES

decode_photo = photo_files.decode
evaluation_transform = photo_files.evaluation_transform

RECIPE_KEYS = ("title", "ingredients", "instructions", "instruction_vectors")

_DESCRIPTION = ("model", "embedding_size", "distance", "spec", "preprocessing", "encoders", "decoders")

_CLOSE = 1e-6
"""Of the sizes of two embeddings: below it their squared distance is computed from the differences."""

LINE_BYTES = 10_000
"""What of a line, or of a title, is read: its first bytes of UTF-8. All doors for texts cut there."""

LINES = 500
"""How many lines of a recipe's ingredients, and of its instructions, are read."""

_COST = LINES * LINE_BYTES
"""Memory goes by recipes, times lines of the one with the most, times the longest line: beyond this, one at a time."""


_NAMED: set[str] = set()
"""Keys of recipes that are not read and were said to be."""


class Bundle:
    """An exported model, ready to encode; open one with :meth:`Bundle.open`.

    Networks are loaded when first used; each file that is read is checked against its sha256 in ``kfood.json``.

    Attributes:
        path: the folder.
        manifest: content of ``kfood.json``.
        sha256: sha256 (hex) of ``kfood.json``, which holds the sha256 of every other file: it identifies the bundle.
        model: name of the model, e.g. ``"acme"``.
        embedding_size: width of every embedding.
        distance: ``"euclidean"``, ``"cosine"`` or ``"dot"``: how embeddings are to be compared.
        spec: shapes and vocabulary sizes, the fields of ``kfood.schema.RecipeSpec``.
        precisions: encoder → the precision that is used: the one asked for, or ``"float32"`` where the bundle did not
            keep that.
    """

    def __init__(self, path, manifest, sha256, providers, threads, precision):
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256
        self.model: str = manifest["model"]
        self.embedding_size: int = manifest["embedding_size"]
        self.distance: str = manifest["distance"]
        self.spec: dict[str, Any] = manifest["spec"]
        self._providers = list(providers)
        self._threads = threads
        self.precisions: dict[str, str] = {
            name: precision if precision in entry["precisions"] else "float32"
            for name, entry in manifest["encoders"].items()
        }
        self._sessions: dict[str, Any] = {}

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
        path = pathlib.Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise FileNotFoundError(f"{path}: expected a bundle made by `kfood export`, found no {MANIFEST} in it.")
        content = file.read_bytes()
        try:
            manifest = json.loads(content)
            received = manifest["format"]
            files = {name: (str(entry["sha256"]), int(entry["size"])) for name, entry in manifest["files"].items()}
            missing = [key for key in _DESCRIPTION if key not in manifest] if received == FORMAT else []
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file}: expected the description of a bundle, received {error!r}.") from error
        if received != FORMAT:
            raise ValueError(
                f"{file}: expected a bundle of format {FORMAT}, received format {received!r}; export the run again."
            )
        if missing:
            raise ValueError(
                f"{file}: expected the description of a bundle, received one without {', '.join(missing)}."
            )
        for name, (_, size) in files.items():
            inside = pathlib.PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
                raise ValueError(f"{file}: expected paths inside the bundle, received {name!r}.")
            part = path / name
            if not part.is_file():
                raise FileNotFoundError(f"{path}: expected the file {name}, which {MANIFEST} lists, but it is missing.")
            if part.stat().st_size != size:
                raise ValueError(
                    f"{part}: expected {size} bytes, received {part.stat().st_size}; the bundle is damaged."
                )
        if isinstance(providers, str):
            raise ValueError(f"providers: expected a list of names, received {providers!r}; write [{providers!r}].")
        if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
            raise ValueError(f"threads: expected 0 or a positive integer, received {threads!r}.")
        kept = sorted({name for entry in manifest["encoders"].values() for name in entry["precisions"]})
        if precision != "float32" and precision not in kept:
            raise ValueError(
                f"{path}: expected a precision among {', '.join(['float32', *kept])}, received {precision!r}; "
                "card.md says what was tried."
            )
        bundle = cls(path, manifest, hashlib.sha256(content).hexdigest(), providers, threads, precision)
        if verify:
            for name in files:
                bundle.read(name)
        return bundle

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
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise ValueError(f"{self.path}: expected one of {sorted(self.manifest['files'])}, received {name!r}.")
        content = (self.path / name).read_bytes()
        received = hashlib.sha256(content).hexdigest()
        if received != entry["sha256"]:
            raise ValueError(
                f"{self.path / name}: expected sha256 {entry['sha256'][:12]}…, received {received[:12]}…; "
                "the file was changed after the export."
            )
        return content

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
        _check_list(photos, "photos", (str, bytes, os.PathLike))
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
                line follows its first :data:`LINE_BYTES`, and what lines follow the first :data:`LINES`.
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
        _check_list(recipes, "recipes", (str, bytes, Mapping))
        if "title" not in entry.get("raw", {"inputs": ()})["inputs"]:
            raise ValueError(
                f"encoder: expected one that takes a recipe, received {encoder!r}, which takes {list(entry['inputs'])}."
            )
        session = self._session(self._file(encoder, raw=True))
        outputs = [output.name for output in session.get_outputs()]
        for start, chunk in _chunks(recipes, batch_size):
            texts = [_recipe(recipe, self.spec, f"recipe {start + row}") for row, recipe in enumerate(chunk)]
            lines = [_lines(text) for text in texts]
            cost = len(texts) * max(map(len, lines)) * max(len(line) for text in lines for line in text)
            for index, part in enumerate([texts] if cost <= _COST else [[text] for text in texts]):
                values = session.run(None, {name: _column(part, name) for name in entry["raw"]["inputs"]})
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
        if set(inputs) != set(entry["inputs"]):
            raise ValueError(f"{name}: expected the inputs {sorted(entry['inputs'])}, received {sorted(inputs)}.")
        arrays = {key: _checked(name, key, inputs[key], wanted) for key, wanted in entry["inputs"].items()}
        counts = {len(array) for array in arrays.values()}
        if len(counts) != 1:
            sizes = {key: len(array) for key, array in arrays.items()}
            raise ValueError(f"{name}: expected inputs of the same number of rows, received {sizes}.")
        (count,) = counts
        if count == 0:
            (output,) = entry["outputs"].values()
            return np.zeros((0, *output["shape"][1:]), np.float32)
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, received {batch_size}.")
        session = self._session(self._file(name, raw=False) if kind == "encoders" else entry["file"])
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

    def _session(self, file):
        if file not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3  # errors; on machines without a GPU it warns about devices it cannot list
            names = [provider if isinstance(provider, str) else provider[0] for provider in self._providers]
            available = onnxruntime.get_available_providers()
            unknown = [name for name in names if name not in available]
            if unknown or not names:
                raise ValueError(f"providers: expected some of {available}, received {names}.")
            session = onnxruntime.InferenceSession(self.read(file), options, providers=self._providers)
            if names[0] not in session.get_providers():  # onnxruntime falls back to the CPU with only a log line
                raise ValueError(
                    f"providers: expected {names[0]} to start, received {session.get_providers()}; "
                    "its libraries or its device are missing."
                )
            self._sessions[file] = session
        return self._sessions[file]


def _set_close(squares, places, queries, gallery, factor):
    """Squared differences times a factor, where a difference of large sums would be mostly rounding."""
    rows, columns = places
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096], columns[start : start + 4096]
        squares[part] = factor * ((queries[part[0]] - gallery[part[1]]) ** 2).sum(axis=1)


def _check_list(values, name, single):
    """Refuse one of what a list of is expected: it would be taken apart into letters or keys."""
    if isinstance(values, single) or not isinstance(values, Iterable):
        raise ValueError(f"{name}: expected a list, received {type(values).__name__}; put it in a list.")


def _recipe(recipe, spec, where):
    """A recipe as the text encoder takes it: every string valid UTF-8, sentence vectors an array."""
    if not isinstance(recipe, Mapping):
        raise ValueError(
            f"{where}: expected a mapping with {', '.join(RECIPE_KEYS)}, received {type(recipe).__name__}."
        )
    unknown = sorted(str(key) for key in recipe if key not in RECIPE_KEYS)
    if unknown and len(unknown) == len(recipe):
        raise ValueError(f"{where}: expected the keys {', '.join(RECIPE_KEYS)}, received {', '.join(unknown)}.")
    if not set(unknown) <= _NAMED:
        _NAMED.update(unknown)
        warnings.warn(
            f"{where}: read are the keys {', '.join(RECIPE_KEYS)}, not {', '.join(unknown)}; said once.", stacklevel=4
        )
    if not isinstance(recipe.get("title", ""), str):
        raise ValueError(f"{where}: expected title to be a string, received {type(recipe['title']).__name__}.")
    for key in ("ingredients", "instructions"):
        lines = recipe.get(key, [])
        if isinstance(lines, (str, bytes)) or not isinstance(lines, Sequence):
            raise ValueError(f"{where}: expected {key} to be a list of strings, received {type(lines).__name__}.")
        wrong = [line for line in lines if not isinstance(line, str)]
        if wrong:
            raise ValueError(
                f"{where}: expected {key} to be a list of strings, received one with {wrong[0]!r:.60} in it."
            )
    text: dict[str, Any] = {
        "title": _utf8(recipe.get("title", "")),
        **{key: [_utf8(line) for line in recipe.get(key, ())[:LINES]] for key in ("ingredients", "instructions")},
    }
    if width := spec["instruction_vectors"]:
        if "instruction_vectors" not in recipe:
            raise ValueError(
                f"{where}: expected instruction_vectors (this model reads precomputed sentence vectors, "
                f"[] where there are none), received {', '.join(recipe) or 'nothing'}."
            )
        vectors = np.asarray(recipe["instruction_vectors"], np.float32)
        if vectors.size and (vectors.ndim != 2 or vectors.shape[1] != width):
            raise ValueError(
                f"{where}: expected instruction_vectors [sentences, {width}], received {list(vectors.shape)}."
            )
        text["instruction_vectors"] = vectors.reshape(-1, width)[: spec["instructions"]]
    return text


def _utf8(text):
    """What is read of a line; a lone surrogate, which JSON can bring, and NUL separate words as other signs do."""
    start = text[:LINE_BYTES].encode("utf-8", "replace")[:LINE_BYTES]
    return start.decode("utf-8", "ignore").replace("\0", " ")


def _lines(text):
    return [text["title"], *text["ingredients"], *text["instructions"]]


def _column(texts, name):
    """One input of a text encoder: strings [n], or [n, most] with ``""`` where there are fewer; or sentence vectors."""
    if name == "title":
        return np.array([text[name] for text in texts], object)
    most = max(len(text[name]) for text in texts)
    if name == "instruction_vectors":
        return np.stack([np.pad(text[name], [(0, most - len(text[name])), (0, 0)]) for text in texts])
    return np.array([[*text[name], *[""] * (most - len(text[name]))] for text in texts], object).reshape(
        len(texts), most
    )


def _checked(name, key, array, wanted):
    array = np.asarray(array)
    dtype, shape = np.dtype(wanted["dtype"]), wanted["shape"]
    compatible = np.issubdtype(array.dtype, np.integer) if dtype.kind == "i" else array.dtype.kind in "fu"
    if array.ndim != len(shape) or list(array.shape[1:]) != shape[1:] or not compatible:
        expected = ", ".join(["n", *map(str, shape[1:])])
        raise ValueError(f"{name}: expected {key} {dtype} [{expected}], received {array.dtype} {list(array.shape)}.")
    return np.ascontiguousarray(array, dtype)


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
