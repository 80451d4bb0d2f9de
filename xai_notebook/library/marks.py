"""Stars, tags and the trash: what users say of pictures, and who in this process hears of it."""

from __future__ import annotations

import contextlib
import threading
import time
import unicodedata
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.errors import OptionError
from xai_notebook.library.search import index_request, unindex_request

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from xai_notebook.library.database import Database
    from xai_notebook.library.originals import Originals

__all__ = ["KEPT_IN_TRASH", "Mark", "Marks", "clean_tag", "listen"]

KEPT_IN_TRASH: Final = 30 * 86400.0
"""Seconds that a deleted picture can be brought back."""
LONGEST_TAG: Final = 60
"""Characters of a tag."""
_BATCH: Final = 500
"""Values of one statement; SQLite may allow no more than 999."""
_LISTENERS: Final[set[weakref.WeakMethod[Callable[[Sequence[int]], None]]]] = set()
_LISTENERS_LOCK: Final = threading.Lock()


class Mark(NamedTuple):
    """What a user has said of a picture.

    Attributes:
        starred: It has a star.
        tags: In alphabetical order.
        deleted: It is in the trash, or gone.
    """

    starred: bool = False
    tags: tuple[str, ...] = ()
    deleted: bool = False


def listen(method: Callable[[Sequence[int]], None]) -> None:
    """Have a bound method called with the rows whose marks change, as long as its object lives.

    It is called in the thread that makes the change, after it is durable; it must not block.
    """
    with _LISTENERS_LOCK:
        _LISTENERS.add(weakref.WeakMethod(method))


def _tell(ids: Sequence[int]) -> None:
    with _LISTENERS_LOCK:
        methods = {reference: reference() for reference in _LISTENERS}
        _LISTENERS.difference_update(ref for ref, method in methods.items() if method is None)
    for method in methods.values():
        if method is not None:
            method(ids)


def clean_tag(tag: str) -> str:
    """Return a tag as it is stored: on one line, without control characters.

    Raises:
        OptionError: Nothing is left of it, or it is too long.
    """
    text = unicodedata.normalize("NFC", tag)
    text = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    text = " ".join(text.split())
    if not text or len(text) > LONGEST_TAG:
        raise OptionError(f"A tag is a word or a few: 1 to {LONGEST_TAG} characters.")
    return text


