"""Cross-batch memory of labelled photos: each loss and miner with items of earlier batches against loops; alpha_gao."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import others_slow
from test_models_contract import make

from kfood import miners, schema
from kfood.layers.memory import LabelledMemory
from kfood.losses.metric_learning import LOSSES, WITH_OTHERS, MetricLoss

LABELS = np.array([0, 0, 1, 1, 2, 3], "int32")
THEIRS = np.array([0, 1, 2, 2, 9, 0, 1, 2], "int64")


class Loops:
    """A batch and others: who is whose positive and negative, item by item."""

    def __init__(self, rng, size=5):
        def unit(rows):
            vectors = rng.normal(size=(rows, size))
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        self.batch, self.theirs = unit(len(LABELS)), unit(len(THEIRS))
        self.counted = rng.uniform(size=(len(LABELS), len(THEIRS))) < 0.6
        self.anchors = range(len(LABELS))
        gallery, labels = np.concatenate([self.batch, self.theirs]), [*LABELS, *THEIRS]

        def there(a, j):
            return j != a if j < len(LABELS) else self.counted[a, j - len(LABELS)]

        self.d = [[float(np.linalg.norm(self.batch[a] - other)) for other in gallery] for a in self.anchors]
        self.s = [[float(self.batch[a] @ other) for other in gallery] for a in self.anchors]
        items = range(len(gallery))
        self.p = [[j for j in items if there(a, j) and labels[j] == labels[a]] for a in self.anchors]
        self.n = [[j for j in items if there(a, j) and labels[j] != labels[a]] for a in self.anchors]

    def others(self, dtype="float64"):
        return miners.Others(self.theirs.astype(dtype), THEIRS, self.counted)

    def complete(self):
        return [a for a in self.anchors if self.p[a] and self.n[a]]


@pytest.fixture
def loops(rng):
    return Loops(rng)


def contrastive(x):
    pulled = [x.d[a][p] for a in x.anchors for p in x.p[a]]
    return np.mean(pulled) + np.mean([max(0.0, 1.0 - x.d[a][n]) for a in x.anchors for n in x.n[a]])


def margin(x):
    terms = [max(0.0, 0.2 + x.d[a][p] - 1.2) for a in x.anchors for p in x.p[a]]
    terms += [max(0.0, 0.2 + 1.2 - x.d[a][n]) for a in x.anchors for n in x.n[a]]
    return sum(terms) / sum(term > 0 for term in terms)


def triplet(x, active=False):
    terms = [max(0.0, x.d[a][p] - x.d[a][n] + 0.2) for a in x.anchors for p in x.p[a] for n in x.n[a]]
    return sum(terms) / (sum(term > 0 for term in terms) if active else len(terms))


def semi_hard_triplet(x):
    terms = []
    for a in x.anchors:
        for p in x.p[a]:
            beyond = [x.d[a][n] for n in x.n[a] if x.d[a][n] > x.d[a][p]]
            terms.append(max(0.0, x.d[a][p] - (min(beyond) if beyond else max(x.d[a][n] for n in x.n[a])) + 1.0))
    return np.mean(terms)


def histogram(x, bins=100):
    def spread(side):
        pairs = [x.s[a][j] for a in x.anchors for j in side[a]]
        nodes = np.linspace(-1.0, 1.0, bins)
        step = nodes[1] - nodes[0]
        return [np.mean([max(0.0, 1.0 - abs(s - node) / step) for s in pairs]) for node in nodes]

    positive, negative = spread(x.p), spread(x.n)
    return sum(negative[r] * sum(positive[: r + 1]) for r in range(bins))


def circle(x, m=0.4, scale=80.0):
    terms = []
    for a in x.complete():
        near = sum(math.exp(scale * max(0.0, x.s[a][n] + m) * (x.s[a][n] - m)) for n in x.n[a])
        far = sum(math.exp(-scale * max(0.0, 1 + m - x.s[a][p]) * (x.s[a][p] - 1 + m)) for p in x.p[a])
        terms.append(math.log1p(near * far))
    return np.mean(terms)


def multi_similarity(x):
    terms = []
    for a in x.complete():
        least, most = min(x.s[a][p] for p in x.p[a]), max(x.s[a][n] for n in x.n[a])
        pull = sum(math.exp(-2.0 * (x.s[a][p] - 1.0)) for p in x.p[a] if x.s[a][p] < most + 0.1)
        push = sum(math.exp(50.0 * (x.s[a][n] - 1.0)) for n in x.n[a] if x.s[a][n] > least - 0.1)
        terms.append(math.log1p(pull) / 2.0 + math.log1p(push) / 50.0)
    return np.mean(terms)


def _before(x, a, p, others):
    return sum(1.0 / (1.0 + math.exp(-(x.s[a][j] - x.s[a][p]) / 0.01)) for j in others if j != p)


def smooth_ap(x):
    of_anchors = []
    for a in x.anchors:
        ranks = [(1 + _before(x, a, p, x.p[a])) / (1 + _before(x, a, p, x.p[a] + x.n[a])) for p in x.p[a]]
        of_anchors += [1.0 - np.mean(ranks)] if ranks else []
    return np.mean(of_anchors)


def pnp(x):
    of_anchors = [[1.0 - 1.0 / (1.0 + _before(x, a, p, x.n[a])) for p in x.p[a]] for a in x.anchors]
    return np.mean([np.mean(terms) for terms in of_anchors if terms])


ORACLES = {
    oracle.__name__: oracle
    for oracle in (contrastive, triplet, semi_hard_triplet, histogram, margin, circle, multi_similarity, smooth_ap, pnp)
}


def test_every_loss_that_takes_others_is_tried_here():
    assert set(ORACLES) == set(WITH_OTHERS)


@pytest.mark.parametrize("name", ORACLES)
def test_loss_with_others_against_loops(name, loops):
    points = keras.ops.convert_to_tensor(loops.batch)
    found = float(LOSSES[name](points, LABELS, others=loops.others()))
    assert found == pytest.approx(ORACLES[name](loops), rel=1e-4)
    assert found != pytest.approx(float(LOSSES[name](points, LABELS)), rel=1e-3)


@pytest.mark.parametrize("name", ORACLES)
def test_others_that_do_not_count_change_nothing(name, loops):
    nobody = loops.others()._replace(counted=np.zeros_like(loops.counted))
    points = keras.ops.convert_to_tensor(loops.batch)
    found, alone = LOSSES[name](points, LABELS, others=nobody), LOSSES[name](points, LABELS)
    assert float(found) == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in ORACLES if name != "circle"])  # whose weights are held
def test_gradient_with_others_by_finite_differences(name, loops, rng):
    step = rng.normal(size=loops.batch.shape)
    points = tf.Variable(loops.batch)

    def value():
        return LOSSES[name](tf.convert_to_tensor(points), LABELS, others=loops.others())

    with tf.GradientTape() as tape:
        loss = value()
    slope = np.sum(tf.convert_to_tensor(tape.gradient(loss, points)).numpy() * step)
    ends = []
    for sign in (1, -1):
        points.assign(loops.batch + sign * 1e-6 * step)
        ends.append(float(value()))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_means_of_active_triplets_with_others(loops):
    points = keras.ops.convert_to_tensor(loops.batch)
    found = LOSSES["triplet"](points, LABELS, mean="active", others=loops.others())
    assert float(found) == pytest.approx(triplet(loops, active=True), rel=1e-5)


@pytest.mark.parametrize("name", miners.MINERS)
def test_miners_choose_among_batch_and_others(name, loops):
    """Positives and negatives of each anchor, of both kinds; the batch alone where nobody else counts."""
    points, draws = keras.ops.convert_to_tensor(loops.batch), keras.random.SeedGenerator(3)
    chosen = {"positive": set(), "negative": set()}
    for _ in range(40):
        tuples = miners.MINERS[name](points, LABELS, draws, others=loops.others())
        np.testing.assert_array_equal(tuples.anchor, loops.anchors)
        for a in loops.anchors:
            assert float(tuples.weight[a]) == float(a in loops.complete())
            for kind, own in (("positive", loops.p[a]), ("negative", loops.n[a])):
                if a in loops.complete():
                    assert int(getattr(tuples, kind)[a]) in own
                    chosen[kind].add((a, int(getattr(tuples, kind)[a])))
    for kind, own in (("positive", loops.p), ("negative", loops.n)):
        every = {(a, j) for a in loops.complete() for j in own[a]}
        assert any(j >= len(LABELS) for _, j in chosen[kind])
        assert chosen[kind] == every if name == "random" else chosen[kind] <= every
    if name == "hard":
        expected = {(a, max(loops.p[a], key=lambda j: loops.d[a][j])) for a in loops.complete()}
        assert chosen["positive"] == expected
        assert chosen["negative"] == {(a, min(loops.n[a], key=lambda j: loops.d[a][j])) for a in loops.complete()}


def test_tuples_with_others_against_loops(loops):
    """Rows of a tuple count through the batch and the others; α-sampling makes an anchor its own positive."""
    loss = MetricLoss("contrastive", miner="hard", alpha=1.0, seed=0)
    points = keras.ops.convert_to_tensor(loops.batch.astype("float32"))
    altered = float(loss(LABELS, points, others=loops.others("float32")))
    farthest = [max(loops.d[a][p] for p in loops.p[a]) for a in loops.complete()]
    # Of (a, a, p): the distance to itself is held at 1e-6, and p is pushed away.
    assert altered == pytest.approx(np.mean([max(0.0, 1.0 - far) for far in farthest]), rel=1e-4, abs=2e-6)
    plain = float(MetricLoss("contrastive", miner="hard")(LABELS, points, others=loops.others("float32")))
    nearest = [max(0.0, 1.0 - min(loops.d[a][n] for n in loops.n[a])) for a in loops.complete()]
    assert plain == pytest.approx(np.mean(farthest) + np.mean(nearest), rel=1e-4)


def test_own_photos_and_empty_places_do_not_count(rng):
    memory = LabelledMemory(5, 3, warmup=1)
    memory.build()
    first, second = rng.normal(size=(2, 3)).astype("float32"), rng.normal(size=(2, 3)).astype("float32")
    memory.push(first, np.array([7, 8]), np.array([0, 1]))
    assert int(memory.filled) == 0  # the warm-up
    memory.push(second, np.array([3, 2**20], "int32"), np.array([2**40, 5], "int64"))
    others = memory(np.array([0, 5], "int64"))
    np.testing.assert_array_equal(others.counted, [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(others.embeddings[:4], np.concatenate([second, first]))
    np.testing.assert_array_equal(others.labels, [3, 2**20, 7, 8, 0])


def test_the_second_step_sees_the_photos_of_the_first(tiny_spec, tiny_batch):
    """As the loops have it, of the second's embeddings and those that the first left; not on validation."""
    overrides = ("loss=contrastive", "miner=", "alpha=0", "gao=", "memory=20", "memory_warmup=0")
    model = make("alpha_gao", tiny_spec, compiled=False, overrides=overrides)
    model.compile({phase.name: "sgd" for phase in model.phases}, run_eagerly=True)
    ids = np.array([f"photo {i}" for i in range(8)])
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 4], "int32")
    first = {schema.IMAGE: tiny_batch[schema.IMAGE], schema.CLASS_ID: labels, schema.ID: ids}
    model.train_on_batch(first)
    assert int(model.memory.filled) == 8
    rolled = np.roll(np.arange(8), 3)
    numbers = keras.ops.convert_to_numpy(model.memory.photos)[:8]
    second = {schema.IMAGE: tiny_batch[schema.IMAGE][rolled], schema.CLASS_ID: labels[rolled]}
    second[schema.RECIPE_NUMBER] = numbers[rolled] + np.array([0, 0, 1, 1, 0, 0, 0, 1])  # some are other photos
    features = model.embed(second, training=True)
    own = keras.ops.convert_to_numpy(features["embedding"]).astype("float64")
    old = keras.ops.convert_to_numpy(model.memory.embeddings)[:8].astype("float64")
    pulled, pushed = [], []
    for a in range(8):
        for j in range(16):
            same_photo = j == a if j < 8 else second[schema.RECIPE_NUMBER][a] == numbers[j - 8]
            label = labels[rolled][j] if j < 8 else labels[j - 8]
            far = np.linalg.norm(own[a] - (own[j] if j < 8 else old[j - 8]))
            if not same_photo:
                (pulled if label == labels[rolled][a] else pushed).append(far)
    expected = np.mean(pulled) + np.mean(np.maximum(0.0, 1.0 - np.array(pushed)))
    found = model.losses_of("encoders", features, second, training=True)["metric"]
    assert float(found) == pytest.approx(expected, rel=1e-4)
    alone = model.losses_of("encoders", features, second, training=False)["metric"]
    assert abs(float(alone) - float(found)) > 1e-3


