"""Models by name. Nothing heavy is imported before a model is asked for."""

import dataclasses
import importlib
import json
import math
import pathlib
from collections.abc import Mapping
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from kfood import schema
from kfood.settings import without_sources

if TYPE_CHECKING:
    from kfood.models.base import RetrievalModel


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a model is found.

    Attributes:
        module: its file.
        name: its class.
        data: what it is trained on: ``"recipes"`` with photos, ``"labelled"`` photos, or ``"trajectories"`` with
            pictures.
        presets: module with ``small()``, ``VARIANTS`` and the like, each preset a :class:`kfood.configs.Experiment`.
    """

    module: str
    name: str
    data: Literal["recipes", "labelled", "trajectories"] = "recipes"
    presets: str = ""

    def load(self) -> type:
        """The class, imported now."""
        return getattr(importlib.import_module(self.module), self.name)

    def configs(self) -> ModuleType:
        """The presets, imported now."""
        return importlib.import_module(self.presets)


_OWN = {
    "acme": Entry("kfood.models.acme", "ACME"),
    "r2gan": Entry("kfood.models.r2gan", "R2GAN"),
    "mcen": Entry("kfood.models.mcen", "MCEN"),
    "ht": Entry("kfood.models.ht", "HT"),
    "alpha_gao": Entry("kfood.models.alpha_gao", "AlphaGAO", "labelled"),
    "trajcross": Entry("kfood.models.trajcross", "TrajCross", "trajectories"),
    "trajectory_cca": Entry("kfood.models.trajectory_baselines", "TrajectoryCCA", "trajectories"),
    "moco": Entry("kfood.models.trajectory_baselines", "MoCo", "trajectories"),
    "acmr": Entry("kfood.models.trajectory_baselines", "ACMR", "trajectories"),
    "corr_ae": Entry("kfood.models.trajectory_baselines", "CorrAE", "trajectories"),
    "dbrlm": Entry("kfood.models.trajectory_baselines", "DBRLM", "trajectories"),
    "cca": Entry("kfood.models.baselines", "CCA"),
    "jne": Entry("kfood.models.baselines", "JNE"),
    "adamine": Entry("kfood.models.baselines", "AdaMine"),
    "two_tower": Entry("kfood.models.two_tower", "TwoTower"),
}
ENTRY_POINTS = "kfood.models"
"""Group of entry points by which an installed package names its models, which are trained on recipes: ``name =
package.module:Class``. The module holds the presets too. docs/adding_a_paper.md."""


TRAIN_AGAIN = "prepare its dataset again, and train"
"""What to do about a run of another token rule."""


def _all_models() -> dict[str, Entry]:
    own = {name: dataclasses.replace(entry, presets=f"kfood.configs.{name}") for name, entry in _OWN.items()}
    others = metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: Entry(point.module, point.attr, presets=point.module) for point in others} | own


MODELS = _all_models()
"""Name on the command line → model: kfood's own, and those of installed packages, which cannot take its names."""


def run_config(run: str | pathlib.Path) -> dict[str, Any]:
    """What a run was made of: the content of its ``config.json``.

    Args:
        run: folder made by ``kfood train``.

    Returns:
        Dict with ``model``, ``variant``, ``config``, ``spec``, ``training`` and ``data`` (``name``, ``fingerprint``,
        ``vocabulary``: its fingerprint, ``splits``).

    Raises:
        FileNotFoundError: no run there.
        ValueError: a config.json that ``kfood train`` did not write.
    """
    path = pathlib.Path(run) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"Expected a run folder with config.json, made by 'kfood train', received {run}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        complete = (
            all(name in content for name in ("model", "config", "spec", "training")) and content["data"]["fingerprint"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected the settings that 'kfood train' writes ({error!r}).") from error
    if not complete:
        raise ValueError(f"{path}: expected model, config, spec, training and data, received {list(content)}.")
    return content


def made(description: Mapping[str, Any], config: Any, spec: Any) -> "RetrievalModel":
    """The model that a run's ``config.json`` describes, without its weights.

    Args:
        description: its name, and its local scaling where it has any.
        config: the model's settings.
        spec: shapes of a batch.
    """
    scaling = {"local_scaling": description["local_scaling"]} if "local_scaling" in description else {}
    return MODELS[description["model"]].load()(config, spec, **scaling)


def load_run(run: str | pathlib.Path, weights: Literal["best", "last"] = "best") -> "RetrievalModel":
    """The trained model of a run folder, without its optimizers.

    Args:
        run: folder made by ``kfood train``.
        weights: of the best epoch on validation, or of the last.

    Returns:
        The model; its ``spec`` and ``config`` are the run's. It computes in float32, whatever it was trained in.

    Raises:
        FileNotFoundError: no run there, or no finished epoch.
        ValueError: a run of a model that this version does not know, or weights of another one, or a vocabulary of
            another token rule.
    """
    run = pathlib.Path(run)
    stored = run_config(run)
    if stored["model"] not in MODELS:
        raise ValueError(f"{run}: expected a run of a model among {', '.join(MODELS)}, received {stored['model']!r}.")
    from kfood.precision import policy

    if MODELS[stored["model"]].data == "recipes":
        schema.check_token_rule(run, stored["data"], TRAIN_AGAIN)
    with policy("float32"):
        model = made(stored, without_sources(stored["config"]), stored["spec"])
    checkpoint = run / "checkpoints" / f"{weights}.weights.h5"
    if not checkpoint.is_file():
        raise FileNotFoundError(f"Expected a checkpoint {checkpoint}, received none: has the run finished an epoch?")
    try:
        model.load_weights(checkpoint)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{checkpoint}: expected weights of model {model.name!r} as in config.json ({error})."
        ) from error
    return model


def parameters(*networks: Any) -> int:
    """Numbers in the weights of some networks, a shared weight counted once."""
    shapes = {id(variable): variable.shape for network in networks for variable in network.weights}
    return sum(math.prod(shape) for shape in shapes.values())
