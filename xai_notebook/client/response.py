"""What came back for one image: parsed, but neither decoded nor downloaded until asked for."""

from __future__ import annotations

import asyncio
import base64
import binascii
from math import inf
from typing import TYPE_CHECKING, Any, Final

import pybase64

from xai_notebook.client import bounds, wire
from xai_notebook.client.download import DEFAULT_MEDIA_TYPE
from xai_notebook.client.media import media_type
from xai_notebook.errors import MissingImageError, ModeratedError

if TYPE_CHECKING:
    from xai_notebook.client.download import Downloader
    from xai_notebook.client.messages.image_pb2 import FileOutput

__all__ = ["ImageResponse", "cost_usd"]

THREAD_CHARACTERS = 1 << 22
"""Base64 longer than this, 3 MiB of image, is decoded in a thread. Shorter takes about 1 ms, hardly
more than the change; and each thread would keep memory of its own for the next reply."""

_MAX_URL: Final = 10_000
"""Characters; longer text is no address, and not looked at."""
_URL_SAFE: Final = str.maketrans("-_", "+/")


def cost_usd(usage: wire.SamplingUsage) -> float | None:
    """Return the price of the whole request in US dollars, or None if the server did not say.

    An amount out of bounds counts as not said.
    """
    if not usage.HasField("cost_in_usd_ticks"):
        return None
    # A division is rounded correctly: 0.07, where a product with 1e-10 gives 0.07000000000000001.
    return bounds.cost(usage.cost_in_usd_ticks / wire.TICKS_PER_USD)


class ImageResponse:
    """One image of a reply.

    Attributes:
        index: Its place in the reply, from 0.
    """

    def __init__(
        self,
        reply: wire.ImageResponse,
        index: int,
        downloader: Downloader,
        *,
        timeout: float = inf,
    ) -> None:
        """Look at image `index` of `reply`, which is shared and not copied.

        Args:
            reply: The whole reply.
            index: Of the image in it.
            downloader: Fetches the image if it came as a URL.
            timeout: Seconds of the call's deadline that a download has left.
        """
        self._reply = reply
        self._image = reply.images[index]
        self._downloader = downloader
        self._timeout = timeout
        self._data: bytes | None = None
        self._media_type = DEFAULT_MEDIA_TYPE
        self.index = index

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_image": None}  # a part of the reply, which is there once

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._image = self._reply.images[self.index]

    def __repr__(self) -> str:
        """Return what it is, without the image."""
        form = self._image.WhichOneof("image") or "empty"
        return f"ImageResponse(index={self.index}, model={self.model!r}, {form})"

    @property
    def model(self) -> str:
        """The model that answered, aliases resolved."""
        return bounds.line(self._reply.model)

    @property
    def usage(self) -> wire.SamplingUsage:
        """What the whole request consumed."""
        return self._reply.usage

    @property
    def cost_usd(self) -> float | None:
        """Price of the whole request in US dollars; None if the server did not say."""
        return cost_usd(self._reply.usage)

    @property
    def prompt(self) -> str:
        """The prompt as the server rewrote it, or `""`: today's servers do not say."""
        return bounds.text(self._image.up_sampled_prompt)

    @property
    def respect_moderation(self) -> bool:
        """False: the image was withheld, and what is here is a placeholder or nothing."""
        return self._image.respect_moderation

    @property
    def file_output(self) -> FileOutput | None:
        """Where the server stored the image, if it was asked to and did."""
        return self._image.file_output if self._image.HasField("file_output") else None

    @property
    def storage_error(self) -> str | None:
        """Why the server did not store the image, if it was asked to and did not."""
        return bounds.line(self._image.storage_error) or None

    @property
    def public_url(self) -> str | None:
        """The stored image's address for everybody, if one was asked for and made."""
        return bounds.line(self._image.file_output.public_url, bounds.MAX_LINK) or None

    @property
    def public_url_error(self) -> str | None:
        """Why the stored image has no address for everybody, if one was asked for."""
        return bounds.line(self._image.file_output.public_url_error) or None

    @property
    def proto(self) -> wire.ImageResponse:
        """The whole reply as it is on the wire."""
        return self._reply

    @property
    def url(self) -> str:
        """The address of the image, good for about an hour.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The image did not come as a URL.
        """
        if url := self._image.url:
            return url
        raise self._absent("url")

    @property
    def base64(self) -> str:
        """The image in base64, as it came, with the prefix of a data URI or without.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The image did not come in base64.
        """
        if text := self._image.base64:
            return text
        raise self._absent("base64")

    @property
    def holds_image(self) -> bool:
        """Whether the image came at all, as bytes or as a URL."""
        form = self._image.WhichOneof("image")
        return form is not None and bool(getattr(self._image, form))

    @property
    def waits_at(self) -> str | None:
        """The URL to fetch the image from, in whichever field it came; None: there is none."""
        image = self._image
        if text := image.url:
            return None if text.lstrip()[:5].lower() == "data:" else text
        if image.ByteSize() < _MAX_URL and image.base64.startswith(("https://", "http://")):
            return image.base64
        return None

    @property
    def media_type(self) -> str:
        """`image/jpeg` and the like; what the bytes say once `image` was awaited."""
        return self._media_type

    @property
    async def image(self) -> bytes:
        """The original bytes: `await response.image`. Fetched or decoded once, then kept.

        Raises:
            ModeratedError: The image was withheld.
            MissingImageError: The reply holds no such image, or it cannot be decoded.
            DownloadError: The URL could not be fetched within the call's timeout, or holds no
                image.
        """
        if self._data is None:
            if url := self.waits_at:
                fetched = await self._downloader.fetch(url, timeout=self._timeout)
                self._data, self._media_type = fetched
            else:
                text = self._image.url or self.base64
                if len(text) < THREAD_CHARACTERS:
                    data = _decode(text)
                else:
                    data = await asyncio.to_thread(_decode, text)
                self._media_type = media_type(data) or DEFAULT_MEDIA_TYPE
                self._data = data
        return self._data

    def _absent(self, wanted: str) -> MissingImageError | ModeratedError:
        number = self.index + 1
        form = self._image.WhichOneof("image")
        if form is not None and form != wanted and getattr(self._image, form):
            return MissingImageError(f"Image {number} came as {form}, not as {wanted}.")
        if not self.respect_moderation:
            return ModeratedError(f"Image {number} was withheld by moderation. Change the prompt.")
        return MissingImageError(f"Image {number} of the reply is empty. Ask again.")


def _decode(text: str) -> bytes:
    """Return the bytes of base64, with a `data:` prefix or without, in whatever dress it comes."""
    if text[:5].lower() == "data:":
        text = text[text.find(",") + 1 :]
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        text = text[text.find(",") + 1 :]
    try:
        # White space, missing padding and the alphabet of URLs are harmless, but the fast decoder
        # takes none of them. This one drops what is no base64, and needs exactly as much padding or
        # more.
        return base64.b64decode(f"{text.translate(_URL_SAFE).rstrip('=')}===")
    except (binascii.Error, ValueError) as error:
        raise MissingImageError(
            "An image of the reply is no valid base64. Ask for the format 'url'."
        ) from error