class Marks:
    """Stars, tags and the trash of one library.

    Pictures are named by their rows' ids; a row that is not there is passed over.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, database: Database, originals: Originals) -> None:
        """Use the library's own database and files."""
        self._database = database
        self._originals = originals

    def of(self, ids: Iterable[int]) -> dict[int, Mark]:
        """Return what has been said of pictures, by their rows' ids."""
        with self._database.reading() as connection:
            return marks_of(connection, list(ids))

    def star(self, ids: Iterable[int], *, value: bool = True) -> None:
        """Give pictures a star, or take it away."""
        self._write("UPDATE images SET starred = ? WHERE id = ?", [(int(value), i) for i in ids])

    def tag(self, ids: Iterable[int], tag: str) -> None:
        """Give pictures a tag.

        Raises:
            OptionError: It is none.
        """
        statement = "INSERT OR IGNORE INTO tags SELECT ?, id FROM images WHERE id = ?"
        word = clean_tag(tag)
        self._write(statement, [(word, i) for i in ids])

    def untag(self, ids: Iterable[int], tag: str) -> None:
        """Take a tag away from pictures.

        Raises:
            OptionError: It is none.
        """
        word = clean_tag(tag)
        self._write("DELETE FROM tags WHERE tag = ? AND image_id = ?", [(word, i) for i in ids])

    def delete(self, ids: Iterable[int]) -> None:
        """Put pictures into the trash: they answer no request, and are in no history."""
        now = time.time()
        statement = "UPDATE images SET deleted = ? WHERE id = ? AND deleted IS NULL"
        self._write(statement, [(now, i) for i in ids])

    def restore(self, ids: Iterable[int]) -> None:
        """Take pictures out of the trash."""
        statement = "UPDATE images SET deleted = NULL WHERE id = ? AND deleted > 0"
        self._write(statement, [(i,) for i in ids])

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Change rows, whose ids stand last, and tell of it."""
        with self._database.writing() as connection:
            connection.executemany(statement, rows)
        _tell([row[-1] for row in rows])

    def empty_trash(self, *, older_than: float = 0.0) -> int:
        """Forget deleted pictures for good: words, tags, and originals that no other row uses.

        What they cost stays in the ledger.

        Args:
            older_than: Only those that were deleted so many seconds ago.

        Returns:
            How many they were.
        """
        query = "SELECT id FROM images WHERE deleted > 0 AND deleted <= ? ORDER BY id"
        before = (time.time() - older_than,)
        with self._database.reading() as connection:
            if connection.execute(query, before).fetchone() is None:
                return 0
        with self._database.writing() as connection:
            ids = [i for (i,) in connection.execute(query, before)]
            for image_id in ids:
                self._forget(connection, image_id)
        _tell(ids)
        return len(ids)

    def _forget(self, connection: sqlite3.Connection, image_id: int) -> None:
        row = connection.execute(
            "SELECT request_id, sha256, media_type FROM images WHERE id = ?", (image_id,)
        ).fetchone()
        connection.execute("DELETE FROM tags WHERE image_id = ?", (image_id,))
        connection.execute(
            "UPDATE images SET deleted = 0, sha256 = NULL, size = NULL, url = NULL, starred = 0, "
            "public_url = NULL WHERE id = ?",
            (image_id,),
        )
        left = "SELECT 1 FROM images WHERE request_id = ? AND deleted IS NOT 0 LIMIT 1"
        if connection.execute(left, (row["request_id"],)).fetchone() is None:
            self._forget_request(connection, row["request_id"])
        used = "SELECT 1 FROM images WHERE sha256 = ? LIMIT 1"
        if row["sha256"] and connection.execute(used, (row["sha256"],)).fetchone() is None:
            # Inside the transaction: nobody can put a row in that counts on the file.
            with contextlib.suppress(OSError, ValueError):
                self._originals.path(row["sha256"], row["media_type"]).unlink(missing_ok=True)

    def _forget_request(self, connection: sqlite3.Connection, request_id: int) -> None:
        """Wipe the words of a request of which no picture is left."""
        row = _request(connection, request_id)
        if self._database.indexed:
            rewritten = connection.execute(
                "SELECT rewritten_prompt FROM images WHERE request_id = ?", (request_id,)
            )
            unindex_request(connection, row, [text for (text,) in rewritten])
        connection.execute(
            "UPDATE requests SET prompt = '', original_prompt = NULL, inputs = '[]', user = NULL "
            "WHERE id = ?",
            (request_id,),
        )
        connection.execute(
            "UPDATE images SET rewritten_prompt = NULL, error = NULL, notes = '[]' "
            "WHERE request_id = ?",
            (request_id,),
        )
        if self._database.indexed:
            index_request(connection, _request(connection, request_id), ())


def _request(connection: sqlite3.Connection, request_id: int) -> Mapping[str, Any]:
    row = connection.execute("SELECT * FROM requests WHERE id = ?", (request_id,)).fetchone()
    return dict(row)


def marks_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Mark]:
    """Return what has been said of pictures, by their rows' ids."""
    found: dict[int, Mark] = {}
    for start in range(0, len(ids), _BATCH):
        some = ids[start : start + _BATCH]
        holes = ", ".join("?" * len(some))
        tags: dict[int, list[str]] = {}
        query = f"SELECT image_id, tag FROM tags WHERE image_id IN ({holes}) ORDER BY tag"  # noqa: S608  # holes
        for image_id, tag in connection.execute(query, some):
            tags.setdefault(image_id, []).append(str(tag))
        query = f"SELECT id, starred, deleted FROM images WHERE id IN ({holes})"  # noqa: S608  # holes
        for image_id, starred, deleted in connection.execute(query, some):
            of_it = tuple(tags.get(image_id, ()))
            found[image_id] = Mark(bool(starred), of_it, deleted is not None)
    return found
