"""Generations, as many at once as are configured; all of it runs on the background loop.

Separate because it runs on the background loop and knows no widget.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from xai_notebook.notebook.picture_widget import explain
from xai_notebook.notebook.progress import describe
from xai_notebook.pictures.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from xai_notebook.generation.replay import SlotClaims
    from xai_notebook.generation.session import Call, Session
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["Generation", "Queue"]

State = Literal["queued", "running", "done", "failed", "cancelled"]

_TICK: Final = 0.5
"""Seconds between two looks at the clock."""


@dataclass(slots=True, eq=False)
class Generation:
    """One generation.

    Attributes:
        key: Names it in the browser.
        prompt: As typed.
        values: Of the form.
        call: Checked and ready.
        session: Which runs it.
        cell: The equivalent cell.
        n: Images asked for.
        shape: Aspect ratio of the placeholders, such as `"16:9"`.
        state: How far it is.
        line: What there is to say about it.
        batch: What came.
    """

    key: str
    prompt: str
    values: Mapping[str, Any]
    call: Call
    session: Session
    cell: str = ""
    n: int = 1
    shape: str = "1:1"
    state: State = "queued"
    line: str = ""
    batch: ImageBatch | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in {"queued", "running"}

    def to_dict(self) -> dict[str, Any]:
        """Return what the browser shows."""
        return {
            "id": self.key,
            "prompt": clean(self.prompt),
            "state": self.state,
            "line": self.line,
            "n": self.n,
            "shape": self.shape,
        }


class Queue:
    """Starts jobs in the order they came, and keeps those that wait, run or failed."""

    def __init__(
        self,
        changed: Callable[[], None],
        said: Callable[[str], None],
        finished: Callable[[Generation], Awaitable[None]],
    ) -> None:
        """Start empty.

        Args:
            changed: Called when a job has changed.
            said: Called with what a screen reader should say.
            finished: Awaited with each job whose images are there.
        """
        self.jobs: list[Generation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = changed
        self._said = said
        self._finished = finished

    def add(self, job: Generation) -> None:
        """Put a job at the end, and clear away what failed before it."""
        self.jobs = [other for other in self.jobs if not other.ended]
        self.jobs.append(job)
        self._start()
        if job.state == "queued":
            job.line = "Waiting for its turn"
            self._said("Added to the queue.")
        self._changed()

    def _start(self) -> None:
        """Run what may run now: as many at once as are configured, those of one prompt in turn.

        What an equal request brings must not be taken for a job's own.
        """
        running = [job for job in self.jobs if job.state == "running"]
        for job in self.jobs:
            free = len(running) < job.call.configuration.concurrency
            equal = any(job.prompt == other.prompt for other in running)
            if job.state == "queued" and free and not equal:
                running.append(job)
                loop, job.state = asyncio.get_running_loop(), "running"
                claims = job.session.cells.ask(self)
                job.task = loop.create_task(job.session.run(job.call, claims))
                task = loop.create_task(self._follow(job, job.task, claims))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def cancel(self, key: str) -> None:
        """Cancel a job: at the server when it runs, without a word to it when it waits."""
        for job in self.jobs:
            if job.key != key:
                continue
            if job.state == "queued":
                self._end(job, "cancelled", "Cancelled before it began.")
            elif job.task is not None:
                job.task.cancel()

    def dismiss(self, key: str) -> Generation | None:
        """Forget a job that has ended, and return it; None: there is none."""
        ended = next((job for job in self.jobs if job.key == key and job.ended), None)
        self.jobs = [job for job in self.jobs if job is not ended]
        self._changed()
        return ended

    async def _follow(self, job: Generation, task: asyncio.Task[None], claims: SlotClaims) -> None:
        """Say how a job goes on until it has ended."""
        progress = job.call.progress
        progress.started = time.monotonic()
        self._said(f"Making {_images(job.n)}.")
        retries = 0
        try:
            while not task.done():
                job.line = describe(progress)
                if progress.retries > retries and progress.attempt is not None:
                    retries = progress.retries
                    self._said(job.line)
                self._changed()
                await asyncio.wait({task}, timeout=_TICK)
        except asyncio.CancelledError:  # the loop stops
            task.cancel()
            claims.close(succeeded=False)
            self._end(job, "cancelled", "Stopped with its session.")
            raise
        await self._settle(job, task, claims)
        self._start()

    async def _settle(self, job: Generation, task: asyncio.Task[None], claims: SlotClaims) -> None:
        """Tell what became of a job, whatever became of it."""
        failure = None if task.cancelled() else task.exception()
        if job.call.progress.results:
            failure = await self._collect(job) or failure
        # Before anything is shown: whoever sees the pictures and asks again is to get others.
        claims.close(succeeded=failure is None and not task.cancelled())
        try:
            if job.batch is not None:
                await self._finished(job)
        except Exception as error:  # noqa: BLE001  # the panel is where it is shown
            failure = failure or error
        if failure is not None:
            self._end(job, "failed", explain(failure))
        elif task.cancelled():
            self._end(job, "cancelled", "Cancelled.")
        else:
            self._end(job, "done", _outcome(job.batch))

    @staticmethod
    async def _collect(job: Generation) -> Exception | None:
        """Take the images of a job; return why they could not be exported as well."""
        job.batch = job.session.collect(job.call)
        try:
            await asyncio.to_thread(job.call.export, job.batch)
        except Exception as error:  # noqa: BLE001  # the panel is where it is shown
            return error
        return None

    def _end(self, job: Generation, state: State, line: str) -> None:
        job.state, job.line, job.task = state, line, None
        if state == "done":  # the pictures say the rest
            self.jobs = [other for other in self.jobs if other is not job]
        if state != "failed":  # a failure is an alert: it speaks for itself
            self._said(line)
        self._changed()


def _outcome(batch: ImageBatch | None) -> str:
    pictures = 0 if batch is None else len(batch.ok)
    others = 0 if batch is None else len(batch) - pictures
    return f"{_images(pictures)} ready" + (f", {others} without a picture." if others else ".")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"
