"""A URL from a reply -> the bytes of an image, with requests.

The server that names the URL is not trusted: https only (http only on
loopback, and only when the API itself is there), public addresses only, every
redirect checked again, size and time bounded, and what arrives must be an image.
The API key is not known here, and neither .netrc nor cookies are used.

Each download has a daemon thread of its own, so that ten of them take as long
as one, and one that hangs keeps neither the caller nor the interpreter's exit.
"""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from xai_notebook import settings
from xai_notebook.client.addresses import RefusedError, check_host, is_loopback
from xai_notebook.client.channel import root_certificates_path
from xai_notebook.client.interceptors import Deadline
from xai_notebook.client.media import media_type
from xai_notebook.errors import DownloadError, XaiError

if TYPE_CHECKING:
    import requests

__all__ = ["DEFAULT_MEDIA_TYPE", "Downloader"]

DOWNLOAD_TIMEOUT = 120.0
"""Seconds for one image, over all tries and redirects."""
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
"""Seconds without a single byte."""
TRIES = 3
"""The image is paid for, and asking for it again is free."""
PAUSE = 0.3
"""Seconds before the second try; twice that before the third."""
MAX_REDIRECTS = 5
CHUNK = 1 << 16
DEFAULT_MEDIA_TYPE = "image/jpeg"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({401, 403, 404, 410})
_MISSING = frozenset({404, 410})
"""Of these only: who may not fetch an image now may be let in again, and it has been paid for."""


class _TransientError(DownloadError):
    """Worth another try."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One download: where it began, and when it must end."""

    url: str
    deadline: Deadline
    stop: threading.Event

    def check(self) -> None:
        """Leave when nobody waits any more, or the time is up.

        Raises:
            DownloadError: Either.
        """
        if self.stop.is_set() or self.deadline.remaining() <= 0:
            raise self.late()

    def late(self) -> DownloadError:
        """Return what is raised when the time is up."""
        msg = f"The image at {_host(self.url)} took longer than {self.deadline.timeout:.3g} s."
        return DownloadError(msg)


