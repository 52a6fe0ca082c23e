"""Baselines of TrajCross's Table I, on its encoders, so that the rows differ in the objective alone.

=================== ==================================================================================================
model               objective
=================== ==================================================================================================
``trajectory_cca``  canonical correlations of fixed features (Hardoon et al., Neural Computation 2004)
``moco``            softmax against a queue of the other side's momentum embeddings (He et al., CVPR 2020, Eq. 1 and 2)
``acmr``            triplets on cosines, and a modality classifier played against (Wang et al., ACM MM 2017)
``corr_ae``         each side read back from its own embedding, embeddings of a pair drawn together (Feng et al., ACM MM
                    2014, Eq. 1); variant ``Corr-Cross-AE``: each side read back from the other's
``dbrlm``           likelihood that a pair matches, over all pairs of the batch (He et al., IEEE TMM 2016)
=================== ==================================================================================================

Departures of all of them but CCA: the papers' image and text networks are replaced by TrajCross's, so that the rows
differ in the objective alone; these receive the picture's location, as TrajCross's comparison says. Similarity is the
cosine. Sizes, rates and epochs are TrajCross's of the same preset. Of each:

- ``trajectory_cca``: TrajCross's comparison does not say on what features it ran. Here: the coordinates of the points;
  the picture's ink on about 16 pixels a side, and its corners. Variant ``waves``: means of waves over the ground
  (:mod:`kfood.layers.waves`), an extension of ours.
- ``moco``: the pair's other side is the key, and each side has its own encoder, keys and queue; the published method
  has one encoder for two views of an image. The queue holds 4,096 keys and m is 0.99, not 65,536 and 0.999: an epoch
  here is 74 steps. Keys are encoded with their batch's statistics, as published, but without its shuffling of batches
  between devices, for there is one. By default it sees what TrajCross does, position branches included. TrajCross's
  comparison ran it "after we convert the trajectory into an image": that is the variant ``pictures``, the drawn
  trajectory against the picture, to whose embedding that of its location is added.
- ``acmr``: its label prediction has no labels here, and is left out. Triplets take every other item of the batch as a
  negative, compare cosines, and count as the mean over those within the margin.
- ``corr_ae``: reconstruction errors are means over what is read back, not sums: with sums the share α = 0.8 left top-1
  at 15 and 28 % in place of 62 and 58 (with waves, 3 epochs). What is read back of a picture is its ink, reduced.
- ``dbrlm``: all pairs of a batch count, matched ones and others with equal weight. A learned temperature multiplies the
  cosine less one half: that cosine is even odds.
"""

import dataclasses

import keras
from keras import ops

from kfood import distances, schema
from kfood.layers import trajectory as layers
from kfood.layers import waves
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.pictures import reduced
from kfood.losses import adversarial, ranking
from kfood.models.baselines import CCA
from kfood.models.batches import select
from kfood.models.phases import OptimizerConfig, Phase
from kfood.models.trajcross import (
    TrajCrossConfig,
    TrajectoryModel,
    encoders_of,
    image_shape,
    joined,
    shown_to,
    trajectory_shape,
)
from kfood.models.two_tower import Temperature

_TARGET_SIDE = 16


@dataclasses.dataclass(frozen=True)
class _Config:
    """What all of them have; only the encoder's sizes and its optimizer are read of ``encoder``.

    Attributes:
        encoder: TrajCross's.
    """

    encoder: TrajCrossConfig = TrajCrossConfig()


@dataclasses.dataclass(frozen=True)
class MoCoConfig(_Config):
    """Settings of MoCo.

    Attributes:
        queue: keys that are kept.
        momentum: m of Eq. 2.
        temperature: τ of Eq. 1, fixed.
        pictures: see pictures alone: the trajectory drawn (Eq. 3 of TrajCross), and the picture with its location.
    """

    queue: int = 4096
    momentum: float = 0.99
    temperature: float = 0.07
    pictures: bool = False


@dataclasses.dataclass(frozen=True)
class ACMRConfig(_Config):
    """Settings of ACMR.

    Attributes:
        margin: of the triplets, a difference of cosines.
        adversarial_weight: of the encoders' side of the game.
        classifier_width: of the modality classifier's hidden layer.
        classifier_optimizer: of the modality classifier.
    """

    margin: float = 0.3
    adversarial_weight: float = 0.02
    classifier_width: int = 128
    classifier_optimizer: OptimizerConfig = OptimizerConfig(1e-3)


