"""`BatchJob`: what users hold of a job on the service's own machines; and the list of all jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.client import bounds
from xai_notebook.errors import JobError, JobTimeoutError, LibraryError
from xai_notebook.pictures.picture import Picture
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

__all__ = ["BatchJob", "JobList", "JobSlot", "JobView"]

_TITLES: Final = {
    "new": "Handing over",
    "running": "Running",
    "done": "Done",
    "cancelled": "Cancelled",
    "expired": "Expired",
    "refused": "Refused",
    "gone": "Lost",
}
_HALF: Final = "Not handed over"
_ELSEWHERE: Final = "Not in this library"
_TOLD: Final = ("name", "prompt", "title", "state", "price_usd", "cost_usd", "free")
"""What a pickle keeps of a card, beside its numbers and its date."""
_INTERRUPTED: Final = "the wait ended; the job goes on, and job.wait() or the cell finds it again."


class JobSlot(NamedTuple):
    """Where an image of a call belongs.

    Attributes:
        key: Of its request in a job.
        request: What is asked.
        position: Of the image among those of its request.
        chosen: What tells it from the others of a comparison: its value on each axis.
    """

    key: str
    request: ImageRequest
    position: int
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobView:
    """How the images of a job are shown and finished, as its cell asked.

    Attributes:
        settings: Of the grid.
        stored: Images that the library had before, by key.
        free: It costs nothing.
        past: The job that brought them.
        finish: Called with the images when all are there, such as to export them.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Picture] = field(default_factory=dict)
    free: bool = False
    past: JobRecord | None = None
    finish: Callable[[ImageBatch], None] | None = None


@dataclass(frozen=True, slots=True)
class _Pickled:
    """What a pickle says of a job, until the library is asked for it.

    Attributes:
        names: Of all its parts, the newest last.
        id: The service's name for it.
        card: What was told about it when it was pickled.
    """

    names: tuple[str, ...]
    id: str
    card: JobCard


