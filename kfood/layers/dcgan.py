"""R2GAN's generator and discriminator, guided by DCGAN (Radford et al. 2016; R2GAN, section 4.1)."""

import math

import keras

from kfood.layers.pictures import SLOPE, Enlarge, check_picture_size, norm

_START = "glorot_uniform"


def generator(embedding_size: int, picture_size: int, width: int) -> keras.Model:
    """Embedding → picture: a 4 × 4 start, doubled by nearest-neighbour upsampling and a 3 × 3 convolution each.

    Batch normalisation and ReLU follow every layer but the last, which ends in tanh. There is no noise.

    Args:
        embedding_size: width of the embedding.
        picture_size: side of the picture, a power of two of at least 16.
        width: channels after the last doubling but one; the start has twice as many for each doubling before it.

    Returns:
        Functional model: float ``[batch, embedding_size]`` → float32 ``[batch, picture_size, picture_size, 3]`` in
        (-1, 1).
    """
    check_picture_size(picture_size)
    doublings = int(math.log2(picture_size)) - 2
    channels = width * 2 ** (doublings - 1)
    embedding = keras.Input((embedding_size,), name="embedding")
    x = keras.layers.Dense(4 * 4 * channels, use_bias=False, kernel_initializer=_START, name="first")(embedding)
    x = keras.layers.Reshape((4, 4, channels))(x)
    x = keras.layers.ReLU()(norm("first_norm")(x))
    for doubling in range(doublings - 1):
        channels //= 2
        x = _convolution(Enlarge(2)(x), channels, f"up{doubling}")
        x = keras.layers.ReLU()(norm(f"up{doubling}_norm")(x))
    x = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=_START, name="picture")(Enlarge(2)(x))
    return keras.Model(embedding, keras.layers.Activation("tanh", dtype="float32")(x), name="generator")


def discriminator(picture_size: int, width: int, name: str) -> keras.Model:
    """Picture → (features Φ, logit): convolutions of stride 2 down to 4 × 4, then one over all that is left.

    Batch normalisation and leaky ReLU follow every layer but the last; its sigmoid is in the losses.

    Args:
        picture_size: side of the picture, a power of two of at least 16.
        width: channels after the first halving; each further one doubles them.
        name: of the model.

    Returns:
        Functional model: float ``[batch, side, side, 3]`` in [-1, 1] → (float ``[batch, 4, 4, c]``, the output before
        the last layer; float32 ``[batch, 1]``).
    """
    check_picture_size(picture_size)
    picture = keras.Input((picture_size, picture_size, 3), name="picture")
    x = picture
    for halving in range(int(math.log2(picture_size)) - 2):
        x = _convolution(x, width * 2**halving, f"down{halving}", size=4, strides=2)
        x = keras.layers.LeakyReLU(SLOPE)(norm(f"down{halving}_norm")(x))
    logit = keras.layers.Conv2D(1, 4, kernel_initializer=_START, dtype="float32", name="logit")(x)
    return keras.Model(picture, [x, keras.layers.Reshape((1,), dtype="float32")(logit)], name=name)


def _convolution(x, width, name, size=3, strides=1):
    return keras.layers.Conv2D(
        width, size, strides, padding="same", use_bias=False, kernel_initializer=_START, name=name
    )(x)
