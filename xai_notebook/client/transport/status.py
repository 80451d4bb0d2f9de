"""gRPC statuses -> the error tree. The one boundary where foreign errors are translated.

What a server says is untrusted: control characters are dropped, length is
bounded, and a key that is echoed is replaced.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from xai_notebook import errors
from xai_notebook.client import wire
from xai_notebook.client.transport.call import FailureKind, fate_of, http_status, is_size_limit
from xai_notebook.client.transport.retry import server_hint
from xai_notebook.client.transport.scrubbing import scrub

if TYPE_CHECKING:
    from xai_notebook.errors import ApiError
    from xai_notebook.settings import ApiKey

__all__ = ["CallInfo", "one_line", "scrubbed", "translate"]

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
        elapsed: Seconds that the call took.
        method: Its path.
        loopback: The server is on this computer.
    """

    host: str
    key: ApiKey | None
    model: str
    timeout: float
    attempts: int = 1
    elapsed: float = math.inf
    method: str = ""
    loopback: bool = False

    @property
    def subject(self) -> str:
        """The server at the start of a sentence: words are capitalized, a host is not."""
        return self.host[:1].upper() + self.host[1:] if " " in self.host else self.host


def one_line(text: str, key: ApiKey | None = None) -> str:
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


def translate(error: Exception, call: CallInfo, fate: FailureKind | None = None) -> ApiError:
    """Return the error of our tree for `error`; the caller raises it `from error`.

    Args:
        error: From grpc.aio, already `scrubbed`.
        call: What was called.
        fate: What became of the attempt; default: what `error` alone says of it.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        said = one_line(str(error), call.key)
        msg = f"The call to {call.host} failed inside gRPC. {said}".strip()
        return errors.ServerError(
            msg, code="INTERNAL", details=said, attempts=call.attempts, maybe_billed=True
        )
    code, details = error.code(), error.details() or ""
    fate = fate or fate_of(error)
    kind = _kind(error)
    ordered = _may_have_ordered(kind, call, fate)
    if fate in _UNKNOWN and kind is not errors.DeadlineExceededError and not is_size_limit(error):
        message = _broken(error, call, fate)
    elif ordered:
        message = _in_doubt(f"{call.subject} answered {code.name}", call)
    elif kind is errors.UnavailableError:
        message = _unavailable(error, call, fate)
    else:
        message = _cause_and_cure(kind, error, call, fate)
    said = one_line(details, call.key)
    if said and said.upper().replace(" ", "_") != code.name:
        message = f"{message}\nDetails: {said}"
    return kind(
        message,
        code=code.name,
        details=scrub(details, call.key),
        attempts=call.attempts,
        maybe_billed=ordered or _maybe_billed(kind, error, fate),
        unsent=fate is FailureKind.UNSENT,
    )


_UNKNOWN = frozenset({FailureKind.UNPROVEN, FailureKind.BEGUN, FailureKind.LOST})
_AFTER_WORK = (
    errors.DeadlineExceededError,
    errors.ReplyTooLargeError,
    errors.CallCancelledError,
    errors.ServerError,
)
"""A server may say these when the work was done, in whole or in part."""
_MODERATED = re.compile(r"moderat", re.IGNORECASE)
_REQUEST_TOO_LARGE = re.compile(r"CLIENT: Sent|SERVER: Received", re.IGNORECASE)


def _kind(error: grpc.aio.AioRpcError) -> type[ApiError]:
    if http_status(error) == HTTPStatus.TOO_MANY_REQUESTS:
        return errors.RateLimitError
    kind = ERRORS.get(error.code(), errors.ServerError)
    if kind is errors.RateLimitError and is_size_limit(error):
        return errors.ReplyTooLargeError
    return kind


def _maybe_billed(kind: type[ApiError], error: grpc.aio.AioRpcError, fate: FailureKind) -> bool:
    if fate is FailureKind.UNSENT or _is_request_too_large(error, fate):
        return False
    if fate in _UNKNOWN or _MODERATED.search(error.details() or ""):
        return True  # an image that moderation withholds is billed like any other
    return issubclass(kind, _AFTER_WORK) and error.code() is not grpc.StatusCode.UNIMPLEMENTED


def _is_request_too_large(error: grpc.aio.AioRpcError, fate: FailureKind) -> bool:
    return fate not in _UNKNOWN and _REQUEST_TOO_LARGE.match(error.details() or "") is not None


def _broken(error: grpc.aio.AioRpcError, call: CallInfo, fate: FailureKind) -> str:
    """Return the message for an attempt that may have been served."""
    status = http_status(error)
    if status is not None:
        cause = f"A proxy before {call.host} answered with HTTP {status}"
    elif fate is FailureKind.UNPROVEN:
        return _unproven(error, call)
    elif fate is FailureKind.BEGUN:
        cause = f"The reply of {call.host} had begun and broke off ({error.code().name})"
    else:
        cause = f"The connection to {call.host} broke before there was a reply"
    return _in_doubt(cause, call)


def _in_doubt(cause: str, call: CallInfo) -> str:
    doubt, cure = _DOUBTS.get(call.method, _DOUBT)
    return f"{cause}. {doubt}, so it was not sent again: {cure}."


def _unproven(error: grpc.aio.AioRpcError, call: CallInfo) -> str:
    """Return the message for a status that may have ended a reply."""
    doubt, cure = _DOUBTS.get(call.method, (_DOUBT[0], f"run it again{_when(error)}"))
    return f"{call.subject} is not available. {doubt}, so it was not sent again: {cure}."


def _may_have_ordered(kind: type[ApiError], call: CallInfo, fate: FailureKind) -> bool:
    """Tell whether a batch call may have been served although the server refused it."""
    if fate is FailureKind.UNSENT or call.method not in _ORDERS:
        return False
    return issubclass(kind, (errors.UnavailableError, errors.RateLimitError, errors.ServerError))


_DOUBT = ("What was asked for may have been billed", "run it again if you want to")
_DOUBTS = {
    wire.CREATE_BATCH: (
        "The batch may have been made",
        "look for its name in batch.list() before you make it again",
    ),
    wire.ADD_BATCH_REQUESTS: (
        "The requests may have been added",
        "compare with batch.list_batch_requests() before you add them again",
    ),
    wire.UPLOAD_FILE: (
        "The file may have been stored",
        "look for it in files.list() before you upload it again",
    ),
    wire.DELETE_FILE: ("The file may have been deleted", "ask with files.get()"),
}
"""What may have happened by a call of unknown fate, and what to do about it."""
_ORDERS = frozenset({wire.CREATE_BATCH, wire.ADD_BATCH_REQUESTS})
"""Services were seen to serve these and to answer UNAVAILABLE or RESOURCE_EXHAUSTED."""


def _unavailable(error: grpc.aio.AioRpcError, call: CallInfo, fate: FailureKind) -> str:
    host, details = call.host, error.details() or ""
    if fate is not FailureKind.UNSENT:
        return (
            f"{call.subject} is not available ({_times(call.attempts)}). Try again{_when(error)}."
        )
    if "Hostname Verification Check failed" in details:
        return (
            f"The certificate of the server is made out to another host than {host}."
            " Check XAI_API_HOST and HTTPS_PROXY."
        )
    if "certificate has expired" in details or "certificate is not yet valid" in details:
        return (
            f"The certificate of {host} is out of date, or this computer's clock is wrong."
            " Check the clock."
        )
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return (
            f"The certificate of {host} is not trusted here."
            " Set SSL_CERT_FILE to the roots of your organisation."
        )
    return (
        f"{call.subject} cannot be reached ({_times(call.attempts)})."
        " Check the network, HTTPS_PROXY and XAI_API_HOST."
    )


def _cause_and_cure(
    kind: type[ApiError], error: grpc.aio.AioRpcError, call: CallInfo, fate: FailureKind
) -> str:
    host, model = call.host, one_line(call.model)
    if kind is errors.AuthenticationError and call.key is None:
        where = "it is the one that the server was started with" if call.loopback else _SHOP
        return f"{call.subject} asks for an API key. Set XAI_API_KEY; {where}."
    if kind is errors.ReplyTooLargeError and _is_request_too_large(error, fate):
        return "The request is too large to be sent. Use fewer or smaller input images."
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"{call.subject} does not offer this. Check XAI_API_HOST, or update xai-notebook."
    texts: dict[type[ApiError], str] = {
        errors.InvalidRequestError: f"{call.subject} does not accept the request.",
        errors.AuthenticationError: (
            f"The API key is not accepted by {host}. "
            + (_SERVERS_KEY if call.loopback else _NEW_KEY)
        ),
        errors.PermissionDeniedError: (
            f"The API key may not do this at {host}. See its permissions at console.x.ai."
        ),
        errors.NotFoundError: (
            f"{call.subject} does not know the model {model!r}. Ask for one that exists."
            if model
            else f"{call.subject} does not know what was asked for."
        ),
        errors.RateLimitError: (
            f"Too many requests to {host}, or the quota is used up"
            f" ({_times(call.attempts)}). Try again{_when(error)}."
        ),
        errors.ReplyTooLargeError: (
            "A message was over a size limit; the images may have been billed."
            " Ask for fewer images, a lower resolution or the format 'url'."
        ),
        errors.DeadlineExceededError: _late(call),
        errors.CallCancelledError: f"{call.subject} cancelled the call. Try again.",
    }
    doubt = _DOUBTS.get(call.method, _DOUBT)[0]
    failed = f"{call.subject} failed with {error.code().name}"
    return texts.get(kind, f"{failed}. {doubt}. Try again later.")


def _late(call: CallInfo) -> str:
    doubt, look = _DOUBTS.get(call.method, ("the images may have been billed", ""))
    doubt = f"{doubt[0].lower()}{doubt[1:]}"
    if call.elapsed >= call.timeout - _CLOCKS:
        cause = f"No answer from {call.host} within {call.timeout:g} s"
        cure = look or "raise the timeout"
    else:
        cause = f"{call.subject} gave up after {call.elapsed:.3g} s, on a deadline of its own"
        cure = look or "try again later"
    return f"{cause}; {doubt}. {cure[0].upper()}{cure[1:]}."


_SHOP = "console.x.ai makes one"
_SERVERS_KEY = "Set XAI_API_KEY to the one that it was started with."
_NEW_KEY = "Look at XAI_API_KEY, or create a key at console.x.ai."
_CLOCKS = 0.1
"""Seconds by which gRPC's clock and ours may differ."""


_DAY = 86_400.0
"""Seconds. A server that wants a longer pause does not mean it."""


def _when(error: grpc.aio.AioRpcError) -> str:
    pause = server_hint(error)
    return f" in {pause:.0f} s" if 1 <= pause <= _DAY else " later"


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
