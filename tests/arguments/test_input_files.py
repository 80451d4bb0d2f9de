"""Files, PIL images and arrays as inputs: the pixels that are sent, notes and refusals."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import sys
import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps, features

from xai_notebook.arguments.inputs import Inputs, load_inputs, load_upload
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import InputImageError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage
from xai_notebook.settings import MAX_INPUT_IMAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLOURS = ((200, 40, 40), (40, 160, 60), (50, 60, 190), (230, 210, 80))
"""Colours of the quarters: top left, top right, bottom left, bottom right."""
SIZE = (96, 64)
SPOTS = [(SIZE[0] * x // 4, SIZE[1] * y // 4) for y in (1, 3) for x in (1, 3)]
"""The centres of the quarters."""
TRANSPOSES: dict[int, Any] = {  # how a turned camera stores a picture, by Exif orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def quarters(mode: str, colours: Any) -> Image.Image:
    """Return a picture with four colours, one in each quarter."""
    image = Image.new(mode, (2, 2))
    image.putdata(colours)
    return image.resize(SIZE, Image.Resampling.NEAREST)


REFERENCE = quarters("RGB", COLOURS)
GREY = REFERENCE.convert("L").convert("RGB")


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_turned(orientation: int, kind: str = "JPEG") -> bytes:
    """Return the picture as a turned camera stores it, with its Exif orientation."""
    stored = REFERENCE
    if orientation in TRANSPOSES:
        stored = stored.transpose(TRANSPOSES[orientation])
    quality = {} if kind == "PNG" else {"quality": 95}
    return encode(stored, kind, exif=exif_of(orientation), **quality)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def make_profile(
    space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", pcs: bytes
) -> bytes:
    """Return an ICC profile, version 2."""
    tags = {
        b"desc": b"desc" + struct.pack(">4xI5s78x", 5, b"test\0"),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        **tags,
    }
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, kind, space, pcs)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    return head + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D) + bytes(48) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def make_rgb_profile(red: bytes, green: bytes, blue: bytes) -> bytes:
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))
    columns = {b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
    return make_profile(b"RGB ", columns | curves, pcs=b"XYZ ")


P3 = make_rgb_profile(
    xyz(0.5151, 0.2412, -0.0011), xyz(0.292, 0.6922, 0.0419), xyz(0.1571, 0.0666, 0.7841)
)
ADOBE = make_rgb_profile(
    xyz(0.6097, 0.3111, 0.0195), xyz(0.2053, 0.6257, 0.0609), xyz(0.1492, 0.0632, 0.7446)
)
LINEAR_GREY = make_profile(b"GRAY", {b"kTRC": gamma(1.0)}, pcs=b"XYZ ")
SRGB = ImageCms.createProfile("sRGB")


def convert_to(target: bytes, mode: str = "RGB", image: Image.Image = REFERENCE) -> Image.Image:
    """Return the picture converted to the colour space of the profile `target`."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(target))
    result = ImageCms.profileToProfile(image, SRGB, profile, outputMode=mode)
    assert result is not None
    return result


INKS = ((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 255, 0))


def press_profile() -> bytes:
    """Return the profile of a printing press whose full inks are the colours of the quarters."""
    lab = ImageCms.profileToProfile(
        REFERENCE, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    colours = {
        tuple(ink // 255 for ink in inks): lab.getpixel(spot)
        for inks, spot in zip(INKS, SPOTS, strict=True)
    }
    grid = b""
    for corner in np.ndindex(2, 2, 2, 2):
        grid += bytes(colours.get(corner, (255 - 60 * sum(corner), 128, 128)))
    ramp = bytes(range(256))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + unit + ramp * 4 + grid + ramp * 3
    return make_profile(b"CMYK", {b"A2B0": table}, kind=b"prtr", pcs=b"Lab ")


PRESS = press_profile()


def deep_png(array: np.ndarray[Any, Any], chunks: bytes = b"") -> bytes:
    """Return a PNG of 16 bits a channel."""
    height, width, channels = (*array.shape, 1)[:3]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunks + chunk(b"IDAT", zlib.compress(rows)) + END


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


END = chunk(b"IEND", b"")
DEEP = np.asarray(REFERENCE).astype(np.uint16) * 257
DEEP_GREY = np.asarray(GREY)[:, :, 0].astype(np.uint16) * 257
TEXT = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"fox " * 1_000_000))
LONG_TEXT = chunk(b"tEXt", b"workflow\0" + b"fox " * 3_000_000)


