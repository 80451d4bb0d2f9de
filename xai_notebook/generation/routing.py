"""Which server a call goes to: what the environment says, overruled by `%config XaiImage`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from xai_notebook.client.addresses import Endpoint
from xai_notebook.errors import ConfigurationError
from xai_notebook.settings import DEFAULT_API_HOST, ApiKey, Configuration

__all__ = ["Route", "choose_route"]

LOCAL_HOST: Final = "embedded"
"""Stands for every embedded server: its port differs from kernel to kernel, its pictures do not."""
PAINTING: Final = "painting"
"""What makes the embedded server's pictures, unless `XAI_NOTEBOOK_ENGINE` says otherwise."""
_ENGINE: Final = "engine:"


@dataclass(frozen=True, slots=True)
class Route:
    """A server.

    Attributes:
        backend: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        key: For `backend` xai; a server on loopback needs none.
        automatic: The embedded server was chosen because there is no key.
        engine: What makes the pictures of the embedded server; `""`: its painter.
    """

    backend: str
    host: str
    key: ApiKey | None
    automatic: bool = False
    engine: str = ""

    @property
    def painted(self) -> bool:
        """Whether the pictures are the painter's: previews, free and offline."""
        return self.backend == "local" and not self.engine

    @property
    def place(self) -> str:
        """Where the pictures come from, in words."""
        if self.painted:
            return "Local preview: free, drawn offline"
        return self.host.removeprefix(_ENGINE)


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
        engine = configuration.engine.strip()
        engine = "" if engine == PAINTING else engine
        return Route("local", _engine_host(engine), None, automatic, engine)
    if configuration.api_key is None and not Endpoint.parse(configuration.api_host).loopback:
        raise ConfigurationError(
            f"{configuration.api_host} needs a key. Set XAI_API_KEY (console.x.ai makes one), or"
            " use --local for free previews."
        )
    return Route("xai", configuration.api_host, configuration.api_key)


def _engine_host(engine: str) -> str:
    """Return what tells the pictures of an engine from those of others, and holds no password."""
    if not engine:
        return LOCAL_HOST
    try:
        parts = urlsplit(engine)
    except ValueError:
        return f"{_ENGINE}{engine}"  # refused as soon as it is needed
    where, path = parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")
    path = "" if path == "/v1" else path
    return f"{_ENGINE}{where}{path}" + (f"#{parts.fragment}" if parts.fragment else "")
