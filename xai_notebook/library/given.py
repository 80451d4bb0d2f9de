"""Pictures of the user's own that were uploaded to be edited: files named by their digests."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.pictures.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Given"]


class Given:
    """A folder of them, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; nothing else is in it."""
        self._folder = folder

    def keep(self, data: bytes) -> Path | None:
        """Return the file of a picture, written if it was not there; None: it cannot be."""
        extension = EXTENSIONS.get(media_type(data) or "", ".bin")
        path = self._folder / (hashlib.sha256(data).hexdigest() + extension)
        if path.exists():
            return path
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, data)  # a name that is taken has the same content
        except OSError:
            return None
        return path

    def find(self, digits: str, limit: int = 2) -> dict[str, Path]:
        """Return files whose digests begin so, by their digests.

        Args:
            digits: Hexadecimal, in lower case.
            limit: At most so many.
        """
        found = islice(self._folder.glob(f"{digits}*"), limit)
        return {path.stem: path for path in found}
