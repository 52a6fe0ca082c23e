"""TrajCross: find the map picture of a trajectory, and the trajectory of a map picture.

Q. Jing, D. Yao, C. Gong, X. Fan, B. Wang, H. Tan, J. Bi: "TrajCross: Trajectory Cross-Modal Retrieval with Contrastive
Learning", IEEE BigData 2021.

================ ============================ ==========================================================
symbol           here                         shape
================ ============================ ==========================================================
T                ``batch["trajectory"]``      ``[batch, points, 2]``, metres
IMG, I^loc       ``image``, ``location``      ``[batch, side, side, 3]``, ``[batch, 4]`` = U, B
P_t^e, S_t^e     halves of ``trajectory``     ``[batch, d / 2]`` each
P_i^e, S_i^e     halves of ``image``          ``[batch, d / 2]`` each
T^e, I^e         ``features["trajectory"]``,  ``[batch, d]``, L2-normalised
                 ``features["image"]``
S                ``modality_classifier``      ``[batch, d]`` → logit; image 0, trajectory 1
ψ                ``negatives``                of each query
================ ============================ ==========================================================

=========== ==========================================================================================
equation    here
=========== ==========================================================================================
Eq. 1, 2    :func:`trajectory_position`: linear embedding, TextCNN, max over time
Eq. 3       :func:`trajectory_shape`: the trajectory drawn (:class:`kfood.layers.trajectory.Sketch`), CNN
Eq. 4, 9    :func:`joined`
Eq. 5 to 7  :func:`image_position`: WCNN, location embedding, fully connected
Eq. 8       :func:`image_shape`
Eq. 10, 11  :func:`noise_contrastive`
section D   :func:`modality_loss`, a minimax game in two phases
=========== ==========================================================================================

Columns of metrics.csv: ``contrastive`` (Eq. 11), ``modality_classifier`` (section D, what S minimises), ``modality``
(the same with its sign turned), without weights; ``loss``, the weighted sum of what the encoders minimise.

What the paper leaves open, and how it is read here:

- It states no size, rate, number of negatives or epochs, nor how the game's two losses are weighted: all are ours. The
  players of the game take turns in each step.
- Beside the one linear layer of Eq. 2 and 7 there is a hidden layer; Eq. 5 and 6 have a ReLU, Eq. 8 a linear layer, so
  that both halves are equally wide. WCNN moves down a row at a time, has half of TextCNN's filters a height, and all of
  its results are kept, for which row is half of the position. Eq. 7's left side is printed as V_locInfo; it is Eq. 9's
  P_i^e.
- "We convert the trajectory sequence into an image" (Eq. 3) does not say at which scale. ``sketch_frame="line"``: it
  fills its picture, so that position and size are left to the other branch; ``"scene"``: it lies where it lies on the
  ground.
- Nor is it said what a picture shows. By default a window around the line, at a random offset and scale: then the
  corners matter, as the paper says they must. Data prepared with ``--frame scene`` show all of the ground instead
  (:mod:`kfood.data.drawing`): then the corners are the same for all, and ``noxy`` loses nothing.

Departures:

- Eq. 10 prints the ratio of dot products without an exponential, which can be negative: the softmax of Jozefowicz et
  al. (its reference 10) is taken, in both directions, with a learned temperature on L2-normalised embeddings. Its sum
  over a batch is a mean, and ψ is drawn from the batch.
- The paper draws each picture once. Here pictures are drawn anew in each epoch; ``small`` also turns, mirrors, shifts,
  stretches and reverses the trajectories, for 10,000 of them are few.
- The paper trains on 10,000 trajectories and tests on 2,379; no cut of UCY univ gives these numbers. Windows of 20
  points, 2 apart, are 12,359: 9,500 to train on, 500 to choose the epoch by, 2,359 to test on.
- ``octaves`` (variant ``waves``), an extension of ours: both position branches also receive means of waves over the
  ground (:mod:`kfood.layers.waves`). 0: none, as in the paper.
"""

import dataclasses
from typing import Literal

import keras
from keras import ops

