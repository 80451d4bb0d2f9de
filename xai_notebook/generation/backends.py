"""What a kernel keeps open: its servers and its library, each from its first use on.

The only module that starts the embedded server. The rest speaks to it like to any other.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import re
import secrets
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import pybase64

from xai_notebook import client, server
from xai_notebook.client.addresses import Endpoint
from xai_notebook.client.request import with_prompt
from xai_notebook.errors import (
    ApiError,
    ConfigurationError,
    LibraryError,
    NotFoundError,
    ReplyError,
    XaiError,
)
from xai_notebook.generation.budget import Prices
from xai_notebook.library import Library
from xai_notebook.library.inputs import CachedUpload
from xai_notebook.library.replies import recover
from xai_notebook.library.storage.database import interruptible
from xai_notebook.library.storage.lock import FileLock
from xai_notebook.settings import DEFAULT_API_HOST, ApiKey, Configuration, engine_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from xai_notebook.arguments.options import Options
    from xai_notebook.client import AsyncClient
    from xai_notebook.client.files import FilesClient
    from xai_notebook.client.request import ImageRequest, InputImage
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.generation.budget import Reservation
    from xai_notebook.generation.event_loop import BackgroundLoop
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library.inputs import UploadCache
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.server import EmbeddedServer

__all__ = [
    "Backend",
    "Backends",
    "Flight",
    "InputUploads",
    "PromptRewriter",
    "Route",
    "SingleFlight",
    "choose_route",
]

_LIFETIME: Final = 3 * 24 * 3600
"""Seconds after which the server deletes what was uploaded."""
_HOUR: Final = 3600.0
_SHORT: Final = 2048
"""Characters of a data URI that are sent as they are: naming a file takes a call and its id."""


@dataclass(slots=True)
class InputUploads:
    """A server's file store, as far as input images are in it.

    Attributes:
        files: The store.
        backend: `"xai"` or `"local"`.
        host: What tells the server from others.
    """

    files: FilesClient
    backend: str
    host: str
    _seen: dict[str, CachedUpload] = field(default_factory=dict)
    """What this kernel knows to be there, by the image's digest."""
    _refused: set[str] = field(default_factory=set)
    """What the store did not take: it is not asked twice."""
    _busy: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def send(
        self,
        request: ImageRequest,
        send: Callable[[ImageRequest], Awaitable[Sequence[ImageResponse]]],
        uploads: UploadCache,
    ) -> Sequence[ImageResponse]:
        """Send a request that names its images; with the images in it where they can't be stored.

        What the store has lost meanwhile is uploaded and the request, which was refused, sent once
        more.
        """
        if self._refused.intersection(image.sha256 for image in request.inputs):
            return await send(request)
        try:
            named = await self.name(request, uploads)
        except ApiError:
            self._refused.update(image.sha256 for image in request.inputs)
            return await send(request)
        try:
            return await send(named)
        except NotFoundError:
            if not await self._forget_lost(named.inputs):
                raise
        return await send(await self.name(request, uploads))

    async def name(
        self, request: ImageRequest, uploads: UploadCache, *, lasting: float = _HOUR
    ) -> ImageRequest:
        """Return a request whose images are in the store and named by their ids.

        URLs stay: the server fetches them itself. The request's fingerprint stays the same, too.

        Args:
            request: With the images in it.
            uploads: Where it is remembered what was stored, from kernel to kernel.
            lasting: Seconds for which the images must stay there at least.

        Raises:
            ApiError: An image cannot be stored.
        """
        inputs = [await self._stored(image, uploads, lasting) for image in request.inputs]
        return replace(request, inputs=tuple(inputs))

    async def _stored(self, image: InputImage, uploads: UploadCache, lasting: float) -> InputImage:
        if not image.url.startswith("data:") or len(image.url) < _SHORT:
            return image
        async with self._busy.setdefault(image.sha256, asyncio.Lock()):
            # An answer would say at once that it is gone; a job says so when it is over.
            upload = self._seen.get(image.sha256) if lasting <= _HOUR else None
            upload = upload or await self._remembered(image, uploads)
            if upload is None or upload.expires < time.time() + lasting:
                upload = await self._upload(image, uploads)
            self._seen[image.sha256] = upload
        return replace(image, file_id=upload.file_id)

    async def _remembered(self, image: InputImage, uploads: UploadCache) -> CachedUpload | None:
        """Return where another kernel put an image, if it is still there."""
        known = (self.backend, self.host, image.sha256)
        with suppress(LibraryError):
            upload = await asyncio.to_thread(uploads.find, *known)
            if upload is not None and await self._is_there(upload):
                return upload
        return None

    async def _is_there(self, upload: CachedUpload) -> bool:
        """Tell whether the server still has a file; under another key it never had it."""
        try:
            await self.files.get(upload.file_id)
        except ApiError:
            return False
        return True

    async def _upload(self, image: InputImage, uploads: UploadCache) -> CachedUpload:
        head, _, body = image.url.partition(",")
        data = await asyncio.to_thread(pybase64.b64decode, body)
        kind = head.removeprefix("data:image/").partition(";")[0]
        stored = await self.files.upload(
            data, filename=f"{image.sha256[:16]}.{kind}", expires_after=_LIFETIME
        )
        expires = time.time() + _LIFETIME
        if stored.HasField("expires_at"):
            expires = min(expires, float(stored.expires_at.seconds))
        upload = CachedUpload(stored.id, expires)
        with suppress(LibraryError):  # another kernel uploads it again, and no more is lost
            await asyncio.to_thread(uploads.remember, self.backend, self.host, image.sha256, upload)
        return upload

    async def _forget_lost(self, inputs: Sequence[InputImage]) -> bool:
        """Forget the images that the store has lost; tell whether there are any."""
        lost = False
        for image in inputs:
            upload = self._seen.get(image.sha256)
            if image.file_id is None or upload is None:
                continue
            if upload.file_id == image.file_id and not await self._is_there(upload):
                del self._seen[image.sha256]
            lost |= self._seen.get(image.sha256) is not upload
        return lost


