"""The engine for the OpenAI images API: failures, cancellation, key and URL."""

from __future__ import annotations

import asyncio
import base64
import gc
import socket
from typing import Any

import grpc
import pytest

from bare_client import dial, image_request
from openai_stub import (
    EDIT,
    SECRET,
    Reply,
    Stub,
    answers,
    ask,
    complaint,
    enormous_png,
    png,
    refusal,
    reply_of,
)
from xai_notebook import errors, settings
from xai_notebook.client import AsyncClient, wire
from xai_notebook.server import EmbeddedServer
from xai_notebook.server.openai_engine import OpenAIEngine

# Failures

FAILURES: dict[str, tuple[Reply, grpc.StatusCode, str]] = {
    "500": (Reply(500, complaint("CUDA died")), grpc.StatusCode.INTERNAL, "CUDA died"),
    "502": (Reply(502, b"<html>bad gateway"), grpc.StatusCode.INTERNAL, "(HTTP 502)"),
    "429": (Reply(429, complaint("slow")), grpc.StatusCode.RESOURCE_EXHAUSTED, "is overloaded"),
    "503": (Reply(503, {"detail": "loading"}), grpc.StatusCode.UNAVAILABLE, "loading"),
    "401": (Reply(401, {}), grpc.StatusCode.FAILED_PRECONDITION, "XAI_NOTEBOOK_ENGINE_KEY"),
    "404": (Reply(404, {}), grpc.StatusCode.FAILED_PRECONDITION, "the address or the model"),
    "405": (Reply(405, {}), grpc.StatusCode.UNIMPLEMENTED, "does not support this"),
    "redirect": (Reply(307, {}, {"Location": "http://127.0.0.1:1/"}),
        grpc.StatusCode.FAILED_PRECONDITION, "redirects"),
    "html": (Reply(body=b"<!doctype html>"), grpc.StatusCode.FAILED_PRECONDITION, "a web page"),
    "no json": (Reply(body=b"hello"), grpc.StatusCode.FAILED_PRECONDITION, "other than JSON"),
    "a list": (Reply(body=[1, 2]), grpc.StatusCode.FAILED_PRECONDITION, "other than JSON"),
    "nothing": (Reply(body={"data": []}), grpc.StatusCode.INTERNAL, "it is empty"),
    "odd": (Reply(body={"data": [7, {"b64_json": 7}]}), grpc.StatusCode.INTERNAL, "neither"),
    "no picture": (Reply(body={"data": [{"b64_json": "aGVsbG8="}]}),
        grpc.StatusCode.INTERNAL, "not a readable"),
    "half a picture": (
        Reply(body={"data": [{"b64_json": base64.b64encode(png()[:90]).decode()}]}),
        grpc.StatusCode.INTERNAL, "not a readable"),
    "too many pixels": (
        Reply(body={"data": [{"b64_json": base64.b64encode(enormous_png()).decode()}]}),
        grpc.StatusCode.INTERNAL, "30000 x 3000 pixels"),
    "cut": (Reply(body=b'{"data": [{"b64', cut=500), grpc.StatusCode.INTERNAL, "is not repeated"),
    "huge": (Reply(body=b"{}", cut=settings.MAX_RECEIVE_BYTES), grpc.StatusCode.INTERNAL,
        f"larger than {settings.MAX_RECEIVE_BYTES // settings.MIB} MiB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_end_the_call_after_one_order(stub: Stub, kind: str) -> None:
    reply, status, text = FAILURES[kind]
    stub.answer = answers(reply)
    code, details, trailing = refusal(stub, image_request(), key=SECRET)
    assert code is status
    assert details.startswith(f"The engine at {stub.url[7:-3]} ")
    assert text in details
    assert len(stub.orders) == 1
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
        assert trailing["grpc-retry-pushback-ms"] == "-1"


@pytest.mark.parametrize("status", [429, 503])
async def test_the_client_retries_after_retry_after(stub: Stub, status: int) -> None:
    busy = Reply(status, complaint("later"), {"Retry-After": "0"})
    stub.answer = answers(busy, reply_of())
    async with (
        EmbeddedServer(engine=OpenAIEngine(stub.url)) as server,
        AsyncClient("", api_host=server.address) as client,
    ):
        response = await client.image.sample("a red fox", "fox-1")
        assert await response.image == png()
    assert len(stub.orders) == 2


@pytest.mark.parametrize("kind", ["500", "429", "503", "cut", "html", "huge"])
async def test_without_retry_after_the_client_does_not_retry(stub: Stub, kind: str) -> None:
    stub.answer = answers(FAILURES[kind][0])
    async with (
        EmbeddedServer(engine=OpenAIEngine(stub.url)) as server,
        AsyncClient("", api_host=server.address, title=server.title) as client,
    ):
        with pytest.raises(errors.ApiError, match=rf"(?i)the engine at {stub.url[7:-3]}"):
            await client.image.sample("a red fox", "fox-1")
    assert len(stub.orders) == 1


def test_the_client_may_retry_when_the_engine_is_not_running() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        stopped = Stub(url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        code, details, trailing = refusal(stopped, image_request())
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "Start it" in details
    assert "grpc-retry-pushback-ms" not in trailing


@pytest.mark.parametrize("fields", [{}, EDIT], ids=["generation", "edit"])
async def test_cancelling_closes_the_connection(stub: Stub, fields: dict[str, Any]) -> None:
    stub.answer = answers(Reply(waits=True))
    async with EmbeddedServer(engine=OpenAIEngine(stub.url)) as server, dial(server) as call:
        pending = asyncio.ensure_future(call(wire.GENERATE_IMAGE, image_request(n=3, **fields)))
        assert await asyncio.to_thread(stub.waiting.wait, 20)
        pending.cancel()
        assert await asyncio.to_thread(stub.left.wait, 20)
    assert len(stub.orders) == 1


async def test_a_deadline_closes_the_connection(stub: Stub) -> None:
    stub.answer = answers(Reply(waits=True))
    async with EmbeddedServer(engine=OpenAIEngine(stub.url)) as server, dial(server) as call:
        await call(wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty())  # connects
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(wire.GENERATE_IMAGE, image_request(), timeout=1)
        assert await asyncio.to_thread(stub.left.wait, 20)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(stub.orders) == 1


# The key and the address


def test_the_key_is_sent_and_removed_from_errors(stub: Stub) -> None:
    stub.answer = answers(Reply(400, complaint(f"the key {SECRET} is of no use")))
    _, details, _ = refusal(stub, image_request(), key=SECRET)
    keys = {request.headers["authorization"] for request in stub.requests}
    assert keys == {f"Bearer {SECRET}"}
    assert SECRET not in details
    assert "the key *** is of no use" in details


def test_netrc_is_ignored(stub: Stub, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(stub, image_request())
    assert all("authorization" not in request.headers for request in stub.requests)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.com/v1", "without TLS"),
        ("http://8.8.8.8/v1", "without TLS"),
        ("http://169.254.169.254/v1", "without TLS"),
        ("http://0.0.0.0:8000/v1", "without TLS"),
        ("http://gpu-box:8000/v1", "without TLS"),
        ("https://me:pass@example.com/v1", "contains a password"),
        ("https://example.com/v1?key=pass", "contains a password"),
        ("http://example.com\\@localhost/v1", "contains a password"),
        ("http://example.com\\.localhost/v1", "is not a valid URL"),
        ("http://local\thost:8000/v1", "is not a valid URL"),
        ("ftp://localhost/v1", "not an http or https URL"),
        ("http://localhost:x/v1", "is not a valid URL"),
    ],
)
def test_unsafe_urls_are_refused(url: str, text: str) -> None:
    """The message repeats no secret."""
    with pytest.raises(errors.ConfigurationError, match=text) as caught:
        OpenAIEngine(url)
    assert "pass@" not in str(caught.value)
    assert "key=pass" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1", "http://[::1]:8000/v1", "http://10.1.2.3:8000",
        "http://192.168.0.9/v1/", "http://100.64.1.2/v1", "https://example.com/team/v1#big/model",
        "https://example.com/@team/v1#@big/model",
    ],
)  # fmt: skip
def test_https_and_private_urls_are_accepted(url: str) -> None:
    assert OpenAIEngine(url).location in url


def test_connections_are_closed(stub: Stub) -> None:
    """An unclosed connection is a warning, which fails the test."""
    ask(stub, image_request(n=2))
    gc.collect()
