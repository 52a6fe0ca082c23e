"""Every script of docs/*.md that is marked as runnable runs, a page from top to bottom; its links lead somewhere."""

import importlib.util
import pathlib
import re

import pytest
from conftest import TINY_TOWERS

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
SCRIPT = re.compile(r"<!-- runnable -->\n```python\n(.*?)```", re.DOTALL)


def scripts(page: pathlib.Path) -> list[str]:
    """The runnable scripts of a page, each after as many empty lines as stand before it, so that errors name a line."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text.count("\n", 0, match.start(1)) + match.group(1) for match in SCRIPT.finditer(text)]


def test_marks_are_followed_by_a_script():
    assert scripts(PAGES["losses.md"])
    for name, page in PAGES.items():
        assert page.read_text(encoding="utf-8").count("<!-- runnable -->") == len(scripts(page)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if scripts(page)])
def test_scripts_run(name, tmp_path, monkeypatch):
    """In one namespace, as a reader who follows the page would have it, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": name}
    for script in scripts(PAGES[name]):
        exec(compile(script, str(PAGES[name]), "exec"), namespace)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)", PAGES[name].read_text(encoding="utf-8")):
        assert "://" in target or (PAGES[name].parent / target).exists(), target


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("imports_picture", DOCS / "imports_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_imports_is_of_these_sources(picture):
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    assert drawn == picture.svg(picture.imports()), "run: python docs/imports_picture.py"
    assert all(f">{part}<" in drawn for part in ("schema", "models", "export", "tools"))


def test_arrows_that_a_longer_way_says_are_left_out(picture):
    drawn = picture.svg({"top": {"middle", "low"}, "middle": {"low"}, "low": set()})
    assert drawn.count("marker-end") == 2
    heights = dict(re.findall(r'y="(\d+)" text-anchor="middle" fill="#222">(\w+)', drawn))
    assert [name for _, name in sorted((int(y), name) for y, name in heights.items())] == ["top", "middle", "low"]


def test_the_page_of_losses_names_them_all():
    from kfood import miners
    from kfood.losses.metric_learning import LOSSES

    text = PAGES["losses.md"].read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)`", text.split("\nLosses: ")[1].split("A miner takes")[0]))
    assert listed - {"UnitNormalization"} == {*LOSSES, *miners.MINERS}


def test_calls_in_its_table_are_right():
    """Each as it stands, with numbers for its letters."""
    from kfood.losses.metric_learning import Boundaries, MetricLoss, Proxies

    names = {"MetricLoss": MetricLoss, "Proxies": Proxies, "Boundaries": Boundaries}
    letters = {"n": 4, "k": 3, "b": 20, "m": 0.3, "gamma": 60.0, "epsilon": 0.2}
    calls = re.findall(r"`(MetricLoss\([^`…]*\))`", PAGES["losses.md"].read_text(encoding="utf-8"))
    assert len(calls) > 15
    for call in calls:
        assert isinstance(eval(call, {**names, **letters}), MetricLoss), call


@pytest.mark.slow
def test_scripts_of_the_page_of_training_run(kitchen, tmp_path, monkeypatch):
    """The second one, lines to add to the first, in its place; with a tiny model and for one epoch."""
    first, added, alone = re.findall(
        r"```python\n(.*?)```", PAGES["training.md"].read_text(encoding="utf-8"), re.DOTALL
    )
    tiny = first.replace('("training.epochs=20"', f'{TINY_TOWERS!r} + ("training.epochs=1"')
    assert tiny != first
    fit = "        run.model.fit(**stage)\n"
    assert tiny.endswith(fit)
    assert added.endswith(fit)
    script = "import keras\n" + tiny.removesuffix(fit) + added + alone.replace("64", "16")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(kitchen)
    names: dict = {}
    exec(compile(script, "training.md", "exec"), names)
    assert names["run"].progress is not None
    assert int(names["model"].optimizer.iterations) == names["steps_per_epoch"](names["data"], "train", 16)
