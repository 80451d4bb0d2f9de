"""Backends: choose the server of a call, connect to it, and keep its state for the kernel.

`choose_route` chooses the server, `Backends` opens it once per kernel, and `Backend` holds the
client together with the kernel's state of that server: prices, rewritten prompts, uploaded input
images, requests in flight. This is the only module that starts the embedded server; all other
modules use it through the network protocol, like any other server.
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
from xai_notebook.generation.event_loop import waiting_thread
from xai_notebook.library import Library
from xai_notebook.library.inputs import CachedUpload
from xai_notebook.library.replies import recover
from xai_notebook.library.storage.database import interruptible
from xai_notebook.library.storage.lock import FileLock
from xai_notebook.server import loops
from xai_notebook.settings import DEFAULT_API_HOST, ApiKey, Configuration, environment_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from xai_notebook.client import AsyncClient
    from xai_notebook.client.request import ImageRequest, InputImage
    from xai_notebook.client.response import ImageResponse
    from xai_notebook.generation.budget import Reservation
    from xai_notebook.generation.event_loop import BackgroundLoop
    from xai_notebook.generation.progress import Progress
    from xai_notebook.generation.replay import Slot
    from xai_notebook.library.inputs import UploadCache
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.server import EmbeddedServer

LOCAL_HOST: Final = "embedded"
"""Host name of every embedded server; unlike its port, it is the same in all kernels."""
_PAINTING: Final = "painting"
"""Value of `XAI_NOTEBOOK_ENGINE` for the painting engine, as in `server.runner`, which most kernels
never import."""
_ENGINE: Final = "engine:"


# Which server


@dataclass(frozen=True, slots=True)
class Route:
    """The server that a call goes to.

    Attributes:
        backend: `"xai"` or `"local"`.
        host: Identifies the server in fingerprints and in the library.
        key: API key for `backend` "xai"; a server on loopback needs no key.
        automatic: Whether the embedded server was chosen because no key is set.
        engine: Engine of the embedded server; `""`: the painting engine.
        painted: Whether the images are free previews from the painting engine.
    """

    backend: str
    host: str
    key: ApiKey | None
    automatic: bool = False
    engine: str = ""
    painted: bool = False

    @property
    def label(self) -> str:
        """The source of the images, for the panel."""
        if self.painted:
            return "Local preview: free, drawn offline"
        return self.host.removeprefix(_ENGINE)


def choose_route(configuration: Configuration, *, local: bool) -> Route:
    """Return the server that a call goes to.

    Args:
        configuration: Configuration of the call.
        local: Whether the call has the option `local`.

    Raises:
        ConfigurationError: The server needs a key, and no key is set.
    """
    other_host = configuration.api_host != DEFAULT_API_HOST
    backend = "local" if local else configuration.backend
    automatic = backend == "auto" and configuration.api_key is None and not other_host
    if backend == "local" or automatic:
        engine = configuration.engine.strip()
        engine = "" if engine == _PAINTING else engine
        host = _engine_host(engine) if engine else LOCAL_HOST
        return Route("local", host, None, automatic, engine, painted=not engine)
    if configuration.api_key is None and not Endpoint.parse(configuration.api_host).loopback:
        raise ConfigurationError(
            f"{configuration.api_host} needs a key. Set XAI_API_KEY to a key from console.x.ai, or "
            "use --local for free previews."
        )
    return Route("xai", configuration.api_host, configuration.api_key)


def refuse_blocked_server(backend: str, host: str) -> None:
    """Check that the thread that waits for the current coroutine does not block the server's loop.

    Args:
        backend: `"xai"` or `"local"`.
        host: The API host.

    Raises:
        XaiError: The server is an embedded server on an event loop in that thread.
    """
    if backend == "local" or not loops.serving or (wait := waiting_thread()) is None:
        return
    endpoint = Endpoint.parse(host)
    serving = loops.find_loop(endpoint.host, endpoint.port)
    if serving is not None and serving.is_blocked_by(wait.loop, wait.thread):
        raise XaiError(
            f"The server at {host} runs on the event loop that this call blocks, so it cannot "
            "answer. Use await, as in await xai.agenerate(…), or start the server in a plain with "
            "block: with EmbeddedServer() as server."
        )


def _engine_host(engine: str) -> str:
    """Return the host that identifies an engine, without any password in its URL."""
    try:
        parts = urlsplit(engine)
    except ValueError:
        return f"{_ENGINE}{engine}"  # opening the engine raises an error
    address, path = parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")
    path = "" if path == "/v1" else path
    return f"{_ENGINE}{address}{path}" + (f"#{parts.fragment}" if parts.fragment else "")


def _is_overdue(library: Library) -> bool:
    """Tell whether the spool holds replies that are to be stored."""
    if library.failure is not None or library.database.foreign:
        return False
    return library.overdue or library.spool.adopt()


# Equal requests at the same time

_MAX_UNSAVED: Final = 256
"""Maximum flights that keep pictures in memory because the library could not store them."""
_LOCK_INTERVAL: Final = 0.05
"""Seconds between two attempts to acquire a lock that another process holds."""


@dataclass(eq=False)  # without slots, to allow weak references
class Flight:
    """Work that is done once for equal requests, by the task that holds the lock.

    Attributes:
        lock: Held by the task that does the work.
        unsaved: Pictures that could not be stored, for tasks that wait for the lock.
        inherited: Whether the previous owner process died before it finished.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unsaved: list[Picture] = field(default_factory=list)
    inherited: bool = False


