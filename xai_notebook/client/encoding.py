"""Check the values of an `ImageRequest` and encode it as a protobuf message."""

from __future__ import annotations

import base64
import operator
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from xai_notebook import settings
from xai_notebook.client import wire
from xai_notebook.client.media import media_type
from xai_notebook.client.request import is_blank
from xai_notebook.errors import InputImageError, OptionError

if TYPE_CHECKING:
    from xai_notebook.client.request import ImageRequest

_M = TypeVar("_M", bound=Message)

_FORMATS: Final = {
    name: wire.ImageFormat.Value(f"IMG_FORMAT_{name.upper()}") for name in settings.FORMATS
}
CHOICES: Final = {
    "aspect_ratio": {
        name: wire.ImageAspectRatio.Value(
            f"IMG_ASPECT_RATIO_{name.replace(':', '_').replace('.', '_')}"
        )
        for name in settings.ASPECT_RATIOS
    },
    "resolution": {
        name: wire.ImageResolution.Value(f"IMG_RESOLUTION_{name.upper()}")
        for name in settings.RESOLUTIONS
    },
    "quality": {
        name: wire.ImageQuality.Value(f"IMG_QUALITY_{name.upper()}") for name in settings.QUALITIES
    },
}
"""Options of an image with a fixed set of values, and the protobuf enum numbers of the values."""

_SNIFFED: Final = 64
"""Number of base64 characters that suffice to detect the media type."""


def encode(
    request: ImageRequest,
    *,
    storage_options: Mapping[str, Any] | Message | None = None,
    as_list: bool = False,
) -> wire.GenerateImageRequest:
    """Return a request as the protobuf message to send; options that are None stay absent.

    Args:
        request: The request to encode.
        storage_options: How the server stores the images, unless `request.share` is set: a mapping
            with `filename`, `expires_after` and `public_url`, or a `StorageOptions` message.
        as_list: Whether to send a single input image as a list with one entry.

    Raises:
        OptionError: A value is wrong; the message names the valid values.
        InputImageError: An input image is too large, or is neither a URL, a data URI nor base64.
    """
    if not isinstance(request.prompt, str) or is_blank(request.prompt):
        raise OptionError("The prompt is empty. Say what the image shows.")
    if not isinstance(request.model, str) or not request.model.strip():
        raise OptionError(f"The model is empty. Known models: {', '.join(settings.KNOWN_MODELS)}.")
    try:
        n = -1 if isinstance(request.n, bool) else operator.index(request.n)
    except TypeError:
        n = -1
    if not 1 <= n <= settings.MAX_IMAGES:
        raise OptionError(
            f"n is {request.n!r}. One request makes 1 to {settings.MAX_IMAGES} images."
        )
    options = {name: getattr(request, name) for name in CHOICES}
    if request.share:
        storage_options = _share_options(request.prompt, request.share)
    encoded = message(
        wire.GenerateImageRequest,
        prompt=request.prompt,
        model=request.model,
        n=n,
        user=request.user,
        format=choice("image_format", request.image_format, _FORMATS),
        storage_options=None if storage_options is None else _storage(storage_options),
        **{
            name: choice(name, value, CHOICES[name])
            for name, value in options.items()
            if value is not None
        },
    )
    inputs = []
    for image in request.inputs:
        file_id, auto = image.file_id or None, wire.ImageDetail.DETAIL_AUTO
        url = None if file_id else _image_url(image.url)
        inputs.append(message(wire.ImageUrlContent, file_id=file_id, image_url=url, detail=auto))
    if len(inputs) == 1 and not as_list:
        encoded.image.CopyFrom(inputs[0])
    else:
        encoded.images.extend(inputs)
    return encoded


def message(kind: type[_M], **fields: Any) -> _M:
    """Return a message with these fields; fields that are None stay absent.

    Raises:
        OptionError: A value has the wrong type, or is a number or string that cannot be sent.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:  # a lone surrogate raises a ValueError
        raise OptionError(f"An option cannot be sent: {error}") from error


def choice(option: str, value: Any, values: Mapping[str, Any]) -> Any:
    """Return the protobuf value for the `value` of an option.

    Raises:
        OptionError: `value` is not among `values`; the message lists them.
    """
    if not isinstance(value, str) or value not in values:
        raise OptionError(f"{option} is {value!r}. Choose one of: {', '.join(values)}.")
    return values[value]


def seconds(value: timedelta | int | None) -> int | None:
    """Convert a timedelta to whole seconds; other values are returned unchanged."""
    return int(value.total_seconds()) if isinstance(value, timedelta) else value


def _image_url(image: str) -> str:
    """Return an input image as a URL or data URI; plain base64 becomes a data URI."""
    url = None
    if isinstance(image, str):
        if image[:11].lower().startswith(("https://", "http://", "data:image/")):
            url = image
        else:
            with suppress(ValueError):
                if kind := media_type(base64.b64decode(image[:_SNIFFED], validate=True)):
                    url = f"data:{kind};base64,{image}"
    if url is None:
        raise InputImageError(
            "An image to edit is neither an https:// URL nor a data:image/… URI nor base64."
        )
    # Four characters of base64 encode three bytes; 99 bytes are for the URI's prefix.
    if url[:5].lower() == "data:" and len(url) * 3 // 4 > settings.MAX_INPUT_IMAGE_BYTES + 99:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise InputImageError(
            f"An image to edit is larger than {limit} MiB. Make it smaller first."
        )
    return url


def _share_options(prompt: str, days: float) -> dict[str, Any]:
    """Return the storage options of an image that anyone with the link can see."""
    lifetime = int(days * 24 * 3600)
    name = re.sub(r"\W+", "-", prompt)[:60].strip("-_") or "image"
    public = {"expires_after": lifetime}
    return {"filename": f"{name}.jpg", "expires_after": lifetime, "public_url": public}


def _storage(options: Mapping[str, Any] | Message) -> wire.StorageOptions:
    if isinstance(options, Message) and options.DESCRIPTOR.name == "StorageOptions":
        # Convert the class of xAI's SDK, which has the same wire format as ours.
        stored = wire.StorageOptions.FromString(options.SerializeToString())
    else:
        known = {"filename", "expires_after", "public_url"}
        if not isinstance(options, Mapping) or not known.issuperset(options):
            raise OptionError(f"storage_options may hold: {', '.join(sorted(known))}.")
        public = options.get("public_url")
        if isinstance(public, bool):
            public = {} if public else None
        if public is not None and not (
            isinstance(public, Mapping) and {"expires_after"}.issuperset(public)
        ):
            raise OptionError(
                "public_url of storage_options is True or {'expires_after': seconds}."
            )
        stored = message(
            wire.StorageOptions,
            filename=options.get("filename"),
            expires_after=seconds(options.get("expires_after")),
            public_url=public and {"expires_after": seconds(public.get("expires_after"))},
        )
        if public is not None:
            stored.public_url.SetInParent()
    if not stored.filename:
        raise OptionError("storage_options need a filename.")
    return stored
