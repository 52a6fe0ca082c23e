"""TrajCross (Jing et al. 2021), :mod:`kfood.models.trajcross`.

Expected on UCY univ, 10,000 windows to train on (here 500 of them are for validation), 2,379 to test on, all
of these as gallery (its Table I):
trajectory → image top-1/5/10 69.8/90.4/94.3; image → trajectory 70.2/91.1/94.5::

    kfood prepare ucy --source univ/test --out DATA
    kfood train trajcross --data DATA --run RUN --preset small
    kfood evaluate RUN --data DATA

Its ablations, trajectory → image: nogan loses 2.9, 1.0 and 0.5 points of top-1, 5 and 15, noxy 4.0, 2.4 and 0.9
(section IV-A); OnlyTraj has 3.45/13.3/20.8 of top-1/5/10 and TrajCNN 0.04/0.21/0.42, in the other direction
2.4/11.1/20.3 and 0.08/0.25/0.42 (Table II). What its pictures show is not said. For pictures of the whole scene::

    kfood prepare ucy --source univ/test --out DATA --frame scene
    kfood train trajcross --data DATA --run RUN --preset small --variant scene
"""

from kfood.configs import Experiment
from kfood.data.drawing import Movement
from kfood.layers.image import ImageEncoderConfig
from kfood.models.phases import OptimizerConfig
from kfood.models.trajcross import TrajCrossConfig
from kfood.schema import TrajectorySpec
from kfood.training import TrainingConfig

TRAINING = TrainingConfig(
    epochs=16,
    batch_size=128,
    monitor="recall_at_1",
    augmentation=Movement(turn=True, shift=2.0, stretch=1.25, reverse=True),
)
"""Trajectories are moved and drawn anew in each epoch."""


def published() -> Experiment:
    """The paper's networks, with sizes of ours, on trajectories where they are."""
    return Experiment(
        model=TrajCrossConfig(),
        spec=TrajectorySpec(),
        training=TrainingConfig(epochs=100, batch_size=128, monitor="recall_at_1", augmentation=Movement()),
    )


def small() -> Experiment:
    """For a CPU: every mechanism of the paper in smaller networks, and trajectories moved in training."""
    return Experiment(
        model=TrajCrossConfig(
            image_encoder=ImageEncoderConfig(backbone="small", weights="", widths=(16, 32, 64)),
            embedding_size=256,
            point_size=32,
            filters=48,
            hidden=256,
            sketch_size=32,
            picture_heights=(3,),
            optimizer=OptimizerConfig(2e-3, schedule="cosine", warmup_epochs=1),
        ),
        spec=TrajectorySpec(),
        training=TRAINING,
    )


VARIANTS = {
    "TrajCross": {},
    "nogan": {"adversarial": False},
    "noxy": {"location": False},
    "OnlyTraj": {"trajectory_shape": "none"},
    "TrajCNN": {"trajectory_shape": "sequence"},
    "scene": {"sketch_frame": "scene"},
    "waves": {"octaves": 6},
    "location_only": {"picture": False},
}
"""The rows of the paper's Figure 3 and Table II beside the full model, as changes to it; and three of ours: the
trajectory's own drawing of the whole scene, for data of such pictures (``kfood prepare ucy --frame scene``); waves over
the ground in the position branches, an extension; and what a picture's corners give away without the picture."""
