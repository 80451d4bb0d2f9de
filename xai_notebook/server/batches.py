"""Batches: requests handed over as one job, done at a pace, their pictures painted when asked for.

What is done by when follows from the clock alone, and what a request gives from the request alone.
So a job of ten thousand keeps ten thousand requests in memory and not one picture.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from xai_notebook.client import wire
from xai_notebook.server import validation
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["BatchFaults", "Batches"]

MAX_ADD_BYTES: Final = 4 * 10**6
"""Of one call that adds requests."""
PACE: Final = 25.0
"""Requests done in a second."""
LIFETIME: Final = 24 * 3600.0
"""Seconds after which a batch's results cannot be read any more."""
_PAGE: Final = 100
_PAINTED: Final = 32
"""Results kept for a page that is asked for again."""

_State = wire.BatchRequestMetadata.State
_T = TypeVar("_T")


@dataclass(kw_only=True)
class BatchFaults:
    """What batches can be made to do wrong; part of `Faults`.

    Attributes:
        pace: Requests done in a second.
        lifetime: Seconds until a batch expires.
        cancelled: The service cancels every batch, with this for its reason.
        stateless: Batches come without their state.
        repeat_token: Every page names the same next one, for ever.
        empty: Ids of requests whose result has neither an answer nor an error.
        unbatchable: Models that cannot be batched.
    """

    pace: float = PACE
    lifetime: float = LIFETIME
    cancelled: str = ""
    stateless: bool = False
    repeat_token: bool = False
    empty: frozenset[str] = frozenset()
    unbatchable: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Batch:
    """One job.

    Attributes:
        id: Ours.
        name: The client's.
        created: Seconds since 1970, like all times here.
        requests: By their ids, in the order they were added.
        due: When each of them is done.
        refused: Why some of them can only fail.
        cancelled: When the client cancelled it.
    """

    id: str
    name: str
    created: float
    requests: dict[str, wire.BatchRequest] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    cancelled: float | None = None


