"""StackGAN-v2's generator and discriminator (Zhang et al. 2018), as ACME borrows them for recipe → photo."""

import math

import keras
from keras import ops

from kfood.layers.pictures import SLOPE, Enlarge, check_picture_size, norm

_START = "orthogonal"
"""StackGAN-v2 starts its convolutions so."""


def conditioning(embedding_size: int, size: int) -> keras.Model:
    """Conditioning augmentation: embedding → mean and log variance of the condition, by a gated linear unit.

    Returns:
        Functional model: float ``[batch, embedding_size]`` → (float ``[batch, size]``, float ``[batch, size]``).
    """
    embedding = keras.Input((embedding_size,), name="embedding")
    gated = GatedLinearUnit(dtype="float32")(keras.layers.Dense(4 * size, dtype="float32", name="condition")(embedding))
    return keras.Model(embedding, (gated[:, :size], gated[:, size:]), name="conditioning")


def generator(condition_size: int, noise_size: int, picture_size: int, width: int, residual_blocks: int) -> keras.Model:
    """(condition, noise) → picture: a first stage up to half the side, a second one that joins the condition again.

    Args:
        condition_size: width of the condition.
        noise_size: width of the noise.
        picture_size: side of the picture, a power of two of at least 16.
        width: channels of the first stage's result (StackGAN's ``GF_DIM``); it starts from 16 times as many.
        residual_blocks: in the second stage.

    Returns:
        Functional model: [float ``[batch, condition_size]``, float ``[batch, noise_size]``] → float
        ``[batch, picture_size, picture_size, 3]`` in (-1, 1).
    """
    check_picture_size(picture_size)
    doublings = int(math.log2(picture_size)) - 3
    condition = keras.Input((condition_size,), name="condition")
    noise = keras.Input((noise_size,), name="noise")
    channels = width * 2**doublings
    x = keras.layers.Dense(4 * 4 * channels * 2, use_bias=False, name="first")(
        keras.layers.Concatenate()([condition, noise])
    )
    x = GatedLinearUnit()(norm("first_norm")(x))
    x = keras.layers.Reshape((4, 4, channels))(x)
    for doubling in range(doublings):
        channels //= 2
        x = _upsample(x, channels, f"up{doubling}")
    side = picture_size // 2
    spread = Enlarge(side)(keras.layers.Reshape((1, 1, condition_size))(condition))
    x = _gated_convolution(keras.layers.Concatenate()([x, spread]), width, "joint")
    for block in range(residual_blocks):
        shortcut = x
        x = _gated_convolution(x, width, f"residual{block}_a")
        x = norm(f"residual{block}_b_norm")(_conv3(width, f"residual{block}_b")(x))
        x = keras.layers.Add()([x, shortcut])
    x = _upsample(x, width // 2, "up_last")
    picture = keras.layers.Activation("tanh", dtype="float32")(_conv3(3, "picture")(x))
    return keras.Model([condition, noise], picture, name="generator")


def discriminator(picture_size: int, condition_size: int, width: int) -> tuple[keras.Model, keras.Model]:
    """The conditional discriminator, in two parts so that a classifier can read its features.

    Args:
        picture_size: side of the picture, a power of two of at least 16; it is halved down to 4.
        condition_size: width of the condition.
        width: channels after the first halving (StackGAN's ``DF_DIM``).

    Returns:
        Two functional models: picture float ``[batch, side, side, 3]`` in [-1, 1] → features float
        ``[batch, 4, 4, 8 * width]``; [features, condition] → logit float ``[batch, 1]``.
    """
    check_picture_size(picture_size)
    picture = keras.Input((picture_size, picture_size, 3), name="picture")
    x = picture
    for halving in range(int(math.log2(picture_size)) - 2):
        x = keras.layers.Conv2D(
            width * 2**halving, 4, 2, padding="same", use_bias=False, kernel_initializer=_START, name=f"down{halving}"
        )(x)
        if halving:
            x = norm(f"down{halving}_norm")(x)
        x = keras.layers.LeakyReLU(SLOPE)(x)
    x = keras.layers.LeakyReLU(SLOPE)(norm("same_norm")(_conv3(8 * width, "same")(x)))
    features = keras.Model(picture, x, name="picture_features")

    seen = keras.Input(x.shape[1:], name="features")
    condition = keras.Input((condition_size,), name="condition")
    spread = Enlarge(4)(keras.layers.Reshape((1, 1, condition_size))(condition))
    joint = _conv3(8 * width, "joint")(keras.layers.Concatenate()([seen, spread]))
    joint = keras.layers.LeakyReLU(SLOPE)(norm("joint_norm")(joint))
    logit = keras.layers.Conv2D(1, 4, kernel_initializer=_START, dtype="float32", name="logit")(joint)
    logit = keras.layers.Reshape((1,), dtype="float32")(logit)
    return features, keras.Model([seen, condition], logit, name="picture_judge")


def class_head(features_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Features of a picture float ``[batch, 4, 4, c]`` → class logits float ``[batch, classes]``."""
    features = keras.Input(features_shape, name="features")
    x = keras.layers.Conv2D(features_shape[-1] // 2, 4, kernel_initializer=_START, name="squeeze")(features)
    x = keras.layers.Flatten()(keras.layers.LeakyReLU(SLOPE)(x))
    return keras.Model(features, keras.layers.Dense(classes, dtype="float32", name="classes")(x), name="picture_class")


def _conv3(width, name):
    return keras.layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer=_START, name=name)


def _gated_convolution(x, width, name):
    return GatedLinearUnit()(norm(f"{name}_norm")(_conv3(2 * width, name)(x)))


def _upsample(x, width, name):
    return _gated_convolution(Enlarge(2)(x), width, name)


@keras.saving.register_keras_serializable("kfood")
class GatedLinearUnit(keras.layers.Layer):
    """The first half of the channels times the sigmoid of the second (Dauphin et al. 2017)."""

    def call(self, inputs):
        """Float ``[..., 2 c]`` → float ``[..., c]``."""
        value, gate = ops.split(inputs, 2, axis=-1)
        return value * ops.sigmoid(gate)

    def compute_output_shape(self, shape):
        """Half the channels."""
        return (*shape[:-1], shape[-1] // 2)


@keras.saving.register_keras_serializable("kfood")
class NoNoise(keras.layers.Layer):
    """Zeros in place of the generator's noise, one row for each row of the input.

    Args:
        size: width of the noise.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        """Float ``[batch, any]`` → zeros ``[batch, size]``."""
        return ops.repeat(ops.zeros_like(inputs[:, :1]), self.size, axis=1)

    def compute_output_shape(self, shape):
        """``[batch, size]``."""
        return (shape[0], self.size)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"size": self.size}
