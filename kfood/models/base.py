"""The contract of every model: encoders by name, named losses, and training steps played in phases.

A paper's file subclasses :class:`RetrievalModel`, builds its networks, and answers three questions: what a batch
becomes (:meth:`~RetrievalModel.embed`), which losses follow from that (:meth:`~RetrievalModel.losses_of`), and who is
trained on which of them (:attr:`~RetrievalModel.phases`).
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import keras
from keras import ops

from kfood import backend, distances, schema
from kfood.layers.bag import WordBag
from kfood.layers.features import rest


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam, or AdamW where there is weight decay.

    Attributes:
        learning_rate: step size before any schedule.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        weight_decay: decoupled, per step; 0 = Adam.
        clip_value: bound on each component of the gradient; 0 = none.
        epsilon: what Adam adds to the root of the second moment.
        schedule: how the learning rate moves over the epochs: ``"constant"``; ``"step"``: times ``factor`` every
            ``period`` epochs; ``"cosine"``: down to 0 at the last epoch; ``"plateau"``: times ``factor`` after
            ``period`` epochs without a better validation score.
        period: see ``schedule``.
        factor: see ``schedule``.
        warmup_epochs: epochs over which the learning rate first rises linearly.
    """

    learning_rate: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    weight_decay: float = 0.0
    clip_value: float = 0.0
    epsilon: float = 1e-7
    schedule: Literal["constant", "step", "cosine", "plateau"] = "constant"
    period: int = 0
    factor: float = 0.1
    warmup_epochs: int = 0

    def __post_init__(self):
        schedules = ("constant", "step", "cosine", "plateau")
        if self.schedule not in schedules:
            raise ValueError(f"schedule: expected one of {list(schedules)}, received {self.schedule!r}.")
        if self.schedule in ("step", "plateau") and self.period < 1:
            raise ValueError(
                f"period: expected at least 1 epoch with schedule {self.schedule!r}, received {self.period}."
            )

    def build(self, name: str) -> keras.optimizers.Optimizer:
        """A fresh optimizer called ``name``."""
        arguments = {
            "learning_rate": self.learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "clipvalue": self.clip_value or None,
            "epsilon": self.epsilon,
            "name": name,
        }
        if self.weight_decay:
            return keras.optimizers.AdamW(weight_decay=self.weight_decay, **arguments)
        return keras.optimizers.Adam(**arguments)


