r"""α-Sampling and Gradient-Adaptive Optimization: food images on unseen classes (Song et al. 2023).

Jiajun Song, Zhuo Li, Weiqing Min and Shuqiang Jiang, "Towards Food Image Retrieval via Generalization-Oriented Sampling
and Loss Function Design", ACM Trans. Multimedia Comput. Commun. Appl. 2023, doi 10.1145/3600095; released code:
github.com/Jiajun-ISIA/Generalization-oriented-Sampling-and-Loss.

==========  ====================================  ======================================
symbol      here                                  shape
==========  ====================================  ======================================
x           feature ``image``                     ``[batch, side, side, 3]`` in [0, 255]
f(x)        feature ``embedding``                 ``[batch, 128]``, L2-normalised
α           ``config.alpha``                      share of altered tuples
λ           ``config.metric_weight``              weight of L_d in Eq. 9
β           layer ``learnt``                      ``[classes]``, of the margin loss
==========  ====================================  ======================================

===========  =========================================  ==========================================================
equation     what                                       function
===========  =========================================  ==========================================================
1, 3         α-sampling: (a, p, n) → (a, a, p)          :func:`kfood.miners.alpha_sampling`
2            distance-weighted negatives                :func:`kfood.miners.distance_weighted`
4, 6         contrastive loss with GAO                  :func:`kfood.losses.pairs.contrastive`
8            margin loss with GAO                       :func:`kfood.losses.pairs.margin`
9            L = λ L_d + (1 - λ) L_c                    the weights of the phase ``encoders``
===========  =========================================  ==========================================================

Columns of metrics.csv: ``metric`` (L_d) and ``classification`` (L_c), without weights, and ``loss`` (L of Eq. 9).

Where the text leaves open or the released code departs from it:

- L_c is a softmax classifier on the embedding before it is normalised: so the embedding learns from it. The released
  code (``tokens="as_released"``, with a ViT) reads it from the patches' tokens: their mean through the same head as the
  class token, which L_d sees; and compares at test ``0.1 f_class + 0.9 f_patch``. There L_c reads a normalised vector,
  and its settings name a temperature of 0.05: as far as can be seen a softmax of cosines
  (``classification="normalised_softmax"``).
- Eq. 3 prefers easy tuples; the released code alters any (``easy_first=False``).
- GAO by Eq. 6 and 8 or as released (``gao``). Eq. 8 compares ``log(1 + d_ap)`` with a β of 1.2, its start as released,
  and so pulls a positive only from 1.72 on, farther than random embeddings lie apart: hardly anything is learnt. There
  β starts at ``log(1 + 1.2)`` (``boundary``; a start that does not learn is refused); see
  :func:`kfood.losses.pairs.margin`.
- The margin loss is divided by the number of its terms above 0 (Wu et al. 2017); the released code divides it by the
  number of tuples with such a term, with GAO or without: up to twice as much beside L_c
  (``loss_options=mean=active_tuples``, and with ``gao="as_released"`` of itself).
- β has a learning rate of its own (released: 5e-4), and so have proxies and centres: they are a phase that moves
  together with the rest.
- The losses beside it have the settings of the papers that proposed them; the released ``parameters.py`` others.
- A batch's classes are drawn without repetition (section 4.3: "randomly sample k classes"), and a class's photos come
  all before one comes again; the released code draws both with repetition (``--set spec.repetition=true``).
- A photo is resized to a short side of 256 ("to 256×256", section 4.3), so that its proportions stay, then cropped to
  224 and, in training, half of them mirrored, as there; the released code's default in training is a crop of random
  area and aspect (``training.augmentation.crop_area`` and ``crop_aspect``).
- The text does not say for how many epochs; here 100, the released code's default; its README's command has 150
  (``training.epochs=150``).
- A tenth of the training classes' photos is held out (``kfood prepare labelled --val-share``), and the best epoch is
  chosen on them; the released code trains on all and keeps the epoch that is best on the test classes. So the paper's
  very split cannot be trained on, and its figures are chosen where they are measured.
- MAP@C and NMI follow the text; the released code's rules, by which the published figures were made, differ
  (:mod:`kfood.evaluation.retrieval`; ``kfood evaluate --as-released``). Its NMI also clusters the mixture of tokens as
  it is; here an embedding has norm 1 before it is measured.

Every row of the paper's tables is there once more with ``+as_released``: the released code's settings of loss, sampling
and GAO and the learning rate of what the loss learns (:mod:`kfood.configs.alpha_gao`); ``as_released`` is
``margin+alpha+gao+softmax+as_released``. Add ``--set spec.repetition=true``, with a ViT ``--set tokens=as_released``.
What stays different from the released code: weight decay is decoupled (AdamW) and not added to the gradient; L_c's
class vectors have the network's learning rate, not 1e-5; Smooth-AP and PNP leave the anchor out of its own positives,
which there is among them; and its penalties on the norm in N-pair and lifted structure, of 0.005, are left out: its
embeddings are normalised, so that they are constants.
"""

