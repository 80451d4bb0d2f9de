"""xAI's SDK connected to an embedded server whose clock a test sets."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xai_sdk import AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from xai_notebook.server import EmbeddedServer


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


@contextlib.asynccontextmanager
async def connect(server: EmbeddedServer) -> AsyncIterator[Any]:
    """Connect xAI's client, without retries, to a server."""
    options = [("grpc.enable_retries", 0)]
    client = AsyncClient(api_key="key", api_host=server.address, channel_options=options)
    try:
        yield client
    finally:
        await client.close()


async def refusal(awaitable: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and details of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details() or ""
