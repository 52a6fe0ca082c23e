"""Retrieval of a class: every item of a labelled set queries all the others. Recall, MAP, NMI, distances of classes.

The query itself is left out of its gallery. Items exactly as near as a positive count as nearer unless they are
positives too, as in :mod:`kfood.evaluation.metrics`: a model that maps everything to one point gets the worst figures.
The ranks come from :mod:`kfood.evaluation.positives`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kfood.evaluation import exact
from kfood.evaluation.positives import PositiveRanks, checked_labels, rank_positives

RECALLS = (1, 2, 4, 8)
"""The paper's k of R@k, and 8."""


def recall_at_k(ranks: PositiveRanks, k: int) -> float:
    """Fraction, from 0 to 1, of queries with a positive among their ``k`` nearest items (R@k).

    Args:
        ranks: of :func:`~kfood.evaluation.positives.rank_positives`, with ``within`` of at least ``k``.
        k: number of nearest items looked at.

    Raises:
        ValueError: ``k`` below 1 or above ``within``.
    """
    _check_k(ranks, k)
    some = np.diff(ranks.starts) > 0
    first = ranks.ranks[ranks.starts[:-1][some]]
    return float(np.sum(first <= k) / len(some))


def mean_average_precision(
    ranks: PositiveRanks, k: int | Literal["class"] | None, *, as_released: bool = False
) -> float:
    """MAP@k: mean over queries of ``Σ_{i: rank_i ≤ k} (i / rank_i) / min(k, positives)``.

    The paper's section 4.2 takes k = 1,000 (MAP@1K) and k = C, the number of items of the largest class (MAP@C). Its
    released code cuts each query's list at the size of its own class, the query among it, instead: ``k="class"``; the
    published MAP@C are of that kind, for beside MAP@1K of one and the same list they are now above, now below, as no
    common k could be. With ``k=None``, each query's k is the number of its positives: MAP@R (Musgrave et al. 2020).

    Args:
        ranks: of :func:`~kfood.evaluation.positives.rank_positives`, with ``within`` of at least ``k``.
        k: number of nearest items looked at; ``"class"``: the size of the query's class; None: one fewer.
        as_released: divide by the size of the class, the query among it, as the released code does: never 1.

    Raises:
        ValueError: ``k`` below 1 or above ``within``.
    """
    if k is None or k == "class":
        limits = ranks.relevant + (k is not None)
    else:
        limits = np.full(len(ranks.relevant), k)
    _check_k(ranks, int(limits.max()))
    found = np.diff(ranks.starts)
    query = np.repeat(np.arange(len(found)), found)
    place = np.arange(1, len(ranks.ranks) + 1) - ranks.starts[:-1][query]
    precision = np.where(ranks.ranks <= limits[query], place / ranks.ranks, 0.0)
    sums = np.bincount(query, precision, minlength=len(found))
    return float(np.mean(sums / (ranks.relevant + 1 if as_released else np.minimum(limits, ranks.relevant))))


def normalised_mutual_information(
    embeddings: ArrayLike, labels: ArrayLike, *, clusters: int | None = None, seed: int = 0
) -> float:
    """NMI of the classes and as many clusters: k-means, k-means++ once, of the L2-normalised embeddings.

    The α-sampling paper's released code makes as many clusters as there are *training* classes, by faiss, whose k-means
    starts from random items: ``clusters``.

    Args:
        embeddings: float [n, dim].
        labels: int [n].
        clusters: how many; None: as many as classes.
        seed: of k-means++.

    Returns:
        From 0 to 1: mutual information over the arithmetic mean of both entropies.

    Raises:
        ValueError: fewer clusters than 1, or more than items.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    labels = checked_labels(embeddings, labels)
    clusters = len(np.unique(labels)) if clusters is None else clusters
    if not 1 <= clusters <= len(labels):
        raise ValueError(f"clusters: expected from 1 to {len(labels)}, the items, received {clusters!r}.")
    found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(_unit(embeddings, np.float32))
    return float(normalized_mutual_info_score(labels, found))


def class_distances(embeddings: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Mean cosine distances within and between classes: how much of the space they take (Roth et al. 2020, section 5).

    Args:
        embeddings: float [n, dim].
        labels: int [n].

    Returns:
        ``(intra, inter)``: the mean over classes of the mean distance of two items of it, and the mean distance of the
        centres (mean directions) of two classes; NaN where there are no two items or no two classes.
    """
    labels = checked_labels(embeddings, labels)
    unit = _unit(embeddings, np.float64)
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), unit.shape[1]))
    np.add.at(sums, class_of, unit)
    # Σ_{i ≠ j} x_i · x_j = |Σ x_i|² - Σ |x_i|²: no pair is visited.
    squares = np.bincount(class_of, np.square(unit).sum(axis=1))
    some = sizes > 1
    alike = (np.square(sums).sum(axis=1) - squares)[some] / (sizes * (sizes - 1.0))[some]
    centres = _unit(sums, np.float64)
    number = len(sizes)
    near = np.square(centres.sum(axis=0)).sum() - np.square(centres).sum()
    intra = float(1.0 - alike.mean()) if some.any() else float("nan")
    return intra, float(1.0 - near / (number * (number - 1.0))) if number > 1 else float("nan")


