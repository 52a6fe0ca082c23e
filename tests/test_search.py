"""Indexing and searching, with an encoder made of NumPy."""

import dataclasses
import io
import json
import sys

import numpy as np
import pytest
import vector_items
from oracles import brute_force
from PIL import Image

from kfood import search
from kfood.search import building, exact, fingerprints

DIM = 4


@dataclasses.dataclass
class Encoder(vector_items.Encoder):
    """Photo → the mean of each colour and 1; recipe → what its title says."""

    embedding_size: int = DIM

    def encode_images(self, images, *, location=None):
        return np.array([[*image.mean((0, 1)) / 255, 1] for image in images], np.float32)

    def read_recipes(self, recipes):
        words = [recipe["title"].split() for recipe in recipes]
        known = np.array([sum(word != "?" for word in each) for each in words])
        values = [[float(x) for x in each] if count else [0] * 3 for each, count in zip(words, known, strict=True)]
        return np.array([[*value, 1] for value in values], np.float32), np.array([len(each) for each in words]), known


def make_items(colours):
    shape = (300, 200, 3) if len(colours) < 10 else (3, 2, 3)
    for number, colour in enumerate(colours):
        title = " ".join(f"{x:.3f}" for x in colour)
        yield search.Item(
            id=f"id{number}",
            title=title,
            ingredients=["salt", "½ leek"],
            instructions=["Boil."],
            recipe={"title": title},
            photo=np.broadcast_to((255 * np.array(colour)).astype(np.uint8), shape).copy(),
        )


COLOURS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.8, 0.1, 0), (0, 0.5, 0.5)]


def build(out, colours=COLOURS, encoder=None, **options):
    options = {"dataset": {"name": "kitchen", "fingerprint": "cd"}, "splits": ["test"], **options}
    return search.build_index(out, encoder or Encoder(), make_items(colours), **options)


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("kind", ["far apart", "close together", "many equal", "with zeros"])
def test_nearest_is_exact(rng, monkeypatch, distance, kind):
    monkeypatch.setattr(exact, "BLOCK", 64)  # several blocks, the last one partial
    gallery = rng.normal(size=(300, 16)).astype(np.float32)
    if kind == "close together":
        gallery = (100 + 1e-4 * gallery).astype(np.float32)  # float32 products cannot tell them apart
    elif kind == "many equal":
        gallery = gallery[rng.integers(0, 4, 300)]
    elif kind == "with zeros":
        gallery[::3] = 0
    query = gallery[17] + np.float32(1e-5)
    expected = brute_force(query, gallery, distance)
    for top in (1, 5, 299, 1000):
        rows, distances = search.nearest(query, gallery, distance=distance, top=top)
        assert len(rows) == min(top, 300)
        assert len(set(rows)) == len(rows)
        np.testing.assert_allclose(distances, np.sort(expected)[:top], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(distances, expected[rows], rtol=1e-9, atol=1e-9)


def test_equal_distances_come_in_the_order_of_the_rows():
    gallery = np.array([[2.0], [0.0], [1.0], [-1.0], [0.0]], np.float32)
    rows, distances = search.nearest(np.zeros(1, np.float32), gallery, distance="euclidean", top=4)
    assert rows.tolist() == [1, 4, 2, 3]
    assert distances.tolist() == [0, 0, 1, 1]


def test_candidates_limit_the_answer():
    gallery = np.arange(6, dtype=np.float32)[:, None]
    found = search.nearest(
        np.zeros(1, np.float32), gallery, distance="euclidean", top=2, candidates=np.array([5, 3, 4])
    )
    assert found[0].tolist() == [3, 4]


def test_an_open_index_outlives_its_replacement(tmp_path):
    build(tmp_path / "index")
    index = search.Index.open(tmp_path / "index")
    before = index.search(np.array([0, 0, 1, 1], np.float32), "photos", 5)
    build(tmp_path / "index", [(0, 0, 0.9)], overwrite=True)
    assert index.search(np.array([0, 0, 1, 1], np.float32), "photos", 5) == before
    assert [record["id"] for record in index.records()] == ["id0", "id1", "id2", "id3", "id4"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Leek soup", ("Leek soup", [], [])),
        (
            "Leek soup\n\nIngredients:\n- 2 leeks\n• salt\n1. stock\nMethod\n1. Boil.\nServe hot.",
            ("Leek soup", ["2 leeks", "salt", "stock"], ["Boil.", "Serve hot."]),
        ),
        (
            "Leek soup\n2 leeks\n½ onion\na pinch of salt\n1) Cut the leeks.\nBoil all of it for long.\n",
            ("Leek soup", ["2 leeks", "½ onion", "a pinch of salt"], ["Cut the leeks.", "Boil all of it for long."]),
        ),
        ("2 leeks\n1 onion", ("", ["2 leeks", "1 onion"], [])),
        ("Leek soup\nBoil the leeks. Serve.", ("Leek soup", [], ["Boil the leeks.", "Serve."])),
        ("INGREDIENTS\nleek\n", ("", ["leek"], [])),
        ("", ("", [], [])),
    ],
)
def test_recipes_as_people_paste_them(text, expected):
    found = search.plain_recipe(text)
    assert (found.title, found.ingredients, found.instructions) == expected


