"""What every model promises, tried on all of them: phases, the sign of each loss, saving, embeddings."""

import keras
import numpy as np
import pytest
from conftest import BAGS, others_slow

from kfood import backend, schema
from kfood.configs import PRESETS, experiment
from kfood.models import MODELS
from kfood.models.base import random_states
from kfood.settings import from_dict

ENCODERS = (
    "image_encoder.widths=4,8",
    "recipe_encoder.word_size=6",
    "recipe_encoder.ingredient_units=4",
    "recipe_encoder.word_units=3",
    "recipe_encoder.instruction_units=5",
    "recipe_encoder.dropout=0",
    "recipe_encoder.word_dropout=0",
    "recipe_encoder.part_dropout=0",
    "embedding_size=16",
)
TRAJCROSS = (
    "image_encoder.widths=4,8",
    "embedding_size=16",
    "point_size=6",
    "filters=6",
    "hidden=64",  # a quarter of them sees the location: few enough might all be dead
    "sketch_size=16",
)
ON_TRAJCROSS = tuple(f"encoder.{setting}" for setting in TRAJCROSS)
TINY = {
    "acme": (
        *ENCODERS,
        "picture_size=16",
        "picture_width=4",
        "discriminator_width=4",
        "condition_size=6",
        "noise_size=4",
        "mining_warmup_steps=0",
    ),
    "r2gan": (*ENCODERS, "picture_size=16", "generator_width=4", "discriminator_width=4", "negatives=mean"),
    "mcen": (
        "image_encoder.widths=4,8",
        "image_encoder.dropout=0",
        "recipe_encoder.word_size=6",
        "recipe_encoder.units=4",
        "recipe_encoder.dropout=0",
        "recipe_encoder.word_dropout=0",
        "recipe_encoder.part_dropout=0",
        "embedding_size=16",
        "latent_size=8",
        "output_dropout=0",
        "settle_epochs=0",
        # Equal deviations at the start would leave the KL without a gradient for a posterior's.
        "first_deviation=0",
    ),
    "ht": (
        "image_encoder.widths=4,8",
        "recipe_encoder.width=8",
        "recipe_encoder.heads=2",
        "recipe_encoder.feed_forward=6",
        "recipe_encoder.dropout=0",
        "embedding_size=16",
    ),
    "cca": ("image_encoder.widths=4,8", "word_size=6", "embedding_size=4"),
    "jne": ENCODERS,
    "adamine": ENCODERS,
    "two_tower": ENCODERS,
    "trajcross": (*TRAJCROSS, "negatives=3"),
    "trajectory_cca": ("embedding_size=4",),
    "moco": (*ON_TRAJCROSS, "queue=12"),
    "acmr": ON_TRAJCROSS,
    "corr_ae": ON_TRAJCROSS,
    "dbrlm": ON_TRAJCROSS,
    "alpha_gao": ("image_encoder.widths=4,8", "embedding_size=16"),
}
"""Overrides of ``small`` that make a model small enough for a test."""

# A bias that cancels in a difference of two scores, and in a gradient.
WITHOUT_GRADIENT = {"acme": ["critic"]}


WITH_DROPOUT = {name: ("dropout", "word_dropout", "part_dropout") for name in ("acme", "r2gan", "mcen", "two_tower")}


def make(name, spec, compiled=True, variant="", overrides=()):
    """A tiny model, the same in every run."""
    keras.utils.set_random_seed(0)
    chosen = experiment(name, "small", variant, (*TINY[name], *overrides))
    if MODELS[name].data == "labelled":
        spec = schema.PhotoSpec(spec.image_size, spec.classes)  # its features are among those of a recipe batch
    if MODELS[name].data == "trajectories":
        spec = schema.TrajectorySpec(spec.image_size, centre_x=5.5, centre_y=5.5, extent=6.0)  # and so are these
    model = MODELS[name].load()(chosen.model, spec)
    if compiled:
        # For a step or two quicker than tracing the graph; JAX compiles each loop anew wherever it is not in one.
        model.compile(run_eagerly=keras.backend.backend() != "jax")
    return model


