"""Pair and tuple losses against loops written from the papers and tensorflow-addons' own values; gradients; sizes."""

import json
import pathlib

import numpy as np
import oracles
import pytest
import tensorflow as tf

from kfood import distances, miners
from kfood.losses import metric_learning, pairs, ranking

LABELS = np.array([2, 0, 1, 2, 0, 1, 2, 3, 0, 4], "int32")  # classes of 3, of 2, and of 1; in no order
TUPLES = miners.Tuples(
    np.array([0, 3, 1, 5], "int32"),
    np.array([3, 6, 4, 2], "int32"),
    np.array([1, 2, 9, 7], "int32"),
    np.array([1.0, 1.0, 0.0, 1.0], "float32"),  # the third does not count
)
COUNTED = [0, 1, 3]
POSITIVE_PAIRS = [(int(TUPLES.anchor[i]), int(TUPLES.positive[i])) for i in COUNTED]
NEGATIVE_PAIRS = [(int(TUPLES.anchor[i]), int(TUPLES.negative[i])) for i in COUNTED]


@pytest.fixture
def embeddings(rng):
    vectors = rng.normal(size=(len(LABELS), 4))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def test_contrastive(embeddings):
    everything = oracles.all_pairs(LABELS)
    for chosen, (near, far) in ((None, everything), (TUPLES, (POSITIVE_PAIRS, NEGATIVE_PAIRS))):
        for margin in (0.7, 1.3):
            expected = oracles.contrastive(embeddings, near, far, margin)
            assert float(pairs.contrastive(embeddings, LABELS, chosen, margin=margin)) == pytest.approx(
                expected, rel=1e-5
            )
        expected = oracles.contrastive(embeddings, near, far, 1.0, lambda d: np.log(1 + d))
        assert float(pairs.contrastive(embeddings, LABELS, chosen, gao=True)) == pytest.approx(expected, rel=1e-5)


def test_released_contrastive_takes_the_mean_inside_the_logarithm(embeddings):
    apart = [oracles.euclidean(embeddings[a], embeddings[p]) for a, p in POSITIVE_PAIRS]
    push = oracles.contrastive(embeddings, POSITIVE_PAIRS, NEGATIVE_PAIRS, 1.0) - np.mean(apart)
    got = pairs.contrastive(embeddings, LABELS, TUPLES, gao="as_released")
    assert float(got) == pytest.approx(np.log(1 + np.mean(apart)) + push, rel=1e-5)


def test_margin(embeddings):
    beta = np.array([1.0, 1.2, 0.9, 1.4, 0.8], "float32")
    everything = oracles.all_pairs(LABELS)
    for chosen, (near, far) in ((None, everything), (TUPLES, (POSITIVE_PAIRS, NEGATIVE_PAIRS))):
        for gao, shape in ((False, lambda d: d), (True, lambda d: np.log(1 + d))):
            expected = oracles.margin_loss(embeddings, LABELS, near, far, beta, 0.2, shape)
            got = pairs.margin(embeddings, LABELS, beta, chosen, gao=gao)
            assert float(got) == pytest.approx(expected, rel=1e-5)
    one = oracles.margin_loss(embeddings, LABELS, *everything, [1.1] * 5, 0.3)
    assert float(pairs.margin(embeddings, LABELS, 1.1, margin=0.3)) == pytest.approx(one, rel=1e-5)


def test_released_margin_takes_the_logarithm_of_the_hinge(embeddings):
    pull = [
        np.sqrt(2) * np.log(1 + max(0.0, oracles.euclidean(embeddings[a], embeddings[p]) - 1.2 + 0.2))
        for a, p in POSITIVE_PAIRS
    ]
    push = [max(0.0, 1.2 - oracles.euclidean(embeddings[a], embeddings[n]) + 0.2) for a, n in NEGATIVE_PAIRS]
    terms = np.array([pull, push])
    got = float(pairs.margin(embeddings, LABELS, 1.2, TUPLES, gao="as_released"))
    assert got == pytest.approx(terms.sum() / np.any(terms > 0, axis=0).sum(), rel=1e-5)
    by_terms = float(pairs.margin(embeddings, LABELS, 1.2, TUPLES, gao="as_released", mean="active"))
    assert by_terms == pytest.approx(terms.sum() / (terms > 0).sum(), rel=1e-5)
    assert got > 1.1 * by_terms  # a tuple has both its terms