def with_chunk(data: bytes, more: bytes) -> bytes:
    return data[:33] + more + data[33:]


def with_alpha(level: int) -> Image.Image:
    image = REFERENCE.copy()
    image.putalpha(level)
    return image


def with_hole(mode: str = "RGBA") -> Image.Image:
    """Return the picture with a transparent middle and unchanged corners."""
    image = REFERENCE.copy()
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (SIZE[0] // 2 - 4, SIZE[1] // 2 - 4, SIZE[0] // 2 + 4, SIZE[1] // 2 + 4))
    image.putalpha(alpha)
    return image.convert(mode)


def encode_heic(image: Image.Image = REFERENCE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, chroma=444, **options)
    return buffer.getvalue()


def with_second_frame(kind: str) -> bytes:
    rest = [Image.new("RGB", SIZE, "black")]
    return encode(REFERENCE, kind, save_all=True, append_images=rest)


COMMENT = b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000)
PHOTO = encode(REFERENCE, "JPEG", quality=95)
PLAIN = encode(REFERENCE)
PALETTE = REFERENCE.quantize(8)
FILES: dict[str, bytes] = {
    **{f"exif {number}": encode_turned(number) for number in range(1, 9)},
    "png, turned": encode_turned(6, "PNG"),
    "webp, turned": encode_turned(8, "WEBP"),
    "tiff, turned": encode_turned(6, "TIFF"),
    "heic, turned": encode_heic(REFERENCE.transpose(TRANSPOSES[6]), exif=exif_of(6)),
    "png": PLAIN,
    "webp": encode(REFERENCE, "WEBP", lossless=True),
    "gif": encode(PALETTE, "GIF"),
    "bmp": encode(REFERENCE, "BMP"),
    "tiff": encode(REFERENCE, "TIFF"),
    "tiff, packed": encode(REFERENCE, "TIFF", compression="tiff_lzw"),
    "heic": encode_heic(),
    "p3": encode(convert_to(P3), icc_profile=P3),
    "p3 jpeg": encode(convert_to(P3), "JPEG", quality=95, icc_profile=P3),
    "p3, turned": encode(
        convert_to(P3).transpose(Image.Transpose.ROTATE_180), "TIFF", icc_profile=P3,
        tiffinfo={274: 3},
    ),
    "p3 with a hole": encode(
        Image.merge("RGBA", (*convert_to(P3).split(), with_hole().getchannel("A"))), icc_profile=P3
    ),
    "p3 palette": encode(convert_to(P3).quantize(8), "TIFF", icc_profile=P3),
    "p3 heic": encode_heic(convert_to(P3), icc_profile=P3),
    "adobe rgb": encode(convert_to(ADOBE), "TIFF", icc_profile=ADOBE),
    "cmyk with a profile": encode(quarters("CMYK", INKS), "TIFF", icc_profile=PRESS),
    "cmyk jpeg with a profile": encode(
        quarters("CMYK", INKS), "JPEG", quality=95, icc_profile=PRESS
    ),
    "palette": encode(PALETTE),
    "palette, opaque key": encode(PALETTE, transparency=200),
    "opaque alpha": encode(with_alpha(255)),
    "a hole": encode(with_hole()),
    "webp with a hole": encode(with_hole(), "WEBP", lossless=True),
    "16 bits": deep_png(DEEP),
    "16 bits with alpha": deep_png(np.dstack([DEEP, np.full(SIZE[::-1], 65535, np.uint16)])),
    "animated gif": with_second_frame("GIF"),
    "animated webp": with_second_frame("WEBP"),
    "animated png": with_second_frame("PNG"),
    "two pages": with_second_frame("TIFF"),
    "several jpegs": with_second_frame("MPO"),
    "long compressed text": with_chunk(PLAIN, TEXT),
    "text of 12 MB": with_chunk(PLAIN, LONG_TEXT),
    "private chunk of 12 MB": with_chunk(PLAIN, chunk(b"mkBT", bytes(12_000_000))),
    "jpeg with 12 MB of comments": b"\xff\xd8" + COMMENT * 200 + PHOTO[2:],
    "jpeg with a film behind it": PHOTO + b"\0\0\0\x18ftypmp42" + bytes(12_000_000),
}  # fmt: skip
LINEAR = convert_to(LINEAR_GREY, "L", GREY)
GREYS: dict[str, bytes] = {
    "grey": encode(GREY.convert("L")),
    "grey of 16 bits": deep_png(DEEP_GREY),
    "grey of 16 bits with alpha": deep_png(
        np.dstack([DEEP_GREY, np.full(SIZE[::-1], 65535, np.uint16)])
    ),
    "grey of 16 bits with a key": deep_png(DEEP_GREY, chunk(b"tRNS", b"\0\1")),
    "grey tiff of 16 bits": encode(Image.fromarray(DEEP_GREY), "TIFF"),
    "float tiff, to 1": encode(Image.fromarray((DEEP_GREY / 65535).astype(np.float32)), "TIFF"),
    "float tiff, to 255": encode(Image.fromarray((DEEP_GREY / 257).astype(np.float32)), "TIFF"),
    "linear grey": encode(LINEAR, icc_profile=LINEAR_GREY),
    "linear grey with alpha": encode(
        Image.merge("LA", (LINEAR, Image.new("L", SIZE, 255))).rotate(180), "TIFF",
        icc_profile=LINEAR_GREY, tiffinfo={274: 3},
    ),
    "grey with a profile of colours": encode(
        convert_to(P3, image=GREY).convert("L"), "TIFF", icc_profile=P3
    ),
}  # fmt: skip
if find_spec("PIL.AvifImagePlugin") and features.check("avif"):
    FILES["avif"] = encode(REFERENCE, "AVIF", quality=95, subsampling="4:4:4")
    FILES["avif, turned"] = encode_turned(6, "AVIF")