def losses_of(model):
    """Batch → its named losses; under JAX as one compiled function, for one by one its operations take far longer."""
    if keras.backend.backend() != "jax":
        return model.compute_losses
    import jax

    @jax.jit
    def losses(values, batch):
        with keras.StatelessScope(list(zip(model.variables, values, strict=True))):
            return model.compute_losses(batch)

    return lambda batch: losses([variable.value for variable in model.variables], batch)


def snapshot(variables):
    return [variable.numpy().copy() for variable in variables]


IN_EVERY_RUN = ("acme", "two_tower", "alpha_gao", "trajcross")
"""Each kind of data, with adversaries and without; the rest is tried with the slow tests."""


@pytest.fixture(params=others_slow(MODELS, IN_EVERY_RUN))
def name(request):
    return request.param


def test_every_model_is_tried_here():
    assert set(TINY) == set(MODELS)


def test_each_phase_changes_exactly_its_own_variables(name, tiny_spec, tiny_batch):
    changes_its_own_variables(make(name, tiny_spec), tiny_batch, name)


def changes_its_own_variables(model, batch, name):
    """A step for each phase, in which its optimizer alone has a learning rate, moves its variables and no other."""
    for moving in model.phases:
        for phase in model.phases:
            model.optimizers[phase.name].learning_rate = 1e-2 if phase is moving else 0.0
        own = {id(variable) for variable in moving.variables}
        before = snapshot(model.trainable_variables)
        model.train_on_batch(batch)
        still = []
        for variable, old in zip(model.trainable_variables, before, strict=True):
            moved = bool(np.any(variable.numpy() != old))
            if id(variable) in own:
                still += [] if moved else [variable.path]
            else:
                assert not moved, f"phase {moving.name} moved {variable.path}"
        if moving.name in WITHOUT_GRADIENT.get(name, []):
            assert len(still) == 1
            assert still[0].endswith("bias")
        else:
            assert still == [], moving.name


def test_phases_share_no_variable_and_cover_the_model(name, tiny_spec):
    model = make(name, tiny_spec, compiled=False)
    sets = [{id(variable) for variable in phase.variables} for phase in model.phases]
    assert sum(map(len, sets)) == len(set.union(*sets)) == len(model.trainable_variables)


def test_a_step_against_each_term_alone_lowers_it(name, tiny_spec, tiny_batch):
    model = make(name, tiny_spec)
    states, losses = snapshot(random_states(model)), losses_of(model)

    def terms():
        for variable, state in zip(random_states(model), states, strict=True):
            variable.assign(state)
        return losses(tiny_batch)

    tried = 0
    for phase in model.phases:
        if not phase.variables:
            continue  # CCA is solved, not descended to
        for term, weight in phase.weights.items():
            assert float(weight) > 0, term
            start = snapshot(phase.variables)
            before, gradients = backend.gradients(lambda term=term: (terms()[term],) * 2, phase.variables)
            gradients = [
                np.zeros_like(old) if gradient is None else keras.ops.convert_to_numpy(gradient)
                for old, gradient in zip(start, gradients, strict=True)
            ]
            norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients))
            assert norm > 0, term
            for variable, old, gradient in zip(phase.variables, start, gradients, strict=True):
                variable.assign(old - 1e-4 * gradient / norm)
            assert float(terms()[term]) < float(before), term  # small: an adaptive mean jumps where a term gets to 0
            for variable, old in zip(phase.variables, start, strict=True):
                variable.assign(old)
            tried += 1
    assert tried > 0 or name.endswith("cca")


def test_logs_name_every_loss_and_add_up(name, tiny_spec, tiny_batch):
    model = make(name, tiny_spec)
    logs = model.test_on_batch(tiny_batch, return_dict=True)
    assert set(logs) == {"loss", *(term for phase in model.phases for term in phase.weights)}
    assert all(np.isfinite(value) for value in logs.values())
    main = model.phases[-1].weights
    assert logs["loss"] == pytest.approx(sum(float(weight) * logs[term] for term, weight in main.items()), rel=1e-4)
    assert set(model.train_on_batch(tiny_batch, return_dict=True)) == set(logs)


