r"""R2GAN: Cross-modal Recipe Retrieval with Generative Adversarial Network.

Bin Zhu, Chong-Wah Ngo, Jingjing Chen, Yanbin Hao. CVPR 2019.

======================  ============================================  ==============================================
paper                   here                                          shape, range
======================  ============================================  ==============================================
v, r                    ``batch["image"]``, recipe features           :mod:`kfood.schema`
v_real                  ``real_picture``: v, reduced                  [batch, 64, 64, 3] in [-1, 1]
d                       ``embedding_size``                            1024
E_V, E_R                ``image``, ``recipe`` (the embeddings)        [batch, 1024], L2-normalised
E_q, E_p, E_n           query, its pair, the mean of the others       :func:`ranking_losses`
G                       ``generator``                                 embedding → [batch, 64, 64, 3] in (-1, 1)
v_f^I, v_f^R            ``image_picture``, ``recipe_picture``         G(E_V), G(E_R)
v_q, v_p, v_n           the same, and G(E_n), of either query:        :func:`ranking_losses`
                        ``negative_of_image_picture``,
                        ``negative_of_recipe_picture``
D1                      ``discriminator_1``: real or fake             picture → (Φ, logit)
D2                      ``discriminator_2``: image or recipe          picture → (Φ, logit)
c                       ``batch["class_id"]``                         [batch]
E_c                     ``classifier``                                [batch, classes], logits
Φ                       the output before the last layer of D1        [batch, 4, 4, c]
d(·, ·)                 1 - cosine; pixel-wise Euclidean              :mod:`kfood.distances`
                        for pictures
α1, α2                  ``margin``, ``picture_margin``                0.3, 0.3
μ                       ``picture_ranking_weight``                    0.1
β                       ``pixel_weight``                              1
γ, λ, δ                 ``reconstruction_weight``,                    0.01, 0.01, 1
                        ``semantic_weight``,
                        ``generator_reconstruction_weight``
======================  ============================================  ==============================================

===========================================  ===============================  ===================================
equation                                     loss (column of metrics.csv)     function
===========================================  ===============================  ===================================
(2) L_rank, its two levels                   ``ranking``,                     :func:`ranking_losses`
                                             ``picture_ranking``
(3) -L_D1                                    ``discriminator_1``              :func:`discriminator_1_loss`
(4) -L_D2                                    ``discriminator_2``              :func:`discriminator_2_loss`
(5) L_G                                      ``generator``                    :func:`generator_loss`
(6) L_recon                                  ``reconstruction``               :func:`reconstruction_loss`
(7) L_sem                                    ``semantic``                     :func:`semantic_loss`
(8) L_full = L_rank + γ L_recon + λ L_sem    ``loss``                         weights of the phase ``encoders``
(9) L_Gfull = L_G + δ L_recon                                                 weights of the phase ``generator``
(10) one-level L_rank (R2GAN-)                                                ``picture_ranking=False``
===========================================  ===============================  ===================================

All but ``loss`` are logged without their weights (``picture_ranking`` before μ); (9) is not logged. ``generator`` is
negative with ``minimax``, positive with ``non_saturating``.

Where this file fills what the paper leaves open, or departs from it (there is no released code):

- Encoders are JNE's: tanh follows the last layer, then L2 (released code of JNE), so that G and the classifier receive
  vectors of length 1. Section 4.1's 300 of ingredients is read as that of each direction (JNE's code): 600 joined. Its
  word2vec vectors are a start that
  ``recipe_encoder.vectors`` names, random without; its skip-instruction vectors are learned by a word-level bi-LSTM, or
  precomputed (``RecipeSpec.instruction_vectors``). ResNet-50 is Keras': weights trained elsewhere, strides in another
  place of a block, other pixel means than PyTorch's. JNE's code crops from the centre 256 × 256 of a photo, here a crop
  may lie anywhere along the longer side.
- Eq. 2: the pixel-wise Euclidean distance is divided by the square root of the number of values, so that it is the
  root mean square difference and does not grow with the picture: between 0 and 2, comparable with the margin. The
  mean of the other embeddings is normalised like every other embedding before it goes through G.
- Both directions of Eq. 2 are added. In each, and on each level by itself, the sum over triplets is divided by the
  number of those that are not 0: AdaMine's adaptive strategy, which section 2.1 says R2GAN adopts, and how section
  4.1's "adaptive learning schema [16, 2]" is read, though its [16] is Adam (``adaptive=False``: by their number).
- Negatives: the mean of the batch's other items, as the paper says (``negatives="mean"``). Once each pair is nearer
  than that mean by the margin, which lies in the middle of everything, nothing is left to learn; the nearest one
  (``"hard"``) and each (``"all"``; the positive is then the farthest photo of the recipe) go further. With these, v_n
  are the pictures of these items. Photos of one recipe in a batch are
  never negatives of each other.
- Eq. 3 to 5 have logarithms of a sigmoid, computed from logits. Eq. 5 prints ½ on its first term alone, the text says
  that the two discriminators' losses are averaged: both terms have ½ here. G descends log(1 - D) as printed
  (``generator_objective="minimax"``), or ascends log D (``"non_saturating"``).
- Eq. 6: squared norms are means over values, so that the three losses stand in the proportion that section 4.1 wants
  (the ranking loss an order of magnitude above the others); as sums over 12,288 values they would be thousands. Φ is
  D1's, being the one that knows real photos. Recipe-born pictures are compared with image-born ones, as printed, or
  with the photo itself (``recipe_pictures_like="real_picture"``): what a recipe says of its dish is then not asked to
  be what the photo's embedding says of it.
- Eq. 7 leaves the background class out, as JNE's code does: it is no class of food.
- G has no noise input. Real photos are reduced to its size and scaled to [-1, 1]. G begins with a linear layer to
  4 × 4; D's convolutions are 4 × 4 of stride 2 (DCGAN's public code), its last one covers what is left. Widths are
  chosen so that the whole has within 2 % the 89.9 M parameters that MCEN's Table 3 counts, with 30,000 words and 4,102
  ingredient names: the paper gives no vocabulary.
- "G, D1, D2 are optimized alternatively": here D1 and D2 move first, on features without gradient; then G and the
  encoders move together, on one forward pass and each by its own losses.
- Batch normalisation: D1 and D2 see real, image-born and recipe-born pictures apart, so that Φ is normalised kind by
  kind and Eq. 6 does not see what all pictures of a kind have in common. G makes all its pictures in one call; with
  ``negatives="mean"`` those of E_n, which are nearly alike, are half of what its statistics are of (on their own they
  would be normalised by their small differences), and R2GAN- has none of them.
- Layers of G, D1 and D2 start Glorot uniform; DCGAN, which guides them, starts from N(0, 0.02).
- β1 = 0.5 for the GAN's optimizers (DCGAN). The plateau after which the rate halves is 5 epochs.
- GAN* (Figure 5a): D2 tells real photos from recipe-born pictures, and everything else stays.
- GAN (Figure 5b) has no D2. Its figure shows the image-born picture alone; here recipe-born ones stay in Eq. 2 and 6,
  which have them.
"""