INSTRUCTION: Final = (
    "You turn a short idea into one detailed prompt for an image generation model. Keep every "
    "subject, number, name, colour, text in quotes and style the idea mentions, and its language. "
    "Add what a picture needs and the idea leaves open: composition, light, setting, materials, "
    "mood. Answer with the prompt alone, one paragraph of at most 120 words, without quotes or "
    "a preface."
)
EDIT_INSTRUCTION: Final = (
    "You turn a short wish into one clear instruction for an image editing model, which sees the "
    "input images. Keep the wish exactly as it is meant, and its language; say what changes, "
    "and that everything else stays. Answer with the instruction alone, one paragraph of at most "
    "80 words, without quotes or a preface."
)
_MAX_TOKENS: Final = 400
_NOTHING: Final[float | None] = 0.0
_QUOTED: Final = re.compile(r"^[\"“'](.*)[\"”']$", re.DOTALL)


@dataclass(slots=True)
class PromptRewriter:
    """Rewrites prompts with one chat model, each prompt once.

    Attributes:
        client: Where the chat model is.
        model: The chat model.
        backend: `"xai"` or `"local"`.
        host: Tells its rewrites from those of other hosts.
        remembered: Rewrites of this kernel, for when there is no library.
        library: Keeps rewrites for later kernels.
        progress: Takes notes.
        timeout: Seconds for a rewrite.
    """

    client: AsyncClient
    model: str
    backend: str
    host: str
    remembered: dict[str, str]
    library: Library | None
    progress: Progress
    timeout: float

    async def recall(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request as it was rewritten before, or None when it never was."""
        for key in self._keys(request):
            if text := await self._recall(key):
                return with_prompt(request, text, self.model)
        return None

    async def look_up(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request as a library that may be somebody else's has it rewritten.

        It is not to be sent. None: the library is the user's own, or has no rewrite.
        """
        if self.library is None or not self.library.foreign:
            return None
        with suppress(LibraryError):
            for key in self._keys(request):
                found = partial(self.library.rewrite_for, key, to_send=False)
                if text := await asyncio.to_thread(found):
                    return with_prompt(request, text, self.model)
        return None

    async def rewrite(
        self, request: ImageRequest, reservation: Reservation
    ) -> tuple[ImageRequest, float | None]:
        """Ask the chat model, and return the request with its new prompt and what that cost.

        A failure leaves the prompt as written and a note for the user: the image is made anyway.

        Args:
            request: As the user wrote it.
            reservation: Money set aside for this; it is settled here.

        Returns:
            The request, and the cost in US dollars; None: not reported.
        """
        instruction = _instruction(request)
        key = self._keys(request)[0]
        text, model, cost = "", self.model, _NOTHING
        try:
            answer = await self.client.chat.complete(
                request.prompt,
                self.model,
                system=instruction,
                max_tokens=_MAX_TOKENS,
                user=request.user,
                timeout=self.timeout,
                on_attempt=self.progress.on_attempt,
            )
            text, model, cost = _tidied(answer.content), answer.model, answer.cost_usd
            if not text:
                self.progress.note(
                    f"Not rewritten, sent as written: {self.model} answered nothing."
                )
        except ReplyError as error:  # an answer without text has been paid for
            cost = error.cost_usd
            self.progress.note(f"Not rewritten, sent as written: {error}")
        except XaiError as error:
            self.progress.note(f"Not rewritten, sent as written: {error}")
            if getattr(error, "maybe_billed", False):
                return request, None
            reservation.waive()
            return request, _NOTHING
        reservation.settle(cost)
        text, kept = await self._keep(key, request.prompt, text, model, cost)
        reservation.in_ledger = kept and cost is not None
        return (with_prompt(request, text, self.model) if text else request), cost

    def _keys(self, request: ImageRequest) -> list[str]:
        r"""Return the keys under which a request's rewrite is looked for; it is kept by the first.

        Earlier versions took a prompt with `\r\n` for another one.
        """
        prompt = request.prompt.replace("\r\n", "\n")
        head = [self.backend, self.host, self.model, _instruction(request)]
        prompts = dict.fromkeys((prompt, prompt.replace("\n", "\r\n")))
        return [hashlib.sha256(json.dumps([*head, each]).encode()).hexdigest() for each in prompts]

    async def _recall(self, key: str) -> str | None:
        if key in self.remembered or self.library is None:
            return self.remembered.get(key)
        try:
            return await asyncio.to_thread(self.library.rewrite_for, key)
        except LibraryError as error:
            self.progress.note(f"Rewrites are not looked up: {error}")
            return None

    async def _keep(
        self, key: str, original: str, text: str, model: str, cost_usd: float | None
    ) -> tuple[str, bool]:
        """Remember a rewrite and what it cost; one without text only for its cost.

        Returns:
            The text that counts, which another kernel may have stored first; and whether the
            library knows the cost.
        """
        kept = False
        if self.library is not None and not self.library.read_only:
            keep = partial(
                self.library.remember_rewrite,
                key, original, text, model, cost_usd, backend=self.backend,
            )  # fmt: skip
            try:
                text, kept = await asyncio.to_thread(keep), True
            except LibraryError as error:
                self.progress.note(f"Rewrites are not kept: {error}")
        if text:
            self.remembered[key] = text
        return text, kept


def _instruction(request: ImageRequest) -> str:
    return EDIT_INSTRUCTION if request.inputs else INSTRUCTION


def _tidied(text: str) -> str:
    """Return the answer without the quotes that chat models like to put around it."""
    text = text.strip()
    if match := _QUOTED.match(text):
        text = match[1].strip()
    return text


_MOST_UNKEPT: Final = 256
"""Flights whose pictures are remembered because the library could not take them."""
_LOOK: Final = 0.05
"""Seconds between two looks at a lock that another process holds."""


@dataclass(eq=False)  # without slots: it is referred to weakly
class Flight:
    """One thing that is done once.

    Attributes:
        lock: Held by the task that does it.
        unkept: Pictures that could not be stored, for the tasks that wait for them.
        inherited: A process died while it was at it.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unkept: list[Picture] = field(default_factory=list)
    inherited: bool = False


class SingleFlight:
    """Locks by key. All calls must come from one event loop."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._flights: WeakValueDictionary[str, Flight] = WeakValueDictionary()
        self._unkept: dict[str, Flight] = {}

    @asynccontextmanager
    async def hold(self, key: str, folder: Path | None) -> AsyncIterator[Flight]:
        """Wait until no other task holds `key`, and no other process; hold it inside.

        Args:
            key: Names what is done, as a file can be named.
            folder: Where processes that share it lock files; None: only this process counts.
                Where no file can be locked, the same holds.
        """
        flight = self._flights.setdefault(key, Flight())
        async with flight.lock:
            lock = None if folder is None else FileLock(folder / f"{key}.lock")
            taken = False
            try:
                with suppress(LibraryError):
                    # On the loop, not in a thread: cancelled there, it would keep what it took.
                    while lock is not None and not (taken := lock.acquire()):  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK)
                flight.inherited = taken and lock is not None and lock.inherited
                yield flight
            finally:
                if lock is not None:
                    lock.release(remove=taken)
                if flight.unkept:  # they answer in this process, until the library can
                    self._unkept[key] = flight
                    if len(self._unkept) > _MOST_UNKEPT:
                        del self._unkept[next(iter(self._unkept))]


