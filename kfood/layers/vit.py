"""The vision transformer (Dosovitskiy et al. 2021) in the sizes of DeiT (Touvron et al. 2021), as Keras layers.

A picture is cut into patches of 16 × 16; a class token is put before them, positions are added, and ``depth`` blocks of
self-attention and perceptron follow, each normalised before (pre-norm). GELU is taken by its tanh form.

============  =====  =====  =====  ============================
name          width  depth  heads  parameters at 224 × 224
============  =====  =====  =====  ============================
deit_tiny     192    12     3      5,524,416
deit_small    384    12     6      21,665,664
deit_base     768    12     12     85,798,656
============  =====  =====  =====  ============================
"""

import dataclasses
import math
import os
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

PATCH = 16
"""Side of a patch, pixels."""

EPSILON = 1e-6
"""Of the layer normalisations, as in the released DeiT."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a vision transformer.

    Attributes:
        width: of a token.
        depth: number of blocks.
        heads: of each block's attention.
    """

    width: int
    depth: int
    heads: int


SIZES = {"deit_tiny": Size(192, 12, 3), "deit_small": Size(384, 12, 6), "deit_base": Size(768, 12, 12)}
"""Names used by configs."""


def tokens(picture, size: Size):
    """Picture, normalised, float ``[batch, side, side, 3]`` → tokens float ``[batch, 1 + patches, width]``.

    Token 0 is the class's, the others are the patches row by row.

    Raises:
        ValueError: a side that is no multiple of :data:`PATCH`.
    """
    side = picture.shape[1]
    if side % PATCH:
        raise ValueError(f"image_size: expected a multiple of {PATCH} for a vision transformer, received {side}.")
    x = keras.layers.Conv2D(size.width, PATCH, PATCH, name="patches")(picture)
    x = keras.layers.Reshape(((side // PATCH) ** 2, size.width), name="patch_tokens")(x)
    x = ClassAndPositions(name="positions")(x)
    for index in range(size.depth):
        x = _block(x, size, f"block{index}")
    return keras.layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)


def released_weights(path: str | os.PathLike) -> dict[str, NDArray]:
    """The arrays of a released DeiT or ViT, as timm publishes them in ``model.safetensors``.

    Args:
        path: the file; unlike a ``.pth`` it is no pickle and can only hold arrays.

    Returns:
        Name in timm → array.

    Raises:
        ValueError: the package safetensors (the extra ``hub``) is missing, or the file is no such file.
    """
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ValueError(
            f"{path}: expected the package safetensors to read it, received none; install kfood[hub]."
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, received something else ({error}).") from error


def assign_released(network: keras.Model, released: Mapping[str, NDArray]) -> None:
    """Gives a network of :func:`tokens` the weights of a released one, its classifier left out.

    Where the picture has another size, positions are interpolated bicubically over the grid, as DeiT does when
    fine-tuned at another resolution. Nothing is changed unless everything fits.

    Args:
        network: with the layers that :func:`tokens` names.
        released: timm's names → arrays in PyTorch's layout, linear weights ``[out, in]``, convolutions
            ``[out, in, height, width]``.

    Raises:
        ValueError: a name is missing, or a shape is another; the message names it.
    """
    pending = []

    def take(layer: keras.layers.Layer, *arrays: NDArray) -> None:
        for weight, array in zip(layer.weights, arrays, strict=True):
            if array.size != math.prod(weight.shape):
                raise ValueError(f"Expected {weight.path} of shape {list(weight.shape)}, received {list(array.shape)}.")
        pending.append((layer, [np.reshape(a, w.shape) for a, w in zip(arrays, layer.weights, strict=True)]))

    try:
        take(
            network.get_layer("patches"),
            released["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
            released["patch_embed.proj.bias"],
        )
        places = network.get_layer("positions")
        take(places, released["cls_token"], _resized(released["pos_embed"], places.positions.shape[1] - 1))
        take(network.get_layer("norm"), released["norm.weight"], released["norm.bias"])
        blocks = sum(layer.name.endswith("_mlp_gelu") for layer in network.layers)
        for index in range(blocks):
            ours, theirs = f"block{index}_", f"blocks.{index}."
            for layer, name in (("attention_norm", "norm1"), ("mlp_norm", "norm2")):
                take(
                    network.get_layer(ours + layer),
                    released[f"{theirs}{name}.weight"],
                    released[f"{theirs}{name}.bias"],
                )
            for layer, name in (("mlp_in", "mlp.fc1"), ("mlp_out", "mlp.fc2")):
                kernel, bias = released[f"{theirs}{name}.weight"].T, released[f"{theirs}{name}.bias"]
                take(network.get_layer(ours + layer), kernel, bias)
            attention = network.get_layer(f"{ours}attention")
            kernels = np.split(released[f"{theirs}attn.qkv.weight"], 3)
            biases = np.split(released[f"{theirs}attn.qkv.bias"], 3)
            dense = attention.query_dense, attention.key_dense, attention.value_dense
            for layer, kernel, bias in zip(dense, kernels, biases, strict=True):
                take(layer, kernel.T, bias)
            take(attention.output_dense, released[f"{theirs}attn.proj.weight"].T, released[f"{theirs}attn.proj.bias"])
    except KeyError as error:
        raise ValueError(f"Expected timm's names of a vision transformer, received none called {error}.") from error
    for layer, arrays in pending:
        layer.set_weights(arrays)


def _resized(positions, patches):
    """[1, 1 + p, width] → [1, 1 + patches, width]; the class's stays, the square grid of the others is interpolated."""
    known = positions.shape[1] - 1
    if known == patches:
        return positions
    old, new = math.isqrt(known), math.isqrt(patches)
    grid = positions[:, 1:].reshape(1, old, old, -1)
    grid = ops.image.resize(grid, (new, new), interpolation="bicubic", antialias=True, data_format="channels_last")
    return np.concatenate([positions[:, :1], np.reshape(grid, (1, patches, -1))], axis=1)


def _block(x, size, name):
    normal = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_attention_norm")(x)
    attention = keras.layers.MultiHeadAttention(size.heads, size.width // size.heads, name=f"{name}_attention")
    x = keras.layers.Add(name=f"{name}_attention_add")([x, attention(normal, normal)])
    hidden = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_mlp_norm")(x)
    hidden = keras.layers.Dense(4 * size.width, name=f"{name}_mlp_in")(hidden)
    hidden = keras.layers.Activation(_gelu, name=f"{name}_mlp_gelu")(hidden)
    hidden = keras.layers.Dense(size.width, name=f"{name}_mlp_out")(hidden)
    return keras.layers.Add(name=f"{name}_mlp_add")([x, hidden])


@keras.saving.register_keras_serializable("kfood")
def _gelu(x):
    """GELU by its tanh form, within 5e-4 of the exact one: ONNX converters know no error function."""
    return ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable("kfood")
class ClassAndPositions(keras.layers.Layer):
    """Puts the class token before the patches' and adds a learnt vector for each place."""

    def build(self, shape):
        """Both from a normal of deviation 0.02."""
        _, patches, width = shape
        self.class_token = self.add_weight(
            shape=(1, 1, width), initializer=keras.initializers.TruncatedNormal(stddev=0.02), name="class_token"
        )
        self.positions = self.add_weight(
            shape=(1, 1 + patches, width), initializer=keras.initializers.TruncatedNormal(stddev=0.02), name="positions"
        )

    def call(self, patches):
        """Float ``[batch, patches, width]`` → float ``[batch, 1 + patches, width]``."""
        first = ops.repeat(ops.cast(self.class_token, patches.dtype), ops.shape(patches)[0], axis=0)
        return ops.concatenate([first, patches], axis=1) + ops.cast(self.positions, patches.dtype)

    def compute_output_shape(self, shape):
        """One token more."""
        return (shape[0], shape[1] + 1, shape[2])
