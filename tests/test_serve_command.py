"""`kfood serve` as a process of its own: without TensorFlow, through reloads, signals and kills."""

import base64
import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs kfood[serve]")
pytest.importorskip("httpx", reason="needs httpx")

import httpx
import serve_kitchen as colours

from kfood import search

WITHOUT = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = sys.modules['tensorflow_datasets'] = None; "
COMMAND = WITHOUT + "from kfood.tools.main import main; sys.exit(main(['serve', *sys.argv[1:]]))"


def write_index(folder, bundle, count, overwrite=False):
    rng = np.random.default_rng(count)
    photos = rng.integers(0, 255, (count, 2, 2, 3), np.uint8).repeat(20, 1).repeat(20, 2)
    items = [
        search.Item(
            id=f"{count}-{row}",
            title=f"soup of {count}",
            ingredients=["2 leeks", "salt"][row % 2 :],
            instructions=["Boil."],
            recipe={"title": "soup", "ingredients": ["2 leek"], "instructions": ["boil"]},
            photo=photo,
        )
        for row, photo in enumerate(photos)
    ]
    dataset = {"name": "soups", "fingerprint": "ab"}
    search.build_index(folder, bundle, items, dataset=dataset, splits=["test"], overwrite=overwrite)


@pytest.fixture(scope="module")
def bundle(small_bundle, tmp_path_factory):
    from kfood.export.runtime import Bundle

    return Bundle.open(shutil.copytree(small_bundle, tmp_path_factory.mktemp("serve") / "bundle"))


@pytest.fixture
def start(bundle, tmp_path):
    """Starts `kfood serve` on an index of 6; → (process, a client of it)."""
    write_index(tmp_path / "index", bundle, 6)
    started = []

    def start(*more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = [str(bundle.path), "--index", str(tmp_path / "index"), "--port", str(port), *more]
        process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        started.append((process, client))
        for _ in range(600):
            try:
                client.get("/health")
                return process, client
            except httpx.TransportError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
        raise AssertionError("it did not start")

    yield start
    for process, client in started:
        client.close()
        process.kill()
        process.communicate()


PHOTO = colours.photo("red", (60, 40), "JPEG")


def test_answers_are_those_of_the_command(start, bundle, tmp_path):
    _, client = start()
    answer = client.post("/search", files={"photo": PHOTO}, data={"k": "3", "to": "photos"}).json()
    index = search.Index.open(tmp_path / "index")
    expected = index.search(bundle.encode_photos([PHOTO])[0], "photos", 3)
    assert [each["id"] for each in answer["results"]] == [each.id for each in expected]
    distances = [each["distance"] for each in answer["results"]]
    assert distances == pytest.approx([each.distance for each in expected], abs=1e-6)
    recipe = {"title": "Soup", "ingredients": ["leek"], "instructions": []}
    answer = client.post("/embed/recipe", json={"recipe": recipe}).json()
    np.testing.assert_allclose(answer["embedding"], bundle.encode_recipes([recipe])[0], atol=1e-6)
    answer = client.post("/search", json={"recipe": {"name": "Leek soup", "recipeIngredient": ["2 leeks"]}})
    assert answer.status_code == 200, answer.text


def test_nothing_is_lost_by_a_kill(start, tmp_path):
    process, client = start()
    before = client.post("/search", json={"text": "leek soup"}).json()
    files = {path: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(client.post, "/search", json={"text": "leek soup"}) for _ in range(40)]
        process.kill()
        concurrent.futures.wait(running)
    process.wait()
    _, client = start()
    assert client.post("/search", json={"text": "leek soup"}).json() == before
    assert {path: path.read_bytes() for path in (tmp_path / "index").iterdir()} == files


def test_an_index_is_replaced_under_load(start, bundle, tmp_path):
    """No request fails, and each is answered from one index: its items all are of the same size."""
    process, client = start("--reload-seconds", "0.1")
    seen, ended = [], time.monotonic() + 20
    done = False

    def ask(worker):
        while not done and time.monotonic() < ended:
            answer = client.post("/search", files={"photo": PHOTO}, data={"k": "3"})
            assert answer.status_code == 200, answer.text
            content = answer.json()
            assert {each["id"].split("-")[0] for each in content["results"]} == {str(content["items"])}
            assert {each["title"] for each in content["results"]} == {f"soup of {content['items']}"}
            seen.append(content["items"])

    def wait_for(count):
        while seen[-1] != count:
            assert time.monotonic() < ended, client.get("/health").text
            time.sleep(0.02)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(ask, worker) for worker in range(4)]
        while not seen:
            time.sleep(0.01)
        for count in (9, 5, 7):
            write_index(tmp_path / "index", bundle, count, overwrite=True)
            wait_for(count)
        done = True
    for worker in workers:
        worker.result()
    assert {6, 9, 5, 7} <= set(seen)
    assert client.get("/health").json()["reload_problem"] == ""
    assert 'kfood_reloads_total{result="taken"} 3.0' in client.get("/metrics").text
    assert process.poll() is None


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_signals(start, bundle, tmp_path):
    process, client = start("--reload-seconds", "0")
    write_index(tmp_path / "index", bundle, 9, overwrite=True)
    time.sleep(0.3)
    assert client.get("/health").json()["items"] == 6
    process.send_signal(signal.SIGHUP)
    for _ in range(100):
        if client.get("/health").json()["items"] == 9:
            break
        time.sleep(0.05)
    assert client.get("/health").json()["items"] == 9
    shutil.rmtree(tmp_path / "index")
    process.send_signal(signal.SIGHUP)
    for _ in range(100):
        if problem := client.get("/health").json()["reload_problem"]:
            break
        time.sleep(0.05)
    assert "expected an index made by `kfood index`" in problem
    body = b'{"photo": "' + base64.b64encode(PHOTO) + b'"}'

    def slowly():
        yield body[:10]
        time.sleep(0.5)
        yield body[10:]

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        headers = {"content-type": "application/json"}
        begun = pool.submit(client.post, "/search", content=slowly(), headers=headers)
        time.sleep(0.25)
        process.send_signal(signal.SIGTERM)
        assert begun.result().status_code == 200  # what it has begun it ends
    assert process.wait(10) in (0, -signal.SIGTERM)


def test_a_proxy_shows_it_under_a_path(start):
    """The proxy takes its path away; the page's own addresses are relative."""
    _, client = start("--root-path", "/kitchen")
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/kitchen"}]
    page = client.get("/").text
    assert page.count('="static/') == 4
    assert client.get("/static/page.css").headers["content-type"].startswith("text/css")
    found = client.post("/search", json={"text": "leek soup"}).json()
    assert client.get("/" + found["results"][0]["thumbnail"]).headers["content-type"] == "image/jpeg"
    assert 'path="/search"' in client.get("/metrics").text


@pytest.mark.parametrize("missing", ["index", "bundle"])
def test_it_says_what_is_missing(bundle, tmp_path, missing):
    index = tmp_path / "index"
    write_index(index, bundle, 3)
    arguments = [str(bundle.path), "--index", str(index)]
    arguments[0 if missing == "bundle" else 2] = str(tmp_path / "none")
    result = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, env=os.environ, check=False
    )
    assert result.returncode == 2
    assert f"kfood serve: {tmp_path / 'none'}: expected a" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
