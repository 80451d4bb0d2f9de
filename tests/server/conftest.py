"""What the tests of the embedded server share: a bare gRPC client, a server process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest

from xai_notebook.client import wire

Call = Callable[..., Awaitable[Any]]

REPLIES = {
    wire.GENERATE_IMAGE: wire.ImageResponse,
    wire.LIST_IMAGE_GENERATION_MODELS: wire.ListImageGenerationModelsResponse,
    wire.GET_IMAGE_GENERATION_MODEL: wire.ImageGenerationModel,
    wire.GET_COMPLETION: wire.GetChatCompletionResponse,
}


@contextlib.asynccontextmanager
async def _dial(server: Any, **options: Any) -> AsyncIterator[Call]:
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=limits) as channel:

        def call(method: str, request: Any, **more: Any) -> Any:
            stub = channel.unary_unary(
                method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=REPLIES[method].FromString,  # type: ignore[attr-defined]
            )
            return stub(request, **{"timeout": 20, **options, **more})

        yield call


@pytest.fixture
def dial() -> Callable[..., AbstractAsyncContextManager[Call]]:
    """Connect a client to a server; what comes out sends a request to a method."""
    return _dial


@pytest.fixture
def image_request() -> Callable[..., wire.GenerateImageRequest]:
    """A request that is right, with changes."""

    def make(**fields: Any) -> wire.GenerateImageRequest:
        defaults = {
            "prompt": "a red fox",
            "model": "grok-imagine-image",
            "format": wire.ImageFormat.IMG_FORMAT_BASE64,
        }
        return wire.GenerateImageRequest(**{**defaults, **fields})

    return make


@pytest.fixture(scope="session")
def server_process() -> Iterator[str]:
    """`python -m xai_notebook.server` with the key "right"; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xai_notebook.server"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XAI_NOTEBOOK_SERVER_KEY": "right"},
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
