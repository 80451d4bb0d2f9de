"""The client beside raw gRPC, xAI's SDK and a plain loop of downloads."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stub
from bench import Row, absolute, compare_async, point, versus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    from bench import Plan

__all__ = ["downloads", "growth", "memory", "reply", "variety"]

RAW, SDK = "raw grpc.aio + pybase64", "xAI's SDK, sample_batch + .image"
MODEL = "grok-imagine-image"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]


class Rivals:
    """Three ways to fetch the images of one request, on one event loop."""

    def __init__(self, address: str) -> None:
        import grpc.aio
        from xai_sdk import AsyncClient as Theirs

        from xai_notebook.client import AsyncClient

        self.channel = grpc.aio.insecure_channel(address, _OPTIONS)
        self.client = AsyncClient("", api_host=address)
        self.sdk = Theirs(api_key="none", api_host=address, channel_options=_OPTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.channel.close()
        await self.client.close()
        await self.sdk.close()

    async def raw(self, prompt: str, n: int, form: str) -> list[bytes]:
        """Return the images with raw grpc.aio."""
        import pybase64

        from xai_notebook.client import wire

        asked = wire.GenerateImageRequest(prompt=prompt, model=MODEL, n=n, format=_FORMS[form])  # type: ignore[arg-type]
        call = self.channel.unary_unary(wire.GENERATE_IMAGE)
        found = wire.ImageResponse.FromString(await call(asked.SerializeToString()))
        if form == "url":
            return await asyncio.to_thread(_one_by_one, [one.url for one in found.images])
        return [
            pybase64.b64decode(one.base64.partition(",")[2], validate=True) for one in found.images
        ]

    async def ours(self, prompt: str, n: int, form: str) -> list[bytes]:
        """Return the images with our client."""
        found = await self.client.image.sample_batch(prompt, MODEL, n, image_format=form)
        return list(await asyncio.gather(*(_wait(one) for one in found)))

    async def theirs(self, prompt: str, n: int, form: str) -> list[bytes]:
        """Return the images with xAI's SDK."""
        found = await self.sdk.image.sample_batch(prompt, MODEL, n, image_format=form)
        return [await one.image for one in found]

    async def turns(
        self, rounds: int, prompt: str, n: int, form: str, *ways: Callable[..., Awaitable[Any]]
    ) -> list[list[float]]:
        """Check that all ways return the same images, then return their seconds."""
        brought = [await way(prompt, n, form) for way in ways]
        if any(images != brought[0] for images in brought) or len(brought[0]) != n:
            raise AssertionError(prompt)
        del brought
        bound = [lambda way=way: way(prompt, n, form) for way in ways]
        return await compare_async(rounds, *bound)


_FORMS = {"base64": 1, "url": 2}


async def _wait(response: Any) -> bytes:
    data: bytes = await response.image
    return data


def _one_by_one(urls: list[str]) -> list[bytes]:
    """Download with a plain loop of requests."""
    import requests

    return [requests.get(url, timeout=30).content for url in urls]


def reply(plan: Plan) -> list[Row]:
    """Ten images of 300 kB in base64 from one request, bytes in hand."""

    async def main(address: str) -> list[Row]:
        async with Rivals(address) as rivals:
            ours, raw, sdk = await rivals.turns(
                plan.rounds * 3, "size=300000", 10, "base64", rivals.ours, rivals.raw, rivals.theirs
            )
        work = "10 × 300 kB in base64, bytes in hand"
        return [versus(work, RAW, ours, raw, bar=1.0), versus(work, SDK, ours, sdk, bar=0.6)]

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def growth(plan: Plan) -> list[Row]:
    """The same with 1 to 10 images, for the plot: all in the same rounds."""
    counts = (1, 2, 4, 6, 8, 10)
    lines = ("xai-notebook", "raw gRPC")

    async def main(address: str) -> list[Row]:
        async with Rivals(address) as rivals:
            ways = [
                functools.partial(way, "size=300000", n, "base64")
                for n in counts
                for way in (rivals.ours, rivals.raw)
            ]
            times = await compare_async(plan.rounds * 2, *ways, warm=2)
        places = [(line, n) for n in counts for line in lines]
        return [
            point(f"images: {line}", n, seconds)
            for (line, n), seconds in zip(places, times, strict=True)
        ]

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def downloads(plan: Plan) -> list[Row]:
    """Ten URLs, each answered after 100 ms."""

    async def main(address: str, base: str) -> list[Row]:
        one = f"{base}1024/0/0.1/0.jpg"
        async with Rivals(address) as rivals:
            prompt = "wait=0.1"
            await rivals.ours(prompt, 10, "url")
            ours, single, loop = await compare_async(
                plan.at_most(9),
                lambda: rivals.ours(prompt, 10, "url"),
                lambda: asyncio.to_thread(_one_by_one, [one]),
                lambda: rivals.raw(prompt, 10, "url"),
            )
        work = "10 URLs at 100 ms each, bytes in hand"
        return [
            versus(work, "one download", ours, single, bar=1.5),
            versus(work, "a loop of requests.get", ours, loop),
        ]

    with stub.started() as (address, base):
        return asyncio.run(main(address, base))


