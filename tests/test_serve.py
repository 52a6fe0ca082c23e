"""The service's addresses: what is found, what is refused, and what is bounded."""

import base64
import concurrent.futures
import io
import json
import re
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs kfood[serve]")
pytest.importorskip("httpx", reason="needs httpx")

import serve_kitchen as colours
from fastapi.testclient import TestClient
from PIL import Image

from kfood.serve.app import create_app
from kfood.serve.gallery import Shelf
from kfood.serve.limits import Limits

ID = "red/1 ½"


def open_app(folder, limits=None, encoder=None, **options):
    encoder = encoder or colours.Encoder()
    if not (folder / "index").exists():
        colours.build(folder / "index", encoder=encoder)
    return create_app(Shelf(folder / "index", lambda precision: encoder), limits, **options)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    limits = Limits(
        megabytes=0.2, megapixels=0.1, recipe_kilobytes=20, lines=8, characters=60, results=7, ingredients=3
    )
    with TestClient(open_app(tmp_path_factory.mktemp("serve"), limits), raise_server_exceptions=False) as client:
        yield client


def find(client, **fields):
    answer = client.post("/search", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def titles(answer):
    return [result["title"] for result in answer["results"]]


RED = colours.photo("red")


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"photo": ("dish.png", RED)}, "data": {"k": "2"}},
        {"json": {"photo": base64.b64encode(RED).decode(), "k": 2}},
        {"json": {"photo": "data:image/png;base64," + base64.b64encode(RED).decode(), "k": 2}},
        {"json": {"recipe": {"name": "Red", "recipeIngredient": ["red"], "@type": "Recipe"}, "k": 2}},
        {"json": {"recipe": [{"title": "Red"}], "k": 2}},
        {"json": {"recipe": '{"title": "red"}', "k": 2}},
        {"json": {"recipe": "My red dish\n\nIngredients\n- 2 cups red\n", "k": 2}},
        {"data": {"recipe": "a red dish", "k": "2"}},
        {"files": {"recipe": ("dish.json", b'{"title": "red"}')}, "data": {"k": "2"}},
        {"files": {"recipe": ("dish.txt", "red dish – «ready»".encode())}, "data": {"k": "2"}},
        {"files": {"recipe": ("dish.csv", b"title,ingredients\nred,red\n")}, "data": {"k": "2"}},
        {"json": {"text": "something red", "k": 2}},
        {"data": {"text": "something red", "k": "2"}},
    ],
    ids=lambda request_: str(request_)[:50],
)
def test_search_by_anything(client, request_):
    answer = client.post("/search", **request_)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found["results"]) == 2
    best = found["results"][0]
    assert (best["id"], best["title"], best["rank"]) == (ID, "Red soup", 1)
    by_photo = found["query"]["kind"] == "photo"
    assert found["to"] == ("recipes" if by_photo else "photos")
    expected = 1 - 230 / 255 if by_photo else 0
    assert best["distance"] == pytest.approx(expected, abs=1e-6)
    assert found["results"][1]["distance"] >= best["distance"]
    assert (found["items"], found["candidates"], found["exact"], found["model"]) == (5, 5, True, "fake")
    assert client.get("/" + best["thumbnail"]).headers["content-type"] == "image/jpeg"


def test_filters_come_before_ranking(client):
    assert titles(find(client, text="red", k=1)) == ["Red soup"]
    assert titles(find(client, text="red", k=1, without=["tomato"])) != ["Red soup"]
    found = find(client, text="red", **{"with": ["EGG"]})
    assert sorted(titles(found)) == ["Green salad", "White sauce"]  # not the eggplant
    assert found["candidates"] == 2
    assert titles(find(client, text="red", **{"with": ["egg"]}, without=["milk"])) == ["Green salad"]
    assert titles(find(client, text="red", **{"with": ["olive oil"]})) == ["Red soup"]  # not olives and vegetable oil
    nothing = find(client, text="red", **{"with": ["saffron"]})
    assert (nothing["results"], nothing["candidates"]) == ([], 0)
    assert nothing["notes"] == ["No recipe here has “saffron”."]
    form = client.post("/search", data={"text": "red", "with": ["egg", "oil"]})
    assert titles(form.json()) == ["Green salad"]


