"""The one place where settings, loop, client, server and library meet.

    prepare(prompt, options)  checks everything, sends nothing
    run(call)                 on the background loop: library, then server
    finish(call)              what users hold

A kernel has one session; the magic, the panel and `generate()` share it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import frontend
from xai_notebook.errors import ExportError, LibraryError, XaiError
from xai_notebook.generation.budget import Budget
from xai_notebook.generation.call import Call, prepare_call, summarize
from xai_notebook.generation.cells import Cells
from xai_notebook.generation.loop import BackgroundLoop
from xai_notebook.generation.routing import choose_route, read_settings
from xai_notebook.pictures.results import ImageBatch
from xai_notebook.settings import DEFAULT_CONCURRENCY, DEFAULT_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from pathlib import Path

    from xai_notebook.client.wire import ImageGenerationModel
    from xai_notebook.generation.claims import Asking
    from xai_notebook.generation.generator import Generator
    from xai_notebook.generation.peer import Peer
    from xai_notebook.generation.routing import Route
    from xai_notebook.library import Library
    from xai_notebook.pictures.results import GeneratedImage
    from xai_notebook.pictures.tables import CostTable, Plan
    from xai_notebook.settings import Settings

__all__ = ["Call", "Session", "current_session"]

NOTICE: Final = (
    "No XAI_API_KEY is set, so these are local previews, drawn offline and for free by the "
    "embedded server."
)


class Session:
    """Everything one kernel shares between its calls."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Start nothing: the loop, the server and the library start when first needed.

        Args:
            settings: Default: what the environment says when a call is made.
        """
        self.loop = BackgroundLoop()
        self.configuration: Callable[[], Mapping[str, Any]] = frontend.configuration
        self._given = settings
        self._connections: dict[Route, Peer] = {}
        self._server: Any = None
        self._connecting: asyncio.Lock | None = None
        self._library: Library | None = None
        self._library_home: Path | None = None
        self._library_lock = threading.Lock()
        self._budget = Budget(limit=None, name="XaiImage.budget_usd")
        self._noticed: set[str] = set()
        self._cells = Cells()

    # What users call

    def generate(self, prompt: str | None = None, **given: Any) -> ImageBatch | Plan:
        """Make images and wait for them; see `xai_notebook.generate`."""
        with self.ask() as asking:
            call = self.prepare(prompt, given)
            if call.options.dry_run:
                return self.plan(call)
            self.loop.run(self.run(call, asking))
            return self.finish(call)

    async def agenerate(self, prompt: str | None = None, **given: Any) -> ImageBatch | Plan:
        """Make images without blocking the caller's event loop; see `xai_notebook.agenerate`."""
        with self._cells.ask(in_turn=True) as asking:  # before anything is awaited
            call = await asyncio.to_thread(self.prepare, prompt, given)
            if call.options.dry_run:
                return await asyncio.to_thread(self.plan, call)
            await self.loop.wait(self.run(call, asking))
            return await asyncio.to_thread(self.finish, call)

    def history(self, words: str = "", n: int = 24) -> ImageBatch:
        """Return past images, newest first.

        Args:
            words: Only images whose prompts hold all of these words.
            n: At most so many.

        Raises:
            LibraryError: The library cannot be opened.
        """
        found = self._found(self.library().history(words, n))
        summary = None
        if not found:
            summary = (
                f"Nothing in the library has all of these words: {words.strip()}"
                if words.strip()
                else "The library is empty. What you make with %xai_image will appear here."
            )
        return ImageBatch(found, cells=True, limit=n, summary=summary)

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images that `image` was made from, oldest first, and itself at the end.

        Raises:
            LibraryError: The library cannot be opened.
        """
        if image.sha256 is None:
            return ImageBatch([image])
        return self._found(self.library().lineage(image.sha256)) or ImageBatch([image])

    def _found(self, images: list[GeneratedImage]) -> ImageBatch:
        for image in images:
            image.replayed = True
            image.maker = self
        return ImageBatch(images)

    def costs(self) -> CostTable:
        """Return what the library knows was spent, by day and model.

        Raises:
            LibraryError: The library cannot be opened.
        """
        from xai_notebook.pictures.tables import CostTable  # noqa: PLC0415

        return CostTable(self.library().costs())

    def models(self, *, local: bool = False) -> list[ImageGenerationModel]:
        """Return the image models of the server that a call would go to.

        Raises:
            XaiError: The server cannot be asked.
        """
        return self.loop.run(self.list_models(local=local))

    async def list_models(self, *, local: bool = False) -> list[ImageGenerationModel]:
        """As `models`, on the background loop."""
        connection = await self._connect(self._route(local=local))
        return list(await connection.client.models.list_image_generation_models())

    def close(self) -> None:
        """Close channels, stop the embedded server and the loop, close the library."""
        self._cells.close()
        self._cells = Cells()
        if self._connections or self._server is not None:
            self.loop.run(self._disconnect())
        self.loop.stop()
        with self._library_lock:
            if self._library is not None:
                self._library.close()
                atexit.unregister(self._library.close)
            self._library = self._library_home = None

    # The way of a call

    def prepare(
        self,
        prompt: str | None,
        given: Mapping[str, Any],
        namespace: Mapping[str, Any] | None = None,
        *,
        typed: bool = False,
    ) -> Call:
        """Check options, prompt and input images. Nothing is sent.

        Args:
            prompt: As written; with `each`, the prompts, one per line.
            given: Options by the names of the table.
            namespace: Variables, for `{{ … }}`, `--image` and `--each`.
            typed: The user typed the prompt: `{{ … }}` in it is filled. Any other is literal.

        Raises:
            OptionError: Something is wrong; the message names it.
        """
        call = prepare_call(prompt, given, self.configuration(), namespace or {}, typed=typed)
        self._route(local=call.options.local)  # a missing key is found now
        return call

    def ask(self, *, apart: Hashable = None) -> Asking:
        """Return the places of a call, which counts when this context ends well.

        Calls with the same `apart` are one cell that is run again, outside of the notebook's pass.
        """
        return self._cells.ask() if apart is None else self._cells.ask_apart(apart)

    async def run(self, call: Call, asking: Asking | None = None) -> None:
        """Answer a prepared call, on the background loop. Results are in `call.progress`.

        Without `asking`, from `ask`, the call counts as soon as it is answered.
        """
        with self.ask() if asking is None else nullcontext(asking) as asked:
            await self._answer(call, asked)

    async def _answer(self, call: Call, asking: Asking) -> None:
        generator = await self._generator(call, asking)
        call.spoil = asking.spoil
        await asking.wait_turn()
        if call.many:
            asking.leave_turn()  # reading its requests can take long, and runs the user's code
            from xai_notebook.generation.many import generate_each  # noqa: PLC0415  # aiolimiter

            defaults = self.configuration()
            await generate_each(
                generator,
                call.requests,
                call.progress,
                concurrency=defaults.get("concurrency") or DEFAULT_CONCURRENCY,
                rate=defaults.get("rate", DEFAULT_RATE),
                lazy=call.lazy,
            )
        else:
            placed = await generator.place(next(call.requests))
            call.progress.answered(0, await generator.answer(placed))
        asking.complete = call.progress.complete

    def finish(self, call: Call) -> ImageBatch:
        """Return what arrived as a batch, exported if that was asked for.

        Raises:
            ExportError: A file cannot be written. `error.batch` has the images.
        """
        options, progress = call.options, call.progress
        for number, images in progress.results.items():
            for image in images:
                image.maker = self
                image.label = call.labels[number] if call.labels else None
        batch = ImageBatch(
            progress.collected(),
            compare=options.compare,
            columns=options.columns,
            full=options.full,
            notes=[*call.announced, *progress.notes],
            summary=summarize(call) if call.many else None,
        )
        batch.undrawn = call.spoil
        if options.export is not None:
            try:
                batch.export(options.export or None, metadata=options.metadata)
            except ExportError as error:
                error.batch = batch
                raise
        return batch

    def plan(self, call: Call) -> Plan:
        """Return what a call would send and cost. Nothing is sent but the question for prices."""
        from xai_notebook.pictures.tables import Plan, estimate  # noqa: PLC0415

        requests, more = call.first_requests()
        route = self._route(local=call.options.local)
        models = {request.model for request in requests}
        prices = {model: self.loop.run(self._price(route, model)) for model in models}
        return Plan(
            requests=requests,
            backend=route.backend,
            host=route.host,
            cost_usd=estimate(requests, prices),
            notes=tuple(call.progress.notes),
            more=more,
        )

    def is_local(self, call: Call) -> bool:
        """Tell whether a call goes to the embedded server."""
        return self._route(local=call.options.local).backend == "local"

    # Where things are

    def library(self) -> Library:
        """Return the open library.

        Raises:
            LibraryError: It cannot be opened.
        """
        from xai_notebook.library import Library  # noqa: PLC0415  # sqlite3

        home = self._settings().home
        with self._library_lock:
            if self._library is None or self._library_home != home:
                self._library = Library.open(home)
                self._library_home = home
                atexit.register(self._library.close)  # Python 3.13 warns of open databases
            library = self._library
        if library.overdue:
            from xai_notebook.generation.arrival import recover  # noqa: PLC0415  # grpc

            with suppress(XaiError):  # what waits, waits on: this call needs it not
                self.loop.run(recover(library, self._settings().api_key))
        return library

    def _settings(self) -> Settings:
        return read_settings(self._given, self.configuration())

    def _route(self, *, local: bool) -> Route:
        return choose_route(self._settings(), local=local)

    async def _generator(self, call: Call, asking: Asking) -> Generator:
        from xai_notebook.generation.generator import Generator  # noqa: PLC0415  # grpc
        from xai_notebook.generation.keeping import Keeper  # noqa: PLC0415

        options = call.options
        route = self._route(local=options.local)
        if route.automatic:
            self._announce(call, NOTICE)
        defaults = self.configuration()
        self._budget.limit = defaults.get("budget_usd")
        connection = await self._connect(route)
        library = await asyncio.to_thread(self._library_or_none, call)
        return Generator(
            connection,
            Keeper(library, connection, call.progress, options.timeout, frontend.notebook_name()),
            asking,
            budgets=(Budget(limit=options.max_cost, name="--max-cost"), self._budget),
            progress=call.progress,
            fresh=options.fresh or not defaults.get("replay", True),
            only_stored=options.replay,
            timeout=options.timeout,
            rewriter=connection.rewriter(options, library, call.progress),
        )

    def _library_or_none(self, call: Call) -> Library | None:
        """Return the library, or None with one warning a kernel when it cannot be opened."""
        try:
            return self.library()
        except LibraryError as error:
            if call.options.replay:
                raise
            self._announce(call, f"Images are not kept: {error}")
            return None

    def _announce(self, call: Call, line: str) -> None:
        """Put a line under the pictures of a call, once in a kernel's life."""
        if line not in self._noticed:
            self._noticed.add(line)
            call.announced.append(line)

    async def _connect(self, route: Route) -> Peer:
        """Return the connection for a route, opened by its first use."""
        from xai_notebook.client import AsyncClient  # noqa: PLC0415  # grpc
        from xai_notebook.generation.peer import Peer  # noqa: PLC0415  # protobuf

        if self._connecting is None:  # made here: a lock belongs to the loop that waits for it
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if route not in self._connections:
                host = await self._start_server() if route.backend == "local" else route.host
                title = "the embedded server" if route.backend == "local" else None
                client = AsyncClient(route.key or "", api_host=host, title=title)
                self._connections[route] = Peer(client, route.backend, route.host)
            return self._connections[route]

    async def _start_server(self) -> str:
        """Return the address of the embedded server, started by its first use."""
        from xai_notebook.server import EmbeddedServer  # noqa: PLC0415

        if self._server is None:
            server = EmbeddedServer()
            await server.start()
            self._server = server
        return str(self._server.address)

    async def _price(self, route: Route, model: str) -> float | None:
        return await (await self._connect(route)).price(model)

    async def _disconnect(self) -> None:
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.client.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None
        self._connecting = None


_session: Session | None = None
_session_lock = threading.Lock()


def current_session() -> Session:
    """Return the kernel's session, made by its first use."""
    global _session  # noqa: PLW0603  # one session a process, and only this function makes it
    with _session_lock:
        if _session is None:
            _session = Session()
        return _session


def close_session() -> None:
    """Close the kernel's session; the next call starts a new one."""
    global _session  # the other half of current_session
    with _session_lock:
        session, _session = _session, None
    if session is not None:
        session.close()
