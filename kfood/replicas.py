"""Devices that share each batch, as a model's steps and predictions see them.

With TensorFlow (``tf.distribute.MirroredStrategy``) each device, a replica, runs the step on its own rows of the batch.
Encoders see these rows; what they make of them is gathered, so that every replica has the losses of the whole batch,
and each descends a share of them: summed over replicas, the gradient is that of one device. Of batches that are not
split nothing here does anything.

With JAX (``keras.distribution.DataParallel``) the batch is one array on all devices, and a step needs none of this;
only a prediction does, for a batch that does not fill them all equally, or that no other process has.
"""

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def count() -> int:
    """Replicas among which the step that is running splits the batch."""
    if keras.backend.backend() != "tensorflow":
        return 1
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(features: Any) -> Any:
    """Rows of all replicas, in the order of the whole batch.

    The gradient of a row is the sum of what all replicas want of it.

    Args:
        features: structure of tensors ``[rows, ...]``, this replica's.

    Returns:
        The same structure, ``[replicas · rows, ...]``; as it is with one replica.
    """
    if count() == 1:
        return features
    context = tf.distribute.get_replica_context()

    def of_all(value):
        value = tf.convert_to_tensor(value)
        if value.dtype == tf.bool:
            return tf.cast(context.all_gather(tf.cast(value, tf.int32), axis=0), tf.bool)
        return _densely(context.all_gather(value, axis=0))  # one by one: a list's gradient fails in TensorFlow 2.21

    return keras.tree.map_structure(of_all, features)


def _densely(value):
    """The same; its gradient, of rows that were looked up, as one tensor, which can be reduced."""

    @tf.custom_gradient
    def same(value):
        return tf.identity(value), tf.convert_to_tensor

    return same(value) if value.dtype.is_floating else value


@contextlib.contextmanager
def drawing_apart(states: list) -> Iterator[None]:
    """Within it replicas draw different numbers, for their own rows; outside the same ones, for those of all.

    Args:
        states: of seed generators, int ``[2]``, the same on all replicas.
    """
    if count() == 1:
        yield
        return
    replica = tf.stack([tf.distribute.get_replica_context().replica_id_in_sync_group, 0])
    for state in states:
        state.assign(state + tf.cast(replica, state.dtype))
    yield
    for state in states:
        state.assign(state - tf.cast(replica, state.dtype))


def whole(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """A batch of all replicas, of whose features those that are asked for are gathered; as it is with one replica."""
    return batch if count() == 1 else _Gathered(batch)


class _Gathered(Mapping):
    """See :func:`whole`: a photo that no loss looks at stays where it is."""

    def __init__(self, batch):
        self._rows = batch
        self._found: dict[str, Any] = {}

    def __getitem__(self, name):
        if name not in self._found:
            self._found[name] = gathered(self._rows[name])
        return self._found[name]

    def __contains__(self, name):
        return name in self._rows

    def __iter__(self):
        return iter(self._rows)

    def __len__(self):
        return len(self._rows)


def for_optimizer(optimizer: Any, gradients: list) -> list:
    """Gradients as an optimizer wants them, which adds up what the replicas give it.

    One that first clips, or looks whether all are finite, has to see the sum: one replica gives that, the others zeros.

    Args:
        optimizer: about to apply them.
        gradients: this replica's, None where there is none.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    clips = any(getattr(inner, name, None) for name in ("clipvalue", "clipnorm", "global_clipnorm"))
    if count() == 1 or not (clips or inner is not optimizer):
        return gradients
    context = tf.distribute.get_replica_context()
    there = [gradient for gradient in gradients if gradient is not None]
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, there))
    first = tf.equal(context.replica_id_in_sync_group, 0)

    def on_first(gradient):
        return tf.where(first, gradient, tf.zeros_like(gradient))

    return [None if gradient is None else on_first(next(summed)) for gradient in gradients]


def prepare(model: Any, chunk: int, jit_compile: Any) -> None:
    """Makes a model that was made for several replicas train as on one device, before it is compiled.

    Args:
        model: its batch normalisations take their statistics over all replicas from here on.
        chunk: what it is to be compiled with.
        jit_compile: likewise.

    Raises:
        ValueError: a model, or a way of running it, whose batches cannot be split.
    """
    if _mirrored(model) == 1:
        return
    if not model.phases[-1].all_variables:
        raise ValueError(
            f"{model.name}: expected one device with Keras' TensorFlow backend, for it is solved and not descended to, "
            "received several: set training.devices=1, or train with KERAS_BACKEND=jax."
        )
    for name, value in (("chunk", chunk), ("jit_compile", jit_compile)):
        if value:
            raise ValueError(
                f"{name}: expected none where several devices share a batch with Keras' TensorFlow backend, received "
                f"{value}: leave it out, or set training.devices=1."
            )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def _mirrored(model):
    if keras.backend.backend() != "tensorflow":
        return 1
    strategy = getattr(model, "distribute_strategy", None)
    return 1 if strategy is None else strategy.num_replicas_in_sync


_PREDICTING: "weakref.WeakKeyDictionary[keras.Model, Any]" = weakref.WeakKeyDictionary()


def predicted(network: Any, inputs: Any) -> NDArray:
    """``network.predict_on_batch(inputs)``, also where several devices train.

    Args:
        network: a ``keras.Model``, or anything with that method.
        inputs: array ``[rows, ...]``, or a dict of such; any number of rows, which need not be other processes'.

    Returns:
        Array ``[rows, ...]``.
    """
    if _mirrored(network) > 1:
        # Within a strategy's predict_on_batch every replica would see, and give back, all rows.
        return np.asarray(_of(network, _mirrored_prediction)(inputs))
    if keras.backend.backend() == "jax" and keras.distribution.distribution() is not None:
        return _predicted_here(network, inputs)
    return np.asarray(network.predict_on_batch(inputs))


def _of(network, make):
    """What ``make`` makes of a network, once: it must not hold the network, or the table would never let go of it."""
    if network not in _PREDICTING:
        _PREDICTING[network] = make(weakref.ref(network))
    return _PREDICTING[network]


def _mirrored_prediction(held):
    return tf.function(lambda inputs: held()(inputs, training=False), reduce_retracing=True)


def _stateless_prediction(held):
    import jax

    def run(values, inputs):
        with keras.StatelessScope(list(zip(held().variables, values, strict=True))):
            return held()(inputs, training=False)

    return jax.jit(run)


def _predicted_here(network, inputs):
    """With JAX, on the devices that this process shares: others need not see the same batch, nor take part."""
    import jax

    shared = keras.distribution.distribution().device_mesh.backend_mesh.devices.flatten()
    devices = [device for device in shared if device.process_index == jax.process_index()]
    mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
    copied, split = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), ("batch",)))

    def here(value):
        parts = [shard.data for shard in value.addressable_shards]
        return jax.make_array_from_single_device_arrays(value.shape, copied, parts)

    rows = len(keras.tree.flatten(inputs)[0])

    def filled(values):
        more = np.repeat(np.asarray(values)[-1:], -rows % len(devices), axis=0)
        return jax.device_put(np.concatenate([values, more]), split)

    values = [here(variable.value) for variable in network.variables]
    run = _of(network, _stateless_prediction)
    return np.asarray(run(values, keras.tree.map_structure(filled, inputs)))[:rows]
