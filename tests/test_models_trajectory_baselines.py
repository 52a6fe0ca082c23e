"""TrajCross's baselines: objectives against naive loops, MoCo's keys and queues, what each of them sees."""

import math

import keras
import numpy as np
import pytest

from kfood import schema
from kfood.configs import experiment
from kfood.models import MODELS, trajectory_baselines
from kfood.models.batches import select
from tests.test_models_contract import TINY

SPEC = schema.TrajectorySpec(32, 20, centre_x=5.5, centre_y=5.5, extent=6.0)


def tiny(name, variant="", *overrides):
    keras.utils.set_random_seed(0)
    model = MODELS[name].load()(experiment(name, "small", variant, (*TINY[name], *overrides)).model, SPEC)
    model.compile(run_eagerly=True)
    return model


def test_queue_contrast_against_loops(rng):
    query, key, queue = (rng.normal(size=(count, 4)) for count in (3, 3, 5))
    total = 0.0
    for i in range(3):
        own = math.exp(query[i] @ key[i] / 0.2)
        total -= math.log(own / (own + sum(math.exp(query[i] @ other / 0.2) for other in queue)))
    parts = (keras.ops.convert_to_tensor(part, "float32") for part in (query, key, queue))
    assert float(trajectory_baselines.queue_contrast(*parts, 0.2)) == pytest.approx(total / 3, rel=1e-4)


def test_match_likelihood_against_loops(rng):
    logits = rng.normal(size=(4, 4))
    sigmoid = lambda z: 1 / (1 + math.exp(-z))  # noqa: E731
    own = -sum(math.log(sigmoid(logits[i, i])) for i in range(4)) / 4
    others = -sum(math.log(1 - sigmoid(logits[i, j])) for i in range(4) for j in range(4) if i != j) / 12
    found = trajectory_baselines.match_likelihood(keras.ops.convert_to_tensor(logits, "float32"))
    assert float(found) == pytest.approx(own + others, rel=1e-5)


@pytest.mark.parametrize("variant", ["", "pictures"])
def test_moco_keys_see_what_queries_see(variant, tiny_batch):
    """With equal weights a query is its own key: statistics of the batch in training, moving ones otherwise."""
    model = tiny("moco", variant)
    for training in (True, False):
        found = model.embed(tiny_batch, training=training)
        for side in ("image", "trajectory"):
            np.testing.assert_allclose(found[side], found[f"{side}_key"], atol=1e-5)
    trained = model.embed(tiny_batch, training=True)["image"]
    assert np.abs(np.asarray(trained) - np.asarray(found["image"])).max() > 1e-2  # so that the statistics matter


def test_moco_moves_its_keys_slowly_and_queues_those_of_the_step(tiny_batch):
    """Eq. 2 on what is learned, statistics aside; the queue gains the keys that the step's queries were compared to."""
    model = tiny("moco", "", "momentum=0.75")
    keys = {side: np.asarray(value) for side, value in model.embed(tiny_batch, training=True).items() if "_key" in side}
    before = {side: [w.numpy() for w in key.weights] for side, key in model.keys.items()}
    queues = {side: queue.keys.numpy() for side, queue in model.queues.items()}
    model.optimizers["encoders"].learning_rate = 1e-2
    model.train_on_batch(tiny_batch)
    for side, key in model.keys.items():
        moved = 0
        for slow, old, fast in zip(key.weights, before[side], model.encoders[side].weights, strict=True):
            if fast.trainable:
                np.testing.assert_allclose(slow, 0.75 * old + 0.25 * fast.numpy(), atol=1e-6)
                moved += bool(np.abs(slow.numpy() - old).max() > 0)
        assert moved > 10
        own = model.queues[side].keys.numpy()
        np.testing.assert_allclose(own[:8], keys[f"{side}_key"], atol=1e-5)
        np.testing.assert_array_equal(own[8:], queues[side][:4])
        np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1.0, atol=1e-5)


