"""The request for images, and the images it edits: what every layer passes down to the wire."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image to edit, ready to send.

    Attributes:
        url: An https URL, or a data URI with the bytes. Empty in a request read from the library.
        sha256: Hex digest of the image's bytes, or of the URL if only the server fetches it.
        label: The path, URL or variable that the user gave.
        parent: `sha256` of the generated image with the same bytes, if the library has one.
        file_id: Id in the server's file store; if set, it is sent instead of `url`.
    """

    url: str = field(repr=False)
    sha256: str
    label: str
    parent: str | None = None
    file_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request for images. For every option, None means that the server decides.

    Attributes:
        prompt: The text to send: templates are filled, and a chat model may have rewritten it.
        model: Name or alias of a model; the server resolves aliases.
        n: Number of images, 1 to 10.
        aspect_ratio: Such as `"16:9"`.
        resolution: `"1k"` (about one megapixel) or `"2k"` (about four).
        quality: `"low"` or `"medium"`.
        inputs: Images to edit, in the order in which the prompt counts them.
        user: Opaque id of the end user, for abuse monitoring.
        image_format: How the server sends images: `"base64"` or `"url"`.
        original_prompt: The user's prompt, if `prompt` is a chat model's rewrite of it.
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
        """The prompt and options, and the digests of the inputs, independent of user and server.

        Line ends are normalised: Windows and browsers write others into the same cell.
        """
        prompt = self.prompt.replace("\r\n", "\n")
        options = (prompt, self.model, self.aspect_ratio, self.resolution, self.quality)
        return options, tuple(image.sha256 for image in self.inputs)

    @property
    def shape(self) -> str:
        """The pictures' aspect ratio as `"width:height"`; a square if none was given."""
        return self.aspect_ratio or "1:1"

    def fingerprint(self, backend: str, host: str) -> str:
        """Return the hex digest that is equal for equal requests.

        The number of images, their format and `share` do not count: stored images answer a later
        request for more images, or for the same images in another format.

        Args:
            backend: `"xai"` or `"local"`.
            host: The API host; the same for every embedded server.
        """
        from hashlib import sha256  # noqa: PLC0415  # 3 ms that loading the extension saves

        options, inputs = self.question
        parts = [backend, host, *options, self.user, inputs]
        return sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def with_prompt(request: ImageRequest, prompt: str, rewrite_model: str) -> ImageRequest:
    """Return the request with the prompt that a chat model wrote; the original is kept."""
    return replace(
        request, prompt=prompt, original_prompt=request.prompt, rewrite_model=rewrite_model
    )


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode categories of controls, formats, combining marks and spaces."""
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols without a visible glyph."""


def is_blank(prompt: str) -> bool:
    """Tell whether a text has no visible character."""
    return all(
        unicodedata.category(character) in _INVISIBLE or character in _FILLERS
        for character in prompt
    )
