"""All exceptions that this package raises, as one class tree.

    XaiError
    ├── OptionError            an option or argument is wrong; nothing was sent
    ├── ConfigurationError     the key, the host, the backend or the home folder is wrong
    ├── ForkedProcessError     gRPC cannot be used in a forked child process
    ├── BudgetError            the request would exceed --max-cost or XaiImage.budget
    ├── ApiError               the call failed: .code, .details, .attempts, .maybe_billed, .unsent
    │   ├── InvalidRequestError    INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
    │   ├── AuthenticationError    UNAUTHENTICATED
    │   ├── PermissionDeniedError  PERMISSION_DENIED
    │   ├── NotFoundError          NOT_FOUND
    │   ├── RateLimitError         RESOURCE_EXHAUSTED, for a rate limit or quota
    │   ├── ReplyTooLargeError     RESOURCE_EXHAUSTED, for a size limit
    │   ├── DeadlineExceededError  DEADLINE_EXCEEDED
    │   ├── UnavailableError       UNAVAILABLE
    │   ├── CallCancelledError     CANCELLED, or the client was closed during the call
    │   └── ServerError            INTERNAL, UNKNOWN and every other status
    ├── ReplyError             the server answered without a usable image or text
    │   ├── ModeratedError         the image was withheld by moderation
    │   ├── MissingImageError      the reply has fewer images than requested, or an empty one
    │   └── DownloadError          the image's URL could not be fetched
    ├── JobError               a job ended before its images were made
    │   └── JobTimeoutError        the job is still running when the waiting time is over
    ├── InputImageError        an image given with --image cannot be used
    ├── LibraryError           the library cannot be opened, read or written
    │   └── NotKeptError           replies cannot be stored; no further request was sent
    ├── ExportError            a file could not be written; the images are still available
    └── MetadataError          a file has no data about how its image was made

A message states the cause and the cure in one or two lines, and never contains a key. It may
be saved in a notebook, so the user's home folder is written as `~`. Exceptions of other libraries
(grpc, requests, sqlite3) and OSError are translated where they occur; the original is the
`__cause__`.
"""

from __future__ import annotations

import functools
import os
import re
import traceback

__all__ = [
    "ApiError", "AuthenticationError", "BudgetError", "CallCancelledError", "ConfigurationError",
    "DeadlineExceededError", "DownloadError", "ExportError", "ForkedProcessError",
    "InputImageError", "InvalidRequestError", "JobError", "JobTimeoutError", "LibraryError",
    "MetadataError", "MissingImageError", "ModeratedError", "NotFoundError", "NotKeptError",
    "OptionError", "PermissionDeniedError", "RateLimitError", "ReplyError", "ReplyTooLargeError",
    "ServerError", "UnavailableError", "XaiError",
]  # fmt: skip


def hide_home(text: str) -> str:
    """Replace the path of the user's home folder by `~`, for text that a notebook may save."""
    pattern = _home_pattern(os.path.expanduser("~"))  # noqa: PTH111  # never raises
    return text if pattern is None else pattern.sub("~", text)


@functools.lru_cache(maxsize=4)
def _home_pattern(home: str) -> re.Pattern[str] | None:
    """Return a pattern that finds a home folder, and the folder that it links to; None without."""
    from urllib.parse import quote  # noqa: PLC0415  # not needed to load the extension

    home = home.rstrip("/\\")
    if not os.path.isabs(home):  # noqa: PTH117  # unknown, or the root of the file system
        return None
    names = {home, os.path.realpath(home)}
    names |= {quote(name) for name in names}  # as in a URL
    names |= {name.replace("\\", "\\\\") for name in names}  # as in a repr on Windows
    escaped = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(
        rf"(?:(?<=:)|(?<=://)|(?<=\dm)|(?<=\\n)|(?<![\w/\\.~:-])/*)(?:{escaped})(?![\w+@-]|\.\w)"
    )


class XaiError(Exception):
    """Base class of this package's errors.

    A notebook first shows only the message; `%tb` shows the traceback with all causes.
    """

    _rendered = False

    def __str__(self) -> str:
        """Return the message. Subclasses of OSError do not format it as an errno pair."""
        return hide_home(Exception.__str__(self))

    def _render_traceback_(self) -> list[str]:
        """Return the lines for IPython: first only the message, later the whole traceback."""
        if self._rendered:
            return _traceback_of(self)
        self._rendered = True
        return [f"{type(self).__name__}: {self}"]


