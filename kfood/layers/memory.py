"""Embeddings of earlier training steps, as further negatives.

Cross-batch memory (Wang, Zhang, Huang, Scott 2020, Cross-Batch Memory for Embedding Learning, sections 3.2 and 3.3):
while a model learns slowly, what it embedded some steps ago is near to what it would embed now, so that a queue of it
stands in for a batch that many times as large. In the first steps embeddings drift fast, and the memory stays empty.

Where this departs from the paper: its memory holds the step's own batch already when the loss is taken; here a step's
batch enters after it, and each pair of the batch counts once. What is remembered of an item is never compared with the
item itself.
"""

import keras
from keras import ops

from kfood import distances, miners, schema


def check_memory(config):
    """Raises ValueError unless ``memory`` and ``memory_warmup`` of a model's settings are 0 or more."""
    for name in ("memory", "memory_warmup"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}: expected at least 0, received {getattr(config, name)}.")


def check_remembered(batch):
    """Raises ValueError where a batch does not tell its items from those of other batches."""
    if schema.RECIPE_NUMBER not in batch:
        raise ValueError(
            f"memory: expected recipe_number, or id, in a batch, to know its recipes again, received {sorted(batch)}."
        )


class _Memory(keras.layers.Layer):
    """A queue of items of earlier steps, the newest first.

    Args:
        count: items kept.
        size: of an embedding.
        warmup: steps whose items it does not take.
    """

    holds: tuple[str, ...]
    """Names of what it keeps of an item, float ``[count, size]`` each."""
    numbers: tuple[str, ...]
    """And of numbers, int64 ``[count]`` each."""

    def __init__(self, count, size, warmup=0, **kwargs):
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.count = count
        self.size = size
        self.warmup = warmup

    def build(self, shape=None):
        """Empty."""

        def held(name, shape=(), dtype=None):
            # Devices that share a batch all push the whole of it.
            variable = self.add_weight(
                shape=shape,
                initializer="zeros",
                dtype=dtype,
                trainable=False,
                aggregation="only_first_replica",
                name=name,
            )
            setattr(self, name, variable)

        for name in self.holds:
            held(name, (self.count, self.size))
        for name in self.numbers:
            held(name, (self.count,), "int64")
        held("steps", dtype="int64")
        held("filled", dtype="int64")
        self.built = True

    def there(self):
        """Which places hold an item: bool ``[count]``."""
        return ops.arange(self.count, dtype="int64") < self.filled

    def push(self, *items):
        """A step's items enter, the oldest leave.

        Args:
            *items: in the order of :attr:`holds` and :attr:`numbers`, float ``[n, size]`` and int64 ``[n]``.
        """
        for name, new in zip((*self.holds, *self.numbers), items, strict=True):
            held = getattr(self, name)
            joined = ops.concatenate([ops.cast(new, held.dtype), ops.convert_to_tensor(held)], axis=0)
            held.assign(joined[: self.count])
        self.steps.assign_add(1)
        entered = ops.cast(ops.shape(items[0])[0], "int64")
        full = ops.minimum(self.filled + entered, self.count)
        self.filled.assign(ops.where(self.steps > self.warmup, full, 0))

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        return {**config, "count": self.count, "size": self.size, "warmup": self.warmup}


@keras.saving.register_keras_serializable("kfood")
class PairMemory(_Memory):
    """Pairs of embeddings with the numbers of their recipes; arguments as of any memory."""

    holds = ("image", "recipe")
    numbers = ("recipes",)

    def call(self, image, recipe, recipes):
        """What the memory says of a batch.

        Args:
            image: float ``[n, size]``.
            recipe: float ``[n, size]``.
            recipes: int64 ``[n]``, the number of each pair's recipe.

        Returns:
            ((cosines of images and remembered recipes, of recipes and remembered images), each float ``[n, count]``;
            which of them count as negatives, bool ``[n, count]``: places that are filled, of other recipes).
        """
        sides = (1.0 - distances.cosine(image, self.recipe), 1.0 - distances.cosine(recipe, self.image))
        others = ops.not_equal(recipes[:, None], ops.convert_to_tensor(self.recipes)[None, :])
        return sides, ops.logical_and(others, self.there()[None, :])


@keras.saving.register_keras_serializable("kfood")
class LabelledMemory(_Memory):
    """Embeddings with their classes and the numbers of their photos; arguments as of any memory."""

    holds = ("embeddings",)
    numbers = ("labels", "photos")

    def call(self, photos):
        """What the memory is to a batch.

        Args:
            photos: int64 ``[n]``, the number of each photo.

        Returns:
            :class:`kfood.miners.Others`: what is remembered; places that are filled, with other photos, count.
        """
        embeddings, labels, numbers = (
            ops.convert_to_tensor(held) for held in (self.embeddings, self.labels, self.photos)
        )
        others = ops.not_equal(photos[:, None], numbers[None, :])
        return miners.Others(embeddings, labels, ops.logical_and(others, self.there()[None, :]))
