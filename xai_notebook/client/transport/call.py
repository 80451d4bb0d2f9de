"""One attempt of a gRPC call: send the request, receive the reply, and classify failures.

A call with a single reply is sent as a call with a stream of replies, because grpc.aio returns the
message of a unary call only together with the status OK. If the trailers were lost, the picture
would be lost too.

The request is sent as a stream with one message, because only for streams does grpc.aio wait for
the response headers before it sends the message. Otherwise the server's answer can be complete
before the client looks for headers: on a busy computer, 106 to 144 of 2,000 replies that broke off
lost their headers.

Which attempts can be retried
-----------------------------
A server refuses a call with one frame that ends the stream ("Trailers-Only"). A reply that breaks
off has headers and trailers, perhaps with half a message between them. grpc.aio (1.80 to 1.85)
cannot tell these two cases apart if the headers contain only gRPC's own fields and everything
arrives in one packet: metadata (empty), status, details and the order of events are the same. Nor
can it tell whether an RST_STREAM with REFUSED_STREAM came before or after the headers.
Timing proves nothing. Therefore a call that costs money is retried only if one of these facts
proves that the server did not begin to serve it:

- There was no connection, or gRPC's client refused to send the request.
- The status has fields that only the head of a response can have, such as `date` or `server`, and
  no headers came before it. gRPC returns the content of a Trailers-Only frame as trailing metadata,
  and HTTP does not allow these fields in real trailers. Proxies such as Envoy and Cloudflare add
  them to every response.
- The connection ended with a GOAWAY that excludes this stream. A GOAWAY comes from the direct peer
  and reports which streams it processed; proxies forward RST_STREAM, but not GOAWAY.
- The response is HTTP without gRPC, such as a proxy's 429, and not from a gateway that lost its
  server.
- The status is RESOURCE_EXHAUSTED, and no headers came before it. Servers apply a rate limit before
  they accept a call, so this status does not end a reply that broke off.

UNAVAILABLE without such a proof raises an error that says that the call may have been billed. After
any other status, no call is retried.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio

from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

UnaryStreamCall: TypeAlias = "grpc.aio.UnaryStreamCall[bytes, bytes]"
StreamStreamCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

PAUSE = 0.015
"""Seconds to wait for a status, twice. If none arrives, the reply has begun: a refusal's status
follows its headers within 0.2 ms, or within 10 ms on a busy computer."""
GRACE = 1.0
"""Seconds to wait for the server to end a call after its message."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The deadline of a call over all its attempts.

    Attributes:
        start: Start of the call, in seconds of the monotonic clock.
        timeout: Maximum duration of the call, in seconds.
    """

    start: float
    timeout: float

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        """Return the deadline in `timeout` seconds.

        Raises:
            OptionError: `timeout` is not a positive, finite number.
        """
        if not isinstance(timeout, (int, float)) or not (0 < timeout < math.inf):
            raise OptionError(f"The timeout is {timeout!r}. Give a positive number of seconds.")
        return cls(time.monotonic(), float(timeout))

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.start

    def remaining(self) -> float:
        """Return the seconds left; zero or less after the deadline."""
        return self.start + self.timeout - time.monotonic()


class FailureKind(Enum):
    """Whether a failed attempt may have been served."""

    UNSENT = auto()
    """There was no connection, or the request exceeds the client's size limit."""
    REFUSED = auto()
    """There is proof that the server did not begin to serve the request."""
    UNPROVEN = auto()
    """Either a refusal, or a reply that broke off at its beginning; gRPC cannot tell them apart."""
    BEGUN = auto()
    """The reply had begun."""
    LOST = auto()
    """The request was sent, but no answer arrived. It may have been served and billed."""


class Failure(Exception):  # noqa: N818  # internal; translated for callers
    """An attempt without a reply.

    Attributes:
        error: The error raised by grpc.aio.
        kind: Whether the request may have been served.
    """

    def __init__(self, error: grpc.aio.AioRpcError, kind: FailureKind) -> None:
        super().__init__(error, kind)
        self.error = error
        self.kind = kind


class NoMessageError(Exception):
    """The server sent the status OK without a complete message."""


