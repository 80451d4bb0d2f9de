"""The request for images and its input images, as data that all layers share."""

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
        sha256: Hex digest of the image's bytes, or of the URL if only the server fetches the image.
        label: The user's name for the image: a path, URL or variable.
        parent: `sha256` of the generated image with the same bytes, if the library has one.
        file_id: Id of the image in the server's file store; if set, it is sent instead of `url`.
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
        prompt: The prompt to send, with templates filled, perhaps rewritten by a chat model.
        model: Name or alias of a model; the server resolves aliases.
        n: Number of images, 1 to 10.
        aspect_ratio: Width and height, such as `"16:9"`.
        resolution: `"1k"` (about one megapixel) or `"2k"` (about four).
        quality: `"low"` or `"medium"`.
        inputs: Images to edit, in the order in which the prompt refers to them.
        user: Opaque id of the end user, for abuse monitoring.
        image_format: Format in which the server sends images, `"base64"` or `"url"`.
        original_prompt: The user's prompt, if a chat model rewrote it.
        rewrite_model: Name of the chat model that rewrote the prompt.
        share: Days for which the server keeps each image and a public link to the image.
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
    def content(self) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
        """What determines the pictures: prompt, model and options, and digests of the inputs.

        Line ends of the prompt are normalised: they depend on the platform and the browser.
        """
        prompt = self.prompt.replace("\r\n", "\n")
        options = (prompt, self.model, self.aspect_ratio, self.resolution, self.quality)
        return options, tuple(image.sha256 for image in self.inputs)

    @property
    def shape(self) -> str:
        """Aspect ratio of the images, as width and height; a square if not given."""
        return self.aspect_ratio or "1:1"

    def fingerprint(self, backend: str, host: str) -> str:
        """Return a hex digest that identifies the request in the library.

        It does not depend on the number of images, their format or `share`, so that stored images
        can answer a later request for more images or for another format.

        Args:
            backend: `"xai"` or `"local"`.
            host: The API host; the same for every embedded server.
        """
        from hashlib import sha256  # noqa: PLC0415  # takes 3 ms, so not at import

        options, inputs = self.content
        parts = [backend, host, *options, self.user, inputs]
        return sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def with_prompt(request: ImageRequest, prompt: str, rewrite_model: str) -> ImageRequest:
    """Return the request with a chat model's prompt and the original in `original_prompt`."""
    return replace(
        request, prompt=prompt, original_prompt=request.prompt, rewrite_model=rewrite_model
    )


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Me", "Mn", "Zl", "Zp", "Zs"})
"""Unicode categories without visible glyphs: controls, formats, combining marks and spaces."""
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols without a visible glyph."""


def is_blank(prompt: str) -> bool:
    """Tell whether a prompt has no visible character."""
    return all(
        unicodedata.category(character) in _INVISIBLE or character in _FILLERS
        for character in prompt
    )
