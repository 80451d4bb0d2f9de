"""Poll a job until the service reports that it has ended, and store its images as they arrive.

Images are stored in the library before anything else happens to them. If the kernel is killed or
the disk is full, the images are still at the service and are fetched the next time. Several kernels
may poll the same job; each image is stored once. A job is never ended because of this computer's
clock alone: if the clock is wrong, requests would be submitted and paid for again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.transport.retry import Backoff
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
from xai_notebook.generation.budget import to_ticks
from xai_notebook.generation.ingest import Ingest
from xai_notebook.generation.jobs.submitter import ANSWER_SECONDS, JobSubmitter, pages, unknown_job
from xai_notebook.generation.progress import Progress
from xai_notebook.library import Reply, SlotQuery
from xai_notebook.library.jobs import RequestCounts
from xai_notebook.library.replies import build_reply, read_time
from xai_notebook.library.spending import TICKS, Amount
from xai_notebook.settings import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.client import wire
    from xai_notebook.client.batch import BatchResult, BatchResults
    from xai_notebook.client.request import InputImage
    from xai_notebook.generation.backends import Backend
    from xai_notebook.generation.budget import Counter, Limits
    from xai_notebook.library import Library
    from xai_notebook.library.jobs import JobRecord, JobRequest, JobState

_PAGE: Final = 10
"""Results per call; ten 2k images in base64 can be 90 MB."""
_PAGE_SECONDS: Final = 600.0
"""Deadline in seconds of a call for results."""
_BACKOFF: Final = Backoff(first=0.5, most=20.0, factor=1.3)
"""Pauses between polls; they grow while nothing changes."""
_PATIENCE: Final = 600.0
"""Seconds for which polling continues while the service cannot be reached."""
_MAX_INCOMPLETE: Final = 4
"""Polls after which polling stops, if the service counts more results than it lists."""
_PERMANENT: Final = (
    AuthenticationError, PermissionDeniedError, InvalidRequestError, NotFoundError, JobError,
    LibraryError, BudgetError, ConfigurationError,
)  # fmt: skip
"""Errors that stop polling, because another poll would fail too."""
_AGAIN: Final = "Run the cell again to submit what is missing."
_EXPIRED: Final = f"The job has expired: its results can no longer be read. {_AGAIN}"


@dataclass(eq=False)
class JobPoller:
    """The state of one job in this kernel, and the task that keeps it up to date.

    Use on the background loop only.

    Attributes:
        library: Where the job is recorded.
        job: The job's record in the library.
        connect: Returns the server of a job.
        limits: Returns the limits, counted in this library, for a job resumed outside of a call.
        tally: Counts of the job's requests.
        finished: Number of requests that the service has finished, stored or not.
        submitted: Number of requests that the service has, while the job is being submitted.
        trouble: Why the last poll failed, or the reason for a delay. Polling continues.
        failure: Error that stopped polling before the job ended.
        inputs: Input images of the requests, if the cell ran in this kernel.
        budget: Counter for the cost of the images, if this kernel submitted the job.
        resumed: Whether the job was found in the library or has been submitted already. False for
            a job that this kernel has just recorded.
        keys: Keys of those of the job's requests that calls in this kernel asked for.
        listeners: Functions called on the loop after each change.
    """

    library: Library
    job: JobRecord
    connect: Callable[[JobRecord], Awaitable[Backend]]
    limits: Callable[[Library], Limits]
    tally: RequestCounts = field(default_factory=RequestCounts)
    finished: int = 0
    submitted: int = 0
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
    """Token of the last page of results that has been read."""
    _repeated: bool = False
    """Whether a page of results pointed to a page that was already read."""
    _incomplete: int = 0
    """Number of polls after the end that found fewer results than the service counts."""

    @property
    def polling(self) -> bool:
        """Whether the job is being polled."""
        return self._task is not None and not self._task.done()

    @property
    def active(self) -> bool:
        """Whether this kernel submits or polls the job, or is about to."""
        return self.polling or self._lock.locked() or not self.resumed

    def start(self) -> asyncio.Task[None]:
        """Return the task that polls until the job has ended or a failure is permanent."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._poll_until_end())
        return self._task

    async def stop(self) -> None:
        """Stop polling; the job continues at the service."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _poll_until_end(self) -> None:
        self.failure, self._incomplete = None, 0
        unchanged, last_success = 0, time.monotonic()
        while True:
            before = (self.tally, self.finished)
            try:
                await self.submit()
                await self.poll_once()
            except XaiError as error:
                self.trouble = str(error)
                if isinstance(error, _PERMANENT) or time.monotonic() - last_success > _PATIENCE:
                    self.failure = error
            else:
                self.trouble, last_success = None, time.monotonic()
            self.notify()
            if not self.job.open or self.failure is not None:
                return
            unchanged = unchanged + 1 if before == (self.tally, self.finished) else 1
            await asyncio.sleep(_BACKOFF.wait(unchanged))

    def notify(self) -> None:
        """Call the listeners."""
        for listener in list(self.listeners):
            listener()

    # Submit

    async def submit(self) -> None:
        """Submit the job, unless the service already has all requests.

        Raises:
            XaiError: The service refuses the job or cannot be reached. The library records which
                requests were submitted.
        """
        async with self._lock:
            backend = await self.connect(self.job)
            await self._reload()
            await self._count()
            if self.job.state != "new":
                return
            if self.budget is None:
                await self.check_limits(backend, self.limits(self.library))
            await self._run_submitter(backend, JobSubmitter.run)

    async def check_limits(self, backend: Backend, limits: Limits) -> None:
        """Check that a job which was recorded earlier, but not submitted, is within the limits.

        The cost is estimated again, because the recorded price may be wrong or outdated.

        Raises:
            BudgetError: The job would exceed a limit, or a limit is set and a price is unknown.
                No request is sent.
            XaiError: The prices cannot be read from the server.
        """
        library, job = self.library, self.job
        requests = await asyncio.to_thread(lambda: list(library.jobs.requests(job)))
        left = [(each.request, 1) for each in requests if not each.settled]
        recorded = Amount(to_ticks((job.price_usd or 0.0) * len(left)))
        amount: Amount | None = recorded
        if limits.name is not None and left:
            current = await backend.prices.images(left, library)
            amount = None if current is None else max(current, recorded)
        await limits.allow_recorded(amount, job.id)
        if amount is not None and left:
            price = max(amount.ticks / TICKS / len(left), job.price_usd or 0.0)
            self.job = await asyncio.to_thread(library.jobs.change, job, price_usd=price)
        self.budget = limits.kernel

    async def _run_submitter(
        self, backend: Backend, method: Callable[[JobSubmitter], Awaitable[None]]
    ) -> None:
        """Call a method of a submitter, and update `job` from it afterwards."""

        def on_progress(submitted: int, reason: str | None) -> None:
            self.submitted, self.trouble = submitted, reason
            self.notify()

        submitter = JobSubmitter(self.library, backend, self.job, self.inputs, on_progress)
        try:
            await method(submitter)
        finally:
            self.job, self.resumed, self.trouble = submitter.job, True, None
            await self._count()
            if not self.job.open:
                self._charge([0.0] * self.tally.failed)
            self.notify()

    # Poll

    async def poll_once(self) -> None:
        """Poll the service once and store new results.

        Raises:
            XaiError: The service cannot be reached, or the library cannot store the results.
        """
        async with self._lock:
            await self._reload()
            self.failure = self.trouble = None
            if self.job.state == "running":
                await self._poll_service(await self.connect(self.job))
        self.notify()

    async def _poll_service(self, backend: Backend) -> None:
        batch = await self._get(backend)
        if batch is None:
            return
        state, counted = batch.state, batch.HasField("state")
        done = state.num_success + state.num_error if counted else 0
        self.finished = max(done, self.finished)
        end = _end_of(batch)
        complete = counted and not state.num_pending and state.num_requests > 0
        over = complete or end is not None
        # If our clock says that the job has expired, ask the service whether results are readable.
        if not counted or done > self._result_count or end is not None or self._seems_expired:
            await self._collect(backend, over=over)
        if self.job.open and self.tally.left and over:
            self._token = None  # results may come in any order: read all pages again
            await self._collect(backend, over=True)
        if not self.job.open:
            return
        if not self.tally.left:
            await self._close("done")
        elif end is not None and done <= self._result_count:
            await self._close(*end)
        elif over:
            self._incomplete += 1
            if self._repeated or self._incomplete == _MAX_INCOMPLETE:
                self.failure = JobError(
                    f"The service has finished the job, but its list lacks {self.tally.left:,} of "
                    f"{self.tally.total:,} results. Wait for the job again later; no request is "
                    "submitted twice."
                )

    async def _get(self, backend: Backend) -> wire.Batch | None:
        """Return the batch; if the service no longer has it, close the job and return None."""
        try:
            batch = await backend.client.batch.get(self.job.batch_id or "", timeout=ANSWER_SECONDS)
        except NotFoundError as error:
            # The service also answers NOT_FOUND to another key, so check the expiry time.
            if self._seems_expired:
                await self._close("expired", _EXPIRED)
            elif self.job.backend == "local":
                await self._close("gone", "The embedded server with this job has stopped.")
            else:
                raise unknown_job(self.job) from error
            return None
        expires = read_time(batch, "expire_time")
        if expires is not None and expires.timestamp() != self.job.expires:
            self.job = await asyncio.to_thread(
                self.library.jobs.change, self.job, expires=expires.timestamp()
            )
        return batch

    @property
    def _result_count(self) -> int:
        return self.tally.answered + self.tally.failed

    @property
    def _seems_expired(self) -> bool:
        """Whether the results have expired according to this computer's clock."""
        return self.job.expires is not None and self.job.expires <= time.time()

    # Store results

    async def _collect(self, backend: Backend, *, over: bool) -> None:
        """Store all available results, or close the job if they can no longer be read."""
        try:
            await self._store_pages(backend)
        except NotFoundError:
            # The key is valid, because the service has just returned the batch. Some services may
            # also answer NOT_FOUND for a batch without results.
            if self.job.expires is None or not (over or self._seems_expired):
                raise
            await self._close("expired", _EXPIRED)

    async def _store_pages(self, backend: Backend) -> None:
        """Store results, starting at the last page of the previous poll."""
        list_page = partial(
            backend.client.batch.list_batch_results,
            self.job.batch_id or "",
            _PAGE,
            timeout=_PAGE_SECONDS,
        )
        storing: asyncio.Task[None] | None = None
        try:
            async for token, page in pages(list_page, self._token):
                if storing is not None:
                    await storing
                storing = asyncio.ensure_future(self._store(page, backend))  # while reading on
                self._token, self._repeated = token, page.pagination_token is not None
        finally:
            if storing is not None:
                await asyncio.wait({storing})
        if storing is not None:
            await storing
        await self._count()

    async def _store(self, page: BatchResults, backend: Backend) -> None:
        """Store the results of a page that are not in the library yet."""
        jobs = self.library.jobs
        results = {result.batch_request_id: result for result in page.results}
        requests = await asyncio.to_thread(jobs.find, self.job, list(results))
        replies: list[Reply] = []
        failed: dict[str, list[str]] = {}
        for key, request in requests.items():
            if request.settled:
                continue
            try:
                replies.append(await self._reply(request, results[key]))
            except MissingImageError:
                failed.setdefault(_cause_of(results[key]), []).append(key)
        if replies:
            for saved in await asyncio.to_thread(self.library.add_replies, replies):
                if isinstance(saved, LibraryError):
                    raise saved
            await self._download(
                [each for each in replies if any(p.status == "pending" for p in each.pictures)],
                backend,
            )
        for cause, keys in failed.items():
            await asyncio.to_thread(jobs.fail, self.job, cause, keys)
        free = sum(map(len, failed.values()))
        self._charge([*(reply.cost_usd for reply in replies), *[0.0] * free])
        self.tally = _add_replies(self.tally, replies, free)
        self.notify()

    async def _download(self, replies: Sequence[Reply], backend: Backend) -> None:
        """Download images that came as URLs, which expire soon, although base64 was requested."""
        ingest = Ingest(self.library, backend, Progress(), DEFAULT_TIMEOUT, self.job.notebook)
        queries = [(SlotQuery(each.fingerprint, each.place), each.request) for each in replies]
        await asyncio.gather(*(ingest.find(*query) for query in queries))

    async def _reply(self, request: JobRequest, result: BatchResult) -> Reply:
        """Return a result as a reply for the library, also if it has a cost but no image.

        Raises:
            MissingImageError: The result has neither an image nor a cost.
        """
        slot: dict[str, Any] = {
            "fingerprint": request.fingerprint,
            "backend": self.job.backend,
            "host": self.job.host,
            "notebook": self.job.notebook,
            "place": request.place,
        }
        try:
            responses = [result.image_response]
            reply = await build_reply(request.request, responses, [request.position], **slot)
        except MissingImageError:
            if result.cost_usd is None:
                raise
            model, cost = result.model or request.request.model, result.cost_usd
            error = _cause_of(result)
            reply = Reply(request.request, [], [], **slot, cost_usd=cost, model=model, error=error)
        return replace(reply, item=request.id)

    # End

    async def cancel(self) -> None:
        """Cancel pending requests at the service, and store the available results.

        Raises:
            XaiError: The service cannot be reached.
        """
        async with self._lock:
            await self._reload()
            if not self.job.open:
                return
            backend = await self.connect(self.job)
            await self._run_submitter(backend, JobSubmitter.cancel)
            if self.job.open:
                await self._poll_service(backend)
        self.notify()

    async def is_gone(self, *, fresh: bool) -> bool:
        """Tell whether the service has lost the job, so that it may be submitted again.

        Args:
            fresh: Whether to give up a job that xAI does not know, although the job may belong to
                another API key.
        """
        if self.polling or (self.job.backend != "local" and not fresh):
            return False
        try:
            await self.poll_once()
        except JobError:
            if fresh:
                await self._close("gone", "The service no longer knows the job.")
        except XaiError:
            return False
        return self.job.state == "gone"

    async def _close(self, state: JobState, cause: str | None = None) -> None:
        """Record the end of the job and of its unanswered requests."""
        self._charge([0.0] * self.tally.left)
        self.job = await asyncio.to_thread(self.library.jobs.close, self.job, state, cause)
        await self._count()

    def _charge(self, costs: Sequence[float | None]) -> None:
        """Replace the expected cost of requests by the reported cost; None: not reported."""
        if self.budget is not None and self.job.price_usd is not None:
            for cost in costs:
                if cost is not None:
                    self.budget.spent += to_ticks(cost) - to_ticks(self.job.price_usd)

    async def _reload(self) -> None:
        """Read the changes that other kernels made to the job.

        Raises:
            LibraryError: The library has lost the job, or is untrusted.
        """
        self.job = await asyncio.to_thread(self.library.jobs.get, self.job)
        self.library.check_own()

    async def _count(self) -> None:
        self.tally = await asyncio.to_thread(self.library.jobs.tally, self.job)


def _cause_of(result: BatchResult) -> str:
    return one_line(result.error_message or "The result has no image.")


def _add_replies(tally: RequestCounts, replies: Sequence[Reply], failed: int) -> RequestCounts:
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
    """Return state and cause if a batch ended early, else None."""
    if batch.cancel_by_xai_message:
        return (
            "cancelled",
            f"xAI cancelled the job: {one_line(batch.cancel_by_xai_message)} {_AGAIN}",
        )
    if batch.HasField("cancel_time"):
        return "cancelled", f"The job was cancelled. {_AGAIN}"
    if batch.state.num_cancelled and not batch.state.num_pending:
        return "cancelled", f"The service dropped the remaining requests. {_AGAIN}"
    return None