@dataclass(slots=True)
class Backend:
    """A server, and what a kernel remembers about it.

    Attributes:
        client: Connected to `host`.
        kind: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        free: A price of 0 is one: a server that says nothing of prices says 0, too.
        rewrites: Prompts rewritten in this kernel.
        rewriting: Held while a prompt is rewritten: equal ones are one question, in their order.
        keeping: Replies that are being stored, by fingerprint and place: a cell that was
            interrupted may be back before they are.
        prices: What its images and rewrites cost.
        inputs: Its file store, as far as input images are in it.
        flights: Held while a picture to be reused is made: equal requests make it once.
    """

    client: AsyncClient
    kind: str
    host: str
    free: bool = False
    rewrites: dict[str, str] = field(default_factory=dict)
    rewriting: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    keeping: dict[tuple[str, int], asyncio.Task[list[Picture]]] = field(default_factory=dict)
    prices: Prices = field(init=False)
    inputs: InputUploads = field(init=False)
    flights: SingleFlight = field(default_factory=SingleFlight)

    def __post_init__(self) -> None:
        """Ask for prices, and look into the server's file store, when that is first needed."""
        free = self.free or (self.kind == "xai" and Endpoint.parse(self.host).loopback)
        self.prices = Prices(self.client, self.kind, self.host, free=free)
        self.inputs = InputUploads(self.client.files, self.kind, self.host)

    def rewriter(
        self,
        options: Options,
        library: Library | None,
        progress: Progress,
    ) -> PromptRewriter | None:
        """Return what rewrites the prompts of a call, or None when they are sent as written."""
        if options.rewrite is None:
            return None
        return PromptRewriter(
            client=self.client,
            model=options.rewrite,
            backend=self.kind,
            host=self.host,
            remembered=self.rewrites,
            library=library,
            progress=progress,
            timeout=options.timeout,
        )


