"""Every metric-learning loss by name, as a ``keras.losses.Loss``, with the layers that hold what some of them learn.

Each loss is a pure function ``loss(embeddings, labels, …)`` in :mod:`~kfood.losses.pairs`,
:mod:`~kfood.losses.proxies` or :mod:`~kfood.losses.listwise`; :class:`MetricLoss` makes any of them a Keras loss:

    model.compile("adam", MetricLoss("margin", miner="distance_weighted", alpha=0.2, gao=True))

Losses that learn something of their own take it from a layer through which the embeddings pass unchanged, so that the
model trains and saves it:

    proxies = Proxies(classes=70)
    model = keras.Model(images, proxies(embeddings))
    model.compile("adam", MetricLoss("proxy_nca", proxies))

docs/losses.md shows more, in scripts that run.
"""

import inspect
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kfood import backend, miners
from kfood.losses import listwise, pairs, proxies

LOSSES: dict[str, Callable[..., Any]] = {
    "contrastive": pairs.contrastive,
    "triplet": pairs.triplet,
    "semi_hard_triplet": pairs.semi_hard_triplet,
    "n_pair": pairs.n_pair,
    "histogram": pairs.histogram,
    "margin": pairs.margin,
    "lifted_structure": pairs.lifted_structure,
    "circle": pairs.circle,
    "multi_similarity": pairs.multi_similarity,
    "normalised_softmax": proxies.normalised_softmax,
    "proxy_nca": proxies.proxy_nca,
    "proxy_anchor": proxies.proxy_anchor,
    "soft_triple": proxies.soft_triple,
    "proxy_synthesis": proxies.proxy_synthesis,
    "smooth_ap": listwise.smooth_ap,
    "pnp": listwise.pnp,
}
"""Name → function (embeddings, labels, what is learnt if anything, options)."""

WITH_OTHERS = tuple(name for name, loss in LOSSES.items() if "others" in inspect.signature(loss).parameters)
"""Those that compare each item of a batch with a gallery, in which items of earlier batches may stand. N-pair and the
lifted structure would compare these with each other too; with proxies no two items are compared."""

_LEARNT = ("boundaries", "proxies", "centres")


class _Learnt(keras.layers.Layer):
    """Holds what a loss learns of each class; embeddings pass through unchanged.

    What is stored is the value over ``rate``: an optimizer whose steps do not depend on the gradient's size, as Adam's,
    so moves the value ``rate`` times as fast as the rest of the model.
    """

    def __init__(self, classes, rate=1.0, **kwargs):
        super().__init__(**kwargs)
        for name, given in (("classes", classes), ("rate", rate)):
            if not given > 0:
                raise ValueError(f"{name}: expected a number above 0, received {given!r}.")
        self.classes = classes
        self.rate = rate

    @property
    def value(self):
        """What the loss takes, float ``[classes, …]``, once the layer is built: the variable ``stored`` times rate."""
        return ops.convert_to_tensor(self.stored) * self.rate

    def call(self, inputs):
        """Returns ``inputs``."""
        return inputs

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "classes": self.classes, "rate": self.rate}


@keras.saving.register_keras_serializable("kfood")
class Proxies(_Learnt):
    """Holds vectors for each class; embeddings pass through unchanged.

    Args:
        classes: number of training classes.
        centres: vectors a class, for ``soft_triple``; None: one, as all other losses want it.
        rate: how many times as fast as the model's other weights they move, by Adam or its like.

    Attributes:
        value: float ``[classes, d]`` or ``[classes, centres, d]``, once built: the variable ``stored`` times ``rate``.
    """

    def __init__(self, classes, centres=None, rate=1.0, **kwargs):
        super().__init__(classes, rate, **kwargs)
        self.centres = centres
        self.holds = "centres" if centres else "proxies"

    def build(self, input_shape):
        """Makes the vectors: normal, so that their directions are spread evenly."""
        shape = (self.classes, *([self.centres] if self.centres else []), input_shape[-1])
        normal = keras.initializers.RandomNormal(stddev=input_shape[-1] ** -0.5 / self.rate)
        self.stored = self.add_weight(shape=shape, initializer=normal, name="proxies")

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "centres": self.centres}


