r"""ACME: Learning Cross-Modal Embeddings with Adversarial Networks for Cooking Recipes and Food Images.

Hao Wang, Doyen Sahoo, Chenghao Liu, Ee-peng Lim, Steven C. H. Hoi. CVPR 2019.

==================  ============================================  ===============================================
paper               here                                          shape, range
==================  ============================================  ===============================================
i, r                ``batch["image"]``, recipe features           :mod:`kfood.schema`
E_V, E_R            ``image_tower``, ``recipe_tower``             → V_m, R_m
V_m, R_m            ``image_hidden``, ``recipe_hidden``           [batch, 1024], tanh
FC                  ``shared`` (one set of weights)               Linear + batch norm + tanh
V, R                ``image``, ``recipe`` (the embeddings)        [batch, 1024], FC's by L2 (:class:`UnitLength`)
d                   ``embedding_size``                            1024
d(·)                Euclidean distance                            :func:`kfood.distances.euclidean`
α                   ``margin``                                    0.3
D_M                 ``critic``                                    1024 → 512 → 256 → 1
G_r2i               ``conditioning``, ``generator``               R → [batch, 128, 128, 3] in (-1, 1)
D_r2i               ``picture_features``, ``picture_judge``       picture → features; and condition → logit
C_r2i               ``picture_class``                             features of D_r2i → classes
G_i2r, C_i2r        ``ingredient_head``, ``class_head``           V → ingredients; V → classes
E_I of 3.4.2        E_V
λ of WGAN-GP        ``penalty_weight``                            10
λ1, λ2              ``alignment_weight``, ``translation_weight``  0.005, 0.002
==================  ============================================  ===============================================

=======================================  ==============================  ==========================================
equation                                 loss (column of metrics.csv)    function
=======================================  ==============================  ==========================================
(1) L = L_Ret + λ1 L_MA + λ2 L_Trans     ``loss``                        the weights in :attr:`ACME.phases`;
                                                                         L_Trans = L_r2i + L_i2r
(2) L_Ret                                ``retrieval``                   :func:`retrieval_loss`
(3) L_MA, min over E_V, E_R              ``alignment``                   :func:`alignment_loss`
(3) −L_MA, max over D_M; WGAN-GP's term  ``critic``, ``critic_penalty``  :func:`critic_loss`
(4) L_Gr2i, min over G_r2i               ``picture``                     :func:`picture_losses`
(4) L_Gr2i, max over D_r2i               ``discriminator``               :func:`discriminator_loss`
KL of StackGAN's condition               ``conditioning``                :func:`picture_losses`
L_Cr2i (section 3.4.1)                   ``picture_class``               :func:`picture_losses`
L_Gi2r, L_Ci2r (section 3.4.2)           ``ingredients``,                :func:`ingredient_losses`
                                         ``ingredients_class``
=======================================  ==============================  ==========================================

Where this file departs from the paper, or fills what it leaves open, and what the authors' released code does:

- Eq. 3 is printed with logarithms; the text says that WGAN-GP is used. WGAN-GP is what is here: D_M is a critic,
  the penalty has weight 10, one critic step a step (released code).
- The paper minimises L_MA over both encoders; the released code gives the gradient to E_R alone
  (``alignment_gradient="recipe"``).
- Eq. 2 takes negatives from the other modality; the released code mines over the 2N rows of both modalities together
  (``negatives="both"``). Each of Eq. 2's two sums is a mean here, so that the weights do not depend on the batch size;
  ``"both"`` is one mean over 2N anchors, as released: half as much against λ1 and λ2.
- From scratch, mining hardens over ``mining_warmup_steps`` (0 in ``published``), or all distances become equal.
- Photos of one recipe in a batch are positives, as section 3.1 wants every photo of a recipe near it; the released code
  makes them negatives. Of several the farthest counts.
- The row TL of Table 2 mines no negatives: the loss is averaged over all triplets of the batch.
- Eq. 4 is played as printed (``generator_objective="minimax"``); the released code's generator maximises log D
  (``"non_saturating"``). D_r2i also sees the condition, its mean (StackGAN, released code); Eq. 4's sees the picture
  alone. Of Eq. 4's first term the encoders then receive no gradient. KL of the conditioning augmentation ×2, which
  Eq. 1 lacks: released code.
- C_r2i reads D_r2i's features (released code), which L_Cr2i does not train; the paper's receives the pictures. It is
  trained here on real and generated pictures as the paper says. In the released code D_r2i's optimizer holds it, but
  its gradients are cleared before each step, so that it never learns.
- Real pictures are scaled to [-1, 1], the range of G_r2i's tanh; the released code shows D_r2i real ones normalised by
  ImageNet's mean and deviation, -2.1 to 2.6, which no generated one can reach.
- Convolutions, but not linear layers, of G_r2i, D_r2i and C_r2i start orthogonal, as in StackGAN-v2's own code; the
  released code starts them as PyTorch does. Adam's ε is Keras' 1e-7; PyTorch's is 1e-8.
- Open in the paper, from the released code: tanh of V_m, R_m and FC, L2 after FC, α, the sizes of D_M and of the heads,
  StackGAN-v2's sizes, β1 0.5, the adversaries' Adam, 50 epochs with the rate ÷10 after 31.
- L_Gi2r is a mean over batch and ingredients, times ``ingredient_weight``; its targets are a recipe's first
  ``spec.ingredients`` known names (paper, released code: all of them). Class losses leave out background (weight 0 in
  the released code): without classes they are 0.
- Ingredients are trained by binary cross-entropy; the released code's margin loss reads the 0/1 vector as indices
  (``ingredient_loss="margin_as_released"``), and scales the larger of the two translation losses down to the smaller
  (``balance_translation=True``).
- FC's batch normalisation (released code) takes its statistics from one modality at a time; each modality has its own
  moving statistics here, and evaluation uses them. The released code never puts FC into evaluation mode, so that
  results depend on the batch, never trains FC, selects on the test split, and leaves that split's last, smaller batch
  out. Statistics over both modalities together let them settle at opposite ends of each dimension, where all distances
  between them are equal and tanh passes no gradient: seen when training from scratch.
- ResNet-50 is Keras': weights trained elsewhere, strides in another place of a block, other pixel means than those of
  PyTorch, which the released code has.
- Recipes: an ingredient is one entry of a name vocabulary, as in the paper, or the mean of its words
  (``RecipeSpec.ingredient_unit``). Its vectors start random, or from word2vec's as in the paper where
  ``recipe_encoder.vectors`` names their file. Sentence vectors are learned by a word-level bi-LSTM, or precomputed as
  in the paper (``RecipeSpec.instruction_vectors``).

The variant ``as_released`` (:mod:`kfood.configs.acme`) turns the five options named above to the released code's side.
"""

