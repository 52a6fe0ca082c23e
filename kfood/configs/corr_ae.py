"""Correspondence autoencoder (Feng et al. 2014), :mod:`kfood.models.trajectory_baselines`.

TrajCross's Table I prints top-1/5/10 of t→i 0.04/0.31/0.42, i→t 0.08/0.25/0.34.
"""

import dataclasses

from kfood.configs import Experiment, trajcross
from kfood.models.trajectory_baselines import CorrAEConfig


def published() -> Experiment:
    """On TrajCross's encoders of the same preset."""
    chosen = trajcross.published()
    return dataclasses.replace(chosen, model=CorrAEConfig(encoder=chosen.model))


def small() -> Experiment:
    """For a CPU, on TrajCross's encoders of the same preset."""
    chosen = trajcross.small()
    return dataclasses.replace(chosen, model=CorrAEConfig(encoder=chosen.model))


VARIANTS: dict[str, dict] = {"Corr-Cross-AE": {"cross": True}}