def variety(plan: Plan) -> list[Row]:
    """Sizes, formats and counts; without latency, and with two seconds a request."""

    async def main(address: str) -> list[Row]:
        rows = []
        async with Rivals(address) as rivals:
            for side, form, n in [
                (side, form, n) for side in (1024, 2048) for form in _FORMS for n in (1, 4, 10)
            ]:
                rival = RAW if form == "base64" else "raw grpc.aio + requests.get"
                prompt, work = f"side={side}", f"{n} × {side // 1024}k as {form}"
                ours, raw = await rivals.turns(
                    plan.at_most(9), prompt, n, form, rivals.ours, rivals.raw
                )
                rows.append(versus(work, rival, ours, raw))
                if n == 10 and not plan.quick:
                    slow = f"{prompt} delay=2 wait=0.1"
                    ours, sdk = await rivals.turns(3, slow, n, form, rivals.ours, rivals.theirs)
                    rows.append(versus(f"{work}, 2 s a request", SDK, ours, sdk))
        return rows

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def memory(plan: Plan) -> list[Row]:
    """Peak memory of ten 2k images through the whole session, as a multiple of the reply.

    Three times the reply are gRPC's own: what came off the wire, and two copies on the way to it.
    """
    rows = []
    with stub.started() as (address, _):
        # Seen live: JPEGs mostly, and PNGs of 7 MB.
        for kind, prompt in (("2k", "side=2048"), ("2k PNG", "png=1")):
            rivals = [
                [_measure_memory(address, prompt, way) for way in ("ours", "raw")]
                for _ in range(plan.at_most(5))
            ]
            ours, raw = zip(*rivals, strict=True)
            work = f"10 × {kind} in base64: peak memory × the reply"
            rows += [
                absolute(f"{work}, whole session", ours, "×", bar=3.2),
                absolute(f"{work}, {RAW}", raw, "×"),
            ]
    return rows


def _measure_memory(address: str, prompt: str, way: str) -> float:
    command = [sys.executable, __file__, address, prompt, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _child(address: str, prompt: str, way: str) -> None:
    """Print the peak growth of this process while ten 2k images arrive, in replies."""
    with tempfile.TemporaryDirectory() as home:
        grown, images = (_grow if way == "ours" else _grow_raw)(address, prompt, home)
    print(grown / (sum(map(len, images)) * 4 / 3))


def _grow(address: str, prompt: str, home: str) -> tuple[int, list[bytes]]:
    from xai_notebook.generation.session import Session

    os.environ.update(XAI_API_HOST=address, XAI_NOTEBOOK_HOME=home)
    session = Session()
    session.generate("size=2000", n=10)  # loads what a first call needs
    begun = _forget_peak()
    batch = session.generate(prompt, n=10)
    grown = _status("VmHWM") - begun
    images = [image.data for image in batch]
    session.close()
    return grown, images


def _grow_raw(address: str, prompt: str, _: str) -> tuple[int, list[bytes]]:
    async def main() -> tuple[int, list[bytes]]:
        async with Rivals(address) as rivals:
            await rivals.raw("size=2000", 10, "base64")
            begun = _forget_peak()
            images = await rivals.raw(prompt, 10, "base64")
            return _status("VmHWM") - begun, images

    return asyncio.run(main())


def _forget_peak() -> int:
    """Reset the peak size of this process; return the current size in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [one for one in lines if one.startswith(name)]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    os.environ.pop("XAI_API_KEY", None)
    _child(*sys.argv[1:])
