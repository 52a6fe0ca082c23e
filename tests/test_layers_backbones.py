"""Backbones from elsewhere: timm's released vision transformers, presets of keras-hub, a script's own model."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from kfood.configs import experiment
from kfood.layers import image, vit
from kfood.models import MODELS
from kfood.settings import from_dict

safetensors_numpy = pytest.importorskip("safetensors.numpy")

WIDTH, DEPTH, HEADS, SIDE = 8, 2, 2, 48
PATCHES = (SIDE // vit.PATCH) ** 2


def released(rng):
    """Arrays named and laid out as in timm."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + PATCHES, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, vit.PATCH, vit.PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
        "head.weight": (5, WIDTH),
        "head.bias": (5,),
    }
    for index in range(DEPTH):
        for name, shape in {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH),
            "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH),
            "attn.proj.bias": (WIDTH,),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.fc1.weight": (4 * WIDTH, WIDTH),
            "mlp.fc1.bias": (4 * WIDTH,),
            "mlp.fc2.weight": (WIDTH, 4 * WIDTH),
            "mlp.fc2.bias": (WIDTH,),
        }.items():
            shapes[f"blocks.{index}.{name}"] = shape
    scale = {"patch_embed.proj.weight": 0.05}
    return {name: rng.normal(0, scale.get(name, 0.7), shape).astype("float32") for name, shape in shapes.items()}


def naive(picture, w):
    """DeiT token by token and head by head, as timm's forward_features says; float64."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    mean, deviation = 255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225])
    picture = (picture - mean) / deviation
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    for row in range(SIDE // vit.PATCH):
        for column in range(SIDE // vit.PATCH):
            value = w["patch_embed.proj.bias"].copy()
            for out in range(WIDTH):
                for channel in range(3):
                    patch = picture[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16, channel]
                    value[out] += (patch * w["patch_embed.proj.weight"][out, channel]).sum()
            tokens.append(value + w["pos_embed"][0, len(tokens)])
    x = np.array(tokens)

    def normal(values, name):
        centred = values - values.mean(-1, keepdims=True)
        return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(values, name):
        return values @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for index in range(DEPTH):
        name = f"blocks.{index}."
        qkv = linear(normal(x, f"{name}norm1"), f"{name}attn.qkv")
        q, k, v = (qkv[:, part * WIDTH : (part + 1) * WIDTH] for part in range(3))
        heads = []
        for head in range(HEADS):
            columns = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = q[:, columns] @ k[:, columns].T / np.sqrt(WIDTH / HEADS)
            shares = np.exp(scores - scores.max(1, keepdims=True))
            heads.append(shares / shares.sum(1, keepdims=True) @ v[:, columns])
        x = x + linear(np.concatenate(heads, axis=1), f"{name}attn.proj")
        hidden = linear(normal(x, f"{name}norm2"), f"{name}mlp.fc1")
        hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + linear(hidden, f"{name}mlp.fc2")
    return normal(x, "norm")


@pytest.fixture
def tiny(monkeypatch, tmp_path, rng):
    """(config of a tiny vision transformer that starts from a released one, the released arrays, the file)."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Size(WIDTH, DEPTH, HEADS))
    arrays, path = released(rng), tmp_path / "model.safetensors"
    safetensors_numpy.save_file(arrays, path)
    return image.ImageEncoderConfig(backbone="tiny", weights=str(path)), arrays, path


def test_a_released_transformer_gives_the_same_tokens(tiny, rng):
    config, arrays, _ = tiny
    pictures = rng.uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
    found = image.backbone(SIDE, config, tokens=True)(pictures)
    np.testing.assert_allclose(found, [naive(picture, arrays) for picture in pictures], atol=2e-4)


def test_positions_are_interpolated_for_another_size(tiny):
    config, arrays, _ = tiny
    network = image.backbone(2 * SIDE, config, tokens=True)
    _, positions = network.get_layer("positions").get_weights()
    np.testing.assert_array_equal(positions[0, 0], arrays["pos_embed"][0, 0])
    old, new = arrays["pos_embed"][0, 1:].reshape(3, 3, WIDTH), positions[0, 1:].reshape(6, 6, WIDTH)
    # Twice the size: the mean over a corner's four places is near that corner, not near another.
    corners = new.reshape(3, 2, 3, 2, WIDTH).mean((1, 3))
    apart = np.linalg.norm(corners.reshape(9, 1, WIDTH) - old.reshape(1, 9, WIDTH), axis=2)
    np.testing.assert_array_equal(apart.argmin(axis=1), np.arange(9))


