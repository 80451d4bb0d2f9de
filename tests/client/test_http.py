"""Downloads from slow and broken servers, and with a key from the user's own image server."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook import errors
from xai_notebook.client.addresses import WebAddress, is_loopback
from xai_notebook.client.http import Downloader
from xai_notebook.settings import ApiKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fetch(url: str, *, timeout: float = 5, max_bytes: int = 1 << 20, **options: Any) -> Any:
    """Fetch one URL; return bytes and media type."""
    options.setdefault("allow_loopback", True)
    downloader = Downloader(timeout=timeout, max_bytes=max_bytes, **options)

    async def main() -> Any:
        try:
            return await downloader.fetch(url)
        finally:
            downloader.close()

    return asyncio.run(main())


def test_the_media_type_of_a_download_is_that_of_its_bytes(web: Any, jpeg: bytes) -> None:
    url = web.add_response("/x", jpeg, content_type="application/octet-stream")
    assert fetch(url) == (jpeg, "image/jpeg")


def test_a_download_sends_a_user_agent_and_no_credentials(
    web: Any, jpeg: bytes, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, no password from .netrc and no cookie."""
    monkeypatch.setenv("XAI_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    web.add_response("/y", jpeg)
    fetch(web.add_response("/x", b"", status=302, Location="/y", Set_Cookie="a=b"))
    assert [path for path, _ in web.requests] == ["/x", "/y"]
    for _, headers in web.requests:
        assert headers["User-Agent"].startswith("xai-notebook/")
        assert key not in str(headers)
        assert "Authorization" not in headers
        assert "Cookie" not in headers


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x.jpg", "file:///etc/passwd", "ftp://example.com/x.jpg", "https://",
     "https://user:secret@example.com/x.jpg", "https://[::1/x.jpg",
     "https://example.com:port/x.jpg", "/x.jpg", ""],
)  # fmt: skip
def test_unsafe_and_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(errors.DownloadError) as caught:
        fetch(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_remote_api_cannot_point_at_this_computer(host: str, scheme: str) -> None:
    with pytest.raises(errors.DownloadError, match="this computer"):
        fetch(f"{scheme}://{host}:1/x", allow_loopback=False)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://example.com/x.jpg", "ftp://127.0.0.1/x", "https://"]
)
def test_the_targets_of_redirects_are_checked(web: Any, target: str) -> None:
    with pytest.raises(errors.DownloadError, match=r"not fetched|without a host"):
        fetch(web.add_response("/x", b"", status=302, Location=target))


def test_five_redirects_are_followed(web: Any, jpeg: bytes) -> None:
    for number in range(5):
        web.add_response(f"/{number}", b"", status=307, Location=f"/{number + 1}")
    web.add_response("/5", jpeg)
    assert fetch(web.url("/0"))[0] == jpeg
    web.add_response("/ring", b"", status=302, Location="/ring")
    with pytest.raises(errors.DownloadError, match="redirected more than 5 times"):
        fetch(web.url("/ring"))


def serve_endlessly(web: Any, data: bytes, *, pause: float = 0, **headers: str) -> Any:
    """Serve `data` at /x until the client disconnects; return two events: started and ended.

    Args:
        web: The server.
        data: The bytes of one write.
        pause: Seconds between two writes.
        headers: The headers of the reply, with underscores in place of hyphens.
    """
    started, ended = threading.Event(), threading.Event()

    def route(handler: Any) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(data)
                started.set()
                time.sleep(pause)
        except OSError:
            ended.set()

    web.routes["/x"] = route
    return started, ended


