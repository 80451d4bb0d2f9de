"""The library's database connection: one per process, shared by its threads.

If the file system has no locks, only one process at a time uses the library, and a file names this
process. SQLite's errors are translated to `LibraryError`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError, shorten
from xai_notebook.library.storage.blobs import sync_file
from xai_notebook.library.storage.fulltext import has_index, prepare_index
from xai_notebook.library.storage.lock import is_alive
from xai_notebook.library.storage.ownership import (
    is_own,
    is_remembered,
    make_folder,
    mark_as_own,
    mark_folder,
    open_private,
)
from xai_notebook.library.storage.schema import (
    NoLocksError,
    connect,
    connect_to_read,
    is_logged,
    library_id,
    patiently,
    transaction,
)
from xai_notebook.pictures.files import read_bounded
from xai_notebook.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FILE: Final = "library.sqlite3"
OWNER: Final = "owner.json"
"""Name of the file that identifies the process using a library, if there are no locks."""
_ABANDONED_AFTER: Final = 60.0
"""Seconds after which an empty owner file counts as abandoned."""
_TOKENS: Final[set[str]] = set()
"""Tokens of the owner files that this process wrote."""
_MIN_FREE: Final = 1 << 16
"""Bytes of free space that SQLite needs to open a library."""
_FORK_PATIENCE: Final = 1.0
"""Seconds that a fork waits for a thread that is using the library."""
_OPEN: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_INHERITED: Final[list[sqlite3.Connection]] = []


class Database:
    """A connection with a lock, opened when first needed.

    All threads share one connection: SQLite allows only one writer at a time, reads take a
    millisecond, and no worker thread keeps a connection open after `close`.

    Attributes:
        home: Folder of the library.
        indexed: Whether words are searched in a full-text index. This attribute and the next ones
            are set when the database is opened.
        read_only: Whether the library cannot be written to.
        without_locks: Whether the file system has no locks, so that only one process may open the
            library.
        remembered: Whether later kernels will recognise the library as the user's own.
    """

    def __init__(self, home: Path, *, to_read: bool = False) -> None:
        """Use the database in the folder `home`, without opening it yet.

        Args:
            home: Folder of the library.
            to_read: Never write to the library, even if that is possible, and create no file for
                it; all its rows may be another person's.
        """
        self.home = home
        self._to_read = to_read
        self.indexed = False
        self.read_only = False
        self.without_locks = False
        self.remembered = True
        self._id: str | None = None
        self._own = False
        self._newest_at_opening = 0
        self._logged = False
        self._synchronous = "FULL"
        self._owner = Owner(home / OWNER)
        self._file = home / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._forking: int | None = None
        self._closed = False
        _OPEN.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection in a read transaction, for one thread at a time.

        Raises:
            LibraryError: The database has been closed, or cannot be opened, read or written.
        """
        with self._held() as connection:
            nested = connection.in_transaction
            if nested:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                # SQLite begins with the first statement, which may have to wait for other kernels.
                patiently(connection, "SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                yield connection
            finally:
                if connection.in_transaction:  # SQLite ends the transaction if the disk fails
                    connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Hold the connection in a write transaction.

        Args:
            durable: Whether the transaction survives a power cut. If False, it survives only a
                kill until `sync` is called.

        Raises:
            LibraryError: As for `reading`, or the library is read-only.
        """
        with self._held() as connection:
            self.check_writable()
            # With a write-ahead log, NORMAL syncs only at checkpoints.
            mode = "NORMAL" if self._logged and not durable else "FULL"
            if mode != self._synchronous:
                connection.execute(f"PRAGMA synchronous = {mode}")
                self._synchronous = mode
            with transaction(connection):
                yield connection

    def sync(self) -> None:
        """Make all transactions durable.

        Raises:
            OSError: The disk fails.
        """
        if self._logged:
            with contextlib.suppress(FileNotFoundError):  # without a log, the database is durable
                sync_file(self._file.with_name(f"{FILE}-wal"))

    def check_writable(self) -> None:
        """Raise `LibraryError` if the library is read-only."""
        if self.read_only:
            raise LibraryError(
                f"The library in {self.home} is read-only: its pictures are shown, but new "
                "pictures are not stored. Set XAI_NOTEBOOK_HOME to a folder you can write to."
            )

    @property
    def foreign(self) -> bool:
        """Whether the library may be another person's; False until it has been opened."""
        if not self._own and self._id is not None:  # another kernel may have marked the library
            self._own = is_own(self._id, self.home)
        return not self._own and self._id is not None

    def is_foreign_row(self, request_id: int) -> bool:
        """Tell whether a request may be another person's: this kernel did not store it."""
        return self.foreign and (self._to_read or request_id <= self._newest_at_opening)

    def mark_as_own(self) -> None:
        """Remember that the library is the user's own."""
        with self._held():
            mark_as_own(self._id or "", self.home)
            self.remembered = is_remembered(self._id or "", self.home)

    @contextlib.contextmanager
    def _held(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and the open connection; translate errors of SQLite and of files."""
        try:
            with interruptible(), self._lock:
                if self._closed:
                    raise LibraryError(f"The library in {self.home} has been closed.")
                connection = self._connection
                if (
                    connection is not None
                    and not connection.in_transaction
                    and _identity(self._file) != self._identity
                ):  # the file was deleted or replaced, so what is written to it would be lost
                    connection.close()
                    connection = self._connection = None
                if connection is None:
                    connection = self._connection = self._connect()
                    self._synchronous = "FULL"
                    self._identity = _identity(self._file)
                    self._id = library_id(connection)
                    self._own = False
                    self.remembered = is_remembered(self._id, self.home)
                    query = "SELECT max(id) FROM requests"
                    self._newest_at_opening = connection.execute(query).fetchone()[0] or 0
                yield connection
        except (OSError, OverflowError, sqlite3.Error) as error:  # overflow: a value is too large
            raise self.explain(error) from error
        except UnicodeDecodeError as error:  # from SQLite's message about a damaged file
            raise self.explain(sqlite3.DatabaseError("malformed")) from error

    def _connect(self) -> sqlite3.Connection:
        self.read_only = self._to_read or (
            self._file.is_file() and not (_is_writable(self._file) and _is_writable(self.home))
        )
        if self.read_only:
            connection = connect_to_read(self._file, complete=self._to_read)
            self.indexed = has_index(connection)
            return connection
        make_folder(self.home)
        mark_folder(self.home)
        try:
            connection = connect(self._file)
            self.without_locks = False
        except NoLocksError:
            self._owner.acquire()
            connection = connect(self._file, locks=False)
            self.without_locks = True
        try:
            self._logged = is_logged(connection)
            self.indexed = prepare_index(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def explain(self, error: OSError | OverflowError | sqlite3.Error) -> LibraryError:
        """Return an error of SQLite or the file system as a `LibraryError`, with cause and cure."""
        explained = LibraryError(_explain(error, self.home, self._file))
        explained.__cause__ = error
        return explained

    def close(self) -> None:
        """Close the connection; it cannot be opened again."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._owner.release()

    def before_fork(self) -> None:
        """Before a fork, wait until no other thread uses the connection, and close it.

        A child would inherit SQLite's internal locks, and could wait forever for a thread that it
        does not have. The wait ends after `_FORK_PATIENCE` seconds.
        """
        if not self._lock.acquire(timeout=_FORK_PATIENCE):
            return
        self._forking = threading.get_ident()
        connection = self._connection
        if connection is not None and not connection.in_transaction:  # else in use by this thread
            connection.close()
            self._connection = None

    def after_fork_in_parent(self) -> None:
        """Let the other threads continue."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connection and lock.

        SQLite does not allow a child to use, or even close, an inherited connection, and the lock
        may be held by a thread that the child does not have.
        """
        self._lock = threading.RLock()
        self._forking = None
        if self._connection is not None:
            _INHERITED.append(self._connection)
            self._connection = None


def data_version(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return a value that changes with every write to the library, by any process."""
    (others,) = connection.execute("PRAGMA data_version").fetchone()
    return id(connection), others, connection.total_changes


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Shorten the traceback of a KeyboardInterrupt; IPython takes seconds to render a long one."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        shorten(interrupt, "stopped waiting for the library; nothing in it is lost.")
        raise


class Owner:
    """A file that names the process using the library, if the file system has no locks."""

    def __init__(self, file: Path) -> None:
        """Use `file`, which need not exist yet."""
        self._file = file
        self._me: Mapping[str, Any] | None = None

    def acquire(self) -> None:
        """Become the owner, if the library has no living owner.

        Raises:
            LibraryError: Another process owns the library, and may be alive.
            OSError: The file cannot be read or written.
        """
        if self._me is not None and self._me["pid"] == os.getpid() and self._read() == self._me:
            return
        token = os.urandom(16).hex()
        me = {"host": platform.node(), "pid": os.getpid(), "token": token}
        while True:
            with contextlib.suppress(FileExistsError):
                descriptor = open_private(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(json.dumps(me).encode())
                self._me = me
                _TOKENS.add(token)
                return
            if (owner := self._read()) is None:
                continue
            if not _is_dead(owner) and not self._is_torn():
                pid, host = (bounds.line(str(owner.get(name)), 80) for name in ("pid", "host"))
                raise LibraryError(
                    f"The file system of {self._file.parent} has no locks, and process {pid} on "
                    f"{host} uses the library. Shut that kernel down; if it has ended, "
                    f"delete {self._file}."
                )
            # Two processes may find a dead owner at the same time. If this one has moved the file
            # of a new, living owner, it puts the file back.
            aside = self._file.with_name(f".{OWNER}-{token}")
            with contextlib.suppress(FileNotFoundError):
                self._file.replace(aside)
                if self._read(aside) == owner:
                    aside.unlink()
                else:
                    aside.replace(self._file)

    def release(self) -> None:
        """Release the library to the next process."""
        me, self._me = self._me, None
        if me is not None:
            _TOKENS.discard(me["token"])
        if me is not None and me["pid"] == os.getpid() and self._read() == me:
            with contextlib.suppress(OSError):
                self._file.unlink()

    def _is_torn(self) -> bool:
        """Tell whether a process died while writing the file."""
        try:
            state = self._file.stat()
        except OSError:
            return False
        return not state.st_size and state.st_mtime < time.time() - _ABANDONED_AFTER

    def _read(self, file: Path | None = None) -> Mapping[str, Any] | None:
        """Return the owner; None if the file does not exist, empty if its content is invalid."""
        try:
            owner = bounds.parsed(read_bounded(file or self._file, MIB, links=False) or b"{}")
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}


def _is_dead(owner: Mapping[str, Any]) -> bool:
    """Tell whether the process of an owner is known to have ended."""
    pid = owner.get("pid")
    if owner.get("host") != platform.node() or not isinstance(pid, int):
        return False
    return owner.get("token") not in _TOKENS if pid == os.getpid() else not is_alive(pid)


def _identity(file: Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None if it does not exist."""
    try:
        state = os.stat(file)  # noqa: PTH116  # faster, and needed at every use of the library
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _explain(error: OSError | OverflowError | sqlite3.Error, home: Path, file: Path) -> str:
    """Return cause and cure, from SQLite's texts, because Python 3.10 lacks its error codes."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return (
            f"The library {file} is damaged and was not changed. Its pictures are in "
            f"{home / 'images'}. Move the file away, or set XAI_NOTEBOOK_HOME to another folder."
        )
    number = error.errno if isinstance(error, OSError) else None
    full = "is full" in text or number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    if full or ("disk I/O error" in text and not _has_free_space(home)):
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
        return f"{home} is not a folder. Set XAI_NOTEBOOK_HOME to a folder for the library."
    reason = (error.strerror or text) if isinstance(error, OSError) else text
    return (
        f"The library in {home} cannot be used ({reason}). "
        "Set XAI_NOTEBOOK_HOME to a folder you can write to."
    )


def _has_free_space(home: Path) -> bool:
    """Tell whether the disk has free space; SQLite may report a full disk as an I/O error."""
    try:
        return shutil.disk_usage(home).free > _MIN_FREE
    except OSError:
        return True


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
