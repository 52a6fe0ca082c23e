"""One recipe out of a mapping, whatever its fields are called: JSON objects of many programs, rows of tables.

===================== ============================================================================================
what                  recognised as (case, blanks, ``_`` and ``-`` do not count)
===================== ============================================================================================
title                 title, name, recipe name, …
ingredients           lists of lines; lists of objects (schema.org, Mealie, Tandoor, Recipe1M's ``{"text"}``); groups;
                      one string: a JSON or Python list, or lines
instructions          likewise; schema.org's HowToStep and HowToSection, steps as an object, a paragraph (cut into
                      sentences)
photos                a name or path with or without its ending, a URL, an object with one of these, a list of them;
                      Paprika's photo within the file
id, names, split      id, uid, …; clean ingredient names (RecipeNLG's NER); split, partition
===================== ============================================================================================
"""

import ast
import base64
import binascii
import dataclasses
import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

USUAL = {
    "title": ("title", "name", "recipename", "recipetitle", "dish", "dishname"),
    "ingredients": (
        "ingredients",
        "recipeingredient",
        "recipeingredients",
        "ingredientlines",
        "extendedingredients",
        "ingredientlist",
        "rawingredients",
    ),
    "instructions": (
        "instructions",
        "recipeinstructions",
        "directions",
        "steps",
        "method",
        "preparation",
        "procedure",
        "analyzedinstructions",
        "cookingdirections",
        "howto",
        "howtocook",
        "preparationsteps",
    ),
    "photo": (
        "photo",
        "photos",
        "image",
        "images",
        "picture",
        "pictures",
        "imagename",
        "imagefile",
        "imagepath",
        "photoname",
        "photofile",
        "photopath",
        "img",
        "filename",
        "imageurl",
        "photourl",
        "thumbnailurl",
    ),
    "id": ("id", "recipeid", "uid", "uuid", "identifier", "slug"),
    "names": ("ingredientnames", "ner"),
    "split": ("split", "partition", "subset"),
}
"""What a recipe holds → the usual names of its field, the likeliest first, in lower-case letters alone."""

OF_INGREDIENT = ("amount", "quantity", "unit", "units", "food", "name", "ingredient", "item")
"""What an ingredient that is an object is made of, in the order in which it is written."""

_LONGEST_LITERAL = 1_000_000
_DEEPEST = 8

JsonMapping = Mapping[str, Any]


class RecipeError(ValueError):
    """A recipe cannot be used; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe as some file holds it.

    Attributes:
        title: one line; may be empty.
        ingredients: lines as written.
        instructions: steps or sentences as written.
        id: the file's own; empty where it has none.
        photos: what the file says of its photos: names, paths or URLs; or the encoded photo itself.
        names: clean ingredient names; empty where the file has none.
        split: what the file says of it; empty where it says nothing.
        vectors: precomputed sentence vectors (the field ``instruction_vectors``), for models that read them; else None.
        read: what → the field of the mapping it was found in.
        unread: fields of the mapping that were not used.
    """

    title: str
    ingredients: list[str]
    instructions: list[str]
    id: str = ""
    photos: tuple[str | bytes, ...] = ()
    names: list[str] = dataclasses.field(default_factory=list)
    split: str = ""
    vectors: Any = None
    read: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unread: tuple[str, ...] = ()


def read_fields(content: JsonMapping, columns: Mapping[str, str] | None = None) -> Recipe:
    """A recipe out of a mapping.

    Args:
        content: field → value; values of any JSON type.
        columns: what a recipe holds (a key of :data:`USUAL`) → the field that holds it, where it is not to be found by
            its name.

    Returns:
        The recipe; it has a title, ingredients or instructions.

    Raises:
        RecipeError: none of the three is there, or a field of ``columns`` is missing.
    """
    found = _find(content, columns or {})
    instructions = content.get(found.get("instructions", ""))
    ingredients = content.get(found.get("ingredients", ""))
    if ingredients is None and isinstance(instructions, list):  # Tandoor keeps them with the steps
        ingredients = [
            item
            for step in instructions
            if isinstance(step, Mapping) and isinstance(step.get("ingredients"), list)
            for item in step["ingredients"]
        ]
    recipe = Recipe(
        title=clean(content.get(found.get("title", ""))),
        ingredients=lines(ingredients),
        instructions=lines(instructions, sentences=True),
        id=clean(_scalar(content.get(found.get("id", "")))),
        photos=tuple(_photos(content.get(found.get("photo", "")))) or _embedded(content),
        names=lines(content.get(found.get("names", ""))),
        split=clean(content.get(found.get("split", ""))),
        vectors=content.get("instruction_vectors"),
        read=found,
        unread=tuple(str(key) for key in content if key not in found.values() and not str(key).startswith("@")),
    )
    if not (recipe.title or recipe.ingredients or recipe.instructions):
        raise RecipeError("no title, ingredients or instructions")
    return recipe


def looks_like_recipe(content: object) -> bool:
    """Whether a mapping has ingredients or instructions, is a title alone, or says that it is a recipe."""
    if not isinstance(content, Mapping):
        return False
    kinds = content.get("@type")
    if kinds is not None:
        return "Recipe" in (kinds if isinstance(kinds, list) else [kinds])
    found = _find(content, {})
    return "ingredients" in found or "instructions" in found or list(content) == ["title"]


