"""Runs compared: which are one row, what is averaged, which cannot be compared, and the files."""

import html.parser
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from kfood.evaluation import comparison, report

DIRECTIONS = ("image_to_recipe", "recipe_to_image")


def make_run(folder, *, variant="", seed=0, medr=4.0, changes=None):
    """A run folder as kfood leaves it. Figures follow from ``medr``; ``changes``: path in a file → value."""
    config = {
        "model": "acme",
        "variant": variant,
        "config": {"margin": 0.3, "hard_mining": variant != "TL"},
        "spec": {"image_size": 32},
        "training": {"epochs": 2, "seed": seed},
        "data": {"name": "kitchen", "fingerprint": "f" * 64, "splits": {"test": 60}},
    }
    content = {
        "format": report.FORMAT,
        "model": {"name": "acme", "weights": "best", "parameters": {"encoders": 1_500_000, "all": 2_000_000}},
        "data": {"name": "kitchen", "fingerprint": "f" * 64, "split": "test", "pairs": 60},
        "protocol": {
            "gallery": 60,
            "subsets": 1,
            "sampling": "whole split",
            "seed": 0,
            "distance": "cosine",
            "rank_origin": 1,
            "recall_unit": "fraction",
        },
        "directions": {
            name: {
                "MedR": {"mean": medr + place, "std": 0.0},
                **{f"R@{k}": {"mean": k / 100 / medr, "std": 0.0} for k in (1, 5, 10)},
            }
            for place, name in enumerate(DIRECTIONS)
        },
        "scalability": [
            {"gallery": 50, "subsets": 10, "MedR": {name: {"mean": medr - 1, "std": 0.5} for name in DIRECTIONS}},
            {"gallery": 60, "subsets": 1, "MedR": {name: {"mean": medr, "std": 0.0} for name in DIRECTIONS}},
        ],
    }
    for path, value in (changes or {}).items():
        file, *inner, last = path.split(".")
        place = {"config": config, "report": content}[file]
        for name in inner:
            place = place[name]
        place[last] = value
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "report.json").write_text(json.dumps(content))
    (folder / "metrics.csv").write_text("epoch,loss,seconds\n0,1.5,10.5\n1,1.25,30.5\n")
    return comparison.read_run(folder)


def test_seeds_become_one_row(tmp_path):
    runs = [
        make_run(tmp_path / "a", medr=2.0, seed=0),
        make_run(tmp_path / "tl", medr=9.0, variant="TL"),
        make_run(tmp_path / "b", medr=4.0, seed=1),
        make_run(tmp_path / "c", medr=9.0, seed=2),
    ]
    found = json.loads(json.dumps(comparison.compare(runs)))
    first, second = found["rows"]
    assert (first["name"], first["runs"], first["seeds"]) == ("acme", ["a", "b", "c"], [0, 1, 2])
    assert (second["name"], second["runs"], second["seeds"]) == ("acme TL", ["tl"], [0])
    # 2, 4, 9: mean 5, variance (9 + 1 + 16) / 3; recalls 1 / 100 / each.
    figures = first["directions"]["image_to_recipe"]
    assert figures["MedR"] == {"mean": 5.0, "std": pytest.approx((26 / 3) ** 0.5)}
    assert figures["R@5"]["mean"] == pytest.approx((5 / 2 + 5 / 4 + 5 / 9) / 300)
    assert first["directions"]["recipe_to_image"]["MedR"]["mean"] == 6.0
    assert first["scalability"]["recipe_to_image"] == [
        {"gallery": 50, "mean": 4.0, "std": pytest.approx((26 / 3) ** 0.5)},
        {"gallery": 60, "mean": 5.0, "std": pytest.approx((26 / 3) ** 0.5)},
    ]
    assert second["scalability"]["image_to_recipe"][0] == {"gallery": 50, "mean": 8.0, "std": 0.5}  # over galleries
    assert (first["std_over"], second["std_over"]) == ("seeds", None)
    assert (first["epochs"], first["seconds"]) == (2, 30.5)
    assert first["parameters"] == {"encoders": 1_500_000, "all": 2_000_000}
    assert comparison.caption(found).endswith("± standard deviation over seeds where there are several.")


