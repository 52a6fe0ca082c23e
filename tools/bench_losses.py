"""Train every loss of the α-sampling paper's Tables 1 to 3 at a budget of your choice: one table, one chart.

Each row is a run of `kfood train alpha_gao` in OUT/runs, measured by `kfood evaluate`. Given again, the command goes on
where it stopped: rows that are measured are read, one that was interrupted is resumed.

Examples:
    kfood bench-losses --data DATA --out OUT --epochs 4
    kfood bench-losses --data DATA --out OUT --epochs 6 --rows margin margin+alpha margin+alpha+gao --seeds 0 1 2
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from kfood.data.dataset import LabelledDataset

UNTRAINED = "untrained"
"""The row of a model that learns nothing: with pretrained weights, the tables' first."""

TABLES: dict[str, tuple[str, ...]] = {
    "Tables 1 and 2: losses": (
        *(UNTRAINED, "contrastive", "triplet", "n_pair", "histogram", "margin", "lifted_structure", "circle"),
        *("normalised_softmax", "proxy_nca", "soft_triple", "proxy_synthesis", "smooth_ap", "pnp"),
        *("margin+alpha", "margin+alpha+gao", "margin+alpha+gao+softmax"),
    ),
    "Table 3: sampling": tuple(
        f"{loss}{sampling}" for loss in ("contrastive", "margin") for sampling in ("+random", "+softhard", "", "+alpha")
    ),
    "Beside the paper": (
        *("softmax", "multi_similarity", "proxy_anchor"),
        *("contrastive+alpha+gao", "contrastive+alpha+gao+softmax"),
    ),
}
"""Title → rows, variants of ``alpha_gao`` but for the untrained one."""

RELEASED = "As the paper's released code sets them"
"""Title of the same rows with ``+as_released``, which are trained where they are asked for."""

TABLES[RELEASED] = tuple(
    f"{row}+as_released"
    for row in dict.fromkeys(row for rows in TABLES.values() for row in rows)
    if row not in (UNTRAINED, "multi_similarity", "proxy_anchor")
)


@dataclasses.dataclass(frozen=True)
class BenchLosses:
    """Arguments of ``kfood bench-losses``."""

    data: pathlib.Path
    """Prepared dataset of labelled photos."""
    out: pathlib.Path
    """Folder for the runs, losses.json, losses.md and losses.png."""
    rows: tuple[str, ...] = ()
    """Rows to train; by default all of the paper's tables, and some more losses; with `+as_released`, by the settings
    of the paper's released code."""
    seeds: tuple[int, ...] = (0,)
    """Each row is trained once with each of them."""
    preset: str = "small"
    """`published` or `small`."""
    epochs: int | None = None
    """Passes over the training split; the preset's by default."""
    clusters: bool = True
    """Whether to cluster the test photos for NMI, as for `kfood evaluate`."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """field=value, as for `kfood train`; may be given several times."""


def main(arguments: list[str]) -> None:
    """Parses and trains."""
    run(tyro.cli(BenchLosses, args=arguments, prog="kfood bench-losses", description=__doc__))


def run(args: BenchLosses) -> dict[str, Any]:
    """Trains what is missing, measures it, and writes table and chart after each row.

    Returns:
        The content of losses.json.

    Raises:
        ValueError: an unknown row, or runs in OUT that were made with other settings.
        OSError: something cannot be read or written.
    """
    from kfood.data.dataset import open_dataset

    known = list(dict.fromkeys(row for rows in TABLES.values() for row in rows))
    for row in args.rows:
        if row not in known:
            raise ValueError(f"--rows: expected some of {', '.join(known)}, received {row!r}.")
    dataset = open_dataset(args.data, "labelled")
    dataset.size("test")  # refused before the training if there is none
    args.out.mkdir(parents=True, exist_ok=True)
    reports: dict[str, list[dict[str, Any]]] = {}
    content: dict[str, Any] = {}
    for row in args.rows or [row for row in known if row not in TABLES[RELEASED]]:
        for seed in args.seeds:
            print(f"{row}, seed {seed}", flush=True)
            reports.setdefault(row, []).append(_measured(args, dataset, row, seed))
        content = write_table(args.out, reports, {**reports[row][0]["data"]}, args.seeds)
    print((args.out / "losses.md").read_text())
    return content


def _measured(args: BenchLosses, dataset: "LabelledDataset", row: str, seed: int) -> dict[str, Any]:
    """The report of a row's run, trained and measured where it is not yet."""
    import keras

    from kfood.configs import experiment
    from kfood.tools import evaluate
    from kfood.training import train

    folder = args.out / "runs" / f"{row}_seed{seed}"
    overrides = [f"training.seed={seed}", *args.set]
    if args.epochs is not None:
        overrides.append(f"training.epochs={args.epochs}")
    variant = row
    if row == UNTRAINED:  # one pass at a standstill: batch normalisation has seen the photos, nothing has learnt
        variant = "softmax"
        overrides += ["optimizer.learning_rate=0", "optimizer.weight_decay=0", "training.epochs=1"]
    keras.backend.clear_session()
    train(
        "alpha_gao",
        experiment("alpha_gao", args.preset, variant, tuple(overrides)),
        dataset,
        folder,
        variant=row,
        resume=True,  # a run that was made with other settings is refused
    )
    report = folder / "report.json"
    if not report.is_file():
        evaluate.run(evaluate.Evaluate(folder, args.data, weights="last", clusters=args.clusters))
    return json.loads(report.read_text(encoding="utf-8"))


