"""An engine behind the OpenAI images API: vLLM-Omni, SGLang, LocalAI, stable-diffusion.cpp.

    engine = OpenAIEngine("http://localhost:8000/v1#Qwen/Qwen-Image")

What it makes takes long and may cost money, so nothing is ordered twice: a refusal that came
before any work is answered with what it asked for, once; everything else ends the call. Trying
again is left to the client of the embedded server, which is told when that is harmless.

Separate because it loads an HTTP client that the painter does not need.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from dataclasses import dataclass, replace
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
from xai_notebook.server.engine import Engine, EngineResult, checked
from xai_notebook.server.faults import Refusal
from xai_notebook.server.openai_capabilities import (
    Capabilities,
    ErrorBody,
    bytes_of,
    cost_ticks,
    entries,
    parsed,
    whole_text,
)
from xai_notebook.server.validation import Model, find_model, model_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.client.http import HttpResponse
    from xai_notebook.server.engine import EngineInput
    from xai_notebook.server.validation import ImageOrder
    from xai_notebook.settings import ApiKey

__all__ = ["EngineAddress", "ErrorTranslator", "OpenAIEngine"]

_SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """The base of an API.

    Attributes:
        base: Its path has no slash at its end.
        model: The model behind `#`, or `""`.
        private: On this computer or in its own network, where nobody is paid.
    """

    base: WebAddress
    model: str
    private: bool

    @classmethod
    def parse(cls, url: str) -> EngineAddress:
        """Read a URL.

        Raises:
            ConfigurationError: It is none, holds a password or a query, or would send prompts and
                keys over the internet in clear text. The message repeats nothing secret.
        """
        text, _, model = url.strip().partition("#")
        if not text.lower().startswith(_SCHEMES):
            raise _wrong("is no http or https URL")
        if "@" in text.split("/")[2] or "?" in text:
            raise _wrong("holds a password or a query. A key belongs in XAI_NOTEBOOK_ENGINE_KEY")
        try:
            base = WebAddress.parse(text)
        except RefusedError:
            raise _wrong("is no URL") from None
        private = is_loopback(base.host) or _is_private(base.host)
        if base.scheme == "http" and not private:
            raise _wrong(
                f"goes to {base.host} without TLS. "
                "Use https, localhost or a private address in numbers"
            )
        return cls(replace(base, target=base.target.rstrip("/") or "/v1"), model.strip(), private)

    @property
    def place(self) -> str:
        """Host and port, as a sentence names them."""
        return self.base.authority

    def url(self, path: str) -> WebAddress:
        """Return the URL of a method of the API."""
        return replace(self.base, target=f"{self.base.target}/{path}")


def _is_private(host: str) -> bool:
    """Tell whether a host is the address, in numbers, of a computer in a network of one's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    elsewhere = (address.is_link_local, address.is_multicast, address.is_unspecified)
    return not (address.is_global or address.is_reserved or any(elsewhere))


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"XAI_NOTEBOOK_ENGINE {why}. It is an address such as http://localhost:8000/v1#MODEL."
    )


_MODELS_TIMEOUT: Final = 20.0
_FRESH: Final = 60.0
"""Seconds that a list of models is believed."""
_MAX_MODELS: Final = 200
_MAX_NAMED: Final = 12
"""Models named in a message."""
_MAX_NAME: Final = 80
"""Characters of each."""
_AT_ONCE: Final = 4
"""Orders of one request under way at the same time, where it takes several."""
_MAX_REWRITTEN: Final = 32_768
"""Characters of a prompt that an engine says it used."""
_MAX_PICTURES_BYTES: Final = settings.MAX_RECEIVE_BYTES * 3 // 4 - settings.MIB
"""Of all pictures of a reply: in base64, more would be lost on their way to the client."""
_OK: Final = 200
_BEFORE_WORK: Final = frozenset({400, 422})
_MODERATED: Final = frozenset({400, 403, 422, 451})


