"""The client accepts the SDK's arguments and returns equal results."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from xai_sdk.aio.image import ImageResponse as SdkResponse
from xai_sdk.files import _resolve_storage_options_pb
from xai_sdk.proto import image_pb2

from xai_notebook import errors
from xai_notebook.client import AsyncClient, wire
from xai_notebook.server import EmbeddedServer


def prepare(**options: Any) -> wire.GenerateImageRequest:
    """Build a request from the options."""
    client = AsyncClient("", api_host="localhost:9")
    return client.image.prepare("p", "m", **options).image_request


@pytest.mark.parametrize(
    "options",
    [
        {"filename": "a.png"},
        {"filename": "a.png", "expires_after": 7200},
        {"filename": "a.png", "expires_after": timedelta(hours=2)},
        {"filename": "a.png", "public_url": True},
        {"filename": "a.png", "public_url": False},
        {"filename": "a.png", "public_url": {}},
        {"filename": "a.png", "public_url": {"expires_after": 0}},
        {"filename": "a.png", "public_url": {"expires_after": timedelta(days=1)}},
        image_pb2.StorageOptions(filename="a.png", expires_after=0),
        image_pb2.StorageOptions(filename="a.png", public_url={"expires_after": 5}),
        wire.StorageOptions(filename="a.png", public_url={}),
    ],
)
def test_storage_options_match_the_sdk(options: Any) -> None:
    request = prepare(storage_options=options)
    if isinstance(options, wire.StorageOptions):
        options = image_pb2.StorageOptions.FromString(options.SerializeToString())
    expected = _resolve_storage_options_pb(options).SerializeToString(deterministic=True)
    assert request.storage_options.SerializeToString(deterministic=True) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("a.png", "storage_options may hold"),
        (image_pb2.PublicUrlOptions(), "storage_options may hold"),
        (image_pb2.StorageOptions(), "need a filename"),
        ({"filename": "a", "public_url": 1}, "public_url"),
        ({"filename": "a", "public_url": []}, "public_url"),
        ({"filename": "a", "public_url": {"days": 3}}, "public_url"),
    ],
)
def test_invalid_storage_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(errors.OptionError, match=message):
        prepare(storage_options=options)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_bare_base64_is_sent_as_a_data_uri(image_format: str) -> None:
    """The media type is detected from the first bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(stream, image_format)
    text = base64.b64encode(stream.getvalue()).decode()
    for source in (prepare(image_url=text).image, prepare(image_urls=[text]).images[0]):
        assert source.image_url == f"data:image/{image_format.lower()};base64,{text}"


@pytest.mark.parametrize(
    ("metadata", "name", "value"),
    [
        (None, "x-team", None),
        ((), "x-team", None),
        ((("X-Team", "a b"),), "x-team", "a b"),
        ([["x-team", "a b"]], "x-team", "a b"),
        (iter([("x-team", "a b")]), "x-team", "a b"),
        ([("x-bin", b"\0\xff")], "x-bin", b"\0\xff"),
    ],
)
def test_metadata_is_any_iterable_of_pairs_or_none(
    run_call: Any, reply: Any, metadata: Any, name: str, value: Any
) -> None:
    """The values of names that end with -bin are bytes."""
    options = {"metadata": metadata, "channel_options": None}
    _, server = run_call(reply(base64="AAAA"), lambda c: c.image.sample("p", "m"), **options)
    assert server.metadata[0].get(name) == value


@pytest.mark.parametrize(
    "metadata",
    [7, "x-team", {"x-team": "a"}, [("x-team",)], [("x-team", 7)], [("x team", "a")], [("", "a")],
     [(b"x-team", "a")], [("x-team", "ü")], [("x-team", "a\nb")], [("x-bin", "text")],
     [("x-team", b"bytes")], [("Authorization", "Bearer x")]],
)  # fmt: skip
def test_invalid_metadata_is_refused(metadata: Any) -> None:
    """The constructor raises a one-line error."""
    with pytest.raises(errors.ConfigurationError, match=r"^The metadata ") as caught:
        AsyncClient("", api_host="localhost:1", metadata=metadata)
    assert "\n" not in str(caught.value)


STORED = image_pb2.ImageResponse(
    model="m",
    images=[
        {
            "base64": "AAAA",
            "respect_moderation": True,
            "file_output": {"file_id": "f", "public_url": "https://x", "public_url_error": "late"},
        },
        {"url": "https://example.com/x.jpg", "respect_moderation": True},
        {"base64": "", "respect_moderation": False},
    ],
)


def our_and_sdk_response(run_call: Any, index: int) -> tuple[Any, Any]:
    """Return image `index` of `STORED` from our client and from the SDK."""
    responses, _ = run_call(STORED, lambda client: client.image.sample_batch("p", "m", 3))
    return responses[index], SdkResponse(STORED, index)


@pytest.mark.parametrize("index", [0, 1])
def test_responses_match_the_sdk(run_call: Any, index: int) -> None:
    client_response, sdk_response = our_and_sdk_response(run_call, index)
    for name in ("model", "public_url", "public_url_error", "storage_error", "cost_usd"):
        assert getattr(client_response, name) == getattr(sdk_response, name)
    assert client_response.proto.SerializeToString() == sdk_response.proto.SerializeToString()


@pytest.mark.parametrize(
    ("index", "name"), [(0, "url"), (1, "base64"), (2, "url"), (2, "base64"), (2, "image")]
)
def test_access_to_a_missing_image_raises_value_error_like_the_sdk(
    run_call: Any, index: int, name: str
) -> None:
    for response in our_and_sdk_response(run_call, index):

        async def read(response: Any = response) -> None:
            value = getattr(response, name)
            if name == "image":
                await value

        with pytest.raises(ValueError, match=r"(?i)image"):
            asyncio.run(read())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_localhost_falls_back_to_ipv6() -> None:
    """IPv4 wins if servers listen on both addresses."""
    async with EmbeddedServer(host="::1") as server:
        async with AsyncClient("", api_host=server.address) as client:
            await client.models.list_image_generation_models()
        async with (
            EmbeddedServer(port=server.port) as other,
            AsyncClient("", api_host=server.address) as client,
        ):
            await client.models.list_image_generation_models()
            assert [len(running.requests) for running in (server, other)] == [1, 1]