import dataclasses
from typing import Literal

import keras
from keras import ops

from kfood import distances, miners, precision, schema
from kfood.layers import dcgan
from kfood.layers.image import ImageEncoderConfig
from kfood.layers.pictures import check_picture_size, real_pictures
from kfood.layers.recipe import RecipeEncoderConfig
from kfood.layers.towers import unit_encoders
from kfood.losses import adversarial, ranking, reconstruction
from kfood.models.base import Decoder, RetrievalModel
from kfood.models.batches import recipes_of
from kfood.models.phases import OptimizerConfig, Phase
from kfood.settings import check_choices


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
        adaptive: divide by the number of triplets that are not 0 (sections 2.1, 4.1).
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
        recipe_pictures_like: what Eq. 6 compares recipe-born pictures with: ``"image_picture"``, image-born ones, or
            ``"real_picture"``, the photo.
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
    recipe_pictures_like: Literal["image_picture", "real_picture"] = "image_picture"
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
            "recipe_pictures_like": ("image_picture", "real_picture"),
            "generator_objective": ("minimax", "non_saturating"),
        }
        check_choices(self, choices)
        check_picture_size(self.picture_size)
        if self.picture_ranking and not self.adversarial:
            raise ValueError("picture_ranking: expected false without adversarial=true, which makes the pictures.")


