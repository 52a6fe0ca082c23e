r"""What every recipe paper compares with, and what a user would try first, on the contract of the papers' models.

- :class:`CCA`: canonical correlation analysis of frozen features, in closed form (Hotelling 1936).
- :class:`JNE`: Salvador et al., Learning Cross-modal Embeddings for Cooking Recipes and Food Images, CVPR 2017.
- :class:`AdaMine`: Carvalho et al., Cross-Modal Retrieval in the Cooking Context, SIGIR 2018.

The last two, and the two-tower model (:mod:`kfood.models.two_tower`), differ in one method, their losses; encoders,
cosine distance and training are the same, :class:`JointEmbedding`.

=========  ==========================================  ==========================================================
model      loss                                        function
=========  ==========================================  ==========================================================
JNE        cosine loss of pairs, α = 0.1               :func:`~kfood.losses.ranking.mismatched_pairs`
JNE        semantic regularisation, weight 0.02        :func:`~kfood.losses.reconstruction.classes`
AdaMine    instance triplets, α = 0.3, adaptive        :func:`~kfood.losses.ranking.instance_triplets`
AdaMine    semantic triplets, λ = 0.3, adaptive        :func:`~kfood.losses.ranking.class_triplets`
CCA        none: the projections are solved for        :mod:`kfood.layers.canonical`
=========  ==========================================  ==========================================================

Where they depart from their papers:

- All but CCA: photos of one recipe in a batch are no negatives of it. The encoders are JNE's, but ResNet-50 is Keras'
  (other weights, strides and pixel means than PyTorch's), word vectors start random or from the file that
  ``recipe_encoder.vectors`` names, in place of word2vec's, sentence vectors are learned by a word-level bi-LSTM or
  precomputed (``RecipeSpec.instruction_vectors``), in place of skip-instructions, and a training crop may lie anywhere
  along a photo's longer side, not only within its centre 256 × 256.
- JNE draws a matching recipe with probability 0.2 and another one otherwise; here each batch gives the expectation of
  that draw over all its pairs. The two embeddings share one classifier, as in the paper.
- AdaMine's released code draws one item of the anchor's class and a limited number of others; here every triplet of the
  batch counts, which is what its Eq. 3 to 5 say.
- CCA's features are those of frozen networks, as in the papers: the image backbone (pretrained weights if
  ``image_encoder.weights`` names them, else a random one) and the mean word vectors of title, ingredients and
  instructions. The word vectors are random and fixed, which keeps the geometry of word counts. With ``bag_words`` the
  recipe's features are its words themselves (:mod:`kfood.layers.bag`); with a pooling other than the mean the image's
  are of length 1 (:mod:`kfood.layers.pooling`), as Gong et al. 2014 make theirs before CCA.
"""

import dataclasses

import keras
from keras import ops

from kfood import distances, miners, schema
from kfood.layers.bag import word_bag
from kfood.layers.canonical import Moments, canonical_projections
from kfood.layers.image import ImageEncoderConfig, backbone
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.memory import PairMemory, check_memory, check_remembered
from kfood.layers.outputs import UnitLength
from kfood.layers.pooling import pool
from kfood.layers.recipe import RecipeEncoderConfig, TokenMean
from kfood.layers.towers import unit_encoders
from kfood.losses import ranking, reconstruction
from kfood.models.base import RetrievalModel
from kfood.models.batches import batch_of, recipes_of, run
from kfood.models.phases import OptimizerConfig, Phase


