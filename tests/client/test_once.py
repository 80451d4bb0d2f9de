"""A request is only sent again if it was not served, and a complete reply is always kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
import trustme
from xai_sdk.proto import image_pb2, models_pb2

from raw_server import Call, frame, raw_server
from xai_notebook import errors
from xai_notebook.client import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from raw_server import RawServer
    from xai_notebook.client import ImageResponse

    Script = Callable[[Call], Awaitable[None]]

UNAVAILABLE, EXHAUSTED, INTERNAL = 14, 8, 13
PICTURE = "QUJD" * 100
REPLY, LARGE = (
    image_pb2.ImageResponse(
        images=[{"base64": text, "respect_moderation": True}]
    ).SerializeToString()
    for text in (PICTURE, "QUJD" * (17 << 18))
)
PROXY_HEADER = ("server", "envoy")
"""The header that a proxy adds to every response: it proves that a status is a refusal."""
LONG = ("x-long", "a" * 20_000)
UNREACHED = "failed to connect to all addresses; last error: UNKNOWN: Connection refused"
REPLY_DELAY = 0.2
"""Seconds; much longer than the client waits for a status after headers."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=[False, True], ids=["in clear", "over TLS"])
def tls(
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> ssl.SSLContext | None:
    """Return the server's TLS context; over TLS, gRPC words some failures differently."""
    if not request.param:
        return None
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    return context


def play(*steps: tuple[Any, ...], together: bool = False, delay: float = 0) -> Script:
    """Return a script of `Call`'s methods with their arguments.

    Args:
        *steps: For each step, the name of a method and its arguments.
        together: Whether to send everything in one packet.
        delay: Seconds before the first step.
    """

    async def script(call: Call) -> None:
        await call.sleep(delay)
        with call.one_packet() if together else contextlib.nullcontext():
            for name, *args in steps:
                if (sending := getattr(call, name)(*args)) is not None:
                    await sending

    return script


def with_scripts(scripts: dict[str, Script]) -> pytest.MarkDecorator:
    """Run a test with each of these scripts."""
    return pytest.mark.parametrize("script", scripts.values(), ids=scripts.keys())


def request_image(
    script: Script, tls: ssl.SSLContext | None = None, **options: Any
) -> tuple[ImageResponse | errors.XaiError, RawServer]:
    """Request one image from a server that runs `script`."""

    async def main() -> tuple[ImageResponse | errors.XaiError, RawServer]:
        async with raw_server(script, tls=tls) as server:
            host = f"https://{server.host}" if tls else server.host
            async with AsyncClient("a-key", api_host=host, timeout=30, **options) as client:
                try:
                    return await client.image.sample("p", "m", image_format="base64"), server
                except errors.XaiError as error:
                    return error, server

    return asyncio.run(main())


# --- complete replies -------------------------------------------------------------------------

UNAVAILABLE_TRAILERS = ("trailers", UNAVAILABLE, "busy")
EXHAUSTED_TRAILERS = ("trailers", EXHAUSTED, "busy")
ENDINGS = {
    "cut": play(("cut",)),
    "closed": play(("close",)),
    "reset": play(("reset", 2)),
    "goaway": play(("goaway",), ("cut",)),
    "silence": play(("sleep", 30)),
    "unavailable": play(UNAVAILABLE_TRAILERS),
    "exhausted": play(EXHAUSTED_TRAILERS),
    "a second message": play(("message", b"\xff" * 100), ("trailers",)),
    "long trailers": play(("trailers", 0, "", LONG)),
}


@with_scripts(ENDINGS)
def test_a_complete_message_is_kept_after_any_end(
    script: Script, tls: ssl.SSLContext | None
) -> None:
    async def reply(call: Call) -> None:
        await call.headers()
        await call.message(REPLY)
        await call.sleep(0.01)  # a TCP reset can overtake the data before it
        await script(call)

    response, server = request_image(reply, tls)
    assert response.base64 == PICTURE
    assert server.requests == 1


def test_a_message_is_kept_though_the_stream_ends_in_the_same_packet() -> None:
    script = play(("headers",), ("message", REPLY), ("reset", 2), together=True)
    for _ in range(20):
        response, server = request_image(script)
        assert response.base64 == PICTURE
        assert server.requests == 1


def test_a_large_message_is_kept_though_its_connection_breaks() -> None:
    script = play(("headers",), ("message", LARGE), ("sleep", 0.1), ("cut",))
    response, server = request_image(script)
    assert len(response.base64) == 17 << 20
    assert server.requests == 1


def test_long_initial_metadata_is_accepted() -> None:
    script = play(("headers", LONG), ("message", REPLY), ("trailers",))
    response, server = request_image(script)
    assert response.base64 == PICTURE
    assert server.requests == 1


async def test_a_call_without_trailers_is_cancelled_after_its_message() -> None:
    ended = asyncio.Event()

    async def script(call: Call) -> None:
        await call.headers()
        await call.message(REPLY)
        await call.ended.wait()
        ended.set()

    async with raw_server(script) as server, AsyncClient(api_host=server.host) as client:
        await client.image.sample("p", "m")
        await asyncio.wait_for(ended.wait(), 20)


async def test_an_ended_call_is_freed_without_the_garbage_collector() -> None:
    async def script(call: Call) -> None:
        if call.number % 2:
            await call.answer(REPLY)
        else:
            await call.only_trailers(UNAVAILABLE, "busy")

    def call_exists() -> bool:
        return any(isinstance(o, grpc.aio.StreamStreamCall) for o in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        async with (
            raw_server(script) as server,
            AsyncClient(api_host=server.host, max_attempts=1) as client,
        ):
            for _ in range(10):
                with contextlib.suppress(errors.UnavailableError):
                    await client.image.sample("p", "m")
            for _ in range(200):  # the last call may not have ended yet
                if not call_exists():
                    break
                await asyncio.sleep(0.01)
            assert not call_exists()
    finally:
        gc.enable()


# --- failures after which a call may have been billed -----------------------------------------

HALF = ("data", frame(REPLY)[:50])
METADATA = ("headers", ("date", "today"))
PAUSE = ("sleep", REPLY_DELAY)
ENVOY = "upstream connect error or disconnect/reset before headers. reset reason: "
BROKEN = {
    "3 of 17 MiB": play(("headers",), ("data", frame(LARGE)[: 3 << 20]), ("cut",)),
    "headers": play(("headers",), ("cut",)),
    "60 percent": play(("headers",), ("data", frame(REPLY)[: len(REPLY) * 6 // 10]), ("cut",)),
    "headers, unavailable": play(("headers",), PAUSE, UNAVAILABLE_TRAILERS),
    "headers, exhausted": play(("headers",), PAUSE, EXHAUSTED_TRAILERS),
    # Without the delay, this server would answer faster than any remote server.
    "metadata, unavailable": play(METADATA, UNAVAILABLE_TRAILERS, together=True, delay=REPLY_DELAY),
    "metadata, exhausted": play(METADATA, EXHAUSTED_TRAILERS, together=True, delay=REPLY_DELAY),
    "half, unavailable": play(("headers",), HALF, PAUSE, UNAVAILABLE_TRAILERS),
    "half, reset": play(("headers",), HALF, ("reset", 2)),
    "headers, REFUSED_STREAM": play(("headers",), PAUSE, ("reset", 7)),
    "half, goaway": play(("headers",), HALF, ("goaway",), ("cut",)),
    # The server reports, in the words of gRPC, that it could not reach its backend.
    "metadata, unreached": play(METADATA, ("trailers", UNAVAILABLE, UNREACHED)),
    "half, unreached": play(
        ("headers",), HALF, PAUSE, ("trailers", UNAVAILABLE, "DNS resolution failed for b:443")
    ),
    "metadata, request too large": play(
        METADATA, ("trailers", EXHAUSTED, "CLIENT: Sent message larger than max (9 vs. 1)")
    ),
    "cut": play(("cut",)),
    "closed": play(("close",)),
    "INTERNAL_ERROR": play(("reset", 2)),
    "ENHANCE_YOUR_CALM": play(("reset", 11)),
    "goaway with this call": play(("goaway",), ("cut",)),
    "HTTP 502": play(("http", 502, b"<html>")),
    "HTTP 503": play(("http", 503, b"<html>")),
    "HTTP 503 without a page": play(("http", 503)),
    "HTTP 504": play(("http", 504, b"<html>")),
    "HTTP 524 of Cloudflare": play(("http", 524, b"<html>")),
    "Envoy lost its server": play(
        ("only_trailers", UNAVAILABLE, f"{ENVOY}connection termination", PROXY_HEADER)
    ),
    "not HTTP/2": play(("raw", b"\xff" * 100)),
    "a gRPC server is stopped": play(("only_trailers", UNAVAILABLE, "Cancelling all calls")),
    # gRPC would report the same if a reply had begun.
    "REFUSED_STREAM": play(("reset", 7)),
    "refused without proof": play(("only_trailers", UNAVAILABLE, "busy")),
    "metadata in trailers": play(
        ("headers",),
        (*UNAVAILABLE_TRAILERS, ("x-request-id", "1"), ("retry-after", "1")),
        together=True,
    ),
}


@with_scripts(BROKEN)
def test_a_call_that_may_have_been_billed_is_not_retried(
    script: Script, tls: ssl.SSLContext | None
) -> None:
    """The error says that the call may have been billed."""
    error, server = request_image(script, tls)
    assert isinstance(error, errors.ApiError)
    assert error.maybe_billed
    assert "may have been billed" in str(error)
    assert len(str(error).splitlines()) <= 2
    assert server.requests == error.attempts == 1


@pytest.mark.parametrize("gap", [None, 0, 0.001, 0.005, 0.02, 0.05], ids=lambda gap: f"gap {gap}")
@pytest.mark.parametrize("begin", [(), (HALF,)], ids=["bare headers", "half a message"])
@pytest.mark.parametrize(
    "end",
    [UNAVAILABLE_TRAILERS, ("reset", 7), ("reset", 2)],
    ids=["unavailable", "REFUSED_STREAM", "INTERNAL_ERROR"],
)
def test_a_reply_that_breaks_off_at_any_moment_is_not_retried(
    end: tuple[Any, ...], begin: tuple[Any, ...], gap: float | None, tls: ssl.SSLContext | None
) -> None:
    """If headers and end are in one packet, gRPC reports the failure like a refusal."""
    pause = () if gap is None else (("sleep", gap),)
    script = play(("headers",), *begin, *pause, end, together=gap is None)
    error, server = request_image(script, tls)
    assert isinstance(error, errors.ApiError)
    assert error.maybe_billed
    assert server.requests == error.attempts == 1


def test_a_hanging_server_is_noticed() -> None:
    """Keepalive pings detect the failure long before the deadline."""

    async def script(call: Call) -> None:
        call.freeze()
        await call.ended.wait()

    quick = [("grpc.keepalive_time_ms", 300), ("grpc.http2.ping_timeout_ms", 200)]
    error, server = request_image(script, channel_options=quick)
    assert isinstance(error, errors.UnavailableError)
    assert error.maybe_billed
    assert server.requests == 1


NO_MESSAGE = {
    "headers": play(("headers",), ("trailers",)),
    "trailers only": play(("only_trailers", 0)),
    "shorter than it says": play(("headers",), ("data", frame(REPLY)[:-1]), ("trailers",)),
    "another message": play(("headers",), ("message", b"\xff" * 100), ("trailers",)),
}


@with_scripts(NO_MESSAGE)
def test_status_ok_without_a_valid_message_may_have_been_billed(script: Script) -> None:
    error, server = request_image(script)
    assert type(error) is errors.ReplyError
    assert "may have been billed" in str(error)
    assert server.requests == 1


def test_metadata_over_our_limit_is_not_retried() -> None:
    """The status is RESOURCE_EXHAUSTED, but not because of a rate limit."""
    script = play(("headers", LONG), ("message", REPLY), ("trailers",))
    limits = [("grpc.max_metadata_size", 1000), ("grpc.absolute_max_metadata_size", 2000)]
    error, server = request_image(script, channel_options=limits)
    assert isinstance(error, errors.ReplyTooLargeError)
    assert error.maybe_billed
    assert server.requests == 1


# --- refusals ---------------------------------------------------------------------------------

UNAVAILABLE_REFUSAL = play(("only_trailers", UNAVAILABLE, "busy", PROXY_HEADER))
EXHAUSTED_REFUSAL = play(("only_trailers", EXHAUSTED, "too many requests", PROXY_HEADER))
HTTP_429 = play(("http", 429))
BACKEND_UNREACHED = play(("only_trailers", UNAVAILABLE, UNREACHED, PROXY_HEADER))
REFUSED = {
    "unavailable": UNAVAILABLE_REFUSAL,
    "exhausted": EXHAUSTED_REFUSAL,
    "exhausted, no proxy": play(("only_trailers", EXHAUSTED, "too many requests")),
    "goaway without this call": play(("goaway", 0)),
    "HTTP 429": HTTP_429,
    "Envoy reached nothing": play(
        ("only_trailers", UNAVAILABLE, f"{ENVOY}remote connection failure", PROXY_HEADER)
    ),
    "the backend was not reached": BACKEND_UNREACHED,
}


@with_scripts(REFUSED)
def test_refusals_are_retried(script: Script, tls: ssl.SSLContext | None) -> None:
    async def refuse_twice(call: Call) -> None:
        await (script(call) if call.number <= 2 else call.answer(REPLY))

    response, server = request_image(refuse_twice, tls)
    assert response.base64 == PICTURE
    assert server.requests == 3


@pytest.mark.parametrize("script", [UNAVAILABLE_REFUSAL, BACKEND_UNREACHED])
def test_five_refusals_were_not_billed(script: Script) -> None:
    """The message calls the server unavailable, not unreachable."""
    error, server = request_image(script)
    assert isinstance(error, errors.UnavailableError)
    assert "is not available (5 attempts)" in str(error)
    assert not error.maybe_billed
    assert server.requests == 5


@pytest.mark.parametrize("refuse", [UNAVAILABLE_REFUSAL, EXHAUSTED_REFUSAL])
def test_a_proof_of_refusal_does_not_depend_on_time(refuse: Script) -> None:
    async def script(call: Call) -> None:
        if call.number == 1:
            await refuse(call)
            time.sleep(0.1)  # noqa: ASYNC251  # the client, on this loop, sees the refusal late
        else:
            await call.answer(REPLY)

    response, server = request_image(script)
    assert response.base64 == PICTURE
    assert server.requests == 2


def test_an_unproven_refusal_says_when_to_try_again() -> None:
    error, _ = request_image(play(("only_trailers", UNAVAILABLE, "busy", ("retry-after", "7"))))
    assert isinstance(error, errors.UnavailableError)
    assert "is not available" in str(error)
    assert "may have been billed" in str(error)
    assert "run it again in 7 s" in str(error)


def test_http_429_is_a_rate_limit() -> None:
    error, _ = request_image(HTTP_429, max_attempts=1)
    assert isinstance(error, errors.RateLimitError)
    assert not error.maybe_billed


@pytest.mark.parametrize("limit", [1, 2])
def test_max_attempts_limits_the_requests(limit: int) -> None:
    error, server = request_image(UNAVAILABLE_REFUSAL, max_attempts=limit)
    assert isinstance(error, errors.UnavailableError)
    assert server.requests == error.attempts == limit


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, "2"])
def test_an_invalid_max_attempts_is_refused(limit: Any) -> None:
    with pytest.raises(errors.OptionError, match="max_attempts"):
        AsyncClient(api_host="localhost:9", max_attempts=limit)


def test_attempts_of_grpcs_core_do_not_multiply_ours() -> None:
    """With a retry policy in the channel options, only the core retries."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    error, server = request_image(
        UNAVAILABLE_REFUSAL,
        channel_options=[("grpc.enable_retries", 1), ("grpc.service_config", config)],
    )
    assert isinstance(error, errors.UnavailableError)
    assert server.requests == 3


async def test_idempotent_calls_are_retried_after_every_failure() -> None:
    models = models_pb2.ListImageGenerationModelsResponse(models=[{"name": "one"}])

    async def script(call: Call) -> None:
        if call.number == 1:
            call.cut()
        elif call.number == 2:
            await call.only_trailers(UNAVAILABLE, "busy")
        else:
            await call.answer(models.SerializeToString())

    async with raw_server(script) as server, AsyncClient(api_host=server.host) as client:
        (model,) = await client.models.list_image_generation_models()
        assert model.name == "one"
        assert server.requests == 3


def test_headers_are_noticed_by_a_busy_event_loop() -> None:
    """A reply that begins and fails while the loop is busy is not retried."""
    calls: list[int] = []

    def answer(_: object, context: Any) -> None:
        calls.append(1)
        context.send_initial_metadata((("x-request-id", "1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

    async def busy() -> None:
        while True:
            await asyncio.sleep(0)
            time.sleep(0.03)  # noqa: ASYNC251  # headers and status arrive while the loop sleeps

    async def main(port: int) -> None:
        async with AsyncClient(api_host=f"localhost:{port}", timeout=30) as client:
            load = asyncio.ensure_future(busy())
            with pytest.raises(errors.UnavailableError) as caught:
                await client.image.sample("p", "m")
            load.cancel()
            assert caught.value.maybe_billed

    server = grpc.server(ThreadPoolExecutor(1))
    generate = {"GenerateImage": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("xai_api.Image", generate),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        asyncio.run(main(port))
    finally:
        server.stop(None)
    assert calls == [1]
