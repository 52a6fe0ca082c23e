"""ACME's fully connected layer that both modalities go through."""

import keras
from keras import ops


def shared_layer(size: int, modalities: tuple[str, ...]) -> dict[str, keras.Model]:
    """FC, tanh(norm(Linear)): one set of weights for all modalities, each normalised by its own statistics.

    Returns:
        modality → functional model float ``[batch, size]`` → float ``[batch, size]`` in (-1, 1).
    """
    dense = keras.layers.Dense(size, use_bias=False, name="shared_dense")
    affine = Affine(name="shared_affine")
    networks = {}
    for modality in modalities:
        hidden = keras.Input((size,), name="hidden")
        norm = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, center=False, scale=False, name=f"{modality}_norm"
        )
        output = keras.layers.Activation("tanh")(affine(norm(dense(hidden))))
        networks[modality] = keras.Model(hidden, output, name=f"{modality}_shared")
    return networks


@keras.saving.register_keras_serializable("kfood")
class Affine(keras.layers.Layer):
    """A scale and a shift of each dimension: what batch normalisations with statistics of their own can share."""

    def build(self, shape):
        """Starts as the identity."""
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros", name="shift")
        self.built = True

    def call(self, inputs):
        """Float ``[..., d]`` → float ``[..., d]``."""
        return inputs * self.scale + self.shift

    def compute_output_shape(self, shape):
        """The shape of the input."""
        return shape


def let_through(networks: dict[str, keras.Model], strengths) -> None:
    """Makes the layer pass on what it receives, each dimension as strong as given.

    Args:
        networks: of :func:`shared_layer`.
        strengths: float ``[size]``, small beside 1: the deviation of each dimension of what it gives.
    """
    one = next(iter(networks.values()))
    one.get_layer("shared_dense").kernel.assign(ops.eye(ops.shape(strengths)[0]))
    one.get_layer("shared_affine").scale.assign(strengths)
    for modality, network in networks.items():
        norm = network.get_layer(f"{modality}_norm")
        norm.moving_variance.assign(ops.square(strengths))
