"""Bytes to pixels: what an image is, opened within bounds, and previews of it."""

from __future__ import annotations

import array
import contextlib
import io
import math
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from PIL import Image, ImageCms

from xai_notebook.client.media import media_type, readable
from xai_notebook.errors import ReplyError
from xai_notebook.settings import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Preview",
    "eight_bits",
    "encode",
    "factor_to_bytes",
    "flatten",
    "from_array",
    "in_srgb",
    "inspect",
    "is_array",
    "is_transparent",
    "is_whole",
    "load_image",
    "load_rgb",
    "open_image",
    "preview",
    "upright",
]

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
_END_OF_JPEG: Final = b"\xff\xd9"
_QUALITIES: Final = (82, 72, 62, 50, 38, 25)
_OF_PIXELS: Final = ("transparency",)
"""What of `Image.info` says how pixels look."""
_MAX_PROFILE: Final = 1 << 20
"""Bytes of a colour profile; those of cameras and screens have a few thousand."""
_SMALLEST: Final = 256
"""Side in pixels below which a preview is not made smaller."""
_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do with an image, by its Exif orientation; 1 is upright."""
_OF_CAMERAS: Final = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Where in `Image.info` an orientation can stand."""
_MAX_EXIF: Final = 1 << 16
"""Bytes of Exif in which an orientation is looked for: Pillow takes seconds for a megabyte."""
_STRAIGHT: Final = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "RGBX": "RGB"}
"""Modes that little can be done with, and the mode of the same pixels."""
_SPACES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Modes that profiles are of, by the colour space that these name."""
_OF_LEVELS: Final = 255
"""The brightest level of 8 bits."""
_DARK: Final = 16
"""Level below which a whole picture is black to the eye: its range was another one."""


class Preview(NamedTuple):
    """A small JPEG of an image.

    Attributes:
        data: The JPEG.
        size: Its width and height in pixels.
        whole: Every pixel of the image could be decoded.
    """

    data: bytes
    size: tuple[int, int]
    whole: bool


def open_image(data: bytes) -> Image.Image:
    """Return a PIL image whose pixels are decoded when first touched.

    Args:
        data: The bytes of a JPEG, PNG, WebP or GIF.

    Raises:
        ReplyError: The bytes are no image, or one with more pixels than `MAX_IMAGE_PIXELS`.
    """
    try:
        whole = readable(data)  # Pillow takes a minute for 30 MB of padding; this, no time
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its own limit; ours is lower and firm.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(whole), formats=_FORMATS)
    except Exception as error:  # the parsers of Pillow raise whatever a broken header makes them
        raise ReplyError(
            f"The {len(data):,} bytes received are not a readable image. Ask again with --fresh."
        ) from error
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise ReplyError(
            f"The image received has {width} × {height} pixels, more than the "
            f"{MAX_IMAGE_PIXELS // 10**6} megapixels that are opened here."
        )
    return image


def load_image(data: bytes, *, side: int | None = None) -> Image.Image:
    """Return a PIL image whose pixels have been decoded.

    Args:
        data: The bytes of an image.
        side: Pixels a side that are enough: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size then.

    Raises:
        ReplyError: As `open_image`, or the image is damaged.
    """
    image = open_image(data)
    try:
        if side is not None:
            image.draft("RGB", (side, side))
        image.load()
    except Exception as error:  # the decoders, too
        raise ReplyError(
            "The image is damaged: not all of its pixels can be decoded. `.data` has its bytes as "
            "they came; ask again with --fresh for another one."
        ) from error
    return image


def load_rgb(data: bytes) -> Image.Image:
    """Return an image as its viewers see it: upright, in RGB, transparent parts white.

    Raises:
        ReplyError: As `load_image`.
        ValueError: As `eight_bits`.
    """
    return flatten(upright(eight_bits(load_image(data))))


def inspect(data: bytes) -> tuple[str, tuple[int, int]]:
    """Return media type and (width, height) in pixels from the header of `data`.

    Raises:
        ReplyError: As `open_image`.
    """
    with open_image(data) as image:
        return media_type(data) or "", image.size


def is_whole(data: bytes) -> bool:
    """Tell whether every pixel of an image can be decoded, as quickly as that can be found out."""
    try:
        load_image(data, side=1)
    except ReplyError:
        return False
    return True


def preview(data: bytes, *, side: int, limit: int) -> Preview:
    """Return a JPEG no larger than `side` pixels a side and, where possible, `limit` bytes.

    Of an image that is damaged, it shows what can be decoded.

    Args:
        data: The bytes of an image.
        side: Longest side in pixels; smaller images keep their size.
        limit: Bytes aimed at; quality gives way before size does.

    Raises:
        ReplyError: As `open_image`, or nothing can be decoded.
    """
    try:
        try:
            image, whole = load_image(data, side=side), True
        except ReplyError:
            image, whole = _salvage(data, side), False
        image = upright(image)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return _fitted(flatten(image), limit, whole=whole)
    except ReplyError:
        raise
    except Exception as error:
        raise ReplyError("The image is damaged: its pixels cannot be decoded.") from error


def _fitted(image: Image.Image, limit: int, *, whole: bool) -> Preview:
    """Return a JPEG of at most `limit` bytes, unless that takes too small a picture."""
    while True:
        for quality in _QUALITIES:
            data = encode(image, "JPEG", quality=quality, optimize=True, progressive=True)
            if len(data) <= limit:
                return Preview(data, image.size, whole)
        if max(image.size) <= _SMALLEST:
            return Preview(data, image.size, whole)
        image = image.resize([max(length * 3 // 4, 1) for length in image.size])  # noise, in effect


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as a file of its pixels alone; every file that we make is made here.

    Pillow copies what it read beside the pixels, such as a comment, Exif, XMP or a colour profile,
    into what it writes: a stranger's text would travel on, and a long one cannot be written at all.

    Args:
        image: It is not changed.
        kind: `"JPEG"` or `"PNG"`.
        **options: Of Pillow's encoder.
    """
    bare = image.copy()
    bare.info = {name: bare.info[name] for name in _OF_PIXELS if name in bare.info}
    buffer = io.BytesIO()
    bare.save(buffer, kind, **options)
    return buffer.getvalue()


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its camera says, which is how every viewer shows it."""
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _OF_CAMERAS:
        turned.info.pop(name, None)
    return turned


def _orientation(image: Image.Image) -> Any:
    """Return the Exif orientation of an image whose pixels are decoded; 1 if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged Exif, which is no damaged picture
        try:
            long = len(image.info.get("exif", b"")) > _MAX_EXIF
            exif = Image.Exif() if long else image.getexif()
            if long:
                exif.load(image.info["exif"][:_MAX_EXIF])
            return exif.get(_ORIENTATION, 1)
        except Exception:  # noqa: BLE001  # whatever damaged Exif makes of Pillow's reader
            return 1


