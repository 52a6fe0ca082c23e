"""A bundle from end to end: its files against the Keras model, and what happens when one of them is wrong."""

import json
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from export_model import INGREDIENTS, WORDS, make_model, make_run, make_spec
from PIL import Image

from kfood.data import images
from kfood.data.text import RecipeTokenizer
from kfood.export import parity
from kfood.export import runtime as kfood_runtime
from kfood.export.bundle import export_bundle
from kfood.export.onnx import ConversionError, convert
from kfood.export.saved_model import Endpoint, portable, tensor_endpoints

RECIPES = [
    {"title": "Leek soup", "ingredients": ["2 leeks", "salt"], "instructions": ["Boil the leek.", "!", "Salt"]},
    {"title": "", "ingredients": [], "instructions": ["CAFÉ 日本 ½ cup"]},
    {"title": "Onion", "ingredients": ["salt"] * 30, "instructions": []},
]


@pytest.fixture(scope="module")
def exported(small_export):
    """(model, bundle folder, what export_bundle returned)."""
    return make_model(), small_export / "bundle", pickle.loads((small_export / "returned.pickle").read_bytes())


def test_a_model_without_heat_maps_has_none(bundle):
    assert bundle.heat_maps == ()
    del bundle.manifest["heat_maps"]  # as in bundles of earlier versions
    assert bundle.heat_maps == ()


@pytest.fixture
def bundle(exported):
    return kfood_runtime.Bundle.open(exported[1], verify=True)


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[1], tmp_path / "copy")


def padded(lines):
    most = max(map(len, lines))
    return tf.constant([[*line, *[""] * (most - len(line))] for line in lines])


def keras_recipes(model, recipes):
    tokenizer = RecipeTokenizer(model.spec, WORDS, INGREDIENTS)
    columns = {name: [recipe[name] for recipe in recipes] for name in ("title", "ingredients", "instructions")}
    tokens = tokenizer(tf.constant(columns["title"]), padded(columns["ingredients"]), padded(columns["instructions"]))
    return model.encoders["recipe"](tokens, training=False).numpy()


def photos():
    pixels = np.random.default_rng(3).integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    return [tf.io.encode_png(picture).numpy() for picture in pixels]


def keras_photos(model, encoded):
    ready = [images.evaluation_transform(images.decode_image(data), model.spec.image_size) for data in encoded]
    return model.encoders["image"]({"image": tf.stack(ready)}, training=False).numpy()


def test_manifest_describes_the_model_and_every_file(exported):
    model, folder, manifest = exported
    assert json.loads((folder / "kfood.json").read_text()) == manifest
    assert (manifest["model"], manifest["embedding_size"], manifest["distance"]) == ("fake", 6, "cosine")
    assert manifest["dataset"]["name"] == "kitchen"
    assert manifest["spec"]["word_vocabulary"] == len(WORDS) + 2
    assert list(manifest["encoders"]["recipe"]["inputs"]) == list(model.spec.recipe_inputs())
    assert manifest["decoders"]["picture"]["sources"] == ["recipe", "image"]
    assert manifest["decoders"]["picture"]["outputs"]["picture"]["shape"] == [None, 4, 4, 3]
    on_disk = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert set(manifest["files"]) == on_disk - {"kfood.json"}
    assert set(manifest["endpoints"]) == {
        *("encode_image", "encode_image_bytes", "encode_recipe", "encode_recipe_text", "encode_recipe_lines"),
        *("decode_picture", "decode_ingredients"),
    }
    errors = [*manifest["parity"]["onnx"].values(), *manifest["parity"]["saved_model"].values()]
    assert len(errors) == 13
    assert max(errors) <= 1e-4
    assert max(error for name, error in manifest["parity"]["onnx"].items() if name.startswith("recipe")) <= 1e-5
    assert set(manifest["parity"]["runtime"]) == {"encode_image_bytes", "encode_recipe_text"}


def test_card_has_results_and_endpoints(exported):
    card = (exported[1] / "card.md").read_text()
    assert "| image_to_recipe | 3.5 ± 0.5 | 25.0 ± 12.5 % |" in card
    assert "`encode_recipe_text`" in card
    assert 'request.inputs["ingredients"].CopyFrom(tf.make_tensor_proto(["1 leek\\nsalt"]))' in card
    assert "The encoders are in float32 alone." in card


