"""The library's connection: one for all threads, one for each process, errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import LibraryError
from xai_notebook.library.schema import connect, transaction
from xai_notebook.library.search import prepare_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Database"]

FILE: Final = "library.sqlite3"
_OPEN: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_INHERITED: Final[list[sqlite3.Connection]] = []


class Database:
    """One connection with a lock, opened when first needed.

    One rather than one for each thread: SQLite lets one writer in at a time anyway, reads take a
    millisecond, and closing leaves nothing open in worker threads that nobody can reach.

    Attributes:
        indexed: Whether words are looked up in a full-text index; known once it was open.
    """

    def __init__(self, home: Path) -> None:
        """Use the database in the folder `home`; this opens nothing yet."""
        self.home = home
        self.indexed = False
        self._file = home / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        _OPEN.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection, for one thread at a time.

        Raises:
            LibraryError: It has been closed, or cannot be opened, read or written.
        """
        with self._lock, self.translated():
            if self._closed:
                raise LibraryError(f"The library in {self.home} has been closed.")
            if self._connection is None:
                connection = connect(self._file)
                try:
                    self.indexed = prepare_index(connection)
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection inside a transaction: all of it is durable at the end, or nothing.

        Raises:
            LibraryError: As `reading`.
        """
        with self.reading() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Translate what SQLite and the file system raise."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self.explain(error) from error

    def explain(self, error: OSError | sqlite3.Error) -> LibraryError:
        """Return what SQLite or the file system raised in our words, to raise from it."""
        explained = LibraryError(_explain(error, self.home, self._file))
        explained.__cause__ = error
        return explained

    def close(self) -> None:
        """Close the connection, for good."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def leave_to_parent(self) -> None:
        """In a forked child: leave the parent's connection and lock alone, and open our own.

        SQLite forbids a child to use, or even close, a connection it inherited; and the lock may
        have been held by a thread that the child does not have.
        """
        self._lock = threading.RLock()
        if self._connection is not None:
            _INHERITED.append(self._connection)
            self._connection = None


def _explain(error: OSError | sqlite3.Error, home: Path, file: Path) -> str:
    """Return cause and cure. SQLite's texts are stable; its codes are known from 3.11 on only."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return (
            f"The library {file} is damaged, and was left as it is. Its pictures are in "
            f"{home / 'images'}. Move the file away, or set XAI_NOTEBOOK_HOME to another folder."
        )
    number = error.errno if isinstance(error, OSError) else None
    if "is full" in text or number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return (
            f"The disk of the library {home} is full. Free some space, or set XAI_NOTEBOOK_HOME "
            "to a folder on another disk."
        )
    if "locked" in text:
        return (
            f"Another program keeps the library {file} locked. "
            "Close it, or set XAI_NOTEBOOK_HOME to another folder."
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{home} is no folder. Set XAI_NOTEBOOK_HOME to a folder for the library."
    reason = (error.strerror or text) if isinstance(error, OSError) else text
    return (
        f"The library in {home} cannot be used ({reason}). "
        "Set XAI_NOTEBOOK_HOME to a folder you can write to."
    )


def _after_fork() -> None:
    for database in list(_OPEN):
        database.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
