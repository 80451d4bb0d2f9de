"""Which server a call goes to: what the environment says, overruled by `%config XaiImage`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xai_notebook.client.endpoint import Endpoint
from xai_notebook.errors import ConfigurationError
from xai_notebook.settings import (
    DEFAULT_API_HOST,
    ApiKey,
    Configuration,
)

__all__ = ["Route", "choose_route"]

LOCAL_HOST: Final = "embedded"
"""Stands for every embedded server: its port differs from kernel to kernel, its pictures do not."""


@dataclass(frozen=True, slots=True)
class Route:
    """A server.

    Attributes:
        backend: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        key: For `backend` xai; a server on loopback needs none.
        automatic: The embedded server was chosen because there is no key.
    """

    backend: str
    host: str
    key: ApiKey | None
    automatic: bool = False


def choose_route(configuration: Configuration, *, local: bool) -> Route:
    """Decide which server a call goes to.

    Args:
        configuration: What holds for the call.
        local: The call asks for the embedded server.

    Raises:
        ConfigurationError: The server needs a key, and there is none.
    """
    own_host = configuration.api_host != DEFAULT_API_HOST
    backend = "local" if local else configuration.backend
    automatic = backend == "auto" and configuration.api_key is None and not own_host
    if backend == "local" or automatic:
        return Route("local", LOCAL_HOST, None, automatic)
    if configuration.api_key is None and not Endpoint.parse(configuration.api_host).loopback:
        raise ConfigurationError(
            f"{configuration.api_host} needs a key. Set XAI_API_KEY (console.x.ai makes one), or"
            " use --local for free previews."
        )
    return Route("xai", configuration.api_host, configuration.api_key)
