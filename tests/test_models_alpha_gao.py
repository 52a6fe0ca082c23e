"""The photo encoder: its objective (Eq. 9), its presets, its networks, and what a run of it leaves and starts."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import oracles
import pytest
from PIL import Image

from kfood import schema, search
from kfood.configs import alpha_gao as presets
from kfood.configs import experiment
from kfood.data.dataset import open_dataset
from kfood.layers import image, vit
from kfood.losses import pairs
from kfood.models import load_run
from kfood.models.acme import ACME
from kfood.models.alpha_gao import AlphaGAO, image_networks, metric_loss
from kfood.tools import evaluate
from kfood.tools.main import main

TINY = ("image_encoder.widths=4,8", "embedding_size=16")
SPEC = schema.PhotoSpec(image_size=32, classes=5)
LABELS = np.array([0, 0, 1, 1, 2, 2, 4, 4], np.int32)


@pytest.fixture
def batch(rng):
    return {schema.IMAGE: rng.uniform(0, 255, (8, 32, 32, 3)).astype("float32"), schema.CLASS_ID: LABELS}


def make(variant="", *overrides):
    return AlphaGAO(experiment("alpha_gao", "small", variant, (*TINY, *overrides)).model, SPEC)


def test_joint_objective_is_eq_9(batch):
    """Against a loop over pairs and a softmax in NumPy: λ L_d + (1 - λ) L_c, with contrastive loss of all pairs."""
    model = make("contrastive+alpha+gao+softmax", "miner=", "alpha=0", "metric_weight=0.3")
    model.compile(run_eagerly=True)
    logs = model.test_on_batch(batch, return_dict=True)
    features = model.embed(batch, training=False)
    unit, raw = (np.asarray(features[name], np.float64) for name in ("embedding", "classified"))
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    near, far = [], []
    for i in range(8):
        for j in range(8):
            distance = np.sqrt(((unit[i] - unit[j]) ** 2).sum())
            if i != j and LABELS[i] == LABELS[j]:
                near.append(np.log(1 + distance))
            elif LABELS[i] != LABELS[j]:
                far.append(max(0.0, 1.0 - distance))
    weights, bias = (np.asarray(w, np.float64) for w in model.classifier.get_weights())
    logits = raw @ weights + bias
    cross = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, LABELS, strict=True)]
    assert logs["metric"] == pytest.approx(np.mean(near) + np.mean(far), rel=1e-4)
    assert logs["classification"] == pytest.approx(np.mean(cross), rel=1e-4)
    assert logs["loss"] == pytest.approx(0.3 * logs["metric"] + 0.7 * logs["classification"], rel=1e-5)


def test_alpha_pushes_apart_positives_of_a_share_of_tuples(batch):
    """α = 1 alters every tuple: no positive distance is left but d_aa = 0, and positives take the negatives' place."""
    options = ("metric_weight=1", "alpha=1", "miner=random", "gao=")
    altered = make("contrastive", *options)
    unit = np.asarray(altered.embed(batch, training=False)["embedding"], np.float64)
    value = float(altered.compute_losses(batch)["metric"])
    expected = [max(0.0, 1.0 - np.linalg.norm(unit[i] - unit[i ^ 1])) for i in range(8)]  # i's only positive
    assert value == pytest.approx(np.mean(expected), rel=1e-3)


def test_boundary_starts_by_the_form_of_gao():
    """β at the start, and its own optimizer."""
    for overrides, expected in (
        (("gao=",), 1.2),
        (("gao=as_released",), 1.2),
        (("gao=paper",), np.log(2.2)),
        (("gao=paper", "boundary=0.6"), 0.6),
    ):
        model = make("margin", *overrides)
        np.testing.assert_allclose(model.learnt.value, np.full(5, expected), rtol=1e-6)
        assert model.phases[0].optimizer == model.config.learnt_optimizer
    assert presets.published().model.learnt_optimizer.learning_rate == 5e-4  # as released