def test_shared_ingredients_are_marked(client):
    found = find(client, recipe={"title": "red", "ingredients": ["3 tomatoes", "1 pinch of salt"]}, k=1)
    marks = {each["text"]: each["shared"] for each in found["results"][0]["ingredients"]}
    assert marks == {"2 (14 oz) cans tomatoes": True, "1 tbsp olive oil": False, "salt": True}
    assert found["query"]["ingredients"] == ["3 tomatoes", "1 pinch of salt"]
    found = find(client, text="red with oil", k=1)
    assert [each["shared"] for each in found["results"][0]["ingredients"]] == [False, True, False]
    for text, marked in (
        ("red tomato soup, salt", [True, False, True]),  # no ingredient is called tomato soup: its words count
        ("red, vegetable oil", [False, False, False]),  # one is called vegetable oil, which olive oil is not
    ):
        found = find(client, text=text, k=1)
        assert [each["shared"] for each in found["results"][0]["ingredients"]] == marked
    found = find(client, photo=base64.b64encode(RED).decode(), k=1, **{"with": ["olive oil"]})
    assert [each["shared"] for each in found["results"][0]["ingredients"]] == [False, True, False]


def test_to_turns_the_search(client):
    assert find(client, text="red", to="recipes")["to"] == "recipes"
    photo = base64.b64encode(RED).decode()
    assert find(client, photo=photo, to="photos", k=1)["results"][0]["distance"] == pytest.approx(25 / 255, abs=1e-6)


def test_embeddings(client):
    answer = client.post("/embed/photo", files={"photo": RED}).json()
    np.testing.assert_allclose(answer["embedding"], [230 / 255, 0, 0, 1], atol=1e-6)
    assert (answer["distance"], answer["words"]) == ("euclidean", None)
    answer = client.post("/embed/recipe", json={"recipe": {"title": "red and blue", "ingredients": []}}).json()
    assert (answer["embedding"], answer["words"], answer["known_words"]) == ([0.5, 0, 0.5, 1], 3, 2)


def test_items(client):
    item = client.get("/items/red%2F1%20%C2%BD").json()
    assert (item["id"], item["title"], item["ingredients"][2]) == (ID, "Red soup", "salt")
    thumbnail = client.get("/" + item["thumbnail"])
    assert Image.open(io.BytesIO(thumbnail.content)).size == (20, 30)
    assert client.get("/items/none").status_code == 404
    assert client.get("/items/none").json() == {"detail": "expected the id of an item of this index, received 'none'."}
    assert client.get("/thumbnails/none").status_code == 404


def test_ingredients_are_offered(client):
    names = client.get("/ingredients").json()
    assert names[0] in ({"name": "salt", "recipes": 1}, {"name": "egg", "recipes": 2}, {"name": "eggs", "recipes": 2})
    assert [each["name"] for each in client.get("/ingredients?start=oli").json()] == ["olive oil", "olives"]
    assert [each["name"] for each in client.get("/ingredients?start=OIL&limit=1").json()] == ["olive oil"]
    assert client.get("/ingredients?limit=no").status_code == 422


def test_how_it_is(client):
    health = client.get("/health").json()
    assert (health["status"], health["items"], health["searches"]) == ("ok", 5, ["photo", "recipe", "text"])
    find(client, text="red")
    metrics = client.get("/metrics").text
    assert 'kfood_requests_total{method="POST",path="/search",status="200"}' in metrics
    assert "kfood_index_items 5.0" in metrics
    assert 'kfood_batch_rows_count{encoder="recipe"}' in metrics
    assert "process_resident_memory_bytes" in metrics


