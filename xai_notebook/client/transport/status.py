"""Translate gRPC errors into the package's errors, with a message that states cause and cure.

Text from the server is untrusted: control characters are removed, the length is limited, and an
echoed key is masked.
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
from xai_notebook.client.transport.call import FailureKind, failure_kind, http_status, is_size_limit
from xai_notebook.client.transport.retry import BATCH_WRITES, server_hint
from xai_notebook.client.transport.scrubbing import scrub

if TYPE_CHECKING:
    from xai_notebook.errors import ApiError
    from xai_notebook.settings import ApiKey

MAX_DETAILS = 300
"""Maximum number of characters of a server's text in a message."""

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
"""The error class of each status; every other status is a ServerError."""


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The data of a failed call that its error message needs.

    Attributes:
        host: Name of the server in messages.
        key: API key to keep out of the message; None if no key was sent.
        model: Name of the requested model, or `""`.
        timeout: Deadline of the call in seconds.
        elapsed: Duration of the call in seconds.
        loopback: Whether the server is on this computer.
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
        """The host for the start of a sentence, capitalised if it is a title with spaces."""
        return self.host[:1].upper() + self.host[1:] if " " in self.host else self.host


def one_line(text: str, key: ApiKey | None = None) -> str:
    """Return untrusted `text` as one line of limited length, without control characters or key."""
    text = scrub(text[: 64 * MAX_DETAILS], key)[: 8 * MAX_DETAILS]
    # Categories "C…": control characters, and format characters that reorder or hide text.
    visible = "".join(" " if unicodedata.category(char)[0] == "C" else char for char in text)
    line = " ".join(visible.split())
    return line if len(line) <= MAX_DETAILS else f"{line[: MAX_DETAILS - 1]}…"


def scrub_error(error: grpc.aio.AioRpcError, key: ApiKey | None) -> grpc.aio.AioRpcError:
    """Return `error`, or a copy without the key if the server echoed it, because `%tb` shows it."""
    details, debug = error.details() or "", error.debug_error_string() or ""
    texts = [details, debug, f"{error.initial_metadata()}{error.trailing_metadata()}"]
    safe = [scrub(text, key) for text in texts]
    if safe == texts:
        return error
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(error.code(), empty, empty, *safe[:2])


