"""Read files up to a size limit; write files atomically.

Every atomic write of the package goes through `write_atomically` or `open_atomically`, except those
of originals (`library/storage/blobs.py`), which are renamed first and then synced together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from typing import TYPE_CHECKING, BinaryIO, Final

from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNSUPPORTED: Final = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL
}  # fmt: skip
"""Error numbers of file systems without hard links, such as FAT and some network shares."""
_O_TMPFILE: Final[int] = getattr(os, "O_TMPFILE", 0)
_TEMPORARY: Final = (".xai-notebook-", ".tmp")
"""Prefix and suffix of the names of unfinished files."""
_STALE_AFTER: Final = 3600.0
"""Age in seconds at which an unfinished file is abandoned: a write takes about a second."""


def read_bounded(path: Path, limit: int, *, links: bool = True) -> bytes:
    """Return the content of a regular file.

    Devices, pipes and sockets are not opened, because reading them can block or never end. If the
    file grows during the call, only its size when opened is read. Symbolic links are followed only
    if `links` is true.

    Raises:
        OSError: The file cannot be read, is not a regular file or is larger than `limit` bytes; see
            `strerror`.
        ValueError: The path is invalid.
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


def write_atomically(
    path: Path, data: bytes, *, private: bool = False, overwrite: bool = False, durable: bool = True
) -> bool:
    """Write a file that becomes visible only when it is complete.

    On Linux the unfinished file has no name, so it disappears if the process is killed. On other
    systems, and if `overwrite` is true, see `open_atomically`.

    Args:
        path: Path in an existing folder.
        data: The complete content.
        private: Make the file readable by the user only, regardless of the umask.
        overwrite: Replace an existing file.
        durable: Return only when the file survives a power cut.

    Returns:
        True, or False if the file already exists and `overwrite` is false.

    Raises:
        OSError: The file cannot be written. No partial file remains.
    """
    try:
        if overwrite or not _write_unnamed(path, data, private=private, durable=durable):
            with open_atomically(
                path, private=private, overwrite=overwrite, durable=durable
            ) as stream:
                stream.write(data)
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def open_atomically(
    path: Path, *, private: bool = False, overwrite: bool = False, durable: bool = True
) -> Iterator[BinaryIO]:
    """Open a temporary file that gets its name when the block ends without an exception.

    If the process is killed, the temporary file remains. The first write into the folder after an
    hour removes it. The arguments are those of `write_atomically`.

    Raises:
        FileExistsError: The file already exists, and `overwrite` is false.
        OSError: The file cannot be written. No partial file remains.
    """
    _remove_stale(path.parent)
    temporary = path.parent / uuid.uuid4().hex.join(_TEMPORARY)
    try:
        with temporary.open("xb") as stream:
            _restrict(stream.fileno(), private=private)
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def _write_unnamed(path: Path, data: bytes, *, private: bool, durable: bool) -> bool:
    """Write an unnamed file and name it when it is complete; return False if not supported."""
    if not _O_TMPFILE:
        return False
    try:
        descriptor = os.open(path.parent, _O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _UNSUPPORTED | {errno.EISDIR, errno.ENOENT}:
            return False
        raise
    try:
        _restrict(descriptor, private=private)
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
        # With `src_dir_fd`, Python calls linkat(), which follows the link in /proc.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except OSError as error:
        if error.errno in _UNSUPPORTED | {errno.ENOENT, errno.EXDEV}:
            return False
        raise
    finally:
        os.close(descriptor)
    if durable:
        sync_folder(path.parent)
    return True


def _remove_stale(folder: Path) -> None:
    prefix, suffix = _TEMPORARY
    oldest = time.time() - _STALE_AFTER
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(suffix):
                with contextlib.suppress(OSError):  # another process may remove the same file
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry)  # noqa: PTH108


def _restrict(descriptor: int, *, private: bool) -> None:
    if private and hasattr(os, "fchmod"):  # not on Windows
        os.fchmod(descriptor, 0o600)


def _rename(temporary: Path, path: Path) -> None:
    """Rename a complete file, but never overwrite a file of another process.

    A hard link fails if the name exists, whereas a rename would overwrite the file. Without hard
    links, an empty file reserves the name, and the complete file then replaces it.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        return
    path.touch(exist_ok=False)
    try:
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; a single `os.write` may write less.

    Raises:
        OSError: The disk is full, or cannot be written to.
    """
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, if the platform and the file system support it.

    Windows cannot open folders, but NTFS journals names. Some network file systems refuse to sync
    folders, because the server makes names durable.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
