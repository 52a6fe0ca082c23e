"""Attention and the recurrences under it: against loops, and padding that changes nothing."""

import keras
import numpy as np
import oracles
import pytest
from keras import ops

from kfood.layers.attention import AttentionDecoder, AttentionPooling, JoinedPooling
from kfood.layers.recurrent import HiddenStates, present, reverse


def _numpy(tensors):
    return keras.tree.map_structure(ops.convert_to_numpy, tensors)


def _weights(layer):
    return [weight.numpy() for weight in layer.weights]


def test_present_and_reverse():
    counts = np.array([3, 0, 1], "int32")
    assert _numpy(present(counts, 4, "float32")).tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    inputs = np.arange(12, dtype="float32").reshape(3, 4, 1)
    assert _numpy(reverse(inputs, counts))[:, :, 0].tolist() == [[2, 1, 0, 0], [4, 4, 4, 4], [8, 8, 8, 8]]


def test_hidden_states_against_a_loop(rng):
    layer = HiddenStates(6)
    inputs, counts = rng.normal(size=(4, 5, 3)).astype("float32"), np.array([5, 1, 0, 3], "int32")
    got = _numpy(layer(inputs, counts))
    for cell in (layer.forward_cell, layer.backward_cell):
        cell.cell.bias.assign(rng.normal(size=(2, 9)))
    got = _numpy(layer(inputs, counts))
    for row, count in enumerate(counts):
        forward = oracles.gru(inputs[row], *_weights(layer.forward_cell.cell), count, backward=False)
        backward = oracles.gru(inputs[row], *_weights(layer.backward_cell.cell), count, backward=True)
        expected = np.zeros((5, 6))
        for step in range(count):
            expected[step] = np.concatenate([forward[step], backward[step]])
        np.testing.assert_allclose(got[row], expected, atol=1e-6)


def test_hidden_states_need_an_even_width():
    with pytest.raises(ValueError, match="units: expected an even number, half a direction, received 3"):
        HiddenStates(3)


@pytest.mark.parametrize("trained", [True, False])
def test_attention_pooling_against_a_loop(rng, trained):
    layer = AttentionPooling(4, query_size=3 if trained else None)
    context = rng.normal(size=(3, 5, 2)).astype("float32")
    given = rng.normal(size=(3, 3)).astype("float32")
    counts = [5, 2, 0]
    there = np.array([[step < count for step in range(5)] for count in counts], "float32")
    pooled, weights = _numpy(layer(context, there, None if trained else given))
    w, u, v = layer.of_query.kernel.numpy(), layer.of_context.kernel.numpy(), layer.score.numpy()[:, 0]
    for row, count in enumerate(counts[:2]):
        query = layer.query.numpy()[0] if trained else given[row]
        expected, alpha = oracles.attention_pooling(context[row, :count], query, w, u, v)
        np.testing.assert_allclose(pooled[row], expected, atol=1e-6)
        np.testing.assert_allclose(weights[row], [*alpha, *[0.0] * (5 - count)], atol=1e-6)
    assert not pooled[2].any()
    assert not weights[2].any()


def test_joined_pooling_keeps_the_order_of_its_parts(rng):
    layer = JoinedPooling(("second", "first"), 4)
    contexts = {name: rng.normal(size=(2, steps, 3)).astype("float32") for name, steps in (("first", 5), ("second", 2))}
    there = {name: np.ones(context.shape[:2], "float32") for name, context in contexts.items()}
    query = rng.normal(size=(2, 6)).astype("float32")
    joined, weights = _numpy(layer(contexts, there, query))
    assert joined.shape == (2, 6)
    for place, name in enumerate(layer.parts):
        alone, alone_weights = _numpy(layer.poolings[name](contexts[name], there[name], query))
        np.testing.assert_allclose(joined[:, 3 * place : 3 * place + 3], alone, atol=1e-6)
        np.testing.assert_allclose(weights[name], alone_weights, atol=1e-6)
    scores = [layer.poolings[name].score.numpy() for name in layer.parts]
    assert np.abs(scores[0] - scores[1]).max() > 0


def test_attention_decoder_against_a_loop(rng):
    layer = AttentionDecoder(3)
    inputs, context = rng.normal(size=(2, 4, 5)).astype("float32"), rng.normal(size=(2, 3, 2)).astype("float32")
    counts = [3, 2]
    there = np.array([[item < count for item in range(3)] for count in counts], "float32")
    context *= there[:, :, None]
    layer(inputs, context, there)
    for bias in (layer.cell.before.bias, layer.cell.after.bias, layer.first.bias):
        bias.assign(rng.normal(size=bias.shape))
    got = _numpy(layer(inputs, context, there))
    attention = layer.cell.attention
    w, u, v = attention.of_query.kernel.numpy(), attention.of_context.kernel.numpy(), attention.score.numpy()[:, 0]
    for row, count in enumerate(counts):
        items = context[row, :count]
        state = np.tanh(items.mean(axis=0) @ layer.first.kernel.numpy() + layer.first.bias.numpy())
        for step in range(4):
            between = oracles.gru_step(inputs[row, step], state, *_weights(layer.cell.before))
            attended, _ = oracles.attention_pooling(items, between, w, u, v)
            state = oracles.gru_step(attended, between, *_weights(layer.cell.after))
            np.testing.assert_allclose(got[row, step], state, atol=1e-6)


def test_start_range():
    keras.utils.set_random_seed(0)
    layer = AttentionDecoder(8, start_range=0.02)
    layer.build((None, 4, 8), (None, 3, 8))
    kernels = [weight.numpy() for weight in layer.weights if "bias" not in weight.path]
    assert len(kernels) == 8
    for kernel in kernels:
        assert 0.01 < np.abs(kernel).max() <= 0.02
    assert len({float(kernel.ravel()[0]) for kernel in kernels}) == len(kernels)  # each its own values


def test_layers_come_back_from_their_config():
    for layer in (
        HiddenStates(4, 0.1),
        AttentionPooling(3, 2, 0.1),
        JoinedPooling(("b", "a"), 3),
        AttentionDecoder(3, 0.1),
    ):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
