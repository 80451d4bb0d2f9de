"""Counters and results of one call, for progress displays.

Separate because displays and jobs use the counters without a `Call`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.render.tables import BudgetState


@dataclass(slots=True)
class Progress:
    """Counters of one call, written on the background loop and read from any thread.

    Attributes:
        expected: Number of requests, or an upper bound; None: unknown until all are read.
        images: Number of images, for placeholders.
        done: Number of requests completed, from the server or the library.
        failed: Number of requests that failed.
        unsent: Number of requests not sent because of a limit or the disk.
        unsent_because: Short reason for `unsent`.
        unsent_cure: Short advice on how to send these requests.
        skipped: Number of blank rows, for which nothing is sent.
        replayed: Number of requests answered by stored images only.
        retries: Number of failed attempts that were retried.
        cost_usd: Costs reported by the server so far, in US dollars.
        unpriced: Number of requests without a reported cost.
        to_make: Number of images requested from the server so far.
        expected_usd: Expected cost by number of images, once known.
        budget: The current budget, once known.
        attempt: The last failed attempt, until its request is completed.
        attempted: Time of `attempt` on the monotonic clock.
        started: Start of the call on the monotonic clock.
        results: Pictures by request number; kept if the call is interrupted.
        notes: Sentences for the user.
    """

    expected: int | None = 1
    images: int = 1
    done: int = 0
    failed: int = 0
    unsent: int = 0
    unsent_because: str = ""
    unsent_cure: str = "Raise the limit"
    skipped: int = 0
    replayed: int = 0
    retries: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    to_make: int = 0
    expected_usd: dict[int, float] = field(default_factory=dict)
    budget: BudgetState | None = None
    attempt: Attempt | None = None
    attempted: float = 0.0
    started: float = field(default_factory=time.monotonic)
    results: dict[int, list[Picture]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def eta(self) -> float | None:
        """Estimated seconds until the end, from the average so far, or None if unknown."""
        sent = self.done - self.replayed
        if not sent or self.expected is None:
            return None
        return self.elapsed / sent * max(self.expected - self.done - self.unsent, 0)

    def on_attempt(self, attempt: Attempt) -> None:
        """Record a failed attempt that will be retried."""
        self.retries += 1
        self.attempt = attempt
        self.attempted = time.monotonic()

    def record_answer(self, number: int, images: list[Picture], *, failed: bool = False) -> None:
        """Record the images of request `number`, or the cards with the cause of its failure."""
        self.results[number] = images
        self.done += 1
        self.failed += failed
        self.attempt = None
        self.replayed += bool(images) and all(image.replayed for image in images)

    def record_refusal(self, number: int, images: list[Picture], reason: str) -> None:
        """Record that request `number` was not sent because of a limit or the disk."""
        self.results[number] = images
        self.unsent += 1
        self.unsent_because = reason

    def record_blank(self, number: int, images: list[Picture]) -> None:
        """Record the card of a blank row."""
        self.results[number] = images
        self.skipped += 1

    @property
    def complete(self) -> bool:
        """Whether every request has all its images."""
        if self.failed or self.unsent:
            return False
        images = (image for images in self.results.values() for image in images)
        return all(image.settled or image.status == "skipped" for image in images)

    def note(self, line: str) -> None:
        """Add a sentence for the user, once."""
        if line not in self.notes:
            self.notes.append(line)

    def add_cost(self, cost_usd: float | None) -> None:
        """Add the cost of a request; None: not reported."""
        if cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += cost_usd

    def collect_pictures(self) -> list[Picture]:
        """Return the pictures that have arrived, in the order of the requests."""
        return [image for number in sorted(self.results) for image in self.results[number]]
