"""The catalog of image models, and the checks of requests before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xai_notebook.server.faults import Faults

_T = TypeVar("_T")

MAX_PROMPT_LENGTH: Final = 8000
"""Maximum length of a prompt, in characters."""
MIN_LIFETIME: Final = 3600
MAX_LIFETIME: Final = 30 * 24 * 3600
"""Limits for the lifetime of a file, in seconds."""
_MAX_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Model:
    """An image model.

    Attributes:
        name: Name in the API.
        aliases: Other names that clients can use.
        created: Unix time in seconds.
        edits: Whether the model accepts input images.
        has_quality: Whether the model accepts the `quality` option.
        version: Version, also reported as fingerprint.
        price_ticks: List price per image in ticks of 1e-10 USD. None uses `Faults.image_price`.
    """

    name: str
    aliases: tuple[str, ...]
    created: int
    edits: bool = True
    has_quality: bool = False
    version: str = ""
    price_ticks: int | None = None

    def to_message(self, faults: Faults) -> wire.ImageGenerationModel:
        """Return the message that describes this model."""
        modality = wire.Modality
        return wire.ImageGenerationModel(
            name=self.name,
            version=self.version,
            input_modalities=[modality.TEXT, *([modality.IMAGE] if self.edits else [])],
            output_modalities=[modality.IMAGE],
            created={"seconds": self.created},
            max_prompt_length=MAX_PROMPT_LENGTH,
            system_fingerprint=self.version,
            aliases=self.aliases,
            image_price=faults.image_price if self.price_ticks is None else self.price_ticks,
        )


_PREVIEW: Final = settings.LOCAL_MODEL
MODELS: Final = (
    Model("grok-imagine-image", ("grok-imagine-image-latest",), 1_769_000_000, version=_PREVIEW),
    Model(
        "grok-imagine-image-2.0",
        ("grok-imagine-image-2.0-latest",),
        1_785_000_000,
        has_quality=True,
        version=_PREVIEW,
    ),
    Model(
        "grok-imagine-image-quality",
        ("grok-imagine-image-quality-latest", "grok-imagine-image-pro"),
        1_777_000_000,
        version=_PREVIEW,
    ),
    Model(
        "grok-2-image",
        ("grok-2-image-1212", "grok-2-image-latest"),
        1_734_000_000,
        edits=False,
        version=_PREVIEW,
    ),
)
"""xAI's models, which the painter imitates; the default comes first."""
MODEL_NAMES: Final = tuple(name for model in MODELS for name in (model.name, *model.aliases))
"""Names and aliases of xAI's models."""


