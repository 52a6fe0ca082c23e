r"""R2GAN: Cross-modal Recipe Retrieval with Generative Adversarial Network.

Bin Zhu, Chong-Wah Ngo, Jingjing Chen, Yanbin Hao. CVPR 2019.

======================  ============================================  ==============================================
paper                   here                                          shape, range
======================  ============================================  ==============================================
v_real, r               ``batch["image"]``, recipe features           :mod:`kfood.schema`
E_V, E_R                ``image``, ``recipe`` (the embeddings)        [batch, 1024], L2-normalised
E_q, E_p, E_n           query, its pair, the mean of the others       :func:`ranking_losses`
G                       ``generator``                                 embedding → [batch, 64, 64, 3] in (-1, 1)
v_f^I, v_f^R            ``image_picture``, ``recipe_picture``         G(E_V), G(E_R)
v_q, v_p, v_n           the same, and G(E_n)                          :func:`ranking_losses`
D1                      ``discriminator_1``: real or fake             picture → (Φ, logit)
D2                      ``discriminator_2``: image or recipe          picture → (Φ, logit)
Φ                       the output before the last layer of D1        [batch, 4, 4, c]
d(·, ·)                 cosine; pixel-wise Euclidean for pictures     :mod:`kfood.distances`
α1, α2                  ``margin``, ``picture_margin``                0.3, 0.3
μ                       ``picture_ranking_weight``                    0.1
β                       ``pixel_weight``                              1
γ, λ, δ                 ``reconstruction_weight``,                    0.01, 0.01, 1
                        ``semantic_weight``,
                        ``generator_reconstruction_weight``
======================  ============================================  ==============================================

=============================================  ==================================================
equation                                       function
=============================================  ==================================================
(2) L_rank                                     :func:`ranking_losses`
(3) L_D1                                       :func:`discriminator_1_loss`
(4) L_D2                                       :func:`discriminator_2_loss`
(5) L_G                                        :func:`generator_loss`
(6) L_recon                                    :func:`reconstruction_loss`
(7) L_sem                                      :func:`semantic_loss`
(8) L_full = L_rank + γ L_recon + λ L_sem      weights of the phase ``encoders``
(9) L_Gfull = L_G + δ L_recon                  weights of the phase ``generator``
(10) one-level L_rank (R2GAN-)                 ``picture_ranking=False``
=============================================  ==================================================

Where this file fills what the paper leaves open, or departs from it (there is no released code):

- Eq. 2: the pixel-wise Euclidean distance is divided by the square root of the number of values, so that it is the
  root mean square difference and does not grow with the picture: between 0 and 2, comparable with the margin. The
  mean of the other embeddings is normalised like every other embedding before it goes through G.
- The sum over triplets is divided by the number of those that are not 0, as the "adaptive learning schema" of AdaMine
  that section 4.1 adopts (``adaptive=False``: by their number).
- Negatives: the mean of the batch's other items, as the paper says (``negatives="mean"``). Once each pair is nearer
  than that mean, which lies in the middle of everything, nothing is left to learn; the nearest one (``"hard"``) and
  each (``"all"``) go further. With these, v_n are the pictures of these items.
- Eq. 3 to 5 have logarithms of a sigmoid, computed from logits. Eq. 5 prints ½ on its first term alone, the text says
  that the two discriminators' losses are averaged: both terms have ½ here. G descends log(1 - D) as printed
  (``generator_objective="minimax"``), or ascends log D (``"non_saturating"``).
- Eq. 6: squared norms are means over values, so that the three losses stand in the proportion that section 4.1 wants
  (the ranking loss an order of magnitude above the others); as sums over 12,288 values they would be thousands. Φ is
  D1's, being the one that knows real photos.
- G has no noise input. Real photos are reduced to its size and scaled to [-1, 1]. Widths are chosen so that the whole
  has the 89.9 M parameters that MCEN's Table 3 counts.
- β1 = 0.5 for the GAN's optimizers (DCGAN). The plateau after which the rate halves is 5 epochs.
- GAN* (Figure 5a): D2 tells real photos from recipe-born pictures, and everything else stays.
"""

import dataclasses
from typing import Literal

import keras
from keras import ops

from kfood import distances, miners, schema
from kfood.layers import dcgan
from kfood.layers.image import ImageEncoderConfig
from kfood.layers.pictures import check_picture_size, real_pictures
from kfood.layers.recipe import RecipeEncoderConfig
from kfood.layers.towers import unit_encoders
from kfood.losses import adversarial, ranking, reconstruction
from kfood.models.base import Decoder, OptimizerConfig, Phase, RetrievalModel, check_choices


