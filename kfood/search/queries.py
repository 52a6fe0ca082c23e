"""What is searched by, as a model reads it."""

import re
from collections.abc import Mapping
from typing import Any

from kfood.data.ingredient_names import clean_name
from kfood.data.recipe_fields import Recipe, clean, lines


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


_HEADINGS = (
    ("ingredients", re.compile(r"(?i)(?:the )?ingredients(?: list)?\W*")),
    (
        "instructions",
        re.compile(r"(?i)(?:instructions?|directions?|method|preparation|steps?|how to (?:make|cook).*)\W*"),
    ),
)
_BULLET = re.compile(r"^[-*•·▪◦–—☐▢]\s+")
_STEP = re.compile(r"^(?:step\s+)?\d{1,2}[.):]\s+", re.IGNORECASE)
_AMOUNT = re.compile(r"^(?:\d|[¼½¾⅓⅔⅛⅜⅝⅞]|an? (?:pinch|handful|few|dash)\b)")
_LONGEST_INGREDIENT = 80


def plain_recipe(text: str) -> Recipe:
    """A recipe as people paste it: a title, lines of ingredients, and what is to be done.

    Under headings (Ingredients, Instructions, Method, …) a line belongs to them. Without, the first line is the title,
    a short line with a bullet or an amount an ingredient, and the others, numbered or not, are instructions.

    Args:
        text: lines.

    Returns:
        The recipe; what has one line is a title alone.
    """
    title, section = "", ""
    found: dict[str, list[str]] = {"ingredients": [], "instructions": []}
    for raw in map(str.strip, text.splitlines()):
        heading = next((name for name, pattern in _HEADINGS if pattern.fullmatch(raw)), None)
        if heading or not raw:
            section = heading or section
            continue
        line = _BULLET.sub("", raw)
        numbered = _STEP.match(line)
        amount = not numbered and len(line) <= _LONGEST_INGREDIENT and (line != raw or _AMOUNT.match(line))
        if not (title or section or amount or numbered):
            title = line
        else:
            found[section or ("ingredients" if amount else "instructions")].append(_STEP.sub("", line))
    steps = found["instructions"]
    return Recipe(
        title=clean(title),
        ingredients=lines(found["ingredients"]),
        instructions=lines(steps[0] if len(steps) == 1 else steps, sentences=True),
    )


def recipe_as_query(recipe: Recipe, ingredient_unit: str) -> dict[str, Any]:
    """A recipe of any file as a model reads it.

    Args:
        recipe: see :mod:`kfood.data.recipe_formats`.
        ingredient_unit: ``"word"``: lines as written; ``"name"``: clean ingredient names, the file's own or what is
            left of its lines without amounts and units.

    Returns:
        A recipe for ``Bundle.encode_recipes``.
    """
    ingredients = recipe.ingredients
    if ingredient_unit == "name":
        ingredients = recipe.names or [name for name in map(clean_name, ingredients) if name]
    query = {"title": recipe.title, "ingredients": ingredients, "instructions": recipe.instructions}
    return query if recipe.vectors is None else {**query, "instruction_vectors": recipe.vectors}
