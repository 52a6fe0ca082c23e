"""Cross-batch memory: what it keeps, what of it counts, and each loss with it against loops."""

import math

import keras
import numpy as np
import pytest

from kfood import schema
from kfood.layers.memory import PairMemory
from kfood.losses import ranking
from kfood.models.base import random_states
from tests.test_models_contract import make

MODELS = {"two_tower": "contrastive", "jne": "pairs", "adamine": "instance"}


def unit(rng, rows, size=16):
    vectors = rng.normal(size=(rows, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def filled_memory(count, warmup=0, size=16):
    memory = PairMemory(count, size, warmup)
    memory.build()
    return memory


def test_the_newest_come_first_and_the_oldest_leave(rng):
    memory = filled_memory(5)
    steps = [(unit(rng, 2), unit(rng, 2), np.array([3 * i, 3 * i + 1], "int64") + 2**40) for i in range(4)]
    for number, step in enumerate(steps):
        memory.push(*step)
        assert int(memory.filled) == min(2 * number + 2, 5)
    for held, kind in ((memory.image, 0), (memory.recipe, 1), (memory.recipes, 2)):
        expected = np.concatenate([step[kind] for step in reversed(steps)])[:5]
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(held), expected)


def test_empty_places_and_a_pairs_own_recipe_do_not_count(rng):
    memory = filled_memory(6)
    image, recipe, recipes = unit(rng, 3), unit(rng, 3), np.array([7, 0, 9 + 2**40], "int64")
    memory.push(image, recipe, recipes)
    own_image, own_recipe = unit(rng, 2), unit(rng, 2)
    sides, counted = memory(own_image, own_recipe, np.array([0, 9], "int64"))  # 9 is 9 + 2^40 in 32 bits
    np.testing.assert_array_equal(counted, [[True, False, True, False, False, False], [True] * 3 + [False] * 3])
    np.testing.assert_allclose(sides[0][:, :3], own_image @ recipe.T, atol=1e-5)
    np.testing.assert_allclose(sides[1][:, :3], own_recipe @ image.T, atol=1e-5)


def test_nothing_is_remembered_of_the_first_steps(rng):
    memory = filled_memory(6, warmup=2)
    for expected in (0, 0, 2, 4):
        memory.push(unit(rng, 2), unit(rng, 2), np.arange(2))
        assert int(memory.filled) == expected


@pytest.fixture
def beside(rng):
    """Cosines of 3 pairs, of which two are of one recipe, and of 4 others, some of which do not count."""
    cosines = rng.uniform(-0.6, 0.9, (3, 3)).astype("float32")
    sides = [rng.uniform(-0.6, 0.9, (3, 4)).astype("float32") for _ in range(2)]
    same = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
    counted = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0]], bool)
    return cosines, same, sides, counted


def test_softmax_with_others_against_loops(beside):
    cosines, same, sides, counted = beside
    total = 0.0
    for rows, further in ((cosines / 0.1, sides[0] / 0.1), (cosines.T / 0.1, sides[1] / 0.1)):
        for i in range(3):
            wrong = [rows[i, j] for j in range(3) if not same[i, j]]
            wrong += [further[i, k] for k in range(4) if counted[i, k]]
            total += math.log(sum(math.exp(z) for z in [rows[i, i], *wrong])) - rows[i, i]
    others = ranking.Others(tuple(side / 0.1 for side in sides), counted)
    assert float(ranking.symmetric_cross_entropy(cosines / 0.1, same, others)) == pytest.approx(total / 6, rel=1e-5)


def test_sigmoid_with_others_against_loops(beside):
    cosines, same, sides, counted = beside
    logits, further = 3 * cosines - 1, [3 * side - 1 for side in sides]
    total = sum(math.log(1 + math.exp(-logits[i, i])) for i in range(3))
    total += sum(math.log(1 + math.exp(logits[i, j])) for i in range(3) for j in range(3) if not same[i, j])
    total += sum(math.log(1 + math.exp(z[i, k])) for z in further for i in range(3) for k in range(4) if counted[i, k])
    found = ranking.pairwise_sigmoid(logits, same, ranking.Others(tuple(further), counted))
    assert float(found) == pytest.approx(total / 3, rel=1e-5)


def test_triplets_with_others_against_loops(beside):
    cosines, same, sides, counted = beside
    total = 0.0
    for rows, further in ((1 - cosines, 1 - sides[0]), (1 - cosines.T, 1 - sides[1])):
        terms = []
        for i in range(3):
            positive = max(rows[i, j] for j in range(3) if same[i, j])
            negatives = [rows[i, j] for j in range(3) if not same[i, j]]
            negatives += [further[i, k] for k in range(4) if counted[i, k]]
            terms += [max(0.0, positive - negative + 0.3) for negative in negatives]
        total += sum(terms) / sum(term > 0 for term in terms)
    others = ranking.Others(tuple(1 - side for side in sides), counted)
    assert float(ranking.instance_triplets(1 - cosines, same, 0.3, others)) == pytest.approx(total, rel=1e-5)


