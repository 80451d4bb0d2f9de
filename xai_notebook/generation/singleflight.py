"""Single flight: what several tasks, threads or processes want at the same moment is done once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from xai_notebook.errors import LibraryError
from xai_notebook.library.storage.lock import Exclusive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from xai_notebook.pictures.picture import Picture

__all__ = ["Flight", "SingleFlight"]

_MOST_UNKEPT: Final = 256
"""Flights whose pictures are remembered because the library could not take them."""
_LOOK: Final = 0.05
"""Seconds between two looks at a lock that another process holds."""


@dataclass(eq=False)  # without slots: it is referred to weakly
class Flight:
    """One thing that is done once.

    Attributes:
        lock: Held by the task that does it.
        unkept: Pictures that could not be stored, for the tasks that wait for them.
        inherited: A process died while it was at it.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unkept: list[Picture] = field(default_factory=list)
    inherited: bool = False


class SingleFlight:
    """Locks by key. All calls must come from one event loop."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._flights: WeakValueDictionary[str, Flight] = WeakValueDictionary()
        self._unkept: dict[str, Flight] = {}

    @asynccontextmanager
    async def hold(self, key: str, folder: Path | None) -> AsyncIterator[Flight]:
        """Wait until no other task holds `key`, and no other process; hold it inside.

        Args:
            key: Names what is done, as a file can be named.
            folder: Where processes that share it lock files; None: only this process counts.
                Where no file can be locked, the same holds.
        """
        flight = self._flights.setdefault(key, Flight())
        async with flight.lock:
            lock = None if folder is None else Exclusive(folder / f"{key}.lock")
            taken = False
            try:
                with suppress(LibraryError):
                    # On the loop, not in a thread: cancelled there, it would keep what it took.
                    while lock is not None and not (taken := lock.take()):  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK)
                flight.inherited = taken and lock is not None and lock.inherited
                yield flight
            finally:
                if lock is not None:
                    lock.leave(over=taken)
                if flight.unkept:  # they answer in this process, until the library can
                    self._unkept[key] = flight
                    if len(self._unkept) > _MOST_UNKEPT:
                        del self._unkept[next(iter(self._unkept))]
