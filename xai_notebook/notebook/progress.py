"""Progress under a cell while it waits: shown late, updated in place, replaced by the pictures."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from xai_notebook.frontend import can_update, in_kernel
from xai_notebook.notebook.publisher import Publisher
from xai_notebook.pictures.render.grid import preview, to_html
from xai_notebook.pictures.render.previews import Previews
from xai_notebook.pictures.render.tables import to_make
from xai_notebook.pictures.render.text import clean, dollars, text
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.progress import Progress
    from xai_notebook.pictures.picture import Grid
    from xai_notebook.pictures.render.tables import Plan

__all__ = ["CallProgress", "JobDisplay", "JobWait", "describe"]

PATIENCE: Final = 0.6
"""Seconds before anything is shown: a quick answer needs no placeholder."""
LOCAL_PATIENCE: Final = 4.0
"""The same for the embedded server, which is quick: compared notebooks stay equal."""
_INTERVAL: Final = 0.4
"""Seconds between two updates, at least."""
_PER_SECOND: Final = 300_000
"""Characters of updates in a second: a page far away has other things to load."""
_UNCHANGED: Final = 3
"""How much longer an update waits that only tells the time."""
_AT_ONCE: Final = 4
"""Previews made in one update, while the cell can be interrupted, but does nothing else."""
_STYLE: Final = """<style>
.xai-waiting {
  background: linear-gradient(100deg, rgba(128,128,128,0.13) 35%%, rgba(128,128,128,0.28) 50%%,
    rgba(128,128,128,0.13) 65%%) 0 0 / 300%% 100%%; animation: xai-waiting 2s linear infinite;
  animation-delay: -%.1fs; }
