"""Replay: assign a slot of the library to each request, and decide whether stored images answer it.

A *slot* is a request's fingerprint and a *place*. Requests with the same fingerprint get the places
0, 1, 2, ... in the order in which one pass through a notebook makes them. Images are stored by
slot. A slot is answered by the image that this notebook showed there last, or else by the image
that any notebook stored there last. Therefore Restart and Run All makes the same requests in the
same order and shows the same images at no cost, even if a prompt occurs in two cells, in a loop or
in a function. Places count requests, not images: raising `-n` from 2 to 4 adds images to the same
slot, and no other slot changes.

A *run* is one execution of a cell. When a cell runs again (the same cell id; in a terminal, the
same line), its requests get the same slots. The user has already seen the images stored there, so
new images are made for the same slots. Without cell ids (nbclient, papermill) or without cells (a
program), no cell counts as run again, and all requests belong to one pass.

Images count as seen once their call has all images and its run has succeeded. Until then, the next
run replays the images that have arrived, for example after an interrupt, a failed export or an
error further down in the cell. A failed run releases its slots. An incomplete call is completed
in its own slots, by the next run of the cell or, without cell ids, by the next equal call.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.frontend import cell_identity, running_shell

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from types import TracebackType


class Slot(NamedTuple):
    """A slot of the library.

    Attributes:
        key: The first 16 bytes of the fingerprint.
        place: Number of equal requests before this one in the pass.
    """

    key: bytes
    place: int


@dataclass(slots=True, eq=False)
class CellRun:
    """One execution of a cell, or one call outside of any cell.

    Attributes:
        cell: Identity of the cell, equal for all its runs; None: the cell cannot run again.
        over: Whether the run has ended. The images of a call that returns later count as seen then.
        lasting: Whether the cell keeps the slots until it runs without these requests.
        slots: Slots of the run, once it has succeeded.
        spare: Places of incomplete calls, by key; the next equal request completes them.
        returned: Claims of the calls that have succeeded so far.
    """

    cell: Hashable = None
    over: bool = False
    lasting: bool = True
    slots: list[Slot] = field(default_factory=list)
    spare: dict[bytes, set[int]] = field(default_factory=dict)
    returned: list[SlotClaims] = field(default_factory=list)


_NO_CELL: Final = CellRun(over=True)
"""Owner of the slots of cells that cannot run again."""


@dataclass(slots=True, eq=False)
class Claim:
    """The slot of one request, claimed by a run.

    Attributes:
        slot: The slot.
        number: Number of equal requests that the run made before.
        n: Number of requested images.
        needs_new: Whether the request needs new images; stored images then do not answer.
        after: Only images with a larger `id` in the library can answer.
        former_owner: The previous owner of the slot.
        keep: Whether stored images answer in this run and the next.
    """

    slot: Slot
    number: int
    n: int
    needs_new: bool
    after: int
    former_owner: CellRun | None
    keep: bool = False


@dataclass(slots=True, eq=False)
class _SlotTable:
    """The slots of one kernel and their owners.

    Attributes:
        lock: Must be held while the table is used.
        owners: The owner of each place, by key; None: the slot is free.
        last: The last run of each cell that has succeeded.
        seen: For each cell and key, the number of images that each of its requests has shown.
        after: For each slot, the `id` of the newest image that does not answer any more.
        unseen: Slots whose newest images have not been seen.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    owners: dict[bytes, list[CellRun | None]] = field(default_factory=dict)
    last: dict[Hashable, CellRun] = field(default_factory=dict)
    seen: dict[Hashable, dict[bytes, tuple[int, ...]]] = field(default_factory=dict)
    after: dict[Slot, int] = field(default_factory=dict)
    unseen: set[Slot] = field(default_factory=set)

    def end(self, run: CellRun, *, succeeded: bool) -> None:
        """Count the images of a run as seen; if the run failed, release its slots."""
        with self.lock:
            run.over = True
            # In reverse order: if two calls had the same slot, the later call owns it.
            for claims in reversed(run.returned):
                kept = claims.complete or run.cell is not None
                self.transfer_all(claims, seen=succeeded and kept and not claims.unshown)
            run.returned.clear()
            run.spare.clear()
            if not succeeded or run.cell is None:
                return
            if (former := self.last.get(run.cell)) is not None:
                for slot in former.slots:
                    self._transfer(slot, former, None)
            self.last[run.cell] = run

    def transfer_all(self, claims: SlotClaims, *, seen: bool) -> None:
        """Transfer the slots of a call to their next owners, and remove its claims.

        Args:
            claims: The claims of the call.
            seen: Whether the user has seen the images; the next run of the cell then needs new
                ones, if the call is complete.
        """
        run = claims.run
        for claim in reversed(claims.claims):
            slot, number = claim.slot, claim.number
            if seen and claims.complete:
                if claim.keep:
                    self.unseen.add(slot)
                else:
                    self.unseen.discard(slot)
                if run.cell is not None:
                    of_cell = self.seen.setdefault(run.cell, {})
                    counts = of_cell.get(slot.key, ())
                    before = (counts + (0,) * number)[:number]
                    of_cell[slot.key] = (*before, claim.n, *counts[number + 1 :])
            if not seen or not run.lasting:
                self._transfer(slot, run, claim.former_owner)
            elif run.cell is None:
                self._transfer(slot, run, _NO_CELL)
            else:
                run.slots.append(slot)
        claims.claims.clear()

    def _transfer(self, slot: Slot, owner: CellRun, to: CellRun | None) -> None:
        """Transfer a slot if `owner` still owns it."""
        key, place = slot
        if self.owners[key][place] is owner:
            self.owners[key][place] = to
            if to is owner:
                owner.spare.setdefault(key, set()).add(place)


