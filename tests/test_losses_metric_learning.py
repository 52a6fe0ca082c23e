"""Proxy and listwise losses against loops from the papers; every loss as a Keras loss and in a model that learns."""

import keras
import numpy as np
import oracles
import pytest
from keras import ops

from kfood import miners
from kfood.losses import listwise, metric_learning, pairs, proxies

LABELS = np.array([2, 0, 1, 2, 0, 1, 2, 3, 0], "int32")


@pytest.fixture
def embeddings(rng):
    return rng.normal(size=(len(LABELS), 4)).astype("float32")  # of any length: these losses normalise


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(5, 4)).astype("float32")  # of five classes, one of which the batch lacks


def test_normalised_softmax(embeddings, vectors):
    got = proxies.normalised_softmax(embeddings, LABELS, vectors, temperature=0.3)
    assert float(got) == pytest.approx(oracles.normalised_softmax(embeddings, LABELS, vectors, 0.3), rel=1e-5)


def test_proxy_nca(embeddings, vectors):
    got = proxies.proxy_nca(embeddings, LABELS, vectors, scale=1.7)
    assert float(got) == pytest.approx(oracles.proxy_nca(embeddings, LABELS, vectors, 1.7), rel=1e-5)


def test_proxy_anchor(embeddings, vectors):
    got = proxies.proxy_anchor(embeddings, LABELS, vectors, scale=7.0, margin=0.2)
    assert float(got) == pytest.approx(oracles.proxy_anchor(embeddings, LABELS, vectors, 7.0, 0.2), rel=1e-5)


def test_soft_triple(embeddings, rng):
    centres = rng.normal(size=(5, 3, 4)).astype("float32")
    options = {"scale": 6.0, "gamma": 0.3, "margin": 0.05, "merging": 0.4}
    got = proxies.soft_triple(embeddings, LABELS, centres, **options)
    assert float(got) == pytest.approx(oracles.soft_triple(embeddings, LABELS, centres, **options), rel=1e-5)
    one = proxies.soft_triple(embeddings, LABELS, centres[:, :1], scale=10.0, margin=0.0)
    softmax = oracles.normalised_softmax(embeddings, LABELS, centres[:, 0], 0.1)  # what a single centre comes down to
    assert float(one) == pytest.approx(softmax, rel=1e-5)


@pytest.mark.parametrize("base", ["normalised_softmax", "proxy_nca", "proxy_anchor"])
def test_proxy_synthesis(embeddings, vectors, base):
    partner = np.array([1, 2, 0, 4, 5, 3, 7, 8, 6])
    unit_items = np.array([oracles.unit(x) for x in embeddings])
    unit_proxies = np.array([oracles.unit(x) for x in vectors])
    items, classes, labels = list(unit_items), list(unit_proxies), list(LABELS)
    for i, j in enumerate(partner):
        items.append(0.3 * unit_items[i] + 0.7 * unit_items[j])
        classes.append(0.3 * unit_proxies[LABELS[i]] + 0.7 * unit_proxies[LABELS[j]])
        labels.append(len(vectors) + i)
    oracle, options = {
        "normalised_softmax": (oracles.normalised_softmax, (0.2,)),
        "proxy_nca": (oracles.proxy_nca, (3.0,)),
        "proxy_anchor": (oracles.proxy_anchor, (32.0, 0.1)),
    }[base]
    got = proxies.proxy_synthesis(embeddings, LABELS, vectors, base=base, temperature=0.2, mixture=(0.3, partner))
    assert float(got) == pytest.approx(oracle(items, labels, classes, *options), rel=1e-4)


def test_proxy_synthesis_draws_shares_and_partners(embeddings, vectors):
    def value(seed):
        return float(proxies.proxy_synthesis(embeddings, LABELS, vectors, seed=keras.random.SeedGenerator(seed)))

    assert value(1) == value(1) != value(2)
    with pytest.raises(ValueError, match=r"base: expected one of.*received 'soft_triple'"):
        proxies.proxy_synthesis(embeddings, LABELS, vectors, base="soft_triple")


@pytest.mark.parametrize("temperature", [0.01, 0.4])
def test_smooth_ap(embeddings, temperature):
    got = listwise.smooth_ap(embeddings, LABELS, temperature)
    assert float(got) == pytest.approx(oracles.smooth_ap(embeddings, LABELS, temperature), rel=1e-4)


def test_sharp_smooth_ap_is_one_minus_the_average_precision(embeddings):
    ranks = oracles.ranks_of_positives(embeddings, LABELS, lambda q, g: -oracles.cosine(q, g))
    precision = np.mean([oracles.average_precision(r, 99, len(r)) for r in ranks.values()])
    assert float(listwise.smooth_ap(embeddings, LABELS, 1e-6)) == pytest.approx(1 - precision, abs=1e-5)


