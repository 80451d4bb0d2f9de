"""URLs in an engine's replies: no other private host is connected; only the engine gets the key."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bare_client import image_request
from openai_stub import SECRET, Reply, Stub, answers, ask, entry, run_stub
from xai_notebook import errors
from xai_notebook.server.openai_engine import OpenAIEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

URLS = [
    # The address of the other host, combined with the engine's.
    r"http://{other}\@{engine}/x", r"http://{other}\\@{engine}/x", r"http://{other}\.{engine}/x",
    r"http:\\{other}\@{engine}/x", r"https://{other}\@{engine}/x", "http://{other}@{engine}/x",
    "http://{engine}@{other}/x", "http://{engine}%40{other}/x", "http://{engine}%2f@{other}/x",
    "http://{engine}:@{other}/x", "http://me:{engine}@{other}/x", "http://{engine}#@{other}/x",
    "http://{other}#@{engine}/x", "http://{other}?@{engine}/x", "http://{other};@{engine}/x",
    "http://{engine};.{other}/x", "http://{other}\t@{engine}/x", "http://{other}\n@{engine}/x",
    "http://{other} @{engine}/x", "http:/{other}@{engine}/x", "http:////{other}@{engine}/x",
    "//{engine}@{other}/x", "http://[{other}]@{engine}/x",
    # The address of the other host alone.
    "ht\ttp://{other}/x", "http:///{other}/x", "//{other}/x", r"\\{other}/x", r"/\{other}/x",
    "///{other}/x", "http://{other}:{port}/x", "http://{other}/x",
    "http://[::ffff:127.0.0.1]:{port}/x", "http://[::ffff:7f00:1]:{port}/x",
    "http://127.0.0.1.:{port}/x", "http://127\u3002 0.0.1:{port}/x",
    "http://127\u30020\uff0e0\uff611:{port}/x", "http://\uff11\uff12\uff17.0.0.1:{port}/x",
    "http://127.1:{port}/x", "http://2130706433:{port}/x", "http://0x7f000001:{port}/x",
    "http://0177.0.0.1:{port}/x", "http://0:{port}/x", "HTTP://LOCALHOST:{port}/x",
    "http://localhost.:{port}/x", "https://localhost:{port}/x", "https://127.0.0.1:{port}/x",
]  # fmt: skip
"""The other host is private: like the engine, it is on loopback."""
_END = b"end"


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port until the block ends; yield the port and the data of each connection."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    if (text := connection.recv(4096)) == _END:
                        return
                    received.append(text)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        address = server.getsockname()
        yield address[1], received
        with socket.create_connection(address) as last:  # after all other connections
            last.sendall(_END)
        thread.join(20)


@pytest.mark.parametrize("spelling", URLS)
def test_other_private_hosts_get_no_connection(stub: Stub, spelling: str) -> None:
    """The other picture of the reply is kept."""
    with listener() as (port, received):
        engine = stub.url.removeprefix("http://").removesuffix("/v1")
        url = spelling.format(other=f"127.0.0.1:{port}", port=port, engine=engine)
        stub.answer = answers(Reply(body={"data": [{"url": url}, entry()]}))
        assert ask(stub, image_request(n=2), key=SECRET).images[0].base64
    assert received == []


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/x", "https://localhost:{port}/x",
     "/v1/again"],
)  # fmt: skip
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_private_host_is_not_followed(stub: Stub, target: str, status: int) -> None:
    """Not even a redirect to the engine itself is followed, because its address is private."""
    with listener() as (port, received):
        location = {"Location": target.format(port=port)}
        stub.fetched = [Reply(status, {}, location), Reply(500, {})]
        stub.answer = answers(Reply(body={"data": [{"url": "/made/1.png"}, entry()]}))
        assert ask(stub, image_request(n=1), key=SECRET).images[0].base64
    assert received == []
    paths = [request.path for request in stub.requests if request.method == "GET"]
    assert paths == ["/v1/models", "/made/1.png"]


def test_the_engine_gets_its_key_for_its_own_pictures(stub: Stub) -> None:
    """A gateway may refuse downloads without the key."""
    stub.answer = answers(Reply(body={"data": [{"url": "/made/1.png"}]}))
    assert ask(stub, image_request(), key=SECRET).images[0].base64
    (request,) = (request for request in stub.requests if request.path == "/made/1.png")
    assert request.headers["authorization"] == f"Bearer {SECRET}"


def test_the_key_is_not_sent_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine at a private address is connected directly."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        with contextlib.suppress(OSError):  # no packet is sent
            outward.connect(("10.255.255.255", 9))
        host = outward.getsockname()[0]
    try:
        OpenAIEngine(f"http://{host}:1/v1")
    except errors.ConfigurationError:
        pytest.skip("this computer has no private address")
    if host.startswith("127."):
        pytest.skip("this computer has no address but the loopback")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")  # for the channel to the embedded server
    with listener() as (port, received), run_stub(host) as stub:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        stub.answer = answers(Reply(body={"data": [{"url": "/made/1.png"}]}))
        assert ask(stub, image_request(), key=SECRET).images[0].base64
    assert received == []
