"""kfood models: every model is there, with its paper and variants."""

from kfood.models import MODELS
from kfood.tools.main import main


def test_every_model_is_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in MODELS)
    assert "ACME (Wang et al. 2019)" in printed
    assert "TL+HM+MA+R2I" in printed
    assert printed.count(" published ") == len(MODELS)
