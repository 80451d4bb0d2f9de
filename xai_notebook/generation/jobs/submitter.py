"""Submit a recorded job to the service, each of its requests once.

`CreateBatch` and `AddBatchRequests` have no idempotency key. A service may apply such a call and
still answer UNAVAILABLE, not answer at all, or list the result only seconds later. Each of these
calls is therefore recorded in the library before it is sent. If a call fails or its kernel is
killed, the submitter queries the service several times, with growing pauses, before it sends
anything again: it finds a batch by its unique name and requests by their keys. Only one kernel at a
time submits a job; other kernels wait.

Separate because only this module decides which requests may be sent again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from xai_notebook.client import wire
from xai_notebook.client.encoding import encode
from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    JobError,
    NotFoundError,
    PermissionDeniedError,
    ReplyError,
    XaiError,
)
from xai_notebook.generation.backends import acquire
from xai_notebook.library.jobs import SubmissionState
from xai_notebook.library.replies import read_time

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Iterable,
        Iterator,
        Sequence,
    )

    from xai_notebook.client.batch import BatchResults
    from xai_notebook.client.request import InputImage
    from xai_notebook.generation.backends import Backend
    from xai_notebook.library import Library
    from xai_notebook.library.jobs import JobRecord

_Page = TypeVar(
    "_Page", wire.ListBatchesResponse, wire.ListBatchRequestMetadataResponse, "BatchResults"
)

_CALL_BYTES: Final = 3_500_000
"""Maximum bytes of one call that adds requests; the service refuses calls over 4 MB."""
_CALL_REQUESTS: Final = 1_000
"""Maximum requests in one such call; small enough for visible progress."""
_CALL_RATE: Final = (900, 30.0)
"""Maximum number of such calls, per number of seconds; the service accepts 1,000."""
_ATTEMPTS: Final = 5
"""Maximum attempts for a call, if earlier attempts turned out to have changed nothing."""
LOOK_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds between queries to the service while the result of a call may not be listed yet; 23.5 s
in total."""
_LOCAL_LOOKS: Final = 2
"""Number of pauses for the embedded server, which lists results immediately."""
ANSWER_SECONDS: Final = 120.0
"""Deadline of a call to the service."""
_PAGE: Final = 100
_INPUT_SECONDS: Final = 48 * 3600.0
"""Seconds for which input images must stay stored; a job may take a little more than a day."""
_REFUSALS: Final = (
    InvalidRequestError, NotFoundError, AuthenticationError, PermissionDeniedError,
)  # fmt: skip
"""Errors after which the service has certainly changed nothing."""
_UNCONFIRMED: Final = (
    "The service did not confirm the last call. It is asked which requests it has before anything "
    "is sent again."
)


