"""A scripted HTTP/2 server for what gRPC's server cannot send, such as half a reply.

A script handles each call step by step; each step is sent before the next begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

__all__ = ["Call", "RawServer", "frame", "raw_server"]


def frame(message: bytes) -> bytes:
    """Return a message with gRPC's prefix: a flag (not compressed) and its length."""
    return struct.pack(">BI", 0, len(message)) + message


class Call:
    """A call whose request was received, and the steps to answer it."""

    def __init__(self, connection: _Connection, stream: int, number: int) -> None:
        self.number = number
        """1 for the first call that the server received."""
        self.ended = connection.ended.setdefault(stream, asyncio.Event())
        """Set when the client resets the stream, or disconnects."""
        self._connection = connection
        self._stream = stream

    @contextlib.contextmanager
    def one_packet(self) -> Iterator[None]:
        """Collect what the block sends, and send it in one packet."""
        connection = self._connection
        connection.held = True
        try:
            yield
        finally:
            connection.held = False
            connection.writer.write(connection.h2.data_to_send())

    async def headers(self, *more: tuple[str, str], status: str = "200") -> None:
        """Begin a reply."""
        head = [(":status", status), ("content-type", "application/grpc"), *more]
        self._connection.h2.send_headers(self._stream, head)
        await self._connection.flush()

    async def data(self, data: bytes) -> None:
        """Send bytes of a reply, with flow control."""
        connection, sent = self._connection, 0
        while sent < len(data):
            size = min(
                connection.h2.local_flow_control_window(self._stream),
                connection.h2.max_outbound_frame_size,
                len(data) - sent,
            )
            if size > 0:
                connection.h2.send_data(self._stream, data[sent : sent + size])
                sent += size
                await connection.flush()
            else:
                connection.window.clear()
                await connection.window.wait()

    async def message(self, message: bytes) -> None:
        """Send a whole message."""
        await self.data(frame(message))

    async def trailers(self, status: int = 0, details: str = "", *more: tuple[str, str]) -> None:
        """End a reply with a status."""
        message = [("grpc-message", details)] if details else []
        tail = [("grpc-status", str(status)), *message, *more]
        self._connection.h2.send_headers(self._stream, tail, end_stream=True)
        await self._connection.flush()

    async def only_trailers(self, status: int, details: str = "", *more: tuple[str, str]) -> None:
        """Answer with a status only, as servers refuse a call."""
        head = [(":status", "200"), ("content-type", "application/grpc"), *more]
        head += [("grpc-status", str(status)), ("grpc-message", details)]
        self._connection.h2.send_headers(self._stream, head, end_stream=True)
        await self._connection.flush()

    async def answer(self, message: bytes) -> None:
        """Send a whole reply."""
        await self.headers()
        await self.message(message)
        await self.trailers()

    async def http(self, status: int, body: bytes = b"") -> None:
        """Answer in HTTP without gRPC, as a proxy does."""
        head = [(":status", str(status)), ("content-type", "text/html")]
        self._connection.h2.send_headers(self._stream, head, end_stream=not body)
        if body:
            self._connection.h2.send_data(self._stream, body, end_stream=True)
        await self._connection.flush()

    async def reset(self, code: int = 0) -> None:
        """End the stream with RST_STREAM."""
        self._connection.h2.reset_stream(self._stream, code)
        await self._connection.flush()

    async def goaway(self, last: int | None = None, code: int = 0) -> None:
        """Send GOAWAY: streams up to `last` (default: this one) are served."""
        last = self._stream if last is None else last
        # By hand: h2 would not answer any stream after sending GOAWAY.
        payload = struct.pack(">II", last, code)
        head = struct.pack(">HBBBI", 0, len(payload), 7, 0, 0)
        self._connection.writer.write(head + payload)
        await self._connection.flush()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def freeze(self) -> None:
        """Keep the connection open, but stop reading from it."""
        self._connection.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """Drop the connection with a TCP reset."""
        self._connection.drop()

    async def close(self) -> None:
        """Close the connection as most servers do: without waiting for TLS's closing alert.

        Over TLS, asyncio would wait 30 s for the alert, which gRPC does not send.
        """
        self._connection.writer.close()
        await asyncio.sleep(0.05)
        self._connection.writer.transport.abort()

    async def raw(self, data: bytes) -> None:
        """Write bytes that are not HTTP/2."""
        self._connection.writer.write(data)
        await self._connection.flush()


class _Connection:
    def __init__(
        self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        self.window = asyncio.Event()
        self.held = False
        self.ended: dict[int, asyncio.Event] = {}
        self.scripts: set[asyncio.Task[None]] = set()

    async def flush(self) -> None:
        if self.held:
            return
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    def drop(self) -> None:
        sock: Any = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):  # AttributeError: TLS has closed it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def serve(self) -> None:
        self.h2.initiate_connection()
        await self.flush()
        while data := await self.reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                self._take(event)
            await self.flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            self.ended.setdefault(event.stream_id, asyncio.Event()).set()
        elif isinstance(event, WindowUpdated):
            self.window.set()
        elif isinstance(event, StreamEnded):
            self.server.requests += 1
            call = Call(self, event.stream_id, self.server.requests)
            task = asyncio.get_running_loop().create_task(self._run(call))
            self.scripts.add(task)
            task.add_done_callback(self.scripts.discard)

    async def _run(self, call: Call) -> None:
        # The client may disconnect at any time.
        with contextlib.suppress(OSError, ProtocolError):
            await self.server.script(call)


class RawServer:
    """A scripted server that counts its requests."""

    def __init__(self, script: Callable[[Call], Awaitable[None]]) -> None:
        self.script = script
        self.requests = 0
        """Number of complete requests: their images may have been made and billed."""
        self.port = 0
        self._serving: set[_Connection] = set()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"localhost:{self.port}"

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._serving.add(connection)
        try:
            with contextlib.suppress(OSError, ProtocolError):
                await connection.serve()
        finally:
            self._serving.discard(connection)
            for task in connection.scripts:
                task.cancel()
            for event in connection.ended.values():
                event.set()
            writer.close()

    def stop(self) -> None:
        """Drop all connections."""
        for connection in list(self._serving):
            connection.drop()


@contextlib.asynccontextmanager
async def raw_server(
    script: Callable[[Call], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve on loopback within the context."""
    raw = RawServer(script)
    server = await asyncio.start_server(raw._handle, "127.0.0.1", 0, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        raw.stop()
        await asyncio.sleep(0)  # lets the readers notice
