"""A kernel's embedded server answers no other user of the computer."""

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

STRANGER = """
import os, sys, json
import grpc
import encodings.idna, http.client
calls, port, web = json.loads(sys.stdin.read())
channel = grpc.insecure_channel(f"127.0.0.1:{port}")  # imports; it connects with the first call
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
said = []
for method, request in calls:
    for sent in ([], [("authorization", "Bearer ")], [("authorization", "Bearer " + "x" * 43)]):
        ask = channel.unary_unary(method)
        try:
            said.append([method, ask(bytes.fromhex(request), metadata=sent, timeout=20).hex()])
        except grpc.RpcError as error:
            said.append([method, error.code().name])
connection = http.client.HTTPConnection("127.0.0.1", web, timeout=20)
connection.request("GET", "/")
said.append(["/", connection.getresponse().status])
print(json.dumps([os.geteuid(), said]))
"""


@pytest.fixture
def own() -> Iterator[tuple[BackgroundLoop, Backend]]:
    """Return the embedded server of a kernel, and its event loop."""
    loop = BackgroundLoop()
    backends = Backends(loop)
    route = choose_route(settings_of(XAI_API_KEY=""), local=True)
    try:
        yield loop, loop.run(backends.connect(route))
    finally:
        backends.close()
        loop.stop()


def port_of(backend: Backend) -> int:
    """Return the port, which every user of the computer sees."""
    return int(repr(backend.client).rpartition(":")[2].strip("')"))


def test_another_user_does_nothing(own: tuple[BackgroundLoop, Backend]) -> None:
    """Even with every id, another user cannot list, order, read, cancel or delete."""
    loop, backend = own
    client = backend.client

    async def prepare() -> tuple[str, str, str]:
        batch = await client.batch.create("mine")
        file = await client.files.upload(tiny(), filename="mine.jpg")
        made = await client.image.sample("a fox", "grok-imagine-image", image_format="url")
        return batch.batch_id, file.id, made.url

    async def state() -> list[Any]:
        batches = await client.batch.list()
        for each in batches.batches:
            each.ClearField("cost_breakdown")  # says when it was made
        return [batches, await client.files.list()]

    batch, file, url = loop.run(prepare())
    before = loop.run(state())
    order = wire.GenerateImageRequest(prompt="a fox", model="grok-imagine-image")
    requests: list[tuple[str, Any]] = [
        (wire.LIST_BATCHES, wire.ListBatchesRequest()),
        (wire.LIST_FILES, wire.ListFilesRequest()),
        (wire.LIST_IMAGE_GENERATION_MODELS, wire.Empty()),
        (wire.GENERATE_IMAGE, order),
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
    web = int(url.split(":")[2].split("/")[0])
    done = subprocess.run(
        [sys.executable, "-c", STRANGER],
        input=json.dumps([calls, port_of(backend), web]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    uid, said = json.loads(done.stdout)
    assert uid != 0
    assert said.pop() == ["/", 404]
    assert {status for _, status in said} == {"UNAUTHENTICATED"}
    assert len(said) == 3 * len(calls)
    assert loop.run(state()) == before


def test_a_second_program_hears_why_and_what_to_do(own: tuple[BackgroundLoop, Backend]) -> None:
    """The second program may be the user's own."""
    loop, backend = own

    async def ask() -> None:
        async with AsyncClient("", api_host=f"localhost:{port_of(backend)}") as client:
            await client.models.list_image_generation_models()

    with pytest.raises(errors.AuthenticationError) as caught:
        loop.run(ask())
    assert "answers that kernel alone" in str(caught.value)
    assert "python -m xai_notebook.server" in str(caught.value)
    assert "console.x.ai" not in str(caught.value)


def test_each_kernel_has_a_key_of_its_own() -> None:
    first, second = (Backends(BackgroundLoop()) for _ in range(2))
    assert first._server_key != second._server_key
