"""Which addresses an image may be fetched from: the public internet's, and this computer's own.

An API names the URL, and some name server its address. Neither is trusted: it could point into the
network that the notebook runs in. So a URL's host must look public before anything is asked about
it, and every address that its name stands for must be.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final

__all__ = ["RefusedError", "addresses_of", "check_host", "is_loopback"]

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
            raise RefusedError("The server named an address that is no URL: not fetched.") from None
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
    return RefusedError(
        f"The server named an address that is not public, {host}: not fetched."
        " Ask for the format 'base64'."
    )
