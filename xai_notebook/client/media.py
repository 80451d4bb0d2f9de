"""Media type, size, structure checks and metadata removal for image files, without Pillow."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOS, _EOI = b"\xff\xda", b"\xff\xd9"
_START_OF_FRAME: Final = {bytes((0xFF, kind)) for kind in range(0xC0, 0xD0)} - {
    b"\xff\xc4",
    b"\xff\xc8",
    b"\xff\xcc",
}
_MARKERS_ALONE: Final = {bytes((0xFF, kind)) for kind in range(0xD0, 0xD9)}
"""JPEG markers without a length: restart markers, and start of image."""
_MARKER: Final = re.compile(b"\xff[^\xff\x00]")
_MAX_SEGMENTS: Final = 4096
_MAX_PADDING: Final = 1 << 16
"""Maximum number of bytes between the segments of a JPEG; real files have hardly any."""
_MAX_CHUNKS: Final = 1 << 16
_MAX_SCANNED: Final = 1 << 30
"""Maximum product of pixels and scans of a JPEG, because decoding a scan visits all pixels. A
progressive JPEG has about ten scans."""
_MIN_PIXELS: Final = 1 << 20
"""Minimum number of pixels to assume for a scan."""

_MAX_TEXT: Final = 1 << 20
"""Maximum decompressed size in bytes of all text of a PNG, and of its profile; Pillow's limit."""
_TEXT_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
"""PNG chunks with text."""
_MAX_EXIF: Final = 1 << 16
"""Largest Exif data in bytes that is kept: the limit of a JPEG segment."""
_KEPT_PNG_CHUNKS: Final = {b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP"}
"""Ancillary PNG chunks that affect how the pixels look."""
_KEPT_JPEG_SEGMENTS: Final = {
    b"\xff\xe0": b"JFIF\0", b"\xff\xe1": b"Exif\0", b"\xff\xe2": b"ICC_PROFILE\0",
    b"\xff\xee": b"Adobe",
}  # fmt: skip
"""JPEG application segments that affect how the pixels look, and their first bytes."""
_KEPT_WEBP_CHUNKS: Final = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF", b"EXIF"}
_WEBP_XMP_FLAG: Final = 0x04
_MARKER_AFTER_SCAN: Final = re.compile(b"\xff[\x01-\xcf\xd9-\xfe]")
"""Matches a marker after the compressed data of a scan."""
_TIFF_TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
    17: 8, 18: 8,
}  # fmt: skip
"""Size in bytes of a TIFF value, by its type."""
_TIFF_DIRECTORY_TAGS: Final = {330, 34665, 34853, 40965}
"""TIFF tags that point to further directories of tags."""
_TIFF_STRIP_TAGS: Final = {273, 324}
"""TIFF tags with the offsets of strips or tiles."""
_MAX_STRIPS: Final = 1 << 18
_MAX_TAGS: Final = 1 << 12

EXTENSIONS: Final = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
}


