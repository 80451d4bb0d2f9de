"""The provider's file store: upload, list, fetch, delete, share."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import os
from contextlib import aclosing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.encoding import choice, message, seconds
from xai_notebook.client.telemetry import call_span
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import timedelta

    from xai_notebook.client.transport.connection import Connection

__all__ = ["FilesClient"]

CHUNK_BYTES: Final = 3 * settings.MIB
"""Of one message of an upload."""
MAX_FILE_BYTES: Final = 512 * settings.MIB
ORDERS: Final = {"asc": wire.Ordering.ASCENDING, "desc": wire.Ordering.DESCENDING}
SORTS: Final = {
    name: wire.FilesSortBy.Value(f"FILES_SORT_BY_{name.upper()}")
    for name in ("created_at", "filename", "size")
}

_log = logging.getLogger(__name__)


class FilesClient:
    """Stores files, and gives them back.

    Every method takes a `timeout`: its deadline in seconds, over all attempts and all pieces;
    default: the client's. And every one raises an `ApiError` when the server answers with a status
    other than OK, or not at all: `NotFoundError` if it does not know the file.
    """

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def upload(
        self,
        file: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes],
        *,
        filename: str | None = None,
        expires_after: timedelta | int | None = None,
        on_progress: Any = None,
        timeout: float | None = None,
    ) -> wire.File:
        """Store a file, read piece by piece in a thread.

        A call whose reply was lost is not sent again: look for the file with `list` first.

        Args:
            file: A path, bytes, or a file opened for reading bytes, which is read from where it
                stands.
            filename: Its name in the store; default: that of the path or the open file.
            expires_after: Seconds or a timedelta, after which the store deletes it; default: never.
            on_progress: Called after each piece with the bytes sent so far and all there are (None
                if unknown); or with the bytes of the piece, if it takes one argument or is an
                object with an `update` method, such as a progress bar.
            timeout: See the class.

        Raises:
            OptionError: There is no such file, no name for it, or it is too large. Nothing is
                stored.
        """
        source = _Source(file, filename)
        first = message(wire.UploadFileInit, name=source.name, expires_after=seconds(expires_after))
        progress = _progress(on_progress)
        with call_span("file.upload", "upload_file") as span:
            stored = await self._connection.stream_unary(
                wire.UPLOAD_FILE,
                lambda: _chunks(first, source, progress),
                wire.File,
                timeout=timeout,
                repeatable=source.repeatable,
            )
            span.add({"file.id": stored.id, "file.filename": stored.filename})
        return stored

    async def list(
        self,
        *,
        limit: int | None = None,
        order: str | None = None,
        sort_by: str | None = None,
        pagination_token: str | None = None,
        filter: str | None = None,  # noqa: A002  # as in xAI's SDK
        timeout: float | None = None,
    ) -> wire.ListFilesResponse:
        """Return a page of the files stored.

        Args:
            limit: Of the page, at most 100, which is the default.
            order: `"asc"` (default) or `"desc"`.
            sort_by: `"created_at"` (default), `"filename"` or `"size"`.
            pagination_token: Of the page before. An empty one in a reply ends the list.
            filter: Such as `size_bytes > 1000000 AND public_url != null`. Fields: `file_id`,
                `name`, `size_bytes`, `content_type`, `created_at`, `expires_at`, `public_url`,
                `public_url_expires_at`; operators: `= != > >= < <= AND OR NOT`.
            timeout: See the class.
        """
        request = message(
            wire.ListFilesRequest,
            limit=limit,
            order=choice("order", order or "asc", ORDERS),
            sort_by=None if sort_by is None else choice("sort_by", sort_by, SORTS),
            pagination_token=pagination_token,
            filter=filter or None,
        )
        return await self._connection.unary(
            wire.LIST_FILES, request, wire.ListFilesResponse, timeout=timeout, idempotent=True
        )

    async def get(self, file_id: str, *, timeout: float | None = None) -> wire.File:
        """Return what is known of a file.

        Args:
            file_id: Of the file.
            timeout: See the class.
        """
        request = message(wire.RetrieveFileRequest, file_id=file_id)
        return await self._connection.unary(
            wire.RETRIEVE_FILE, request, wire.File, timeout=timeout, idempotent=True
        )

    async def delete(
        self, file_id: str, *, timeout: float | None = None
    ) -> wire.DeleteFileResponse:
        """Delete a file, and its public link with it.

        Args:
            file_id: Of the file.
            timeout: See the class.
        """
        request = message(wire.DeleteFileRequest, file_id=file_id)
        with call_span("file.delete", "delete") as span:
            reply = await self._connection.unary(
                wire.DELETE_FILE, request, wire.DeleteFileResponse, timeout=timeout
            )
            span.add({"file.id": file_id})
        return reply

    async def content(
        self,
        file_id: str,
        *,
        max_bytes: int = settings.MAX_DOWNLOAD_BYTES,
        timeout: float | None = None,
    ) -> bytes:
        """Return the bytes of a file.

        Args:
            file_id: Of the file.
            max_bytes: More are not taken.
            timeout: See the class.

        Raises:
            DownloadError: It has more than `max_bytes`.
        """
        chunks = await self._connection.unary_stream(
            wire.RETRIEVE_FILE_CONTENT,
            message(wire.RetrieveFileContentRequest, file_id=file_id),
            wire.FileContentChunk,
            max_bytes=max_bytes,
            timeout=timeout,
        )
        return b"".join(chunk.data for chunk in chunks)

    async def create_public_url(
        self,
        file_id: str,
        *,
        expires_after: timedelta | int | None = None,
        timeout: float | None = None,
    ) -> wire.CreatePublicUrlResponse:
        """Make a file readable for everybody who has the link, or return the link it has.

        Args:
            file_id: Of an image, a video or a PDF.
            expires_after: Seconds or a timedelta, after which the link ends, also where there is
                one already; default: with the file.
            timeout: See the class.
        """
        return await self._connection.unary(
            wire.CREATE_PUBLIC_URL,
            message(
                wire.CreatePublicUrlRequest,
                file_id=file_id,
                expires_after=seconds(expires_after),
            ),
            wire.CreatePublicUrlResponse,
            timeout=timeout,
            idempotent=True,
        )

    async def revoke_public_url(
        self, file_id: str, *, timeout: float | None = None
    ) -> wire.RevokePublicUrlResponse:
        """End a file's public link; one that has none is left as it is.

        Args:
            file_id: Of the file.
            timeout: See the class.
        """
        return await self._connection.unary(
            wire.REVOKE_PUBLIC_URL,
            message(wire.RevokePublicUrlRequest, file_id=file_id),
            wire.RevokePublicUrlResponse,
            timeout=timeout,
            idempotent=True,
        )


class _Source:
    """What is uploaded.

    Attributes:
        name: In the store.
        size: Bytes; None: nobody knows.
        repeatable: It can be read again.
    """

    def __init__(self, file: Any, name: str | None) -> None:
        self._path: Path | None = None
        self._start: int | None = 0
        given = getattr(file, "name", None)
        if isinstance(file, (str, os.PathLike)):
            self._path = Path(file).expanduser()
            given = self._path.name
        elif isinstance(file, (bytes, bytearray, memoryview)):
            file = io.BytesIO(file)
        elif not callable(getattr(file, "read", None)):
            raise OptionError(f"A {type(file).__name__} is no file. Give a path, bytes or a file.")
        self._file = file
        self.name = name or (Path(given).name if isinstance(given, str) else "")
        if not self.name:
            raise OptionError("The file has no name. Give it a filename.")
        self.size = self._measure()
        self.repeatable = self._start is not None
        if (self.size or 0) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // settings.MIB
            raise OptionError(f"{self.name} is larger than {limit} MiB, which no upload may be.")

    def _measure(self) -> int | None:
        """Return how many bytes there are to read, and note where they begin."""
        if self._path is not None:
            try:
                return self._path.stat().st_size
            except OSError as error:
                raise _unreadable(self.name, error) from error
        try:
            start: int = self._file.tell()
            end: int = self._file.seek(0, os.SEEK_END)
            self._file.seek(start)
        except (OSError, AttributeError):
            self._start = None
            return None
        self._start = start
        return max(end - start, 0)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the bytes from the first one on."""
        file: IO[bytes] | None = None
        try:
            if self._path is None:
                file = self._file
                if self._start is not None:
                    await asyncio.to_thread(file.seek, self._start)
            else:
                file = await asyncio.to_thread(self._path.open, "rb")
            while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
                if not isinstance(piece, bytes):
                    raise OptionError(f"{self.name} is open as text. Open it with mode 'rb'.")
                yield piece
        except OSError as error:
            raise _unreadable(self.name, error) from error
        finally:
            if file is not None and self._path is not None:
                file.close()