def factor_to_bytes(low: float, high: float, *, whole: bool) -> float:
    """Return what numbers are multiplied with to be levels from 0 to 255.

    Whole numbers must be such levels. Floats are meant as 0 to 1 if none is larger than 1, else as
    0 to 255; a picture that would be black then was meant otherwise.

    Args:
        low: The lowest number.
        high: The highest number.
        whole: They are whole numbers.

    Raises:
        ValueError: They mean something else. The message is half a sentence and a cure.
    """
    overshot = 0.5  # levels, by which interpolation leaves the range
    half = overshot / _OF_LEVELS
    if whole and low >= 0 and high <= _OF_LEVELS:
        return 1.0
    if not whole and low >= -half and high <= 1 + half:
        return float(_OF_LEVELS)
    if not whole and low >= -overshot and _DARK <= high <= _OF_LEVELS + overshot:
        return 1.0
    taken = "0 to 255" if whole else "0 to 1 or 0 to 255"
    cure = "(a - a.min()) / (a.max() - a.min())"
    if not whole and low >= -1 - half and high <= 1 + half:
        cure = "(a + 1) / 2"
    raise ValueError(
        f"its values go from {low:g} to {high:g}, and {taken} is taken. Scale the array a, such as "
        f"{cure}"
    )


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits a channel: 16 bits and floats are scaled, where Pillow clips.

    Raises:
        ValueError: As `factor_to_bytes`, for numbers whose range is not known.
    """
    if image.mode in _STRAIGHT:
        return image.convert(_STRAIGHT[image.mode])
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode not in {"I", "F"}:
        return image
    low, high = _extrema(image)
    factor = factor_to_bytes(low, high, whole=image.mode == "I")
    return image.point(lambda value: value * factor + 0.5).convert("L")


def _from_16_bits(image: Image.Image) -> Image.Image:
    wide = image.convert("I")
    result = wide.point([(level + 128) // 257 for level in range(1 << 16)], "L")
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = wide.point([0 if level == key else 255 for level in range(1 << 16)], "L")
        result = Image.merge("LA", (result, alpha))
    result.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return result


def _extrema(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and highest number of an image of mode I or F.

    Raises:
        ValueError: Some are not numbers, or infinite.
    """
    if image.mode == "F" and not math.isfinite(sum(array.array("f", image.tobytes()))):
        raise ValueError("some of its values are NaN or infinite. Use numpy.nan_to_num(a)")
    low, high = image.getextrema()
    return float(low), float(high)  # type: ignore[arg-type]  # of one channel