@dataclass(slots=True, eq=False)
class SlotClaims(AbstractContextManager["SlotClaims"]):
    """The claims of one call, as a context manager that closes them; see `close`.

    Attributes:
        table: The slots of the kernel.
        run: The run that makes the call.
        claims: Claims in the order of the call's requests.
        complete: Whether the call has all images.
        unshown: Whether the images could not be shown.
    """

    table: _SlotTable = field(repr=False)
    run: CellRun = field(repr=False)
    claims: list[Claim] = field(default_factory=list)
    complete: bool = False
    unshown: bool = False

    def claim(self, fingerprint: str, n: int, *, fresh: bool, keep: bool = False) -> Claim:
        """Claim the slot of the call's next request: a slot of the same cell, or a free one.

        Args:
            fingerprint: Fingerprint of the request.
            n: Number of requested images.
            fresh: Whether new images are always needed.
            keep: Whether stored images may answer even if they have been seen.
        """
        key, table, run = bytes.fromhex(fingerprint)[:16], self.table, self.run
        with table.lock:
            owners = table.owners.setdefault(key, [])
            spare = run.spare.get(key, set())
            number = place = owners.count(run) - len(spare)
            if place < len(owners):  # the run does not own all slots
                free = (i for i, owner in enumerate(owners) if i in spare or _may_take(run, owner))
                place = next(free, len(owners))
            if place == len(owners):
                owners.append(None)
            slot = Slot(key, place)
            former_owner, owners[place] = owners[place], run
            spare.discard(place)
            seen = table.seen.get(run.cell, {}).get(key, ())
            again = number < len(seen) and n <= seen[number]
            needs_new = (fresh or again) and slot not in table.unseen and not keep
            claim = Claim(slot, number, n, needs_new, table.after.get(slot, 0), former_owner, keep)
        self.claims.append(claim)
        return claim

    def claim_for(
        self, run: CellRun, fingerprint: str, n: int, place: int, *, fresh: bool
    ) -> Claim:
        """Return the slot of a request that an earlier call did not get to, for a retry.

        The claim is that of the earlier call, so the slot gets no other owner: when the cell of
        that call runs again, it finds the images.

        Args:
            run: The run that made the earlier call.
            fingerprint: Fingerprint of the request.
            n: Number of requested images.
            place: The place that the earlier call would have claimed next.
            fresh: Whether new images are always needed.
        """
        table, slot = self.table, Slot(bytes.fromhex(fingerprint)[:16], place)
        with table.lock:
            seen = table.seen.get(run.cell, {}).get(slot.key, ())
            again = place < len(seen) and n <= seen[place]
            needs_new = (fresh or again) and slot not in table.unseen
            return Claim(slot, place, n, needs_new, table.after.get(slot, 0), former_owner=None)

    def peek(self, requests: Sequence[tuple[str, int]]) -> tuple[list[Claim], list[bool]]:
        """Return the claims that the next requests would get; nothing is claimed.

        Args:
            requests: Fingerprint and number of images of each request.

        Returns:
            The claims, and for each whether another cell owns an earlier slot of the same request.
        """
        table, run = self.table, self.run
        with table.lock:
            trial = SlotClaims(table, run)
            claims = [trial.claim(key, n, fresh=False, keep=True) for key, n in requests]
            others = [
                any(owner is not run for owner in table.owners[claim.slot.key][: claim.slot.place])
                for claim in claims
            ]
            table.transfer_all(trial, seen=False)
        return claims, others

    def ignore_stored(self, claim: Claim, newest: int) -> None:
        """Ignore images that are already stored in a slot; only later ones can answer.

        Args:
            claim: The claim of the slot.
            newest: `id` of the newest image in the library.
        """
        with self.table.lock:
            self.table.unseen.add(claim.slot)
            self.table.after[claim.slot] = claim.after = newest
            claim.needs_new = False

    def mark_unshown(self) -> None:
        """Note that the images could not be shown; the next run of the cell replays them."""
        self.unshown = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(succeeded=kind is None)

    def close(self, *, succeeded: bool) -> None:
        """Count the images of the call as seen, now or when its run has succeeded.

        If the call failed, its slots are released.
        """
        run = self.run
        with self.table.lock:
            if not succeeded or run.over:
                seen = succeeded and (self.complete or run.cell is not None)
                self.table.transfer_all(self, seen=seen)
                return
            run.returned.append(self)
            if not self.complete:
                for claim in self.claims:
                    run.spare.setdefault(claim.slot.key, set()).add(claim.slot.place)


