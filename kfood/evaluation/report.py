"""The evaluation's two files: report.json, and report.html, one page that needs nothing else.

The page shows the figures, how the ranks are spread, what queries find (as in the papers' figures 3 and 4), and what
the model's decoders read back from embeddings where it has decoders called ``picture`` or ``ingredients``, and where
it looks if it says so (:mod:`kfood.evaluation.attention`).
"""

import base64
import dataclasses
import importlib.metadata
import io
import itertools
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kfood
from kfood import folders, schema
from kfood.evaluation import attention, charts, metrics, overlays, pages
from kfood.evaluation.embedding import Embeddings
from kfood.evaluation.protocols import Evaluation

FORMAT = 2
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
    dataset: Any,
    split: str,
    *,
    scalability: Sequence[Evaluation],
    model: Mapping[str, Any],
    seconds: Mapping[str, float],
    thumbnails: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The content of report.json.

    Args:
        evaluation: figures and the protocol behind them.
        dataset: what was evaluated on, of recipes or trajectories; its name and fingerprint are recorded.
        split: of the dataset.
        scalability: the same at several sizes of the gallery (:func:`kfood.evaluation.protocols.scalability`).
        model: what is to be said of the model: its name at least.
        seconds: wall-clock time by step.
        thumbnails: what :func:`kfood.evaluation.thumbnails.thumbnail_accuracy` returned, if it was asked.

    Returns:
        Plain values: ``format``, ``model``, ``data``, ``protocol``, ``directions``, ``scalability``, ``seconds``,
        ``versions``, and ``thumbnails`` where there are. Recalls are fractions from 0 to 1, median ranks count from the
        protocol's rank origin.
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
        "scalability": [
            {
                "gallery": len(at_size.galleries[0]),
                "subsets": len(at_size.galleries),
                "MedR": {
                    name: dataclasses.asdict(direction.median_rank) for name, direction in at_size.directions.items()
                },
            }
            for at_size in scalability
        ],
        **({"thumbnails": dict(thumbnails)} if thumbnails else {}),
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
    dataset: Any,
) -> str:
    """The page, everything inlined and everything from the data escaped.

    Args:
        report: what :func:`report_json` returned.
        evaluation: as given to it. Queries are shown from the first of its galleries, if the encoders include
            ``image`` and ``recipe``.
        embeddings: of the whole split; with feature ``ingredient_ids`` kept, true ingredients are shown, with
            ``trajectory`` and ``location`` what queries find on the ground.
        model: with ``decoders``, a dict that may be empty, and ``attention`` if it has any.
        dataset: its texts and photos of ``report["data"]["split"]`` are shown.

    Returns:
        HTML text.

    Raises:
        ValueError: the dataset's split is not the one that was embedded.
    """
    recipes = {"image", "recipe"} <= set(embeddings.arrays)
    queries = _sampled_queries(evaluation, ("recipe_to_image", "image_to_recipe")) if recipes else {}
    found = {name: _found(name, chosen, evaluation, embeddings) for name, chosen in queries.items()}
    shown = {index for items in found.values() for item in items for index in [item["query"], *item["items"]]}
    cards = _Cards(dataset, report["data"]["split"], shown, embeddings.ids)
    decoders = getattr(model, "decoders", {})
    made = _made(decoders["picture"], sorted(shown), embeddings) if "picture" in decoders else {}
    page = {
        "report": report,
        "directions": {name: name.replace("_to_", " → ") for name in evaluation.directions},
        "chance": _chance(evaluation),
        "charts": [
            _recall_chart(evaluation),
            _rank_chart(evaluation),
            *_scalability_chart(report),
            *_overlays(evaluation, embeddings),
        ],
        "sections": [_section(name, items, cards, made) for name, items in found.items()],
        "gallery": len(evaluation.galleries[0]),
        "shown": SHOWN,
        "pictures": [],
        "ingredients": [],
    }
    if made and "recipe_to_image" in found:
        page["pictures"] = [
            {
                "card": cards[item["query"]],
                "made": {"photo" if source == "image" else source: of[item["query"]] for source, of in made.items()},
            }
            for item in found["recipe_to_image"]
        ]
    if "ingredients" in decoders and "image_to_recipe" in found and schema.INGREDIENT_IDS in embeddings.features:
        chosen = [item["query"] for item in found["image_to_recipe"]]
        page["ingredients"] = _ingredients(decoders["ingredients"], chosen, embeddings, cards, dataset.ingredients)

    page["attention"] = [
        {**example, "photo": _pixels_uri(example["photo"]), "heat": _pixels_uri(example["heat"])}
        for example in attention.examples(model, dataset, report["data"]["split"])
    ]
    return pages.render("report.html", page)


