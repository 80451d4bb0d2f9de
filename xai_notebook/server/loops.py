"""Event loops of the embedded servers in this process.

`LoopThread` runs the loop of a server that a `with` block starts. The functions record on which
loop each server runs, so that a call that blocks this loop is refused instead of waiting for a
reply that cannot come.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from xai_notebook.errors import ForkedProcessError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")

_JOIN_SECONDS: Final = 2.0


class ServingLoop(NamedTuple):
    """The event loop of a server, and the thread in which the server was started."""

    loop: asyncio.AbstractEventLoop
    thread: int

    def is_blocked_by(self, loop: asyncio.AbstractEventLoop | None, thread: int) -> bool:
        """Tell whether the server cannot answer while a thread waits.

        Args:
            loop: The event loop that runs in the waiting thread, if any.
            thread: Id of the waiting thread.
        """
        if self.loop.is_running():
            return self.loop is loop
        return self.thread == thread  # as in IPython, where the loop runs only during `await`


serving: Final[dict[tuple[str, int], ServingLoop]] = {}
"""Loops of the running servers, by address and port."""
_pids: Final[set[int]] = set()
"""The processes that have started a server: this one, or the one that it is a fork of."""


def register(host: str, port: int) -> None:
    """Record that a server on `host` and `port` runs on the current event loop."""
    _pids.add(os.getpid())
    serving[host, port] = ServingLoop(asyncio.get_running_loop(), threading.get_ident())


def unregister(host: str, port: int) -> None:
    """Forget a server."""
    serving.pop((host, port), None)


def find_loop(host: str, port: int) -> ServingLoop | None:
    """Return the loop of the server on `host` (an address or "localhost") and `port`, if any."""
    return serving.get(("127.0.0.1" if host == "localhost" else host, port))


def refuse_fork() -> None:
    """Check that this process is no fork of a process that has started a server.

    Raises:
        ForkedProcessError: It is a fork.
    """
    if _pids and os.getpid() not in _pids:
        raise ForkedProcessError(
            "An embedded server cannot run in a fork of a process that has run one. Start workers "
            'with multiprocessing.get_context("spawn").'
        )


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        """Start the thread."""
        self.loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="xai-notebook-server", daemon=True)
        self._thread.start()

    @property
    def exists(self) -> bool:
        """Whether the thread belongs to this process. A fork has no threads."""
        return self._pid == os.getpid()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        """Cancel what is still running, and end the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
