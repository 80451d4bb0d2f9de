"""Previews: what stands in a notebook in place of the originals."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import pybase64

from xai_notebook.client.workers import Workers
from xai_notebook.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xai_notebook.pictures.picture import Card

__all__ = ["LIMITS", "SIDES", "SMALL_SIDE", "Awaited", "PreviewSource", "Previews", "Shown"]

SIDES: Final = {1: 1024, 2: 768, 3: 640}
"""Longest side in pixels, by the columns of the grid."""
SMALL_SIDE: Final = 512
"""The same for more columns."""
LIMITS: Final = ((1, 180_000), (4, 64_000), (12, 45_000))
"""Bytes of each preview, for grids of up to so many."""
_SMALL_LIMIT: Final = 30_000
"""The same for more."""


class PreviewSource(NamedTuple):
    """A picture as a card shows it.

    Attributes:
        uri: A data URI.
        size: The width and height it asks for.
        whole: Every pixel could be decoded.
    """

    uri: str
    size: tuple[int, int]
    whole: bool


class Awaited(NamedTuple):
    """A picture that is still to come, or to be scaled, as its card shows it.

    Attributes:
        size: The width and height it will ask for.
    """

    size: tuple[int, int]


Shown: TypeAlias = "PreviewSource | Awaited | str | None"
"""What a card shows: a picture, the place of one, a message, or nothing."""


_Key: TypeAlias = "tuple[object, ...]"


class Previews:
    """The previews of a grid, none of which is made twice."""

    def __init__(self) -> None:
        """Begin with none."""
        self._made: dict[_Key, PreviewSource | str] = {}

    def make(
        self, images: Sequence[Card], columns: int, *, full: bool = False, most: int | None = None
    ) -> list[Shown]:
        """Return what each card shows.

        Previews are made side by side: Pillow frees the lock while it decodes and scales.

        Args:
            images: The cards.
            columns: Of their grid.
            full: Show originals.
            most: Previews to make now, of a grid that is still growing: in place of the others, and
                of what is pending, their places are kept. None: all, and nothing is awaited.
        """
        side = SIDES.get(columns, SMALL_SIDE)
        limit = next((bytes_ for count, bytes_ in LIMITS if len(images) <= count), _SMALL_LIMIT)
        keys = [
            (image.sha256, image.file, id(image.cached), side, limit, full)
            if image.status == "ok"
            else None
            for image in images
        ]
        missing = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if key is not None and key not in self._made
        }
        self._add(
            dict(islice(missing.items(), most)), lambda image: _embed(image, side, limit, full=full)
        )
        return [
            _awaited(image, side)
            if most is not None and (image.status == "pending" or (key and key not in self._made))
            else key and self._made[key]
            for key, image in zip(keys, images, strict=True)
        ]

    def _add(self, images: Mapping[_Key, Card], embed: Callable[[Card], PreviewSource]) -> None:
        def source(image: Card) -> PreviewSource | str:
            try:
                return embed(image)
            except ReplyError as error:
                return str(error)
            except Exception:  # noqa: BLE001  # one bad picture costs one card
                return "The picture cannot be shown. `.data` has its bytes as they came."

        with Workers(max_workers=4) if len(images) > 1 else nullcontext() as pool:
            made = (pool.map if pool else map)(source, images.values())
            self._made.update(zip(images, made, strict=True))


def _awaited(image: Card, side: int) -> Awaited:
    try:
        width, height = image.size or map(float, image.request.shape.split(":"))
    except ValueError:  # a server may take other shapes than we know
        width = height = 1.0
    scale = side / max(width, height)
    return Awaited((round(width * scale), round(height * scale)))


def _embed(image: Card, side: int, limit: int, *, full: bool) -> PreviewSource:
    from xai_notebook.pictures.pixels import inspect, is_whole, preview  # noqa: PLC0415  # PIL

    data = image.data
    if full:
        kind, size = inspect(data)
        whole = is_whole(data)
    else:
        data, size, whole = preview(data, side=side, limit=limit)
        kind = "image/jpeg"
    return PreviewSource(f"data:{kind};base64,{pybase64.b64encode_as_string(data)}", size, whole)
