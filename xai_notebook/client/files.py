"""The file methods of the client: upload, list, download, delete and share stored files."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import os
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

CHUNK_BYTES: Final = 3 * settings.MIB
"""Size of one message of an upload."""
MAX_FILE_BYTES: Final = 512 * settings.MIB
_ORDERS: Final = {"asc": wire.Ordering.ASCENDING, "desc": wire.Ordering.DESCENDING}
_SORTS: Final = {
    name: wire.FilesSortBy.Value(f"FILES_SORT_BY_{name.upper()}")
    for name in ("created_at", "filename", "size")
}

_log = logging.getLogger(__name__)


class FilesClient:
    """Stores files on the server and returns them.

    Every method accepts a `timeout` in seconds over all attempts and chunks; default: the client's.
    Every method raises an `ApiError` if the server sends a status other than OK or does not answer;
    `NotFoundError` means that the server does not know the file.
    """

    def __init__(self, connection: Connection) -> None:
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
        """Upload a file; a thread reads it in chunks.

        If the reply is lost, the call is not retried: look for the file with `list` before you
        upload it again.

        Args:
            file: A path, bytes, or a binary file opened for reading, which is read from its
                current position.
            filename: Name of the stored file; default: the name of the path or the open file.
            expires_after: Seconds or a timedelta until the server deletes the file; default: never.
            on_progress: Called after each chunk with the number of bytes sent so far and the total
                (None if unknown). A function with one argument, or the `update` method of an object
                such as a progress bar, is called with the number of bytes of the chunk.
            timeout: See the class.

        Raises:
            OptionError: The file cannot be read, has no name or is too large. Nothing is stored.
        """
        source = _UploadSource(file, filename)
        init = message(wire.UploadFileInit, name=source.name, expires_after=seconds(expires_after))
        notify = _progress_notifier(on_progress)
        with call_span("file.upload", "upload_file") as span:
            stored = await self._connection.stream_unary(
                wire.UPLOAD_FILE,
                lambda: source.messages(init, notify),
                wire.File,
                timeout=timeout,
                repeatable=source.repeatable,
            )
            if span:
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
        """Return a page of the list of stored files.

        Args:
            limit: Maximum number of files per page; the default and maximum is 100.
            order: Sort order, `"asc"` (default) or `"desc"`.
            sort_by: Sort key, `"created_at"` (default), `"filename"` or `"size"`.
            pagination_token: Token from the previous page; the last page has an empty token.
            filter: Condition such as `size_bytes > 1000000 AND public_url != null`. Fields:
                `file_id`, `name`, `size_bytes`, `content_type`, `created_at`, `expires_at`,
                `public_url`, `public_url_expires_at`; operators: `= != > >= < <= AND OR NOT`.
            timeout: See the class.
        """
        request = message(
            wire.ListFilesRequest,
            limit=limit,
            order=choice("order", order or "asc", _ORDERS),
            sort_by=None if sort_by is None else choice("sort_by", sort_by, _SORTS),
            pagination_token=pagination_token,
            filter=filter or None,
        )
        return await self._connection.unary(
            wire.LIST_FILES, request, wire.ListFilesResponse, timeout=timeout
        )

    async def get(self, file_id: str, *, timeout: float | None = None) -> wire.File:
        """Return the properties of a file, such as its name and size."""
        request = message(wire.RetrieveFileRequest, file_id=file_id)
        return await self._connection.unary(wire.RETRIEVE_FILE, request, wire.File, timeout=timeout)

    async def delete(
        self, file_id: str, *, timeout: float | None = None
    ) -> wire.DeleteFileResponse:
        """Delete a file and its public link."""
        request = message(wire.DeleteFileRequest, file_id=file_id)
        with call_span("file.delete", "delete") as span:
            reply = await self._connection.unary(
                wire.DELETE_FILE, request, wire.DeleteFileResponse, timeout=timeout
            )
            if span:
                span.add({"file.id": file_id})
        return reply

    async def content(
        self,
        file_id: str,
        *,
        max_bytes: int = settings.MAX_DOWNLOAD_BYTES,
        timeout: float | None = None,
    ) -> bytes:
        """Download a file and return its bytes.

        Raises:
            DownloadError: The file is larger than `max_bytes`.
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
        """Create a public link to a file, or return the existing link.

        Args:
            file_id: Id of an image, a video or a PDF.
            expires_after: Seconds or a timedelta until the link expires, also for an existing link;
                default: it expires with the file.
            timeout: See the class.
        """
        lifetime = seconds(expires_after)
        request = message(wire.CreatePublicUrlRequest, file_id=file_id, expires_after=lifetime)
        return await self._connection.unary(
            wire.CREATE_PUBLIC_URL, request, wire.CreatePublicUrlResponse, timeout=timeout
        )

    async def revoke_public_url(
        self, file_id: str, *, timeout: float | None = None
    ) -> wire.RevokePublicUrlResponse:
        """Remove a file's public link, if it has one."""
        request = message(wire.RevokePublicUrlRequest, file_id=file_id)
        return await self._connection.unary(
            wire.REVOKE_PUBLIC_URL, request, wire.RevokePublicUrlResponse, timeout=timeout
        )