def translate(error: Exception, call: CallInfo, kind: FailureKind | None = None) -> ApiError:
    """Return the package's error for `error`, which `scrub_error` has cleaned.

    Raise the result `from error`. Without `kind`, the kind is derived from `error` alone.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        details = one_line(str(error), call.key)
        msg = f"The call to {call.host} failed inside gRPC. {details}".strip()
        return errors.ServerError(
            msg, code="INTERNAL", details=details, attempts=call.attempts, maybe_billed=True
        )
    code = error.code()
    kind = kind or failure_kind(error)
    error_class = _error_class(error)
    # A service may have served a batch call that it refused.
    batch_maybe_served = (
        call.method in BATCH_WRITES
        and kind is not FailureKind.UNSENT
        and issubclass(
            error_class, (errors.UnavailableError, errors.RateLimitError, errors.ServerError)
        )
    )
    if (
        kind in _MAYBE_SERVED
        and error_class is not errors.DeadlineExceededError
        and not is_size_limit(error)
    ):
        message = _broken_message(error, call, kind)
    elif batch_maybe_served:
        message = _doubt_message(f"{call.subject} answered {code.name}", call)
    elif error_class is errors.UnavailableError:
        message = _unavailable_message(error, call, kind)
    else:
        message = _status_message(error_class, error, call, kind)
    details = one_line(error.details() or "", call.key)
    if details and details.upper().replace(" ", "_") != code.name:
        message = f"{message}\nDetails: {details}"
    return error_class(
        message,
        code=code.name,
        details=scrub(error.details() or "", call.key),
        attempts=call.attempts,
        maybe_billed=batch_maybe_served or _maybe_billed(error_class, error, kind),
        unsent=kind is FailureKind.UNSENT,
    )


_MAYBE_SERVED = frozenset({FailureKind.UNPROVEN, FailureKind.BEGUN, FailureKind.LOST})
"""Failures after which the request may have been served."""
_AFTER_WORK = (
    errors.DeadlineExceededError,
    errors.ReplyTooLargeError,
    errors.CallCancelledError,
    errors.ServerError,
)
"""Errors for which the server may have done the work, completely or in part."""
_MODERATED = re.compile(r"moderat", re.IGNORECASE)
_REQUEST_TOO_LARGE = re.compile(r"CLIENT: Sent|SERVER: Received", re.IGNORECASE)


def _error_class(error: grpc.aio.AioRpcError) -> type[ApiError]:
    if http_status(error) == HTTPStatus.TOO_MANY_REQUESTS:
        return errors.RateLimitError
    error_class = ERRORS.get(error.code(), errors.ServerError)
    if error_class is errors.RateLimitError and is_size_limit(error):
        return errors.ReplyTooLargeError
    return error_class


def _maybe_billed(
    error_class: type[ApiError], error: grpc.aio.AioRpcError, kind: FailureKind
) -> bool:
    if kind is FailureKind.UNSENT or _is_request_too_large(error, kind):
        return False
    if kind in _MAYBE_SERVED or _MODERATED.search(error.details() or ""):
        return True  # an image that moderation withholds is still billed
    return issubclass(error_class, _AFTER_WORK) and error.code() is not (
        grpc.StatusCode.UNIMPLEMENTED
    )


def _is_request_too_large(error: grpc.aio.AioRpcError, kind: FailureKind) -> bool:
    return kind not in _MAYBE_SERVED and _REQUEST_TOO_LARGE.match(error.details() or "") is not None


_DEFAULT_DOUBT = ("The request may have been billed", "run it again if you want to")
_DOUBTS = {
    wire.CREATE_BATCH: (
        "The batch may have been created",
        "look for its name in batch.list() before you create it again",
    ),
    wire.ADD_BATCH_REQUESTS: (
        "The requests may have been added",
        "compare with batch.list_batch_requests() before you add them again",
    ),
    wire.UPLOAD_FILE: (
        "The file may have been stored",
        "look for it in files.list() before you upload it again",
    ),
    wire.DELETE_FILE: ("The file may have been deleted", "check with files.get()"),
}
"""The possible effect of a call that may have been served, and how the user can check it."""


def _broken_message(error: grpc.aio.AioRpcError, call: CallInfo, kind: FailureKind) -> str:
    """Return the message for an attempt that may have been served."""
    status = http_status(error)
    cure = None
    if status is not None:
        cause = f"A proxy in front of {call.host} answered with HTTP {status}"
    elif kind is FailureKind.UNPROVEN:
        cause = f"{call.subject} is not available"
        cure = f"run it again{_retry_time(error)}"
    elif kind is FailureKind.BEGUN:
        cause = f"The reply of {call.host} had begun and broke off ({error.code().name})"
    else:
        cause = f"The connection to {call.host} broke before there was a reply"
    return _doubt_message(cause, call, cure)


def _doubt_message(cause: str, call: CallInfo, cure: str | None = None) -> str:
    doubt, default = _DOUBTS.get(call.method, (_DEFAULT_DOUBT[0], cure or _DEFAULT_DOUBT[1]))
    return f"{cause}. {doubt}, so it was not sent again: {default}."


def _unavailable_message(error: grpc.aio.AioRpcError, call: CallInfo, kind: FailureKind) -> str:
    host, details = call.host, error.details() or ""
    if kind is not FailureKind.UNSENT:
        tries, later = _attempts(call.attempts), _retry_time(error)
        return f"{call.subject} is not available ({tries}). Try again{later}."
    if "Hostname Verification Check failed" in details:
        return (
            f"The certificate of the server is for another host, not for {host}."
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
            " Set SSL_CERT_FILE to your organisation's root certificates."
        )
    return (
        f"{call.subject} cannot be reached ({_attempts(call.attempts)})."
        " Check the network, HTTPS_PROXY and XAI_API_HOST."
    )


def _status_message(
    error_class: type[ApiError], error: grpc.aio.AioRpcError, call: CallInfo, kind: FailureKind
) -> str:
    host, model = call.host, one_line(call.model)
    if error_class is errors.AuthenticationError and call.key is None:
        where = (
            "the key that the server was started with"
            if call.loopback
            else "a key from console.x.ai"
        )
        return f"{call.subject} asks for an API key. Set XAI_API_KEY to {where}."
    if error_class is errors.ReplyTooLargeError and _is_request_too_large(error, kind):
        return "The request is too large to be sent. Use fewer or smaller input images."
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"{call.subject} does not support this. Check XAI_API_HOST, or update xai-notebook."
    texts: dict[type[ApiError], str] = {
        errors.InvalidRequestError: f"{call.subject} does not accept the request.",
        errors.AuthenticationError: (
            f"The API key is not accepted by {host}. "
            + (
                "Set XAI_API_KEY to the key that the server was started with."
                if call.loopback
                else "Check XAI_API_KEY, or create a key at console.x.ai."
            )
        ),
        errors.PermissionDeniedError: (
            f"The API key has no permission for this at {host}. Check it at console.x.ai."
        ),
        errors.NotFoundError: (
            f"{call.subject} does not know the model {model!r}. Choose a model that exists."
            if model
            else f"{call.subject} did not find the requested object."
        ),
        errors.RateLimitError: (
            f"Too many requests to {host}, or the quota is used up"
            f" ({_attempts(call.attempts)}). Try again{_retry_time(error)}."
        ),
        errors.ReplyTooLargeError: (
            "A message exceeded a size limit; the images may have been billed."
            " Ask for fewer images, a lower resolution or the format 'url'."
        ),
        errors.DeadlineExceededError: _deadline_message(call),
        errors.CallCancelledError: f"{call.subject} cancelled the call. Try again.",
    }
    doubt = _DOUBTS.get(call.method, _DEFAULT_DOUBT)[0]
    failed = f"{call.subject} failed with {error.code().name}"
    return texts.get(error_class, f"{failed}. {doubt}. Try again later.")


_CLOCK_DIFFERENCE = 0.1
"""Maximum difference between gRPC's clock and ours, in seconds."""


def _deadline_message(call: CallInfo) -> str:
    doubt, cure = _DOUBTS.get(call.method, ("the images may have been billed", ""))
    doubt = f"{doubt[0].lower()}{doubt[1:]}"
    if call.elapsed >= call.timeout - _CLOCK_DIFFERENCE:
        cause = f"No answer from {call.host} within {call.timeout:g} s"
        cure = cure or "raise the timeout"
    else:
        cause = f"{call.subject} gave up after {call.elapsed:.3g} s, because of its own deadline"
        cure = cure or "try again later"
    return f"{cause}; {doubt}. {cure[0].upper()}{cure[1:]}."


def _retry_time(error: grpc.aio.AioRpcError) -> str:
    pause = server_hint(error)
    return f" in {pause:.0f} s" if 1 <= pause <= _MAX_PAUSE else " later"


_MAX_PAUSE = 86_400.0
"""Longest plausible pause in seconds."""


def _attempts(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