def test_moco_on_pictures_alone_sees_no_points(tiny_batch):
    """The trajectory only as it is drawn: by its own box, a shift does not show; and the location does."""
    model = tiny("moco", "pictures")
    encoder, image = model.encoders["trajectory"], model.encoders["image"]
    points = tiny_batch["trajectory"]
    first, moved, longer = (
        encoder.predict_on_batch({"trajectory": value}) for value in (points, points + 1.5, points * [1.0, 2.0])
    )
    np.testing.assert_allclose(moved, first, atol=1e-3)
    assert np.abs(longer - first).max() > 1e-2
    inputs = select(tiny_batch, image)
    elsewhere = image.predict_on_batch({**inputs, "location": inputs["location"] + 1.5})
    assert np.abs(elsewhere - image.predict_on_batch(inputs)).max() > 1e-3
    placed = tiny("moco", "pictures", "encoder.sketch_frame=scene").encoders["trajectory"]
    first, moved = (placed.predict_on_batch({"trajectory": value}) for value in (points, points + 1.5))
    assert np.abs(moved - first).max() > 1e-2


@pytest.mark.parametrize("variant", ["", "Corr-Cross-AE"])
def test_corr_ae_reads_back_from_its_own_or_the_other_side(variant, tiny_batch):
    """Squared distance of pairs, and mean squared errors of points and of ink on 16 pixels a side."""
    model = tiny("corr_ae", variant)
    found = {side: np.asarray(value) for side, value in model.embed(tiny_batch, training=False).items()}
    ink = 1 - tiny_batch["image"].reshape(8, 16, 2, 16, 2, 3).mean(axis=(2, 4, 5)).reshape(8, 256) / 255
    targets = {"image": ink, "trajectory": ((tiny_batch["trajectory"] - 5.5) / 6).reshape(8, 40)}
    other = {"image": "trajectory", "trajectory": "image"}
    errors = 0.0
    for side, target in targets.items():
        source = other[side] if variant else side
        errors += np.square(model.readers[side].predict_on_batch(found[source]) - target).mean()
    losses = model.compute_losses(tiny_batch)
    assert float(losses["reconstruction"]) == pytest.approx(errors, rel=1e-4)
    apart = np.square(found["trajectory"] - found["image"]).sum(axis=1).mean()
    assert float(losses["correlation"]) == pytest.approx(apart, rel=1e-4)


def test_acmr_triplets_against_loops(tiny_batch):
    """Cosines, every other item a negative, the mean over those within the margin, both directions."""
    model = tiny("acmr")
    found = {side: np.asarray(value, float) for side, value in model.embed(tiny_batch, training=False).items()}
    apart, total = 1 - found["trajectory"] @ found["image"].T, 0.0
    for side in (apart, apart.T):
        terms = [max(0.0, 0.3 + side[i, i] - side[i, j]) for i in range(8) for j in range(8) if i != j]
        total += sum(terms) / max(1, sum(term > 0 for term in terms))
    assert float(model.compute_losses(tiny_batch)["triplets"]) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("variant", ["", "waves"])
def test_cca_features(variant, tiny_batch):
    """Points over the ground; ink on 16 pixels a side and the corners. Or waves of both."""
    model = tiny("trajectory_cca", variant, "embedding_size=4")
    along = np.asarray(model.features["trajectory"](select(tiny_batch, model.features["trajectory"])))
    seen = np.asarray(model.features["image"](select(tiny_batch, model.features["image"])))
    if variant:
        assert along.shape == seen.shape == (8, 81)
    else:
        np.testing.assert_allclose(along, ((tiny_batch["trajectory"] - 5.5) / 6).reshape(8, 40), rtol=1e-5, atol=1e-6)
        ink = 1 - tiny_batch["image"].reshape(8, 16, 2, 16, 2, 3).mean(axis=(2, 4, 5)).reshape(8, 256) / 255
        np.testing.assert_allclose(seen, np.hstack([ink, (tiny_batch["location"] - 5.5) / 6]), rtol=1e-4, atol=1e-5)
