"""What an export makes of a dataset's examples: precisions, warm-up requests; and the same from Node.js."""

import configparser
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import onnx
import pytest
import tensorflow as tf
import token_cases
from onnx import TensorProto, helper, numpy_helper

from kfood.data.dataset import open_dataset
from kfood.export import card, examples, precision, runtime, serving
from kfood.export.bundle import export_bundle
from kfood.models import load_run

ROOT = pathlib.Path(__file__).parents[1]
NODE = ROOT / "examples" / "node"


@pytest.fixture(scope="module")
def exported(tiny_run, kitchen, tmp_path_factory):
    """(bundle folder, manifest) of a small ACME, with examples of the kitchen."""
    out = tmp_path_factory.mktemp("export") / "bundle"
    with pytest.MonkeyPatch.context() as patch:  # its 8 test pairs are too few to judge a precision by
        patch.setattr(examples, "read", functools.partial(examples.read, split="train"))
        return out, export_bundle(load_run(tiny_run), tiny_run, out, data=open_dataset(kitchen))


@pytest.mark.slow
def test_kept_precisions_are_files_that_encode(exported, kitchen):
    out, manifest = exported
    recipes = [{"title": "Soup", "ingredients": ["leek"], "instructions": ["Boil the leek."]}]
    expected = runtime.Bundle.open(out).encode_recipes(recipes)
    text = (out / "card.md").read_text()
    for name, figures in manifest["measured"]["encoders"].items():
        reference = figures["float32"]["recall"]
        for other in precision.PRECISIONS:
            lost = max(reference[way]["R@10"] - figures[other]["recall"][way]["R@10"] for way in reference)
            assert (
                figures[other]["kept"] == (round(lost, 9) < 0.01) == (other in manifest["encoders"][name]["precisions"])
            )
            if figures[other]["kept"]:
                assert (out / manifest["encoders"][name]["precisions"][other]["file"]).stat().st_size == figures[other][
                    "bytes"
                ]
        assert f"| {name} | int8 |" in text
        assert min(figures[other]["items_per_second"] for other in ("float32", *precision.PRECISIONS)) > 0
    assert "calibrated on 64 training items" in text
    assert 'precision="float16"' in text
    assert "`onnx/recipe_text_encoder.float16.onnx`" in text
    assert manifest["measured"]["encoders"]["image"]["pixels"]["top1_agreement"] >= 0.99
    assert "float16" in manifest["encoders"]["recipe"]["precisions"]
    bundle = runtime.Bundle.open(out, precision="float16")
    assert bundle.precisions["recipe"] == "float16"
    received = bundle.encode_recipes(recipes)
    assert 0 < np.abs(received - expected).max() < 0.01
    with pytest.raises(ValueError, match=r"expected a precision among float32, .*float16.*, received 'int4'"):
        runtime.Bundle.open(out, precision="int4")


CLEAN = """
import json, sys
sys.path += packages
try:
    import kfood
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("kfood can be imported here")
import replay
asked = replay.replay(model)
from tensorflow.python.tools import saved_model_cli
for name, arguments in {"": ["show", "--all"], **requests}.items():
    sys.argv = ["saved_model_cli", arguments[0], "--dir", model, *arguments[1:]]
    try:
        saved_model_cli.main()
    except SystemExit as stop:
        if stop.code:
            raise
print("\\n" + json.dumps(asked))
"""
"""Asks a SavedModel everything, with TensorFlow and its command line, where kfood is not installed."""


def clean_python(program, folder, **values):
    """Runs a program from a folder, with the installed packages but without their .pth files, so without kfood."""
    packages = [path for path in sys.path if pathlib.Path(path).name in ("site-packages", "dist-packages")]
    head = "".join(f"{name} = {value!r}\n" for name, value in {"packages": packages, **values}.items())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", head + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def request_arguments(folder, name, inputs):
    """What saved_model_cli is asked by: strings of recipes as literals, all else (photos too) as .npy files."""
    arguments = {"inputs": [], "input_exprs": []}
    for key, array in inputs.items():
        if array.dtype == object and name.endswith(("_text", "_lines")):
            strings = np.array([text.decode() for text in array.ravel()], object).reshape(array.shape).tolist()
            arguments["input_exprs"].append(f"{key}={strings!r}")
        else:
            file = folder / f"{name}.{key}.npy"
            np.save(file, array.astype("S") if array.dtype == object else array)
            arguments["inputs"].append(f"{key}={file}")
    given = [f"--{option}={';'.join(values)}" for option, values in arguments.items()]
    return ["run", "--tag_set=serve", f"--signature_def={name}", *given, f"--outdir={folder / name}", "--overwrite"]


