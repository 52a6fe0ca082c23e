"""A training step of each model, and its encoders alone."""

import dataclasses
from collections.abc import Callable

from kfood.tools.bench import timing


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step of a model on random pairs of full length, weights random, and embedding the same pairs.

    Several models take turns, and each is also compared with the first.
    """

    model: tuple[str, ...] = ("acme",)
    """Which models; `NAME:VARIANT` for a row of a paper's ablation table."""
    preset: str = "published"
    """`published` or `small`."""
    batch_size: int = 8
    """Pairs a step."""
    steps: int = 3
    """Steps after the first, which builds the graph; the best time counts."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"--model: expected different models, received {' '.join(self.model) or 'none'}.")
        for name, least in {"batch_size": 2, "steps": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected at least {least}, received {getattr(self, name)}."
                )


def measure(args: Step) -> dict[str, float]:
    """Times one training step, every phase of it, and the encoders alone, of each model in turns.

    Args:
        args: models and batch size.

    Returns:
        Name → seconds, pairs a second, ratio to the first model's, or peak memory of the whole process in GB.
    """
    runs = {name: _prepared_step(name, args) for name in args.model}
    times: dict[str, dict[str, float]] = {}
    for name, (train, embed) in runs.items():
        times[name] = {"first": timing.seconds(train), "train": float("inf"), "embed": float("inf")}
        embed()
    for _ in range(args.steps):
        for name, (train, embed) in runs.items():
            times[name]["train"] = min(times[name]["train"], timing.seconds(train))
            times[name]["embed"] = min(times[name]["embed"], timing.seconds(embed))
    figures: dict[str, float] = {}
    reference = times[args.model[0]]
    for name, found in times.items():
        prefix = f"{name}: " if len(times) > 1 else ""
        figures[f"{prefix}first step, s"] = found["first"]
        figures[f"{prefix}training step, s"] = found["train"]
        figures[f"{prefix}training, pairs/s"] = args.batch_size / found["train"]
        figures[f"{prefix}embedding, pairs/s"] = args.batch_size / found["embed"]
        if found is not reference:
            figures[f"{prefix}training / {args.model[0]}"] = reference["train"] / found["train"]
            figures[f"{prefix}embedding / {args.model[0]}"] = reference["embed"] / found["embed"]
    return figures | {"peak memory, GB": timing.peak_memory()}


def _prepared_step(name: str, args: Step) -> tuple[Callable[[], object], Callable[[], object]]:
    """A model on one batch of random pairs: (a training step, embedding the batch)."""
    model, batch = timing.random_model(name, args.preset, args.batch_size)
    model.compile()
    return lambda: model.train_on_batch(batch), lambda: model.predict_on_batch(batch)
