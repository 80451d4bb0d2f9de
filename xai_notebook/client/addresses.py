"""URLs of the web, and the addresses that an image may be fetched from.

An API or an engine names the URL, and some name server its address. Neither is trusted: it could
point into the network that the notebook runs in. So a URL's host must look public before anything
is asked about it, and every address that its name stands for must be.

A URL is parsed once, here. What was parsed is checked, and connected to.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin

from xai_notebook.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Endpoint", "RefusedError", "WebAddress", "addresses_of", "check_host", "is_loopback"]

_URL: Final = re.compile(r"(?i:(https?)://)([^/?#]*)([^#]*)(?:#.*)?")
_NO_URL: Final = "The server named an address that is no URL: not fetched."
_AUTHORITY: Final = re.compile(r"(?:([a-z0-9_.-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5}))?")
_PORTS: Final = {"http": 80, "https": 443}
_UNQUOTED: Final = "!$%&'()*+,/:;=?@[]~"
"""What stays as it is in a path and a query; letters, digits and `_.-` do as well."""

_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
"""A name that resolvers read as an IPv4 address: `127.1`, `2130706433`, `0x7f.1`."""
_PRIVATE_NAMES: Final = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")
"""Names that no public name server has: RFC 6761, 6762 and 8375, and ICANN's `.internal`."""
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that has been given out of IPv6; the rest is local, mapped or reserved."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Where networks without IPv4 find the IPv4 internet; the last 32 bits are the address there."""
_RESERVED: Final = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16", "3fff::/20"))
)
"""What some versions of Python call global: protocol assignments, retired relays, the address at
which Azure tells a machine its secrets, and documentation."""


class RefusedError(ValueError):
    """The address is not one to fetch from; the message says which and why.

    No OSError: urllib3 would take one for a connection that failed, and requests try again.
    """


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A URL, taken apart so that its text can be read in one way only.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: In lower case, without brackets.
        port: The scheme's own, if the URL names none.
        target: Path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str, base: WebAddress | None = None) -> Self:
        """Read a URL. What two programs could read in two ways is refused.

        Args:
            url: Its host is an address or a name in ASCII. The fragment is dropped.
            base: What a relative URL is relative to; None: it must be absolute.

        Raises:
            RefusedError: It is no such URL, or holds a password.
        """
        url = url.strip()
        if not url.isprintable():  # control characters: some parsers drop them, others do not
            raise RefusedError(_NO_URL)
        try:
            absolute = url if base is None else urljoin(str(base), url)
        except ValueError:
            raise RefusedError(_NO_URL) from None
        whole = _URL.fullmatch(absolute)
        if whole is None:
            raise RefusedError("The server named an address that is not https: not fetched.")
        scheme, authority, target = whole[1].lower(), whole[2].lower(), whole[3]
        if not authority or "@" in authority:
            raise RefusedError(
                "The server named an address without a host, or with a password in it: not fetched."
            )
        parts = _AUTHORITY.fullmatch(authority)
        port = int(parts[3] or _PORTS[scheme]) if parts else 0
        if parts is None or port not in range(1, 1 << 16):
            raise RefusedError(_NO_URL)
        target = quote(target if target[:1] == "/" else f"/{target}", safe=_UNQUOTED)
        return cls(scheme, parts[1] or parts[2], port, target)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a key belongs to: scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.scheme}://{self.authority}{self.target}"


def is_loopback(host: str) -> bool:
    """Tell whether `host` (no brackets, no port) is this computer, without asking a resolver."""
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 says yes to ::ffff:127.0.0.1 as well, older ones no: nobody writes that honestly.
    return found.is_loopback and getattr(found, "ipv4_mapped", None) is None


def check_host(host: str, *, allow_loopback: bool) -> None:
    """Look at the host of a URL as it is written. Nothing is asked of any resolver.

    Args:
        host: In lower case, without brackets.
        allow_loopback: Whether this computer may be meant.

    Raises:
        RefusedError: It is no name, or cannot be public.
    """
    host = host.removesuffix(".")
    if is_loopback(host):
        if not allow_loopback:
            raise RefusedError(
                f"The server named an address of this computer, {host}: not fetched."
            )
        return
    try:
        public = _is_public(host)
    except ValueError:
        if not _NAME.fullmatch(host):
            raise RefusedError(_NO_URL) from None
        public = "." in host and not (_NUMBER.fullmatch(host) or host.endswith(_PRIVATE_NAMES))
    if not public:
        raise _not_public(host)


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, as numbers, in the resolver's order.

    Raises:
        RefusedError: One of them is not public; or, where this computer is meant, not its own.
        OSError: The name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = is_loopback if is_loopback(host.removesuffix(".")) else _is_public
    for address in addresses:
        if not allowed(address):
            raise _not_public(f"{host} ({address})")
    return addresses


def _is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet.

    Raises:
        ValueError: It is no address.
    """
    found = ipaddress.ip_address(address)
    if any(found in network for network in _RESERVED):
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast
    if found in _NAT64:
        return _is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    if found.sixtofour is not None:
        return _is_public(str(found.sixtofour))
    return found in _GLOBAL_UNICAST and found.is_global


def _not_public(host: str) -> RefusedError:
    return RefusedError(f"The server named an address that is not public, {host}: not fetched.")


HTTPS_PORT = 443
_HOST = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go, and how.

    Attributes:
        host: Name or address, without brackets.
        port: TCP port.
        tls: Whether the connection is encrypted.
        loopback: Whether it stays on this computer.
    """

    host: str
    port: int
    tls: bool
    loopback: bool

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `host`, `host:port`, `[address]:port`, `https://host` or `http://localhost:port`.

        Loopback addresses are spoken to without TLS unless the text says `https`.

        Raises:
            ConfigurationError: The text is none of these, or asks for plain text to a remote host.
        """
        match = _HOST.fullmatch(text.strip().lower())
        if match is None or int(match["port"] or 1) not in range(1, 1 << 16):
            raise ConfigurationError(
                f"{text!r} is no API host. Set XAI_API_HOST to a host or host:port."
            )
        host = match["host"].strip("[]")
        loopback = is_loopback(host)
        if match["scheme"] == "http" and not loopback:
            raise ConfigurationError(
                f"{text!r} is not encrypted, and a key is never sent in clear. Use https://{host}."
            )
        tls = match["scheme"] == "https" or not loopback
        if match["port"] is None and not tls:
            raise ConfigurationError(f"{text!r} needs a port: {host}:PORT.")
        return cls(host, int(match["port"] or HTTPS_PORT), tls, loopback)

    @property
    def authority(self) -> str:
        """`host:port` as it was meant, for certificates and virtual hosts."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The name gRPC resolves. `localhost` goes to IPv4, where servers listen."""
        if self.host == "localhost":
            return f"ipv4:127.0.0.1:{self.port}"
        if ":" in self.host:
            return f"ipv6:{self.authority}"
        return f"ipv4:{self.authority}" if _is_address(self.host) else f"dns:///{self.authority}"

    def __str__(self) -> str:
        """Return what a message calls it: the port only when it is not the usual one."""
        return self.host if self.port == HTTPS_PORT else self.authority


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