class BatchJob:
    """Requests that were handed over as one job. It outlives the kernel.

    `wait()` blocks until it has ended and returns its images; `await job` does the same in a cell.
    Neither is needed: while the kernel lives the images are fetched as they come, and when it does
    not, the same cell or `xai_notebook.jobs()` finds the job again, and so does a pickle of it.
    """

    def __init__(
        self,
        pollers: Sequence[JobPoller] | _Pickled,
        slots: Sequence[JobSlot] | None,
        maker: Any,
        view: JobView,
    ) -> None:
        """Use `xai_notebook.generate(…, batch=True)` or `xai_notebook.jobs()`.

        Args:
            pollers: What is known of it, the newest last. More than one where a part of its
                requests was handed over before the rest; none where the library had all of them.
                Or what a pickle says, while the library has not been asked.
            slots: Its images in their order; None: as they were handed over.
            maker: Of its images: the session that follows it.
            view: How they are shown.
        """
        self._known = pollers if isinstance(pollers, _Pickled) else tuple(pollers)
        self._slots = slots
        self._maker = maker
        self._view = view
        self._unfinished = view.finish

    @property
    def pollers(self) -> tuple[JobPoller, ...]:
        """What is known of its parts, the newest last.

        Raises:
            JobError: It comes from a pickle, and the library does not know it.
            LibraryError: The library cannot be opened.
        """
        if not isinstance(known := self._known, _Pickled):
            return known
        found = tuple(self._maker.pollers_of(known.names))
        if len(found) < len(known.names):
            raise JobError(
                f"The job {self.name} of {known.card.counts.total:,} images was handed over with "
                "another library, and this one does not know it. Set XAI_NOTEBOOK_HOME to that "
                "library."
            )
        self._known = found
        return found

    @property
    def id(self) -> str:
        """The service's name for it; `""` while it has none."""
        if isinstance(self._known, _Pickled):
            return self._known.id
        return (self._job.batch_id or "") if self._job else ""

    @property
    def name(self) -> str:
        """What it is called at the service, by us; no other job is."""
        if isinstance(self._known, _Pickled):
            return self._known.card.name
        return self._job.name if self._job else ""

    @property
    def prompt(self) -> str:
        """Its first prompt, as it was handed over."""
        if isinstance(self._known, _Pickled):
            return self._known.card.prompt
        if self._slots:
            return self._slots[0].request.prompt
        first = next((poller.first for poller in self.pollers), None)
        return first.request.prompt if first else ""

    @property
    def state(self) -> str:
        """How far it is.

        `"new"` (not wholly handed over), `"running"`, `"done"`, `"cancelled"`, `"expired"`,
        `"refused"` (by the service) or `"gone"` (no longer known to it).
        """
        opened = [poller.job.state for poller in self.pollers if poller.job.open]
        if opened:
            return "new" if "new" in opened else "running"
        return self._job.state if self._job else "done"

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return not any(poller.job.open for poller in self.pollers)

    @property
    def counts(self) -> JobCounts:
        """What has become of its images."""
        succeeded = len(self._view.stored)
        pending = failed = cancelled = 0
        for poller in self.pollers:
            tally = poller.tally
            succeeded += tally.answered
            if poller.job.open:
                pending += tally.left
                failed += tally.failed
            elif poller.job.state == "done":
                failed += tally.failed
            else:
                cancelled += tally.failed
        total = succeeded + pending + failed + cancelled
        return JobCounts(total, pending, succeeded, failed, cancelled)

    @property
    def cost_usd(self) -> float | None:
        """What its results cost so far, as reported, in US dollars; None: nothing was reported."""
        tallies = [poller.tally for poller in self.pollers]
        if not any(tally.answered > tally.unpriced or tally.cost_usd for tally in tallies):
            return None
        return sum(tally.cost_usd for tally in tallies)

    @property
    def created(self) -> datetime | None:
        """When it was handed over, in UTC."""
        return bounds.moment_near(self._job.created) if self._job else None

    @property
    def expires(self) -> datetime | None:
        """When its results can no longer be read at the service, in UTC; None: not known."""
        return bounds.moment(self._job.expires) if self._job else None

    @property
    def cause(self) -> str | None:
        """Why it ended before its time, or cannot be gone on with."""
        for poller in reversed(self.pollers):
            if poller.failure is not None:
                return str(poller.failure)
            if cause := poller.trouble or poller.job.cause:
                return cause
        return None

    @property
    def images(self) -> ImageBatch:
        """The images there are, in their order, and cards for what has failed.

        Raises:
            LibraryError: The library has lost the job.
        """
        slots = self._slots if self._slots is not None else list(self._recorded())
        found = dict(self._view.stored)
        lost: dict[str, str] = {}
        for poller in self.pollers:
            jobs = poller.library.jobs
            found |= jobs.pictures(poller.job)
            if poller.tally.failed:
                of_job = jobs.requests(poller.job)
                lost |= {one.key: one.error for one in of_job if one.error is not None}
        cards = []
        for key, request, position, chosen in slots:
            picture = found.get(key)
            if picture is None and key in lost:
                picture = Picture(
                    request=request, status="failed", error=lost[key], model=request.model
                )
            if picture is not None:
                cards.append(
                    GeneratedImage(picture, index=position, chosen=chosen, maker=self._maker)
                )
        return ImageBatch(cards, summary=self._summary(), **self._view.settings)

    # What users do

    def refresh(self) -> BatchJob:
        """Ask how far it is, fetch what is done, and return it.

        Raises:
            XaiError: The service cannot be asked, or the library cannot keep what is done.
        """

        async def look() -> None:
            await asyncio.gather(*(poller.look() for poller in self.pollers))

        self._run(look())
        return self

    def wait(self, timeout: float | None = None) -> ImageBatch:
        """Wait until it has ended and return its images. An interrupt does not cancel it.

        Args:
            timeout: Seconds at most; None: as long as it takes.

        Raises:
            JobTimeoutError: It is still running.
            JobError: It ended without a single image, or its results cannot be read.
            XaiError: The service cannot be asked, or the library cannot keep what is done.
        """
        tick = frontend.follow(self)
        try:
            self._run(self._over(timeout), tick=tick)
        finally:
            if tick is not None:
                tick.end()
        return self._conclude()

    def concluded(self) -> BatchJob:
        """Return it; if all its images are there already, they are finished, such as exported."""
        if self.done and self.counts.succeeded:
            self._conclude()
        return self

    def cancel(self) -> BatchJob:
        """Have the service drop what is pending, and return the job. What is done is kept.

        Raises:
            JobError: All of it was ordered by another call, together with more.
            XaiError: The service cannot be asked, or the library has lost the job.
        """
        own = [poller for poller in self.pollers if self._has_all_of(poller)]
        if self.pollers and not own:
            raise JobError(
                f"The job {self.name} holds requests of another call as well. Cancel it there, or "
                "with xai.jobs()."
            )

        async def cancel() -> None:
            await asyncio.gather(*(poller.cancel() for poller in own))

        self._run(cancel())
        return self

    def _has_all_of(self, poller: JobPoller) -> bool:
        """Tell whether everything that was handed over together belongs to this call."""
        if self._slots is None:
            return True
        keys = {slot.key for slot in self._slots}
        return all(one.key in keys for one in poller.library.jobs.requests(poller.job))

    def __await__(self) -> Generator[Any, Any, ImageBatch]:
        return self._awaited().__await__()

    async def _awaited(self) -> ImageBatch:
        await self._maker.loop.wait(self._over(None), interrupted=_INTERRUPTED)
        return await asyncio.to_thread(self._conclude)

    # How it goes on

    async def hand_over(self) -> None:
        """Give what is new to the service, then follow it. On the background loop.

        Raises:
            XaiError: The service does not take it, or cannot be asked.
        """
        for poller in self.pollers:
            if poller.job.open and not poller.under_way:
                await poller.submit()
                poller.start()

    async def _over(self, timeout: float | None) -> None:
        tasks = [poller.start() for poller in self.pollers if poller.job.open]
        if not tasks:
            return
        ended, pending = await asyncio.wait(tasks, timeout=timeout)
        for task in ended:
            if not task.cancelled():  # by the end of the session
                task.result()
        if pending:
            counts = self.counts
            raise JobTimeoutError(
                f"The job is not done after {timeout:g} s: {counts.succeeded:,} of "
                f"{counts.total:,} images are here. It goes on; wait again."
            )
        for poller in self.pollers:
            if poller.failure is not None:
                raise poller.failure

    def _conclude(self) -> ImageBatch:
        """Return the images of a job that has ended."""
        cause = self.cause
        if cause is not None and not self.counts.succeeded and self.state != "done":
            raise JobError(cause)
        batch = self.images
        finish, self._unfinished = self._unfinished, None
        if finish is not None:
            finish(batch)
        return batch

    def _run(self, coroutine: Coroutine[Any, Any, None], **options: Any) -> None:
        self._maker.loop.run(coroutine, interrupted=_INTERRUPTED, **options)

    @property
    def _job(self) -> JobRecord | None:
        return self.pollers[-1].job if self.pollers else self._view.past

    def _recorded(self) -> Iterable[JobSlot]:
        for poller in self.pollers:
            for one in poller.library.jobs.requests(poller.job):
                yield JobSlot(one.key, one.request, one.position)

    def _summary(self) -> str | None:
        counts = self.counts
        if counts.total == 1 and counts.succeeded:
            return None
        parts = [f"{counts.succeeded:,} of {counts.total:,} images"]
        if counts.failed:
            parts.append(f"{counts.failed:,} failed: run the cell again to hand them over anew")
        if counts.pending:
            parts.append(f"{counts.pending:,} to come")
        line = f"{', '.join(parts)}."
        return f"{line} {self.cause}" if self.cause else line

    # How it travels

    def __reduce__(self) -> tuple[Any, ...]:
        return open_job, (VERSION, self._packed(), self._maker)

    def __copy__(self) -> BatchJob:
        return self  # there is one of it, at the service

    def __deepcopy__(self, memo: object) -> BatchJob:
        return self

    def _packed(self) -> dict[str, Any]:
        """Return what finds it again, as plain data; and the images that the library had before.

        Their export, once all are there, is left to the cell.
        """
        card, view, known = self.card, self._view, self._known
        return {
            "names": known.names
            if isinstance(known, _Pickled)
            else [one.job.name for one in known],
            "id": self.id,
            "card": {name: getattr(card, name) for name in _TOLD}
            | {"counts": astuple(card.counts), "created": card.created.isoformat()},
            "slots": self._slots
            and [
                (slot.key, pack_request(slot.request), slot.position, slot.chosen)
                for slot in self._slots
            ],
            "settings": dict(view.settings),
            "stored": {
                key: GeneratedImage(picture, maker=self._maker)
                for key, picture in view.stored.items()
            },
            "free": view.free,
        }

    @property
    def _unknown(self) -> JobError | LibraryError | None:
        """Why nothing is known of a job that comes from a pickle."""
        try:
            self.pollers  # noqa: B018  # they are looked for
        except (JobError, LibraryError) as error:
            return error
        return None

    # How it looks

    @property
    def card(self) -> JobCard:
        """What is told about it."""
        if (unknown := self._unknown) is not None and isinstance(self._known, _Pickled):
            return replace(
                self._known.card, title=_ELSEWHERE, state="gone", cause=str(unknown), seconds=0.0
            )
        job, counts, state = self._job, self.counts, self.state
        stopped = state == "new" and not any(one.handing for one in self.pollers)
        prices = [_price(poller) for poller in self.pollers]
        return JobCard(
            name=self.name,
            prompt=self.prompt,
            title=_HALF if stopped else _TITLES[state],
            state=state,
            counts=counts,
            made=len(self._view.stored) + sum(one.finished for one in self.pollers),
            handed=sum(one.handed for one in self.pollers),
            replayed=len(self._view.stored) if self.pollers else 0,
            price_usd=None if None in prices else sum(price or 0.0 for price in prices),
            cost_usd=self.cost_usd,
            free=self._view.free or not self.pollers,
            # A clock that was set back must not show a negative time.
            seconds=max((job.ended or time.time()) - job.created, 0.0) if job else 0.0,
            created=self.created or datetime.now(timezone.utc),
            expires=self.expires,
            cause=self.cause,
        )

    def bundle(self) -> dict[str, Any]:
        """Return it as it is shown now: its card, or the grid when it has ended with images."""
        card = self.card
        if self._unknown is None and self.done and self.counts.succeeded:
            try:
                found: dict[str, Any] = self.images._repr_mimebundle_()  # IPython's protocol
            except LibraryError as error:
                card = replace(card, cause=str(error))
            else:
                return found
        return job_bundle(card)

    def __repr__(self) -> str:
        return job_sentence(self.card)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        return self.bundle()

    def _ipython_display_(self) -> None:
        """Be shown by the extension, which updates the card while the job goes on."""
        if self._unknown is not None or not frontend.show(self):
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_


