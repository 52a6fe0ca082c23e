"""Recipe files as people have them: read, or refused in one sentence."""

import gzip
import io
import json
import random
import zipfile

import pytest

from kfood.data.ingredient_names import clean_name
from kfood.data.recipe_fields import RecipeError, lines, read_fields
from kfood.data.recipe_formats import read_recipe, read_recipes

SOUP = {
    "title": "Lentil soup",
    "ingredients": ["200 g red lentils", "1 onion"],
    "instructions": ["Chop the onion.", "Simmer 20 minutes."],
}
JSON_LD = {
    "@context": "https://schema.org",
    "@type": "Recipe",
    "name": "Lentil soup",
    "recipeIngredient": ["200 g red lentils", "1 onion"],
    "recipeInstructions": [
        {"@type": "HowToSection", "itemListElement": [{"@type": "HowToStep", "text": "Chop the onion."}]},
        {"@type": "HowToStep", "text": "Simmer 20 minutes."},
    ],
}
MEALMASTER = """MMMMM----- Recipe via Meal-Master (tm) v8.05

      Title: Lentil soup
 Categories: Soups
      Yield: 4 servings

    200 g  red lentils                         1    onion
      2 tb Olive oil                                Salt
           -- cold pressed

  Chop the onion.
  Simmer 20 minutes.

MMMMM
"""
RECIPEML = """<?xml version="1.0"?><recipeml version="0.5"><recipe><head><title>Lentil soup</title></head>
<ingredients><ing><amt><qty>200</qty><unit>g</unit></amt><item>red lentils</item></ing><ing><amt><qty>1</qty></amt>
<item>onion</item></ing></ingredients><directions><step>Chop the onion.</step><step>Simmer 20 minutes.</step>
</directions></recipe></recipeml>"""


def as_soup(recipe):
    return {"title": recipe.title, "ingredients": recipe.ingredients, "instructions": recipe.instructions}


OBJECTS = {
    "plain": SOUP,
    "json_ld": JSON_LD,
    "json_ld_graph": {"@context": "https://schema.org", "@graph": [{"@type": "WebPage", "name": "Page"}, JSON_LD]},
    "json_ld_types": {**JSON_LD, "@type": ["Recipe", "NewsArticle"]},
    "nextcloud": {**JSON_LD, "recipeInstructions": {"0": "Chop the onion.", "10": "Simmer 20 minutes."}},
    "nextcloud_order": {**JSON_LD, "recipeInstructions": {"10": "Simmer 20 minutes.", "2": "Chop the onion."}},
    "mealie_unparsed": {
        "name": "Lentil soup",
        "recipeIngredient": [{"note": "200 g red lentils", "quantity": 1, "unit": None}, {"note": "1 onion"}],
        "recipeInstructions": [{"title": "", "text": "Chop the onion."}, {"text": "Simmer 20 minutes."}],
    },
    "mealie_parsed": {
        "name": "Lentil soup",
        "recipe_ingredient": [
            {"quantity": 200.0, "unit": {"name": "g"}, "food": {"name": "red lentils"}, "note": ""},
            {"quantity": 1.0, "unit": None, "food": {"name": "onion"}, "note": ""},
        ],
        "recipe_instructions": [{"text": "Chop the onion."}, {"text": "Simmer 20 minutes."}],
    },
    "tandoor": {
        "name": "Lentil soup",
        "steps": [
            {
                "instruction": "Chop the onion.",
                "ingredients": [{"food": {"name": "red lentils"}, "unit": {"name": "g"}, "amount": 200.0}],
            },
            {
                "instruction": "Simmer 20 minutes.",
                "ingredients": [{"food": {"name": "onion"}, "unit": None, "amount": 1.0}],
            },
        ],
    },
    "paprika": {
        "name": "Lentil soup",
        "ingredients": "200 g red lentils\n1 onion",
        "directions": "Chop the onion.\n\nSimmer 20 minutes.",
    },
    "recipe1m": {
        "id": "x",
        "title": "Lentil soup",
        "ingredients": [{"text": "200 g red lentils"}, {"text": "1 onion"}],
        "instructions": [{"text": "Chop the onion."}, {"text": "Simmer 20 minutes."}],
    },
    "python_lists": {
        "Title": "Lentil soup",
        "Ingredients": "['200 g red lentils', '1 onion']",
        "Instructions": "Chop the onion. Simmer 20 minutes.",
    },
    "groups": {
        "name": "Lentil soup",
        "ingredients": {"For the soup": ["200 g red lentils"], "To serve": ["1 onion"]},
        "method": "<p>Chop the onion.</p><p>Simmer 20&nbsp;minutes.</p>",
    },
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_many_programs_hold_the_same_soup(tmp_path, name):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(OBJECTS[name]))
    assert as_soup(read_recipe(path)) == SOUP


