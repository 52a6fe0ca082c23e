"""Galleries drawn, and figures averaged, against values worked out by hand."""

import json

import numpy as np
import pytest

from kfood.evaluation import metrics
from kfood.evaluation.protocols import Protocol, evaluate, gallery_sizes, scalability


def test_random_subsets_are_reproducible_and_hold_no_pair_twice():
    protocol = Protocol(30, 10, seed=3)
    drawn = protocol.draw(100)
    assert [part.shape for part in drawn] == [(30,)] * 10
    for part in drawn:
        assert (np.diff(part) > 0).all()
        assert part[0] >= 0
        assert part[-1] < 100
    again = Protocol(30, 10, seed=3).draw(100)
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
    other = Protocol(30, 10, seed=4).draw(100)
    assert not any((a == b).all() for a, b in zip(drawn, other, strict=True))
    assert len({part.tobytes() for part in drawn}) == 10
    assert len(np.unique(np.concatenate(drawn))) < 300  # they overlap: 300 of 100


def test_disjoint_subsets_never_overlap():
    drawn = Protocol(30, 3, sampling="disjoint").draw(97)
    assert len(np.unique(np.concatenate(drawn))) == 90
    assert [part.tolist() for part in drawn] != [list(range(i, i + 30)) for i in (0, 30, 60)]
    assert all((a == b).all() for a, b in zip(drawn, Protocol(30, 3, sampling="disjoint").draw(97), strict=True))


def test_the_whole_split_in_its_order():
    (only,) = Protocol().draw(7)
    assert only.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("arguments", "pairs", "message"),
    [
        ({"gallery": 101}, 100, "gallery: expected at most 100, the pairs of the split, received 101"),
        ({"gallery": 30, "subsets": 4, "sampling": "disjoint"}, 100, "at most 3 disjoint ones of 30 pairs"),
        ({}, 0, "received an empty one"),
        ({"gallery": 0}, 9, "gallery: expected at least 1, received 0"),
        ({"gallery": 2, "subsets": 0}, 9, "subsets: expected at least 1, received 0"),
        ({"subsets": 2}, 9, "subsets: expected 1 where the gallery is the whole split, received 2"),
        ({"rank_origin": 2}, 9, "rank_origin: expected 0 or 1, received 2"),
        ({"sampling": "all"}, 9, "sampling: expected 'random' or 'disjoint', received 'all'"),
        ({"seed": -1}, 9, "seed: expected at least 0"),
    ],
)
def test_impossible_protocols_are_refused(arguments, pairs, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**arguments).draw(pairs)


# On a line: image i at i, recipes at these places. Ranks of the recipes seen from image 0, 1, 2, 3 (ties against):
# |0-0|=0 → 1; |1-3|=2, nearer or as near: 2.2, 0, 2.2 → 4; |2-2.2| → 2 (its twin); |3-2.2|: 3, 2.2 → 3.
IMAGES = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
RECIPES = np.array([[0.0], [3.0], [2.2], [2.2]], np.float32)


def test_figures_by_hand():
    found = evaluate({"image": IMAGES, "recipe": RECIPES}, Protocol(), distance="euclidean")
    assert list(found.directions) == ["image_to_recipe", "recipe_to_image"]
    forward, backward = found.directions["image_to_recipe"], found.directions["recipe_to_image"]
    assert [ranks.tolist() for ranks in forward.ranks] == [[1, 4, 2, 3]]
    # Seen from the recipes: 0 → image 0 first; 3 → images 3, 2, 1; 2.2 → image 2; 2.2 → images 2, 3.
    assert [ranks.tolist() for ranks in backward.ranks] == [[1, 3, 1, 2]]
    assert (forward.median_rank.mean, forward.median_rank.std) == (2.5, 0.0)
    assert (backward.median_rank.mean, backward.median_rank.std) == (1.5, 0.0)
    assert {k: spread.mean for k, spread in forward.recall.items()} == {1: 0.25, 5: 1.0, 10: 1.0}
    assert {k: spread.mean for k, spread in backward.recall.items()} == {1: 0.5, 5: 1.0, 10: 1.0}


def test_rank_origin_moves_the_median_alone():
    arrays = {"image": IMAGES, "recipe": RECIPES}
    one = evaluate(arrays, Protocol(), distance="euclidean").as_json()
    zero = evaluate(arrays, Protocol(rank_origin=0), distance="euclidean").as_json()
    for name, figures in one["directions"].items():
        assert zero["directions"][name]["MedR"]["mean"] == figures["MedR"]["mean"] - 1
        assert zero["directions"][name]["R@1"] == figures["R@1"]
    assert (one["protocol"]["rank_origin"], zero["protocol"]["rank_origin"]) == (1, 0)