@dataclass(slots=True, eq=False)
class SingleFlight:
    """Locks by key, in this process and across processes. Use from one event loop only."""

    _flights: WeakValueDictionary[str, Flight] = field(default_factory=WeakValueDictionary)
    _unsaved: dict[str, Flight] = field(default_factory=dict)

    @asynccontextmanager
    async def hold(self, key: str, folder: Path | None = None) -> AsyncIterator[Flight]:
        """Hold the lock of `key` in the block; wait while another task or process holds it.

        Args:
            key: Name of the lock; a valid file name.
            folder: Folder of lock files shared between processes. None, or a file system without
                locks: the lock works in this process only.
        """
        flight = self._flights.setdefault(key, Flight())
        async with flight.lock:
            lock = None if folder is None else FileLock(folder / f"{key}.lock")
            acquired = False
            try:
                if lock is not None:
                    with suppress(LibraryError):
                        await acquire(lock)
                        acquired = True
                flight.inherited = acquired and lock is not None and lock.inherited
                yield flight
            finally:
                if lock is not None:
                    lock.release(remove=acquired)
                if flight.unsaved:  # keep the flight alive: its pictures answer equal requests
                    self._unsaved[key] = flight
                    if len(self._unsaved) > _MAX_UNSAVED:
                        del self._unsaved[next(iter(self._unsaved))]


async def acquire(lock: FileLock) -> None:
    """Acquire a lock that other processes may hold.

    Raises:
        LibraryError: The lock file cannot be created.
    """
    # Poll on the loop: a worker thread could acquire the lock after a cancellation and keep it.
    while not lock.acquire():  # noqa: ASYNC110  # no events across processes
        await asyncio.sleep(_LOCK_INTERVAL)


# Input images

_LIFETIME: Final = 3 * 24 * 3600
"""Seconds after which the server deletes an upload."""
_HOUR: Final = 3600.0
_INLINE: Final = 2048
"""Data URIs with fewer characters are sent inline, because an upload needs an extra call."""


