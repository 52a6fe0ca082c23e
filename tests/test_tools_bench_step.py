"""The bench of a training step: what it counts, and that its figures belong together."""

import numpy as np
import pytest
import tensorflow as tf

from kfood.tools import bench
from kfood.tools.bench import operations


def multiplications(rows, columns, kernel, stride, channels, filters):
    """Of a convolution with padding, and of its gradient with respect to picture or kernel, one place after another."""
    count = 0
    for _ in range(0, rows, stride):
        for _ in range(0, columns, stride):
            count += kernel * kernel * channels * filters
    return count


@pytest.mark.parametrize("transposed", [False, True])
def test_products(transposed):
    left, right = np.ones((7, 3), "float32"), np.ones((7, 5), "float32")
    found = operations.counted(
        lambda: (
            tf.matmul(left, right, transpose_a=True)
            if transposed
            else tf.matmul(tf.constant(left.T), tf.constant(right))
        )
    )
    assert found == 2 * 3 * 7 * 5
    stacked = tf.ones((2, 4, 7, 3)), tf.ones((2, 4, 7, 5))
    assert operations.counted(lambda: tf.matmul(*stacked, transpose_a=True)) == 2 * 4 * found


def test_convolutions_and_their_gradients():
    photo, kernel = tf.ones((2, 6, 9, 3)), tf.Variable(tf.ones((3, 3, 3, 4)))
    depthwise = tf.Variable(tf.ones((3, 3, 3, 2)))

    def step():
        with tf.GradientTape() as tape:
            tape.watch(photo)
            found = tf.reduce_sum(tf.nn.conv2d(photo, kernel, 2, "SAME"))
            found += tf.reduce_sum(tf.nn.depthwise_conv2d(photo, depthwise, [1, 1, 1, 1], "SAME"))
        tape.gradient(found, [photo, kernel, depthwise])

    one = 2 * 2 * (multiplications(6, 9, 3, 2, 3, 4) + multiplications(6, 9, 3, 1, 1, 3 * 2))
    assert operations.counted(step) == 3 * one  # forward, to the photo, to the kernel


def test_each_turn_of_a_loop_counts_and_nothing_afterwards():
    square = tf.ones((4, 4))
    found = operations.counted(lambda: tf.while_loop(lambda i, _: i < 5, lambda i, x: (i + 1, x @ square), (0, square)))
    assert found == 5 * 2 * 4**3
    tf.matmul(square, square)
    assert operations.counted(lambda: None) == 0


def test_a_program_of_jax_counts_as_the_same_operations_do():
    jax = pytest.importorskip("jax")
    photo, kernel = np.ones((2, 6, 9, 3), "float32"), np.ones((3, 3, 3, 4), "float32")
    depthwise = np.ones((3, 3, 1, 6), "float32")
    places = ("NHWC", "HWIO", "NHWC")

    def convolutions(photo, kernel, depthwise):
        strided = jax.lax.conv_general_dilated(photo, kernel, (2, 2), "SAME", dimension_numbers=places)
        each = jax.lax.conv_general_dilated(
            photo, depthwise, (1, 1), "SAME", dimension_numbers=places, feature_group_count=3
        )
        return (strided**2).sum() + (each**2).sum()

    step = jax.make_jaxpr(jax.jit(jax.value_and_grad(convolutions, (0, 1, 2))))(photo, kernel, depthwise)
    one = 2 * 2 * (multiplications(6, 9, 3, 2, 3, 4) + multiplications(6, 9, 3, 1, 1, 3 * 2))
    assert operations.counted_in(step) == 3 * one  # forward, to the photo, to the kernels

    square, stacked = np.ones((4, 4), "float32"), np.ones((2, 4, 7, 3), "float32")
    assert operations.counted_in(jax.make_jaxpr(lambda x: x.mT @ np.ones((2, 4, 7, 5)))(stacked)) == 2 * 8 * 3 * 7 * 5
    turns = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 5, lambda i, y: y @ square, x))(square)
    assert operations.counted_in(turns) == 5 * 2 * 4**3
    either = jax.make_jaxpr(lambda x: jax.lax.cond(x[0, 0] > 0, lambda y: y @ y, lambda y: y, x))(square)
    assert operations.counted_in(either) == 2 * 4**3
    endless = jax.make_jaxpr(lambda x: jax.lax.while_loop(lambda y: y[0, 0] < 5, lambda y: y @ square, x))(square)
    with pytest.raises(ValueError, match="received one of any number"):
        operations.counted_in(endless)


def test_a_recurrence_of_cudnn_counts_as_its_steps_do(monkeypatch):
    jax = pytest.importorskip("jax")
    rnn = pytest.importorskip("jax.experimental.rnn")
    # Which is asked of the GPU; nothing is executed here.
    monkeypatch.setattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes", lambda *_: (0, 0), raising=False)
    batch, steps, width, size = 3, 5, 6, 7
    weights = np.ones(rnn.get_num_params_in_lstm(width, size, 1, False), "float32")
    zeros = np.zeros((1, batch, size), "float32")

    def last(inputs, weights):
        lengths = np.full(batch, steps, "int32")
        states, *_ = rnn.lstm(inputs, zeros, zeros, weights, lengths, width, size, 1, 0.0, False)
        return states.sum()

    inputs = np.ones((batch, steps, width), "float32")
    program = jax.make_jaxpr(jax.grad(last, (0, 1)))(inputs, weights)
    one = sum(2 * 4 * size * (width + size) for _ in range(batch) for _ in range(steps))
    assert operations.counted_in(program) == 3 * one  # forward, to inputs and states, to the weights


def test_refused():
    with pytest.raises(ValueError, match="--chunk: expected at least 0, received -1"):
        bench.step.Step(chunk=-1)


@pytest.mark.slow
def test_figures_belong_together(kitchen):
    args = bench.step.Step(
        model=("two_tower",), preset="small", batch_size=4, chunk=2, steps=1, data=kitchen, precision="bfloat16"
    )
    figures = bench.run(args)
    assert all(value > 0 for value in figures.values())
    rate = figures["training, GFLOP a step"] / figures["training step, s"]
    assert figures["training, GFLOP/s"] == pytest.approx(rate)
    assert figures["training / GEMM, FLOP/s"] == pytest.approx(rate / figures["GEMM, GFLOP/s"])
    assert figures["input / training, pairs/s"] == pytest.approx(
        figures["input, pairs/s"] / figures["training, pairs/s"]
    )
