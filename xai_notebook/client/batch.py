"""Requests handed to the service as one job, and their results."""

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

__all__ = ["BatchClient", "BatchResult", "BatchResults"]

MAX_ADD_BYTES: Final = 4_000_000
"""Of one call that adds requests: larger ones were refused by the service."""


class BatchResult:
    """What became of one request of a batch."""

    def __init__(self, proto: wire.BatchResult, downloader: Downloader) -> None:
        """Look at a result as it is on the wire."""
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        """Return which it is and how it went."""
        return f"BatchResult({self.batch_request_id!r}, is_success={self.is_success})"

    @property
    def batch_request_id(self) -> str:
        """The id of the request, ours or the one that the service chose."""
        return self.proto.batch_request_id

    @property
    def is_success(self) -> bool:
        """Whether there is an answer. A result with neither an answer nor an error has failed."""
        return self.proto.response.WhichOneof("response") is not None

    @property
    def has_error(self) -> bool:
        """Whether there is no answer."""
        return not self.is_success

    @property
    def error_message(self) -> str | None:
        """Why there is no answer; None if there is one."""
        if self.is_success:
            return None
        return (
            bounds.line(self.proto.error.message)
            or "The service gave neither an answer nor a reason."
        )

    @property
    def cost_usd(self) -> float | None:
        """Price of the request in US dollars, with or without an image; None: not reported."""
        return cost_usd(self.proto.response.image_response.usage)

    @property
    def model(self) -> str:
        """The model that answered; `""`: the service did not say."""
        return bounds.line(self.proto.response.image_response.model)

    @property
    def image_response(self) -> ImageResponse:
        """The image.

        Raises:
            MissingImageError: The request failed, or its answer holds none.
        """
        reply = self.proto.response.image_response
        if not reply.images:
            reason = self.error_message or "The answer holds no image."
            raise MissingImageError(f"Request {self.batch_request_id!r} has no image. {reason}")
        return ImageResponse(reply, 0, self._downloader)


class BatchResults:
    """A page of results."""

    def __init__(self, proto: wire.ListBatchResultsResponse, downloader: Downloader) -> None:
        """Look at a page as it is on the wire."""
        self.proto = proto
        self._downloader = downloader

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"BatchResults({len(self.proto.results)} results)"

    @property
    def results(self) -> Sequence[BatchResult]:
        """All of the page, in the order of the service."""
        return [BatchResult(result, self._downloader) for result in self.proto.results]

    @property
    def succeeded(self) -> Sequence[BatchResult]:
        """Those with an answer."""
        return [result for result in self.results if result.is_success]

    @property
    def failed(self) -> Sequence[BatchResult]:
        """Those without."""
        return [result for result in self.results if result.has_error]

    @property
    def pagination_token(self) -> str | None:
        """What to ask for the next page with; None: this was the last one."""
        return self.proto.pagination_token or None


class BatchClient:
    """Hands over requests as one job, and collects their results.

    Every method takes a `timeout`: its deadline in seconds, over all attempts; default: the
    client's. And every one raises an `ApiError` when the server answers with a status other than
    OK, or not at all: `NotFoundError` if it does not know the batch.
    """

    def __init__(self, connection: Connection, downloader: Downloader) -> None:
        """Use `connection` for calls and `downloader` for images that come as URLs."""
        self._connection = connection
        self._downloader = downloader

    async def create(
        self,
        batch_name: str,
        *,
        input_file_id: str | None = None,
        timeout: float | None = None,
    ) -> wire.Batch:
        """Begin a batch.

        A call that failed is sent again only if no connection came about. After any other failure
        the batch may have been made: look for its name with `list`, more than once, before you
        call this again. A service may do the work and answer UNAVAILABLE.

        Args:
            batch_name: What it can be found by.
            input_file_id: A stored file of requests, one JSON object a line; nothing can be added
                then.
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
        """Add requests to a batch, all of them or none, in one call.

        A call that failed is sent again only if no connection came about. After any other failure
        the requests may have been added: compare with `list_batch_requests`, more than once, before
        you call this again. A service may do the work and answer UNAVAILABLE, and its list may show
        the requests seconds later.

        Args:
            batch_id: Of the batch.
            batch_requests: As `client.image.prepare` makes them.
            timeout: See the class.

        Raises:
            OptionError: They are too large for one call, or two have the same id. Nothing was sent.
        """
        given = [_own(request) for request in batch_requests]
        named = [request.batch_request_id for request in given if request.batch_request_id]
        if len(named) > len(set(named)):
            twice = next(name for name in named if named.count(name) > 1)
            raise OptionError(f"The batch_request_id {twice!r} stands twice. Make each unique.")
        request = message(wire.AddBatchRequestsRequest, batch_id=batch_id, batch_requests=given)
        if (size := request.ByteSize()) > MAX_ADD_BYTES:
            raise OptionError(
                f"{len(given)} requests take {size:,} bytes, and one call at most"
                f" {MAX_ADD_BYTES:,}. Add fewer at a time, or upload input images and name them by"
                " image_file_id."
            )
        await self._connection.unary(
            wire.ADD_BATCH_REQUESTS, request, wire.Empty, timeout=timeout, only_unsent=True
        )

    async def get(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Return a batch as it stands.

        Its `state` is not always there, which means that it is not finished.

        Args:
            batch_id: Of the batch.
            timeout: See the class.
        """
        request = message(wire.GetBatchRequest, batch_id=batch_id)
        return await self._connection.unary(
            wire.GET_BATCH, request, wire.Batch, timeout=timeout, idempotent=True
        )

    async def cancel(self, batch_id: str, *, timeout: float | None = None) -> wire.Batch:
        """Drop what is pending; what is done stays. A batch that has ended is left as it is.

        Args:
            batch_id: Of the batch.
            timeout: See the class.
        """
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
            limit: Of the page; default: the service's.
            pagination_token: Of the page before. An empty one in a reply ends the list.
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
        """Return a page of what has become of each request.

        Args:
            batch_id: Of the batch.
            limit: As in `list`.
            pagination_token: As in `list`.
            timeout: See the class.
        """
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
        """Return a page of the results there are, in any order, while the batch runs too.

        Args:
            batch_id: Of the batch.
            limit: As in `list`. A page of images in base64 comes as one message: keep it small.
            pagination_token: As in `list`. Services were seen to repeat one: stop there.
            timeout: See the class.
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


def _own(request: Message) -> wire.BatchRequest:
    """Return a request, ours or one of xAI's SDK, as ours: one message on the wire."""
    if isinstance(request, wire.BatchRequest):
        return request
    if not isinstance(request, Message) or request.DESCRIPTOR.name != "BatchRequest":
        kind = type(request).__name__
        raise OptionError(f"A {kind} is no batch request. Make them with image.prepare().")
    return wire.BatchRequest.FromString(request.SerializeToString())
