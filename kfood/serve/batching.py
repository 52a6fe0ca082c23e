"""Requests that wait are encoded together."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

from kfood.serve.limits import RefusedError

Encode = Callable[[Sequence[Any]], Sequence[Any]]
"""Rows → as many results. Called in a thread."""


_STOPPING = RefusedError(503, "expected a running service, received one that is stopping.")


class Batcher:
    """Collects what several requests want encoded, and encodes it at once.

    Batches are gathered one after the other; while some are computed the next one gathers. The first row of a batch
    waits ``wait`` seconds at most for others; a lone request at a quiet time therefore pays that much, and none pays
    more. Where a batch fails each of its rows is tried alone, so that only the request at fault sees the error.
    """

    def __init__(
        self,
        encode: Encode,
        pool: concurrent.futures.Executor,
        *,
        rows: int,
        wait: float,
        batches: int = 1,
        observe: Callable[[int], None] = lambda rows: None,
    ):
        """Args:
        encode: encodes rows.
        pool: whose threads it is called in.
        rows: at most in a batch; 1: every row alone, as many at a time as the pool has threads.
        wait: seconds, see above.
        batches: computed at the same time.
        observe: called with the size of each batch.
        """
        self._encode, self._pool, self._observe = encode, pool, observe
        self._rows, self._wait, self._batches = rows, wait, batches
        self._queue: asyncio.Queue[tuple[Any, asyncio.Future]] = asyncio.Queue()
        self._gathering = asyncio.Lock()
        self._tasks: list[asyncio.Task] = []

    async def __call__(self, row: Any) -> Any:
        """The result of a row, or the error that encoding it raised.

        Raises:
            RefusedError: the service stops (503).
        """
        loop = asyncio.get_running_loop()
        if self._rows == 1:
            self._observe(1)
            return (await loop.run_in_executor(self._pool, self._encode, [row]))[0]
        if not self._tasks:
            self._tasks = [loop.create_task(self._run()) for _ in range(self._batches)]
        future: asyncio.Future = loop.create_future()
        self._queue.put_nowait((row, future))
        return await future

    async def close(self) -> None:
        """Stops; what waits is refused (503)."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        while not self._queue.empty():
            _, future = self._queue.get_nowait()
            if not future.done():
                future.set_exception(_STOPPING)

    async def _run(self):
        while True:
            async with self._gathering:
                batch = await self._gather()
            self._observe(len(batch))
            try:
                await self._answer(batch)
            finally:  # stopped in the midst of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(_STOPPING)

    async def _gather(self):
        """The next batch, of requests that still wait for an answer."""
        loop = asyncio.get_running_loop()
        batch: list[tuple[Any, asyncio.Future]] = []
        deadline = None
        while len(batch) < self._rows:
            if not self._queue.empty():
                item = self._queue.get_nowait()
            elif deadline is None:
                item = await self._queue.get()
            else:
                try:
                    item = await asyncio.wait_for(self._queue.get(), max(deadline - loop.time(), 0))
                except asyncio.TimeoutError:
                    break
            if not item[1].done():  # its request ran out of time, or its client left
                batch.append(item)
                deadline = deadline or loop.time() + self._wait
        return batch

    async def _answer(self, batch):
        loop = asyncio.get_running_loop()
        rows = [row for row, _ in batch]
        try:
            results: Sequence[Any] = await loop.run_in_executor(self._pool, self._encode, rows)
        except Exception as error:
            results = [error] if len(batch) == 1 else await self._one_by_one(rows)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _one_by_one(self, rows):
        results: list[Any] = []
        for row in rows:
            try:
                results += await asyncio.get_running_loop().run_in_executor(self._pool, self._encode, [row])
            except Exception as error:
                results.append(error)
        return results
