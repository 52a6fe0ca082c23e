"""Batches of a prepared recipe dataset, as ``tf.data`` streams.

A training stream is endless, and epoch ``e`` of it is a pure function of (seed, e): the order of files and recipes,
the photo taken of each recipe, crops and mirroring. Resuming after ``n`` epochs is a stream with ``first_epoch=n``.
"""

import tensorflow as tf

from kfood import schema
from kfood.data import images
from kfood.data.dataset import RecipeDataset
from kfood.data.text import RecipeTokenizer

SHUFFLE_BLOCK = 4096
"""Recipes that are shuffled together; a split of up to this size is shuffled as a whole. Files are shuffled too, and
recipes lie in random order within them."""

_FILES_AT_ONCE = 8


def steps_per_epoch(dataset: RecipeDataset, split: str, batch_size: int) -> int:
    """Full batches in one epoch of a training stream.

    Args:
        dataset: a prepared dataset.
        split: "train", "val" or "test".
        batch_size: pairs in a batch.

    Returns:
        ``pairs // batch_size``.

    Raises:
        ValueError: if the split does not fill one batch.
    """
    size = dataset.size(split)
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch size: expected from 1 to {size}, the pairs of split {split!r} of {dataset.path}, "
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

    Returns:
        Dataset of dicts with the names, dtypes and shapes of :mod:`kfood.schema`: ``id``, ``image``, the spec's
        recipe inputs, ``ingredient_ids``, ``class_id``.

    Raises:
        ValueError: if the spec does not fit the dataset, or the split does not fill a training batch.
    """
    if spec.instruction_vectors not in (0, dataset.instruction_vectors):
        raise ValueError(
            f"instruction_vectors: expected 0 or the dataset's width {dataset.instruction_vectors}, "
            f"received {spec.instruction_vectors}."
        )
    tokenizer = RecipeTokenizer(spec, dataset.words, dataset.ingredients)
    files = dataset.files(split)

    if training:
        steps = steps_per_epoch(dataset, split, batch_size)

        def epoch(index: tf.Tensor) -> tf.data.Dataset:
            key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), index)
            examples = _shuffled(files, key).take(steps * batch_size)
            return examples.map(lambda serialized: (serialized, key))

        def load(serialized: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
            example = dataset.parse(serialized)
            # Keyed by the recipe rather than by its place, so that order and pictures are drawn independently.
            key = tf.random.experimental.stateless_fold_in(key, tf.strings.to_hash_bucket_fast(example["id"], 2**62))
            photos = example[schema.IMAGES]
            draw = tf.random.stateless_uniform([], key, alg="philox")
            count = tf.shape(photos)[0]
            photo = photos[tf.minimum(tf.cast(draw * tf.cast(count, tf.float32), tf.int32), count - 1)]
            key = tf.random.experimental.stateless_fold_in(key, 1)
            picture = images.training_transform(images.decode_image(photo), spec.image_size, key, augmentation)
            return _features(example, picture, spec)

        stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
    else:
        if batch_size < 1:
            raise ValueError(f"batch size: expected at least 1, received {batch_size}.")

        def load(serialized: tf.Tensor) -> dict[str, tf.Tensor]:  # type: ignore[misc]
            example = dataset.parse(serialized)
            photo = images.decode_image(example[schema.IMAGES][0])
            return _features(example, images.evaluation_transform(photo, spec.image_size), spec)

        stream = tf.data.TFRecordDataset(files)

    # Words are cut and looked up a batch at a time, which costs a fraction of doing it recipe by recipe.
    def tokenized(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        names = batch[schema.INGREDIENT_NAMES]
        tokens = tokenizer(
            batch[schema.TITLE],
            names if spec.ingredient_unit == "name" else batch[schema.INGREDIENTS],
            batch[schema.INSTRUCTIONS],
        )
        if spec.instruction_vectors:
            tokens[schema.INSTRUCTION_VECTORS] = batch[schema.INSTRUCTION_VECTORS]
        return {
            schema.ID: batch[schema.ID],
            schema.IMAGE: batch[schema.IMAGE],
            **{name: tokens[name] for name in spec.recipe_inputs()},
            schema.INGREDIENT_IDS: tokenizer.ingredient_ids(names),
            schema.CLASS_ID: batch[schema.CLASS_ID],
        }

    stream = stream.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    # Every epoch of a training stream is a whole number of batches, so no batch spans two of them.
    stream = stream.padded_batch(batch_size, drop_remainder=training)
    stream = stream.map(tokenized, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.deterministic = True
    return stream.with_options(options)


def _features(example: dict[str, tf.Tensor], picture: tf.Tensor, spec: schema.RecipeSpec) -> dict[str, tf.Tensor]:
    """What of an example goes into a batch, texts still strings."""
    names = [schema.ID, schema.TITLE, schema.INGREDIENTS, schema.INGREDIENT_NAMES, schema.INSTRUCTIONS]
    features = {name: example[name] for name in names}
    features[schema.IMAGE] = picture
    features[schema.CLASS_ID] = tf.cast(example[schema.CLASS_ID], tf.int32)
    if spec.instruction_vectors:
        vectors = example[schema.INSTRUCTION_VECTORS][: spec.instructions]
        vectors = tf.pad(vectors, [[0, spec.instructions - tf.shape(vectors)[0]], [0, 0]])
        features[schema.INSTRUCTION_VECTORS] = tf.ensure_shape(vectors, [spec.instructions, spec.instruction_vectors])
    return features


def _shuffled(files: list[str], key: tf.Tensor) -> tf.data.Dataset:
    """Serialized examples in an order that follows from ``key`` alone.

    ``Dataset.shuffle`` would mix in the process's global seed; whole blocks are permuted statelessly instead.
    """
    order = tf.random.experimental.stateless_shuffle(tf.constant(files), key)
    examples = tf.data.Dataset.from_tensor_slices(order).interleave(
        tf.data.TFRecordDataset, cycle_length=min(_FILES_AT_ONCE, len(files))
    )

    def permute(index: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_shuffle(block, tf.random.experimental.stateless_fold_in(key, index + 1))

    return examples.batch(SHUFFLE_BLOCK).enumerate().map(permute).unbatch()
