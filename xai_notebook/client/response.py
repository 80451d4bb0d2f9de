"""Parse replies with limits, and represent each image of a reply as an `ImageResponse`.

Awaiting `ImageResponse.image` decodes or downloads the image.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pybase64
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from xai_notebook.client import bounds, wire
from xai_notebook.client.http import DEFAULT_MEDIA_TYPE
from xai_notebook.client.media import media_type
from xai_notebook.errors import MissingImageError, ModeratedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xai_notebook.client.http import Downloader
    from xai_notebook.client.messages.image_pb2 import FileOutput

THREAD_CHARACTERS = 1 << 22
"""Length of base64 (3 MiB of image) from which it is decoded in a thread. Decoding a shorter string
takes about 1 ms, hardly more than the switch to a thread, and each thread would keep memory."""

_MAX_URL: Final = 10_000
"""Size in bytes from which an image's message is not checked for a URL in its base64 field."""
_URL_SAFE: Final = str.maketrans("-_", "+/")


def cost_usd(usage: wire.SamplingUsage) -> float | None:
    """Return the cost of the whole request in US dollars; None if not reported or implausible."""
    if not usage.HasField("cost_in_usd_ticks"):
        return None
    # Divide: multiplying by 1e-10 would give 0.07000000000000001 instead of 0.07.
    return bounds.cost(usage.cost_in_usd_ticks / wire.TICKS_PER_USD)


class ImageResponse:
    """One image of a reply.

    Attributes:
        index: Index of the image in the reply, from 0.
        model: Name of the model that answered, with aliases resolved.
        prompt: The server's rewritten prompt; `""` if not reported.
        respect_moderation: False if the image was withheld by moderation, so that it is a
            placeholder or missing.
        cost_usd: Cost of the whole request in US dollars; None if not reported.
    """

    def __init__(
        self, reply: wire.ImageResponse, index: int, downloader: Downloader, *, timeout: float = inf
    ) -> None:
        """Refer to image `index` of `reply`, which is not copied.

        If the reply has a URL, `downloader` fetches the image in at most `timeout` seconds.
        """
        self._reply = reply
        self._image = reply.images[index]
        self._downloader = downloader
        self._timeout = timeout
        self._data: bytes | None = None
        self._media_type = DEFAULT_MEDIA_TYPE
        self.index = index
        self.model = bounds.line(reply.model)
        self.prompt = bounds.text(self._image.up_sampled_prompt)
        self.respect_moderation = self._image.respect_moderation
        self.cost_usd = cost_usd(reply.usage)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_image": None}  # already in the reply

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_reply"], state["index"], state["_downloader"])  # type: ignore[misc]
        self.__dict__ |= state | {"_image": self._image}

    def __repr__(self) -> str:
        form = self._image.WhichOneof("image") or "empty"
        return f"ImageResponse(index={self.index}, model={self.model!r}, {form})"

    @property
    def usage(self) -> wire.SamplingUsage:
        """Numbers of tokens and the cost of the whole request."""
        return self._reply.usage

    @property
    def file_output(self) -> FileOutput | None:
        """The stored file; None if the image was not stored."""
        return self._image.file_output if self._image.HasField("file_output") else None

    @property
    def storage_error(self) -> str | None:
        """The reason why the server failed to store the image; None without an error."""
        return bounds.line(self._image.storage_error) or None

    @property
    def public_url(self) -> str | None:
        """Public link to the stored image; None without a link."""
        return bounds.line(self._image.file_output.public_url, bounds.MAX_LINK) or None

    @property
    def public_url_error(self) -> str | None:
        """The reason why the server failed to create a public link; None without an error."""
        return bounds.line(self._image.file_output.public_url_error) or None

    @property
    def proto(self) -> wire.ImageResponse:
        """The protobuf message of the complete reply."""
        return self._reply

    @property
    def url(self) -> str:
        """The URL of the image, valid for about an hour.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The reply has no URL for the image.
        """
        if url := self._image.url:
            return url
        raise self._missing_error("url")

    @property
    def base64(self) -> str:
        """The image in base64 as received, with or without the prefix of a data URI.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The reply does not have the image in base64.
        """
        if text := self._image.base64:
            return text
        raise self._missing_error("base64")

    @property
    def holds_image(self) -> bool:
        """Whether the reply contains the image or its URL."""
        form = self._image.WhichOneof("image")
        return form is not None and bool(getattr(self._image, form))

    @property
    def waits_at(self) -> str | None:
        """URL to download, from the field `url` or `base64`; None if the reply has the bytes."""
        image = self._image
        if text := image.url:
            return None if text.lstrip()[:5].lower() == "data:" else text
        if image.ByteSize() < _MAX_URL and image.base64.startswith(("https://", "http://")):
            return image.base64
        return None

    @property
    def media_type(self) -> str:
        """Media type such as `image/jpeg`, known after `image` was awaited."""
        return self._media_type

    @property
    async def image(self) -> bytes:
        """The original bytes of the image, downloaded or decoded once by `await response.image`.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The image is empty or cannot be decoded.
            DownloadError: The URL cannot be fetched within the call's timeout, or is not an image.
        """
        if self._data is None:
            if url := self.waits_at:
                fetched = await self._downloader.fetch(url, timeout=self._timeout)
                self._data, self._media_type = fetched
            else:
                text = self._image.url or self._image.base64
                if not text:
                    raise self._missing_error("base64")
                if len(text) < THREAD_CHARACTERS:
                    data = _decode(text)
                else:
                    data = await asyncio.to_thread(_decode, text)
                self._media_type = media_type(data) or DEFAULT_MEDIA_TYPE
                self._data = data
        return self._data

    def _missing_error(self, wanted: str) -> MissingImageError | ModeratedError:
        number = self.index + 1
        form = self._image.WhichOneof("image")
        if form is not None and form != wanted and getattr(self._image, form):
            return MissingImageError(f"Image {number} came as {form}, not as {wanted}.")
        if not self.respect_moderation:
            return ModeratedError(f"Image {number} was withheld by moderation. Change the prompt.")
        return MissingImageError(f"Image {number} of the reply is empty. Ask again.")


