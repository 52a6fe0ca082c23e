"""Ranks of positives against naive loops on whole numbers; figures by hand; rounding, ties and blocks."""

import fractions
import math

import keras
import numpy as np
import oracles
import pytest

from kfood.evaluation import positives, retrieval


def exact(distance):
    """Farness of whole-number vectors without rounding."""

    def farness(q, g):
        dot = sum(int(x) * int(y) for x, y in zip(q, g, strict=True))
        if distance == "dot":
            return -dot
        squares = sum(int(x) ** 2 for x in q), sum(int(y) ** 2 for y in g)
        if distance == "euclidean":
            return squares[0] + squares[1] - 2 * dot
        return -fractions.Fraction(dot * abs(dot), (squares[0] * squares[1]) or 1)

    return farness


def by_query(ranks):
    return {int(q): ranks.ranks[ranks.starts[i] : ranks.starts[i + 1]].tolist() for i, q in enumerate(ranks.queries)}


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("rows", [7, 256])
def test_ranks_with_ties(rng, monkeypatch, distance, rows):
    """Small whole numbers: many equal distances, equal vectors, and vectors of zeros."""
    monkeypatch.setattr(positives, "_BLOCK_ROWS", rows)
    vectors = rng.integers(-2, 3, (90, 3)).astype("float32")
    vectors[10:14] = vectors[0]
    vectors[20] = 0
    labels = rng.integers(0, 12, 90)
    labels[0] = 99  # a class of one: nobody's positive
    expected = oracles.ranks_of_positives(vectors, labels, exact(distance))
    assert 0 not in expected
    got = retrieval.rank_positives(vectors, labels, distance=distance)
    assert by_query(got) == expected
    assert got.relevant.tolist() == [len(expected[q]) for q in got.queries]
    cut = retrieval.rank_positives(vectors, labels, distance=distance, within=9)
    assert by_query(cut) == {q: [rank for rank in ranks if rank <= 9] for q, ranks in expected.items()}


@pytest.mark.parametrize("point", [[0.3, 0.1, 0.7], [0.0, 0.0, 0.0]])
def test_a_collapsed_model_is_ranked_last(point):
    labels = np.arange(40) % 4
    ranks = retrieval.rank_positives(np.tile([point], (40, 1)), labels)
    assert set(map(tuple, by_query(ranks).values())) == {tuple(range(31, 40))}
    assert retrieval.recall_at_k(ranks, 8) == 0.0


def test_float32_cannot_tell_but_float64_can(rng):
    """Neighbours that differ by a few units in float32's last place, far from the origin."""
    vectors = 1.0 + 1e-7 * rng.normal(size=(60, 24))
    labels = rng.integers(0, 6, 60)
    expected = oracles.ranks_of_positives(vectors, labels, lambda q, g: float(np.square(q - g).sum()))
    assert by_query(retrieval.rank_positives(vectors, labels, distance="euclidean")) == expected


@pytest.mark.parametrize("within", [3, 40])
def test_sampled_floor(rng, monkeypatch, within):
    """Where few of many ranks matter: a floor from a sample, also one that misleads."""
    monkeypatch.setattr(positives, "_SAMPLE", 200)
    labels = np.concatenate([np.arange(60), np.arange(60), rng.integers(0, 60, 880)])
    centres = rng.normal(size=(60, 8))
    vectors = (centres[labels] + 1.5 * rng.normal(size=(1000, 8))).astype("float32")
    vectors[500::5] = vectors[0]  # every fifth item, which is what a sample sees, is the same
    full = by_query(retrieval.rank_positives(vectors, labels))
    got = by_query(retrieval.rank_positives(vectors, labels, within=within))
    assert got == {q: [rank for rank in ranks if rank <= within] for q, ranks in full.items()}
    assert sum(map(len, got.values())) > 100


def test_figures_by_hand():
    ranks = retrieval.PositiveRanks(
        queries=np.array([4, 0, 2]),
        relevant=np.array([3, 1, 2]),
        starts=np.array([0, 2, 2, 4]),
        ranks=np.array([2, 4, 1, 3], "int32"),
        within=5,
    )
    assert retrieval.recall_at_k(ranks, 1) == pytest.approx(1 / 3)
    assert retrieval.recall_at_k(ranks, 2) == pytest.approx(2 / 3)
    # Query 4: positives at 2 and 4, one beyond 5; query 0: beyond 5; query 2: at 1 and 3.
    at_5 = [(1 / 2 + 2 / 4) / 3, 0, (1 + 2 / 3) / 2]
    assert retrieval.mean_average_precision(ranks, 5) == pytest.approx(np.mean(at_5))
    assert retrieval.mean_average_precision(ranks, 2) == pytest.approx(np.mean([(1 / 2) / 2, 0, 1 / 2]))
    assert retrieval.mean_average_precision(ranks, None) == pytest.approx(np.mean([(1 / 2) / 3, 0, 1 / 2]))
    released = [(1 / 2 + 2 / 4) / 4, 0, (1 + 2 / 3) / 3]
    assert retrieval.mean_average_precision(ranks, 5, as_released=True) == pytest.approx(np.mean(released))
    with pytest.raises(ValueError, match="expected 1 to 5, the ranks kept, received 6"):
        retrieval.mean_average_precision(ranks, 6)


