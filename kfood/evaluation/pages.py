"""HTML pages that need no other file; everything that is put into them is escaped."""

import pathlib
from collections.abc import Mapping
from typing import Any


def render(template: str, content: Mapping[str, Any]) -> str:
    """A page.

    Args:
        template: a file of this folder.
        content: what its names stand for; a name that it lacks is an error.

    Returns:
        HTML text.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
