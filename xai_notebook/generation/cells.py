"""The cells of the IPython around us: which one runs, and how it ends."""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_notebook.frontend import cell_identity, running_shell
from xai_notebook.generation.claims import Asking, Ledger, Run

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Cells"]

_CURRENT: ContextVar[tuple[Cells, Run] | None] = ContextVar("xai_notebook_run", default=None)
"""Tasks that a cell started stay its own, also when another one runs by now."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A cell that has begun.

    Attributes:
        run: What it asks for.
        thread: Where it runs: a kernel with subshells runs several.
        info: IPython's; None: it had begun before we looked.
    """

    run: Run
    thread: threading.Thread
    info: Any


class Cells:
    """Tells which run of which cell makes a call. IPython is watched from the first call on."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._ledger = Ledger()
        self._running: list[_Running] = []
        self._lock = threading.RLock()
        self._shell: Any = None

    def ask(self, *, in_turn: bool = False) -> Asking:
        """Return what a call made here and now will ask for; see `Asking`."""
        with self._lock:
            self._watch()
            current = _CURRENT.get()
            if current is not None and current[0] is self:
                run = current[1]
            elif self._running:  # in a thread that a cell has started
                run = self._running[-1].run
            else:
                run = Run(over=True)
            return Asking(self._ledger, run, in_turn=in_turn)

    def ask_apart(self, cell: Hashable) -> Asking:
        """Return what a call outside of the pass will ask for, whatever cell runs.

        Its images are stored at the first free place, where the next equal request of a cell
        finds them.

        Args:
            cell: What makes such calls, one after the other, the same.
        """
        return Asking(self._ledger, Run(cell, over=True, lasting=False))

    def close(self) -> None:
        """Watch no longer."""
        with self._lock:
            shell, self._shell = self._shell, None
            self._running.clear()
        if shell is not None:
            for event, hook in (("pre_run_cell", self._begin), ("post_run_cell", self._end)):
                with suppress(ValueError):  # somebody has cleared all hooks
                    shell.events.unregister(event, hook)

    def _watch(self) -> None:
        shell = running_shell()
        if shell is None or shell is self._shell:
            return
        self._shell = shell
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)
        self._start(None, threading.main_thread())  # the cell of this very call

    def _begin(self, info: Any) -> None:
        with self._lock:
            for running in self._here():
                if not info.store_history:  # a cell run by the code of another
                    return
                self._finish(running, succeeded=True)
            self._start(info, threading.current_thread())

    def _end(self, result: Any) -> None:
        """Close the run of a cell. ipykernel gives no result for a cancelled one."""
        info = getattr(result, "info", None)
        with self._lock:
            for running in self._here():
                if info is None or running.info is None or running.info is info:
                    if running.info is None:
                        running.run.cell = cell_identity(self._shell, info)
                    self._finish(running, succeeded=bool(result and result.success))

    def _here(self) -> list[_Running]:
        here = threading.current_thread()
        return [running for running in self._running if running.thread is here]

    def _start(self, info: Any, thread: threading.Thread) -> None:
        run = Run(cell_identity(self._shell, info))
        self._running.append(_Running(run, thread, info))
        _CURRENT.set((self, run))

    def _finish(self, running: _Running, *, succeeded: bool) -> None:
        self._running.remove(running)
        self._ledger.end(running.run, succeeded=succeeded)