async def _chunks(
    first: wire.UploadFileInit, source: _Source, progress: Callable[[int, int, int | None], None]
) -> AsyncGenerator[wire.UploadFileChunk]:
    """Yield the messages of an upload."""
    yield wire.UploadFileChunk(init=first)
    sent = 0
    async with aclosing(source.pieces()) as pieces:
        async for piece in pieces:
            yield wire.UploadFileChunk(data=piece)
            sent += len(piece)
            progress(len(piece), sent, source.size)


def _unreadable(name: str, error: OSError) -> OptionError:
    reason = error.strerror or type(error).__name__
    return OptionError(f"{name} cannot be read: {reason}. Nothing was stored.")


def _progress(listener: Any) -> Callable[[int, int, int | None], None]:
    """Return what tells a listener of a piece: its bytes, those so far, those in all."""
    if listener is None:
        return lambda *_: None
    update = getattr(listener, "update", None)
    whole = not callable(update) and _takes_two(listener)

    def tell(piece: int, sent: int, size: int | None) -> None:
        try:
            if whole:
                listener(sent, size)
            else:
                (update if callable(update) else listener)(piece)
        except Exception:  # noqa: BLE001  # a broken listener must not cost the upload
            _log.warning("an on_progress callback failed", exc_info=True)

    return tell


def _takes_two(listener: Callable[..., object]) -> bool:
    try:
        inspect.signature(listener).bind(0, 0)
    except TypeError:
        return False
    except ValueError:  # written in C, and silent about it
        return True
    return True
