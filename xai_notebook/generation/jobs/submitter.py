"""Submit a recorded job to the service, each of its requests once.

`CreateBatch` and `AddBatchRequests` have no key that would make it safe to repeat them, and a
service may do the work and answer UNAVAILABLE, answer nothing, or show what it did seconds later.
So each of these calls is recorded in the library before it leaves. After one that failed, or whose
kernel was killed, the service is asked what it has, several times with growing pauses, before
anything is sent again: a batch is found by its name, which no other has, and requests by their
keys. One kernel at a time does this, the others wait for it.

Separate because it alone decides what may be sent again.
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
from xai_notebook.library.jobs import SubmissionState
from xai_notebook.library.replies import moment

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

    from xai_notebook.client.request import ImageRequest, InputImage
    from xai_notebook.generation.backends import Backend
    from xai_notebook.library import Library
    from xai_notebook.library.jobs import JobRecord, JobState

__all__ = ["ANSWER_SECONDS", "LOOK_PAUSES", "JobSubmitter", "unknown"]

_Page = TypeVar("_Page", wire.ListBatchesResponse, wire.ListBatchRequestMetadataResponse)

_CALL_BYTES: Final = 3_500_000
"""Of one call that adds requests; larger ones than 4 MB were refused."""
_CALL_REQUESTS: Final = 1_000
"""Of one such call: what is handed over can be seen growing."""
_CALLS: Final = (900, 30.0)
"""Such calls in so many seconds; the service takes a thousand."""
_ATTEMPTS: Final = 5
"""How often a call is made at most that failed and turned out to have done nothing."""
LOOK_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds between looks at what the service has, while a call may still be applied or may not be
listed yet: 23.5 s together."""
_LOCAL_LOOKS: Final = 2
"""How many of these pauses an embedded server gets: it is in this process and lists at once."""
ANSWER_SECONDS: Final = 120.0
"""Deadline of a call to the service."""
_TURN: Final = 0.1
"""Seconds between two looks at whether another kernel has handed the job over."""
_PAGE: Final = 100
_NEEDED: Final = 48 * 3600.0
"""Seconds for which input images must stay stored: a job may take a day, or somewhat longer."""
_REFUSALS: Final = (
    InvalidRequestError, NotFoundError, AuthenticationError, PermissionDeniedError,
)  # fmt: skip
"""A service that answers with these has changed nothing. All others leave it open."""
_IN_DOUBT: Final = (
    "The service did not confirm what it was sent last. It is asked what it has before anything is "
    "sent again."
)


