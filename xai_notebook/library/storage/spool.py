"""The spool: journals on disk for replies that the library has not stored yet.

A reply is paid for when it arrives, and the kernel can be killed at any moment after that.
Therefore, its bytes are appended to the journal of this process before they are parsed. The journal
is emptied when the library has stored all its replies.

Each process holds a file lock on its journal. If a process dies, the next process that opens the
library stores the replies in the journal. Each reply has a random id, so that it is stored only
once, even after several attempts.

A written reply survives a kill, because the operating system has the bytes. To survive a power cut,
the journal is synced before the library inserts the row; one fsync covers all replies appended so
far.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import struct
import threading
import time
import weakref
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.library.storage.lock import is_alive, lock, unlock
from xai_notebook.library.storage.ownership import make_folder, mark_folder, open_private
from xai_notebook.pictures.files import read_bounded, sync_folder, write_all
from xai_notebook.settings import MAX_RECEIVE_BYTES, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LIMIT: Final = 64 << 20
"""Maximum bytes of a journal; a reply that exceeds the limit begins a new journal."""
_HEAD: Final = struct.Struct("<8sIQI")
"""Magic, length of the JSON, length of the reply, CRC-32 of both."""
_MAGIC: Final = b"xaispl1\n"
"""First bytes of an entry. Earlier versions wrote one file with one entry per reply."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
_OPEN: Final = os.O_RDWR | os.O_APPEND
_SUFFIX: Final = ".journal"
_OLD_SUFFIX: Final = ".reply"
_UNREADABLE: Final = ".unreadable"
_ABANDONED_AFTER: Final = 60.0
"""Seconds after which an incomplete file of an earlier version counts as abandoned."""
_CHECK_EVERY: Final = 1.0
"""Seconds between two checks whether the folder was deleted."""
_OLD_LIMIT: Final = MAX_RECEIVE_BYTES + MIB
"""Maximum bytes of an earlier version's file, with a reply and its request."""
_ID: Final = re.compile("[0-9a-f]{32}")
"""Pattern of reply ids."""
_MAX_PID: Final = 1 << 31
_SMALL: Final = 1 << 16
"""Maximum bytes of a body that is written together with its header; a larger one is separate."""
_SPOOLS: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class SpooledReply:
    """A reply in the spool.

    Attributes:
        id: Random, unique id.
        received: Time of arrival in seconds since 1970; approximate, because clocks jump.
        source: The journal with the reply, or the reply's own file if an earlier version wrote it;
            None if the reply could not be written to disk.
    """

    id: str
    received: float
    source: Journal | Path | None = None


@dataclass(eq=False)
class Journal:
    """A file of entries, locked by this process.

    Attributes:
        file: Path of the journal.
        descriptor: File descriptor, open for appending.
        token: Prefix of the ids of its replies.
        start: Size in bytes of the first entry, which names the process that writes the journal.
        size: Bytes of all complete entries.
        synced: Number of bytes known to be durable.
        truncations: How often the journal was emptied; invalidates a sync that began before.
        entries: Offset and length of each reply that the library has not stored yet, keyed by id.
        inherited: Whether a dead process wrote the journal.
        read_only: Whether another machine wrote the journal. It is then never changed.
        count: Number of replies written so far.
        checked: When the process last checked that the file exists, on the monotonic clock.
    """

    file: Path
    descriptor: int
    token: str = field(default_factory=lambda: os.urandom(12).hex())
    start: int = 0
    size: int = 0
    synced: int = 0
    count: int = 0
    truncations: int = 0
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)
    inherited: bool = False
    read_only: bool = False
    checked: float = field(default_factory=time.monotonic)

    def append(self, about: Mapping[str, Any], body: bytes) -> tuple[int, int]:
        """Append an entry, completely or not at all; return its offset and its length.

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        text = json.dumps(about).encode()
        crc = zlib.crc32(body, zlib.crc32(text))
        head = _HEAD.pack(_MAGIC, len(text), len(body), crc) + text
        begin = self.size
        try:
            if len(body) <= _SMALL:
                write_all(self.descriptor, head + body)
            else:
                write_all(self.descriptor, head)
                write_all(self.descriptor, body)
        except BaseException:
            with contextlib.suppress(OSError):  # the CRC reveals an incomplete entry
                os.ftruncate(self.descriptor, begin)
            self.size = os.fstat(self.descriptor).st_size
            raise
        self.size = begin + len(head) + len(body)
        return begin, len(head) + len(body)

    def probe(self, size: int) -> None:
        """Write `size` zeros and remove them again; if a kill leaves them, readers skip zeros.

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        try:
            write_all(self.descriptor, bytes(size))
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            self.size = os.fstat(self.descriptor).st_size

    def read(self, begin: int, length: int) -> bytes:
        """Return a part of the file."""
        if not hasattr(os, "pread"):  # Windows
            with self.file.open("rb") as stream:
                stream.seek(begin)
                return stream.read(length)
        # Do not open the file again: closing any descriptor of it would release a POSIX lock.
        parts = []
        while length and (part := os.pread(self.descriptor, min(length, 1 << 30), begin)):
            parts.append(part)
            begin, length = begin + len(part), length - len(part)
        return b"".join(parts)

    def close(self, *, delete: bool) -> None:
        """Unlock and close the file, and delete it if requested."""
        if delete and os.name != "nt":  # before other processes can lock it
            self._delete()
        unlock(self.descriptor)
        os.close(self.descriptor)
        if delete and os.name == "nt":  # Windows cannot delete an open file
            self._delete()

    def _delete(self) -> None:
        with contextlib.suppress(OSError):  # another process has it open, and will delete it
            self.file.unlink()


