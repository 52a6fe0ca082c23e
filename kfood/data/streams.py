"""What the streams of :mod:`kfood.data.pipeline` are made of: examples in a seeded order, and what of each goes into a
batch."""

from typing import Any

import tensorflow as tf

from kfood import schema
from kfood.data import images
from kfood.data.dataset import RecipeDataset
from kfood.data.features import PhotoFeatures
from kfood.data.text import RecipeTokenizer

SHUFFLE_BLOCK = 4096
"""Recipes that are shuffled together; a split of up to this size is shuffled as a whole. Files are shuffled too, and
recipes lie in random order within them."""

_FILES_AT_ONCE = 8


class Photos:
    """An item's photo as a picture, decoded and cut: varied with a key, evaluation's crop without one.

    Like the other sources: ``item`` is what is taken of an example, ``batch`` what becomes of it in a batch.
    """

    def __init__(self, spec: Any, augmentation: images.Augmentation | None):
        self.sizes = spec.image_size, spec.short_side
        self.augmentation = augmentation

    def item(self, example: dict[str, tf.Tensor], number: Any = 0, key: Any = None) -> dict[str, tf.Tensor]:
        """See the class."""
        photo = images.decode_image(example[schema.IMAGES][number])
        if key is None:
            return {schema.IMAGE: images.evaluation_transform(photo, *self.sizes)}
        side, short_side = self.sizes
        return {schema.IMAGE: images.training_transform(photo, side, key, self.augmentation, short_side)}

    def batch(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See the class."""
        return {schema.IMAGE: batch[schema.IMAGE]}


class Nothing:
    """No photo."""

    def item(self, example: dict[str, tf.Tensor], number: Any = 0, key: Any = None) -> dict[str, tf.Tensor]:
        """See the class."""
        return {}

    def batch(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See the class."""
        return {}


class Features:
    """What was computed of an item's photo: of a view drawn by the key, of evaluation's without one."""

    def __init__(self, features: PhotoFeatures, split: str):
        self.place = features.places(split)
        self.batch = features.read(split)

    def item(self, example: dict[str, tf.Tensor], number: Any = 0, key: Any = None) -> dict[str, tf.Tensor]:
        """See the class."""
        return self.place(example[schema.ID], number, key)


def part(items: tf.data.Dataset, batch_size: int, share: tuple[int, int]) -> tf.data.Dataset:
    """Of a stream of whole batches, item by item, the rows of each that one of several processes trains on.

    Args:
        items: unbatched, ``batch_size`` of them a batch.
        batch_size: a multiple of the number of processes.
        share: which of them, from 0, and how many there are.

    Returns:
        Their ``batch_size / share[1]`` items of each batch, in order.
    """
    which, processes = share
    if processes == 1:
        return items
    rows = batch_size // processes
    return items.enumerate().filter(lambda place, *_: place % batch_size // rows == which).map(lambda _, item: item)


def recipes_alone(
    dataset: RecipeDataset,
    split: str,
    spec: schema.RecipeSpec,
    tokenizer: RecipeTokenizer,
    count: int,
    steps: int,
    first_epoch: int,
    seed: int,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Endless batches of recipes without photos, ``steps`` an epoch, each epoch a function of seed and its number.

    Where an epoch takes more recipes than there are, it goes through them again, in another order.

    Args:
        dataset: has the split.
        split: of recipes.
        spec: shapes.
        tokenizer: of the spec.
        count: recipes in a batch.
        steps: batches in an epoch.
        first_epoch: with which the stream begins.
        seed: what the order is drawn from.
        share: as of :func:`part`.

    Returns:
        Dataset of the spec's recipe inputs ``[count / share[1], ...]``, :data:`kfood.schema.WITHOUT_PHOTO` before their
        names.
    """
    files = dataset.files(split)

    def epoch(index: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 3], tf.int64), index)
        rounds = tf.data.Dataset.range(tf.int64.max).flat_map(
            lambda number: shuffled(files, tf.random.experimental.stateless_fold_in(key, number))
        )
        return part(rounds.take(steps * count), count, share)

    def tokenized(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = recipe_tokens(batch, spec, tokenizer)
        return {schema.WITHOUT_PHOTO + name: tokens[name] for name in spec.recipe_inputs()}

    stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
    stream = stream.map(lambda serialized: recipe_texts(dataset.parse(serialized), spec), tf.data.AUTOTUNE)
    return stream.padded_batch(count // share[1], drop_remainder=True).map(tokenized, tf.data.AUTOTUNE)


def recipe_tokens(
    batch: dict[str, tf.Tensor], spec: schema.RecipeSpec, tokenizer: RecipeTokenizer
) -> dict[str, tf.Tensor]:
    """Texts of a batch, of :func:`recipe_texts` → the spec's recipe inputs.

    Words are cut and looked up a batch at a time, which costs a fraction of doing it recipe by recipe.
    """
    tokens = tokenizer(
        batch[schema.TITLE],
        batch[schema.INGREDIENT_NAMES if spec.ingredient_unit == "name" else schema.INGREDIENTS],
        batch[schema.INSTRUCTIONS],
    )
    if spec.instruction_vectors:
        tokens[schema.INSTRUCTION_VECTORS] = batch[schema.INSTRUCTION_VECTORS]
    return {name: tokens[name] for name in spec.recipe_inputs()}


def in_order(stream: tf.data.Dataset) -> tf.data.Dataset:
    """The same stream, its parallel parts never overtaking each other."""
    options = tf.data.Options()
    options.deterministic = True
    return stream.with_options(options)


def recipe_texts(example: dict[str, tf.Tensor], spec: schema.RecipeSpec) -> dict[str, tf.Tensor]:
    """What of an example goes into a batch, but for photos; texts still strings."""
    names = [schema.ID, schema.TITLE, schema.INGREDIENTS, schema.INGREDIENT_NAMES, schema.INSTRUCTIONS]
    features = {name: example[name] for name in names}
    features[schema.CLASS_ID] = tf.cast(example[schema.CLASS_ID], tf.int32)
    if spec.instruction_vectors:
        vectors = example[schema.INSTRUCTION_VECTORS][: spec.instructions]
        vectors = tf.pad(vectors, [[0, spec.instructions - tf.shape(vectors)[0]], [0, 0]])
        features[schema.INSTRUCTION_VECTORS] = tf.ensure_shape(vectors, [spec.instructions, spec.instruction_vectors])
    return features


def shuffled(files: list[str], key: tf.Tensor) -> tf.data.Dataset:
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
