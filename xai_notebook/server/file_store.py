"""The file store: uploads and kept pictures, in memory, with public links on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import mimetypes
import operator
import re
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.media import media_type
from xai_notebook.server.faults import Faults, Refusal
from xai_notebook.server.validation import check_lifetime, invalid, iso, timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from xai_notebook.server.dispatch import SeenCall

__all__ = ["FileServer", "FileStore", "parse_filter"]

Fields: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Fields], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<text>"[^"]*"|'[^']*') | (?P<sign>!=|>=|<=|[=<>()]) | (?P<word>[\w.:+-]+) )""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_MAX_TOKENS: Final = 100
"""Tokens: deeper nesting than this is no question about files."""


def parse_filter(text: str, names: Mapping[str, str]) -> Test:
    """Return what tells whether a file's fields pass a filter.

    Args:
        text: The filter.
        names: The fields that there are, by what they may be called.

    Raises:
        Refusal: INVALID_ARGUMENT: it cannot be read.
    """
    tokens = list(_tokens(text))
    if len(tokens) > _MAX_TOKENS:
        raise invalid("The filter is too long.")
    parser = _Parser(tokens, names)
    test = parser.either()
    if parser.left:
        raise invalid(f"The filter cannot be read from {parser.left[0]!r} on.")
    return test


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise invalid(f"The filter cannot be read from {text[at : at + 20]!r} on.")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


class _Parser:
    """Reads tokens from the left: OR of ANDs of NOTs of comparisons and parentheses."""

    def __init__(self, tokens: list[str], names: Mapping[str, str]) -> None:
        self.left = tokens
        self._names = names

    def either(self) -> Test:
        tests = [self._both()]
        while self._skip("OR"):
            tests.append(self._both())
        return lambda fields: any(test(fields) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._skip("AND"):
            tests.append(self._one())
        return lambda fields: all(test(fields) for test in tests)

    def _one(self) -> Test:
        if self._skip("NOT"):
            test = self._one()
            return lambda fields: not test(fields)
        if self._skip("("):
            test = self.either()
            if not self._skip(")"):
                raise invalid("The filter lacks a closing parenthesis.")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        if len(self.left) < 3:  # noqa: PLR2004  # a field, an operator, a value
            raise invalid("The filter ends in the middle of a comparison.")
        field, sign, given = self.left[:3]
        del self.left[:3]
        if field not in self._names:
            raise invalid(f"The filter knows no field {field!r}, but {', '.join(self._names)}.")
        if sign not in _COMPARE:
            raise invalid(f"The filter knows no operator {sign!r}, but {' '.join(_COMPARE)}.")
        name, compare, value = self._names[field], _COMPARE[sign], _value(given)

        def test(fields: Fields) -> bool:
            held = fields[name]
            if held is None or value is None:
                return sign in {"=", "!="} and compare(held, value)
            if isinstance(held, (int, float)) != isinstance(value, (int, float)):
                return compare(str(held), str(value))
            return compare(held, value)

        return test

    def _skip(self, token: str) -> bool:
        if self.left and self.left[0].upper() == token:
            del self.left[0]
            return True
        return False


def _value(given: str) -> str | float | None:
    if given[0] in "\"'":
        return given[1:-1]
    if given == "null":
        return None
    try:
        return float(given)
    except ValueError:
        return given


CHUNK_BYTES: Final = 3 * settings.MIB
_PAGE: Final = 100
_MAX_NAME: Final = 255
_SETTLE: Final = 0.01
"""Seconds. grpc.aio reports a stream whose client has gone as ended, and cancels the call then."""
_NAMES: Final = {
    "file_id": "id", "id": "id", "name": "name", "file_name": "name", "filename": "name",
    "size_bytes": "size", "content_type": "kind", "created_at": "created",
    "expires_at": "expires", "public_url": "url", "public_url_expires_at": "url_expires",
}  # fmt: skip
_SORTS: Final[dict[int, str]] = {
    wire.FilesSortBy.FILES_SORT_BY_CREATED_AT: "created",
    wire.FilesSortBy.FILES_SORT_BY_FILENAME: "name",
    wire.FilesSortBy.FILES_SORT_BY_SIZE: "size",
}


@dataclass(slots=True)
class _Stored:
    """One file. Times are seconds since 1970; None: never."""

    id: str
    name: str
    data: bytes
    kind: str
    created: float
    expires: float | None
    link: str | None = None
    link_expires: float | None = None


class FileStore:
    """Every file of one server."""

    def __init__(
        self,
        web: FileServer,
        faults: Faults,
        *,
        keep_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start without any.

        Args:
            web: Hands out what is public.
            faults: What goes wrong on purpose.
            keep_bytes: Of all files together; what goes over is refused.
            clock: Seconds since 1970.
        """
        self._web = web
        self._faults = faults
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._files: dict[str, _Stored] = {}
        web.share(self._published)

    # The methods of the wire

    async def upload(
        self, chunks: AsyncIterator[wire.UploadFileChunk], _call: SeenCall
    ) -> wire.File:
        """Store a file that comes in pieces.

        Raises:
            Refusal: It does not begin with its name, or there is no room for it.
        """
        self._faults.strike(self._faults.files.failure)
        first = await anext(chunks)
        if not first.HasField("init"):
            raise invalid("An upload must begin with init.")
        data = bytearray()
        async for chunk in chunks:
            if not chunk.HasField("data"):
                raise invalid("After init, every piece of an upload must be data.")
            data += chunk.data
            self._check_room(len(data))
        await asyncio.sleep(_SETTLE)
        expires = first.init.expires_after if first.init.HasField("expires_after") else None
        return self._message(self._put(first.init.name, bytes(data), expires))

    async def list_all(
        self, request: wire.ListFilesRequest, _call: SeenCall
    ) -> wire.ListFilesResponse:
        """Return a page of the files that pass the filter."""
        self._faults.strike(self._faults.files.failure)
        facts = [(self._facts(file), file) for file in self._alive().values()]
        if request.filter:
            passes = parse_filter(request.filter, _NAMES)
            facts = [one for one in facts if passes(one[0])]
        field = _SORTS.get(request.sort_by)
        if field is None:
            raise invalid("sort_by is unknown.")
        facts.sort(key=lambda one: one[0][field], reverse=request.order == wire.Ordering.DESCENDING)
        size = request.limit if 0 < request.limit <= _PAGE else _PAGE
        token = request.pagination_token
        start = int(token) if token.isdecimal() else 0
        end = start + size
        return wire.ListFilesResponse(
            data=[self._message(file) for _, file in facts[start:end]],
            pagination_token=str(end) if end < len(facts) else None,
        )

    async def get(self, request: wire.RetrieveFileRequest, _call: SeenCall) -> wire.File:
        """Describe a file."""
        self._faults.strike(self._faults.files.failure)
        return self._message(self._find(request.file_id))

    async def delete(
        self, request: wire.DeleteFileRequest, _call: SeenCall
    ) -> wire.DeleteFileResponse:
        """Forget a file and its link."""
        self._faults.strike(self._faults.files.failure)
        file = self._find(request.file_id)
        del self._files[file.id]
        return wire.DeleteFileResponse(id=file.id, deleted=True)

    async def content(
        self, request: wire.RetrieveFileContentRequest, _call: SeenCall
    ) -> AsyncIterator[wire.FileContentChunk]:
        """Hand out a file in pieces."""
        self._faults.strike(self._faults.files.failure)
        data = self._find(request.file_id).data
        for start in range(0, len(data), CHUNK_BYTES):
            if self._faults.files.chunk_delay > 0:
                await asyncio.sleep(self._faults.files.chunk_delay)
            yield wire.FileContentChunk(data=data[start : start + CHUNK_BYTES])

    async def create_public_url(
        self, request: wire.CreatePublicUrlRequest, _call: SeenCall
    ) -> wire.CreatePublicUrlResponse:
        """Make a file readable for everybody, or change when that ends."""
        self._faults.strike(self._faults.files.failure)
        if self._faults.files.public_url_error:
            raise Refusal(grpc.StatusCode.INTERNAL, self._faults.files.public_url_error)
        file = self._find(request.file_id)
        self._publish(file, request.expires_after if request.HasField("expires_after") else None)
        return wire.CreatePublicUrlResponse(
            public_url=self._url(file), expires_at=timestamp(file.link_expires)
        )

    async def revoke_public_url(
        self, request: wire.RevokePublicUrlRequest, _call: SeenCall
    ) -> wire.RevokePublicUrlResponse:
        """End a link; a file without one is left as it is."""
        self._faults.strike(self._faults.files.failure)
        file = self._find(request.file_id)
        url, file.link = self._url(file), None
        return wire.RevokePublicUrlResponse(
            file_id=file.id, revoked=url is not None, public_url=url
        )

    # For pictures

    def read(self, file_id: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            Refusal: NOT_FOUND.
        """
        return self._find(file_id).data

    def keep(self, image: wire.GeneratedImage, data: bytes, options: wire.StorageOptions) -> None:
        """Store a picture and say in its message where; or why it is not stored, or not public."""
        if self._faults.files.storage_error:
            image.storage_error = self._faults.files.storage_error
            return
        expires = options.expires_after if options.HasField("expires_after") else None
        try:
            file = self._put(options.filename, data, expires)
        except Refusal as refusal:
            image.storage_error = refusal.details
            return
        error = None
        if options.HasField("public_url"):
            public = options.public_url
            error = self._faults.files.public_url_error or None
            if error is None:
                seconds = public.expires_after if public.HasField("expires_after") else None
                try:
                    self._publish(file, seconds)
                except Refusal as refusal:  # garbage, which is no picture
                    error = refusal.details
        image.file_output.CopyFrom(
            wire.FileOutput(
                file_id=file.id,
                filename=file.name,
                expires_at=timestamp(file.expires),
                public_url=self._url(file),
                public_url_expires_at=timestamp(file.link_expires),
                public_url_error=error,
            )
        )

    # What is where

    def _put(self, name: str, data: bytes, lifetime: int | None) -> _Stored:
        name = name.strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise invalid(f"A file needs a name of 1 to {_MAX_NAME} characters.")
        check_lifetime(lifetime)
        self._check_room(len(data))
        now = self._clock()
        file = _Stored(
            f"file_{uuid.uuid4()}", name, data, _kind(data, name), now, _after(now, lifetime)
        )
        self._files[file.id] = file
        return file

    def _check_room(self, size: int) -> None:
        held = sum(len(file.data) for file in self._alive().values())
        if held + size > self._keep_bytes:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The file store holds {self._keep_bytes:,} bytes at most. Delete some files.",
            )

    def _alive(self) -> dict[str, _Stored]:
        """Return every file that has not expired, and forget the others."""
        now = self._clock()
        for file in list(self._files.values()):
            if file.expires is not None and file.expires <= now:
                self._files.pop(file.id, None)  # input images are read on worker threads
        return self._files

    def _find(self, file_id: str) -> _Stored:
        file = self._alive().get(file_id)
        if file is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"There is no file {file_id!r}.")
        return file

    def _publish(self, file: _Stored, lifetime: int | None) -> None:
        if not file.kind.startswith(("image/", "video/")) and file.kind != "application/pdf":
            raise invalid("Only images, videos and PDFs can be made public.")
        expires = file.expires
        if lifetime is not None:
            expires = _after(self._clock(), lifetime)
            if lifetime <= 0 or (file.expires is not None and (expires or 0) > file.expires + 1):
                raise invalid("A public URL must expire after now, and not after its file.")
        if self._url(file) is None:
            file.link = secrets.token_urlsafe(24)
            file.link_expires = expires
        elif lifetime is not None:
            file.link_expires = expires

    def _url(self, file: _Stored) -> str | None:
        """Return the link of a file, unless it has none or that has ended."""
        if file.link_expires is not None and file.link_expires <= self._clock():
            file.link = None
        return None if file.link is None else self._web.address(file.link)

    def _published(self, name: str) -> tuple[bytes, str] | None:
        """Return what a link stands for: whoever has it may read the file."""
        for file in self._alive().values():
            link = (file.link or "").encode()
            if link and hmac.compare_digest(link, name.encode()) and self._url(file) is not None:
                return file.data, file.kind
        return None

    def _facts(self, file: _Stored) -> dict[str, Any]:
        """Return what can be asked of a file in a filter."""
        return {
            "id": file.id,
            "name": file.name,
            "size": len(file.data),
            "kind": file.kind,
            "created": iso(file.created),
            "expires": iso(file.expires),
            "url": self._url(file),
            "url_expires": iso(file.link_expires if file.link else None),
        }

    def _message(self, file: _Stored) -> wire.File:
        url = self._url(file)
        return wire.File(
            size=len(file.data),
            created_at=timestamp(file.created),
            expires_at=timestamp(file.expires),
            filename=file.name,
            id=file.id,
            public_url=url,
            public_url_expires_at=timestamp(file.link_expires) if url else None,
        )


def _after(now: float, lifetime: int | None) -> float | None:
    return None if lifetime is None else now + lifetime


def _kind(data: bytes, name: str) -> str:
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    return media_type(data) or mimetypes.guess_type(name)[0] or "application/octet-stream"


_MAX_HEAD: Final = 16 << 10
"""Bytes of request line and headers."""
_HEAD_TIMEOUT: Final = 10.0
_MAX_CONNECTIONS: Final = 64
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
        if self._open >= _MAX_CONNECTIONS:
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
