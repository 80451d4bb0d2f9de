"""One HTTP request, bounded, to an address that was checked; it ends when nobody waits any more.

It is made with requests on a daemon thread of its own, so that ten of them take as long as one, and
one that hangs keeps neither the caller nor the interpreter's exit. Cancelling it shuts its socket
down: the server hears of it at once and can stop its work, and the thread is free. It is sent once:
no redirect is followed, and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.client.addresses import RefusedError, check_host, is_loopback
from xai_notebook.client.channel import root_certificates_path
from xai_notebook.client.download.line import Line
from xai_notebook.errors import XaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from xai_notebook.client.addresses import WebAddress
    from xai_notebook.settings import ApiKey

__all__ = [
    "Answer",
    "BrokenError",
    "HttpClient",
    "HttpRequest",
    "TooLargeError",
    "UnreachableError",
]

CONNECT_TIMEOUT: Final = 10.0
CHUNK: Final = 1 << 16
MAX_COMPLAINT: Final = 1 << 16
"""Bytes that are read of an answer other than 200."""
_MAX_DIGITS: Final = 20
"""Of an announced length that is believed."""
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
    """It was sent, and no whole answer came. The work may have been done."""


class TooLargeError(BrokenError):
    """The answer is larger than allowed."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent.

    Attributes:
        method: `"GET"` or `"POST"`.
        address: Where to.
        headers: More of them.
        json: A body.
        form: Fields of a multipart body.
        files: Files of a multipart body: field, file name, bytes, media type.
        own: It may go to the client's own origin, with the key. A redirect never does.
        alone: Over a connection of its own: of one that was idle nobody can tell, when it breaks,
            whether the request arrived.
        timeout: Seconds without a byte.
        max_bytes: Size limit of the answer.
    """

    method: str
    address: WebAddress
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    files: tuple[tuple[str, str, bytes, str], ...] = ()
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
        line = Line(request.address, own=own)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer | None, error: Exception | None) -> None:
            if done.done():
                return
            if answer is not None:
                done.set_result(answer)
            elif error is not None:
                done.set_exception(error)

        def work() -> None:
            answer, error = self._attempt(request, line, self._key if own else None)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is waiting
                loop.call_soon_threadsafe(settle, answer, error)

        try:
            threading.Thread(target=work, daemon=True, name="xai-notebook-http").start()
        except RuntimeError as error:
            raise UnreachableError("this computer can start no more threads") from error
        try:
            return await done
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

    def _attempt(
        self, request: HttpRequest, line: Line, key: ApiKey | None
    ) -> tuple[Answer | None, Exception | None]:
        import requests  # noqa: PLC0415  # 110 ms that base64 users never pay
        import urllib3  # noqa: PLC0415

        # Of the libraries' errors only the words are kept: their frames can hold the key.
        try:
            with line.used():
                return self._send(request, key), None
        except (XaiError, RefusedError, BrokenError) as error:
            return None, error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
            reason = _short(e)
            if line.opened:
                return None, BrokenError(f"the answer broke off ({reason})")
            return None, UnreachableError(
                reason,
                refused="refused" in reason.lower(),
                unsafe=isinstance(e, requests.exceptions.SSLError),
            )
        except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to
            return None, BrokenError(type(error).__name__)

    def _send(self, request: HttpRequest, key: ApiKey | None) -> Answer:
        from xai_notebook.client.download import pinned_adapter  # noqa: PLC0415  # requests

        address = request.address
        roots = root_certificates_path() if address.scheme == "https" else None
        with contextlib.ExitStack() as stack:
            if request.alone:
                session = stack.enter_context(pinned_adapter.open_session())
            else:
                with self._lock:
                    self._session = session = self._session or pinned_adapter.open_session()
            files = [(name, (file, data, kind)) for name, file, data, kind in request.files]
            response = session.request(
                request.method,
                str(address),
                headers={**request.headers, **({"Connection": "close"} if request.alone else {})},
                json=request.json,
                data=request.form,
                files=files or None,
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
        TooLargeError: It is larger than allowed.
        BrokenError: It is shorter than announced.
    """
    if response.status_code in _REDIRECTS:
        return b""
    good = response.status_code == _OK
    announced = response.headers.get("Content-Length", "")
    length = int(announced) if announced.isdecimal() and len(announced) < _MAX_DIGITS else 0
    too_large = f"the answer is larger than {limit // settings.MIB} MiB"
    if good and length > limit:
        raise TooLargeError(too_large)
    # read() waits until a chunk is full, which a dripping server can draw out for hours.
    read: Any = response.raw.read1
    body = bytearray()
    while chunk := read(CHUNK):
        body += chunk
        if not good and len(body) >= MAX_COMPLAINT:
            return bytes(body[:MAX_COMPLAINT])
        if len(body) > limit:
            raise TooLargeError(too_large)
    if len(body) < length:
        raise BrokenError(f"the answer broke off after {len(body)} of {announced} bytes")
    return bytes(body)


def _short(error: Exception) -> str:
    """Return a library's error without its nested repr, and without the address."""
    cause: Any = error
    while cause.args and isinstance(inner := getattr(cause.args[0], "reason", None), Exception):
        cause = inner
    text = str(cause).rpartition(": ")[2]
    return f"{type(cause).__name__}: {text[:150]}"