class OpenAIEngine(Engine):
    """Makes pictures with a server of the OpenAI images API."""

    def __init__(self, url: str, *, key: ApiKey | None = None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            url: Base of the API, with the model behind `#`: https, or http on loopback or at a
                private address.
            key: Sent as a bearer token, there and nowhere else.

        Raises:
            ConfigurationError: The address cannot be used.
        """
        self._address = EngineAddress.parse(url)
        self._key = key
        self._terms = Capabilities()
        self._refusals = ErrorTranslator(self._address.place, key)
        base = self._address.url("")
        self._http = HttpClient(own=base, key=key)
        self._downloader = Downloader(allow_loopback=False, own=base, key=key)
        self._known: tuple[Model, ...] = ()
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self.place = self._address.place
        self.free = self._address.private

    async def close(self) -> None:
        """Drop idle connections."""
        self._downloader.close()

    # Models

    async def models(self) -> Sequence[Model]:
        """Return what `/models` lists, the one of the URL first.

        Raises:
            Refusal: It cannot be asked, and the URL names no model.
        """
        async with self._asking:
            if time.monotonic() - self._asked > _FRESH:
                named = [self._address.model] if self._address.model else []
                try:
                    names = dict.fromkeys([*named, *await self._listed()])
                except Refusal:
                    if not named:
                        raise
                    names = dict.fromkeys(named)
                self._known = tuple(self._model(name, list(names)) for name in names)
                self._asked = time.monotonic()
            return self._known

    async def find(self, name: str) -> Model:
        """Return the model of that name. A name of xAI's means that of the URL, or the only one.

        Raises:
            Refusal: There is none of that name, or there are several and none was named.
        """
        models = await self.models()
        if name not in model_names() or name in (model.name for model in models):
            return find_model(name, models)
        if len(models) == 1 or self._address.model:
            return models[0]
        some = [model.name[:_MAX_NAME] for model in models[:_MAX_NAMED]]
        some += ["…"] if len(models) > _MAX_NAMED else []
        raise self._refusals.because(
            Code.INVALID_ARGUMENT,
            "has several models. Name one with --model, or behind # in XAI_NOTEBOOK_ENGINE: "
            f"{', '.join(some)}",
        )

    def _model(self, name: str, names: list[str]) -> Model:
        # Whoever asks what a picture costs asks for xAI's name: on own computers, nothing.
        stands_in = name == self._address.model or len(names) == 1
        aliases = model_names() if stands_in and self._address.private else ()
        return Model(name, aliases, 0, has_quality=True, price_ticks=0)

    async def _listed(self) -> list[str]:
        """Return the names that `/models` lists.

        Raises:
            Refusal: It lists none.
        """
        url = self._address.url("models")
        request = HttpRequest(
            "GET", url, alone=True, timeout=_MODELS_TIMEOUT, max_bytes=settings.MIB
        )
        answer = await self._exchange(request)
        if answer.status != _OK:
            raise self._refusals.answered(answer)
        ids = [entry.get("id") for entry in entries(self._refusals.parsed(answer))]
        names = [self._refusals.cleaned(name) for name in ids if isinstance(name, str) and name]
        if not names:
            raise self._refusals.because(
                Code.FAILED_PRECONDITION,
                "lists no models. Name one behind # in XAI_NOTEBOOK_ENGINE.",
            )
        return names[:_MAX_MODELS]

    # Pictures

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Make one picture.

        Raises:
            Refusal: It cannot be made, or was withheld.
        """
        made = (await self.make_each(order, [index], inputs))[0]
        if made.data is None:
            raise self._refusals.because(Code.PERMISSION_DENIED, "withheld the picture.")
        return made.data

    async def make_each(
        self, order: ImageOrder, indices: Sequence[int], inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Order all pictures at once, and what is missing then, in as many orders as that takes.

        Raises:
            Refusal: There is none of them.
        """
        made = await self._ordered(order, len(indices), inputs)
        missing = len(indices) - len(made)
        if missing <= 0:
            return made
        most = self._terms.most = max(1, min(len(made), self._terms.most))
        counts = [min(most, missing - first) for first in range(0, missing, most)]
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ordered(count: int) -> list[EngineResult]:
            async with slots:
                return await self._ordered(order, count, inputs)

        # What came stays, whatever becomes of the rest: it is made, and perhaps paid for.
        for more in await asyncio.gather(*map(ordered, counts), return_exceptions=True):
            if isinstance(more, list):
                made += more
            elif not isinstance(more, Refusal):
                raise more
        return made

    async def _ordered(
        self, order: ImageOrder, count: int, inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Return what one order brings, changed as refusals before any work ask for.

        Raises:
            Refusal: It brings no picture.
        """
        changed: set[str] = set()
        while True:
            asked = min(count, self._terms.most)
            request, sent = self._request(order, asked, inputs)
            answer = await self._exchange(request)
            if answer.status == _OK:
                return await self._pictures(answer)
            complaint = ErrorBody.parse(answer.body)
            if answer.status in _MODERATED and complaint.moderated:
                return [EngineResult(None)] * asked
            open_to = {name: value for name, value in sent.items() if name not in changed}
            learned = answer.status in _BEFORE_WORK and self._terms.learn(complaint, open_to)
            if not learned:
                raise self._refusals.answered(answer)
            changed.add(learned)

    def _request(
        self, order: ImageOrder, count: int, inputs: Sequence[EngineInput]
    ) -> tuple[HttpRequest, dict[str, Any]]:
        """Return what is sent for a request, and the parameters that may still be changed."""
        sent: dict[str, Any] = {"response_format": "b64_json"}
        if size := self._terms.size(order, edit=bool(inputs)):
            sent["size"] = size
        if order.quality == "low":  # medium is also what was not said
            sent["quality"] = "low"
        if count > 1:
            sent["n"] = count
        sent = {name: value for name, value in sent.items() if name not in self._terms.dropped}
        body = {"model": order.model, "prompt": order.prompt, **sent}
        if "size" in body:
            body["size"] = "{}x{}".format(*body["size"])
        if not inputs:
            return self._post("images/generations", {"json": body}), sent
        field = sent["image"] = self._terms.image_field(len(inputs))
        files = []
        for number, one in enumerate(inputs):
            kind = media.media_type(one.data) or "image/png"
            name = f"image{number}{media.EXTENSIONS.get(kind, '')}"
            files.append((field, (name, one.data, kind)))
        form = {name: str(value) for name, value in body.items()}
        return self._post("images/edits", {"data": form, "files": files}), sent

    def _post(self, path: str, body: dict[str, Any]) -> HttpRequest:
        return HttpRequest("POST", self._address.url(path), body=body, alone=True)

    async def _pictures(self, answer: HttpResponse) -> list[EngineResult]:
        """Return the pictures of a reply.

        Raises:
            Refusal: There is none that can be used.
        """
        reply = await asyncio.to_thread(self._refusals.parsed, answer)
        found = entries(reply)
        try:
            cost = cost_ticks(answer.headers, len(found))
        except KeyError:
            cost = 0 if self._address.private else None
        made, problem, room = [], "it holds none", _MAX_PICTURES_BYTES
        for entry in found[: 4 * settings.MAX_IMAGES]:
            try:
                data = await bytes_of(entry, self._downloader)
                kind = await asyncio.to_thread(checked, data)
            except (ValueError, ConfigurationError, DownloadError) as error:
                problem = str(error).rstrip(".")
                continue
            if len(data) > room:
                problem = "its pictures are too large together"
                continue
            room -= len(data)
            made.append(EngineResult(data, kind, self._rewritten(entry), cost))
        if not made:
            raise self._refusals.because(
                Code.INTERNAL, f"answered without a usable picture: {problem}."
            )
        return made

    def _rewritten(self, entry: dict[str, Any]) -> str:
        """Return the prompt that made a picture, where the engine says that it was another one."""
        said = entry.get("revised_prompt")
        if not isinstance(said, str):
            return ""
        return whole_text(scrub(said[:_MAX_REWRITTEN], self._key))

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        """Send once.

        Raises:
            Refusal: No whole answer came.
        """
        try:
            return await self._http.send(request)
        except ConfigurationError as error:
            raise self._refusals.because(
                Code.FAILED_PRECONDITION, f"is not asked: {error}"
            ) from None
        except UnreachableError as error:
            raise self._refusals.unreachable(error) from None
        except BrokenError as error:
            raise self._refusals.broken(error) from None


_MAX_SAID: Final = 600
"""Characters of an engine's own words."""
_MAX_DIGITS: Final = 5
"""Of the seconds to wait: a day and a bit."""
_NEVER: Final = (("grpc-retry-pushback-ms", "-1"),)
_FAILED: Final = (Code.INTERNAL, "failed. It may have done the work: not asked again.")
_STATUSES: Final[dict[int, tuple[Code, str]]] = {
    400: (Code.INVALID_ARGUMENT, "does not accept the request."),
    401: (Code.FAILED_PRECONDITION, "wants another key. Set it in XAI_NOTEBOOK_ENGINE_KEY."),
    403: (Code.FAILED_PRECONDITION, "does not allow this, at least not with that key."),
    404: (Code.FAILED_PRECONDITION, "does not know the address or the model."),
    405: (Code.UNIMPLEMENTED, "does not do this."),
    413: (Code.INVALID_ARGUMENT, "finds the request too large. Use smaller images."),
    422: (Code.INVALID_ARGUMENT, "does not accept the request."),
    429: (Code.RESOURCE_EXHAUSTED, "has too much to do, or the quota is used up."),
    501: (Code.UNIMPLEMENTED, "does not do this."),
    503: (Code.UNAVAILABLE, "is not ready."),
}
_REDIRECTS: Final = range(300, 400)
_BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class ErrorTranslator:
    """Refusals in the name of one engine.

    Attributes:
        place: Where it is.
        key: What it was sent, and could say back.
    """

    place: str
    key: ApiKey | None

    def because(self, code: Code, text: str, trailing: tuple[tuple[str, str], ...] = ()) -> Refusal:
        """Return a refusal for a cause that continues "The engine at …"."""
        return Refusal(code, f"The engine at {self.place} {text}", trailing)

    def unreachable(self, error: UnreachableError) -> Refusal:
        """Return the refusal when nothing was sent: harmless to try again, if that may help."""
        text = f"cannot be reached ({error}). Start it, or change XAI_NOTEBOOK_ENGINE."
        return self.because(Code.UNAVAILABLE, text, () if error.refused else _NEVER)

    def broken(self, error: BrokenError) -> Refusal:
        """Return the refusal when no whole answer came."""
        return self.because(
            Code.INTERNAL, f"failed: {error}. It may have done the work: not asked again."
        )

    def answered(self, answer: HttpResponse) -> Refusal:
        """Return the refusal that an answer other than 200 means."""
        said = self.cleaned(ErrorBody.parse(answer.body).text)
        code, text = _STATUSES.get(answer.status, _FAILED)
        if answer.status in _REDIRECTS:
            code, text = Code.FAILED_PRECONDITION, "redirects, which is not followed."
        trailing: tuple[tuple[str, str], ...] = ()
        if answer.status in _BUSY:
            pause = answer.headers.get("retry-after", "")
            credible = pause.isdecimal() and len(pause) <= _MAX_DIGITS
            trailing = (("retry-after", pause),) if credible else _NEVER
        said = f" It says: {said}" if said else ""
        return self.because(code, f"{text} (HTTP {answer.status}){said}", trailing)

    def parsed(self, answer: HttpResponse) -> dict[str, Any]:
        """Return the object that an answer is.

        Raises:
            Refusal: It is none.
        """
        try:
            said = parsed(answer.body)
        except ValueError:
            said = None
        if isinstance(said, dict):
            return said
        kind = "a web page" if answer.body.lstrip()[:1] == b"<" else "no JSON"
        raise self.because(
            Code.FAILED_PRECONDITION,
            f"answered with {kind}. The address must be that of the API, which mostly ends in "
            "/v1; a proxy or login page may be in the way.",
        )

    def cleaned(self, text: str) -> str:
        """Return what the engine said, bounded and without the key."""
        text = whole_text(text[: 8 * _MAX_SAID])
        return " ".join(scrub(text, self.key)[:_MAX_SAID].split())
