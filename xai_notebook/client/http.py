"""One HTTP request, bounded, to an address that was checked; it ends when nobody waits any more.

It is made with requests on a daemon thread of its own, so that ten of them take as long as one, and
one that hangs keeps neither the caller nor the interpreter's exit. Cancelling it shuts its socket
down: the server hears of it at once and can stop its work, and the thread is free. It is sent once:
no redirect is followed, and nothing is tried again.
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
from xai_notebook.errors import DownloadError, XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from xai_notebook.settings import ApiKey

__all__ = [
    "DEFAULT_MEDIA_TYPE",
    "BrokenError",
    "Downloader",
    "HttpClient",
    "HttpRequest",
    "HttpResponse",
    "UnreachableError",
]

CONNECT_TIMEOUT: Final = 10.0
CHUNK: Final = 1 << 16
MAX_COMPLAINT: Final = 1 << 16
"""Bytes that are read of an answer other than 200."""
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)


class UnreachableError(Exception):
    """Nothing was sent. The message says why.

    Attributes:
        refused: Nothing listens there (yet).
        unsafe: There is a server, whose certificate is not trusted.
    """

    def __init__(self, reason: str, *, refused: bool = False, unsafe: bool = False) -> None:
        """Keep what a caller decides by."""
        super().__init__(reason)
        self.refused, self.unsafe = refused, unsafe


class BrokenError(Exception):
    """It was sent, and no whole answer came. The work may have been done.

    Attributes:
        too_large: The answer is larger than allowed.
    """

    too_large = False


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent.

    Attributes:
        method: `"GET"` or `"POST"`.
        address: Where to.
        headers: More of them.
        body: As requests takes it: `json`, or `data` and `files`.
        own: It may go to the client's own origin, with the key. A redirect never does.
        alone: Over a connection of its own: of one that was idle nobody can tell, when it breaks,
            whether the request arrived.
        timeout: Seconds without a byte.
        max_bytes: Size limit of the answer.
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
    """What came back.

    Attributes:
        status: Of HTTP.
        headers: Names in lower case.
        body: Whole, if the status is 200; empty for a redirect.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class HttpClient:
    """Sends requests to public https addresses, and to its own origin.

    Knows no event loop, so it outlives the client that made it.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        own: WebAddress | None = None,
        key: ApiKey | None = None,
    ) -> None:
        """Prepare; requests is imported by the first request.

        Args:
            allow_loopback: Whether addresses of this computer are allowed, http too.
            own: An address that the user named: its origin is allowed, wherever it is.
            key: Travels to the origin of `own` as a bearer token, and nowhere else.
        """
        self._allow_loopback = allow_loopback
        self._own = own
        self._key = key
        self._session: requests.Session | None = None
        self._lock = threading.Lock()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return its answer, whatever its status.

        Raises:
            RefusedError: Its address is not one to connect to.
            UnreachableError: Nothing was sent.
            BrokenError: The answer did not come whole, or is too large.
            ConfigurationError: The environment names roots that do not exist.
        """
        own = self._checked(request)
        line = _Line(request.address, own=own)
        future: Future[HttpResponse] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(self._attempt(request, line, self._key if own else None))
            except Exception as error:  # noqa: BLE001  # it belongs to who waits
                future.set_exception(error)

        try:
            threading.Thread(target=work, daemon=True, name="xai-notebook-http").start()
        except RuntimeError as error:
            raise UnreachableError("this computer can start no more threads") from error
        try:
            return await asyncio.wrap_future(future)
        finally:
            line.cut()

    def close(self) -> None:
        """Drop idle connections. A later request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _checked(self, request: HttpRequest) -> bool:
        """Tell whether a request goes to the client's own origin.

        Raises:
            RefusedError: It goes neither there nor to an address that others may name.
        """
        address = request.address
        if request.own and self._own is not None and address.origin == self._own.origin:
            return True
        check_host(address.host, allow_loopback=self._allow_loopback)
        if address.scheme != "https" and not is_loopback(address.host):
            raise RefusedError(f"The address at {address.host} is http, not https: not fetched.")
        return False

    def _attempt(self, request: HttpRequest, line: _Line, key: ApiKey | None) -> HttpResponse:
        import requests  # noqa: PLC0415  # 110 ms that base64 users never pay
        import urllib3  # noqa: PLC0415

        try:
            return self._send(request, line, key)
        except (XaiError, RefusedError, BrokenError) as error:
            failure: Exception = error.with_traceback(None)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
            reason = _short(e)
            unsafe = isinstance(e, requests.exceptions.SSLError)
            refused = "refused" in reason.lower()
            failure = UnreachableError(reason, refused=refused, unsafe=unsafe)
            if line.opened:
                failure = BrokenError(f"the answer broke off ({reason})")
        except Exception as error:  # noqa: BLE001  # whatever a library comes up with
            failure = BrokenError(type(error).__name__)
        finally:
            line.release()
        raise failure  # not from a library's error, whose frames can hold the key

    def _send(self, request: HttpRequest, line: _Line, key: ApiKey | None) -> HttpResponse:
        from xai_notebook.client import pinned_adapter  # noqa: PLC0415  # requests

        pinned_adapter.work.line = line
        address = request.address
        roots = root_certificates_path() if address.scheme == "https" else None
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
                proxies=_proxies(address),
            )
            stack.enter_context(response)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status_code, headers, _read(response, request.max_bytes))


class _Line:
    """The connection of one request, which another thread can cut.

    Attributes:
        opened: There was a connection, so something may have been sent.
    """

    def __init__(self, address: WebAddress, *, own: bool) -> None:
        """Begin without a connection.

        Args:
            address: What may be connected to.
            own: It is the user's own, wherever it is.
        """
        self.opened = False
        self._address = address
        self._own = own
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def release(self) -> None:
        """Let go of the connection, which is perhaps another request's from here on."""
        with self._lock:
            self._socket = None

    def hold(self, connected: socket.socket) -> None:
        """Remember a connection, or cut it if that was wished already."""
        with self._lock:
            self._socket, self.opened = connected, True
        if self._cut:
            self.cut()

    def cut(self) -> None:
        """End the connection now. Whoever reads from it sees its end."""
        with self._lock, contextlib.suppress(OSError):
            self._cut = True
            if self._socket is not None:
                # Not SSLSocket's, which would take TLS apart under the feet of who reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def addresses(self, host: str, port: int) -> list[str]:
        """Return where to connect to, in the order to try.

        Raises:
            RefusedError: It is not what was checked, or stands for an address that is refused.
            OSError: The name cannot be resolved.
        """
        if (host, port) != (self._address.host, self._address.port):
            raise RefusedError("The server named an address that is no URL: not fetched.")
        return [host] if self._own else addresses_of(host, port)


