"""Batches: requests handed over as one job, done at a pace, their pictures painted when asked for.

What is done by when follows from the clock alone, and what a request gives from the request alone.
So a job of ten thousand keeps ten thousand requests in memory and not one picture.

Separate because batches have state and a clock of their own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_right
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from xai_notebook.client import wire
from xai_notebook.server.faults import Faults, Refusal
from xai_notebook.server.validation import invalid, timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.server.dispatch import SeenCall

__all__ = ["Batch", "Batches"]

_ENDPOINT: Final = "/v1/images/generations"
_State = wire.BatchRequestMetadata.State


@dataclass(slots=True)
class Batch:
    """One job. Times are seconds since 1970.

    Attributes:
        id: Ours.
        name: The client's.
        created: When it was made.
        expires: When it can no longer be read.
        requests: By their ids, in the order they were added, which is that they are done in.
        keys: Their ids.
        due: When each of them is done.
        places: Where in the order each of them is.
        takes: How many equal ones came before each: equal requests are other takes.
        refused: Why some of them can only fail, by their places.
        outputs: What a picture was stored as that may have to be painted again.
        cancelled: When it was cancelled.
        reason: Why the service cancelled it.
    """

    id: str
    name: str
    created: float
    expires: float
    requests: list[wire.BatchRequest] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    takes: list[int] = field(default_factory=list)
    refused: dict[int, Refusal] = field(default_factory=dict)
    outputs: dict[int, wire.GeneratedImage] = field(default_factory=dict)
    cancelled: float | None = None
    reason: str | None = None
    _equal: Counter[int] = field(default_factory=Counter)

    def end(self, now: float) -> float | None:
        """Return when it ended before its work was done; None: it did not."""
        ends = [at for at in (self.cancelled, self.expires) if at is not None and at <= now]
        return min(ends, default=None)

    def done(self, now: float) -> int:
        """Return how many of its requests are done: always the first ones."""
        end = self.end(now)
        return bisect_right(self.due, now if end is None else end)

    def add(
        self, key: str, request: wire.BatchRequest, due: float, refusal: Refusal | None
    ) -> None:
        """Put a request behind the others; a `refusal` says why it can only fail."""
        place = len(self.keys)
        self.places[key] = place
        self.requests.append(request)
        self.keys.append(key)
        self.due.append(due)
        asked = hash(request.image_request.SerializeToString(deterministic=True))
        self.takes.append(self._equal[asked])
        self._equal[asked] += 1
        if refusal is not None:
            self.refused[place] = refusal

    def state(self, place: int, now: float) -> wire.BatchRequestMetadata.State:
        """Return what has become of a request."""
        if place < self.done(now):
            return _State.STATE_FAILED if place in self.refused else _State.STATE_SUCCEEDED
        return _State.STATE_PENDING if self.end(now) is None else _State.STATE_CANCELLED

    def counts(self, now: float) -> wire.BatchState:
        """Return how many requests are where."""
        total, done = len(self.keys), self.done(now)
        failed = sum(place < done for place in self.refused)
        ended = self.end(now) is not None
        return wire.BatchState(
            num_requests=total,
            num_pending=0 if ended else total - done,
            num_success=done - failed,
            num_error=failed,
            num_cancelled=total - done if ended else 0,
        )

    def metadata(self, place: int, now: float) -> wire.BatchRequestMetadata:
        """Describe a request."""
        state, end = self.state(place, now), self.end(now)
        finished = self.due[place] if end is None else min(end, self.due[place])
        return wire.BatchRequestMetadata(
            batch_request_id=self.keys[place],
            endpoint=_ENDPOINT,
            model=self.requests[place].image_request.model,
            state=state,
            create_time=timestamp(self.created),
            finish_time=None if state == _State.STATE_PENDING else timestamp(finished),
        )

    def to_message(self, now: float, *, ticks: int | None, stateless: bool) -> wire.Batch:
        """Describe the batch.

        Args:
            now: Seconds since 1970.
            ticks: What each image cost, in 1e-10 USD; None: not known.
            stateless: Leave the counts out.
        """
        counts = self.counts(now)
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


MAX_ADD_BYTES: Final = 4_000_000
"""Of one call that adds requests."""
_PAGE: Final = 100
_PAINTED: Final = 32
"""Results kept for a page that is asked for again."""
_AT_ONCE: Final = 4
"""Requests that an engine other than the painter has at the same time."""

_T = TypeVar("_T")


class Batches:
    """Every batch of one server."""

    def __init__(
        self,
        answer: Callable[[wire.GenerateImageRequest, int], Awaitable[wire.ImageResponse]],
        check: Callable[[wire.GenerateImageRequest], Awaitable[object]],
        faults: Faults,
        *,
        repeatable: bool,
        keep_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start without any.

        Args:
            answer: Makes the pictures of a request that was checked, a take of it.
            check: Raises a `Refusal` of what can only fail.
            faults: What goes wrong on purpose.
            repeatable: A picture made again is the same one: not all are kept.
            keep_bytes: Of all requests together; what goes over is refused.
            clock: Seconds since 1970.
        """
        self._answer = answer
        self._check = check
        self._repeatable = repeatable
        self._faults = faults
        self._left = keep_bytes
        self._clock = clock
        self._batches: dict[str, Batch] = {}
        self._painted: OrderedDict[tuple[str, int], wire.BatchResult] = OrderedDict()
        self._making: dict[tuple[str, int], asyncio.Task[wire.BatchResult]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def close(self) -> None:
        """Have nothing more made."""
        for making in self._making.values():
            making.cancel()

    # The methods of the wire

    async def create(self, request: wire.CreateBatchRequest, _call: SeenCall) -> wire.Batch:
        """Begin a batch.

        Raises:
            Refusal: It has no name, or names a file of requests.
        """
        faults = self._faults.batches
        Faults.strike(faults.failure)
        if not request.name.strip():
            raise invalid("A batch needs a name.")
        if request.input_file_id:
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED,
                "The embedded server reads no file of requests. Add them with AddBatchRequests.",
            )
        now = self._clock()
        batch = Batch(f"batch_{uuid.uuid4()}", request.name, now, now + faults.lifetime)
        self._batches[batch.id] = batch
        if faults.lost_creates:
            faults.lost_creates -= 1
            raise _lost()
        return self._message(self._find(batch.id))

    async def add(self, request: wire.AddBatchRequestsRequest, _call: SeenCall) -> wire.Empty:
        """Add requests to a batch: all of them, or none.

        Raises:
            Refusal: The batch is unknown or has ended, the call is too large, an id stands twice,
                or a model cannot be batched, or is none.
        """
        faults = self._faults.batches
        refusals = [await self._refusal(each.image_request) for each in request.batch_requests]
        # Nothing is awaited from here on: two calls cannot add the same id.
        batch = self._find(request.batch_id)
        now = self._clock()
        if batch.end(now) is not None:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "The batch has ended.")
        given = self._checked(batch, request)
        begun = max([now, *batch.due[-1:]])
        for number, (key, refusal) in enumerate(zip(given, refusals, strict=True), 1):
            batch.add(key, given[key], begun + number / faults.pace, refusal)
        self._left -= request.ByteSize()
        if faults.lost_adds:
            faults.lost_adds -= 1
            raise _lost()
        return wire.Empty()

    async def get(self, request: wire.GetBatchRequest, _call: SeenCall) -> wire.Batch:
        """Return a batch as it stands.

        Raises:
            Refusal: There is none of this id.
        """
        return self._message(self._find(request.batch_id))

    async def cancel(self, request: wire.CancelBatchRequest, _call: SeenCall) -> wire.Batch:
        """Drop what is pending; what is done stays.

        Raises:
            Refusal: There is no batch of this id.
        """
        batch = self._find(request.batch_id)
        if batch.end(self._clock()) is None:
            batch.cancelled = self._clock()
        return self._message(batch)

    async def list_all(
        self, request: wire.ListBatchesRequest, _call: SeenCall
    ) -> wire.ListBatchesResponse:
        """Return a page of batches, the newest first."""
        newest = list(self._batches)[::-1]
        page, token = self._page(newest, request.limit, request.pagination_token)
        return wire.ListBatchesResponse(
            batches=[self._message(self._find(name)) for name in page], pagination_token=token
        )

    async def list_requests(
        self, request: wire.ListBatchRequestMetadataRequest, _call: SeenCall
    ) -> wire.ListBatchRequestMetadataResponse:
        """Return a page of what has become of a batch's requests, in their order.

        Raises:
            Refusal: There is no batch of this id.
        """
        batch, now = self._find(request.batch_id), self._clock()
        wanted = set(request.status)
        places: Sequence[int] = range(len(batch.keys))
        if wanted:
            places = [place for place in places if batch.state(place, now) in wanted]
        page, token = self._page(places, request.limit, request.pagination_token)
        return wire.ListBatchRequestMetadataResponse(
            batch_request_metadata=[batch.metadata(place, now) for place in page],
            pagination_token=token,
        )

    async def list_results(
        self, request: wire.ListBatchResultsRequest, _call: SeenCall
    ) -> wire.ListBatchResultsResponse:
        """Return a page of the results there are, in the order of their requests.

        Raises:
            Refusal: There is no batch of this id, or it has expired.
        """
        batch = self._readable(request.batch_id)
        done = range(batch.done(self._clock()))
        page, token = self._page(done, request.limit, request.pagination_token)
        results = await asyncio.gather(*(self._result(batch, place) for place in page))
        return wire.ListBatchResultsResponse(results=results, pagination_token=token)

    async def get_result(
        self, request: wire.GetBatchRequestResultRequest, _call: SeenCall
    ) -> wire.GetBatchRequestResultResponse:
        """Return one request with its result.

        Raises:
            Refusal: There is none of this id, or it is not done.
        """
        batch = self._readable(request.batch_id)
        done = batch.done(self._clock())
        place = batch.places.get(request.batch_request_id, done)
        if place >= done:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, f"There is no result for {request.batch_request_id!r}."
            )
        return wire.GetBatchRequestResultResponse(
            request=batch.requests[place], result=await self._result(batch, place)
        )

    # What is where

    def _checked(
        self, batch: Batch, request: wire.AddBatchRequestsRequest
    ) -> dict[str, wire.BatchRequest]:
        """Return the requests of a call by their ids, if all of them can be added."""
        if (size := request.ByteSize()) > MAX_ADD_BYTES:
            raise invalid(f"A call may add at most {MAX_ADD_BYTES:,} bytes, not {size:,}.")
        if size > self._left:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "The embedded server holds no more requests. Start it again.",
            )
        given: dict[str, wire.BatchRequest] = {}
        for each in request.batch_requests:
            key = each.batch_request_id or str(uuid.uuid4())
            if key in batch.places or key in given:
                raise invalid(f"The batch_request_id {key!r} is there already.")
            if not each.HasField("image_request"):
                raise invalid("The embedded server takes batches of images only.")
            if (model := each.image_request.model) in self._faults.batches.unbatchable:
                raise invalid(f"The model {model!r} does not support batch requests.")
            given[key] = each
        return given

    async def _refusal(self, request: wire.GenerateImageRequest) -> Refusal | None:
        """Return why a request can only fail.

        Raises:
            Refusal: There is no such model, or it cannot be told now.
        """
        try:
            await self._check(request)
        except Refusal as refusal:
            if refusal.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return refusal
        return None

    def _find(self, batch_id: str) -> Batch:
        """Return a batch, cancelled if the service is to cancel batches."""
        faults = self._faults.batches
        Faults.strike(faults.failure)
        batch = self._batches.get(batch_id)
        if batch is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"There is no batch {batch_id!r}.")
        if faults.cancelled and batch.end(self._clock()) is None:
            batch.cancelled, batch.reason = self._clock(), faults.cancelled
        return batch

    def _readable(self, batch_id: str) -> Batch:
        batch = self._find(batch_id)
        if self._clock() >= batch.expires:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "The batch has expired.")
        return batch

    def _page(self, items: Sequence[_T], limit: int, token: str) -> tuple[Sequence[_T], str | None]:
        """Return a page and the token of the next one, which is the place it begins at."""
        size = limit if 0 < limit <= _PAGE else _PAGE
        if self._faults.batches.repeat_token:
            return items[:size], "0"
        start = int(token) if token.isdecimal() else 0
        end = start + size
        return items[start:end], str(end) if end < len(items) else None

    # Messages

    def _message(self, batch: Batch) -> wire.Batch:
        return batch.to_message(
            self._clock(),
            ticks=self._faults.cost_ticks or 0 if self._repeatable else None,
            stateless=self._faults.batches.stateless,
        )

    async def _result(self, batch: Batch, place: int) -> wire.BatchResult:
        """Return the result of a request that is done, painted now if it was not a moment ago."""
        at = (batch.id, place)
        if not self._repeatable:
            return await self._made_once(at, batch)
        result = self._painted.get(at)
        if result is None:
            result = self._painted[at] = await self._paint(batch, place)
            if len(self._painted) > _PAINTED:
                self._painted.popitem(last=False)
        return result

    async def _made_once(self, at: tuple[str, int], batch: Batch) -> wire.BatchResult:
        """Return a result that took long and may have cost something: whoever asks, it is kept."""

        async def make() -> wire.BatchResult:
            async with self._slots:
                return await self._paint(batch, at[1])

        if at not in self._making:
            self._making[at] = asyncio.ensure_future(make())
        return await asyncio.shield(self._making[at])

    async def _paint(self, batch: Batch, place: int) -> wire.BatchResult:
        result = wire.BatchResult(batch_request_id=batch.keys[place])
        if result.batch_request_id in self._faults.batches.neither:
            return result
        refusal = batch.refused.get(place)
        if refusal is None:
            try:
                result.response.image_response.CopyFrom(await self._reply(batch, place))
            except Refusal as refused:  # an input image that cannot be read, say
                refusal = refused
        if refusal is not None:
            result.error.code = int(refusal.code.value[0])
            result.error.message = refusal.details
        return result

    async def _reply(self, batch: Batch, place: int) -> wire.ImageResponse:
        """Paint the pictures of a request, and store them only once."""
        request, take = batch.requests[place].image_request, batch.takes[place]
        if place not in batch.outputs:
            reply = await self._answer(request, take)
            if request.HasField("storage_options") and reply.images:
                kept = wire.GeneratedImage(storage_error=reply.images[0].storage_error or None)
                if reply.images[0].HasField("file_output"):
                    kept.file_output.CopyFrom(reply.images[0].file_output)
                batch.outputs[place] = kept
            return reply
        again = wire.GenerateImageRequest()
        again.CopyFrom(request)
        again.ClearField("storage_options")
        reply = await self._answer(again, take)
        reply.images[0].MergeFrom(batch.outputs[place])
        return reply


def _lost() -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, "the reply was lost", begun=True)
