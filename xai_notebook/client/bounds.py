"""Limits for untrusted values: times, amounts, sizes and strings, checked when they are received.

The values come from a server, a bundle, a picture's metadata or a database row: any program can
have written them. For a value out of bounds, a function returns None, clamps the value, or raises
an error. A value that passes can be shown, stored and calculated with in every time zone and on
every platform.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import Any, Final

MAX_COST_USD: Final = 1000.0
"""Maximum cost of one request, in US dollars."""
MAX_SIDE: Final = 65_535
"""Maximum width or height of a picture in pixels: the limit of JPEG."""
MAX_TEXT: Final = 1_000_000
"""Maximum number of characters of a prompt or another multi-line string."""
MAX_NAME: Final = 500
"""Maximum number of characters of a model's name, an id, a media type or a reason."""
MAX_LINK: Final = 2000
"""Maximum number of characters of a URL that is shown as a link."""

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=timezone.utc)
"""Between these two times, no conversion to local time overflows, not even on Windows."""
_LARGEST: Final = 1 << 63
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_REORDERING: Final = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks, overrides and isolates that change the display order of other characters."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""Lone surrogates, which cannot be encoded."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LINK: Final = re.compile(r"https://[!-~]+|http://(?:localhost|127\.0\.0\.1|\[::1\])[:/][!-~]+")


def moment(seconds: object) -> datetime | None:
    """Convert Unix time to a time in UTC; None if it is invalid or not between 2000 and 2200."""
    if _is_number(seconds) and _EARLIEST.timestamp() <= seconds <= _LATEST.timestamp():  # type: ignore[operator]
        return datetime.fromtimestamp(float(seconds), timezone.utc)  # type: ignore[arg-type]
    return None


def moment_near(seconds: object) -> datetime:
    """Convert Unix time to the nearest time between 2000 and 2200, for clocks that can be wrong.

    Raises:
        ValueError: `seconds` is not a number.
    """
    if not _is_number(seconds):
        raise ValueError(seconds)
    return moment(seconds) or (_EARLIEST if seconds < _EARLIEST.timestamp() else _LATEST)  # type: ignore[operator]


def cost(usd: object) -> float | None:
    """Return an amount in US dollars; None if it is negative, implausibly large or not a number.

    Such an amount would make a budget ineffective, or use it up.
    """
    is_number = type(usd) in {int, float}
    return float(usd) if is_number and 0 <= usd <= MAX_COST_USD else None  # type: ignore[operator, arg-type]


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) < _LARGEST  # larger ones may not fit into a float
    return type(value) is float and math.isfinite(value)


def count(value: object, least: int, most: int) -> int:
    """Return `value` if it is an integer from `least` to `most`.

    Raises:
        ValueError: `value` is not such an integer.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(value)
    return value


def size(width: object, height: object) -> tuple[int, int] | None:
    """Return width and height in pixels; None if one of them is out of bounds."""
    try:
        return count(width, 1, MAX_SIDE), count(height, 1, MAX_SIDE)
    except ValueError:
        return None


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Return a multi-line string without lone surrogates, truncated to `limit` characters.

    Raises:
        TypeError: `value` is not a string.
    """
    if not isinstance(value, str):
        raise TypeError(value)
    return _SURROGATE.sub("\ufffd", value if len(value) <= limit else f"{value[: limit - 1]}…")


def line(value: object, limit: int = MAX_NAME) -> str:
    """Return a string as one line without control and reordering characters, truncated to `limit`.

    Raises:
        TypeError: `value` is not a string.
    """
    # Truncate first, so that long input takes no time.
    return text(" ".join(clean(text(value, 2 * limit)).split()), limit)


def clean(value: str) -> str:
    """Return a string without control and reordering characters; newlines and tabs stay."""
    value = _CONTROL.sub(" ", value.replace("\r\n", "\n"))
    return _SURROGATE.sub("\ufffd", _REORDERING.sub("", value))


def parsed(text: str | bytes) -> Any:
    """Parse untrusted JSON.

    Raises:
        ValueError: `text` is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def digest(value: object) -> str:
    """Return `value` if it is a SHA-256 digest in hexadecimal.

    Raises:
        ValueError: `value` is not such a digest.
    """
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(value)
    return value


def link(url: object) -> str | None:
    """Return `url` if it is https or local and can be shown as a link; otherwise None."""
    is_link = isinstance(url, str) and len(url) <= MAX_LINK and _LINK.fullmatch(url)
    return str(url) if is_link else None
