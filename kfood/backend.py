"""All that knows the backend: the gradient step, the gradient with respect to an input, and a check inside a graph.

Keras has one way of writing layers for every backend and none of writing gradients. Models, layers and losses are
written with ``keras.ops``; what they need beyond that is these functions. Losses use :func:`input_gradient` and
:func:`checked`, which know every backend; the models' training steps use the others, which know TensorFlow.
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def numbered(data, name, number):
    """Batches with numbers in place of the strings of a feature, which XLA could not compile a step with.

    Args:
        data: a dict of features, a ``tf.data.Dataset`` of such dicts, a tuple that begins with either, or other.
        name: of the feature, strings or integers ``[batch]``.
        number: of the feature that takes its place, int32 ``[batch]``, equal where the strings are equal; one that is
            there already stays.

    Returns:
        The same kind of data; what has no such feature, or is nothing of these, as it is.
    """
    if isinstance(data, Mapping) and name in data:
        others = {key: value for key, value in data.items() if key != name}
        return others if number in others else {**others, number: _numbers(data[name])}
    if isinstance(data, tuple) and data:
        return (numbered(data[0], name, number), *data[1:])
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        features = spec[0] if isinstance(spec, tuple) and spec else spec
        if isinstance(features, Mapping) and name in features:
            return data.map(lambda *batch: numbered(batch if len(batch) > 1 else batch[0], name, number))
    return data


def _numbers(values):
    if tf.is_tensor(values):
        return tf.unique(tf.reshape(values, [-1])).idx
    return np.unique(np.ravel(values), return_inverse=True)[1].astype("int32")


def gradients(objective, variables):
    """Evaluates ``objective`` and its gradient.

    Args:
        objective: function without arguments → (scalar loss, any structure passed through).
        variables: list of Keras variables.

    Returns:
        (the structure, list of gradients, one a variable).

    Raises:
        NotImplementedError: Keras runs on another backend than TensorFlow.
    """
    _needs_tensorflow()
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, extra = objective()
    return extra, _summed(tape.gradient(loss, values))


def gradients_after(embed, between, objectives, variables):
    """One forward pass that serves the adversaries' steps and the steps of those who share it.

    ``features = embed()`` is recorded; ``between`` receives the features without their gradient and may change other
    variables (it plays the adversaries); ``objectives`` then sees the features with their gradient, and the changed
    adversaries. Each of its losses is differentiated with respect to its own variables, before any of them moves.

    Args:
        embed: function without arguments → a structure of tensors.
        between: function (features without gradient) → any structure.
        objectives: function (features) → (list of scalar losses, any structure).
        variables: a list of Keras variables for each of these losses.

    Returns:
        (result of ``between``, structure of ``objectives``, for each loss a list of gradients, one a variable).

    Raises:
        NotImplementedError: Keras runs on another backend than TensorFlow.
    """
    _needs_tensorflow()
    values = [[variable.value for variable in own] for own in variables]
    with tf.GradientTape(persistent=len(values) > 1, watch_accessed_variables=False) as tape:
        tape.watch(values)
        features = embed()
        with tape.stop_recording():
            passed = between(keras.tree.map_structure(tf.stop_gradient, features))
        losses, extra = objectives(features)
    return passed, extra, [_summed(tape.gradient(loss, own)) for loss, own in zip(losses, values, strict=True)]


def _summed(slopes):
    """Gradients with one row for each row of a table of vectors.

    TensorFlow gives one row for each time that a word is looked up, and Keras' Adam squares each of these rows by
    itself: the second moment of a word that comes n times would be up to n times too small.
    """
    return [tf.convert_to_tensor(slope) if isinstance(slope, tf.IndexedSlices) else slope for slope in slopes]


def input_gradient(function, inputs):
    """Gradient of ``sum(function(inputs))`` with respect to ``inputs``; itself differentiable.

    Args:
        function: float ``[batch, ...]`` → float ``[batch, ...]``.
        inputs: float ``[batch, ...]``.

    Returns:
        float tensor of the shape of ``inputs``.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.grad(lambda values: ops.sum(function(values)))(inputs)
    if name == "torch":
        import torch

        with torch.enable_grad():
            inputs = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
            return torch.autograd.grad(function(inputs).sum(), inputs, create_graph=True)[0]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    return tape.gradient(outputs, inputs)


def checked(value, condition, message, received):
    """``value``, once ``condition`` is known to be true; also inside a graph, if what runs it can: XLA cannot.

    Args:
        value: tensor.
        condition: bool scalar.
        message: what was expected.
        received: tensors that the error shows after it.

    Returns:
        The same tensor.

    Raises:
        ValueError: it is false (from a TensorFlow graph: ``tf.errors.InvalidArgumentError``).
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        if isinstance(condition, jax.core.Tracer):
            return value
    if name == "tensorflow" and not tf.executing_eagerly():
        with tf.control_dependencies([tf.debugging.Assert(condition, [message, *received])]):
            return tf.identity(value)
    if not bool(condition):
        raise ValueError(f"{message} {', '.join(str(ops.convert_to_numpy(part)) for part in received)}")
    return value


def _needs_tensorflow():
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            "Training kfood's models: expected Keras' TensorFlow backend (KERAS_BACKEND=tensorflow), received "
            f"{keras.backend.backend()!r}. kfood's losses run on any backend in models of your own."
        )
