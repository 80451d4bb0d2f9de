"""Retries: which failures are retried, backoff and deadline."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration

from xai_notebook import errors
from xai_notebook.client import AsyncClient, Attempt
from xai_notebook.client.transport.retry import server_hint

CODE = grpc.StatusCode


@pytest.fixture
def fast_retries() -> None:
    """Override `fast_retries`: these tests use the real backoff."""


@pytest.fixture
def fail(fail_then_succeed: Any, reply: Any) -> Any:
    """Return a factory of answers that fail `times` times with a status, then succeed."""

    def make(times: int, code: Any, details: str = "busy", trailing: Any = ()) -> Any:
        options = {"times": times, "code": code, "details": details, "trailing": trailing}
        return fail_then_succeed(reply(base64="AAAA"), **options)

    return make


def sample(client: AsyncClient, **options: Any) -> Any:
    return client.image.sample("p", "m", **options)


def test_unavailable_is_retried(run_call: Any, fail: Any) -> None:
    """`on_attempt` is called for each failed attempt, before the backoff."""
    attempts: list[Attempt] = []
    response, server = run_call(fail(3, CODE.UNAVAILABLE), sample, on_attempt=attempts.append)
    assert response.base64 == "AAAA"
    assert len(server.requests) == 4
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert {(attempt.of, attempt.error_code, attempt.method) for attempt in attempts} == {
        (5, "UNAVAILABLE", "/xai_api.Image/GenerateImage")
    }
    for attempt, expected in zip(attempts, (0.1, 0.2, 0.4), strict=True):
        assert 0.79 * expected <= attempt.wait <= 1.21 * expected
    assert attempts[2].elapsed >= attempts[0].wait + attempts[1].wait


def test_both_callbacks_are_called(run_call: Any, fail: Any) -> None:
    calls: list[str] = []
    run_call(
        fail(1, CODE.UNAVAILABLE),
        lambda client: sample(client, on_attempt=lambda _: calls.append("call")),
        on_attempt=lambda _: calls.append("client"),
    )
    assert calls == ["client", "call"]


def test_a_failing_callback_is_logged_and_the_reply_arrives(
    run_call: Any, fail: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(attempt: Attempt) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.WARNING):
        response, _ = run_call(fail(1, CODE.UNAVAILABLE), sample, on_attempt=broken)
    assert response.base64 == "AAAA"
    assert "ZeroDivisionError" in caplog.text


def test_a_rate_limit_is_retried(run_call: Any, fail: Any) -> None:
    """The backoff is longer than for UNAVAILABLE."""
    attempts: list[Attempt] = []
    answer = fail(1, CODE.RESOURCE_EXHAUSTED, "rate limit exceeded")
    response, _ = run_call(answer, sample, on_attempt=attempts.append)
    assert response.base64 == "AAAA"
    assert attempts[0].error_code == "RESOURCE_EXHAUSTED"
    assert 0.4 <= attempts[0].wait <= 0.6


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (CODE.DEADLINE_EXCEEDED, "too slow", errors.DeadlineExceededError),
        (CODE.RESOURCE_EXHAUSTED, "Received message larger than max (30000000 vs. 20971520)",
         errors.ReplyTooLargeError),
        (CODE.RESOURCE_EXHAUSTED, "SERVER: Sent message larger than max (3 vs. 2)",
         errors.ReplyTooLargeError),
        (CODE.INTERNAL, "oops", errors.ServerError),
        (CODE.ABORTED, "oops", errors.ServerError),
        (CODE.UNKNOWN, "oops", errors.ServerError),
        (CODE.INVALID_ARGUMENT, "n", errors.InvalidRequestError),
        (CODE.CANCELLED, "no", errors.CallCancelledError),
    ],
)  # fmt: skip
def test_other_failures_are_not_retried(
    run_call: Any, fail: Any, code: Any, details: str, kind: type
) -> None:
    error, server = run_call(fail(9, code, details), sample)
    assert type(error) is kind
    assert len(server.requests) == 1


def test_a_reply_over_the_size_limit_is_not_retried(run_call: Any, reply: Any) -> None:
    limit = [("grpc.max_receive_message_length", 1000)]
    error, server = run_call(reply(base64="A" * 2000), sample, channel_options=limit)
    assert type(error) is errors.ReplyTooLargeError
    assert len(server.requests) == 1


def test_the_deadline_covers_all_attempts(run_call: Any, fail: Any) -> None:
    """The call fails early if the deadline leaves no time for another attempt."""
    pause = [("grpc-retry-pushback-ms", "3000")]  # two attempts fit, even on a busy machine
    answer = fail(9, CODE.UNAVAILABLE, trailing=pause)
    error, server = run_call(answer, lambda client: sample(client, timeout=5))
    assert isinstance(error, errors.UnavailableError)
    assert 1 < len(server.requests) < 5
    assert server.deadlines[1] < server.deadlines[0] - 0.05


def test_a_slow_server_causes_deadline_exceeded(run_call: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await asyncio.sleep(30)

    begin = time.monotonic()
    error, server = run_call(answer, lambda client: sample(client, timeout=1.5))
    assert 1 < time.monotonic() - begin < 15
    assert isinstance(error, errors.DeadlineExceededError)
    assert isinstance(error, TimeoutError)
    assert "1.5 s" in str(error)
    assert len(server.requests) == 1


def status_with_retry_info(duration: Duration) -> bytes:
    """Return a google.rpc.Status with a Help, and a RetryInfo that asks for this delay."""
    delay = duration.SerializeToString()
    info = AnyMessage(
        type_url="type.googleapis.com/google.rpc.RetryInfo",
        value=b"\x0a" + bytes([len(delay)]) + delay,
    ).SerializeToString()
    other = AnyMessage(type_url="type.googleapis.com/google.rpc.Help").SerializeToString()
    details = b"".join(b"\x1a" + bytes([len(detail)]) + detail for detail in (other, info))
    return b"\x08\x08\x12\x04busy" + details


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc-retry-pushback-ms", "300"),
        ("retry-after", "0.3"),
        ("grpc-status-details-bin", status_with_retry_info(Duration(nanos=300_000_000))),
    ],
)
def test_a_retry_hint_is_followed(run_call: Any, fail: Any, name: str, value: Any) -> None:
    attempts: list[Attempt] = []
    answer = fail(1, CODE.UNAVAILABLE, trailing=((name, value),))
    response, _ = run_call(answer, sample, on_attempt=attempts.append)
    assert response.base64 == "AAAA"
    assert attempts[0].wait == pytest.approx(0.3)


def test_a_retry_hint_that_overflows_timedelta_ends_the_call(run_call: Any, fail: Any) -> None:
    status = status_with_retry_info(Duration(seconds=1 << 62))
    trailing = (("grpc-status-details-bin", status),)
    error, server = run_call(fail(9, CODE.UNAVAILABLE, trailing=trailing), sample)
    assert isinstance(error, errors.UnavailableError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("trailing", "wait"),
    [((("grpc-retry-pushback-ms", "-1"),), []), ((("retry-after", "3600"),), ["3600 s"])],
)
def test_a_long_or_negative_retry_hint_ends_the_call(
    run_call: Any, fail: Any, trailing: Any, wait: list[str]
) -> None:
    """If the wait is too long, the message states it."""
    answer = fail(9, CODE.RESOURCE_EXHAUSTED, trailing=trailing)
    error, server = run_call(answer, sample)
    assert isinstance(error, errors.RateLimitError)
    assert len(server.requests) == 1
    assert re.findall("3600 s", str(error)) == wait


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("retry-after", "nan"),
        ("retry-after", "inf"),
        ("grpc-status-details-bin", b"\xff" * 40),
        ("grpc-status-details-bin", b"\xff" * 1_000_000),
        ("grpc-status-details-bin", b"\x1a\xff"),
        ("grpc-status-details-bin", b""),
    ],
)
def test_invalid_retry_hints_are_ignored(name: str, value: Any) -> None:
    metadata = grpc.aio.Metadata((name, value))
    error = grpc.aio.AioRpcError(CODE.UNAVAILABLE, grpc.aio.Metadata(), metadata)
    assert server_hint(error) == 0


async def test_a_call_reconnects_to_a_server_that_starts_late(serve: Any, reply: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with AsyncClient(api_host=f"localhost:{port}") as client:
        task = asyncio.create_task(client.image.sample("p", "m"))
        await asyncio.sleep(0.25)
        async with serve(reply(base64="AAAA"), port=port):
            assert (await task).base64 == "AAAA"
