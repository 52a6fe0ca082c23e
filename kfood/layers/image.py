"""Image encoders: backbones of ``keras.applications`` and of keras-hub by name, EfficientNet-Lite, vision transformers,
a small one, and a script's own."""

import dataclasses
import math
import pathlib
import warnings
from typing import Literal

import keras
import numpy as np
from keras import ops

from kfood import pickles, schema
from kfood.layers import efficientnet_lite, presets, vit
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.pooling import POOLINGS, pool
from kfood.layers.presets import HUB

RUN_WEIGHTS = pathlib.PurePath("checkpoints", "backbone.weights.h5")
"""Where a run folder has the weights of its best epoch's image backbone."""

JOINED = "+"
"""Between the names of backbones whose feature maps are joined."""

_CAFFE = [  # what keras.applications wants in: BGR minus a mean; RGB/127.5 - 1; RGB by ImageNet's mean and deviation
    "ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19",
]  # fmt: skip
_TORCH = ["DenseNet121", "DenseNet169", "DenseNet201"]
_OWN = "EfficientNet", "ConvNeXt", "MobileNetV3"
"""Families whose keras.applications models hold their own normalisation."""


@dataclasses.dataclass(frozen=True)
class ImageEncoderConfig:
    """The picture side.

    Attributes:
        backbone: ``"small"`` (for CPUs), a name of :data:`kfood.layers.efficientnet_lite.SIZES` or
            :data:`kfood.layers.vit.SIZES`, that of a model in ``keras.applications``, e.g. ``"ResNet50"``, or
            ``"hub:"`` and a preset of keras-hub: a name, e.g. ``"hub:vit_base_patch16_224_imagenet"``, a ``kaggle://``
            or ``hf://`` handle, or a folder; of CLIP's and SigLIP's the vector of a picture that they compare with
            texts. In a script also a ``keras.Model`` from pictures float32
            ``[batch, side, side, 3]`` in [0, 255] to a map, to tokens or to a vector; its layers have to be Keras' own
            or registered (``keras.saving.register_keras_serializable``), and the field becomes its
            :class:`Architecture`. Several names with ``"+"`` between them are one backbone whose channels are those of
            all: ``"efficientnet_lite0+efficientnet_lite2"``.
        weights: ``"imagenet"`` (those that keras.applications or the preset comes with, downloaded where need be; of an
            EfficientNet-Lite the installed package's, extra ``pretrained``), the path of a ``.weights.h5`` or
            ``.keras`` file for the backbone, of an EfficientNet-Lite also that of the released ``.pth``, of a vision
            transformer that of timm's ``.safetensors``, that of a run folder, whose best backbone is taken, or empty
            for none. Of a ``keras.Model`` they are its own unless a path is given here.
        widths: channels of each stage of ``"small"``; the stem quarters the side, each stage after the first halves it.
        blocks: residual blocks in each stage of ``"small"``.
        pooling: how the feature map becomes a vector, one of :data:`kfood.layers.pooling.POOLINGS`.
        dropout: rate on the pooled features, training only.
        preset: what presets of keras-hub say of themselves (JSON by name, :mod:`kfood.layers.presets`); a model fills
            it in.
    """

    backbone: str = "ResNet50"
    weights: str = "imagenet"
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 1
    pooling: Literal["mean", "roots", "regional_roots"] = "mean"
    dropout: float = 0.0
    preset: str = ""

    def __post_init__(self):
        if self.pooling not in POOLINGS:
            raise ValueError(f"image_encoder.pooling: expected one of {list(POOLINGS)}, received {self.pooling!r}.")
        if self.weights is None:  # as keras.applications says it
            object.__setattr__(self, "weights", "")
        if isinstance(self.backbone, keras.Model):
            object.__setattr__(self, "backbone", Architecture(self.backbone))

    def with_presets(self, image_size: int) -> "ImageEncoderConfig":
        """See :func:`kfood.layers.presets.with_presets`."""
        names = [] if is_architecture(self.backbone) else self.backbone.split(JOINED)
        return presets.kept(self, names, lambda name: presets.described_pictures(self, name, image_size))


class Architecture(str):
    """A ``keras.Model`` as the text (JSON) of its architecture, with its weights beside it.

    Configs are kept as text, and so is what a saved model or a run folder is built anew from: the text alone, for both
    hold weights of their own.
    """

    weights: list[np.ndarray]

    def __new__(cls, model):
        """Takes what ``model`` is now."""
        text = super().__new__(cls, model.to_json())
        text.weights = model.get_weights()
        return text

    def __reduce__(self):
        """A copy is the text alone."""
        return str, (str(self),)


