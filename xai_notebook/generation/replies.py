"""A reply turned into pictures: what the server said of each, before and after its bytes came."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.client.transport.status import one_line
from xai_notebook.errors import ReplyError
from xai_notebook.library import Reply
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.settings import LOCAL_MODEL, LOCAL_REWRITER, MAX_IMAGE_PIXELS, MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.response import ImageResponse

__all__ = [
    "absent", "add_costs", "kept", "linked", "look_at", "moment", "reply_of", "share",
]  # fmt: skip

_MAX_UNASKED: Final = 4 * MAX_IMAGES
"""Images kept of a reply beyond those asked for."""


def kept(responses: Sequence[ImageResponse], asked: int) -> list[ImageResponse]:
    """Return the images of a reply that are kept: those asked for, and what came beyond them.

    Args:
        responses: All of them, which may be many, and empty.
        asked: How many were asked for.
    """
    more = (one for one in responses[asked:] if one.respect_moderation and one.holds_image)
    return [*responses[:asked], *islice(more, _MAX_UNASKED)]


async def reply_of(
    request: ImageRequest,
    responses: Sequence[ImageResponse],
    missing: Sequence[int],
    *,
    backend: str,
    **answer: Any,
) -> Reply:
    """Return a reply as the library takes it.

    Args:
        request: What was asked.
        responses: The images of the reply that are `kept`.
        missing: The positions of the images asked for; what came beyond them goes behind all.
        backend: `"xai"` or `"local"`.
        **answer: The other fields of `Reply` that the server does not tell.
    """
    positions = [*missing, *range(request.n, request.n + len(responses) - len(missing))]
    told = [
        await _take(_picture(request, position, response, len(responses), backend), response)
        for position, response in zip(positions, responses, strict=False)
    ]
    return Reply(
        request,
        [picture for picture, _ in told],
        [payload for _, payload in told],
        cost_usd=responses[0].cost_usd if responses else None,
        model=responses[0].model if responses else "",
        backend=backend,
        **answer,
    )


def absent(
    request: ImageRequest, responses: Sequence[ImageResponse], missing: Sequence[int]
) -> list[Picture]:
    """Return, for the images that were asked for and did not come, why there is none."""
    return [
        Picture(
            request=request,
            position=position,
            status="missing",
            model=responses[0].model if responses else "",
            error=f"The server sent {len(responses)} of {len(missing)} images.",
        )
        for position in missing[len(responses) :]
    ]


def _picture(
    request: ImageRequest, position: int, response: ImageResponse, images: int, backend: str
) -> Picture:
    """Return what a reply of so many `images` says of one, before its bytes are touched."""
    rewritten = response.prompt.strip()
    by = None
    if rewritten in {"", request.prompt}:  # not rewritten by the image server
        rewritten = "" if request.original_prompt is None else request.prompt
        by = None if request.original_prompt is None else request.rewrite_model
        if by is not None and backend == "local":  # it asks no chat model, whatever the name
            by = LOCAL_MODEL if response.model == LOCAL_MODEL else LOCAL_REWRITER
    moderated = not response.respect_moderation
    return Picture(
        request=request,
        position=position,
        status="moderated" if moderated else "ok",
        model=response.model or request.model,
        rewritten_prompt=rewritten or None,
        rewritten_by=by,
        cost_usd=share(response.cost_usd, images),
        error=WITHHELD if moderated else None,
        **({} if request.share is None or moderated else linked(response)),
    )


def linked(response: ImageResponse) -> dict[str, Any]:
    """Return what a picture says of its public link: where it is, or why there is none."""
    url, stored = bounds.link(response.public_url), response.file_output
    if url is None or stored is None:
        reason = response.storage_error or response.public_url_error or "the server says no more"
        return {"notes": (f"Not shared: {one_line(reason)}",)}
    return {"public_url": url, "public_url_expires": moment(stored, "public_url_expires_at")}


def moment(message: Any, field: str) -> datetime | None:
    """Return the time in a field of a message; None: there is none, or it is out of bounds."""
    return bounds.moment(getattr(message, field).seconds) if message.HasField(field) else None


async def _take(picture: Picture, response: ImageResponse) -> tuple[Picture, bytes | str | None]:
    """Return a picture with its bytes, the URL they wait at, or None if there is neither."""
    if picture.status != "ok":
        return picture, None
    try:
        if (url := response.waits_at) is not None:
            return replace(picture, status="pending"), url
        return picture, await response.image
    except ReplyError as error:
        return replace(picture, status="missing", error=str(error)), None


def share(cost: float | None, images: int) -> float | None:
    """Return an image's part of what a request cost; unknown stays unknown."""
    return None if cost is None else cost / images


def add_costs(first: float | None, second: float | None) -> float | None:
    """Return the sum of two costs; with something unknown, it is unknown."""
    return None if first is None or second is None else first + second


async def look_at(pictures: Sequence[Picture]) -> list[Picture]:
    """Return pictures with media type and size; one that cannot be read has failed."""
    if all(map(_is_known, pictures)):
        return [*pictures]
    return await asyncio.to_thread(lambda: [*map(_seen, pictures)])


def _is_known(picture: Picture) -> bool:
    size = picture.size
    told = bool(picture.media_type and size and prod(size) <= MAX_IMAGE_PIXELS)
    return told or picture.status != "ok"


def _seen(picture: Picture) -> Picture:
    from xai_notebook.pictures.pixels import inspect  # noqa: PLC0415  # PIL, in a worker thread

    if _is_known(picture):
        return picture
    try:
        media_type, size = inspect(picture.data)
    except ReplyError as error:
        return replace(picture, status="failed", error=str(error))
    return replace(picture, media_type=media_type, size=size)