LOCAL_HOST: Final = "embedded"
"""Stands for every embedded server: its port differs from kernel to kernel, its pictures do not."""
PAINTING: Final = "painting"
"""What makes the embedded server's pictures, unless `XAI_NOTEBOOK_ENGINE` says otherwise."""
_ENGINE: Final = "engine:"


@dataclass(frozen=True, slots=True)
class Route:
    """A server.

    Attributes:
        backend: `"xai"` or `"local"`.
        host: What tells its images from those of other hosts.
        key: For `backend` xai; a server on loopback needs none.
        automatic: The embedded server was chosen because there is no key.
        engine: What makes the pictures of the embedded server; `""`: its painter.
    """

    backend: str
    host: str
    key: ApiKey | None
    automatic: bool = False
    engine: str = ""

    @property
    def painted(self) -> bool:
        """Whether the pictures are the painter's: previews, free and offline."""
        return self.backend == "local" and not self.engine

    @property
    def place(self) -> str:
        """Where the pictures come from, in words."""
        if self.painted:
            return "Local preview: free, drawn offline"
        return self.host.removeprefix(_ENGINE)


def choose_route(configuration: Configuration, *, local: bool) -> Route:
    """Decide which server a call goes to.

    Args:
        configuration: What holds for the call.
        local: The call asks for the embedded server.

    Raises:
        ConfigurationError: The server needs a key, and there is none.
    """
    own_host = configuration.api_host != DEFAULT_API_HOST
    backend = "local" if local else configuration.backend
    automatic = backend == "auto" and configuration.api_key is None and not own_host
    if backend == "local" or automatic:
        engine = configuration.engine.strip()
        engine = "" if engine == PAINTING else engine
        return Route("local", _engine_host(engine), None, automatic, engine)
    if configuration.api_key is None and not Endpoint.parse(configuration.api_host).loopback:
        raise ConfigurationError(
            f"{configuration.api_host} needs a key. Set XAI_API_KEY (console.x.ai makes one), or"
            " use --local for free previews."
        )
    return Route("xai", configuration.api_host, configuration.api_key)