def in_srgb(image: Image.Image, notes: list[str] | None = None) -> Image.Image:
    """Return an image whose numbers mean sRGB, which is what they mean without a profile.

    Args:
        image: Of 8 bits a channel; transparency is kept.
        notes: Gets half a sentence if the profile cannot be used.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":  # black and white are the same everywhere
        return image
    alpha, base = None, image
    if image.has_transparency_data:
        base = image.convert("RGBA")
        alpha = base.getchannel("A")
        base = base.convert("L" if image.mode in {"L", "LA"} else "RGB")
    elif image.mode in {"P", "YCbCr", "HSV"}:
        base = image.convert("RGB")
    try:
        if len(profile) > _MAX_PROFILE:
            raise ValueError(f"more than {_MAX_PROFILE:,} bytes")  # noqa: TRY301
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES[given.profile.xcolor_space.strip()]
        if mode == "RGB" and base.mode == "L":
            base = base.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        # A profile of other colours than the image is an error of its own here.
        result = ImageCms.profileToProfile(base, given, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        if notes is not None:
            notes.append("taken as sRGB, since its colour profile cannot be used")
        return image
    if result is None:  # only where it is changed in place
        return image
    if alpha is not None:
        result.putalpha(alpha)
    result.info = {
        name: value
        for name, value in image.info.items()
        if name not in {"icc_profile", "transparency"}
    }
    return result


def _salvage(data: bytes, side: int) -> Image.Image:
    """Return what can be decoded of a damaged image; the rest is black, grey or transparent.

    Pillow has a switch for this, but it is one for the whole process. Here a JPEG gets the end it
    lacks, and what has been decoded when an error comes counts as all there is.
    """
    image = open_image(data + _END_OF_JPEG if media_type(data) == "image/jpeg" else data)
    image.draft("RGB", (side, side))
    with contextlib.suppress(Exception):
        image.load()
    image.tile = []  # type: ignore[attr-defined]  # what is left to decode, of an ImageFile
    image.load()
    return image


def is_transparent(image: Image.Image) -> bool:
    """Tell whether something of an image of 8 bits a channel can be seen through."""
    if not image.has_transparency_data:
        return False
    alpha = (image if image.mode in {"LA", "RGBA"} else image.convert("RGBA")).getchannel("A")
    lowest, _ = alpha.getextrema()
    return lowest < _OF_LEVELS  # type: ignore[operator]  # of one channel


def flatten(image: Image.Image) -> Image.Image:
    """Return an RGB image; transparent parts become white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")


_CHANNELS: Final = (1, 2, 3, 4)
"""Grey, grey and alpha, RGB, RGBA."""
_BATCH: Final = 4
"""Dimensions of several pictures in one array."""
_OF_16_BITS: Final = 257
"""Levels of 16 bits to one of 8."""
_DARK_LEVEL: Final = 16 * _OF_16_BITS
"""Levels of 16 bits that are black to the eye: such numbers have 10 or 12 bits."""