@keyframes xai-waiting { from { background-position: 100%% 0; } to { background-position: 0 0; } }
@media (prefers-reduced-motion: reduce) { .xai-waiting { animation: none; } }
</style>"""
"""Each update is new elements: a negative delay takes the movement up where it was."""
_NOTHING: Final = {"text/plain": ""}


class CallProgress:
    """The progress of one call, in a notebook or a terminal.

    `tick` is called in the thread of the cell; what it shows belongs to that cell.
    """

    def __init__(
        self,
        shell: Any,
        progress: Progress,
        *,
        patience: float,
        so_far: Callable[[], Grid] = ImageBatch,
    ) -> None:
        """Show nothing yet.

        Args:
            shell: The running IPython.
            progress: What to show.
            patience: Seconds before anything is shown.
            so_far: Returns the cards to show, those that are awaited in their places.
        """
        self._shell = shell
        self._progress = progress
        self._patience = patience
        self._so_far = so_far
        self._previews = Previews()
        self._notebook = can_update(shell)
        self._console = not self._notebook and (in_kernel(shell) or sys.stderr.isatty())
        self._handle: Any = None
        self._due = 0.0
        self._body = ""
        self._line = 0
        self._plan = ""

    def announce(self, plan: Plan) -> None:
        """Say at once what will be made and what it will cost, if it costs anything."""
        if plan.cost_usd == 0:
            return
        self._plan = plan.sentence
        if not self._notebook:
            sys.stdout.write(f"{plan.sentence}\n")  # a terminal keeps its lines
            return
        with suppress(Exception):
            self._show({"text/html": _line(self._plan), "text/plain": self._plan})

    def tick(self) -> None:
        """Show what has changed. A frontend that fails must not cost the images."""
        now = time.monotonic()
        if self._progress.elapsed < self._patience or now < self._due:
            return
        self._due = now + _INTERVAL
        with suppress(Exception):
            if self._notebook:
                self._show_html()
            elif self._console:
                line = describe(self._progress)
                sys.stderr.write("\r" + line.ljust(self._line))
                sys.stderr.flush()
                self._line = len(line)

    def _show_html(self) -> None:
        body, line = self._cards(), describe(self._progress)
        told = self._plan or _planned(self._progress)
        plan = _line(told) if told else ""
        bar = _bar(self._progress) if self._progress.expected != 1 else ""
        style = _STYLE % self._progress.elapsed if body else ""
        self._show(
            {
                "text/html": f"{style}{plan}{_line(line)}{bar}{body}",
                "text/plain": f"{told}\n{line}".strip(),
            }
        )
        pause = len(body) / _PER_SECOND * (_UNCHANGED if body == self._body else 1)
        self._body = body
        self._due = time.monotonic() + max(pause, _INTERVAL)

    def _cards(self) -> str:
        """Return the grid as far as it has come. It is never saved, so that it may move."""
        batch = self._so_far()
        if not batch.images:
            return ""
        pictures = preview(batch, self._previews, most=_AT_ONCE)
        # Drawn at once, or every update would flicker.
        return to_html(batch, pictures).replace("<img ", '<img decoding="sync" ')

    def _show(self, bundle: dict[str, str]) -> None:
        from IPython.display import display  # noqa: PLC0415

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)

    def end(self, batch: ImageBatch | None = None) -> None:
        """Let the pictures take the place of the progress; without pictures, nothing does.

        They do when the batch is shown in this cell: `x = %xai_image …` shows nothing.
        """
        if self._line:
            sys.stderr.write("\r" + " " * self._line + "\r")
            sys.stderr.flush()
            self._line = 0
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        if batch is None:
            handle.update(_NOTHING, raw=True)
            return
        events = self._shell.events
        formatter = self._shell.display_formatter.ipython_display_formatter

        def leave(*_: Any) -> None:
            events.unregister("post_run_cell", leave)
            if _TURNING.pop(id(batch), None) is not None:
                handle.update(_NOTHING, raw=True)
            if not _TURNING and formatter.type_printers.get(ImageBatch) is _turn:
                formatter.pop(ImageBatch)

        _TURNING[id(batch)] = batch, handle, self._previews
        if ImageBatch not in formatter.type_printers:  # what the user has put there comes first
            formatter.for_type(ImageBatch, _turn)
        events.register("post_run_cell", leave)


_TURNING: Final[dict[int, tuple[ImageBatch, Any, Previews]]] = {}
"""Batches that take the place of their progress when they are shown, by identity; its handle
and the previews that have been made."""


def _turn(batch: ImageBatch) -> None:
    """Show a batch in the place of its progress; called by IPython for every batch."""
    turning = _TURNING.pop(id(batch), None)
    if turning is None:
        raise NotImplementedError  # IPython goes on to _repr_mimebundle_
    _, handle, previews = turning
    handle.update(batch.bundle(previews), raw=True)


def describe(progress: Progress) -> str:
    """Return the state of a call as one line of text."""
    parts = []
    if progress.expected != 1:
        total = "?" if progress.expected is None else f"{progress.expected:,}"
        parts.append(f"{progress.done:,} of {total} prompts")
    parts.append(_duration(progress.elapsed))
    if progress.expected != 1 and progress.eta is not None:
        parts.append(f"about {_duration(progress.eta)} left")
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
    what = "Making images" if progress.images > 1 else "Making an image"
    return clean(f"{what}: {', '.join(parts)}")


def _planned(progress: Progress) -> str:
    """Return what one request will make and cost; nothing, while that is not known."""
    images = progress.to_make
    expected = progress.expected_usd.get(images)
    if not images or not expected:
        return ""
    stored = progress.images - images
    return to_make(f"{images:,}", dollars(expected), stored, progress.budget)


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _line(told: str) -> str:
    return f'<div style="margin:4px 0 8px;font-variant-numeric:tabular-nums">{text(told)}</div>'


def _bar(progress: Progress) -> str:
    settled = progress.done + progress.unsent
    done = settled / progress.expected if progress.expected else 0.0
    return (
        '<div role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{done:.0%}" '.replace("%", "")
        + 'style="height:6px;max-width:640px;border-radius:3px;overflow:hidden;margin-bottom:12px;'
        f'background:rgba(128,128,128,0.25)"><div style="height:6px;width:{done:.1%};'
        'background:var(--jp-brand-color1,#2a9d8f)"></div></div>'
    )


_CARD_INTERVAL: Final = 0.5
_NO_CARD: Final = {"text/plain": ""}
_DRAWING: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xai-notebook-card")
"""Draws what changed: previews of pictures take longer than the loop may wait."""


class JobDisplay:
    """A job under the cell that shows it, up to date until it has ended.

    `update` may be called in any thread. What it shows belongs to the cell that made it, whichever
    runs by then.
    """

    def __init__(self, publisher: Publisher, job: BatchJob) -> None:
        """Show the job as it is.

        Args:
            publisher: Of the cell under which it is shown.
            job: What to show.
        """
        self._job = job
        self._publisher = publisher
        self._id = uuid4().hex
        self._lock = threading.Lock()
        self._drawing = False
        self._drawn = time.monotonic()
        for poller in job.pollers:
            poller.listeners.append(self.update)
        self._publisher.publish(job.bundle(), display_id=self._id)

    @classmethod
    def here(cls, shell: Any, job: BatchJob) -> JobDisplay:
        """Show a job under the running cell of an IPython that is in a kernel."""
        return cls(Publisher(shell), job)

    def update(self) -> None:
        """Show what has changed, some time soon."""
        if self._job.done:
            self._unfollow()
        with self._lock:
            if self._drawing:
                return
            early = time.monotonic() - self._drawn < _CARD_INTERVAL
            if early and not self._job.done:
                return
            self._drawing = True
        _DRAWING.submit(self._draw)

    def _draw(self) -> None:
        ended = self._job.done
        with self._lock:
            self._drawing = False  # what changes from here on is drawn once more
            self._drawn = time.monotonic()
        with suppress(Exception):  # a frontend that fails must not cost the images
            self._publisher.publish(self._job.bundle(), display_id=self._id, update=True)
        if ended:
            self._unfollow()

    def _unfollow(self) -> None:
        for poller in self._job.pollers:
            with suppress(ValueError):
                poller.listeners.remove(self.update)


class JobWait:
    """A job under the cell that waits for it. Call it now and then, in the thread of the cell."""

    def __init__(self, shell: Any, job: BatchJob, *, patience: float) -> None:
        """Show nothing yet.

        Args:
            shell: The running IPython.
            job: What is waited for.
            patience: Seconds before anything is shown.
        """
        self._job = job
        self._publisher = Publisher(shell) if in_kernel(shell) else None
        self._id = uuid4().hex
        self._next = time.monotonic() + patience
        self._shown = False
        self._line = 0

    def __call__(self) -> None:
        """Show how far it is."""
        now = time.monotonic()
        if now < self._next or self._job.done:
            return
        self._next = now + _CARD_INTERVAL
        with suppress(Exception):
            if self._publisher is not None:
                self._publisher.publish(self._job.bundle(), display_id=self._id, update=self._shown)
                self._shown = True
            elif sys.stderr.isatty():
                line = repr(self._job)
                sys.stderr.write("\r" + line.ljust(self._line))
                sys.stderr.flush()
                self._line = len(line)

    def end(self) -> None:
        """Let the images take its place."""
        if self._line:
            sys.stderr.write("\r" + " " * self._line + "\r")
            sys.stderr.flush()
        if self._shown and self._publisher is not None:
            self._publisher.publish(_NO_CARD, display_id=self._id, update=True)
