"""Turns: what began in one order, and was delayed, goes on in that order."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future

__all__ = ["Turn", "Turns"]


class Turns:
    """Gives turns in the order they are asked for. Safe to use from any thread."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._lock = threading.Lock()
        self._open: OrderedDict[Turn, None] = OrderedDict()

    def enter(self) -> Turn:
        """Return a turn that comes when all given before it have been left."""
        with self._lock:
            turn = Turn(self)
            self._open[turn] = None
            self._call_first()
            return turn

    def leave(self, turn: Turn) -> None:
        """Let the next one go on."""
        with self._lock:
            self._open.pop(turn, None)
            self._call_first()

    def _call_first(self) -> None:
        first = next(iter(self._open), None)
        if first is not None and not first.come.done():
            first.come.set_result(None)


class Turn:
    """A turn, to wait for and to leave.

    Attributes:
        come: Done when all before it have been left.
    """

    def __init__(self, turns: Turns) -> None:
        """Use `Turns.enter`."""
        self.come: Future[None] = Future()
        self._turns = turns

    async def wait(self) -> None:
        """Wait until it has come. Leaving is up to the caller, in any case."""
        if not self.come.done():
            await asyncio.shield(asyncio.wrap_future(self.come))

    def leave(self) -> None:
        """Let the next one go on; more than once does no harm."""
        self._turns.leave(self)