@dataclasses.dataclass(frozen=True)
class JointEmbeddingConfig:
    """What JNE, AdaMine and the two-tower model have in common; the defaults are JNE's.

    Attributes:
        image_encoder: ResNet-50.
        recipe_encoder: bi-LSTM over ingredients, LSTM over instructions.
        embedding_size: 1,024.
        optimizer: Adam.
        memory: pairs of earlier steps that are further negatives (:mod:`kfood.layers.memory`); 0: none.
        memory_warmup: steps before the first of them.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    recipe_encoder: RecipeEncoderConfig = RecipeEncoderConfig()
    embedding_size: int = 1024
    optimizer: OptimizerConfig = OptimizerConfig(1e-4)
    memory: int = 0
    memory_warmup: int = 1000

    def __post_init__(self):
        check_memory(self)


@dataclasses.dataclass(frozen=True)
class JNEConfig(JointEmbeddingConfig):
    """Settings of JNE beside the common ones; the defaults are the paper's and its code's.

    Attributes:
        margin: α of the cosine loss (0.1).
        positive_share: chance of drawing a matching pair (0.2).
        semantic_weight: λ of the semantic regularisation (0.02); the cosine loss has the rest of 1.
    """

    margin: float = 0.1
    positive_share: float = 0.2
    semantic_weight: float = 0.02


@dataclasses.dataclass(frozen=True)
class AdaMineConfig(JointEmbeddingConfig):
    """Settings of AdaMine beside the common ones; the defaults are the paper's.

    Attributes:
        margin: α of both triplet losses (0.3).
        semantic_weight: λ of the semantic triplets (0.3).
    """

    margin: float = 0.3
    semantic_weight: float = 0.3


@dataclasses.dataclass(frozen=True)
class CCAConfig:
    """Settings of CCA.

    Attributes:
        image_encoder: whose frozen, pooled backbone gives the picture's features.
        word_size: width of a fixed random word vector.
        bag_words: so many of the most frequent words are the recipe's features, rare ones weighing more, in place of
            random vectors; the spec must read words of every part. 0: off.
        bag_filling: directions in which parts that a recipe lacks are predicted from those that it has, with
            ``bag_words``; 0: off.
        embedding_size: number of canonical components kept.
        ridge: added to the diagonal of both covariances, in units of its mean.
        optimizer: of nothing; the projections are solved for.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    word_size: int = 300
    bag_words: int = 0
    bag_filling: int = 0
    embedding_size: int = 256
    ridge: float = 0.1
    optimizer: OptimizerConfig = OptimizerConfig()

    def __post_init__(self):
        if not self.ridge > 0:
            raise ValueError(f"ridge: expected a positive number, received {self.ridge}.")


class JointEmbedding(RetrievalModel):
    """Two encoders, cosine distance, one phase; a subclass says which losses with which weights."""

    def __init__(self, config, spec, name, **kwargs):
        super().__init__(config, spec, name=name, **kwargs)
        config = self.config
        self.distance = "cosine"
        self.encoders = unit_encoders(self.spec, config.image_encoder, config.recipe_encoder, config.embedding_size)
        self.memory = None
        if config.memory:
            self.memory = PairMemory(config.memory, config.embedding_size, config.memory_warmup, name="memory")
            self.memory.build()
        weights, heads = self._terms()
        self.phases = (Phase("encoders", weights, (*self.encoders.values(), *heads), config.optimizer),)
        self.build()

    def _terms(self) -> tuple[dict[str, float], tuple[keras.layers.Layer, ...]]:
        """Weights by loss name, and layers trained beside the encoders."""
        raise NotImplementedError

    def embed(self, batch, training):
        """Both embeddings; with a memory also ``recipes``, their numbers."""
        features = self(batch, training=training)
        if self.memory is not None and training:
            check_remembered(batch)
            features["recipes"] = self.recipes(batch, features["image"])
        return features

    def recipes(self, batch, embeddings):
        """See :func:`kfood.models.batches.recipes_of`."""
        return recipes_of(batch, embeddings)

    def alike(self, batch, embeddings):
        """Which images are of which recipes of the batch: bool ``[batch, batch]``."""
        recipes = self.recipes(batch, embeddings)
        return miners.matches(recipes, recipes)

    def end_step(self, features):
        """What the memory keeps."""
        if self.memory is not None:
            self.memory.push(features["image"], features["recipe"], features["recipes"])

    def others(self, features, training, compared):
        """What the memory adds to a training loss; ``compared``: cosines → what the loss wants of them."""
        if self.memory is None or not training:
            return None
        sides, counted = self.memory(features["image"], features["recipe"], features["recipes"])
        return ranking.Others(tuple(compared(side) for side in sides), counted)


