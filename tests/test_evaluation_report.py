"""report.json is complete; report.html shows the right things, escaped, and needs no other file."""

import base64
import html.parser
import io
import json
import types

import numpy as np
import pytest
from PIL import Image

from kfood.evaluation import attention, report
from kfood.evaluation.embedding import Embeddings
from kfood.evaluation.protocols import Protocol, evaluate, scalability

PAIRS = 12
NAMES = ["salt", "flour & water", "egg", "<b>basil</b>"]


def photo(index, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, (20 * index % 256, max(255 - 20 * index, 0), 90)).save(file, "JPEG")
    return file.getvalue()


class Dataset:
    """What the report asks of a dataset."""

    name = "tiny"
    fingerprint = "f" * 64
    ingredients = NAMES

    def __init__(self, pairs=PAIRS):
        self.pairs = pairs

    def texts(self, split):
        assert split == "test"
        for i in range(self.pairs):
            title = "<script>alert(1)</script> soup" if i == 0 else f"dish number {i}"
            yield {"id": f"r{i}", "title": title, "ingredients": [f"{i} cups of '{n}'" for n in NAMES * 2]}

    def photo(self, split, index):
        assert split == "test"
        return photo(index)


class Network:
    """Embedding [b, 2] → what ``function`` makes of it."""

    def __init__(self, function):
        self.function = function

    def __call__(self, inputs, training):
        assert not training
        return self.function(inputs)


def decoder(sources, function):
    return types.SimpleNamespace(sources=sources, network=Network(function))


@pytest.fixture
def arrays():
    """Recipes on a line, photos likewise, but the photo of recipe 11 lies beside photo 0."""
    places = np.arange(PAIRS, dtype=np.float32)
    photos = places.copy()
    photos[11] = 0.25
    return {name: np.stack([x, np.ones_like(x)], axis=1) for name, x in (("image", photos), ("recipe", places))}


@pytest.fixture
def embeddings(arrays):
    # The true ingredients of pair i: names 0 and i % 3, and one that the vocabulary does not know.
    ids = np.array([[2, 2 + i % 3, 1, 0] for i in range(PAIRS)], np.int32)
    return Embeddings([f"r{i}" for i in range(PAIRS)], arrays, {"ingredient_ids": ids})


def make(arrays, embeddings, decoders=None, protocol=None, dataset=None, thumbnails=None):
    protocol = protocol or Protocol()
    dataset = dataset or Dataset()
    evaluation = evaluate(arrays, protocol, distance="euclidean")
    content = report.report_json(
        evaluation,
        dataset,
        "test",
        scalability=scalability(arrays, protocol, distance="euclidean"),
        model={"name": "acme", "weights": "best"},
        seconds={"ranking": 1.23456},
        thumbnails=thumbnails,
    )
    model = types.SimpleNamespace(decoders=decoders or {})
    return content, report.report_html(content, evaluation, embeddings, model, dataset)


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text inside each section."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.section, self.frames = [], {}, "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "section":
            self.section = attributes["id"]
        if tag == "figure" and "true" in (attributes.get("class") or ""):
            self.frames.append(self.section)

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data


def test_json_is_complete(arrays, embeddings):
    content, _ = make(arrays, embeddings, protocol=Protocol(6, 3, seed=5))
    content = json.loads(json.dumps(content))
    assert set(content) == {"format", "model", "data", "protocol", "directions", "scalability", "seconds", "versions"}
    (point,) = content["scalability"]  # a split of 12 has one size
    assert (point["gallery"], point["subsets"], set(point["MedR"])) == (PAIRS, 1, set(content["directions"]))
    assert content["model"] == {"name": "acme", "weights": "best"}
    assert content["data"] == {"name": "tiny", "fingerprint": "f" * 64, "split": "test", "pairs": PAIRS}
    protocol = content["protocol"]
    assert (protocol["gallery"], protocol["subsets"], protocol["seed"]) == (6, 3, 5)
    assert (protocol["distance"], protocol["rank_origin"], protocol["sampling"]) == ("euclidean", 1, "random")
    assert set(content["directions"]) == {"image_to_recipe", "recipe_to_image"}
    for figures in content["directions"].values():
        assert set(figures) == {"MedR", "R@1", "R@5", "R@10"}
        assert all(set(figure) == {"mean", "std"} for figure in figures.values())
    assert content["seconds"] == {"ranking": 1.235}
    assert set(content["versions"]) == {"kfood", "python", "keras", "tensorflow", "numpy"}
    assert content["versions"]["numpy"] == np.__version__