@pytest.mark.parametrize("variant", others_slow(["", "triplet", "pnp"], [""]))
def test_a_memory_trains_in_chunks_as_whole(variant, tiny_spec, tiny_batch):
    """With miner, α-sampling, β and GAO too; three steps, of which the first is not remembered."""
    batch = {**tiny_batch, schema.RECIPE_NUMBER: np.arange(8), schema.CLASS_ID: np.repeat(np.arange(4), 2)}
    weights = []
    for chunk in (0, 4):
        overrides = ("memory=12", "memory_warmup=1")
        model = make("alpha_gao", tiny_spec, compiled=False, variant=variant, overrides=overrides)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.compile({phase.name: "sgd" for phase in model.phases}, chunk=chunk, run_eagerly=True)
        logs = [model.train_on_batch(batch, return_dict=True) for _ in range(3)]
        assert all(np.isfinite(step["loss"]) for step in logs)
        weights.append([variable.numpy() for variable in model.weights])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert (int(model.memory.steps), int(model.memory.filled)) == (3, 12)


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - set(WITH_OTHERS)))
def test_losses_without_a_gallery_refuse_a_memory(loss, tiny_spec):
    with pytest.raises(ValueError, match=rf"memory: expected 0, or one of \['circle', .*received 4 with loss '{loss}'"):
        make("alpha_gao", tiny_spec, compiled=False, variant=loss, overrides=("memory=4",))
    with pytest.raises(ValueError, match=rf"others: expected a loss of .*received '{loss}'"):
        MetricLoss(loss, seed=0)(np.zeros(2, "int32"), np.eye(2), others=object())


def test_a_memory_without_its_loss_or_numbers_is_refused(tiny_spec, tiny_batch):
    with pytest.raises(ValueError, match=r"memory: .*received 4 with metric_weight 0"):
        make("alpha_gao", tiny_spec, compiled=False, variant="softmax", overrides=("memory=4",))
    with pytest.raises(ValueError, match="memory_warmup: expected at least 0, received -1"):
        make("alpha_gao", tiny_spec, compiled=False, overrides=("memory_warmup=-1",))
    model = make("alpha_gao", tiny_spec, overrides=("memory=4",))
    with pytest.raises(ValueError, match="memory: expected recipe_number, or id, in a batch"):
        model.train_on_batch({name: tiny_batch[name] for name in (schema.IMAGE, schema.CLASS_ID)})
