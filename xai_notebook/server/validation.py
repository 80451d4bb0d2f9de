"""Checks an image request the way the real API does, before any work is done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server import catalog
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_REFERENCE_IMAGES", "ImageOrder", "check", "check_lifetime", "invalid"]

MAX_REFERENCE_IMAGES: Final = 5
"""Input images of one request."""

MIN_LIFETIME: Final = 3600
MAX_LIFETIME: Final = 30 * 24 * 3600
"""Seconds."""

_MODERATED: Final = re.compile(r"\[moderated(?::\s*(\d{1,2}))?\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """A request that was checked, in the words of an engine.

    Attributes:
        prompt: As sent.
        model: Name of the model, alias resolved.
        count: Images asked for, 1 to 10.
        as_url: The images shall be URLs, not base64.
        aspect_ratio: Such as `"16:9"`; None: the engine's choice.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
        inputs: Input images, unread: data URIs, URLs, or ids in the file store.
        storage: How to keep a copy in the file store, if that is asked for.
        withheld: Indices of the images that moderation withholds (from 0).
        first: Which take of the request the first image is.
    """

    prompt: str
    model: str
    count: int
    as_url: bool
    aspect_ratio: str | None
    resolution: str
    quality: str
    inputs: tuple[wire.ImageUrlContent, ...]
    storage: wire.StorageOptions | None
    withheld: frozenset[int]
    first: int = 0


def invalid(details: str) -> Refusal:
    """Return the refusal of a request that is wrong as it is."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, details)


def check(request: wire.GenerateImageRequest, model: catalog.Model) -> ImageOrder:
    """Return `request` as an `ImageOrder`.

    Args:
        request: As it came.
        model: What its `model` stands for.

    Raises:
        Refusal: INVALID_ARGUMENT, with details that say what would be right.
    """
    count = request.n if request.HasField("n") else 1
    if not 1 <= count <= settings.MAX_IMAGES:
        raise invalid(f"n must be between 1 and {settings.MAX_IMAGES}, got {count}.")
    return ImageOrder(
        prompt=_prompt(request.prompt),
        model=model.name,
        count=count,
        as_url=_as_url(request),
        aspect_ratio=_aspect_ratio(request),
        resolution=_resolution(request),
        quality=_quality(request, model),
        inputs=_inputs(request, model),
        storage=_storage(request),
        withheld=_withheld(request.prompt, count),
    )


def _prompt(prompt: str) -> str:
    if not prompt.strip():
        raise invalid("Prompt must not be empty.")
    if len(prompt) > catalog.MAX_PROMPT_LENGTH:
        raise invalid(
            f"Prompt must have at most {catalog.MAX_PROMPT_LENGTH} characters, "
            f"this one has {len(prompt)}."
        )
    return prompt


def _as_url(request: wire.GenerateImageRequest) -> bool:
    """Tell whether URLs are asked for; a request that does not say gets them, as in the API."""
    if request.format in {
        wire.ImageFormat.IMG_FORMAT_URL,
        wire.ImageFormat.IMG_FORMAT_INVALID,  # 0, which is what an unset field reads as
    }:
        return True
    if request.format == wire.ImageFormat.IMG_FORMAT_BASE64:
        return False
    raise invalid(f"format must be IMG_FORMAT_BASE64 or IMG_FORMAT_URL, got {request.format}.")


def _aspect_ratio(request: wire.GenerateImageRequest) -> str | None:
    if not request.HasField("aspect_ratio"):
        return None
    if request.aspect_ratio == wire.ImageAspectRatio.IMG_ASPECT_RATIO_AUTO:
        return None
    for name in settings.ASPECT_RATIOS:
        member = "IMG_ASPECT_RATIO_" + name.replace(":", "_").replace(".", "_")
        if request.aspect_ratio == wire.ImageAspectRatio.Value(member):
            return name
    raise invalid(
        f"aspect_ratio {request.aspect_ratio} is not supported. "
        f"Use one of: {', '.join(settings.ASPECT_RATIOS)}."
    )


def _resolution(request: wire.GenerateImageRequest) -> str:
    if not request.HasField("resolution"):
        return "1k"
    if request.resolution == wire.ImageResolution.IMG_RESOLUTION_1K:
        return "1k"
    if request.resolution == wire.ImageResolution.IMG_RESOLUTION_2K:
        return "2k"
    raise invalid(f"resolution {request.resolution} is not supported. Use 1k or 2k.")


def _quality(request: wire.GenerateImageRequest, model: catalog.Model) -> str:
    if not request.HasField("quality"):
        return "medium"
    if not model.has_quality:
        able = ", ".join(each.name for each in catalog.list_all() if each.has_quality)
        raise invalid(f"quality is not supported by {model.name}, only by {able}.")
    if request.quality == wire.ImageQuality.IMG_QUALITY_LOW:
        return "low"
    if request.quality == wire.ImageQuality.IMG_QUALITY_MEDIUM:
        return "medium"
    raise invalid("quality must be low or medium.")


def _inputs(
    request: wire.GenerateImageRequest, model: catalog.Model
) -> tuple[wire.ImageUrlContent, ...]:
    sources: Sequence[wire.ImageUrlContent] = request.images
    if request.HasField("image"):
        if request.images:
            raise invalid("image and images must not be used together.")
        sources = [request.image]
    if sources and not model.edits:
        raise invalid(f"{model.name} does not accept input images.")
    if len(sources) > MAX_REFERENCE_IMAGES:
        raise invalid(
            f"At most {MAX_REFERENCE_IMAGES} input images are supported, got {len(sources)}."
        )
    for source in sources:
        if not source.image_url and not source.file_id:
            raise invalid("An input image is empty.")
    return tuple(sources)


def _storage(request: wire.GenerateImageRequest) -> wire.StorageOptions | None:
    if not request.HasField("storage_options"):
        return None
    options = request.storage_options
    if not options.filename.strip():
        raise invalid("storage_options need a filename.")
    kept = options.expires_after if options.HasField("expires_after") else None
    check_lifetime(kept)
    if options.public_url.HasField("expires_after"):
        public = options.public_url.expires_after
        if public <= 0 or (kept is not None and public > kept):
            raise invalid("A public URL must expire after now, and not after its file.")
    return options


def check_lifetime(seconds: int | None) -> None:
    """Check how long a file is to be kept; None: for ever.

    Raises:
        Refusal: INVALID_ARGUMENT: too short or too long.
    """
    if seconds is not None and not MIN_LIFETIME <= seconds <= MAX_LIFETIME:
        raise invalid(f"expires_after must be {MIN_LIFETIME} to {MAX_LIFETIME} seconds.")


def _withheld(prompt: str, count: int) -> frozenset[int]:
    """Return the indices that the marks `[moderated]` and `[moderated:2]` in the prompt name."""
    marks = [match[1] for match in _MODERATED.finditer(prompt)]
    if None in marks:
        return frozenset(range(count))
    return frozenset(int(mark) - 1 for mark in marks)
