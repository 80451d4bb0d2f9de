"""Uploads of input images, and rewritten prompts."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image
from xai_sdk import Client as Sdk

from harness import GENERATE, KEY
from xai_notebook.client import wire
from xai_notebook.generation.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from press import Press

PROMPTS = ["in snow", "in rain", "at night"]


@pytest.fixture
def photo() -> Image.Image:
    """An image of a few hundred kilobytes."""
    return Image.effect_noise((300, 300), 90)


@pytest.fixture
def sessions(keyed: Served, new_session: Any) -> Any:
    """Start kernels that share a library and a server."""
    return new_session


def sent(server: Served, method: str = GENERATE) -> list[Any]:
    """Return the messages of one method, in order."""
    return [call.message for call in server.server.requests if call.method == method]


def ids(server: Served) -> list[str]:
    """Return the file that each image request names; "" if it carries the image."""
    return [request.image.file_id for request in sent(server)]


def test_a_turned_photo_is_received_upright(
    session: Session, quick: Served, tmp_path: Path
) -> None:
    """From a path and as a PIL image; a note names the converted format."""
    stored = Image.new("RGB", (64, 32), (200, 40, 40))
    stored.paste((50, 60, 190), (0, 0, 32, 32))  # the left half, which is the top one when upright
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("photo.jpg", "photo.tif"):
        stored.save(tmp_path / name, exif=exif)
        for value in (tmp_path / name, Image.open(tmp_path / name)):
            batch = session.generate("at night", image=value)
            data = base64.b64decode(sent(quick)[-1].image.image_url.partition(",")[2])
            with Image.open(io.BytesIO(data)) as received:
                assert received.size == (32, 64)
                assert received.getexif().get(0x0112, 1) == 1
                top: Any = received.convert("RGB").getpixel((16, 8))
                assert top == pytest.approx((50, 60, 190), abs=6)
            converted = any("converted from TIFF" in note for note in batch.notes)
            assert converted == (value == tmp_path / "photo.tif")


def test_an_image_of_many_requests_is_uploaded_once(
    session: Session, quick: Served, photo: Image.Image
) -> None:
    """All requests name the same stored file, which expires."""
    session.generate(each=PROMPTS, image=photo)
    assert len(sent(quick, wire.UPLOAD_FILE)) == 1
    (named,) = set(ids(quick))
    assert named
    assert sum(request.ByteSize() for request in sent(quick)) < 1000
    with Sdk(api_host=quick.address, api_key=KEY, use_insecure_channel=True) as sdk:
        stored = sdk.files.get(named)
    assert stored.HasField("expires_at")


def test_one_request_carries_its_image(session: Session, quick: Served, photo: Image.Image) -> None:
    session.generate("in snow", image=photo)
    assert ids(quick) == [""]
    assert not sent(quick, wire.UPLOAD_FILE)


def test_a_small_image_is_sent_as_it_is(session: Session, quick: Served) -> None:
    session.generate(each=PROMPTS, image=Image.new("RGB", (8, 8)))
    assert ids(quick) == ["", "", ""]


def test_a_replay_uploads_nothing(sessions: Any, quick: Served, photo: Image.Image) -> None:
    """A new prompt in the second kernel names the file that the first kernel uploaded."""
    sessions().generate(each=PROMPTS[:2], image=photo)
    other = sessions()
    assert other.generate(each=PROMPTS[:2], image=photo)[0].replayed
    assert len(ids(quick)) == 2
    other.generate(each=[*PROMPTS[:2], PROMPTS[2]], image=photo)
    assert len(sent(quick, wire.UPLOAD_FILE)) == 1
    assert len(set(ids(quick))) == 1


@pytest.mark.parametrize("same_kernel", [True, False])
def test_a_deleted_file_is_uploaded_again(
    sessions: Any, quick: Served, photo: Image.Image, *, same_kernel: bool
) -> None:
    """The next requests name the new file, and no picture fails."""
    first = sessions()
    first.generate(each=PROMPTS[:2], image=photo)
    (old,) = set(ids(quick))
    with Sdk(api_host=quick.address, api_key=KEY, use_insecure_channel=True) as sdk:
        sdk.files.delete(old)
    made = (first if same_kernel else sessions()).generate(each=["a", "b", "c"], image=photo)
    assert [image.status for image in made] == ["ok"] * 3
    assert len(sent(quick, wire.UPLOAD_FILE)) == 2
    (new,) = {request.image.file_id for request in sent(quick)[-3:]}
    assert new != old


def test_a_server_without_a_store_stops_nothing(orders: Press, photo: Image.Image) -> None:
    """Each request carries its image."""
    session = Session()
    try:
        made = session.generate(each=PROMPTS, image=photo)
        assert [image.status for image in made] == ["ok"] * 3
        assert len(orders.orders) == 3
    finally:
        session.close()


# Rewritten prompts


def test_a_failed_rewrite_leaves_the_prompt_as_written(session: Session, quick: Served) -> None:
    """The picture is made, and a note names the cause."""
    quick.faults.chat_failure = (grpc.StatusCode.INVALID_ARGUMENT, "too poetic")
    batch = session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == batch[0].prompt == "a fox"
    assert batch[0].rewritten_by is None
    (note,) = batch.notes
    assert note.startswith("Not rewritten, sent as written:")
    assert "too poetic" in note


@pytest.mark.parametrize("text", ["", " \n", '""'])
def test_an_empty_rewrite_leaves_the_prompt_as_written(
    session: Session, quick: Served, text: str
) -> None:
    """A note names the chat model."""
    quick.faults.chat_text = text
    batch = session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == "a fox"
    (note,) = batch.notes
    assert note.startswith("Not rewritten, sent as written:")
    assert "chat" in note


@pytest.mark.parametrize("text", ['"A fox, red."', "“A fox, red.”", "  A fox, red.\n"])
def test_quotes_around_a_rewrite_are_removed(session: Session, quick: Served, text: str) -> None:
    quick.faults.chat_text = text
    session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == "A fox, red."
