"""One HTTP request to an engine, which ends the moment nobody waits for it any more.

It is made on a daemon thread with requests. Cancelling it shuts its socket down, so that the engine
hears of it at once and can stop its work, and the thread is free. It is sent once: no redirect is
followed, and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from xai_notebook import settings
from xai_notebook.client.addresses import is_loopback
from xai_notebook.client.pinned import PinnedAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xai_notebook.settings import ApiKey

__all__ = ["Answer", "BrokenError", "HttpRequest", "UnreachableError", "exchange"]

CONNECT_TIMEOUT: Final = 10.0
CHUNK: Final = 1 << 16


class UnreachableError(Exception):
    """Nothing was sent. The message says why.

    Attributes:
        refused: Nothing listens there (yet).
    """

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        """Keep what a caller decides by."""
        super().__init__(reason)
        self.refused = refused


class BrokenError(Exception):
    """It was sent, and no whole answer came. The work may have been done."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent.

    Attributes:
        method: `"GET"` or `"POST"`.
        url: Where to.
        json: A body.
        form: Fields of a multipart body.
        files: Files of a multipart body: field, file name, bytes, media type.
        key: Travels as a bearer token.
        timeout: Seconds without a byte.
        max_bytes: Size limit of the answer.
        public: The address came from a server: only public ones are connected to.
    """

    method: str
    url: str
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    files: tuple[tuple[str, str, bytes, str], ...] = ()
    key: ApiKey | None = None
    timeout: float = settings.DEFAULT_TIMEOUT
    max_bytes: int = settings.MAX_RECEIVE_BYTES
    public: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    Attributes:
        status: Of HTTP.
        headers: Names in lower case.
        body: At most as long as allowed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


async def exchange(request: HttpRequest) -> Answer:
    """Send a request and return its answer, whatever its status.

    Raises:
        UnreachableError: Nothing was sent.
        BrokenError: The answer did not come whole, or is too large.
    """
    loop = asyncio.get_running_loop()
    line = _Line()
    done: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: Exception | None) -> None:
        if done.done():
            return
        if answer is not None:
            done.set_result(answer)
        elif error is not None:
            done.set_exception(error)

    def work() -> None:
        answer, error = _attempt(request, line)
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is waiting
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=work, daemon=True, name="xai-notebook-engine").start()
    try:
        return await done
    finally:
        line.cut()


class _Line:
    """The connection of one request, which another thread can cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self.opened = False

    def hold(self, connected: socket.socket) -> None:
        """Remember a connection, or cut it if that was wished already."""
        with self._lock:
            self._socket, self.opened = connected, True
            if self._cut:
                _shut(connected)

    def cut(self) -> None:
        """End the connection now. Whoever reads from it sees its end."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                _shut(self._socket)


def _shut(connected: socket.socket) -> None:
    # Not SSLSocket's, which would take TLS apart under the feet of the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _HeldAdapter(HTTPAdapter):
    """Hands every connection it makes to a line."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Hold direct connections."""
        super().init_poolmanager(*args, **options)
        self._hold(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Hold connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        self._hold(manager)
        return manager

    def _hold(self, manager: Any) -> None:
        line = self._line

        def held(pool: Any) -> Any:
            class Connection(pool.ConnectionCls):  # type: ignore[misc]  # the pool decides
                def connect(self) -> None:
                    super().connect()
                    line.hold(self.sock)

            return type("Pool", (pool,), {"ConnectionCls": Connection})

        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {name: held(pool) for name, pool in pools.items()}


class _HeldPinnedAdapter(_HeldAdapter, PinnedAdapter):
    """The same, to public addresses only."""


def _attempt(request: HttpRequest, line: _Line) -> tuple[Answer | None, Exception | None]:
    try:
        return _send(request, line), None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        reason = _short(error)
        if line.opened:
            return None, BrokenError(f"the answer broke off ({reason})")
        refused = "refused" in reason.lower()
        return None, UnreachableError(reason, refused=refused)
    except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to
        return None, error if isinstance(error, BrokenError) else BrokenError(type(error).__name__)


def _send(request: HttpRequest, line: _Line) -> Answer:
    with _session(request, line) as session:
        host = urlsplit(request.url).hostname or ""
        with session.request(
            request.method,
            request.url,
            json=request.json,
            data=request.form,
            files=[(name, (file, data, kind)) for name, file, data, kind in request.files] or None,
            auth=_bearer(request.key),
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT, request.timeout),
            verify=settings.either_case("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") or True,
            # A proxy is somewhere else, and cannot reach what is on this computer.
            proxies={} if is_loopback(host) else get_environ_proxies(request.url),
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, headers, _read(response, request.max_bytes))


class _Session(requests.Session):
    """Follows nothing: looking where a redirect goes would read its body, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that there is none."""


def _session(request: HttpRequest, line: _Line) -> requests.Session:
    session = _Session()
    session.trust_env = False  # no .netrc: a password kept there for a host is not for this
    session.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
    adapter = (_HeldPinnedAdapter if request.public else _HeldAdapter)(line)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _bearer(key: ApiKey | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what puts the key into a request at the last moment."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
        return request

    return sign


def _read(response: requests.Response, limit: int) -> bytes:
    """Return the body.

    Raises:
        BrokenError: It is larger than allowed, or shorter than announced.
    """
    announced = response.headers.get("Content-Length", "")
    too_large = f"the answer is larger than {limit // settings.MIB} MiB"
    if announced.isdecimal() and int(announced) > limit:
        raise BrokenError(too_large)
    read: Any = getattr(response.raw, "read1", response.raw.read)
    body = bytearray()
    while chunk := read(CHUNK):
        body += chunk
        if len(body) > limit:
            raise BrokenError(too_large)
    if announced.isdecimal() and len(body) < int(announced):
        raise BrokenError(f"the answer broke off after {len(body)} of {announced} bytes")
    return bytes(body)


def _short(error: Exception) -> str:
    """Return a library's error without its nested repr, and without the address."""
    cause: Any = error
    while cause.args and isinstance(inner := getattr(cause.args[0], "reason", None), Exception):
        cause = inner
    text = str(cause).rpartition(": ")[2]
    return f"{type(cause).__name__}: {text[:150]}"
