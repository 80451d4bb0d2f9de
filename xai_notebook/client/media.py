"""What some bytes are: the kind of image, and the parts its file is made of. Without Pillow."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXTENSIONS",
    "Part",
    "bare",
    "check_structure",
    "check_tags",
    "dimensions",
    "media_type",
    "parts_of",
    "readable",
]

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

_MAX_TEXT: Final = 1 << 20
"""Bytes of all texts of a PNG, inflated, and of its profile: Pillow refuses longer ones."""
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
"""Chunks of a PNG that hold text."""
_MAX_KEPT: Final = 1 << 16
"""Bytes of Exif in a file that is stripped: one segment of a JPEG has no more."""
_OF_PNG: Final = {b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP"}
"""Ancillary chunks of a PNG that say how its pixels look."""
_OF_JPEG: Final = {
    b"\xff\xe0": b"JFIF\0", b"\xff\xe1": b"Exif\0", b"\xff\xe2": b"ICC_PROFILE\0",
    b"\xff\xee": b"Adobe",
}  # fmt: skip
"""Application segments of a JPEG that do the same, by how they begin."""
_OF_WEBP: Final = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF", b"EXIF"}
_HAS_XMP: Final = 0x04
"""In the flags of a WebP."""
_IN_SCAN: Final = re.compile(b"\xff[\x01-\xcf\xd9-\xfe]")
"""A marker behind the compressed data of a scan."""
_TYPES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
    17: 8, 18: 8,
}  # fmt: skip
"""Bytes of a value in a TIFF, by its type."""
_NESTED: Final = {330, 34665, 34853, 40965}
"""Tags of a TIFF that point to more tags."""
_STRIPS: Final = {273, 324}
"""Tags of a TIFF that say where its strips or tiles are."""
_MAX_STRIPS: Final = 1 << 18
_MAX_TAGS: Final = 1 << 12

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


def readable(data: bytes) -> bytes:
    """Check the parts of an image, and return it without what keeps Pillow from opening it.

    Pillow takes a text of a PNG that inflates to more than a megabyte for an attack and opens
    nothing: such texts and profiles are left out. Everything else is returned as it is.

    Raises:
        ValueError: As `parts_of`.
    """
    is_png = media_type(data) == "image/png"
    room, dropped = _MAX_TEXT, []
    for part in parts_of(data):
        if not is_png:
            continue
        body = data[part.body : part.end] if part.kind in {*_TEXTS, b"iCCP"} else b""
        if part.kind in _TEXTS:
            length = _inflated(part.kind, body, room) if room >= 0 else _MAX_TEXT
            if length > room:
                dropped.append(part)
            room -= length
        elif part.kind == b"iCCP" and _inflated(part.kind, body, _MAX_TEXT) > _MAX_TEXT:
            dropped.append(part)
    return _without(data, dropped)


def _inflated(kind: bytes, body: bytes, limit: int) -> int:
    """Return the bytes of a text or profile, inflated, if these are at most `limit`; else more."""
    if kind == b"tEXt":
        return len(body)
    pieces = body.split(b"\0", 1)
    if kind == b"iTXt":
        if len(pieces) > 1 and not pieces[1].startswith(b"\1"):
            return len(body)
        pieces = body.split(b"\0", 4)  # keyword, flag and method, language, its keyword, text
        compressed = pieces[-1]
    else:
        compressed = pieces[-1][1:]
    inflate = zlib.decompressobj()
    try:
        return len(inflate.decompress(compressed, limit + 1))
    except zlib.error:
        return 0


def bare(data: bytes) -> bytes:
    """Return a JPEG, PNG or WebP as its pixels and what says how they look; others as they are.

    Comments, texts, XMP, previews, depth maps, films and further frames are left out. No pixel is
    encoded anew.

    Raises:
        ValueError: As `parts_of`.
    """
    kind = media_type(data)
    parts = list(parts_of(data))
    if not parts:
        return data
    if kind == "image/png":
        dropped = [part for part in parts if _is_idle_chunk(part)]
        return _without(data[: parts[-1].next] if parts[-1].kind == b"IEND" else data, dropped)
    if kind == "image/jpeg":
        dropped, exif = [], False
        for part in parts:
            if part.kind == b"\xff\xfe" or b"\xff\xe0" <= part.kind <= b"\xff\xef":
                begins = _OF_JPEG.get(part.kind)
                again = part.kind == b"\xff\xe1" and exif
                if begins is None or again or not data.startswith(begins, part.body):
                    dropped.append(part)
                elif part.kind == b"\xff\xe1":
                    exif = True
        return _without(data[: _end_of_jpeg(data, parts[-1])], dropped)
    if kind == "image/webp":
        dropped = [
            part
            for part in parts
            if part.kind not in _OF_WEBP
            or (part.kind == b"EXIF" and part.end - part.body > _MAX_KEPT)
        ]
        kept = bytearray(_without(data, dropped))
        kept[4:8] = (len(kept) - 8).to_bytes(4, "little")
        if kept[12:16] == b"VP8X":
            kept[20] &= ~_HAS_XMP
        return bytes(kept)
    return data


def _is_idle_chunk(part: Part) -> bool:
    """Tell whether a chunk of a PNG says nothing about the pixels of its first frame."""
    if part.kind == b"eXIf":
        return part.end - part.body > _MAX_KEPT
    return part.kind.isalpha() and part.kind[:1].islower() and part.kind not in _OF_PNG


def _end_of_jpeg(data: bytes, last: Part) -> int:
    """Return where the first picture of a JPEG ends; others, or a film, can stand behind it."""
    at = last.next
    for _ in range(_MAX_SEGMENTS):
        found = _IN_SCAN.search(data, at)
        if found is None:
            break
        at = found.end()
        if found[0] == _EOI:
            return at
        at += int.from_bytes(data[at : at + 2], "big")
    return len(data)


def _without(data: bytes, dropped: list[Part]) -> bytes:
    """Return `data` without some of its parts."""
    if not dropped:
        return data
    starts = [0, *(part.next for part in dropped)]
    ends = [*(part.start for part in dropped), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))


def check_tags(data: bytes) -> dict[int, int]:
    """Look for what keeps a reader of TIFF tags busy: many tags that all name the same megabytes.

    Args:
        data: A TIFF, or Exif, which is built like one.

    Returns:
        The tags of the first picture and the first number of each, or where its value is.

    Raises:
        ValueError: There are more tags, or longer ones, than any real file has. The message is
            half a sentence.
    """
    little = data.startswith(b"II")
    big = data[2:4] in {b"\x2b\0", b"\0\x2b"}
    order, width = "<" if little else ">", 8 if big else 4
    head, entry = struct.Struct(order + "HQ"[big]), struct.Struct(order + ("HHI4s", "HHQ8s")[big])
    size = total = 0
    first: dict[int, int] = {}
    try:
        waiting = [*struct.unpack_from(order + "IQ"[big], data, width)]
        for at in waiting:
            (count,) = head.unpack_from(data, at)
            total += count
            if total > _MAX_TAGS or len(waiting) > _MAX_TAGS:
                raise ValueError(f"more than {_MAX_TAGS:,} tags")
            begin = at + head.size
            found = {}
            for position in range(begin, begin + count * entry.size, entry.size):
                tag, kind, number, raw = entry.unpack_from(data, position)
                length = number * _TYPES.get(kind, 0)
                size += length
                if tag in _STRIPS and number > _MAX_STRIPS:
                    raise ValueError(f"more than {_MAX_STRIPS:,} strips")
                inline = _TYPES.get(kind, 0) if length <= width else width
                found[tag] = int.from_bytes(raw[:inline], "little" if little else "big")
                if tag in _NESTED and number == 1:
                    waiting.append(found[tag])
            first = first or found
    except struct.error:
        return first  # what is cut off is found by the decoder
    if size > len(data):
        raise ValueError("tags with more bytes than the file has")
    return first
