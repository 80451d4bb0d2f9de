"""Upload, download and management of stored files."""

from __future__ import annotations

import asyncio
import io
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

DATA = bytes(range(256)) * (CHUNK_BYTES // 200)  # two pieces
STORED = files_pb2.File(id="f1", filename="a.bin", size=len(DATA))


class Pipe(io.RawIOBase):
    """A file that can be read only once."""

    name = "/dev/pipe"

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        return self._data.read(size)

    def seekable(self) -> bool:
        """Return False."""
        return False


async def taking(request: Any, context: Any) -> Any:
    """Check an upload and answer with its name and expiry."""
    pieces = [piece async for piece in request]
    data = b"".join(piece.data for piece in pieces[1:])
    assert data == DATA
    taken.append([(piece.WhichOneof("chunk"), len(piece.data)) for piece in pieces])
    init = pieces[0].init
    return files_pb2.File(id="f1", filename=init.name, size=init.expires_after)


taken: list[Any] = []


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "bytearray", "open", "memory", "pipe"])
def test_a_file_is_uploaded_in_chunks(call: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    stream = io.BytesIO(b"before" + DATA)
    stream.seek(6)
    with path.open("rb") as opened:
        sources: dict[str, tuple[Any, str | None, str]] = {
            "path": (path, None, "a.bin"),
            "text": (str(path), "b.bin", "b.bin"),
            "bytes": (DATA, "b.bin", "b.bin"),
            "bytearray": (bytearray(DATA), "b.bin", "b.bin"),
            "open": (opened, None, "a.bin"),
            "memory": (stream, "b.bin", "b.bin"),
            "pipe": (Pipe(DATA), None, "pipe"),
        }
        file, filename, name = sources[kind]
        taken.clear()
        stored, _ = call(
            taking,
            lambda client: client.files.upload(
                file, filename=filename, expires_after=timedelta(hours=2)
            ),
        )
    assert (stored.filename, stored.size) == (name, 7200)
    assert [form for form, _ in taken[0]] == ["init", "data", "data"]
    assert taken[0][1][1] == CHUNK_BYTES


def test_progress_callbacks_of_all_kinds_are_called(call: Any) -> None:
    """Exceptions of a callback are logged."""
    told: list[Any] = []

    class Bar:
        def update(self, n: int) -> None:
            told.append(n)

    def broken(sent: int, size: int) -> None:
        raise RuntimeError

    async def use(client: Any) -> None:
        for listener in (lambda sent, size: told.append((sent, size)), told.append, Bar(), broken):
            await client.files.upload(DATA, filename="a", on_progress=listener)

    error, _ = call(taking, use)
    assert error is None
    rest = len(DATA) - CHUNK_BYTES
    whole = [(CHUNK_BYTES, len(DATA)), (len(DATA), len(DATA))]
    assert told == [*whole, CHUNK_BYTES, rest, CHUNK_BYTES, rest]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/nowhere/at/all.png", "cannot be read: No such file"),
        (b"bytes", "has no name"),
        (io.BytesIO(b"bytes"), "has no name"),
        (7, "is not a file"),
    ],
)
def test_invalid_files_are_not_uploaded(call: Any, file: Any, said: str) -> None:
    error, peer = call(taking, lambda client: client.files.upload(file))
    assert isinstance(error, errors.OptionError)
    assert said in str(error)
    assert not peer.requests


@pytest.mark.parametrize("kind", ["text", "broken"])
def test_a_read_error_cancels_the_upload(call: Any, kind: str) -> None:
    """The server must not store half a file."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    ended: list[int] = []
    whole: list[int] = []

    async def answer(request: Any, context: Any) -> Any:
        context.add_done_callback(lambda _: ended.append(1))
        async for _ in request:
            pass
        await asyncio.sleep(5)  # grpc.aio reports a cancelled stream as ended, and then cancels
        whole.append(1)
        return STORED

    async def use(client: Any) -> Any:
        file: Any = io.StringIO("text") if kind == "text" else Broken(b"bytes")
        try:
            return await client.files.upload(file, filename="a")
        finally:
            for _ in range(500):
                if ended:
                    break
                await asyncio.sleep(0.01)

    error, _ = call(answer, use)
    assert isinstance(error, errors.OptionError)
    assert ("mode 'rb'" if kind == "text" else "Input/output error") in str(error)
    assert ended
    assert not whole


def refusing(*, begun: bool) -> Any:
    """Return an answer that fails once: before it reads, or after its reply has begun."""
    calls: list[int] = []

    async def answer(request: Any, context: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            if begun:
                assert [piece async for piece in request]
                await context.send_initial_metadata((("x-request", "1"),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return await taking(request, context)

    return answer


def test_a_refused_upload_is_retried_from_its_start(call: Any) -> None:
    stored, peer = call(
        refusing(begun=False), lambda client: client.files.upload(io.BytesIO(DATA), filename="a")
    )
    assert stored.id == "f1"
    assert len(peer.requests) == 2


def test_the_upload_of_a_pipe_is_not_retried(call: Any) -> None:
    error, peer = call(refusing(begun=False), lambda client: client.files.upload(Pipe(DATA)))
    assert isinstance(error, errors.UnavailableError)
    assert not error.maybe_billed
    assert len(peer.requests) == 1


async def refusing_without_proof(request: Any, context: Any) -> Any:
    """Refuse as gRPC shows a reply that broke off, too."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone", (("x-request-id", "1"),))


