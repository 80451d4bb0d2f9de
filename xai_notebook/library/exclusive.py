"""A file that one holder at a time has, of all processes; one that dies has it no more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Exclusive"]

_MARK: Final = b"+"


class Exclusive:
    """The right to do what no two may do at once: the system's lock on an open file.

    Where a file system has no locks, everybody gets it.

    Attributes:
        begun: Somebody had it before.
    """

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self.begun = False
        self._file = file
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it, and return whether it was free. This does not wait.

        Raises:
            LibraryError: The file cannot be made.
        """
        try:
            if self._descriptor is None:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT
                self._descriptor = os.open(self._file, flags, 0o600)
            if not _lock(self._descriptor):
                return False
            self.begun = os.fstat(self._descriptor).st_size > 0
            os.write(self._descriptor, _MARK)
        except OSError as error:
            raise LibraryError(
                f"{self._file} cannot be written ({error.strerror}). Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder you can write to."
            ) from error
        return True

    def leave(self, *, over: bool) -> None:
        """Let others have it.

        Args:
            over: What it is for has been done: nobody needs the file any more.
        """
        if self._descriptor is None:
            return
        with suppress(OSError):  # children of a fork have the file open, too
            _unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        if over:
            with suppress(OSError):  # somebody waits for it, and does the same
                self._file.unlink(missing_ok=True)


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here
            return True
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
