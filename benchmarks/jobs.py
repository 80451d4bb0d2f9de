"""A job of 10,000 prompts with one input image, from the call to the last picture in the library.

    python benchmarks/jobs.py [--prompts 10000] [--delay 0.05] [--size 20000]

The server runs in a separate process, takes 50 ms for each call and sends prepared bytes. The
same calls over raw gRPC, without saving anything, give the upper limit of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from bench import Plan, Row

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.pop("XAI_API_KEY", None)
__all__ = ["jobs"]

_RESULTS_PER_PAGE = 10
_INPUT_BYTES = 2_000_000


async def serve(delay: float, size: int) -> None:  # noqa: C901, PLR0915  # one service
    """Serve batches, and answer each request with a JPEG of about `size` bytes."""
    import grpc
    import pybase64
    from PIL import Image

    from xai_notebook.client import wire

    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    start = buffer.getvalue()[:-2] + bytes(max(size - len(buffer.getvalue()) - 18, 0))
    batches: dict[str, wire.Batch] = {}
    ids: dict[str, list[str]] = {}
    numbers = count()

    def result(key: str) -> wire.BatchResult:
        data = start + f"{next(numbers):016}".encode() + b"\xff\xd9"  # makes each picture unique
        image = {"base64": pybase64.b64encode(data).decode(), "respect_moderation": True}
        reply = wire.ImageResponse(images=[image], model="prepared")
        reply.usage.cost_in_usd_ticks = 0
        found = wire.BatchResult(batch_request_id=key)
        found.response.image_response.CopyFrom(reply)
        return found

    def create(body: bytes) -> Any:
        batch = wire.Batch(
            batch_id=f"batch_{len(batches)}", name=wire.CreateBatchRequest.FromString(body).name
        )
        batch.expire_time.FromSeconds(int(time.time()) + 86_400)
        ids[batch.batch_id], batches[batch.batch_id] = [], batch
        return batch

    def add(body: bytes) -> Any:
        request = wire.AddBatchRequestsRequest.FromString(body)
        ids[request.batch_id] += [each.batch_request_id for each in request.batch_requests]
        return b""

    def get(body: bytes) -> Any:
        found = batches[wire.GetBatchRequest.FromString(body).batch_id]
        found.state.num_requests = found.state.num_success = len(ids[found.batch_id])
        return found

    def results(body: bytes) -> Any:
        request = wire.ListBatchResultsRequest.FromString(body)
        begin = int(request.pagination_token or 0)
        end = min(begin + request.limit, len(ids[request.batch_id]))
        page = wire.ListBatchResultsResponse(
            results=[result(key) for key in ids[request.batch_id][begin:end]]
        )
        if end < len(ids[request.batch_id]):
            page.pagination_token = str(end)
        return page

    def empty(_: bytes) -> bytes:
        return b""

    async def upload(pieces: AsyncIterator[bytes], _: Any) -> bytes:
        received = sum([len(piece) async for piece in pieces])
        print(f"uploaded {received}", file=sys.stderr, flush=True)
        await asyncio.sleep(delay)
        return wire.File(id="file_1", filename="input.png", size=received).SerializeToString()

    def handler(answer: Any) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(body: bytes, _: Any) -> bytes:
            await asyncio.sleep(delay)
            reply = answer(body)
            return reply if isinstance(reply, bytes) else reply.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(handle)

    methods: dict[str, dict[str, Any]] = {"xai_api.BatchMgmt": {}, "xai_api.Files": {}}
    answers = {
        wire.CREATE_BATCH: create, wire.ADD_BATCH_REQUESTS: add, wire.GET_BATCH: get,
        wire.LIST_BATCH_RESULTS: results, wire.LIST_BATCHES: empty,
        wire.LIST_BATCH_REQUEST_METADATA: empty,
    }  # fmt: skip
    for method, answer in answers.items():
        service, name = method.strip("/").split("/")
        methods[service][name] = handler(answer)
    methods["xai_api.Files"]["UploadFile"] = grpc.stream_unary_rpc_method_handler(upload)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, of) for name, of in methods.items())
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@contextlib.contextmanager
def running_server(delay: float, size: int, log: Path) -> Iterator[str]:
    """Run the server, which logs uploads, as a process, and yield its address."""
    command = [sys.executable, __file__, "--serve", f"--delay={delay}", f"--size={size}"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout
            yield f"localhost:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def measure_raw(address: str, prompts: int, image: bytes) -> float:
    """Return the seconds of the same calls over raw gRPC, without saving anything."""
    import grpc

    from xai_notebook.client import wire

    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:

        async def call(method: str, message: Any, kind: Any) -> Any:
            return kind.FromString(await channel.unary_unary(method)(message.SerializeToString()))

        begun = time.perf_counter()
        upload: Any = channel.stream_unary(wire.UPLOAD_FILE)
        await upload(iter([image[at : at + 1_000_000] for at in range(0, len(image), 1_000_000)]))
        add: Any = channel.unary_unary(wire.ADD_BATCH_REQUESTS)
        batch = await call(wire.CREATE_BATCH, wire.CreateBatchRequest(name="raw"), wire.Batch)
        for at in range(0, prompts, 1000):
            adding = wire.AddBatchRequestsRequest(batch_id=batch.batch_id)
            for number in range(at, min(at + 1000, prompts)):
                request = adding.batch_requests.add(batch_request_id=f"{number:064}")
                request.image_request.prompt = f"a fox in field {number}"
            await add(adding.SerializeToString())
        await call(wire.GET_BATCH, wire.GetBatchRequest(batch_id=batch.batch_id), wire.Batch)
        token = ""
        while True:
            query = wire.ListBatchResultsRequest(
                batch_id=batch.batch_id, limit=_RESULTS_PER_PAGE, pagination_token=token
            )
            page = await call(wire.LIST_BATCH_RESULTS, query, wire.ListBatchResultsResponse)
            if not (token := page.pagination_token):
                return time.perf_counter() - begun


def resident() -> int:
    """Return the resident memory of this process in bytes, on Linux."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(address: str, home: Path, prompts: int, image: bytes) -> Mapping[str, float]:
    """Submit and collect a job; return its seconds, and its memory growth in bytes."""
    from xai_notebook.generation.session import Session
    from xai_notebook.settings import Configuration

    session = Session(replace(Configuration.from_environment(), api_host=address, home=home))
    each = [f"a fox in field {number}" for number in range(prompts)]
    begun = time.perf_counter()
    job = session.generate(each=each, image=[image], batch=True)
    submitted = time.perf_counter() - begun
    memory = [resident()]
    (poller,) = job.pollers
    poller.listeners.append(lambda: memory.append(resident()))
    while not job.done:
        session.loop.run(asyncio.sleep(0.05))
    seconds = time.perf_counter() - begun
    counts = job.counts
    assert counts.succeeded == prompts, counts
    session.close()
    return {"seconds": seconds, "submitted": submitted, "growth": max(memory) - memory[0]}


