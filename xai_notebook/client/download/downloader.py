"""A URL from a reply -> the bytes of an image.

The server that names the URL is not trusted: https only (http only on
loopback, and only when the API itself is there), public addresses only, every
redirect checked again, size and time bounded, and what arrives must be an image.
The API key is not known here. An engine's is sent to the engine itself, but
with no redirect.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from xai_notebook import settings
from xai_notebook.client.addresses import RefusedError, WebAddress
from xai_notebook.client.channel import root_certificates_path
from xai_notebook.client.download.http import (
    Answer,
    BrokenError,
    HttpClient,
    HttpRequest,
    UnreachableError,
)
from xai_notebook.client.media import media_type
from xai_notebook.errors import DownloadError

if TYPE_CHECKING:
    from xai_notebook.settings import ApiKey

__all__ = ["DEFAULT_MEDIA_TYPE", "Downloader"]

DOWNLOAD_TIMEOUT = 120.0
"""Seconds for one image, over all tries and redirects."""
READ_TIMEOUT = 30.0
"""Seconds without a single byte."""
TRIES = 3
"""The image is paid for, and asking for it again is free."""
PAUSE = 0.3
"""Seconds before the second try; twice that before the third."""
MAX_REDIRECTS = 5
DEFAULT_MEDIA_TYPE = "image/jpeg"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({401, 403, 404, 410})
_MISSING = frozenset({404, 410})
"""Of these only: who may not fetch an image now may be let in again, and it has been paid for."""


class _TransientError(DownloadError):
    """Worth another try."""


class Downloader:
    """Fetches images. Knows no event loop, so it outlives the client that made it."""

    def __init__(
        self,
        *,
        allow_loopback: bool,
        own: WebAddress | None = None,
        key: ApiKey | None = None,
        timeout: float = DOWNLOAD_TIMEOUT,
        max_bytes: int = settings.MAX_DOWNLOAD_BYTES,
    ) -> None:
        """Prepare; requests is imported by the first download.

        Args:
            allow_loopback: Whether addresses of this computer may be fetched, http too. Only
                an API on this computer has a reason to name one.
            own: The server that names the URLs, where the user named it: images are fetched from
                there too, wherever that is, and URLs may be relative to it.
            key: Sent to the origin of `own`, and nowhere else.
            timeout: Seconds for one image.
            max_bytes: Size limit of one image.
        """
        self._http = HttpClient(allow_loopback=allow_loopback, own=own, key=key)
        self._own = own
        self._timeout = timeout
        self._max_bytes = max_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither the key nor the trust in a server of the user's own goes into a pickle.
        return partial(Downloader, allow_loopback=False), ()

    async def fetch(self, url: str, *, timeout: float | None = None) -> tuple[bytes, str]:
        """Return the bytes behind `url` and their media type.

        Args:
            url: As a server named it.
            timeout: Seconds that are left of a call; the downloader's own limit holds as well.

        Raises:
            DownloadError: The URL is not allowed, cannot be reached, or holds no image.
            ConfigurationError: The environment names roots that do not exist.
        """
        timeout = self._timeout if timeout is None else max(min(timeout, self._timeout), 0.001)
        if self._own is None:
            root_certificates_path()  # a variable that names no roots is the cause to be named
        address = self._parsed(url, self._own)
        try:
            return await asyncio.wait_for(self._try(address), timeout)
        except asyncio.TimeoutError as error:
            raise DownloadError(
                f"The image at {address.host} took longer than {timeout:.3g} s."
            ) from error

    def close(self) -> None:
        """Drop idle connections. A later download opens new ones."""
        self._http.close()

    async def _try(self, address: WebAddress) -> tuple[bytes, str]:
        for number in range(1, TRIES + 1):
            try:
                return await self._follow(address)
            except _TransientError as error:
                if number == TRIES:
                    raise DownloadError(str(error)) from error.__cause__
            await asyncio.sleep(PAUSE * number)
        raise AssertionError  # pragma: no cover  # the last try returns or raises

    async def _follow(self, first: WebAddress) -> tuple[bytes, str]:
        """Follow redirects by hand: each address is checked like the first, and gets no key."""
        address = first
        for hop in range(MAX_REDIRECTS + 1):
            answer = await self._get(address, own=hop == 0)
            if answer.status not in _REDIRECTS:
                return _image(answer, first.host)
            address = self._parsed(answer.headers.get("location", ""), address)
        raise DownloadError(
            f"The image at {first.host} was redirected more than {MAX_REDIRECTS} times."
        )

    async def _get(self, address: WebAddress, *, own: bool) -> Answer:
        request = HttpRequest(
            "GET",
            address,
            headers={"Accept": "image/*"},
            own=own,
            timeout=READ_TIMEOUT,
            max_bytes=self._max_bytes,
        )
        try:
            return await self._http.send(request)
        except RefusedError as error:
            raise self._refused(error) from error
        except (UnreachableError, BrokenError) as error:
            kind: type[DownloadError] = _TransientError
            how = "could not be fetched"
            if isinstance(error, BrokenError) and error.too_large:
                kind, how = DownloadError, "is not fetched"
            elif isinstance(error, UnreachableError) and error.unsafe:
                kind, how = DownloadError, "could not be fetched safely"
            raise kind(f"The image at {address.host} {how}: {error}") from error

    def _parsed(self, url: str, base: WebAddress | None) -> WebAddress:
        try:
            return WebAddress.parse(url, base)
        except RefusedError as error:
            raise self._refused(error) from error

    def _refused(self, error: RefusedError) -> DownloadError:
        cure = " Ask for the format 'base64'." if self._own is None else ""
        return DownloadError(f"{error}{cure}")


def _image(answer: Answer, host: str) -> tuple[bytes, str]:
    """Return the image of an answer, and its media type.

    Raises:
        DownloadError: There is none.
    """
    status = answer.status
    if status in _TRANSIENT:
        raise _TransientError(f"{host} answered {status} instead of an image. Try again later.")
    if status in _GONE:
        msg = f"{host} no longer has the image ({status}): URLs last about an hour."
        error = DownloadError(msg)
        error.gone = status in _MISSING
        raise error
    if status != 200:  # noqa: PLR2004
        raise DownloadError(f"{host} answered {status} instead of an image.")
    return answer.body, _media_type(answer, host)


def _media_type(answer: Answer, host: str) -> str:
    data = answer.body
    if sniffed := media_type(data):
        return sniffed
    declared = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared.startswith("image/") and data and data.lstrip()[:1] != b"<":
        return declared
    page = declared == "text/html" or data.lstrip()[:1] == b"<"
    holds = "a web page" if page else "no image"
    raise DownloadError(
        f"The address at {host} holds {holds}. A proxy or login page may be in the way."
    )