import dataclasses
import inspect
import json
from typing import Literal

import keras
from keras import ops

from kfood import miners, schema
from kfood.layers.image import ImageEncoderConfig, backbone
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.memory import LabelledMemory, check_memory, check_remembered
from kfood.layers.outputs import UnitLength
from kfood.layers.pooling import class_token, pool
from kfood.losses import metric_learning, pairs, proxies
from kfood.losses.metric_learning import MetricLoss
from kfood.models.base import RetrievalModel
from kfood.models.batches import recipes_of, run
from kfood.models.phases import OptimizerConfig, Phase
from kfood.settings import check_choices

RELEASED_MIXTURE = (0.1, 0.9)
"""Weights of the class token's and the patches' embedding at test in the released code."""


@dataclasses.dataclass(frozen=True)
class AlphaGAOConfig:
    """Settings; the defaults are the paper's.

    Attributes:
        image_encoder: section 4.3: a ViT; the released code: DeiT-S/16.
        embedding_size: 128 (section 4.3).
        tokens: ``"pooled"``: the pooled feature map of a convolutional network, the class token of a ViT, serves both
            losses; ``"as_released"``: see the module.
        loss: L_d, a name of :data:`kfood.losses.metric_learning.LOSSES`.
        loss_options: ``"name=value"`` of that loss, e.g. ``"margin=0.5"``.
        miner: a name of :data:`kfood.miners.MINERS`; empty: every pair of the batch.
        alpha: α of Eq. 1 (Figure 7: 0.2 or 0.3 is best).
        easy_first: Eq. 3.
        gao: ``""``: without; ``"paper"``: Eq. 6 and 8; ``"as_released"``.
        boundary: β of the margin loss at the start; None: 1.2, with ``gao="paper"`` ``log(1 + 1.2)``.
        metric_weight: λ of Eq. 9 (Figure 7: 0.1); 1: L_d alone; 0: L_c alone.
        classification: L_c: ``"softmax"`` of the embedding before it is normalised; ``"normalised_softmax"``: see the
            module.
        centres: vectors of each class, for ``soft_triple``.
        memory: photos of earlier steps that L_d also compares with (:mod:`kfood.layers.memory`); 0: none.
        memory_warmup: steps before the first of them.
        optimizer: Adam with weight decay (section 4.3).
        learnt_optimizer: of L_d's β (released code: 5e-4), proxies or centres.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig(backbone="deit_small", weights="")
    embedding_size: int = 128
    tokens: Literal["pooled", "as_released"] = "pooled"
    loss: str = "margin"
    loss_options: tuple[str, ...] = ()
    miner: str = "distance_weighted"
    alpha: float = 0.2
    easy_first: bool = True
    gao: Literal["", "paper", "as_released"] = "paper"
    boundary: float | None = None
    metric_weight: float = 0.1
    classification: Literal["softmax", "normalised_softmax"] = "softmax"
    centres: int = 10
    memory: int = 0
    memory_warmup: int = 1000
    optimizer: OptimizerConfig = OptimizerConfig(1e-6, weight_decay=4e-4)
    learnt_optimizer: OptimizerConfig = OptimizerConfig(5e-4)

    def __post_init__(self):
        choices = {
            "tokens": ("pooled", "as_released"),
            "loss": tuple(metric_learning.LOSSES),
            "miner": ("", *miners.MINERS),
            "gao": ("", "paper", "as_released"),
            "classification": ("softmax", "normalised_softmax"),
        }
        check_choices(self, choices)
        for name in ("alpha", "metric_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, received {getattr(self, name)}.")
        check_memory(self)
        if self.memory and (self.loss not in metric_learning.WITH_OTHERS or not self.metric_weight):
            received = f"loss {self.loss!r}" if self.metric_weight else "metric_weight 0"
            raise ValueError(
                f"memory: expected 0, or one of {sorted(metric_learning.WITH_OTHERS)}, which compare photos with a "
                f"gallery, with a metric_weight above 0, received {self.memory} with {received}."
            )


@keras.saving.register_keras_serializable("kfood")
class AlphaGAO(RetrievalModel):
    """A photo encoder learnt from classes; see the module for its equations.

    Args:
        config: :class:`AlphaGAOConfig`, or the same as a dict.
        spec: :class:`kfood.schema.PhotoSpec`, or the same as a dict.
    """

    config_class = AlphaGAOConfig
    spec_class = schema.PhotoSpec

    def __init__(
        self,
        config=AlphaGAOConfig(),
        spec=schema.PhotoSpec(),  # noqa: B008 (frozen)
        name="alpha_gao",
        **kwargs,
    ):
        super().__init__(config, spec, name=name, **kwargs)
        config, spec = self.config, self.spec
        self.distance = "cosine"
        self.random = keras.random.SeedGenerator(name="random")
        self.network, encoder = image_networks(spec, config)
        self.encoders = {"image": encoder}
        self.memory = None
        if config.memory:
            self.memory = LabelledMemory(config.memory, config.embedding_size, config.memory_warmup, name="memory")
            self.memory.build()
        weights = {}
        phases, own = [], [self.network]
        if config.metric_weight > 0:
            weights["metric"] = config.metric_weight
            self.learnt = learnt_layer(config, spec.classes)
            if self.learnt is not None:
                self.learnt.build((None, config.embedding_size))
                phases.append(Phase("learnt", dict(weights), (self.learnt,), config.learnt_optimizer, together=True))
            self.metric_loss = metric_loss(config, self.learnt, self.random)
        if config.metric_weight < 1:
            weights["classification"] = 1.0 - config.metric_weight
            if config.classification == "softmax":
                self.classifier = keras.layers.Dense(spec.classes, dtype="float32", name="classifier")
            else:
                self.classifier = metric_learning.Proxies(spec.classes, dtype="float32", name="classifier")
            self.classifier.build((None, config.embedding_size))
            own.append(self.classifier)
        self.phases = (*phases, Phase("encoders", weights, tuple(own), config.optimizer))
        self.build()

    def embed(self, batch, training):
        """``embedding``, L2-normalised, for L_d, ``classified`` for L_c; for a memory ``photos`` and ``labels``."""
        features = run(self.network, batch, training)
        if self.memory is None or not training:
            return features
        check_remembered(batch)
        return {**features, "photos": recipes_of(batch, features["embedding"]), "labels": batch[schema.CLASS_ID]}

    def end_step(self, features):
        """What the memory keeps."""
        if self.memory is not None:
            self.memory.push(features["embedding"], features["labels"], features["photos"])

    def losses_of(self, phase, features, batch, training):
        """``metric`` and ``classification``, those that have a weight."""
        labels = batch[schema.CLASS_ID]
        named = {}
        if self.config.metric_weight > 0:
            others = self.memory(features["photos"]) if self.memory is not None and training else None
            named["metric"] = self.metric_loss(labels, features["embedding"], others=others)
        if self.config.metric_weight < 1:
            classified = features["classified"]
            if self.config.classification == "softmax":
                logits = self.classifier(classified)
                terms = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
                named["classification"] = ops.mean(terms)
            else:
                vectors = ops.convert_to_tensor(self.classifier.value)
                named["classification"] = proxies.normalised_softmax(classified, labels, vectors)
        return named


def image_networks(spec: schema.PhotoSpec, config: AlphaGAOConfig) -> tuple[keras.Model, keras.Model]:
    """What is trained, and the encoder that shares its weights.

    Args:
        spec: fixes the size of the picture.
        config: backbone, width, tokens.

    Returns:
        ``{"image": float32 [batch, side, side, 3]}`` → ``embedding``, float32 ``[batch, d]``, L2-normalised, and
        ``classified``, float ``[batch, d]``; and from the same input → float32 ``[batch, d]``, L2-normalised.
    """
    inputs = symbolic_inputs(spec.image_inputs())
    network = backbone(spec.image_size, config.image_encoder, tokens=True)
    features = network(inputs[schema.IMAGE])

    dropout = keras.layers.Dropout(config.image_encoder.dropout)
    dense = keras.layers.Dense(config.embedding_size, dtype="float32", name="image_embedding")

    def head(vector, name):
        vector = dense(dropout(vector))
        return vector, _unit(name)(vector)

    if config.tokens == "as_released":
        if len(features.shape) == 4:
            raise ValueError(
                "tokens: expected 'pooled' with a backbone without tokens, "
                f"{config.image_encoder.backbone!r}, received 'as_released'."
            )
        embedding = head(class_token(features), "class_unit")[1]
        classified, patches = head(ops.mean(features[:, 1:], axis=1), "patches_unit")
        share_class, share_patches = RELEASED_MIXTURE
        tested = _unit("embedding")(share_class * embedding + share_patches * patches)
    else:
        classified, embedding = head(pool(features, config.image_encoder.pooling), "image_embedding_unit")
        tested = embedding
    return (
        keras.Model(inputs, {"embedding": embedding, "classified": classified}, name="network"),
        keras.Model(inputs, tested, name="image_encoder"),
    )


def learnt_layer(config: AlphaGAOConfig, classes: int) -> keras.layers.Layer | None:
    """The layer that holds what the loss learns of each class: β, proxies, centres; None where it learns nothing."""
    taken = inspect.signature(metric_learning.LOSSES[config.loss]).parameters
    if "boundaries" in taken:
        start = pairs.first_boundary(config.gao == "paper") if config.boundary is None else config.boundary
        return metric_learning.Boundaries(classes, start, name="learnt")
    if "centres" in taken:
        return metric_learning.Proxies(classes, config.centres, name="learnt")
    return metric_learning.Proxies(classes, name="learnt") if "proxies" in taken else None


def metric_loss(config: AlphaGAOConfig, learnt: keras.layers.Layer | None, seed) -> MetricLoss:
    """L_d by the config: loss, miner, α-sampling, GAO."""
    options = {}
    for option in config.loss_options:
        key, equals, value = option.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError as error:
            if not equals or not value:
                raise ValueError(f"loss_options: expected name=value, received {option!r}.") from error
            options[key] = value
    own_alpha = "alpha" in inspect.signature(metric_learning.LOSSES[config.loss]).parameters
    for key in options:
        if key in ("miner", "miner_options", "easy_first", "seed", "name", "learnt") or (
            key == "alpha" and not own_alpha
        ):
            raise ValueError(f"loss_options: expected options of loss {config.loss!r}, received {key!r}.")
    if own_alpha and config.alpha:
        raise ValueError(
            f"alpha: expected 0 with loss {config.loss!r}, which takes no tuples to alter, received {config.alpha}; "
            "its own α is an option of it: loss_options=alpha=…"
        )
    if config.gao:
        options["gao"] = True if config.gao == "paper" else config.gao
    return MetricLoss(
        config.loss,
        learnt,
        miner=config.miner or None,
        alpha=options.pop("alpha", None) if own_alpha else config.alpha,
        easy_first=config.easy_first,
        seed=seed,
        **options,
    )


def _unit(name):
    return UnitLength(dtype="float32", name=name)
