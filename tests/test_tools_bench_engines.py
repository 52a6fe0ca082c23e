"""The bench of engines, on a gallery of a thousand."""

import json
import os

import numpy as np
import pytest

from kfood.search import engines as kinds
from kfood.search import exact
from kfood.tools import bench


def test_it_measures_each_engine(tmp_path, capsys):
    args = bench.engines.Engines(
        tmp_path, n=1200, dim=64, engines=("exact", "binary"), queries=30, out=tmp_path / "out.json"
    )
    figures = bench.run(args)
    assert figures["exact: recall@10"] == 1
    assert figures["binary: recall@10"] > 0.9  # 500 candidates of 1,200
    assert figures["binary: queries"] == 30
    for name in ("exact", "binary"):
        assert 0 < figures[f"{name}: p50, ms"] <= figures[f"{name}: p99, ms"]
        assert figures[f"{name}: queries/s"] > 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["n"], list(written["engines"])) == (1200, ["exact", "binary"])
    assert "binary: recall@10" in capsys.readouterr().out

    gallery, queries, truth = map(np.load, bench.engines.prepare(tmp_path, 1200, 64, 30))
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, rtol=1e-5)
    for query, rows in zip(queries, truth, strict=True):
        assert rows.tolist() == np.argsort(np.linalg.norm(gallery - query, axis=1))[:10].tolist()
    with pytest.raises(ValueError, match="--n: expected at least 100, received 10"):
        bench.engines.Engines(tmp_path, n=10)


class Endless(exact.Exact):
    def extend(self, place, gallery, start):
        while True:
            pass


def build_endlessly(name, *args):
    """In a process of its own."""
    if name == "int8":
        kinds.engine = lambda name: Endless()
    return BUILD(name, *args)


BUILD = bench.engines.build


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_an_engine_that_takes_too_long_is_given_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench.engines, "build", build_endlessly)
    args = bench.engines.Engines(tmp_path, n=100, dim=8, engines=("int8", "exact"), queries=20, build_minutes=0.01)
    figures = bench.run(args)
    assert figures["exact: recall@10"] == 1
    assert not [name for name in figures if name.startswith("int8")]
    assert "int8: not built in 0.01 minutes of the processor\n" in capsys.readouterr().out
