"""The file store: uploads and stored pictures in memory, and a loopback HTTP server for them.

`FileStore` implements the gRPC methods. `FileServer` serves public links and pictures in the `url`
format. The HTTP server is implemented here because it shares the event loop of the gRPC server.
"""

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
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.media import media_type
from xai_notebook.server.faults import Faults, Refusal
from xai_notebook.server.validation import (
    check_lifetime,
    check_link_lifetime,
    invalid,
    page_of,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


CHUNK_BYTES: Final = 3 * settings.MIB
_MAX_NAME: Final = 255
_CANCEL_DELAY: Final = 0.01
"""Seconds to wait: if a client leaves an upload, its stream ends before the call is cancelled."""
_SORTS: Final[dict[int, str]] = {
    wire.FilesSortBy.FILES_SORT_BY_CREATED_AT: "created_at",
    wire.FilesSortBy.FILES_SORT_BY_FILENAME: "name",
    wire.FilesSortBy.FILES_SORT_BY_SIZE: "size_bytes",
}
"""Fields that a list can be sorted by."""


@dataclass(slots=True)
class _StoredFile:
    """A stored file. Times are Unix times in seconds; None means never."""

    id: str
    name: str
    data: bytes
    media_type: str
    created: float
    expires: float | None
    link: str | None = None
    link_expires: float | None = None


class FileStore:
    """The files of one server, and the gRPC methods for files."""

    def __init__(
        self, web: FileServer, faults: Faults, *, keep_bytes: int, clock: Callable[[], float]
    ) -> None:
        """Create an empty store; `web` serves the files that have a public link."""
        self._web = web
        self._faults = faults
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._files: dict[str, _StoredFile] = {}
        web.find_public = self._find_public

    # gRPC methods

    async def upload(self, chunks: AsyncIterator[wire.UploadFileChunk]) -> wire.File:
        """Store a file that is sent in chunks.

        Raises:
            Refusal: The messages are not `init` and then `data`, or the store is full.
        """
        first = await anext(chunks)
        if not first.HasField("init"):
            raise invalid("An upload must begin with init.")
        data = bytearray()
        async for chunk in chunks:
            if not chunk.HasField("data"):
                raise invalid("After init, every message of an upload must be data.")
            data += chunk.data
            self._check_space(len(data))
        await asyncio.sleep(_CANCEL_DELAY)
        expires = first.init.expires_after if first.init.HasField("expires_after") else None
        return self._message(self._put(first.init.name, bytes(data), expires))

    async def list_all(self, request: wire.ListFilesRequest) -> wire.ListFilesResponse:
        """Return a page of the files that match the filter."""
        facts = {file.id: self._facts(file) for file in self._unexpired().values()}
        matching = _Filter(request.filter, facts).match_any() if request.filter else facts
        found = [file_id for file_id in facts if file_id in matching]
        field = _SORTS.get(request.sort_by)
        if field is None:
            raise invalid("sort_by is unknown.")
        descending = request.order == wire.Ordering.DESCENDING
        found.sort(key=lambda file_id: facts[file_id][field], reverse=descending)
        page, token = page_of(found, request.limit, request.pagination_token)
        return wire.ListFilesResponse(
            data=[self._message(self._files[file_id]) for file_id in page], pagination_token=token
        )

    async def get(self, request: wire.RetrieveFileRequest) -> wire.File:
        """Describe a file."""
        return self._message(self.find(request.file_id))

    async def delete(self, request: wire.DeleteFileRequest) -> wire.DeleteFileResponse:
        """Delete a file and its public link."""
        file = self.find(request.file_id)
        del self._files[file.id]
        return wire.DeleteFileResponse(id=file.id, deleted=True)

    async def content(
        self, request: wire.RetrieveFileContentRequest
    ) -> AsyncIterator[wire.FileContentChunk]:
        """Yield the content of a file in chunks."""
        data = self.find(request.file_id).data
        for start in range(0, len(data), CHUNK_BYTES):
            if self._faults.files.chunk_delay > 0:
                await asyncio.sleep(self._faults.files.chunk_delay)
            yield wire.FileContentChunk(data=data[start : start + CHUNK_BYTES])

    async def create_public_url(
        self, request: wire.CreatePublicUrlRequest
    ) -> wire.CreatePublicUrlResponse:
        """Create a public link for a file, or change the expiry of its link."""
        if self._faults.files.public_url_error:
            raise Refusal(grpc.StatusCode.INTERNAL, self._faults.files.public_url_error)
        file = self.find(request.file_id)
        self._publish(file, request.expires_after if request.HasField("expires_after") else None)
        return wire.CreatePublicUrlResponse(
            public_url=self._url(file), expires_at=timestamp(file.link_expires)
        )

    async def revoke_public_url(
        self, request: wire.RevokePublicUrlRequest
    ) -> wire.RevokePublicUrlResponse:
        """Revoke the public link of a file, if it has one."""
        file = self.find(request.file_id)
        url, file.link = self._url(file), None
        return wire.RevokePublicUrlResponse(
            file_id=file.id, revoked=url is not None, public_url=url
        )

    # Used by the image service

    def find(self, file_id: str) -> _StoredFile:
        """Return a file.

        Raises:
            Refusal: NOT_FOUND if the file does not exist.
        """
        file = self._unexpired().get(file_id)
        if file is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"The file {file_id!r} does not exist.")
        return file

    def store_image(
        self, image: wire.GeneratedImage, data: bytes, options: wire.StorageOptions
    ) -> None:
        """Store a picture, and write its id and link, or the error, into `image`."""
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
                except Refusal as refusal:  # `Faults.garbage` may not be a picture
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

    # Files

    def _put(self, name: str, data: bytes, lifetime: int | None) -> _StoredFile:
        name = name.strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise invalid(f"A file needs a name of 1 to {_MAX_NAME} characters.")
        check_lifetime(lifetime)
        self._check_space(len(data))
        now = self._clock()
        expires = None if lifetime is None else now + lifetime
        kind = _media_type(data, name)
        file = _StoredFile(f"file_{uuid.uuid4()}", name, data, kind, now, expires)
        self._files[file.id] = file
        return file

    def _check_space(self, size: int) -> None:
        held = sum(len(file.data) for file in self._unexpired().values())
        if held + size > self._keep_bytes:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The file store holds {self._keep_bytes:,} bytes at most. Delete some files.",
            )

    def _unexpired(self) -> dict[str, _StoredFile]:
        """Drop expired files and return the remaining files by id."""
        now = self._clock()
        for file in list(self._files.values()):
            if file.expires is not None and file.expires <= now:
                self._files.pop(file.id, None)  # a thread that reads an input may have dropped it
        return self._files

    def _publish(self, file: _StoredFile, lifetime: int | None) -> None:
        if not file.media_type.startswith(("image/", "video/")) and (
            file.media_type != "application/pdf"
        ):
            raise invalid("Only images, videos and PDFs can be made public.")
        now, expires = self._clock(), file.expires
        if lifetime is not None:
            # Requests round their times to seconds, files do not: allow one more second.
            check_link_lifetime(lifetime, None if file.expires is None else file.expires + 1 - now)
            expires = now + lifetime
        if self._url(file) is None:
            file.link = secrets.token_urlsafe(24)
            file.link_expires = expires
        elif lifetime is not None:
            file.link_expires = expires

    def _url(self, file: _StoredFile) -> str | None:
        """Return the public link of a file. None if it has no link or the link has expired."""
        if file.link_expires is not None and file.link_expires <= self._clock():
            file.link = None
        return None if file.link is None else self._web.base + file.link

    def _find_public(self, name: str) -> tuple[bytes, str] | None:
        """Return bytes and media type of the file with this public link, or None."""
        for file in self._unexpired().values():
            link = (file.link or "").encode()
            if link and hmac.compare_digest(link, name.encode()) and self._url(file) is not None:
                return file.data, file.media_type
        return None

    def _facts(self, file: _StoredFile) -> _Facts:
        """Return the fields for filters and sorting, by their names in the API."""
        return {
            "file_id": file.id,
            "name": file.name,
            "size_bytes": len(file.data),
            "content_type": file.media_type,
            "created_at": _iso(file.created),
            "expires_at": _iso(file.expires),
            "public_url": self._url(file),
            "public_url_expires_at": _iso(file.link_expires if file.link else None),
        }

    def _message(self, file: _StoredFile) -> wire.File:
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


