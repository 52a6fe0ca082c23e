"""The evaluation's two files: report.json, and report.html, one page that needs nothing else.

The page shows the figures, how the ranks are spread, what queries find (as in the papers' figures 3 and 4), and what
the model's decoders read back from embeddings where it has decoders called ``picture`` or ``ingredients``.
"""

import base64
import importlib.metadata
import io
import itertools
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import kfood
from kfood import schema
from kfood.evaluation import metrics
from kfood.evaluation.embedding import Embeddings
from kfood.evaluation.protocols import Evaluation

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset

FORMAT = 1
"""Version of report.json's layout."""

EXAMPLES = 8
"""Queries shown in each direction."""

SHOWN = 5
"""Nearest items shown of each query."""

PHOTO_SIDE = 160
"""Longest side of a photo in the page, pixels."""

GUESSES = 10
"""Predicted ingredients shown of each photo."""


def report_json(
    evaluation: Evaluation,
    dataset: "RecipeDataset",
    split: str,
    *,
    model: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The content of report.json.

    Args:
        evaluation: figures and the protocol behind them.
        dataset: what was evaluated on; its name and fingerprint are recorded.
        split: of the dataset.
        model: what is to be said of the model: its name at least.
        seconds: wall-clock time by step.

    Returns:
        Plain values: ``format``, ``model``, ``data``, ``protocol``, ``directions``, ``seconds``, ``versions``. Recalls
        are fractions from 0 to 1, median ranks count from the protocol's rank origin.
    """
    return {
        "format": FORMAT,
        "model": dict(model),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "split": split,
            "pairs": evaluation.pairs,
        },
        **evaluation.as_json(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on; packages are asked for their metadata and not imported."""
    found = {"kfood": kfood.__version__, "python": platform.python_version()}
    for package in ("keras", "tensorflow", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def report_html(
    report: Mapping[str, Any],
    evaluation: Evaluation,
    embeddings: Embeddings,
    model: Any,
    dataset: "RecipeDataset",
) -> str:
    """The page, everything inlined and everything from the data escaped.

    Args:
        report: what :func:`report_json` returned.
        evaluation: as given to it. Queries are shown from the first of its galleries, if the encoders include
            ``image`` and ``recipe``.
        embeddings: of the whole split; with feature ``ingredient_ids`` kept, true ingredients are shown.
        model: with ``decoders``, a dict that may be empty.
        dataset: its texts and photos of ``report["data"]["split"]`` are shown.

    Returns:
        HTML text.

    Raises:
        ValueError: the dataset's split is not the one that was embedded.
    """
    import jinja2

    queries = _sampled_queries(evaluation) if {"image", "recipe"} <= set(embeddings.arrays) else {}
    found = {name: _found(name, chosen, evaluation, embeddings) for name, chosen in queries.items()}
    shown = {index for items in found.values() for item in items for index in [item["query"], *item["items"]]}
    cards = _Cards(dataset, report["data"]["split"], shown, embeddings.ids)
    sections = [
        {
            "name": name,
            "text_query": name == "recipe_to_image",
            "queries": [
                {
                    "card": cards[item["query"]],
                    "rank": item["rank"],
                    "found": [
                        {**cards[index], "place": place, "true": index == item["query"]}
                        for index, place in zip(item["items"], item["places"], strict=True)
                    ],
                }
                for item in items
            ],
        }
        for name, items in found.items()
    ]
    decoders = getattr(model, "decoders", {})
    page = {
        "report": report,
        "directions": {name: name.replace("_to_", " → ") for name in evaluation.directions},
        "chance": _chance(evaluation),
        "charts": [_recall_chart(evaluation), _rank_chart(evaluation)],
        "sections": sections,
        "gallery": len(evaluation.galleries[0]),
        "shown": SHOWN,
        "pictures": [],
        "ingredients": [],
    }
    if "picture" in decoders and "recipe_to_image" in found:
        page["pictures"] = _pictures(
            decoders["picture"], [item["query"] for item in found["recipe_to_image"]], embeddings, cards
        )
    if "ingredients" in decoders and "image_to_recipe" in found and schema.INGREDIENT_IDS in embeddings.features:
        chosen = [item["query"] for item in found["image_to_recipe"]]
        page["ingredients"] = _ingredients(decoders["ingredients"], chosen, embeddings, cards, dataset.ingredients)

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = pathlib.Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(page)


def write_report(folder: str | os.PathLike, report: Mapping[str, Any], html: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes report.json and report.html, each whole or not at all.

    Args:
        folder: made if it does not exist.
        report: plain values.
        html: the page.

    Returns:
        The two paths.

    Raises:
        OSError: the folder cannot be written; what was there stays as it was.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        folder / "report.json": json.dumps(report, indent=2, allow_nan=False) + "\n",
        folder / "report.html": html,
    }
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, text in contents.items():
            temporary[path].write_text(text, encoding="utf-8")
        for path in contents:
            os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return folder / "report.json", folder / "report.html"


def _sampled_queries(evaluation: Evaluation) -> dict[str, NDArray[np.int64]]:
    """Places in the first gallery, by direction: evenly from the best-ranked query to the worst, ties by lot."""
    chosen = {}
    for name in ("recipe_to_image", "image_to_recipe"):
        ranks = evaluation.directions[name].ranks[0]
        order = np.lexsort((np.random.default_rng(evaluation.protocol.seed).permutation(len(ranks)), ranks))
        chosen[name] = order[np.unique(np.linspace(0, len(ranks) - 1, EXAMPLES).round().astype(int))]
    return chosen


def _found(
    name: str, chosen: NDArray[np.int64], evaluation: Evaluation, embeddings: Embeddings
) -> list[dict[str, Any]]:
    """What each query finds: indices into the split, the true item appended where it is not among the nearest."""
    first, second = name.split("_to_")
    gallery = evaluation.galleries[0]
    origin = evaluation.protocol.rank_origin
    results = []
    for place in chosen:
        rank = int(evaluation.directions[name].ranks[0][place])
        nearest, _ = metrics.nearest(
            embeddings.arrays[first][gallery[place]],
            embeddings.arrays[second][gallery],
            distance=evaluation.distance,
            k=SHOWN,
            true_item=int(place),
        )
        items, places = [int(gallery[item]) for item in nearest], list(range(origin, origin + len(nearest)))
        if place not in nearest:
            items.append(int(gallery[place]))
            places.append(rank - 1 + origin)
        results.append({"query": int(gallery[place]), "rank": rank - 1 + origin, "items": items, "places": places})
    return results


class _Cards(dict):
    """Index into the split → what the page shows of a pair."""

    def __init__(self, dataset: "RecipeDataset", split: str, indices: set[int], ids: list[str]):
        super().__init__()
        if not indices:
            return
        for index, text in enumerate(dataset.texts(split)):
            if index in indices:
                if ids and ids[index] != text[schema.ID]:
                    raise ValueError(
                        f"Expected pair {index} of split {split!r} to be {ids[index]!r} as it was embedded, "
                        f"received {text[schema.ID]!r}."
                    )
                self[index] = {
                    "title": text[schema.TITLE],
                    "lines": text[schema.INGREDIENTS],
                    "photo": _photo_uri(dataset.photo(split, index)),
                }
            if index >= max(indices):
                return
        raise ValueError(f"Expected split {split!r} to have the {len(ids)} pairs embedded, received {index + 1}.")


def _pictures(decoder: Any, indices: list[int], embeddings: Embeddings, cards: _Cards) -> list[dict[str, Any]]:
    made = np.asarray(decoder.network.predict_on_batch(embeddings.arrays[decoder.source][indices]), np.float32)
    return [
        {"card": cards[index], "made": _pixels_uri(pixels), "source": decoder.source}
        for index, pixels in zip(indices, made, strict=True)
    ]


def _ingredients(
    decoder: Any, indices: list[int], embeddings: Embeddings, cards: _Cards, names: list[str]
) -> list[dict[str, Any]]:
    guesses = np.asarray(decoder.network.predict_on_batch(embeddings.arrays[decoder.source][indices]), np.float32)
    if guesses.shape[1:] != (len(names),):
        raise ValueError(
            f"Expected probabilities of the dataset's {len(names)} ingredients, received {list(guesses.shape)}."
        )
    results = []
    for index, probabilities in zip(indices, guesses, strict=True):
        ids = embeddings.features[schema.INGREDIENT_IDS][index]
        true = [int(value) - schema.FIRST_TOKEN_ID for value in ids if value >= schema.FIRST_TOKEN_ID]
        best = np.argsort(-probabilities, kind="stable")[:GUESSES]
        guessed = [
            {"name": names[column], "right": column in true, "percent": 100 * float(probabilities[column])}
            for column in best
        ]
        known = [{"name": names[column], "right": column in best} for column in dict.fromkeys(true)]
        results.append({"card": cards[index], "guessed": guessed, "true": known})
    return results


def _chance(evaluation: Evaluation) -> dict[str, float]:
    """What guessing gives."""
    size = len(evaluation.galleries[0])
    recalls = {f"R@{k}": min(k / size, 1.0) for k in next(iter(evaluation.directions.values())).recall}
    return {"MedR": (size + 1) / 2 - 1 + evaluation.protocol.rank_origin, **recalls}


def _photo_uri(photo: bytes) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(photo)) as image:
        return _jpeg_uri(image.convert("RGB"))


def _pixels_uri(pixels: NDArray) -> str:
    """float32 [height, width, 3] in [0, 255] → data URI."""
    from PIL import Image

    return _jpeg_uri(Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "RGB"))


