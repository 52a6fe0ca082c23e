"""Embeddings of earlier training steps, as further negatives.

Cross-batch memory (Wang, Zhang, Huang, Scott 2020, Cross-Batch Memory for Embedding Learning, sections 3.2 and 3.3):
while a model learns slowly, what it embedded some steps ago is near to what it would embed now, so that a queue of it
stands in for a batch that many times as large. In the first steps embeddings drift fast, and the memory stays empty.

Where this departs from the paper: its memory holds the step's own batch already when the loss is taken; here a step's
batch enters after it, and each pair of the batch counts once.
"""

import keras
from keras import ops

from kfood import distances


@keras.saving.register_keras_serializable("kfood")
class PairMemory(keras.layers.Layer):
    """A queue of pairs of embeddings with the numbers of their recipes, the newest first.

    Args:
        count: pairs kept.
        size: of an embedding.
        warmup: steps whose pairs it does not take.
    """

    def __init__(self, count, size, warmup=0, **kwargs):
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.count = count
        self.size = size
        self.warmup = warmup

    def build(self, shape=None):
        """Empty."""

        def held(name, shape=(), dtype=None):
            return self.add_weight(shape=shape, initializer="zeros", dtype=dtype, trainable=False, name=name)

        self.image = held("image", (self.count, self.size))
        self.recipe = held("recipe", (self.count, self.size))
        self.recipes = held("recipes", (self.count,), "int64")
        self.steps = held("steps", dtype="int64")
        self.filled = held("filled", dtype="int64")
        self.built = True

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
        filled = ops.arange(self.count, dtype="int64") < self.filled
        others = ops.not_equal(recipes[:, None], ops.convert_to_tensor(self.recipes)[None, :])
        return sides, ops.logical_and(others, filled[None, :])

    def push(self, image, recipe, recipes):
        """A step's pairs enter, the oldest leave; shapes as of :meth:`call`."""
        for held, new in ((self.image, image), (self.recipe, recipe), (self.recipes, recipes)):
            joined = ops.concatenate([ops.cast(new, held.dtype), ops.convert_to_tensor(held)], axis=0)
            held.assign(joined[: self.count])
        self.steps.assign_add(1)
        entered = ops.cast(ops.shape(image)[0], "int64")
        full = ops.minimum(self.filled + entered, self.count)
        self.filled.assign(ops.where(self.steps > self.warmup, full, 0))

    def get_config(self):
        """Arguments of the constructor."""
        config = super().get_config()
        return {**config, "count": self.count, "size": self.size, "warmup": self.warmup}
