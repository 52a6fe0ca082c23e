"""Momentum contrast (He et al. 2020), :mod:`kfood.models.trajectory_baselines`.

TrajCross's Table I prints top-1/5/10 of t→i 4.29/14.29/22.78, i→t 2.82/13.87/21.94.
"""

import dataclasses

from kfood.configs import Experiment, trajcross
from kfood.models.trajectory_baselines import MoCoConfig


def published() -> Experiment:
    """On TrajCross's encoders of the same preset."""
    chosen = trajcross.published()
    return dataclasses.replace(chosen, model=MoCoConfig(encoder=chosen.model))


def small() -> Experiment:
    """For a CPU, on TrajCross's encoders of the same preset."""
    chosen = trajcross.small()
    return dataclasses.replace(chosen, model=MoCoConfig(encoder=chosen.model))


VARIANTS: dict[str, dict] = {"pictures": {"pictures": True}}
"""As TrajCross's comparison ran it: on pictures alone, the trajectory drawn first."""
