"""The engine for servers of the OpenAI images API: vLLM-Omni, SGLang, LocalAI and others.

    engine = OpenAIEngine("http://localhost:8000/v1#Qwen/Qwen-Image")

Such servers differ: some do not support `response_format`, some make only one picture per request,
some support only a few sizes, and some need the field name `image[]`. They reject an unsupported
parameter with HTTP 400 or 422 before any work. The engine then changes the parameter that the error
names and sends the request again, once per parameter. `Capabilities` remembers the change.

Pictures take long and may cost money, so every other failure ends the call. The client of the
embedded server retries if the status shows that a retry is harmless.

Separate because it loads an HTTP client that the painter does not need.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import math
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode as Code

from xai_notebook import settings
from xai_notebook.client import media
from xai_notebook.client.addresses import RefusedError, WebAddress, is_loopback
from xai_notebook.client.http import (
    BrokenError,
    Downloader,
    HttpClient,
    HttpRequest,
    UnreachableError,
)
from xai_notebook.client.transport.scrubbing import scrub
from xai_notebook.errors import ConfigurationError, DownloadError
from xai_notebook.server.engine import Engine, EngineResult, check_picture
from xai_notebook.server.faults import Refusal
from xai_notebook.server.validation import MODEL_NAMES, Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xai_notebook.client.http import HttpResponse
    from xai_notebook.server.engine import EngineInput
    from xai_notebook.server.validation import ImageOrder
    from xai_notebook.settings import ApiKey

_TICKS: Final = 10**10
"""Ticks in one US dollar."""
_MAX_USD: Final = 10_000.0
"""Highest plausible cost of one reply, in US dollars."""
_MAX_DIGITS: Final = 300
"""Integers with more digits are parsed as floats: Python refuses more than 4300 digits."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which protobuf cannot encode."""
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


