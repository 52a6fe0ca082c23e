"""The service as an ASGI application."""

import asyncio
import contextlib
import os
import signal
from typing import Any

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

import kfood
from kfood.serve import looking, searching
from kfood.serve.gallery import Shelf
from kfood.serve.limits import Limits, RefusedError
from kfood.serve.service import Service
from kfood.serve.watching import Watch


def create_app(
    shelf: Shelf,
    limits: Limits | None = None,
    *,
    batch: int = 16,
    batch_wait: float = 0.002,
    threads: int = 0,
    reload_seconds: float = 2.0,
) -> fastapi.FastAPI:
    """The service as an ASGI application.

    Args:
        shelf: holds the gallery that answers.
        limits: of a request; the usual by default.
        batch: most rows that are encoded at once; 1: each alone.
        batch_wait: seconds that a row waits for others.
        threads: that decode photos, search, and encode; 0: as many as there are processors.
        reload_seconds: between looks at the index on disk; 0: only when told to by SIGHUP.
    """
    service = Service(
        shelf, limits or Limits(), batch=batch, batch_wait=batch_wait, threads=threads or os.cpu_count() or 1
    )

    @contextlib.asynccontextmanager
    async def lifespan(app):
        loop = asyncio.get_running_loop()
        tasks = set()

        def hang_up():
            tasks.add(task := loop.create_task(service.reload()))
            task.add_done_callback(tasks.discard)

        with contextlib.suppress(AttributeError, ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, hang_up)  # neither on Windows nor outside the main thread
        if reload_seconds:
            tasks.add(loop.create_task(service.watch(reload_seconds)))
        yield
        for task in tasks:
            task.cancel()
        await service.close()

    app = fastapi.FastAPI(
        title="kfood", version=kfood.__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )  # the usual pages of documentation are loaded from elsewhere
    app.state.service = service
    for routes in (searching.routes, looking.item_routes, looking.state_routes):
        app.include_router(routes(service))
    app.mount("/static", StaticFiles(directory=looking.STATIC))
    app.add_middleware(Watch, limits=service.limits, metrics=service.metrics)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _problem(status: int, message: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status == 503 else {"connection": "close"} if status == 413 else None
    shown = message.encode("utf-8", "replace").decode()
    return JSONResponse({"detail": shown}, status, headers)


async def _refused(request: Request, error: Any) -> Response:
    return _problem(error.status, error.message)


async def _http_error(request: Request, error: Any) -> Response:
    response = _problem(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    return _problem(422, f"{'.'.join(map(str, first['loc'][1:])):.80}: {first['msg']}.")


async def _left(request: Request, error: Any) -> Response:
    return _problem(400, "expected a whole body, received a part of it.")


async def _failed(request: Request, error: Exception) -> Response:
    return _problem(500, "the service failed at this request; its log says how.")  # Starlette logs the error


_HANDLERS: dict[Any, Any] = {
    RefusedError: _refused,
    HTTPException: _http_error,
    RequestValidationError: _invalid,
    ClientDisconnect: _left,
    Exception: _failed,
}