@dataclasses.dataclass(frozen=True)
class CorrAEConfig(_Config):
    """Settings of Corr-AE.

    Attributes:
        share: α of Eq. 1, the weight of the correlation cost; 1 - α is that of reconstruction.
        cross: read each side back from the other's embedding (Corr-Cross-AE).
        hidden: width of the decoders' hidden layer.
    """

    share: float = 0.8
    cross: bool = False
    hidden: int = 256


@dataclasses.dataclass(frozen=True)
class DBRLMConfig(_Config):
    """Settings of DBRLM.

    Attributes:
        temperature: of the similarities, at the start.
    """

    temperature: float = 0.07


@dataclasses.dataclass(frozen=True)
class TrajectoryCCAConfig(_Config):
    """Settings of CCA.

    Attributes:
        octaves: of the waves that are its features; 0: coordinates and ink.
        embedding_size: canonical pairs kept.
        ridge: see :func:`kfood.layers.canonical.canonical_projections`.
        optimizer: unused but for its name: nothing is descended to.
    """

    octaves: int = 0
    embedding_size: int = 32
    ridge: float = 1e-4
    optimizer: OptimizerConfig = OptimizerConfig()


# Equations.


def queue_contrast(query, key, queue, temperature):
    """MoCo's Eq. 1: ``-mean log(exp q·k₊/τ / (exp q·k₊/τ + Σ_queue exp q·k/τ))``.

    Args:
        query: float ``[n, d]``, L2-normalised.
        key: float ``[n, d]``, of the pairs.
        queue: float ``[k, d]``, of others.
        temperature: τ.

    Returns:
        float scalar.
    """
    own = ops.sum(query * key, axis=1, keepdims=True)
    logits = ops.concatenate([own, ops.matmul(query, ops.transpose(queue))], axis=1) / temperature
    return ops.mean(ops.logsumexp(logits, axis=1) - logits[:, 0])


def match_likelihood(logits):
    """Minus the mean log-likelihood that pairs match (diagonal) and others do not, both halves of equal weight.

    Args:
        logits: float ``[n, n]``; the pairs stand on the diagonal.

    Returns:
        float scalar.
    """
    n = ops.cast(ops.shape(logits)[0], logits.dtype)
    same = ops.eye(ops.shape(logits)[0], dtype=logits.dtype)
    matched = ops.sum(ops.softplus(-logits) * same) / n
    return matched + ops.sum(ops.softplus(logits) * (1.0 - same)) / ops.maximum(n * (n - 1.0), 1.0)


# Models.


def picture_encoders(spec: schema.TrajectorySpec, config: TrajCrossConfig) -> dict[str, keras.Model]:
    """As :func:`~kfood.models.trajcross.encoders_of`, of pictures alone; the location is added to an image's embedding.

    Args:
        spec: shapes, and where the ground is.
        config: its embedding's size, CNN, sketch and whether there is a location are read.
    """
    ground = layers.Ground((spec.centre_x, spec.centre_y), spec.extent, dtype="float32", name="ground")
    size = config.embedding_size
    given, shown = symbolic_inputs(spec.trajectory_inputs()), shown_to(spec, config)
    trajectory = trajectory_shape(ground(given[schema.TRAJECTORY]), size, config)
    image = image_shape(shown[schema.IMAGE], size, config)
    if config.location:
        image = ops.add(image, keras.layers.Dense(size, name="location_embed")(ground(shown[schema.LOCATION])))
    return {
        "image": keras.Model(shown, joined(image, None), name="image_encoder"),
        "trajectory": keras.Model(given, joined(trajectory, None), name="trajectory_encoder"),
    }


class _OnTrajCross(TrajectoryModel):
    """TrajCross's encoders under another objective."""

    def __init__(self, config, spec, name, **kwargs):
        super().__init__(config, spec, name=name, **kwargs)
        self.distance = "cosine"
        self.encoders = self._encoders()
        self.phases = self._phases()
        self.build()

    def _encoders(self) -> dict[str, keras.Model]:
        return encoders_of(self.spec, self.config.encoder)

    def _phases(self) -> tuple[Phase, ...]:
        raise NotImplementedError

    def _encoders_phase(self, weights, *parts):
        return Phase("encoders", weights, (*self.encoders.values(), *parts), self.config.encoder.optimizer)