def html():
    return f"<html><head><script type='application/ld+json'>{json.dumps(JSON_LD)}</script></head><body/></html>"


FILES = {
    "soup.mmf": MEALMASTER.replace("      2 tb Olive oil                                Salt\n", "").replace(
        "           -- cold pressed\n", ""
    ),
    "soup.xml": RECIPEML,
    "lentil-soup.jsonl": json.dumps(SOUP),
    "bom.json": "\ufeff" + json.dumps(SOUP),
    "soup.tsv": "name\tingredients\tdirections\nLentil soup\t"
    '"200 g red lentils\n1 onion"\tChop the onion. Simmer 20 minutes.\n',
    "semicolons.csv": "name;ingredients;directions\nLentil soup;"
    '"[""200 g red lentils"", ""1 onion""]";Chop the onion. Simmer 20 minutes.\n',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_many_formats_hold_the_same_soup(tmp_path, name):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert as_soup(read_recipe(tmp_path / name)) == SOUP


def test_a_saved_page(tmp_path):
    pytest.importorskip("recipe_scrapers")
    (tmp_path / "soup.html").write_text(html())
    assert as_soup(read_recipe(tmp_path / "soup.html")) == SOUP


def test_cooklang(tmp_path):
    pytest.importorskip("cooklang_py")
    (tmp_path / "red-soup.cook").write_text(">> servings: 4\n\nChop @onion{1}.\n\nSimmer @red lentils{200%g}.\n")
    recipe = read_recipe(tmp_path / "red-soup.cook")
    assert (recipe.title, recipe.ingredients) == ("red soup", ["1 onion", "200 g red lentils"])
    assert recipe.instructions == ["Chop onion (1).", "Simmer red lentils (200 g)."]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([SOUP, {**SOUP, "title": "Other"}]), tmp_path / "a.parquet")
    found = [item.recipe for item in read_recipes(tmp_path / "a.parquet")]
    assert as_soup(found[0]) == SOUP
    assert found[1].title == "Other"


def test_mealmaster_columns_and_continuations(tmp_path):
    (tmp_path / "soup.mmf").write_text(MEALMASTER)
    assert read_recipe(tmp_path / "soup.mmf").ingredients == [
        "200 g red lentils",
        "2 tb Olive oil cold pressed",
        "1 onion",
        "Salt",
    ]


def test_paprika_archive_with_its_photo(tmp_path):
    import base64

    content = {**OBJECTS["paprika"], "uid": "U1", "photo_data": base64.b64encode(b"photo").decode()}
    with zipfile.ZipFile(tmp_path / "all.paprikarecipes", "w") as archive:
        archive.writestr("Lentil soup.paprikarecipe", gzip.compress(json.dumps(content).encode()))
    recipe = read_recipe(tmp_path / "all.paprikarecipes")
    assert as_soup(recipe) == SOUP
    assert (recipe.id, recipe.photos) == ("U1", (b"photo",))