@pytest.mark.slow
def test_the_saved_model_serves_without_kfood(exported, kitchen, tmp_path):
    """In a Python that has TensorFlow and cannot find kfood (keras it does have: TensorFlow imports it itself)."""
    pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api absent: pip install 'kfood[serving]'")
    from google.protobuf import text_format
    from tensorflow_serving.apis import prediction_log_pb2
    from tensorflow_serving.config import model_server_config_pb2

    from kfood.export import replay

    shutil.copy(replay.__file__, tmp_path)
    path = exported[0] / "saved_model" / "1"
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log
        for record in tf.data.TFRecordDataset(str(file))
    ]
    asked = {
        log.request.model_spec.signature_name: {
            key: tf.make_ndarray(value) for key, value in log.request.inputs.items()
        }
        for log in logs
    }
    assert set(asked) == set(exported[1]["endpoints"])
    requests = {name: request_arguments(tmp_path, name, inputs) for name, inputs in asked.items()}
    output = clean_python(CLEAN, tmp_path, model=str(path), requests=requests)
    assert set(re.findall(r"signature_def\['(\w+)'\]", output)) >= set(asked)
    differences = json.loads(output.splitlines()[-1])
    assert set(differences) == set(asked)
    assert max(differences.values()) < 1e-3  # of a picture's range of 255
    bundle = runtime.Bundle.open(exported[0])
    data = open_dataset(kitchen)
    recipes = [
        {"title": text["title"], "ingredients": text["ingredients"], "instructions": text["instructions"]}
        for text, _ in zip(data.texts("train"), range(2), strict=False)
    ]
    for name, inputs in asked.items():
        verb, network, *raw = name.split("_", 2)
        received = np.load(tmp_path / name / f"{network if verb == 'decode' else 'embedding'}.npy")
        if verb == "decode":
            expected = bundle.decode(network, inputs["embedding"])
        elif raw == ["bytes"]:
            expected = bundle.encode_photos(inputs["image"].tolist(), encoder=network)
        elif raw:
            expected = bundle.encode_recipes(recipes, encoder=network)
            assert np.load(tmp_path / name / "words.npy").min() > 0
        else:
            expected = bundle.encode(network, inputs)
        np.testing.assert_allclose(received, expected, atol=1e-4 * max(1.0, np.ptp(expected)), err_msg=name)
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((exported[0] / "serving" / "models.config").read_text(), config)
    (served,) = config.model_config_list.config
    assert (served.name, served.base_path, served.model_platform) == ("acme", "/models/acme", "tensorflow")
    # A wrong answer is seen.
    damaged = shutil.copytree(path, tmp_path / "1")
    file = damaged / "assets.extra" / "tf_serving_warmup_requests"
    log = prediction_log_pb2.PredictionLog(predict_log=logs[0])
    output = log.predict_log.response.outputs["embedding"]
    output.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(output) + 0.01))
    with tf.io.TFRecordWriter(str(file)) as records:
        records.write(log.SerializeToString())
    with pytest.raises(ValueError, match=r"expected the recorded embedding, received one that differs by 0\.01"):
        replay.replay(str(damaged))


@pytest.mark.slow
def test_an_index_remembers_the_precision_of_its_encoders(exported, kitchen, tmp_path, monkeypatch):
    from kfood import search
    from kfood.tools.main import main

    out = tmp_path / "index"
    asked = ["--data", str(kitchen), "--out", str(out), "--precision", "float16"]
    assert main(["index", str(exported[0]), *asked]) == 0
    index = search.Index.open(out)
    assert index.precision == "float16"
    photos = [open_dataset(kitchen).photo("test", number) for number in range(2)]
    received = index.embeddings("photos")[:2]
    precise, half = (runtime.Bundle.open(exported[0], precision=name) for name in ("float32", "float16"))
    np.testing.assert_allclose(received, half.encode_photos(photos), atol=1e-6)
    assert np.abs(received - precise.encode_photos(photos)).max() > 1e-6
    opened, original = [], runtime.Bundle.open.__func__
    monkeypatch.setattr(
        runtime.Bundle,
        "open",
        classmethod(lambda cls, *given, **how: opened.append(how.get("precision")) or original(cls, *given, **how)),
    )
    assert main(["search", str(out), "--text", "leek soup"]) == 0
    assert opened[-1] == "float16"


@pytest.fixture(scope="module")
def node(exported, tmp_path_factory):
    """The example installed by npm: a call of it, arguments → finished process; files are read from its folder."""
    if shutil.which("npm") is None:
        pytest.skip("npm absent")
    top = tmp_path_factory.mktemp("node")
    folder = top / NODE.relative_to(ROOT)
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "kfood" / "site" / "static", top / "kfood" / "site" / "static")
    installed = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit"], cwd=folder, capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(f"onnxruntime-node cannot be installed: {installed.stderr[-200:]}")

    def call(option, file, bundle=exported[0]):
        command = ["node", "encode.mjs", str(bundle), option, file]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    call.folder = folder
    return call


