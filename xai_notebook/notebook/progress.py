"""Progress displays of calls and jobs under their cell, updated in place and then replaced."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from xai_notebook.frontend import can_update, in_kernel
from xai_notebook.generation.progress import describe, plan_line
from xai_notebook.pictures.render.grid import preview, to_html
from xai_notebook.pictures.render.job_card import progress_bar
from xai_notebook.pictures.render.previews import Previews
from xai_notebook.pictures.render.text import text
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.progress import Progress
    from xai_notebook.notebook.publisher import Publisher
    from xai_notebook.pictures.picture import Grid
    from xai_notebook.pictures.render.tables import Plan

_INTERVAL: Final = 0.4
"""Minimum seconds between two updates."""
_EMPTY: Final = {"text/plain": ""}


@dataclass
class LiveOutput:
    """One output of the running cell, or one line of a terminal, replaced by each update.

    Use it in the thread of the cell.
    """

    shell: Any
    _due: float = 0.0
    _handle: Any = None
    _width: int = 0

    @cached_property
    def in_notebook(self) -> bool:
        """Whether the frontend can replace outputs."""
        return can_update(self.shell)

    def pause(self, seconds: float) -> None:
        """Ignore updates for some seconds."""
        self._due = time.monotonic() + seconds

    def update(self, bundle: Callable[[], dict[str, str]], line: Callable[[], str]) -> None:
        """Show a bundle in a notebook or a line in a terminal, unless the last one is too recent.

        Errors of the frontend are ignored, so that they do not cost the images.
        """
        if time.monotonic() < self._due:
            return
        self.pause(_INTERVAL)
        with suppress(Exception):
            if self.in_notebook:
                self.show(bundle())
            elif in_kernel(self.shell) or sys.stderr.isatty():
                text = line()
                sys.stderr.write("\r" + text.ljust(self._width))
                sys.stderr.flush()
                self._width = len(text)

    def show(self, bundle: dict[str, str]) -> None:
        """Show a MIME bundle in place of the previous one."""
        from IPython.display import display  # noqa: PLC0415

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)

    def clear(self, *, release: bool = False) -> Any:
        """Remove the output; `release` leaves it in a notebook and returns its display handle."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0
        handle, self._handle = self._handle, None
        if handle is not None and not release:
            handle.update(_EMPTY, raw=True)
        return handle


_CHARACTERS_PER_SECOND: Final = 300_000
"""Maximum rate of updates, to leave bandwidth on slow connections."""
_DELAY_IF_UNCHANGED: Final = 3
"""Factor by which an update is delayed if only the time has changed."""
_PREVIEWS_PER_UPDATE: Final = 4
"""Maximum previews made per update, because making one blocks the cell's thread."""
_STYLE: Final = """<style>
.xai-progress { position: sticky; top: 0; z-index: 1; padding: 4px 0;
  background: var(--jp-layout-color0); }
.jp-Cell:not(.jp-mod-outputsScrolled) .jp-OutputArea:has(.xai-progress),
.jp-OutputArea-child:has(.xai-progress), .jp-OutputArea-output:has(.xai-progress) {
  overflow: visible; }
.xai-waiting {
  background: linear-gradient(100deg, rgba(128,128,128,0.13) 35%%, rgba(128,128,128,0.28) 50%%,
    rgba(128,128,128,0.13) 65%%) 0 0 / 300%% 100%%; animation: xai-waiting 2s linear infinite;
  animation-delay: -%.1fs; }
@keyframes xai-waiting { from { background-position: 100%% 0; } to { background-position: 0 0; } }
@media (prefers-reduced-motion: reduce) { .xai-waiting { animation: none; } }
</style>"""
"""Keeps the progress in sight while the page scrolls, and animates the placeholders.

JupyterLab's outputs scroll by themselves otherwise, and `sticky` has no effect there. Each update
replaces the elements; the negative delay lets the animation continue smoothly.
"""