import dataclasses
from typing import Literal

import keras
from keras import ops

from kfood import distances, miners, schema
from kfood.layers import stackgan
from kfood.layers.image import ImageEncoderConfig, image_tower
from kfood.layers.outputs import UnitLength
from kfood.layers.pictures import check_picture_size, real_pictures
from kfood.layers.recipe import RecipeEncoderConfig, recipe_tower
from kfood.layers.shared import let_through, shared_layer
from kfood.losses import adversarial, ranking, reconstruction
from kfood.models.base import Decoder, RetrievalModel
from kfood.models.batches import recipes_of, run
from kfood.models.phases import OptimizerConfig, Phase
from kfood.settings import check_choices


@dataclasses.dataclass(frozen=True)
class ACMEConfig:
    """Settings of ACME; the defaults are the paper's.

    Attributes:
        image_encoder: E_V (section 4.2: ResNet-50).
        recipe_encoder: E_R (section 4.2: hierarchical LSTM, bidirectional ingredients).
        embedding_size: d (section 4.2: 1,024).
        margin: α of Eq. 2 (released code: 0.3).
        hard_mining: farthest positive and nearest negative (section 3.2; HM of Table 2).
        mining_warmup_steps: steps over which the loss moves from all triplets to the hardest ones. 0 in the paper,
            which starts from pretrained encoders. From scratch the nearest negative is at first always nearer than the
            positive, and the loss falls into the point where all distances are equal.
        negatives: ``"cross"``: from the other modality (Eq. 2); ``"both"``: from both (released code).
        alignment: L_MA (MA of Table 2).
        alignment_gradient: which encoders L_MA trains: ``"both"`` (Eq. 3) or ``"recipe"`` (released code).
        penalty_weight: λ of WGAN-GP (10).
        recipe_to_image: L_r2i (R2I of Table 2).
        image_to_recipe: L_i2r (I2R of Table 2).
        alignment_weight: λ1 of Eq. 1 (section 4.2).
        translation_weight: λ2 of Eq. 1 (section 4.2).
        picture_size: side of a generated picture (section 4.2: 128).
        picture_width: channels of the generator's last stage (StackGAN's GF_DIM 64).
        discriminator_width: channels of the discriminator's first (StackGAN's DF_DIM 64).
        residual_blocks: in the generator's second stage (2).
        condition_size: width of the conditioning augmentation (128).
        noise_size: width of the noise (100).
        generator_objective: ``"minimax"`` (Eq. 4) or ``"non_saturating"`` (released code).
        conditioning_weight: factor of the KL of the conditioning augmentation (2).
        ingredient_loss: ``"cross_entropy"`` or ``"margin_as_released"``.
        ingredient_weight: factor of L_Gi2r, a mean over all ingredients, before λ2 (1).
        balance_translation: scale the larger of L_r2i and L_i2r down to the smaller (released code).
        optimizer: Adam of the encoders, FC, generator and classifiers (section 4.2; betas: released code).
        adversary_optimizer: Adam of D_M and of D_r2i.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    recipe_encoder: RecipeEncoderConfig = RecipeEncoderConfig()
    embedding_size: int = 1024
    margin: float = 0.3
    hard_mining: bool = True
    mining_warmup_steps: int = 0
    negatives: Literal["cross", "both"] = "cross"
    alignment: bool = True
    alignment_gradient: Literal["both", "recipe"] = "both"
    penalty_weight: float = 10.0
    recipe_to_image: bool = True
    image_to_recipe: bool = True
    alignment_weight: float = 0.005
    translation_weight: float = 0.002
    picture_size: int = 128
    picture_width: int = 64
    discriminator_width: int = 64
    residual_blocks: int = 2
    condition_size: int = 128
    noise_size: int = 100
    generator_objective: Literal["minimax", "non_saturating"] = "minimax"
    conditioning_weight: float = 2.0
    ingredient_loss: Literal["cross_entropy", "margin_as_released"] = "cross_entropy"
    ingredient_weight: float = 1.0
    balance_translation: bool = False
    optimizer: OptimizerConfig = OptimizerConfig(1e-4, beta_1=0.5)
    adversary_optimizer: OptimizerConfig = OptimizerConfig(1e-4, beta_1=0.5)

    def __post_init__(self):
        choices = {
            "negatives": ("cross", "both"),
            "alignment_gradient": ("both", "recipe"),
            "generator_objective": ("minimax", "non_saturating"),
            "ingredient_loss": ("cross_entropy", "margin_as_released"),
        }
        check_choices(self, choices)
        check_picture_size(self.picture_size)
        if self.balance_translation and self.generator_objective == "minimax":
            raise ValueError(
                "balance_translation: expected generator_objective='non_saturating' beside it, received 'minimax', "
                "whose loss is negative and has no ratio to another."
            )


# Sub-networks; those of pictures are in kfood.layers.stackgan, FC is in kfood.layers.shared.


def perceptron(name: str, sizes: tuple[int, ...]) -> keras.Model:
    """Linear layers with leaky ReLU 0.2 between them; the heads and D_M are all of this form."""
    x = vector = keras.Input((sizes[0],), name="vector")
    for depth, size in enumerate(sizes[1:]):
        if depth:
            x = keras.layers.LeakyReLU(0.2, dtype="float32")(x)
        x = keras.layers.Dense(size, dtype="float32", name=f"{name}_{depth}")(x)
    return keras.Model(vector, x, name=name)


# Equations.


def retrieval_loss(image, recipe, recipes, config: ACMEConfig, hardness):
    """Eq. 2: a triplet loss in both directions; all of one recipe are positives (section 3.1: every photo of it).

    Args:
        image: V, float ``[batch, d]``.
        recipe: R, float ``[batch, d]``.
        recipes: int ``[batch]``, the number of each item's recipe.
        config: margin, and where negatives come from.
        hardness: float scalar in [0, 1]: weight of the hardest triplet of each anchor (HM of Table 2: 1) against the
            mean over all triplets (TL: 0).

    Returns:
        float scalar.
    """

    def triplet(between, same):
        hardest = ranking.hard_triplet(between, same, config.margin)
        return hardness * hardest + (1.0 - hardness) * ranking.all_triplets(between, same, config.margin)

    if config.negatives == "both":  # 2N anchors; each is its own positive too, but never the farthest
        both, recipes = ops.concatenate([image, recipe]), ops.concatenate([recipes, recipes])
        return triplet(distances.euclidean(both, both), miners.matches(recipes, recipes))
    between = distances.euclidean(image, recipe)
    same = miners.matches(recipes, recipes)
    return triplet(between, same) + triplet(ops.transpose(between), same)


def critic_loss(critic, image_hidden, recipe_hidden, mixture):
    """Eq. 3, max over D_M, as WGAN-GP: (minus the distance of the two distributions, the penalty on D_M's gradient).

    Args:
        critic: D_M.
        image_hidden: V_m, float ``[batch, d]``.
        recipe_hidden: R_m, float ``[batch, d]``.
        mixture: float ``[batch, 1]`` in [0, 1], where between the two the gradient is held to 1.

    Returns:
        Two float scalars.
    """
    distance = adversarial.wasserstein(critic(image_hidden), critic(recipe_hidden))
    return -distance, adversarial.gradient_penalty(critic, image_hidden, recipe_hidden, mixture)


def alignment_loss(critic, image_hidden, recipe_hidden, gradient):
    """Eq. 3, min over E_V and E_R: the distance of the two distributions as D_M sees it; float scalar."""
    if gradient == "recipe":
        image_hidden = ops.stop_gradient(image_hidden)
    return adversarial.wasserstein(critic(image_hidden), critic(recipe_hidden))


def discriminator_loss(real_logits, fake_logits):
    """Eq. 4, max over D_r2i; both logits float ``[batch, 1]``; float scalar."""
    return adversarial.discriminator(real_logits, fake_logits)


def picture_losses(fake_logits, real_classes, fake_classes, labels, mean, log_variance, objective):
    """Eq. 4, min over G_r2i, C_r2i, E_R, FC: (L_Gr2i, L_Cr2i on both kinds of pictures, KL of the conditioning)."""
    background = schema.BACKGROUND_CLASS
    return (
        adversarial.generator(fake_logits, objective),
        reconstruction.classes(fake_classes, labels, background)
        + reconstruction.classes(real_classes, labels, background),
        reconstruction.kl_to_standard_normal(mean, log_variance),
    )


def ingredient_losses(ingredient_logits, class_logits, ingredients, labels, kind):
    """Section 3.4.2: (L_Gi2r over the ingredients of the recipe, L_Ci2r over its class); two float scalars."""
    if kind == "margin_as_released":
        first = reconstruction.multi_label_margin_as_released(ops.sigmoid(ingredient_logits), ingredients)
    else:
        first = reconstruction.multi_label(ingredient_logits, ingredients)
    return first, reconstruction.classes(class_logits, labels, schema.BACKGROUND_CLASS)


# The model.


@keras.saving.register_keras_serializable("kfood")
class ACME(RetrievalModel):
    """ACME; see the module for its equations.

    Args:
        config: :class:`ACMEConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.
    """

    config_class = ACMEConfig

    def __init__(self, config=ACMEConfig(), spec=schema.RecipeSpec(), name="acme", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name=name, **kwargs)
        config, spec, size = self.config, self.spec, self.config.embedding_size
        self.distance = "euclidean"
        self.image_tower = image_tower(spec, config.image_encoder, size)
        self.recipe_tower = recipe_tower(spec, config.recipe_encoder, size)
        towers = {"image": self.image_tower, "recipe": self.recipe_tower}
        self.shared = shared_layer(size, tuple(towers))
        self.encoders = {
            name: keras.Model(
                tower.input,
                UnitLength(dtype="float32", name="embedding")(self.shared[name](tower.output)),
                name=f"{name}_encoder",
            )
            for name, tower in towers.items()
        }
        own = [*towers.values(), *self.shared.values()]
        weights, adversaries = {"retrieval": 1.0}, []
        if config.alignment:
            weights["alignment"] = config.alignment_weight
            adversaries.append(self._add_critic())
        if config.recipe_to_image:
            weights["picture"] = config.translation_weight
            weights["picture_class"] = config.translation_weight
            weights["conditioning"] = config.translation_weight * config.conditioning_weight
            adversaries.append(self._add_pictures())
            own += [self.conditioning, self.generator, self.picture_class]
        if config.image_to_recipe:
            weights["ingredients"] = config.translation_weight * config.ingredient_weight
            weights["ingredients_class"] = config.translation_weight
            self._add_ingredients()
            own += [self.ingredient_head, self.class_head]
        self.random = keras.random.SeedGenerator(name="random")
        # "encoders" is the min side of all: FC, G_r2i, C_r2i, G_i2r and C_i2r too.
        self.phases = (*adversaries, Phase("encoders", weights, tuple(own), config.optimizer))
        self.build()

    def _add_critic(self):
        """D_M of Eq. 3; its phase."""
        config = self.config
        self.critic = perceptron("critic", (config.embedding_size, 512, 256, 1))
        weights = {"critic": 1.0, "critic_penalty": config.penalty_weight}
        return Phase("critic", weights, (self.critic,), config.adversary_optimizer)

    def _add_pictures(self):
        """R2I of Figure 2: what makes a picture of a recipe, D_R2I, and the class of either; D_R2I's phase."""
        config = self.config
        self.conditioning = stackgan.conditioning(config.embedding_size, config.condition_size)
        self.generator = stackgan.generator(
            config.condition_size,
            config.noise_size,
            config.picture_size,
            config.picture_width,
            config.residual_blocks,
        )
        self.picture_features, self.picture_judge = stackgan.discriminator(
            config.picture_size, config.condition_size, config.discriminator_width
        )
        self.picture_class = stackgan.class_head(self.picture_features.output_shape[1:], self.spec.classes)
        self.decoders["picture"] = Decoder(("recipe",), self._picture_decoder())
        adversaries = (self.picture_features, self.picture_judge)
        return Phase("discriminator", {"discriminator": 1.0}, adversaries, config.adversary_optimizer)

    def _add_ingredients(self):
        """I2R of Figure 2: what tells a photo's ingredients and its class."""
        size, spec = self.config.embedding_size, self.spec
        ingredients = spec.ingredient_vocabulary - schema.FIRST_TOKEN_ID
        self.ingredient_head = perceptron("ingredient_head", (size, 512, 256, ingredients))
        self.class_head = perceptron("class_head", (size, 512, spec.classes))
        embedding = keras.Input((size,), name="embedding")
        probabilities = keras.layers.Activation("sigmoid")(self.ingredient_head(embedding))
        network = keras.Model(embedding, probabilities, name="ingredients")
        self.decoders["ingredients"] = Decoder(("image",), network)

    @property
    def picture_side(self):
        """Of the photos that R2I's discriminator sees."""
        return self.config.picture_size if self.config.recipe_to_image else 0

    def start_from(self, strengths):
        """The shared layer passes each component of a start on, as strong as it is."""
        let_through(self.shared, strengths)

    def embed(self, batch, training):
        """V_m, R_m, V, R, and with R2I the generated picture, its condition, and the real one (section 3.1)."""
        image_hidden = run(self.image_tower, batch, training)
        recipe_hidden = run(self.recipe_tower, batch, training)
        features = {
            "image_hidden": image_hidden,
            "recipe_hidden": recipe_hidden,
            "image": _normalised(self.shared["image"](image_hidden, training=training)),
            "recipe": _normalised(self.shared["recipe"](recipe_hidden, training=training)),
        }
        if self.config.recipe_to_image:
            mean, log_variance = self.conditioning(features["recipe"], training=training)
            rows = ops.shape(mean)[0]
            normal = keras.random.normal((rows, self.config.condition_size), seed=self.random)
            noise = keras.random.normal((rows, self.config.noise_size), seed=self.random)
            condition = mean + ops.exp(0.5 * log_variance) * normal
            features |= {"mean": mean, "log_variance": log_variance}
            features["picture"] = self.generator([condition, noise], training=training)
            features["real_picture"] = real_pictures(batch, self.config.picture_size, antialias=self.antialias)
        return features

    def losses_of(self, phase, features, batch, training):
        """The losses of the phases ``critic``, ``discriminator`` and ``encoders``."""
        return getattr(self, f"_{phase}_losses")(features, batch, training)

    def _critic_losses(self, features, batch, training):
        mixture = keras.random.uniform((ops.shape(features["image"])[0], 1), seed=self.random)
        image, recipe = (ops.cast(features[name], "float32") for name in ("image_hidden", "recipe_hidden"))
        distance, penalty = critic_loss(self.critic, image, recipe, mixture)
        return {"critic": distance, "critic_penalty": penalty}

    def _discriminator_losses(self, features, batch, training):
        real = self.picture_features(features["real_picture"], training=training)
        fake = self.picture_features(features["picture"], training=training)
        real_logits = self.picture_judge([real, features["mean"]], training=training)
        fake_logits = self.picture_judge([fake, features["mean"]], training=training)
        return {"discriminator": discriminator_loss(real_logits, fake_logits)}

    def _encoders_losses(self, features, batch, training):
        config, labels = self.config, batch[schema.CLASS_ID]
        hardness = float(config.hard_mining)
        if hardness and config.mining_warmup_steps and self.optimizer is not None:
            steps = ops.cast(self.optimizer.iterations, "float32")
            hardness = ops.minimum(1.0, steps / config.mining_warmup_steps)
        recipes = recipes_of(batch, features["image"])
        named = {"retrieval": retrieval_loss(features["image"], features["recipe"], recipes, config, hardness)}
        if config.alignment:
            named["alignment"] = alignment_loss(
                self.critic, features["image_hidden"], features["recipe_hidden"], config.alignment_gradient
            )
        if config.recipe_to_image:
            fake = self.picture_features(features["picture"], training=training)
            real = ops.stop_gradient(self.picture_features(features["real_picture"], training=training))
            named["picture"], named["picture_class"], named["conditioning"] = picture_losses(
                self.picture_judge([fake, features["mean"]], training=training),
                self.picture_class(real, training=training),
                self.picture_class(fake, training=training),
                labels,
                features["mean"],
                features["log_variance"],
                config.generator_objective,
            )
        if config.image_to_recipe:
            size = self.spec.ingredient_vocabulary - schema.FIRST_TOKEN_ID
            named["ingredients"], named["ingredients_class"] = ingredient_losses(
                self.ingredient_head(features["image"], training=training),
                self.class_head(features["image"], training=training),
                reconstruction.present(batch[schema.INGREDIENT_IDS], size, schema.FIRST_TOKEN_ID),
                labels,
                config.ingredient_loss,
            )
        if config.balance_translation and config.recipe_to_image and config.image_to_recipe:
            named = self._balanced(named)
        return named

    def _balanced(self, named):
        """Scales the losses of the heavier translation, as logged too, so that both weigh the same (released code)."""
        sides = (("picture", "picture_class", "conditioning"), ("ingredients", "ingredients_class"))
        weights = self.phases[-1].weights
        totals = [ops.stop_gradient(sum(weights[name] * named[name] for name in side)) for side in sides]
        least = ops.minimum(*totals)
        for side, total in zip(sides, totals, strict=True):
            for name in side:
                named[name] = named[name] * least / total
        return named

    def _picture_decoder(self):
        """Embedding → picture in [0, 255] at the mean of its condition, without noise: the same picture every time."""
        embedding = keras.Input((self.config.embedding_size,), name="embedding")
        mean, _ = self.conditioning(embedding)
        quiet = stackgan.NoNoise(self.config.noise_size)(mean)
        picture = keras.layers.Rescaling(127.5, 127.5)(self.generator([mean, quiet]))
        return keras.Model(embedding, picture, name="picture")


def _normalised(vectors):
    """L2-normalised, in float32 whatever the precision of the layers."""
    return distances.unit_length(ops.cast(vectors, "float32"))
