"""Threads for work that blocks, and what to do where no more of them can be started."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers"]


class Workers(ThreadPoolExecutor):
    """A pool whose work is done in the calling thread when the system allows no new one.

    That blocks the caller, and nothing that has been paid for is lost.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a function called; see `Executor.submit`."""
        done_here = False

        def work() -> Any:
            return None if done_here else fn(*args, **kwargs)

        try:
            return super().submit(work)
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise  # it has been shut down
        done_here = True  # what was queued for the thread that never came is nobody's now
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # it belongs to who asks for the result
            future.set_exception(error)
        return future
