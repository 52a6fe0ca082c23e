"""Who moves in a training step, on which losses, and by which optimizer."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import keras


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam, or AdamW where there is weight decay.

    Attributes:
        learning_rate: step size before any schedule.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        weight_decay: decoupled, per step; 0 = Adam.
        clip_value: bound on each component of the gradient; 0 = none.
        epsilon: what Adam adds to the root of the second moment.
        schedule: how the learning rate moves over the epochs of ``kfood train``; ``fit`` alone stays at its start.
            ``"constant"``; ``"step"``: times ``factor`` every ``period`` epochs; ``"cosine"``: down to 0 at the last
            epoch; ``"plateau"``: times ``factor`` after ``period`` epochs without a better validation score.
        period: see ``schedule``.
        factor: see ``schedule``.
        warmup_epochs: epochs over which the learning rate first rises linearly.
    """

    learning_rate: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    weight_decay: float = 0.0
    clip_value: float = 0.0
    epsilon: float = 1e-7
    schedule: Literal["constant", "step", "cosine", "plateau"] = "constant"
    period: int = 0
    factor: float = 0.1
    warmup_epochs: int = 0

    def __post_init__(self):
        schedules = ("constant", "step", "cosine", "plateau")
        if self.schedule not in schedules:
            raise ValueError(f"schedule: expected one of {list(schedules)}, received {self.schedule!r}.")
        if self.schedule in ("step", "plateau") and self.period < 1:
            raise ValueError(
                f"period: expected at least 1 epoch with schedule {self.schedule!r}, received {self.period}."
            )

    def build(self, name: str) -> keras.optimizers.Optimizer:
        """A fresh optimizer called ``name``."""
        arguments = {
            "learning_rate": self.learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "clipvalue": self.clip_value or None,
            "epsilon": self.epsilon,
            "name": name,
        }
        if self.weight_decay:
            return keras.optimizers.AdamW(weight_decay=self.weight_decay, **arguments)
        return keras.optimizers.Adam(**arguments)


@dataclasses.dataclass(frozen=True)
class Phase:
    """One player's move in a training step.

    Attributes:
        name: also the name of its optimizer.
        weights: loss name → weight, a number or a variable that moves (MCEN's annealing). These losses, weighted and
            added, are what the phase minimises.
        parts: layers and models whose trainable variables the phase changes; no other variable changes.
        optimizer: its settings.
        together: whether it moves together with the last phase, on the same recorded forward pass and on the same
            losses, weighted its own way (R2GAN's generator); otherwise it is an adversary and moves first.
    """

    name: str
    weights: Mapping[str, Any]
    parts: tuple[keras.layers.Layer, ...]
    optimizer: OptimizerConfig
    together: bool = False

    @property
    def variables(self) -> list:
        """Trainable variables of the parts, each once; a frozen layer has none."""
        return _unique(variable for part in self.parts for variable in part.trainable_variables)

    @property
    def all_variables(self) -> list:
        """Variables that the phase could change if nothing were frozen, each once."""
        return _unique(
            variable
            for part in self.parts
            for layer in part._flatten_layers()
            for variable in layer._trainable_variables
        )


def _unique(variables) -> list:
    return list({id(variable): variable for variable in variables}.values())