def is_array(value: Any) -> bool:
    """Tell whether an object hands over its numbers as an array; a table does not count."""
    protocols = ("__array_interface__", "__array__", "__dlpack__")
    return any(hasattr(value, name) for name in protocols) and not hasattr(value, "columns")


def from_array(value: Any, notes: list[str]) -> Image.Image:
    """Return an array of height × width, with or without channels, as an image.

    Booleans are black and white. Whole numbers are levels from 0 to 255, of 16 bits up to 65535;
    floats from 0 to 1, or from 0 to 255 if one of them is larger than 1. Levels are kept exactly.

    Args:
        value: An array, or an object that hands over its numbers as one.
        notes: Gets half a sentence if the picture is hardly what was meant.

    Raises:
        ValueError: Its shape, type or range are those of no picture. The message is half a sentence
            and a cure.
    """
    try:
        import numpy as np  # noqa: PLC0415  # optional; an array means that it is there
    except ImportError:
        return Image.fromarray(value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("some of its values are masked. Fill them: a.filled(0)")
    handed = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    array = np.asarray(value) if handed else np.from_dlpack(value)
    _check_shape(array, "permute" if hasattr(value, "permute") else "transpose")
    if array.ndim == len(("height", "width", "channels")) and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(_levels(array, notes)))


def _check_shape(array: np.ndarray[Any, Any], move: str) -> None:
    """Check that an array is one picture with its channels last.

    Raises:
        ValueError: It is not.
    """
    shape = array.shape
    channels_first = f"a.{move}(1, 2, 0)"
    if 0 in shape:
        raise ValueError("it has no pixels. Is it what you meant to give?")
    if len(shape) == _BATCH:
        moved = shape[-1] not in _CHANNELS and shape[1] in _CHANNELS
        cure = f"a[0].{move}(1, 2, 0)" if moved else "a[0]"
        raise ValueError(f"it holds several pictures. Give one, such as {cure} of the array a")
    if len(shape) > 1 and shape[0] * shape[1] > MAX_IMAGE_PIXELS:
        raise ValueError(
            f"it has {shape[1]} × {shape[0]} pixels. {MAX_IMAGE_PIXELS // 10**6} megapixels are "
            "the most"
        )
    planar = len(shape) == _BATCH - 1 and shape[2] not in _CHANNELS
    if planar and shape[0] in _CHANNELS:
        raise ValueError(
            f"its channels are in front. Give {channels_first} of the array a, which has them last"
        )
    if planar or len(shape) not in {2, 3}:
        raise ValueError("a picture is height × width, or height × width × 1, 2, 3 or 4 channels")


def _levels(array: np.ndarray[Any, Any], notes: list[str]) -> np.ndarray[Any, Any]:
    """Return the numbers of a picture as levels from 0 to 255.

    Raises:
        ValueError: They are no such numbers, or nobody knows which they are.
    """
    import numpy as np  # noqa: PLC0415  # as `from_array`

    kind, wide = array.dtype.kind, array.dtype.kind == "u" and array.dtype.itemsize == 2  # noqa: PLR2004
    if kind == "b":
        return array if array.ndim == 2 else array.astype(np.uint8) * 255  # noqa: PLR2004
    if kind not in "uif":
        raise ValueError(f"its values are of type {array.dtype}. Numbers are taken")
    low, high = float(array.min()), float(array.max())
    if kind == "f":
        if not np.isfinite(low) or not np.isfinite(high):
            raise ValueError("some of its values are NaN or infinite. Use numpy.nan_to_num(a)")
        factor = factor_to_bytes(low, high, whole=False)
        scaled = array.astype(np.float32 if array.dtype.itemsize <= 4 else float) * factor  # noqa: PLR2004
        return np.rint(scaled).clip(0, 255).astype(np.uint8)
    if wide and high >= _DARK_LEVEL:
        return ((array.astype(np.uint32) + _OF_16_BITS // 2) // _OF_16_BITS).astype(np.uint8)
    factor_to_bytes(low, high, whole=True)
    if high == 1:
        notes.append("nearly black, since its values are 0 and 1 of 255; a mask is a == 1")
    return array.astype(np.uint8)
