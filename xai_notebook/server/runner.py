"""Start, stop and bind the embedded server; choose its engine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time
from typing import TYPE_CHECKING, Final

import grpc

from xai_notebook import settings
from xai_notebook.errors import ConfigurationError
from xai_notebook.server import loops
from xai_notebook.server.dispatch import AuthInterceptor, CallLog, SeenCall
from xai_notebook.server.engine import Engine, PaintingEngine
from xai_notebook.server.faults import Faults, Refusal
from xai_notebook.server.file_store import FileServer
from xai_notebook.server.service import Service

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from xai_notebook.settings import ApiKey

_LOOPBACK: Final = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", settings.MAX_SEND_BYTES),
    ("grpc.max_send_message_length", -1),
    # Without this, a second server could bind the same port instead of getting an error.
    ("grpc.so_reuseport", 0),
    # xAI's SDK pings every 30 s, even without calls. By default, gRPC would disconnect the client.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
)
_IDLE_GRACE_SECONDS: Final = 0.2
"""Seconds that `stop` gives idle connections to close."""
ENTRY_POINT_GROUP: Final = "xai_notebook.engines"
"""Entry-point group of engines that other packages install."""
PAINTING_ENGINE: Final = "painting"


class EmbeddedServer:
    """xAI's image service on loopback; an engine makes the pictures.

    A `with` block runs the server on an event loop in a thread of its own, so that blocking calls
    can use it. An `async with` block and `start` run it on the current event loop, which must not
    be blocked: use `await` for calls to the server there.

    Args:
        api_key: The only key that the server accepts. None or `""` accepts every client.
        host: Loopback address to bind.
        port: Port to bind; 0 binds any free port.
        faults: Faults to inject.
        engine: The engine that makes the pictures. Default: a `PaintingEngine`.
        rewrite: Return the rewritten prompt in `up_sampled_prompt`, like the first public version
            of the API.
        repeat: Return the same pictures for the same request. False returns new pictures each time,
            like the real API.
        keep_calls: Maximum number of calls in `requests`.
        keep_call_bytes: Maximum bytes of the messages in `requests`.
        keep_seconds: Lifetime of an image URL, in seconds.
        keep_bytes: Maximum bytes, applied separately to images with a URL (the oldest are dropped),
            to stored files and to the requests of batches (more is refused).
        clock: Returns the current Unix time in seconds.

    Attributes:
        faults: Faults to inject; can be changed while the server runs.
        engine: The engine that makes the pictures.

    Raises:
        ConfigurationError: `host` is not a loopback address, or `api_key` has characters
            that cannot be sent in a header.

    Examples:
        >>> with EmbeddedServer() as server:
        ...     server.address.startswith("localhost:")
        True

        >>> import asyncio
        >>> async def main():
        ...     async with EmbeddedServer() as server:
        ...         return server.address.startswith("localhost:")
        >>> asyncio.run(main())
        True
    """

    def __init__(  # noqa: PLR0913  # independent options, keyword-only
        self,
        *,
        api_key: str | ApiKey | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        engine: Engine | None = None,
        rewrite: bool = True,
        repeat: bool = True,
        keep_calls: int = 4096,
        keep_call_bytes: int = 64 * settings.MIB,
        keep_seconds: float = 3600.0,
        keep_bytes: int = 256 * settings.MIB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        given = [api_key]  # a list that is emptied, so that no frame of a traceback holds the key
        del api_key
        self._api_key = settings.take_key(given)
        if host not in _LOOPBACK:
            raise ConfigurationError(
                f"The embedded server listens on loopback only, not on {host!r}."
            )
        self.faults = Faults() if faults is None else faults
        self.engine = PaintingEngine() if engine is None else engine
        self._host = _LOOPBACK[host]
        self._requested_port = port
        self._port: int | None = None
        self._log = CallLog(max_calls=keep_calls, max_bytes=keep_call_bytes)
        self._files = FileServer(
            host=self._host, faults=self.faults, keep_seconds=keep_seconds, keep_bytes=keep_bytes
        )
        self._new_service = functools.partial(
            Service,
            files=self._files,
            log=self._log,
            faults=self.faults,
            engine=self.engine,
            rewrites=rewrite,
            repeats=repeat,
            keep_bytes=keep_bytes,
            clock=clock,
        )
        self._service: Service | None = None
        self._server: grpc.aio.Server | None = None
        self._thread: loops.LoopThread | None = None

    @property
    def port(self) -> int:
        """The bound port.

        Raises:
            ConfigurationError: The server is not running.
        """
        if self._port is None:
            raise ConfigurationError("The embedded server is not running: start it first.")
        return self._port

    @property
    def title(self) -> str:
        """Name of the server in error messages, with the engine's location if it has one."""
        location = self.engine.location
        return f"the engine at {location}" if location else "the embedded server"

    @property
    def address(self) -> str:
        """Host and port that clients connect to."""
        return f"localhost:{self.port}"

    @property
    def requests(self) -> list[SeenCall]:
        """The last calls, oldest first, including refused and cancelled ones."""
        return self._log.calls

    @property
    def counts(self) -> Counter[str]:
        """Number of calls per method, keyed by the full gRPC path."""
        return self._log.counts

    @property
    def painted(self) -> int:
        """Number of pictures painted since `start`."""
        return self.engine.painted if isinstance(self.engine, PaintingEngine) else 0

    @property
    def downloads(self) -> int:
        """Number of pictures served over HTTP."""
        return self._files.served

    def read_file(self, file_id: str) -> bytes | None:
        """Return the content of a file in the file store, such as an uploaded input image.

        Returns:
            None if the server has no such file.
        """
        with contextlib.suppress(Refusal):
            return None if self._service is None else self._service.files.find(file_id).data
        return None

    async def start(self) -> int:
        """Bind the gRPC and HTTP ports and start serving.

        Returns:
            The gRPC port.

        Raises:
            ConfigurationError: The port cannot be bound, or the server is already running.
            ForkedProcessError: This process is a fork of a process that has run a server.
        """
        loops.refuse_fork()
        if self._server is not None:
            raise ConfigurationError("The embedded server is running already.")
        service = self._new_service()
        methods = service.methods()
        interceptors = []
        if self._api_key is not None:
            interceptors.append(AuthInterceptor(self._log, self._api_key, methods.paths))
        server = grpc.aio.server(options=_OPTIONS, interceptors=interceptors)
        server.add_generic_rpc_handlers(tuple(methods.handlers))
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            self._probe()
            port = server.add_insecure_port(f"{host}:{self._requested_port}")
        except (OSError, RuntimeError) as error:
            service.close()
            raise ConfigurationError(
                f"Port {self._requested_port} of {self._host} cannot be bound; it is probably in "
                "use. Choose another port, or 0 for any free port."
            ) from error
        await self.engine.start()
        await self._files.start()
        await server.start()
        self._service, self._server, self._port = service, server, port
        loops.register(self._host, port)
        return port

    def _probe(self) -> None:
        """Bind the requested port with a plain socket first: gRPC prints bind failures to stderr.

        Raises:
            OSError: The port cannot be bound.
        """
        if not self._requested_port:
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as probe:
            if os.name == "posix":  # on Windows, this would let two sockets share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((self._host, self._requested_port))

    async def stop(self, grace: float | None = 0.0) -> None:
        """Stop serving. Does nothing if the server is not running.

        Inside a `with` block, any event loop may await this.

        Args:
            grace: Seconds to wait for running calls; None cancels them immediately. If no call is
                running, `stop` waits up to 0.2 seconds for idle connections to close.
        """
        thread = self._thread
        if thread is not None and thread.loop is not asyncio.get_running_loop():
            stopping = asyncio.run_coroutine_threadsafe(self.stop(grace), thread.loop)
            await asyncio.wrap_future(stopping)
            return
        if self._port is not None:
            loops.unregister(self._host, self._port)
        server, self._server, self._port = self._server, None, None
        if server is None:
            return
        if not self._log.is_busy:
            # Let idle connections close cleanly; otherwise every gRPC client logs an error.
            grace = max(grace or 0.0, _IDLE_GRACE_SECONDS)
        await server.stop(grace)
        await self._files.stop()
        await self.engine.close()
        if self._service is not None:
            self._service.close()

    def __enter__(self) -> Self:
        """Start the server on an event loop in a thread of its own.

        Raises:
            ConfigurationError: The port cannot be bound, or the server is already running.
            ForkedProcessError: This process is a fork of a process that has run a server.
        """
        loops.refuse_fork()
        if self._thread is not None or self._server is not None:
            raise ConfigurationError("The embedded server is running already.")
        self._thread = loops.LoopThread()
        try:
            self._thread.run(self.start())
        except BaseException:  # an interrupt, too
            self._end_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server and its thread. Does nothing if they have been stopped already."""
        if self._thread is None or not self._thread.exists:
            return
        try:
            self._thread.run(self.stop())
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def choose_engine(setting: str, key: ApiKey | None = None) -> Engine:
    """Create the engine that a setting names, without starting it.

    Args:
        setting: `""` or `"painting"`, the URL of an OpenAI-compatible images API, or the name of an
            entry point.
        key: API key for the images API.

    Raises:
        ConfigurationError: The engine does not exist, or cannot be used.
    """
    if setting in {"", PAINTING_ENGINE}:
        return PaintingEngine()
    if "://" in setting:
        from xai_notebook.server.openai_engine import OpenAIEngine  # noqa: PLC0415  # slow: imports requests

        return OpenAIEngine(setting, key=key)
    from importlib.metadata import entry_points  # noqa: PLC0415  # slow: reads metadata of all packages

    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if setting not in points:
        names = ", ".join([PAINTING_ENGINE, *sorted(points)])
        raise ConfigurationError(
            f"The engine {setting!r} does not exist. Set XAI_NOTEBOOK_ENGINE to the URL of an"
            f" images API, such as http://localhost:8000/v1, or to one of: {names}."
        )
    try:
        engine = points[setting].load()()
    except Exception as error:
        raise ConfigurationError(
            f"The engine {setting!r} ({points[setting].value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"{points[setting].value} did not return an engine. It must return an instance of a "
            "subclass of xai_notebook.server.engine.Engine."
        )
    engine.location = engine.location or setting
    return engine