@pytest.mark.slow
def test_node_gives_the_same_embeddings(exported, kitchen, node):
    photo = node.folder / "photo.jpg"
    photo.write_bytes(open_dataset(kitchen).photo("test", 0))
    ragged = [
        {"title": "Leek soup 😀", "ingredients": ["2 leeks", "CAFÉ 日本 ½ cup"], "instructions": ["Boil.", "!"]},
        {"ingredients": ["salt", "an onion", "2 carrots"], "instructions": []},
    ]
    (node.folder / "recipe.json").write_text(json.dumps(ragged[0]))
    (node.folder / "recipes.json").write_text("\ufeff" + json.dumps(ragged), encoding="utf-8")
    bundle = runtime.Bundle.open(exported[0])
    for option, file, expected in (
        ("--image", "photo.jpg", bundle.encode_photos([photo])[0]),
        ("--recipe", "recipe.json", bundle.encode_recipes(ragged[:1])[0]),
        ("--recipe", "recipes.json", bundle.encode_recipes(ragged)),
    ):
        done = node(option, file)
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-4)


@pytest.mark.slow
def test_node_reads_the_tokens_of_training(node, rng):
    """Ids in place of an embedding, through the code that hands texts to an encoder."""
    lines, words, expected = token_cases.numbered(rng, 1000)
    network, recipes = token_cases.ids_network(lines, words)
    (node.folder / "ids.onnx").write_bytes(network)
    (node.folder / "texts.json").write_text(json.dumps(recipes))
    (node.folder / "ids.mjs").write_text(
        """
        import { readFileSync } from "node:fs";
        import ort from "onnxruntime-node";
        import { encodeRecipes } from "../../kfood/site/static/encoders.js";
        const session = await ort.InferenceSession.create("ids.onnx", { logSeverityLevel: 3 });
        const found = await encodeRecipes(ort, session, JSON.parse(readFileSync("texts.json", "utf8")));
        console.log(JSON.stringify(found.map(({ embedding }) => [...embedding])));
        """
    )
    done = subprocess.run(["node", "ids.mjs"], cwd=node.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, received, ids in zip(lines, json.loads(done.stdout), expected, strict=True):
        assert [id for id in received if id] == ids, line


@pytest.mark.slow
def test_node_says_what_is_wrong_in_a_sentence(node, tmp_path):
    for content, message in (
        (
            {"title": "Soup", "ingredients": "salt"},
            'recipe 0: expected ingredients to be a list of strings, received "sa',
        ),
        (
            [{"title": "Soup"}, {"instructions": [1]}],
            "recipe 1: expected instructions to be a list of strings, received",
        ),
        ({"title": 3}, "recipe 0: expected title to be a string, received 3"),
        ({"name": "Soup"}, 'recipe 0: expected the keys title, ingredients, instructions, received "name"'),
        (["Soup"], 'recipe 0: expected an object, received "Soup"'),
        ([], "recipes: expected a list of at least one, received none"),
        (
            {"title": "親子丼"},
            "recipe 0: expected at least one word that the model knows, received 1, all of them unknown to it",
        ),
        (
            [{"title": "Soup"}, {"title": "--"}],
            "recipe 1: expected at least one word that the model knows, received none",
        ),
    ):
        (node.folder / "wrong.json").write_text(json.dumps(content))
        done = node("--recipe", "wrong.json")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert done.stderr.startswith(message)
    for file, bundle, message in (
        ("none.jpg", None, "none.jpg: expected a photo, received no such file"),
        ("none.jpg", tmp_path, f"{tmp_path}: expected a bundle made by `kfood export`, found no kfood.json in it."),
    ):
        done = node("--image", file, *([bundle] if bundle else []))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith(message)


# Parts


def lstm_model(rng):
    """One bidirectional LSTM of 3 units on inputs of width 4, as an encoder of one input."""
    weights = {"W": (2, 12, 4), "R": (2, 12, 3)}
    constants = [numpy_helper.from_array(rng.normal(size=shape).astype("f"), name) for name, shape in weights.items()]
    node = helper.make_node("LSTM", ["x", "W", "R"], ["", "embedding"], hidden_size=3, direction="bidirectional")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "batch", 4])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [2, "batch", 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_recurrences_hold_int8_and_compute_nearly_the_same(rng):
    from kfood.export import parity

    model = lstm_model(rng)
    x = {"x": rng.normal(size=(5, 2, 4)).astype("f")}
    expected = parity.onnx_run(model.SerializeToString())(x)
    converted = precision.convert(model.SerializeToString(), "int8", {})
    kinds = {constant.name: constant.data_type for constant in onnx.load_from_string(converted).graph.initializer}
    assert kinds["W_int8"] == kinds["R_int8"] == TensorProto.INT8
    assert "W" not in kinds
    received = parity.onnx_run(converted)(x)
    assert 0 < np.abs(received - expected).max() < 0.03


def test_retrieval_figures_by_hand():
    """Photo 2 finds recipe 0 first; the others find their own."""
    photos = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, -0.3]], np.float32)
    recipes = np.array([[1.0, -0.1], [0.0, 1.0], [-1.0, -1.0]], np.float32)
    found = precision.measure_retrieval({"image": photos, "recipe": recipes}, None, "cosine")
    assert found.recall["image_to_recipe"] == {"R@1": pytest.approx(2 / 3), "R@10": 1.0}
    assert found.nearest["image_to_recipe"].tolist() == [0, 1, 0]
    exact = precision.measure_retrieval({"image": recipes, "recipe": recipes}, None, "cosine")
    assert exact.lost(found, "R@1") == pytest.approx(1 / 3)
    # photo → recipe: all but the last; recipe → photo: recipe 2 has photo 2 or another
    same = [exact.nearest[way] == found.nearest[way] for way in exact.nearest]
    assert exact.agreement(found) == pytest.approx(np.mean(same))
    among = precision.measure_retrieval({"image": photos}, np.array([0, 1, 0]), "cosine")
    assert among.nearest["image_to_image"].tolist()[0] == 2


