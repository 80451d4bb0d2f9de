"""Images in order of arrival, for `xai_notebook.stream`.

Separate because a stream outlives the function that makes it; other calls end in `session`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from xai_notebook.arguments.options import python_names, resolve
from xai_notebook.errors import OptionError
from xai_notebook.frontend import reruns_by_itself, running_shell
from xai_notebook.generation.call import Window, reads_row
from xai_notebook.generation.progress import check_function
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from xai_notebook.generation.call import Call
    from xai_notebook.generation.progress import ProgressReport, Reporter
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.results import GeneratedImage

_STOP_SECONDS = 0.2
"""Seconds for a cancelled call to store images that have arrived."""


class Feed:
    """The answers of one call on their way to the consumer, on the background loop.

    A feed does not hold its stream. A stream that is no longer used is therefore collected as
    garbage, which ends the call.

    Attributes:
        call: The call.
        claims: Its claims; `stop` closes them.
        ended: Whether the call has ended.
        used: Whether the running cell has asked for an answer.
    """

    def __init__(self, call: Call, claims: SlotClaims) -> None:
        """Connect the feed to a call that has not started."""
        self.call = call
        self.claims = claims
        self.ended = False
        self.used = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stopped = False
        self._unread: deque[tuple[int, list[Picture]]] = deque()
        self._taken = 0
        self._arrival = asyncio.Event()
        self._window = call.window = Window(2 * call.configuration.concurrency)
        call.progress.on_answer = self._record
        self._shell = running_shell()
        if self._shell is not None:
            self._shell.events.register("post_run_cell", self._end_of_cell)

    async def run(self, run: Callable[[Call, SlotClaims], Awaitable[None]]) -> None:
        """Run the call with a session's `run`; `take` raises its errors."""
        self._task = asyncio.current_task()
        try:
            if not self._stopped:
                await run(self.call, self.claims)
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self.ended = True
            self._arrival.set()

    def _record(self, number: int, pictures: list[Picture]) -> None:
        self._unread.append((number, pictures))
        self._window.add(stored=_are_stored(pictures))
        self._arrival.set()

    # For the consumer

    async def take(self) -> tuple[int, list[Picture]] | None:
        """Return the next answer and the number of its request; None after the last.

        Raises:
            XaiError: The call has failed, and all its answers have been taken.
        """
        self._window.returned()
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            self._arrival.clear()
            await self._arrival.wait()
        number, pictures = self._unread.popleft()
        self._taken += 1
        self._window.take(stored=_are_stored(pictures))
        return number, pictures

    @property
    def _all_taken(self) -> bool:
        expected = self.call.progress.expected
        over = self.ended and self._error is None
        return not self._unread and (over or self._taken - self.call.progress.skipped == expected)

    def stop(self, *, succeeded: bool = True) -> None:
        """Cancel what is under way, and close the claims. Does not wait.

        Args:
            succeeded: Whether the consumer ended without an error.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._shell is not None:
            with suppress(ValueError):
                self._shell.events.unregister("post_run_cell", self._end_of_cell)
        self.claims.complete = self._all_taken and self.call.progress.complete
        if self._task is not None:
            self._task.cancel()
        # A cancelled task claims no more slots.
        self.claims.close(succeeded=succeeded and self._error is None)

    async def close(self, *, succeeded: bool = True) -> None:
        """Cancel what is under way, and wait until images that have arrived are stored."""
        self.stop(succeeded=succeeded)
        if self._task is not None and not self.ended:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)

    def _end_of_cell(self, result: Any = None) -> None:
        """Stop if a cell that took answers has failed, although a variable keeps the stream."""
        used, self.used = self.used, False
        if used and not getattr(result, "success", False) and self._task is not None:
            self._task.get_loop().call_soon_threadsafe(lambda: self.stop(succeeded=False))


class ImageStream:
    """The images of a call in order of arrival: an iterator and an asynchronous iterator.

    Nothing is sent before the first image is asked for. At most twice `concurrency` requests are
    made ahead of the loop that uses the images. Leaving the loop, `close`, the end of a `with`
    block and an interrupt cancel the rest at the server; what has arrived is in the library.
    """

    def __init__(
        self,
        session: Any,
        prompt: str | None,
        given: Mapping[str, Any],
        progress: Callable[[ProgressReport], object] | None = None,
        *,
        template: bool = False,
    ) -> None:
        """Check the options; see `xai_notebook.stream`. `session` runs the call."""
        self._feed: Feed | None = None  # first, for `__del__`
        check_function(progress)
        fixed = {name: value for name, value in given.items() if not reads_row(value)}
        options = resolve(fixed, session.configured())
        if options.dry_run:
            raise OptionError(
                "stream() makes images and shows no plan. Use generate() with dry_run=True first."
            )
        if options.batch:
            raise OptionError(
                "stream() takes no batch=True: the images of a job arrive hours later. Use "
                "generate() for jobs."
            )
        if options.redo:
            raise OptionError(
                "stream() takes no redo=: it needs all images first. Use generate() with redo=."
            )
        self._session = session
        self._prepare = partial(
            session.prepare, prompt, dict(given), template=template, reruns=reruns_by_itself()
        )
        self._function = progress
        self._reporter: Reporter | None = None
        self._ready: deque[GeneratedImage] = deque()
        self._closed = False
        self._batch: ImageBatch | None = None
        self._starting = threading.Lock()

    @property
    def batch(self) -> ImageBatch:
        """The images that have arrived so far, in the order of the requests.

        After the end, it also has cards for the rows of a table that were not sent.
        """
        if self._batch is not None:
            return self._batch
        return ImageBatch() if self._feed is None else self._feed.call.collect(self._session)

    # Iteration

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> GeneratedImage:
        while True:
            with suppress(IndexError):  # another thread may take the last one
                return self._ready.popleft()
            if self._closed:
                raise StopIteration
            self._next_answer()

    def _next_answer(self) -> None:
        """Wait for the next answer; at the end, close the stream."""
        session = self._session
        try:
            with self._starting:
                if self._feed is None:
                    claims = session.cells.claims_for_call()
                    with python_names():
                        self._start(self._prepare(), claims)
            feed, reporter = self._started()
            answer = session.loop.run(feed.take(), tick=reporter.tick)
            if answer is None:
                self._finish(feed)
                reporter.end()
            else:
                reporter.tick()
        except BaseException as error:
            self._close(succeeded=False)
            if self._feed is not None:
                session.explain(error, self._feed.call)
            raise
        self._use(feed, answer)
        if answer is None:
            self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GeneratedImage:
        while True:
            with suppress(IndexError):
                return self._ready.popleft()
            if self._closed:
                raise StopAsyncIteration
            await self._await_answer()

    async def _await_answer(self) -> None:
        """Wait for the next answer without blocking; at the end, close the stream."""
        session = self._session
        try:
            if self._feed is None:
                async with session.preparing():
                    if self._feed is None:
                        claims = session.cells.claims_for_call()
                        with python_names():
                            call = await asyncio.to_thread(self._prepare)
                        self._start(call, claims)
            feed, reporter = self._started()
            answer = await session.loop.wait(feed.take(), tick=reporter.tick)
            if answer is None:
                await asyncio.to_thread(self._finish, feed)
                reporter.end()
            else:
                reporter.tick()
        except GeneratorExit:
            raise
        except BaseException as error:
            await self._aclose(succeeded=False)
            if self._feed is not None:
                session.explain(error, self._feed.call)
            raise
        self._use(feed, answer)
        if answer is None:
            await self._aclose()

    def _start(self, call: Call, claims: SlotClaims) -> None:
        """Start the call."""
        self._reporter = self._session.reporter(call, self._function)
        self._feed = feed = Feed(call, claims)
        self._session.loop.submit(feed.run(self._session.run))

    def _started(self) -> tuple[Feed, Reporter]:
        """Return the parts of a stream that has started, for the next answer."""
        assert self._feed is not None  # noqa: S101  # for type checkers
        assert self._reporter is not None  # noqa: S101
        self._feed.used = True
        return self._feed, self._reporter

    def _use(self, feed: Feed, answer: tuple[int, list[Picture]] | None) -> None:
        if answer is not None:
            self._ready.extend(feed.call.images_of(*answer, self._session))

    def _finish(self, feed: Feed) -> None:
        """Export the images, if `export` is set."""
        if feed.call.options.export is not None:
            self._batch = self._session.finish(feed.call)

    # The end

    def close(self) -> None:
        """Cancel the rest at the server. What has arrived stays in the library."""
        self._ready.clear()
        self._close()

    def _close(self, *, succeeded: bool = True) -> None:
        feed = self._end()
        if feed is not None and feed.ended:
            feed.stop(succeeded=succeeded)
        elif feed is not None:
            self._session.loop.run(feed.close(succeeded=succeeded))

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop."""
        self._ready.clear()
        await self._aclose()

    async def _aclose(self, *, succeeded: bool = True) -> None:
        feed = self._end()
        if feed is not None and feed.ended:
            feed.stop(succeeded=succeeded)
        elif feed is not None:
            await self._session.loop.wait(feed.close(succeeded=succeeded))

    def _end(self) -> Feed | None:
        """Mark the stream as closed; return its feed on the first call."""
        if self._reporter is not None:
            self._reporter.close()
        closed, self._closed = self._closed, True
        return None if closed else self._feed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ready.clear()
        self._close(succeeded=kind is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ready.clear()
        await self._aclose(succeeded=kind is None)

    def __del__(self) -> None:
        if self._feed is not None and not self._closed:
            self._session.loop.call_soon(self._feed.stop)

    def __repr__(self) -> str:
        if self._feed is None:
            return "<ImageStream not started>"
        state = "closed" if self._closed else "open"
        return f"<ImageStream {state}: {self._feed.call.progress.report()}>"


def _are_stored(pictures: list[Picture]) -> bool:
    return bool(pictures) and all(picture.replayed for picture in pictures)