def test_it_describes_itself(client):
    described = client.get("/openapi.json").json()
    paths = described["paths"]
    assert set(paths) == {
        *("/search", "/embed/photo", "/embed/recipe", "/items/{id}", "/thumbnails/{id}", "/ingredients"),
        *("/health", "/metrics"),
    }
    body = paths["/search"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"]["properties"]["k"]["anyOf"][0]["maximum"] == 7
    assert body["multipart/form-data"]["schema"]["properties"]["photo"]["format"] == "binary"


def test_nothing_is_loaded_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "http" not in page.text.replace("http-equiv", "")
    assert client.get("/docs").status_code == 404


def png_of(width, height):
    """A PNG whose header says how large it is, and that holds nothing."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def bomb():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.json", b'{"title": "' + b"red " * 1_000_000 + b'"}')
    return archive.getvalue()


B64 = base64.b64encode(RED).decode()


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"json": {}}, 422, "expected one of photo, recipe, text, received none"),
        ({"json": {"text": "red", "photo": B64}}, 422, "received photo and text"),
        ({"json": []}, 422, "expected a JSON object, received list"),
        ({"content": b'{"text": ', "headers": {"content-type": "application/json"}}, 400, "expected JSON"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "expected JSON"),
        ({"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 400, "expected JSON"),
        ({"content": b"red", "headers": {"content-type": "text/plain"}}, 415, "received text/plain"),
        ({"content": b"red"}, 415, "received none"),
        ({"content": b"red", "headers": {"content-type": "multipart/form-data"}}, 400, "broken one"),
        ({"content": b"red", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "broken one"),
        ({"json": {"text": "red", "colour": 1}}, 422, "colour: Extra inputs"),
        ({"json": {"text": ["red"]}}, 422, "text: Input should be a valid string; received list"),
        ({"json": {"text": "red", "k": 0}}, 422, "k: Input should be greater than or equal to 1; received int 0"),
        ({"json": {"text": "red", "k": 8}}, 422, "k: expected at most 7, received 8"),
        ({"json": {"text": "red", "k": float("nan")}}, 422, "k: "),
        ({"json": {"text": "red", "to": "trajectories"}}, 422, "to: "),
        ({"json": {"text": "red", "with": ["1", "a"]}}, 422, "with: expected names of ingredients, received '1'"),
        ({"json": {"text": "red", "with": list("abcd")}}, 422, "with: expected at most 3 names, received 4"),
        ({"json": {"text": "red", "with": "egg"}}, 422, "with: Input should be a valid list"),
        ({"json": {"text": "\ud800"}}, 422, "text: expected at least one word that the model knows, received none"),
        ({"json": {"text": "mauve"}}, 422, "received 1, all of them unknown to it"),
        ({"json": {"text": "red " * 20}}, 413, "text: expected at most 60 characters a line, received 80"),
        ({"json": {"photo": "!"}}, 422, "photo: expected a file in base64"),
        ({"json": {"photo": "\ud800"}}, 422, "photo: expected a file in base64"),
        ({"json": {"photo": base64.b64encode(b"photo").decode()}}, 422, "received something else"),
        ({"files": {"photo": RED[:60]}}, 422, "photo of .* bytes: expected a whole PNG photo, received a damaged one"),
        ({"files": {"photo": colours.photo("red", (400, 300))}}, 413, "at most 100,000 pixels, received 400 × 300"),
        ({"files": {"photo": png_of(30_000, 30_000)}}, 413, "expected at most .* pixels"),
        ({"files": {"photo": bytes(300_000)}}, 413, "expected at most 200,000 bytes, received 300,"),
        ({"files": {"photo": b""}}, 422, "received something else"),
        ({"files": {"text": b"red"}}, 422, "text: expected one file, photo or recipe"),
        ({"files": [("photo", RED), ("photo", RED), ("photo", RED)]}, 400, "broken one .Too many files"),
        ({"files": {"photo": RED}, "data": {"photo": "x"}}, 422, "photo: expected one file"),
        ({"files": {"photo": RED, "recipe": b"{}"}}, 422, "received photo and recipe"),
        ({"json": {"recipe": {}}}, 422, "recipe: expected a recipe"),
        ({"json": {"recipe": {"a": 1}}}, 422, "recipe: expected a recipe"),
        ({"json": {"recipe": [{"title": "red"}, {"title": "blue"}]}}, 422, "received several"),
        ({"json": {"recipe": "<html>red</html>"}}, 422, "recipe: "),
        ({"json": {"recipe": "\n"}}, 422, "it is empty"),
        ({"json": {"recipe": 5}}, 422, "recipe.*; received int 5"),
        ({"json": {"recipe": {"title": "red", "ingredients": ["red"] * 9}}}, 413, "at most 8 lines of ingredients"),
        ({"json": {"recipe": {"title": "red", "ingredients": ["r" * 61]}}}, 413, "at most 60 characters a line"),
        ({"json": {"recipe": {"title": "red", "instructions": [list("red")] * 5000}}}, 413, "at most 20,000 bytes"),
        ({"files": {"recipe": RED}}, 422, "received a PNG picture"),
        ({"files": {"recipe": ("a.zip", bomb())}}, 422, "too large"),
        ({"files": {"recipe": ("a.gz", zlib.compress(bytes(10**6), 9, 31))}}, 422, "unpacks to more than 20,000"),
        ({"files": {"recipe": ("a.parquet", b"PAR1")}}, 422, "a table of many"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_refused(client, request_, status, message):
    if "json" in request_:  # httpx itself refuses NaN and halves of surrogate pairs
        request_ = {"content": json.dumps(request_["json"]), "headers": {"content-type": "application/json"}}
    answer = client.post("/search", **request_)
    assert answer.status_code == status, answer.text
    assert re.search(message, answer.json()["detail"]), answer.text


def test_a_body_without_a_length_is_bounded_too(client):
    pieces = (bytes(1000) for _ in range(1000))
    answer = client.post("/search", content=pieces, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_an_index_of_photos_reads_no_text(tmp_path):
    encoder = colours.Encoder(encoders=("image",))
    with TestClient(open_app(tmp_path, encoder=encoder)) as client:
        assert client.get("/health").json()["searches"] == ["photo"]
        answer = client.post("/search", json={"text": "red"})
        assert (answer.status_code, answer.json()["detail"][:23]) == (422, "text: expected a photo,")
        assert titles(find(client, photo=B64, k=1)) == ["Red soup"]


def test_generated_pictures_explain(client, tmp_path):
    assert find(client, text="red", explain=True)["notes"] == ["fake has no picture of how it understands a text."]
    with TestClient(open_app(tmp_path, encoder=colours.Encoder(decoders=("picture",)))) as client:
        found = find(client, text="red and blue", k=2, explain=True)
        for made, colour in ((found["query"]["generated"], (128, 0, 128)), (found["results"][0]["generated"], None)):
            kind, content = made.split(",", 1)
            assert kind == "data:image/png;base64"
            pixel = Image.open(io.BytesIO(base64.b64decode(content))).getpixel((0, 0))
            assert colour is None or pixel == colour
        assert find(client, text="red")["query"]["generated"] is None


def test_a_heat_map_explains(tmp_path):
    with TestClient(open_app(tmp_path, encoder=colours.Encoder(heat_maps=("image",)))) as client:
        assert client.get("/health").json()["looks"]
        found = find(client, photo=base64.b64encode(colours.photo("white")).decode(), explain=True)
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["query"]["heat_map"].split(",")[1]))), int)
        assert picture.shape == (8, 8, 3)
        assert picture[0, 0, 0] - picture[0, 0, 2] > 100  # red where it looks
        assert np.ptp(picture[-1, -1]) < 5  # grey where it does not
        assert (found["notes"], found["results"][0]["generated"]) == ([], None)
        assert find(client, text="red", explain=True)["query"]["heat_map"] is None


def test_what_takes_too_long_is_given_up(tmp_path):
    class Slow(colours.Encoder):
        def encode(self, encoder, inputs):
            time.sleep(0.6)
            return super().encode(encoder, inputs)

    with TestClient(open_app(tmp_path, Limits(seconds=0.2), Slow())) as client:
        answer = client.post("/search", json={"photo": B64})
        assert (answer.status_code, answer.json()["detail"]) == (
            504,
            "expected to take 0.2 seconds at most, took longer.",
        )
        assert client.get("/health").status_code == 200
        assert 'path="/search",status="504"} 1.0' in client.get("/metrics").text


def test_more_requests_than_it_can_bear_are_told_to_come_again(tmp_path):
    begun, go = threading.Event(), threading.Event()

    class Held(colours.Encoder):
        def encode(self, encoder, inputs):
            begun.set()
            return go.wait(10) and super().encode(encoder, inputs)

    with (
        TestClient(open_app(tmp_path, Limits(requests=1), Held())) as client,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.post, "/search", json={"photo": B64})
        assert begun.wait(10)
        second = client.post("/search", json={"text": "red"})
        health = client.get("/health")
        go.set()
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert second.json()["detail"] == "expected at most 1 requests at once, received more."
        assert health.status_code == 200  # however many there are
        assert first.result().status_code == 200
        assert client.post("/search", json={"text": "red"}).status_code == 200


def test_a_failure_is_answered_and_logged(tmp_path, caplog):
    class Broken(colours.Encoder):
        def encode(self, encoder, inputs):
            raise RuntimeError("out of order")

    with TestClient(open_app(tmp_path, encoder=Broken()), raise_server_exceptions=False) as client:
        answer = client.post("/search", json={"photo": B64})
        assert (answer.status_code, answer.json()["detail"]) == (
            500,
            "the service failed at this request; its log says how.",
        )
        assert 'path="/search",status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("bound", ["megabytes", "lines", "seconds"])
def test_limits_are_positive(bound):
    with pytest.raises(ValueError, match=f"{bound}: expected more than 0, received 0"):
        Limits(**{bound: 0})
