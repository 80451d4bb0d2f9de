"""The background event loop of a kernel, and batching of blocking work that is awaited on it.

The kernel's own event loop is already running, and magics are not awaited. All coroutines and all
of gRPC therefore run on a loop in a separate thread. Waiting for a coroutine can be interrupted;
the interrupt cancels the coroutine, and thereby the call at the server.

`Batched` turns a blocking function of many items, such as a database transaction, into an awaitable
function of one item. Items that arrive while a worker thread is busy are processed together.
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
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from xai_notebook.client.workers import FallbackThreadPool
from xai_notebook.errors import CallCancelledError, ForkedProcessError, XaiError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_INTERRUPTED: Final = "the call was cancelled at the server; what had arrived is in the library."
_WAIT_STEP: Final = 0.2
"""Seconds between checks for an interrupt; on Windows, a wait for a lock ignores interrupts."""
_ASYNC_STEP: Final = 0.1
"""Seconds between checks for an interrupt while another loop awaits the background loop."""
_CANCEL_SECONDS: Final = 0.2
"""Seconds for a cancelled coroutine to store images that have arrived."""
_CANCEL_STEPS: Final = 20
_CLOSE_SECONDS: Final = 5.0
"""Seconds for all coroutines to end when the session is closed."""
MAX_BATCH: Final = 64
"""Maximum items of one batch; larger batches only increase the latency."""


@dataclass(slots=True, eq=False)
class Wait:
    """A thread that waits in `BackgroundLoop.run`.

    Attributes:
        thread: Id of the thread.
        loop: The event loop that runs in the thread, if any; the wait blocks it.
        active: Whether the thread is still waiting.
    """

    thread: int
    loop: asyncio.AbstractEventLoop | None
    active: bool = False


_wait: Final[ContextVar[Wait | None]] = ContextVar("_wait", default=None)


def waiting_thread() -> Wait | None:
    """Return the thread that waits for the current coroutine; None if no thread does."""
    wait = _wait.get()
    return wait if wait is not None and wait.active else None


class BackgroundLoop:
    """An event loop in a daemon thread, started on first use.

    A daemon thread allows the process to exit with calls in flight, which gRPC permits.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine and return its future.

        Raises:
            ForkedProcessError: This process is a fork of the process that uses the loop.
        """
        return self._submit(_Work(coroutine, self._tasks))

    def _submit(self, work: _Work[_T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine, after starting the thread if necessary."""
        if self._pid != os.getpid():
            work.close()
            raise ForkedProcessError(
                "gRPC cannot be used in a forked process. Start workers with "
                'multiprocessing.get_context("spawn"), or generate in the parent.'
            )
        try:
            with self._lock:
                if (loop := self._loop) is None:
                    loop = asyncio.new_event_loop()
                    workers = FallbackThreadPool(thread_name_prefix="xai-notebook-worker")
                    loop.set_default_executor(workers)
                    thread = threading.Thread(
                        target=_serve, args=(loop,), name="xai-notebook", daemon=True
                    )
                    thread.start()
                    # Assigned last: an interrupt must not leave a loop without a thread.
                    self._loop, self._thread = loop, thread
        except BaseException:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work.run(), loop)
        future.add_done_callback(lambda _: work.close())
        return future

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, unless the loop has ended. Never blocks, never raises."""
        loop = self._loop
        if loop is not None and self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(function)

    def cancel(self) -> None:
        """Cancel all submitted coroutines, and wait up to 5 seconds until they have ended."""
        if self._loop is None or self._pid != os.getpid():
            return

        async def cancel() -> None:
            if (own := asyncio.current_task()) is not None:
                self._tasks.discard(own)  # or `cancel` in another thread would cancel this
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

        self.run(cancel())

    def run(
        self,
        coroutine: Coroutine[Any, Any, _T],
        *,
        tick: Callable[[], None] | None = None,
        interrupted: str = _INTERRUPTED,
    ) -> _T:
        """Run a coroutine and wait for its result; an interrupt cancels it.

        Args:
            coroutine: The coroutine to run.
            tick: Called five times per second in the waiting thread, to show progress. If it
                raises an error, the coroutine is cancelled, as by an interrupt.
            interrupted: Message of the KeyboardInterrupt.

        Raises:
            KeyboardInterrupt: The wait was interrupted; the coroutine has been cancelled.
            XaiError: Called on the background loop itself, where it would wait forever.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise XaiError("A blocking call was made on the background loop. Use await there.")
        work = _Work(coroutine, self._tasks)
        # The coroutine inherits the context variable.
        wait = Wait(threading.get_ident(), asyncio._get_running_loop())  # noqa: SLF001  # returns None
        token = _wait.set(wait)
        with _default_interrupts():
            try:
                wait.active = True
                future = self._submit(work)
                while not future.done():
                    concurrent.futures.wait([future], timeout=_WAIT_STEP)
                    if tick is not None and not future.done():
                        tick()
            except ForkedProcessError:
                raise
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    shorten(error, interrupted)
                # An interrupt during `submit` leaves no future to cancel, so cancel the work.
                if (loop := self._loop) is not None:
                    loop.call_soon_threadsafe(work.cancel)
                    work.finished.wait(_CANCEL_SECONDS)
                raise
            finally:
                wait.active, wait.loop = False, None  # tasks that go on running keep the object
                _wait.reset(token)
        return _result(future)

    async def wait(
        self,
        coroutine: Coroutine[Any, Any, _T],
        *,
        tick: Callable[[], None] | None = None,
        interrupted: str = _INTERRUPTED,
    ) -> _T:
        """Run a coroutine on the background loop and await it from any other loop.

        Cancelling the wait cancels the coroutine, and so does an error of `tick`, which is called
        ten times per second in the other loop.
        """
        work = _Work(coroutine, self._tasks)
        future = self._submit(work)
        wrapped = asyncio.wrap_future(future)
        try:
            while not wrapped.done():
                await asyncio.wait({wrapped}, timeout=_ASYNC_STEP)
                if tick is not None and not wrapped.done():
                    tick()
        except GeneratorExit:  # nothing can be awaited
            future.cancel()
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                shorten(error, interrupted)
            future.cancel()
            for _ in range(_CANCEL_STEPS):  # until images that have arrived are stored
                if work.finished.is_set():
                    break
                await asyncio.sleep(_CANCEL_SECONDS / _CANCEL_STEPS)
            raise
        return _result(wrapped)

    def stop(self) -> None:
        """Cancel running coroutines and end the thread. The next use starts a new loop."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(timeout=2.0)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then cancel remaining tasks and close it."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _result(future: concurrent.futures.Future[_T] | asyncio.Future[_T]) -> _T:
    """Return the result of a finished coroutine, or raise its exception.

    Raises:
        CallCancelledError: The coroutine was cancelled because the session was closed.
    """
    if future.cancelled():
        raise CallCancelledError("The session was closed while a call was under way.")
    return future.result()


@dataclass(slots=True, eq=False)
class _Work(Generic[_T]):
    """A coroutine that can be cancelled even before it starts.

    Attributes:
        coroutine: The coroutine.
        tasks: Contains the task of the coroutine while it runs.
        finished: Set when the coroutine has ended, cancelled or not.
    """

    coroutine: Coroutine[Any, Any, _T]
    tasks: set[asyncio.Task[Any]]
    finished: threading.Event = field(default_factory=threading.Event)
    _task: asyncio.Task[Any] | None = None
    _cancelled: bool = False

    async def run(self) -> _T:
        """Await the coroutine, unless `cancel` was called before."""
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            self._task = asyncio.current_task()
            if self._task is not None:
                self.tasks.add(self._task)
                self._task.add_done_callback(self.tasks.discard)
            return await self.coroutine
        finally:
            self.finished.set()

    def close(self) -> None:
        """Close a coroutine that was never started, to avoid Python's warning."""
        if inspect.getcoroutinestate(self.coroutine) == inspect.CORO_CREATED:
            self.coroutine.close()

    def cancel(self) -> None:
        """Cancel the coroutine. Call it on the loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def _default_interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt inside the block, despite the kernel's own handler.

    In a cell with top-level `await`, ipykernel's handler only cancels the cell's task, which
    does not happen while that task is blocked here.
    """
    main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT) if main else None
    if previous is None:  # not the main thread, or Python cannot restore the handler
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@dataclass(slots=True, eq=False)
class Batched(Generic[_Item, _Result]):
    """Batches single items for a blocking function of many. Use from one event loop only.

    Attributes:
        function: Called in a worker thread, one call at a time. It returns one result per item; an
            exception applies to every item of the batch.
        linger: Seconds to wait for more items if the last batch had several.
        busy: Whether a batch is being processed, or is about to be.
    """

    function: Callable[[Sequence[_Item]], Sequence[_Result]]
    linger: float = 0.0
    busy: bool = field(default=False, init=False)
    _waiting: deque[tuple[_Item, asyncio.Future[_Result]]] = field(default_factory=deque)
    _several: bool = False

    def __call__(self, item: _Item) -> asyncio.Future[_Result]:
        """Return a future of the function's result for one item.

        If no batch is being processed, a thread gets the item immediately, or after `linger`.
        """
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self.busy:  # one batch at a time, because each has a fixed cost
            self._start()
        return future

    def _start(self, *, lingered: bool = False) -> None:
        """Pass the waiting items to a worker thread, immediately or after `linger`."""
        loop = asyncio.get_running_loop()
        self.busy = True
        if self._several and self.linger and not lingered and len(self._waiting) < MAX_BATCH:
            loop.call_later(self.linger, partial(self._start, lingered=True))
            return
        size = min(len(self._waiting), MAX_BATCH)
        batch = [self._waiting.popleft() for _ in range(size)]
        items, futures = [item for item, _ in batch], [future for _, future in batch]
        self._several = size > 1
        try:
            done = loop.run_in_executor(None, self.function, items)
        except RuntimeError:  # the loop is being closed
            self.busy = False
            for future in futures:
                future.cancel()
            return
        done.add_done_callback(partial(self._end, futures))

    def _end(
        self, futures: Sequence[asyncio.Future[_Result]], done: asyncio.Future[Sequence[_Result]]
    ) -> None:
        """Distribute the results, and start the next batch if items are waiting."""
        self.busy = False
        if self._waiting:
            self._start()
        if done.cancelled():
            for future in futures:
                future.cancel()
            return
        error = done.exception()
        results = () if error is not None else done.result()
        for index, future in enumerate(futures):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[index])
