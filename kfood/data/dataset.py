"""A prepared dataset, of recipes, labelled photos or trajectories: the record on disk, and the folder that is read.

The folder of recipes (made by ``kfood prepare``)::

    DATA/
      dataset.json                  what it is: kind, name, pairs by split, sizes, sha256 of every file, versions
      prepare.json                  what was kept, and what was dropped for which reason
      vocabulary/words.txt          one word a line, most frequent first; id = line index + 2
      vocabulary/ingredients.txt    one ingredient name a line, likewise
      vocabulary/classes.txt        one class a line; line 0 is "background"
      recipes/1.0.0/                the examples, as TFDS writes them

The folder of labelled photos::

    DATA/
      dataset.json                  as above; and how many of the classes are trained on
      prepare.json                  as above
      vocabulary/classes.txt        one class a line, in string order; class id = line index
      labels/{train,val,test}.npy   class id of each photo of a split, int32, in disk order
      photos/1.0.0/                 the examples, as TFDS writes them

The classes of its test split are those that are not trained on; its val split holds other photos of those that are.

The folder of trajectories with map pictures::

    DATA/
      dataset.json                  as above; and the ground they lie on, and how pictures are drawn
      prepare.json                  as above
      vocabulary/classes.txt        one recording (file) a line; class id = line index
      backgrounds/*.jpg             pictures that lie behind the lines, where there are any
      trajectories/1.0.0/           the examples, as TFDS writes them
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import NDArray

from kfood import schema
from kfood.data.drawing import Style, scene_of
from kfood.data.names import printable

if TYPE_CHECKING:
    import tensorflow as tf

FORMAT = 2
"""Version of the folder's layout."""

SPLITS = ("train", "val", "test")
WITHOUT_PHOTOS = "without_photos"
"""A further split: recipes to train on that have no photo."""

MOST_PHOTOS = 5
"""Photos of a recipe that are stored: its first readable ones."""

Kind = Literal["recipes", "labelled", "trajectories"]
"""Recipes with photos, photos with classes, or trajectories with map pictures."""

Place = tuple[str, int, int]  # of a serialized example: file, offset and length in bytes
_VOCABULARIES = ("words", "ingredients", "classes")
_AGAIN = "prepare the dataset again; its folder features/, moved into the new one, stays valid"
_MEANING = {"recipes": "recipes with photos", "labelled": "labelled photos", "trajectories": "trajectories"}


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
        photos: encoded JPEG pictures, at least one; in the split :data:`WITHOUT_PHOTOS` none.
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
class PhotoRecord:
    """One labelled photo, as it is written to a prepared dataset.

    Attributes:
        id: unique over all splits.
        class_id: from 0.
        photo: encoded JPEG.
    """

    id: str
    class_id: int
    photo: bytes


