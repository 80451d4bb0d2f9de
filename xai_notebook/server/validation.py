"""Checks an image request the way the real API does, before any work is done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.server.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.faults import Faults

__all__ = [
    "MAX_PROMPT_LENGTH",
    "MAX_REFERENCE_IMAGES",
    "ImageOrder",
    "Model",
    "check",
    "check_lifetime",
    "find_model",
    "invalid",
    "iso",
    "list_models",
    "model_names",
    "timestamp",
]

MAX_PROMPT_LENGTH: Final = 8000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Model:
    """One image model.

    Attributes:
        name: As the API spells it.
        aliases: Other names for it.
        created: Unix time in seconds.
        edits: Accepts input images.
        has_quality: Accepts the `quality` option.
        version: What the API says as version and fingerprint.
        price_ticks: List price of an image in ticks of 1e-10 USD; None: as the faults say.
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
_MODELS: Final = (
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


def list_models() -> tuple[Model, ...]:
    """Return every model of the painter, the default first."""
    return _MODELS


def model_names() -> tuple[str, ...]:
    """Return every name and alias of the real models."""
    return tuple(name for model in _MODELS for name in (model.name, *model.aliases))


def find_model(name: str, models: Sequence[Model] = _MODELS) -> Model:
    """Return the model of that name or alias among `models`.

    Raises:
        Refusal: INVALID_ARGUMENT without a name, NOT_FOUND for one that does not exist.
    """
    if not name.strip():
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "Model must not be empty.")
    for model in models:
        if name == model.name or name in model.aliases:
            return model
    existing = ", ".join(model.name for model in models)
    raise Refusal(
        grpc.StatusCode.NOT_FOUND, f"The model {name!r} does not exist. Those that do: {existing}."
    )


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


def check(request: wire.GenerateImageRequest, model: Model) -> ImageOrder:
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
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise invalid(
            f"Prompt must have at most {MAX_PROMPT_LENGTH} characters, this one has {len(prompt)}."
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


def _quality(request: wire.GenerateImageRequest, model: Model) -> str:
    if not request.HasField("quality"):
        return "medium"
    if not model.has_quality:
        able = ", ".join(each.name for each in list_models() if each.has_quality)
        raise invalid(f"quality is not supported by {model.name}, only by {able}.")
    if request.quality == wire.ImageQuality.IMG_QUALITY_LOW:
        return "low"
    if request.quality == wire.ImageQuality.IMG_QUALITY_MEDIUM:
        return "medium"
    raise invalid("quality must be low or medium.")


def _inputs(request: wire.GenerateImageRequest, model: Model) -> tuple[wire.ImageUrlContent, ...]:
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


def timestamp(seconds: float | None) -> Timestamp | None:
    """Return a time as a message; None stays None."""
    if seconds is None:
        return None
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def iso(seconds: float | None) -> str | None:
    """Return a time as a text that compares like the time; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
