"""Batches of a prepared dataset, as ``tf.data`` streams: recipe–photo pairs, labelled photos class by class, or
trajectories with map pictures.

A training stream is endless, and epoch ``e`` of it is a pure function of (seed, e): the order of files and recipes,
the photo taken of each recipe, the classes and photos of each batch, crops and mirroring. Resuming after ``n`` epochs
is a stream with ``first_epoch=n``.
"""

import functools
import zlib
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kfood import schema
from kfood.data import drawing, images
from kfood.data.dataset import WITHOUT_PHOTOS, LabelledDataset, PreparedDataset, RecipeDataset, TrajectoryDataset
from kfood.data.features import PhotoFeatures
from kfood.data.streams import (
    Features,
    Nothing,
    Photos,
    in_order,
    part,
    recipe_texts,
    recipe_tokens,
    recipes_alone,
    shuffled,
)
from kfood.data.text import RecipeTokenizer


def batches(
    dataset: PreparedDataset, split: str, spec: Any, batch_size: int, *, training: bool, **options: Any
) -> tf.data.Dataset:
    """Stream a dataset of any kind: :func:`recipe_batches`, :func:`photo_batches` or :func:`trajectory_batches`."""
    makers: Any = {"recipes": recipe_batches, "labelled": photo_batches, "trajectories": trajectory_batches}
    return makers[dataset.kind](dataset, split, spec, batch_size, training=training, **options)


def steps_per_epoch(dataset: PreparedDataset, split: str, batch_size: int) -> int:
    """Full batches in one epoch of a training stream.

    Args:
        dataset: a prepared dataset.
        split: "train", "val" or "test".
        batch_size: pairs, or photos, in a batch.

    Returns:
        ``items // batch_size``.

    Raises:
        ValueError: if the split does not fill one batch.
    """
    size = dataset.size(split)
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch size: expected from 1 to {size}, the items of split {split!r} of {dataset.path}, "
            f"received {batch_size}."
        )
    return size // batch_size