@dataclasses.dataclass(frozen=True)
class TrajectoryRecord:
    """One trajectory with its map picture, as it is written to a prepared dataset.

    Attributes:
        id: unique over all splits.
        class_id: the recording that it comes from.
        points: float32 [points, 2], x and y in metres.
        picture: encoded PNG.
        location: float32 [4], the picture's left, top, right and bottom in metres.
    """

    id: str
    class_id: int
    points: np.ndarray
    picture: bytes
    location: np.ndarray


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """What both kinds of prepared datasets have in common; made by :func:`open_dataset`.

    Attributes:
        path: the folder.
        name: "recipe1m", "kitchen", "food-101", ….
        splits: items by split.
        classes: class names; index = class id.
        short_side: short side to which photos were reduced, pixels.
        fingerprint: sha256 (hex) of all that its batches come from: examples, vocabularies, sizes, how pictures are
            drawn; not of its name.
        vocabulary_fingerprint: sha256 (hex) of the vocabularies alone: where it is the same, ids mean the same.
    """

    kind: ClassVar[Kind]
    vocabularies: ClassVar[tuple[str, ...]]
    folder: ClassVar[pathlib.PurePath]

    path: pathlib.Path
    name: str
    splits: dict[str, int]
    classes: list[str] = dataclasses.field(repr=False)
    short_side: int
    fingerprint: str
    vocabulary_fingerprint: str

    def fit(self, spec: Any) -> Any:
        """``spec`` with what is the dataset's own in place of its own."""
        raise NotImplementedError

    def write_vocabulary(self, folder: str | pathlib.Path) -> None:
        """Copies ``vocabulary/`` to a folder."""
        write_vocabulary(folder, **{name: getattr(self, name) for name in self.vocabularies})

    def files(self, split: str) -> list[str]:
        """Paths of the TFRecord files of a split, in disk order."""
        self.size(split)
        return [str(path) for path in self._builder.info.splits[split].filepaths]

    def size(self, split: str) -> int:
        """Number of items of a split.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"split: expected one of {', '.join(self.splits)}, received {split!r}.")
        return self.splits[split]

    def parse(self, serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
        """One serialized example → its disk features (strings, encoded photos), as tensors; see the module."""
        return self._builder.info.features.deserialize_example(serialized)

    def photos(self, split: str) -> Iterator[bytes]:
        """The first photo of each item of a split in disk order, as encoded JPEG bytes."""
        for example in self._examples(split, (schema.IMAGES,)):
            yield example[schema.IMAGES][0]

    def photo(self, split: str, index: int) -> bytes:
        """The first photo of item ``index`` (disk order) of a split, as encoded JPEG bytes.

        Raises:
            IndexError: if the split has no such item.
        """
        if not 0 <= index < self.size(split):
            raise IndexError(f"item: expected an index from 0 to {self.size(split) - 1}, received {index}.")
        return bytes(self.parse(self.serialized(split, index))[schema.IMAGES][0].numpy())

    def serialized(self, split: str, index: int) -> bytes:
        """Example ``index`` (disk order) of a split as it lies on disk, read alone."""
        file, offset, length = self.places(split)[index]
        with open(file, "rb") as records:
            records.seek(offset)
            return records.read(length)

    def places(self, split: str) -> list[Place]:
        """Where each serialized example of a split lies, in disk order; found once."""
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
    def _known_places(self) -> dict[str, list[Place]]:
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

        return tfds.builder_from_directory(self.path / self.folder)


@dataclasses.dataclass(frozen=True)
class RecipeDataset(PreparedDataset):
    """A prepared recipe dataset, opened by :func:`open_dataset`; class 0 is "background".

    Attributes:
        words: word vocabulary; index ``i`` has id ``i + 2``.
        ingredients: ingredient vocabulary; index ``i`` has id ``i + 2``.
        instruction_vectors: width of the precomputed sentence vectors; 0 = none stored.
    """

    kind = "recipes"
    vocabularies = _VOCABULARIES
    folder = pathlib.PurePath("recipes", "1.0.0")

    words: list[str] = dataclasses.field(repr=False)
    ingredients: list[str] = dataclasses.field(repr=False)
    instruction_vectors: int

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

    def read_with(self, folder: str | pathlib.Path) -> "RecipeDataset":
        """The same recipes in the words of ``FOLDER/vocabulary``, another dataset's or a run's; others are unknown."""
        own: dict[str, Any] = {name: read_vocabulary(folder, name) for name in ("words", "ingredients")}
        return dataclasses.replace(
            self, **own, vocabulary_fingerprint=vocabulary_fingerprint(folder, self.vocabularies)
        )

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


@dataclasses.dataclass(frozen=True)
class LabelledDataset(PreparedDataset):
    """A prepared dataset of labelled photos, opened by :func:`open_dataset`.

    Attributes:
        train_classes: how many of the classes, from id 0, the train and the val split hold; test holds the others.
            Where that is all, there is no test split.
    """

    kind = "labelled"
    vocabularies = ("classes",)
    folder = pathlib.PurePath("photos", "1.0.0")

    train_classes: int

    def fit(self, spec: schema.PhotoSpec) -> schema.PhotoSpec:
        """``spec`` with this dataset's number of training classes in place of its own."""
        return dataclasses.replace(spec, classes=self.train_classes)

    def labels(self, split: str) -> NDArray[np.int32]:
        """Class id of each photo of a split, in disk order."""
        labels = np.load(self.path / "labels" / f"{split}.npy")
        if len(labels) != self.size(split):
            raise ValueError(f"{self.path}: expected {self.size(split)} labels of {split!r}, found {len(labels)}.")
        return labels


@dataclasses.dataclass(frozen=True)
class TrajectoryDataset(PreparedDataset):
    """A prepared dataset of trajectories with map pictures, opened by :func:`open_dataset`; classes are recordings.

    Attributes:
        points: of each trajectory.
        ground: the fields of :class:`kfood.schema.TrajectorySpec` that say where they lie, and whether pictures show
            all of it.
        drawing: the fields of :class:`kfood.data.drawing.Style` by which training pictures are drawn.
    """

    kind = "trajectories"
    vocabularies = ("classes",)
    folder = pathlib.PurePath("trajectories", "1.0.0")

    points: int
    ground: dict[str, Any]
    drawing: dict[str, Any]

    def fit(self, spec: schema.TrajectorySpec) -> schema.TrajectorySpec:
        """``spec`` with this dataset's ground and number of points in place of its own."""
        if spec.image_size != self.short_side:
            raise ValueError(
                f"spec.image_size: expected {self.short_side}, as the dataset's pictures, received {spec.image_size}."
            )
        return dataclasses.replace(spec, points=self.points, **self.ground)

    def check(self, spec: schema.TrajectorySpec) -> None:
        """Raises ValueError where trajectories or pictures are not what a model of this spec reads."""
        own = self.fit(dataclasses.replace(spec, image_size=self.short_side))
        for name in ("points", "image_size", "frame"):
            if getattr(own, name) != getattr(spec, name):
                raise ValueError(
                    f"{self.path}: expected {name} {getattr(spec, name)!r}, which the model reads, received "
                    f"{getattr(own, name)!r}: prepare the trajectories anew."
                )

    @property
    def style(self) -> Style:
        """How pictures are drawn."""
        named: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in self.drawing.items()}
        backgrounds = tuple(sorted((self.path / "backgrounds").glob("*.jpg")))
        return Style(self.short_side, backgrounds=backgrounds, scene=scene_of(self.ground), **named)

    def trajectories(self, split: str) -> Iterator[dict[str, Any]]:
        """The examples of a split in disk order, as Python and NumPy values.

        Yields:
            ``{"id", "class_id", "trajectory", "location", "picture"}``: string, int, float32 [points, 2], float32 [4],
            encoded PNG.
        """
        wanted = (schema.ID, schema.CLASS_ID, schema.TRAJECTORY, schema.LOCATION, schema.IMAGES)
        for example in self._examples(split, wanted):
            yield {
                schema.ID: example[schema.ID].decode(),
                schema.CLASS_ID: int(example[schema.CLASS_ID]),
                schema.TRAJECTORY: example[schema.TRAJECTORY],
                schema.LOCATION: example[schema.LOCATION],
                "picture": example[schema.IMAGES][0],
            }


