"""Training on features of a frozen backbone: the same losses and epochs as on photos, resumed and unfrozen as these."""

import csv
import json
import shutil

import h5py
import keras
import numpy as np
import pytest
from conftest import BAGS, others_slow
from test_models_contract import TINY, make

from kfood import frozen, schema, training
from kfood.configs import experiment
from kfood.data.dataset import open_dataset
from kfood.layers.features import rest
from kfood.models import load_run
from kfood.models.base import random_states


@pytest.mark.parametrize(
    "name", others_slow(["two_tower", "acme", "r2gan", "mcen", "cca", "alpha_gao"], ["two_tower", "cca", "alpha_gao"])
)
def test_losses_on_features_are_those_on_photos(name, tiny_spec, tiny_batch):
    model = make(name, tiny_spec, compiled=False)
    network = frozen.frozen_network(model)
    assert network.side == tiny_spec.image_size
    computed = network.run(tiny_batch[schema.IMAGE])
    for key, (shape, _) in network.outputs.items():
        assert computed[key].shape == (8, *shape)
    assert (schema.IMAGE in computed) == (name in ("acme", "r2gan"))
    batch = {key: value for key, value in tiny_batch.items() if key != schema.IMAGE}
    batch |= {key: np.asarray(value, "float32") for key, value in computed.items()}
    states = [np.array(state) for state in random_states(model)]
    expected = model.compute_losses(tiny_batch)
    for variable, state in zip(random_states(model), states, strict=True):
        variable.assign(state)
    found = model.compute_losses(batch)
    assert found.keys() == expected.keys()
    for loss in expected:  # real pictures are rounded to 8 bits
        assert float(found[loss]) == pytest.approx(float(expected[loss]), rel=1e-3, abs=1e-3), loss
    embeddings = model(tiny_batch)
    for key, network in frozen.embedding_networks(model).items():
        inputs = {feature: batch[feature] for feature in network.input}
        np.testing.assert_allclose(network.predict_on_batch(inputs), embeddings[key], atol=1e-5)


def test_what_follows_shares_its_weights_and_leaves_the_model_as_it_is(tiny_spec, tiny_batch, tmp_path):
    model, fresh = (make("two_tower", tiny_spec, compiled=False) for _ in range(2))
    encoder = model.encoders["image"]
    assert rest(encoder) is rest(encoder)
    encoder.get_layer("image_embedding").kernel.assign_add(keras.ops.ones((8, 16)))
    features = frozen.frozen_network(model).run(tiny_batch["image"])["image_features"]
    np.testing.assert_allclose(
        rest(encoder)({"image_features": features}), encoder({"image": tiny_batch["image"]}), atol=1e-6
    )
    model.save_weights(tmp_path / "model.weights.h5")
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh(tiny_batch)["image"], model(tiny_batch)["image"])
    assert [weight.path for weight in fresh.weights] == [weight.path for weight in model.weights]


def test_another_backbone_or_picture_has_another_fingerprint(tiny_spec):
    model = make("acme", tiny_spec, compiled=False)
    fingerprints = [frozen.frozen_network(model).fingerprint, frozen.frozen_network(model).fingerprint]
    model.encoders["image"].get_layer("image_embedding").kernel.assign_add(keras.ops.ones((8, 16)))
    fingerprints.append(frozen.frozen_network(model).fingerprint)
    assert len(set(fingerprints)) == 1
    weight = model.encoders["image"].get_layer("backbone").weights[-1]
    weight.assign(weight + 1e-6)
    assert frozen.frozen_network(model).fingerprint != fingerprints[0]


