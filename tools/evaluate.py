"""Measure a trained run on a dataset: report.json and report.html.

Examples:
    kfood evaluate RUN --data DATA
    kfood evaluate RUN --data DATA --split test --gallery 1000 --subsets 10
    kfood evaluate RUN --data DATA --gallery 1000 --sampling disjoint --rank-origin 0 --out REPORT
    kfood evaluate RUN --data DATA --parts
    kfood evaluate R2GAN --data KITCHEN --thumbnails
    kfood evaluate RUN --data OTHER_RECIPES
    kfood evaluate PHOTOS --data LABELLED
    kfood evaluate PHOTOS --data OTHER_LABELLED
    kfood evaluate PHOTOS --data LABELLED --as-released
    kfood evaluate TRAJCROSS --data WALKS
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset
    from kfood.evaluation.embedding import Embeddings
    from kfood.evaluation.protocols import Evaluation, Protocol

DEFAULT_GALLERY = 1_000
DEFAULT_SUBSETS = 10

MANY_CLUSTERED = 10**8
"""Photos times clusters beyond which k-means takes minutes: SOP's 60,502 × 11,316, but not ISIA-500's."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Arguments of ``kfood evaluate``."""

    run: tyro.conf.Positional[pathlib.Path]
    """Run folder, made by `kfood train`."""
    data: pathlib.Path
    """Prepared dataset, of any recipes or photos; recipes are read in the words that the run was trained with."""
    split: str = "test"
    """Which of its splits."""
    gallery: int | None = None
    """Pairs in a gallery; by default 1,000, or the whole split if it has fewer; of trajectories the whole split."""
    subsets: int | None = None
    """Of recipes: galleries drawn from the split; by default 10, or 1 where a gallery is the whole split."""
    seed: int = 0
    """Of the draw; of labelled photos, of k-means and the map."""
    sampling: Literal["random", "disjoint"] = "random"
    """Of recipes: whether two galleries may share pairs (random) or not (disjoint)."""
    rank_origin: Literal[0, 1] = 1
    """Of recipes: rank of the nearest item."""
    batch_size: int = 64
    """Pairs, or photos, embedded at a time."""
    weights: Literal["best", "last"] = "best"
    """Of the best epoch on validation, or of the last."""
    thumbnails: bool = False
    """Of recipes, for a model that makes pictures: also train a small classifier on real photos and ask it of how many
    made pictures it names the dish."""
    parts: bool = False
    """Of recipes: also measure what a part alone finds, or two of them (title, ingredients, instructions)."""
    robustness: bool = False
    """Of trajectories: also measure top-1 against dropped points, position noise and thickness; robustness.png."""
    clusters: bool = True
    """Of labelled photos: whether to cluster them for NMI, which takes minutes where there are thousands of classes."""
    as_released: bool = False
    """Of labelled photos: also NMI as the α-sampling paper's released code has it, of as many clusters as training
    classes (more time), beside MAP by its rules."""
    out: pathlib.Path | None = None
    """Folder for the two files; by default the run's, or RUN/on-NAME for a dataset that it was not trained on, NAME
    that of the dataset's folder."""


def main(arguments: list[str]) -> None:
    """Parses and evaluates."""
    run(tyro.cli(Evaluate, args=arguments, prog="kfood evaluate", description=__doc__))


def run(args: Evaluate) -> dict[str, Any]:
    """Embeds the split, ranks, writes both files, prints the table.

    Args:
        args: what to evaluate, and how.

    Returns:
        The content of report.json.

    Raises:
        ValueError: the dataset is of another kind than the run's, or the protocol does not fit the split.
        OSError: something cannot be read or written.
    """
    import rich

    from kfood.data.dataset import LabelledDataset, open_dataset
    from kfood.evaluation import report
    from kfood.models import MODELS, run_config

    trained = MODELS.get(run_config(args.run)["model"])
    kind = trained.data if trained else "recipes"
    if args.robustness and kind != "trajectories":
        raise ValueError(f"--robustness: expected a run of a model of trajectories, received one of {kind}.")
    dataset = open_dataset(args.data, kind)
    out = args.out or _place(args, dataset)
    evaluated = _by_class(args, dataset) if isinstance(dataset, LabelledDataset) else _by_pair(args, dataset)
    content, page, table = evaluated
    if args.robustness:
        _robustness(args, dataset, content, out)
    paths = report.write_report(out, content, page)
    rich.print(table)
    print(f"{paths[0]}\n{paths[1]}")
    return content


def _place(args: Evaluate, dataset: Any) -> pathlib.Path:
    """Folder for the two files: RUN/report.json is of the run's own dataset, as `kfood compare`, `kfood export` and
    `kfood bench-losses` take it to be."""
    from kfood.models import run_config

    own = run_config(args.run)["data"]
    same = all(own[name] == getattr(dataset, name) for name in ("name", "fingerprint"))
    return args.run if same else args.run / f"on-{args.data.resolve().name}"


