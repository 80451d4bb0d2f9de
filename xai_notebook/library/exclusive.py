"""Cross-process file lock, released when its holder dies."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from xai_notebook.errors import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Exclusive"]


class Exclusive:
    """The system's lock on an open file. On a file system without locks it is always free."""

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self._file = file
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock and return True, or return False if another holder has it.

        Raises:
            LibraryError: The file cannot be created.
        """
        try:
            if self._descriptor is None:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT
                self._descriptor = os.open(self._file, flags, 0o600)
            return _lock(self._descriptor)
        except OSError as error:
            raise LibraryError(
                f"{self._file} cannot be written ({error.strerror}). Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder you can write to."
            ) from error

    def leave(self, *, over: bool) -> None:
        """Release the lock.

        Args:
            over: The work is done and the file is deleted. Whoever waits for it still gets it.
        """
        if self._descriptor is None:
            return
        with suppress(OSError):  # children of a fork have the file open, too
            _unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        if over:
            with suppress(OSError):  # another process that waited for the lock deletes it too
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
