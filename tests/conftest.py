"""Shared by all tests: quiet TensorFlow, the folder of real data where there is one, a tiny batch."""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import pickle
import shutil

import numpy as np
import pytest

from kfood import folders, schema


def others_slow(values, quick):
    """Parameters, or tuples of them, of which the default run takes the quick ones alone."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*row, marks=() if value in quick else pytest.mark.slow)
        for value, row in zip(values, rows, strict=True)
    ]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder of real data; skips where it is absent."""
    folder = pathlib.Path(os.environ.get("KFOOD_SHARED", pathlib.Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data absent: no {folder / 'data'} (set KFOOD_SHARED)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def tiny_spec() -> schema.RecipeSpec:
    """See :func:`tiny_recipes`."""
    return tiny_recipes()


def tiny_recipes() -> schema.RecipeSpec:
    """Shapes small enough for a test."""
    return schema.RecipeSpec(
        image_size=32,
        ingredients=4,
        ingredient_words=3,
        instructions=3,
        instruction_words=5,
        title_words=4,
        word_vocabulary=30,
        ingredient_vocabulary=12,
        classes=5,
    )


def random_tokens(rng, shape, vocabulary):
    """Int32 ids of ``shape``, padded on the right along the last axis; every row has at least one."""
    tokens = rng.integers(1, vocabulary, shape)
    lengths = rng.integers(1, shape[-1] + 1, shape[:-1])
    tokens[np.arange(shape[-1]) >= lengths[..., None]] = 0
    return tokens.astype("int32")


@pytest.fixture
def tiny_batch(rng):
    """See :func:`tiny_pairs`."""
    return tiny_pairs(rng)


def tiny_pairs(rng):
    """Eight pairs of ``tiny_spec``, each recipe with its own words, and with a trajectory within its picture."""
    spec, n = tiny_recipes(), 8
    return {
        schema.IMAGE: rng.uniform(0, 255, (n, 32, 32, 3)).astype("float32"),
        schema.TITLE: random_tokens(rng, (n, spec.title_words), spec.word_vocabulary),
        schema.INGREDIENTS: random_tokens(rng, (n, spec.ingredients, spec.ingredient_words), spec.word_vocabulary),
        schema.INSTRUCTIONS: random_tokens(rng, (n, spec.instructions, spec.instruction_words), spec.word_vocabulary),
        schema.INGREDIENT_IDS: random_tokens(rng, (n, spec.ingredients), spec.ingredient_vocabulary),
        schema.CLASS_ID: rng.integers(0, spec.classes, n).astype("int32"),
        schema.TRAJECTORY: rng.uniform(0.5, 3.5, (n, 20, 2)).astype("float32")
        + np.arange(n, dtype="float32")[:, None, None],
        schema.LOCATION: np.array([[0, 4, 4, 0]], "float32") + np.arange(n, dtype="float32")[:, None],
    }


@pytest.fixture
def eagerly():
    """The test trains without tracing graphs: for a step or two this is quicker."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A call, ``(name, make)`` → the folder that ``make(folder)`` made, once for all processes of this run of pytest.

    It is everybody's: who changes anything in it does so in a copy.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the one of all processes

    def once(name, make):
        shared = base / f"once-{name}"
        shared.mkdir(exist_ok=True)
        with folders.held(shared, waiting=lambda: None):
            if not (shared / name).exists():
                new = tmp_path_factory.mktemp(name) / name
                make(new)
                os.replace(new, shared / name)
        return shared / name

    return once


@pytest.fixture(scope="session")
def kitchen(made_once) -> pathlib.Path:
    """A small synthetic kitchen, prepared as a user would; nobody writes in it."""

    def prepare(folder):
        from kfood.tools.main import main

        assert main(["prepare", "kitchen", "--out", str(folder), "--pairs", "80", "--size", "64"]) == 0

    return made_once("kitchen", prepare)


TINY_RUN = (
    "image_encoder.backbone=small",  # whatever the preset
    "image_encoder.weights=",
    "image_encoder.widths=4,8",
    "training.views=0",
    "training.freeze_image_epochs=0",
    "recipe_encoder.word_size=6",
    "recipe_encoder.ingredient_units=4",
    "recipe_encoder.word_units=3",
    "recipe_encoder.instruction_units=5",
    "embedding_size=16",
    "picture_size=16",
    "picture_width=4",
    "discriminator_width=4",
    "condition_size=6",
    "noise_size=4",
    "spec.image_size=32",
    "training.batch_size=16",
)
"""Overrides that make ``small`` train in seconds."""

BAGS = ("recipe_encoder.bag_words=64",)
"""Another: recipes without recurrences, where a test does not look at them; these take longest to compile."""

TINY_TOWERS = tuple(o for o in TINY_RUN if not o.startswith(("picture", "discriminator", "condition", "noise"))) + BAGS
"""Those of a model without adversaries."""


@pytest.fixture(scope="session")
def tiny_run(kitchen, made_once, tmp_path_factory) -> pathlib.Path:
    """ACME, all its parts, trained for two epochs on the small kitchen; a process's own copy."""

    def train(folder):
        from kfood.tools.main import main

        arguments = ["--preset", "small", *(part for override in TINY_RUN for part in ("--set", override))]
        assert main(["train", "acme", "--data", str(kitchen), "--run", str(folder), "--epochs", "2", *arguments]) == 0

    return shutil.copytree(made_once("acme", train), tmp_path_factory.mktemp("run") / "acme")


@pytest.fixture(scope="session")
def small_export(made_once) -> pathlib.Path:
    """``run`` and ``bundle`` of ``export_model.make_model()``, and what its export returned; nobody writes in it."""

    def export(folder):
        from export_model import REPORT, make_model, make_run

        from kfood.export.bundle import export_bundle

        run = make_run(folder / "run")
        (run / "report.json").write_text(json.dumps(REPORT))
        returned = export_bundle(make_model(), run, folder / "bundle")
        (folder / "returned.pickle").write_bytes(pickle.dumps(returned))

    return made_once("export", export)
