"""gRPC statuses become errors that name cause and cure."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from xai_notebook import errors
from xai_notebook.client.status import MAX_SAID, CallInfo, clean, scrubbed, translate
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
    """Return a call to the real host."""
    return CallInfo("api.x.ai", ApiKey(key) if key else None, model, timeout=30.0, attempts=2)


@pytest.mark.parametrize("code", [code for code in CODE if code is not CODE.OK])
def test_every_status_is_mapped(code: Any) -> None:
    """Each gRPC status has its error, with status, details, attempts and two short lines."""
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
        (CODE.UNAVAILABLE, ["2 attempts", "HTTPS_PROXY", "XAI_API_HOST"]),
        (CODE.DEADLINE_EXCEEDED, ["30 s", "billed", "timeout"]),
        (CODE.RESOURCE_EXHAUSTED, ["Too many requests", "quota", "later"]),
    ],
)
def test_messages_name_the_cure(code: Any, words: list[str]) -> None:
    """A message says what to do."""
    message = str(translate(failure(code), info()))
    for word in words:
        assert word in message


def test_a_missing_key_is_not_called_wrong() -> None:
    """UNAUTHENTICATED without a key asks for one."""
    message = str(translate(failure(CODE.UNAUTHENTICATED), info(key=None)))
    assert "asks for an API key" in message


def test_a_request_over_the_limit_is_told_from_a_reply() -> None:
    """A request that is too large to be sent is not blamed on the reply."""
    details = "CLIENT: Sent message larger than max (9 vs. 8)"
    error = translate(failure(CODE.RESOURCE_EXHAUSTED, details), info())
    assert type(error) is errors.ReplyTooLargeError
    assert "request is too large" in str(error)


def test_foreign_grpc_errors_are_translated() -> None:
    """UsageError and InternalError of grpc.aio become ServerError."""
    for kind in (grpc.aio.UsageError, grpc.aio.InternalError):
        assert type(translate(kind("closed"), info())) is errors.ServerError


def test_untrusted_text_is_cleaned() -> None:
    """Control and reordering characters are dropped, lines joined, length bounded."""
    text = "a\x1b[31m\u202eb\r\n\tc\x00" + "d" * 10_000
    cleaned = clean(text)
    assert cleaned.startswith("a [31m b c d")
    assert len(cleaned) == MAX_SAID
    assert cleaned.endswith("…")


def test_a_huge_status_makes_a_short_message() -> None:
    """A server that says a megabyte does not flood the notebook."""
    error = translate(failure(CODE.INTERNAL, "x" * (1 << 20)), info(model="y" * 10_000))
    assert len(str(error)) < 800


def test_an_echoed_key_is_hidden() -> None:
    """A key in the details, the debug text or the metadata of a status is gone everywhere."""
    secret = "xai-secret-key"
    trailing = grpc.aio.Metadata(("echo", secret))
    said = f"bad key {secret}!"
    raw = grpc.aio.AioRpcError(CODE.UNAUTHENTICATED, grpc.aio.Metadata(), trailing, said, said)
    safe = scrubbed(raw, ApiKey(secret))
    error = translate(safe, info(secret))
    shown = f"{safe!r}{safe.trailing_metadata()}{safe.debug_error_string()}{error}{error.details}"
    assert secret not in shown
    assert "bad key ***!" in str(error)
    assert safe.code() is CODE.UNAUTHENTICATED


def test_an_innocent_error_is_left_alone() -> None:
    """A status without the key is the very same object."""
    error = failure(CODE.INTERNAL, "oops")
    assert scrubbed(error, ApiKey("xai-secret-key")) is error