@keras.saving.register_keras_serializable("kfood")
class MoCo(_OnTrajCross):
    """Momentum contrast in both directions.

    Args:
        config: :class:`MoCoConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = MoCoConfig

    def __init__(self, config=MoCoConfig(), spec=schema.TrajectorySpec(), name="moco", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)

    def _encoders(self):
        return (picture_encoders if self.config.pictures else encoders_of)(self.spec, self.config.encoder)

    def _phases(self):
        self.keys = self._encoders()
        size = self.config.encoder.embedding_size
        self.queues = {side: Queue(self.config.queue, size, name=f"{side}_queue") for side in self.keys}
        for side, key in self.keys.items():
            for variable in key.trainable_variables:
                variable.trainable = False  # not the layers: batch normalisation that is frozen ignores its batch
            key.set_weights(self.encoders[side].get_weights())
            self.queues[side].build()
        return (self._encoders_phase({"contrastive": 1.0}),)

    def embed(self, batch, training):
        """Both embeddings, and both keys, which in training see their batch's statistics as the queries do."""
        keys = {f"{side}_key": key(select(batch, key), training=training) for side, key in self.keys.items()}
        return {**self(batch, training=training), **keys}

    @property
    def untrained_states(self):
        """Those of all models, and the key encoders."""
        slow = [variable for key in self.keys.values() for variable in key.weights]
        return list({id(state): state for state in [*super().untrained_states, *slow]}.values())

    def losses_of(self, phase, features, batch, training):
        """``contrastive``: the mean over both directions."""
        losses = [
            queue_contrast(features[one], features[f"{other}_key"], self.queues[other].keys, self.config.temperature)
            for one, other in (("trajectory", "image"), ("image", "trajectory"))
        ]
        return {"contrastive": 0.5 * (losses[0] + losses[1])}

    def end_step(self, features):
        """Eq. 2 moves the key encoders; then the step's keys enter the queues (Algorithm 1).

        Moving statistics are left out of Eq. 2: a key encoder's own are those of the keys that it has encoded.
        """
        momentum = self.config.momentum
        for side, key in self.keys.items():
            for slow, fast in zip(key.weights, self.encoders[side].weights, strict=True):
                if fast.trainable:
                    slow.assign(momentum * slow + (1.0 - momentum) * fast)
            self.queues[side].push(features[f"{side}_key"])


