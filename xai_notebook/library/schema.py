"""The library's database: how it is opened, recognised and brought up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import LibraryError
from xai_notebook.library.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "APPLICATION_ID",
    "NoLocksError",
    "connect",
    "connect_to_read",
    "is_logged",
    "patiently",
    "snapshot",
    "transaction",
]

APPLICATION_ID: Final = 0x78616962
"""`PRAGMA application_id` of our files ("xaib"): what tells them from other SQLite files."""
BUSY_TIMEOUT: Final = 20.0
"""Seconds to wait for another kernel's transaction; each of ours takes milliseconds."""
_STEP: Final = 0.1
"""Seconds of it that SQLite waits by itself: nothing can interrupt it while it does."""


class NoLocksError(Exception):
    """The file system has no locks: SQLite would wait for ever for one."""


def _open(file: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        file, timeout=_STEP, isolation_level=None, check_same_thread=False, uri=uri
    )


def connect(file: Path, *, locks: bool = True) -> sqlite3.Connection:
    """Open the library's database; create or migrate its tables.

    Nothing is written before the file is known to be ours, or empty.

    Args:
        file: The database; its folder exists.
        locks: The file system has locks. Where it has none, only one process may open it.

    Raises:
        LibraryError: The file belongs to another program, or to a newer version of this one.
        NoLocksError: The file system has no locks.
        sqlite3.Error: The file is damaged, or cannot be read or written.
    """
    with contextlib.suppress(FileExistsError):  # SQLite gives its other files the same mode
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
    connection = _open_to_write(file, locks=locks)
    try:
        _recognise(connection, file)
        if not is_logged(connection) and locks and _can_log(file.parent):
            # The switch needs the file for itself for a moment, and does not wait by itself.
            patiently(connection, "PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if _number(connection, "user_version") < len(MIGRATIONS):
            _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return _prepared(connection)


def _open_to_write(file: Path, *, locks: bool) -> sqlite3.Connection:
    """Open a database in the way that its file system allows.

    Raises:
        NoLocksError: The file system has no locks.
        sqlite3.Error: The file is damaged, or cannot be read.
    """
    address = f"{file.absolute().as_uri()}?vfs=unix-none"
    connection = _open(file) if locks else _open(address, uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "is locked" in str(error):
            if locks and not _has_locks(file.parent):
                connection.close()
                raise NoLocksError from error
            return connection  # locked by another kernel; later statements wait
        connection.close()
        # A write-ahead log needs shared memory maps: `journal_mode = WAL` succeeds without, marks
        # the file, and every later statement fails. With the file for itself SQLite needs no map.
        connection = _open(file) if locks else _open(address, uri=True)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            _recognise(connection, file)
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise error from None
        except LibraryError:
            connection.close()
            raise
    except BaseException:
        connection.close()
        raise
    return connection


def is_logged(connection: sqlite3.Connection) -> bool:
    """Tell whether a database has a write-ahead log."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode) == "wal"


def _can_log(folder: Path) -> bool:
    """Tell whether a write-ahead log works in a folder, by making one."""
    file = folder / f".probe-{os.urandom(8).hex()}.sqlite3"
    try:
        with contextlib.closing(_open(file)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("CREATE TABLE probe (id INTEGER)")
            connection.execute("SELECT count(*) FROM probe").fetchone()
            return is_logged(connection)
    except sqlite3.OperationalError:
        return False
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                file.with_name(file.name + suffix).unlink()


def _has_locks(folder: Path) -> bool:
    """Tell whether files in a folder can be locked as SQLite locks them."""
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415  # not on Windows

    # Not on the database itself: closing it once more would give up SQLite's locks.
    file = folder / f".probe-{os.urandom(8).hex()}"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
        file.unlink()
    return True


def connect_to_read(file: Path) -> sqlite3.Connection:
    """Open a library that cannot be written to; an older version's is migrated in memory.

    Raises:
        LibraryError: As `connect`.
        sqlite3.Error: The file is damaged, or cannot be read.
    """
    address = file.absolute().as_uri()
    connection = _open(f"{address}?mode=ro", uri=True)
    try:
        _recognise(connection, file)
    except sqlite3.OperationalError:
        # The write-ahead log needs a file beside the database, which cannot be made. Then no
        # process can write either: SQLite may take the file as it is.
        connection.close()
        connection = _open(f"{address}?mode=ro&immutable=1", uri=True)
    try:
        _recognise(connection, file)
        if _number(connection, "user_version") < len(MIGRATIONS):
            with contextlib.closing(connection) as old:
                connection = _open(":memory:")
                old.backup(connection)
            _migrate(connection, file)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return _prepared(connection)


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    connection.text_factory = _text  # one damaged word must not hide a thousand rows
    return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def patiently(connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Execute a statement that may have to wait for another kernel; Ctrl-C can end the wait.

    Raises:
        sqlite3.Error: As `execute`; another program keeps the library locked.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)  # SQLite does not always wait before it says so


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do everything inside, or nothing of it.

    IMMEDIATE takes the write lock first: a transaction that reads and then wants to write can
    fail at once, whatever the timeout, when another kernel wrote in between.
    """
    patiently(connection, "BEGIN IMMEDIATE")
    try:
        yield
        patiently(connection, "COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself on a full disk
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """See one state of the library inside. What may have to wait for others waits here."""
    connection.execute("BEGIN")
    try:
        patiently(connection, "SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        yield
    finally:
        if connection.in_transaction:  # SQLite ends it by itself when the disk fails
            connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


def _recognise(connection: sqlite3.Connection, file: Path) -> None:
    """Raise unless the file is empty, or a library this version can read."""
    (tables,) = patiently(connection, "SELECT count(*) FROM sqlite_master").fetchone()
    if tables and _number(connection, "application_id") != APPLICATION_ID:
        raise LibraryError(
            f"{file} is another program's database, and was left alone. "
            "Set XAI_NOTEBOOK_HOME to another folder."
        )
    version = _number(connection, "user_version")
    if version > len(MIGRATIONS):
        raise LibraryError(
            f"The library {file} was made by a newer xai-notebook (version {version}, this one "
            f"reads {len(MIGRATIONS)}). Upgrade: pip install -U xai-notebook"
        )


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    with transaction(connection):
        _recognise(connection, file)  # another kernel may have been here while we waited
        for step in MIGRATIONS[_number(connection, "user_version") :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
