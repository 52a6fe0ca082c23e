"""Ranks against naive double loops on whole numbers, whose scores every order of summation computes exactly."""

import fractions
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from kfood.evaluation import metrics

DISTANCES = ("euclidean", "cosine", "dot")


def naive_ranks(query, gallery, distance):
    """One loop over queries, one over the gallery, exact arithmetic on Python integers."""

    def farness(q, g):
        dot = sum(int(x) * int(y) for x, y in zip(q, g, strict=True))
        if distance == "dot":
            return -dot
        squares = sum(int(x) ** 2 for x in q), sum(int(y) ** 2 for y in g)
        if distance == "euclidean":
            return squares[0] + squares[1] - 2 * dot
        return -fractions.Fraction(dot * abs(dot), (squares[0] * squares[1]) or 1)  # the sign of the cosine, squared

    ranks = []
    for i, q in enumerate(query):
        rank = 1
        for j, g in enumerate(gallery):
            if j != i and farness(q, g) <= farness(q, gallery[i]):
                rank += 1
        ranks.append(rank)
    return ranks


def float64_ranks(query, gallery, distance):
    """For vectors without ties: all scores in float64."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if distance == "euclidean":
        near = -np.square(query[:, None] - gallery[None]).sum(axis=2)
    else:
        if distance == "cosine":
            query = query / np.linalg.norm(query, axis=1, keepdims=True)
            gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        near = query @ gallery.T
    others = near >= near.diagonal()[:, None]
    np.fill_diagonal(others, True)
    return others.sum(axis=1)


@pytest.fixture
def small_tiles(monkeypatch):
    """Many tiles and strips that do not divide the sizes used below; widths both off and on a multiple of 8."""
    monkeypatch.setattr(metrics, "_TILE_ROWS", 11)
    monkeypatch.setattr(metrics, "_TILE_COLUMNS", 16)
    monkeypatch.setattr(metrics, "_STRIP_ROWS", 4)


def test_ranks_by_hand():
    # Similarities of query i (row) with item j (column); the true pairs lie on the diagonal.
    similarity = np.array([[9, 1, 2, 3], [7, 7, 0, 1], [8, 6, 1, 5], [2, 3, 1, 2]], np.float32)
    query = np.eye(4, 8, dtype=np.float32)
    gallery = np.zeros((4, 8), np.float32)
    gallery[:, :4] = similarity.T
    rows = metrics.ranks(query, gallery, distance="dot")
    columns = metrics.ranks(gallery, query, distance="dot")
    assert rows.dtype == columns.dtype == np.int64
    # Row 1: 7 ties with 7, which counts against it; row 3: behind 3 and tied with 2. Column 2: behind 2, tied with 1.
    assert rows.tolist() == [1, 2, 4, 3]
    assert columns.tolist() == [1, 1, 3, 3]


def test_doctests():
    import doctest

    failed, tried = doctest.testmod(metrics)
    assert (failed, tried > 2) == (0, True)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("count", "width", "high"), [(1, 3, 3), (2, 1, 2), (29, 2, 2), (40, 3, 2), (45, 5, 9)])
def test_ranks_equal_naive_loops(small_tiles, distance, count, width, high):
    generator = np.random.default_rng(count)
    query, gallery = generator.integers(-high, high + 1, (2, count, width))
    expected = naive_ranks(query, gallery, distance)
    backward = naive_ranks(gallery, query, distance)
    if count > 2:
        assert expected != backward  # the case tells rows from columns
    for dtype in (np.float32, np.float64, np.float16, np.int32):
        a, b = query.astype(dtype), gallery.astype(dtype)
        assert metrics.ranks(a, b, distance=distance).tolist() == expected
        assert metrics.ranks(b, a, distance=distance).tolist() == backward
        both = metrics.ranks_both(a, b, distance=distance)
        assert [ranks.tolist() for ranks in both] == [expected, backward]


@pytest.mark.parametrize("distance", ["euclidean", "dot"])
def test_ranks_over_real_tiles(distance):
    # 2,100 pairs need two tiles each way; scores are whole numbers, so NumPy's integers are the oracle.
    query, gallery = np.random.default_rng(0).integers(-3, 4, (2, 2100, 4))
    near = query @ gallery.T * 2
    if distance == "euclidean":
        near -= np.square(query).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)[None]
    forward, backward = metrics.ranks_both(query, gallery, distance=distance)
    np.testing.assert_array_equal(forward, (near >= near.diagonal()[:, None]).sum(axis=1))
    np.testing.assert_array_equal(backward, (near >= near.diagonal()[None]).sum(axis=0))


@pytest.mark.parametrize("distance", DISTANCES)
def test_ranks_equal_float64_on_noise(small_tiles, distance):
    query, gallery = np.random.default_rng(1).standard_normal((2, 300, 33)).astype(np.float32)
    gallery += 0.3 * query + 20  # far from the origin, where float32 products lose most
    forward, backward = metrics.ranks_both(query, gallery, distance=distance)
    np.testing.assert_array_equal(forward, float64_ranks(query, gallery, distance))
    np.testing.assert_array_equal(backward, float64_ranks(gallery, query, distance))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("width", [1, 7, 64, 300, 1024])
@pytest.mark.parametrize("copies", [2, 5])
def test_identical_rows_count_against_the_query_wherever_they_lie(small_tiles, distance, width, copies):
    generator = np.random.default_rng(width)
    unique = 13
    rows = generator.standard_normal((unique, width)).astype(np.float32)
    if distance == "cosine" and width == 1:
        rows = np.abs(rows)  # on a line all positive numbers have cosine 1 with each other
    order = generator.permutation(np.repeat(np.arange(unique), copies))
    ranks = metrics.ranks(rows[order], rows[order], distance=distance)
    expected = unique * copies if distance == "cosine" and width == 1 else copies
    assert set(ranks.tolist()) == {expected}


@pytest.mark.parametrize("width", [3, 64, 1024])
def test_identical_gallery_rows_and_other_queries(small_tiles, width):
    # Every item of the gallery has a twin: a rank is twice what it is without the twins.
    query, gallery = np.random.default_rng(width).standard_normal((2, 40, width)).astype(np.float32)
    twice = np.concatenate([np.arange(40), np.arange(40)[::-1]])
    for distance in DISTANCES:
        ranks = metrics.ranks(query[twice], gallery[twice], distance=distance)
        np.testing.assert_array_equal(ranks, 2 * float64_ranks(query, gallery, distance)[twice])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("value", [0.0, 0.1, -3e5])
def test_a_collapsed_model_gets_the_worst_rank(small_tiles, distance, value):
    vectors = np.full((50, 129), value, np.float32)
    assert metrics.ranks(vectors, vectors, distance=distance).tolist() == [50] * 50


def test_an_almost_collapsed_model_is_still_ranked(small_tiles):
    # All vectors within 1e-4 of one another, which float32 products of them cannot tell apart.
    query, gallery = (1 + 1e-5 * np.random.default_rng(2).standard_normal((2, 60, 16))).astype(np.float32)
    for distance in ("euclidean", "dot"):
        np.testing.assert_array_equal(
            metrics.ranks(query, gallery, distance=distance), float64_ranks(query, gallery, distance)
        )


def test_proportional_vectors_have_equal_cosines(small_tiles):
    generator = np.random.default_rng(9)
    gallery = np.repeat(generator.standard_normal((1, 30)), 40, axis=0) * generator.uniform(0.1, 10, (40, 1))
    query = generator.standard_normal((40, 30))
    for a, b in ((query, gallery), (gallery, query)):
        ranks = metrics.ranks(a.astype(np.float64), b.astype(np.float64), distance="cosine")
        if b is gallery:
            assert ranks.tolist() == [40] * 40
        else:
            assert sorted(ranks.tolist()) == list(range(1, 41))


@pytest.mark.parametrize(("difference", "rank"), [(1e-7, 1), (-1e-7, 2)])
def test_float64_vectors_are_told_apart_beyond_float32(difference, rank):
    # Neighbouring float32 numbers at 1,000 are 6e-5 apart.
    query = np.array([[1000.0, 1000.0], [0.0, 0.0]])
    gallery = np.array([[1001.0, 1000.0], [1000.0, 1001.0 + difference]])
    assert metrics.ranks(query, gallery, distance="euclidean")[0] == rank


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1e-30, 1e30, 3e37])
def test_scale_does_not_matter(distance, scale):
    query, gallery = np.random.default_rng(3).standard_normal((2, 50, 8)).astype(np.float32)
    expected = float64_ranks(query, gallery, distance)
    scaled = (query * np.float32(scale)), (gallery * np.float32(scale))
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(metrics.ranks(*scaled, distance=distance), expected)
    doubles = query.astype(np.float64) * 1e200, gallery.astype(np.float64) * 1e200
    np.testing.assert_array_equal(metrics.ranks(*doubles, distance=distance), expected)


def test_one_far_vector_does_not_blur_the_others():
    query, gallery = np.random.default_rng(4).standard_normal((2, 60, 8)).astype(np.float32)
    gallery[7] *= 1e5
    for distance in DISTANCES:
        np.testing.assert_array_equal(
            metrics.ranks(query, gallery, distance=distance), float64_ranks(query, gallery, distance)
        )


def test_cosine_of_zeros_is_zero():
    query = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    gallery = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    # Query 0: 0 (true), 1, -1; query 1: all 0; query 2: 0, 0.7, -0.7 (true).
    assert metrics.ranks(query, gallery, distance="cosine").tolist() == [2, 3, 3]


def test_inputs_are_not_changed_and_need_not_be_contiguous():
    query, gallery = np.random.default_rng(5).standard_normal((2, 30, 12)).astype(np.float32)
    before = query.copy(), gallery.copy()
    expected = metrics.ranks(query[::2, ::3].copy(), gallery[::2, ::3].copy(), distance="cosine")
    np.testing.assert_array_equal(metrics.ranks(query[::2, ::3], gallery[::2, ::3], distance="cosine"), expected)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(gallery, before[1])


def test_memory_does_not_grow_with_the_square():
    query, gallery = np.random.default_rng(6).standard_normal((2, 8000, 8)).astype(np.float32)
    tracemalloc.start()
    metrics.ranks_both(query, gallery, distance="euclidean")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # one byte for each of 8,000 × 8,000 comparisons alone would be 64e6


GOOD = np.ones((3, 2))


@pytest.mark.parametrize(
    ("query", "gallery", "distance", "message"),
    [
        (GOOD, GOOD, "manhattan", "expected one of euclidean, cosine, dot, received 'manhattan'"),
        (GOOD, np.ones((4, 2)), "dot", r"received \[3, 2\] and \[4, 2\]"),
        (GOOD, np.ones((3, 5)), "dot", r"received \[3, 2\] and \[3, 5\]"),
        (np.ones((0, 2)), np.ones((0, 2)), "dot", r"query: .* received shape \[0, 2\]"),
        (GOOD, np.ones((3, 0)), "dot", r"gallery: .* received shape \[3, 0\]"),
        (np.ones(3), np.ones(3), "dot", r"query: .* received shape \[3\]"),
        (GOOD, [["a", "b"]] * 3, "dot", "gallery: expected real numbers"),
        (GOOD, GOOD * 1j, "dot", "gallery: expected real numbers"),
        (GOOD, [[0, 0], [0, np.nan], [np.nan, 0]], "cosine", "gallery: .* in 2 of 3 rows, the first of them row 1"),
        ([[0, 0], [0, 0], [-np.inf, 0]], GOOD, "euclidean", "query: .* in 1 of 3 rows, the first of them row 2"),
    ],
)
def test_bad_input_is_refused(query, gallery, distance, message):
    for function in (metrics.ranks, metrics.ranks_both):
        with pytest.raises(ValueError, match=message):
            function(query, gallery, distance=distance)


def test_median_rank_and_recall_by_hand():
    ranks = np.array([1, 1, 2, 5, 6, 10, 11, 300])
    assert metrics.median_rank(ranks) == 5.5
    assert metrics.median_rank(ranks[:7]) == 5.0
    assert [metrics.recall_at_k(ranks, k) for k in (1, 2, 5, 10, 300)] == [0.25, 0.375, 0.5, 0.75, 1.0]
    for empty in ([], [[1, 2]]):
        with pytest.raises(ValueError, match=r"Expected ranks of shape \[n\]"):
            metrics.median_rank(empty)
        with pytest.raises(ValueError, match=r"Expected ranks of shape \[n\]"):
            metrics.recall_at_k(empty, 1)
    with pytest.raises(ValueError, match="k: expected an integer of at least 1, received 0"):
        metrics.recall_at_k(ranks, 0)


@pytest.mark.parametrize("distance", DISTANCES)
def test_nearest_places_the_true_item_at_its_rank(distance):
    query, gallery = np.random.default_rng(8).integers(-2, 3, (2, 60, 3)).astype(np.float32)
    gallery[10:20] = gallery[30:40]  # exact twins
    ranks = metrics.ranks(query, gallery, distance=distance)
    for i in range(60):
        order, values = metrics.nearest(query[i], gallery, distance=distance, k=60, true_item=i)
        assert sorted(order) == list(range(60))
        steps = np.diff(values)
        assert (steps >= 0).all() if distance == "euclidean" else (steps <= 0).all()
        if distance != "cosine":  # whose ties between proportional vectors differ in the last bit
            assert order.tolist().index(i) == ranks[i] - 1


def test_nearest_values_and_errors():
    gallery = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    order, values = metrics.nearest([0.0, 0.0], gallery, distance="euclidean", k=2)
    assert (order.tolist(), values.tolist()) == ([2, 1], [0.0, 1.0])
    order, values = metrics.nearest([0.0, 2.0], gallery, distance="cosine", k=9)
    assert (order.tolist(), values.tolist()) == ([1, 0, 2], [1.0, 0.8, 0.0])
    with pytest.raises(ValueError, match="a query of width 2 as the gallery has, received 3"):
        metrics.nearest([0.0, 0.0, 0.0], gallery, distance="dot", k=1)
    with pytest.raises(ValueError, match="k: expected"):
        metrics.nearest([0.0, 0.0], gallery, distance="dot", k=0)


def test_no_framework_is_imported():
    code = (
        "import sys, kfood.evaluation.metrics, kfood.evaluation.protocols, kfood.evaluation.embedding; "
        "import kfood.evaluation.report; "
        "print([name for name in ('tensorflow', 'keras', 'matplotlib', 'jinja2') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