class Spool:
    """A folder of journals; this process writes to one of them. Thread-safe.

    Attributes:
        folder: The folder.
        failed: Whether the last reply could not be written.
        journals: Journals that this process has locked.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder
        self.failed = False
        self.journals: list[Journal] = []
        self._journal: Journal | None = None
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._read: set[Path] = set()
        _SPOOLS.add(self)

    def write(self, about: Mapping[str, Any], body: bytes) -> SpooledReply:
        """Append a reply, so that it survives a kill; set `failed` if it cannot be written.

        Args:
            about: Context for interpreting the reply, as JSON values.
            body: The reply as received.
        """
        received = time.time()
        with self._lock:
            try:
                journal = self._journal_for(len(body))
                journal.count += 1
                reply_id = f"{journal.token}{journal.count:08x}"
                entry = journal.append({**about, "received": received, "id": reply_id}, body)
            except OSError:
                self.failed = True
                return SpooledReply(os.urandom(16).hex(), received)
            self.failed = False
            journal.entries[reply_id] = entry
        return SpooledReply(reply_id, received, journal)

    def check(self, size: int) -> None:
        """Check that a reply can be written.

        Args:
            size: Size of the reply in bytes. If the last reply could not be written, this many
                bytes are written and removed again, because only a write reveals a quota.

        Raises:
            OSError: The reply cannot be written.
        """
        with self._lock:
            journal = self._journal_for(0)
            if self.failed:
                journal.probe(size)
                self.failed = False

    def sync(self, replies: Sequence[SpooledReply]) -> list[None]:
        """Make replies durable; on return, they survive a power cut."""
        ends: dict[Journal, int] = {}
        for spooled in replies:
            if isinstance(journal := spooled.source, Journal):
                begin, length = journal.entries.get(spooled.id, (0, 0))
                ends[journal] = max(ends.get(journal, 0), begin + length)
        for journal, end in ends.items():
            with self._syncing:
                if end <= journal.synced:  # another thread has synced while this one waited
                    continue
                size, truncations = journal.size, journal.truncations
                with contextlib.suppress(OSError):  # closed: the library has stored the replies
                    os.fsync(journal.descriptor)
                    if truncations == journal.truncations:
                        journal.synced = max(journal.synced, size)
        return [None] * len(replies)

    def remove(self, *replies: SpooledReply) -> None:
        """Remove replies that the library has stored, or that contain no image."""
        with self._lock:
            for spooled in replies:
                if isinstance(source := spooled.source, Journal):
                    source.entries.pop(spooled.id, None)
                    self._tidy(source)
                elif source is not None:
                    with contextlib.suppress(OSError):  # another kernel was faster
                        source.unlink()

    def set_aside(self, spooled: SpooledReply) -> None:
        """Move an unreadable reply to a separate file, which is not read again."""
        with contextlib.suppress(KeyError, OSError):
            if isinstance(source := spooled.source, Journal):
                self._write_aside(spooled.id, source.read(*source.entries[spooled.id]))
            elif source is not None:
                source.replace(source.with_suffix(_UNREADABLE))
        self.remove(spooled)

    def is_empty(self) -> bool:
        """Tell whether the spool has no replies that this process can store."""
        self.adopt()
        with self._lock:
            waits = any(journal.entries for journal in self.journals)
        return not waits and not _list_files(self.folder, _OLD_SUFFIX)

    def adopt(self) -> bool:
        """Take over the journals of dead processes; tell whether they contain replies."""
        files = _list_files(self.folder, _SUFFIX)
        with self._lock:
            # Some locks do not exclude threads: leave the journals of this process's other spools.
            held = {journal.file for spool in list(_SPOOLS) for journal in [*spool.journals]}
            for file in files:
                if file not in held and file not in self._read:
                    with contextlib.suppress(OSError):
                        self._take_over(file)
            return any(journal.inherited and journal.entries for journal in self.journals)

    def waiting(self) -> Iterator[tuple[SpooledReply, dict[str, Any], bytes]]:
        """Yield each reply with its context and its body, in order of arrival.

        Incomplete entries, left by kernels that were killed while writing, are moved to separate
        files.
        """
        yield from self._waiting_files()
        self.adopt()
        with self._lock:
            journals = sorted(self.journals, key=lambda journal: journal.file.name)
        for journal in journals:
            for reply_id in list(journal.entries):
                try:
                    about, body, _ = _parse(journal.read(*journal.entries[reply_id]))
                except (KeyError, OSError, ValueError):  # the library has stored the reply
                    continue
                yield SpooledReply(reply_id, about["received"], journal), about, body

    def close(self) -> None:
        """Close the journals; the next process stores the remaining replies."""
        with self._lock:
            for journal in self.journals:
                journal.close(delete=not journal.entries and not journal.read_only)
            self._journal, self.journals = None, []

    def after_fork_in_child(self) -> None:
        """Leave the journals to the parent; the child creates its own."""
        for journal in self.journals:
            with contextlib.suppress(OSError):  # the parent keeps the file open and locked
                os.close(journal.descriptor)
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._journal, self.journals = None, []

    def _journal_for(self, size: int) -> Journal:
        """Return the journal for the next entry, whose body has `size` bytes."""
        journal = self._journal
        if journal is not None and journal.size > journal.start and journal.size + size > LIMIT:
            self._journal = None
            self._tidy(journal)
            journal = None
        if journal is not None and (now := time.monotonic()) - journal.checked > _CHECK_EVERY:
            if journal.file.exists():
                journal.checked = now
            else:  # the library was deleted, so a reply in this file would be lost
                journal.entries.clear()
                journal.close(delete=False)
                self.journals.remove(journal)
                self._journal = journal = None
        if journal is None:
            self._journal = journal = self._create_journal()
            self.journals.append(journal)
        return journal

    def _create_journal(self) -> Journal:
        about = {"host": platform.node(), "pid": os.getpid(), "received": 0.0}
        while True:
            # The name begins with the time, so that replies are stored in order of arrival.
            name = f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
            file = self.folder / name
            try:
                descriptor = open_private(file, _CREATE)
            except FileNotFoundError:
                make_folder(self.folder.parent)
                mark_folder(self.folder.parent)
                make_folder(self.folder)
                descriptor = open_private(file, _CREATE)
            journal = Journal(file, descriptor)
            try:
                # Another process may have found the journal before it was locked, and removed it.
                if lock(descriptor) is False or not file.exists():
                    os.close(descriptor)
                    continue
                journal.append(about, b"")
            except BaseException:
                journal.close(delete=True)
                raise
            journal.start = journal.size
            sync_folder(self.folder)
            return journal

    def _tidy(self, journal: Journal) -> None:
        """Empty the current journal, or delete another one, if all its replies are stored."""
        if journal.entries:
            return
        if journal is self._journal:
            if journal.size > journal.start:
                with contextlib.suppress(OSError):  # storing them again changes nothing
                    os.ftruncate(journal.descriptor, journal.start)
                    journal.truncations += 1
                    journal.size = journal.synced = journal.start
        elif journal in self.journals:
            self.journals.remove(journal)
            journal.close(delete=not journal.read_only)

    def _take_over(self, file: Path) -> None:
        """Take over a journal if its process is dead."""
        descriptor = open_private(file, _OPEN)
        locked = lock(descriptor)
        if locked is False or not file.exists():
            os.close(descriptor)
            return
        journal = Journal(file, descriptor, inherited=True)
        try:
            size = os.fstat(descriptor).st_size
            # A single reply can exceed the limit, but a larger file was not written by us.
            if size > LIMIT + _OLD_LIMIT:
                journal.close(delete=False)
                file.replace(file.with_suffix(_UNREADABLE))
                return
            data = journal.read(0, size)
            head, entries, damaged = _entries(data, file.stem)
            if locked is None:  # without locks, only the header names the writer
                if head.get("host") != platform.node():
                    journal.read_only = True
                    self._read.add(file)
                elif head.get("pid") != os.getpid() and is_alive(int(head.get("pid", 0) or 0)):
                    os.close(descriptor)
                    return
            if not journal.read_only:
                for begin, part in damaged:
                    if part.strip(b"\0"):
                        self._write_aside(f"{file.stem}-{begin}", part)
        except BaseException:
            journal.close(delete=False)
            raise
        journal.entries = entries
        journal.size = journal.synced = len(data)
        self.journals.append(journal)
        self._tidy(journal)

    def _write_aside(self, name: str, data: bytes) -> None:
        file = self.folder / f"{name}{_UNREADABLE}"
        try:
            descriptor = open_private(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:  # an earlier attempt has written the file
            return
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def _waiting_files(self) -> Iterator[tuple[SpooledReply, dict[str, Any], bytes]]:
        """Yield replies of earlier versions, which wrote one file per reply."""
        for file in _list_files(self.folder, _OLD_SUFFIX):
            try:
                data = read_bounded(file, _OLD_LIMIT, links=False)
            except OSError:
                continue
            try:
                about, body, _ = _parse(data)
            except ValueError:
                with contextlib.suppress(OSError):
                    if file.stat().st_mtime < time.time() - _ABANDONED_AFTER:
                        self.set_aside(SpooledReply("", 0.0, file))
            else:
                yield SpooledReply(_id_of(file), about["received"], file), about, body


class SpoolReader:
    """Reads the spool of another library, without locks and without changing it.

    Iterating yields each reply with its context and its body, in order of arrival; incomplete
    entries are left out. A living process may store or write replies at the same time.

    Attributes:
        in_use: Whether another living process of this computer has a journal in the spool; set by
            iterating.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist."""
        self.in_use = False
        self._folder = folder

    def __iter__(self) -> Iterator[tuple[SpooledReply, dict[str, Any], bytes]]:
        """Yield the replies; each has its id in the library, but no source to remove it from."""
        for file in _list_files(self._folder, _SUFFIX, _OLD_SUFFIX):
            try:
                data = read_bounded(file, LIMIT + _OLD_LIMIT, links=False)
            except OSError:  # removed by its process, or not one of our files
                continue
            if file.suffix == _OLD_SUFFIX:
                with contextlib.suppress(ValueError):
                    about, body, _ = _parse(data)
                    yield SpooledReply(_id_of(file), about["received"]), about, body
                continue
            head, entries, _ = _entries(data, file.stem)
            if head.get("host") == platform.node() and isinstance(pid := head.get("pid"), int):
                self.in_use |= 0 < pid < _MAX_PID and pid != os.getpid() and is_alive(pid)
            for reply_id, (offset, _) in entries.items():
                about, body, _ = _parse(data, offset)
                yield SpooledReply(reply_id, about["received"]), about, body


def _list_files(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files with one of the suffixes, sorted; empty if the folder cannot be listed."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in suffixes)
    except OSError:
        return []


def _id_of(file: Path) -> str:
    """Return the id of a reply that an earlier version wrote to its own file."""
    return hashlib.sha256(file.name.encode()).hexdigest()[:32]


def _entries(
    data: bytes, name: str
) -> tuple[dict[str, Any], dict[str, tuple[int, int]], list[tuple[int, bytes]]]:
    """Split the content of a journal into entries.

    Args:
        data: Content of the journal.
        name: Prefix for the ids of entries without a valid id.

    Returns:
        The first entry, which names the process that wrote the journal; offset and length of each
        reply, keyed by id; offset and bytes of each unreadable part.
    """
    head: dict[str, Any] = {}
    entries: dict[str, tuple[int, int]] = {}
    damaged: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        try:
            about, _, length = _parse(data, offset)
        except ValueError:
            after = data.find(_MAGIC, offset + 1)
            after = len(data) if after < 0 else after
            damaged.append((offset, data[offset:after]))
            offset = after
            continue
        if offset == 0 and "id" not in about:
            head = about
        else:
            reply_id = str(about.get("id"))
            valid = _ID.fullmatch(reply_id)  # the id may become a file name
            entries[reply_id if valid else f"{name}-{offset}"] = (offset, length)
        offset += length
    return head, entries, damaged


def _parse(data: bytes, offset: int = 0) -> tuple[dict[str, Any], bytes, int]:
    """Return the context and the body of the entry at an offset, and the length of the entry.

    Raises:
        ValueError: The entry is incomplete or damaged.
    """
    if len(data) - offset < _HEAD.size:
        raise ValueError("no header")
    magic, size, length, crc = _HEAD.unpack_from(data, offset)
    begin = offset + _HEAD.size
    middle, end = begin + size, begin + size + length
    if magic != _MAGIC or len(data) < end:
        raise ValueError("incomplete")
    text, body = data[begin:middle], data[middle:end]
    if zlib.crc32(body, zlib.crc32(text)) != crc:
        raise ValueError("incomplete")
    about = bounds.parsed(text)
    if not isinstance(about, dict) or not isinstance(about.get("received"), float):
        raise ValueError("unknown")  # noqa: TRY004  # the content is wrong
    return about, body, end - offset


def _after_fork_in_child() -> None:
    for spool in list(_SPOOLS):
        spool.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
