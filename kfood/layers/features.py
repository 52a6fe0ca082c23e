"""A photo network cut in two: the frozen part, whose features can be computed once, and what is trained on them.

The cut is behind the layer ``pool`` where the backbone's map is averaged at once, else behind the layer ``backbone``.
Both parts share their layers with the network.
"""

import warnings
import weakref

import keras

from kfood import schema

_RESTS: "weakref.WeakKeyDictionary[keras.Model, keras.Model]" = weakref.WeakKeyDictionary()


def frozen_part(network: keras.Model) -> keras.Model:
    """Photos float32 ``[batch, side, side, 3]`` in [0, 255] → features float ``[batch, ...]``: map, tokens or vector.

    Args:
        network: functional, from a dict with ``image``; has a layer ``backbone`` that takes the photo.
    """
    backbone = network.get_layer("backbone")
    if _cut(network) == "backbone":
        return backbone
    return keras.Model(network.input[schema.IMAGE], network.get_layer("pool").output, name="frozen_part")


def rest(network: keras.Model) -> keras.Model:
    """What follows :func:`frozen_part`: takes ``image_features`` in place of ``image``; the same one at each call."""
    if network not in _RESTS:
        shape = network.get_layer(_cut(network)).output.shape[1:]
        features = keras.Input(shape, name=schema.IMAGE_FEATURES)
        skipped = {"backbone", _cut(network)}

        def call(layer, *args, **kwargs):
            return args[0] if layer.name in skipped else layer(*args, **kwargs)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for the moment an input goes by another name
            shared = keras.models.clone_model(
                network,
                input_tensors={**network.input, schema.IMAGE: features},
                clone_function=lambda layer: layer,
                call_function=call,
            )
        inputs = {name: value for name, value in shared.input.items() if name != schema.IMAGE}
        _RESTS[network] = keras.Model(
            inputs | {schema.IMAGE_FEATURES: features}, shared.output, name=f"{network.name}_rest"
        )
    return _RESTS[network]


def _cut(network):
    names = [layer.name for layer in network.layers]
    return "pool" if "pool" in names else "backbone"
