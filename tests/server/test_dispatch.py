"""Access to a server with a key, and the bounds of the log of calls."""

from __future__ import annotations

import asyncio
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
def test_a_wrong_key_is_refused_before_the_request_is_read(
    metadata: tuple[tuple[str, str], ...],
) -> None:
    """No method, existing or not, answers; no key is logged."""

    async def main() -> set[Any]:
        async with (
            EmbeddedServer(api_key="right") as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            calls: list[Any] = [
                channel.stream_stream(path)(metadata=metadata, timeout=20)
                for path in (*METHODS, *OTHERS)
            ]
            codes = {await call.code() for call in calls}
            logged = {value for call in server.requests for value in call.metadata.values()}
            assert logged <= {"***"}
            return codes

    assert len(METHODS) > 15
    assert asyncio.run(main()) == {grpc.StatusCode.UNAUTHENTICATED}


def test_of_refused_calls_only_existing_methods_are_logged() -> None:

    async def main() -> list[Any]:
        async with (
            EmbeddedServer(api_key="right") as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            for path in (wire.GENERATE_IMAGE, *OTHERS):
                call: Any = channel.unary_unary(path)
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(bytes(1 << 20), metadata=(("a", "b" * 4096),))
            assert list(server.counts) == [wire.GENERATE_IMAGE]
            return server.requests

    (call,) = asyncio.run(main())
    assert (call.message.ByteSize(), call.metadata, call.status) == (0, {}, "UNAUTHENTICATED")


def test_without_a_key_every_client_is_accepted() -> None:
    async def main() -> None:
        async with (
            EmbeddedServer() as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            list_models: Any = channel.unary_unary(wire.LIST_IMAGE_GENERATION_MODELS)
            for metadata in CREDENTIALS:
                assert await list_models(b"", metadata=metadata)

    asyncio.run(main())


def test_a_request_that_cannot_be_read_is_an_invalid_argument() -> None:
    """Without the key, it is UNAUTHENTICATED."""

    async def send(key: str) -> tuple[Any, str]:
        async with EmbeddedServer(api_key="right") as server:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                generate = channel.unary_unary(wire.GENERATE_IMAGE)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await generate(b"\xff\xff", metadata=(("authorization", f"Bearer {key}"),))
            assert [call.status for call in server.requests] == [caught.value.code().name]
        return caught.value.code(), caught.value.details() or ""

    code, details = asyncio.run(send("right"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == "The request is not a GenerateImageRequest message."
    assert asyncio.run(send("wrong"))[0] is grpc.StatusCode.UNAUTHENTICATED


def test_the_call_log_is_bounded() -> None:
    async def main() -> Any:
        async with EmbeddedServer(keep_calls=3) as server, dial(server) as call:
            for _ in range(5):
                await call(wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty())
            return server.requests, server.counts

    requests, counts = asyncio.run(main())
    assert [call.number for call in requests] == [3, 4, 5]
    assert counts[wire.LIST_IMAGE_GENERATION_MODELS] == 5
