"""Time and memory of every metric-learning loss."""

import dataclasses
import time

from kfood.tools.bench import timing


@dataclasses.dataclass(frozen=True)
class Losses:
    """Forward and backward of every metric-learning loss, each in a process of its own."""

    n: tuple[int, ...] = (112, 4096)
    """Batch sizes, rising."""
    dim: int = 128
    """Width of the embeddings."""
    per_class: int = 2
    """Items of each class."""
    names: tuple[str, ...] = ()
    """Losses; all by default."""
    repeats: int = 3
    """Times each is run after the first, which builds the graph; the best counts."""

    def __post_init__(self):
        for name in ("dim", "per_class", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, received {getattr(self, name)}.")
        if not self.n or min(self.n) < 2:
            raise ValueError(f"--n: expected batch sizes of at least 2, received {self.n}.")


def measure(args: Losses) -> dict[str, float]:
    """Times each loss of :data:`kfood.losses.metric_learning.LOSSES` at each batch size.

    Args:
        args: sizes.

    Returns:
        Name and size → seconds, and the peak memory in GB above that of the process before the loss was built.
    """
    import multiprocessing

    from kfood.losses import metric_learning
    from kfood.tools import main as main_module

    unknown = sorted(set(args.names) - set(metric_learning.LOSSES))
    if unknown:
        raise ValueError(f"--names: expected some of {', '.join(metric_learning.LOSSES)}, received {unknown[0]!r}.")
    figures: dict[str, float] = {}
    for name in args.names or metric_learning.LOSSES:
        # A new process each: the allocator keeps what it once had, which would hide the next loss's peak.
        with multiprocessing.get_context("spawn").Pool(1, initializer=main_module.import_tensorflow_quietly) as pool:
            figures |= pool.apply(_measure_loss, (name, args))
    return figures


def _measure_loss(name: str, args: Losses) -> dict[str, float]:
    """Its time and peak memory at each batch size."""
    import numpy as np
    import tensorflow as tf

    from kfood.losses import metric_learning

    figures = {}
    generator = np.random.default_rng(0)
    for n in args.n:
        labels = np.repeat(np.arange(-(-n // args.per_class), dtype=np.int32), args.per_class)[:n]
        points = generator.standard_normal((n, args.dim), dtype=np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        classes = int(labels[-1]) + 1
        layers = {"margin": lambda classes=classes: metric_learning.Boundaries(classes)}
        for proxy in ("normalised_softmax", "proxy_nca", "proxy_anchor", "proxy_synthesis"):
            layers[proxy] = lambda classes=classes: metric_learning.Proxies(classes)
        layers["soft_triple"] = lambda classes=classes: metric_learning.Proxies(classes, 10)
        learnt = layers[name]() if name in layers else None
        if learnt is not None:
            learnt.build((None, args.dim))
        loss = metric_learning.MetricLoss(name, learnt)

        @tf.function
        def step(labels, points, loss=loss, learnt=learnt):
            with tf.GradientTape() as tape:
                tape.watch(points)
                value = loss(labels, points)
            sources = [points] + ([] if learnt is None else [learnt.value.value])
            return value, tape.gradient(value, sources)

        inputs = tf.constant(labels), tf.constant(points)
        before = timing.peak_memory()
        times = []
        for _ in range(args.repeats + 1):
            start = time.perf_counter()
            float(step(*inputs)[0])
            times.append(time.perf_counter() - start)
        figures[f"{name}, n = {n}, s"] = min(times[1:])
        figures[f"{name}, n = {n}, peak GB"] = timing.peak_memory() - before
    return figures
