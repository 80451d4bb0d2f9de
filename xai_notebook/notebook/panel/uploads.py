"""Files on their way from the browser, in parts."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from xai_notebook.errors import InputImageError
from xai_notebook.settings import MAX_DOWNLOAD_BYTES, MAX_INPUT_IMAGES, MIB

__all__ = ["MAX_HELD", "Uploads"]

_MAX_PARTS: Final = 128
_MAX_UNDER_WAY: Final = 2 * MAX_INPUT_IMAGES
"""Files on their way at the same time."""
MAX_HELD: Final = 2 * MAX_DOWNLOAD_BYTES
"""Bytes on their way, and bytes of files that cannot be kept on disk."""
_STALE: Final = 60.0
"""Seconds without a part: the page was closed, and the rest will not come."""


@dataclass(slots=True)
class _Upload:
    total: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    heard: float = field(default_factory=time.monotonic)

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)
        self.heard = time.monotonic()


@dataclass(slots=True)
class Uploads:
    """Files on their way: a message through a Jupyter server may have 10 MB at most.

    A browser may say anything, so their number and size are bounded.
    """

    _under_way: dict[str, _Upload] = field(default_factory=dict)
    _refused: deque[str] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, key: str, part: bytes, total: int) -> bytes | None:
        """Add a part; return the file once it is whole.

        Raises:
            InputImageError: It is too large, or too much is on its way; further parts of this file
                are ignored.
        """
        if key in self._refused:
            return None
        upload = self._under_way.get(key) or _Upload(total)
        if reason := self._too_much(key, upload, len(part)):
            self._under_way.pop(key, None)
            self._refused.append(key)
            raise InputImageError(reason)
        self._under_way[key] = upload
        upload.add(part)
        if len(upload.parts) < upload.total:
            return None
        return b"".join(self._under_way.pop(key).parts)

    def _too_much(self, key: str, upload: _Upload, more: int) -> str:
        """Return why a part cannot be taken; empty: it can."""
        if upload.total > _MAX_PARTS or upload.size + more > MAX_DOWNLOAD_BYTES:
            return f"The file has more than {MAX_DOWNLOAD_BYTES // MIB} MiB. Choose a smaller one."
        limit = time.monotonic() - _STALE
        others = {name: one for name, one in self._under_way.items() if name != key}
        for name in [name for name, one in others.items() if one.heard < limit]:
            del self._under_way[name], others[name]
        if len(others) >= _MAX_UNDER_WAY:
            return f"More than {_MAX_UNDER_WAY} files are on their way. Add fewer at a time."
        if sum(one.size for one in others.values()) + upload.size + more > MAX_HELD:
            return f"More than {MAX_HELD // MIB} MiB are on their way. Add fewer at a time."
        return ""
