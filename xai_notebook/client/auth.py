"""What the key in use is, and may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_notebook.client import wire
from xai_notebook.client.telemetry import call_span

if TYPE_CHECKING:
    from xai_notebook.client.connection import Connection

__all__ = ["AuthClient"]


class AuthClient:
    """Asks about the key."""

    def __init__(self, connection: Connection) -> None:
        """Use `connection` for every call."""
        self._connection = connection

    async def get_api_key_info(self, *, timeout: float | None = None) -> wire.ApiKey:
        """Return the key's name, owner and permissions, and whether it is blocked. Costs nothing.

        Args:
            timeout: Deadline in seconds over all attempts; default: the client's.

        Raises:
            ApiError: The server answered with a status other than OK.
        """
        with call_span("get_api_key_info"):
            return await self._connection.unary(
                wire.GET_API_KEY_INFO,
                wire.Empty(),
                wire.ApiKey,
                timeout=timeout,
                idempotent=True,
            )
