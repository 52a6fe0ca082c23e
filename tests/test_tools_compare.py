"""``kfood compare``: the table, the folder, the one-sentence errors; no TensorFlow."""

import contextlib
import json
import subprocess
import sys

from test_evaluation_comparison import make_run

from kfood.tools import train
from kfood.tools.main import main


def test_table_and_files(tmp_path, capsys):
    for name, options in {
        "a": {"medr": 2.0},
        "b": {"medr": 4.0, "seed": 1},
        "tl": {"medr": 7.0, "variant": "TL"},
    }.items():
        make_run(tmp_path / name, **options)
    runs = [str(tmp_path / name) for name in ("a", "b", "tl")]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    start = lines.index("acme 1.50 (2.00) 30 2 2")
    assert lines[start + 1] == "image → recipe 3.0 ± 1.0 0.4 ± 0.1 1.9 ± 0.6 3.8 ± 1.2"
    assert lines[start + 2].startswith("recipe → image 4.0 ± 1.0")
    assert lines[start + 3] == "acme TL 1.50 (2.00) 30 2 1"
    assert lines[start + 4].startswith("image → recipe 7.0 0.1")
    assert "± standard deviation over seeds where there are several." in " ".join(lines)
    assert lines[-1] == str(tmp_path / "out" / "scalability.png")
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["rows"][1]["variant"] == "TL"


def test_nothing_is_written_unasked(tmp_path, capsys, monkeypatch):
    make_run(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "a"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(list((tmp_path / "a").iterdir())) == 3
    assert "60 pairs" in capsys.readouterr().out


def test_errors_are_one_sentence(tmp_path, capsys):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1)
    (tmp_path / "b" / "report.json").write_text('{"format": 1}')
    for arguments, message in (
        ([], "Expected at least one run"),
        ([str(tmp_path / "a"), str(tmp_path / "b")], f"run kfood evaluate {tmp_path / 'b'} again"),
        ([str(tmp_path)], "Expected a run folder"),
    ):
        assert main(["compare", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_needs_no_tensorflow(tmp_path):
    make_run(tmp_path / "a")
    program = f"""
import sys
for name in ("tensorflow", "keras"):
    sys.modules[name] = None  # importing it fails
from kfood.tools.main import main
sys.exit(main(["compare", {str(tmp_path / "a")!r}, "--out", {str(tmp_path / "out")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "compare.html").is_file()


def test_train_records_the_variant_that_names_the_row(tmp_path, monkeypatch):
    import kfood.data.dataset
    import kfood.training

    asked = {}

    class Run(contextlib.nullcontext):
        folder, progress = tmp_path / "run", kfood.training.Progress()

        def __init__(self, *_, **options):
            super().__init__(self)
            asked.update(options)

        def stages(self):
            return []

    monkeypatch.setattr(kfood.data.dataset, "open_dataset", lambda path, kind: None)
    monkeypatch.setattr(kfood.training, "TrainingRun", Run)
    train.run(train.Train("acme", tmp_path, tmp_path / "run", variant="TL+HM"))
    assert asked == {"variant": "TL+HM", "resume": False}
