"""Generations, one after the other; everything here runs on the background loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from xai_notebook.errors import ExportError, XaiError
from xai_notebook.notebook.live import describe
from xai_notebook.pictures.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from xai_notebook.generation.session import Call, Session
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["Job", "Queue"]

State = Literal["queued", "running", "done", "failed", "cancelled"]

_TICK: Final = 0.5
"""Seconds between two looks at the clock."""


@dataclass(slots=True, eq=False)
class Job:
    """One generation.

    Attributes:
        key: Names it in the browser.
        prompt: As typed.
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
    """Runs jobs in the order they came, and keeps those that wait, run or failed."""

    def __init__(
        self,
        changed: Callable[[], None],
        said: Callable[[str], None],
        finished: Callable[[Job], Awaitable[None]],
    ) -> None:
        """Start empty.

        Args:
            changed: Called when a job has changed.
            said: Called with what a screen reader should say.
            finished: Awaited with each job whose images are there.
        """
        self.jobs: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._changed = changed
        self._said = said
        self._finished = finished

    def add(self, job: Job) -> None:
        """Put a job at the end, and clear away what failed before it."""
        self.jobs = [other for other in self.jobs if not other.ended]
        self.jobs.append(job)
        self._waiting.append(job)
        if len(self._waiting) > 1 or self._running():
            job.line = "Waiting for the one before"
            self._said("Added to the queue.")
        self._changed()
        if not self._running():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def _running(self) -> bool:
        worker = self._worker
        return (
            worker is not None
            and not worker.done()
            and worker.get_loop() is asyncio.get_running_loop()
        )

    def cancel(self, key: str) -> None:
        """Cancel a job: at the server when it runs, without a word to it when it waits."""
        for job in self.jobs:
            if job.key != key:
                continue
            if job.state == "queued":
                with suppress(ValueError):
                    self._waiting.remove(job)
                self._end(job, "cancelled", "Cancelled before it began.")
            elif job.task is not None:
                job.task.cancel()

    def dismiss(self, key: str) -> None:
        """Forget a job that has ended."""
        self.jobs = [job for job in self.jobs if not (job.key == key and job.ended)]
        self._changed()

    async def _work(self) -> None:
        while self._waiting:
            await self._run(self._waiting.popleft())

    async def _run(self, job: Job) -> None:
        progress = job.call.progress
        progress.started = time.monotonic()
        job.state = "running"
        self._said(f"Making {_images(job.n)}.")
        asking = job.session.ask(apart=self)
        running = job.session.run(job.call, asking)
        job.task = asyncio.get_running_loop().create_task(running)
        retries = 0
        try:
            while not job.task.done():
                job.line = describe(progress)
                if progress.retries > retries and progress.attempt is not None:
                    retries = progress.retries
                    self._said(job.line)
                self._changed()
                await asyncio.wait({job.task}, timeout=_TICK)
        except asyncio.CancelledError:  # the loop stops
            job.task.cancel()
            asking.close(succeeded=False)
            self._end(job, "cancelled", "Stopped with its session.")
            raise
        asking.close(succeeded=await self._settle(job, job.task))

    async def _settle(self, job: Job, task: asyncio.Task[None]) -> bool:
        """Tell what became of a job, whatever became of it, and return whether it is done."""
        failure = None if task.cancelled() else task.exception()
        try:
            if job.call.progress.results:
                failure = await self._collect(job) or failure
        except Exception as error:  # noqa: BLE001  # the panel is where it is shown
            failure = failure or error
        if failure is not None:
            self._end(job, "failed", explain(failure))
        elif task.cancelled():
            self._end(job, "cancelled", "Cancelled.")
        else:
            self._end(job, "done", _outcome(job.batch))
        return job.state == "done"

    async def _collect(self, job: Job) -> Exception | None:
        """Take the images of a job; return why they could not be exported as well."""
        failure = None
        job.batch = job.session.collect(job.call)
        try:
            await asyncio.to_thread(job.call.export, job.batch)
        except ExportError as error:
            failure = error
        await self._finished(job)
        return failure

    def _end(self, job: Job, state: State, line: str) -> None:
        job.state, job.line, job.task = state, line, None
        if state == "done":  # the pictures say the rest
            self.jobs = [other for other in self.jobs if other is not job]
        if state != "failed":  # a failure is an alert: it speaks for itself
            self._said(line)
        self._changed()


def explain(error: BaseException) -> str:
    """Return an error as a line or two: cause and cure."""
    if isinstance(error, XaiError):
        return clean(str(error))
    return clean(f"{type(error).__name__}: {error}. This is a bug of the panel; please report it.")


def _outcome(batch: ImageBatch | None) -> str:
    pictures = 0 if batch is None else len(batch.ok)
    others = 0 if batch is None else len(batch) - pictures
    return f"{_images(pictures)} ready" + (f", {others} without a picture." if others else ".")


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"
