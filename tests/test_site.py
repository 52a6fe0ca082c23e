"""`kfood site`: a folder behind a server of files has, in Chromium, the runtime's embeddings, the search's results."""

import base64
import functools
import http.server
import io
import itertools
import json
import shutil
import threading

import numpy as np
import pytest
import token_cases
from PIL import Image
from site_soups import NO_RUNTIME, make_index

pytest.importorskip("playwright", reason="needs playwright")

from chromium import CHROMIUM, drop, first, launched, opened
from playwright.sync_api import expect

from kfood import search
from kfood.data.ingredient_names import clean_name
from kfood.data.recipe_formats import parse_recipe
from kfood.evaluation import metrics
from kfood.export.runtime import Bundle, decode_photo
from kfood.search import ingredients, plain_recipe
from kfood.site import build_site, building, by_npm

in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def bundle(small_export, tmp_path_factory):
    return Bundle.open(shutil.copytree(small_export / "bundle", tmp_path_factory.mktemp("site") / "bundle"))


@pytest.fixture(scope="module")
def index(bundle):
    return make_index(bundle, bundle.path.parent / "index")


@pytest.fixture(scope="module")
def runtime():
    if shutil.which("npm") is None:
        pytest.skip("npm absent")
    try:
        return by_npm()
    except OSError as error:
        pytest.skip(f"onnxruntime-web cannot be fetched: {error}")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Folder → its address, by a server that knows nothing but files."""
    with served_folders() as serve:
        yield serve


class served_folders:
    def __enter__(self):
        self.servers = []
        return self.serve

    def serve(self, folder):
        handler = functools.partial(Quiet, directory=folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    def __exit__(self, *_):
        for server, thread in self.servers:
            server.shutdown()
            server.server_close()
            thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def page(browser, index, bundle, runtime, served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "site"
    build_site(folder, index, bundle, runtime)
    with opened(browser, served(folder.parent) + "site/") as page:  # under a path of its own
        yield page


@pytest.fixture(scope="module")
def bare(browser, index, bundle, served, tmp_path_factory):
    """A page without encoders, for the rest of its code."""
    folder = tmp_path_factory.mktemp("bare") / "site"
    build_site(folder, index, bundle, NO_RUNTIME)
    (folder / "blank.html").write_text("<!doctype html>")
    page = browser.new_page()
    page.goto(served(folder) + "blank.html")
    yield page
    page.close()


def encoded(pixels, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def embed(page, kind, value):
    """The page's embedding of a query."""
    return page.evaluate(
        """async ([kind, value]) => {
            const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const { embed } = await import(new URL("static/source.js", location));
            const query = { kind, value: kind === "photo" ? new File([bytes(value)], "photo") : value };
            return [...(await embed(query)).embedding];
        }""",
        [kind, value],
    )


def embed_photo(page, content):
    return embed(page, "photo", base64.b64encode(content).decode())


@in_chromium
def test_photos_have_the_runtimes_embeddings(page, bundle):
    pixels = np.random.default_rng(5).integers(0, 255, (9, 12, 3), np.uint8).repeat(11, 0).repeat(13, 1)
    transparent = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], -1)
    transparent[:40, :, 3] = 0
    for content in (encoded(pixels), encoded(pixels[:33, :150]), encoded(transparent)):
        np.testing.assert_allclose(embed_photo(page, content), bundle.encode_photos([content])[0], atol=1e-5)
    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg = encoded(pixels, "JPEG", quality=95, exif=turned)
    np.testing.assert_allclose(embed_photo(page, jpeg), bundle.encode_photos([jpeg])[0], atol=1e-4)
    photo = decode_photo(jpeg)
    assert photo.shape == (156, 99, 3)
    found = page.evaluate(
        """async (content) => {
            const { pixels } = await import(new URL("static/photos.js", location));
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const { data, height, width } = await pixels(new File([bytes], "photo"));
            return { data: [...data], height, width };
        }""",
        base64.b64encode(jpeg).decode(),
    )
    received = np.array(found["data"]).reshape(found["height"], found["width"], 3)
    np.testing.assert_allclose(received, photo, atol=3)
    large = encoded(pixels.repeat(20, 0).repeat(20, 1), "JPEG", quality=95)  # 6.2 megapixels: reduced before
    np.testing.assert_allclose(embed_photo(page, large), bundle.encode_photos([large])[0], atol=1e-3)