def _by_class(args: Evaluate, dataset: "LabelledDataset") -> tuple[dict[str, Any], str, Any]:
    """Every photo queries all others: (report.json, report.html, table)."""
    import numpy as np
    from rich import box
    from rich.table import Table

    from kfood import schema
    from kfood.evaluation import class_report
    from kfood.evaluation.retrieval import retrieval_metrics
    from kfood.models import load_run, run_config

    plain = Evaluate(args.run, args.data)
    for name in ("gallery", "subsets", "sampling", "rank_origin", "thumbnails", "parts"):
        if getattr(args, name) != getattr(plain, name):
            raise ValueError(
                f"--{name.replace('_', '-')}: expected none for labelled photos, each of which queries all others."
            )
    photos = dataset.size(args.split)
    model: Any = load_run(args.run, weights=args.weights)
    start = time.perf_counter()
    with _progress() as bar:
        embeddings = _embedded(args, dataset, model, [schema.CLASS_ID], bar)
    embedded = time.perf_counter()
    arrays, labels = embeddings.arrays["image"], embeddings.features[schema.CLASS_ID]
    classes = len(np.unique(labels))
    if args.clusters and photos * classes > MANY_CLUSTERED:
        print(f"k-means of {photos:,} photos into {classes:,} clusters takes minutes; --no-clusters leaves NMI out.")
    figures = retrieval_metrics(
        arrays,
        labels,
        distance=model.distance,
        clusters=args.clusters,
        as_released=True,
        training_classes=model.spec.classes if args.as_released else None,
        seed=args.seed,
    )
    content = class_report.class_report_json(
        figures,
        labels,
        dataset,
        args.split,
        distance=model.distance,
        seed=args.seed,
        model=_described(args, model, arrays.shape[1]) | {"variant": run_config(args.run)["variant"]},
        seconds={"embedding": embedded - start, "retrieval": time.perf_counter() - embedded},
    )
    found = content["retrieval"]
    headings = class_report.LABELS | (class_report.RELEASED if args.as_released else {})
    shown = {label: found[name] for name, label in headings.items() if name in found}
    title = f"{photos:,} photos of {content['data']['classes']:,} classes, {model.distance}"
    table = Table(*shown, title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    cells = (f"{value:.3f}" if label.startswith("int") else f"{100 * value:.2f}" for label, value in shown.items())
    table.add_row(*("–" if value is None else cell for cell, value in zip(cells, shown.values(), strict=True)))
    return content, class_report.class_report_html(content, arrays, labels, dataset), table


def _refuse_of_others(args: Evaluate, kind: str) -> None:
    """Says which option is not of datasets of this kind, "recipes" or "trajectories"."""
    if not args.clusters:
        raise ValueError(f"--no-clusters: expected none for {kind}, which are not clustered.")
    if args.as_released:
        raise ValueError(f"--as-released: expected none for {kind}: it is of labelled photos.")
    if args.thumbnails and kind != "recipes":
        raise ValueError("--thumbnails: expected none for trajectories, of which no model makes pictures.")
    if args.parts and kind != "recipes":
        raise ValueError("--parts: expected none for trajectories, which have none.")


def _by_pair(args: Evaluate, dataset: Any) -> tuple[dict[str, Any], str, Any]:
    """Each recipe, or trajectory, looks for its picture and back: (report.json, report.html, table)."""
    from kfood import schema
    from kfood.evaluation import report
    from kfood.evaluation.protocols import evaluate, scalability
    from kfood.evaluation.thumbnails import thumbnail_accuracy
    from kfood.models import load_run, run_config

    pairs, recipes = dataset.size(args.split), dataset.kind == "recipes"
    _refuse_of_others(args, dataset.kind)
    protocol = protocol_for(args, pairs, DEFAULT_GALLERY if recipes else pairs)
    protocol.draw(pairs)  # whatever is wrong with it is said before the long work
    if recipes and dataset.vocabulary_fingerprint != run_config(args.run)["data"]["vocabulary"]:
        dataset = dataset.read_with(args.run)
        print(f"{args.data} has another vocabulary than {args.run}: its recipes are read in the run's words.")
    model: Any = load_run(args.run, weights=args.weights).searched()
    thumbnails = thumbnail_accuracy(model, dataset, split=args.split, seed=args.seed) if args.thumbnails else None

    start = time.perf_counter()
    with _progress() as bar:
        kept = [schema.INGREDIENT_IDS] if recipes else [schema.TRAJECTORY, schema.LOCATION]
        embeddings = _embedded(args, dataset, model, kept, bar)
        embedded = time.perf_counter()
        ranking = bar.add_task("ranking", total=None)
        evaluation = evaluate(
            embeddings.arrays,
            protocol,
            distance=model.distance,
            progress=lambda done, total: bar.update(ranking, completed=done, total=total),
        )
        ranked = time.perf_counter()
        scaling = bar.add_task("galleries", total=None)
        curve = scalability(
            embeddings.arrays,
            protocol,
            distance=model.distance,
            progress=lambda done, total: bar.update(scaling, completed=done, total=total),
        )
    scaled = time.perf_counter()
    content = report.report_json(
        evaluation,
        dataset,
        args.split,
        scalability=curve,
        model=_described(args, model, next(iter(embeddings.arrays.values())).shape[1]),
        seconds={"embedding": embedded - start, "ranking": ranked - embedded, "scalability": scaled - ranked},
        thumbnails=thumbnails,
    )
    by_parts = _by_parts(args, dataset, model, embeddings, protocol) if args.parts else {}
    if by_parts:
        content["parts"] = {name: part.as_json()["directions"] for name, part in by_parts.items()}
    page = report.report_html(content, evaluation, embeddings, model, dataset)
    table = _table(evaluation, by_parts)
    if thumbnails:
        table.caption = "dishes named right: " + ", ".join(
            f"{name} {100 * share:.0f} %" for name, share in thumbnails.items() if name != "items"
        )
    return content, page, table


def _by_parts(
    args: Evaluate, dataset: Any, model: Any, embeddings: "Embeddings", protocol: "Protocol"
) -> dict[str, "Evaluation"]:
    """The evaluation of the same photos with parts of the recipes."""
    from kfood.data.pipeline import recipe_batches
    from kfood.evaluation import parts

    texts = recipe_batches(dataset, args.split, model.spec, args.batch_size, training=False, photos=False)
    return parts.measure(model, texts, embeddings, protocol)


def _robustness(args: Evaluate, dataset: Any, content: dict[str, Any], out: pathlib.Path) -> None:
    """Adds ``robustness`` to the report and draws it beside."""
    from kfood import folders
    from kfood.evaluation import robustness
    from kfood.models import load_run

    content["robustness"] = robustness.measure(
        load_run(args.run, weights=args.weights).searched(), dataset, args.split, args.seed
    )
    out.mkdir(parents=True, exist_ok=True)
    folders.write_whole({out / "robustness.png": robustness.chart(content["robustness"], dataset.style.thickness)})
    print(out / "robustness.png")


def _embedded(args: Evaluate, dataset: Any, model: Any, keep: list[str], bar: Any) -> "Embeddings":
    """The split's embeddings, with some of its features beside them."""
    from kfood.data.pipeline import batches
    from kfood.evaluation.embedding import embed_dataset

    task = bar.add_task("embedding", total=dataset.size(args.split))
    return embed_dataset(
        model,
        batches(dataset, args.split, model.spec, args.batch_size, training=False),
        keep=keep,
        progress=lambda done: bar.update(task, completed=done),
    )


def _described(args: Evaluate, model: Any, embedding_size: int) -> dict[str, Any]:
    """What report.json says of the model."""
    from kfood.models import parameters, run_config

    config = run_config(args.run)
    return {
        "name": config["model"],
        "trained_on": {name: config["data"][name] for name in ("name", "fingerprint")},
        "run": args.run.resolve().name,
        "weights": args.weights,
        "embedding_size": embedding_size,
        "parameters": {"encoders": parameters(*model.encoders.values()), "all": parameters(model)},
    }


def _progress() -> Any:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description:>9}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns)


