"""A recorded job into the service's hands, each of its requests once.

No call that adds something has a key that would make it safe to repeat. So when a reply is lost, or
says that nothing was done, the service is asked what it has before anything is sent again: a batch
by its name, which no other has, and requests by their ids, which follow from what is asked. And of
the kernels that want to hand the same job over at the same moment, one does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from xai_notebook.client import wire
from xai_notebook.client.encoding import encode
from xai_notebook.client.status import one_line
from xai_notebook.errors import (
    ApiError,
    CallCancelledError,
    DeadlineExceededError,
    InvalidRequestError,
    JobError,
    NotFoundError,
    RateLimitError,
    ReplyError,
    ServerError,
    UnavailableError,
    XaiError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest, InputImage
    from xai_notebook.generation.peer import Peer
    from xai_notebook.library import Library
    from xai_notebook.library.jobs import Job, JobState

__all__ = ["ANSWER_SECONDS", "Submission", "unknown"]

_Page = TypeVar("_Page", wire.ListBatchesResponse, wire.ListBatchRequestMetadataResponse)

_CALL_BYTES: Final = 3_500_000
"""Of one call that adds requests; larger ones than 4 MB were refused."""
_CALL_REQUESTS: Final = 1_000
"""Of one such call: what is handed over can be seen growing."""
_CALLS: Final = (900, 30.0)
"""Such calls in so many seconds; the service takes a thousand."""
_ROUNDS: Final = 6
"""How often a call is made whose reply was lost, if what it was for is not there."""
_FIRST_PAUSE: Final = 0.5
ANSWER_SECONDS: Final = 120.0
"""Of a call: a service that has not answered by then is looked at, or asked again."""
_TURN: Final = 0.1
"""Seconds between two looks at whether another kernel has handed the job over."""
_PAGE: Final = 100
_NEEDED: Final = 48 * 3600.0
"""Seconds for which input images must stay stored: a job may take a day, or somewhat longer."""
_LOST: Final = (
    UnavailableError, DeadlineExceededError, RateLimitError, ServerError, CallCancelledError,
    ReplyError,
)  # fmt: skip
"""After these, what has been done is to be seen; what has not can be asked for again."""


@dataclass(slots=True)
class Submission:
    """Hands a recorded job over, from wherever it was left.

    Attributes:
        library: Where it is recorded.
        peer: The service.
        job: As the library knows it.
        inputs: The input images of its requests, if they are at hand.
        on_progress: Called with how many requests the service has.
        resumed: Somebody may have begun to hand it over.
    """

    library: Library
    peer: Peer
    job: Job
    inputs: Sequence[InputImage] = ()
    on_progress: Callable[[int], None] = lambda _: None
    resumed: bool = True

    async def run(self) -> Job:
        """Hand the job over, unless another kernel does, and return it, running.

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
                await self._add_missing(await self._present())
                return await self._change(state="running", inputs={})
            except (InvalidRequestError, NotFoundError) as error:
                raise await self._refused(error) from error

    async def cancel(self) -> Job:
        """Have the service drop what it has of the job, and return it: running, if it has some.

        Raises:
            XaiError: The service cannot be asked.
        """
        async with self._alone():
            if not self.job.open:
                return self.job
            if self.job.batch_id is None and self.resumed and (batch := await self._find()):
                self.job = await self._bind(batch)
            if self.job.batch_id is not None:
                await self.peer.client.batch.cancel(self.job.batch_id, timeout=ANSWER_SECONDS)
                return await self._change(state="running")
            return await self._end("cancelled", "It was cancelled before it was handed over.")

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other kernels from the job, and know what they did before."""
        turn = self.library.jobs.turn(self.job.id)
        try:
            # On the loop, not in a thread: when this is cancelled, nobody would leave what it took.
            while not turn.take():  # noqa: ASYNC110  # other processes set no event
                await asyncio.sleep(_TURN)
            self.resumed |= turn.begun
            self.job = await asyncio.to_thread(self.library.jobs.get, self.job.id)
            yield
        finally:
            turn.leave(over=self.job.state != "new")

    async def _change(self, **values: Any) -> Job:
        self.job = await asyncio.to_thread(self.library.jobs.change, self.job.id, **values)
        return self.job

    async def _end(self, state: JobState, cause: str) -> Job:
        """Note that nothing will come of what has no answer."""
        self.job = await asyncio.to_thread(self.library.jobs.close, self.job.id, state, cause)
        return self.job

    async def _bind(self, batch: wire.Batch) -> Job:
        """Keep what the service calls the job."""
        job = await asyncio.to_thread(self.library.jobs.bind, self.job.id, batch.batch_id)
        if job.batch_id == batch.batch_id and batch.HasField("expire_time"):
            self.job = job
            return await self._change(expires=batch.expire_time.seconds)
        return job

    async def _store_inputs(self) -> None:
        """Have every input image in the service's store, each once."""
        asked = await asyncio.to_thread(self.library.jobs.first, self.job.id)
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
        request = await self.peer.inputs.name(
            replace(asked.request, inputs=given), self.library.uploads, lasting=_NEEDED
        )
        places = {image.sha256: image.file_id or image.url for image in request.inputs}
        await self._change(inputs=places)

    # The batch

    async def _check_there(self) -> None:
        """Forget a batch that went with its embedded server, before it had all its requests."""
        if self.job.batch_id is None:
            return
        try:
            await self.peer.client.batch.get(self.job.batch_id, timeout=ANSWER_SECONDS)
        except NotFoundError as error:
            if self.job.backend != "local":
                raise unknown(self.job) from error
            await self._change(batch_id=None)

    async def _find_or_create(self) -> wire.Batch:
        if self.resumed and (found := await self._find()) is not None:
            return found
        for pause in _pauses():
            try:
                return await self.peer.client.batch.create(self.job.name, timeout=ANSWER_SECONDS)
            except _LOST as error:
                await asyncio.sleep(pause)
                if (found := await self._find()) is not None:
                    return found
                failure = error
        raise failure

    async def _find(self) -> wire.Batch | None:
        """Return the batch of the job's name, if the service has one."""
        ask = partial(self.peer.client.batch.list, _PAGE, timeout=ANSWER_SECONDS)
        async for page in _pages(ask):
            for batch in page.batches:
                if batch.name == self.job.name and not batch.HasField("cancel_time"):
                    return batch  # of two, both are empty: what is added knows its id
        return None

    # Its requests

    async def _present(self) -> set[str]:
        """Return the ids of the requests that the service has."""
        ask = partial(
            self.peer.client.batch.list_batch_requests,
            self.job.batch_id or "",
            _PAGE,
            timeout=ANSWER_SECONDS,
        )
        return {
            one.batch_request_id
            async for page in _pages(ask)
            for one in page.batch_request_metadata
        }

    async def _add_missing(self, present: set[str]) -> None:
        """Add the requests that the service has not."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # only jobs are paced

        limiter = AsyncLimiter(*_CALLS)
        there = len(present)
        chunks = _chunks(self._messages(present))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            async with limiter:
                await self._add(chunk)
            there += len(chunk)
            self.on_progress(there)

    def _messages(self, present: set[str]) -> Iterator[wire.BatchRequest]:
        """Yield what the service has not; one of each model first, all of which it may refuse."""
        first: dict[str, str] = {}
        for one in self.library.jobs.requests(self.job.id):
            first.setdefault(one.request.model, one.key)
            if len(first) > _CALL_REQUESTS:
                break
        leading = self.library.jobs.find(self.job.id, list(first.values()))
        for one in [*leading.values(), *self.library.jobs.requests(self.job.id)]:
            if one.key not in present and not one.settled:
                present.add(one.key)
                yield self._message(one.key, one.request)

    def _message(self, key: str, request: ImageRequest) -> wire.BatchRequest:
        inputs = tuple(_placed(image, self.job.inputs[image.sha256]) for image in request.inputs)
        # A URL would be dead an hour after its image was made.
        asked = replace(request, inputs=inputs, n=1, image_format="base64")
        return wire.BatchRequest(batch_request_id=key, image_request=encode(asked))

    async def _add(self, chunk: Sequence[wire.BatchRequest]) -> None:
        """Add requests, of which none is in the batch yet."""
        for pause in _pauses():
            try:
                return await self.peer.client.batch.add(
                    self.job.batch_id or "", chunk, timeout=ANSWER_SECONDS
                )
            except (*_LOST, InvalidRequestError) as error:
                # Also where it says that nothing was done: a proxy may not know.
                if isinstance(error, _LOST):
                    await asyncio.sleep(pause)
                present = await self._present()
                missing = [one for one in chunk if one.batch_request_id not in present]
                if not missing:
                    return None
                if isinstance(error, InvalidRequestError) and len(missing) == len(chunk):
                    raise
                chunk, failure = missing, error
        raise failure

    async def _refused(self, error: ApiError) -> XaiError:
        """Tidy up after a refusal, and return it with what to do."""
        there = 0
        if self.job.batch_id:
            batch = await self.peer.client.batch.cancel(self.job.batch_id, timeout=ANSWER_SECONDS)
            there = len(await self._present())
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


def unknown(job: Job) -> JobError:
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


def _pauses() -> Iterator[float]:
    return (_FIRST_PAUSE * 2**number for number in range(_ROUNDS))


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