def _proxies(address: WebAddress) -> dict[str, str]:
    """Return the proxies for an address.

    One cannot reach what is on this computer, and would read a key that travels without TLS: http
    is spoken only here and in the user's own network.
    """
    from requests.utils import get_environ_proxies  # noqa: PLC0415

    direct = address.scheme == "http" or is_loopback(address.host)
    return {} if direct else get_environ_proxies(str(address))


def _bearer(key: ApiKey | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what puts the key into a request at the last moment."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
        return request

    return sign


def _read(response: requests.Response, limit: int) -> bytes:
    """Return the body; of an answer that is not 200 no more than an error needs.

    Raises:
        BrokenError: It is larger than allowed. urllib3 raises if it is shorter than announced.
    """
    if response.status_code in _REDIRECTS:
        return b""
    too_large = BrokenError(f"the answer is larger than {limit // settings.MIB} MiB")
    too_large.too_large = True
    raw: Any = response.raw
    good = response.status_code == _OK
    if good and (raw.length_remaining or 0) > limit:
        raise too_large
    body = bytearray()
    # read() waits until a chunk is full, which a dripping server can draw out for hours.
    while chunk := raw.read1(CHUNK):
        body += chunk
        if not good and len(body) >= MAX_COMPLAINT:
            break
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _short(error: Exception) -> str:
    """Return a library's error without its nested repr, and without the address."""
    cause: Any = error
    while cause.args and isinstance(inner := getattr(cause.args[0], "reason", None), Exception):
        cause = inner
    text = str(cause).rpartition(": ")[2]
    return f"{type(cause).__name__}: {text[:150]}"


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

_FOLLOWED = frozenset({301, 302, 303, 307, 308})
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
            if answer.status not in _FOLLOWED:
                return _image(answer, first.host)
            address = self._parsed(answer.headers.get("location", ""), address)
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


def _image(answer: HttpResponse, host: str) -> tuple[bytes, str]:
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


def _media_type(answer: HttpResponse, host: str) -> str:
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