def load(value: Any) -> Inputs:
    """Load the value of a variable `it`."""
    return load_inputs(["it"], {"it": value})


def write_file(data: bytes, folder: Path) -> Path:
    path = folder / "picture.bin"
    path.write_bytes(data)
    return path


def load_open_file(data: bytes, folder: Path) -> Inputs:
    with write_file(data, folder).open("rb") as stream:
        stream.read(7)
        return load(stream)


def load_result(data: bytes, folder: Path) -> Inputs:
    request = ImageRequest(prompt="a fox", model="m")
    return load(GeneratedImage(Picture(request=request, cached=data)))


def open_image(data: bytes) -> Image.Image:
    if data[4:8] == b"ftyp" and b"hei" in data[:32]:
        return pillow_heif.HeifImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data))


WAYS: dict[str, Callable[[bytes, Path], Inputs]] = {
    "path": lambda data, folder: load_inputs([str(write_file(data, folder))], {}),
    "open file": load_open_file,
    "bytes": lambda data, _: load(data),
    "bytearray": lambda data, _: load(bytearray(data)),
    "stream": lambda data, _: load(io.BytesIO(data)),
    "data URI": lambda data, _: load("data:image/x;base64," + base64.b64encode(data).decode()),
    "result": load_result,
    "panel": lambda data, _: load_upload(data, "picture.png"),
    "PIL": lambda data, _: load(open_image(data)),
    "PIL copy": lambda data, _: load(open_image(data).copy()),
}


def received_pixels(inputs: Inputs) -> Image.Image:
    """Return the pixels that a server with colour management and Exif sees, as sRGB."""
    (source,) = inputs.images
    head, _, body = source.url.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == f"data:image/{(image.format or '').lower().replace('mpo', 'jpeg')}"
    assert len(body) < 14_000_000
    assert image.mode in {"1", "L", "LA", "P", "RGB", "RGBA"}
    assert image.getexif().get(0x0112, 1) == 1
    pixels = image.convert("RGBA").convert("RGB")
    if not (icc := image.info.get("icc_profile")):
        return pixels
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if profile.profile.xcolor_space.strip() == "GRAY":
        pixels = image.convert("L")
    result = ImageCms.profileToProfile(pixels, profile, SRGB, outputMode="RGB")
    assert result is not None
    return result


def assert_reference(inputs: Inputs, expected: Image.Image = REFERENCE) -> None:
    """Check the size and the colours of the quarters, within the error of JPEG and profiles."""
    image = received_pixels(inputs)
    assert image.size == expected.size
    for spot in SPOTS:
        assert image.getpixel(spot) == pytest.approx(expected.getpixel(spot), abs=9), spot


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_pass_a_picture_sends_the_same_pixels(way: str, tmp_path: Path) -> None:
    assert_reference(WAYS[way](FILES["exif 6"], tmp_path))


@pytest.mark.parametrize("way", ["bytes", "PIL", "PIL copy"])
@pytest.mark.parametrize("name", [*FILES, *GREYS])
def test_every_format_is_sent_upright_in_its_range_and_colours(
    name: str, way: str, tmp_path: Path
) -> None:
    if way != "bytes" and "text" in name:
        pytest.skip("Pillow opens no PNG with long texts")
    data = FILES.get(name) or GREYS[name]
    assert_reference(WAYS[way](data, tmp_path), REFERENCE if name in FILES else GREY)