@dataclass(slots=True)
class JobSubmitter:
    """Submits a recorded job, from wherever an earlier submission stopped.

    Attributes:
        library: Where the job is recorded.
        backend: The service.
        job: As the library knows it.
        inputs: The input images of its requests, if they are at hand.
        on_progress: Called with how many requests the service has, and with what is waited for.
    """

    library: Library
    backend: Backend
    job: JobRecord
    inputs: Sequence[InputImage] = ()
    on_progress: Callable[[int, str | None], None] = lambda *_: None
    _marked: dict[str, SubmissionState] = field(default_factory=dict)

    async def run(self) -> JobRecord:
        """Submit the job, unless another kernel did, and return it, running.

        Raises:
            JobError: It needs input images that only the cell has.
            XaiError: The service does not take it, or cannot be asked.
        """
        async with self._alone():
            if self.job.state != "new":
                return self.job
            try:
                await self._store_inputs()
                await self._check_there()
                if self.job.batch_id is None:
                    self.job = await self._bind(await self._find_or_create())
                await self._add_missing()
                return await self._change(state="running", inputs={})
            except (InvalidRequestError, NotFoundError) as error:
                raise await self._refused(error) from error

    async def cancel(self) -> JobRecord:
        """Have the service drop what it has of the job, and return it: running, if it has some.

        Raises:
            XaiError: The service cannot be asked.
        """
        async with self._alone():
            if not self.job.open:
                return self.job
            if (
                self.job.batch_id is None
                and self.job.create_sent
                and (batch := await self._look_for_batch())
            ):
                self.job = await self._bind(batch)
            if self.job.batch_id is not None:
                await self.backend.client.batch.cancel(self.job.batch_id, timeout=ANSWER_SECONDS)
                return await self._change(state="running")
            return await self._end("cancelled", "It was cancelled before it was handed over.")

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the lock of the job, and know what other kernels did before."""
        turn = self.library.jobs.turn(self.job.id)
        try:
            # On the loop, not in a thread: when this is cancelled, nobody would leave what it took.
            while not turn.acquire():  # noqa: ASYNC110  # other processes set no event
                await asyncio.sleep(_TURN)
            self.job = await asyncio.to_thread(self.library.jobs.get, self.job)
            self._marked = await asyncio.to_thread(self.library.jobs.marked, self.job)
            yield
        finally:
            turn.release(remove=self.job.state != "new")

    async def _change(self, **values: Any) -> JobRecord:
        self.job = await asyncio.to_thread(self.library.jobs.change, self.job, **values)
        return self.job

    async def _end(self, state: JobState, cause: str) -> JobRecord:
        """Note that nothing will come of what has no answer."""
        self.job = await asyncio.to_thread(self.library.jobs.close, self.job, state, cause)
        return self.job

    async def _bind(self, batch: wire.Batch) -> JobRecord:
        """Keep what the service calls the job."""
        job = await asyncio.to_thread(self.library.jobs.bind, self.job, batch.batch_id)
        expires = moment(batch, "expire_time")
        if job.batch_id == batch.batch_id and expires is not None:
            self.job = job
            return await self._change(expires=expires.timestamp())
        return job

    async def _store_inputs(self) -> None:
        """Have every input image in the service's store, each once."""
        asked = await asyncio.to_thread(self.library.jobs.first, self.job)
        wanted = {image.sha256 for image in (asked.request.inputs if asked else ())}
        given = tuple(image for image in self.inputs if image.sha256 in wanted)
        if len({image.sha256 for image in given}) < len(wanted):
            if wanted <= self.job.inputs.keys():
                return
            raise JobError(
                "The input images of this job were not stored yet. Run the cell that made it again."
            )
        if not asked or not wanted:
            return
        request = await self.backend.inputs.name(
            replace(asked.request, inputs=given), self.library.uploads, lasting=_NEEDED
        )
        places = {image.sha256: image.file_id or image.url for image in request.inputs}
        await self._change(inputs=places)

    # The batch

    async def _check_there(self) -> None:
        """Forget a batch that ended with its embedded server, before it had all its requests."""
        if self.job.batch_id is None:
            return
        try:
            await self.backend.client.batch.get(self.job.batch_id, timeout=ANSWER_SECONDS)
        except NotFoundError as error:
            if self.job.backend != "local":
                raise unknown(self.job) from error
            self.job = await asyncio.to_thread(self.library.jobs.forget_batch, self.job)
            self._marked = {}

    async def _find_or_create(self) -> wire.Batch:
        if self.job.create_sent and (found := await self._look_for_batch()) is not None:
            return found
        for _ in range(_ATTEMPTS):
            await self._change(create_sent=True)
            try:
                return await self.backend.client.batch.create(self.job.name, timeout=ANSWER_SECONDS)
            except XaiError as error:
                if _changed_nothing(error):
                    await self._change(create_sent=False)
                    raise
                failure = error
            if (found := await self._look_for_batch()) is not None:
                return found
        raise failure

    async def _look_for_batch(self) -> wire.Batch | None:
        """Return the batch of a create call that may still be applied, or listed late."""
        self.on_progress(0, _IN_DOUBT)
        for pause in (0.0, *self._pauses):
            await asyncio.sleep(pause)
            if (found := await self._find()) is not None:
                return found
        return None

    @property
    def _pauses(self) -> Sequence[float]:
        return LOOK_PAUSES[:_LOCAL_LOOKS] if self.job.backend == "local" else LOOK_PAUSES

    async def _find(self) -> wire.Batch | None:
        """Return the batch of the job's name, if the service lists one.

        Should there be two, it is the one with requests, or the older. It is recorded before it
        gets requests, and the other never gets any.
        """
        ask = partial(self.backend.client.batch.list, _PAGE, timeout=ANSWER_SECONDS)
        async for page in _pages(ask):
            ours = [
                batch
                for batch in page.batches
                if batch.name == self.job.name and not batch.HasField("cancel_time")
            ]
            if ours:
                return min(ours, key=_precedence)
        return None

    # Its requests

    async def _present(self) -> set[str]:
        """Return the keys of the requests that the service lists."""
        ask = partial(
            self.backend.client.batch.list_batch_requests,
            self.job.batch_id or "",
            _PAGE,
            timeout=ANSWER_SECONDS,
        )
        return {
            one.batch_request_id
            async for page in _pages(ask)
            for one in page.batch_request_metadata
        }

    async def _count(self) -> int:
        """Return how many requests the service counts; 0 if it does not say."""
        batch = await self.backend.client.batch.get(self.job.batch_id or "", timeout=ANSWER_SECONDS)
        return batch.state.num_requests

    async def _look_for(self, keys: Collection[str], pauses: Sequence[float]) -> set[str]:
        """Return those of the requests that the service has, and mark them.

        It returns when all are there, or after the last look. The looks begin again whenever more
        has appeared: then the call is still being applied.

        Args:
            keys: Of requests that were sent and not confirmed.
            pauses: Seconds between the looks.

        Raises:
            JobError: The service counts more requests than it lists: which ones it has is unknown.
        """
        most, left = 0, iter(pauses)
        while True:
            count, listed = await self._count(), await self._present()
            if count >= len(self._marked) or listed.issuperset(keys):
                found = set(keys)
                break
            if (known := max(count, len(listed))) > most:
                most, left = known, iter(pauses)
            self.on_progress(known, _IN_DOUBT)
            if (pause := next(left, None)) is None:
                if count > len(listed):
                    raise JobError(
                        f"The service counts {count:,} requests of the job {self.job.name} and "
                        f"lists {len(listed):,}, so nothing more was added. Run the cell again "
                        "later; nothing is ordered twice."
                    )
                found = listed.intersection(keys)
                break
            await asyncio.sleep(pause)
        await self._mark(found, SubmissionState.CONFIRMED)
        return found

    async def _mark(self, keys: Collection[str], sent: SubmissionState) -> None:
        """Record what is known of requests; only then the next call may leave."""
        await asyncio.to_thread(self.library.jobs.mark, self.job, keys, sent)
        if sent is SubmissionState.NO:
            for key in keys:
                self._marked.pop(key, None)
        else:
            self._marked.update(dict.fromkeys(keys, sent))

    def _unconfirmed(self) -> set[str]:
        return {key for key, sent in self._marked.items() if sent is SubmissionState.UNKNOWN}

    async def _add_missing(self) -> None:
        """Add the requests that the service does not have."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # only jobs are paced

        if unconfirmed := self._unconfirmed():
            await self._look_for(unconfirmed, self._pauses)
        there = {key for key, sent in self._marked.items() if sent is SubmissionState.CONFIRMED}
        there |= await self._present()
        limiter = AsyncLimiter(*_CALLS)
        number = len(there)
        self.on_progress(number, None)
        chunks = _chunks(self._messages(there))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            async with limiter:
                await self._add(chunk)
            number += len(chunk)
            self.on_progress(number, None)

    def _messages(self, present: set[str]) -> Iterator[wire.BatchRequest]:
        """Yield what the service has not; one of each model first, all of which it may refuse."""
        first: dict[str, str] = {}
        for one in self.library.jobs.requests(self.job):
            first.setdefault(one.request.model, one.key)
            if len(first) > _CALL_REQUESTS:
                break
        leading = self.library.jobs.find(self.job, list(first.values()))
        for one in [*leading.values(), *self.library.jobs.requests(self.job)]:
            if one.key not in present and not one.settled:
                present.add(one.key)
                yield self._message(one.key, one.request)

    def _message(self, key: str, request: ImageRequest) -> wire.BatchRequest:
        inputs = tuple(_placed(image, self.job.inputs[image.sha256]) for image in request.inputs)
        # A URL would be dead an hour after its image was made.
        asked = replace(request, inputs=inputs, n=1, image_format="base64")
        return wire.BatchRequest(batch_request_id=key, image_request=encode(asked))

    async def _add(self, chunk: Sequence[wire.BatchRequest]) -> None:
        """Add requests that the service does not have, as far as can be known."""
        requests = {one.batch_request_id: one for one in chunk}
        # A call with some of them may have been applied without being listed.
        doubtful = not self._unconfirmed().isdisjoint(requests)
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
            doubtful |= not refused
            found: set[str] = set()
            if not refused or isinstance(failure, InvalidRequestError):
                # Some services refuse a key that they have already.
                found = await self._look_for(requests.keys(), self._pauses if doubtful else ())
            requests = {key: one for key, one in requests.items() if key not in found}
            if not requests:
                return
            if refused and not found:
                if not doubtful:
                    await self._mark(requests.keys(), SubmissionState.NO)
                raise failure
        raise failure

    async def _refused(self, error: ApiError) -> XaiError:
        """Tidy up after a refusal, and return it with what to do."""
        there = 0
        if self.job.batch_id:
            batch = await self.backend.client.batch.cancel(
                self.job.batch_id, timeout=ANSWER_SECONDS
            )
            # What was sent and not refused may be there without being listed.
            there = max(len(await self._present()), batch.state.num_requests, len(self._marked))
            if batch.cancel_by_xai_message:
                return await self._cancelled(batch.cancel_by_xai_message)
        said = error.details or str(error)
        if there:
            left = f"{there:,} were handed over before, and what is done of them is kept."
            await self._change(state="running")
        else:
            left = "Nothing was made."
            await self._end("refused", said)
        return type(error)(
            f"The service does not take these requests as a job: {one_line(said)}\n"
            f"Leave --batch out to have them made one by one, or change them. {left}",
            code=error.code,
            details=error.details,
            attempts=error.attempts,
        )

    async def _cancelled(self, reason: str) -> JobError:
        """Note that the service ended the batch before it had all requests."""
        cause = f"xAI cancelled the job: {one_line(reason)}"
        await self._end("cancelled", cause)
        return JobError(f"{cause} Run the cell again to hand over what is missing.")


def unknown(job: JobRecord) -> JobError:
    """Return the error for a job that its service does not know."""
    return JobError(
        f"{job.host} does not know the job {job.name}. Use the key that it was handed over with, "
        "or --fresh to hand it over again."
    )


def _placed(image: InputImage, place: str) -> InputImage:
    """Return an input image where it is: at a URL, or a file in the service's store."""
    if place.startswith(("https:", "http:", "data:")):
        return replace(image, url=place)
    return replace(image, file_id=place)


