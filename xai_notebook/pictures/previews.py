"""Previews: what stands in a notebook in place of the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pybase64

from xai_notebook.client.workers import Workers
from xai_notebook.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card

__all__ = ["LIMITS", "SIDES", "SMALL_SIDE", "Source", "make_previews"]

SIDES: Final = {1: 1024, 2: 768, 3: 640}
"""Longest side in pixels, by the columns of the grid."""
SMALL_SIDE: Final = 512
"""The same for more columns."""
LIMITS: Final = ((1, 180_000), (4, 64_000), (12, 45_000))
"""Bytes of each preview, for grids of up to so many."""
_SMALL_LIMIT: Final = 30_000
"""The same for more."""


class Source(NamedTuple):
    """A picture as a card shows it.

    Attributes:
        uri: A data URI.
        size: The width and height it asks for.
        whole: Every pixel could be decoded.
    """

    uri: str
    size: tuple[int, int]
    whole: bool


def make_previews(images: Sequence[Card], columns: int, *, full: bool) -> list[Source | str | None]:
    """Return what each card shows: a picture, a message, or nothing.

    Previews are made side by side: Pillow frees the lock while it decodes and scales.
    """
    side = SIDES.get(columns, SMALL_SIDE)
    limit = next((bytes_ for count, bytes_ in LIMITS if len(images) <= count), _SMALL_LIMIT)

    def source(image: Card) -> Source | str | None:
        if image.status != "ok":
            return None
        try:
            return _embed(image, side, limit, full=full)
        except ReplyError as error:
            return str(error)

    if len(images) < 2:  # noqa: PLR2004
        return [source(image) for image in images]
    with Workers(max_workers=4) as pool:
        return list(pool.map(source, images))


def _embed(image: Card, side: int, limit: int, *, full: bool) -> Source:
    from xai_notebook.pictures.pixels import inspect, is_whole, preview  # noqa: PLC0415  # PIL

    data = image.data
    if full:
        kind, size = inspect(data)
        whole = is_whole(data)
    else:
        data, size, whole = preview(data, side=side, limit=limit)
        kind = "image/jpeg"
    return Source(f"data:{kind};base64,{pybase64.b64encode_as_string(data)}", size, whole)