def test_index_holds_what_search_shows(tmp_path):
    description = build(tmp_path / "index")
    assert (description["items"], description["engine"]["name"]) == (5, "exact")
    index = search.Index.open(tmp_path / "index")
    assert len(index) == 5
    results = index.search(np.array([0.9, 0, 0, 1], np.float32), "recipes", 2)
    assert [(result.rank, result.id) for result in results] == [(1, "id0"), (2, "id3")]
    assert results[0].distance == pytest.approx(0.1, abs=1e-6)
    assert (results[1].title, results[1].ingredients) == ("0.800 0.100 0.000", ["salt", "½ leek"])
    thumbnail = Image.open(io.BytesIO(results[1].thumbnail))
    assert thumbnail.size == (107, 160)
    assert thumbnail.getpixel((50, 50)) == pytest.approx((204, 25, 0), abs=4)


def test_photos_and_recipes_are_two_galleries(tmp_path):
    build(tmp_path / "index")
    index = search.Index.open(tmp_path / "index")
    np.testing.assert_allclose(index.embeddings("recipes")[:, :3], COLOURS, atol=1e-6)
    np.testing.assert_allclose(index.embeddings("photos")[:, :3], COLOURS, atol=1 / 255)
    assert not np.array_equal(index.embeddings("recipes"), index.embeddings("photos"))


def test_a_recipe_without_a_known_word_is_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BATCH", 2)
    items = list(make_items(COLOURS))
    items[1] = dataclasses.replace(items[1], recipe={"title": "? ?"})
    done = []
    description = search.build_index(
        tmp_path / "index",
        Encoder(),
        items,
        dataset={"name": "k", "fingerprint": ""},
        splits=["test"],
        advance=done.append,
    )
    assert (description["items"], description["without_words"]) == (4, {"count": 1, "first": ["id1"]})
    assert done == [2, 2, 1]
    index = search.Index.open(tmp_path / "index")
    found = index.search(np.array([0, 1, 0, 1], np.float32), "photos", 9)
    assert [result.id for result in found] == ["id4", "id3", "id0", "id2"]  # id1, all green, would be the first


