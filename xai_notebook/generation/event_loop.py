"""One background event loop thread, on which everything of gRPC lives.

Magics are not awaited and a kernel's own loop is already running, so coroutines
run on a loop of ours. Waiting for one stays interruptible: an interrupt cancels
the coroutine, and with it the call at the server, before it reaches the user.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from xai_notebook.client.workers import Workers
from xai_notebook.errors import CallCancelledError, ForkedProcessError, XaiError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

__all__ = ["BackgroundLoop", "Batched"]

_T = TypeVar("_T")

INTERRUPTED: Final = "the call was cancelled at the server; what had arrived is in the library."
_STEP: Final = 0.2
"""Seconds between looks for an interrupt: on Windows a lock is not interrupted by itself."""
_ASYNC_STEP: Final = 0.1
"""Seconds between wake-ups of a loop that waits for ours, so that it notices an interrupt."""
_SETTLE: Final = 0.2
"""Seconds that a cancelled coroutine has for keeping what had arrived."""
_CLOSE: Final = 5.0
"""Seconds that all coroutines have when the session is closed."""


class BackgroundLoop:
    """An event loop in a daemon thread, started by its first use.

    A daemon thread lets the process exit with calls in flight; gRPC does not mind.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine and return its future.

        Raises:
            ForkedProcessError: This process was forked from the one that uses the loop.
        """
        try:
            loop = self._running_loop()
        except BaseException:
            coroutine.close()
            raise

        async def run() -> _T:
            if (task := asyncio.current_task()) is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return await coroutine

        future = asyncio.run_coroutine_threadsafe(run(), loop)
        future.add_done_callback(lambda _: _close_unstarted(coroutine))
        return future

    def cancel(self) -> None:
        """Cancel everything that was submitted, and wait until it has ended, 5 seconds at most."""
        if self._loop is None or self._pid != os.getpid():
            return

        async def cancel() -> None:
            if (own := asyncio.current_task()) is not None:
                self._tasks.discard(own)  # another thread may cancel everything, too
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE)

        self.run(cancel())

    def run(
        self,
        coroutine: Coroutine[Any, Any, _T],
        *,
        tick: Callable[[], None] | None = None,
        interrupted: str = INTERRUPTED,
    ) -> _T:
        """Run a coroutine and wait for its result; an interrupt cancels it.

        Args:
            coroutine: What to run.
            tick: Called five times a second in the waiting thread, to show progress.
            interrupted: What an interrupt says.

        Raises:
            KeyboardInterrupt: The wait was interrupted; the coroutine has been cancelled.
            XaiError: Called on the background loop itself, which would wait for ever.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise XaiError("A blocking call was made on the background loop. Use await there.")
        work = _Work(coroutine)
        with _default_interrupts():
            try:
                try:
                    future = self.submit(work.run())
                except ForkedProcessError:
                    coroutine.close()
                    raise
                while not future.done():
                    concurrent.futures.wait([future], timeout=_STEP)
                    if tick is not None and not future.done():
                        tick()
            except KeyboardInterrupt as interrupt:
                shorten(interrupt, interrupted)
                # It may strike while the work is being submitted: there is no future to cancel yet.
                if (loop := self._loop) is not None:
                    loop.call_soon_threadsafe(work.cancel)
                    work.finished.wait(_SETTLE)
                raise
        return _result(future)

    async def wait(
        self, coroutine: Coroutine[Any, Any, _T], *, interrupted: str = INTERRUPTED
    ) -> _T:
        """Run a coroutine on the background loop and await it from any other loop.

        Cancelling the wait cancels the coroutine.
        """
        future = self.submit(coroutine)
        wrapped = asyncio.wrap_future(future)
        try:
            while not wrapped.done():
                await asyncio.wait({wrapped}, timeout=_ASYNC_STEP)
        except asyncio.CancelledError as cancelled:
            shorten(cancelled, interrupted)
            raise
        finally:
            if not wrapped.done():
                future.cancel()
        return _result(wrapped)

    def stop(self) -> None:
        """Cancel what still runs, end the thread. The next use starts a new loop."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(timeout=2.0)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._pid != os.getpid():
                raise ForkedProcessError(
                    "gRPC cannot be used in a forked process. Start workers with "
                    'multiprocessing.get_context("spawn"), or generate in the parent.'
                )
            if self._loop is None:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(Workers(thread_name_prefix="xai-notebook-worker"))
                thread = threading.Thread(
                    target=_serve, args=(loop,), name="xai-notebook", daemon=True
                )
                thread.start()
                # Last: an interrupt before this line leaves no loop that nobody runs.
                self._loop, self._thread = loop, thread
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then cancel what is left and close it."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _result(future: concurrent.futures.Future[_T] | asyncio.Future[_T]) -> _T:
    """Return what a finished coroutine returned, or raise what it raised.

    Raises:
        CallCancelledError: It was cancelled, though nobody interrupted the one who waits for it.
    """
    if future.cancelled():
        raise CallCancelledError("The session was closed while a call was under way.")
    return future.result()


def _close_unstarted(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that was cancelled before its first step; Python warns of it otherwise."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()


class _Work(Generic[_T]):
    """A coroutine that can be cancelled from its submission on.

    Attributes:
        finished: Set when the coroutine has really ended, cancelled or not.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, _T]) -> None:
        """Run nothing yet."""
        self.finished = threading.Event()
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def run(self) -> _T:
        """Await the coroutine, unless it has been cancelled before it began."""
        try:
            if self._cancelled:
                self._coroutine.close()
                raise asyncio.CancelledError
            self._task = asyncio.current_task()
            return await self._coroutine
        finally:
            self.finished.set()

    def cancel(self) -> None:
        """Cancel the coroutine; called on its loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def _default_interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, whatever handler the kernel has installed.

    In a cell with top-level `await`, ipykernel's handler only cancels the cell's task, which
    does not happen while that task is blocked here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous is None:  # not installed from Python: it could not be put back
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


_Item = TypeVar("_Item")
_R = TypeVar("_R")

MAX_BATCH: Final = 64
"""Pieces of work in one go: more only wait longer together."""


class Batched(Generic[_Item, _R]):
    """A blocking function of many, awaited with one.

    All calls must come from one event loop.
    """

    def __init__(
        self, function: Callable[[Sequence[_Item]], Sequence[_R]], *, linger: float = 0.0
    ) -> None:
        """Wrap a function.

        Args:
            function: Called in a worker thread, one call at a time; returns one result for each
                piece of work. What it raises, each of them raises.
            linger: Seconds that work waits for more while there is much of it.
        """
        self._function = function
        self._linger = linger
        self._waiting: deque[tuple[_Item, asyncio.Future[_R]]] = deque()
        self._busy = False
        self._much = False

    def __call__(self, work: _Item) -> asyncio.Future[_R]:
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
