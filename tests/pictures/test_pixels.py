"""Damaged and hostile files: what is decoded, shown and reported."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from xai_notebook.arguments.inputs import load_inputs
from xai_notebook.client.media import dimensions
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import ReplyError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.pixels import inspect, open_image, preview
from xai_notebook.pictures.render.grid import to_html
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

SIZE = (640, 480)


def encode(kind: str, **options: Any) -> bytes:
    """Return a picture with noise on the left and white on the right."""
    image = Image.effect_noise(SIZE, 60).convert("RGB")
    image.paste("white", (SIZE[0] // 2, 0, *SIZE))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def picture(data: bytes) -> GeneratedImage:
    request = ImageRequest(prompt="a fox", model="grok-imagine-image")
    return GeneratedImage(Picture(request=request, cached=data, model="grok", size=SIZE))


JPEG, PNG = encode("JPEG"), encode("PNG")
PROGRESSIVE = encode("JPEG", progressive=True)
MPO = encode("MPO", save_all=True, append_images=[Image.new("RGB", SIZE, "teal")])
TORN = PNG[: len(PNG) // 2] + bytes(200) + PNG[len(PNG) // 2 + 200 :]
DAMAGED = {
    "jpeg": half(JPEG),
    "progressive": half(PROGRESSIVE),
    "jpeg without its end": JPEG[:-2],
    "png": half(PNG),
    "torn png": TORN,
    "gif": half(encode("GIF")),
}
damaged = pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)


@damaged
def test_the_decodable_part_of_a_damaged_picture_is_shown(data: bytes) -> None:
    shown = preview(data, side=320, limit=60_000)
    assert not shown.whole
    top = Image.open(io.BytesIO(shown.data)).convert("L").crop((200, 0, 300, 60))
    assert top.getextrema()[0] > 200  # type: ignore[operator]
    html = to_html(ImageBatch([picture(data)]))
    assert "<img " in html
    assert html.count("<strong>Damaged.</strong>") == 1
    assert 'alt="Damaged. ' in html
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@damaged
def test_a_damaged_picture_raises_reply_error(data: bytes) -> None:
    intact = picture(JPEG)
    with pytest.raises(ReplyError, match="is damaged: not all of its pixels can be decoded"):
        _ = picture(data).pil
    with pytest.raises(ReplyError, match="is damaged: not all of its pixels can be decoded"):
        ImageBatch([picture(data)]).contact_sheet()
    alone, both = (
        ImageBatch(images).contact_sheet() for images in ([intact], [intact, picture(data)])
    )
    assert both.width > alone.width
    assert both.crop((0, 0, *alone.size)).tobytes() == alone.tobytes()


@pytest.mark.parametrize(("data", "count"), [(half(JPEG), 1), (TORN, 1), (JPEG, 0), (MPO, 0)])
def test_full_pictures_are_marked_if_damaged(data: bytes, count: int) -> None:
    html = to_html(ImageBatch([picture(data)], full=True))
    assert html.count("Damaged.</strong>") == count
    assert html.count('<img src="data:image/') == 1


def test_a_file_of_several_pictures_is_a_jpeg() -> None:
    """Cameras put several JPEGs into one MPO file."""
    assert inspect(MPO) == ("image/jpeg", SIZE)
    assert picture(MPO).pil.size == SIZE
    assert preview(MPO, side=320, limit=60_000).whole


HEAD, REST = JPEG[:2], JPEG[2:]
HUGE = {
    "padding": (HEAD, b"\xff", 30_000_000, REST),
    "padding to the end": (HEAD, b"\xff", 30_000_000, b""),
    "junk": (HEAD + b"\xff\xe0\0\2", b"\0", 30_000_000, REST),
    "escapes": (HEAD + b"\xff\xe0\0\2", b"\xff\0", 15_000_000, REST),
    "restarts": (HEAD, b"\xff\xd0", 15_000_000, REST),
    "comments": (HEAD, b"\xff\xfe\0\2", 7_500_000, REST),
    "chunks": (PNG[:33], b"\0\0\0\0prVt\0\0\0\0", 2_500_000, PNG[33:]),
}


@pytest.mark.parametrize("name", HUGE)
def test_endless_padding_is_refused(name: str) -> None:
    head, filler, times, rest = HUGE[name]
    data = head + filler * times + rest
    with pytest.raises(ReplyError, match="not a readable image"):
        open_image(data)
    assert dimensions(data) == (SIZE if name == "chunks" else None)


def test_a_little_padding_is_harmless() -> None:
    padded = HEAD + b"\xff" * 1000 + b"\xff\xfe\0\4hi" + bytes(1000) + REST
    assert dimensions(padded) == inspect(padded)[1] == SIZE
    assert preview(padded, side=320, limit=60_000).whole


def test_broken_headers_raise_reply_error() -> None:
    for data in (JPEG, PNG, PROGRESSIVE, MPO, encode("WEBP"), encode("GIF")):
        for at in range(2, 600, 29):
            hurt = data[:at] + os.urandom(3) + data[at + 3 :]
            try:
                preview(hurt, side=320, limit=60_000)
            except ReplyError as error:
                assert re.search("not a readable|megapixels|damaged", str(error))  # noqa: PT017


def commented(kind: str, size: int) -> bytes:
    text = "SECRET" * (size // 6)
    in_png = PngImagePlugin.PngInfo()
    in_png.add_text("comment", text)
    buffer = io.BytesIO()
    image = Image.new("RGB", (8, 6), "teal")
    image.save(buffer, kind, comment=text[:60_000].encode(), pnginfo=in_png)
    return buffer.getvalue()


def test_a_png_with_long_texts_is_opened() -> None:
    """Pillow refuses text of more than a megabyte after decompression."""
    chunk = b"zTXtprompt\0\0" + zlib.compress(bytes(4_000_000))
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = PNG[:33] + text + PNG[33:]
    assert inspect(data) == ("image/png", SIZE)
    assert picture(data).pil.size == SIZE
    assert preview(data, side=320, limit=60_000).whole


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG"])
def test_comments_are_neither_shown_nor_sent(kind: str) -> None:
    data = commented(kind, 70_000)
    shown = preview(data, side=320, limit=60_000)
    assert shown.whole
    assert b"SECRET" not in shown.data
    assert len(shown.data) < 2_000
    batch = ImageBatch([picture(data), picture(JPEG)])
    assert to_html(batch).count("<img ") == 2
    assert batch.contact_sheet()
    (sent,) = load_inputs([Image.open(io.BytesIO(data))], {}).images
    assert b"SECRET" not in base64.b64decode(sent.url.partition(",")[2])


def test_input_images_are_converted_to_srgb() -> None:
    lab = ImageCms.createProfile("LAB")
    plain = Image.new("RGB", (4, 4), (200, 40, 40))
    red = ImageCms.profileToProfile(plain, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert red is not None
    for image in (red, Image.new("L", (4, 4))):  # the profile does not fit the second image's mode
        image.info["icc_profile"] = ImageCms.ImageCmsProfile(lab).tobytes()
        (sent,) = load_inputs([image], {}).images
        with Image.open(io.BytesIO(base64.b64decode(sent.url.partition(",")[2]))) as sent_image:
            assert "icc_profile" not in sent_image.info
            if image.mode == "LAB":
                pixel: Any = sent_image.convert("RGB").getpixel((0, 0))
                assert pixel == pytest.approx((200, 40, 40), abs=6)
