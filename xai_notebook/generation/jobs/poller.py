"""Poll a job until the service says that it has ended, and keep its images as they come.

Images are in the library before anything else happens to them; what is lost on the way there, by a
kill or a full disk, is still at the service and comes the next time. However many kernels poll the
same job, each image is kept once. The clock of this computer ends no job: it may be wrong, and what
a job that ended too early still gets would be ordered again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import (
    AuthenticationError,
    BudgetError,
    ConfigurationError,
    InvalidRequestError,
    JobError,
    LibraryError,
    MissingImageError,
    NotFoundError,
    PermissionDeniedError,
    XaiError,
)
from xai_notebook.generation.budget import Counter, to_ticks
from xai_notebook.generation.ingest import Ingest
from xai_notebook.generation.jobs.submitter import ANSWER_SECONDS, JobSubmitter, unknown
from xai_notebook.generation.progress import Progress
from xai_notebook.library import Reply, SlotQuery
from xai_notebook.library.jobs import RequestCounts
from xai_notebook.library.replies import moment, reply_of
from xai_notebook.settings import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.client import wire
    from xai_notebook.client.batch import BatchResult, BatchResults
    from xai_notebook.client.request import InputImage
    from xai_notebook.generation.backends import Backend
    from xai_notebook.library import Library
    from xai_notebook.library.jobs import JobRecord, JobRequest, JobState

__all__ = ["JobPoller"]

_PAGE: Final = 10
"""Results of one call: ten 2k images in base64 may be 90 MB."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 20.0
_PATIENCE: Final = 600.0
"""Seconds for which a service that cannot be asked is asked again."""
_PAGE_SECONDS: Final = 600.0
"""What a page of results may take."""
_LOOKS: Final = 4
"""How often results are looked for that are done and not in the list."""
_HOPELESS: Final = (
    AuthenticationError, PermissionDeniedError, InvalidRequestError, NotFoundError, JobError,
    LibraryError, BudgetError, ConfigurationError,
)  # fmt: skip
"""What asking again will not change."""
_AGAIN: Final = "Run the cell again to hand over what is missing."
_EXPIRED: Final = f"It has expired: its results cannot be read any more. {_AGAIN}"


