"""Pictures and requests as plain data, for pickles that open in another process, home or version.

A pickle names the functions `open_image`, `open_batch` and `open_job` and their modules: they stay
where they are. All else in it is numbers, texts, bytes, tuples and dictionaries. Fields that a
later version adds are ignored by an earlier one; a change that it would misread gets a new number.
"""

from __future__ import annotations

import os.path
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import XaiError
from xai_notebook.pictures.picture import Card

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "VERSION",
    "card_fields",
    "check_version",
    "known",
    "pack_card",
    "pack_request",
    "unpack_request",
]

VERSION: Final = 1
"""Of the data in a pickle."""
_TIMES: Final = ("created", "public_url_expires")
_FILES: Final = ("file", "exported")
_HELD: Final = ("cached", "held")
"""Where the original is in this process; a pickle has its bytes."""


class _Original:
    """The bytes of an original, which a pickle holds once, however many pictures show them."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (self.data,)


_originals: Final[WeakValueDictionary[str, _Original]] = WeakValueDictionary()
"""By digest; a pickler keeps what it has written until it is done."""


def check_version(version: int) -> None:
    """See that a pickle can be understood.

    Raises:
        XaiError: It is a later version's.
    """
    if version > VERSION:
        raise XaiError(
            f"This pickle was written by a newer version of xai-notebook (format {version}; this "
            f"one reads up to {VERSION}). Update it: pip install --upgrade xai-notebook."
        )


def known(of: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that a dataclass has fields for."""
    names = {field.name for field in fields(of)}
    return {name: value for name, value in values.items() if name in names}


def pack_request(request: ImageRequest) -> dict[str, Any]:
    """Return a request as plain data, with the images that it edits."""
    return asdict(request)


def unpack_request(values: Mapping[str, Any]) -> ImageRequest:
    """Return the request that `pack_request` has packed."""
    inputs = tuple(InputImage(**known(InputImage, one)) for one in values["inputs"])
    return ImageRequest(**known(ImageRequest, values) | {"inputs": inputs})


def pack_card(card: Card) -> dict[str, Any]:
    """Return a picture as plain data, with its original's bytes.

    One whose original is gone is packed without it, and says so when it is opened.
    """
    values = {field.name: getattr(card, field.name) for field in fields(Card)}
    for name in _HELD:
        del values[name]
    for name in _TIMES:
        values[name] = values[name] and values[name].isoformat()
    for name in _FILES:
        values[name] = values[name] and str(values[name])
    values["request"] = pack_request(card.request)
    values["data"] = None
    if card.cached is not None or card.held is not None or card.file is not None:
        try:
            values["data"] = _original_of(card)
        except XaiError as error:
            values |= {"status": "missing", "error": str(error)}
    return values


def _original_of(card: Card) -> _Original:
    digest = card.sha256 or ""
    original = _originals.get(digest) or _Original(card.data)
    return _originals.setdefault(digest, original) if digest else original


def card_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a picture that `pack_card` has packed."""
    opened = known(Card, values) | {"cached": values["data"]}
    for name in _TIMES:
        opened[name] = opened[name] and datetime.fromisoformat(opened[name])
    for name in _FILES:  # on another computer they mean nothing
        there = opened[name] and os.path.isfile(opened[name])  # noqa: PTH113  # raises nothing
        opened[name] = Path(opened[name]) if there else None
    return opened | {"request": unpack_request(values["request"])}
