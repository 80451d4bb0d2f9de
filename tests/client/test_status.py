"""Translation of gRPC statuses into errors with cause and cure."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from xai_notebook import errors
from xai_notebook.client.transport.call import FailureKind
from xai_notebook.client.transport.status import (
    MAX_DETAILS,
    CallInfo,
    one_line,
    scrub_error,
    translate,
)
from xai_notebook.settings import ApiKey

CODE = grpc.StatusCode
EXPECTED = {
    CODE.CANCELLED: errors.CallCancelledError,
    CODE.UNKNOWN: errors.ServerError,
    CODE.INVALID_ARGUMENT: errors.InvalidRequestError,
    CODE.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    CODE.NOT_FOUND: errors.NotFoundError,
    CODE.ALREADY_EXISTS: errors.ServerError,
    CODE.PERMISSION_DENIED: errors.PermissionDeniedError,
    CODE.RESOURCE_EXHAUSTED: errors.RateLimitError,
    CODE.FAILED_PRECONDITION: errors.InvalidRequestError,
    CODE.ABORTED: errors.ServerError,
    CODE.OUT_OF_RANGE: errors.InvalidRequestError,
    CODE.UNIMPLEMENTED: errors.ServerError,
    CODE.INTERNAL: errors.ServerError,
    CODE.UNAVAILABLE: errors.UnavailableError,
    CODE.DATA_LOSS: errors.ServerError,
    CODE.UNAUTHENTICATED: errors.AuthenticationError,
}


def failure(code: Any, details: str = "") -> grpc.aio.AioRpcError:
    """Return the error grpc.aio raises for a status."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def info(key: str | None = "xai-secret-key", model: str = "grok-x") -> CallInfo:
    """Return the description of a call to api.x.ai."""
    return CallInfo("api.x.ai", ApiKey(key) if key else None, model, timeout=30.0, attempts=2)


@pytest.mark.parametrize("code", [code for code in CODE if code is not CODE.OK])
def test_every_status_is_mapped(code: Any) -> None:
    """The error has the status, the details, the attempts and a message of two short lines."""
    error = translate(failure(code, "because"), info())
    assert type(error) is EXPECTED[code]
    assert (error.code, error.details, error.attempts) == (code.name, "because", 2)
    lines = str(error).splitlines()
    assert len(lines) == 2
    assert lines[1] == "Details: because"
    assert all(len(line) < 160 for line in lines)
    assert "api.x.ai" in str(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (CODE.UNAUTHENTICATED, ["XAI_API_KEY", "console.x.ai"]),
        (CODE.PERMISSION_DENIED, ["console.x.ai"]),
        (CODE.NOT_FOUND, ["'grok-x'"]),
        (CODE.UNAVAILABLE, ["is not available", "2 attempts", "later"]),
        (CODE.DEADLINE_EXCEEDED, ["30 s", "billed", "timeout"]),
        (CODE.RESOURCE_EXHAUSTED, ["Too many requests", "quota", "later"]),
    ],
)
def test_messages_name_the_cure(code: Any, words: list[str]) -> None:
    message = str(translate(failure(code), info(), FailureKind.REFUSED))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: refused",
        "errors resolving nosuch.invalid:443: [field:hostname lookup error]",
    ],
)
def test_the_message_says_that_a_server_cannot_be_reached(details: str) -> None:
    error = translate(failure(CODE.UNAVAILABLE, details), info())
    assert type(error) is errors.UnavailableError
    assert not error.maybe_billed
    for word in ("cannot be reached", "2 attempts", "HTTPS_PROXY", "XAI_API_HOST"):
        assert word in str(error)


def test_a_deadline_of_the_server_is_not_reported_as_our_timeout() -> None:
    call = CallInfo("api.x.ai", None, "grok-x", timeout=1620.0, elapsed=0.004)
    message = str(translate(failure(CODE.DEADLINE_EXCEEDED, "too slow"), call))
    assert "1620" not in message
    assert "gave up after 0.004 s" in message
    assert "billed" in message


@pytest.mark.parametrize("details", ["Method not found!", "Received http2 header with status: 404"])
def test_missing_methods_are_not_temporary(details: str) -> None:
    """The message names XAI_API_HOST, and nothing was billed."""
    error = translate(failure(CODE.UNIMPLEMENTED, details), info())
    assert "XAI_API_HOST" in str(error)
    assert "later" not in str(error)
    assert not error.maybe_billed


@pytest.mark.parametrize(
    ("code", "details", "billed"),
    [
        (CODE.INVALID_ARGUMENT, "n", False),
        (CODE.INVALID_ARGUMENT, "Generated image rejected by content moderation.", True),
        (CODE.UNAVAILABLE, "busy", True),
        (CODE.RESOURCE_EXHAUSTED, "quota", False),
        (CODE.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max (9 vs. 8)", False),
        (CODE.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 8)", False),
        (CODE.RESOURCE_EXHAUSTED, "SERVER: Sent message larger than max (9 vs. 8)", True),
        (CODE.INTERNAL, "oops", True),
        (CODE.DEADLINE_EXCEEDED, "Deadline Exceeded", True),
        (CODE.UNAVAILABLE, "Stream removed (Socket closed)", True),
        (CODE.UNAVAILABLE, "Socket closed", True),
    ],
)
def test_failures_that_may_have_been_billed_are_marked(
    code: Any, details: str, *, billed: bool
) -> None:
    assert translate(failure(code, details), info()).maybe_billed is billed


def test_the_error_asks_for_a_missing_key() -> None:
    error = translate(failure(CODE.UNAUTHENTICATED), info(key=None))
    assert "asks for an API key" in str(error)


@pytest.mark.parametrize("field", ["date", "server"])
@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.RESOURCE_EXHAUSTED])
def test_a_trailers_only_response_with_date_or_server_was_not_billed(code: Any, field: str) -> None:
    """The fields of its head are in gRPC's trailing metadata."""
    head = grpc.aio.Metadata((field, "x"))
    refused = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), head, "busy")
    assert not translate(refused, info()).maybe_billed
    begun = grpc.aio.AioRpcError(code, grpc.aio.Metadata(("x", "y")), head, "busy")
    assert translate(begun, info()).maybe_billed


def test_the_message_says_that_a_request_is_too_large() -> None:
    """The class is the one for replies that are too large."""
    details = "CLIENT: Sent message larger than max (9 vs. 8)"
    error = translate(failure(CODE.RESOURCE_EXHAUSTED, details), info())
    assert type(error) is errors.ReplyTooLargeError
    assert "request is too large" in str(error)


def test_other_grpc_errors_are_translated() -> None:
    for kind in (grpc.aio.UsageError, grpc.aio.InternalError):
        assert type(translate(kind("closed"), info())) is errors.ServerError


def test_untrusted_text_is_cleaned() -> None:
    text = "a\x1b[31m\u202eb\r\n\tc\x00" + "d" * 10_000
    cleaned = one_line(text)
    assert cleaned.startswith("a [31m b c d")
    assert len(cleaned) == MAX_DETAILS
    assert cleaned.endswith("…")


def test_a_huge_status_makes_a_short_message() -> None:
    error = translate(failure(CODE.INTERNAL, "x" * (1 << 20)), info(model="y" * 10_000))
    assert len(str(error)) < 800


def test_an_error_without_the_key_is_not_copied() -> None:
    error = failure(CODE.INTERNAL, "oops")
    assert scrub_error(error, ApiKey("xai-secret-key")) is error
