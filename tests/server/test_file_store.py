"""The file store and its HTTP server."""

from __future__ import annotations

import asyncio
import io
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest
import requests
from xai_sdk.proto import files_pb2

from bare_client import dial, image_request
from harness import until
from openai_stub import png
from sdk_client import connect, refusal
from xai_notebook.client import AsyncClient, wire
from xai_notebook.errors import DeadlineExceededError
from xai_notebook.server import EmbeddedServer, Faults, FileFaults

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk_client import Clock
    from xai_notebook.server import SeenCall

MODEL = "grok-imagine-image"


async def status_of(url: str) -> int:
    """Return the HTTP status of a URL."""
    return (await asyncio.to_thread(requests.get, url, timeout=20)).status_code


async def test_files_expire_with_their_links(clock: Clock) -> None:
    async with EmbeddedServer(clock=clock) as server, connect(server) as client:
        stored = await client.files.upload(png(), filename="a.png", expires_after=3600)
        link = await client.files.create_public_url(stored.id)
        before = await status_of(link.public_url)
        clock.now += 3601
        after = await status_of(link.public_url)
        code, _ = await refusal(client.files.get(stored.id))
    assert link.expires_at == stored.expires_at
    assert (before, after) == (200, 404)
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_link_expires_and_can_be_changed_and_revoked(clock: Clock) -> None:
    """A file has one link at a time, and stays when the link ends."""
    async with EmbeddedServer(clock=clock) as server, connect(server) as client:
        stored = await client.files.upload(png(), filename="a.png")
        first = await client.files.create_public_url(stored.id, expires_after=60)
        same = await client.files.create_public_url(stored.id, expires_after=600)
        clock.now += 61
        statuses = [await status_of(first.public_url)]
        clock.now += 600
        statuses.append(await status_of(first.public_url))
        other = await client.files.create_public_url(stored.id)
        revoked = await client.files.revoke_public_url(stored.id)
        statuses.append(await status_of(other.public_url))
        again = await client.files.revoke_public_url(stored.id)
        file = await client.files.get(stored.id)
    assert first.public_url == same.public_url != other.public_url
    assert not other.HasField("expires_at")
    assert statuses == [200, 404, 404]
    assert (revoked.revoked, revoked.public_url) == (True, other.public_url)
    assert (again.revoked, again.HasField("public_url")) == (False, False)
    assert not file.HasField("public_url")


async def test_an_input_can_be_the_link_or_the_id_of_a_stored_file() -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        stored = await client.files.upload(png(), filename="a.png")
        link = await client.files.create_public_url(stored.id)
        images = [
            (await client.image.sample("p", MODEL, image_format="base64", **options)).base64
            for options in ({"image_url": link.public_url}, {"image_file_id": stored.id})
        ]
        missing = await refusal(client.image.sample("p", MODEL, image_file_id="file_none"))
    assert images[0] == images[1]
    assert missing == (grpc.StatusCode.NOT_FOUND, "The file 'file_none' does not exist.")


LIST_CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "default": ({}, ["c.png", "a.txt", "b.txt"]),
    "newest": ({"order": "desc"}, ["b.txt", "a.txt", "c.png"]),
    "name": ({"sort_by": "filename"}, ["a.txt", "b.txt", "c.png"]),
    "size": ({"sort_by": "size", "order": "desc"}, ["c.png", "b.txt", "a.txt"]),
    "equal": ({"filter": 'name = "a.txt"'}, ["a.txt"]),
    "kind": ({"filter": "content_type != 'text/plain'"}, ["c.png"]),
    "number": ({"filter": "size_bytes <= 2"}, ["a.txt", "b.txt"]),
    "and": ({"filter": 'size_bytes<=2 and name > "a.txt"'}, ["b.txt"]),
    "or, not": ({"filter": 'NOT (name = "a.txt" OR name = "b.txt")'}, ["c.png"]),
    "precedence": ({"filter": 'name = "a.txt" OR name = "b.txt" AND size_bytes = 0'}, ["a.txt"]),
    "null": ({"filter": "public_url != null"}, ["c.png"]),
    "comparison with null": ({"filter": "public_url_expires_at > 5"}, []),
    "time": ({"filter": 'created_at > "2001-01-01T00:00:00Z"'}, ["c.png", "a.txt", "b.txt"]),
}


async def test_lists_are_sorted_filtered_and_paged(clock: Clock) -> None:
    async with EmbeddedServer(clock=clock) as server, connect(server) as client:
        files = client.files
        for name, data in (("c.png", png()), ("a.txt", b"1"), ("b.txt", b"12")):
            stored = await files.upload(data, filename=name)
            clock.now += 1
            if name == "c.png":
                await files.create_public_url(stored.id)
        lists: dict[str, list[str]] = {case: [] for case in LIST_CASES}
        for case, (options, _) in LIST_CASES.items():
            token = None
            while True:
                page = await files.list(limit=2, pagination_token=token, **options)
                lists[case] += [file.filename for file in page.data]
                if not (token := page.pagination_token) or not page.data:
                    break
    assert lists == {case: names for case, (_, names) in LIST_CASES.items()}