@pytest.mark.parametrize("answer", [refusing(begun=True), refusing_without_proof])
def test_an_upload_that_may_have_been_stored_is_not_retried(call: Any, answer: Any) -> None:
    error, peer = call(answer, lambda client: client.files.upload(io.BytesIO(DATA), filename="a"))
    assert isinstance(error, errors.UnavailableError)
    assert error.maybe_billed
    assert "may have been stored" in str(error)
    assert "files.list()" in str(error)
    assert len(peer.requests) == 1


async def _pieces(*parts: bytes) -> Any:
    for part in parts:
        yield files_pb2.FileContentChunk(data=part)


@pytest.mark.parametrize("parts", [(), (b"one",), (b"one", b"", b"two")])
def test_content_is_joined_from_chunks(call: Any, parts: tuple[bytes, ...]) -> None:
    async def answer(request: Any, context: Any) -> Any:
        assert request.file_id == "f1"
        return _pieces(*parts)

    data, _ = call(answer, lambda client: client.files.content("f1"))
    assert data == b"".join(parts)


def test_endless_content_is_cut_off(call: Any) -> None:
    sent = []

    async def answer(request: Any, context: Any) -> Any:
        async def endless() -> Any:
            while True:
                sent.append(1)
                yield files_pb2.FileContentChunk(data=bytes(1 << 20))

        return endless()

    error, _ = call(answer, lambda client: client.files.content("f1", max_bytes=3 << 20))
    assert isinstance(error, errors.DownloadError)
    assert "max_bytes" in str(error)
    assert len(sent) < 60


def test_content_is_retried(call: Any) -> None:
    calls: list[int] = []

    async def answer(request: Any, context: Any) -> Any:
        calls.append(1)

        async def half() -> Any:
            yield files_pb2.FileContentChunk(data=b"one")
            if len(calls) == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield files_pb2.FileContentChunk(data=b"two")

        return half()

    data, peer = call(answer, lambda client: client.files.content("f1"))
    assert data == b"onetwo"
    assert len(peer.requests) == 2


async def stalling(request: Any, context: Any) -> Any:
    """Answer an upload and a request for content without an end."""

    async def slow() -> Any:
        yield files_pb2.FileContentChunk(data=b"one")
        await asyncio.sleep(60)

    if hasattr(request, "file_id"):
        return slow()
    await asyncio.sleep(60)
    return STORED


STREAMS: dict[str, Any] = {
    "upload": lambda client, **more: client.files.upload(DATA, filename="a", **more),
    "content": lambda client, **more: client.files.content("f1", **more),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_a_deadline(call: Any, name: str) -> None:
    error, peer = call(stalling, lambda client: STREAMS[name](client, timeout=2))
    assert isinstance(error, errors.DeadlineExceededError)
    assert 0 < peer.remaining[0] <= 2


@pytest.mark.parametrize("name", STREAMS)
def test_cancelling_a_stream_reaches_the_server(serve: Any, name: str) -> None:
    async def main() -> bool:
        began, ended = asyncio.Event(), asyncio.Event()

        async def answer(request: Any, context: Any) -> Any:
            context.add_done_callback(lambda _: ended.set())
            began.set()
            return await stalling(request, context)

        async with serve(answer) as peer, AsyncClient("xai-key", api_host=peer.host) as client:
            task = asyncio.ensure_future(STREAMS[name](client))
            await asyncio.wait_for(began.wait(), 20)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.wait_for(ended.wait(), 20)
            return task.cancelled()

    assert asyncio.run(main())


async def _scripted(request: Any, context: Any) -> Any:
    answers = {
        "ListFilesRequest": files_pb2.ListFilesResponse(data=[STORED], pagination_token="t"),
        "RetrieveFileRequest": STORED,
        "DeleteFileRequest": files_pb2.DeleteFileResponse(id="f1", deleted=True),
        "CreatePublicUrlRequest": files_pb2.CreatePublicUrlResponse(public_url="https://x/y"),
        "RevokePublicUrlRequest": files_pb2.RevokePublicUrlResponse(file_id="f1", revoked=True),
    }
    return answers[request.DESCRIPTOR.name]


def test_every_method_sends_what_the_sdk_sends(beside_sdk: Any) -> None:
    """With equal messages, and equal answers."""

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

    theirs, ours = beside_sdk(_scripted, use)
    assert [one.SerializeToString() for one in theirs] == [one.SerializeToString() for one in ours]


@pytest.mark.parametrize("options", [{"order": "up"}, {"sort_by": "colour"}, {"limit": "many"}])
def test_wrong_list_options_are_not_sent(call: Any, options: dict[str, Any]) -> None:
    error, peer = call(_scripted, lambda client: client.files.list(**options))
    assert isinstance(error, errors.OptionError)
    assert not peer.requests