def released_average_precision(ranks, size, k):
    """The release's rows: hits of the first k, each by its precision, over the size of the class."""
    hits = np.isin(np.arange(1, k + 1), ranks)
    return np.sum(np.cumsum(hits) * hits / np.arange(1, k + 1)) / size


def test_figures_as_released(rng):
    """Each query's list cut at its own class's size: by a loop, with classes of 2, 3 and 9; not the largest's size."""
    labels = np.repeat([4, 0, 7], [2, 3, 9])
    vectors = rng.normal(size=(14, 3))
    ranks = oracles.ranks_of_positives(vectors, labels, lambda q, g: -oracles.cosine(q, g))
    sizes = {query: int(np.sum(labels == labels[query])) for query in ranks}
    own = np.mean([released_average_precision(r, sizes[q], sizes[q]) for q, r in ranks.items()])
    largest = np.mean([released_average_precision(r, sizes[q], 9) for q, r in ranks.items()])
    thousand = np.mean([released_average_precision(r, sizes[q], 1000) for q, r in ranks.items()])
    found = retrieval.rank_positives(vectors, labels)
    assert retrieval.mean_average_precision(found, "class", as_released=True) == pytest.approx(own)
    assert retrieval.mean_average_precision(found, 9, as_released=True) == pytest.approx(largest)
    assert abs(own - largest) > 0.01
    undivided = np.mean([released_average_precision(r, sizes[q] - 1, sizes[q]) for q, r in ranks.items()])
    assert retrieval.mean_average_precision(found, "class") == pytest.approx(undivided)
    figures = retrieval.retrieval_metrics(vectors, labels, as_released=True, training_classes=5)
    assert figures["map_at_c_as_released"] == pytest.approx(own)
    assert figures["map_at_1000_as_released"] == pytest.approx(thousand)
    nmi = retrieval.normalised_mutual_information(vectors, labels, clusters=5)
    assert figures["nmi_as_released"] == pytest.approx(nmi)
    assert figures["nmi"] != pytest.approx(nmi)
    with pytest.raises(ValueError, match="clusters: expected from 1 to 14, the items, received 70"):
        retrieval.normalised_mutual_information(vectors, labels, clusters=70)


def test_keys_as_in_the_example():
    keys = positives._keys(np.array([2, 2, 2]), np.float32([0.5, -0.5, -1.0]), np.array([7, 1, 1]))
    assert int(keys[0]) == 2 * 2**55 + 0xBF000000 * 2**23 + 7
    assert keys[0] > keys[1] > keys[2]
    assert np.all(positives._keys(3, np.float32(-9.0), 0) > keys)


def test_bfloat16(rng):
    """As mixed_bfloat16 leaves them: the figures of the same numbers in float32."""
    vectors, labels = keras.ops.cast(rng.normal(size=(30, 4)), "bfloat16"), np.arange(30) % 5
    half = keras.ops.convert_to_numpy(vectors)
    assert half.dtype.name == "bfloat16"
    assert retrieval.retrieval_metrics(half, labels) == retrieval.retrieval_metrics(half.astype("float32"), labels)
    with pytest.raises(ValueError, match="expected real numbers"):
        retrieval.retrieval_metrics(np.zeros((30, 4), [("x", "f4")]), labels)
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype=policy)])
    model.compile("sgd", "mse")
    points = rng.normal(size=(30, 4)).astype("float32")
    callback = retrieval.RetrievalMetrics([(points, labels)], clusters=False)
    history = model.fit(points, np.zeros((30, 3)), verbose=0, callbacks=[callback]).history
    assert 0 <= history["val_recall_at_1"][0] <= 1


