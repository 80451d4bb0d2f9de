"""The connection: message sizes, cancellation, closing, event loops and forking."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from typing import Any

import grpc
import pytest

from xai_notebook import errors
from xai_notebook.client import AsyncClient


def test_ten_2k_images_of_the_largest_size_arrive(run_call: Any, reply: Any) -> None:
    """The images are as large as 2k PNGs of noise."""
    text = "QUJD" * ((214 << 18) // 10)
    responses, _ = run_call(reply(10, base64=text), lambda c: c.image.sample_batch("p", "m", 10))
    assert sum(len(response.base64) for response in responses) == 10 * len(text) > 213 << 20
    assert responses[9].base64 == text


def test_three_input_images_fit_into_a_request(run_call: Any, reply: Any) -> None:
    uri = "data:image/png;base64," + "A" * (13 << 20)
    response, server = run_call(
        reply(base64="AAAA"), lambda c: c.image.sample("p", "m", image_urls=[uri] * 3)
    )
    assert response.base64 == "AAAA"
    assert server.requests[0].images[2].image_url == uri


async def test_cancelling_reaches_the_server_and_the_next_call_works(
    serve: Any, reply: Any
) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        if request.prompt != "slow":
            return reply(base64="AAAA")
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serve(answer) as server, AsyncClient(api_host=server.host) as client:
        task = asyncio.create_task(client.image.sample("slow", "m"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), 15)  # the server would have answered after 30 s
        assert (await client.image.sample("next", "m")).base64 == "AAAA"


async def test_cancelling_ends_the_wait_between_attempts(serve: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(
            grpc.StatusCode.UNAVAILABLE,
            "busy",
            (("grpc-retry-pushback-ms", "30000"), ("server", "a-proxy")),
        )

    waiting = asyncio.Event()
    async with (
        serve(answer) as server,
        AsyncClient(api_host=server.host, on_attempt=lambda _: waiting.set()) as client,
    ):
        task = asyncio.create_task(client.image.sample("p", "m"))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 15)  # the next attempt would be made after 30 s
        assert len(server.requests) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Task.cancelling is new in Python 3.11")
async def test_closing_raises_an_error_in_pending_calls(serve: Any) -> None:
    started = asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        started.set()
        await asyncio.sleep(30)

    async with serve(answer) as server:
        client = AsyncClient(api_host=server.host)
        task = asyncio.create_task(client.image.sample("p", "m"))
        await started.wait()
        await client.close()
        with pytest.raises(errors.CallCancelledError, match="closed"):
            await task


async def test_a_closed_client_raises_an_error_and_can_be_closed_again() -> None:
    client = AsyncClient(api_host="localhost:9")
    await client.close()
    await client.close()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await client.image.sample("p", "m")


def test_an_image_can_be_downloaded_after_the_client_is_closed(
    run_call: Any, reply: Any, web: Any
) -> None:
    url = web.add_response("/x.jpg", b"\xff\xd8\xff\xe0")
    response, _ = run_call(reply(url=url), lambda c: c.image.sample("p", "m"))

    async def load() -> bytes:
        return await response.image

    assert asyncio.run(load()) == b"\xff\xd8\xff\xe0"


def test_another_event_loop_is_refused() -> None:
    client = AsyncClient(api_host="localhost:9", timeout=0.1)

    async def use() -> None:
        await client.image.sample("p", "m")

    with pytest.raises(errors.UnavailableError):
        asyncio.run(use())
    with pytest.raises(errors.ConfigurationError, match="another event loop"):
        asyncio.run(use())
    asyncio.run(client.close())  # on a third loop
    gc.collect()


FORK = """
import asyncio, os, sys
from xai_notebook import errors
from xai_notebook.client import AsyncClient

def use():
    async def main():
        async with AsyncClient(api_host="localhost:9", timeout=0.2) as client:
            await client.models.list_image_generation_models()
    try:
        asyncio.run(main())
    except errors.XaiError as error:
        return error

assert isinstance(use(), errors.UnavailableError)
child = os.fork()
if not child:
    error = use()
    good = isinstance(error, errors.ForkedProcessError) and "spawn" in str(error)
    os._exit(0 if good else 1)
assert os.waitpid(child, 0)[1] == 0
assert isinstance(use(), errors.UnavailableError)
"""


SHELL = """
import asyncio, os, pty
from xai_notebook import errors
from xai_notebook.client import AsyncClient

async def main():
    async with AsyncClient(api_host="localhost:9", timeout=0.2) as client:
        try:
            await client.models.list_image_generation_models()
        except errors.UnavailableError:
            pass
        pid, terminal = pty.fork()  # as `!cmd` does
        if not pid:
            os.execvp("true", ["true"])
        try:
            output = os.read(terminal, 1000)
        except OSError:  # nothing was written
            output = b""
        assert os.waitpid(pid, 0)[1] == 0
        assert not output, output
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("script", [FORK, SHELL], ids=["fork", "shell command"])
def test_grpc_prints_nothing_after_a_fork(script: str) -> None:
    """A call in a forked child raises an error; a shell command runs as usual."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
