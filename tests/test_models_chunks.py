"""Gradient caching: in chunks, the gradient of one batch."""

import keras
import numpy as np
import pytest

from kfood import schema
from kfood.models import MODELS
from kfood.models.base import RetrievalModel, random_states
from kfood.training import TrainingConfig
from tests.conftest import others_slow
from tests.test_models_contract import TINY, make

TRAINED = [name for name in TINY if not name.endswith("cca")]
QUICK = ("two_tower", "r2gan", "trajcross")
"""Of each kind one, in the default run."""

CHANCE = {
    "acme": ("recipe_encoder.dropout=0.3", "recipe_encoder.word_dropout=0.3", "image_encoder.dropout=0.3"),
    "mcen": ("recipe_encoder.word_dropout=0.3", "image_encoder.dropout=0.3", "output_dropout=0.3"),
    "ht": ("recipe_encoder.dropout=0.3", "image_encoder.dropout=0.3"),
    "alpha_gao": ("image_encoder.dropout=0.3",),
}
CHANCE |= dict.fromkeys(("r2gan", "jne", "adamine", "two_tower"), CHANCE["acme"])

NO_CHANCE = {"acme": ("recipe_to_image=false",), "mcen": ("settle_epochs=1",)}


class Recorder(keras.optimizers.SGD):
    """Keeps the gradients of its last step, and moves nothing."""

    def apply(self, grads, trainable_variables=None):
        self.received = list(grads)


def gradients(model, batch, chunk):
    """(phase → gradients as arrays, logs) of a step that moves no weight."""
    optimizers = {phase.name: Recorder(1.0) for phase in model.phases}
    model.compile(optimizers, run_eagerly=True, chunk=chunk)
    logs = model.train_on_batch(batch, return_dict=True)
    found = {
        name: [None if g is None else keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(g)) for g in o.received]
        for name, o in model.optimizers.items()
    }
    return found, logs


def embed_in_two(model, rows):
    """A model's ``embed`` that passes two halves one after the other, recorded as one forward pass."""
    own = type(model).embed_items is not RetrievalModel.embed_items
    items = model.embed_items if own else model.embed

    def embed(batch, training):
        halves = [{name: values[: rows[name]] for name, values in batch.items()}]
        halves.append({name: values[rows[name] :] for name, values in batch.items()})
        first, second = (items(half, training) for half in halves)
        joined = keras.tree.map_structure(lambda *parts: keras.ops.concatenate(parts), first, second)
        return model.from_items(joined, batch, training)

    return embed


def with_strangers(name, batch, count=4):
    """H-T also learns from recipes without photos."""
    if name != "ht":
        return batch
    texts = (schema.TITLE, schema.INGREDIENTS, schema.INSTRUCTIONS)
    return batch | {schema.WITHOUT_PHOTO + text: np.roll(batch[text][:count], 1, axis=-2) for text in texts}


