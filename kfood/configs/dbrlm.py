"""Deep and bidirectional representation learning (He et al. 2016), :mod:`kfood.models.trajectory_baselines`.

TrajCross's Table I prints top-1/5/10 of t→i 0.04/0.21/0.41, i→t 0.12/0.71/1.43.
"""

import dataclasses

from kfood.configs import Experiment, trajcross
from kfood.models.trajectory_baselines import DBRLMConfig


def published() -> Experiment:
    """On TrajCross's encoders of the same preset."""
    chosen = trajcross.published()
    return dataclasses.replace(chosen, model=DBRLMConfig(encoder=chosen.model))


def small() -> Experiment:
    """For a CPU, on TrajCross's encoders of the same preset."""
    chosen = trajcross.small()
    return dataclasses.replace(chosen, model=DBRLMConfig(encoder=chosen.model))


VARIANTS: dict[str, dict] = {}
