"""Replies as they came over the wire, on disk until the library has them.

A reply has been paid for the moment its last byte has come, and a kernel can be killed in any
moment after that. So its bytes are written before anything looks at them, as one file, and the file
goes when the library has the originals and the row. What is left belongs to a killed kernel, or to
a library that could not be written to for a while: it is put in when a library is opened next.

To outlive a kill a write is enough: the system has the bytes. To outlive a power cut they are made
durable right after that, while originals and row are still being made.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.library.originals import sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Spool", "Spooled"]

_HEAD: Final = struct.Struct("<8sIQI")
"""Magic, bytes of JSON, bytes of the reply, CRC-32 of both."""
_MAGIC: Final = b"xaispl1\n"
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_SUFFIX: Final = ".reply"
_WRITTEN_IN: Final = 60.0
"""Seconds after which a file that is not whole is no longer being written."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A reply on disk.

    Attributes:
        file: Where it is; None: it could not be written.
        received: When it came, in seconds since 1970: with its fingerprint, what tells it from
            every other reply.
    """

    file: Path | None
    received: float
    id: str | None = None


class Spool:
    """A folder of replies."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which need not exist yet."""
        self.folder = folder

    def write(self, about: Mapping[str, Any], body: bytes) -> Spooled:
        """Write a reply; when this returns, it outlives a kill. A disk that is full is no error.

        Args:
            about: What is needed to make sense of it, as JSON can hold it.
            body: As it came.
        """
        received = time.time()
        text = json.dumps({**about, "received": received}).encode()
        crc = zlib.crc32(body, zlib.crc32(text))
        # By the time, so that they go into the library in the order they came.
        file = self.folder / f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
        try:
            self._write(str(file), _HEAD.pack(_MAGIC, len(text), len(body), crc) + text, body)
        except OSError:
            with contextlib.suppress(OSError):
                file.unlink()
            return Spooled(None, received, file.stem)
        return Spooled(file, received, file.stem)

    def _write(self, file: str, *parts: bytes) -> None:
        try:
            descriptor = os.open(file, _CREATE, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, _CREATE, 0o600)
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)

    def sync(self, replies: Sequence[Spooled]) -> list[None]:
        """Make replies durable that are still here. When this returns, they outlive a power cut."""
        for spooled in replies:
            if spooled.file is not None:
                with contextlib.suppress(OSError):  # the library has it by now
                    sync_file(spooled.file)
        sync_folder(self.folder)
        return [None] * len(replies)

    def remove(self, spooled: Spooled) -> None:
        """Forget a reply that the library has, or that holds nothing."""
        if spooled.file is not None:
            with contextlib.suppress(OSError):  # another kernel was faster
                spooled.file.unlink()

    def is_empty(self) -> bool:
        """Tell whether no reply waits."""
        return not self._files()

    def waiting(self) -> Iterator[tuple[Spooled, dict[str, Any], bytes]]:
        """Yield replies with what was said about them, in the order they came.

        A file that is not whole, because its kernel was killed while it wrote, is set aside.
        """
        for file in self._files():
            try:
                data = file.read_bytes()
            except OSError:
                continue
            try:
                about, body = _read(data)
            except ValueError:
                with contextlib.suppress(OSError):
                    if file.stat().st_mtime < time.time() - _WRITTEN_IN:
                        self.set_aside(Spooled(file, 0.0))
            else:
                yield Spooled(file, about["received"], file.stem), about, body

    def set_aside(self, spooled: Spooled) -> None:
        """Keep a file that cannot be made sense of, and look at it no more."""
        if spooled.file is not None:
            with contextlib.suppress(OSError):
                spooled.file.replace(spooled.file.with_suffix(".unreadable"))

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self.folder.iterdir() if file.suffix == _SUFFIX)
        except OSError:
            return []


def _read(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the parts of a file.

    Raises:
        ValueError: It is not whole.
    """
    if len(data) < _HEAD.size:
        raise ValueError("no header")
    magic, size, length, crc = _HEAD.unpack_from(data)
    end = _HEAD.size + size
    text, body = data[_HEAD.size : end], data[end:]
    if magic != _MAGIC or len(body) != length or zlib.crc32(body, zlib.crc32(text)) != crc:
        raise ValueError("not whole")
    about = json.loads(text)
    if not isinstance(about, dict) or not isinstance(about.get("received"), float):
        raise ValueError("not ours")  # noqa: TRY004  # it is the content that is wrong
    return about, body