def image_tower(spec: schema.RecipeSpec, config: ImageEncoderConfig, size: int) -> keras.Model:
    """Photo → vector before any shared layer: ``tanh(Linear(pool(backbone)))``, in the papers an average pool.

    Args:
        spec: fixes the size of the picture.
        config: backbone and weights.
        size: width of the result.

    Returns:
        Functional model: ``{"image": float32 [batch, side, side, 3]}`` in [0, 255] → float ``[batch, size]``, tanh.
        Its layer ``backbone`` maps pictures to a feature map and is what freezing and pretrained weights refer to.

    Raises:
        ValueError: an unknown backbone.
        OSError: a weights file that is not there.
    """
    inputs = symbolic_inputs(spec.image_inputs())
    features = backbone(spec.image_size, config)(inputs[schema.IMAGE])
    pooled = keras.layers.Dropout(config.dropout)(pool(features, config.pooling))
    return keras.Model(
        inputs, keras.layers.Dense(size, activation="tanh", name="image_embedding")(pooled), name="image"
    )


def backbone(image_size: int, config: ImageEncoderConfig, *, tokens: bool = False) -> keras.Model:
    """The network that weights and freezing refer to.

    Args:
        image_size: side of the picture.
        config: which network, and its weights.
        tokens: of a vision transformer, all tokens float ``[batch, 1 + patches, channels]`` in place of the patches' as
            a map.

    Returns:
        Picture float32 ``[batch, side, side, 3]`` in [0, 255] → feature map ``[batch, height, width, channels]``.

    Raises:
        ValueError: an unknown backbone, weights of another one, or a package that is not installed.
        FileNotFoundError: weights that are not there.
    """
    picture = keras.Input((image_size, image_size, 3), name="picture")
    if JOINED in config.backbone and not is_architecture(config.backbone):
        return _joined(picture, config)
    own = config.backbone == "small" or config.backbone in vit.SIZES
    given = is_architecture(config.backbone)
    if own and config.weights == "imagenet":
        raise ValueError(
            f"image_encoder.weights: expected a file, a run or nothing for backbone {config.backbone!r}, "
            "received 'imagenet'."
        )
    if config.backbone == "small":
        network = keras.Model(picture, _small(PhotoNormalization("torch")(picture), config), name="backbone")
    elif config.backbone in vit.SIZES:
        features = vit.tokens(PhotoNormalization("torch")(picture), vit.SIZES[config.backbone])
        network = keras.Model(picture, features if tokens else _map(features), name="backbone")
    elif config.backbone in efficientnet_lite.SIZES:
        scaled = PhotoNormalization("lite")(picture)
        features = efficientnet_lite.feature_map(scaled, efficientnet_lite.SIZES[config.backbone])
        network = keras.Model(picture, features, name="backbone")
    elif given or config.backbone.startswith(HUB):
        features = _given(picture, config) if given else _hub(picture, config)
        if len(features.shape) == 3 and not (tokens and _special_tokens(features)):
            features = _map(features)
        network = keras.Model(picture, features, name="backbone")
    else:
        builder = getattr(keras.applications, config.backbone, None)
        if not callable(builder):
            names = [
                "small",
                *efficientnet_lite.SIZES,
                *vit.SIZES,
                f"{HUB}PRESET",
                *(name for name in dir(keras.applications) if name[0].isupper()),
            ]
            raise ValueError(f"image_encoder.backbone: expected one of {names}, received {config.backbone!r}.")
        application = builder(
            include_top=False,
            weights="imagenet" if config.weights == "imagenet" else None,
            input_shape=(image_size, image_size, 3),
        )
        network = keras.Model(
            picture, application(PhotoNormalization(_mode(config.backbone))(picture)), name="backbone"
        )
    lite = config.backbone in efficientnet_lite.SIZES
    if config.weights not in ("", "imagenet"):
        _load(network, config, pathlib.Path(config.weights))
    elif lite and config.weights == "imagenet":
        _load(network, config, efficientnet_lite.released_file(config.backbone))
    return network


def _joined(picture, config):
    """Several backbones' maps, one after the other along the channels; a file of weights is of all of them."""
    from_file = config.weights not in ("", "imagenet")
    maps: list = []
    for name in config.backbone.split(JOINED):
        one = dataclasses.replace(config, backbone=name, weights="" if from_file else config.weights)
        network = backbone(picture.shape[1], one)
        maps.append(keras.Model(network.input, network.output, name=f"backbone_{len(maps)}")(picture))
    if len({features.shape[1:3] for features in maps}) > 1:
        raise ValueError(
            "image_encoder.backbone: expected networks whose feature maps are of one size, received "
            f"{config.backbone!r}, of {[list(features.shape[1:3]) for features in maps]}."
        )
    network = keras.Model(picture, keras.layers.Concatenate(name="map")(maps), name="backbone")
    if from_file:
        _load(network, config, pathlib.Path(config.weights))
    return network


def _special_tokens(features):
    """How many tokens stand before those of the patches, which fill a square."""
    return features.shape[1] - math.isqrt(features.shape[1]) ** 2


def _map(features):
    """Tokens ``[batch, special + side², channels]`` → the patches' ``[batch, side, side, channels]``."""
    side = math.isqrt(features.shape[1])
    return keras.layers.Reshape((side, side, features.shape[-1]), name="map")(features[:, _special_tokens(features) :])


