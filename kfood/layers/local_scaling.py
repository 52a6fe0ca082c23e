"""Cross-domain similarity local scaling (CSLS; Conneau et al., ICLR 2018, Word Translation Without Parallel Data, 2.3).

Some items of a gallery, hubs, are among the nearest of many queries to whom they do not belong, others of none. So the
mean cosine of an item to its nearest neighbours of the other side is taken from each of its cosines:

    CSLS(x, y) = 2 cos(x, y) - r(x) - r(y),    r(x) = mean of cos(x, b) over the k nearest b of the other side

===========  =======================================================
here         paper
===========  =======================================================
bank         the other side's embeddings among which neighbours are looked for; here of training pairs, not of
             the gallery searched, so that an item's place does not depend on what else is there
neighbours   K (section 2.3: 10)
===========  =======================================================

It is written into the embeddings, so that all that compares these by dot product has it: half of it is

    (x, -r(x) s/2, 1/s) · (y, 1/s, -r(y) s/2) = cos(x, y) - r(x)/2 - r(y)/2

and between two of the same side ``cos(x, x') + r(x) r(x') s²/4 + 1/s²``, which orders nearly as the cosine does where s
is small.
"""

import keras
from keras import ops

SHARE = 0.5
"""s."""


@keras.saving.register_keras_serializable("kfood")
class LocalScaling(keras.layers.Layer):
    """Embeddings of length 1 → the same with two more components; a bank of zeros, as it is at first, scales nothing.

    Args:
        bank: rows of the bank.
        neighbours: k.
        side: 0 or 1: of the two sides that are compared by dot product.
    """

    def __init__(self, bank, neighbours, side, **kwargs):
        super().__init__(**kwargs)
        self.rows = bank
        self.neighbours = neighbours
        self.side = side
        if not 1 <= neighbours <= bank:
            raise ValueError(f"local_scaling: expected from 1 to {bank} neighbours, received {neighbours}.")

    def build(self, shape):
        """The bank is not trained by gradients."""
        self.bank = self.add_weight(shape=(self.rows, shape[-1]), initializer="zeros", trainable=False, name="bank")
        self.built = True

    def call(self, embeddings):
        """Float ``[batch, d]`` → float ``[batch, d + 2]``."""
        nearest, _ = ops.top_k(ops.matmul(embeddings, ops.transpose(self.bank)), self.neighbours)
        hub = ops.mean(nearest, axis=1, keepdims=True) * (-SHARE / 2.0)
        one = ops.full_like(hub, 1.0 / SHARE)
        return ops.concatenate([embeddings, one, hub] if self.side else [embeddings, hub, one], axis=1)

    def compute_output_shape(self, shape):
        """``[batch, d + 2]``."""
        return (shape[0], shape[1] + 2)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"bank": self.rows, "neighbours": self.neighbours, "side": self.side}