class Downloader:
    """Fetches images. Knows no event loop, so it outlives the client that made it."""

    def __init__(
        self,
        *,
        allow_loopback: bool,
        timeout: float = DOWNLOAD_TIMEOUT,
        max_bytes: int = settings.MAX_DOWNLOAD_BYTES,
    ) -> None:
        """Prepare; requests is imported by the first download.

        Args:
            allow_loopback: Whether addresses of this computer may be fetched, http too. Only
                an API on this computer has a reason to name one.
            timeout: Seconds for one image.
            max_bytes: Size limit of one image.
        """
        self._allow_loopback = allow_loopback
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._session: requests.Session | None = None
        self._lock = threading.Lock()

    async def fetch(self, url: str, *, timeout: float | None = None) -> tuple[bytes, str]:
        """Return the bytes behind `url` and their media type.

        Args:
            url: As a server named it.
            timeout: Seconds that are left of a call; the downloader's own limit holds as well.

        Raises:
            DownloadError: The URL is not allowed, cannot be reached, or holds no image.
            ConfigurationError: The environment names roots that do not exist.
        """
        self._check(url)
        timeout = self._timeout if timeout is None else max(min(timeout, self._timeout), 0.001)
        job = _Job(url, Deadline.after(timeout), threading.Event())
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[bytes, str]] = loop.create_future()

        def settle(result: tuple[bytes, str] | None, error: BaseException | None) -> None:
            if done.done():
                return
            if result is not None:
                done.set_result(result)
            elif error is not None:
                done.set_exception(error)

        def work() -> None:
            result, error = self._attempt(job)
            with suppress(RuntimeError):  # the loop was closed: nobody is waiting
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, daemon=True, name="xai-notebook-download").start()
        try:
            # The thread keeps the time itself, except while it hangs in one system call.
            return await asyncio.wait_for(done, timeout + 0.5)
        except asyncio.TimeoutError as error:
            raise job.late() from error
        finally:
            job.stop.set()

    def close(self) -> None:
        """Drop idle connections. A later download opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _attempt(self, job: _Job) -> tuple[tuple[bytes, str] | None, Exception | None]:
        try:
            return self._download(job), None
        except XaiError as error:
            return None, error
        except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to
            failure = DownloadError(f"The image at {_host(job.url)} could not be fetched.")
            failure.__cause__ = error
            return None, failure

    def _download(self, job: _Job) -> tuple[bytes, str]:
        for number in range(1, TRIES + 1):
            try:
                return self._get(job)
            except _TransientError as error:
                if number == TRIES or job.stop.wait(min(PAUSE * number, job.deadline.timeout)):
                    raise DownloadError(str(error)) from error.__cause__
            job.check()
        raise AssertionError  # pragma: no cover  # the last try returns or raises

    def _get(self, job: _Job) -> tuple[bytes, str]:
        """Follow redirects by hand: each address is checked like the first."""
        import requests  # noqa: PLC0415  # 110 ms that base64 users never pay
        import urllib3  # noqa: PLC0415

        url = job.url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                job.check()
                with self._request(url, job) as response:
                    if response.status_code not in _REDIRECTS:
                        return self._receive(response, job)
                    url = urljoin(url, response.headers.get("Location", ""))
                self._check(url)
        except RefusedError as error:
            raise DownloadError(str(error)) from error
        except (
            requests.exceptions.SSLError,
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
        ) as error:
            raise DownloadError(
                f"The image at {_host(url)} could not be fetched safely: {_short(error)}"
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, XaiError):
                raise
            raise _TransientError(
                f"The image at {_host(url)} could not be fetched: {_short(error)}"
            ) from error
        raise DownloadError(
            f"The image at {_host(job.url)} was redirected more than {MAX_REDIRECTS} times."
        )

    def _request(self, url: str, job: _Job) -> requests.Response:
        from requests.utils import get_environ_proxies  # noqa: PLC0415

        remaining = max(job.deadline.remaining(), 0.001)
        roots = root_certificates_path()
        return self._open().get(
            url,
            stream=True,
            allow_redirects=False,
            timeout=(min(CONNECT_TIMEOUT, remaining), min(READ_TIMEOUT, remaining)),
            verify=str(roots) if roots else True,
            # A proxy is somewhere else, and cannot reach what is on this computer.
            proxies={} if is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url),
        )

    def _open(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy  # noqa: PLC0415

        import requests  # noqa: PLC0415

        from xai_notebook.client.pinned import PinnedAdapter  # noqa: PLC0415  # requests

        with self._lock:
            if self._session is None:
                session = requests.Session()
                # No .netrc: a password kept there for a host is not for an image's address.
                session.trust_env = False
                session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                session.headers.update(
                    {
                        "User-Agent": f"xai-notebook/{settings.package_version()}",
                        "Accept": "image/*",
                        "Accept-Encoding": "identity",
                    }
                )
                adapter = PinnedAdapter(pool_connections=4, pool_maxsize=settings.MAX_IMAGES)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
                self._session = session
            return self._session

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise DownloadError("The server named an address that is no URL.") from error
        if not host or parts.username is not None:
            raise DownloadError(
                "The server named an address without a host, or with a password in it."
            )
        try:
            check_host(host, allow_loopback=self._allow_loopback)
        except RefusedError as error:
            raise DownloadError(str(error)) from error
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise DownloadError(f"The address at {host} is {parts.scheme}, not https: not fetched.")

    def _receive(self, response: requests.Response, job: _Job) -> tuple[bytes, str]:
        status = response.status_code
        if status in _TRANSIENT:
            raise _TransientError(
                f"{_host(job.url)} answered {status} instead of an image. Try again later."
            )
        if status in _GONE:
            msg = f"{_host(job.url)} no longer has the image ({status}): URLs last about an hour."
            error = DownloadError(msg)
            error.gone = status in _MISSING
            raise error
        if status != 200:  # noqa: PLR2004
            raise DownloadError(f"{_host(job.url)} answered {status} instead of an image.")
        data = self._read(response, job)
        return data, _media_type(data, response.headers.get("Content-Type", ""), job)

    def _read(self, response: requests.Response, job: _Job) -> bytes:
        size = response.headers.get("Content-Length", "")
        if size.isdecimal() and int(size) > self._max_bytes:
            raise DownloadError(self._too_large(job))
        # read() waits until a chunk is full, which a dripping server can draw out for hours.
        # urllib3 1 has nothing better; there the waiting task leaves alone.
        read: Any = getattr(response.raw, "read1", response.raw.read)
        data = bytearray()
        while chunk := read(CHUNK):
            data += chunk
            if len(data) > self._max_bytes:
                raise DownloadError(self._too_large(job))
            job.check()
        if size.isdecimal() and len(data) < int(size):
            raise _TransientError(
                f"The image at {_host(job.url)} broke off after {len(data)} of {size} bytes."
            )
        return bytes(data)

    def _too_large(self, job: _Job) -> str:
        limit = self._max_bytes / settings.MIB
        return f"The image at {_host(job.url)} is larger than {limit:.0f} MiB: not fetched."


def _media_type(data: bytes, declared: str, job: _Job) -> str:
    if sniffed := media_type(data):
        return sniffed
    declared = declared.partition(";")[0].strip().lower()
    if declared.startswith("image/") and data and data.lstrip()[:1] != b"<":
        return declared
    page = declared == "text/html" or data.lstrip()[:1] == b"<"
    holds = "a web page" if page else "no image"
    raise DownloadError(
        f"The address at {_host(job.url)} holds {holds}. A proxy or login page may be in the way."
    )


def _host(url: str) -> str:
    """Return what a message may show of a URL: its path and query can be secrets."""
    return urlsplit(url).hostname or "an unnamed host"


def _short(error: Exception) -> str:
    """Return a library's error without its nested repr."""
    reason = getattr(error.args[0], "reason", error) if error.args else error
    text = re.sub(r"^<[^>]*>: |^\w*\(.*?\): ", "", str(reason))
    return f"{type(reason).__name__}: {text[:150]}"