def test_embeddings_are_normalised_and_independent_of_the_batch(name, tiny_spec, tiny_batch):
    model = make(name, tiny_spec)
    model.train_on_batch(tiny_batch)
    both = model.predict(tiny_batch, verbose=0)
    assert set(both) == set(model.encoders)
    for side, encoder in model.encoders.items():
        assert both[side].shape == (8, model.embedding_size)
        np.testing.assert_allclose(np.linalg.norm(both[side], axis=1), 1.0, rtol=1e-5)
        alone = encoder.predict_on_batch({key: tiny_batch[key][2:3] for key in encoder.input})
        np.testing.assert_allclose(alone, both[side][2:3], atol=1e-5)
    alone = {key: tiny_batch[key] for key in model.encoders["image"].input}
    assert set(model.predict(alone, verbose=0)) == {"image"}


def test_save_load_and_train_on_gives_the_same_weights(name, tiny_spec, tiny_batch, tmp_path):
    """Every optimizer's state included, and every source of chance: dropout, noise, mixtures."""
    dropped = () if name not in WITH_DROPOUT else tuple(f"recipe_encoder.{s}=0.3" for s in WITH_DROPOUT[name])
    model = make(name, tiny_spec, overrides=dropped)
    model.train_on_batch(tiny_batch)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {key: int(o.iterations) for key, o in loaded.optimizers.items()} == {
        key: int(o.iterations) for key, o in model.optimizers.items()
    }
    for each in (model, loaded):
        each.train_on_batch(tiny_batch)
    assert len(model.weights) == len(loaded.weights) > 0
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_a_saved_model_opens_nothing_but_itself(name, tiny_spec, tiny_batch, tmp_path):
    """The weights that an encoder started from may have moved, and are not asked for again."""
    model = make(name, tiny_spec)
    on = "encoder.image_encoder" if hasattr(model.config, "encoder") else "image_encoder"
    if not hasattr(model.config, on.split(".")[0]):
        pytest.skip(f"{name} has no image encoder")
    start = tmp_path / "start.weights.h5"
    model.encoders["image"].get_layer("backbone").save_weights(start)
    model = make(name, tiny_spec, overrides=(f"{on}.weights={start}",))
    model.save(tmp_path / "model.keras")
    start.unlink()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="models are exported with TensorFlow")
def test_a_model_that_was_never_called_exports(tiny_spec, tiny_batch, tmp_path):
    import tensorflow as tf

    model = make("two_tower", tiny_spec, compiled=False)
    model.export(tmp_path / "model", verbose=False)
    taken = {name for encoder in model.encoders.values() for name in encoder.input}
    loaded = tf.saved_model.load(tmp_path / "model")
    found = loaded.serve({name: tiny_batch[name][:3] for name in taken})
    for side, encoder in model.encoders.items():
        expected = encoder.predict_on_batch({name: tiny_batch[name][:3] for name in encoder.input})
        np.testing.assert_allclose(found[side], expected, atol=1e-5)


def test_a_model_that_was_never_called_saves(name, tiny_spec, tmp_path):
    models = [make(name, tiny_spec, compiled=False) for _ in range(2)]
    models[0].save_weights(tmp_path / "w.weights.h5")
    models[1].load_weights(tmp_path / "w.weights.h5")
    for one, two in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_pictures_read_back_from_embeddings(name, tiny_spec, rng):
    """Another embedding, another picture; the same one, the same picture."""
    model = make(name, tiny_spec, compiled=False)
    if "picture" not in model.decoders:
        pytest.skip(f"{name} makes no pictures")
    decoder = model.decoders["picture"]
    assert set(decoder.sources) <= set(model.encoders)
    embeddings = rng.normal(size=(3, 16)).astype("float32")
    pictures = decoder.network.predict_on_batch(embeddings)
    assert pictures.shape == (3, 16, 16, 3)
    assert 0.0 <= pictures.min() <= pictures.max() <= 255.0
    np.testing.assert_array_equal(pictures, decoder.network.predict_on_batch(embeddings))
    np.testing.assert_allclose(pictures[::-1], decoder.network.predict_on_batch(embeddings[::-1]), atol=1e-3)
    assert np.abs(pictures[0] - pictures[1]).mean() > 1e-3


def test_every_preset_and_variant_can_be_named(name):
    import importlib

    for variant in ("", *importlib.import_module(f"kfood.configs.{name}").VARIANTS):
        for preset in PRESETS if MODELS[name].data != "trajectories" else ("published", "small"):
            chosen = experiment(name, preset, variant)
            assert from_dict(type(chosen.model), {}) is not None
            assert isinstance(chosen.model, MODELS[name].load().config_class)


