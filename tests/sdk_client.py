"""xAI's SDK connected to an embedded server whose clock a test sets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xai_sdk import AsyncClient

from xai_notebook.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


def run(script: Callable[[Any, Clock, EmbeddedServer], Awaitable[Any]], **options: Any) -> Any:
    """Return the result of a script that gets a client, a clock and a server."""

    async def main() -> Any:
        clock = Clock()
        async with EmbeddedServer(clock=clock, **options) as server:
            client = AsyncClient(
                api_key="key", api_host=server.address, channel_options=[("grpc.enable_retries", 0)]
            )
            try:
                return await script(client, clock, server)
            finally:
                await client.close()

    return asyncio.run(main())


async def refusal(awaitable: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and details of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details() or ""
