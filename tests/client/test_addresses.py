"""Image downloads: allowed and refused addresses."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook import errors
from xai_notebook.client.addresses import RefusedError, WebAddress, addresses_of, check_host
from xai_notebook.client.http import Downloader

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = "93.184.215.14"
PRIVATE = [
    # This computer, in every spelling that a parser or resolver accepts.
    "0.0.0.0", "0", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
    "017700000001", "127.0.0.1.", "127.1.", "localhost.", "a.localhost", "loc%61lhost",
    "%6cocalhost", "127.0.0.1%2eexample.com", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "localhost\\.example.com",
    # Private, link-local, reserved and multicast addresses, and local names.
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "2852039166",
    "100.64.0.1", "192.0.0.170", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "168.63.129.16", "192.0.0.8", "192.88.99.1", "[3fff::1]",
    "255.255.255.255", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]",
    "[ff02::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a00:1::]", "[2002:c0a8:101::1]", "[2001:db8::1]", "[2001::1]", "[100::1]",
    "intranet", "printer.local", "metadata.google.internal", "nas.home.arpa", "db.localdomain",
]  # fmt: skip


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the addresses that sockets connect to; allow loopback only."""
    addresses: list[Any] = []
    connect = socket.socket.connect

    def spy(self: socket.socket, address: Any) -> None:
        addresses.append(address)
        if address[0] not in {"127.0.0.1", "::1"}:
            raise ConnectionRefusedError("Tests connect to loopback only.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return addresses


@pytest.fixture
def dns_answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Fake DNS: a lookup pops an answer of one or more addresses; the last answer is repeated."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def fake_getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **options)
        answer = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            entry for address in answer.split() for entry in real(address, port, *args, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", fake_getaddrinfo)
    return answers


def fetch(*urls: str, allow_loopback: bool = False) -> Any:
    """Fetch URLs in sequence over the same connections; return the body of the last response."""
    downloader = Downloader(allow_loopback=allow_loopback, timeout=10)

    async def main() -> Any:
        data = b""
        for url in urls:
            data, _ = await downloader.fetch(url)
        return data

    try:
        return asyncio.run(main())
    finally:
        downloader.close()


@pytest.mark.parametrize("loopback", [False, True])
def test_private_hosts_are_refused_before_connecting(
    connected: list[Any], *, loopback: bool
) -> None:
    # With `allow_loopback`, only the plain spellings of localhost are allowed.
    hosts = [host for host in PRIVATE if not (loopback and host in {"localhost.", "127.0.0.1."})]
    assert len(hosts) >= 37
    for host in hosts:
        for url in (f"https://{host}/x.jpg", f"https://{host}:8443/x.jpg", f"http://{host}/x.jpg"):
            with pytest.raises(errors.DownloadError, match="not fetched"):
                fetch(url, allow_loopback=loopback)
    assert connected == []


def test_redirects_to_private_hosts_are_refused(connected: list[Any], web: Any) -> None:
    for host in PRIVATE:
        ascii_host = host.encode("ascii", "ignore").decode()
        web.add_response("/1", b"", status=302, Location="/2")
        web.add_response("/2", b"", status=307, Location=f"https://{ascii_host}/x.jpg")
        if ascii_host not in {"localhost.", "127.0.0.1."}:
            with pytest.raises(errors.DownloadError, match="not fetched"):
                fetch(web.url("/1"), allow_loopback=True)
    assert {address[:2] for address in connected} == {("127.0.0.1", web.port)}


@pytest.mark.parametrize(
    "answer",
    ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "fe80::1", "fd00::1",
     "64:ff9b::a9fe:a9fe", f"{PUBLIC} 192.168.1.1", f"10.0.0.1 {PUBLIC}"],
)  # fmt: skip
def test_names_that_resolve_to_private_addresses_are_refused(
    connected: list[Any], dns_answers: dict[str, list[str]], answer: str
) -> None:
    """A name is refused even if only one of several addresses is private."""
    dns_answers["images.example.com"] = [answer]
    with pytest.raises(errors.DownloadError, match=r"not public, images\.example\.com \("):
        fetch("https://images.example.com/x.jpg")
    assert connected == []


def test_a_connection_uses_the_checked_addresses(
    connected: list[Any], dns_answers: dict[str, list[str]]
) -> None:
    """A name is resolved once for check and connection, and again for a retry."""
    dns_answers["images.example.com"] = [PUBLIC, "127.0.0.1"]
    with pytest.raises(errors.DownloadError, match="not public"):
        fetch("https://images.example.com/x.jpg")
    assert connected == [(PUBLIC, 443)]


def test_every_public_address_of_a_name_is_tried(
    connected: list[Any], dns_answers: dict[str, list[str]]
) -> None:
    dns_answers["images.example.com"] = [f"{PUBLIC} 8.8.8.8"]
    with pytest.raises(errors.DownloadError, match="could not be fetched"):
        fetch("https://images.example.com/x.jpg")
    assert [address[0] for address in connected] == [PUBLIC, "8.8.8.8"] * 3


def test_localhost_must_resolve_to_loopback(dns_answers: dict[str, list[str]], web: Any) -> None:
    """Another address, to which a resolver may map `localhost`, is refused."""
    web.add_response("/x", b"\xff\xd8\xff")
    dns_answers["localhost"] = [PUBLIC]
    with pytest.raises(errors.DownloadError, match="not public"):
        fetch(f"http://localhost:{web.port}/x", allow_loopback=True)


def test_a_pinned_connection_sends_the_host_name(
    web: Any, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is used in SNI, certificate verification and the Host header."""
    authority = web.use_tls("localhost")
    sni_names: list[Any] = []
    web.context.sni_callback = lambda _, name, __: sni_names.append(name)
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    web.add_response("/x", jpeg)
    url = f"https://localhost:{web.port}/x"
    assert fetch(url, url, allow_loopback=True) == jpeg
    assert sni_names == ["localhost"]  # one connection
    assert [headers["Host"] for _, headers in web.requests] == [f"localhost:{web.port}"] * 2
    with pytest.raises(errors.DownloadError, match="safely"):
        fetch(url.replace("localhost", "127.0.0.1"), allow_loopback=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_loopback_bypasses_a_proxy_even_if_no_proxy_is_unset(
    web: Any, jpeg: bytes, monkeypatch: pytest.MonkeyPatch, host: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    web.add_response("/x", jpeg)
    assert fetch(f"http://{host}:{web.port}/x", allow_loopback=True) == jpeg


def test_only_public_names_are_sent_to_a_proxy(
    connected: list[Any], monkeypatch: pytest.MonkeyPatch, web: Any
) -> None:
    """The proxy resolves public names; the client does no lookup."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{web.port}")

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("The client resolved a name.")

    monkeypatch.setattr("xai_notebook.client.http.addresses_of", forbidden)
    for host in PRIVATE:
        with pytest.raises(errors.DownloadError, match="not fetched"):
            fetch(f"https://{host}/x.jpg")
    assert connected == []
    with pytest.raises(errors.DownloadError, match="could not be fetched"):
        fetch("https://images.example.com/x.jpg")  # the test proxy does not support CONNECT
    assert set(connected) == {("127.0.0.1", web.port)}


@pytest.mark.parametrize(
    "host",
    ["imgen.x.ai", "images.example.com.", "xn--bcher-kva.example", "a_b.example.com", PUBLIC,
     "2606:4700::6810:1", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1", "1.example.com", "a.0xyz"],
)  # fmt: skip
def test_public_hosts_are_allowed(host: str) -> None:
    check_host(host, allow_loopback=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::6810:1", "64:ff9b::808:808"])
def test_public_addresses_resolve_to_themselves(address: str) -> None:
    assert addresses_of(address, 443) == [address]


def test_a_refused_name_is_not_resolved_again(dns_answers: dict[str, list[str]]) -> None:
    """A second lookup could return a public address."""
    dns_answers["images.example.com"] = ["10.0.0.1", PUBLIC]
    with pytest.raises(errors.DownloadError, match="not public"):
        fetch("https://images.example.com/x.jpg")
    assert dns_answers["images.example.com"] == [PUBLIC]


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
def test_a_url_is_normalised(url: str, target: str) -> None:
    """URLs become ASCII; characters that another parser could read as a host are escaped."""
    assert str(WebAddress.parse(url)) == f"https://example.com{target}"


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "+80", "8 0", "\u0661", "80:80"])
def test_invalid_ports_are_refused(port: str) -> None:
    with pytest.raises(RefusedError, match="not fetched"):
        WebAddress.parse(f"https://example.com:{port}/x")
