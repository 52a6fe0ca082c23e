"""``kfood bench-losses``: the table over rows and seeds, and going on where it stopped."""

import json

import numpy as np
import pytest
from PIL import Image

from kfood.configs import alpha_gao
from kfood.evaluation.class_report import LABELS
from kfood.tools import bench, bench_losses
from kfood.tools.main import main


def report(recall, distance=0.5):
    figures = {name: distance if name.endswith("distance") else recall for name in LABELS}
    return {
        "retrieval": figures,
        "data": {"name": "food", "split": "test", "photos": 1200, "classes": 31},
    }


def test_every_row_is_a_variant_and_every_variant_of_the_paper_is_a_row():
    rows = {row for table in bench_losses.TABLES.values() for row in table}
    assert rows - {bench_losses.UNTRAINED} == set(alpha_gao.VARIANTS) - {"as_released"}


def test_table_is_the_mean_and_deviation_over_seeds(tmp_path):
    reports = {"margin": [report(0.30), report(0.34)], "triplet": [report(0.5), report(0.1)]}
    content = bench_losses.write_table(tmp_path, reports, report(0)["data"], (0, 1))
    assert content == json.loads((tmp_path / "losses.json").read_text())
    margin = content["rows"]["margin"]["recall_at_1"]
    assert margin["mean"] == pytest.approx(0.32)
    assert margin["std"] == pytest.approx(0.02)  # over n, as everywhere: 0.02 on both sides of the mean
    text = (tmp_path / "losses.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| margin |")]
    assert len(lines) == 2  # in Table 1 and in Table 3
    assert lines[0].startswith("| margin | **32.00** ± 2.00 |")
    assert lines[0].endswith("| 0.500 ± 0.000 | 0.500 ± 0.000 |")
    assert "| triplet | 30.00 ± 20.00 |" in text
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_is_none_is_a_dash(tmp_path):
    """As evaluation reports the distance between the classes of a test split of one class; or one not measured."""
    one = report(0.3)
    one["retrieval"]["inter_class_distance"] = None
    del one["retrieval"]["nmi"]  # --no-clusters
    content = bench_losses.write_table(tmp_path, {"margin": [one, one], "triplet": [report(0.2)]}, one["data"], (0, 1))
    assert content["rows"]["margin"]["inter_class_distance"] == {"mean": None, "std": None}
    assert content["rows"]["margin"]["recall_at_1"]["mean"] == pytest.approx(0.3)
    text = (tmp_path / "losses.md").read_text()
    assert "| – | 0.500 ± 0.000 | – |\n" in text  # NMI, intra, inter of margin, which stands alone in Table 3
    assert "**20.00**" in text  # the best NMI of those that have one
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_rows_and_losses_are_refused(tmp_path, capsys):
    assert main(["bench-losses", "--data", str(tmp_path), "--out", str(tmp_path / "o"), "--rows", "margn"]) == 2
    assert "--rows: expected some of untrained, contrastive" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--names: expected some of contrastive"):
        bench.run(bench.losses.Losses(names=("margn",)))


@pytest.mark.slow
def test_rows_are_trained_once(tmp_path, capsys):
    random = np.random.default_rng(0)
    for class_id in range(6):
        (tmp_path / "raw" / str(class_id)).mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(0, 255, (36, 36, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "raw" / str(class_id) / f"{index}.png")
    data, out = tmp_path / "data", tmp_path / "out"
    source = ["--source", str(tmp_path / "raw"), "--train-classes", "4", "--val-share", "0.3"]
    assert main(["prepare", "labelled", "--out", str(data), *source]) == 0
    settings = ("image_encoder.widths=4,8", "spec.image_size=32", "training.batch_size=8")
    arguments = ["bench-losses", "--data", str(data), "--out", str(out), "--epochs", "1", "--rows"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    assert main([*arguments, "untrained", *overrides]) == 0
    first = (out / "runs" / "untrained_seed0" / "report.json").read_bytes()
    assert main([*arguments, "untrained", "margin", *overrides]) == 0
    assert (out / "runs" / "untrained_seed0" / "report.json").read_bytes() == first
    assert set(json.loads((out / "losses.json").read_text())["rows"]) == {"untrained", "margin"}
    capsys.readouterr()
    assert main([*arguments, "margin", *overrides, "--set", "alpha=0.1"]) == 2
    assert "alpha is 0.0 there and 0.1 here" in capsys.readouterr().err
