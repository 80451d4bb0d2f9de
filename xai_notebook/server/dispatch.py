"""The layer between gRPC and the methods: authentication, parsing, call log and statuses."""

from __future__ import annotations

import hmac
import time
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from xai_notebook.client import wire
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from xai_notebook.server.faults import Faults
    from xai_notebook.settings import ApiKey

_HEAD: Final = ("server", "xai-notebook")
"""Header in a trailers-only reply. It shows clients that no reply had begun, like the headers of a
proxy; see `client.transport.call`."""
_KERNEL_ONLY: Final = (
    "A server inside a notebook's kernel accepts calls only from that kernel; start a server for "
    "other programs with python -m xai_notebook.server."
)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses every call without the right key, before any of its request is read."""

    def __init__(self, log: CallLog, api_key: ApiKey, paths: Iterable[str]) -> None:
        """Accept only `api_key`; log refused calls of the existing methods in `paths`."""
        self._log = log
        self._api_key = api_key
        self._paths = frozenset(paths)

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return the handler of the method, or a handler that refuses the call."""
        sent = [value for name, value in details.invocation_metadata if name == "authorization"]
        # In one expression, so that no local variable holds the key.
        if len(sent) == 1 and hmac.compare_digest(
            sent[0].encode() if isinstance(sent[0], str) else sent[0],
            f"Bearer {self._api_key.reveal()}".encode(),
        ):
            return await continuation(details)

        async def refuse(_requests: Any, context: Any) -> None:
            if details.method in self._paths:
                seen = [("authorization", value) for value in sent]
                call = self._log.open(details.method, wire.Empty(), seen)
                call.ended, call.status = time.monotonic(), grpc.StatusCode.UNAUTHENTICATED.name
            why = "The API key is wrong." if sent else "No API key was sent."
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, f"{why} {_KERNEL_ONLY}", (_HEAD,))

        # A stream handler fits every method: gRPC reads streams on demand, and `refuse` reads none.
        return grpc.stream_stream_rpc_method_handler(refuse)