def test_a_body_declared_larger_than_the_limit_is_not_read(web: Any) -> None:
    finished = threading.Event()

    def route(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        finished.wait(60)

    web.routes["/x"] = route
    with pytest.raises(errors.DownloadError, match="larger than 1 MiB"):
        fetch(web.url("/x"), timeout=20)
    finished.set()


def test_an_endless_body_is_cut_off(web: Any, jpeg: bytes) -> None:
    _, ended = serve_endlessly(web, jpeg * 100, Connection="close")
    with pytest.raises(errors.DownloadError, match="larger than 1 MiB"):
        fetch(web.url("/x"))
    assert ended.wait(2)


def test_an_incomplete_body_is_retried(web: Any, jpeg: bytes) -> None:
    def route(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "9999")
        handler.end_headers()
        handler.wfile.write(jpeg)
        handler.close_connection = True

    web.routes["/x"] = route
    with pytest.raises(errors.DownloadError, match=r"broke off|could not be fetched"):
        fetch(web.url("/x"))
    assert len(web.requests) == 3


@pytest.mark.parametrize(
    ("data", "headers"),
    [(b"\xff", {"Content_Length": "1000"}),
     (b"1\r\n\xff\r\n", {"Transfer_Encoding": "chunked"})],
    ids=["of known length", "chunked"],
)  # fmt: skip
def test_a_body_sent_byte_by_byte_exceeds_the_deadline(
    web: Any, data: bytes, headers: dict[str, str]
) -> None:
    _, ended = serve_endlessly(web, data, pause=0.02, **headers)
    with pytest.raises(errors.DownloadError, match=r"longer than 0.4 s"):
        fetch(web.url("/x"), timeout=0.4)
    assert ended.wait(20)


def test_a_silent_server_exceeds_the_deadline(web: Any) -> None:
    finished = threading.Event()
    web.routes["/x"] = lambda _: finished.wait(60)
    with pytest.raises(errors.DownloadError, match=r"longer than 0.3 s"):
        fetch(web.url("/x"), timeout=0.3)
    finished.set()


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"<!doctype html><title>Sign in</title>", "text/html; charset=utf-8", "a web page"),
        (b"\n <html>", "image/jpeg", "a web page"),
        (b'{"error": "expired"}', "application/json", "not an image"),
        (b"", "image/jpeg", "not an image"),
    ],
)
def test_the_error_tells_a_web_page_from_other_content(
    web: Any, body: bytes, kind: str, message: str
) -> None:
    with pytest.raises(errors.DownloadError, match=message):
        fetch(web.add_response("/x", body, content_type=kind))


def test_an_unknown_image_format_is_accepted(web: Any) -> None:
    url = web.add_response("/x", b"\x00\x01\x02", content_type="image/jxl")
    assert fetch(url) == (b"\x00\x01\x02", "image/jxl")


def test_a_failing_download_is_retried(web: Any, jpeg: bytes) -> None:
    web.add_response("/bad", b"", status=503)
    web.add_response("/good", jpeg)

    def route(handler: Any) -> None:
        web.routes["/good" if len(web.requests) == 3 else "/bad"](handler)

    web.routes["/x"] = route
    assert fetch(web.url("/x"))[0] == jpeg


@pytest.mark.parametrize(
    ("status", "tries", "message"), [(404, 1, "no longer has"), (500, 3, "500"), (418, 1, "418")]
)
def test_only_temporary_statuses_are_retried(
    web: Any, status: int, tries: int, message: str
) -> None:
    """The message does not contain the path, which may be a secret."""
    with pytest.raises(errors.DownloadError, match=message) as caught:
        fetch(web.add_response("/secret-path", b"", status=status))
    assert len(web.requests) == tries
    assert "secret-path" not in str(caught.value)


def test_a_refused_connection_is_a_download_error() -> None:
    with pytest.raises(errors.DownloadError, match="could not be fetched") as caught:
        fetch("http://127.0.0.1:9/x")
    assert caught.value.__cause__ is not None


async def test_ten_downloads_run_in_parallel(web: Any, jpeg: bytes) -> None:
    """The server answers only after all ten requests have arrived."""
    web.add_response("/image", jpeg)
    all_arrived = threading.Barrier(10)

    def route(handler: Any) -> None:
        all_arrived.wait(20)
        web.routes["/image"](handler)

    web.routes["/x"] = route
    downloader = Downloader(allow_loopback=True)
    results = await asyncio.gather(*(downloader.fetch(web.url("/x")) for _ in range(10)))
    assert [data for data, _ in results] == [jpeg] * 10