def list_entries(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a reply, which describe pictures or models."""
    data = reply.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def cost_ticks(header: str, pictures: int) -> int | None:
    """Return the cost per picture from LiteLLM's header; None if it is implausible."""
    try:
        usd = float(header)
    except ValueError:
        usd = math.nan
    return round(usd * _TICKS / max(pictures, 1)) if 0 <= usd <= _MAX_USD else None


async def fetch_picture(entry: dict[str, Any], downloader: Downloader) -> bytes:
    """Return the image file of an entry, without checking the image.

    Raises:
        ValueError: The entry has no picture, or its base64 is damaged.
        DownloadError: The URL of the picture is not allowed, or cannot be downloaded.
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
    """Decode base64. Also accept the URL-safe alphabet and missing padding."""
    return base64.b64decode(f"{encoded.translate(_URL_SAFE).rstrip('= ')}===")


Size = tuple[int, int]
"""Width and height in pixels."""

_SIDES: Final = {"2k": 2048, "1k": 1024}
_SMALLER: Final = (1024, 768, 512, 256)
"""Sides of smaller squares to try after a refusal, in pixels."""
_FINE, _COARSE = 16, 64
"""Sides are multiples of 16 in the real API; every engine accepts multiples of 64."""
_SHRINK: Final = 0.9
"""The next smaller side must be less than this fraction of the refused side."""
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
"""Patterns that recognize a parameter in an error message."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of an error reply.

    Attributes:
        text: The error message.
        code: Error code and type, such as `content_policy_violation`.
        names: Parameters that a separate field of the body names.
    """

    text: str
    code: str = ""
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, body: bytes) -> ErrorBody:
        """Parse an error in the format of OpenAI or FastAPI, or plain text."""
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
            items = [i if isinstance(i, dict) else {"msg": i, "loc": i} for i in detail]
            text = "; ".join(str(item.get("msg", "")) for item in items)
            locations = [item.get("loc", "") for item in items]
            names = [each[-1] if isinstance(each, list) and each else each for each in locations]
            return cls(text, names=frozenset(map(str, names)))
        text = error.get("message") or detail or error.get("error") or ""
        code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
        return cls(str(text), code, frozenset(filter(None, [str(error.get("param") or "")])))

    @property
    def moderated(self) -> bool:
        """Whether moderation rejected the prompt or the picture."""
        return _MODERATION.search(f"{self.code} {self.text}") is not None

    def about(self, parameter: str) -> bool:
        """Tell whether the error is about `parameter`."""
        if self.names:
            return parameter in {name.removesuffix("[]") for name in self.names}
        return re.search(_WORDS[parameter], self.text, re.IGNORECASE) is not None


@dataclass(slots=True)
class Capabilities:
    """The limits of an engine, learned from its refusals.

    Attributes:
        dropped: Parameters that the engine does not support.
        most: Maximum number of pictures per HTTP request.
        sizes: The only supported sizes, if the engine listed them.
        side: Side of the largest square to request, in pixels, if the engine refused a larger one.
        field: Name of the multipart field for input images. None uses the names of OpenAI's
            clients: `image` for one image and `image[]` for several.
    """

    dropped: set[str] = field(default_factory=set)
    most: int = 10
    sizes: frozenset[Size] = frozenset()
    side: int | None = None
    field: str | None = None

    def size(self, order: ImageOrder, *, edit: bool) -> Size | None:
        """Return the size to send, or None if the engine is to choose."""
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

    def learn(self, error: ErrorBody, sent: Mapping[str, Any]) -> str | None:
        """Learn from a refusal how to send the refused parameter from now on.

        `sent` are the changeable parameters with the values that were sent. Return the name of the
        refused parameter, or None if the refusal is about none of them.
        """
        named = next((parameter for parameter in sent if error.about(parameter)), None)
        if named == "n":
            self.most = 1
        elif named == "size":
            size = sent["size"]
            listed = [(int(width), int(height)) for width, height in _SIZE.findall(error.text)]
            sizes = frozenset(each for each in listed if min(each) >= _COARSE and each != size)
            self.sizes = sizes or self.sizes
            if not sizes:
                side = math.sqrt(size[0] * size[1])
                self.side = next((s for s in _SMALLER if s < _SHRINK * side), _SMALLER[-1])
        elif named == "image":
            self.field = "image" if sent["image"] == "image[]" else "image[]"
        elif named is not None:
            self.dropped.add(named)
        return named


def _rectangle(ratio: float, side: int, multiple: int) -> Size:
    """Return the size with this ratio and about the area of a square with this side."""
    across, down = side * math.sqrt(ratio), side / math.sqrt(ratio)
    return (max(1, round(across / multiple)) * multiple, max(1, round(down / multiple)) * multiple)


def _nearest(sizes: Iterable[Size], ratio: float, side: int) -> Size:
    """Return the size with the nearest shape; among equal shapes, the nearest area."""

    def distance(size: Size) -> tuple[float, float]:
        width, height = size
        shape = abs(math.log(width / height / ratio))
        return round(shape, 2), abs(math.log(width * height / side**2))

    return min(sizes, key=distance)


_SCHEMES: Final = ("http://", "https://")
_MODELS_TIMEOUT: Final = 20.0
_MODELS_TTL: Final = 60.0
"""Seconds for which a list of models is cached."""
_MAX_MODELS: Final = 200
_MAX_NAMED: Final = 12
"""Maximum number of models named in a message."""
_MAX_NAME: Final = 80
"""Maximum characters of a model's name in a message."""
_CONCURRENCY: Final = 4
"""Maximum number of concurrent HTTP requests for one image request."""
_MAX_REWRITTEN: Final = 32_768
"""Maximum characters of a rewritten prompt that an engine reports."""
_MAX_PICTURES_BYTES: Final = settings.MAX_RECEIVE_BYTES * 3 // 4 - settings.MIB
"""Maximum bytes of all pictures in a reply. In base64, more would exceed the client's limit."""
_MAX_MESSAGE: Final = 600
"""Maximum characters of an engine's own error message."""
_MAX_PAUSE_DIGITS: Final = 5
"""Maximum digits of `Retry-After` in seconds: a little more than a day."""
_OK: Final = 200
_BEFORE_WORK: Final = frozenset({400, 422})
_MODERATED: Final = frozenset({400, 403, 422, 451})
_REDIRECTS: Final = range(300, 400)
_BUSY: Final = (429, 503)
_NO_RETRY: Final = (("grpc-retry-pushback-ms", "-1"),)
_FAILED: Final = (
    Code.INTERNAL,
    "failed. It may have done the work, so the request is not repeated.",
)
_STATUSES: Final[dict[int, tuple[Code, str]]] = {
    400: (Code.INVALID_ARGUMENT, "does not accept the request."),
    401: (Code.FAILED_PRECONDITION, "does not accept the key. Set XAI_NOTEBOOK_ENGINE_KEY."),
    403: (Code.FAILED_PRECONDITION, "does not allow this request with this key."),
    404: (Code.FAILED_PRECONDITION, "does not know the address or the model."),
    405: (Code.UNIMPLEMENTED, "does not support this."),
    413: (Code.INVALID_ARGUMENT, "rejects the request as too large. Use smaller images."),
    422: (Code.INVALID_ARGUMENT, "does not accept the request."),
    429: (Code.RESOURCE_EXHAUSTED, "is overloaded, or the quota is used up."),
    501: (Code.UNIMPLEMENTED, "does not support this."),
    503: (Code.UNAVAILABLE, "is not ready."),
}
"""gRPC status and message for each HTTP status of an engine."""


def _parse_url(url: str) -> tuple[WebAddress, str, bool]:
    """Return the base of an API without a slash at the end, the model after `#`, and `is_private`.

    A private host is this computer or a private IP address. Its pictures are free.

    Raises:
        ConfigurationError: The URL is invalid, contains a password or a query, or would send
            prompts and keys unencrypted over the internet. The message contains no secret.
    """
    text, _, model = url.strip().partition("#")
    if not text.lower().startswith(_SCHEMES):
        raise _invalid_url("is not an http or https URL")
    if "@" in text.split("/")[2] or "?" in text:
        raise _invalid_url(
            "contains a password or a query. A key belongs in XAI_NOTEBOOK_ENGINE_KEY"
        )
    try:
        base = WebAddress.parse(text)
    except RefusedError:
        raise _invalid_url("is not a valid URL") from None
    is_private = is_loopback(base.host) or _is_private(base.host)
    if base.scheme == "http" and not is_private:
        raise _invalid_url(
            f"goes to {base.host} without TLS. Use https, localhost or a private IP address"
        )
    return replace(base, target=base.target.rstrip("/") or "/v1"), model.strip(), is_private


def _is_private(host: str) -> bool:
    """Tell whether a host is an IP address in a private network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    special = (address.is_link_local, address.is_multicast, address.is_unspecified)
    return not (address.is_global or address.is_reserved or any(special))


def _invalid_url(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"XAI_NOTEBOOK_ENGINE {why}. It must look like http://localhost:8000/v1#MODEL."
    )


class OpenAIEngine(Engine):
    """Makes pictures with a server that implements the OpenAI images API."""

    def __init__(self, url: str, *, key: ApiKey | None = None) -> None:
        """Create the engine. Nothing is sent yet.

        Args:
            url: Base URL of the API, optionally with the model after `#`. It must be https, or
                http on loopback or at a private IP address.
            key: API key, sent as a bearer token to that address only.

        Raises:
            ConfigurationError: The URL cannot be used.
        """
        self._base, self._model, self.free = _parse_url(url)
        self._key = key
        self._capabilities = Capabilities()
        own = self._url("")
        self._http = HttpClient(own=own, key=key)
        self._downloader = Downloader(allow_loopback=False, own=own, key=key)
        self._models: tuple[Model, ...] = ()
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()
        self.location = own.authority

    async def close(self) -> None:
        """Close idle connections."""
        self._downloader.close()

    def _url(self, path: str) -> WebAddress:
        return replace(self._base, target=f"{self._base.target}/{path}")

    # Models

    async def models(self) -> Sequence[Model]:
        """Return the models that `/models` lists, with the model from the URL first.

        Raises:
            Refusal: The list is not available, and the URL does not name a model.
        """
        async with self._listing:
            if time.monotonic() - self._listed_at > _MODELS_TTL:
                named = [self._model] if self._model else []
                try:
                    names = dict.fromkeys([*named, *await self._list_names()])
                except Refusal:
                    if not named:
                        raise
                    names = dict.fromkeys(named)
                # Prices are looked up by xAI's names: a free default model has them as aliases.
                default = self._model or (next(iter(names)) if len(names) == 1 else "")
                self._models = tuple(
                    Model(
                        name,
                        MODEL_NAMES if name == default and self.free else (),
                        0,
                        has_quality=True,
                        price_ticks=0,
                    )
                    for name in names
                )
                self._listed_at = time.monotonic()
            return self._models

    async def find(self, name: str) -> Model:
        """Return the model with that name.

        xAI's model names select the model from the URL, or the engine's only model.

        Raises:
            Refusal: The model does not exist, or xAI's name is ambiguous.
        """
        models = await self.models()
        is_unambiguous = len(models) == 1 or self._model or name not in MODEL_NAMES
        if is_unambiguous or name in (model.name for model in models):
            return await super().find(name)
        some = [model.name[:_MAX_NAME] for model in models[:_MAX_NAMED]]
        some += ["…"] if len(models) > _MAX_NAMED else []
        raise self._refusal(
            Code.INVALID_ARGUMENT,
            "has several models. Name one with --model, or after # in XAI_NOTEBOOK_ENGINE: "
            f"{', '.join(some)}",
        )

    async def _list_names(self) -> list[str]:
        """Return the names of models that `/models` lists.

        Raises:
            Refusal: The list is not available or empty.
        """
        url = self._url("models")
        request = HttpRequest(
            "GET", url, alone=True, timeout=_MODELS_TIMEOUT, max_bytes=settings.MIB
        )
        response = await self._send(request)
        if response.status != _OK:
            raise self._status_refusal(response)
        ids = [entry.get("id") for entry in list_entries(self._parse(response))]
        names = [self._clean(name) for name in ids if isinstance(name, str) and name]
        if not names:
            raise self._refusal(
                Code.FAILED_PRECONDITION,
                "lists no models. Name one after # in XAI_NOTEBOOK_ENGINE.",
            )
        return names[:_MAX_MODELS]

    # Pictures

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Make one picture.

        Raises:
            Refusal: The picture cannot be made, or was withheld.
        """
        result = (await self.make_each(order, [index], inputs))[0]
        if result.data is None:
            raise self._refusal(Code.PERMISSION_DENIED, "withheld the picture.")
        return result.data

    async def make_each(
        self, order: ImageOrder, indices: Sequence[int], inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Request all pictures at once, then missing ones in as many requests as necessary.

        Raises:
            Refusal: The first request returned no picture.
        """
        results = await self._request_pictures(order, len(indices), inputs)
        missing = len(indices) - len(results)
        if missing <= 0:
            return results
        most = self._capabilities.most = max(1, min(len(results), self._capabilities.most))
        counts = [min(most, missing - first) for first in range(0, missing, most)]
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def request_more(count: int) -> list[EngineResult]:
            async with slots:
                return await self._request_pictures(order, count, inputs)

        # If a later request is refused, keep the earlier pictures: they may have cost money.
        for more in await asyncio.gather(*map(request_more, counts), return_exceptions=True):
            if isinstance(more, list):
                results += more
            elif not isinstance(more, Refusal):
                raise more
        return results

    async def _request_pictures(
        self, order: ImageOrder, count: int, inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Request pictures. If the engine refuses a parameter before any work, change it and retry.

        Raises:
            Refusal: The engine returned no picture.
        """
        changed: set[str] = set()
        while True:
            asked = min(count, self._capabilities.most)
            request, sent = self._build_request(order, asked, inputs)
            response = await self._send(request)
            if response.status == _OK:
                return await self._pictures(response)
            error = ErrorBody.parse(response.body)
            if response.status in _MODERATED and error.moderated:
                return [EngineResult(None)] * asked
            changeable = {name: value for name, value in sent.items() if name not in changed}
            parameter = response.status in _BEFORE_WORK and self._capabilities.learn(
                error, changeable
            )
            if not parameter:
                raise self._status_refusal(response)
            changed.add(parameter)

    def _build_request(
        self, order: ImageOrder, count: int, inputs: Sequence[EngineInput]
    ) -> tuple[HttpRequest, dict[str, Any]]:
        """Return the HTTP request and its changeable parameters."""
        sent: dict[str, Any] = {"response_format": "b64_json"}
        if size := self._capabilities.size(order, edit=bool(inputs)):
            sent["size"] = size
        if order.quality == "low":  # medium is the default
            sent["quality"] = "low"
        if count > 1:
            sent["n"] = count
        for name in self._capabilities.dropped:
            sent.pop(name, None)
        body = {"model": order.model, "prompt": order.prompt, **sent}
        if "size" in body:
            body["size"] = "{}x{}".format(*body["size"])
        if not inputs:
            url = self._url("images/generations")
            return HttpRequest("POST", url, body={"json": body}, alone=True), sent
        default = "image" if len(inputs) == 1 else "image[]"
        field = sent["image"] = self._capabilities.field or default
        files = []
        for number, source in enumerate(inputs):
            kind = media.media_type(source.data) or "image/png"
            name = f"image{number}{media.EXTENSIONS.get(kind, '')}"
            files.append((field, (name, source.data, kind)))
        form = {name: str(value) for name, value in body.items()}
        url = self._url("images/edits")
        return HttpRequest("POST", url, body={"data": form, "files": files}, alone=True), sent

    async def _pictures(self, response: HttpResponse) -> list[EngineResult]:
        """Return the usable pictures of a response.

        Raises:
            Refusal: No picture is usable.
        """
        entries = list_entries(await asyncio.to_thread(self._parse, response))
        cost = 0 if self.free else None
        if (header := response.headers.get("x-litellm-response-cost")) is not None:
            cost = cost_ticks(header, len(entries))
        results, problem, space = [], "it is empty", _MAX_PICTURES_BYTES
        for entry in entries[: 4 * settings.MAX_IMAGES]:
            try:
                data = await fetch_picture(entry, self._downloader)
                kind = await asyncio.to_thread(check_picture, data)
            except (ValueError, ConfigurationError, DownloadError) as error:
                problem = str(error).rstrip(".")
                continue
            if len(data) > space:
                problem = "its pictures are too large together"
                continue
            space -= len(data)
            prompt = entry.get("revised_prompt")
            prompt = prompt[:_MAX_REWRITTEN] if isinstance(prompt, str) else ""
            prompt = _SURROGATES.sub("\ufffd", scrub(prompt, self._key))
            results.append(EngineResult(data, kind, prompt, cost))
        if not results:
            raise self._refusal(Code.INTERNAL, f"answered without a usable picture: {problem}.")
        return results

    async def _send(self, request: HttpRequest) -> HttpResponse:
        """Send a request once.

        Raises:
            Refusal: No complete response arrived.
        """
        try:
            return await self._http.send(request)
        except ConfigurationError as error:
            refusal = self._refusal(Code.FAILED_PRECONDITION, f"cannot be used: {error}")
        except UnreachableError as error:
            # Nothing was sent, so a retry is harmless. It helps only if the engine is starting.
            text = f"cannot be reached ({error}). Start it, or change XAI_NOTEBOOK_ENGINE."
            trailing = () if error.refused else _NO_RETRY
            refusal = self._refusal(Code.UNAVAILABLE, text, trailing)
        except BrokenError as error:
            refusal = self._refusal(
                Code.INTERNAL,
                f"failed: {error}. It may have done the work, so the request is not repeated.",
            )
        raise refusal

    def _refusal(
        self, code: Code, text: str, trailing: tuple[tuple[str, str], ...] = ()
    ) -> Refusal:
        """Return a refusal; `text` completes the sentence "The engine at HOST ..."."""
        return Refusal(code, f"The engine at {self.location} {text}", trailing)

    def _status_refusal(self, response: HttpResponse) -> Refusal:
        """Return the refusal for an HTTP status other than 200."""
        code, text = _STATUSES.get(response.status, _FAILED)
        if response.status in _REDIRECTS:
            code, text = (
                Code.FAILED_PRECONDITION,
                "redirects requests; redirects are not followed.",
            )
        trailing: tuple[tuple[str, str], ...] = ()
        if response.status in _BUSY:
            pause = response.headers.get("retry-after", "")
            credible = pause.isdecimal() and len(pause) <= _MAX_PAUSE_DIGITS
            trailing = (("retry-after", pause),) if credible else _NO_RETRY
        message = self._clean(ErrorBody.parse(response.body).text)
        message = f" It says: {message}" if message else ""
        return self._refusal(code, f"{text} (HTTP {response.status}){message}", trailing)

    def _parse(self, response: HttpResponse) -> dict[str, Any]:
        """Return the JSON object of a response.

        Raises:
            Refusal: The response is not a JSON object.
        """
        try:
            reply = parse_json(response.body)
        except ValueError:
            reply = None
        if isinstance(reply, dict):
            return reply
        kind = "a web page" if response.body.lstrip()[:1] == b"<" else "something other than JSON"
        raise self._refusal(
            Code.FAILED_PRECONDITION,
            f"answered with {kind}. The address must be that of the API, which usually ends in "
            "/v1; a proxy or login page may be in the way.",
        )

    def _clean(self, text: str) -> str:
        """Return text from the engine on one line, shortened and without the API key."""
        text = _SURROGATES.sub("\ufffd", text[: 8 * _MAX_MESSAGE])
        return " ".join(scrub(text, self._key)[:_MAX_MESSAGE].split())
