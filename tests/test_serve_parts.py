"""The service's parts: batches, filters, and an index that takes another's place."""

import asyncio
import concurrent.futures
import shutil
import threading
import time

import numpy as np
import pytest
import serve_kitchen as colours

from kfood.search import ingredients
from kfood.serve import batching
from kfood.serve.gallery import Shelf
from kfood.serve.limits import RefusedError

# Batches


def batches(requests, encode, **options):
    """What requests get (results or errors, in order) and the sizes of the batches."""
    sizes = []

    async def run():
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            batcher = batching.Batcher(encode, pool, observe=sizes.append, **{"rows": 8, "wait": 0.05, **options})
            try:
                return await asyncio.gather(*map(batcher, requests), return_exceptions=True)
            finally:
                await batcher.close()

    return asyncio.run(run()), sizes


def test_what_waits_is_encoded_together():
    results, sizes = batches(range(20), lambda rows: [10 * row for row in rows])
    assert results == [10 * row for row in range(20)]
    assert sizes == [8, 8, 4]


def test_one_row_alone_waits_no_longer_than_said():
    start = time.monotonic()
    assert batches([1], lambda rows: rows, wait=0.01) == ([1], [1])
    assert time.monotonic() - start < 0.5


def test_while_a_batch_is_computed_the_next_gathers():
    def encode(rows):
        time.sleep(0.1)
        return rows

    _, sizes = batches(range(9), encode, rows=4, wait=0)
    assert sum(sizes) == 9
    assert sizes[1:] == [4, 4][: len(sizes) - 1] or sizes == [4, 4, 1]


def test_batches_run_side_by_side():
    together = threading.Barrier(2, timeout=5)
    results, sizes = batches(range(8), lambda rows: together.wait() >= 0 and rows, rows=4, batches=2)
    assert (results, sizes) == (list(range(8)), [4, 4])


def test_errors_are_kept_apart():
    def encode(rows):
        if 3 in rows:
            raise ValueError(f"three among {len(rows)}")
        return [10 * row for row in rows]

    results, _ = batches(range(5), encode)
    assert [str(result) for result in results] == ["0", "10", "20", "three among 1", "40"]
    assert isinstance(results[3], ValueError)


def test_batches_of_one_run_side_by_side():
    together = threading.Barrier(4, timeout=5)
    results, sizes = batches(range(4), lambda rows: [together.wait() >= 0], rows=1)
    assert (results, sizes) == ([True] * 4, [1] * 4)


def test_who_has_left_is_not_encoded():
    seen = []

    async def run():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            batcher = batching.Batcher(lambda rows: seen.append(rows) or rows, pool, rows=8, wait=0.05)
            stays, leaves = asyncio.ensure_future(batcher("stays")), asyncio.ensure_future(batcher("leaves"))
            await asyncio.sleep(0)
            leaves.cancel()
            assert await stays == "stays"
            await batcher.close()

    asyncio.run(run())
    assert seen == [["stays"]] or seen == [["stays", "leaves"]]  # it may have been gathered already


def test_what_waits_at_the_end_is_told():
    async def run():
        release = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            batcher = batching.Batcher(lambda rows: release.wait(5) and rows, pool, rows=2, wait=0)
            waiting = [asyncio.ensure_future(batcher(row)) for row in range(5)]
            await asyncio.sleep(0.1)
            await batcher.close()
            release.set()
            return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)

    results = asyncio.run(run())
    assert [getattr(result, "status", result) for result in results] == [503] * 5
    assert isinstance(results[0], RefusedError)


# Ingredients


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *[("tomato", [0]), ("Tomatoes", [0]), ("egg", [1, 3]), ("EGGS", [1, 3]), ("eggplants", [2])],
        *[("olive oil", [0]), ("oil olive", [0]), ("oil", [0, 1]), ("olives", [0, 1]), ("salt", [0, 3])],
        *[("saffron", []), ("salt pepper", [3]), ("blueberry", [2]), ("berry", []), ("oz", [0])],
    ],
)
def test_which_recipes_have_an_ingredient(name, rows):
    found = ingredients.Ingredients(lines for _, lines in colours.RECIPES.values())
    assert np.flatnonzero(found.having(name)).tolist() == rows


