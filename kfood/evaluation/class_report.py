"""The two files of an evaluation by class: report.json, and report.html with what queries find and a map of the split.

As in the α-sampling paper: the figures of its Tables 1 to 3, retrieval results with green and red borders (Figure 9),
and the split's embeddings by t-SNE, coloured by class (Figure 10).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfood.evaluation import charts, exact, metrics, pages, retrieval
from kfood.evaluation.report import EXAMPLES, FORMAT, photo_uri, versions

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset

SHOWN = 10
"""Nearest photos shown of each query."""

MAP_POINTS = 3_000
"""Most photos on the map (paper: section 4.5)."""

LABELS = {
    "recall_at_1": "R@1",
    "recall_at_2": "R@2",
    "recall_at_4": "R@4",
    "recall_at_8": "R@8",
    "map_at_1000": "MAP@1K",
    "map_at_c": "MAP@C",
    "map_at_r": "MAP@R",
    "nmi": "NMI",
    "intra_class_distance": "intra",
    "inter_class_distance": "inter",
}
"""Name in report.json → heading; the last two are cosine distances, the others shares from 0 to 1."""

RELEASED = {
    "map_at_1000_as_released": "MAP@1K as released",
    "map_at_c_as_released": "MAP@C as released",
    "nmi_as_released": "NMI as released",
}
"""The same of what the paper's released code measures by other rules (:mod:`kfood.evaluation.retrieval`): what its
published figures can be set beside."""


def class_report_json(
    figures: Mapping[str, float],
    labels: NDArray[np.int32],
    dataset: "LabelledDataset",
    split: str,
    *,
    distance: str,
    seed: int,
    model: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The content of report.json.

    Args:
        figures: of :func:`kfood.evaluation.retrieval.retrieval_metrics`.
        labels: int [n] of the split.
        dataset: what was evaluated on.
        split: of the dataset.
        distance: by which embeddings were compared.
        seed: of k-means, of the queries shown and of the map.
        model: what is to be said of the model: its name at least.
        seconds: wall-clock time by step.

    Returns:
        Plain values: ``format``, ``model``, ``data``, ``protocol``, ``retrieval`` (the figures), ``seconds``,
        ``versions``. A figure that is not a number, e.g. the distance between classes of one class, is None.
    """
    classes, counts = np.unique(labels, return_counts=True)
    return {
        "format": FORMAT,
        "model": dict(model),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "split": split,
            "photos": len(labels),
            "classes": len(classes),
            "largest_class": int(counts.max()),
        },
        "protocol": {"queries": "every photo, its gallery all others", "distance": distance, "seed": seed},
        "retrieval": {name: float(value) if np.isfinite(value) else None for name, value in figures.items()},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "versions": versions(),
    }


def class_report_html(
    report: Mapping[str, Any], embeddings: NDArray[np.float32], labels: NDArray[np.int32], dataset: "LabelledDataset"
) -> str:
    """The page, everything inlined.

    Args:
        report: what :func:`class_report_json` returned.
        embeddings: float [n, dim] of the whole split, in disk order.
        labels: int [n].
        dataset: its photos are shown.

    Returns:
        HTML text.
    """
    split, distance = report["data"]["split"], report["protocol"]["distance"]
    random = np.random.default_rng(report["protocol"]["seed"])

    def card(index: int) -> dict[str, str]:
        return {"photo": photo_uri(dataset.photo(split, index)), "title": named(int(labels[index]))}

    def named(class_id: int) -> str:
        return dataset.classes[class_id].replace("_", " ")

    shown = []
    for query in sampled_queries(embeddings, labels, distance, random):
        others = np.delete(np.arange(len(labels)), query)
        nearest, _ = metrics.nearest(embeddings[query], embeddings[others], distance=distance, k=SHOWN)
        found = [{**card(int(index)), "right": bool(labels[index] == labels[query])} for index in others[nearest]]
        shown.append({"card": card(int(query)), "right": sum(bool(item["right"]) for item in found), "found": found})
    content = {
        "report": report,
        "labels": LABELS | RELEASED,
        "queries": shown,
        "shown": SHOWN,
        "map": _map(embeddings, labels, named, random),
    }
    return pages.render("class_report.html", content)


def sampled_queries(
    embeddings: NDArray, labels: NDArray, distance: exact.Distance, random: np.random.Generator
) -> NDArray[np.int64]:
    """Rows to show: evenly from the queries whose first positive is nearest to those where it is farthest, ties by lot.

    Args:
        embeddings: float [n, dim].
        labels: int [n].
        distance: by which they are compared.
        random: decides ties.

    Returns:
        int64, at most ``EXAMPLES`` rows, each with a positive.
    """
    ranks = retrieval.rank_positives(embeddings, labels, distance=distance, within=min(1000, len(labels)))
    first = np.full(len(ranks.queries), ranks.within + 1)
    some = np.diff(ranks.starts) > 0
    first[some] = ranks.ranks[ranks.starts[:-1][some]]
    order = np.lexsort((random.permutation(len(first)), first))
    return ranks.queries[order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))]]


def _map(embeddings, labels, named, random) -> str:
    """A chart of the embeddings in two dimensions, or of some of them, evenly at random; empty for too few."""
    from sklearn.manifold import TSNE

    rows = np.sort(random.permutation(len(labels))[:MAP_POINTS])
    if len(rows) < 10:
        return ""
    places = TSNE(init="pca", perplexity=min(30.0, (len(rows) - 1) / 3), metric="cosine", random_state=0).fit_transform(
        embeddings[rows]
    )
    figure, (axes,) = charts.figure(width=9.0, height=7.0)
    import matplotlib as mpl

    colours = mpl.colormaps["gist_ncar"]
    classes = np.unique(labels[rows])
    for place, class_id in enumerate(classes):
        own = places[labels[rows] == class_id]
        colour = colours(0.05 + 0.9 * place / max(len(classes) - 1, 1))
        axes.scatter(*own.T, s=7, color=colour, linewidths=0, alpha=0.75, rasterized=True)
        if len(classes) <= 60:
            axes.annotate(
                named(int(class_id)),
                np.median(own, axis=0),
                fontsize=6.5,
                ha="center",
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": colour, "linewidth": 0.8, "pad": 0.8},
            )
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return charts.svg_uri(figure)
