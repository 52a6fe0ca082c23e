"""H-T: its equations against loops, recipes without photos, padding, learning."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
from test_data_pipeline import record
from test_models_contract import TINY as CONTRACT

from kfood import schema
from kfood.configs import experiment
from kfood.data import builder
from kfood.layers.hierarchical import HierarchicalConfig, component_towers
from kfood.layers.image import ImageEncoderConfig
from kfood.models import ht
from kfood.models.ht import HT, HTConfig
from kfood.models.phases import OptimizerConfig
from kfood.training import TrainingRun

RECIPE = HierarchicalConfig(width=8, layers=2, heads=2, feed_forward=6, dropout=0.0)
TINY = HTConfig(
    image_encoder=ImageEncoderConfig("small", "", (4, 8)),
    recipe_encoder=RECIPE,
    embedding_size=12,
    optimizer=OptimizerConfig(3e-3),
)


def without_photos(batch, rng):
    """Three more recipes, of the batch's words."""
    names = (schema.TITLE, schema.INGREDIENTS, schema.INSTRUCTIONS)
    rows = rng.permutation(8)[:3]
    return batch | {schema.WITHOUT_PHOTO + name: batch[name][rows][..., ::1] for name in names}


def test_bidirectional_triplets_by_loops(rng):
    a, b = rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=(5, 4)).astype("float32")
    for margin in (0.3, 1.5):
        expected = oracles.bidirectional_triplets(a, b, margin)
        assert float(ht.bidirectional_triplets(a, b, margin)) == pytest.approx(expected, rel=1e-5)
    assert float(ht.bidirectional_triplets(a[:1], b[:1], 0.3)) == 0.0


def test_recipe_loss_by_loops_over_the_six_ordered_pairs(rng):
    components = {name: rng.normal(size=(6, 4)).astype("float32") for name in ("title", "ingredients", "instructions")}
    matrices = {(b, a): rng.normal(size=(4, 4)).astype("float32") for b in components for a in components if a != b}
    present = {name: np.ones(6, bool) for name in components}
    present["title"][[1, 4]] = False
    present["instructions"][2] = False
    expected = []
    for a in components:
        for b in components:
            if a != b:
                rows = [i for i in range(6) if present[a][i] and present[b][i]]
                projected = components[b][rows] @ matrices[b, a]
                expected.append(oracles.bidirectional_triplets(components[a][rows], projected, 0.3))
    assert len(expected) == 6
    projections = {pair: (lambda x, m=matrix: keras.ops.matmul(x, m)) for pair, matrix in matrices.items()}
    assert float(ht.recipe_loss(components, projections, present, 0.3)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_photos_of_one_recipe_are_no_negatives(tiny_spec, tiny_batch, rng):
    """Of rows 0 and 4, one recipe, neither counts against the other: as loops over all other pairs say."""
    keras.utils.set_random_seed(0)
    model = HT(TINY, tiny_spec)
    batch = tiny_batch | {schema.RECIPE_NUMBER: np.array([0, 1, 2, 3, 0, 5, 6, 7], "int32")}
    features = model.embed(batch, False)
    losses = model.losses_of(model.phases[0], features, batch, False)
    image, recipe = (features[name].numpy().astype("float64") for name in ("image", "recipe"))
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j and (i, j) not in {(0, 4), (4, 0)}]

    def hinges(a, b):
        cosines = np.array([[oracles.cosine(x, y) for y in b] for x in a])
        terms = [
            max(0.0, cosines[i, j] - cosines[i, i] + 0.3) + max(0.0, cosines[j, i] - cosines[i, i] + 0.3)
            for i, j in pairs
        ]
        return np.mean(terms)

    assert float(losses["pair"]) == pytest.approx(hinges(image, recipe), rel=1e-5)
    parts = {name: value.numpy().astype("float64") for name, value in features["components"].items()}
    expected = [
        hinges(parts[a], model.projections[b, a](features["components"][b]).numpy()) for b, a in model.projections
    ]
    assert float(losses["recipe"]) == pytest.approx(np.mean(expected), rel=1e-4)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def norm(x, gamma, beta):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * gamma + beta


