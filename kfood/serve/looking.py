"""The addresses of the page, of items, and of how the service is."""

import pathlib
from typing import Annotated, Any

import fastapi
from fastapi.responses import FileResponse, Response

import kfood
from kfood.serve import answers
from kfood.serve.gallery import Gallery
from kfood.serve.limits import RefusedError
from kfood.serve.service import Service

STATIC = pathlib.Path(__file__).with_name("static")

_INVALID: dict[int | str, dict[str, Any]] = {422: {"model": answers.Problem, "description": "A wrong field."}}
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": answers.Problem, "description": "No such item."}}


def item_routes(service: Service) -> fastapi.APIRouter:
    """The page, and the items of the index."""
    router = fastapi.APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "page.html", headers={"cache-control": "no-cache"})

    @router.get("/items/{id:path}", response_model=answers.Item, responses=_MISSING)
    async def item(id: str) -> answers.Item:
        """An item of the index."""
        gallery = service.shelf.gallery
        record = gallery.index.record(_row(gallery, id))
        return answers.Item(**record, thumbnail=answers.thumbnail(record["id"]))

    @router.get(
        "/thumbnails/{id:path}",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}, "description": "A small photo."}, **_MISSING},
    )
    async def thumbnail(id: str) -> Response:
        """The small photo of an item, a JPEG."""
        gallery = service.shelf.gallery
        content = gallery.index.thumbnail(_row(gallery, id))
        return Response(content, media_type="image/jpeg", headers={"cache-control": "max-age=300"})

    @router.get("/ingredients", response_model=list[answers.Name], responses=_INVALID)
    async def ingredients(
        start: Annotated[str, fastapi.Query(max_length=100, description="Letters that a word of it begins with.")] = "",
        limit: Annotated[int, fastapi.Query(ge=1, le=1000)] = 50,
    ) -> list[answers.Name]:
        """Ingredients that recipes of the index have, the most frequent first."""
        wanted = start.casefold().strip()
        names = service.shelf.gallery.ingredients.names
        found = [answers.Name(name=name, recipes=count) for name, count in names if f" {name}".find(f" {wanted}") >= 0]
        return found[:limit]

    return router


def state_routes(service: Service) -> fastapi.APIRouter:
    """How the service is."""
    router = fastapi.APIRouter()

    @router.get("/health", response_model=answers.Health)
    async def health() -> answers.Health:
        """How the service is, and what it can do."""
        gallery = service.shelf.gallery
        described = gallery.index.description
        return answers.Health(
            status="ok",
            version=kfood.__version__,
            model=gallery.encoder.model,
            items=len(gallery.index),
            searches=[*gallery.kinds, *(["text"] if "recipe" in gallery.kinds else [])],
            generates=bool(gallery.generates),
            looks=gallery.looks,
            index={
                "dataset": described["dataset"]["name"],
                "splits": described["dataset"]["splits"],
                "bundle": described["bundle"]["sha256"],
                "engine": described["engine"]["name"],
            },
            reload_problem=service.shelf.problem,
        )

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )
    async def metrics() -> Response:
        """What is counted, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _row(gallery: Gallery, id: str) -> int:
    row = gallery.row(id)
    if row is None:
        raise RefusedError(404, f"expected the id of an item of this index, received {id!r:.80}.")
    return row