def test_nothing_to_index_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least one"):
        build(tmp_path / "index", [])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_index_before(tmp_path):
    build(tmp_path / "index")
    before = (tmp_path / "index" / "index.json").read_bytes()

    class Broken(Encoder):
        def encode_images(self, images, *, location=None):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        build(tmp_path / "index", encoder=Broken(), overwrite=True)
    with pytest.raises(FileExistsError, match="exists already"):
        build(tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert (tmp_path / "index" / "index.json").read_bytes() == before
    build(tmp_path / "index", COLOURS[:2], overwrite=True)
    assert len(search.Index.open(tmp_path / "index")) == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(FileExistsError, match="replaces indexes only"):
        build(tmp_path / "photos", overwrite=True)


def test_the_bundle_of_the_index_is_known(tmp_path):
    build(tmp_path / "index", encoder=Encoder(path=tmp_path / "bundle"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "index").rename(tmp_path / "moved" / "index")
    index = search.Index.open(tmp_path / "moved" / "index")
    assert index.bundle.resolve() == tmp_path / "moved" / "bundle"  # they move together
    index.check_bundle(Encoder())
    with pytest.raises(ValueError, match=r"expected the bundle that made the index .*abab.*received .*0000"):
        index.check_bundle(Encoder(sha256="00" * 32))


def test_damaged_indexes_are_refused(tmp_path):
    build(tmp_path / "index")
    path = tmp_path / "index"
    for name in search.Index.open(path).description["files"]:
        content = (path / name).read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            (path / name).write_bytes(changed)
            with pytest.raises(ValueError, match=rf"{name}: expected sha256 .*it is damaged, or of another index"):
                search.Index.open(path)
        (path / name).write_bytes(content[:-1])
        with pytest.raises(
            ValueError, match=rf"{name}: expected {len(content)} bytes, received {len(content) - 1} bytes"
        ):
            search.Index.open(path)
        (path / name).write_bytes(content)
    photos = (path / "1/photos.f32").read_bytes()
    (path / "1/photos.f32").write_bytes((path / "1/recipes.f32").read_bytes())
    with pytest.raises(ValueError, match=r"photos\.f32: expected sha256"):
        search.Index.open(path)
    (path / "1/photos.f32").write_bytes(photos)
    description = json.loads((path / "index.json").read_text())
    for key, value, message in (
        ("items", 4, "expected 5 items, received 4"),
        ("rows", 4, r"photos\.f32: expected float32 \[4, 4\], received 80 bytes"),
        ("deleted", 1, "expected the description of an index"),
        ("format", 3, "expected an index of format 4, received format 3; run `kfood index` again"),
        ("files", {}, "expected the description of an index"),
        ("files", 7, "expected the description of an index"),
        ("engine", description["engine"] | {"name": "int8"}, "expected the description of an index"),
        ("engine", description["engine"] | {"name": "pq"}, "expected the description of an index"),
    ):
        (path / "index.json").write_text(json.dumps(description | {key: value}))
        with pytest.raises(ValueError, match=message):
            search.Index.open(path)
    (path / "index.json").write_text(json.dumps(description))
    assert len(search.Index.open(path)) == 5
    (path / "1/photos.f32").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file 1/photos\.f32"):
        search.Index.open(path)
    for content in ("{", "[]", "7", "[" * 100_000):
        (path / "index.json").write_text(content)
        with pytest.raises(ValueError, match="expected the description of an index"):
            search.Index.open(path)
    with pytest.raises(FileNotFoundError, match=r"found no index\.json"):
        search.Index.open(tmp_path)


def test_of_a_large_file_pieces_tell_it_from_another(tmp_path):
    """A part that was not copied is zeros; the end and the begin are looked at."""
    content = np.random.default_rng(0).bytes(18 << 20)
    path = tmp_path / "a"
    path.write_bytes(content)
    expected = fingerprints.fingerprint(path)
    assert expected["size"] == len(content)
    assert fingerprints.fingerprint(path) == expected
    for place in (0, len(content) - 1, 9 << 20):
        length = 1 if place != 9 << 20 else 1 << 17
        changed = content[:place] + bytes([content[place] ^ 1]) + bytes(length - 1) + content[place + length :]
        assert len(changed) == len(content)
        path.write_bytes(changed)
        assert fingerprints.fingerprint(path)["sha256"] != expected["sha256"]


def test_wrong_queries_are_refused(tmp_path):
    build(tmp_path / "index")
    index = search.Index.open(tmp_path / "index")
    with pytest.raises(ValueError, match=r"query: expected \[4\], received \[3\]"):
        index.search(np.zeros(3), "photos")
    with pytest.raises(ValueError, match="top: expected at least 1, received 0"):
        index.search(np.zeros(4), "photos", 0)
    with pytest.raises(ValueError, match="expected one of photos, recipes, received 'menus'"):
        index.search(np.zeros(4), "menus")


def test_text_is_put_where_the_model_reads_it():
    titled = {"title_words": 8, "instruction_vectors": 0}
    assert search.text_as_recipe("leek soup", titled) == {"title": "leek soup", "ingredients": [], "instructions": []}
    listed = search.text_as_recipe("chicken soup, leek;  carrots,\n", titled)
    assert listed["ingredients"] == ["chicken soup", "leek", "carrots"]
    untitled = search.text_as_recipe("leek soup", {"title_words": 0, "instruction_vectors": 0})
    assert (untitled["ingredients"], untitled["instructions"]) == (["leek soup"], ["leek soup"])
    assert search.text_as_recipe("leek", {"title_words": 0, "instruction_vectors": 7})["instruction_vectors"] == []


@pytest.mark.parametrize("query", ["leek soup", np.full((30, 90, 3), 7, np.uint8)])
def test_results_are_drawn(tmp_path, query):
    build(tmp_path / "index")
    results = search.Index.open(tmp_path / "index").search(np.array([1, 0, 0, 1], np.float32), "photos", 5)
    image = Image.open(io.BytesIO(search.draw_results(query, results, "title")))
    red = image.getpixel((12 + 212 + 100, 30 + 12 + 100))  # the middle of the first result
    assert red == pytest.approx((255, 0, 0), abs=6)
    assert image.width == 12 + 6 * 212
    if not isinstance(query, str):
        assert image.getpixel((12 + 100, 30 + 12 + 100)) == (7, 7, 7)


class FakeBundle(Encoder):
    """As ``kfood.export.runtime.Bundle``, for the command."""

    def __init__(self):
        super().__init__()
        self.spec = {"ingredient_unit": "word", "instruction_vectors": 0, "title_words": 8}
        self.encoders = {"image": {}, "recipe": {}}
        self.manifest = {"encoders": {"image": {"inputs": {"image": {}}}}}
        self.known = 3

    def encode_recipes(self, recipes):
        self.asked = recipes
        if recipes[0].get("title") == "  ":
            raise ValueError("recipe 0: expected at least one word that the model knows in title, received none.")
        if "name" in recipes[0]:
            raise ValueError("recipe 0: expected the keys title, received name.")
        return np.array([[0, 1, 0, 1]], np.float32)

    def read_recipes(self, recipes):
        return self.encode_recipes(recipes), np.array([3]), np.array([self.known])


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The search command on a small index; (its run function, the bundle that it opens, the index)."""
    from kfood.export import runtime
    from kfood.tools import search as tool

    build(tmp_path / "index", encoder=Encoder(path=tmp_path / "bundle"))
    (tmp_path / "bundle").mkdir()
    bundle = FakeBundle()
    monkeypatch.setattr(runtime.Bundle, "open", lambda path: bundle)
    return lambda **options: tool.run(tool.Search(tmp_path / "index", **options)), bundle


def test_command_photo_finds_recipes(command, tmp_path, capsys):
    run, _ = command
    photo, picture = tmp_path / "blue.png", tmp_path / "found.png"
    Image.new("RGB", (40, 40), (0, 0, 255)).save(photo)
    results = run(image=photo, top=2, gallery_picture=picture)
    assert [result.id for result in results] == ["id2", "id4"]
    printed = capsys.readouterr().out
    assert "blue.png → recipes" in printed
    assert "id4" in printed
    assert Image.open(picture).format == "PNG"


def test_command_text_and_recipe_find_photos(command, tmp_path, capsys):
    run, bundle = command
    assert run(text="green, leek", top=1)[0].id == "id1"
    assert bundle.asked[0]["ingredients"] == ["green", "leek"]
    assert "→ photos" in capsys.readouterr().out
    recipe = tmp_path / "recipe.json"
    recipe.write_text("\ufeff" + json.dumps({"title": "Leeks", "ingredients": ["leek"]}), encoding="utf-8")
    assert run(recipe=recipe, to="recipes")[0].id == "id1"
    printed = capsys.readouterr().out
    assert "Leeks → recipes" in printed
    assert "knows" not in printed
    bundle.known = 2
    run(recipe=recipe)
    assert f"{recipe}: the model knows 2 of the 3 words that it reads." in capsys.readouterr().out
    assert len(run(text="green", top=9, with_=("leek", "salt"), without=("nuts",))) == 5
    with pytest.raises(ValueError, match="--with, --without: expected ingredients that leave something to find"):
        run(text="green", without=("leeks",))
    run(text="a")
    assert "--text: the model knows 2 of the 3 words that it reads." in capsys.readouterr().out


def test_what_a_console_has_no_bytes_for_is_escaped(command, tmp_path, monkeypatch):
    """Half a surrogate pair, and a control sequence, in a title; and the same drawn."""
    from kfood.tools import main
    from kfood.tools import search as tool

    run, _ = command
    recipe, picture = tmp_path / "recipe.json", tmp_path / "found.png"
    recipe.write_text('{"title": "soup \\ud83c\\u001b[2J", "ingredients": ["onion"]}')
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(tool, "main", lambda arguments: run(recipe=recipe, gallery_picture=picture))
    assert main.main(["search"]) == 0
    out.flush()
    printed = out.buffer.getvalue().decode()
    assert "soup ?\\x1b" in printed
    assert "\x1b" not in printed
    assert Image.open(picture).format == "PNG"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_message_reaches_any_console(monkeypatch, encoding):
    from kfood.tools import main

    err = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stderr", err)
    assert main.main(["search", "日本\ud83c\x1b[2J", "--text", "a"]) == 2
    err.flush()
    said = err.buffer.getvalue()
    assert b"\\ud83c\\x1b[2J: expected an index made by" in said
    assert said.startswith(b"kfood search: " + "日本".encode(encoding, "backslashreplace"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"recipe\.json: expected recipes; received broken JSON"),
        ("[]", "received none: no object or row"),
        ("[" * 200_000 + "]" * 200_000, "received JSON nested too deep"),
        ("[" * 200_000, "received JSON nested too deep"),
        ('{"servings": 4}', "received none: no object or row with a title"),
        ('[{"ingredients": ["leek"]}, {"ingredients": ["leek"]}]', "expected one recipe, received several"),
    ],
)
def test_command_names_what_is_wrong_with_a_recipe(command, tmp_path, content, message):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        command[0](recipe=tmp_path / "recipe.json")


def test_command_refuses(command, tmp_path):
    run, bundle = command
    with pytest.raises(ValueError, match="expected one of --image, --recipe, --text and --trajectory, received none"):
        run()
    with pytest.raises(ValueError, match="received --image and --text"):
        run(image=tmp_path / "a.jpg", text="leek")
    with pytest.raises(ValueError, match="--top: expected at least 1, received 0"):
        run(text="leek", top=0)
    with pytest.raises(ValueError, match="--text: expected at least one word"):
        run(text="  ")
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: expected a photo"):
        run(image=tmp_path / "none.jpg")
    with pytest.raises(FileNotFoundError, match="if it was moved, give --bundle"):
        run(text="leek", bundle=tmp_path / "elsewhere")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="--location: expected a model that reads where a picture lies"):
        run(image=tmp_path / "a.png", location=(0, 1, 1, 0))
    bundle.manifest["encoders"]["image"]["inputs"]["location"] = {}
    with pytest.raises(ValueError, match="--image: expected --location LEFT TOP RIGHT BOTTOM too"):
        run(image=tmp_path / "a.png")
    bundle.sha256 = "00" * 32
    with pytest.raises(ValueError, match="index again with this bundle"):
        run(text="leek")


class NameBundle(Encoder):
    """Reads ingredient names and sentence vectors."""

    def __init__(self):
        super().__init__()
        self.spec = {"ingredient_unit": "name", "instruction_vectors": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A prepared dataset of one recipe a split, with sentence vectors."""
    from kfood.data import builder
    from kfood.data.dataset import RecipeRecord

    def record(split):
        pixels = io.BytesIO()
        Image.new("RGB", (12, 10), (200, 0, 0)).save(pixels, "JPEG")
        vectors = np.array([[1, 2]], np.float32)
        return RecipeRecord(
            split, f"Soup of {split}", ["2 fresh leeks"], ["leek"], ["Boil ½."], 0, [pixels.getvalue()] * 2, vectors
        )

    return builder.write_recipes(
        tmp_path_factory.mktemp("data") / "data",
        "kitchen",
        {split: [record(split)] for split in ("train", "val", "test")},
        classes=["background"],
        short_side=10,
        min_word_count=1,
        min_ingredient_count=1,
        instruction_vectors=2,
    )


def test_items_of_a_dataset(dataset):
    from kfood.tools.dataset_items import Source

    def items_of(splits, bundle):
        return Source(bundle, dataset, splits).items()

    items = list(items_of(["val", "test"], NameBundle()))
    assert [item.id for item in items] == ["val", "test"]
    item = items[1]
    assert (item.title, item.ingredients, item.instructions) == ("Soup of test", ["2 fresh leeks"], ["Boil ½."])
    assert item.recipe["ingredients"] == ["leek"]  # what this model reads
    np.testing.assert_array_equal(item.recipe["instruction_vectors"], [[1, 2]])
    assert item.photo.shape == (10, 12, 3)
    bundle = NameBundle()
    bundle.spec = {"ingredient_unit": "word", "instruction_vectors": 0}
    assert next(items_of(["test"], bundle)).recipe == {
        "title": "Soup of test",
        "ingredients": ["2 fresh leeks"],
        "instructions": ["Boil ½."],
    }
    bundle.spec["instruction_vectors"] = 9
    with pytest.raises(ValueError, match="expected precomputed sentence vectors of width 9"):
        next(items_of(["test"], bundle))


def test_index_command(dataset, tmp_path, monkeypatch, capsys):
    from kfood.export import runtime
    from kfood.tools import index as tool

    bundle = FakeBundle()
    bundle.spec["ingredient_unit"] = "word"

    def read_recipes(recipes):
        return np.ones((len(recipes), DIM), np.float32), *([np.ones(len(recipes), np.int64)] * 2)

    bundle.read_recipes = read_recipes
    monkeypatch.setattr(runtime.Bundle, "open", lambda path, threads, precision: bundle)
    tool.main(
        [str(tmp_path / "bundle"), "--data", str(dataset.path), "--out", str(tmp_path / "index"), "--split", "all"]
    )
    assert "3 recipes with photos" in capsys.readouterr().out
    index = search.Index.open(tmp_path / "index")
    assert index.description["dataset"]["splits"] == ["train", "val", "test"]
    assert [result.id for result in index.search(np.ones(DIM), "recipes")] == ["train", "val", "test"]

    out = ["--out", str(tmp_path / "index")]
    tool.main([*out, "--delete", "val", "train"])
    assert "index: 2 deleted, 1 left." in capsys.readouterr().out
    tool.main([str(tmp_path / "bundle"), "--data", str(dataset.path), *out, "--split", "all", "--add"])
    assert "index: 2 recipes with photos added, 1 replaced, 3 in all." in capsys.readouterr().out
    assert sorted(search.Index.open(tmp_path / "index").rows) == ["test", "train", "val"]
    options = [str(tmp_path / "bundle"), "--data", str(dataset.path), *out]
    tool.main([*options, "--overwrite", "--engine", "int8"])
    assert "int8: of the exact nearest 10 it finds: photos 100.0%, recipes 100.0%." in capsys.readouterr().out
    for arguments, message in (
        ({"delete": ("test",), "data": tmp_path}, "--delete: expected only --out INDEX with it"),
        ({}, "expected BUNDLE and --data DATA, or --delete ID"),
        ({"bundle": tmp_path, "data": tmp_path, "add": True, "engine": "int8"}, "--add: expected no --overwrite, --en"),
    ):
        with pytest.raises(ValueError, match=message):
            tool.Index(out=tmp_path / "index", **arguments)


class Generator(FakeBundle):
    """With a decoder: from each embedding a picture of one colour, its first three numbers."""

    def __init__(self, sources):
        super().__init__()
        self.decoders = ("ingredients", "picture")
        self.taken = sources

    def sources(self, decoder):
        return {"picture": self.taken, "ingredients": ("image",)}[decoder]

    def decode(self, decoder, embeddings):
        assert decoder == "picture"
        assert embeddings.dtype == np.float32
        return np.broadcast_to(300 * embeddings[:, None, None, :3] - 20, (len(embeddings), 8, 8, 3))


@pytest.mark.parametrize(
    ("sources", "encoder", "side", "source", "of_query"),
    [
        (("recipe", "image"), "image", "recipes", "recipe", True),
        (("recipe", "image"), "recipe", "photos", "photo", True),
        (("recipe",), "image", "recipes", "recipe", False),
        (("recipe",), "recipe", "photos", "recipe", True),
    ],
)
def test_explanation_decodes_what_was_compared(tmp_path, sources, encoder, side, source, of_query):
    class Darker(Encoder):  # so that photos and recipes differ
        def encode_images(self, images, *, location=None):
            return 0.5 * super().encode_images(images)

    build(tmp_path / "index", encoder=Darker())
    index = search.Index.open(tmp_path / "index")
    query = np.array([0.5, 0.2, 0, 0.5], np.float32)
    results = index.search(query, side, 3)
    found = search.explain(Generator(sources), index, query, encoder, results, side)
    assert found.source == source
    embeddings = index.embeddings("photos" if source == "photo" else "recipes")
    for result, picture in zip(results, found.results, strict=True):
        row = int(result.id.removeprefix("id"))
        expected = [min(max(round(300 * float(value) - 20), 0), 255) for value in embeddings[row][:3]]
        np.testing.assert_allclose(picture[3, 5], expected, atol=1)
        assert (picture.dtype, picture.shape) == (np.uint8, (8, 8, 3))
    if of_query:
        np.testing.assert_array_equal(found.query[0, 0], [130, 40, 0])
    else:
        assert found.query is None


def test_explanation_is_drawn_under_each_result(tmp_path):
    build(tmp_path / "index")
    results = search.Index.open(tmp_path / "index").search(np.array([1, 0, 0, 1], np.float32), "recipes", 5)
    colours = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((8, 8, 3), 40, np.uint8)
    plain = Image.open(io.BytesIO(search.draw_results("leek", results)))
    for query in (None, np.full((8, 8, 3), 9, np.uint8)):
        explanation = search.Explanation(query, colours, "recipe")
        image = Image.open(io.BytesIO(search.draw_results("leek", results, explanation=explanation)))
        assert image.height > plain.height + 200
        middle = 12 + 200 + 66 + 100
        for place in range(5):
            assert image.getpixel((12 + 212 * (place + 1) + 100, middle)) == (40 * place,) * 3
        assert image.getpixel((12 + 100, middle)) == ((9, 9, 9) if query is not None else (255, 255, 255))


def test_command_explains(command, tmp_path, monkeypatch, capsys):
    from kfood.export import runtime

    run, _ = command
    photo, picture = tmp_path / "blue.png", tmp_path / "found.png"
    Image.new("RGB", (40, 40), (0, 0, 255)).save(photo)
    monkeypatch.setattr(runtime.Bundle, "open", lambda path: Generator(("recipe", "image")))
    run(image=photo, top=1, gallery_picture=picture, explain=True)
    drawn = Image.open(picture)
    middle = 30 + 12 + 200 + 66 + 100
    assert drawn.getpixel((12 + 100, middle)) == drawn.getpixel((12 + 212 + 100, middle)) == (0, 0, 255)
    assert "pictures generated" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--explain: expected --gallery-picture"):
        run(image=photo, explain=True)
    for decoders, named in (((), "no decoder"), (("ingredients",), "decoders ingredients")):
        bundle = Generator(())
        bundle.decoders = decoders
        monkeypatch.setattr(runtime.Bundle, "open", lambda path, bundle=bundle: bundle)
        with pytest.raises(ValueError, match=rf"pictures \(of R2GAN.* received one of fake, which has {named}\."):
            run(image=photo, gallery_picture=tmp_path / "none.png", explain=True)
    assert not (tmp_path / "none.png").exists()
