"""What the benchmarks measure with, and on."""

import pathlib
import time
from collections.abc import Callable
from typing import Any


def best(runs: "dict[str, Callable[[], object]]", repeats: int) -> dict[str, float]:
    """The quickest of each, in seconds, all in turns, after one run to warm up."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run))
    return best


def random_model(name: str, preset: str, n: int, data: pathlib.Path | None = None) -> tuple[Any, dict[str, Any]]:
    """A model without pretrained weights, and ``n`` pairs: random ones of full length, or a dataset's first of test."""
    import numpy as np

    from kfood import schema
    from kfood.configs import experiment
    from kfood.models import MODELS

    model_name, _, variant = name.partition(":")
    chosen = experiment(model_name, preset, variant, ("image_encoder.weights=",))
    spec: Any = chosen.spec
    if data is not None:
        from kfood.data.dataset import open_dataset
        from kfood.data.pipeline import recipe_batches

        dataset = open_dataset(data)
        if dataset.splits["test"] < n:
            raise ValueError(f"--data: expected at least {n} test pairs, received {dataset.splits['test']} in {data}.")
        spec = dataset.fit(spec)
        batch = next(iter(recipe_batches(dataset, "test", spec, n, training=False).as_numpy_iterator()))
        return MODELS[model_name].load()(chosen.model, spec), batch
    model = MODELS[model_name].load()(chosen.model, spec)
    generator = np.random.default_rng(0)
    batch = {schema.IMAGE: generator.uniform(0, 255, (n, spec.image_size, spec.image_size, 3)).astype("float32")}
    for feature, (shape, dtype) in spec.recipe_inputs().items():
        batch[feature] = generator.integers(1, spec.ingredient_vocabulary, (n, *shape)).astype(dtype)
    if spec.recipe_inputs():
        ids = generator.integers(2, spec.ingredient_vocabulary, (n, spec.ingredients), np.int32)
        batch[schema.INGREDIENT_IDS] = ids
    if MODELS[model_name].data == "trajectories":
        batch[schema.TRAJECTORY] = generator.uniform(-5, 5, (n, spec.points, 2)).astype("float32")
        batch[schema.LOCATION] = np.tile(np.float32([-6, 6, 6, -6]), (n, 1))
    else:
        batch[schema.CLASS_ID] = generator.integers(1, spec.classes, n, np.int32)
    return model, batch


def seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Peak resident memory of this process in GB (1e9 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def product_seconds(first: Any, second: Any) -> float:
    """Seconds of one matrix product of all rows, float32 [n, dim] each.

    Into one buffer of 2,048 rows: a whole product need not fit the memory, and no time goes into new pages.
    """
    import numpy as np

    buffer = np.ones((min(2048, len(first)), len(second)), np.float32)
    start = time.perf_counter()
    for top in range(0, len(first), len(buffer)):
        rows = first[top : top + len(buffer)]
        np.matmul(rows, second.T, out=buffer[: len(rows)])
    return time.perf_counter() - start
