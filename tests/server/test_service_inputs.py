"""Decoding of input images: orientation, transparency, and limits of memory and time."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest
from PIL import Image

from xai_notebook.server.engine import check_picture
from xai_notebook.server.faults import Refusal
from xai_notebook.server.service import decode_input

DECODE = """
import io, resource, sys
from PIL import Image
Image.preinit()
from xai_notebook.server.service import decode_input
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = [decode_input(data) for _ in range(3)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *images[0].size)
"""


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
def test_the_decoded_pixels_of_large_inputs_are_not_kept(tmp_path: Any) -> None:
    """The 64 megapixels of an input with transparency are 256 MB."""
    file = tmp_path / "large.png"
    file.write_bytes(encoded(Image.new("RGBA", (8000, 8000), (9, 200, 30, 99)), compress_level=1))
    done = subprocess.run(
        [sys.executable, "-c", DECODE, str(file)], capture_output=True, text=True, check=True
    )
    grown, *size = map(int, done.stdout.split())
    assert size == [2896, 2896]
    assert grown < 430 * 1024


@pytest.mark.parametrize(("kind", "size"), [("PNG", (8001, 8000)), ("WEBP", (6000, 6000))])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new("L", size), kind)
    monkeypatch.delattr(Image.Image, "crop")  # which decodes pixels
    with pytest.raises(Refusal, match=rf"{size[0]} x {size[1]} pixels is too large"):
        decode_input(data)


@pytest.mark.parametrize("size", [(64, 48), (3000, 100), (5999, 40), (70, 6100)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1"])
def test_every_mode_and_size_is_decoded_without_seams(mode: str, size: tuple[int, int]) -> None:
    """One colour stays one colour, and the sides keep their ratio."""
    image = decode_input(encoded(Image.new("RGB", size, "white").convert(mode)))
    assert image.mode == "RGB"
    assert image.getextrema() == ((255, 255),) * 3
    scale = min(1, 2896 / max(size))
    assert image.size == pytest.approx((size[0] * scale, size[1] * scale), abs=1)


def test_transparent_inputs_are_put_on_white() -> None:
    image = decode_input(encoded(Image.new("RGBA", (3, 3000), (0, 0, 0, 0))))
    assert image.getpixel((1, 1500)) == (255, 255, 255)
    half = decode_input(encoded(Image.new("RGBA", (6000, 9), (0, 0, 0, 128)))).getpixel((1000, 1))
    assert half == (127, 127, 127)


def test_the_exif_orientation_is_applied_to_a_large_input() -> None:
    image = Image.new("RGB", (6400, 3200), "red")
    image.paste("blue", (0, 0, 3200, 3200))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: the left side becomes the top
    upright = decode_input(encoded(image, "JPEG", exif=exif))
    assert upright.width * 2 == upright.height
    top, bottom = (upright.getpixel((9, y)) for y in (9, upright.height - 9))
    assert (top[2] > 200, bottom[0] > 200) == (True, True)  # type: ignore[index]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_grey_of_16_bits_is_not_clipped() -> None:
    """Pillow would make the middle of the range white."""
    image = Image.frombytes("I;16", (64, 48), struct.pack("<H", 32896) * 64 * 48)
    assert decode_input(encoded(image)).getpixel((9, 9)) == (128, 128, 128)


def test_long_texts_in_a_png_are_ignored() -> None:
    """Pillow opens no PNG with more than a megabyte of texts."""
    data = encoded(Image.new("RGB", (64, 48), "teal"))
    text = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(4_000_000)))
    assert decode_input(data[:33] + text + data[33:]).getpixel((9, 9)) == (0, 128, 128)


def pad(head: bytes, padding: bytes, rest: bytes = b"") -> bytes:
    """Return a file with 7 MB of padding."""
    return head + padding * (7_000_000 // len(padding)) + rest


PNG = encoded(Image.new("RGB", (64, 64), "red"))
JPEG = encoded(Image.new("RGB", (64, 64), "red"), "JPEG")
WEBP = encoded(Image.new("RGB", (64, 64), "red"), "WEBP")
PROGRESSIVE = encoded(Image.new("RGB", (2000, 2000), "red"), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
PADDED = {
    "padding": pad(JPEG[:2], b"\xff", JPEG[2:]),
    "padding to the end": pad(JPEG[:2], b"\xff"),
    "padding after an empty segment": pad(JPEG[:2] + b"\xff\xe1\0\0", b"\xff", JPEG[2:]),
    "padding after the end": pad(JPEG[:2] + b"\xff\xd9", b"\xff", JPEG[2:]),
    "comments": pad(JPEG[:2], b"\xff\xfe\0\2", JPEG[2:]),
    "restarts": pad(JPEG[:2], b"\xff\xd0", JPEG[2:]),
    "scans": pad(PROGRESSIVE[:-2], SCAN, PROGRESSIVE[-2:]),
    "chunks": pad(PNG[:33], b"\0\0\0\0teSt\x9b\x9d\xa3\x1e", PNG[33:]),
    "chunks of WebP": pad(b"RIFF\xff\xff\x6a\0WEBP", b"JUNK\0\0\0\0", WEBP[12:]),
}


@pytest.mark.parametrize("name", PADDED)
def test_a_file_of_padding_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders may need minutes for such an input, or for such a picture of an engine."""
    monkeypatch.delattr(Image, "open")
    with pytest.raises(Refusal, match="not a readable PNG, JPEG or WebP"):
        decode_input(PADDED[name])
    with pytest.raises(ValueError, match="its file has"):
        check_picture(PADDED[name])


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, PNG, WEBP])
@pytest.mark.parametrize("more", [b"", bytes(1000), JPEG])
def test_valid_files_are_accepted_with_trailing_bytes(data: bytes, more: bytes) -> None:
    """Cameras and phones append data."""
    assert decode_input(data + more).size == Image.open(io.BytesIO(data)).size
    assert check_picture(data + more)


def test_a_segment_without_a_length_is_harmless() -> None:
    assert decode_input(JPEG[:2] + b"\xff\xe1\0\0" + JPEG[2:]).size == (64, 64)


def test_exif_of_a_megabyte_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs have dozens of entries; to read 65,535 takes two seconds."""
    entries = b"\0\1\0\2\0\0\0\4\0\0\0\0" * 65_535
    exif = chunk(b"eXIf", b"MM\0*\0\0\0\10\xff\xff" + entries)
    sizes: list[int] = []
    monkeypatch.setattr(Image.Exif, "load", lambda _self, exif: sizes.append(len(exif or b"")))
    assert decode_input(PNG[:33] + exif + PNG[33:]).size == (64, 64)
    assert max(sizes, default=0) <= 1 << 16
