"""Cross-process file locks, released when the holder dies.

If the file system has no locks, only one process at a time uses the library (see `database`), and
a lock excludes only the threads of that process.

The package `filelock` is not used: it cannot lock the spool's open journal, does not keep the
content that a dead holder wrote to the file, and handles only one of the errors that mean that the
file system has no locks.
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

_UNSUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of file systems without locks."""
_LOCKED_BYTE: Final = 1 << 30
"""Offset of the byte that is locked on Windows: after the content, which must stay readable."""
_HELD: Final[set[Path]] = set()
"""Files that this process has locked; some locks do not exclude threads of the same process."""
_GUARD = threading.Lock()
_ALL: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


class FileLock:
    """Exclusive lock on a file that serves only as a lock.

    Attributes:
        inherited: Whether the previous holder left the file, because it died or did not finish.
    """

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self.inherited = False
        self._file = file
        self._descriptor: int | None = None
        self._acquired = False
        _ALL.add(self)

    def acquire(self) -> bool:
        """Take the lock without waiting; return False if another holder has it.

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
                    if self.is_in_place():
                        _HELD.add(self._file)
                        self._acquired = True
                        break
                # The previous holder has removed the file; other processes lock a new one.
                os.close(self._descriptor)
                self._descriptor = None
            self.inherited = os.fstat(self._descriptor).st_size > 0
            os.write(self._descriptor, b"+")
        except OSError as error:
            raise LibraryError(
                f"{self._file} cannot be written ({error.strerror}). Free some space, or set "
                "XAI_NOTEBOOK_HOME to a folder you can write to."
            ) from error
        return True

    def release(self, *, remove: bool) -> None:
        """Release the lock.

        Args:
            remove: Whether the work is finished. If so, and if we hold the lock, remove the file.
        """
        if self._descriptor is None:
            return
        remove = remove and self._acquired
        if remove:
            self._remove()  # before unlocking, so that the next holder notices
        unlock(self._descriptor)  # explicitly: forked children have the file open, too
        self._close()
        if remove and sys.platform == "win32":
            self._remove()  # Windows cannot remove an open file

    def is_in_place(self) -> bool:
        """Tell whether the locked file still has its name; if not, another lock is possible."""
        try:
            return self._descriptor is not None and os.path.samestat(
                self._file.lstat(), os.fstat(self._descriptor)
            )
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._acquired:
            self._acquired = False
            _HELD.discard(self._file)

    def _remove(self) -> None:
        with suppress(OSError):  # Windows: a waiting process has it open, and removes it later
            self._file.unlink(missing_ok=True)


def _after_fork_in_child() -> None:
    """Close the inherited lock files without unlocking them; open copies would keep the locks."""
    global _GUARD  # noqa: PLW0603  # another thread of the parent may have held it
    _GUARD = threading.Lock()
    for each in list(_ALL):
        each._close()  # noqa: SLF001  # of this module
    _HELD.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine is running; True if unknown."""
    if sys.platform == "win32":  # signal 0 would end the process; Windows always has locks
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return True


def lock(descriptor: int) -> bool | None:
    """Lock an open file without waiting.

    Returns:
        False if another process has locked it; None if the file system has no locks.
    """
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
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
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        with suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        for call in (fcntl.flock, fcntl.lockf):
            with suppress(OSError):
                call(descriptor, fcntl.LOCK_UN)
