"""HTTP: `Downloader` fetches images, with retries; `HttpClient` sends single requests.

A request is sent only to a checked address, with limits for time and size. Each request runs on its
own daemon thread, so ten requests take as long as one, and a request that hangs blocks neither the
caller nor the exit of the interpreter. Cancelling a request shuts down its socket, so the server
notices immediately and the thread ends. `HttpClient` does not retry and follows no redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.client.addresses import (
    RefusedError,
    WebAddress,
    addresses_of,
    check_host,
    is_loopback,
)
from xai_notebook.client.media import media_type
from xai_notebook.client.transport.channel import root_certificates_path
from xai_notebook.client.transport.retry import Backoff
from xai_notebook.errors import DownloadError, XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from xai_notebook.settings import ApiKey

CONNECT_TIMEOUT: Final = 10.0
"""Maximum seconds to connect."""
READ_TIMEOUT: Final = 30.0
"""Maximum seconds without a byte during the download of an image."""
DOWNLOAD_TIMEOUT: Final = 120.0
"""Maximum seconds to download one image, over all attempts and redirects."""
MAX_ATTEMPTS: Final = 3
"""Attempts to download an image. Retries are free, and the image is already paid for."""
MAX_REDIRECTS: Final = 5
CHUNK_BYTES: Final = 1 << 16
MAX_ERROR_BYTES: Final = 1 << 16
"""Bytes to read from a response whose status is not 200."""
DEFAULT_MEDIA_TYPE: Final = "image/jpeg"

_BACKOFF = Backoff(first=0.3, most=0.6)
"""Waits between the attempts to download an image."""
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MISSING: Final = frozenset({404, 410})
_EXPIRED: Final = _MISSING | {401, 403}
"""Statuses of an expired URL. 401 and 403 can be temporary."""


class Downloader:
    """Downloads images. It is not tied to an event loop and can outlive its client."""

    def __init__(
        self,
        *,
        allow_loopback: bool,
        own: WebAddress | None = None,
        key: ApiKey | None = None,
        timeout: float = DOWNLOAD_TIMEOUT,
        max_bytes: int = settings.MAX_DOWNLOAD_BYTES,
    ) -> None:
        """Store the options; the first download imports requests.

        Args:
            allow_loopback: Whether to allow URLs on this computer, also with http. Only an API on
                this computer has a reason to send such URLs.
            own: The server that sends the URLs, if the user configured it. Images may be fetched
                from its origin, even in a private network, and URLs may be relative to it.
            key: Bearer token, sent only to the origin of `own`.
            timeout: Maximum seconds for one image.
            max_bytes: Size limit of one image.
        """
        self._http = HttpClient(allow_loopback=allow_loopback, own=own, key=key)
        self._own = own
        self._timeout = timeout
        self._max_bytes = max_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        # Exclude the key, and the permission to reach the user's own server, from pickles.
        return partial(Downloader, allow_loopback=False), ()

    async def fetch(self, url: str, *, timeout: float | None = None) -> tuple[bytes, str]:
        """Download `url` and return its bytes and their media type.

        Args:
            url: URL from a server's reply.
            timeout: Seconds until the deadline of the call; the downloader's limit also applies.

        Raises:
            DownloadError: The URL is not allowed, cannot be reached, or is not an image.
            ConfigurationError: The environment names root certificates that do not exist.
        """
        timeout = self._timeout if timeout is None else max(min(timeout, self._timeout), 0.001)
        if self._own is None:
            root_certificates_path()  # its error names the variable, unlike a later TLS error
        try:
            address = WebAddress.parse(url, self._own)
            return await asyncio.wait_for(self._fetch(address), timeout)
        except RefusedError as error:
            cure = " Ask for the format 'base64'." if self._own is None else ""
            raise DownloadError(f"{error}{cure}") from error
        except asyncio.TimeoutError as error:
            raise DownloadError(
                f"The image at {address.host} took longer than {timeout:.3g} s."
            ) from error

    def close(self) -> None:
        """Close idle connections. A later download opens new ones."""
        self._http.close()

    async def _fetch(self, address: WebAddress) -> tuple[bytes, str]:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._follow(address)
            except _TransientError as error:
                if attempt == MAX_ATTEMPTS:
                    raise DownloadError(str(error)) from error.__cause__
            await asyncio.sleep(_BACKOFF.wait(attempt))

    async def _follow(self, first: WebAddress) -> tuple[bytes, str]:
        """Follow redirects; check every address, and send the key only to the first."""
        address = first
        for hop in range(MAX_REDIRECTS + 1):
            answer = await self._get(address, own=hop == 0)
            if answer.status not in _FOLLOWED:
                return _image(answer, first.host)
            address = WebAddress.parse(answer.headers.get("location", ""), address)
        raise DownloadError(
            f"The image at {first.host} was redirected more than {MAX_REDIRECTS} times."
        )

    async def _get(self, address: WebAddress, *, own: bool) -> HttpResponse:
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
        except (UnreachableError, BrokenError) as error:
            kind: type[DownloadError] = _TransientError
            problem = "could not be fetched"
            if isinstance(error, BrokenError) and error.too_large:
                kind, problem = DownloadError, "is not fetched"
            elif isinstance(error, UnreachableError) and error.unsafe:
                kind, problem = DownloadError, "could not be fetched safely"
            raise kind(f"The image at {address.host} {problem}: {error}") from error


class _TransientError(DownloadError):
    """A failure that may be temporary, so that the download is retried."""


def _image(answer: HttpResponse, host: str) -> tuple[bytes, str]:
    """Return the image of a response and its media type.

    Raises:
        DownloadError: The response is not an image.
    """
    status, data = answer.status, answer.body
    if status in _TRANSIENT:
        raise _TransientError(f"{host} answered {status} instead of an image. Try again later.")
    if status in _EXPIRED:
        msg = f"{host} no longer has the image ({status}): URLs last about an hour."
        error = DownloadError(msg)
        error.gone = status in _MISSING
        raise error
    if status != _OK:
        raise DownloadError(f"{host} answered {status} instead of an image.")
    if sniffed := media_type(data):
        return data, sniffed
    declared = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    markup = data.lstrip()[:1] == b"<"
    if declared.startswith("image/") and data and not markup:
        return data, declared
    content = "a web page" if markup or declared == "text/html" else "not an image"
    raise DownloadError(
        f"The download from {host} is {content}. A proxy or login page may be in the way."
    )


class UnreachableError(Exception):
    """The request was not sent; the message states the reason.

    Attributes:
        refused: Whether the connection was refused because no server listens there (yet).
        unsafe: Whether the server's certificate is not trusted.
    """

    def __init__(self, reason: str, *, refused: bool = False, unsafe: bool = False) -> None:
        super().__init__(reason)
        self.refused, self.unsafe = refused, unsafe


class BrokenError(Exception):
    """The request was sent, but the response is incomplete. The work may have been done.

    Attributes:
        too_large: Whether the response is larger than allowed.
    """

    too_large = False


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request.

    Attributes:
        method: `"GET"` or `"POST"`.
        address: URL of the request.
        headers: Additional headers.
        body: Body as arguments of `requests`: `json`, or `data` and `files`.
        own: Whether the request may be sent to the client's own origin, with the key. False for
            redirects.
        alone: Whether to use a new connection. When a reused connection breaks, it is unknown
            whether the request arrived.
        timeout: Maximum seconds without a byte.
        max_bytes: Size limit of the response.
    """

    method: str
    address: WebAddress
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    own: bool = True
    alone: bool = False
    timeout: float = settings.DEFAULT_TIMEOUT
    max_bytes: int = settings.MAX_RECEIVE_BYTES


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response.

    Attributes:
        status: HTTP status code.
        headers: Headers, with names in lower case.
        body: Complete body if the status is 200, empty for a redirect, otherwise its beginning.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class HttpClient:
    """Sends requests to public https addresses, its own origin and, if allowed, loopback.

    It is not tied to an event loop and can outlive the API client that uses it.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        own: WebAddress | None = None,
        key: ApiKey | None = None,
    ) -> None:
        """Store the options of `Downloader`; the first request imports requests."""
        self._allow_loopback = allow_loopback
        self._own = own
        self._key = key
        self._session: requests.Session | None = None
        self._lock = threading.Lock()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the response, whatever its status.

        Raises:
            RefusedError: The address is not allowed.
            UnreachableError: The request was not sent.
            BrokenError: The response is incomplete or too large.
            ConfigurationError: The environment names root certificates that do not exist.
        """
        address = request.address
        own = request.own and self._own is not None and address.origin == self._own.origin
        if not own:
            check_host(address.host, allow_loopback=self._allow_loopback)
            if address.scheme != "https" and not is_loopback(address.host):
                raise RefusedError(
                    f"The address at {address.host} is http, not https: not fetched."
                )
        connection = _RequestConnection(address, own=own)
        future: Future[HttpResponse] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(self._attempt(request, connection, self._key if own else None))
            except Exception as error:  # noqa: BLE001  # raised where the future is awaited
                future.set_exception(error)

        try:
            threading.Thread(target=run, daemon=True, name="xai-notebook-http").start()
        except RuntimeError as error:
            raise UnreachableError("this computer can start no more threads") from error
        try:
            return await asyncio.wrap_future(future)
        finally:
            connection.shut_down()

    def close(self) -> None:
        """Close idle connections. A later request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _attempt(
        self, request: HttpRequest, connection: _RequestConnection, key: ApiKey | None
    ) -> HttpResponse:
        import requests  # noqa: PLC0415  # takes 110 ms, and images in base64 do not need it
        import urllib3  # noqa: PLC0415

        try:
            return self._send(request, connection, key)
        except (XaiError, RefusedError, BrokenError) as error:
            failure: Exception = error.with_traceback(None)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
            reason = _reason(e)
            unsafe = isinstance(e, requests.exceptions.SSLError)
            refused = "refused" in reason.lower()
            failure = UnreachableError(reason, refused=refused, unsafe=unsafe)
            if connection.opened:
                failure = BrokenError(f"the answer broke off ({reason})")
        except Exception as error:  # noqa: BLE001  # libraries also raise undocumented errors
            failure = BrokenError(type(error).__name__)
        finally:
            connection.detach()
        raise failure  # without the library's error, whose frames can contain the key

    def _send(
        self, request: HttpRequest, connection: _RequestConnection, key: ApiKey | None
    ) -> HttpResponse:
        from requests.utils import get_environ_proxies  # noqa: PLC0415  # takes 110 ms, see above

        from xai_notebook.client import pinned_adapter  # noqa: PLC0415  # imports requests

        pinned_adapter.current.connection = connection
        address = request.address
        roots = root_certificates_path() if address.scheme == "https" else None
        # Plain http is used only on this computer and in the user's network. A proxy may be unable
        # to reach these, and could read a key that is sent without TLS.
        direct = address.scheme == "http" or is_loopback(address.host)
        with contextlib.ExitStack() as stack:
            if request.alone:
                session = stack.enter_context(pinned_adapter.open_session())
                session.headers["Connection"] = "close"
            else:
                with self._lock:
                    self._session = session = self._session or pinned_adapter.open_session()
            response = session.request(
                request.method,
                str(address),
                headers=request.headers,
                **request.body,
                auth=_bearer(key),
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, request.timeout),
                verify=str(roots) if roots else True,
                proxies={} if direct else get_environ_proxies(str(address)),
            )
            stack.enter_context(response)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status_code, headers, _read(response, request.max_bytes))


class _RequestConnection:
    """The connection of one request to `address`; any thread can shut it down.

    If `own` is true, the user configured the address, so it may be private.

    Attributes:
        opened: Whether there was a connection, so that data may have been sent.
    """

    def __init__(self, address: WebAddress, *, own: bool) -> None:
        self.opened = False
        self._address = address
        self._own = own
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_shut_down = False

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses to try, in this order.

        Raises:
            RefusedError: The host is not the request's, or resolves to an address that is not
                allowed.
            OSError: The name cannot be resolved.
        """
        if (host, port) != (self._address.host, self._address.port):
            raise RefusedError("The server named an invalid URL: not fetched.")
        return [host] if self._own else addresses_of(host, port)

    def attach(self, connected: socket.socket) -> None:
        """Store a connected socket; shut it down if the request was already cancelled."""
        with self._lock:
            self._socket, self.opened = connected, True
        if self._is_shut_down:
            self.shut_down()

    def detach(self) -> None:
        """Forget the socket, because another request may reuse it."""
        with self._lock:
            self._socket = None

    def shut_down(self) -> None:
        """Shut down the connection, so that a thread that reads from it gets the end of file."""
        with self._lock, contextlib.suppress(OSError):
            self._is_shut_down = True
            if self._socket is not None:
                # SSLSocket.shutdown would drop TLS while the other thread reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _bearer(key: ApiKey | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return an authentication function for `requests` that adds the key just before sending."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
        return request

    return sign


def _read(response: requests.Response, limit: int) -> bytes:
    """Return the body, or only its beginning if the status is not 200.

    If the body is incomplete, urllib3 raises an error.

    Raises:
        BrokenError: The body is larger than `limit`.
    """
    if response.status_code in _REDIRECTS:
        return b""
    too_large = BrokenError(f"the answer is larger than {limit // settings.MIB} MiB")
    too_large.too_large = True
    raw: Any = response.raw
    is_ok = response.status_code == _OK
    if is_ok and (raw.length_remaining or 0) > limit:
        raise too_large
    body = bytearray()
    # read() would wait until a chunk is full: for hours if the server sends single bytes.
    while chunk := raw.read1(CHUNK_BYTES):
        body += chunk
        if not is_ok and len(body) >= MAX_ERROR_BYTES:
            break
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _reason(error: Exception) -> str:
    """Return the innermost reason of a library's error, without the address."""
    cause: Any = error
    while cause.args and isinstance(inner := getattr(cause.args[0], "reason", None), Exception):
        cause = inner
    text = str(cause).rpartition(": ")[2]
    return f"{type(cause).__name__}: {text[:150]}"
