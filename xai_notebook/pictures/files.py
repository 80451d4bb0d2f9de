"""Files of the user's: read within bounds, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_bounded", "write_atomically"]

_UNSUPPORTED: Final = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL
}  # fmt: skip
"""What file systems answer that lack hard links, such as FAT and some network shares."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_NAMELESS: Final[int] = getattr(os, "O_TMPFILE", 0)
_TEMPORARY: Final = (".xai-notebook-", ".tmp")
"""How the names of unfinished files begin and end, where a file must have one."""
_STALE_AFTER: Final = 3600.0
"""Seconds after which whoever wrote an unfinished file is surely dead: a write takes one."""


def read_bounded(path: Path, limit: int, *, links: bool = True) -> bytes:
    """Return what a regular file holds.

    Devices, pipes and sockets may have no end, or keep the reader waiting for ever: they are not
    opened. Of a file that grows meanwhile, what it held at the beginning is read.

    Args:
        path: The file.
        limit: Most bytes it may have.
        links: Follow symbolic links.

    Raises:
        OSError: It cannot be read, is no regular file or is larger; `strerror` says which.
        ValueError: The path cannot be one.
    """
    mode = path.stat(follow_symlinks=links).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"More than {limit // MIB} MiB")
        return stream.read(size)


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> bool:
    """Make a file durable that appears under its name whole or not at all.

    A file that has the name already stays. On Linux the unfinished file has no name, so that a
    kill leaves nothing behind; elsewhere it is hidden, and the next write into the folder removes
    it once it is an hour old.

    Args:
        path: In a folder that exists.
        data: All of the content.
        private: Only the user may read it, whatever the umask.

    Returns:
        False: the name is taken.

    Raises:
        OSError: It cannot be written. Nothing is left behind.
    """
    try:
        written = _write_nameless(path, data, private=private)
        if written is None:
            written = _write_named(path, data, private=private)
    except FileExistsError:
        return False
    if written:
        _sync(path.parent)
    return written


def _write_nameless(path: Path, data: bytes, *, private: bool) -> bool | None:
    """Write a file that gets its first name when it is finished; None: that is not possible here.

    Raises:
        FileExistsError: The name is taken.
        OSError: It cannot be written.
    """
    if not _NAMELESS:
        return None
    try:
        descriptor = os.open(path.parent, _NAMELESS | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _UNSUPPORTED | {errno.EISDIR, errno.ENOENT}:
            return None
        raise
    try:
        _fill(descriptor, data, private=private)
        # With a descriptor beside it, Python calls linkat(), which follows the link in /proc.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except OSError as error:
        if error.errno in _UNSUPPORTED | {errno.ENOENT, errno.EXDEV}:
            return None
        raise
    finally:
        os.close(descriptor)
    return True


def _write_named(path: Path, data: bytes, *, private: bool) -> bool:
    """Write a hidden file, then give it its name."""
    for stale in _stale(path.parent):
        with contextlib.suppress(OSError):  # another process may be cleaning up too
            stale.unlink()
    temporary = path.parent / uuid.uuid4().hex.join(_TEMPORARY)
    try:
        descriptor = os.open(temporary, _CREATE, 0o666)
        try:
            _fill(descriptor, data, private=private)
        finally:
            os.close(descriptor)
        return _publish(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _stale(folder: Path) -> Iterator[Path]:
    start, end = _TEMPORARY
    oldest = time.time() - _STALE_AFTER
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start) and entry.name.endswith(end):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        yield Path(entry.path)


def _fill(descriptor: int, data: bytes, *, private: bool) -> None:
    if private and hasattr(os, "fchmod"):  # not on Windows
        os.fchmod(descriptor, 0o600)
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _publish(temporary: Path, path: Path) -> bool:
    """Give a finished file its name, unless another process has just taken the name.

    A hard link fails where a name is taken; a rename would overwrite. Where there are no links,
    an empty file takes the name, and the finished one then takes its place: two processes that
    write the same may leave two files there.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        return True
    path.touch(exist_ok=False)
    try:
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return True


def _sync(folder: Path) -> None:
    """Make the new name durable, where the platform lets folders be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
