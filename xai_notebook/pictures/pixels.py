"""Decode untrusted images within limits; convert and scale images; read NumPy arrays."""

from __future__ import annotations

import array
import contextlib
import io
import math
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from PIL import Image, ImageCms

from xai_notebook.client.media import make_readable, media_type
from xai_notebook.errors import ReplyError
from xai_notebook.settings import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    import numpy as np

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
_END_OF_JPEG: Final = b"\xff\xd9"
_QUALITIES: Final = (82, 72, 62, 50, 38, 25)
_MAX_PROFILE: Final = 1 << 20
"""Maximum bytes of a colour profile; profiles of cameras and screens have a few thousand."""
_MIN_SIDE: Final = 256
"""Side in pixels at which previews stop shrinking."""
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
"""Transpositions that turn an image upright, by Exif orientation; 1 is upright."""
_WITH_ORIENTATION: Final = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Keys of `Image.info` that can hold an orientation."""
_MAX_EXIF: Final = 1 << 16
"""Maximum bytes of Exif to read: Pillow takes seconds for a megabyte."""
_PLAIN_MODES: Final = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "RGBX": "RGB"}
"""Modes with little support in Pillow, and the mode to convert them to."""
_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's modes, by the colour space of a profile."""
_MAX_LEVEL: Final = 255
_DARK: Final = 16
"""A maximum below this 8-bit level looks black, so the array probably has another range."""
_LEVELS_16: Final = 257
"""Number of 16-bit levels per 8-bit level."""
_CHANNELS: Final = (1, 2, 3, 4)
"""Possible numbers of channels: grey, grey and alpha, RGB, RGBA."""


class Preview(NamedTuple):
    """A small JPEG of an image.

    Attributes:
        data: The bytes of the JPEG.
        size: Width and height of the JPEG in pixels.
        whole: Whether every pixel of the original could be decoded.
    """

    data: bytes
    size: tuple[int, int]
    whole: bool


def open_image(data: bytes) -> Image.Image:
    """Return a PIL image of a JPEG, PNG, WebP or GIF; it decodes its pixels on first access.

    Raises:
        ReplyError: The bytes are not an image, or the image has more than `MAX_IMAGE_PIXELS`.
    """
    try:
        readable = make_readable(data)  # Pillow takes a minute for 30 MB of padding
        with warnings.catch_warnings():
            # Pillow only warns up to twice its limit; our limit is lower and always an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(readable), formats=_FORMATS)
    except Exception as error:  # Pillow raises many types for a broken header
        raise ReplyError(
            f"The {len(data):,} bytes received are not a readable image. Ask again with --fresh."
        ) from error
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise ReplyError(
            f"The image received has {width} × {height} pixels, more than the maximum of "
            f"{MAX_IMAGE_PIXELS // 10**6} megapixels."
        )
    return image


def load_image(data: bytes, *, side: int | None = None) -> Image.Image:
    """Return a decoded PIL image.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that gives `side` pixels per side.

    Raises:
        ReplyError: See `open_image`; or the image is damaged.
    """
    image = open_image(data)
    try:
        if side is not None:
            image.draft("RGB", (side, side))
        image.load()
    except Exception as error:  # Pillow raises many types for broken pixels
        raise ReplyError(
            "The image is damaged: not all of its pixels can be decoded. `.data` has the original "
            "bytes; ask again with --fresh for another image."
        ) from error
    return image


def load_rgb(data: bytes) -> Image.Image:
    """Return an image as viewers show it: upright, in RGB, with transparent parts in white."""
    return flatten(upright(eight_bits(load_image(data))))


def inspect(data: bytes) -> tuple[str, tuple[int, int]]:
    """Return the media type and (width, height) in pixels, read from the header."""
    with open_image(data) as image:
        return media_type(data) or "", image.size


def is_whole(data: bytes) -> bool:
    """Tell whether every pixel of an image can be decoded."""
    try:
        load_image(data, side=1)
    except ReplyError:
        return False
    return True


def preview(data: bytes, *, side: int, limit: int) -> Preview:
    """Return a small JPEG of an image; for a damaged image, the part that can be decoded.

    Args:
        data: The bytes of an image.
        side: Longest side in pixels; smaller images keep their size.
        limit: Maximum bytes, if possible; the quality is reduced before the size.

    Raises:
        ReplyError: See `open_image`; or no pixel can be decoded.
    """
    try:
        try:
            image, whole = load_image(data, side=side), True
        except ReplyError:
            image, whole = _salvage(data, side), False
        image = upright(image)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return _compress(flatten(image), limit, whole=whole)
    except ReplyError:
        raise
    except Exception as error:
        raise ReplyError("The image is damaged: its pixels cannot be decoded.") from error


