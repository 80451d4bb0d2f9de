"""A kernel's embedded server refuses other users of the computer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness import settings_of, tiny
from xai_notebook import errors
from xai_notebook.client import AsyncClient, wire
from xai_notebook.generation.backends import Backends, choose_route
from xai_notebook.generation.event_loop import BackgroundLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xai_notebook.generation.backends import Backend

OTHER_USER_SCRIPT = """
import os, sys, json
import grpc
import encodings.idna, http.client
calls, port, web_port = json.loads(sys.stdin.read())
# load gRPC before dropping privileges; the channel connects on the first call
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
results = []
for method, request in calls:
    for metadata in ([], [("authorization", "Bearer ")], [("authorization", "Bearer " + "x" * 43)]):
        call = channel.unary_unary(method)
        try:
            reply = call(bytes.fromhex(request), metadata=metadata, timeout=20)
            results.append([method, reply.hex()])
        except grpc.RpcError as error:
            results.append([method, error.code().name])
connection = http.client.HTTPConnection("127.0.0.1", web_port, timeout=20)
connection.request("GET", "/")
results.append(["/", connection.getresponse().status])
print(json.dumps([os.geteuid(), results]))
"""


@pytest.fixture
def kernel_backend() -> Iterator[tuple[BackgroundLoop, Backend]]:
    """Yield a background event loop and the backend of a kernel's embedded server."""
    loop = BackgroundLoop()
    backends = Backends(loop)
    route = choose_route(settings_of(XAI_API_KEY=""), local=True)
    try:
        yield loop, loop.run(backends.connect(route))
    finally:
        backends.close()
        loop.stop()


def port_of(backend: Backend) -> int:
    """Return the port, which any local user can find."""
    return int(repr(backend.client).rpartition(":")[2].strip("')"))


def test_another_user_can_call_no_method(
    kernel_backend: tuple[BackgroundLoop, Backend],
) -> None:
    """Another user who knows every id cannot list, generate, read, cancel or delete."""
    loop, backend = kernel_backend
    client = backend.client

    async def prepare() -> tuple[str, str, str]:
        batch = await client.batch.create("mine")
        file = await client.files.upload(tiny(), filename="mine.jpg")
        made = await client.image.sample("a fox", "grok-imagine-image", image_format="url")
        return batch.batch_id, file.id, made.url

    async def state() -> list[Any]:
        batches = await client.batch.list()
        for item in batches.batches:
            item.ClearField("cost_breakdown")  # changes with time
        return [batches, await client.files.list()]

    batch, file, url = loop.run(prepare())
    before = loop.run(state())
    generate_request = wire.GenerateImageRequest(prompt="a fox", model="grok-imagine-image")
    requests: list[tuple[str, Any]] = [
        (wire.LIST_BATCHES, wire.ListBatchesRequest()),
        (wire.LIST_FILES, wire.ListFilesRequest()),
        (wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty()),
        (wire.GENERATE_IMAGE, generate_request),
        (wire.CREATE_BATCH, wire.CreateBatchRequest(name="theirs")),
        (wire.GET_BATCH, wire.GetBatchRequest(batch_id=batch)),
        (wire.LIST_BATCH_RESULTS, wire.ListBatchResultsRequest(batch_id=batch)),
        (wire.RETRIEVE_FILE, wire.RetrieveFileRequest(file_id=file)),
        (wire.RETRIEVE_FILE_CONTENT, wire.RetrieveFileContentRequest(file_id=file)),
        (wire.CREATE_PUBLIC_URL, wire.CreatePublicUrlRequest(file_id=file)),
        (wire.CANCEL_BATCH, wire.CancelBatchRequest(batch_id=batch)),
        (wire.DELETE_FILE, wire.DeleteFileRequest(file_id=file)),
    ]
    calls = [(method, request.SerializeToString().hex()) for method, request in requests]
    web_port = int(url.split(":")[2].split("/")[0])
    done = subprocess.run(
        [sys.executable, "-c", OTHER_USER_SCRIPT],
        input=json.dumps([calls, port_of(backend), web_port]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    uid, results = json.loads(done.stdout)
    assert uid != 0
    assert results.pop() == ["/", 404]
    assert {status for _, status in results} == {"UNAUTHENTICATED"}
    assert len(results) == 3 * len(calls)
    assert loop.run(state()) == before


def test_the_refusal_tells_other_programs_to_start_a_server(
    kernel_backend: tuple[BackgroundLoop, Backend],
) -> None:
    """The other program may belong to the same user."""
    loop, backend = kernel_backend

    async def list_models() -> None:
        async with AsyncClient("", api_host=f"localhost:{port_of(backend)}") as client:
            await client.models.list_image_generation_models()

    with pytest.raises(errors.AuthenticationError) as caught:
        loop.run(list_models())
    assert "accepts calls only from that kernel" in str(caught.value)
    assert "python -m xai_notebook.server" in str(caught.value)
    assert "console.x.ai" not in str(caught.value)


def test_each_kernel_has_its_own_key() -> None:
    first, second = (Backends(BackgroundLoop()) for _ in range(2))
    assert first._server_key != second._server_key
