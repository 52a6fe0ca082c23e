"""A training step of each model, and its encoders alone."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

from kfood.tools.bench import operations, timing


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step of a model on random pairs of full length, weights random, and embedding the same pairs.

    Several models take turns, and each is also compared with the first. A step's floating-point operations a second, of
    products and convolutions, stand beside those of one large product of matrices in the same precision and by the same
    backend.
    """

    model: tuple[str, ...] = ("acme",)
    """Which models; `NAME:VARIANT` for a row of a paper's ablation table."""
    preset: str = "published"
    """`published` or `small`."""
    batch_size: int = 8
    """Pairs a step."""
    chunk: int = 0
    """Pairs that pass the encoders at once, of the batch (`training.chunk`); 0: all."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """That networks compute in (`training.precision`)."""
    steps: int = 3
    """Steps after the first, which builds the graph; the best time counts."""
    data: pathlib.Path | None = None
    """Prepared dataset: how many pairs a second the first model's training stream has to give, and gives."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"--model: expected different models, received {' '.join(self.model) or 'none'}.")
        for name, least in {"batch_size": 2, "steps": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected at least {least}, received {getattr(self, name)}."
                )
        if self.chunk < 0:
            raise ValueError(f"--chunk: expected at least 0, received {self.chunk}.")


def measure(args: Step) -> dict[str, float]:
    """Times one training step, every phase of it, and the encoders alone, of each model in turns.

    Args:
        args: models and batch size.

    Returns:
        Name → seconds, pairs a second, 1e9 operations a second, ratio to the first model's or of what there is, or
        peak memory of the whole process in GB.
    """
    from kfood.precision import POLICIES, policy

    with policy(POLICIES[args.precision]):
        models = {name: timing.random_model(name, args.preset, args.batch_size) for name in args.model}
    runs = {name: _prepared_step(*of_model, args.chunk) for name, of_model in models.items()}
    times: dict[str, dict[str, float]] = {}
    for name, (train, embed) in runs.items():
        times[name] = {"first": timing.seconds(train), "train": float("inf"), "embed": float("inf")}
        train()  # JAX compiles the second step too, whose states come from the first
        embed()
    for _ in range(args.steps):
        for name, (train, embed) in runs.items():
            times[name]["train"] = min(times[name]["train"], timing.seconds(train))
            times[name]["embed"] = min(times[name]["embed"], timing.seconds(embed))
    peak = timing.peak_memory()  # of steps alone: what follows counts, and is no part of a training
    work = {name: _operations(*of_model, args.chunk) for name, of_model in models.items()}
    possible = _gemm_rate(args.precision)
    figures: dict[str, float] = {}
    reference = times[args.model[0]]
    for name, found in times.items():
        prefix = f"{name}: " if len(times) > 1 else ""
        figures[f"{prefix}first step, s"] = found["first"]
        figures[f"{prefix}training step, s"] = found["train"]
        figures[f"{prefix}training, pairs/s"] = args.batch_size / found["train"]
        figures[f"{prefix}embedding, pairs/s"] = args.batch_size / found["embed"]
        figures[f"{prefix}training, GFLOP a step"] = work[name] / 1e9
        figures[f"{prefix}training, GFLOP/s"] = work[name] / found["train"] / 1e9
        figures[f"{prefix}training / GEMM, FLOP/s"] = work[name] / found["train"] / possible
        if found is not reference:
            figures[f"{prefix}training / {args.model[0]}"] = reference["train"] / found["train"]
            figures[f"{prefix}embedding / {args.model[0]}"] = reference["embed"] / found["embed"]
    figures["GEMM, GFLOP/s"] = possible / 1e9
    if args.data is not None:
        given = _input_rate(args)
        figures["input, pairs/s"] = given
        figures["input / training, pairs/s"] = given * reference["train"] / args.batch_size
    return figures | {"peak memory, GB": peak}


def _prepared_step(model: Any, batch: dict[str, Any], chunk: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A model on one batch: (a training step, embedding the batch, as many pairs at once)."""
    model.compile(chunk=chunk)
    embed = (
        (lambda: model.predict(batch, batch_size=chunk, verbose=0)) if chunk else lambda: model.predict_on_batch(batch)
    )
    return lambda: model.train_on_batch(batch), embed


def _operations(model: Any, batch: dict[str, Any], chunk: int) -> int:
    """Of one training step, floating-point; with TensorFlow it compiles the model anew."""
    import keras

    if keras.backend.backend() == "jax":
        return operations.counted_in(_traced(model, batch))
    model.compile(run_eagerly=True, chunk=chunk)
    return operations.counted(lambda: model.train_on_batch(batch))


def _traced(model: Any, batch: dict[str, Any]) -> Any:
    """A training step as JAX sees it."""
    import jax

    # What Keras' own train_on_batch gives a step; there is no public way to it.
    kinds = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
    state = model._get_jax_state(**dict.fromkeys(kinds, True))
    return jax.make_jaxpr(model.train_step)(state, (batch, None, None))


def _gemm_rate(precision: str, side: int = 4096) -> float:
    """Floating-point operations a second of a product of square matrices, by Keras' backend; of several one after
    another, where one is too short to be timed."""
    import numpy as np
    from keras import ops

    values = np.random.default_rng(0).normal(0, side**-0.5, (side, side))
    matrix = ops.cast(values.astype("float32"), precision)

    def products(count):
        found = matrix
        for _ in range(count):
            found = ops.matmul(found, matrix)
        return ops.convert_to_numpy(ops.cast(found[0, 0], "float32"))  # which waits for them

    def timed(count, repeats):
        return timing.best({"products": lambda: products(count)}, repeats)["products"]

    count = 1
    while timed(count, 1) < 0.25:
        count *= 4
    return count * 2 * side**3 / timed(count, 3)


def _input_rate(args: Step, batches: int = 16) -> float:
    """Pairs a second of the first model's training stream, while nothing is trained."""
    from kfood.configs import experiment
    from kfood.data import pipeline
    from kfood.data.dataset import open_dataset

    assert args.data is not None
    name, _, variant = args.model[0].partition(":")
    dataset: Any = open_dataset(args.data)
    spec = dataset.fit(experiment(name, args.preset, variant).spec)
    stream = iter(pipeline.batches(dataset, "train", spec, args.batch_size, training=True))
    for _ in range(4):  # what was made ready while nobody asked
        next(stream)
    return args.batch_size * batches / timing.seconds(lambda: [next(stream) for _ in range(batches)])
