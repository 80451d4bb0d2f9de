"""Schema and migrations of the library's database; opening the file; running statements.

A library may have been copied from another person, and an SQLite file can contain code: triggers,
views, generated columns and indexes on expressions are executed when the file is used. Therefore, a
file is opened with an untrusted schema, and used only if its schema is exactly the one that
`MIGRATIONS` create.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from xai_notebook.client import bounds
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import LibraryError
from xai_notebook.library.storage.ownership import is_marked_folder, mark_as_own, open_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CREATE_INDEX: Final = """CREATE VIRTUAL TABLE search USING fts5(
    prompt, original_prompt, rewritten, model, notebook,
    content = '', prefix = '1 2',
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co So'")"""
"""SQL that creates the full-text index, if this Python's SQLite has FTS5; see `fulltext`."""

_REQUESTS_AND_IMAGES: Final = (
    """CREATE TABLE requests (
        id INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL,  -- equal for equal requests; see ImageRequest.fingerprint
        backend TEXT NOT NULL,      -- 'xai' or 'local'
        host TEXT NOT NULL,         -- the API host
        prompt TEXT NOT NULL,       -- the prompt as sent
        model TEXT NOT NULL,        -- name of the model in the request
        answered_by TEXT NOT NULL,  -- name of the model in the reply
        n INTEGER NOT NULL,
        aspect_ratio TEXT,
        resolution TEXT,
        quality TEXT,
        inputs TEXT NOT NULL,       -- JSON: [{"sha256", "label", "parent"}] without image data
        user TEXT,
        image_format TEXT NOT NULL,
        original_prompt TEXT,       -- the user's prompt, if a chat model rewrote it
        rewrite_model TEXT,         -- the chat model
        notebook TEXT,              -- path of the notebook; NULL: unknown
        cost_usd REAL,              -- NULL: not reported
        start INTEGER NOT NULL,     -- lowest position of the reply's images
        created REAL NOT NULL       -- time of arrival of the reply, seconds since 1970, UTC
    )""",
    "CREATE INDEX requests_by_fingerprint ON requests (fingerprint)",
    """CREATE TABLE images (
        id INTEGER PRIMARY KEY,
        request_id INTEGER NOT NULL REFERENCES requests (id),
        position INTEGER NOT NULL,
        status TEXT NOT NULL,
        model TEXT NOT NULL,
        rewritten_prompt TEXT,
        rewritten_by TEXT,
        cost_usd REAL,
        sha256 TEXT,
        media_type TEXT,
        width INTEGER,
        height INTEGER,
        url TEXT,                   -- URL of a pending image
        error TEXT,
        notes TEXT NOT NULL,        -- JSON list
        created REAL NOT NULL
    )""",
    "CREATE INDEX images_by_request ON images (request_id, position)",
    "CREATE INDEX images_by_sha256 ON images (sha256) WHERE sha256 IS NOT NULL",
)
_REWRITES: Final = (
    """CREATE TABLE rewrites (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        original TEXT NOT NULL,
        text TEXT NOT NULL,
        model TEXT NOT NULL,
        backend TEXT NOT NULL,
        cost_usd REAL,
        created REAL NOT NULL
    )""",
    "CREATE INDEX rewrites_by_key ON rewrites (key)",
)
_PLACES: Final = (
    "ALTER TABLE requests ADD COLUMN place INTEGER NOT NULL DEFAULT 0",
    # Earlier versions treated a reply (start = 0) and the replies that completed it as one answer.
    # The newest answer was replayed first. If one call made the same request more than once, its
    # images were replayed one after the other.
    """CREATE TEMP TABLE answers AS
        SELECT id, fingerprint, start / max(n, 1) AS inner,
            sum(start = 0) OVER (PARTITION BY fingerprint ORDER BY id) AS answer
        FROM requests""",
    """CREATE TEMP TABLE widths AS
        SELECT fingerprint, answer, sum(max(inner) + 1) OVER (
            PARTITION BY fingerprint ORDER BY answer DESC) - max(inner) - 1 AS newer
        FROM answers GROUP BY fingerprint, answer""",
    """CREATE TEMP TABLE places (id INTEGER PRIMARY KEY, place INTEGER)""",
    """INSERT INTO places SELECT id, newer + inner FROM answers
        JOIN widths USING (fingerprint, answer)""",
    "UPDATE requests SET place = (SELECT place FROM places WHERE places.id = requests.id)",
    """UPDATE images SET position = position - (
            SELECT start / n * n FROM requests WHERE requests.id = request_id)
        WHERE request_id IN (SELECT id FROM requests WHERE start >= n AND n > 0)""",
    "UPDATE requests SET start = start % n WHERE start >= n AND n > 0",
    "DROP TABLE answers",
    "DROP TABLE widths",
    "DROP TABLE places",
    "DROP INDEX requests_by_fingerprint",
    "CREATE INDEX requests_by_place ON requests (fingerprint, place)",
)
_UPLOADS: Final = (
    """CREATE TABLE uploads (
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        sha256 TEXT NOT NULL,       -- digest of the user's input image
        file_id TEXT NOT NULL,      -- id of the uploaded file, which may be a converted image
        expires REAL NOT NULL,      -- when the server deletes the file
        created REAL NOT NULL,
        PRIMARY KEY (backend, host, sha256)
    )""",
)
_LINKS: Final = (
    "ALTER TABLE requests ADD COLUMN share REAL",  # lifetime of public links, in days
    "ALTER TABLE images ADD COLUMN public_url TEXT",
    "ALTER TABLE images ADD COLUMN public_url_expires REAL",
)
_MARKS: Final = (
    "ALTER TABLE images ADD COLUMN starred INTEGER NOT NULL DEFAULT 0",
    # Time of the move to the trash, in seconds since 1970; 0: erased from the trash.
    "ALTER TABLE images ADD COLUMN deleted REAL",
    "ALTER TABLE images ADD COLUMN size INTEGER",  # bytes of the original; NULL: unknown
    "CREATE INDEX images_in_trash ON images (deleted) WHERE deleted > 0",
    """CREATE INDEX images_unmeasured ON images (id)
        WHERE size IS NULL AND sha256 IS NOT NULL""",
    # A covering index: the catalog reads these columns whenever a filter changes.
    """CREATE INDEX images_on_shelf ON images
        (request_id DESC, position, deleted, status, size, model, created, starred, cost_usd)""",
    """CREATE TABLE tags (
        tag TEXT NOT NULL,
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (tag, image_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX tags_by_image ON tags (image_id)",
)
_JOBS: Final = (
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,  -- also the name of the batch, to find it in the service
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        notebook TEXT,
        batch_id TEXT,              -- the service's id of the batch; NULL: not known yet
        state TEXT NOT NULL,        -- see JobState
        cause TEXT,                 -- why the job failed
        price_usd REAL,             -- list price of an image; NULL: unknown
        inputs TEXT NOT NULL,       -- JSON: {digest of an input image: its file id or URL}
        created REAL NOT NULL,      -- seconds since 1970, UTC, like the next two columns
        expires REAL,               -- from when on the results cannot be read
        ended REAL                  -- when the end of the job was noticed
    )""",
    """CREATE TABLE job_requests (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs (id),
        key TEXT NOT NULL,          -- id of the request in the batch
        fingerprint TEXT NOT NULL,
        place INTEGER NOT NULL,
        position INTEGER NOT NULL,
        request TEXT NOT NULL,      -- JSON, without the bytes of input images
        answer INTEGER REFERENCES requests (id) ON DELETE SET NULL,  -- row of the reply
        error TEXT                  -- why the request gets no image
    )""",
    "CREATE UNIQUE INDEX job_requests_by_job ON job_requests (job_id, key)",
    "CREATE INDEX job_requests_by_key ON job_requests (key)",
)

_REDO: Final = ("ALTER TABLE requests ADD COLUMN redo INTEGER NOT NULL DEFAULT 0",)

_PANELS: Final = (
    """CREATE TABLE panels (
        id INTEGER PRIMARY KEY,
        folder TEXT NOT NULL,       -- folder of the notebook
        cell TEXT NOT NULL,         -- id of the cell, or digest of its code
        number INTEGER NOT NULL,    -- number of panels that the cell showed before this one
        notebook TEXT NOT NULL,     -- as in requests; '': unknown
        state TEXT NOT NULL,        -- JSON: state of the panel's form
        changed REAL NOT NULL,      -- seconds since 1970, UTC
        UNIQUE (folder, cell, number, notebook)
    )""",
    """CREATE TABLE panel_images (
        panel_id INTEGER NOT NULL REFERENCES panels (id),
        batch INTEGER NOT NULL,     -- images with the same number were generated together
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (panel_id, batch, image_id)
    ) WITHOUT ROWID""",
)

_CHARGES: Final = (
    # Costs that are not in `requests` or `rewrites`: calls that are in progress, and calls that
    # may have been billed.
    """CREATE TABLE charges (
        id INTEGER PRIMARY KEY,
        process TEXT NOT NULL,      -- token of the process that made the call
        created REAL NOT NULL,      -- seconds since 1970, UTC
        ticks INTEGER NOT NULL,     -- the cost in units of 1e-10 USD
        open INTEGER NOT NULL,      -- state of the call; see library/spending.py
        reply_id TEXT               -- id of the reply; its row counts instead if it has a cost
    )""",
    "CREATE INDEX charges_by_time ON charges (created)",
    "CREATE INDEX charges_by_reply ON charges (reply_id) WHERE reply_id NOTNULL",
    "CREATE INDEX charges_open ON charges (process) WHERE open > 0",
    "CREATE INDEX requests_by_time ON requests (created, cost_usd)",
    "CREATE INDEX rewrites_by_time ON rewrites (created, cost_usd)",
    "CREATE INDEX job_requests_by_answer ON job_requests (answer) WHERE answer NOTNULL",
    """CREATE INDEX job_requests_open ON job_requests (job_id)
        WHERE answer IS NULL AND error IS NULL""",
)

_JOB_CALLS: Final = (
    # Set before the call that creates the batch is sent; the batch may exist without a batch_id.
    "ALTER TABLE jobs ADD COLUMN create_sent INTEGER NOT NULL DEFAULT 0",
    # 0: no call with this request has been sent. 1: a call has been sent, and its outcome is
    # unknown. 2: the service has the request.
    "ALTER TABLE job_requests ADD COLUMN sent INTEGER NOT NULL DEFAULT 0",
    # Earlier versions did not record what they sent.
    "UPDATE jobs SET create_sent = 1 WHERE state = 'new'",
    "UPDATE job_requests SET sent = 1 WHERE job_id IN (SELECT id FROM jobs WHERE state = 'new')",
)

_SHOWN: Final = (
    # Pictures of other notebooks that a notebook has shown.
    """CREATE TABLE shown (
        notebook TEXT NOT NULL,     -- as in requests
        fingerprint TEXT NOT NULL,
        place INTEGER NOT NULL,
        position INTEGER NOT NULL,
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (notebook, fingerprint, place, position)
    ) WITHOUT ROWID""",
)

_REPLIES: Final = (
    # Random id; NULL for replies of earlier versions, of jobs and from bundles.
    "ALTER TABLE requests ADD COLUMN reply_id TEXT",
    "CREATE UNIQUE INDEX requests_by_reply ON requests (reply_id) WHERE reply_id IS NOT NULL",
)

_IDENTITY: Final = (
    "CREATE TABLE identity (id TEXT NOT NULL)",  # one random id; see ownership.py
    "INSERT INTO identity VALUES (lower(hex(randomblob(16))))",
)

_LINE_ENDS: Final = (
    # In earlier versions, equal prompts with \r\n and \n had different fingerprints.
    """CREATE TEMP TABLE renamed AS
        SELECT DISTINCT fingerprint AS former, fingerprint(backend, host, prompt, model,
            aspect_ratio, resolution, quality, user, inputs) AS fingerprint
        FROM requests WHERE instr(prompt, char(13, 10))""",
    "DELETE FROM renamed WHERE fingerprint IS NULL",
    """UPDATE requests SET fingerprint = (
            SELECT fingerprint FROM renamed WHERE former = requests.fingerprint)
        WHERE fingerprint IN (SELECT former FROM renamed)""",
    """UPDATE OR REPLACE shown SET fingerprint = (
            SELECT fingerprint FROM renamed WHERE former = shown.fingerprint)
        WHERE fingerprint IN (SELECT former FROM renamed)""",
    "DROP TABLE renamed",
)

MIGRATIONS: Final = (
    _REQUESTS_AND_IMAGES, _REWRITES, _PLACES, _UPLOADS, _LINKS, _MARKS, _JOBS, _REDO, _PANELS,
    _REPLIES, _CHARGES, _JOB_CALLS, _SHOWN, _IDENTITY, _LINE_ENDS,
)  # fmt: skip
"""`MIGRATIONS[i]` upgrades a library from version i to i + 1. Released steps never change."""


APPLICATION_ID: Final = 0x78616962
"""`PRAGMA application_id` of libraries ("xaib"); other SQLite files differ."""
BUSY_TIMEOUT: Final = 20.0
"""Seconds to wait for transactions of other kernels; each takes milliseconds."""
_STEP: Final = 0.1
"""Seconds that SQLite itself waits; this wait cannot be interrupted."""
_PARAMETERS: Final = 999
"""Number of parameters per statement that every SQLite version accepts."""
_KEYS: Final = 500
"""Maximum number of keys per query."""
_LONGEST_VALUE: Final = 64 << 20
"""Maximum bytes of a text or row."""
_WRITES: Final = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_FORBIDDEN: Final = {
    sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_TEMP_VIEW,
}  # fmt: skip
_MAX_OBJECTS: Final = 100
"""Maximum number of tables and indexes to check; a library has about thirty."""
_INDEX_TABLES: Final = {
    "search_data": "(id INTEGER PRIMARY KEY, block BLOB)",
    "search_idx": "(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    "search_docsize": "(id INTEGER PRIMARY KEY, sz BLOB)",
    "search_config": "(k PRIMARY KEY, v) WITHOUT ROWID",
}
"""Tables in which FTS5 stores the index; the columns are the same in all FTS5 versions."""
_Entry: TypeAlias = tuple[str, str, str, str]
"""Name, type, table and SQL, as in sqlite_master."""
_MAX_ROW: Final = 1 << 53
"""Upper bound of row ids: larger integers are not exact in JavaScript."""
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
"""Last bytes of a rollback journal that names another file, which SQLite would read and delete."""


class NoLocksError(Exception):
    """The file system has no locks; SQLite would wait for a lock forever."""


def _open(file: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file, timeout=_STEP, isolation_level=None, check_same_thread=False, uri=uri
    )
    # As SQLite recommends for untrusted files: https://sqlite.org/security.html
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if sys.version_info >= (3, 12):
        for option, value in (
            (sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True),
            (sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False),
            (sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False),
        ):
            connection.setconfig(option, value)
    connection.set_authorizer(_authorize)
    connection.text_factory = _text  # a damaged text must not hide other rows
    return connection


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, source: str | None
) -> int:
    """Tell SQLite whether a statement may run an action.

    `source` is the trigger, view or subquery that would run it; None for the statement itself.
    """
    del first, second, database
    by_trigger = source is not None and action in _WRITES
    return sqlite3.SQLITE_DENY if by_trigger or action in _FORBIDDEN else sqlite3.SQLITE_OK