@dataclass(slots=True)
class InputUploads:
    """Uploads each input image to a server's file store once, for all requests that use it."""

    backend: Backend
    _known: dict[str, CachedUpload] = field(default_factory=dict)
    """Uploads that this kernel has made or checked, by the image's digest."""
    _refused: set[str] = field(default_factory=set)
    """Digests of images that the store refused; these images are always sent inline."""
    _uploading: SingleFlight = field(default_factory=SingleFlight)

    async def send(
        self,
        request: ImageRequest,
        send: Callable[[ImageRequest], Awaitable[Sequence[ImageResponse]]],
        uploads: UploadCache,
    ) -> Sequence[ImageResponse]:
        """Upload the input images and send a request; if an upload fails, send all images inline.

        If the store has lost an image, the server refuses the request. The image is then uploaded
        again and the request is sent once more.
        """
        digests = {image.sha256 for image in request.inputs}
        if self._refused & digests:
            return await send(request)
        try:
            stored = await self.store(request, uploads)
        except ApiError:
            self._refused |= digests
            return await send(request)
        try:
            return await send(stored)
        except NotFoundError:
            if not await self._forget_lost(stored.inputs):
                raise
        return await send(await self.store(request, uploads))

    async def store(
        self, request: ImageRequest, uploads: UploadCache, *, valid_for: float = _HOUR
    ) -> ImageRequest:
        """Upload the images of a request and return it with their file ids.

        URLs do not change, because the server fetches them. The fingerprint does not change.

        Args:
            request: Request with inline images.
            uploads: Cache of the uploads of all kernels.
            valid_for: Seconds for which the images must stay in the store.

        Raises:
            ApiError: An image cannot be uploaded.
        """
        inputs = [await self._store(image, uploads, valid_for) for image in request.inputs]
        return replace(request, inputs=tuple(inputs))

    async def _store(self, image: InputImage, uploads: UploadCache, valid_for: float) -> InputImage:
        if not image.url.startswith("data:") or len(image.url) < _INLINE:
            return image
        async with self._uploading.hold(image.sha256):
            # A lost image fails a call at once, but a job only at its end, so check before a job.
            upload = self._known.get(image.sha256) if valid_for <= _HOUR else None
            upload = upload or await self._find_cached(image, uploads)
            if upload is None or upload.expires < time.time() + valid_for:
                upload = await self._upload(image, uploads)
            self._known[image.sha256] = upload
        return replace(image, file_id=upload.file_id)

    async def _find_cached(self, image: InputImage, uploads: UploadCache) -> CachedUpload | None:
        """Return the upload of another kernel, if the server still has it."""
        backend = self.backend
        with suppress(LibraryError):
            upload = await asyncio.to_thread(uploads.find, backend.kind, backend.host, image.sha256)
            if upload is not None and await self._exists(upload):
                return upload
        return None

    async def _exists(self, upload: CachedUpload) -> bool:
        """Tell whether the server has a file for the current API key."""
        try:
            await self.backend.client.files.get(upload.file_id)
        except ApiError:
            return False
        return True

    async def _upload(self, image: InputImage, uploads: UploadCache) -> CachedUpload:
        backend = self.backend
        head, _, body = image.url.partition(",")
        data = await asyncio.to_thread(pybase64.b64decode, body)
        extension = head.removeprefix("data:image/").partition(";")[0]
        stored = await backend.client.files.upload(
            data, filename=f"{image.sha256[:16]}.{extension}", expires_after=_LIFETIME
        )
        expires = time.time() + _LIFETIME
        if stored.HasField("expires_at"):
            expires = min(expires, float(stored.expires_at.seconds))
        upload = CachedUpload(stored.id, expires)
        with suppress(LibraryError):  # without the cache, another kernel uploads it again
            await asyncio.to_thread(
                uploads.remember, backend.kind, backend.host, image.sha256, upload
            )
        return upload

    async def _forget_lost(self, inputs: Sequence[InputImage]) -> bool:
        """Forget images that the store has lost, and return whether there are any."""
        lost = False
        for image in inputs:
            upload = self._known.get(image.sha256)
            if image.file_id is None:
                continue
            if upload is not None and upload.file_id == image.file_id:
                if await self._exists(upload):
                    continue
                if self._known.get(image.sha256) is upload:  # else another request was faster
                    del self._known[image.sha256]
            lost = True
        return lost


# Rewritten prompts

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
_QUOTED: Final = re.compile(r"^[\"“'](.*)[\"”']$", re.DOTALL)