@keras.saving.register_keras_serializable("kfood")
class Boundaries(_Learnt):
    """Holds the margin loss's β for each class; embeddings pass through unchanged.

    Args:
        classes: number of training classes.
        initial: β at the start; 1.2 as released. With GAO by Eq. 8 another one:
            :func:`kfood.losses.pairs.first_boundary`.
        rate: how many times as fast as the model's other weights β moves, by Adam or its like (released code: 500).

    Attributes:
        value: float ``[classes]``, once built: the variable ``stored`` times ``rate``.
    """

    holds = "boundaries"

    def __init__(self, classes, initial=1.2, rate=1.0, **kwargs):
        super().__init__(classes, rate, **kwargs)
        self.initial = initial

    def build(self, input_shape):
        """Makes the boundaries."""
        constant = keras.initializers.Constant(self.initial / self.rate)
        self.stored = self.add_weight(shape=(self.classes,), initializer=constant, name="boundaries")

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable("kfood")
class MetricLoss(keras.losses.Loss):
    """Any loss of :data:`LOSSES` over a batch: ``MetricLoss(…)(labels, embeddings)``.

    Args:
        loss: its name.
        learnt: for ``soft_triple`` a :class:`Proxies` layer with centres, for the other proxy losses one without, for
            ``margin`` a :class:`Boundaries` one or None (β fixed: ``boundaries=…``, or where it would start). A saved
            model holds it, a saved loss does not: after loading, compile with a new loss on the loaded layer.
        miner: a name of :data:`kfood.miners.MINERS`, or a function (embeddings, labels, seed) →
            :class:`kfood.miners.Tuples`, for the losses that take tuples; None: every pair.
        miner_options: keyword arguments of the miner, e.g. ``{"cutoff": 0.4}`` of ``"distance_weighted"``.
        alpha: share of the miner's tuples that α-sampling alters (Eq. 1 to 3), None: 0; of ``pnp``,
            ``multi_similarity`` and ``proxy_synthesis``, which take no tuples, their own α.
        easy_first: which ones; see :func:`kfood.miners.alpha_sampling`.
        seed: int, or a ``keras.random.SeedGenerator`` that the model saves, for miners, α-sampling and proxy
            synthesis; None: Keras' global one. JAX needs a generator that the model tracks
            (``model.draws = keras.random.SeedGenerator(0)``): of any other, a compiled step would repeat one draw.
        name: of the loss in logs.
        **options: of the function.

    Raises:
        ValueError: an unknown loss, miner or option, or one that this loss does not take; a layer of another kind; a β
            from which Eq. 8 does not learn (:func:`kfood.losses.pairs.learns_by_eq_8`).
    """

    def __init__(
        self,
        loss,
        learnt=None,
        *,
        miner=None,
        miner_options=None,
        alpha=None,
        easy_first=True,
        seed=None,
        name=None,
        **options,
    ):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {sorted(LOSSES)}, received {loss!r}.")
        super().__init__(name=name or loss)
        taken = inspect.signature(LOSSES[loss]).parameters
        self._wants = next((name for name in taken if name in _LEARNT), "")
        self._needs_learnt = bool(self._wants) and taken[self._wants].default is inspect.Parameter.empty
        self._random = "seed" in taken
        self._own_alpha = "alpha" in taken
        if self._own_alpha and alpha is not None:
            options["alpha"] = alpha
        self.alpha = 0.0 if self._own_alpha or alpha is None else alpha
        self.loss, self.learnt, self.easy_first, self.options = loss, learnt, easy_first, options
        self.miner, self.miner_options = miner, dict(miner_options or {})
        self.seed = int(seed) if isinstance(seed, numbers.Integral) else seed
        self._check_learnt()
        self._check_options(taken)
        self._check_miner(taken)
        self._check_boundary()
        self._try()
        draws = self._random or miner is not None
        if keras.backend.backend() == "jax" and draws and not isinstance(seed, keras.random.SeedGenerator):
            raise ValueError(
                "seed: expected, with JAX, a keras.random.SeedGenerator that the model tracks, e.g. "
                f"model.draws = keras.random.SeedGenerator(0), received {seed!r}: a compiled "
                "step would repeat one draw."
            )
        self._generator = keras.random.SeedGenerator(self.seed) if isinstance(self.seed, int) else self.seed

    def call(self, y_true, y_pred, others=None):
        """The loss of labels int ``[n]`` and embeddings ``[n, d]``, a float scalar; others as of a call."""
        options = dict(self.options)
        beside = {} if others is None else {"others": others}
        if others is not None and self.loss not in WITH_OTHERS:
            raise ValueError(f"others: expected a loss of {sorted(WITH_OTHERS)}, received {self.loss!r}.")
        if self.miner is not None:
            mine = miners.MINERS[self.miner] if isinstance(self.miner, str) else self.miner
            tuples = mine(y_pred, y_true, self._generator, **self.miner_options, **beside)
            if self.alpha:
                items = miners.gallery(y_pred, y_true, others).embeddings
                tuples = miners.alpha_sampling(
                    tuples, items, self.alpha, easy_first=self.easy_first, seed=self._generator
                )
            options["tuples"] = tuples
        if self._random:
            options["seed"] = self._generator
        if self.learnt is not None:
            y_true = self._known(y_true)
            options[self._wants] = self.learnt.value
        elif self._needs_learnt:
            raise ValueError(
                f"learnt: expected the layer that holds the {self._wants} of {self.loss!r}, received none; a loss is "
                "saved without it: compile a loaded model again, with a new loss on the layer of that model."
            )
        return LOSSES[self.loss](y_pred, y_true, **options, **beside)

    def __call__(self, y_true, y_pred, sample_weight=None, others=None):
        """As any Keras loss; it has no terms of single items that could be weighted.

        Args:
            y_true: int ``[n]`` or ``[n, 1]``, of any integer type; whole numbers as float are taken as such.
            y_pred: float ``[n, d]``.
            sample_weight: None.
            others: :class:`kfood.miners.Others`, of the losses in :data:`WITH_OTHERS`; a miner of one's own then takes
                it too.

        Raises:
            ValueError: weights, others that the loss does not take, or labels that are text, one-hot or as many as no
                embeddings.
        """
        if sample_weight is not None:
            raise ValueError(
                f"Loss {self.loss!r} compares the items of a batch: expected no sample_weight, and in fit no "
                "class_weight, of which Keras makes one."
            )
        embeddings = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        # Not Keras' own __call__, which makes floats of labels: from 2^24 on several ids would be one.
        with keras.name_scope(self.name):
            return self.call(_labels(y_true, embeddings.shape), embeddings, others)

    def get_config(self):
        """Arguments of the constructor, but for ``learnt`` only whether there was any."""
        own = {key: getattr(self, key) for key in ("loss", "easy_first", "seed", "name")}
        own["alpha"] = None if self._own_alpha else self.alpha
        miner = self.miner if isinstance(self.miner, str | None) else keras.saving.serialize_keras_object(self.miner)
        learnt = self._needs_learnt or self.learnt is not None
        return {**own, "miner": miner, "miner_options": self.miner_options, "learnt": learnt, **self.options}

    @classmethod
    def from_config(cls, config):
        """A loss that lacks ``learnt`` and says so when called, where the one that was saved had it."""
        config = dict(config)
        learnt = config.pop("learnt", False)
        if isinstance(config.get("miner"), dict):
            config["miner"] = keras.saving.deserialize_keras_object(config["miner"])
        loss = cls(**config)
        loss._needs_learnt = loss._needs_learnt or learnt
        return loss

    def _known(self, labels):
        """The labels; refuses a layer that holds nothing yet, and labels of which it holds nothing."""
        if not self.learnt.built:
            raise ValueError(
                f"learnt: expected a layer that the model's embeddings pass through, model = keras.Model(inputs, "
                f"layer(embeddings)), received {self.learnt.name!r}, which is not built."
            )
        ends = ops.min(labels), ops.max(labels)
        return backend.checked(
            labels,
            ops.logical_and(ends[0] >= 0, ends[1] < self.learnt.classes),
            f"labels: expected class ids from 0 to {self.learnt.classes - 1}, for layer {self.learnt.name!r} holds the "
            f"{self._wants} of {self.learnt.classes} classes, received some from, to:",
            ends,
        )

    def _check_learnt(self):
        if self.learnt is None:
            return
        if not self._wants:
            raise ValueError(f"learnt: expected none, for loss {self.loss!r} learns nothing, received {self.learnt!r}.")
        if getattr(self.learnt, "holds", None) != self._wants:
            layers = {"boundaries": "Boundaries(n)", "proxies": "Proxies(n)", "centres": "Proxies(n, centres=k)"}
            raise ValueError(
                f"learnt: expected a layer {layers[self._wants]} for loss {self.loss!r}, received {self.learnt!r}"
                + (f" with {self.learnt.holds}." if hasattr(self.learnt, "holds") else ".")
            )

    def _check_options(self, taken):
        valid = {*list(taken)[2:]} - {"proxies", "centres", "tuples", "seed", "mixture", "others"}
        for key in self.options:
            if key not in valid:
                raise ValueError(f"Loss {self.loss!r}: expected options of {sorted(valid)}, received {key!r}.")
        fixed = self.options.get("boundaries")
        if fixed is not None and (self.learnt is not None or not isinstance(fixed, numbers.Real)):
            raise ValueError(
                f"boundaries: expected one number, a β that is not learnt, and no layer beside it, received {fixed!r}."
            )

    def _check_miner(self, taken):
        if self.miner is None:
            for name in ("alpha", "miner_options"):
                if getattr(self, name):
                    raise ValueError(f"{name}: expected none without a miner, received {getattr(self, name)!r}.")
            return
        if not callable(self.miner):
            miners.by_name(self.miner)
        if "tuples" not in taken:
            raise ValueError(f"miner: expected none, for loss {self.loss!r} takes no tuples, received {self.miner!r}.")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha: expected a share from 0 to 1, received {self.alpha!r}.")
        if isinstance(self.miner, str):
            valid = sorted(
                set(inspect.signature(miners.MINERS[self.miner]).parameters)
                - {"embeddings", "labels", "seed", "others"}
            )
            for key in self.miner_options:
                if key not in valid:
                    raise ValueError(f"miner_options: expected options of {self.miner!r}, {valid}, received {key!r}.")

    def _check_boundary(self):
        """Refuses a β from which Eq. 8 pulls no positive that is nearer than two random vectors are."""
        if self.loss != "margin" or self.options.get("gao") is not True:
            return
        margin = self.options.get("margin", 0.2)
        start = self.options.get("boundaries") if self.learnt is None else self.learnt.initial
        if start is not None and not pairs.learns_by_eq_8(start, margin):
            raise ValueError(
                f"boundaries: expected, with gao=True, a start below {pairs.first_boundary(True):.2f} or so, "
                f"kfood.losses.pairs.first_boundary(gao=True), received {start!r}: Eq. 8 compares it with "
                "log(1 + distance), and hardly anything would be learnt."
            )

    def _try(self):
        """The loss of two items, so that the function itself refuses what it cannot take before any training."""
        options = {**self.options}
        items = ops.eye(2)
        learnt = {"boundaries": None, "proxies": items, "centres": ops.stack([items, items])}
        if self._wants:
            options.setdefault(self._wants, learnt[self._wants])
        if self._random:
            options["mixture"] = (0.5, ops.arange(2, dtype="int32"))
        rows = ops.arange(2, dtype="int32")
        if self.miner is not None:
            options["tuples"] = miners.Tuples(rows, rows, rows, ops.ones(2))
        LOSSES[self.loss](items, rows, **options)


def _labels(labels, embeddings_shape):
    """As int32 or int64 ``[n]``; refuses what is no class id an embedding."""
    labels = labels if hasattr(labels, "dtype") else np.asarray(labels)
    if any(text in str(labels.dtype) for text in ("str", "<U", "|S", "object")):
        raise ValueError(
            f"labels: expected class ids, integers, received {labels.dtype}; number them, e.g. by "
            "np.unique(names, return_inverse=True)[1]."
        )
    labels = ops.convert_to_tensor(labels)
    shape, count = tuple(labels.shape), embeddings_shape[0]
    if len(shape) > 2 or (len(shape) == 2 and shape[1] not in (1, None)):
        raise ValueError(
            f"labels: expected class ids [n] or [n, 1], received {list(shape)}; of one-hot rows take np.argmax(…, 1)."
        )
    if len(shape) == 0 or (None not in (count, shape[0]) and shape[0] != count):
        raise ValueError(f"labels: expected {count} class ids, one an embedding, received {list(shape)}.")
    wide = keras.backend.standardize_dtype(labels.dtype) in ("int64", "uint32", "uint64")
    return ops.cast(ops.reshape(labels, (-1,)), "int64" if wide else "int32")
