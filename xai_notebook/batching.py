"""Work that waits while a thread is busy goes into the next thread together.

Many small saves then cost one change of threads and one transaction, instead of
one each; a single one waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Batched"]

_T = TypeVar("_T")
_R = TypeVar("_R")

MAX_BATCH: Final = 32
"""Pieces of work in one go: more only wait longer together."""


class Batched(Generic[_T, _R]):
    """A blocking function of many, awaited with one.

    All calls must come from one event loop.
    """

    def __init__(self, function: Callable[[Sequence[_T]], Sequence[_R]]) -> None:
        """Wrap a function.

        Args:
            function: Called in a worker thread, one call at a time; returns one result for each
                piece of work. What it raises, each of them raises.
        """
        self._function = function
        self._waiting: deque[tuple[_T, asyncio.Future[_R]]] = deque()
        self._busy = False
        self._tasks: set[asyncio.Task[None]] = set()  # or they could be collected half way

    async def __call__(self, work: _T) -> _R:
        """Return the function's result for one piece of work."""
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if not self._busy:  # one batch at a time: two are smaller, and each has its price
            self._busy = True
            task = asyncio.ensure_future(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                size = min(len(self._waiting), MAX_BATCH)
                batch = [self._waiting.popleft() for _ in range(size)]
                try:
                    works = [work for work, _ in batch]
                    results = await loop.run_in_executor(None, self._function, works)
                except Exception as error:  # noqa: BLE001  # it belongs to those who wait
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), result in zip(batch, results, strict=True):
                        if not future.done():
                            future.set_result(result)
        finally:
            # Here and not when the task is done, which is later: work that came in between would
            # wait for ever.
            self._busy = False
            for _, future in self._waiting:  # the loop is being stopped
                future.cancel()