def test_page_needs_nothing_else_and_escapes(arrays, embeddings):
    _, text = make(arrays, embeddings)
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "b"}
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) > 20
    for source in sources:
        kind, _, data = source.partition(";base64,")
        assert kind in ("data:image/jpeg", "data:image/svg+xml")
        content = base64.b64decode(data, validate=True)
        if kind == "data:image/jpeg":
            assert max(Image.open(io.BytesIO(content)).size) <= report.PHOTO_SIDE
    assert "&lt;script&gt;alert(1)&lt;/script&gt; soup" in text
    assert "url(" not in text
    assert "@import" not in text


def test_page_shows_figures_and_the_true_match_of_hits_and_failures(arrays, embeddings):
    content, text = make(arrays, embeddings)
    page = Page(text)
    for figures in content["directions"].values():
        assert f"{figures['MedR']['mean']:.1f}" in page.texts[""]
        assert f"{100 * figures['R@1']['mean']:.1f} %" in page.texts[""]
    assert "6.5" in page.texts[""]  # chance: (12 + 1) / 2
    for section in ("recipe_to_image", "image_to_recipe"):
        assert page.frames.count(section) == report.EXAMPLES  # one framed true match a query
        assert page.texts[section].count("true match: rank") == report.EXAMPLES
        assert "true match: rank 1" in page.texts[section]
    # Recipe 11 at place 11: photos 10, 9, … 1, then its own at 0.25, then photo 0.
    assert "true match: rank 11" in page.texts["recipe_to_image"]
    assert "11. dish number 11" in page.texts["recipe_to_image"]
    assert any("beyond" in attributes.get("class", "") for tag, attributes in page.tags if tag == "figure")
    assert "pictures" not in page.texts
    assert "generate" not in text.split("</style>")[1]
    assert "ingredients" not in page.texts


def test_rank_origin_zero_is_kept_to(arrays, embeddings):
    page = Page(make(arrays, embeddings, protocol=Protocol(rank_origin=0))[1])
    assert "true match: rank 10" in page.texts["recipe_to_image"]
    assert "true match: rank 0" in page.texts["recipe_to_image"]
    assert "10. dish number 11" in page.texts["recipe_to_image"]


def test_queries_come_from_the_gallery(arrays, embeddings):
    protocol = Protocol(4, 1, seed=2)
    (gallery,) = protocol.draw(PAIRS)
    page = Page(make(arrays, embeddings, protocol=protocol)[1])
    for index in range(1, PAIRS):
        assert (f"dish number {index} " in page.texts["image_to_recipe"]) == (index in gallery)


def colour(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).getpixel((2, 2)), int)


def grey(embeddings):
    """A decoder whose pictures tell which embedding they are of."""
    return np.broadcast_to(embeddings[:, :1, None, None] * 20, (len(embeddings), 8, 8, 3))


@pytest.mark.parametrize("sources", [("recipe",), ("recipe", "image"), ("image",)])
def test_generated_photos_beside_real_ones(arrays, embeddings, sources):
    text = make(arrays, embeddings, {"picture": decoder(sources, grey)})[1]
    section = text[text.index('<section id="pictures">') : text.index('<section id="made">')]
    cards = section.split('<div class="card">')[1:]
    assert len(cards) == report.EXAMPLES
    shown = ["image"] * ("image" in sources) + ["recipe"] * ("recipe" in sources)  # the paper's Figure 1, in its order
    for card in cards:
        page = Page(card)
        told = [line.strip() for line in page.texts[""].split("\n") if line.strip()]
        assert [line for line in told if line.startswith(("real", "gen"))] == [
            "real",
            *(f"generated from the {'photo' if name == 'image' else name}" for name in shown),
        ]
        index = 0 if "soup" in told[-1] else int(told[-1].split()[-1])
        uris = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
        np.testing.assert_allclose(colour(uris[0]), (20 * index, 255 - 20 * index, 90), atol=12)
        for name, uri in zip(shown, uris[1:], strict=True):  # from this pair's own embedding of that kind
            np.testing.assert_allclose(colour(uri), [20 * arrays[name][index, 0]] * 3, atol=12)


