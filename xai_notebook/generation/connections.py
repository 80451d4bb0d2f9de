"""What a kernel keeps open: its servers and its library, each from its first use on.

The only module that starts the embedded server. The rest speaks to it like to any other.
"""

from __future__ import annotations

import asyncio
import atexit
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from xai_notebook import client, server
from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.generation.peer import Peer
from xai_notebook.library import Library
from xai_notebook.library.replies import recover
from xai_notebook.library.storage.database import interruptible
from xai_notebook.settings import ApiKey, engine_key

if TYPE_CHECKING:
    from xai_notebook.generation.loop import BackgroundLoop
    from xai_notebook.generation.routing import Route
    from xai_notebook.server import EmbeddedServer
    from xai_notebook.settings import Configuration

__all__ = ["Connections"]


class Connections:
    """Clients by route, embedded servers by engine, the library."""

    def __init__(self, loop: BackgroundLoop) -> None:
        """Open nothing yet.

        Args:
            loop: On which clients and server live.
        """
        self.peers: dict[Route, Peer] = {}
        self._loop = loop
        self._servers: dict[str, EmbeddedServer] = {}
        # In memory only: other users of this computer see the port, and must not order or read.
        self._server_key = ApiKey(secrets.token_urlsafe(32))
        self._opening: asyncio.Lock | None = None
        self._library: Library | None = None
        self._library_lock = threading.Lock()

    async def peer(self, route: Route) -> Peer:
        """Return the server of a route, on the background loop."""
        if self._opening is None:  # made here: a lock belongs to the loop that waits for it
            self._opening = asyncio.Lock()
        async with self._opening:
            if route not in self.peers:
                self.peers[route] = await self._open(route)
            return self.peers[route]

    async def _open(self, route: Route) -> Peer:
        if route.backend != "local":
            opened = client.AsyncClient(route.key or "", api_host=route.host)
            return Peer(opened, route.backend, route.host)
        running = await self._start_server(route.engine)
        opened = client.AsyncClient(self._server_key, api_host=running.address, title=running.title)
        return Peer(opened, route.backend, route.host, free=running.engine.free)

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
        if self.peers or self._servers:
            self._loop.run(self._disconnect())
        with self._library_lock:
            if self._library is not None:
                self._library.close()
                atexit.unregister(self._library.close)
            self._library = None

    async def _disconnect(self) -> None:
        peers, self.peers = self.peers, {}
        for peer in peers.values():
            await peer.client.close()
        servers, self._servers = self._servers, {}
        for running in servers.values():
            await running.stop()
        self._opening = None