def protocol_for(args: Evaluate, pairs: int, default: int = DEFAULT_GALLERY) -> "Protocol":
    """The protocol asked for, with the defaults for a split of ``pairs`` pairs and galleries of ``default``."""
    from kfood.evaluation.protocols import Protocol

    gallery = args.gallery
    if gallery is None and pairs > default:
        gallery = default
    whole = gallery is None or gallery == pairs  # all random galleries of this size are one and the same
    subsets = args.subsets if args.subsets is not None else (1 if whole else DEFAULT_SUBSETS)
    return Protocol(None if whole and subsets == 1 else gallery, subsets, args.seed, args.rank_origin, args.sampling)


def _table(evaluation: "Evaluation", by_parts: Mapping[str, "Evaluation"]) -> Any:
    """Figures by direction; below them, of parts of recipes if there are any."""
    from rich.table import Table

    gallery, subsets = len(evaluation.galleries[0]), len(evaluation.galleries)
    recalls = next(iter(evaluation.directions.values())).recall
    title = f"gallery of {gallery:,} pairs, {evaluation.distance}" + (f", {subsets} subsets" if subsets > 1 else "")
    table = Table("", "MedR", *(f"R@{k}" for k in recalls), title=title)
    for kept, own in {"": evaluation, **by_parts}.items():
        for name, direction in own.directions.items():
            spreads = [(direction.median_rank, 1), *((spread, 100) for spread in direction.recall.values())]
            cells = (
                f"{spread.mean * scale:.1f}" + (f" ± {spread.std * scale:.1f}" if subsets > 1 else "")
                for spread, scale in spreads
            )
            label = name.replace("_to_", " → ")
            table.add_row(label.replace("recipe", kept) if kept else label, *cells)
        table.add_section()
    return table