def test_released_classifier_is_a_softmax_of_cosines(batch):
    """At a temperature of 0.05, against NumPy; its vectors learn."""
    model = make("as_released")
    model.compile(run_eagerly=True)
    vectors = np.asarray(model.classifier.value, np.float64)
    raw = np.asarray(model.embed(batch, training=False)["classified"], np.float64)
    value = model.test_on_batch(batch, return_dict=True)["classification"]
    assert value == pytest.approx(oracles.normalised_softmax(raw, LABELS, vectors, 0.05), rel=1e-4)
    model.train_on_batch(batch)
    assert np.any(np.asarray(model.classifier.value) != vectors.astype("float32"))


@pytest.mark.slow
def test_every_variant_learns(batch):
    """Each row of the tables takes a step with finite losses, its own terms, and a layer where the loss learns one."""
    learnt = {"margin", "normalised_softmax", "proxy_nca", "proxy_anchor", "soft_triple", "proxy_synthesis"}
    seen = []
    for variant in ("", *presets.VARIANTS):
        model = make(variant)
        if model.config in seen:
            continue  # a row that the released code has alike
        seen.append(model.config)
        model.compile(run_eagerly=True)
        logs = model.train_on_batch(batch, return_dict=True)
        assert all(np.isfinite(value) for value in logs.values()), variant
        config = model.config
        terms = {"metric"} if config.metric_weight > 0 else set()
        terms |= {"classification"} if config.metric_weight < 1 else set()
        assert set(logs) == {"loss", *terms}, variant
        has_learnt = config.metric_weight > 0 and config.loss in learnt
        assert [phase.name for phase in model.phases] == ["learnt"] * has_learnt + ["encoders"], variant


def test_rows_as_released():
    """parameters.py, against the papers of the losses; the rest of a row is the row."""

    def released(variant):
        return experiment("alpha_gao", "published", f"{variant}+as_released").model

    assert released("soft_triple").centres == 2
    assert released("soft_triple").loss_options == ("scale=8",)
    assert released("histogram").loss_options == ("bins=65",)
    assert released("pnp").loss_options == ("alpha=4",)
    rates = {"soft_triple": 1e-6, "proxy_nca": 5e-5, "softmax": 1e-5, "margin": 5e-4}
    assert {row: released(row).learnt_optimizer.learning_rate for row in rates} == rates
    alpha = released("contrastive+alpha+gao")
    assert (alpha.alpha, alpha.easy_first, alpha.gao, alpha.metric_weight) == (0.2, False, "as_released", 1.0)
    assert (released("contrastive+alpha").gao, released("contrastive").alpha) == ("", 0.0)
    assert released("margin+random").miner == "random"
    assert released("margin").loss_options == ("mean=active_tuples",)
    for same in ("triplet", "n_pair", "lifted_structure", "circle", "smooth_ap"):
        assert released(same) == experiment("alpha_gao", "published", same).model
    full = experiment("alpha_gao", "published", "as_released").model
    assert full == released("margin+alpha+gao+softmax")
    assert (full.easy_first, full.gao, full.classification) == (False, "as_released", "normalised_softmax")


