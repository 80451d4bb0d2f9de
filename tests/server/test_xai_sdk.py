"""xAI's SDK, the current and an early version, works with the embedded server."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from openai_stub import png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EARLY = "1.2.0"
PROTOBUF = "protobuf>=6.30,<7"  # the last that the early SDK accepts
MODEL = "grok-imagine-image"

EARLY_CLIENT = """
import asyncio, json, sys
from xai_sdk import AsyncClient
import xai_sdk

async def main():
    client = AsyncClient(api_key="right", api_host=sys.argv[1])
    one = await client.image.sample("a red fox", "grok-imagine-image", image_format="base64")
    many = await client.image.sample_batch("a red fox", "grok-imagine-image", n=3,
                                           image_format="url")
    print(json.dumps({
        "file": xai_sdk.__file__,
        "prompt": one.prompt,
        "prompts": [response.prompt for response in many],
        "starts": [(await response.image)[:2].hex() for response in (one, *many)],
    }))

asyncio.run(main())
"""


def run(address: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return the result of `use(client)`, with xAI's asynchronous client."""
    from xai_sdk import AsyncClient

    async def main() -> Any:
        client = AsyncClient(api_key="right", api_host=address)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize("image_format", ["base64", "url"])
def test_ten_different_images_are_made(server_process: str, image_format: str) -> None:
    async def use(client: Any) -> Any:
        responses = await client.image.sample_batch(
            "a red fox", MODEL, 10, image_format=image_format, aspect_ratio="16:9", resolution="1k"
        )
        return responses[0], [await response.image for response in responses]

    response, images = run(server_process, use)
    assert (response.model, response.cost_usd) == ("local-preview", 0)
    assert len(set(images)) == 10
    assert all(data[:2] == b"\xff\xd8" for data in images)


def test_models_are_listed_and_found_by_name(server_process: str) -> None:
    async def use(client: Any) -> Any:
        models = await client.models.list_image_generation_models()
        return models, await client.models.get_image_generation_model(models[0].name)

    models, model = run(server_process, use)
    assert MODEL in [model.name for model in models]
    assert model == models[0]


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def fetch(url: str) -> tuple[bytes, str]:
    """Return content and media type of a URL."""
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.read(), reply.headers["Content-Type"]


class Blocking:
    """Adapter: the methods of xAI's synchronous client can be awaited."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value):
            return Blocking(value)
        if name == "prepare":
            return value

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(value, *args, **options)

        return call


@pytest.fixture(params=["asynchronous", "synchronous"])
def use_sdk(request: pytest.FixtureRequest, server_process: str) -> Callable[..., Any]:
    """Return a function that runs a script with one of xAI's clients."""

    def use(script: Callable[[Any], Awaitable[Any]]) -> Any:
        if request.param == "asynchronous":
            return run(server_process, script)
        from xai_sdk import Client

        client = Client(api_key="right", api_host=server_process)
        try:
            return asyncio.run(script(Blocking(client)))  # type: ignore[arg-type]
        finally:
            client.close()

    return use


def test_a_batch_from_end_to_end(use_sdk: Callable[..., Any]) -> None:
    async def use(client: Any) -> Any:
        batch = await client.batch.create("foxes")
        prompts = ["a red fox", "a blue fox", "", "[moderated]", "a white fox"]
        requests = [
            client.image.prepare(prompt, MODEL, batch_request_id=f"r{i}", image_format="base64")
            for i, prompt in enumerate(prompts)
        ]
        await client.batch.add(batch.batch_id, requests)
        get = client.batch.get
        while (state := (await get(batch.batch_id)).state).num_pending:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        results, token = [], None
        while not results or token:
            page = await client.batch.list_batch_results(batch.batch_id, 2, token)
            results += page.results
            token = page.pagination_token
        batches = (await client.batch.list(limit=100)).batches
        metadata = await client.batch.list_batch_requests(batch.batch_id)
        return batch, state, results, batches, metadata.batch_request_metadata

    batch, state, results, batches, metadata = use_sdk(use)
    assert (state.num_requests, state.num_success, state.num_error) == (5, 4, 1)
    assert [result.is_success for result in results] == [True, True, False, True, True]
    assert results[2].error_message == "Prompt must not be empty."
    assert results[0].image_response.base64.startswith("data:image/jpeg;base64,")
    assert results[0].image_response.model == "local-preview"
    assert batch.batch_id in [batch.batch_id for batch in batches]
    for items in (results, metadata):
        assert [item.batch_request_id for item in items] == [f"r{i}" for i in range(5)]


