"""Recurrent encoders as ONNX: one node a recurrence, whatever the padding."""

import collections

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from conftest import others_slow
from test_models_contract import make

from kfood.export import parity, saved_model
from kfood.export.onnx import convert, fused_recurrences
from kfood.export.saved_model import Endpoint
from kfood.layers.recurrent import FinalStates, HiddenStates


def fused(endpoint, networks):
    """(serialized model, its nodes by operator)."""
    with fused_recurrences(networks) as recurrences:
        proto = convert(endpoint, recurrences)
    nodes = collections.defaultdict(list)
    for node in onnx.load_from_string(proto).graph.node:
        nodes[node.op_type].append(node)
    return proto, nodes


def attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


@pytest.mark.parametrize(
    ("name", "kind", "count", "both_ways"),
    # ingredients, instructions and the title through one word LSTM each, sentences in one direction; MCEN: words and
    # rows of ingredients and of instructions, and the states of its decoder, whose own recurrence attends at each step;
    # CCA adds word vectors up
    [
        *others_slow(
            [(name, "LSTM", 4, 3) for name in ("acme", "r2gan", "jne", "adamine", "two_tower")],
            [("acme", "LSTM", 4, 3)],
        ),
        ("mcen", "GRU", 5, 5),
        ("cca", "LSTM", 0, 0),
    ],
)
def test_recipe_encoders_hold_one_node_a_recurrence(tiny_spec, name, kind, count, both_ways):
    model = make(name, tiny_spec, compiled=False)
    generator = np.random.default_rng(1)
    for weight in model.encoders["recipe"].weights:  # biases too, which start at zero
        if weight.dtype == "float32" and not weight.path.endswith("moving_variance"):
            weight.assign(weight + 0.2 * generator.normal(size=weight.shape).astype("float32"))
    with saved_model.portable(model):
        endpoint = saved_model.tensor_endpoints(model)["encode_recipe"]
        tried = parity.cases(endpoint, parity.encoder_batches(endpoint.inputs, tiny_spec))
        proto, nodes = fused(endpoint, saved_model.networks(model))
        assert not set(nodes) & {"Loop", "Scan", "If"}
        assert len(nodes[kind]) == count
        assert [attributes(node)["direction"] for node in nodes[kind]].count(b"bidirectional") == both_ways
        assert all(node.input[4] for node in nodes[kind])  # sequence_lens
        assert not set(nodes) & ({"LSTM", "GRU"} - {kind})
        run = parity.onnx_run(proto)
        for case in tried:  # the last one has a row of padding alone
            np.testing.assert_allclose(run(case.inputs), case.expected, atol=1e-5, err_msg=case.what)
        # And the layers are themselves again.
        again = parity.cases(endpoint, [(case.what, case.inputs) for case in tried])
    for case, expected in zip(again, tried, strict=True):
        np.testing.assert_array_equal(case.expected, expected.expected)


def test_a_bag_that_fills_in_missing_parts(tiny_spec, tiny_batch):
    model = make("cca", tiny_spec, compiled=False, overrides=("bag_words=28", "bag_filling=9", "embedding_size=5"))
    (bag,) = model.bags
    bag.adapt([tiny_batch])
    names = list(tiny_spec.recipe_inputs())
    with saved_model.portable(model):
        endpoint = saved_model.tensor_endpoints(model)["encode_recipe"]
        run = parity.onnx_run(convert(endpoint))
        whole = {name: np.asarray(tiny_batch[name]) for name in names}
        found = {}
        for some in range(1, 2 ** len(names)):
            kept = {name: part * (some >> place & 1) for place, (name, part) in enumerate(whole.items())}
            found[some] = np.asarray(model.encoders["recipe"](kept))
            np.testing.assert_allclose(run(kept), found[some], atol=1e-5, err_msg=str(some))
    assert np.ptp([embeddings[0] for embeddings in found.values()], axis=0).max() > 0.1


RECURRENT = [
    lambda: FinalStates(5),
    lambda: FinalStates(5, bidirectional=False),
    lambda: HiddenStates(6),
]


def recurrent_network(rng, layer):
    """(endpoint, network) of a recurrence of sequences of 4 steps."""
    x, lengths = keras.Input((4, 3), name="x"), keras.Input((), dtype="int32", name="lengths")
    network = keras.Model({"x": x, "lengths": lengths}, layer(x, lengths))
    for weight in network.weights:
        weight.assign(rng.normal(size=weight.shape))
    inputs = {
        "x": tf.TensorSpec([None, 4, 3], tf.float32, "x"),
        "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
    }
    return Endpoint("encode_x", lambda inputs: {"embedding": network(inputs)}, inputs, "embedding"), network


@pytest.mark.parametrize("make_layer", RECURRENT)
def test_every_length_gives_what_keras_gives(rng, make_layer):
    endpoint, network = recurrent_network(rng, make_layer())
    proto, nodes = fused(endpoint, [network])
    assert len(nodes["LSTM"] + nodes["GRU"]) == 1
    batch = {"x": rng.normal(size=(5, 4, 3)).astype(np.float32), "lengths": np.array([0, 1, 4, 2, 3], np.int32)}
    tried = parity.cases(endpoint, [("ragged", batch)])
    run = parity.onnx_run(proto)
    assert parity.check_network(run, tried, "network", relative=False) < 1e-6
    changed = {
        "x": np.where(np.arange(4)[:, None] < batch["lengths"][:, None, None], batch["x"], 9),
        "lengths": batch["lengths"],
    }
    np.testing.assert_array_equal(run(changed), run(batch))  # what stands in the padding does not matter


@pytest.mark.parametrize("make_layer", RECURRENT)
def test_sequences_without_a_step_are_zeros_wherever_they_stand(rng, make_layer):
    """Only sequences with a step are computed; the first always is, for a node takes no batch of none."""
    endpoint, network = recurrent_network(rng, make_layer())
    run = parity.onnx_run(fused(endpoint, [network])[0])
    for lengths in ([0, 3, 0, 4], [3, 0, 0], [0, 0, 0], [0], [1], [4]):
        batch = {
            "x": rng.normal(size=(len(lengths), 4, 3)).astype(np.float32),
            "lengths": np.array(lengths, np.int32),
        }
        (case,) = parity.cases(endpoint, [(str(lengths), batch)])
        received = run(batch)
        np.testing.assert_allclose(received, case.expected, atol=1e-6, err_msg=case.what)
        assert not received[batch["lengths"] == 0].any()


@pytest.mark.parametrize("make_layer", RECURRENT)
def test_no_sequence_at_all_is_refused(rng, make_layer):
    """onnxruntime's recurrent nodes end the process on a batch of 0: it must not come so far."""
    endpoint, network = recurrent_network(rng, make_layer())
    run = parity.onnx_run(fused(endpoint, [network])[0])
    nothing = {"x": np.zeros((0, 4, 3), np.float32), "lengths": np.zeros(0, np.int32)}
    with pytest.raises(parity.ParityError, match="onnxruntime cannot run the converted model"):
        run(nothing)
    some = {"x": np.ones((2, 4, 3), np.float32), "lengths": np.array([1, 4], np.int32)}
    assert np.isfinite(run(some)).all()  # and the session lives
