import dataclasses
import functools
import hashlib
import inspect
import io
import itertools
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import PIL
import pytest
from PIL import Image, features

from kfood.data import kitchen
from kfood.data.kitchen import drawing, looks, recipes
from kfood.data.kitchen.scene import Part, Scene
from kfood.data.kitchen.shapes import evaluate

PAIRS = 300

# Written by the first version of the kitchen: what is measured on the kitchen elsewhere holds as long as these do.
REFERENCE = json.loads(pathlib.Path(__file__).with_name("kitchen_reference.json").read_text())


@pytest.fixture(scope="module")
def made():
    return list(kitchen.generate(PAIRS, 64, seed=5))


def digest(pairs):
    total = hashlib.sha256()
    for split, record in pairs:
        total.update(repr((split, dataclasses.astuple(record))).encode())
    return total.hexdigest()


def pixels(photo):
    return np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"), np.float64)


def draw(scene, *, layout=1, nuisance=2, grain=3, size=96):
    streams = {"layout": layout, "nuisance": nuisance, "grain": grain}
    generators = {name: np.random.default_rng(seed) for name, seed in streams.items()}
    return pixels(drawing.draw(scene, size, **generators))


@functools.cache
def checksums(seed, size, pairs):
    recipes, photos = hashlib.sha256(), hashlib.sha256()
    for _, record in kitchen.generate(pairs, size, seed):
        fields = dataclasses.asdict(record)
        photos.update(fields.pop("photos")[0])
        recipes.update(json.dumps(fields).encode())
    return {"recipes": recipes.hexdigest(), "photos": photos.hexdigest()}


@pytest.mark.parametrize("row", REFERENCE["checksums"], ids=lambda row: f"seed {row['seed']}, {row['size']} pixels")
def test_recipes_are_the_reference_byte_for_byte(row):
    assert checksums(row["seed"], row["size"], row["pairs"])["recipes"] == row["recipes"]


# Pillow 11.0 draws some polygons by a pixel otherwise than 13.0, and JPEG encoders differ.
@pytest.mark.skipif(
    (PIL.__version__, features.version_feature("libjpeg_turbo")) != (REFERENCE["pillow"], REFERENCE["libjpeg_turbo"]),
    reason=f"bytes are those of Pillow {REFERENCE['pillow']} with libjpeg-turbo {REFERENCE['libjpeg_turbo']}",
)
@pytest.mark.parametrize("row", REFERENCE["checksums"], ids=lambda row: f"seed {row['seed']}, {row['size']} pixels")
def test_photos_are_the_reference_byte_for_byte(row):
    assert checksums(row["seed"], row["size"], row["pairs"])["photos"] == row["photos"]


def test_photos_are_the_reference_with_any_pillow():
    expected = REFERENCE["thumbnails"]
    seed, size = expected["seed"], expected["size"]
    made = [record for _, record in kitchen.generate(len(expected["pixels"]), size, seed)]
    assert len({record.class_id for record in made}) == len(kitchen.CLASSES)
    block = size // 4
    means = np.stack([pixels(r.photos[0]).reshape(4, block, 4, block, 3).mean((1, 3)) for r in made])
    written = [np.frombuffer(bytes.fromhex(text), np.uint8).reshape(4, 4, 3) for text in expected["pixels"]]
    # Pillow 11.0 differs from 13.0 by one step of 255 at most.
    np.testing.assert_allclose(means, np.stack(written), atol=2)


def test_same_seed_gives_same_bytes_in_another_process():
    code = (
        "import dataclasses, hashlib; from kfood.data import kitchen; total = hashlib.sha256()\n"
        "for split, record in kitchen.generate(30, 64, seed=3):\n"
        "    total.update(repr((split, dataclasses.astuple(record))).encode())\n"
        "print(total.hexdigest())"
    )
    here = digest(kitchen.generate(30, 64, seed=3))
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == here
    assert digest(kitchen.generate(30, 64, seed=4)) != here


def test_a_pair_does_not_depend_on_how_many_are_asked_for(made):
    assert digest(kitchen.generate(20, 64, seed=5)) == digest(made[:20])


