"""What a call has brought, as users hold it: at the end, and on the way there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from xai_notebook.generation.call import summarize
from xai_notebook.pictures.picture import SHOWN, Picture, first_cards
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.call import Call

__all__ = ["collect", "so_far"]


def collect(call: Call, maker: object) -> ImageBatch:
    """Return what has arrived as a batch. Nothing can go wrong here.

    Args:
        call: Answered, or as far as it came.
        maker: What makes images from images: the session.
    """
    progress = call.progress
    return ImageBatch(
        _images(call, sorted(progress.results.items()), maker),
        notes=[*call.announced, *progress.notes],
        summary=summarize(call),
        undrawn=call.spoil,
        **_shown(call),
    )


def so_far(call: Call) -> Callable[[], ImageBatch]:
    """Return what gives the first cards of a call under way, what is awaited in its place.

    The prompts of a generator are not known before they are asked for: there, nothing is awaited.

    Raises:
        OptionError: A request cannot be made.
    """
    return partial(_first_cards, call, () if call.lazy else call.peek(SHOWN + 1))


def _first_cards(call: Call, first: Sequence[ImageRequest]) -> ImageBatch:
    results = call.progress.results
    there = []
    for number in range(len(first) or SHOWN + 1):
        pictures = results.get(number)
        if pictures is None and first:
            pictures = [Picture(request=first[number], status="pending")] * first[number].n
        there.append((number, pictures or []))
    return ImageBatch(first_cards(_images(call, there), SHOWN), **_shown(call))


def _images(
    call: Call, results: Iterable[tuple[int, list[Picture]]], maker: object = None
) -> list[GeneratedImage]:
    chosen = call.chosen
    return [
        GeneratedImage.of(
            picture, index=index, chosen=chosen[number] if chosen else (), maker=maker
        )
        for number, pictures in results
        for index, picture in enumerate(pictures)
    ]


def _shown(call: Call) -> dict[str, Any]:
    """Return how the batch of a call is shown."""
    options = call.options
    return {
        "name": options.as_, "columns": options.columns, "captions": options.captions,
        "full": options.full, "compare": options.compare,
    }  # fmt: skip
