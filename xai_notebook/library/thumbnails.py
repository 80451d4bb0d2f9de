"""A cache of thumbnails on disk, which may be deleted at any time.

Separate because the cache depends neither on widgets nor on the database.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from xai_notebook.library.storage.blobs import replace_file, write_all
from xai_notebook.library.storage.ownership import make_folder
from xai_notebook.pictures.files import read_bounded
from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT: Final = 512 * MIB
"""Bytes of the whole cache."""
_LARGEST: Final = MIB
"""Bytes of a thumbnail; ours have a few thousand."""
_NAME: Final = re.compile(r"[0-9a-f]{64}\.jpg|\.[0-9a-f]{32}")
"""Names of thumbnails, and of those that are being written."""
_CHECKED_EVERY: Final = 500
"""Thumbnails made between two checks of the cache's size."""
_LEFT: Final = 0.8
"""Share of the limit that cleaning up leaves."""


class Thumbnails:
    """Files named by the digest of the original: `ab/abcdef….jpg`."""

    def __init__(self, folder: Path, make: Callable[[bytes], bytes], *, limit: int = LIMIT) -> None:
        """Use `folder`, which is created with the first thumbnail.

        Args:
            folder: Holds nothing else.
            make: Makes a thumbnail of an original.
            limit: Bytes of all thumbnails together.
        """
        self._folder = folder
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._made = 0

    def get(self, sha256: str, read: Callable[[], bytes] | None = None) -> bytes | None:
        """Return the thumbnail of an original, cached or newly made.

        Where the cache cannot be written to, the thumbnail is made each time.

        Args:
            sha256: Digest of the original.
            read: Returns the original. If None, only the cache is asked, and None is returned if
                it lacks the thumbnail.

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
        made = self._make(read())
        with suppress(OSError):
            self._keep(file, made)
        return made

    def _keep(self, file: Path, data: bytes) -> None:
        make_folder(file.parent)  # here, as a cache need not be durable
        temporary = file.with_name(f".{uuid.uuid4().hex}")
        replace_file(f"{file}", f"{temporary}", partial(write_all, data=data))
        with self._lock:
            self._made += 1
            due = self._made % _CHECKED_EVERY == 1
        if due:
            self.clear_up()

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
            if total <= self._limit * _LEFT:
                return
            with suppress(OSError):
                path.unlink()
            total -= size
