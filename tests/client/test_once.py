"""An order is sent again only where nothing came of it, and a whole message is always kept."""

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

UNAVAILABLE, EXHAUSTED, INTERNAL = 14, 8, 13
PICTURE = "QUJD" * 100
REPLY = image_pb2.ImageResponse(
    images=[image_pb2.GeneratedImage(base64=PICTURE, respect_moderation=True)]
).SerializeToString()
LARGE = image_pb2.ImageResponse(
    images=[image_pb2.GeneratedImage(base64="QUJD" * (17 << 18), respect_moderation=True)]
).SerializeToString()
HEAD = ("server", "envoy")
"""What a proxy adds to the head of every response: it shows that a status is a refusal."""
LONG = ("x-long", "a" * 20_000)
UNREACHED = "failed to connect to all addresses; last error: UNKNOWN: Connection refused"
BEGUN = 0.2
"""Seconds after which headers that came alone are known to be those of a reply."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority."""
    return trustme.CA()


@pytest.fixture(params=[False, True], ids=["in clear", "over TLS"])
def tls(
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> ssl.SSLContext | None:
    """How the server is spoken to: over TLS gRPC has other words for some failures."""
    if not request.param:
        return None
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    return context


def order(
    script: Callable[[Call], Awaitable[None]], tls: ssl.SSLContext | None = None, **options: Any
) -> tuple[ImageResponse | errors.XaiError, RawServer]:
    """Ask a server that does what `script` says for one image."""

    async def main() -> tuple[ImageResponse | errors.XaiError, RawServer]:
        async with raw_server(script, tls=tls) as server:
            host = f"https://{server.host}" if tls else server.host
            return await ask(host, server)

    async def ask(
        host: str, server: RawServer
    ) -> tuple[ImageResponse | errors.XaiError, RawServer]:
        async with AsyncClient("a-key", api_host=host, timeout=30, **options) as client:
            try:
                return await client.image.sample("p", "m", image_format="base64"), server
            except errors.XaiError as error:
                return error, server

    return asyncio.run(main())


# --- a whole message --------------------------------------------------------------------------


async def then_cut(call: Call) -> None:
    """Drop the connection."""
    call.cut()


async def then_closed(call: Call) -> None:
    """Close the connection."""
    await call.close()


async def then_reset(call: Call) -> None:
    """Reset the stream."""
    await call.reset(2)


async def then_goaway(call: Call) -> None:
    """Say that the connection ends, and end it."""
    await call.goaway()
    call.cut()


async def then_silence(call: Call) -> None:
    """Say nothing any more."""
    await asyncio.sleep(30)


async def then_unavailable(call: Call) -> None:
    """Send trailers that say it failed."""
    await call.trailers(UNAVAILABLE, "busy")


async def then_exhausted(call: Call) -> None:
    """Send trailers that say it was too much."""
    await call.trailers(EXHAUSTED, "busy")


async def then_another(call: Call) -> None:
    """Send a second message, which no unary call has."""
    await call.message(b"\xff" * 100)
    await call.trailers()


async def then_long_trailers(call: Call) -> None:
    """Send more metadata than gRPC takes by default."""
    await call.trailers(0, "", LONG)


AFTER = [
    then_cut, then_closed, then_reset, then_goaway, then_silence, then_unavailable, then_exhausted,
    then_another, then_long_trailers,
]  # fmt: skip


@pytest.mark.parametrize("after", AFTER, ids=lambda after: after.__name__)
def test_a_whole_message_is_kept_whatever_comes_after(
    after: Callable[[Call], Awaitable[None]], tls: ssl.SSLContext | None
) -> None:
    """The picture arrives and one order was sent, though its trailers never came."""

    async def script(call: Call) -> None:
        await call.headers()
        await call.message(REPLY)
        await asyncio.sleep(0.01)  # a TCP reset can overtake what it follows
        await after(call)

    response, server = order(script, tls)
    assert response.base64 == PICTURE
    assert len(server.orders) == 1


def test_a_message_is_kept_though_the_stream_ends_in_the_same_packet() -> None:
    """The reading begins before the headers come, or this would be a matter of luck."""

    async def script(call: Call) -> None:
        with call.one_packet():
            await call.headers()
            await call.message(REPLY)
            await call.reset(2)

    for _ in range(20):
        response, server = order(script)
        assert response.base64 == PICTURE
        assert len(server.orders) == 1


def test_a_large_message_is_kept_though_its_connection_breaks() -> None:
    """17 MiB came whole, the trailers did not."""

    async def script(call: Call) -> None:
        await call.headers()
        await call.message(LARGE)
        await asyncio.sleep(0.1)
        call.cut()

    response, server = order(script)
    assert len(response.base64) == 17 << 20
    assert len(server.orders) == 1


def test_long_leading_metadata_is_taken() -> None:
    """20 kB before the message cost neither the picture nor a second order."""

    async def script(call: Call) -> None:
        await call.headers(LONG)
        await call.message(REPLY)
        await call.trailers()

    response, server = order(script)
    assert response.base64 == PICTURE
    assert len(server.orders) == 1


def test_a_server_that_never_ends_a_call_is_told_to() -> None:
    """A call whose message has come is cancelled when its trailers do not follow."""

    async def main() -> None:
        ended = asyncio.Event()

        async def script(call: Call) -> None:
            await call.headers()
            await call.message(REPLY)
            await call.ended.wait()
            ended.set()

        async with raw_server(script) as server, AsyncClient(api_host=server.host) as client:
            await client.image.sample("p", "m")
            await asyncio.wait_for(ended.wait(), 20)

    asyncio.run(main())


def test_a_call_that_has_ended_holds_nothing() -> None:
    """Neither its request nor its connection waits for the garbage collector."""

    async def script(call: Call) -> None:
        if call.number % 2:
            await call.answer(REPLY)
        else:
            await call.only_trailers(UNAVAILABLE, "busy")

    async def main() -> None:
        async with (
            raw_server(script) as server,
            AsyncClient(api_host=server.host, max_attempts=1) as client,
        ):
            for _ in range(10):
                with contextlib.suppress(errors.UnavailableError):
                    await client.image.sample("p", "m")
            for _ in range(200):  # the last may not have heard of its end yet
                if not any(isinstance(one, grpc.aio.StreamStreamCall) for one in gc.get_objects()):
                    return
                await asyncio.sleep(0.01)
            pytest.fail("a call is still there")

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


# --- a reply that had begun -------------------------------------------------------------------


async def cut_after_3_of_17_mib(call: Call) -> None:
    """Break in the middle of a large picture."""
    await call.headers()
    await call.data(frame(LARGE)[: 3 << 20])
    call.cut()


async def cut_after_headers(call: Call) -> None:
    """Break when nothing but headers was sent."""
    await call.headers()
    call.cut()


async def sixty_percent(call: Call) -> None:
    """Break in the middle of a small picture."""
    await call.headers()
    await call.data(frame(REPLY)[: len(REPLY) * 6 // 10])
    call.cut()


async def headers_then_unavailable(call: Call) -> None:
    """Begin a reply and give up."""
    await call.headers()
    await asyncio.sleep(BEGUN)
    await call.trailers(UNAVAILABLE, "busy")


async def headers_then_exhausted(call: Call) -> None:
    """Begin a reply and call it too much."""
    await call.headers()
    await asyncio.sleep(BEGUN)
    await call.trailers(EXHAUSTED, "busy")


async def metadata_then_unavailable(call: Call) -> None:
    """Begin a reply as services behind a proxy do, and give up at once."""
    await asyncio.sleep(BEGUN)  # no answer from afar is as quick as one from this loop
    with call.one_packet():
        await call.headers(("date", "today"))
        await call.trailers(UNAVAILABLE, "busy")


async def metadata_then_exhausted(call: Call) -> None:
    """The same, and call it too much."""
    await asyncio.sleep(BEGUN)
    with call.one_packet():
        await call.headers(("date", "today"))
        await call.trailers(EXHAUSTED, "busy")


async def begun_but_unreachable(call: Call) -> None:
    """Begin a reply, and say of a server behind what gRPC says of one it never reached."""
    await call.headers(("date", "today"))
    await call.trailers(UNAVAILABLE, UNREACHED)


async def part_then_unreachable(call: Call) -> None:
    """The same in the middle of the message."""
    await call.headers()
    await call.data(frame(REPLY)[:50])
    await asyncio.sleep(BEGUN)
    await call.trailers(UNAVAILABLE, "DNS resolution failed for backend:443")


async def begun_but_too_large(call: Call) -> None:
    """Begin a reply, and say what gRPC says of a request that was never sent."""
    await call.headers(("date", "today"))
    await call.trailers(EXHAUSTED, "CLIENT: Sent message larger than max (9 vs. 1)")


async def part_then_unavailable(call: Call) -> None:
    """Give up in the middle of the message."""
    await call.headers()
    await call.data(frame(REPLY)[:50])
    await asyncio.sleep(BEGUN)
    await call.trailers(UNAVAILABLE, "busy")


async def reset_in_the_middle(call: Call) -> None:
    """Reset the stream in the middle of the message."""
    await call.headers()
    await call.data(frame(REPLY)[:50])
    await call.reset(2)


async def refused_in_the_middle(call: Call) -> None:
    """Call a stream refused that is being answered."""
    await call.headers()
    await asyncio.sleep(BEGUN)
    await call.reset(7)


async def goaway_in_the_middle(call: Call) -> None:
    """End the connection in the middle of the message."""
    await call.headers()
    await call.data(frame(REPLY)[:50])
    await call.goaway()
    call.cut()


# --- fates that nobody knows ------------------------------------------------------------------


async def reset_by_error(call: Call) -> None:
    """Reset the stream instead of answering."""
    await call.reset(2)


async def calm_down(call: Call) -> None:
    """Reset the stream for too much traffic."""
    await call.reset(11)


async def goaway_with_ours(call: Call) -> None:
    """End the connection, having taken the request."""
    await call.goaway()
    call.cut()


async def bad_gateway(call: Call) -> None:
    """Answer as a proxy whose server hung up."""
    await call.http(502, b"<html>")


async def unavailable_page(call: Call) -> None:
    """Answer as a proxy whose server is gone."""
    await call.http(503, b"<html>")


async def unavailable_in_one_frame(call: Call) -> None:
    """The same without a page."""
    await call.http(503)


async def gateway_timeout(call: Call) -> None:
    """Answer as a proxy whose server was too slow."""
    await call.http(504, b"<html>")


async def envoy_lost_it(call: Call) -> None:
    """Answer in gRPC as a proxy whose server hung up."""
    said = "upstream connect error or disconnect/reset before headers. reset reason: "
    await call.only_trailers(UNAVAILABLE, f"{said}connection termination", HEAD)


async def refused_stream(call: Call) -> None:
    """Refuse the stream. gRPC shows the same where a reply had begun."""
    await call.reset(7)


async def bare_unavailable(call: Call) -> None:
    """Refuse with gRPC's own fields alone. gRPC shows the same where a reply had begun."""
    await call.only_trailers(UNAVAILABLE, "busy")


async def metadata_in_trailers(call: Call) -> None:
    """Begin a reply, and end it with metadata of the service itself."""
    with call.one_packet():
        await call.headers()
        await call.trailers(UNAVAILABLE, "busy", ("x-request-id", "1"), ("retry-after", "1"))


async def cloudflare_lost_it(call: Call) -> None:
    """Answer as Cloudflare does whose server was too slow."""
    await call.http(524, b"<html>")


async def no_http2(call: Call) -> None:
    """Answer with bytes that mean nothing, and that gRPC calls too large a frame."""
    await call.raw(b"\xff" * 100)


async def shut_down(call: Call) -> None:
    """Answer as gRPC's own server when it is stopped."""
    await call.only_trailers(UNAVAILABLE, "Cancelling all calls")


BROKEN = [
    cut_after_3_of_17_mib, cut_after_headers, sixty_percent, headers_then_unavailable,
    headers_then_exhausted, metadata_then_unavailable, metadata_then_exhausted,
    part_then_unavailable, reset_in_the_middle, refused_in_the_middle, goaway_in_the_middle,
    begun_but_unreachable, part_then_unreachable, begun_but_too_large,
    then_cut, then_closed, reset_by_error, calm_down, goaway_with_ours, bad_gateway,
    unavailable_page, unavailable_in_one_frame, gateway_timeout, envoy_lost_it, cloudflare_lost_it,
    no_http2, shut_down, refused_stream, bare_unavailable, metadata_in_trailers,
]  # fmt: skip


@pytest.mark.parametrize("script", BROKEN, ids=lambda script: script.__name__)
def test_what_may_have_been_made_is_not_ordered_again(
    script: Callable[[Call], Awaitable[None]], tls: ssl.SSLContext | None
) -> None:
    """One order, and an error that says it may have been billed."""
    error, server = order(script, tls)
    assert isinstance(error, errors.ApiError)
    assert error.maybe_billed
    assert "may have been billed" in str(error)
    assert len(str(error).splitlines()) <= 2
    assert len(server.orders) == error.attempts == 1


async def unavailable_at_last(call: Call) -> None:
    """End a reply with UNAVAILABLE."""
    await call.trailers(UNAVAILABLE, "busy")


async def refused_at_last(call: Call) -> None:
    """End a reply with REFUSED_STREAM."""
    await call.reset(7)


async def reset_at_last(call: Call) -> None:
    """End a reply with INTERNAL_ERROR."""
    await call.reset(2)


@pytest.mark.parametrize("gap", [None, 0, 0.001, 0.005, 0.02, 0.05], ids=lambda gap: f"gap {gap}")
@pytest.mark.parametrize("sent", [0, 50], ids=["bare headers", "half a message"])
@pytest.mark.parametrize(
    "end",
    [unavailable_at_last, refused_at_last, reset_at_last],
    ids=lambda end: end.__name__,
)
def test_a_reply_that_breaks_off_at_any_moment_is_not_ordered_again(
    end: Callable[[Call], Awaitable[None]],
    sent: int,
    gap: float | None,
    tls: ssl.SSLContext | None,
) -> None:
    """In one packet, where gRPC shows what it shows of a refusal, and in two some time apart."""

    async def begin(call: Call) -> None:
        await call.headers()
        if sent:
            await call.data(frame(REPLY)[:sent])

    async def script(call: Call) -> None:
        if gap is None:
            with call.one_packet():
                await begin(call)
                await end(call)
        else:
            await begin(call)
            await asyncio.sleep(gap)
            await end(call)

    error, server = order(script, tls)
    assert isinstance(error, errors.ApiError)
    assert error.maybe_billed
    assert len(server.orders) == error.attempts == 1


def test_a_server_that_stands_still_is_noticed() -> None:
    """On loopback too, long before the deadline; nobody knows whether it served the request."""

    async def script(call: Call) -> None:
        call.freeze()
        await call.ended.wait()

    quick = [("grpc.keepalive_time_ms", 1000), ("grpc.http2.ping_timeout_ms", 500)]
    error, server = order(script, channel_options=quick)
    assert isinstance(error, errors.UnavailableError)
    assert error.maybe_billed
    assert len(server.orders) == 1


async def nothing(call: Call) -> None:
    """Say OK with nothing before it."""
    await call.headers()
    await call.trailers()


async def nothing_at_all(call: Call) -> None:
    """Say OK instead of a reply."""
    await call.only_trailers(0)


async def shorter_than_it_says(call: Call) -> None:
    """Say OK in the middle of the message."""
    await call.headers()
    await call.data(frame(REPLY)[:-1])
    await call.trailers()


async def no_message_of_ours(call: Call) -> None:
    """Say OK after bytes that mean nothing."""
    await call.headers()
    await call.message(b"\xff" * 100)
    await call.trailers()


@pytest.mark.parametrize(
    "script",
    [nothing, nothing_at_all, shorter_than_it_says, no_message_of_ours],
    ids=lambda script: script.__name__,
)
def test_ok_without_a_picture_is_an_error(script: Callable[[Call], Awaitable[None]]) -> None:
    """ReplyError, once, and it says that it may have been billed."""
    error, server = order(script)
    assert type(error) is errors.ReplyError
    assert "may have been billed" in str(error)
    assert len(server.orders) == 1


def test_metadata_over_a_limit_of_ours_is_no_rate_limit() -> None:
    """It comes as RESOURCE_EXHAUSTED; the order is not repeated."""

    async def script(call: Call) -> None:
        await call.headers(LONG)
        await call.message(REPLY)
        await call.trailers()

    limits = [("grpc.max_metadata_size", 1000), ("grpc.absolute_max_metadata_size", 2000)]
    error, server = order(script, channel_options=limits)
    assert isinstance(error, errors.ReplyTooLargeError)
    assert error.maybe_billed
    assert len(server.orders) == 1


# --- refusals ---------------------------------------------------------------------------------


async def unavailable(call: Call) -> None:
    """Refuse, as a service behind a proxy does."""
    await call.only_trailers(UNAVAILABLE, "busy", HEAD)


async def exhausted(call: Call) -> None:
    """Refuse, by rate."""
    await call.only_trailers(EXHAUSTED, "too many requests", HEAD)


async def bare_exhausted(call: Call) -> None:
    """Refuse by rate, with gRPC's own fields alone."""
    await call.only_trailers(EXHAUSTED, "too many requests")


async def goaway_without_ours(call: Call) -> None:
    """End the connection, not having taken the request."""
    await call.goaway(0)


async def too_many_in_http(call: Call) -> None:
    """Refuse as a proxy does."""
    await call.http(429)


async def backend_reached_nobody(call: Call) -> None:
    """Refuse as a server whose own call found nobody, and which hands on what gRPC said of it."""
    await call.only_trailers(UNAVAILABLE, UNREACHED, HEAD)


async def envoy_reached_nobody(call: Call) -> None:
    """Refuse as a proxy whose server is down."""
    said = "upstream connect error or disconnect/reset before headers. reset reason: "
    await call.only_trailers(UNAVAILABLE, f"{said}remote connection failure", HEAD)


@pytest.mark.parametrize(
    "refuse",
    [unavailable, exhausted, bare_exhausted, goaway_without_ours, too_many_in_http,
     envoy_reached_nobody, backend_reached_nobody],
    ids=lambda refuse: refuse.__name__,
)  # fmt: skip
def test_what_was_refused_is_ordered_again(
    refuse: Callable[[Call], Awaitable[None]], tls: ssl.SSLContext | None
) -> None:
    """Refused twice before it began: three attempts, one picture."""

    async def script(call: Call) -> None:
        if call.number <= 2:
            await refuse(call)
        else:
            await call.answer(REPLY)

    response, server = order(script, tls)
    assert response.base64 == PICTURE
    assert len(server.orders) == 3


@pytest.mark.parametrize("refuse", [unavailable, backend_reached_nobody])
def test_refusals_to_the_end_were_not_billed(refuse: Callable[[Call], Awaitable[None]]) -> None:
    """After five of them the server is called unavailable, not unreachable."""
    error, server = order(refuse)
    assert isinstance(error, errors.UnavailableError)
    assert "is not available (5 attempts)" in str(error)
    assert not error.maybe_billed
    assert len(server.orders) == 5


@pytest.mark.parametrize("refuse", [unavailable, exhausted])
def test_a_proven_refusal_is_known_however_late_our_loop_is(
    refuse: Callable[[Call], Awaitable[None]],
) -> None:
    """The proof is in the answer: a busy computer changes nothing."""

    async def script(call: Call) -> None:
        if call.number == 1:
            await refuse(call)
            time.sleep(0.1)  # noqa: ASYNC251  # server and client share the loop
        else:
            await call.answer(REPLY)

    response, server = order(script)
    assert response.base64 == PICTURE
    assert len(server.orders) == 2


def test_an_unproven_refusal_says_when_to_try_again() -> None:
    """The error names the cause, what may have been billed, and the server's wish."""

    async def script(call: Call) -> None:
        await call.only_trailers(UNAVAILABLE, "busy", ("retry-after", "7"))

    error, _ = order(script)
    assert isinstance(error, errors.UnavailableError)
    assert "is not available" in str(error)
    assert "may have been billed" in str(error)
    assert "run it again in 7 s" in str(error)


def test_too_many_requests_in_http_is_a_rate_limit() -> None:
    """A 429 of a proxy says so, whatever status gRPC makes of it."""
    error, _ = order(too_many_in_http, max_attempts=1)
    assert isinstance(error, errors.RateLimitError)
    assert not error.maybe_billed


@pytest.mark.parametrize("most", [1, 2])
def test_the_number_of_attempts_can_be_chosen(most: int) -> None:
    """`max_attempts=1` sends nothing a second time."""
    error, server = order(unavailable, max_attempts=most)
    assert isinstance(error, errors.UnavailableError)
    assert len(server.orders) == error.attempts == most


@pytest.mark.parametrize("most", [0, -1, 1.5, None, "2"])
def test_a_wrong_number_of_attempts_is_refused(most: Any) -> None:
    """It is an OptionError, before anything is opened."""
    with pytest.raises(errors.OptionError, match="max_attempts"):
        AsyncClient(api_host="localhost:9", max_attempts=most)


def test_attempts_of_grpcs_core_do_not_multiply_ours() -> None:
    """With a retry policy in the channel options, the core makes its attempts and we make none."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    error, server = order(
        unavailable,
        channel_options=[("grpc.enable_retries", 1), ("grpc.service_config", config)],
    )
    assert isinstance(error, errors.UnavailableError)
    assert len(server.orders) == 3


def test_a_question_that_costs_nothing_is_asked_again() -> None:
    """A list of models that was cut off, or refused without a proof, is asked for once more."""
    models = models_pb2.ListImageGenerationModelsResponse(
        models=[models_pb2.ImageGenerationModel(name="one")]
    )

    async def script(call: Call) -> None:
        if call.number == 1:
            call.cut()
        elif call.number == 2:
            await call.only_trailers(UNAVAILABLE, "busy")
        else:
            await call.answer(models.SerializeToString())

    async def main() -> None:
        async with raw_server(script) as server, AsyncClient(api_host=server.host) as client:
            (model,) = await client.models.list_image_generation_models()
            assert model.name == "one"
            assert len(server.orders) == 3

    asyncio.run(main())


def test_a_reply_that_begins_and_fails_faster_than_we_look_is_not_asked_for_again() -> None:
    """Its headers are waited for before the request leaves, however late our loop comes to them."""
    calls: list[int] = []

    def answer(_: object, context: Any) -> None:
        calls.append(1)
        context.send_initial_metadata((("x-request-id", "1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

    async def busy() -> None:
        while True:
            await asyncio.sleep(0)
            time.sleep(0.03)  # noqa: ASYNC251  # the answer is there when the loop goes on

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
