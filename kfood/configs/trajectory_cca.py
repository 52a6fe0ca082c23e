"""Canonical correlation analysis (Hardoon et al. 2004), :mod:`kfood.models.trajectory_baselines`.

TrajCross's Table I prints top-1/5/10 of t→i 0.51/1.32/2.12, i→t 0.04/1.30/2.51.
"""

import dataclasses

from kfood.configs import Experiment, trajcross
from kfood.data.drawing import Movement
from kfood.models.trajectory_baselines import TrajectoryCCAConfig


def published() -> Experiment:
    """On the data, and with the seeds, of TrajCross's preset."""
    chosen = trajcross.published()
    return dataclasses.replace(
        chosen,
        model=TrajectoryCCAConfig(encoder=chosen.model),
        training=dataclasses.replace(chosen.training, epochs=1, augmentation=Movement()),
    )


def small() -> Experiment:
    """The same: it is a matter of seconds."""
    chosen = trajcross.small()
    return dataclasses.replace(
        chosen,
        model=TrajectoryCCAConfig(encoder=chosen.model),
        training=dataclasses.replace(chosen.training, epochs=1, augmentation=Movement()),
    )


VARIANTS: dict[str, dict] = {"waves": {"octaves": 4, "embedding_size": 64}}
"""An extension of ours: waves along the line and over the picture's ink are its features."""
