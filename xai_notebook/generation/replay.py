"""Which stored pictures answer a request: the places of one pass through a notebook.

What decides is the *place*. Equal requests (one fingerprint) are told apart by how many of them
came before: the k-th time that one pass through a notebook makes a request is its place k - 1, in
the library as well. What this notebook showed last at a place answers it; where it has shown
nothing, what was stored there last by any notebook. So Restart and Run All, which
makes the same requests in the same order, shows the same pictures at no cost, also when a prompt
stands in two cells, in a loop or in a function. Places count requests and not images: `-n` grown
from 2 to 4 completes its place, and no other one moves.

A *run* is one execution of a cell. When a cell runs again (the same cell id; in a terminal the
same line), its requests take the places they had; and since the user has seen what is stored
there, new images are made for them and stored there. Without cell ids (nbclient, papermill) and
without cells (a program) nothing is ever run again: all of it is one pass.

A request counts as seen once its call had all it asked for and its run succeeded. Until then, what
has arrived answers the next run: after an interrupt, a failed export, an error further down in the
cell. A run that failed leaves its places as they were; an incomplete call is completed at its own:
by the next run of its cell, and where cells have no ids, by the next equal call.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.frontend import cell_identity, running_shell

if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import TracebackType

__all__ = ["CellRun", "CellTracker", "Claim", "SlotClaims"]


_Slot = tuple[bytes, int]
"""Sixteen bytes of a fingerprint, which tell a request from any other, and a place."""


@dataclass(slots=True, eq=False)
class CellRun:
    """One execution of a cell, or one call outside of any.

    Attributes:
        cell: What its runs have in common; None: it cannot be run again.
        over: It has ended; calls that go on count as soon as they return.
        lasting: Its places are its own until the cell runs without them.
        slots: The places it has, once it has succeeded.
        spare: Places of its calls that did not get all: the next equal request completes them.
        returned: Its calls that ended well.
    """

    cell: Hashable = None
    over: bool = False
    lasting: bool = True
    slots: list[_Slot] = field(default_factory=list)
    spare: dict[bytes, set[int]] = field(default_factory=dict)
    returned: list[SlotClaims] = field(default_factory=list)


_ANYBODY: Final = CellRun(over=True)
"""Has the places of what cannot be run again."""


@dataclass(slots=True, eq=False)
class Claim:
    """The place of one request.

    Attributes:
        slot: Where it is.
        number: How many equal requests its run made before it.
        n: Images wanted.
        anew: New images are wanted: what is stored there so far is not to answer.
        after: Only images with a larger `id` in the library answer.
        before: Who had the place.
        keep: What is stored answers now, and the next time.
    """

    slot: _Slot
    number: int
    n: int
    anew: bool
    after: int
    before: CellRun | None
    keep: bool = False

    @property
    def place(self) -> int:
        """How many equal requests come before it in the pass."""
        return self.slot[1]


class SlotTable:
    """What one kernel has asked for, and where. Safe to use from any thread."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self._lock = threading.RLock()
        self._holders: dict[bytes, list[CellRun | None]] = {}
        self._last: dict[Hashable, CellRun] = {}
        self._seen: dict[Hashable, dict[bytes, tuple[int, ...]]] = {}
        self._after: dict[_Slot, int] = {}
        self._owed: set[_Slot] = set()

    def claim(
        self, run: CellRun, fingerprint: str, n: int, *, fresh: bool, keep: bool = False
    ) -> Claim:
        """Return the place of a run's next request: one of its cell's own, or the first free.

        Args:
            run: Which asks.
            fingerprint: Of the request.
            n: Images wanted.
            fresh: New images are wanted in any case.
            keep: What is stored is wanted, also where it has been seen.
        """
        key = bytes.fromhex(fingerprint)[:16]
        with self._lock:
            holders = self._holders.setdefault(key, [])
            spare = run.spare.get(key, set())
            number = place = holders.count(run) - len(spare)
            if place < len(holders):  # not all are places of this run
                places = enumerate(holders)
                free = (at for at, holder in places if at in spare or _may_take(run, holder))
                place = next(free, len(holders))
            if place == len(holders):
                holders.append(None)
            slot = (key, place)
            before, holders[place] = holders[place], run
            spare.discard(place)
            seen = self._seen.get(run.cell, {}).get(key, ())
            again = number < len(seen) and n <= seen[number]
            anew = (fresh or again) and slot not in self._owed and not keep
            return Claim(slot, number, n, anew, self._after.get(slot, 0), before, keep)

    def begin(self, claim: Claim, newest: int) -> None:
        """Let only images that are stored from now on answer at a place.

        Args:
            claim: The place.
            newest: `id` of the image stored last in the library.
        """
        with self._lock:
            self._owed.add(claim.slot)
            self._after[claim.slot] = claim.after = newest
            claim.anew = False

    def end(self, run: CellRun, *, succeeded: bool) -> None:
        """Count what a run asked for as seen; or, when it failed, give its places back."""
        with self._lock:
            run.over = True
            # The last first: of two calls that had the same place, the later one has it.
            for asking in reversed(run.returned):
                lasts = asking.complete or run.cell is not None
                self._settle(asking, seen=succeeded and lasts and not asking.spoiled)
            run.returned.clear()
            run.spare.clear()
            if not succeeded or run.cell is None:
                return
            if (former := self._last.get(run.cell)) is not None:
                for slot in former.slots:
                    self._leave(slot, former, None)
            self._last[run.cell] = run

    def returned(self, asking: SlotClaims) -> None:
        """Count a call that ended well, now or when its run has succeeded."""
        run = asking.run
        with self._lock:
            if run.over:
                self._settle(asking, seen=asking.complete or run.cell is not None)
                return
            run.returned.append(asking)
            if not asking.complete:
                for claim in asking.claims:
                    run.spare.setdefault(claim.slot[0], set()).add(claim.place)

    def withdraw(self, asking: SlotClaims) -> None:
        """Give the places of a call back that ended in an error."""
        with self._lock:
            self._settle(asking, seen=False)

    def _settle(self, asking: SlotClaims, *, seen: bool) -> None:
        for claim in reversed(asking.claims):
            if not seen:
                self._leave(claim.slot, asking.run, claim.before)
                continue
            if asking.complete:
                self._see(asking.run, claim)
            self._keep(asking.run, claim)
        asking.claims.clear()

    def _see(self, run: CellRun, claim: Claim) -> None:
        """Note that a cell has shown all images of a claim: the next time it wants others."""
        if claim.keep:
            self._owed.add(claim.slot)
        else:
            self._owed.discard(claim.slot)
        if run.cell is None:
            return
        of_cell = self._seen.setdefault(run.cell, {})
        seen = of_cell.get(claim.slot[0], ())
        before = (seen + (0,) * claim.number)[: claim.number]
        of_cell[claim.slot[0]] = (*before, claim.n, *seen[claim.number + 1 :])

    def _keep(self, run: CellRun, claim: Claim) -> None:
        """Keep a place for the next run of its cell, or for good."""
        if not run.lasting:
            self._leave(claim.slot, run, claim.before)
        elif run.cell is None:
            self._leave(claim.slot, run, _ANYBODY)
        else:
            run.slots.append(claim.slot)

    def _leave(self, slot: _Slot, holder: CellRun, to: CellRun | None) -> None:
        """Hand a place on, unless somebody else has it by now."""
        key, place = slot
        if self._holders[key][place] is holder:
            self._holders[key][place] = to
            if to is holder:
                holder.spare.setdefault(key, set()).add(place)


