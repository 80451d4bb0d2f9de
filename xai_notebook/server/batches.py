"""Batches: jobs of many requests, completed at a fixed pace and painted when results are read.

Only the clock determines which requests are complete, and the painter can repaint any picture from
its request. So a job of ten thousand requests keeps the requests in memory, but not the pictures.
Results of other engines are kept.

Separate because batches, unlike the methods in `service`, have their own state and clock.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from xai_notebook.client import wire
from xai_notebook.server.faults import Faults, Refusal
from xai_notebook.server.validation import invalid, page_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


MAX_ADD_BYTES: Final = 4_000_000
"""Maximum bytes of one call that adds requests."""
_MAX_CACHED: Final = 32
"""Maximum number of painted results that are cached, in case a page is read again."""
_CONCURRENCY: Final = 4
"""Maximum number of requests of batches that an engine works on at the same time."""
_ENDPOINT: Final = "/v1/images/generations"
_State = wire.BatchRequestMetadata.State


@dataclass(slots=True, eq=False)
class _Entry:
    """One request of a batch.

    Attributes:
        id: The `batch_request_id`, assigned by the server if the client sent none.
        request: The request as received.
        due: Unix time at which the request completes, in seconds.
        first_index: Index of the first picture, so that equal requests get different pictures.
        refusal: Why the request fails. None if it is valid.
        stored: Where the picture was stored, so that painting it again does not store it again.
    """

    id: str
    request: wire.BatchRequest
    due: float
    first_index: int
    refusal: Refusal | None
    stored: wire.GeneratedImage | None = None


@dataclass(slots=True)
class _Batch:
    """One job. Times are Unix times in seconds.

    Attributes:
        id: Id assigned by this server.
        name: Name chosen by the client.
        created: Time of creation.
        expires: Time from which the results can no longer be read.
        entries: Requests by id, in the order in which they complete.
        cancelled: Time of cancellation. None if the job was not cancelled.
        reason: Why the service cancelled the job. None if it did not.
        equal: Numbers of equal requests, by a hash of the request.
    """

    id: str
    name: str
    created: float
    expires: float
    entries: dict[str, _Entry] = field(default_factory=dict)
    cancelled: float | None = None
    reason: str | None = None
    equal: Counter[int] = field(default_factory=Counter)

    def end(self, now: float) -> float | None:
        """Return when the batch was cancelled or expired, or None while it is running."""
        ends = [end for end in (self.cancelled, self.expires) if end is not None and end <= now]
        return min(ends, default=None)

    def is_complete(self, entry: _Entry, now: float) -> bool:
        """Tell whether a request completed before the batch ended."""
        end = self.end(now)
        return entry.due <= (now if end is None else end)

    def state(self, entry: _Entry, now: float) -> wire.BatchRequestMetadata.State:
        """Return the state of a request of the batch."""
        if self.is_complete(entry, now):
            return _State.STATE_FAILED if entry.refusal else _State.STATE_SUCCEEDED
        return _State.STATE_PENDING if self.end(now) is None else _State.STATE_CANCELLED

    def metadata(self, entry: _Entry, now: float) -> wire.BatchRequestMetadata:
        """Describe a request."""
        state, end = self.state(entry, now), self.end(now)
        finished = entry.due if end is None else min(end, entry.due)
        return wire.BatchRequestMetadata(
            batch_request_id=entry.id,
            endpoint=_ENDPOINT,
            model=entry.request.image_request.model,
            state=state,
            create_time=timestamp(self.created),
            finish_time=None if state == _State.STATE_PENDING else timestamp(finished),
        )

    def to_message(self, now: float, *, ticks: int | None, stateless: bool) -> wire.Batch:
        """Describe the batch; `ticks` is the cost per image in 1e-10 USD, None if unknown."""
        states = Counter(self.state(entry, now) for entry in self.entries.values())
        counts = wire.BatchState(
            num_requests=len(self.entries),
            num_pending=states[_State.STATE_PENDING],
            num_success=states[_State.STATE_SUCCEEDED],
            num_error=states[_State.STATE_FAILED],
            num_cancelled=states[_State.STATE_CANCELLED],
        )
        cost, number = counts.num_success * (ticks or 0), counts.num_success
        parts = [{"endpoint": _ENDPOINT, "cost_usd_ticks": cost, "request_count": number}]
        return wire.Batch(
            batch_id=self.id,
            name=self.name,
            create_time=timestamp(self.created),
            expire_time=timestamp(self.expires),
            create_api_key_id="local",
            cancel_time=timestamp(self.cancelled),
            cancel_by_xai_message=self.reason,
            state=None if stateless else counts,
            cost_breakdown=None
            if ticks is None
            else {
                "total_cost_usd_ticks": cost,
                "endpoint_costs": parts,
                "calculation_time": timestamp(now),
            },
        )


class Batches:
    """The batches of one server, and the gRPC methods for batches."""

    def __init__(
        self,
        make: Callable[[wire.GenerateImageRequest, int], Awaitable[wire.ImageResponse]],
        check: Callable[[wire.GenerateImageRequest], Awaitable[object]],
        faults: Faults,
        *,
        repeatable: bool,
        keep_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        """Start empty; `EmbeddedServer` describes the other options.

        `make` makes the pictures of a request; the number is the index of the first picture.
        `check` raises a `Refusal` for a request that cannot succeed. `repeatable` tells whether the
        engine repeats a picture exactly, so that only a few results need to be kept.
        """
        self._make = make
        self._check = check
        self._repeatable = repeatable
        self._faults = faults
        self._bytes_left = keep_bytes
        self._clock = clock
        self._batches: dict[str, _Batch] = {}
        self._cache: OrderedDict[_Entry, wire.BatchResult] = OrderedDict()
        self._tasks: dict[_Entry, asyncio.Task[wire.BatchResult]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    def close(self) -> None:
        """Cancel the running work of engines."""
        for task in self._tasks.values():
            task.cancel()

    # gRPC methods

    async def create(self, request: wire.CreateBatchRequest) -> wire.Batch:
        """Create a batch.

        Raises:
            Refusal: The batch has no name, or the client sent its requests as a file.
        """
        faults = self._faults.batches
        if not request.name.strip():
            raise invalid("A batch needs a name.")
        if request.input_file_id:
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED,
                "The embedded server reads no requests from files. Add them with AddBatchRequests.",
            )
        now = self._clock()
        batch = _Batch(f"batch_{uuid.uuid4()}", request.name, now, now + faults.lifetime)
        self._batches[batch.id] = batch
        if faults.lost_creates:
            faults.lost_creates -= 1
            raise _lost_reply()
        return self._message(self._find(batch.id))

    async def add(self, request: wire.AddBatchRequestsRequest) -> wire.Empty:
        """Add all requests of a call to a batch; after an error, none is added.

        Raises:
            Refusal: The batch is unknown or has ended, the call is too large, an id already
                exists, or a model is unknown or does not support batches.
        """
        faults = self._faults.batches
        refusals = [await self._refusal(each.image_request) for each in request.batch_requests]
        # No await from here on, so that two calls cannot add the same id.
        batch = self._find(request.batch_id)
        now = self._clock()
        if batch.end(now) is not None:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "The batch has ended.")
        added = self._check_added(batch, request)
        last = next(reversed(batch.entries.values()), None)
        start = max(now, last.due) if last else now
        for number, (key, refusal) in enumerate(zip(added, refusals, strict=True), 1):
            digest = hash(added[key].image_request.SerializeToString(deterministic=True))
            due, first_index = start + number / faults.pace, batch.equal[digest]
            batch.entries[key] = _Entry(key, added[key], due, first_index, refusal)
            batch.equal[digest] += 1
        self._bytes_left -= request.ByteSize()
        if faults.lost_adds:
            faults.lost_adds -= 1
            raise _lost_reply()
        return wire.Empty()

    async def get(self, request: wire.GetBatchRequest) -> wire.Batch:
        """Describe a batch."""
        return self._message(self._find(request.batch_id))

    async def cancel(self, request: wire.CancelBatchRequest) -> wire.Batch:
        """Cancel the pending requests of a batch. Completed requests keep their results."""
        batch = self._find(request.batch_id)
        if batch.end(self._clock()) is None:
            batch.cancelled = self._clock()
        return self._message(batch)

    async def list_all(self, request: wire.ListBatchesRequest) -> wire.ListBatchesResponse:
        """Return a page of the batches, newest first."""
        newest = list(self._batches)[::-1]
        page, token = page_of(newest, request.limit, request.pagination_token)
        return wire.ListBatchesResponse(
            batches=[self._message(self._find(batch_id)) for batch_id in page],
            pagination_token=self._token(token),
        )

    async def list_requests(
        self, request: wire.ListBatchRequestMetadataRequest
    ) -> wire.ListBatchRequestMetadataResponse:
        """Return a page of the requests of a batch, in order and filtered by state."""
        batch, now = self._find(request.batch_id), self._clock()
        entries = [
            entry
            for entry in batch.entries.values()
            if not request.status or batch.state(entry, now) in request.status
        ]
        page, token = page_of(entries, request.limit, request.pagination_token)
        return wire.ListBatchRequestMetadataResponse(
            batch_request_metadata=[batch.metadata(entry, now) for entry in page],
            pagination_token=self._token(token),
        )

    async def list_results(
        self, request: wire.ListBatchResultsRequest
    ) -> wire.ListBatchResultsResponse:
        """Return a page of the results of a batch, in the order of its requests."""
        batch, now = self._find_unexpired(request.batch_id), self._clock()
        entries = [entry for entry in batch.entries.values() if batch.is_complete(entry, now)]
        page, token = page_of(entries, request.limit, request.pagination_token)
        results = await asyncio.gather(*map(self._result, page))
        return wire.ListBatchResultsResponse(results=results, pagination_token=self._token(token))

    async def get_result(
        self, request: wire.GetBatchRequestResultRequest
    ) -> wire.GetBatchRequestResultResponse:
        """Return one request of a batch with its result.

        Raises:
            Refusal: The id is unknown, or the request is not complete.
        """
        batch = self._find_unexpired(request.batch_id)
        entry = batch.entries.get(request.batch_request_id)
        if entry is None or not batch.is_complete(entry, self._clock()):
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, f"{request.batch_request_id!r} has no result yet."
            )
        return wire.GetBatchRequestResultResponse(
            request=entry.request, result=await self._result(entry)
        )

    # Batches and requests

    def _check_added(
        self, batch: _Batch, request: wire.AddBatchRequestsRequest
    ) -> dict[str, wire.BatchRequest]:
        """Return the requests of a call by id, after checking that all of them can be added."""
        if (size := request.ByteSize()) > MAX_ADD_BYTES:
            raise invalid(f"A call may add at most {MAX_ADD_BYTES:,} bytes, not {size:,}.")
        if size > self._bytes_left:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "The embedded server holds no more requests. Restart it.",
            )
        added: dict[str, wire.BatchRequest] = {}
        for each in request.batch_requests:
            key = each.batch_request_id or str(uuid.uuid4())
            if key in batch.entries or key in added:
                raise invalid(f"The batch_request_id {key!r} exists already.")
            if not each.HasField("image_request"):
                raise invalid("The embedded server accepts only image requests in a batch.")
            if (model := each.image_request.model) in self._faults.batches.unbatchable:
                raise invalid(f"The model {model!r} does not support batch requests.")
            added[key] = each
        return added

    async def _refusal(self, request: wire.GenerateImageRequest) -> Refusal | None:
        """Return the `Refusal` for an invalid request, or None for a valid request.

        Raises:
            Refusal: The model does not exist, or the engine cannot list its models.
        """
        try:
            await self._check(request)
        except Refusal as refusal:
            if refusal.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return refusal
        return None

    def _find(self, batch_id: str) -> _Batch:
        """Return a batch. Cancel it first if `BatchFaults.cancelled` is set.

        Raises:
            Refusal: NOT_FOUND if the batch does not exist.
        """
        faults = self._faults.batches
        batch = self._batches.get(batch_id)
        if batch is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"The batch {batch_id!r} does not exist.")
        if faults.cancelled and batch.end(self._clock()) is None:
            batch.cancelled, batch.reason = self._clock(), faults.cancelled
        return batch

    def _find_unexpired(self, batch_id: str) -> _Batch:
        """Return a batch if its results have not expired."""
        batch = self._find(batch_id)
        if self._clock() >= batch.expires:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "The batch has expired.")
        return batch

    def _token(self, token: str | None) -> str | None:
        return "0" if self._faults.batches.repeat_token else token

    def _message(self, batch: _Batch) -> wire.Batch:
        return batch.to_message(
            self._clock(),
            ticks=self._faults.cost_ticks or 0 if self._repeatable else None,
            stateless=self._faults.batches.stateless,
        )

    # Results

    async def _result(self, entry: _Entry) -> wire.BatchResult:
        """Return the result of a completed request, making its pictures if necessary."""
        if not self._repeatable:
            # Pictures take long and may cost money: make each once, even if the client leaves.
            if entry not in self._tasks:
                self._tasks[entry] = asyncio.ensure_future(self._make_result(entry))
            return await asyncio.shield(self._tasks[entry])
        result = self._cache.get(entry)
        if result is None:
            result = self._cache[entry] = await self._make_result(entry)
            if len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        return result

    async def _make_result(self, entry: _Entry) -> wire.BatchResult:
        result = wire.BatchResult(batch_request_id=entry.id)
        if entry.id in self._faults.batches.neither:
            return result
        refusal = entry.refusal
        if refusal is None:
            try:
                async with self._slots:
                    response = await self._make_response(entry)
                result.response.image_response.CopyFrom(response)
            except Refusal as error:  # such as an unreadable input image
                refusal = error
        if refusal is not None:
            result.error.code = int(refusal.code.value[0])
            result.error.message = refusal.details
        return result

    async def _make_response(self, entry: _Entry) -> wire.ImageResponse:
        """Make the pictures of a request. Store them only the first time."""
        request = entry.request.image_request
        if entry.stored is None:
            response = await self._make(request, entry.first_index)
            if request.HasField("storage_options") and response.images:
                image = response.images[0]
                entry.stored = wire.GeneratedImage(storage_error=image.storage_error or None)
                if image.HasField("file_output"):
                    entry.stored.file_output.CopyFrom(image.file_output)
            return response
        again = wire.GenerateImageRequest()
        again.CopyFrom(request)
        again.ClearField("storage_options")
        response = await self._make(again, entry.first_index)
        response.images[0].MergeFrom(entry.stored)
        return response


def _lost_reply() -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, "the reply was lost", begun=True)
