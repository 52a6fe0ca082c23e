"""All that knows the backend: the gradient step, the gradient with respect to an input, and a check inside a graph.

Keras has one way of writing layers for every backend and none of writing gradients. Models, layers and losses are
written with ``keras.ops``; what they need beyond that is these functions. Losses use :func:`input_gradient` and
:func:`checked`, which know every backend; the models' training steps use the others, which know TensorFlow and JAX.

TensorFlow's variables are changed where they stand. JAX differentiates and compiles functions without side effects:
:func:`step` gives a step the values of all variables in a ``keras.StatelessScope`` and takes the new ones out of it.
Within the step each function that is differentiated has a scope of its own, which hands its changes to the one around.
"""

import sys
from collections.abc import Mapping

import keras
from keras import ops

from kfood import replicas

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def numbered(data, name, number):
    """Batches with numbers in place of the strings of a feature, which XLA could not compile a step with.

    Args:
        data: a dict of features, a ``tf.data.Dataset`` of such dicts, a tuple that begins with either, or other.
        name: of the feature, strings or integers ``[batch]``.
        number: of the feature that takes its place, int64 ``[batch]``, equal where the strings are equal, in every
            batch; one that is there already stays.

    Returns:
        The same kind of data; what has no such feature, or is nothing of these, as it is.
    """
    if isinstance(data, Mapping) and name in data:
        others = {key: value for key, value in data.items() if key != name}
        return others if number in others else {**others, number: _numbers(data[name])}
    if isinstance(data, tuple) and data:
        return (numbered(data[0], name, number), *data[1:])
    if _is_dataset(data):
        spec = data.element_spec
        features = spec[0] if isinstance(spec, tuple) and spec else spec
        if isinstance(features, Mapping) and name in features:
            return data.map(lambda *batch: numbered(batch if len(batch) > 1 else batch[0], name, number))
    return data


def _is_dataset(data):
    tensorflow = sys.modules.get("tensorflow")  # which whoever has one of its datasets has imported
    return tensorflow is not None and isinstance(data, tensorflow.data.Dataset)


def _numbers(values):
    import tensorflow  # which is installed beside every backend

    flat = tensorflow.reshape(tensorflow.convert_to_tensor(values), [-1])
    if flat.dtype == tensorflow.string:
        flat = tensorflow.strings.to_hash_bucket_fast(flat, tensorflow.int64.max)  # the same in every process
    numbers = tensorflow.cast(flat, tensorflow.int64)
    return numbers if tensorflow.is_tensor(values) else numbers.numpy()


def compiles(jit_compile, run_eagerly):
    """Whether XLA compiles a step: as asked; with JAX always, for nothing else compiles there, unless run eagerly."""
    return not run_eagerly if keras.backend.backend() == "jax" else jit_compile


def antialiases(jit_compile):
    """Whether a step that is compiled so can resize with antialiasing: TensorFlow's XLA has no such operation."""
    return keras.backend.backend() != "tensorflow" or not jit_compile


def step(model, play, received):
    """A training or test step as Keras' trainers call it.

    Args:
        model: the ``keras.Model`` whose variables the step reads and changes.
        play: function (data) → logs, a step that changes variables where they stand.
        received: what Keras calls a step with: ``(data,)``; with JAX ``(state, data)``, ``state`` the values of the
            trainable variables, of the others, when training of the optimizer's, and of the metrics'.

    Returns:
        The logs; with JAX (logs, new state).

    Raises:
        NotImplementedError: Keras runs on another backend than TensorFlow or JAX.
    """
    _needs_known_backend()
    *state, data = received
    if not state:
        return play(data)
    (values,) = state
    training = [model.optimizer.variables] if len(values) == 4 else []
    variables = [model.trainable_variables, model.non_trainable_variables, *training, model.metrics_variables]
    with keras.StatelessScope(_paired(variables, values)) as scope:
        logs = play(data)
    return logs, tuple([scope.get_current_value(variable) for variable in own] for own in variables)


