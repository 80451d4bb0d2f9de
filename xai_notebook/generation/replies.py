"""A reply turned into images: what the server said of each, before and after its bytes came."""

from __future__ import annotations

import asyncio
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import ReplyError
from xai_notebook.pictures.results import GeneratedImage, ImageRequest
from xai_notebook.settings import LOCAL_MODEL, MAX_IMAGE_PIXELS, MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.client.response import ImageResponse

__all__ = ["add", "describe", "images_of", "kept", "look_at", "payload_of", "share"]

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


def images_of(
    request: ImageRequest, sent: Sequence[ImageResponse], missing: Sequence[int]
) -> tuple[list[GeneratedImage], list[ImageResponse]]:
    """Return the cards of a reply, and what came for the first of them; the others are missing.

    Args:
        request: What was asked.
        sent: All that came.
        missing: The indices of the images asked for; what came beyond them goes behind all.
    """
    responses = kept(sent, len(missing))
    indices = [*missing, *range(request.n, request.n + len(responses) - len(missing))]
    images = [
        describe(request, index, responses, position, len(missing))
        for position, index in enumerate(indices)
    ]
    return images, responses


def describe(
    request: ImageRequest,
    index: int,
    responses: Sequence[ImageResponse],
    position: int,
    asked: int,
) -> GeneratedImage:
    """Return the card of image `position` of a reply, before its bytes are touched."""
    if position >= len(responses):
        return GeneratedImage(
            request=request,
            index=index,
            status="missing",
            model=responses[0].model if responses else "",
            error=f"The server sent {len(responses)} of {asked} images.",
        )
    response = responses[position]
    cost = response.cost_usd
    rewritten = response.prompt.strip()
    by = None
    if rewritten in {"", request.prompt}:  # not rewritten by the image server
        rewritten = "" if request.original_prompt is None else request.prompt
        by = None if request.original_prompt is None else request.rewrite_model
        if by is not None and response.model == LOCAL_MODEL:
            by = LOCAL_MODEL
    moderated = not response.respect_moderation
    return GeneratedImage(
        request=request,
        index=index,
        status="moderated" if moderated else "ok",
        model=response.model or request.model,
        rewritten_prompt=rewritten or None,
        rewritten_by=by,
        cost_usd=share(cost, len(responses)),
        error="The image was withheld by moderation. Change the prompt." if moderated else None,
    )


def share(cost: float | None, images: int) -> float | None:
    """Return an image's part of what a request cost; unknown stays unknown."""
    return None if cost is None else cost / images


def add(first: float | None, second: float | None) -> float | None:
    """Return the sum of two costs; with something unknown, it is unknown."""
    return None if first is None or second is None else first + second


async def payload_of(image: GeneratedImage, response: ImageResponse) -> bytes | str | None:
    """Return the bytes of an image, the URL it waits at, or None if there is neither."""
    if image.status != "ok":
        return None
    try:
        if (url := response.waits_at) is not None:
            image.status = "pending"
            return url
        return await response.image
    except ReplyError as error:
        image.status, image.error = "missing", str(error)
        return None


async def look_at(images: Sequence[GeneratedImage]) -> None:
    """Note media type and size where they are not known yet; what cannot be read becomes a card."""
    unknown = [
        image
        for image in images
        if image.status == "ok"
        and not (image.media_type and image.size and prod(image.size) <= MAX_IMAGE_PIXELS)
    ]
    if unknown:
        await asyncio.to_thread(_open, unknown)


def _open(images: Sequence[GeneratedImage]) -> None:
    from xai_notebook.pictures.pixels import inspect  # noqa: PLC0415  # PIL, in a worker thread

    for image in images:
        try:
            image.media_type, image.size = inspect(image.data)
        except ReplyError as error:
            image.status, image.error = "failed", str(error)
