"""Loopback servers for the client tests: a gRPC server built on xAI's stubs, and an HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from xai_notebook.client import AsyncClient

# isort: split
import grpc
import grpc.aio
from xai_sdk import AsyncClient as SdkClient
from xai_sdk.proto import (
    auth_pb2_grpc,
    batch_pb2_grpc,
    chat_pb2_grpc,
    files_pb2_grpc,
    image_pb2,
    image_pb2_grpc,
    models_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

KEY = "xai-test-0123456789abcdef"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
PROXY_HEADER = ("server", "a-proxy")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the environment variables for CA bundles and proxies."""
    proxies = (f"{scheme}_PROXY" for scheme in ("GRPC", "HTTPS", "HTTP", "ALL", "NO"))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", *proxies):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def jpeg() -> bytes:
    """Return bytes with a JPEG signature."""
    return JPEG


class StubServer(
    image_pb2_grpc.ImageServicer,
    models_pb2_grpc.ModelsServicer,
    chat_pb2_grpc.ChatServicer,
    batch_pb2_grpc.BatchMgmtServicer,
    files_pb2_grpc.FilesServicer,
    auth_pb2_grpc.AuthServicer,
):
    """A gRPC server that records requests.

    It replies with `answer`, or with what `answer(request, context)` returns or awaits. For
    uploads, `request` is an iterator of chunks; for downloads, `answer` is an asynchronous
    generator of chunks.

    Attributes:
        deadlines: Seconds that were left for each call when it arrived.
    """

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.deadlines: list[float] = []
        self.port = 0

    @property
    def host(self) -> str:
        """Host and port."""
        return f"localhost:{self.port}"

    async def _handle(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.deadlines.append(context.time_remaining())
        # A `server` header in a Trailers-Only response proves that no reply had begun.
        context.set_trailing_metadata((PROXY_HEADER,))
        answer = self.answer(request, context) if callable(self.answer) else self.answer
        return await answer if inspect.isawaitable(answer) else answer

    GenerateImage = _handle
    ListImageGenerationModels = _handle
    GetImageGenerationModel = _handle
    GetCompletion = _handle
    CreateBatch = AddBatchRequests = GetBatch = CancelBatch = ListBatches = _handle
    ListBatchRequestMetadata = ListBatchResults = _handle
    UploadFile = ListFiles = RetrieveFile = DeleteFile = _handle
    CreatePublicUrl = RevokePublicUrl = get_api_key_info = _handle

    async def RetrieveFileContent(  # noqa: N802  # as xAI's stubs call it
        self, request: Any, context: Any
    ) -> AsyncIterator[Any]:
        """Send the chunks of the answer."""
        async for chunk in await self._handle(request, context):
            yield chunk


@contextlib.asynccontextmanager
async def _serve(
    answer: Any, *, credentials: grpc.ServerCredentials | None = None, port: int = 0
) -> AsyncIterator[StubServer]:
    stub_server = StubServer(answer)
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=sizes)
    image_pb2_grpc.add_ImageServicer_to_server(stub_server, server)
    models_pb2_grpc.add_ModelsServicer_to_server(stub_server, server)
    chat_pb2_grpc.add_ChatServicer_to_server(stub_server, server)
    batch_pb2_grpc.add_BatchMgmtServicer_to_server(stub_server, server)
    files_pb2_grpc.add_FilesServicer_to_server(stub_server, server)
    auth_pb2_grpc.add_AuthServicer_to_server(stub_server, server)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        stub_server.port = server.add_insecure_port(address)
    else:
        stub_server.port = server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield stub_server
    finally:
        await server.stop(0)


@pytest.fixture
def serve() -> Callable[..., contextlib.AbstractAsyncContextManager[StubServer]]:
    """Return an async context manager that starts a stub server with a given answer."""
    return _serve


@pytest.fixture
def reply() -> Callable[..., image_pb2.ImageResponse]:
    """Return a factory of replies with n identical images, such as `reply(2, url=…)`."""

    def make(n: int = 1, **fields: Any) -> image_pb2.ImageResponse:
        image = {"respect_moderation": True, **fields}
        return image_pb2.ImageResponse(model="grok-test", images=[image] * n)

    return make


@pytest.fixture
def fail_then_succeed() -> Callable[..., Any]:
    """Return a factory of answers that fail `times` times, then answer as `answer` does.

    With `reply_begun`, they fail after the initial metadata of a reply was sent.
    """

    def make(
        answer: Any,
        *,
        times: int = 1,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        details: str = "busy",
        trailing: Any = (),
        reply_begun: bool = False,
    ) -> Any:
        calls = itertools.count(1)

        async def fail_or_answer(request: Any, context: Any) -> Any:
            if next(calls) <= times:
                if reply_begun:
                    await context.send_initial_metadata((("x-request", "1"),))
                await context.abort(code, details, (*trailing, PROXY_HEADER))
            return await answer(request, context) if callable(answer) else answer

        return fail_or_answer

    return make


@pytest.fixture
def run_call() -> Callable[..., tuple[Any, StubServer]]:
    """Return a function that starts a server and makes one client call.

    `run_call(answer, lambda client: client.image.sample(…))` returns the result of the call, or the
    exception that it raised, and the server.
    """

    def run(answer: Any, use: Any, key: str = KEY, **options: Any) -> tuple[Any, StubServer]:
        async def main() -> tuple[Any, StubServer]:
            async with (
                _serve(answer) as server,
                AsyncClient(key, api_host=server.host, **options) as client,
            ):
                try:
                    return await use(client), server
                except Exception as error:  # noqa: BLE001  # the test checks the exception
                    return error, server

        return asyncio.run(main())

    return run


@pytest.fixture
def compare_with_sdk() -> Callable[..., tuple[Any, Any]]:
    """Return a function that makes the same calls with the SDK and with the client.

    It checks that both send the same requests, and returns both results.
    """

    def run(answer: Any, use: Any) -> tuple[Any, Any]:
        async def main() -> tuple[Any, Any]:
            async with _serve(answer) as server:
                sdk = SdkClient(api_key=KEY, api_host=server.host)
                sdk_result = await use(sdk)
                await sdk.close()
                async with AsyncClient(KEY, api_host=server.host) as client:
                    client_result = await use(client)
            half = len(server.requests) // 2
            assert server.requests[:half] == server.requests[half:]
            return sdk_result, client_result

        return asyncio.run(main())

    return run


class HttpServer:
    """An HTTP server; `routes` maps each path to a function that receives the request handler."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.requests.append((self.path, dict(self.headers)))
                with contextlib.suppress(OSError):  # the client may disconnect at any time
                    web.routes[self.path](self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def use_tls(self, name: str) -> trustme.CA:
        """Serve over TLS with a certificate for `name`; return the certificate authority."""
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        return authority

    def url(self, path: str) -> str:
        """Return the URL of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def add_response(
        self,
        path: str,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "image/jpeg",
        **headers: str,
    ) -> str:
        """Serve `body` at `path`; return the URL."""

        def route(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}
            for name, value in fields.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.routes[path] = route
        return self.url(path)


@pytest.fixture
def start_http_server() -> Iterator[Callable[[], HttpServer]]:
    """Return a function that starts HTTP servers on loopback."""
    started: list[HttpServer] = []

    def start() -> HttpServer:
        started.append(HttpServer())
        started[-1].thread.start()
        return started[-1]

    yield start
    for web in started:
        web.server.shutdown()
        web.server.server_close()
        web.thread.join()


@pytest.fixture
def web(start_http_server: Callable[[], HttpServer]) -> HttpServer:
    return start_http_server()