def _iso(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 text, which sorts by time."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _media_type(data: bytes, name: str) -> str:
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    return media_type(data) or mimetypes.guess_type(name)[0] or "application/octet-stream"


_Facts: TypeAlias = Mapping[str, Any]

_FIELDS: Final = (
    "file_id", "name", "size_bytes", "content_type", "created_at", "expires_at", "public_url",
    "public_url_expires_at",
)  # fmt: skip
_TOKEN: Final = re.compile(r"""\s*("[^"]*"|'[^']*'|[!<>]=|[=<>()]|[\w.:+-]+|\S)""")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_MAX_TOKENS: Final = 100
"""Maximum number of tokens in a filter, which limits the recursion depth."""


class _Filter:
    """Evaluates a filter expression: comparisons combined with NOT, AND, OR and parentheses.

    The `match` methods consume tokens and return the ids of matching files. They raise a `Refusal`
    (INVALID_ARGUMENT) if the filter is invalid.
    """

    def __init__(self, text: str, files: Mapping[str, _Facts]) -> None:
        tokens = [*_TOKEN.findall(text), ""]
        self._tokens = tokens if len(tokens) <= _MAX_TOKENS else [text[:20]]
        self._files = files

    def match_any(self, end: str = "") -> set[str]:
        """Evaluate terms combined with OR and AND, up to the token `end`."""
        found = self._match_all()
        while self._skip("OR"):
            found |= self._match_all()
        self._expect(end)
        return found

    def _match_all(self) -> set[str]:
        found = self._match_term()
        while self._skip("AND"):
            found &= self._match_term()
        return found

    def _match_term(self) -> set[str]:
        if self._skip("NOT"):
            return self._files.keys() - self._match_term()
        if self._skip("("):
            return self.match_any(")")
        field, sign, literal = self._expect(*_FIELDS), self._expect(*_COMPARE), self._expect()
        return {
            file_id
            for file_id, facts in self._files.items()
            if _compare(facts[field], sign, literal)
        }

    def _skip(self, word: str) -> bool:
        return self._tokens[0].upper() == word and bool(self._tokens.pop(0))

    def _expect(self, *allowed: str) -> str:
        """Consume one of the `allowed` tokens. By default, any token except the end is allowed."""
        token = self._tokens[0]
        if token not in allowed if allowed else not token:
            raise invalid(
                f"The filter cannot be read at {token!r}. Write it like "
                'size_bytes > 1000 AND NOT (name = "a.png" OR public_url = null). '
                f"Fields: {', '.join(_FIELDS)}. Operators: {' '.join(_COMPARE)}."
            )
        return self._tokens.pop(0)


def _compare(value: str | int | None, sign: str, literal: str) -> bool:
    """Compare a field with a literal, as numbers if both are numbers, otherwise as text."""
    if literal == "null" or value is None:
        return sign in {"=", "!="} and _COMPARE[sign](value is None, literal == "null")
    if isinstance(value, int):
        with contextlib.suppress(ValueError):
            return _COMPARE[sign](value, float(literal))
    return _COMPARE[sign](str(value), literal[1:-1] if literal[0] in "\"'" else literal)


_MAX_HEAD: Final = 16 << 10
"""Maximum bytes of request line and headers."""
_HEAD_TIMEOUT: Final = 10.0
_MAX_CONNECTIONS: Final = 64
"""Maximum concurrent connections: any local user can open them, and each needs a descriptor."""
_SUFFIX: Final = ".jpg"


@dataclass(slots=True, frozen=True)
class _File:
    content: bytes
    media_type: str
    expires: float  # monotonic time in seconds


class FileServer:
    """HTTP server on loopback. Each file has an unguessable URL that expires.

    Attributes:
        base: URL without a file's name; `""` before the server is started.
        served: Number of files served.
        find_public: Returns bytes and media type of another file to serve, by its name, or None.
    """

    def __init__(self, *, host: str, faults: Faults, keep_seconds: float, keep_bytes: int) -> None:
        """Create the server without binding a port; `EmbeddedServer` describes the options."""
        self.served = 0
        self._host = host
        self._faults = faults
        self._keep_seconds = keep_seconds
        self._keep_bytes = keep_bytes
        # Dicts compare randomized hashes first, so the lookup time reveals nothing about a name.
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._open = 0
        self._bytes = 0
        self._server: asyncio.Server | None = None
        self.base = ""
        self._names: frozenset[str] = frozenset()
        self.find_public: Callable[[str], tuple[bytes, str] | None] = lambda _: None

    async def start(self) -> None:
        """Bind a free port of the host."""
        self._server = await asyncio.start_server(self._answer, self._host, 0, limit=_MAX_HEAD)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.base = f"http://{host}:{port}/"
        self._names = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    async def stop(self) -> None:
        """Stop listening and drop all files."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._files.clear()
        self._bytes = 0

    def put(self, content: bytes, media_type: str = "image/jpeg") -> str:
        """Store `content` and return its URL."""
        name = secrets.token_urlsafe(24) + _SUFFIX
        self._files[name] = _File(content, media_type, time.monotonic() + self._keep_seconds)
        self._bytes += len(content)
        self._drop_old()
        return self.base + name

    def get(self, url: str) -> bytes | None:
        """Return the content of a URL of this server, or None for any other URL."""
        if not self.base or not url.startswith(self.base):
            return None
        file = self._lookup(url[len(self.base) :])
        return None if file is None else file.content

    def _lookup(self, name: str) -> _File | None:
        self._drop_old()
        if name not in self._files and (public := self.find_public(name)):
            return _File(*public, time.monotonic())  # no caching: the link can be revoked
        return self._files.get(name)

    def _drop_old(self) -> None:
        """Drop expired files, then the oldest files above the limit, but not the newest file."""
        now = time.monotonic()
        while self._files:
            name, oldest = next(iter(self._files.items()))
            too_many = self._bytes > self._keep_bytes and len(self._files) > 1
            if oldest.expires > now and not too_many:
                break
            del self._files[name]
            self._bytes -= len(oldest.content)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reply to one request and close. Oversized, slow and interrupted requests get no reply."""
        if self._open >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_TIMEOUT)
            writer.write(await self._reply(head))
            await writer.drain()
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.TimeoutError,
            OSError,
        ):
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
            # Prevents DNS rebinding: a web page whose name resolves to loopback must read nothing.
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
    """Return a complete HTTP response. The default body is the status text."""
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