@pytest.mark.parametrize("kept", [True, False])
def test_a_backbone_that_is_let_learn_keeps_its_statistics(kept, tiny_spec, tiny_batch):
    model = make("two_tower", tiny_spec)
    model.run_eagerly = True
    config = training.TrainingConfig(epochs=2, batch_size=8, freeze_image_epochs=1, freeze_statistics=kept)
    schedule = training.callbacks.Schedule(config, training.Progress())
    schedule.set_model(model)
    backbone = model.encoders["image"].get_layer("backbone")
    normalisations = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    own = {id(variable) for layer in normalisations for variable in layer.variables}

    def moved():
        before = [np.array(variable) for variable in backbone.variables]
        model.train_on_batch(tiny_batch)
        return [
            id(variable) in own
            for variable, old in zip(backbone.variables, before, strict=True)
            if np.abs(np.asarray(variable) - old).max() > 0
        ]

    def differs():
        learning, still = (np.asarray(backbone(tiny_batch["image"], training=training)) for training in (True, False))
        return np.abs(learning - still).max() > 1e-3

    schedule.on_epoch_begin(0)
    assert not moved()
    assert not differs()
    schedule.on_epoch_begin(1)
    assert differs() != kept
    found = moved()
    assert found.count(False) >= len(normalisations) > 2
    assert any(found) != kept
    schedule.on_epoch_begin(2)
    assert differs() != kept


@pytest.fixture
def data(kitchen, tmp_path):
    """A copy of the kitchen's dataset: features are kept in its folder."""
    return open_dataset(shutil.copytree(kitchen, tmp_path / "data"))


def chosen(name, *overrides):
    settings = ("spec.image_size=32", "training.batch_size=16", "training.freeze_image_epochs=2")
    own = BAGS if name == "two_tower" else ()
    return experiment(name, "small", overrides=(*TINY[name], *own, *settings, *overrides))


UNVARIED = (
    *("training.augmentation.flip=false", "training.augmentation.crop_area=1,1"),
    *("training.augmentation.crop_aspect=1", "training.augmentation.brightness=0"),
    *("training.augmentation.contrast=0", "training.augmentation.saturation=0"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_tower", "mcen"])  # acme's encoders are two_tower's
def test_epochs_on_features_are_those_on_photos(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_KEPT", "float32")
    # A crop of the whole square, for training as for evaluation.
    monkeypatch.setattr("kfood.data.images.resized_short_side", lambda size: size)
    monkeypatch.setattr("kfood.schema.resized_short_side", lambda size: size)
    for run, views in (("photos", 0), ("features", 1)):
        settings = (*UNVARIED, "training.epochs=2", f"training.views={views}")
        training.train(name, chosen(name, *settings), data, tmp_path / run, verbose=0)
    rows = [list(csv.DictReader((tmp_path / run / "metrics.csv").open())) for run in ("photos", "features")]
    assert len(rows[0]) == 2
    for photos, found in zip(*rows, strict=True):
        assert photos.keys() == found.keys()
        for key in set(photos) - {"seconds"}:
            assert float(found[key]) == pytest.approx(float(photos[key]), rel=2e-3, abs=2e-3), key
    assert len(list((data.path / "features").iterdir())) == 1
    assert load_run(tmp_path / "features").embedding_size == 16


@pytest.mark.slow
def test_resumed_and_unfrozen_it_ends_where_an_unbroken_run_does(data, tmp_path, monkeypatch):
    """Stopped after each epoch of three, the last of them on photos with the backbone learning."""
    settings = chosen("two_tower", "training.epochs=3", "training.views=3")
    training.train("two_tower", settings, data, tmp_path / "whole", verbose=0)
    save = training.save_checkpoint

    def save_and_stop(model, path, progress):
        save(model, path, progress)
        if path.name.startswith("last"):
            raise KeyboardInterrupt

    monkeypatch.setattr(training.callbacks, "save_checkpoint", save_and_stop)
    for resume in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            training.train("two_tower", settings, data, tmp_path / "broken", resume=resume, verbose=0)
    arrays = []
    for run in ("whole", "broken"):
        found = {}
        with h5py.File(tmp_path / run / "checkpoints" / "last.weights.h5") as file:
            assert json.loads(file.attrs["kfood_progress"])["epoch"] == 3
            file.visititems(
                lambda name, item, found=found: found.update({name: item[()]}) if hasattr(item, "dtype") else None
            )
        arrays.append(found)
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][name], err_msg=name)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"training\.views: expected 0 without training\.freeze_image_epochs"):
        experiment("two_tower", "small", overrides=("training.views=2",))
