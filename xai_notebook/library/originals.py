"""The original bytes on disk: one file per content, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.media import EXTENSIONS
from xai_notebook.client.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Originals", "sync_file", "sync_folder"]

_STALE_AFTER: Final = 86400.0
"""Seconds after which a temporary file's writer is surely dead."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_WRITERS: Final = 4
"""Threads that wait for the disk side by side: it makes many files durable in the time of one."""


class Originals:
    """Files named by the SHA-256 of their content: `ab/abcdef….jpg`.

    Temporary files live in one folder beside them, on the same file system, so that the clean-up
    after a killed kernel is one listing, however large the library is.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder
        self._temporary = folder / ".tmp"

    def prepare(self) -> None:
        """Create the folders and remove what killed kernels left behind.

        Raises:
            OSError: A folder cannot be created.
        """
        self._temporary.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - _STALE_AFTER
        for file in self._temporary.iterdir():
            with contextlib.suppress(OSError):  # another kernel may be cleaning up too
                if file.stat().st_mtime < oldest:
                    file.unlink()

    def path(self, sha256: str, media_type: str | None) -> Path:
        """Return where the content with this digest is, or would be."""
        return self.folder / sha256[:2] / f"{sha256}{EXTENSIONS.get(media_type or '', '.bin')}"

    def has(self, places: Any) -> bool:
        """Tell whether the originals that a list of rows speaks of are there."""
        return not isinstance(places, list) or all(
            self.path(place["sha256"], place["media_type"]).exists()
            for place in places
            if "sha256" in place
        )

    def write(self, contents: Sequence[tuple[bytes, str | None]]) -> list[str | OSError]:
        """Make contents durable, each with its media type. The same content is written once.

        Returns:
            For each content its digest, or why it could not be written: the disk is full, or the
            folder cannot be written to.
        """
        shares = [contents[start::_WRITERS] for start in range(min(_WRITERS, len(contents)))]
        if len(shares) == 1:
            return self._write_share(contents)
        # Made here and not kept: threads do not survive a fork.
        with Workers(len(shares), thread_name_prefix="xai-notebook-disk") as pool:
            written = list(pool.map(self._write_share, shares))
        return [written[place % _WRITERS][place // _WRITERS] for place in range(len(contents))]

    def _write_share(self, contents: Sequence[tuple[bytes, str | None]]) -> list[str | OSError]:
        """Do as `write` does, in one thread: first the files, then their folders' names."""
        found: list[str | OSError] = []
        folders = set()
        for data, media_type in contents:
            sha256 = hashlib.sha256(data).hexdigest()
            path = self.path(sha256, media_type)
            try:
                if not _has_size(path, len(data)):
                    self._write(path, data)
            except OSError as error:
                found.append(error)
            else:
                found.append(sha256)
                folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)
        return found

    def _write(self, path: Path, data: bytes) -> None:
        # Not by pathlib and buffers: each step lets go of the interpreter, and has to wait for it.
        temporary = f"{self._temporary}{os.sep}{os.getpid()}-{uuid.uuid4().hex}"
        try:
            descriptor = self._create(temporary)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._move(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            # Windows refuses to replace a file somebody reads: then the same content is there.
            if not (isinstance(error, PermissionError) and _has_size(path, len(data))):
                raise

    def _create(self, temporary: str) -> int:
        try:
            return os.open(temporary, _CREATE, 0o666)
        except FileNotFoundError:  # somebody deleted the library
            self._temporary.mkdir(parents=True, exist_ok=True)
            return os.open(temporary, _CREATE, 0o666)

    def _move(self, temporary: str, path: Path) -> None:
        """Give a file its name, in a folder that may not be there yet."""
        try:
            os.replace(temporary, path)  # noqa: PTH105
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder)
            os.replace(temporary, path)  # noqa: PTH105


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


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
