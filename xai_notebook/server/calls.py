"""What the server remembers of the calls it has seen."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CallLog", "SeenCall"]


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