def assert_equal_gradients(found, expected):
    assert found.keys() == expected.keys()
    for phase, ones in expected.items():
        largest = max(np.abs(one).max() for one in ones if one is not None)
        assert largest > 0, phase
        for one, other in zip(ones, found[phase], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(other, one, atol=1e-5 * max(1.0, largest), rtol=1e-5, err_msg=phase)


@pytest.mark.parametrize("name", others_slow(TRAINED, QUICK))
def test_the_gradient_is_that_of_one_recording_dropout_and_noise_replayed(name, tiny_spec, tiny_batch):
    """The same halves and draws, recorded as one pass; then every state is as after that pass, changed once."""
    batch = with_strangers(name, tiny_batch)
    models = [make(name, tiny_spec, compiled=False, overrides=CHANCE.get(name, ())) for _ in range(2)]
    models[0].embed = embed_in_two(models[0], {name: len(values) // 2 for name, values in batch.items()})
    expected, expected_logs = gradients(models[0], batch, 0)
    found, logs = gradients(models[1], batch, 4)
    assert_equal_gradients(found, expected)
    assert logs == pytest.approx(expected_logs, rel=1e-5, abs=1e-6)
    pairs = [model.non_trainable_variables for model in models], [random_states(model) for model in models]
    for ones, others in pairs:
        for one, other in zip(ones, others, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6, err_msg=one.path)


@pytest.mark.parametrize(
    ("name", "chunk"),
    others_slow([*((name, 2) for name in TRAINED), *((name, 4) for name in QUICK)], [(name, 2) for name in QUICK]),
)
def test_the_gradient_is_that_of_one_batch(name, chunk, tiny_spec, tiny_batch):
    """Without dropout and noise; batch normalisation, whose statistics would be a chunk's, is held still."""
    found = {}
    for size in (0, chunk):
        model = make(name, tiny_spec, compiled=False, overrides=NO_CHANCE.get(name, ()))
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        found[size] = gradients(model, with_strangers(name, tiny_batch), size)
    assert_equal_gradients(found[chunk][0], found[0][0])
    assert found[chunk][1] == pytest.approx(found[0][1], rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "jit_compile"), [("two_tower", False), ("two_tower", True), ("r2gan", True)])
def test_a_graph_steps_as_one_that_runs_eagerly(name, jit_compile, tiny_spec, tiny_batch):
    """Compiled by XLA, which draws other numbers from the same seed, without chance."""
    after, logs = [], []
    overrides = NO_CHANCE.get(name, ()) if jit_compile else CHANCE[name]
    for options in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        model = make(name, tiny_spec, compiled=False, overrides=overrides)
        model.compile({phase.name: keras.optimizers.SGD(1e-4) for phase in model.phases}, chunk=2, **options)
        for _ in range(2):
            logs.append(model.train_on_batch(tiny_batch, return_dict=True))
        after.append([variable.numpy() for variable in [*model.variables, *random_states(model)]])
    assert logs[3] == pytest.approx(logs[1], rel=1e-4)
    for one, other in zip(*after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_batch_that_fits_is_played_whole_and_others_fill_their_chunks(tiny_spec, tiny_batch):
    import tensorflow as tf

    model = make("two_tower", tiny_spec, compiled=False)
    whole, _ = gradients(model, tiny_batch, 0)
    for chunk in (8, 9):
        fits, _ = gradients(make("two_tower", tiny_spec, compiled=False), tiny_batch, chunk)
        for one, other in zip(whole["encoders"], fits["encoders"], strict=True):
            np.testing.assert_array_equal(one, other)
    model = make("alpha_gao", tiny_spec, compiled=False)  # quick to trace
    model.compile(chunk=3)
    with pytest.raises(ValueError, match=r"expected a multiple of chunk = 3 items, received 8"):
        model.train_on_batch(tiny_batch)
    unknown = tf.data.Dataset.from_tensor_slices(tiny_batch).batch(8)  # whose last batch may be smaller
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected a multiple of chunk = 3 items, received"):
        model.fit(unknown, verbose=0)
    model.compile(chunk=4)
    assert np.isfinite(model.fit(unknown.repeat(2), verbose=0).history["loss"][0])
    ht = make("ht", tiny_spec, compiled=False)
    ht.compile(chunk=2, run_eagerly=True)
    with pytest.raises(ValueError, match=r"without_photo_.*: expected a multiple of the batch's 4 chunks, received 6"):
        ht.train_on_batch(with_strangers("ht", tiny_batch, 6))


def test_chunks_need_tensorflow_and_say_so_before_a_step(tiny_spec, monkeypatch):
    model = make("two_tower", tiny_spec, compiled=False)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(NotImplementedError, match=r"chunk: expected 0, or Keras' TensorFlow .*received 4 with 'jax'"):
        model.compile(chunk=4)


def test_what_has_no_chunks_says_so(tiny_spec):
    with pytest.raises(ValueError, match="chunk: expected 0, for cca is solved and not descended to, received 4"):
        make("cca", tiny_spec, compiled=False).compile(chunk=4)
    with pytest.raises(ValueError, match="chunk: expected at least 0, received -1"):
        make("two_tower", tiny_spec, compiled=False).compile(chunk=-1)
    with pytest.raises(ValueError, match=r"expected a multiple of training\.chunk = 48, received 64"):
        TrainingConfig(batch_size=64, chunk=48)
    with pytest.raises(ValueError, match=r"training.without_photos: expected as many recipes for each of 4 chunks"):
        TrainingConfig(batch_size=64, chunk=16, without_photos=0.1)
    assert TrainingConfig(batch_size=64, chunk=100).chunk == 100
    assert set(MODELS) == {*TRAINED, "cca", "trajectory_cca"}


def test_a_saved_model_keeps_its_chunk_and_goes_on_as_one_that_was_not(tiny_spec, tiny_batch, tmp_path):
    model = make("two_tower", tiny_spec, compiled=False, overrides=CHANCE["two_tower"])
    model.compile(chunk=4, run_eagerly=True)
    model.train_on_batch(tiny_batch)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.chunk == 4
    for each in (model, loaded):
        each.train_on_batch(tiny_batch)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
