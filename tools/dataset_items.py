"""The items of a prepared dataset as a bundle's encoders read them, for `kfood index` and `kfood embed`."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import tensorflow as tf

    from kfood.data.dataset import Kind, LabelledDataset, Place, RecipeDataset, TrajectoryDataset
    from kfood.export.runtime import Bundle
    from kfood.search import Item

Split = Literal["train", "val", "test", "all"]

WHAT = {"recipes": "recipes with photos", "labelled": "photos", "trajectories": "trajectories with pictures"}
"""What the items of each kind of dataset are."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Some splits of a dataset, and the bundle that is to embed their items; opened by :func:`open_source`.

    Attributes:
        bundle: whose encoders say what is read of an item.
        dataset: of the kind that they read.
        splits: that are read, one after the other.
    """

    bundle: "Bundle"
    dataset: Any
    splits: list[str]

    @property
    def kind(self) -> "Kind":
        """Of the dataset."""
        return self.dataset.kind

    @property
    def origin(self) -> dict[str, str]:
        """Name and fingerprint of the dataset."""
        return {"name": self.dataset.name, "fingerprint": self.dataset.fingerprint}

    def __len__(self) -> int:
        """Number of items."""
        return sum(self.dataset.size(split) for split in self.splits)

    def items(self) -> Iterator["Item"]:
        """All items in disk order."""
        import tensorflow as tf

        return self._items(
            tf.data.TFRecordDataset([file for split in self.splits for file in self.dataset.files(split)])
        )

    def part(self, start: int, end: int) -> Iterator["Item"]:
        """Items ``start`` to ``end - 1`` of :meth:`items`, without reading those before."""
        places: list[Place] = [place for split in self.splits for place in self.dataset.places(split)][start:end]
        return self._items(_examples_at(places))

    def _items(self, serialized):
        if self.kind == "recipes":
            return recipe_items(self.dataset, serialized, self.bundle)
        if self.kind == "labelled":
            return photo_items(self.dataset, serialized)
        return trajectory_items(self.dataset, serialized, self.bundle)


def open_source(
    bundle: pathlib.Path, data: pathlib.Path, split: Split, *, threads: int = 0, precision: Any = "float32"
) -> Source:
    """Opens a bundle and the dataset that it is to embed.

    Args:
        bundle: made by `kfood export`.
        data: made by `kfood prepare`.
        split: which items; all: those of every split that have photos.
        threads: of onnxruntime; 0 lets it choose.
        precision: of the encoders.
    """
    from kfood.data.dataset import WITHOUT_PHOTOS, open_dataset
    from kfood.export.runtime import Bundle

    opened = Bundle.open(bundle, threads=threads, precision=precision)
    kinds: Any = {"recipe": "recipes", "trajectory": "trajectories"}
    kind: Any = next((kinds[name] for name in opened.encoders if name in kinds), "labelled")
    dataset: Any = open_dataset(data, kind)
    splits = [name for name in dataset.splits if name != WITHOUT_PHOTOS] if split == "all" else [split]
    return Source(opened, dataset, splits)


def _examples_at(places: "Sequence[Place]") -> "tf.data.Dataset":
    """The serialized examples at some places; a run of them in a file is read in one go."""
    import tensorflow as tf

    def read() -> Iterator[bytes]:
        file = None
        try:
            for path, offset, length in places:
                if file is None or file.name != path:
                    if file is not None:
                        file.close()
                    file = open(path, "rb")  # noqa: SIM115
                file.seek(offset)
                yield file.read(length)
        finally:
            if file is not None:
                file.close()

    return tf.data.Dataset.from_generator(read, output_signature=tf.TensorSpec((), tf.string))


def recipe_items(dataset: "RecipeDataset", serialized: "tf.data.Dataset", bundle: "Bundle") -> Iterator["Item"]:
    """Recipes, each with its first photo.

    Args:
        dataset: where they come from.
        serialized: its examples, as they lie on disk.
        bundle: says whether ingredients are read as lines or as names, and whether sentence vectors are.

    Raises:
        ValueError: the bundle reads sentence vectors and the dataset has none, or others.
    """
    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    vectors = bundle.spec["instruction_vectors"]
    if vectors and dataset.instruction_vectors != vectors:
        raise ValueError(
            f"{dataset.path}: expected precomputed sentence vectors of width {vectors}, which the model reads, "
            f"received width {dataset.instruction_vectors}."
        )
    names = bundle.spec["ingredient_unit"] == "name"
    # One pass for texts, photos and vectors.
    for example in _parsed(dataset, serialized):
        texts = {
            name: [line.decode() for line in example[name].numpy()]
            for name in (schema.INGREDIENTS, schema.INGREDIENT_NAMES, schema.INSTRUCTIONS)
        }
        title = example[schema.TITLE].numpy().decode()
        recipe = {
            "title": title,
            "ingredients": texts[schema.INGREDIENT_NAMES if names else schema.INGREDIENTS],
            "instructions": texts[schema.INSTRUCTIONS],
        }
        if vectors:
            recipe["instruction_vectors"] = example[schema.INSTRUCTION_VECTORS].numpy()
        yield Item(
            id=example[schema.ID].numpy().decode(),
            title=title,
            ingredients=texts[schema.INGREDIENTS],
            instructions=texts[schema.INSTRUCTIONS],
            recipe=recipe,
            photo=decode_photo(example[schema.IMAGES].numpy()[0]),
        )


def photo_items(dataset: "LabelledDataset", serialized: "tf.data.Dataset") -> Iterator["Item"]:
    """Photos, each with its class for a title; arguments as of :func:`recipe_items`."""
    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    for example in _parsed(dataset, serialized):
        yield Item(
            id=example[schema.ID].numpy().decode(),
            title=dataset.classes[int(example[schema.CLASS_ID])].replace("_", " "),
            ingredients=[],
            instructions=[],
            recipe=None,
            photo=decode_photo(example[schema.IMAGES].numpy()[0]),
        )


def trajectory_items(dataset: "TrajectoryDataset", serialized: "tf.data.Dataset", bundle: "Bundle") -> Iterator["Item"]:
    """Trajectories, each with its map picture; arguments as of :func:`recipe_items`.

    Raises:
        ValueError: the bundle reads trajectories of another number of points, or pictures of another kind.
    """
    from kfood import schema
    from kfood.export.runtime import decode_photo
    from kfood.search import Item

    dataset.check(schema.TrajectorySpec(**bundle.spec))
    placed = schema.LOCATION in bundle.manifest["encoders"]["image"]["inputs"]
    for example in _parsed(dataset, serialized):
        location = example[schema.LOCATION].numpy()
        left, top, right, bottom = location
        place = f"{left:.1f}…{right:.1f} m, {bottom:.1f}…{top:.1f} m"
        yield Item(
            id=example[schema.ID].numpy().decode(),
            title=f"{dataset.classes[int(example[schema.CLASS_ID])]}: {place}",
            ingredients=[],
            instructions=[],
            recipe=None,
            photo=decode_photo(example[schema.IMAGES].numpy()[0]),
            trajectory=example[schema.TRAJECTORY].numpy(),
            location=location if placed else None,
        )


def _parsed(dataset, serialized) -> Iterable[dict[str, Any]]:
    return serialized.map(dataset.parse).prefetch(2)
