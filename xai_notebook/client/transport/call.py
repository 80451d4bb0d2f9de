"""One attempt of a call: its message as soon as that is whole, or what became of the attempt.

A call with one answer is sent as one whose answers are a stream. grpc.aio hands out the message of
a unary call only together with an OK, so that a picture whose trailers were lost is lost with them.

Its request is a stream as well, of one message. Only then does grpc.aio wait for the headers before
the message leaves; else a server that answers at once can be through before they are looked for,
and of 2,000 replies that began and broke off on a busy computer, 106 to 144 lost their headers.

Which attempt may be made again
-------------------------------
A server refuses a call with one frame that ends the stream: "Trailers-Only". A reply that begins
and breaks off has two, headers and trailers, perhaps with half a message between them. If the
headers hold nothing but gRPC's own fields and all of it comes in one packet, grpc.aio (1.80 to
1.85) shows both alike: the same empty metadata, status, details and order of events. So is a
RST_STREAM with REFUSED_STREAM, before headers and after. The time that passed proves nothing
either. So a call that costs money is made again only after one of these proofs:

- No connection came about, or gRPC's own client refused to send the request.
- The status came with fields that only the head of a response has, such as `date` or `server`, and
  no headers came before it. gRPC hands out what a Trailers-Only frame holds as trailing metadata,
  and HTTP does not allow these fields in real trailers. Proxies such as Envoy and Cloudflare add
  them to every response.
- The connection ended with a GOAWAY that leaves out this stream. It is the peer's own record of
  the streams that it looked at; unlike RST_STREAM no proxy hands it on from a server behind.
- The answer was HTTP and no gRPC (a proxy's 429), and not of a gateway that lost its server.
- The status is RESOURCE_EXHAUSTED, and no headers were seen before it: a rate limit is applied to
  a call before it is accepted, so no server ends half a reply with it.

An UNAVAILABLE without a proof is an error that says that the call may have been billed. After any
other status no call is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = [
    "Deadline",
    "Failure",
    "FailureKind",
    "NoMessageError",
    "TooLongError",
    "exchange",
    "fate_of",
    "http_status",
    "is_size_limit",
    "receive_all",
]

UnaryStreamCall: TypeAlias = "grpc.aio.UnaryStreamCall[bytes, bytes]"
StreamStreamCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

PAUSE = 0.015
"""Seconds, waited twice. Headers that no status follows for so long have begun a reply. The status
of a refusal follows within 0.2 ms, and within 10 ms where other processes take the time."""
GRACE = 1.0
"""Seconds in which a server may still end a call whose message has come."""


class FailureKind(Enum):
    """What is known about an attempt that failed."""

    UNSENT = auto()
    """No connection came about, or the request broke a limit of ours."""
    REFUSED = auto()
    """The server answered with a status instead of a reply, or said that it never looked."""
    UNPROVEN = auto()
    """A refusal, or a reply that broke off as soon as it had begun: gRPC shows both alike."""
    BEGUN = auto()
    """A reply had begun."""
    LOST = auto()
    """The request was on its way and no answer came: it may have been served, and billed."""


class Failure(Exception):  # noqa: N818  # what is raised to callers is made of it
    """An attempt that brought no message.

    Attributes:
        error: As gRPC says it.
        fate: What became of the request.
    """

    def __init__(self, error: grpc.aio.AioRpcError, fate: FailureKind) -> None:
        """Keep both."""
        super().__init__(error, fate)
        self.error = error
        self.fate = fate


class NoMessageError(Exception):
    """The server said OK and sent no whole message."""


class TooLongError(Exception):
    """The messages of a stream have more bytes together than were allowed."""


# What grpcio 1.80 to 1.85 say of failures that are not the server's own words. From 1.82 on all
# that happens to a stream reads "Stream removed (…)"; before, it is named as it is, and what the
# debug string says of a peer is no help: "received from peer" stands everywhere. A server of
# gRPC's own that drops a connection first ends its calls with a status.
_UNCONNECTED = re.compile(
    r"failed to connect to all addresses|errors resolving |DNS resolution failed"
    r"|empty address list|connections to all backends failing|Getting metadata from plugin failed"
)
_TOO_LARGE = re.compile(r"CLIENT: Sent message larger than max")
# Said of the streams above the last one that a GOAWAY names.
_UNPROCESSED = re.compile(r"(?:Stream removed \()?GOAWAY received; ")
_CUT = re.compile(
    r"Stream removed|Socket closed|recvmsg:|sendmsg:|Received RST_STREAM|GOAWAY received"
    r"|ping timeout|keepalive|Failed parsing HTTP/2|Transport closed|Endpoint |Deadline Exceeded"
    r"|received metadata size exceeds|CLIENT: Received message larger than max"
    r"|Too many pings|Cancelling all calls|Server shutdown"
)
# Envoy, which stands before many services, answers in gRPC for a backend that it lost.
_PROXY = re.compile(
    r"upstream (?:connect error or )?(?:disconnect/reset before headers|request timeout)"
)
_PROXY_UNSENT = re.compile(r"reset reason: (?:\w+ )?(?:connection failure|overflow)")
_HTTP = re.compile(r"(?:Stream removed \()?Received http2 header with status: (\d{3})")
_HEAD_FIELDS = frozenset({"age", "alt-svc", "cf-ray", "date", "server", "vary", "via"})
"""Fields of a response's head, written by servers and proxies; not allowed, or unknown, in trailers
(RFC 9110, 6.5.1)."""
_GATEWAY = frozenset({502, 503, 504, 520, 521, 522, 523, 524})
"""The last five are Cloudflare's."""
_LARGER = re.compile(r"message larger than max|metadata size exceeds", re.IGNORECASE)