@pytest.mark.parametrize("sources", [("recipe",), ("recipe", "image"), ("image",)])
def test_recipes_found_are_explained_by_generated_pictures(arrays, embeddings, sources):
    """R2GAN's Figure 4: beside each recipe its picture; the query's own where the decoder takes photos too."""
    text = make(arrays, embeddings, {"picture": decoder(sources, grey)})[1]
    section = text[text.index('<section id="image_to_recipe">') : text.index('<section id="pictures">')]
    articles = section.split("<article")[1:]
    assert len(articles) == report.EXAMPLES
    explained = "recipe" in sources
    assert ("generates from the recipe's embedding" in section) == explained
    for article in articles:
        query, *items = article.split("<figure")
        uris = [attributes["src"] for tag, attributes in Page(query).tags if tag == "img"]
        assert len(uris) == 1 + (sources == ("recipe", "image"))
        index = round(colour(uris[0])[0] / 20)  # a photo's red tells its pair
        if len(uris) == 2:
            np.testing.assert_allclose(colour(uris[1]), [20 * arrays["image"][index, 0]] * 3, atol=12)
        for item in items:
            page = Page("<figure" + item)
            pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
            if not explained:
                assert not pictures
                continue
            words = page.texts[""]
            found = 0 if "soup" in words else int(words.split("dish number ")[1].split()[0])
            real, generated = pictures
            np.testing.assert_allclose(colour(real), (20 * found, 255 - 20 * found, 90), atol=12)
            np.testing.assert_allclose(colour(generated), [20 * found] * 3, atol=12)


def test_what_a_classifier_says_of_thumbnails_is_recorded_and_told(arrays, embeddings):
    makes = {"picture": decoder(("recipe",), lambda e: np.zeros((len(e), 8, 8, 3), np.float32))}
    asked = {"photos": 0.875, "recipe": 0.625, "chance": 0.125, "items": 16.0}
    content, text = make(arrays, embeddings, makes, thumbnails=asked)
    assert content["thumbnails"] == asked
    words = " ".join(Page(text).texts["pictures"].split())
    assert "62 % of the pictures born from recipe embeddings, 88 % of the real photos" in words
    content, text = make(arrays, embeddings, makes)
    assert "thumbnails" not in content
    assert "classifier" not in text


