"""An image server whose pictures all differ, and notebooks in this process and in a kernel."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
from nbclient import NotebookClient

from harness import start_images, tiny
from xai_notebook.client import wire
from xai_notebook.generation.event_loop import BackgroundLoop
from xai_notebook.generation.session import close_session, current_session
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    Notebooks = Callable[..., "Notebook"]
    """Makes a notebook of the given cells."""


_PRICE = 200_000_000
"""Price of a picture in ticks."""


class NumberingServer:
    """Answers image calls on loopback; each image contains the next number.

    Attributes:
        image_counts: Number of requested images of each answered call.
        prompts: Prompts of the answered calls.
        waiting_calls: Number of calls that wait for a reply.
        replies_left: Number of calls that still get a reply; later calls wait. None: no limit.
        missing_images: Number of images missing from each reply.
        url_status: HTTP status of every image's URL.
        failures: gRPC status codes with which the next calls fail.
        fixed_reply: The bytes of each reply; None: a reply with new pictures.
        priced: Whether the default model is listed with the price that each picture costs.
    """

    def __init__(self) -> None:
        """Use `start_numbering_server` to start the server."""
        self.image_counts: list[int] = []
        self.prompts: list[str] = []
        self.waiting_calls = 0
        self.replies_left: int | None = None
        self.missing_images = 0
        self.url_status = 200
        self.failures: list[grpc.StatusCode] = []
        self.fixed_reply: bytes | None = None
        self.priced = False
        self.loop = BackgroundLoop()
        self._numbers = itertools.count()
        self._web = _web(self)

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return f"localhost:{self._port}"

    def url(self, number: int) -> str:
        """Return the URL of the picture with this number."""
        return f"http://127.0.0.1:{self._web.server_address[1]}/{number}"

    async def _generate(self, message: bytes, context: Any) -> bytes:
        request = wire.GenerateImageRequest.FromString(message)
        if self.failures:
            await context.abort(self.failures.pop(0), "a failure of the test")
        self.waiting_calls += 1
        try:
            while self.replies_left == 0:  # noqa: ASYNC110  # set by another thread
                await asyncio.sleep(0.005)
        finally:
            self.waiting_calls -= 1
        if self.replies_left is not None:
            self.replies_left -= 1
        self.image_counts.append(request.n)
        self.prompts.append(request.prompt)
        if self.fixed_reply is not None:
            return self.fixed_reply
        reply = wire.ImageResponse(model="grok-test")
        reply.usage.cost_in_usd_ticks = _PRICE * request.n
        for _ in range(request.n - self.missing_images):
            number = next(self._numbers)
            image = reply.images.add(respect_moderation=True)
            if request.format == wire.ImageFormat.Value("IMG_FORMAT_URL"):
                image.url = self.url(number)
            else:
                image.base64 = base64.b64encode(numbered(number)).decode()
        return bytes(reply.SerializeToString())

    async def _list_models(self, message: bytes, context: Any) -> bytes:
        if not self.priced:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        reply = wire.ListImageGenerationModelsResponse()
        reply.models.add(name=DEFAULT_MODEL, image_price=_PRICE)
        return bytes(reply.SerializeToString())

    def _start(self) -> None:
        starting = start_images(self._generate, list_models=self._list_models)
        self._server, self._port = self.loop.run(starting)

    def _stop(self) -> None:
        self._web.shutdown()
        self._web.server_close()
        self.loop.run(self._server.stop(None))
        self.loop.stop()


@contextlib.contextmanager
def start_numbering_server() -> Iterator[NumberingServer]:
    """Run a `NumberingServer` until the block ends."""
    server = NumberingServer()
    server._start()
    try:
        yield server
    finally:
        server._stop()


def numbered(number: int) -> bytes:
    """Return the picture with this number; decoders ignore bytes after the end of a JPEG."""
    return tiny() + b"%d" % number


def _web(owner: NumberingServer) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(owner.url_status)
            self.end_headers()
            self.wfile.write(numbered(int(self.path[1:])))

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


def execute(folder: Path, *cells: str, client: type[Any] = NotebookClient) -> Any:
    """Run cells in a kernel of their own, without cell ids; return the client."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(folder)}}
    started = client(notebook, timeout=60, kernel_name="python3", resources=resources)
    started.execute()
    return started


def generate_in_panel() -> str | None:
    """Request a fox as a panel does; return its digest."""
    session = current_session()
    call = session.prepare("a fox", {})
    with session.cells.claims_for_call("a panel") as claims:
        session.loop.run(session.run(call, claims))
        return session.finish(call)[0].sha256


def reuse(prompts: list[str]) -> list[str | None]:
    """Request pictures as a worker of a pool does; return their digests."""
    import xai_notebook as xai

    return [xai.generate(prompt, reuse=True)[0].sha256 for prompt in prompts]
