"""How an encoder ends whose embeddings have length 1."""

import keras

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