def _paired(variables, values):
    """Lists of variables and of their values → (variable, value) of all, as a scope takes them."""
    return [pair for own, given in zip(variables, values, strict=True) for pair in zip(own, given, strict=True)]


def gradients(objective, variables):
    """Evaluates ``objective`` and its gradient.

    Args:
        objective: function without arguments → (scalar loss, any structure passed through).
        variables: list of Keras variables.

    Returns:
        (the structure, list of gradients, one a variable).

    Raises:
        NotImplementedError: Keras runs on another backend than TensorFlow or JAX.
    """
    _needs_known_backend()
    if keras.backend.backend() == "jax":

        def objectives():
            loss, extra = objective()
            return [loss], extra

        extra, (gradient,) = _jax_gradients(objectives, [variables])
        return extra, gradient
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
        variables: for each of these losses a list of Keras variables, or of tensors from which ``embed`` computes.

    Returns:
        (result of ``between``, structure of ``objectives``, for each loss a list of gradients, one a variable).

    Raises:
        NotImplementedError: Keras runs on another backend than TensorFlow or JAX.
    """
    _needs_known_backend()
    if keras.backend.backend() == "jax":

        def both():
            features = embed()
            passed = _without_gradient(lambda: between(keras.tree.map_structure(ops.stop_gradient, features)))
            losses, extra = objectives(features)
            return losses, (passed, extra)

        (passed, extra), slopes = _jax_gradients(both, variables)
        return passed, extra, slopes
    values = [_values(own) for own in variables]
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


class _Within(keras.StatelessScope):
    """What a function that JAX differentiates reads and changes: the scope around it, with some values replaced.

    Attributes:
        changed: the variables that were assigned to, by ``id``.
    """

    def __init__(self, replaced=()):
        super().__init__(replaced)
        self.changed = {}

    def __enter__(self):
        super().__enter__()
        if self.original_scope is not None:
            self.state_mapping = {**self.original_scope.state_mapping, **self.state_mapping}  # type: ignore[has-type]
        return self

    def add_update(self, update):
        """Called by ``variable.assign(value)`` with both."""
        super().add_update(update)
        self.changed[id(update[0])] = update[0]

    def new_values(self):
        """Those of the changed variables, by ``id``."""
        return {key: self.state_mapping[key] for key in self.changed}


def _jax_gradients(objectives, variables):
    """Of each loss with respect to its own variables.

    Args:
        objectives: function without arguments → (list of scalar losses, any structure). What it assigns to variables
            stands when this function has returned.
        variables: a list of Keras variables for each loss.

    Returns:
        (the structure, for each loss a list of gradients; zeros where TensorFlow has None).
    """
    import jax

    changed = {}

    def function(values):
        with _Within(_paired(variables, values)) as scope:
            losses, extra = objectives()
        changed.update(scope.changed)
        return losses, (extra, scope.new_values())

    values = [[variable.value for variable in own] for own in variables]
    losses, pull_back, (extra, new_values) = jax.vjp(function, values, has_aux=True)
    slopes = []
    for index in range(len(losses)):
        seeds = [ops.full_like(loss, float(place == index)) for place, loss in enumerate(losses)]
        slopes.append(pull_back(seeds)[0][index])
    for key, variable in changed.items():
        variable.assign(new_values[key])
    return extra, slopes


def _without_gradient(function):
    """What ``function()`` gives and assigns, as constants of the differentiation around it."""
    with _Within() as scope:
        found = function()
    for key, variable in scope.changed.items():
        variable.assign(ops.stop_gradient(scope.state_mapping[key]))
    return keras.tree.map_structure(ops.stop_gradient, found)


def apply(optimizer, gradients, variables):
    """``optimizer.apply``, also of ``LossScaleOptimizer`` with JAX, whose own assigns within a branch of a condition.

    Args:
        optimizer: built.
        gradients: one a variable.
        variables: of those that it was built on; the others are frozen.
    """
    if keras.backend.backend() != "jax" or not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer.apply(replicas.for_optimizer(optimizer, gradients), variables)
        return
    moving = {id(variable): gradient for variable, gradient in zip(variables, gradients, strict=True)}
    known = optimizer.inner_optimizer._trainable_variables
    state, values = [own.value for own in optimizer.variables], [variable.value for variable in known]
    # Zeros leave the moments of what has been frozen from the start as they are.
    padded = [moving.get(id(variable), ops.zeros_like(value)) for variable, value in zip(known, values, strict=True)]
    values, state = optimizer.stateless_apply(state, padded, values)
    for variable, value in zip(known, values, strict=True):
        if id(variable) in moving:
            variable.assign(value)
    for own, value in zip(optimizer.variables, state, strict=True):
        own.assign(value)


def check_chunks(chunk):
    """Raises NotImplementedError where batches cannot be played in chunks: on another backend than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            "chunk: expected 0, or Keras' TensorFlow backend (KERAS_BACKEND=tensorflow), received "
            f"{chunk} with {keras.backend.backend()!r}; a whole batch trains on either."
        )


