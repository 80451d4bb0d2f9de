"""Endpoints, TLS, root certificates, proxies and keepalive."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme

from xai_notebook import errors
from xai_notebook.client import AsyncClient
from xai_notebook.client.addresses import Endpoint
from xai_notebook.client.transport.channel import _options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "target", "shown", "tls", "loopback"),
    [
        ("api.x.ai", "dns:///api.x.ai:443", "api.x.ai", True, False),
        (" API.x.ai/ ", "dns:///api.x.ai:443", "api.x.ai", True, False),
        ("https://api.x.ai", "dns:///api.x.ai:443", "api.x.ai", True, False),
        ("gateway.corp:8443", "dns:///gateway.corp:8443", "gateway.corp:8443", True, False),
        ("10.0.0.7:5000", "ipv4:10.0.0.7:5000", "10.0.0.7:5000", True, False),
        ("localhost:5000", "ipv4:127.0.0.1:5000", "localhost:5000", False, True),
        ("http://localhost:5000", "ipv4:127.0.0.1:5000", "localhost:5000", False, True),
        ("https://localhost:5000", "ipv4:127.0.0.1:5000", "localhost:5000", True, True),
        ("127.0.0.1:5000", "ipv4:127.0.0.1:5000", "127.0.0.1:5000", False, True),
        ("[::1]:5000", "ipv6:[::1]:5000", "[::1]:5000", False, True),
        ("localhost.evil.example", "dns:///localhost.evil.example:443", None, True, False),
        ("127.0.0.1.nip.io", "dns:///127.0.0.1.nip.io:443", None, True, False),
    ],
)
def test_endpoints_are_parsed(
    text: str, target: str, shown: str | None, *, tls: bool, loopback: bool
) -> None:
    """Only loopback is used without TLS."""
    endpoint = Endpoint.parse(text)
    assert endpoint.target == target
    assert (endpoint.tls, endpoint.loopback) == (tls, loopback)
    assert shown is None or str(endpoint) == shown


@pytest.mark.parametrize(
    "text",
    ["", "a b", "unix:/tmp/x", "dns:///x", "user@host", "host/path", "host:0", "host:65536",
     "host:port", "ftp://host", "localhost", "http://localhost", "[::1]"],
)  # fmt: skip
def test_invalid_endpoints_are_refused(text: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        Endpoint.parse(text)


@pytest.mark.parametrize("host", ["http://example.com", "http://10.0.0.7:80", "http://[::2]:1"])
def test_a_key_is_refused_on_a_plain_channel(host: str, key: str) -> None:
    """The error suggests https."""
    with pytest.raises(errors.ConfigurationError, match="https://"):
        AsyncClient(key, api_host=host)


def test_a_remote_host_needs_a_key() -> None:
    for key in (None, ""):
        with pytest.raises(errors.ConfigurationError, match="XAI_API_KEY"):
            AsyncClient(key)
    AsyncClient(api_host="localhost:9")


def test_key_and_host_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_API_KEY", "xai-from-environment")
    monkeypatch.setenv("XAI_API_HOST", "gateway.example")
    assert repr(AsyncClient()) == "AsyncClient(api_host='gateway.example')"


def test_an_empty_key_overrides_the_key_of_the_environment(
    run_call: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", "xai-from-environment")
    _, server = run_call(reply(base64="AAAA"), lambda c: c.image.sample("p", "m"), key="")
    assert "authorization" not in server.metadata[0]


@pytest.mark.parametrize(
    ("host", "milliseconds"),
    [("gateway.corp", 300_000), ("[::1]:9", 300_000), ("api.x.ai", 30_000), ("max.ai", 300_000)],
)
def test_keepalive_is_as_frequent_as_servers_allow(host: str, milliseconds: int) -> None:
    options = dict(_options(Endpoint.parse(host)))
    assert options["grpc.keepalive_time_ms"] == milliseconds
    assert options["grpc.keepalive_permit_without_calls"] == 0
    assert options["grpc.enable_retries"] == 0


# --- TLS ----------------------------------------------------------------------------------------


class Tls:
    """A certificate authority, and the credentials of a server."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.credentials = self.issue("localhost", "127.0.0.1", "api.test")

    def issue(self, *names: str, end: datetime | None = None) -> grpc.ServerCredentials:
        """Return credentials for these names; the certificate expires at `end`."""
        issued = self.authority.issue_cert(
            *names, not_before=end and end - timedelta(days=1), not_after=end
        )
        chain = b"".join(certificate.bytes() for certificate in issued.cert_chain_pems)
        return grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])

    def write_roots(self, path: Path) -> Path:
        """Write the root certificate for a client; return `path`."""
        path.write_bytes(self.authority.cert_pem.bytes())
        return path


@pytest.fixture(scope="module")
def tls() -> Tls:
    return Tls()


@pytest.fixture
def serve_image(serve: Any, reply: Any) -> Callable[..., Any]:
    """Return a context manager that starts a server of images with given credentials."""
    return lambda credentials=None: serve(reply(base64="AAAA"), credentials=credentials)