def _section(name: str, items: Sequence[dict], cards: "_Cards", made: dict[str, dict]) -> dict[str, Any]:
    """What the page shows of a direction: its queries with what they found, and the pictures made of both."""
    by_image, by_recipe = made.get("image", {}), made.get("recipe", {})
    return {
        "name": name,
        "text_query": name == "recipe_to_image",
        "explained": name == "image_to_recipe" and bool(by_recipe),
        "queries": [
            {
                "card": cards[item["query"]],
                "made": by_image.get(item["query"]) if by_recipe else None,
                "rank": item["rank"],
                "found": [
                    {**cards[index], "made": by_recipe.get(index), "place": place, "true": index == item["query"]}
                    for index, place in zip(item["items"], item["places"], strict=True)
                ],
            }
            for item in items
        ],
    }


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
    as_json, as_html = folder / "report.json", folder / "report.html"
    folders.write_whole({as_json: json.dumps(report, indent=2, allow_nan=False) + "\n", as_html: html})
    return as_json, as_html


def _overlays(evaluation: Evaluation, embeddings: Embeddings) -> list[dict[str, str]]:
    """What trajectories and pictures find, where they were kept with the embeddings."""
    if schema.TRAJECTORY not in embeddings.features:
        return []
    return [
        overlays.overlay(name, _found(name, chosen, evaluation, embeddings), embeddings)
        for name, chosen in _sampled_queries(evaluation, tuple(evaluation.directions)).items()
    ]


def _sampled_queries(evaluation: Evaluation, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Places in the first gallery, by direction: evenly from the best-ranked query to the worst, ties by lot."""
    chosen = {}
    for name in names:
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

    def __init__(self, dataset: Any, split: str, indices: set[int], ids: list[str]):
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
                    "photo": photo_uri(dataset.photo(split, index)),
                }
            if index >= max(indices):
                return
        raise ValueError(f"Expected split {split!r} to have the {len(ids)} pairs embedded, received {index + 1}.")


def _decoded(decoder: Any, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """A few embeddings through a decoder at inference; called directly, it is not traced for them."""
    return np.asarray(decoder.network(embeddings, training=False), np.float32)


def _made(decoder: Any, indices: list[int], embeddings: Embeddings) -> dict[str, dict[int, str]]:
    """Encoder → index into the split → picture generated from that embedding; only encoders that the decoder takes."""
    if not indices:
        return {}
    made = {}
    for source in [name for name in embeddings.arrays if name in decoder.sources]:
        pixels = _decoded(decoder, embeddings.arrays[source][indices])
        made[source] = {index: _pixels_uri(one) for index, one in zip(indices, pixels, strict=True)}
    return made


def _ingredients(
    decoder: Any, indices: list[int], embeddings: Embeddings, cards: _Cards, names: list[str]
) -> list[dict[str, Any]]:
    guesses = _decoded(decoder, embeddings.arrays[decoder.sources[0]][indices])
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


def photo_uri(photo: bytes) -> str:
    """An encoded photo as a data URI, reduced."""
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


def _recall_chart(evaluation: Evaluation) -> dict[str, str]:
    figure, (axes,) = charts.figure()
    size = len(evaluation.galleries[0])
    k = np.unique(np.geomspace(1, size, 120).round().astype(int))
    for place, (name, direction) in enumerate(evaluation.directions.items()):
        ranks = np.sort(np.concatenate(direction.ranks))
        recall = 100 * np.searchsorted(ranks, k, side="right") / len(ranks)
        axes.plot(k, recall, color=charts.colour(place), linewidth=2, label=name.replace("_to_", " → "))
    axes.plot(k, 100 * k / size, color="#999999", linewidth=1, linestyle="--", label="chance")
    axes.set(xscale="log", xlabel="k, the nearest looked at", ylabel="true item among them (R@k), %", ylim=(0, 101))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.legend(frameon=False)
    return {"title": "Recall at k", "uri": charts.svg_uri(figure)}


def _rank_chart(evaluation: Evaluation) -> dict[str, str]:
    figure, (axes,) = charts.figure()
    size = len(evaluation.galleries[0])
    edges = np.unique(np.geomspace(1, size + 1, 14).round().astype(int))
    count = len(evaluation.directions)
    labels = [str(low) if high - low == 1 else f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)]
    for place, (name, direction) in enumerate(evaluation.directions.items()):
        ranks = np.concatenate(direction.ranks)
        share = 100 * np.histogram(ranks, edges)[0] / len(ranks)
        centres = np.arange(len(labels)) + (place - (count - 1) / 2) * 0.8 / count
        axes.bar(centres, share, 0.8 / count, color=charts.colour(place), label=name.replace("_to_", " → "))
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set(xlabel="rank of the true item, from 1", ylabel="queries, %")
    axes.legend(frameon=False)
    return {"title": "Ranks", "uri": charts.svg_uri(figure)}


def _scalability_chart(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The chart, where there is more than one size."""
    points = report["scalability"]
    if len(points) < 2:
        return []
    curves = {
        name.replace("_to_", " → "): [{"gallery": point["gallery"], **point["MedR"][name]} for point in points]
        for name in report["directions"]
    }
    figure, (axes,) = charts.figure()
    charts.draw_scalability(axes, curves, report["protocol"]["rank_origin"])
    axes.legend(frameon=False)
    return [{"title": "Median rank by size of the gallery", "uri": charts.svg_uri(figure)}]
