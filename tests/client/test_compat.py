"""The client and xAI's SDK work in one process, with every supported protobuf version."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# One call to a server built on xAI's stubs serializes and parses our messages and theirs.
SCRIPT = """
import asyncio, sys
if sys.argv[1] == "xai_notebook":
    import xai_notebook.client
    import xai_sdk
else:
    import xai_sdk
    import xai_notebook.client
import google.protobuf, grpc
from xai_notebook.client import AsyncClient
from xai_sdk.proto import image_pb2, image_pb2_grpc

class Images(image_pb2_grpc.ImageServicer):
    async def GenerateImage(self, request, context):
        assert (request.prompt, request.n) == ("ein Füchslein", 2)
        assert request.aspect_ratio == image_pb2.IMG_ASPECT_RATIO_16_9
        assert not request.HasField("resolution")
        reply = image_pb2.ImageResponse(model="m")
        for _ in range(2):
            reply.images.add(base64="/9j/", respect_moderation=True)
        reply.usage.cost_in_usd_ticks = 7
        return reply

async def main():
    server = grpc.aio.server()
    image_pb2_grpc.add_ImageServicer_to_server(Images(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient("xai-k", api_host=f"localhost:{port}") as client:
        responses = await client.image.sample_batch(
            "ein Füchslein", "m", 2, aspect_ratio="16:9", image_format="base64"
        )
        assert [await response.image for response in responses] == [b"\\xff\\xd8\\xff"] * 2
        assert responses[0].cost_usd == 7e-10
    await server.stop(0)

asyncio.run(main())
print(google.protobuf.__version__)
"""


def run(first_import: str, path: str = "") -> str:
    """Run the script in a subprocess; return the protobuf version it used."""
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, first_import],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "TypeError" not in result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("first_import", ["xai_notebook", "xai_sdk"])
def test_the_client_and_the_sdk_share_a_process_in_both_import_orders(first_import: str) -> None:
    assert run(first_import)


# xAI's SDK needs googleapis-common-protos, whose newest release does not support protobuf 5.
VERSIONS = {
    "5.29": ["protobuf==5.29.*", "googleapis-common-protos==1.70.*"],
    "6.33": ["protobuf==6.33.*"],
    "7.36": ["protobuf==7.36.*"],
}


@pytest.fixture(scope="module", params=VERSIONS)
def protobuf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one version of protobuf, to put on the module path."""
    folder = tmp_path_factory.mktemp("protobuf")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--target", str(folder), *VERSIONS[request.param]],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    if result.returncode:
        reason = f"pip cannot fetch protobuf {request.param}: {result.stderr[-200:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.mark.parametrize("first_import", ["xai_notebook", "xai_sdk"])
def test_every_allowed_protobuf_works_in_both_import_orders(
    protobuf: Path, first_import: str
) -> None:
    version = run(first_import, str(protobuf))
    assert (protobuf / f"protobuf-{version}.dist-info").exists()