def test_retrieval_metrics(rng):
    labels = np.sort(rng.integers(0, 8, 70))
    vectors = (rng.normal(size=(8, 5))[labels] + rng.normal(size=(70, 5))).astype("float32")
    got = retrieval.retrieval_metrics(vectors, labels)
    ranks = oracles.ranks_of_positives(vectors, labels, lambda q, g: -oracles.cosine(q, g))
    largest = max(np.bincount(labels))
    for k in (1, 2, 4, 8):
        assert got[f"recall_at_{k}"] == pytest.approx(np.mean([r[0] <= k for r in ranks.values()]))
    for name, k in (("map_at_1000", 1000), ("map_at_c", largest), ("map_at_r", None)):
        terms = [oracles.average_precision(r, k or len(r), len(r)) for r in ranks.values()]
        assert got[name] == pytest.approx(np.mean(terms)), name
    assert got["recall_at_1"] < got["recall_at_2"] < got["recall_at_4"] < got["recall_at_8"]
    assert got["queries"] == 70
    assert 0 < got["nmi"] < 1
    assert "nmi" not in retrieval.retrieval_metrics(vectors, labels, clusters=False)


def test_class_distances(rng):
    labels = np.array([0, 1, 0, 2, 1, 0, 5])
    vectors = rng.normal(size=(7, 4)) * rng.uniform(0.5, 2, (7, 1))
    within, centres = [], []
    for label in (0, 1, 2, 5):
        items = [oracles.unit(vectors[i]) for i in range(7) if labels[i] == label]
        apart = [1 - a @ b for i, a in enumerate(items) for j, b in enumerate(items) if i != j]
        if apart:
            within.append(np.mean(apart))
        centres.append(oracles.unit(np.mean(items, axis=0)))
    between = [1 - a @ b for i, a in enumerate(centres) for j, b in enumerate(centres) if i != j]
    got = retrieval.class_distances(vectors, labels)
    assert got == pytest.approx((np.mean(within), np.mean(between)))
    intra, inter = retrieval.class_distances(vectors[:1], labels[:1])
    assert math.isnan(intra)
    assert math.isnan(inter)


def test_nmi_of_clusters_that_are_the_classes(rng):
    labels = np.repeat([7, 3, 11], 20)
    vectors = np.eye(3)[[0, 1, 2]].repeat(20, axis=0) + 0.01 * rng.normal(size=(60, 3))
    assert retrieval.normalised_mutual_information(vectors, labels) == pytest.approx(1.0)
    one = retrieval.normalised_mutual_information(vectors, rng.permutation(labels))
    assert one < 0.3


def test_nmi_of_given_clusters(rng, monkeypatch):
    """As many clusters as classes, of normalised vectors; the figure against loops over whatever k-means answers."""
    labels, clusters = rng.integers(3, 9, 60), rng.integers(0, 6, 60)
    clusters[::3] = labels[::3] - 3  # so that they have to do with each other
    vectors = rng.normal(size=(60, 4)) * rng.uniform(0.5, 2, (60, 1))
    seen = []

    def fit_predict(self, points):
        seen.append(self.n_clusters)
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=1e-6)
        return clusters

    monkeypatch.setattr("sklearn.cluster.KMeans.fit_predict", fit_predict)
    expected = oracles.normalised_mutual_information(labels.tolist(), clusters.tolist())
    assert retrieval.normalised_mutual_information(vectors, labels) == pytest.approx(expected, rel=1e-9)
    assert seen == [6]
    retrieval.normalised_mutual_information(vectors, labels, clusters=4)
    assert seen == [6, 4]
    assert 0.2 < expected < 0.8


def test_callback(rng):
    points, labels = rng.normal(size=(30, 4)).astype("float32"), np.arange(30) % 5
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse", run_eagerly=True)
    batches = [(points[i : i + 8], labels[i : i + 8]) for i in range(0, 30, 8)]
    callback = retrieval.RetrievalMetrics(batches, every=2, clusters=False)
    history = model.fit(points, np.zeros((30, 3)), epochs=2, verbose=0, callbacks=[callback]).history
    expected = retrieval.retrieval_metrics(model.predict(points, verbose=0), labels, clusters=False)
    assert len(history["val_map_at_r"]) == 1
    assert {name: values[-1] for name, values in history.items() if name.startswith("val_")} == pytest.approx(
        {f"val_{name}": value for name, value in expected.items()}, rel=1e-5
    )


def test_bad_input_is_named():
    vectors = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"labels: expected int \[4\], one an embedding, received int64 \[3\]"):
        retrieval.rank_positives(vectors, [0, 0, 1])
    with pytest.raises(ValueError, match="expected a class of two items or more"):
        retrieval.rank_positives(vectors, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="expected finite vectors"):
        retrieval.rank_positives(vectors * np.nan, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="expected one of euclidean, cosine, dot, received 'l2'"):
        retrieval.rank_positives(vectors, [0, 0, 1, 1], distance="l2")
    with pytest.raises(ValueError, match="within: expected an integer of at least 1"):
        retrieval.rank_positives(vectors, [0, 0, 1, 1], within=0)


def test_doctests():
    import doctest

    failed, tried = doctest.testmod(positives)
    assert (failed, tried) == (0, 1)
