"""The page in a browser: a photo is dropped, the right dish is seen; by keyboard, on a phone, without any network."""

import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="needs kfood[serve]")
pytest.importorskip("playwright", reason="needs playwright")

import serve_kitchen as colours
import uvicorn
from chromium import CHROMIUM, drop, first, launched, opened
from playwright.sync_api import expect

from kfood.serve.app import create_app
from kfood.serve.gallery import Shelf

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A service of its own thread, of an encoder that also generates pictures."""
    folder, encoder = tmp_path_factory.mktemp("page"), colours.Encoder(decoders=("picture",))
    colours.build(folder / "index", encoder=encoder)
    app = create_app(Shelf(folder / "index", lambda precision: encoder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser, address, request):
    with opened(browser, address, getattr(request, "param", (1280, 860))) as page:
        yield page


def test_drop_a_photo_see_the_dish(page):
    drop(page, colours.photo("red", (90, 60), "JPEG"), "dinner.jpg", "image/jpeg")
    expect(first(page).locator("h3")).to_have_text("Red soup")
    expect(first(page).locator(".distance")).to_have_text("1 · distance 0.098")
    expect(page.locator("#curtain")).to_be_hidden()
    expect(page.locator("#asked .what")).to_have_text("dinner.jpg")
    expect(page.get_by_role("status")).to_have_text("The 5 nearest recipes, of 5.")
    assert page.locator("#asked img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 90
    photo = first(page).locator(".shot img")
    assert photo.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [20, 30]
    assert photo.get_attribute("alt") == "Photo of Red soup"


def test_choose_a_photo(page):
    for colour, title in (("blue", "Blue jelly"), ("green", "Green salad")):
        page.locator("#photo").set_input_files(
            {"name": "dish.png", "mimeType": "image/png", "buffer": colours.photo(colour)}
        )
        expect(first(page).locator("h3")).to_have_text(title)


def test_a_recipe_is_pasted(page):
    page.get_by_text("Or paste a recipe").click()
    page.get_by_label("As written, or as JSON").fill("Red\n\nIngredients\n3 tomatoes\n1 pinch of salt\n")
    page.get_by_role("button", name="Search by this recipe").click()
    expect(first(page).locator("h3")).to_have_text("Red soup")
    shared = first(page).locator("mark")
    expect(shared).to_have_text(["2 (14 oz) cans tomatoes", "salt"])
    expect(first(page).locator(".ingredients li").last).to_have_text("salt (in your query)")  # for who hears it
    expect(first(page).locator(".ingredients li")).to_have_count(3)
    expect(page.locator("#asked")).to_contain_text("3 tomatoes, 1 pinch of salt")
    drop(page, b'{"title": "blue"}', "dish.json", "application/json")
    expect(first(page).locator("h3")).to_have_text("Blue jelly")


def test_by_keyboard_alone(page):
    """From the top: Tab and Enter and Space reach everything."""
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if reached[-1] == "words":
            break
    assert reached[0] == "photo"
    assert reached[-1] == "words"
    page.keyboard.type("red")
    page.keyboard.press("Enter")
    expect(first(page).locator("h3")).to_have_text("Red soup")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "without salt":
            break
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("The 3 nearest photos, of 3 that fit the ingredients.")
    expect(page.locator("h3", has_text="Red soup")).to_have_count(0)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "without salt"  # it stays there
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_ingredients_are_ticked(page):
    page.get_by_role("searchbox").fill("red")
    page.get_by_role("button", name="Search", exact=True).click()
    field = page.get_by_label("Another ingredient")
    field.fill("olive")
    expect(page.locator("#names option")).to_have_count(2)
    field.press("Enter")  # is added, and ticked
    expect(page.get_by_label("with olive", exact=True)).to_be_checked()
    expect(page.locator("h3")).to_have_text(["Red soup", "Green salad"])
    expect(page.locator("mark").first).to_contain_text("1 tbsp olive oil")
    page.get_by_label("without olive", exact=True).check()
    expect(page.get_by_label("with olive", exact=True)).not_to_be_checked()
    expect(page.locator("#results > li")).to_have_count(3)
    page.get_by_label("Another ingredient").fill("saffron")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("status")).to_have_text("Nothing here fits the ingredients. No recipe here has “saffron”.")


def test_what_the_model_has_understood(page):
    page.get_by_label("Show what the model has understood").check()
    page.get_by_role("searchbox").fill("red")
    page.keyboard.press("Enter")
    made = first(page).locator(".made img")
    expect(made).to_be_visible()
    assert made.evaluate("image => image.decode().then(() => image.naturalWidth)") == 4
    expect(page.locator("#asked figcaption")).to_have_text("as understood")


def test_more_like_this(page):
    page.get_by_role("searchbox").fill("green")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="More like Blue jelly").click()
    expect(page.locator("#asked .what")).to_have_text("Blue jelly")
    expect(first(page).locator("h3")).to_have_text("Blue jelly")


def test_what_is_wrong_is_said(page):
    drop(page, b"no photo at all", "dish.jpg", "image/jpeg")
    expect(page.get_by_role("alert")).to_contain_text("expected a photo (JPEG, PNG, ")
    page.get_by_role("searchbox").fill("mauve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        "Text: expected at least one word that the model knows, received 1, all of them unknown to it."
    )
    page.get_by_role("searchbox").fill("red")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(first(page).locator("h3")).to_have_text("Red soup")


@pytest.mark.parametrize("page", [(360, 740), (390, 844)], indirect=True)
def test_on_a_phone(page):
    width = page.viewport_size["width"]
    expect(page.locator("label", has_text="Take a photo")).to_be_visible()
    expect(page.get_by_label("with salt", exact=True)).to_be_hidden()
    page.get_by_text("Ingredients", exact=True).click()
    page.get_by_label("with eggs", exact=True).check()
    page.get_by_label("Show what the model has understood").check()
    page.locator("#camera").set_input_files(
        {"name": "dish.jpg", "mimeType": "image/jpeg", "buffer": colours.photo("white", kind="JPEG")}
    )
    expect(first(page).locator("h3")).to_have_text("White sauce")
    expect(page.locator("#asked")).to_be_in_viewport()  # it goes to what was found
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for button in page.locator("button:visible, label.button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 28
        assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(page, scheme):
    """WCAG's contrast of 4.5 between text and what lies behind it."""
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("searchbox").fill("red with salt")
    page.keyboard.press("Enter")
    expect(first(page).locator("h3")).to_be_visible()
    ratios = page.evaluate(
        """() => {
            const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
                .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
                .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = (element) => {
                const colour = getComputedStyle(element).backgroundColor;
                return parts(colour)[3] === 0 ? behind(element.parentElement) : colour;
            };
            const texts = "h1 #about .hint summary button .plain #status h3 .distance mark th".split(" ");
            return texts.map((selector) => {
                const element = document.querySelector(selector);
                const two = [getComputedStyle(element).color, behind(element)].map(light).sort((a, b) => b - a);
                return [selector, (two[0] + 0.05) / (two[1] + 0.05)];
            });
        }"""
    )
    assert len(ratios) == 11
    assert [each for each in ratios if each[1] < 4.5] == []
