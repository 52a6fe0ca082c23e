"""The bench of engines, on a gallery of a thousand."""

import json
import os

import numpy as np
import pytest

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


def endless(*work):
    with bench.engines._at_most(work[-1]):
        while True:
            pass


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_an_engine_that_takes_too_long_is_given_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench.engines, "measure_one", endless)
    args = bench.engines.Engines(tmp_path, n=100, dim=8, engines=("exact", "int8"), queries=20, build_minutes=0.01)
    assert bench.run(args) == {}
    assert "int8: not built in 0.01 minutes of the processor, load" in capsys.readouterr().out


def test_the_limit_ends_with_the_building():
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_CPU)
    with bench.engines._at_most(1000):
        assert 60_000 < resource.getrlimit(resource.RLIMIT_CPU)[0] < 70_000
    assert resource.getrlimit(resource.RLIMIT_CPU) == before
