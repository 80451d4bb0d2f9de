"""All errors that this package raises, in one tree.

    XaiError
    ├── OptionError            an option or argument is wrong; nothing was sent
    ├── ConfigurationError     the key, the host, the backend or the home folder is wrong
    ├── ForkedProcessError     gRPC cannot be used in a forked child process
    ├── BudgetError            sending would go over --max-cost or XaiImage.budget
    ├── ApiError               the call failed: .code, .details, .attempts, .maybe_billed, .unsent
    │   ├── InvalidRequestError    INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
    │   ├── AuthenticationError    UNAUTHENTICATED
    │   ├── PermissionDeniedError  PERMISSION_DENIED
    │   ├── NotFoundError          NOT_FOUND
    │   ├── RateLimitError         RESOURCE_EXHAUSTED, by the server
    │   ├── ReplyTooLargeError     RESOURCE_EXHAUSTED, by a size limit
    │   ├── DeadlineExceededError  DEADLINE_EXCEEDED
    │   ├── UnavailableError       UNAVAILABLE
    │   ├── CallCancelledError     CANCELLED, by the server
    │   └── ServerError            INTERNAL, UNKNOWN and every other status
    ├── ReplyError             the server answered, but not with a usable image
    │   ├── ModeratedError         withheld by moderation
    │   ├── MissingImageError      the reply has fewer images than requested, or an empty one
    │   └── DownloadError          the image's URL could not be fetched
    ├── JobError               a job ended before its images were made
    │   └── JobTimeoutError        it is still running after the time given to wait for it
    ├── InputImageError        an image given with --image cannot be used
    ├── LibraryError           the library cannot be opened, read or written
    │   └── NotKeptError           a reply could not be kept, so nothing was sent
    ├── ExportError            a file could not be written; the images are safe
    └── MetadataError          a file has no data about how its image was made

A message states the cause and the cure in one or two lines, and never contains a key. Errors of
libraries (grpc, requests, sqlite3, OSError) are translated where they occur, and stay available as
`__cause__`.
"""

from __future__ import annotations

import traceback

__all__ = [
    "ApiError", "AuthenticationError", "BudgetError", "CallCancelledError", "ConfigurationError",
    "DeadlineExceededError", "DownloadError", "ExportError", "ForkedProcessError",
    "InputImageError", "InvalidRequestError", "JobError", "JobTimeoutError", "LibraryError",
    "MetadataError", "MissingImageError", "ModeratedError", "NotFoundError", "NotKeptError",
    "OptionError", "PermissionDeniedError", "RateLimitError", "ReplyError", "ReplyTooLargeError",
    "ServerError", "UnavailableError", "XaiError",
]  # fmt: skip


class XaiError(Exception):
    """Base class of this package's errors.

    A notebook shows only the message at first; `%tb` shows the whole chain.
    """

    _rendered = False

    def _render_traceback_(self) -> list[str]:
        """Return the lines for IPython: the message the first time, then the whole chain."""
        if self._rendered:
            return traceback.format_exception(type(self), self, self.__traceback__)
        self._rendered = True
        return [f"{type(self).__name__}: {self}"]


def shorten(error: BaseException, line: str) -> None:
    """Make IPython show one line for an interrupt or a cancellation; `%tb` shows all of it."""
    error._render_traceback_ = _Shortened(error, line)  # type: ignore[attr-defined]  # IPython's


class _Shortened:
    """Renders an error for IPython. Unlike a closure, it can be pickled with the error."""

    def __init__(self, error: BaseException, line: str) -> None:
        self._error = error
        self._lines: list[str] | None = [f"{type(error).__name__}: {line}"]

    def __call__(self) -> list[str]:
        """Return one line the first time, then the whole chain."""
        lines, self._lines = self._lines, None
        if lines is not None:
            return lines
        error = self._error
        return traceback.format_exception(type(error), error, error.__traceback__)


