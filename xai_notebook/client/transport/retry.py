"""Which failures of a gRPC call are retried, how often, and after which wait.

A call is retried after UNAVAILABLE, or RESOURCE_EXHAUSTED for a rate limit, and only if there is
proof that the server did not begin to serve it (`call` lists the proofs). It is not retried

- if the reply has begun, or may have begun;
- if the connection broke after the request was sent;
- after a deadline;
- after "larger than max", a RESOURCE_EXHAUSTED that arrives when the work is done and billed.

An idempotent call is also retried without such proof. A call that must not arrive twice is retried
only if the request was not sent, since real services have done the work and still refused the call.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from xai_notebook.client import wire
from xai_notebook.client.transport.call import FailureKind, http_status, is_size_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ATTEMPTS = 5
MAX_HINT = 60.0
"""Longest wait in seconds that the server can request; for a longer wait, its error is raised."""

IDEMPOTENT: Final = frozenset({
    wire.LIST_IMAGE_GENERATION_MODELS, wire.GET_IMAGE_GENERATION_MODEL, wire.GET_API_KEY_INFO,
    wire.GET_BATCH, wire.CANCEL_BATCH, wire.LIST_BATCHES, wire.LIST_BATCH_REQUEST_METADATA,
    wire.LIST_BATCH_RESULTS, wire.LIST_FILES, wire.RETRIEVE_FILE, wire.RETRIEVE_FILE_CONTENT,
    wire.CREATE_PUBLIC_URL, wire.REVOKE_PUBLIC_URL,
})  # fmt: skip
"""Methods of which a second call costs and changes nothing. They are also retried if the connection
broke, or if the server may have begun to serve the call."""
BATCH_WRITES: Final = frozenset({wire.CREATE_BATCH, wire.ADD_BATCH_REQUESTS})
"""Methods that real services have served and still answered with UNAVAILABLE or RESOURCE_EXHAUSTED.
They are only retried if the request was not sent."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt that is retried.

    Attributes:
        number: Number of the attempt, from 1.
        of: Maximum number of attempts.
        method: Path of the gRPC method, such as `/xai_api.Image/GenerateImage`.
        error_code: Name of the gRPC status, such as `"UNAVAILABLE"`.
        wait: Seconds until the next attempt.
        elapsed: Seconds since the call began.
    """

    number: int
    of: int
    method: str
    error_code: str
    wait: float
    elapsed: float


OnAttempt = Callable[[Attempt], None]
"""Called on the event loop with each failed attempt that is retried, before the wait."""


def notify(callbacks: Iterable[OnAttempt | None], attempt: Attempt) -> None:
    """Call each callback that is not None with a failed attempt that is retried."""
    for callback in callbacks:
        try:
            if callback is not None:
                callback(attempt)
        except Exception:  # noqa: BLE001  # an error in a callback must not lose a paid reply
            _log.warning("an on_attempt callback failed", exc_info=True)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow by `factor` from `first` to `most` seconds, with 20 % jitter."""

    first: float
    most: float
    factor: float = 2.0

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt, numbered from 1."""
        exponent = min(attempt - 1, 64)  # a job is polled for days; avoids a float overflow
        # Clients that failed at the same time must not retry at the same time.
        jitter = random.uniform(0.8, 1.2)  # noqa: S311
        return min(self.first * self.factor**exponent, self.most) * jitter


_BACKOFF = {
    grpc.StatusCode.UNAVAILABLE: Backoff(0.1, 1.0),
    # The rate limit is five requests per second: a retry after 0.1 s would count and fail again.
    grpc.StatusCode.RESOURCE_EXHAUSTED: Backoff(0.5, 8.0),
}
"""Backoff after each status that can be retried."""


def wait_before_retry(
    method: str, error: grpc.aio.AioRpcError, kind: FailureKind, attempts: int
) -> float | None:
    """Return the seconds to wait after a failed attempt; None if the call must not be retried."""
    code, hint = error.code(), server_hint(error)
    if code not in _BACKOFF or is_size_limit(error) or not 0 <= hint <= MAX_HINT:
        return None
    if method in BATCH_WRITES and kind is not FailureKind.UNSENT:
        return None
    if method not in IDEMPOTENT and kind not in {FailureKind.UNSENT, FailureKind.REFUSED}:
        return None
    if http_status(error) == HTTPStatus.TOO_MANY_REQUESTS:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
    return max(_BACKOFF[code].wait(attempts), hint)


def server_hint(error: grpc.aio.AioRpcError) -> float:
    """Return the wait in seconds that the server requests; 0 if none, negative for "do not retry".

    The result is the longest wait in the trailing metadata: `grpc-retry-pushback-ms`, `retry-after`
    (in seconds), and google.rpc.RetryInfo in `grpc-status-details-bin`.
    """
    longest = 0.0
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms":
            pause = _number(value) / 1000
            if pause < 0:
                return -1.0
        elif name == "retry-after":
            pause = _number(value)
        elif name == "grpc-status-details-bin" and isinstance(value, bytes):
            pause = _retry_info(value)
        else:
            continue
        longest = max(longest, pause)
    return longest


def _number(value: Any) -> float:
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _retry_info(status: bytes) -> float:
    """Return the seconds of the RetryInfo in a serialized google.rpc.Status; 0 without RetryInfo.

    The fields are read by number, to avoid a dependency on the package with the message classes.
    """
    from google.protobuf.any_pb2 import Any as AnyMessage  # noqa: PLC0415  # only after a failure
    from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        for detail in _submessages(status, 3):  # Status.details
            packed = AnyMessage.FromString(detail)
            if packed.type_url.endswith("/google.rpc.RetryInfo"):
                for delay in _submessages(packed.value, 1):  # RetryInfo.retry_delay
                    duration = Duration.FromString(delay)
                    return float(duration.seconds + duration.nanos / 1e9)
    except DecodeError:
        _log.debug("unreadable grpc-status-details-bin")
    return 0.0


def _submessages(message: bytes, number: int) -> list[bytes]:
    """Return the strings and messages in field `number` of a serialized message."""
    from google.protobuf.empty_pb2 import Empty  # noqa: PLC0415
    from google.protobuf.unknown_fields import UnknownFieldSet  # noqa: PLC0415

    fields: Any = UnknownFieldSet(Empty.FromString(message))  # its stub has no iteration
    return [
        field.data
        for field in fields
        if field.field_number == number and isinstance(field.data, bytes)
    ]