def encode_by_loops(weights, prefix, vectors, present, config):
    """The transformer over one sequence, place by place and head by head; its weights by their paths."""
    n, width = vectors.shape
    x = vectors + weights[f"{prefix}_places/places"]
    size = width // config.heads
    for index in range(config.layers):
        name = f"{prefix}_{index}"
        by = {part: weights[f"{name}_attention/{part}/kernel"] for part in ("query", "key", "value")}
        bias = {part: weights[f"{name}_attention/{part}/bias"] for part in ("query", "key", "value")}
        out = weights[f"{name}_attention/attention_output/kernel"]
        new = np.zeros_like(x)
        for i in range(n):
            attention = weights[f"{name}_attention/attention_output/bias"].copy()
            for h in range(config.heads):
                query = x[i] @ by["query"][:, h] + bias["query"][h]
                seen = [j for j in range(n) if present[j] or j == 0]
                scores = [query @ (x[j] @ by["key"][:, h] + bias["key"][h]) / np.sqrt(size) for j in seen]
                share = softmax(np.array(scores))
                value = sum(s * (x[j] @ by["value"][:, h] + bias["value"][h]) for s, j in zip(share, seen, strict=True))
                attention += value @ out[h]
            y = norm(x[i] + attention, *(weights[f"{name}_attention_norm/{part}"] for part in ("gamma", "beta")))
            hidden = np.maximum(y @ weights[f"{name}_mlp_in/kernel"] + weights[f"{name}_mlp_in/bias"], 0)
            hidden = hidden @ weights[f"{name}_mlp_out/kernel"] + weights[f"{name}_mlp_out/bias"]
            new[i] = norm(y + hidden, *(weights[f"{name}_mlp_norm/{part}"] for part in ("gamma", "beta")))
        x = new
    rows = [x[i] for i in range(n) if present[i]]
    return np.mean(rows, axis=0) if rows else np.zeros(width)


def test_components_by_loops(tiny_spec, tiny_batch):
    towers = component_towers(tiny_spec, RECIPE)
    random = np.random.default_rng(0)
    for weight in towers.weights:
        weight.assign(random.normal(0.0, 0.5, weight.shape))
    weights = {weight.path: weight.numpy().astype("float64") for weight in towers.weights}
    table = weights["words/embeddings"]
    batch = {name: tiny_batch[name].copy() for name in towers.input}
    batch[schema.TITLE][3] = 0
    batch[schema.INGREDIENTS][2, 1:] = 0
    batch[schema.INSTRUCTIONS][5] = 0
    received = {name: value.numpy() for name, value in towers(batch).items()}
    assert list(received) == [schema.TITLE, schema.INGREDIENTS, schema.INSTRUCTIONS]
    for row in range(8):
        title = batch[schema.TITLE][row]
        expected = encode_by_loops(weights, "title_words", table[title], title != 0, RECIPE)
        np.testing.assert_allclose(received[schema.TITLE][row], expected, atol=2e-5)
        for name in (schema.INGREDIENTS, schema.INSTRUCTIONS):
            lines = [
                encode_by_loops(weights, f"{name}_words", table[line], line != 0, RECIPE) for line in batch[name][row]
            ]
            present = batch[name][row].any(axis=1)
            expected = encode_by_loops(weights, f"{name}_lines", np.array(lines), present, RECIPE)
            np.testing.assert_allclose(received[name][row], expected, atol=2e-5)


def test_recipes_without_photos_are_learned_from(tiny_spec, tiny_batch, rng):
    keras.utils.set_random_seed(0)
    model = HT(TINY, tiny_spec)
    losses = model.compute_losses(tiny_batch)
    more = model.compute_losses(without_photos(tiny_batch, rng))
    assert float(more["pair"]) == pytest.approx(float(losses["pair"]), rel=1e-6)
    assert float(more["recipe"]) != pytest.approx(float(losses["recipe"]), rel=1e-3)
    features = model.embed(without_photos(tiny_batch, rng), False)
    assert features["components"][schema.TITLE].shape == (11, 8)
    assert features["recipe"].shape == (8, 12)