from kfood import distances, schema
from kfood.layers import trajectory as layers
from kfood.layers import waves
from kfood.layers.image import ImageEncoderConfig, backbone
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.outputs import UnitLength
from kfood.losses import adversarial
from kfood.models.base import RetrievalModel
from kfood.models.phases import OptimizerConfig, Phase
from kfood.models.two_tower import Temperature
from kfood.settings import check_choices


@dataclasses.dataclass(frozen=True)
class TrajCrossConfig:
    """Settings of TrajCross; sizes are ours, for the paper states none.

    Attributes:
        image_encoder: CNN of both shape branches, each with its own weights (Eq. 3 and 8).
        embedding_size: d; each branch has half.
        point_size: width of a point's embedding (Eq. 1).
        heights: of the filters over a trajectory (Eq. 2).
        filters: of each height, there and in WCNN.
        picture_heights: of WCNN's filters (Eq. 5).
        hidden: width of the fully connected layers.
        sketch_size: side of the picture that a trajectory's shape is drawn in, pixels (Eq. 3).
        sketch_frame: what fills it: the trajectory (``"line"``), or all of the ground (``"scene"``).
        octaves: of the waves over the ground; 0: none, as in the paper.
        location: whether the image encoder receives the corners (Eq. 6); off in noxy.
        picture: whether it receives the picture; off in location_only, which shows what the corners give away.
        trajectory_shape: from the drawn trajectory (``"picture"``), from the sequence (``"sequence"``: TrajCNN), or no
            shape at all (``"none"``: OnlyTraj).
        negatives: the size of ψ, drawn from the rest of the batch; 0: all of it.
        temperature: at the start.
        adversarial: the modality classifier; off in nogan.
        adversarial_weight: of the encoders' side of the game.
        classifier_width: of the modality classifier's hidden layer.
        optimizer: of the encoders.
        classifier_optimizer: of the modality classifier.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig(backbone="small", weights="", widths=(64, 128, 256, 512))
    embedding_size: int = 512
    point_size: int = 64
    heights: tuple[int, ...] = (2, 3, 4, 5)
    filters: int = 128
    picture_heights: tuple[int, ...] = (3, 5)
    hidden: int = 512
    sketch_size: int = 64
    sketch_frame: Literal["line", "scene"] = "line"
    octaves: int = 0
    location: bool = True
    picture: bool = True
    trajectory_shape: Literal["picture", "sequence", "none"] = "picture"
    negatives: int = 0
    temperature: float = 0.07
    adversarial: bool = True
    adversarial_weight: float = 0.02
    classifier_width: int = 128
    optimizer: OptimizerConfig = OptimizerConfig(1e-3, schedule="cosine", warmup_epochs=1)
    classifier_optimizer: OptimizerConfig = OptimizerConfig(1e-3)

    def __post_init__(self):
        choices = {"trajectory_shape": ("picture", "sequence", "none"), "sketch_frame": ("line", "scene")}
        check_choices(self, choices)
        if self.embedding_size % 2:
            raise ValueError(f"embedding_size: expected an even number, received {self.embedding_size}.")
        if self.negatives < 0:
            raise ValueError(f"negatives: expected at least 0, received {self.negatives}.")


# Sub-networks.


def trajectory_position(points, size, config: TrajCrossConfig):
    """Eq. 1 and 2: P_t^e, float ``[batch, points, 2]`` of the ground → float ``[batch, size]``."""
    embedded = keras.layers.Dense(config.point_size, name="trajectory_embed")(points)
    parts = [layers.text_cnn(embedded, config.heights, config.filters, "trajectory_cnn")]
    if config.octaves:
        moments = waves.LineMoments(config.octaves, dtype="float32", name="line_moments")(points)
        parts.append(keras.layers.BatchNormalization(momentum=0.9, name="line_moments_norm")(moments))
    return _position_head(parts, size, config, "trajectory_position")


def trajectory_shape(points, size, config: TrajCrossConfig):
    """Eq. 3: S_t^e, float ``[batch, points, 2]`` of the ground → float ``[batch, size]``."""
    if config.trajectory_shape == "sequence":
        embedded = keras.layers.Dense(config.point_size, name="sequence_embed")(points)
        features = layers.text_cnn(embedded, config.heights, config.filters, "sequence_cnn")
    else:
        drawn = layers.Sketch(config.sketch_size, config.sketch_frame, dtype="float32", name="sketch")(points)
        features = keras.layers.Flatten()(backbone(config.sketch_size, config.image_encoder)(drawn))
    return keras.layers.Dense(size, name="trajectory_shape")(features)


def image_position(image, location, size, config: TrajCrossConfig):
    """Eq. 5 to 7: P_i^e of a picture ``[batch, side, side, 3]`` and its corners ``[batch, 4]``, or None in noxy."""
    ink = keras.layers.Rescaling(-1.0 / 255.0, 1.0, name="ink")(image)
    found = layers.wide_cnn(ink, config.picture_heights, config.filters // 2, "wcnn")
    parts = [keras.layers.Dense(config.hidden, activation="relu", name="place_in_picture")(found)]  # Eq. 5
    if location is not None:
        parts.append(keras.layers.Dense(config.hidden // 4, activation="relu", name="location_embed")(location))  # 6
        if config.octaves:
            moments = waves.PictureMoments(config.octaves, dtype="float32", name="picture_moments")(image, location)
            parts.append(keras.layers.BatchNormalization(momentum=0.9, name="picture_moments_norm")(moments))
    return _position_head(parts, size, config, "image_position")  # Eq. 7


def image_shape(image, size, config: TrajCrossConfig):
    """Eq. 8: S_i^e of a picture ``[batch, side, side, 3]``: float ``[batch, size]``."""
    features = keras.layers.Flatten()(backbone(image.shape[1], config.image_encoder)(image))
    return keras.layers.Dense(size, name="image_shape")(features)


def joined(position, shape):
    """Eq. 4 and 9: both branches, concatenated and L2-normalised."""
    parts = [position] if shape is None else [position, shape]
    vector = ops.concatenate(parts, axis=-1) if len(parts) > 1 else position
    return UnitLength(dtype="float32", name="embedding")(vector)


def encoders_of(spec: schema.TrajectorySpec, config: TrajCrossConfig) -> dict[str, keras.Model]:
    """``"image"`` and ``"trajectory"`` → functional model: dict of features → float32 ``[batch, d]``, L2-normalised."""
    ground = layers.Ground((spec.centre_x, spec.centre_y), spec.extent, dtype="float32", name="ground")
    half = config.embedding_size // 2
    if spec.points < max(config.heights):
        raise ValueError(
            f"heights: expected at most {spec.points}, the points of a trajectory, received {max(config.heights)}."
        )
    given = symbolic_inputs(spec.trajectory_inputs())
    points = ground(given[schema.TRAJECTORY])
    if config.trajectory_shape == "none":
        trajectory = joined(trajectory_position(points, config.embedding_size, config), None)
    else:
        trajectory = joined(trajectory_position(points, half, config), trajectory_shape(points, half, config))
    shown = shown_to(spec, config)
    location = ground(shown[schema.LOCATION]) if config.location else None
    seen = shown[schema.IMAGE] if config.picture else keras.layers.Rescaling(0.0, 255.0)(shown[schema.IMAGE])
    image = joined(image_position(seen, location, half, config), image_shape(seen, half, config))
    return {
        "image": keras.Model(shown, image, name="image_encoder"),
        "trajectory": keras.Model(given, trajectory, name="trajectory_encoder"),
    }


def shown_to(spec: schema.TrajectorySpec, config: TrajCrossConfig) -> dict[str, keras.KerasTensor]:
    """The image encoder's inputs: the picture, and but for noxy its location."""
    inputs = spec.image_inputs()
    return symbolic_inputs({name: inputs[name] for name in inputs if config.location or name == schema.IMAGE})


