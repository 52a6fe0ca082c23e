"""Saved models load in a process that only imported kfood."""

import ast
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from kfood.models.ht import HT
from kfood.saving import SERIALIZABLE
from kfood.settings import from_dict

ROOT = pathlib.Path(__file__).parents[1] / "kfood"


def test_every_registered_class_is_named():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any("register_keras" in ast.unparse(d) for d in node.decorator_list):
                module = ".".join(["kfood", *path.relative_to(ROOT).with_suffix("").parts])
                found.setdefault(module, set()).add(node.name)
    assert {module: set(names) for module, names in SERIALIZABLE.items()} == found


ORDERS = ("import kfood, keras", "import keras, kfood", "import kfood; import keras")


@pytest.mark.slow
def test_a_saved_model_loads_after_import_kfood_alone(tmp_path, tiny_spec, tiny_batch):
    config = {
        "image_encoder": {"backbone": "small", "weights": "", "widths": [4, 8]},
        "recipe_encoder": {"width": 8, "layers": 1, "heads": 2, "feed_forward": 6},
        "embedding_size": 12,
    }
    model = HT(from_dict(HT.config_class, config), tiny_spec)
    model.compile(run_eagerly=True)  # quicker than tracing the graph
    model.train_on_batch(tiny_batch)
    model.save(tmp_path / "ht.keras")
    recipes = {name: tiny_batch[name] for name in tiny_spec.recipe_inputs()}
    np.savez(tmp_path / "batch.npz", **recipes)
    expected = model(recipes)["recipe"]
    for number, order in enumerate(ORDERS):
        found, again = tmp_path / f"found{number}.npy", tmp_path / f"again{number}.keras"
        code = (
            f"{order}\n"
            "import numpy as np, sys\n"
            "assert 'kfood.models.ht' not in sys.modules\n"
            f"model = keras.models.load_model({str(tmp_path / 'ht.keras')!r})\n"
            f"batch = dict(np.load({str(tmp_path / 'batch.npz')!r}))\n"
            f"np.save({str(found)!r}, model(batch)['recipe'])\n"
            f"model.save({str(again)!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{order}: {done.stderr}"
        np.testing.assert_allclose(np.load(found), expected, atol=1e-6, err_msg=order)
        assert keras.models.load_model(again).optimizers.keys() == model.optimizers.keys(), order


def test_own_models_with_layers_of_kfood(tmp_path):
    code = (
        "import kfood, keras, numpy as np\n"
        f"model = keras.models.load_model({str(tmp_path / 'own.keras')!r})\n"
        "print(type(model.layers[1]).__module__, float(keras.ops.max(model(np.ones((1, 4))))))\n"
    )
    from kfood.layers.outputs import UnitLength

    inputs = keras.Input((4,))
    keras.Model(inputs, UnitLength()(inputs)).save(tmp_path / "own.keras")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["kfood.layers.outputs", "0.5"], done.stderr


def test_stand_ins_give_way():
    assert keras.saving.get_registered_object("kfood>HT") is HT