def fate_of(
    error: grpc.aio.AioRpcError, *, begun: bool = False, connected: bool = False
) -> FailureKind:
    """Return what is known about an attempt.

    Args:
        error: What it ended with.
        begun: Whether headers were seen before it.
        connected: Whether there was a connection: a server that says that there was none speaks
            of one behind it.
    """
    details = error.details() or ""
    if _UNCONNECTED.match(details) and not connected:
        return FailureKind.UNSENT
    proven = _is_trailers_only(error)
    if (begun or error.initial_metadata()) and not proven:
        return FailureKind.BEGUN
    if _TOO_LARGE.match(details):
        return FailureKind.UNSENT
    return _fate_of_answer(error, details, proven=proven)


def _fate_of_answer(error: grpc.aio.AioRpcError, details: str, *, proven: bool) -> FailureKind:
    if _UNPROCESSED.match(details):
        return FailureKind.REFUSED
    if status := http_status(error):
        return FailureKind.LOST if status in _GATEWAY else FailureKind.REFUSED
    if _CUT.match(details) or (_PROXY.match(details) and not _PROXY_UNSENT.search(details)):
        return FailureKind.LOST
    refused = proven or error.code() is not grpc.StatusCode.UNAVAILABLE
    return FailureKind.REFUSED if refused else FailureKind.UNPROVEN


