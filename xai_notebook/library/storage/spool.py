"""Replies as they came over the wire, in a journal on disk until the library has them.

A reply has been paid for the moment its last byte has come, and a kernel can be killed in any
moment after that. So its bytes are appended to this process' journal before anything looks at
them: one write, no new file. When the library has all replies of a journal, the journal is
emptied. A process holds an operating system's lock on its journal; what dead processes left is put
into the library by the next one that opens it, as is what a library that could not be written to
did not take. Each reply has a random id, so that it goes in once however often that is tried.

To outlive a kill a write is enough: the system has the bytes. To outlive a power cut the journal is
made durable before the library gets the row; one fsync does it for all replies appended by then.
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
from xai_notebook.library.storage.blobs import sync_folder
from xai_notebook.library.storage.lock import is_alive, lock, unlock
from xai_notebook.library.storage.ownership import claim, make_folder, open_private
from xai_notebook.pictures.files import read_bounded
from xai_notebook.settings import MAX_RECEIVE_BYTES, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Spool", "SpooledReply"]

LIMIT: Final = 64 << 20
"""Bytes of a journal, after which the next reply begins a new one."""
_HEAD: Final = struct.Struct("<8sIQI")
"""Magic, bytes of JSON, bytes of the reply, CRC-32 of both."""
_MAGIC: Final = b"xaispl1\n"
"""Begins an entry. A file of one such entry is what earlier versions made of each reply."""
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
_OPEN: Final = os.O_RDWR | os.O_APPEND
_SUFFIX: Final = ".journal"
_OLD_SUFFIX: Final = ".reply"
_UNREADABLE: Final = ".unreadable"
_WRITTEN_IN: Final = 60.0
"""Seconds after which an old version's file that is not whole is no longer being written."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether the folder was deleted."""
_OLD_LIMIT: Final = MAX_RECEIVE_BYTES + MIB
"""Bytes of an earlier version's file: a reply, and what was asked."""
_ID: Final = re.compile("[0-9a-f]{32}")
"""Ids of replies."""
_SMALL: Final = 1 << 16
"""Bytes that are copied into one write; more take two."""
_SPOOLS: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class SpooledReply:
    """A reply that has arrived.

    Attributes:
        id: Random: what tells it from every other reply.
        received: When it came, in seconds since 1970. Clocks jump, so this is only information.
        journal: Where it is; None: it could not be written.
        file: The file of its own that an earlier version gave it.
    """

    id: str
    received: float
    journal: Journal | None = None
    file: Path | None = None

    @property
    def kept(self) -> bool:
        """Whether it is on disk."""
        return self.journal is not None or self.file is not None


@dataclass(eq=False)
class Journal:
    """One file of entries that this process holds the lock of.

    Attributes:
        file: Where.
        descriptor: Open for appending.
        token: Begins the ids of its replies.
        start: Bytes of its header entry.
        size: Bytes that have been written whole.
        synced: Bytes known to be durable.
        truncations: How often it was emptied: a sync that began before that says nothing after it.
        entries: Where the replies are that the library does not have: first byte and length.
        inherited: Taken over from a dead process.
        keep: It is another machine's: it is read and never changed.
        count: Replies written so far.
        seen: When its name was last seen, on the monotonic clock.
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
    keep: bool = False
    seen: float = field(default_factory=time.monotonic)

    def append(self, head: bytes, body: bytes) -> int:
        """Append an entry whole or not at all, and return where it begins.

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        begin = self.size
        try:
            if len(body) <= _SMALL:
                _write(self.descriptor, head + body)
            else:
                _write(self.descriptor, head)
                _write(self.descriptor, body)
        except BaseException:
            with contextlib.suppress(OSError):  # a torn entry is seen by its CRC
                os.ftruncate(self.descriptor, begin)
            self.size = os.fstat(self.descriptor).st_size
            raise
        self.size = begin + len(head) + len(body)
        return begin

    def sync(self) -> None:
        """Make durable what has been appended.

        Raises:
            OSError: The disk fails.
        """
        size, truncations = self.size, self.truncations
        os.fsync(self.descriptor)
        if truncations == self.truncations:
            self.synced = max(self.synced, size)

    def read(self, reply_id: str) -> bytes:
        """Return an entry.

        Raises:
            OSError: It cannot be read.
        """
        begin, length = self.entries[reply_id]
        return _read(self.descriptor, self.file, begin, length)

    def empty(self) -> None:
        """Truncate it: the library has all that was in it."""
        if self.size > self.start:
            with contextlib.suppress(OSError):  # then it is put in again, which changes nothing
                os.ftruncate(self.descriptor, self.start)
                self.truncations += 1
                self.size = self.synced = self.start

    def close(self, *, delete: bool) -> None:
        """Close it and let others have it."""
        if delete and os.name != "nt":  # first: no other process may take it in between
            self._delete()
        unlock(self.descriptor)
        os.close(self.descriptor)
        if delete and os.name == "nt":  # an open file cannot be deleted
            self._delete()

    def is_in_place(self) -> bool:
        """Tell whether it still has its name: else what is written to it would be lost."""
        now = time.monotonic()
        if now - self.seen > _LOOK_EVERY:
            if not self.file.exists():
                return False
            self.seen = now
        return True

    def _delete(self) -> None:
        with contextlib.suppress(OSError):  # another process reads it, and will delete it
            self.file.unlink()