def recipe_batches(
    dataset: RecipeDataset,
    split: str,
    spec: schema.RecipeSpec,
    batch_size: int,
    *,
    training: bool,
    seed: int = 0,
    first_epoch: int = 0,
    augmentation: images.Augmentation | None = None,
    features: PhotoFeatures | None = None,
    photos: bool = True,
    without_photos: int = 0,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Stream batches of recipe–photo pairs.

    Args:
        dataset: a prepared dataset.
        split: "train", "val" or "test".
        spec: shapes of the batches; its vocabulary sizes have to be the dataset's.
        batch_size: pairs in a batch.
        training: True: an endless stream of shuffled, augmented epochs of :func:`steps_per_epoch` full batches, each
            recipe with a random one of its photos. False: one pass in disk order, first photos, centre crops, the
            last batch smaller where need be.
        seed: what the training stream's choices are drawn from.
        first_epoch: epoch with which the training stream begins.
        augmentation: how training pictures are varied; the default is ``images.Augmentation()``.
        features: what to read in place of photos, in a random view of those that there are, or in evaluation's.
        photos: False leaves them out: recipes alone.
        without_photos: of a training stream, so many recipes without photos stand beside each batch, of datasets that
            have any (``kfood prepare --keep-without-photos``).

    Returns:
        Dataset of dicts with the names, dtypes and shapes of :mod:`kfood.schema`: ``id``, ``image`` or the outputs of
        ``features``, the spec's recipe inputs, ``ingredient_ids``, ``class_id``, ``recipe_number``, and the inputs of
        recipes without photos.

    Raises:
        ValueError: if the spec does not fit the dataset, or the split does not fill a training batch.
    """
    if spec.instruction_vectors not in (0, dataset.instruction_vectors):
        raise ValueError(
            f"instruction_vectors: expected 0 or the dataset's width {dataset.instruction_vectors}, "
            f"received {spec.instruction_vectors}."
        )
    tokenizer = RecipeTokenizer(spec, dataset.words, dataset.ingredients)
    source: Any = Photos(spec, augmentation) if features is None else Features(features, split)
    if not photos:
        source = Nothing()
    if training:
        steps = steps_per_epoch(dataset, split, batch_size)
        stream = _drawn_pairs(dataset, split, spec, batch_size, source, seed, first_epoch, share)
    else:

        def load(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            example = dataset.parse(serialized)
            return recipe_texts(example, spec) | source.item(example)

        stream = _in_disk_order(dataset, split, batch_size).map(load, num_parallel_calls=tf.data.AUTOTUNE)

    def tokenized(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            schema.ID: batch[schema.ID],
            **source.batch(batch),
            **recipe_tokens(batch, spec, tokenizer),
            schema.INGREDIENT_IDS: tokenizer.ingredient_ids(batch[schema.INGREDIENT_NAMES]),
            schema.CLASS_ID: batch[schema.CLASS_ID],
            schema.RECIPE_NUMBER: tf.strings.to_hash_bucket_fast(batch[schema.ID], tf.int64.max),
        }

    # Every epoch of a training stream is a whole number of batches, so no batch spans two of them.
    stream = stream.padded_batch(batch_size // share[1], drop_remainder=training)
    stream = stream.map(tokenized, num_parallel_calls=tf.data.AUTOTUNE)
    if training and without_photos and WITHOUT_PHOTOS in dataset.splits:
        alone = recipes_alone(dataset, WITHOUT_PHOTOS, spec, tokenizer, without_photos, steps, first_epoch, seed, share)
        stream = tf.data.Dataset.zip(stream, alone).map(lambda pairs, others: pairs | others)
    return in_order(stream.prefetch(tf.data.AUTOTUNE))


def _drawn_pairs(dataset, split, spec, batch_size, source, seed, first_epoch, share):
    """An endless stream of epochs of shuffled recipes, whole batches of them, each with a random one of its photos."""
    drawn = steps_per_epoch(dataset, split, batch_size) * batch_size

    def epoch(index: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), index)
        examples = part(shuffled(dataset.files(split), key).take(drawn), batch_size, share)
        return examples.map(lambda serialized: (serialized, key))

    def load(serialized: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        example = dataset.parse(serialized)
        # Keyed by the recipe rather than by its place, so that order and pictures are drawn independently.
        key = tf.random.experimental.stateless_fold_in(key, tf.strings.to_hash_bucket_fast(example["id"], 2**62))
        draw = tf.random.stateless_uniform([], key, alg="philox")
        count = tf.shape(example[schema.IMAGES])[0]
        photo = tf.minimum(tf.cast(draw * tf.cast(count, tf.float32), tf.int32), count - 1)
        key = tf.random.experimental.stateless_fold_in(key, 1)
        return recipe_texts(example, spec) | source.item(example, photo, key)

    return _epochs(epoch, first_epoch).map(load, num_parallel_calls=tf.data.AUTOTUNE)


def _epochs(epoch, first_epoch):
    """The streams that ``epoch`` makes of an epoch's number, one after another, without end."""
    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)


def _in_disk_order(dataset, split, batch_size):
    """The examples of a split as they are stored, once a batch size that they are to be read in is known to be one."""
    if batch_size < 1:
        raise ValueError(f"batch size: expected at least 1, received {batch_size}.")
    return tf.data.TFRecordDataset(dataset.files(split))