def test_where_a_model_looks_is_shown(arrays, embeddings, monkeypatch):
    heat = np.zeros((8, 8, 3), np.uint8)
    heat[..., 0] = 200
    line = {"strength": 50, "words": [{"text": "<salt>", "strength": 80}]}
    example = {"title": "soup & bread", "photo": heat // 2, "heat": heat, "ingredients": [line], "instructions": []}
    assert "attention" not in Page(make(arrays, embeddings)[1]).texts
    monkeypatch.setattr(attention, "examples", lambda model, dataset, split: [example] if split == "test" else [])
    text = make(arrays, embeddings)[1]
    section = text[text.index('<section id="attention">') : text.index('<section id="made">')]
    photo, shown = [attributes["src"] for tag, attributes in Page(section).tags if tag == "img"]
    np.testing.assert_allclose([colour(photo), colour(shown)], [(100, 0, 0), (200, 0, 0)], atol=12)
    assert "soup &amp; bread" in section
    assert "border-color:rgba(181,72,46,0.5)" in section
    assert '<span style="background:rgba(181,72,46,0.4)">&lt;salt&gt;</span>' in section


def test_predicted_ingredients_beside_true_ones(arrays, embeddings):
    # Only "salt" and "<b>basil</b>" are ever guessed ahead of the others; two names are shown.
    guesses = {"ingredients": decoder(("image",), lambda e: np.tile([[0.9, 0.1, 0.2, 0.6]], (len(e), 1)))}
    original, report.GUESSES = report.GUESSES, 2
    try:
        text = make(arrays, embeddings, guesses)[1]
    finally:
        report.GUESSES = original
    section = text[text.index('<section id="ingredients">') : text.index('<section id="made">')]
    cards = section.split('<div class="card">')[1:]
    assert len(cards) == report.EXAMPLES
    for card in cards:
        predicted, true = card.split("true</span>")
        assert '<li class="right">salt 90 %</li>' in predicted
        assert '<li class="">&lt;b&gt;basil&lt;/b&gt; 60 %</li>' in predicted
        assert "egg" not in predicted
        assert '<li class="right">salt</li>' in true
        assert true.count("<li") == (1 if "egg" not in true and "flour" not in true else 2)
        assert 'class="right">egg' not in true
    assert any("flour &amp; water" in card for card in cards)
    with pytest.raises(ValueError, match="probabilities of the dataset's 4 ingredients, received"):
        make(arrays, embeddings, {"ingredients": decoder(("image",), lambda e: np.zeros((len(e), 3)))})


def test_scalability_is_a_chart_where_there_are_sizes(arrays, embeddings):
    content, text = make(arrays, embeddings)
    assert text.count("data:image/svg+xml") == 2  # one size only
    rng = np.random.default_rng(0)
    many = {name: rng.normal(size=(60, 4)).astype(np.float32) for name in ("image", "recipe")}
    content, text = make(many, Embeddings([f"r{i}" for i in range(60)], many), dataset=Dataset(60))
    assert [(point["gallery"], point["subsets"]) for point in content["scalability"]] == [(50, 10), (60, 1)]
    for name, figures in content["directions"].items():  # the whole split is what was measured
        assert content["scalability"][-1]["MedR"][name] == figures["MedR"]
    assert content["scalability"][0]["MedR"]["image_to_recipe"]["std"] > 0
    assert text.count("data:image/svg+xml") == 3
    assert "Median rank by size of the gallery" in text


def test_encoders_of_other_names_get_figures_without_photos(arrays):
    renamed = {"trajectory": arrays["image"], "map": arrays["recipe"]}
    page = Page(make(renamed, Embeddings([], renamed))[1])
    assert "trajectory → map" in page.texts[""]
    assert "recipe_to_image" not in page.texts


def test_another_split_than_the_one_embedded_is_refused(arrays, embeddings):
    class Shuffled(Dataset):
        def texts(self, split):
            return reversed(list(super().texts(split)))

    with pytest.raises(
        ValueError, match="Expected pair 0 of split 'test' to be 'r0' as it was embedded, received 'r11'"
    ):
        make(arrays, embeddings, dataset=Shuffled())
    with pytest.raises(ValueError, match="to have the 12 pairs embedded, received 5"):
        make(arrays, embeddings, dataset=Dataset(5))


def test_same_evaluation_same_page(arrays, embeddings):
    assert make(arrays, embeddings)[1] == make(arrays, embeddings)[1]


def test_files_are_written_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "report"
    paths = report.write_report(folder, {"a": 1}, "<p>é</p>")
    assert [path.name for path in paths] == ["report.json", "report.html"]
    assert json.loads(paths[0].read_text()) == {"a": 1}
    assert paths[1].read_text(encoding="utf-8") == "<p>é</p>"
    with pytest.raises(ValueError, match="JSON compliant"):
        report.write_report(folder, {"a": float("nan")}, "other")
    with pytest.raises(UnicodeEncodeError):
        report.write_report(folder, {"a": 2}, "\ud800")
    assert json.loads(paths[0].read_text()) == {"a": 1}
    assert paths[1].read_text(encoding="utf-8") == "<p>é</p>"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
