"""The queue of a panel's generations; generations with equal prompts run one by one.

Separate because it runs on the background loop and is independent of the widget.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from xai_notebook.client.bounds import clean
from xai_notebook.errors import OptionError
from xai_notebook.generation.progress import describe
from xai_notebook.notebook.picture_widget import explain
from xai_notebook.pictures.render.text import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from xai_notebook.generation.call import Call
    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.generation.session import Session
    from xai_notebook.pictures.results import ImageBatch

State = Literal["queued", "running", "done", "failed", "cancelled"]

_TICK: Final = 0.5
"""Seconds between two updates of the progress line."""
_MAX_GENERATIONS: Final = 50
"""Maximum generations that are queued or running."""


@dataclass(slots=True, eq=False)
class Generation:
    """A prepared call of the panel, its state and its images.

    Attributes:
        key: Id of the generation in the browser.
        values: Values of the form.
        call: The prepared call.
        session: The session that runs the call.
        cell: The equivalent cell.
        state: State of the generation.
        line: Progress or outcome, shown in the panel.
        batch: The images, once they have arrived.
        task: Task that runs the call, while it is running.
    """

    key: str
    values: Mapping[str, Any]
    call: Call
    session: Session
    cell: str
    state: State = "queued"
    line: str = ""
    batch: ImageBatch | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def prompt(self) -> str:
        """The prompt as typed."""
        return str(self.values["prompt"])

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state not in {"queued", "running"}

    def to_dict(self) -> dict[str, Any]:
        """Return the values for the browser."""
        return {
            "id": self.key,
            "prompt": clean(self.prompt),
            "state": self.state,
            "line": self.line,
            "n": self.call.options.n,
            "shape": self.call.options.shape,
        }


class Queue:
    """Starts generations in order; holds those that are queued, running or failed."""

    def __init__(
        self,
        changed: Callable[[], None],
        say: Callable[[str], None],
        finished: Callable[[Generation], Awaitable[None]],
    ) -> None:
        """Create an empty queue.

        Args:
            changed: Called when a generation has changed.
            say: Called with sentences for screen readers.
            finished: Called and awaited with each generation that has images.
        """
        self.jobs: list[Generation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = changed
        self._say = say
        self._finished = finished

    def move(
        self,
        changed: Callable[[], None],
        say: Callable[[str], None],
        finished: Callable[[Generation], Awaitable[None]],
    ) -> None:
        """Send all further reports to the panel that replaces the one that made the queue."""
        self._changed, self._say, self._finished = changed, say, finished

    def add(self, generation: Generation) -> None:
        """Append a generation and drop those that have ended; refuse it if the queue is full."""
        waiting = [other for other in self.jobs if not other.ended]
        if len(waiting) >= _MAX_GENERATIONS:
            raise OptionError(
                f"{_MAX_GENERATIONS} generations are already queued or running. Cancel some, "
                "or wait until they have ended."
            )
        self.jobs = [*waiting, generation]
        self._start()
        if generation.state == "queued":
            generation.line = "Queued"
            self._say("Added to the queue.")
        self._changed()

    def _start(self) -> None:
        """Start queued generations up to the configured concurrency.

        Equal prompts run one after the other, because otherwise the second generation would get
        the images of the first.
        """
        running = [generation for generation in self.jobs if generation.state == "running"]
        for generation in self.jobs:
            free = len(running) < generation.call.configuration.concurrency
            equal = any(generation.prompt == other.prompt for other in running)
            if generation.state == "queued" and free and not equal:
                running.append(generation)
                loop, generation.state = asyncio.get_running_loop(), "running"
                claims = generation.session.cells.claims_for_call(self)
                generation.task = loop.create_task(generation.session.run(generation.call, claims))
                task = loop.create_task(self._follow(generation, generation.task, claims))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def cancel(self, key: str) -> None:
        """Cancel a queued or running generation."""
        for generation in self.jobs:
            if generation.key != key:
                continue
            if generation.state == "queued":
                self._end(generation, "cancelled", "Cancelled before it began.")
            elif generation.task is not None:
                generation.task.cancel()

    def dismiss(self, key: str) -> Generation | None:
        """Drop an ended generation and return it, or None if it has not ended."""
        ended = next((each for each in self.jobs if each.key == key and each.ended), None)
        self.jobs = [each for each in self.jobs if each is not ended]
        self._changed()
        return ended

    async def _follow(
        self, generation: Generation, task: asyncio.Task[None], claims: SlotClaims
    ) -> None:
        """Update the progress line until a generation has ended."""
        progress = generation.call.progress
        progress.started = time.monotonic()
        self._say(f"Making {counted(generation.call.options.n, 'image')}.")
        retries = 0
        try:
            while not task.done():
                generation.line = describe(progress)
                if progress.retries > retries and progress.attempt is not None:
                    retries = progress.retries
                    self._say(generation.line)
                self._changed()
                await asyncio.wait({task}, timeout=_TICK)
        except asyncio.CancelledError:  # the loop stops
            task.cancel()
            claims.close(succeeded=False)
            self._end(generation, "cancelled", "Cancelled, because the session was closed.")
            raise
        await self._complete(generation, task, claims)
        self._start()

    async def _complete(
        self, generation: Generation, task: asyncio.Task[None], claims: SlotClaims
    ) -> None:
        """Collect and export the images of a generation, show them, and end it."""
        failure = None if task.cancelled() else task.exception()
        if generation.call.progress.results:
            generation.batch = generation.call.collect(generation.session)
            try:
                await asyncio.to_thread(generation.call.export, generation.batch)
            except Exception as error:  # noqa: BLE001  # the panel is the only place to report it
                failure = error
        # Before the images are shown, mark them as used: the next equal request gets new images.
        claims.close(succeeded=failure is None and not task.cancelled())
        try:
            if generation.batch is not None:
                await self._finished(generation)
        except Exception as error:  # noqa: BLE001  # the panel is the only place to report it
            failure = failure or error
        if failure is not None:
            self._end(generation, "failed", explain(failure))
        elif task.cancelled():
            self._end(generation, "cancelled", "Cancelled.")
        else:
            pictures = 0 if generation.batch is None else len(generation.batch.ok)
            others = 0 if generation.batch is None else len(generation.batch) - pictures
            rest = f", {others} without a picture" if others else ""
            self._end(generation, "done", f"{counted(pictures, 'image')} ready{rest}.")

    def _end(self, generation: Generation, state: State, line: str) -> None:
        generation.state, generation.line, generation.task = state, line, None
        if state == "done":  # its pictures are shown instead
            self.jobs = [other for other in self.jobs if other is not generation]
        if state != "failed":  # the browser announces a failure as an alert
            self._say(line)
        self._changed()