NOTES = {
    "exif 6": (),
    "tiff": ("converted from TIFF",),
    "heic, turned": ("converted from HEIC",),
    "opaque alpha": (),
    "palette, opaque key": (),
    "a hole": ("placed on white, because it is transparent",),
    "16 bits": (),
    "p3 with a hole": ("placed on white, because it is transparent",),
    "animated webp": ("animated: its first frame is sent",),
    "animated gif": ("converted from GIF", "animated: its first frame is sent"),
    "two pages": ("converted from TIFF", "its first page is sent"),
    "several jpegs": (),
    "long compressed text": ("sent without its long texts",),
    "text of 12 MB": ("sent without its long texts",),
    "private chunk of 12 MB": ("sent without its metadata, because it has more than 10 MiB",),
    "jpeg with 12 MB of comments": ("sent without its metadata, because it has more than 10 MiB",),
    "jpeg with a film behind it": ("sent without its metadata, because it has more than 10 MiB",),
}


@pytest.mark.parametrize("name", NOTES)
def test_notes_list_the_changes_to_a_picture_and_nothing_else(name: str) -> None:
    notes = load_inputs(["photo"], {"photo": FILES[name]}).notes
    assert notes == ((f"photo: {'; '.join(NOTES[name])}.",) if NOTES[name] else ())


UNCHANGED = [
    "exif 1", "png", "webp", "p3", "p3 jpeg", "palette", "palette, opaque key", "opaque alpha",
    "16 bits", "16 bits with alpha", "several jpegs",
]  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
def test_accepted_pictures_are_sent_unchanged(name: str) -> None:
    (image,) = load_inputs([FILES[name]], {}).images
    assert base64.b64decode(image.url.partition(",")[2]) == FILES[name]


@pytest.mark.parametrize(
    "name", ["long compressed text", "text of 12 MB", "private chunk of 12 MB"]
)
def test_removing_metadata_from_a_png_changes_nothing_else(name: str) -> None:
    (image,) = load_inputs([FILES[name]], {}).images
    assert base64.b64decode(image.url.partition(",")[2]) == PLAIN


def test_lossless_pictures_keep_every_pixel() -> None:
    for name in ("png, turned", "bmp", "tiff", "tiff, turned"):
        assert received_pixels(load_inputs([FILES[name]], {})).tobytes() == REFERENCE.tobytes()


def test_a_transposed_picture_is_not_turned_again() -> None:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encode_turned(6))))
    assert_reference(load(upright))
    assert_reference(load(upright.copy()))


def test_the_digest_is_that_of_the_file_or_of_the_object_as_png() -> None:
    """Stored requests would not replay if digests changed."""
    for name in ("exif 6", "heic", "a hole", "text of 12 MB"):
        (image,) = load_inputs([FILES[name]], {}).images
        assert image.sha256 == hashlib.sha256(FILES[name]).hexdigest()
    plain = hashlib.sha256(encode(REFERENCE, compress_level=1)).hexdigest()
    for value in (REFERENCE, LEVELS):
        (image,) = load(value).images
        assert image.sha256 == plain


LEVELS = np.asarray(REFERENCE)


class ArrayOnly:
    """An object with `__array__` and without other protocols, such as a tensor."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.array, dtype)


class DLPackOnly:
    """An object with DLPack and without other protocols."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def read_only() -> Any:
    array = LEVELS.copy()
    array.flags.writeable = False
    return array


