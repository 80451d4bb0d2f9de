"""XMP packets in JPEG and PNG files, put in and taken out without touching the pixels.

By hand, because nothing on offer fits: Pillow writes XMP only when it encodes the image again, and
the libraries that don't are bindings to exiv2 (GPL) or exempi (a system library). Both containers
are lists of labelled lengths, and everything but the XMP is copied byte for byte.

WebP and GIF are left as they are: the API makes neither. Where Content Credentials stand, a
signature over the whole file, is known as well: such a file must not be changed.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from xai_notebook.client.media import Part, media_type, parts_of

__all__ = ["MAX_JPEG_PACKET", "MAX_PACKET", "find_packet", "has_credentials", "replace_packet"]

MAX_PACKET: Final = 4 << 20
"""Largest packet read, in bytes; what a photo tool writes is a thousandth of it."""
_JPEG_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
MAX_JPEG_PACKET: Final = 0xFFFF - 2 - len(_JPEG_HEADER)
"""Largest packet that fits into a JPEG segment, in bytes: its length field has 16 bits."""
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD: Final = b"XML:com.adobe.xmp\0"
_MARKER: Final = 0xFF
_APP0, _APP1, _APP11 = b"\xff\xe0", b"\xff\xe1", b"\xff\xeb"
_LAST: Final = {b"\xff\xda", b"\xff\xd9", b"IEND"}
"""Parts that end what can hold XMP: the start of a JPEG's first scan or its end, a PNG's end."""
_CREDENTIALS: Final = {b"caBX", b"C2PA"}
"""Chunks that hold a C2PA manifest in PNG and in WebP."""
_C2PA: Final = bytes.fromhex("63327061 0011 0010 8000 00AA00389B71")
_JUMBF: Final = re.compile(
    rb"JP.{6}(?:....jumb|\x00\x00\x00\x01jumb.{8})....jumd" + re.escape(_C2PA), re.DOTALL
)
"""Start of a JPEG segment that holds one: a JUMBF superbox whose description says C2PA."""


def find_packet(data: bytes) -> bytes | None:
    """Return the XMP packet in a JPEG or PNG; None: there is none, or not one we can read."""
    parts = _parts(data)
    if media_type(data) == "image/png":
        packets = [_png_text(_body(data, part)) for part in parts if _is_xmp(data, part)]
    else:
        packets = [_body(data, part)[len(_JPEG_HEADER) :] for part in parts if _is_xmp(data, part)]
    return next((packet for packet in packets if packet and len(packet) <= MAX_PACKET), None)


def has_credentials(data: bytes) -> bool:
    """Tell whether a JPEG, PNG or WebP carries Content Credentials (C2PA), valid or not."""
    try:
        return any(
            part.kind in _CREDENTIALS
            or (part.kind == _APP11 and _JUMBF.match(data, part.body, part.end) is not None)
            for part in parts_of(data)
        )
    except ValueError:
        return False


def replace_packet(data: bytes, packet: bytes) -> bytes:
    """Return the image with `packet` as its only XMP, every other byte unchanged.

    Args:
        data: A JPEG or PNG. Anything else, or one whose structure is broken, comes back as it is.
        packet: At most `MAX_JPEG_PACKET` bytes where `data` is a JPEG.
    """
    if media_type(data) == "image/jpeg":
        segment = _JPEG_HEADER + packet
        new = _APP1 + (len(segment) + 2).to_bytes(2, "big") + segment
    else:
        # Not compressed, no language: what the XMP specification asks for.
        body = b"iTXt" + _PNG_KEYWORD + b"\0\0\0\0" + packet
        new = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    parts = _parts(data)
    if not parts:
        return data
    at = parts[0].start
    for part in parts:
        if not _is_preface(data, part):
            break
        at = part.next
    pieces = [data[:at], new]
    for part in parts:
        if part.start >= at and _is_xmp(data, part):
            pieces.append(data[at : part.start])
            at = part.next
    return b"".join([*pieces, data[at:]])


def _parts(data: bytes) -> list[Part]:
    """Return the parts of a JPEG or PNG; empty when they cannot be followed to the end."""
    try:
        parts = list(parts_of(data))
    except ValueError:
        return []
    whole = parts and parts[-1].kind in _LAST
    return parts if whole and (parts[0].kind == b"IHDR" or parts[0].kind[0] == _MARKER) else []


def _body(data: bytes, part: Part) -> bytes:
    return data[part.body : part.end]


def _is_xmp(data: bytes, part: Part) -> bool:
    if part.kind == _APP1:
        return data.startswith(_JPEG_HEADER, part.body, part.end)
    return part.kind == b"iTXt" and data.startswith(_PNG_KEYWORD, part.body, part.end)


def _is_preface(data: bytes, part: Part) -> bool:
    """Whether readers insist on this part before XMP: JFIF, then Exif; a PNG's header."""
    is_exif = part.kind == _APP1 and data.startswith(b"Exif\0", part.body, part.end)
    return is_exif or part.kind in {_APP0, b"IHDR"}


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
