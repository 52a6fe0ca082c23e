r"""MCEN: Bridging Cross-Modal Gap between Cooking Recipes and Dish Images with Latent Variable Model.

Han Fu, Rui Wu, Chenghao Liu, Jianling Sun. CVPR 2020. The towers are :mod:`kfood.layers.attention_towers`.

====================  ====================================================  ===========================================
paper                 here                                                  shape, range
====================  ====================================================  ===========================================
v, r                  ``batch["image"]``, recipe features                   :mod:`kfood.schema`
H^v                   ``contexts`` of the image tower                       [batch, 49, 2048]
H^c; H^ins; H^ing     within the recipe tower                               [batch, 25, 300] twice, [batch, 20, 300]
states of sentences   ``contexts`` of the recipe tower                      the same
α_i^v                 ``weights`` of the image tower                        [batch, 49]
s^v                   ``summary`` of the image tower                        [batch, 2048]
s^r = [s^c; s^ins;    ``summary`` of the recipe tower                       [batch, 900]
s^ing]
s^v*, s^r*            ``poolings``: the other modality asks                 [batch, 2048], [batch, 900]
μ_v, σ_v; μ_r, σ_r    ``image_prior_mean``, ``image_prior_deviation`` …     [batch, 1024]; σ > 0
μ*, σ*                ``image_posterior_mean`` …, ``recipe_posterior_…``    [batch, 1024]; σ > 0
p, q                  ``priors``, ``posteriors``
d                     ``embedding_size``                                    1024
z^v, z^r              drawn from the posterior, or the prior's mean         [batch, 1024]
e^v, e^r              ``image``, ``recipe`` (the embeddings)                [batch, 1024], tanh; exported L2-normalised
f_v, f_r; g_v, g_r    ``heads``: one layer with a latent, two without       tanh
f_r^v, f_v^v          ``reconstructors``: two layers                        e^v → s^r', e^r → s^v'
P(·)                  1 - ``reconstruction.uncorrelated``                   Pearson's correlation
s(·)                  cosine similarity                                     :func:`kfood.distances.cosine` is 1 - s
m                     ``margin``                                            0.3
α, β, γ (Eq. 20)      ``kl_weight``, ``consistency_weight``,                0.0001 → 0.1, 0.002, 0.008
                      ``reconstruction_weight``
====================  ====================================================  ===========================================

=============================================  ================================================  ====================
equation                                       function                                          in metrics.csv
=============================================  ================================================  ====================
(1), (2) attention                             :class:`kfood.layers.attention.AttentionPooling`
(3) joint decoding                             :class:`kfood.layers.attention.JoinedPooling`
(5)-(7), (10)-(12) priors and posteriors       :func:`gaussian`
s^v*, s^r*                                     :func:`cross_modal_pooling`
(8), (21), (22) e                              :func:`head`
(10) z by reparameterisation (section 3.6)     :meth:`MCEN.embed`
(9) the bound, of one draw                     (13) and (15)
(13), L_ret of (14)                            :func:`retrieval_loss`                            retrieval
(15) L_KL, one term a modality                 :func:`kfood.losses.alignment.gaussian_kl`        kl_image, kl_recipe
(16) L_cos                                     the same of the two priors                        consistency
(17)-(19) L_rec                                :func:`reconstruction_loss`                       reconstruction
(20) L                                         the weights in :attr:`MCEN.phases`                loss
=============================================  ================================================  ====================

All but ``loss`` are logged without their weights; α is no column.

Where the paper is open, or contradicts itself, and how it is read here (no code was released):

- Eq. 13 names an anchor, a positive and a negative, and no mining: the loss is a mean over all triplets of the batch.
- Eq. 19 is printed as a correlation to be minimised, which anti-correlation would do. L_rec is one minus the
  correlation, of each pair's vectors over their dimensions. Its targets are s after dropout, and gradients flow into
  them; all variants have it, as Table 3's sizes say.
- "The norm of gradient clipped to [-5, 5]": each component is clipped.
- α rises linearly from its first value over ``kl_epochs`` (30), an epoch at a time.
- Stages: the paper fixes "the latent representation on the image side z^r as the mean of prior μ^r" (words and symbols
  disagree; the words are followed) and "focus[es] on training the recipe part"; "then we alternatively train the
  posterior parameters on the image side after several epochs". Here one modality at a time draws
  z from its posterior, the recipe first, and they take turns every ``stage_epochs`` (5); the other one has z at its
  prior's mean. So each prior's mean, which is all that inference uses, is also trained by L_ret. L_KL is of both
  modalities at all times: a posterior whose turn has not come is kept near its prior, so that its first draws are of
  use. No weights are frozen by a stage; where the paper trains the image's posterior only later, this departs.
- "Replace the original trainable query vector": the three sentence-level poolings of s^r* receive the image's s as
  their query; the words of a line keep their own. s is the query as the heads receive it, after dropout. These
  poolings have weights of their own: a query of another width would not fit the towers'. s* has no dropout.
- Reconstructors have tanh between their two layers. The learning rate, "initial" in the paper, stays as it is. An epoch
  has one photo of a recipe, drawn at random; the best epoch is by the mean R@1 of both directions on all of validation.
- All hidden states of the recipe side are 300 wide, "all hidden states for neural inference" and the image's attention
  1,024. A bidirectional state is 150 in each direction: so the inference networks cost 9.3 and 10.0 M
  parameters beside Table 3's 10.4 M each (with 300 in each direction 10.2 and 13.7 M), at a vocabulary of 30,000 words.
- GRUs of ingredients and instructions are separate, word vectors are shared. The image's trained query is as wide as a
  hidden state of the recipe side. The decoder starts from the mean ingredient, and attends between two GRUs, as in
  dl4mt. The recipe tower's weights start within ±0.02, biases at 0; all others as Keras does.
- Section 4.3 removes "the modality-consistency loss" (printed as Equation 15; 16 is meant; other slips: e^i of Eq. 13
  is of the other modality, s^i of 3.4 is s^v, "s^r and s^r" below Eq. 22 are s^r and s^v) from the variants
  of Figure 3 (vanilla, image, recipe), which have no two priors to compare. MCEN without reconstruction keeps it.

Where this file departs from it:

- Photos of one recipe in a batch are no negatives of Eq. 13 but positives, of which the farthest stands for all (the
  streams of ``kfood train`` have one photo of a recipe an epoch, so there it is the pair).
- 1e-4 is added to each σ, of which L_KL takes the logarithm and the reciprocal.
- ResNet-50 is Keras': weights trained elsewhere, strides in another place of a block, other pixel means than those of
  PyTorch, which supplement A names.
- Supplement A stops each of the two periods, frozen and not, early by R@1; here the second goes on from the last
  weights of the first, and the best epoch on validation of all is kept.
- A title, which the paper does not read, is the first sentence of the instructions where a batch has titles and the
  recipe has one.

Options of ours, for training from scratch (in the paper ResNet starts from ImageNet); off by default, on in ``small``:

- ``kl_dimensions="mean"`` averages D_KL of Eq. 15 and 16 over the dimensions. Summed, the divergence of the two
  priors outweighs the retrieval loss at first (measured with ``first_deviation=0.1``: docs/results/mcen.md).
- ``negatives="active"``: the mean of Eq. 13 over those triplets that are not yet satisfied.
- A posterior tells the pair by the other one's query before either encoder has learned anything, and inference gains
  nothing from that. ``settle_epochs`` with both latents at their priors' means come first; s and s* go through batch
  normalisation (``normalise_summaries``), for their large common part makes all embeddings alike; and deviations start
  small (``first_deviation``), or their noise hides the means.
"""