def test_one_optimizer_for_a_model_of_one_phase(tiny_spec, tiny_batch, tmp_path):
    """By name or as an object, by position or by keyword; kept by saving."""
    for arguments, named in (
        (("sgd",), {}),
        ((), {"optimizer": "sgd"}),
        ((keras.optimizers.SGD(0.01),), {}),
        ((), {"optimizers": {"encoders": "sgd"}}),
    ):
        model = make("two_tower", tiny_spec, compiled=False)
        assert [phase.name for phase in model.phases] == ["encoders"]
        model.compile(*arguments, run_eagerly=True, **named)
        (optimizer,) = model.optimizers.values()
        assert type(optimizer) is keras.optimizers.SGD
        before = snapshot(model.trainable_variables)
        model.train_on_batch(tiny_batch)
        assert any(
            np.any(old != variable.numpy()) for old, variable in zip(before, model.trainable_variables, strict=True)
        )
    model.save(tmp_path / "model.keras")
    (optimizer,) = keras.models.load_model(tmp_path / "model.keras").optimizers.values()
    assert (type(optimizer), int(optimizer.iterations)) == (keras.optimizers.SGD, 1)


def test_what_a_model_has_itself_is_refused_by_name(tiny_spec, tiny_batch):
    model = make("acme", tiny_spec, compiled=False)
    names = [phase.name for phase in model.phases]
    assert len(names) > 1
    for arguments, named, message in (
        (("adam",), {}, rf"optimizer: expected one for each phase of acme, .* among \[{', '.join(map(repr, names))}\]"),
        ((), {"optimizer": keras.optimizers.Adam()}, "optimizer: expected one for each phase"),
        (
            (),
            {"optimizer": "adam", "optimizers": {names[0]: "adam"}},
            "expected optimizers or optimizer, received both",
        ),
        ((), {"optimizers": {"encoder": "adam"}}, r"optimizers: expected phases among .*, received \['encoder'\]"),
        ((None, "mse"), {}, "loss: expected none, for acme has losses and metrics of its own"),
        ((), {"loss": "mse"}, "loss: expected none"),
        ((), {"loss_weights": [1]}, "loss_weights: expected none"),
        ((), {"metrics": ["accuracy"]}, "metrics: expected none"),
        ((), {"weighted_metrics": ["accuracy"]}, "weighted_metrics: expected none"),
    ):
        with pytest.raises(ValueError, match=message):
            model.compile(*arguments, **named)
    model.compile(run_eagerly=True)
    weights, targets = np.ones(8, "float32"), np.zeros(8, "float32")
    for call, message in (
        (lambda: model.fit(tiny_batch, class_weight={0: 1.0}, verbose=0), "class_weight: expected none"),
        (lambda: model.fit(tiny_batch, sample_weight=weights, verbose=0), "sample_weight: expected none"),
        (lambda: model.fit(tiny_batch, targets, sample_weight=weights, verbose=0), "sample_weight: expected none"),
        (lambda: model.evaluate(tiny_batch, targets, sample_weight=weights, verbose=0), "sample_weight: expected none"),
        (lambda: model.train_on_batch(tiny_batch, targets, sample_weight=weights), "sample_weight: expected none"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.isfinite(model.fit(tiny_batch, targets, verbose=0).history["loss"][0])


def test_no_weights_of_a_backbone_may_be_none(tiny_spec):
    """As keras.applications says it; in a config, in a dict, and in what is saved."""
    from kfood.layers.image import ImageEncoderConfig

    assert ImageEncoderConfig("small", None) == ImageEncoderConfig("small", "")
    assert from_dict(ImageEncoderConfig, {"backbone": "small", "weights": None}).weights == ""
    assert experiment("two_tower", "small", "", ("image_encoder.weights=",)).model.image_encoder.weights == ""


def test_the_full_model_is_a_row_of_its_table(tiny_spec):
    import importlib

    for name, row in (("acme", "All"), ("r2gan", "R2GAN"), ("mcen", "full"), ("trajcross", "TrajCross")):
        assert importlib.import_module(f"kfood.configs.{name}").VARIANTS[row] == {}
        assert experiment(name, "small", row) == experiment(name, "small")


@pytest.mark.parametrize("name", others_slow(["acme", "r2gan", "mcen", "jne", "adamine", "two_tower"], IN_EVERY_RUN))
def test_photos_of_one_recipe_are_no_negatives(name, tiny_spec, tiny_batch):
    """A batch of one recipe's photos has no negative: its ranking loss is that of its pairs, or none."""
    model = make(name, tiny_spec, compiled=False, overrides=("negatives=mean",) if name == "r2gan" else ())
    term = {"acme": "retrieval", "r2gan": "ranking", "mcen": "retrieval", "jne": "pairs", "adamine": "instance"}
    term = term.get(name, "contrastive")

    losses = losses_of(model)

    def loss(batch):
        return float(losses(batch)[term])

    alone = {key: value[:1] for key, value in tiny_batch.items()}
    numbered = tiny_batch | {schema.RECIPE_NUMBER: np.arange(8, dtype="int32") + 70}
    one_recipe = tiny_batch | {schema.RECIPE_NUMBER: np.full(8, 5, "int32")}
    assert loss(numbered) == pytest.approx(loss(tiny_batch), rel=1e-5)
    assert loss(tiny_batch) > 0
    singles = [loss({key: value[i : i + 1] for key, value in tiny_batch.items()}) for i in range(8)]
    if name == "jne":  # it pulls pairs together even where nothing pushes
        assert loss(alone) > 0
    else:
        assert singles == [0.0] * 8
        assert loss(one_recipe) == pytest.approx(0.0, abs=1e-6)
    assert loss(one_recipe) < loss(tiny_batch)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_streams_with_ids_train(tiny_spec, tiny_batch, jit_compile):
    """The strings of a stream never reach a step, which XLA could not compile with them."""
    import tensorflow as tf

    model = make("two_tower", tiny_spec, compiled=False, overrides=BAGS)
    model.compile(jit_compile=jit_compile)
    stream = tf.data.Dataset.from_tensor_slices(tiny_batch | {schema.ID: [f"r{i}" for i in range(8)]}).batch(4)
    history = model.fit(stream, validation_data=stream, verbose=0).history
    assert np.isfinite(history["loss"][0] + history["val_loss"][0])
    assert np.isfinite(model.evaluate(stream.map(lambda batch: (batch,)), verbose=0, return_dict=True)["loss"])
    assert set(model.predict(stream, verbose=0)) == {"image", "recipe"}
    assert model.fit(tiny_batch | {schema.ID: np.array(["a"] * 8)}, verbose=0).history["loss"]


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", others_slow(["stream", "stream of tuples", "arrays"], ["stream"]))
def test_ids_tell_photos_of_one_recipe(tiny_spec, tiny_batch, jit_compile, kind):
    """Strings of ids say the same as numbers of recipes, and numbers that are there already are kept."""
    import tensorflow as tf

    ids = np.array(["b", "a", "b", "c", "a", "b", "é", "c"])
    model = make("two_tower", tiny_spec, compiled=False, overrides=(*BAGS, "recipe_encoder.dropout=0"))
    model.compile(jit_compile=jit_compile)

    def loss(**features):
        data = tiny_batch | features
        if kind != "arrays":
            data = tf.data.Dataset.from_tensor_slices(data).batch(8)
        if kind == "stream of tuples":
            data = data.map(lambda batch: (batch, batch[schema.CLASS_ID]))
        return model.evaluate(data, verbose=0, return_dict=True)["contrastive"]

    numbered = loss(**{schema.RECIPE_NUMBER: np.array([5, 2, 5, 9, 2, 5, 0, 9], "int32")})
    assert loss(**{schema.ID: ids}) == pytest.approx(numbered, rel=1e-5)
    assert loss(**{schema.ID: np.array([f"r{i}" for i in range(8)])}) == pytest.approx(loss(), rel=1e-5)
    assert loss() > 1.01 * numbered
    both = {schema.ID: ids, schema.RECIPE_NUMBER: np.arange(8, dtype="int32")}
    assert loss(**both) == pytest.approx(loss(), rel=1e-5)
