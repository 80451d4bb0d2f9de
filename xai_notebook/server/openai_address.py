"""Where an engine is: `https://HOST/v1#MODEL`, or http on this computer or a private address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from xai_notebook.client.addresses import is_loopback
from xai_notebook.errors import ConfigurationError

__all__ = ["Address"]

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The base of an API.

    Attributes:
        base: URL without a slash at its end.
        place: Host and port, as a sentence names them.
        model: The model behind `#`, or `""`.
        private: On this computer or in its own network, where nobody is paid.
    """

    base: str
    place: str
    model: str
    private: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            ConfigurationError: It is none, holds a password or a query, or would send prompts and
                keys over the internet in clear text. The message repeats nothing secret.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise _wrong("is no URL") from error
        if parts.scheme not in _PORTS or not host:
            raise _wrong("is no http or https URL")
        if parts.username is not None or parts.password is not None or parts.query:
            raise _wrong("holds a password or a query. A key belongs in XAI_NOTEBOOK_ENGINE_KEY")
        private = is_loopback(host) or _is_private(host)
        if parts.scheme == "http" and not private:
            raise _wrong(
                f"goes to {host} without TLS. Use https, localhost or a private address in numbers"
            )
        shown = f"[{host}]" if ":" in host else host
        place = shown if port is None else f"{shown}:{port}"
        path = parts.path.rstrip("/") or "/v1"
        return cls(f"{parts.scheme}://{place}{path}", place, parts.fragment.strip(), private)

    def url(self, path: str) -> str:
        """Return the URL of a method of the API."""
        return f"{self.base}/{path}"

    def holds(self, url: str) -> bool:
        """Tell whether `url` is of the same origin."""
        return _origin(url) == _origin(self.base)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def _is_private(host: str) -> bool:
    """Tell whether a host is the address, in numbers, of a computer in a network of one's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    elsewhere = (address.is_link_local, address.is_multicast, address.is_unspecified)
    return not (address.is_global or address.is_reserved or any(elsewhere))


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"XAI_NOTEBOOK_ENGINE {why}. It is an address such as http://localhost:8000/v1#MODEL."
    )
