"""What the addresses share: the gallery in use, threads, batches."""

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kfood.serve import reading
from kfood.serve.batching import Batcher
from kfood.serve.gallery import Gallery, Shelf
from kfood.serve.limits import Limits, RefusedError
from kfood.serve.watching import Metrics


class Service:
    """What the addresses share: the gallery in use, threads, batches.

    Attributes:
        shelf: holds the gallery.
        limits: of a request.
        metrics: what is counted.
    """

    def __init__(self, shelf: Shelf, limits: Limits, *, batch: int, batch_wait: float, threads: int):
        self.shelf, self.limits, self.metrics = shelf, limits, Metrics()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "kfood-work")
        self._encoding = concurrent.futures.ThreadPoolExecutor(threads, "kfood-encode")
        options: dict[str, Any] = {"rows": batch, "wait": batch_wait, "batches": threads}
        methods: dict[str, Callable[[Gallery, Any], Sequence[Any]]] = {
            "image": Gallery.encode_photos,
            "recipe": Gallery.encode_recipes,
        }
        self._batchers = {
            name: Batcher(
                functools.partial(_encode, method),
                self._encoding,
                observe=self.metrics.rows.labels(name).observe,
                **options,
            )
            for name, method in methods.items()
        }
        self._count_items()

    async def work(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def embed(self, gallery: Gallery, query: reading.Query) -> tuple[np.ndarray, int | None, int | None]:
        """A query's embedding, float32 [embedding_size], and of words how many were read and how many are known.

        Raises:
            RefusedError: nothing in it that the model knows (422).
        """
        words_read = known = None
        try:
            if query.kind == "photo":
                embedding = await self._batchers["image"]((gallery, query.content))
            else:
                embedding, words_read, known = await self._batchers["recipe"]((gallery, query.content))
        except ValueError as error:  # of the runtime: what a model cannot read
            raise RefusedError(422, f"{query.kind}: {str(error).removeprefix('recipe 0: '):.300}") from error
        if known == 0:
            received = f"{words_read}, all of them unknown to it" if words_read else "none"
            raise RefusedError(
                422, f"{query.kind}: expected at least one word that the model knows, received {received}."
            )
        if not np.isfinite(embedding).all():
            raise RefusedError(422, f"{query.kind}: expected what has an embedding, received values too large for one.")
        return embedding, words_read, known

    async def reload(self) -> None:
        """Takes the index on disk."""
        taken = await asyncio.get_running_loop().run_in_executor(None, self.shelf.reload)
        self.metrics.reloads.labels("taken" if taken else "refused").inc()
        self._count_items()

    async def watch(self, seconds: float) -> None:
        """Takes the index on disk whenever it changes."""
        while True:
            await asyncio.sleep(seconds)
            if self.shelf.changed():
                await self.reload()

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        for batcher in self._batchers.values():
            await batcher.close()
        for pool in (self._encoding, self._pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def _count_items(self) -> None:
        self.metrics.items.set(len(self.shelf.gallery.index))


def _encode(method: Callable[[Gallery, Any], Sequence[Any]], rows: Sequence[tuple[Gallery, Any]]) -> list[Any]:
    """Encodes rows, those of one gallery together: while an index is replaced there are two."""
    results: list[Any] = [None] * len(rows)
    for gallery in {id(gallery): gallery for gallery, _ in rows}.values():
        places = [place for place, row in enumerate(rows) if row[0] is gallery]
        for place, result in zip(places, method(gallery, [rows[place][1] for place in places]), strict=True):
            results[place] = result
    return results
