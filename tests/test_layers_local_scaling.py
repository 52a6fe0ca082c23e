"""Local scaling against a loop written from its paper; in training, in a run's folder, in what is exported."""

import json
import shutil

import h5py
import keras
import numpy as np
import onnxruntime
import pytest
from conftest import BAGS
from test_models_contract import TINY

from kfood import schema, training
from kfood.configs import experiment
from kfood.data import pipeline
from kfood.data.dataset import open_dataset
from kfood.evaluation.embedding import embed_dataset
from kfood.export import onnx, saved_model
from kfood.layers.local_scaling import SHARE, LocalScaling
from kfood.models import MODELS, load_run
from kfood.models.r2gan import R2GAN
from kfood.models.searched import fill_banks
from kfood.tools.main import main


def unit(rng, rows, width=6):
    vectors = rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def csls(x, y, images, recipes, k):
    """Section 2.3, one pair after the other: images are x's side, recipes y's."""
    scores = np.zeros((len(x), len(y)))
    for i, one in enumerate(x):
        for j, other in enumerate(y):
            r_x = np.mean(sorted(float(one @ b) for b in recipes)[-k:])
            r_y = np.mean(sorted(float(other @ b) for b in images)[-k:])
            scores[i, j] = 2 * float(one @ other) - r_x - r_y
    return scores


def test_dot_products_are_half_the_papers_measure(rng):
    images, recipes = unit(rng, 9), unit(rng, 9)
    x, y = unit(rng, 4), unit(rng, 5)
    layers = [LocalScaling(9, 3, side) for side in (0, 1)]
    for layer, bank in zip(layers, (recipes, images), strict=True):
        layer.build((None, 6))
        layer.bank.assign(bank)
    first, second = (np.asarray(layer(rows)) for layer, rows in zip(layers, (x, y), strict=True))
    np.testing.assert_allclose(2 * first @ second.T, csls(x, y, images, recipes, 3), atol=1e-5)
    hubs = np.sort(x @ recipes.T, axis=1)[:, -3:].mean(axis=1)
    same = x @ x.T + SHARE**2 / 4 * np.outer(hubs, hubs) + 1 / SHARE**2
    np.testing.assert_allclose(first @ first.T, same, atol=1e-5)


def test_an_empty_bank_scales_nothing(rng):
    x, y = unit(rng, 4), unit(rng, 5)
    sides = []
    for side, rows in enumerate((x, y)):
        layer = LocalScaling(9, 3, side)
        sides.append(np.asarray(layer(rows)))
    np.testing.assert_allclose(sides[0] @ sides[1].T, x @ y.T, atol=1e-6)


@pytest.mark.parametrize("neighbours", [0, 10])
def test_more_neighbours_than_the_bank_has_are_refused(neighbours):
    with pytest.raises(ValueError, match=f"expected from 1 to 9 neighbours, received {neighbours}"):
        LocalScaling(9, neighbours, 0)


def chosen(name, *overrides):
    settings = ("spec.image_size=32", "training.batch_size=16", "training.epochs=2", "training.local_scaling=3")
    return experiment(name, "small", overrides=(*TINY[name], *BAGS, *settings, *overrides))