import dataclasses
import math
from typing import Any, Literal

import keras
from keras import ops

from kfood import distances, miners, schema
from kfood.layers.attention import JoinedPooling
from kfood.layers.attention_towers import AttentionEncoderConfig, finished, image_tower, recipe_tower
from kfood.layers.image import ImageEncoderConfig
from kfood.layers.outputs import UnitLength
from kfood.losses import alignment, ranking, reconstruction
from kfood.models.base import RetrievalModel
from kfood.models.batches import recipes_of, run, select
from kfood.models.phases import OptimizerConfig, Phase
from kfood.settings import check_choices

MODALITIES = ("image", "recipe")

SMALLEST_DEVIATION = 1e-4
"""Added to the softplus of Eq. 7 and 12, whose logarithm and reciprocal the KL divergence takes."""


@dataclasses.dataclass(frozen=True)
class MCENConfig:
    """Settings of MCEN; the defaults are the paper's.

    Attributes:
        image_encoder: backbone (section 3.2: ResNet-50), and the dropout on s^v (supplement: 0.2); its ``pooling`` is
            not used.
        recipe_encoder: sizes of the recipe encoder.
        embedding_size: d (section 4.1: 1,024).
        latent_size: width of z and of all hidden layers of inference, reconstruction and image attention, of g and of
            the attention of s* (1,024).
        output_dropout: rate on e (supplement: 0.2 on "the final output layer (Equation 8)").
        image_latent: z^v (Figure 3).
        recipe_latent: z^r (Figure 3).
        reconstruction: L_rec (Table 2).
        margin: m of Eq. 13 (0.3).
        negatives: ``"all"``: a mean over all triplets of the batch; ``"active"``: over those that are not 0.
        kl_dimensions: the KL divergences of Eq. 15 and 16 are the ``"sum"`` over the dimensions of z, as printed, or
            their ``"mean"``, see the module.
        kl_weight: α of Eq. 20 once it has risen (0.1).
        first_kl_weight: α in the first epoch (1e-4).
        kl_epochs: epochs over which α rises (open in the paper).
        settle_epochs: epochs before that and before the first stage, see the module. 0 in the paper.
        stage_epochs: epochs of a stage, see the module (open in the paper); 0: both modalities draw z at all times.
        normalise_summaries: batch normalisation of s and s*, see the module. Off in the paper.
        first_deviation: σ with which every latent starts; 0: what Keras' initial weights give, about 0.7.
        consistency_weight: β of Eq. 20 (0.002).
        reconstruction_weight: γ of Eq. 20 (0.008).
        optimizer: Adam, gradients clipped to [-5, 5] (section 4.1).
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig(dropout=0.2)
    recipe_encoder: AttentionEncoderConfig = AttentionEncoderConfig()
    embedding_size: int = 1024
    latent_size: int = 1024
    output_dropout: float = 0.2
    image_latent: bool = True
    recipe_latent: bool = True
    reconstruction: bool = True
    margin: float = 0.3
    negatives: Literal["all", "active"] = "all"
    kl_dimensions: Literal["sum", "mean"] = "sum"
    kl_weight: float = 0.1
    first_kl_weight: float = 1e-4
    kl_epochs: int = 30
    settle_epochs: int = 0
    stage_epochs: int = 5
    normalise_summaries: bool = False
    first_deviation: float = 0.0
    consistency_weight: float = 0.002
    reconstruction_weight: float = 0.008
    optimizer: OptimizerConfig = OptimizerConfig(1e-4, clip_value=5.0, epsilon=1e-8)

    def __post_init__(self):
        check_choices(self, {"negatives": ("all", "active"), "kl_dimensions": ("sum", "mean")})
        for name in ("kl_epochs", "settle_epochs", "stage_epochs", "first_deviation"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, received {getattr(self, name)}.")


# Sub-networks, in the order of Figure 2.


def gaussian(width: int, size: int, first_deviation: float, name: str) -> keras.Model:
    """Eq. 6 and 7, 11 and 12: ``μ = W s + b`` and ``σ = softplus(W' s + b')``.

    Returns:
        Functional model: float ``[batch, width]`` → (μ, σ), each float32 ``[batch, size]``; its layer ``mean`` is the
        half that inference uses.
    """
    summary = keras.Input((width,), name="summary")
    mean = keras.layers.Dense(size, dtype="float32", name="mean")(summary)
    begin = {}
    if first_deviation:
        bias = math.log(math.expm1(first_deviation))  # whose softplus it is
        begin = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(bias)}
    deviation = keras.layers.Dense(size, activation="softplus", dtype="float32", name="deviation", **begin)(summary)
    return keras.Model(summary, [mean, deviation + SMALLEST_DEVIATION], name=name)


def cross_modal_pooling(tower: keras.Model, query_width: int, config: MCENConfig, name: str) -> keras.Model:
    """s* of a modality: its contexts pooled as for s, with the other modality's s as the query (section 3.4).

    Args:
        tower: the modality's, of :mod:`kfood.layers.attention_towers`.
        query_width: of the other modality's s.
        config: widths.
        name: of the model.

    Returns:
        Functional model: dict of ``contexts`` and ``present`` as the tower gives them, and ``query``
        ``[batch, query_width]`` → (s* float ``[batch, width]``, dict of weights ``[batch, rows]``).
    """

    def inputs(kind):
        return {
            part: keras.Input(tensor.shape[1:], name=f"{part}_{kind}") for part, tensor in tower.output[kind].items()
        }

    contexts, there, query = inputs("contexts"), inputs("present"), keras.Input((query_width,), name="query")
    parts = tuple(tower.output["weights"])
    summary, weights = JoinedPooling(parts, config.latent_size, name="pooling")(contexts, there, query)
    summary = finished(summary, config.normalise_summaries, 0.0, "asked")
    return keras.Model({"contexts": contexts, "present": there, "query": query}, [summary, weights], name=name)


def head(width: int, config: MCENConfig, latent: bool, name: str) -> keras.Model:
    """Eq. 8: one layer from z to e; Eq. 21 and 22: two from s, ``width`` wide, where there is no latent."""
    x = vector = keras.Input((config.latent_size if latent else width,), name="vector")
    if not latent:
        x = keras.layers.Dense(config.latent_size, activation="tanh", dtype="float32", name="hidden")(x)
    x = keras.layers.Dense(config.embedding_size, activation="tanh", dtype="float32", name="embedding")(x)
    return keras.Model(vector, keras.layers.Dropout(config.output_dropout, dtype="float32")(x), name=name)


def reconstructor(config: MCENConfig, width: int, name: str) -> keras.Model:
    """Eq. 17 and 18: e of one modality → s of the other, two layers."""
    embedding = keras.Input((config.embedding_size,), name="embedding")
    x = keras.layers.Dense(config.latent_size, activation="tanh", dtype="float32", name="hidden")(embedding)
    return keras.Model(embedding, keras.layers.Dense(width, dtype="float32", name="summary")(x), name=name)


# Equations.


def retrieval_loss(image, recipe, margin, negatives, recipes=None):
    """Eq. 13 in both directions, L_ret of Eq. 14; the positive is the pair, or the farthest item of its recipe.

    Args:
        image: e^v, float ``[batch, d]``.
        recipe: e^r, float ``[batch, d]``.
        margin: m, in units of the cosine.
        negatives: ``"all"`` or ``"active"``, see :class:`MCENConfig`.
        recipes: int ``[batch]``, the number of each item's recipe; by default each is one of its own.

    Returns:
        float scalar.
    """
    between = distances.cosine(image, recipe)
    recipes = ops.arange(ops.shape(image)[0]) if recipes is None else recipes
    same = miners.matches(recipes, recipes)
    active = negatives == "active"
    return sum(ranking.all_triplets(side, same, margin, active) for side in (between, ops.transpose(between)))


def reconstruction_loss(made, summaries):
    """Eq. 19 with its sign turned: float scalar from 0 to 4.

    Args:
        made: modality → its s as read from the other one's e, float ``[batch, width]``.
        summaries: modality → s, float ``[batch, width]``.
    """
    return sum(reconstruction.uncorrelated(made[name], summaries[name]) for name in MODALITIES)


# The model.


@keras.saving.register_keras_serializable("kfood")
class MCEN(RetrievalModel):
    """MCEN; see the module for its equations.

    Args:
        config: :class:`MCENConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.

    Raises:
        ValueError: a spec of precomputed sentence vectors: MCEN reads words.
    """

    config_class = MCENConfig

    def __init__(self, config=MCENConfig(), spec=schema.RecipeSpec(), name="mcen", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name=name, **kwargs)
        config, spec = self.config, self.spec
        if spec.instruction_vectors:
            raise ValueError(
                f"spec.instruction_vectors: expected 0, for MCEN reads words, received {spec.instruction_vectors}."
            )
        self.distance = "cosine"
        self.towers = {
            "image": image_tower(
                spec, config.image_encoder, config.latent_size, config.recipe_encoder.units, config.normalise_summaries
            ),
            "recipe": recipe_tower(spec, config.recipe_encoder, config.normalise_summaries),
        }
        widths = {name: tower.output["summary"].shape[-1] for name, tower in self.towers.items()}
        self.latent_modalities = tuple(
            name for name, wanted in zip(MODALITIES, (config.image_latent, config.recipe_latent), strict=True) if wanted
        )
        self.heads = {
            name: head(
                config.latent_size if name in self.latent_modalities else width,
                config,
                name in self.latent_modalities,
                f"{name}_head",
            )
            for name, width in widths.items()
        }
        self.priors, self.posteriors = (
            {
                name: gaussian(widths[name], config.latent_size, config.first_deviation, f"{name}_{kind}")
                for name in self.latent_modalities
            }
            for kind in ("prior", "posterior")
        )
        self.poolings = {
            name: cross_modal_pooling(self.towers[name], widths[_other(name)], config, f"{name}_asked")
            for name in self.latent_modalities
        }
        self.encoders = {name: self._encoder(name) for name in MODALITIES}

        self.reconstructors = {}
        if config.reconstruction:
            self.reconstructors = {
                name: reconstructor(config, width, f"{name}_reconstructor") for name, width in widths.items()
            }

        networks = (self.towers, self.priors, self.posteriors, self.poolings, self.heads, self.reconstructors)
        own = tuple(network for group in networks for network in group.values())
        self.random = keras.random.SeedGenerator(name="random")
        self.phases = (Phase("encoders", self._weights_of_losses(), own, config.optimizer),)
        self.begin_epoch(0)
        self.build()

    def begin_epoch(self, epoch):
        """Sets α, and which modality draws its latent from its posterior (section 4.1)."""
        if self.latent_modalities:
            config, epoch = self.config, epoch - self.config.settle_epochs
            risen = min(1.0, max(0.0, epoch / config.kl_epochs)) if config.kl_epochs else float(epoch >= 0)
            self.kl_weight.assign(config.first_kl_weight + risen * (config.kl_weight - config.first_kl_weight))
            for name in self.latent_modalities:
                self.drawn[name].assign(float(epoch >= 0 and self._has_turn(name, epoch)))

    def embed(self, batch, training):
        """s, priors, posteriors and e of both modalities (section 3.4)."""
        read = {name: run(tower, batch, training) for name, tower in self.towers.items()}
        features = {f"{name}_summary": ops.cast(read[name]["summary"], "float32") for name in MODALITIES}
        for name in MODALITIES:
            vector = features[f"{name}_summary"]  # what the head reads: s, or z
            if name in self.latent_modalities:
                mean, deviation = self.priors[name](vector)
                features |= {f"{name}_prior_mean": mean, f"{name}_prior_deviation": deviation}
                asked, _ = self._asked_by_other(name, read, training)
                vector, (posterior_mean, posterior_deviation) = mean, self.posteriors[name](asked)
                features[f"{name}_posterior_mean"] = posterior_mean
                features[f"{name}_posterior_deviation"] = posterior_deviation
                if training:
                    noise = keras.random.normal(ops.shape(mean), seed=self.random)
                    vector = ops.where(self.drawn[name] > 0.0, posterior_mean + posterior_deviation * noise, mean)
            features[name] = self.heads[name](vector, training=training)
        return features

    def losses_of(self, phase, features, batch, training):
        """Every loss of Eq. 20 that the variant has, unweighted."""
        named = {
            "retrieval": retrieval_loss(
                features["image"],
                features["recipe"],
                self.config.margin,
                self.config.negatives,
                recipes_of(batch, features["image"]),
            )
        }

        def divergence(one, other):
            return alignment.gaussian_kl(
                features[f"{one}_mean"],
                features[f"{one}_deviation"],
                features[f"{other}_mean"],
                features[f"{other}_deviation"],
                self.config.kl_dimensions,
            )

        for name in self.latent_modalities:
            named[f"kl_{name}"] = divergence(f"{name}_posterior", f"{name}_prior")
        if len(self.latent_modalities) == 2:
            named["consistency"] = divergence("image_prior", "recipe_prior")
        if self.config.reconstruction:
            made = {name: self.reconstructors[name](features[_other(name)], training=training) for name in MODALITIES}
            named["reconstruction"] = reconstruction_loss(
                made, {name: features[f"{name}_summary"] for name in MODALITIES}
            )
        return named

    def attention(self, batch):
        """What each part of a photo and of a recipe weighs in its embedding.

        Args:
            batch: features of one modality, or of both for pairs.

        Returns:
            Name → weights: ``image`` float ``[batch, height, width]``; ``ingredients``, ``instructions`` and ``joint``
            (instructions as read with the ingredients) ``[batch, rows]``; ``ingredient_words`` and
            ``instruction_words`` ``[batch, rows, words]``, of the words in their row. Where the batch has titles, row 0
            of the instructions is the title of a recipe that has one. With both modalities and a latent also
            ``image_asked``, ``ingredients_asked`` …: the weights when the other modality asks, as in training (Figures
            4 and 5).
        """
        read = {
            name: tower(select(batch, tower), training=False)
            for name, tower in self.towers.items()
            if all(feature in batch for feature in tower.input)
        }
        found = {}
        if "image" in read:
            found["image"] = read["image"]["weights"]["regions"]
        if "recipe" in read:
            found |= read["recipe"]["weights"]
            words = read["recipe"]["word_weights"]
            found |= {"ingredient_words": words["ingredients"], "instruction_words": words["instructions"]}
        if len(read) == 2:
            for name in self.latent_modalities:
                asked = self._asked_by_other(name, read, training=False)[1]
                found |= {f"{'image' if part == 'regions' else part}_asked": asked[part] for part in asked}
        height, width = self.towers["image"].get_layer("backbone").output_shape[1:3]
        return {
            name: ops.reshape(weights, (-1, height, width)) if name.startswith("image") else weights
            for name, weights in found.items()
        }

    def heat_maps(self):
        """Where the image encoder looks: the weights of a photo's regions in s."""
        tower = self.towers["image"]
        height, width = tower.get_layer("backbone").output_shape[1:3]
        weights = keras.layers.Reshape((height, width), name="heat_map")(tower.output["weights"]["regions"])
        return {"image": keras.Model(tower.input, weights, name="image_heat_map")}

    def _weights_of_losses(self):
        """Loss name → its weight in Eq. 20; makes α, a variable that moves, and whose latents are drawn."""
        weights: dict[str, Any] = {"retrieval": 1.0}
        if self.latent_modalities:
            self.kl_weight = self.add_weight(shape=(), trainable=False, name="kl_weight")
            self.drawn = {
                name: self.add_weight(shape=(), trainable=False, name=f"{name}_drawn")
                for name in self.latent_modalities
            }
            weights |= {f"kl_{name}": self.kl_weight for name in self.latent_modalities}
        if len(self.latent_modalities) == 2:
            weights["consistency"] = self.config.consistency_weight
        if self.config.reconstruction:
            weights["reconstruction"] = self.config.reconstruction_weight
        return weights

    def _encoder(self, name):
        """The part of the model that inference needs: s, the prior's mean where there is a latent, e."""
        tower = self.towers[name]
        vector = tower.output["summary"]
        if name in self.latent_modalities:
            vector = self.priors[name].get_layer("mean")(vector)
        embedding = UnitLength(dtype="float32", name="embedding")(self.heads[name](vector))
        return keras.Model(tower.input, embedding, name=f"{name}_encoder")

    def _asked_by_other(self, name, read, training):
        """s* of a modality, and the weights by which the other one's s picked it (section 3.4)."""
        own = read[name]
        inputs = {"contexts": own["contexts"], "present": own["present"], "query": read[_other(name)]["summary"]}
        return self.poolings[name](inputs, training=training)

    def _has_turn(self, name, epoch):
        """Whether the modality's latent is drawn in that epoch, counted from the first stage."""
        if len(self.latent_modalities) < 2 or not self.config.stage_epochs:
            return True
        return name == ("recipe", "image")[epoch // self.config.stage_epochs % 2]


def _other(name):
    return MODALITIES[1 - MODALITIES.index(name)]