def test_mismatched_pairs_with_others_against_loops(beside):
    cosines, same, sides, counted = beside
    pulled = [1 - cosines[i, j] for i in range(3) for j in range(3) if same[i, j]]
    pushed = [max(0.0, cosines[i, j] - 0.1) for i in range(3) for j in range(3) if not same[i, j]]
    pushed += [max(0.0, side[i, k] - 0.1) for side in sides for i in range(3) for k in range(4) if counted[i, k]]
    expected = 0.2 * np.mean(pulled) + 0.8 * np.mean(pushed)
    found = ranking.mismatched_pairs(cosines, same, 0.1, 0.2, ranking.Others(tuple(sides), counted))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_second_step_sees_the_pairs_of_the_first(name, tiny_spec, tiny_batch):
    """As the loss of the second's embeddings and those that the first left, whatever the weights have become since."""
    numbers = np.arange(8, dtype="int64") + 5
    first = tiny_batch | {schema.RECIPE_NUMBER: numbers}
    second = {key: np.roll(values, 2, axis=0) for key, values in first.items()}
    second[schema.RECIPE_NUMBER] = np.array([5, 6, 30, 31, 32, 33, 34, 12], "int64")
    model = make(name, tiny_spec, compiled=False, overrides=("memory=20", "memory_warmup=0"))
    model.compile("sgd", run_eagerly=True)
    term = MODELS[name]
    alone = make(name, tiny_spec, compiled=False)
    alone.compile("sgd", run_eagerly=True)
    losses = [m.train_on_batch(first, return_dict=True)[term] for m in (model, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # an empty memory changes nothing
    features = {key: np.asarray(value) for key, value in model.embed(second, training=True).items()}
    old = {side: getattr(model.memory, side).numpy()[:8] for side in ("image", "recipe")}
    assert int(model.memory.filled) == 8
    sides = (features["image"] @ old["recipe"].T, features["recipe"] @ old["image"].T)
    counted = second[schema.RECIPE_NUMBER][:, None] != numbers[None, :]
    assert not counted.all()
    cosines, same = features["image"] @ features["recipe"].T, np.eye(8, dtype=bool)
    if name == "two_tower":
        scale = float(np.exp(model.temperature.log_scale.numpy()))
        others = ranking.Others(tuple(scale * side for side in sides), counted)
        expected = ranking.symmetric_cross_entropy(scale * cosines, same, others)
    elif name == "jne":
        expected = ranking.mismatched_pairs(cosines, same, 0.1, 0.2, ranking.Others(sides, counted))
    else:
        others = ranking.Others(tuple(1 - side for side in sides), counted)
        expected = ranking.instance_triplets(1 - cosines, same, 0.3, others)
    found = model.losses_of("encoders", features, second, training=True)[term]
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    without = model.losses_of("encoders", features, second, training=False)[term]  # a score on validation is a batch's
    assert abs(float(without) - float(found)) > 1e-3 * float(found)


@pytest.mark.slow
def test_a_memory_is_saved_counts_over_batches_by_id_and_goes_with_chunks(tiny_spec, tiny_batch, tmp_path):
    batch = {**tiny_batch, schema.ID: np.array([f"r{i}" for i in range(8)])}
    settings = ("memory=12", "memory_warmup=1")
    weights = []
    for chunk in (0, 4):
        model = make("two_tower", tiny_spec, compiled=False, overrides=settings)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.compile("sgd", chunk=chunk, run_eagerly=bool(chunk))  # one in a graph, one not
        for _ in range(3):
            model.train_on_batch(batch)
        weights.append([variable.numpy() for variable in [*model.variables, *random_states(model)]])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert (int(model.memory.steps), int(model.memory.filled)) == (3, 12)
    assert len(set(model.memory.recipes.numpy())) == 8  # the same eight, three times over
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.memory.weights, loaded.memory.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_without_numbers_of_recipes_a_memory_says_so(tiny_spec, tiny_batch):
    model = make("two_tower", tiny_spec, overrides=("memory=4",))
    with pytest.raises(ValueError, match="memory: expected recipe_number, or id, in a batch"):
        model.train_on_batch(tiny_batch)
    with pytest.raises(ValueError, match="memory: expected at least 0, received -1"):
        make("jne", tiny_spec, compiled=False, overrides=("memory=-1",))