class Methods:
    """The methods of a server, to be registered with gRPC.

    A method receives the parsed request and may raise a `Refusal`. Requests are parsed here,
    because gRPC's error for an invalid message would contain the name of a Python class.

    Attributes:
        handlers: One handler for each method.
        paths: The gRPC path of each method.
    """

    def __init__(self, log: CallLog, faults: Faults) -> None:
        """Start without methods. `log` receives every call; `faults` can make calls fail."""
        self._log, self._faults = log, faults
        self.handlers: list[grpc.GenericRpcHandler] = []
        self.paths: list[str] = []

    def add(
        self, path: str, answer: Callable[[Any], Awaitable[Message]], kind: type[Message]
    ) -> None:
        """Add a method with one request, of type `kind`, and one reply."""

        async def handle(data: bytes, context: Any) -> bytes:
            async with self._logged_call(path, data, kind, context) as request:
                return (await answer(request)).SerializeToString()

        self._register(path, grpc.unary_unary_rpc_method_handler(handle))

    def add_upload(
        self,
        path: str,
        answer: Callable[[AsyncIterator[Any]], Awaitable[Message]],
        kind: type[Message],
    ) -> None:
        """Add a method that receives a stream. Only the first message is logged."""

        async def handle(stream: AsyncIterator[bytes], context: Any) -> bytes:
            data = await anext(aiter(stream), b"")
            async with self._logged_call(path, data, kind, context) as first:

                async def requests() -> AsyncIterator[Message]:
                    yield first
                    async for data in stream:
                        try:
                            message = kind.FromString(data)
                        except DecodeError:
                            raise _invalid_message(kind) from None
                        yield message

                return (await answer(requests())).SerializeToString()

        self._register(path, grpc.stream_unary_rpc_method_handler(handle))

    def add_download(
        self, path: str, answer: Callable[[Any], AsyncIterator[Message]], kind: type[Message]
    ) -> None:
        """Add a method that replies with a stream."""

        async def handle(data: bytes, context: Any) -> AsyncIterator[bytes]:
            async with self._logged_call(path, data, kind, context) as request:
                async for reply in answer(request):
                    yield reply.SerializeToString()

        self._register(path, grpc.unary_stream_rpc_method_handler(handle))

    def _register(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        service, method = path.lstrip("/").split("/")
        self.handlers.append(grpc.method_handlers_generic_handler(service, {method: handler}))
        self.paths.append(path)

    @asynccontextmanager
    async def _logged_call(
        self, path: str, data: bytes, kind: type[Message], context: Any
    ) -> AsyncIterator[Message]:
        """Parse the request and log the call. A `Refusal` sets the status of the call."""
        refusal: Refusal | None = None
        status: str | None = None
        try:
            request = kind.FromString(data)
        except DecodeError:
            request, refusal = kind(), _invalid_message(kind)
        else:
            if fault := self._faults.failure_of(path):
                refusal = Refusal.of(fault)
        call = self._log.open(path, request, context.invocation_metadata() or ())
        try:
            if refusal is None:
                yield request
                status = grpc.StatusCode.OK.name
        except Refusal as error:
            refusal = error
        except Exception as error:  # noqa: BLE001  # gRPC would print a traceback
            refusal = Refusal(
                grpc.StatusCode.INTERNAL,
                f"The embedded server failed: {type(error).__name__}: {error}",
            )
        finally:
            call.ended, call.status = time.monotonic(), refusal.code.name if refusal else status
        if refusal is not None:
            if refusal.begun:
                await context.send_initial_metadata((("x-local-reply", "begun"),))
                await context.abort(refusal.code, refusal.details, refusal.trailing)
            await context.abort(refusal.code, refusal.details, (*refusal.trailing, _HEAD))


def _invalid_message(kind: type[Message]) -> Refusal:
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT, f"The request is not a {kind.DESCRIPTOR.name} message."
    )


@dataclass(slots=True)
class SeenCall:
    """One call as received by the server.

    Attributes:
        method: Full path, such as `"/xai_api.Image/GenerateImage"`.
        message: The request message.
        metadata: Header names and values; the value of `authorization` is only ever `"***"`.
        number: 1 for the first call of this method.
        started: Monotonic time in seconds.
        ended: Monotonic time in seconds; None while the call is running.
        status: Name of the status, such as `"OK"`; None if the call was cancelled.
    """

    method: str
    message: Any
    metadata: dict[str, str]
    number: int
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    status: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the client left, or its deadline passed, before the reply was ready."""
        return self.ended is not None and self.status is None


class CallLog:
    """Log of the last calls, limited by their number and by the bytes of their messages."""

    def __init__(self, *, max_calls: int, max_bytes: int) -> None:
        self.counts: Counter[str] = Counter()
        self._calls: deque[SeenCall] = deque()
        self._bytes = 0
        self._max_calls = max_calls
        self._max_bytes = max_bytes

    @property
    def calls(self) -> list[SeenCall]:
        """The logged calls, oldest first."""
        return list(self._calls)

    @property
    def is_busy(self) -> bool:
        """Whether a logged call is still running."""
        return any(call.ended is None for call in self._calls)

    def open(self, method: str, message: Any, metadata: Iterable[tuple[str, Any]]) -> SeenCall:
        """Log a new call. Beyond the limits, the oldest calls are dropped."""
        self.counts[method] += 1
        visible = {
            name: "***" if name == "authorization" else str(value) for name, value in metadata
        }
        call = SeenCall(method, message, visible, self.counts[method])
        self._calls.append(call)
        self._bytes += message.ByteSize()
        while len(self._calls) > self._max_calls or (
            self._bytes > self._max_bytes and len(self._calls) > 1
        ):
            self._bytes -= self._calls.popleft().message.ByteSize()
        return call
