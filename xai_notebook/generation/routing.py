"""Which server a call goes to: what the environment says, overruled by `%config XaiImage`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.endpoint import Endpoint
from xai_notebook.errors import ConfigurationError
from xai_notebook.settings import (
    BACKENDS,
    DEFAULT_API_HOST,
    ApiKey,
    Settings,
    home_folder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Route", "choose_route", "read_settings"]

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


def read_settings(settings: Settings | None, configured: Mapping[str, Any]) -> Settings:
    """Return the settings of the environment, overruled by what is configured.

    Args:
        settings: Default: what the environment says now.
        configured: `backend`, `api_host` and `home`, where they are set.

    Raises:
        ConfigurationError: A variable or a configured value means nothing.
    """
    settings = Settings.from_environment() if settings is None else settings
    if backend := configured.get("backend"):
        if backend not in BACKENDS:
            raise ConfigurationError(
                f"XaiImage.backend is {backend!r}. Set it to one of: {', '.join(BACKENDS)}."
            )
        settings = replace(settings, backend=backend)
    if host := configured.get("api_host"):
        settings = replace(settings, api_host=host)
    if home := configured.get("home"):
        settings = replace(settings, home=home_folder(str(home)))
    return settings


def choose_route(settings: Settings, *, local: bool) -> Route:
    """Decide which server a call goes to.

    Args:
        settings: As `read_settings` returns them.
        local: The call asks for the embedded server.

    Raises:
        ConfigurationError: The server needs a key, and there is none.
    """
    own_host = settings.api_host != DEFAULT_API_HOST
    backend = "local" if local else settings.backend
    automatic = backend == "auto" and settings.api_key is None and not own_host
    if backend == "local" or automatic:
        return Route("local", LOCAL_HOST, None, automatic)
    if settings.api_key is None and not Endpoint.parse(settings.api_host).loopback:
        raise ConfigurationError(
            f"{settings.api_host} needs a key. Set XAI_API_KEY (console.x.ai makes one), or use "
            "--local for free previews."
        )
    return Route("xai", settings.api_host, settings.api_key)
