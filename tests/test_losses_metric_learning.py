"""Proxy and listwise losses against loops from the papers; every loss as a Keras loss and in a model that learns."""

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
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


@pytest.mark.parametrize("concentration", [0.4, 1.0, 3.0])
def test_shares_of_proxy_synthesis_are_of_the_beta_distribution(concentration):
    import scipy.stats

    draw = proxies.symmetric_beta((20_000,), concentration, keras.random.SeedGenerator(1))
    beta = scipy.stats.beta(concentration, concentration)
    assert scipy.stats.kstest(np.asarray(draw, "float64"), beta.cdf).pvalue > 0.01
    assert float(proxies.symmetric_beta((), concentration)) != float(proxies.symmetric_beta((), concentration))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_proxy_synthesis_in_other_precisions(embeddings, vectors, dtype):
    half = [tf.cast(part, dtype) for part in (embeddings, vectors)]
    draws = [keras.random.SeedGenerator(1) for _ in range(2)]
    got = proxies.proxy_synthesis(half[0], LABELS, half[1], seed=draws[0])
    assert got.dtype == dtype
    expected = float(proxies.proxy_synthesis(embeddings, LABELS, vectors, seed=draws[1]))
    assert float(tf.cast(got, "float32")) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["proxy_nca", "proxy_anchor"])
def test_a_label_without_a_proxy_is_not_a_number(name):
    loss = metric_learning.LOSSES[name]
    points = np.eye(3, 4, dtype="float32")
    assert np.isnan(float(loss(points, np.array([0, 1, 7]), np.eye(3, 4, dtype="float32"))))
    assert np.isfinite(float(loss(points, np.array([0, 1, 2]), np.eye(3, 4, dtype="float32"))))


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


def _learnt(name):
    if name == "margin":
        return metric_learning.Boundaries(4, initial=pairs.first_boundary(gao=True))
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
    if learnt is not None:
        with pytest.raises(ValueError, match="learnt: expected the layer that holds the"):
            again(LABELS, embeddings)


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
    valid = r"\['gao', 'margin', 'mean', 'soft', 'squared'\]"
    with pytest.raises(ValueError, match=rf"'triplet': expected options of {valid}, received 'margins'"):
        loss("triplet", margins=1.0)
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


TUPLE_LOSSES = ("contrastive", "triplet", "margin", "n_pair")


@pytest.mark.parametrize("name", sorted(set(metric_learning.LOSSES) - set(TUPLE_LOSSES)))
def test_other_losses_refuse_a_miner(name):
    with pytest.raises(
        ValueError, match=rf"^miner: expected none, for loss '{name}' takes no tuples, received 'hard'\.$"
    ):
        metric_learning.MetricLoss(name, miner="hard")


BETA = [0.9, 1.1, 0.8, 1.0]


def _of_tuples(name, e, tuples, gao):
    """The loss by a loop over tuples (a, p, n) that count."""
    near, far = [(a, p) for a, p, _ in tuples], [(a, n) for a, _, n in tuples]
    shape = {"": lambda d: d, "paper": lambda d: np.log(1 + d)}.get(gao)
    if name == "contrastive":
        if gao == "as_released":
            pull = np.mean([oracles.euclidean(e[a], e[p]) for a, p in near])
            return np.log(1 + pull) + oracles.contrastive(e, near, far, 1.0, lambda d: 0.0)
        return oracles.contrastive(e, near, far, 1.0, shape)
    if name == "margin":
        if gao == "as_released":
            return oracles.released_margin_loss(e, LABELS, near, far, BETA, 0.2)
        return oracles.margin_loss(e, LABELS, near, far, BETA, 0.2, shape)
    if name == "triplet":
        return oracles.triplets_of_tuples(e, tuples, 1.0, shape)
    return oracles.n_pair_of_tuples(e, LABELS, tuples)


