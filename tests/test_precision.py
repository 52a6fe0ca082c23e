"""Mixed precision: each model trains in 16 bits as in 32, an overflow changes nothing, and what is kept is float32."""

import importlib
import inspect
import json
import pkgutil

import h5py
import keras
import numpy as np
import pytest
from conftest import TINY_TOWERS, others_slow
from test_models_contract import changes_its_own_variables, make, snapshot

import kfood.losses
from kfood import distances, precision, schema
from kfood.configs import experiment
from kfood.models import MODELS, load_run, run_config
from kfood.tools.main import main
from kfood.training import Progress, callbacks, load_checkpoint, save_checkpoint

TOLERANCE = {"bfloat16": 6e-2, "float16": 7.5e-3}
"""Of a loss against float32's, as a share of it and, of small ones, of 0.1: 8 and 11 bits, some layers deep, before
batch normalisation of eight items and a temperature of 0.07."""


CALM = 2.0**6
"""A scale at which gradients of these models neither overflow nor vanish."""


def made(name, spec, kind, **options):
    """A tiny model in a precision, its weights those of the same in any other."""
    with precision.policy(precision.POLICIES[kind]):
        return make(name, spec, **options)


@pytest.fixture
def received(monkeypatch):
    """A call, (module of a model) → the dtypes that distances, losses and that module's equations are called with."""

    def watch(module):
        losses = [
            importlib.import_module(f"kfood.losses.{found.name}")
            for found in pkgutil.iter_modules(kfood.losses.__path__)
        ]
        seen = set()
        for watched in (distances, *losses, module):
            for key, function in inspect.getmembers(watched, inspect.isfunction):
                if function.__module__ == watched.__name__ and not key.startswith("_"):
                    monkeypatch.setattr(watched, key, _watched(function, f"{watched.__name__}.{key}", seen))
        return seen

    return watch


def _watched(function, name, seen):
    def called(*arguments, **options):
        for value in keras.tree.flatten([arguments, options]):
            if keras.ops.is_tensor(value):
                seen.add((name, keras.backend.standardize_dtype(value.dtype)))
        return function(*arguments, **options)

    return called


IN_BOTH = ("two_tower", "trajcross", "alpha_gao", "acme")
"""In bfloat16, of which less is to be held than of float16, others were tried once; that would take a minute more."""


@pytest.mark.parametrize(
    ("name", "kind"),
    others_slow(
        [(name, kind) for name in MODELS for kind in TOLERANCE if kind == "float16" or name in IN_BOTH],
        [(name, kind) for name in IN_BOTH[:2] for kind in TOLERANCE],
    ),
)
def test_every_model_trains_as_in_float32(name, kind, tiny_spec, tiny_batch, received):
    """A step's losses are float32's, each phase moves its own variables, and of float16 an overflow changes nothing."""
    exact, model = (made(name, tiny_spec, each) for each in ("float32", kind))
    assert {layer.compute_dtype for layer in model._flatten_layers()} >= {kind, "float32"}
    floats = {str(variable.dtype) for variable in model.variables if "float" in str(variable.dtype)}
    assert floats == {"float32"}
    seen = received(importlib.import_module(MODELS[name].module))
    expected = exact.train_on_batch(tiny_batch, return_dict=True)
    found = model.train_on_batch(tiny_batch, return_dict=True)
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        assert abs(found[term] - value) <= TOLERANCE[kind] * max(abs(value), 0.1), term
    assert not {call for call, dtype in seen if dtype in TOLERANCE}
    assert seen
    assert {str(embedding.dtype.name) for embedding in model(tiny_batch).values()} == {"float32"}
    scaled = [isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in model.optimizers.values()]
    assert all(scaled) if kind == "float16" else not any(scaled)
    rescale(model, CALM)
    changes_its_own_variables(model, tiny_batch, name)
    if kind == "float16" and model.phases[-1].variables:
        an_overflow_changes_nothing(model, tiny_batch)


def rescale(model, scale):
    """Sets every phase's scale, where it has one."""
    for optimizer in model.optimizers.values():
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.dynamic_scale.assign(scale)


