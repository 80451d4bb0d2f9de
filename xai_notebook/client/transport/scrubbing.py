"""Takes the key out of what a server says, in every form it could be echoed in.

Whoever was sent the key can send it back: whole, cut in pieces, in base64 or
hexadecimal, in an error, a model's name, a rewritten prompt. From there it
would land in outputs, saved notebooks and the library. So nothing that a
server says is looked at before it has been through here.

Nearly nothing said holds a key, and that is found out quickly. Every piece of
`PIECE` bytes that could be told holds a whole clue, half as long, at one of
the places where the text is looked at: one look-up for every seven bytes. The
bytes of an image are no text and are left alone.
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

__all__ = ["scrub", "scrub_message"]

PIECE: Final = 12
"""Bytes in a row of a key, or of its encoded forms, that are too many to be shown."""
HIDDEN: Final = b"***"
_ASCII_GAPS: Final = bytes([*range(0x21), 0x7F])
_GAPS: Final = re.compile(
    rb"\xc2[\x80-\xa0\xad]|\xe2\x80[\x80-\x8f\xa8-\xaf]|\xe2\x81[\x9f-\xaf]|\xe3\x80\x80|\xef\xbb\xbf"
)
"""What can stand between the characters of a key without hiding it from a reader."""
IMAGE_FIELD: Final = "base64"
"""Holds the bytes of an image, which only a decoder reads; in a small message, perhaps a text."""
SMALL: Final = 10_000
"""Bytes."""


def scrub(text: str, key: ApiKey | None) -> str:
    """Return `text` with `***` in place of the key and its pieces, encoded ones too.

    A text that spells it with gaps is `***` as a whole.
    """
    if key is None or not text:
        return text
    said = text.encode("utf-8", "surrogatepass")
    traces = _traces(key)
    kept = traces.hide(said)
    if traces.spelt(kept):
        return HIDDEN.decode()
    return text if kept is said else kept.decode("utf-8", "surrogatepass")


def scrub_message(message: Message, key: ApiKey | None) -> None:
    """Scrub every text of a reply where it stands, and forget its unknown fields."""
    if key is None:
        return
    message.DiscardUnknownFields()
    _scrub_fields(message, key)


def _scrub_fields(message: Message, key: ApiKey) -> None:
    for name, is_text in _told(message.DESCRIPTOR):
        if name == IMAGE_FIELD and message.ByteSize() > SMALL:
            continue
        value: Any = getattr(message, name)
        if isinstance(value, str):
            if (kept := scrub(value, key)) is not value:
                setattr(message, name, kept)
        elif is_text:
            value[:] = [scrub(text, key) for text in value]
        elif not isinstance(value, Message):
            for part in value:
                _scrub_fields(part, key)
        elif message.HasField(name):
            _scrub_fields(value, key)


@functools.cache
def _told(kind: Descriptor) -> tuple[tuple[str, bool], ...]:
    """Return the fields of a message that are text, or messages that hold some."""
    fields = []
    for field in kind.fields:
        is_text = field.type == FieldDescriptor.TYPE_STRING
        if is_text or (field.message_type is not None and _told(field.message_type)):
            fields.append((field.name, is_text))
    return tuple(fields)


class _Traces:
    """What tells that a key is in a text. Pieces are kept as hashes: they may be shown."""

    __slots__ = ("_clue", "_clues", "_piece", "_pieces", "_stride")

    def __init__(self, forms: Iterable[bytes], piece: int) -> None:
        self._piece = piece
        self._clue = max(piece // 2, 1)
        self._stride = piece - self._clue + 1
        pieces = {part for form in forms for part in _windows(form.lower(), piece)}
        self._pieces = frozenset(map(hash, pieces))
        self._clues = frozenset(
            hash(clue) for part in pieces for clue in _windows(part, self._clue)
        )

    def hide(self, said: bytes) -> bytes:
        """Return `said`, the same object if nothing in it is of the key."""
        lower = said.lower()  # base64 aside, a key in capitals is still a key
        size, last = self._clue, len(lower) - self._clue + 1
        if self._clues.isdisjoint(
            hash(lower[at : at + size]) for at in range(0, last, self._stride)
        ):
            return said
        kept, end = [], 0
        for first, behind in self._runs(lower):
            kept += [said[end:first], HIDDEN]
            end = behind
        return b"".join([*kept, said[end:]]) if kept else said

    def spelt(self, said: bytes) -> bool:
        """Tell whether a text holds a piece of the key once its gaps are taken out."""
        joined = said.translate(None, _ASCII_GAPS)
        if not joined.isascii():
            joined = _GAPS.sub(b"", joined)
        # A key so short that it is looked for whole may be in any words that are put together.
        return self._piece == PIECE and joined != said and self.hide(joined) is not joined

    def _runs(self, lower: bytes) -> Iterator[tuple[int, int]]:
        """Yield where pieces begin and end, those that overlap or touch as one."""
        first, end = 0, -1
        for at, part in enumerate(_windows(lower, self._piece)):
            if hash(part) not in self._pieces:
                continue
            if at > end:
                if end > 0:
                    yield first, end
                first = at
            end = at + self._piece
        if end > 0:
            yield first, end


@functools.lru_cache(maxsize=16)
def _traces(key: ApiKey) -> _Traces:
    """Return the traces of a key; one shorter than a piece is looked for as it is."""
    plain = key.reveal().encode()
    if len(plain) < PIECE:
        return _Traces([plain], len(plain))
    return _Traces(_forms(plain), PIECE)


def _forms(plain: bytes) -> Iterator[bytes]:
    """Yield the key as it can be told."""
    yield plain
    yield plain[::-1]
    yield plain.hex().encode()
    yield quote_from_bytes(plain, safe="").encode()
    yield b"".join(b"%%%02x" % byte for byte in plain)
    for shift in range(3):  # where in a group of three bytes the key begins, as behind "Bearer "
        encoded = base64.b64encode(bytes(shift) + plain)
        # Its first and last characters hold bits of what stands beside the key as well.
        core = encoded[-(-shift * 4 // 3) : (shift + len(plain)) * 4 // 3]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def _windows(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(len(data) - size + 1))
