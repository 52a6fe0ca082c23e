"""Miners against loops, with draws that are passed; α-sampling's Eq. 1 to 3 by counting."""

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from keras import ops

from kfood import miners
from kfood.losses import pairs

LABELS = np.array([1, 0, 2, 1, 0, 2, 1, 3], "int32")  # class 3 has no positive


@pytest.fixture
def embeddings(rng):
    vectors = rng.normal(size=(len(LABELS), 6))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


@pytest.fixture
def far(embeddings):
    return np.array([[oracles.euclidean(a, b) for b in embeddings] for a in embeddings])


def numbers(tuples):
    return [ops.convert_to_numpy(part) for part in tuples]


def pick(items, weights, uniform):
    """The item in whose share of [0, 1) the number lies."""
    ends = np.cumsum(weights) / np.sum(weights)
    return items[int(np.sum(ends <= uniform))]


def test_tuples_are_of_two_classes(embeddings):
    for name in miners.MINERS:
        anchor, positive, negative, weight = numbers(miners.by_name(name)(embeddings, LABELS))
        assert anchor.tolist() == list(range(8))
        assert weight.tolist() == [1] * 7 + [0]
        for a in range(7):
            assert positive[a] in oracles.positives_of(LABELS, a)
            assert negative[a] in oracles.negatives_of(LABELS, a)
    with pytest.raises(ValueError, match=r"miner: expected one of.*received 'easy'"):
        miners.by_name("easy")


def test_random(embeddings, rng):
    draw = rng.uniform(size=(2, 8)).astype("float32")
    _, positive, negative, _ = numbers(miners.random(embeddings, LABELS, draw))
    for a in range(7):
        near, other = oracles.positives_of(LABELS, a), oracles.negatives_of(LABELS, a)
        assert positive[a] == pick(near, np.ones(len(near)), draw[0, a])
        assert negative[a] == pick(other, np.ones(len(other)), draw[1, a])


def test_a_draw_near_one_stays_inside(embeddings):
    draw = np.full((2, 8), np.nextafter(np.float32(1), np.float32(0)), "float32")
    _, positive, negative, _ = numbers(miners.random(embeddings, LABELS, draw))
    for a in range(7):
        assert (positive[a], negative[a]) == (
            oracles.positives_of(LABELS, a)[-1],
            oracles.negatives_of(LABELS, a)[-1],
        )


def test_hard(embeddings, far):
    _, positive, negative, _ = numbers(miners.hard(embeddings, LABELS))
    for a in range(7):
        assert positive[a] == max(oracles.positives_of(LABELS, a), key=lambda i, a=a: far[a, i])
        assert negative[a] == min(oracles.negatives_of(LABELS, a), key=lambda i, a=a: far[a, i])


def test_semi_hard(embeddings, far, rng):
    fallbacks = 0
    for _ in range(5):
        draw = rng.uniform(size=(1, 8)).astype("float32")
        _, positive, negative, _ = numbers(miners.semi_hard(embeddings, LABELS, draw))
        for a in range(7):
            near = oracles.positives_of(LABELS, a)
            assert positive[a] == pick(near, np.ones(len(near)), draw[0, a])
            beyond = [n for n in oracles.negatives_of(LABELS, a) if far[a, n] > far[a, positive[a]]]
            fallbacks += not beyond
            if beyond:
                assert negative[a] == min(beyond, key=lambda i, a=a: far[a, i])
            else:
                assert negative[a] == max(oracles.negatives_of(LABELS, a), key=lambda i, a=a: far[a, i])
    assert 0 < fallbacks < 35


def test_soft_hard(embeddings, far, rng):
    draw = rng.uniform(size=(2, 8)).astype("float32")
    _, positive, negative, _ = numbers(miners.soft_hard(embeddings, LABELS, draw))
    narrowed = 0
    for a in range(7):
        near, other = oracles.positives_of(LABELS, a), oracles.negatives_of(LABELS, a)
        hard_near = [p for p in near if far[a, p] > min(far[a, n] for n in other)] or near
        hard_other = [n for n in other if far[a, n] < max(far[a, p] for p in near)] or other
        narrowed += len(hard_other) < len(other)
        assert positive[a] == pick(hard_near, np.ones(len(hard_near)), draw[0, a])
        assert negative[a] == pick(hard_other, np.ones(len(hard_other)), draw[1, a])
    assert narrowed


