"""Adversarial cross-modal retrieval (Wang et al. 2017), :mod:`kfood.models.trajectory_baselines`.

TrajCross's Table I prints top-1/5/10 of t→i 0.42/0.21/1.32, i→t 0.38/0.32/1.44.
"""

import dataclasses

from kfood.configs import Experiment, trajcross
from kfood.models.trajectory_baselines import ACMRConfig


def published() -> Experiment:
    """On TrajCross's encoders of the same preset."""
    chosen = trajcross.published()
    return dataclasses.replace(chosen, model=ACMRConfig(encoder=chosen.model))


def small() -> Experiment:
    """For a CPU, on TrajCross's encoders of the same preset."""
    chosen = trajcross.small()
    return dataclasses.replace(chosen, model=ACMRConfig(encoder=chosen.model))


VARIANTS: dict[str, dict] = {}
