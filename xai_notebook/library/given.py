"""Pictures of the user's own that were uploaded to be edited: files named by their digests."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.library.private import make_folder
from xai_notebook.pictures.files import read_bounded, write_atomically
from xai_notebook.settings import MAX_INPUT_FILE_BYTES

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
        try:
            make_folder(self._folder)
            if not write_atomically(path, data, private=True) and not _is_whole(path):
                return None
        except OSError:
            return None
        return path

    def find(self, digits: str, limit: int = 2) -> dict[str, Path]:
        """Return files whose digests begin so, by their digests.

        Files with another content than their name says, and links, are left out.

        Args:
            digits: Hexadecimal, in lower case.
            limit: At most so many.
        """
        named = filter(_is_whole, self._folder.glob(f"{digits}*"))
        return {path.stem: path for path in islice(named, limit)}


def _is_whole(path: Path) -> bool:
    """Tell whether a file has the content that its name says."""
    try:
        data = read_bounded(path, MAX_INPUT_FILE_BYTES, links=False)
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == path.stem
