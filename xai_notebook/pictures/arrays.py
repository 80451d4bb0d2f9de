"""Arrays as pictures: NumPy's, and what any other library hands over as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from xai_notebook.pictures.pixels import factor_to_bytes
from xai_notebook.settings import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    import numpy as np

__all__ = ["from_array", "is_array"]

_CHANNELS: Final = (1, 2, 3, 4)
"""Grey, grey and alpha, RGB, RGBA."""
_BATCH: Final = 4
"""Dimensions of several pictures in one array."""
_OF_16_BITS: Final = 257
"""Levels of 16 bits to one of 8."""
_DARK: Final = 16 * _OF_16_BITS
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
    if wide and high >= _DARK:
        return ((array.astype(np.uint32) + _OF_16_BITS // 2) // _OF_16_BITS).astype(np.uint8)
    factor_to_bytes(low, high, whole=True)
    if high == 1:
        notes.append("nearly black, since its values are 0 and 1 of 255; a mask is a == 1")
    return array.astype(np.uint8)