def test_settings_are_checked():
    for override, message in (
        ("boundary=1.2", "expected, with gao=True, a start below 0.79 or so"),
        ("loss=margn", "loss: expected one of"),
        ("miner=hardest", "miner: expected one of"),
        ("alpha=1.5", "alpha: expected a share"),
        ("gao=eq6", "gao: expected one of"),
        ("classification=cosface", "classification: expected one of"),
        ("loss_options=margn=1", "expected options of"),
        ("loss_options=margin", "loss_options: expected name=value"),
        ("loss_options=alpha=0.3", "loss_options: expected options of loss 'margin', received 'alpha'"),
        ("loss=pnp", "alpha: expected 0 with loss 'pnp'.*received 0.2"),
        ("tokens=as_released", "expected 'pooled' with a backbone without tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            make("", override)


def test_loss_options_reach_the_loss(rng):
    config = experiment("alpha_gao", "small", "contrastive", ("miner=", "loss_options=margin=0.3,squared=true")).model
    points = rng.normal(size=(8, 4)).astype("float32")
    given = float(metric_loss(config, None, None)(LABELS, points))
    assert given == pytest.approx(float(pairs.contrastive(points, LABELS, margin=0.3, squared=True)))
    assert given != pytest.approx(float(pairs.contrastive(points, LABELS)))


def test_deit_has_its_published_sizes():
    """DeiT-S/16 at 224: 22,050,664 with ImageNet's classifier (Touvron et al. 2021, Table 1: 22 M); so with its parts.

    patches 16·16·3·384 + 384; class token 384; positions 197·384; each of 12 blocks 2 norms 4·384, attention
    4·(384² + 384), perceptron 2·4·384² + 5·384; last norm 2·384.
    """
    config = image.ImageEncoderConfig(backbone="deit_small", weights="")
    network = image.backbone(224, config, tokens=True)
    block = 4 * 384 + 4 * (384**2 + 384) + 8 * 384**2 + 5 * 384
    expected = (768 * 384 + 384) + 384 + 197 * 384 + 12 * block + 2 * 384
    assert network.count_params() == expected == 22_050_664 - (384 * 1000 + 1000)
    assert network.output_shape == (None, 197, 384)
    assert image.backbone(224, config).output_shape == (None, 14, 14, 384)


@pytest.fixture
def tiny_vit(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Size(8, 2, 2))
    return image.ImageEncoderConfig(backbone="tiny", weights="")


def test_tokens_are_the_class_then_patches_in_place(tiny_vit, rng):
    """Against NumPy up to the first block: patch (row 1, column 0) of four is token 3, with its own position."""
    network = image.backbone(32, tiny_vit, tokens=True)
    network.get_layer("patches").set_weights([rng.normal(size=(16, 16, 3, 8)), rng.normal(size=8)])
    picture = rng.uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    first = keras.Model(network.input, network.get_layer("positions").output)(picture)[0]
    kernel, bias = network.get_layer("patches").get_weights()
    class_token, positions = network.get_layer("positions").get_weights()
    mean, deviation = 255 * np.array([0.485, 0.456, 0.406]), 255 * np.array([0.229, 0.224, 0.225])
    patch = (picture[0, 16:, :16] - mean) / deviation
    np.testing.assert_allclose(first[3], np.einsum("hwc,hwco->o", patch, kernel) + bias + positions[0, 3], rtol=1e-3)
    np.testing.assert_allclose(first[0], class_token[0, 0] + positions[0, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="expected a multiple of 16"):
        image.backbone(40, tiny_vit)


def test_weights_fit_tokens_and_map_alike(tiny_vit, tmp_path, rng):
    """A run of this model has tokens, a recipe model a map of patches: the map is the tokens but the first."""
    tokens = image.backbone(32, tiny_vit, tokens=True)
    tokens.save_weights(tmp_path / "vit.weights.h5")
    config = dataclasses.replace(tiny_vit, weights=str(tmp_path / "vit.weights.h5"))
    picture = rng.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = np.asarray(tokens(picture))[:, 1:].reshape(2, 2, 2, 8)
    np.testing.assert_allclose(image.backbone(32, config)(picture), expected, atol=1e-5)


def test_released_tokens_share_a_head_and_mix_at_test(tiny_vit, batch):
    config = experiment("alpha_gao", "small", "as_released", ("embedding_size=4", "tokens=as_released")).model
    config = dataclasses.replace(config, image_encoder=tiny_vit)
    network, encoder = image_networks(SPEC, config)
    inputs = {schema.IMAGE: batch[schema.IMAGE]}
    features = {name: np.asarray(value) for name, value in network(inputs).items()}
    tokens = np.asarray(network.get_layer("backbone")(batch[schema.IMAGE]))
    kernel, bias = network.get_layer("image_embedding").get_weights()
    heads = tokens @ kernel + bias
    unit = heads[:, 0] / np.linalg.norm(heads[:, 0], axis=1, keepdims=True)
    np.testing.assert_allclose(features["embedding"], unit, atol=1e-5)
    np.testing.assert_allclose(features["classified"], heads[:, 1:].mean(axis=1), atol=1e-5)
    patches = features["classified"] / np.linalg.norm(features["classified"], axis=1, keepdims=True)
    mixed = 0.1 * features["embedding"] + 0.9 * patches
    np.testing.assert_allclose(encoder(inputs), mixed / np.linalg.norm(mixed, axis=1, keepdims=True), atol=1e-5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight classes of fourteen photos: a colour each, and noise."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photos")
    for class_id in range(8):
        (folder / f"class_{class_id}").mkdir()
        colour = random.integers(0, 255, 3)
        for index in range(14):
            pixels = (colour + random.integers(-70, 70, (8, 8, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((36, 40)).save(folder / f"class_{class_id}" / f"{index}.jpg")
    data = folder / "data"
    arguments = ["--out", str(data), "--train-classes", "5", "--val-share", "0.3"]
    assert main(["prepare", "labelled", "--source", str(folder), *arguments]) == 0
    return data


def _train(data, run, *arguments):
    overrides = [part for o in (*TINY, "spec.image_size=32") for part in ("--set", o)]
    common = ["--data", str(data), "--run", str(run), "--batch-size", "10"]
    return main(["train", "alpha_gao", "--preset", "small", *common, *overrides, *arguments])


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert _train(photos, folder, "--epochs", "2") == 0
    return folder


@pytest.mark.slow
def test_run_resume_and_refusal(run, photos, tmp_path, capsys):
    """One epoch, then resumed to two: the same weights as in one go, miners' random state included."""
    stored = json.loads((run / "config.json").read_text())
    assert stored["spec"] == {
        "image_size": 32,
        "classes": 5,
        "samples_per_class": 2,
        "repetition": False,
        "whole_photo": False,
    }
    assert (run / "vocabulary" / "classes.txt").read_text().splitlines() == [f"class_{c}" for c in range(8)]
    other = tmp_path / "other"
    overrides = ("--set", "optimizer.schedule=constant", "--set", "learnt_optimizer.schedule=constant")
    assert _train(photos, tmp_path / "whole", "--epochs", "2", *overrides) == 0
    assert _train(photos, other, "--epochs", "1", *overrides) == 0
    config = json.loads((other / "config.json").read_text())
    config["training"]["epochs"] = 2
    (other / "config.json").write_text(json.dumps(config))
    assert _train(photos, other, "--epochs", "2", *overrides, "--resume") == 0
    one, two = (load_run(folder, "last") for folder in (tmp_path / "whole", other))
    for first, second in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=first.path)
    assert _train(photos, tmp_path / "no", "--set", "training.monitor=median_rank") == 2
    assert "training.monitor: expected 'recall_at_1'" in capsys.readouterr().err


def test_evaluation_writes_figures_gallery_and_map(run, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "MANY_CLUSTERED", 42 * 3 - 1)
    assert main(["evaluate", str(run), "--data", str(photos), "--out", str(tmp_path), "--as-released"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"]["photos"] == 42
    assert report["data"]["classes"] == 3
    figures = report["retrieval"]
    assert 0 <= figures["recall_at_1"] <= figures["recall_at_2"] <= figures["recall_at_8"] <= 1
    assert {"map_at_1000", "map_at_c", "map_at_r", "nmi", "intra_class_distance"} <= set(figures)
    assert figures["map_at_c_as_released"] <= figures["map_at_c"]
    assert 0 < figures["nmi_as_released"] != figures["nmi"]  # of 5 clusters, where there are 3 classes
    page = (tmp_path / "report.html").read_text()
    assert "MAP@C as released" in page
    right, wrong = page.count('class="true"'), page.count('class="wrong"')
    assert right + wrong == 8 * 10
    assert right > 0
    assert page.count("data:image/svg+xml") == 1
    printed = capsys.readouterr().out
    assert "R@1" in printed
    assert "k-means of 42 photos into 3 clusters takes minutes; --no-clusters leaves NMI out." in printed
    assert main(["evaluate", str(run), "--data", str(photos), "--gallery", "5"]) == 2
    assert "--gallery: expected none for labelled photos" in capsys.readouterr().err
    shutil.copy(run / "config.json", tmp_path)
    assert main(["compare", str(tmp_path)]) == 2
    assert "received one on labelled photos" in capsys.readouterr().err


def test_across_domains(run, tmp_path, capsys):
    """The paper's Table 4: trained on one dataset, tested on another; its report lies beside the run's own."""
    random = np.random.default_rng(1)
    for class_id in range(4):
        (tmp_path / "raw" / f"bird_{class_id}").mkdir(parents=True)
        for index in range(6):
            pixels = random.integers(0, 255, (34, 34, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "raw" / f"bird_{class_id}" / f"{index}.png")
    birds = tmp_path / "birds"
    arguments = ["--out", str(birds), "--train-classes", "2", "--val-share", "0.4"]
    assert main(["prepare", "labelled", "--source", str(tmp_path / "raw"), *arguments]) == 0
    own = (run / "report.json").read_bytes() if (run / "report.json").is_file() else None
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(birds), "--no-clusters"]) == 0
    assert "NMI" not in capsys.readouterr().out
    assert ((run / "report.json").read_bytes() if (run / "report.json").is_file() else None) == own
    report = json.loads((run / "on-birds" / "report.json").read_text())
    stored = json.loads((run / "config.json").read_text())["data"]
    assert report["model"]["trained_on"] == {name: stored[name] for name in ("name", "fingerprint")}
    assert report["data"]["fingerprint"] == open_dataset(birds, "labelled").fingerprint != stored["fingerprint"]
    assert (report["data"]["photos"], report["data"]["classes"]) == (12, 2)
    assert {"nmi", "nmi_as_released"}.isdisjoint(report["retrieval"])
    assert "map_at_c_as_released" in report["retrieval"]
    assert "bird 2" in (run / "on-birds" / "report.html").read_text()


def test_a_run_starts_another_models_backbone(run):
    """``image_encoder.weights=RUN`` gives the best epoch's backbone to any model, and refuses another shape."""
    stored = [w.numpy() for w in load_run(run).encoders["image"].get_layer("backbone").weights]
    chosen = experiment("two_tower", "small", "", ("image_encoder.widths=4,8", f"image_encoder.weights={run}"))
    network = image.backbone(48, chosen.model.image_encoder)
    assert len(network.weights) == len(stored) > 10
    for variable, value in zip(network.weights, stored, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for overrides, error in (
        (("image_encoder.widths=4,9", f"image_encoder.weights={run}"), "widths (4, 9) and 1 blocks on 48-pixel"),
        (("image_encoder.weights=nowhere",), "a run folder with"),
    ):
        config = experiment("two_tower", "small", "", overrides).model.image_encoder
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            image.backbone(48, config)
        assert error in str(caught.value)


def test_a_run_starts_acme(run):
    """``kfood train acme --set image_encoder.weights=RUN``: its image encoder begins with the run's backbone."""
    stored = [w.numpy() for w in load_run(run).encoders["image"].get_layer("backbone").weights]
    overrides = ("image_encoder.widths=4,8", "embedding_size=16", f"image_encoder.weights={run}")
    chosen = experiment("acme", "small", "TL+HM", overrides)
    model = ACME(chosen.model, schema.RecipeSpec(image_size=48, ingredients=3, instructions=2, instruction_words=4))
    started = [w.numpy() for w in model.encoders["image"].get_layer("backbone").weights]
    assert len(started) == len(stored) > 10
    for one, other in zip(started, stored, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_from_run_to_search(run, photos, tmp_path, capsys):
    """Exported, indexed and searched: a photo of the index finds itself at distance 0, and there are no recipes."""
    bundle, index = str(tmp_path / "bundle"), str(tmp_path / "index")
    assert main(["export", str(run), "--out", bundle]) == 0
    assert main(["index", bundle, "--data", str(photos), "--out", index]) == 0
    assert "42 photos" in capsys.readouterr().out
    opened = search.Index.open(index)
    assert opened.sides == ("photos",)
    found = opened.search(opened.embeddings("photos")[7], "photos", top=3)
    assert found[0].row == 7
    assert found[0].distance == pytest.approx(0.0, abs=1e-6)
    assert found[0].title == found[0].id.split("/")[0].replace("_", " ")
    query = tmp_path / "query.jpg"
    query.write_bytes(open_dataset(photos, "labelled").photo("test", 7))
    assert main(["search", index, "--image", str(query), "--gallery-picture", str(tmp_path / "found.png")]) == 0
    assert (tmp_path / "found.png").is_file()
    assert main(["search", index, "--text", "soup"]) == 2
    assert "expected --image" in capsys.readouterr().err
    with pytest.raises(ValueError, match="side: expected one of photos, received 'recipes'"):
        opened.embeddings("recipes")