class TooLongError(Exception):
    """The messages of a stream have more bytes than allowed."""


async def exchange(call: StreamStreamCall, messages: bytes | AsyncGenerator[bytes]) -> bytes:
    """Send one message, or all messages of a generator, and return the single reply of the call.

    Raises:
        Failure: There was no reply.
        NoMessageError: The server sent the status OK without a message.
        Exception: `messages` raised this exception, and the call was cancelled.
    """
    connected = asyncio.Event()
    writing = asyncio.ensure_future(_write(call, messages, connected))
    receiving = asyncio.ensure_future(_receive(call, connected))
    try:
        done, _ = await asyncio.wait({writing, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if writing in done:
            writing.result()
        return await receiving  # an early reply stops the writing
    finally:
        writing.cancel()
        receiving.cancel()
        await asyncio.gather(writing, receiving, return_exceptions=True)


async def receive_all(call: UnaryStreamCall, max_bytes: int) -> list[bytes]:
    """Return all messages of a new call.

    Raises:
        Failure: The stream broke off or did not begin.
        TooLongError: The messages together have more than `max_bytes`. The call is cancelled.
    """
    messages: list[bytes] = []
    left = max_bytes
    try:
        async for message in call:
            messages.append(message)
            left -= len(message)
            if left < 0:
                raise TooLongError
    except grpc.aio.AioRpcError as error:
        kind = failure_kind(error, begun=bool(messages), connected=bool(messages))
        raise Failure(error.with_traceback(None), kind) from None
    finally:
        call.cancel()  # no effect if the call has ended
    return messages


async def _write(
    call: StreamStreamCall, messages: bytes | AsyncGenerator[bytes], connected: asyncio.Event
) -> None:
    # If the call has just been refused, `call.write()` would set its own error before the refusal
    # arrives.
    inner = getattr(call, "_cython_call", None)
    write = getattr(inner, "send_serialized_message", call.write)
    end = getattr(inner, "send_receive_close", call.done_writing)
    # A write error says only that the call has ended; `_receive` gets the reason.
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        await call.wait_for_connection()
        connected.set()
        if isinstance(messages, bytes):
            await write(messages)
        else:
            async with contextlib.aclosing(messages):
                async for message in messages:
                    await write(message)
        await end()


async def _receive(call: StreamStreamCall, connected: asyncio.Event) -> bytes:
    """Return the first message of a call as soon as it is complete, whatever the final status.

    `connected` is set when the call has a connection.

    Raises:
        Failure: There was no message.
        NoMessageError: The server sent the status OK without a message.
    """
    # `call.read()` starts to read only when the headers have arrived, and loses the message if the
    # connection breaks right after it: 196 of 200 replies of 300 bytes that a reset followed. The
    # inner method starts earlier and lost at most one.
    inner = getattr(call, "_cython_call", None)
    reading = asyncio.ensure_future(getattr(inner, "receive_serialized_message", call.read)())
    begun = False
    try:
        # A reply has begun if its headers contain metadata, or if no status follows at once; a
        # refusal's status does. `begun=False` proves nothing; `failure_kind` has the proofs.
        begun = bool(await call.initial_metadata())
        for _ in range(2):  # a busy event loop can time out before it has processed the status
            if not (begun or reading.done() or call.done()):
                await asyncio.wait({reading}, timeout=PAUSE)
        begun = begun or not (reading.done() or call.done())
        message = await reading
        if isinstance(message, bytes):
            _end_or_cancel(call)
            return message
        await call.code()
        await call.read()  # raises the error of the status
    except asyncio.CancelledError:
        call.cancel()
        reading.cancel()
        raise
    except grpc.aio.AioRpcError as error:
        # The traceback's frames would keep the call and its connection alive.
        kind = failure_kind(error, begun=begun, connected=connected.is_set())
        raise Failure(error.with_traceback(None), kind) from None
    raise NoMessageError


def _end_or_cancel(call: StreamStreamCall, left: float = GRACE) -> None:
    """Let the server end a call; cancel the call after `left` seconds.

    This function polls, because a callback of `add_done_callback` would keep the call, its request
    and its connection alive until the next garbage collection.
    """
    if call.done():
        return
    if left > 0:
        asyncio.get_running_loop().call_later(PAUSE, _end_or_cancel, call, left - PAUSE)
    else:
        call.cancel()


# Details that grpcio 1.80 to 1.85 creates itself. From 1.82 on, the details of every stream failure
# start with "Stream removed (…"; earlier versions have different texts. The debug string is no
# help, because it always contains "received from peer". Before a gRPC server drops a
# connection, it ends its calls with a status.
_UNCONNECTED = re.compile(
    r"failed to connect to all addresses|errors resolving |DNS resolution failed"
    r"|empty address list|connections to all backends failing|Getting metadata from plugin failed"
)
_TOO_LARGE = re.compile(r"CLIENT: Sent message larger than max")
# The stream's number is above the last one that the GOAWAY reports as processed.
_UNPROCESSED = re.compile(r"(?:Stream removed \()?GOAWAY received; ")
_CUT = re.compile(
    r"Stream removed|Socket closed|recvmsg:|sendmsg:|Received RST_STREAM|GOAWAY received"
    r"|ping timeout|keepalive|Failed parsing HTTP/2|Transport closed|Endpoint |Deadline Exceeded"
    r"|received metadata size exceeds|CLIENT: Received message larger than max"
    r"|Too many pings|Cancelling all calls|Server shutdown"
)
# Envoy, a proxy in front of many services, sends a gRPC status if it loses its server.
_PROXY = re.compile(
    r"upstream (?:connect error or )?(?:disconnect/reset before headers|request timeout)"
)
_PROXY_UNSENT = re.compile(r"reset reason: (?:\w+ )?(?:connection failure|overflow)")
_HTTP = re.compile(r"(?:Stream removed \()?Received http2 header with status: (\d{3})")
_HEAD_FIELDS = frozenset({"age", "alt-svc", "cf-ray", "date", "server", "vary", "via"})
"""Header fields that servers and proxies add to the head of a response, and that are not allowed or
not used in trailers (RFC 9110, 6.5.1)."""
_GATEWAY = frozenset({502, 503, 504, 520, 521, 522, 523, 524})
"""HTTP statuses of a gateway that lost its server; 520 to 524 are Cloudflare's."""
_SIZE_LIMIT = re.compile(r"message larger than max|metadata size exceeds", re.IGNORECASE)


def failure_kind(
    error: grpc.aio.AioRpcError, *, begun: bool = False, connected: bool = False
) -> FailureKind:
    """Classify a failed attempt by whether the server may have served it.

    Args:
        error: Error of the attempt.
        begun: Whether the reply was seen to begin before the error.
        connected: Whether there was a connection. If so, an error about a failed connection comes
            from the server, and is about another server behind it.
    """
    details = error.details() or ""
    if _UNCONNECTED.match(details) and not connected:
        return FailureKind.UNSENT
    trailers_only = not error.initial_metadata() and any(
        name in _HEAD_FIELDS for name, _ in error.trailing_metadata() or ()
    )
    if (begun or error.initial_metadata()) and not trailers_only:
        return FailureKind.BEGUN
    if _TOO_LARGE.match(details):
        return FailureKind.UNSENT
    status = http_status(error)
    if _UNPROCESSED.match(details) or (status and status not in _GATEWAY):
        return FailureKind.REFUSED
    lost_by_proxy = _PROXY.match(details) and not _PROXY_UNSENT.search(details)
    if status or _CUT.match(details) or lost_by_proxy:
        return FailureKind.LOST
    refused = trailers_only or error.code() is not grpc.StatusCode.UNAVAILABLE
    return FailureKind.REFUSED if refused else FailureKind.UNPROVEN


def http_status(error: grpc.aio.AioRpcError) -> int | None:
    """Return the HTTP status of a response without gRPC, sent by a proxy or a wrong host."""
    match = _HTTP.match(error.details() or "")
    return int(match[1]) if match else None


def is_size_limit(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a RESOURCE_EXHAUSTED is for a message's size instead of a rate or quota."""
    return _SIZE_LIMIT.search(error.details() or "") is not None
