"""Replay: which slot of the library a request has, and whether stored pictures answer it.

A *slot* is a request and its *place*. Equal requests (one fingerprint) have the places 0, 1, 2, ...
in the order in which one pass through a notebook makes them, and images are stored under both. The
image that this notebook showed last in a slot answers it; if it has shown none, the image that any
notebook stored there last. So Restart and Run All makes the same requests in the same order, and
shows the same pictures at no cost, also if a prompt stands in two cells, in a loop or in a
function. Places count requests, not images: `-n` raised from 2 to 4 completes a slot, and no other
slot moves.

A *run* is one execution of a cell. When a cell runs again (the same cell id; in a terminal the same
line), its requests take the slots they had. The user has seen the images stored there, so new ones
are made and stored there. Without cell ids (nbclient, papermill) and without cells (a program),
nothing is run again: everything is one pass.

A request counts as seen once its call has all its images and its run has succeeded. Until then, the
images that have arrived answer the next run: after an interrupt, a failed export, an error further
down in the cell. A run that fails leaves its slots as they were. An incomplete call is completed in
its own slots: by the next run of its cell, and where cells have no ids, by the next equal call.
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

_Slot = tuple[bytes, int]
"""The first 16 bytes of a fingerprint, which are unique, and a place."""


@dataclass(slots=True, eq=False)
class CellRun:
    """One execution of a cell, or one call outside of any cell.

    Attributes:
        cell: Equal for all runs of a cell; None: it cannot be run again.
        over: It has ended: calls that are still under way count as soon as they return.
        lasting: Its slots stay its own until the cell runs without them.
        slots: Its slots, once it has succeeded.
        spare: Slots of incomplete calls, which the next equal request completes: places by
            fingerprint.
        returned: Its calls that ended well.
    """

    cell: Hashable = None
    over: bool = False
    lasting: bool = True
    slots: list[_Slot] = field(default_factory=list)
    spare: dict[bytes, set[int]] = field(default_factory=dict)
    returned: list[SlotClaims] = field(default_factory=list)


_NO_CELL: Final = CellRun(over=True)
"""Owns the slots of runs that cannot be run again."""


@dataclass(slots=True, eq=False)
class Claim:
    """The slot of one request.

    Attributes:
        slot: The slot.
        number: Equal requests that its run made before it.
        n: Images wanted.
        anew: New images are wanted, so stored ones do not answer.
        after: Only images with a larger `id` in the library answer.
        before: The run that owned the slot before.
        keep: Stored images answer now and the next time.
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
        """Equal requests that come before it in the pass."""
        return self.slot[1]


