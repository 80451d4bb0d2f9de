"""Decoding of input images: upright, on white, within bounds of memory."""

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

GROWN = """
import io, resource, sys
from PIL import Image
Image.preinit()
from xai_notebook.server.service import decode_input
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = [decode_input(data) for _ in range(5)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *images[0].size)
"""


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
def test_five_of_the_largest_fit_into_memory(tmp_path: Any) -> None:
    """64 megapixels with transparency are 256 MB, decoded once each."""
    file = tmp_path / "large.png"
    file.write_bytes(encoded(Image.new("RGBA", (8000, 8000), (9, 200, 30, 99)), compress_level=1))
    done = subprocess.run(
        [sys.executable, "-c", GROWN, str(file)], capture_output=True, text=True, check=True
    )
    grown, *size = map(int, done.stdout.split())
    assert size == [2896, 2896]
    assert grown < 600 * 1024


@pytest.mark.parametrize(("kind", "size"), [("PNG", (8001, 8000)), ("WEBP", (6000, 6000))])
def test_more_pixels_are_refused_before_they_are_decoded(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(Refusal, match=rf"{size[0]} x {size[1]} pixels is too large"):
        decode_input(encoded(Image.new("L", size), kind))


@pytest.mark.parametrize("size", [(64, 48), (3000, 100), (5999, 40), (70, 6100)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1"])
def test_every_mode_and_size_is_decoded_without_seams(mode: str, size: tuple[int, int]) -> None:
    """One colour stays one colour, and the sides keep their ratio."""
    image = decode_input(encoded(Image.new("RGB", size, "white").convert(mode)))
    assert image.mode == "RGB"
    assert image.getextrema() == ((255, 255),) * 3
    scale = min(1, 2896 / max(size))
    assert [abs(got - given * scale) <= 1 for got, given in zip(image.size, size, strict=True)]


def test_transparency_is_on_white() -> None:
    image = decode_input(encoded(Image.new("RGBA", (3, 3000), (0, 0, 0, 0))))
    assert image.getpixel((1, 1500)) == (255, 255, 255)
    half = decode_input(encoded(Image.new("RGBA", (6000, 9), (0, 0, 0, 128)))).getpixel((1000, 1))
    assert half == (127, 127, 127)


def test_a_turned_photograph_is_upright() -> None:
    """The orientation in EXIF is applied, also to large images."""
    image = Image.new("RGB", (6400, 3200), "red")
    image.paste("blue", (0, 0, 3200, 3200))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: what is left comes to the top
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


def hollow(head: bytes, nothing: bytes, rest: bytes = b"") -> bytes:
    """Return a file of 7 MB without content."""
    return head + nothing * (7_000_000 // len(nothing)) + rest


PNG = encoded(Image.new("RGB", (64, 64), "red"))
JPEG = encoded(Image.new("RGB", (64, 64), "red"), "JPEG")
WEBP = encoded(Image.new("RGB", (64, 64), "red"), "WEBP")
PROGRESSIVE = encoded(Image.new("RGB", (2000, 2000), "red"), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
HOLLOW = {
    "padding": hollow(JPEG[:2], b"\xff", JPEG[2:]),
    "padding to the end": hollow(JPEG[:2], b"\xff"),
    "padding behind a segment without a length": hollow(
        JPEG[:2] + b"\xff\xe1\0\0", b"\xff", JPEG[2:]
    ),
    "padding behind an end": hollow(JPEG[:2] + b"\xff\xd9", b"\xff", JPEG[2:]),
    "comments": hollow(JPEG[:2], b"\xff\xfe\0\2", JPEG[2:]),
    "restarts": hollow(JPEG[:2], b"\xff\xd0", JPEG[2:]),
    "scans": hollow(PROGRESSIVE[:-2], SCAN, PROGRESSIVE[-2:]),
    "chunks": hollow(PNG[:33], b"\0\0\0\0teSt\x9b\x9d\xa3\x1e", PNG[33:]),
    "chunks of WebP": hollow(b"RIFF\xff\xff\x6a\0WEBP", b"JUNK\0\0\0\0", WEBP[12:]),
}


@pytest.mark.parametrize("name", HOLLOW)
def test_a_hollow_file_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders need up to minutes for them."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("given to Pillow")

    monkeypatch.setattr(Image, "open", never)
    with pytest.raises(Refusal, match="not a readable PNG, JPEG or WebP"):
        decode_input(HOLLOW[name])
    with pytest.raises(ValueError, match="its file has"):  # of an engine
        check_picture(HOLLOW[name])


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, PNG, WEBP])
@pytest.mark.parametrize("more", [b"", bytes(1000), JPEG])
def test_valid_files_are_accepted(data: bytes, more: bytes) -> None:
    """Also with trailing bytes, as cameras and phones append them."""
    assert decode_input(data + more).size == Image.open(io.BytesIO(data)).size
    assert check_picture(data + more)


def test_a_segment_without_a_length_is_harmless() -> None:
    assert decode_input(JPEG[:2] + b"\xff\xe1\0\0" + JPEG[2:]).size == (64, 64)


def test_exif_of_a_megabyte_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """65,535 entries take two seconds; photographs have dozens."""
    entries = b"\0\1\0\2\0\0\0\4\0\0\0\0" * 65_535
    body = b"MM\0*\0\0\0\10\xff\xff" + entries
    chunk = len(body).to_bytes(4, "big") + b"eXIf" + body
    data = PNG[:33] + chunk + zlib.crc32(chunk[4:]).to_bytes(4, "big") + PNG[33:]
    read: list[int] = []
    monkeypatch.setattr(Image.Exif, "load", lambda _self, exif: read.append(len(exif or b"")))
    assert decode_input(data).size == (64, 64)
    assert max(read, default=0) <= 1 << 16
