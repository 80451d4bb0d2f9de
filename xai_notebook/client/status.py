"""gRPC statuses -> the error tree. The one boundary where foreign errors are translated.

What a server says is untrusted: control characters are dropped, length is
bounded, and a key that is echoed is replaced.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from xai_notebook import errors
from xai_notebook.client.retry import is_size_limit, server_hint
from xai_notebook.client.scrubbing import scrub

if TYPE_CHECKING:
    from xai_notebook.errors import ApiError
    from xai_notebook.settings import ApiKey

__all__ = ["CallInfo", "clean", "scrubbed", "translate"]

MAX_SAID = 300
"""Characters of a server's text in a message."""

ERRORS: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RateLimitError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.CallCancelledError,
}
"""Every status that is not here is a ServerError."""


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What a message wants to know about the call that failed.

    Attributes:
        host: Where it went, as a message calls it.
        key: What to keep out of the message; None if no key was sent.
        model: The model asked for, or `""`.
        timeout: The call's deadline in seconds.
        attempts: How many times it was sent.
    """

    host: str
    key: ApiKey | None
    model: str
    timeout: float
    attempts: int = 1


def clean(text: str, key: ApiKey | None = None) -> str:
    """Return untrusted `text` as one bounded line without control characters or the key."""
    text = scrub(text[: 64 * MAX_SAID], key)[: 8 * MAX_SAID]
    # "C": controls, and the format characters that reorder or hide text.
    kept = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in text)
    line = " ".join(kept.split())
    return line if len(line) <= MAX_SAID else f"{line[: MAX_SAID - 1]}…"


def scrubbed(error: grpc.aio.AioRpcError, key: ApiKey | None) -> grpc.aio.AioRpcError:
    """Return `error`, or one like it when the server echoed the key: it may be shown under %tb."""
    details, debug = error.details() or "", error.debug_error_string() or ""
    told = [details, debug, f"{error.initial_metadata()}{error.trailing_metadata()}"]
    kept = [scrub(text, key) for text in told]
    if kept == told:
        return error
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(error.code(), nothing, nothing, *kept[:2])


def translate(error: Exception, call: CallInfo) -> ApiError:
    """Return the error of our tree for `error`; the caller raises it `from error`.

    Args:
        error: From grpc.aio, already `scrubbed`.
        call: What was called.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        said = clean(str(error), call.key)
        msg = f"The call to {call.host} failed inside gRPC. {said}".strip()
        return errors.ServerError(msg, code="INTERNAL", details=said, attempts=call.attempts)
    code = error.code()
    kind = ERRORS.get(code, errors.ServerError)
    if kind is errors.RateLimitError and is_size_limit(error):
        kind = errors.ReplyTooLargeError
    details = error.details() or ""
    message = _cause_and_cure(kind, error, call)
    if message.startswith("the "):  # a title, not a host
        message = f"The {message[4:]}"
    said = clean(details, call.key)
    if said and said.upper().replace(" ", "_") != code.name:
        message = f"{message}\nDetails: {said}"
    return kind(message, code=code.name, details=scrub(details, call.key), attempts=call.attempts)


def _cause_and_cure(kind: type[ApiError], error: grpc.aio.AioRpcError, call: CallInfo) -> str:
    host, model = call.host, clean(call.model)
    pause = server_hint(error)
    when = f" in {pause:.0f} s" if pause >= 1 else " later"
    if kind is errors.AuthenticationError and call.key is None:
        return f"{host} asks for an API key. Set XAI_API_KEY; console.x.ai makes one."
    if kind is errors.UnavailableError and "CERTIFICATE_VERIFY_FAILED" in (error.details() or ""):
        return (
            f"The certificate of {host} is not trusted here."
            " Set SSL_CERT_FILE to the roots of your organisation."
        )
    if kind is errors.ReplyTooLargeError and "sent message" in (error.details() or "").lower():
        return "The request is too large to be sent. Use fewer or smaller input images."
    texts: dict[type[ApiError], str] = {
        errors.InvalidRequestError: f"{host} does not accept the request.",
        errors.AuthenticationError: (
            f"The API key in XAI_API_KEY is not accepted by {host}. Create one at console.x.ai."
        ),
        errors.PermissionDeniedError: (
            f"The API key may not do this at {host}. See its permissions at console.x.ai."
        ),
        errors.NotFoundError: (
            f"{host} does not know the model {model!r}. Ask for one that exists."
            if model
            else f"{host} does not know what was asked for."
        ),
        errors.RateLimitError: (
            f"Too many requests to {host}, or the quota is used up"
            f" ({_times(call.attempts)}). Try again{when}."
        ),
        errors.ReplyTooLargeError: (
            "A message was over a size limit; the images may have been billed."
            " Ask for fewer images, a lower resolution or the format 'url'."
        ),
        errors.DeadlineExceededError: (
            f"No answer from {host} within {call.timeout:g} s; the images may have been billed."
            " Raise the timeout."
        ),
        errors.UnavailableError: (
            f"{host} cannot be reached ({_times(call.attempts)})."
            " Check the network, HTTPS_PROXY and XAI_API_HOST."
        ),
        errors.CallCancelledError: f"{host} cancelled the call. Try again.",
    }
    return texts.get(kind, f"{host} failed with {error.code().name}. Try again later.")


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