@dataclasses.dataclass(frozen=True)
class R2GANConfig:
    """Settings of R2GAN; the defaults are the paper's.

    Attributes:
        image_encoder: E_V (section 3.2: ResNet-50).
        recipe_encoder: E_R (section 4.1: ingredients 300, instructions 1,024).
        embedding_size: d (section 4.1: 1,024).
        margin: α1 of Eq. 2.
        picture_margin: α2 of Eq. 2.
        negatives: ``"mean"`` of the batch's other items (section 4.1), the nearest (``"hard"``), or ``"all"``.
        adaptive: divide by the number of triplets that are not 0 (section 4.1).
        picture_ranking: the second level of Eq. 2; off in R2GAN- and where there is no G.
        adversarial: G and D1; off in "Semantic only", which has no pictures at all.
        second_discriminator: D2 tells the modalities of pictures apart (``"modality"``), or real photos from
            recipe-born pictures (``"real"``: GAN*), or is not there (``"none"``: GAN).
        semantic: L_sem; off in R2GAN-Semantic.
        picture_ranking_weight: μ of Eq. 2.
        pixel_weight: β of Eq. 6.
        reconstruction_weight: γ of Eq. 8.
        semantic_weight: λ of Eq. 8.
        generator_reconstruction_weight: δ of Eq. 9.
        generator_objective: ``"minimax"`` (Eq. 5) or ``"non_saturating"``.
        picture_size: side of a generated picture (section 4.1: 64).
        generator_width: channels before G's last layer; doubled at each step towards its start.
        discriminator_width: channels after the first step of D1 and D2.
        optimizer: of the encoders and the classifier (section 4.1).
        gan_optimizer: of G, and of D1 and D2, each its own (section 4.1).
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    recipe_encoder: RecipeEncoderConfig = RecipeEncoderConfig()
    embedding_size: int = 1024
    margin: float = 0.3
    picture_margin: float = 0.3
    negatives: Literal["mean", "hard", "all"] = "mean"
    adaptive: bool = True
    picture_ranking: bool = True
    adversarial: bool = True
    second_discriminator: Literal["modality", "real", "none"] = "modality"
    semantic: bool = True
    picture_ranking_weight: float = 0.1
    pixel_weight: float = 1.0
    reconstruction_weight: float = 0.01
    semantic_weight: float = 0.01
    generator_reconstruction_weight: float = 1.0
    generator_objective: Literal["minimax", "non_saturating"] = "minimax"
    picture_size: int = 64
    generator_width: int = 96
    discriminator_width: int = 128
    optimizer: OptimizerConfig = OptimizerConfig(1e-4, schedule="plateau", period=5, factor=0.5)
    gan_optimizer: OptimizerConfig = OptimizerConfig(2e-4, beta_1=0.5, schedule="step", period=20, factor=0.1)

    def __post_init__(self):
        choices = {
            "negatives": ("mean", "hard", "all"),
            "second_discriminator": ("modality", "real", "none"),
            "generator_objective": ("minimax", "non_saturating"),
        }
        check_choices(self, choices)
        check_picture_size(self.picture_size)
        if self.picture_ranking and not self.adversarial:
            raise ValueError("picture_ranking: expected false without adversarial=true, which makes the pictures.")


# Equations.


def ranking_losses(query, positive, query_picture, positive_picture, negative_picture, config: R2GANConfig):
    """Eq. 2 in one direction: (the embeddings' level, the pictures' level, before μ).

    Args:
        query: E_q, float ``[batch, d]``.
        positive: E_p, float ``[batch, d]``, of the other modality; row i is the pair of query i.
        query_picture: v_q, float ``[batch, side, side, 3]``, or None without the second level.
        positive_picture: v_p, likewise.
        negative_picture: v_n, likewise; only read with ``negatives="mean"``, else v_n are other rows of v_p.
        config: margins, negatives, normalisation.

    Returns:
        Two float scalars; the second is 0 without pictures.
    """
    with_pictures = query_picture is not None
    v_query, v_positive = (_pixels(x) if with_pictures else None for x in (query_picture, positive_picture))
    margins = (config.margin, config.picture_margin) if with_pictures else (config.margin,)
    if config.negatives == "mean":
        near = [distances.cosine_of_pairs(query, positive)]
        far = [distances.cosine_of_pairs(query, mean_of_others(positive))]
        if with_pictures:
            near.append(distances.euclidean_of_pairs(v_query, v_positive))
            far.append(distances.euclidean_of_pairs(v_query, _pixels(negative_picture)))
        levels = [_relative(*terms, config) for terms in zip(near, far, margins, strict=True)]
    else:
        same = ops.eye(ops.shape(query)[0], dtype="bool")
        tables = [distances.cosine(query, positive)]
        if with_pictures:
            tables.append(distances.euclidean(v_query, v_positive))
        if config.negatives == "all":
            levels = [
                ranking.all_triplets(table, same, margin, config.adaptive)
                for table, margin in zip(tables, margins, strict=True)
            ]
        else:
            hardest = miners.nearest_negative(tables[0], same)
            levels = [
                _relative(ops.diagonal(table), ranking.select(table, hardest), margin, config)
                for table, margin in zip(tables, margins, strict=True)
            ]
    return levels[0], levels[1] if with_pictures else 0.0


def _relative(positive, negative, margin, config):
    """max{d(q, p) - d(q, n) + α, 0} over the batch."""
    terms = ops.relu(positive - negative + margin)
    return ranking.mean_of_active(terms) if config.adaptive else ops.mean(terms)


def _pixels(pictures):
    """Pictures as rows whose Euclidean distance is the root mean square difference of their values."""
    rows = ops.reshape(ops.cast(pictures, "float32"), (ops.shape(pictures)[0], -1))
    return rows / ops.sqrt(ops.cast(ops.shape(rows)[1], "float32"))


def mean_of_others(embeddings):
    """E_n (section 4.1): for each row the mean of all other rows, normalised; float ``[batch, d]`` to the same."""
    others = ops.sum(embeddings, axis=0, keepdims=True) - embeddings
    return distances.unit_length(others)


def discriminator_1_loss(real_logits, image_logits):
    """Eq. 3, max over D1, sign turned: real photos against image-born pictures."""
    return adversarial.discriminator(real_logits, image_logits)


def discriminator_2_loss(first_logits, recipe_logits):
    """Eq. 4, max over D2, sign turned: image-born pictures (in GAN*: real photos) against recipe-born ones."""
    return adversarial.discriminator(first_logits, recipe_logits)


def generator_loss(image_logits, recipe_logits, objective):
    """Eq. 5, min over G: the mean of what D1 says of image-born pictures and D2 of recipe-born ones.

    Args:
        image_logits: float ``[batch, 1]``, of D1.
        recipe_logits: float ``[batch, 1]``, of D2, or None without it: then D1 is all there is.
        objective: see :func:`kfood.losses.adversarial.generator`.

    Returns:
        float scalar.
    """
    first = adversarial.generator(image_logits, objective)
    if recipe_logits is None:
        return first
    return 0.5 * (first + adversarial.generator(recipe_logits, objective))


def reconstruction_loss(real, image_born, recipe_born, pixel_weight):
    """Eq. 6: image-born pictures like real ones, recipe-born like image-born, in features and in pixels.

    Args:
        real: (Φ(v_real), v_real), float ``[batch, ...]`` each.
        image_born: (Φ(v_f^I), v_f^I).
        recipe_born: (Φ(v_f^R), v_f^R).
        pixel_weight: β.

    Returns:
        float scalar; each squared norm is a mean over values.
    """

    def apart(first, second):
        return ops.mean(ops.square(ops.cast(first, "float32") - ops.cast(second, "float32")))

    features = apart(real[0], image_born[0]) + apart(image_born[0], recipe_born[0])
    pixels = apart(real[1], image_born[1]) + apart(image_born[1], recipe_born[1])
    return 0.5 * (features + pixel_weight * pixels)


def semantic_loss(image_logits, recipe_logits, labels):
    """Eq. 7 of both embeddings through one classifier; the background class has weight 0; float scalar."""
    return reconstruction.classes(image_logits, labels, schema.BACKGROUND_CLASS) + reconstruction.classes(
        recipe_logits, labels, schema.BACKGROUND_CLASS
    )


# The model.


@keras.saving.register_keras_serializable("kfood")
class R2GAN(RetrievalModel):
    """R2GAN; see the module for its equations.

    Args:
        config: :class:`R2GANConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.
    """

    config_class = R2GANConfig

    def __init__(self, config=R2GANConfig(), spec=schema.RecipeSpec(), name="r2gan", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name=name, **kwargs)
        config, spec, size = self.config, self.spec, self.config.embedding_size
        self.distance = "cosine"
        self.encoders = unit_encoders(spec, config.image_encoder, config.recipe_encoder, size)
        own: list[keras.layers.Layer] = [*self.encoders.values()]
        weights = {"ranking": 1.0}
        phases = []

        if config.adversarial:
            self.generator = dcgan.generator(size, config.picture_size, config.generator_width)
            discriminators = ["discriminator_1"]
            self.discriminator_1 = dcgan.discriminator(
                config.picture_size, config.discriminator_width, "discriminator_1"
            )
            if config.second_discriminator != "none":
                self.discriminator_2 = dcgan.discriminator(
                    config.picture_size, config.discriminator_width, "discriminator_2"
                )
                discriminators.append("discriminator_2")
            phases = [Phase(name, {name: 1.0}, (getattr(self, name),), config.gan_optimizer) for name in discriminators]
            phases.append(
                Phase(
                    "generator",
                    {"generator": 1.0, "reconstruction": config.generator_reconstruction_weight},  # Eq. 9
                    (self.generator,),
                    config.gan_optimizer,
                    together=True,
                )
            )
            if config.picture_ranking:
                weights["picture_ranking"] = config.picture_ranking_weight
            weights["reconstruction"] = config.reconstruction_weight
            self.decoders["picture"] = Decoder(("recipe", "image"), self._picture_decoder())
        if config.semantic:
            embedding = keras.Input((size,), name="embedding")
            logits = keras.layers.Dense(spec.classes, dtype="float32", name="classes")(embedding)
            self.classifier = keras.Model(embedding, logits, name="classifier")
            own.append(self.classifier)
            weights["semantic"] = config.semantic_weight
        self.phases = (*phases, Phase("encoders", weights, tuple(own), config.optimizer))  # Eq. 8
        self.build()

    @property
    def picture_side(self):
        """Of the photos that the discriminators see."""
        return self.config.picture_size if self.config.adversarial else 0

    def embed(self, batch, training):
        """E_V, E_R, and the pictures that G makes of them and of the negatives (section 3.2)."""
        features = self(batch, training=training)
        if not self.config.adversarial:
            return features
        image, recipe = features["image"], features["recipe"]
        names, embeddings = ["image_picture", "recipe_picture"], [image, recipe]
        if self.config.picture_ranking and self.config.negatives == "mean":
            names += ["image_negative_picture", "recipe_negative_picture"]
            embeddings += [mean_of_others(recipe), mean_of_others(image)]
        # One call: batch normalisation sees all of them, as its moving statistics do in use.
        pictures = self.generator(ops.concatenate(embeddings), training=training)
        features |= dict(zip(names, ops.split(pictures, len(names)), strict=True))
        features["real_picture"] = real_pictures(batch, self.config.picture_size, antialias=not self.jit_compile)
        return features

    def losses_of(self, phase, features, batch, training):
        """The losses of the phases ``discriminator_1``, ``discriminator_2`` and ``encoders`` (with the generator's)."""
        if phase == "encoders":
            return self._shared_losses(features, batch, training)
        if phase == "discriminator_1":
            names, loss = ("real_picture", "image_picture"), discriminator_1_loss
        else:
            modality = self.config.second_discriminator == "modality"
            names = ("image_picture" if modality else "real_picture", "recipe_picture")
            loss = discriminator_2_loss
        network = getattr(self, phase)
        logits = [network(features[name], training=training)[1] for name in names]
        return {phase: loss(*logits)}

    def _shared_losses(self, features, batch, training):
        config = self.config
        image, recipe = features["image"], features["recipe"]
        pictures: tuple = (None, None, None, None)
        if config.picture_ranking:
            pictures = (
                features["image_picture"],
                features["recipe_picture"],
                features.get("image_negative_picture"),
                features.get("recipe_negative_picture"),
            )
        v_image, v_recipe, v_image_negative, v_recipe_negative = pictures
        both = (
            ranking_losses(image, recipe, v_image, v_recipe, v_image_negative, config),
            ranking_losses(recipe, image, v_recipe, v_image, v_recipe_negative, config),
        )
        named = {"ranking": both[0][0] + both[1][0]}
        if config.picture_ranking:
            named["picture_ranking"] = both[0][1] + both[1][1]
        if config.adversarial:
            real, image_born, recipe_born = (
                (*self.discriminator_1(features[name], training=training), features[name])
                for name in ("real_picture", "image_picture", "recipe_picture")
            )
            second = None
            if config.second_discriminator != "none":
                second = self.discriminator_2(features["recipe_picture"], training=training)[1]
            named["generator"] = generator_loss(image_born[1], second, config.generator_objective)
            named["reconstruction"] = reconstruction_loss(
                real[::2], image_born[::2], recipe_born[::2], config.pixel_weight
            )
        if config.semantic:
            of_image, of_recipe = (self.classifier(embeddings, training=training) for embeddings in (image, recipe))
            named["semantic"] = semantic_loss(of_image, of_recipe, batch[schema.CLASS_ID])
        return named

    def _picture_decoder(self):
        """Embedding → picture in [0, 255]."""
        embedding = keras.Input((self.config.embedding_size,), name="embedding")
        picture = keras.layers.Rescaling(127.5, 127.5)(self.generator(embedding))
        return keras.Model(embedding, picture, name="picture")
