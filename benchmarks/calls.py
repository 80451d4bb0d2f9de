"""Compare the client with raw gRPC, xAI's SDK and sequential downloads."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import stub
from bench import Row, absolute, compare_async, peak, point, reset_peak, versus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    from bench import Plan

__all__ = ["base64_reply", "downloads", "image_counts", "memory", "sizes_and_formats"]

RAW, SDK = "raw grpc.aio + pybase64", "xAI's SDK, sample_batch + .image"
MODEL = "grok-imagine-image"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]


class Clients:
    """Three ways to fetch the images of one request, on one event loop."""

    def __init__(self, address: str) -> None:
        import grpc.aio
        from xai_sdk import AsyncClient as SdkClient

        from xai_notebook.client import AsyncClient

        self.channel = grpc.aio.insecure_channel(address, _OPTIONS)
        self.client = AsyncClient("", api_host=address)
        self.sdk = SdkClient(api_key="none", api_host=address, channel_options=_OPTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.channel.close()
        await self.client.close()
        await self.sdk.close()

    async def raw(self, prompt: str, n: int, image_format: str) -> list[bytes]:
        """Return the images with raw grpc.aio."""
        import pybase64

        from xai_notebook.client import wire

        request = wire.GenerateImageRequest(
            prompt=prompt,
            model=MODEL,
            n=n,
            format=_FORMATS[image_format],  # type: ignore[arg-type]
        )
        call = self.channel.unary_unary(wire.GENERATE_IMAGE)
        response = wire.ImageResponse.FromString(await call(request.SerializeToString()))
        if image_format == "url":
            return await asyncio.to_thread(
                _download_sequentially, [image.url for image in response.images]
            )
        return [
            pybase64.b64decode(image.base64.partition(",")[2], validate=True)
            for image in response.images
        ]

    async def ours(self, prompt: str, n: int, image_format: str) -> list[bytes]:
        """Return the images with our client."""
        responses = await self.client.image.sample_batch(
            prompt, MODEL, n, image_format=image_format
        )
        return list(await asyncio.gather(*(_image_data(response) for response in responses)))

    async def theirs(self, prompt: str, n: int, image_format: str) -> list[bytes]:
        """Return the images with xAI's SDK."""
        responses = await self.sdk.image.sample_batch(prompt, MODEL, n, image_format=image_format)
        return [await response.image for response in responses]

    async def time_clients(
        self,
        rounds: int,
        prompt: str,
        n: int,
        image_format: str,
        *fetchers: Callable[..., Awaitable[Any]],
    ) -> list[list[float]]:
        """Check that all clients return the same images; return the times of each in seconds."""
        results = [await fetch(prompt, n, image_format) for fetch in fetchers]
        if any(images != results[0] for images in results) or len(results[0]) != n:
            raise AssertionError(prompt)
        del results
        calls = [functools.partial(fetch, prompt, n, image_format) for fetch in fetchers]
        return await compare_async(rounds, *calls)


_FORMATS = {"base64": 1, "url": 2}


async def _image_data(response: Any) -> bytes:
    data: bytes = await response.image
    return data


def _download_sequentially(urls: list[str]) -> list[bytes]:
    """Download one URL after the other with `requests`."""
    import requests

    return [requests.get(url, timeout=30).content for url in urls]


def base64_reply(plan: Plan) -> list[Row]:
    """Ten images of 300 kB in base64 from one request, including decoding."""

    async def main(address: str) -> list[Row]:
        async with Clients(address) as clients:
            ours, raw, sdk = await clients.time_clients(
                plan.rounds * 3,
                "size=300000",
                10,
                "base64",
                clients.ours,
                clients.raw,
                clients.theirs,
            )
        work = "10 × 300 kB in base64, including decoding"
        return [versus(work, RAW, ours, raw, limit=1.0), versus(work, SDK, ours, sdk, limit=0.6)]

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def image_counts(plan: Plan) -> list[Row]:
    """Measure 1 to 10 images for the plot; each round measures every count."""
    counts = (1, 2, 4, 6, 8, 10)
    labels = ("xai-notebook", "raw gRPC")

    async def main(address: str) -> list[Row]:
        async with Clients(address) as clients:
            fetchers = [
                functools.partial(fetch, "size=300000", n, "base64")
                for n in counts
                for fetch in (clients.ours, clients.raw)
            ]
            times = await compare_async(plan.rounds * 2, *fetchers, warm=2)
        points = [(label, n) for n in counts for label in labels]
        return [
            point(f"images: {label}", n, seconds)
            for (label, n), seconds in zip(points, times, strict=True)
        ]

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def downloads(plan: Plan) -> list[Row]:
    """Download ten URLs; the server answers each after 100 ms."""

    async def main(address: str, base: str) -> list[Row]:
        url = f"{base}1024/0/0.1/0.jpg"
        async with Clients(address) as clients:
            prompt = "wait=0.1"
            await clients.ours(prompt, 10, "url")
            ours, one_download, sequential = await compare_async(
                plan.at_most(9),
                lambda: clients.ours(prompt, 10, "url"),
                lambda: asyncio.to_thread(_download_sequentially, [url]),
                lambda: clients.raw(prompt, 10, "url"),
            )
        work = "10 URLs at 100 ms each, including download"
        return [
            versus(work, "one download", ours, one_download, limit=1.5),
            versus(work, "a loop of requests.get", ours, sequential),
        ]

    with stub.started() as (address, base):
        return asyncio.run(main(address, base))


