"""The bytes of a reply -> a message, also where a server has not kept the rules.

What has been paid for should not be lost to a single wrong byte: protobuf refuses a whole message
for one text that is not UTF-8. Nor should a few bytes cost much memory: an entry of two bytes
becomes an object of hundreds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parse_reply"]

MAX_FIELDS: Final = 10_000
"""Fields read of a message, entries of lists counted one by one; what follows is left out."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}

Reply = TypeVar("Reply", bound=Message)


def parse_reply(kind: type[Reply], data: bytes) -> Reply:
    """Return the message in `data`, with U+FFFD for what is not UTF-8.

    Args:
        kind: The class of the message.
        data: As it came over the wire.

    Raises:
        DecodeError: It is no such message.
    """
    if len(data) > 2 * MAX_FIELDS:  # a field takes two bytes at least
        data = _bounded(data)
    try:
        return kind.FromString(data)
    except DecodeError:
        try:
            mended = _mended(memoryview(data), kind.DESCRIPTOR)
        except ValueError:
            mended = b""
        if not mended:
            raise
    return kind.FromString(mended)


def _bounded(data: bytes) -> bytes:
    """Return `data` up to its last field that is read."""
    try:
        for count, (start, *_) in enumerate(_fields(memoryview(data))):
            if count == MAX_FIELDS:
                return data[:start]
    except ValueError:
        pass  # protobuf says so better
    return data


def _mended(data: memoryview, descriptor: Any) -> bytes:
    """Return a message whose texts are UTF-8.

    Raises:
        ValueError: It is no message.
    """
    parts: list[bytes | memoryview] = []
    for start, number, kind, body, end in _fields(data):
        field = descriptor.fields_by_number.get(number)
        content: bytes | None = None
        if field is not None and kind == _DELIMITED:
            if field.type == FieldDescriptor.TYPE_STRING:
                content = bytes(data[body:end]).decode("utf-8", "replace").encode()
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                content = _mended(data[body:end], field.message_type)
        if content is None:
            parts.append(data[start:end])
        else:
            parts += [_varint(number << 3 | _DELIMITED), _varint(len(content)), content]
    return b"".join(parts)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield of each field: where it starts, its number, its wire type, where its value is.

    Raises:
        ValueError: `data` is no message.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        kind = tag & 7
        body = at
        if kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind == _DELIMITED:
            size, body = _read_varint(data, at)
            at = body + size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("cut off")
        yield start, tag >> 3, kind, body, at


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the bit that says: more follows
            return value, at
    raise ValueError("no varint")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