def _may_take(run: CellRun, owner: CellRun | None) -> bool:
    """Tell whether a slot is free, or belongs to an earlier run of the same cell."""
    if owner is None or owner is run:
        return owner is None
    return run.cell is not None and owner.cell == run.cell


_CURRENT: ContextVar[tuple[CellTracker, CellRun] | None] = ContextVar(
    "xai_notebook_run", default=None
)
"""The run in which the current task was started; the task may outlive the run."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A cell that is running.

    Attributes:
        run: Run of the cell.
        thread: Thread of the cell; a kernel with subshells has several.
        info: IPython's `ExecutionInfo`; None if the cell started before we registered our hooks.
    """

    run: CellRun
    thread: threading.Thread
    info: Any


class CellTracker:
    """Tracks the running cells; registers hooks with IPython on the first call."""

    def __init__(self) -> None:
        """Register no hooks yet."""
        self._table = _SlotTable()
        self._running: list[_Running] = []
        self._lock = threading.RLock()
        self._shell: Any = None

    def claims_for_call(self, instead_of_cell: Hashable = None) -> SlotClaims:
        """Return the claims for a call made now in the current cell.

        Args:
            instead_of_cell: Identifies the caller in place of a cell; the call is then outside of
                the notebook's pass. Calls with the same value count as runs of one cell. Their
                images go to the first free slot, where the next equal request of a cell finds them.
        """
        if instead_of_cell is not None:
            return SlotClaims(self._table, CellRun(instead_of_cell, over=True, lasting=False))
        with self._lock:
            shell = running_shell()
            if shell is not None and shell is not self._shell:
                self._shell = shell
                shell.events.register("pre_run_cell", self._begin)
                shell.events.register("post_run_cell", self._end)
                self._begin(None)  # the cell that makes this call
            current = _CURRENT.get()
            if current is not None and current[0] is self:
                run = current[1]
            elif self._running:  # in a thread started by a cell
                run = self._running[-1].run
            else:
                run = CellRun(over=True)
            return SlotClaims(self._table, run)

    def close(self) -> None:
        """Remove the hooks from IPython."""
        with self._lock:
            shell, self._shell = self._shell, None
            self._running.clear()
        if shell is not None:
            for event, hook in (("pre_run_cell", self._begin), ("post_run_cell", self._end)):
                with suppress(ValueError):  # the hooks were already removed
                    shell.events.unregister(event, hook)

    def _begin(self, info: Any) -> None:
        """Start the run of a cell, and end a run of the same thread whose end was not reported.

        `info` is None for a cell that started before we registered our hooks.
        """
        thread = threading.main_thread() if info is None else threading.current_thread()
        with self._lock:
            earlier = [each for each in self._running if each.thread is thread]
            for running in earlier if info is not None else ():
                if not info.store_history:  # code run by another cell
                    return
                self._running.remove(running)
                self._table.end(running.run, succeeded=True)
            run = CellRun(cell_identity(self._shell, info))
            self._running.append(_Running(run, thread, info))
            _CURRENT.set((self, run))

    def _end(self, result: Any) -> None:
        """End the run of a cell. ipykernel passes no result if the cell was cancelled."""
        info, thread = getattr(result, "info", None), threading.current_thread()
        with self._lock:
            for running in [each for each in self._running if each.thread is thread]:
                if info is None or running.info is None or running.info is info:
                    if running.info is None:
                        running.run.cell = cell_identity(self._shell, info)
                    self._running.remove(running)
                    self._table.end(running.run, succeeded=bool(result and result.success))