def _is_trailers_only(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a status surely came in a frame of its own, with nothing before it."""
    if error.initial_metadata():
        return False
    return any(name in _HEAD_FIELDS for name, _ in error.trailing_metadata() or ())


def http_status(error: grpc.aio.AioRpcError) -> int | None:
    """Return the status of an answer that was HTTP and no gRPC: a proxy's, or a wrong host's."""
    match = _HTTP.match(error.details() or "")
    return int(match[1]) if match else None


def is_size_limit(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a RESOURCE_EXHAUSTED speaks of a message's size instead of a rate or quota."""
    return _LARGER.search(error.details() or "") is not None


async def _receive(call: StreamStreamCall, connected: asyncio.Event) -> bytes:
    """Return the first message of a call that was just begun.

    It is returned the moment it is whole, whatever becomes of the call after that: it has been
    paid for.

    Args:
        call: The call.
        connected: Set once it has a connection.

    Raises:
        Failure: There is none.
        NoMessageError: The server said OK and sent none.
    """
    reading = asyncio.ensure_future(_reader(call)())
    headers = _Headers(call)
    try:
        await headers.wait()
        message = await reading
        if isinstance(message, bytes):
            _let_end(call)
            return message
        await call.code()
        await call.read()  # raises what the status says
    except asyncio.CancelledError:
        call.cancel()
        reading.cancel()
        raise
    except grpc.aio.AioRpcError as error:
        # Without its traceback: the frames in it would hold the call and its connection.
        fate = fate_of(error, begun=headers.begun, connected=connected.is_set())
        raise Failure(error.with_traceback(None), fate) from None
    finally:
        headers.stop()
    raise NoMessageError


async def exchange(call: StreamStreamCall, pieces: AsyncGenerator[bytes]) -> bytes:
    """Send the messages of a call that was just begun, and return its one answer.

    Raises:
        Failure: There is none.
        NoMessageError: The server said OK and sent none.
        Exception: What `pieces` raises; the call is cancelled then.
    """
    connected = asyncio.Event()
    writing = asyncio.ensure_future(_write(call, pieces, connected))
    receiving = asyncio.ensure_future(_receive(call, connected))
    try:
        done, _ = await asyncio.wait({writing, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if writing in done:
            writing.result()
        return await receiving  # an answer that comes early ends the writing
    finally:
        writing.cancel()
        receiving.cancel()
        await asyncio.gather(writing, receiving, return_exceptions=True)


async def _write(
    call: StreamStreamCall, pieces: AsyncGenerator[bytes], connected: asyncio.Event
) -> None:
    # `call.write()` of a call that has just been refused puts an error of its own in place of the
    # refusal, which is still on its way.
    inner = getattr(call, "_cython_call", None)
    write = getattr(inner, "send_serialized_message", call.write)
    end = getattr(inner, "send_receive_close", call.done_writing)
    # What writing raises says only that it is over: who receives hears why.
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        await call.wait_for_connection()
        connected.set()
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                await write(piece)
        await end()


async def receive_all(call: UnaryStreamCall, max_bytes: int) -> list[bytes]:
    """Return the messages of a call that was just begun, when the last one has come.

    Raises:
        Failure: The stream broke off, or never began.
        TooLongError: They have more than `max_bytes` together. The call is cancelled.
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
        fate = fate_of(error, begun=bool(messages), connected=bool(messages))
        raise Failure(error.with_traceback(None), fate) from None
    finally:
        call.cancel()  # nothing, where it has ended
    return messages


def _reader(call: StreamStreamCall) -> Callable[[], Awaitable[Any]]:
    """Return what reads a message.

    `call.read()` begins to read when the headers have come. A connection that breaks in the
    instant after the message takes the message with it then: of 200 replies in 300 bytes that were
    followed by a reset, 196 were lost, and one or none where the reading had begun before.
    """
    inner = getattr(call, "_cython_call", None)
    return getattr(inner, "receive_serialized_message", call.read)


class _Headers:
    """Whether a reply was seen to begin.

    Metadata shows it, and so does time: the status of a refusal follows at once. That none was seen
    proves nothing: `fate_of` knows what does.
    """

    def __init__(self, call: StreamStreamCall) -> None:
        self.begun = False
        self._call = call
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        self.begun = bool(await self._call.initial_metadata())
        if not self.begun:
            self._look(2)

    def _look(self, times: int) -> None:
        if self._call.done():
            return
        if times == 0:
            self.begun = True
            return
        # Twice: a loop that was kept busy comes here late, before it has heard of the status.
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self._look, times - 1)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _let_end(call: StreamStreamCall, left: float = GRACE) -> None:
    """Let the server end a call in good order; one that does not is cancelled.

    Looked at again and again: what is told to `add_done_callback` holds the call, its request and
    its connection until the garbage collector comes by.
    """
    if call.done():
        return
    if left > 0:
        asyncio.get_running_loop().call_later(PAUSE, _let_end, call, left - PAUSE)
    else:
        call.cancel()


@dataclass(frozen=True, slots=True)
class Deadline:
    """One point in time for a call and all its attempts.

    Attributes:
        start: When the call began, in seconds of the monotonic clock: a wall clock jumps.
        timeout: How long the call may take, in seconds.
    """

    start: float
    timeout: float

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        """Start the clock.

        Args:
            timeout: Seconds from now.

        Raises:
            OptionError: `timeout` is no positive, finite number.
        """
        if not isinstance(timeout, (int, float)) or not (0 < timeout < math.inf):
            raise OptionError(f"The timeout is {timeout!r}. Give a positive number of seconds.")
        return cls(time.monotonic(), float(timeout))

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.start

    def remaining(self) -> float:
        """Return the seconds left; zero or less when the deadline has passed."""
        return self.timeout - self.elapsed()
