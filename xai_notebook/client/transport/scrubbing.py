"""Remove the API key from strings that a server sends, also in encoded forms.

A server that received the key can send it back, complete or in part, in base64 or hexadecimal, in
an error, a model's name or a rewritten prompt. The key would then get into outputs, saved notebooks
and the library. Therefore every string from a server is scrubbed before it is used.

Hardly any string contains a key, so a fast check comes first. A "clue" is a sequence of
`PIECE` / 2 bytes from a form of the key. The check looks only at every seventh offset: any `PIECE`
bytes of a form contain a complete clue that starts at one of these offsets. The bytes of images are
skipped.
"""

from __future__ import annotations

import base64
import functools
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor

    from xai_notebook.settings import ApiKey

PIECE: Final = 12
"""Number of consecutive bytes of the key, or of an encoded form, that must not be shown."""
MASK: Final = b"***"
_ASCII_GAPS: Final = bytes([*range(0x21), 0x7F])
_GAPS: Final = re.compile(
    rb"\xc2[\x80-\xa0\xad]|\xe2\x80[\x80-\x8f\xa8-\xaf]|\xe2\x81[\x9f-\xaf]|\xe3\x80\x80|\xef\xbb\xbf"
)
"""Matches invisible characters and spaces; a key with these between its characters is readable."""
IMAGE_FIELD: Final = "base64"
"""Field with the bytes of an image; in a small message, it may contain other text."""
SMALL_BYTES: Final = 10_000


def scrub(text: str, key: ApiKey | None) -> str:
    """Return `text` with `***` in place of the key, parts of it, and their encoded forms.

    If there are gaps between the characters of the key, the complete text is replaced.
    """
    if key is None or not text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    matcher = _matcher(key)
    masked = matcher.mask(data)
    joined = masked.translate(None, _ASCII_GAPS)
    if not joined.isascii():
        joined = _GAPS.sub(b"", joined)
    # A key shorter than PIECE could match ordinary words when spaces are removed.
    if matcher.piece == PIECE and joined != masked and matcher.mask(joined) is not joined:
        return MASK.decode()
    return text if masked is data else masked.decode("utf-8", "surrogatepass")


def scrub_message(message: Message, key: ApiKey | None) -> None:
    """Scrub every string of a reply in place, and discard its unknown fields."""
    if key is None:
        return
    message.DiscardUnknownFields()
    pending = [message]
    for part in pending:  # the loop appends the messages in `part`
        for name, is_text in _text_fields(part.DESCRIPTOR):
            if name == IMAGE_FIELD and part.ByteSize() > SMALL_BYTES:
                continue
            value: Any = getattr(part, name)
            if isinstance(value, str):
                if (masked := scrub(value, key)) is not value:
                    setattr(part, name, masked)
            elif is_text:
                value[:] = [scrub(text, key) for text in value]
            elif not isinstance(value, Message):
                pending += value
            elif part.HasField(name):
                pending.append(value)


@functools.cache
def _text_fields(kind: Descriptor) -> tuple[tuple[str, bool], ...]:
    """Return the names of string fields (with True) and of messages with such fields (False)."""
    fields = []
    for field in kind.fields:
        is_text = field.type == FieldDescriptor.TYPE_STRING
        if is_text or (field.message_type is not None and _text_fields(field.message_type)):
            fields.append((field.name, is_text))
    return tuple(fields)


class _KeyMatcher:
    """Finds pieces of a key in a string. It keeps only hashes, which a traceback may show."""

    __slots__ = ("_clue", "_clues", "_pieces", "_stride", "piece")

    def __init__(self, forms: Iterable[bytes], piece: int) -> None:
        self.piece = piece
        self._clue = max(piece // 2, 1)
        self._stride = piece - self._clue + 1
        pieces = {part for form in forms for part in _windows(form.lower(), piece)}
        self._pieces = frozenset(map(hash, pieces))
        self._clues = frozenset(
            hash(clue) for part in pieces for clue in _windows(part, self._clue)
        )

    def mask(self, data: bytes) -> bytes:
        """Return `data` with pieces of the key masked; the same object if it has no such piece."""
        lower = data.lower()  # a key in upper case is still readable
        size, last = self._clue, len(lower) - self._clue + 1
        if self._clues.isdisjoint(
            hash(lower[start : start + size]) for start in range(0, last, self._stride)
        ):
            return data
        parts, end = [], 0
        for first, behind in self._runs(lower):
            parts += [data[end:first], MASK]
            end = behind
        return b"".join([*parts, data[end:]]) if parts else data

    def _runs(self, lower: bytes) -> Iterator[tuple[int, int]]:
        """Yield start and end of the pieces in `lower`; merge overlapping and adjacent pieces."""
        first, end = 0, -1
        for start, part in enumerate(_windows(lower, self.piece)):
            if hash(part) not in self._pieces:
                continue
            if start > end:
                if end > 0:
                    yield first, end
                first = start
            end = start + self.piece
        if end > 0:
            yield first, end


@functools.lru_cache(maxsize=16)
def _matcher(key: ApiKey) -> _KeyMatcher:
    """Return the matcher of a key; a key shorter than `PIECE` is only matched as it is."""
    plain = key.reveal().encode()
    if len(plain) < PIECE:
        return _KeyMatcher([plain], len(plain))
    return _KeyMatcher(_forms(plain), PIECE)


def _forms(plain: bytes) -> Iterator[bytes]:
    """Yield the key and its encoded forms."""
    yield plain
    yield plain[::-1]
    yield plain.hex().encode()
    yield quote_from_bytes(plain, safe="").encode()
    yield b"".join(b"%%%02x" % byte for byte in plain)
    for shift in range(3):  # base64 depends on the key's offset in a group of three bytes
        encoded = base64.b64encode(bytes(shift) + plain)
        # Leave out first and last characters that also encode bits of the neighbouring bytes.
        core = encoded[-(-shift * 4 // 3) : (shift + len(plain)) * 4 // 3]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def _windows(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(len(data) - size + 1))
