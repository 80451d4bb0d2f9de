"""Network addresses: the API's endpoint, URLs, and checks of the hosts that images come from.

The URL of an image comes from an API or engine, and the IP address from a name server. Neither is
trusted, because the address could be in the notebook's private network. Therefore a URL's host must
look public before it is resolved, and every address that it resolves to must be public.

A URL is parsed only once, in this module. The same parsed parts are checked and used to connect.
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

_PORTS: Final = {"http": 80, "https": 443}
_API_HOST: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>\d+))?/?"
)
_URL: Final = re.compile(r"(?i:(https?)://)([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY: Final = re.compile(r"(?:([a-z0-9_.-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5}))?")
_UNQUOTED: Final = "!$%&'()*+,/:;=?@[]~"
"""Characters of a path or query that are not quoted, besides letters, digits and `_.-`."""
_NO_URL: Final = "The server named an invalid URL: not fetched."

_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
"""Matches names that resolvers read as IPv4 addresses: `127.1`, `2130706433`, `0x7f.1`."""
_PRIVATE_NAMES: Final = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")
"""Domains that public DNS does not resolve: RFC 6761, 6762, 8375, and ICANN's `.internal`."""
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""The global unicast range of IPv6; other addresses are local, mapped or reserved."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of the IPv4 internet in IPv6-only networks; the last 32 bits are the IPv4 address."""
_RESERVED: Final = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16", "3fff::/20"))
)
"""Addresses that are refused although `is_global` is true, in some Python versions or in all:
protocol assignments, retired relays, Azure's metadata service, addresses for documentation."""


class RefusedError(ValueError):
    """The address is not allowed; the message states the reason.

    This class is not an OSError, because urllib3 treats an OSError as a failed connection.
    """


def is_loopback(host: str) -> bool:
    """Tell whether `host` (no brackets, no port) is this computer, without resolving names."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # ::ffff:127.0.0.1 is loopback only since Python 3.13, and has no legitimate use.
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The host and port of a gRPC server.

    Attributes:
        host: Name or address, without brackets.
        port: TCP port.
        tls: Whether the connection is encrypted.
        loopback: Whether the server is on this computer.
    """

    host: str
    port: int
    tls: bool
    loopback: bool

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse `host`, `host:port`, `[address]:port`, `https://host` or `http://localhost:port`.

        A loopback address is used without TLS unless `text` starts with `https://`.

        Raises:
            ConfigurationError: `text` is invalid, is remote with `http://`, or needs a port.
        """
        match = _API_HOST.fullmatch(text.strip().lower())
        if match is None or int(match["port"] or 1) not in range(1, 1 << 16):
            raise ConfigurationError(
                f"{text!r} is not an API host. Set XAI_API_HOST to a host or host:port."
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
        return cls(host, int(match["port"] or _PORTS["https"]), tls, loopback)

    @property
    def authority(self) -> str:
        """Host and port in one string, for certificates and virtual hosts."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """Target string for gRPC; `localhost` means IPv4, on which servers usually listen."""
        if self.host == "localhost":
            return f"ipv4:127.0.0.1:{self.port}"
        if ":" in self.host:
            return f"ipv6:{self.authority}"
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return f"dns:///{self.authority}"
        return f"ipv4:{self.authority}"

    def __str__(self) -> str:
        """Return the host for messages, with its port if that is not 443."""
        return self.host if self.port == _PORTS["https"] else self.authority


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A parsed URL that all programs interpret in the same way.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: Host in lower case, without brackets.
        port: Port; the scheme's default if the URL omits it.
        target: Path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str, base: WebAddress | None = None) -> Self:
        """Parse a URL; reject URLs that two programs could interpret differently.

        Args:
            url: A URL whose host is an address or an ASCII name. The fragment is dropped.
            base: The base of a relative URL. Without it, `url` must be absolute.

        Raises:
            RefusedError: `url` is not a valid http or https URL, or contains a password.
        """
        url = url.strip()
        if not url.isprintable():  # some parsers drop control characters, others do not
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
        """Scheme, host and port; a key is sent only to one origin."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The host, with its port if that is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def check_host(host: str, *, allow_loopback: bool) -> None:
    """Check the host of a URL without resolving its name.

    Args:
        host: Host in lower case, without brackets.
        allow_loopback: Whether this computer is allowed.

    Raises:
        RefusedError: `host` is not a valid name, or cannot be public.
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
    """Return the IP addresses of `host` in the resolver's order.

    Raises:
        RefusedError: An address is not public, or a loopback name resolves to another computer.
        OSError: The name cannot be resolved.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    allowed = is_loopback if is_loopback(host.removesuffix(".")) else _is_public
    for address in addresses:
        if not allowed(address):
            raise _not_public(f"{host} ({address})")
    return addresses


def _is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    Raises:
        ValueError: `address` is not an IP address.
    """
    ip = ipaddress.ip_address(address)
    if any(ip in network for network in _RESERVED):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip in _NAT64:
        return _is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if ip.sixtofour is not None:
        return _is_public(str(ip.sixtofour))
    return ip in _GLOBAL_UNICAST and ip.is_global


def _not_public(host: str) -> RefusedError:
    return RefusedError(f"The server named an address that is not public, {host}: not fetched.")