def _engine_host(engine: str) -> str:
    """Return what tells the pictures of an engine from those of others, and holds no password."""
    if not engine:
        return LOCAL_HOST
    try:
        parts = urlsplit(engine)
    except ValueError:
        return f"{_ENGINE}{engine}"  # refused as soon as it is needed
    where, path = parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")
    path = "" if path == "/v1" else path
    return f"{_ENGINE}{where}{path}" + (f"#{parts.fragment}" if parts.fragment else "")


class Backends:
    """Clients by route, embedded servers by engine, the library."""

    def __init__(self, loop: BackgroundLoop) -> None:
        """Open nothing yet.

        Args:
            loop: On which clients and server live.
        """
        self.connected: dict[Route, Backend] = {}
        self._loop = loop
        self._servers: dict[str, EmbeddedServer] = {}
        # In memory only: other users of this computer see the port, and must not order or read.
        self._server_key = ApiKey(secrets.token_urlsafe(32))
        self._opening: asyncio.Lock | None = None
        self._library: Library | None = None
        self._library_lock = threading.Lock()

    async def connect(self, route: Route) -> Backend:
        """Return the server of a route, on the background loop."""
        if self._opening is None:  # made here: a lock belongs to the loop that waits for it
            self._opening = asyncio.Lock()
        async with self._opening:
            if route not in self.connected:
                self.connected[route] = await self._open(route)
            return self.connected[route]

    async def _open(self, route: Route) -> Backend:
        if route.backend != "local":
            opened = client.AsyncClient(route.key or "", api_host=route.host)
            return Backend(opened, route.backend, route.host)
        running = await self._start_server(route.engine)
        opened = client.AsyncClient(self._server_key, api_host=running.address, title=running.title)
        return Backend(opened, route.backend, route.host, free=running.engine.free)

    async def _start_server(self, engine: str) -> EmbeddedServer:
        """Return the embedded server with that engine, started by its first use."""
        if engine not in self._servers:
            key = engine_key() if engine else None
            started = server.EmbeddedServer(
                api_key=self._server_key, engine=server.choose_engine(engine, key), repeat=False
            )
            await started.start()
            self._servers[engine] = started
        return self._servers[engine]

    async def source(self, route: Route, model: str) -> str:
        """Return where pictures of a route's engine come from, as a sentence says it.

        Args:
            route: Of a peer that was opened, with an engine.
            model: The model asked for.
        """
        return await self._servers[route.engine].engine.source(model)

    def library(self, configuration: Configuration) -> Library:
        """Return the open library; what arrived before a crash is put into it first.

        Raises:
            LibraryError: It cannot be opened.
        """
        library = self.home(configuration)
        if library.failure is not None:
            raise library.failure
        return library

    def home(self, configuration: Configuration) -> Library:
        """Return the library, as `library`; where its database cannot be opened, with `failure`."""
        with interruptible(), self._library_lock:
            if self._library is None or self._library.home != configuration.home:
                self._library = Library(configuration.home)
                atexit.register(self._library.close)  # Python 3.13 warns of open databases
            library = self._library
            if library.failure is not None:
                with suppress(LibraryError):
                    library.connect()
        overdue = not library.foreign and (library.overdue or library.spool.has_heritage())
        if overdue and library.failure is None:
            with suppress(XaiError):  # what waits, waits on: this call needs it not
                self._loop.run(recover(library, configuration.api_key))
        return library

    def library_or_none(self, configuration: Configuration) -> Library | None:
        """Return the open library; None: it cannot be opened."""
        try:
            return self.library(configuration)
        except LibraryError:
            return None

    def close(self) -> None:
        """Close channels, stop the embedded servers, close the library."""
        if self.connected or self._servers:
            self._loop.run(self._disconnect())
        with self._library_lock:
            if self._library is not None:
                self._library.close()
                atexit.unregister(self._library.close)
            self._library = None

    async def _disconnect(self) -> None:
        connected, self.connected = self.connected, {}
        for backend in connected.values():
            await backend.client.close()
        servers, self._servers = self._servers, {}
        for running in servers.values():
            await running.stop()
        self._opening = None