class _SlotTable:
    """The slots of one kernel and their owners. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owners: dict[bytes, list[CellRun | None]] = {}
        self._last: dict[Hashable, CellRun] = {}
        self._seen: dict[Hashable, dict[bytes, tuple[int, ...]]] = {}
        self._after: dict[_Slot, int] = {}
        self._unseen: set[_Slot] = set()

    def claim(
        self, run: CellRun, fingerprint: str, n: int, *, fresh: bool, keep: bool = False
    ) -> Claim:
        """Return the slot of a run's next request: one of its cell's own, or the first free.

        Args:
            run: The run that makes the request.
            fingerprint: Of the request.
            n: Images wanted.
            fresh: New images are wanted in any case.
            keep: Stored images are wanted, even if they have been seen.
        """
        key = bytes.fromhex(fingerprint)[:16]
        with self._lock:
            owners = self._owners.setdefault(key, [])
            spare = run.spare.get(key, set())
            number = place = owners.count(run) - len(spare)
            if place < len(owners):  # not all slots are of this run
                free = (i for i, owner in enumerate(owners) if i in spare or _may_take(run, owner))
                place = next(free, len(owners))
            if place == len(owners):
                owners.append(None)
            slot = (key, place)
            before, owners[place] = owners[place], run
            spare.discard(place)
            seen = self._seen.get(run.cell, {}).get(key, ())
            again = number < len(seen) and n <= seen[number]
            anew = (fresh or again) and slot not in self._unseen and not keep
            return Claim(slot, number, n, anew, self._after.get(slot, 0), before, keep)

    def begin(self, claim: Claim, newest: int) -> None:
        """Let only images answer in a slot that are stored from now on; see `SlotClaims.begin`."""
        with self._lock:
            self._unseen.add(claim.slot)
            self._after[claim.slot] = claim.after = newest
            claim.anew = False

    def end(self, run: CellRun, *, succeeded: bool) -> None:
        """Count the requests of a run as seen; or, if it failed, give its slots back."""
        with self._lock:
            run.over = True
            # The last first: of two calls that had the same slot, the later one owns it.
            for claims in reversed(run.returned):
                lasts = claims.complete or run.cell is not None
                self._settle(claims, seen=succeeded and lasts and not claims.spoiled)
            run.returned.clear()
            run.spare.clear()
            if not succeeded or run.cell is None:
                return
            if (former := self._last.get(run.cell)) is not None:
                for slot in former.slots:
                    self._transfer(slot, former, None)
            self._last[run.cell] = run

    def close(self, claims: SlotClaims, *, succeeded: bool) -> None:
        """Count a call that has ended, now or when its run has succeeded.

        A call that failed gives its slots back.
        """
        run = claims.run
        with self._lock:
            if not succeeded or run.over:
                seen = succeeded and (claims.complete or run.cell is not None)
                self._settle(claims, seen=seen)
                return
            run.returned.append(claims)
            if not claims.complete:
                for claim in claims.claims:
                    run.spare.setdefault(claim.slot[0], set()).add(claim.place)

    def _settle(self, claims: SlotClaims, *, seen: bool) -> None:
        run = claims.run
        for claim in reversed(claims.claims):
            if seen and claims.complete:
                self._mark_seen(run, claim)
            if not seen or not run.lasting:
                self._transfer(claim.slot, run, claim.before)
            elif run.cell is None:
                self._transfer(claim.slot, run, _NO_CELL)
            else:
                run.slots.append(claim.slot)
        claims.claims.clear()

    def _mark_seen(self, run: CellRun, claim: Claim) -> None:
        """Note that a cell has shown all images of a claim: its next run wants others."""
        if claim.keep:
            self._unseen.add(claim.slot)
        else:
            self._unseen.discard(claim.slot)
        if run.cell is None:
            return
        of_cell = self._seen.setdefault(run.cell, {})
        seen = of_cell.get(claim.slot[0], ())
        before = (seen + (0,) * claim.number)[: claim.number]
        of_cell[claim.slot[0]] = (*before, claim.n, *seen[claim.number + 1 :])

    def _transfer(self, slot: _Slot, owner: CellRun, to: CellRun | None) -> None:
        """Transfer a slot, unless it has another owner by now."""
        key, place = slot
        if self._owners[key][place] is owner:
            self._owners[key][place] = to
            if to is owner:
                owner.spare.setdefault(key, set()).add(place)


def _may_take(run: CellRun, owner: CellRun | None) -> bool:
    """Tell whether a slot is free, or belongs to an earlier run of the same cell."""
    if owner is None or owner is run:
        return owner is None
    return run.cell is not None and owner.cell == run.cell


class SlotClaims:
    """The slots of one call; a context manager that counts the call if its block succeeds.

    Attributes:
        run: The run that makes the call.
        claims: In the order of the call's requests.
        complete: The call has all its images.
        spoiled: Its images could not be shown.
    """

    def __init__(self, table: _SlotTable, run: CellRun) -> None:
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
        """Return the slot of the call's next request; see `_SlotTable.claim`."""
        claim = self._table.claim(self.run, fingerprint, n, fresh=fresh, keep=keep)
        self.claims.append(claim)
        return claim

    def begin(self, claim: Claim, newest: int) -> None:
        """Let only images answer in a slot that are stored from now on.

        Args:
            claim: The slot.
            newest: `id` of the image stored last in the library.
        """
        self._table.begin(claim, newest)

    def spoil(self) -> None:
        """Note that the images could not be shown: they answer the next run of the cell."""
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
        """Count the call, or give its slots back."""
        self._table.close(self, succeeded=succeeded)


_CURRENT: ContextVar[tuple[CellTracker, CellRun] | None] = ContextVar(
    "xai_notebook_run", default=None
)
"""The run that started a task, which may outlive it."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A cell that has begun.

    Attributes:
        run: Its run.
        thread: Its thread: a kernel with subshells has several.
        info: IPython's; None: it began before we watched.
    """

    run: CellRun
    thread: threading.Thread
    info: Any


class CellTracker:
    """Knows which run of which cell makes a call. Watches IPython from the first call on."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._table = _SlotTable()
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
        """Stop watching IPython."""
        with self._lock:
            shell, self._shell = self._shell, None
            self._running.clear()
        if shell is not None:
            for event, hook in (("pre_run_cell", self._begin), ("post_run_cell", self._end)):
                with suppress(ValueError):  # all hooks were cleared
                    shell.events.unregister(event, hook)

    def _watch(self) -> None:
        shell = running_shell()
        if shell is None or shell is self._shell:
            return
        self._shell = shell
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)
        self._start(None, threading.main_thread())  # the cell that makes this call

    def _begin(self, info: Any) -> None:
        with self._lock:
            for running in self._here():
                if not info.store_history:  # run by the code of another cell
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