def test_other_files_are_refused_and_change_nothing(tiny, rng):
    config, arrays, path = tiny
    network = image.backbone(SIDE, dataclasses.replace(config, weights=""), tokens=True)
    before = network.get_weights()
    short = {name: array for name, array in arrays.items() if name != "blocks.1.mlp.fc2.bias"}
    with pytest.raises(ValueError, match=r"received none called 'blocks\.1\.mlp\.fc2\.bias'"):
        vit.assign_released(network, short)
    with pytest.raises(ValueError, match=r"mlp_out/kernel of shape \[32, 8\], received"):
        vit.assign_released(network, arrays | {"blocks.1.mlp.fc2.weight": np.zeros((WIDTH, 3), "float32")})
    for first, second in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    safetensors_numpy.save_file(short, path)
    with pytest.raises(ValueError, match=r"expected weights of backbone 'tiny'.*received none called"):
        image.backbone(SIDE, config)
    path.write_bytes(b"no such file")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        image.backbone(SIDE, config)


@pytest.fixture
def preset(tmp_path, rng):
    """A function from a tiny backbone of keras-hub to the folder of its preset."""
    keras_hub = pytest.importorskip("keras_hub")

    def save(network, converter, power=2, spread=0.3):
        for weight in network.weights:
            whole = "int" in str(weight.dtype)  # numbers of places
            weight.assign(np.arange(weight.shape[1])[None] if whole else rng.normal(0, spread, weight.shape) ** power)
        folder = tmp_path / network.name
        network.save_to_preset(folder)
        converter.save_to_preset(folder)
        return folder

    return keras_hub, save


def test_a_preset_of_keras_hub(preset, rng):
    keras_hub, save = preset
    network = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    scale, offset = [0.01, 0.02, 0.03], [-0.1, 0.2, 0.3]
    folder = save(network, keras_hub.layers.ViTImageConverter(image_size=(32, 32), scale=scale, offset=offset))
    config = image.ImageEncoderConfig(backbone=f"hub:{folder}", weights="imagenet")
    pictures = rng.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = np.asarray(network(pictures * np.float32(scale) + np.float32(offset)))
    np.testing.assert_allclose(image.backbone(32, config, tokens=True)(pictures), expected, atol=1e-4)
    as_map = image.backbone(32, config)(pictures)
    np.testing.assert_allclose(as_map, expected[:, 1:].reshape(2, 2, 2, 8), atol=1e-4)
    fresh = image.backbone(32, dataclasses.replace(config, weights=""), tokens=True)(pictures)
    assert np.abs(np.asarray(fresh) - expected).max() > 0.1
    with pytest.raises(ValueError, match="expected a preset of keras-hub for 32-pixel pictures, received 'nosuch'"):
        image.backbone(32, image.ImageEncoderConfig(backbone="hub:nosuch"))


