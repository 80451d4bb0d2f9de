"""Which failure is tried again, when, and how often.

Only two kinds of failure are: UNAVAILABLE, and RESOURCE_EXHAUSTED as a rate
limit; and only where it is proven that nothing came of the attempt: no
connection, or a refusal (see attempt.py for the proofs). Never once a reply has
or may have begun, never where the connection broke after the request had gone
out, never a deadline, and never "larger than max", which also arrives as
RESOURCE_EXHAUSTED but after the work was done and billed. A call that must not
arrive twice is only tried again when it never left: services were seen to do
the work and refuse all the same.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from xai_notebook.client.transport.call import Failure, FailureKind, http_status, is_size_limit
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from tenacity import RetryCallState

    from xai_notebook.client.transport.call import Deadline

__all__ = ["Attempt", "Backoff", "OnAttempt", "Retries", "RetryPolicy", "server_hint"]

MAX_ATTEMPTS = 5
MAX_HINT = 60.0
"""Seconds. A server that wants a longer pause gets its error shown instead of a silent wait."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that failed and will be made again.

    Attributes:
        number: 1 for the first.
        of: How many there are at most.
        method: Path of the method, `/xai_api.Image/GenerateImage`.
        error_code: Name of the gRPC status, `"UNAVAILABLE"`.
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
"""Called on the event loop with each failed attempt that is made again, before the wait."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow by `factor` from `first` up to `most` seconds, give or take a fifth."""

    first: float
    most: float
    factor: float = 2.0

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt; 1 is the first."""
        exponent = min(attempt - 1, 64)  # a job is polled for days: no float is that large
        # Many clients that failed together must not come back together.
        jitter = random.uniform(0.8, 1.2)  # noqa: S311
        return min(self.first * self.factor**exponent, self.most) * jitter


_BACKOFF = {
    grpc.StatusCode.UNAVAILABLE: Backoff(0.1, 1.0),
    # Five a second, 300 a minute: coming back after 0.1 s only uses up the allowance.
    grpc.StatusCode.RESOURCE_EXHAUSTED: Backoff(0.5, 8.0),
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a call may try again.

    Attributes:
        max_attempts: How often it is sent at most; 1: never again.
        idempotent: Asking twice costs nothing: an attempt that was cut, or that nothing proves to
            be refused, is made again too.
        only_unsent: Arriving twice would order twice: an attempt is made again only if no
            connection came about, so that the request never left.
    """

    max_attempts: int = MAX_ATTEMPTS
    idempotent: bool = False
    only_unsent: bool = False

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            OptionError: It is none, or less than 1.
        """
        if not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise OptionError(
                f"max_attempts is {self.max_attempts!r}. Give a whole number from 1 on."
            )

    def allows(self, failure: BaseException | None) -> bool:
        """Tell whether to try again after `failure`."""
        if not isinstance(failure, Failure) or failure.error.code() not in _BACKOFF:
            return False
        if self.only_unsent and failure.fate is not FailureKind.UNSENT:
            return False
        if failure.fate not in {FailureKind.UNSENT, FailureKind.REFUSED} and not self.idempotent:
            return False
        return not is_size_limit(failure.error) and 0 <= server_hint(failure.error) <= MAX_HINT


class Retries:
    """The attempts of one call.

    Attributes:
        sent: How many were made so far.
    """

    def __init__(
        self, method: str, deadline: Deadline, policy: RetryPolicy, callbacks: Sequence[OnAttempt]
    ) -> None:
        """Prepare a call of `method`; `callbacks` hear of each attempt that is made again."""
        self.sent = 0
        self._method = method
        self._deadline = deadline
        self._policy = policy
        self._callbacks = callbacks

    async def run(self, send: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `send` returns, calling it again while that makes sense.

        Raises:
            Failure: The last attempt's.
        """
        self.sent += 1
        try:
            return await send()  # nearly always enough: a tenth of a millisecond saved
        except Failure as failure:
            if not self._policy.allows(failure):
                raise
            failed = [failure]

        from tenacity import AsyncRetrying  # noqa: PLC0415  # 20 ms that importing need not pay

        async def attempt() -> _T:
            if failed:  # the first one, which has been made
                raise failed.pop()
            self.sent += 1
            return await send()

        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            retry=lambda state: self._policy.allows(_failure(state)),
            wait=_wait,
            stop=self._must_stop,
            before_sleep=self._announce,
            reraise=True,
        )
        return await retrying(attempt)

    def _must_stop(self, state: RetryCallState) -> bool:
        return (
            state.attempt_number >= self._policy.max_attempts
            or state.upcoming_sleep >= self._deadline.remaining()
        )

    def _announce(self, state: RetryCallState) -> None:
        failure = _failure(state)
        if not isinstance(failure, Failure):  # pragma: no cover  # the policy saw to it
            return
        attempt = Attempt(
            number=state.attempt_number,
            of=self._policy.max_attempts,
            method=self._method,
            error_code=failure.error.code().name,
            wait=state.upcoming_sleep,
            elapsed=self._deadline.elapsed(),
        )
        for callback in self._callbacks:
            _tell(callback, attempt)


def _tell(callback: OnAttempt, attempt: Attempt) -> None:
    try:
        callback(attempt)
    except Exception:  # noqa: BLE001  # a broken listener must not cost a paid reply
        _log.warning("an on_attempt callback failed", exc_info=True)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    failure = _failure(state)
    if not isinstance(failure, Failure):
        return 0.0
    error = failure.error
    code = error.code()
    if http_status(error) == HTTPStatus.TOO_MANY_REQUESTS:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
    backoff = _BACKOFF.get(code)
    return max(backoff.wait(state.attempt_number), server_hint(error)) if backoff else 0.0


def server_hint(error: grpc.aio.AioRpcError) -> float:
    """Return how many seconds the server asks to wait; 0 for no wish, negative for "never again".

    Read from the trailing metadata: `grpc-retry-pushback-ms`, `retry-after` (seconds) and
    google.rpc.RetryInfo in `grpc-status-details-bin`. The longest counts.
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
    """Return the seconds of the RetryInfo in a serialized google.rpc.Status.

    Read by hand: the Python classes are in a package we would need for nothing else.
    """
    from google.protobuf.any_pb2 import Any as AnyMessage  # noqa: PLC0415  # only after a failure
    from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        for detail in _fields(status, 3):  # Status.details
            packed = AnyMessage.FromString(detail)
            if packed.type_url.endswith("/google.rpc.RetryInfo"):
                for delay in _fields(packed.value, 1):  # RetryInfo.retry_delay
                    duration = Duration.FromString(delay)
                    return float(duration.seconds + duration.nanos / 1e9)
    except (DecodeError, IndexError, ValueError):
        _log.debug("unreadable grpc-status-details-bin")
    return 0.0


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the length-delimited fields numbered `wanted` of a serialized message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 == 0:
            _, position = _varint(message, position)
        elif tag & 7 == 2:  # noqa: PLR2004  # the wire type of strings and messages
            size, position = _varint(message, position)
            if tag >> 3 == wanted:
                yield message[position : position + size]
            position += size
        else:
            raise ValueError


_VARINT_BITS = 63
"""More would make a megabyte of them into one number, digit by digit."""


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if shift > _VARINT_BITS:
            raise ValueError
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the top bit says that more follow
            return value, position
        shift += 7
