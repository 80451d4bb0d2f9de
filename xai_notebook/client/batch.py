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
"""Size limit of one call that adds requests, in bytes; the service rejects larger calls."""


class BatchResult:
    """The result of one request of a batch."""

    def __init__(self, proto: wire.BatchResult, downloader: Downloader) -> None:
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        return f"BatchResult({self.batch_request_id!r}, is_success={self.is_success})"

    @property
    def batch_request_id(self) -> str:
        """Id of the request, chosen by the caller or the server."""
        return self.proto.batch_request_id

    @property
    def is_success(self) -> bool:
        """Whether the request has an answer. A request without answer and error has failed."""
        return self.proto.response.WhichOneof("response") is not None

    @property
    def has_error(self) -> bool:
        """Whether the request failed."""
        return not self.is_success

    @property
    def error_message(self) -> str | None:
        """The reason why the request failed; None if it succeeded."""
        if self.is_success:
            return None
        return (
            bounds.line(self.proto.error.message)
            or "The service gave neither an answer nor a reason."
        )

    @property
    def cost_usd(self) -> float | None:
        """Cost of the request in US dollars, also without an image; None if not reported."""
        return cost_usd(self.proto.response.image_response.usage)

    @property
    def model(self) -> str:
        """Name of the model that answered; `""` if not reported."""
        return bounds.line(self.proto.response.image_response.model)

    @property
    def image_response(self) -> ImageResponse:
        """The image of the answer.

        Raises:
            MissingImageError: The request failed, or its answer has no image.
        """
        reply = self.proto.response.image_response
        if not reply.images:
            reason = self.error_message or "The answer holds no image."
            raise MissingImageError(f"Request {self.batch_request_id!r} has no image. {reason}")
        return ImageResponse(reply, 0, self._downloader)


class BatchResults:
    """A page of the list of results."""

    def __init__(self, proto: wire.ListBatchResultsResponse, downloader: Downloader) -> None:
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        return f"BatchResults({len(self.proto.results)} results)"

    @property
    def results(self) -> Sequence[BatchResult]:
        """All results of the page, in the server's order."""
        return [BatchResult(result, self._downloader) for result in self.proto.results]

    @property
    def succeeded(self) -> Sequence[BatchResult]:
        """The results of the requests that succeeded."""
        return [result for result in self.results if result.is_success]

    @property
    def failed(self) -> Sequence[BatchResult]:
        """The results of the requests that failed."""
        return [result for result in self.results if result.has_error]

    @property
    def pagination_token(self) -> str | None:
        """Token of the next page; None if this is the last page."""
        return self.proto.pagination_token or None


class BatchClient:
    """Submits many requests as one job and lists their results.

    Every method accepts a `timeout` in seconds over all attempts; default: the client's. Every
    method raises an `ApiError` if the server sends a status other than OK or does not answer;
    `NotFoundError` means that the server does not know the batch.
    """

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
        self._connection = connection
        self._downloader = downloader

    async def create(
        self, batch_name: str, *, input_file_id: str | None = None, timeout: float | None = None
    ) -> wire.Batch:
        """Create a batch.

        A failed call is retried only if the request was not sent. After any other failure the batch
        may exist, because a service may create it and still answer UNAVAILABLE. Look for its name
        with `list`, more than once, before you call this method again.

        Args:
            batch_name: Name that `list` shows.
            input_file_id: Id of a stored file with the requests, one JSON object per line. No
                further requests can be added to such a batch.
            timeout: See the class.
        """
        request = message(wire.CreateBatchRequest, name=batch_name, input_file_id=input_file_id)
        return await self._connection.unary(wire.CREATE_BATCH, request, wire.Batch, timeout=timeout)

    async def add(
        self,
        batch_id: str,
        batch_requests: Iterable[wire.BatchRequest],
        *,
        timeout: float | None = None,
    ) -> None:
        """Add either all or none of the requests to a batch, in one call.

        A failed call is retried only if the request was not sent. After any other failure the
        requests may be in the batch, because a service may add them and still answer UNAVAILABLE;
        its list may show them only seconds later. Check `list_batch_requests`, more than once,
        before you call this method again.

        Args:
            batch_id: Id of the batch.
            batch_requests: Requests from `client.image.prepare`.
            timeout: See the class.

        Raises:
            OptionError: The requests are too large for one call, or two have the same id. Nothing
                was sent.
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
        await self._connection.unary(wire.ADD_BATCH_REQUESTS, request, wire.Empty, timeout=timeout)

    async def get(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Return the current state of a batch.

        A batch without `state` is not finished.
        """
        request = message(wire.GetBatchRequest, batch_id=batch_id)
        return await self._connection.unary(wire.GET_BATCH, request, wire.Batch, timeout=timeout)

    async def cancel(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Cancel the pending requests and keep the results. A batch that has ended is unchanged."""
        request = message(wire.CancelBatchRequest, batch_id=batch_id)
        return await self._connection.unary(wire.CANCEL_BATCH, request, wire.Batch, timeout=timeout)

    async def list(
        self,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> wire.ListBatchesResponse:
        """Return a page of the list of batches.

        Args:
            limit: Maximum number of entries per page; default: the server's.
            pagination_token: Token from the previous page; the last page has an empty token.
            timeout: See the class.
        """
        request = message(wire.ListBatchesRequest, limit=limit, pagination_token=pagination_token)
        return await self._connection.unary(
            wire.LIST_BATCHES, request, wire.ListBatchesResponse, timeout=timeout
        )

    async def list_batch_requests(
        self,
        batch_id: str,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> wire.ListBatchRequestMetadataResponse:
        """Return a page of the list of requests and their states; `list` describes the paging."""
        kind = wire.ListBatchRequestMetadataRequest
        page = message(kind, batch_id=batch_id, limit=limit, pagination_token=pagination_token)
        method, reply = wire.LIST_BATCH_REQUEST_METADATA, wire.ListBatchRequestMetadataResponse
        return await self._connection.unary(method, page, reply, timeout=timeout)

    async def list_batch_results(
        self,
        batch_id: str,
        limit: int | None = None,
        pagination_token: str | None = None,
        *,
        timeout: float | None = None,
    ) -> BatchResults:
        """Return a page of the available results, in any order, also while the batch runs.

        `list` describes the paging. A page is one message: keep `limit` small for images in base64.
        Real services may send the same `pagination_token` again: stop then.
        """
        kind = wire.ListBatchResultsRequest
        page = message(kind, batch_id=batch_id, limit=limit, pagination_token=pagination_token)
        reply = await self._connection.unary(
            wire.LIST_BATCH_RESULTS, page, wire.ListBatchResultsResponse, timeout=timeout
        )
        return BatchResults(reply, self._downloader)


def _own_message(request: Message) -> wire.BatchRequest:
    """Convert a request to this client's class; xAI's SDK has a class of the same wire format."""
    if isinstance(request, wire.BatchRequest):
        return request
    if not isinstance(request, Message) or request.DESCRIPTOR.name != "BatchRequest":
        kind = type(request).__name__
        raise OptionError(f"A {kind} is not a batch request. Make requests with image.prepare().")
    return wire.BatchRequest.FromString(request.SerializeToString())