def finished(folder):
    with h5py.File(folder / "checkpoints" / "last.weights.h5") as file:
        return json.loads(file.attrs["kfood_progress"])["scaled"]


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 1])
def test_banks_are_the_other_sides_training_pairs(kitchen, tmp_path, views, monkeypatch):
    data = open_dataset(shutil.copytree(kitchen, tmp_path / "data"))
    settings = ("training.bank=40", f"training.freeze_image_epochs={-views}", f"training.views={views}")
    arguments = ("two_tower", chosen("two_tower", *settings), data, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(training.run, "fill_banks", lambda *ignored: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # at the last moment
            training.train(*arguments, verbose=0)
    assert not finished(tmp_path / "run")
    training.train(*arguments, verbose=0, resume=True)
    assert finished(tmp_path / "run")

    for weights in ("best", "last"):
        model = load_run(tmp_path / "run", weights)
        batches = pipeline.batches(data, "train", model.spec, 16, training=False)
        plain = embed_dataset(model, batches).arrays
        for side, other in (("image", "recipe"), ("recipe", "image")):
            np.testing.assert_allclose(model.scaling[side].bank, plain[other][:40], atol=2e-3 if views else 1e-5)
    assert (model.distance, model.searched().distance) == ("cosine", "dot")
    assert (model.embedding_size, model.searched().embedding_size) == (16, 18)

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    batches = pipeline.batches(data, "test", model.spec, 16, training=False)
    scaled, reloaded = (embed_dataset(one.searched(), batches).arrays for one in (model, again))
    plain = embed_dataset(model, batches).arrays
    banks = [np.asarray(model.scaling[side].bank) for side in ("recipe", "image")]  # of images, of recipes
    expected = csls(plain["image"], plain["recipe"], *banks, 3)
    np.testing.assert_allclose(2 * scaled["image"] @ scaled["recipe"].T, expected, atol=1e-5)
    for side, rows in scaled.items():
        np.testing.assert_allclose(reloaded[side], rows, atol=1e-6)

    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data.path), "--weights", "last"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["protocol"]["distance"] == "dot"
    ranks = [1 + sum(row > row[i]) for i, row in enumerate(expected)]
    assert report["directions"]["image_to_recipe"]["MedR"]["mean"] == pytest.approx(np.median(ranks))


def test_exported_encoders_and_decoders_are_the_searched_models(tiny_spec, tiny_batch):
    keras.utils.set_random_seed(0)
    chosen_experiment = experiment("r2gan", "small", overrides=TINY["r2gan"])
    model = R2GAN(chosen_experiment.model, tiny_spec, local_scaling=(2, 8))
    plain = {side: np.asarray(rows) for side, rows in model(tiny_batch).items()}
    fill_banks(model, plain)
    endpoints = saved_model.tensor_endpoints(model.searched())
    for side, rows in plain.items():
        endpoint = endpoints[f"encode_{side}"]
        session = onnxruntime.InferenceSession(onnx.convert(endpoint), providers=["CPUExecutionProvider"])
        inputs = {name: tiny_batch[name] for name in endpoint.inputs}
        (found,) = session.run(None, inputs)
        np.testing.assert_allclose(found[:, :16], rows, atol=1e-5)
        np.testing.assert_allclose(found, model.scaling[side](rows), atol=1e-5)
        made = model.searched().decoders["picture"].network(found)
        np.testing.assert_allclose(made, model.decoders["picture"].network(rows), atol=1e-4)


def test_a_model_of_euclidean_distances_is_scaled_too(tiny_spec, tiny_batch):
    keras.utils.set_random_seed(0)
    config = experiment("acme", "small", overrides=TINY["acme"]).model
    model = MODELS["acme"].load()(config, tiny_spec, local_scaling=(2, 8))
    assert (model.distance, model.searched().distance) == ("euclidean", "dot")
    plain = {side: np.asarray(rows) for side, rows in model(tiny_batch).items()}
    fill_banks(model, plain)
    encoders = model.searched().encoders.items()
    scaled = {side: encoder.predict_on_batch({k: tiny_batch[k] for k in encoder.input}) for side, encoder in encoders}
    # Of vectors of length 1 the squared distance is 2 - 2 cos.
    squared = ((plain["image"][:, None] - plain["recipe"][None]) ** 2).sum(axis=2)
    near = 1 - squared / 2
    expected = 2 * near - np.sort(near, axis=1)[:, -2:].mean(axis=1)[:, None] - np.sort(near, axis=0)[-2:].mean(axis=0)
    np.testing.assert_allclose(2 * scaled["image"] @ scaled["recipe"].T, expected, atol=1e-5)


def test_a_model_of_one_encoder_is_refused(tiny_spec):
    spec = schema.PhotoSpec(tiny_spec.image_size, tiny_spec.classes)
    config = experiment("alpha_gao", "small", overrides=TINY["alpha_gao"]).model
    with pytest.raises(ValueError, match="does not compare two encoders' embeddings, received 3 for"):
        MODELS["alpha_gao"].load()(config, spec, local_scaling=(3, 8))


def test_a_setting_out_of_range_is_one_sentence():
    with pytest.raises(ValueError, match=r"training\.local_scaling: expected from 0 to 4, training.bank, received 5"):
        training.TrainingConfig(local_scaling=5, bank=4)
