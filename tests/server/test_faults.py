"""Faults of the embedded server: failures, delays, broken and missing images."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from typing import Any

import grpc
import pytest
from PIL import Image

from bare_client import dial, image_request
from xai_notebook.client import wire
from xai_notebook.server import EmbeddedServer, Faults


def send(requests: list[Any], faults: Faults) -> tuple[list[Any], int]:
    """Send requests in turn; return replies or errors, and the number of painted pictures."""

    async def main() -> Any:
        results = []
        async with EmbeddedServer(faults=faults) as server, dial(server) as call:
            for request in requests:
                try:
                    results.append(await call(wire.GENERATE_IMAGE, request))
                except grpc.aio.AioRpcError as error:
                    results.append(error)
            return results, server.painted

    return asyncio.run(main())


def test_each_call_takes_the_next_failure() -> None:
    """A failure can have details and trailing metadata; None lets a call succeed."""
    hint = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", [("retry-after", "1")])
    faults = Faults(failures=[grpc.StatusCode.UNAVAILABLE, None, hint])
    results, _ = send([image_request()] * 4, faults)
    assert results[0].code() is grpc.StatusCode.UNAVAILABLE
    assert len(results[1].images) == 1
    assert results[2].details() == "slow down"
    assert dict(results[2].trailing_metadata())["retry-after"] == "1"
    assert len(results[3].images) == 1


def test_the_fault_fail_when_decides_by_request_and_number() -> None:
    faults = Faults(
        fail_when=lambda request, number: (
            grpc.StatusCode.INTERNAL if request.n == 2 and number == 2 else None
        )
    )
    results, _ = send([image_request(n=2), image_request(n=2)], faults)
    assert len(results[0].images) == 2
    assert results[1].code() is grpc.StatusCode.INTERNAL


def test_the_fault_after_work_fails_a_call_after_painting() -> None:
    faults = Faults(failures=[grpc.StatusCode.UNAVAILABLE], after_work=True)
    results, painted = send([image_request()], faults)
    assert results[0].code() is grpc.StatusCode.UNAVAILABLE
    assert painted == 1


def test_the_fault_delay_can_depend_on_the_request() -> None:
    faults = Faults(delay=lambda request: 0.2 if request.n == 2 else 0.0, garbage=b"x")
    start = time.monotonic()
    send([image_request(n=2)], faults)
    assert time.monotonic() - start >= 0.2


async def test_a_coroutine_as_delay_holds_a_call_back() -> None:
    may_pass = asyncio.Event()

    async def wait(_request: wire.GenerateImageRequest) -> None:
        await may_pass.wait()

    faults = Faults(delay=wait, garbage=b"x")
    async with EmbeddedServer(faults=faults) as server, dial(server) as call:
        pending: Any = call(wire.GENERATE_IMAGE, image_request())
        while not server.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert server.requests[0].ended is None
        may_pass.set()
        assert len((await pending).images) == 1


async def test_a_call_cancelled_during_its_delay_is_recorded_as_cancelled() -> None:
    faults = Faults(delay=30)
    async with EmbeddedServer(faults=faults) as server, dial(server) as call:
        pending: Any = call(wire.GENERATE_IMAGE, image_request())
        while not server.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        pending.cancel()
        cancelled: Any = server.requests[0]
        while cancelled.ended is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await pending.code() is grpc.StatusCode.CANCELLED
    assert cancelled.cancelled
    assert cancelled.ended - cancelled.started < 5


@pytest.mark.parametrize(("short", "count"), [(1, 1), (2, 0), (9, 0)])
def test_the_fault_short_returns_fewer_images(short: int, count: int) -> None:
    results, _ = send([image_request(n=2)], Faults(short=short))
    assert len(results[0].images) == count


def test_garbage_and_empty_images_reach_the_client_unchanged() -> None:
    faults = Faults(garbage=b"not an image", no_prefix=True)
    results, _ = send([image_request()], faults)
    assert base64.b64decode(results[0].images[0].base64) == b"not an image"
    results, _ = send([image_request()], Faults(empty=True))
    assert results[0].images[0].WhichOneof("image") is None
    assert results[0].images[0].respect_moderation


def test_padded_images_are_still_images() -> None:
    results, _ = send([image_request()], Faults(min_bytes=3_000_000, no_prefix=True))
    data = base64.b64decode(results[0].images[0].base64)
    assert len(data) >= 3_000_000
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (1024, 1024)


def test_costs_are_per_image_or_missing() -> None:
    results, _ = send([image_request(n=3)], Faults(cost_ticks=200_000_000))
    assert results[0].usage.cost_in_usd_ticks == 600_000_000
    results, _ = send([image_request()], Faults(cost_ticks=None, model_name="grok-x"))
    assert not results[0].usage.HasField("cost_in_usd_ticks")
    assert results[0].model == "grok-x"


async def test_faults_of_chat_and_models_can_change_while_the_server_runs() -> None:
    messages = [{"content": [{"text": "a cat"}], "role": wire.MessageRole.ROLE_USER}]
    request = wire.GetCompletionsRequest(messages=messages)
    faults = Faults(chat_failure=grpc.StatusCode.UNAVAILABLE, image_price=7)
    async with EmbeddedServer(faults=faults) as server, dial(server) as call:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(wire.GET_COMPLETION, request)
        server.faults.chat_failure = None
        server.faults.chat_text = ""
        answer = await call(wire.GET_COMPLETION, request)
        models = await call(wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty())
        server.faults.models_failure = grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError):
            await call(wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty())
    assert answer.outputs[0].message.content == ""
    assert {model.image_price for model in models.models} == {7}