FORMS = [
    *((name, gao) for name in ("contrastive", "margin") for gao in ("", "paper", "as_released")),
    *(("triplet", ""), ("triplet", "paper"), ("n_pair", "")),
]


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize(("name", "gao"), FORMS)
@pytest.mark.parametrize("miner", miners.MINERS)
def test_every_miner_with_every_tuple_loss(miner, name, gao, alpha, embeddings):
    """The value by a loop over the tuples that the same seed mines, altered ones among them; a finite gradient."""
    unit = np.array([oracles.unit(x) for x in embeddings], "float32")
    learnt = None
    if name == "margin":
        learnt = metric_learning.Boundaries(4, 0.9)
        learnt.build((None, 4))
        learnt.stored.assign(BETA)
    options = {"gao": True if gao == "paper" else gao} if gao else {}
    if name == "triplet":
        options["margin"] = 1.0  # that no miner's hinges are all at 0
    loss = metric_learning.MetricLoss(name, learnt, miner=miner, alpha=alpha, seed=7, **options)
    variable = tf.Variable(unit)
    with tf.GradientTape() as tape:
        value = loss(LABELS, variable)
    gradient = tf.convert_to_tensor(tape.gradient(value, variable)).numpy()
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient != 0)
    generator = keras.random.SeedGenerator(7)
    tuples = miners.MINERS[miner](unit, LABELS, generator)
    if alpha:
        tuples = miners.alpha_sampling(tuples, unit, alpha, seed=generator)
        assert np.sum(ops.convert_to_numpy(tuples.anchor) == ops.convert_to_numpy(tuples.positive)) in (2, 3)
    rows = zip(*(ops.convert_to_numpy(part) for part in tuples), strict=True)
    counted = [(int(a), int(p), int(n)) for a, p, n, weight in rows if weight]
    assert len(counted) == 8  # one item is alone in its class
    assert float(value) == pytest.approx(_of_tuples(name, unit, counted, gao), rel=1e-5, abs=1e-5)


def _recall_of_free_embeddings(name, gao, alpha=0.0, start=None):
    """R@1 of vectors on a sphere that nothing but a loss moves: 56 classes × 8, two of each a batch, 150 steps."""
    classes, each, size = 56, 8, 128
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes, dtype="int32"), each)
    moved = [tf.Variable(rng.normal(size=(classes * each, size)).astype("float32"))]
    learnt = None
    if name == "margin":
        learnt = metric_learning.Boundaries(classes, pairs.first_boundary(gao))
        learnt.build((None, size))
        if start is not None:
            learnt.stored.assign(np.full(classes, start))
        moved.append(learnt.stored.value)
    loss = metric_learning.MetricLoss(name, learnt, miner="distance_weighted", alpha=alpha, seed=0, gao=gao)
    optimizers = [keras.optimizers.Adam(rate) for rate, _ in zip((1e-2, 5e-4), moved, strict=False)]
    for optimizer, variable in zip(optimizers, moved, strict=True):
        optimizer.build([variable])

    @tf.function
    def step(rows):
        with tf.GradientTape() as tape:
            unit = tf.nn.l2_normalize(tf.gather(moved[0], rows), axis=1)
            value = loss(tf.gather(labels, rows), unit)
        for optimizer, variable, gradient in zip(optimizers, moved, tape.gradient(value, moved), strict=True):
            optimizer.apply_gradients([(tf.convert_to_tensor(gradient), variable)])

    for _ in range(150):
        step(tf.constant(np.concatenate([c * each + rng.permutation(each)[:2] for c in range(classes)]), "int32"))
    unit = np.array([oracles.unit(x) for x in moved[0].numpy()])
    alike = unit @ unit.T
    np.fill_diagonal(alike, -2.0)
    return np.mean(labels[alike.argmax(axis=1)] == labels)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("gao", [False, True, "as_released"])
@pytest.mark.parametrize("name", ["contrastive", "margin"])
def test_every_form_of_gao_learns(name, gao, alpha):
    assert _recall_of_free_embeddings(name, gao, alpha) > 0.8


def test_eq_8_does_not_learn_from_a_boundary_of_distances():
    """Why :func:`pairs.first_boundary` is another for Eq. 8: from 1.2 classes are hardly found at all."""
    assert _recall_of_free_embeddings("margin", True, start=1.2) < 0.2


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
