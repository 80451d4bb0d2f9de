"""Replies that protobuf refuses, or that cost more than they are worth."""

from __future__ import annotations

import tracemalloc

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from xai_notebook.client import wire
from xai_notebook.client.response import MAX_FIELDS, parse_reply

IMAGE = wire.GeneratedImage(base64="AAAA", up_sampled_prompt="a f~x", respect_moderation=True)


def reply() -> bytes:
    """Return a reply with one image, in bytes."""
    made = wire.ImageResponse(images=[IMAGE], model="m~del")
    made.usage.cost_in_usd_ticks = 700_000_000
    made.images[0].file_output.file_id = "file~1"
    return made.SerializeToString()


def test_a_good_reply_is_read_as_protobuf_reads_it() -> None:
    """What keeps the rules is not touched."""
    assert parse_reply(wire.ImageResponse, reply()) == wire.ImageResponse.FromString(reply())


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"])
def test_text_that_is_not_utf8_costs_no_picture(broken: bytes) -> None:
    """A broken prompt, model or file name becomes U+FFFD, and everything else arrives."""
    data = reply().replace(b"~", broken[:1])
    with pytest.raises(DecodeError):
        wire.ImageResponse.FromString(data)
    found = parse_reply(wire.ImageResponse, data)
    assert found.images[0].up_sampled_prompt == "a f\ufffdx"
    assert (found.model, found.images[0].file_output.file_id) == ("m\ufffddel", "file\ufffd1")
    assert (found.images[0].base64, found.images[0].respect_moderation) == ("AAAA", True)
    assert found.usage.cost_in_usd_ticks == 700_000_000


def test_what_is_not_known_is_kept_while_mending() -> None:
    """Fields of a newer API survive, of every wire type."""
    unknown = b"\xa0\x06\x07\xa9\x06" + bytes(8) + b"\xb2\x06\x02\xff\xfe\xbd\x06" + bytes(4)
    found = parse_reply(wire.ImageResponse, reply().replace(b"~", b"\xff") + unknown)
    assert [field.field_number for field in UnknownFieldSet(found)] == [100, 101, 102, 103]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\xff" * 11, b"\x12\x01\xff\x0f", b"\x0a\x01\x0b"]
)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    """Garbage stays a DecodeError, whatever is tried to mend it."""
    with pytest.raises(DecodeError):
        parse_reply(wire.ImageResponse, data)


@pytest.mark.parametrize("entry", [b"\x0a\x00", b"\x0a\x02\x20\x01", b"\x12\x00"])
def test_millions_of_empty_entries_cost_nothing(entry: bytes) -> None:
    """A reply of empty entries is read as far as any real reply goes, in the memory of that."""
    data = reply() + entry * (20_000_000 // len(entry))
    tracemalloc.start()
    found = parse_reply(wire.ImageResponse, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.images[0] == parse_reply(wire.ImageResponse, reply()).images[0]
    assert len(found.images) <= MAX_FIELDS
    assert found.ByteSize() < 100_000
    assert peak < 1_000_000


def test_many_large_images_are_read() -> None:
    """What counts is the number of entries, not their size."""
    large = wire.ImageResponse(images=[wire.GeneratedImage(base64="A" * 1_000_000)] * 10)
    assert parse_reply(wire.ImageResponse, large.SerializeToString()) == large