@keras.saving.register_keras_serializable("kfood")
class Queue(keras.layers.Layer):
    """The last keys, newest first; random directions at the start.

    Args:
        count: keys kept.
        size: of a key.
    """

    def __init__(self, count, size, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.count = count
        self.size = size

    def build(self, shape=None):
        """Random directions."""
        self.keys = self.add_weight(
            shape=(self.count, self.size), initializer="random_normal", trainable=False, name="keys"
        )
        self.keys.assign(distances.unit_length(self.keys))
        self.built = True

    def push(self, keys):
        """Float ``[batch, size]`` enter, as many leave."""
        self.keys.assign(ops.concatenate([keys, self.keys], axis=0)[: self.count])


@keras.saving.register_keras_serializable("kfood")
class ACMR(_OnTrajCross):
    """Triplets, and a modality classifier played against.

    Args:
        config: :class:`ACMRConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = ACMRConfig

    def __init__(self, config=ACMRConfig(), spec=schema.TrajectorySpec(), name="acmr", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)

    def _phases(self):
        config = self.config
        embedding = keras.Input((config.encoder.embedding_size,), name="embedding")
        hidden = keras.layers.Dense(config.classifier_width, activation="leaky_relu")(embedding)
        logit = keras.layers.Dense(1, dtype="float32", name="is_trajectory")(hidden)
        self.classifier = keras.Model(embedding, logit, name="modality_classifier")
        name = "modality_classifier"
        return (
            Phase(name, {name: 1.0}, (self.classifier,), config.classifier_optimizer),
            self._encoders_phase({"triplets": 1.0, "modality": config.adversarial_weight}),
        )

    def losses_of(self, phase, features, batch, training):
        """``modality_classifier`` of that phase; ``triplets`` and ``modality`` of the phase ``encoders``."""
        trajectory, image = features["trajectory"], features["image"]
        loss = adversarial.discriminator(self.classifier(trajectory), self.classifier(image))
        if phase == "modality_classifier":
            return {phase: loss}
        apart = distances.cosine(trajectory, image)
        same = ops.eye(ops.shape(apart)[0], dtype="bool")
        both = (apart, ops.transpose(apart))
        triplets = sum(ranking.all_triplets(side, same, self.config.margin, adaptive=True) for side in both)
        return {"triplets": triplets, "modality": -loss}


@keras.saving.register_keras_serializable("kfood")
class CorrAE(_OnTrajCross):
    """Correspondence autoencoder, or its cross-modal form.

    What is read back: a trajectory's points on the ground; a picture's ink on 16 pixels a side.

    Args:
        config: :class:`CorrAEConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = CorrAEConfig

    def __init__(self, config=CorrAEConfig(), spec=schema.TrajectorySpec(), name="corr_ae", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)

    def _phases(self):
        config, spec = self.config, self.spec
        self.ground = layers.Ground((spec.centre_x, spec.centre_y), spec.extent, dtype="float32", name="ground")
        widths = {"trajectory": 2 * spec.points, "image": _TARGET_SIDE**2}
        self.readers = {}
        for side, width in widths.items():
            embedding = keras.Input((config.encoder.embedding_size,), name="embedding")
            hidden = keras.layers.Dense(config.hidden, activation="relu")(embedding)
            read = keras.layers.Dense(width, dtype="float32")(hidden)
            self.readers[side] = keras.Model(embedding, read, name=f"{side}_reader")
        weights = {"correlation": config.share, "reconstruction": 1.0 - config.share}
        return (self._encoders_phase(weights, *self.readers.values()),)

    def losses_of(self, phase, features, batch, training):
        """``correlation``: squared distance of pairs; ``reconstruction``: squared errors of both sides."""
        trajectory, image = features["trajectory"], features["image"]
        ink = 1.0 - reduced(batch[schema.IMAGE], _TARGET_SIDE, antialias=self.antialias) / 255.0
        targets = {
            "trajectory": ops.reshape(self.ground(batch[schema.TRAJECTORY]), (-1, 2 * self.spec.points)),
            "image": ops.reshape(ops.mean(ink, axis=-1), (-1, _TARGET_SIDE**2)),
        }
        sources = {"trajectory": image, "image": trajectory} if self.config.cross else features
        # Means over what is read; summed as the correlation is, they leave top-1 at 15 and 28 % in place of 62 and 58.
        errors = [ops.mean(ops.square(self.readers[side](sources[side]) - targets[side])) for side in targets]
        return {
            "correlation": ops.mean(ops.sum(ops.square(trajectory - image), axis=1)),
            "reconstruction": errors[0] + errors[1],
        }


@keras.saving.register_keras_serializable("kfood")
class DBRLM(_OnTrajCross):
    """Maximum likelihood of matching.

    Args:
        config: :class:`DBRLMConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = DBRLMConfig

    def __init__(self, config=DBRLMConfig(), spec=schema.TrajectorySpec(), name="dbrlm", **kwargs):  # noqa: B008
        super().__init__(config, spec, name, **kwargs)

    def _phases(self):
        self.temperature = Temperature(self.config.temperature, dtype="float32", name="temperature")
        self.temperature.build()
        return (self._encoders_phase({"likelihood": 1.0}, self.temperature),)

    def losses_of(self, phase, features, batch, training):
        """``likelihood``; a cosine of one half is even odds."""
        cosines = 1.0 - distances.cosine(features["trajectory"], features["image"])
        return {"likelihood": match_likelihood(self.temperature(cosines - 0.5))}


@keras.saving.register_keras_serializable("kfood")
class TrajectoryCCA(CCA):
    """CCA of the points and of the picture's ink and corners, or of waves along the line and over the ink.

    Args:
        config: :class:`TrajectoryCCAConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = TrajectoryCCAConfig
    spec_class = schema.TrajectorySpec

    def __init__(
        self,
        config=TrajectoryCCAConfig(),
        spec=schema.TrajectorySpec(),  # noqa: B008
        name="trajectory_cca",
        **kwargs,
    ):
        super().__init__(config, spec, name=name, **kwargs)

    def _feature_networks(self):
        spec, octaves = self.spec, self.config.octaves
        ground = layers.Ground((spec.centre_x, spec.centre_y), spec.extent, dtype="float32", name="ground")
        shown, given = symbolic_inputs(spec.image_inputs()), symbolic_inputs(spec.trajectory_inputs())
        image, location = shown[schema.IMAGE], ground(shown[schema.LOCATION])
        # Named as the part of a run that other models could start from; here it holds nothing.
        image = keras.Model(image_input := keras.Input(image.shape[1:]), image_input, name="backbone")(image)
        points = ground(given[schema.TRAJECTORY])
        if octaves:
            seen = waves.PictureMoments(octaves, dtype="float32")(image, location)
            along = waves.LineMoments(octaves, dtype="float32")(points)
        else:
            ink = keras.layers.Rescaling(-1.0 / 255.0, 1.0, dtype="float32", name="ink")(
                ops.mean(image, axis=-1, keepdims=True)
            )
            ink = keras.layers.AveragePooling2D(max(1, spec.image_size // _TARGET_SIDE), name="reduced")(ink)
            seen = ops.concatenate([keras.layers.Flatten()(ops.mean(ink, axis=-1)), location], axis=-1)
            along = keras.layers.Flatten()(points)
        return {
            "image": keras.Model(shown, seen, name="picture_features"),
            "trajectory": keras.Model(given, along, name="trajectory_features"),
        }