@pytest.mark.parametrize(
    ("variant", "assign"),
    [
        ("O", lambda r: r),
        ("I_u", lambda r: (1 + r) * np.log(1 + r)),
        ("I_b", lambda r: (3 * r - np.log(1 + 3 * r)) / 9),
        ("D_s", lambda r: np.log(1 + r)),
        ("D_q", lambda r: 1 - 1 / (1 + r) ** 2),
    ],
)
def test_pnp(embeddings, variant, assign):
    got = listwise.pnp(embeddings, LABELS, variant, temperature=0.2, alpha=2.0, b=3.0)
    assert float(got) == pytest.approx(oracles.pnp(embeddings, LABELS, assign, 0.2), rel=1e-4)


def test_pnp_refuses_an_unknown_variant(embeddings):
    with pytest.raises(ValueError, match=r"variant: expected one of.*received 'Dq'"):
        listwise.pnp(embeddings, LABELS, "Dq")


def test_joint_weighs_the_metric_loss():
    assert metric_learning.joint(3.0, 5.0) == pytest.approx(0.1 * 3 + 0.9 * 5)


def _learnt(name):
    if name == "margin":
        return metric_learning.Boundaries(4, initial=1.1)
    if name == "soft_triple":
        return metric_learning.Proxies(4, centres=2)
    return metric_learning.Proxies(4) if name.startswith(("proxy", "normalised")) else None


@pytest.mark.parametrize("name", metric_learning.LOSSES)
def test_every_loss_is_a_keras_loss(name, embeddings):
    learnt = _learnt(name)
    loss = metric_learning.MetricLoss(name, learnt, seed=3)
    arguments = []
    if learnt is not None:
        assert learnt(embeddings) is not None  # builds
        arguments = [learnt.value]
    random = {"seed": keras.random.SeedGenerator(3)} if name == "proxy_synthesis" else {}
    expected = metric_learning.LOSSES[name](embeddings, LABELS, *arguments, **random)
    assert float(loss(LABELS[:, None], embeddings)) == pytest.approx(float(expected), rel=1e-6)
    again = metric_learning.MetricLoss.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def test_keras_loss_mines_and_alters(embeddings):
    def value(**options):
        return float(metric_learning.MetricLoss("contrastive", seed=5, **options)(LABELS, embeddings))

    generator = keras.random.SeedGenerator(5)
    tuples = miners.distance_weighted(embeddings, LABELS, generator)
    assert value(miner="distance_weighted") == pytest.approx(float(pairs.contrastive(embeddings, LABELS, tuples)))
    altered = miners.alpha_sampling(tuples, embeddings, 0.5, seed=generator)
    expected = float(pairs.contrastive(embeddings, LABELS, altered, gao=True))
    assert value(miner="distance_weighted", alpha=0.5, gao=True) == pytest.approx(expected)


def test_keras_loss_names_what_is_wrong(embeddings):
    loss = metric_learning.MetricLoss
    with pytest.raises(ValueError, match=r"loss: expected one of.*received 'arcface'"):
        loss("arcface")
    with pytest.raises(ValueError, match=r"'triplet': expected options of \['gao', 'margin', 'soft', 'squared'\]"):
        loss("triplet", margins=1.0)
    with pytest.raises(ValueError, match="takes no tuples"):
        loss("circle", miner="hard")
    with pytest.raises(ValueError, match="miner: expected one of"):
        loss("triplet", miner="hardest")
    with pytest.raises(ValueError, match="without a miner"):
        loss("triplet", alpha=0.2)
    with pytest.raises(ValueError, match="learns nothing"):
        loss("triplet", metric_learning.Proxies(3))
    with pytest.raises(ValueError, match=r"holds the proxies of 'proxy_nca'"):
        loss("proxy_nca")(LABELS, embeddings)
    with pytest.raises(ValueError, match="no sample_weight"):
        loss("triplet")(LABELS, embeddings, sample_weight=np.ones(len(LABELS)))


@pytest.mark.parametrize("name", ["margin", "proxy_nca", "soft_triple", "triplet"])
def test_any_keras_model_learns_with_it(name, rng, tmp_path):
    """Functional model, compile, fit, save, load: the layer's own weights move too and are kept."""
    labels = np.repeat(np.arange(4, dtype="int32"), 6)
    points = rng.normal(size=(4, 5))[labels] + 0.3 * rng.normal(size=(24, 5))
    inputs = keras.Input((5,))
    outputs = keras.layers.UnitNormalization()(keras.layers.Dense(3)(inputs))
    learnt = _learnt(name)
    model = keras.Model(inputs, outputs if learnt is None else learnt(outputs))
    options = {"miner": "distance_weighted", "alpha": 0.2, "gao": True} if name in ("margin", "triplet") else {}
    model.compile(keras.optimizers.Adam(0.02), metric_learning.MetricLoss(name, learnt, seed=0, **options))
    start = None if learnt is None else ops.convert_to_numpy(learnt.value)
    history = model.fit(points, labels, batch_size=24, epochs=15, verbose=0).history["loss"]
    assert np.mean(history[-3:]) < np.mean(history[:3])
    if learnt is not None:
        assert np.max(np.abs(ops.convert_to_numpy(learnt.value) - start)) > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(points, verbose=0), model.predict(points, verbose=0), rtol=1e-5)
    if learnt is not None:
        np.testing.assert_array_equal(loaded.layers[-1].value, learnt.value)