@pytest.mark.parametrize("twice", [False, True])
def test_what_a_preset_says_is_kept(twice, preset, rng):
    """The network of a trained model is made anew, alone or among joined ones, where the preset is no more."""
    keras_hub, save = preset
    network = keras_hub.models.ViTBackbone(
        image_shape=(48, 48, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    folder = save(network, keras_hub.layers.ViTImageConverter(image_size=(48, 48), scale=[0.01, 0.02, 0.03]))
    name = f"hub:{folder}"
    named = image.ImageEncoderConfig(backbone=f"{name}+{name}" if twice else name, weights="")
    kept = named.with_presets(48)
    assert kept.with_presets(48) is kept
    first = image.backbone(48, dataclasses.replace(kept, weights="imagenet"))
    shutil.rmtree(folder)
    again = image.backbone(48, dataclasses.replace(kept))
    again.set_weights(first.get_weights())
    pictures = rng.uniform(0, 255, (2, 48, 48, 3)).astype("float32")
    np.testing.assert_array_equal(again(pictures), first(pictures))
    for config, side in ((kept, 32), (named, 48), (dataclasses.replace(kept, backbone="hub:other"), 48)):
        with pytest.raises(ValueError, match="expected a preset of keras-hub"):  # what is kept is of another
            config.with_presets(side)


def test_a_transformer_without_a_class_token_gives_a_map(preset, rng):
    keras_hub, save = preset
    network = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8,
        use_class_token=False,
    )  # fmt: skip
    folder = save(network, keras_hub.layers.ViTImageConverter(image_size=(32, 32)))
    config = image.ImageEncoderConfig(backbone=f"hub:{folder}", weights="imagenet")
    pictures = rng.uniform(0, 1, (2, 32, 32, 3)).astype("float32")
    found = image.backbone(32, config, tokens=True)
    np.testing.assert_allclose(found(pictures), np.reshape(network(pictures), (2, 2, 2, 8)), atol=1e-5)
    pooled = keras.Model(found.input, image.pool(found.output))(pictures)
    np.testing.assert_allclose(pooled, np.mean(network(pictures), axis=1), atol=1e-5)


@pytest.mark.parametrize(("kind", "width"), [("CLIP", 6), ("SigLIP", 8)])
def test_the_picture_side_of_a_preset_with_texts(kind, width, preset, rng):
    """The vector that the preset itself compares with texts, of pictures normalised as the preset says."""
    from tiny_presets import two_sided

    network, converter = two_sided(kind, vocabulary=9, length=6)
    save = preset[1]
    folder = save(network, converter, power=1, spread=1.0)
    config = image.ImageEncoderConfig(backbone=f"hub:{folder}", weights="imagenet")
    pictures = np.repeat(np.repeat(rng.uniform(0, 255, (3, 2, 2, 3)), 16, 1), 16, 2).astype("float32")  # plain patches
    scaled = pictures * np.float32([0.01, 0.02, 0.03]) + np.float32([-0.1, 0.2, 0.3])
    expected = np.asarray(network.get_vision_embeddings(scaled))
    found = image.backbone(32, config)
    np.testing.assert_allclose(found(pictures), expected.reshape(3, 1, 1, width), atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01  # the picture is seen, and so would another normalisation be
    # Of the vision encoder alone: nothing of the texts is left in.
    assert not any("text" in weight.path for weight in found.weights)
    fresh = image.backbone(32, dataclasses.replace(config, weights=""))(pictures)
    assert np.abs(np.reshape(fresh, (3, width)) - expected).max() > 0.1
    with pytest.raises(ValueError, match=r"pictures of 32 pixels for .*, received 48; set spec\.image_size=32"):
        image.backbone(48, config)


@keras.saving.register_keras_serializable("tests")
class Scale(keras.layers.Layer):
    """Times a number."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x):
        return self.factor * x


def own_model(side=32, pooling=False):
    """A script's backbone: a convolution and a layer of its own, the factor not as it starts."""
    picture = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(6, 3, strides=8, activation="relu")(Scale(name="scale")(picture))
    model = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x) if pooling else x)
    model.get_layer("scale").factor.assign(0.25)
    return model


@pytest.mark.parametrize("pooling", [False, True])
def test_a_models_own_backbone_is_trained_saved_and_loaded(pooling, tiny_spec, tiny_batch, tmp_path):
    own = own_model(pooling=pooling)
    chosen = experiment("two_tower", "small", overrides=("embedding_size=8", "recipe_encoder.word_size=6")).model
    chosen = dataclasses.replace(chosen, image_encoder=image.ImageEncoderConfig(backbone=own))
    model = MODELS["two_tower"].load()(chosen, tiny_spec)
    model.compile(run_eagerly=True)  # a step: quicker than tracing the graph
    backbone = model.encoders["image"].get_layer("backbone")
    features = np.asarray(own(tiny_batch["image"]))
    np.testing.assert_allclose(np.reshape(backbone(tiny_batch["image"]), features.shape), features, atol=1e-5)
    for other in [MODELS["two_tower"].load()(chosen, tiny_spec), model]:  # each has its own copy
        other.compile(run_eagerly=True)
        other.train_on_batch(tiny_batch)
    np.testing.assert_array_equal(own(tiny_batch["image"]), features)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, embeddings in model(tiny_batch).items():
        np.testing.assert_allclose(loaded(tiny_batch)[name], embeddings, atol=1e-6)
    again = from_dict(type(chosen), json.loads(json.dumps(dataclasses.asdict(chosen))))
    assert image.is_architecture(again.image_encoder.backbone)
    again = MODELS["two_tower"].load()(again, tiny_spec)
    model.save_weights(tmp_path / "last.weights.h5")
    again.load_weights(tmp_path / "last.weights.h5")
    np.testing.assert_allclose(again(tiny_batch)["image"], model(tiny_batch)["image"], atol=1e-6)


def test_a_models_own_backbone_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"expected a keras.Model of registered layers that takes \[None, 48, 48, 3\]"):
        image.backbone(48, image.ImageEncoderConfig(backbone=own_model(32)))


def test_on_the_command_line_a_model_is_refused_by_name():
    with pytest.raises(ValueError, match=r"--set image_encoder\.backbone: expected a name, received a model"):
        experiment("two_tower", "small", overrides=(f"image_encoder.backbone={own_model().to_json()}",))
