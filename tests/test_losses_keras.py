"""MetricLoss and its layers in models of one's own: saving, labels, options, rates, XLA, other backends."""

import subprocess
import sys

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import others_slow

from kfood import miners
from kfood.losses import metric_learning, pairs
from kfood.losses.metric_learning import Boundaries, MetricLoss, Proxies

LABELS = np.repeat(np.arange(4), 6)


@pytest.fixture
def points(rng):
    return (rng.normal(size=(4, 5))[LABELS] + 0.3 * rng.normal(size=(24, 5))).astype("float32")


def make(learnt=None):
    inputs = keras.Input((5,))
    outputs = keras.layers.UnitNormalization()(keras.layers.Dense(3)(inputs))
    return keras.Model(inputs, outputs if learnt is None else learnt(outputs))


def test_a_loaded_model_asks_for_its_boundaries(points, tmp_path):
    """Instead of going on with β fixed at 1.2, which the loss without its layer would mean."""
    keras.utils.set_random_seed(0)
    layer = Boundaries(4)
    model = make(layer)
    model.compile(keras.optimizers.Adam(0.05), MetricLoss("margin", layer))
    model.fit(points, LABELS, batch_size=24, epochs=5, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="compile a loaded model again, with a new loss on the layer of that model"):
        loaded.evaluate(points, LABELS, batch_size=24, verbose=0)
    loaded.compile("adam", MetricLoss("margin", loaded.layers[-1]))
    right = model.evaluate(points, LABELS, batch_size=24, verbose=0)
    assert loaded.evaluate(points, LABELS, batch_size=24, verbose=0) == pytest.approx(right, rel=1e-6)
    fixed = MetricLoss("margin")(LABELS, model.predict(points, verbose=0))
    assert float(fixed) != pytest.approx(right, rel=0.01)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8", "float32", "bool"])
