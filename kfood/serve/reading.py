"""Requests, JSON and forms, as what a model reads.

A request is read in two steps: its body into fields, as it arrives; then, in a thread, the fields into a picture or a
recipe. Both refuse what they cannot read or what is beyond the limits.
"""

import base64
import binascii
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pydantic
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kfood import photo_files
from kfood.data.ingredient_names import clean_name
from kfood.data.recipe_fields import Recipe
from kfood.data.recipe_formats import parse_recipe
from kfood.search import plain_recipe, recipe_as_query, text_as_recipe
from kfood.search.ingredients import words
from kfood.serve.gallery import Gallery
from kfood.serve.limits import Limits, RefusedError

Model = TypeVar("Model", bound=pydantic.BaseModel)

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_LISTS = ("with", "without")


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a form.

    Attributes:
        name: as sent; its ending tells some formats.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Query:
    """What is searched by.

    Attributes:
        kind: ``"photo"``, ``"recipe"`` or ``"text"``.
        content: a picture, float32 [size, size, 3], as the encoder takes it; or a recipe for it.
        title: of the recipe, or the text.
        ingredients: lines of the recipe.
        names: ingredients that it names, each by its words.
    """

    kind: Any
    content: Any
    title: str = ""
    ingredients: tuple[str, ...] = ()
    names: tuple[frozenset[str], ...] = ()


async def read_body(request: Request, model: type[Model], limits: Limits) -> tuple[Model, dict[str, File]]:
    """The fields of a request, and the files of a form by their fields.

    Raises:
        RefusedError: neither JSON nor a form (415), a broken one (400), or fields of other names or types (422).
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in FORMS:
        fields, files = await _read_form(request, limits)
    elif kind == "application/json":
        fields, files = _read_json(await request.body()), {}
    else:
        raise RefusedError(
            415, f"expected content of type application/json or {FORMS[0]}, received {kind or 'none':.60}."
        )
    missing = {name: "" for name in files if name in model.model_fields}  # the model is of what stands in JSON
    try:
        return model.model_validate({**fields, **missing}), files
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise RefusedError(422, f"{where:.80}: {first['msg']}; received {_shown(first['input'])}.") from error


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r:.40}" if isinstance(value, (str, int, float)) else type(value).__name__


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"expected JSON, received what is none ({error!s:.100}).") from error
    if not isinstance(content, dict):
        raise RefusedError(422, f"expected a JSON object, received {type(content).__name__}.")
    return content


async def _read_form(request: Request, limits: Limits) -> tuple[dict[str, Any], dict[str, File]]:
    fields: dict[str, Any] = {}
    files: dict[str, File] = {}
    most = 2 * limits.ingredients + 16
    try:
        async with request.form(max_files=2, max_fields=most, max_part_size=max(limits.recipe_bytes, 1000)) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files[name] = File(value.filename or "", await value.read())
                elif name in _LISTS:
                    fields.setdefault(name, []).append(value)
                elif name in fields:
                    raise RefusedError(422, f"{name:.40}: expected it once, received it again.")
                elif value or name in ("recipe", "text"):
                    fields[name] = value
    except (HTTPException, ValueError, KeyError) as error:  # UnicodeDecodeError is a ValueError
        reason = error.detail if isinstance(error, HTTPException) else str(error)
        raise RefusedError(400, f"expected a form, received a broken one ({reason:.100}).") from error
    for name in files:
        if name not in ("photo", "recipe") or name in fields:
            raise RefusedError(422, f"{name:.40}: expected one file, photo or recipe, received another or several.")
    return fields, files


def read_photo(photo: str | File, gallery: Gallery, limits: Limits) -> Query:
    """A photo as the gallery's encoder takes it.

    Args:
        photo: in base64, or a form's file.
        gallery: says how large a picture the encoder takes.
        limits: its pixels.

    Raises:
        RefusedError: no photo (422), or too large a one (413).
    """
    if isinstance(photo, File):
        content = photo.content
    else:
        try:
            # What a browser makes of a file begins with data:image/jpeg;base64,
            content = base64.b64decode(photo.split(",", 1)[-1] if photo.startswith("data:") else photo, validate=True)
        except (ValueError, binascii.Error) as error:
            raise RefusedError(422, "photo: expected a file in base64, received something else.") from error
    try:
        with photo_files.opened(content) as image:
            width, height = image.size
            pixels = photo_files.upright(image) if width * height <= limits.pixels else None
    except photo_files.LargePhotoError as error:
        raise RefusedError(413, f"{error!s:.300}") from error
    except photo_files.UnreadablePhotoError as error:
        raise RefusedError(422, f"{error!s:.300}") from error
    if pixels is None:
        raise RefusedError(413, f"photo: expected at most {limits.pixels:,} pixels, received {width:,} × {height:,}.")
    return Query("photo", photo_files.evaluation_transform(pixels, *gallery.image_sizes))


def read_recipe(recipe: dict | list | str | File, gallery: Gallery, limits: Limits) -> Query:
    """A recipe as the gallery's encoder takes it.

    Args:
        recipe: JSON; or text: a file's content, or a recipe as people write it; or a form's file.
        gallery: says how its model reads ingredients.
        limits: of its size, lines and characters.

    Raises:
        RefusedError: no recipe (422), or too large a one (413).
    """
    found = _recipe(recipe, limits)
    for name, lines in (("ingredients", found.ingredients), ("instructions", found.instructions)):
        if len(lines) > limits.lines:
            raise RefusedError(413, f"recipe: expected at most {limits.lines} lines of {name}, received {len(lines)}.")
        for line in lines:
            _check_length("recipe", line, limits)
    _check_length("recipe", found.title, limits)
    _check_vectors(found.vectors, gallery, limits)
    content = recipe_as_query(found, gallery.encoder.spec["ingredient_unit"])
    names = (words(clean_name(line)) for line in found.ingredients)
    ingredients = tuple(map(_utf8, found.ingredients))
    return Query(
        "recipe", gallery.blank_recipe() | content, _utf8(found.title), ingredients, tuple(filter(None, names))
    )


def read_text(text: str, gallery: Gallery, limits: Limits) -> Query:
    """Words as the gallery's encoder takes them.

    Raises:
        RefusedError: too many (413).
    """
    _check_length("text", text, limits)
    content = text_as_recipe(text, gallery.encoder.spec)
    names: list[frozenset[str]] = []
    for part in filter(None, map(words, content["ingredients"] if len(content["ingredients"]) > 1 else [text])):
        known = gallery.ingredients.having(" ".join(part)).any()  # "olive oil", and not "tomato soup"
        names += [part] if known else [frozenset([word]) for word in part]
    return Query("text", content, _utf8(text), (), tuple(names))


def _recipe(recipe: dict | list | str | File, limits: Limits) -> Recipe:
    name = "recipe"
    if isinstance(recipe, File):
        data, name = recipe.content, pathlib.PurePath(recipe.name.replace("\0", "")).name[-80:] or name
    elif isinstance(recipe, str):
        data = recipe.encode("utf-8", "replace")
    else:
        try:
            data = json.dumps(recipe).encode()
        except (ValueError, RecursionError) as error:
            raise RefusedError(422, f"recipe: expected JSON, received what is none ({error!s:.100}).") from error
    if len(data) > limits.recipe_bytes:
        raise RefusedError(413, f"recipe: expected at most {limits.recipe_bytes:,} bytes, received {len(data):,}.")
    try:
        return parse_recipe(data, name, largest=limits.recipe_bytes)
    except ValueError as error:
        written = None if isinstance(recipe, (dict, list)) else _written(data, name)
        if written is None:
            raise RefusedError(422, f"recipe: {error!s:.300}") from error
        return written
    except (RecursionError, MemoryError, OverflowError) as error:
        raise RefusedError(422, f"recipe: expected a recipe, received what cannot be read ({error!s:.100}).") from error


def _written(data: bytes, name: str) -> Recipe | None:
    """A recipe as people write it; None where the bytes are meant to be something else."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    ending = pathlib.PurePath(name).suffix.lower()
    if "\0" in text or text.lstrip()[:1] in ("", "{", "[", "<", "%") or ending not in ("", ".txt", ".md", ".text"):
        return None
    found = plain_recipe(text)
    return found if found.title or found.ingredients or found.instructions else None


