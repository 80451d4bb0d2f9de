"""Original images as content-addressed files; free disk space."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS
from xai_notebook.client.workers import FallbackThreadPool
from xai_notebook.errors import NotKeptError
from xai_notebook.library.storage.ownership import make_folder, open_private
from xai_notebook.pictures.files import sync_file_system, sync_folder, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STALE_AFTER: Final = 86400.0
"""Seconds after which a temporary file counts as abandoned."""
_UNFINISHED: Final = re.compile("[0-9]+-[0-9a-f]{16}-[0-9]+")
"""Pattern of the names of temporary files."""
_FILES_PER_THREAD: Final = 8
_MAX_THREADS: Final = 4
_MANY: Final = 8
"""Number of files from which the file system is synced once instead of each file: every fsync waits
for the disk, and then for the interpreter lock."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


class BlobStore:
    """Files named by the SHA-256 of their content: `ab/abcdef….jpg`.

    Temporary files are in one folder of the same file system, so that cleaning up after a killed
    kernel lists only this folder, even in a large library.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder
        self._temporary = folder / ".tmp"
        self._numbers = itertools.count()
        self._token = os.urandom(8).hex()

    def prepare(self) -> None:
        """Create the folders and remove temporary files of killed kernels."""
        make_folder(self._temporary)
        oldest = time.time() - _STALE_AFTER
        for file in self._temporary.iterdir():
            with suppress(OSError):  # another kernel may be cleaning up, too
                if _UNFINISHED.fullmatch(file.name) and file.lstat().st_mtime < oldest:
                    file.unlink()

    def path(self, sha256: str, media_type: str | None) -> Path:
        """Return the path for the content with this digest; the file need not exist.

        Raises:
            ValueError: The digest is malformed; a damaged database must not determine a path.
        """
        bounds.digest(sha256)
        return self.folder / sha256[:2] / f"{sha256}{EXTENSIONS.get(media_type or '', '.bin')}"

    def write(
        self, contents: Sequence[tuple[bytes, str | None]], *, durable: bool = True
    ) -> list[str | OSError]:
        """Write contents to files; equal contents share a file.

        An existing file is written again, because after a power cut it may be incomplete.

        Args:
            contents: Pairs of bytes and media type.
            durable: Whether the files survive a power cut on return. If False, they survive only a
                kill until `sync` is called.

        Returns:
            For each content, its digest, or the error if the disk is full or the folder cannot be
            written to.
        """
        threads = min(len(contents) // _FILES_PER_THREAD + 1, _MAX_THREADS)
        if threads == 1:
            results = self._write_share(contents)
        else:
            shares = [contents[start::threads] for start in range(threads)]
            # A new pool for each call: threads do not survive a fork.
            with FallbackThreadPool(threads, thread_name_prefix="xai-notebook-disk") as pool:
                written = list(pool.map(self._write_share, shares))
            results = [written[index % threads][index // threads] for index in range(len(contents))]
        if durable:
            try:
                self.sync(
                    self.path(sha256, media_type)
                    for sha256, (_, media_type) in zip(results, contents, strict=True)
                    if isinstance(sha256, str)
                )
            except OSError as error:
                return [error if isinstance(result, str) else result for result in results]
        return results

    def _write_share(self, contents: Sequence[tuple[bytes, str | None]]) -> list[str | OSError]:
        """Write contents in this thread; see `write`."""
        written: dict[str, str | OSError] = {}
        results: list[str | OSError] = []
        for data, media_type in contents:
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 not in written:
                try:
                    self._write_file(f"{self.path(sha256, media_type)}", data)
                    written[sha256] = sha256
                except OSError as error:
                    written[sha256] = error
            results.append(written[sha256])
        return results

    def _write_file(self, path: str, data: bytes) -> None:
        """Write an original to a temporary file and rename it, without syncing.

        Paths are strings, and nothing is buffered, because with pathlib and file objects, each step
        would release the interpreter lock and wait to get it back.
        """
        # The child of a fork has the same token, and another pid.
        name = f"{os.getpid()}-{self._token}-{next(self._numbers)}"
        temporary = f"{self._temporary}{os.sep}{name}"
        try:
            try:
                descriptor = open_private(temporary, _CREATE)
            except FileNotFoundError:  # the library was deleted
                make_folder(self._temporary)
                descriptor = open_private(temporary, _CREATE)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            try:
                os.replace(temporary, path)  # noqa: PTH105
            except FileNotFoundError:
                folder = Path(path).parent
                make_folder(folder)
                sync_folder(folder.parent)
                os.replace(temporary, path)  # noqa: PTH105
        except BaseException as error:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            # Windows does not replace a file that is being read; its content is the same.
            in_use = isinstance(error, PermissionError) and os.path.isfile(path)  # noqa: PTH113
            if not (in_use and os.path.getsize(path) == len(data)):  # noqa: PTH202
                raise

    def sync(self, paths: Iterable[Path]) -> None:
        """Make written originals durable.

        Raises:
            OSError: The disk fails.
        """
        paths = set(paths)
        if len(paths) >= _MANY and sync_file_system(self.folder):
            return
        for path in paths:
            with suppress(FileNotFoundError):  # erased from the trash in the meantime
                sync_file(path)
        for folder in {path.parent for path in paths}:
            sync_folder(folder)


def sync_file(file: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(file, os.O_RDWR)  # Windows does not sync files opened read-only
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_IMAGE_SIZES: Final = {"2k": 8 << 20}
"""Bytes of a large PNG, keyed by resolution."""
_IMAGE_SIZE: Final = 1 << 20
"""Bytes of a large PNG in any other resolution, or if the server chooses it."""
_FLOOR: Final = 1 << 20
"""Bytes that the database and its journals need."""
_PLENTY: Final = 1 << 30
"""Bytes of free space from which the disk is measured only every `_MEASURE_EVERY` seconds."""
_UNKNOWN: Final = 1 << 60
"""Bytes assumed if the file system does not report its free space."""
_MEASURE_EVERY: Final = 1.0
"""Seconds between two measurements, if there is plenty of free space."""


class SpaceReservation:
    """Disk space reserved for one reply, until it is released or garbage-collected."""

    __slots__ = ("_space", "size")

    def __init__(self, space: DiskSpace, size: int) -> None:
        """Reserve `size` bytes."""
        self._space = space
        self.size = size
        space.reserved += size

    def release(self) -> None:
        """Release the space, because the reply is on disk or will not arrive."""
        self._space.reserved -= self.size
        self.size = 0

    __del__ = release


class DiskSpace:
    """Free space of a disk. All methods are called on the background event loop.

    Attributes:
        reserved: Bytes that replies in progress may need.
    """

    def __init__(self, home: Path) -> None:
        """Use the disk of the folder `home`, which need not exist yet."""
        self._home = home
        self.reserved = 0
        self._free = 0
        self._measured = -_MEASURE_EVERY

    def reserve(self, resolution: str | None, images: int) -> SpaceReservation:
        """Reserve space for a reply.

        Args:
            resolution: Requested resolution of the images.
            images: Number of images.

        Raises:
            NotKeptError: There is too little space.
        """
        # Each image is stored as base64 in the journal (4/3) and as the original (1).
        size = _IMAGE_SIZES.get(resolution or "", _IMAGE_SIZE) * images * 7 // 3
        if self.reserved + size + _FLOOR > self._free_bytes():
            raise NotKeptError(
                f"The disk of the library {self._home} has less than "
                f"{(size + _FLOOR) / 1e6:.0f} MB left, which the reply may need, so "
                "nothing was sent. Free some space, or set XAI_NOTEBOOK_HOME to a folder on "
                "another disk.",
                reason="the disk of the library is full",
            )
        return SpaceReservation(self, size)

    def _free_bytes(self) -> int:
        now = time.monotonic()
        if self._free < _PLENTY + self.reserved or now - self._measured >= _MEASURE_EVERY:
            paths = (self._home, *self._home.parents)
            folder = next((path for path in paths if path.exists()), Path())
            self._free = _UNKNOWN
            with suppress(OSError):
                usage = shutil.disk_usage(folder)
                if usage.total:  # some file systems report nothing
                    self._free = usage.free
            self._measured = now
        return self._free