def test_card_snippets_run(exported, tmp_path, monkeypatch):
    card = (exported[1] / "card.md").read_text()
    (tmp_path / "photo.jpg").write_bytes(photos()[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or the bundle would not be as it was exported
    (tmp_path / "BUNDLE").symlink_to(exported[1])
    snippets = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(snippets) == 4
    ready = {
        name: np.zeros([2, *shape], dtype)
        for inputs in (exported[0].spec.image_inputs(), exported[0].spec.recipe_inputs())
        for name, (shape, dtype) in inputs.items()
    }
    for snippet in snippets:
        exec(compile(snippet, "card.md", "exec"), dict(ready))


def test_card_grpc_requests_are_answered(exported, tmp_path, monkeypatch):
    """By the SavedModel in place of a server."""
    service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
    from tensorflow_serving.apis import predict_pb2

    signatures = tf.saved_model.load(str(exported[1] / "saved_model" / "1")).signatures
    asked = []

    def predict(request, timeout):
        asked.append(request.model_spec.signature_name)
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        for key, value in signatures[asked[-1]](**inputs).items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return answer

    monkeypatch.setattr(service, "PredictionServiceStub", lambda channel: types.SimpleNamespace(Predict=predict))
    (tmp_path / "photo.jpg").write_bytes(photos()[0])
    monkeypatch.chdir(tmp_path)
    (snippet,) = (part.split("```")[0] for part in (exported[1] / "card.md").read_text().split("```py\n")[1:])
    names = {}
    exec(compile(snippet, "card.md", "exec"), names)
    assert asked == ["encode_image_bytes", "encode_recipe_lines"]
    # Soup; leek, salt; Boil: what the vocabulary has of "Soup", "1 leek", "salt" and "Boil it."
    assert (names["embeddings"].shape, names["known_words"].tolist()) == ((1, 6), [1 + 2 + 1])


def test_runtime_encodes_raw_recipes_and_photos_as_keras(exported, bundle):
    model = exported[0]
    np.testing.assert_allclose(bundle.encode_recipes(RECIPES), keras_recipes(model, RECIPES), atol=1e-5)
    np.testing.assert_allclose(bundle.encode_photos(photos()), keras_photos(model, photos()), atol=1e-5)
    np.testing.assert_array_equal(bundle.encode_recipes(RECIPES, batch_size=2), bundle.encode_recipes(RECIPES))
    assert bundle.encode_recipes([]).shape == bundle.encode_images([]).shape == (0, 6)


def test_runtime_decodes_as_keras(exported, bundle):
    embeddings = bundle.encode_recipes(RECIPES)
    expected = exported[0].decoders["picture"].network(embeddings).numpy()
    np.testing.assert_allclose(bundle.generate(RECIPES), expected, atol=1e-3)  # of a range of 255
    assert bundle.sources("picture") == ("recipe", "image")
    assert bundle.decode("ingredients", embeddings).shape == (3, len(INGREDIENTS))


@pytest.mark.slow
def test_a_decoder_is_tried_on_embeddings_of_every_source(tmp_path):
    """A picture decoder that goes wrong on photos' embeddings alone does not pass the gate."""
    model = make_model()
    encoder = model.encoders["image"]
    model.encoders["image"] = keras.Model(encoder.input, encoder.output + 100.0)  # no recipe's is above 50
    embedding = keras.Input((6,), name="embedding")
    decoder = keras.Model(embedding, WrongAboveFifty()(embedding))
    run = make_run(tmp_path / "run")
    model.decoders = {"picture": types.SimpleNamespace(sources=("recipe",), network=decoder)}
    export_bundle(model, run, tmp_path / "recipe")
    model.decoders["picture"].sources = ("recipe", "image")
    with pytest.raises(parity.ParityError, match=r"picture_decoder\.onnx, image embeddings of 1 random rows: expected"):
        export_bundle(model, run, tmp_path / "both")
    model.decoders["picture"].sources = ("recipe", "map")
    with pytest.raises(ValueError, match=r"expected sources among \['image', 'recipe'\], received \['recipe', 'map'\]"):
        export_bundle(model, run, tmp_path / "none")


def test_saved_model_endpoints_by_keyword(exported):
    model, folder, _ = exported
    signatures = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures
    received = signatures["encode_recipe_text"](
        title=tf.constant([recipe["title"] for recipe in RECIPES]),
        ingredients=padded([recipe["ingredients"] for recipe in RECIPES]),
        instructions=padded([recipe["instructions"] for recipe in RECIPES]),
    )["embedding"]
    assert set(signatures["encode_image_bytes"].structured_outputs) == {"embedding", "readable"}
    np.testing.assert_allclose(received, keras_recipes(model, RECIPES), atol=1e-5)
    joined = {
        name: tf.constant(["\n".join(recipe[name]) for recipe in RECIPES]) for name in ("ingredients", "instructions")
    }
    titles = tf.constant([recipe["title"] for recipe in RECIPES])
    received = signatures["encode_recipe_lines"](title=titles, **joined)["embedding"]
    np.testing.assert_allclose(received, keras_recipes(model, RECIPES), atol=1e-5)
    received = signatures["encode_image_bytes"](image=tf.constant(photos()))["embedding"]
    np.testing.assert_allclose(received, keras_photos(model, photos()), atol=1e-5)


def test_saved_model_says_how_many_words_it_read(exported):
    """As the ONNX file does: nothing read is 0, whatever the embedding; the others are counted after the cuts."""
    _, folder, manifest = exported
    titles, ingredients = (
        ["", "--", "leek soup of the house", "親子丼"],
        ["", "!\n--", "salt, salz\nleek", "鶏もも肉 200"],
    )
    instructions = ["", "?", "Boil.", "煮る。"]
    signatures = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures
    lines = {
        key: tf.strings.split(tf.constant(texts), "\n").to_tensor("")
        for key, texts in (("ingredients", ingredients), ("instructions", instructions))
    }
    answers = [
        signatures["encode_recipe_text"](title=tf.constant(titles), **lines),
        signatures["encode_recipe_lines"](
            title=tf.constant(titles), ingredients=tf.constant(ingredients), instructions=tf.constant(instructions)
        ),
    ]
    for answer in answers:
        assert answer["words"].dtype == answer["known_words"].dtype == tf.int32
        assert answer["words"].numpy().tolist() == [0, 0, 2 + 3 + 1, 1 + 2 + 1]
        assert answer["known_words"].numpy().tolist() == [0, 0, 2 + 2 + 1, 0]
    texts = {"title": np.array(titles, object)}
    texts |= {key: np.array([[line.decode() for line in row] for row in lines[key].numpy()], object) for key in lines}
    proto = (folder / "onnx" / "recipe_text_encoder.onnx").read_bytes()
    _, words, known = parity.onnx_run(proto, ["embedding", "words", "known_words"])(texts)
    assert (words.tolist(), known.tolist()) == ([0, 0, 6, 4], [0, 0, 5, 0])
    for name in ("encode_recipe_text", "encode_recipe_lines"):
        for output in ("words", "known_words"):
            assert manifest["endpoints"][name]["outputs"][output] == {"shape": [None], "dtype": "int32"}
    assert "`words` is 0" in (folder / "card.md").read_text()


def test_onnx_file_is_plain_and_fused(exported):
    proto = onnx.load(exported[1] / "onnx" / "recipe_encoder.onnx")
    operators = [node.op_type for node in proto.graph.node]
    assert operators.count("LSTM") == 1
    assert not {"Loop", "Scan", "If"} & set(operators)
    assert {opset.domain for opset in proto.opset_import} <= {"", "ai.onnx.ml"}
    assert [value.name for value in proto.graph.input] == ["title", "ingredients", "instructions"]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in proto.graph.input} == {"batch"}


@pytest.mark.slow
def test_names_and_vectors_instead_of_words(tmp_path):
    spec = make_spec(ingredient_unit="name", ingredient_words=1, title_words=0, instruction_vectors=7)
    model = make_model(spec, distance="dot")
    export_bundle(model, make_run(tmp_path / "run"), tmp_path / "bundle")
    bundle = kfood_runtime.Bundle.open(tmp_path / "bundle")
    vectors = np.arange(14, dtype=np.float32).reshape(2, 7) / 14
    received = bundle.encode_recipes([{"ingredients": ["Red  ONION!", "leek", "?"], "instruction_vectors": vectors}])
    tokens = {
        "ingredients": np.array([[[3], [4], [0], [0]]], np.int32),
        "instruction_vectors": np.concatenate([vectors, np.zeros((1, 7), np.float32)])[None],
    }
    np.testing.assert_allclose(received, model.encoders["recipe"](tokens).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match=r"expected instruction_vectors .* received ingredients"):
        bundle.encode_recipes([{"ingredients": ["leek"]}])
    with pytest.raises(ValueError, match=r"\[sentences, 7\], received \[2, 6\]"):
        bundle.encode_recipes([{"ingredients": ["leek"], "instruction_vectors": vectors[:, :6]}])


def test_needs_neither_tensorflow_nor_kfood(exported, tmp_path):
    """The bundle alone, with the runtime's file that it holds, on a recipe and on photos."""
    folder = shutil.copytree(exported[1], tmp_path / "bundle")
    encoded = photos()
    (tmp_path / "photo.png").write_bytes(encoded[0])
    program = f"""
import sys
for name in ("tensorflow", "keras", "kfood"):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, {str(folder)!r})
import json, runtime
bundle = runtime.Bundle.open({str(folder)!r}, verify=True)
recipes = bundle.encode_recipes({RECIPES[:1]!r})
assert "PIL" not in sys.modules
print(json.dumps([recipes.tolist(), bundle.encode_photos(["photo.png"]).tolist()]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    recipes, pictures = json.loads(done.stdout)
    np.testing.assert_allclose(recipes, keras_recipes(exported[0], RECIPES[:1]), atol=1e-5)
    np.testing.assert_allclose(pictures, keras_photos(exported[0], encoded[:1]), atol=1e-5)


def test_importing_the_runtime_imports_nothing_heavy():
    program = (
        "import sys, kfood.export.runtime, kfood.search\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'keras', 'onnxruntime', 'onnx', 'tf2onnx', 'PIL', 'faiss', 'tensorflow_datasets'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["onnx/recipe_text_encoder.onnx"])
def test_a_changed_file_is_refused(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"expected sha256 .* changed after the export"):
        kfood_runtime.Bundle.open(copied, verify=True)
    with pytest.raises(ValueError, match="expected sha256"):
        kfood_runtime.Bundle.open(copied).encode_recipes(RECIPES)


def test_a_damaged_bundle_is_refused_when_opened(copied):
    variables = next((copied / "saved_model" / "1" / "variables").glob("*.data*"))
    variables.write_bytes(variables.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"expected \d+ bytes, received \d+"):
        kfood_runtime.Bundle.open(copied)
    variables.unlink()
    with pytest.raises(FileNotFoundError, match="expected the file saved_model/1/variables"):
        kfood_runtime.Bundle.open(copied)
    (copied / "kfood.json").write_text('{"format": 99, "files": {}}')
    with pytest.raises(ValueError, match="expected a bundle of format 3, received format 99; export the run again"):
        kfood_runtime.Bundle.open(copied)
    (copied / "kfood.json").write_text("[]")
    with pytest.raises(ValueError, match="expected the description of a bundle"):
        kfood_runtime.Bundle.open(copied)
    with pytest.raises(FileNotFoundError, match=r"found no kfood\.json"):
        kfood_runtime.Bundle.open(copied / "onnx")


def test_a_changed_description_is_one_sentence(copied):
    manifest = json.loads((copied / "kfood.json").read_text())
    for key in ("spec", "encoders", "preprocessing"):
        (copied / "kfood.json").write_text(json.dumps({name: value for name, value in manifest.items() if name != key}))
        with pytest.raises(ValueError, match=f"expected the description of a bundle, received one without {key}"):
            kfood_runtime.Bundle.open(copied)
    for name in ("../run/config.json", "/etc/hostname", "onnx/../../x", "C:x", "onnx\\x"):
        (copied / "kfood.json").write_text(json.dumps(manifest | {"files": {name: {"sha256": "", "size": 0}}}))
        with pytest.raises(ValueError, match="expected paths inside the bundle"):
            kfood_runtime.Bundle.open(copied)


def test_wrong_use_is_refused(bundle):
    ingredients = np.zeros((2, 4, 3), np.int32)
    tokens = {"title": np.zeros((2, 2), np.int32), "ingredients": ingredients}
    with pytest.raises(ValueError, match=r"expected the inputs \['ingredients', 'instructions', 'title'\], received"):
        bundle.encode("recipe", tokens)
    tokens["instructions"] = np.zeros((2, 3, 6), np.int32)
    with pytest.raises(ValueError, match=r"expected instructions int32 \[n, 3, 5\], received int32 \[2, 3, 6\]"):
        bundle.encode("recipe", tokens)
    tokens["instructions"] = np.zeros((3, 3, 5), np.int32)
    with pytest.raises(ValueError, match="expected inputs of the same number of rows"):
        bundle.encode("recipe", tokens)
    with pytest.raises(ValueError, match=r"expected one of \['image', 'recipe'\], received 'map'"):
        bundle.encode("map", {})
    with pytest.raises(ValueError, match="received 'ingredients', which decodes image embeddings"):
        bundle.generate(RECIPES, decoder="ingredients")
    with pytest.raises(ValueError, match=r"expected one that takes an image, received 'recipe'"):
        bundle.encode_photos([], encoder="recipe")


def test_providers_and_threads(exported):
    bundle = kfood_runtime.Bundle.open(exported[1], threads=1)
    assert bundle.encode_recipes(RECIPES).shape == (3, 6)
    with pytest.raises(ValueError, match=r"providers: expected some of .* received .*'Abacus'"):
        kfood_runtime.Bundle.open(exported[1], providers=["Abacus"]).encode_recipes(RECIPES)
    with pytest.raises(ValueError, match="threads: expected 0 or a positive integer, received -1"):
        kfood_runtime.Bundle.open(exported[1], threads=-1)


def test_out_is_not_replaced_unasked(exported, tmp_path):
    model, folder, _ = exported
    with pytest.raises(FileExistsError, match="exists already"):
        export_bundle(model, folder.parent / "run", folder)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(FileExistsError, match="replaces bundles only"):
        export_bundle(model, folder.parent / "run", tmp_path / "photos", overwrite=True)


def test_vocabulary_of_another_dataset_is_refused(tmp_path):
    model = make_model(make_spec(word_vocabulary=20))
    with pytest.raises(ValueError, match="expected 20 ids"):
        export_bundle(model, make_run(tmp_path / "run"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


class OtherInAGraph(keras.layers.Layer):
    """Computes something else once it is traced: what a faulty conversion looks like."""

    def call(self, x):
        return x if tf.executing_eagerly() else x + 0.001


class WrongAboveFifty(keras.layers.Layer):
    """As :class:`OtherInAGraph`, for some inputs only."""

    def call(self, x):
        return x if tf.executing_eagerly() else tf.where(x > 50.0, x + 1.0, x)


@pytest.mark.parametrize("existed", [False, True])
def test_a_failing_gate_leaves_nothing(tmp_path, existed):
    model = make_model()
    run = make_run(tmp_path / "run")
    out = tmp_path / "out" / "bundle"
    if existed:
        out.mkdir(parents=True)
        (out / "kfood.json").write_text("the bundle before")
    encoder = model.encoders["image"]
    model.encoders["image"] = keras.Model(encoder.input, OtherInAGraph()(encoder.output))
    with pytest.raises(parity.ParityError, match=r"image_encoder\.onnx, 1 random rows: expected .* received 0\.001"):
        export_bundle(model, run, out, overwrite=existed)
    left = sorted(path.name for path in out.parent.iterdir())
    assert left == (["bundle"] if existed else [])
    assert not existed or (out / "kfood.json").read_text() == "the bundle before"


def test_an_operation_without_counterpart_is_named():
    x = keras.Input((3,), name="x")

    class Complement(keras.layers.Layer):
        def call(self, x):
            return tf.math.erfc(x)

    network = keras.Model({"x": x}, Complement()(x))
    inputs = {"x": tf.TensorSpec([None, 3], tf.float32, "x")}
    endpoint = Endpoint("encode_x", lambda inputs: {"y": network(inputs)}, inputs, "y")
    with pytest.raises(ConversionError, match=r"encode_x: not convertible to ONNX.*Erfc"):
        convert(endpoint)


def test_the_gate_sees_what_only_edge_rows_show():
    """ONNX counts the -1 of a one-hot from the end, TensorFlow makes it a row of zeros: length 0 gives it away."""
    tokens = keras.Input((3, 5), dtype="int32", name="instructions")
    flat = keras.ops.reshape(tokens, (-1, 15))
    lengths = keras.ops.sum(keras.ops.cast(flat != 0, "int32"), axis=1)
    hot = keras.ops.one_hot(lengths - 1, 15, dtype="float32")
    network = keras.Model({"instructions": tokens}, hot)
    inputs = {"instructions": tf.TensorSpec([None, 3, 5], tf.int32, "instructions")}
    endpoint = Endpoint("encode_recipe", lambda inputs: {"embedding": network(inputs)}, inputs, "embedding")
    run = parity.onnx_run(convert(endpoint))
    full = {"instructions": np.ones((4, 3, 5), np.int32)}
    assert parity.check_network(run, parity.cases(endpoint, [("full rows", full)]), "network", relative=False) == 0
    edges = parity.cases(endpoint, parity.encoder_batches(inputs, make_spec())[-1:])
    with pytest.raises(parity.ParityError, match="edge rows"):
        parity.check_network(run, edges, "network", relative=False)


@pytest.mark.parametrize(
    ("received", "relative", "message"),
    [
        (np.array([[0.0, 1.0002]]), False, "expected a difference of at most 0.0001, received 0.0002"),
        (np.array([[0.0, np.nan]]), False, "finite"),
        (np.array([[0.0]]), False, r"expected shape \[1, 2\], received \[1, 1\]"),
        (np.array([[0.0, 1.0002]]), True, "received 0.0002"),  # the range is 1 at least
    ],
)
def test_difference_refuses(received, relative, message):
    with pytest.raises(parity.ParityError, match=message):
        parity.difference(np.array([[0.0, 1.0]]), received, "what", relative=relative)


def test_recipes_have_a_bound_of_their_own():
    embedding, other = np.zeros((1, 2), np.float32), np.full((1, 2), 2e-5, np.float32)
    cases = [parity.Case("a row", {name: embedding}, embedding) for name in ("ingredients", "image")]
    assert parity.check_network(lambda inputs: other, cases[1:], "image encoder", relative=False) == pytest.approx(2e-5)
    with pytest.raises(parity.ParityError, match="a row: expected a difference of at most 1e-05, received 2e-05"):
        parity.check_network(lambda inputs: other, cases[:1], "recipe encoder", relative=False)


def test_difference_of_a_decoder_is_relative_to_its_range():
    error = parity.difference(np.array([0.0, 200.0]), np.array([0.01, 200.0]), "what", relative=True)
    assert error == pytest.approx(5e-5)


def test_mixed_precision_is_refused():
    model = make_model()
    embedding = keras.Input((6,), name="embedding")
    half = keras.layers.Dense(2, dtype="mixed_float16", name="half")
    model.decoders["picture"].network = keras.Model(embedding, half(embedding))
    with pytest.raises(ValueError, match=r"half: expected .* float32, received float16"), portable(model):
        pass


def test_graphs_are_traced_without_cudnn():
    model = make_model()
    lstm = next(layer for layer in model.encoders["recipe"].layers if isinstance(layer, keras.layers.LSTM))
    assert lstm.use_cudnn == "auto"
    with portable(model):
        assert lstm.use_cudnn is False
    assert lstm.use_cudnn == "auto"


def test_encoder_batches_cover_the_vocabulary_and_the_edges():
    spec = make_spec()
    inputs = tensor_endpoints(make_model())["encode_recipe"].inputs
    batches = dict(parity.encoder_batches(inputs, spec))
    assert [len(batch["title"]) for batch in batches.values()] == [1, 3, 8, 3]
    edges = batches["edge rows"]["instructions"]
    assert not edges[0].any()
    assert edges[1].all()
    assert np.count_nonzero(edges[2]) == 1
    everything = np.concatenate([batch["instructions"].ravel() for batch in batches.values()])
    assert everything.min() == 0
    assert everything.max() < spec.word_vocabulary
    lines = batches["8 random rows"]["instructions"]
    assert (np.diff((lines != 0).astype(int), axis=2) <= 0).all()  # padding on the right


def test_export_command(exported, tmp_path, monkeypatch, capsys):
    import kfood.models
    from kfood.tools import export

    asked = {}

    def load_run(run, weights):
        asked.update(run=run, weights=weights)
        return exported[0]

    monkeypatch.setattr(kfood.models, "load_run", load_run)

    def export_bundle(model, run, out, **options):
        asked.update(options)
        return exported[2]

    monkeypatch.setattr("kfood.export.bundle.export_bundle", export_bundle)
    export.main([str(tmp_path / "run"), "--out", str(tmp_path / "bundle"), "--weights", "last", "--overwrite"])
    assert asked["run"] == pathlib.Path(tmp_path / "run")
    assert (asked["weights"], asked["overwrite"]) == ("last", True)
    assert "files" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "docs/exporting.md"])
def test_the_script_of_the_page_runs(page, exported, tmp_path, monkeypatch, capsys):
    text = (pathlib.Path(__file__).parents[1] / page).read_text(encoding="utf-8")
    (script,) = (one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if 'Bundle.open("BUNDLE")' in one)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BUNDLE").symlink_to(exported[1])
    Image.fromarray(np.full((40, 30, 3), 120, np.uint8)).save("dinner.jpg")
    exec(compile(script, page, "exec"), {})
    assert re.fullmatch(r"\[\[\d\.\d+\]\]", capsys.readouterr().out.strip())