def _check_length(name: str, line: str, limits: Limits) -> None:
    if len(line) > limits.characters:
        raise RefusedError(
            413, f"{name}: expected at most {limits.characters:,} characters a line, received {len(line):,}."
        )


def _check_vectors(vectors: object, gallery: Gallery, limits: Limits) -> None:
    """Sentence vectors, where the model reads them, are lists of numbers."""
    width = gallery.encoder.spec.get("instruction_vectors")
    if vectors is None or not width:
        return
    try:
        array = np.asarray(vectors, np.float32)
        right = array.size == 0 or (array.ndim == 2 and array.shape[1] == width and len(array) <= limits.lines)
    except (ValueError, TypeError, OverflowError):
        right = False
    if not right or not np.isfinite(array).all():
        raise RefusedError(
            422, f"recipe: expected instruction_vectors [at most {limits.lines}, {width}], received otherwise."
        )


def _utf8(text: str) -> str:
    """As it can be answered: JSON can bring halves of surrogate pairs, for which UTF-8 has no bytes."""
    return text.encode("utf-8", "replace").decode()


def read_names(field: str, names: list[str], limits: Limits) -> list[str]:
    """The ingredients of a filter.

    Raises:
        RefusedError: too many, or one without a letter (422).
    """
    if len(names) > limits.ingredients:
        raise RefusedError(422, f"{field}: expected at most {limits.ingredients} names, received {len(names)}.")
    for name in names:
        if len(name) > limits.characters or not words(name):
            raise RefusedError(422, f"{field}: expected names of ingredients, received {_utf8(name)!r:.60}.")
    return [_utf8(name) for name in names]


def check_one(given: Mapping[str, object]) -> str:
    """Which of photo, recipe and text is given.

    Raises:
        RefusedError: none or several (422).
    """
    received = [name for name, value in given.items() if value is not None]
    if len(received) != 1:
        wanted = ", ".join(given)
        raise RefusedError(422, f"expected one of {wanted}, received {' and '.join(received) or 'none'}.")
    return received[0]
