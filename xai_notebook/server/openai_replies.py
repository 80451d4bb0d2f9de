"""A reply of the OpenAI images API -> the bytes of its pictures."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from xai_notebook import settings
from xai_notebook.client.addresses import RefusedError, check_host
from xai_notebook.server.exchange import BrokenError, HttpRequest, UnreachableError, exchange

if TYPE_CHECKING:
    from xai_notebook.server.openai_address import Address
    from xai_notebook.settings import ApiKey

__all__ = ["Reader", "entries"]

_TIMEOUT: Final = 30.0
"""Seconds without a byte."""
_TRIES: Final = 3
"""The picture is made, and asking for it again costs nothing."""
_OK: Final = 200


def entries(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a reply, of pictures or models."""
    data = reply.get("data")
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the entries of one engine's replies.

    Attributes:
        address: Where the engine is.
        key: For what it keeps at addresses of its own.
    """

    address: Address
    key: ApiKey | None

    async def bytes_of(self, entry: dict[str, Any]) -> bytes:
        """Return the picture of an entry, as it came: no one has looked at it yet.

        Raises:
            ValueError: There is none, or it is at an address that is not fetched from.
            BrokenError: It did not come whole.
            UnreachableError: It cannot be fetched.
        """
        text, url = entry.get("b64_json"), entry.get("url")
        if not (isinstance(text, str) and text):
            if not (isinstance(url, str) and url):
                raise ValueError("an entry has neither b64_json nor url")
            if url[:5] != "data:":
                return await self._download(url)
            text = url
        encoded = text.partition(",")[2] if text[:5] == "data:" else text
        try:
            return await asyncio.to_thread(base64.b64decode, encoded)
        except ValueError:
            raise ValueError("its base64 is damaged") from None

    async def _download(self, url: str) -> bytes:
        request = self._request(urljoin(self.address.url(""), url))
        for left in reversed(range(_TRIES)):
            try:
                answer = await exchange(request)
            except (BrokenError, UnreachableError):
                if not left:
                    raise
                continue
            if answer.status == _OK:
                return answer.body
            raise ValueError(f"the address of its picture answered {answer.status}")
        raise AssertionError  # pragma: no cover  # the last try returns or raises

    def _request(self, url: str) -> HttpRequest:
        """Return the request for a picture: the engine's own with the key, or a public one.

        Raises:
            ValueError: It is at another address.
        """
        own = self.address.holds(url)
        if not own:
            parts = urlsplit(url)
            if parts.scheme != "https" or parts.username is not None:
                raise ValueError("its picture is at an address that is neither its own nor https")
            try:
                check_host(parts.hostname or "", allow_loopback=False)
            except RefusedError as error:
                raise ValueError(str(error)) from None
        return HttpRequest(
            "GET",
            url,
            key=self.key if own else None,
            timeout=_TIMEOUT,
            max_bytes=settings.MAX_DOWNLOAD_BYTES,
            public=not own,
        )
