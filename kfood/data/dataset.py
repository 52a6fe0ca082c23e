"""A prepared recipe dataset: the record that is written, and the folder that is read.

The folder (made by ``kfood prepare``)::

    DATA/
      dataset.json                  what it is: name, pairs by split, sizes, versions
      prepare.json                  what was kept, and what was dropped for which reason
      vocabulary/words.txt          one word a line, most frequent first; id = line index + 2
      vocabulary/ingredients.txt    one ingredient name a line, likewise
      vocabulary/classes.txt        one class a line; line 0 is "background"
      recipes/1.0.0/                the examples, as TFDS writes them
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kfood import schema

if TYPE_CHECKING:
    import tensorflow as tf

FORMAT = 1
"""Version of the folder's layout."""

SPLITS = ("train", "val", "test")

MOST_PHOTOS = 5
"""Photos of a recipe that are stored: its first readable ones."""

TFDS_FOLDER = pathlib.PurePath("recipes", "1.0.0")

_VOCABULARIES = ("words", "ingredients", "classes")


@dataclasses.dataclass(frozen=True)
class RecipeRecord:
    """One recipe with its photos, as it is written to a prepared dataset.

    Attributes:
        id: unique over all splits.
        title: as written.
        ingredients: ingredient lines as written ("2 cups of milk").
        ingredient_names: clean ingredient names ("milk").
        instructions: sentences or steps as written.
        class_id: food class, 0 = background.
        photos: encoded JPEG pictures, at least one.
        instruction_vectors: float32 [sentences, width], precomputed; None where the dataset has none.
    """

    id: str
    title: str
    ingredients: list[str]
    ingredient_names: list[str]
    instructions: list[str]
    class_id: int
    photos: list[bytes]
    instruction_vectors: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class RecipeDataset:
    """A prepared recipe dataset, opened by :func:`open_dataset`.

    Attributes:
        path: the folder.
        name: "recipe1m", "kitchen", ….
        splits: pairs by split.
        words: word vocabulary; index ``i`` has id ``i + 2``.
        ingredients: ingredient vocabulary; index ``i`` has id ``i + 2``.
        classes: class names; index = class id, 0 = "background".
        instruction_vectors: width of the precomputed sentence vectors; 0 = none stored.
        short_side: short side to which photos were reduced, pixels.
        fingerprint: sha256 (hex) of the vocabularies; what was trained on them carries the same.
    """

    path: pathlib.Path
    name: str
    splits: dict[str, int]
    words: list[str] = dataclasses.field(repr=False)
    ingredients: list[str] = dataclasses.field(repr=False)
    classes: list[str] = dataclasses.field(repr=False)
    instruction_vectors: int
    short_side: int
    fingerprint: str

    def spec(self, **limits: Any) -> schema.RecipeSpec:
        """Shapes of a batch of this dataset.

        Args:
            **limits: fields of :class:`kfood.schema.RecipeSpec` other than the vocabulary sizes.

        Returns:
            The spec with this dataset's vocabulary sizes.
        """
        return self.fit(schema.RecipeSpec(**limits))

    def fit(self, spec: schema.RecipeSpec) -> schema.RecipeSpec:
        """``spec`` with this dataset's vocabulary sizes in place of its own."""
        return dataclasses.replace(
            spec,
            word_vocabulary=len(self.words) + schema.FIRST_TOKEN_ID,
            ingredient_vocabulary=len(self.ingredients) + schema.FIRST_TOKEN_ID,
            classes=len(self.classes),
        )

    def files(self, split: str) -> list[str]:
        """Paths of the TFRecord files of a split, in disk order."""
        self.size(split)
        return [str(path) for path in self._builder.info.splits[split].filepaths]

    def size(self, split: str) -> int:
        """Number of pairs of a split.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"split: expected one of {', '.join(self.splits)}, received {split!r}.")
        return self.splits[split]

    def parse(self, serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        """One serialized example → its disk features (strings, encoded photos), as tensors; see the module."""
        return self._builder.info.features.deserialize_example(serialized)

    def texts(self, split: str) -> Iterator[dict[str, Any]]:
        """The texts of a split in disk order, as Python values.

        Yields:
            ``{"id", "title", "ingredients", "ingredient_names", "instructions", "class_id"}``: strings, lists of
            strings, and an int.
        """
        lists = (schema.INGREDIENTS, schema.INGREDIENT_NAMES, schema.INSTRUCTIONS)
        wanted = (schema.ID, schema.TITLE, *lists, schema.CLASS_ID)
        for example in self._examples(split, wanted):
            yield {
                schema.ID: example[schema.ID].decode(),
                schema.TITLE: example[schema.TITLE].decode(),
                **{name: [line.decode() for line in example[name]] for name in lists},
                schema.CLASS_ID: int(example[schema.CLASS_ID]),
            }

    def photos(self, split: str) -> Iterator[bytes]:
        """The first photo of each recipe of a split in disk order, as encoded JPEG bytes."""
        for example in self._examples(split, (schema.IMAGES,)):
            yield example[schema.IMAGES][0]

    def photo(self, split: str, index: int) -> bytes:
        """The first photo of recipe ``index`` (disk order) of a split, as encoded JPEG bytes.

        Raises:
            IndexError: if the split has no such recipe.
        """
        if not 0 <= index < self.size(split):
            raise IndexError(f"recipe: expected an index from 0 to {self.size(split) - 1}, received {index}.")
        file, offset, length = self._places(split)[index]
        with open(file, "rb") as records:
            records.seek(offset)
            serialized = records.read(length)
        return bytes(self.parse(serialized)[schema.IMAGES][0].numpy())

    def _places(self, split: str) -> list[tuple[str, int, int]]:
        """(file, offset, length in bytes) of each serialized example of a split, in disk order; found once."""
        if split not in self._known_places:
            places = []
            for file in self.files(split):
                with open(file, "rb") as records:
                    # A record is its length (uint64), a checksum of that (4 bytes), the data, a checksum (4 bytes).
                    while header := records.read(12):
                        length = int.from_bytes(header[:8], "little")
                        places.append((file, records.tell(), length))
                        records.seek(length + 4, 1)
            self._known_places[split] = places
        return self._known_places[split]

    @functools.cached_property
    def _known_places(self) -> dict[str, list[tuple[str, int, int]]]:
        return {}

    def _examples(self, split: str, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        import tensorflow as tf

        def parse(serialized):
            example = self.parse(serialized)
            return {name: example[name] for name in wanted}

        examples = tf.data.TFRecordDataset(self.files(split)).map(parse)
        return examples.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

    @functools.cached_property
    def _builder(self):
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(self.path / TFDS_FOLDER)


def open_dataset(path: str | pathlib.Path) -> RecipeDataset:
    """Open a prepared recipe dataset.

    Args:
        path: folder made by ``kfood prepare recipe1m`` or ``kfood prepare kitchen``.

    Returns:
        The dataset; its examples are read when asked for.

    Raises:
        FileNotFoundError: if it is no prepared dataset.
        ValueError: if it is of another kind or format, or its vocabulary is not the one it was made with.
    """
    path = pathlib.Path(path)
    description = path / "dataset.json"
    if not description.is_file():
        raise FileNotFoundError(f"{path}: expected a folder made by `kfood prepare`, found no dataset.json in it.")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        received = (content["format"], content["kind"])
        if received != (FORMAT, "recipes"):
            raise ValueError(f"{description}: expected format {FORMAT} of kind 'recipes', received {received}.")
        vocabularies = {name: read_vocabulary(path, name) for name in _VOCABULARIES}
        dataset = RecipeDataset(
            path=path,
            name=content["name"],
            splits={split: int(size) for split, size in content["splits"].items()},
            **vocabularies,
            instruction_vectors=int(content["instruction_vectors"]),
            short_side=int(content["short_side"]),
            fingerprint=vocabulary_fingerprint(path),
        )
        recorded = content["vocabulary"]["sha256"]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{description}: not the description of a prepared dataset ({error!r}).") from error
    if recorded != dataset.fingerprint:
        raise ValueError(
            f"{path / 'vocabulary'}: expected the vocabulary that the dataset was made with (sha256 {recorded[:12]}…), "
            f"received another one ({dataset.fingerprint[:12]}…)."
        )
    # Now, not at the first example: TFDS imports lazily, and no other thread (a progress bar's) may import meanwhile.
    dataset._builder  # noqa: B018
    return dataset


def read_vocabulary(folder: str | pathlib.Path, name: str) -> list[str]:
    """Read ``FOLDER/vocabulary/NAME.txt``: its lines, without the line ends."""
    text = (pathlib.Path(folder) / "vocabulary" / f"{name}.txt").read_text(encoding="utf-8")
    return text.split("\n")[:-1]  # not splitlines(), which also cuts at Unicode's line separators


def write_vocabulary(folder: str | pathlib.Path, words: list[str], ingredients: list[str], classes: list[str]) -> None:
    """Write ``FOLDER/vocabulary/{words,ingredients,classes}.txt``."""
    target = pathlib.Path(folder) / "vocabulary"
    target.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(_VOCABULARIES, (words, ingredients, classes), strict=True):
        (target / f"{name}.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())


def vocabulary_fingerprint(folder: str | pathlib.Path) -> str:
    """sha256 (hex) over the names and contents of ``FOLDER/vocabulary``'s three files."""
    digest = hashlib.sha256()
    for name in _VOCABULARIES:
        content = (pathlib.Path(folder) / "vocabulary" / f"{name}.txt").read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
