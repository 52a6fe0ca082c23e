"""Experiments by name: one file a paper, each with ``published()``, ``small()`` and its table's variants."""

import dataclasses
from typing import Any

from kfood import schema
from kfood.layers.image import is_architecture
from kfood.settings import replace
from kfood.training import TrainingConfig

PRESETS = ("published", "small", "pretrained")
"""Those of a model: ``pretrained`` only of those that see real photos."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a run is made of, but for the data.

    Attributes:
        model: the paper's config.
        spec: shapes of a batch; its vocabulary sizes are replaced by the dataset's.
        training: schedule, batch size, augmentation.
    """

    model: Any
    spec: schema.RecipeSpec | schema.PhotoSpec | schema.TrajectorySpec
    training: TrainingConfig


def experiment(name: str, preset: str = "published", variant: str = "", overrides: tuple[str, ...] = ()) -> Experiment:
    """Looks up a model's preset and variant and applies overrides.

    Args:
        name: a model of :data:`kfood.models.MODELS`.
        preset: one of :data:`PRESETS`.
        variant: a row of the paper's table, e.g. ``"TL+HM"``; empty for the full model.
        overrides: ``"field=value"``; a path such as ``image_encoder.weights`` is of the model's config, one that
            begins with ``training.`` or ``spec.`` of the others.

    Returns:
        The experiment.

    Raises:
        ValueError: an unknown name, preset, variant or field, or a value of the wrong type; it lists the valid ones.
    """
    from kfood.models import MODELS

    if name not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, received {name!r}.")
    module: Any = MODELS[name].configs()
    presets = [known for known in PRESETS if hasattr(module, known)]
    if preset not in presets:
        raise ValueError(f"preset: expected one of {', '.join(presets)}, received {preset!r}.")
    chosen = getattr(module, preset)()
    if variant:
        if variant not in module.VARIANTS:
            raise ValueError(f"variant: expected one of {', '.join(module.VARIANTS)}, received {variant!r}.")
        chosen = dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, **module.VARIANTS[variant]))
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"--set: expected field=value, received {override!r}.")
        if path.rpartition(".")[2] == "backbone" and is_architecture(value):
            raise ValueError(f"--set {path}: expected a name, received a model, which is for scripts.")
        if path.split(".")[0] not in ("training", "spec"):
            path = f"model.{path}"
        chosen = replace(chosen, path, value)
    return chosen


def default_preset(name: str) -> str:
    """``"pretrained"`` where the model has it and its weights are installed (extra ``pretrained``), else ``"small"``.

    Args:
        name: a model of :data:`kfood.models.MODELS`.

    Raises:
        ValueError: an unknown model.
    """
    from kfood.layers import efficientnet_lite
    from kfood.models import MODELS

    if name not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, received {name!r}.")
    if not hasattr(MODELS[name].configs(), "pretrained"):
        return "small"
    return "pretrained" if efficientnet_lite.is_installed("efficientnet_lite0") else "small"