def test_a_point_lost_is_not_kept():
    """0.06 - 0.05 is 0.00999… in floating point, and a point."""
    nearest = {"image_to_recipe": np.arange(20)}
    reference, worse, better = (
        precision.Retrieval({"image_to_recipe": {"R@1": 0.0, "R@10": recall}}, nearest)
        for recall in (0.06, 0.05, 0.055)
    )
    assert not precision.keeps(reference, worse)
    assert precision.keeps(reference, better)
    assert precision.keeps(worse, reference)


def test_what_everything_passes_is_too_few_to_judge():
    """Of ten items all are among the first ten: recall at 10 is 1, whatever was done to the embeddings."""
    recall = {"R@1": 1.0, "R@10": 1.0}
    few, enough = (precision.Retrieval({"a_to_b": recall}, {"a_to_b": np.arange(count)}) for count in (10, 12))
    assert not precision.keeps(few, few)
    assert precision.keeps(enough, enough)
    figures = {"bytes": 2_300, "milliseconds": 1.0, "items_per_second": 1234.0, "recall": {"a_to_b": recall}}
    measured = {
        "dataset": "kitchen",
        "split": "test",
        "items": 10,
        "calibration": 64,
        "encoders": {"recipe": {"float32": figures, **dict.fromkeys(precision.PRECISIONS, figures | {"kept": False})}},
    }
    section = card._precisions({"measured": measured})
    assert "| recipe | int8 | 2.3 kB | 1.0 | 1,234 | 100.0 % (+0.0), 100.0 % (+0.0) |" in section
    assert section.count("**not kept**: too few items to judge") == 2


def test_a_warmup_request_of_sentence_vectors():
    inputs = {
        "title": tf.TensorSpec([None], tf.string),
        "ingredients": tf.TensorSpec([None, None], tf.string),
        "instruction_vectors": tf.TensorSpec([None, None, 3], tf.float32),
    }
    endpoint = types.SimpleNamespace(name="encode_recipe_text", inputs=inputs)
    vectors = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    recipes = [
        {"title": "Soup", "ingredients": ["leek"], "instruction_vectors": vectors[0]},
        {"title": "Tea", "ingredients": ["mint", "water"], "instruction_vectors": vectors[1]},
    ]
    request = serving._request(endpoint, {}, types.SimpleNamespace(recipes=recipes), {})
    np.testing.assert_array_equal(request["instruction_vectors"], vectors)
    assert request["ingredients"].tolist() == [[b"leek", b""], [b"mint", b"water"]]


@pytest.mark.slow
def test_serving_is_asked_for_before_anything_is_exported(tmp_path, tiny_run, kitchen, monkeypatch):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kfood\[serving\]'"):
        export_bundle(load_run(tiny_run), tiny_run, tmp_path / "bundle", data=open_dataset(kitchen))
    assert not (tmp_path / "bundle").exists()


def test_every_extra_that_is_named_exists():
    root = pathlib.Path(__file__).parents[1]
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    files = [
        root / "README.md",
        *(file for part in ("kfood", "export", "tools") for file in (root / part).rglob("*.py")),
    ]
    named = {extra for file in files for extra in re.findall(r"kfood\[(\w+)\]", file.read_text(encoding="utf-8"))}
    assert {"faiss", "hub", "serving"} <= named
    assert named <= set(setup["options.extras_require"])