class SlotClaims:
    """The places of one call. It counts when the block that it is the context of ends well.

    Attributes:
        run: Whose call it is.
        claims: In the order of its requests, or of their turns.
        complete: It had all that it asked for.
        spoiled: Its images could not be shown.
    """

    def __init__(self, table: SlotTable, run: CellRun) -> None:
        """Claim nothing yet.

        Args:
            table: The slots of the kernel.
            run: The run that makes the call.
        """
        self.run = run
        self.claims: list[Claim] = []
        self.complete = False
        self.spoiled = False
        self._table = table

    def claim(self, fingerprint: str, n: int, *, fresh: bool, keep: bool = False) -> Claim:
        """Return the place of the call's next request; see `SlotTable.claim`."""
        claim = self._table.claim(self.run, fingerprint, n, fresh=fresh, keep=keep)
        self.claims.append(claim)
        return claim

    def begin(self, claim: Claim, newest: int) -> None:
        """Have new images; see `SlotTable.begin`."""
        self._table.begin(claim, newest)

    def spoil(self) -> None:
        """Note that its images could not be shown: they answer the next run of the cell."""
        self.spoiled = True

    def __enter__(self) -> SlotClaims:  # noqa: PYI034  # typing.Self is of 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(succeeded=kind is None)

    def close(self, *, succeeded: bool) -> None:
        """Count the call, or give its places back."""
        if succeeded:
            self._table.returned(self)
        else:
            self._table.withdraw(self)


def _may_take(run: CellRun, holder: CellRun | None) -> bool:
    """Tell whether a place is free, or was the cell's own in a run before."""
    if holder is None or holder is run:
        return holder is None
    return run.cell is not None and holder.cell == run.cell


_CURRENT: ContextVar[tuple[CellTracker, CellRun] | None] = ContextVar(
    "xai_notebook_run", default=None
)
"""Tasks that a cell started stay its own, also when another one runs by now."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A cell that has begun.

    Attributes:
        run: What it asks for.
        thread: Where it runs: a kernel with subshells runs several.
        info: IPython's; None: it had begun before we looked.
    """

    run: CellRun
    thread: threading.Thread
    info: Any


class CellTracker:
    """Tells which run of which cell makes a call. IPython is watched from the first call on."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._table = SlotTable()
        self._running: list[_Running] = []
        self._lock = threading.RLock()
        self._shell: Any = None

    def ask(self, apart: Hashable = None) -> SlotClaims:
        """Return what takes the slots of a call made here and now.

        Args:
            apart: The call is outside of the notebook's pass, and calls with the same `apart` are
                one cell that is run again. Images go to the first free slot, where the next equal
                request of a cell finds them.
        """
        if apart is not None:
            return SlotClaims(self._table, CellRun(apart, over=True, lasting=False))
        with self._lock:
            self._watch()
            current = _CURRENT.get()
            if current is not None and current[0] is self:
                run = current[1]
            elif self._running:  # in a thread that a cell has started
                run = self._running[-1].run
            else:
                run = CellRun(over=True)
            return SlotClaims(self._table, run)

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
        run = CellRun(cell_identity(self._shell, info))
        self._running.append(_Running(run, thread, info))
        _CURRENT.set((self, run))

    def _finish(self, running: _Running, *, succeeded: bool) -> None:
        self._running.remove(running)
        self._table.end(running.run, succeeded=succeeded)