def _jpeg_uri(image: Any) -> str:
    image.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


_COLOURS = ("#b5482e", "#2f6f73", "#8a6d1d", "#5b4b8a", "#3d7a3d", "#7a3d63")


def _recall_chart(evaluation: Evaluation) -> dict[str, str]:
    figure, axes = _axes()
    size = len(evaluation.galleries[0])
    k = np.unique(np.geomspace(1, size, 120).round().astype(int))
    for (name, direction), colour in zip(evaluation.directions.items(), _COLOURS * 9, strict=False):
        ranks = np.sort(np.concatenate(direction.ranks))
        recall = 100 * np.searchsorted(ranks, k, side="right") / len(ranks)
        axes.plot(k, recall, color=colour, linewidth=2, label=name.replace("_to_", " → "))
    axes.plot(k, 100 * k / size, color="#999999", linewidth=1, linestyle="--", label="chance")
    axes.set(xscale="log", xlabel="k", ylabel="queries with the true item among the k nearest, %", ylim=(0, 101))
    axes.legend(frameon=False)
    return {"title": "Recall at k", "uri": _svg_uri(figure)}


def _rank_chart(evaluation: Evaluation) -> dict[str, str]:
    figure, axes = _axes()
    size = len(evaluation.galleries[0])
    edges = np.unique(np.geomspace(1, size + 1, 14).round().astype(int))
    count = len(evaluation.directions)
    labels = [str(low) if high - low == 1 else f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)]
    for place, ((name, direction), colour) in enumerate(zip(evaluation.directions.items(), _COLOURS * 9, strict=False)):
        ranks = np.concatenate(direction.ranks)
        share = 100 * np.histogram(ranks, edges)[0] / len(ranks)
        centres = np.arange(len(labels)) + (place - (count - 1) / 2) * 0.8 / count
        axes.bar(centres, share, 0.8 / count, color=colour, label=name.replace("_to_", " → "))
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set(xlabel="rank of the true item, from 1", ylabel="queries, %")
    axes.legend(frameon=False)
    return {"title": "Ranks", "uri": _svg_uri(figure)}


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e0d8")
    axes.set_axisbelow(True)
    return figure, axes


def _svg_uri(figure: Any) -> str:
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "kfood"}):  # same figures, same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