def _decode(text: str) -> bytes:
    """Decode base64 with or without a `data:` prefix."""
    if text[:5].lower() == "data:":
        text = text[text.find(",") + 1 :]
    with suppress(ValueError):
        return pybase64.b64decode(text, validate=True)
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        text = text[text.find(",") + 1 :]
    try:
        # The fast decoder rejects white space, missing padding and the URL-safe alphabet, which are
        # harmless. This decoder ignores unknown characters and excess padding.
        return base64.b64decode(f"{text.translate(_URL_SAFE).rstrip('=')}===")
    except ValueError as error:
        raise MissingImageError(
            "An image of the reply is not valid base64. Ask for the format 'url'."
        ) from error


MAX_FIELDS: Final = 10_000
"""Maximum number of fields read from a message, counting each list entry; the rest is ignored."""

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}

Reply = TypeVar("Reply", bound=Message)


def parse_reply(kind: type[Reply], data: bytes) -> Reply:
    """Parse a message of the class `kind`; invalid UTF-8 in strings becomes U+FFFD.

    Raises:
        DecodeError: `data` cannot be parsed.
    """
    if len(data) > 2 * MAX_FIELDS:  # a field has at least two bytes
        with suppress(ValueError):  # `FromString` raises a better error
            for count, (start, *_) in enumerate(_fields(memoryview(data))):
                if count == MAX_FIELDS:
                    data = data[:start]
                    break
    try:
        return kind.FromString(data)
    except DecodeError:
        try:
            repaired = _repaired(memoryview(data), kind.DESCRIPTOR)
        except ValueError:
            repaired = b""
        if not repaired:
            raise
    return kind.FromString(repaired)


def _repaired(data: memoryview, descriptor: Any) -> bytes:
    """Return a serialized message with valid UTF-8 in its strings.

    Raises:
        ValueError: `data` is not a message.
    """
    parts: list[bytes | memoryview] = []
    for start, number, kind, body, end in _fields(data):
        field = descriptor.fields_by_number.get(number)
        content: bytes | None = None
        if field is not None and kind == _DELIMITED:
            if field.type == FieldDescriptor.TYPE_STRING:
                content = bytes(data[body:end]).decode("utf-8", "replace").encode()
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                content = _repaired(data[body:end], field.message_type)
        if content is None:
            parts.append(data[start:end])
        else:
            parts += [_varint(number << 3 | _DELIMITED), _varint(len(content)), content]
    return b"".join(parts)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (start, field number, wire type, start of value, end) of each field.

    Raises:
        ValueError: `data` is not a message.
    """
    position = 0
    while position < len(data):
        start = position
        tag, body = _read_varint(data, start)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _read_varint(data, body)
        elif kind == _DELIMITED:
            size, body = _read_varint(data, body)
            position = body + size
        elif kind in _FIXED:
            position = body + _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if position > len(data):
            raise ValueError("cut off")
        yield start, tag >> 3, kind, body, position


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the number at `position`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the high bit says that more bytes follow
            return value, position
    raise ValueError("not a varint")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
