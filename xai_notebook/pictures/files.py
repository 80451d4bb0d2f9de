"""Read files up to a size limit; write files atomically; check the names of files.

Every atomic write of the package goes through `write_atomically`, `open_atomically` or, for many
files, `PendingFile`, except those of originals (`library/storage/blobs.py`), which are renamed
first and then synced together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
import unicodedata
import uuid
from typing import TYPE_CHECKING, BinaryIO, Final

from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

_UNSUPPORTED: Final = {
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL
}  # fmt: skip
"""Error numbers of file systems without hard links, such as FAT and some network shares."""
_UNLINKABLE: Final = _UNSUPPORTED | {errno.ENOENT, errno.EXDEV}
"""Error numbers if an unnamed file cannot get a name."""
_O_TMPFILE: Final[int] = getattr(os, "O_TMPFILE", 0)
_TEMPORARY: Final = (".xai-notebook-", ".tmp")
"""Prefix and suffix of the names of unfinished files."""
_STALE_AFTER: Final = 3600.0
"""Age in seconds at which an unfinished file is abandoned: a write takes about a second."""
_MANY: Final = 8
"""Number of files from which the file system is synced once instead of each file."""


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
    remove_stale(path.parent)
    temporary = _temporary_name(path.parent)
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


class PendingFile:
    """A complete file that is not visible until `publish`.

    To write many files, create them in threads, sync them with `sync_files`, publish them, and sync
    their folders. On Linux the file has no name, so it disappears if the process is killed.
    """

    def __init__(self, folder: Path, data: bytes) -> None:
        """Write `data` to a new file in an existing folder.

        Raises:
            OSError: The file cannot be written. No partial file remains.
        """
        self._data = data
        self._temporary: Path | None = None
        self._descriptor: int | None = _open_unnamed(folder)
        if self._descriptor is None:
            self._temporary = _temporary_name(folder)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self._temporary, flags, 0o666)
        try:
            write_all(self._descriptor, data)
        except BaseException:
            self.discard()
            raise

    def sync(self) -> None:
        """Make the content durable.

        Raises:
            OSError: The disk fails.
        """
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def publish(self, path: Path, *, overwrite: bool = False) -> bool:
        """Give the file its name; return False if the name exists and `overwrite` is false.

        Raises:
            OSError: The file cannot be renamed.
        """
        try:
            if self._temporary is not None:
                self._close()  # Windows cannot rename an open file
                if overwrite:
                    self._temporary.replace(path)
                else:
                    _rename(self._temporary, path)
            elif overwrite:
                self._replace(path)
            else:
                self._link(path)
        except FileExistsError:
            return False
        except OSError as error:
            # The file system refuses links to unnamed files.
            if self._temporary is not None or error.errno not in _UNLINKABLE:
                raise
            return write_atomically(path, self._data, overwrite=overwrite)
        self.discard()
        return True

    def equals(self, path: Path) -> bool:
        """Tell whether another file has the same content."""
        return has_content(path, self._data)

    def discard(self) -> None:
        """Remove the file, unless it is published. Never raises."""
        with contextlib.suppress(OSError):
            self._close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
        self._data = b""

    def _link(self, path: Path) -> None:
        if self._descriptor is not None:
            _link_unnamed(self._descriptor, path)

    def _replace(self, path: Path) -> None:
        """Replace a file; only a named file can replace another."""
        temporary = _temporary_name(path.parent)
        try:
            self._link(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def sync_files(files: Sequence[PendingFile], folder: Path) -> None:
    """Make the content of pending files in or below a folder durable.

    Raises:
        OSError: The disk fails.
    """
    if len(files) < _MANY or not sync_file_system(folder):
        for file in files:
            file.sync()


def sync_file_system(folder: Path) -> bool:
    """Make all files of a folder's file system durable; return False if not supported.

    Raises:
        OSError: The disk fails.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415  # only needed to write many files

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    return True


def _temporary_name(folder: Path) -> Path:
    return folder / uuid.uuid4().hex.join(_TEMPORARY)


def _open_unnamed(folder: Path) -> int | None:
    """Create a file without a name for writing; return None if not supported."""
    if not _O_TMPFILE:
        return None
    try:
        return os.open(folder, _O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _UNSUPPORTED | {errno.EISDIR}:
            return None
        if error.errno == errno.ENOENT and folder.is_dir():  # an old kernel
            return None
        raise


def _link_unnamed(descriptor: int, path: Path) -> None:
    # With `src_dir_fd`, Python calls linkat(), which follows the link in /proc.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)


def _write_unnamed(path: Path, data: bytes, *, private: bool, durable: bool) -> bool:
    """Write an unnamed file and name it when it is complete; return False if not supported."""
    descriptor = _open_unnamed(path.parent)
    if descriptor is None:
        return False
    try:
        _restrict(descriptor, private=private)
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
        _link_unnamed(descriptor, path)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    finally:
        os.close(descriptor)
    if durable:
        sync_folder(path.parent)
    return True


def remove_stale(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder."""
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


def sync_folders(folders: Collection[Path]) -> None:
    """Make the names in folders of one file system durable; see `sync_folder`."""
    if len(folders) >= _MANY:
        with contextlib.suppress(OSError):
            if sync_file_system(next(iter(folders))):
                return
    for folder in folders:
        sync_folder(folder)


def has_content(path: Path, data: bytes) -> bool:
    """Tell whether a file has exactly this content."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


# Names

_MAX_NAME_BYTES: Final = 240
"""Maximum UTF-8 bytes of a file name made from a pattern, without number and extension."""
_RESERVED: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?"
)
"""Names of devices on Windows, with any extension."""
_INVALID: Final = frozenset('/\\<>:"|?*')
"""Characters that Windows, macOS or Linux do not allow in a name."""
_INVALID_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Invisible characters that change the order in which a name is shown."""


def name_problem(name: str, *, folder: bool = False) -> str | None:
    """Return why a text cannot be the name of a file or folder, as the end of a sentence.

    The rules are those of Windows, macOS and Linux together, so that a data set can be moved.
    """
    bad = next((char for char in name if _is_invalid(char)), "")
    problems = {
        f"has the character {bad if bad.isprintable() else ascii(bad)[1:-1]}": bool(bad),
        "is empty": not name.strip(),
        "begins with a dot": name.startswith("."),
        "ends with a dot or a space": folder and name.endswith((".", " ")),  # Windows drops them
        "is reserved on Windows": _RESERVED.fullmatch(name.lower()) is not None,
        f"has more than {_MAX_NAME_BYTES} bytes": len(name) * 4 > _MAX_NAME_BYTES
        and len(name.encode(errors="replace")) > _MAX_NAME_BYTES,
    }
    return next((problem for problem, applies in problems.items() if applies), None)


def _is_invalid(char: str) -> bool:
    return (
        char in _INVALID
        or char in _BIDIRECTIONAL
        or unicodedata.category(char) in _INVALID_CATEGORIES
    )


def fold(name: str) -> str:
    """Return a name so that names which a file system may not distinguish are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