def _changed_nothing(error: XaiError) -> bool:
    """Tell whether a call that failed has surely changed nothing at the service."""
    if isinstance(error, ApiError):
        return error.unsent or (isinstance(error, _REFUSALS) and not error.maybe_billed)
    return not isinstance(error, ReplyError)


def _precedence(batch: wire.Batch) -> tuple[bool, int, int, str]:
    """Return what sorts batches of one name, the one to use first."""
    created = batch.create_time
    return not batch.state.num_requests, created.seconds, created.nanos, batch.batch_id


def _chunks(messages: Iterable[wire.BatchRequest]) -> Iterator[list[wire.BatchRequest]]:
    """Yield requests, as many together as one call takes."""
    chunk: list[wire.BatchRequest] = []
    size = 0
    for message in messages:
        more = message.ByteSize() + 8  # and its tag and length
        if chunk and (size + more > _CALL_BYTES or len(chunk) == _CALL_REQUESTS):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += more
    if chunk:
        yield chunk


async def _pages(ask: Callable[..., Awaitable[_Page]]) -> AsyncIterator[_Page]:
    """Yield pages up to the last one, or to one that names a page that was here before.

    Args:
        ask: Returns the page of a `pagination_token`.
    """
    seen: set[str | None] = {None, ""}
    token: str | None = None
    while True:
        page = await ask(pagination_token=token)
        yield page
        token = page.pagination_token
        if token in seen:
            return
        seen.add(token)
