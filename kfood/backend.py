"""All that knows the backend: the gradient step and the gradient with respect to an input (TensorFlow).

Keras has one way of writing layers for every backend and none of writing gradients. Models, layers and losses are
written with ``keras.ops``; what they need beyond that is these functions.
"""

import keras
import tensorflow as tf


def gradients(objective, variables):
    """Evaluates ``objective`` and its gradient.

    Args:
        objective: function without arguments → (scalar loss, any structure passed through).
        variables: list of Keras variables.

    Returns:
        (the structure, list of gradients, one a variable).
    """
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, extra = objective()
    return extra, tape.gradient(loss, values)


def gradients_after(embed, between, objective, variables):
    """One forward pass that serves both an adversary's step and the encoders' own step.

    ``features = embed()`` is recorded; ``between`` receives the features without their gradient and may change other
    variables (it plays the adversaries); ``objective`` then sees the features with their gradient, and the changed
    adversaries.

    Args:
        embed: function without arguments → a structure of tensors.
        between: function (features without gradient) → any structure.
        objective: function (features) → (scalar loss, any structure).
        variables: list of Keras variables.

    Returns:
        (result of ``between``, structure of ``objective``, list of gradients, one a variable).
    """
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        features = embed()
        with tape.stop_recording():
            passed = between(keras.tree.map_structure(tf.stop_gradient, features))
        loss, extra = objective(features)
    return passed, extra, tape.gradient(loss, values)


def input_gradient(function, inputs):
    """Gradient of ``sum(function(inputs))`` with respect to ``inputs``; itself differentiable.

    Args:
        function: float ``[batch, ...]`` → float ``[batch, ...]``.
        inputs: float ``[batch, ...]``.

    Returns:
        float tensor of the shape of ``inputs``.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    return tape.gradient(outputs, inputs)