def test_weights_that_each_loss_moves(tiny_spec, tiny_batch):
    model = HT(TINY, tiny_spec)
    model.compile(run_eagerly=True)
    before = {v.path: v.numpy().copy() for v in model.phases[0].variables}
    model.train_on_batch(tiny_batch)
    moved = {path for path, v in ((v.path, v.numpy()) for v in model.phases[0].variables) if (v != before[path]).any()}
    assert {path for path in before if "_to_" in path} <= moved
    bare = HT(dataclasses.replace(TINY, recipe_weight=0.0), tiny_spec)
    assert not any("_to_" in variable.path for variable in bare.phases[0].variables)
    assert list(bare.compute_losses(tiny_batch)) == ["pair"]


def test_an_empty_component_counts_nowhere_and_gradients_stay_finite(tiny_spec, tiny_batch):
    batch = {name: value.copy() for name, value in tiny_batch.items()}
    batch[schema.TITLE][:7] = 0  # one title left: no negative for it
    batch[schema.INSTRUCTIONS][2] = 0
    batch[schema.INGREDIENTS][2] = 0
    model = HT(TINY, tiny_spec)
    model.compile(run_eagerly=True)  # two steps: quicker than tracing the graph
    for _ in range(2):
        model.train_on_batch(batch)
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_sentence_vectors_are_refused(tiny_spec):
    with pytest.raises(ValueError, match="instruction_vectors: expected 0"):
        component_towers(dataclasses.replace(tiny_spec, instruction_vectors=5), RECIPE)


@pytest.mark.slow
def test_a_handful_of_pairs_is_learned(tiny_spec, tiny_batch):
    keras.utils.set_random_seed(1)
    model = HT(dataclasses.replace(TINY, optimizer=OptimizerConfig(1e-2)), tiny_spec)
    model.compile()
    for _ in range(150):
        model.train_on_batch(tiny_batch)
    embeddings = model(tiny_batch)
    order = np.argsort(-embeddings["image"].numpy() @ embeddings["recipe"].numpy().T, axis=1)
    assert (order[:, 0] == np.arange(8)).mean() >= 0.9


@pytest.mark.slow
def test_training_takes_recipes_without_photos_where_there_are_any(eagerly, tmp_path):
    alone = [dataclasses.replace(record("alone", 20 + index), photos=[]) for index in range(3)]
    splits = {split: [record(split, index) for index in range(9)] for split in ("train", "val", "test")}
    settings = ("training.batch_size=4", "training.epochs=1", "spec.image_size=14", "training.without_photos=0.5")
    chosen = experiment("ht", "small", overrides=(*CONTRACT["ht"], *settings))
    losses = {}
    for name, found in (("with", splits | {"without_photos": alone}), ("without", splits)):
        data = builder.write_recipes(
            tmp_path / name,
            name,
            found,
            classes=["background", "dish"],
            short_side=16,
            min_word_count=1,
            min_ingredient_count=1,
            instruction_vectors=3,
        )
        with TrainingRun(tmp_path / f"run {name}", "ht", chosen, data, verbose=0) as run:
            for stage in run.stages():
                batch = next(iter(stage["x"].take(1)))
                shapes = {key: tuple(value.shape) for key, value in batch.items()}
                if name == "with":
                    assert shapes["without_photo_title"] == (2, *shapes["title"][1:])
                assert any(key.startswith("without_photo") for key in shapes) == (name == "with")
                history = run.model.fit(**stage).history
        losses[name] = history["recipe"][0]
    assert np.isfinite(list(losses.values())).all()
    assert losses["with"] != pytest.approx(losses["without"], rel=1e-4)
