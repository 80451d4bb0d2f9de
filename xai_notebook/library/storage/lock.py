"""Cross-process file locks, released when the holder dies.

Where a file system has no locks, the library allows one process at a time (see `database`), and
locks exclude the threads of that process from each other.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import LibraryError
from xai_notebook.library.storage.ownership import make_folder, open_private

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "is_alive", "lock", "unlock"]

_MARK: Final = b"+"
_UNSUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that have no locks."""
_HELD: Final[set[Path]] = set()
"""Files that this process has locked."""
_GUARD = threading.Lock()
_ALL: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


class FileLock:
    """The system's lock on a file of its own.

    Attributes:
        inherited: The last holder left the file behind: it died, or was not done.
    """

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self.inherited = False
        self._file = file
        self._descriptor: int | None = None
        self._taken = False
        _ALL.add(self)

    def take(self) -> bool:
        """Take the lock and return True, or return False if another holder has it.

        Raises:
            LibraryError: The file cannot be created.
        """
        try:
            while True:
                if self._descriptor is None:
                    make_folder(self._file.parent)
                    self._descriptor = open_private(self._file, os.O_RDWR | os.O_CREAT)
                with _GUARD:
                    if self._file in _HELD or lock(self._descriptor) is False:
                        return False
                    found = os.fstat(self._descriptor)
                    if _is_at(self._file, found):
                        _HELD.add(self._file)
                        self._taken = True
                        break
                # The holder that we waited for has removed the file: others lock a new one.
                os.close(self._descriptor)
                self._descriptor = None
            self.inherited = found.st_size > 0
            os.write(self._descriptor, _MARK)
        except OSError as error:
            raise LibraryError(
                f"{self._file} cannot be written ({error.strerror}). Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder you can write to."
            ) from error
        return True

    def leave(self, *, over: bool) -> None:
        """Release the lock.

        Args:
            over: The file is not needed any more. Only its holder may say so.
        """
        if self._descriptor is None:
            return
        over = over and self._taken
        if over:
            self._remove()  # while it is locked: who takes a file that is gone sees that
        unlock(self._descriptor)  # children of a fork have the file open, too
        os.close(self._descriptor)
        self._descriptor = None
        if self._taken:
            self._taken = False
            _HELD.discard(self._file)
        if over and sys.platform == "win32":
            self._remove()  # there, an open file cannot be removed

    def forget(self) -> None:
        """Close the file of a fork's parent, which keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._taken = None, False

    def is_in_place(self) -> bool:
        """Tell whether the file that is locked still has its name: else others lock a new one."""
        return self._descriptor is not None and _is_at(self._file, os.fstat(self._descriptor))

    def _remove(self) -> None:
        with suppress(OSError):  # Windows: somebody waits for it, and does the same
            self._file.unlink(missing_ok=True)


def _after_fork_in_child() -> None:
    """Leave the parent's locks to the parent: a copy of an open file would keep them."""
    global _GUARD  # noqa: PLW0603  # another thread of the parent may have held it
    _GUARD = threading.Lock()
    _HELD.clear()
    for each in list(_ALL):
        each.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _is_at(file: Path, found: os.stat_result) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(file.lstat(), found)
    except FileNotFoundError:
        return False


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs; True where that cannot be told."""
    if sys.platform == "win32":  # signal 0 would end it; and Windows has locks everywhere
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


if sys.platform == "win32":
    _FAR: Final = 1 << 30
    """A locked byte cannot be read, so it lies behind everything that is."""

    def lock(descriptor: int) -> bool | None:
        """Lock an open file without waiting; False: another process has it locked."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def unlock(descriptor: int) -> None:
        """Unlock an open file."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        with suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def lock(descriptor: int) -> bool | None:
        """Lock an open file without waiting.

        Returns:
            False: another process has it locked. None: the file system has no locks.
        """
        for call in (fcntl.flock, fcntl.lockf):
            try:
                call(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    return False
            else:
                return True
        return None

    def unlock(descriptor: int) -> None:
        """Unlock an open file."""
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        with suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
