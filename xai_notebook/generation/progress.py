"""Counters and results of one call, for progress displays, and reports of them.

Separate because displays and jobs use the counters without a `Call`.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.client.bounds import clean
from xai_notebook.errors import OptionError
from xai_notebook.frontend import is_unattended, log_line, marimo_notebook
from xai_notebook.pictures.render.tables import to_make
from xai_notebook.pictures.render.text import counted, dollars, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.client.transport.retry import Attempt
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.render.tables import BudgetState

PATIENCE: Final = 0.6
"""Seconds before progress is shown, so that quick calls show none."""
LOCAL_PATIENCE: Final = 4.0
"""The same for the embedded server; longer, so that saved notebooks contain no progress."""
LOG_INTERVAL = 30.0
"""Seconds between two lines in the log of a script or of a notebook that runs unattended."""
_STATUS_INTERVAL: Final = 0.4
"""Minimum seconds between two updates in marimo."""
_REPORT_INTERVAL: Final = 0.2
"""Minimum seconds between two calls of a user's `progress` function."""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """The state of a call, as passed to the function in `progress=`. `str()` is one line of text.

    Attributes:
        done: Number of requests completed, from the server or the library, failed ones included.
        expected: Number of requests; None: unknown until all prompts are read.
        failed: Number of requests that failed.
        unsent: Number of requests not sent because of a limit or the disk.
        replayed: Number of requests answered by stored images only.
        cost_usd: Costs reported by the server so far, in US dollars.
        elapsed: Seconds since the start.
        eta: Estimated seconds until the end; None: unknown.
    """

    done: int
    expected: int | None
    failed: int
    unsent: int
    replayed: int
    cost_usd: float
    elapsed: float
    eta: float | None

    def __str__(self) -> str:
        parts = [counted(self.done, "prompt")]
        if self.expected is not None:
            parts = [f"{self.done:,} of {counted(self.expected, 'prompt')}"]
        if self.replayed:
            parts.append(f"{self.replayed:,} from the library")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.unsent:
            parts.append(f"{self.unsent:,} not sent")
        if self.cost_usd:
            parts.append(f"{dollars(self.cost_usd)} spent")
        if self.eta and self.eta >= 1:
            minutes = round(self.eta / 60)
            left = f"{minutes} min" if 1 <= minutes < 60 else duration(self.eta)  # noqa: PLR2004
            parts.append(f"about {left} left")
        return ", ".join(parts)


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
        on_answer: Called with the number and the pictures of each request that is recorded.
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
    on_answer: Callable[[int, list[Picture]], None] | None = field(default=None, repr=False)

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
        self.done += 1
        self.failed += failed
        self.attempt = None
        self.replayed += bool(images) and all(image.replayed for image in images)
        self._record(number, images)

    def record_refusal(self, number: int, images: list[Picture], reason: str) -> None:
        """Record that request `number` was not sent because of a limit or the disk."""
        self.unsent += 1
        self.unsent_because = reason
        self._record(number, images)

    def record_blank(self, number: int, images: list[Picture]) -> None:
        """Record the card of a blank row."""
        self.skipped += 1
        self._record(number, images)

    def _record(self, number: int, images: list[Picture]) -> None:
        self.results[number] = images
        if self.on_answer is not None:
            self.on_answer(number, images)

    @property
    def stored(self) -> int:
        """Number of requests that have an image in the library."""
        results = self.results.copy()  # the background loop may add results meanwhile
        return sum(any(image.id is not None for image in images) for images in results.values())

    def report(self) -> ProgressReport:
        """Return the state now."""
        return ProgressReport(
            done=self.done,
            expected=self.expected,
            failed=self.failed,
            unsent=self.unsent,
            replayed=self.replayed,
            cost_usd=self.cost_usd,
            elapsed=self.elapsed,
            eta=self.eta,
        )

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


def describe(progress: Progress) -> str:
    """Return the state of a call as one line of text."""
    return clean(f"{_activity(progress)}: {_state(progress)}")


def _activity(progress: Progress) -> str:
    return "Making images" if progress.images > 1 else "Making an image"


def _state(progress: Progress) -> str:
    parts = []
    if progress.expected != 1:
        total = "?" if progress.expected is None else f"{progress.expected:,}"
        parts.append(f"{progress.done:,} of {total} prompts")
    parts.append(duration(progress.elapsed))
    if progress.expected != 1 and progress.eta is not None:
        parts.append(f"about {duration(progress.eta)} left")
    if progress.cost_usd:
        parts.append(dollars(progress.cost_usd))
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.replayed:
        parts.append(f"{progress.replayed} replayed")
    if attempt := progress.attempt:
        left = max(progress.attempted + attempt.wait - time.monotonic(), 0)
        when = f" in {left:.1f} s" if left else ""
        cause = attempt.error_code.replace("_", " ").lower()
        parts.append(f"{cause}, attempt {attempt.number + 1} of {attempt.of}{when}")
    elif progress.retries:
        parts.append(f"{progress.retries} tried again")
    return ", ".join(parts)


def plan_line(progress: Progress) -> str:
    """Return the number of images and the cost of one request; empty while unknown."""
    images = progress.to_make
    expected = progress.expected_usd.get(images)
    if not images or not expected:
        return ""
    stored = progress.images - images
    return to_make(f"{images:,}", dollars(expected), stored, progress.budget)


class LineLog:
    """Writes a line every `LOG_INTERVAL` seconds, where no frontend shows progress.

    See `frontend.log_line`.
    """

    def __init__(
        self, line: Callable[[], object], *, started: float, patience: float | None = None
    ) -> None:
        """Write nothing yet.

        Args:
            line: Returns the line.
            started: Start of the work on the monotonic clock.
            patience: Seconds before the first line, if more than `LOG_INTERVAL`.
        """
        self._line = line
        self._due = started + max(LOG_INTERVAL, patience or 0.0)
        self._wanted = is_unattended()

    def tick(self) -> None:
        """Write the line if it is due."""
        now = time.monotonic()
        if not self._wanted or now < self._due:
            return
        self._due = now + LOG_INTERVAL
        log_line(f"xai-notebook: {self._line()}")

    def end(self) -> None:
        """Stop writing lines."""
        self._wanted = False


class StatusReport(NamedTuple):
    """Progress as text and counts, for marimo.

    Attributes:
        title: The first line.
        subtitle: The second line.
        finished: Number of finished parts.
        total: Number of parts; None if unknown. With several, a bar is shown.
    """

    title: str
    subtitle: str
    finished: int
    total: int | None


class MarimoStatus:
    """Shows the state of a wait in the output of the running cell of marimo, with `mo.status`.

    Errors of marimo are ignored: the images matter more than the progress.
    """

    def __init__(self, marimo: Any, report: Callable[[], StatusReport], *, due: float) -> None:
        """Show nothing yet.

        Args:
            marimo: The module.
            report: Returns the state.
            due: Time of the first report on the monotonic clock.
        """
        self._marimo = marimo
        self._report = report
        self._due = due
        self._context: Any = None
        self._shown: Any = None
        self._finished = 0

    def tick(self) -> None:
        """Show the state, unless the last update is too recent."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _STATUS_INTERVAL
        with suppress(Exception):
            report, status = self._report(), self._marimo.status
            about: dict[str, Any] = {"title": report.title, "subtitle": report.subtitle}
            if self._shown is None:
                if (report.total or 1) == 1:
                    context = status.spinner(**about)
                else:
                    context = status.progress_bar(
                        total=report.total, **about, show_rate=False, show_eta=False,
                        remove_on_exit=True,
                    )  # fmt: skip
                self._shown, self._context = context.__enter__(), context
            if self._shown.total:
                about["increment"] = report.finished - self._finished
                self._finished = report.finished
            self._shown.update(**about)

    def end(self) -> None:
        """Remove what is shown. Call it in the thread of the cell."""
        context, self._context = self._context, None
        self._due = math.inf
        if context is not None:
            with suppress(Exception):
                context.__exit__(None, None, None)