def test_one_seed_and_several_galleries(tmp_path):
    changes = {"report.protocol.subsets": 10, "report.protocol.gallery": 50, "report.protocol.sampling": "random"}
    one = make_run(tmp_path / "a", changes=changes)
    found = comparison.compare([one])
    assert found["rows"][0]["std_over"] == "galleries"
    assert comparison.caption(found).endswith(
        "gallery of 50 pairs, mean over 10 random galleries; each run's best epoch on validation; "
        "± standard deviation over galleries."
    )
    others = [make_run(tmp_path / f"tl{seed}", variant="TL", seed=seed, changes=changes) for seed in (0, 1)]
    mixed = comparison.caption(comparison.compare([one, *others]))
    assert mixed.endswith("over seeds, or over galleries where there is one seed.")


@pytest.mark.parametrize(
    "changes",
    [{"config.config.margin": 0.2}, {"config.training.epochs": 3}, {"config.spec.image_size": 64}],
)
def test_other_settings_are_another_row_with_a_name_of_its_own(tmp_path, changes):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, changes=changes)]
    assert [row["name"] for row in comparison.compare(runs)["rows"]] == ["acme (a)", "acme (b)"]
    runs += [make_run(tmp_path / "deep" / "a", seed=2)]
    names = [row["name"] for row in comparison.compare(runs)["rows"]]
    assert names == [f"acme ({tmp_path / 'a'}, {tmp_path / 'deep' / 'a'})", "acme (b)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report.data.fingerprint": "e" * 64}, "data.fingerprint 'f+' and 'e+'"),
        ({"report.data.split": "val"}, "data.split 'test' and 'val'"),
        ({"report.data.pairs": 61}, "data.pairs 60 and 61"),
        ({"report.protocol.gallery": 50}, "protocol.gallery 60 and 50"),
        ({"report.protocol.subsets": 2}, "protocol.subsets 1 and 2"),
        ({"report.protocol.seed": 2}, "protocol.seed 0 and 2"),
        ({"report.protocol.sampling": "random"}, "protocol.sampling 'whole split' and 'random'"),
        ({"report.protocol.rank_origin": 0}, "protocol.rank_origin 1 and 0"),
        ({"report.model.weights": "last"}, "weights 'best' and 'last'"),
    ],
)
def test_reports_by_another_protocol_are_refused(tmp_path, changes, message):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b"), make_run(tmp_path / "c", changes=changes)]
    with pytest.raises(ValueError, match=rf"a and .*c: expected reports on the same data .* received {message}\."):
        comparison.compare([runs[0], runs[2]])


def test_models_may_differ_in_their_distance(tmp_path):
    other = {"report.protocol.distance": "euclidean", "config.model": "r2gan"}
    found = comparison.compare([make_run(tmp_path / "a"), make_run(tmp_path / "b", changes=other)])
    assert [(row["name"], row["distance"]) for row in found["rows"]] == [("acme", "cosine"), ("r2gan", "euclidean")]
    assert "distance" not in found["protocol"]


