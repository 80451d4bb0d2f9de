"""Where calls go: hosts as users write them, and what they mean."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from xai_notebook.client.addresses import is_loopback
from xai_notebook.errors import ConfigurationError

__all__ = ["Endpoint"]

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
