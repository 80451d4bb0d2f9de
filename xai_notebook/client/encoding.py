"""Options of image generation -> the request on the wire, checked before anything is sent."""

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
from xai_notebook.client.request import ImageOptions, is_blank
from xai_notebook.errors import InputImageError, OptionError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xai_notebook.client.request import ImageRequest

__all__ = ["build_request", "choice", "encode", "message", "seconds"]

_M = TypeVar("_M", bound=Message)

FORMATS: Final = {
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

BEGINNING: Final = 64
"""Characters of base64 that show what kind of image it is."""


def encode(request: ImageRequest) -> wire.GenerateImageRequest:
    """Return a request as it goes over the wire; see `build_request`."""
    options = ImageOptions(
        user=request.user,
        image_format=request.image_format,
        aspect_ratio=request.aspect_ratio,
        resolution=request.resolution,
        quality=request.quality,
        storage_options=_shared(request.prompt, request.share) if request.share else None,
    )
    encoded = build_request(request.prompt, request.model, request.n, **options)
    sources = [_input(None if each.file_id else each.url, each.file_id) for each in request.inputs]
    if len(sources) == 1:
        encoded.image.CopyFrom(sources[0])
    else:
        encoded.images.extend(sources)
    return encoded


def _shared(prompt: str, days: float) -> dict[str, Any]:
    """Return the storage options of an image that everybody who has its link may see."""
    lifetime = int(days * 24 * 3600)
    name = re.sub(r"\W+", "-", prompt)[:60].strip("-_") or "image"
    public = {"expires_after": lifetime}
    return {"filename": f"{name}.jpg", "expires_after": lifetime, "public_url": public}


def build_request(
    prompt: str, model: str, n: int = 1, **options: Unpack[ImageOptions]
) -> wire.GenerateImageRequest:
    """Return the request for these options; what is None stays absent.

    Raises:
        OptionError: A value is wrong; the message names the right ones.
        InputImageError: An image to edit is neither a URL nor a data URI, or too large.
        TypeError: There is no such option.
    """
    for name in options.keys() - ImageOptions.__annotations__.keys():
        raise TypeError(f"sample() got an unexpected keyword argument {name!r}")
    _check_texts(prompt, model)
    try:
        request = wire.GenerateImageRequest(
            prompt=prompt,
            model=model,
            n=_count(n),
            user=options.get("user") or "",
            format=choice("image_format", options.get("image_format") or "url", FORMATS),
        )
        for option, values in CHOICES.items():
            if (value := options.get(option)) is not None:
                setattr(request, option, choice(option, value, values))
        _add_inputs(request, options)
        if (storage := options.get("storage_options")) is not None:
            request.storage_options.CopyFrom(_storage(storage))
    except OptionError:
        raise
    except (TypeError, ValueError) as error:  # protobuf's, at a wrong type or a lone surrogate
        raise OptionError(f"An option cannot be sent: {error}") from error
    return request


def message(kind: type[_M], **fields: Any) -> _M:
    """Return a message of these fields; what is None stays absent.

    Raises:
        OptionError: A value is of the wrong type, or no such number or text can be sent.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise OptionError(f"An option cannot be sent: {error}") from error


def _add_inputs(request: wire.GenerateImageRequest, options: ImageOptions) -> None:
    url, file_id = options.get("image_url"), options.get("image_file_id")
    urls, file_ids = options.get("image_urls"), options.get("image_file_ids")
    single = url if file_id is None else file_id
    several = urls is not None or file_ids is not None
    if (url is not None and file_id is not None) or (single is not None and several):
        raise OptionError(
            "Give one image (image_url or image_file_id) or several (image_urls, image_file_ids),"
            " not both."
        )
    if single is not None:
        request.image.CopyFrom(_input(url, file_id))
    # In this order, as in xAI's SDK: prompts count images by it.
    request.images.extend(_input(None, one) for one in file_ids or ())
    request.images.extend(_input(one, None) for one in urls or ())


def _check_texts(prompt: str, model: str) -> None:
    if not isinstance(prompt, str) or is_blank(prompt):
        raise OptionError("The prompt is empty. Say what the image shows.")
    if not isinstance(model, str) or not model.strip():
        raise OptionError(f"The model is empty. Known models: {', '.join(settings.KNOWN_MODELS)}.")


def _count(n: int) -> int:
    try:
        count = -1 if isinstance(n, bool) else operator.index(n)
    except TypeError:
        count = -1
    if not 1 <= count <= settings.MAX_IMAGES:
        raise OptionError(f"n is {n!r}. One request makes 1 to {settings.MAX_IMAGES} images.")
    return count


def choice(option: str, value: Any, values: Mapping[str, Any]) -> Any:
    """Return what stands for the `value` of an option.

    Raises:
        OptionError: It is none of `values`; the message names them.
    """
    if value not in values:
        raise OptionError(f"{option} is {value!r}. Choose one of: {', '.join(values)}.")
    return values[value]


def _input(url: str | None, file_id: str | None) -> wire.ImageUrlContent:
    if url is None:
        return wire.ImageUrlContent(file_id=file_id, detail=wire.ImageDetail.DETAIL_AUTO)
    url = _address(url)
    # Four characters of base64 are three bytes.
    if url[:5].lower() == "data:" and len(url) * 3 // 4 > settings.MAX_INPUT_IMAGE_BYTES + 99:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise InputImageError(
            f"An image to edit is larger than {limit} MiB. Make it smaller first."
        )
    return wire.ImageUrlContent(image_url=url, detail=wire.ImageDetail.DETAIL_AUTO)


def _address(image: str) -> str:
    """Return an image to edit as a URL or data URI; base64 alone is told by how it begins."""
    if isinstance(image, str):
        if image[:11].lower().startswith(("https://", "http://", "data:image/")):
            return image
        with suppress(ValueError):
            if kind := media_type(base64.b64decode(image[:BEGINNING], validate=True)):
                return f"data:{kind};base64,{image}"
    raise InputImageError(
        "An image to edit is neither an https:// URL nor a data:image/… URI nor base64."
    )


def _storage(options: Mapping[str, Any] | Message) -> wire.StorageOptions:
    if isinstance(options, Message) and options.DESCRIPTOR.name == "StorageOptions":
        # Ours or that of xAI's SDK: two classes, one message on the wire.
        return _named(wire.StorageOptions.FromString(options.SerializeToString()))
    known = {"filename", "expires_after", "public_url"}
    if not isinstance(options, Mapping) or not known.issuperset(options):
        raise OptionError(f"storage_options may hold: {', '.join(sorted(known))}.")
    stored = wire.StorageOptions(
        filename=options.get("filename"), expires_after=seconds(options.get("expires_after"))
    )
    public = options.get("public_url")
    if public is True:
        stored.public_url.SetInParent()
    elif isinstance(public, Mapping) and {"expires_after"}.issuperset(public):
        stored.public_url.SetInParent()
        if (expires := seconds(public.get("expires_after"))) is not None:
            stored.public_url.expires_after = expires
    elif public is not None and public is not False:
        raise OptionError("public_url of storage_options is True or {'expires_after': seconds}.")
    return _named(stored)


def _named(options: wire.StorageOptions) -> wire.StorageOptions:
    if not options.filename:
        raise OptionError("storage_options need a filename.")
    return options


def seconds(value: timedelta | int | None) -> int | None:
    """Return a time span in whole seconds."""
    return int(value.total_seconds()) if isinstance(value, timedelta) else value
