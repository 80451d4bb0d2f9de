"""Small pictures, made once: a cache on disk that may be deleted at any time.

Separate because it is a cache that knows nothing of widgets or of the database.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from typing import TYPE_CHECKING, Final

from xai_notebook.library.storage.ownership import make_folder, open_private
from xai_notebook.pictures.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Thumbnails"]

LIMIT: Final = 512 * 1024 * 1024
"""Bytes that the cache may take."""
_LARGEST: Final = 1 << 20
"""Bytes of a thumbnail; one of ours has a few thousand."""
_NAME: Final = re.compile(r"[0-9a-f]{64}\.jpg|\.[0-9a-f]{32}")
"""Names of thumbnails, and of those that are being written."""
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

    def get(self, sha256: str, read: Callable[[], bytes] | None = None) -> bytes | None:
        """Return the thumbnail of an original, from the cache or made now; None: it is not there.

        Where the cache cannot be written to, it is made each time.

        Args:
            sha256: The digest of the original.
            read: Returns the original; None: what is not in the cache is not made.

        Raises:
            XaiError: The original is gone or damaged.
        """
        file = self._folder / sha256[:2] / f"{sha256}.jpg"
        with contextlib.suppress(OSError):
            if found := read_bounded(file, _LARGEST, links=False):
                os.utime(file)  # the oldest go first
                return found
        if read is None:
            return None
        made = self._make(read())
        with contextlib.suppress(OSError):
            self._keep(file, made)
        return made

    def _keep(self, file: Path, data: bytes) -> None:
        make_folder(file.parent)
        temporary = file.with_name(f".{uuid.uuid4().hex}")
        try:
            os.close(open_private(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
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
        for path in () if self._folder.is_symlink() else self._folder.glob("*/*"):
            if path.parent.is_symlink() or not _NAME.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError):  # another kernel may be clearing up, too
                found = path.lstat()
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