def invalid(details: str) -> Refusal:
    """Return a refusal with INVALID_ARGUMENT."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, details)


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """A checked image request for an engine, with enums converted to text.

    Attributes:
        prompt: The prompt, unchanged.
        model: Name of the model, with aliases resolved.
        aspect_ratio: Width to height, such as `"16:9"`. None lets the engine choose.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
    """

    prompt: str
    model: str
    aspect_ratio: str | None
    resolution: str
    quality: str


_ASPECT_RATIOS: Final[dict[int, str | None]] = {
    wire.ImageAspectRatio.IMG_ASPECT_RATIO_AUTO: None
} | {
    wire.ImageAspectRatio.Value(
        "IMG_ASPECT_RATIO_" + name.replace(":", "_").replace(".", "_")
    ): name
    for name in settings.ASPECT_RATIOS
}
_RESOLUTIONS: Final[dict[int, str]] = {
    wire.ImageResolution.IMG_RESOLUTION_1K: "1k",
    wire.ImageResolution.IMG_RESOLUTION_2K: "2k",
}
_QUALITIES: Final[dict[int, str]] = {
    wire.ImageQuality.IMG_QUALITY_LOW: "low",
    wire.ImageQuality.IMG_QUALITY_MEDIUM: "medium",
}
_FORMATS: Final = (
    wire.ImageFormat.IMG_FORMAT_INVALID,  # 0: the field is unset; the default is URL
    wire.ImageFormat.IMG_FORMAT_URL,
    wire.ImageFormat.IMG_FORMAT_BASE64,
)


async def check_request(
    request: wire.GenerateImageRequest, find: Callable[[str], Awaitable[Model]]
) -> ImageOrder:
    """Check every field of an image request, like the real API; `find` is `Engine.find`.

    Raises:
        Refusal: INVALID_ARGUMENT if a field is invalid; the details name the allowed values.
            NOT_FOUND if the model does not exist.
    """
    model = await find(request.model)
    if request.HasField("n") and not 1 <= request.n <= settings.MAX_IMAGES:
        raise invalid(f"n must be between 1 and {settings.MAX_IMAGES}, got {request.n}.")
    if not request.prompt.strip():
        raise invalid("Prompt must not be empty.")
    if (length := len(request.prompt)) > MAX_PROMPT_LENGTH:
        raise invalid(
            f"Prompt must have at most {MAX_PROMPT_LENGTH} characters, this one has {length}."
        )
    if request.format not in _FORMATS:
        raise invalid(f"format must be IMG_FORMAT_BASE64 or IMG_FORMAT_URL, got {request.format}.")
    order = _make_order(request, model)
    if request.HasField("image") and request.images:
        raise invalid("image and images must not be used together.")
    sources = [request.image] if request.HasField("image") else request.images
    if sources and not model.edits:
        raise invalid(f"{model.name} does not accept input images.")
    if len(sources) > settings.MAX_INPUT_IMAGES:
        raise invalid(
            f"At most {settings.MAX_INPUT_IMAGES} input images are supported, got {len(sources)}."
        )
    if any(not source.image_url and not source.file_id for source in sources):
        raise invalid("An input image is empty.")
    if request.HasField("storage_options"):
        _check_storage(request.storage_options)
    return order


def _make_order(request: wire.GenerateImageRequest, model: Model) -> ImageOrder:
    """Return the order of a request after a check of its options."""
    ratio, resolution, quality = None, "1k", "medium"
    if request.HasField("aspect_ratio"):
        number = request.aspect_ratio
        if number not in _ASPECT_RATIOS:
            known = ", ".join(settings.ASPECT_RATIOS)
            raise invalid(f"aspect_ratio {number} is not supported. Use one of: {known}.")
        ratio = _ASPECT_RATIOS[number]
    if request.HasField("resolution"):
        if request.resolution not in _RESOLUTIONS:
            raise invalid(f"resolution {request.resolution} is not supported. Use 1k or 2k.")
        resolution = _RESOLUTIONS[request.resolution]
    if request.HasField("quality"):
        if not model.has_quality:
            supporting = ", ".join(each.name for each in MODELS if each.has_quality)
            raise invalid(f"quality is not supported by {model.name}, only by {supporting}.")
        if request.quality not in _QUALITIES:
            raise invalid("quality must be low or medium.")
        quality = _QUALITIES[request.quality]
    return ImageOrder(request.prompt, model.name, ratio, resolution, quality)


def _check_storage(options: wire.StorageOptions) -> None:
    if not options.filename.strip():
        raise invalid("storage_options need a filename.")
    lifetime = options.expires_after if options.HasField("expires_after") else None
    check_lifetime(lifetime)
    if options.public_url.HasField("expires_after"):
        check_link_lifetime(options.public_url.expires_after, lifetime)


def check_lifetime(seconds: int | None) -> None:
    """Check the lifetime of a file. None means that the file never expires.

    Raises:
        Refusal: INVALID_ARGUMENT if the lifetime is too short or too long.
    """
    if seconds is not None and not MIN_LIFETIME <= seconds <= MAX_LIFETIME:
        raise invalid(f"expires_after must be {MIN_LIFETIME} to {MAX_LIFETIME} seconds.")


def check_link_lifetime(seconds: float, file_lifetime: float | None) -> None:
    """Check the lifetime of a public link. A file with the lifetime None never expires.

    Raises:
        Refusal: INVALID_ARGUMENT if the link would outlive its file or has already expired.
    """
    if seconds <= 0 or (file_lifetime is not None and seconds > file_lifetime):
        raise invalid("A public URL must expire after now, and not after its file.")


def timestamp(seconds: float | None) -> Timestamp | None:
    """Convert Unix time to a protobuf timestamp. None stays None."""
    if seconds is None:
        return None
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def page_of(items: Sequence[_T], limit: int, token: str) -> tuple[Sequence[_T], str | None]:
    """Return one page of a list, and the token for the next page or None.

    A page has 1 to 100 items; any other `limit` means 100. The first page has the token `""`.
    """
    size = limit if 0 < limit <= _MAX_PAGE else _MAX_PAGE
    start = int(token) if token.isdecimal() else 0
    end = start + size
    return items[start:end], str(end) if end < len(items) else None
