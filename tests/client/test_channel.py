"""Endpoints, TLS, root certificates, proxies and keepalive."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme

from xai_notebook import errors
from xai_notebook.client import AsyncClient
from xai_notebook.client.addresses import Endpoint
from xai_notebook.client.transport.channel import _options, root_certificates_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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


def test_an_empty_key_is_not_sent(serve: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key overrides the key of the environment."""
    monkeypatch.setenv("XAI_API_KEY", "xai-from-environment")

    async def main() -> None:
        async with (
            serve(reply(base64="AAAA")) as server,
            AsyncClient("", api_host=server.host) as client,
        ):
            await client.image.sample("p", "m")
            assert "authorization" not in server.metadata[0]

    asyncio.run(main())


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

    def roots(self, path: Path) -> Path:
        """Write the root certificate for a client."""
        path.write_bytes(self.authority.cert_pem.bytes())
        return path


@pytest.fixture(scope="module")
def tls() -> Tls:
    """Return a certificate authority."""
    return Tls()


def ask(serve: Any, reply: Any, key: str, tls: Tls | None, **options: Any) -> Any:
    """Ask a server for one image; return the response or the error, and the server."""

    async def main() -> Any:
        async with serve(
            reply(base64="AAAA"), credentials=tls.credentials if tls else None
        ) as server:
            options.setdefault("api_host", f"https://localhost:{server.port}")
            async with AsyncClient(key, timeout=2, **options) as client:
                try:
                    return await client.image.sample("p", "m"), server
                except errors.XaiError as error:
                    return error, server

    return asyncio.run(main())


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "ssl_cert_file", "REQUESTS_CA_BUNDLE", "requests_ca_bundle"]
)
@pytest.mark.parametrize("folder", [False, True])
def test_roots_come_from_the_environment(
    serve: Any, reply: Any, key: str, tls: Tls, tmp_path: Path, monkeypatch: Any,
    variable: str, *, folder: bool,
) -> None:  # fmt: skip
    """A server of a private authority is trusted when a variable names the roots."""
    roots = tls.roots(tmp_path / "roots.pem")
    monkeypatch.setenv(variable, str(tmp_path if folder else roots))
    response, server = ask(serve, reply, key, tls)
    assert response.base64 == "AAAA"
    assert server.metadata[0]["authorization"] == f"Bearer {key}"


def test_an_unknown_authority_is_not_trusted(serve: Any, reply: Any, key: str, tls: Tls) -> None:
    """The server gets neither request nor key."""
    error, server = ask(serve, reply, key, tls)
    assert isinstance(error, errors.UnavailableError)
    assert "SSL_CERT_FILE" in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    ("names", "end", "words"),
    [
        (["other.test"], None, "is for another host"),
        (["localhost"], datetime(2021, 1, 1, tzinfo=timezone.utc), "this computer's clock"),
    ],
    ids=["another host", "expired"],
)
def test_a_wrong_certificate_is_described(
    serve: Any, reply: Any, tls: Tls, tmp_path: Path, monkeypatch: Any,
    names: list[str], end: datetime | None, words: str,
) -> None:  # fmt: skip
    """The message says what is wrong with it, and does not send the user after roots."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.roots(tmp_path / "roots.pem")))
    wrong = copy.copy(tls)
    wrong.credentials = tls.issue(*names, end=end)
    error, server = ask(serve, reply, "", wrong)
    assert isinstance(error, errors.UnavailableError)
    assert words in str(error)
    assert "SSL_CERT_FILE" not in str(error)
    assert not error.maybe_billed
    assert server.requests == []


def test_missing_roots_are_a_configuration_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(errors.ConfigurationError, match=r"SSL_CERT_FILE names .*gone.pem"):
        root_certificates_path()


def test_roots_without_a_certificate_are_refused(
    serve: Any, reply: Any, key: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """They are refused before anything is sent."""
    (tmp_path / "roots.pem").write_text("hello")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    with pytest.raises(errors.ConfigurationError, match="no PEM certificate"):
        ask(serve, reply, key, None)


def test_plain_text_does_not_replace_tls(serve: Any, reply: Any, key: str) -> None:
    error, server = ask(serve, reply, key, None)
    assert isinstance(error, errors.UnavailableError)
    assert server.metadata == []


# --- proxies ------------------------------------------------------------------------------------


class Proxy:
    """An HTTP proxy that connects CONNECT requests for any host to one port of this computer."""

    def __init__(self, port: int) -> None:
        self.goes_to = port
        self.heads: list[str] = []
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        there, here = await asyncio.open_connection("127.0.0.1", self.goes_to)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()

        try:
            await asyncio.wait(
                [asyncio.create_task(pump(reader, here)), asyncio.create_task(pump(there, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for stream in (here, writer):
                stream.close()


@contextlib.asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """Start a proxy that connects to `port`."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)


def through(serve: Any, reply: Any, key: str, tls: Tls | None, monkeypatch: Any, name: str) -> Any:
    """Ask `api.test`, which only the proxy can resolve, for one image."""

    async def main() -> Any:
        credentials = tls.credentials if tls else None
        async with (
            serve(reply(base64="AAAA"), credentials=credentials) as server,
            proxied(server.port) as proxy,
        ):
            monkeypatch.setenv(name, f"http://user:secret@127.0.0.1:{proxy.port}")
            async with AsyncClient(key, api_host="api.test", timeout=2) as client:
                try:
                    result: Any = await client.image.sample("p", "m")
                except errors.XaiError as error:
                    result = error
        return result, server, proxy

    return asyncio.run(main())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_used(
    serve: Any, reply: Any, key: str, tls: Tls, tmp_path: Path, monkeypatch: Any, name: str
) -> None:
    """The client sends CONNECT; the key stays inside TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.roots(tmp_path / "roots.pem")))
    response, server, proxy = through(serve, reply, key, tls, monkeypatch, name)
    assert response.base64 == "AAAA"
    assert proxy.heads[0].startswith("CONNECT api.test:443 HTTP/1.1")
    assert "Proxy-Authorization: Basic" in proxy.heads[0]
    assert key not in proxy.heads[0]
    assert server.metadata[0]["authorization"] == f"Bearer {key}"


def test_the_key_is_not_sent_in_plain_text_through_a_proxy(
    serve: Any, reply: Any, key: str, monkeypatch: Any
) -> None:
    """A plain-text server poses as a remote host."""
    error, server, proxy = through(serve, reply, key, None, monkeypatch, "HTTPS_PROXY")
    assert isinstance(error, errors.UnavailableError)
    assert proxy.heads
    assert server.metadata == []


def test_no_proxy_is_honoured(serve: Any, reply: Any, key: str, monkeypatch: Any) -> None:
    """The direct connection fails: only the proxy knows the name."""
    monkeypatch.setenv("NO_PROXY", "example.com,.test")
    error, _, proxy = through(serve, reply, key, None, monkeypatch, "HTTPS_PROXY")
    assert isinstance(error, errors.UnavailableError)
    assert proxy.heads == []


def test_loopback_never_goes_through_a_proxy(
    run_call: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert run_call(reply(base64="AAAA"), lambda c: c.image.sample("p", "m"))[0].base64 == "AAAA"


@pytest.mark.parametrize("proxy", ["https://user:secret@proxy:1", "socks5://user:secret@proxy:1"])
def test_proxies_of_other_kinds_are_refused(proxy: str, key: str, monkeypatch: Any) -> None:
    """The message does not contain the proxy's password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    async def main() -> None:
        async with AsyncClient(key):
            pass

    with pytest.raises(errors.ConfigurationError, match="NO_PROXY") as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)