async def test_cancelling_a_download_closes_the_connection(web: Any) -> None:
    started, ended = serve_endlessly(web, b"\xff", pause=0.02, Connection="close")
    task = asyncio.create_task(Downloader(allow_loopback=True).fetch(web.url("/x")))
    await asyncio.to_thread(started.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)  # the body has no end
    assert await asyncio.to_thread(ended.wait, 20)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_root_certificates_come_from_the_environment(
    web: Any, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A private authority is trusted only when a variable names its root certificate."""
    authority = web.use_tls("localhost")
    web.add_response("/x", jpeg)
    url = f"https://localhost:{web.port}/x"
    with pytest.raises(errors.DownloadError, match="safely"):
        fetch(url)
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv(variable, str(tmp_path / "roots.pem"))
    assert fetch(url)[0] == jpeg


def test_missing_root_certificates_are_an_error(monkeypatch: pytest.MonkeyPatch, web: Any) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/roots.pem")
    with pytest.raises(errors.ConfigurationError, match="SSL_CERT_FILE"):
        fetch(web.add_response("/x", b""))


# --- the user's own server, called the engine -----------------------------------------------

SECRET = "engine-key-5ca1ab1e"


@pytest.fixture
def public(
    start_http_server: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a server at the public name `https://pictures.example.com:PORT`."""
    web = start_http_server()
    authority = web.use_tls("pictures.example.com")
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))

    def resolve(host: str, _port: int) -> list[str]:
        assert host == "pictures.example.com" or is_loopback(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("xai_notebook.client.http.addresses_of", resolve)
    web.base = f"https://pictures.example.com:{web.port}"
    return web


def fetch_own(engine: Any, url: str) -> bytes:
    """Fetch a URL that the user's own `engine` returned."""
    own = WebAddress.parse(engine.url("/v1/"))
    return fetch(url, timeout=10, allow_loopback=False, own=own, key=ApiKey(SECRET))[0]


def keys(web: Any) -> list[str | None]:
    """Return the authorization header of each request."""
    return [headers.get("Authorization") for _, headers in web.requests]


@pytest.mark.parametrize("url", ["{base}/made/x", "/made/x", "../made/x", "//{host}/made/x"])
def test_the_engines_origin_gets_the_key(web: Any, jpeg: bytes, url: str) -> None:
    """The engine may use http and a private address."""
    web.add_response("/made/x", jpeg)
    host = f"127.0.0.1:{web.port}"
    assert fetch_own(web, url.format(base=f"http://{host}", host=host)) == jpeg
    assert keys(web) == [f"Bearer {SECRET}"]


def test_a_public_address_gets_no_key(web: Any, public: Any, jpeg: bytes) -> None:
    public.add_response("/x", jpeg)
    assert fetch_own(web, f"{public.base}/x") == jpeg
    assert (keys(public), web.requests) == ([None], [])


def test_a_redirect_to_a_public_address_carries_no_key(web: Any, public: Any, jpeg: bytes) -> None:
    web.add_response("/made/x", b"", status=302, Location=f"{public.base}/x")
    public.add_response("/x", jpeg)
    assert fetch_own(web, "/made/x") == jpeg
    assert (keys(web), keys(public)) == ([f"Bearer {SECRET}"], [None])


@pytest.mark.parametrize(
    "target",
    ["http://pictures.example.com:{public}/y", "http://127.0.0.1:{engine}/made/y",
     "https://127.0.0.1:{engine}/y", "https://10.0.0.1/y", "https://[::1]:{engine}/y",
     "https://me@pictures.example.com:{public}/y", "ftp://pictures.example.com/y",
     "https://127.0.0.1:{engine}\\@pictures.example.com:{public}/y"],
)  # fmt: skip
def test_a_public_address_cannot_redirect_to_an_unsafe_one(
    web: Any, public: Any, jpeg: bytes, target: str
) -> None:
    web.add_response("/made/y", jpeg)
    public.add_response("/y", jpeg)
    location = target.format(public=public.port, engine=web.port)
    public.add_response("/x", b"", status=302, Location=location)
    with pytest.raises(errors.DownloadError, match="not fetched"):
        fetch_own(web, f"{public.base}/x")
    assert web.requests == []


@pytest.mark.parametrize(("scheme", "offset"), [("http", -1), ("https", 0)])
def test_another_scheme_or_port_on_the_engines_host_is_refused(
    web: Any, jpeg: bytes, scheme: str, offset: int
) -> None:
    web.add_response("/made/x", jpeg)
    with pytest.raises(errors.DownloadError):
        fetch_own(web, f"{scheme}://127.0.0.1:{web.port + offset}/made/x")
    assert web.requests == []


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_no_download_error_holds_the_key(web: Any, status: int) -> None:
    """The locals of the traceback's frames do not contain the key either."""

    def route(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Location", "http://10.0.0.1/x")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.close_connection = True

    web.routes["/made/x"] = route
    with pytest.raises(errors.DownloadError) as caught:
        fetch_own(web, "/made/x")
    assert keys(web)[0] == f"Bearer {SECRET}"
    rendered = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert SECRET not in "".join(rendered.format())