@in_chromium
def test_recipes_and_words_have_the_runtimes_embeddings(page, bundle):
    recipe = {
        "title": "Leek soup 😀",
        "ingredients": ["2 leeks", "CAFÉ 日本 ½ cup"],
        "instructions": ["Boil.", "The salt!"],
    }
    for text, expected in (
        (json.dumps(recipe), recipe),
        (
            "Leek soup\n\nIngredients\n2 leeks\n\nMethod\nBoil the salt.",
            plain_recipe("Leek soup\n2 leeks\nBoil the salt."),
        ),
    ):
        expected = expected if isinstance(expected, dict) else search.recipe_as_query(expected, "word")
        np.testing.assert_allclose(embed(page, "recipe", text), bundle.encode_recipes([expected])[0], atol=1e-5)
    for text in ("leek soup", "leek, Salt; the onion", "café\n日本", "salt\ud800onion"):
        expected = bundle.encode_recipes([search.text_as_recipe(text, bundle.spec)])[0]
        np.testing.assert_allclose(embed(page, "text", text), expected, atol=1e-5)


@in_chromium
def test_texts_have_the_tokens_of_training(page):
    """Ids in place of an embedding, through the code that hands texts to an encoder."""
    lines, words, expected = token_cases.numbered(np.random.default_rng(6), 1000)
    network, recipes = token_cases.ids_network(lines, words)
    found = page.evaluate(
        """async ([network, recipes]) => {
            const ort = await import(new URL("static/ort/ort.js", location));
            const { encodeRecipes } = await import(new URL("static/encoders.js", location));
            const bytes = Uint8Array.from(atob(network), (letter) => letter.charCodeAt(0));
            const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
            return (await encodeRecipes(ort, session, recipes)).map(({ embedding }) => [...embedding]);
        }""",
        [base64.b64encode(building._as_lowered(network)).decode(), recipes],
    )
    for line, received, ids in zip(lines, found, expected, strict=True):
        assert [id for id in received if id] == ids, line


def titles(page):
    return page.locator("#results h3").all_inner_texts()


