"""How an encoder ends whose embeddings are compared by cosine."""

import keras
from keras import ops

from kfood import distances


@keras.saving.register_keras_serializable("kfood")
class UnitLength(keras.layers.Layer):
    """Vectors of length 1: :func:`kfood.distances.unit_length`, with its finite gradient where a vector is 0.

    Call arguments:
        vectors: float ``[batch, d]``.

    Returns:
        float ``[batch, d]``.
    """

    def call(self, vectors):
        """See the class."""
        return distances.unit_length(vectors)

    def compute_output_shape(self, shape):
        """That of the vectors."""
        return shape


@keras.saving.register_keras_serializable("kfood")
class UnitRoots(keras.layers.Layer):
    """Signed square roots of features, of length 1: a few strong ones no longer drown the others.

    Call arguments:
        features: float ``[batch, d]``.

    Returns:
        Like ``features``; zeros stay zeros.
    """

    def call(self, features):
        """See the class."""
        roots = ops.sign(features) * ops.sqrt(ops.abs(features))
        # The squares of the roots are the features' sizes.
        return roots / ops.sqrt(ops.maximum(ops.sum(ops.abs(features), axis=-1, keepdims=True), 1e-12))

    def compute_output_shape(self, shape):
        """That of the features."""
        return shape
