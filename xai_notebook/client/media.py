"""What some bytes are: the kind of image, and the parts its file is made of. Without Pillow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXTENSIONS", "Part", "check_structure", "dimensions", "media_type", "parts_of"]

_SOS, _EOI = b"\xff\xda", b"\xff\xd9"
_START_OF_FRAME: Final = {bytes((0xFF, kind)) for kind in range(0xC0, 0xD0)} - {
    b"\xff\xc4",
    b"\xff\xc8",
    b"\xff\xcc",
}
_BARE: Final = {bytes((0xFF, kind)) for kind in range(0xD0, 0xD9)}
"""Markers without a length: restarts and the start of an image."""
_MARKER: Final = re.compile(b"\xff[^\xff\x00]")
_MAX_SEGMENTS: Final = 4096
_MAX_PADDING: Final = 1 << 16
"""Bytes between the segments of a JPEG; there are hardly ever any."""
_MAX_CHUNKS: Final = 1 << 16
_MAX_SCANNED: Final = 1 << 30
"""Pixels of a JPEG times its scans: each scan goes over all of them, and a progressive picture has
about ten."""
_MIN_PIXELS: Final = 1 << 20
"""What a scan of a small picture counts as."""

EXTENSIONS: Final = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
}


def media_type(data: bytes) -> str | None:
    """Return the media type that the first bytes of `data` speak of; None: no image we know."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[4:12] == b"ftypavif":
        return "image/avif"
    return None


class Part(NamedTuple):
    """A segment of a JPEG, or a chunk of a PNG or WebP.

    Attributes:
        kind: The two bytes of the marker, or the four of the chunk's name.
        start: Where it begins in the file.
        body: Where its content begins.
        end: Where its content ends.
        next: Where the part after it begins.
    """

    kind: bytes
    start: int
    body: int
    end: int
    next: int


def parts_of(data: bytes) -> Iterator[Part]:
    """Yield the parts of a JPEG up to its first scan, or of a PNG or WebP up to its end.

    The last part of a file whose structure is whole is the start of scan of a JPEG (or its end, if
    there is none), `IEND` of a PNG, and of a WebP the one that ends where the file does. The time
    is linear in the bytes, and small for what is only padded.

    Raises:
        ValueError: There are more parts, or more padding, than any real file has.
    """
    kind = media_type(data)
    if kind == "image/jpeg":
        return _segments(data)
    if kind == "image/png":
        return _png_chunks(data)
    return _riff_chunks(data) if kind == "image/webp" else iter(())


def _segments(data: bytes) -> Iterator[Part]:
    at, padding = 2, 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at, at + _MAX_PADDING + 2)
        if found is None:  # there is too much, or nothing more
            padding += len(data) - at
            break
        start = found.start()
        padding += start - at
        kind, body = data[start : start + 2], start + 4
        if padding > _MAX_PADDING:
            break
        if kind in _BARE:
            at = start + 2
            continue
        if kind == _EOI:
            yield Part(kind, start, start + 2, start + 2, start + 2)
            return
        # A length below 2 is none: decoders go on behind it, and so must the count of padding.
        end = max(body, start + 2 + int.from_bytes(data[start + 2 : body], "big"))
        if end > len(data):
            return
        yield Part(kind, start, body, end, end)
        if kind == _SOS:
            return
        at = end
    else:
        raise ValueError(f"more than {_MAX_SEGMENTS} segments")
    if padding > _MAX_PADDING:
        raise ValueError(f"more than {_MAX_PADDING:,} bytes between segments")


def _png_chunks(data: bytes) -> Iterator[Part]:
    at = 8
    for _ in range(_MAX_CHUNKS):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        kind = data[at + 4 : at + 8]
        yield Part(kind, at, at + 8, end, end + 4)
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError(f"more than {_MAX_CHUNKS} chunks")


def _riff_chunks(data: bytes) -> Iterator[Part]:
    at = 12
    for _ in range(_MAX_CHUNKS):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 > len(data) or end > len(data):
            return
        yield Part(data[at : at + 4], at, at + 8, end, end + end % 2)
        at = end + end % 2
    raise ValueError(f"more than {_MAX_CHUNKS} chunks")


def check_structure(data: bytes) -> None:
    """Look for what keeps a decoder busy for minutes: bytes of padding, tiny parts, empty scans.

    Raises:
        ValueError: A JPEG, PNG or WebP has more of them than any real file, or a JPEG no scan. The
            message is half a sentence.
    """
    last = None
    for part in parts_of(data):
        last = part
    if media_type(data) != "image/jpeg":
        return
    if last is None or last.kind != _SOS:
        raise ValueError("no scan")
    width, height = dimensions(data) or (0, 0)
    scans = data.count(_SOS, last.start)
    if scans * max(width * height, _MIN_PIXELS) > _MAX_SCANNED:
        raise ValueError(f"{scans:,} scans")


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Return the width and height in pixels that a JPEG's or PNG's header names; None: unknown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        for part in _segments(data):
            if part.kind in _START_OF_FRAME and part.end - part.body >= 5:  # noqa: PLR2004
                head = data[part.body : part.body + 5]
                return int.from_bytes(head[3:5], "big"), int.from_bytes(head[1:3], "big")
    except ValueError:
        pass
    return None
