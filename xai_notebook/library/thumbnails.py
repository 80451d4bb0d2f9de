"""A cache of thumbnails on disk, which may be deleted at any time.

Separate because the cache depends neither on widgets nor on the database.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from xai_notebook.library.storage.ownership import make_folder
from xai_notebook.pictures.files import read_bounded, write_atomically
from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT: Final = 512 * MIB
"""Maximum bytes of the cache."""
_LARGEST: Final = MIB
"""Maximum bytes of a thumbnail; most have a few thousand."""
_NAME: Final = re.compile(r"[0-9a-f]{64}\.jpg|\.[0-9a-f]{32}")
"""Names of thumbnails, and of temporary files while a thumbnail is written."""
_CHECK_EVERY: Final = 500
"""Number of thumbnails between two checks of the cache's size."""
_REDUCE_TO: Final = 0.8
"""Fraction of the limit to which cleaning up reduces the cache."""


class Thumbnails:
    """Cache of thumbnails, in files named by the digest of the original: `ab/abcdef….jpg`."""

    def __init__(self, folder: Path, make: Callable[[bytes], bytes], *, limit: int = LIMIT) -> None:
        """Use `folder`, which is created with the first thumbnail.

        Args:
            folder: Folder without other files.
            make: Function that makes a thumbnail of an original.
            limit: Maximum bytes of all thumbnails together.
        """
        self._folder = folder
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._count = 0

    def get(self, sha256: str, read: Callable[[], bytes] | None = None) -> bytes | None:
        """Return the thumbnail of an original, cached or newly made.

        If the cache cannot be written to, the thumbnail is made each time.

        Args:
            sha256: Digest of the original.
            read: Function that returns the original. If None, no thumbnail is made: the result is
                None if the cache does not contain the thumbnail.

        Raises:
            XaiError: The original is missing or damaged.
        """
        file = self._folder / sha256[:2] / f"{sha256}.jpg"
        with suppress(OSError):
            if cached := read_bounded(file, _LARGEST, links=False):
                os.utime(file)  # the oldest are deleted first
                return cached
        if read is None:
            return None
        thumbnail = self._make(read())
        with suppress(OSError):
            make_folder(file.parent)
            write_atomically(file, thumbnail, private=True, overwrite=True, durable=False)
            with self._lock:
                self._count += 1
                due = self._count % _CHECK_EVERY == 1
            if due:
                self.clear_up()
        return thumbnail

    def clear_up(self) -> None:
        """Delete the least recently used thumbnails if the cache exceeds its limit."""
        files = []
        for path in () if self._folder.is_symlink() else self._folder.glob("*/*"):
            if path.parent.is_symlink() or not _NAME.fullmatch(path.name):
                continue
            with suppress(OSError):  # another kernel may be cleaning up, too
                stat = path.lstat()
                files.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._limit:
            return
        for _, size, path in sorted(files):
            if total <= self._limit * _REDUCE_TO:
                return
            with suppress(OSError):
                path.unlink()
            total -= size