def noise(size: int) -> bytes:
    """Return a PNG of random pixels, of about `size` bytes."""
    from PIL import Image

    side = int((size / 3) ** 0.5)
    buffer = io.BytesIO()
    pixels = random.Random(1).randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _run(prompts: int) -> dict[str, float]:
    command = [sys.executable, __file__, f"--prompts={prompts}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def jobs(plan: Plan) -> list[Row]:
    """A job of 10,000 prompts with one input image of 2 MB."""
    from bench import Row, absolute

    prompts = plan.size(10_000)
    found = [_run(prompts) for _ in range(plan.at_most(1 if plan.quick else 3))]
    work = f"a job of {prompts:,} prompts with one input image"
    rate = Row(
        work=work,
        ours=statistics.median(prompts / run["seconds"] for run in found),
        unit="/s",
        rival="raw grpc.aio, which saves nothing",
        theirs=statistics.median(prompts / run["raw"] for run in found),
        score=statistics.median(run["raw"] / run["seconds"] for run in found),
        limit=0.9,
        at_least=True,
        rounds=len(found),
    )
    growth = [run["growth"] for run in found]
    uploads = [run["uploads"] for run in found]
    return [
        rate,
        absolute(f"{work}: memory growth while results arrive", growth, "bytes", limit=64 * 2**20),
        absolute(f"{work}: uploads of the image", uploads, "", limit=1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.delay, options.size))
        return
    image = noise(_INPUT_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running_server(options.delay, options.size, log) as address:
            found = measure(address, Path(folder) / "home", options.prompts, image)
            uploads = log.read_text(encoding="utf-8").count("uploaded")
            raw = asyncio.run(measure_raw(address, options.prompts, image))
    ratio = raw / found["seconds"]
    print(json.dumps({**found, "raw": raw, "uploads": uploads, "rate_to_raw": ratio}, indent=1))


if __name__ == "__main__":
    main()