def test_filters_agree_with_loops(rng):
    """Against the plainest reading: some line holds every word of the name."""
    letters = list("abcdefg")
    recipes = [
        [" ".join(rng.choice(letters, rng.integers(1, 4))) for _ in range(rng.integers(0, 4))] for _ in range(200)
    ]
    found = ingredients.Ingredients(recipes)

    def has(recipe, name):
        return any(set(name.split()) <= set(line.split()) for line in recipe)

    for _ in range(50):
        with_names = [" ".join(rng.choice(letters, 2)) for _ in range(rng.integers(0, 3))]
        without = [str(rng.choice(letters)) for _ in range(rng.integers(0, 3))]
        mask = found.among(with_names, without)
        expected = [
            all(has(recipe, name) for name in with_names) and not any(has(recipe, name) for name in without)
            for recipe in recipes
        ]
        assert (mask is None) == (not with_names and not without)
        if mask is not None:
            assert mask.tolist() == expected


def test_names_are_counted_by_recipe():
    found = ingredients.Ingredients([["1 egg", "2 eggs"], ["3 eggs"], ["salt"], [], ["!"]])
    assert found.names[0] == ("eggs", 2)
    assert found.names[1:] == [("salt", 1)]
    with pytest.raises(ValueError, match="expected the name of an ingredient, received '3 %'"):
        found.having("3 %")


def test_shared_goes_both_ways():
    names = [ingredients.words("cherry tomatoes"), ingredients.words("salt")]
    lines = ["2 tomatoes", "1 cup sweet cherry tomatoes", "sea salt", "1 cherry pie", "1/2 cup"]
    assert ingredients.shared(lines, names) == [True, True, True, False, False]
    assert ingredients.shared(lines, [frozenset()]) == [False] * 5


# An index that takes another's place


def opened(folder, encoders=None):
    encoder = colours.Encoder()
    encoders = encoders or [encoder]
    if not (folder / "index").exists():
        colours.build(folder / "index", encoder=encoder)
    return Shelf(folder / "index", lambda precision: encoders[-1])


def test_an_index_takes_anothers_place(tmp_path):
    shelf = opened(tmp_path)
    before = shelf.gallery
    assert not shelf.changed()
    colours.build(tmp_path / "index", ["blue", "red"], overwrite=True)
    assert shelf.changed()
    assert shelf.reload()
    assert not shelf.changed()
    assert len(shelf.gallery.index) == 2
    assert shelf.gallery.row("red/1 ½") == 1
    assert shelf.gallery.ingredients.having("milk").tolist() == [False, False]
    assert shelf.gallery.encoder is before.encoder  # of the same bundle: not opened again
    assert before.index.record(1)["id"] == "green/1 ½"  # a request that began before ends as it began


def test_a_damaged_index_is_not_taken(tmp_path):
    shelf = opened(tmp_path)
    colours.build(tmp_path / "other", ["blue"])
    content = (tmp_path / "other" / "1" / "items.jsonl").read_bytes()
    (tmp_path / "other" / "1" / "items.jsonl").write_bytes(content[:-5])
    shutil.rmtree(tmp_path / "index")
    assert not shelf.changed()  # it is just being replaced
    (tmp_path / "other").rename(tmp_path / "index")
    assert shelf.changed()
    assert not shelf.reload()
    assert "expected" in shelf.problem
    assert "items.jsonl" in shelf.problem
    assert not shelf.changed()  # looked at once
    assert len(shelf.gallery.index) == 5
    colours.build(tmp_path / "index", ["blue"], overwrite=True)
    assert shelf.changed()
    assert shelf.reload()
    assert (shelf.problem, len(shelf.gallery.index)) == ("", 1)


def test_an_index_of_another_bundle_brings_it(tmp_path):
    encoders = [colours.Encoder()]
    shelf = opened(tmp_path, encoders)
    other = colours.Encoder(sha256="cd" * 32)
    colours.build(tmp_path / "index", encoder=other, overwrite=True)
    assert not shelf.reload()  # the bundle on disk is still the old one
    assert "expected the bundle that made the index" in shelf.problem
    encoders.append(other)
    assert shelf.reload()
    assert shelf.gallery.encoder is other


def test_trajectories_are_refused(tmp_path):
    colours.build(tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    shutil.copy(tmp_path / "index" / "1" / "photos.f32", tmp_path / "index" / "1" / "trajectories.f32")
    text = path.read_text().replace('"1/recipes.f32"', '"1/trajectories.f32"').replace('"recipes"', '"trajectories"')
    path.write_text(text)
    with pytest.raises(ValueError, match="expected an index of recipes or photos, received one of trajectories"):
        Shelf(tmp_path / "index", lambda precision: colours.Encoder())