class _UploadSource:
    """The file to upload.

    Attributes:
        name: Name of the stored file.
        size: Number of bytes; None if unknown.
        repeatable: Whether the file can be read more than once.
    """

    def __init__(self, file: Any, name: str | None) -> None:
        self._path: Path | None = None
        self._start: int | None = 0
        own_name = getattr(file, "name", None)
        if isinstance(file, (str, os.PathLike)):
            self._path = Path(file).expanduser()
            own_name = self._path.name
        elif isinstance(file, (bytes, bytearray, memoryview)):
            file = io.BytesIO(file)
        elif not callable(getattr(file, "read", None)):
            kind = type(file).__name__
            raise OptionError(f"A {kind} is not a file. Give a path, bytes or a file.")
        self._file = file
        self.name = name or (Path(own_name).name if isinstance(own_name, str) else "")
        if not self.name:
            raise OptionError("The file has no name. Give it a filename.")
        self.size = self._measure()
        self.repeatable = self._start is not None
        if (self.size or 0) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // settings.MIB
            raise OptionError(f"{self.name} is larger than {limit} MiB, the limit for uploads.")

    def _measure(self) -> int | None:
        """Return the number of bytes to read, and remember the start position."""
        if self._path is not None:
            try:
                return self._path.stat().st_size
            except OSError as error:
                raise _unreadable(self.name, error) from error
        try:
            start: int = self._file.tell()
            end: int = self._file.seek(0, os.SEEK_END)
            self._file.seek(start)
        except (OSError, AttributeError):  # not seekable, such as a pipe
            self._start = None
            return None
        self._start = start
        return max(end - start, 0)

    async def messages(
        self, init: wire.UploadFileInit, notify: Callable[[int, int, int | None], None]
    ) -> AsyncGenerator[wire.UploadFileChunk]:
        """Yield the messages of an upload: `init`, then all chunks from the start position."""
        yield wire.UploadFileChunk(init=init)
        sent = 0
        file: IO[bytes] | None = None
        try:
            if self._path is None:
                file = self._file
                if self._start is not None:
                    await asyncio.to_thread(file.seek, self._start)
            else:
                file = await asyncio.to_thread(self._path.open, "rb")
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                if not isinstance(chunk, bytes):
                    raise OptionError(f"{self.name} is open as text. Open it with mode 'rb'.")
                yield wire.UploadFileChunk(data=chunk)
                sent += len(chunk)
                notify(len(chunk), sent, self.size)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        finally:
            if file is not None and self._path is not None:
                file.close()


def _unreadable(name: str, error: OSError) -> OptionError:
    reason = error.strerror or type(error).__name__
    return OptionError(f"{name} cannot be read: {reason}. Nothing was stored.")


def _progress_notifier(callback: Any) -> Callable[[int, int, int | None], None]:
    """Adapt a callback to a function of three sizes: this chunk, all chunks so far, the total."""
    if callback is None:
        return lambda *_: None
    update = getattr(callback, "update", None)
    takes_totals = not callable(update)
    try:
        inspect.signature(callback).bind(0, 0)
    except TypeError:
        takes_totals = False
    except ValueError:
        pass  # a C function without a signature: it gets the totals

    def notify(chunk: int, sent: int, size: int | None) -> None:
        try:
            if takes_totals:
                callback(sent, size)
            else:
                (update if callable(update) else callback)(chunk)
        except Exception:  # noqa: BLE001  # an error in a callback must not end the upload
            _log.warning("an on_progress callback failed", exc_info=True)

    return notify