def test_a_file_from_end_to_end(use_sdk: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(png("red") + os.urandom(7_000_000))

    async def use(client: Any) -> Any:
        stored = await client.files.upload(str(path), expires_after=7200)
        listed = await client.files.list(filter=f'file_id = "{stored.id}" AND size_bytes > 7000000')
        public = await client.files.create_public_url(stored.id)
        shared, _ = await asyncio.to_thread(fetch, public.public_url)
        revoked = await client.files.revoke_public_url(stored.id)
        described = await client.files.get(stored.id)
        content = await client.files.content(stored.id)
        deleted = await client.files.delete(stored.id)
        with pytest.raises(grpc.RpcError, match="does not exist"):
            await client.files.get(stored.id)
        return stored, listed, shared, revoked, described, content, deleted

    stored, listed, shared, revoked, described, content, deleted = use_sdk(use)
    assert stored.filename == "big.png"
    assert stored.expires_at.seconds - stored.created_at.seconds == 7200
    assert [file.id for file in listed.data] == [stored.id]
    assert described == stored
    assert content == shared == path.read_bytes()
    assert revoked.revoked
    assert deleted.deleted


def test_stored_images_come_before_images_given_by_url(use_sdk: Callable[..., Any]) -> None:
    async def use(client: Any) -> Any:
        stored = await client.files.upload(png("red"), filename="a.png")
        red, blue = uri(png("red")), uri(png("blue"))
        inputs: list[dict[str, Any]] = [
            {"image_url": red},
            {"image_file_id": stored.id},
            {"image_urls": [red, blue]},
            {"image_urls": [blue], "image_file_ids": [stored.id]},
            {"image_urls": [blue, red]},
        ]
        return [
            (await client.image.sample("at night", MODEL, image_format="base64", **images)).base64
            for images in inputs
        ]

    images = use_sdk(use)
    assert images[0] == images[1]
    assert images[2] == images[3]
    assert images[2] != images[4]


def test_an_image_is_stored_and_shared(use_sdk: Callable[..., Any]) -> None:
    async def use(client: Any) -> Any:
        storage = {"filename": "fox.jpg", "public_url": {"expires_after": 3600}}
        response = await client.image.sample(
            "a red fox", MODEL, image_format="base64", storage_options=storage
        )
        return response, await client.files.content(response.file_output.file_id)

    response, content = use_sdk(use)
    assert fetch(response.public_url) == (content, "image/jpeg")
    assert base64.b64decode(response.base64.partition(",")[2]) == content
    assert response.file_output.filename == "fox.jpg"
    assert response.storage_error is None


def test_key_info_does_not_contain_the_key(use_sdk: Callable[..., Any]) -> None:
    info = use_sdk(lambda client: client.auth.get_api_key_info())
    assert info.acls
    assert "right" not in str(info)


@pytest.fixture(scope="module")
def early_sdk() -> Path:
    """Return a folder with the early SDK, downloaded once per machine."""
    name = f"xai-notebook-tests-{getpass.getuser()}-sdk-{EARLY}-protobuf-6"
    folder = Path(tempfile.gettempdir()) / name
    if not (folder / "complete").exists():
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
             "--target", str(folder), f"xai-sdk=={EARLY}", PROTOBUF],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            reason = f"pip could not fetch xai-sdk {EARLY}: {done.stderr.strip()[-200:]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        (folder / "complete").touch()
    return folder


def test_the_early_sdk_sees_the_rewritten_prompt(server_process: str, early_sdk: Path) -> None:
    """SDK 1.2.0 returns the rewritten prompt as `.prompt`."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY_CLIENT, server_process],
        env={**os.environ, "PYTHONPATH": str(early_sdk)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert output["file"].startswith(str(early_sdk))
    assert output["prompt"].startswith("A red fox, in ")
    assert len(set(output["prompts"])) == 3
    assert output["starts"] == ["ffd8"] * 4