def media_type(data: bytes) -> str | None:
    """Detect the media type from the first bytes of `data`; None if it is not a known image."""
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
        kind: The two bytes of the marker, or the four bytes of the chunk's name.
        start: Offset of the first byte of the part.
        body: Offset of the content.
        end: Offset after the content.
        next: Offset of the next part.
    """

    kind: bytes
    start: int
    body: int
    end: int
    next: int


def parts_of(data: bytes) -> Iterator[Part]:
    """Yield the parts of a JPEG up to its first scan, or of a PNG or WebP up to its end.

    If the file is complete, the last part is a JPEG's start of scan (or its end of image, if it has
    no scan), a PNG's `IEND`, or the part that ends at the end of a WebP. The run time is linear in
    the size, and padding costs little.

    Raises:
        ValueError: The file has more parts or padding than any real file.
    """
    kind = media_type(data)
    if kind == "image/jpeg":
        return _segments(data)
    if kind == "image/png":
        return _png_chunks(data)
    return _riff_chunks(data) if kind == "image/webp" else iter(())


def _segments(data: bytes) -> Iterator[Part]:
    offset, padding = 2, 0
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, offset, offset + _MAX_PADDING + 2)
        if match is None:  # too much padding, or the end of the file
            padding += len(data) - offset
            break
        start = match.start()
        padding += start - offset
        kind, body = data[start : start + 2], start + 4
        if padding > _MAX_PADDING:
            break
        if kind in _MARKERS_ALONE:
            offset = start + 2
            continue
        if kind == _EOI:
            yield Part(kind, start, start + 2, start + 2, start + 2)
            return
        # As decoders do, ignore a length below 2 and continue after it.
        end = max(body, start + 2 + int.from_bytes(data[start + 2 : body], "big"))
        if end > len(data):
            return
        yield Part(kind, start, body, end, end)
        if kind == _SOS:
            return
        offset = end
    else:
        raise ValueError(f"more than {_MAX_SEGMENTS} segments")
    if padding > _MAX_PADDING:
        raise ValueError(f"more than {_MAX_PADDING:,} bytes between segments")


def _png_chunks(data: bytes) -> Iterator[Part]:
    offset = 8
    for _ in range(_MAX_CHUNKS):
        end = offset + 8 + int.from_bytes(data[offset : offset + 4], "big")
        if end + 4 > len(data):
            return
        kind = data[offset + 4 : offset + 8]
        yield Part(kind, offset, offset + 8, end, end + 4)
        if kind == b"IEND":
            return
        offset = end + 4
    raise ValueError(f"more than {_MAX_CHUNKS} chunks")


def _riff_chunks(data: bytes) -> Iterator[Part]:
    offset = 12
    for _ in range(_MAX_CHUNKS):
        end = offset + 8 + int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + 8 > len(data) or end > len(data):
            return
        yield Part(data[offset : offset + 4], offset, offset + 8, end, end + end % 2)
        offset = end + end % 2
    raise ValueError(f"more than {_MAX_CHUNKS} chunks")


def check_structure(data: bytes) -> None:
    """Reject files with so much padding or so many parts or scans that decoding takes minutes.

    Raises:
        ValueError: The file has more padding, parts or scans than any real file, or a JPEG has no
            scan. The message is a phrase such as `no scan`.
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
    """Read width and height in pixels from the header of a JPEG or PNG; None if unknown."""
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


def make_readable(data: bytes) -> bytes:
    """Check the parts of an image, and remove PNG chunks that prevent Pillow from opening it.

    Pillow refuses to open a PNG with more than a megabyte of decompressed text or profile, as a
    protection from attacks. These chunks are removed. All other files are returned unchanged.

    Raises:
        ValueError: The file has more parts or padding than any real file.
    """
    is_png = media_type(data) == "image/png"
    remaining, dropped = _MAX_TEXT, []
    for part in parts_of(data):
        if not is_png:
            continue
        body = data[part.body : part.end] if part.kind in {*_TEXT_CHUNKS, b"iCCP"} else b""
        if part.kind in _TEXT_CHUNKS:
            length = _inflated(part.kind, body, remaining) if remaining >= 0 else _MAX_TEXT
            if length > remaining:
                dropped.append(part)
            remaining -= length
        elif part.kind == b"iCCP" and _inflated(part.kind, body, _MAX_TEXT) > _MAX_TEXT:
            dropped.append(part)
    return _without(data, dropped)


def _inflated(kind: bytes, body: bytes, limit: int) -> int:
    """Return the decompressed length of a text or profile, or a number above `limit`."""
    if kind == b"tEXt":
        return len(body)
    pieces = body.split(b"\0", 1)
    if kind == b"iTXt":
        if len(pieces) > 1 and not pieces[1].startswith(b"\1"):
            return len(body)
        pieces = body.split(b"\0", 4)  # keyword, flag and method, language, translation, text
        compressed = pieces[-1]
    else:
        compressed = pieces[-1][1:]
    inflate = zlib.decompressobj()
    try:
        return len(inflate.decompress(compressed, limit + 1))
    except zlib.error:
        return 0