def _hub(picture, config):
    """Picture in [0, 255] → what a preset of keras-hub makes of it, after the preset's own normalisation.

    Of CLIP and SigLIP what they compare with texts, pooled and projected, as a map of one place.
    """
    said = presets.described_pictures(config, config.backbone, picture.shape[1])
    network = presets.network("image_encoder", config.backbone, said, config.weights)
    if said["scale"] is not None or said["offset"] is not None:
        scale = 1.0 if said["scale"] is None else said["scale"]
        picture = keras.layers.Rescaling(scale, 0.0 if said["offset"] is None else said["offset"])(picture)
    if not presets.compares_with_texts(network):
        return network(picture)
    vector = network.get_vision_embeddings(picture)
    return keras.layers.Reshape((1, 1, vector.shape[-1]), name="map")(vector)


def is_architecture(backbone: str) -> bool:
    """Whether a config's backbone is a :class:`Architecture` or its text."""
    return backbone.startswith("{")


def _given(picture, config):
    """Picture → features of a script's model, made anew from its architecture."""
    try:
        network = keras.models.model_from_json(config.backbone)
        features = network(picture)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "image_encoder.backbone: expected a keras.Model of registered layers that takes "
            f"{list(picture.shape)}, received another ({str(error).strip().splitlines()[0]})."
        ) from error
    if isinstance(config.backbone, Architecture):
        network.set_weights(config.backbone.weights)
    if len(features.shape) == 2:
        return keras.layers.Reshape((1, 1, features.shape[-1]), name="map")(features)
    return features


def _load(network, config, path):
    if path.is_dir():
        path = path / RUN_WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(
            "image_encoder.weights: expected 'imagenet', nothing, a weights file, or a run folder with "
            f"{RUN_WEIGHTS}, received {config.weights!r}."
        )
    try:
        if path.suffix == ".safetensors" and config.backbone in vit.SIZES:
            vit.assign_released(network, vit.released_weights(path))
            return
        if path.suffix == ".pth" and config.backbone in efficientnet_lite.SIZES:
            efficientnet_lite.assign_released(network, pickles.load_tensors(path))
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is amiss is said below
            network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"image_encoder.weights: expected weights of backbone {config.backbone!r}"
            + (f" with widths {config.widths} and {config.blocks} blocks" if config.backbone == "small" else "")
            + f" on {network.input_shape[1]}-pixel pictures, received others in {path} ({str(error).splitlines()[0]})."
        ) from error


def _mode(name):
    if name in _CAFFE:
        return "caffe"
    if name in _TORCH:
        return "torch"
    return "none" if name.startswith(_OWN) else "tf"


def _small(x, config):
    """A residual network: the stem quarters the side, each of the ``len(widths)`` stages after the first halves it."""
    x = _convolution(x, config.widths[0], strides=2, name="stem")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, width in enumerate(config.widths):
        for block in range(config.blocks):
            strides = 2 if stage and not block else 1
            name = f"stage{stage}_block{block}"
            shortcut = x
            if strides > 1 or x.shape[-1] != width:
                shortcut = _convolution(x, width, strides, size=1, activation=None, name=f"{name}_shortcut")
            x = _convolution(x, width, strides, name=f"{name}_a")
            x = _convolution(x, width, activation=None, name=f"{name}_b")
            x = keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([x, shortcut]))
    return x


def _convolution(x, width, strides=1, size=3, activation="relu", name=""):
    x = keras.layers.Conv2D(
        width, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if activation else x


@keras.saving.register_keras_serializable("kfood")
class PhotoNormalization(keras.layers.Layer):
    """RGB in [0, 255] → what a backbone was trained on.

    Args:
        mode: as in ``keras.applications.imagenet_utils.preprocess_input``: ``"caffe"``: BGR minus ImageNet's mean;
            ``"torch"``: by ImageNet's mean and deviation of RGB / 255; ``"tf"``: to [-1, 1]; ``"none"``: unchanged. And
            ``"lite"``: (RGB - 127) / 128, EfficientNet-Lite's.
    """

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def call(self, pictures):
        """Float ``[..., 3]`` → float ``[..., 3]``."""
        if self.mode == "caffe":
            return ops.flip(pictures, axis=-1) - ops.convert_to_tensor([103.939, 116.779, 123.68], pictures.dtype)
        if self.mode == "torch":
            mean = ops.convert_to_tensor([0.485 * 255, 0.456 * 255, 0.406 * 255], pictures.dtype)
            deviation = ops.convert_to_tensor([0.229 * 255, 0.224 * 255, 0.225 * 255], pictures.dtype)
            return (pictures - mean) / deviation
        if self.mode == "lite":
            return (pictures - 127.0) / 128.0
        return pictures / 127.5 - 1.0 if self.mode == "tf" else pictures

    def compute_output_shape(self, shape):
        """The shape of the input."""
        return shape

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"mode": self.mode}