def test_margin_divides_by_terms_or_by_tuples(embeddings):
    """Wu's divisor, and the released code's, which has it without GAO too."""
    beta = [1.0, 1.2, 0.9, 1.4, 0.8]
    sums, terms, tuples = 0.0, 0, 0
    for (a, p), (_, n) in zip(POSITIVE_PAIRS, NEGATIVE_PAIRS, strict=True):
        own = [max(0.0, 0.5 + oracles.euclidean(embeddings[a], embeddings[p]) - beta[LABELS[a]])]
        own.append(max(0.0, 0.5 + beta[LABELS[a]] - oracles.euclidean(embeddings[a], embeddings[n])))
        sums, terms, tuples = sums + sum(own), terms + sum(x > 0 for x in own), tuples + (max(own) > 0)
    assert terms > tuples > 0

    def value(**options):
        return float(pairs.margin(embeddings, LABELS, np.array(beta, "float32"), TUPLES, margin=0.5, **options))

    assert value() == value(mean="active") == pytest.approx(sums / terms, rel=1e-5)
    assert value(mean="active_tuples") == pytest.approx(sums / tuples, rel=1e-5)
    with pytest.raises(ValueError, match="where no tuples are mined, received 'active_tuples'"):
        pairs.margin(embeddings, LABELS, mean="active_tuples")
    with pytest.raises(ValueError, match="mean: expected None, 'active' or 'active_tuples', received 'all'"):
        pairs.margin(embeddings, LABELS, mean="all")


@pytest.mark.parametrize("mined", [False, True])
def test_means_over_active_terms(embeddings, mined):
    """Sum over the hinges above 0 by their number, where the default has all of them."""

    def apart(i, j):
        return oracles.euclidean(embeddings[i], embeddings[j])

    def active(terms):
        return sum(terms) / max(sum(term > 0 for term in terms), 1)

    everyone = range(len(LABELS))
    near, far = (POSITIVE_PAIRS, NEGATIVE_PAIRS) if mined else oracles.all_pairs(LABELS)
    tuples = TUPLES if mined else None
    if mined:
        triplets = [(a, p, n) for (a, p), (_, n) in zip(near, far, strict=True)]
    else:
        triplets = [(a, p, n) for a, p in near for n in everyone if LABELS[n] != LABELS[a]]
    expected = active([apart(*pair) for pair in near]) + active([max(0.0, 1.4 - apart(*pair)) for pair in far])
    got = pairs.contrastive(embeddings, LABELS, tuples, margin=1.4, mean="active")
    assert float(got) == pytest.approx(expected, rel=1e-5)
    gaps = [apart(a, p) - apart(a, n) for a, p, n in triplets]
    margin = -float(np.mean(gaps))
    terms = [max(0.0, gap + margin) for gap in gaps]
    assert 0 < np.count_nonzero(terms) < len(terms)
    got = pairs.triplet(embeddings, LABELS, tuples, margin=margin, mean="active")
    assert float(got) == pytest.approx(active(terms), rel=1e-5)
    if not mined:
        terms = []
        for a, p in near:
            others = [apart(a, n) for n in everyone if LABELS[n] != LABELS[a]]
            beyond = [d for d in others if d > apart(a, p)]
            terms.append(max(0.0, apart(a, p) - (min(beyond) if beyond else max(others)) + 0.1))
        assert 0 < np.count_nonzero(terms) < len(terms)
        got = pairs.semi_hard_triplet(embeddings, LABELS, margin=0.1, mean="active")
        assert float(got) == pytest.approx(active(terms), rel=1e-5)
    for loss in (pairs.contrastive, pairs.triplet, pairs.semi_hard_triplet):
        with pytest.raises(ValueError, match=r"mean: expected one of \['active', 'all'\], received 'some'"):
            loss(embeddings, LABELS, mean="some")


def test_mean_of_active_triplets_has_its_gradient(embeddings):
    """By central differences: what is counted carries none, what is added up does."""
    points = tf.Variable(embeddings.astype("float64"))

    def value():
        return pairs.triplet(points, LABELS, margin=0.3, mean="active")

    with tf.GradientTape() as tape:
        loss = value()
    slope = tape.gradient(loss, points).numpy()
    step = np.random.default_rng(0).normal(size=slope.shape)
    ends = []
    for sign in (1, -1):
        points.assign(embeddings + sign * 1e-6 * step)
        ends.append(float(value()))
    assert np.sum(slope * step) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_n_pair_of_long_vectors():
    """Dot products far below what stands for the logarithm of 0 in half precision."""
    points = np.array([[200, 0], [-200, 0], [0, 200], [-190, -5]], "float32")
    # Tuples (0, 1) and (2, 3): -38,000 + 40,000 and 0 + 1,000.
    assert float(pairs.n_pair(points, np.array([0, 0, 1, 1]))) == pytest.approx(1500.0)


