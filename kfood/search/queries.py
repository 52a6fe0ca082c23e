"""What is searched by, as a model reads it."""

import re
from collections.abc import Mapping
from typing import Any


def text_as_recipe(text: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Free text as a recipe of which little is known.

    Where the model reads titles the text is the title; a list (with commas, semicolons or several lines) is the
    ingredients besides. A model without titles receives it as ingredients and as the one instruction.

    Args:
        text: e.g. ``"chicken soup"`` or ``"chicken, leek, carrots"``.
        spec: the bundle's, for ``title_words`` and ``instruction_vectors``.

    Returns:
        A recipe for ``Bundle.encode_recipes``.
    """
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    titled = bool(spec["title_words"])
    recipe: dict[str, Any] = {"title": text, "ingredients": parts if len(parts) > 1 or not titled else []}
    if spec["instruction_vectors"]:
        return recipe | {"instruction_vectors": []}
    return recipe | {"instructions": [] if titled else [text]}
