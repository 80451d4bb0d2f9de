"""The batch methods of the client: many requests as one job, and their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from xai_notebook.client import bounds, wire
from xai_notebook.client.encoding import message
from xai_notebook.client.response import ImageResponse, cost_usd
from xai_notebook.errors import MissingImageError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client.http import Downloader
    from xai_notebook.client.transport.connection import Connection

MAX_ADD_BYTES: Final = 4_000_000
"""Of one call that adds requests; the service refused larger ones."""


class BatchResult:
    """The result of one request of a batch."""

    def __init__(self, proto: wire.BatchResult, downloader: Downloader) -> None:
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        return f"BatchResult({self.batch_request_id!r}, is_success={self.is_success})"

    @property
    def batch_request_id(self) -> str:
        """The id of the request, chosen by the caller or the service."""
        return self.proto.batch_request_id

    @property
    def is_success(self) -> bool:
        """Whether the result has an answer. With neither an answer nor an error, it has failed."""
        return self.proto.response.WhichOneof("response") is not None

    @property
    def has_error(self) -> bool:
        """Whether the request failed."""
        return not self.is_success

    @property
    def error_message(self) -> str | None:
        """Why the request failed; None if it succeeded."""
        if self.is_success:
            return None
        return (
            bounds.line(self.proto.error.message)
            or "The service gave neither an answer nor a reason."
        )

    @property
    def cost_usd(self) -> float | None:
        """Price of the request in US dollars, with or without an image; None if not reported."""
        return cost_usd(self.proto.response.image_response.usage)

    @property
    def model(self) -> str:
        """The model that answered; `""` if not reported."""
        return bounds.line(self.proto.response.image_response.model)

    @property
    def image_response(self) -> ImageResponse:
        """The image.

        Raises:
            MissingImageError: The request failed, or its answer has no image.
        """
        reply = self.proto.response.image_response
        if not reply.images:
            reason = self.error_message or "The answer holds no image."
            raise MissingImageError(f"Request {self.batch_request_id!r} has no image. {reason}")
        return ImageResponse(reply, 0, self._downloader)


class BatchResults:
    """A page of results."""

    def __init__(self, proto: wire.ListBatchResultsResponse, downloader: Downloader) -> None:
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        return f"BatchResults({len(self.proto.results)} results)"

    @property
    def results(self) -> Sequence[BatchResult]:
        """All results of the page, in the service's order."""
        return [BatchResult(result, self._downloader) for result in self.proto.results]

    @property
    def succeeded(self) -> Sequence[BatchResult]:
        """The results with an answer."""
        return [result for result in self.results if result.is_success]

    @property
    def failed(self) -> Sequence[BatchResult]:
        """The results without an answer."""
        return [result for result in self.results if result.has_error]

    @property
    def pagination_token(self) -> str | None:
        """The token of the next page; None if this is the last one."""
        return self.proto.pagination_token or None


