"""What is asked of the server: `ImageRequest`, the images it edits, and `ImageOptions`."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

__all__ = ["ImageOptions", "ImageRequest", "InputImage", "is_blank", "with_prompt"]

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode's categories of controls, formats, combining marks and spaces."""
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are drawn as nothing."""


def is_blank(prompt: str) -> bool:
    """Tell whether a text shows nothing: spaces, zero-width characters, marks without a letter."""
    return all(
        unicodedata.category(character) in _INVISIBLE or character in _FILLERS
        for character in prompt
    )


class ImageOptions(TypedDict, total=False):
    """Keyword options of `ImageClient.sample`, named as in xAI's SDK; what is None stays absent.

    Attributes:
        image_url: URL, data URI or base64 of an image to edit.
        image_file_id: An image to edit, in the provider's file store.
        image_urls: Several reference images, after `image_file_ids`.
        image_file_ids: Several reference images in the provider's file store.
        user: Opaque id of the end user, for abuse monitoring.
        image_format: `"url"` (default) or `"base64"`.
        aspect_ratio: `"16:9"` and so on.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
        storage_options: Keep the result: `filename`, `expires_after` (seconds or timedelta),
            `public_url` (bool or `{"expires_after": …}`); or a `StorageOptions` message.
    """

    image_url: str | None
    image_file_id: str | None
    image_urls: Sequence[str] | None
    image_file_ids: Sequence[str] | None
    user: str | None
    image_format: Literal["base64", "url"] | str | None  # noqa: PYI051
    aspect_ratio: str | None
    resolution: str | None
    quality: str | None
    storage_options: Mapping[str, Any] | Message | None


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image to edit, ready to send.

    Attributes:
        url: An https URL, or a data URI with the bytes. Empty in a request read from the library.
        sha256: Hex digest of the image's bytes, or of the URL when only the server sees the bytes.
        label: How the user named it: a path, a URL or a variable.
        parent: `sha256` of the generated image this is, when it is one.
        file_id: Under which the server's file store has it; it is sent in place of `url` then.
    """

    url: str = field(repr=False)
    sha256: str
    label: str
    parent: str | None = None
    file_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What is asked of the server.

    Attributes:
        prompt: As sent: templates filled, and rewritten by a chat model if that was asked for.
        model: As asked for; aliases are resolved by the server.
        n: Number of images, 1 to 10.
        aspect_ratio: Such as `"16:9"`; None leaves it to the server, like the other options.
        resolution: `"1k"` (about one megapixel) or `"2k"` (about four).
        quality: `"low"` or `"medium"`.
        inputs: Images to edit, in the order the prompt speaks of them.
        user: Opaque id of the end user, for abuse monitoring.
        image_format: How the server sends images: `"base64"` or `"url"`.
        original_prompt: What the user wrote, when `prompt` is a chat model's rewrite of it.
        rewrite_model: The chat model that rewrote it.
        share: Days for which the server keeps each image and a public link to it.
    """

    prompt: str
    model: str
    n: int = 1
    aspect_ratio: str | None = None
    resolution: str | None = None
    quality: str | None = None
    inputs: tuple[InputImage, ...] = ()
    user: str | None = None
    image_format: str = "base64"
    original_prompt: str | None = None
    rewrite_model: str | None = None
    share: float | None = None

    @property
    def question(self) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
        """What is asked for, whoever asks whom: words and options, digests of the inputs.

        Line ends are no part of it: Windows and the web write others into the same cell.
        """
        prompt = self.prompt.replace("\r\n", "\n")
        what = (prompt, self.model, self.aspect_ratio, self.resolution, self.quality)
        return what, tuple(image.sha256 for image in self.inputs)

    @property
    def shape(self) -> str:
        """What the pictures will look like, as `"width:height"`; a square unless told."""
        return self.aspect_ratio or "1:1"

    def fingerprint(self, backend: str, host: str) -> str:
        """Return what makes two requests the same, as a hex digest.

        The number of images, the way they travel and for how long they are shared do not count:
        stored images answer a later request for more of the same, or for the same in another
        format. Nor does it count which line ends the prompt has.

        Args:
            backend: `"xai"` or `"local"`.
            host: The API host; the same for every embedded server.
        """
        from hashlib import sha256  # noqa: PLC0415  # 3 ms that loading the extension need not pay

        what, inputs = self.question
        parts = [backend, host, *what, self.user, inputs]
        return sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def with_prompt(request: ImageRequest, prompt: str, rewrite_model: str) -> ImageRequest:
    """Return the request with its prompt rewritten by a chat model, the original kept."""
    return replace(
        request,
        prompt=prompt,
        original_prompt=request.prompt,
        rewrite_model=rewrite_model,
    )