def retrieval_metrics(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    distance: exact.Distance = "cosine",
    clusters: bool = True,
    as_released: bool = False,
    training_classes: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Every figure of the paper's tables.

    Args:
        embeddings: float [n, dim].
        labels: int [n].
        distance: as for :func:`~kfood.evaluation.positives.rank_positives`.
        clusters: compute NMI, by far the slowest where there are many classes.
        as_released: also those by the rules of the released code that need no more time.
        training_classes: their number, for ``nmi_as_released``, as slow as NMI.
        seed: of k-means.

    Returns:
        ``queries`` (those with a positive, which the rest is over), ``recall_at_1``, ``_2``, ``_4``, ``_8``,
        ``map_at_1000``, ``map_at_c``, ``map_at_r``, ``nmi``, ``intra_class_distance``, ``inter_class_distance``; and as
        released, what the paper's published figures can be set beside, ``map_at_1000_as_released``,
        ``map_at_c_as_released``, ``nmi_as_released``: see :func:`mean_average_precision` and
        :func:`normalised_mutual_information`.

    Raises:
        ValueError: as for :func:`~kfood.evaluation.positives.rank_positives`.
    """
    largest = int(np.unique(checked_labels(embeddings, labels), return_counts=True)[1].max())
    ranks = rank_positives(embeddings, labels, distance=distance, within=max(1000, largest, *RECALLS))
    figures = {"queries": float(len(ranks.queries))}
    figures |= {f"recall_at_{k}": recall_at_k(ranks, k) for k in RECALLS}
    figures["map_at_1000"] = mean_average_precision(ranks, 1000)
    figures["map_at_c"] = mean_average_precision(ranks, largest)
    figures["map_at_r"] = mean_average_precision(ranks, None)
    if as_released:
        figures["map_at_1000_as_released"] = mean_average_precision(ranks, 1000, as_released=True)
        figures["map_at_c_as_released"] = mean_average_precision(ranks, "class", as_released=True)
    if training_classes is not None:
        figures["nmi_as_released"] = normalised_mutual_information(
            embeddings, labels, clusters=training_classes, seed=seed
        )
    if clusters:
        figures["nmi"] = normalised_mutual_information(embeddings, labels, seed=seed)
    figures["intra_class_distance"], figures["inter_class_distance"] = class_distances(embeddings, labels)
    return figures


class RetrievalMetrics(keras.callbacks.Callback):
    """Adds :func:`retrieval_metrics` of a labelled set to each epoch's logs, each name with ``val_`` before it.

    Args:
        batches: iterable of (inputs, int labels [batch]), gone through once an epoch.
        embed: inputs → embeddings [batch, dim]; None: the model's prediction.
        every: epochs from one evaluation to the next.
        **options: of :func:`retrieval_metrics`.
    """

    def __init__(self, batches: Iterable, embed: Callable | None = None, every: int = 1, **options: Any):
        super().__init__()
        self.batches = batches
        self.embed = embed
        self.every = every
        self.options = options

    def on_epoch_end(self, epoch, logs=None):
        """Embeds and evaluates."""
        if (epoch + 1) % self.every:
            return
        embed = self.embed or self.model.predict_on_batch
        parts = [(keras.ops.convert_to_numpy(embed(inputs)), np.asarray(labels)) for inputs, labels in self.batches]
        embeddings, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        figures = retrieval_metrics(embeddings, labels.reshape(-1), **self.options)
        logs.update({f"val_{name}": value for name, value in figures.items()})


def _check_k(ranks: PositiveRanks, k: int) -> None:
    if not 1 <= k <= ranks.within:
        raise ValueError(f"k: expected 1 to {ranks.within}, the ranks kept, received {k!r}.")


def _unit(embeddings: ArrayLike, dtype) -> NDArray:
    vectors = np.asarray(embeddings, dtype)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