def test_a_run_twice_is_refused(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(ValueError, match=r"a and .*b: expected runs that differ, .* the same seed 0 twice"):
        comparison.compare(runs)
    with pytest.raises(ValueError, match="at least one run"):
        comparison.compare([])


def test_runs_without_what_is_needed_are_refused(tmp_path):
    folder = make_run(tmp_path / "a").folder
    (folder / "metrics.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(ValueError, match=r"metrics\.csv: expected a row an epoch with its seconds"):
        comparison.read_run(folder)
    (folder / "metrics.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected metrics\.csv"):
        comparison.read_run(folder)
    (folder / "report.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"received format 1; run kfood evaluate .*a again"):
        comparison.read_run(folder)
    (folder / "report.json").write_text("{")
    with pytest.raises(ValueError, match="expected a report by kfood"):
        comparison.read_run(folder)
    (folder / "report.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"run kfood evaluate .*a first"):
        comparison.read_run(folder)
    with pytest.raises(FileNotFoundError, match="Expected a run folder"):
        comparison.read_run(tmp_path)


class Cells(html.parser.HTMLParser):
    """Text of each table cell of each row, its class before it."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.sources, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self.inside = tag == "td" or (self.inside and tag == "strong")
        if tag == "td":
            self.rows[-1].append(dict(attrs).get("class", "") + "|")
        if tag == "img":
            self.sources.append(dict(attrs)["src"])

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data.strip()


def test_files(tmp_path):
    runs = [
        make_run(tmp_path / "a", medr=2.0, seed=0),
        make_run(tmp_path / "b", medr=4.0, seed=1),
        make_run(tmp_path / "tl", medr=2.5, variant="<TL>"),
    ]
    found = comparison.compare(runs)
    paths = comparison.write_comparison(tmp_path / "new" / "out", found)
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(path.name for path in paths)
    assert [path.name for path in paths] == ["compare.json", "compare.html", "figures.png", "scalability.png"]
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(found))
    text = paths[1].read_text()
    page = Cells(text)
    told = ("|1.50", "|2.00", "|30", "|2")  # parameters, seconds, epochs; then seeds
    assert [row for row in page.rows if row] == [
        ["|acme", "way|image → recipe", "|3.0 ± 1.0", "|0.4 ± 0.1", "|1.9 ± 0.6", "|3.8 ± 1.2", *told, "|2"],
        ["way|recipe → image", "|4.0 ± 1.0", "|0.4 ± 0.1", "|1.9 ± 0.6", "|3.8 ± 1.2"],
        ["|acme <TL>", "way|image → recipe", "best|2.5", "best|0.4", "best|2.0", "best|4.0", *told, "|1"],
        ["way|recipe → image", "best|3.5", "best|0.4", "best|2.0", "best|4.0"],
    ]
    assert "<TL>" not in text
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not re.search(r"url\(|@import|<script|<link", text)
    for path in paths[2:]:
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
        assert pixels.std() > 10
    before = [path.read_bytes() for path in paths]
    comparison.write_comparison(tmp_path / "new" / "out", found)
    assert [path.read_bytes() for path in paths] == before


def test_charts_show_every_row_and_direction(tmp_path):
    runs = [make_run(tmp_path / "a", medr=2.0), make_run(tmp_path / "tl", medr=5.0, variant="TL")]
    found = comparison.compare(runs)
    bars = comparison._figures_chart(found).axes
    assert [axes.get_title() for axes in bars] == ["MedR (small is good)", "R@1, %", "R@5, %", "R@10, %"]
    assert [tick.get_text() for tick in bars[0].get_yticklabels()] == ["acme", "acme TL"]
    assert [patch.get_width() for patch in bars[0].patches] == [2, 5, 3, 6]  # a direction after the other
    np.testing.assert_allclose([patch.get_width() for patch in bars[3].patches], [5, 2, 5, 2])
    curves = comparison._scalability_chart(found).axes
    assert [axes.get_title() for axes in curves] == ["image → recipe", "recipe → image"]
    for axes in curves:
        lines = {tuple(line.get_xdata()): [] for line in axes.lines}
        for line in axes.lines:
            lines[tuple(line.get_xdata())].append(list(line.get_ydata()))
        assert [1.0, 2.0] in lines[50, 60]
        assert [4.0, 5.0] in lines[50, 60]
        assert [25.5, 30.5] in lines[50, 60]  # chance


def test_median_ranks_of_zero_are_drawn(tmp_path):
    """With ranks from 0 a logarithm would lose them."""
    zero = {"report.protocol.rank_origin": 0}
    found = comparison.compare([make_run(tmp_path / "a", medr=1.0, changes=zero)])
    axes = comparison._scalability_chart(found).axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] == 0
    assert [24.5, 29.5] in [list(line.get_ydata()) for line in axes.lines]