def test_mean_and_deviation_over_subsets():
    generator = np.random.default_rng(0)
    arrays = {"image": generator.standard_normal((50, 6))}
    arrays["recipe"] = arrays["image"] + generator.standard_normal((50, 6))
    protocol = Protocol(20, 4, seed=1)
    calls = []
    found = evaluate(arrays, protocol, distance="cosine", progress=lambda *done: calls.append(done))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    medians, recalls = [], []
    for part in protocol.draw(50):
        ranks = metrics.ranks(arrays["recipe"][part], arrays["image"][part], distance="cosine")
        medians.append(np.median(ranks))
        recalls.append(np.mean(ranks <= 5))
    direction = found.directions["recipe_to_image"]
    assert len(set(recalls)) > 1
    assert direction.median_rank.mean == pytest.approx(sum(medians) / 4)
    assert direction.recall[5].mean == pytest.approx(sum(recalls) / 4)
    mean = sum(recalls) / 4
    assert direction.recall[5].std == pytest.approx((sum((value - mean) ** 2 for value in recalls) / 4) ** 0.5)
    content = json.loads(json.dumps(found.as_json()))
    assert content["protocol"] == {
        "gallery": 20,
        "subsets": 4,
        "sampling": "random",
        "seed": 1,
        "distance": "cosine",
        "rank_origin": 1,
        "recall_unit": "fraction",
    }
    assert set(content["directions"]["recipe_to_image"]) == {"MedR", "R@1", "R@5", "R@10"}


def test_every_ordered_pair_of_encoders():
    arrays = {name: np.eye(3) for name in ("image", "recipe", "title")}
    assert set(evaluate(arrays, Protocol(), distance="dot").directions) == {
        "image_to_recipe",
        "recipe_to_image",
        "image_to_title",
        "title_to_image",
        "recipe_to_title",
        "title_to_recipe",
    }


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 2 encoders, received image"):
        evaluate({"image": IMAGES}, Protocol(), distance="dot")
    with pytest.raises(ValueError, match=r"received \{'image': 4, 'recipe': 3\}"):
        evaluate({"image": IMAGES, "recipe": RECIPES[:3]}, Protocol(), distance="dot")


@pytest.mark.parametrize(
    ("pairs", "sizes"),
    [
        (12, [12]),
        (50, [50]),
        (51, [50, 51]),
        (300, [50, 100, 200, 300]),
        (1000, [50, 100, 200, 500, 1000]),
        (51_304, [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 51_304]),
    ],
)
def test_gallery_sizes(pairs, sizes):
    assert gallery_sizes(pairs) == sizes


@pytest.mark.parametrize("origin", [0, 1])
def test_scalability_ranks_inside_each_gallery(origin):
    """Against ranks counted by hand, gallery by gallery; a rank in the whole split is another."""
    generator = np.random.default_rng(0)
    arrays = {"image": generator.standard_normal((130, 3))}
    arrays["recipe"] = arrays["image"] + generator.standard_normal((130, 3))
    protocol = Protocol(20, 4, seed=9, rank_origin=origin, sampling="disjoint")
    calls = []
    found = scalability(arrays, protocol, distance="euclidean", progress=lambda *done: calls.append(done))
    assert [(len(one.galleries), len(one.galleries[0])) for one in found] == [(10, 50), (10, 100), (1, 130)]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    distances = np.linalg.norm(arrays["image"][:, None] - arrays["recipe"][None], axis=2)
    for one in found:
        for name, table in (("image_to_recipe", distances), ("recipe_to_image", distances.T)):
            medians = []
            for gallery in one.galleries:
                assert len(set(gallery)) == len(gallery)
                medians.append(
                    np.median([sum(table[i, j] <= table[i, i] for j in gallery) - 1 + origin for i in gallery])
                )
            direction = one.directions[name]
            assert direction.median_rank.mean == pytest.approx(np.mean(medians))
            assert direction.median_rank.std == pytest.approx(np.std(medians))
    again = scalability(arrays, protocol, distance="euclidean")
    assert again[0].galleries[3].tolist() == found[0].galleries[3].tolist()
    other = scalability(arrays, Protocol(seed=8), distance="euclidean")
    assert other[0].galleries[3].tolist() != found[0].galleries[3].tolist()