@pytest.mark.parametrize(
    ("text", "token"),
    [("colour = 1", "colour"), ("name ~ 1", "~"), ("name a b", "a"), ("name =", ""),
     ('(name = "a"', ""), ('name = "a" name = "b"', "name"),
     ("NOT " * 200 + 'name = "a"', "NOT NOT NOT NOT NOT ")],
)  # fmt: skip
async def test_the_error_quotes_the_invalid_token_of_a_filter(text: str, token: str) -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        code, details = await refusal(client.files.list(filter=text))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"cannot be read at {token!r}" in details
    assert "Fields: file_id" in details


@pytest.mark.parametrize(
    ("upload", "code", "message"),
    [
        (lambda files: files.upload(b"1", filename="a", expires_after=60),
         grpc.StatusCode.INVALID_ARGUMENT, "3600 to 2592000"),
        (lambda files: files.upload(bytes(2_000_000), filename="a"),
         grpc.StatusCode.FAILED_PRECONDITION, "1,000,000 bytes at most"),
        (lambda files: files.upload(b"1", filename=" "),
         grpc.StatusCode.INVALID_ARGUMENT, "needs a name"),
        (lambda files: files._stub.UploadFile(iter([files_pb2.UploadFileChunk(data=b"1")])),
         grpc.StatusCode.INVALID_ARGUMENT, "begin with init"),
        (lambda files: files._stub.UploadFile(iter(())),
         grpc.StatusCode.INVALID_ARGUMENT, "begin with init"),
    ],
    ids=["expires too soon", "store is full", "blank name", "no init", "no chunk"],
)  # fmt: skip
async def test_an_invalid_upload_is_refused_and_not_stored(
    upload: Any, code: grpc.StatusCode, message: str
) -> None:
    async with EmbeddedServer(keep_bytes=1_000_000) as server, connect(server) as client:
        status, details = await refusal(upload(client.files))
        files = await client.files.list()
    assert (status, message in details) == (code, True)
    assert not files.data


async def test_a_pdf_can_be_public_and_a_text_file_cannot() -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        text = await client.files.upload(b"words", filename="a.txt")
        pdf = await client.files.upload(b"%PDF-1.7", filename="b")
        await client.files.create_public_url(pdf.id)
        code, _ = await refusal(client.files.create_public_url(text.id))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("count", [1, 3])
async def test_storage_options_store_every_picture(count: int) -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        options = {"filename": "a.jpg", "expires_after": 7200, "public_url": {"expires_after": 60}}
        images = await client.image.sample_batch(
            "p", MODEL, count, image_format="base64", storage_options=options
        )
        files = (await client.files.list()).data
    assert {image.file_output.file_id for image in images} == {file.id for file in files}
    assert len(files) == count
    for image in images:
        output = image.file_output
        assert output.filename == "a.jpg"
        assert output.expires_at.seconds - output.public_url_expires_at.seconds == 7140
        assert image.storage_error is None


@pytest.mark.parametrize(
    ("options", "storage_error", "public_error"),
    [
        ({"keep_bytes": 1}, "at most", ""),
        ({"faults": Faults(files=FileFaults(storage_error="no disk"))}, "no disk", ""),
        ({"faults": Faults(files=FileFaults(public_url_error="no link"))}, "", "no link"),
    ],
    ids=["store is full", "not stored", "no link"],
)
async def test_a_picture_that_is_not_stored_is_still_returned(
    options: dict[str, Any], storage_error: str, public_error: str
) -> None:
    async with EmbeddedServer(**options) as server, connect(server) as client:
        storage = {"filename": "a.jpg", "public_url": True}
        response = await client.image.sample(
            "p", MODEL, image_format="base64", storage_options=storage
        )
    assert response.base64
    assert storage_error in (response.storage_error or "")
    assert bool(response.storage_error) == bool(storage_error)
    assert response._image.file_output.public_url_error == public_error
    assert not response.public_url


@pytest.mark.parametrize(
    "options",
    [
        {"filename": "a", "expires_after": 60},
        {"filename": "a", "expires_after": 3600, "public_url": {"expires_after": 7200}},
        {"filename": "a", "public_url": {"expires_after": 0}},
    ],
)
async def test_storage_options_are_checked_before_any_work(options: dict[str, Any]) -> None:
    async with EmbeddedServer() as server, connect(server) as client:
        code, _ = await refusal(client.image.sample("p", MODEL, storage_options=options))
    assert (code, server.painted) == (grpc.StatusCode.INVALID_ARGUMENT, 0)


async def last_call(server: EmbeddedServer) -> SeenCall:
    """Return the last call of a server, after it has ended."""
    call = server.requests[-1]
    while call.ended is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return call


