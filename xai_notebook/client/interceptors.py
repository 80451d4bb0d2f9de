"""What is added to every call: the key, the metadata and the deadline.

These are not `grpc.aio` interceptors. Those wrap each call in two more tasks,
and the key would have to travel as plain metadata, which an insecure channel
sends in clear. Call credentials add it in gRPC's core, which refuses to hand
them to a connection that is neither TLS nor local.
"""

from __future__ import annotations

import math
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from xai_notebook.errors import ConfigurationError, OptionError
from xai_notebook.settings import package_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xai_notebook.settings import ApiKey

__all__ = ["Deadline", "KeyPlugin", "call_metadata"]

_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")


class KeyPlugin(grpc.AuthMetadataPlugin):
    """Adds `authorization: Bearer KEY` to a call whose connection deserves it."""

    def __init__(self, key: ApiKey) -> None:
        """Keep the wrapped key."""
        self._key = key

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        """Hand the header to gRPC; called by it once per attempt, on a thread of its own."""
        del context
        # In one expression: no local variable of this frame ever holds the plain text.
        callback((("authorization", f"Bearer {self._key.reveal()}"),), None)


def call_metadata(extra: Iterable[tuple[str, str | bytes]] = ()) -> grpc.aio.Metadata:
    """Return the metadata of every call: `extra`, then who we are.

    Args:
        extra: Pairs of a name and a text; of a name that ends with `-bin`, bytes.

    Raises:
        ConfigurationError: It is anything else, or holds the header that is the key's own.
            Neither the message nor a frame of its traceback holds a value.
    """
    pairs: list[tuple[str, str | bytes]] = []
    try:
        pairs = [(name.lower(), value) for name, value in extra]
        problems = (_problem(name, value) for name, value in pairs)
        problem = next(filter(None, problems), None)
    except (AttributeError, TypeError, ValueError):
        problem = "is not made of pairs: a name and a text each"
    if problem:
        del pairs, extra
        raise ConfigurationError(f"The metadata {problem}.")
    return grpc.aio.Metadata(
        *pairs,
        ("xai-sdk-version", f"python/{package_version()}"),
        ("xai-sdk-language", f"python/{sys.version_info.major}.{sys.version_info.minor}"),
    )


def _problem(name: str, value: str | bytes) -> str | None:
    """Return what keeps a header from being sent, as the end of a sentence."""
    if name == "authorization":
        return "holds an authorization header. Give the key as api_key instead"
    if _HEADER_NAME.fullmatch(name) is None:
        return "holds a name that no header can have"
    if name.endswith("-bin"):
        return None if isinstance(value, bytes) else f"holds no bytes for {name}"
    text = isinstance(value, str) and value.isascii() and value.isprintable()
    return None if text else f"holds no text of printable ASCII characters for {name}"


@dataclass(frozen=True, slots=True)
class Deadline:
    """One point in time for a call and all its attempts.

    Attributes:
        start: When the call began, in seconds of the monotonic clock: a wall clock jumps.
        timeout: How long the call may take, in seconds.
    """

    start: float
    timeout: float

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        """Start the clock.

        Args:
            timeout: Seconds from now.

        Raises:
            OptionError: `timeout` is no positive, finite number.
        """
        if not isinstance(timeout, (int, float)) or not (0 < timeout < math.inf):
            raise OptionError(f"The timeout is {timeout!r}. Give a positive number of seconds.")
        return cls(time.monotonic(), float(timeout))

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.start

    def remaining(self) -> float:
        """Return the seconds left; zero or less when the deadline has passed."""
        return self.timeout - self.elapsed()
