"""What a frozen network makes of a dataset's photos, computed once and kept beside them.

::

    DATA/features/FINGERPRINT/
      features.json           what was computed, with which network, of which photos, in which views
      SPLIT.items.npz         ids [items], and the row of each item's first photo [items]
      SPLIT.NAME.npy          [rows, views, ...] of each output of the network
      SPLIT.done              how many of the rows are written, whatever kills the process

A row is a photo: of the train split every photo of an item, in all views; of the val split the first one, in view 0.
View 0 is the evaluation crop; the others are training crops, drawn from the photo's id and the view's number alone.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kfood import folders, schema
from kfood.data import images
from kfood.data.dataset import PreparedDataset

SPLITS = ("train", "val")
"""Those that are computed: what a training run reads."""

_PICTURES_AT_ONCE = 64
"""Of up to 224 pixels; of larger ones as many as take that memory."""
_SPARE_BYTES = 2**30
"""Of the disk that are left free."""


@dataclasses.dataclass(frozen=True)
class Network:
    """What is computed of a photo.

    Attributes:
        run: pictures float32 [n, side, side, 3] in [0, 255] → output name → [n, ...].
        outputs: output name → (shape without the first axis, dtype in which it is kept).
        side: of a picture, pixels.
        fingerprint: of its weights, and of all else that its outputs depend on.
        short_side: to which a photo is resized, as the spec says; None: in proportion to ``side``.
    """

    run: Callable[[NDArray[np.float32]], Mapping[str, NDArray]]
    outputs: Mapping[str, tuple[tuple[int, ...], str]]
    side: int
    fingerprint: str
    short_side: int | None = None

    @property
    def bytes(self) -> int:
        """Of one picture's outputs."""
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.outputs.values())


@dataclasses.dataclass(frozen=True)
class Views:
    """In how many ways a training photo is shown, and how.

    Attributes:
        count: at least 1; view 0 is the evaluation crop.
        augmentation: of the others.
    """

    count: int
    augmentation: images.Augmentation


