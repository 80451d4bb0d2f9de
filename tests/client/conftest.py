"""Servers for the client's tests, on loopback: gRPC with xAI's own stubs, and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
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
from xai_sdk import AsyncClient as Sdk
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
HEAD = ("server", "a-proxy")
ENVIRONMENT = (
    "XAI_API_KEY",
    "XAI_API_HOST",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "GRPC_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "XAI_SDK_DISABLE_TRACING",
    "XAI_SDK_DISABLE_SENSITIVE_TELEMETRY_ATTRIBUTES",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables for keys, roots and proxies."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def key() -> str:
    """Return an API key."""
    return KEY


@pytest.fixture
def jpeg() -> bytes:
    """Return bytes that begin like a JPEG."""
    return JPEG


class Peer(
    image_pb2_grpc.ImageServicer,
    models_pb2_grpc.ModelsServicer,
    chat_pb2_grpc.ChatServicer,
    batch_pb2_grpc.BatchMgmtServicer,
    files_pb2_grpc.FilesServicer,
    auth_pb2_grpc.AuthServicer,
):
    """A gRPC server that records requests and answers with `answer(request, context)` or `answer`.

    The request of an upload is the iterator of its chunks; the answer to a request for content is
    an asynchronous iterator of chunks.
    """

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.remaining: list[float] = []
        self.port = 0

    @property
    def host(self) -> str:
        """Host and port."""
        return f"localhost:{self.port}"

    async def _take(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.remaining.append(context.time_remaining())
        # As a proxy does: in a refusal without headers, it proves that no reply had begun.
        context.set_trailing_metadata((HEAD,))
        return await self.answer(request, context) if callable(self.answer) else self.answer

    GenerateImage = _take
    ListImageGenerationModels = _take
    GetImageGenerationModel = _take
    GetCompletion = _take
    CreateBatch = AddBatchRequests = GetBatch = CancelBatch = ListBatches = _take
    ListBatchRequestMetadata = ListBatchResults = _take
    UploadFile = ListFiles = RetrieveFile = DeleteFile = _take
    CreatePublicUrl = RevokePublicUrl = get_api_key_info = _take

    async def RetrieveFileContent(  # noqa: N802  # as xAI's stubs call it
        self, request: Any, context: Any
    ) -> AsyncIterator[Any]:
        """Send the chunks of the answer."""
        async for piece in await self._take(request, context):
            yield piece


@contextlib.asynccontextmanager
async def _serve(
    answer: Any,
    *,
    credentials: grpc.ServerCredentials | None = None,
    port: int = 0,
) -> AsyncIterator[Peer]:
    peer = Peer(answer)
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=sizes)
    image_pb2_grpc.add_ImageServicer_to_server(peer, server)
    models_pb2_grpc.add_ModelsServicer_to_server(peer, server)
    chat_pb2_grpc.add_ChatServicer_to_server(peer, server)
    batch_pb2_grpc.add_BatchMgmtServicer_to_server(peer, server)
    files_pb2_grpc.add_FilesServicer_to_server(peer, server)
    auth_pb2_grpc.add_AuthServicer_to_server(peer, server)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        peer.port = server.add_insecure_port(address)
    else:
        peer.port = server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(0)


@pytest.fixture
def serve() -> Callable[..., contextlib.AbstractAsyncContextManager[Peer]]:
    """Return the async context manager that starts a peer with its answer."""
    return _serve


def _reply(n: int = 1, **fields: Any) -> image_pb2.ImageResponse:
    fields = {"respect_moderation": True, **fields}
    return image_pb2.ImageResponse(
        model="grok-test", images=[image_pb2.GeneratedImage(**fields) for _ in range(n)]
    )


@pytest.fixture
def reply() -> Callable[..., image_pb2.ImageResponse]:
    """Return a function that makes replies with n equal images, such as `reply(2, url=…)`."""
    return _reply


@pytest.fixture
def call(
    serve: Callable[..., contextlib.AbstractAsyncContextManager[Peer]],
) -> Callable[..., tuple[Any, Peer]]:
    """Return a function for one call: `call(answer, lambda client: client.image.sample(…))`."""

    def run(answer: Any, use: Any, **options: Any) -> tuple[Any, Peer]:
        async def main() -> tuple[Any, Peer]:
            async with (
                serve(answer) as peer,
                AsyncClient(KEY, api_host=peer.host, **options) as client,
            ):
                try:
                    return await use(client), peer
                except Exception as error:  # noqa: BLE001  # the test says what it expects
                    return error, peer

        return asyncio.run(main())

    return run


@pytest.fixture
def beside_sdk(
    serve: Callable[..., contextlib.AbstractAsyncContextManager[Peer]],
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that compares our requests with the SDK's, and returns both results."""

    def run(answer: Any, use: Any) -> tuple[Any, Any]:
        async def main() -> tuple[Any, Any]:
            async with serve(answer) as peer:
                sdk = Sdk(api_key=KEY, api_host=peer.host)
                theirs = await use(sdk)
                await sdk.close()
                async with AsyncClient(KEY, api_host=peer.host) as client:
                    ours = await use(client)
            half = len(peer.requests) // 2
            assert peer.requests[:half] == peer.requests[half:]
            return theirs, ours

        return asyncio.run(main())

    return run


class Web:
    """An HTTP server with one function of the handler for each path."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.seen.append((self.path, dict(self.headers)))
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
        """Serve over TLS with a certificate for `name`; return its authority."""
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        return authority

    def url(self, path: str) -> str:
        """Return the address of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def send(
        self, path: str, body: bytes, *, status: int = 200, kind: str = "image/jpeg", **more: str
    ) -> str:
        """Answer `path` with `body`; return its address."""

        def route(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            headers = {"Content-Type": kind, "Content-Length": str(len(body)), **more}
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.routes[path] = route
        return self.url(path)


@pytest.fixture
def new_web() -> Iterator[Callable[[], Web]]:
    """Return a function that starts HTTP servers on loopback."""
    started: list[Web] = []

    def start() -> Web:
        started.append(Web())
        started[-1].thread.start()
        return started[-1]

    yield start
    for web in started:
        web.server.shutdown()
        web.server.server_close()
        web.thread.join()


@pytest.fixture
def web(new_web: Callable[[], Web]) -> Web:
    """Return an HTTP server on loopback."""
    return new_web()