def strip_metadata(data: bytes) -> bytes:
    """Return a JPEG, PNG or WebP without metadata; other files are returned unchanged.

    Comments, text, XMP, previews, depth maps, videos and further frames are removed. Data that
    affects how the pixels look is kept, and the pixels are not encoded again.

    Raises:
        ValueError: The file has more parts or padding than any real file.
    """
    kind = media_type(data)
    parts = list(parts_of(data))
    if not parts:
        return data
    if kind == "image/png":
        dropped = [part for part in parts if _is_metadata_chunk(part)]
        return _without(data[: parts[-1].next] if parts[-1].kind == b"IEND" else data, dropped)
    if kind == "image/jpeg":
        dropped, exif = [], False
        for part in parts:
            if part.kind == b"\xff\xfe" or b"\xff\xe0" <= part.kind <= b"\xff\xef":
                begins = _KEPT_JPEG_SEGMENTS.get(part.kind)
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
            if part.kind not in _KEPT_WEBP_CHUNKS
            or (part.kind == b"EXIF" and part.end - part.body > _MAX_EXIF)
        ]
        kept = bytearray(_without(data, dropped))
        kept[4:8] = (len(kept) - 8).to_bytes(4, "little")
        if kept[12:16] == b"VP8X":
            kept[20] &= ~_WEBP_XMP_FLAG
        return bytes(kept)
    return data


def _is_metadata_chunk(part: Part) -> bool:
    """Tell whether a PNG chunk does not affect the pixels of the first frame."""
    if part.kind == b"eXIf":
        return part.end - part.body > _MAX_EXIF
    return part.kind.isalpha() and part.kind[:1].islower() and part.kind not in _KEPT_PNG_CHUNKS


def _end_of_jpeg(data: bytes, last: Part) -> int:
    """Return the offset after the first picture of a JPEG; more pictures or a video may follow."""
    offset = last.next
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER_AFTER_SCAN.search(data, offset)
        if match is None:
            break
        offset = match.end()
        if match[0] == _EOI:
            return offset
        offset += int.from_bytes(data[offset : offset + 2], "big")
    return len(data)


def _without(data: bytes, dropped: list[Part]) -> bytes:
    """Return `data` without the parts `dropped`."""
    if not dropped:
        return data
    starts = [0, *(part.next for part in dropped)]
    ends = [*(part.start for part in dropped), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))


def check_tiff_tags(data: bytes) -> dict[int, int]:
    """Reject a TIFF whose tags are so many or so long that reading takes minutes.

    Args:
        data: A TIFF, or Exif data, which has the same structure. Many tags can share bytes.

    Returns:
        The tags of the first picture, each with its first number or the offset of its value.

    Raises:
        ValueError: There are more or longer tags than in any real file. The message is a phrase
            such as `more than 4,096 tags`.
    """
    little = data.startswith(b"II")
    big = data[2:4] in {b"\x2b\0", b"\0\x2b"}
    order, width = "<" if little else ">", 8 if big else 4
    head, entry = struct.Struct(order + "HQ"[big]), struct.Struct(order + ("HHI4s", "HHQ8s")[big])
    size = total = 0
    first: dict[int, int] = {}
    try:
        waiting = [*struct.unpack_from(order + "IQ"[big], data, width)]
        for offset in waiting:
            (count,) = head.unpack_from(data, offset)
            total += count
            if total > _MAX_TAGS or len(waiting) > _MAX_TAGS:
                raise ValueError(f"more than {_MAX_TAGS:,} tags")
            begin = offset + head.size
            tags = {}
            for position in range(begin, begin + count * entry.size, entry.size):
                tag, kind, number, raw = entry.unpack_from(data, position)
                length = number * _TIFF_TYPE_BYTES.get(kind, 0)
                size += length
                if tag in _TIFF_STRIP_TAGS and number > _MAX_STRIPS:
                    raise ValueError(f"more than {_MAX_STRIPS:,} strips")
                inline = _TIFF_TYPE_BYTES.get(kind, 0) if length <= width else width
                tags[tag] = int.from_bytes(raw[:inline], "little" if little else "big")
                if tag in _TIFF_DIRECTORY_TAGS and number == 1:
                    waiting.append(tags[tag])
            first = first or tags
    except struct.error:
        return first  # a truncated file: the decoder will report it
    if size > len(data):
        raise ValueError("tags with more bytes than the file has")
    return first
