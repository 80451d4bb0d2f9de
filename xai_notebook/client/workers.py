"""A thread pool that still works if the system cannot start more threads."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class FallbackThreadPool(ThreadPoolExecutor):
    """A thread pool that runs a function in the calling thread if no thread can be started.

    This blocks the caller, but no paid picture is lost.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a function; see `Executor.submit`."""
        done_here = False

        def work() -> Any:
            return None if done_here else fn(*args, **kwargs)

        try:
            return super().submit(work)
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise  # the pool is shut down
        done_here = True  # `work` stays in the queue and must not call `fn` again
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # raised by future.result()
            future.set_exception(error)
        return future
