"""An image server whose pictures all differ, and notebooks in the test's process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from harness import start_images, tiny
from xai_notebook.client import wire
from xai_notebook.generation.event_loop import BackgroundLoop
from xai_notebook.generation.session import close_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from IPython.core.interactiveshell import InteractiveShell


class Press:
    """Answers image calls on loopback, each image with the next number.

    Attributes:
        orders: Number of images of each answered call.
        waiting: Calls that wait for an answer.
        left: Number of further calls that are answered, the others wait; None: all.
        short: Number of images missing from each reply.
        status: HTTP status of every image's URL.
        failures: gRPC status codes with which the next calls fail.
    """

    def __init__(self) -> None:
        """Use `press` to start the server."""
        self.orders: list[int] = []
        self.waiting = 0
        self.left: int | None = None
        self.short = 0
        self.status = 200
        self.failures: list[grpc.StatusCode] = []
        self.loop = BackgroundLoop()
        self._numbers = itertools.count()
        self._web = _web(self)

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"localhost:{self._port}"

    async def _generate(self, message: bytes, context: Any) -> bytes:
        request = wire.GenerateImageRequest.FromString(message)
        if self.failures:
            await context.abort(self.failures.pop(0), "a failure of the test")
        self.waiting += 1
        try:
            while self.left == 0:  # noqa: ASYNC110  # set by another thread
                await asyncio.sleep(0.005)
        finally:
            self.waiting -= 1
        if self.left is not None:
            self.left -= 1
        self.orders.append(request.n)
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

    def _start(self) -> None:
        self._server, self._port = self.loop.run(start_images(self._generate))

    def _stop(self) -> None:
        self._web.shutdown()
        self._web.server_close()
        self.loop.run(self._server.stop(None))
        self.loop.stop()


@contextlib.contextmanager
def press() -> Iterator[Press]:
    """Run a `Press` until the block ends."""
    server = Press()
    server._start()
    try:
        yield server
    finally:
        server._stop()


def _picture(number: int) -> bytes:
    return tiny() + b"%d" % number  # decoders ignore bytes after the end of a JPEG


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


class Notebook:
    """Cells in a shell of this process. A run returns the images that cells add to `shown`."""

    def __init__(self, shell: InteractiveShell, *cells: str, ids: bool = True) -> None:
        self.shell = shell
        self.cells = list(cells)
        self.ids = ids
        self.errors: list[BaseException | None] = []

    def run(self, *numbers: int) -> list[str]:
        """Run cells, by default all; return the digests of `shown`."""
        shown: list[Any] = []
        self.shell.user_ns["shown"] = shown
        self.errors = []
        for number in numbers or range(len(self.cells)):
            cell_id = {"cell_id": f"cell-{number}"} if self.ids else {}
            result = self.shell.run_cell(self.cells[number], store_history=True, **cell_id)
            self.errors.append(result.error_in_exec or result.error_before_exec)
        return [image.sha256 for image in shown]

    def restart(self) -> None:
        """Close the session, as a kernel restart does."""
        close_session()

    def rerun(self) -> list[str]:
        """Restart and run all cells."""
        self.restart()
        return self.run()


def reuse(prompts: list[str]) -> list[str | None]:
    """Request pictures as a worker of a pool does; return their digests."""
    import xai_notebook as xai

    return [xai.generate(prompt, reuse=True)[0].sha256 for prompt in prompts]
