"""What is read of a recipe's texts, and how they are handed to a text encoder; NumPy alone.

It stands beside :mod:`kfood.export.runtime`, in the package and copied into every bundle.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KEYS = ("title", "ingredients", "instructions", "instruction_vectors")
"""What a recipe may have."""

LINE_BYTES = 10_000
"""What of a line, or of a title, is read: its first bytes of UTF-8. All doors for texts cut there."""

LINES = 500
"""How many lines of a recipe's ingredients, and of its instructions, are read."""

_NAMED: set[str] = set()
"""Keys that are not read and were said to be."""


def checked(recipe: Any, spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A recipe as the text encoder takes it: every string valid UTF-8, sentence vectors an array.

    Args:
        recipe: a mapping with some of :data:`KEYS`; other keys are said once not to be read.
        spec: fields of :class:`kfood.schema.RecipeSpec`: whether the model reads precomputed sentence vectors.
        where: how an error names the recipe.

    Raises:
        ValueError: none of the keys, or a value of another type.
    """
    if not isinstance(recipe, Mapping):
        raise ValueError(f"{where}: expected a mapping with {', '.join(KEYS)}, received {type(recipe).__name__}.")
    unknown = sorted(str(key) for key in recipe if key not in KEYS)
    if unknown and len(unknown) == len(recipe):
        raise ValueError(f"{where}: expected the keys {', '.join(KEYS)}, received {', '.join(unknown)}.")
    if not set(unknown) <= _NAMED:
        _NAMED.update(unknown)
        warnings.warn(
            f"{where}: read are the keys {', '.join(KEYS)}, not {', '.join(unknown)}; said once.", stacklevel=4
        )
    if not isinstance(recipe.get("title", ""), str):
        raise ValueError(f"{where}: expected title to be a string, received {type(recipe['title']).__name__}.")
    for key in ("ingredients", "instructions"):
        received = recipe.get(key, [])
        if isinstance(received, (str, bytes)) or not isinstance(received, Sequence):
            raise ValueError(f"{where}: expected {key} to be a list of strings, received {type(received).__name__}.")
        wrong = [line for line in received if not isinstance(line, str)]
        if wrong:
            raise ValueError(
                f"{where}: expected {key} to be a list of strings, received one with {wrong[0]!r:.60} in it."
            )
    text: dict[str, Any] = {
        "title": _utf8(recipe.get("title", "")),
        **{key: [_utf8(line) for line in recipe.get(key, ())[:LINES]] for key in ("ingredients", "instructions")},
    }
    if width := spec["instruction_vectors"]:
        if "instruction_vectors" not in recipe:
            raise ValueError(
                f"{where}: expected instruction_vectors (this model reads precomputed sentence vectors, "
                f"[] where there are none), received {', '.join(recipe) or 'nothing'}."
            )
        vectors = np.asarray(recipe["instruction_vectors"], np.float32)
        if vectors.size and (vectors.ndim != 2 or vectors.shape[1] != width):
            raise ValueError(
                f"{where}: expected instruction_vectors [sentences, {width}], received {list(vectors.shape)}."
            )
        text["instruction_vectors"] = vectors.reshape(-1, width)[: spec["instructions"]]
    return text


def _utf8(text):
    """What is read of a line; a lone surrogate, which JSON can bring, and NUL separate words as other signs do."""
    start = text[:LINE_BYTES].encode("utf-8", "replace")[:LINE_BYTES]
    return start.decode("utf-8", "ignore").replace("\0", " ")


def lines(text: Mapping[str, Any]) -> list[str]:
    """Title, ingredients and instructions, one after the other."""
    return [text["title"], *text["ingredients"], *text["instructions"]]


def column(texts: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One input of a text encoder: strings [n], or [n, most] with ``""`` where there are fewer; or sentence vectors."""
    if name == "title":
        return np.array([text[name] for text in texts], object)
    most = max(len(text[name]) for text in texts)
    if name == "instruction_vectors":
        return np.stack([np.pad(text[name], [(0, most - len(text[name])), (0, 0)]) for text in texts])
    return np.array([[*text[name], *[""] * (most - len(text[name]))] for text in texts], object).reshape(
        len(texts), most
    )
