r"""The two-tower model: what to try first on recipes with photos.

Radford, Kim, Hallacy et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021 (CLIP);
with ``loss="sigmoid"`` Zhai, Mustafa, Kolesnikov, Beyer, Sigmoid Loss for Language Image Pre-Training, ICCV 2023
(SigLIP). Encoders and training are the baselines' (:class:`kfood.models.baselines.JointEmbedding`).

========================================  ========================================================
loss                                      function
========================================  ========================================================
cross-entropy over the batch's cosines    :func:`~kfood.losses.ranking.symmetric_cross_entropy`
or, loss = "sigmoid": pair or no pair     :func:`~kfood.losses.ranking.pairwise_sigmoid`
========================================  ========================================================

Where it departs from these papers: photos of one recipe in a batch are no negatives of it, and with ``equal_titles`` a
photo is no negative of another recipe of its title either.
"""

import dataclasses
from typing import Literal

import keras
from keras import ops

from kfood import distances, schema
from kfood.losses import ranking
from kfood.models.baselines import JointEmbedding, JointEmbeddingConfig
from kfood.settings import check_choices

_CONTRASTIVE = {"softmax": ranking.symmetric_cross_entropy, "sigmoid": ranking.pairwise_sigmoid}
"""The two-tower model's losses: logits, who belongs together and further negatives → a scalar."""


@dataclasses.dataclass(frozen=True)
class TwoTowerConfig(JointEmbeddingConfig):
    """Settings of the two-tower model beside the common ones.

    Attributes:
        loss: ``"softmax"`` of Radford et al. 2021, or ``"sigmoid"`` of Zhai et al. 2023.
        temperature: at the start; it is learned (0.07; with the sigmoid 0.1 in its paper).
        bias: of the sigmoid's logits at the start; it is learned (-10: at first all are taken for no pair).
        equal_titles: whether recipes of one title count as one recipe, so that neither is a wrong answer for the
            other's photo; items of one recipe have one title. Titles are compared as far as the spec reads them; one
            without a word, or with an unknown one, is equal to none.
    """

    loss: Literal["softmax", "sigmoid"] = "softmax"
    temperature: float = 0.07
    bias: float = -10.0
    equal_titles: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, {"loss": tuple(_CONTRASTIVE)})
        if not self.temperature > 0:
            raise ValueError(f"temperature: expected a positive number, received {self.temperature}.")


@keras.saving.register_keras_serializable("kfood")
class TwoTower(JointEmbedding):
    """A contrastive loss of the batch's cosines with a learned temperature (Radford et al. 2021, Figure 3).

    Or, with ``loss="sigmoid"``, also a learned bias (Zhai et al. 2023, section 3.2).

    Args:
        config: :class:`TwoTowerConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.

    Raises:
        ValueError: ``equal_titles`` with a spec that reads no titles.
    """

    config_class = TwoTowerConfig

    def __init__(self, config=TwoTowerConfig(), spec=schema.RecipeSpec(), name="two_tower", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)
        if self.config.equal_titles and not self.spec.title_words:
            raise ValueError(
                "equal_titles: expected false for a spec that reads no titles, received true; set spec.title_words."
            )

    def recipes(self, batch, embeddings):
        """Numbers of recipes, or with ``equal_titles`` of their titles where these are known: int64 ``[batch]``."""
        recipes = super().recipes(batch, embeddings)
        if not self.config.equal_titles:
            return recipes
        titles = title_numbers(batch[schema.TITLE])
        return ops.where(titles == _NO_TITLE, recipes, titles)

    def _terms(self):
        bias = self.config.bias if self.config.loss == "sigmoid" else None
        self.temperature = Temperature(self.config.temperature, bias, dtype="float32", name="temperature")
        self.temperature.build()
        return {"contrastive": 1.0}, (self.temperature,)

    def losses_of(self, phase, features, batch, training):
        """``contrastive``."""
        cosines = 1.0 - distances.cosine(features["image"], features["recipe"])
        return {
            "contrastive": _CONTRASTIVE[self.config.loss](
                self.temperature(cosines),
                self.alike(batch, features["image"]),
                self.others(features, training, self.temperature),
            )
        }


_NO_TITLE = 0
_FACTOR = 1_000_003
"""A prime above any vocabulary's size; with it numbers of other titles than short ones are as good as random."""


def title_numbers(words):
    """A number for each title, equal for equal titles.

    Args:
        words: int ``[batch, title_words]``, 0 = padding, 1 = unknown.

    Returns:
        int64 ``[batch]``: the words' ids as digits, modulo 2^64 (with JAX, which has no int64 by default, 2^32); 0 for
        a title without a word, or with an unknown one, which may be any word.
    """
    numbers = ops.zeros_like(words[:, 0], dtype="int64")
    for place in range(words.shape[1]):
        numbers = numbers * _FACTOR + ops.cast(words[:, place], "int64")
    told = ops.logical_and(ops.any(words != schema.PADDING_ID, axis=1), ops.all(words != schema.UNKNOWN_ID, axis=1))
    return ops.where(told, numbers, _NO_TITLE)


@keras.saving.register_keras_serializable("kfood")
class Temperature(keras.layers.Layer):
    """Divides similarities by a learned temperature, which is held at 0.01 at least (Radford et al. 2021, section 2.5).

    Args:
        start: temperature before training.
        bias: what is added then, before training; it is learned (Zhai et al. 2023). None: nothing is added.
    """

    def __init__(self, start, bias=None, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.bias = bias

    def build(self, shape=None):
        """The temperature's logarithm is what is learned."""
        start = keras.initializers.Constant(-float(ops.log(self.start)))
        self.log_scale = self.add_weight(shape=(), initializer=start, name="log_scale")
        if self.bias is not None:
            self.added = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.bias), name="bias")
        self.built = True

    def call(self, similarities):
        """Float of any shape to the same."""
        scaled = similarities * ops.exp(ops.minimum(self.log_scale, ops.log(100.0)))
        return scaled if self.bias is None else scaled + self.added

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"start": self.start, "bias": self.bias}