def test_size_changes_the_photo_and_not_the_recipe():
    small, large = (next(iter(kitchen.generate(10, size, seed=5)))[1] for size in (64, 512))
    assert dataclasses.replace(small, photos=[]) == dataclasses.replace(large, photos=[])
    for record, size in ((small, 64), (large, 512)):
        photo = Image.open(io.BytesIO(record.photos[0]))
        assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (size, size))
    # Averaged over blocks, which takes the noise away, it is the same scene.
    coarse, fine = (
        pixels(record.photos[0]).reshape(16, size // 16, 16, size // 16, 3).mean((1, 3))
        for record, size in ((small, 64), (large, 512))
    )
    assert np.abs(fine - coarse).mean() < 0.25 * np.abs(fine - coarse[:, ::-1]).mean()


@pytest.mark.parametrize("pairs", [10, 50])
def test_splits_are_eight_to_one_to_one(pairs):
    splits = [split for split, _ in kitchen.generate(pairs, 64)]
    assert {name: splits.count(name) for name in ("train", "val", "test")} == {
        "train": pairs * 8 // 10,
        "val": pairs // 10,
        "test": pairs // 10,
    }


def test_ids_differ_over_all_splits_and_seeds(made):
    ids = [record.id for _, record in made] + [record.id for _, record in kitchen.generate(10, 64, seed=6)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)


def test_every_kind_and_the_background_occur(made):
    counts = np.bincount([record.class_id for _, record in made], minlength=len(kitchen.CLASSES))
    assert len(counts) == len(kitchen.CLASSES)
    assert kitchen.CLASSES[0] == "background"
    assert len(set(kitchen.CLASSES)) >= 13
    assert counts.min() > 0
    assert counts[0] < 0.1 * PAIRS


def test_the_title_names_the_dish_unless_it_is_background(made):
    for _, record in made:
        names = [kind for kind in kitchen.CLASSES[1:] if kind in record.title.lower()]
        kind = kitchen.CLASSES[record.class_id]
        assert (kind in names) if record.class_id else not names, record.title


def test_every_ingredient_line_starts_with_an_amount_and_names_its_ingredient(made):
    for _, record in made:
        assert len(record.ingredients) == len(record.ingredient_names) >= 4
        assert len(set(record.ingredient_names)) == len(record.ingredient_names)
        for line, name in zip(record.ingredients, record.ingredient_names, strict=True):
            ingredient = recipes.INGREDIENTS[name]
            assert ingredient.name in line or ingredient.plural in line, line
            assert re.match(r"(\d+|\d/\d|\d+ \d/\d) [a-zA-Z]", line), line


def test_instructions_name_ingredients_and_have_no_open_placeholder(made):
    for _, record in made:
        assert 3 <= len(record.instructions) <= 8
        text = " ".join(record.instructions)
        assert "{" not in text + record.title
        assert re.search(r"\d+ minutes", text)
        words = [(recipes.INGREDIENTS[name].name, recipes.INGREDIENTS[name].plural) for name in record.ingredient_names]
        assert sum(one in text or many in text for one, many in words) >= 2


def test_all_sentences_of_all_dishes_can_be_written():
    seen = set()
    for index in range(1500):
        rng = np.random.default_rng((0, index))
        recipe = recipes.compose(rng)
        recipes.instructions(rng, recipe)
        seen.add((recipe.dish, recipe.cooking))
    expected = {(kind, way["cooking"]) for kind, dish in recipes.DISHES.items() for way in dish["cookings"]}
    assert seen == expected


def test_the_tables_agree():
    assert set(recipes.DISHES) == set(drawing.PICTURES)
    visible = set()
    for dish in recipes.DISHES.values():
        assert set(dish["pantry"]) <= set(recipes.INGREDIENTS)
        assert {way["cooking"] for way in dish["cookings"]} <= set(looks.COOKING)
        for role in dish["roles"].values():
            least, most = role["count"]
            assert least <= most <= len(role["choices"])
            assert set(role["choices"]) <= set(recipes.INGREDIENTS)
            visible.update(role["choices"])
    assert len(visible) >= 40
    assert {"salt", "sugar", "water", "olive oil"}.isdisjoint(visible)


@pytest.mark.parametrize("kind", drawing.PICTURES)
def test_every_choice_of_every_dish_can_be_drawn(kind):
    dish = recipes.DISHES[kind]
    cookings = itertools.cycle(way["cooking"] for way in dish["cookings"])
    choices = {role: allowed["choices"] for role, allowed in dish["roles"].items()}
    for turn in range(max(map(len, choices.values()))):
        parts = tuple(Part(role, names[turn % len(names)]) for role, names in choices.items())
        recipe = recipes.Recipe(kind, parts, (), next(cookings), "")
        assert draw(recipe.scene, size=64).std() > 10


@pytest.mark.parametrize("kind", drawing.PICTURES)
def test_the_leading_ingredient_shows_in_the_dish_and_nowhere_else(kind):
    rng = np.random.default_rng(1)
    scene = recipes.compose(rng).scene
    while scene.dish != kind:
        scene = recipes.compose(rng).scene
    scene = dataclasses.replace(scene, cooking="raw")
    role = "main" if scene.of("main") else "piece"
    lead = scene.of(role)[0]
    pair = ("beef", "chicken") if role == "main" else ("blueberry", "banana") if kind != "burger" else ("tomato", "egg")

    def with_lead(name):
        parts = [dataclasses.replace(part, name=name, level=3) if part is lead else part for part in scene.parts]
        return draw(dataclasses.replace(scene, parts=tuple(parts)))

    difference = np.abs(with_lead(pair[0]) - with_lead(pair[1])).mean(2)
    middle, corners = difference[24:72, 24:72], difference[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert middle.mean() > 6
    assert corners.max() < 3


def scene_of(cooking):
    return Scene("skewers", (Part("main", "tofu", 3), Part("piece", "zucchini")), cooking)


def test_cooking_browns_and_chars():
    raw, roasted, charred = (draw(scene_of(way))[24:72, 24:72].mean() for way in ("raw", "roasted", "charred"))
    assert raw > roasted + 3 > charred + 6


def test_more_of_an_ingredient_covers_more_of_the_picture():
    base = Part("base", "coconut milk")
    empty = draw(Scene("soup", (base,), "raw"))

    def covered(level):
        full = draw(Scene("soup", (base, Part("piece", "kidney bean", level)), "raw"))
        return (np.abs(full - empty).max(2) > 60).sum()

    assert 0 < 1.2 * covered(1) < covered(2)
    assert 1.2 * covered(2) < covered(3)


def test_nuisance_changes_what_the_recipe_does_not_tell():
    scene = scene_of("grilled")
    first = draw(scene, nuisance=2)
    border = np.ones((96, 96), bool)
    border[12:84, 12:84] = False
    for seed in (3, 4, 5):
        assert np.abs(draw(scene, nuisance=seed) - first)[border].mean() > 8
    np.testing.assert_array_equal(draw(scene, nuisance=2), first)


def test_no_two_photos_are_alike(made):
    thumbnails = np.stack([pixels(r.photos[0]).reshape(8, 8, 8, 8, 3).mean((1, 3)).ravel() for _, r in made])
    squares = (thumbnails**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * thumbnails @ thumbnails.T
    np.fill_diagonal(distances, np.inf)
    assert np.sqrt(distances.min() / thumbnails.shape[1]) > 4


def written_steps(steps):
    for step in steps:
        yield from written_steps(step["do"]) if step["step"] == "each" else [step]


@pytest.mark.parametrize("kind", drawing.PICTURES)
def test_every_step_of_every_picture_is_known_with_its_arguments(kind):
    for step in written_steps(drawing.PICTURES[kind]["steps"]):
        arguments = {key: value for key, value in step.items() if key != "step"}
        if step["step"] == "scatter":
            assert set(arguments.pop("of")) <= set(recipes.DISHES[kind]["roles"])
        named = {"scatter": "_scatter"}.get(step["step"])
        function = vars(drawing.steps)[named] if named else drawing._STEPS[step["step"]]
        inspect.signature(function).bind(*([None] * (2 if named else 1)), **arguments)


def test_a_color_is_made_as_it_is_written():
    colors = {"red": (200, 100, 0), "blue": (0, 100, 200)}
    # Half way from red to blue is (100, 100, 100), and a quarter of it 25.
    assert evaluate(["shade", ["mix", "red", "blue", 0.5], 0.25], colors.get) == (25, 25, 25)
    assert evaluate(["mix", "#0a0b0c", "red", 0.0], colors.get) == (10, 11, 12)
    assert evaluate(["swap", "red", 1], colors.get, swap=lambda color, by: color[by:] + color[:by]) == (100, 0, 200)


@pytest.mark.parametrize(
    "written", ["green", ["shade", "green", 1.0], ["mix", "#000000", ["shade", "green", 1.0], 0.5]]
)
def test_a_color_made_of_a_missing_one_is_missing(written):
    assert evaluate(written, {}.get) is None


def test_a_step_about_a_missing_ingredient_is_left_out():
    base, spiral = Part("base", "tomato"), Part("sauce", "yogurt")
    without, with_sauce = (draw(Scene("soup", parts, "raw")) for parts in ((base,), (base, spiral)))
    assert (np.abs(without - with_sauce).max(2) > 60).mean() > 0.01


def test_pieces_lie_around_a_place_as_a_look_writes_it():
    written = {"shape": "box", "arguments": [0.2, 0.1], "at": [[1, 0]], "around": [4, 0.5], "turn": [0, math.pi / 2]}
    look = looks._look(radius=0.1, layers=[{**written, "tones": [1.0, -0.25, 2], "color": "#c86428"}])
    assert [color for _, color in look.layers] == [(200, 100, 40), (150, 75, 30)] * 2
    middles = [(1.5, 0), (1, 0.5), (0.5, 0), (1, -0.5)]
    halves = [(0.2, 0.1), (0.1, 0.2)] * 2  # Every other one stands upright.
    for (points, _), middle, half in zip(look.layers, middles, halves, strict=True):
        np.testing.assert_allclose(points.mean(0), middle, atol=1e-12)
        np.testing.assert_allclose(np.abs(points - middle), np.tile(half, (4, 1)), atol=1e-12)


def test_every_layer_is_a_polygon_with_a_color():
    for name, look in looks.LOOKS.items():
        for points, color in look.layers:
            assert points.shape[1] == 2, name
            assert len(points) >= 3, name
            assert np.abs(points).max() < 2, name
            assert all(0 <= channel <= 255 for channel in color), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 9}, "pairs: expected at least 10, so that no split is empty, received 9"),
        ({"size": 63}, "size: expected 64 to 512 pixels, received 63"),
        ({"size": 513}, "size: expected 64 to 512 pixels, received 513"),
        ({"seed": -1}, "seed: expected 0 or greater, received -1"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        kitchen.generate(**arguments)
