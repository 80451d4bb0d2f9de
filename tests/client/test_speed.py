"""Ratios of one run: what the client adds to raw gRPC."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import Any

import grpc.aio
import pybase64
from xai_sdk.proto import image_pb2

from xai_notebook.client import AsyncClient
from xai_notebook.client.encoding import build_request
from xai_notebook.client.wire import GENERATE_IMAGE

IMAGES = [b"\xff\xd8\xff" + os.urandom(300_000) for _ in range(10)]


def test_ten_images_cost_little_more_than_raw_grpc(serve: Any) -> None:
    """Ten images of 300 kB in hand take at most 1.3 times raw grpc.aio with pybase64."""
    sent = image_pb2.ImageResponse(model="m")
    for one in IMAGES:
        text = "data:image/jpeg;base64," + base64.b64encode(one).decode()
        sent.images.add(base64=text, respect_moderation=True)

    async def answer(request: Any, context: Any) -> Any:
        return sent

    request = build_request("p", "m", 10, image_format="base64").SerializeToString()

    async def raw(channel: grpc.aio.Channel) -> list[bytes]:
        call = channel.unary_unary(GENERATE_IMAGE)
        reply = image_pb2.ImageResponse.FromString(await call(request))
        return [
            pybase64.b64decode(one.base64.partition(",")[2], validate=True) for one in reply.images
        ]

    async def ours(client: AsyncClient) -> list[bytes]:
        batch = await client.image.sample_batch("p", "m", 10, image_format="base64")
        return [await one.image for one in batch]

    async def main() -> list[tuple[float, float]]:
        times = []
        async with (
            serve(answer) as peer,
            AsyncClient("xai-k", api_host=peer.host) as client,
            grpc.aio.insecure_channel(
                f"127.0.0.1:{peer.port}", [("grpc.max_receive_message_length", -1)]
            ) as channel,
        ):
            for _ in range(30):  # turn by turn: a busy moment hits both
                begin = time.perf_counter()
                first = await raw(channel)
                middle = time.perf_counter()
                second = await ours(client)
                times.append((middle - begin, time.perf_counter() - middle))
                assert first == second == IMAGES
        return times

    times = asyncio.run(main())
    baseline, measured = (min(column) for column in zip(*times, strict=True))
    assert measured <= 1.3 * baseline, f"{measured * 1e3:.1f} ms against {baseline * 1e3:.1f} ms"


def test_nothing_is_decoded_before_it_is_asked_for(call: Any, reply: Any) -> None:
    """sample_batch returns with the reply parsed and no image decoded."""

    async def answer(request: Any, context: Any) -> Any:
        return reply(3, base64="!" * 300_000)  # no base64 at all: decoding would fail

    responses, _ = call(answer, lambda c: c.image.sample_batch("p", "m", 3))
    assert len(responses) == 3