@dataclass(eq=False)
class JobPoller:
    """What one kernel knows of a job, and how it gets to know more. Lives on the background loop.

    Attributes:
        library: Where the job stands.
        job: As the library knows it.
        connect: Returns the server that has it.
        allow: Returns what its images count against, before it is handed over; raises
            `BudgetError` where a limit does not allow it.
        tally: What has come of its requests.
        finished: Requests that the service is done with, kept or not.
        handed: Requests that the service has, while it is being handed over.
        trouble: Why the last look failed, or what is waited for; it is tried again.
        failure: Why it is not looked at any more, though it has not ended.
        inputs: Input images of its requests, where its cell is at hand.
        budget: What its images count against, where this kernel handed it over.
        resumed: It was found in the library, and not recorded by this kernel a moment ago.
        keys: Of its requests, as far as cells of this kernel asked for them.
        listeners: Called on the loop after each change.
    """

    library: Library
    job: JobRecord
    connect: Callable[[JobRecord], Awaitable[Backend]]
    allow: Callable[[JobPoller, Backend], Awaitable[Counter]]
    tally: RequestCounts = field(default_factory=RequestCounts)
    finished: int = 0
    handed: int = 0
    trouble: str | None = None
    failure: XaiError | None = None
    inputs: Sequence[InputImage] = ()
    budget: Counter | None = None
    resumed: bool = True
    keys: set[str] = field(default_factory=set)
    listeners: list[Callable[[], None]] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _task: asyncio.Task[None] | None = None
    _token: str | None = None
    _repeated: bool = False
    _short: int = 0

    @property
    def under_way(self) -> bool:
        """Whether more will be known by and by, without anybody's help."""
        return self._task is not None and not self._task.done()

    def start(self) -> asyncio.Task[None]:
        """Go on until the job has ended, or nothing more can be known; once, whoever asks."""
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.ensure_future(self._follow())
        return task

    async def stop(self) -> None:
        """Do not go on; the job does."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def submit(self) -> None:
        """Hand the job over, unless the service has all of it.

        Raises:
            XaiError: It does not take it, or cannot be asked. The library knows how far it came.
        """
        async with self._lock:
            await self._submit(await self.connect(self.job))

    async def look(self) -> None:
        """Ask how far the service is and keep what is done.

        Raises:
            XaiError: It cannot be asked, or the library cannot keep it.
        """
        async with self._lock:
            await self._reload()
            self.failure = self.trouble = None
            if self.job.state == "running":
                await self._look(await self.connect(self.job))
        self.changed()

    async def cancel(self) -> None:
        """Have the service drop what is pending; what is done is kept.

        Raises:
            XaiError: It cannot be asked.
        """
        async with self._lock:
            await self._reload()
            if not self.job.open:
                return
            backend = await self.connect(self.job)
            submission = self._submission(backend)
            try:
                await submission.cancel()
            finally:
                await self._submitted(submission)
            if self.job.open:
                await self._look(backend)
        self.changed()

    async def give_up(self) -> None:
        """Leave a job alone for good that the service does not know."""
        await self._close("gone", "The service did not know it any more.")

    @property
    def first(self) -> JobRequest | None:
        """Its first request."""
        return self.library.jobs.first(self.job)

    @property
    def handing(self) -> bool:
        """Whether it is being handed over, or is about to be."""
        return self.under_way or self._lock.locked() or not self.resumed

    def changed(self) -> None:
        """Tell whoever listens."""
        for listener in list(self.listeners):
            listener()

    # Until it ends

    async def _follow(self) -> None:
        self.failure, self._short = None, 0
        pause, silent = _FIRST_PAUSE, time.monotonic()
        while True:
            before = (self.tally, self.finished)
            try:
                await self.submit()
                await self.look()
            except XaiError as error:
                self.trouble = str(error)
                if isinstance(error, _HOPELESS) or time.monotonic() - silent > _PATIENCE:
                    self.failure = error
                    break
            else:
                self.trouble, silent = None, time.monotonic()
            if not self.job.open or self.failure is not None:
                break
            self.changed()
            moved = before != (self.tally, self.finished)
            pause = _FIRST_PAUSE if moved else min(pause * 1.3, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
        self.changed()

    async def _reload(self) -> None:
        """Know what other kernels did.

        Raises:
            LibraryError: The library has lost the job, or may be somebody else's.
        """
        self.job = await asyncio.to_thread(self.library.jobs.get, self.job)
        self.library.check_own()

    async def _submit(self, backend: Backend) -> None:
        await self._reload()
        await self._count()
        if self.job.state != "new":
            return
        if self.budget is None:
            self.budget = await self.allow(self, backend)
        submission = self._submission(backend)
        try:
            await submission.run()
        finally:
            await self._submitted(submission)

    async def _submitted(self, submission: JobSubmitter) -> None:
        """Know how far it came."""
        self.job, self.resumed, self.trouble = submission.job, True, None
        await self._count()
        if not self.job.open:
            self._settle([None] * self.tally.failed, lost=True)
        self.changed()

    def _submission(self, backend: Backend) -> JobSubmitter:
        def note(handed: int, waits_for: str | None) -> None:
            self.handed, self.trouble = handed, waits_for
            self.changed()

        return JobSubmitter(self.library, backend, self.job, self.inputs, on_progress=note)

    async def _look(self, backend: Backend) -> None:
        batch = await self._get(backend)
        if batch is None:
            return
        state = batch.state
        done = state.num_success + state.num_error if batch.HasField("state") else 0
        self.finished = max(done, self.finished)
        end = _end_of(batch)
        complete = batch.HasField("state") and not state.num_pending and state.num_requests > 0
        known = self.tally.answered + self.tally.failed
        # Past its expiry by our clock, only the service can tell whether results can still be read.
        if not batch.HasField("state") or done > known or end is not None or self._seems_expired:
            await self._collect(backend, complete=complete or end is not None)
        if self.job.open and self.tally.left and (end is not None or complete):
            self._token = None  # results may have come in any order: once more from the start
            await self._collect(backend, complete=True)
        if not self.job.open:
            return
        unread = done - self.tally.answered - self.tally.failed
        if not self.tally.left:
            await self._close("done")
        elif end is not None and unread <= 0:
            await self._close(*end)
        elif end is not None or complete:
            self._short += 1
            if self._repeated or self._short == _LOOKS:
                self.failure = JobError(
                    f"The service is done, and {self.tally.left:,} of {self.tally.total:,} results"
                    " cannot be read: its list ends before them. Wait for the job again later;"
                    " nothing is handed over twice."
                )

    @property
    def _seems_expired(self) -> bool:
        """Whether results can no longer be read, if the clock of this computer is right."""
        return self.job.expires is not None and self.job.expires <= time.time()

    async def _get(self, backend: Backend) -> wire.Batch | None:
        """Return the batch as it stands; None: the service no longer knows it, and it is over."""
        try:
            batch = await backend.client.batch.get(self.job.batch_id or "", timeout=ANSWER_SECONDS)
        except NotFoundError as error:
            # With another key a service says the same: the clock has to agree.
            if self._seems_expired:
                await self._close("expired", _EXPIRED)
            elif self.job.backend == "local":
                await self._close("gone", "The embedded server that had it has been stopped.")
            else:
                raise unknown(self.job) from error
            return None
        expires = moment(batch, "expire_time")
        if expires is not None and expires.timestamp() != self.job.expires:
            jobs, values = self.library.jobs, {"expires": expires.timestamp()}
            self.job = await asyncio.to_thread(jobs.change, self.job, **values)
        return batch

    async def _close(self, state: JobState, cause: str | None = None) -> None:
        """Note the end of the job, and of its requests without an answer."""
        self._settle([None] * self.tally.left, lost=True)
        self.job = await asyncio.to_thread(self.library.jobs.close, self.job, state, cause)
        await self._count()

    async def _count(self) -> None:
        self.tally = await asyncio.to_thread(self.library.jobs.tally, self.job)

    def _settle(self, costs: Sequence[float | None], *, lost: bool = False) -> None:
        """Count what requests cost in place of what they were expected to cost."""
        if self.budget is None or self.job.price_usd is None:
            return
        for cost in costs:
            if lost or cost is not None:
                self.budget.spent += to_ticks(cost or 0.0) - to_ticks(self.job.price_usd)

    # Its images

    async def _collect(self, backend: Backend, *, complete: bool) -> None:
        """Keep all results there are, or note that they can no longer be read.

        Args:
            backend: The service.
            complete: By its own word it makes no more of them.
        """
        try:
            await self._keep_pages(backend)
        except NotFoundError:
            # It has just shown the batch, so that the key is the right one. Some services may say
            # this of a batch without results as well.
            if self.job.expires is None or not (complete or self._seems_expired):
                raise
            await self._close("expired", _EXPIRED)

    async def _keep_pages(self, backend: Backend) -> None:
        """Keep the results from the page on that was not full the last time."""
        seen = {self._token, None}
        saving: asyncio.Task[None] | None = None
        try:
            while True:
                page = await backend.client.batch.list_batch_results(
                    self.job.batch_id or "", _PAGE, self._token, timeout=_PAGE_SECONDS
                )
                if saving is not None:
                    await saving
                saving = asyncio.ensure_future(self._keep(page, backend))
                token = page.pagination_token
                if token in seen:
                    self._repeated = token is not None
                    break
                seen.add(token)
                self._token = token
        finally:
            if saving is not None:
                await asyncio.wait({saving})
        await saving
        await self._count()

    async def _keep(self, page: BatchResults, backend: Backend) -> None:
        """Put the results of a page into the library that are not there yet."""
        results = {result.batch_request_id: result for result in page.results}
        jobs = self.library.jobs
        found = await asyncio.to_thread(jobs.find, self.job, list(results))
        replies: list[Reply] = []
        lost: dict[str, list[str]] = {}
        for key, asked in found.items():
            if asked.settled:
                continue
            try:
                replies.append(await self._reply(asked, results[key]))
            except MissingImageError:
                why = one_line(results[key].error_message or "The answer holds no image.")
                if results[key].cost_usd is None:
                    lost.setdefault(why, []).append(key)
                else:
                    replies.append(self._reply_without_image(asked, results[key], why))
        if replies:
            for saved in await asyncio.to_thread(self.library.add_replies, replies):
                if isinstance(saved, LibraryError):
                    raise saved
            pending = (one for one in replies if any(p.status == "pending" for p in one.pictures))
            await self._fetch([*pending], backend)
        for why, keys in lost.items():
            await asyncio.to_thread(jobs.fail, self.job, why, keys)
        self._settle([reply.cost_usd for reply in replies])
        self._settle([None] * sum(map(len, lost.values())), lost=True)
        self.tally = _grown(self.tally, replies, sum(map(len, lost.values())))
        self.changed()

    async def _fetch(self, replies: Sequence[Reply], backend: Backend) -> None:
        """Download what came as a URL, though base64 was asked for: it is gone in an hour."""
        ingest = Ingest(self.library, backend, Progress(), DEFAULT_TIMEOUT, self.job.notebook)
        wanted = [(SlotQuery(one.fingerprint, one.place), one.request) for one in replies]
        await asyncio.gather(*(ingest.find(*each) for each in wanted))

    async def _reply(self, asked: JobRequest, result: BatchResult) -> Reply:
        responses, positions = [result.image_response], [asked.position]
        reply = await reply_of(asked.request, responses, positions, **self._answer(asked))
        return replace(reply, item=asked.id)

    def _reply_without_image(self, asked: JobRequest, result: BatchResult, why: str) -> Reply:
        """Return a result that cost something and holds no image, for the ledger."""
        return Reply(
            asked.request,
            [],
            [],
            **self._answer(asked),
            cost_usd=result.cost_usd,
            model=result.model or asked.request.model,
            item=asked.id,
            error=why,
        )

    def _answer(self, asked: JobRequest) -> dict[str, Any]:
        """Return the fields of `Reply` that say where an answer belongs."""
        return {
            "fingerprint": asked.fingerprint,
            "backend": self.job.backend,
            "host": self.job.host,
            "notebook": self.job.notebook,
            "place": asked.place,
        }


def _grown(tally: RequestCounts, replies: Sequence[Reply], failed: int) -> RequestCounts:
    costs = [reply.cost_usd for reply in replies]
    answered = sum(reply.error is None for reply in replies)
    return replace(
        tally,
        answered=tally.answered + answered,
        failed=tally.failed + failed + len(replies) - answered,
        cost_usd=tally.cost_usd + sum(cost for cost in costs if cost is not None),
        unpriced=tally.unpriced + costs.count(None),
    )


def _end_of(batch: wire.Batch) -> tuple[JobState, str] | None:
    """Return how the service ended a batch before its time, and why; None: it did not."""
    if batch.cancel_by_xai_message:
        return "cancelled", f"xAI cancelled it: {one_line(batch.cancel_by_xai_message)} {_AGAIN}"
    if batch.HasField("cancel_time"):
        return "cancelled", f"It was cancelled. {_AGAIN}"
    if batch.state.num_cancelled and not batch.state.num_pending:
        return "cancelled", f"The service dropped the rest of it. {_AGAIN}"
    return None
