"""Previews: small JPEGs that a notebook shows instead of the originals."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import pybase64

from xai_notebook.client.workers import FallbackThreadPool
from xai_notebook.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card

SIDES: Final = {1: 1024, 2: 768, 3: 640}
"""Longest side of a preview in pixels, by the columns of the grid."""
SMALL_SIDE: Final = 512
"""Longest side of a preview in pixels, for more columns."""
LIMITS: Final = ((1, 180_000), (4, 64_000), (12, 45_000))
"""Maximum cards of a grid, and the maximum bytes of each preview in such a grid."""
_SMALL_LIMIT: Final = 30_000
"""Maximum bytes of a preview in larger grids."""


class PreviewSource(NamedTuple):
    """The picture that a card shows.

    Attributes:
        uri: The picture as a data URI.
        size: Width and height in pixels.
        whole: Whether every pixel could be decoded.
    """

    uri: str
    size: tuple[int, int]
    whole: bool


class Placeholder(NamedTuple):
    """The placeholder for a picture that has not arrived or has no preview yet.

    Attributes:
        size: Expected width and height in pixels.
    """

    size: tuple[int, int]


Shown: TypeAlias = "PreviewSource | Placeholder | str | None"
"""Content of a card: a picture, a placeholder, an error message, or nothing."""


@dataclass(slots=True)
class Previews:
    """The previews of a grid; each preview is made once."""

    _by_key: dict[tuple[object, ...], PreviewSource | str] = field(default_factory=dict)

    def make(
        self, images: Sequence[Card], columns: int, *, full: bool = False, most: int | None = None
    ) -> list[Shown]:
        """Return the content of each card.

        Previews are made in threads: Pillow releases the GIL while it decodes and scales.

        Args:
            images: The cards.
            columns: Cards per row of their grid.
            full: Use the originals.
            most: Maximum number of new previews, for a grid that is still growing; the other cards
                and pending cards get placeholders. None makes all, without placeholders.
        """
        side = SIDES.get(columns, SMALL_SIDE)
        limit = next((size for count, size in LIMITS if len(images) <= count), _SMALL_LIMIT)
        keys = [
            (image.sha256, image.file, id(image.cached), side, limit, full)
            if image.status == "ok"
            else None
            for image in images
        ]
        missing = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if key is not None and key not in self._by_key
        }
        next_images = dict(islice(missing.items(), most))
        embed = partial(_embed, side=side, limit=limit, full=full)
        with FallbackThreadPool(max_workers=4) if len(next_images) > 1 else nullcontext() as pool:
            previews = (pool.map if pool else map)(embed, next_images.values())
            self._by_key.update(zip(next_images, previews, strict=True))
        return [
            _placeholder(image, side)
            if most is not None and (image.status == "pending" or (key and key not in self._by_key))
            else key and self._by_key[key]
            for key, image in zip(keys, images, strict=True)
        ]


def _placeholder(image: Card, side: int) -> Placeholder:
    try:
        width, height = image.size or map(float, image.request.shape.split(":"))
    except ValueError:  # the shape is not a ratio
        width = height = 1.0
    scale = side / max(width, height)
    return Placeholder((round(width * scale), round(height * scale)))


def _embed(image: Card, *, side: int, limit: int, full: bool) -> PreviewSource | str:
    """Return the picture of a card, or the reason why it cannot be shown."""
    try:
        from xai_notebook.pictures.pixels import inspect, is_whole, preview  # noqa: PLC0415  # PIL

        data = image.data
        if full:
            kind, size = inspect(data)
            whole = is_whole(data)
        else:
            data, size, whole = preview(data, side=side, limit=limit)
            kind = "image/jpeg"
    except ReplyError as error:
        return str(error)
    except Exception:  # noqa: BLE001  # a bad picture affects its card only
        return "The picture cannot be shown. `.data` has the original bytes."
    return PreviewSource(f"data:{kind};base64,{pybase64.b64encode_as_string(data)}", size, whole)