async def request_image(host: str, key: str = "xai-key") -> str:
    """Request an image from a host; return its base64."""
    async with AsyncClient(key, api_host=host, timeout=2) as client:
        return (await client.image.sample("p", "m")).base64


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "ssl_cert_file", "REQUESTS_CA_BUNDLE", "requests_ca_bundle"]
)
@pytest.mark.parametrize("folder", [False, True])
async def test_root_certificates_come_from_the_environment(
    serve_image: Any, key: str, tls: Tls, tmp_path: Path, monkeypatch: Any,
    variable: str, *, folder: bool,
) -> None:  # fmt: skip
    """A server of a private authority is trusted when a variable names its root certificate."""
    roots = tls.write_roots(tmp_path / "roots.pem")
    monkeypatch.setenv(variable, str(tmp_path if folder else roots))
    async with serve_image(tls.credentials) as server:
        assert await request_image(f"https://{server.host}", key) == "AAAA"
    assert server.metadata[0]["authorization"] == f"Bearer {key}"


async def test_a_server_of_an_unknown_authority_gets_no_request(serve_image: Any, tls: Tls) -> None:
    async with serve_image(tls.credentials) as server:
        with pytest.raises(errors.UnavailableError, match="SSL_CERT_FILE"):
            await request_image(f"https://{server.host}")
    assert server.requests == []


@pytest.mark.parametrize(
    ("names", "end", "words"),
    [
        (["other.test"], None, "is for another host"),
        (["localhost"], datetime(2021, 1, 1, tzinfo=timezone.utc), "this computer's clock"),
    ],
    ids=["another host", "expired"],
)
async def test_the_error_for_a_wrong_certificate_does_not_suggest_other_roots(
    serve_image: Any, tls: Tls, tmp_path: Path, monkeypatch: Any,
    names: list[str], end: datetime | None, words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.write_roots(tmp_path / "roots.pem")))
    async with serve_image(tls.issue(*names, end=end)) as server:
        with pytest.raises(errors.UnavailableError, match=words) as caught:
            await request_image(f"https://{server.host}")
    assert "SSL_CERT_FILE" not in str(caught.value)
    assert not caught.value.maybe_billed
    assert server.requests == []


@pytest.mark.parametrize(
    ("file", "message"),
    [("gone.pem", r"SSL_CERT_FILE names .*gone.pem"), ("text.pem", "no PEM certificate")],
)
async def test_unusable_root_certificates_are_a_configuration_error(
    tmp_path: Path, monkeypatch: Any, file: str, message: str
) -> None:
    (tmp_path / "text.pem").write_text("hello")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    with pytest.raises(errors.ConfigurationError, match=message):
        await request_image("https://localhost:9")


async def test_the_client_does_not_fall_back_to_plain_text(serve_image: Any) -> None:
    async with serve_image() as server:
        with pytest.raises(errors.UnavailableError):
            await request_image(f"https://{server.host}")
    assert server.metadata == []


# --- proxies ------------------------------------------------------------------------------------


class Proxy:
    """An HTTP proxy that connects CONNECT requests for any host to one port of this computer."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.heads: list[str] = []
        self.url = ""
        self.tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        target, to_target = await asyncio.open_connection("127.0.0.1", self.target_port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()

        try:
            await asyncio.wait(
                [
                    asyncio.create_task(pump(reader, to_target)),
                    asyncio.create_task(pump(target, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for stream in (to_target, writer):
                stream.close()


@contextlib.asynccontextmanager
async def run_proxy(target_port: int) -> AsyncIterator[Proxy]:
    """Run a proxy that connects to a port of this computer, until the block ends."""
    proxy = Proxy(target_port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
async def test_a_proxy_gets_connect_and_not_the_key(
    serve_image: Any, key: str, tls: Tls, tmp_path: Path, monkeypatch: Any, variable: str
) -> None:
    """The client does not resolve `api.test`, which no name server knows."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.write_roots(tmp_path / "roots.pem")))
    async with serve_image(tls.credentials) as server, run_proxy(server.port) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert await request_image("api.test", key) == "AAAA"
    assert proxy.heads[0].startswith("CONNECT api.test:443 HTTP/1.1")
    assert "Proxy-Authorization: Basic" in proxy.heads[0]
    assert key not in proxy.heads[0]
    assert server.metadata[0]["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize(("no_proxy", "used"), [("", True), ("example.com,.test", False)])
async def test_the_key_is_not_sent_in_plain_text(
    serve_image: Any, monkeypatch: Any, no_proxy: str, *, used: bool
) -> None:
    """A plain-text server behind the proxy poses as a remote host; NO_PROXY is honoured."""
    monkeypatch.setenv("NO_PROXY", no_proxy)
    async with serve_image() as server, run_proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(errors.UnavailableError):
            await request_image("api.test")
    assert bool(proxy.heads) is used
    assert server.metadata == []


def test_loopback_never_goes_through_a_proxy(
    run_call: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert run_call(reply(base64="AAAA"), lambda c: c.image.sample("p", "m"))[0].base64 == "AAAA"


@pytest.mark.parametrize("proxy", ["https://user:secret@proxy:1", "socks5://user:secret@proxy:1"])
async def test_https_and_socks_proxies_are_refused(proxy: str, monkeypatch: Any) -> None:
    """The message does not contain the proxy's password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(errors.ConfigurationError, match="NO_PROXY") as caught:
        await request_image("api.x.ai")
    assert "secret" not in str(caught.value)