def recipes_in(content: object, depth: int = 0) -> Iterator[Any]:
    """The recipes within a JSON value: itself, the entries of a list, of a JSON-LD graph, of an object by id.

    Yields:
        Mappings, in order, each a recipe by :func:`looks_like_recipe`, or whatever stands beside one in a list, which
        the reader then refuses by name; an entry of an object by id gains its key as ``id`` where it has none.
    """
    if depth > _DEEPEST:
        return
    if isinstance(content, list):
        meant = any(map(looks_like_recipe, content))
        for item in content:
            if meant and not (isinstance(item, Mapping) and "@type" in item):
                yield item
            else:
                yield from recipes_in(item, depth + 1)
    elif looks_like_recipe(content):
        assert isinstance(content, Mapping)
        yield content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Mapping) and looks_like_recipe(value) and "@type" not in value:
                yield value if "id" in value or key == "recipe" else {"id": key, **value}
            elif isinstance(value, list | Mapping):
                yield from recipes_in(value, depth + 1)


def lines(value: object, *, sentences: bool = False) -> list[str]:
    """Lines out of whatever holds them; those without a letter or number are left out.

    Args:
        value: list of strings or objects, object of groups or of numbered steps, or a string: a JSON or Python list, or
            lines.
        sentences: whether one long string without line breaks is cut after full stops.
    """
    return [line for line in _lines(value, sentences, 0) if any(map(str.isalnum, line))]


def clean(text: object) -> str:
    """One line of valid Unicode without tags and entities; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = re.sub(r"</?[a-zA-Z][^<>]*>", " ", text)
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _find(content: JsonMapping, columns: Mapping[str, str]) -> dict[str, str]:
    """What a recipe holds → the field of ``content`` that holds it."""
    by_letters: dict[str, str] = {}
    for key in content:
        if isinstance(key, str):
            by_letters.setdefault(re.sub(r"[^a-z0-9]", "", key.lower()), key)
    found = {}
    for what, names in USUAL.items():
        if what in columns:
            if columns[what] not in content:
                raise RecipeError(f"no field {columns[what]!r}")
            found[what] = columns[what]
            continue
        present = [by_letters[name] for name in names if name in by_letters]
        filled = [key for key in present if content[key] not in (None, "", [], {})]
        if filled or present:
            found[what] = (filled or present)[0]
    return found


def _lines(value: object, sentences: bool, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        parsed = _literal(value)
        if parsed is not None:
            yield from _lines(parsed, sentences, depth + 1)
            return
        text = re.sub(r"(?i)<(?:br|/?p|/?li|/?div)\b[^<>]*>", "\n", value)
        cut = [clean(line) for line in re.split(r"[\r\n]+", text) if line.strip()]
        if sentences and len(cut) == 1:
            cut = re.split(r"(?<=[.!?])\s+(?=[^a-z\s])", cut[0])
        yield from cut
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, str):
                yield clean(item)
            elif isinstance(item, int | float) and not isinstance(item, bool):
                yield _number(item)
            else:
                yield from _lines(item, sentences, depth + 1)
    elif isinstance(value, Mapping):
        yield from _of_object(value, sentences, depth)


def _of_object(value: JsonMapping, sentences: bool, depth: int) -> Iterator[str]:
    """An ingredient, a step, a section of steps, steps by their numbers, or groups by their names."""
    for name in ("itemListElement", "steps", "items"):
        if isinstance(value.get(name), list):
            yield from _lines(value[name], sentences, depth + 1)
            return
    for name in ("text", "instruction", "originalText", "original", "display", "step", "description"):
        if isinstance(value.get(name), str) and value[name].strip():
            yield from _lines(value[name], False, depth + 1)
            return
    parts = [_part(value[name]) for name in OF_INGREDIENT if value.get(name) not in (None, "", 0)]
    note = clean(value.get("note"))
    if parts or note:
        # Mealie's unparsed lines: the whole line is the note, beside a quantity of 1 that was never written.
        unparsed = note and not any(value.get(name) for name in ("food", "name", "ingredient", "item", "unit"))
        yield note if unparsed else " ".join(part for part in [*parts, note] if part)
    elif value and all(re.fullmatch(r"\d{1,9}", str(key)) for key in value):
        yield from _lines([value[key] for key in sorted(value, key=lambda key: int(key))], sentences, depth + 1)
    else:
        groups = [item for item in value.values() if isinstance(item, list | Mapping)]
        yield from _lines(groups, sentences, depth + 1)


def _part(value: object) -> str:
    if isinstance(value, Mapping):
        return clean(value.get("name") or value.get("abbreviation"))
    return clean(_scalar(value))


def _scalar(value: object) -> object:
    return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _number(value: int | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _literal(text: str) -> list | None:
    """A list written as JSON or as Python; None for anything else."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]") and len(text) <= _LONGEST_LITERAL):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, list):
            return value
    return None


def _photos(value: object, depth: int = 0) -> Iterator[str | bytes]:
    if isinstance(value, str):
        parsed = _literal(value)
        if parsed is None and value.strip():
            yield value.strip()
        for item in parsed or []:
            yield from _photos(item, depth + 1)
    elif isinstance(value, list) and depth < _DEEPEST:
        for item in value:
            yield from _photos(item, depth + 1)
    elif isinstance(value, Mapping) and depth < _DEEPEST:
        yield from _photos(
            next((value[name] for name in ("path", "contentUrl", "url", "id", "name") if name in value), None)
        )


def _embedded(content: JsonMapping) -> tuple[bytes, ...]:
    """Paprika's photo, which stands in the file."""
    data = content.get("photo_data")
    if not isinstance(data, str):
        return ()
    try:
        return (base64.b64decode(data, validate=True),)
    except (binascii.Error, ValueError):
        return ()
