"""`BatchJob`: what users hold of a job on the service's own machines; and the list of all jobs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.client import bounds
from xai_notebook.errors import JobError, JobTimeoutError, LibraryError
from xai_notebook.pictures.jobs import JobCard, JobCounts, job_bundle, job_sentence
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.following import Follower
    from xai_notebook.generation.loop import BackgroundLoop
    from xai_notebook.library.jobs import Job

__all__ = ["BatchJob", "Slot", "View"]

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
_INTERRUPTED: Final = "the wait ended; the job goes on, and job.wait() or the cell finds it again."


class Slot(NamedTuple):
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
class View:
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
    past: Job | None = None
    finish: Callable[[ImageBatch], None] | None = None


class BatchJob:
    """Requests that were handed over as one job. It outlives the kernel.

    `wait()` blocks until it has ended and returns its images; `await job` does the same in a cell.
    Neither is needed: while the kernel lives the images are fetched as they come, and when it does
    not, the same cell or `xai_notebook.jobs()` finds the job again.
    """

    def __init__(
        self,
        followers: Sequence[Follower],
        slots: Sequence[Slot] | None,
        loop: BackgroundLoop,
        maker: Any,
        view: View,
    ) -> None:
        """Use `xai_notebook.generate(…, batch=True)` or `xai_notebook.jobs()`.

        Args:
            followers: What is known of it, the newest last. More than one where a part of its
                requests was handed over before the rest; none where the library had all of them.
            slots: Its images in their order; None: as they were handed over.
            loop: On which it is followed.
            maker: Of its images.
            view: How they are shown.
        """
        self.followers = tuple(followers)
        self._slots = slots
        self._loop = loop
        self._maker = maker
        self._view = view
        self._unfinished = view.finish

    @property
    def id(self) -> str:
        """The service's name for it; `""` while it has none."""
        return (self._job.batch_id or "") if self._job else ""

    @property
    def name(self) -> str:
        """What it is called at the service, by us; no other job is."""
        return self._job.name if self._job else ""

    @property
    def prompt(self) -> str:
        """Its first prompt, as it was handed over."""
        if self._slots:
            return self._slots[0].request.prompt
        first = next((follower.first for follower in self.followers), None)
        return first.request.prompt if first else ""

    @property
    def state(self) -> str:
        """How far it is.

        `"new"` (not wholly handed over), `"running"`, `"done"`, `"cancelled"`, `"expired"`,
        `"refused"` (by the service) or `"gone"` (no longer known to it).
        """
        opened = [follower.job.state for follower in self.followers if follower.job.open]
        if opened:
            return "new" if "new" in opened else "running"
        return self._job.state if self._job else "done"

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return not any(follower.job.open for follower in self.followers)

    @property
    def counts(self) -> JobCounts:
        """What has become of its images."""
        succeeded = len(self._view.stored)
        pending = failed = cancelled = 0
        for follower in self.followers:
            tally = follower.tally
            succeeded += tally.answered
            if follower.job.open:
                pending += tally.left
                failed += tally.failed
            elif follower.job.state == "done":
                failed += tally.failed
            else:
                cancelled += tally.failed
        total = succeeded + pending + failed + cancelled
        return JobCounts(total, pending, succeeded, failed, cancelled)

    @property
    def cost_usd(self) -> float | None:
        """What its results cost so far, as reported, in US dollars; None: nothing was reported."""
        tallies = [follower.tally for follower in self.followers]
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
        for follower in reversed(self.followers):
            if follower.failure is not None:
                return str(follower.failure)
            if cause := follower.trouble or follower.job.cause:
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
        for follower in self.followers:
            jobs = follower.library.jobs
            found |= jobs.pictures(follower.job)
            if follower.tally.failed:
                of_job = jobs.requests(follower.job)
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
                    GeneratedImage.of(picture, index=position, chosen=chosen, maker=self._maker)
                )
        return ImageBatch(cards, summary=self._summary(), **self._view.settings)

    # What users do

    def refresh(self) -> BatchJob:
        """Ask how far it is, fetch what is done, and return it.

        Raises:
            XaiError: The service cannot be asked, or the library cannot keep what is done.
        """

        async def look() -> None:
            await asyncio.gather(*(follower.look() for follower in self.followers))

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
        own = [follower for follower in self.followers if self._has_all_of(follower)]
        if self.followers and not own:
            raise JobError(
                f"The job {self.name} holds requests of another call as well. Cancel it there, or "
                "with xai.jobs()."
            )

        async def cancel() -> None:
            await asyncio.gather(*(follower.cancel() for follower in own))

        self._run(cancel())
        return self

    def _has_all_of(self, follower: Follower) -> bool:
        """Tell whether everything that was handed over together belongs to this call."""
        if self._slots is None:
            return True
        keys = {slot.key for slot in self._slots}
        return all(one.key in keys for one in follower.library.jobs.requests(follower.job))

    def __await__(self) -> Generator[Any, Any, ImageBatch]:
        return self._awaited().__await__()

    async def _awaited(self) -> ImageBatch:
        await self._loop.wait(self._over(None), interrupted=_INTERRUPTED)
        return await asyncio.to_thread(self._conclude)

    # How it goes on

    async def hand_over(self) -> None:
        """Give what is new to the service, then follow it. On the background loop.

        Raises:
            XaiError: The service does not take it, or cannot be asked.
        """
        for follower in self.followers:
            if follower.job.open and not follower.under_way:
                await follower.submit()
                follower.start()

    async def _over(self, timeout: float | None) -> None:
        tasks = [follower.start() for follower in self.followers if follower.job.open]
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
        for follower in self.followers:
            if follower.failure is not None:
                raise follower.failure

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
        self._loop.run(coroutine, interrupted=_INTERRUPTED, **options)

    @property
    def _job(self) -> Job | None:
        return self.followers[-1].job if self.followers else self._view.past

    def _recorded(self) -> Iterable[Slot]:
        for follower in self.followers:
            for one in follower.library.jobs.requests(follower.job):
                yield Slot(one.key, one.request, one.position)

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

    # How it looks

    @property
    def card(self) -> JobCard:
        """What is told about it."""
        job, counts, state = self._job, self.counts, self.state
        stopped = state == "new" and not any(one.handing for one in self.followers)
        prices = [_price(follower) for follower in self.followers]
        return JobCard(
            name=self.name,
            prompt=self.prompt,
            title=_HALF if stopped else _TITLES[state],
            state=state,
            counts=counts,
            made=len(self._view.stored) + sum(one.finished for one in self.followers),
            handed=sum(one.handed for one in self.followers),
            replayed=len(self._view.stored) if self.followers else 0,
            price_usd=None if None in prices else sum(price or 0.0 for price in prices),
            cost_usd=self.cost_usd,
            free=self._view.free or not self.followers,
            # A clock that was set back must not show a negative time.
            seconds=max((job.ended or time.time()) - job.created, 0.0) if job else 0.0,
            created=self.created or datetime.now(timezone.utc),
            expires=self.expires,
            cause=self.cause,
        )

    def bundle(self) -> dict[str, Any]:
        """Return it as it is shown now: its card, or the grid when it has ended with images."""
        card = self.card
        if self.done and self.counts.succeeded:
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
        if not frontend.show(self):
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_


def _price(follower: Follower) -> float | None:
    price = follower.job.price_usd
    return None if price is None else price * follower.tally.total