def _traceback_of(error: BaseException) -> list[str]:
    return [*map(hide_home, traceback.format_exception(type(error), error, error.__traceback__))]


def shorten(error: BaseException, line: str) -> None:
    """Let an interrupt or cancellation say `line`. IPython shows only that; `%tb` shows it all."""
    error.args = (line,)
    error._render_traceback_ = _Shortened(error, line)  # type: ignore[attr-defined]  # IPython's


class _Shortened:
    """Renders an error for IPython. Unlike a closure, it can be pickled with the error."""

    def __init__(self, error: BaseException, line: str) -> None:
        self._error = error
        self._lines: list[str] | None = [f"{type(error).__name__}: {line}"]

    def __call__(self) -> list[str]:
        """Return one line on the first call, and the whole traceback on later calls."""
        lines, self._lines = self._lines, None
        if lines is not None:
            return lines
        return _traceback_of(self._error)


class OptionError(XaiError, ValueError):
    """An option or argument is wrong. Nothing was sent."""


class ConfigurationError(XaiError, ValueError):
    """The key, the host, the backend or the home folder is wrong."""


class ForkedProcessError(XaiError, RuntimeError):
    """gRPC cannot be used in a forked child process: use the "spawn" start method."""


class BudgetError(XaiError):
    """The request would cost more than `--max-cost` or `XaiImage.budget` allows.

    Attributes:
        reason: The cause as part of a sentence.
    """

    def __init__(self, message: str, *, reason: str = "the budget is used up") -> None:
        super().__init__(message)
        self.reason = reason


class ApiError(XaiError):
    """The call failed: the server sent a status other than OK, or did not answer.

    Attributes:
        code: Name of the gRPC status, such as `"INVALID_ARGUMENT"`.
        details: Error text from the server, with the API key removed (untrusted).
        attempts: Number of attempts.
        maybe_billed: Whether the server may have done and billed the work, for example because the
            reply or the connection broke off.
        unsent: Whether the request was not sent, because there was no connection or the request was
            too large.
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
    """The server rejected the request as invalid."""


class AuthenticationError(ApiError):
    """The API key is missing or wrong."""


class PermissionDeniedError(ApiError):
    """The API key does not permit the call."""


class NotFoundError(ApiError):
    """The server does not know the model, file or batch."""


class RateLimitError(ApiError):
    """There were too many requests, or the quota is used up."""


class ReplyTooLargeError(ApiError):
    """A message exceeds a size limit. The work may be done and billed, so it is not retried."""


class DeadlineExceededError(ApiError, TimeoutError):
    """The deadline passed. The work may be done and billed, so it is not retried."""


class UnavailableError(ApiError, ConnectionError):
    """The server could not be reached or was unavailable, or the connection broke during the call.

    If `maybe_billed` is true, the call was not retried.
    """


class CallCancelledError(ApiError):
    """The server cancelled the call, or the client was closed."""


class ServerError(ApiError):
    """The server failed with INTERNAL, UNKNOWN or another status that has no class here."""


class ReplyError(XaiError):
    """The server answered without a usable image or text.

    Attributes:
        cost_usd: Cost of the reply in US dollars; None if unknown.
    """

    cost_usd: float | None = None


class ModeratedError(ReplyError, ValueError):
    """The image was withheld by moderation."""


class MissingImageError(ReplyError, LookupError, ValueError):
    """The reply does not contain the image, or not in the requested format."""


class DownloadError(ReplyError, OSError):
    """The image's URL could not be fetched, or its content is not an image.

    Attributes:
        gone: Whether the server no longer has the image. Other failures may be temporary.
    """

    gone = False


class JobError(XaiError):
    """A job ended before its images were made, or cannot be continued."""


class JobTimeoutError(JobError, TimeoutError):
    """A job is still running when the waiting time is over. You can wait for it again."""


class InputImageError(OptionError):
    """An image to edit cannot be used. Nothing was sent."""


class LibraryError(XaiError):
    """The library cannot be opened, read or written."""


class NotKeptError(LibraryError):
    """A reply was not stored, or the next reply could not be stored. No further request was sent.

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


class MetadataError(XaiError, ValueError):
    """A file cannot be read, or has no data about how its image was made."""