def _position_head(parts, size, config, name):
    features = ops.concatenate([ops.cast(part, "float32") for part in parts], axis=-1)
    hidden = keras.layers.Dense(config.hidden, activation="relu", name=f"{name}_hidden")(features)
    return keras.layers.Dense(size, name=name)(ops.concatenate([features, hidden], axis=-1))


# Equations.


def noise_contrastive(logits, negatives=0, seed=None):
    """Eq. 10 and 11 with their exponentials, in both directions.

    ``-mean_i log(exp s_ii / (exp s_ii + Σ_{j in ψ_i} exp s_ij))``, and the same of the transposed ``s``.

    Args:
        logits: float ``[n, n]``, trajectories × images over the temperature; the pairs stand on the diagonal.
        negatives: the size of ψ_i, drawn anew for each query; 0, or n - 1 and more: all others.
        seed: ``keras.random.SeedGenerator``, read where they are drawn.

    Returns:
        float scalar: the mean over both directions.
    """
    count = ops.shape(logits)[0]
    itself = ops.eye(count, dtype=logits.dtype)
    losses = []
    for side in (logits, ops.transpose(logits)):
        kept = side
        if negatives:
            lots = keras.random.uniform((count, count), dtype=logits.dtype, seed=seed) + 2.0 * itself
            last = ops.sort(lots, axis=1)[:, ops.maximum(count - 1 - negatives, 0)][:, None]
            kept = ops.where(lots >= last, side, -1e9)
        losses.append(ops.mean(ops.logsumexp(kept, axis=1) - ops.sum(side * itself, axis=1)))
    return 0.5 * (losses[0] + losses[1])