class BatchClient:
    """Submits many requests as one job, and lists their results.

    Every method takes a `timeout` in seconds over all attempts; default: the client's. Every method
    raises an `ApiError` if the server answers with a status other than OK, or does not answer:
    `NotFoundError` if it does not know the batch.
    """

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
        self._connection = connection
        self._downloader = downloader

    async def create(
        self,
        batch_name: str,
        *,
        input_file_id: str | None = None,
        timeout: float | None = None,
    ) -> wire.Batch:
        """Create a batch.

        A failed call is retried only if no connection was made. After any other failure the batch
        may exist: look for its name with `list`, more than once, before you call this again. A
        service may do the work and answer UNAVAILABLE.

        Args:
            batch_name: Name that `list` shows.
            input_file_id: A stored file of requests, one JSON object a line. Requests cannot be
                added to such a batch.
            timeout: See the class.
        """
        request = message(wire.CreateBatchRequest, name=batch_name, input_file_id=input_file_id)
        return await self._connection.unary(
            wire.CREATE_BATCH, request, wire.Batch, timeout=timeout, only_unsent=True
        )

    async def add(
        self,
        batch_id: str,
        batch_requests: Iterable[wire.BatchRequest],
        *,
        timeout: float | None = None,
    ) -> None:
        """Add requests to a batch in one call, all of them or none.

        A failed call is retried only if no connection was made. After any other failure the
        requests may have been added: compare with `list_batch_requests`, more than once, before you
        call this again. A service may do the work and answer UNAVAILABLE, and its list may show the
        requests seconds later.

        Args:
            batch_id: Id of the batch.
            batch_requests: Made by `client.image.prepare`.
            timeout: See the class.

        Raises:
            OptionError: They are too large for one call, or two have the same id. Nothing was sent.
        """
        requests = [_own_message(request) for request in batch_requests]
        ids = [request.batch_request_id for request in requests if request.batch_request_id]
        if len(ids) > len(set(ids)):
            duplicate = next(each for each in ids if ids.count(each) > 1)
            raise OptionError(f"The batch_request_id {duplicate!r} occurs twice. Make each unique.")
        request = message(wire.AddBatchRequestsRequest, batch_id=batch_id, batch_requests=requests)
        if (size := request.ByteSize()) > MAX_ADD_BYTES:
            raise OptionError(
                f"{len(requests)} requests take {size:,} bytes; at most"
                f" {MAX_ADD_BYTES:,} are allowed per call. Add fewer at a time, or upload input"
                " images and name them by image_file_id."
            )
        await self._connection.unary(
            wire.ADD_BATCH_REQUESTS, request, wire.Empty, timeout=timeout, only_unsent=True
        )

    async def get(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Return the present state of a batch.

        A batch without `state` is not finished.
        """
        request = message(wire.GetBatchRequest, batch_id=batch_id)
        return await self._connection.unary(
            wire.GET_BATCH, request, wire.Batch, timeout=timeout, idempotent=True
        )

    async def cancel(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Cancel the pending requests; results stay. A batch that has ended is not changed."""
        request = message(wire.CancelBatchRequest, batch_id=batch_id)
        return await self._connection.unary(
            wire.CANCEL_BATCH, request, wire.Batch, timeout=timeout, idempotent=True
        )

    async def list(
        self,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> wire.ListBatchesResponse:
        """Return a page of all batches.

        Args:
            limit: Entries of the page; default: the service's.
            pagination_token: From the page before. The last page has an empty one.
            timeout: See the class.
        """
        return await self._connection.unary(
            wire.LIST_BATCHES,
            message(wire.ListBatchesRequest, limit=limit, pagination_token=pagination_token),
            wire.ListBatchesResponse,
            timeout=timeout,
            idempotent=True,
        )

    async def list_batch_requests(
        self,
        batch_id: str,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> wire.ListBatchRequestMetadataResponse:
        """Return a page of the requests and their states; see `list` for the pages."""
        return await self._connection.unary(
            wire.LIST_BATCH_REQUEST_METADATA,
            message(
                wire.ListBatchRequestMetadataRequest,
                batch_id=batch_id,
                limit=limit,
                pagination_token=pagination_token,
            ),
            wire.ListBatchRequestMetadataResponse,
            timeout=timeout,
            idempotent=True,
        )

    async def list_batch_results(
        self,
        batch_id: str,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> BatchResults:
        """Return a page of the present results, in any order, also while the batch runs.

        See `list` for the pages. A page of images in base64 is one message: keep its `limit` small.
        Services were seen to repeat a `pagination_token`: stop then.
        """
        reply = await self._connection.unary(
            wire.LIST_BATCH_RESULTS,
            message(
                wire.ListBatchResultsRequest,
                batch_id=batch_id,
                limit=limit,
                pagination_token=pagination_token,
            ),
            wire.ListBatchResultsResponse,
            timeout=timeout,
            idempotent=True,
        )
        return BatchResults(reply, self._downloader)


def _own_message(request: Message) -> wire.BatchRequest:
    """Return a request of this client or of xAI's SDK as our class; on the wire they are equal."""
    if isinstance(request, wire.BatchRequest):
        return request
    if not isinstance(request, Message) or request.DESCRIPTOR.name != "BatchRequest":
        kind = type(request).__name__
        raise OptionError(f"A {kind} is not a batch request. Make them with image.prepare().")
    return wire.BatchRequest.FromString(request.SerializeToString())
