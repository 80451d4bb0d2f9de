"""XMP packets in JPEG and PNG files, put in and taken out without touching the pixels.

By hand, because nothing on offer fits: Pillow writes XMP only when it encodes the image again, and
the libraries that don't are bindings to exiv2 (GPL) or exempi (a system library). Both containers
are lists of labelled lengths, and everything but the XMP is copied byte for byte.

WebP and GIF are left as they are: the API makes neither.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook.media import media_type

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_JPEG_PACKET", "MAX_PACKET", "find_packet", "replace_packet"]

MAX_PACKET: Final = 4 << 20
"""Largest packet read, in bytes; what a photo tool writes is a thousandth of it."""
_JPEG_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
MAX_JPEG_PACKET: Final = 0xFFFF - 2 - len(_JPEG_HEADER)
"""Largest packet that fits into a JPEG segment, in bytes: its length field has 16 bits."""
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD: Final = b"XML:com.adobe.xmp\0"
_MARKER, _SOS, _EOI, _APP0, _APP1 = 0xFF, 0xDA, 0xD9, 0xE0, 0xE1


class _Part(NamedTuple):
    """A JPEG segment or a PNG chunk."""

    start: int
    end: int
    kind: int | bytes
    body: bytes


def find_packet(data: bytes) -> bytes | None:
    """Return the XMP packet in a JPEG or PNG; None: there is none, or not one we can read."""
    kind = media_type(data)
    packets: list[bytes | None]
    if kind == "image/jpeg":
        packets = [part.body[len(_JPEG_HEADER) :] for part in _segments(data) if _is_jpeg_xmp(part)]
    elif kind == "image/png":
        packets = [_png_text(part.body) for part in _chunks(data) if _is_png_xmp(part)]
    else:
        return None
    return next((packet for packet in packets if packet and len(packet) <= MAX_PACKET), None)


def replace_packet(data: bytes, packet: bytes) -> bytes:
    """Return the image with `packet` as its only XMP, every other byte unchanged.

    Args:
        data: A JPEG or PNG. Anything else, or one whose structure is broken, comes back as it is.
        packet: At most `MAX_JPEG_PACKET` bytes where `data` is a JPEG.
    """
    kind = media_type(data)
    if kind == "image/jpeg":
        segment = _JPEG_HEADER + packet
        length = (len(segment) + 2).to_bytes(2, "big")
        new = bytes((_MARKER, _APP1)) + length + segment
        return _splice(data, _segments(data), _is_jpeg_xmp, _is_jpeg_preface, new, start=2)
    if kind == "image/png":
        # Not compressed, no language: what the XMP specification asks for.
        body = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
        new = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        start = len(_PNG_START)
        return _splice(data, _chunks(data), _is_png_xmp, _is_png_preface, new, start=start)
    return data


def _splice(  # one algorithm for both containers
    data: bytes,
    parts: list[_Part],
    is_old: Callable[[_Part], bool],
    is_preface: Callable[[_Part], bool],
    new: bytes,
    *,
    start: int,
) -> bytes:
    """Return `data` without its old XMP parts, and with `new` behind the parts that come first."""
    if not parts:
        return data
    at = start
    for part in parts:
        if not is_preface(part):
            break
        at = part.end
    pieces = [data[:at], new]
    for part in parts:
        if part.start >= at and is_old(part):
            pieces.append(data[at : part.start])
            at = part.end
    return b"".join([*pieces, data[at:]])


def _segments(data: bytes) -> list[_Part]:
    """Return a JPEG's segments before its first scan; empty when they cannot be followed."""
    parts: list[_Part] = []
    at = 2
    while at + 4 <= len(data) and data[at] == _MARKER:
        kind = data[at + 1]
        if kind in {_SOS, _EOI}:
            return parts
        if kind == _MARKER:  # padding before a marker
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            break
        parts.append(_Part(at, end, kind, data[at + 4 : end] if kind == _APP1 else b""))
        at = end
    return []


def _is_jpeg_xmp(part: _Part) -> bool:
    return part.kind == _APP1 and part.body.startswith(_JPEG_HEADER)


def _is_jpeg_preface(part: _Part) -> bool:
    """Whether readers insist on this segment before XMP: JFIF, then Exif."""
    return part.kind == _APP0 or (part.kind == _APP1 and part.body.startswith(b"Exif\0"))


def _chunks(data: bytes) -> list[_Part]:
    """Return a PNG's chunks; empty when they cannot be followed to the end."""
    parts: list[_Part] = []
    at = len(_PNG_START)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        kind = data[at + 4 : at + 8]
        parts.append(_Part(at, end, kind, data[at + 8 : end - 4] if kind == b"iTXt" else b""))
        if kind == b"IEND":
            return parts if parts[0].kind == b"IHDR" else []
        at = end
    return []


def _is_png_xmp(part: _Part) -> bool:
    return part.kind == b"iTXt" and part.body.startswith(_PNG_KEYWORD)


def _is_png_preface(part: _Part) -> bool:
    return part.kind == b"IHDR"


def _png_text(body: bytes) -> bytes | None:
    """Return the text of an iTXt chunk, decompressed within bounds; None: it is damaged."""
    flags, rest = body[len(_PNG_KEYWORD) :][:2], body[len(_PNG_KEYWORD) + 2 :]
    _, found, rest = rest.partition(b"\0")  # the language
    _, found_too, text = rest.partition(b"\0")  # the keyword in that language
    if not (found and found_too):
        return None
    if flags[:1] != b"\1":
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_PACKET + 1)
    except zlib.error:
        return None
