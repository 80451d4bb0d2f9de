"""Jobs in a notebook: a card that is a real output, updated in place until it is the grid."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from xai_notebook.frontend import in_kernel
from xai_notebook.notebook.panel.outputs import Publisher

if TYPE_CHECKING:
    from xai_notebook.generation.jobs import BatchJob

__all__ = ["JobDisplay", "Waiting"]

_INTERVAL: Final = 0.5
_NOTHING: Final = {"text/plain": ""}
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
        for follower in job.followers:
            follower.listeners.append(self.update)
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
            early = time.monotonic() - self._drawn < _INTERVAL
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
        for follower in self._job.followers:
            with suppress(ValueError):
                follower.listeners.remove(self.update)


class Waiting:
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
        self._next = now + _INTERVAL
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
            self._publisher.publish(_NOTHING, display_id=self._id, update=True)
