"""Start and stop of an embedded server, and the choice of its engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest
import xai_sdk

import xai_notebook as xai
from bare_client import dial, image_request
from harness import fork
from xai_notebook.client import AsyncClient, wire
from xai_notebook.errors import ConfigurationError, ForkedProcessError, XaiError
from xai_notebook.generation.session import close_session
from xai_notebook.server import BatchFaults, EmbeddedServer, Faults
from xai_notebook.server.engine import Engine, PaintingEngine
from xai_notebook.server.openai_engine import OpenAIEngine
from xai_notebook.server.runner import choose_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def new_defaults() -> Iterator[None]:
    """Forget the server that a test configures."""
    yield
    xai.configure(api_host=None)
    close_session()


async def test_a_taken_port_is_an_error_without_output(capfd: pytest.CaptureFixture[str]) -> None:
    async with EmbeddedServer() as server:
        with pytest.raises(ConfigurationError, match="probably in use"):
            await EmbeddedServer(port=server.port).start()
    assert capfd.readouterr().err == ""


def test_only_loopback_can_be_bound() -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        EmbeddedServer(host="0.0.0.0")


async def test_a_server_can_be_stopped_twice_and_started_again() -> None:
    server = EmbeddedServer()
    await server.start()
    await server.stop()
    await server.stop()
    async with server, dial(server) as call:
        assert len((await call(wire.GENERATE_IMAGE, image_request())).images) == 1


def test_a_with_block_needs_no_event_loop() -> None:
    """Our client, xAI's SDK and `generate` use the server while the block's thread waits."""
    with EmbeddedServer() as server:

        async def ask() -> int:
            async with AsyncClient(api_host=server.address) as client:
                return len(await client.image.sample_batch("a fox", "grok-imagine-image", 2))

        assert asyncio.run(ask()) == 2
        with contextlib.closing(
            xai_sdk.Client(api_key="any", api_host=server.address, use_insecure_channel=True)
        ) as sdk:
            made = sdk.image.sample("a fox", "grok-imagine-image", image_format="base64")
            assert made.respect_moderation
        xai.configure(api_host=server.address)
        assert xai.generate("a fox")[0].status == "ok"
        assert server.painted == 4


def test_a_with_block_can_be_entered_again_but_not_twice() -> None:
    server = EmbeddedServer()
    for _ in range(2):
        with server:
            port = server.port
            with pytest.raises(ConfigurationError, match="running already"):
                server.__enter__()
            assert server.port == port
        with pytest.raises(ConfigurationError, match="not running"):
            server.port  # noqa: B018
    server.__exit__(None, None, None)


def test_an_exception_in_a_with_block_stops_the_server() -> None:
    before = {*threading.enumerate()}
    server, ports = EmbeddedServer(), []

    def fail() -> None:
        with server:
            ports.append(server.port)
            raise RuntimeError("of the block")

    with pytest.raises(RuntimeError, match="of the block"):
        fail()
    assert not [t for t in {*threading.enumerate()} - before if t.name == "xai-notebook-server"]
    with EmbeddedServer(port=ports[0]):
        pass


def test_a_with_block_that_cannot_bind_leaves_no_thread() -> None:
    with EmbeddedServer() as server:
        threads = {*threading.enumerate()}
        other = EmbeddedServer(port=server.port)
        with pytest.raises(ConfigurationError, match="probably in use"):
            other.__enter__()
        assert {*threading.enumerate()} == threads
    with other:
        pass


async def test_a_with_block_works_inside_a_running_loop() -> None:
    """A blocking call does not block the server, and `stop` can be awaited on any loop."""
    with EmbeddedServer() as server:
        xai.configure(api_host=server.address)
        assert xai.generate("a fox")[0].status == "ok"
        assert (await xai.agenerate("an owl"))[0].status == "ok"
        await asyncio.to_thread(close_session)
        await server.stop()
        with pytest.raises(ConfigurationError, match="not running"):
            server.port  # noqa: B018


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_does_not_use_the_server() -> None:
    """A new server is refused, and leaving the block does not wait for the parent's thread."""
    with EmbeddedServer() as server:
        if not (child := fork()):
            code = 1
            try:
                EmbeddedServer().__enter__()
            except ForkedProcessError:
                server.__exit__(None, None, None)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        xai.configure(api_host=server.address)
        assert xai.generate("a fox")[0].status == "ok"


BLOCKED = "runs on the event loop that this call blocks.* Use await, as in await xai.agenerate"