async def test_a_deadline_ends_a_slow_stream_at_the_client_and_on_the_server() -> None:
    faults = Faults(files=FileFaults(chunk_delay=30))
    async with (
        EmbeddedServer(faults=faults) as server,
        AsyncClient("key", api_host=server.address) as client,
    ):
        stored = await client.files.upload(b"12", filename="a")
        with pytest.raises(DeadlineExceededError):
            await client.files.content(stored.id, timeout=1)
        call = await last_call(server)
    assert call.method == wire.RETRIEVE_FILE_CONTENT
    assert call.cancelled


async def test_an_upload_that_breaks_off_is_not_stored() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

    async with (
        EmbeddedServer() as server,
        AsyncClient("key", api_host=server.address) as client,
    ):
        with pytest.raises(ValueError, match="Input/output error"):
            await client.files.upload(Broken(bytes(4_000_000)), filename="a")
        call, files = await last_call(server), (await client.files.list()).data
    assert call.cancelled
    assert not files


# Pictures in the `url` format


def fetch(action: Callable[[list[str]], Any], **options: Any) -> Any:
    """Request two pictures in the `url` format; return what `action` returns for their URLs."""

    async def main() -> Any:
        async with EmbeddedServer(**options) as server, dial(server) as call:
            request = image_request(n=2, format=wire.ImageFormat.IMG_FORMAT_URL)
            reply = await call(wire.GENERATE_IMAGE, request)
            urls = [image.url for image in reply.images]
            return await asyncio.to_thread(action, urls)

    return asyncio.run(main())


def test_urls_are_unguessable_loopback_addresses() -> None:
    urls = fetch(lambda urls: urls)
    assert all(url.startswith("http://127.0.0.1:") and url.endswith(".jpg") for url in urls)
    names = {url.rsplit("/", 1)[1] for url in urls}
    assert len(names) == 2
    assert min(len(name) for name in names) >= 32


def test_a_download_has_the_right_headers() -> None:
    reply = fetch(lambda urls: requests.get(urls[0], timeout=5))
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "image/jpeg"
    assert int(reply.headers["Content-Length"]) == len(reply.content)
    assert "max-age" in reply.headers["Cache-Control"]
    assert reply.content[:2] == b"\xff\xd8"


def test_the_reply_to_head_has_no_body() -> None:
    reply = fetch(lambda urls: requests.head(urls[0], timeout=5))
    assert int(reply.headers["Content-Length"]) > 1000
    assert reply.content == b""


@pytest.mark.parametrize("path", ["", "x.jpg", "../etc/passwd", "%2e%2e/x"])
def test_every_other_path_is_404(path: str) -> None:
    def action(urls: list[str]) -> Any:
        return requests.get(urls[0].rsplit("/", 1)[0] + "/" + path, timeout=5).status_code

    assert fetch(action) == 404


def test_post_is_refused() -> None:
    reply = fetch(lambda urls: requests.post(urls[0], b"x", timeout=5))
    assert reply.status_code == 405


def test_urls_expire() -> None:
    def action(urls: list[str]) -> Any:
        return until(lambda: requests.get(urls[0], timeout=5).status_code == 404)

    assert fetch(action, keep_seconds=0.5)


def test_the_oldest_pictures_are_dropped_for_space() -> None:
    def action(urls: list[str]) -> Any:
        return sorted(requests.get(url, timeout=5).status_code for url in urls)

    assert fetch(action, keep_bytes=1000) == [200, 404]


def test_a_download_can_fail_or_break_off() -> None:
    reply = fetch(
        lambda urls: requests.get(urls[0], timeout=5).status_code,
        faults=Faults(download_status=503, download_delay=0.05),
    )
    assert reply == 503

    def broken(urls: list[str]) -> None:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            requests.get(urls[0], timeout=5)

    fetch(broken, faults=Faults(download_short=100))


@pytest.mark.parametrize(
    ("hosts", "status"),
    [(["127.0.0.1:{port}"], 200), (["LOCALHOST:{port}"], 200), (["[::1]:{port}"], 200),
     (["127.0.0.1"], 421), (["127.0.0.1:1"], 421), (["rebound.example:{port}"], 421),
     (["127.0.0.1.example:{port}"], 421), (["127.0.0.1:{port}", "rebound.example"], 421),
     (["127.0.0.1:{port}", "127.0.0.1:{port}"], 421), ([""], 421), ([], 421)],
)  # fmt: skip
def test_only_loopback_hosts_are_answered(hosts: list[str], status: int) -> None:
    """DNS rebinding: a web page whose name resolves to loopback reads nothing."""

    def action(urls: list[str]) -> int:
        parts = urlsplit(urls[0])
        lines = [f"Host: {host.format(port=parts.port)}\r\n" for host in hosts]
        with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as connection:
            connection.sendall(f"GET {parts.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
            with connection.makefile("rb") as stream:
                return int(stream.readline().split()[1])

    assert fetch(action) == status