def pulled_back(function, upstream, variables):
    """Gradients of variables, given those of what ``function`` computes from them; with TensorFlow.

    Args:
        function: function without arguments → list of tensors.
        upstream: for each list of ``variables`` the gradients of these tensors, None where there is none.
        variables: lists of Keras variables.

    Returns:
        For each list of variables a list of gradients, None where a variable is not reached.
    """
    values = [_values(own) for own in variables]
    with tf.GradientTape(persistent=len(values) > 1, watch_accessed_variables=False) as tape:
        tape.watch(values)
        outputs = function()
    found = []
    for given, own in zip(upstream, values, strict=True):
        pairs = [pair for pair in zip(outputs, given, strict=True) if pair[1] is not None]
        reached, gradients = ([list(side) for side in zip(*pairs, strict=True)]) if pairs else ([], [])
        found.append(tape.gradient(reached, own, output_gradients=gradients) if pairs else [None] * len(own))
    return found


def repeated(body, count, sums):
    """With TensorFlow: plays ``body`` again and again, inside a graph too, in the memory of one time and the results.

    Args:
        body: function (index, int scalar; sums) → (sums, list of tensors); it may read and change variables.
        count: how often; int, or int scalar tensor, at least 1.
        sums: list of tensors that each time receives and hands on, changed, in the same shapes.

    Returns:
        (the last sums, the list of tensors, of all times one above the other: ``[count, ...]``).
    """
    if tf.executing_eagerly():
        rows = []
        for index in range(int(count)):
            sums, row = body(tf.constant(index), sums)
            rows.append(row)
        return sums, [tf.stack(column) for column in zip(*rows, strict=True)]
    # Traced once, apart: what it gives has to be known before the loop begins.
    specs = [tf.TensorSpec(part.shape, part.dtype) for part in sums]
    traced = tf.function(body, autograph=False).get_concrete_function(tf.TensorSpec([], tf.int32), specs)
    kept = [tf.TensorArray(t.dtype, count, element_shape=t.shape) for t in traced.structured_outputs[1]]

    def step(index, sums, kept):
        sums, row = traced(index, list(sums))
        return index + 1, sums, [array.write(index, part) for array, part in zip(kept, row, strict=True)]

    start = (tf.constant(0), list(sums), kept)
    _, sums, kept = tf.while_loop(lambda index, *_: index < count, step, start, parallel_iterations=1)
    return sums, [array.stack() for array in kept]


def _values(variables):
    return [variable.value if isinstance(variable, keras.Variable) else variable for variable in variables]


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


def _needs_known_backend():
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise NotImplementedError(
            "Training kfood's models: expected Keras' TensorFlow or JAX backend (KERAS_BACKEND=tensorflow or jax), "
            f"received {keras.backend.backend()!r}. kfood's losses run on any backend in models of your own."
        )
