"""Replies of OpenAI-compatible servers: their entries, their errors, and what those teach.

Such servers differ: one lacks `response_format`, one makes one picture at a time, one has three
sizes, one wants the field `image[]`. A refusal with 400 or 422 comes before any work and names a
parameter; `Capabilities` remembers how to send it from then on.

Separate because it only interprets replies: `openai_engine` sends the requests.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xai_notebook.client.http import Downloader
    from xai_notebook.server.validation import ImageOrder

_TICKS: Final = 10**10
"""In one US dollar."""
_MAX_USD: Final = 10_000.0
"""Highest credible cost of one reply."""
_MAX_DIGITS: Final = 300
"""Of an integer. Python refuses to parse JSON with an integer of more than 4300 digits."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def parse_json(body: bytes) -> Any:
    """Parse JSON, tolerating invalid UTF-8, control characters and huge integers.

    Raises:
        ValueError: The body is not JSON.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    try:
        return json.loads(text, strict=False, parse_int=_parse_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which protobuf cannot encode."""
    return _SURROGATES.sub("\ufffd", text)


def list_entries(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a reply: pictures or models."""
    data = reply.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def cost_ticks(headers: Mapping[str, str], pictures: int) -> int | None:
    """Return the cost of each picture of a reply, as LiteLLM reports it; None if not credible.

    Raises:
        KeyError: The reply has no cost.
    """
    try:
        usd = float(headers["x-litellm-response-cost"])
    except ValueError:
        usd = math.nan
    return round(usd * _TICKS / max(pictures, 1)) if 0 <= usd <= _MAX_USD else None


async def fetch_picture(entry: dict[str, Any], downloader: Downloader) -> bytes:
    """Return the file of an entry, not checked yet.

    Raises:
        ValueError: The entry has no picture, or damaged base64.
        DownloadError: Its URL is not allowed, or cannot be downloaded.
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
        return await asyncio.to_thread(_decode, encoded)
    except ValueError:
        raise ValueError("its base64 is damaged") from None


def _decode(encoded: str) -> bytes:
    """Decode base64, also in the URL-safe alphabet and without padding."""
    return base64.b64decode(f"{encoded.translate(_URL_SAFE).rstrip('= ')}===")


Size = tuple[int, int]
"""Width and height in pixels."""

_SIDES: Final = {"2k": 2048, "1k": 1024}
_SMALLER: Final = (1024, 768, 512, 256)
"""Sides of squares to fall back to, in pixels."""
_FINE, _COARSE = 16, 64
"""Sides are multiples of these: in the real API, and in every engine."""
_SHRINK: Final = 0.9
"""A smaller side must be less than this fraction of the refused one."""
_MODERATION: Final = re.compile(
    r"content.?policy|moderation|safety.?(?:system|filter|violation)|nsfw", re.IGNORECASE
)
_SIZE: Final = re.compile(r"(?<!\d)(\d{2,4})\s*[x×*]\s*(\d{2,4})(?!\d)")
_WORDS: Final = {
    "n": r"(?<![\w'])n\s*(?:[=<>:]|must|should|is\b|greater|param)|['\"`]n['\"`]|batch size",
    "size": r"\b(?:size|width|height|dimensions?|resolution|pixels)\b",
    "response_format": r"\bresponse_format\b",
    "quality": r"\bquality\b",
    "image": r"image\[\]|['\"`]image['\"`]|\bno image|\bimages? (?:\w+ ){0,2}(?:required|missing)",
}
"""How messages mention a parameter."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of an error reply.

    Attributes:
        text: The message.
        code: Such as `content_policy_violation`.
        names: Parameters named in fields of their own.
    """

    text: str
    code: str = ""
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, body: bytes) -> ErrorBody:
        """Parse an error in the form of OpenAI or FastAPI, or plain text."""
        try:
            reply: Any = parse_json(body)
        except ValueError:
            text = body[:4096].decode("utf-8", "replace")
            return cls("" if text.lstrip()[:1] == "<" else text)
        if not isinstance(reply, dict):
            return cls(str(reply)[:4096])
        error = reply.get("error", reply)
        if not isinstance(error, dict):
            return cls(str(reply.get("message") or error))
        detail = error.get("detail")
        if isinstance(detail, list):
            return cls(
                "; ".join(str(_get(item, "msg")) for item in detail),
                names=frozenset(str(_last(_get(item, "loc"))) for item in detail),
            )
        text = error.get("message") or detail or error.get("error") or ""
        code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
        return cls(str(text), code, frozenset(filter(None, [str(error.get("param") or "")])))

    @property
    def moderated(self) -> bool:
        """Whether moderation refused the prompt or the picture."""
        return _MODERATION.search(f"{self.code} {self.text}") is not None

    def about(self, parameter: str) -> bool:
        """Tell whether the error is about `parameter`."""
        if self.names:
            return parameter in {name.removesuffix("[]") for name in self.names}
        return re.search(_WORDS[parameter], self.text, re.IGNORECASE) is not None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name, "") if isinstance(thing, dict) else thing