def photo_batches(
    dataset: LabelledDataset,
    split: str,
    spec: schema.PhotoSpec,
    batch_size: int,
    *,
    training: bool,
    seed: int = 0,
    first_epoch: int = 0,
    augmentation: images.Augmentation | None = None,
    features: PhotoFeatures | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Stream batches of labelled photos.

    Args:
        dataset: a prepared dataset.
        split: "train", "val" or "test".
        spec: shapes of the batches.
        batch_size: photos in a batch.
        training: True: an endless stream of augmented epochs of :func:`steps_per_epoch` batches of
            ``batch_size / spec.samples_per_class`` classes (:func:`class_batches`); each photo is read from its place
            on disk when its turn comes. False: one pass in disk order, centre crops, the last batch smaller where need
            be.
        seed: what the training stream's choices are drawn from.
        first_epoch: epoch with which the training stream begins.
        augmentation: how training pictures are varied; the default is ``images.Augmentation()``.
        features: as of :func:`recipe_batches`.
        share: likewise.

    Returns:
        Dataset of dicts: ``id``, ``image`` or the outputs of ``features``, ``class_id``.

    Raises:
        ValueError: if the split has too few photos or classes for a training batch.
    """

    source = Photos(spec, augmentation) if features is None else Features(features, split)

    def item(serialized: tf.Tensor, key: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        example = dataset.parse(serialized)
        return {
            schema.ID: example[schema.ID],
            **source.item(example, 0, key),
            schema.CLASS_ID: tf.cast(example[schema.CLASS_ID], tf.int32),
        }

    def read_batch(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: batch[name] for name in (schema.ID, schema.CLASS_ID)} | source.batch(batch)

    if training:
        stream = _drawn_photos(dataset, split, spec, batch_size, item, seed, first_epoch, share)
    else:
        stream = _in_disk_order(dataset, split, batch_size)
        stream = stream.map(item, num_parallel_calls=tf.data.AUTOTUNE)
    stream = stream.batch(batch_size // share[1], drop_remainder=training)
    stream = stream.map(read_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return in_order(stream)


def _drawn_photos(dataset, split, spec, batch_size, item, seed, first_epoch, share):
    """An endless stream of epochs of photos, class by class, each made an ``item`` of with a key of its own."""
    steps = steps_per_epoch(dataset, split, batch_size)
    labels = dataset.labels(split)
    draw = functools.partial(
        class_batches, labels, batch_size=batch_size, samples=spec.samples_per_class, repetition=spec.repetition
    )
    draw(steps=1, seed=(seed, 0))  # says now what does not fit
    read = tf.autograph.experimental.do_not_convert(
        lambda index: tf.ensure_shape(
            tf.numpy_function(lambda index: dataset.serialized(split, index), [index], tf.string), []
        )
    )

    def epoch(index: tf.Tensor) -> tf.data.Dataset:
        rows = tf.numpy_function(
            lambda index: draw(steps=steps, seed=(seed, int(index))),
            [index],
            tf.int64,
        )
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 1], tf.int64), index)
        chosen = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, [steps * batch_size]))
        placed = part(chosen.enumerate(), batch_size, share)
        return placed.map(lambda place, row: (row, key, place))

    def load(row: tf.Tensor, key: tf.Tensor, place: tf.Tensor) -> dict[str, tf.Tensor]:
        # Keyed by place: in an epoch of a small class a photo comes more than once.
        return item(read(row), tf.random.experimental.stateless_fold_in(key, place))

    return _epochs(epoch, first_epoch).map(load, num_parallel_calls=tf.data.AUTOTUNE)


def trajectory_batches(
    dataset: TrajectoryDataset,
    split: str,
    spec: schema.TrajectorySpec,
    batch_size: int,
    *,
    training: bool,
    seed: int = 0,
    first_epoch: int = 0,
    augmentation: drawing.Movement | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Stream batches of trajectories with map pictures.

    Args:
        dataset: a prepared dataset.
        split: "train", "val" or "test".
        spec: shapes of the batches.
        batch_size: trajectories in a batch.
        training: True: an endless stream of shuffled epochs of :func:`steps_per_epoch` full batches, each trajectory
            moved and its picture drawn anew. False: one pass in disk order with the pictures that are stored, the last
            batch smaller where need be.
        seed: what the training stream's choices are drawn from.
        first_epoch: epoch with which the training stream begins.
        augmentation: how training trajectories are moved; the default leaves them where they are.
        share: as of :func:`recipe_batches`.

    Returns:
        Dataset of dicts: ``id``, ``image``, ``location``, ``trajectory``, ``class_id``.

    Raises:
        ValueError: if the spec does not fit the dataset, or the split does not fill a training batch.
    """
    dataset.check(spec)
    side, points = spec.image_size, spec.points

    def features(example: dict[str, tf.Tensor], pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            schema.ID: example[schema.ID],
            schema.IMAGE: tf.ensure_shape(tf.cast(pictures, tf.float32), [None, side, side, 3]),
            schema.LOCATION: tf.ensure_shape(example[schema.LOCATION], [None, 4]),
            schema.TRAJECTORY: tf.ensure_shape(example[schema.TRAJECTORY], [None, points, 2]),
            schema.CLASS_ID: tf.cast(example[schema.CLASS_ID], tf.int32),
        }

    if training:
        examples = _moved_tracks(
            dataset, split, batch_size, augmentation or drawing.Movement(), seed, first_epoch, share
        )
        stream = examples.map(features)
    else:

        def opened(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            example = dataset.parse(serialized)
            picture = tf.io.decode_png(example.pop(schema.IMAGES)[0], channels=3)
            return example, tf.ensure_shape(picture, [side, side, 3])

        stream = _in_disk_order(dataset, split, batch_size).map(opened, num_parallel_calls=tf.data.AUTOTUNE)
        stream = stream.batch(batch_size).map(features)
    return in_order(stream.prefetch(tf.data.AUTOTUNE))


def _moved_tracks(dataset, split, batch_size, movement, seed, first_epoch, share):
    """An endless stream of epochs of shuffled batches: (examples whose trajectories are moved, pictures of these)."""
    steps, style = steps_per_epoch(dataset, split, batch_size), dataset.style

    def epoch(index: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), index)
        examples = part(shuffled(dataset.files(split), key).take(steps * batch_size), batch_size, share)
        return examples.map(dataset.parse).batch(batch_size // share[1]).map(lambda examples: (examples, index))

    def drawn(names: Any, tracks: Any, index: Any) -> tuple[Any, Any, Any]:
        """A batch of (trajectory moved, picture, location)."""
        rows = []
        for name, track in zip(names, tracks, strict=True):
            # Keyed by the trajectory rather than by its place, so that order and pictures are drawn independently.
            random = np.random.default_rng([seed, int(index), zlib.crc32(name)])
            moved = movement.move(track, random)
            if style.scene is not None:
                moved = drawing.kept_inside(moved, style.scene)
            moved = moved.astype(np.float32)
            rows.append((moved, *drawing.picture(moved, style, random)))
        moved, pictures, locations = (np.stack(part) for part in zip(*rows, strict=True))
        return moved, pictures, locations

    def load(examples: dict[str, tf.Tensor], index: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        examples[schema.TRAJECTORY], pictures, examples[schema.LOCATION] = tf.numpy_function(
            drawn,
            [examples[schema.ID], examples[schema.TRAJECTORY], index],
            (tf.float32, tf.uint8, tf.float32),
        )
        return examples, pictures

    return _epochs(epoch, first_epoch).map(load, num_parallel_calls=tf.data.AUTOTUNE)


def class_batches(
    labels: NDArray[np.int32],
    steps: int,
    batch_size: int,
    samples: int,
    *,
    seed: tuple[int, ...],
    repetition: bool = False,
) -> NDArray[np.int64]:
    """The photos of an epoch: each batch holds ``batch_size / samples`` classes, ``samples`` photos of each.

    A batch's classes are drawn without repetition, each batch for itself (the paper's section 4.3). A class's photos
    come in random order, and none again before all others have come, but for those that do not fill a group; a class
    with fewer than ``samples`` photos repeats them.

    Args:
        labels: int [photos], class ids.
        steps: batches.
        batch_size: photos in a batch.
        samples: photos of each of its classes.
        seed: what all of it follows from.
        repetition: every class of a batch and every photo of a class is drawn on its own instead, so that a class may
            come twice in a batch and a photo be its own pair, as in the α-sampling paper's released code.

    Returns:
        int64 [steps * batch_size], indices into ``labels``, class by class within a batch.

    Raises:
        ValueError: a batch that is no multiple of ``samples``, or that needs more classes than there are, without
            repetition.
    """
    order = np.argsort(labels, kind="stable")
    ids, starts = np.unique(labels[order], return_index=True)
    members = np.split(order, starts[1:])
    random = np.random.default_rng(seed)
    if repetition:
        if batch_size < 1 or batch_size % samples:
            raise ValueError(
                f"batch size: expected a multiple of samples_per_class = {samples}, received {batch_size}."
            )
        drawn = random.integers(len(ids), size=steps * batch_size // samples)
        return np.concatenate([random.choice(members[class_id], samples) for class_id in drawn]).astype(np.int64)
    if batch_size % samples or not 1 <= batch_size // samples <= len(ids):
        raise ValueError(
            f"batch size: expected a multiple of samples_per_class = {samples} up to {samples * len(ids)}, for the "
            f"photos are of {len(ids)} classes, received {batch_size}."
        )
    left: list[NDArray] = [np.empty(0, np.int64)] * len(ids)
    rows = []
    for _ in range(steps):
        for chosen in random.choice(len(ids), batch_size // samples, replace=False):
            if len(left[chosen]) < samples:
                shuffled = random.permutation(members[chosen])
                left[chosen] = np.resize(shuffled, max(samples, len(shuffled)))
            rows.append(left[chosen][:samples])
            left[chosen] = left[chosen][samples:]
    return np.concatenate(rows).astype(np.int64)
