"""The addresses /search and /embed."""

import base64
import io
from typing import Any

import fastapi
import numpy as np
import pydantic
from starlette.requests import Request

from kfood.evaluation.attention import heat
from kfood.search import Explanation, Result, engines, explain
from kfood.search.ingredients import shared, words
from kfood.serve import answers, reading
from kfood.serve.gallery import Gallery
from kfood.serve.limits import Limits, RefusedError
from kfood.serve.service import Service

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": answers.Problem, "description": "A broken body."},
    413: {"model": answers.Problem, "description": "Too many bytes, pixels, lines or characters."},
    415: {"model": answers.Problem, "description": "Neither JSON nor a form."},
    422: {"model": answers.Problem, "description": "A field, photo or recipe that cannot be read."},
    503: {"model": answers.Problem, "description": "Too many requests at once; come again."},
    504: {"model": answers.Problem, "description": "It took too long."},
}


_USUAL = 10
"""Results where a request does not say how many."""


def routes(service: Service) -> fastapi.APIRouter:
    """/search and /embed."""
    router, limits = fastapi.APIRouter(responses=PROBLEMS), service.limits

    @router.post("/search", response_model=answers.SearchAnswer, openapi_extra=_body(answers.SearchRequest, limits))
    async def search(request: Request) -> answers.SearchAnswer:
        """Finds what is nearest to a photo, a recipe or words."""
        gallery = service.shelf.gallery
        wanted, files = await reading.read_body(request, answers.SearchRequest, limits)
        top = wanted.k or min(_USUAL, limits.results)
        if top > limits.results:
            raise RefusedError(422, f"k: expected at most {limits.results}, received {top}.")
        filters = {
            "with": reading.read_names("with", wanted.with_, limits),
            "without": reading.read_names("without", wanted.without, limits),
        }
        kind = reading.check_one({name: getattr(wanted, name) for name in ("photo", "recipe", "text")})
        side: Any = wanted.to or gallery.side(kind)
        if side not in gallery.index.sides:
            raise RefusedError(422, f"to: expected {' or '.join(gallery.index.sides)}, received {side}.")
        query = await _query(service, gallery, kind, files.get(kind, getattr(wanted, kind)))
        embedding, words_read, known = await service.embed(gallery, query)
        return await service.work(
            _answer, gallery, query, embedding, (words_read, known), side, top, wanted.explain, filters
        )

    @router.post("/embed/photo", response_model=answers.Embedding, openapi_extra=_body(answers.PhotoRequest, limits))
    async def embed_photo(request: Request) -> answers.Embedding:
        """The embedding of a photo."""
        gallery = service.shelf.gallery
        wanted, files = await reading.read_body(request, answers.PhotoRequest, limits)
        query = await _query(service, gallery, "photo", files.get("photo", wanted.photo))
        return _embedding(gallery, *await service.embed(gallery, query))

    @router.post("/embed/recipe", response_model=answers.Embedding, openapi_extra=_body(answers.RecipeRequest, limits))
    async def embed_recipe(request: Request) -> answers.Embedding:
        """The embedding of a recipe."""
        gallery = service.shelf.gallery
        wanted, files = await reading.read_body(request, answers.RecipeRequest, limits)
        query = await _query(service, gallery, "recipe", files.get("recipe", wanted.recipe))
        return _embedding(gallery, *await service.embed(gallery, query))

    return router


async def _query(service: Service, gallery: Gallery, kind: str, content: Any) -> reading.Query:
    """What is searched by, as the gallery's encoder takes it."""
    if kind != "photo" and "recipe" not in gallery.kinds:
        raise RefusedError(422, f"{kind}: expected a photo, for this index is of photos alone, received a {kind}.")
    read: Any = {"photo": reading.read_photo, "recipe": reading.read_recipe, "text": reading.read_text}[kind]
    return await service.work(read, content, gallery, service.limits)


def _answer(gallery, query, embedding, counts, side, top, explained, filters) -> answers.SearchAnswer:
    """Searches, and writes down what was found."""
    index = gallery.index
    among = index.having(filters["with"], filters["without"])
    results: list[Result] = index.search(embedding, side, top, among=among)
    names = [*query.names, *map(words, filters["with"])]
    notes = [f"No recipe here has “{name}”." for name in filters["with"] if not gallery.ingredients.having(name).any()]
    words_read, known = counts
    if known is not None and known < words_read:
        notes.append(f"The model knows {known} of the {words_read} words that it reads.")
    made = seen = None
    if explained and results and gallery.generates:
        encoder = "image" if query.kind == "photo" else "recipe"
        made = explain(gallery.encoder, index, embedding, encoder, results, side)
    if explained and gallery.looks and query.kind == "photo":
        seen = heat(query.content, gallery.encoder.look("image", {"image": query.content[None]})[0])
    if explained and results and made is None and seen is None:
        notes.append(f"{gallery.encoder.model} has no picture of how it understands a {query.kind}.")
    return answers.SearchAnswer(
        model=gallery.encoder.model,
        distance=index.distance,
        to=side,
        items=len(index),
        candidates=len(index) if among is None else int(np.count_nonzero(among)),
        exact=engines.engine(index.description["engine"]["name"]).exact,
        query=answers.Read(
            kind=query.kind,
            title=query.title,
            ingredients=list(query.ingredients),
            words=words_read,
            known_words=known,
            generated=None if made is None or made.query is None else _data_url(made.query),
            heat_map=None if seen is None else _data_url(seen),
        ),
        results=[_found(result, names, made) for result in results],
        notes=notes,
    )


def _found(result: Result, names: list[frozenset[str]], made: Explanation | None) -> answers.Found:
    marks = shared(result.ingredients, names)
    return answers.Found(
        rank=result.rank,
        distance=result.distance,
        id=result.id,
        title=result.title,
        ingredients=[
            answers.Ingredient(text=line, shared=mark) for line, mark in zip(result.ingredients, marks, strict=True)
        ],
        instructions=result.instructions,
        thumbnail=answers.thumbnail(result.id),
        generated=None if made is None else _data_url(made.results[result.rank - 1]),
    )


def _embedding(gallery: Gallery, embedding: np.ndarray, words_read: int | None, known: int | None) -> answers.Embedding:
    return answers.Embedding(
        model=gallery.encoder.model,
        distance=gallery.index.distance,
        embedding=embedding.tolist(),
        words=words_read,
        known_words=known,
    )


def _data_url(picture: np.ndarray) -> str:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _body(model: type[pydantic.BaseModel], limits: Limits) -> dict[str, Any]:
    """OpenAPI's description of a body that is JSON or a form; FastAPI writes that of one or the other."""
    schema = model.model_json_schema()
    form = {**schema, "properties": {**schema["properties"]}}
    for name, field in schema["properties"].items():
        if name == "photo":
            form["properties"][name] = {"type": "string", "format": "binary"}
        elif name == "recipe":
            form["properties"][name] = {"type": "string", "maxLength": limits.recipe_bytes}
        elif name == "k":
            field["anyOf"][0]["maximum"] = limits.results
        elif name in ("with", "without"):
            field["maxItems"] = limits.ingredients
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}
