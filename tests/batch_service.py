"""A batch service on xAI's own stubs; tests control its answers and lists.

A request that is sent twice counts twice: the real service is not known to drop the second.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from xai_sdk.proto import (
    batch_pb2,
    batch_pb2_grpc,
    chat_pb2,
    chat_pb2_grpc,
    image_pb2,
    models_pb2,
    models_pb2_grpc,
)

from harness import CENT, tiny
from xai_notebook.generation.event_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAY: Final = 24 * 3600
PICTURE: Final = base64.b64encode(tiny()).decode()
SILENCE: Final = "silence"


@dataclass(frozen=True)
class Failure:
    """The answer to a call that creates a batch or adds to one.

    Attributes:
        answer: Name of a gRPC status, or `SILENCE` for no answer.
        served: Whether the service does what the call asks for, and only then fails.
    """

    answer: str
    served: bool = True


@dataclass
class Batch:
    """A batch at the service.

    Attributes:
        id: The service's id.
        name: The client's name for it.
        requests: Its requests, repeated ones as often as they were sent.
        added: When each was added, by a monotonic clock.
        shown: Number of requests that its lists contain.
        hidden: Number of looks (listings of all requests) until its lists show more.
        cancelled: Whether it was cancelled.
    """

    id: str
    name: str
    requests: list[Any] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    shown: int = 0
    hidden: int = 0
    cancelled: bool = False


class BatchService(
    batch_pb2_grpc.BatchMgmtServicer, models_pb2_grpc.ModelsServicer, chat_pb2_grpc.ChatServicer
):
    """Batches, the models' prices, and a chat model that answers differently each time.

    Attributes:
        batches: Batches by id.
        creates: Failures of the next calls that create a batch; None: success.
        adds: Failures of the next calls that add requests; None: success.
        late: Number of `ListBatches` calls that do not list a new batch yet, and of looks (listings
            of all requests) that do not list new requests yet.
        step: Number of further requests that each later look lists; None: all.
        counts: Whether `num_requests` counts all requests, or only those that are listed.
        lists: Whether requests are listed.
        rate: Results per second; None: all at once.
        ready: Number of finished results of each batch; None: according to `rate`.
        imageless: Prompts whose results have a cost and no image.
        expired: Whether results can no longer be read.
        forgotten: Whether the service knows no batch.
        arrived: Number of calls by method.
    """

    def __init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self.creates: deque[Failure | None] = deque()
        self.adds: deque[Failure | None] = deque()
        self.late = 0
        self.step: int | None = None
        self.counts = True
        self.lists = True
        self.rate: float | None = None
        self.ready: int | None = None
        self.imageless: frozenset[str] = frozenset()
        self.expired = self.forgotten = False
        self.arrived: Counter[str] = Counter()
        self.port = 0
        self._unlisted: dict[str, int] = {}
        self._words = itertools.count()

    @property
    def host(self) -> str:
        """Address for clients."""
        return f"localhost:{self.port}"

    @property
    def submitted(self) -> Counter[str]:
        """How often each prompt was submitted, over all batches."""
        sent = (request for batch in self.batches.values() for request in batch.requests)
        return Counter(request.image_request.prompt for request in sent)

    @property
    def cost_usd(self) -> float:
        """Cost of all requests, in US dollars."""
        return sum(self.submitted.values()) / 100

    # Writing calls

    async def CreateBatch(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        self.arrived["create"] += 1
        failure = self.creates.popleft() if self.creates else None
        batch = Batch(f"batch_{len(self.batches)}", request.name)
        if failure is None or failure.served:
            self.batches[batch.id] = batch
            self._unlisted[batch.id] = self.late
        await _fail(failure, context)
        return self._message(batch)

    async def AddBatchRequests(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        self.arrived["add"] += 1
        failure = self.adds.popleft() if self.adds else None
        batch = await self._find(request.batch_id, context)
        if failure is None or failure.served:
            batch.requests += request.batch_requests
            batch.added += [time.monotonic()] * len(request.batch_requests)
            batch.hidden = self.late
        await _fail(failure, context)
        return Empty()

    async def CancelBatch(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        batch = await self._find(request.batch_id, context)
        batch.cancelled = True
        return self._message(batch)

    # Reading calls

    async def GetBatch(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        return self._message(await self._find(request.batch_id, context))

    async def ListBatches(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        listed = [batch for batch in self.batches.values() if self._unlisted[batch.id] <= 0]
        for name in self._unlisted:
            self._unlisted[name] -= 1
        page, token = _page(listed, request)
        return batch_pb2.ListBatchesResponse(
            batches=map(self._message, page), pagination_token=token
        )

    async def ListBatchRequestMetadata(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        batch = await self._find(request.batch_id, context)
        if not request.pagination_token:
            self.arrived["look"] += 1
            if batch.hidden > 0:
                batch.hidden -= 1
            else:
                shown = batch.shown + (self.step or len(batch.requests))
                batch.shown = min(shown, len(batch.requests))
        page, token = _page(batch.requests[: batch.shown] if self.lists else [], request)
        listed = [{"batch_request_id": request.batch_request_id} for request in page]
        return batch_pb2.ListBatchRequestMetadataResponse(
            batch_request_metadata=listed, pagination_token=token
        )

    async def ListBatchResults(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        batch = await self._find(request.batch_id, context)
        if self.expired:
            await context.abort(grpc.StatusCode.NOT_FOUND, "The batch has expired.")
        page, token = _page(batch.requests[: self._done(batch)], request)
        return batch_pb2.ListBatchResultsResponse(
            results=map(self._result, page), pagination_token=token
        )

    # Prices and chat

    async def ListImageGenerationModels(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        models = [{"name": "grok-imagine-image", "image_price": CENT}]
        return models_pb2.ListImageGenerationModelsResponse(models=models)

    async def GetCompletion(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        text = f"{request.messages[-1].content[0].text}, in words {next(self._words)}"
        message = {"content": text, "role": "ROLE_ASSISTANT"}
        return chat_pb2.GetChatCompletionResponse(model="chat", outputs=[{"message": message}])

    # State

    async def _find(self, batch_id: str, context: Any) -> Batch:
        if self.forgotten or batch_id not in self.batches:
            await context.abort(grpc.StatusCode.NOT_FOUND, "The batch is unknown.")
        return self.batches[batch_id]

    def _done(self, batch: Batch) -> int:
        if self.ready is not None:
            return min(self.ready, len(batch.requests))
        if self.rate is None:
            return len(batch.requests)
        now = time.monotonic()
        times = zip(batch.added, itertools.count(1), strict=False)
        return sum(added + number / self.rate <= now for added, number in times)

    def _message(self, batch: Batch) -> Any:
        done = self._done(batch)
        total = len(batch.requests) if self.counts else batch.shown
        ended = batch.cancelled or self.expired
        return batch_pb2.Batch(
            batch_id=batch.id,
            name=batch.name,
            expire_time=Timestamp(seconds=int(REAL_TIME()) + DAY),
            cancel_time=Timestamp(seconds=1) if batch.cancelled else None,
            state={
                "num_requests": total,
                "num_pending": 0 if ended else len(batch.requests) - done,
                "num_success": done,
            },
        )

    def _result(self, request: Any) -> Any:
        reply = image_pb2.ImageResponse(model="grok-imagine-image")
        reply.usage.cost_in_usd_ticks = CENT
        if request.image_request.prompt not in self.imageless:
            reply.images.add(base64=PICTURE, respect_moderation=True)
        response = {"image_response": reply}
        return {"batch_request_id": request.batch_request_id, "response": response}


REAL_TIME: Final = time.time
"""The service's clock, which tests do not patch."""


async def _fail(failure: Failure | None, context: Any) -> None:
    if failure is None:
        return
    if failure.answer == SILENCE:
        await asyncio.Event().wait()
    await context.abort(grpc.StatusCode[failure.answer], "as the test wants it")


def _page(items: Sequence[Any], request: Any) -> tuple[Sequence[Any], str | None]:
    start = int(request.pagination_token or 0)
    end = start + (request.limit or 100)
    return items[start:end], str(end) if end < len(items) else None


@contextlib.contextmanager
def batch_service() -> Iterator[BatchService]:
    """Run a batch service until the block ends."""
    service, loop = BatchService(), BackgroundLoop()

    async def start() -> Any:
        server = grpc.aio.server()
        batch_pb2_grpc.add_BatchMgmtServicer_to_server(service, server)
        models_pb2_grpc.add_ModelsServicer_to_server(service, server)
        chat_pb2_grpc.add_ChatServicer_to_server(service, server)
        service.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server

    server = loop.run(start())
    try:
        yield service
    finally:
        loop.run(server.stop(None))
        loop.stop()