@dataclass(slots=True)
class PromptRewriter:
    """Rewrites the prompts of a call with a chat model, each prompt once.

    Attributes:
        backend: The server of the chat model.
        model: The chat model.
        library: Stores rewrites for later kernels; None: only this kernel keeps the rewrites.
        progress: Receives notes for the user.
        timeout: Deadline of a rewrite in seconds.
    """

    backend: Backend
    model: str
    library: Library | None
    progress: Progress
    timeout: float

    async def recall(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request with its stored rewritten prompt, or None if nothing is stored."""
        for key in self._keys(request):
            text = self.backend.rewrites.get(key)
            if text is None and self.library is not None:
                try:
                    text = await asyncio.to_thread(self.library.rewrite_for, key)
                except LibraryError as error:
                    self.progress.note(f"Rewritten prompts are not looked up: {error}")
            if text:
                return with_prompt(request, text, self.model)
        return None

    async def look_up(self, request: ImageRequest) -> ImageRequest | None:
        """Return the request with the rewritten prompt of an untrusted library, for lookups only.

        It must not be sent. None if the library is trusted or has no rewritten prompt.
        """
        if self.library is None or not self.library.database.foreign:
            return None
        with suppress(LibraryError):
            for key in self._keys(request):
                find = partial(self.library.rewrite_for, key, to_send=False)
                if text := await asyncio.to_thread(find):
                    return with_prompt(request, text, self.model)
        return None

    async def rewrite(
        self, request: ImageRequest, reservation: Reservation
    ) -> tuple[ImageRequest, float | None]:
        """Rewrite the prompt of a request.

        If the rewrite fails, the prompt is used as written, with a note in `progress`.

        Args:
            request: The request as the user wrote it.
            reservation: Money reserved for the rewrite; settled here.

        Returns:
            The request, and the cost in US dollars or None if it was not reported.
        """
        text, model = "", self.model
        cost: float | None
        try:
            answer = await self.backend.client.chat.complete(
                request.prompt,
                self.model,
                system=_instruction(request),
                max_tokens=_MAX_TOKENS,
                user=request.user,
                timeout=self.timeout,
                on_attempt=self.progress.on_attempt,
            )
            text, model, cost = _without_quotes(answer.content), answer.model, answer.cost_usd
            if not text:
                self.progress.note(
                    f"Not rewritten, sent as written: {self.model} returned no text."
                )
        except XaiError as error:
            self.progress.note(f"Not rewritten, sent as written: {error}")
            if isinstance(error, ReplyError):  # an answer without text has been paid for
                cost = error.cost_usd
            elif getattr(error, "maybe_billed", False):
                return request, None
            else:
                reservation.waive()
                return request, 0.0
        reservation.settle(cost)
        text, stored = await self._remember(request, text, model, cost)
        reservation.in_ledger = stored and cost is not None
        return (with_prompt(request, text, self.model) if text else request), cost

    def _keys(self, request: ImageRequest) -> list[str]:
        r"""Return the keys of a request's rewritten prompt; the first is used for storing.

        The second finds prompts stored by earlier versions, which distinguished `\r\n` from `\n`.
        """
        prompt = request.prompt.replace("\r\n", "\n")
        head = [self.backend.kind, self.backend.host, self.model, _instruction(request)]
        prompts = dict.fromkeys((prompt, prompt.replace("\n", "\r\n")))
        return [hashlib.sha256(json.dumps([*head, each]).encode()).hexdigest() for each in prompts]

    async def _remember(
        self, request: ImageRequest, text: str, model: str, cost_usd: float | None
    ) -> tuple[str, bool]:
        """Store a rewritten prompt and its cost; an empty text is stored for its cost only.

        Returns:
            The text to use, which may be the text that another kernel stored first, and whether
            the library has stored the cost.
        """
        key, stored = self._keys(request)[0], False
        if self.library is not None and not self.library.database.read_only:
            remember = partial(
                self.library.remember_rewrite,
                key, request.prompt, text, model, cost_usd, backend=self.backend.kind,
            )  # fmt: skip
            try:
                text, stored = await asyncio.to_thread(remember), True
            except LibraryError as error:
                self.progress.note(f"Rewritten prompts are not stored: {error}")
        if text:
            self.backend.rewrites[key] = text
        return text, stored


def _instruction(request: ImageRequest) -> str:
    return EDIT_INSTRUCTION if request.inputs else INSTRUCTION


def _without_quotes(text: str) -> str:
    """Return a chat model's answer without surrounding quotes."""
    text = text.strip()
    match = _QUOTED.match(text)
    return match[1].strip() if match else text


# Opened servers


@dataclass(slots=True, eq=False)
class Backend:
    """A connected server and the kernel's state of it.

    Attributes:
        client: Client connected to `host`.
        kind: `"xai"` or `"local"`.
        host: Identifies the server in fingerprints and in the library.
        free: Whether a list price of 0 means free. On other servers it means: no price is listed.
        rewrites: Prompts rewritten in this kernel, by key.
        saving: Tasks that are storing replies, by slot. An interrupted cell may run again before
            its replies are stored.
        prices: Prices of images and rewrites.
        inputs: Uploads of input images to the server's file store.
        flights: Locks for equal requests: `--reuse` sends and `--rewrite` rewrites them once.
    """

    client: AsyncClient
    kind: str
    host: str
    free: bool = False
    rewrites: dict[str, str] = field(default_factory=dict)
    saving: dict[Slot, asyncio.Task[list[Picture]]] = field(default_factory=dict)
    prices: Prices = field(init=False)
    inputs: InputUploads = field(init=False)
    flights: SingleFlight = field(default_factory=SingleFlight)

    def __post_init__(self) -> None:
        """Create prices and uploads without sending anything."""
        free = self.free or (self.kind == "xai" and Endpoint.parse(self.host).loopback)
        self.prices = Prices(self.client, self.kind, self.host, free)
        self.inputs = InputUploads(self)


class Backends:
    """The open servers and the open library of a kernel, each opened on first use."""

    def __init__(self, loop: BackgroundLoop) -> None:
        """Open nothing yet.

        Args:
            loop: Event loop of the clients and the embedded servers.
        """
        self.connected: dict[Route, Backend] = {}
        self._loop = loop
        self._servers: dict[str, EmbeddedServer] = {}
        # In memory only, because other users of this computer could connect to the port.
        self._server_key = ApiKey(secrets.token_urlsafe(32))
        self._opening = asyncio.Lock()
        self._library: Library | None = None
        self._library_lock = threading.Lock()
        self._recovering = asyncio.Lock()

    async def connect(self, route: Route) -> Backend:
        """Return the server of a route. Await on the background loop.

        Raises:
            XaiError: The waiting thread blocks the server.
        """
        refuse_blocked_server(route.backend, route.host)
        async with self._opening:
            if route not in self.connected:
                self.connected[route] = await self._open(route)
            return self.connected[route]

    async def _open(self, route: Route) -> Backend:
        if route.backend != "local":
            opened = client.AsyncClient(route.key or "", api_host=route.host)
            return Backend(opened, route.backend, route.host)
        if (running := self._servers.get(route.engine)) is None:
            key = environment_key("XAI_NOTEBOOK_ENGINE_KEY") if route.engine else None
            engine = server.choose_engine(route.engine, key)
            running = server.EmbeddedServer(api_key=self._server_key, engine=engine, repeat=False)
            await running.start()
            self._servers[route.engine] = running
        opened = client.AsyncClient(self._server_key, api_host=running.address, title=running.title)
        return Backend(opened, route.backend, route.host, free=running.engine.free)

    async def source(self, route: Route, model: str) -> str:
        """Return the source of a model's images, as a phrase for the user.

        Args:
            route: Route of an open embedded server with an engine.
            model: The requested model.
        """
        return await self._servers[route.engine].engine.source(model)

    def library(self, configuration: Configuration) -> Library:
        """Return the open library, after importing replies that a crash left in the spool.

        Raises:
            LibraryError: The library cannot be opened.
        """
        library = self.unchecked_library(configuration)
        if library.failure is not None:
            raise library.failure
        return library

    def unchecked_library(self, configuration: Configuration) -> Library:
        """Return the library, even if its database cannot be opened: `failure` then says why.

        Blocks. On the background loop, use `open_library`.
        """
        library, overdue = self._open_library(configuration)
        if overdue:
            self._loop.run(self._recover(library, configuration.api_key))
        return library

    async def open_library(self, configuration: Configuration) -> Library:
        """Like `unchecked_library`, on the background loop.

        Many calls may wait for the same recovery, so they must not wait in threads: the recovery
        needs a thread of the loop, too.
        """
        library, overdue = await asyncio.to_thread(self._open_library, configuration)
        if overdue:
            await self._recover(library, configuration.api_key)
        return library

    def _open_library(self, configuration: Configuration) -> tuple[Library, bool]:
        """Return the library, and whether the spool holds replies that are to be stored."""
        with interruptible(), self._library_lock:
            if self._library is None or self._library.home != configuration.home:
                self._library = Library(configuration.home)
                atexit.register(self._library.close)  # Python 3.13 warns about open databases
            library = self._library
            if library.failure is not None:
                with suppress(LibraryError):
                    library.connect()
        return library, _is_overdue(library)

    async def _recover(self, library: Library, key: ApiKey | None) -> None:
        """Store the spooled replies, unless a recovery that ran meanwhile has stored them."""
        async with self._recovering:
            if await asyncio.to_thread(_is_overdue, library):
                with suppress(XaiError):  # the call works without these replies
                    await recover(library, key)

    async def library_or_none(self, configuration: Configuration) -> Library | None:
        """Return the open library, or None if it cannot be opened. Await on the background loop."""
        library = await self.open_library(configuration)
        return None if library.failure is not None else library

    def close(self) -> None:
        """Close channels, stop the embedded servers, close the library."""
        if self.connected or self._servers:
            self._loop.run(self._disconnect())
        self._opening = asyncio.Lock()  # the old locks belong to the old loop
        self._recovering = asyncio.Lock()
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