def _last(thing: Any) -> Any:
    return thing[-1] if isinstance(thing, list) and thing else thing


def _sizes_in(text: str) -> frozenset[Size]:
    """Return the sizes that a message lists, such as `1024x1536`."""
    sizes = ((int(match[1]), int(match[2])) for match in _SIZE.finditer(text))
    return frozenset(size for size in sizes if min(size) >= _COARSE)


@dataclass(slots=True)
class Capabilities:
    """What an engine supports, as far as its refusals have told.

    Attributes:
        dropped: Parameters it does not support.
        most: Limit of pictures per order.
        sizes: The only sizes it supports, if it listed them.
        side: Side of the largest square it makes, if it refused a larger one, in pixels.
        field: Multipart field of input images; None: as in OpenAI's clients, `image` for one and
            `image[]` for several.
    """

    dropped: set[str] = field(default_factory=set)
    most: int = 10
    sizes: frozenset[Size] = frozenset()
    side: int | None = None
    field: str | None = None

    def size(self, order: ImageOrder, *, edit: bool) -> Size | None:
        """Return the size to send; None leaves it to the engine."""
        if "size" in self.dropped:
            return None
        if edit and order.aspect_ratio is None and order.resolution == "1k":
            return None  # an edit has the shape of its input
        across, down = (float(part) for part in (order.aspect_ratio or "1:1").split(":"))
        ratio, side = across / down, _SIDES[order.resolution]
        if self.sizes:
            return _nearest(self.sizes, ratio, side)
        if self.side is not None and self.side < side:
            return _rectangle(ratio, self.side, _COARSE)
        return _rectangle(ratio, side, _FINE)

    def image_field(self, images: int) -> str:
        """Return the name of the multipart field for input images."""
        return self.field or ("image" if images == 1 else "image[]")

    def learn(self, error: ErrorBody, sent: Mapping[str, Any]) -> str | None:
        """Change how the parameter that a refusal is about is sent.

        Args:
            error: The refusal.
            sent: The parameters that can be changed, as they were sent.

        Returns:
            The changed parameter; None if the refusal is about none of them.
        """
        named = next((parameter for parameter in sent if error.about(parameter)), None)
        if named == "n":
            self.most = 1
        elif named == "size":
            self._shrink(error, sent["size"])
        elif named == "image":
            self.field = "image" if sent["image"] == "image[]" else "image[]"
        elif named is not None:
            self.dropped.add(named)
        return named

    def _shrink(self, error: ErrorBody, size: Size) -> None:
        listed = _sizes_in(error.text) - {size}
        if listed:
            self.sizes = listed
            return
        side = math.sqrt(size[0] * size[1])
        self.side = next((each for each in _SMALLER if each < _SHRINK * side), _SMALLER[-1])


def _rectangle(ratio: float, side: int, multiple: int) -> Size:
    """Return the size with this ratio and the area of a square with this side."""
    across, down = side * math.sqrt(ratio), side / math.sqrt(ratio)
    return (
        max(1, round(across / multiple)) * multiple,
        max(1, round(down / multiple)) * multiple,
    )


def _nearest(sizes: Iterable[Size], ratio: float, side: int) -> Size:
    """Return the size nearest in shape and, among equal shapes, in area."""

    def distance(size: Size) -> tuple[float, float]:
        width, height = size
        shape = abs(math.log(width / height / ratio))
        return round(shape, 2), abs(math.log(width * height / side**2))

    return min(sizes, key=distance)
