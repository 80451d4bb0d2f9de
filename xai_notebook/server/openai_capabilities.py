"""What one server of the OpenAI images API accepts, learned from what it refuses.

Such servers differ: one knows no `response_format`, one makes one picture at a time, one has three
sizes, one wants the field `image[]`. A refusal with 400 or 422 comes before any work; what it names
is changed, once, and remembered.

Separate because it only interprets replies: it opens no connection.
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

__all__ = [
    "Capabilities",
    "ErrorBody",
    "Size",
    "bytes_of",
    "cost_ticks",
    "entries",
    "parsed",
    "sizes_in",
    "whole_text",
]

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


Size = tuple[int, int]
"""Width and height in pixels."""

_SIDES: Final = {"2k": 2048, "1k": 1024}
_SMALLER: Final = (1024, 768, 512, 256)
"""Sides of the squares to fall back to."""
_FINE, _COARSE = 16, 64
"""Sides are multiples of these: what the real API makes, and what every engine can."""
_CLEARLY: Final = 0.9
"""Times a side, to be a smaller one."""
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
"""How a refusal names a parameter in its sentence."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of an error, in the words it was said with.

    Attributes:
        text: The sentence.
        code: Such as `content_policy_violation`.
        names: Parameters it names apart from the sentence.
    """

    text: str
    code: str = ""
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, body: bytes) -> ErrorBody:
        """Read the forms there are: OpenAI's, FastAPI's, and plain ones."""
        try:
            said: Any = parsed(body)
        except ValueError:
            text = body[:4096].decode("utf-8", "replace")
            return cls("" if text.lstrip()[:1] == "<" else text)
        if not isinstance(said, dict):
            return cls(str(said)[:4096])
        error = said.get("error", said)
        if not isinstance(error, dict):
            return cls(str(said.get("message") or error))
        detail = error.get("detail")
        if isinstance(detail, list):
            return cls(
                "; ".join(str(_get(one, "msg")) for one in detail),
                names=frozenset(str(_last(_get(one, "loc"))) for one in detail),
            )
        text = error.get("message") or detail or error.get("error") or ""
        code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
        return cls(str(text), code, frozenset(filter(None, [str(error.get("param") or "")])))

    @property
    def moderated(self) -> bool:
        """Whether the prompt or the picture was refused for what it shows."""
        return _MODERATION.search(f"{self.code} {self.text}") is not None

    def about(self, parameter: str) -> bool:
        """Tell whether `parameter` is what it complains of."""
        if self.names:
            return parameter in {name.removesuffix("[]") for name in self.names}
        return re.search(_WORDS[parameter], self.text, re.IGNORECASE) is not None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name, "") if isinstance(thing, dict) else thing


def _last(thing: Any) -> Any:
    return thing[-1] if isinstance(thing, list) and thing else thing


def sizes_in(text: str) -> frozenset[Size]:
    """Return the sizes that a sentence lists, `1024x1536` for one."""
    found = ((int(match[1]), int(match[2])) for match in _SIZE.finditer(text))
    return frozenset(size for size in found if min(size) >= _COARSE)


@dataclass(slots=True)
class Capabilities:
    """What has been learned.

    Attributes:
        dropped: Parameters it does not know.
        most: Pictures it makes for one order, at most.
        sizes: The only sizes it has, where it listed them.
        side: The largest square it makes, where it refused a larger one.
        field: Name of an input image: None is as OpenAI's own clients do, `image` for one and
            `image[]` for several.
    """

    dropped: set[str] = field(default_factory=set)
    most: int = 10
    sizes: frozenset[Size] = frozenset()
    side: int | None = None
    field: str | None = None

    def size(self, order: ImageOrder, *, edit: bool) -> Size | None:
        """Return the size to ask for; None: leave it to the engine."""
        if "size" in self.dropped:
            return None
        if edit and order.aspect_ratio is None and order.resolution == "1k":
            return None  # an edit keeps the shape of its input
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

    def learn(self, complaint: ErrorBody, sent: Mapping[str, Any]) -> str | None:
        """Change what a refusal names.

        Args:
            complaint: The refusal.
            sent: The parameters that may be changed, as they were sent.

        Returns:
            The parameter that was changed; None: nothing can be.
        """
        named = next((parameter for parameter in sent if complaint.about(parameter)), None)
        if named == "n":
            self.most = 1
        elif named == "size":
            self._shrink(complaint, sent["size"])
        elif named == "image":
            self.field = "image" if sent["image"] == "image[]" else "image[]"
        elif named is not None:
            self.dropped.add(named)
        return named

    def _shrink(self, complaint: ErrorBody, size: Size) -> None:
        listed = sizes_in(complaint.text) - {size}
        if listed:
            self.sizes = listed
            return
        side = math.sqrt(size[0] * size[1])
        self.side = next((each for each in _SMALLER if each < _CLEARLY * side), _SMALLER[-1])


def _rectangle(ratio: float, side: int, multiple: int) -> Size:
    """Return the rectangle of that shape with the area of a square."""
    across, down = side * math.sqrt(ratio), side / math.sqrt(ratio)
    return (
        max(1, round(across / multiple)) * multiple,
        max(1, round(down / multiple)) * multiple,
    )


def _nearest(sizes: Iterable[Size], ratio: float, side: int) -> Size:
    """Return the size nearest in shape and, among those alike, in area."""

    def distance(size: Size) -> tuple[float, float]:
        width, height = size
        shape = abs(math.log(width / height / ratio))
        return round(shape, 2), abs(math.log(width * height / side**2))

    return min(sizes, key=distance)