def test_distance_weighted(rng):
    """One anchor, seven negatives from near to opposite: how often each is drawn."""
    angles = np.array([0.0, 0.1, 0.2, 0.5, 0.9, 1.3, 1.8, 2.4, np.pi])
    vectors = np.zeros((9, 6), "float32")
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1], "int32")
    cutoff, size = 0.5, 6

    def inverse_density(d):
        return 1.0 / (d ** (size - 2) * (1.0 - d**2 / 4.0) ** ((size - 3) / 2))

    apart = [oracles.euclidean(vectors[0], vectors[i]) for i in range(2, 8)]
    weights = [min(inverse_density(d), inverse_density(cutoff)) for d in apart] + [inverse_density(cutoff)]
    assert weights[0] == weights[-1] == max(weights) > 5 * min(weights)  # bounded at both ends
    counts = np.zeros(9)
    miner = tf.function(miners.distance_weighted)
    for uniform in (np.arange(400) + 0.5) / 400:  # evenly spaced: frequencies are the probabilities
        draw = np.full((2, 9), uniform, "float32")
        counts[int(miner(vectors, labels, tf.constant(draw)).negative[0])] += 1
    np.testing.assert_allclose(counts[2:] / counts.sum(), np.array(weights) / np.sum(weights), atol=0.005)
    assert counts[:2].tolist() == [0, 0]


def test_seeds(embeddings):
    def draw(seed):
        return np.concatenate(numbers(miners.random(embeddings, LABELS, keras.random.SeedGenerator(seed)))[1:3])

    assert draw(1).tolist() == draw(1).tolist() != draw(2).tolist()
    generator = keras.random.SeedGenerator(1)
    first, second = (numbers(miners.random(embeddings, LABELS, generator))[2] for _ in range(2))
    assert first.tolist() != second.tolist()


def test_miners_run_in_a_graph_of_any_batch(embeddings):
    for miner in miners.MINERS.values():
        step = tf.function(
            lambda e, y, miner=miner: miners.alpha_sampling(miner(e, y), e, 0.3),
            input_signature=[tf.TensorSpec([None, 6]), tf.TensorSpec([None], "int32")],
        )
        assert step(embeddings, LABELS).negative.shape == (8,)
        assert step(embeddings[:5], LABELS[:5]).negative.shape == (5,)


def _tuples(m, weight=None):
    rows = np.arange(m, dtype="int32")
    weight = np.ones(m, "float32") if weight is None else weight
    return miners.Tuples(rows, rows + m, rows + 2 * m, weight)


def _at_distances(apart):
    """Embeddings of ``_tuples``: positive i at ``apart[i]`` from anchor i."""
    m = len(apart)
    vectors = np.zeros((3 * m, 2), "float32")
    vectors[m : 2 * m, 0] = apart
    return vectors


def test_altered_tuples_are_those_of_equation_1():
    vectors = _at_distances([0.5, 1.0, 0.7, 0.2])
    got = numbers(miners.alpha_sampling(_tuples(4), vectors, 0.5, seed=np.full((2, 4), 0.3, "float32")))
    altered = got[1] == got[0]
    assert altered.sum() == 2
    for i in range(4):
        expected = (i, i, i + 4) if altered[i] else (i, i + 4, i + 8)
        assert tuple(int(part[i]) for part in got[:3]) == expected
    assert got[3].tolist() == [1, 1, 1, 1]


def test_frequency_of_altered_tuples_follows_the_inverse_distance():
    """Eq. 3 over 1e5 draws, and α of all tuples in every one of them."""
    apart = np.array([0.3, 0.9, 1.4, 0.5, 0.7, 1.0, 0.4, 1.2, 0.8, 1.9], "float32")
    vectors, tuples, alpha, draws = _at_distances(apart), _tuples(10), 0.3, 100_000

    @tf.function
    def altered(uniform):
        return tf.vectorized_map(lambda u: miners.alpha_sampling(tuples, vectors, alpha, seed=u).positive < 10, uniform)

    chosen = altered(np.random.default_rng(0).uniform(size=(draws, 2, 10)).astype("float32")).numpy()
    expected = alpha * 10 * (1 / apart) / np.sum(1 / apart)
    assert expected.max() < 1
    np.testing.assert_allclose(chosen.mean(axis=0), expected, atol=4 * np.sqrt(0.25 / draws))
    assert set(chosen.sum(axis=1)) <= {
        2,
        3,
        4,
    }  # 3; a sum that rounding moves across a whole number gives one more or less
    assert chosen.sum() == pytest.approx(alpha * 10 * draws, rel=1e-3)


