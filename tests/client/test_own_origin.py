"""Pictures that an engine names: at its own origin with its key, elsewhere without."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from xai_notebook import errors
from xai_notebook.client.addresses import RefusedError, WebAddress, is_loopback
from xai_notebook.client.http import Downloader
from xai_notebook.settings import ApiKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "engine-key-5ca1ab1e"


@pytest.fixture
def public(new_web: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a server that passes for a public one: `https://pictures.example.com:PORT`."""
    web = new_web()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example.com").configure_cert(context)
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))

    def resolve(host: str, _port: int) -> list[str]:
        assert host == "pictures.example.com" or is_loopback(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("xai_notebook.client.http.addresses_of", resolve)
    web.base = f"https://pictures.example.com:{web.port}"
    return web


def fetch(engine: Any, url: str) -> bytes:
    """Fetch what `engine` names."""
    own = WebAddress.parse(engine.url("/v1/"))
    downloader = Downloader(allow_loopback=False, own=own, key=ApiKey(SECRET), timeout=10)

    async def main() -> bytes:
        with contextlib.closing(downloader):
            return (await downloader.fetch(url))[0]

    return asyncio.run(main())


def keys(web: Any) -> list[str | None]:
    """Return the key of each request that came."""
    return [headers.get("Authorization") for _, headers in web.seen]


@pytest.mark.parametrize("url", ["{base}/made/x", "/made/x", "../made/x", "//{host}/made/x"])
def test_the_own_origin_gets_the_key(web: Any, jpeg: bytes, url: str) -> None:
    """Http at a private address too: the user named it."""
    web.send("/made/x", jpeg)
    host = f"127.0.0.1:{web.port}"
    assert fetch(web, url.format(base=f"http://{host}", host=host)) == jpeg
    assert keys(web) == [f"Bearer {SECRET}"]


def test_a_public_address_gets_no_key(web: Any, public: Any, jpeg: bytes) -> None:
    """Storage that the engine named is asked like by anybody."""
    public.send("/x", jpeg)
    assert fetch(web, f"{public.base}/x") == jpeg
    assert (keys(public), web.seen) == ([None], [])


def test_a_redirect_to_a_public_address_carries_no_key(web: Any, public: Any, jpeg: bytes) -> None:
    """The engine itself got it."""
    web.send("/made/x", b"", status=302, Location=f"{public.base}/x")
    public.send("/x", jpeg)
    assert fetch(web, "/made/x") == jpeg
    assert (keys(web), keys(public)) == ([f"Bearer {SECRET}"], [None])


@pytest.mark.parametrize(
    "target",
    ["http://pictures.example.com:{public}/y", "http://127.0.0.1:{engine}/made/y",
     "https://127.0.0.1:{engine}/y", "https://10.0.0.1/y", "https://[::1]:{engine}/y",
     "https://me@pictures.example.com:{public}/y", "ftp://pictures.example.com/y",
     "https://127.0.0.1:{engine}\\@pictures.example.com:{public}/y"],
)  # fmt: skip
def test_a_public_address_cannot_point_back(
    web: Any, public: Any, jpeg: bytes, target: str
) -> None:
    """Neither to plain http, nor into the network, nor to the engine."""
    web.send("/made/y", jpeg)
    public.send("/y", jpeg)
    location = target.format(public=public.port, engine=web.port)
    public.send("/x", b"", status=302, Location=location)
    with pytest.raises(errors.DownloadError, match="not fetched"):
        fetch(web, f"{public.base}/x")
    assert web.seen == []


@pytest.mark.parametrize(
    ("port", "path"), [(-1, "/made/x"), (0, "/made/x")], ids=["another port", "another scheme"]
)
def test_the_origin_is_scheme_host_and_port(web: Any, jpeg: bytes, port: int, path: str) -> None:
    """What differs in one of them is another server."""
    web.send(path, jpeg)
    scheme = "https" if port == 0 else "http"
    with pytest.raises(errors.DownloadError):
        fetch(web, f"{scheme}://127.0.0.1:{web.port + port}{path}")
    assert web.seen == []


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", "/"),
        ("https://example.com?a=b", "/?a=b"),
        ("https://example.com/a fox.png", "/a%20fox.png"),
        ("https://example.com/a%20f\u00f6x.png?q=\u20ac", "/a%20f%C3%B6x.png?q=%E2%82%AC"),
        ("https://example.com/a\\b@c", "/a%5Cb@c"),
        ("  https://EXAMPLE.com:443/x#y\n", "/x"),
    ],
)
def test_a_url_is_written_in_one_way(url: str, target: str) -> None:
    """What is sent is ASCII without anything that another parser could take for a host."""
    assert str(WebAddress.parse(url)) == f"https://example.com{target}"


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "+80", "8 0", "\u0661", "80:80"])
def test_a_port_is_a_number(port: str) -> None:
    """In ASCII digits, and one that exists."""
    with pytest.raises(RefusedError, match="not fetched"):
        WebAddress.parse(f"https://example.com:{port}/x")


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_no_error_holds_the_key(web: Any, status: int) -> None:
    """Nor does any frame of what led to it: a traceback may show them with their values."""

    def route(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Location", "http://10.0.0.1/x")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.close_connection = True

    web.routes["/made/x"] = route
    with pytest.raises(errors.DownloadError) as caught:
        fetch(web, "/made/x")
    assert keys(web)[0] == f"Bearer {SECRET}"
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert SECRET not in "".join(told.format())
