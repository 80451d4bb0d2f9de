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
from xai_notebook.library.schema import connect, connect_to_read, snapshot, transaction
from xai_notebook.library.search import has_index, prepare_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Database"]

FILE: Final = "library.sqlite3"
_FORK_PATIENCE: Final = 1.0
"""Seconds that a fork waits for a thread that is using the library."""
_OPEN: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_INHERITED: Final[list[sqlite3.Connection]] = []


class Database:
    """One connection with a lock, opened when first needed.

    One rather than one for each thread: SQLite lets one writer in at a time anyway, reads take a
    millisecond, and closing leaves nothing open in worker threads that nobody can reach.

    Attributes:
        indexed: Whether words are looked up in a full-text index; known once it was open.
        read_only: Whether the library could be opened for reading alone; known once it was open.
    """

    def __init__(self, home: Path) -> None:
        """Use the database in the folder `home`; this opens nothing yet."""
        self.home = home
        self.indexed = False
        self.read_only = False
        self._file = home / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._forking: int | None = None
        self._closed = False
        _OPEN.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection and one state of the library, for one thread at a time.

        Raises:
            LibraryError: It has been closed, or cannot be opened, read or written.
        """
        with self._held() as connection:
            if connection.in_transaction:
                yield connection
                return
            with snapshot(connection):
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection inside a transaction: all of it is durable at the end, or nothing.

        Raises:
            LibraryError: As `reading`; the library is read-only.
        """
        with self._held() as connection:
            self.check_writable()
            with transaction(connection):
                yield connection

    def check_writable(self) -> None:
        """Raise if the library is known to be read-only.

        Raises:
            LibraryError: It is.
        """
        if self.read_only:
            raise LibraryError(
                f"The library in {self.home} is read-only: it answers, and keeps nothing new. "
                "Set XAI_NOTEBOOK_HOME to a folder you can write to."
            )

    @contextlib.contextmanager
    def _held(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self.translated():
            if self._closed:
                raise LibraryError(f"The library in {self.home} has been closed.")
            if self._connection is not None and not self._is_in_place(self._connection):
                self._connection.close()
                self._connection = None
            if self._connection is None:
                self._connection = self._connect()
                self._identity = _identity(self._file)
            yield self._connection

    def _is_in_place(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is still the one that is open: else what is saved would be lost."""
        return connection.in_transaction or _identity(self._file) == self._identity

    def _connect(self) -> sqlite3.Connection:
        self.read_only = self._file.is_file() and not (
            _is_writable(self._file) and _is_writable(self.home)
        )
        if self.read_only:
            connection = connect_to_read(self._file)
            self.indexed = has_index(connection)
            return connection
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = connect(self._file)
        try:
            self.indexed = prepare_index(connection)
        except BaseException:
            connection.close()
            raise
        return connection

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

    def before_fork(self) -> None:
        """Wait for the thread that uses the connection, and close it: a child must inherit none.

        SQLite's own locks would be copied as they are: a child of a busy moment waits for ever for
        a thread that it does not have. A thread that keeps the connection for long is left alone.
        """
        if not self._lock.acquire(timeout=_FORK_PATIENCE):
            return
        self._forking = threading.get_ident()
        connection = self._connection
        if connection is not None and not connection.in_transaction:  # else this thread is in it
            connection.close()
            self._connection = None

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the parent's connection and lock alone, and open our own.

        SQLite forbids a child to use, or even close, a connection it inherited; and the lock may
        have been held by a thread that the child does not have.
        """
        self._lock = threading.RLock()
        self._forking = None
        if self._connection is not None:
            _INHERITED.append(self._connection)
            self._connection = None


def _identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None: it is gone."""
    try:
        found = os.stat(file)  # noqa: PTH116  # at every use of the library
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


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


def _at_fork(method: Callable[[Database], None]) -> Callable[[], None]:
    def hook() -> None:
        for database in list(_OPEN):
            method(database)

    return hook


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_at_fork(Database.before_fork),
        after_in_parent=_at_fork(Database.after_fork_in_parent),
        after_in_child=_at_fork(Database.after_fork_in_child),
    )
