"""Attention pictures and training curves: which weight goes to which word and region, and the command."""

import dataclasses
import io
import itertools
import json
import re

import numpy as np
import pytest
from export_model import INGREDIENTS, WORDS, make_run, make_spec
from PIL import Image

from kfood import schema
from kfood.data.dataset import open_dataset
from kfood.evaluation import attention, curves
from kfood.layers.attention_towers import AttentionEncoderConfig
from kfood.layers.image import ImageEncoderConfig
from kfood.models.mcen import MCEN, MCENConfig
from kfood.tools.main import main

CONFIG = MCENConfig(
    image_encoder=ImageEncoderConfig("small", "", (4, 8)),
    recipe_encoder=AttentionEncoderConfig(word_size=6, units=4, start_range=0.0),
    embedding_size=12,
    latent_size=8,
)
SPEC = make_spec(title_words=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of MCEN with random weights."""
    folder = make_run(tmp_path_factory.mktemp("explain") / "run")
    model = MCEN(CONFIG, SPEC)
    content = {
        "model": "mcen",
        "config": dataclasses.asdict(CONFIG),
        "spec": dataclasses.asdict(SPEC),
        "training": {},
        "data": {"name": "kitchen", "fingerprint": "0", "vocabulary": "0", "token_rule": schema.TOKEN_RULE},
    }
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "checkpoints").mkdir()
    model.save_weights(folder / "checkpoints" / "best.weights.h5")
    return folder


class FakeModel:
    """Attention that is known."""

    name = "fake"
    spec = SPEC

    def attention(self, batch):
        return {
            "image": np.array([[[0.1, 0.2], [0.3, 0.4]]]),
            "image_asked": np.array([[[1.0, 0.0], [0.0, 0.0]]]),
            "ingredients": np.array([[0.75, 0.25, 0.0, 0.0]]),
            "instructions": np.array([[0.5, 0.5, 0.0, 0.0]]),
            "joint": np.array([[0.1, 0.9, 0.0, 0.0]]),
            "ingredient_words": np.array([[[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3]]),
            "instruction_words": np.array([[[1.0, 0, 0, 0, 0], [0.2, 0.8, 0, 0, 0], [0.0] * 5, [0.0] * 5]]),
        }


@pytest.fixture
def batch():
    tokens = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in SPEC.recipe_inputs().items()}
    tokens["ingredients"][0, :2] = [[2, 4, 0], [1, 0, 0]]  # salt onion; an unknown word
    tokens["title"][0, 0] = 9  # soup
    tokens["instructions"][0, 0, :2] = [8, 3]  # boil the
    return tokens | {schema.IMAGE: np.zeros((1, 32, 32, 3), "float32")}


def test_weights_go_to_their_words(batch):
    (found,) = attention.explain(FakeModel(), batch, WORDS, INGREDIENTS)
    assert [line.text for line in found.ingredients] == ["salt onion", "?"]
    assert [line.weight for line in found.ingredients] == pytest.approx([0.75, 0.25])
    assert found.ingredients[0].words[0] == ("salt", pytest.approx(0.9))
    assert [line.text for line in found.instructions] == ["soup", "boil the"]
    assert [line.weight for line in found.instructions] == pytest.approx([0.3, 0.7])
    np.testing.assert_allclose(found.image, [[0.1, 0.2], [0.3, 0.4]], rtol=1e-6)
    (asked,) = attention.explain(FakeModel(), batch, WORDS, INGREDIENTS, asked=True)
    assert asked.image[0, 0] == 1.0


def test_a_model_without_attention_is_refused_and_shows_nothing(batch):
    other = type("Other", (), {"name": "jne"})()
    with pytest.raises(ValueError, match=r"Expected a model with attention, e\.g\. mcen, received 'jne'"):
        attention.explain(other, batch, WORDS, INGREDIENTS)
    assert attention.examples(other, None, "test") == []


def test_heat_is_where_the_weight_is():
    photo = np.full((40, 60, 3), 128.0)
    picture = attention.heat(photo, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "float32")).astype(int)
    redness = picture[:, :, 0] - picture[:, :, 2]
    assert picture.shape == (40, 60, 3)
    assert np.unravel_index(redness.argmax(), redness.shape) >= (25, 45)
    assert redness[:15, :30].max() == 0


def test_pictures(batch):
    (found,) = attention.explain(FakeModel(), batch, WORDS, INGREDIENTS)
    photo = batch[schema.IMAGE][0]
    for explanation, wide in (
        (found, 4),
        (dataclasses.replace(found, image=None), 2),
        (dataclasses.replace(found, ingredients=[], instructions=[]), 2),
    ):
        with Image.open(io.BytesIO(attention.draw(explanation, photo, "soup"))) as picture:
            assert picture.size == (540 * wide, 630)


def test_training_curves(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.csv: expected the log of `kfood train`"):
        curves.draw_training(tmp_path)
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,kl_image,loss,val_image_to_recipe_recall_at_1,seconds\n0,3.5,2,0.1,9\n1,0.25,1,0.5,18\n")
    assert curves.read_metrics(tmp_path)["kl_image"] == [3.5, 0.25]
    with Image.open(io.BytesIO(curves.draw_training(tmp_path))) as picture:
        three = picture.size[0]
    log.write_text("epoch,loss,val_image_to_recipe_recall_at_1\n0,2,0.1\n")
    with Image.open(io.BytesIO(curves.draw_training(tmp_path))) as picture:
        assert picture.size[0] * 3 == three * 2
    log.write_text("epoch,loss\n0,\n")
    with pytest.raises(ValueError, match="expected a row of numbers an epoch"):
        curves.read_metrics(tmp_path)


def test_the_command(run, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(tmp_path / "soup.jpg")
    recipe = {"title": "Leek soup \ud83c!", "ingredients": ["2 leek", "---", "salt"], "instructions": []}
    (tmp_path / "soup.json").write_text(json.dumps(recipe))
    given = {"--image": tmp_path / "soup.jpg", "--recipe": tmp_path / "soup.json"}
    for options in (["--image"], ["--recipe"], ["--image", "--recipe"]):
        out = tmp_path / f"{'_'.join(options)}.png"
        chosen = [str(part) for option in options for part in (option, given[option])]
        assert main(["explain", str(run), "--out", str(out), *chosen]) == 0
        assert out.read_bytes().startswith(b"\x89PNG")
        printed = capsys.readouterr().out
        assert ("2 leek" in printed) == ("--recipe" in options)
    assert main(["explain", str(run), "--out", str(tmp_path / "x.png")]) == 2
    assert "metrics.csv" in capsys.readouterr().err
    for content, message in (
        ({"steps": []}, "no title, ingredients or instructions among steps"),
        ({"title": "親子丼"}, "one word that the model knows"),
        ({"title": 3}, "no title, ingredients or instructions among title"),
    ):
        (tmp_path / "soup.json").write_text(json.dumps(content))
        arguments = ["explain", str(run), "--out", str(tmp_path / "x.png"), "--recipe", str(given["--recipe"])]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_a_report_shows_the_first_pairs(kitchen):
    dataset = open_dataset(kitchen)

    class Attentive:
        spec = dataset.fit(dataclasses.replace(SPEC, image_size=32))

        def attention(self, batch):
            """All on the photo's last region, on each part's first line, on each line's first word but a half."""
            rows = len(batch[schema.IMAGE])
            words = {"ingredient_words": schema.INGREDIENTS, "instruction_words": schema.INSTRUCTIONS}
            lines = {"ingredients": schema.INGREDIENTS, "instructions": schema.INSTRUCTIONS}
            found = {name: np.zeros(np.shape(batch[of]), "float32") for name, of in words.items()}
            found |= {name: np.zeros(np.shape(batch[of])[:2], "float32") for name, of in lines.items()}
            title = np.zeros((rows, 1, found["instruction_words"].shape[2]), "float32")
            found["instruction_words"] = np.concatenate([title, found["instruction_words"]], axis=1)
            found["instructions"] = np.concatenate([title[:, :, 0], found["instructions"]], axis=1)
            for weights in found.values():
                weights[..., 0] = 1.0
            for name in words:
                found[name][..., 1] = 0.5
            return found | {"joint": found["instructions"], "image": np.float32([[[0, 0], [0, 1]]] * rows)}

    shown = attention.examples(Attentive(), dataset, "test")
    texts = list(itertools.islice(dataset.texts("test"), len(shown)))
    assert len(shown) == attention.EXAMPLES
    for example, text in zip(shown, texts, strict=True):
        assert example["title"] == text[schema.TITLE]
        redness = example["heat"][..., 0].astype(int) - example["heat"][..., 2]
        assert example["photo"].shape == example["heat"].shape == (32, 32, 3)
        assert redness[:8, :8].max() == 0 < redness[24:, 24:].min()
        assert [line["strength"] for line in example["ingredients"]][:2] == [100, 0]
        assert [word["strength"] for word in example["ingredients"][0]["words"]][:2] == [100, 50]
        title = [word["text"] for word in example["instructions"][0]["words"]]
        assert set(title) - {attention.UNKNOWN} <= set(re.findall(r"\w+", text[schema.TITLE].lower()))
