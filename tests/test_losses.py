"""Distances, miners and losses against loops written from the papers."""

import keras
import numpy as np
import oracles
import pytest
from keras import ops

from kfood import distances, miners
from kfood.losses import adversarial, ranking, reconstruction


def _embeddings(rng, m=5, n=7, d=3):
    return rng.normal(size=(m, d)).astype("float32"), rng.normal(size=(n, d)).astype("float32")


def test_distances_are_anchors_by_gallery(rng):
    a, b = _embeddings(rng)
    expected = np.array([[oracles.euclidean(x, y) for y in b] for x in a])
    np.testing.assert_allclose(distances.euclidean(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(distances.squared_euclidean(a, b), expected**2, rtol=1e-4)
    cosine = np.array([[1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    np.testing.assert_allclose(distances.cosine(a, b), cosine, atol=1e-6)
    np.testing.assert_allclose(distances.negative_dot(a, b), [[-x @ y for y in b] for x in a], atol=1e-6)
    assert ops.shape(distances.euclidean(a, b)) == (5, 7)


def test_distance_names():
    assert distances.by_name("cosine") is distances.cosine
    with pytest.raises(ValueError, match=r"expected one of.*received 'l2'"):
        distances.by_name("l2")


def test_euclidean_gradient_is_finite_where_embeddings_coincide():
    import tensorflow as tf

    point = tf.Variable([[0.6, 0.8]])
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(distances.euclidean(point, tf.constant([[0.6, 0.8]])))
    assert np.all(np.isfinite(tape.gradient(value, point)))


def test_miners_pick_farthest_positive_and_nearest_negative():
    between = np.array([[1.0, 5.0, 2.0, 9.0], [4.0, 3.0, 8.0, 0.5]], "float32")
    positives = np.array([[True, True, False, False], [False, True, False, True]])
    assert ops.convert_to_numpy(miners.farthest_positive(between, positives)).tolist() == [1, 1]
    assert ops.convert_to_numpy(miners.nearest_negative(between, positives)).tolist() == [2, 0]
    same = miners.matches(np.array([3, 4]), np.array([4, 3, 3]))
    assert ops.convert_to_numpy(same).tolist() == [[False, True, True], [True, False, False]]


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_hard_triplet(rng, margin):
    a, b = _embeddings(rng, 6, 6)
    labels = np.array([0, 1, 2, 0, 1, 2])
    positives = labels[:, None] == labels[None, ::-1]  # several positives, none on the diagonal by chance
    got = ranking.hard_triplet(distances.euclidean(a, b), positives, margin)
    assert float(got) == pytest.approx(oracles.hard_triplet(a, b, positives, margin), rel=1e-5)
    turned = ranking.hard_triplet(distances.euclidean(b, a), positives.T, margin)
    assert float(turned) == pytest.approx(oracles.hard_triplet(b, a, positives.T, margin), rel=1e-5)
    assert float(turned) != pytest.approx(float(got), rel=1e-3)  # the direction matters on this input


def test_hard_triplet_without_negatives_is_zero():
    assert float(ranking.hard_triplet(np.ones((2, 2), "float32"), np.ones((2, 2), bool), 0.3)) == 0.0


def test_all_triplets(rng):
    a, b = _embeddings(rng, 5, 5)
    positives = np.eye(5, dtype=bool)[:, [1, 2, 3, 4, 0]]
    got = ranking.all_triplets(distances.euclidean(a, b), positives, 0.3)
    assert float(got) == pytest.approx(oracles.all_triplets(a, b, positives, 0.3), rel=1e-5)


def test_gan_losses(rng):
    real, fake = rng.normal(size=(4, 1)).astype("float32"), rng.normal(size=(6, 1)).astype("float32")
    assert float(adversarial.discriminator(real, fake)) == pytest.approx(oracles.discriminator(real, fake), rel=1e-5)
    minimax = np.mean([np.log(1 - oracles.sigmoid(x)) for x in fake.ravel()])
    assert float(adversarial.generator(fake, "minimax")) == pytest.approx(minimax, rel=1e-5)
    saturating_not = -np.mean([np.log(oracles.sigmoid(x)) for x in fake.ravel()])
    assert float(adversarial.generator(fake, "non_saturating")) == pytest.approx(saturating_not, rel=1e-5)
    with pytest.raises(ValueError, match="expected 'minimax' or 'non_saturating'"):
        adversarial.generator(fake, "hinge")


def test_gan_losses_stay_finite_far_from_zero():
    far = np.array([[1e4], [-1e4]], "float32")
    assert np.isfinite(float(adversarial.discriminator(far, far)))
    assert np.isfinite(float(adversarial.generator(far, "minimax")))


def test_wasserstein_sign():
    real, fake = np.array([[3.0], [1.0]], "float32"), np.array([[0.5], [0.5]], "float32")
    assert float(adversarial.wasserstein(real, fake)) == pytest.approx(1.5)


def test_gradient_penalty_by_finite_differences(rng):
    w1, w2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 1))

    def by_numpy(x):
        return float((np.tanh(x @ w1) @ w2)[0])

    def critic(x):
        return ops.matmul(ops.tanh(ops.matmul(x, w1.astype("float32"))), w2.astype("float32"))

    real, fake = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    mixture = rng.uniform(size=(5, 1))
    expected = 0.0
    for i in range(5):
        point = mixture[i] * real[i] + (1 - mixture[i]) * fake[i]
        slopes = [(by_numpy(point + 1e-5 * e) - by_numpy(point - 1e-5 * e)) / 2e-5 for e in np.eye(3)]
        expected += (np.sqrt(sum(s**2 for s in slopes)) - 1) ** 2 / 5
    got = adversarial.gradient_penalty(critic, *(ops.convert_to_tensor(x, "float32") for x in (real, fake, mixture)))
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_gradient_penalty_trains_the_critic(rng):
    """Its gradient with respect to the critic's variables, by finite differences."""
    from kfood import backend

    critic = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    points = [ops.convert_to_tensor(rng.normal(size=(4, 3)), "float32") for _ in range(2)]
    mixture = ops.convert_to_tensor(rng.uniform(size=(4, 1)), "float32")

    def penalty():
        value = adversarial.gradient_penalty(critic, *points, mixture)
        return value, value

    _, gradients = backend.gradients(penalty, critic.trainable_variables)
    kernel = critic.layers[0].kernel
    start, step = kernel.numpy(), 1e-2
    for index in ((0, 0), (2, 3)):
        values = []
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            kernel.assign(moved)
            values.append(float(penalty()[0]))
        kernel.assign(start)
        assert float(gradients[0][index]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2, abs=1e-4)


def test_classes_ignore_the_background(rng):
    logits = rng.normal(size=(6, 4)).astype("float32")
    labels = np.array([0, 3, 1, 0, 2, 1], "int32")
    assert float(reconstruction.classes(logits, labels, 0)) == pytest.approx(
        oracles.cross_entropy(logits, labels, 0), rel=1e-5
    )
    assert float(reconstruction.classes(logits, np.zeros(6, "int32"), 0)) == 0.0


def test_present():
    ids = np.array([[2, 5, 0, 0], [1, 3, 3, 0], [0, 0, 0, 0]], "int32")
    got = ops.convert_to_numpy(reconstruction.present(ids, 4, 2))
    assert got.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_multi_label(rng):
    logits = rng.normal(size=(3, 5)).astype("float32")
    targets = (rng.uniform(size=(3, 5)) < 0.4).astype("float32")
    assert float(reconstruction.multi_label(logits, targets)) == pytest.approx(
        oracles.binary_cross_entropy(logits, targets), rel=1e-5
    )


def test_released_ingredient_loss_is_the_margin_loss_on_a_mistaken_input(rng):
    probabilities = rng.uniform(size=(4, 6)).astype("float32")
    targets = (rng.uniform(size=(4, 6)) < 0.5).astype("float32")
    targets[:, :2] = [[1, 0]] * 4  # both values occur
    targets[1], targets[2] = 0, 1  # no known ingredient; every one
    assert float(reconstruction.multi_label_margin_as_released(probabilities, targets)) == pytest.approx(
        oracles.multi_label_margin(probabilities, targets), rel=1e-5
    )


def test_kl_to_standard_normal(rng):
    mean, log_variance = rng.normal(size=(3, 4)).astype("float32"), rng.normal(size=(3, 4)).astype("float32")
    got = float(reconstruction.kl_to_standard_normal(mean, log_variance))
    assert got == pytest.approx(oracles.kl_to_standard_normal(mean, log_variance), rel=1e-5)
    assert float(reconstruction.kl_to_standard_normal(np.zeros((2, 2)), np.zeros((2, 2)))) == 0.0