class OptionError(XaiError, ValueError):
    """An option or argument is wrong. Nothing was sent."""


class ConfigurationError(XaiError, ValueError):
    """The key, the host, the backend or the home folder is wrong."""


class ForkedProcessError(XaiError, RuntimeError):
    """gRPC cannot be used in a forked child process: use the "spawn" start method."""


class BudgetError(XaiError):
    """Sending would cost more than `--max-cost` or `XaiImage.budget` allow.

    Attributes:
        reason: The cause as part of a sentence.
    """

    def __init__(self, message: str, *, reason: str = "the budget is used up") -> None:
        super().__init__(message)
        self.reason = reason


class ApiError(XaiError):
    """The server answered a call with a status other than OK.

    Attributes:
        code: Name of the gRPC status, such as `"INVALID_ARGUMENT"`.
        details: The server's text without the key (untrusted).
        attempts: How many times the request was sent.
        maybe_billed: Whether the server may have done the work and billed it: a reply had or may
            have begun, or the connection broke before an answer came. Such a call is not retried.
        unsent: Whether the request was not sent: no connection was made, or it was too large.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        details: str = "",
        attempts: int = 1,
        maybe_billed: bool = False,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.attempts = attempts
        self.maybe_billed = maybe_billed
        self.unsent = unsent


class InvalidRequestError(ApiError):
    """The server does not accept the request."""


class AuthenticationError(ApiError):
    """The key is missing or wrong."""


class PermissionDeniedError(ApiError):
    """The key has no permission for the call."""


class NotFoundError(ApiError):
    """The server does not know the model, file or batch."""


class RateLimitError(ApiError):
    """Too many requests, or the quota is used up."""


class ReplyTooLargeError(ApiError):
    """A message is over a size limit. The work may have been done and billed: never retried."""


class DeadlineExceededError(ApiError, TimeoutError):
    """The deadline passed. The work may have been done and billed: never retried."""


class UnavailableError(ApiError, ConnectionError):
    """The server cannot be reached or is not available, after all attempts.

    Or the connection broke during a call, which is not retried (`maybe_billed`).
    """


class CallCancelledError(ApiError):
    """The server cancelled the call, or the client was closed."""


class ServerError(ApiError):
    """The server failed."""


class ReplyError(XaiError):
    """The server answered, but not with a usable image or text.

    Attributes:
        cost_usd: The cost of the reply in US dollars; None if unknown.
    """

    cost_usd: float | None = None


class ModeratedError(ReplyError, ValueError):
    """The image was withheld by moderation."""


class MissingImageError(ReplyError, LookupError, ValueError):
    """The reply has no such image, or not in the requested form."""


class DownloadError(ReplyError, OSError):
    """The image's URL could not be fetched, or its content is not an image.

    Attributes:
        gone: The server no longer has the image; other failures may be temporary.
    """

    gone = False

    # OSError.__str__ would format errno pairs.
    __str__ = Exception.__str__


class JobError(XaiError):
    """A job ended before its images were made, or cannot be continued."""


class JobTimeoutError(JobError, TimeoutError):
    """A job is still running after the waiting time. It can be waited for again."""


class InputImageError(OptionError):
    """An image to edit cannot be used. Nothing was sent."""


class LibraryError(XaiError):
    """The library cannot be opened, read or written."""


class NotKeptError(LibraryError):
    """A reply could not be stored, or the next one could not be. Nothing more was sent.

    Attributes:
        reason: The cause as part of a sentence.
        cure: The cure as part of a sentence.
    """

    cure = "Make room for them"

    def __init__(self, message: str, *, reason: str = "it could not be kept") -> None:
        super().__init__(message)
        self.reason = reason


class ExportError(XaiError, OSError):
    """A file could not be written. The images are still available."""

    __str__ = Exception.__str__


class MetadataError(XaiError, ValueError):
    """A file cannot be read, or has no data about how its image was made."""