@dataclasses.dataclass(frozen=True)
class Phase:
    """One player's move in a training step.

    Attributes:
        name: also the name of its optimizer.
        weights: loss name → weight, a number or a variable that moves (MCEN's annealing). These losses, weighted and
            added, are what the phase minimises.
        parts: layers and models whose trainable variables the phase changes; no other variable changes.
        optimizer: its settings.
        together: whether it moves together with the last phase, on the same recorded forward pass and on the same
            losses, weighted its own way (R2GAN's generator); otherwise it is an adversary and moves first.
    """

    name: str
    weights: Mapping[str, Any]
    parts: tuple[keras.layers.Layer, ...]
    optimizer: OptimizerConfig
    together: bool = False

    @property
    def variables(self) -> list:
        """Trainable variables of the parts, each once; a frozen layer has none."""
        return _unique(variable for part in self.parts for variable in part.trainable_variables)

    @property
    def all_variables(self) -> list:
        """Variables that the phase could change if nothing were frozen, each once."""
        return _unique(
            variable
            for part in self.parts
            for layer in part._flatten_layers()
            for variable in layer._trainable_variables
        )


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
    """

    config_class: type
    spec_class: type = schema.RecipeSpec
    encoders: dict[str, keras.Model]
    phases: tuple[Phase, ...]
    distance: str

    def __init__(self, config, spec, **kwargs):
        super().__init__(**kwargs)
        self.config = from_dict(self.config_class, config) if isinstance(config, Mapping) else config
        self.spec = from_dict(self.spec_class, spec) if isinstance(spec, Mapping) else spec
        self.decoders: dict[str, Decoder] = {}
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        self.loss_means: dict[str, keras.metrics.Mean] = {}

    def build(self, input_shape=None):
        """Marks the model as built: its networks are functional and have their variables from the start."""
        distances.by_name(self.distance)
        names = ["loss", *(name for phase in self.phases for name in phase.weights)]
        self.loss_means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    @property
    def embedding_size(self) -> int:
        """Width of an embedding."""
        return int(next(iter(self.encoders.values())).output_shape[-1])

    @property
    def picture_side(self) -> int:
        """Side of the photos that losses look at beside the encoders', pixels; 0: they look at none."""
        return 0

    # What a paper's file answers

    def embed(self, batch: Mapping[str, Any], training: bool) -> dict[str, Any]:
        """A batch of features → every tensor that the losses need, by name."""
        raise NotImplementedError

    def losses_of(self, phase: str, features: Mapping[str, Any], batch: Mapping[str, Any], training: bool) -> dict:
        """The named scalar losses of one adversary, or of the last phase and those that move together with it."""
        raise NotImplementedError

    @property
    def bags(self) -> list[WordBag]:
        """Layers that learn, before training, how rare words are: by :meth:`kfood.layers.bag.WordBag.adapt`."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, WordBag)]

    def begin_epoch(self, epoch: int) -> None:
        """Called by ``fit`` before each epoch, counted from 0: for schedules of a paper's own."""

    def end_epoch(self, epoch: int) -> None:
        """Called by ``fit`` after each epoch, before any callback: for what is solved rather than descended to."""

    # What follows from it

    def compute_losses(self, batch, training: bool = False) -> dict:
        """Every named loss of a batch, adversaries' included, each a scalar and unweighted."""
        features = self.embed(batch, training)
        named: dict = {}
        for phase in [*self._adversaries, self.phases[-1]]:
            named |= self.losses_of(phase.name, features, batch, training)
        return named

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

    def compile(self, optimizers: Mapping[str, keras.optimizers.Optimizer] | None = None, **kwargs):
        """Prepares training.

        Args:
            optimizers: phase name → optimizer, where they shall differ from the config's.
            **kwargs: ``run_eagerly``, ``jit_compile``, ``steps_per_execution`` as in ``keras.Model.compile``.

        Raises:
            ValueError: an optimizer for a phase that does not exist.
        """
        given = dict(optimizers or {})
        unknown = sorted(set(given) - {phase.name for phase in self.phases})
        if unknown:
            raise ValueError(
                f"optimizers: expected phases among {[phase.name for phase in self.phases]}, received {unknown}."
            )
        mixed = keras.config.dtype_policy().name == "mixed_float16"
        made = {}
        for phase in self.phases:
            optimizer = given.get(phase.name) or phase.optimizer.build(phase.name)
            if mixed and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            if not optimizer.built:
                optimizer.build(phase.all_variables)
            made[phase.name] = optimizer
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=made[self.phases[-1].name], auto_scale_loss=False, **kwargs)
        self.optimizers = made

    def get_compile_config(self):
        """Optimizers by phase, and how the step is run."""
        return {
            "optimizers": {name: keras.saving.serialize_keras_object(o) for name, o in self.optimizers.items()},
            "jit_compile": self.jit_compile,
            "run_eagerly": self.run_eagerly,
        }

    def compile_from_config(self, config):
        """The reverse of :meth:`get_compile_config`; the optimizers are built on their own phases' variables."""
        optimizers = {name: keras.saving.deserialize_keras_object(o) for name, o in config["optimizers"].items()}
        self.compile(optimizers, jit_compile=config["jit_compile"], run_eagerly=config["run_eagerly"])

    @property
    def metrics(self):
        """Running means of the named losses."""
        return list(self.loss_means.values())

    def fit(self, *args, callbacks=None, **kwargs):
        """As ``keras.Model.fit``, with :meth:`begin_epoch` and :meth:`end_epoch` around each epoch."""
        return super().fit(*args, callbacks=[_Epochs(), *(callbacks or [])], **kwargs)

    def train_step(self, data):
        """Adversaries move first on features without gradient, then the others on the same features."""
        batch = batch_of(data)
        main = self.phases[-1]
        joint = [phase for phase in self.phases if phase.together or phase is main]

        def play(features):
            return [self._move(phase, features, batch) for phase in self._adversaries]

        def objectives(features):
            named = self.losses_of(main.name, features, batch, training=True)
            return [self._scaled(phase, named) for phase in joint], named

        moved, own, gradients = backend.gradients_after(
            lambda: self.embed(batch, training=True), play, objectives, [phase.variables for phase in joint]
        )
        for phase, gradient in zip(joint, gradients, strict=True):
            self.optimizers[phase.name].apply(gradient, phase.variables)
        return self._log([*moved, own])

    def test_step(self, data):
        """The same losses without a move."""
        return self._log([self.compute_losses(batch_of(data), training=False)])

    def get_config(self):
        """Config and spec as plain dicts."""
        return {"config": dataclasses.asdict(self.config), "spec": dataclasses.asdict(self.spec), "name": self.name}

    @property
    def _adversaries(self):
        return [phase for phase in self.phases[:-1] if not phase.together]

    def _move(self, phase, features, batch):
        def objective():
            named = self.losses_of(phase.name, features, batch, training=True)
            return self._scaled(phase, named), named

        named, gradients = backend.gradients(objective, phase.variables)
        self.optimizers[phase.name].apply(gradients, phase.variables)
        return named

    def _scaled(self, phase, named):
        return self.optimizers[phase.name].scale_loss(_weighted(named, phase))

    def _log(self, named):
        values = {name: value for losses in named for name, value in losses.items()}
        for name, value in values.items():
            self.loss_means[name].update_state(value)
        self.loss_means["loss"].update_state(_weighted(values, self.phases[-1]))
        return {name: mean.result() for name, mean in self.loss_means.items()}


