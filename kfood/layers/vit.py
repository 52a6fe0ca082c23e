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

import keras
from keras import ops

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