def test_zip_within_zip_takes_the_picture_beside(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("recipe.json", json.dumps(OBJECTS["tandoor"]))
        archive.writestr("image.jpg", b"picture")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("1.zip", inner.getvalue())
    recipe = read_recipe(tmp_path / "export.zip")
    assert as_soup(recipe) == SOUP
    assert recipe.photos == (b"picture",)


def test_every_shared_case_is_read(shared):
    for path in sorted((shared / "cases/recipes").iterdir()):
        recipe = read_recipe(path)
        assert recipe.ingredients, path.name
        assert recipe.instructions, path.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "it is empty"),
        ("a.json", b"[" * 200_000, "nested too deep"),
        ("a.json", b"{", "broken JSON"),
        ("a.json", b'{"a": 1}', "no object or row with a title"),
        ("a.json", "{}".encode("utf-16"), "no object or row"),
        ("a.json", "caf\u00e9".encode("latin-1"), "not UTF-8"),
        ("a.json", b"%PDF-1.7", "a PDF"),
        ("a.json", b"\xff\xd8\xff\xe0", "a JPEG picture"),
        ("a.txt", b"Boil an egg.", "no format that is known"),
        ("a.xml", b"<recipeml><recipe>", "broken XML"),
        ("a.zip", b"PK\x03\x04broken", "damaged zip"),
        ("a.gz", b"\x1f\x8bbroken", "damaged gzip"),
        ("a.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip within gzip"),
        ("a.html", b"<html><body>hello</body></html>", "schema.org/Recipe"),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_recipe(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_wrong_types_at_every_key_end_in_a_recipe_or_a_reason():
    chance = random.Random(3)
    wrong = [
        None,
        True,
        -1,
        1e300,
        "",
        " ",
        "x",
        [],
        [None, 3],
        [[["a"]]],
        {},
        {"a": {"b": ["c"]}},
        "[1, 2",
        {"0": None},
    ]
    names = [*SOUP, *JSON_LD, "photo", "image", "id", "uid", "steps", "NER", "partition", "photo_data"]
    refused = 0
    for _ in range(500):
        content = {name: chance.choice(wrong) for name in names if chance.random() < 0.5}
        try:
            recipe = read_fields(content)
        except RecipeError:  # the only way to refuse; anything else fails the test
            refused += 1
        else:
            assert all(isinstance(line, str) for line in (recipe.title, *recipe.ingredients, *recipe.instructions))
    assert 0 < refused < 250


def test_named_columns_and_unread_fields():
    recipe = read_fields({"a": "Soup", "b": ["x"], "servings": 4}, {"title": "a", "ingredients": "b"})
    assert (recipe.title, recipe.ingredients, recipe.unread) == ("Soup", ["x"], ("servings",))
    with pytest.raises(RecipeError, match="no field 'c'"):
        read_fields({"a": "Soup"}, {"title": "c"})


def test_a_paragraph_is_cut_into_sentences_and_decimals_stay_whole():
    assert lines("Heat 1.5 cups. Stir well! 2 minutes later, serve.", sentences=True) == [
        "Heat 1.5 cups.",
        "Stir well!",
        "2 minutes later, serve.",
    ]
    assert lines("1 onion. Chopped") == ["1 onion. Chopped"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("2 (14 oz) cans diced tomatoes, drained", "diced tomatoes"),
        ("1 1/2 cups whole milk, warmed", "whole milk"),
        ("½ cup sugar", "sugar"),
        ("200g red lentils", "red lentils"),
        ("2-3 cloves of garlic", "garlic"),
        ("a pinch of salt", "salt"),
        ("Salt and pepper to taste", "salt and pepper"),
        ("1 large", "large"),
        ("3 large eggs", "eggs"),
        ("tomato paste", "tomato paste"),
        ("cup noodles 2", "noodles 2"),
        ("鶏もも肉 200g", "鶏もも肉 200g"),
        ("4", ""),
    ],
)
def test_clean_ingredient_names(line, name):
    assert clean_name(line) == name
