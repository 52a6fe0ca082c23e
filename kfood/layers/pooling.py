"""A photo's feature map → one vector.

- the mean over all places, as the papers have it;
- roots: signed square roots of the mean, of length 1 (Perronnin et al. 2010, section 3.2): a few strong features no
  longer drown the others;
- regional roots: the same of each of several overlapping regions, summed (Tolias et al. 2016, section 3.2, who take
  maxima): what fills the middle of a photo no longer drowns what lies beside it.

Measured on 1,000 real pairs by five-fold validation, closed-form CCA on EfficientNet-Lite0, mean logarithm of the rank
in galleries of 200: mean 1.773, roots 1.731 (224 pixels, the mean of six views); of whole photos at 448 pixels roots
1.671, 2 × 2 regions of 0.7 of the side 1.648, of half the side 1.662, 3 × 3 of half the side 1.647.
"""

import math

import keras
from keras import ops

from kfood import distances

POOLINGS = ("mean", "roots", "regional_roots")
"""Kinds of :func:`pool`."""

REGIONS, REGION_SHARE = 2, 0.7
"""Regions along each side of a map, and how much of the side each covers."""


def pool(features, kind="mean"):
    """One vector of a photo; the layer that makes it is called ``pool``, where features of a frozen backbone are kept.

    Args:
        features: a map float ``[batch, height, width, channels]``, or tokens ``[batch, tokens, channels]``, whose class
            token it is.
        kind: one of :data:`POOLINGS`; of tokens ``"mean"``.

    Returns:
        Float ``[batch, channels]``.
    """
    if len(features.shape) == 3:
        return class_token(features)
    if kind == "mean":
        return keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return RootPooling(REGIONS if kind == "regional_roots" else 1, dtype="float32", name="pool")(features)


def class_token(features):
    """Tokens ``[batch, 1 + patches, channels]`` → the first ``[batch, channels]``."""
    return features[:, 0]


@keras.saving.register_keras_serializable("kfood")
class RootPooling(keras.layers.Layer):
    """Signed square roots of a region's mean, of length 1, summed over the regions, of length 1.

    Args:
        regions: along each side, evenly spread from one border to the other; 1: all of the map.
        share: of the side that a region covers, rounded up to whole places; unused with one region.

    Call arguments:
        features: float ``[batch, height, width, channels]``.

    Returns:
        Float ``[batch, channels]``; zeros where a map is zeros.
    """

    def __init__(self, regions=1, share=REGION_SHARE, **kwargs):
        super().__init__(**kwargs)
        self.regions = regions
        self.share = share

    def call(self, features):
        """See the class."""
        rows, columns = (self._spans(side) for side in features.shape[1:3])
        means = [
            ops.mean(features[:, top : top + height, left : left + width], axis=(1, 2))
            for top, height in rows
            for left, width in columns
        ]
        return distances.unit_length(sum(distances.unit_length(_roots(mean)) for mean in means))

    def _spans(self, side):
        """Start and length of each region along a side."""
        if self.regions == 1:
            return [(0, side)]
        length = math.ceil(self.share * side)
        return [(round(i * (side - length) / (self.regions - 1)), length) for i in range(self.regions)]

    def compute_output_shape(self, shape):
        """``[batch, channels]``."""
        return (shape[0], shape[-1])

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"regions": self.regions, "share": self.share}


def _roots(values):
    # The square root has no finite gradient at 0; there this has 0.
    positive = ops.abs(values) > 0.0
    return ops.where(positive, ops.sign(values) * ops.sqrt(ops.where(positive, ops.abs(values), 1.0)), 0.0)