def modality_loss(trajectory_logits, image_logits):
    """What the modality classifier minimises and the encoders maximise: trajectories are 1, images 0; float scalar."""
    return adversarial.discriminator(trajectory_logits, image_logits)


# The model.


class TrajectoryModel(RetrievalModel):
    """What models of trajectories and pictures share: the shapes of a batch, and both embeddings."""

    spec_class = schema.TrajectorySpec

    def embed(self, batch, training):
        """T^e and I^e."""
        return self(batch, training=training)


@keras.saving.register_keras_serializable("kfood")
class TrajCross(TrajectoryModel):
    """TrajCross; see the module for its equations.

    Args:
        config: :class:`TrajCrossConfig`, or the same as a dict.
        spec: :class:`kfood.schema.TrajectorySpec`, or the same as a dict.
    """

    config_class = TrajCrossConfig

    def __init__(self, config=TrajCrossConfig(), spec=schema.TrajectorySpec(), name="trajcross", **kwargs):  # noqa: B008
        super().__init__(config, spec, name=name, **kwargs)
        config = self.config
        self.distance = "cosine"
        self.encoders = encoders_of(self.spec, config)
        self.temperature = Temperature(config.temperature, dtype="float32", name="temperature")
        self.temperature.build()
        self.seed_generator = keras.random.SeedGenerator(0)
        weights, phases = {"contrastive": 1.0}, []
        if config.adversarial:
            embedding = keras.Input((config.embedding_size,), name="embedding")
            hidden = keras.layers.Dense(config.classifier_width, activation="leaky_relu")(embedding)
            logit = keras.layers.Dense(1, dtype="float32", name="is_trajectory")(hidden)
            self.modality_classifier = keras.Model(embedding, logit, name="modality_classifier")
            phases.append(
                Phase(
                    "modality_classifier",
                    {"modality_classifier": 1.0},
                    (self.modality_classifier,),
                    config.classifier_optimizer,
                )
            )
            weights["modality"] = config.adversarial_weight
        own = (*self.encoders.values(), self.temperature)
        self.phases = (*phases, Phase("encoders", weights, own, config.optimizer))
        self.build()

    def losses_of(self, phase, features, batch, training):
        """``modality_classifier`` of that phase; ``contrastive`` and ``modality`` of the phase ``encoders``."""
        trajectory, image = features["trajectory"], features["image"]
        named = {}
        if self.config.adversarial:
            logits = (self.modality_classifier(side, training=training) for side in (trajectory, image))
            loss = modality_loss(*logits)
            if phase == "modality_classifier":
                return {"modality_classifier": loss}
            named["modality"] = -loss
        logits = self.temperature(1.0 - distances.cosine(trajectory, image))
        return named | {"contrastive": noise_contrastive(logits, self.config.negatives, self.seed_generator)}
