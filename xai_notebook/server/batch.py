"""One batch: its requests, and what has become of them by a point in time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from xai_notebook.client import wire
from xai_notebook.server.times import timestamp

if TYPE_CHECKING:
    from xai_notebook.server.faults import Refusal

__all__ = ["Batch"]

_ENDPOINT: Final = "/v1/images/generations"
_State = wire.BatchRequestMetadata.State


@dataclass(slots=True)
class Batch:
    """One job. Times are seconds since 1970.

    Attributes:
        id: Ours.
        name: The client's.
        created: When it was made.
        expires: When it can no longer be read.
        requests: By their ids, in the order they were added, which is that they are done in.
        keys: Their ids.
        due: When each of them is done.
        places: Where in the order each of them is.
        takes: How many equal ones came before each: equal requests are other takes.
        refused: Why some of them can only fail, by their places.
        outputs: What a picture was stored as that may have to be painted again.
        cancelled: When it was cancelled.
        reason: Why the service cancelled it.
    """

    id: str
    name: str
    created: float
    expires: float
    requests: list[wire.BatchRequest] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    takes: list[int] = field(default_factory=list)
    refused: dict[int, Refusal] = field(default_factory=dict)
    outputs: dict[int, wire.GeneratedImage] = field(default_factory=dict)
    cancelled: float | None = None
    reason: str | None = None
    _equal: Counter[int] = field(default_factory=Counter)

    def end(self, now: float) -> float | None:
        """Return when it ended before its work was done; None: it did not."""
        ends = [at for at in (self.cancelled, self.expires) if at is not None and at <= now]
        return min(ends, default=None)

    def done(self, now: float) -> int:
        """Return how many of its requests are done: always the first ones."""
        end = self.end(now)
        return bisect_right(self.due, now if end is None else end)

    def add(
        self, key: str, request: wire.BatchRequest, due: float, refusal: Refusal | None
    ) -> None:
        """Put a request behind the others; a `refusal` says why it can only fail."""
        place = len(self.keys)
        self.places[key] = place
        self.requests.append(request)
        self.keys.append(key)
        self.due.append(due)
        asked = hash(request.image_request.SerializeToString(deterministic=True))
        self.takes.append(self._equal[asked])
        self._equal[asked] += 1
        if refusal is not None:
            self.refused[place] = refusal

    def state(self, place: int, now: float) -> wire.BatchRequestMetadata.State:
        """Return what has become of a request."""
        if place < self.done(now):
            return _State.STATE_FAILED if place in self.refused else _State.STATE_SUCCEEDED
        return _State.STATE_PENDING if self.end(now) is None else _State.STATE_CANCELLED

    def counts(self, now: float) -> wire.BatchState:
        """Return how many requests are where."""
        total, done = len(self.keys), self.done(now)
        failed = sum(place < done for place in self.refused)
        ended = self.end(now) is not None
        return wire.BatchState(
            num_requests=total,
            num_pending=0 if ended else total - done,
            num_success=done - failed,
            num_error=failed,
            num_cancelled=total - done if ended else 0,
        )

    def metadata(self, place: int, now: float) -> wire.BatchRequestMetadata:
        """Describe a request."""
        state, end = self.state(place, now), self.end(now)
        finished = self.due[place] if end is None else min(end, self.due[place])
        return wire.BatchRequestMetadata(
            batch_request_id=self.keys[place],
            endpoint=_ENDPOINT,
            model=self.requests[place].image_request.model,
            state=state,
            create_time=timestamp(self.created),
            finish_time=None if state == _State.STATE_PENDING else timestamp(finished),
        )

    def to_message(self, now: float, *, ticks: int | None, stateless: bool) -> wire.Batch:
        """Describe the batch.

        Args:
            now: Seconds since 1970.
            ticks: What each image cost, in 1e-10 USD; None: not known.
            stateless: Leave the counts out.
        """
        counts = self.counts(now)
        cost, number = counts.num_success * (ticks or 0), counts.num_success
        parts = [{"endpoint": _ENDPOINT, "cost_usd_ticks": cost, "request_count": number}]
        return wire.Batch(
            batch_id=self.id,
            name=self.name,
            create_time=timestamp(self.created),
            expire_time=timestamp(self.expires),
            create_api_key_id="local",
            cancel_time=timestamp(self.cancelled),
            cancel_by_xai_message=self.reason,
            state=None if stateless else counts,
            cost_breakdown=None
            if ticks is None
            else {
                "total_cost_usd_ticks": cost,
                "endpoint_costs": parts,
                "calculation_time": timestamp(now),
            },
        )