def test_labels_of_any_type(dtype, rng):
    labels = np.array([1, 0, 1, 0], dtype)
    vectors = rng.normal(size=(4, 3)).astype("float32")
    expected = float(pairs.contrastive(vectors, np.array([1, 0, 1, 0])))
    assert float(MetricLoss("contrastive")(labels[:, None], vectors)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("first", [2**24, 2**40])
def test_large_class_ids_stay_apart(first, points):
    labels = first + np.array([0, 1] * 12)
    model = make()
    model.compile("sgd", MetricLoss("contrastive"))
    expected = float(pairs.contrastive(model.predict(points, verbose=0), labels - first))
    assert model.evaluate(points, labels, batch_size=24, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_labels_that_are_no_class_ids_are_named(points):
    loss, vectors = MetricLoss("triplet"), points[:3]
    for wrong, message in (
        (np.array(["a", "b", "b"]), r"labels: expected class ids, integers, received <U1; number them"),
        (["a", "b", "b"], "labels: expected class ids, integers"),
        (tf.constant(["a", "b", "b"]), "labels: expected class ids, integers"),
        (np.eye(3), r"labels: expected class ids \[n\] or \[n, 1\], received \[3, 3\]; of one-hot rows take np.argmax"),
        (np.arange(4), r"labels: expected 3 class ids, one an embedding, received \[4\]"),
        (np.array(1), r"labels: expected 3 class ids, one an embedding, received \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(wrong, vectors)
    model = make()
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match="one-hot rows"):
        model.fit(points, keras.utils.to_categorical(LABELS), verbose=0)
    with pytest.raises(ValueError, match="no sample_weight, and in fit no class_weight"):
        model.fit(points, LABELS, class_weight=dict.fromkeys(range(4), 1.0), verbose=0)


@pytest.mark.parametrize("name", ["margin", "proxy_nca", "normalised_softmax", "soft_triple"])
def test_a_label_that_the_layer_has_no_row_for_is_named(name, points):
    layer = {"margin": Boundaries(4), "soft_triple": Proxies(4, centres=2)}.get(name, Proxies(4))
    model = make(layer)
    loss = MetricLoss(name, layer)
    with pytest.raises(
        ValueError, match=r"expected class ids from 0 to 3, .* of 4 classes, received some from, to: 1, 4"
    ):
        loss(LABELS + 1, model(points))
    model.compile("sgd", loss, jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected class ids from 0 to 3"):
        model.fit(points, LABELS + 1, verbose=0)
    model.compile("sgd", loss, run_eagerly=True)
    model.fit(points, LABELS, verbose=0)


def test_what_does_not_fit_is_refused_at_once():
    for make_loss, message in (
        (lambda: MetricLoss("triplet", miner="hard", alpha=1.5), "alpha: expected a share from 0 to 1, received 1.5"),
        (lambda: MetricLoss("triplet", miner="hard", alpha=-1), "alpha: expected a share from 0 to 1, received -1"),
        (lambda: MetricLoss("triplet", gao="as_released"), "gao: expected False, True, received 'as_released'"),
        (lambda: MetricLoss("triplet", gao=True, squared=True), "gao: expected False with squared distances"),
        (lambda: MetricLoss("pnp", variant="Dq"), "variant: expected one of"),
        (lambda: MetricLoss("soft_triple", Proxies(4)), r"expected a layer Proxies\(n, centres=k\) .* with proxies"),
        (lambda: MetricLoss("proxy_nca", Proxies(4, 3)), r"expected a layer Proxies\(n\) .* with centres"),
        (lambda: MetricLoss("margin", Proxies(4)), r"expected a layer Boundaries\(n\)"),
        (lambda: MetricLoss("margin", keras.layers.Dense(3)), r"expected a layer Boundaries\(n\)"),
        (lambda: MetricLoss("margin", Boundaries(4), boundaries=1.0), "a β that is not learnt, and no layer beside it"),
        (lambda: MetricLoss("margin", boundaries=[1.0, 0.9]), "boundaries: expected one number"),
        (lambda: MetricLoss("triplet", miner_options={"cutoff": 0.4}), "miner_options: expected none without a miner"),
        (
            lambda: MetricLoss("triplet", miner="distance_weighted", miner_options={"cut": 1}),
            r"miner_options: expected options of 'distance_weighted', \['cutoff'\], received 'cut'",
        ),
        (lambda: Boundaries(0), "classes: expected a number above 0, received 0"),
        (lambda: Proxies(4, rate=-1.0), "rate: expected a number above 0, received -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make_loss()
    with pytest.raises(
        ValueError, match=r"a layer that the model's embeddings pass through.*'mine', which is not built"
    ):
        MetricLoss("proxy_nca", Proxies(4, name="mine"))(LABELS, np.ones((24, 3)))


def test_eq_8_is_refused_a_start_that_does_not_learn():
    """From β - m = log(1 + √2) on it pulls no two vectors that are nearer than random ones."""
    border = 0.2 + np.log(1 + np.sqrt(2))
    assert pairs.learns_by_eq_8(border - 1e-6)
    assert not pairs.learns_by_eq_8(border + 1e-6)
    for arguments in ({"learnt": Boundaries(4)}, {"boundaries": 1.2}, {"learnt": Boundaries(4, border + 0.01)}):
        with pytest.raises(ValueError, match=r"expected, with gao=True, a start below 0.79 or so"):
            MetricLoss("margin", gao=True, **arguments)
    MetricLoss("margin", gao=True)
    MetricLoss("margin", Boundaries(4, pairs.first_boundary(gao=True)), gao=True)
    MetricLoss("margin", Boundaries(4), gao=True, margin=0.5)
    MetricLoss("margin", Boundaries(4), gao="as_released")


@pytest.mark.parametrize("name", ["pnp", "multi_similarity", "proxy_synthesis"])
def test_losses_that_have_an_alpha_of_their_own(name, points):
    layer = Proxies(4) if name == "proxy_synthesis" else None
    if layer is not None:
        layer.build((None, 5))

    def value(**options):
        return float(MetricLoss(name, layer, seed=1, **options)(LABELS, points))

    vectors = {} if layer is None else {"proxies": layer.value, "seed": keras.random.SeedGenerator(1)}
    expected = float(metric_learning.LOSSES[name](points, LABELS, alpha=4.0, **vectors))
    assert value(alpha=4.0) == pytest.approx(expected, rel=1e-6)
    assert value() != pytest.approx(expected)
    for loss in (MetricLoss(name, layer, alpha=4.0), MetricLoss(name, layer)):
        again = MetricLoss.from_config(loss.get_config())
        assert again.options == loss.options
        assert again.alpha == 0.0


def test_a_fixed_boundary(points):
    unit = np.array([oracles.unit(x) for x in points], "float32")
    got = float(MetricLoss("margin", boundaries=0.7)(LABELS, unit))
    assert got == pytest.approx(float(pairs.margin(unit, LABELS, 0.7)))
    assert got != pytest.approx(float(pairs.margin(unit, LABELS)))


def test_a_miner_with_options_and_a_miner_of_ones_own(points, tmp_path):
    unit = np.array([oracles.unit(x) for x in points], "float32")

    def value(**options):
        return float(MetricLoss("contrastive", seed=5, **options)(LABELS, unit))

    drawn = miners.distance_weighted(unit, LABELS, keras.random.SeedGenerator(5), cutoff=1.3)
    expected = float(pairs.contrastive(unit, LABELS, drawn))
    assert value(miner="distance_weighted", miner_options={"cutoff": 1.3}) == pytest.approx(expected)
    assert value(miner="distance_weighted") != pytest.approx(expected)
    assert value(miner=hardest) == value(miner="hard")
    model = make()
    model.compile("sgd", MetricLoss("triplet", miner=hardest, alpha=0.2, seed=np.int64(3)))
    model.fit(points, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.miner is hardest
    assert loaded.loss.get_config() == model.loss.get_config()


@keras.saving.register_keras_serializable("kfood_tests")
def hardest(embeddings, labels, seed=None):
    """A user's miner."""
    return miners.hard(embeddings, labels, seed)


@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_layers_move_at_their_own_rate(rate, points):
    """Adam's first step is the learning rate, whatever the gradient; β's is that times its rate, from the same β."""
    layer = Boundaries(4, rate=rate)
    model = make(layer)
    np.testing.assert_allclose(layer.value, [1.2] * 4, rtol=1e-6)
    model.compile(keras.optimizers.Adam(1e-3), MetricLoss("margin", layer))
    model.fit(points, LABELS, batch_size=24, verbose=0)
    np.testing.assert_allclose(np.abs(np.asarray(layer.value) - 1.2), 1e-3 * rate, rtol=0.01)
    again = Boundaries.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    vectors = Proxies(300, rate=rate)
    vectors.build((None, 64))
    assert np.std(vectors.value) == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("name", others_slow(metric_learning.LOSSES, ["lifted_structure", "margin", "soft_triple"]))
def test_every_loss_compiles_with_xla(name, points):
    """As Keras does by itself where there is a GPU; the same values as without it."""
    layer = {"margin": Boundaries(4), "soft_triple": Proxies(4, centres=2)}.get(name)
    if layer is None and name.startswith(("proxy", "normalised")):
        layer = Proxies(4)
    histories = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        model = make(None if layer is None else (layer := type(layer).from_config(layer.get_config())))
        model.compile(keras.optimizers.SGD(1e-3), MetricLoss(name, layer, seed=1), jit_compile=jit)
        histories.append(model.fit(points, LABELS, batch_size=24, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert np.all(np.isfinite(histories))
    if name != "proxy_synthesis":  # whose random numbers XLA draws another way
        np.testing.assert_allclose(histories[0], histories[1], rtol=1e-4)


def test_losses_import_no_tensorflow_on_another_backend():
    """Read by what a fresh interpreter imports, with modules in place of those that are not installed here."""
    code = (
        "import sys, types; sys.modules['tensorflow'] = None\n"
        "keras = types.ModuleType('keras'); keras.ops = types.ModuleType('keras.ops'); sys.modules['keras'] = keras\n"
        "sys.modules['keras.ops'] = keras.ops\n"
        "keras.backend = types.SimpleNamespace(backend=lambda: 'torch'); keras.StatelessScope = object\n"
        "import kfood.backend\n"
        "try: kfood.backend.gradients(None, [])\n"
        "except NotImplementedError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "expected Keras' TensorFlow or JAX backend" in out
    assert "received 'torch'" in out


def test_with_jax_a_draw_needs_a_generator_that_the_model_tracks(monkeypatch):
    """Of any other, a compiled step would repeat one draw; without a draw nothing is asked for."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for options in ({"miner": "random"}, {"miner": "random", "seed": 3}, {"miner": "distance_weighted", "alpha": 0.2}):
        with pytest.raises(ValueError, match=r"seed: expected, with JAX, a keras\.random\.SeedGenerator"):
            MetricLoss("margin", **options)
    MetricLoss("margin", miner="random", seed=keras.random.SeedGenerator(0))
    MetricLoss("margin")
