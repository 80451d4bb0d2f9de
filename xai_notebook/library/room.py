"""What the disk of the library can still take, with what is under way counted in."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from xai_notebook.errors import NotKeptError

__all__ = ["Reservation", "Room"]

_SIZES: Final = {"2k": 8 << 20}
"""Bytes of a large PNG, by resolution."""
_SIZE: Final = 1 << 20
"""The same for 1k, and where the server chooses."""
_FLOOR: Final = 1 << 20
"""Bytes that the database and its journals need."""
_PLENTY: Final = 1 << 30
"""Bytes: with so much left, the disk is looked at only now and then."""
_UNKNOWN: Final = 1 << 60
"""Bytes, where the file system does not say how much is left."""
_LOOK_EVERY: Final = 1.0
"""Seconds."""


class Reservation:
    """Room for one reply, until it is released or forgotten."""

    __slots__ = ("_room", "size")

    def __init__(self, room: Room, size: int) -> None:
        """Take `size` bytes of a room."""
        self._room = room
        self.size = size
        room.reserved += size

    def release(self) -> None:
        """Give the room back: the reply is on the disk, or will not come."""
        self._room.reserved -= self.size
        self.size = 0

    __del__ = release


class Room:
    """Free bytes of a disk. All methods are called on the background loop.

    Attributes:
        reserved: Bytes that replies under way may need.
    """

    def __init__(self, home: Path) -> None:
        """Look at the disk of `home`, which need not exist yet."""
        self._home = home
        self.reserved = 0
        self._free = 0
        self._looked = -_LOOK_EVERY

    def reserve(self, resolution: str | None, images: int) -> Reservation:
        """Take room for a reply.

        Args:
            resolution: Of its images, as asked for.
            images: How many.

        Raises:
            NotKeptError: There is too little.
        """
        # Once as base64 in the journal, and once as the original.
        size = _SIZES.get(resolution or "", _SIZE) * images * 7 // 3
        if self.reserved + size + _FLOOR > self._left():
            raise NotKeptError(
                f"The disk of the library {self._home} has less than {_megabytes(size + _FLOOR)} "
                "left, which the reply may need, so nothing was sent. Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder on another disk.",
                reason="the disk of the library is full",
            )
        return Reservation(self, size)

    def _left(self) -> int:
        """Return the free bytes of the disk."""
        now = time.monotonic()
        if self._free < _PLENTY + self.reserved or now - self._looked >= _LOOK_EVERY:
            folder = next((one for one in (self._home, *self._home.parents) if one.exists()), None)
            self._free = _UNKNOWN
            with suppress(OSError):
                usage = shutil.disk_usage(folder or Path())
                if usage.total:  # some file systems do not say
                    self._free = usage.free
            self._looked = now
        return self._free


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
