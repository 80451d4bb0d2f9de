"""Small pictures, made once: a cache on disk that may be deleted at any time."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Thumbnails"]

LIMIT: Final = 512 * 1024 * 1024
"""Bytes that the cache may take."""
_LOOKED_EVERY: Final = 500
"""Thumbnails made between two looks at how large the cache has become."""
_LEFT: Final = 0.8
"""Share of the limit that clearing up leaves."""


class Thumbnails:
    """Files named by the digest of the original: `ab/abcdef….jpg`."""

    def __init__(self, folder: Path, make: Callable[[bytes], bytes], *, limit: int = LIMIT) -> None:
        """Use `folder`, which need not exist yet and is not made before the first thumbnail.

        Args:
            folder: Nothing else is in it.
            make: Makes a thumbnail of an original; its errors are the caller's.
            limit: Bytes that all thumbnails together may take.
        """
        self._folder = folder
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._made = 0

    def get(self, sha256: str, original: Path | None = None) -> bytes | None:
        """Return the thumbnail of an original, from the cache or made now; None: it has vanished.

        Where the cache cannot be written to, it is made each time.

        Args:
            sha256: The digest of the original.
            original: Its file; None: what is not in the cache is not made.
        """
        file = self._folder / sha256[:2] / f"{sha256}.jpg"
        with contextlib.suppress(OSError):
            if found := file.read_bytes():
                os.utime(file)  # the oldest go first
                return found
        if original is None:
            return None
        try:
            data = original.read_bytes()
        except OSError:
            return None
        made = self._make(data)
        with contextlib.suppress(OSError):
            self._keep(file, made)
        return made

    def _keep(self, file: Path, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = file.with_name(f".{uuid.uuid4().hex}")
        try:
            temporary.touch(mode=0o600)
            temporary.write_bytes(data)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._made += 1
            due = self._made % _LOOKED_EVERY == 1
        if due:
            self.clear_up()

    def clear_up(self) -> None:
        """Delete what was not looked at for longest, when all together is more than the limit."""
        files = []
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another kernel may be clearing up, too
                found = path.stat()
                files.append((found.st_mtime, found.st_size, path))
        size = sum(bytes_ for _, bytes_, _ in files)
        if size <= self._limit:
            return
        for _, bytes_, path in sorted(files):
            if size <= self._limit * _LEFT:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            size -= bytes_