def _price(poller: JobPoller) -> float | None:
    price = poller.job.price_usd
    return None if price is None else price * poller.tally.total


def open_job(version: int, values: Mapping[str, Any], maker: Any) -> BatchJob:
    """Return the job of a pickle, which names this function. Nothing is opened or asked yet.

    Args:
        version: Of the data.
        values: As `BatchJob` packs them.
        maker: The session of this process.

    Raises:
        XaiError: The pickle is a later version's.
    """
    check_version(version)
    told = values["card"]
    card = JobCard(
        **{name: told[name] for name in _TOLD},
        counts=JobCounts(*told["counts"]),
        created=datetime.fromisoformat(told["created"]),
    )
    slots = values["slots"] and [
        JobSlot(key, unpack_request(request), position, chosen)
        for key, request, position, chosen in values["slots"]
    ]
    view = JobView(values["settings"], values["stored"], values["free"])
    pickled = _Pickled(tuple(values["names"]), values["id"], card)
    return BatchJob(pickled, slots, maker, view)


_NONE: Final = "No jobs yet. --batch hands the requests of a cell over as one."


class JobList(Sequence[BatchJob]):
    """Jobs, the newest first. A sequence of `BatchJob`, shown as a table."""

    def __init__(self, jobs: Sequence[BatchJob]) -> None:
        """Hold them."""
        self._jobs = tuple(jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: Any) -> Any:
        return self._jobs[index]

    def __repr__(self) -> str:
        return table_text([job.card for job in self]) if self._jobs else _NONE

    def _repr_html_(self) -> str:
        return table_html([job.card for job in self]) if self._jobs else f"<div>{_NONE}</div>"