ARRAYS = {
    "uint8": LEVELS,
    "float32 to 1": (LEVELS / 255).astype(np.float32),
    "float16 to 1": (LEVELS / 255).astype(np.float16),
    "float64 to 1": LEVELS / 255,
    "float64 to 255": LEVELS.astype(float),
    "float32 to 255": LEVELS.astype(np.float32) + 0.2,
    "int64": LEVELS.astype(np.int64),
    "int32": LEVELS.astype(np.int32),
    "int16": LEVELS.astype(np.int16),
    "uint16 to 65535": DEEP,
    "uint16 to 255": LEVELS.astype(np.uint16),
    "big-endian uint16": DEEP.astype(">u2"),
    "big-endian float": (LEVELS / 255).astype(">f8"),
    "every second pixel": np.repeat(np.repeat(LEVELS, 2, 0), 2, 1)[::2, ::2],
    "mirrored twice": LEVELS[:, ::-1].copy()[:, ::-1],
    "columns first in memory": np.asfortranarray(LEVELS),
    "read-only": read_only(),
    "nothing masked": np.ma.masked_array(LEVELS, False),  # noqa: FBT003
    "with alpha": np.dstack([LEVELS, np.full(SIZE[::-1], 255, np.uint8)]),
    "floats with alpha": np.dstack([LEVELS / 255, np.ones(SIZE[::-1])]),
    "only __array__": ArrayOnly(LEVELS / 255),
    "only DLPack": DLPackOnly(LEVELS.copy()),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_keep_their_range(name: str) -> None:
    inputs = load(ARRAYS[name])
    assert_reference(inputs)
    assert not inputs.notes


def test_arrays_without_colours_are_grey() -> None:
    grey = np.asarray(GREY)[:, :, 0]
    both = np.dstack([grey, np.full_like(grey, 255)])
    for array in (grey, grey[:, :, None], both, grey / 255, grey.astype(np.uint16) * 257):
        assert_reference(load(array), GREY)
    mask = grey > 128
    expected = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
    for array in (mask, mask[:, :, None], np.dstack([mask] * 3)):
        assert_reference(load(array), expected)


def test_a_mask_of_small_numbers_is_sent_with_a_note() -> None:
    (note,) = load_inputs(["a"], {"a": np.eye(4, dtype=np.uint8)}).notes
    assert note == "a: nearly black, since its values are 0 and 1 of 255; a mask is a == 1."


def modes() -> dict[str, Image.Image]:
    grey = np.asarray(GREY)[:, :, 0]
    floats = (grey / 255).astype(np.float32)
    return {
        **{mode: REFERENCE.convert(mode) for mode in ("CMYK", "YCbCr", "HSV", "LAB", "RGBX")},
        "RGBa": with_hole("RGBa"),
        "PA": REFERENCE.quantize(8).convert("PA"),
        "L": GREY.convert("L"),
        "LA": GREY.convert("LA"),
        "La": GREY.convert("LA").convert("La"),
        "I;16": Image.fromarray(DEEP_GREY),
        "I;16B": Image.frombytes("I;16B", SIZE, DEEP_GREY.astype(">u2").tobytes()),
        "I": Image.fromarray(grey.astype(np.int32)),
        "F": Image.fromarray(floats),
        "F to 255": Image.fromarray(floats * 255),
    }


@pytest.mark.parametrize("mode", modes())
def test_pil_images_of_every_mode_keep_their_colours(mode: str) -> None:
    image = modes()[mode]
    grey = image.mode[0] in "LIF" and image.mode != "LAB"
    assert_reference(load(image), GREY if grey else REFERENCE)


REFUSED = {
    "-1 to 1": (LEVELS / 127.5 - 1, "or 0 to 255. Scale the array a, such as (a + 1) / 2."),
    "above 255": (LEVELS * 4.0, "Scale the array a, such as (a - a.min()) / (a.max() - a.min())."),
    "above 1, far below 255": (LEVELS / 60, " instead of 0 to 1 or 0 to 255."),
    "negative numbers": (LEVELS.astype(int) - 100, "its values go from -60 to 130 instead of 0"),
    "12 bits": (LEVELS.astype(np.uint16) * 16, "its values go from 640 to 3680 instead of 0 to"),
    "NaN": (np.full((4, 4), np.nan), "some of its values are NaN or infinite."),
    "infinite": (np.full((4, 4), np.inf), "some of its values are NaN or infinite."),
    "complex": (LEVELS * 1j, "its values are of type complex128."),
    "objects": (np.full((4, 4), None), "its values are of type object."),
    "masked": (np.ma.masked_array(LEVELS, LEVELS > 99), "Fill them: a.filled(0)."),
    "channels first": (LEVELS.transpose(2, 0, 1), "an array of shape (3, 64, 96) cannot be sen"),
    "channels first, cure": (LEVELS.transpose(2, 0, 1), "first axis. Give a.transpose(1, 2, 0),"),
    "one of a batch": (LEVELS[None], "Give one, such as a[0] of the array a."),
    "a batch of channels": (LEVELS.transpose(2, 0, 1)[None], "such as a[0].transpose(1, 2, 0)"),
    "a line": (LEVELS[0, :, 0], "an array of shape (96,) cannot be sent: a picture is height × wi"),
    "a number": (np.float64(3), "an array of shape () cannot be sent: a picture is height × width"),
    "nothing": (LEVELS[:0], "an array of shape (0, 96, 3) cannot be sent: it has no pixels."),
    "too many pixels": (np.broadcast_to(np.float32(0.5), (60_000, 60_000)), "60000 × 60000 pix"),
    "PIL I": (Image.fromarray(DEEP_GREY.astype(np.int32)), "this image cannot be sent: its values"),
    "PIL F": (Image.fromarray(DEEP_GREY.astype(np.float32)), "Scale the array a, such as (a - a."),
    "PIL NaN": (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "NaN or infinite"),
    "float tiff": (encode(Image.fromarray(DEEP_GREY.astype(np.float32)), "TIFF"), "Scale the arr"),
    "a web page": (b"<!DOCTYPE html><html>", "is a web page; the API accepts PNG, JPEG and WebP."),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="">', "is an SVG drawing; the API accepts"),
    "pdf": (b"%PDF-1.7\n", "is a PDF or PostScript file;"),
    "psd": (b"8BPS\0\1", "is a Photoshop file; the API accepts PNG, JPEG and WebP. Open it with"),
    "text": (b"Ein Fuchs", "is a text file; the API accepts PNG, JPEG and WebP."),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Run git lfs pull,"),
    "raw": (b"FUJIFILMCCD-RAW 0201", "is a camera's raw file;"),
    "film": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a film;"),
    "jpeg xl": (b"\0\0\0\x0cJXL \r\n", "is an image in the format JPEG XL; the API accepts"),
    "text file": (io.StringIO("fox"), 'cannot be read: it was opened as text. Open it with "rb".'),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_and_unsupported_inputs_are_refused_in_one_line(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(InputImageError) as caught:
        load_inputs(["a"], {"a": value})
    assert message in str(caught.value)
    assert str(caught.value).startswith("--image a")
    assert "\n" not in str(caught.value)


def test_a_table_is_refused() -> None:
    with pytest.raises(InputImageError, match="--image it is a table, of type DataFrame"):
        load(pd.DataFrame({"a": [1]}))


def test_the_error_for_heic_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputImageError, match=r'is a HEIC image.* "xai-notebook\[heic\]"'):
        load_inputs([FILES["heic"]], {})


def test_reading_heic_changes_nothing_in_pillow() -> None:
    load_inputs([FILES["heic"]], {})
    assert "HEIF" not in Image.OPEN


def test_a_raw_photo_is_not_sent_as_its_thumbnail() -> None:
    """The first picture of a DNG is a small preview, which Pillow would open."""
    raw = encode(REFERENCE, "TIFF", tiffinfo={254: 1})
    with pytest.raises(InputImageError, match=r"raw\.dng is a camera's raw file; .* Choose"):
        load_upload(raw, "raw.dng")


def test_a_broken_profile_gives_a_note() -> None:
    (note,) = load(encode(with_hole(), icc_profile=P3[:200])).notes
    assert note == (
        "it: treated as sRGB, because its colour profile cannot be used; placed on white, "
        "because it is transparent."
    )


def test_a_picture_that_fits_after_compression_is_not_scaled() -> None:
    noise = Image.effect_noise((1900, 1900), 90).convert("RGB")
    data = encode(noise, "PNG", compress_level=0)
    assert len(data) > MAX_INPUT_IMAGE_BYTES
    assert received_pixels(load(data)).size == noise.size
    tiff = load(encode(noise, "TIFF"))
    assert tiff.notes == ("it: converted from TIFF.",)
    assert received_pixels(tiff).tobytes() == noise.tobytes()


HOSTILE = {
    "pixels": encode(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
    "overlapping tags": struct.pack("<2sHIH", b"II", 42, 8, 4000)
    + b"".join(struct.pack("<HHII", 1000 + n, 7, 10_000_000, 8) for n in range(4000))
    + bytes(10_000_000),
    "strips": struct.pack("<2sHIH", b"II", 42, 8, 1)
    + struct.pack("<HHII", 273, 4, 4_000_000, 30) + bytes(17_000_000),
    "tags without end": struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 34665, 4, 1, 8, 0),
    "texts": with_chunk(PLAIN, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 60_000),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_hostile_files_take_little_time(name: str) -> None:
    """The files are refused, or sent without their hostile part."""
    try:
        inputs = load_upload(HOSTILE[name], "picture.tif")
    except InputImageError as error:
        assert "cannot be decoded" in str(error)  # noqa: PT017
    else:
        assert name == "texts"
        assert_reference(inputs)