class _Epochs(keras.callbacks.Callback):
    """Tells the model where an epoch begins and ends."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.begin_epoch(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.model.end_epoch(epoch)


def _weighted(named, phase):
    return sum((weight * ops.cast(named[name], "float32") for name, weight in phase.weights.items()), start=0.0)


def reading(batch: Mapping[str, Any], network: keras.Model) -> keras.Model:
    """A network, or what follows its backbone where the batch holds the backbone's features of the photos."""
    if schema.IMAGE in network.input and schema.IMAGE_FEATURES in batch:
        return rest(network)
    return network


def run(network: keras.Model, batch: Mapping[str, Any], training: bool) -> Any:
    """What a network makes of the features of a batch that it takes; see :func:`reading`."""
    network = reading(batch, network)
    return network(select(batch, network), training=training)


def select(batch: Mapping[str, Any], network: keras.Model) -> dict[str, Any]:
    """The features of a batch that a network takes."""
    return {name: batch[name] for name in network.input}


def parameters(*networks: Any) -> int:
    """Numbers in the weights of some networks, a shared weight counted once."""
    shapes = {id(variable): variable.shape for network in networks for variable in network.weights}
    return sum(math.prod(shape) for shape in shapes.values())


def check_choices(config: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ValueError, naming the valid ones, where a field of ``config`` is none of its choices."""
    for name, valid in choices.items():
        if getattr(config, name) not in valid:
            raise ValueError(f"{name}: expected one of {list(valid)}, received {getattr(config, name)!r}.")


def reduced(photos, side: int, antialias: bool = True):
    """Photos at a generator's size: float ``[batch, h, h, 3]`` → float ``[batch, side, side, 3]``, values as they are.

    Args:
        photos: square ones.
        side: of a generated picture.
        antialias: for a side that does not divide the photo's; XLA has no antialiased resizing.
    """
    factor, rest = divmod(photos.shape[1], side)
    if rest == 0:
        return ops.average_pool(photos, factor, factor)
    return ops.image.resize(photos, (side, side), antialias=antialias)


def real_pictures(batch: Mapping[str, Any], side: int, antialias: bool):
    """The batch's photos as a generator's: float ``[batch, side, side, 3]`` in [-1, 1].

    Args:
        batch: holds ``image``, in [0, 255].
        side: of a generated picture.
        antialias: see :func:`reduced`.
    """
    return ops.clip(reduced(batch[schema.IMAGE], side, antialias) / 127.5 - 1.0, -1.0, 1.0)


def batch_of(data):
    """The dict of features, from a dataset of dicts or of (dict,) or (dict, target) tuples."""
    return data if isinstance(data, Mapping) else data[0]


def _unique(variables) -> list:
    return list({id(variable): variable for variable in variables}.values())


def from_dict(cls, values: Mapping[str, Any], path: str = ""):
    """A dict, possibly nested and from JSON → the frozen dataclass ``cls``.

    Raises:
        ValueError: an unknown key, or a value of another type than the field's default; it names the valid ones.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"Unknown setting {path}{unknown[0]}; valid: {', '.join(fields)}.")
    made: dict[str, Any] = {}
    for name, value in values.items():
        default = _default(fields[name])
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            made[name] = from_dict(type(default), value, f"{path}{name}.")
        else:
            made[name] = _checked(value, default, path + name)
    return cls(**made)


def replace(config, path: str, value: Any):
    """``config`` with the field at the dotted ``path`` replaced.

    Args:
        config: frozen dataclass.
        path: e.g. ``"image_encoder.weights"``.
        value: a value of the field's type, or its text.

    Raises:
        ValueError: no such field, or a text that is no such value.
    """
    head, _, rest = path.partition(".")
    names = [field.name for field in dataclasses.fields(config)]
    if head not in names:
        raise ValueError(f"Unknown setting {path}; valid: {', '.join(names)}.")
    old = getattr(config, head)
    if dataclasses.is_dataclass(old):
        if not rest:
            inner = ", ".join(f"{head}.{field.name}" for field in dataclasses.fields(old))
            raise ValueError(f"Setting {path} is a group; valid: {inner}.")
        return dataclasses.replace(config, **{head: replace(old, rest, value)})
    return dataclasses.replace(config, **{head: _checked(value, old, path)})


def _default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _checked(value, default, path):
    expected = type(default)
    try:
        if expected is tuple:
            items = value.split(",") if isinstance(value, str) else value
            item = type(default[0]) if default else str
            return tuple(item(part) for part in items if part != "")
        if expected is bool:
            known = {"true": True, "false": False, True: True, False: False}
            return known[value.lower() if isinstance(value, str) else value]
        if expected is int and isinstance(value, float):
            raise ValueError
        if expected in (int, float, str):
            return expected(value)
        if isinstance(value, str):  # a field that is off by default, e.g. a pair of numbers
            value = json.loads(f"[{value}]") if "," in value else json.loads(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"Setting {path}: expected {expected.__name__}, received {value!r}.") from error
    return tuple(value) if isinstance(value, list) else value
