"""Work that waits while a thread is busy goes into the next thread together.

Many small saves then cost one change of threads and one transaction, instead of
one each; a single one waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Batched"]

_T = TypeVar("_T")
_R = TypeVar("_R")

MAX_BATCH: Final = 64
"""Pieces of work in one go: more only wait longer together."""


class Batched(Generic[_T, _R]):
    """A blocking function of many, awaited with one.

    All calls must come from one event loop.
    """

    def __init__(
        self, function: Callable[[Sequence[_T]], Sequence[_R]], *, linger: float = 0.0
    ) -> None:
        """Wrap a function.

        Args:
            function: Called in a worker thread, one call at a time; returns one result for each
                piece of work. What it raises, each of them raises.
            linger: Seconds that work waits for more while there is much of it.
        """
        self._function = function
        self._linger = linger
        self._waiting: deque[tuple[_T, asyncio.Future[_R]]] = deque()
        self._busy = False
        self._much = False

    def __call__(self, work: _T) -> asyncio.Future[_R]:
        """Return the function's result for one piece of work, to be awaited.

        Where nothing waits, a thread has the work when this returns.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_R] = loop.create_future()
        self._waiting.append((work, future))
        if not self._busy:  # one batch at a time: two are smaller, and each has its price
            self._start_soon(loop)
        return future

    @property
    def busy(self) -> bool:
        """Whether a thread has work, or will have it in a moment."""
        return self._busy

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start at once; or a moment later, where the last batch was not of one alone."""
        if self._much and self._linger and len(self._waiting) < MAX_BATCH:
            self._busy = True
            loop.call_later(self._linger, self._start)
        else:
            self._start()

    def _start(self) -> None:
        """Give what waits to a thread."""
        size = min(len(self._waiting), MAX_BATCH)
        batch = [self._waiting.popleft() for _ in range(size)]
        works = [work for work, _ in batch]
        self._much = size > 1
        try:
            done = asyncio.get_running_loop().run_in_executor(None, self._function, works)
        except RuntimeError:  # the loop is being closed
            for _, future in batch:
                future.cancel()
            return
        self._busy = True
        done.add_done_callback(lambda done: self._end([future for _, future in batch], done))

    def _end(
        self, futures: Sequence[asyncio.Future[_R]], done: asyncio.Future[Sequence[_R]]
    ) -> None:
        """Hand the results out, and go on with what has come meanwhile."""
        self._busy = False
        if self._waiting:
            self._start_soon(asyncio.get_running_loop())
        if done.cancelled():
            for future in futures:
                future.cancel()
            return
        error = done.exception()
        results: Sequence[_R | None] = [None] * len(futures) if error else done.result()
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("_R", result))
