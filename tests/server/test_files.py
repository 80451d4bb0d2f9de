"""The HTTP server for pictures."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from bare_client import dial, image_request
from harness import until
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer, Faults

if TYPE_CHECKING:
    from collections.abc import Callable


def fetch(action: Callable[[list[str]], Any], **options: Any) -> Any:
    """Make two pictures in the `url` format and return what `action` makes of their URLs."""

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


def test_head_has_no_body() -> None:
    reply = fetch(lambda urls: requests.head(urls[0], timeout=5))
    assert int(reply.headers["Content-Length"]) > 1000
    assert reply.content == b""


@pytest.mark.parametrize("path", ["", "x.jpg", "../etc/passwd", "%2e%2e/x"])
def test_every_other_path_is_404(path: str) -> None:

    def action(urls: list[str]) -> Any:
        return requests.get(urls[0].rsplit("/", 1)[0] + "/" + path, timeout=5).status_code

    assert fetch(action) == 404


def test_other_methods_are_refused() -> None:
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


def test_download_faults() -> None:
    """A download can fail, be late and break off."""
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
    [
        (["127.0.0.1:{port}"], 200),
        (["LOCALHOST:{port}"], 200),
        (["[::1]:{port}"], 200),
        (["127.0.0.1"], 421),
        (["127.0.0.1:1"], 421),
        (["rebound.example:{port}"], 421),
        (["127.0.0.1.example:{port}"], 421),
        (["127.0.0.1:{port}", "rebound.example"], 421),
        (["127.0.0.1:{port}", "127.0.0.1:{port}"], 421),
        ([""], 421),
        ([], 421),
    ],
)
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