class Reporter:
    """Reports the progress of a call to the user's function, to marimo and, unattended, to the log.

    Use it in the thread of the call, or in the user's event loop.
    """

    def __init__(
        self,
        progress: Progress,
        function: Callable[[ProgressReport], object] | None = None,
        *,
        many: bool,
        patience: float,
    ) -> None:
        """Report nothing yet.

        Args:
            progress: The progress to report.
            function: The user's function.
            many: Whether the call has several requests; others write no lines.
            patience: Seconds before anything is shown, and before the first line in the log, if
                more than `LOG_INTERVAL`.
        """
        self._progress = progress
        self._function = function
        self._report_at = 0.0
        self._shown: MarimoStatus | LineLog | None = None
        if (marimo := marimo_notebook()) is not None:
            self._shown = MarimoStatus(marimo, self._status, due=progress.started + patience)
        elif many:
            self._shown = LineLog(progress.report, started=progress.started, patience=patience)

    def tick(self) -> None:
        """Report, unless the last report is too recent. Raises what the user's function raises."""
        now = time.monotonic()
        if self._shown is not None:
            self._shown.tick()
        if now >= self._report_at:
            self._report_at = now + _REPORT_INTERVAL
            self.end()

    def _status(self) -> StatusReport:
        progress = self._progress
        subtitle = clean(f"{plan_line(progress)} {_state(progress)}".strip())
        return StatusReport(
            _activity(progress), subtitle, progress.done + progress.unsent, progress.expected
        )

    def close(self) -> None:
        """Remove what marimo shows. Call it in the thread of the call, however the call ended."""
        if self._shown is not None:
            self._shown.end()

    def end(self) -> None:
        """Report the state now to the user's function."""
        if self._function is None:
            return
        try:
            self._function(self._progress.report())
        except (StopIteration, StopAsyncIteration) as error:  # would end a stream without an error
            raise RuntimeError(f"progress= raised {type(error).__name__}") from error


def check_function(function: object) -> None:
    """Check the value of `progress=`.

    Raises:
        OptionError: It cannot be called.
    """
    if function is not None and not callable(function):
        raise OptionError(
            f"progress= is a {type(function).__name__}, not a function. Give a function that takes "
            "one ProgressReport, such as print."
        )