@pytest.mark.parametrize(
    "options",
    [{}, {"n": 2}, {"dry_run": True}, {"batch": True}, {"each": ["a fox", "an owl"]}],
    ids=str,
)
async def test_a_call_that_blocks_its_server_is_refused_at_once(options: dict[str, Any]) -> None:
    """Before anything is sent; without this check, the call would wait for its whole timeout."""
    prompt = None if "each" in options else "a fox"
    async with EmbeddedServer() as server:
        xai.configure(api_host=server.address)
        with pytest.raises(XaiError, match=BLOCKED) as caught:
            xai.generate(prompt, **options)
        assert f"The server at localhost:{server.port}" in str(caught.value)
        assert server.requests == []
        xai.configure(api_host=f"127.0.0.1:{server.port}")
        with pytest.raises(XaiError, match=BLOCKED):
            xai.generate(prompt, **options)
        await asyncio.to_thread(close_session)


async def test_later_calls_that_block_the_server_are_refused() -> None:
    """The connection exists already; the library cannot answer these calls."""
    async with EmbeddedServer(faults=Faults(batches=BatchFaults(pace=0.001))) as server:
        xai.configure(api_host=server.address)
        (fox,) = await xai.agenerate("a fox")
        job = await xai.agenerate("an owl", batch=True)
        calls = (
            lambda: fox.edit("a hat"),
            lambda: xai.generate("a wolf"),
            lambda: job.wait(60),
        )
        for call in calls:
            with pytest.raises(XaiError, match=BLOCKED):
                call()
        await asyncio.to_thread(close_session)


async def test_calls_that_do_not_block_the_server_are_made() -> None:
    """In another thread, to another server, or with `await`."""
    async with EmbeddedServer() as server:
        xai.configure(api_host=server.address)
        assert (await asyncio.to_thread(xai.generate, "a fox"))[0].status == "ok"
        assert (await asyncio.to_thread(xai.generate, "a fox", dry_run=True)).images == 1
        assert (await xai.agenerate("an owl"))[0].status == "ok"
        assert xai.generate("an owl", local=True)[0].status == "ok"
        with EmbeddedServer() as other:
            xai.configure(api_host=other.address)
            assert xai.generate("a wolf")[0].status == "ok"
        await asyncio.to_thread(close_session)


def test_a_call_is_refused_while_the_loop_of_its_server_does_not_run() -> None:
    """As in IPython, where `await server.start()` runs the loop only during its cell."""
    loop, server = asyncio.new_event_loop(), EmbeddedServer()
    try:
        loop.run_until_complete(server.start())
        xai.configure(api_host=server.address)
        with pytest.raises(XaiError, match=BLOCKED):
            xai.generate("a fox")
    finally:
        loop.run_until_complete(server.stop())
        loop.close()


def broken() -> Engine:
    raise OSError("no GPU")


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with entry points for engines."""
    targets = {
        "mine": "xai_notebook.server.engine:PaintingEngine",
        "bad": "builtins:dict",
        "broken": "an_engine:broken",
        "gone": "no_such:Thing",
    }
    points = [metadata.EntryPoint(n, v, "xai_notebook.engines") for n, v in targets.items()]
    groups = {"xai_notebook.engines": points}
    monkeypatch.setattr(metadata, "entry_points", lambda group: groups[group])
    monkeypatch.setitem(sys.modules, "an_engine", sys.modules[__name__])


def test_the_painter_is_the_default() -> None:
    assert [type(choose_engine(name)) for name in ("", "painting")] == [PaintingEngine] * 2
    assert isinstance(EmbeddedServer().engine, PaintingEngine)


def test_an_entry_point_is_found_by_name(entry_points: None) -> None:
    engine = choose_engine("mine")
    assert isinstance(engine, PaintingEngine)
    assert engine.location == "mine"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paint", "one of: painting, bad, broken, gone, mine"),
        ("bad", "did not return an engine"),
        ("broken", "no GPU"),
        ("gone", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_an_invalid_engine_is_an_error(entry_points: None, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        choose_engine(name)


def test_a_url_chooses_the_engine_for_the_openai_api() -> None:
    assert isinstance(choose_engine("http://localhost:8000/v1"), OpenAIEngine)


def test_the_painter_imports_neither_http_nor_package_metadata() -> None:
    code = (
        "import sys; from xai_notebook.server.runner import choose_engine; "
        "from xai_notebook.server import EmbeddedServer; EmbeddedServer(engine=choose_engine('')); "
        "assert not {'requests', 'PIL', 'importlib.metadata', "
        "'xai_notebook.server.openai_engine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
