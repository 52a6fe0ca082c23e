"""Vectors of length 1, and what an empty recipe does to the weights of every recipe model."""

import keras
import numpy as np
import pytest
from conftest import others_slow
from test_models_contract import make

from kfood import backend, distances
from kfood.layers.outputs import UnitLength
from kfood.models import MODELS

RECIPE_MODELS = [name for name, entry in MODELS.items() if entry.data == "recipes"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2), ("float32", 1e-6)])
def test_lengths_directions_and_zeros(rng, dtype, tolerance):
    vectors = rng.normal(size=(3, 4)).astype("float32")
    vectors[1] *= 1e-3  # whose squares are 0 in float16
    vectors[2] = 0.0
    given = keras.ops.cast(vectors, dtype)
    vectors = np.asarray(keras.ops.cast(given, "float32"))
    expected = np.zeros((3, 4))
    for row in range(2):
        expected[row] = vectors[row] / np.sqrt(sum(float(x) ** 2 for x in vectors[row]))
    got = distances.unit_length(given)
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), expected, atol=tolerance)
    along = distances.unit_length(keras.ops.transpose(given), axis=0)
    np.testing.assert_allclose(keras.ops.cast(along, "float32").numpy().T, expected, atol=tolerance)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_is_that_of_finite_differences_and_0_at_0(rng, compiled):
    import tensorflow as tf

    weights = rng.normal(size=4).astype("float32")

    @tf.function(jit_compile=compiled)
    def gradient(vectors):
        objective = lambda: (keras.ops.sum(UnitLength()(variable) * weights), None)  # noqa: E731
        variable.assign(vectors)
        return backend.gradients(objective, [variable])[1][0]

    variable = keras.Variable(np.zeros((2, 4), "float32"))
    vector = rng.normal(size=4)
    expected = [
        (weights @ (up / np.linalg.norm(up)) - weights @ (down / np.linalg.norm(down))) / 2e-4
        for up, down in ((vector + 1e-4 * row, vector - 1e-4 * row) for row in np.eye(4))
    ]
    got = gradient(tf.constant(np.stack([vector, np.zeros(4)]), tf.float32)).numpy()
    np.testing.assert_allclose(got[0], expected, atol=1e-4)
    np.testing.assert_array_equal(got[1], np.zeros(4))


def _largest_gradient(model, batch):
    """Of the encoders' own losses with respect to any of their weights."""
    main = model.phases[-1]

    def objective():
        named = model.losses_of(main.name, model.embed(batch, training=True), batch, training=True)
        return sum(weight * named[name] for name, weight in main.weights.items()), None

    import tensorflow as tf

    found = [tf.convert_to_tensor(gradient) for gradient in backend.gradients(objective, main.variables)[1]]
    return max(float(np.abs(gradient).max()) for gradient in found)


@pytest.mark.parametrize(
    ("name", "variant"),
    others_slow(
        [("mcen", "vanilla"), *((name, "") for name in RECIPE_MODELS if name != "cca")],  # which descends nothing
        [("mcen", ""), ("two_tower", "")],
    ),
)
def test_an_empty_recipe_leaves_the_gradient_its_size(tiny_spec, tiny_batch, name, variant):
    """Without care it is 1e5 to 1e7 times as large."""
    model = _model(name, tiny_spec, variant)
    full = _largest_gradient(model, tiny_batch)
    assert _largest_gradient(model, _with_an_empty_recipe(tiny_batch, tiny_spec)) <= 5 * full


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mcen", {"run_eagerly": True}),  # two steps: quicker than tracing the graph
        # jne and adamine have two_tower's network, and cca descends nothing.
        *(
            pytest.param(name, {"jit_compile": True}, marks=pytest.mark.slow)
            for name in ("acme", "r2gan", "ht", "two_tower")  # mcen takes half a minute to compile
        ),
    ],
)
def test_two_steps_with_an_empty_recipe_leave_all_weights_finite(tiny_spec, tiny_batch, name, options):
    model = _model(name, tiny_spec)
    model.compile(**options)
    before = [weight.numpy().copy() for weight in model.weights]
    batch = _with_an_empty_recipe(tiny_batch, tiny_spec)
    for _ in range(2):
        model.train_on_batch(batch)
    moved = [not np.array_equal(old, weight.numpy()) for old, weight in zip(before, model.weights, strict=True)]
    assert any(moved)
    broken = [weight.path for weight in model.weights if not np.all(np.isfinite(weight.numpy()))]
    assert not broken
    embeddings = model.predict(batch, verbose=0)
    assert all(np.all(np.isfinite(array)) for array in embeddings.values())


def _model(name, spec, variant=""):
    if name != "mcen":
        return make(name, spec)
    # As published: normalised summaries hide the zeros. The image draws, so that the recipe's latent is the prior's.
    model = make(name, spec, variant=variant, overrides=("normalise_summaries=false",))
    model.begin_epoch(model.config.stage_epochs)
    return model


def _with_an_empty_recipe(batch, spec):
    batch = {name: values.copy() for name, values in batch.items()}
    for name in (*spec.recipe_inputs(), "ingredient_ids"):
        batch[name][3] = 0
    return batch