@keras.saving.register_keras_serializable("kfood")
class JNE(JointEmbedding):
    """Joint neural embedding: cosine loss of pairs and semantic regularisation (Salvador et al. 2017, section 4).

    Args:
        config: :class:`JNEConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.
    """

    config_class = JNEConfig

    def __init__(self, config=JNEConfig(), spec=schema.RecipeSpec(), name="jne", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name, **kwargs)

    def _terms(self):
        self.classifier = keras.layers.Dense(self.spec.classes, dtype="float32", name="classifier")
        self.classifier.build((None, self.config.embedding_size))
        share = self.config.semantic_weight
        return {"pairs": 1.0 - share, "semantic": share}, (self.classifier,)

    def losses_of(self, phase, features, batch, training):
        """``pairs`` and ``semantic``."""
        image, recipe = features["image"], features["recipe"]
        cosines = 1.0 - distances.cosine(image, recipe)
        semantic = (
            reconstruction.classes(self.classifier(side), batch[schema.CLASS_ID], schema.BACKGROUND_CLASS)
            for side in (image, recipe)
        )
        return {
            "pairs": ranking.mismatched_pairs(
                cosines,
                self.alike(batch, image),
                self.config.margin,
                self.config.positive_share,
                self.others(features, training, lambda cosines: cosines),
            ),
            "semantic": sum(semantic),
        }


@keras.saving.register_keras_serializable("kfood")
class AdaMine(JointEmbedding):
    """Instance and semantic triplets, each divided by how many of them are active (Carvalho et al. 2018, section 3).

    Args:
        config: :class:`AdaMineConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.
    """

    config_class = AdaMineConfig

    def __init__(self, config=AdaMineConfig(), spec=schema.RecipeSpec(), name="adamine", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)

    def _terms(self):
        return {"instance": 1.0, "semantic": self.config.semantic_weight}, ()

    def losses_of(self, phase, features, batch, training):
        """``instance`` and ``semantic``, each the sum over both directions."""
        between = distances.cosine(features["image"], features["recipe"])
        labels, margin = batch[schema.CLASS_ID], self.config.margin
        same = self.alike(batch, features["image"])
        sides = (between, ops.transpose(between))
        return {
            "instance": ranking.instance_triplets(
                between, same, margin, self.others(features, training, lambda cosines: 1.0 - cosines)
            ),
            "semantic": sum(ranking.class_triplets(side, labels, schema.BACKGROUND_CLASS, margin) for side in sides),
        }


@keras.saving.register_keras_serializable("kfood")
class CCA(RetrievalModel):
    """Canonical correlation analysis on frozen features: one pass over the data, then the projections are solved for.

    ``fit`` with one epoch is all there is to it. Each further epoch adds to what the projections are solved from, which
    is worth it where it shows other views of the photos. Each component is weighted by its correlation
    (Gong et al. 2014, section 3.4), embeddings are L2-normalised and compared by cosine.

    Args:
        config: :class:`CCAConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict.

    Raises:
        ValueError: more components than features.
    """

    config_class: type = CCAConfig

    def __init__(self, config=CCAConfig(), spec=schema.RecipeSpec(), name="cca", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name=name, **kwargs)
        config = self.config
        self.distance = "cosine"
        self.features = self._feature_networks()
        widths = {side: network.output_shape[-1] for side, network in self.features.items()}
        if config.embedding_size > min(widths.values()):
            raise ValueError(
                f"embedding_size: expected at most {min(widths.values())}, the narrower side's number of features, "
                f"received {config.embedding_size}."
            )
        self.projections = {
            side: Projection(config.embedding_size, dtype="float32", name=f"{side}_projection") for side in widths
        }
        self.encoders = {
            side: keras.Model(
                network.input,
                UnitLength(dtype="float32", name="embedding")(self.projections[side](network.output)),
                name=f"{side}_encoder",
            )
            for side, network in self.features.items()
        }
        for network in self.features.values():
            network.trainable = False
        self.moments = Moments(*widths.values(), dtype="float32", name="moments")
        self.moments.build()
        self.phases = (Phase("encoders", {"misfit": 1.0}, tuple(self.projections.values()), config.optimizer),)
        self.build()

    def _feature_networks(self) -> dict[str, keras.Model]:
        """Two frozen networks by name: dict of features → float ``[batch, p]``, float ``[batch, q]``."""
        return {"image": picture_features(self.spec, self.config), "recipe": recipe_features(self.spec, self.config)}

    def embed(self, batch, training):
        """Both embeddings; nothing here has a training mode."""
        return self(batch, training=False)

    def losses_of(self, phase, features, batch, training):
        """``misfit``: the mean squared distance of paired embeddings, with the projections as they are."""
        first, second = features.values()
        return {"misfit": ops.mean(ops.sum(ops.square(first - second), axis=1))}

    def begin_epoch(self, epoch):
        """A new training forgets what the last one saw."""
        if epoch == 0:
            self.moments.reset()

    def play(self, data):
        """Adds the batch's features to the moments."""
        batch = batch_of(data)
        self.moments(*(run(network, batch, training=False) for network in self.features.values()))
        return self._test(data)

    def end_epoch(self, epoch):
        """Solves for the projections."""
        means, (xx, yy, xy) = self.moments.means(), self.moments.covariances()
        *matrices, correlations = canonical_projections(xx, yy, xy, self.config.embedding_size, self.config.ridge)
        for projection, mean, matrix in zip(self.projections.values(), means, matrices, strict=True):
            projection.mean.assign(mean)
            projection.matrix.assign(matrix * correlations)


