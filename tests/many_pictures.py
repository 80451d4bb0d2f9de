"""Make a large library within seconds: many rows that share a few originals."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from xai_notebook.library import Library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ORIGINALS: Final = 24
_FIRST_DATE: Final = 1_700_000_000.0
"""When the first picture was made, in seconds since 1970."""
_INTERVAL: Final = 300.0
"""Seconds from one request to the next."""
_WORDS: Final = (
    *("red", "amber", "teal", "violet", "fox", "owl"),
    *("whale", "lantern", "harbour", "glacier", "orchard", "comet"),
)
_MODELS: Final = ("grok-imagine-image", "grok-imagine-image-pro", "local-preview")
_REQUEST: Final = (
    "INSERT INTO requests (id, fingerprint, backend, host, prompt, model, answered_by, n, inputs,"
    " image_format, notebook, cost_usd, start, created) VALUES"
    " (?, ?, ?, 'api.x.ai', ?, ?, ?, 1, '[]', 'base64', ?, ?, 0, ?)"
)
_IMAGE: Final = (
    "INSERT INTO images (request_id, position, status, model, cost_usd, sha256, media_type, width,"
    " height, size, notes, created, starred) VALUES"
    " (?, 0, 'ok', ?, ?, ?, 'image/jpeg', ?, ?, ?, '[]', ?, ?)"
)


def prompt_of(number: int) -> str:
    """Return the prompt of the picture `number`, from 1: common words and a unique one."""
    words = [_WORDS[number // 7**power % len(_WORDS)] for power in range(4)]
    return f"a {' '.join(words)} in study{number}"


def fill(home: Path, count: int) -> None:
    """Make a library in `home` with `count` pictures.

    Every tenth picture is starred. The pictures have different dates and three models.
    """
    library = Library.open(home)
    try:
        originals = [_saved(library, number) for number in range(_ORIGINALS)]
        with library.database.writing() as connection:
            numbers = range(1, count + 1)
            connection.executemany(_REQUEST, map(_request, numbers))
            connection.executemany(_IMAGE, _images(numbers, originals))
    finally:
        library.close()
    Library.open(home).close()  # adds the prompts to the index


def _saved(library: Library, number: int) -> tuple[Any, ...]:
    """Write one original; return digest, width, height and bytes."""
    hue = number * 255 // _ORIGINALS
    width, height = ((96, 96), (128, 72), (72, 128))[number % 3]
    buffer = io.BytesIO()
    Image.new("HSV", (width, height), (hue, 160, 210)).convert("RGB").save(buffer, "JPEG")
    (digest,) = library.blobs.write([(buffer.getvalue(), "image/jpeg")])
    return digest, width, height, len(buffer.getvalue())


def _request(number: int) -> tuple[Any, ...]:
    prompt, model = prompt_of(number), _MODELS[number % 3]
    backend = "local" if model == "local-preview" else "xai"
    fingerprint = hashlib.sha256(prompt.encode()).hexdigest()
    notebook = f"/books/story{number % 5}.ipynb"
    cost = 0.0 if backend == "local" else 0.02 + number % 3 * 0.05
    created = _FIRST_DATE + number * _INTERVAL
    return number, fingerprint, backend, prompt, model, model, notebook, cost, created


def _images(numbers: range, originals: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for number in numbers:
        digest, *shape = originals[number % len(originals)]
        model = _MODELS[number % 3]
        cost = 0.0 if model == "local-preview" else 0.02 + number % 3 * 0.05
        created = _FIRST_DATE + number * _INTERVAL
        yield number, model, cost, digest, *shape, created, number % 10 == 0
