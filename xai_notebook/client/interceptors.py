"""What is added to every call: the key, the metadata and the deadline.

These are not `grpc.aio` interceptors. Those wrap each call in two more tasks,
and the key would have to travel as plain metadata, which an insecure channel
sends in clear. Call credentials add it in gRPC's core, which refuses to hand
them to a connection that is neither TLS nor local.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.settings import ApiKey

__all__ = ["Deadline", "KeyPlugin", "call_metadata", "holds_authorization", "package_version"]


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


@functools.cache
def package_version() -> str:
    """Return this package's version; `"0"` when it runs from a folder and is not installed."""
    from importlib import metadata  # noqa: PLC0415  # 15 ms that only a first call has to pay

    try:
        return metadata.version("xai-notebook")
    except metadata.PackageNotFoundError:
        return "0"


def holds_authorization(metadata: Sequence[tuple[str, str]]) -> bool:
    """Tell whether `metadata` carries a key, which has a place of its own."""
    return any(name.lower() == "authorization" for name, _ in metadata)


def call_metadata(extra: Sequence[tuple[str, str]] = ()) -> grpc.aio.Metadata:
    """Return the metadata of every call: `extra`, then who we are."""
    return grpc.aio.Metadata(
        *((name.lower(), value) for name, value in extra),
        ("xai-sdk-version", f"python/{package_version()}"),
        ("xai-sdk-language", f"python/{sys.version_info.major}.{sys.version_info.minor}"),
    )


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
            msg = f"The timeout is {timeout!r}. Give a positive number of seconds."
            raise OptionError(msg)
        return cls(time.monotonic(), float(timeout))

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.start

    def remaining(self) -> float:
        """Return the seconds left; zero or less when the deadline has passed."""
        return self.timeout - self.elapsed()
