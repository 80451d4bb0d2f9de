"""`BatchJob`, the user's object for a batch call, and `JobList`, a table of jobs.

A `BatchJob` combines the pollers of the jobs that contain the call's requests with images that the
library already had. It can be pickled; the copy gets its pollers from the library on first use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.client import bounds
from xai_notebook.errors import JobError, JobTimeoutError, LibraryError
from xai_notebook.generation.progress import PATIENCE, LineLog, MarimoStatus, StatusReport
from xai_notebook.pictures.frames import HtmlShown, Tabular
from xai_notebook.pictures.picture import Picture, blank_card
from xai_notebook.pictures.render.job_card import (
    JobCard,
    JobCounts,
    job_bundle,
    job_sentence,
    table_html,
    table_text,
)
from xai_notebook.pictures.results import (
    VERSION,
    GeneratedImage,
    ImageBatch,
    check_version,
    pack_request,
    unpack_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.jobs.poller import JobPoller
    from xai_notebook.library.jobs import JobRecord

_TITLES: Final = {
    "new": "Submitting",
    "running": "Running",
    "done": "Done",
    "cancelled": "Cancelled",
    "expired": "Expired",
    "refused": "Refused",
    "gone": "Lost",
}
_NOT_SUBMITTED: Final = "Not submitted"
_NOT_FOUND: Final = "Not in this library"
_NO_JOBS: Final = "No jobs yet. {} submits the requests of a call as one job."
_INTERRUPTED: Final = "the wait ended; the job continues: job.wait() or its cell finds it again."
_PICKLED_FIELDS: Final = ("name", "prompt", "title", "state", "price_usd", "cost_usd", "free")
"""Fields of a card in a pickle, besides the counts and the creation date."""


class JobSlot(NamedTuple):
    """The position of an image in a call.

    Attributes:
        key: Key of the image's request in a job; "" for a blank row, which has none.
        request: The request.
        position: Position among the images of the request.
        chosen: In a comparison, the value on each axis.
        row: Label of the row of a table.
        row_key: Key of the row.
    """

    key: str
    request: ImageRequest
    position: int
    chosen: tuple[str, ...] = ()
    row: Any = None
    row_key: Any = None


@dataclass(frozen=True, slots=True)
class JobView:
    """Display options of a job, its stored images, and a callback for its end.

    Attributes:
        settings: Display options of the grid.
        stored: Images that the library already had, by key.
        free: Whether the job is free of charge.
        past: The job that made the stored images, if the call needs no new job.
        finish: Called with the images when the job has ended, for example to export them.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Picture] = field(default_factory=dict)
    free: bool = False
    past: JobRecord | None = None
    finish: Callable[[ImageBatch], None] | None = None


@dataclass(frozen=True, slots=True)
class _Pickled:
    """Content of a job's pickle, used until the pollers have been found.

    Attributes:
        names: Names of the job's parts, the newest last.
        id: Id of the job at the service.
        card: Card of the job when it was pickled.
    """

    names: tuple[str, ...]
    id: str
    card: JobCard