# Equations.


def ranking_losses(query, positive, pictures, same, config: R2GANConfig):
    """Eq. 2 in one direction: (the embeddings' level, the pictures' level, before μ).

    A query whose recipe is all that the batch holds has no negative, and counts 0.

    Args:
        query: E_q, float ``[batch, d]``.
        positive: E_p, float ``[batch, d]``, of the other modality; row i is the pair of query i.
        pictures: (v_q, v_p, v_n), float ``[batch, side, side, 3]`` each, or None without the second level (Eq. 10). v_n
            is only read with ``negatives="mean"``, else v_n are other rows of v_p, and may be None.
        same: bool ``[batch, batch]``, which items are of one recipe.
        config: margins, negatives, normalisation.

    Returns:
        Two float scalars; the second is 0 without pictures.
    """
    nearest = None
    if config.negatives == "hard":  # those of the embeddings' level, for both levels
        nearest = miners.nearest_negative(distances.cosine(query, positive), same)
    mean = mean_of_others(positive, same) if config.negatives == "mean" else None
    functions = distances.cosine, distances.cosine_of_pairs
    first = _level(*functions, (query, positive, mean), config.margin, same, nearest, config)
    if pictures is None:
        return first, 0.0
    functions = distances.euclidean, distances.euclidean_of_pairs
    rows = [None if picture is None else _pixels(picture) for picture in pictures]
    return first, _level(*functions, rows, config.picture_margin, same, nearest, config)


def _level(distance, distance_of_pairs, rows, margin, same, nearest, config):
    """max{d(q, p) - d(q, n) + α, 0} over the batch; rows: q, p and, of the negatives' mean, n."""
    query, positive, negative = rows
    if config.negatives == "all":
        return ranking.all_triplets(distance(query, positive), same, margin, config.adaptive)
    if config.negatives == "mean":
        far = distance_of_pairs(query, negative)
    else:
        far = ranking.select(distance(query, positive), nearest)
    terms = ops.relu(distance_of_pairs(query, positive) - far + margin)
    terms = ops.where(ops.all(same, axis=1), 0.0, terms)
    return ranking.mean_of_active(terms) if config.adaptive else ops.mean(terms)


def _pixels(pictures):
    """Pictures as rows whose Euclidean distance is the root mean square difference of their values."""
    rows = ops.reshape(ops.cast(pictures, "float32"), (ops.shape(pictures)[0], -1))
    return rows / ops.sqrt(ops.cast(ops.shape(rows)[1], "float32"))


def mean_of_others(embeddings, same):
    """E_n (section 4.1): for each row the mean of all rows of other recipes, normalised.

    Args:
        embeddings: float ``[batch, d]``.
        same: bool ``[batch, batch]``, which rows are of one recipe.

    Returns:
        float ``[batch, d]``; zeros where there is no other recipe.
    """
    others = ops.matmul(ops.cast(ops.logical_not(same), embeddings.dtype), embeddings)
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


