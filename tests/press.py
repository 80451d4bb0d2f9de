"""A server no two pictures of which are equal, so that a test can tell what was made again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from harness import GENERATE, tiny
from xai_notebook.client import wire
from xai_notebook.loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Press:
    """Answers image calls on loopback, each image with the next number.

    Attributes:
        orders: Images that each call asked for.
        short: How many images fewer than asked are returned.
        status: Of every image's URL.
        gate: While it is clear, orders wait to be answered.
        failures: Status codes that the next calls are refused with.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.orders: list[int] = []
        self.short = 0
        self.status = 200
        self.failures: list[grpc.StatusCode] = []
        self.gate = threading.Event()
        self.gate.set()
        self.loop = BackgroundLoop()
        self._numbers = itertools.count()
        self._web = _web(self)

    @property
    def host(self) -> str:
        """Where clients find it."""
        return f"localhost:{self._port}"

    async def _generate(self, message: bytes, context: Any) -> bytes:
        request = wire.GenerateImageRequest.FromString(message)
        if self.failures:
            await context.abort(self.failures.pop(0), "as the test wants it")
        self.orders.append(request.n)
        await asyncio.to_thread(self.gate.wait)
        reply = wire.ImageResponse(model="grok-test")
        reply.usage.cost_in_usd_ticks = 200_000_000 * request.n
        for _ in range(request.n - self.short):
            number = next(self._numbers)
            image = reply.images.add(respect_moderation=True)
            if request.format == wire.ImageFormat.Value("IMG_FORMAT_URL"):
                image.url = f"http://127.0.0.1:{self._web.server_address[1]}/{number}"
            else:
                image.base64 = base64.b64encode(_picture(number)).decode()
        return bytes(reply.SerializeToString())

    async def _start(self) -> None:
        service, name = GENERATE.strip("/").split("/")
        method = grpc.unary_unary_rpc_method_handler(self._generate)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: method}),)
        )
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    def _stop(self) -> None:
        self.gate.set()
        self._web.shutdown()
        self._web.server_close()
        self.loop.run(self._server.stop(None))
        self.loop.stop()


@contextlib.contextmanager
def press() -> Iterator[Press]:
    """Run a press until the block ends."""
    made = Press()
    made.loop.run(made._start())
    try:
        yield made
    finally:
        made._stop()


def _picture(number: int) -> bytes:
    return tiny() + b"%d" % number  # what stands after its end does not trouble a JPEG


def _web(owner: Press) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(owner.status)
            self.end_headers()
            self.wfile.write(_picture(int(self.path[1:])))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
    return web
