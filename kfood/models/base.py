"""The contract of every model: encoders by name, named losses, and training steps played in phases.

A paper's file subclasses :class:`RetrievalModel`, builds its networks, and answers three questions: what a batch
becomes (:meth:`~RetrievalModel.embed`), which losses follow from that (:meth:`~RetrievalModel.losses_of`), and who is
trained on which of them (:attr:`~RetrievalModel.phases`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kfood import backend, distances, precision, replicas, schema
from kfood.layers.bag import WordBag
from kfood.layers.presets import with_presets
from kfood.models import chunks
from kfood.models.batches import batch_of, reading, select
from kfood.models.chunks import random_states
from kfood.models.phases import Phase
from kfood.models.searched import scaling_layers, searched
from kfood.settings import from_dict, without_sources


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A network that reads something back from an embedding, e.g. a picture from a recipe's.

    Attributes:
        sources: the encoders whose embeddings it takes, the usual one first.
        network: float ``[batch, dim]`` → its output.
    """

    sources: tuple[str, ...]
    network: keras.Model


class RetrievalModel(keras.Model):
    """Base class of every model.

    A subclass sets in its constructor

    - ``encoders``: dict name → functional ``keras.Model`` from a dict of features to float ``[batch, embedding_size]``;
    - ``decoders``: dict name → :class:`Decoder`, possibly empty;
    - ``phases``: tuple of :class:`Phase`. The last one is the encoders' own; those before it are adversaries, which
      see the same features without their gradient and move first, unless they move together with the last;
    - ``distance``: a name of :data:`kfood.distances.DISTANCES`;

    and ends it with ``self.build()``.

    Args:
        config: the paper's frozen dataclass, or the same as a dict.
        spec: shapes of a batch, of ``spec_class``, or the same as a dict.
        local_scaling: neighbours and rows of the banks of local scaling, by which :meth:`searched` differs from the
            model as it is trained; (0, 0): none.
    """

    config_class: type
    spec_class: type = schema.RecipeSpec
    encoders: dict[str, keras.Model]
    phases: tuple[Phase, ...]
    distance: str

    def __init__(self, config, spec, local_scaling=(0, 0), **kwargs):
        super().__init__(**kwargs)
        self.local_scaling = tuple(local_scaling)
        config = from_dict(self.config_class, config) if isinstance(config, Mapping) else config
        self.spec = from_dict(self.spec_class, spec) if isinstance(spec, Mapping) else spec
        self.config = with_presets(config, self.spec.image_size)
        self.decoders: dict[str, Decoder] = {}
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        self.loss_means: dict[str, keras.metrics.Mean] = {}
        self.chunk = 0

    def build(self, input_shape=None):
        """Marks the model as built: its networks are functional and have their variables from the start."""
        distances.by_name(self.distance)
        names = ["loss", *(name for phase in self.phases for name in phase.weights)]
        self.loss_means = {name: keras.metrics.Mean(name=name) for name in names}
        self.scaling = scaling_layers(self, *self.local_scaling)
        self.built = True

    def searched(self) -> Any:
        """The model as evaluation, export and search see it: itself, or with local scaling after its encoders."""
        return searched(self) if self.scaling else self

    @property
    def embedding_size(self) -> int:
        """Width of an embedding."""
        return int(next(iter(self.encoders.values())).output_shape[-1])

    @property
    def picture_side(self) -> int:
        """Side of the photos that losses look at beside the encoders', pixels; 0: they look at none."""
        return 0

    def heat_maps(self) -> dict[str, keras.Model]:
        """Where encoders look: encoder's name → a network from its inputs to weights, float ``[batch, rows, columns]``.

        Weights lie over the picture, and add up to 1. Empty for models that weigh a picture's regions all alike.
        """
        return {}

    # What a paper's file answers

    def embed(self, batch: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """A batch of features → every tensor that the losses need, by name."""
        raise NotImplementedError

    def embed_items(self, batch: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """What :meth:`embed` computes of each item for itself, batch normalisation aside, an axis of items first.

        A model whose :meth:`embed` looks beyond single items has this and :meth:`from_items` in its place: a big batch
        goes through this one in chunks.
        """
        return self.embed(batch, training)

    def from_items(self, features: dict[str, Any], batch: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """What :meth:`embed` makes of the whole batch's :meth:`embed_items`."""
        return features

    def losses_of(self, phase: str, features: Mapping[str, Any], batch: Mapping[str, Any], training: bool) -> dict:
        """The named scalar losses of one adversary, or of the last phase and those that move together with it."""
        raise NotImplementedError

    @property
    def untrained_states(self) -> list:
        """Variables that a step changes without a gradient, such as moving statistics and queues; not random states."""
        return chunks.own_states(self)

    @property
    def bags(self) -> list[WordBag]:
        """Layers that learn, before training, how rare words are: by :meth:`kfood.layers.bag.WordBag.adapt`."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, WordBag)]

    def start_from(self, strengths) -> None:
        """Called when the encoders' linear layers were given a start: for a layer between these and the embeddings.

        Args:
            strengths: float ``[embedding_size]``, the deviation of each component.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Called by ``fit`` before each epoch, counted from 0: for schedules of a paper's own."""

    def end_epoch(self, epoch: int) -> None:
        """Called by ``fit`` after each epoch, before any callback: for what is solved rather than descended to."""

    def end_step(self, features: Mapping[str, Any]) -> None:
        """Called after a training step's moves with what :meth:`embed` gave: for what follows without a gradient."""

    # What follows from it

    def compute_losses(self, batch, training: bool = False) -> dict:
        """Every named loss of a batch, adversaries' included, each a scalar and unweighted."""
        features = self._embedded(batch, training)
        batch = replicas.whole(batch)
        named: dict = {}
        for phase in [*self._adversaries, self.phases[-1]]:
            named |= self.losses_of(phase.name, features, batch, training)
        return named

    def _embedded(self, rows, training):
        """:meth:`embed` of the whole batch, of which this device may have some rows alone."""
        if replicas.count() == 1:
            return precision.widened(self.embed(rows, training))
        with replicas.drawing_apart(random_states(self)):
            features = self.embed_items(rows, training)
        return precision.widened(self.from_items(replicas.gathered(features), replicas.whole(rows), training))

    def call(self, inputs, training=False):
        """Dict of features → dict encoder name → embeddings float ``[batch, embedding_size]``.

        Encoders whose features are missing are left out, so that either modality can be embedded alone.
        """
        networks = {name: reading(inputs, encoder) for name, encoder in self.encoders.items()}
        return {
            name: network(select(inputs, network), training=training)
            for name, network in networks.items()
            if all(feature in inputs for feature in network.input)
        }

    def compile(
        self,
        optimizers: Mapping[str, Any] | keras.optimizers.Optimizer | str | None = None,
        loss: None = None,
        *,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        chunk: int = 0,
        **kwargs,
    ):
        """Prepares training.

        Args:
            optimizers: phase name → optimizer, or the name of one, where they shall differ from the config's.
            loss: none; it stands where ``keras.Model.compile`` has it.
            optimizer: that of a model of one phase, as ``keras.Model.compile`` takes it.
            chunk: items that pass the encoders at once, see :mod:`kfood.models.chunks`; 0: the whole batch.
            **kwargs: ``run_eagerly``, ``jit_compile``, ``steps_per_execution`` as in ``keras.Model.compile``.

        Raises:
            ValueError: an optimizer for a phase that does not exist, one for several phases, a chunk of a model that
                is not descended to, or a loss or metric: these are the model's own.
            NotImplementedError: a chunk with another backend than TensorFlow.
        """
        own = [name for name in _NOT_COMPILED if kwargs.pop(name, loss if name == "loss" else None) is not None]
        if own:
            raise ValueError(
                f"{own[0]}: expected none, for {self.name} has losses and metrics of its own, received one."
            )
        given = self._optimizers_by_phase(optimizers, optimizer)
        unknown = sorted(set(given) - {phase.name for phase in self.phases})
        if unknown:
            raise ValueError(
                f"optimizers: expected phases among {[phase.name for phase in self.phases]}, received {unknown}."
            )
        if chunk < 0 or (chunk and not self.phases[-1].all_variables):
            valid = "at least 0" if chunk < 0 else f"0, for {self.name} is solved and not descended to"
            raise ValueError(f"chunk: expected {valid}, received {chunk}.")
        if chunk:
            backend.check_chunks(chunk)
        replicas.prepare(self, chunk, kwargs.get("jit_compile", False))
        made = {}
        for phase in self.phases:
            chosen: Any = keras.optimizers.get(given.get(phase.name) or phase.optimizer.build(phase.name))
            if self.compute_dtype == "float16" and not isinstance(chosen, keras.optimizers.LossScaleOptimizer):
                chosen = keras.optimizers.LossScaleOptimizer(chosen)
            if not chosen.built:
                chosen.build(phase.all_variables)
            made[phase.name] = chosen
        kwargs["jit_compile"] = backend.compiles(kwargs.get("jit_compile", False), kwargs.get("run_eagerly", False))
        super().compile(optimizer=made[self.phases[-1].name], auto_scale_loss=False, **kwargs)
        self.optimizers = made
        self.chunk = chunk

    def _optimizers_by_phase(self, optimizers, optimizer):
        if optimizer is not None and optimizers is not None:
            raise ValueError("compile: expected optimizers or optimizer, received both.")
        given = optimizers if optimizer is None else optimizer
        if given is None or isinstance(given, Mapping):
            return dict(given or {})
        names = [phase.name for phase in self.phases]
        if len(names) > 1:
            raise ValueError(
                f"optimizer: expected one for each phase of {self.name}, optimizers={{phase: optimizer}} with phases "
                f"among {names}, received one for all; those left out are as the config says."
            )
        return {names[0]: given}

    def get_compile_config(self):
        """Optimizers by phase, and how the step is run."""
        return {
            "optimizers": {name: keras.saving.serialize_keras_object(o) for name, o in self.optimizers.items()},
            "jit_compile": self.jit_compile,
            "run_eagerly": self.run_eagerly,
            "chunk": self.chunk,
        }

    def compile_from_config(self, config):
        """The reverse of :meth:`get_compile_config`; the optimizers are built on their own phases' variables."""
        optimizers = {name: keras.saving.deserialize_keras_object(o) for name, o in config["optimizers"].items()}
        options = {name: config[name] for name in ("jit_compile", "run_eagerly", "chunk") if name in config}
        self.compile(optimizers, **options)

    @property
    def metrics(self):
        """Running means of the named losses."""
        return list(self.loss_means.values())

    @property
    def metrics_variables(self):
        """Those of :attr:`metrics`, and of all optimizers but the last phase's: JAX's trainer carries one's alone."""
        others = [optimizer for optimizer in self.optimizers.values() if optimizer is not self.optimizer]
        return super().metrics_variables + [variable for optimizer in others for variable in optimizer.variables]

    @property
    def antialias(self) -> bool:
        """Whether losses resize photos with antialiasing."""
        return backend.antialiases(self.jit_compile)

    def fit(self, *args, callbacks=None, **kwargs):
        """As ``keras.Model.fit``, with :meth:`begin_epoch` and :meth:`end_epoch` around each epoch.

        Raises:
            ValueError: ``class_weight`` or ``sample_weight``: the losses compare items with each other.
        """
        args, kwargs = _numbered(args, kwargs)
        return super().fit(*args, callbacks=[_Epochs(), *(callbacks or [])], **kwargs)

    def evaluate(self, *args, **kwargs):
        """As ``keras.Model.evaluate``."""
        args, kwargs = _numbered(args, kwargs)
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """As ``keras.Model.predict``."""
        args, kwargs = _numbered(args, kwargs)
        return super().predict(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """As ``keras.Model.train_on_batch``."""
        args, kwargs = _numbered(args, kwargs)
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """As ``keras.Model.test_on_batch``."""
        args, kwargs = _numbered(args, kwargs)
        return super().test_on_batch(*args, **kwargs)

    def train_step(self, *received):
        """What Keras calls; a model with a training step of its own has it in :meth:`play`."""
        return backend.step(self, self._played if self._scales else self.play, received)

    def test_step(self, *received):
        """The same losses without a move."""
        return backend.step(self, self._test, received)

    def play(self, data):
        """Adversaries move first on features without gradient, then the others on the same features."""
        rows = batch_of(data)
        batch = replicas.whole(rows)
        main = self.phases[-1]
        joint = [phase for phase in self.phases if phase.together or phase is main]

        def adversaries(features):
            return [self._move(phase, features, batch) for phase in self._adversaries]

        def objectives(features):
            named = self.losses_of(main.name, features, batch, training=True)
            return [self._scaled(phase, named) for phase in joint], (named, features)

        variables = [phase.variables for phase in joint]
        if chunks.is_larger(rows, self.chunk):
            moved, (own, features), gradients = chunks.gradients_after(self, rows, adversaries, objectives, variables)
        else:
            moved, (own, features), gradients = backend.gradients_after(
                lambda: self._embedded(rows, training=True), adversaries, objectives, variables
            )
        for phase, gradient in zip(joint, gradients, strict=True):
            backend.apply(self.optimizers[phase.name], gradient, phase.variables)
        self.end_step(features)
        return self._log([*moved, own])

    def _played(self, data):
        return precision.past_overflow(lambda: self.play(data), self.untrained_states, self.optimizers.values())

    @property
    def _scales(self):
        """Whether losses are scaled: gradients of float16 would be 0 below 6e-8."""
        return self.compute_dtype == "float16" and bool(self.phases[-1].all_variables)

    def _test(self, data):
        return self._log([self.compute_losses(batch_of(data), training=False)])

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As ``keras.Model.export``; by default of all that the encoders take, whether called before or not.

        Raises:
            NotImplementedError: Keras runs on another backend than TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise NotImplementedError(
                f"export: expected Keras' TensorFlow backend, received {keras.backend.backend()!r}: save the model, "
                "and load and export it with KERAS_BACKEND=tensorflow."
            )
        if input_signature is None:
            taken = {name: tensor for encoder in self.encoders.values() for name, tensor in encoder.input.items()}
            signature = {name: keras.InputSpec(t.dtype, t.shape, name=name) for name, t in taken.items()}
            input_signature = [signature]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def get_config(self):
        """Config and spec as plain dicts, without the files that weights started from: a saved model has its own."""
        config = without_sources(dataclasses.asdict(self.config))
        arguments = {"config": config, "spec": dataclasses.asdict(self.spec), "name": self.name}
        arguments["dtype"] = self.dtype_policy.name
        return arguments | ({"local_scaling": list(self.local_scaling)} if any(self.local_scaling) else {})

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The reverse of :meth:`get_config`; all layers compute in the precision that the model's did."""
        config = dict(config)
        with precision.policy(config.pop("dtype", keras.config.dtype_policy())):
            return cls(**config)

    def save_own_variables(self, store):
        """As Keras, and the random states: what is loaded goes on as if it had never been saved."""
        super().save_own_variables(store)
        for index, state in enumerate(random_states(self)):
            store[f"{_RANDOM_STATE}{index}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        """The reverse of :meth:`save_own_variables`; a model with other sources of chance keeps its own states."""
        saved = [name for name in store.keys() if name.startswith(_RANDOM_STATE)]  # noqa: SIM118 (no iterator)
        super().load_own_variables({name: store[name] for name in store.keys() if name not in saved})  # noqa: SIM118
        states = random_states(self)
        if len(saved) == len(states):
            for index, state in enumerate(states):
                state.assign(store[f"{_RANDOM_STATE}{index}"])

    @property
    def _adversaries(self):
        return [phase for phase in self.phases[:-1] if not phase.together]

    def _move(self, phase, features, batch):
        def objective():
            named = self.losses_of(phase.name, features, batch, training=True)
            return self._scaled(phase, named), named

        named, gradients = backend.gradients(objective, phase.variables)
        backend.apply(self.optimizers[phase.name], gradients, phase.variables)
        return named

    def _scaled(self, phase, named):
        return self.optimizers[phase.name].scale_loss(_weighted(named, phase) / replicas.count())

    def _log(self, named):
        values = {name: value for losses in named for name, value in losses.items()}
        for name, value in values.items():
            self.loss_means[name].update_state(value)
        self.loss_means["loss"].update_state(_weighted(values, self.phases[-1]))
        return {name: mean.result() for name, mean in self.loss_means.items()}


_NOT_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics")


def _numbered(args, kwargs):
    """Arguments of ``fit`` and its like with ``recipe_number`` for the strings of ``id``, wherever data may stand.

    Weights are refused here, before a step: with JAX an error within one leaves Keras' trainer without the variables.
    """
    for name in ("class_weight", "sample_weight"):
        if kwargs.get(name) is not None:
            raise ValueError(f"{name}: expected none, for losses that compare items have no weights of items.")

    def numbered(data):
        return backend.numbered(data, schema.ID, schema.RECIPE_NUMBER)

    kwargs = {key: numbered(value) if key in ("x", "validation_data") else value for key, value in kwargs.items()}
    return ((numbered(args[0]), *args[1:]) if args else args), kwargs


_RANDOM_STATE = "random_state_"


class _Epochs(keras.callbacks.Callback):
    """Tells the model where an epoch begins and ends."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.begin_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.model.end_epoch(epoch)


def _weighted(named, phase):
    return sum((weight * ops.cast(named[name], "float32") for name, weight in phase.weights.items()), start=0.0)
