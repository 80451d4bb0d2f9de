"""The original bytes on disk: one file per content, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS
from xai_notebook.client.workers import Workers
from xai_notebook.errors import NotKeptError
from xai_notebook.library.storage.ownership import make_folder, open_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["BlobStore", "DiskSpace", "SpaceReservation", "sync_file", "sync_folder"]

_STALE_AFTER: Final = 86400.0
"""Seconds after which a temporary file's writer is surely dead."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY
_UNFINISHED: Final = re.compile("[0-9]+-[0-9a-f]{16}-[0-9]+")
"""Names of temporary files."""
_SHARE: Final = 8
"""Files per writer thread."""
_WRITERS: Final = 4
"""Writer threads at most."""
_MANY: Final = 8
"""From this many files on, sync the whole file system once: each fsync waits for the disk, and for
the interpreter, which is busy receiving."""


class BlobStore:
    """Files named by the SHA-256 of their content: `ab/abcdef….jpg`.

    Temporary files live in one folder beside them, on the same file system, so that the clean-up
    after a killed kernel is one listing, however large the library is.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder
        self._temporary = folder / ".tmp"
        self._numbers = itertools.count()
        self._token = os.urandom(8).hex()

    def prepare(self) -> None:
        """Create the folders and remove what killed kernels left behind.

        Raises:
            OSError: A folder cannot be created.
        """
        self._make_folders()
        oldest = time.time() - _STALE_AFTER
        for file in self._temporary.iterdir():
            with contextlib.suppress(OSError):  # another kernel may be cleaning up too
                if _UNFINISHED.fullmatch(file.name) and file.lstat().st_mtime < oldest:
                    file.unlink()

    def path(self, sha256: str, media_type: str | None) -> Path:
        """Return where the content with this digest is, or would be.

        Raises:
            ValueError: It is no digest. A database may say anything, and this becomes a path.
        """
        bounds.digest(sha256)
        return self.folder / sha256[:2] / f"{sha256}{EXTENSIONS.get(media_type or '', '.bin')}"

    def has(self, places: Any) -> bool:
        """Tell whether the originals that a list of rows speaks of are there."""
        return not isinstance(places, list) or all(
            self.path(place["sha256"], place["media_type"]).exists()
            for place in places
            if place.get("sha256")
        )

    def write(
        self, contents: Sequence[tuple[bytes, str | None]], *, durable: bool = True
    ) -> list[str | OSError]:
        """Write contents, each with its media type. The same content is one file.

        A file that is there already is written anew: after a power cut it may not be whole.

        Args:
            contents: What, and what it is.
            durable: Survive a power cut when this returns. If False, they survive only a kill
                until `sync` is called.

        Returns:
            For each content its digest, or why it could not be written: the disk is full, or the
            folder cannot be written to.
        """
        shares = min(len(contents) // _SHARE + 1, _WRITERS)
        if shares == 1:
            found = self._write_share(contents)
        else:
            parts = [contents[start::shares] for start in range(shares)]
            # Made here and not kept: threads do not survive a fork.
            with Workers(shares, thread_name_prefix="xai-notebook-disk") as pool:
                written = list(pool.map(self._write_share, parts))
            found = [written[place % shares][place // shares] for place in range(len(contents))]
        if durable:
            try:
                self.sync(
                    self.path(sha256, media_type)
                    for sha256, (_, media_type) in zip(found, contents, strict=True)
                    if isinstance(sha256, str)
                )
            except OSError as error:
                return [error if isinstance(one, str) else one for one in found]
        return found

    def _write_share(self, contents: Sequence[tuple[bytes, str | None]]) -> list[str | OSError]:
        """Do as `write` does, in one thread."""
        written: dict[str, str | OSError] = {}
        found: list[str | OSError] = []
        for data, media_type in contents:
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 not in written:
                try:
                    self._write(f"{self.path(sha256, media_type)}", data)
                    written[sha256] = sha256
                except OSError as error:
                    written[sha256] = error
            found.append(written[sha256])
        return found

    def sync(self, paths: Iterable[Path]) -> None:
        """Make originals that have been written durable.

        Raises:
            OSError: The disk fails.
        """
        paths = set(paths)
        if len(paths) >= _MANY and _sync_file_system(self.folder):
            return
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # it is in no row any more
                sync_file(path)
        for folder in {path.parent for path in paths}:
            sync_folder(folder)

    def _write(self, path: str, data: bytes) -> None:
        # Not by pathlib and buffers: each step lets go of the interpreter, and has to wait for it.
        temporary = self._temporary_name()
        try:
            descriptor = self._create(temporary)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
            finally:
                os.close(descriptor)
            self._move(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            # Windows refuses to replace a file somebody reads: then the same content is there.
            if not (isinstance(error, PermissionError) and _has_size(path, len(data))):
                raise

    def _temporary_name(self) -> str:
        """Return a name that no other process, and no other thread, uses."""
        # The child of a fork has the same token, and another pid.
        return f"{self._temporary}{os.sep}{os.getpid()}-{self._token}-{next(self._numbers)}"

    def _create(self, temporary: str) -> int:
        try:
            return open_private(temporary, _CREATE)
        except FileNotFoundError:  # somebody deleted the library
            self._make_folders()
            return open_private(temporary, _CREATE)

    def _make_folders(self) -> None:
        make_folder(self._temporary)

    def _move(self, temporary: str, path: str) -> None:
        """Give a file its name, in a folder that may not be there yet."""
        try:
            os.replace(temporary, path)  # noqa: PTH105
        except FileNotFoundError:
            make_folder(Path(path).parent)
            sync_folder(self.folder)
            os.replace(temporary, path)  # noqa: PTH105


def _has_size(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size  # noqa: PTH116
    except OSError:
        return False


@cache
def _syncfs() -> Callable[[int], int] | None:
    """Return Linux' call that makes one file system durable; None: this system has no such call."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415  # only libraries with much to write need it

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None
    return lambda descriptor: ctypes.get_errno() if function(descriptor) else 0


def _sync_file_system(folder: Path) -> bool:
    """Make all files of a folder's file system durable; False: this cannot be done.

    Raises:
        OSError: The disk fails.
    """
    if (call := _syncfs()) is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if number := call(descriptor):
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
    return True


def sync_file(file: Path) -> None:
    """Make what has been written to `file` durable.

    Raises:
        OSError: It cannot be opened or synced.
    """
    descriptor = os.open(file, os.O_RDWR)  # Windows syncs no file that is open for reading alone
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the platform has a way to ask for it."""
    if os.name == "nt":
        return  # Windows cannot open folders; NTFS journals names
    with contextlib.suppress(OSError):  # some network file systems refuse, and sync by themselves
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


class SpaceReservation:
    """Room for one reply, until it is released or forgotten."""

    __slots__ = ("_room", "size")

    def __init__(self, room: DiskSpace, size: int) -> None:
        """Take `size` bytes of a room."""
        self._room = room
        self.size = size
        room.reserved += size

    def release(self) -> None:
        """Give the room back: the reply is on the disk, or will not come."""
        self._room.reserved -= self.size
        self.size = 0

    __del__ = release


class DiskSpace:
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

    def reserve(self, resolution: str | None, images: int) -> SpaceReservation:
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
        return SpaceReservation(self, size)

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