class BatchJob(HtmlShown):
    """A batch job: requests that were submitted together. The job outlives the kernel.

    `wait()` blocks until the job has ended and returns its images; `await job` does the same
    without blocking. Neither is required: while the kernel runs, images are fetched as they arrive.
    In a later kernel, the same cell, `xai_notebook.jobs()` or a pickle finds the job again.
    """

    def __init__(
        self,
        pollers: Sequence[JobPoller] | _Pickled,
        slots: Sequence[JobSlot] | None,
        maker: Any,
        view: JobView,
    ) -> None:
        """Created by `xai_notebook.generate(…, batch=True)` and `xai_notebook.jobs()`.

        Args:
            pollers: The parts of the job, the newest last. There are several if some requests were
                submitted earlier, and none if the library had all images. Or the content of a
                pickle.
            slots: The images in order; None: the order in which they were submitted.
            maker: The session, for methods of the images such as `edit`.
            view: Display options and stored images.
        """
        self._known = pollers if isinstance(pollers, _Pickled) else tuple(pollers)
        self._slots = slots
        self._maker = maker
        self._view = view
        self._finish = view.finish

    @property
    def pollers(self) -> tuple[JobPoller, ...]:
        """The pollers of the job's parts, the newest last.

        Raises:
            JobError: The job comes from a pickle, and the library does not contain it.
            LibraryError: The library cannot be opened.
        """
        if not isinstance(known := self._known, _Pickled):
            return known
        found = tuple(self._maker.pollers_of(known.names))
        if len(found) < len(known.names):
            raise JobError(
                f"The library in use does not contain the job {self.name} of "
                f"{known.card.counts.total:,} images. Set XAI_NOTEBOOK_HOME to the library with "
                "which it was submitted."
            )
        self._known = found
        return found

    @property
    def id(self) -> str:
        """The job's id at the service; `""` until the service has assigned one."""
        if isinstance(self._known, _Pickled):
            return self._known.id
        return (self._job.batch_id or "") if self._job else ""

    @property
    def name(self) -> str:
        """The job's unique name, which the service also uses."""
        if isinstance(self._known, _Pickled):
            return self._known.card.name
        return self._job.name if self._job else ""

    @property
    def prompt(self) -> str:
        """The first prompt of the job, as submitted."""
        if isinstance(self._known, _Pickled):
            return self._known.card.prompt
        if self._slots:
            return self._slots[0].request.prompt
        for poller in self.pollers:
            first = poller.library.jobs.first(poller.job)
            return first.request.prompt if first else ""
        return ""

    @property
    def state(self) -> str:
        """The state of the job.

        `"new"` (not completely submitted), `"running"`, `"done"`, `"cancelled"`, `"expired"`,
        `"refused"` (rejected by the service) or `"gone"` (no longer known to the service).
        """
        opened = [poller.job.state for poller in self.pollers if poller.job.open]
        if opened:
            return "new" if "new" in opened else "running"
        return self._job.state if self._job else "done"

    @property
    def done(self) -> bool:
        """Whether the job has ended, successfully or not."""
        return not any(poller.job.open for poller in self.pollers)

    @property
    def counts(self) -> JobCounts:
        """The number of images that have succeeded, failed and so on."""
        succeeded = len(self._view.stored)
        pending = failed = cancelled = 0
        for poller in self.pollers:
            tally = poller.tally
            succeeded += tally.answered
            if poller.job.open:
                pending += tally.left
            if poller.job.open or poller.job.state == "done":
                failed += tally.failed
            else:
                cancelled += tally.failed
        total = succeeded + pending + failed + cancelled
        return JobCounts(total, pending, succeeded, failed, cancelled)

    @property
    def cost_usd(self) -> float | None:
        """The reported cost of the results so far in US dollars, or None if not reported."""
        tallies = [poller.tally for poller in self.pollers]
        if not any(tally.answered > tally.unpriced or tally.cost_usd for tally in tallies):
            return None
        return sum(tally.cost_usd for tally in tallies)

    @property
    def created(self) -> datetime | None:
        """Time of submission in UTC, or None if unknown."""
        return bounds.moment_near(self._job.created) if self._job else None

    @property
    def expires(self) -> datetime | None:
        """Time in UTC after which the results can no longer be read, or None if unknown."""
        return bounds.moment(self._job.expires) if self._job else None

    @property
    def cause(self) -> str | None:
        """The reason why the job ended early or is delayed, or None."""
        for poller in reversed(self.pollers):
            if poller.failure is not None:
                return str(poller.failure)
            if cause := poller.trouble or poller.job.cause:
                return cause
        return None

    @property
    def images(self) -> ImageBatch:
        """The images so far, in order, with a card for each failed image.

        Raises:
            LibraryError: The library has lost the job.
        """
        pictures, errors = dict(self._view.stored), dict[str, str | None]()
        recorded: list[JobSlot] = []
        for poller in self.pollers:
            jobs = poller.library.jobs
            pictures |= jobs.pictures(poller.job)
            if poller.tally.failed or self._slots is None:
                for each in jobs.requests(poller.job):
                    errors[each.key] = each.error
                    recorded.append(JobSlot(each.key, each.request, each.position))
        cards = []
        for slot in recorded if self._slots is None else self._slots:
            key, request = slot.key, slot.request
            picture = pictures.get(key)
            if not key:
                picture = blank_card(request)
            if picture is None and (error := errors.get(key)) is not None:
                picture = Picture(
                    request=request, status="failed", error=error, model=request.model
                )
            if picture is not None:
                cards.append(
                    GeneratedImage(
                        picture,
                        index=slot.position,
                        chosen=slot.chosen,
                        row=slot.row,
                        key=slot.row_key,
                        maker=self._maker,
                    )
                )
        return ImageBatch(cards, summary=self._summary(), **self._view.settings)

    def _summary(self) -> str | None:
        counts = self.counts
        if counts.total == 1 and counts.succeeded:
            return None
        parts = [f"{counts.succeeded:,} of {counts.total:,} images"]
        if counts.failed:
            parts.append(f"{counts.failed:,} failed: run the cell again to submit them again")
        if counts.pending:
            parts.append(f"{counts.pending:,} pending")
        line = f"{', '.join(parts)}."
        return f"{line} {self.cause}" if self.cause else line

    @property
    def _job(self) -> JobRecord | None:
        return self.pollers[-1].job if self.pollers else self._view.past

    async def submit(self) -> None:
        """Submit new requests, then poll in the background. Await on the background loop.

        Raises:
            XaiError: The service refuses the job or cannot be reached.
        """
        for poller in self.pollers:
            if poller.job.open and not poller.polling:
                await poller.submit()
                poller.start()

    # Methods for users

    def refresh(self) -> BatchJob:
        """Update the state from the service, fetch finished images, and return the job.

        Raises:
            XaiError: The service cannot be reached, or the library cannot store the images.
        """
        self._run_all(poller.poll_once() for poller in self.pollers)
        return self

    def wait(self, timeout: float | None = None) -> ImageBatch:
        """Wait until the job has ended and return its images. An interrupt only ends the wait.

        Args:
            timeout: Maximum wait in seconds; None: no limit.

        Raises:
            JobTimeoutError: The job is still running after `timeout`.
            JobError: The job ended without any image, or its results cannot be read.
            XaiError: The service cannot be reached, or the library cannot store the images.
        """
        log, display = self._log(), frontend.follow_job(self)

        def tick() -> None:
            log.tick()
            if display is not None:
                display()

        try:
            self._maker.loop.run(self._wait_until_end(timeout), tick=tick, interrupted=_INTERRUPTED)
        finally:
            log.end()
            if display is not None:
                display.end()
        return self._conclude()

    def _log(self) -> LineLog | MarimoStatus:
        """Return the log of a wait that starts now, or its progress in marimo."""
        patience, now = frontend.configured().get("patience"), time.monotonic()
        if (marimo := frontend.marimo_notebook()) is not None:
            patience = PATIENCE if patience is None else patience
            return MarimoStatus(marimo, self._status, due=now + patience)
        return LineLog(lambda: repr(self), started=now, patience=patience)

    def _status(self) -> StatusReport:
        counts = self.counts
        finished = counts.total - counts.pending
        return StatusReport("Waiting for a job", repr(self), finished, counts.total)

    def __await__(self) -> Generator[Any, Any, ImageBatch]:
        async def wait() -> ImageBatch:
            waiting, log = self._wait_until_end(None), self._log()
            try:
                await self._maker.loop.wait(waiting, tick=log.tick, interrupted=_INTERRUPTED)
            finally:
                log.end()
            return await asyncio.to_thread(self._conclude)

        return wait().__await__()

    def finish_if_done(self) -> BatchJob:
        """Return the job; if it is done already, call `JobView.finish`, for example to export."""
        if self.done and self.counts.succeeded:
            self._conclude()
        return self

    def cancel(self) -> BatchJob:
        """Cancel pending requests, and return the job. Finished images are kept.

        Raises:
            JobError: Every part of the job also has requests of another call.
            XaiError: The service cannot be reached, or the library has lost the job.
        """
        own = [poller for poller in self.pollers if self._owns(poller)]
        if self.pollers and not own:
            raise JobError(
                f"The job {self.name} also has requests of another call. Cancel it there, or with "
                "xai.jobs()."
            )
        self._run_all(poller.cancel() for poller in own)
        return self

    def _owns(self, poller: JobPoller) -> bool:
        """Tell whether all requests of a poller's job belong to this call."""
        if self._slots is None:
            return True
        keys = {slot.key for slot in self._slots}
        return all(each.key in keys for each in poller.library.jobs.requests(poller.job))

    async def _wait_until_end(self, timeout: float | None) -> None:
        """Wait until all parts have ended."""
        from xai_notebook.generation.backends import (  # noqa: PLC0415  # loads gRPC; pickles do not
            refuse_blocked_server,
        )

        for poller in self.pollers:
            if poller.job.open:
                refuse_blocked_server(poller.job.backend, poller.job.host)
        tasks = [poller.start() for poller in self.pollers if poller.job.open]
        if not tasks:
            return
        ended, pending = await asyncio.wait(tasks, timeout=timeout)
        for task in ended:
            if not task.cancelled():  # closing the session cancels the task
                task.result()
        if pending:
            counts = self.counts
            raise JobTimeoutError(
                f"The job is not done after {timeout:g} s: {counts.succeeded:,} of "
                f"{counts.total:,} images are here. The job continues: wait again."
            )
        for poller in self.pollers:
            if poller.failure is not None:
                raise poller.failure

    def _conclude(self) -> ImageBatch:
        """Return the images of a job that has ended; call `JobView.finish` once."""
        cause = self.cause
        if cause is not None and not self.counts.succeeded and self.state != "done":
            raise JobError(cause)
        batch = self.images
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(batch)
        return batch

    def _run_all(self, coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            await asyncio.gather(*coroutines)

        self._maker.loop.run(run(), interrupted=_INTERRUPTED)

    # Pickles

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the names that identify the job, and the images that the library already had.

        `JobView.finish`, such as an export, is not pickled.
        """
        card, view, known = self.card, self._view, self._known
        values: dict[str, Any] = {
            "names": known.names
            if isinstance(known, _Pickled)
            else [poller.job.name for poller in known],
            "id": self.id,
            "card": {name: getattr(card, name) for name in _PICKLED_FIELDS}
            | {"counts": astuple(card.counts), "created": card.created.isoformat()},
            "slots": None
            if self._slots is None
            else [(slot.key, pack_request(slot.request), *slot[2:]) for slot in self._slots],
            "settings": dict(view.settings),
            "stored": {
                key: GeneratedImage(picture, maker=self._maker)
                for key, picture in view.stored.items()
            },
            "free": view.free,
        }
        return open_job, (VERSION, values, self._maker)

    def __copy__(self) -> BatchJob:
        return self  # there is only one job at the service

    def __deepcopy__(self, memo: object) -> BatchJob:
        return self

    # Display

    @property
    def _lost(self) -> JobCard | None:
        """The card of a pickled job that the library does not contain; None for other jobs."""
        known = self._known
        if isinstance(known, _Pickled):
            try:
                self.pollers  # noqa: B018  # looks the job up in the library
            except (JobError, LibraryError) as error:
                cause = str(error)
                return replace(known.card, title=_NOT_FOUND, state="gone", cause=cause, seconds=0.0)
        return None

    @property
    def card(self) -> JobCard:
        """The current card of the job."""
        if (lost := self._lost) is not None:
            return lost
        pollers = self.pollers
        job, counts, state = self._job, self.counts, self.state
        stopped = state == "new" and not any(poller.active for poller in pollers)
        prices = [
            None if poller.job.price_usd is None else poller.job.price_usd * poller.tally.total
            for poller in pollers
        ]
        return JobCard(
            name=self.name,
            prompt=self.prompt,
            title=_NOT_SUBMITTED if stopped else _TITLES[state],
            state=state,
            counts=counts,
            made=len(self._view.stored) + sum(poller.finished for poller in pollers),
            submitted=sum(poller.submitted for poller in pollers),
            replayed=len(self._view.stored) if pollers else 0,
            price_usd=None if None in prices else sum(price or 0.0 for price in prices),
            cost_usd=self.cost_usd,
            free=self._view.free or not pollers,
            # A clock that was set back must not show a negative time.
            seconds=max((job.ended or time.time()) - job.created, 0.0) if job else 0.0,
            created=self.created or datetime.now(timezone.utc),
            expires=self.expires,
            cause=self.cause,
        )

    def bundle(self, *, saved: bool = True) -> dict[str, Any]:
        """Return the display data: the card, or the grid once the job has ended with images.

        A card that is `saved` says how to see the end of the job, because nothing updates the card
        after the kernel has stopped.
        """
        card = self.card
        if saved:
            jobs = "%xai_jobs" if frontend.has_magics() else "xai_notebook.jobs()"
            card = replace(card, jobs=jobs)
        if self._lost is None and self.done and self.counts.succeeded:
            try:
                grid: dict[str, Any] = self.images._repr_mimebundle_()  # IPython's protocol
            except LibraryError as error:
                card = replace(card, cause=str(error))
            else:
                return grid
        return job_bundle(card)

    def __repr__(self) -> str:
        return job_sentence(self.card)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        return self.bundle()

    def _repr_html_(self) -> str:
        html: str = self.bundle()["text/html"]
        return html

    def _ipython_display_(self) -> None:
        """Let the extension show the job, and update its card while it runs."""
        if self._lost is not None or not frontend.show_job(self):
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_


def open_job(version: int, values: Mapping[str, Any], maker: Any) -> BatchJob:
    """Return the job of a pickle; pickles refer to this function. Nothing is opened or sent.

    Args:
        version: Version of the data.
        values: The values that `BatchJob.__reduce__` returns.
        maker: The session of this process.

    Raises:
        XaiError: A later version wrote the pickle.
    """
    check_version(version)
    fields = values["card"]
    card = JobCard(
        **{name: fields[name] for name in _PICKLED_FIELDS},
        counts=JobCounts(*fields["counts"]),
        created=datetime.fromisoformat(fields["created"]),
    )
    slots = values["slots"] and [
        JobSlot(key, unpack_request(request), *others) for key, request, *others in values["slots"]
    ]
    view = JobView(values["settings"], values["stored"], values["free"])
    pickled = _Pickled(tuple(values["names"]), values["id"], card)
    return BatchJob(pickled, slots, maker, view)


class JobList(HtmlShown, Tabular, Sequence[BatchJob]):
    """A sequence of `BatchJob`, newest first, displayed as a table."""

    _schema: ClassVar[Mapping[str, type]] = {
        "name": str, "id": str, "state": str, "created": datetime, "expires": datetime,
        "total": int, "pending": int, "succeeded": int, "failed": int, "cancelled": int,
        "price_usd": float, "cost_usd": float, "prompt": str, "cause": str,
    }  # fmt: skip

    def __init__(self, jobs: Sequence[BatchJob]) -> None:
        """Create a list of jobs."""
        self._jobs = tuple(jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: Any) -> Any:
        return self._jobs[index]

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dict per job: its name, id, state, times, counts, costs, prompt and cause."""
        records = []
        for job in self:
            card = job.card
            values = {name: getattr(card, name, None) for name in self._schema}
            records.append(values | {"id": job.id} | asdict(card.counts))
        return records

    def __repr__(self) -> str:
        return table_text([job.card for job in self]) if self._jobs else _no_jobs()

    def _repr_html_(self) -> str:
        return table_html([job.card for job in self]) if self._jobs else f"<div>{_no_jobs()}</div>"


def _no_jobs() -> str:
    return _NO_JOBS.format("--batch" if frontend.has_magics() else "generate(…, batch=True)")
