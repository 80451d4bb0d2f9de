"""xAI's own SDK, today's and an early one, cannot tell the server from the real one."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EARLY = "1.2.0"
PROTOBUF = "protobuf>=6.30,<7"  # the last that it accepts
MODEL = "grok-imagine-image"

EARLY_CLIENT = """
import asyncio, json, sys
from xai_sdk import AsyncClient
import xai_sdk
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def main() -> Any:
    client = AsyncClient(api_key="right", api_host=sys.argv[1])
    one = await client.image.sample("a red fox", "grok-imagine-image", image_format="base64")
    many = await client.image.sample_batch("a red fox", "grok-imagine-image", n=3,
                                           image_format="url")
    print(json.dumps({
        "file": xai_sdk.__file__,
        "prompt": one.prompt,
        "prompts": [each.prompt for each in many],
        "starts": [(await each.image)[:2].hex() for each in (one, *many)],
    }))

asyncio.run(main())
"""


def run(address: str, use: Callable[[Any], Awaitable[Any]], key: str = "right") -> Any:
    """Return what `use(client)` returns, with xAI's asynchronous client."""
    from xai_sdk import AsyncClient

    async def main() -> Any:
        client = AsyncClient(api_key=key, api_host=address)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize("image_format", ["base64", "url"])
def test_sample(server_process: str, image_format: str) -> None:
    """One image arrives in either format."""

    async def use(client: Any) -> Any:
        response = await client.image.sample(
            "a red fox", MODEL, image_format=image_format, aspect_ratio="16:9", resolution="1k"
        )
        return response.model, response.cost_usd, await response.image

    model, cost, data = run(server_process, use)
    assert model == "local-preview"
    assert cost == 0
    assert data[:2] == b"\xff\xd8"


@pytest.mark.parametrize("image_format", ["base64", "url"])
def test_sample_batch(server_process: str, image_format: str) -> None:
    """Ten images come from one request, all of them different."""

    async def use(client: Any) -> Any:
        batch = await client.image.sample_batch("a fox", MODEL, 10, image_format=image_format)
        return [await response.image for response in batch]

    images = run(server_process, use)
    assert len(set(images)) == 10
    assert all(data[:2] == b"\xff\xd8" for data in images)


def test_models(server_process: str) -> None:
    """The models are listed, and each can be asked for by name."""

    async def use(client: Any) -> Any:
        models = await client.models.list_image_generation_models()
        return models, await client.models.get_image_generation_model(models[0].name)

    models, model = run(server_process, use)
    assert MODEL in [each.name for each in models]
    assert model == models[0]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"key": "wrong"}, grpc.StatusCode.UNAUTHENTICATED),
        ({"n": 0}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"n": 11}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"prompt": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"model": "grok-nothing"}, grpc.StatusCode.NOT_FOUND),
    ],
)
def test_statuses(server_process: str, change: dict[str, Any], status: grpc.StatusCode) -> None:
    """What is wrong gets the status the real API gives it."""
    wanted = {"prompt": "a red fox", "model": MODEL, "n": 1, **change}
    key = wanted.pop("key", "right")

    async def use(client: Any) -> Any:
        await client.image.sample_batch(**wanted)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        run(server_process, use, key)
    assert caught.value.code() is status


@pytest.fixture(scope="module")
def early_sdk() -> Path:
    """Return a folder with the early SDK in it, fetched once per machine."""
    folder = (
        Path(tempfile.gettempdir())
        / f"xai-notebook-tests-{getpass.getuser()}-sdk-{EARLY}-protobuf-6"
    )
    if not (folder / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        done = subprocess.run(
            [*command, "--target", str(folder), f"xai-sdk=={EARLY}", PROTOBUF],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            reason = f"pip could not fetch xai-sdk {EARLY}: {done.stderr.strip()[-200:]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        (folder / "complete").touch()
    return folder


def test_the_early_sdk_sees_the_rewritten_prompt(server_process: str, early_sdk: Path) -> None:
    """SDK 1.2.0, from when servers rewrote prompts, finds them in `.prompt`."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY_CLIENT, server_process],
        env={**os.environ, "PYTHONPATH": str(early_sdk)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["file"].startswith(str(early_sdk))
    assert seen["prompt"].startswith("A red fox, in ")
    assert len(set(seen["prompts"])) == 3
    assert seen["starts"] == ["ffd8"] * 4
