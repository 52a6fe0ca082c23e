"""Who may import whom (design), read from the source; and that importing kfood is quick."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# package or module → the parts of kfood that it may import (itself included)
ALLOWED = {
    "backend": {"replicas"},
    "folders": set(),
    "photo_files": set(),
    "pickles": set(),
    "precision": set(),
    "recipe_texts": set(),
    "replicas": set(),
    "saving": set(),
    "schema": set(),
    "settings": set(),
    "distances": set(),
    "miners": {"distances"},
    "losses": {"backend", "distances", "losses", "miners", "schema"},
    "layers": {"distances", "layers", "miners", "pickles", "schema"},
    "models": {
        *("backend", "distances", "layers", "losses", "miners", "models", "precision", "replicas", "schema"),
        "settings",
    },
    "data": {"data", "folders", "photo_files", "pickles", "schema"},
    "evaluation": {"data", "evaluation", "folders", "layers", "models", "replicas", "schema"},
    "frozen": {"data", "layers", "models", "replicas", "schema"},
    "runs": {"folders", "models", "schema"},
    "training": {
        *("frozen", "data", "evaluation", "folders", "layers", "models", "precision", "runs", "schema", "training"),
    },
    "configs": {"configs", "data", "layers", "models", "schema", "settings", "training"},
    "search": {"data", "evaluation", "folders", "schema", "search"},
    "serve": {"data", "evaluation", "photo_files", "search", "serve"},
    "site": {"data", "folders", "search", "serve", "site"},
}
WITHOUT_TENSORFLOW = (
    *(
        "folders",
        "photo_files",
        "pickles",
        "precision",
        "recipe_texts",
        "schema",
        "settings",
        "distances",
        "miners",
        "losses",
        "layers",
    ),
    *("models", "evaluation", "configs", "search", "serve", "site"),
)


def _sources():
    for path in sorted((ROOT / "kfood").rglob("*.py")):
        part = path.relative_to(ROOT / "kfood").parts[0].removesuffix(".py")
        if part != "__init__":
            yield part, path


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_type_checking_only(path, name):
    """Whether an import stands only under ``if TYPE_CHECKING``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import) and name in [alias.name for alias in inner.names]:
                    return True
    return False


@pytest.mark.parametrize(("part", "path"), list(_sources()), ids=lambda value: str(getattr(value, "stem", value)))
def test_imports_point_downwards(part, path):
    assert part in ALLOWED, f"{path}: a new part; say in ALLOWED what it may import"
    for name in _imports(path):
        pieces = name.split(".")
        if pieces[0] == "kfood" and len(pieces) > 1 and pieces[1] != "__version__":
            assert pieces[1] in ALLOWED[part], f"{path} imports {name}"
        if pieces[0] in ("tensorflow", "tensorflow_datasets") and part in WITHOUT_TENSORFLOW:
            assert _is_type_checking_only(path, pieces[0]), f"{path} imports {name}"


def test_importing_kfood_imports_nothing_heavy():
    code = (
        "import kfood, kfood.models, kfood.schema, sys; "
        "print([name for name in sys.modules if name in ('tensorflow', 'keras', 'numpy')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
