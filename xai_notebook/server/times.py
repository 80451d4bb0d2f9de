"""Seconds since 1970, as the wire and as filters spell them."""

from __future__ import annotations

from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["iso", "timestamp"]


def timestamp(seconds: float | None) -> Timestamp | None:
    """Return a time as a message; None stays None."""
    if seconds is None:
        return None
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def iso(seconds: float | None) -> str | None:
    """Return a time as a text that compares like the time; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