def _salvage(data: bytes, side: int) -> Image.Image:
    """Return the decodable part of a damaged image; the rest is black, grey or transparent.

    Pillow's `LOAD_TRUNCATED_IMAGES` would affect the entire process. Instead, a JPEG gets an end
    marker, and decoding stops at the first error.
    """
    image = open_image(data + _END_OF_JPEG if media_type(data) == "image/jpeg" else data)
    image.draft("RGB", (side, side))
    with contextlib.suppress(Exception):
        image.load()
    image.tile = []  # type: ignore[attr-defined]  # an ImageFile's queue of tiles to decode
    image.load()
    return image


def _compress(image: Image.Image, limit: int, *, whole: bool) -> Preview:
    """Return a JPEG of at most `limit` bytes; larger if `_MIN_SIDE` pixels per side need more."""
    while True:
        for quality in _QUALITIES:
            data = encode(image, "JPEG", quality=quality, optimize=True, progressive=True)
            if len(data) <= limit:
                return Preview(data, image.size, whole)
        if max(image.size) <= _MIN_SIDE:
            return Preview(data, image.size, whole)
        image = image.resize(
            [max(length * 3 // 4, 1) for length in image.size]
        )  # only images of noise need this


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image as a file without metadata; this function encodes all files that we create.

    Pillow would copy comments, Exif, XMP and colour profiles of the source. Untrusted text would be
    passed on, and long text makes the encoder fail. `options` are those of Pillow's encoder.
    """
    bare = image.copy()
    bare.info = {name: bare.info[name] for name in ("transparency",) if name in bare.info}
    buffer = io.BytesIO()
    bare.save(buffer, kind, **options)
    return buffer.getvalue()


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned upright according to its Exif orientation, as viewers show it."""
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _WITH_ORIENTATION:
        turned.info.pop(name, None)
    return turned


def _orientation(image: Image.Image) -> Any:
    """Return the Exif orientation of a decoded image; 1 if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged Exif does not matter
        try:
            long = len(image.info.get("exif", b"")) > _MAX_EXIF
            exif = Image.Exif() if long else image.getexif()
            if long:
                exif.load(image.info["exif"][:_MAX_EXIF])
            return exif.get(_ORIENTATION, 1)
        except Exception:  # noqa: BLE001  # Pillow raises many types
            return 1


def factor_to_bytes(low: float, high: float, *, integers: bool) -> float:
    """Return the factor that scales numbers from `low` to `high` to levels from 0 to 255.

    `integers` must already be levels from 0 to 255. The range of floats is 0 to 1 if no
    float exceeds 1, else 0 to 255. Floats in the latter range that would give a black picture are
    refused.

    Raises:
        ValueError: The numbers are in another range. The message is half a sentence and advice.
    """
    overshot = 0.5  # levels by which interpolation can exceed the range
    half = overshot / _MAX_LEVEL
    if integers and low >= 0 and high <= _MAX_LEVEL:
        return 1.0
    if not integers and low >= -half and high <= 1 + half:
        return float(_MAX_LEVEL)
    if not integers and low >= -overshot and _DARK <= high <= _MAX_LEVEL + overshot:
        return 1.0
    expected = "0 to 255" if integers else "0 to 1 or 0 to 255"
    cure = "(a - a.min()) / (a.max() - a.min())"
    if not integers and low >= -1 - half and high <= 1 + half:
        cure = "(a + 1) / 2"
    raise ValueError(
        f"its values go from {low:g} to {high:g} instead of {expected}. Scale the array a, such as "
        f"{cure}"
    )


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits per channel; 16-bit values and floats are scaled, not clipped."""
    if image.mode in _PLAIN_MODES:
        return image.convert(_PLAIN_MODES[image.mode])
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode not in {"I", "F"}:
        return image
    low, high = _extrema(image)
    factor = factor_to_bytes(low, high, integers=image.mode == "I")
    return image.point(lambda value: value * factor + 0.5).convert("L")


def _from_16_bits(image: Image.Image) -> Image.Image:
    wide = image.convert("I")
    scale = [(level + _LEVELS_16 // 2) // _LEVELS_16 for level in range(1 << 16)]
    result = wide.point(scale, "L")
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = wide.point([0 if level == key else 255 for level in range(1 << 16)], "L")
        result = Image.merge("LA", (result, alpha))
    result.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return result


def _extrema(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and highest number of an image of mode I or F; refuse NaN and infinity."""
    if image.mode == "F" and not math.isfinite(sum(array.array("f", image.tobytes()))):
        raise ValueError("some of its values are NaN or infinite. Use numpy.nan_to_num(a)")
    low, high = image.getextrema()
    return float(low), float(high)  # type: ignore[arg-type]  # one channel


def in_srgb(image: Image.Image, notes: list[str] | None = None) -> Image.Image:
    """Convert an image with 8 bits per channel from its colour profile to sRGB.

    Transparency is kept. Half a sentence is appended to `notes` if the profile cannot be used.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":  # black and white need no profile
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
        mode = _MODES[given.profile.xcolor_space.strip()]
        if mode == "RGB" and base.mode == "L":
            base = base.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        # Raises an error if the profile and the image have different colour spaces.
        result = ImageCms.profileToProfile(base, given, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        if notes is not None:
            notes.append("treated as sRGB, because its colour profile cannot be used")
        return image
    if result is None:  # only for conversions in place
        return image
    if alpha is not None:
        result.putalpha(alpha)
    result.info = {
        name: value
        for name, value in image.info.items()
        if name not in {"icc_profile", "transparency"}
    }
    return result


def is_transparent(image: Image.Image) -> bool:
    """Tell whether an image with 8 bits per channel has a transparent pixel."""
    if not image.has_transparency_data:
        return False
    alpha = (image if image.mode in {"LA", "RGBA"} else image.convert("RGBA")).getchannel("A")
    lowest, _ = alpha.getextrema()
    return lowest < _MAX_LEVEL  # type: ignore[operator]  # one channel


def flatten(image: Image.Image) -> Image.Image:
    """Return the image in RGB; transparent parts become white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")


def is_array(value: Any) -> bool:
    """Tell whether an object can be read as an array; False for tables."""
    protocols = ("__array_interface__", "__array__", "__dlpack__")
    return any(hasattr(value, name) for name in protocols) and not hasattr(value, "columns")


def from_array(value: Any, notes: list[str]) -> Image.Image:
    """Return an image of an array.

    Booleans mean black and white. Integers are levels from 0 to 255, or to 65535 with 16 bits.
    Floats are levels from 0 to 1, or from 0 to 255 if any exceeds 1. 8-bit levels do not change.

    Args:
        value: An array of height × width, or height × width × 1, 2, 3 or 4 channels, or an object
            with an array protocol.
        notes: Half a sentence is appended if the range of the values is doubtful.

    Raises:
        ValueError: The array is not a picture. The message is half a sentence and advice.
    """
    try:
        import numpy as np  # noqa: PLC0415  # optional; arrays rarely exist without NumPy
    except ImportError:
        return Image.fromarray(value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("some of its values are masked. Fill them: a.filled(0)")
    is_numpy = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    array = np.asarray(value) if is_numpy else np.from_dlpack(value)
    _check_shape(array, "permute" if hasattr(value, "permute") else "transpose")
    if array.shape[2:] == (1,):
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(_levels(array, notes)))


def _check_shape(array: np.ndarray[Any, Any], move: str) -> None:
    """Raise `ValueError` unless an array has the shape of one picture with its channels last.

    `move` is the method of the user's object that moves axes, for the message.
    """
    shape = array.shape
    if 0 in shape:
        raise ValueError("it has no pixels. Give another array")
    if len(shape) == 4:  # noqa: PLR2004
        moved = shape[-1] not in _CHANNELS and shape[1] in _CHANNELS
        cure = f"a[0].{move}(1, 2, 0)" if moved else "a[0]"
        raise ValueError(f"it holds several pictures. Give one, such as {cure} of the array a")
    if len(shape) > 1 and shape[0] * shape[1] > MAX_IMAGE_PIXELS:
        raise ValueError(
            f"it has {shape[1]} × {shape[0]} pixels. The maximum is {MAX_IMAGE_PIXELS // 10**6} "
            "megapixels"
        )
    planar = len(shape) == 3 and shape[2] not in _CHANNELS  # noqa: PLR2004
    if planar and shape[0] in _CHANNELS:
        raise ValueError(
            f"its channels are the first axis. Give a.{move}(1, 2, 0), where they are the last"
        )
    if planar or len(shape) not in {2, 3}:
        raise ValueError("a picture is height × width, or height × width × 1, 2, 3 or 4 channels")


def _levels(array: np.ndarray[Any, Any], notes: list[str]) -> np.ndarray[Any, Any]:
    """Return the numbers of an array as levels from 0 to 255; refuse other types and ranges."""
    import numpy as np  # noqa: PLC0415  # optional; see `from_array`

    kind = array.dtype.kind
    if kind == "b":
        return array if array.ndim == 2 else array.astype(np.uint8) * 255  # noqa: PLR2004
    if kind not in "uif":
        raise ValueError(f"its values are of type {array.dtype}. Give numbers")
    low, high = float(array.min()), float(array.max())
    if kind == "f":
        if not np.isfinite(low) or not np.isfinite(high):
            raise ValueError("some of its values are NaN or infinite. Use numpy.nan_to_num(a)")
        factor = factor_to_bytes(low, high, integers=False)
        scaled = array.astype(np.float32 if array.dtype.itemsize <= 4 else float) * factor  # noqa: PLR2004
        return np.rint(scaled).clip(0, 255).astype(np.uint8)
    # Arrays with a lower maximum would look black; they probably have 10 or 12 bits.
    if array.dtype.type is np.uint16 and high >= _DARK * _LEVELS_16:
        return ((array.astype(np.uint32) + _LEVELS_16 // 2) // _LEVELS_16).astype(np.uint8)
    factor_to_bytes(low, high, integers=True)
    if high == 1:
        notes.append("nearly black, since its values are 0 and 1 of 255; a mask is a == 1")
    return array.astype(np.uint8)