@in_chromium
def test_it_finds_what_the_search_finds(page, bundle, index):
    photo = index.thumbnail(2)
    drop(page, photo, "dinner.jpg", "image/jpeg")
    expect(page.locator("#asked .what")).to_have_text("dinner.jpg")
    expect(page.get_by_role("status")).to_have_text("The 6 nearest recipes, of 6.")
    found = index.search(bundle.encode_photos([photo])[0], "recipes", 6)
    assert titles(page) == [result.title for result in found]
    expect(first(page).locator(".distance")).to_have_text(f"1 · distance {found[0].distance:.3f}")
    assert first(page).locator(".shot img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 100
    expect(first(page).locator(".steps li")).to_have_text("Boil <b>it</b>.")

    page.get_by_role("searchbox").fill("leek soup")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .what")).to_have_text("leek soup")
    embedding = bundle.encode_recipes([search.text_as_recipe("leek soup", bundle.spec)])[0]
    assert titles(page) == [result.title for result in index.search(embedding, "photos", 6)]
    marked = page.locator("#results li", has_text="Leek soup").first
    expect(marked.locator("mark")).to_have_text("2 leeks, sliced")

    page.get_by_text("Or paste a recipe").click()
    page.get_by_label("As written, or as JSON").fill('{"name": "Soup", "recipeIngredient": ["1 onion", "mauve"]}')
    page.get_by_role("button", name="Search by this recipe").click()
    expect(page.locator("#asked")).to_contain_text("1 onion, mauve")
    expect(page.get_by_role("status")).to_have_text(
        "The 6 nearest photos, of 6. The model knows 2 of the 4 words that it reads."
    )
    embedding = bundle.encode_recipes([{"title": "Soup", "ingredients": ["1 onion", "mauve"]}])[0]
    assert titles(page) == [result.title for result in index.search(embedding, "photos", 6)]
    page.get_by_role("button", name="More like Café").click()
    expect(page.locator("#asked .what")).to_have_text("Café")


@in_chromium
def test_ingredients_limit_it(page):
    page.get_by_role("searchbox").fill("soup")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .what")).to_have_text("soup")
    field = page.get_by_label("Another ingredient")
    field.fill("oni")
    expect(page.locator("#names option")).to_have_count(2)
    field.fill("onions")
    field.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The 2 nearest photos, of 2 that fit the ingredients.")
    assert sorted(titles(page)) == ["Salt & “onion”", "½ onion soup"]
    page.get_by_label("without salt", exact=True).check()
    expect(page.locator("#results h3")).to_have_text(["½ onion soup"])
    page.get_by_label("with onions", exact=True).uncheck()
    expect(page.locator("#results > li")).to_have_count(5)
    page.get_by_label("without salt", exact=True).uncheck()
    field.fill("saffron")
    field.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Nothing here fits the ingredients. No recipe here has “saffron”.")
    page.get_by_label("with saffron", exact=True).uncheck()
    expect(page.locator("#results > li")).to_have_count(6)


@in_chromium
def test_what_is_wrong_is_said(page):
    drop(page, b"no photo at all", "dish.jpg", "image/jpeg")
    expect(page.get_by_role("alert")).to_have_text(
        "Photo: expected a photo that this browser can read, received dish.jpg."
    )
    page.get_by_role("searchbox").fill("mauve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        "Text: expected at least one word that the model knows, received 1, all of them unknown to it."
    )
    drop(page, b'{"name": ', "dish.json", "application/json")
    expect(page.get_by_role("alert")).to_contain_text("Recipe: expected JSON, received what is none (")
    drop(page, b'[{"title": "a"}, {"title": "b"}]', "dish.json", "application/json")
    expect(page.get_by_role("alert")).to_have_text("Recipe: expected one recipe, received several.")
    page.get_by_role("searchbox").fill("leek")
    page.keyboard.press("Enter")
    expect(page.locator("#results > li")).to_have_count(6)


# What the page computes as Python does, without encoders


def call(page, file, name, *arguments):
    """A function of the page's code."""
    return page.evaluate(
        "async ([file, name, given]) => (await import(new URL(`static/${file}`, location.origin)))[name](...given)",
        [file, name, list(arguments)],
    )


@in_chromium
@pytest.mark.parametrize("distance", ["euclidean", "cosine", "dot"])
def test_nearest(bare, distance, rng):
    gallery = rng.normal(0, 3, (40, 5)).astype(np.float16)
    gallery[7] = gallery[30]  # equal: by row
    gallery[3] = 0
    gallery[0, :4] = [6e-8, -65504, 1e-4, 0.1]  # subnormal, largest
    query = gallery[30].astype(np.float32) + 0.25
    allowed = rng.uniform(size=40) < 0.7
    allowed[[7, 30]] = True
    for among in (None, allowed):
        found = bare.evaluate(
            """async ([bits, query, distance, among]) => {
                const { fromFloat16, nearest } = await import(new URL("static/nearest.js", location.origin));
                const halves = [bits.slice(0, 80), bits.slice(80)].map((part) => Uint16Array.from(part).buffer);
                return nearest(Float32Array.from(query), fromFloat16(halves), distance, 9, among);
            }""",
            [
                gallery.view(np.uint16).ravel().tolist(),
                query.tolist(),
                distance,
                None if among is None else among.tolist(),
            ],
        )
        rows = np.arange(40) if among is None else np.flatnonzero(allowed)
        wide = gallery[rows].astype(np.float32)
        order, values = metrics.nearest(query, wide, distance=distance, k=9)
        expected = {"euclidean": values, "cosine": 1 - values, "dot": -values}[distance]
        assert [row for row, _ in found] == rows[order].tolist()
        np.testing.assert_allclose([far for _, far in found], expected, rtol=1e-5, atol=1e-6)


AMOUNTS = [
    "",
    "2 ",
    "1 1/2 cups ",
    "½ cup ",
    "2 (14 oz) cans [of 400 g (net)] ",
    "250g ",
    "2-3 ",
    "a few large ",
    "– ",
    "٣ ",
]
NAMES = [
    "tomatoes", "Whole MILK, warmed", "olive oil - extra virgin", "salt to taste", "café crème (fresh)", "straße",
    "日本酒", "cherries for garnish", "x", "large", "egg's \"yolk\".", "ΟΔΟΣ", "optional cress",
    "non-optional leaves", "½",
]  # fmt: skip


@in_chromium
def test_names_and_words_of_lines(bare):
    lines = ["".join(parts) for parts in itertools.product(AMOUNTS, NAMES)] + [
        "",
        "1/2",
        "moLasses couscous radishes peas",
    ]
    found = bare.evaluate(
        """async (lines) => {
            const { cleanName, words, shared } = await import(new URL("static/ingredients.js", location.origin));
            const { tables } = await (await fetch(new URL("site.json", location.origin))).json();
            const names = [new Set(["tomato"]), new Set(["oil", "olive"]), new Set()];
            return lines.map((line) => [cleanName(line, tables), [...words(line)], shared([line], names, tables)]);
        }""",
        lines,
    )
    names = [frozenset({"tomato"}), frozenset({"oil", "olive"}), frozenset()]
    for line, (name, found_words, marks) in zip(lines, found, strict=True):
        assert name == clean_name(line), line
        assert set(found_words) == ingredients.words(line), line
        assert marks == ingredients.shared([line], names), line


PASTED = [
    "Soup",
    "Tomato soup\n\nIngredients:\n4 tomatoes\n- 1 onion\n\nMethod\n1. Chop.\n2) Simmer for 20 minutes.",
    "Tomato soup\n4 tomatoes\n* salt & pepper\na pinch of sugar\nChop it all. Boil it! Then 2 minutes more.",
    "THE INGREDIENT LIST\n½ leek\nHow to make it\nStep 1: Boil\r\n   Serve\n",
    "Ingredients\n\nDirections\n\n",
    "Title\n" + "1 very long line " * 8,
]

JSON = [
    {"title": "Soup", "ingredients": ["1 leek", 2, "!"], "instructions": "Boil it. Serve it. 2 minutes."},
    {
        "@context": "https://schema.org",
        "@graph": [
            {"@type": "WebPage", "name": "A page"},
            {
                "@type": ["Recipe"],
                "name": "Leek &amp; <b>potato</b> soup",
                "recipeIngredient": ["2&nbsp;leeks", "salt"],
                "recipeInstructions": [
                    {"@type": "HowToSection", "itemListElement": [{"@type": "HowToStep", "text": "Cut."}]},
                    {"@type": "HowToStep", "text": "Boil."},
                ],
            },
        ],
    },
    {"Recipe Name": "Soup", "extendedIngredients": [{"amount": 2, "unit": {"name": "cup"}, "food": {"name": "leek"}}]},
    {"name": "Soup", "steps": [{"instruction": "Boil.", "ingredients": [{"amount": 0.5, "food": {"name": "leek"}}]}]},
    {
        "name": "Soup",
        "recipe_ingredient": [{"note": "2 leeks", "quantity": 1}, {"note": "cut", "food": {"name": "leek"}}],
    },
    {"title": "Soup", "ingredients": "2 leeks<br>salt\nwater", "directions": {"10": "Serve.", "2": "Boil."}},
    {
        "title": "Soup",
        "ingredients": {"for the soup": ["leek"], "on top": [{"text": "cress"}]},
        "NER": '["leek", "cress"]',
    },
    {"a1": {"title": "Soup", "ingredients": ["leek"]}},
    [{"title": "Soup only"}],
]


@in_chromium
def test_recipes_are_read_as_by_the_command(bare):
    page = f'<html><script type="application/ld+json">{json.dumps(JSON[1])}</script></html>'
    given = [*PASTED, *map(json.dumps, JSON), page]
    found = bare.evaluate(
        """async (texts) => {
            const { readRecipe, recipeAsQuery } = await import(new URL("static/recipes.js", location.origin));
            const { tables } = await (await fetch(new URL("site.json", location.origin))).json();
            const read = (text) => ["word", "name"].map(
                (unit) => recipeAsQuery(readRecipe(text, tables), { ingredient_unit: unit }, tables));
            return texts.map((text) => { try { return read(text); } catch (error) { return error.message; } });
        }""",
        given,
    )
    for number, (text, received) in enumerate(zip(given, found, strict=True)):
        if number < len(PASTED):
            recipe = plain_recipe(text)
        else:
            recipe = parse_recipe((text if number < len(given) - 1 else json.dumps(JSON[1])).encode())
        if not (recipe.title or recipe.ingredients or recipe.instructions):
            assert received.startswith("recipe: expected one as people write it, JSON, or a page")
            continue
        assert received == [search.recipe_as_query(recipe, unit) for unit in ("word", "name")], text
