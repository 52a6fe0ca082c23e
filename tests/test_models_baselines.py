"""The baselines: their losses against naive references, CCA against its definition."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from keras import ops
from test_models_contract import make

from kfood import schema
from kfood.layers import canonical
from kfood.losses import ranking
from kfood.models.baselines import CCAConfig


def _cosines(a, b):
    return np.array([[1.0 - oracles.cosine_distance(x, y) for y in b] for x in a], "float32")


def test_adaptive_triplets(rng):
    anchors, gallery = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    between = 1.0 - _cosines(anchors, gallery)
    terms = [max(0.0, between[i, i] - between[i, j] + 0.3) for i in range(4) for j in range(4) if i != j]
    active = [term for term in terms if term > 0]
    assert 0 < len(active) < len(terms)
    got = float(ranking.all_triplets(between, np.eye(4, dtype=bool), 0.3, adaptive=True))
    assert got == pytest.approx(sum(active) / len(active), rel=1e-5)
    assert float(ranking.all_triplets(between - 9 * np.eye(4), np.eye(4, dtype=bool), 0.3, adaptive=True)) == 0.0


def test_class_triplets(rng):
    anchors, gallery = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    labels = np.array([1, 2, 0, 1, 1, 2, 3], "int32")
    between = 1.0 - _cosines(anchors, gallery)
    for side, distances in (((anchors, gallery), between), ((gallery, anchors), between.T)):
        expected = oracles.adaptive_class_triplets(*side, labels, 0, 0.3)
        assert float(ranking.class_triplets(distances, labels, 0, 0.3)) == pytest.approx(expected, rel=1e-5)
    assert float(ranking.class_triplets(between, np.arange(7, dtype="int32"), 0, 0.3)) == 0.0  # no two of one class
    background = np.array([0, 0, 0, 1, 1, 0, 2], "int32")  # whose items are neither alike nor different
    expected = oracles.adaptive_class_triplets(anchors, gallery, background, 0, 0.3)
    assert float(ranking.class_triplets(between, background, 0, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_gradient_of_class_triplets(rng):
    """By central differences of the distances, in float64."""
    between, step = rng.normal(size=(2, 7, 7))
    labels = np.array([1, 2, 0, 1, 1, 2, 3], "int32")
    variable = tf.Variable(between)
    with tf.GradientTape() as tape:
        loss = ranking.class_triplets(variable, labels, 0, 0.3)
    slope = tape.gradient(loss, variable).numpy()
    ends = [float(ranking.class_triplets(between + sign * 1e-6 * step, labels, 0, 0.3)) for sign in (1, -1)]
    assert np.sum(slope * step) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_mismatched_pairs(rng):
    images, recipes = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    got = float(ranking.mismatched_pairs(_cosines(images, recipes), np.eye(5, dtype=bool), 0.1, 0.2))
    assert got == pytest.approx(oracles.jne_cosine_loss(images, recipes, 0.1, 0.2), rel=1e-5)


def test_symmetric_cross_entropy(rng):
    logits = rng.normal(size=(4, 4)).astype("float32")
    got = float(ranking.symmetric_cross_entropy(logits, np.eye(4, dtype=bool)))
    assert got == pytest.approx(oracles.symmetric_cross_entropy(logits), rel=1e-5)


def test_pairwise_sigmoid(rng):
    logits, same = rng.normal(size=(4, 4)).astype("float32"), np.eye(4, dtype=bool)
    same[1, 3] = True  # one side alone, so that rows and columns cannot be exchanged
    got = float(ranking.pairwise_sigmoid(logits, same))
    assert got == pytest.approx(oracles.pairwise_sigmoid(logits, same), rel=1e-5)
    assert got != pytest.approx(oracles.pairwise_sigmoid(logits, same.T), rel=1e-3)
    far = 60 * np.where(np.eye(4) > 0, 1, -1).astype("float32")
    assert 0.0 <= float(ranking.pairwise_sigmoid(far, same)) < 1e-6
    assert float(ranking.pairwise_sigmoid(-far, same)) == pytest.approx(60 * 15 / 4)  # finite: log σ(-60) is -60


def test_several_photos_of_a_recipe(rng):
    """Items 0 and 2 are of one recipe, pair by pair of the batch."""
    same = np.eye(4, dtype=bool)
    same[0, 2] = same[2, 0] = True
    cosines = rng.uniform(-1, 1, (4, 4)).astype("float32")
    pull = [1 - cosines[i, j] for i in range(4) for j in range(4) if same[i, j]]
    push = [max(0, cosines[i, j] - 0.1) for i in range(4) for j in range(4) if not same[i, j]]
    got = float(ranking.mismatched_pairs(cosines, same, 0.1, 0.2))
    assert got == pytest.approx(0.2 * np.mean(pull) + 0.8 * np.mean(push), rel=1e-5)
    terms = []
    for side in (cosines, cosines.T):
        for i in range(4):
            choices = [np.exp(side[i, j]) for j in range(4) if j == i or not same[i, j]]
            terms.append(-np.log(np.exp(side[i, i]) / sum(choices)))
    assert float(ranking.symmetric_cross_entropy(cosines, same)) == pytest.approx(np.mean(terms), rel=1e-5)
    everybody = np.ones((4, 4), bool)
    assert float(ranking.symmetric_cross_entropy(cosines, everybody)) == 0.0
    assert float(ranking.mismatched_pairs(cosines, everybody, 0.1, 0.0)) == 0.0


@pytest.mark.parametrize("name", ["jne", "adamine", "two_tower"])
def test_the_model_computes_its_losses(name, tiny_spec, tiny_batch):
    model = make(name, tiny_spec)
    named = {key: float(value) for key, value in model.compute_losses(tiny_batch).items()}
    image, recipe = (ops.convert_to_numpy(x) for x in model(tiny_batch).values())
    labels = tiny_batch["class_id"]
    if name == "jne":
        expected = {
            "pairs": oracles.jne_cosine_loss(image, recipe, 0.1, 0.2),
            "semantic": sum(
                oracles.cross_entropy(ops.convert_to_numpy(model.classifier(side)), labels, 0)
                for side in (image, recipe)
            ),
        }
    elif name == "adamine":
        same = np.eye(8, dtype=bool)
        instance = []
        for a, b in ((image, recipe), (recipe, image)):
            between = 1.0 - _cosines(a, b)
            terms = np.maximum(np.diag(between)[:, None] - between + 0.3, 0)[~same]
            instance.append(terms.sum() / (terms > 0).sum())
        expected = {
            "instance": sum(instance),
            "semantic": oracles.adaptive_class_triplets(image, recipe, labels, 0, 0.3)
            + oracles.adaptive_class_triplets(recipe, image, labels, 0, 0.3),
        }
    else:
        expected = {"contrastive": oracles.symmetric_cross_entropy(_cosines(image, recipe) / 0.07)}
    assert named == pytest.approx(expected, rel=1e-3)


def test_jne_weights_make_one(tiny_spec):
    assert dict(make("jne", tiny_spec, compiled=False).phases[-1].weights) == {"pairs": 0.98, "semantic": 0.02}


# CCA


def _related(rng, n=400):
    """Two views of two hidden signals, one strong and one weak, among noise; means far from 0."""
    hidden = rng.normal(size=(n, 2))
    x = np.c_[hidden[:, 0] + 0.1 * rng.normal(size=n), 5 * rng.normal(size=(n, 2)), hidden[:, 1]] + [3, 0, -7, 1]
    y = np.c_[rng.normal(size=n), 2 * hidden[:, 1] + 2 * rng.normal(size=n), -hidden[:, 0]] + [0, 50, 4]
    return x.astype("float32"), y.astype("float32")


def test_canonical_projections_match_the_definition(rng):
    """The best correlation over all directions is found; the second is uncorrelated with the first."""
    x, y = _related(rng)
    xc, yc = x - x.mean(0), y - y.mean(0)
    n = len(x)
    a, b, correlations = (
        ops.convert_to_numpy(m)
        for m in canonical.canonical_projections(xc.T @ xc / n, yc.T @ yc / n, xc.T @ yc / n, 2, 1e-6)
    )
    u, v = xc @ a, yc @ b
    np.testing.assert_allclose(np.cov(u.T, bias=True), np.eye(2), atol=2e-3)
    np.testing.assert_allclose(np.cov(v.T, bias=True), np.eye(2), atol=2e-3)
    measured = np.array([[np.corrcoef(u[:, i], v[:, j])[0, 1] for j in range(2)] for i in range(2)])
    np.testing.assert_allclose(measured, np.diag(correlations), atol=2e-3)
    assert correlations[0] > 0.98 > 0.8 > correlations[1] > 0.5
    # No direction does better: the eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx are the squared correlations.
    cov = np.cov(np.c_[x, y].T.astype(float), bias=True)
    xx, xy, yy = cov[:4, :4], cov[:4, 4:], cov[4:, 4:]
    eigenvalues = np.linalg.eigvals(np.linalg.solve(xx, xy) @ np.linalg.solve(yy, xy.T))
    np.testing.assert_allclose(np.sqrt(np.sort(eigenvalues.real)[::-1][:2]), correlations, atol=2e-3)


def test_moments_of_batches_are_moments_of_all(rng):
    x, y = _related(rng)
    x += 1000  # far from 0: plain sums of squares would lose the covariance in single precision
    moments = canonical.Moments(4, 3)
    moments.build()
    for round_ in range(2):
        moments.reset()
        for start in (0, 64, 192):
            stop = {0: 64, 64: 192, 192: 400}[start]
            moments(ops.convert_to_tensor(x[start:stop]), ops.convert_to_tensor(y[start:stop]))
        means = [ops.convert_to_numpy(m) for m in moments.means()]
        covariances = [ops.convert_to_numpy(m) for m in moments.covariances()]
        cov = np.cov(np.c_[x, y].T.astype(float), bias=True)
        np.testing.assert_allclose(means[0], x.mean(0, dtype=float), rtol=1e-5, err_msg=str(round_))
        np.testing.assert_allclose(means[1], y.mean(0, dtype=float), rtol=1e-4)
        for got, expected in zip(covariances, (cov[:4, :4], cov[4:, 4:], cov[:4, 4:]), strict=True):
            np.testing.assert_allclose(got, expected, atol=2e-2)


def test_cca_is_solved_by_one_epoch_of_fit(tiny_spec, tiny_batch):
    """After it, paired embeddings are nearer than they were, and are those of the closed form."""
    model, ridge = make("cca", tiny_spec, overrides=("ridge=0.1",)), 0.1
    before = model.test_on_batch(tiny_batch, return_dict=True)["misfit"]
    parts = [{key: value[rows] for key, value in tiny_batch.items()} for rows in (slice(0, 3), slice(3, 8))]
    model.fit(((part,) for part in parts), epochs=1, steps_per_epoch=2, verbose=0)
    assert model.test_on_batch(tiny_batch, return_dict=True)["misfit"] < 0.5 * before
    x, y = (
        ops.convert_to_numpy(network({name: tiny_batch[name] for name in network.input}, training=False))
        for network in model.features.values()
    )
    xc, yc = x - x.mean(0), y - y.mean(0)
    a, b, correlations = canonical.canonical_projections(xc.T @ xc / 8, yc.T @ yc / 8, xc.T @ yc / 8, 4, ridge)
    got = model.predict(tiny_batch, verbose=0)
    for side, features, matrix in (("image", xc, a), ("recipe", yc, b)):
        expected = features @ ops.convert_to_numpy(matrix * correlations)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        signs = np.sign(np.sum(expected * got[side], axis=0))  # a direction and its opposite are one solution
        np.testing.assert_allclose(got[side], expected * signs, atol=5e-2)


def test_cca_adds_the_epochs_of_one_training_up(tiny_spec, tiny_batch):
    """Two epochs that show half each are one that shows all; a new training starts anew."""
    model, other = make("cca", tiny_spec), make("cca", tiny_spec)
    other.set_weights(model.get_weights())
    halves = [{key: value[rows] for key, value in tiny_batch.items()} for rows in (slice(0, 4), slice(4, 8))]
    for _ in range(2):
        model.fit(((half,) for half in halves), epochs=2, steps_per_epoch=1, verbose=0)
        assert float(model.moments.count) == 8
    other.fit(((half,) for half in halves), epochs=1, steps_per_epoch=2, verbose=0)
    for side, got in model.predict(tiny_batch, verbose=0).items():
        np.testing.assert_allclose(got, other.predict(tiny_batch, verbose=0)[side], atol=1e-4)


def test_cca_of_bags_of_words_finds_what_shares_a_word(tiny_spec, rng):
    """A photo's colour is that of the recipe's one telling word, among others that tell nothing."""
    n, spec = 48, dataclasses.replace(tiny_spec, title_words=0)
    colour = np.arange(n) % 3
    photos = np.zeros((n, 32, 32, 3), "float32")
    photos[np.arange(n), :, :, colour] = rng.uniform(150, 250, (n, 1, 1))
    ingredients = rng.integers(5, 30, (n, 4, 3)).astype("int32")
    ingredients[:, 1, 2] = colour + 2
    instructions = rng.integers(5, 30, (n, 3, 5)).astype("int32")
    batch = {
        schema.IMAGE: photos,
        schema.INGREDIENTS: ingredients,
        schema.INSTRUCTIONS: instructions,
        schema.CLASS_ID: np.zeros(n, "int32"),
    }
    model = make("cca", spec, overrides=("bag_words=4096", "embedding_size=2"))
    (bag,) = model.bags
    assert bag.words == spec.word_vocabulary
    bag.adapt([batch])
    model.fit(batch, batch_size=n, epochs=1, verbose=0)
    found = model.predict(batch, verbose=0)
    nearest = np.argmax(found["image"] @ found["recipe"].T, axis=1)
    assert np.mean(colour[nearest] == colour) > 0.9


def test_cca_errors(tiny_spec):
    named = dataclasses.replace(tiny_spec, ingredient_unit="name", ingredient_words=1)
    with pytest.raises(ValueError, match="bag_words: expected a spec that reads words"):
        make("cca", named, compiled=False, overrides=("bag_words=20",))
    with pytest.raises(ValueError, match="embedding_size: expected at most 8, the narrower side's"):
        make("cca", tiny_spec, compiled=False, overrides=("embedding_size=9",))
    with pytest.raises(ValueError, match="ridge: expected a positive number"):
        CCAConfig(ridge=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jne", "adamine", "two_tower"])
def test_overfits_a_handful_of_pairs(name, tiny_spec, tiny_batch):
    keras.utils.set_random_seed(1)
    model = make(name, tiny_spec, compiled=False)
    model.compile()
    for _ in range(200):
        model.train_on_batch(tiny_batch)
    embeddings = model.predict(tiny_batch, verbose=0)
    cosines = embeddings["image"] @ embeddings["recipe"].T
    assert np.array_equal(cosines.argmax(axis=1), np.arange(8))
    assert np.array_equal(cosines.argmax(axis=0), np.arange(8))