class Spool:
    """A folder of journals, one of which is this process' own. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder
        self.failed = False
        """Whether the last reply could not be written."""
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._journal: Journal | None = None
        self._others: list[Journal] = []
        self._read: set[Path] = set()
        _SPOOLS.add(self)

    def write(self, about: Mapping[str, Any], body: bytes) -> SpooledReply:
        """Append a reply; when this returns, it outlives a kill. A disk that is full is no error.

        Args:
            about: What is needed to make sense of it, as JSON can hold it.
            body: As it came.
        """
        received = time.time()
        with self._lock:
            try:
                journal = self._current(len(body))
                journal.count += 1
                reply_id = f"{journal.token}{journal.count:08x}"
                head = _head({**about, "received": received, "id": reply_id}, body)
                begin = journal.append(head, body)
            except OSError:
                self.failed = True
                return SpooledReply(os.urandom(16).hex(), received)
            self.failed = False
            journal.entries[reply_id] = (begin, len(head) + len(body))
        return SpooledReply(reply_id, received, journal)

    def check(self, size: int) -> None:
        """Check that a reply can be written.

        Args:
            size: Its bytes. They are tried out if the last reply could not be written: a quota is
                seen in no other way.

        Raises:
            OSError: It cannot.
        """
        with self._lock:
            journal = self._current(0)
            if self.failed:
                begin = journal.append(b"", bytes(size))
                os.ftruncate(journal.descriptor, begin)
                journal.size = begin
                self.failed = False

    def sync(self, replies: Sequence[SpooledReply]) -> list[None]:
        """Make replies durable. When this returns, they outlive a power cut."""
        ends: dict[Journal, int] = {}
        for one in replies:
            if one.journal is not None:
                begin, length = one.journal.entries.get(one.id, (0, 0))
                ends[one.journal] = max(ends.get(one.journal, 0), begin + length)
        for journal, end in ends.items():
            with self._syncing:  # those that wait here are mostly done by the one before them
                if end > journal.synced:
                    with contextlib.suppress(OSError):  # closed: the library has it by now
                        journal.sync()
        return [None] * len(replies)

    def remove(self, *replies: SpooledReply) -> None:
        """Forget replies that the library has, or that hold nothing."""
        with self._lock:
            for spooled in replies:
                if spooled.file is not None:
                    with contextlib.suppress(OSError):  # another kernel was faster
                        spooled.file.unlink()
                if (journal := spooled.journal) is not None:
                    journal.entries.pop(spooled.id, None)
                    self._tidy(journal)

    def set_aside(self, spooled: SpooledReply) -> None:
        """Keep what cannot be made sense of in a file of its own, and look at it no more."""
        with contextlib.suppress(KeyError, OSError):
            if spooled.file is not None:
                spooled.file.replace(spooled.file.with_suffix(_UNREADABLE))
            elif spooled.journal is not None:
                self._put_aside(spooled.id, spooled.journal.read(spooled.id))
        self.remove(spooled)

    def is_empty(self) -> bool:
        """Tell whether no reply waits that this process can put into the library."""
        self._adopt()
        with self._lock:
            waits = any(journal.entries for journal in self.journals())
        return not waits and not self._old_files()

    def has_heritage(self) -> bool:
        """Tell whether a process has died and left replies in its journal."""
        self._adopt()
        with self._lock:
            return any(journal.inherited and journal.entries for journal in self._others)

    def waiting(self) -> Iterator[tuple[SpooledReply, dict[str, Any], bytes]]:
        """Yield replies with what was said about them, in the order they came.

        What is not whole, because its kernel was killed while it wrote, is set aside.
        """
        yield from self._waiting_files()
        self._adopt()
        with self._lock:
            journals = sorted(self.journals(), key=lambda journal: journal.file.name)
        for journal in journals:
            for reply_id in list(journal.entries):
                try:
                    about, body = _parse(journal.read(reply_id))
                except (KeyError, OSError, ValueError):  # the library has it by now
                    continue
                yield SpooledReply(reply_id, about["received"], journal), about, body

    def close(self) -> None:
        """Let other processes have the journals; what is still in them waits for the next one."""
        with self._lock:
            for journal in self.journals():
                journal.close(delete=not journal.entries and not journal.keep)
            self._journal, self._others = None, []

    def after_fork_in_child(self) -> None:
        """Leave the journals to the parent: a child begins its own."""
        for journal in self.journals():
            with contextlib.suppress(OSError):  # the parent's lock stays: it has the file open
                os.close(journal.descriptor)
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._journal, self._others = None, []

    def journals(self) -> list[Journal]:
        """Return the journals that this spool holds."""
        return [*self._others, *([] if self._journal is None else [self._journal])]

    def _current(self, size: int) -> Journal:
        """Return the journal to append to.

        Raises:
            OSError: It cannot be made.
        """
        journal = self._journal
        if journal is not None and journal.size > journal.start and journal.size + size > LIMIT:
            self._others.append(journal)
            self._journal = journal = None
            self._tidy(self._others[-1])
        if journal is None or not journal.is_in_place():
            if journal is not None:  # the library was deleted
                journal.entries.clear()
                journal.close(delete=False)
            self._journal = None
            self._journal = journal = self._begin()
        return journal

    def _begin(self) -> Journal:
        about = {"host": platform.node(), "pid": os.getpid(), "received": 0.0}
        while True:
            # By the time, so that they go into the library in the order they came.
            name = f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
            file = self.folder / name
            try:
                descriptor = open_private(file, _CREATE)
            except FileNotFoundError:
                make_folder(self.folder.parent)
                claim(self.folder.parent)
                make_folder(self.folder)
                descriptor = open_private(file, _CREATE)
            journal = Journal(file, descriptor)
            try:
                # Another process may have found it before it was locked, and taken it away.
                if lock(descriptor) is False or not file.exists():
                    os.close(descriptor)
                    continue
                journal.append(_head(about, b""), b"")
            except BaseException:
                journal.close(delete=True)
                raise
            journal.start = journal.size
            sync_folder(self.folder)
            return journal

    def _tidy(self, journal: Journal) -> None:
        """Empty the own journal, and delete any other, when the library has all that is in it."""
        if journal.entries:
            return
        if journal is self._journal:
            journal.empty()
        elif journal in self._others:
            self._others.remove(journal)
            journal.close(delete=not journal.keep)

    def _adopt(self) -> None:
        """Take the journals of dead processes over."""
        try:
            files = sorted(file for file in self.folder.iterdir() if file.suffix == _SUFFIX)
        except OSError:
            return
        with self._lock:
            ours = {journal.file for journal in self.journals()} | self._read
            for file in files:
                if file not in ours and not _is_held_here(file, self):
                    with contextlib.suppress(OSError):
                        self._take_over(file)

    def _take_over(self, file: Path) -> None:
        """Take a journal over, if its process is dead.

        Raises:
            OSError: It cannot be read.
        """
        descriptor = open_private(file, _OPEN)
        taken = lock(descriptor)
        if taken is False or not file.exists():
            os.close(descriptor)
            return
        journal = Journal(file, descriptor, inherited=True)
        try:
            size = os.fstat(descriptor).st_size
            if size > LIMIT + _OLD_LIMIT:  # none of ours: after its limit only one reply comes
                journal.close(delete=False)
                file.replace(file.with_suffix(_UNREADABLE))
                return
            data = _read(descriptor, file, 0, size)
            head, found, damaged = _entries(data, file.stem)
            if taken is None:  # without locks, only its header names the writer
                if head.get("host") != platform.node():
                    journal.keep = True
                    self._read.add(file)
                elif head.get("pid") != os.getpid() and is_alive(int(head.get("pid", 0) or 0)):
                    os.close(descriptor)
                    return
            if not journal.keep:
                for begin, part in damaged:
                    if part.strip(b"\0"):
                        self._put_aside(f"{file.stem}-{begin}", part)
        except BaseException:
            journal.close(delete=False)
            raise
        journal.entries = found
        journal.size = journal.synced = len(data)
        self._others.append(journal)
        self._tidy(journal)

    def _put_aside(self, name: str, data: bytes) -> None:
        file = self.folder / f"{name}{_UNREADABLE}"
        try:
            descriptor = open_private(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:  # put aside before
            return
        try:
            _write(descriptor, data)
        finally:
            os.close(descriptor)

    # What earlier versions wrote: a file for each reply

    def _waiting_files(self) -> Iterator[tuple[SpooledReply, dict[str, Any], bytes]]:
        for file in self._old_files():
            try:
                data = read_bounded(file, _OLD_LIMIT, links=False)
            except OSError:
                continue
            try:
                about, body = _parse(data)
            except ValueError:
                with contextlib.suppress(OSError):
                    if file.stat().st_mtime < time.time() - _WRITTEN_IN:
                        self.set_aside(SpooledReply("", 0.0, file=file))
            else:
                reply_id = hashlib.sha256(file.name.encode()).hexdigest()[:32]
                yield SpooledReply(reply_id, about["received"], file=file), about, body

    def _old_files(self) -> list[Path]:
        try:
            return sorted(file for file in self.folder.iterdir() if file.suffix == _OLD_SUFFIX)
        except OSError:
            return []


def _is_held_here(file: Path, spool: Spool) -> bool:
    """Tell whether another spool of this process has a journal: some locks do not tell threads."""
    return any(
        journal.file == file
        for other in list(_SPOOLS)
        if other is not spool
        for journal in other.journals()
    )


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _head(about: Mapping[str, Any], body: bytes) -> bytes:
    """Return what stands before the bytes of a reply."""
    text = json.dumps(about).encode()
    crc = zlib.crc32(body, zlib.crc32(text))
    return _HEAD.pack(_MAGIC, len(text), len(body), crc) + text


def _read(descriptor: int, file: Path, begin: int, length: int) -> bytes:
    """Return bytes of an open file.

    Raises:
        OSError: It cannot be read.
    """
    if not hasattr(os, "pread"):  # Windows
        with file.open("rb") as stream:
            stream.seek(begin)
            return stream.read(length)
    # Opening and closing it once more could give up its lock: that is how POSIX has it.
    parts = []
    while length and (part := os.pread(descriptor, min(length, 1 << 30), begin)):
        parts.append(part)
        begin, length = begin + len(part), length - len(part)
    return b"".join(parts)


def _entries(
    data: bytes, name: str
) -> tuple[dict[str, Any], dict[str, tuple[int, int]], list[tuple[int, bytes]]]:
    """Return the header of a journal, where its entries are, and the parts that cannot be read."""
    head: dict[str, Any] = {}
    found: dict[str, tuple[int, int]] = {}
    damaged: list[tuple[int, bytes]] = []
    place = 0
    while place < len(data):
        try:
            length = _length(data, place)
            about, _ = _parse(data[place : place + length])
        except ValueError:
            after = data.find(_MAGIC, place + 1)
            after = len(data) if after < 0 else after
            damaged.append((place, data[place:after]))
            place = after
            continue
        if place == 0 and "id" not in about:
            head = about
        else:
            # Unreadable parts are yielded too: the reader sets them aside.
            reply_id = str(about.get("id"))
            known = _ID.fullmatch(reply_id)  # it may become the name of a file
            found[reply_id if known else f"{name}-{place}"] = (place, length)
        place += length
    return head, found, damaged


def _length(data: bytes, place: int) -> int:
    """Return the bytes of the entry that begins at a place.

    Raises:
        ValueError: It is not whole.
    """
    if len(data) - place < _HEAD.size:
        raise ValueError("no header")
    magic, size, length, _ = _HEAD.unpack_from(data, place)
    total = _HEAD.size + size + length
    if magic != _MAGIC or len(data) - place < total:
        raise ValueError("not whole")
    return int(total)


def _parse(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the parts of an entry.

    Raises:
        ValueError: It is not whole.
    """
    if _length(data, 0) != len(data):
        raise ValueError("not whole")
    _, size, _, crc = _HEAD.unpack_from(data)
    end = _HEAD.size + size
    text, body = data[_HEAD.size : end], data[end:]
    if zlib.crc32(body, zlib.crc32(text)) != crc:
        raise ValueError("not whole")
    about = bounds.parsed(text)
    if not isinstance(about, dict) or not isinstance(about.get("received"), float):
        raise ValueError("not ours")  # noqa: TRY004  # it is the content that is wrong
    return about, body


def _after_fork() -> None:
    for spool in list(_SPOOLS):
        spool.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