@pytest.mark.parametrize("name", ["contrastive", "triplet", "margin", "lifted_structure"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_coinciding_embeddings_in_half_precision(name, dtype):
    points = tf.cast(tf.constant([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0], [1.0, 0.0]]), dtype)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = metric_learning.LOSSES[name](points, np.array([0, 0, 1, 1], "int32"))
    assert value.dtype == dtype
    assert np.all(np.isfinite(tf.cast(tape.gradient(value, points), "float32")))


@pytest.mark.parametrize("apart", [1e-4, 3e-4])
def test_a_collapsed_batch_is_pushed_apart(rng, apart):
    """Every pair of unit vectors this close: distances within 0.1 %, and the whole gradient, which is 1 a pair."""
    centre = oracles.unit(rng.normal(size=64))
    points = centre + apart * np.linalg.qr(rng.normal(size=(64, 6)))[0].T / np.sqrt(2)
    labels = np.arange(6)
    exact = np.array([[oracles.euclidean(a, b) for b in points.astype("float32").astype("float64")] for a in points])
    variable = tf.Variable(points.astype("float32"))
    with tf.GradientTape() as tape:
        between = distances.euclidean(variable, variable)
        value = tf.reduce_sum(between[0, 1:2])
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(between.numpy()[off], exact[off], rtol=2e-3)
    assert np.linalg.norm(tape.gradient(value, variable).numpy()[0]) == pytest.approx(1.0, rel=5e-3)
    assert float(pairs.contrastive(variable, labels)) == pytest.approx(1.0 - exact[off].mean(), abs=1e-6)


def test_boundary_of_eq_8_is_in_the_units_of_its_positives(embeddings):
    assert pairs.first_boundary(False) == pairs.first_boundary("as_released") == 1.2
    assert pairs.first_boundary(True) == pytest.approx(np.log(2.2))
    for gao in (False, True, "as_released"):
        got = pairs.margin(embeddings, LABELS, gao=gao)
        assert float(got) == pytest.approx(float(pairs.margin(embeddings, LABELS, pairs.first_boundary(gao), gao=gao)))
    # Where a positive is let go and where a negative is, at m = 0.2: the gap between them closes at β = 0.98.
    for beta, gap in ((np.log(2.2), True), (0.97, True), (0.99, False), (1.2, False)):
        assert (np.exp(beta - 0.2) - 1 < beta + 0.2) == gap


@pytest.mark.parametrize("loss", [pairs.contrastive, pairs.triplet, pairs.semi_hard_triplet])
def test_gao_is_of_distances_not_of_their_squares(loss, embeddings):
    with pytest.raises(ValueError, match=r"^gao: expected False with squared distances, received True\.$"):
        loss(embeddings, LABELS, squared=True, gao=True)


def test_gao_pulls_a_far_positive_less():
    distance = tf.Variable([0.1, 1.0, 3.0])
    with tf.GradientTape() as tape:
        value = pairs.gao(distance)
    np.testing.assert_allclose(tape.gradient(value, distance), [1 / 1.1, 1 / 2, 1 / 4], rtol=1e-6)
    with pytest.raises(ValueError, match=r"gao: expected False, True, received 'as_released'"):
        pairs.triplet(np.eye(3, dtype="float32"), np.array([0, 0, 1]), gao="as_released")


def test_triplet(embeddings):
    got = pairs.triplet(embeddings, LABELS, margin=0.3)
    assert float(got) == pytest.approx(oracles.batch_triplets(embeddings, LABELS, 0.3), rel=1e-5)
    got = pairs.triplet(embeddings, LABELS, margin=0.3, gao=True)
    expected = oracles.batch_triplets(embeddings, LABELS, 0.3, lambda d: np.log(1 + d))
    assert float(got) == pytest.approx(expected, rel=1e-5)
    apart = [
        (oracles.euclidean(embeddings[a], embeddings[p]), oracles.euclidean(embeddings[a], embeddings[n]))
        for (a, p), (_, n) in zip(POSITIVE_PAIRS, NEGATIVE_PAIRS, strict=True)
    ]
    expected = np.mean([max(0.0, p - n + 0.2) for p, n in apart])
    assert float(pairs.triplet(embeddings, LABELS, TUPLES)) == pytest.approx(expected, rel=1e-5)
    expected = np.mean([np.log(1 + np.exp(p**2 - n**2)) for p, n in apart])
    assert float(pairs.triplet(embeddings, LABELS, TUPLES, soft=True, squared=True)) == pytest.approx(
        expected, rel=1e-5
    )


def test_semi_hard_triplet(embeddings):
    expected = oracles.semi_hard_triplets(embeddings, LABELS, 0.4)
    assert float(pairs.semi_hard_triplet(embeddings, LABELS, margin=0.4)) == pytest.approx(expected, rel=1e-5)
    # A negative exactly as far as the positive is not beyond it.
    line = np.array([[0.0], [1.0], [-1.0], [3.0]], "float32")
    labels = np.array([0, 0, 1, 1], "int32")
    expected = oracles.semi_hard_triplets(line, labels, 2.5)
    assert float(pairs.semi_hard_triplet(line, labels, margin=2.5)) == pytest.approx(expected, rel=1e-6)


def test_n_pair(embeddings):
    got = pairs.n_pair(2.0 * embeddings, LABELS)
    assert float(got) == pytest.approx(oracles.n_pair(2.0 * embeddings, LABELS), rel=1e-5)
    # With tuples: positives of the tuples that count, of another class, and the tuple's own negative, each once.
    counted = [tuple(int(rows[i]) for rows in TUPLES[:3]) for i in COUNTED]
    expected = oracles.n_pair_of_tuples(embeddings, LABELS, counted)
    assert float(pairs.n_pair(embeddings, LABELS, TUPLES)) == pytest.approx(expected, rel=1e-5)


def test_lifted_structure(embeddings):
    got = pairs.lifted_structure(embeddings, LABELS, margin=0.8)
    assert float(got) == pytest.approx(oracles.lifted_structure(embeddings, LABELS, 0.8), rel=1e-5)
    expected = oracles.lifted_structure(embeddings, LABELS, 1.0, lambda d: np.log(1 + d))
    assert float(pairs.lifted_structure(embeddings, LABELS, gao=True)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bins", [5, 100])
def test_histogram(embeddings, bins):
    got = pairs.histogram(3.0 * embeddings, LABELS, bins=bins)
    assert float(got) == pytest.approx(oracles.histogram_loss(embeddings, LABELS, bins), rel=1e-4)


def test_circle(embeddings):
    got = pairs.circle(3.0 * embeddings, LABELS, relaxation=0.3, scale=10.0)
    assert float(got) == pytest.approx(oracles.circle_loss(embeddings, LABELS, 0.3, 10.0), rel=1e-5)


def test_multi_similarity(embeddings):
    for tolerance in (0.1, -0.5):
        options = {"alpha": 2.0, "beta": 10.0, "threshold": 0.5, "tolerance": tolerance}
        got = pairs.multi_similarity(3.0 * embeddings, LABELS, **options)
        assert float(got) == pytest.approx(oracles.multi_similarity(embeddings, LABELS, **options), rel=1e-5)


REFERENCE = json.loads((pathlib.Path(__file__).parent / "addons_reference.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["name"])
def test_values_of_tensorflow_addons(case):
    """Triplet (hard, semi-hard) and contrastive as tensorflow-addons 0.23.0 computed them."""
    embeddings = np.array(case["embeddings"], "float32")
    labels = np.array(case["labels"], "int32")
    hard = miners.hard(embeddings, labels)
    compared = 0
    for name, expected in case["values"].items():
        kind, *details = name.split()
        if kind == "triplet_hard":
            got = pairs.triplet(embeddings, labels, hard, margin=float(details[1]), squared=details[0] == "squared-L2")
        elif kind == "triplet_hard_soft":
            got = pairs.triplet(embeddings, labels, hard, soft=True)
        elif kind == "triplet_semihard":
            squared = details[0] == "squared-L2"
            got = pairs.semi_hard_triplet(embeddings, labels, margin=float(details[1]), squared=squared)
        else:  # a value for each pair; ours is the mean over positive ones plus that over negative ones
            first, second = np.triu_indices(len(labels), 1)
            alike = labels[first] == labels[second]
            expected = np.mean(np.array(expected)[alike]) + np.mean(np.array(expected)[~alike])
            got = pairs.contrastive(embeddings, labels, margin=float(details[0]), squared=True)
        assert float(got) == pytest.approx(expected, abs=1e-5, rel=1e-5), name
        compared += 1
    assert compared == 11


LEARNT = {
    "margin": (5,),
    "normalised_softmax": (5, 4),
    "proxy_nca": (5, 4),
    "proxy_anchor": (5, 4),
    "proxy_synthesis": (5, 4),
    "soft_triple": (5, 3, 4),
}
OPTIONS = {
    "proxy_synthesis": {"mixture": (0.3, np.array([1, 2, 0, 4, 5, 3, 7, 8, 9, 0]))},
    "smooth_ap": {"temperature": 0.3},
    "pnp": {"temperature": 0.3},
    "histogram": {"bins": 7},
}


def call(name, embeddings, labels, learnt=None):
    arguments = [] if learnt is None else [learnt]
    return metric_learning.LOSSES[name](embeddings, labels, *arguments, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", [name for name in metric_learning.LOSSES if name != "circle"])
def test_gradients_by_finite_differences(name, rng):
    """In float64, of the embeddings and of what is learnt. (Circle's weights carry none: next test.)"""
    values = [tf.Variable(rng.normal(size=(len(LABELS), 4)))]
    if name in LEARNT:
        values.append(tf.Variable(rng.normal(size=LEARNT[name])))
    with tf.GradientTape() as tape:
        loss = call(name, values[0], LABELS, *values[1:])
    gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, values)]
    for value, gradient in zip(values, gradients, strict=True):
        start, direction = value.numpy(), rng.normal(size=value.shape)
        both = []
        for sign in (1e-6, -1e-6):
            value.assign(start + sign * direction)
            both.append(float(call(name, values[0], LABELS, *values[1:])))
        value.assign(start)
        slope = (both[0] - both[1]) / 2e-6
        assert abs(slope) > 1e-5
        assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-4)


def test_gradient_of_circle_with_its_weights_held(rng):
    value = tf.Variable(rng.normal(size=(len(LABELS), 4)))
    with tf.GradientTape() as tape:
        loss = pairs.circle(value, LABELS, relaxation=0.3, scale=5.0)
    direction = rng.normal(size=value.shape)
    both = [
        oracles.circle_loss(value.numpy() + sign * direction, LABELS, 0.3, 5.0, weights_of=value.numpy())
        for sign in (1e-6, -1e-6)
    ]
    got = np.sum(tape.gradient(loss, value) * direction)
    assert float(got) == pytest.approx((both[0] - both[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("name", metric_learning.LOSSES)
@pytest.mark.parametrize("batch", ["one point", "one class", "no positives", "one item"])
def test_values_and_gradients_stay_finite(name, batch, rng):
    n = 1 if batch == "one item" else 10
    start = np.tile(rng.normal(size=(1, 4)), (n, 1)) if batch == "one point" else rng.normal(size=(n, 4))
    labels = {"one point": LABELS, "one class": np.zeros(10, "int32")}.get(batch)
    if batch == "no positives":
        start, labels = start[:5], np.arange(5, dtype="int32")
    if batch == "one item":
        labels = np.zeros(1, "int32")
    variables = [tf.Variable(start.astype("float32"))]
    if name in LEARNT:
        variables.append(tf.Variable(rng.normal(size=LEARNT[name]).astype("float32")))
    arguments = {**OPTIONS, "proxy_synthesis": {}}.get(name, {})
    with tf.GradientTape() as tape:
        loss = metric_learning.LOSSES[name](variables[0], labels, *variables[1:], **arguments)
    assert np.isfinite(float(loss))
    for gradient in tape.gradient(loss, variables, unconnected_gradients="zero"):
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))


def class_triplets(embeddings, labels):
    """AdaMine's, which is of two modalities elsewhere."""
    return ranking.class_triplets(distances.euclidean(embeddings, embeddings), labels, 0, 0.3)


@pytest.mark.parametrize("name", [*metric_learning.LOSSES, "class_triplets"])
def test_no_tensor_grows_with_the_cube_of_the_batch(name):
    n, losses = 53, {**metric_learning.LOSSES, "class_triplets": class_triplets}

    @tf.function(autograph=False)
    def step(labels, embeddings, *learnt):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            arguments = {} if name == "proxy_synthesis" else OPTIONS.get(name, {})
            loss = losses[name](embeddings, labels, *learnt, **arguments)
        return tape.gradient(loss, embeddings)

    learnt = [tf.TensorSpec(LEARNT[name])] if name in LEARNT else []
    graph = step.get_concrete_function(tf.TensorSpec([n], "int32"), tf.TensorSpec([n, 4]), *learnt).graph
    graphs, sizes = [graph], []
    while graphs:
        one = graphs.pop()
        graphs.extend(inner.graph for inner in one._functions.values() if hasattr(inner, "graph"))
        for operation in one.get_operations():
            for output in operation.outputs:
                if output.shape.rank is not None and None not in output.shape.as_list():
                    sizes.append(int(np.prod(output.shape.as_list() or [1])))
    assert max(sizes) >= n  # sizes were seen
    assert max(sizes) <= 4 * n * n  # proxy synthesis: 2n embeddings with n + 5 proxies
