"""Where an engine is: `https://HOST/v1#MODEL`, or http on this computer or a private address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final

from xai_notebook.client.addresses import RefusedError, WebAddress, is_loopback
from xai_notebook.errors import ConfigurationError

__all__ = ["Address"]

_SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Address:
    """The base of an API.

    Attributes:
        base: Its path has no slash at its end.
        model: The model behind `#`, or `""`.
        private: On this computer or in its own network, where nobody is paid.
    """

    base: WebAddress
    model: str
    private: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            ConfigurationError: It is none, holds a password or a query, or would send prompts and
                keys over the internet in clear text. The message repeats nothing secret.
        """
        text, _, model = url.strip().partition("#")
        if not text.lower().startswith(_SCHEMES):
            raise _wrong("is no http or https URL")
        if "@" in text.split("/")[2] or "?" in text:
            raise _wrong("holds a password or a query. A key belongs in XAI_NOTEBOOK_ENGINE_KEY")
        try:
            base = WebAddress.parse(text)
        except RefusedError:
            raise _wrong("is no URL") from None
        private = is_loopback(base.host) or _is_private(base.host)
        if base.scheme == "http" and not private:
            raise _wrong(
                f"goes to {base.host} without TLS. "
                "Use https, localhost or a private address in numbers"
            )
        return cls(replace(base, target=base.target.rstrip("/") or "/v1"), model.strip(), private)

    @property
    def place(self) -> str:
        """Host and port, as a sentence names them."""
        return self.base.authority

    def url(self, path: str) -> WebAddress:
        """Return the URL of a method of the API."""
        return replace(self.base, target=f"{self.base.target}/{path}")


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
