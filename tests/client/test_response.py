"""Parsing of replies to image requests, and the attributes of a response."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from xai_sdk.proto import image_pb2

from xai_notebook import errors
from xai_notebook.client import wire
from xai_notebook.client.http import Downloader
from xai_notebook.client.media import media_type
from xai_notebook.client.response import MAX_FIELDS, THREAD_CHARACTERS, ImageResponse, parse_reply

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def respond(**fields: Any) -> ImageResponse:
    """Return the response for a reply with one image."""
    sent = image_pb2.ImageResponse(model="m", images=[image_pb2.GeneratedImage(**fields)])
    reply = wire.ImageResponse.FromString(sent.SerializeToString())
    return ImageResponse(reply, 0, Downloader(allow_loopback=True))


@pytest.mark.parametrize(
    "prefix", ["", "data:image/jpeg;base64,", "data:image/png;charset=utf-8;base64,"]
)
@pytest.mark.parametrize("size", [1, 2, 3, THREAD_CHARACTERS])
async def test_base64_is_decoded_exactly(prefix: str, size: int, jpeg: bytes) -> None:
    data = (jpeg * (size // len(jpeg) + 1))[:size]
    text = prefix + base64.b64encode(data).decode()
    response = respond(base64=text, respect_moderation=True)
    assert await response.image == data
    assert response.base64 == text


@pytest.mark.parametrize("alter", [lambda t: t.rstrip("="), lambda t: t[:40] + "\r\n " + t[40:]])
async def test_harmless_flaws_of_base64_are_accepted(alter: Any, jpeg: bytes) -> None:
    text = alter(base64.b64encode(jpeg[:100]).decode())
    assert await respond(base64=text).image == jpeg[:100]


async def test_broken_base64_is_an_error() -> None:
    with pytest.raises(errors.MissingImageError, match="base64"):
        await respond(base64="A", respect_moderation=True).image


async def test_decoded_bytes_are_cached(jpeg: bytes) -> None:
    response = respond(base64=base64.b64encode(jpeg).decode())
    assert await response.image is await response.image


async def test_the_media_type_is_that_of_the_bytes() -> None:
    text = "data:image/jpeg;base64," + base64.b64encode(PNG).decode()
    response = respond(base64=text)
    assert response.media_type == "image/jpeg"
    await response.image
    assert response.media_type == "image/png"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_media_types_are_recognised(head: bytes, kind: str | None) -> None:
    assert media_type(head) == kind


def test_an_image_is_available_only_in_the_format_in_which_it_came() -> None:
    with pytest.raises(errors.MissingImageError, match="came as url, not as base64"):
        _ = respond(url="https://example.com/x.jpg").base64
    with pytest.raises(errors.MissingImageError, match="came as base64, not as url"):
        _ = respond(base64="AAAA", respect_moderation=True).url


@pytest.mark.parametrize("fields", [{}, {"base64": ""}, {"url": ""}])
async def test_an_empty_image_is_missing_or_moderated(fields: dict[str, str]) -> None:
    for moderated, kind in ((True, errors.ModeratedError), (False, errors.MissingImageError)):
        response = respond(respect_moderation=not moderated, **fields)
        with pytest.raises(kind):
            await response.image
        with pytest.raises(kind):
            _ = response.url
        with pytest.raises(kind):
            _ = response.base64


async def test_a_placeholder_of_moderation_is_readable(jpeg: bytes) -> None:
    response = respond(base64=base64.b64encode(jpeg).decode(), respect_moderation=False)
    assert await response.image == jpeg
    assert response.respect_moderation is False


def test_unreported_values_are_empty() -> None:
    response = respond(base64="AAAA")
    assert response.prompt == ""
    assert response.cost_usd is None
    assert response.file_output is None
    assert response.storage_error is None


def test_reported_values_are_returned() -> None:
    image = wire.GeneratedImage(
        url="https://example.com/x.jpg", respect_moderation=True, storage_error="full",
        file_output={"file_id": "f1"}, up_sampled_prompt="a very red fox",
    )  # fmt: skip
    usage = {"cost_in_usd_ticks": 700_000_000, "prompt_tokens": 5}
    reply = wire.ImageResponse(model="grok-2", images=[image], usage=usage)
    response = ImageResponse(reply, 0, Downloader(allow_loopback=False))
    assert response.prompt == "a very red fox"
    assert response.cost_usd == pytest.approx(0.07)
    assert response.model == "grok-2"
    assert response.usage.prompt_tokens == 5
    assert response.url == "https://example.com/x.jpg"
    assert response.file_output is not None
    assert response.file_output.file_id == "f1"
    assert response.storage_error == "full"


def test_zero_cost_is_not_unknown() -> None:
    reply = wire.ImageResponse(images=[wire.GeneratedImage(base64="AAAA")])
    reply.usage.cost_in_usd_ticks = 0
    assert ImageResponse(reply, 0, Downloader(allow_loopback=False)).cost_usd == 0.0


def test_repr_holds_no_image() -> None:
    text = repr(respond(base64="QUJD" * 1000))
    assert text == "ImageResponse(index=0, model='m', base64)"


def test_images_are_decoded_on_demand(run_call: Any, reply: Any) -> None:
    """Decoding these images would fail."""
    broken = reply(3, base64="!" * 300_000)
    responses, _ = run_call(broken, lambda c: c.image.sample_batch("p", "m", 3))
    assert len(responses) == 3


# --- parsing ----------------------------------------------------------------------------------


def serialized() -> bytes:
    """Return a serialized reply with one image."""
    image = wire.GeneratedImage(
        base64="AAAA", up_sampled_prompt="a f~x", respect_moderation=True,
        file_output={"file_id": "file~1"},
    )  # fmt: skip
    usage = {"cost_in_usd_ticks": 700_000_000}
    return wire.ImageResponse(images=[image], model="m~del", usage=usage).SerializeToString()


def test_a_valid_reply_is_parsed_as_by_protobuf() -> None:
    expected = wire.ImageResponse.FromString(serialized())
    assert parse_reply(wire.ImageResponse, serialized()) == expected


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed", b"\xf5"])
def test_invalid_utf8_is_replaced(broken: bytes) -> None:
    """All other fields arrive unchanged."""
    data = serialized().replace(b"~", broken)
    with pytest.raises(DecodeError):
        wire.ImageResponse.FromString(data)
    reply = parse_reply(wire.ImageResponse, data)
    (image,) = reply.images
    assert image.up_sampled_prompt == "a f\ufffdx"
    assert (reply.model, image.file_output.file_id) == ("m\ufffddel", "file\ufffd1")
    assert (image.base64, image.respect_moderation) == ("AAAA", True)
    assert reply.usage.cost_in_usd_ticks == 700_000_000


def test_unknown_fields_of_every_wire_type_are_kept_when_utf8_is_replaced() -> None:
    unknown = b"\xa0\x06\x07\xa9\x06" + bytes(8) + b"\xb2\x06\x02\xff\xfe\xbd\x06" + bytes(4)
    reply = parse_reply(wire.ImageResponse, serialized().replace(b"~", b"\xff") + unknown)
    fields: Any = UnknownFieldSet(reply)
    assert [field.field_number for field in fields] == [100, 101, 102, 103]


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\xff" * 11, b"\x12\x01\xff\x0f", b"\x0a\x01\x0b"]
)
def test_garbage_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_reply(wire.ImageResponse, data)


@pytest.mark.parametrize("entry", [b"\x0a\x00", b"\x0a\x02\x20\x01", b"\x12\x00"])
def test_millions_of_empty_entries_are_ignored(entry: bytes) -> None:
    """They use no more memory than a real reply."""
    data = serialized() + entry * (20_000_000 // len(entry))
    tracemalloc.start()
    reply = parse_reply(wire.ImageResponse, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reply.images[0] == parse_reply(wire.ImageResponse, serialized()).images[0]
    assert len(reply.images) <= MAX_FIELDS
    assert reply.ByteSize() < 100_000
    assert peak < 1_000_000


def test_many_large_images_are_read() -> None:
    """The limit is on the number of entries, not their size."""
    large = wire.ImageResponse(images=[wire.GeneratedImage(base64="A" * 1_000_000)] * 10)
    assert parse_reply(wire.ImageResponse, large.SerializeToString()) == large