def write_table(
    out: pathlib.Path, reports: Mapping[str, Sequence[Mapping[str, Any]]], data: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, Any]:
    """Writes losses.json, losses.md and losses.png.

    Args:
        out: folder.
        reports: row → report.json of each seed.
        data: what they were measured on.
        seeds: of the rows.

    Returns:
        The content of losses.json: ``data``, ``seeds``, ``rows``: row → figure → ``{"mean", "std"}``, the deviation
        over seeds, None where there is one. Both are None where a figure is, as the distance between classes
        of one, or was not measured, as NMI with ``--no-clusters``.
    """
    import numpy as np

    from kfood import folders
    from kfood.evaluation.class_report import LABELS

    rows: dict[str, dict[str, dict[str, float | None]]] = {}
    for row, of_seeds in reports.items():
        rows[row] = {}
        for name in LABELS:
            values = [report["retrieval"].get(name) for report in of_seeds]
            rows[row][name] = {"mean": None, "std": None}
            if None not in values:
                rows[row][name]["mean"] = float(np.mean(values))
                rows[row][name]["std"] = float(np.std(values)) if len(values) > 1 else None
    content = {"data": dict(data), "seeds": list(seeds), "rows": rows}
    folders.write_whole(
        {
            out / "losses.json": json.dumps(content, indent=2) + "\n",
            out / "losses.md": _markdown(content, LABELS),
            out / "losses.png": _chart(rows),
        }
    )
    return content


def _markdown(content: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    data, rows = content["data"], content["rows"]
    lines = [
        f"# Losses on {data['name']}, {data['split']} split",
        "",
        f"{data['photos']:,} photos of {data['classes']:,} classes that are not trained on; each queries all others. "
        "Last epoch"
        + (f"; mean ± standard deviation over {len(content['seeds'])} seeds" if len(content["seeds"]) > 1 else "")
        + ". In %, distances apart; the best of each table is bold.",
    ]
    for title, names in TABLES.items():
        shown = [name for name in names if name in rows]
        if not shown:
            continue
        lines += ["", f"## {title}", "", f"| | {' | '.join(labels.values())} |", f"|---|{'---:|' * len(labels)}"]
        means = {name: [rows[row][name]["mean"] for row in shown] for name in labels}
        best = {name: max((mean for mean in means[name] if mean is not None), default=None) for name in labels}
        for row in shown:
            cells = []
            for name in labels:
                mean, std = rows[row][name]["mean"], rows[row][name]["std"]
                if mean is None:
                    cells.append("–")
                    continue
                scale, digits = (1, 3) if name.endswith("distance") else (100, 2)
                cell = f"{scale * mean:.{digits}f}"
                if mean == best[name] and scale == 100:
                    cell = f"**{cell}**"
                cells.append(cell + ("" if std is None else f" ± {scale * std:.{digits}f}"))
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _chart(rows: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> bytes:
    """R@1, MAP@1K and NMI of each row, side by side."""
    from kfood.evaluation import charts

    figure, axes = charts.figure(3, width=11.0, height=1.2 + 0.26 * len(rows), share_y=True)
    for place, (one, (name, label)) in enumerate(
        zip(axes, (("recall_at_1", "R@1, %"), ("map_at_1000", "MAP@1K, %"), ("nmi", "NMI, %")), strict=True)
    ):
        means = [100 * (figures[name]["mean"] or 0.0) for figures in rows.values()]
        spreads = [100 * (figures[name]["std"] or 0.0) for figures in rows.values()]
        one.barh(range(len(rows)), means, xerr=spreads if any(spreads) else None, color=charts.colour(place))
        one.set(xlabel=label, yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.5, -0.5))
        one.grid(visible=False, axis="y")
        one.grid(axis="x", color="#e5e0d8")
    return charts.png(figure)
