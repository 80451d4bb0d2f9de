"""Upload, download and management of stored files."""

from __future__ import annotations

import asyncio
import io
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xai_sdk.proto import files_pb2

from xai_notebook import errors
from xai_notebook.client import AsyncClient
from xai_notebook.client.files import CHUNK_BYTES

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * (CHUNK_BYTES // 200)  # two chunks
STORED = files_pb2.File(id="f1", filename="a.bin", size=len(DATA))


class _Pipe(io.RawIOBase):
    """A file that can be read only once."""

    name = "/dev/pipe"

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)

    def seekable(self) -> bool:
        return False


async def accept_upload(request: Any, context: Any) -> Any:
    """Check an upload; return its name, and its expiry in the `size` field."""
    init, first, second = [chunk async for chunk in request]
    assert (init.WhichOneof("chunk"), len(first.data)) == ("init", CHUNK_BYTES)
    assert first.data + second.data == DATA
    return files_pb2.File(id="f1", filename=init.init.name, size=init.init.expires_after)


@pytest.mark.parametrize(
    "kind", ["path", "str path", "bytes", "bytearray", "open file", "BytesIO", "pipe"]
)
def test_a_file_is_uploaded_in_chunks(run_call: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    stream = io.BytesIO(b"before" + DATA)
    stream.seek(6)
    with path.open("rb") as opened:
        sources: dict[str, tuple[Any, str | None, str]] = {
            "path": (path, None, "a.bin"),
            "str path": (str(path), "b.bin", "b.bin"),
            "bytes": (DATA, "b.bin", "b.bin"),
            "bytearray": (bytearray(DATA), "b.bin", "b.bin"),
            "open file": (opened, None, "a.bin"),
            "BytesIO": (stream, "b.bin", "b.bin"),
            "pipe": (_Pipe(DATA), None, "pipe"),
        }
        file, filename, name = sources[kind]
        options = {"filename": filename, "expires_after": timedelta(hours=2)}
        stored, _ = run_call(accept_upload, lambda client: client.files.upload(file, **options))
    assert (stored.filename, stored.size) == (name, 7200)


def test_progress_callbacks_of_all_kinds_are_called(run_call: Any) -> None:
    """Exceptions raised by a callback are logged."""
    progress: list[Any] = []

    class Bar:
        def update(self, n: int) -> None:
            progress.append(n)

    def pair(sent: int, size: int) -> None:
        progress.append((sent, size))

    def broken(sent: int, size: int) -> None:
        raise RuntimeError

    async def use(client: Any) -> None:
        for callback in (pair, progress.append, Bar(), broken):
            await client.files.upload(DATA, filename="a", on_progress=callback)

    error, _ = run_call(accept_upload, use)
    assert error is None
    second = len(DATA) - CHUNK_BYTES
    pairs = [(CHUNK_BYTES, len(DATA)), (len(DATA), len(DATA))]
    assert progress == [*pairs, CHUNK_BYTES, second, CHUNK_BYTES, second]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("/nowhere/at/all.png", "cannot be read: No such file"),
        (b"bytes", "has no name"),
        (io.BytesIO(b"bytes"), "has no name"),
        (7, "is not a file"),
    ],
)
def test_invalid_files_are_not_uploaded(run_call: Any, file: Any, message: str) -> None:
    error, server = run_call(accept_upload, lambda client: client.files.upload(file))
    assert isinstance(error, errors.OptionError)
    assert message in str(error)
    assert not server.requests


class _Unreadable(io.BytesIO):
    """A file whose reading fails."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("file", "message"),
    [(io.StringIO("text"), "mode 'rb'"), (_Unreadable(b"bytes"), "Input/output error")],
)
def test_a_read_error_cancels_the_upload(run_call: Any, file: Any, message: str) -> None:
    """The server must not store half a file."""
    cancelled = asyncio.Event()
    completed: list[int] = []

    async def use(client: Any) -> Any:
        try:
            return await client.files.upload(file, filename="a")
        finally:
            await asyncio.wait_for(cancelled.wait(), 5)

    async def answer(request: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: cancelled.set())
        async for _ in request:
            pass
        # grpc.aio first ends a cancelled request stream, and cancels the handler afterwards.
        await asyncio.sleep(5)
        completed.append(1)
        return STORED

    error, _ = run_call(answer, use)
    assert isinstance(error, errors.OptionError)
    assert message in str(error)
    assert not completed


def test_a_refused_upload_is_retried_from_its_start(run_call: Any, fail_then_succeed: Any) -> None:
    stored, server = run_call(
        fail_then_succeed(accept_upload),
        lambda client: client.files.upload(io.BytesIO(DATA), filename="a"),
    )
    assert stored.id == "f1"
    assert len(server.requests) == 2


def test_the_upload_of_a_pipe_is_not_retried(run_call: Any, fail_then_succeed: Any) -> None:
    error, server = run_call(
        fail_then_succeed(accept_upload), lambda client: client.files.upload(_Pipe(DATA))
    )
    assert isinstance(error, errors.UnavailableError)
    assert not error.maybe_billed
    assert len(server.requests) == 1


async def fail_after_reading(request: Any, context: Any) -> Any:
    """Fail after an upload was received and a reply has begun."""
    assert [chunk async for chunk in request]
    await context.send_initial_metadata((("x-request", "1"),))
    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


async def fail_ambiguously(request: Any, context: Any) -> Any:
    """Fail with a status that gRPC also reports if the connection breaks during a reply."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone", (("x-request-id", "1"),))