KINDS: dict[str, type[PreparedDataset]] = {
    "recipes": RecipeDataset,
    "labelled": LabelledDataset,
    "trajectories": TrajectoryDataset,
}
"""As dataset.json names them."""


@overload
def open_dataset(path: str | pathlib.Path, kind: Literal["recipes"] = "recipes") -> RecipeDataset: ...
@overload
def open_dataset(path: str | pathlib.Path, kind: Literal["labelled"]) -> LabelledDataset: ...
@overload
def open_dataset(path: str | pathlib.Path, kind: Literal["trajectories"]) -> TrajectoryDataset: ...
@overload
def open_dataset(path: str | pathlib.Path, kind: Kind) -> RecipeDataset | LabelledDataset | TrajectoryDataset: ...
def open_dataset(path, kind="recipes"):
    """Open a prepared dataset.

    Args:
        path: folder made by ``kfood prepare``.
        kind: what is expected there: ``"recipes"``, ``"labelled"`` or ``"trajectories"``.

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
        if received[0] == FORMAT and received[1] in KINDS and received[1] != kind:
            raise ValueError(
                f"{path}: expected a dataset of {_MEANING[kind]}, received one of {_MEANING[received[1]]}: "
                "prepare another, or choose a model that is trained on these."
            )
        if received != (FORMAT, kind):
            raise ValueError(
                f"{description}: expected format {FORMAT} of kind {kind!r}, received {received}; prepare it anew."
            )
        opened: Any = KINDS[kind]
        if kind == "recipes":
            schema.check_token_rule(description, content["vocabulary"], _AGAIN)
        own = {
            field.name: content[field.name] if field.name in ("ground", "drawing") else int(content[field.name])
            for field in dataclasses.fields(opened)
            if field.name in ("short_side", "instruction_vectors", "train_classes", "points", "ground", "drawing")
        }
        shaping = [kind, own, *(content[name] for name in ("splits", "vocabulary", "files"))]
        dataset = opened(
            path=path,
            name=content["name"],
            splits={split: int(size) for split, size in content["splits"].items()},
            **{name: read_vocabulary(path, name) for name in opened.vocabularies},
            **own,
            fingerprint=hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest(),
            vocabulary_fingerprint=vocabulary_fingerprint(path, opened.vocabularies),
        )
        recorded = content["vocabulary"]["sha256"]
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{description}: not the description of a prepared dataset ({error!r}).") from error
    if recorded != dataset.vocabulary_fingerprint:
        raise ValueError(
            f"{path / 'vocabulary'}: expected the vocabulary that the dataset was made with (sha256 {recorded[:12]}…), "
            f"received another one ({dataset.vocabulary_fingerprint[:12]}…)."
        )
    # Now, not at the first example: TFDS imports lazily, and no other thread (a progress bar's) may import meanwhile.
    dataset._builder  # noqa: B018
    return dataset


def read_vocabulary(folder: str | pathlib.Path, name: str) -> list[str]:
    """Read ``FOLDER/vocabulary/NAME.txt``: its lines, without the line ends."""
    text = (pathlib.Path(folder) / "vocabulary" / f"{name}.txt").read_text(encoding="utf-8")
    return text.split("\n")[:-1]  # not splitlines(), which also cuts at Unicode's line separators


def write_vocabulary(folder: str | pathlib.Path, words=None, ingredients=None, classes=None) -> None:
    """Write ``FOLDER/vocabulary/{words,ingredients,classes}.txt``: those lists of strings that are given.

    What cannot stand in a line, or would steer a terminal that shows it, is escaped.
    """
    target = pathlib.Path(folder) / "vocabulary"
    target.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(_VOCABULARIES, (words, ingredients, classes), strict=True):
        if lines is not None:
            (target / f"{name}.txt").write_bytes("".join(f"{printable(line)}\n" for line in lines).encode())


def vocabulary_fingerprint(folder: str | pathlib.Path, names: tuple[str, ...] = _VOCABULARIES) -> str:
    """sha256 (hex) over the names and contents of ``FOLDER/vocabulary``'s files."""
    digest = hashlib.sha256()
    for name in names:
        content = (pathlib.Path(folder) / "vocabulary" / f"{name}.txt").read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
