"""Uploads of input images, and rewritten prompts."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image
from xai_sdk import Client as Sdk

from harness import KEY
from xai_notebook.client import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernels, Served
    from numbering_server import NumberingServer
    from xai_notebook.generation.session import Session

PROMPTS = ["in snow", "in rain", "at night"]


@pytest.fixture
def photo() -> Image.Image:
    """An image of a few hundred kilobytes."""
    return Image.effect_noise((300, 300), 90)


def file_ids(server: Served) -> list[str]:
    """Return the id of the file in each image request; "" if the request contains the image."""
    return [call.message.image.file_id for call in server.calls]


@pytest.fixture
def sdk(quick: Served) -> Iterator[Sdk]:
    """A client of xAI's SDK, connected to the server."""
    with Sdk(api_host=quick.address, api_key=KEY, use_insecure_channel=True) as sdk:
        yield sdk


def test_a_turned_photo_arrives_upright(session: Session, quick: Served, tmp_path: Path) -> None:
    """The photo is a path or a PIL image. A note names a format that was converted."""
    stored = Image.new("RGB", (64, 32), (200, 40, 40))
    stored.paste((50, 60, 190), (0, 0, 32, 32))  # the left half, which is the top one when upright
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("photo.jpg", "photo.tif"):
        stored.save(tmp_path / name, exif=exif)
        for value in (tmp_path / name, Image.open(tmp_path / name)):
            batch = session.generate("at night", image=value)
            data = base64.b64decode(quick.last.image.image_url.partition(",")[2])
            with Image.open(io.BytesIO(data)) as received:
                assert received.size == (32, 64)
                assert received.getexif().get(0x0112, 1) == 1
                top: Any = received.convert("RGB").getpixel((16, 8))
                assert top == pytest.approx((50, 60, 190), abs=6)
            converted = any("converted from TIFF" in note for note in batch.notes)
            assert converted == (value == tmp_path / "photo.tif")


def test_an_image_of_many_requests_is_uploaded_once(
    session: Session, quick: Served, sdk: Sdk, photo: Image.Image
) -> None:
    """All requests contain the id of the same file, which expires."""
    session.generate(each=PROMPTS, image=photo)
    assert quick.server.counts[wire.UPLOAD_FILE] == 1
    (file_id,) = set(file_ids(quick))
    assert file_id
    assert sum(call.message.ByteSize() for call in quick.calls) < 1000
    assert sdk.files.get(file_id).HasField("expires_at")


def test_one_request_holds_its_image(session: Session, quick: Served, photo: Image.Image) -> None:
    session.generate("in snow", image=photo)
    assert file_ids(quick) == [""]
    assert not quick.server.counts[wire.UPLOAD_FILE]


def test_a_small_image_is_not_uploaded(session: Session, quick: Served) -> None:
    session.generate(each=PROMPTS, image=Image.new("RGB", (8, 8)))
    assert file_ids(quick) == ["", "", ""]


def test_a_replay_uploads_nothing(kernels: Kernels, quick: Served, photo: Image.Image) -> None:
    """A new prompt in the second kernel uses the file that the first kernel uploaded."""
    kernels().generate(each=PROMPTS[:2], image=photo)
    other = kernels()
    assert other.generate(each=PROMPTS[:2], image=photo)[0].replayed
    assert len(file_ids(quick)) == 2
    other.generate(each=[*PROMPTS[:2], PROMPTS[2]], image=photo)
    assert quick.server.counts[wire.UPLOAD_FILE] == 1
    assert len(set(file_ids(quick))) == 1


@pytest.mark.parametrize("same_kernel", [True, False])
def test_a_deleted_file_is_uploaded_again(
    kernels: Kernels, quick: Served, sdk: Sdk, photo: Image.Image, *, same_kernel: bool
) -> None:
    """The next requests contain the id of the new file, and no picture fails."""
    first = kernels()
    first.generate(each=PROMPTS[:2], image=photo)
    (old,) = set(file_ids(quick))
    sdk.files.delete(old)
    batch = (first if same_kernel else kernels()).generate(each=["a", "b", "c"], image=photo)
    assert [image.status for image in batch] == ["ok"] * 3
    assert quick.server.counts[wire.UPLOAD_FILE] == 2
    (new,) = set(file_ids(quick)[-3:])
    assert new != old


def test_a_server_without_a_file_store_gets_the_image(
    image_server: NumberingServer, new_session: Kernels, photo: Image.Image
) -> None:
    batch = new_session().generate(each=PROMPTS, image=photo)
    assert [image.status for image in batch] == ["ok"] * 3
    assert len(image_server.image_counts) == 3


# Rewritten prompts


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        ({"chat_failure": (grpc.StatusCode.INVALID_ARGUMENT, "too poetic")}, "too poetic"),
        ({"chat_text": ""}, "chat"),
        ({"chat_text": " \n"}, "chat"),
        ({"chat_text": '""'}, "chat"),
    ],
)
def test_without_a_rewrite_the_prompt_is_sent_as_written(
    session: Session, quick: Served, faults: dict[str, Any], cause: str
) -> None:
    """A note names the cause or the chat model."""
    vars(quick.faults).update(faults)
    batch = session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == batch[0].prompt == "a fox"
    assert batch[0].rewritten_by is None
    (note,) = batch.notes
    assert note.startswith("Not rewritten, sent as written:")
    assert cause in note


@pytest.mark.parametrize("text", ['"A fox, red."', "“A fox, red.”", "  A fox, red.\n"])
def test_quotes_around_a_rewrite_are_removed(session: Session, quick: Served, text: str) -> None:
    quick.faults.chat_text = text
    session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == "A fox, red."
