"""A reply of the OpenAI images API: read with care, as none of its fields is trusted."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xai_notebook.client.http import Downloader

__all__ = ["bytes_of", "cost_ticks", "entries", "parsed", "whole_text"]

_TICKS: Final = 10**10
"""In a US dollar."""
_MAX_USD: Final = 10_000.0
"""What one reply may cost; who names more is not believed."""
_MAX_DIGITS: Final = 300
"""Of a whole number. Python reads no more than 4300, and refuses the reply around it."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def parsed(body: bytes) -> Any:
    """Return what a body in JSON says, also where some of its fields are damaged.

    Raises:
        ValueError: It is no JSON.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    try:
        return json.loads(text, strict=False, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def whole_text(text: str) -> str:
    """Return `text` with half characters replaced, which no message of gRPC can hold."""
    return _SURROGATES.sub("\ufffd", text)


def entries(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a reply, of pictures or models."""
    data = reply.get("data")
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


def cost_ticks(headers: Mapping[str, str], pictures: int) -> int | None:
    """Return what each picture of a reply cost, as LiteLLM says; None: it says nothing credible.

    Raises:
        KeyError: It says nothing.
    """
    try:
        usd = float(headers["x-litellm-response-cost"])
    except ValueError:
        usd = math.nan
    return round(usd * _TICKS / max(pictures, 1)) if 0 <= usd <= _MAX_USD else None


async def bytes_of(entry: dict[str, Any], downloader: Downloader) -> bytes:
    """Return the picture of an entry, as it came: no one has looked at it yet.

    Raises:
        ValueError: There is none.
        DownloadError: It is at an address that is not fetched from, or cannot be fetched.
    """
    text, url = entry.get("b64_json"), entry.get("url")
    if not (isinstance(text, str) and text):
        if not (isinstance(url, str) and url):
            raise ValueError("an entry has neither b64_json nor url")
        if url[:5].lower() != "data:":
            return (await downloader.fetch(url))[0]
        text = url
    encoded = text.partition(",")[2] if text[:5].lower() == "data:" else text
    try:
        return await asyncio.to_thread(_decoded, encoded)
    except ValueError:
        raise ValueError("its base64 is damaged") from None


def _decoded(encoded: str) -> bytes:
    """Return the bytes of base64, in the alphabet of URLs and without padding as well."""
    return base64.b64decode(f"{encoded.translate(_URL_SAFE).rstrip('= ')}===")