@pytest.mark.parametrize("answer", [fail_after_reading, fail_ambiguously])
def test_an_upload_that_may_have_been_stored_is_not_retried(run_call: Any, answer: Any) -> None:
    error, server = run_call(
        answer, lambda client: client.files.upload(io.BytesIO(DATA), filename="a")
    )
    assert isinstance(error, errors.UnavailableError)
    assert error.maybe_billed
    assert "may have been stored" in str(error)
    assert "files.list()" in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("chunks", [(), (b"one",), (b"one", b"", b"two")])
def test_content_is_joined_from_chunks(run_call: Any, chunks: tuple[bytes, ...]) -> None:
    async def answer(request: Any, context: Any) -> Any:
        assert request.file_id == "f1"
        for chunk in chunks:
            yield files_pb2.FileContentChunk(data=chunk)

    data, _ = run_call(answer, lambda client: client.files.content("f1"))
    assert data == b"".join(chunks)


def test_endless_content_is_cut_off(run_call: Any) -> None:
    sent = []

    async def answer(request: Any, context: Any) -> Any:
        while True:
            sent.append(1)
            yield files_pb2.FileContentChunk(data=bytes(1 << 20))

    error, _ = run_call(answer, lambda client: client.files.content("f1", max_bytes=3 << 20))
    assert isinstance(error, errors.DownloadError)
    assert "max_bytes" in str(error)
    assert len(sent) < 60


def test_a_broken_download_is_retried_from_its_start(run_call: Any) -> None:
    calls = itertools.count(1)

    async def answer(request: Any, context: Any) -> Any:
        yield files_pb2.FileContentChunk(data=b"one")
        if next(calls) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield files_pb2.FileContentChunk(data=b"two")

    data, server = run_call(answer, lambda client: client.files.content("f1"))
    assert data == b"onetwo"
    assert len(server.requests) == 2


async def never_store(request: Any, context: Any) -> Any:
    """Never complete an upload."""
    await asyncio.sleep(60)


async def send_first_chunk(request: Any, context: Any) -> Any:
    """Never complete a download."""
    yield files_pb2.FileContentChunk(data=b"one")
    await asyncio.sleep(60)


STREAMS = pytest.mark.parametrize(
    ("never_complete", "use"),
    [
        (never_store, lambda client, **options: client.files.upload(DATA, filename="a", **options)),
        (send_first_chunk, lambda client, **options: client.files.content("f1", **options)),
    ],
    ids=["upload", "download"],
)


@STREAMS
def test_a_stream_has_a_deadline(run_call: Any, never_complete: Any, use: Any) -> None:
    error, server = run_call(never_complete, lambda client: use(client, timeout=1))
    assert isinstance(error, errors.DeadlineExceededError)
    assert 0 < server.deadlines[0] <= 1


@STREAMS
async def test_cancelling_a_stream_reaches_the_server(
    serve: Any, never_complete: Any, use: Any
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    def answer(request: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: ended.set())
        began.set()
        return never_complete(request, context)

    async with serve(answer) as server, AsyncClient("xai-key", api_host=server.host) as client:
        task = asyncio.ensure_future(use(client))
        await asyncio.wait_for(began.wait(), 20)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(ended.wait(), 20)
        assert task.cancelled()


async def _fixed_reply(request: Any, context: Any) -> Any:
    replies = {
        "ListFilesRequest": files_pb2.ListFilesResponse(data=[STORED], pagination_token="t"),
        "RetrieveFileRequest": STORED,
        "DeleteFileRequest": files_pb2.DeleteFileResponse(id="f1", deleted=True),
        "CreatePublicUrlRequest": files_pb2.CreatePublicUrlResponse(public_url="https://x/y"),
        "RevokePublicUrlRequest": files_pb2.RevokePublicUrlResponse(file_id="f1", revoked=True),
    }
    return replies[request.DESCRIPTOR.name]


def test_every_unary_method_matches_the_sdk(compare_with_sdk: Any) -> None:
    """Requests and replies are equal."""

    async def use(client: Any) -> list[Any]:
        files = client.files
        return [
            await files.list(),
            await files.list(limit=7, order="desc", sort_by="size", pagination_token="t"),
            await files.list(sort_by="filename", filter='name = "a"'),
            await files.get("f1"),
            await files.delete("f1"),
            await files.create_public_url("f1"),
            await files.create_public_url("f1", expires_after=timedelta(days=1)),
            await files.create_public_url("f1", expires_after=60),
            await files.revoke_public_url("f1"),
        ]

    sdk_results, results = compare_with_sdk(_fixed_reply, use)
    assert [result.SerializeToString() for result in sdk_results] == [
        result.SerializeToString() for result in results
    ]


@pytest.mark.parametrize("options", [{"order": "up"}, {"sort_by": "colour"}, {"limit": "many"}])
def test_invalid_list_options_are_not_sent(run_call: Any, options: dict[str, Any]) -> None:
    error, server = run_call(_fixed_reply, lambda client: client.files.list(**options))
    assert isinstance(error, errors.OptionError)
    assert not server.requests
