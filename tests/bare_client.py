"""A gRPC client without retries or conversions, for tests that look at the messages themselves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REPLIES: dict[str, Any] = {
    wire.GENERATE_IMAGE: wire.ImageResponse,
    wire.LIST_IMAGE_GENERATION_MODELS: wire.ListImageGenerationModelsResponse,
    wire.GET_IMAGE_GENERATION_MODEL: wire.ImageGenerationModel,
    wire.GET_COMPLETION: wire.GetChatCompletionResponse,
}


@contextlib.asynccontextmanager
async def dial(server: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Connect to an embedded server; the result sends a request to a method."""
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=limits) as channel:

        def call(method: str, request: Any, **options: Any) -> Any:
            stub = channel.unary_unary(
                method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=REPLIES[method].FromString,
            )
            return stub(request, **{"timeout": 20, **options})

        yield call


def image_request(**fields: Any) -> wire.GenerateImageRequest:
    """Return a valid request with these changes."""
    defaults = {
        "prompt": "a red fox",
        "model": "grok-imagine-image",
        "format": wire.ImageFormat.IMG_FORMAT_BASE64,
    }
    return wire.GenerateImageRequest(**{**defaults, **fields})


def ask(request: Any, method: str = wire.GENERATE_IMAGE, **options: Any) -> Any:
    """Send one request to a new server with these options, and return the reply."""

    async def main() -> Any:
        async with EmbeddedServer(**options) as server, dial(server) as call:
            return await call(method, request)

    return asyncio.run(main())


def refusal(
    request: Any, method: str = wire.GENERATE_IMAGE, **options: Any
) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """Send one request that must fail; return code, details and trailing metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        ask(request, method, **options)
    error = caught.value
    return error.code(), error.details() or "", dict(error.trailing_metadata() or ())
