"""Cross-process file lock, released when its holder dies."""

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
    """The system's lock on an open file. On a file system without locks it is always free.

    Attributes:
        inherited: The last holder left the file behind: it died, or was not done.
    """

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self.inherited = False
        self._file = file
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock and return True, or return False if another holder has it.

        Raises:
            LibraryError: The file cannot be created.
        """
        try:
            while True:
                if self._descriptor is None:
                    self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    flags = os.O_RDWR | os.O_CREAT
                    self._descriptor = os.open(self._file, flags, 0o600)
                if not _lock(self._descriptor):
                    return False
                found = os.fstat(self._descriptor)
                self.inherited = found.st_size > 0
                if _is_at(self._file, found):
                    os.write(self._descriptor, _MARK)
                    return True
                # The holder that we waited for has removed the file: others lock a new one.
                os.close(self._descriptor)
                self._descriptor = None
        except OSError as error:
            raise LibraryError(
                f"{self._file} cannot be written ({error.strerror}). Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder you can write to."
            ) from error

    def leave(self, *, over: bool) -> None:
        """Release the lock.

        Args:
            over: The file is not needed any more. Only the holder may say so.
        """
        if self._descriptor is None:
            return
        if over:
            self._remove()  # while it is locked: who takes a file that is gone sees that
        with suppress(OSError):  # children of a fork have the file open, too
            _unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        if over and sys.platform == "win32":
            self._remove()  # there, an open file cannot be removed

    def _remove(self) -> None:
        with suppress(OSError):  # Windows: somebody waits for it, and does the same
            self._file.unlink(missing_ok=True)


def _is_at(file: Path, found: os.stat_result) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(file.stat(), found)
    except FileNotFoundError:
        return False


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
