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
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.client.addresses import (
    RefusedError,
    addresses_of,
    check_host,
    is_loopback,
)
from xai_notebook.client.channel import root_certificates_path
from xai_notebook.errors import XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from xai_notebook.client.addresses import WebAddress
    from xai_notebook.settings import ApiKey

__all__ = ["Answer", "BrokenError", "HttpClient", "HttpRequest", "UnreachableError"]

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
class Answer:
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

    async def send(self, request: HttpRequest) -> Answer:
        """Send a request and return its answer, whatever its status.

        Raises:
            RefusedError: Its address is not one to connect to.
            UnreachableError: Nothing was sent.
            BrokenError: The answer did not come whole, or is too large.
            ConfigurationError: The environment names roots that do not exist.
        """
        own = self._checked(request)
        line = _Line(request.address, own=own)
        future: Future[Answer] = Future()
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

    def _attempt(self, request: HttpRequest, line: _Line, key: ApiKey | None) -> Answer:
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

    def _send(self, request: HttpRequest, line: _Line, key: ApiKey | None) -> Answer:
        from xai_notebook.client.download import pinned_adapter  # noqa: PLC0415  # requests

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
            return Answer(response.status_code, headers, _read(response, request.max_bytes))


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