class Batches:
    """Every batch of one server."""

    def __init__(
        self,
        answer: Callable[[wire.GenerateImageRequest], Awaitable[wire.ImageResponse]],
        faults: BatchFaults,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start without any.

        Args:
            answer: Makes the pictures of a request that was checked.
            faults: What goes wrong on purpose.
            clock: Seconds since 1970.
        """
        self._answer = answer
        self.faults = faults
        self._clock = clock
        self._batches: dict[str, _Batch] = {}
        self._painted: OrderedDict[tuple[str, str], wire.BatchResult] = OrderedDict()

    # The methods of the wire

    def create(self, request: wire.CreateBatchRequest) -> wire.Batch:
        """Begin a batch.

        Raises:
            Refusal: It has no name, or names a file of requests.
        """
        if not request.name.strip():
            raise validation.invalid("A batch needs a name.")
        if request.input_file_id:
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED,
                "The embedded server reads no file of requests. Add them with AddBatchRequests.",
            )
        batch = _Batch(f"batch_{uuid.uuid4().hex}", request.name, self._clock())
        self._batches[batch.id] = batch
        return self._message(batch)

    def add(self, request: wire.AddBatchRequestsRequest) -> wire.Empty:
        """Add requests to a batch: all of them, or none.

        Raises:
            Refusal: The batch is unknown or has ended, the call is too large, an id stands twice,
                or a model cannot be batched.
        """
        batch = self._find(request.batch_id)
        if self._ended(batch):
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "The batch has ended.")
        if (size := request.ByteSize()) > MAX_ADD_BYTES:
            raise validation.invalid(
                f"A call may add at most {MAX_ADD_BYTES:,} bytes of requests, not {size:,}."
            )
        given: dict[str, wire.BatchRequest] = {}
        for each in request.batch_requests:
            key = each.batch_request_id or uuid.uuid4().hex
            if key in batch.requests or key in given:
                raise validation.invalid(f"The batch_request_id {key!r} is there already.")
            if not each.HasField("image_request"):
                raise validation.invalid("The embedded server takes batches of images only.")
            if (model := each.image_request.model) in self.faults.unbatchable:
                raise validation.invalid(f"The model {model!r} does not support batch requests.")
            given[key] = each
        begun = max([self._clock(), *list(batch.due.values())[-1:]])
        for number, (key, each) in enumerate(given.items(), 1):
            batch.requests[key] = each
            batch.due[key] = begun + number / self.faults.pace
            try:
                validation.check(each.image_request)
            except Refusal as refusal:
                batch.refused[key] = refusal
        return wire.Empty()

    def get(self, request: wire.GetBatchRequest) -> wire.Batch:
        """Return a batch as it stands.

        Raises:
            Refusal: There is none of this id.
        """
        return self._message(self._find(request.batch_id))

    def cancel(self, request: wire.CancelBatchRequest) -> wire.Batch:
        """Drop what is pending; what is done stays.

        Raises:
            Refusal: There is no batch of this id.
        """
        batch = self._find(request.batch_id)
        if not self._ended(batch):
            batch.cancelled = self._clock()
        return self._message(batch)

    def list_all(self, request: wire.ListBatchesRequest) -> wire.ListBatchesResponse:
        """Return a page of batches, the newest first."""
        newest = list(self._batches.values())[::-1]
        page, token = self._page(newest, request.limit, request.pagination_token)
        return wire.ListBatchesResponse(
            batches=[self._message(batch) for batch in page], pagination_token=token
        )

    def list_requests(
        self, request: wire.ListBatchRequestMetadataRequest
    ) -> wire.ListBatchRequestMetadataResponse:
        """Return a page of what has become of a batch's requests, in their order.

        Raises:
            Refusal: There is no batch of this id.
        """
        batch = self._find(request.batch_id)
        wanted = set(request.status)
        found = [key for key in batch.requests if not wanted or self._state(batch, key) in wanted]
        page, token = self._page(found, request.limit, request.pagination_token)
        return wire.ListBatchRequestMetadataResponse(
            batch_request_metadata=[self._metadata(batch, key) for key in page],
            pagination_token=token,
        )

    async def list_results(
        self, request: wire.ListBatchResultsRequest
    ) -> wire.ListBatchResultsResponse:
        """Return a page of the results there are, in the order of their requests.

        Raises:
            Refusal: There is no batch of this id, or it has expired.
        """
        batch = self._readable(request.batch_id)
        done = [key for key in batch.requests if self._is_done(batch, key)]
        page, token = self._page(done, request.limit, request.pagination_token)
        results = [await self._result(batch, key) for key in page]
        return wire.ListBatchResultsResponse(results=results, pagination_token=token)

    async def get_result(
        self, request: wire.GetBatchRequestResultRequest
    ) -> wire.GetBatchRequestResultResponse:
        """Return one request with its result.

        Raises:
            Refusal: There is none of this id, or it is not done.
        """
        batch, key = self._readable(request.batch_id), request.batch_request_id
        if key not in batch.requests or not self._is_done(batch, key):
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"There is no result for {key!r} yet.")
        return wire.GetBatchRequestResultResponse(
            request=batch.requests[key], result=await self._result(batch, key)
        )

    # What is where

    def _find(self, batch_id: str) -> _Batch:
        batch = self._batches.get(batch_id)
        if batch is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"There is no batch {batch_id!r}.")
        return batch

    def _readable(self, batch_id: str) -> _Batch:
        batch = self._find(batch_id)
        if self._clock() >= batch.created + self.faults.lifetime:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "The batch has expired.")
        return batch

    def _end(self, batch: _Batch) -> float | None:
        """Return when a batch ended before its work was done; None: it did not."""
        if self.faults.cancelled:
            return batch.created
        expires = batch.created + self.faults.lifetime
        return batch.cancelled or (expires if self._clock() >= expires else None)

    def _ended(self, batch: _Batch) -> bool:
        return self._end(batch) is not None

    def _state(self, batch: _Batch, key: str) -> wire.BatchRequestMetadata.State:
        end = self._end(batch)
        if batch.due[key] <= (self._clock() if end is None else end):
            return _State.STATE_FAILED if key in batch.refused else _State.STATE_SUCCEEDED
        return _State.STATE_PENDING if end is None else _State.STATE_CANCELLED

    def _is_done(self, batch: _Batch, key: str) -> bool:
        return self._state(batch, key) in {_State.STATE_SUCCEEDED, _State.STATE_FAILED}

    def _page(self, items: Sequence[_T], limit: int, token: str) -> tuple[Sequence[_T], str | None]:
        """Return a page and the token of the next one, which is the place it begins at."""
        size = limit if 0 < limit <= _PAGE else _PAGE
        start = int(token) if token.isdecimal() else 0
        end = start + size
        if self.faults.repeat_token:
            return items[:size], "0"
        return items[start:end], str(end) if end < len(items) else None

    # Messages

    def _message(self, batch: _Batch) -> wire.Batch:
        end = self._end(batch)
        message = wire.Batch(
            batch_id=batch.id,
            name=batch.name,
            create_time=_timestamp(batch.created),
            expire_time=_timestamp(batch.created + self.faults.lifetime),
            create_api_key_id="local",
        )
        if self.faults.cancelled:
            message.cancel_by_xai_message = self.faults.cancelled
        if (self.faults.cancelled or batch.cancelled) and end is not None:
            message.cancel_time.CopyFrom(_timestamp(end))
        if not self.faults.stateless:
            message.state.CopyFrom(self._counts(batch))
        message.cost_breakdown.total_cost_usd_ticks = 0
        return message

    def _counts(self, batch: _Batch) -> wire.BatchState:
        states = [self._state(batch, key) for key in batch.requests]
        return wire.BatchState(
            num_requests=len(states),
            num_pending=states.count(_State.STATE_PENDING),
            num_success=states.count(_State.STATE_SUCCEEDED),
            num_error=states.count(_State.STATE_FAILED),
            num_cancelled=states.count(_State.STATE_CANCELLED),
        )

    def _metadata(self, batch: _Batch, key: str) -> wire.BatchRequestMetadata:
        state = self._state(batch, key)
        message = wire.BatchRequestMetadata(
            batch_request_id=key,
            endpoint="/v1/images/generations",
            model=batch.requests[key].image_request.model,
            state=state,
            create_time=_timestamp(batch.created),
        )
        if state != _State.STATE_PENDING:
            message.finish_time.CopyFrom(_timestamp(batch.due[key]))
        return message

    async def _result(self, batch: _Batch, key: str) -> wire.BatchResult:
        """Return the result of a request that is done, painted now if it was not a moment ago."""
        place = (batch.id, key)
        if place not in self._painted:
            self._painted[place] = await self._paint(batch, key)
            if len(self._painted) > _PAINTED:
                self._painted.popitem(last=False)
        return self._painted[place]

    async def _paint(self, batch: _Batch, key: str) -> wire.BatchResult:
        result = wire.BatchResult(batch_request_id=key)
        if key in self.faults.empty:
            return result
        refusal = batch.refused.get(key)
        if refusal is None:
            try:
                reply = await self._answer(batch.requests[key].image_request)
            except Refusal as refused:  # an input image that cannot be read, say
                refusal = refused
            else:
                result.response.image_response.CopyFrom(reply)
        if refusal is not None:
            result.error.code = int(refusal.code.value[0])
            result.error.message = refusal.details
        return result


def _timestamp(seconds: float) -> Timestamp:
    from google.protobuf.timestamp_pb2 import Timestamp  # noqa: PLC0415  # the wire loaded it

    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
