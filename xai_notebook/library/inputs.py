"""Input images: the user's files that were dropped on a panel, and the cache of uploads."""

from __future__ import annotations

import hashlib
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.library.storage.ownership import make_folder
from xai_notebook.pictures.files import read_bounded, write_atomically
from xai_notebook.settings import MAX_INPUT_FILE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from xai_notebook.library.storage.database import Database


class InputFiles:
    """A folder of pictures named by their digests. The first picture creates the folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must not hold other files."""
        self._folder = folder

    def keep(self, data: bytes) -> Path | None:
        """Store a picture and return its file; None if it cannot be written."""
        extension = EXTENSIONS.get(media_type(data) or "", ".bin")
        path = self._folder / (hashlib.sha256(data).hexdigest() + extension)
        try:
            make_folder(self._folder)
            if not write_atomically(path, data, private=True) and not _is_intact(path):
                return None
        except OSError:
            return None
        return path

    def find(self, digits: str, limit: int = 2) -> dict[str, Path]:
        """Return files whose digests begin with `digits`, keyed by digest.

        Links, and files whose content does not match their names, are left out.

        Args:
            digits: First hexadecimal digits, in lower case.
            limit: Maximum number of files.
        """
        paths = filter(_is_intact, self._folder.glob(f"{digits}*"))
        return {path.stem: path for path in islice(paths, limit)}


def _is_intact(path: Path) -> bool:
    """Tell whether a file's name is the digest of its content."""
    try:
        data = read_bounded(path, MAX_INPUT_FILE_BYTES, links=False)
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == path.stem


class CachedUpload(NamedTuple):
    """An image in a server's file store.

    Attributes:
        file_id: The server's id of the file.
        expires: When the server deletes the file, in seconds since 1970, UTC.
    """

    file_id: str
    expires: float


class UploadCache:
    """Remembers uploads across kernels.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        """Use the library's database."""
        self._database = database

    def find(self, backend: str, host: str, sha256: str) -> CachedUpload | None:
        """Return the last upload of an image, unless it has expired.

        A foreign library returns None, because it must not determine what is sent.
        """
        query = "SELECT file_id, expires FROM uploads WHERE backend = ? AND host = ? AND sha256 = ?"
        with self._database.reading() as connection:
            row = connection.execute(query, (backend, host, sha256)).fetchone()
            if self._database.foreign:
                return None
        expires = None if row is None else bounds.moment(row["expires"])
        if expires is None or expires.timestamp() <= time.time():
            return None
        return CachedUpload(bounds.line(str(row["file_id"])), expires.timestamp())

    def remember(self, backend: str, host: str, sha256: str, upload: CachedUpload) -> None:
        """Store an upload in place of an earlier one, and delete expired ones."""
        values = (backend, host, sha256, *upload, time.time())
        statement = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)"
        with self._database.writing() as connection:
            connection.execute("DELETE FROM uploads WHERE expires < ?", (time.time(),))
            connection.execute(statement, values)