def picture_features(spec: schema.RecipeSpec, config: CCAConfig) -> keras.Model:
    """Photo → the backbone's pooled features; float ``[batch, p]``."""
    inputs = symbolic_inputs(spec.image_inputs())
    features = backbone(spec.image_size, config.image_encoder)(inputs[schema.IMAGE])
    pooled = ops.cast(pool(features, config.image_encoder.pooling), "float32")
    return keras.Model(inputs, pooled, name="picture_features")


def recipe_features(spec: schema.RecipeSpec, config: CCAConfig) -> keras.Model:
    """Recipe → its bag of words, or the mean word vector of each of its parts, joined; float ``[batch, q]``."""
    inputs = symbolic_inputs(spec.recipe_inputs())
    if config.bag_words:
        bag = word_bag(spec, config.bag_words, config.bag_filling)
        return keras.Model(inputs, bag(inputs), name="recipe_features")
    parts = []
    for name, received in inputs.items():
        if name == schema.INSTRUCTION_VECTORS:
            parts.append(keras.layers.GlobalAveragePooling1D(name=f"{name}_mean")(received))
            continue
        names = name == schema.INGREDIENTS and spec.ingredient_unit == "name"
        table = keras.layers.Embedding(
            spec.ingredient_vocabulary if names else spec.word_vocabulary,
            config.word_size,
            embeddings_initializer="random_normal",
            name=f"{name}_vectors",
        )
        tokens = keras.layers.Reshape((1, -1))(received)
        parts.append(TokenMean(dtype="float32", name=f"{name}_mean")(table(tokens), tokens)[:, 0])
    return keras.Model(inputs, ops.concatenate(parts, axis=-1), name="recipe_features")


@keras.saving.register_keras_serializable("kfood")
class Projection(keras.layers.Layer):
    """Features minus their mean, times a matrix; neither is trained by gradients.

    Args:
        size: width of the result.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape):
        """Random until it is solved for: a matrix of zeros would have no direction to compare by cosine."""
        self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="mean")
        self.matrix = self.add_weight(
            shape=(shape[-1], self.size), initializer="glorot_uniform", trainable=False, name="matrix"
        )
        self.built = True

    def call(self, features):
        """Float ``[batch, d]`` → float ``[batch, size]``."""
        return ops.matmul(features - self.mean, self.matrix)

    def compute_output_shape(self, shape):
        """``[batch, size]``."""
        return (shape[0], self.size)

    def get_config(self):
        """Arguments of the constructor."""
        return super().get_config() | {"size": self.size}
