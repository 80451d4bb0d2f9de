"""What the library's tests share: an open library, pictures, and a way to save replies."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from xai_notebook.library import Library
from xai_notebook.results import GeneratedImage, ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Save = Callable[..., list[GeneratedImage]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def library(home: Path) -> Iterator[Library]:
    library = Library.open(home)
    yield library
    library.close()


@pytest.fixture(scope="session")
def picture() -> Callable[[], bytes]:
    """Return a function that makes a new JPEG of 64 by 48 pixels at each call."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    numbers = itertools.count()
    return lambda: buffer.getvalue() + b"%d" % next(numbers)


@pytest.fixture
def save(library: Library) -> Save:
    """Return a function that saves a reply to a request and returns its images."""

    def save(
        prompt: str = "a red fox",
        payloads: list[bytes | str | None] | None = None,
        *,
        to: Library = library,
        start: int = 0,
        **changes: Any,
    ) -> list[GeneratedImage]:
        payloads = payloads or []
        of_reply = {
            "fingerprint": changes.pop("fingerprint", f"fingerprint of {prompt}"),
            "backend": changes.pop("backend", "xai"),
            "host": changes.pop("host", "api.x.ai"),
            "notebook": changes.pop("notebook", None),
            "cost_usd": changes.pop("cost_usd", None),
            "model": changes.pop("answered_by", "grok-imagine-image"),
        }
        image_values = changes.pop("image", {})
        request = ImageRequest(
            prompt=prompt, **{"model": "grok", "n": max(len(payloads), 1), **changes}
        )
        images = [
            GeneratedImage(
                **{
                    "request": request,
                    "index": start + place,
                    "model": of_reply["model"],
                    "cached": payload if isinstance(payload, bytes) else None,
                    **image_values,
                }
            )
            for place, payload in enumerate(payloads)
        ]
        to.add_reply(request, images, payloads, **of_reply)
        return images

    return save
