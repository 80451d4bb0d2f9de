"""A server of the OpenAI images API on loopback whose replies a test controls."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from PIL import Image

import bare_client
from xai_notebook.server.openai_engine import OpenAIEngine
from xai_notebook.settings import ApiKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc


def png(colour: str = "teal") -> bytes:
    """Return a small picture."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(stream, "PNG")
    return stream.getvalue()


def enormous_png() -> bytes:
    """Return a small file with more pixels than the limit."""
    stream = io.BytesIO()
    Image.new("1", (30000, 3000)).save(stream, "PNG")
    return stream.getvalue()


SECRET = "engine-key-c0ffee-5ca1ab1e"
DATA_URI = "data:image/png;base64," + base64.b64encode(png("navy")).decode()
EDIT = {"image": {"image_url": DATA_URI}}


def entry(**more: Any) -> dict[str, Any]:
    """Return an entry of a reply, with a picture."""
    return {"b64_json": base64.b64encode(png()).decode(), **more}


def complaint(message: str, **more: Any) -> dict[str, Any]:
    """Return an error in the form of OpenAI."""
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


@dataclass
class Request:
    """A received request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of a generation."""
        return json.loads(self.body)


@dataclass
class Reply:
    """A reply of the stub.

    Attributes:
        status: The HTTP status.
        body: Bytes, or a value to send as JSON.
        headers: Headers in addition to Content-Length.
        cut: Bytes that are announced and not sent.
        waits: Send nothing, and wait until the client disconnects.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    waits: bool = False


@dataclass
class Stub:
    """The state of the stub.

    Attributes:
        answer: Makes the reply to a request for pictures, from the request and its number, from 1.
        models: Names that `/models` lists; None: it replies with 404.
        fetched: Replies to downloads, in order; the last one is repeated.
        requests: All received requests.
        waiting: Set when a request for pictures waits.
        left: Set when the client of a waiting request has disconnected.
    """

    url: str = ""
    answer: Callable[[Request, int], Reply] = lambda _order, _number: reply_of()
    models: list[str] | None = field(default_factory=lambda: ["fox-1"])
    fetched: list[Reply] = field(default_factory=lambda: [Reply(body=png())])
    requests: list[Request] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def orders(self) -> list[Request]:
        """The requests for pictures."""
        return [request for request in self.requests if request.method == "POST"]


@contextlib.contextmanager
def run_stub(host: str = "127.0.0.1") -> Iterator[Stub]:
    """Run a stub until the block ends."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._take()
            if self.path.endswith("/models"):
                names = stub.models
                listed = {"data": [{"id": name, "object": "model"} for name in names or ()]}
                self._send(Reply(404, {}) if names is None else Reply(body=listed))
            else:
                self._send(stub.fetched.pop(0) if stub.fetched[1:] else stub.fetched[0])

        def do_POST(self) -> None:
            self._take()
            reply = stub.answer(stub.orders[-1], len(stub.orders))
            if reply.waits:
                stub.waiting.set()
                self.connection.settimeout(30)
                if not self.connection.recv(1):
                    stub.left.set()
                self.close_connection = True
            else:
                self._send(reply)

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.requests.append(Request(self.command, self.path, headers, body))

        def _send(self, reply: Reply) -> None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(body) + reply.cut))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may refuse a large reply
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://{host}:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply_of(count: int = 1, **more: Any) -> Reply:
    """Return a valid reply."""
    return Reply(body={"data": [entry(**more) for _ in range(count)]})


def answers(*replies: Reply) -> Callable[[Request, int], Reply]:
    """Give these replies in order; the last one is repeated."""
    return lambda _order, number: replies[min(number, len(replies)) - 1]


def ask(stub: Stub, request: Any, *options: Any, key: str = "") -> Any:
    """Send one request through an embedded server that has the stub as its engine."""
    engine = OpenAIEngine(stub.url, key=ApiKey(key) if key else None)
    return bare_client.ask(request, *options, engine=engine)


def refusal(
    stub: Stub, request: Any, *options: Any, key: str = ""
) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """Send a request that must fail; return code, details and trailing metadata."""
    engine = OpenAIEngine(stub.url, key=ApiKey(key) if key else None)
    return bare_client.refusal(request, *options, engine=engine)
