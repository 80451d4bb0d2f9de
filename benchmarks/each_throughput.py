"""Measure rate and memory growth of `--each`: 2,000 prompts, a server that takes 50 ms per call.

    python benchmarks/each_throughput.py [--prompts 2000] [--concurrency 32] [--delay 0.05]
        [--size 2000] [--sdk]

The server runs in a separate process and sends prepared bytes, so the benchmark measures how the
client, the library and the results process a reply. The same calls over raw gRPC, without saving
anything, give the upper limit of the machine. `--sdk` measures the loop that a user would write by
hand instead: xAI's SDK and `Path.write_bytes`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import peak, reset_peak

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


_PREFIX = "data:image/jpeg;base64,"


async def serve(delay: float, size: int) -> None:
    """Answer every image call after `delay` seconds with a JPEG of about `size` bytes."""
    import grpc
    import pybase64
    from PIL import Image

    from xai_notebook.client import wire

    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    head = buffer.getvalue()[:-2] + bytes(max(size - len(buffer.getvalue()) - 18, 0))
    answered = 0

    async def generate(request: bytes, context: Any) -> bytes:
        nonlocal answered
        answered += 1
        data = head + f"{answered:016}".encode() + b"\xff\xd9"  # makes each picture unique
        await asyncio.sleep(delay)
        return wire.ImageResponse(
            images=[
                {"base64": _PREFIX + pybase64.b64encode(data).decode(), "respect_moderation": True}
            ],
            model="prepared",
            usage={"cost_in_usd_ticks": 0},
        ).SerializeToString()

    handler = grpc.unary_unary_rpc_method_handler(generate)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("xai_api.Image", {"GenerateImage": handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@contextlib.contextmanager
def running_server(delay: float, size: int) -> Iterator[str]:
    """Run the server in a separate process and yield its address."""
    command = [sys.executable, __file__, "--serve", f"--delay={delay}", f"--size={size}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"localhost:{int(process.stdout.readline())}"
        finally:
            process.kill()


def resident() -> int:
    """Return the resident memory of this process in bytes, on Linux."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def raw_rate(address: str, prompts: int, concurrency: int) -> float:
    """Return the calls per second of raw gRPC, without saving anything."""
    import grpc

    from xai_notebook.client import wire

    async with grpc.aio.insecure_channel(
        address, options=[("grpc.enable_http_proxy", 0)]
    ) as channel:
        call = channel.unary_unary(wire.GENERATE_IMAGE)
        numbers = iter(range(prompts))

        async def work() -> None:
            for number in numbers:
                await call(wire.GenerateImageRequest(prompt=f"raw {number}").SerializeToString())

        await call(b"")
        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return prompts / (time.perf_counter() - start)


async def sdk_loop(
    address: str, folder: Path, prompts: int, concurrency: int
) -> Mapping[str, float]:
    """Run a loop with xAI's SDK that writes each image to a file; return as `measure`."""
    from xai_sdk import AsyncClient

    client = AsyncClient(
        api_key="none", api_host=address, channel_options=[("grpc.enable_http_proxy", 0)]
    )
    numbers = iter(range(prompts))
    paths: dict[int, Path] = {}

    async def work() -> None:
        for number in numbers:
            response = await client.image.sample(
                f"a fox in field {number}", "grok-imagine-image", image_format="base64"
            )
            path = folder / f"{number}.jpg"
            path.write_bytes(await response.image)
            paths[number] = path

    await client.image.sample("warm up", "grok-imagine-image", image_format="base64")
    before = reset_peak()
    cpu = time.process_time()
    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    assert len(paths) == prompts
    growth = peak() - before
    await client.close()
    return {
        "rate": prompts / seconds,
        "seconds": seconds,
        "cpu": cpu,
        "finish": 0.0,
        "peak": growth,
    }


def measure(
    address: str, home: Path, prompts: int, concurrency: int, *, trace: bool = False
) -> Mapping[str, float]:
    """Run `--each`; return its rate, times and memory growth.

    Returns:
        `rate` in calls per second; `seconds` until all replies are saved; `cpu` seconds of this
        process in that time; `finish`, the seconds to make the batch; `growth`, the memory growth
        in MiB during the second half of the prompts; and `peak`, the growth of the peak memory in
        bytes, from before the first prompt until the batch is made.
    """
    from xai_notebook.generation.session import Session
    from xai_notebook.settings import Configuration

    session = Session(replace(Configuration.from_environment(), api_host=address, home=home))
    session.configured = lambda: {"concurrency": concurrency, "rate": 0.0}
    session.generate("warm up")
    memory_samples: list[int] = []
    if trace:
        tracemalloc.start()
    call = session.prepare(None, {"each": [f"a fox in field {i}" for i in range(prompts)]})

    class Results(dict[int, Any]):
        """Samples the memory when the first half and all of the prompts are done."""

        def __setitem__(self, number: int, pictures: Any) -> None:
            super().__setitem__(number, pictures)
            if len(self) in {prompts // 2, prompts}:
                memory_samples.append(tracemalloc.get_traced_memory()[0] if trace else resident())

    call.progress.results = Results()
    before = reset_peak()
    cpu = time.process_time()
    start = time.perf_counter()
    session.loop.run(session.run(call))
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    start = time.perf_counter()
    batch = session.finish(call)
    finish = time.perf_counter() - start
    peak_growth = peak() - before
    tracemalloc.stop()
    assert len(batch) == len(batch.ok) == prompts
    for image in batch:
        assert image.file is not None
        assert hashlib.sha256(image.data).hexdigest() == image.file.stem
    session.close()
    return {
        "rate": prompts / seconds,
        "seconds": seconds,
        "cpu": cpu,
        "finish": finish,
        "peak": peak_growth,
        "growth": (memory_samples[1] - memory_samples[0]) / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--sdk", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.delay, options.size))
        return
    ideal = options.concurrency / options.delay if options.delay else math.inf
    with (
        running_server(options.delay, options.size) as address,
        tempfile.TemporaryDirectory() as folder,
    ):
        home = options.home or Path(folder)
        if options.sdk:
            loop = sdk_loop(address, home, options.prompts, options.concurrency)
            print(json.dumps(asyncio.run(loop)))
            return
        results = measure(address, home, options.prompts, options.concurrency, trace=options.trace)
        raw = asyncio.run(raw_rate(address, options.prompts, options.concurrency))
    print(
        json.dumps(
            {
                "ideal_rate": ideal,
                "raw_grpc_rate": raw,
                **results,
                "rate_to_ideal": results["rate"] / ideal,
                "rate_to_raw_grpc": results["rate"] / raw,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