def sizes_and_formats(plan: Plan) -> list[Row]:
    """Compare sizes, formats and counts, without latency and with two seconds per request."""

    async def main(address: str) -> list[Row]:
        rows = []
        async with Clients(address) as clients:
            for side, image_format, n in [
                (side, image_format, n)
                for side in (1024, 2048)
                for image_format in _FORMATS
                for n in (1, 4, 10)
            ]:
                rival = RAW if image_format == "base64" else "raw grpc.aio + requests.get"
                prompt, work = f"side={side}", f"{n} × {side // 1024}k as {image_format}"
                ours, raw = await clients.time_clients(
                    plan.at_most(9), prompt, n, image_format, clients.ours, clients.raw
                )
                rows.append(versus(work, rival, ours, raw))
                if n == 10 and not plan.quick:
                    slow = f"{prompt} delay=2 wait=0.1"
                    ours, sdk = await clients.time_clients(
                        3, slow, n, image_format, clients.ours, clients.theirs
                    )
                    rows.append(versus(f"{work}, 2 s per request", SDK, ours, sdk))
        return rows

    with stub.started() as (address, _):
        return asyncio.run(main(address))


def memory(plan: Plan) -> list[Row]:
    """Peak memory of a session that generates ten 2k images, as a multiple of the reply's size.

    gRPC alone needs three times the reply: the received bytes and two copies of them.
    """
    rows = []
    with stub.started() as (address, _):
        # The real API returns mostly JPEGs, and some PNGs of 7 MB.
        for kind, prompt in (("2k", "side=2048"), ("2k PNG", "png=1")):
            results = [
                [_measure_memory(address, prompt, way) for way in ("ours", "raw")]
                for _ in range(plan.at_most(5))
            ]
            ours, raw = zip(*results, strict=True)
            work = f"10 × {kind} in base64: peak memory / reply size"
            rows += [
                absolute(f"{work}, whole session", ours, "×", limit=3.2),
                absolute(f"{work}, {RAW}", raw, "×"),
            ]
    return rows


def _measure_memory(address: str, prompt: str, way: str) -> float:
    command = [sys.executable, __file__, address, prompt, way]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(process.stdout)


def _print_peak_memory(address: str, prompt: str, way: str) -> None:
    """Print the peak memory growth while ten 2k images are received, in reply sizes."""
    with tempfile.TemporaryDirectory() as home:
        measure = _session_growth if way == "ours" else _raw_growth
        growth, images = measure(address, prompt, home)
    print(growth / (sum(map(len, images)) * 4 / 3))


def _session_growth(address: str, prompt: str, home: str) -> tuple[int, list[bytes]]:
    from xai_notebook.generation.session import Session

    os.environ.update(XAI_API_HOST=address, XAI_NOTEBOOK_HOME=home)
    session = Session()
    session.generate("size=2000", n=10)  # warm up: lazy imports
    before = reset_peak()
    batch = session.generate(prompt, n=10)
    growth = peak() - before
    images = [image.data for image in batch]
    session.close()
    return growth, images


def _raw_growth(address: str, prompt: str, _: str) -> tuple[int, list[bytes]]:
    async def main() -> tuple[int, list[bytes]]:
        async with Clients(address) as clients:
            await clients.raw("size=2000", 10, "base64")
            before = reset_peak()
            images = await clients.raw(prompt, 10, "base64")
            return peak() - before, images

    return asyncio.run(main())


if __name__ == "__main__":
    os.environ.pop("XAI_API_KEY", None)
    _print_peak_memory(*sys.argv[1:])