def connect(file: Path, *, locks: bool = True) -> sqlite3.Connection:
    """Open the library's database; create or migrate its tables.

    Nothing is written until the file has been recognised as a library or as empty.

    Args:
        file: The database; its folder exists.
        locks: Whether the file system has locks. If not, only one process may open the file.

    Raises:
        LibraryError: The file belongs to another program, or to a newer version of this one.
        NoLocksError: The file system has no locks.
        sqlite3.Error: The file is damaged, or cannot be read or written.
    """
    _check_file(file)
    with contextlib.suppress(FileExistsError):  # SQLite creates its other files with the same mode
        os.close(open_private(file, os.O_CREAT | os.O_EXCL))
    connection = _open_to_write(file, locks=locks)
    try:
        _recognise(connection, file)
        if not is_logged(connection) and locks and _can_log(file.parent):
            # Changing the mode needs exclusive access, and SQLite does not wait for it.
            patiently(connection, "PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if _number(connection, "user_version") < len(MIGRATIONS):
            _migrate(connection, file)
        return _finish_opening(connection, file)
    except BaseException:
        connection.close()
        raise


def _open_to_write(file: Path, *, locks: bool) -> sqlite3.Connection:
    """Open a database in a way that its file system supports; see `connect`."""
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
        # A write-ahead log needs shared memory maps. Where maps are not supported,
        # `journal_mode = WAL` succeeds, but every later statement fails. With an exclusive lock,
        # SQLite needs no map.
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
    """Tell whether a write-ahead log works in a folder, by creating a temporary database."""
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

    # Not the database file: closing another descriptor of it would release SQLite's locks.
    file = folder / f".probe-{os.urandom(8).hex()}"
    try:
        descriptor = open_private(file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
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


def connect_to_read(file: Path, *, complete: bool = False) -> sqlite3.Connection:
    """Open a read-only library; a library of an older version is migrated in memory.

    Args:
        file: The database.
        complete: Whether rows matter that are only in a journal, which SQLite cannot read in a
            folder without write permission, and cannot undo without writing.

    Raises:
        LibraryError: As for `connect`.
        sqlite3.Error: The file is damaged, or cannot be read.
    """
    _check_file(file)
    address = file.absolute().as_uri()
    connection = _open(f"{address}?mode=ro", uri=True)
    try:
        _recognise(connection, file)
    except sqlite3.OperationalError as error:
        connection.close()
        if complete and "is locked" in str(error):
            raise
        if complete and _has_journal(file):
            connection = _copy_to_memory(file)
        else:
            connection = _open(f"{address}?mode=ro&immutable=1", uri=True)
    except BaseException:
        connection.close()
        raise
    try:
        _recognise(connection, file)
        if _number(connection, "user_version") < len(MIGRATIONS):
            with contextlib.closing(connection) as old:
                connection = _open(":memory:")
                old.backup(connection)
            _migrate(connection, file)
        connection.execute("PRAGMA query_only = ON")
        return _finish_opening(connection, file)
    except BaseException:
        connection.close()
        raise


def _has_journal(file: Path) -> bool:
    """Tell whether a process may have died with transactions in a journal of this database."""
    journals = (file.with_name(file.name + end) for end in ("-wal", "-journal"))
    return any(journal.is_file() and journal.stat().st_size for journal in journals)


def _copy_to_memory(file: Path) -> sqlite3.Connection:
    """Open a database that no process uses in memory, with the transactions of its journals."""
    with tempfile.TemporaryDirectory(prefix="xai-notebook-") as folder:
        copy = Path(folder) / file.name
        for end in ("", "-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(file.with_name(file.name + end), copy.with_name(copy.name + end))
        with contextlib.closing(_open(copy)) as connection:
            _recognise(connection, file)
            memory = _open(":memory:")
            connection.backup(memory)
    return memory


def _finish_opening(connection: sqlite3.Connection, file: Path) -> sqlite3.Connection:
    """Check that row ids are in range, set the row factory, and return the connection."""
    for table in ("requests", "images"):
        (newest,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608  # no user's text
        if newest is not None and not 0 <= newest < _MAX_ROW:
            raise LibraryError(
                f"The library {file} is damaged (a row of {table} has the id {newest}), and was "
                "not changed. Set XAI_NOTEBOOK_HOME to another folder."
            )
    connection.row_factory = sqlite3.Row
    return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def patiently(connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Execute a statement; wait for another kernel's lock if necessary. Ctrl-C ends the wait.

    Raises:
        sqlite3.Error: The statement fails, or another program keeps the library locked.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)  # SQLite does not always wait before it raises


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a write transaction, which is rolled back if the block raises.

    IMMEDIATE takes the write lock at the start. Otherwise, a transaction that reads and then writes
    would fail without waiting if another kernel had written in between.
    """
    patiently(connection, "BEGIN IMMEDIATE")
    try:
        yield
        patiently(connection, "COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself on a full disk
            connection.execute("ROLLBACK")
        raise


def storable(value: Any) -> Any:
    """Replace characters of a text that SQLite cannot store, such as bytes of a file name."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def insert(connection: sqlite3.Connection, table: str, *rows: dict[str, Any]) -> int:
    """Insert rows with the same columns, many rows per statement; return the id of the last row.

    Each statement releases the interpreter lock and waits to get it back. With one statement per
    row, this would take longer than the insertion itself.
    """
    if not rows:
        return 0
    last = 0
    names = list(rows[0])
    row_parameters = f"({', '.join('?' * len(names))})"
    count = _PARAMETERS // len(names)
    for start in range(0, len(rows), count):
        part = rows[start : start + count]
        values = [storable(row[name]) for row in part for name in names]
        parameters = ", ".join([row_parameters] * len(part))
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES {parameters}"  # noqa: S608  # no user's text
        last = connection.execute(statement, values).lastrowid or 0
    return last


def rows_in(
    connection: sqlite3.Connection, query: str, keys: Sequence[Any], *before: object
) -> Iterator[Any]:
    """Yield the rows of a query with `IN ({})`, run for up to `_KEYS` keys at a time.

    Args:
        connection: Connection in a transaction.
        query: SQL with `{}` in place of the keys, which are its last parameters.
        keys: Values to look up.
        *before: Parameters before the keys.
    """
    for start in range(0, len(keys), _KEYS):
        part = keys[start : start + _KEYS]
        parameters = ", ".join("?" * len(part))
        yield from connection.execute(query.format(parameters), (*before, *part))


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


def _check_file(file: Path) -> None:
    """Check that a database and its journals are regular files, and that no journal names a file.

    SQLite would delete the named file. Only transactions over several databases write such a name,
    but the library has only one database.
    """
    if file.is_symlink():
        raise LibraryError(
            f"{file} is a link, and links in a library are not followed. Put the file itself "
            "there, or set XAI_NOTEBOOK_HOME to the folder that it is in."
        )
    journal = file.with_name(f"{file.name}-journal")
    for each in (file, journal, *(file.with_name(f"{file.name}-{end}") for end in ("wal", "shm"))):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(each.lstat().st_mode):  # SQLite would wait for a pipe
                raise LibraryError(
                    f"{each} is not a regular file, so the library was not opened. Move it away, "
                    "or set XAI_NOTEBOOK_HOME to another folder."
                )
    with contextlib.suppress(OSError), open(open_private(journal, os.O_RDONLY), "rb") as stream:  # noqa: PTH123
        if stream.seek(0, os.SEEK_END) < len(_JOURNAL_MAGIC):
            return
        stream.seek(-len(_JOURNAL_MAGIC), os.SEEK_END)
        if stream.read() == _JOURNAL_MAGIC:
            raise LibraryError(
                f"{journal} was not written by xai-notebook, so the library was not opened. "
                "Delete that file, or set XAI_NOTEBOOK_HOME to another folder."
            )


def _recognise(connection: sqlite3.Connection, file: Path) -> int:
    """Check that a file is a library of a known version, or empty; return the version or 0."""
    (tables,) = patiently(connection, "SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        return 0
    if _number(connection, "application_id") != APPLICATION_ID:
        raise LibraryError(
            f"{file} is another program's database and was not changed. "
            "Set XAI_NOTEBOOK_HOME to another folder."
        )
    version = _number(connection, "user_version")
    if version > len(MIGRATIONS):
        raise LibraryError(
            f"The library {file} was made by a newer xai-notebook (version {version}, this one "
            f"reads {len(MIGRATIONS)}). Upgrade: pip install -U xai-notebook"
        )
    if (difference := _difference(connection, max(version, 0))) is not None:
        raise LibraryError(
            f"The library {file} has another schema than xai-notebook creates, at {difference}. It "
            "was not opened, because a schema can contain code. If you changed it yourself, undo "
            "the change with an SQLite program; otherwise set XAI_NOTEBOOK_HOME to another folder."
        )
    return version


def _difference(connection: sqlite3.Connection, version: int) -> str | None:
    """Return the first difference from the schema of a version; None if they are equal."""
    query = "SELECT name, type, tbl_name, sql FROM sqlite_master LIMIT ?"
    entries: Counter[_Entry] = Counter()  # a trigger can have the name of a table
    for row in connection.execute(query, (_MAX_OBJECTS,)):
        name, kind, table, sql = (str(each or "") for each in row)
        entries[name, kind, table, _plain(sql)] += 1
    names = {name for name, *_ in entries}
    expected = Counter(_expected(version))
    for optional in (_INDEX, *_STATISTICS):
        if any(name in names for name, *_ in optional):
            expected.update(optional)
    for name, kind, *_ in (entries - expected) + (expected - entries):
        kind = kind if kind in {"table", "index", "view", "trigger"} else "entry"  # noqa: PLW2901
        return f"the {kind} {name[:60]!r}"
    return None


@functools.cache
def _expected(version: int) -> frozenset[_Entry]:
    """Return the entries of `sqlite_master` in a library of this version."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _take_steps(connection, 0, version)
        rows = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master")
        return frozenset((name, kind, table, _plain(sql or "")) for name, kind, table, sql in rows)


def _plain(sql: str) -> str:
    """Return SQL without comments and with single spaces."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())


_INDEX: Final[tuple[_Entry, ...]] = (
    ("search", "table", "search", _plain(CREATE_INDEX)),
    *(
        (name, "table", name, f"CREATE TABLE '{name}'{columns}")
        for name, columns in _INDEX_TABLES.items()
    ),
)
"""Entries of the full-text index, which a Python without FTS5 does not create."""
_STATISTICS: Final[tuple[tuple[_Entry, ...], ...]] = tuple(
    ((name, "table", name, f"CREATE TABLE {name}({columns})"),)
    for name, columns in (
        ("sqlite_stat1", "tbl,idx,stat"),
        ("sqlite_stat4", "tbl,idx,neq,nlt,ndlt,sample"),
    )
)
"""Entries of the tables that SQLite's ANALYZE creates; the user may have run it."""


def library_id(connection: sqlite3.Connection) -> str:
    """Return the unique id of a library; empty if the library has no id."""
    row = connection.execute("SELECT id FROM identity LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    with transaction(connection):
        version = _recognise(connection, file)  # another kernel may have migrated the library
        _take_steps(connection, version, len(MIGRATIONS))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        if version == 0 and is_marked_folder(file.parent):
            mark_as_own(library_id(connection), file.parent)


def _take_steps(connection: sqlite3.Connection, first: int, end: int) -> None:
    """Upgrade a library from version `first` to version `end`."""
    connection.create_function("fingerprint", 9, _fingerprint)
    for step in MIGRATIONS[first:end]:
        for statement in step:
            connection.execute(statement)


def _fingerprint(  # noqa: PLR0913, PLR0917  # called by SQLite with columns
    backend: str,
    host: str,
    prompt: str,
    model: str,
    aspect_ratio: str | None,
    resolution: str | None,
    quality: str | None,
    user: str | None,
    inputs: str,
) -> str | None:
    """Return the fingerprint of a row's request; None if the row is damaged."""
    try:
        digests = [bounds.digest(image["sha256"]) for image in bounds.parsed(inputs)]
        images = tuple(InputImage("", digest, "") for digest in digests)
        request = ImageRequest(
            prompt, model, 1, aspect_ratio, resolution, quality, inputs=images, user=user
        )
        return request.fingerprint(backend, host)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