class PhotoFeatures:
    """Computed features of a dataset, to be read in place of its photos; made by :func:`computed`.

    Args:
        folder: of the features.
        network: what they are computed with.
        views: of the train split.
    """

    def __init__(self, folder: pathlib.Path, network: Network, views: Views):
        self.folder = folder
        self.network = network
        self.views = views
        self._arrays = {
            split: {name: np.load(folder / f"{split}.{name}.npy", mmap_mode="r") for name in network.outputs}
            for split in SPLITS
        }
        self._items = {split: np.load(folder / f"{split}.items.npz") for split in SPLITS}

    def places(self, split: str) -> Callable[..., dict[str, tf.Tensor]]:
        """A function for ``tf.data``: where an item's features are.

        Returns:
            (id, number of the photo, key of a view's draw or None for view 0) → ``{"row", "view"}``, int64 scalars.
        """
        items = self._items[split]
        rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(items["ids"].astype(object), items["rows"], tf.string, tf.int64), -1
        )

        def place(id: tf.Tensor, photo: Any = 0, key: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
            view = tf.constant(0, tf.int64)
            if key is not None:
                draw = tf.random.stateless_uniform([], key, alg="philox")
                view = tf.minimum(tf.cast(draw * self.views.count, tf.int64), self.views.count - 1)
            return {"row": rows.lookup(id) + tf.cast(photo, tf.int64), "view": view}

        return place

    def read(self, split: str) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
        """A function for ``tf.data``: ``{"row", "view"}``, int64 [batch] → output name → float32 [batch, ...]."""
        arrays, outputs = self._arrays[split], self.network.outputs

        def gather(rows: NDArray, views: NDArray) -> list[NDArray]:
            return [arrays[name][rows, views].astype(np.float32) for name in outputs]

        def read(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            read = tf.numpy_function(gather, [batch["row"], batch["view"]], [tf.float32] * len(outputs))
            return {
                name: tf.ensure_shape(values, [None, *shape])
                for (name, (shape, _)), values in zip(outputs.items(), read, strict=True)
            }

        return tf.autograph.experimental.do_not_convert(read)


def computed(
    dataset: PreparedDataset,
    network: Network,
    views: Views,
    *,
    most_bytes: float,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PhotoFeatures:
    """The features of a dataset's train and val photos, computed where they are not yet there.

    A process that is killed leaves what it has computed; the next one goes on from there. A second one that wants the
    same waits for the first.

    Args:
        dataset: of recipes, or of labelled photos.
        network: what to compute.
        views: in how many ways training photos are shown.
        most_bytes: that they may take on disk.
        say: told before anything long: how much there is to do, and where it is kept.
        progress: told the pictures done so far, and in all.

    Returns:
        The features, memory-mapped.

    Raises:
        ValueError: they would take more than ``most_bytes`` or than there is on the disk, or are not finite.
        OSError: the dataset's folder cannot be written.
    """
    content = {
        "network": network.fingerprint,
        "outputs": {name: [list(shape), dtype] for name, (shape, dtype) in network.outputs.items()},
        "image_size": network.side,
        **({"whole_photos": True} if network.short_side == schema.WHOLE_PHOTO else {}),
        "views": dataclasses.asdict(views) if views.count > 1 else {"count": 1},
        "photos": photo_fingerprint(dataset),
    }
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    folder = dataset.path / "features" / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with folders.held(folder, lambda: say(f"{folder}: another process computes these features; waiting for it.")):
        folders.write_whole({folder / "features.json": json.dumps(content, indent=2) + "\n"})
        rows = {split: _items(dataset, split, folder) for split in SPLITS}
        counts = {"train": views.count, "val": 1}
        done = {split: _done(folder, split) for split in SPLITS}
        total = sum(rows[split] * counts[split] for split in SPLITS)
        if done != rows:
            _check_room(folder, total, network, most_bytes, say)
        before = 0
        for split in SPLITS:
            shown = dataclasses.replace(views, count=counts[split])
            for written in _compute(dataset, split, folder, network, shown, rows[split], done[split]):
                progress(before + written * shown.count, total)
            before += rows[split] * shown.count
    return PhotoFeatures(folder, network, views)


def photo_fingerprint(dataset: PreparedDataset) -> str:
    """sha256 (hex) of the lengths and checksums of the examples of :data:`SPLITS`, as their files hold them."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for file, offset, length in dataset.places(split):
            with open(file, "rb") as records:
                records.seek(offset + length)
                digest.update(f"{split}\0{length}\0".encode() + records.read(4))
    return digest.hexdigest()


def _check_room(folder, pictures, network, most_bytes, say):
    needed = pictures * network.bytes
    free = shutil.disk_usage(folder).free - _SPARE_BYTES
    what = f"{pictures:,} pictures' features, {needed / 1e9:.2g} GB in {folder}"
    held = sum(path.stat().st_size for path in folder.glob("*.npy"))
    for bound, name in ((most_bytes, "training.feature_gigabytes"), (free + held, "free space of its disk")):
        if needed > bound:
            raise ValueError(
                f"training.views: expected features of at most {max(bound, 0) / 1e9:.2g} GB ({name}), received {what}; "
                "take fewer views, or give more room."
            )
    say(f"Computing {what}, once for all trainings with this backbone.")


def _done(folder, split):
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int((folder / f"{split}.done").read_text())
    return 0


def _items(dataset, split, folder):
    """Number of rows of a split; writes which row is whose."""
    path = folder / f"{split}.items.npz"
    if not path.is_file():
        ids, counts = [], []
        stream = tf.data.TFRecordDataset(dataset.files(split)).map(dataset.parse)
        for id, count in stream.map(lambda e: (e[schema.ID], tf.shape(e[schema.IMAGES])[0])).as_numpy_iterator():
            ids.append(id)
            counts.append(int(count) if split == "train" else 1)
        rows = np.cumsum([0, *counts])
        temporary = folder / f".{split}.items.npz"
        np.savez(temporary, ids=np.array(ids), rows=rows[:-1], count=rows[-1])
        temporary.replace(path)
    return int(np.load(path)["count"])


def _compute(dataset, split, folder, network, views, rows, done) -> Iterator[int]:
    """Writes the rows that are missing; yields how many are written after each batch."""
    paths = {name: folder / f"{split}.{name}.npy" for name in network.outputs}
    if done and not all(path.is_file() for path in paths.values()):
        done = 0
    arrays = {
        name: np.lib.format.open_memmap(
            paths[name], mode="r+" if done else "w+", dtype=dtype, shape=(rows, views.count, *shape)
        )
        for name, (shape, dtype) in network.outputs.items()
    }
    if done == rows:
        yield rows
        return
    for pictures in _pictures(dataset, split, network, views, done):
        found = network.run(pictures.reshape(-1, *pictures.shape[2:]))
        upto = done + len(pictures)
        for name, array in arrays.items():
            values = np.asarray(found[name]).astype(array.dtype).reshape(len(pictures), views.count, *array.shape[2:])
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{name}: expected finite features in {array.dtype}, received others in rows {done} to {upto - 1} "
                    f"of split {split!r}."
                )
            array[done:upto] = values
            array.flush()
        folders.write_whole({folder / f"{split}.done": str(upto)})
        done = upto
        yield done


def _pictures(dataset, split, network, views, first) -> Iterator[NDArray[np.float32]]:
    """Batches of the rows from ``first`` on: float32 [rows, views, side, side, 3]."""

    def photos(serialized):
        example = dataset.parse(serialized)
        found = example[schema.IMAGES] if split == "train" else example[schema.IMAGES][:1]
        key = tf.random.experimental.stateless_fold_in(
            tf.constant([0, 2], tf.int64), tf.strings.to_hash_bucket_fast(example[schema.ID], 2**62)
        )
        return tf.data.Dataset.from_tensor_slices(found).enumerate().map(lambda number, photo: (photo, number, key))

    def shown(photo, number, key):
        photo = images.decode_image(photo)
        pictures = [images.evaluation_transform(photo, network.side, network.short_side)]
        for view in range(1, views.count):
            own = tf.random.experimental.stateless_fold_in(key, number * 2**32 + view)
            pictures.append(images.training_transform(photo, network.side, own, views.augmentation, network.short_side))
        return tf.stack(pictures)

    stream = tf.data.TFRecordDataset(dataset.files(split)).flat_map(photos).skip(first)
    stream = stream.map(shown, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    at_once = _PICTURES_AT_ONCE * min(224**2, network.side**2) // network.side**2
    return stream.batch(max(1, at_once // views.count)).prefetch(2).as_numpy_iterator()
