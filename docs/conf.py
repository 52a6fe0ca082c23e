"""The documentation as a site: ``sphinx-build -W docs build/docs`` after ``pip install ".[docs]"``."""

import functools
import pathlib
import re

import kfood

ROOT = pathlib.Path(__file__).parents[1]

project = "kfood"
release = kfood.__version__
html_title = f"kfood {release}"
html_theme = "furo"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
templates_path = ["templates"]
exclude_patterns = ["templates"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature as it is written
autodoc_preserve_defaults = True
napoleon_use_ivar = True
myst_heading_anchors = 3
nitpicky = True
# Types of signatures and of the libraries below are named, not linked; so are attributes that a class sets on itself.
nitpick_ignore_regex = [("py:(class|attr)", ".*"), ("py:.*", r"(ijson|tf|keras|numpy)\..*")]
suppress_warnings = ["ref.python"]  # a short name that several modules have

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")
PARTS = {ROOT / "kfood": "kfood", ROOT / "export": "kfood.export"}


def _site_link(folder: pathlib.Path, match: re.Match) -> str:
    """A link as the site has it: to a page, to a module's page of the API, or, to other files, their name alone."""
    text, target = match.groups()
    file = (folder / target.partition("#")[0]).resolve()
    if file.suffix == ".md":
        return f"[{text}](/{file.relative_to(ROOT / 'docs')}{target[len(target.partition('#')[0]) :]})"
    for part, name in PARTS.items():
        if file.is_relative_to(part) and (file.suffix == ".py" or (file / "__init__.py").exists()):
            inside = [piece for piece in file.relative_to(part.parent).with_suffix("").parts[1:] if piece != "__init__"]
            return f"{{py:mod}}`{text} <{'.'.join([name, *inside])}>`".replace("\\", "")
    return text


def _read(app, name, source):
    """README is the first page; Markdown's links, which lead to files of the project, lead into the site."""
    page = ROOT / "README.md" if name == "index" else pathlib.Path(app.env.doc2path(name))
    if name == "index":
        source[0] = page.read_text(encoding="utf-8").replace("(docs/images/", "(images/") + source[0]
    if page.suffix == ".md":
        source[0] = LINK.sub(functools.partial(_site_link, page.parent), source[0])


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _read)