def reconstruction_loss(real, image_born, recipe_born, pixel_weight, recipe_like=None):
    """Eq. 6: image-born pictures like real ones, recipe-born like image-born, in features and in pixels.

    Args:
        real: (Φ(v_real), v_real), float ``[batch, ...]`` each.
        image_born: (Φ(v_f^I), v_f^I).
        recipe_born: (Φ(v_f^R), v_f^R).
        pixel_weight: β.
        recipe_like: what the recipe-born are compared with, if not with ``image_born``.

    Returns:
        float scalar; each squared norm is a mean over values.
    """

    def apart(first, second):
        return ops.mean(ops.square(ops.cast(first, "float32") - ops.cast(second, "float32")))

    wanted = image_born if recipe_like is None else recipe_like
    features = apart(real[0], image_born[0]) + apart(wanted[0], recipe_born[0])
    pixels = apart(real[1], image_born[1]) + apart(wanted[1], recipe_born[1])
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
        return self.from_items(self.embed_items(batch, training), batch, training)

    def embed_items(self, batch, training):
        """E_V, E_R, and the real pictures."""
        features = self(batch, training=training)
        if self.config.adversarial:
            side = self.config.picture_size
            features["real_picture"] = real_pictures(batch, side, antialias=self.antialias)
        return features

    def from_items(self, features, batch, training):
        """G's pictures: a negative is the mean of all others, and G's batch normalisation sees the whole batch."""
        if not self.config.adversarial:
            return features
        image, recipe = features["image"], features["recipe"]
        recipes = recipes_of(batch, image)
        same = miners.matches(recipes, recipes)
        names, embeddings = ["image_picture", "recipe_picture"], [image, recipe]
        if self.config.picture_ranking and self.config.negatives == "mean":
            names += ["negative_of_image_picture", "negative_of_recipe_picture"]
            embeddings += [mean_of_others(recipe, same), mean_of_others(image, same)]
        # One call: batch normalisation's statistics, and the moving ones of later use, are of all of them together.
        pictures = self.generator(ops.concatenate(embeddings), training=training)
        return {**features, **dict(zip(names, ops.split(pictures, len(names)), strict=True))}

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
        recipes = recipes_of(batch, image)
        same = miners.matches(recipes, recipes)
        of_image = of_recipe = None
        if config.picture_ranking:
            v_image, v_recipe = features["image_picture"], features["recipe_picture"]
            of_image = (v_image, v_recipe, features.get("negative_of_image_picture"))
            of_recipe = (v_recipe, v_image, features.get("negative_of_recipe_picture"))
        both = (
            ranking_losses(image, recipe, of_image, same, config),
            ranking_losses(recipe, image, of_recipe, same, config),
        )
        named = {"ranking": both[0][0] + both[1][0]}
        if config.picture_ranking:
            named["picture_ranking"] = both[0][1] + both[1][1]
        if config.adversarial:
            sides = {name: features[f"{name}_picture"] for name in ("real", "image", "recipe")}
            seen = precision.widened(
                {name: self.discriminator_1(picture, training=training) for name, picture in sides.items()}
            )
            judged = None
            if config.second_discriminator != "none":
                judged = self.discriminator_2(features["recipe_picture"], training=training)[1]
            named["generator"] = generator_loss(seen["image"][1], judged, config.generator_objective)
            real, image_born, recipe_born = ((seen[name][0], picture) for name, picture in sides.items())
            like = image_born if config.recipe_pictures_like == "image_picture" else real
            named["reconstruction"] = reconstruction_loss(real, image_born, recipe_born, config.pixel_weight, like)
        if config.semantic:
            first, second = (self.classifier(embeddings, training=training) for embeddings in (image, recipe))
            named["semantic"] = semantic_loss(first, second, batch[schema.CLASS_ID])
        return named

    def _picture_decoder(self):
        """Embedding → picture in [0, 255]."""
        embedding = keras.Input((self.config.embedding_size,), name="embedding")
        picture = keras.layers.Rescaling(127.5, 127.5)(self.generator(embedding))
        return keras.Model(embedding, picture, name="picture")