def an_overflow_changes_nothing(model, batch):
    """Gradients of losses times 1e38: a phase whose own are not finite keeps all it has, and halves its scale."""
    steps = int(model.optimizer.iterations)
    rescale(model, 2.0**127)
    inner = {phase.name: model.optimizers[phase.name].inner_optimizer for phase in model.phases}
    before = {id(variable): variable.numpy().copy() for variable in model.weights}
    slots = {name: snapshot(optimizer.variables) for name, optimizer in inner.items()}
    model.train_on_batch(batch)
    skipped = {phase.name for phase in model.phases if float(model.optimizers[phase.name].dynamic_scale) == 2.0**126}
    assert model.phases[-1].name in skipped
    # Gradients of a phase that computes in float32 alone may be finite.
    moving = {id(variable) for phase in model.phases if phase.name not in skipped for variable in phase.variables}
    for variable in model.weights:
        if id(variable) not in moving:
            np.testing.assert_array_equal(variable.numpy(), before[id(variable)], err_msg=variable.path)
    for name in skipped:
        for old, new in zip(slots[name], snapshot(inner[name].variables), strict=True):
            np.testing.assert_array_equal(new, old)
    rescale(model, CALM)
    assert all(np.isfinite(value) for value in model.train_on_batch(batch, return_dict=True).values())
    assert int(model.optimizer.iterations) == steps + 1
    assert all(np.all(np.isfinite(variable.numpy())) for variable in model.weights)


@pytest.mark.slow
def test_in_a_graph_an_overflow_changes_nothing(tiny_spec, tiny_batch):
    """Batch normalisation's statistics and a memory are put back in a compiled step too."""
    batch = {**tiny_batch, schema.RECIPE_NUMBER: np.arange(8)}
    model = made("two_tower", tiny_spec, "float16", compiled=False, overrides=("memory=12",))
    model.compile()
    rescale(model, CALM)
    model.train_on_batch(batch)
    an_overflow_changes_nothing(model, batch)
    assert int(model.memory.steps) == 2


def test_a_saved_model_goes_on_in_its_precision_and_with_its_scale(tiny_spec, tiny_batch, tmp_path):
    """Also where Keras' own policy is another by then; a checkpoint has the scale too."""
    model = made("two_tower", tiny_spec, "float16")
    rescale(model, CALM)
    model.train_on_batch(tiny_batch)
    rescale(model, 2.0**7)
    model.save(tmp_path / "model.keras")
    save_checkpoint(model, tmp_path / "last.weights.h5", Progress())
    resumed = made("two_tower", tiny_spec, "float16")
    load_checkpoint(resumed, tmp_path / "last.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    assert loaded.dtype_policy.name == "mixed_float16"
    for each in (model, resumed, loaded):
        assert (float(each.optimizer.dynamic_scale), int(each.optimizer.iterations)) == (2.0**7, 1)
        each.train_on_batch(tiny_batch)
    for other in (resumed, loaded):
        for one, two in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)


@pytest.mark.slow
def test_a_run_in_float16_goes_on_and_is_read_in_float32(kitchen, tmp_path, eagerly, restored_policy):
    """Its precision is the run's, and other ones are refused; what reads a run computes in float32."""

    def train(epochs, kind, *options):
        settings = [part for override in (*TINY_TOWERS, f"training.precision={kind}") for part in ("--set", override)]
        command = ["train", "two_tower", "--preset", "small", "--data", str(kitchen), "--run", str(tmp_path / "run")]
        return main([*command, "--epochs", str(epochs), *settings, *options])

    assert train(1, "float16") == 0
    assert train(2, "bfloat16", "--resume") == 2
    assert train(2, "float16", "--resume") == 0
    assert run_config(tmp_path / "run")["training"]["precision"] == "float16"
    assert keras.config.dtype_policy().name == "mixed_float16"  # the process' own by now
    model = load_run(tmp_path / "run")
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    with h5py.File(tmp_path / "run" / "checkpoints" / "last.weights.h5") as file:
        assert json.loads(file.attrs["kfood_progress"])["epoch"] == 2


@pytest.fixture
def restored_policy():
    """A training's precision is the process'."""
    with precision.policy("float32"):
        yield


def test_a_scale_that_only_falls_ends_a_training(tiny_spec):
    model = made("two_tower", tiny_spec, "float16")
    watching = callbacks.StopOnNaN()
    watching.set_model(model)
    rescale(model, 2.0**-10)
    watching.on_epoch_end(0)
    rescale(model, 2.0**-11)
    with pytest.raises(callbacks.TrainingDivergedError, match=r"phase 'encoders' were not finite .* epoch 3.*bfloat16"):
        watching.on_epoch_end(2)
    with pytest.raises(callbacks.TrainingDivergedError, match=r"'loss' became inf .*try training.precision=bfloat16"):
        watching.on_train_batch_end(0, {"loss": np.inf})


def test_precisions_by_name():
    with pytest.raises(ValueError, match=r"training.precision: expected one of \['float32', 'bfloat16', 'float16'\]"):
        experiment("two_tower", "small", "", ("training.precision=mixed_float16",))
    half = keras.ops.ones((2,), "float16")
    found = precision.widened({"half": half, "ids": keras.ops.ones((2,), "int32"), "double": np.ones(2)})
    assert {key: keras.backend.standardize_dtype(value.dtype) for key, value in found.items()} == {
        "half": "float32",
        "ids": "int32",
        "double": "float64",
    }
