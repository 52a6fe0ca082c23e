"""Presets of keras-hub: networks that others have trained, and what a model keeps of them.

A config names a preset (``"hub:NAME"``). From the moment that a model is made its config also holds what the preset
says: the network's class and sizes, how it wants pictures scaled, which ids begin, end and fill a text. With that, and
with weights of its own, a trained model is loaded where the preset is not.
"""

import dataclasses
import gc
import json
from collections.abc import Callable, Iterable
from typing import Any

import keras

HUB = "hub:"
"""Before the name of a preset of keras-hub."""

RELEASED = ("imagenet", "preset")
"""What a config's ``weights`` say for those that a preset comes with, of its pictures or of its texts."""


def with_presets(config: Any, image_size: int) -> Any:
    """A model's settings, or themselves, with what the presets that they name say of their networks.

    Args:
        config: a dataclass; fields that have a ``with_presets`` of their own are asked.
        image_size: side of the pictures.

    Raises:
        ValueError: a preset that cannot be opened, is of pictures of another size, or lacks what it is wanted for.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    asked = {name: value.with_presets(image_size) for name, value in values.items() if hasattr(value, "with_presets")}
    changes = {name: value for name, value in asked.items() if value is not values[name]}
    return dataclasses.replace(config, **changes) if changes else config


def kept(config: Any, names: Iterable[str], describe: Callable[[str], dict[str, Any]]) -> Any:
    """An encoder's settings with what each preset among its backbones says.

    Args:
        config: has ``preset``.
        names: of the backbones.
        describe: :func:`described_pictures` or :func:`described_texts` of this config.
    """
    said = {name: describe(name) for name in names if name.startswith(HUB)}
    text = json.dumps(said) if said else ""
    return config if text == config.preset else dataclasses.replace(config, preset=text)


def described_pictures(config: Any, name: str, image_size: int) -> dict[str, Any]:
    """What a preset says of its picture side; it is opened where the config does not know it yet.

    Args:
        config: has ``preset``.
        name: ``"hub:"`` and the preset.
        image_size: side of the pictures.

    Returns:
        Dict, for JSON: ``image_size``, ``network``, as Keras describes it, ``scale`` and ``offset`` of its pictures.

    Raises:
        ValueError: as of :func:`with_presets`.
    """
    known = json.loads(config.preset or "{}").get(name)
    if known is not None and known["image_size"] == image_size:
        return known
    hub = _keras_hub("image_encoder", name)
    try:
        converter = hub.layers.ImageConverter.from_preset(name.removeprefix(HUB))
        both = converter.backbone_cls in _with_texts(hub)
        network = _opened(hub, name, weights=False, image_size=0 if both else image_size)
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(
            f"image_encoder.backbone: expected a preset of keras-hub for {image_size}-pixel pictures, received "
            f"{name.removeprefix(HUB)!r} ({_first_line(error)})."
        ) from error
    side = network.vision_encoder.image_shape[0] if both else image_size
    if image_size != side:
        raise ValueError(
            f"image_encoder.backbone: expected pictures of {side} pixels for {name.removeprefix(HUB)!r}, received "
            f"{image_size}; set spec.image_size={side}."
        )
    return {
        "image_size": image_size,
        "network": _description(network),
        "scale": _numbers(converter.scale),
        "offset": _numbers(converter.offset),
    }


def described_texts(config: Any, name: str) -> dict[str, Any]:
    """What a preset of CLIP or SigLIP says of its text side; it is opened where the config does not know it yet.

    Args:
        config: has ``preset``.
        name: ``"hub:"`` and the preset.

    Returns:
        Dict, for JSON: ``network``, as Keras describes it; ids of sub-words: ``start`` (None: there is none), ``end``
        and ``padding``.

    Raises:
        ValueError: as of :func:`with_presets`.
    """
    known = json.loads(config.preset or "{}").get(name)
    if known is not None:
        return known
    hub, sub_words = _keras_hub("recipe_encoder", name), tokenizer(name)
    try:
        network = _opened(hub, name, weights=False)
    except (ValueError, OSError, TypeError) as error:
        raise _no_texts(name, _first_line(error)) from error
    if not isinstance(network, _with_texts(hub)):
        raise _no_texts(name, f"it holds a {type(network).__name__}")
    starts = isinstance(network, hub.models.CLIPBackbone)
    return {
        "network": _description(network),
        "start": int(sub_words.start_token_id) if starts else None,
        "end": int(sub_words.end_token_id),
        "padding": int(sub_words.pad_token_id),
    }


def tokenizer(name: str) -> Any:
    """What cuts a preset's texts into sub-words: list of strings → for each its ids.

    Args:
        name: ``"hub:"`` and the preset.

    Raises:
        ValueError: a preset without texts, or a package that is not installed.
    """
    hub = _keras_hub("recipe_encoder", name)
    try:
        found = hub.tokenizers.Tokenizer.from_preset(name.removeprefix(HUB))
        found(["a"])  # says now what is not installed
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"recipe_encoder.backbone: expected the packages that keras-hub cuts texts of {name.removeprefix(HUB)!r} "
            f"into sub-words with, received none ({_first_line(error)}); install kfood[hub]."
        ) from error
    except (ValueError, OSError, TypeError) as error:
        raise _no_texts(name, _first_line(error)) from error
    return found


def network(setting: str, name: str, said: dict[str, Any], weights: str) -> Any:
    """The network that a preset describes.

    Args:
        setting: whose it is, for what an error says.
        name: ``"hub:"`` and the preset.
        said: by :func:`described_pictures` or :func:`described_texts`.
        weights: one of :data:`RELEASED`: the preset is opened for its own; others: random.

    Raises:
        ValueError: a package that is not installed, or a preset that cannot be opened.
    """
    hub = _keras_hub(setting, name)
    try:
        made = keras.saving.deserialize_keras_object(said["network"])
        if weights in RELEASED:
            size = 0 if compares_with_texts(made) else said["image_size"]
            released = _opened(hub, name, weights=True, image_size=size)
            for variable, value in zip(made.weights, released.weights, strict=True):
                variable.assign(value)
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(
            f"{setting}.backbone: expected a preset of keras-hub, received {name.removeprefix(HUB)!r} "
            f"({_first_line(error)})."
        ) from error
    return made


def compares_with_texts(network: Any) -> bool:
    """Whether it is CLIP's or SigLIP's, with a side for pictures and one for texts."""
    import keras_hub

    return isinstance(network, _with_texts(keras_hub))


def _keras_hub(setting, name):
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f"{setting}.backbone: expected the package keras-hub for {name!r}, received none; install kfood[hub]."
        ) from error
    return keras_hub


def _with_texts(hub):
    return hub.models.CLIPBackbone, hub.models.SigLIPBackbone


def _opened(hub, name, weights, image_size=0):
    """The preset's network, for pictures of a size where it can be of any."""
    gc.collect()  # of one opened before: it holds itself, and gigabytes would lie until Python looks for such
    shape = {"image_shape": (image_size, image_size, 3)} if image_size else {}
    return hub.models.Backbone.from_preset(name.removeprefix(HUB), load_weights=weights, **shape)


def _description(network):
    """As Keras describes it, for JSON, but for the precision: that is the model's."""
    return json.loads(json.dumps(_without_precision(keras.saving.serialize_keras_object(network))))


def _without_precision(value):
    if isinstance(value, dict):
        return {key: _without_precision(inner) for key, inner in value.items() if key != "dtype"}
    return [_without_precision(inner) for inner in value] if isinstance(value, list | tuple) else value


def _numbers(value):
    """A number, or one for each channel, of whatever type, for JSON."""
    return None if value is None else keras.ops.convert_to_numpy(value).tolist()


def _no_texts(name, why):
    return ValueError(
        "recipe_encoder.backbone: expected a preset of keras-hub with texts, CLIP's or SigLIP's, received "
        f"{name.removeprefix(HUB)!r} ({why})."
    )


def _first_line(error):
    return str(error).strip().splitlines()[0]