@dataclass(slots=True)
class JobSubmitter:
    """Submits a recorded job, or resumes an earlier submission.

    Attributes:
        library: Where the job is recorded.
        backend: The service.
        job: The job's record in the library.
        inputs: The input images of the requests, if the cell ran in this kernel.
        on_progress: Called with the number of requests that the service has, and the reason for a
            delay or None.
    """

    library: Library
    backend: Backend
    job: JobRecord
    inputs: Sequence[InputImage]
    on_progress: Callable[[int, str | None], None]
    _marked: dict[str, SubmissionState] = field(default_factory=dict)
    """Requests that the service may have, by key."""

    async def run(self) -> None:
        """Submit the job, unless another kernel already has; afterwards its state is running.

        Raises:
            JobError: The job needs input images that only its cell can provide.
            XaiError: The service refuses the job or cannot be reached.
        """
        async with self._locked():
            if self.job.state != "new":
                return
            try:
                await self._store_inputs()
                await self._forget_lost_batch()
                if self.job.batch_id is None:
                    await self._bind(await self._find_or_create())
                await self._add_missing()
                await self._update(self.library.jobs.change, state="running", inputs={})
            except (InvalidRequestError, NotFoundError) as error:
                raise await self._refused(error) from error

    async def cancel(self) -> None:
        """Cancel the job at the service; it stays running until the poller has read the results.

        A job that the service does not have is closed.

        Raises:
            XaiError: The service cannot be reached.
        """
        jobs = self.library.jobs
        async with self._locked():
            if not self.job.open:
                return
            if self.job.batch_id is None and self.job.create_sent:
                batch = await self._look_for_batch()
                if batch is not None:
                    await self._bind(batch)
            if self.job.batch_id is None:
                cause = "The job was cancelled before it was submitted."
                await self._update(jobs.close, "cancelled", cause)
                return
            await self.backend.client.batch.cancel(self.job.batch_id, timeout=ANSWER_SECONDS)
            await self._update(jobs.change, state="running")

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the job's lock, and read the changes of other kernels first."""
        lock = self.library.jobs.submission_lock(self.job.id)
        try:
            await acquire(lock)
            await self._update(self.library.jobs.get)
            self._marked = await asyncio.to_thread(self.library.jobs.submission_states, self.job)
            yield
        finally:
            lock.release(remove=self.job.state != "new")

    async def _update(self, method: Callable[..., JobRecord], *args: Any, **values: Any) -> None:
        """Call a method of the library's jobs, and set `job` to the returned record."""
        self.job = await asyncio.to_thread(method, self.job, *args, **values)

    async def _store_inputs(self) -> None:
        """Upload the input images, each once."""
        first = await asyncio.to_thread(self.library.jobs.first, self.job)
        wanted = {image.sha256 for image in (first.request.inputs if first else ())}
        inputs = tuple(image for image in self.inputs if image.sha256 in wanted)
        if len({image.sha256 for image in inputs}) < len(wanted):
            if wanted <= self.job.inputs.keys():
                return
            raise JobError("The input images of this job are not uploaded yet. Run its cell again.")
        if first is None or not wanted:
            return
        request = await self.backend.inputs.store(
            replace(first.request, inputs=inputs), self.library.uploads, valid_for=_INPUT_SECONDS
        )
        sources = {image.sha256: image.file_id or image.url for image in request.inputs}
        await self._update(self.library.jobs.change, inputs=sources)

    # The batch

    async def _forget_lost_batch(self) -> None:
        """Forget an incomplete batch whose embedded server has stopped."""
        if self.job.batch_id is None:
            return
        try:
            await self.backend.client.batch.get(self.job.batch_id, timeout=ANSWER_SECONDS)
        except NotFoundError as error:
            if self.job.backend != "local":
                raise unknown_job(self.job) from error
            await self._update(self.library.jobs.forget_batch)
            self._marked = {}

    async def _find_or_create(self) -> wire.Batch:
        change = self.library.jobs.change
        if self.job.create_sent and (batch := await self._look_for_batch()) is not None:
            return batch
        for _ in range(_ATTEMPTS):
            await self._update(change, create_sent=True)
            try:
                return await self.backend.client.batch.create(self.job.name, timeout=ANSWER_SECONDS)
            except XaiError as error:
                if _changed_nothing(error):
                    await self._update(change, create_sent=False)
                    raise
                failure = error
            if (batch := await self._look_for_batch()) is not None:
                return batch
        raise failure

    async def _look_for_batch(self) -> wire.Batch | None:
        """Return the batch of a create call without an answer; the service may list it late."""
        self.on_progress(0, _UNCONFIRMED)
        for pause in (0.0, *self._pauses):
            await asyncio.sleep(pause)
            if (batch := await self._listed_batch()) is not None:
                return batch
        return None

    async def _listed_batch(self) -> wire.Batch | None:
        """Return the batch with the job's name, if the service lists it.

        If two batches have that name, the batch with requests is returned, or else the older batch.
        The caller records this batch before requests are added, so the other never gets requests.
        """
        list_page = partial(self.backend.client.batch.list, _PAGE, timeout=ANSWER_SECONDS)
        async for _, page in pages(list_page):
            ours = [
                batch
                for batch in page.batches
                if batch.name == self.job.name and not batch.HasField("cancel_time")
            ]
            if ours:
                return min(ours, key=_precedence)
        return None

    async def _bind(self, batch: wire.Batch) -> None:
        """Record the batch of the job, unless another kernel has already recorded one."""
        await self._update(self.library.jobs.bind, batch.batch_id)
        expires = read_time(batch, "expire_time")
        if self.job.batch_id == batch.batch_id and expires is not None:
            await self._update(self.library.jobs.change, expires=expires.timestamp())

    # Its requests

    async def _add_missing(self) -> None:
        """Add the requests that the service does not have."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # only jobs need it

        if unconfirmed := self._unconfirmed():
            await self._look_for(unconfirmed, self._pauses)
        present = self._marked.keys() - self._unconfirmed() | await self._listed_keys()
        limiter = AsyncLimiter(*_CALL_RATE)
        submitted = len(present)
        self.on_progress(submitted, None)
        chunks = _chunks(self._messages(present))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            async with limiter:
                await self._add(chunk)
            submitted += len(chunk)
            self.on_progress(submitted, None)

    async def _add(self, chunk: Sequence[wire.BatchRequest]) -> None:
        """Add requests that the service does not seem to have."""
        requests = {message.batch_request_id: message for message in chunk}
        # The service may have applied an earlier call with some of these, and not list them yet.
        uncertain = not self._unconfirmed().isdisjoint(requests)
        for _ in range(_ATTEMPTS):
            await self._mark(requests.keys(), SubmissionState.UNKNOWN)
            try:
                await self.backend.client.batch.add(
                    self.job.batch_id or "", requests.values(), timeout=ANSWER_SECONDS
                )
            except XaiError as error:
                failure = error
            else:
                await self._mark(requests.keys(), SubmissionState.CONFIRMED)
                return
            refused = _changed_nothing(failure)
            uncertain |= not refused
            found: set[str] = set()
            if not refused or isinstance(failure, InvalidRequestError):
                # Some services refuse a key that they already have.
                found = await self._look_for(requests.keys(), self._pauses if uncertain else ())
            requests = {key: message for key, message in requests.items() if key not in found}
            if not requests:
                return
            if refused and not found:
                if not uncertain:
                    await self._mark(requests.keys(), SubmissionState.NO)
                raise failure
        raise failure

    async def _look_for(self, keys: Collection[str], pauses: Sequence[float]) -> set[str]:
        """Return which of the unconfirmed requests the service has, and mark them as confirmed.

        Ends when the service has all of them, or after the last pause. The pauses start again
        whenever further requests appear, because the call is still being applied.

        Raises:
            JobError: The service counts more requests than it lists, so the rest is unknown.
        """
        most, remaining = 0, iter(pauses)
        while True:
            count, listed = await self._count(), await self._listed_keys()
            if count >= len(self._marked) or listed.issuperset(keys):
                found = set(keys)
                break
            if (known := max(count, len(listed))) > most:
                most, remaining = known, iter(pauses)
            self.on_progress(known, _UNCONFIRMED)
            if (pause := next(remaining, None)) is None:
                if count > len(listed):
                    raise JobError(
                        f"The service counts {count:,} requests of the job {self.job.name} but "
                        f"lists {len(listed):,}, so no more were added. Run the cell again later; "
                        "no request is submitted twice."
                    )
                found = listed.intersection(keys)
                break
            await asyncio.sleep(pause)
        await self._mark(found, SubmissionState.CONFIRMED)
        return found

    async def _listed_keys(self) -> set[str]:
        """Return the keys of the requests that the service lists."""
        list_page = partial(
            self.backend.client.batch.list_batch_requests,
            self.job.batch_id or "",
            _PAGE,
            timeout=ANSWER_SECONDS,
        )
        return {
            metadata.batch_request_id
            async for _, page in pages(list_page)
            for metadata in page.batch_request_metadata
        }

    async def _count(self) -> int:
        """Return the number of requests that the service counts; 0 if it does not count."""
        batch = await self.backend.client.batch.get(self.job.batch_id or "", timeout=ANSWER_SECONDS)
        return batch.state.num_requests

    async def _mark(self, keys: Collection[str], state: SubmissionState) -> None:
        """Record the state of requests; must complete before the next call is sent."""
        await asyncio.to_thread(self.library.jobs.mark, self.job, keys, state)
        if state is SubmissionState.NO:
            for key in keys:
                self._marked.pop(key, None)
        else:
            self._marked.update(dict.fromkeys(keys, state))

    def _unconfirmed(self) -> set[str]:
        return {key for key, state in self._marked.items() if state is SubmissionState.UNKNOWN}

    @property
    def _pauses(self) -> Sequence[float]:
        return LOOK_PAUSES[:_LOCAL_LOOKS] if self.job.backend == "local" else LOOK_PAUSES

    def _messages(self, present: set[str]) -> Iterator[wire.BatchRequest]:
        """Yield the missing requests; one per model first, as the service may refuse a model."""
        jobs, firsts = self.library.jobs, dict[str, str]()
        for recorded in jobs.requests(self.job):
            firsts.setdefault(recorded.request.model, recorded.key)
            if len(firsts) > _CALL_REQUESTS:
                break
        leading = jobs.find(self.job, [*firsts.values()])
        for recorded in (*leading.values(), *jobs.requests(self.job)):
            if recorded.key in present or recorded.settled:
                continue
            present.add(recorded.key)
            request, sources = recorded.request, self.job.inputs
            inputs = tuple(_with_source(image, sources[image.sha256]) for image in request.inputs)
            # A result URL would expire one hour after its image was made.
            single = replace(request, inputs=inputs, n=1, image_format="base64")
            yield wire.BatchRequest(batch_request_id=recorded.key, image_request=encode(single))

    # Refusals

    async def _refused(self, error: ApiError) -> XaiError:
        """Clean up after a refusal, and return the error for the user."""
        jobs, accepted = self.library.jobs, 0
        if self.job.batch_id:
            batch = await self.backend.client.batch.cancel(
                self.job.batch_id, timeout=ANSWER_SECONDS
            )
            # The service may have requests that it does not list yet.
            listed = len(await self._listed_keys())
            accepted = max(listed, batch.state.num_requests, len(self._marked))
            if batch.cancel_by_xai_message:
                cause = f"xAI cancelled the job: {one_line(batch.cancel_by_xai_message)}"
                await self._update(jobs.close, "cancelled", cause)
                return JobError(f"{cause} Run the cell again to submit what is missing.")
        details = error.details or str(error)
        if accepted:
            outcome = f"The service accepted {accepted:,} requests, and their results are stored."
            await self._update(jobs.change, state="running")
        else:
            outcome = "No image was generated."
            await self._update(jobs.close, "refused", details)
        return type(error)(
            f"The service refuses these requests as a job: {one_line(details)}\n"
            f"Omit --batch to send them one by one, or change them. {outcome}",
            code=error.code,
            details=error.details,
            attempts=error.attempts,
        )


def unknown_job(job: JobRecord) -> JobError:
    """Return the error for a job that its service does not know."""
    return JobError(
        f"{job.host} does not know the job {job.name}. Use the key that it was submitted with, "
        "or --fresh to submit it again."
    )


def _with_source(image: InputImage, source: str) -> InputImage:
    """Return an input image with its source: a URL, or the id of a stored file."""
    if source.startswith(("https:", "http:", "data:")):
        return replace(image, url=source)
    return replace(image, file_id=source)


def _changed_nothing(error: XaiError) -> bool:
    """Tell whether a failed call has certainly changed nothing at the service."""
    if isinstance(error, ApiError):
        return error.unsent or (isinstance(error, _REFUSALS) and not error.maybe_billed)
    return not isinstance(error, ReplyError)


def _precedence(batch: wire.Batch) -> tuple[bool, int, int, str]:
    """Return the sort key of batches with the same name; the lowest is used."""
    created = batch.create_time
    return not batch.state.num_requests, created.seconds, created.nanos, batch.batch_id


def _chunks(messages: Iterable[wire.BatchRequest]) -> Iterator[list[wire.BatchRequest]]:
    """Yield lists of requests, each small enough for one call."""
    chunk: list[wire.BatchRequest] = []
    size = 0
    for message in messages:
        added = message.ByteSize() + 8  # tag and length of the field
        if chunk and (size + added > _CALL_BYTES or len(chunk) == _CALL_REQUESTS):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += added
    if chunk:
        yield chunk


async def pages(
    list_page: Callable[..., Awaitable[_Page]], token: str | None = None
) -> AsyncIterator[tuple[str | None, _Page]]:
    """Yield tokens and pages until the last page, or until a page was already read.

    Args:
        list_page: Returns the page for a `pagination_token`.
        token: Token of the first page.
    """
    seen = {None, "", token}
    while True:
        page = await list_page(pagination_token=token)
        yield token, page
        token = page.pagination_token
        if token in seen:
            return
        seen.add(token)
