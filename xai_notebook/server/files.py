"""Pictures at unguessable loopback addresses, for the `url` format.

The address is the secret: 192 random bits, told only in replies to calls with the server's key. So
a browser opens it without a header, and whoever does not have it reads nothing.

A handful of lines of HTTP on the server's own event loop: `http.server` would
cost its import in every notebook and a thread per download.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.server.faults import Faults

__all__ = ["FileServer"]

_MAX_HEAD: Final = 16 << 10
"""Bytes of request line and headers."""
_HEAD_TIMEOUT: Final = 10.0
_MOST: Final = 64
"""Connections at once: any user of the computer can open some, and each takes a descriptor."""
_SUFFIX: Final = ".jpg"


@dataclass(slots=True, frozen=True)
class _File:
    content: bytes
    media_type: str
    expires: float


class FileServer:
    """Serves what was put into it, each file at its own address, for a while."""

    def __init__(self, *, host: str, faults: Faults, keep_seconds: float, keep_bytes: int) -> None:
        """Prepare; nothing is bound yet.

        Args:
            host: Loopback address to bind.
            faults: For `download_delay`, `download_status` and `download_short`.
            keep_seconds: How long an address is good.
            keep_bytes: Bytes kept in memory; the oldest files go first.
        """
        self.served = 0
        self._host = host
        self._faults = faults
        self._keep_seconds = keep_seconds
        self._keep_bytes = keep_bytes
        # By the hash of a name, which is another one in each process: the time that a look-up takes
        # tells nothing of a name.
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._open = 0
        self._bytes = 0
        self._server: asyncio.Server | None = None
        self._base = ""
        self._names: frozenset[str] = frozenset()
        self._find: Callable[[str], tuple[bytes, str] | None] = lambda _: None

    async def start(self) -> None:
        """Bind a free port of the host."""
        self._server = await asyncio.start_server(self._answer, self._host, 0, limit=_MAX_HEAD)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._base = f"http://{host}:{port}/"
        self._names = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    async def stop(self) -> None:
        """Unbind and forget every file."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._files.clear()
        self._bytes = 0

    def put(self, content: bytes, media_type: str = "image/jpeg") -> str:
        """Keep `content` and return the URL it can be fetched from."""
        name = secrets.token_urlsafe(24) + _SUFFIX
        self._files[name] = _File(content, media_type, time.monotonic() + self._keep_seconds)
        self._bytes += len(content)
        self._forget()
        return self.address(name)

    def share(self, find: Callable[[str], tuple[bytes, str] | None]) -> None:
        """Serve other files too.

        Args:
            find: Returns the bytes and the media type of the file of a name, if there is one.
        """
        self._find = find

    def address(self, name: str) -> str:
        """Return the URL of a name."""
        return self._base + name

    def get(self, url: str) -> bytes | None:
        """Return what one of this server's own URLs stands for, None for every other URL."""
        if not self._base or not url.startswith(self._base):
            return None
        file = self._lookup(url[len(self._base) :])
        return None if file is None else file.content

    def _lookup(self, name: str) -> _File | None:
        self._forget()
        if name not in self._files and (found := self._find(name)):
            return _File(*found, time.monotonic())  # nobody shall keep what may be revoked
        return self._files.get(name)

    def _forget(self) -> None:
        """Drop what has expired and, oldest first, what does not fit. The newest always fits."""
        now = time.monotonic()
        while self._files:
            name, oldest = next(iter(self._files.items()))
            too_many = self._bytes > self._keep_bytes and len(self._files) > 1
            if oldest.expires > now and not too_many:
                break
            del self._files[name]
            self._bytes -= len(oldest.content)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close; a client that misbehaves or leaves is no news."""
        if self._open >= _MOST:
            writer.close()
            return
        self._open += 1
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_TIMEOUT)
            writer.write(await self._reply(head))
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass
        except OSError:
            pass
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                writer.close()

    async def _reply(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path, _, version = rest.decode("latin-1").partition(" ")
        if not version.startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        if not self._names.issuperset(hosts := _hosts(head)) or len(hosts) != 1:
            # A web page whose own name was made to point here must not read anything.
            return _response(HTTPStatus.MISDIRECTED_REQUEST)
        if method not in {b"GET", b"HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, extra=("Allow: GET, HEAD",))
        if self._faults.download_delay > 0:
            await asyncio.sleep(self._faults.download_delay)
        if self._faults.download_status != HTTPStatus.OK:
            return _response(HTTPStatus(self._faults.download_status))
        file = self._lookup(path[1:]) if path.startswith("/") else None
        if file is None:
            return _response(HTTPStatus.NOT_FOUND)
        self.served += 1
        seconds = max(0, int(file.expires - time.monotonic()))
        reply = _response(
            HTTPStatus.OK,
            body=file.content,
            media_type=file.media_type,
            extra=(f"Cache-Control: private, max-age={seconds}",),
            with_body=method == b"GET",
        )
        return reply[: len(reply) - self._faults.download_short]


def _hosts(head: bytes) -> list[str]:
    """Return what a request says about whom it is for."""
    headers = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [
        value.strip().lower().decode("latin-1")
        for name, _, value in headers
        if name.lower() == b"host"
    ]


def _response(
    status: HTTPStatus,
    *,
    body: bytes | None = None,
    media_type: str = "text/plain; charset=utf-8",
    extra: tuple[str, ...] = (),
    with_body: bool = True,
) -> bytes:
    """Return a whole HTTP response; without `body` its text is the status itself."""
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *extra,
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + body if with_body else head