@dataclass
class CallProgress:
    """The progress of one call. `tick` is called in the thread of the cell.

    Attributes:
        output: Where the progress is shown.
        progress: The progress to show.
        patience: Seconds before anything is shown.
        so_far: Returns the cards to show, with placeholders for missing images.
    """

    output: LiveOutput
    progress: Progress
    _: KW_ONLY
    patience: float
    so_far: Callable[[], Grid] = ImageBatch
    _previews: Previews = field(default_factory=Previews)
    _cards_shown: str = ""
    _plan: str = ""

    def announce(self, plan: Plan) -> None:
        """Show the number of images and the expected cost immediately, unless the call is free."""
        if plan.cost_usd == 0:
            return
        self._plan = plan.sentence
        if not self.output.in_notebook:
            sys.stdout.write(f"{plan.sentence}\n")  # in a terminal, printed lines stay
            return
        with suppress(Exception):
            self.output.show({"text/html": _line(self._plan), "text/plain": self._plan})

    def tick(self) -> None:
        """Update the display."""
        if self.progress.elapsed >= self.patience:
            self.output.update(self._bundle, lambda: describe(self.progress))

    def _bundle(self) -> dict[str, str]:
        cards, line = self._cards(), describe(self.progress)
        plan = self._plan or plan_line(self.progress)
        bar, expected = "", self.progress.expected
        if expected != 1:
            finished = self.progress.done + self.progress.unsent
            fraction = finished / expected if expected else 0.0
            bar = f'<div style="max-width:640px">{progress_bar(fraction)}</div>'
        head = f"{_line(plan) if plan else ''}{_line(line)}{bar}"
        style = _STYLE % self.progress.elapsed if cards else ""
        unchanged = cards == self._cards_shown
        pause = len(cards) / _CHARACTERS_PER_SECOND * (_DELAY_IF_UNCHANGED if unchanged else 1)
        self._cards_shown = cards
        self.output.pause(max(pause, _INTERVAL))
        return {
            "text/html": f'{style}<div class="xai-progress">{head}</div>{cards}',
            "text/plain": f"{plan}\n{line}".strip(),
        }

    def _cards(self) -> str:
        """Return the current grid; it may be animated, because it is never saved."""
        batch = self.so_far()
        if not batch.images:
            return ""
        pictures = preview(batch, self._previews, most=_PREVIEWS_PER_UPDATE)
        # Decode synchronously, to avoid flicker on updates.
        return to_html(batch, pictures).replace("<img ", '<img decoding="sync" ')

    def end(self, batch: ImageBatch | None = None) -> None:
        """Remove the progress, or let a batch replace it when the cell displays the batch.

        A cell such as `x = %xai_image …` displays nothing; the progress is then removed at its end.
        """
        handle = self.output.clear(release=batch is not None)
        if batch is None or handle is None:
            return
        shell = self.output.shell
        events = shell.events
        formatter = shell.display_formatter.ipython_display_formatter

        def after_cell(*_: Any) -> None:
            events.unregister("post_run_cell", after_cell)
            if _REPLACING.pop(id(batch), None) is not None:
                handle.update(_EMPTY, raw=True)
            if not _REPLACING and formatter.type_printers.get(ImageBatch) is _show_in_place:
                formatter.pop(ImageBatch)

        _REPLACING[id(batch)] = batch, handle, self._previews
        if ImageBatch not in formatter.type_printers:  # a user's formatter takes precedence
            formatter.for_type(ImageBatch, _show_in_place)
        events.register("post_run_cell", after_cell)


_REPLACING: Final[dict[int, tuple[ImageBatch, Any, Previews]]] = {}
"""Batches that will replace their progress when displayed, by identity, with the display handle and
the previews made so far."""


def _show_in_place(batch: ImageBatch) -> None:
    """Display a batch in place of its progress; IPython calls this for every batch."""
    replacing = _REPLACING.pop(id(batch), None)
    if replacing is None:
        raise NotImplementedError  # IPython's protocol: fall back to _repr_mimebundle_
    _, handle, previews = replacing
    handle.update(batch.bundle(previews), raw=True)


def _line(line: str) -> str:
    return f'<div style="margin:4px 0 8px;font-variant-numeric:tabular-nums">{text(line)}</div>'


class JobWait:
    """Progress of a job for which a cell waits. Called in the thread of the cell."""

    def __init__(self, shell: Any, job: BatchJob, *, patience: float) -> None:
        self._job = job
        self._output = LiveOutput(shell)
        self._output.pause(patience)

    def __call__(self) -> None:
        """Update the display."""
        if not self._job.done:
            self._output.update(lambda: self._job.bundle(saved=False), lambda: repr(self._job))

    def end(self) -> None:
        """Remove the progress; the cell displays the images."""
        self._output.clear()


_RENDERER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xai-notebook-card")
"""Thread that renders job cards, because making previews would block the event loop."""


class JobDisplay:
    """A job's card under the cell that made it, updated until the job has ended.

    Works after the cell has ended; `update` may be called in any thread.
    """

    def __init__(self, publisher: Publisher, job: BatchJob) -> None:
        self._job = job
        self._publisher = publisher
        self._id = uuid4().hex
        self._lock = threading.Lock()
        self._drawing = False
        self._drawn_at = time.monotonic()
        for poller in job.pollers:
            poller.listeners.append(self.update)
        self._publisher.publish(job.bundle(), display_id=self._id)

    def update(self) -> None:
        """Schedule a redraw of the card."""
        if self._job.done:
            self._stop_listening()
        with self._lock:
            if self._drawing:
                return
            early = time.monotonic() - self._drawn_at < _INTERVAL
            if early and not self._job.done:
                return
            self._drawing = True
        _RENDERER.submit(self._draw)

    def redraw(self) -> None:
        """Redraw the card now, in this thread.

        Programs such as papermill ignore updates that arrive after the cell has ended.
        """
        with self._lock:
            self._drawing = True
        self._draw()

    def _draw(self) -> None:
        ended = self._job.done
        with self._lock:
            self._drawing = False  # later changes need another redraw
            self._drawn_at = time.monotonic()
        with suppress(Exception):  # errors of the frontend must not cost the images
            self._publisher.publish(self._job.bundle(), display_id=self._id, update=True)
        if ended:
            self._stop_listening()

    def _stop_listening(self) -> None:
        for poller in self._job.pollers:
            with suppress(ValueError):
                poller.listeners.remove(self.update)
