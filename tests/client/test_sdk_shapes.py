"""Arguments and results equal those of xAI's SDK."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
from datetime import timedelta
from typing import Any

import grpc
import pytest
from PIL import Image
from xai_sdk.aio.image import ImageResponse as SdkResponse
from xai_sdk.files import _resolve_storage_options_pb
from xai_sdk.proto import image_pb2

from xai_notebook import errors
from xai_notebook.client import AsyncClient, wire
from xai_notebook.server import EmbeddedServer


def prepare(**options: Any) -> wire.GenerateImageRequest:
    """Return the request that these options make."""
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
def test_storage_options_equal_the_sdks(options: Any) -> None:
    request = prepare(storage_options=options)
    if isinstance(options, wire.StorageOptions):
        options = image_pb2.StorageOptions.FromString(options.SerializeToString())
    wanted = _resolve_storage_options_pb(options).SerializeToString(deterministic=True)
    assert request.storage_options.SerializeToString(deterministic=True) == wanted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("a.png", "storage_options may hold"),
        (image_pb2.PublicUrlOptions(), "storage_options may hold"),
        (image_pb2.StorageOptions(), "need a filename"),
        ({"filename": "a", "public_url": 1}, "public_url"),
        ({"filename": "a", "public_url": []}, "public_url"),
        ({"filename": "a", "public_url": {"days": 3}}, "public_url"),
    ],
)
def test_invalid_storage_options_are_refused(options: Any, said: str) -> None:
    with pytest.raises(errors.OptionError, match=said):
        prepare(storage_options=options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("several", [False, True])
def test_an_input_image_may_be_bare_base64(kind: str, several: bool) -> None:  # noqa: FBT001
    """It travels as a data URI of the kind that its first bytes tell."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(stream, kind)
    text = base64.b64encode(stream.getvalue()).decode()
    if several:
        (source,) = prepare(image_urls=[text]).images
    else:
        source = prepare(image_url=text).image
    assert source.image_url == f"data:image/{kind.lower()};base64,{text}"


def test_the_server_accepts_bare_base64_from_both_clients() -> None:
    from xai_sdk import AsyncClient as Sdk

    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()

    async def main() -> list[bytes]:
        made = []
        async with EmbeddedServer() as server:
            for kind in (AsyncClient, Sdk):
                client: Any = kind(api_key="xai-key", api_host=server.address)
                for image in (text, f"data:image/png;base64,{text}"):
                    response = await client.image.sample(
                        "at night", "grok-imagine-image", image_url=image, image_format="base64"
                    )
                    made.append(await response.image)
                await client.close()
        return made

    assert len(set(asyncio.run(main()))) == 1


async def _answer(metadata: Any, serve: Any) -> dict[str, Any]:
    async with serve(image_pb2.ImageResponse(images=[{"base64": "AAAA"}])) as peer:
        async with AsyncClient(
            "", api_host=peer.host, metadata=metadata, channel_options=None
        ) as client:
            await client.image.sample("p", "m")
        return dict(peer.metadata[0])


@pytest.mark.parametrize(
    "metadata", [None, (), (("X-Team", "a b"),), [["x-team", "a b"]], iter([("x-team", "a b")])]
)
def test_metadata_may_be_none(metadata: Any, serve: Any) -> None:
    expected = "a b" if metadata else None
    assert asyncio.run(_answer(metadata, serve)).get("x-team") == expected


def test_metadata_may_be_bytes(serve: Any) -> None:
    """Under names that end with -bin."""
    assert asyncio.run(_answer([("x-bin", b"\0\xff")], serve))["x-bin"] == b"\0\xff"


@pytest.mark.parametrize(
    "metadata",
    [
        7,
        "x-team",
        {"x-team": "a"},
        [("x-team",)],
        [("x-team", 7)],
        [("x team", "a")],
        [("", "a")],
        [(b"x-team", "a")],
        [("x-team", "ü")],
        [("x-team", "a\nb")],
        [("x-bin", "text")],
        [("x-team", b"bytes")],
        [("Authorization", "Bearer x")],
    ],
)
def test_invalid_metadata_is_refused(metadata: Any) -> None:
    """In one line, when the client is made."""
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


def both(call: Any, index: int) -> tuple[Any, Any]:
    """Return image `index` of `STORED` from our client and from the SDK."""
    ours, _ = call(STORED, lambda client: client.image.sample_batch("p", "m", 3))
    return ours[index], SdkResponse(STORED, index)


@pytest.mark.parametrize("index", [0, 1])
def test_responses_equal_the_sdks(call: Any, index: int) -> None:
    ours, theirs = both(call, index)
    for name in ("model", "public_url", "public_url_error", "storage_error", "cost_usd"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.proto.SerializeToString() == theirs.proto.SerializeToString()


@pytest.mark.parametrize(
    ("index", "name"), [(0, "url"), (1, "base64"), (2, "url"), (2, "base64"), (2, "image")]
)
def test_missing_images_are_value_errors(call: Any, index: int, name: str) -> None:
    """As in the SDK."""
    for response in both(call, index):

        async def look(response: Any = response) -> None:
            found = getattr(response, name)
            if name == "image":
                await found

        with pytest.raises(ValueError, match=r"(?i)image"):
            asyncio.run(look())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_localhost_may_listen_on_ipv6_only() -> None:
    """`localhost` is 127.0.0.1 if servers listen on both addresses."""

    async def main() -> list[int]:
        async with EmbeddedServer(host="::1") as server:
            async with AsyncClient("", api_host=server.address) as client:
                await client.models.list_image_generation_models()
            async with (
                EmbeddedServer(port=server.port) as other,
                AsyncClient("", api_host=server.address) as client,
            ):
                await client.models.list_image_generation_models()
                return [len(each.requests) for each in (server, other)]

    assert asyncio.run(main()) == [1, 1]


def test_a_former_name_of_a_model_is_known() -> None:
    from xai_sdk import AsyncClient as Sdk

    async def main() -> Any:
        async with EmbeddedServer() as server:
            client = Sdk(api_key="xai-key", api_host=server.address)
            try:
                return await client.models.get_image_generation_model("grok-imagine-image-pro")
            finally:
                await client.close()

    assert asyncio.run(main()).name == "grok-imagine-image-quality"


def test_a_request_without_a_format_gets_urls() -> None:
    """An unknown format is an error."""

    async def main(number: int) -> Any:
        request = wire.GenerateImageRequest(prompt="a fox", model="grok-imagine-image")
        request.format = number  # type: ignore[assignment]
        async with (
            EmbeddedServer() as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            call = channel.unary_unary(wire.GENERATE_IMAGE)
            return wire.ImageResponse.FromString(await call(request.SerializeToString()))

    assert asyncio.run(main(0)).images[0].url.startswith("http://127.0.0.1:")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        asyncio.run(main(7))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
