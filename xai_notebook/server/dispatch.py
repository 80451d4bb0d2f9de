"""Calls as they come in: checked for the key, parsed, remembered, and refused in gRPC's words."""

from __future__ import annotations

import hmac
import time
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError, Message

from xai_notebook.client import wire
from xai_notebook.server.faults import Faults, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from xai_notebook.server.faults import Fault
    from xai_notebook.settings import ApiKey

__all__ = ["CallLog", "Gate", "Methods", "SeenCall"]

_HEAD = ("server", "xai-notebook")
"""What the head of a refusal holds, and no trailers ever do."""
_OWN_KEY = (
    "A server inside a notebook's kernel answers that kernel alone; start one for other "
    "programs with python -m xai_notebook.server."
)


class Gate(grpc.aio.ServerInterceptor):
    """Lets only calls with the key in, whatever they call, before a byte of a request is read."""

    def __init__(self, log: CallLog, api_key: ApiKey, paths: Iterable[str]) -> None:
        """Begin.

        Args:
            log: Remembers the calls that are refused.
            api_key: The only key accepted.
            paths: The methods there are; calls of others are not remembered.
        """
        self._log = log
        self._api_key = api_key
        self._paths = frozenset(paths)

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return what answers a call: its method, or a refusal."""
        sent = [value for name, value in details.invocation_metadata if name == "authorization"]
        if len(sent) == 1 and self._is_right(sent[0]):
            return await continuation(details)

        async def refuse(_requests: Any, context: Any) -> None:
            if details.method in self._paths:
                seen = [("authorization", value) for value in sent]
                call = self._log.open(details.method, wire.Empty(), seen)
                self._log.close(call, grpc.StatusCode.UNAUTHENTICATED.name)
            why = "The API key is wrong." if sent else "No API key was sent."
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, f"{why} {_OWN_KEY}", (_HEAD,))

        # A stream of requests is read when it is asked for, and it is not.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _is_right(self, header: str | bytes) -> bool:
        value = header if isinstance(header, bytes) else header.encode()
        return hmac.compare_digest(value, f"Bearer {self._api_key.reveal()}".encode())


class Methods:
    """The methods of a server, to be registered with gRPC.

    What answers one takes a request and the call as it is remembered. It may raise a `Refusal`.
    Requests are parsed here and not by gRPC, which answers garbage with the name of a class.
    """

    def __init__(self, log: CallLog) -> None:
        """Begin without any.

        Args:
            log: Remembers every call.
        """
        self._log = log
        self._services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what to register, one for each service of the API."""
        return [grpc.method_handlers_generic_handler(*item) for item in self._services.items()]

    def paths(self) -> list[str]:
        """Return the path of each method."""
        return [f"/{service}/{name}" for service, own in self._services.items() for name in own]

    def add(
        self, path: str, answer: Callable[[Any, SeenCall], Awaitable[Message]], kind: type[Message]
    ) -> None:
        """Add a method of one request, of that `kind`, and one reply."""

        async def handle(data: bytes, context: Any) -> bytes:
            request, garbage = _parsed(data, kind)
            async with self._answering(path, request, context) as call:
                Faults.strike(garbage)
                return (await answer(request, call)).SerializeToString()

        self._register(path, grpc.unary_unary_rpc_method_handler(handle))

    def add_upload(
        self,
        path: str,
        answer: Callable[[AsyncIterator[Any], SeenCall], Awaitable[Message]],
        kind: type[Message],
    ) -> None:
        """Add a method that takes a stream. Only its first message is remembered."""

        async def handle(stream: AsyncIterator[bytes], context: Any) -> bytes:
            data = await anext(aiter(stream), b"")
            first, garbage = _parsed(data, kind)

            async def requests() -> AsyncIterator[Message]:
                yield first
                async for data in stream:
                    request, garbage = _parsed(data, kind)
                    Faults.strike(garbage)
                    yield request

            async with self._answering(path, first, context) as call:
                Faults.strike(garbage)
                return (await answer(requests(), call)).SerializeToString()

        self._register(path, grpc.stream_unary_rpc_method_handler(handle))

    def add_download(
        self,
        path: str,
        answer: Callable[[Any, SeenCall], AsyncIterator[Message]],
        kind: type[Message],
    ) -> None:
        """Add a method that replies with a stream."""

        async def handle(data: bytes, context: Any) -> AsyncIterator[bytes]:
            request, garbage = _parsed(data, kind)
            async with self._answering(path, request, context) as call:
                Faults.strike(garbage)
                async for reply in answer(request, call):
                    yield reply.SerializeToString()

        self._register(path, grpc.unary_stream_rpc_method_handler(handle))

    def _register(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        service, method = path.lstrip("/").split("/")
        self._services.setdefault(service, {})[method] = handler

    @asynccontextmanager
    async def _answering(
        self, path: str, request: Message, context: Any
    ) -> AsyncIterator[SeenCall]:
        """Remember the call, turn refusals into statuses."""
        metadata = [(name, value) for name, value in context.invocation_metadata() or ()]
        call = self._log.open(path, request, metadata)
        status: str | None = None
        refusal: Refusal | None = None
        try:
            yield call
            status = "OK"
        except Refusal as refused:
            refusal = refused
        except Exception as error:  # noqa: BLE001  # gRPC would print a traceback
            refusal = Refusal(
                grpc.StatusCode.INTERNAL,
                f"The embedded server failed: {type(error).__name__}: {error}",
            )
        finally:
            status = status or (refusal.code.name if refusal else None)
            self._log.close(call, status)
        if refusal is not None:
            if refusal.begun:
                await context.send_initial_metadata((("x-local-reply", "begun"),))
                await context.abort(refusal.code, refusal.details, refusal.trailing)
            # As proxies do: the field shows that no reply had begun, see client/transport/call.py.
            await context.abort(refusal.code, refusal.details, (*refusal.trailing, _HEAD))


def _parsed(data: bytes, kind: type[Message]) -> tuple[Message, Fault | None]:
    """Return a request, and what to refuse the call with if it is none."""
    try:
        return kind.FromString(data), None
    except DecodeError:
        return kind(), (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"The request is no {kind.DESCRIPTOR.name} message.",
        )


@dataclass(slots=True)
class SeenCall:
    """One call as it reached the server.

    Attributes:
        method: Full path, such as `"/xai_api.Image/GenerateImage"`.
        message: The request message.
        metadata: Header names and values; the value of `authorization` is only ever `"***"`.
        number: 1 for the first call of this method.
        started: Monotonic time in seconds.
        ended: Monotonic time in seconds, or None while the call is under way.
        cancelled: The client went away or its deadline passed before the answer was ready.
        status: Name of the status sent, such as `"OK"`; None when none was sent.
    """

    method: str
    message: Any
    metadata: dict[str, str]
    number: int
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    cancelled: bool = False
    status: str | None = None


class CallLog:
    """The last calls, bounded in number and in bytes of their messages."""

    def __init__(self, *, max_calls: int, max_bytes: int) -> None:
        """Start empty."""
        self.counts: Counter[str] = Counter()
        self._calls: deque[SeenCall] = deque()
        self._bytes = 0
        self._max_calls = max_calls
        self._max_bytes = max_bytes

    @property
    def calls(self) -> list[SeenCall]:
        """The calls remembered, oldest first."""
        return list(self._calls)

    @property
    def under_way(self) -> bool:
        """Whether a call remembered has not ended yet."""
        return any(call.ended is None for call in self._calls)

    def open(self, method: str, message: Any, metadata: Iterable[tuple[str, Any]]) -> SeenCall:
        """Remember a call that has just arrived, forgetting the oldest when there are too many."""
        self.counts[method] += 1
        call = SeenCall(method, message, _without_key(metadata), self.counts[method])
        self._calls.append(call)
        self._bytes += message.ByteSize()
        while len(self._calls) > self._max_calls or (
            self._bytes > self._max_bytes and len(self._calls) > 1
        ):
            self._bytes -= self._calls.popleft().message.ByteSize()
        return call

    def close(self, call: SeenCall, status: str | None) -> None:
        """Note how a call ended; no status means that it was cancelled."""
        call.ended = time.monotonic()
        call.status = status
        call.cancelled = status is None


def _without_key(metadata: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {name: "***" if name == "authorization" else str(value) for name, value in metadata}
