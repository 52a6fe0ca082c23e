"""Every metric-learning loss by name, as a ``keras.losses.Loss``, with the layers that hold what some of them learn.

Each loss is a pure function ``loss(embeddings, labels, …)`` in :mod:`~kfood.losses.pairs`,
:mod:`~kfood.losses.proxies` or :mod:`~kfood.losses.listwise`; :class:`MetricLoss` makes any of them a Keras loss:

    model.compile("adam", MetricLoss("margin", miner="distance_weighted", alpha=0.2, gao=True))

Losses that learn something of their own take it from a layer through which the embeddings pass unchanged, so that the
model trains and saves it:

    proxies = Proxies(classes=70)
    model = keras.Model(images, proxies(embeddings))
    model.compile("adam", MetricLoss("proxy_nca", proxies))
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kfood import miners
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

_LEARNT = ("boundaries", "proxies", "centres")


@keras.saving.register_keras_serializable("kfood")
class Proxies(keras.layers.Layer):
    """Holds vectors for each class; embeddings pass through unchanged.

    Args:
        classes: number of training classes.
        centres: vectors a class; None: one, as all losses but ``soft_triple`` want it.

    Attributes:
        value: variable float ``[classes, d]`` or ``[classes, centres, d]``, once built.
    """

    def __init__(self, classes, centres=None, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.centres = centres

    def build(self, input_shape):
        """Makes the vectors: normal, so that their directions are spread evenly."""
        shape = (self.classes, *([self.centres] if self.centres else []), input_shape[-1])
        deviation = input_shape[-1] ** -0.5
        self.value = self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(stddev=deviation), name="proxies"
        )

    def call(self, inputs):
        """Returns ``inputs``."""
        return inputs

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "classes": self.classes, "centres": self.centres}


@keras.saving.register_keras_serializable("kfood")
class Boundaries(keras.layers.Layer):
    """Holds the margin loss's β for each class; embeddings pass through unchanged.

    Args:
        classes: number of training classes.
        initial: β at the start; 1.2 as released. With GAO by Eq. 8 another one:
            :func:`kfood.losses.pairs.first_boundary`.

    Attributes:
        value: variable float ``[classes]``, once built.
    """

    def __init__(self, classes, initial=1.2, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.initial = initial

    def build(self, input_shape):
        """Makes the boundaries."""
        self.value = self.add_weight(
            shape=(self.classes,), initializer=keras.initializers.Constant(self.initial), name="boundaries"
        )

    def call(self, inputs):
        """Returns ``inputs``."""
        return inputs

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "classes": self.classes, "initial": self.initial}


@keras.saving.register_keras_serializable("kfood")
class MetricLoss(keras.losses.Loss):
    """Any loss of :data:`LOSSES` over a batch: ``MetricLoss(…)(labels, embeddings)``.

    Args:
        loss: its name.
        learnt: for the proxy losses a :class:`Proxies` layer, for ``margin`` a :class:`Boundaries` one or None (β
            fixed where it would start). A saved model holds it, a saved loss does not: after loading, compile with a
            new loss on the loaded layer.
        miner: a name of :data:`kfood.miners.MINERS`, for the losses that take tuples; None: every pair.
        alpha: share of the miner's tuples that α-sampling alters (Eq. 1 to 3).
        easy_first: which ones; see :func:`kfood.miners.alpha_sampling`.
        seed: int, or a ``keras.random.SeedGenerator`` that the model saves, for miners, α-sampling and proxy
            synthesis; None: Keras' global one.
        name: of the loss in logs.
        **options: of the function.

    Raises:
        ValueError: an unknown loss, miner or option, or one that this loss does not take.
    """

    def __init__(self, loss, learnt=None, *, miner=None, alpha=0.0, easy_first=True, seed=None, name=None, **options):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {sorted(LOSSES)}, received {loss!r}.")
        super().__init__(name=name or loss, reduction="sum")  # of a scalar
        taken = list(inspect.signature(LOSSES[loss]).parameters.values())
        self._wants = next((p.name for p in taken if p.name in _LEARNT), "")
        self._needs_learnt = any(p.name in _LEARNT and p.default is p.empty for p in taken)
        self._random = any(p.name == "seed" for p in taken)
        valid = {p.name for p in taken[2:]} - {*_LEARNT, "tuples", "seed", "mixture"}
        for key in options:
            if key not in valid:
                raise ValueError(f"Loss {loss!r}: expected options of {sorted(valid)}, received {key!r}.")
        if miner is not None:
            miners.by_name(miner)
            if not any(p.name == "tuples" for p in taken):
                raise ValueError(f"miner: expected none, for loss {loss!r} takes no tuples, received {miner!r}.")
        if alpha and miner is None:
            raise ValueError(f"alpha: expected 0 without a miner, received {alpha!r}.")
        if learnt is not None and not self._wants:
            raise ValueError(f"learnt: expected none, for loss {loss!r} learns nothing, received {learnt!r}.")
        self.loss, self.learnt, self.miner, self.alpha = loss, learnt, miner, alpha
        self.easy_first, self.seed, self.options = easy_first, seed, options
        self._generator = keras.random.SeedGenerator(seed) if isinstance(seed, int) else seed

    def call(self, y_true, y_pred):
        """The loss of labels ``[n]`` or ``[n, 1]`` and embeddings ``[n, d]``, a float scalar."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        options = dict(self.options)
        if self.miner is not None:
            tuples = miners.MINERS[self.miner](y_pred, labels, self._generator)
            if self.alpha:
                tuples = miners.alpha_sampling(
                    tuples, y_pred, self.alpha, easy_first=self.easy_first, seed=self._generator
                )
            options["tuples"] = tuples
        if self._random:
            options["seed"] = self._generator
        if self.learnt is not None:
            options[self._wants] = ops.convert_to_tensor(self.learnt.value)
        elif self._needs_learnt:
            raise ValueError(
                f"learnt: expected the layer that holds the {self._wants} of {self.loss!r}, received none."
            )
        return LOSSES[self.loss](y_pred, labels, **options)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As any Keras loss; it has no terms of single items that could be weighted."""
        if sample_weight is not None:
            raise ValueError(f"Loss {self.loss!r} compares the items of a batch: expected no sample_weight.")
        return super().__call__(y_true, y_pred)

    def get_config(self):
        """Arguments of the constructor but ``learnt``."""
        own = {key: getattr(self, key) for key in ("loss", "miner", "alpha", "easy_first", "seed", "name")}
        return {**own, **self.options}
