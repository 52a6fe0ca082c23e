"""TrajCross (Jing et al. 2021), :mod:`kfood.models.trajcross`.

Expected on UCY univ, 10,000 windows to train on (here 500 of them are for validation), 2,379 to test on, all
of these as gallery (its Table I):
trajectory → image top-1/5/10 69.8/90.4/94.3; image → trajectory 70.2/91.1/94.5::

    kfood prepare ucy --source univ/test --out DATA
    kfood train trajcross --data DATA --run RUN --preset small
    kfood evaluate RUN --data DATA
"""

from kfood.configs import Experiment
from kfood.data.drawing import Movement
from kfood.layers.image import ImageEncoderConfig
from kfood.models.base import OptimizerConfig
from kfood.models.trajcross import TrajCrossConfig
from kfood.schema import TrajectorySpec
from kfood.training import TrainingConfig

TRAINING = TrainingConfig(
    epochs=6,
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
    """For a CPU: every mechanism of the paper, and waves over the ground in its position branches."""
    return Experiment(
        model=TrajCrossConfig(
            image_encoder=ImageEncoderConfig(backbone="small", weights="", widths=(16, 32, 64)),
            embedding_size=256,
            point_size=32,
            filters=48,
            hidden=256,
            sketch_size=32,
            octaves=6,
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
    "no_waves": {"octaves": 0},
    "location_only": {"picture": False},
}
"""The rows of the paper's Figure 3 and Table II, as changes to the full model; and two of ours: the paper's
position branches alone, and what a picture's corners give away without the picture."""
