"""Image generation: options, metadata, deadlines and errors."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import pytest
from xai_sdk.proto import image_pb2, models_pb2

from harness import start_images
from xai_notebook import errors, settings
from xai_notebook.client import AsyncClient
from xai_notebook.client.encoding import CHOICES
from xai_notebook.settings import package_version

DATA_URI = "data:image/png;base64,iVBORw0KGgo="


def test_a_call_sends_metadata(run_call: Any, reply: Any, key: str) -> None:
    """The key, our version, Python's version and the caller's own metadata."""
    _, server = run_call(
        reply(base64="AAAA"), lambda c: c.image.sample("p", "m"), metadata=[("X-Team", "blue")]
    )
    (metadata,) = server.metadata
    assert metadata["authorization"] == f"Bearer {key}"
    assert metadata["xai-sdk-version"] == f"python/{package_version()}"
    assert metadata["xai-sdk-language"] == "python/{}.{}".format(*sys.version_info[:2])
    assert metadata["x-team"] == "blue"
    assert str(metadata["user-agent"]).startswith("xai-notebook/")


def test_the_deadline_is_sent(run_call: Any, reply: Any) -> None:
    async def use(client: Any) -> None:
        await client.image.sample("p", "m")
        await client.image.sample("p", "m", timeout=9)

    _, server = run_call(reply(base64="AAAA"), use)
    assert 1600 < server.deadlines[0] < settings.DEFAULT_TIMEOUT + 20
    assert 8 < server.deadlines[1] < 9.5  # gRPC rounds the grpc-timeout header up


def test_sample_batch_accepts_fewer_images_than_requested(run_call: Any, reply: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        return reply(2 if request.n == 4 else 0, base64="AAAA")

    async def use(client: Any) -> tuple[int, list[Any]]:
        responses = await client.image.sample_batch("p", "m", 4)
        return len(responses), await client.image.sample_batch("p", "m", 3)

    assert run_call(answer, use)[0] == (2, [])


def test_sample_without_an_image_is_an_error(run_call: Any, reply: Any) -> None:
    error, _ = run_call(reply(0), lambda client: client.image.sample("p", "m"))
    assert isinstance(error, errors.MissingImageError)


async def test_an_unparsable_reply_is_an_error() -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        return b"\x0a\x01\x07"

    server, port = await start_images(answer)
    async with AsyncClient(api_host=f"localhost:{port}") as client:
        with pytest.raises(errors.ReplyError, match="cannot be read"):
            await client.image.sample("p", "m")
    await server.stop(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aspect_ratio": "5:4"}, "19.5:9"),
        ({"aspect_ratio": 1.5}, "16:9"),
        ({"aspect_ratio": "auto"}, "16:9"),
        ({"aspect_ratio": ["1:1"]}, "16:9"),
        ({"resolution": "4k"}, "1k, 2k"),
        ({"quality": "high"}, "low, medium"),
        ({"image_format": "png"}, "base64, url"),
        ({"n": 0}, "1 to 10"),
        ({"n": 11}, "1 to 10"),
        ({"n": True}, "1 to 10"),
        ({"n": 2.0}, "1 to 10"),
        ({"prompt": "  "}, "empty"),
        ({"prompt": None}, "empty"),
        ({"prompt": "\ud83d"}, "cannot be sent"),
        ({"model": ""}, "grok-imagine-image"),
        ({"user": 7}, "cannot be sent"),
        ({"image_url": "cat.png"}, "data:image/"),
        ({"image_urls": ["file:///etc/passwd"]}, "data:image/"),
        ({"image_url": DATA_URI, "image_urls": [DATA_URI]}, "not both"),
        ({"image_url": DATA_URI, "image_file_id": "f"}, "not both"),
        ({"image_file_id": "f", "image_file_ids": []}, "not both"),
        ({"image_url": "data:image/png;base64," + "A" * (15 << 20)}, "10 MiB"),
        ({"storage_options": {}}, "filename"),
        ({"storage_options": {"filename": "a", "ttl": 1}}, "expires_after"),
        ({"storage_options": {"filename": "a", "expires_after": "soon"}}, "cannot be sent"),
    ],
)
async def test_invalid_options_fail_before_sending(options: dict[str, Any], message: str) -> None:
    """A short message states the valid values, or the problem."""
    client = AsyncClient("", api_host="localhost:9")
    with pytest.raises(errors.OptionError) as caught:
        await client.image.sample_batch(**{"prompt": "p", "model": "m", "n": 1, **options})
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "10"])
def test_an_invalid_timeout_is_refused(run_call: Any, timeout: Any) -> None:
    error, server = run_call(None, lambda c: c.image.sample("p", "m", timeout=timeout))
    assert isinstance(error, errors.OptionError)
    assert server.requests == []


def test_aspect_ratios_match_the_sdk() -> None:
    from xai_sdk.image import convert_image_aspect_ratio_to_pb

    assert tuple(CHOICES["aspect_ratio"]) == settings.ASPECT_RATIOS
    for name, value in CHOICES["aspect_ratio"].items():
        assert convert_image_aspect_ratio_to_pb(name) == value


def test_the_error_for_an_unknown_model_lists_the_existing_models(run_call: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if isinstance(request, image_pb2.GenerateImageRequest):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        models = [models_pb2.ImageGenerationModel(name=name) for name in ("one", "t\x1b[31mwo")]
        return models_pb2.ListImageGenerationModelsResponse(models=models)

    error, _ = run_call(answer, lambda client: client.image.sample("p", "grok-9"))
    assert isinstance(error, errors.NotFoundError)
    assert "'grok-9'" in str(error)
    assert "Models that exist: one, t [31mwo" in str(error)
    assert error.attempts == 1


def test_not_found_for_a_file_does_not_mention_models(run_call: Any) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if isinstance(request, image_pb2.GenerateImageRequest):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no file f-1")
        model = models_pb2.ImageGenerationModel(name="grok-1", aliases=["grok"])
        return models_pb2.ListImageGenerationModelsResponse(models=[model])

    error, _ = run_call(answer, lambda c: c.image.sample("p", "grok", image_file_id="f-1"))
    assert isinstance(error, errors.NotFoundError)
    assert "model" not in str(error)
    assert "no file f-1" in str(error)
