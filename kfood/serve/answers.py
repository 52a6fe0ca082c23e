"""What is asked and what is answered, field by field: the schemas of the service's OpenAPI description."""

import urllib.parse
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class SearchRequest(BaseModel):
    """A search: by one of photo, recipe and text. As JSON, or as a form with fields of the same names."""

    model_config = ConfigDict(extra="forbid")

    photo: str | None = Field(None, description="A photo's file in base64; in a form the file itself.")
    recipe: dict[str, Any] | list[Any] | str | None = Field(
        None,
        description="A recipe: JSON of any format that `kfood search --recipe` reads, or a string with a file's "
        "content (JSON, a page, MealMaster, RecipeML) or with a recipe as people write it; in a form a file.",
    )
    text: str | None = Field(None, description="Words to search by; a list with commas is read as ingredients.")
    k: int | None = Field(None, ge=1, description="How many to find, by default 10.")
    to: Literal["photos", "recipes"] | None = Field(
        None, description="What the query is compared with: by default recipes for a photo, photos otherwise."
    )
    with_: list[str] = Field([], alias="with", description="Ingredients that each recipe found has, by their names.")
    without: list[str] = Field([], description="Ingredients that none of them has.")
    explain: bool = Field(False, description="Also pictures of what the model has understood.")


class PhotoRequest(BaseModel):
    """A photo to embed."""

    model_config = ConfigDict(extra="forbid")

    photo: str = Field(description="A photo's file in base64; in a form the file itself.")


class RecipeRequest(BaseModel):
    """A recipe to embed."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any] | list[Any] | str = Field(description="As for /search.")


class Ingredient(BaseModel):
    """A line of ingredients."""

    text: str = Field(description="As written.")
    shared: bool = Field(description="Whether the query names it: its recipe, its words, or its filter.")


class Found(BaseModel):
    """One thing found."""

    rank: int = Field(description="From 1.")
    distance: float = Field(description="To the query, small = near; see the answer's `distance`.")
    id: str
    title: str
    ingredients: list[Ingredient]
    instructions: list[str]
    thumbnail: str = Field(description="Where its small photo is, relative to the service.")
    generated: str | None = Field(None, description="Picture generated from its embedding: a data URL.")


class Read(BaseModel):
    """What was read of a query."""

    kind: Literal["photo", "recipe", "text"]
    title: str = Field(description="Of a recipe; the text itself; of a photo empty.")
    ingredients: list[str] = Field(description="Lines of a recipe.")
    words: int | None = Field(None, description="How many words the model read.")
    known_words: int | None = Field(None, description="How many of these it knows.")
    generated: str | None = Field(None, description="Picture generated from its embedding: a data URL.")
    heat_map: str | None = Field(None, description="The photo, red where the model looks (MCEN): a data URL.")


class SearchAnswer(BaseModel):
    """What a search found, nearest first."""

    model: str
    distance: Literal["euclidean", "cosine", "dot"] = Field(description="dot: minus the dot product.")
    to: Literal["photos", "recipes"]
    items: int = Field(description="In the index.")
    candidates: int = Field(description="How many of these the filters leave.")
    exact: bool = Field(description="Whether the search was exact; of an index made with another --engine it is not.")
    query: Read
    results: list[Found]
    notes: list[str] = Field(description="What is good to know of this answer, in sentences.")


class Embedding(BaseModel):
    """An embedding."""

    model: str
    distance: Literal["euclidean", "cosine", "dot"] = Field(description="By which it is to be compared.")
    embedding: list[float] = Field(description="float32.")
    words: int | None = Field(None, description="Of a recipe: how many words the model read.")
    known_words: int | None = Field(None, description="How many of these it knows.")


class Item(BaseModel):
    """An item of the index."""

    id: str
    title: str
    ingredients: list[str]
    instructions: list[str]
    thumbnail: str


class Name(BaseModel):
    """An ingredient that recipes of the index have."""

    name: str
    recipes: int = Field(description="In how many recipes a line has this name.")


class Health(BaseModel):
    """How the service is."""

    status: Literal["ok"]
    version: str
    model: str
    items: int
    searches: list[str] = Field(description="What can be searched by.")
    generates: bool = Field(description="Whether `explain` shows generated pictures (R2GAN, ACME).")
    looks: bool = Field(description="Whether `explain` shows where in a photo the model looks (MCEN).")
    index: dict[str, Any] = Field(description="Dataset, splits and way of search of the index in use.")
    reload_problem: str = Field(description="Why the index on disk is not the one in use; empty where it is.")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence: what was expected, what was received.")


def thumbnail(id: str) -> str:
    """Where the small photo of an item is, relative to the service."""
    return f"thumbnails/{urllib.parse.quote(id, safe='')}"