def test_mirrored_tuples_are_altered_together_as_often_as_any_two():
    """Two items a class: (a, p) stands beside (p, a). In random order of equal chances every six of twenty are as
    likely: both of a pair with probability 6/20 · 5/19 (α² but for the fixed number), and each with α."""
    draws, alpha, n = 20_000, 0.3, 20
    anchor = np.arange(n, dtype="int32")
    tuples = miners.Tuples(anchor, anchor ^ 1, (anchor + 2) % n, np.ones(n, "float32"))
    vectors = np.zeros((n, 2), "float32")
    vectors[::2, 0] = 0.8  # d_ap of every tuple

    @tf.function
    def altered(uniform):
        return tf.vectorized_map(lambda u: miners.alpha_sampling(tuples, vectors, alpha, seed=u).positive, uniform)

    uniform = np.random.default_rng(0).uniform(size=(draws, 2, n)).astype("float32")
    chosen = altered(uniform).numpy() == anchor
    expected = 6 / 20 * 5 / 19
    both = (chosen[:, ::2] & chosen[:, 1::2]).mean(axis=0)
    np.testing.assert_allclose(both, expected, atol=4 * np.sqrt(expected * (1 - expected) / draws))
    np.testing.assert_allclose(chosen.mean(axis=0), alpha, atol=4 * np.sqrt(alpha * (1 - alpha) / draws))
    assert chosen.sum() == pytest.approx(alpha * n * draws, rel=1e-3)


def test_a_pair_altered_both_ways_is_pushed_apart():
    """Of a pair nearer than the margin: pulled by (a, p) and (p, a), at rest with one altered, pushed with both."""
    value = tf.Variable([[0.0, 0.0], [0.5, 0.0], [9.0, 9.0]])
    moves = []
    for altered in ([], [0], [0, 1]):
        positive = np.array([0 if 0 in altered else 1, 1 if 1 in altered else 0], "int32")
        negative = np.array([1 if 0 in altered else 2, 0 if 1 in altered else 2], "int32")
        tuples = miners.Tuples(np.array([0, 1], "int32"), positive, negative, np.ones(2, "float32"))
        with tf.GradientTape() as tape:
            loss = pairs.contrastive(value, np.array([0, 0, 1], "int32"), tuples)
        moves.append(-float(tf.convert_to_tensor(tape.gradient(loss, value))[1, 0]))  # of p, away from a
    np.testing.assert_allclose(moves, [-1.0, 0.0, 1.0], atol=1e-6)


def test_released_choice_is_uniform_and_independent():
    apart = np.array([0.3, 0.9, 1.4, 0.5], "float32")
    draw = np.array([[0.1, 0.3, 0.19, 0.9], [0.5] * 4], "float32")
    weight = np.array([1, 1, 1, 1], "float32")
    got = miners.alpha_sampling(_tuples(4, weight), _at_distances(apart), 0.2, easy_first=False, seed=draw)
    assert (numbers(got)[1] == numbers(got)[0]).tolist() == [True, False, True, False]


def test_tuples_that_do_not_count_are_left_alone_and_a_collapsed_pair_takes_no_more_than_one():
    apart = np.array([0.0, 0.5, 0.5, 0.5, 0.5, 0.1], "float32")
    weight = np.array([1, 1, 1, 1, 1, 0], "float32")
    total = np.zeros(6)
    order = [0.4, 0.1, 0.9, 0.3, 0.2, 0.7]
    for start in np.linspace(0, 0.99, 100):
        draw = np.array([[start] * 6, order], "float32")
        got = numbers(miners.alpha_sampling(_tuples(6, weight), _at_distances(apart), 0.4, seed=draw))
        total += got[1] == got[0]
    # 0.4 of five tuples: two; the coinciding pair always is one, and the others share the second.
    np.testing.assert_allclose(total / 100, [1, 0.25, 0.25, 0.25, 0.25, 0], atol=0.011)


@pytest.mark.parametrize(("alpha", "number"), [(0.0, 0), (1.0, 4)])
def test_none_and_all(alpha, number):
    vectors = _at_distances([0.5, 1.0, 0.7, 0.2])
    got = numbers(miners.alpha_sampling(_tuples(4), vectors, alpha, seed=np.full((2, 4), 0.5, "float32")))
    assert (got[1] == got[0]).sum() == number


def test_one_pair_a_class():
    anchor, positive, negative, weight = numbers(miners.one_pair_a_class(LABELS))
    pairs_of_classes = [(int(a), int(p)) for a, p, w in zip(anchor, positive, weight, strict=True) if w]
    assert pairs_of_classes == [(0, 3), (1, 4), (2, 5)]
    assert [int(n) for n, w in zip(negative, weight, strict=True) if w] == [4, 3, 3]


def test_positives_one_at_a_time():
    steps, item = miners.one_at_a_time(LABELS)
    assert int(steps) == 2
    found = {a: set() for a in range(8)}
    for k in range(1, 3):
        index, exists = (ops.convert_to_numpy(part) for part in item(k))
        for a in range(8):
            if exists[a]:
                assert index[a] not in found[a]
                found[a].add(int(index[a]))
    assert found == {a: set(oracles.positives_of(LABELS, a)) for a in range(8)}
