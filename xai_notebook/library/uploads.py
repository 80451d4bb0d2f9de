"""What lies at a server's file store: which input image is there under which id, and until when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from xai_notebook.client import bounds

if TYPE_CHECKING:
    from xai_notebook.library.database import Database

__all__ = ["Upload", "Uploads"]


class Upload(NamedTuple):
    """An image at a server's file store.

    Attributes:
        file_id: What the server calls it.
        expires: When the server deletes it, in seconds since 1970, UTC.
    """

    file_id: str
    expires: float


class Uploads:
    """Remembers uploads from kernel to kernel.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        """Use the library's own database."""
        self._database = database

    def find(self, backend: str, host: str, sha256: str) -> Upload | None:
        """Return where an image was put last, unless it has expired since.

        A library that may be somebody else's does not say which file is sent.
        """
        query = "SELECT file_id, expires FROM uploads WHERE backend = ? AND host = ? AND sha256 = ?"
        with self._database.reading() as connection:
            row = connection.execute(query, (backend, host, sha256)).fetchone()
            if self._database.foreign:
                return None
        expires = None if row is None else bounds.moment(row["expires"])
        if expires is None or expires.timestamp() <= time.time():
            return None
        return Upload(bounds.line(str(row["file_id"])), expires.timestamp())

    def remember(self, backend: str, host: str, sha256: str, upload: Upload) -> None:
        """Store where an image is now; what was known of it before counts no more."""
        values = (backend, host, sha256, *upload, time.time())
        statement = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)"
        with self._database.writing() as connection:
            connection.execute("DELETE FROM uploads WHERE expires < ?", (time.time(),))
            connection.execute(statement, values)
