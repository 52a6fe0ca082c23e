"""``kfood evaluate`` from a run and a prepared dataset to the two files, and what it refuses."""

import dataclasses
import json
import types

import numpy as np
import pytest
import token_cases

from kfood import schema
from kfood.tools import bench, evaluate, main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small synthetic kitchen; its test split has a tenth of the pairs."""
    from kfood.tools import prepare

    path = tmp_path_factory.mktemp("kitchen") / "data"
    prepare.run(prepare.Kitchen(out=path, pairs=200, size=64))
    return path


class Encoder:
    """Mean of a feature over each row, as a two-dimensional embedding."""

    def __init__(self, feature, *weights):
        self.feature = feature
        self.weights = weights
        self.input = {feature: None}

    def predict_on_batch(self, inputs):
        values = np.asarray(inputs[self.feature], np.float32)
        mean = values.reshape(len(values), -1).mean(axis=1)
        return np.stack([mean, np.sin(mean)], axis=1)


@pytest.fixture
def run_folder(data, tmp_path, monkeypatch):
    """A run folder whose model is two fakes."""
    from kfood.data.dataset import open_dataset

    dataset = open_dataset(data)
    shared, image, recipe, critic = (np.zeros(shape) for shape in [(3,), (2, 3), (10,), (6,)])
    model = types.SimpleNamespace(
        encoders={
            "image": Encoder(schema.IMAGE, shared, image),
            "recipe": Encoder(schema.INGREDIENTS, shared, recipe),
        },
        weights=[shared, image, recipe, critic],
        decoders={},
        distance="cosine",
        spec=dataset.spec(image_size=24),
    )
    model.searched = lambda: model
    loaded = []

    def load_run(run, weights):
        loaded.append((run, weights))
        return model

    monkeypatch.setattr("kfood.models.load_run", load_run)
    folder = tmp_path / "run"
    folder.mkdir()
    own = {"name": dataset.name, "fingerprint": dataset.fingerprint, "splits": dataset.splits}
    own["vocabulary"] = dataset.vocabulary_fingerprint
    config = {"model": "acme", "config": {}, "spec": {}, "training": {}, "data": own}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, loaded


def test_run_to_report(run_folder, data, capsys):
    folder, loaded = run_folder
    assert main.main(["evaluate", str(folder), "--data", str(data), "--batch-size", "7", "--weights", "last"]) == 0
    assert loaded == [(folder, "last")]
    report = json.loads((folder / "report.json").read_text())
    assert (report["protocol"]["gallery"], report["protocol"]["subsets"]) == (20, 1)
    assert report["protocol"]["distance"] == "cosine"
    assert report["data"]["name"] == "kitchen"
    assert report["data"]["split"] == "test"
    assert report["model"] == {
        "name": "acme",
        "trained_on": {"name": "kitchen", "fingerprint": report["data"]["fingerprint"]},
        "run": "run",
        "weights": "last",
        "embedding_size": 2,
        "parameters": {"encoders": 6 + 10 + 3, "all": 25},  # the shared one once
    }
    assert set(report["seconds"]) == {"embedding", "ranking", "scalability"}
    assert [point["gallery"] for point in report["scalability"]] == [20]
    for figures in report["directions"].values():
        assert 1 <= figures["MedR"]["mean"] <= 20
        assert figures["R@10"]["mean"] >= figures["R@5"]["mean"] >= figures["R@1"]["mean"]
    assert "data:image/jpeg" in (folder / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "image → recipe" in printed
    assert "report.html" in printed


def test_protocol_and_place_are_chosen(run_folder, data, tmp_path):
    folder, _ = run_folder
    out = tmp_path / "elsewhere"
    arguments = ["--gallery", "5", "--subsets", "3", "--seed", "4", "--sampling", "disjoint", "--rank-origin", "0"]
    assert main.main(["evaluate", str(folder), "--data", str(data), "--out", str(out), *arguments]) == 0
    protocol = json.loads((out / "report.json").read_text())["protocol"]
    assert (protocol["gallery"], protocol["subsets"], protocol["seed"]) == (5, 3, 4)
    assert (protocol["sampling"], protocol["rank_origin"]) == ("disjoint", 0)
    assert not (folder / "report.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gallery", "21"], "gallery: expected at most 20, the pairs of the split, received 21"),
        (["--split", "tests"], "split: expected one of train, val, test, received 'tests'"),
        (["--batch-size", "0"], "batch size: expected at least 1, received 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(run_folder, data, capsys, arguments, message):
    folder, _ = run_folder
    assert main.main(["evaluate", str(folder), "--data", str(data), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "report.json").exists()


def test_another_vocabulary_is_read_in_the_runs_words(run_folder, data, capsys):
    """A run that knows every second word, in reverse order, and as many others."""
    from kfood.data import dataset as datasets
    from kfood.data.pipeline import recipe_batches

    folder, loaded = run_folder
    own = datasets.open_dataset(data)
    kept = {}
    for name in ("words", "ingredients"):
        listed = getattr(own, name)
        kept[name] = [word if place % 2 else f"{word}else" for place, word in enumerate(listed)][::-1]
    datasets.write_vocabulary(folder, **kept, classes=own.classes)
    config = json.loads((folder / "config.json").read_text())
    fingerprint = datasets.vocabulary_fingerprint(folder)
    (folder / "config.json").write_text(json.dumps(config | {"data": config["data"] | {"vocabulary": fingerprint}}))
    assert main.main(["evaluate", str(folder), "--data", str(data)]) == 0
    assert "recipes are read in the run's words" in capsys.readouterr().out
    assert loaded

    other = own.read_with(folder)
    assert other.vocabulary_fingerprint == fingerprint
    batches = [
        next(iter(recipe_batches(one, "test", one.spec(image_size=24), 20, training=False))) for one in (own, other)
    ]
    for feature, vocabulary in (
        (schema.INGREDIENTS, "words"),
        (schema.INSTRUCTIONS, "words"),
        (schema.INGREDIENT_IDS, "ingredients"),
    ):
        expected = {
            place + schema.FIRST_TOKEN_ID: token_cases.id_of(word, kept[vocabulary])
            if vocabulary == "words" or word in kept[vocabulary]  # ingredients have no beginnings
            else schema.UNKNOWN_ID
            for place, word in enumerate(getattr(own, vocabulary))
        }
        before, after = (batch[feature].numpy() for batch in batches)
        assert (after == schema.UNKNOWN_ID).any()
        assert (after > schema.UNKNOWN_ID).any()
        np.testing.assert_array_equal(after, np.vectorize(lambda token, own=expected: own.get(token, token))(before))
    (folder / "config.json").unlink()
    assert main.main(["evaluate", str(folder), "--data", str(data)]) == 2
    assert "Expected a run folder with config.json" in capsys.readouterr().err


def test_a_dataset_that_was_not_trained_on_gets_a_report_of_its_own(run_folder, data):
    from kfood.data.dataset import open_dataset

    folder, _ = run_folder
    config = json.loads((folder / "config.json").read_text())
    config["data"] |= {"name": "other", "fingerprint": "0" * 64}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "report.json").write_text("the run's own")
    assert main.main(["evaluate", str(folder), "--data", str(data)]) == 0
    assert (folder / "report.json").read_text() == "the run's own"
    report = json.loads((folder / "on-data" / "report.json").read_text())
    assert report["model"]["trained_on"] == {"name": "other", "fingerprint": "0" * 64}
    assert report["data"]["fingerprint"] == open_dataset(data).fingerprint
    assert report["data"]["name"] == "kitchen"
    assert "test split, trained on other</span>" in (folder / "on-data" / "report.html").read_text()
    assert main.main(["evaluate", str(folder), "--data", str(data), "--no-clusters"]) == 2


@pytest.mark.parametrize(
    ("given", "pairs", "gallery", "subsets"),
    [
        ({}, 300, None, 1),  # smaller than the default gallery: the whole split, once
        ({}, 1000, None, 1),
        ({}, 1001, 1000, 10),
        ({"gallery": 1000}, 51_304, 1000, 10),
        ({"gallery": 10_000, "subsets": 5}, 51_304, 10_000, 5),
        ({"gallery": 300}, 300, None, 1),
        ({"gallery": 100, "subsets": 1}, 300, 100, 1),
    ],
)
def test_default_protocol(tmp_path, given, pairs, gallery, subsets):
    protocol = evaluate.protocol_for(evaluate.Evaluate(run=tmp_path, data=tmp_path, **given), pairs)
    assert (protocol.gallery, protocol.subsets) == (gallery, subsets)


def test_bench_prints_its_figures(capsys):
    assert main.main(["bench", "evaluation", "--n", "300", "--dim", "16", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    for name in ("both products, s", "ranks_both / products", "peak memory, GB"):
        assert name in printed
    assert main.main(["bench", "retrieval", "--n", "300", "--classes", "80", "--dim", "16", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    for name in ("product, s", "metrics / product", "R@1", "peak memory, GB"):
        assert name in printed
    for arguments, message in (
        (["evaluation", "--n", "0"], "--n: expected at least 1, received 0"),
        (["retrieval", "--n", "9", "--classes", "9"], "--n: expected more items than the 9 classes, received 9"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main.main(["bench", *arguments])
        assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_bench_figures_belong_together():
    figures = bench.evaluation.measure(bench.evaluation.Evaluation(n=200, dim=8, repeats=2, vectors="related"))
    assert figures["ranks_both / products"] == figures["ranks_both, s"] / figures["both products, s"]
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
def test_bench_export_on_recipes_of_a_dataset(kitchen):
    args = bench.export.Export(model=("jne",), preset="small", data=kitchen, batch_sizes=(1, 2), repeats=1)
    figures = bench.export.measure(args)
    assert all(value > 0 for value in figures.values())
    for form in ("onnxruntime, Loop", "Keras"):
        slower = figures[f"jne recipe, batch 2, {form}, ms"] / figures["jne recipe, batch 2, onnxruntime, ms"]
        assert figures[f"jne recipe, batch 2, {form} / onnxruntime"] == pytest.approx(slower)
    with pytest.raises(ValueError, match="--data: expected at least 10000 test pairs"):
        bench.export.measure(dataclasses.replace(args, batch_sizes=(10_000,)))


def test_parts_of_recipes_beside_the_whole(data, run_folder, capsys):
    folder, _ = run_folder
    import kfood.models

    model = kfood.models.load_run(folder, "best")
    encoder = model.encoders["recipe"]
    encoder.input = {schema.TITLE: None, schema.INGREDIENTS: None}
    model.spec = dataclasses.replace(model.spec, title_words=4)
    content = evaluate.run(evaluate.Evaluate(folder, data, parts=True))
    assert set(content["parts"]) == {schema.TITLE, schema.INGREDIENTS}
    own, whole = content["parts"][schema.INGREDIENTS], content["directions"]
    assert own == whole  # the fake reads ingredients only
    assert content["parts"][schema.TITLE]["recipe_to_image"]["R@1"]["mean"] < whole["recipe_to_image"]["R@10"]["mean"]
    assert json.loads((folder / "report.json").read_text())["parts"] == content["parts"]
    printed = capsys.readouterr().out
    assert "title → image" in printed
    assert "image → ingredients" in printed
