"""Around every request: its bounds on size and time, its headers, and what is counted of it."""

import asyncio
import json
import time

import prometheus_client as prometheus
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kfood.serve.limits import Limits, RefusedError

_HEADERS = {
    # The page loads nothing from elsewhere, and no other page frames it.
    b"content-security-policy": b"default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    b"connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}

UNBOUNDED = ("/health", "/metrics")
"""Answered however many requests are in work."""


class Metrics:
    """What is counted, for Prometheus; a registry of its own."""

    def __init__(self):
        self.registry = prometheus.CollectorRegistry()
        times = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
        self.requests = prometheus.Counter(
            "kfood_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "kfood_request_seconds",
            "From a request's first byte to its answer.",
            ["path"],
            buckets=times,
            registry=self.registry,
        )
        self.working = prometheus.Gauge("kfood_requests_in_work", "Requests in work.", registry=self.registry)
        self.rows = prometheus.Histogram(
            "kfood_batch_rows",
            "Rows that were encoded together.",
            ["encoder"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.items = prometheus.Gauge("kfood_index_items", "Items of the index in use.", registry=self.registry)
        self.reloads = prometheus.Counter(
            "kfood_reloads", "Indexes looked at again.", ["result"], registry=self.registry
        )
        prometheus.ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)


class Watch:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics):
        self._app, self._limits, self._metrics = app, limits, metrics
        self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS.items()]}
            await send(message)

        self._working += 1
        self._metrics.working.set(self._working)
        try:
            self._check(scope)
            await asyncio.wait_for(self._app(scope, self._bounded(receive), answer), self._limits.seconds)
        except asyncio.TimeoutError:
            if not status:
                await refuse(answer, 504, f"expected to take {self._limits.seconds:g} seconds at most, took longer.")
        except RefusedError as error:
            if status:
                raise
            await refuse(answer, error.status, error.message)
        except Exception:
            status = status or 500  # answered outside
            raise
        finally:
            self._working -= 1
            self._metrics.working.set(self._working)
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(scope["method"] if path != "other" else "other", path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        if (
            self._working > self._limits.requests
            and scope["path"].removeprefix(scope.get("root_path", "")) not in UNBOUNDED
        ):
            raise RefusedError(503, f"expected at most {self._limits.requests} requests at once, received more.")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._limits.bytes:
            raise RefusedError(413, self._too_large(f"{int(length[:20]):,}"))

    def _bounded(self, receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limits.bytes:
                raise RefusedError(413, self._too_large("more"))
            return message

        return bounded

    def _too_large(self, received: str) -> str:
        return f"expected at most {self._limits.bytes:,} bytes, received {received}."


async def refuse(send: Send, status: int, message: str) -> None:
    """Sends why a request is refused."""
    headers = [(b"content-type", b"application/json"), *([(b"retry-after", b"1")] if status == 503 else [])]
    if status == 413:  # what the client still sends is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = json.dumps({"detail": message}, ensure_ascii=True).encode()
    await send({"type": "http.response.body", "body": body})
