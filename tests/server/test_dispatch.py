"""Access to a server with a key, and the bounds of the log of calls."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from bare_client import dial
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer

METHODS = sorted(
    {value for value in vars(wire).values() if isinstance(value, str) and value[:1] == "/"}
)
OTHERS = [
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/xai_api.Image/Unknown",
    "/",
]
CREDENTIALS: list[tuple[tuple[str, str], ...]] = [
    (),
    (("authorization", "right"),),
    (("authorization", "Bearer"),),
    (("authorization", "Bearer Right"),),
    (("authorization", "Bearer right "), ("authorization", "Bearer wrong")),
    (("authorization", "Bearer right"), ("authorization", "Bearer right")),
    (("x-api-key", "right"), ("cookie", "authorization=Bearer right")),
]


@pytest.mark.parametrize("metadata", CREDENTIALS)
async def test_a_wrong_key_is_refused_before_the_request_is_read(
    metadata: tuple[tuple[str, str], ...],
) -> None:
    """Methods that do not exist give the same status; no key is logged."""
    assert len(METHODS) > 15
    async with (
        EmbeddedServer(api_key="right") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        calls: list[Any] = [
            channel.stream_stream(path)(metadata=metadata, timeout=20)
            for path in (*METHODS, *OTHERS)
        ]
        assert {await call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}
        logged = {value for call in server.requests for value in call.metadata.values()}
        assert logged <= {"***"}


async def test_a_refused_call_is_logged_only_if_its_method_exists() -> None:
    async with (
        EmbeddedServer(api_key="right") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        for path in (wire.GENERATE_IMAGE, *OTHERS):
            call: Any = channel.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(bytes(1 << 20), metadata=(("a", "b" * 4096),))
        assert list(server.counts) == [wire.GENERATE_IMAGE]
        (call,) = server.requests
    assert (call.message.ByteSize(), call.metadata, call.status) == (0, {}, "UNAUTHENTICATED")


async def test_without_a_key_every_client_is_accepted() -> None:
    async with (
        EmbeddedServer() as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        list_models: Any = channel.unary_unary(wire.LIST_IMAGE_GENERATION_MODELS)
        for metadata in CREDENTIALS:
            assert await list_models(b"", metadata=metadata)


@pytest.mark.parametrize(
    ("key", "status", "details"),
    [
        ("right", "INVALID_ARGUMENT", "The request is not a GenerateImageRequest message."),
        ("wrong", "UNAUTHENTICATED", None),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused(
    key: str, status: str, details: str | None
) -> None:
    async with (
        EmbeddedServer(api_key="right") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        generate: Any = channel.unary_unary(wire.GENERATE_IMAGE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generate(b"\xff\xff", metadata=(("authorization", f"Bearer {key}"),))
    assert details in {None, caught.value.details()}
    assert [call.status for call in server.requests] == [caught.value.code().name] == [status]


async def test_the_call_log_is_bounded() -> None:
    async with EmbeddedServer(keep_calls=3) as server, dial(server) as call:
        for _ in range(5):
            await call(wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty())
    assert [call.number for call in server.requests] == [3, 4, 5]
    assert server.counts[wire.LIST_IMAGE_GENERATION_MODELS] == 5
